"""OpenEXR pictures, both ways, by the official package OpenEXR, which is optional: pip install 'texsyn[hdr]'.

Reading. The header, and the place of every piece of pixels, are read and judged here, before the package sees anything.
What it is then given is a plain file made of them: one part, full size, no further attribute. It decodes in a process
of its own, for it prints complaints on both standard streams and broken files can end it (and us with it). Layout after
the OpenEXR documentation, "OpenEXR File Layout".

Writing. Float or half channels, ZIP compression, the recipe as string attribute "texsyn".

Numbers are taken and written as they are. OpenEXR files have colours multiplied by alpha; pixels that are copied stay
so, and dividing would lose bits.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from texsyn.images.depth import to_half
from texsyn.images.picture import InputError, Picture, check_limit, from_array, printable, reason

MISSING = "OpenEXR needs a further package: pip install 'texsyn[hdr]'"
_MODES = {("Y",): "L", ("Y", "A"): "LA", ("R", "G", "B"): "RGB", ("R", "G", "B", "A"): "RGBA"}
_NAMES = {mode: names for names, mode in _MODES.items()}

# of the file's version field: the low byte and the meaning of the bits that may stand above it
_VERSION, _TILED, _LONG_NAMES, _DEEP, _MULTIPART = 2, 0x200, 0x400, 0x800, 0x1000
_TYPES: dict[int, np.dtype] = {0: np.dtype(np.uint32), 1: np.dtype(np.float16), 2: np.dtype(np.float32)}
_ROWS = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256, 10: 256, 11: 32, 12: 256, 13: 1}
_ZIP = 3  # a key of _ROWS: compression -> rows that are packed together
_MAX_ATTRIBUTES = 4096
_MAX_PIECES = 2**20


def is_installed() -> bool:
    """Whether the package OpenEXR is there."""
    return importlib.util.find_spec("OpenEXR") is not None


# --------------------------------------------------------------------------------------------------------- reading


def read_exr(file: BinaryIO, max_pixels: int) -> Picture:
    """The first part of an OpenEXR file; R, G, B, A / Y, A make colour and grey, any other channels are "multi"."""
    if not is_installed():
        raise InputError(MISSING)
    parts, version = _headers(file)
    header = _judged(parts[0], version, file.tell(), max_pixels)
    notes = (f"only the first of {len(parts)} parts is used",) if len(parts) > 1 else ()
    names = [c.name for c in header.channels]
    order, mode, name_notes = _arranged(names)
    planes = _decoded(file, header)
    pixels, type_notes = _stacked([planes[names.index(name)] for name in order])
    return from_array(pixels, mode=mode, notes=notes + name_notes + type_notes)


def read_text(file: BinaryIO, name: str, limit: int) -> str | None:
    """The text of a string attribute of the file's first part, or None; needs no package. ValueError beyond limit."""
    attribute = _headers(file)[0][0].get(name)
    if attribute is None or attribute.kind != "string":
        return None
    if attribute.n_bytes > limit:
        raise ValueError(f"its attribute {name!r} has {attribute.n_bytes} bytes, at most {limit} are accepted")
    file.seek(attribute.offset)
    return file.read(attribute.n_bytes).decode("utf-8", "replace")


@dataclass(frozen=True)
class _Attribute:
    kind: str
    offset: int
    n_bytes: int
    value: bytes  # where it is short


def _headers(file: BinaryIO) -> tuple[list[dict[str, _Attribute]], int]:
    """The attributes by name of every part, and the version field. Leaves the file where its table of pieces is."""
    end = file.seek(0, os.SEEK_END)
    file.seek(4)
    version = int.from_bytes(_exactly(file, 4), "little")
    if version & 0xFF != _VERSION or version & ~(0xFF | _TILED | _LONG_NAMES | _DEEP | _MULTIPART):
        raise InputError(f"is an OpenEXR file of version {version:#x}, which is not known here")
    parts: list[dict[str, _Attribute]] = []
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


def _attributes(file: BinaryIO, end: int) -> Iterator[tuple[str, _Attribute]]:
    for _ in range(_MAX_ATTRIBUTES):
        name = _word(file)
        if not name:
            return
        kind = _word(file)
        n_bytes = int.from_bytes(_exactly(file, 4), "little")
        offset = file.tell()
        if offset + n_bytes > end:
            raise InputError("the OpenEXR header is cut off or makes no sense")
        yield name, _Attribute(kind, offset, n_bytes, file.read(n_bytes) if n_bytes <= 2**14 else b"")
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
class _Channel:
    name: str
    dtype: np.dtype


@dataclass(frozen=True)
class _Header:
    """What is needed to decode one part, all of it checked. channels are sorted by name, as the pieces have them."""

    height: int
    width: int
    channels: tuple[_Channel, ...]
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


def _judged(part: dict[str, _Attribute], version: int, table: int, max_pixels: int) -> _Header:
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
    header = _Header(height, width, channels, channel_list, compression, top, tile, multipart, table)
    if header.n_pieces > _MAX_PIECES:
        raise InputError(f"its pixels come in {header.n_pieces} pieces, at most {_MAX_PIECES} are accepted")
    return header


def _value(part: dict[str, _Attribute], name: str, kind: str, n_bytes: int | None = None) -> bytes:
    found = part.get(name)
    if found is None or found.kind != kind or n_bytes not in (None, found.n_bytes) or len(found.value) != found.n_bytes:
        raise InputError(f"the OpenEXR header has no {name} that makes sense")
    return found.value


def _channels(data: bytes) -> Iterator[_Channel]:
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
        yield _Channel(shown, _TYPES[code])


def _arranged(names: list[str]) -> tuple[list[str], str, tuple[str, ...]]:
    """The names in the picture's order, its mode, and notes.

    >>> _arranged(["B", "G", "R", "Z"])
    (['R', 'G', 'B', 'Z'], 'multi', ('the channels R, G, B, Z are numbered 0 to 3',))
    """
    order = [n for n in "RGBYA" if n in names]
    order += [n for n in names if n not in order]
    if tuple(order) in _MODES:
        return order, _MODES[tuple(order)], ()
    if len(order) == 1:
        return order, "L", (f"the channel {order[0]} is taken as grey",)
    numbered = order == _numbers(len(order))
    notes = () if numbered else (f"the channels {', '.join(order)} are numbered 0 to {len(order) - 1}",)
    return order, "multi", notes


def _numbers(n: int) -> list[str]:
    return [f"{i:02}" for i in range(n)]  # two digits: channels are sorted by name


def _stacked(planes: list[np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Planes (h, w) as pixels (h, w, c) of one type that holds all values exactly, and notes."""
    types = {plane.dtype for plane in planes}
    if len(types) == 1:
        return np.stack(planes, axis=2), ()
    for plane in planes:
        if plane.dtype.kind == "u" and int(plane.max()) > 2**24:
            raise InputError(f"has integers up to {plane.max()} beside floats, which hold them exactly up to {2**24}")
    pixels = np.empty((*planes[0].shape, len(planes)), np.float32)
    for i, plane in enumerate(planes):
        pixels[:, :, i] = plane
    return pixels, (f"{' and '.join(sorted(t.name for t in types))} channels kept as float32",)


# -------------------------------------------------------------------------------------------------------- decoding

_DECODER = """
import sys
try:
    import OpenEXR
except ImportError:
    sys.exit(3)
try:
    channels = OpenEXR.File(sys.argv[1], separate_channels=True).channels()
    with open(sys.argv[2], "wb") as out:
        for name in sorted(channels):
            channels[name].pixels.tofile(out)
except MemoryError:
    sys.exit(4)
"""


def _decoded(file: BinaryIO, header: _Header) -> list[np.ndarray]:
    """A plane (h, w) a channel, decoded in another process. Costs a copy of the file and of the pixels on disk."""
    n_pixels = header.height * header.width
    seconds = 60 + n_pixels * len(header.channels) // 10**6
    paths = os.pathsep.join(p for p in sys.path if p)
    try:
        with tempfile.TemporaryDirectory(prefix="texsyn-") as folder:
            plain, pixels = os.path.join(folder, "plain.exr"), os.path.join(folder, "pixels")
            with open(plain, "wb") as out:
                _write_plain(file, header, out)
            quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            code = subprocess.run(
                [sys.executable, "-P", "-c", _DECODER, plain, pixels],
                env=os.environ | {"PYTHONPATH": paths}, timeout=seconds, check=False, **quiet,
            ).returncode  # fmt: skip
            if code == 3:
                raise InputError("the package OpenEXR is installed but cannot be imported; install texsyn[hdr] anew")
            if code == 4:
                raise MemoryError(f"no memory for {n_pixels} pixels of {len(header.channels)} channels")
            n_bytes = n_pixels * sum(c.dtype.itemsize for c in header.channels)
            if code != 0 or os.path.getsize(pixels) != n_bytes:
                raise InputError("its pixels cannot be decoded: the file is broken, or newer than the package OpenEXR")
            with open(pixels, "rb") as made:
                return [
                    np.fromfile(made, c.dtype, n_pixels).reshape(header.height, header.width) for c in header.channels
                ]
    except subprocess.TimeoutExpired:
        raise InputError(f"the OpenEXR file was not decoded within {seconds} seconds") from None
    except OSError as error:
        raise InputError(f"the OpenEXR file could not be decoded ({reason(error)})") from None


def _write_plain(file: BinaryIO, header: _Header, out: BinaryIO) -> None:
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


def _pieces(file: BinaryIO, header: _Header) -> Iterator[tuple[bytes, bytes]]:
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
        if leader[:-4] != theirs:
            raise InputError("the OpenEXR file is broken: its pixels are not where its table says")
        if file.tell() + n_bytes > end:
            raise InputError("the OpenEXR file is cut off")
        yield ours, file.read(n_bytes)


# --------------------------------------------------------------------------------------------------------- writing


def write_exr(file: BinaryIO, picture: Picture, recipe: str | None) -> tuple[str, ...]:
    """Write a float picture, of 16 bits where it is half; returns notes. The package wants a path: made beside, copied.

    Raises OSError where the disk is full.
    """
    import OpenEXR

    notes: tuple[str, ...] = ()
    pixels = picture.pixels
    if picture.half:
        pixels, notes = to_half(pixels)
    if picture.icc_profile is not None:
        notes += ("OpenEXR holds no ICC profile: it was left out",)
    if picture.has_alpha and (picture.pixels[:, :, -1] != 1).any():
        notes += ("colours were written as they are; OpenEXR readers take them as multiplied by alpha",)
    names = _NAMES.get(picture.mode, _numbers(picture.channels))
    planes = {name: np.ascontiguousarray(pixels[:, :, i]) for i, name in enumerate(names)}
    about: dict[str, Any] = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    if recipe is not None:
        about["texsyn"] = recipe
    name = getattr(file, "name", None)
    beside = os.path.dirname(name) if isinstance(name, str) else None
    with tempfile.TemporaryDirectory(prefix=".texsyn-", dir=beside) as folder:
        path = os.path.join(folder, "picture.exr")
        try:
            OpenEXR.File(about, planes).write(path)
        except RuntimeError as error:  # its word for all that the system refuses
            raise OSError(reason(error)) from None
        with io.FileIO(path) as made:
            shutil.copyfileobj(made, file)
    return notes
