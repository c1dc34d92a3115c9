"""Scores of a synthesised texture against its exemplar: fidelity, copying, repetition, sharpness, colour, use.

No single number says whether a texture is good. Plain tiling has the best patch distance and is useless; a blurred
picture can lie nearer to the exemplar's patch law than another crop of the exemplar does. So these are read together,
beside the same-exemplar floor (the patch distance between the two halves of the exemplar).

Patch distance: sliced Wasserstein-2 between the laws of all 7x7 patches (Rabin, Peyre, Delon, Bernot 2012,
"Wasserstein barycenter and its application to texture mixing"), averaged over four pyramid levels. Both pictures
are read at 8 bits first: the PNG is what people see.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from texsyn.images import from_unit
from texsyn.metrics.anchors import halves
from texsyn.pyramid import pyramid

N_DIRECTIONS = 128
N_QUANTILES = 1024
MAX_PATCHES = 1 << 16  # patches projected a level; beyond that one at random from each cell of a grid
N_LEVELS = 4
TEXTURED = 4 / 255  # a window counts for copying when its luminance varies by more than this (standard deviation)
MIN_LAG = 16  # px; shorter lags are the grain of the texture, not its repetition


@dataclass(frozen=True)
class Score:
    """One figure with what it needs to be read: its unit and its ideal."""

    key: str
    value: float | None
    unit: str
    ideal: str
    meaning: str


@dataclass(frozen=True)
class TextureScores:
    """All scores of one picture; None where the pictures are too small for a score."""

    msw: float
    msw_floor: float | None
    copy15: float | None
    copy31: float | None
    rep: float | None
    sharp: float | None
    colour: float
    used: float | None

    def rows(self) -> list[Score]:
        """The scores in reading order, each with unit and ideal."""
        return [
            Score("msw", self.msw, "grey levels of 100", "lower", "sliced W2 between 7x7 patches, mean of 4 scales"),
            Score("msw_floor", self.msw_floor, "grey levels of 100", "yardstick", "msw between the exemplar's halves"),
            Score("copy15", self.copy15, "share", "lower", "textured 15x15 windows that are verbatim in the exemplar"),
            Score("copy31", self.copy31, "share", "lower", "textured 31x31 windows that are verbatim in the exemplar"),
            Score("rep", self.rep, "correlation", "0", "strongest far autocorrelation minus the exemplar's; + repeats"),
            Score("sharp", self.sharp, "ratio", "1", "root-mean-square gradient over the exemplar's; below 1 is blur"),
            Score("colour", self.colour, "grey levels of 100", "lower", "sliced W2 between pixel colours"),
            Score("used", self.used, "share", "higher", "exemplar pixels inside a 5x5 window that the output repeats"),
        ]

    def to_json(self) -> str:
        """One JSON object: every score under its key, and under "units" and "ideals" how to read each."""
        rows = self.rows()
        return json.dumps(
            asdict(self) | {"units": {s.key: s.unit for s in rows}, "ideals": {s.key: s.ideal for s in rows}}
        )

    def to_table(self) -> str:
        """Lines of plain text: name, value, unit, ideal, meaning."""
        value = {True: "-"}
        lines = []
        for s in self.rows():
            shown = value.get(s.value is None) or f"{s.value:.3f}"
            lines.append(f"{s.key:<10}{shown:>8}  {s.unit:<19}{s.ideal:<10}{s.meaning}")
        return "\n".join(lines)


def score(output: np.ndarray, exemplar: np.ndarray) -> TextureScores:
    """All scores of output (H, W, C) against exemplar (h, w, C), both floats in [0, 1].

    Costs about a CPU second for 512x512 against 256x256. Raises ValueError when the channel counts differ, when a
    picture is empty, and for integer codes (to_unit makes floats of them).
    """
    if output.dtype.kind != "f" or exemplar.dtype.kind != "f":
        raise ValueError(f"score needs floats in [0, 1], got {output.dtype} and {exemplar.dtype}")
    shapes = f"got {output.shape} and {exemplar.shape}"
    if output.ndim != 3 or exemplar.ndim != 3 or output.shape[2] != exemplar.shape[2]:
        raise ValueError(f"score needs two (height, width, channels) arrays with equally many channels, {shapes}")
    if not output.size or not exemplar.size:
        raise ValueError(f"score needs two pictures with pixels in them, {shapes}")
    out8, ex8 = from_unit(output, np.dtype(np.uint8)), from_unit(exemplar, np.dtype(np.uint8))
    out, ex = out8.astype(np.float32) / 255, ex8.astype(np.float32) / 255
    return TextureScores(
        msw=100 * patch_distance(out, ex),
        msw_floor=_floor(ex),
        copy15=copied_share(out8, ex8, 15),
        copy31=copied_share(out8, ex8, 31),
        rep=repetition(out, ex),
        sharp=sharpness(out, ex),
        colour=100 * colour_distance(out, ex),
        used=used_share(out8, ex8, 5),
    )


def _floor(ex: np.ndarray) -> float | None:
    first, second = halves(ex)
    return 100 * patch_distance(first, second) if min(first.shape[:2]) >= 7 else None


def patch_distance(a: np.ndarray, b: np.ndarray, patch_size: int = 7) -> float:
    """Mean over pyramid levels of sliced W2 between the patch laws of a and b (H, W, C); in units of the values.

    Levels where either picture is smaller than a patch are left out; the patch shrinks when level 0 is too small.
    """
    patch_size = min(patch_size, *a.shape[:2], *b.shape[:2])
    rng, per_level = np.random.default_rng(0), []
    for x, y in zip(_levels(a), _levels(b), strict=True):
        if min(*x.shape[:2], *y.shape[:2]) >= patch_size:
            per_level.append(sliced_w2(x, y, patch_size, rng))
    return float(np.mean(per_level))


def _levels(u: np.ndarray) -> list[np.ndarray]:
    planes = torch.from_numpy(np.ascontiguousarray(u.transpose(2, 0, 1)))
    return [level.permute(1, 2, 0).numpy() for level in pyramid(planes, N_LEVELS)]


def sliced_w2(x: np.ndarray, y: np.ndarray, patch_size: int, rng: np.random.Generator) -> float:
    """sqrt of the mean over unit directions of the squared 1-D W2 between the projected patches of x and y.

    x (H, W, C), y (h, w, C). The 1-D distances compare N_QUANTILES mid-quantiles, so unequal counts are fine.
    """
    d = patch_size * patch_size * x.shape[2]
    n_directions = N_DIRECTIONS if d > 1 else 1
    directions = rng.standard_normal((d, n_directions))
    directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
    gap = _quantiles(x, directions, patch_size) - _quantiles(y, directions, patch_size)
    return float(np.sqrt(np.mean(np.square(gap, dtype=np.float64))))


def colour_distance(out: np.ndarray, ex: np.ndarray, *, seed: int = 0) -> float:
    """sliced_w2 between the pixels of out (H, W, C) and ex (h, w, C), in units of the values; for grey it is exact."""
    return sliced_w2(out, ex, 1, np.random.default_rng(seed))


def _quantiles(u: np.ndarray, directions: np.ndarray, w: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(u, (w, w), axis=(0, 1))  # (H', W', C, w, w)
    height, width = windows.shape[:2]
    cell = 1
    while -(-height // cell) * -(-width // cell) > MAX_PATCHES:
        cell += 1
    # not every cell-th patch: of a texture with that period (a dither, enlarged pixel art) it would see one phase
    top, left = np.mgrid[0:height:cell, 0:width:cell]
    rng = np.random.default_rng(2)
    y = rng.integers(top, np.minimum(top + cell, height))
    x = rng.integers(left, np.minimum(left + cell, width))
    patches = windows[y, x].reshape(-1, len(directions))
    projected = np.sort(np.ascontiguousarray((patches @ directions).T), axis=1)  # (K, N)
    n = projected.shape[1]
    at = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES * n - 0.5
    low = np.clip(np.floor(at).astype(np.int64), 0, n - 1)
    high = np.minimum(low + 1, n - 1)
    weight = np.clip(at - low, 0, 1).astype(np.float32)
    return (1 - weight) * projected[:, low] + weight * projected[:, high]


def luminance(u: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of (H, W, C): weights .299 .587 .114 for three or four channels, else the channels' mean."""
    if u.shape[2] in (3, 4):
        return u[..., :3] @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return u.mean(2)


def copied_share(out: np.ndarray, ex: np.ndarray, w: int) -> float | None:
    """Share of the textured w x w windows of out (uint8, H, W, C) that stand verbatim in ex; None if w does not fit.

    A window is textured when its luminance varies (see TEXTURED); 0 when none is. Windows are compared by a 64-bit
    polynomial hash.
    """
    if min(*out.shape[:2], *ex.shape[:2]) < w:
        return None
    textured = _window_deviation(luminance(out.astype(np.float32) / 255), w) > TEXTURED
    if not textured.any():
        return 0.0
    return float(np.isin(_window_hashes(out, w)[textured], _window_hashes(ex, w)).mean())


def used_share(out: np.ndarray, ex: np.ndarray, w: int) -> float | None:
    """Share of ex's pixels that lie in some w x w window which stands verbatim in out; None if w does not fit."""
    if min(*out.shape[:2], *ex.shape[:2]) < w:
        return None
    found = np.isin(_window_hashes(ex, w), _window_hashes(out, w))
    covered = np.zeros(ex.shape[:2], dtype=bool)
    h, wd = found.shape
    for dy in range(w):
        for dx in range(w):
            covered[dy : dy + h, dx : dx + wd] |= found
    return float(covered.mean())


def _window_hashes(u: np.ndarray, w: int) -> np.ndarray:
    """(H-w+1, W-w+1) uint64: sum of t[c, value] a^i b^j over the window, modulo 2^64, t a random table."""
    table = np.random.default_rng(1).integers(0, 1 << 64, size=(u.shape[2], 256), dtype=np.uint64)
    h = np.zeros(u.shape[:2], dtype=np.uint64)
    for c in range(u.shape[2]):
        h += table[c][u[..., c]]
    for axis, base in ((0, np.uint64(0x9E3779B97F4A7C15)), (1, np.uint64(0xD1342543DE82EF95))):
        n = h.shape[axis] - w + 1
        total = np.zeros_like(h.take(range(n), axis))
        for i in range(w):
            total = total * base + h.take(range(i, i + n), axis)
        h = total
    return h


def _window_deviation(u: np.ndarray, w: int) -> np.ndarray:
    def mean(v: np.ndarray) -> np.ndarray:
        s = np.pad(v.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        return (s[w:, w:] - s[:-w, w:] - s[w:, :-w] + s[:-w, :-w]) / (w * w)

    return np.sqrt(np.maximum(mean(u * u) - mean(u) ** 2, 0))


def repetition(out: np.ndarray, ex: np.ndarray) -> float | None:
    """Strongest autocorrelation of out at lags from MIN_LAG px to half its side, minus the exemplar's; None if small.

    Tiling a picture scores near 1; 0 is ideal; below 0 the exemplar's own regularity is lost.
    """
    if min(*out.shape[:2], *ex.shape[:2]) < 2 * MIN_LAG + 2:
        return None
    return _far_correlation(luminance(out)) - _far_correlation(luminance(ex))


def _far_correlation(u: np.ndarray) -> float:
    """Largest correlation coefficient between u and its shifted self where they overlap, over the far lags."""
    u = u.astype(np.float64) - u.mean()
    h, w = u.shape
    if not u.any():
        return 0.0
    shape = (2 * h, 2 * w)

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        c = np.fft.irfft2(np.fft.rfft2(a, shape) * np.fft.rfft2(b, shape).conj(), shape)
        c = np.roll(c, (h // 2, w // 2), (0, 1))
        return c[: 2 * (h // 2) + 1, : 2 * (w // 2) + 1]  # lags -h/2..h/2, -w/2..w/2

    ones = np.ones_like(u)
    cross, left, right = correlate(u, u), correlate(u * u, ones), correlate(ones, u * u)
    r = cross / np.sqrt(np.maximum(left * right, 1e-12))
    dy, dx = np.ogrid[-(h // 2) : h // 2 + 1, -(w // 2) : w // 2 + 1]
    return float(r[np.maximum(np.abs(dy), np.abs(dx)) >= MIN_LAG].max())


def sharpness(out: np.ndarray, ex: np.ndarray) -> float | None:
    """Root-mean-square luminance gradient of out over that of ex; None when ex is constant or a side is 1 pixel."""
    if min(*out.shape[:2], *ex.shape[:2]) < 2:
        return None
    reference = _gradient(luminance(ex))
    return _gradient(luminance(out)) / reference if reference > 0 else None


def _gradient(u: np.ndarray) -> float:
    dy, dx = np.diff(u, axis=0), np.diff(u, axis=1)
    return float(np.sqrt(np.mean(np.square(dy)) + np.mean(np.square(dx))))


def mean_scores(scores: Sequence[TextureScores]) -> dict[str, float]:
    """Plain means over pictures, leaving None out."""
    table = [asdict(s) for s in scores]
    keys = table[0].keys()
    return {k: float(np.mean([t[k] for t in table if t[k] is not None] or [np.nan])) for k in keys}
