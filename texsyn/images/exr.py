"""OpenEXR pictures, both ways, by the official package OpenEXR, which is optional: pip install 'texsyn[hdr]'.

Reading. `exr_layout` judges the file and makes a plain one of it before the package sees anything. The package then
decodes in a process of its own: it prints complaints on both standard streams, and what ends it does not end us.

Writing. Float or half channels, ZIP compression, the recipe as string attribute "texsyn".

Numbers are taken and written as they are. OpenEXR files have colours multiplied by alpha; pixels that are copied stay
so, and dividing would lose bits.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any, BinaryIO

import numpy as np

from texsyn.images.depth import to_half
from texsyn.images.exr_layout import Header, judged, read_headers, write_plain
from texsyn.images.picture import InputError, Picture, from_array, reason

MISSING = "OpenEXR needs a further package: pip install 'texsyn[hdr]'"
_MODES = {("Y",): "L", ("Y", "A"): "LA", ("R", "G", "B"): "RGB", ("R", "G", "B", "A"): "RGBA"}
_NAMES = {mode: names for names, mode in _MODES.items()}


def is_installed() -> bool:
    """Whether the package OpenEXR can be imported."""
    try:
        import OpenEXR  # noqa: F401
    except ImportError:
        return False
    return True


# --------------------------------------------------------------------------------------------------------- reading


def read_exr(file: BinaryIO, max_pixels: int) -> Picture:
    """The first part of an OpenEXR file; R, G, B, A / Y, A make colour and grey, any other channels are "multi"."""
    if not is_installed():
        raise InputError(MISSING)
    parts, version = read_headers(file)
    header = judged(parts[0], version, file.tell(), max_pixels)
    notes = (f"only the first of {len(parts)} parts is used",) if len(parts) > 1 else ()
    names = [c.name for c in header.channels]
    order, mode, name_notes = _arranged(names)
    planes = _decoded(file, header)
    pixels, type_notes = _stacked([planes[names.index(name)] for name in order])
    return from_array(pixels, mode=mode, notes=notes + name_notes + type_notes)


def read_text(file: BinaryIO, name: str, limit: int) -> str | None:
    """The text of a string attribute of the file's first part, or None; needs no package. ValueError beyond limit."""
    attribute = read_headers(file)[0][0].get(name)
    if attribute is None or attribute.kind != "string":
        return None
    if attribute.n_bytes > limit:
        raise ValueError(f"its attribute {name!r} has {attribute.n_bytes} bytes, at most {limit} are accepted")
    file.seek(attribute.offset)
    return file.read(attribute.n_bytes).decode("utf-8", "replace")


def _arranged(names: list[str]) -> tuple[list[str], str, tuple[str, ...]]:
    """The names in the picture's order, its mode, and notes.

    >>> _arranged(["B", "G", "R", "Z"])
    (['R', 'G', 'B', 'Z'], 'multi', ('the channels R, G, B, Z are numbered 0 to 3',))
    """
    order = [n for n in "RGBYA" if n in names]
    order += [n for n in names if n not in order]
    if tuple(order) in _MODES:
        return order, _MODES[tuple(order)], ()
    if order == _numbers(len(order)):  # as we write them
        return order, "multi", ()
    if len(order) == 1:
        return order, "L", (f"the channel {order[0]} is taken as grey",)
    return order, "multi", (f"the channels {', '.join(order)} are numbered 0 to {len(order) - 1}",)


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


def _decoded(file: BinaryIO, header: Header) -> list[np.ndarray]:
    """A plane (h, w) a channel, decoded in another process. Costs a copy of the file and of the pixels on disk."""
    n_pixels = header.height * header.width
    seconds = 60 + n_pixels * len(header.channels) // 10**6
    paths = os.pathsep.join(p for p in sys.path if p)
    try:
        with tempfile.TemporaryDirectory(prefix="texsyn-") as folder:
            plain, pixels = os.path.join(folder, "plain.exr"), os.path.join(folder, "pixels")
            with open(plain, "wb") as out:
                write_plain(file, header, out)
            quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            code = subprocess.run(
                [sys.executable, "-P", "-c", _DECODER, plain, pixels],
                env=os.environ | {"PYTHONPATH": paths}, timeout=seconds, check=False, **quiet,
            ).returncode  # fmt: skip
            if code == 3:
                raise InputError("the package OpenEXR cannot be imported by a second Python; install texsyn[hdr] anew")
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
