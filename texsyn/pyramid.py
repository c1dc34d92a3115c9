"""Gaussian pyramids and the one shape rule that ties their levels together.

Level 0 is the full picture; each further level is blurred with the binomial kernel (1 4 6 4 1)/16 and keeps every
second row and column, so its side is the half rounded up (Burt and Adelson 1983, "The Laplacian pyramid as a compact
image code", their REDUCE with a = 3/8). Pixel (y, x) of level s + 1 therefore sits on pixel (2y, 2x) of level s, and
its children are (2y + 0|1, 2x + 0|1).

Borders: exemplars are mirrored about their border pixel, pictures that wrap are wrapped. What texto synthesises never
comes through here: it goes up by its source coordinates.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.blocks import ENDLESS, Period
from texsyn.images import Region, Size

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def down(u: Tensor, *, periodic: bool = False) -> Tensor:
    """One level coarser: (..., H, W) to (..., ceil(H/2), ceil(W/2)), blurred against aliasing; linear in u.

    Borders are mirrored, or wrapped where periodic; of an odd side that wraps, last and first pixel are both kept.

    >>> down(torch.ones(1, 5, 4)).shape
    torch.Size([1, 3, 2])
    >>> down(torch.tensor([[8.0, 0.0, 0.0, 0.0]]), periodic=True).tolist()
    [[3.0, 1.0]]
    """
    for axis in (-2, -1):
        u = _blur_and_halve(u, axis, periodic)
    return u


def _blur_and_halve(u: Tensor, axis: int, periodic: bool) -> Tensor:
    n = u.shape[axis]
    at = torch.arange(0, n, 2, device=u.device)
    out = torch.zeros_like(u.index_select(axis, at))
    for offset, weight in zip(range(-2, 3), _BINOMIAL, strict=True):
        there = (at + offset).remainder(n) if periodic else _mirror(at + offset, n)
        out = out + weight * u.index_select(axis, there)
    return out


def _mirror(at: Tensor, n: int) -> Tensor:
    """Indices folded into 0..n-1 about the border pixels, any distance out."""
    if n == 1:
        return torch.zeros_like(at)
    at = at.remainder(2 * (n - 1))
    return torch.minimum(at, 2 * (n - 1) - at)


def pyramid(u: Tensor, n_levels: int, *, periodic: bool = False) -> list[Tensor]:
    """[u, down(u), down(down(u)), ...], n_levels of them, finest first."""
    levels = [u]
    for _ in range(n_levels - 1):
        levels.append(down(levels[-1], periodic=periodic))
    return levels


def level_size(size: Size, level: int) -> Size:
    """Size of a picture's level: each side halved and rounded up, level times.

    >>> level_size(Size(5, 8), 2)
    Size(height=2, width=2)
    """
    return Size(-(-size.height // 2**level), -(-size.width // 2**level))


def parent(at: int, fine: int | None = None, coarse: int | None = None) -> int:
    """The row (or column) one level coarser whose children include row `at`; the child's number is at - 2 parent.

    On a level of period `fine` over one of period `coarse`, numbers are those inside one period, and the last parent
    of a period has one child where fine = 2 coarse - 1, three where fine = 2 coarse + 1.

    >>> [parent(y) for y in (-1, 0, 1, 2)], [parent(y, 5, 3) for y in (-1, 0, 4, 5)]
    ([-1, 0, 0, 1], [-1, 0, 2, 3])
    >>> [parent(y, 5, 2) for y in (3, 4, 5)]
    [1, 1, 2]
    """
    if fine is None or coarse is None:
        return at // 2
    return at // fine * coarse + min(at % fine // 2, coarse - 1)


def coarser(region: Region, fine: Period = ENDLESS, coarse: Period = ENDLESS) -> Region:
    """The smallest region one level coarser whose pixels' children cover this one; on planes with those periods.

    >>> coarser(Region(-3, 4, 6, 5))
    Region(top=-2, left=2, height=4, width=3)
    """
    top, left = parent(region.top, fine[0], coarse[0]), parent(region.left, fine[1], coarse[1])
    bottom = parent(region.bottom - 1, fine[0], coarse[0]) + 1
    right = parent(region.right - 1, fine[1], coarse[1]) + 1
    return Region(top, left, bottom - top, right - left)


def level_period(period: Period, level: int) -> Period:
    """The period of a plane's level: divided by 2^level, to the nearest integer, at least 1.

    To the nearest, so that what a level has too many or too few does not add up over the levels.

    >>> level_period((5, None), 2)
    (1, None)
    """
    height, width = (None if p is None else max(1, (2 * p + 2**level) // 2 ** (level + 1)) for p in period)
    return height, width


def n_levels_for(size: Size, coarsest_side: int = 16) -> int:
    """How many levels bring the shorter side nearest to coarsest_side (in octaves); at least one.

    >>> [n_levels_for(Size(n, 2 * n)) for n in (8, 16, 64, 88, 256, 300)]
    [1, 1, 3, 3, 5, 5]
    """
    side = min(size.height, size.width)
    return max(1, 1 + round(math.log2(side / coarsest_side)))


def pad(u: Tensor, radius: int, *, periodic: bool) -> Tensor:
    """(C, H, W) grown by radius on every side: wrapped when periodic, else mirrored about the border pixel.

    >>> pad(torch.tensor([[[1., 2., 3.]]]), 1, periodic=True)[0, 1].tolist()
    [3.0, 1.0, 2.0, 3.0, 1.0]
    """
    if periodic and radius <= min(u.shape[1:]):
        return F.pad(u[None], (radius,) * 4, mode="circular")[0]
    for axis in (1, 2):
        n = u.shape[axis]
        at = torch.arange(-radius, n + radius, device=u.device)
        u = u.index_select(axis, at.remainder(n) if periodic else _mirror(at, n))
    return u
