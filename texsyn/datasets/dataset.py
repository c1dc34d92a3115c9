"""What a training sees of its data: n things by their numbers, as floats in [-1, 1], and what they are labelled."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from texsyn.images import to_unit


class Dataset(ABC):
    """n pictures of channels x height x width, or n points of the plane, which are pictures of two channels, one pixel.

    classes: the names of the labels, empty where there are none. domains: of how many sets of pictures the channels
    are made, side by side. low, high: the picture values (to_unit's) that -1 and 1 stand for. modes (k, 2) and sigma:
    of points that are a mixture of k equal Gaussians, their centres and standard deviation.
    """

    name: str
    n: int
    channels: int
    height: int
    width: int
    classes: tuple[str, ...] = ()
    kind: Literal["pictures", "points"] = "pictures"
    domains: int = 1
    low: float = 0.0
    high: float = 1.0
    modes: Tensor | None = None
    sigma: float | None = None

    def batch(self, numbers: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [-1, 1] of numbers (B,) int64; points are (B, 2, 1, 1) in their own units."""
        return self._batch(self._checked(numbers))

    def labels(self, numbers: Tensor) -> Tensor:
        """(B,) int64, places in `classes`. ValueError where there are no classes."""
        if not self.classes:
            raise ValueError(f"{self.name} has no labels")
        return torch.from_numpy(self._labels(self._checked(numbers)).astype(np.int64))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of all that a training can learn from: values, preprocessing, labels."""
        digest = hashlib.sha256(repr((self.n, self.channels, self.height, self.width, self.classes)).encode())
        for part in self._identity():
            digest.update(part)
        return digest.hexdigest()

    def _checked(self, numbers: Tensor) -> np.ndarray:
        if numbers.dtype != torch.int64 or numbers.ndim != 1:
            raise ValueError(f"numbers of type {numbers.dtype} and shape {tuple(numbers.shape)} are not int64 (B,)")
        plain = numbers.cpu().numpy()
        if len(plain) and not 0 <= plain.min() <= plain.max() < self.n:
            raise ValueError(f"numbers {plain.min()} to {plain.max()} are not all among the {self.n} of {self.name}")
        return plain

    @abstractmethod
    def _batch(self, numbers: np.ndarray) -> Tensor: ...

    def _labels(self, numbers: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    @abstractmethod
    def _identity(self) -> Iterable[bytes]:
        """What the fingerprint hashes."""


class Labelled(Dataset):
    """A dataset whose pictures have a label each, or none have."""

    def __init__(self, name: str, shape: tuple[int, ...], labels: np.ndarray | None, classes: tuple[str, ...]) -> None:
        self.name, (self.n, self.channels, self.height, self.width) = name, shape
        self.classes, self._all_labels = classes, labels

    def _labels(self, numbers: np.ndarray) -> np.ndarray:
        assert self._all_labels is not None
        return self._all_labels[numbers]

    def _identity(self) -> Iterable[bytes]:
        if self._all_labels is not None:
            yield self._all_labels.astype("<i8").tobytes()


@final
class Pictures(Labelled):
    """Pictures in memory: codes (n, C, H, W), uint8, uint16, or float32 in [0, 1]."""

    def __init__(
        self, name: str, codes: np.ndarray, labels: np.ndarray | None = None, classes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name, codes.shape, labels, classes)
        self._codes = codes

    def _batch(self, numbers: np.ndarray) -> Tensor:
        return scaled(self._codes[numbers])

    def _identity(self) -> Iterable[bytes]:
        yield from super()._identity()
        yield from bytes_of(self._codes)


@final
class PicturesOnDemand(Labelled):
    """Pictures too many for the memory: decode(number) gives the codes (C, H, W) of one whenever it is asked for.

    marks change with the data, as far as that is seen without decoding all of it.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        decode: Callable[[int], np.ndarray],
        marks: Iterable[str],
        labels: np.ndarray | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name, shape, labels, classes)
        self._decode, self._marks = decode, marks

    def _batch(self, numbers: np.ndarray) -> Tensor:
        if not len(numbers):
            return torch.empty(0, self.channels, self.height, self.width)
        return scaled(np.stack([self._decode(int(k)) for k in numbers]))

    def _identity(self) -> Iterable[bytes]:
        yield from super()._identity()
        yield from (f"{mark}\n".encode("utf-8", "surrogateescape") for mark in self._marks)


def scaled(codes: np.ndarray, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Codes as float32 in [-1, 1]: -1 is low and 1 is high, in to_unit's values."""
    unit = to_unit(codes)
    if (low, high) != (0, 1):
        unit = (unit - np.float32(low)) / np.float32(high - low)
    return torch.from_numpy(unit * 2 - 1)


def bytes_of(codes: np.ndarray) -> Iterable[bytes]:
    """Type and values of an array, little-endian, in pieces of a few megabytes."""
    yield codes.dtype.name.encode()
    step = max(1, 2**22 // max(1, codes[:1].nbytes))
    for start in range(0, len(codes), step):
        part = np.ascontiguousarray(codes[start : start + step])
        yield part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes()
