"""Official names of StyleGAN2's tensors, as of StyleGAN2-ADA and of the StyleGAN2 in StyleGAN3's code.

Weights are stored there as here: those of a mapping, and its biases, are a hundred times what they act as, and kernels
of layers that go up are those of transposed convolutions. b4, b8 .. are resolutions, coarsest first in G.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from texsyn.gan.architectures import GanConfig
from texsyn.gan.convert.names import Names, Read, Settings, both, count, latent_of, shape_of, taken
from texsyn.gan.convert.pickles import Network
from texsyn.images import InputError
from texsyn.images.picture import printable

ARCH = "stylegan2"
CLASS_LAYERS = 8  # of the mapping of a discriminator that is told classes
CLAMP, GROUP = 256.0, 4  # of released trainings, where a file does not say
_DEPTHS = 13  # of 16384 pixels


@dataclass(frozen=True)
class Made:
    """What the names depend upon. depths: how often the coarsest resolution, 4, is there or doubled."""

    depths: int
    mapping_layers: int = 8
    conditional: bool = False
    residual: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.depths <= _DEPTHS:
            raise InputError("has no resolutions 4, 8, 16 and so on, as a StyleGAN2 has")

    @classmethod
    def of(cls, config: GanConfig) -> Made:
        """That of a model of ours. InputError of one whose coarsest resolution is not 4 x 4, or that tiles."""
        depths = config.design.halvings() + 1
        if config.design.base() != (4, 4) or config.periodic:
            what = "tiles" if config.periodic else f"makes pictures of {config.width}x{config.height}"
            raise InputError(f"{what}, and published layouts are of squares of 8, 16, 32 .. pixels that do not tile")
        return cls(depths, config.mapping_layers, config.conditional, config.residual)


# ---- names


def mapping_names(n_layers: int, conditional: bool) -> Names:
    """Of a generator's mapping, or of a discriminator's."""
    found = both("mapping.embed", "mapping.embed") if conditional else {}
    for i in range(n_layers):
        found |= both(f"mapping.layers.{i}", f"mapping.fc{i}")
    return found


def generator_names(made: Made) -> Names:
    """Of the generator: mapping, then synthesis by resolution."""
    found = mapping_names(made.mapping_layers, made.conditional)
    found |= {"average": "mapping.w_avg", "start": "synthesis.b4.const"}
    for k in range(made.depths):
        block = f"synthesis.b{4 << k}"
        for i, layer in ((2 * k - 1, "conv0"), (2 * k, "conv1"))[0 if k else 1 :]:
            ours, theirs = f"layers.{i}", f"{block}.{layer}"
            found |= both(f"{ours}.conv", theirs) | both(f"{ours}.affine", f"{theirs}.affine")
            found |= {f"{ours}.noise": f"{theirs}.noise_const", f"{ours}.strength": f"{theirs}.noise_strength"}
        found |= both(f"pictures.{k}.conv", f"{block}.torgb") | both(f"pictures.{k}.affine", f"{block}.torgb.affine")
    return found


def discriminator_names(made: Made) -> Names:
    """Of the discriminator: from the picture on, then what sees all of it."""
    found = both("picture", f"b{2 << made.depths}.fromrgb")
    for k in range(made.depths - 1):
        block = f"b{2 << made.depths >> k}"
        found |= both(f"blocks.{k}.first", f"{block}.conv0") | both(f"blocks.{k}.second", f"{block}.conv1")
        found |= {f"blocks.{k}.skip.weight": f"{block}.skip.weight"} if made.residual else {}
    found |= both("conv", "b4.conv") | both("whole", "b4.fc") | both("psi", "b4.out")
    return found | (mapping_names(CLASS_LAYERS, True) if made.conditional else {})


def _made(names: Collection[str]) -> Made:
    """What a generator or a discriminator with these names is."""
    sides = {int(match[1]) for name in names if (match := re.match(r"(?:synthesis\.)?b(\d{1,5})\.", name))}
    depths = len(sides) if sides == {4 << k for k in range(len(sides))} else 0
    residual = any(name.endswith(".skip.weight") for name in names)
    return Made(depths, count(names, r"mapping\.fc\d+\.weight"), "mapping.embed.weight" in names, residual)


# ---- what a file's networks are


def read_generator(network: Network) -> Read:
    """Settings of ours under which it is the same function, and its tensors under our names."""
    made = _made(network.tensors)
    tensors = taken(network.tensors, generator_names(made))
    return settings_of(tensors, made) | {"clamp": clamp_of(network)}, tensors


def read_discriminator(network: Network) -> Read:
    """As read_generator."""
    made = _made(network.tensors)
    tensors = taken(network.tensors, discriminator_names(made))
    return judging_of(tensors, made) | {"clamp": clamp_of(network), "group": group_of(network)}, tensors


def settings_of(tensors: Mapping[str, Tensor], made: Made) -> Settings:
    """Those of a generator whose tensors have our names."""
    n_classes = shape_of(tensors, "mapping.embed.weight", 2)[1] if made.conditional else 0
    latent = latent_of(tensors, made.mapping_layers, n_classes)
    channels, *_ = shape_of(tensors, "pictures.0.conv.weight", 4)
    widths = [shape_of(tensors, f"layers.{2 * k}.conv.weight", 4)[0] for k in reversed(range(made.depths))]
    return _shared(widths, made, channels, n_classes) | {"latent": latent, "mapping_layers": made.mapping_layers}


def judging_of(tensors: Mapping[str, Tensor], made: Made) -> Settings:
    """Those of a discriminator whose tensors have our names."""
    first, channels, *_ = shape_of(tensors, "picture.weight", 4)
    widths = [first, *(shape_of(tensors, f"blocks.{k}.second.weight", 4)[0] for k in range(made.depths - 1))]
    n_classes = shape_of(tensors, "mapping.embed.weight", 2)[1] if made.conditional else 0
    return _shared(widths, made, channels, n_classes) | {"residual": made.residual}


def _shared(widths: list[int], made: Made, channels: int, n_classes: int) -> Settings:
    """What the two networks of a pair agree upon; widths from the picture on."""
    features, limit = widths[0], max(widths)
    if widths != [min(features << k, limit) for k in range(made.depths)]:
        raise InputError(f"has {', '.join(map(str, widths))} channels from the picture on, which do not just double")
    side = 2 << made.depths
    return {
        "channels": channels, "height": side, "width": side, "n_classes": n_classes, "features": features,
        "max_features": limit,
    }  # fmt: skip


def clamp_of(network: Network) -> float:
    """What its layers cut features to; skips of a discriminator are not cut. 0: they are not either."""
    values = {
        of["conv_clamp"] for name, of in network.attributes.items() if "conv_clamp" in of and not name.endswith("skip")
    } or {_option(network, "conv_clamp", CLAMP)}
    if len(values) > 1:
        raise InputError("has layers that are clamped differently")
    (value,) = values
    if value is not None and (type(value) not in (int, float) or not 0 <= value < float("inf")):
        raise InputError(f"clamps its layers by {printable(str(value))[:40]!r}, which is no number from 0")
    return float(value or 0)


def group_of(network: Network) -> int:
    """The pictures whose deviation a discriminator is shown together."""
    found = [of["group_size"] for of in network.attributes.values() if "group_size" in of]
    value = found[0] if found else _option(network, "mbstd_group_size", GROUP)
    if value is None:
        return 2**20  # all of a batch
    if type(value) not in (int, float) or not 1 <= value <= 2**20:
        raise InputError(f"groups pictures by {printable(str(value))[:40]!r}, which is no number from 1")
    return int(value)


def _option(network: Network, name: str, usual: Any) -> Any:
    """What a network was constructed with, itself or a part of it."""
    parts = [network.options, *(network.options.get(f"{part}_kwargs") for part in ("synthesis", "epilogue"))]
    return next((part[name] for part in parts if isinstance(part, Mapping) and name in part), usual)
