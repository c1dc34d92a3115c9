"""Pictures whose scores everybody can place: what perfect, copied, structureless and pasted scores on this exemplar.

No score of a texture means anything alone: a grass differs from another part of itself more than a brick wall from a
bad imitation. So every table has these rows, made from the exemplar and scored in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from texsyn.images import InputError, Size, from_unit
from texsyn.images.picture import from_array

BLOCK = 16  # px
N_SEEDS = 4  # of the anchors that have seeds


@dataclass(frozen=True)
class Anchor:
    """A picture (h, w, C) uint8 with what it is judged against, and further seeds of it where it has any."""

    name: str
    meaning: str
    pixels: np.ndarray
    reference: np.ndarray
    others: tuple[np.ndarray, ...] = ()


def halves(ex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ex (h, w, C) cut across its longer side: left and right, or of a tall one top and bottom; a middle line is lost.

    The held-out crop is the second half judged against the first, so that nothing of it has been seen.
    """
    h, w = ex.shape[:2]
    if w >= h:
        return ex[:, : w // 2], ex[:, w - w // 2 :]
    return ex[: h // 2], ex[h - h // 2 :]


def random_blocks(ex: np.ndarray, side: int, *, seed: int) -> np.ndarray:
    """A picture of ex's size from side x side blocks, each from a random place of ex (h, w, C)."""
    rng, out = np.random.default_rng(seed), np.empty_like(ex)
    h, w = ex.shape[:2]
    for top in range(0, h, side):
        for left in range(0, w, side):
            bh, bw = min(side, h - top), min(side, w - left)
            y, x = int(rng.integers(0, h - bh + 1)), int(rng.integers(0, w - bw + 1))
            out[top : top + bh, left : left + bw] = ex[y : y + bh, x : x + bw]
    return out


def random_phase(ex: np.ndarray, *, seed: int) -> np.ndarray:
    """The exemplar (h, w, C) uint8 with its Fourier modulus and random phases, by texsyn's model of that name."""
    from texsyn.models.gaussian import RandomPhase

    model = RandomPhase.fit(from_array(ex, mode="multi"))
    return model.synthesise(Size(*ex.shape[:2]), seed=seed).pixels


def anchors(ex: np.ndarray, *, seed: int = 0) -> list[Anchor]:
    """Held-out crop, exemplar, random phase and random blocks of ex (h, w, C) uint8, in the order of a table."""
    first, second = halves(ex)
    phases = tuple(random_phase(ex, seed=seed + i) for i in range(N_SEEDS))
    blocks = tuple(random_blocks(ex, BLOCK, seed=seed + i) for i in range(N_SEEDS))
    held_out = [] if min(first.shape[:2]) < 1 else [
        Anchor("held-out half", "what perfect scores: the exemplar's second half against its first", second, first)
    ]  # fmt: skip
    return [
        *held_out,
        Anchor("exemplar", "what copying scores: the exemplar itself", ex, ex),
        Anchor("random phase", "second-order statistics alone: no outlines", phases[0], ex, phases),
        Anchor(f"blocks {BLOCK} px", "cheap pasting: blocks from random places", blocks[0], ex, blocks),
    ]


def codes(pixels: np.ndarray, *, alpha: bool = False, name: str = "picture") -> np.ndarray:
    """What people see of a picture (H, W, C) of floats in [0, 1]: 8-bit codes, colours multiplied by alpha.

    Invisible colours so do not count; alpha stays, as the last channel. InputError for NaN and ill-shaped arrays.
    """
    if pixels.ndim != 3 or pixels.dtype.kind != "f" or not pixels.size:
        raise InputError(f"{name}: needs floats of shape (height, width, channels), got {pixels.dtype} {pixels.shape}")
    if not np.isfinite(pixels).all():
        raise InputError(f"{name}: has a NaN or an infinite value")
    if alpha:
        pixels = np.concatenate([pixels[..., :-1] * pixels[..., -1:], pixels[..., -1:]], -1)
    return from_unit(pixels, np.dtype(np.uint8))
