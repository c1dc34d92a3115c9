"""Gaussian pyramids and the one shape rule that ties their levels together.

Level 0 is the full picture; each further level is blurred with the binomial kernel (1 4 6 4 1)/16 and keeps every
second row and column, so its side is the half rounded up (Burt and Adelson 1983, "The Laplacian pyramid as a compact
image code", their REDUCE with a = 3/8). Pixel (y, x) of level s + 1 therefore sits on pixel (2y, 2x) of level s, and
its children are (2y + 0|1, 2x + 0|1).

Borders: exemplars are mirrored about their border pixel. Synthesised pictures never come through here: they go up
by their source coordinates.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.images import Region, Size

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def down(u: Tensor) -> Tensor:
    """One level coarser: (C, H, W) to (C, ceil(H/2), ceil(W/2)), blurred against aliasing.

    >>> down(torch.ones(1, 5, 4)).shape
    torch.Size([1, 3, 2])
    """
    for axis in (1, 2):
        u = _blur_and_halve(u, axis)
    return u


def _blur_and_halve(u: Tensor, axis: int) -> Tensor:
    n = u.shape[axis]
    at = torch.arange(0, n, 2, device=u.device)
    out = torch.zeros_like(u.index_select(axis, at))
    for offset, weight in zip(range(-2, 3), _BINOMIAL, strict=True):
        out = out + weight * u.index_select(axis, _mirror(at + offset, n))
    return out


def _mirror(at: Tensor, n: int) -> Tensor:
    """Indices folded into 0..n-1 about the border pixels, any distance out."""
    if n == 1:
        return torch.zeros_like(at)
    at = at.remainder(2 * (n - 1))
    return torch.minimum(at, 2 * (n - 1) - at)


def pyramid(u: Tensor, n_levels: int) -> list[Tensor]:
    """[u, down(u), down(down(u)), ...], n_levels of them, finest first."""
    levels = [u]
    for _ in range(n_levels - 1):
        levels.append(down(levels[-1]))
    return levels


def level_size(size: Size, level: int) -> Size:
    """Size of a picture's level: each side halved and rounded up, level times.

    >>> level_size(Size(5, 8), 2)
    Size(height=2, width=2)
    """
    return Size(-(-size.height // 2**level), -(-size.width // 2**level))


def coarser(region: Region) -> Region:
    """The smallest region one level coarser whose pixels' children cover this one.

    >>> coarser(Region(-3, 4, 6, 5))
    Region(top=-2, left=2, height=4, width=3)
    """
    top, left = region.top // 2, region.left // 2
    bottom, right = -(-(region.top + region.height) // 2), -(-(region.left + region.width) // 2)
    return Region(top, left, bottom - top, right - left)


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
