"""Pictures: sizes and regions, loading and saving, and the one conversion between integer codes and floats.

Idea: depth and channels out = depth and channels in. A `Picture` keeps the file's own numbers (8 or 16 bit codes, or
32-bit floats), and whatever had to be changed on the way (CMYK, an animation, an EXIF rotation) is said in its notes.

Any source ends in a `Picture` or in one `InputError` of one line. The file's first bytes choose the decoder, never its
name; size is judged from the header before anything is decoded. Ordinary files go through Pillow's classes for the
formats below and no others, 16-bit PNG through `png16`, TIFF through tifffile where it can decode by itself.

An output path holds the old file, nothing, or the complete new file: see `save`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import secrets
import stat
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from texsyn import png16

MAX_PIXELS = 2**27  # 134 megapixels: an 8-bit RGB picture of 0.4 GB
MAX_SIDE = 1_000_000  # of a size that is asked for in words
MAX_CHANNELS = 16
MAX_STREAM_BYTES = 2**30  # read from standard input
MAX_RECIPE_BYTES = 2**22
MAX_PROFILE_BYTES = 2**22

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_MAX_VALUE = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
_IMAGE_DESCRIPTION = 0x010E
_ORIENTATION = 0x0112


class InputError(ValueError):
    """The picture given cannot be used; the message is one line that names it and says what would be accepted."""


class OutputError(OSError):
    """The output cannot be written; the message is one line that names it."""


class OutputExists(OutputError):
    """The output exists and overwriting was not asked for."""


# ---------------------------------------------------------------------------------------------- sizes and regions


@dataclass(frozen=True)
class Size:
    """Height and width in pixels, both positive.

    >>> Size(height=2, width=3).pixels
    6
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        _normalise(self, positive=("height", "width"))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels on the infinite plane: rows top..bottom-1, columns left..right-1. Corners may be negative.

    >>> window = Region(top=-1, left=2, height=4, width=5)
    >>> window.bottom, window.right, window.size
    (3, 7, Size(height=4, width=5))
    """

    top: int
    left: int
    height: int
    width: int

    def __post_init__(self) -> None:
        _normalise(self, positive=("height", "width"), whole=("top", "left"))

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def size(self) -> Size:
        return Size(self.height, self.width)

    def grow(self, margin: int) -> Region:
        """The region with `margin` more pixels on each of its four sides (fewer when negative).

        >>> Region(0, 0, 4, 4).grow(2)
        Region(top=-2, left=-2, height=8, width=8)
        """
        return Region(self.top - margin, self.left - margin, self.height + 2 * margin, self.width + 2 * margin)

    def contains(self, other: Region) -> bool:
        """Whether every pixel of `other` is one of ours."""
        return self.intersect(other) == other

    def intersect(self, other: Region) -> Region | None:
        """The pixels common to both, or None.

        >>> Region(0, 0, 4, 4).intersect(Region(2, 3, 9, 9))
        Region(top=2, left=3, height=2, width=1)
        """
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Region(top, left, bottom - top, right - left) if bottom > top and right > left else None


def _normalise(thing: Size | Region, positive: tuple[str, ...], whole: tuple[str, ...] = ()) -> None:
    """Turn the fields into plain ints (NumPy integers are welcome, floats are not) and check their signs."""
    for name in (*positive, *whole):
        value = getattr(thing, name)
        try:
            object.__setattr__(thing, name, index(value))
        except TypeError:
            raise ValueError(f"{type(thing).__name__}: {name}={value!r} must be a whole number") from None
        if name in positive and value < 1:
            raise ValueError(f"{type(thing).__name__}: {name}={value} must be at least 1")


def parse_size(text: str, base: Size | None = None) -> Size:
    """The size meant by "WIDTHxHEIGHT", or by a factor such as "2x" of a `base` size (rounded, at least 1 pixel).

    ValueError says what is accepted; each side may have 1 to 1,000,000 pixels.

    >>> parse_size("1280x768")
    Size(height=768, width=1280)
    >>> parse_size("1.5x", base=Size(100, 201))
    Size(height=150, width=302)
    """
    accepted = f"WIDTHxHEIGHT such as 1280x768 or a factor such as 2x, with sides from 1 to {MAX_SIDE} pixels"
    wrong = ValueError(f"size {text!r} is not understood: give {accepted}")
    if match := re.fullmatch(r"\s*([0-9]{1,9})\s*[xX×]\s*([0-9]{1,9})\s*", text):
        width, height = int(match[1]), int(match[2])
    elif match := re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*[xX×]\s*", text):
        if base is None:
            raise ValueError(f"size {text!r} is a factor and there is no size to multiply here: give WIDTHxHEIGHT")
        factor = float(match[1])
        if factor == 0:
            raise wrong
        width, height = (max(1, int(side * factor + 0.5)) for side in (base.width, base.height))
    else:
        raise wrong
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"size {text!r} means {width}x{height} pixels: give {accepted}")
    return Size(height, width)


# ------------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as the file holds them, and what goes with them.

    pixels (h, w, c), C-contiguous, uint8 or uint16 codes or finite float32 values of any range. mode is "L", "LA",
    "RGB", "RGBA" (alpha not premultiplied) or "multi" (any 1..16 channels without a meaning we know). A picture from
    a palette file also has palette (n, 3 or 4) uint8 and indices (h, w) uint8, with palette[indices] == pixels.
    name is short and free of directories; notes are sentences on what was changed in loading.

    InputError when the pixels break these rules.
    """

    pixels: np.ndarray
    mode: str
    icc_profile: bytes | None = field(default=None, repr=False)
    palette: np.ndarray | None = field(default=None, repr=False)
    indices: np.ndarray | None = field(default=None, repr=False)
    name: str = "array"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.ndim != 3 or 0 in pixels.shape:
            raise InputError(f"pixels of shape {pixels.shape} are not (height, width, channels)")
        if pixels.dtype.name not in _MAX_VALUE:
            raise InputError(f"pixels of type {pixels.dtype} are not uint8, uint16 or float32")
        if pixels.shape[2] > MAX_CHANNELS or self.mode not in (_MODES.get(pixels.shape[2]), "multi"):
            raise InputError(
                f"{pixels.shape[2]} channels do not make a picture of mode {self.mode!r}; "
                f"L, LA, RGB and RGBA have 1 to 4, multi has 1 to {MAX_CHANNELS}"
            )
        if (self.palette is None) != (self.indices is None):
            raise InputError("a palette and the indices into it come together or not at all")
        if self.palette is not None and not _agree(self.palette, self.indices, pixels):
            raise InputError("the palette's colours at the indices differ from the pixels")
        object.__setattr__(self, "pixels", np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("=")))
        _require_finite(self.pixels)

    @property
    def size(self) -> Size:
        return Size(*self.pixels.shape[:2])

    @property
    def channels(self) -> int:
        return self.pixels.shape[2]

    @property
    def has_alpha(self) -> bool:
        return self.mode in ("LA", "RGBA")

    @property
    def max_value(self) -> float:
        """The code of full intensity: 255, 65535, or 1.0 for floats."""
        return _MAX_VALUE[self.pixels.dtype.name]

    @cached_property
    def sha256(self) -> str:
        """Hash of shape, type and pixels, the same on every machine; nothing else of the picture enters."""
        pixels = self.pixels.astype(self.pixels.dtype.newbyteorder("<"), copy=False)
        digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.name} ".encode())
        digest.update(pixels.data.cast("B"))
        return digest.hexdigest()


def _agree(palette: np.ndarray, indices: Any, pixels: np.ndarray) -> bool:
    return int(indices.max()) < len(palette) and np.array_equal(palette[indices], pixels)


def _require_finite(values: np.ndarray) -> None:
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values)
    if bad.any():
        row, column, channel = np.unravel_index(int(bad.argmax()), bad.shape)
        raise InputError(
            f"{int(bad.sum())} of {bad.size} values are NaN or infinite, the first at row {row}, "
            f"column {column}, channel {channel}; every value must be a finite number"
        )


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """Codes as float32 in [0, 1]: code / 255 or code / 65535; floats are copied as float32, whatever their range.

    `from_unit` gives every code back exactly.

    >>> to_unit(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    if pixels.dtype.name not in _MAX_VALUE:
        raise ValueError(f"pixels of type {pixels.dtype} are not uint8, uint16 or floats")
    return pixels.astype(np.float32) / np.float32(_MAX_VALUE[pixels.dtype.name])


def from_unit(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Codes of values in [0, 1]: floor(value * max + 1/2), clipped to [0, max]; for float32, the values unchanged.

    ValueError for NaN, which has no code.

    >>> from_unit(np.array([-1.0, 0.0, 0.5, 1.0, 7.0]), np.uint8).tolist()
    [0, 0, 128, 255, 255]
    """
    dtype = np.dtype(dtype)
    if dtype.name not in _MAX_VALUE:
        raise ValueError(f"dtype={dtype} is not uint8, uint16 or float32")
    values = np.asarray(values)
    if dtype.kind == "f":
        return values.astype(dtype)
    if values.dtype.name not in ("float32", "float64"):
        values = values.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {values.size} values are NaN and have no {dtype} code")
    return np.floor(np.clip(values, 0, 1) * _MAX_VALUE[dtype.name] + 0.5).astype(dtype)


# -------------------------------------------------------------------------------------------------------- loading

_READABLE = "PNG, JPEG, WebP, TIFF, BMP, GIF and PPM/PGM/PBM/PFM"
_MAGIC = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PPM": rb"P[1-6f]\s",
}
_OTHER_MAGIC = {  # named only to say a better sentence
    "a PDF document": rb"%PDF",
    "a PostScript (EPS) file": rb"%!PS|\xc5\xd0\xd3\xc6",
    "an SVG drawing or other XML": rb"\s*(\xef\xbb\xbf)?\s*<(\?xml|svg|!DOCTYPE|!--)",
    "an OpenEXR file": rb"\x76\x2f\x31\x01",
    "a Photoshop file": rb"8BPS",
    "a HEIC or AVIF file": rb"....ftyp",
    "a JPEG 2000 file": rb"\0\0\0\x0cjP|\xff\x4f\xff\x51",
    "a ZIP archive": rb"PK\x03\x04",
}


def load(source: Any, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in `source`: a path, "-" (standard input), the bytes of a file, an array, or "skimage:NAME".

    Arrays are (h, w) or (h, w, c), bool, integer or float. "skimage:grass" is a picture that an installed
    scikit-image carries, "skimage:grass:256" its central 256x256 pixels. The depth and the channels are the file's;
    of an animation the first frame; EXIF rotation is applied. Pictures of more than `max_pixels` pixels (or of more
    than four times as many samples) are refused by their header.

    InputError, one line that names the source, for everything that is not such a picture.

    >>> grey = load(np.zeros((2, 3), np.uint16))
    >>> grey.mode, grey.size, grey.max_value
    ('L', Size(height=2, width=3), 65535.0)
    """
    if isinstance(source, np.ndarray):
        with _named("array"):
            picture = _from_array(source.copy())  # ours: the caller may go on changing theirs
            _check_limit(picture.size.height, picture.size.width, picture.channels, max_pixels)
            return picture
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), "bytes", "the bytes given", max_pixels)
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"a {type(source).__name__} is not a picture: give a path, the bytes of a file or an array")
    text = os.fsdecode(source)
    if text == "-":
        return _decode(_standard_input(), "stdin", "standard input", max_pixels)
    if text.startswith("skimage:"):
        return _exemplar(text, max_pixels)
    with _opened(text) as file:
        return _decode(file, _shown(os.path.basename(text)), _shown(text), max_pixels)


def _shown(text: str) -> str:
    """`text` fit for one line of any terminal: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Put the source's name in front of the InputErrors raised inside, which speak of the picture alone."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _reason(error: BaseException) -> str:
    """An error in a few words on one line."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    if text.startswith(("unpack", "not identified")):  # how Pillow says that a header has too few bytes or no sense
        return "its header is cut off or makes no sense"
    return _shown(" ".join(text.split()))[:200].rstrip(".")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The regular file at `path`; anything else (a pipe would wait, a device never ends) is refused unopened."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):
            what = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
            raise InputError(f"{_shown(path)}: is {what}; give a picture file, or - for standard input")
        file = open(path, "rb")  # noqa: SIM115 (closed below, where the reader's errors must pass untouched)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, InputError):
            raise
        raise InputError(f"{_shown(path)}: cannot be read ({_reason(error)})") from None
    with file:
        yield file


def _standard_input() -> BinaryIO:
    """Standard input, whole, if it starts like a picture: an endless stream is given up at its first bytes."""
    stream = sys.stdin.buffer
    data = stream.read(64)
    if _format_of(data) is not None:
        data += stream.read(MAX_STREAM_BYTES + 1 - len(data))
    if len(data) > MAX_STREAM_BYTES:
        raise InputError(f"standard input: is longer than the accepted {MAX_STREAM_BYTES} bytes; give the file's path")
    return io.BytesIO(data)


def _format_of(head: bytes) -> str | None:
    return next((name for name, magic in _MAGIC.items() if re.match(magic, head, re.DOTALL)), None)


def _decode(file: BinaryIO, name: str, where: str, max_pixels: int) -> Picture:
    """The picture in an open file. `where` names it in errors, `name` in the picture."""
    head = file.read(64)
    kind = _format_of(head)
    if kind is None:
        other = (what for what, magic in _OTHER_MAGIC.items() if re.match(magic, head, re.DOTALL))
        what = next(other, "not a picture that is known here") if head else "empty"
        raise InputError(f"{where}: is {what}; accepted are {_READABLE}")
    with warnings.catch_warnings(), _named(where):
        warnings.simplefilter("ignore")
        try:
            picture = _read_tiff(file, max_pixels) if kind == "TIFF" else _read_pillow(file, kind, max_pixels)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # decoders meet hostile bytes with any exception there is
            raise InputError(f"the {kind} file is broken or cut off ({_reason(error)})") from None
    return replace(picture, name=name)


def _check_limit(height: int, width: int, channels: int, max_pixels: int) -> None:
    if min(height, width, channels) < 1:
        raise InputError(f"has no pixels ({width}x{height}, {channels} channels)")
    if channels > MAX_CHANNELS:
        raise InputError(f"has {channels} channels, at most {MAX_CHANNELS} are accepted")
    if height * width > max_pixels or height * width * channels > 4 * max_pixels:
        raise InputError(
            f"has {width}x{height} = {height * width} pixels of {channels} channels, "
            f"more than the accepted {max_pixels} pixels ({4 * max_pixels} samples)"
        )


def _from_array(
    array: np.ndarray, *, mode: str | None = None, icc_profile: bytes | None = None, notes: tuple[str, ...] = ()
) -> Picture:
    """A picture of any array (h, w) or (h, w, c) whose values one of our three types holds."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(f"an array of shape {array.shape} is not (height, width) or (height, width, channels)")
    pixels = array.reshape(*array.shape[:2], -1)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype.kind in "iu" and pixels.dtype.name not in _MAX_VALUE:
        lowest, highest = int(pixels.min()), int(pixels.max())
        fitting = np.uint8 if pixels.dtype == np.int8 else np.uint16
        if lowest < 0 or highest > 65535:
            raise InputError(
                f"{pixels.dtype} values from {lowest} to {highest} do not fit 16 bits; "
                "convert it to 0..65535 or to floats"
            )
        notes += (f"{pixels.dtype} values kept as {np.dtype(fitting)}",)
        pixels = pixels.astype(fitting)
    elif pixels.dtype.kind == "f" and pixels.dtype != np.float32:
        _require_finite(pixels)
        if pixels.dtype.itemsize > 4:
            notes += (f"{pixels.dtype} values rounded to float32",)
        if np.abs(pixels).max() > np.finfo(np.float32).max:
            raise InputError(f"{pixels.dtype} values up to {np.abs(pixels).max():.3g} do not fit float32")
        pixels = pixels.astype(np.float32)
    elif pixels.dtype.name not in _MAX_VALUE:
        raise InputError(f"values of type {pixels.dtype} are not integers or real numbers")
    mode = mode or _MODES.get(pixels.shape[2], "multi")
    profile, complaint = _checked_profile(icc_profile, mode)
    return Picture(pixels, mode, icc_profile=profile, notes=notes + complaint)


def _checked_profile(profile: bytes | None, mode: str) -> tuple[bytes | None, tuple[str, ...]]:
    """The colour profile if it is whole and made for this mode, else None and a note: a wrong one shifts colours."""
    if not profile:
        return None, ()
    space = b"GRAY" if mode in ("L", "LA") else b"RGB "
    whole = 128 <= len(profile) <= MAX_PROFILE_BYTES and profile[36:40] == b"acsp"
    if whole and int.from_bytes(profile[:4], "big") == len(profile) and profile[16:20] == space and mode != "multi":
        return profile, ()
    return None, ("a colour profile that is damaged or made for other channels was left out",)


def _exemplar(text: str, max_pixels: int) -> Picture:
    """A picture that lies inside the installed scikit-image, named "skimage:NAME" or "skimage:NAME:SIDE"."""
    import importlib.util

    spec = importlib.util.find_spec("skimage")  # finds the folder without importing the package
    folders = spec.submodule_search_locations if spec else None
    files = [f for f in Path(folders[0], "data").iterdir() if f.suffix in (".png", ".jpg")] if folders else []
    found = {f.stem: f for f in files}
    name, _, side = text.removeprefix("skimage:").partition(":")
    if name not in found:
        accepted = ", ".join(sorted(found)) or "none: scikit-image is not installed"
        raise InputError(f"{_shown(text)}: scikit-image carries no such picture; accepted are {accepted}")
    with _opened(os.fspath(found[name])) as file:
        picture = _decode(file, f"skimage:{name}", _shown(text), max_pixels)
    if not side:
        return picture
    height, width = picture.pixels.shape[:2]
    if not re.fullmatch(r"[0-9]{1,6}", side) or not 1 <= int(side) <= min(height, width):
        raise InputError(f"{_shown(text)}: the side of the crop must be a number from 1 to {min(height, width)}")
    top, left = (height - int(side)) // 2, (width - int(side)) // 2
    window = np.s_[top : top + int(side), left : left + int(side)]
    indices = None if picture.indices is None else picture.indices[window]
    return replace(picture, pixels=picture.pixels[window].copy(), indices=indices, name=text)


def _read_pillow(file: BinaryIO, kind: str, max_pixels: int) -> Picture:
    """A picture by way of Pillow: every format but TIFF, and the TIFFs that tifffile cannot decode alone."""
    image = _open_pillow(file, kind, max_pixels)
    _check_limit(image.height, image.width, len(image.getbands()), max_pixels)
    notes: list[str] = []
    if getattr(image, "is_animated", False) and kind != "TIFF":
        notes.append("only the first frame of an animated file is used")

    depth = 8
    pixels: np.ndarray | None = None
    if kind == "PNG":
        header = png16.read_header(file)
        depth = header.depth
        if depth == 16:
            pixels, image = png16.read_samples(file, header)
    elif kind == "PPM" and image.mode == "RGB" and image.tile[0].codec_name.startswith("ppm"):
        pixels = _read_deep_ppm(file, image)  # None when it is not deep
    elif kind == "TIFF" and not image.mode.startswith("I") and ";16" in str(image.tile[0].args):
        pixels, image = _read_deep_tiff(file, image, max_pixels)

    palette = indices = None
    icc_profile = image.info.get("icc_profile")
    if pixels is None:
        image.load()
        if image.mode == "P":
            indices = np.asarray(image)
            palette = _palette_of(image, int(indices.max()) + 1)
            pixels = palette[indices]
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            pixels, note = _to_rgb(image, icc_profile)
            icc_profile = None  # it described the other colour space
            notes.append(note)
        elif image.mode in ("1", "RGBX", "RGBa", "La", "PA"):
            plain = {"1": "L", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA", "PA": "RGBA"}[image.mode]
            pixels = np.asarray(image.convert(plain))
        elif image.mode == "I":
            pixels = np.asarray(image).astype(np.uint16)  # only PGM comes so, with codes up to 65535
        else:
            pixels = np.asarray(image)
    pixels = _with_transparent_colour(pixels, image, depth)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]

    pixels, turn_note = _upright(pixels, image)
    if indices is not None:
        indices, _ = _upright(indices, image)
    picture = _from_array(pixels, icc_profile=icc_profile, notes=(*notes, *turn_note))
    return replace(picture, palette=palette, indices=indices)


def _open_pillow(file: BinaryIO, kind: str, max_pixels: int) -> Any:
    """Pillow's image with only its header read. The class is called directly: Image.open() would bring in a limit and
    a warning of its own, and formats that are not in our list."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.PpmImagePlugin import PpmImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    file.seek(0)
    if kind == "WEBP":  # whose class allocates its canvas at once
        width, height = _webp_size(file.read(30))
        _check_limit(height, width, 4, max_pixels)
        file.seek(0)
    classes: dict[str, Any] = {
        "PNG": PngImageFile, "JPEG": JpegImageFile, "WEBP": WebPImageFile, "GIF": GifImageFile,
        "BMP": BmpImageFile, "TIFF": TiffImageFile, "PPM": PpmImageFile,
    }  # fmt: skip
    return classes[kind](file)


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height from the first 30 bytes of a WebP file (RFC 9649, sections 2.5 to 2.7)."""
    if len(head) == 30 and head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if len(head) == 30 and head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if len(head) == 30 and head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    raise InputError("the WebP header is missing or cut off")


def _palette_of(image: Any, n_used: int) -> np.ndarray:
    """The colours (n, 3) of a palette image, or (n, 4) when some are transparent; used but missing ones are black."""
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 3] = 255
    names = "RGBA" if image.palette.mode == "RGBA" else "RGB"
    colours = np.array(image.getpalette(names), np.uint8).reshape(-1, len(names))[:256]
    palette[: len(colours), : len(names)] = colours
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        palette[: len(transparency), 3] = np.frombuffer(transparency[:256], np.uint8)
    elif transparency is not None:
        palette[transparency, 3] = 0
    palette = palette[: max(len(colours), n_used)]
    return palette if (palette[:, 3] < 255).any() else np.ascontiguousarray(palette[:, :3])


def _to_rgb(image: Any, icc_profile: bytes | None) -> tuple[np.ndarray, str]:
    """Pixels (h, w, 3) of an image in another colour space, by its profile where it has a good one."""
    from PIL import ImageCms

    if icc_profile and image.mode == "CMYK":
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(icc_profile), srgb, outputMode="RGB")
            return np.asarray(converted), "CMYK converted to sRGB by the file's colour profile"
    return np.asarray(image.convert("RGB")), f"{image.mode} converted to RGB without a colour profile"


def _with_transparent_colour(pixels: np.ndarray, image: Any, depth: int) -> np.ndarray:
    """Pixels with an alpha channel when the file (PNG, GIF) declares one grey or colour transparent."""
    key = image.info.get("transparency")
    if key is None or isinstance(key, bytes) or image.mode not in ("1", "L", "RGB", "I;16"):
        return pixels
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if depth < 8 and image.mode == "L":
        key = key * 255 // (2**depth - 1)  # Pillow scales the pixels and forgets the key
    top = np.iinfo(pixels.dtype).max
    alpha = np.where((pixels == np.atleast_1d(key)).all(axis=2), 0, top).astype(pixels.dtype)
    return np.concatenate([pixels, alpha[:, :, None]], axis=2)


def _upright(pixels: np.ndarray, image: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels turned as the EXIF orientation says, and a note when that changed something."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the pixels are good: no reason to refuse the picture
        return pixels, ("damaged EXIF data was left out",)
    return _turned(pixels, orientation)


def _turned(pixels: np.ndarray, orientation: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    across = pixels.swapaxes(0, 1)
    turned = {
        2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1],
    }  # fmt: skip
    if orientation not in turned:
        return pixels, ()
    return turned[orientation], ("turned upright as its EXIF orientation says",)


def _read_deep_ppm(file: BinaryIO, image: Any) -> np.ndarray | None:
    """Samples (h, w, 3) uint16 of a binary PPM with more than 8 bits, which Pillow would cut to 8; else None."""
    tile, maximum = image.tile[0], int(image.tile[0].args[1])
    if maximum <= 255:
        return None
    file.seek(0)
    if file.read(2) != b"P6":
        raise InputError("is a plain-text PPM of more than 8 bits; save it as binary PPM or 16-bit PNG")
    file.seek(tile.offset)
    n_bytes = image.height * image.width * 6
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise InputError(f"the PPM file is cut off: it has {len(data)} of {n_bytes} bytes of pixels")
    samples = np.frombuffer(data, ">u2").reshape(image.height, image.width, 3).astype(np.uint64)
    return np.minimum((samples * 65535 * 2 + maximum) // (2 * maximum), 65535).astype(np.uint16)


def _read_tiff(file: BinaryIO, max_pixels: int) -> Picture:
    """The first page of a TIFF: by tifffile where that needs no further package, else by Pillow's libtiff."""
    import logging

    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints reach us as exceptions
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages[0]
        notes = (f"only the first of {len(tiff.pages)} pages is used",) if len(tiff.pages) > 1 else ()
        channels = page.samplesperpixel
        _check_limit(page.imagelength, page.imagewidth, channels, max_pixels)
        if page.imagedepth != 1:
            raise InputError(f"is a TIFF volume of depth {page.imagedepth}; give a flat picture")
        plain = page.compression in (1, 8, 32773, 32946) and page.photometric in (0, 1, 2)
        whole = page.dtype is not None and page.dtype.itemsize * 8 == page.bitspersample
        alone = plain and whole and (page.photometric != 0 or page.dtype.kind == "u")
        icc, orientation = page.tags.get(34675), page.tags.get(_ORIENTATION)
        undecoded = InputError(
            f"is a TIFF of {channels} channels, {page.bitspersample} bits per sample, photometric "
            f"{page.photometric:d} and compression {page.compression:d} that cannot be decoded here; "
            "save it without compression"
        )
        if alone:
            pixels, mode, alpha_notes = _tiff_pixels(page, max_pixels)
        elif page.sampleformat not in (1, None) or page.bitspersample not in (1, 2, 4, 8, 16):
            raise undecoded
    if not alone:  # Pillow turns TIFFs upright by itself
        try:
            picture = _read_pillow(file, "TIFF", max_pixels)
        except SyntaxError:  # Pillow's word for a layout that it does not know
            raise undecoded from None
        _, turn_note = _turned(picture.pixels, orientation.value if orientation else 1)
        return replace(picture, notes=notes + picture.notes + turn_note)
    pixels, turn_note = _turned(pixels, orientation.value if orientation else 1)
    profile = bytes(icc.value) if icc and isinstance(icc.value, bytes) else None
    return _from_array(pixels, mode=mode, icc_profile=profile, notes=notes + alpha_notes + turn_note)


def _tiff_pixels(page: Any, max_pixels: int) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Pixels (h, w, c) of a TIFF page, their mode, and notes."""
    _check_segments(page, max_pixels)
    planes = page.asarray(squeeze=False, maxworkers=1)  # (separate samples, depth, h, w, contiguous samples)
    pixels = planes[:, 0].transpose(1, 2, 0, 3).reshape(*planes.shape[2:4], -1)
    notes: tuple[str, ...] = ()
    if page.photometric == 0:
        pixels = np.iinfo(pixels.dtype).max - pixels
    n_colours = 3 if page.photometric == 2 else 1
    n_extra = pixels.shape[2] - n_colours
    if n_extra == 0:
        return pixels, _MODES[n_colours], notes
    meaning = int(page.extrasamples[0]) if page.extrasamples else 0
    if n_extra > 1 or (meaning == 0 and n_colours == 1):
        return pixels, "multi", notes
    if meaning == 0:
        notes = ("the fourth channel, whose meaning the file does not say, is taken as alpha",)
    if meaning == 1:
        pixels, notes = _unpremultiplied(pixels), ("colours divided by alpha, which the file had multiplied in",)
    return pixels, _MODES[n_colours + 1], notes


def _check_segments(page: Any, max_pixels: int) -> None:
    """Refuse a page whose strips or tiles lie outside the file, or unpack to more than their share of the picture.

    tifffile unpacks each without a bound, so a bomb has to be found before: deflated segments are unpacked here once
    into nothing, at most one byte beyond what they may hold.
    """
    file = page.parent.filehandle
    share = int(np.prod(page.chunks)) * page.dtype.itemsize
    if share > 4 * max_pixels * page.dtype.itemsize:
        raise InputError(f"its TIFF segments of {share} bytes are larger than any accepted picture")
    if len(page.dataoffsets) != len(page.databytecounts) or not page.dataoffsets:
        raise InputError("its TIFF header does not say where the pixels are")
    for offset, n_bytes in zip(page.dataoffsets, page.databytecounts, strict=True):
        if offset + n_bytes > file.size:
            raise InputError(f"the TIFF file is cut off: it has {file.size} of at least {offset + n_bytes} bytes")
        if page.compression in (8, 32946) and n_bytes:
            file.seek(offset)
            _check_inflated(file.read(n_bytes), share)


def _check_inflated(packed: bytes, share: int) -> None:
    import zlib

    unpacker, total = zlib.decompressobj(), 0
    while packed and not unpacker.eof:
        total += len(unpacker.decompress(packed, 1 << 20))
        packed = unpacker.unconsumed_tail
        if total > share:
            raise InputError(f"a part of the TIFF unpacks to more than the {share} bytes its header declares")


def _read_deep_tiff(file: BinaryIO, image: Any, max_pixels: int) -> tuple[np.ndarray, Any]:
    """Samples (h, w, c) uint16 of an RGB(A) TIFF in a compression that only libtiff knows (LZW, say).

    Pillow keeps one byte of each sample; asked for the other byte order it keeps the other (see `png16`).
    """
    rawmode = str(image.tile[0].args[0])
    if rawmode not in ("RGB;16N", "RGBX;16N", "RGBA;16N", "RGBa;16N"):
        raise InputError(f"is a 16-bit TIFF laid out as {rawmode}, which is not read here; save it without compression")
    planes = []
    for order in "LB" if sys.byteorder == "little" else "BL":
        image = _open_pillow(file, "TIFF", max_pixels)
        plain = f"{rawmode[:-4].upper()};16{order}"
        image.tile = [tile._replace(args=(plain, *tile.args[1:])) for tile in image.tile]
        image.load()
        planes.append(np.asarray(image).astype(np.uint16))
    pixels = planes[0] << 8 | planes[1]
    return _unpremultiplied(pixels) if rawmode.startswith("RGBa") else pixels, image


def _unpremultiplied(pixels: np.ndarray) -> np.ndarray:
    """Colours divided by the last channel, alpha; 0 where alpha is 0. Integer colours are rounded and clipped."""
    colour, alpha = pixels[:, :, :-1].astype(np.float64), pixels[:, :, -1:].astype(np.float64)
    top = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    divided = np.divide(colour * top, alpha, out=np.zeros_like(colour), where=alpha > 0)
    if pixels.dtype.kind != "f":
        divided = np.clip(np.floor(divided + 0.5), 0, top)
    return np.concatenate([divided.astype(pixels.dtype), pixels[:, :, -1:]], axis=2)


# --------------------------------------------------------------------------------------------------------- saving

_EXTENSIONS = {
    ".png": "png", ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".bmp": "bmp",
}  # fmt: skip
_WRITABLE = ", ".join(_EXTENSIONS)
_HOLDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {  # modes, sample types, longest side in pixels
    "png": (("L", "LA", "RGB", "RGBA"), ("uint8", "uint16"), 2**31 - 1),
    "tiff": (("L", "LA", "RGB", "RGBA", "multi"), ("uint8", "uint16", "float32"), 2**31 - 1),
    "jpeg": (("L", "RGB"), ("uint8",), 65500),
    "webp": (("L", "LA", "RGB", "RGBA"), ("uint8",), 16383),
    "bmp": (("L", "RGB"), ("uint8",), 2**31 - 1),
}


def check_target(
    target: Any, *, mode: str = "RGB", dtype: Any = "uint8", size: Size | None = None, overwrite: bool = False,
    format: str | None = None,
) -> str:  # fmt: skip
    """The format `save` would write ("png", "tiff", "jpeg", "webp" or "bmp"), if it could; ask before the long work.

    ValueError: an extension, mode, type or size that the format does not hold. OutputExists: the file is there and
    `overwrite` is False. OutputError: no such folder, not writable, not a regular file.

    >>> check_target("-")
    'png'
    >>> check_target("rock.jpg", dtype="uint16")
    Traceback (most recent call last):
    ValueError: rock.jpg: jpeg does not hold uint16 values; use .png, .tif or .tiff
    """
    path = os.fsdecode(target) if isinstance(target, (str, os.PathLike)) and os.fsdecode(target) != "-" else None
    shown = "the output" if path is None else _shown(path)
    kind = _format_for(path, shown, format)
    modes, dtypes, longest = _HOLDS[kind]
    dtype = np.dtype(dtype).name
    fitting = [e for e, k in _EXTENSIONS.items() if mode in _HOLDS[k][0] and dtype in _HOLDS[k][1]]
    better = "use " + " or ".join(", ".join(fitting).rsplit(", ", 1)) if fitting else "no format here does"
    if dtype not in dtypes:
        raise ValueError(f"{shown}: {kind} does not hold {dtype} values; {better}")
    if mode not in modes:
        what = "alpha" if mode in ("LA", "RGBA") else f"pictures of mode {mode}"
        raise ValueError(f"{shown}: {kind} does not hold {what}; {better}")
    if size is not None and max(size.height, size.width) > longest:
        raise ValueError(f"{shown}: {kind} holds sides up to {longest} pixels, not {size}; use .png, .tif or .tiff")
    if path is not None:
        _check_path(path, shown, overwrite)
    return kind


def _format_for(path: str | None, shown: str, format: str | None) -> str:
    if format is not None:
        kind = _EXTENSIONS.get("." + format.lower().removeprefix("."))
        if kind is None:
            raise ValueError(f"format={format!r} is not known; accepted are {_WRITABLE.replace('.', '')}")
        return kind
    if path is None:
        return "png"
    extension = os.path.splitext(path)[1].lower()
    if extension not in _EXTENSIONS:
        said = f"the extension {_shown(extension)!r} is not known" if extension else "there is no extension"
        raise ValueError(f"{shown}: {said}; accepted are {_WRITABLE}")
    return _EXTENSIONS[extension]


def _check_path(path: str, shown: str, overwrite: bool) -> None:
    try:
        there = os.stat(path).st_mode
    except FileNotFoundError:
        there = None
    except (OSError, ValueError) as error:
        raise OutputError(f"{shown}: cannot be written ({_reason(error)})") from None
    if there is not None and not stat.S_ISREG(there):
        what = "a directory" if stat.S_ISDIR(there) else "not a regular file"
        raise OutputError(f"{shown}: is {what}; give a file name, or - for standard output")
    if there is not None and not overwrite:
        raise OutputExists(f"{shown}: exists; ask for overwriting to replace it")
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise OutputError(f"{shown}: its folder does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{shown}: its folder may not be written to")


def save(
    picture: Picture, target: Any, *, recipe: Mapping[str, Any] | None = None, overwrite: bool = False,
    format: str | None = None,
) -> tuple[str, ...]:  # fmt: skip
    """Write `picture` to `target`: a path, "-" (standard output) or a binary file. Returns notes on what was lost.

    The extension says the format, or `format` does; PNG where neither speaks. A path is replaced in one step, after
    everything has reached the disk: on any failure or interrupt the old file stays and nothing is left beside it. A
    replaced file keeps its permissions. `recipe` goes inside the file as JSON (see `read_recipe`).

    ValueError, OutputExists and OutputError as `check_target`; OutputError too when the disk is full.
    """
    kind = check_target(
        target, mode=picture.mode, dtype=picture.pixels.dtype, size=picture.size, overwrite=overwrite, format=format
    )
    text = None if recipe is None else json.dumps(recipe, allow_nan=False)
    if text is not None and len(text) > MAX_RECIPE_BYTES:
        raise ValueError(f"recipe of {len(text)} characters is longer than the accepted {MAX_RECIPE_BYTES}")
    if isinstance(target, (str, os.PathLike)) and os.fsdecode(target) != "-":
        path = os.fsdecode(target)
        try:
            with _published(path, overwrite) as file:
                return _encode(picture, file, kind, text)
        except FileExistsError:
            raise OutputExists(f"{_shown(path)}: exists; ask for overwriting to replace it") from None
        except OSError as error:
            raise OutputError(f"{_shown(path)}: cannot be written ({_reason(error)})") from error
    buffer = io.BytesIO()  # streams need not seek, and get all or nothing
    notes = _encode(picture, buffer, kind, text)
    stream: BinaryIO = sys.stdout.buffer if isinstance(target, (str, os.PathLike)) else target
    try:
        stream.write(buffer.getbuffer())
        stream.flush()
    except OSError as error:
        raise OutputError(f"the output stream cannot be written ({_reason(error)})") from error
    return notes


def check_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Raises OutputExists or OutputError where write_atomically could not write; ask before the long work."""
    text = os.fsdecode(path)
    _check_path(text, _shown(text), overwrite)


def write_atomically(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write any bytes as `save` writes pictures: all or nothing. Raises OutputExists and OutputError like it."""
    check_path(path, overwrite=overwrite)
    text = os.fsdecode(path)
    try:
        with _published(text, overwrite) as file:
            file.write(data)
    except FileExistsError:
        raise OutputExists(f"{_shown(text)}: exists; ask for overwriting to replace it") from None
    except OSError as error:
        raise OutputError(f"{_shown(text)}: cannot be written ({_reason(error)})") from error


@contextlib.contextmanager
def _published(path: str, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` in one step when the block ends well, and vanishes when it does not."""
    path = os.path.realpath(path)  # through a symbolic link, to the file it stands for
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".texsyn-{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
            os.replace(temporary, path)
        else:
            _rename_new(temporary, path)
    finally:  # also after KeyboardInterrupt; already gone when all went well
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    with contextlib.suppress(OSError):  # some systems cannot open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _rename_new(temporary: str, path: str) -> None:
    """Give `temporary` the name `path` unless somebody took that name meanwhile: then FileExistsError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        os.replace(temporary, path)


def _encode(picture: Picture, file: BinaryIO, kind: str, recipe: str | None) -> tuple[str, ...]:
    """Write the file's bytes; returns notes."""
    if kind == "png":
        texts = {} if recipe is None else {"texsyn": recipe}
        indexed = picture.indices is not None
        pixels = picture.indices[:, :, None] if picture.indices is not None else picture.pixels
        palette = picture.palette if indexed else None
        png16.write(file, pixels, palette=palette, icc_profile=picture.icc_profile, texts=texts)
        return ()
    description = None if recipe is None else f'{{"texsyn": {recipe}}}'
    if kind == "tiff":
        _encode_tiff(picture, file, description)
        return ()
    return _encode_pillow(picture, file, kind, description)


def _encode_tiff(picture: Picture, file: BinaryIO, description: str | None) -> None:
    import tifffile

    pixels, mode = picture.pixels, picture.mode
    n_colours = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}.get(mode, 1)
    extra = ["unassalpha"] if picture.has_alpha else ["unspecified"] * (picture.channels - n_colours)
    tifffile.imwrite(
        file,
        pixels if picture.channels > 1 else pixels[:, :, 0],
        photometric="rgb" if n_colours == 3 else "minisblack",
        planarconfig="contig" if picture.channels > 1 else None,
        extrasamples=extra or None,
        compression="zlib",
        predictor=pixels.dtype.kind == "u",  # the float predictor needs a further package
        description=description,
        iccprofile=picture.icc_profile,
        metadata=None,
        software="texsyn",
    )


def _encode_pillow(picture: Picture, file: BinaryIO, kind: str, description: str | None) -> tuple[str, ...]:
    from PIL import Image

    notes: list[str] = []
    options: dict[str, Any] = {}
    if kind == "jpeg":
        options = {"quality": 95, "subsampling": 0}
    elif kind == "webp":
        options = {"lossless": True, "exact": True}  # exact: colours under alpha 0 are kept
    if kind == "webp" and picture.channels < 3:
        notes.append("WebP holds no grey pictures: it was written as colour")
    if kind == "bmp" and picture.icc_profile is not None:
        notes.append("BMP holds no colour profile here: it was left out")
    if picture.icc_profile is not None and not (kind == "webp" and picture.channels < 3):
        options["icc_profile"] = picture.icc_profile
    if description is not None and (kind == "bmp" or (kind == "jpeg" and len(description) > 60_000)):
        notes.append(f"{kind.upper()} does not hold this recipe: it was left out")
    elif description is not None:
        options["exif"] = Image.Exif()
        options["exif"][_IMAGE_DESCRIPTION] = description
    pixels = picture.pixels if picture.channels > 1 else picture.pixels[:, :, 0]
    image = Image.fromarray(pixels)
    if kind == "webp" and picture.channels < 3:
        image = image.convert("RGBA" if picture.has_alpha else "RGB")
    buffer = io.BytesIO()  # Pillow would hide a full disk behind an error of its own
    image.save(buffer, kind.upper(), **options)
    file.write(buffer.getbuffer())
    return tuple(notes)


def read_recipe(source: Any) -> dict[str, Any] | None:
    """The recipe that `save` put into a picture file (a path or the file's bytes), or None when there is none.

    InputError when the file cannot be read or its text is larger than 4 MiB; broken JSON counts as no recipe.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _recipe_in(io.BytesIO(source), "the bytes given")
    path = os.fsdecode(source)
    with _opened(path) as file:
        return _recipe_in(file, _shown(path))


def _recipe_in(file: BinaryIO, where: str) -> dict[str, Any] | None:
    kind = _format_of(file.read(64))
    try:
        if kind == "PNG":
            text = png16.read_text(file, "texsyn", limit=MAX_RECIPE_BYTES)
            recipe = json.loads(text) if text is not None else None
        else:
            text = _description(file, kind)
            described = json.loads(text) if text else None
            recipe = described.get("texsyn") if isinstance(described, dict) else None
    except (json.JSONDecodeError, RecursionError):
        return None
    except MemoryError:
        raise
    except Exception as error:  # as in loading: decoders meet hostile bytes with any exception there is
        raise InputError(f"{where}: the recipe cannot be read ({_reason(error)})") from None
    return recipe if isinstance(recipe, dict) else None


def _description(file: BinaryIO, kind: str | None) -> str | None:
    """The text of the ImageDescription tag of a TIFF, JPEG or WebP file."""
    if kind == "TIFF":
        import tifffile

        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            text: Any = tiff.pages[0].description  # type: ignore[union-attr]
    elif kind in ("JPEG", "WEBP"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = _open_pillow(file, kind, MAX_PIXELS).getexif().get(_IMAGE_DESCRIPTION)
    else:
        return None
    if isinstance(text, str) and len(text) > MAX_RECIPE_BYTES:
        raise ValueError(f"its description has {len(text)} characters, at most {MAX_RECIPE_BYTES} are accepted")
    return text if isinstance(text, str) else None
