"""SinGAN: a pyramid of small networks learned from one picture, each adding what the next coarser scale left out.

Shaham, Dekel and Michaeli 2019, "SinGAN: learning a generative model from a single natural image" (ICCV), section 3:
with x_n the exemplar at scale n, z_n noise and up() resampling to the next scale's size,

    u_n = G_n(sigma_n z_n + up(u_(n-1)), up(u_(n-1)))        G_n(z, v) = v + tanh net(z),

each G_n trained against a critic of patches of its own, coarsest scale first, all earlier ones frozen. One series of
noise, a fixed z* at the coarsest scale and nothing at the others, is made to give the exemplar back.

architecture="grown" is the successor of Hinz, Fisher, Wang and Wermter 2021, "Improved techniques for training
single-image GANs" (WACV): one network that grows a stage a scale, whose features go up instead of pictures, its last
stages trained together.

Scales are counted from the coarsest, 0. Inside, pictures are (1, C, H, W) in [-1, 1]. Pictures come out at the scale of
the training, where an exemplar longer than max_side is shrunk to it. How it is trained: texsyn/gan/single_image.py.

Departures: resampling mirrors at borders and keeps all digits, a scale's factors lay borders on borders; z* is drawn
once. compat="official" does these as the released code does. Noise is addressed by its place, not drawn from a stream.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.blocks import ENDLESS, Period, period_of
from texsyn.cubic import Grid, eight_bits, enlarge, resize
from texsyn.images import InputError, Picture, Region, Size, from_unit, to_unit
from texsyn.models.base import Synthesis, Watch, Window
from texsyn.models.scale_networks import (
    BLOCKS,
    OPEN,
    REACH,
    Grown,
    Noise,
    Plane,
    ScaleNet,
    SinganConfig,
    Wrap,
    empty_scales,
    grown,
    initialise,
    sizes_of,
    through,
)
from texsyn.models.trained import Endless, channels_last, load_weights
from texsyn.noise import NoiseField
from texsyn.ot.nearest import one_torch_thread
from texsyn.training import Outcome, of, under

__all__ = [
    "REACH",
    "Grown",
    "ScaleNet",
    "Singan",
    "SinganConfig",
    "empty_scales",
    "grown",
    "initialise",
    "sizes_of",
    "through",
]
#: what both papers' released codes train with
PUBLISHED = {"max_side": 250, "steps": 2000, "d_turns": 3, "g_turns": 3, "learning_rate": 0.0005}


class Singan(Endless):
    """The trained pyramid; see the module's docstring.

    A picture is made whole, a pure function of (model, seed, size, tile), with the borders that the networks know. With
    config.endless it is the window, top left corner at (0, 0), of the plane that render() shows. fit() makes the same
    model for the same seed, whatever the number of threads, unless max_minutes cuts it short.
    """

    one_thread = True
    method = "singan"
    config_type = SinganConfig
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {},
        "paper": PUBLISHED | {"factor": 0.75, "growth": 4},
        "fast": PUBLISHED | {"architecture": "grown", "stages": 6, "channels": 64, "normalised": False, "slope": 0.05,
                             "one_gradient": True},
    }  # fmt: skip

    def __init__(
        self,
        exemplar: Picture,
        config: SinganConfig | None = None,
        device: str = "cpu",
        *,
        scales: Sequence[nn.Module] = (),
        amplitudes: Sequence[float] = (),
        fixed_noise: Tensor | None = None,
        steps: int = 0,
    ) -> None:
        """The pyramid without networks, or with those given; fit() and load() give the model that makes pictures.

        Raises InputError for an exemplar that is too small, or of one colour.
        """
        super().__init__(exemplar, config or SinganConfig(), device)
        self.local = self.config.endless
        size, pixels = exemplar.size, exemplar.pixels
        shrink = min(self.config.max_side / max(size.height, size.width), 1.0)
        if math.ceil(min(size.height, size.width) * shrink) < self.config.min_side:
            rule = f", and a longer side of at most {self.config.max_side / self.config.min_side:.3g} times the shorter"
            raise InputError(
                f"{exemplar.name}: min_side={self.config.min_side} needs at least "
                f"{self.config.min_side}x{self.config.min_side} pixels{rule if shrink < 1 else ''}, got {size}"
            )
        if (pixels == pixels[0, 0]).all():
            raise InputError(f"{exemplar.name}: has one colour only, from which a network learns nothing; got {size}")
        self.low, self.high = (float(v) for v in (pixels.min(), pixels.max()))
        #: of the scales in training, coarsest first; pictures come out at the last one's scale
        self.sizes = sizes_of(size, self.config)
        #: coarsest first, frozen; one alone where the architecture is "grown"
        self.scales = [net.eval().requires_grad_(False).to(self.device) for net in scales]
        for net in self.scales:
            channels_last(net)  # the bits of a picture depend on it
        #: what noise is multiplied by at each scale
        self.amplitudes = tuple(float(a) for a in amplitudes)
        #: what reconstruct() begins with, (1, c, h, w) of the coarsest scale
        self.fixed_noise = fixed_noise
        self.steps = steps

    # ---- training

    @classmethod
    def learner(cls, exemplar: Picture, config: Any, *, seed: int, device: str) -> Any:
        from texsyn.gan.single_image import SingleImage  # up one room, and only to train

        return SingleImage(cls(exemplar, config, device), seed)

    @classmethod
    def n_steps(cls, exemplar: Picture, config: Any) -> int:
        """Steps of a whole training: those of all scales."""
        return int(config.steps) * len(sizes_of(exemplar.size, config))

    @classmethod
    def training_bytes(cls, exemplar: Picture, config: Any) -> int:
        """About what the finest scale's maps take at the peak, which is in the penalty's second derivatives.

        Measured at 96 to 250 pixels and 32 to 128 channels: 55 to 62 maps of the hidden channels, 39 without
        normalisation, 80 and 49 where a generator's graph is held as well.
        """
        config = config or cls.config_type()
        sizes = sizes_of(exemplar.size, config)
        holds = config.one_gradient or config.compat == "official"
        maps = (60 + 19 * holds) if config.normalised else (40 + 9 * holds)
        padded = (sizes[-1].height + 2 * REACH) * (sizes[-1].width + 2 * REACH)
        return maps * padded * config.width(len(sizes) - 1) * 4

    @classmethod
    def train(cls, exemplar: Picture, config: Any = None, **more: Any) -> tuple[Self, Outcome]:
        """TrainedModel.train(); the outcome says where the exemplar was shrunk."""
        model, outcome = super().train(exemplar, config, **more)
        if model.sizes[-1] != exemplar.size:
            shrunk = f"learned at {model.sizes[-1]}, shrunk from {exemplar.size} to max_side={model.config.max_side}"
            outcome = replace(outcome, sentence=f"{outcome.sentence}, {shrunk}")
        return model, outcome

    # ---- values and pixels

    @property
    def _floats(self) -> bool:
        return self.exemplar.pixels.dtype.kind == "f"

    def from_picture(self, picture: Picture) -> Tensor:
        """(1, c, h, w) in [-1, 1]; floats by the exemplar's least and largest value. InputError for other channels."""
        if picture.channels != self.exemplar.channels:
            raise InputError(
                f"{picture.name}: has {picture.channels} channels, and the model's pictures {self.exemplar.channels}"
            )
        values = to_unit(picture.pixels)
        if self._floats:
            values = (values - np.float32(self.low)) / np.float32(self.high - self.low)
        return torch.from_numpy(values * 2 - 1).permute(2, 0, 1)[None].contiguous().to(self.device)

    def to_pixels(self, values: Tensor) -> np.ndarray:
        """(h, w, c) of values (1, c, h, w), cut to [-1, 1], in the exemplar's number type and range."""
        unit = ((values[0].permute(1, 2, 0).cpu().numpy() + 1) / 2).clip(0, 1)
        if self._floats:
            unit = np.float32(self.low) + unit * np.float32(self.high - self.low)
        return np.ascontiguousarray(from_unit(unit, self.exemplar.pixels.dtype))

    def reals(self) -> list[Tensor]:
        """The exemplar at every scale, (1, c, h, w) each, all resampled from that of the finest."""
        x = self.from_picture(self.exemplar)
        if self.config.compat == "texsyn":
            last = resize(x, self.sizes[-1]).clamp(-1, 1)
            return [*(resize(last, size).clamp(-1, 1) for size in self.sizes[:-1]), last]
        last = _official(x, min(self.config.max_side / max(x.shape[2:]), 1.0), self.sizes[-1])
        return [_official(last, self._ratio ** (len(self.sizes) - 1 - k), size) for k, size in enumerate(self.sizes)]

    @property
    def learned(self) -> Picture:
        if self.sizes[-1] == self.exemplar.size:
            return self.exemplar
        pixels = self.to_pixels(self.reals()[-1])
        return replace(self.exemplar, pixels=pixels, palette=None, indices=None, notes=())

    @property
    def _ratio(self) -> float:
        """Of one scale's side to the next one's, where scales are geometric."""
        least = min(self.sizes[-1].height, self.sizes[-1].width)
        return float((self.config.min_side / least) ** (1 / (len(self.sizes) - 1)))

    def up(self, u: Tensor, size: Size, wrap: Wrap = OPEN) -> Tensor:
        """A scale's picture as the next one, of that size, sees it."""
        if self.config.compat == "texsyn" or any(wrap):
            return resize(u, size, periodic=wrap)
        return _official(u, 1 / self._ratio, size)

    # ---- pictures

    def sizes_for(self, size: Size) -> list[Size]:
        """Sizes of all scales for a picture of that size at the training's resolution, coarsest first."""
        last = self.sizes[-1]
        across = ((one.height * size.height / last.height, one.width * size.width / last.width) for one in self.sizes)
        return [*[Size(max(1, round(h)), max(1, round(w))) for h, w in across][:-1], size]

    def noise_channels(self, scale: int) -> int:
        """Channels of a scale's noise: the picture's, but the features' inside a grown network."""
        grows = self.config.architecture == "grown" and scale > 0
        return self.config.channels if grows else self.exemplar.channels

    def noise_of(self, seed: int, level: int = 0) -> Noise:
        """The noise of a seed, a function of scale and size: the part of its endless noise that begins at (0, 0).

        level: where scales' noise begins among the seed's levels, other than 0 for noise that no single picture has.
        """
        return lambda scale, size: self._noise(seed, scale, Region(0, 0, size.height, size.width), level=level)

    def _noise(self, seed: int, scale: int, region: Region, period: Period = ENDLESS, *, level: int = 0) -> Tensor:
        """(1, n, h, w); one channel repeated at the coarsest scale."""
        n, repeats = self.noise_channels(scale), scale == 0 and self.config.architecture == "singan"
        fields = [NoiseField(seed, level + scale, c, period).normal(region) for c in range(1 if repeats else n)]
        z = torch.from_numpy(np.stack(fields))[None].to(self.device)
        return z.expand(1, n, -1, -1) if repeats else z

    def recorded(self, scale: int, size: Size) -> Tensor:
        """The reconstruction's noise: z* at the coarsest scale, begun again where the size is larger; 0 at others."""
        if scale > 0:
            return torch.zeros(1, self.noise_channels(scale), size.height, size.width, device=self.device)
        assert self.fixed_noise is not None
        if self.config.architecture == "grown":  # the exemplar itself
            return resize(self.fixed_noise, size)
        rows, columns = (
            torch.arange(n, device=self.device).remainder(m)
            for n, m in zip((size.height, size.width), self.fixed_noise.shape[2:], strict=True)
        )
        return self.fixed_noise.index_select(2, rows).index_select(3, columns)

    @one_torch_thread()
    @torch.no_grad()
    def generate(
        self,
        size: Size,
        *,
        seed: int,
        tile: str = "none",
        first: int = 0,
        start: Tensor | None = None,
        noise: Noise | None = None,
        keep: int = 0,
    ) -> Tensor:
        """A picture (1, c, h, w), about within [-1, 1]: scales first .. last, those below `keep` without chance.

        start: what scale `first` adds to, (1, c, ...) of its size; None for nothing. A grown network takes pictures at
        its coarsest scale only: start is shrunk to that, and the scales below `first` have no noise. noise: instead of
        the seed's, from (scale, size) to (1, noise_channels(scale), h, w).
        """
        if not 0 <= first < len(self.sizes):
            raise ValueError(f"first={first} should be from 0 to {len(self.sizes) - 1}")
        sizes, chance = self.sizes_for(size), noise or self.noise_of(seed)
        wrap: Wrap = tuple(p is not None for p in period_of(tile, size))  # type: ignore[assignment]
        if start is not None and tuple(start.shape[1:]) != (self.exemplar.channels, *_sides(sizes[first])):
            raise ValueError(f"start of shape {tuple(start.shape)} should be {self.exemplar.channels} x {sizes[first]}")

        def drawn(scale: int, here: Size) -> Tensor:
            return self.recorded(scale, here) if scale < keep else chance(scale, here)

        if self.config.architecture == "singan":

            def up(u: Tensor, here: Size) -> Tensor:
                return self.up(u, here, wrap)

            return through(self._scales(), sizes, self.amplitudes, drawn, up, first=first, start=start, wrap=wrap)

        def into(scale: int, here: Size) -> Tensor:
            if start is None:
                return drawn(scale, here)
            if scale == 0:
                return resize(start, here, periodic=wrap)
            return self.recorded(scale, here) if scale < first else drawn(scale, here)

        made: Tensor = self._grown()(sizes, self.amplitudes, into, wrap)
        return made

    def _scales(self) -> list[ScaleNet]:
        assert self.scales, "a model is made by fit() or load()"
        return [net for net in self.scales if isinstance(net, ScaleNet)]

    def _grown(self) -> Grown:
        (network,) = self.scales
        assert isinstance(network, Grown)
        return network

    def reconstruct(self) -> Tensor:
        """What the reconstruction's noise gives, (1, c, h, w) of the training's size: the exemplar, about."""
        return self.generate(self.sizes[-1], seed=0, keep=len(self.sizes))

    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        if self.config.endless:
            made = super().synthesise(size, seed=seed, tile=tile, watch=watch)
            made.evidence[0].update(scales=len(self.sizes), trained_at=str(self.sizes[-1]))
            return made
        watch = watch or Watch()
        watch.step(0.0, str(size))
        values = self.generate(size, seed=seed, tile=tile)
        watch.step(1.0, "done")
        evidence = {
            "level": 0,
            "size": str(size),
            "steps": self.steps,
            "scales": len(self.sizes),
            "trained_at": str(self.sizes[-1]),
            "clipped": round(float((values.abs() > 1).float().mean()), 4),
        }
        return Synthesis(self.to_pixels(values), None, [evidence])

    # ---- the endless plane

    @property
    def halo(self) -> int:
        """How far, in output pixels, a pixel of the endless plane looks for noise, at most; noise fills its place."""
        if not self.config.endless:
            return super(Endless, self).halo
        grids, reach = [_sides(size) for size in self.sizes], 0
        for y in range(max(grids[-1])):
            plane = self._plane(Region(y, y, 1, 1), grids)
            for k, (out, grid) in enumerate(zip(plane.out, grids, strict=True)):
                if k == len(self.amplitudes):
                    break  # scales to come have no noise
                here = out.grow(self._reach + (k == 0 and self.config.architecture == "grown"))
                for axis, first, last in ((0, here.top, here.bottom), (1, here.left, here.right)):
                    side = grids[-1][axis] / grid[axis]
                    reach = max(reach, y - math.floor(first * side), math.ceil(last * side) - 1 - y)
        return reach

    @property
    def _reach(self) -> int:
        return BLOCKS if self.config.architecture == "grown" else REACH

    def _plane(self, region: Region, grids: Sequence[Grid]) -> Plane:
        return Plane.of(region, grids, len(self.amplitudes), self._reach, self.config.architecture == "grown")

    def plane(self, *, seed: int, period: Period = ENDLESS, number: int = 0, within: Region | None = None) -> Window:
        if not self.config.endless:
            return super(Endless, self).plane(seed=seed, period=period, number=number, within=within)
        return super().plane(seed=seed, period=period, number=number, within=within)

    def values(self, region: Region, seed: int, period: Period) -> Tensor:
        """(c, h, w) in the exemplar's range. A period is one of every scale, in proportion."""
        cell = self.sizes_for(Size(period[0] or self.sizes[-1].height, period[1] or self.sizes[-1].width))
        grids = [_sides(size) for size in cell]
        periods: list[Period] = [(h if period[0] else None, w if period[1] else None) for h, w in grids]
        plane = self._plane(region, grids)

        def noise(scale: int, here: Region) -> Tensor:
            return self._noise(seed, scale, here, periods[scale])

        if self.config.architecture == "grown":
            made = self._grown().windows(noise, self.amplitudes, plane)
        else:
            nets = self._scales()
            made = nets[0](noise(0, plane.out[0].grow(REACH)))
            for k in range(1, len(nets)):
                here = plane.out[k].grow(REACH)
                below = enlarge(made, here, grids[k], grids[k - 1])
                made = nets[k](self.amplitudes[k] * noise(k, here) + below, below)
            made = plane.finish(made, len(nets))
        unit = (made[0] + 1) / 2
        return self.low + unit.clamp(0, 1) * (self.high - self.low) if self._floats else unit

    # ---- files

    def tensors(self) -> dict[str, Tensor]:
        """Weights and statistics of the networks, amplitudes, z*, and how many steps were taken."""
        assert self.fixed_noise is not None, "a model is made by fit() or load()"
        found = {"amplitudes": torch.tensor(self.amplitudes, dtype=torch.float64), "fixed_noise": self.fixed_noise}
        for k, net in enumerate(self.scales):
            found |= under(f"scales.{k}", net.state_dict())
        return found | {"steps": torch.tensor(self.steps)}

    @classmethod
    def from_tensors(cls, exemplar: Picture, config: Any, tensors: Mapping[str, Tensor], device: str) -> Singan:
        model = cls(exemplar, config, device)
        amplitudes, fixed = tensors["amplitudes"], tensors["fixed_noise"]
        n = len(amplitudes) if amplitudes.ndim == 1 and amplitudes.dtype == torch.float64 else 0
        if not 1 <= n <= len(model.sizes):
            raise InputError(f"there are amplitudes of {n} scales, and the configuration has {len(model.sizes)}")
        if fixed.dtype != torch.float32 or fixed.shape != (1, exemplar.channels, *_sides(model.sizes[0])):
            raise InputError(f"the fixed noise has shape {tuple(fixed.shape)}, not that of {model.sizes[0]}")
        nets = list(empty_scales(exemplar.channels, n, config))
        for k, net in enumerate(nets):
            load_weights(net, of(f"scales.{k}", tensors), f"the weights of scale {k}")
        if len({name.split(".")[1] for name in tensors if name.startswith("scales.")}) != len(nets):
            raise InputError(f"there are weights for other than {len(nets)} networks")
        return cls(
            exemplar, config, device, scales=nets, amplitudes=amplitudes.tolist(),
            fixed_noise=fixed.to(model.device), steps=int(tensors["steps"]),
        )  # fmt: skip


def _sides(size: Size) -> tuple[int, int]:
    return size.height, size.width


def _official(u: Tensor, factor: float, size: Size) -> Tensor:
    """The released code's resampling by a factor, from 8 bits; cut to the size, or stretched where it falls short.

    It is stretched together with the border of zeros that the networks are given.
    """
    made = resize(eight_bits(u), factor, compat="official").clamp(-1, 1)[:, :, : size.height, : size.width]
    if made.shape[2:] == _sides(size):
        return made
    padded = (size.height + 2 * REACH, size.width + 2 * REACH)
    made = F.interpolate(F.pad(made, (REACH,) * 4), padded, mode="bilinear", align_corners=True)
    return made[:, :, REACH:-REACH, REACH:-REACH]
