"""An endless or periodic plane, computed in blocks on one absolute grid and kept for a while; rows shared by threads.

A block is the same whoever asks for it, so whatever is assembled from blocks is the same too, also where the
computation inside a block (an FFT, say) depends on what is computed together.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from texsyn.images import Region, Size

#: (rows, columns) after which a plane repeats; None on an axis that does not
Period = tuple[int | None, int | None]
ENDLESS: Period = (None, None)
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
    only, the last block of which may be smaller. At most `kept` blocks stay in memory. Threads may ask at once; a
    block that two of them need is computed once.

    >>> asked = []
    >>> def compute(region):
    ...     asked.append((region.left, region.width))
    ...     return np.arange(region.left, region.right)[None].repeat(region.height, 0)
    >>> plane = Blocks(compute, Size(4, 4), (None, 6), kept=4)
    >>> plane.window(Region(0, -2, 1, 9))[0].tolist(), asked
    ([4, 5, 0, 1, 2, 3, 4, 5, 0], [(4, 2), (0, 4)])
    """

    def __init__(
        self, compute: Callable[[Region], np.ndarray], block: Size, period: Period = ENDLESS, *, kept: int = 64
    ) -> None:
        self._compute, self._block, self._period, self._kept_at_most = compute, block, period, kept
        self._kept: OrderedDict[tuple[int, int], Future[np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def window(self, region: Region) -> np.ndarray:
        """The pixels of any region, (height, width, ...)."""
        out: np.ndarray | None = None
        for i, rows, from_rows in _pieces(region.top, region.bottom, self._block.height, self._period[0]):
            for j, columns, from_columns in _pieces(region.left, region.right, self._block.width, self._period[1]):
                block = self._get(i, j)
                if out is None:
                    out = np.empty((region.height, region.width, *block.shape[2:]), block.dtype)
                out[rows, columns] = block[from_rows, from_columns]
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
            mine.set_result(self._compute(self._region(i, j)))
        except BaseException as e:
            with self._lock:
                self._kept.pop((i, j), None)
            mine.set_exception(e)
            raise
        return mine.result()

    def _region(self, i: int, j: int) -> Region:
        height, width = (
            n if period is None else min(n, period - k * n)
            for k, n, period in zip((i, j), (self._block.height, self._block.width), self._period, strict=True)
        )
        return Region(i * self._block.height, j * self._block.width, height, width)


def _pieces(start: int, stop: int, side: int, period: int | None) -> Iterator[tuple[int, slice, slice]]:
    """One axis of a window cut at the borders of blocks: (number of the block, where in the window, where in it)."""
    at = start
    while at < stop:
        home = at if period is None else at % period
        k = home // side
        end = (k + 1) * side if period is None else min((k + 1) * side, period)
        n = min(stop - at, end - home)
        yield k, slice(at - start, at - start + n), slice(home - k * side, home - k * side + n)
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
