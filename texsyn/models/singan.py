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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.blocks import ENDLESS, Period, period_of
from texsyn.cubic import COMPAT, Grid, cover, eight_bits, enlarge, resize
from texsyn.images import InputError, Picture, Region, Size, from_unit, to_unit
from texsyn.models.base import Synthesis, Watch, Window
from texsyn.models.trained import Endless
from texsyn.noise import NoiseField
from texsyn.ot.nearest import one_torch_thread
from texsyn.training import Outcome, of, under

ARCHITECTURES = ("singan", "grown")
REACH = 5  # pixels that a scale's network looks to each side: five 3x3 convolutions, 11 pixels in all
BLOCKS = 3  # convolutions between a network's first and last
BAND = 2**17  # pixels of a scale that are computed at once when sampling, in whole rows, for memory's sake
#: what both papers' released codes train with
PUBLISHED = {"max_side": 250, "steps": 2000, "d_turns": 3, "g_turns": 3, "learning_rate": 0.0005}
Wrap = tuple[bool, bool]  # whether rows, and columns, go on at the other side
OPEN: Wrap = (False, False)
Noise = Callable[[int, Size], Tensor]


@dataclass(frozen=True)
class SinganConfig:
    """Everything that shapes a model besides exemplar and seed.

    The defaults are for minutes on a CPU; see Singan.recipes for the published numbers.
    """

    architecture: str = "singan"
    #: shorter side at the coarsest scale, longer side at the finest
    min_side: int = 25
    max_side: int = 128  # 6 CPU minutes of training in grey; the time goes with the square
    #: of one scale's side to that of the next finer one, about: sides are made to end at min_side
    factor: float = 0.7
    #: number of scales, more of them coarse; 0 for as many as the factor asks for
    stages: int = 0
    #: hidden channels at the coarsest scale, doubled every `growth` scales up to max_channels; 0: never
    channels: int = 32
    growth: int = 0
    max_channels: int = 128
    #: batch normalisation in the networks of pictures, and in the critics
    normalised: bool = True
    #: of the leaky rectifiers below zero
    slope: float = 0.2
    #: a scale
    steps: int = 600
    d_turns: int = 1
    g_turns: int = 1
    #: the generator's g_turns updates go along one gradient
    one_gradient: bool = False
    #: of "grown": so many of the last stages learn, each earlier one at rate_per_age times the next one's rate
    trained_stages: int = 3
    rate_per_age: float = 0.1
    learning_rate: float = 0.001
    #: what the learning rate is multiplied by in the last fifth of a scale's steps
    last_rate: float = 0.1
    #: weights of the reconstruction and of the gradient penalty
    alpha: float = 10.0
    penalty: float = 0.1
    #: deviation of a scale's noise, in units of what reconstruction still lacks there
    noise: float = 0.1
    #: "official": z* redrawn every step, gradients of outdated pictures, 8 bits between scales, as released
    compat: str = "texsyn"
    #: pictures are windows of an endless plane without borders; it changes nothing in what is learned
    endless: bool = False
    #: 0 for no limit; with one, what is learned depends on the speed of the machine
    max_minutes: float = 0.0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture={self.architecture!r} is not one of {', '.join(ARCHITECTURES)}")
        if self.compat not in COMPAT:
            raise ValueError(f"compat={self.compat!r} is not one of {', '.join(COMPAT)}")
        if self.compat == "official" and (self.architecture != "singan" or self.one_gradient):
            raise ValueError("compat='official' goes with architecture='singan' and one_gradient=False")
        for name, least, most in (
            ("min_side", 2 * REACH + 1, 1024), ("max_side", 2 * REACH + 1, 8192), ("stages", 0, 32),
            ("channels", 1, 1024), ("growth", 0, 32), ("max_channels", 1, 1024), ("steps", 1, 2**24),
            ("d_turns", 1, 100), ("g_turns", 1, 100), ("trained_stages", 1, 32),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)} should be from {least} to {most}")
        if self.stages == 1 or self.max_side < self.min_side:
            raise ValueError(
                f"stages={self.stages} should be 0 or at least 2"
                if self.stages == 1
                else f"max_side={self.max_side} should be at least min_side={self.min_side}"
            )
        if not 0.2 <= self.factor <= 0.95:
            raise ValueError(f"factor={self.factor} should be from 0.2 to 0.95")
        for name in ("learning_rate", "last_rate", "rate_per_age"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} should be above 0 and at most 1")
        for name in ("slope", "alpha", "penalty", "noise", "max_minutes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} should be 0 or more")

    def width(self, scale: int) -> int:
        """Hidden channels at a scale."""
        doublings = scale // self.growth if self.growth and self.architecture == "singan" else 0
        return max(self.channels, min(self.channels * 2**doublings, self.max_channels))


def sizes_of(size: Size, config: SinganConfig) -> list[Size]:
    """Sizes of the scales of an exemplar of that size, coarsest first; the last is that of the training.

    The released code's rule, one scale more than the factor needs, or with `stages` the rule of the successor's, whose
    coarse scales lie closer together than its fine ones.

    >>> [str(size) for size in sizes_of(Size(168, 250), SinganConfig(max_side=250, stages=6))]
    ['38x26', '46x31', '61x41', '89x60', '171x115', '250x168']
    """
    shrink = min(config.max_side / max(size.height, size.width), 1.0)
    last = Size(math.ceil(size.height * shrink), math.ceil(size.width * shrink))
    least, base = min(last.height, last.width), math.log(config.factor)
    if config.stages:
        n = config.stages - 1
        shape = (n - 1) / math.log(n) if n > 1 else 0.0
        powers = [*(shape * math.log(n - i) + 1 for i in range(n)), 0.0]
    else:
        longest = max(size.height, size.width)
        n = math.ceil(math.log(config.min_side / min(size.height, size.width)) / base) + 1
        n = max(n - math.ceil(math.log(min(config.max_side, longest) / longest) / base), 1)
        powers = [float(n - i) for i in range(n + 1)]
    r = min((config.min_side / least) ** (1 / n), 1.0)
    return [Size(math.ceil(last.height * r**p), math.ceil(last.width * r**p)) for p in powers]


# ------------------------------------------------------------------------------------------------------------ networks


class _Convolution(nn.Conv2d):
    """3x3 without border, made with no weights yet: torch would draw them from the global stream."""

    def reset_parameters(self) -> None:
        pass


class ConvBlock(nn.Sequential):
    """Convolution, normalisation if any, leaky rectifier; named as in the released code."""

    def __init__(self, n_in: int, n_out: int, config: SinganConfig) -> None:
        super().__init__()
        self.add_module("conv", _Convolution(n_in, n_out, 3))
        if config.normalised:
            self.add_module("norm", nn.BatchNorm2d(n_out))
        self.add_module("rectifier", nn.LeakyReLU(config.slope))


class ScaleNet(nn.Module):
    """Five 3x3 convolutions without borders: (B, C, H, W) to (B, n_out, H - 10, W - 10).

    A generator, if `makes`, ends with tanh and adds the middle of v; a critic gives a map of scores. Weights have the
    names of the released code: head.conv.weight, body.block1.norm.bias, tail.0.weight (a critic's: tail.weight).
    """

    def __init__(self, channels: int, width: int, config: SinganConfig, *, makes: bool) -> None:
        super().__init__()
        self.head = ConvBlock(channels, width, config)
        self.body = nn.Sequential()
        for k in range(1, BLOCKS + 1):
            self.body.add_module(f"block{k}", ConvBlock(width, width, config))
        last = _Convolution(width, channels if makes else 1, 3)
        self.tail: nn.Module = nn.Sequential(last, nn.Tanh()) if makes else last

    def forward(self, z: Tensor, v: Tensor | None = None) -> Tensor:
        out: Tensor = self.tail(self.body(self.head(z)))
        if v is None:
            return out
        top, left = (v.shape[2] - out.shape[2]) // 2, (v.shape[3] - out.shape[3]) // 2
        return out + v[:, :, top : top + out.shape[2], left : left + out.shape[3]]


class Grown(nn.Module):
    """One generator of as many stages as there are scales: head, three convolutions a stage, tail.

    Features go up: stage k adds to them what its convolutions make of them and of noise in all their channels. Borders
    are zeros around every stage, so that other sizes than the exemplar's keep its look. (The original makes features
    that much larger instead, for variety at borders, where sizes are the exemplar's.)
    """

    def __init__(self, channels: int, n_stages: int, config: SinganConfig) -> None:
        super().__init__()
        self.config = config
        self.head = ConvBlock(channels, config.channels, config)
        self.body = nn.ModuleList(self._stage() for _ in range(n_stages))
        self.tail = nn.Sequential(_Convolution(config.channels, channels, 3), nn.Tanh())

    def _stage(self) -> nn.Sequential:
        width = self.config.channels
        return nn.Sequential(*(ConvBlock(width, width, self.config) for _ in range(BLOCKS)))

    def windows(self, noise: Callable[[int, Region], Tensor], amplitudes: Sequence[float], plane: Plane) -> Tensor:
        """forward() without borders, for the regions of an endless plane."""
        out, n = plane.out, len(self.body)
        features = self.body[0](self.head(noise(0, out[0].grow(BLOCKS + 1))))
        for k in range(1, n):
            here = out[k].grow(BLOCKS)
            up = enlarge(features, here, plane.grids[k], plane.grids[k - 1])
            features = grown(up, -BLOCKS) + self.body[k](up + amplitudes[k] * noise(k, here))
        made: Tensor = self.tail(features)
        return plane.finish(made, n)

    def grow(self) -> None:
        """One stage more, a copy of the last."""
        fresh = self._stage().to(next(self.parameters()).device)
        fresh.load_state_dict(self.body[-1].state_dict())
        self.body.append(fresh)

    def forward(self, sizes: Sequence[Size], amplitudes: Sequence[float], noise: Noise, wrap: Wrap = OPEN) -> Tensor:
        """The picture at the last of the sizes; scales beyond the stages only resample."""
        features = self.head(grown(noise(0, sizes[0]), 1, wrap))
        features = self.body[0](grown(features, BLOCKS, wrap))
        n = len(self.body)
        for k in range(1, min(n, len(sizes))):
            up = resize(features, sizes[k], periodic=wrap)
            features = up + self.body[k](grown(up + amplitudes[k] * noise(k, sizes[k]), BLOCKS, wrap))
        made: Tensor = self.tail(grown(features, 1, wrap))
        return resize(made, sizes[-1], periodic=wrap) if len(sizes) > n else made


@dataclass(frozen=True)
class Plane:
    """What each scale shows of an endless plane: its region, and its grid, so many pixels for so many of the others.

    out: of the values that a scale hands on, coarsest first; the last is the picture.
    """

    out: tuple[Region, ...]
    grids: tuple[Grid, ...]

    @classmethod
    def of(cls, region: Region, grids: Sequence[Grid], n: int, reach: int, tail: int) -> Plane:
        """For n networks that look `reach` to each side and a last layer behind the n-th that looks `tail`."""
        out = [region]
        for k in reversed(range(len(grids))):
            if k == n - 1:
                out[0] = out[0].grow(tail)
            if k:
                out.insert(0, cover(out[0].grow(reach if k < n else 0), grids[k], grids[k - 1]))
        return cls(tuple(out), tuple(grids))

    def finish(self, made: Tensor, n: int) -> Tensor:
        """The picture, of what n scales made; scales to come only resample."""
        for k in range(n, len(self.grids)):
            made = enlarge(made, self.out[k], self.grids[k], self.grids[k - 1])
        return made


def grown(u: Tensor, margin: int, wrap: Wrap = OPEN) -> Tensor:
    """u (B, C, H, W) with a margin on every side: zeros, or on axes that wrap what lies on the other side."""
    if not any(wrap):
        return F.pad(u, (margin,) * 4)
    for axis, wraps in zip((2, 3), wrap, strict=True):
        if wraps:
            at = torch.arange(-margin, u.shape[axis] + margin, device=u.device).remainder(u.shape[axis])
            u = u.index_select(axis, at)
        else:
            u = F.pad(u, (0, 0, margin, margin) if axis == 2 else (margin, margin))
    return u


@torch.no_grad()
def initialise(network: nn.Module, random: torch.Generator) -> None:
    """Fresh weights: convolutions N(0, 0.02) with torch's usual biases, normalisation N(1, 0.02) and 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            module.weight.copy_(0.02 * torch.randn(module.weight.shape, generator=random))
            assert module.bias is not None
            module.bias.copy_((2 * torch.rand(module.bias.shape, generator=random) - 1) * bound)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.copy_(1 + 0.02 * torch.randn(module.weight.shape, generator=random))


def channels_last(network: nn.Module) -> None:
    """Lay the weights out as convolutions of few channels are fastest: up to twice."""
    for p in network.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


def through(
    scales: Sequence[ScaleNet],
    sizes: Sequence[Size],
    amplitudes: Sequence[float],
    noise: Noise,
    up: Callable[[Tensor, Size], Tensor],
    *,
    first: int = 0,
    start: Tensor | None = None,
    wrap: Wrap = OPEN,
) -> Tensor:
    """u_n at the last of the sizes, from scale `first` on, which adds to `start`; sizes beyond the scales resample."""
    made = start
    for k in range(first, len(sizes)):
        below = made if made is None or k == first else up(made, sizes[k])
        if k < len(scales):
            z = amplitudes[k] * noise(k, sizes[k])
            below = torch.zeros_like(z) if below is None else below
            made = _in_bands(scales[k], grown(z + below, REACH, wrap), grown(below, REACH, wrap))
        else:
            made = below
    assert made is not None, "there is no scale to run"
    return made


def _in_bands(net: ScaleNet, z: Tensor, v: Tensor) -> Tensor:
    """net(z, v), by bands of rows where nothing is learned from it: frozen networks see only REACH rows further."""
    height, rows = z.shape[2] - 2 * REACH, max(4 * REACH, BAND // z.shape[3])
    if net.training or height <= rows:
        made: Tensor = net(z, v)
        return made
    tops = range(0, height, rows)
    return torch.cat([net(*(t[:, :, top : top + rows + 2 * REACH] for t in (z, v))) for top in tops], 2)


# --------------------------------------------------------------------------------------------------------------- model


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

    def noise_of(self, seed: int) -> Noise:
        """The noise of a seed, a function of scale and size: the part of its endless noise that begins at (0, 0)."""
        return lambda scale, size: self._noise(seed, scale, Region(0, 0, size.height, size.width))

    def _noise(self, seed: int, scale: int, region: Region, period: Period = ENDLESS) -> Tensor:
        """(1, n, h, w); one channel repeated at the coarsest scale."""
        n, repeats = self.noise_channels(scale), scale == 0 and self.config.architecture == "singan"
        fields = [NoiseField(seed, scale, c, period).normal(region) for c in range(1 if repeats else n)]
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

    def plane(self, *, seed: int, period: Period = ENDLESS, number: int = 0) -> Window:
        if not self.config.endless:
            return super(Endless, self).plane(seed=seed, period=period, number=number)
        return super().plane(seed=seed, period=period, number=number)

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
            wanted, found = net.state_dict(), of(f"scales.{k}", tensors)
            if {a: (t.shape, t.dtype) for a, t in wanted.items()} != {a: (t.shape, t.dtype) for a, t in found.items()}:
                raise InputError(f"the weights of scale {k} do not belong to a network of this configuration")
            net.load_state_dict(found)
        if len({name.split(".")[1] for name in tensors if name.startswith("scales.")}) != len(nets):
            raise InputError(f"there are weights for other than {len(nets)} networks")
        return cls(
            exemplar, config, device, scales=nets, amplitudes=amplitudes.tolist(),
            fixed_noise=fixed.to(model.device), steps=int(tensors["steps"]),
        )  # fmt: skip


def empty_scales(channels: int, n: int, config: SinganConfig) -> Iterator[nn.Module]:
    """Networks of the first n scales, without weights yet."""
    if config.architecture == "grown":
        yield Grown(channels, n, config)
        return
    for k in range(n):
        yield ScaleNet(channels, config.width(k), config, makes=True)


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
