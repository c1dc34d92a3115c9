"""Mirrored, turned, scaled and rotated versions of a picture.

Mirrors and quarter turns (the symmetries of the square) move pixels and change none, so a synthesised picture can be
traced back through them (`unturned`). Any other angle or scale has to be resampled: a Gaussian takes out what a smaller
picture cannot hold, cubic splines find the values between pixels (Unser 1999, "Splines: a perfect fit").

A tangent-space normal map holds a vector in each pixel's first three channels: x right, y up (OpenGL's convention, or
down by DirectX's, `y_down`), z out of the surface. Turning the picture has to turn the vectors with it. The two
conventions agree on mirrors and half turns; a quarter turn takes their vectors opposite ways round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from texsyn.images.picture import MAX_PIXELS, MAX_VALUE, Picture, Size, check_limit, from_unit, to_unit


class Element(NamedTuple):
    """A symmetry of the square: first mirrored left to right, or not, then quarter turns counter-clockwise, 0 to 3."""

    quarter_turns: int = 0
    mirrored: bool = False


IDENTITY = Element()
MIRROR_X = Element(0, True)  # left becomes right
MIRROR_Y = Element(2, True)  # top becomes bottom

#: what may be done to an exemplar, by name; the identity always comes first
SYMMETRIES: dict[str, tuple[Element, ...]] = {
    "none": (IDENTITY,),
    "mirror-x": (IDENTITY, MIRROR_X),
    "mirror-y": (IDENTITY, MIRROR_Y),
    "mirrors": (IDENTITY, MIRROR_X, MIRROR_Y, Element(2)),
    "turns": tuple(Element(k) for k in range(4)),
    "all": tuple(Element(k, mirrored) for mirrored in (False, True) for k in range(4)),
}

MIN_SCALE, MAX_SCALE = 1 / 16, 16.0
REACH = 3  # pixels that a value between pixels depends on, in each direction: a spline's weight beyond is below 1 %
TRUNCATE = 3.0  # standard deviations of the Gaussian that are summed
BLUR = 0.5  # pixels of the smaller picture: a wave as long as one of them, which it sees as flat, is damped to 3 %

NORMAL_TOLERANCE = 0.1  # of a decoded vector's length: survives JPEG and smaller levels of a map
NORMAL_SHARE = 0.9  # of the pixels that must decode to unit vectors; noise reaches 0.15
LEAST_Z = 0.7  # of mean z to mean length: greys that decode to unit vectors have 1 / sqrt(3) = 0.577, bluish ones more


# ------------------------------------------------------------------------------------------ mirrors and quarter turns


def inverse(element: tuple[int, bool]) -> Element:
    """The element that undoes it.

    >>> inverse(Element(1)), inverse(Element(1, True))
    (Element(quarter_turns=3, mirrored=False), Element(quarter_turns=1, mirrored=True))
    """
    quarter_turns, mirrored = element
    return Element(quarter_turns % 4, True) if mirrored else Element(-quarter_turns % 4)


def turned(picture: Picture, element: tuple[int, bool], *, normal: bool = False, y_down: bool = False) -> Picture:
    """The picture mirrored and turned; its pixels are moved and keep their values, palette and colour profile.

    normal: the first three channels are vectors, which are mirrored and turned along. A component that changes its
    sign goes from code c to max - c, from c to -c in floats that are vectors themselves, to 1 - c in floats that hold
    (vector + 1) / 2; turning back restores every bit, but for floats of the last kind that are no multiple of 2^-24.
    ValueError when normal is asked of fewer than three channels.

    >>> turned(Picture(np.array([[[1], [2]]], np.uint8), "L"), Element(1)).pixels[..., 0].tolist()
    [[2], [1]]
    """
    pixels, palette = picture.pixels, picture.palette
    if normal:
        _require_vectors(picture)
        pixels = _turn_vectors(pixels, element, _negated(pixels), y_down)
        palette = None if palette is None else _turn_vectors(palette, element, _negated(palette), y_down)
    indices = None if picture.indices is None else np.ascontiguousarray(_moved(picture.indices, element))
    return replace(picture, pixels=_moved(pixels, element), palette=palette, indices=indices)


def _moved(a: np.ndarray, element: tuple[int, bool]) -> np.ndarray:
    """A view of a (h, w, ...), mirrored and turned."""
    quarter_turns, mirrored = element
    return np.rot90(a[:, ::-1] if mirrored else a, quarter_turns % 4)


def _turn_vectors(
    values: np.ndarray, element: tuple[int, bool], negated: Callable[[np.ndarray], np.ndarray], y_down: bool
) -> np.ndarray:
    """A copy of values (..., c >= 3), their vectors mirrored and turned where they are."""
    quarter_turns, mirrored = element
    x, y = values[..., 0], values[..., 1]
    if mirrored:
        x = negated(x)
    for _ in range((-quarter_turns if y_down else quarter_turns) % 4):
        x, y = negated(y), x
    out = values.copy()
    out[..., 0], out[..., 1] = x, y
    return out


def _negated(pixels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """How a component of these vectors changes its sign."""
    if _signed(pixels):
        return np.negative
    return lambda a: a.dtype.type(MAX_VALUE[a.dtype.name]) - a


def unturned(at: np.ndarray, element: tuple[int, bool], size: Size) -> np.ndarray:
    """Where the pixels at of the turned picture are in the original.

    at (..., 2) integers holding (row, column), size the original's. The other way round is
    unturned(at, inverse(element), size of the turned picture).

    >>> unturned(np.array([0, 0]), Element(1), Size(3, 5)).tolist()  # a turn brings up the right upper corner
    [0, 4]
    """
    assert at.shape[-1] == 2, at.shape
    quarter_turns, mirrored = element
    row, column = at[..., 0], at[..., 1]
    last_row, last_column = size.height - 1, size.width - 1
    row, column = (
        (row, column),
        (column, last_column - row),
        (last_row - row, last_column - column),
        (last_row - column, row),
    )[quarter_turns % 4]
    return np.stack([row, last_column - column if mirrored else column], -1).astype(at.dtype, copy=False)


# -------------------------------------------------------------------------------------------------- scale and rotation


def resampled(
    picture: Picture, *, scale: float = 1.0, degrees: float = 0.0, normal: bool = False, y_down: bool = False
) -> tuple[Picture, np.ndarray]:
    """The picture with what it shows scaled, and rotated counter-clockwise; and which of its pixels are whole.

    The result holds all of the rotated picture; its mask (h, w) bool is True where a pixel was made of the original
    alone (what lies outside could change it by less than 1 % of the range). Elsewhere the border's colours are
    continued outwards. Depth and channels are kept and colours weighted by alpha; values are cut to each channel's
    range, which splines overshoot; a palette picture becomes RGB or RGBA, which is noted. Multiples of 90 degrees at
    scale 1 are exact.

    normal: the first three channels are vectors, which are rotated along and made unit vectors again: within 1e-6 for
    floats, within sqrt(3) / max_value (half a code in each component) for integers. Slopes keep their angle.

    ValueError for a scale outside 1/16..16 or an angle that is no number; InputError when it would grow too large.
    """
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise ValueError(f"scale={scale} is not a number from 1/16 to 16")
    if not math.isfinite(degrees):
        raise ValueError(f"degrees={degrees} is not a finite number")
    if normal:
        _require_vectors(picture)
    turns, rest = divmod(degrees % 360, 90)
    if scale == 1 and rest == 0:
        out = turned(picture, Element(int(turns) % 4), normal=normal, y_down=y_down)
        return out, np.ones(out.pixels.shape[:2], bool)
    grid = _Grid(picture.size, scale, degrees)
    check_limit(grid.height, grid.width, picture.channels, MAX_PIXELS)
    made = _vectors(picture, grid, degrees, y_down) if normal else _colours(picture, grid)
    notes = picture.notes
    if picture.indices is not None:
        notes += (f"the palette was given up for {picture.mode}: resampling makes new colours",)
    return replace(picture, pixels=made, palette=None, indices=None, notes=notes), grid.whole()


class _Grid:
    """Which point of the original each pixel of the scaled and rotated picture is."""

    def __init__(self, size: Size, scale: float, degrees: float) -> None:
        self.size, self.scale = size, scale
        c, s = _cos_sin(degrees)
        # seen on the screen, where rows go down: (row, column) of the original from (row, column) of the result
        self.matrix = np.array([[c, s], [-s, c]]) / scale
        self.height = _ceil(scale * (size.height * abs(c) + size.width * abs(s)))
        self.width = _ceil(scale * (size.width * abs(c) + size.height * abs(s)))
        centre = np.array([(size.height - 1) / 2, (size.width - 1) / 2])
        self.offset = centre - self.matrix @ np.array([(self.height - 1) / 2, (self.width - 1) / 2])
        self.sigma = BLUR * math.sqrt(max(0.0, 1 / scale**2 - 1))

    def sample(self, channel: np.ndarray) -> np.ndarray:
        """(height, width) float32 of a (h, w) channel."""
        from scipy import ndimage

        values = channel.astype(np.float32)
        if self.sigma:
            values = ndimage.gaussian_filter(values, self.sigma, mode="nearest", truncate=TRUNCATE)
        shape = (self.height, self.width)
        return ndimage.affine_transform(values, self.matrix, self.offset, shape, order=3, mode="nearest")

    def whole(self) -> np.ndarray:
        """(height, width) bool: which pixels were made of the original alone."""
        margin = REACH + int(TRUNCATE * self.sigma + 0.5)
        rows, columns = np.arange(self.height)[:, None], np.arange(self.width)[None, :]
        inside = np.ones((self.height, self.width), bool)
        for axis, side in enumerate((self.size.height, self.size.width)):
            at = self.matrix[axis, 0] * rows + self.matrix[axis, 1] * columns + self.offset[axis]
            inside &= (at >= margin) & (at <= side - 1 - margin)
        return inside


def _cos_sin(degrees: float) -> tuple[float, float]:
    """Cosine and sine, exact for quarter turns."""
    turns, rest = divmod(degrees % 360, 90)
    if rest == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(turns) % 4]
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


def _ceil(side: float) -> int:
    return max(1, math.ceil(side - 1e-6))  # rounding must not add a row


def _colours(picture: Picture, grid: _Grid) -> np.ndarray:
    """The pixels on the grid, each channel within its range, colours weighted by alpha."""
    pixels = picture.pixels
    out = np.empty((grid.height, grid.width, picture.channels), pixels.dtype)
    alpha = pixels[..., -1].astype(np.float32).clip(min=0) if picture.has_alpha else np.ones(1, np.float32)
    weighted = alpha.min() < alpha.max()
    if weighted:
        alpha /= alpha.max()
        weight = grid.sample(alpha)
        visible = weight > 1e-3  # nobody sees the colour of the others
    for k in range(picture.channels):
        values = grid.sample(pixels[..., k])
        if weighted and k < picture.channels - 1:
            np.divide(grid.sample(pixels[..., k] * alpha), weight, out=values, where=visible)
        out[..., k] = _stored(values, pixels[..., k])
    return out


def _stored(values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """values in the range and the number type of the original channel: splines overshoot."""
    values = values.clip(original.min(), original.max())
    return np.floor(values + 0.5).astype(original.dtype) if original.dtype.kind == "u" else values


# ------------------------------------------------------------------------------------------------------------- normals


def looks_like_normals(picture: Picture) -> bool:
    """Whether an RGB or RGBA picture is a normal map by its content.

    At least 90 % of the pixels that can be seen decode to vectors of length 1 +- 0.1 with z > 0, and their mean
    leans by 45 degrees at most. A flat picture of the colour (128, 128, 255) is one: a smooth surface.

    >>> looks_like_normals(Picture(np.full((4, 4, 3), (128, 128, 255), np.uint8), "RGB"))
    True
    """
    if picture.mode not in ("RGB", "RGBA"):
        return False
    step = 1 + math.isqrt(picture.size.pixels // 2**20)  # a million pixels tell enough
    pixels = picture.pixels[::step, ::step].reshape(-1, picture.channels)
    if picture.has_alpha:
        pixels = pixels[pixels[:, 3] > 0]
    if not len(pixels):
        return False
    vectors = _decoded(pixels)
    length, z = np.linalg.norm(vectors, axis=-1), vectors[:, 2]
    share = np.mean((np.abs(length - 1) <= NORMAL_TOLERANCE) & (z > 0))
    return bool(share >= NORMAL_SHARE and z.mean() >= LEAST_Z * length.mean())


def _require_vectors(picture: Picture) -> None:
    if picture.channels < 3:
        raise ValueError(f"{picture.name}: a normal map has three channels or more, not {picture.channels}")


def _signed(pixels: np.ndarray) -> bool:
    """Whether float pixels are the vectors themselves, in [-1, 1], and not (vector + 1) / 2.

    They are when a value is negative, or when they are unit vectors as they stand and not after decoding: all of a
    tilted plane may lie in the positive octant.
    """
    if pixels.dtype.kind != "f":
        return False
    vectors = pixels[..., :3].astype(np.float64)
    if vectors.min() < 0:
        return True
    as_they_stand, decoded = (np.abs(np.linalg.norm(v, axis=-1) - 1).mean() for v in (vectors, 2 * vectors - 1))
    return bool(as_they_stand <= NORMAL_TOLERANCE < decoded)


def _decoded(pixels: np.ndarray) -> np.ndarray:
    """The vectors (..., 3) float32, not normalised."""
    vectors = to_unit(pixels[..., :3])
    return vectors if _signed(pixels) else 2 * vectors - 1


def _vectors(picture: Picture, grid: _Grid, degrees: float, y_down: bool) -> np.ndarray:
    """The pixels on the grid with vectors rotated and of unit length; a fourth channel (height, often) by itself."""
    signed, n = _signed(picture.pixels), _decoded(picture.pixels)
    made = np.stack([grid.sample(n[..., k]).clip(n[..., k].min(), n[..., k].max()) for k in range(3)], -1)
    c, s = _cos_sin(-degrees if y_down else degrees)
    made[..., :2] = made[..., :2] @ np.array([[c, s], [-s, c]], np.float32)  # (x c - y s, x s + y c)
    length = np.linalg.norm(made, axis=-1, keepdims=True)
    flat = np.array([0, 0, 1], np.float32)  # where opposite vectors met and left nothing
    made = np.where(length > 1e-6, made / np.maximum(length, 1e-6), flat)
    out = np.empty((grid.height, grid.width, picture.channels), picture.pixels.dtype)
    out[..., :3] = made if signed else from_unit((made + 1) / 2, picture.pixels.dtype)
    for k in range(3, picture.channels):
        out[..., k] = _stored(grid.sample(picture.pixels[..., k]), picture.pixels[..., k])
    return out
