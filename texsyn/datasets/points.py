"""Points of the plane whose law is known: rings and grids of Gaussians, a spiral, two half circles.

Every point is a function of its number alone. The Gaussians are those of the mode collapse literature: eight on a ring
of radius 2 with standard deviation 0.02 (Metz and others 2017, "Unrolled generative adversarial networks"), 25 on the
grid -4, -2, 0, 2, 4 with 0.05 (the toy of Gulrajani and others 2017, before its division by 2.828).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import final

import numpy as np
import torch
from torch import Tensor

from texsyn.datasets.dataset import Dataset
from texsyn.images import Region
from texsyn.noise import NoiseField

N_POINTS = 100_000
RING, GRID = (8, 2.0, 0.02), (5, 2.0, 0.05)  # how many (on a side), radius or step, standard deviation
_VERSION = 1  # goes into the fingerprint: another law of the same name is other data


@final
class Points(Dataset):
    """n points (n, 2), float32."""

    kind = "points"
    channels, height, width = 2, 1, 1

    def __init__(self, name: str, points: np.ndarray, modes: np.ndarray | None = None, sigma: float | None = None):
        self.name, self.n, self._points = name, len(points), torch.from_numpy(points.astype(np.float32))
        self.modes, self.sigma = None if modes is None else torch.from_numpy(modes.astype(np.float32)), sigma

    def _batch(self, numbers: np.ndarray) -> Tensor:
        return self._points[torch.from_numpy(numbers)][:, :, None, None]

    def _identity(self) -> Iterable[bytes]:
        yield f"{self.name} {_VERSION}".encode()  # not the values: a cosine's last bit is the machine's


def gaussians(name: str, n: int) -> Points:
    """A mixture of equal Gaussians, on the ring ("gaussians8") or on the grid ("gaussians25")."""
    if name == "gaussians8":
        k, radius, sigma = RING
        angles = 2 * math.pi * np.arange(k) / k
        modes = radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    else:
        side, step, sigma = GRID
        ticks = step * (np.arange(side) - (side - 1) / 2)
        modes = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    which = NoiseField(0, channel=21).bits(Region(0, 0, 1, n))[0] % np.uint64(len(modes))
    return Points(name, modes[which.astype(np.intp)] + sigma * _normal(n), modes, sigma)


def swiss_roll(name: str, n: int) -> Points:
    """The spiral (t cos t, t sin t) + 0.25 noise, t uniform on [1.5 pi, 4.5 pi], over 7.5: within about +-1.9."""
    t = 1.5 * math.pi * (1 + 2 * _uniform(n))
    return Points(name, (t[:, None] * np.stack([np.cos(t), np.sin(t)], 1) + 0.25 * _normal(n)) / 7.5)


def two_moons(name: str, n: int) -> Points:
    """Half of the unit circle, and half of that around (1, 1/2), upside down; with noise 0.05."""
    t = math.pi * _uniform(n)
    upper = NoiseField(0, channel=21).bits(Region(0, 0, 1, n))[0][:, None] % np.uint64(2) == 0
    arcs = np.stack([np.cos(t), np.sin(t)], 1)
    return Points(name, np.where(upper, arcs, np.array([1.0, 0.5]) - arcs) + 0.05 * _normal(n))


def _normal(n: int) -> np.ndarray:
    """(n, 2) standard normal."""
    return NoiseField(0, channel=22).normal(Region(0, 0, 2, n)).T.astype(np.float64)


def _uniform(n: int) -> np.ndarray:
    """(n,) on [0, 1), in steps of 2^-53."""
    return (NoiseField(0, channel=23).bits(Region(0, 0, 1, n))[0] >> np.uint64(11)).astype(np.float64) * 2.0**-53
