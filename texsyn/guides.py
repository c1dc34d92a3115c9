"""Guides: pictures that say what goes where, as codes that are matched beside a texture's own and never copied.

Label maps become codes that lie equally far apart; continuous guides keep their values. Hertzmann, Jacobs, Oliver,
Curless and Salesin 2001, "Image analogies", section 4.4, call it texture by numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from texsyn.images import InputError, Picture, to_unit
from texsyn.metrics.texture import luminance

KINDS = ("auto", "labels", "values")
MAX_LABELS = 64
N_BINS = 12  # classes of a continuous guide whose parts of the picture are followed


@dataclass(frozen=True, eq=False)
class Guide:
    """inner (h, w, G) uint8 for the exemplar, outer (H, W, G) for the picture, bins (B, G) the codes of their classes.

    labels: how many classes there are, 0 for a continuous guide.
    """

    inner: np.ndarray
    outer: np.ndarray
    bins: np.ndarray
    labels: int


def guide_of(inside: Picture, outside: Picture, *, kind: str = "auto", weight: float = 1.0) -> Guide:
    """The guide that a pair of pictures makes: labels where they hold few colours, else values.

    weight: of a continuous guide, in channels of the texture; labels are always obeyed as far as the exemplar has
    them. Raises InputError when the pictures have different channels, or a label has no place in the exemplar's;
    ValueError for an unknown kind or a weight that is not above 0.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(KINDS)}")
    if not 0 < weight <= 8:
        raise ValueError(f"weight={weight} should be above 0, and at most 8")
    if inside.channels != outside.channels:
        raise InputError(
            f"{outside.name} has {outside.channels} channels ({outside.mode}) and {inside.name} has "
            f"{inside.channels} ({inside.mode}); the two guides must be of one kind"
        )
    a, b = (to_unit(p.pixels) for p in (inside, outside))
    few = None if kind == "values" else _labels(a, b)
    if few is None and kind == "labels":
        raise InputError(
            f"{inside.name} and {outside.name} hold more than {MAX_LABELS} colours; a label map has one for each "
            "class and no soft edges"
        )
    if few is None:
        return _values(a, b, weight)
    return _numbers(*few, inside, outside)


def _labels(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The number of each pixel's colour in both, and the colours (K, C); None when they are too many."""
    colours = []
    for u in (a, b):
        found = np.unique(u.reshape(-1, u.shape[2])[:: max(1, u.shape[0] * u.shape[1] // 4096)], axis=0)
        if len(found) > MAX_LABELS:  # most continuous guides are known by a few thousand pixels
            return None
        colours.append(np.unique(u.reshape(-1, u.shape[2]), axis=0))
    both, number = np.unique(np.concatenate([u.reshape(-1, u.shape[2]) for u in (a, b)]), axis=0, return_inverse=True)
    if len(both) > MAX_LABELS:
        return None
    number = number.reshape(-1)
    n = a.shape[0] * a.shape[1]
    return number[:n].reshape(a.shape[:2]), number[n:].reshape(b.shape[:2]), both


def _numbers(a: np.ndarray, b: np.ndarray, colours: np.ndarray, inside: Picture, outside: Picture) -> Guide:
    missing = np.setdiff1d(b, a)
    if len(missing):
        raise InputError(
            f"{outside.name} has the label {_named(colours[missing[0]])}, which {inside.name} has not; "
            f"it has {', '.join(_named(colours[k]) for k in np.unique(a)[:8])}"
        )
    codes = label_codes(len(colours))
    return Guide(codes[a], codes[b], codes[np.unique(b)], len(colours))


def _named(colour: np.ndarray) -> str:
    return "(" + ", ".join(f"{255 * value:.0f}" for value in colour) + ")"


def label_codes(n: int) -> np.ndarray:
    """(n, G) uint8, 0 or 255: any two rows differ in at least one channel, from the third label on in two.

    >>> label_codes(2).tolist(), label_codes(3).shape, label_codes(9).shape
    ([[0], [255]], (3, 3), (9, 5))
    """
    if n <= 2:
        return np.array([[0], [255]], np.uint8)[:n]
    if n <= 4:
        return np.uint8(255) * np.eye(n, dtype=np.uint8)
    digits = math.ceil(math.log2(n))
    bits = (np.arange(n)[:, None] >> np.arange(digits)) & 1
    return np.uint8(255) * np.concatenate([bits, bits.sum(1, keepdims=True) % 2], 1).astype(np.uint8)


def _values(a: np.ndarray, b: np.ndarray, weight: float) -> Guide:
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    copies = math.ceil(weight)
    scale = 255 * math.sqrt(weight / copies) / (high - low) if high > low else 0.0
    inner, outer = (np.floor((u - (low + high) / 2) * scale + 128).clip(0, 255).astype(np.uint8) for u in (a, b))
    flat = inner.reshape(-1, inner.shape[2])
    order = np.argsort(flat.astype(np.int64).sum(1), kind="stable")
    middles = ((np.arange(N_BINS) + 0.5) / N_BINS * len(flat)).astype(np.int64)
    bins = np.unique(flat[order[middles]], axis=0)
    return Guide(np.tile(inner, copies), np.tile(outer, copies), np.tile(bins, copies), 0)


def target_guide(exemplar: Picture, target: Picture, strength: float) -> Guide:
    """The guide that makes a picture follow a target's light and dark: luminances, the target's spread over the
    exemplar's range by rank. strength from 0 (not at all) to 1.

    Raises ValueError for another strength.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength={strength} should be above 0, and at most 1")
    inner, wanted = (luminance(to_unit(p.pixels)) for p in (exemplar, target))
    levels = np.sort(inner.reshape(-1))
    _, number, count = np.unique(wanted, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - 0.5 * count) / wanted.size
    matched = np.quantile(levels, ranks)[number].reshape(wanted.shape)
    return _values(inner[..., None], matched[..., None].astype(np.float32), 8 * strength**2)
