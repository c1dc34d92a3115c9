"""VGG-19's convolutions as feature functions, in plain torch, from either of the two published files.

The network is configuration E of Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image
recognition": sixteen 3x3 convolutions with ReLU in five blocks, a 2x2 pool between blocks. Gatys, Ecker and Bethge
2015, "Texture synthesis using convolutional neural networks", made it the measure of textures and put averages in place
of the maxima, which is the default here. A tap relu3_1 is the map behind the first ReLU of the third block.

Two files hold two versions of the weights, and their layout says how pictures are prepared for them. torchvision's
(features.0.weight, ...) wants RGB in [0, 1] less ImageNet's mean, over its deviation: the entry "vgg19" of
texsyn.weights, checked by its hash. Gatys' own (conv1_1.weight, ...; vgg_conv.pth, from bethgelab.org) wants BGR in
0..255 less [104, 117, 124]. We know of no published hash of it, so it is taken by path alone, unverified, and the hash
that it has is recorded.

Memory is that of the maps and their gradients: at 256x256 with the default taps a forward and backward pass takes
0.3 GB beside the weights (80 MB), at 128x128 0.1 GB.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from texsyn import weights
from texsyn.features import Features, Layer, as_batch
from texsyn.images import InputError
from texsyn.images.picture import printable
from texsyn.maps import Map, rgb
from texsyn.state_dicts import parse_state_dict

#: convolutions a block, and their channels
BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
#: the convolutions' names in order, "1_1" to "5_4"
CONVOLUTIONS = tuple(f"{b}_{i}" for b, (n, _) in enumerate(BLOCKS, 1) for i in range(1, n + 1))
TAPS = tuple(f"relu{name}" for name in CONVOLUTIONS)
GATYS_TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
POOLINGS = ("average", "max")
BORDERS = ("valid", "zero")
LAYOUTS = ("torchvision", "gatys")

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB, as torchvision has them
_MEAN_BGR = (104.0, 117.0, 124.0)


class VGG19(Features):
    """The maps of VGG-19 at some taps, one layer a tap, each weighing alike; see the module's docstring.

    path: a weight file, or a folder with the published one; by default where texsyn.weights.find looks. A file under
    the published name is verified, one of another name is taken as it is, with its hash in describe().
    border: how pictures that do not wrap end. "valid" keeps only what sees no border, as GOTEX does with exemplars,
    which takes 156 pixels a side for relu5_1; "zero" pads as the network was trained.
    Pictures have one channel, which is repeated, or three. InputError: no weights, or wrong ones.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        taps: Sequence[str] = GATYS_TAPS,
        pooling: str = "average",
        border: str = "valid",
    ) -> None:
        _require_known(taps, pooling, border)
        state, sha256 = _read(path)
        self._set_up(state, sha256, taps, pooling, border)

    @classmethod
    def from_state_dict(
        cls,
        state: Mapping[str, Tensor],
        *,
        sha256: str = "",
        taps: Sequence[str] = GATYS_TAPS,
        pooling: str = "average",
        border: str = "valid",
    ) -> VGG19:
        """The features of these parameters, in either layout; a classifier's are left out. See the class."""
        _require_known(taps, pooling, border)
        features = cls.__new__(cls)
        features._set_up(state, sha256, taps, pooling, border)
        return features

    def _set_up(self, state: Mapping[str, Tensor], sha256: str, taps: Sequence[str], pooling: str, border: str) -> None:
        self.taps = tuple(sorted(taps, key=TAPS.index))
        self.pooling, self.border, self.sha256 = pooling, border, sha256
        self.layout = layout_of(state)
        self.normalised = ""  #: the hash of the channels' scales behind normalised_on(), else empty
        self._parameters = _checked(state, self.layout)[: 1 + TAPS.index(self.taps[-1])]

    @property
    def smallest_side(self) -> int:
        """The shortest side of an open picture that reaches the last tap."""
        side, stride = 1, 1
        for name in CONVOLUTIONS[: len(self._parameters)]:
            if name.endswith("_1") and name != "1_1":
                side, stride = side + stride, 2 * stride
            side += 2 * stride * (self.border == "valid")
        return side

    def _input(self, u: Tensor, *, periodic: bool) -> Tensor:
        """What the network is given for pictures, if they will do."""
        u = rgb(as_batch(u), "VGG-19")
        if min(u.shape[2:]) < (1 if periodic else self.smallest_side):
            raise InputError(
                f"{self.taps[-1]} of VGG-19 needs {self.smallest_side} pixels a side, got {u.shape[3]}x{u.shape[2]}; "
                "leave the deepest taps out, or take border='zero'"
            )
        return prepared(u, self.layout)

    def layers(self, u: Tensor, *, periodic: bool = False) -> list[Layer]:
        maps = self._maps(self._input(u, periodic=periodic), periodic)
        return [
            Layer(
                f"vgg19 {tap}",
                m.values,
                periodic=periodic,
                spacing=m.spacing,
                offset=m.offset,
                reach=m.reach,
                weight=1 / len(self.taps),
                normalise=True,
            )
            for tap, m in zip(TAPS, maps, strict=False)
            if tap in self.taps
        ]

    def _maps(self, x: Tensor, periodic: bool) -> list[Map]:
        """Behind every ReLU up to the last tap."""
        padding = int(self.border == "zero" and not periodic)
        self._parameters = [(weight.to(x), bias.to(x)) for weight, bias in self._parameters]
        at, maps = Map(x, periodic), []
        for name, (weight, bias) in zip(CONVOLUTIONS, self._parameters, strict=False):
            if name.endswith("_1") and name != "1_1":
                at = at.pooled(self.pooling)
            at = at.convolved(weight, bias, padding=padding).relu()
            maps.append(at)
        return maps

    def normalised_on(self, pictures: Sequence[Tensor]) -> VGG19:
        """The same network with every channel scaled to a mean activation of 1 on these pictures (Gatys et al. 2015).

        A scale divides a channel's filter and bias and multiplies what reads it, so later maps are what they were, each
        channel times a number. Means are over all positions of all pictures, (C, H, W) or batches, borders open;
        channels that never fire stay as they are. describe() has a hash of the scales.
        """
        if not pictures:
            raise ValueError("there are no pictures to normalise on")
        total, count = [torch.zeros(len(b), dtype=torch.float64) for _, b in self._parameters], [0] * len(TAPS)
        with torch.no_grad():
            for picture in pictures:
                for i, m in enumerate(self._maps(self._input(picture, periodic=False), False)):
                    total[i] += m.values.double().sum((0, 2, 3)).cpu()
                    count[i] += m.values[:, 0].numel()
        scales = [torch.where(t > 0, t / n, 1.0).float() for t, n in zip(total, count, strict=False)]
        before = torch.ones(3)
        parameters = []
        for (weight, bias), scale in zip(self._parameters, scales, strict=True):
            weight, bias = weight.cpu().float(), bias.cpu().float()
            parameters.append((weight * before[:, None, None] / scale[:, None, None, None], bias / scale))
            before = scale
        features = VGG19.__new__(VGG19)
        features.__dict__.update(self.__dict__)
        features._parameters = parameters
        features.normalised = hashlib.sha256(torch.cat(scales).numpy().tobytes()).hexdigest()
        return features

    def describe(self) -> dict[str, Any]:
        return {
            "features": "vgg19",
            "taps": list(self.taps),
            "pooling": self.pooling,
            "border": self.border,
            "layout": self.layout,
            "sha256": self.sha256,
            "normalised": self.normalised,
        }


def prepared(u: Tensor, layout: str) -> Tensor:
    """The network's input of pictures (B, 3, H, W) in [0, 1], as weights of a layout want it."""
    if layout == "gatys":
        return 255 * u.flip(1) - u.new_tensor(_MEAN_BGR)[:, None, None]
    return (u - u.new_tensor(_MEAN)[:, None, None]) / u.new_tensor(_DEVIATION)[:, None, None]


# ------------------------------------------------------------------------------------------------------ the weights


def parameter_names(layout: str) -> list[str]:
    """What a layout calls the sixteen convolutions, without ".weight" and ".bias".

    >>> parameter_names("torchvision")[:5], parameter_names("gatys")[-1]
    (['features.0', 'features.2', 'features.5', 'features.7', 'features.10'], 'conv5_4')
    """
    if layout == "gatys":
        return [f"conv{name}" for name in CONVOLUTIONS]
    pools = [int(name[0]) - 1 for name in CONVOLUTIONS]  # before each; torchvision numbers ReLUs and pools too
    return [f"features.{2 * i + p}" for i, p in enumerate(pools)]


def layout_of(state: Mapping[str, Tensor]) -> str:
    """ "torchvision" or "gatys", by the name of the first convolution. InputError for others."""
    for layout in LAYOUTS:
        if f"{parameter_names(layout)[0]}.weight" in state:
            return layout
    first = f", but {printable(next(iter(state)))[:80]!r}" if state else ""
    raise InputError(
        f"the state dict has neither features.0.weight (torchvision) nor conv1_1.weight (Gatys){first}; "
        "it is not that of VGG-19"
    )


def _checked(state: Mapping[str, Tensor], layout: str) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of every convolution in float32. InputError names the first that is missing or wrong."""
    found, n_in = [], 3
    for name, key in zip(CONVOLUTIONS, parameter_names(layout), strict=True):
        n_out = BLOCKS[int(name[0]) - 1][1]
        pair = []
        for part, shape in (("weight", (n_out, n_in, 3, 3)), ("bias", (n_out,))):
            t = state.get(f"{key}.{part}")
            if t is None:
                raise InputError(f"the state dict has no {key}.{part}; it is not that of VGG-19")
            if t.shape != shape or not t.is_floating_point():
                raise InputError(f"{key}.{part} of VGG-19 has the shape {shape}, not {tuple(t.shape)} of {t.dtype}")
            if not bool(torch.isfinite(t).all()):
                raise InputError(f"{key}.{part} has a NaN or an infinite value")
            pair.append(t.detach().float().contiguous())
        found.append((pair[0], pair[1]))
        n_in = n_out
    return found


def _read(path: str | os.PathLike[str] | None) -> tuple[dict[str, Tensor], str]:
    """The state dict and the sha256 of its file: verified where it bears the published name, else as it is."""
    published = weights.entry_of("vgg19").files
    if path is None or os.path.isdir(path) or not os.path.exists(path) or Path(os.fsdecode(path)).name in published:
        return weights.load("vgg19", path)
    with weights.opened(Path(os.fsdecode(path))) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        return parse_state_dict(file, printable(os.fsdecode(path))), digest


def _require_known(taps: Sequence[str], pooling: str, border: str) -> None:
    unknown = [tap for tap in taps if tap not in TAPS]
    if unknown or not taps or len(set(taps)) < len(taps):
        raise ValueError(f"taps={list(taps)} must be different ones of {', '.join(TAPS)}")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling!r} is not one of {', '.join(POOLINGS)}")
    if border not in BORDERS:
        raise ValueError(f"border={border!r} is not one of {', '.join(BORDERS)}")
