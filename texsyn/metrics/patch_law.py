"""How far the law of all patches of a picture is from the exemplar's: scale by scale, and what it invents or misses.

PSW, the patch distance, is sliced Wasserstein-2 (Rabin, Peyre, Delon and Bernot 2012, "Wasserstein barycenter and its
application to texture mixing") between the laws of all 7x7 patches at several scales. It is what a patch transport
minimises, so it must not be read alone: copying the exemplar scores better than an honest other crop of it.

Precision and recall (Kynkaanniemi, Karras, Laine, Lehtinen and Aila 2019, "Improved precision and recall metric for
assessing generative models") and coverage (Naeem, Oh, Uh, Choi and Yoo 2020, "Reliable fidelity and diversity metrics
for generative models") are taken here of patches, not of pictures: one texture is a population of patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from texsyn.metrics.texture import sliced_w2
from texsyn.metrics.unmeasurable import Unmeasurable

PATCH = 7  # px
N_SCALES = 4
K_NEIGHBOURS = 5
N_PATCHES = 1000  # of each picture; precision and recall cost their square


@dataclass(frozen=True)
class Manifold:
    """Precision (nothing invented), recall (nothing missing), density and coverage of patches; shares, 1 is ideal.

    Density may exceed 1. Another crop of the same texture has some 0.6 to 0.8: read them beside the anchors.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def box_down(u: np.ndarray) -> np.ndarray:
    """(H, W, C) to (H // 2, W // 2, C): means over 2x2 pixels; an odd last row or column is left out.

    >>> box_down(np.arange(8, dtype=np.float32).reshape(2, 4, 1)).ravel().tolist()
    [2.5, 4.5]
    """
    h, w = u.shape[0] // 2 * 2, u.shape[1] // 2 * 2
    return (u[0:h:2, 0:w:2] + u[1:h:2, 0:w:2] + u[0:h:2, 1:w:2] + u[1:h:2, 1:w:2]) / 4


def patch_distances(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> tuple[float | None, ...]:
    """PSW of scales 1x, 2x, 4x, 8x in grey levels of 255: how far the patch laws of x and y are apart; 0 is equal.

    x (H, W, C), y (h, w, C), floats in [0, 1]. A scale where either is smaller than a patch is None.
    As in GPDM (Elnekave and Weiss 2022, "Generating natural images with direct patch distributions matching") but for
    unequal sizes: quantiles are interpolated, where GPDM repeats random patches of the smaller picture.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(N_SCALES):
        fits = min(*x.shape[:2], *y.shape[:2]) >= PATCH
        found.append(255 * sliced_w2(x, y, PATCH, rng) if fits else None)
        x, y = box_down(x), box_down(y)
    return tuple(found)


def patch_manifold(out: np.ndarray, ex: np.ndarray, *, seed: int = 0) -> Manifold:
    """Precision, recall, density and coverage of out's 7x7 patches at half resolution among ex's.

    out (H, W, C), ex (h, w, C), floats in [0, 1]. Equally many random patches of both, at most N_PATCHES, chosen apart
    from each other: the exemplar itself has no 1 either. How copies count: see texsyn.metrics.neighbours.
    """
    from texsyn.metrics.neighbours import neighbour_scores

    x, y = box_down(ex), box_down(out)
    n = min(N_PATCHES, *(max(0, u.shape[0] - PATCH + 1) * max(0, u.shape[1] - PATCH + 1) for u in (x, y)))
    if n <= K_NEIGHBOURS:
        sizes = f"got {out.shape[1]}x{out.shape[0]} and {ex.shape[1]}x{ex.shape[0]}"
        raise Unmeasurable(
            f"more than {K_NEIGHBOURS} patches at half resolution need {2 * PATCH + 4} px a side, {sizes}"
        )
    rng = np.random.default_rng(seed)
    real, fake = _some_patches(x, n, rng), _some_patches(y, n, rng)
    try:
        pr, dc = neighbour_scores(fake, real, k=(K_NEIGHBOURS, K_NEIGHBOURS))
    except ValueError as error:  # hardly any two patches are different
        raise Unmeasurable(str(error)) from None
    return Manifold(pr.precision, pr.recall, dc.density, dc.coverage)


def _some_patches(u: np.ndarray, n: int, rng: np.random.Generator) -> torch.Tensor:
    """(n, C PATCH PATCH) float64: patches of u at n different places."""
    windows = np.lib.stride_tricks.sliding_window_view(u, (PATCH, PATCH), axis=(0, 1))
    height, width = windows.shape[:2]
    at = rng.permutation(height * width)[:n]
    return torch.from_numpy(windows[at // width, at % width].reshape(n, -1).astype(np.float64))
