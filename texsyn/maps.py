"""Maps of a network and where their values sit in the picture, with borders that are open or wrap.

A value of a map belongs to the centre of its receptive field: `offset + spacing * row` pixels from the centre of the
picture's first pixel. Convolutions and pools move the two as they move their windows (Dumoulin and Visin 2016, "A guide
to convolution arithmetic for deep learning"). A map that wraps is continued on the right and below by what windows
need, so that its values sit where those of an open map do, and there is one for each step of the stride: rolling the
picture by a multiple of the spacing rolls the map. Of a side that the stride does not divide, the last window reaches
over the border.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.images import InputError


@dataclass(frozen=True, eq=False)
class Map:
    """values (B, C, H, W) and where they sit; see the module's docstring."""

    values: Tensor
    periodic: bool = False
    spacing: float = 1.0
    offset: float = 0.0
    reach: float = 0.0  #: pixels on each side of its place that a value may depend on

    def slide(
        self,
        function: Callable[[Tensor], Tensor],
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
    ) -> Map:
        """The map of a function of kernel[0] x kernel[1] windows, which gets values that need no padding any more.

        padding, of zeros where the map is open, is that before and behind an axis; offset follows the first axis.
        """
        values = self.values
        for axis in (0, 1):
            if self.periodic:
                n = values.shape[2 + axis]
                behind = (-(-n // stride) - 1) * stride + kernel[axis] - n - padding[axis]
                values = wrapped(values, 2 + axis, padding[axis], behind)
            elif padding[axis]:
                p = padding[axis]
                values = F.pad(values, (0, 0, p, p) if axis == 0 else (p, p, 0, 0))
        offset = self.offset + self.spacing * ((kernel[0] - 1) / 2 - padding[0])
        reach = self.reach + self.spacing * (max(kernel) - 1) / 2
        return Map(function(values), self.periodic, self.spacing * stride, offset, reach)

    def convolved(self, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0) -> Map:
        """Behind a convolution with weight (out, in, k, k)."""
        size = weight.shape[2], weight.shape[3]
        return self.slide(
            lambda x: F.conv2d(x, weight, bias, stride=stride), size, stride=stride, padding=(padding, padding)
        )

    def pooled(self, kind: str) -> Map:
        """Behind 2x2 windows two apart: their mean ("average") or their largest value ("max")."""
        return self.slide(lambda x: F.avg_pool2d(x, 2) if kind == "average" else F.max_pool2d(x, 2), (2, 2), stride=2)

    def relu(self) -> Map:
        """The positive part."""
        return replace(self, values=F.relu(self.values))


def wrapped(x: Tensor, axis: int, before: int, behind: int) -> Tensor:
    """x continued periodically along an axis, by any numbers of values."""
    if not before and not behind:
        return x
    n = x.shape[axis]
    at = torch.arange(-before, n + behind, device=x.device).remainder(n)
    return x.index_select(axis, at)


def rgb(u: Tensor, network: str) -> Tensor:
    """Pictures (B, 3, H, W) of pictures with one channel, repeated, or three. InputError for others."""
    if u.shape[1] not in (1, 3):
        raise InputError(f"{network} takes pictures of 1 channel or 3 (RGB, without alpha), got {u.shape[1]}")
    return u.expand(-1, 3, -1, -1)
