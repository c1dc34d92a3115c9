"""The layout of OpenEXR files: what a header says, judged before anything is decoded, and the file made plain.

A plain file holds one part at full size, with no attribute that decoding does not need; its header is written here and
its pieces are those of the original, each looked at. A decoder that is given nothing else meets no surprise but in
compressed pixels. Layout after the OpenEXR documentation, "OpenEXR File Layout".
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from texsyn.images.picture import InputError, check_limit, printable

# the version field: its low byte, and the bits that may stand above it
_VERSION, _TILED, _LONG_NAMES, _DEEP, _MULTIPART = 2, 0x200, 0x400, 0x800, 0x1000
_TYPES: dict[int, np.dtype] = {0: np.dtype(np.uint32), 1: np.dtype(np.float16), 2: np.dtype(np.float32)}
#: compression (none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB, HTJ2K256, HTJ2K32, LJ2K, ZSTD) -> rows a piece
_ROWS = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256, 10: 256, 11: 32, 12: 256, 13: 1}
_MAX_ATTRIBUTES = 4096
_MAX_PIECES = 2**20


@dataclass(frozen=True)
class Attribute:
    """One attribute of a header: the name of its type, and where its value is."""

    kind: str
    offset: int
    n_bytes: int
    value: bytes  # where it is short


def read_headers(file: BinaryIO) -> tuple[list[dict[str, Attribute]], int]:
    """The attributes by name of every part, and the version field. Leaves the file where its table of pieces is."""
    end = file.seek(0, os.SEEK_END)
    file.seek(4)
    version = int.from_bytes(_exactly(file, 4), "little")
    if version & 0xFF != _VERSION or version & ~(0xFF | _TILED | _LONG_NAMES | _DEEP | _MULTIPART):
        raise InputError(f"is an OpenEXR file of version {version:#x}, which is not known here")
    parts: list[dict[str, Attribute]] = []
    n_attributes = 0
    while part := dict(_attributes(file, end)):
        parts.append(part)
        n_attributes += len(part)
        if not version & _MULTIPART:
            return parts, version
        if n_attributes > _MAX_ATTRIBUTES:
            raise InputError(f"has more than {_MAX_ATTRIBUTES} attributes in its OpenEXR header")
    if not parts:
        raise InputError("the OpenEXR header is empty")
    return parts, version


def _attributes(file: BinaryIO, end: int) -> Iterator[tuple[str, Attribute]]:
    for _ in range(_MAX_ATTRIBUTES):
        name = _word(file)
        if not name:
            return
        kind = _word(file)
        n_bytes = int.from_bytes(_exactly(file, 4), "little")
        offset = file.tell()
        if offset + n_bytes > end:
            raise InputError("the OpenEXR header is cut off or makes no sense")
        yield name, Attribute(kind, offset, n_bytes, file.read(n_bytes) if n_bytes <= 2**14 else b"")
        file.seek(offset + n_bytes)
    raise InputError(f"has more than {_MAX_ATTRIBUTES} attributes in its OpenEXR header")


def _word(file: BinaryIO) -> str:
    """The text before the next zero byte, which is passed over."""
    start = file.tell()
    word, zero, _ = file.read(256).partition(b"\0")
    if not zero:
        raise InputError("the OpenEXR header is cut off or makes no sense")
    file.seek(start + len(word) + 1)
    return word.decode("utf-8", "backslashreplace")


def _exactly(file: BinaryIO, n_bytes: int) -> bytes:
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise InputError("the OpenEXR file is cut off")
    return data


@dataclass(frozen=True)
class Channel:
    """One channel: its name, printable, and the type of its samples."""

    name: str
    dtype: np.dtype


@dataclass(frozen=True)
class Header:
    """What is needed to decode one part, all of it checked. channels are sorted by name, as the pieces have them."""

    height: int
    width: int
    channels: tuple[Channel, ...]
    channel_list: bytes
    compression: int
    top: int
    tile: tuple[int, int] | None  # height and width; None: the pieces are bands of rows
    multipart: bool
    table: int  # where in the file the offsets of the pieces stand, those of the first part's full size first

    @property
    def across(self) -> int:
        """Pieces in a row of them."""
        return 1 if self.tile is None else -(-self.width // self.tile[1])

    @property
    def n_pieces(self) -> int:
        return self.across * -(-self.height // (_ROWS[self.compression] if self.tile is None else self.tile[0]))

    @property
    def piece_bytes(self) -> int:
        """Of the largest piece, unpacked; packed it is never longer."""
        rows, columns = self.tile or (min(_ROWS[self.compression], self.height), self.width)
        return rows * columns * sum(channel.dtype.itemsize for channel in self.channels)


def judged(part: dict[str, Attribute], version: int, table: int, max_pixels: int) -> Header:
    """The header of a part, or InputError for one that is too large, makes no sense or is of a kind not read here."""
    what = _value(part, "type", "string").decode("ascii", "replace") if "type" in part else ""
    if what.startswith("deep") or version & _DEEP:
        raise InputError("holds deep data (several samples a pixel); flatten it, only flat OpenEXR pictures are read")
    if version & _MULTIPART and what not in ("scanlineimage", "tiledimage"):
        raise InputError(f"is an OpenEXR file of type {printable(what[:40])!r}, only flat pictures are read")
    left, top, right, bottom = struct.unpack("<4i", _value(part, "dataWindow", "box2i", 16))
    height, width = bottom - top + 1, right - left + 1
    channel_list = _value(part, "channels", "chlist")
    channels = tuple(_channels(channel_list))
    check_limit(height, width, len(channels), max_pixels)
    compression = _value(part, "compression", "compression", 1)[0]
    if compression not in _ROWS:
        raise InputError(f"is compressed in way {compression} of OpenEXR, which is not known here; save it with ZIP")
    tile = None
    if what == "tiledimage" or (version & _TILED and not version & _MULTIPART):
        tile_width, tile_height, _ = struct.unpack("<IIB", _value(part, "tiles", "tiledesc", 9))
        if not (tile_height and tile_width):
            raise InputError("the tiles of the OpenEXR file have no pixels")
        tile = min(tile_height, height), min(tile_width, width)  # a larger one is cut to the picture in any case
    multipart = bool(version & _MULTIPART)
    header = Header(height, width, channels, channel_list, compression, top, tile, multipart, table)
    if header.n_pieces > _MAX_PIECES:
        raise InputError(f"its pixels come in {header.n_pieces} pieces, at most {_MAX_PIECES} are accepted")
    return header


def _value(part: dict[str, Attribute], name: str, kind: str, n_bytes: int | None = None) -> bytes:
    found = part.get(name)
    if found is None or found.kind != kind or n_bytes not in (None, found.n_bytes) or len(found.value) != found.n_bytes:
        raise InputError(f"the OpenEXR header has no {name} that makes sense")
    return found.value


def _channels(data: bytes) -> Iterator[Channel]:
    """The channels of a list in its binary form. InputError: one that is not of full size, has no name or two times."""
    seen = b""
    rest = data
    while rest != b"\0":
        name, zero, rest = rest.partition(b"\0")
        if not (zero and name and len(rest) >= 17):  # 16 for this channel, 1 for the end of the list
            raise InputError("the list of channels in the OpenEXR header makes no sense")
        code, _, x_step, y_step = struct.unpack("<iIii", rest[:16])
        rest = rest[16:]
        shown = printable(name.decode("utf-8", "backslashreplace"))
        if code not in _TYPES or name <= seen:
            raise InputError(f"the channel {shown!r} of the OpenEXR file makes no sense")
        if (x_step, y_step) != (1, 1):
            raise InputError(f"the channel {shown!r} has fewer pixels than the picture has; save it as RGB")
        seen = name
        yield Channel(shown, _TYPES[code])


def write_plain(file: BinaryIO, header: Header, out: BinaryIO) -> None:
    """Write an OpenEXR file of this header and its pieces alone: one part, its corner at 0, no smaller levels.

    InputError where a piece is missing or is not the one that the table announces.
    """
    box = struct.pack("<4i", 0, 0, header.width - 1, header.height - 1)
    attributes = [
        ("channels", "chlist", header.channel_list),
        ("compression", "compression", bytes([header.compression])),
        ("dataWindow", "box2i", box),
        ("displayWindow", "box2i", box),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", bytes(8)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]
    if header.tile is not None:
        attributes.append(("tiles", "tiledesc", struct.pack("<IIB", header.tile[1], header.tile[0], 0)))
    long_names = any(len(c.name.encode()) > 31 for c in header.channels)
    flags = (_TILED if header.tile is not None else 0) | (_LONG_NAMES if long_names else 0)
    out.write(b"\x76\x2f\x31\x01" + struct.pack("<I", _VERSION | flags))
    for name, kind, value in attributes:
        out.write(f"{name}\0{kind}\0".encode() + struct.pack("<I", len(value)) + value)
    out.write(b"\0")
    table = out.tell()
    out.write(bytes(8 * header.n_pieces))
    offsets = []
    for corner, piece in _pieces(file, header):
        offsets.append(out.tell())
        out.write(corner + struct.pack("<I", len(piece)) + piece)
    out.seek(table)
    out.write(np.array(offsets, "<u8").tobytes())


def _pieces(file: BinaryIO, header: Header) -> Iterator[tuple[bytes, bytes]]:
    """What stands before each piece in a plain file, and its packed pixels, in the table's order."""
    end = file.seek(0, os.SEEK_END)
    file.seek(header.table)
    offsets = np.frombuffer(_exactly(file, 8 * header.n_pieces), "<u8").tolist()
    rows = _ROWS[header.compression]
    for i, offset in enumerate(offsets):
        if header.tile is None:
            theirs, ours = struct.pack("<i", header.top + i * rows), struct.pack("<i", i * rows)
        else:
            theirs = ours = struct.pack("<4i", i % header.across, i // header.across, 0, 0)
        if header.multipart:
            theirs = bytes(4) + theirs  # of part 0
        if not 8 <= offset < end:
            raise InputError("the OpenEXR file is cut off or was not completed")
        file.seek(offset)
        leader = _exactly(file, len(theirs) + 4)
        n_bytes = int.from_bytes(leader[-4:], "little")
        if leader[:-4] != theirs or n_bytes > header.piece_bytes:
            raise InputError("the OpenEXR file is broken: the pieces of it are not what its table says")
        if file.tell() + n_bytes > end:
            raise InputError("the OpenEXR file is cut off")
        yield ours, file.read(n_bytes)
