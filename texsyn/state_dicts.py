"""State dicts, and lists of tensors, out of published files, read as data: nothing in a file is imported or called.

torch's .pth files hold a pickle, which `stack_machine` runs as data: the names in GLOBALS stand for tensors, storages
and ordered dicts described by frozen records; any other name or operation ends the reading with an InputError. Two
layouts hold such pickles: the zip archive of torch 1.6 and later (PKWARE's format, members stored without compression)
and the stream of pickles and raw storages before it. safetensors files are read by their own library, which runs
nothing either.

Limits, so that a small file cannot ask for much: pickles of MAX_PICKLE bytes, storages that together are no longer
than the file, tensors no larger than the storage they look into, MAX_TENSORS things in lists nested MAX_DEPTH deep.
Names inside a file are never used as paths. Where its storages once lay, on a CUDA device say, is not asked.
"""

from __future__ import annotations

import io
import math
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from texsyn.images import InputError
from texsyn.images.picture import printable, reason
from texsyn.stack_machine import Global, Machine

MAX_PICKLE = 2**22  # bytes; that of Inception's 566 tensors has 60,000
MAX_TENSORS = 100_000
MAX_DEPTH = 8  # a list of tensors has 1

LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of the older layout

STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a .pth or safetensors file by name, on the CPU. InputError, one line, for anything else."""
    return _opened(path, _check_state_dict)


def read_values(path: str | os.PathLike[str]) -> Any:
    """What a .pth or safetensors file holds, where that is tensors and numbers in lists, tuples and dicts.

    Tensors are on the CPU; keys are strings. InputError, one line, for anything else.
    """
    return _opened(path, _check_values)


def read_checkpoint(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, Any]:
    """Of a training's .pt file, a dict, the entries of these names: tensors, or state dicts; others are passed over.

    Of a file that has none of them, but is a state dict: {"": the state dict}. Otherwise InputError, one line.
    """

    def pick(result: Any) -> Any:
        found = {name: result[name] for name in names if name in result} if type(result) is dict else {}
        if not found:
            _check_state_dict(result)
            return {"": result}
        for value in found.values():
            if type(value) is not View:
                _check_state_dict(value)
        return found

    return cast(dict[str, Any], _opened(path, pick, _CheckpointMachine))


def _opened(path: str | os.PathLike[str], pick: _Pick, machine: type[_Machine] | None = None) -> Any:
    name = printable(os.fsdecode(path))
    try:
        with open(path, "rb") as file:
            return _parsed(file, name, pick, machine or _Machine)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: cannot be read ({reason(error)})") from None


def parse_state_dict(file: BinaryIO, name: str) -> dict[str, Tensor]:
    """The tensors in an open file that can seek; `name` is what errors call it."""
    return cast(dict[str, Tensor], _parsed(file, name, _check_state_dict, _Machine))


def _parsed(file: BinaryIO, name: str, pick: _Pick, machine: type[_Machine]) -> Any:
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(9)
        file.seek(0)
        if head[:4] == b"PK\x03\x04":
            return _read_zip(file, size, pick, machine())
        if head[8:] == b"{":
            from safetensors.torch import load

            return load(file.read())
        if head[:1] == b"\x80":
            return _read_stream(file, size, pick, machine)
        raise InputError("is neither a state dict of torch (.pth) nor a safetensors file")
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes meet the parsers with any exception there is
        raise InputError(f"{name}: is a broken or cut off weight file ({reason(error)})") from None


# ------------------------------------------------------------------------------------------------------ the records


@dataclass(frozen=True)
class Storage:
    """Where numbers lie: their type, the key that the file knows them by, and how many there are."""

    dtype: torch.dtype
    key: str
    n: int

    @property
    def n_bytes(self) -> int:
        return self.n * self.dtype.itemsize


@dataclass(frozen=True)
class View:
    """A tensor as the file describes it: a window into a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _view(storage: Any, offset: Any, size: Any, stride: Any, *unused: Any) -> View:
    """The record of a tensor, if its window lies inside its storage and repeats nothing."""
    whole = all(type(part) is tuple and len(part) <= 16 for part in (size, stride)) and type(storage) is Storage
    if not whole or len(size) != len(stride) or any(type(k) is not int or k < 0 for k in (offset, *size, *stride)):
        raise InputError("describes a tensor that makes no sense")
    n = math.prod(size)
    last = offset + sum((k - 1) * step for k, step in zip(size, stride, strict=True)) if n else offset
    if n > storage.n or last >= storage.n + (n == 0):
        raise InputError(f"describes a tensor of shape {size} that reaches beyond its {storage.n} numbers")
    return View(storage, offset, size, stride)


def _parameter(data: Any, *unused: Any) -> Any:
    if type(data) is not View:
        raise InputError("describes a parameter that is no tensor")
    return data


def _ordered_dict(pairs: Any = None) -> dict[str, Any]:
    """An empty one, which is filled later, or as Python 2 wrote it, of a list of [name, value]."""
    if pairs is None:
        return {}
    if type(pairs) is not list or any(type(p) is not list or len(p) != 2 or type(p[0]) is not str for p in pairs):
        raise InputError("builds an ordered dict in a way that state dicts do not")
    return dict(pairs)


#: all that a pickle may name, and what stands for it here
GLOBALS = {
    "collections OrderedDict": Global(_ordered_dict),
    "torch._utils _rebuild_tensor": Global(_view),
    "torch._utils _rebuild_tensor_v2": Global(_view),
    "torch._utils _rebuild_parameter": Global(_parameter),
    **{f"torch {kind}": Global(value=dtype) for kind, dtype in STORAGES.items()},
}


_Pick = Callable[[Any], Any]  # what was asked for, of a pickle's result; InputError where it is not there


class _Machine(Machine):
    """Runs one pickle of a state dict, or of tensors and numbers in lists."""

    names, wanted = GLOBALS, "state dict"
    advice = " (of a file you trust, save the state_dict() alone, as safetensors)"

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[str, Storage] = {}  # all that the pickle has mentioned

    def build(self, target: Any, state: Any) -> None:
        """An ordered dict's attributes: state dicts have _metadata, which says nothing we need."""
        if set(self.only(state, dict)) - {"_metadata"}:
            raise InputError("sets attributes that state dicts do not have")
        self.only(target, dict)

    def persistent(self, identity: Any) -> Storage:
        found = _storage(identity)
        if self.storages.setdefault(found.key, found) != found:
            raise InputError("describes one storage in two ways")
        return found


class _Unread:
    """Stands for something in a checkpoint that nobody asks for."""

    def __init__(self, *unused: Any) -> None:
        pass


class _CheckpointMachine(_Machine):
    """Runs one pickle of a training: beside state dicts, settings and an optimiser's numbers, which are passed over."""

    names = GLOBALS | {"argparse Namespace": Global(_Unread), "torch device": Global(_Unread)}
    wanted, advice, keys = "checkpoint of a training", "", (str, int)

    def step(self, name: str, arg: Any) -> None:
        if name == "NEWOBJ":
            name = "REDUCE"  # of a class without arguments, as namespaces are written
        super().step(name, arg)

    def build(self, target: Any, state: Any) -> None:
        if type(target) is not _Unread:
            super().build(target, state)


def _storage(identity: Any) -> Storage:
    """The record of a persistent id ("storage", type, key, device, count[, view])."""
    whole = type(identity) is tuple and len(identity) in (5, 6) and identity[5:] in ((), (None,))
    if not whole or identity[0] != "storage":
        raise InputError("refers to something that is no storage of its own")
    kind, key, n = identity[1], identity[2], identity[4]
    if type(kind) is not Global or kind.value is None or type(key) is not str or type(n) is not int or n < 0:
        raise InputError("describes a storage that makes no sense")
    return Storage(kind.value, key, n)


# ---------------------------------------------------------------------------------------------------- two layouts


def _read_zip(file: BinaryIO, size: int, pick: _Pick, machine: _Machine) -> Any:
    """torch 1.6 and later: FOLDER/data.pkl, and each storage in a member FOLDER/data/KEY."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise InputError("is an archive with two members of one name")
        if sum(info.file_size for info in members.values()) > size:
            raise InputError("is an archive that claims to hold more than its own size; state dicts are stored plainly")
        roots = [match[1] for name in members if (match := re.fullmatch(r"([^/]+/)data\.pkl", name))]
        if len(roots) != 1:
            raise InputError("is a zip archive, but not one that torch.save wrote")
        (root,) = roots
        if f"{root}constants.pkl" in members or any(name.startswith(f"{root}code/") for name in members):
            raise InputError("is a TorchScript program, which is not run here; give the state dict (.pth) of the model")

        def content(name: str, n_bytes: int | None = None) -> bytes:
            info = members.get(name)
            if info is None or info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise InputError(f"has no plain member {printable(name)[:80]}; it was not written by torch.save")
            if info.file_size > MAX_PICKLE if n_bytes is None else info.file_size != n_bytes:
                raise InputError(f"{printable(name)[:80]} has {info.file_size} bytes, which is not what belongs there")
            return archive.read(info)

        if f"{root}byteorder" in members and content(f"{root}byteorder") != b"little":
            raise InputError("was written on a big-endian machine; save it again on another, or as safetensors")
        result = pick(machine.run(io.BytesIO(content(f"{root}data.pkl"))))
        buffers = {s.key: content(f"{root}data/{s.key}", s.n_bytes) for s in storages_of(_views(result), size)}
    return filled(result, buffers)


def _read_stream(file: BinaryIO, size: int, pick: _Pick, machine: type[_Machine]) -> Any:
    """Before torch 1.6: pickles of a magic number, a version, the system, the values, the keys; then the storages."""
    values, mentioned, keys = _read_heads(file, machine)
    result = pick(values)
    wanted = {s.key: s for s in storages_of(_views(result), size)}
    buffers = {}
    for key in keys:
        n = int.from_bytes(file.read(8), "little")
        said = mentioned[key]
        if n != said.n:
            raise InputError(f"says that storage {printable(key)[:40]} has {n} numbers and {said.n} elsewhere")
        if key not in wanted:
            file.seek(said.n_bytes, os.SEEK_CUR)
            continue
        buffers[key] = file.read(wanted[key].n_bytes)
        if len(buffers[key]) < wanted[key].n_bytes:
            raise InputError("is cut off")
    return filled(result, buffers)


def _read_heads(file: BinaryIO, machine: type[_Machine]) -> tuple[Any, dict[str, Storage], list[str]]:
    """The values, the storages that they mention, and the keys of those in order; the file is left at the first one."""
    start = file.tell()
    head = io.BytesIO(file.read(MAX_PICKLE))
    magic = machine().run(head)
    if magic != LEGACY_MAGIC or machine().run(head) != _LEGACY_PROTOCOL:
        raise InputError("is a pickle, but not of torch's; save the state dict as safetensors")
    system = machine().run(head)
    if type(system) is not dict or system.get("little_endian") is not True:
        raise InputError("was written on a big-endian machine; save it again on another, or as safetensors")
    running = machine()
    values = running.run(head)
    keys = machine().run(head)
    whole = type(keys) is list and all(type(k) is str for k in keys)
    if not whole or sorted(keys) != sorted(running.storages):
        raise InputError("lists other storages than its tensors use")
    file.seek(start + head.tell())
    return values, running.storages, keys


def parse_storage(data: bytes, key: str) -> tuple[Storage, memoryview]:
    """A storage that was saved by itself, before torch 1.6, as pickled tensors have theirs; and its bytes.

    key: what it is known by from now on. InputError, a part of a sentence, for anything else.
    """
    file = io.BytesIO(data)
    value, mentioned, _ = _read_heads(file, _Machine)
    if type(value) is not Storage or len(mentioned) != 1:
        raise InputError("holds a pickle within its pickle that is no storage")
    start = file.tell() + 8
    if data[start - 8 : start] != value.n.to_bytes(8, "little") or start + value.n_bytes > len(data):
        raise InputError("holds a storage that is cut off")
    return Storage(value.dtype, key, value.n), memoryview(data)[start : start + value.n_bytes]


def _check_state_dict(result: Any) -> Any:
    """The pickle's result; InputError unless it is a state dict."""
    if type(result) is not dict or not result:
        raise InputError("holds no state dict, which is a mapping from names to tensors")
    for key, value in result.items():
        if type(value) is not View:
            raise InputError(f"holds {printable(key)[:80]!r}, which is no tensor; save the state dict alone")
    return result


def _check_values(result: Any) -> Any:
    """The pickle's result; InputError unless it is tensors and numbers in lists, tuples and dicts, within limits.

    A pickle may put one list into another many times, or into itself: what counts is how much that is, written out.
    """
    left, n = [(result, 0)], 1
    while left:
        value, depth = left.pop()
        if type(value) in (list, tuple, dict):
            n += len(value)
            if n > MAX_TENSORS or depth == MAX_DEPTH:
                raise InputError(f"holds more than {MAX_TENSORS} things, or lists in lists more than {MAX_DEPTH} deep")
            left += [(one, depth + 1) for one in (value.values() if type(value) is dict else value)]
        elif type(value) not in (View, int, float, bool):
            raise InputError("holds something that is neither a tensor nor a number")
    return result


def _views(value: Any) -> list[View]:
    """The described tensors in what was checked, one after the other."""
    if type(value) is View:
        return [value]
    if type(value) not in (list, tuple, dict):
        return []
    return [view for one in (value.values() if type(value) is dict else value) for view in _views(one)]


def storages_of(views: list[View], size: int) -> list[Storage]:
    """Each storage once, if the file can hold them all."""
    found: dict[str, Storage] = {}
    for view in views:
        if found.setdefault(view.storage.key, view.storage) != view.storage:
            raise InputError("describes one storage in two ways")
    if sum(s.n_bytes for s in found.values()) > size:
        raise InputError("is cut off: its tensors have more bytes than the file")
    return list(found.values())


def filled(result: Any, buffers: dict[str, Any]) -> Any:
    """What was described with tensors in the places of their records, in memory that nothing else writes to."""
    flat = {}
    for s in {view.storage.key: view.storage for view in _views(result)}.values():
        empty = torch.empty(0, dtype=s.dtype)
        flat[s.key] = torch.frombuffer(bytearray(buffers.pop(s.key)), dtype=s.dtype) if s.n else empty

    def written(value: Any) -> Any:
        if type(value) is View:
            return flat[value.storage.key].as_strided(value.size, value.stride, value.offset)
        if type(value) is dict:
            return {key: written(one) for key, one in value.items()}
        return type(value)(map(written, value)) if type(value) in (list, tuple) else value

    return written(result)
