"""Files that hold StyleGANs of others, whatever their kind, as networks under the names of their own layout.

Kinds: network pickles (.pkl); torch's files (.pt) of trainings and of state dicts; safetensors. Layouts: see layouts.
All are read as data: nothing in a file is run.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import safe_open
from torch import Tensor

from texsyn.gan.convert.pickles import Network, read_networks
from texsyn.images import InputError
from texsyn.images.picture import printable, reason
from texsyn.state_dicts import read_checkpoint, read_state_dict

NETWORKS = ("G_ema", "G", "D")
_OTHERS = {"g_ema": "G_ema", "g": "G", "d": "D"}  # rosinality's names
_AVERAGE = "latent_avg"
#: names that say which layout it is, as the reader of that is called
_MARKS = {
    "stylegan3": {"synthesis.input.freqs"},
    "stylegan2": {"synthesis.b4.const", "b4.out.weight"},
    "rosinality": {"input.input", "final_linear.1.weight"},
}
#: the first pickle of torch's files before version 1.6: a number that marks them
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True)
class Found:
    """What a file holds: networks by the names in NETWORKS, the mean style that stands beside them, and its sha256.

    layout: "stylegan2", "stylegan3" or "rosinality".
    """

    layout: str
    networks: Mapping[str, Network]
    average: Tensor | None
    digest: str
    n_bytes: int


def read_found(path: str | os.PathLike[str]) -> Found:
    """The networks in a file. InputError, one line, for anything that is none."""
    name = printable(os.fsdecode(path))
    head, digest = _digested(path, name)
    average = None
    if head[:4] == b"PK\x03\x04" or head.startswith(_OLD_TORCH):
        parts = read_checkpoint(path, [*NETWORKS, *_OTHERS, _AVERAGE])
        average = parts.pop(_AVERAGE, None)
        if average is not None and not isinstance(average, Tensor):
            raise InputError(f"{name}: its {_AVERAGE} is no tensor")
        whole = parts.pop("", None)
        given = {_OTHERS.get(key, key): part for key, part in parts.items()}
        networks = {key: Network(tensors=part) for key, part in given.items()} if whole is None else _split(whole)
    elif head[:1] == b"\x80":
        networks = read_networks(path, NETWORKS)
    elif head[8:9] == b"{":
        tensors = read_state_dict(path)
        average = tensors.pop(_AVERAGE, None)
        networks = _split(tensors, _options(path))
    else:
        raise InputError(
            f"{name}: is neither a network pickle (.pkl), nor a file of torch (.pt), nor a safetensors file"
        )
    n_bytes = os.path.getsize(path)
    if any(sum(t.nbytes for t in network.tensors.values()) > n_bytes for network in networks.values()):
        raise InputError(f"{name}: describes tensors that have more bytes than the file")
    return Found(_layout(networks, name), networks, average, digest, n_bytes)


def _digested(path: str | os.PathLike[str], name: str) -> tuple[bytes, str]:
    """The first bytes of a file, and its sha256."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("not a regular file")
        with open(path, "rb") as file:
            head = file.read(len(_OLD_TORCH))
            file.seek(0)
            return head, hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{name}: cannot be read ({reason(error)})") from None


def _split(tensors: Mapping[str, Tensor], options: Mapping[str, Any] | None = None) -> dict[str, Network]:
    """The networks in one state dict: by the first part of its names, or one alone."""
    known = {**{one: one for one in NETWORKS}, **_OTHERS}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        parts.setdefault(known.get(first, ""), {})[rest if first in known else name] = tensor
    alone = parts.pop("", None)
    if alone is not None:
        parts["D" if any("fromrgb" in name or name.startswith("final_") for name in alone) else "G_ema"] = alone
    return {name: Network(tensors=part, options=options or {}) for name, part in parts.items()}


def _options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the header of a safetensors file says of networks: numbers by name."""
    with safe_open(path, framework="pt") as file:
        found = file.metadata() or {}
    return {key: float(value) for key, value in found.items() if value.replace(".", "", 1).isdecimal()}


def _layout(networks: Mapping[str, Network], name: str) -> str:
    keys = {key for network in networks.values() for key in network.tensors}
    for layout, marks in _MARKS.items():
        if keys & marks:
            return layout
    raise InputError(f"{name}: holds tensors, but none that a StyleGAN2 or StyleGAN3 of a known layout has")
