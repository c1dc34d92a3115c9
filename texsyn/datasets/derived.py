"""Datasets made of others: mirrored, negative, edges, two side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.datasets.dataset import Dataset
from texsyn.gan.order import permutation


class Derived(Dataset):
    """Another dataset's pictures, changed."""

    def __init__(self, name: str, of: Dataset) -> None:
        if of.kind != "pictures":
            raise ValueError(f"{name}: {of.name} are points, and only pictures are changed like this")
        self.name, self.of, self.n = name, of, of.n
        self.channels, self.height, self.width = of.channels, of.height, of.width
        self.classes, self.domains, self.low, self.high = of.classes, of.domains, of.low, of.high

    def _labels(self, numbers: np.ndarray) -> np.ndarray:
        return self.of._labels(numbers)

    def _identity(self) -> Iterable[bytes]:
        yield f"{type(self).__name__} {self.of.fingerprint}".encode()


@final
class Mirrored(Derived):
    """The pictures, and then each of them again with left and right exchanged."""

    def __init__(self, of: Dataset) -> None:
        super().__init__(of.name, of)
        self.n = 2 * of.n

    def _batch(self, numbers: np.ndarray) -> Tensor:
        x = self.of._batch(numbers % self.of.n)
        return torch.where(torch.from_numpy(numbers >= self.of.n)[:, None, None, None], x.flip(3), x)

    def _labels(self, numbers: np.ndarray) -> np.ndarray:
        return self.of._labels(numbers % self.of.n)


@final
class Negative(Derived):
    """Dark where the picture is light."""

    def _batch(self, numbers: np.ndarray) -> Tensor:
        return -self.of._batch(numbers)


@final
class Edges(Derived):
    """Black with light where the picture changes: the length of Sobel's gradient, channel by channel.

    A step from black to white along an axis gives white, and so does anything steeper. The border repeats its pixels.
    """

    def _batch(self, numbers: np.ndarray) -> Tensor:
        x = F.pad(self.of._batch(numbers) / 2, (1, 1, 1, 1), mode="replicate")
        smooth, slope = x.new_tensor([1.0, 2.0, 1.0]) / 4, x.new_tensor([-1.0, 0.0, 1.0])
        kernels = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth])[:, None]  # (2, 1, 3, 3)
        across, down = F.conv2d(x.flatten(0, 1)[:, None], kernels).unbind(1)
        return (torch.hypot(across, down).clamp(max=1) * 2 - 1).reshape(-1, self.channels, self.height, self.width)


@final
class SideBySide(Dataset):
    """Pictures of one set and pictures of another in one tensor, the channels of the second after the first's.

    Nothing pairs them: the second set is shuffled, for good, and the smaller one begins again. There are no labels.
    """

    def __init__(self, name: str, first: Dataset, second: Dataset) -> None:
        sides = [(one.channels // one.domains, one.height, one.width) for one in (first, second)]
        if "points" in (first.kind, second.kind) or sides[0] != sides[1]:
            said = [f"{w}x{h} with {c} channels" for c, h, w in sides]
            raise ValueError(f"{name}: two sets side by side are pictures of one size, not {said[0]} and {said[1]}")
        if (first.low, first.high) != (second.low, second.high):
            raise ValueError(f"{name}: {first.name} and {second.name} are floats of different ranges")
        self.low, self.high = first.low, first.high
        self.name, self.n, self._sides = name, max(first.n, second.n), (first, second)
        self.channels, self.height, self.width = first.channels + second.channels, first.height, first.width
        self.domains = first.domains + second.domains

    def _batch(self, numbers: np.ndarray) -> Tensor:
        first, second = self._sides
        shuffled = permutation(second.n, seed=1)[numbers % second.n]
        return torch.cat([first._batch(numbers % first.n), second._batch(shuffled)], 1)

    def _identity(self) -> Iterable[bytes]:
        for one in self._sides:
            yield f"{type(self).__name__} {one.fingerprint}".encode()
