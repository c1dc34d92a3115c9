"""Texto as published: a Gaussian texture at the coarsest scale, then one optimal map of small patches at each scale.

Galerne, Leclaire and Rabin 2018, "A texture synthesis model based on semi-discrete optimal transport in patch space",
SIAM J. Imaging Sci. 11(4). It is here to be read and to be measured against; texto.py is what to use.

The paper's letters: u the exemplar, U the synthesis, w the patch size, S scales s = S-1 (coarsest) .. 0, J atoms y_j of
weight 1/J at a scale, v the potential (psi in the rest of this package), T(x) = y_j for j = argmin |x - y_j|^2 - v_j.

Departures, each at its line: the law of the patches at the finer scales (the patches themselves, not a mixture of four
Gaussians fitted to them), a larger training synthesis, the solver (mini-batches), and borders (pictures are windows of
a plane, so no pixel is covered by fewer patches).

Every pixel is the average of w^2 patches, so pictures are blurred: the root-mean-square gradient is
0.74, 0.77 and 0.9 times the exemplar's on skimage's grass, gravel and brick (256x256, to 512x512). Straight lines bend
and objects melt together, as the authors say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.adsn import field, patch_law
from texsyn.blocks import ENDLESS, Blocks, Period, most_kept, period_of
from texsyn.images import InputError, Picture, Region, Size, from_unit, to_unit
from texsyn.models.base import Synthesis, TextureModel, Watch, Window
from texsyn.noise import NoiseField
from texsyn.ot.nearest import NearestIndex, one_torch_thread
from texsyn.ot.semidiscrete import Sampler, from_points, solve, unique_atoms
from texsyn.patches import extract, windows
from texsyn.pyramid import coarser, level_period, level_size

SMALLEST = 8  # shorter side of an exemplar
FITTED = 4  # rows on each side of a period's end that work off what doubling has too many or too few
BLOCK = 128  # side of the blocks in which the coarsest scale's Gaussian texture is computed
KEPT_BLOCKS = 64  # of 64 KB a channel
PATCHES_AT_ONCE = 2**15  # assigned at a time: 3.5 MB for 3x3 RGB
TRAINING_PATCHES = 2**18  # that a potential above the coarsest scale is solved on: 28 MB for 3x3 RGB


@dataclass(frozen=True)
class Texto2018Config:
    """Everything that shapes a picture besides exemplar, size and seed; the first three as published."""

    patch_size: int = 3
    #: fewer when the coarsest scale's shorter side would fall below two patches
    n_scales: int = 4
    max_atoms: int = 1000
    #: mass error that each potential is solved to; 0.05 takes some 300 draws an atom
    tol: float = 0.05
    #: where to stop otherwise: about a CPU second at 1000 atoms
    max_samples_per_atom: int = 4000
    #: side of the training synthesis in pixels; on smaller ones v fits the patches there rather than their law
    training_side: int = 1024

    def __post_init__(self) -> None:
        if not 2 <= self.patch_size <= 9:
            raise ValueError(f"patch_size={self.patch_size} should be from 2 to 9")
        for name in ("n_scales", "max_atoms", "max_samples_per_atom", "training_side"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 1")
        if not 0 < self.tol < 2:
            raise ValueError(f"tol={self.tol} should be between 0 and 2")


def n_scales_for(size: Size, config: Texto2018Config) -> int:
    """How many of the scales asked for leave the coarsest one two patches wide; at least one.

    >>> [n_scales_for(Size(n, 300), Texto2018Config()) for n in (8, 12, 24, 41, 256)]
    [1, 2, 3, 4, 4]
    """
    shorter, n = Size(1, min(size.height, size.width)), 1
    while n < config.n_scales and level_size(shorter, n).width >= 2 * config.patch_size:
        n += 1
    return n


class Scale:
    """One scale s: its exemplar, the J atoms chosen there, and (once solved) their potential v."""

    def __init__(self, s: int, u: Tensor, w: int, max_atoms: int) -> None:
        """u (C, M, N): the full exemplar, of which this scale keeps u_s and, above the finest, the doubled u_s."""
        self.s, self.w = s, w
        size = level_size(Size(*u.shape[1:]), s)
        self.u = _resize(u, size)
        self.values = self.u if s == 0 else F.pixel_unshuffle(_resize(u, Size(2 * size.height, 2 * size.width)), 2)
        self.per_row = size.width - w + 1
        self.n_patches = (size.height - w + 1) * self.per_row
        self.n_atoms = min(self.n_patches, max_atoms)
        self.v: Tensor | None = None
        self.mass_error = math.nan

    def choose(self, at: Tensor) -> None:
        """Take the patches at positions at (J, 2), row and column, as atoms."""
        self.at = at.to(self.u.device)
        row = self.at[:, 0].long() * self.per_row + self.at[:, 1].long()
        self.y = _patches(self.u, self.w, row)  # (J, C w w)
        # (J, C' w w): what stands for an atom in the average. Pixel (2i + a, 2j + b) of the doubled exemplar is channel
        # (c, a, b) at (i, j), so that a 2w x 2w patch laid with stride 2 is a w x w patch of 4C channels.
        self.y2 = self.y if self.s == 0 else _patches(self.values, self.w, row)

    @cached_property
    def index(self) -> NearestIndex:
        index = NearestIndex(self.y)
        index.set_bias(self.v)
        return index

    def transport(self, U: Tensor) -> tuple[Tensor, Tensor]:
        """The next scale's picture and the map j: every patch x of U goes to T(x), and overlaps are averaged.

        U (C, H+2w-2, W+2w-2) gives j (H+w-1, W+w-1) and (C, 2H, 2W), or (C, H, W) at the finest scale: only
        pixels that all w^2 patches cover. Every sum runs in one order, whatever the window.
        """
        w = self.w
        rows = max(1, PATCHES_AT_ONCE // U.shape[2])
        j = torch.cat([self.index.argmin(extract(band, w)) for band in _bands(U, rows, w)]).view(-1, U.shape[2] - w + 1)
        height, width = j.shape[0] - w + 1, j.shape[1] - w + 1
        atoms = self.y2.view(self.n_atoms, -1, w, w)
        total = torch.zeros(height, width, atoms.shape[1], device=U.device)
        for a in range(w):
            for b in range(w):  # the patch whose pixel (a, b) lies here
                total += atoms[:, :, a, b][j[w - 1 - a : w - 1 - a + height, w - 1 - b : w - 1 - b + width]]
        mean = (total / w**2).permute(2, 0, 1)
        return (mean if self.s == 0 else F.pixel_shuffle(mean, 2)), j


class Texto2018(TextureModel):
    """The published method; see the module's docstring.

    A picture is the window of an endless plane with its top left corner at (0, 0). Its start is computed in blocks on
    an absolute grid; from there every pixel is one sum in one order, so that any window has the same bits.
    """

    local = True
    method = "texto-2018"
    config_type = Texto2018Config

    def __init__(self, exemplar: Picture, config: Texto2018Config | None = None, device: str = "cpu") -> None:
        """The scales without their atoms; fit() and load() give the model that makes pictures."""
        super().__init__(exemplar, config or Texto2018Config(), device)
        w, size = self.config.patch_size, exemplar.size
        smallest = max(SMALLEST, 2 * w)
        if min(size.height, size.width) < smallest:
            raise InputError(f"{exemplar.name}: patch_size={w} needs at least {smallest}x{smallest} pixels, got {size}")
        u = torch.from_numpy(to_unit(exemplar.pixels)).permute(2, 0, 1)
        n_scales = n_scales_for(size, self.config)
        self.scales = [Scale(s, u.to(self.device), w, self.config.max_atoms) for s in range(n_scales)]  # finest first

    @classmethod
    @one_torch_thread()  # the same bits whatever the number of threads, and no quarrel over busy cores
    def fit(
        cls, exemplar: Picture, config: Any = None, *, seed: int = 0, device: str = "cpu", watch: Watch | None = None
    ) -> Texto2018:
        """Estimation: from the coarsest scale to the finest, draw J atoms, solve for v, and carry one synthesis up."""
        model, watch = cls(exemplar, config, device), watch or Watch()
        generator = torch.Generator().manual_seed(seed % 2**63)
        # Departure: as published this synthesis has the exemplar's size. From 256x256 that makes 4,096 patches at the
        # scale above the coarsest, and v fits these: mass errors of 0.3 to 0.4 there on other pictures, now 0.1.
        side = model.config.training_side
        law = gaussian_law(model.scales[-1].u, model.config.patch_size)
        start = model._start(NoiseField(seed, len(model.scales) - 1, channel=1))  # channel 0 is for pictures
        for scale in reversed(model.scales):
            watch.step(1 - (scale.s + 1) / len(model.scales), f"scale {scale.s}: {scale.n_atoms} atoms")
            row = torch.randperm(scale.n_patches, generator=generator)[: scale.n_atoms]  # without replacement
            scale.choose(torch.stack([row // scale.per_row, row % scale.per_row], 1).to(torch.int32))
            # Departure: our solver. Published: 100,000 steps of one draw each, slower and with twice the error.
            n_draws = model.config.max_samples_per_atom * scale.n_atoms
            solution = solve(law, scale.y, tol=model.config.tol, max_samples=n_draws, generator=generator)
            scale.v, scale.mass_error = solution.psi.float(), solution.residual
            if scale.s > 0:
                finer = level_size(Size(side, side), scale.s - 1)
                U = model._input(scale.s - 1, start, ENDLESS, Region(0, 0, finer.height, finer.width))
                law = empirical_law(U, model.config.patch_size, generator)
        watch.step(1.0, "fitted")
        return model

    @one_torch_thread()
    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        """Synthesis: a Gaussian U at the coarsest scale; at each, U becomes the average of T(x) over its patches x."""
        watch = watch or Watch()
        evidence: list[dict[str, Any]] = []
        period = period_of(tile, size)
        start = self._start_of(seed, period)
        watch.step(0.1, str(size))
        U = self._output(0, start, period, Region(0, 0, size.height, size.width), evidence)
        watch.step(1.0, "done")  # nothing after the last average but the exemplar's depth
        return Synthesis(self._pixels(U), None, evidence)

    def plane(self, *, seed: int, period: Period = ENDLESS, number: int = 0, within: Region | None = None) -> Window:
        assert number == 0, number
        start = self._start_of(seed, period)

        @one_torch_thread()
        def window(region: Region) -> np.ndarray:
            return self._pixels(self._output(0, start, period, region))

        return window

    def plane_bytes(self, within: Region) -> int:
        """The start, float32, in blocks of the coarsest scale."""
        coarsest = self.scales[-1]
        size = level_size(within.grow(self.halo).size, coarsest.s)
        here = Region(0, 0, size.height, size.width)
        return most_kept(here, Size(BLOCK, BLOCK), KEPT_BLOCKS, 4 * coarsest.u.shape[0])

    @property
    def halo(self) -> int:
        """Output pixels around a region whose noise enters it, one side, but for the size of the coarsest blocks."""
        coarsest = self.scales[-1]
        own = sum((self.config.patch_size - 1 + 1) * 2**scale.s for scale in self.scales)
        return own + (max(coarsest.u.shape[1:]) + BLOCK) * 2**coarsest.s

    def _pixels(self, U: Tensor) -> np.ndarray:
        return np.ascontiguousarray(from_unit(U.permute(1, 2, 0).cpu().numpy(), self.exemplar.pixels.dtype))

    def _output(
        self, s: int, start: Blocks, period: Period, region: Region, evidence: list[dict[str, Any]] | None = None
    ) -> Tensor:
        """What scale s makes of its U on a region of its grid: (C, 2H, 2W), at the finest scale (C, H, W)."""
        done, j = self.scales[s].transport(
            self._input(s, start, period, region.grow(self.config.patch_size - 1), evidence)
        )
        if evidence is not None:
            evidence.append(_evidence(self.scales[s], j))
        return done

    def _input(
        self, s: int, start: Blocks, period: Period, region: Region, evidence: list[dict[str, Any]] | None = None
    ) -> Tensor:
        """U (C, H, W) of scale s on a region of its grid: Gaussian at the coarsest, else what the coarser one made.

        Departure: U is never smaller than what all patches cover. Published pictures end where their patches do, and
        their border pixels are averages of fewer.
        """
        if s == len(self.scales) - 1:
            return torch.from_numpy(start.window(region)).permute(2, 0, 1).to(self.device)
        fine, coarse = level_period(period, s), level_period(period, s + 1)
        parents = coarser(region, fine, coarse).grow(int(period != ENDLESS))  # what interpolation may need
        doubled = self._output(s + 1, start, period, parents, evidence)
        U = _fitted(doubled, region.top, region.height, parents.top, fine[0], coarse[0], 1)
        return _fitted(U, region.left, region.width, parents.left, fine[1], coarse[1], 2)

    def _start_of(self, seed: int, period: Period) -> Blocks:
        coarsest = len(self.scales) - 1
        return self._start(NoiseField(seed, coarsest, period=level_period(period, coarsest)))

    def _start(self, noise: NoiseField) -> Blocks:
        """The Gaussian texture of the coarsest scale, float64 inside."""
        u = self.scales[-1].u.double()
        h, w = u.shape[1] - 1, u.shape[2] - 1

        def block(here: Region) -> np.ndarray:
            W = noise.normal(Region(here.top - h, here.left - w, BLOCK + h, BLOCK + w))
            U = field(u, torch.from_numpy(W).to(u))[:, : here.height, : here.width]
            return U.float().permute(1, 2, 0).contiguous().cpu().numpy()

        return Blocks(block, Size(BLOCK, BLOCK), noise.period, kept=KEPT_BLOCKS)

    def tensors(self) -> dict[str, Tensor]:
        """Positions and potential of each scale; the atoms themselves are cut out of the exemplar again."""
        found = {"mass_error": torch.tensor([scale.mass_error for scale in self.scales], dtype=torch.float64)}
        for scale in self.scales:
            assert scale.v is not None, "a model is made by fit() or load()"
            found |= {f"positions.{scale.s}": scale.at, f"psi.{scale.s}": scale.v}
        return found

    @classmethod
    def from_tensors(cls, exemplar: Picture, config: Any, tensors: Mapping[str, Tensor], device: str) -> Texto2018:
        model = cls(exemplar, config, device)
        errors = _expect(tensors, "mass_error", (len(model.scales),), torch.float64)
        for scale, error in zip(model.scales, errors.tolist(), strict=True):
            at = _expect(tensors, f"positions.{scale.s}", (scale.n_atoms, 2), torch.int32)
            row = at[:, 0].long() * scale.per_row + at[:, 1].long()
            if int(at.min()) < 0 or int(at[:, 1].max()) >= scale.per_row or int(row.max()) >= scale.n_patches:
                raise InputError(f"positions of scale {scale.s} lie outside the exemplar")
            scale.choose(at)
            scale.v = _expect(tensors, f"psi.{scale.s}", (scale.n_atoms,), torch.float32).to(model.device)
            scale.mass_error = error
        return model


def _fitted(doubled: Tensor, start: int, n: int, first: int, fine: int | None, coarse: int | None, axis: int) -> Tensor:
    """Rows start .. start + n of the plane from those of its doubled coarser plane, which begin at coarse row first.

    Where a period is not twice the coarser one, the doubled plane has a row too many or too few: that is worked off
    by linear interpolation over FITTED rows on both sides of the period's end, and leaves no edge there.
    """
    position = [_position(y, fine, coarse) - 2 * first for y in range(start, start + n)]
    base = [math.floor(at) for at in position]
    before = doubled.index_select(axis, torch.tensor(base, device=doubled.device))
    t = torch.tensor([float(at - b) for at, b in zip(position, base, strict=True)], device=doubled.device)
    if not bool(t.any()):
        return before
    after = doubled.index_select(axis, torch.tensor(base, device=doubled.device) + (t > 0).long())
    return before + (t[:, None] if axis == 1 else t) * (after - before)


def _position(y: int, fine: int | None, coarse: int | None) -> Fraction | int:
    """Where row y of the plane lies among the rows of its doubled coarser plane."""
    if fine is None or coarse is None:
        return y
    row, excess, n = y % fine, 2 * coarse - fine, min(FITTED, fine // 2)
    here = y // fine * 2 * coarse + row
    if row >= fine - n:  # the end of a period: half of the excess
        return here + excess * Fraction(row - fine + n, 2 * n)
    if row < n:  # its beginning: the other half
        return here - excess * Fraction(n - row, 2 * n)
    return here


def gaussian_law(u: Tensor, w: int) -> Sampler:
    """Draws from the exact law of one w x w patch of the Gaussian texture of u (C, h, w): N(m, R R^T).

    The Python code that was released with the paper transforms the wrong axes of the exemplar here and orders rows
    otherwise than patches, so that its covariance is unrelated to that of its patches; this follows the paper.
    """
    m, covariance = patch_law(u, w)
    values, vectors = torch.linalg.eigh(covariance)
    R = (vectors * values.clamp(min=0).sqrt()).float()

    def sample(n: int, generator: torch.Generator) -> Tensor:
        return m.to(R) + torch.randn(n, len(R), generator=generator).to(R) @ R.T

    return sample


def empirical_law(U: Tensor, w: int, generator: torch.Generator) -> Sampler:
    """The law of the w x w patches of U (C, H, W), some 2^18 of them at random positions.

    Departure: published are four Gaussians fitted to the patches of the synthesis. They cost more, to fit and to draw
    from, than all the rest, and keep nothing of the patches but their moments.
    """
    n = (U.shape[1] - w + 1) * (U.shape[2] - w + 1)
    return from_points(_patches(U, w, torch.randperm(n, generator=generator)[:TRAINING_PATCHES]))


def _patches(u: Tensor, w: int, row: Tensor) -> Tensor:
    """extract(u, w)[row], without the rest."""
    views, row = windows(u.permute(1, 2, 0), w), row.to(u.device)
    return views[row // views.shape[1], row % views.shape[1]].reshape(len(row), -1)


def _resize(u: Tensor, size: Size) -> Tensor:
    """u (C, h, w) by cubic splines, mirrored at the borders and without anti-aliasing, as published."""
    from skimage.transform import resize

    shape = (size.height, size.width)
    if shape == u.shape[1:]:
        return u
    planes = [
        resize(c, shape, order=3, mode="symmetric", clip=False, preserve_range=True, anti_aliasing=False)
        for c in u.double().cpu().numpy()
    ]
    return torch.from_numpy(np.stack(planes)).to(u)


def _bands(U: Tensor, rows: int, w: int) -> list[Tensor]:
    """U in bands that hold so many rows of patches each."""
    return [U[:, top : top + rows + w - 1] for top in range(0, U.shape[1] - w + 1, rows)]


def _expect(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    found = tensors[name]
    if found.dtype != dtype or tuple(found.shape) != shape:
        raise InputError(f"{name} should be {dtype} {shape}, got {found.dtype} {tuple(found.shape)}")
    return found


def _evidence(scale: Scale, j: Tensor) -> dict[str, Any]:
    """How far the shares of this picture's patches are from 1/J each, and what counting alone would give.

    Neighbouring patches resemble each other, so a picture is above its floor; solver_mass_error is that of the map.
    """
    _, weights, inverse = unique_atoms(scale.y)
    share = torch.bincount(inverse[j.reshape(-1)], minlength=len(weights)).double() / j.numel()
    return {
        "level": scale.s,
        "size": f"{j.shape[1]}x{j.shape[0]}",
        "atoms": scale.n_atoms,
        "mass_error": round((share - weights.double()).abs().sum().item(), 4),
        "mass_error_floor": round(math.sqrt(2 * len(weights) / (math.pi * j.numel())), 4),
        "solver_mass_error": round(scale.mass_error, 4),
    }
