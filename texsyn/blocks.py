"""An endless or periodic plane, computed in blocks on one absolute grid and kept for a while; rows shared by threads.

A block is the same whoever asks for it, so whatever is assembled from blocks is the same too, also where the
computation inside a block (an FFT, say) depends on what is computed together.
"""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from texsyn.images import Region, Size

#: (rows, columns) after which a plane repeats; None on an axis that does not
Period = tuple[int | None, int | None]
ENDLESS: Period = (None, None)
_PRIVATE: Any = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
TILES = ("none", "x", "y", "xy")


def period_of(tile: str, size: Size) -> Period:
    """The period of a picture of that size that wraps on the named axes: "none", "x" (left to right), "y" or "xy".

    >>> period_of("x", Size(height=2, width=3))
    (None, 3)
    """
    if tile not in TILES:
        raise ValueError(f"tile={tile!r} is not one of {', '.join(TILES)}")
    return size.height if "y" in tile else None, size.width if "x" in tile else None


class Blocks:
    """A plane of pixels (H, W, ...) behind compute(region), which is only ever asked for whole blocks.

    The grid starts at (0, 0). On an axis with a period the plane repeats: compute sees regions inside one period
    only, the last block of which may be smaller. On the other axes blocks end at the borders of `within`, where it is
    given, and so must windows; that is for a compute whose pixels do not depend on its region. At most `kept` blocks
    stay in memory. Threads may ask at once; a block that two of them need is computed once.

    >>> asked = []
    >>> def compute(region):
    ...     asked.append((region.left, region.width))
    ...     return np.arange(region.left, region.right)[None].repeat(region.height, 0)
    >>> plane = Blocks(compute, Size(4, 4), (None, 6), kept=4)
    >>> plane.window(Region(0, -2, 1, 9))[0].tolist(), asked
    ([4, 5, 0, 1, 2, 3, 4, 5, 0], [(4, 2), (0, 4)])
    """

    def __init__(
        self,
        compute: Callable[[Region], np.ndarray],
        block: Size,
        period: Period = ENDLESS,
        *,
        within: Region | None = None,
        kept: int = 64,
    ) -> None:
        self._compute, self._block, self._period, self._kept_at_most = compute, block, period, kept
        ends = (None, None) if within is None else ((within.top, within.bottom), (within.left, within.right))
        self._ends = [e if n is None else None for e, n in zip(ends, period, strict=True)]
        self._kept: OrderedDict[tuple[int, int], Future[np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def window(self, region: Region) -> np.ndarray:
        """The pixels of any region, (height, width, ...)."""
        out: np.ndarray | None = None
        sides = ((region.top, region.bottom), (region.left, region.right))
        assert all(e is None or (e[0] <= s[0] and s[1] <= e[1]) for s, e in zip(sides, self._ends, strict=True)), region
        for i, rows, from_rows in _pieces(region.top, region.bottom, self._block.height, self._period[0]):
            for j, columns, from_columns in _pieces(region.left, region.right, self._block.width, self._period[1]):
                block, here = self._get(i, j), self._region(i, j)
                if out is None:
                    out = np.empty((region.height, region.width, *block.shape[2:]), block.dtype)
                out[rows, columns] = block[_moved(from_rows, -here.top), _moved(from_columns, -here.left)]
        assert out is not None
        return out

    def _get(self, i: int, j: int) -> np.ndarray:
        with self._lock:
            found = self._kept.get((i, j))
            if found is None:
                mine: Future[np.ndarray] = Future()
                self._kept[i, j] = mine
                while len(self._kept) > self._kept_at_most:
                    self._kept.popitem(last=False)  # who waits for it holds it by itself
            else:
                self._kept.move_to_end((i, j))
        if found is not None:
            return found.result()
        try:
            mine.set_result(_apart(self._compute(self._region(i, j))))
        except BaseException as e:
            with self._lock:
                self._kept.pop((i, j), None)
            mine.set_exception(e)
            raise
        return mine.result()

    def _region(self, i: int, j: int) -> Region:
        sides = (self._block.height, self._block.width)
        (top, bottom), (left, right) = map(_extent, (i, j), sides, self._period, self._ends)
        return Region(top, left, bottom - top, right - left)


def _extent(k: int, side: int, period: int | None, ends: tuple[int, int] | None) -> tuple[int, int]:
    """Where the k-th block of an axis starts and stops."""
    start, stop = k * side, (k + 1) * side
    if period is not None:
        return start, min(stop, period)
    return (start, stop) if ends is None else (max(start, ends[0]), min(stop, ends[1]))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _apart(block: np.ndarray) -> np.ndarray:
    """A copy in pages of its own: what stays among the short-lived arrays of a heap leaves gaps that nothing fits."""
    kept = np.frombuffer(mmap.mmap(-1, max(1, block.nbytes), **_PRIVATE), block.dtype, block.size).reshape(block.shape)
    kept[...] = block
    return kept


def most_kept(region: Region, block: Size, kept: int, pixel_bytes: int) -> int:
    """Bytes of the blocks that Blocks(..., block, kept=kept) holds at most for windows inside a region.

    >>> most_kept(Region(-1, 0, 6, 4), Size(4, 4), kept=9, pixel_bytes=10)  # three blocks below each other
    480
    """
    rows = -(-region.bottom // block.height) - region.top // block.height
    columns = -(-region.right // block.width) - region.left // block.width
    return min(rows * columns, kept) * block.pixels * pixel_bytes


def _pieces(start: int, stop: int, side: int, period: int | None) -> Iterator[tuple[int, slice, slice]]:
    """One axis of a window cut at blocks' borders: (number of the block, where in the window, where in a period)."""
    at = start
    while at < stop:
        home = at if period is None else at % period
        k = home // side
        end = (k + 1) * side if period is None else min((k + 1) * side, period)
        n = min(stop - at, end - home)
        yield k, slice(at - start, at - start + n), slice(home, home + n)
        at += n


def share_rows(n_rows: int, threads: int, work: Callable[[int, int], None], *, least: int = 16) -> None:
    """work(start, stop) for bands that make up 0..n_rows, by that many threads; no band smaller than `least`, but one.

    work must write its rows somewhere of its own, and release the interpreter's lock to gain anything.
    """
    n = max(1, min(threads, n_rows // least))
    edges = [n_rows * k // n for k in range(n + 1)]
    if n == 1:
        work(0, n_rows)
        return
    with ThreadPoolExecutor(n) as pool:
        for done in [pool.submit(work, *band) for band in pairwise(edges)]:
            done.result()
