"""Networks out of the .pkl files of StyleGAN2-ADA and StyleGAN3, read as data: nothing in a file is imported or called.

Such a file is the pickle of a dict {G, D, G_ema, ..}. A module in it is the source of its own class, which released
code executes and which is passed over here, with its state: parameters, buffers, modules, and what it was constructed
with. The numbers of each tensor are a pickle within the pickle, as torch wrote storages before its version 1.6. All of
it is run by `texsyn.stack_machine`, for which the names in a file are words of a table below.

Limits, so that a small file cannot ask for much: calls are given no more than four times the file's bytes, modules are
nested MAX_DEPTH deep and together keep MAX_THINGS things, counted as often as a pickle repeats them.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from texsyn.images import InputError
from texsyn.images.picture import printable, reason
from texsyn.stack_machine import Global, Machine
from texsyn.state_dicts import GLOBALS, Storage, View, filled, parse_storage

MAX_DEPTH = 16  # of modules in modules; released networks have 5
MAX_THINGS = 100_000  # that modules keep; released networks have about 4000

_SIMPLE = (bool, int, float, str, type(None))
_NUMBERS = re.compile(r"[biufc]\d{1,2}")  # of numpy's types; objects would be pickles once more
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}


@dataclass(frozen=True)
class Network:
    """A network as a file describes it: its class, what it was constructed with, its tensors under their own names.

    attributes: for each module, by its dotted name, the numbers, strings and None that it keeps.
    """

    kind: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def read_networks(path: str | os.PathLike[str], names: tuple[str, ...]) -> dict[str, Network]:
    """The networks of these names that a .pkl file holds, on the CPU. InputError, one line, for anything else."""
    name = printable(os.fsdecode(path))
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _networks(data, names)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except MemoryError:
        raise
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({reason(error)})") from None
    except Exception as error:  # hostile bytes meet the parsers with any exception there is
        raise InputError(f"{name}: is a broken or cut off network pickle ({reason(error)})") from None


def _networks(data: Any, names: tuple[str, ...]) -> dict[str, Network]:
    machine = _ModuleMachine(len(data))
    result = machine.run(data)
    modules = {key: result[key] for key in names if key in result} if type(result) is dict else {}
    if not modules or not all(type(one) is _Module for one in modules.values()):
        raise InputError(f"is a pickle, but of no networks named {', '.join(names)}")
    found = {key: _flattened(one) for key, one in modules.items()}
    made = {}
    for key, (attributes, views) in found.items():
        used = {view.storage.key: machine.buffers[view.storage.key] for view in views.values()}
        options = modules[key].state.get("_init_kwargs")
        made[key] = Network(
            modules[key].kind, options if type(options) is dict else {}, attributes, filled(views, used)
        )
    return made


# ------------------------------------------------------------------------------------------------------ the records


@dataclass(frozen=True)
class _Module:
    kind: str
    state: dict[Any, Any]


@dataclass(frozen=True)
class _Type:
    """A type of numpy's numbers."""

    name: str


@dataclass
class _Array:
    """An array, empty until its state comes."""

    value: Any = None


@dataclass(frozen=True)
class _Set:
    """A set, whose members are passed over: to compare them could take for ever."""


def _module(meta: Any) -> _Module:
    whole = type(meta) is dict and meta.get("type") == "class"
    if not whole or type(meta.get("class_name")) is not str or type(meta.get("state")) is not dict:
        raise InputError("describes a module that makes no sense")
    return _Module(meta["class_name"], meta["state"])


def _type(name: Any, *unused: Any) -> _Type:
    if type(name) is not str or not _NUMBERS.fullmatch(name):
        raise InputError("has an array of something that is no number")
    return _Type(name)


def _array(kind: Any, content: Any, shape: Any = (), order: Any = "C") -> np.ndarray:
    whole = type(kind) is _Type and type(content) in (bytes, bytearray) and type(shape) is tuple and len(shape) <= 16
    if not whole or any(type(n) is not int or n < 0 for n in shape) or order not in ("C", "F"):
        raise InputError("describes an array that makes no sense")
    return np.frombuffer(content, np.dtype(kind.name).newbyteorder("<")).reshape(shape, order=order)


def _encoded(text: Any, encoding: Any) -> bytes:
    """Bytes, as protocol 2 writes them."""
    if type(text) is not str or encoding != "latin1":
        raise InputError("holds a pickle that mixes up its types")
    return text.encode("latin1")


def _nothing(*unused: Any) -> Any:
    """An empty dict, of the kind whose entries are attributes too."""
    return {}


_CORE = [f"numpy.{core}.{module}" for core in ("core", "_core") for module in ("multiarray", "numeric")]

#: all that a pickle may name, and what stands for it here; storages are the machine's own
_NAMES = {
    **GLOBALS,
    "torch_utils.persistence _reconstruct_persistent_obj": Global(_module),
    "dnnlib.util EasyDict": Global(_nothing),
    "_codecs encode": Global(_encoded),
    "builtins set": Global(lambda *unused: _Set()),
    "__builtin__ set": Global(lambda *unused: _Set()),
    "numpy dtype": Global(_type),
    "numpy ndarray": Global(),
    **{f"{core} scalar": Global(lambda kind, content: _array(kind, content).item()) for core in _CORE},
    **{f"{core} _reconstruct": Global(lambda *unused: _Array()) for core in _CORE},
    **{f"{core} _frombuffer": Global(lambda data, kind, *how: _Array(_array(kind, data, *how))) for core in _CORE},
}


class _ModuleMachine(Machine):
    """Runs one pickle of modules; buffers are the bytes of the storages in it, by the keys that those have here."""

    wanted, keys = "network pickle of StyleGAN2-ADA or StyleGAN3", (str, int)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.max_given = 2**20 + 4 * size
        self.buffers: dict[str, memoryview] = {}
        self.names = _NAMES | {"torch.storage _load_from_bytes": Global(self.stored)}

    def stored(self, data: Any) -> Storage:
        """The storage in a pickle within the pickle."""
        if type(data) is not bytes:
            raise InputError("holds a pickle that mixes up its types")
        storage, content = parse_storage(data, str(len(self.buffers)))
        self.buffers[storage.key] = content
        return storage

    def step(self, name: str, arg: Any) -> None:
        if name in _BYTES:
            self.stack.append(arg)
        elif name == "EMPTY_SET":
            self.stack.append(_Set())
        elif name == "ADDITEMS":
            self.since_mark()
            self.only(self.top(), _Set)
        elif name == "NEWOBJ":  # of a class without arguments, as namespaces are written
            super().step("REDUCE", arg)
        else:
            super().step(name, arg)

    def named(self, name: str) -> Global:
        if name.startswith("dnnlib.tflib."):
            raise InputError(
                "is a network pickle of the TensorFlow code, which is not read here; give one of StyleGAN2-ADA's or "
                "StyleGAN3's PyTorch code, whose own tools turn the former into the latter"
            )
        return super().named(name)

    def build(self, target: Any, state: Any) -> None:
        """A type's byte order, an array's numbers, or an ordered dict's attributes, which say nothing we need."""
        if type(target) is _Type:
            usual = type(state) is tuple and len(state) > 4 and state[2:5] == (None, None, None)
            if not usual or state[1] not in ("<", "|", "="):
                raise InputError("has an array of numbers that are not laid out as usual")
        elif type(target) is _Array:
            if type(state) is not tuple or len(state) != 5 or target.value is not None:
                raise InputError("describes an array that makes no sense")
            _, shape, kind, fortran, content = state
            target.value = _array(kind, content, shape, "F" if fortran is True else "C")
        elif type(target) is not dict or set(self.only(state, dict)) - {"_metadata"}:
            raise InputError(f"sets the state of something, which no {self.wanted} needs")


# ---------------------------------------------------------------------------------------------------- to one level


def _flattened(module: _Module) -> tuple[dict[str, dict[str, Any]], dict[str, View]]:
    """The attributes of the module and of those in it, and their tensors, under dotted names in the usual order."""
    attributes: dict[str, dict[str, Any]] = {}
    views: dict[str, View] = {}
    n = 0

    def visit(one: Any, name: str, depth: int) -> None:
        nonlocal n
        if type(one) is not _Module:
            raise InputError(f"{printable(name[:-1])[:80]} is no module")
        n += 1 + len(one.state) + sum(len(_part(one, part)) for part in ("_parameters", "_buffers", "_modules"))
        if n > MAX_THINGS or depth > MAX_DEPTH:
            raise InputError(f"has modules of more than {MAX_THINGS} things, or modules more than {MAX_DEPTH} deep")
        attributes[name[:-1]] = {key: value for key, value in one.state.items() if type(value) in _SIMPLE}
        for part in ("_parameters", "_buffers"):
            for key, value in _part(one, part):
                if type(value) is not View:
                    raise InputError(f"{printable(name + key)[:80]} is no tensor")
                views[name + key] = value
        for key, value in _part(one, "_modules"):
            visit(value, f"{name}{key}.", depth + 1)

    visit(module, "", 0)
    return attributes, views


def _part(module: _Module, name: str) -> list[tuple[str, Any]]:
    found = module.state.get(name, {})
    if type(found) is not dict or any(type(key) is not str for key in found):
        raise InputError("describes a module that makes no sense")
    return [(key, value) for key, value in found.items() if value is not None]
