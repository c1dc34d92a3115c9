"""Crops of one picture as a dataset, of any depth and any number of channels: what a texture's GAN learns from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import numpy as np
from torch import Tensor

from texsyn.datasets.dataset import Dataset, bytes_of, scaled
from texsyn.datasets.fitting import Wish, opaque, with_channels
from texsyn.images import Size, load, to_unit
from texsyn.metrics.sets import places

N_CROPS = 65_536
SIDE = 64  # where no resolution is given


@final
class Crops(Dataset):
    """Windows of codes (C, H, W) with their corners at `rows` and `columns` (n,).

    low and high are 0 and 1, but of floats that leave [0, 1] the least and the greatest.
    """

    def __init__(self, name: str, codes: np.ndarray, size: Size, rows: np.ndarray, columns: np.ndarray) -> None:
        self.name, self.n = name, len(rows)
        self.channels, self.height, self.width = len(codes), size.height, size.width
        self._codes, self._rows, self._columns = codes, rows, columns
        unit = to_unit(codes)
        if unit.min() < 0 or unit.max() > 1:
            self.low, self.high = float(unit.min()), float(unit.max())
            self.high += self.low == self.high  # of one value: it stands for -1, and nothing for 1

    def _batch(self, numbers: np.ndarray) -> Tensor:
        y = self._rows[numbers, None, None] + np.arange(self.height)[:, None]
        x = self._columns[numbers, None, None] + np.arange(self.width)
        return scaled(self._codes[:, y, x].swapaxes(0, 1), self.low, self.high)

    def _identity(self) -> Iterable[bytes]:
        yield from bytes_of(self._codes)
        yield from bytes_of(np.stack([self._rows, self._columns]))


def open_crops(name: str, path: str, wish: Wish) -> Crops:
    """`limit` crops, or N_CROPS, of the picture, at places hashed from their numbers; none leaves the picture."""
    picture = load(path)
    codes = picture.pixels.transpose(2, 0, 1)
    channels = wish.channels or picture.channels
    codes = np.ascontiguousarray(with_channels(opaque(codes, channels, picture.name), channels, picture.name))
    size = Size(*(wish.resolution or (SIDE, SIDE)))
    rows, columns = places(picture, size, wish.limit or N_CROPS, 0)
    return Crops(name, codes, size, rows, columns)
