"""The pictures in a folder or a .zip: found once, loaded one at a time by their numbers."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from texsyn.images.loading import load
from texsyn.images.picture import InputError, Picture

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
MAX_ENTRY = 2**28  # bytes of a file in a zip file, unpacked


class Collection:
    """The pictures below `path`, a folder with all its folders or a .zip; InputError where there are none.

    names: their paths from there on, with /, in the order of their parts, so that a folder and a .zip of it agree.
    What macOS adds to a .zip (__MACOSX, ._NAME) is no picture.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._zip = None if self.path.is_dir() else _opened(self.path)
        if self._zip is None:
            found = [p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()]
        else:
            self._entries = {i.filename: i for i in self._zip.infolist() if not i.is_dir()}
            found = list(self._entries)
        self.names = sorted(filter(_is_picture, found), key=lambda name: PurePosixPath(name).parts)
        what = "folder" if self._zip is None else "zip file"
        if not self.names:
            raise InputError(f"{self.path.name}: a {what} without pictures; accepted are {', '.join(ENDINGS)}")
        for name in self.names if self._zip else ():
            if self._entries[name].file_size > MAX_ENTRY:
                raise InputError(f"{self.path.name}: {name} unpacks to more than the accepted {MAX_ENTRY} bytes")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Picture]:
        return (self.load(k) for k in range(len(self)))

    def load(self, k: int) -> Picture:
        """Picture number k. InputError, which names the file, where it is none."""
        if self._zip is None:
            return load(self.path / self.names[k])
        where, data = f"{self.path.name}: {self.names[k]}", self._unpacked(self.names[k])
        try:
            return dataclasses.replace(load(data), name=where)
        except InputError as error:
            said = str(error).removeprefix("bytes: ").removeprefix("the bytes given: ")
            raise InputError(f"{where}: {said}") from None

    def read(self, name: str) -> bytes | None:
        """A file beside the pictures, such as one of labels; None where there is none."""
        if self._zip is not None:
            return self._unpacked(name) if name in self._entries else None
        path = self.path / name
        return path.read_bytes() if path.is_file() else None

    def marks(self) -> Iterator[str]:
        """A line for each picture that changes with it, from what is known unread: name, length, and a .zip's CRC."""
        for name in self.names:
            if self._zip is None:
                yield f"{name} {(self.path / name).stat().st_size}"
            else:
                yield f"{name} {self._entries[name].file_size} {self._entries[name].CRC}"

    def _unpacked(self, name: str) -> bytes:
        assert self._zip is not None
        try:
            with self._zip.open(name) as entry:
                return entry.read(MAX_ENTRY + 1)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError) as error:
            raise InputError(f"{self.path.name}: {name} cannot be read ({error})") from None


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name}: cannot be read as a zip file ({error})") from None


def _is_picture(name: str) -> bool:
    file = PurePosixPath(name)
    return file.suffix.lower() in ENDINGS and not file.name.startswith("._") and file.parts[0] != "__MACOSX"
