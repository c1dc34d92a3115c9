"""How regular a picture is: whether its autocorrelation has a peak that stands out, as for bricks, tiles and dots.

The peaks of a texture's autocorrelation are what near-regular textures are found by (Lin, Wang and Yang 1997,
"Extracting periodicity of a regular texture based on autocorrelation functions", Pattern Recognition Letters 18(5)).
A high value alone says little: large dark areas correlate far out too. So a peak counts by how far it rises above the
lowest place on the straight way to it from lag zero.

Sums are integers (an FFT in float64, rounded, is exact for them), so that every machine gets the same number.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SIDE = 64  # px of the shorter side, to the nearest octave, at which pictures should be looked at
PERIODS = 3  # how often a period must fit the picture; what comes only twice may be chance
REGULAR = 0.4  # bricks 0.9 to 1.1, loose dots 0.5; grass, gravel, leaves and confetti stay below 0.25


def regularity(u: Tensor) -> float:
    """Rise of the most prominent autocorrelation peak of codes u (C, h, w), 0 to 2; 0 where there is none."""
    if min(u.shape[1:]) < 2 * PERIODS:
        return 0.0
    grey = (u.sum(0) + 0.5).floor().to(torch.int64).numpy()
    r = _autocorrelation(grey - int(np.rint(grey.mean())))
    height, width = r.shape[0], r.shape[1] // 2
    best = 0.0
    for dy, dx in _peaks(r):
        if dy < height - 1 and abs(dx) < width:  # the outermost lags have no neighbours to stand above
            best = max(best, r[dy, width + dx] - _lowest_on_the_way(r, dy, dx))
    return float(best)


def _autocorrelation(u: np.ndarray) -> np.ndarray:
    """(H + 1, 2 W + 1) of u (h, w) integers: lags 0..H down and -W..W across, H and W a third of the sides.

    Each is the correlation coefficient (about a mean of zero) of the parts of u that overlap at that lag.
    """
    h, w = u.shape
    lags_y, lags_x = h // PERIODS, w // PERIODS

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        shape = (2 * h, 2 * w)
        c = np.fft.irfft2(np.fft.rfft2(a, shape) * np.fft.rfft2(b, shape).conj(), shape)
        return np.rint(np.roll(c, lags_x, 1)[: lags_y + 1, : 2 * lags_x + 1])

    ones = np.ones_like(u)
    cross, moved, kept = correlate(u, u), correlate(u * u, ones), correlate(ones, u * u)
    return cross / np.sqrt(np.maximum(moved * kept, 1))


def _peaks(r: np.ndarray) -> list[tuple[int, int]]:
    """Lags (dy, dx), at least 2 away from zero, that no neighbour exceeds."""
    width = r.shape[1] // 2
    # lag (-dy, -dx) has the same value, so row -1 is row 1 turned round
    grown = np.pad(np.concatenate([r[1:2, ::-1], r]), ((0, 1), (1, 1)), constant_values=-2)
    around = np.lib.stride_tricks.sliding_window_view(grown, (3, 3)).max((2, 3))
    rows, columns = np.nonzero(r >= around)
    return [(int(y), int(x) - width) for y, x in zip(rows, columns, strict=True) if max(y, abs(x - width)) >= 2]


def _lowest_on_the_way(r: np.ndarray, dy: int, dx: int) -> float:
    n = max(dy, abs(dx))
    steps = np.arange(1, n)
    return float(r[(2 * steps * dy + n) // (2 * n), r.shape[1] // 2 + (2 * steps * dx + n) // (2 * n)].min())
