"""What a picture shall be besides a texture's: wishes, and the material, brief and hole that they make.

Everything rides on the map of source coordinates: wishes change what is matched, what may be copied, and in which
parts; the pixels are copied all the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from texsyn.guides import Guide, guide_of, target_guide
from texsyn.images import InputError, Picture, Size, load, to_unit
from texsyn.material import Material, Sheet
from texsyn.morphing import colours_between
from texsyn.variants import IDENTITY, SYMMETRIES, Element, looks_like_normals, resampled, turned, unturned

HISTOGRAMS = ("free", "keep")
PICTURES = ("mask", "source", "exclude", "guide_in", "guide_out", "mix_map", "target")


@dataclass(frozen=True, eq=False)
class Wishes:
    """Pictures are a path, bytes, an array or a Picture. Masks are white (above half) where they hold."""

    #: of maps in matching, by a part of their names; 1 by default, and 0 copies a map without looking at it
    weights: Mapping[str, float] = field(default_factory=dict)
    #: fill where this mask is white; the rest of the image keeps its pixels
    mask: Any = None
    #: fill with pixels of this picture instead of the image's own
    source: Any = None
    #: copy nothing from where this mask is white
    exclude: Any = None
    #: what the image shows where, in labels or values; and what the output shall show where
    guide_in: Any = None
    guide_out: Any = None
    #: "labels", "values", or by the number of colours
    guide_kind: str = "auto"
    #: of values, in channels of the image
    guide_weight: float = 1.0
    #: the part of the output that each image gives
    mix: Sequence[float] | None = None
    #: white where the first of two images goes, black where the second
    mix_map: Any = None
    #: between two images: 0 is the first, 1 the second
    morph: float | None = None
    #: a picture whose light and dark the output follows
    target: Any = None
    #: of the target, from 0 to 1
    strength: float = 0.3
    #: of the image's elements in the output, and degrees counter-clockwise
    scale: float = 1.0
    rotate: float = 0.0
    #: mirrored and turned copies of the image that may be copied from too
    symmetry: str = "none"
    #: side in pixels of the largest square that may stand in the output as it is in the image
    copy_limit: int | None = None
    #: "keep" gives each channel of the output the image's histogram, as near as moving equal values together can,
    #: which changes pixels a little
    histogram: str = "free"
    #: "auto" (the image's), "8", "16", "f16" or "f32"
    depth: str = "auto"

    def __post_init__(self) -> None:
        if self.symmetry not in SYMMETRIES:
            raise ValueError(f"symmetry={self.symmetry!r} is not one of {', '.join(SYMMETRIES)}")
        if self.histogram not in HISTOGRAMS:
            raise ValueError(f"histogram={self.histogram!r} is not one of {', '.join(HISTOGRAMS)}")
        for one, other in (("guide_in", "guide_out"), ("guide_out", "guide_in"), ("source", "mask")):
            if getattr(self, one) is not None and getattr(self, other) is None:
                raise ValueError(f"{one} needs {other} beside it")
        if self.morph is not None and not 0 <= self.morph <= 1:
            raise ValueError(f"morph={self.morph} should be from 0 to 1")
        if self.copy_limit is not None and self.copy_limit < 1:
            raise ValueError(f"copy_limit={self.copy_limit} should be at least 1")
        ways = [name for name in ("mask", "guide_out", "target", "mix_map", "morph") if getattr(self, name) is not None]
        if len(ways) > 1 and set(ways) != {"guide_out", "mix_map"}:
            raise ValueError(f"{ways[0]} and {ways[1]} cannot be had together")
        if self.mask is not None and (self.mix is not None or self.copy_limit is not None):
            raise ValueError(f"mask and {'mix' if self.mix is not None else 'copy_limit'} cannot be had together")

    def said(self) -> dict[str, Any]:
        """The wishes that differ from their defaults; pictures by name and hash."""
        found: dict[str, Any] = {}
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            default = {} if one.name == "weights" else one.default
            if isinstance(value, Picture):
                found[one.name] = {"name": value.name, "sha256": value.sha256}
            elif value is not None and value != default:
                found[one.name] = list(value) if isinstance(value, (tuple, list)) else value
        return found

    def loaded(self) -> Wishes:
        """The same wishes with all their pictures loaded. Raises InputError."""
        given = {name: getattr(self, name) for name in PICTURES}
        loaded: dict[str, Any] = {k: as_picture(v) for k, v in given.items() if v is not None}
        return dataclasses.replace(self, **loaded)


def as_picture(image: Any) -> Picture:
    """image itself when it is a Picture, else what texsyn.images.load makes of it; float tensors are (c, h, w)."""
    if isinstance(image, Picture):
        return image
    if hasattr(image, "detach"):
        image = image.detach().cpu()
        image = image.movedim(0, -1).numpy() if image.ndim == 3 else image.numpy()
    return load(image)


@dataclass(frozen=True, eq=False)
class Job:
    """Wishes made concrete: what is copied, what is obeyed, what is filled, and how big the picture is.

    guide (H, W, G), bins (B, G), shares (H, W, E) and morph are a brief's (see texsyn.models.texto.Brief); hole (H, W)
    bool the pixels that are filled; target the picture that the guide was made of, if it was one. given: the exemplars
    as they were given, before anything was turned, resampled or recoloured; the recipe names those.
    """

    material: Material
    size: Size | None
    guide: np.ndarray | None = None
    bins: np.ndarray | None = None
    shares: np.ndarray | None = None
    hole: np.ndarray | None = None
    morph: float | None = None
    target: Picture | None = None
    given: tuple[tuple[Picture, ...], ...] = ()

    @property
    def obeys(self) -> bool:
        """Whether it takes a whole balanced picture, besides texto."""
        return any(one is not None for one in (self.guide, self.shares, self.hole, self.morph))

    @property
    def resampled(self) -> bool:
        """Whether pixels are copied from scaled or rotated pictures, so that they have no place in the exemplars."""
        return any(sheet.resampled for sheet in self.material.sheets)

    def originals(self, source: np.ndarray) -> np.ndarray:
        """Coordinates in the sheets (H, W, 2 or 3) as coordinates in the exemplars: (H, W, 2), or 3 where several."""
        at = source[..., :2].copy()
        sheet = source[..., 2] if source.shape[2] == 3 else np.zeros(at.shape[:2], int)
        sheets = self.material.sheets
        for k, one in enumerate(sheets):
            if one.element != IDENTITY:
                size = one.size if one.element.quarter_turns % 2 == 0 else Size(one.size.width, one.size.height)
                at[sheet == k] = unturned(at[sheet == k], one.element, size)
        if self.material.n_exemplars == 1:
            return at
        number = np.array([s.exemplar for s in sheets], at.dtype)[sheet]
        return np.concatenate([at, number[..., None]], 2)


def job_of(exemplars: Sequence[Sequence[Picture]], wishes: Wishes) -> Job:
    """The job that wishes (loaded) make of exemplars, each a stack of maps. Raises InputError, ValueError."""
    if wishes.mask is not None:
        return _filling(exemplars, wishes)
    if len(exemplars) > 1 and wishes.mix is None and wishes.mix_map is None and wishes.morph is None:
        raise ValueError(f"{len(exemplars)} images need mix (or mix_map, or morph) to say how much of each is wanted")
    if wishes.morph in (0, 1) and len(exemplars) == 2:  # one of the ends, and nothing of the other
        exemplars, wishes = [exemplars[int(wishes.morph)]], dataclasses.replace(wishes, morph=None)
    guide, size = None, None
    if wishes.guide_in is not None:
        _same_size(wishes.guide_in, exemplars[0][0], "guide_in")
        guide = guide_of(wishes.guide_in, wishes.guide_out, kind=wishes.guide_kind, weight=wishes.guide_weight)
    elif wishes.target is not None:
        guide = target_guide(exemplars[0][0], wishes.target, wishes.strength)
    if guide is not None:
        if len(exemplars) > 1:
            raise ValueError("guides and targets go with one image")
        size = Size(*guide.outer.shape[:2])
    shares, share_map = _shares(len(exemplars), wishes)
    if wishes.morph is not None:
        exemplars = _met(exemplars, wishes)
    sheets = _sheets(exemplars, wishes, guide)
    if share_map is not None:
        size = Size(*share_map.shape[:2])
    material = Material(sheets, _weights(exemplars[0], wishes.weights), shares)
    outer, bins = (None, None) if guide is None else (guide.outer, guide.bins)
    return Job(material, size, outer, bins, share_map, morph=wishes.morph, target=wishes.target)


def _filling(exemplars: Sequence[Sequence[Picture]], wishes: Wishes) -> Job:
    if len(exemplars) > 1:
        raise ValueError("mask fills one image; source names the one to fill from")
    if wishes.symmetry != "none" or wishes.scale != 1 or wishes.rotate % 360 != 0:
        raise ValueError("mask cannot be had together with symmetry, scale or rotate")
    (maps,) = exemplars
    hole = white(wishes.mask, maps[0], "mask")
    if not hole.any():
        raise InputError(f"{wishes.mask.name}: the mask is black all over; white is what will be filled")
    if hole.all() and wishes.source is None:
        raise InputError(f"{wishes.mask.name}: the mask is white all over; nothing is left to copy from")
    if wishes.source is None:
        usable = None if wishes.exclude is None else ~white(wishes.exclude, maps[0], "exclude")
        sheets: tuple[Sheet, ...] = (Sheet(tuple(maps), known=~hole, usable=usable),)
    else:
        if len(maps) > 1:
            raise ValueError("source goes with one image, not with a stack of maps")
        nothing = np.zeros_like(hole)
        other = None if wishes.exclude is None else ~white(wishes.exclude, wishes.source, "exclude")
        sheets = (
            Sheet(tuple(maps), known=~hole, usable=nothing),
            Sheet((wishes.source,), usable=other, exemplar=1),
        )
    material = Material(sheets, _weights(maps, wishes.weights))
    return Job(material, maps[0].size, hole=hole)


def _sheets(exemplars: Sequence[Sequence[Picture]], wishes: Wishes, guide: Guide | None) -> tuple[Sheet, ...]:
    sheets = []
    resized = wishes.scale != 1 or wishes.rotate % 360 != 0
    for e, maps in enumerate(exemplars):
        normal = [_holds_normals(one, len(maps)) for one in maps]
        usable = None if wishes.exclude is None or e else ~white(wishes.exclude, maps[0], "exclude")
        inner, known = None if guide is None else guide.inner, None
        if resized:
            how: dict[str, Any] = {"scale": wishes.scale, "degrees": wishes.rotate}
            made = [resampled(one, normal=n, **how) for one, n in zip(maps, normal, strict=True)]
            maps, known = [one for one, _ in made], made[0][1]
            known = None if known.all() else known
            usable = None if usable is None else _planes(usable[..., None] * np.uint8(255), how)[..., 0] > 254
            inner = None if inner is None else _planes(inner, how)
        for element in SYMMETRIES[wishes.symmetry]:
            here = [turned(one, element, normal=n) for one, n in zip(maps, normal, strict=True)]
            masks = {
                name: _turned(a, element)
                for name, a in (("known", known), ("usable", usable), ("guide", inner))
                if a is not None
            }
            sheets.append(Sheet(tuple(here), **masks, exemplar=e, element=element, resampled=resized))
    return tuple(sheets)


def _holds_normals(picture: Picture, n_maps: int) -> bool:
    """Whether vectors have to turn with it: a map that looks like normals, and alone is called so too."""
    named = any(word in picture.name.lower() for word in ("norm", "nrm"))
    return (n_maps > 1 or named) and looks_like_normals(picture)


def _planes(codes: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """Codes (h, w, G) resampled like a picture."""
    return resampled(Picture(codes, "multi"), **how)[0].pixels


def _turned(a: np.ndarray, element: Element) -> np.ndarray:
    """A mask (h, w) or codes (h, w, G), mirrored and turned like a picture."""
    planes = turned(Picture(a.reshape(*a.shape[:2], -1).astype(np.uint8), "multi"), element).pixels
    return planes.astype(a.dtype).reshape(*planes.shape[:2], *a.shape[2:])


def _shares(n: int, wishes: Wishes) -> tuple[tuple[float, ...] | None, np.ndarray | None]:
    """The overall share of each exemplar, and (H, W, E) those of each place."""
    if wishes.mix_map is not None:
        if n != 2:
            raise ValueError(f"mix_map goes with two images, got {n}")
        first = to_unit(wishes.mix_map.pixels)
        first = first[..., : 1 if first.shape[2] < 3 else 3].mean(2).clip(0, 1)
        return (float(first.mean()), float(1 - first.mean())), np.stack([first, 1 - first], 2)
    if wishes.mix is None:
        return (None, None) if wishes.morph is None else (_two(n, 1 - wishes.morph), None)
    parts = [float(part) for part in wishes.mix]
    if len(parts) != n:
        raise ValueError(f"mix={','.join(f'{p:g}' for p in parts)} has {len(parts)} parts for {n} images")
    if n < 2:
        raise ValueError("mix needs two images or more")
    if not all(math.isfinite(p) and p > 0 for p in parts):
        raise ValueError(f"mix={','.join(f'{p:g}' for p in parts)} should be numbers above 0")
    return tuple(p / sum(parts) for p in parts), None


def _two(n: int, first: float) -> tuple[float, ...]:
    if n != 2:
        raise ValueError(f"morph goes with two images, got {n}")
    return (first, 1 - first)


def _met(exemplars: Sequence[Sequence[Picture]], wishes: Wishes) -> list[list[Picture]]:
    """Two exemplars with their colours moved towards each other."""
    (a,), (b,) = exemplars
    if (a.mode, a.pixels.dtype) != (b.mode, b.pixels.dtype):
        raise InputError(
            f"{b.name} is {b.mode} {b.pixels.dtype} and {a.name} is {a.mode} {a.pixels.dtype}; "
            "pictures that are mixed must be of one kind"
        )
    if wishes.symmetry != "none":
        raise ValueError("morph and symmetry cannot be had together")
    assert wishes.morph is not None
    return [[one] for one in colours_between(a, b, wishes.morph)]


def _weights(maps: Sequence[Picture], wanted: Mapping[str, float]) -> tuple[float, ...]:
    if not wanted:
        return ()
    weights = [1.0] * len(maps)
    for part, weight in wanted.items():
        found = [k for k, one in enumerate(maps) if part.lower() in one.name.lower()]
        if len(found) != 1:
            names = ", ".join(one.name for one in maps)
            raise ValueError(f"weight {part!r} names {len(found)} of the maps {names}; give a part of one name")
        if not 0 <= weight < math.inf:
            raise ValueError(f"weight {part}={weight} should be a number from 0 up")
        weights[found[0]] = float(weight)
    return tuple(weights)


def white(mask: Picture, picture: Picture, role: str) -> np.ndarray:
    """(h, w) bool: where a mask is above half; transparent counts as black. Raises InputError for another size."""
    _same_size(mask, picture, role)
    values = to_unit(mask.pixels)
    n_colours = mask.channels - mask.has_alpha
    light = values[..., :n_colours].mean(2)
    return light * (values[..., -1] if mask.has_alpha else 1) > 0.5


def _same_size(mask: Picture, picture: Picture, role: str) -> None:
    if mask.size != picture.size:
        raise InputError(
            f"{role} {mask.name} has {mask.size} pixels and {picture.name} has {picture.size}; they must be of one size"
        )


def keep_histogram(pixels: np.ndarray, exemplar: np.ndarray) -> np.ndarray:
    """pixels (H, W, c) with each channel moved, by a monotone map, onto the values and shares that exemplar has.

    >>> keep_histogram(np.array([[[0], [0], [9], [9]]]), np.array([[[1], [2]]])).ravel().tolist()
    [1, 1, 2, 2]
    """
    out = np.empty_like(pixels)
    for c in range(pixels.shape[2]):
        levels = np.sort(exemplar[..., c].reshape(-1))
        _, number, count = np.unique(pixels[..., c], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(count) - 0.5 * count) / number.size * len(levels)
        moved = levels[np.floor(ranks).astype(np.int64).clip(0, len(levels) - 1)]
        out[..., c] = moved[number].reshape(pixels.shape[:2])
    return out
