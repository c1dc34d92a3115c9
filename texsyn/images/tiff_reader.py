"""TIFF pictures: by tifffile where it can decode by itself, else by Pillow's libtiff.

tifffile keeps every depth, float samples and up to 16 channels, but needs a further package for LZW, JPEG and the like,
and unpacks deflated strips without a bound: bombs are found here before it begins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from texsyn.images.picture import MODES, InputError, Picture, check_limit, from_array
from texsyn.images.pillow_reader import ORIENTATION, read_pillow, turn, unpremultiplied


def read_tiff(file: BinaryIO, max_pixels: int) -> Picture:
    """The first page of a TIFF: by tifffile where that needs no further package, else by Pillow's libtiff."""
    import logging

    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints reach us as exceptions
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages[0]
        notes = (f"only the first of {len(tiff.pages)} pages is used",) if len(tiff.pages) > 1 else ()
        channels = page.samplesperpixel
        check_limit(page.imagelength, page.imagewidth, channels, max_pixels)
        if page.imagedepth != 1:
            raise InputError(f"is a TIFF volume of depth {page.imagedepth}; give a flat picture")
        plain = page.compression in (1, 8, 32773, 32946) and page.photometric in (0, 1, 2)
        whole = page.dtype is not None and page.dtype.itemsize * 8 == page.bitspersample
        alone = plain and whole and (page.photometric != 0 or page.dtype.kind == "u")
        icc, orientation = page.tags.get(34675), page.tags.get(ORIENTATION)
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
            picture = read_pillow(file, "TIFF", max_pixels)
        except SyntaxError:  # Pillow's word for a layout that it does not know
            raise undecoded from None
        _, turn_note = turn(picture.pixels, orientation.value if orientation else 1)
        return replace(picture, notes=notes + picture.notes + turn_note)
    pixels, turn_note = turn(pixels, orientation.value if orientation else 1)
    profile = bytes(icc.value) if icc and isinstance(icc.value, bytes) else None
    return from_array(pixels, mode=mode, icc_profile=profile, notes=notes + alpha_notes + turn_note)


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
        return pixels, MODES[n_colours], notes
    meaning = int(page.extrasamples[0]) if page.extrasamples else 0
    if n_extra > 1 or (meaning == 0 and n_colours == 1):
        return pixels, "multi", notes
    if meaning == 0:
        notes = ("the fourth channel, whose meaning the file does not say, is taken as alpha",)
    if meaning == 1:
        pixels, notes = unpremultiplied(pixels), ("colours divided by alpha, which the file had multiplied in",)
    return pixels, MODES[n_colours + 1], notes


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
