"""Random convolutions as feature functions: no weight file, any number of channels, the same bits for a seed.

One layer of random filters of many sizes and a ReLU is enough for the statistics of many textures (Ustyuzhaninov,
Brendel, Gatys and Bethge 2016, "Texture synthesis using shallow convolutional networks with random filters"). Theirs
are filters of 3 to 55 pixels; RandomConvolutions has filters of one small size at every level of a Gaussian pyramid,
which sees as far for a tenth of the cost, and adds what they have not: a bias, so that every filter's answer is cut at
a level of its own and a layer knows more of its histogram than the positive half. RandomStack is the shallow beginning
of a network such as VGG, never trained, with pools in place of the pyramid.

Filters are He's (He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers", equation 10): Gaussians of variance
2 / (channels k k), drawn by texsyn.noise, of pictures in [0, 1] less 1/2.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from texsyn.features import Features, Layer, as_batch
from texsyn.images import Region
from texsyn.maps import Map
from texsyn.noise import NoiseField
from texsyn.pyramid import pyramid

#: channels of NoiseField, far from those that pictures are synthesised with
FILTERS, BIASES = 0x52616E64, 0x52616E65


@dataclass(frozen=True)
class RandomConvolutions(Features):
    """n_filters random kernel x kernel filters with a bias and a ReLU, others at each of n_scales pyramid scales.

    bias is the standard deviation of biases. Each scale weighs alike. At 128x128 RGB a forward and backward pass takes
    0.012 CPU seconds, at 256x256 0.07 and 0.1 GB.
    """

    seed: int = 0
    n_filters: int = 64
    kernel: int = 5  # 7 and 9 converge slowly and leave speckle
    n_scales: int = 4
    bias: float = 0.1  # of values of which most are within 0.3 of 0; without it contrast drifts in places

    def __post_init__(self) -> None:
        if min(self.n_filters, self.kernel, self.n_scales) < 1 or not 0 <= self.bias < math.inf:
            raise ValueError(
                f"n_filters, kernel and n_scales must be 1 or more and bias 0 or more, got {self.n_filters}, "
                f"{self.kernel}, {self.n_scales} and {self.bias}"
            )

    @property
    def smallest_side(self) -> int:
        """The shortest side of an open picture whose coarsest scale holds a filter."""
        return (self.kernel - 1) * 2 ** (self.n_scales - 1) + 1

    def layers(self, u: Tensor, *, periodic: bool = False) -> list[Layer]:
        u = as_batch(u)
        if not periodic and min(u.shape[2:]) < self.smallest_side:
            raise ValueError(
                f"random {self.kernel}x{self.kernel} filters at {self.n_scales} scales need {self.smallest_side} "
                f"pixels a side, got {u.shape[3]}x{u.shape[2]}"
            )
        found = []
        for s, v in enumerate(pyramid(u - 0.5, self.n_scales, periodic=periodic)):
            weight, bias = _drawn(self.seed, s, self.n_filters, v.shape[1], self.kernel, self.bias)
            m = Map(v, periodic, spacing=2.0**s, reach=2.0 * (2**s - 1)).convolved(weight.to(v), bias.to(v)).relu()
            found.append(_layer(f"random {s}", m, 1 / self.n_scales))
        return found

    def describe(self) -> dict[str, Any]:
        return {"features": "random", **asdict(self)}


@dataclass(frozen=True)
class RandomStack(Features):
    """Blocks of two random 3x3 convolutions with ReLU, 2x2 averages between blocks; a tap behind each block's first.

    widths are the channels of each block, bias is the standard deviation of biases. Each tap weighs alike. At 128x128
    RGB a forward and backward pass takes 0.03 CPU seconds, at 256x256 0.1 and 0.1 GB.
    """

    seed: int = 0
    widths: tuple[int, ...] = (32, 64, 128, 128)
    bias: float = 0.0  # 0.2 broke lines into dashes and scattered blotches

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or not 0 <= self.bias < math.inf:
            raise ValueError(f"widths must be positive and bias 0 or more, got {self.widths} and {self.bias}")

    @property
    def smallest_side(self) -> int:
        """The shortest side of an open picture that reaches the last tap."""
        return 7 * 2 ** (len(self.widths) - 1) - 4

    def layers(self, u: Tensor, *, periodic: bool = False) -> list[Layer]:
        u = as_batch(u)
        if not periodic and min(u.shape[2:]) < self.smallest_side:
            raise ValueError(
                f"{len(self.widths)} blocks of random convolutions need {self.smallest_side} pixels a side, "
                f"got {u.shape[3]}x{u.shape[2]}"
            )
        at, found = Map(u - 0.5, periodic), []
        for block, width in enumerate(self.widths):
            at = at.pooled("average") if block else at
            for i in range(2 if block + 1 < len(self.widths) else 1):
                depth = 2 * block + i
                weight, bias = _drawn(self.seed, depth, width, at.values.shape[1], 3, self.bias)
                at = at.convolved(weight.to(at.values), bias.to(at.values)).relu()
                if i == 0:
                    found.append(_layer(f"random stack {block}", at, 1 / len(self.widths)))
        return found

    def describe(self) -> dict[str, Any]:
        return {"features": "random-stack", **asdict(self) | {"widths": list(self.widths)}}


def _layer(name: str, m: Map, weight: float) -> Layer:
    return Layer(
        name,
        m.values,
        periodic=m.periodic,
        spacing=m.spacing,
        offset=m.offset,
        reach=m.reach,
        weight=weight,
        normalise=True,
    )


@lru_cache(maxsize=64)
def _drawn(seed: int, level: int, n_out: int, n_in: int, k: int, bias: float) -> tuple[Tensor, Tensor]:
    """Filters (n_out, n_in, k, k) and biases (n_out,) float32, the same on every machine."""
    fan_in = n_in * k * k
    weight = NoiseField(seed, level, FILTERS).normal(Region(0, 0, n_out, fan_in)) * math.sqrt(2 / fan_in)
    biases = NoiseField(seed, level, BIASES).normal(Region(0, 0, 1, n_out))[0] * bias
    return torch.from_numpy(weight).float().reshape(n_out, n_in, k, k), torch.from_numpy(biases).float()
