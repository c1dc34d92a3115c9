"""An endless or periodic plane, computed in blocks on one absolute grid and kept for a while.

A block is the same whoever asks for it, so whatever is assembled from blocks is the same too, also where the
computation inside a block (an FFT, say) depends on what is computed together.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np

from texsyn.images import Region, Size

#: (rows, columns) after which a plane repeats; None on an axis that does not
Period = tuple[int | None, int | None]
ENDLESS: Period = (None, None)


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
