"""SinGAN's configuration, sizes and networks: one of a few convolutions a scale, or one that grows a stage a scale.

What a network does with noise and with what comes up from the coarser scale is said in singan.py. Weights have the
names of the released codes, and no network draws any from torch's global stream: initialise() does, from a generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.cubic import COMPAT, Grid, cover, enlarge, resize
from texsyn.images import Region, Size

ARCHITECTURES = ("singan", "grown")
REACH = 5  # pixels that a scale's network looks to each side: five 3x3 convolutions, 11 pixels in all
BLOCKS = 3  # convolutions between a network's first and last
BAND = 2**17  # pixels of a scale that are computed at once when sampling, in whole rows, for memory's sake
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


def empty_scales(channels: int, n: int, config: SinganConfig) -> Iterator[nn.Module]:
    """Networks of the first n scales, without weights yet."""
    if config.architecture == "grown":
        yield Grown(channels, n, config)
        return
    for k in range(n):
        yield ScaleNet(channels, config.width(k), config, makes=True)
