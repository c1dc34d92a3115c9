"""Sets of pictures that are scored against each other: a folder, a zip file, a list, or crops of one picture."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from texsyn.images import InputError, Picture, Region, Size, load
from texsyn.noise import NoiseField

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
MAX_ENTRY = 2**28  # bytes of a picture in a zip file, unpacked


@dataclass(frozen=True)
class Crops:
    """n squares of side pixels, at places hashed from seed, of a set that is one picture."""

    n: int = 64
    side: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 2 or self.side < 1:
            raise ValueError(f"crops need n of 2 or more and a side of 1 or more, got n={self.n}, side={self.side}")


def pictures_of(source: Any, crops: Crops) -> tuple[Callable[[], Iterator[Picture]], int, str]:
    """(a function that loads the set's pictures one after the other, how many they are, what kind of set it is).

    source: a folder (searched with all its folders), a .zip, a picture or its path, or a list of them. Raises
    InputError for a set without pictures and for crops larger than the picture.
    """
    if isinstance(source, (list, tuple)):
        items = list(source)
        return lambda: (_one(item) for item in items), len(items), "list"
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        folder = Path(source)
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        if not paths:
            raise InputError(f"{folder.name}: a folder without pictures; accepted are {', '.join(ENDINGS)}")
        return lambda: (load(p) for p in paths), len(paths), "folder"
    if isinstance(source, (str, os.PathLike)) and str(source).lower().endswith(".zip"):
        names = _entries(source)
        return lambda: _from_zip(source, names), len(names), "zip"
    picture = _one(source)
    regions = _places(picture, crops)
    return lambda: (_cut(picture, region) for region in regions), len(regions), "crops"


def _one(item: Any) -> Picture:
    return item if isinstance(item, Picture) else load(item)


def _entries(path: str | os.PathLike[str]) -> list[str]:
    try:
        with zipfile.ZipFile(path) as file:
            found = sorted(i.filename for i in file.infolist() if i.filename.lower().endswith(ENDINGS))
            large = [i.filename for i in file.infolist() if i.filename in found and i.file_size > MAX_ENTRY]
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{Path(path).name}: cannot be read as a zip file ({error})") from None
    if large:
        raise InputError(f"{Path(path).name}: {large[0]} unpacks to more than the accepted {MAX_ENTRY} bytes")
    if not found:
        raise InputError(f"{Path(path).name}: a zip file without pictures; accepted are {', '.join(ENDINGS)}")
    return found


def _from_zip(path: str | os.PathLike[str], names: Sequence[str]) -> Iterator[Picture]:
    with zipfile.ZipFile(path) as file:
        for name in names:
            try:
                with file.open(name) as entry:
                    data = entry.read(MAX_ENTRY + 1)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError) as error:
                raise InputError(f"{Path(path).name}: {name} cannot be read ({error})") from None
            where = f"{Path(path).name}: {name}"
            try:
                yield dataclasses.replace(load(data), name=where)
            except InputError as error:
                raise InputError(
                    f"{where}: {str(error).removeprefix('bytes: ').removeprefix('the bytes given: ')}"
                ) from None


def _places(picture: Picture, crops: Crops) -> list[Region]:
    """Where the crops lie, spread by hashes; crops may overlap."""
    free = Size(picture.size.height - crops.side + 1, picture.size.width - crops.side + 1) if (
        min(picture.size.height, picture.size.width) >= crops.side
    ) else None  # fmt: skip
    if free is None:
        raise InputError(
            f"{picture.name}: has {picture.size} pixels, and crops of {crops.side} do not fit; ask for less"
        )
    bits = NoiseField(crops.seed, channel=7).bits(Region(0, 0, 2, crops.n))
    rows, columns = (bits[0] % np.uint64(free.height)).tolist(), (bits[1] % np.uint64(free.width)).tolist()
    return [Region(int(y), int(x), crops.side, crops.side) for y, x in zip(rows, columns, strict=True)]


def _cut(picture: Picture, region: Region) -> Picture:
    pixels = picture.pixels[region.top : region.bottom, region.left : region.right]
    return dataclasses.replace(picture, pixels=pixels, palette=None, indices=None)
