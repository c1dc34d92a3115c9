"""Two textures without structure: the Gaussian one and the random phase one, both from the exemplar's second moments.

Galerne, Gousseau and Morel 2011, "Random phase textures: theory and synthesis", IEEE Trans. Image Processing 20(1).
They keep colours, grain and orientation, and lose everything that has an outline: the base line for all other methods.

*Gaussian* is the limit of shot noise, a Gaussian field with the exemplar's mean and autocorrelation. Departure: its
noise lives on the plane, so that no periodic component is needed and pictures have no size of their own (see adsn.py).

*Random phase* keeps the exemplar's Fourier modulus and draws new phases. The exemplar is replaced by its periodic
component (Moisan 2011, "Periodic plus smooth image decomposition", J. Math. Imaging and Vision 39(2)), or the jump
between its opposite borders would stand as a cross in the spectrum, and as stripes in every picture. Departure: also
for sizes smaller than the exemplar, from its central part.

All channels are treated alike, alpha too, and share their noise: their correlations are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.adsn import field
from texsyn.blocks import ENDLESS, Blocks, Period, most_kept, period_of
from texsyn.images import Picture, Region, Size, from_unit, to_unit
from texsyn.models.base import Synthesis, TextureModel, Watch, Window
from texsyn.noise import NoiseField
from texsyn.ot.nearest import one_torch_thread

BLOCK = 512  # least side of a block of the Gaussian plane; a block costs one FFT of its side plus the exemplar's
KEPT_BLOCKS = 16


@dataclass(frozen=True)
class GaussianConfig:
    """Everything that shapes a Gaussian picture besides exemplar, size and seed."""


class Gaussian(TextureModel):
    """U = m + t * W: mean and (non-periodic) autocorrelation of the exemplar, Gaussian, on the infinite plane.

    Pixel (y, x) of a picture is the plane's: a smaller picture of the same seed is a crop of a larger one. The plane is
    computed in blocks on an absolute grid, in float64, so that the crop and render() have the same bits.
    Nothing is learned: fit() only keeps the exemplar. Values beyond the exemplar's depth are clipped; evidence says
    how many.
    """

    method = "gaussian"
    config_type = GaussianConfig
    local = True

    def __init__(self, exemplar: Picture, config: GaussianConfig | None = None, device: str = "cpu") -> None:
        super().__init__(exemplar, config or GaussianConfig(), device)
        self._u = _planes(exemplar).to(self.device)

    @classmethod
    def fit(
        cls, exemplar: Picture, config: Any = None, *, seed: int = 0, device: str = "cpu", watch: Watch | None = None
    ) -> Gaussian:
        return cls(exemplar, config, device)

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def from_tensors(cls, exemplar: Picture, config: Any, tensors: Mapping[str, Tensor], device: str) -> Gaussian:
        return cls(exemplar, config, device)

    @one_torch_thread()  # the same bits whatever the number of threads, and no quarrel over busy cores
    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        watch = watch or Watch()
        period = period_of(tile, size)
        pixels = self._blocks(seed, period, watch).window(Region(0, 0, size.height, size.width))
        watch.step(1.0, "done")
        return _synthesis(pixels, self.exemplar)

    def plane(self, *, seed: int, period: Period = ENDLESS, number: int = 0, within: Region | None = None) -> Window:
        assert number == 0, number
        return self._blocks(seed, period, Watch(), self.exemplar.pixels.dtype).window

    def plane_bytes(self, within: Region) -> int:
        return most_kept(within, self._block, KEPT_BLOCKS, self.exemplar.channels * self.exemplar.pixels.itemsize)

    @property
    def halo(self) -> int:
        """Output pixels around a region whose noise enters its blocks, one side at most."""
        return max(self._window())

    def _window(self) -> tuple[int, int]:
        """Sides of the noise window of one block: the block, and the exemplar before it, at a length that FFTs like."""
        from scipy.fft import next_fast_len

        height, width = (next_fast_len(max(n, BLOCK) + n - 1, real=True) for n in self._u.shape[1:])
        return height, width

    @property
    def _block(self) -> Size:
        height, width = self._window()
        return Size(height - self._u.shape[1] + 1, width - self._u.shape[2] + 1)

    def _blocks(self, seed: int, period: Period, watch: Watch, dtype: Any = np.float32) -> Blocks:
        """The plane (H, W, C), float32 or in the exemplar's depth, in blocks that are the same for every window."""
        noise, (height, width) = NoiseField(seed, period=period), self._window()
        n_before, m_before = self._u.shape[1] - 1, self._u.shape[2] - 1

        @one_torch_thread()
        def block(here: Region) -> np.ndarray:
            watch.step(0.0, f"block at {here.left}, {here.top}")
            window = noise.normal(Region(here.top - n_before, here.left - m_before, height, width))
            values = self._field(window)[:, : here.height, : here.width].permute(1, 2, 0).contiguous().numpy()
            return np.ascontiguousarray(from_unit(values, dtype))

        return Blocks(block, self._block, period, kept=KEPT_BLOCKS)

    def _field(self, noise: np.ndarray) -> Tensor:
        """adsn.field a channel at a time: a third more FFTs than all at once, in a third of the memory."""
        w = torch.from_numpy(noise).to(self.device).double()
        return torch.cat([field(u[None], w).float().cpu() for u in self._u])


@dataclass(frozen=True)
class RandomPhaseConfig:
    """Everything that shapes a random phase picture besides exemplar, size and seed."""

    #: share of a side, at each end, over which the spot fades into the mean; only for sizes other than the exemplar's
    fade: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.fade <= 0.5:
            raise ValueError(f"fade={self.fade} should be above 0 and at most 0.5")


class RandomPhase(TextureModel):
    """The exemplar's Fourier modulus with random phases: every picture is one period of a tiling of the plane.

    At the exemplar's own size the modulus is that of its periodic component, exactly (before rounding to the
    exemplar's depth). At larger ones it is that of a spot: the periodic component minus its mean, faded at the borders,
    scaled to keep the variance, and laid on a torus of the size asked for. Nothing is learned: fit() only keeps the
    exemplar.
    """

    method = "random-phase"
    config_type = RandomPhaseConfig

    def __init__(self, exemplar: Picture, config: RandomPhaseConfig | None = None, device: str = "cpu") -> None:
        super().__init__(exemplar, config or RandomPhaseConfig(), device)
        self._u = _planes(exemplar).to(self.device)

    @classmethod
    def fit(
        cls, exemplar: Picture, config: Any = None, *, seed: int = 0, device: str = "cpu", watch: Watch | None = None
    ) -> RandomPhase:
        return cls(exemplar, config, device)

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def from_tensors(cls, exemplar: Picture, config: Any, tensors: Mapping[str, Tensor], device: str) -> RandomPhase:
        return cls(exemplar, config, device)

    @one_torch_thread()
    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        watch = watch or Watch()
        period_of(tile, size)  # refuses unknown names; these pictures wrap on both axes anyway
        noise = NoiseField(seed).normal(Region(0, 0, size.height, size.width))
        watch.step(0.1, f"{size}")
        spot = spot_on_torus(periodic_component(_central(self._u, size)), size, self.config.fade)
        values = self._u.mean((1, 2), keepdim=True) + randomise_phase(spot, torch.from_numpy(noise).to(spot))
        watch.step(1.0, "done")
        return _synthesis(values.float().cpu().permute(1, 2, 0).numpy(), self.exemplar)


def randomise_phase(f: Tensor, noise: Tensor) -> Tensor:
    """f (C, H, W) with one random phase added to the DFT of all its channels; its mean is removed.

    noise (H, W) is white and Gaussian: the phase of its DFT is uniform, independent but for its antisymmetry, and 0 or
    pi where a real field leaves no other choice, which is the law of the paper's random phase.
    """
    w = torch.fft.rfft2(noise)
    turn = torch.where(w == 0, 1, w / w.abs())
    turn[0, 0] = 0
    return torch.fft.irfft2(torch.fft.rfft2(f) * turn, s=f.shape[1:])


def spot_on_torus(p: Tensor, size: Size, fade: float) -> Tensor:
    """p (C, h, w) minus its mean laid on a torus of that size, scaled so that its mean square there is that of p.

    It fades to 0 at both ends of a side that is shorter than the torus's; one of the same length stays periodic. Equal
    sizes give p minus its mean.
    """
    n_below, n_right = size.height - p.shape[1], size.width - p.shape[2]
    fy, fx = _fade(p.shape[1], fade if n_below else 0.0), _fade(p.shape[2], fade if n_right else 0.0)
    window = (fy[:, None] * fx[None, :]).to(p)
    spot = (p - p.mean((1, 2), keepdim=True)) * window * (size.pixels / window.square().sum()).sqrt()
    return F.pad(spot, (0, n_right, 0, n_below))


def _central(u: Tensor, size: Size) -> Tensor:
    """The middle of u (C, h, w), as much of it as fits into size."""
    height, width = min(u.shape[1], size.height), min(u.shape[2], size.width)
    top, left = (u.shape[1] - height) // 2, (u.shape[2] - width) // 2
    return u[:, top : top + height, left : left + width]


def _fade(n: int, share: float) -> Tensor:
    """(n,): 1 inside, falling to 0 as a squared sine over that share of n at both ends."""
    to_border = torch.minimum(torch.arange(n) + 0.5, n - torch.arange(n) - 0.5).double()
    if share == 0:
        return torch.ones_like(to_border)
    return torch.sin((to_border / (share * n)).clamp(max=1) * torch.pi / 2).square()


def periodic_component(u: Tensor) -> Tensor:
    """u (C, h, w) minus its smooth component: the same mean and inner detail, without a jump across the borders.

    The discrete Laplacian of the result, on the torus, is that of u with differences across the border left out
    (Moisan 2011); solved by FFT.

    >>> borders_agree = torch.tensor([[[0.0, 5.0, 1.0, 0.0]]])
    >>> periodic_component(borders_agree).tolist()
    [[[0.0, 5.0, 1.0, 0.0]]]
    """
    jumps = torch.zeros_like(u)
    for axis in (1, 2):
        first, last = jumps.narrow(axis, 0, 1), jumps.narrow(axis, u.shape[axis] - 1, 1)
        jump = u.narrow(axis, u.shape[axis] - 1, 1) - u.narrow(axis, 0, 1)
        first += jump
        last -= jump
    fy, fx = torch.fft.fftfreq(u.shape[1], dtype=u.dtype), torch.fft.rfftfreq(u.shape[2], dtype=u.dtype)
    laplacian = (2 * torch.cos(2 * torch.pi * fy)[:, None] + 2 * torch.cos(2 * torch.pi * fx) - 4).to(u.device)
    laplacian[0, 0] = 1  # the jumps have mean 0, so the smooth component has too
    return u - torch.fft.irfft2(torch.fft.rfft2(jumps) / laplacian, s=u.shape[1:])


def _planes(exemplar: Picture) -> Tensor:
    return torch.from_numpy(to_unit(exemplar.pixels)).permute(2, 0, 1).double()


def _synthesis(v: np.ndarray, exemplar: Picture) -> Synthesis:
    """v (H, W, C) in the exemplar's depth, with the share of values that its range cut off."""
    clipped = 0.0 if exemplar.pixels.dtype.kind == "f" else float(((v < 0) | (v > 1)).mean())
    pixels = np.ascontiguousarray(from_unit(v, exemplar.pixels.dtype))
    return Synthesis(pixels, None, [{"level": 0, "size": f"{v.shape[1]}x{v.shape[0]}", "clipped": round(clipped, 4)}])
