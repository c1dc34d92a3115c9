"""CIFAR-10 and CIFAR-100: pickles of Python 2, which a stack machine of ours reads as data.

A batch is a dict with "data", (n, 3072) bytes that are the planes of red, green and blue, 32 rows of 32 each, and
"labels", a list ("fine_labels" in CIFAR-100); the file of names has "label_names". Strings, whether the pickle holds
them as text or as bytes, are text of one character a byte here.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from texsyn.datasets.dataset import Dataset
from texsyn.datasets.files import of_codes
from texsyn.datasets.fitting import Wish
from texsyn.images import InputError
from texsyn.images.loading import opened
from texsyn.images.picture import reason
from texsyn.stack_machine import Global, Machine

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar.html"
MAX_BYTES = 2**28  # of a file; CIFAR-100's train has 155 MB
SIDE = 32


@dataclass(frozen=True)
class Layout:
    """Where a set's files are and what they call things."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label: str
    label_names: str


LAYOUTS = {
    "cifar10": Layout(
        "cifar-10-batches-py", "cifar-10-python.tar.gz", tuple(f"data_batch_{k}" for k in range(1, 6)),
        ("test_batch",), "batches.meta", "labels", "label_names",
    ),
    "cifar100": Layout(
        "cifar-100-python", "cifar-100-python.tar.gz", ("train",), ("test",), "meta", "fine_labels",
        "fine_label_names",
    ),
}  # fmt: skip


def open_cifar(name: str, path: str, part: str, wish: Wish) -> Dataset:
    """The dataset in a folder (of the files, of their folder, or of the archive) or in the archive."""
    layout = LAYOUTS[name]
    wanted = {"train": layout.train, "test": layout.test, "all": layout.train + layout.test}[part]
    files = _contents(name, Path(path), layout, (layout.names, *wanted))
    classes = _names(read_batch(files[layout.names], layout.names), layout)
    batches = [_pictures(read_batch(files[file], file), file, layout.label, len(classes)) for file in wanted]
    codes, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return of_codes(name, codes, (labels, classes), wish)


def _names(found: dict[str, Any], layout: Layout) -> tuple[str, ...]:
    names = found.get(layout.label_names)
    if type(names) is not list or len(names) < 2 or any(type(name) is not str for name in names):
        raise InputError(f"{layout.names}: has no list of {layout.label_names}")
    return tuple(names)


def _pictures(found: dict[str, Any], file: str, label: str, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, 3, 32, 32) and labels (n,) of a batch."""
    data, labels = found.get("data"), found.get(label)
    if type(data) is not _Array or type(labels) is not list:
        raise InputError(f"{file}: has no array data and list {label}, as a batch has")
    codes = data.codes(file)
    if codes.ndim != 2 or codes.shape[1] != 3 * SIDE * SIDE or not len(codes):
        raise InputError(f"{file}: has data of shape {codes.shape}, not (n, {3 * SIDE * SIDE})")
    if len(labels) != len(codes):
        raise InputError(f"{file}: has {len(codes)} pictures and {len(labels)} labels")
    if any(type(one) is not int or not 0 <= one < n_classes for one in labels):
        raise InputError(f"{file}: has labels that are not whole numbers from 0 to {n_classes - 1}")
    return codes.reshape(-1, 3, SIDE, SIDE), np.array(labels)


# ------------------------------------------------------------------------------------------------ the files as bytes


def _contents(name: str, path: Path, layout: Layout, wanted: tuple[str, ...]) -> dict[str, bytes]:
    for folder in (path, path / layout.folder):
        if all((folder / file).is_file() for file in wanted):
            return {file: _read(folder / file) for file in wanted}
    archive = path / layout.archive if path.is_dir() else path
    found = _unpacked(archive, set(wanted)) if archive.is_file() else {}
    missing = [file for file in wanted if file not in found]
    if missing:
        raise InputError(f"{name}: {path} holds no {missing[0]}; {layout.archive} is published at {ADDRESS}")
    return found


def _read(path: Path) -> bytes:
    with opened(str(path)) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"{path.name}: has more than the accepted {MAX_BYTES} bytes")
    return data


def _unpacked(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """The wanted files of an archive by the last part of their names, in memory: nothing is written anywhere."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = member.name.rpartition("/")[2]
                if file in wanted and file not in found and member.isreg():
                    if member.size > MAX_BYTES:
                        raise InputError(f"{archive.name}: {file} has more than the accepted {MAX_BYTES} bytes")
                    content = tar.extractfile(member)
                    assert content is not None
                    found[file] = content.read()
                    if len(found) == len(wanted):
                        break
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{archive.name}: cannot be read as a .tar.gz ({reason(error)})") from None
    return found


# ----------------------------------------------------------------------------------------------- the pickles as data


class _Array:
    """An array as the pickle describes it: made empty, then given its state."""

    state: tuple[Any, ...] = ()

    def codes(self, file: str) -> np.ndarray:
        """Its bytes in their shape, if it is an array of them in C's order."""
        if len(self.state) == 5:
            _, shape, dtype, fortran, raw = self.state
            whole = type(shape) is tuple and all(type(k) is int and k >= 0 for k in shape) and type(raw) is str
            if whole and type(dtype) is _Dtype and dtype.name == "u1" and fortran in (0, False):
                data = np.frombuffer(raw.encode("latin-1"), np.uint8)
                if data.size == np.prod(shape, dtype=object):
                    return data.reshape(shape)
        raise InputError(f"{file}: its array is not one of bytes, or is of another length than its shape")


@dataclass(frozen=True)
class _Dtype:
    name: str


def _reconstructed(*unused: Any) -> _Array:
    return _Array()


def _dtype(name: Any, *unused: Any) -> _Dtype:
    if type(name) is not str:
        raise InputError("describes an array's type that makes no sense")
    return _Dtype(name)


def _encoded(text: Any, encoding: Any = "") -> str:
    """How Python 3 writes bytes for Python 2; they stay text of one character a byte."""
    if type(text) is not str or encoding != "latin1":
        raise InputError("encodes something that is no string of bytes")
    return text


#: all that a batch's pickle may name, and what stands for it here
_NAMES = {
    "numpy.core.multiarray _reconstruct": Global(_reconstructed),
    "numpy._core.multiarray _reconstruct": Global(_reconstructed),  # numpy 2
    "numpy ndarray": Global(value="ndarray"),
    "numpy dtype": Global(_dtype),
    "_codecs encode": Global(_encoded),
}


class _BatchMachine(Machine):
    """Runs the pickle of a batch."""

    names, wanted = _NAMES, "batch of CIFAR"

    def build(self, target: Any, state: Any) -> None:
        """An array gets its state; that of a type says nothing of bytes."""
        if type(target) not in (_Array, _Dtype) or type(state) is not tuple:
            super().build(target, state)
        if type(target) is _Array:
            target.state = state


def read_batch(data: bytes, file: str) -> dict[str, Any]:
    """The dict that a batch's pickle describes. InputError, one line, for anything else."""
    try:
        result = _BatchMachine().run(io.BytesIO(data))
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes meet the parsers with any exception there is
        raise InputError(f"{file}: is a broken or cut off batch ({reason(error)})") from None
    if type(result) is not dict:
        raise InputError(f"{file}: holds no dict, as a batch does")
    return result
