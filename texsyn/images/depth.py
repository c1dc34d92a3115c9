"""Depth on request: 8 or 16 bit codes, 16 or 32 bit floats. Without a request, depth out = depth in.

Full intensity is the code 255, the code 65535 and the float 1, as `to_unit` has it; nothing else about the values is
interpreted, alpha included. What a change of depth costs stands in the picture's notes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from texsyn.images.picture import MAX_VALUE, InputError, Picture, from_unit

DEPTHS = ("auto", "8", "16", "f16", "f32")
_CODES = {"8": "uint8", "16": "uint16"}
_MAX_HALF = 65504.0  # the largest finite 16-bit float


def convert_depth(picture: Picture, depth: str) -> Picture:
    """The picture with its values as 8 or 16 bit codes ("8", "16") or 16 or 32 bit floats ("f16", "f32").

    "auto", or the depth that the picture has, gives the same picture. Codes become the nearest codes,
    floor(code * new_max / max + 1/2): 8 to 16 bits is exactly times 257, and back gives every code again. Codes become
    floats as code / max. Floats become codes by `from_unit`, clipped to [0, 1]; what was clipped or rounded is
    noted. 16-bit floats are float32 in memory with half=True. A palette does not survive a change.

    ValueError for another word; InputError for a value beyond 65504 that is to be a 16-bit float.

    >>> grey = Picture(np.array([[[0], [128], [255]]], np.uint8), "L")
    >>> convert_depth(grey, "16").pixels.ravel().tolist()
    [0, 32896, 65535]
    >>> convert_depth(Picture(np.array([[[-1.0], [0.5]]], np.float32), "L"), "8").notes
    ('1 of 2 values (50%) lay outside 0..1 and were clipped',)
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth={depth!r} is not known; accepted are {', '.join(DEPTHS)}")
    if depth in ("auto", depth_of(picture)):
        return picture
    if depth in _CODES:
        pixels, notes = _to_codes(picture.pixels, np.dtype(_CODES[depth]))
    else:
        pixels, notes = _to_floats(picture.pixels, half=depth == "f16")
    if picture.palette is not None:
        notes += ("the palette was left out: it goes with 8 bits alone",)
    notes = picture.notes + notes
    return replace(picture, pixels=pixels, palette=None, indices=None, notes=notes, half=depth == "f16")


def depth_of(picture: Picture) -> str:
    """ "8", "16", "f16" or "f32": the word of `convert_depth` that leaves this picture as it is."""
    return {"uint8": "8", "uint16": "16", "float32": "f16" if picture.half else "f32"}[picture.pixels.dtype.name]


def _to_codes(pixels: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, tuple[str, ...]]:
    if pixels.dtype.kind == "f":
        n_outside = int(((pixels < 0) | (pixels > 1)).sum())
        return from_unit(pixels, dtype), _share(n_outside, pixels.size, "lay outside 0..1 and were clipped")
    old, new = int(MAX_VALUE[pixels.dtype.name]), int(MAX_VALUE[dtype.name])
    codes = (pixels.astype(np.uint32) * (2 * new) + old) // (2 * old)  # below 2^26, and no ties: 257 is odd
    return codes.astype(dtype), ()


def _to_floats(pixels: np.ndarray, *, half: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    values = pixels.astype(np.float32) / np.float32(MAX_VALUE[pixels.dtype.name])
    if not half:
        return values, ()
    if np.abs(values).max() > _MAX_HALF:
        raise InputError(f"values up to {np.abs(values).max():.6g} do not fit 16-bit floats, which end at 65504")
    rounded = values.astype(np.float16).astype(np.float32)
    lost = rounded != values if pixels.dtype.kind == "f" else from_unit(rounded, pixels.dtype) != pixels
    return rounded, _share(int(lost.sum()), pixels.size, "were rounded to a 16-bit float")


def _share(n: int, of: int, what: str) -> tuple[str, ...]:
    return (f"{n} of {of} values ({100 * n / of:.3g}%) {what}",) if n else ()


def to_half(pixels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """float16 of float32 values, for a file: the nearest, and ±65504 with a note for what lies beyond.

    >>> halves, notes = to_half(np.array([0.1, 1e6], np.float32))
    >>> halves.tolist(), notes
    ([0.0999755859375, 65504.0], ('1 of 2 values (50%) lay beyond 65504 and were clipped',))
    """
    n_beyond = int((np.abs(pixels) > _MAX_HALF).sum())
    halves = np.clip(pixels, -_MAX_HALF, _MAX_HALF).astype(np.float16)
    return halves, _share(n_beyond, pixels.size, "lay beyond 65504 and were clipped")
