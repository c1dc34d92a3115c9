"""Pictures larger than memory: an uncompressed tiled BigTIFF or a Zarr folder, made empty and filled tile by tile.

Nothing is compressed, so the size and every tile's place are known from the start, tiles may come in any order, and one
that is written twice is the same as one written once. What is not yet filled takes no room on the disk.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from texsyn.images.loading import format_of, opened
from texsyn.images.picture import MODES, InputError, Size, printable, reason
from texsyn.images.recipe_text import MAX_RECIPE_BYTES, read_recipe

MAX_TILES = 2**20  # of one picture: what a TIFF's table of 16 MB holds
_KINDS = {".tif": "tiff", ".tiff": "tiff", ".zarr": "zarr"}


def kind_of(path: str) -> str:
    """ "tiff" or "zarr" by the extension; ValueError for any other, and for Zarr where its package is missing."""
    import importlib.util

    kind = _KINDS.get(os.path.splitext(path)[1].lower())
    if kind is None:
        raise ValueError(f"{printable(path)}: large pictures are written as {', '.join(_KINDS)}")
    if kind == "zarr" and importlib.util.find_spec("zarr") is None:
        raise ValueError(f"{printable(path)}: Zarr needs a further package: pip install 'texsyn[giant]'")
    return kind


@dataclass(frozen=True)
class Layout:
    """What a tiled picture holds and how it is cut; block is the side of its tiles, a multiple of 16.

    >>> layout = Layout(Size(40, 100), 64, 3, "uint16", "RGB")
    >>> layout.tile, layout.grid, layout.tile_bytes
    (Size(height=48, width=64), (1, 2), 18432)
    """

    size: Size
    block: int
    channels: int
    dtype: str
    mode: str
    icc_profile: bytes | None = None
    recipe: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.block % 16 or not 16 <= self.block <= 4096:
            raise ValueError(f"block={self.block} should be a multiple of 16 from 16 to 4096")
        if self.n_tiles > MAX_TILES:
            raise ValueError(
                f"{self.size} has {self.n_tiles} tiles of block={self.block}, at most {MAX_TILES} are held: "
                "make block larger"
            )

    @property
    def tile(self) -> Size:
        """Of every tile, those at the borders too; no larger than the picture asks for."""
        height, width = (min(self.block, -(-n // 16) * 16) for n in (self.size.height, self.size.width))
        return Size(height, width)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.size.height // self.tile.height), -(-self.size.width // self.tile.width)

    @property
    def n_tiles(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def tile_bytes(self) -> int:
        return self.tile.pixels * self.channels * np.dtype(self.dtype).itemsize

    @cached_property
    def n_bytes(self) -> int:
        """Of the finished picture on disk, to within some kilobytes."""
        recipe = len(json.dumps(self.recipe)) if self.recipe else 0
        return self.n_tiles * (self.tile_bytes + 16) + recipe + len(self.icc_profile or b"") + 1024


class Tiles(ABC):
    """A tiled picture on disk that is being filled; write() may be called from threads."""

    def __init__(self, path: str, layout: Layout) -> None:
        self.path, self.layout = path, layout

    @staticmethod
    @abstractmethod
    def create(path: str, layout: Layout) -> None:
        """Make the picture, all of it empty, and bring it to the disk. Raises OSError."""

    @abstractmethod
    def put(self, row: int, column: int, tile: np.ndarray) -> None:
        """Write one whole tile, little-endian and C-contiguous. Raises OSError."""

    @abstractmethod
    def sync(self) -> None:
        """Return when everything that write() was given before is on the disk. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """No write() afterwards."""

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        """Write pixels (h, w, c) at a corner of a tile; they end at tiles' borders or at the picture's."""
        th, tw = self.layout.tile.height, self.layout.tile.width
        for y in range(0, pixels.shape[0], th):
            for x in range(0, pixels.shape[1], tw):
                part = pixels[y : y + th, x : x + tw]
                tile = np.zeros((th, tw, self.layout.channels), np.dtype(self.layout.dtype).newbyteorder("<"))
                tile[: part.shape[0], : part.shape[1]] = part
                self.put((top + y) // th, (left + x) // tw, tile)


class TiffTiles(Tiles):
    """A BigTIFF whose tiles lie one after the other behind its header. The recipe is where `save` puts it."""

    def __init__(self, path: str, layout: Layout) -> None:
        import tifffile

        super().__init__(path, layout)
        with tifffile.TiffFile(path) as tiff:
            page: Any = tiff.pages[0]
            self._first = page.dataoffsets[0]
        self._lock = threading.Lock()
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 (close() does)

    @staticmethod
    def create(path: str, layout: Layout) -> None:
        import tifffile

        size, channels = layout.size, layout.channels
        n_colours = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}.get(layout.mode, 1)
        extra = ["unassalpha"] if layout.mode in ("LA", "RGBA") else ["unspecified"] * (channels - n_colours)
        empty = bytes(layout.tile_bytes)
        with _File(path, empty) as file, tifffile.TiffWriter(file, bigtiff=True, byteorder="<") as tiff:
            tiff.write(
                itertools.repeat(empty, layout.n_tiles),
                shape=(size.height, size.width, channels) if channels > 1 else (size.height, size.width),
                dtype=layout.dtype,
                tile=(layout.tile.height, layout.tile.width),
                photometric="rgb" if n_colours == 3 else "minisblack",
                planarconfig="contig" if channels > 1 else None,
                extrasamples=extra or None,
                description=None if layout.recipe is None else json.dumps({"texsyn": layout.recipe}),
                iccprofile=layout.icc_profile,
                metadata=None,
                software="texsyn",
            )
        with tifffile.TiffFile(path) as made, open(path, "r+b") as bare:
            page: Any = made.pages[0]
            assert page.dataoffsets[-1] == page.dataoffsets[0] + (layout.n_tiles - 1) * layout.tile_bytes
            bare.truncate(page.dataoffsets[-1] + layout.tile_bytes)
            os.fsync(bare.fileno())

    def put(self, row: int, column: int, tile: np.ndarray) -> None:
        rest = tile.data.cast("B")
        with self._lock:
            self._file.seek(self._first + (row * self.layout.grid[1] + column) * self.layout.tile_bytes)
            while rest:
                rest = rest[self._file.write(rest) :]

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        with self._lock:
            self._file.close()


class _File(io.FileIO):
    """A new file where the one object `empty` stands for that many zero bytes, and takes no room."""

    def __init__(self, path: str, empty: bytes) -> None:
        super().__init__(path, "w+b")
        self._empty = empty

    def write(self, data: Any) -> int:
        if data is self._empty:
            self.seek(len(data), os.SEEK_CUR)
            return len(data)
        rest = memoryview(data).cast("B")
        n_bytes = len(rest)
        while rest:
            rest = rest[super().write(rest) :]
        return n_bytes


class ZarrTiles(Tiles):
    """A Zarr (version 3) array (h, w, c), a chunk for each tile. Attributes: texsyn (the recipe), mode, icc_profile.

    zarr writes the description; chunks are plain bytes, written here so that one knows when they are on the disk.
    """

    def __init__(self, path: str, layout: Layout) -> None:
        super().__init__(path, layout)
        self._unsynced: list[str] = []
        self._lock = threading.Lock()

    @staticmethod
    def create(path: str, layout: Layout) -> None:
        import zarr
        from zarr.codecs import BytesCodec

        attributes: dict[str, Any] = {"mode": layout.mode}
        if layout.recipe is not None:
            attributes["texsyn"] = dict(layout.recipe)
        if layout.icc_profile is not None:
            attributes["icc_profile"] = base64.b64encode(layout.icc_profile).decode()
        zarr.create_array(
            zarr.storage.LocalStore(path),
            shape=(layout.size.height, layout.size.width, layout.channels),
            chunks=(layout.tile.height, layout.tile.width, layout.channels),
            dtype=layout.dtype,
            serializer=BytesCodec(endian="little"),
            compressors=None,
            filters=None,
            fill_value=0,
            chunk_key_encoding={"name": "default", "separator": "/"},
            dimension_names=("y", "x", "channel"),
            attributes=attributes,
            zarr_format=3,
        )
        _sync([os.path.join(path, "zarr.json"), path])

    def put(self, row: int, column: int, tile: np.ndarray) -> None:
        folder = self.path
        for part in ("c", str(row), str(column)):  # never the array's own: a late writer must not bring it back
            folder = os.path.join(folder, part)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
        name = os.path.join(folder, "0")
        with open(name, "wb") as file:
            file.write(tile.data)
        with self._lock:
            self._unsynced.append(name)

    def sync(self) -> None:
        with self._lock:
            names, self._unsynced = self._unsynced, []
        folders = {os.path.dirname(name) for name in names}
        for _ in range(3):  # chunk, column, row, c
            folders |= {os.path.dirname(folder) for folder in folders}
        _sync([*names, *sorted(f for f in folders if f.startswith(self.path))])

    def close(self) -> None:
        pass


KINDS: dict[str, type[Tiles]] = {"tiff": TiffTiles, "zarr": ZarrTiles}


def _sync(paths: list[str]) -> None:
    """fsync of files and, where the system opens them, folders."""
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            if os.path.isdir(path):
                continue
            raise
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def allocated(path: str) -> int:
    """Bytes of disk that a file or folder takes; holes take none."""
    if not os.path.isdir(path):
        return _room(path)
    return sum(_room(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


def _room(path: str) -> int:
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return getattr(found, "st_blocks", found.st_size // 512) * 512  # Windows has no st_blocks


def is_folder_of_others(path: str) -> bool:
    """Whether path is a folder with something in it that is no Zarr array."""
    return os.path.isdir(path) and bool(os.listdir(path)) and not os.path.isfile(os.path.join(path, "zarr.json"))


def remove(path: str) -> None:
    """Delete a tiled picture if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def look(path: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
    """(size, mode and type; recipe or None) of a Zarr folder or a plain tiled TIFF, from the header alone.

    None for everything else, which `load` knows better. InputError for a Zarr description that makes no sense.
    """
    if os.path.isdir(path) and os.path.isfile(os.path.join(path, "zarr.json")):
        return _look_into_zarr(path)
    try:
        with opened(path) as file:
            if format_of(file.read(64)) != "TIFF":
                return None
            import tifffile

            file.seek(0)
            with tifffile.TiffFile(file) as tiff:
                page: Any = tiff.pages[0]
                if not page.is_tiled or page.compression != 1 or page.photometric not in (1, 2) or page.imagedepth != 1:
                    return None
                n_colours = 3 if page.photometric == 2 else 1
                n_extra = page.samplesperpixel - n_colours
                alpha = n_extra == 1 and page.extrasamples[:1] == (2,)
                mode = MODES[n_colours + alpha] if n_extra == alpha else "multi"
                facts = {"size": f"{page.imagewidth}x{page.imagelength}", "mode": mode, "type": str(page.dtype)}
    except MemoryError:
        raise
    except Exception:  # a file that load() will complain about
        return None
    return facts, read_recipe(path)


def _look_into_zarr(path: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    name = printable(path)
    try:
        with open(os.path.join(path, "zarr.json"), "rb") as file:
            text = file.read(2 * MAX_RECIPE_BYTES + 1)
        if len(text) > 2 * MAX_RECIPE_BYTES:
            raise ValueError("its description is longer than any accepted")
        about = json.loads(text)
        shape, attributes = about["shape"], about.get("attributes", {})
        facts = {
            "size": f"{int(shape[1])}x{int(shape[0])}",
            "mode": str(attributes.get("mode", "multi")),
            "type": str(about["data_type"]),
        }
        recipe = attributes.get("texsyn")
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: is no Zarr array of a picture ({reason(error)})") from None
    return facts, recipe if isinstance(recipe, dict) else None
