"""A picture in memory: sizes and regions, the pixels with what goes with them, and codes as floats and back.

Idea: a `Picture` keeps the file's own numbers (8 or 16 bit codes, or 32-bit floats) in the file's own channels, and its
notes say what had to be changed on the way. `to_unit` and `from_unit` are the one conversion between codes and floats.

The errors of the package are here too, and the two functions that keep each of them to one printable line.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import Any

import numpy as np

MAX_PIXELS = 2**27  # 134 megapixels: an 8-bit RGB picture of 0.4 GB
MAX_SIDE = 1_000_000  # of a size that is asked for in words
MAX_CHANNELS = 16
MAX_PROFILE_BYTES = 2**22

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
MAX_VALUE = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


class InputError(ValueError):
    """The picture given cannot be used; the message is one line that names it and says what would be accepted."""


class OutputError(OSError):
    """The output cannot be written; the message is one line that names it."""


class OutputExists(OutputError):
    """The output exists and overwriting was not asked for."""


def printable(text: str) -> str:
    """`text` fit for one line of any terminal: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def reason(error: BaseException) -> str:
    """An error in a few words on one line."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    if text.startswith(("unpack", "not identified")):  # how Pillow says that a header has too few bytes or no sense
        return "its header is cut off or makes no sense"
    return printable(" ".join(text.split()))[:200].rstrip(".")


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
    half says that the file's floats have 16 bits: `save` rounds to those again, and exactly if the values are copies.
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
    half: bool = False

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.ndim != 3 or 0 in pixels.shape:
            raise InputError(f"pixels of shape {pixels.shape} are not (height, width, channels)")
        if pixels.dtype.name not in MAX_VALUE:
            raise InputError(f"pixels of type {pixels.dtype} are not uint8, uint16 or float32")
        if pixels.shape[2] > MAX_CHANNELS or self.mode not in (MODES.get(pixels.shape[2]), "multi"):
            raise InputError(
                f"{pixels.shape[2]} channels do not make a picture of mode {self.mode!r}; "
                f"L, LA, RGB and RGBA have 1 to 4, multi has 1 to {MAX_CHANNELS}"
            )
        if self.half and pixels.dtype.kind != "f":
            raise InputError(f"half=True goes with float32 pixels, not with {pixels.dtype}")
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
        return MAX_VALUE[self.pixels.dtype.name]

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


def check_limit(height: int, width: int, channels: int, max_pixels: int) -> None:
    """InputError for a picture that is empty, too large, or of too many channels."""
    if min(height, width, channels) < 1:
        raise InputError(f"has no pixels ({width}x{height}, {channels} channels)")
    if channels > MAX_CHANNELS:
        raise InputError(f"has {channels} channels, at most {MAX_CHANNELS} are accepted")
    if height * width > max_pixels or height * width * channels > 4 * max_pixels:
        raise InputError(
            f"has {width}x{height} = {height * width} pixels of {channels} channels, "
            f"more than the accepted {max_pixels} pixels ({4 * max_pixels} samples)"
        )


def from_array(
    array: np.ndarray, *, mode: str | None = None, icc_profile: bytes | None = None, notes: tuple[str, ...] = ()
) -> Picture:
    """A picture of any array (h, w) or (h, w, c) whose values one of our three types holds; of float16, a half one."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(f"an array of shape {array.shape} is not (height, width) or (height, width, channels)")
    pixels = array.reshape(*array.shape[:2], -1)
    half = pixels.dtype == np.float16
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype.kind in "iu" and pixels.dtype.name not in MAX_VALUE:
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
    elif pixels.dtype.name not in MAX_VALUE:
        raise InputError(f"values of type {pixels.dtype} are not integers or real numbers")
    mode = mode or MODES.get(pixels.shape[2], "multi")
    profile, complaint = _checked_profile(icc_profile, mode)
    return Picture(pixels, mode, icc_profile=profile, notes=notes + complaint, half=half)


def _checked_profile(profile: bytes | None, mode: str) -> tuple[bytes | None, tuple[str, ...]]:
    """The colour profile if it is whole and made for this mode, else None and a note: a wrong one shifts colours."""
    if not profile:
        return None, ()
    space = b"GRAY" if mode in ("L", "LA") else b"RGB "
    whole = 128 <= len(profile) <= MAX_PROFILE_BYTES and profile[36:40] == b"acsp"
    if whole and int.from_bytes(profile[:4], "big") == len(profile) and profile[16:20] == space and mode != "multi":
        return profile, ()
    return None, ("a colour profile that is damaged or made for other channels was left out",)


# ----------------------------------------------------------------------------------------------- codes and floats


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """Codes as float32 in [0, 1]: code / 255 or code / 65535; floats are copied as float32, whatever their range.

    `from_unit` gives every code back exactly.

    >>> to_unit(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    if pixels.dtype.name not in MAX_VALUE:
        raise ValueError(f"pixels of type {pixels.dtype} are not uint8, uint16 or floats")
    return pixels.astype(np.float32) / np.float32(MAX_VALUE[pixels.dtype.name])


def from_unit(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Codes of values in [0, 1]: floor(value * max + 1/2), clipped to [0, max]; for float32, the values unchanged.

    ValueError for NaN, which has no code.

    >>> from_unit(np.array([-1.0, 0.0, 0.5, 1.0, 7.0]), np.uint8).tolist()
    [0, 0, 128, 255, 255]
    """
    dtype = np.dtype(dtype)
    if dtype.name not in MAX_VALUE:
        raise ValueError(f"dtype={dtype} is not uint8, uint16 or float32")
    values = np.asarray(values)
    if dtype.kind == "f":
        return values.astype(dtype)
    if values.dtype.name not in ("float32", "float64"):
        values = values.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {values.size} values are NaN and have no {dtype} code")
    return np.floor(np.clip(values, 0, 1) * MAX_VALUE[dtype.name] + 0.5).astype(dtype)
