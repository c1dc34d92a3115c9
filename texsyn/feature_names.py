"""Feature functions by name, for configurations that are data: "patches", "vgg19:1+patches:0.5".

A mixture is parts joined by "+"; a part is NAME, NAME:WEIGHT, or with the taps of a network NAME@TAP,TAP:WEIGHT.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from texsyn.features import Features, Mixture, PatchPyramid
from texsyn.images.picture import printable
from texsyn.maps import rgb

#: what a part may be called, and whether it is a network with taps and a weight file
NAMES = {"patches": False, "random": False, "random-stack": False, "vgg19": True, "inception": True}
Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Part:
    """One feature function of a mixture, read and not yet built; no taps are the network's defaults."""

    name: str
    weight: float = 1.0
    taps: tuple[str, ...] = ()


def parse(text: str) -> tuple[Part, ...]:
    """The parts of a mixture. ValueError names what is wrong and what would be accepted; nothing is loaded.

    >>> parse("patches + vgg19@relu1_1,relu2_1:0.5")
    (Part(name='patches', weight=1.0, taps=()), Part(name='vgg19', weight=0.5, taps=('relu1_1', 'relu2_1')))
    """
    return tuple(_part(part.strip()) for part in text.split("+"))


def _part(text: str) -> Part:
    head, colon, weight_text = (piece.strip() for piece in text.partition(":"))
    name, at, taps_text = (piece.strip() for piece in head.partition("@"))
    if name not in NAMES:
        raise ValueError(
            f"features {printable(name)[:80]!r} are not known; known are {', '.join(NAMES)}, and mixtures such as "
            "patches:1+random:0.5"
        )
    try:
        weight = float(weight_text) if colon else 1.0
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ValueError(f"the weight {printable(weight_text)[:80]!r} of {name} must be a number above 0")
    if at and not NAMES[name]:
        raise ValueError(f"{name} has no taps; {' and '.join(n for n, taps in NAMES.items() if taps)} have")
    taps = tuple(tap.strip() for tap in taps_text.split(",")) if at else ()
    return Part(name, weight, taps)


def features_of(
    text: str,
    channels: int = 3,
    *,
    seed: int = 0,
    weights: Path | Mapping[str, Path] | None = None,
    patch_size: int = 4,
    n_scales: int = 4,
) -> Features:
    """The feature function that a text names, for pictures with that many channels.

    seed is that of random convolutions; patch_size and n_scales are those of patches; weights is a network's file or a
    folder with the published files, or {name: either}, by default where texsyn.weights looks. ValueError: see parse();
    InputError: weights that are not here, or channels that a network does not take.
    """
    parts = parse(text)
    networks = {part.name for part in parts if NAMES[part.name]}
    if len(networks) > 1 and isinstance(weights, (str, os.PathLike)) and not os.path.isdir(weights):
        raise ValueError(
            f"{' and '.join(sorted(networks))} need a file each: give their folder, or a path for each name"
        )
    for name in networks:
        rgb(torch.empty(1, channels, 1, 1), name)

    def built(part: Part) -> Features:
        if part.name == "patches":
            return PatchPyramid(patch_size, n_scales)
        if part.name in ("random", "random-stack"):
            from texsyn.random_features import RandomConvolutions, RandomStack

            return RandomConvolutions(seed) if part.name == "random" else RandomStack(seed)
        path = weights.get(part.name) if isinstance(weights, Mapping) else weights
        if part.name == "vgg19":
            from texsyn.vgg import VGG19

            return VGG19(path, taps=part.taps) if part.taps else VGG19(path)
        from texsyn.inception_features import InceptionFeatures

        return InceptionFeatures(path, taps=part.taps) if part.taps else InceptionFeatures(path)

    if len(parts) == 1 and parts[0].weight == 1:
        return built(parts[0])
    return Mixture(tuple((built(part), part.weight) for part in parts))
