"""LSUN: the pictures of a category as they are published, in an LMDB database; needs the package lmdb."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from texsyn.datasets.dataset import Dataset
from texsyn.datasets.files import NO_LABELS, of_collection, of_files
from texsyn.datasets.fitting import Wish
from texsyn.images import InputError, Picture, load
from texsyn.images.picture import reason

ADDRESS = "https://github.com/fyu/lsun"


class Lmdb:
    """The pictures that are the values of an LMDB database, in the order of their keys."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._database = folder, _opened(str(folder.resolve()))
        with self._database.begin() as read:
            self._keys = list(read.cursor().iternext(keys=True, values=False))
        if not self._keys:
            raise InputError(f"{folder.name}: a database without pictures")

    def __len__(self) -> int:
        return len(self._keys)

    def load(self, k: int) -> Picture:
        """Picture number k. InputError, which names its key, where it is none."""
        where = f"{self._folder.name}: {self._keys[k].decode('ascii', 'backslashreplace')[:80]}"
        with self._database.begin() as read:
            data = read.get(self._keys[k])
        try:
            return dataclasses.replace(load(bytes(data)), name=where)
        except InputError as error:
            raise InputError(f"{where}: {str(error).partition(': ')[2]}") from None

    def marks(self) -> Iterator[str]:
        """A line for each picture: its key, which in LSUN is a hash of what it shows."""
        return (key.hex() for key in self._keys)


@cache  # one environment a process: LMDB forbids a second one of the same files
def _opened(folder: str) -> Any:
    try:
        import lmdb
    except ImportError:
        raise InputError("lsun: needs the package lmdb; pip install 'texsyn[data]' brings it") from None
    try:
        return lmdb.open(folder, readonly=True, lock=False, readahead=False, create=False)
    except lmdb.Error as error:
        raise InputError(f"{Path(folder).name}: cannot be read as an LMDB database ({reason(error)})") from None


def open_lsun(name: str, path: str, wish: Wish) -> Dataset:
    """The dataset of a category's folder with data.mdb, or of its pictures in a folder or a .zip."""
    if (Path(path) / "data.mdb").is_file():
        return of_files(name, Lmdb(Path(path)), NO_LABELS, wish)
    if not Path(path).exists():
        raise InputError(f"{name}: {path} does not exist; the categories are published by way of {ADDRESS}")
    return of_collection(name, path, wish, labelled=False)
