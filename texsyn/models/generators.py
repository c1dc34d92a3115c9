"""Generators of textures: noise at several scales in, pixels out, convolutions without borders in between.

Level k has one place for every 2^k x 2^k pixels. From the coarsest on, a level's values are doubled, joined with fresh
noise and convolved. Nothing is padded, so a window of the output is a function of windows of noise: whoever addresses
noise by its place on an endless grid has an endless plane, any part of which can be computed alone.

Two of them:

*modern*: at each level two 3x3 convolutions of what came up and a few channels of white noise; channels double per
level up to a cap. The finest levels get no noise: with it, whatever is made of grains finds white noise enough, and
stays there.

*ulyanov*: the texture network of Ulyanov, Lebedev, Vedaldi and Lempitsky 2016, "Texture networks", as Houdard,
Leclaire, Papadakis and Rabin trained it by transport of patches: noise has a branch of its own at each level, channels
grow by a step from the coarsest level to the finest. Departures: noise is Gaussian, sampling statistics are fixed.

Normalisation looks at a batch while a network learns and never when it samples: `folded` puts it into the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.blocks import ENDLESS, Period
from texsyn.images import Region
from texsyn.pyramid import coarser, level_period, parent

ARCHITECTURES = ("modern", "ulyanov")
MOMENTUM = 0.1  # of the running statistics, those of torch's BatchNorm
EPSILON = 1e-5


@dataclass(frozen=True)
class Design:
    """What a generator is built from, besides its weights."""

    architecture: str
    n_levels: int
    #: the finest level's; with ulyanov the step by which each level has more than the one below it
    channels: int
    out_channels: int
    noise_channels: int
    max_channels: int = 64
    normalised: bool = True
    #: finest levels that get no noise; of the modern network only
    quiet_levels: int = 0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture={self.architecture!r} is not one of {', '.join(ARCHITECTURES)}")
        for name in ("n_levels", "channels", "out_channels", "noise_channels", "max_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 1")
        if not 0 <= self.quiet_levels < self.n_levels:
            raise ValueError(f"quiet_levels={self.quiet_levels} should be from 0 to below n_levels={self.n_levels}")

    @property
    def noisy(self) -> range:
        """The levels that get noise."""
        return range(self.quiet_levels if self.architecture == "modern" else 0, self.n_levels)


@dataclass(frozen=True)
class LevelWindow:
    """What one level needs for a window of output: a region of noise, and which coarser rows and columns come up.

    rows and columns count from the coarser level's own output; None at the coarsest level.
    """

    noise: Region
    rows: tuple[int, ...] | None = None
    columns: tuple[int, ...] | None = None


class Generator(nn.Module, ABC):
    """See the module's docstring. Weights are drawn from the generator that is given, in one order."""

    #: places around a level's output that its joined values, and its noise, reach beyond it on each side
    joined_reach = 2
    noise_reach = 2

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design

    def windows(self, region: Region, period: Period = ENDLESS) -> list[LevelWindow]:
        """What each level needs for a region of the output, finest level first."""
        found, out = [], region
        for k in range(self.design.n_levels - 1):
            fine, coarse = level_period(period, k), level_period(period, k + 1)
            joined = out.grow(self.joined_reach)
            below = coarser(joined, fine, coarse)
            rows = tuple(parent(y, fine[0], coarse[0]) - below.top for y in range(joined.top, joined.bottom))
            columns = tuple(parent(x, fine[1], coarse[1]) - below.left for x in range(joined.left, joined.right))
            found.append(LevelWindow(out.grow(self.noise_reach), rows, columns))
            out = below
        return [*found, LevelWindow(out.grow(self.noise_reach))]

    def noise_regions(self, windows: Sequence[LevelWindow]) -> list[Region]:
        """The regions of noise that forward() takes for these windows."""
        return [windows[k].noise for k in self.design.noisy]

    @property
    def halo(self) -> int:
        """How far, in output pixels, a pixel of the endless plane looks for noise, at most; noise fills its place."""
        reach = 0
        for y in range(2 ** (self.design.n_levels - 1)):
            windows = self.windows(Region(y, 0, 1, 1))
            for k in self.design.noisy:
                first, last = windows[k].noise.top * 2**k, windows[k].noise.bottom * 2**k - 1
                reach = max(reach, y - first, last - y)
        return reach

    @abstractmethod
    def forward(self, noise: Sequence[Tensor], windows: Sequence[LevelWindow]) -> Tensor:
        """Values (B, out_channels, H, W) of noise (B, noise_channels, h_k, w_k) for the levels k of design.noisy."""

    def convolutions(self) -> list[Convolution]:
        """All of them, in the order of construction."""
        return [m for m in self.modules() if isinstance(m, Convolution)]

    @torch.no_grad()
    def folded(self) -> Generator:
        """The same function without normalisation: a copy that samples and can be kept."""
        copy = make_generator(replace(self.design, normalised=False), torch.Generator())
        for mine, plain in zip(self.convolutions(), copy.convolutions(), strict=True):
            weight, bias = mine.plain()
            plain.weight.copy_(weight)
            plain.bias.copy_(bias)
        return copy.eval().requires_grad_(False).to(next(self.parameters()).device)


class Convolution(nn.Module):
    """A convolution without border, its normalisation over the batch, and LeakyReLU."""

    mean: Tensor
    variance: Tensor

    def __init__(self, n_in: int, n_out: int, side: int, normalised: bool, slope: float, g: torch.Generator) -> None:
        super().__init__()
        gain = (2 / (1 + slope**2)) ** 0.5
        self.slope = slope
        drawn = torch.randn(n_out, n_in, side, side, generator=g)
        self.weight = nn.Parameter(drawn * gain / (n_in * side * side) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.normalised = normalised
        if normalised:
            self.scale = nn.Parameter(torch.ones(n_out))
            self.register_buffer("mean", torch.zeros(n_out))
            self.register_buffer("variance", torch.ones(n_out))

    def forward(self, x: Tensor) -> Tensor:
        if not self.normalised:
            y = F.conv2d(x, self.weight, self.bias)
        else:
            y = F.conv2d(x, self.weight)
            y = F.batch_norm(y, self.mean, self.variance, self.scale, self.bias, self.training, MOMENTUM, EPSILON)
        return y if self.slope == 1 else F.leaky_relu_(y, self.slope)

    def plain(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the same function with the running statistics, without normalisation."""
        if not self.normalised:
            return self.weight, self.bias
        factor = self.scale / (self.variance + EPSILON).sqrt()
        return self.weight * factor[:, None, None, None], self.bias - self.mean * factor


def make_generator(design: Design, g: torch.Generator) -> Generator:
    """A generator of that design with fresh weights."""
    return {"modern": Modern, "ulyanov": Ulyanov}[design.architecture](design, g)


class Modern(Generator):
    """Two convolutions a level of what came up and of fresh noise."""

    def __init__(self, design: Design, g: torch.Generator) -> None:
        super().__init__(design)
        sizes = [min(design.channels * 2**k, max(design.max_channels, design.channels)) for k in range(design.n_levels)]
        self.levels = nn.ModuleList()
        for k, n in enumerate(sizes):
            n_in = (design.noise_channels if k in design.noisy else 0) + (
                sizes[k + 1] if k + 1 < design.n_levels else 0
            )
            make = [(n_in, n, 3), (n, n, 3)]
            self.levels.append(nn.Sequential(*(Convolution(a, b, s, design.normalised, 0.2, g) for a, b, s in make)))
        self.out = Convolution(sizes[0], design.out_channels, 1, False, 1.0, g)

    def forward(self, noise: Sequence[Tensor], windows: Sequence[LevelWindow]) -> Tensor:
        x, first = None, self.design.noisy.start
        for k in reversed(range(len(windows))):
            parts = [] if x is None else [raised(x, windows[k])]
            parts += [noise[k - first]] if k >= first else []
            x = self.levels[k](torch.cat(parts, 1) if len(parts) > 1 else parts[0])
        return self.out(x)


class Ulyanov(Generator):
    """A branch of noise at every level, joined to what came up, convolved again."""

    noise_reach = 4

    def __init__(self, design: Design, g: torch.Generator) -> None:
        super().__init__(design)
        step = design.channels

        def block(n_in: int, n_out: int) -> nn.Sequential:
            make = [(n_in, n_out, 3), (n_out, n_out, 3), (n_out, n_out, 1)]
            return nn.Sequential(*(Convolution(a, b, s, design.normalised, 0.01, g) for a, b, s in make))

        self.noises, self.joins = nn.ModuleList(), nn.ModuleList()
        for k in range(design.n_levels):
            n = step * (design.n_levels - k)
            self.noises.append(block(design.noise_channels, step))
            self.joins.append(block(n, n))
        self.out = Convolution(step * design.n_levels, design.out_channels, 1, False, 1.0, g)

    def forward(self, noise: Sequence[Tensor], windows: Sequence[LevelWindow]) -> Tensor:
        x = None
        for k in reversed(range(len(noise))):
            z = self.noises[k](noise[k])
            x = self.joins[k](z if x is None else torch.cat([raised(x, windows[k]), z], 1))
        return self.out(x)


def raised(x: Tensor, window: LevelWindow) -> Tensor:
    """The coarser level's output at a level's rows and columns: doubled, but at a period that is no double."""
    assert window.rows is not None, "the coarsest level has nothing below it"
    assert window.columns is not None
    top, left = _offset(window.rows), _offset(window.columns)
    if top is not None and left is not None:
        up = F.interpolate(x, scale_factor=2, mode="nearest")
        return up[:, :, top : top + len(window.rows), left : left + len(window.columns)]
    rows, columns = (torch.tensor(at, device=x.device) for at in (window.rows, window.columns))
    return x.index_select(2, rows).index_select(3, columns)


def _offset(at: tuple[int, ...]) -> int | None:
    """The place among doubled rows where these rows begin, if they are consecutive ones of them."""
    first = int(len(at) > 1 and at[0] != at[1])
    return first if all(a == (i + first) // 2 for i, a in enumerate(at)) else None
