"""The maps of the Inception network of FID as feature functions, at the picture's own resolution.

The network is texsyn.inception's, each normalisation folded into its convolution, and pictures are not resized: what
FID averages over positions of a 299x299 picture is here a point cloud. A picture that does not wrap ends as those that
the network was trained with (zeros around the blocks, none around the first layers); one that wraps is wrapped in every
layer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.features import Features, Layer, as_batch
from texsyn.images import InputError
from texsyn.inception import STAGES, TAPS, WEIGHTS, Block, ConvBN, Inception, inception
from texsyn.maps import Map, rgb

MAPS = tuple(tap for tap in TAPS if tap != "logits")


class InceptionFeatures(Features):
    """The network's maps at some taps before they are averaged, one layer a tap, each weighing alike.

    path and kind ("fid" or "torchvision") as of texsyn.inception.inception; a `net` at hand is used in their place.
    taps: of 64pre, 64, 192pre, 192, 768 and 2048, with a value every 2, 4, 4, 8, 16 and 32 pixels. Pictures have one
    channel, which is repeated, or three. InputError: no weights, or wrong ones.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        kind: str = "fid",
        taps: Sequence[str] = ("64pre", "192pre", "768"),
        net: Inception | None = None,
    ) -> None:
        if not taps or len(set(taps)) < len(taps) or any(tap not in MAPS for tap in taps):
            raise ValueError(f"taps={list(taps)} must be different ones of {', '.join(MAPS)}")
        if kind not in WEIGHTS:
            raise ValueError(f"kind={kind!r} is not one of {', '.join(WEIGHTS)}")
        net = inception(kind, path) if net is None else net
        self.taps = tuple(sorted(taps, key=MAPS.index))
        self.kind, self.sha256 = net.kind, net.sha256
        names = [name for name, _ in STAGES]
        self._stages = STAGES[: 1 + next(i for i, (_, tap) in enumerate(STAGES) if tap == self.taps[-1])]
        self._blocks = {name: m for name, m in net.named_children() if isinstance(m, Block) and name in names}
        last = [name for name, _ in self._stages]
        self._folded = {
            name: _folded(m) for name, m in net.named_modules() if isinstance(m, ConvBN) and name.split(".")[0] in last
        }

    @property
    def smallest_side(self) -> int:
        """The shortest side of an open picture that reaches the last tap."""
        return TAPS[self.taps[-1]]

    def layers(self, u: Tensor, *, periodic: bool = False) -> list[Layer]:
        u = rgb(as_batch(u), "Inception")
        if not periodic and min(u.shape[2:]) < self.smallest_side:
            raise InputError(
                f"the map {self.taps[-1]} of Inception needs {self.smallest_side} pixels a side, "
                f"got {u.shape[3]}x{u.shape[2]}; leave the deepest taps out"
            )
        self._folded = {name: (f[0].to(u), f[1].to(u), f[2], f[3]) for name, f in self._folded.items()}
        at = Map((255 * u - 128) / 128, periodic)
        layers = []
        for name, tap in self._stages:
            at = self._stage(name, at)
            if tap in self.taps:
                layers.append(
                    Layer(
                        f"inception {tap}",
                        at.values,
                        periodic=periodic,
                        spacing=at.spacing,
                        offset=at.offset,
                        weight=1 / len(self.taps),
                        normalise=True,
                    )
                )
        return layers

    def _stage(self, name: str, at: Map) -> Map:
        if name not in self._blocks:
            return self._step(name, at, counted=False)
        block = self._blocks[name]
        outputs = []
        for branch in block.branches:
            m = at
            for parts in branch:
                m = joined([self._step(p if p in POOLS else f"{name}.{p}", m, counted=block.counted) for p in parts])
            outputs.append(m)
        return joined(outputs)

    def _step(self, name: str, at: Map, *, counted: bool) -> Map:
        if name == "avg":
            if not at.periodic:
                mean = F.avg_pool2d(at.values, 3, stride=1, padding=1, count_include_pad=counted)
                return replace(at, values=mean, reach=at.reach + at.spacing)
            return at.slide(lambda x: F.avg_pool2d(x, 3, stride=1), (3, 3), padding=(1, 1))
        if name == "max":  # of values that are at least 0, which zeros around them do not change
            return at.slide(lambda x: F.max_pool2d(x, 3, stride=1), (3, 3), padding=(1, 1))
        if name == "max/2":
            return at.slide(lambda x: F.max_pool2d(x, 3, stride=2), (3, 3), stride=2)
        weight, bias, stride, padding = self._folded[name]
        kernel = weight.shape[2], weight.shape[3]
        return at.slide(
            lambda x: F.relu(F.conv2d(x, weight, bias, stride=stride)), kernel, stride=stride, padding=padding
        )

    def describe(self) -> dict[str, Any]:
        return {"features": "inception", "taps": list(self.taps), "kind": self.kind, "sha256": self.sha256}


POOLS = ("avg", "max", "max/2")
Folded = tuple[Tensor, Tensor, int, tuple[int, int]]


def _folded(module: ConvBN) -> Folded:
    """(weight, bias, stride, padding) of the convolution that does what it and its normalisation do."""
    conv, bn = module.conv, module.bn
    assert bn.running_mean is not None
    assert bn.running_var is not None
    with torch.no_grad():
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        weight = conv.weight * scale[:, None, None, None]
        bias = bn.bias - bn.running_mean * scale
    return weight, bias, conv.stride[0], (int(conv.padding[0]), int(conv.padding[1]))


def joined(maps: Sequence[Map]) -> Map:
    """Maps on one grid, channels behind each other."""
    first = maps[0]
    if len(maps) == 1:
        return first
    return replace(first, values=torch.cat([m.values for m in maps], 1), reach=max(m.reach for m in maps))
