"""Any picture to the channels and the size that a training asks for.

Cut in the middle to the aspect, then the alpha dropped where it is opaque, then resized on each axis: shrinking takes
the mean over the area that a new pixel covers ("box" of others where the factor is whole, which published FIDs of
FFHQ at 256 pixels rest upon); enlarging, which has to be asked for, is bilinear between pixel centres. Codes are
computed in whole numbers and rounded once, halves up, so that every machine learns from the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from texsyn.gan.order import permutation
from texsyn.images import InputError, Size

FILTERS = "area, bilinear up"  # enters the fingerprints of what is fitted on demand
_LUMA = np.array([19595, 38470, 7471])  # ITU-R BT.601's 0.299, 0.587, 0.114 in units of 1/65536, as Pillow's "L"


@dataclass(frozen=True)
class Frame:
    """What pictures are brought to. same_size, same_channels: they must be that already. enlarge: smaller may come."""

    channels: int
    height: int
    width: int
    same_size: bool = False
    same_channels: bool = False
    enlarge: bool = False

    def fit(self, codes: np.ndarray, where: str) -> np.ndarray:
        """codes (..., c, h, w) as (..., channels, height, width) of the same type. `where` names them in errors."""
        size, own = Size(*codes.shape[-2:]), Size(self.height, self.width)
        if self.same_channels and codes.shape[-3] != self.channels:
            said = f"has {codes.shape[-3]} channels and the first has {self.channels}"
            raise InputError(f"{where}: {said}; say how many channels all should have, 1 or 3")
        if self.same_size and size != own:
            raise InputError(f"{where}: has {size} pixels and the first has {own}; give a resolution for all")
        codes = middle(codes, self.height, self.width)
        if not self.enlarge and (codes.shape[-2] < self.height or codes.shape[-1] < self.width):
            raise InputError(f"{where}: its {size} pixels are too few for {own}; give a smaller resolution, or enlarge")
        codes = resized(opaque(codes, self.channels, where), self.height, self.width)
        return with_channels(codes, self.channels, where)


@dataclass(frozen=True)
class Wish:
    """What was asked for of a dataset. None: as the pictures are. memory: bytes of pictures to hold decoded."""

    resolution: tuple[int, int] | None = None
    channels: int | None = None
    enlarge: bool = False
    limit: int | None = None
    memory: int = 2**31

    def frame(self, channels: int, height: int, width: int) -> Frame:
        """What pictures like the first, which has these channels and sides, are brought to."""
        resolution = self.resolution or (height, width)
        as_they_are = self.resolution is None, self.channels is None
        return Frame(self.channels or channels, *resolution, *as_they_are, enlarge=self.enlarge)

    def chosen(self, n: int, where: str) -> np.ndarray:
        """Which of n pictures are learned, ascending: all, or `limit` of them picked by hash, so from every class."""
        if self.limit is None or self.limit == n:
            return np.arange(n)
        if self.limit > n:
            raise InputError(f"{where}: limit={self.limit} asks for more than its {n} pictures")
        return np.sort(permutation(n, seed=0)[: self.limit])


def middle(codes: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest window (..., h, w) of the aspect height : width in the middle of codes.

    >>> middle(np.zeros((1, 218, 178)), 64, 64).shape
    (1, 178, 178)
    """
    h, w = codes.shape[-2:]
    new_h = min(h, max(1, (2 * w * height + width) // (2 * width)))  # rounded
    new_w = min(w, max(1, (2 * h * width + height) // (2 * height)))
    top, left = (h - new_h) // 2, (w - new_w) // 2
    return codes[..., top : top + new_h, left : left + new_w]


def opaque(codes: np.ndarray, channels: int, where: str) -> np.ndarray:
    """codes without their alpha where fewer channels are asked for; InputError where that is not opaque."""
    if codes.shape[-3] not in (2, 4) or channels not in (1, 3):
        return codes
    full = 1.0 if codes.dtype.kind == "f" else np.iinfo(codes.dtype).max
    if (codes[..., -1, :, :] < full).any():
        own = codes.shape[-3]
        raise InputError(f"{where}: has transparent pixels; lay it on a background, or learn its {own} channels")
    return codes[..., :-1, :, :]


def with_channels(codes: np.ndarray, channels: int, where: str) -> np.ndarray:
    """Grey repeated, colours as their luma; any other change of the number of channels is an InputError."""
    own = codes.shape[-3]
    if own == channels:
        return codes
    if (own, channels) == (1, 3):
        return codes.repeat(3, axis=-3)
    if (own, channels) == (3, 1):
        total = np.tensordot(codes.astype(np.float64), _LUMA.astype(np.float64), ((-3,), (0,)))  # exact, below 2^32
        luma = total / 65536 if codes.dtype.kind == "f" else np.floor((total + 32768) / 65536)
        return np.expand_dims(luma, -3).astype(codes.dtype)
    raise InputError(f"{where}: has {own} channels, which do not become {channels}; grey and colour become each other")


def resized(codes: np.ndarray, height: int, width: int) -> np.ndarray:
    """codes (..., h, w) at another size: the mean over areas on an axis that shrinks, bilinear on one that grows.

    >>> resized(np.array([[0, 1, 5, 9]], np.uint8), 1, 2).tolist(), resized(np.array([[0, 8]], np.uint8), 1, 4).tolist()
    ([[1, 7]], [[0, 2, 6, 8]])
    """
    values, over = codes, 1
    for axis, n in ((-2, height), (-1, width)):
        m = values.shape[axis]
        if n != m:
            turned, unit = (_shrunk if n < m else _grown)(np.moveaxis(values, axis, -1), n)
            values, over = np.moveaxis(turned, -1, axis), over * unit
    if over == 1:
        return codes
    if codes.dtype.kind == "f":
        return (values / over).astype(codes.dtype)
    return ((2 * values + over) // (2 * over)).astype(codes.dtype)


def _wide(x: np.ndarray) -> type:
    return np.float64 if x.dtype.kind == "f" else np.int64


def _shrunk(x: np.ndarray, n: int) -> tuple[np.ndarray, int]:
    """(sums, what to divide by): the integrals of x (..., m) over n equal parts of its axis, in units of 1/n pixel."""
    m = x.shape[-1]
    if m % n == 0:  # the same, and much faster: each part is whole pixels
        return x.reshape(*x.shape[:-1], n, m // n).sum(-1, dtype=_wide(x)), m // n
    x = x.astype(_wide(x))
    before = np.concatenate([np.zeros_like(x[..., :1]), np.cumsum(x, -1)], -1)  # (..., m + 1)
    pixel, rest = np.divmod(np.arange(n + 1) * m, n)  # where part i begins
    ends = n * before[..., pixel] + rest * x[..., np.minimum(pixel, m - 1)]
    return np.diff(ends, axis=-1), m


def _grown(x: np.ndarray, n: int) -> tuple[np.ndarray, int]:
    """(sums, what to divide by): x (..., m) at the centres of n equal parts, linear between its own centres."""
    m, x = x.shape[-1], x.astype(_wide(x))
    pixel, rest = np.divmod(np.clip((2 * np.arange(n) + 1) * m - n, 0, 2 * n * (m - 1)), 2 * n)
    return x[..., pixel] * (2 * n - rest) + x[..., np.minimum(pixel + 1, m - 1)] * rest, 2 * n
