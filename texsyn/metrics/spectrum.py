"""The power spectrum of a texture: how far two are apart, and the curve that a report draws.

Averaged periodograms (Welch 1967, "The use of fast Fourier transform for the estimation of power spectra") of the
luminance in Hann windows with half overlap. Blind to phase by construction: a Gaussian texture has the exemplar's
spectrum and none of its outlines. What separates a blurred picture, which has none of the high frequencies.
"""

from __future__ import annotations

import numpy as np

from texsyn.metrics.unmeasurable import Unmeasurable

N_RADII, N_ANGLES = 12, 8
LOWEST, HIGHEST = 1 / 64, 0.5  # cycles/px
#: power that rounding to 8 bits adds at every frequency: below it there is nothing to compare
ROUNDING = 1 / 12 / 255**2


def window_for(side: int) -> int:
    """Side of the windows for pictures whose shortest side this is: 128 px from 256 on, else 64, or what fits."""
    if side < 16:
        raise Unmeasurable(f"a spectrum needs 16 px a side, got {side}")
    return 128 if side >= 256 else min(64, 1 << (side.bit_length() - 1))


def power(u: np.ndarray, window: int) -> np.ndarray:
    """(window, window) mean periodogram of u (H, W) less its mean; white noise of variance v has v everywhere."""
    if min(u.shape) < window:
        raise Unmeasurable(f"the spectrum's windows are {window} px, the picture is {u.shape[1]}x{u.shape[0]}")
    u = u.astype(np.float64) - u.mean()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(window) + 0.5) / window)
    taper = np.outer(hann, hann)
    total = np.zeros((window, window))
    tops, lefts = (np.unique([*range(0, n - window + 1, window // 2), n - window]) for n in u.shape)
    for top in tops:
        for left in lefts:
            total += np.abs(np.fft.fft2(u[top : top + window, left : left + window] * taper)) ** 2
    return total / (len(tops) * len(lefts) * np.square(taper).sum())


def spectrum_distance(out: np.ndarray, ex: np.ndarray, window: int) -> float:
    """SPEC in dB: root-mean-square difference of the two spectra in 12 x 8 bins of frequency and angle; 0 is equal.

    out (H, W) and ex (h, w): luminance in [0, 1]. Bins run from 1/64 to 1/2 cycles/px in equal steps of logarithm.
    """
    bins, n_bins = _bins(window)
    levels = [10 * np.log10(_mean_in(bins, n_bins, power(u, window)) + ROUNDING) for u in (out, ex)]
    return float(np.sqrt(np.nanmean(np.square(levels[0] - levels[1]))))


def top_octave(out: np.ndarray, ex: np.ndarray, window: int) -> float:
    """dB: power of out between 1/4 and 1/2 cycles/px over that of ex; 0 is equal, below is blur, above is noise."""
    r = _radius(window)
    inside = (r >= HIGHEST / 2) & (r <= HIGHEST)
    levels = [10 * np.log10(power(u, window)[inside].mean() + ROUNDING) for u in (out, ex)]
    return float(levels[0] - levels[1])


def radial_curve(u: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """(frequencies in cycles/px, dB) of luminance u (H, W): mean power at each whole multiple of 1/window to 1/2."""
    rings = np.rint(_radius(window) * window).astype(int)
    n = window // 2
    total = np.bincount(rings.ravel(), power(u, window).ravel())[1 : n + 1]
    count = np.bincount(rings.ravel())[1 : n + 1]
    return np.arange(1, n + 1) / window, 10 * np.log10(total / count + ROUNDING)


def _radius(window: int) -> np.ndarray:
    f = np.fft.fftfreq(window)
    return np.hypot(f[:, None], f[None, :])


def _bins(window: int) -> tuple[np.ndarray, int]:
    """(window, window) number of each frequency's bin, the last number for those outside, and how many bins."""
    f, r = np.fft.fftfreq(window), _radius(window)
    inside = (r >= LOWEST - 1e-9) & (r <= HIGHEST)
    step = np.log2(HIGHEST / LOWEST) / N_RADII
    ring = np.clip(np.log2(np.maximum(r, LOWEST) / LOWEST) / step, 0, N_RADII - 1).astype(int)
    angle = np.mod(np.arctan2(f[:, None], f[None, :]) + np.pi / (2 * N_ANGLES), np.pi)  # bins centred on the axes
    sector = np.minimum((angle / np.pi * N_ANGLES).astype(int), N_ANGLES - 1)
    n_bins = N_RADII * N_ANGLES
    return np.where(inside, ring * N_ANGLES + sector, n_bins), n_bins


def _mean_in(bins: np.ndarray, n_bins: int, values: np.ndarray) -> np.ndarray:
    """Mean of values in each bin; NaN where a bin holds no frequency of a window this small."""
    count = np.bincount(bins.ravel(), minlength=n_bins + 1)[:n_bins]
    total = np.bincount(bins.ravel(), values.ravel(), minlength=n_bins + 1)[:n_bins]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
