"""Spatial GANs' networks: a generator that turns a grid of noise cells into any window of pixels, and its critic.

Jetchev, Bergmann and Vollgraf 2016, "Texture synthesis with spatial generative adversarial networks" (SGAN), and
Bergmann, Jetchev and Vollgraf 2017, "Learning texture manifolds with the periodic spatial GAN" (PSGAN). Level k has
one place for every 2^k x 2^k pixels; cells of noise are level n_layers, and each layer goes down one level.

The papers' transposed convolution puts a coarse value where its first child is, zeros elsewhere, and convolves. With
border "zero" it ends at a border of zeros: n places become 2 n - 1. Without a border a window of pixels is a function
of a window of cells, which has a place on an endless or periodic grid; where a level's period is not twice the coarser
one's, children are those of texsyn.pyramid.parent. upsampling "nearest" gives all children the coarse value instead
(the authors' later famos): no checkerboards, four times the work.

Normalisation uses the statistics of each batch while a network learns. For sampling they are measured once
(`settled`) and put into the weights, so that a window does not depend on what is computed with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.blocks import ENDLESS, Period
from texsyn.images import Region
from texsyn.pyramid import coarser, level_period, parent

EPSILON = 1e-4  # of the normalisation, as released
SLOPE = 0.2  # of the critic's LeakyReLU
SPREAD = 0.02  # standard deviation of weights at the start
UPSAMPLING = ("transposed", "nearest")
BORDERS = ("none", "zero")


@dataclass(frozen=True)
class Design:
    """What both networks are built from, besides their weights. channels: next to the picture, doubled away from it."""

    n_layers: int
    channels: int
    max_channels: int
    noise_channels: int
    out_channels: int
    #: side of the generator's kernels; the critic's are the papers'
    kernel: int = 5
    upsampling: str = "transposed"
    normalised: bool = True

    @property
    def widths(self) -> list[int]:
        """Channels of levels 1 .. n_layers - 1.

        >>> Design(5, 64, 512, 100, 3).widths
        [64, 128, 256, 512]
        """
        most = max(self.max_channels, self.channels)
        return [min(self.channels * 2**k, most) for k in range(self.n_layers - 1)]


@dataclass(frozen=True)
class LayerWindow:
    """A region of one level, and the region of the coarser one that its values are computed from.

    rows and columns: for each place that the kernel sees, its parent, counted from `below`, and whether it is the
    first child; None where all is plain doubling.
    """

    out: Region
    below: Region
    rows: tuple[tuple[int, bool], ...] | None = None
    columns: tuple[tuple[int, bool], ...] | None = None


class Layer(nn.Module):
    """Up one level, convolved, normalised over the batch unless it is the last, then ReLU, or tanh at the last."""

    def __init__(self, n_in: int, n_out: int, design: Design, last: bool, g: torch.Generator) -> None:
        super().__init__()
        side = design.kernel
        self.transposed, self.last, self.reach = design.upsampling == "transposed", last, side // 2
        shape = (n_in, n_out, side, side) if self.transposed else (n_out, n_in, side, side)
        self.weight = nn.Parameter(torch.randn(shape, generator=g) * SPREAD)
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.normalised = design.normalised and not last
        if self.normalised:
            self.scale = nn.Parameter(1 + SPREAD * torch.randn(n_out, generator=g))

    def forward(self, x: Tensor, window: LayerWindow | None = None) -> Tensor:
        y = self.bordered(x) if window is None else self.borderless(x, window)
        if self.normalised:
            y = F.batch_norm(y, None, None, self.scale, self.bias, training=True, eps=EPSILON)
        else:
            y = y + self.bias[:, None, None]
        return y.tanh() if self.last else y.relu()

    def bordered(self, x: Tensor) -> Tensor:
        """Up and convolved, zeros beyond the border: n places become 2 n - 1, or 2 n by nearest values."""
        if self.transposed:
            return F.conv_transpose2d(x, self.weight, stride=2, padding=self.reach)
        return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), self.weight, padding=self.reach)

    def borderless(self, x: Tensor, window: LayerWindow) -> Tensor:
        """Up and convolved at window.out, from values x at window.below."""
        out, below, reach = window.out, window.below, self.reach
        if window.rows is None or window.columns is None:
            top, left = out.top - 2 * below.top, out.left - 2 * below.left
            if self.transposed:
                y = F.conv_transpose2d(x, self.weight, stride=2)
                return y[:, :, top + reach : top + reach + out.height, left + reach : left + reach + out.width]
            up = F.interpolate(x, scale_factor=2, mode="nearest")
            top, left = top - reach, left - reach
            return F.conv2d(
                up[:, :, top : top + out.height + 2 * reach, left : left + out.width + 2 * reach], self.weight
            )
        for axis, at in ((2, window.rows), (3, window.columns)):
            x = x.index_select(axis, torch.tensor([p for p, _ in at], device=x.device))
            if self.transposed:
                first = torch.tensor([one for _, one in at], dtype=x.dtype, device=x.device)
                x = x * (first[:, None] if axis == 2 else first)
        weight = self.weight.transpose(0, 1).flip(2, 3) if self.transposed else self.weight
        return F.conv2d(x, weight)


class SpatialGenerator(nn.Module):
    """Cells of noise (B, noise_channels, h, w) to values in -1..1; weights drawn from g in one order."""

    def __init__(self, design: Design, g: torch.Generator) -> None:
        super().__init__()
        self.design = design
        sizes = [design.out_channels, *design.widths, design.noise_channels]
        #: coarsest first
        self.layers = nn.ModuleList(
            Layer(sizes[k + 1], sizes[k], design, k == 0, g) for k in reversed(range(design.n_layers))
        )

    def windows(self, region: Region, period: Period = ENDLESS) -> list[LayerWindow]:
        """What each layer needs for a region of pixels, finest first; cells() of it says which noise."""
        found, out = [], region
        for k in range(self.design.n_layers):
            fine, coarse = level_period(period, k), level_period(period, k + 1)
            seen = out.grow(self.design.kernel // 2)
            below = coarser(seen, fine, coarse)
            if all(f is None or f == 2 * c for f, c in zip(fine, coarse, strict=True)):  # type: ignore[operator]
                found.append(LayerWindow(out, below))
            else:
                rows = _parents(seen.top, seen.bottom, fine[0], coarse[0], below.top)
                columns = _parents(seen.left, seen.right, fine[1], coarse[1], below.left)
                found.append(LayerWindow(out, below, rows, columns))
            out = below
        return found

    @staticmethod
    def cells(windows: Sequence[LayerWindow]) -> Region:
        """The region of cells that forward() takes for these windows."""
        return windows[-1].below

    @property
    def halo(self) -> int:
        """How far, in output pixels, a pixel of the endless plane looks for noise, at most; a cell fills its place."""
        side, reach = 2**self.design.n_layers, 0
        for y in range(side):
            cells = self.cells(self.windows(Region(y, 0, 1, 1)))
            reach = max(reach, y - cells.top * side, cells.bottom * side - 1 - y)
        return reach

    def forward(self, z: Tensor, windows: Sequence[LayerWindow] | None = None) -> Tensor:
        """Values (B, out_channels, H, W): of the windows, or with zeros beyond the border of all the cells."""
        for k, layer in enumerate(self.layers):
            z = layer(z, None if windows is None else windows[-1 - k])
        return z

    def penalised(self) -> Tensor:
        """Sum of squares of weights and normalisation scales, as the released code penalises them."""
        return _squares(self)

    @torch.no_grad()
    def settled(self, batches: Iterable[tuple[Tensor, Sequence[LayerWindow] | None]]) -> SpatialGenerator:
        """The same weights with statistics of normalisation measured over these batches, and put into the weights."""
        layers = [layer for layer in self.layers if isinstance(layer, Layer)]
        sums = [torch.zeros(2, layer.bias.numel(), dtype=torch.float64) for layer in layers]
        n = 0
        for z, windows in batches:
            n += 1
            for k, layer in enumerate(layers):
                window = None if windows is None else windows[-1 - k]
                if layer.normalised:
                    y = (layer.bordered(z) if window is None else layer.borderless(z, window)).double()
                    sums[k] += torch.stack([y.mean((0, 2, 3)), y.square().mean((0, 2, 3))]).cpu()
                z = layer(z, window)
        plain = SpatialGenerator(replace(self.design, normalised=False), torch.Generator()).to(layers[0].weight.device)
        for layer, copy, total in zip(layers, plain.layers, sums, strict=True):
            assert isinstance(copy, Layer)
            factor, bias = torch.ones_like(layer.bias), layer.bias
            if layer.normalised:
                mean, square = (total / n).to(layer.weight.device)
                factor = layer.scale / (square - mean.square() + EPSILON).sqrt().to(layer.scale.dtype)
                bias = bias - mean.to(bias.dtype) * factor
            by_output = layer.weight.transpose(0, 1) if layer.transposed else layer.weight
            scaled = by_output * factor[:, None, None, None]
            copy.weight.copy_(scaled.transpose(0, 1) if layer.transposed else scaled)
            copy.bias.copy_(bias)
        return plain.eval().requires_grad_(False)


class SpatialCritic(nn.Module):
    """Pictures (B, C, H, W) to a map of logits, one for about every 2^n_layers pixels; no bias anywhere."""

    def __init__(self, design: Design, g: torch.Generator) -> None:
        super().__init__()
        sizes, side = [design.out_channels, *design.widths, 1], 5
        self.weights = nn.ParameterList(
            torch.randn(n_out, n_in, side, side, generator=g) * SPREAD for n_in, n_out in pairwise(sizes)
        )
        self.scales = nn.ParameterList(1 + SPREAD * torch.randn(n, generator=g) for n in sizes[2:-1])
        self.shifts = nn.ParameterList(torch.zeros(n) for n in sizes[2:-1])

    def forward(self, x: Tensor) -> Tensor:
        last = len(self.weights) - 1
        for k, weight in enumerate(self.weights):
            x = F.conv2d(x, weight, stride=2, padding=weight.shape[-1] // 2)
            if 0 < k < last:
                x = F.batch_norm(x, None, None, self.scales[k - 1], self.shifts[k - 1], training=True, eps=EPSILON)
            if k < last:
                x = F.leaky_relu(x, SLOPE)
        return x

    def penalised(self) -> Tensor:
        """Sum of squares of weights and normalisation scales."""
        return _squares(self)


class Waves(nn.Module):
    """Wave numbers of PSGAN's periodic channels: a network of the global vector, or plain numbers without one.

    k = W2^T relu(W1^T z + c1) + c2 has four blocks of n_waves, times b_i = pi (i / n_waves + 1) / 2 radians a cell:
    channel i goes along x by b_i k1 (and along y by b_i k2 if affine), channel n_waves + i along y by b_i k4 (and along
    x by b_i k3). c2 starts at (1, 0, 0, 1). official: W1, c1, W2 start near 1 and, like c2, are never trained, which is
    what the released code did (it drops them from what it trains by a slip); else W2 starts near 0, and all are.
    """

    def __init__(
        self, n_waves: int, n_global: int, hidden: int, affine: bool, official: bool, g: torch.Generator
    ) -> None:
        super().__init__()
        self.n_waves, self.n_global, self.affine = n_waves, n_global, affine
        mean = 1.0 if official else 0.0
        if n_global:
            spread = SPREAD if official else n_global**-0.5
            self.first = nn.Parameter(mean + spread * torch.randn(n_global, hidden, generator=g))
            self.shift = nn.Parameter(mean + SPREAD * torch.randn(hidden, generator=g))
            self.second = nn.Parameter(mean + SPREAD * torch.randn(hidden, 4 * n_waves, generator=g))
        self.bias = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat_interleave(n_waves))
        self.requires_grad_(not official)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Radians a cell along x and along y, each (..., 2 n_waves), of global vectors (..., n_global)."""
        k = self.bias.expand(*z.shape[:-1], -1)
        if self.n_global:
            k = k + (z @ self.first + self.shift).relu() @ self.second
        base = math.pi * (torch.arange(1, self.n_waves + 1, dtype=z.dtype, device=z.device) / self.n_waves + 1) / 2
        k1, k2, k3, k4 = (base * block for block in k.unflatten(-1, (4, self.n_waves)).unbind(-2))
        if not self.affine:
            k2, k3 = torch.zeros_like(k2), torch.zeros_like(k3)
        return torch.cat([k1, k3], -1), torch.cat([k2, k4], -1)


class Maker(nn.Module):
    """All that makes pictures and learns: a generator of n_global + n_local + 2 n_waves channels, and the waves."""

    def __init__(self, generator: SpatialGenerator, n_local: int, n_global: int, waves: Waves | None) -> None:
        super().__init__()
        self.generator, self.waves = generator, waves
        self.n_local, self.n_global = n_local, n_global

    def draw(self, n: int, at: Region, random: torch.Generator, device: torch.device) -> Tensor:
        """Fresh noise (n, channels, h, w) of the cells `at`, uniform; a global vector and phases for each of the n."""

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return (low + (high - low) * torch.rand(n, *shape, generator=random)).to(device)

        local = uniform(-1, 1, self.n_local, at.height, at.width)
        globals_ = uniform(-1, 1, self.n_global)
        parts = [globals_[:, :, None, None].expand(-1, -1, at.height, at.width), local]
        if self.waves is not None:
            along_x, along_y = (f[:, :, None, None] for f in self.waves(globals_))
            offsets = uniform(0, 2 * math.pi, 2 * self.waves.n_waves, 1, 1)
            y = torch.arange(at.top, at.bottom, dtype=local.dtype, device=device)[:, None]
            x = torch.arange(at.left, at.right, dtype=local.dtype, device=device)
            parts.append((along_x * x + along_y * y + offsets).sin())
        return torch.cat(parts, 1)


def _parents(start: int, stop: int, fine: int | None, coarse: int | None, first: int) -> tuple[tuple[int, bool], ...]:
    found = [parent(at, fine, coarse) for at in range(start - 1, stop)]
    return tuple((b - first, b != a) for a, b in pairwise(found))


def _squares(network: nn.Module) -> Tensor:
    kept = [p.square().sum() for name, p in network.named_parameters() if "weight" in name or "scale" in name]
    return torch.stack(kept).sum()
