"""Maps of source coordinates as files, and the pictures that they cut out of other pictures.

A method that copies writes a picture as a map: (row, column) in the exemplar for every pixel, and the exemplar's number
where there are several. The map cuts the same picture out of anything of the exemplar's size: its normals, its
roughness, its labels, at their own depth and exactly.

Three formats. `.npy` holds 32-bit integers and nothing else. `.tif` and `.exr` (with texsyn[hdr]) hold float32
channels row, column and exemplar, which node editors read and which are exact below 2^24, and the exemplars' sizes,
where our pictures have their recipe.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from texsyn.images.loading import load, opened
from texsyn.images.picture import MAX_PIXELS, InputError, OutputError, Picture, Size, check_limit, printable, reason
from texsyn.images.recipe_text import read_recipe
from texsyn.images.saving import save, write_atomically

EXTENSIONS = (".npy", ".tif", ".tiff", ".exr")
CHANNELS = ("row", "column", "exemplar")
MAX_EXEMPLARS = 4096
_KEY = "texsyn_coordinates"  # of the entry in the recipe
_FLOATS_END = 2**24  # from here on not every whole number is a float32
_NUMPY, _TIFF, _EXR = b"\x93NUMPY", (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"), b"\x76\x2f\x31\x01"


# ------------------------------------------------------------------------------------------------------ saving


def save_coordinates(
    path: str | os.PathLike[str],
    source: np.ndarray,
    *,
    sizes: Sequence[Size | tuple[int, int]],
    overwrite: bool = False,
) -> None:
    """Write a map (h, w, 2) of one exemplar or (h, w, 3) of several; sizes are theirs. All or nothing, as `save`.

    The extension says the format: .npy, .tif, .tiff or .exr. ValueError for another one, for coordinates outside of
    the exemplars, or too large for a float; OutputExists and OutputError as `save`.
    """
    text = os.fsdecode(path)
    extension = check_extension(text)
    held = _sizes(sizes)
    try:
        checked = _whole_numbers(np.asarray(source))
        _check_sizes(held, checked)
        check_inside(checked, held)
    except InputError as error:
        raise ValueError(f"source: {error}") from None
    if extension == ".npy":
        buffer = BytesIO()
        np.save(buffer, checked.astype("<i4", copy=False), allow_pickle=False)
        write_atomically(path, buffer.getvalue(), overwrite=overwrite)
        return
    if checked.max() >= _FLOATS_END:
        raise ValueError(f"source: {checked.max()} is not below 2^24, as floats hold it; save it as .npy")
    about = {_KEY: {"channels": CHANNELS[: checked.shape[2]], "sizes": [[s.height, s.width] for s in held]}}
    floats = checked.astype(np.float32)
    if extension == ".exr":
        write_atomically(path, _exr(floats, about), overwrite=overwrite)
    else:
        save(Picture(floats, "multi"), path, recipe=about, overwrite=overwrite)


def check_extension(path: str) -> str:
    """The extension of a file that a map can be saved to, or ValueError; ask before the long work."""
    from texsyn.images import exr

    extension = os.path.splitext(path)[1].lower()
    if extension not in EXTENSIONS:
        raise ValueError(f"{printable(path)}: a map of coordinates is saved as {', '.join(EXTENSIONS)}")
    if extension == ".exr" and not exr.is_installed():
        raise ValueError(f"{printable(path)}: {exr.MISSING}")
    return extension


def _sizes(sizes: Sequence[Size | tuple[int, int]]) -> tuple[Size, ...]:
    return tuple(s if isinstance(s, Size) else Size(*s) for s in sizes)


def _exr(floats: np.ndarray, about: dict[str, Any]) -> bytes:
    """An OpenEXR file of named channels; the package writes to paths only."""
    import json

    import OpenEXR

    planes = {name: np.ascontiguousarray(floats[..., k]) for k, name in enumerate(CHANNELS[: floats.shape[2]])}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "texsyn": json.dumps(about)}
    try:
        with tempfile.TemporaryDirectory(prefix="texsyn-") as folder:
            path = os.path.join(folder, "map.exr")
            OpenEXR.File(header, planes).write(path)
            with open(path, "rb") as file:
                return file.read()
    except (OSError, RuntimeError) as error:  # RuntimeError: the package's word for all that the system refuses
        raise OutputError(f"a temporary OpenEXR file cannot be written ({reason(error)})") from None


# ----------------------------------------------------------------------------------------------------- loading


def load_coordinates(path: str | os.PathLike[str]) -> tuple[np.ndarray, tuple[Size, ...] | None]:
    """The map in a file, (h, w, 2 or 3) int32, and the sizes of its exemplars, or None where the file has none (.npy).

    The first bytes choose the format. InputError, one line that names the file, for everything that is no such map:
    cut off or too large, of another type or shape; values that are negative, fractional or no numbers, or that lie
    outside of the sizes in the file.
    """
    text = os.fsdecode(path)
    shown = printable(text)
    with opened(text) as file:
        head = file.read(8)
        values = _read_npy(file, shown) if head.startswith(_NUMPY) else None
    if values is None and not head.startswith((*_TIFF, _EXR)):
        raise InputError(f"{shown}: is no map of coordinates; accepted are {', '.join(EXTENSIONS)}")
    sizes = None
    if values is None:
        values = _read_floats(text, shown, head.startswith(_EXR))
        sizes = _read_sizes(text, shown)
    try:
        source = _whole_numbers(values)
        if sizes is not None:
            _check_sizes(sizes, source)
            check_inside(source, sizes)
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None
    return source, sizes


def _read_npy(file: BinaryIO, shown: str) -> np.ndarray:
    """The array of a .npy file, whose size is judged from the header, before anything is allocated."""
    try:
        file.seek(0)
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise InputError(f"is a .npy file of version {version}, which is not known here")
        first = version == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        _check_kind(shape, dtype)
        if dtype.kind not in "iu":
            raise InputError(f"holds values of type {dtype}; a map of coordinates in .npy has 32-bit integers")
        needed = shape[0] * shape[1] * shape[2] * dtype.itemsize
        there = os.fstat(file.fileno()).st_size - file.tell()
        if there < needed:
            raise InputError(f"is cut off: it has {there} of {needed} bytes of values")
        file.seek(0)
        return np.load(file, allow_pickle=False)
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # NumPy evaluates the header and meets anything
        raise InputError(f"{shown}: the .npy file is broken or cut off ({reason(error)})") from None


def _read_floats(path: str, shown: str, is_exr: bool) -> np.ndarray:
    """The channels (row, column[, exemplar]) of a float picture."""
    picture = load(path)
    if picture.pixels.dtype.kind != "f" or picture.half:
        what = "16-bit floats" if picture.half else f"{picture.pixels.dtype} values"
        raise InputError(f"{shown}: holds {what}; a map of coordinates has 32-bit floats here")
    if picture.channels not in (2, 3):
        raise InputError(f"{shown}: has {picture.channels} channels; a map of coordinates has 2 or 3")
    if not is_exr:
        return picture.pixels
    names = CHANNELS[: picture.channels]
    by_name = sorted(names)  # as the reader arranges channels that are no colours, with a note that lists them
    if not any(f"channels {', '.join(by_name)} " in note for note in picture.notes):
        raise InputError(f"{shown}: its channels are not called {', '.join(names)}")
    return picture.pixels[..., [by_name.index(name) for name in names]]


def _read_sizes(path: str, shown: str) -> tuple[Size, ...] | None:
    """The sizes of the exemplars that a TIFF or OpenEXR file names, or None if it does not."""
    about = (read_recipe(path) or {}).get(_KEY)
    if about is None:
        return None
    sizes = about.get("sizes") if isinstance(about, dict) else None
    if not isinstance(sizes, list) or not 1 <= len(sizes) <= MAX_EXEMPLARS:
        raise InputError(f"{shown}: the sizes of the exemplars in it make no sense")
    try:
        return tuple(Size(height, width) for height, width in sizes)
    except (TypeError, ValueError):
        raise InputError(f"{shown}: the sizes of the exemplars in it make no sense") from None


# ----------------------------------------------------------------------------------------------- what a map must be


def _check_kind(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) != 3 or shape[2] not in (2, 3):
        raise InputError(f"has the shape {shape}; a map of coordinates is (height, width, 2 or 3)")
    if dtype.kind not in "iuf":
        raise InputError(f"holds values of type {dtype}; coordinates are whole numbers")
    check_limit(shape[0], shape[1], shape[2], MAX_PIXELS)


def _whole_numbers(values: np.ndarray) -> np.ndarray:
    """values as int32, or InputError: the wrong shape, or a value that is no coordinate."""
    _check_kind(values.shape, values.dtype)
    if values.dtype.kind == "f":
        _refuse(~np.isfinite(values), values, "is not finite")
        _refuse(values != np.floor(values), values, "is no whole number")
        _refuse(values >= _FLOATS_END, values, "is not below 2^24, as floats hold it")
    _refuse(values < 0, values, "is negative")
    _refuse(values > np.iinfo(np.int32).max, values, "is larger than any picture")
    return np.ascontiguousarray(values, dtype=np.int32)


def _refuse(bad: np.ndarray, values: np.ndarray, why: str) -> None:
    """InputError that names the first bad value."""
    if bad.any():
        y, x, k = np.unravel_index(int(bad.argmax()), bad.shape)
        raise InputError(f"the {CHANNELS[k]} {values[y, x, k]} at row {y}, column {x} of the map {why}")


def _check_sizes(sizes: Sequence[Size], source: np.ndarray) -> None:
    if not sizes or len(sizes) > MAX_EXEMPLARS:
        raise InputError(f"{len(sizes)} sizes of exemplars were given; 1 to {MAX_EXEMPLARS} are accepted")
    if source.shape[2] == 2 and len(sizes) != 1:
        raise InputError(f"{len(sizes)} sizes were given for a map of one exemplar; several need a third channel")


def check_inside(source: np.ndarray, sizes: Sequence[Size]) -> None:
    """InputError, naming the first coordinate of a map (h, w, 2 or 3) that is in none of the exemplars."""
    number = source[..., 2] if source.shape[2] == 3 else np.zeros(source.shape[:2], np.int32)
    heights, widths = (np.array([getattr(s, side) for s in sizes], np.int64) for side in ("height", "width"))
    known = (number >= 0) & (number < len(sizes))
    at = np.where(known, number, 0)
    outside = ~known | (source < 0).any(-1) | (source[..., 0] >= heights[at]) | (source[..., 1] >= widths[at])
    if not outside.any():
        return
    y, x = np.unravel_index(int(outside.argmax()), outside.shape)
    row, column, k = source[y, x, 0], source[y, x, 1], number[y, x]
    where = f"at row {y}, column {x} of the map"
    if not known[y, x]:
        raise InputError(f"the exemplar {k} {where} is none of the {len(sizes)}, which are counted from 0")
    of = f"exemplar {k} of {sizes[k]}" if len(sizes) > 1 else f"a picture of {sizes[k]}"
    raise InputError(f"the coordinate (row {row}, column {column}) {where} is outside of {of}")


# ---------------------------------------------------------------------------------------------------- applying


def apply(
    source: np.ndarray, pictures: Picture | Sequence[Picture], *, sizes: Sequence[Size | tuple[int, int]] | None = None
) -> Picture:
    """The picture that a map (h, w, 2 or 3) cuts out of a picture, or out of several by their number in the map.

    Pixels are copied: depth, mode, palette and colour profile stay. sizes, where known, are those of the exemplars the
    map was made from. Several pictures must agree in mode and type; a palette or profile that they do not share is
    left out, which is noted. InputError for pictures of other sizes, and for coordinates outside of them.

    >>> columns_swapped = np.array([[[0, 1], [0, 0]]])
    >>> apply(columns_swapped, Picture(np.array([[[7], [9]]], np.uint8), "L")).pixels[..., 0].tolist()
    [[9, 7]]
    """
    given = [pictures] if isinstance(pictures, Picture) else list(pictures)
    at = _whole_numbers(np.asarray(source))
    _check_alike(given, None if sizes is None else _sizes(sizes), at.shape[2])
    check_inside(at, [p.size for p in given])
    first = given[0]
    palette, icc_profile, notes = first.palette, first.icc_profile, first.notes
    if any(not _same(palette, p.palette) for p in given):
        palette, notes = None, (*notes, "the palettes of the pictures differ: the result has none")
    if any(p.icc_profile != icc_profile for p in given):
        icc_profile, notes = None, (*notes, "the colour profiles of the pictures differ: the result has none")
    indices = None if palette is None else _cut(at, [p.indices for p in given if p.indices is not None])
    pixels = _cut(at, [p.pixels for p in given])
    half = all(p.half for p in given)
    return replace(
        first, pixels=pixels, icc_profile=icc_profile, palette=palette, indices=indices, notes=notes, half=half
    )


def _check_alike(pictures: Sequence[Picture], sizes: tuple[Size, ...] | None, channels: int) -> None:
    """InputError unless these pictures may stand for the exemplars of a map."""
    wanted = 1 if channels == 2 else max(1, len(pictures)) if sizes is None else len(sizes)
    if len(pictures) != wanted:
        plural = "" if wanted == 1 else "s"
        raise InputError(f"{len(pictures)} pictures were given for a map of {wanted} exemplar{plural}")
    first = pictures[0]
    for p, size in zip(pictures, sizes or [q.size for q in pictures], strict=True):
        if p.size != size:
            raise InputError(f"{p.name}: has {p.size} pixels and the map was made from {size}; give one of that size")
        if (p.mode, p.channels, p.pixels.dtype) != (first.mode, first.channels, first.pixels.dtype):
            raise InputError(
                f"{p.name}: is {p.mode} {p.pixels.dtype} of {p.channels} channels and {first.name} is {first.mode} "
                f"{first.pixels.dtype} of {first.channels}; pictures of one map must be of one kind"
            )


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))


def _cut(at: np.ndarray, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """(h, w, ...): each position's value in the array whose number the map has, or in the only one."""
    if at.shape[2] == 2:
        return arrays[0][at[..., 0], at[..., 1]]
    out = np.empty((*at.shape[:2], *arrays[0].shape[2:]), arrays[0].dtype)
    for k, array in enumerate(arrays):
        here = at[..., 2] == k
        out[here] = array[at[here, 0], at[here, 1]]
    return out
