"""Cubic resampling of pictures by any factor, smoothed against aliasing where they shrink.

Along each axis, output pixel i of n' = s n lies at x_i = (i + 1/2) / s - 1/2 of the input and is the average of input
pixels j with weights k(x_i - j), where k is the cubic of Keys 1981, "Cubic convolution interpolation for digital image
processing", with a = -1/2; for s < 1 it is stretched to k(s x). Weights are normalised to a sum of 1.

Borders are mirrored, their pixels repeated, or wrapped. compat="official" is the operator of SinGAN's released code:
top and left borders cut the weights off, bottom and right ones mirror; the two differ by 0.05 to 0.13 at the border.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from texsyn.images import Region, Size

COMPAT = ("texsyn", "official")
DENSE = 512  # sides up to which an axis is one matrix product: quick for many channels, wasteful for long sides


def resize(
    u: Tensor, to: Size | float, *, periodic: tuple[bool, bool] = (False, False), compat: str = "texsyn"
) -> Tensor:
    """u (B, C, H, W) resampled to a Size, or by a factor to ceil(factor H) x ceil(factor W); differentiable in u.

    To a size, each axis has the factor that lays borders on borders; by a factor, both have that one, and the last
    pixels may lie beyond the border. periodic: which of (vertical, horizontal) wraps.

    >>> resize(torch.arange(4.0).reshape(1, 1, 1, 4), 0.5)[0, 0].tolist()
    [[0.4609375, 2.5390625]]
    >>> resize(torch.ones(1, 2, 5, 7), Size(4, 9)).shape
    torch.Size([1, 2, 4, 9])
    """
    if compat not in COMPAT:
        raise ValueError(f"compat={compat!r} is not one of {', '.join(COMPAT)}")
    sides = (u.shape[2], u.shape[3])
    if isinstance(to, Size):
        size, factors = to, (to.height / sides[0], to.width / sides[1])
    else:
        size, factors = Size(math.ceil(sides[0] * to), math.ceil(sides[1] * to)), (to, to)
    for axis, n, factor, wraps in zip((2, 3), (size.height, size.width), factors, periodic, strict=True):
        if factor != 1 or n != u.shape[axis]:
            u = _along(u, axis, n, factor, "wrap" if wraps else compat)
    return u


Grid = tuple[int, int]  # rows and columns of one cell of a plane; pixels of two planes' cells lie upon each other


def cover(region: Region, fine: Grid, coarse: Grid) -> Region:
    """The pixels of a coarse plane that a region of a finer one is made of, by enlarge()."""
    (top, bottom), (left, right) = (
        (_place(start, f, c) - 1, _place(stop - 1, f, c) + 3)
        for start, stop, f, c in ((region.top, region.bottom, fine[0], coarse[0]),
                                  (region.left, region.right, fine[1], coarse[1]))
    )  # fmt: skip
    return Region(top, left, bottom - top, right - left)


def enlarge(u: Tensor, region: Region, fine: Grid, coarse: Grid) -> Tensor:
    """A region of an endless plane, from u (B, C, h, w), what cover() of it shows of the coarser one.

    The planes have `fine` pixels for `coarse` ones, no fewer, with borders of cells on borders at (0, 0). Places are
    integers, so that far regions are as exact as near ones.

    >>> u, here = torch.arange(96.0).reshape(1, 1, 8, 12), Region(6, 9, 3, 2)
    >>> cover(here, (16, 24), (8, 12))
    Region(top=1, left=3, height=5, width=4)
    >>> part = enlarge(u[:, :, 1:6, 3:7], here, (16, 24), (8, 12))
    >>> torch.allclose(part, resize(u, Size(16, 24))[:, :, 6:9, 9:11])
    True
    """
    for axis, start, n, f, c in ((2, region.top, region.height, fine[0], coarse[0]),
                                 (3, region.left, region.width, fine[1], coarse[1])):  # fmt: skip
        i = start % f + np.arange(n)
        twice = (2 * i + 1) * c - f  # 2 f times the place in the coarse plane
        at = twice // (2 * f)
        part = (twice - at * 2 * f) / (2 * f)
        weights = _cubic(part[:, None] - np.arange(-1, 3))
        matrix = np.zeros((n, u.shape[axis]))
        for k in range(4):
            matrix[np.arange(n), at - at[0] + k] = weights[:, k]
        m = torch.from_numpy(matrix).to(u)
        u = m @ u if axis == 2 else u @ m.T
    return u


def _place(at: int, fine: int, coarse: int) -> int:
    """The last coarse pixel whose middle is not beyond that of a fine one."""
    return ((2 * at + 1) * coarse - fine) // (2 * fine)


def eight_bits(u: Tensor) -> Tensor:
    """Values in [-1, 1] cut down to the 256 levels of bytes, as SinGAN's released code does between scales."""
    return ((u + 1) / 2).clamp(0, 1).mul(255).floor().div(255) * 2 - 1


def _along(u: Tensor, axis: int, n: int, factor: float, border: str) -> Tensor:
    at, weights = _taps(u.shape[axis], n, factor, border)
    if max(u.shape[axis], n) <= DENSE:
        matrix = torch.zeros(n, u.shape[axis], dtype=torch.float64)
        matrix = matrix.scatter_add(1, torch.from_numpy(at), torch.from_numpy(weights)).to(u)
        return matrix @ u if axis == 2 else u @ matrix.T
    out = torch.zeros_like(u).sum(axis, keepdim=True)
    shape = [1, 1, 1, 1]
    shape[axis] = n
    for k in range(at.shape[1]):
        there = u.index_select(axis, torch.from_numpy(at[:, k]).to(u.device))
        out = out + torch.from_numpy(weights[:, k]).to(u).reshape(shape) * there
    return out


@lru_cache(maxsize=64)
def _taps(n_in: int, n_out: int, factor: float, border: str) -> tuple[np.ndarray, np.ndarray]:
    """(n_out, k) int64 and float64: the input pixels of each output pixel, inside 0..n_in-1, and their weights."""
    shrink = min(factor, 1.0)
    x = (np.arange(n_out) + 0.5) / factor - 0.5
    at = np.floor(x - 2 / shrink)[:, None].astype(np.int64) + np.arange(math.ceil(4 / shrink) + 2)
    weights = _cubic(shrink * (x[:, None] - at))
    if border == "official":
        weights[at < 0] = 0
    weights /= weights.sum(1, keepdims=True)
    used = (weights != 0).any(0)
    at, weights = at[:, used], weights[:, used]
    if border == "wrap":
        return np.ascontiguousarray(at % n_in), weights
    at = at % (2 * n_in)
    return np.minimum(at, 2 * n_in - 1 - at), weights


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel, a = -1/2: 1 at 0, 0 at the other integers and beyond 2."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
