"""How much of a picture is copied in large pieces, from where each of its patches has its like.

Each 8x8 patch on a grid of 4 px has one exactly nearest patch of the exemplar, compared as 8-bit codes, or one source
in a map of source coordinates where the picture is such a map. Neighbours with the same displacement belong to one
copied piece. Showing verbatim copying by displacements is usual (the position maps of Raad, Davy, Desolneux and Morel
2017, "A survey of exemplar-based texture synthesis"); the two numbers, COPY and side, are ours.

The share of patches that have a like within two grey levels is not used: an honest other crop has 17 % of them, one of
a brick wall 51 %, because flat parts are like each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from texsyn.metrics.texture import MIN_LAG
from texsyn.metrics.unmeasurable import Unmeasurable
from texsyn.ot.nearest import NearestIndex

PATCH, STEP = 8, 4  # px
#: products of a search: a larger picture is looked at in a window about its middle. Some seconds of one core
MOST_WORK, MOST_SELF_WORK = 1 << 40, 1 << 37
BAND = 1 << 24  # numbers of the exemplar's patches that are searched at a time: 64 MiB, some three times held
_EXCLUDED = 1e9  # larger than any squared distance of 8-bit patches


@dataclass(frozen=True)
class Field:
    """Where the patches of a picture come from: source (rows, columns, 2 or 3) of the patch at (top + STEP i, ...)."""

    source: np.ndarray
    top: int = 0
    left: int = 0

    @property
    def displacement(self) -> np.ndarray:
        """Source minus place; a number of a sheet, if there is one, stays as it is."""
        i, j = np.mgrid[: self.source.shape[0], : self.source.shape[1]]
        place = np.zeros_like(self.source)
        place[..., 0], place[..., 1] = self.top + STEP * i, self.left + STEP * j
        return self.source - place


@dataclass(frozen=True)
class Coherence:
    """share: of neighbouring pairs of patches, those with one displacement, 0 to 1. side: px, of a typical piece."""

    share: float
    side: float


def nearest_field(out: np.ndarray, ex: np.ndarray) -> Field:
    """For each grid patch of out (H, W, C) the nearest patch of ex (h, w, C), both uint8; of equals the first."""
    rows, columns, top, left = _grid(out, ex, MOST_WORK)
    queries = _points(_patches(out[top:, left:], STEP)[:rows, :columns])
    best, found = np.full(len(queries), np.inf), np.zeros(len(queries), np.int64)
    width = ex.shape[1] - PATCH + 1
    for first, band in _bands(ex):
        j, value = NearestIndex(_points(band), centre=False).argmin(queries, return_value=True)
        better = value.numpy() < best  # strictly: an equal patch further down does not win
        best = np.where(better, value.numpy(), best)
        found = np.where(better, j.numpy() + first * width, found)
    return Field(np.stack(np.divmod(found.reshape(rows, columns), width), -1), top, left)


def self_field(u: np.ndarray) -> Field:
    """For each grid patch of u (H, W, C) uint8 the nearest one of u itself at least MIN_LAG px away on some axis.

    Away on some axis is away vertically or away horizontally: a search for each row of the grid among the far rows,
    one for each column among the far columns, and the better of both.
    """
    rows, columns, top, left = _grid(u, u, MOST_SELF_WORK)
    queries = _points(_patches(u[top:, left:], STEP)[:rows, :columns]).reshape(rows, columns, -1)
    best, found = np.full((rows, columns), np.inf), np.zeros((rows, columns), np.int64)
    width = u.shape[1] - PATCH + 1
    for first, band in _bands(u):
        index = NearestIndex(_points(band), centre=False)
        y, x = np.mgrid[first : first + len(band), :width]
        for place, n, start, along in ((y, rows, top, 0), (x, columns, left, 1)):
            for k in range(n):
                near = np.abs(place - (start + STEP * k)) < MIN_LAG
                index.set_bias(torch.from_numpy(np.where(near, -_EXCLUDED, 0).astype(np.float32).ravel()), check=False)
                here = (k, slice(None)) if along == 0 else (slice(None), k)
                j, value = (t.numpy() for t in index.argmin(queries[here].contiguous(), return_value=True))
                j = j + first * width
                better = (value < best[here]) | ((value == best[here]) & (j < found[here]))
                best[here], found[here] = np.where(better, value, best[here]), np.where(better, j, found[here])
    if best.max() >= _EXCLUDED / 2:
        raise Unmeasurable(f"patches {MIN_LAG} px apart need a larger picture than {u.shape[1]}x{u.shape[0]}")
    return Field(np.stack(np.divmod(found, width), -1), top, left)


def _bands(ex: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, patches (rows, w, C, PATCH, PATCH)) of all rows of ex's patches, BAND numbers at a time."""
    patches = _patches(ex, 1)
    n = max(1, BAND // (patches.shape[1] * ex.shape[2] * PATCH * PATCH))
    for first in range(0, len(patches), n):
        yield first, patches[first : first + n]


def field_of_map(source: np.ndarray) -> Field:
    """The same grid read from a map of source coordinates (H, W, 2 or 3): the source of each patch's middle pixel."""
    if min(source.shape[:2]) < PATCH:
        raise Unmeasurable(f"needs {PATCH} px a side, got {source.shape[1]}x{source.shape[0]}")
    half = PATCH // 2
    at = np.array(source[half : source.shape[0] - half + 1 : STEP, half : source.shape[1] - half + 1 : STEP], np.int64)
    at[..., :2] -= half
    return Field(at)


def coherence(field: Field) -> Coherence:
    """COPY as a share and side in px: the coherent share of pairs, and STEP sqrt(sum a^2 / sum a) over the pieces.

    a are the areas, in grid patches, of the 4-connected pieces of equal displacement. A picture with no two patches
    beside each other has no such score. In a constant picture all are like the exemplar's first patch: 0 and STEP.
    """
    d = field.displacement
    down, right = (d[1:] == d[:-1]).all(-1), (d[:, 1:] == d[:, :-1]).all(-1)
    if down.size + right.size == 0:
        raise Unmeasurable(f"needs two patches of {PATCH} px beside each other")
    areas = _areas(down, right).astype(np.float64)
    share = (down.sum() + right.sum()) / (down.size + right.size)
    return Coherence(float(share), STEP * math.sqrt(float(np.square(areas).sum() / areas.sum())))


def _areas(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sizes of the connected pieces of a grid, whose pairs down (h-1, w) and right (h, w-1) belong together or not."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = np.arange(right.shape[0] * down.shape[1]).reshape(right.shape[0], down.shape[1])
    a = np.concatenate([number[:-1][down], number[:, :-1][right]])
    b = np.concatenate([number[1:][down], number[:, 1:][right]])
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(number.size, number.size))
    return np.bincount(connected_components(graph, directed=False)[1])


def _grid(out: np.ndarray, ex: np.ndarray, most_work: int) -> tuple[int, int, int, int]:
    """Rows and columns of the grid in out, and where it begins: all of it, or as much as most_work allows, centred."""
    if min(*out.shape[:2], *ex.shape[:2]) < PATCH:
        sizes = f"got {out.shape[1]}x{out.shape[0]} and {ex.shape[1]}x{ex.shape[0]}"
        raise Unmeasurable(f"needs {PATCH} px a side, {sizes}")
    rows, columns = ((n - PATCH) // STEP + 1 for n in out.shape[:2])
    work = ex.shape[0] * ex.shape[1] * PATCH * PATCH * ex.shape[2]  # of one patch
    side = max(2, math.isqrt(most_work // work))
    if rows * columns <= side * side:
        return rows, columns, 0, 0
    kept = min(rows, side), min(columns, side)
    return *kept, (rows - kept[0]) // 2 * STEP, (columns - kept[1]) // 2 * STEP


def _patches(u: np.ndarray, step: int) -> np.ndarray:
    """(rows, columns, C, PATCH, PATCH) view of the patches at every step-th pixel."""
    return np.lib.stride_tricks.sliding_window_view(u, (PATCH, PATCH), axis=(0, 1))[::step, ::step]


def _points(patches: np.ndarray) -> torch.Tensor:
    """Rows of centred 8-bit integers: the search is exact on them, and fastest."""
    flat = patches.reshape(patches.shape[0] * patches.shape[1], -1)
    return torch.from_numpy(flat.astype(np.float32) - 128)
