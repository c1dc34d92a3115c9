"""Tensors under other names: a map is from our name to theirs. Values are the same; shapes may differ by axes of 1."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from texsyn.gan.networks.resampling import FILTER
from texsyn.images import InputError
from texsyn.images.picture import printable

MAX_LAYERS = 64  # of a mapping; published ones have 2 or 8

Names = dict[str, str]

#: of an architecture in our table, and tensors under our names
Settings = dict[str, Any]
Read = tuple[Settings, dict[str, Tensor]]


def both(ours: str, theirs: str) -> Names:
    """Weight and bias of a layer."""
    return {f"{ours}.{one}": f"{theirs}.{one}" for one in ("weight", "bias")}


def count(names: Collection[str], pattern: str) -> int:
    """How many of the names are such."""
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def latent_of(tensors: Mapping[str, Tensor], n_layers: int, n_classes: int) -> int:
    """The length of styles, and of latents, of a mapping with our names. InputError where those differ."""
    if not 1 <= n_layers <= MAX_LAYERS:
        raise InputError(f"has a mapping of {n_layers} layers, where 1 to {MAX_LAYERS} are read here")
    latent, n_in = shape_of(tensors, "mapping.layers.0.weight", 2)
    if n_in != latent * (2 if n_classes else 1):
        raise InputError(f"maps {n_in} numbers to styles of {latent}; latents as long as styles are read here")
    return latent


def taken(found: Mapping[str, Tensor], names: Names, passed: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors under our names, as float32; InputError for one that is missing, unknown, or not finite.

    passed: names of others that belong there and are passed over. Filters of resampling are looked at, and not taken.
    """
    theirs = {*names.values(), *passed}
    for name in found:
        if name.endswith((".resample_filter", ".kernel")):
            _require_filter(name, found[name])
        elif name not in theirs:
            raise InputError(f"holds {printable(name)[:80]!r}, which no network that is read here has")
    made = {}
    for ours, name in names.items():
        if name not in found:
            raise InputError(f"holds no {name!r}")
        if not found[name].is_floating_point() or not bool(found[name].isfinite().all()):
            raise InputError(f"{name!r} holds something that is no finite number")
        made[ours] = found[name].detach().float().contiguous()
    return made


def _require_filter(name: str, found: Tensor) -> None:
    """InputError unless it is [1, 3, 3, 1] along both axes, of whatever sum."""
    taps = torch.tensor(FILTER)
    wanted, found = torch.outer(taps, taps), found.float()
    if found.shape != wanted.shape or not bool((found / found.sum() - wanted).abs().max() < 1e-5):
        raise InputError(f"resamples with {printable(name)[:80]!r}, which is another filter than [1, 3, 3, 1]")


def require_shapes(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """InputError unless the tensors are those that a network wants, but for axes of 1."""
    for name, like in wanted.items():
        if name not in found or _long(found[name]) != _long(like):
            shape = tuple(found[name].shape) if name in found else "missing"
            raise InputError(f"what belongs to {name!r} is {shape}, where {tuple(like.shape)} is needed")


def fitted(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in the shapes that a network wants them in. InputError as require_shapes."""
    require_shapes(found, wanted)
    return {name: found[name].reshape(like.shape).to(like.dtype) for name, like in wanted.items()}


def _long(tensor: Tensor) -> list[int]:
    return [n for n in tensor.shape if n > 1]


def shape_of(tensors: Mapping[str, Tensor], name: str, n_axes: int) -> tuple[int, ...]:
    """The shape of a tensor, by its last axes. InputError where it has fewer, or another one is longer than 1."""
    shape = tuple(tensors[name].shape)
    if len(shape) < n_axes or any(n != 1 for n in shape[:-n_axes]):
        raise InputError(f"what belongs to {name!r} has the shape {shape}, which makes no sense")
    return shape[-n_axes:]
