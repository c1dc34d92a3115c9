"""Feature functions: what of a picture is compared when its law is compared with an exemplar's.

Every feature function maps a picture, or a batch, to layers; a layer is a grid of vectors, and its points are all
w x w windows of that grid (w = 1: the vectors themselves). Patches at several scales are windows of a Gaussian pyramid,
the features of a network are vectors of its maps. Losses see point clouds only and do not ask where they come from:
that is what lets optimal transport between patches (Houdard, Leclaire, Papadakis, Rabin 2021, "Wasserstein generative
models for patch-based texture synthesis") and between the features of a network (the same authors' GOTEX, 2022) be one
algorithm.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.maps import wrapped
from texsyn.patches import gather
from texsyn.pyramid import pyramid


@dataclass(frozen=True, eq=False)
class Layer:
    """A grid of vectors whose w x w windows are the points of a feature.

    values (B, C, H, W) may carry gradients. spacing is the distance of grid points and offset the place of the first
    one's centre, in pixels of the picture; reach is how far on each side of its centre a vector depends on pixels.
    weight is what a loss multiplies this layer by; normalise asks a loss to measure it in units of the exemplar's
    root-mean-square norm, as features of networks have no unit of their own.
    """

    name: str
    values: Tensor
    patch_size: int = 1
    periodic: bool = False
    spacing: float = 1.0
    offset: float = 0.0
    reach: float = 0.0
    weight: float = 1.0
    normalise: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of windows of one picture."""
        height, width = self.values.shape[2:]
        cut = 0 if self.periodic else self.patch_size - 1
        return height - cut, width - cut

    @property
    def n_points(self) -> int:
        rows, columns = self.grid
        return len(self.values) * rows * columns

    @property
    def n_dims(self) -> int:
        return self.values.shape[1] * self.patch_size**2

    def points(self, at: Tensor | None = None) -> Tensor:
        """The points (n, d) of positions at (n,) int64, or all, in reading order; differentiable in values."""
        if self.patch_size == 1:
            flat = self.values.permute(0, 2, 3, 1).reshape(-1, self.values.shape[1])
            return flat if at is None else flat[at]
        return gather(self.wrapped(), self.patch_size, at)

    def wrapped(self) -> Tensor:
        """The values with what windows over the border need, on the right and below: (B, C, H', W')."""
        more = self.patch_size - 1 if self.periodic else 0
        if not more:
            return self.values
        if more > min(self.values.shape[2:]):
            raise ValueError(f"patch_size={self.patch_size} does not fit layer {self.name} of {self.grid}")
        return F.pad(self.values, (0, more, 0, more), mode="circular")

    def positions(self, at: Tensor | None = None) -> Tensor:
        """(n, 3) float: which picture, and row and column of the windows' centres in pixels of the picture."""
        rows, columns = self.grid
        at = torch.arange(self.n_points, device=self.values.device) if at is None else at
        picture, place = at // (rows * columns), at % (rows * columns)
        middle = self.offset + self.spacing * (self.patch_size - 1) / 2
        row, column = (middle + self.spacing * n.double() for n in (place // columns, place % columns))
        return torch.stack([picture.double(), row, column], 1)

    @property
    def radius(self) -> int:
        """Pixels on each side of a point's centre that it may depend on."""
        return math.ceil(self.reach + self.spacing * (self.patch_size - 1) / 2)

    def touching(self, mask: Tensor) -> Tensor:
        """(n,) bool: which points depend on some pixel of mask (H, W) bool, a mask of one picture of the batch."""
        r, near = self.radius, mask[None, None].float()
        for axis, kernel in ((2, (2 * r + 1, 1)), (3, (1, 2 * r + 1))):
            if self.periodic:
                near = F.max_pool2d(wrapped(near, axis, r, r), kernel, stride=1)
            else:
                near = F.max_pool2d(near, kernel, stride=1, padding=(r, 0) if axis == 2 else (0, r))
        return self.sampled(near[0, 0]) > 0

    def sampled(self, field: Tensor) -> Tensor:
        """(n,): a field (H, W) over the picture, as it is at the pixels where points have their centres."""
        at = self.positions()[:, 1:].round().long()
        height, width = field.shape
        if self.periodic:
            return field[at[:, 0] % height, at[:, 1] % width]
        return field[at[:, 0].clamp(0, height - 1), at[:, 1].clamp(0, width - 1)]


class Features(ABC):
    """A feature function; see the module's docstring."""

    @property
    @abstractmethod
    def smallest_side(self) -> int:
        """The shortest side of an open picture that has a point in every layer."""

    @abstractmethod
    def layers(self, u: Tensor, *, periodic: bool = False) -> list[Layer]:
        """The layers of pictures u (C, H, W) or (B, C, H, W), values in [0, 1] where the features care.

        periodic: the pictures wrap on both axes, and so do their layers. Always as many layers, in one order, for one
        object; differentiable in u. Raises ValueError for pictures that are too small, with the size that is needed.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON-able: everything that the numbers depend on, with the hash of weights if there are any."""

    def clouds(self, u: Tensor, *, periodic: bool = False) -> list[tuple[Tensor, Tensor]]:
        """[(points (n, d), positions (n, 3)), ...], one pair a layer; see Layer."""
        return [(layer.points(), layer.positions()) for layer in self.layers(u, periodic=periodic)]


def as_batch(u: Tensor) -> Tensor:
    """(B, C, H, W) of a picture (C, H, W) or of a batch."""
    if u.ndim not in (3, 4):
        raise ValueError(f"pictures need shape (C, H, W) or (B, C, H, W), got {tuple(u.shape)}")
    return u if u.ndim == 4 else u[None]


@dataclass(frozen=True)
class PatchPyramid(Features):
    """All w x w patches at n_scales scales of a Gaussian pyramid, of any number of channels; each scale weighs alike.

    Linear in the picture. As in the paper, where w is 4 and there are 4 scales; the pyramid is texsyn.pyramid's.
    """

    patch_size: int = 4
    n_scales: int = 4

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.n_scales < 1:
            raise ValueError(f"patch_size and n_scales must be 1 or more, got {self.patch_size} and {self.n_scales}")

    @property
    def smallest_side(self) -> int:
        """The shortest side of a picture whose coarsest scale holds a patch."""
        return (self.patch_size - 1) * 2 ** (self.n_scales - 1) + 1

    def layers(self, u: Tensor, *, periodic: bool = False) -> list[Layer]:
        u = as_batch(u)
        if min(u.shape[2:]) < self.smallest_side:
            raise ValueError(
                f"patch_size={self.patch_size} at {self.n_scales} scales needs {self.smallest_side} pixels a side, "
                f"got {u.shape[3]}x{u.shape[2]}"
            )
        return [
            Layer(
                f"patches {s}",
                v,
                self.patch_size,
                periodic,
                spacing=2.0**s,
                reach=2.0 * (2**s - 1),
                weight=1 / self.n_scales,
            )
            for s, v in enumerate(pyramid(u, self.n_scales, periodic=periodic))
        ]

    def describe(self) -> dict[str, Any]:
        return {"features": "patches", "patch_size": self.patch_size, "n_scales": self.n_scales}


@dataclass(frozen=True)
class Mixture(Features):
    """Several feature functions at once, the layers of each multiplied by its weight (the paper's lambda)."""

    parts: tuple[tuple[Features, float], ...]

    def __post_init__(self) -> None:
        if not self.parts or any(not weight > 0 for _, weight in self.parts):
            raise ValueError("a mixture needs feature functions with positive weights")

    @property
    def smallest_side(self) -> int:
        return max(features.smallest_side for features, _ in self.parts)

    def layers(self, u: Tensor, *, periodic: bool = False) -> list[Layer]:
        return [
            replace(layer, weight=weight * layer.weight)
            for features, weight in self.parts
            for layer in features.layers(u, periodic=periodic)
        ]

    def describe(self) -> dict[str, Any]:
        return {"features": "mixture", "parts": [f.describe() | {"weight": w} for f, w in self.parts]}
