"""Whether a picture that shall repeat has a seam, and whether pictures of several seeds are different pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from texsyn.metrics.unmeasurable import Unmeasurable

MIN_SEEDS = 4


@dataclass(frozen=True)
class Diversity:
    """How different the pictures of several seeds are: pixel (ratio, 1 is ideal) and shift (share, higher is better).

    Rolled copies of one picture have pixel near 1 and shift 0: only both together say that the pictures are new.
    """

    pixel: float
    shift: float


def seam(y: np.ndarray, tile: str) -> float:
    """SEAM, a ratio: the step across the wrapped edge over the median step inside; 1 is a seam that nobody sees.

    y (H, W, C). tile names the axes that repeat, "x" (left to right), "y" or "xy"; of two axes the larger one counts.
    """
    found = []
    for name, along in (("x", y.swapaxes(0, 1)), ("y", y)):
        if name in tile:
            if len(along) < 3:
                raise Unmeasurable(f"a seam along {name} needs 3 px, got {len(along)}")
            inside = np.abs(np.diff(along.astype(np.float64), axis=0)).mean((1, 2))
            usual = float(np.median(inside))
            if usual == 0:
                raise Unmeasurable("most of the picture has no step that a seam could be compared with")
            found.append(float(np.abs(along[0].astype(np.float64) - along[-1]).mean()) / usual)
    if not found:
        raise Unmeasurable("asked only of pictures that repeat (tile x, y or xy)")
    return max(found)


def diversity(pictures: Sequence[np.ndarray], ex: np.ndarray) -> Diversity:
    """DIV of luminances (H, W) of equal size, one a seed, against that of the exemplar (h, w).

    pixel: mean over pixels of the standard deviation over seeds (ddof 1), over the exemplar's own deviation (SinGAN's
    and GPDM's convention). shift: 1 less the mean over pairs of the largest circular normalised cross-correlation.
    """
    if len(pictures) < MIN_SEEDS:
        raise Unmeasurable(f"needs {MIN_SEEDS} seeds, got {len(pictures)}")
    if len({p.shape for p in pictures}) > 1:
        raise Unmeasurable("the seeds' pictures have different sizes")
    own = float(ex.std())
    if own == 0:
        raise Unmeasurable("the exemplar is constant")
    y = np.stack(pictures).astype(np.float64)  # (seeds, H, W)
    pixel = float(y.std(0, ddof=1).mean()) / own
    flat = y - y.mean((1, 2), keepdims=True)
    length = np.sqrt(np.square(flat).sum((1, 2)))
    if not length.all():
        raise Unmeasurable("a seed's picture is constant")
    waves = np.fft.rfft2(flat)
    alike = [
        np.fft.irfft2(waves[i] * waves[j].conj(), flat.shape[1:]).max() / (length[i] * length[j])
        for i, j in combinations(range(len(y)), 2)
    ]
    return Diversity(pixel, 1 - float(np.mean(alike)))
