"""What a texture is made from: sheets of pixels to copy, each a stack of aligned maps.

Idea: a sheet is one exemplar (or a mirrored copy of one) with all its maps: albedo, normals, roughness, height. The
maps are matched together and copied together, so what belongs together stays together. Several sheets make mixtures;
masks say what of a sheet is known and what may be copied. Matching is between 8-bit codes; the pixels that are copied
keep their own depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from texsyn.images import InputError, Picture, Size, to_unit
from texsyn.variants import IDENTITY, Element

MAX_GAIN = 4.0  # of a map in a stack: a nearly flat one must not have its last bit stretched into contrast
MAX_SHEETS = 256  # a pixel's sheet is kept in 8 bits


@dataclass(frozen=True, eq=False)
class Sheet:
    """Aligned maps of one size, and what may be done with each of their pixels.

    known (h, w) bool: False where the pixels mean nothing (a hole). usable (h, w) bool: False where they must not be
    copied; unknown pixels never are. guide (h, w, G) uint8: codes that are matched and never copied. exemplar: the
    number of the exemplar it belongs to; sheets of one exemplar share its part of a mixture. element: how it was turned
    from the exemplar; resampled: its pixels are none of the exemplar's.
    """

    maps: tuple[Picture, ...]
    known: np.ndarray | None = None
    usable: np.ndarray | None = None
    guide: np.ndarray | None = None
    exemplar: int = 0
    element: Element = IDENTITY
    resampled: bool = False

    def __post_init__(self) -> None:
        for other in self.maps[1:]:
            if other.size != self.size:
                raise InputError(
                    f"{other.name} has {other.size} pixels and {self.maps[0].name} has {self.size}; "
                    "the maps of a stack must be of one size"
                )
        for name in ("known", "usable", "guide"):
            found = getattr(self, name)
            if found is not None and found.shape[:2] != (self.size.height, self.size.width):
                raise InputError(
                    f"{self.maps[0].name} has {self.size} pixels and its {name} mask "
                    f"{found.shape[1]}x{found.shape[0]}; they must be of one size"
                )

    @property
    def size(self) -> Size:
        return self.maps[0].size

    @property
    def plain(self) -> bool:
        """Whether all of it is known and may be copied."""
        return self.known is None and self.usable is None


@dataclass(frozen=True, eq=False)
class Material:
    """Sheets to copy from. weights: of each map in matching, 1 by default; 0 copies a map and does not look at it.

    shares: of each exemplar in the picture, adding up to 1, or None to give every patch the same part. Raises
    InputError when sheets do not belong together.
    """

    sheets: tuple[Sheet, ...]
    weights: tuple[float, ...] = ()
    shares: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        first = self.sheets[0]
        if len(self.sheets) > MAX_SHEETS:
            raise InputError(
                f"{len(self.sheets)} exemplars and turned copies of them are to be mixed; at most {MAX_SHEETS} can be"
            )
        for sheet in self.sheets[1:]:
            if len(sheet.maps) != len(first.maps):
                raise InputError(
                    f"{sheet.maps[0].name} comes with {len(sheet.maps)} maps and {first.maps[0].name} with "
                    f"{len(first.maps)}; every exemplar needs the same ones"
                )
            for a, b in zip(first.maps, sheet.maps, strict=True):
                if (a.mode, a.pixels.dtype, a.channels) != (b.mode, b.pixels.dtype, b.channels):
                    raise InputError(
                        f"{b.name} is {b.mode} {b.pixels.dtype} and {a.name} is {a.mode} {a.pixels.dtype}; "
                        "pictures that are mixed must be of one kind"
                    )
        if self.weights and len(self.weights) != len(first.maps):
            raise ValueError(f"{len(self.weights)} weights for {len(first.maps)} maps")
        if any(not 0 <= weight < float("inf") for weight in self.weights):
            raise ValueError(f"weights={self.weights} should be numbers from 0 up")
        if self.weights and max(self.weights) == 0:
            raise ValueError("all weights are 0; at least one map must be matched")
        if self.shares is not None and len(self.shares) != self.n_exemplars:
            raise ValueError(f"{len(self.shares)} shares for {self.n_exemplars} exemplars")

    @property
    def picture(self) -> Picture:
        """The first map of the first sheet: what stands for the material in names and messages."""
        return self.sheets[0].maps[0]

    @property
    def n_exemplars(self) -> int:
        return 1 + max(sheet.exemplar for sheet in self.sheets)

    @property
    def plain(self) -> bool:
        """Whether it is one picture, nothing else."""
        first = self.sheets[0]
        return len(self.sheets) == 1 and len(first.maps) == 1 and first.plain and first.guide is None

    @classmethod
    def of(cls, material: Picture | Material) -> Material:
        """A picture as a material of one sheet; a material itself."""
        return material if isinstance(material, Material) else cls((Sheet((material,)),))

    def codes(self) -> list[np.ndarray]:
        """For each sheet (h, w, C) uint8: what patches are compared on, one range over all sheets for each map."""
        first = self.sheets[0]
        stacked: list[list[np.ndarray]] = [[] for _ in self.sheets]
        weights = self.weights or (1.0,) * len(first.maps)
        for m, weight in enumerate(weights):
            if weight == 0:
                continue
            codes = _codes_of([sheet.maps[m] for sheet in self.sheets], [sheet.known for sheet in self.sheets],
                              MAX_GAIN if len(weights) > 1 else np.inf)  # fmt: skip
            if len(weights) > 1:
                codes = _telling(codes)
            scale = (weight / max(weights)) ** 0.5
            for k, code in enumerate(codes):
                stacked[k].append(code if scale == 1 else np.floor(128.5 + (code - 128.0) * scale).astype(np.uint8))
        for k, sheet in enumerate(self.sheets):
            if sheet.guide is not None:
                stacked[k].append(sheet.guide)
        return [np.ascontiguousarray(np.concatenate(codes, 2)) for codes in stacked]

    def take(self, sheet: np.ndarray, at: np.ndarray, number: int) -> np.ndarray:
        """The pixels (H, W, c) of map `number` at (row, column) at (H, W, 2) of the sheets (H, W)."""
        if len(self.sheets) == 1:
            return self.sheets[0].maps[number].pixels[at[..., 0], at[..., 1]]
        first = self.sheets[0].maps[number].pixels
        out = np.empty((*at.shape[:2], first.shape[2]), first.dtype)
        for k, one in enumerate(self.sheets):
            here = sheet == k
            out[here] = one.maps[number].pixels[at[here, 0], at[here, 1]]
        return out


def matching_codes(exemplar: Picture) -> np.ndarray:
    """(h, w, C) uint8: what patches are compared on. Pixels are copied, so this limits decisions, never the output.

    The channels' common range is stretched to 0..255 (for floats without the outermost 0.05 %, so that a few bright
    pixels do not flatten the rest); colour is weighted by alpha, so that what is transparent does not matter.
    """
    return _codes_of([exemplar], [None], np.inf)[0]


def _codes_of(pictures: Sequence[Picture], known: Sequence[np.ndarray | None], max_gain: float) -> list[np.ndarray]:
    """matching_codes() of one map in several sheets, with a common range."""
    values = [to_unit(p.pixels).astype(np.float64) for p in pictures]
    seen = [v if k is None else v[k] for v, k in zip(values, known, strict=True)]
    seen = [v for v in seen if v.size] or values
    if pictures[0].pixels.dtype == np.float32:
        ends = np.array([np.percentile(v, [0.05, 99.95]) for v in seen])
        max_gain = np.inf  # floats have no range of their own to compare with
    else:
        ends = np.array([[v.min(), v.max()] for v in seen])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if pictures[0].has_alpha:
        low, high = min(low, 0.0), max(high, 1.0)
        for v in values:
            v[..., :-1] *= v[..., -1:]
    gain = 255 / (high - low) if high > low else 1.0
    if gain > 255 * max_gain:
        gain, low = 255 * max_gain, (low + high) / 2 - 0.5 / max_gain
    return [np.floor(np.clip((v - low) * gain, 0, 255) + 0.5).astype(np.uint8) for v in values]


def _telling(codes: list[np.ndarray]) -> list[np.ndarray]:
    """The channels that tell something: none that is constant, none that repeats an earlier one; at least one."""
    kept: list[int] = []
    for c in range(codes[0].shape[2]):
        flat = all((code[..., c] == codes[0][0, 0, c]).all() for code in codes)
        if not flat and not any(all((code[..., c] == code[..., k]).all() for code in codes) for k in kept):
            kept.append(c)
    return [code[..., kept or [0]] for code in codes]
