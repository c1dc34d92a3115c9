"""MNIST, Fashion-MNIST and KMNIST: IDX files, packed by gzip or not.

An IDX file is two zero bytes, a byte for the type of its numbers, a byte for the number of axes, the length of each
axis as four big-endian bytes, and the numbers; here the type is always 8, bytes without a sign.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from texsyn.datasets.dataset import Dataset
from texsyn.datasets.files import of_codes
from texsyn.datasets.fitting import Wish
from texsyn.images import InputError
from texsyn.images.picture import reason

MAX_BYTES = 2**31
DIGITS = tuple("0123456789")
#: classes and where the files are published
SETS: dict[str, tuple[tuple[str, ...], str]] = {
    "mnist": (DIGITS, "http://yann.lecun.com/exdb/mnist"),
    "fashion-mnist": (
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "https://github.com/zalandoresearch/fashion-mnist",
    ),
    "kmnist": (
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "http://codh.rois.ac.jp/kmnist",
    ),
}  # fmt: skip
_PARTS = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}


def open_idx(name: str, folder: str, part: str, wish: Wish) -> Dataset:
    """The dataset in the folder: its 60,000 pictures to train on, its 10,000 to test on, or all, in that order."""
    classes, address = SETS[name]
    images, labels = [], []
    for half in _PARTS[part]:
        images.append(read_idx(_found(name, folder, f"{half}-images", 3, address), 3))
        labels.append(read_idx(_found(name, folder, f"{half}-labels", 1, address), 1))
        if len(images[-1]) != len(labels[-1]):
            raise InputError(f"{name}: {folder} has {len(images[-1])} {half} pictures and {len(labels[-1])} labels")
        if len(labels[-1]) and labels[-1].max() >= len(classes):
            raise InputError(f"{name}: {folder} has the {half} label {labels[-1].max()} of {len(classes)} classes")
    if len({x.shape[1:] for x in images}) > 1 or not images[0].size:
        raise InputError(f"{name}: {folder} has pictures of other sizes to test on, or none")
    return of_codes(name, np.concatenate(images)[:, None], (np.concatenate(labels), classes), wish)


def _found(name: str, folder: str, stem: str, n_axes: int, address: str) -> Path:
    wanted = f"{stem}-idx{n_axes}-ubyte"
    for file in (wanted, f"{wanted}.gz", f"{stem}.idx{n_axes}-ubyte", f"{stem}.idx{n_axes}-ubyte.gz"):
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    raise InputError(f"{name}: {folder} holds no {wanted} or {wanted}.gz; the files are published at {address}")


def read_idx(path: Path, n_axes: int) -> np.ndarray:
    """The bytes of an IDX file of that many axes. InputError where its header and its length do not agree."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            head = file.read(4 + 4 * n_axes)
            if head[:4] != bytes([0, 0, 8, n_axes]):
                raise InputError(
                    f"{path.name}: begins with {head[:4].hex()} and an IDX file of bytes with {n_axes} axes with "
                    f"{bytes([0, 0, 8, n_axes]).hex()}"
                )
            shape = tuple(np.frombuffer(head, ">u4", offset=4).tolist()) if len(head) == 4 + 4 * n_axes else ()
            n = math.prod(shape) if shape else -1
            if not 0 <= n <= MAX_BYTES:
                raise InputError(f"{path.name}: its header is cut off, or announces more than {MAX_BYTES} bytes")
            data = file.read(n + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name}: cannot be read ({reason(error)})") from None
    if len(data) != n:
        more = "more" if len(data) > n else f"{len(data)}"
        raise InputError(f"{path.name}: announces {'x'.join(map(str, shape))} = {n} bytes and has {more}")
    return np.frombuffer(data, np.uint8).reshape(shape)
