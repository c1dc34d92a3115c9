"""From any source to a `Picture`: a path, standard input, bytes, an array, or one of scikit-image's pictures.

Any source ends in a `Picture` or in one `InputError` of one line. The file's first bytes choose the decoder, never its
name; size is judged from the header before anything is decoded. TIFF goes to `tiff_reader`, OpenEXR
to `exr`, all else to `pillow_reader`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from texsyn.images.exr import read_exr
from texsyn.images.picture import MAX_PIXELS, InputError, Picture, check_limit, from_array, printable, reason
from texsyn.images.pillow_reader import read_pillow
from texsyn.images.tiff_reader import read_tiff

MAX_STREAM_BYTES = 2**30  # read from standard input

_READABLE = "PNG, JPEG, WebP, TIFF, BMP, GIF and PPM/PGM/PBM/PFM, and OpenEXR with texsyn[hdr]"
_MAGIC = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PPM": rb"P[1-6f]\s",
    "EXR": rb"\x76\x2f\x31\x01",
}
_OTHER_MAGIC = {  # named only to say a better sentence
    "a PDF document": rb"%PDF",
    "a PostScript (EPS) file": rb"%!PS|\xc5\xd0\xd3\xc6",
    "an SVG drawing or other XML": rb"\s*(\xef\xbb\xbf)?\s*<(\?xml|svg|!DOCTYPE|!--)",
    "a Photoshop file": rb"8BPS",
    "a HEIC or AVIF file": rb"....ftyp",
    "a JPEG 2000 file": rb"\0\0\0\x0cjP|\xff\x4f\xff\x51",
    "a ZIP archive": rb"PK\x03\x04",
}


def load(source: Any, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in `source`: a path, "-" (standard input), the bytes of a file, an array, or "skimage:NAME".

    Files are PNG, JPEG, WebP, TIFF, BMP, GIF, PPM/PGM/PBM/PFM and, with the package of texsyn[hdr], OpenEXR. Arrays are
    (h, w) or (h, w, c), bool, integer or float. "skimage:grass" is a picture that an installed scikit-image carries,
    "skimage:grass:256" its central 256x256 pixels. The depth and the channels are the file's (16-bit floats are float32
    in memory, see `Picture`); of an animation the first frame; EXIF rotation is applied. Pictures of more than
    `max_pixels` pixels (or of more than four times as many samples) are refused by their header.

    InputError, one line that names the source, for everything that is not such a picture.

    >>> grey = load(np.zeros((2, 3), np.uint16))
    >>> grey.mode, grey.size, grey.max_value
    ('L', Size(height=2, width=3), 65535.0)
    """
    if isinstance(source, np.ndarray):
        with _named("array"):
            picture = from_array(source.copy())  # ours: the caller may go on changing theirs
            check_limit(picture.size.height, picture.size.width, picture.channels, max_pixels)
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
    with opened(text) as file:
        return _decode(file, printable(os.path.basename(text)), printable(text), max_pixels)


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Put the source's name in front of the InputErrors raised inside, which speak of the picture alone."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The regular file at `path`; anything else (a pipe would wait, a device never ends) is refused unopened."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):
            what = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
            raise InputError(f"{printable(path)}: is {what}; give a picture file, or - for standard input")
        file = open(path, "rb")  # noqa: SIM115 (closed below, where the reader's errors must pass untouched)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, InputError):
            raise
        raise InputError(f"{printable(path)}: cannot be read ({reason(error)})") from None
    with file:
        yield file


def _standard_input() -> BinaryIO:
    """Standard input, whole, if it starts like a picture: an endless stream is given up at its first bytes."""
    stream = sys.stdin.buffer
    data = stream.read(64)
    if format_of(data) is not None:
        data += stream.read(MAX_STREAM_BYTES + 1 - len(data))
    if len(data) > MAX_STREAM_BYTES:
        raise InputError(f"standard input: is longer than the accepted {MAX_STREAM_BYTES} bytes; give the file's path")
    return io.BytesIO(data)


def format_of(head: bytes) -> str | None:
    """The short name of the format that a file\'s first bytes announce, or None."""
    return next((name for name, magic in _MAGIC.items() if re.match(magic, head, re.DOTALL)), None)


def _decode(file: BinaryIO, name: str, where: str, max_pixels: int) -> Picture:
    """The picture in an open file. `where` names it in errors, `name` in the picture."""
    head = file.read(64)
    kind = format_of(head)
    if kind is None:
        other = (what for what, magic in _OTHER_MAGIC.items() if re.match(magic, head, re.DOTALL))
        what = next(other, "not a picture that is known here") if head else "empty"
        raise InputError(f"{where}: is {what}; accepted are {_READABLE}")
    with warnings.catch_warnings(), _named(where):
        warnings.simplefilter("ignore")
        try:
            own = {"TIFF": read_tiff, "EXR": read_exr}.get(kind)
            picture = own(file, max_pixels) if own else read_pillow(file, kind, max_pixels)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # decoders meet hostile bytes with any exception there is
            raise InputError(f"the {kind} file is broken or cut off ({reason(error)})") from None
    return replace(picture, name=name)


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
        raise InputError(f"{printable(text)}: scikit-image carries no such picture; accepted are {accepted}")
    with opened(os.fspath(found[name])) as file:
        picture = _decode(file, f"skimage:{name}", printable(text), max_pixels)
    if not side:
        return picture
    height, width = picture.pixels.shape[:2]
    if not re.fullmatch(r"[0-9]{1,6}", side) or not 1 <= int(side) <= min(height, width):
        raise InputError(f"{printable(text)}: the side of the crop must be a number from 1 to {min(height, width)}")
    top, left = (height - int(side)) // 2, (width - int(side)) // 2
    window = np.s_[top : top + int(side), left : left + int(side)]
    indices = None if picture.indices is None else picture.indices[window]
    return replace(picture, pixels=picture.pixels[window].copy(), indices=indices, name=text)
