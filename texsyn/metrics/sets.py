"""Sets of pictures that are scored against each other: a folder, a zip file, a list, or crops of one picture."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from texsyn.images import InputError, Picture, Region, Size, load
from texsyn.images.collection import Collection
from texsyn.noise import NoiseField


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
    if isinstance(source, (str, os.PathLike)):
        kind = "folder" if os.path.isdir(source) else "zip" if str(source).lower().endswith(".zip") else ""
        if kind:
            found = Collection(source)
            return lambda: iter(found), len(found), kind
    picture = _one(source)
    regions = _places(picture, crops)
    return lambda: (_cut(picture, region) for region in regions), len(regions), "crops"


def _one(item: Any) -> Picture:
    return item if isinstance(item, Picture) else load(item)


def _places(picture: Picture, crops: Crops) -> list[Region]:
    """Where the crops lie; they may overlap."""
    rows, columns = places(picture, Size(crops.side, crops.side), crops.n, crops.seed)
    return [Region(y, x, crops.side, crops.side) for y, x in zip(rows.tolist(), columns.tolist(), strict=True)]


def places(picture: Picture, size: Size, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (n,) int64 of the corners of n windows in the picture, spread by hashes of (seed, number)."""
    free = picture.size.height - size.height + 1, picture.size.width - size.width + 1
    if min(free) < 1:
        of = str(size.height) if size.height == size.width else str(size)
        raise InputError(f"{picture.name}: has {picture.size} pixels, and crops of {of} do not fit; ask for less")
    bits = NoiseField(seed, channel=7).bits(Region(0, 0, 2, n))
    rows, columns = (row % np.uint64(k) for row, k in zip(bits, free, strict=True))
    return rows.astype(np.int64), columns.astype(np.int64)


def _cut(picture: Picture, region: Region) -> Picture:
    pixels = picture.pixels[region.top : region.bottom, region.left : region.right]
    return dataclasses.replace(picture, pixels=pixels, palette=None, indices=None)
