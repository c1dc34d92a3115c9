"""A certificate: intervals that hold the Wasserstein-2 distance between the patches of two pictures, level by level.

The sliced distance of texture.py is an estimate of something smaller than the transport cost. Here that cost itself is
caught between two numbers, of which neither rests on a search that ended well: texsyn.ot.auction.

Rounding. Pictures are read at 8 bits, and each pyramid level is rounded to 8-bit codes, so patches are integer points,
and both bounds on their W2^2 are exact. Only the square roots are rounded, outward, to six decimals.

Which laws. Those of all patches, as long as their pairs stay within max_pairs. Beyond that the picture with more
patches is thinned to one patch out of each cell of a grid, drawn with a fixed seed, until they do; the report says how
many were left. The interval then holds for the laws of those patches; a law of fewer patches lies further from any
other, by more the finer the level.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from texsyn.images import from_unit
from texsyn.ot.auction import MAX_VALUES, interval
from texsyn.pyramid import pyramid

__all__ = ["Certificate", "Interval", "LevelBounds", "certificate"]

UNIT = "grey levels of 100"
MAX_PAIRS = 1 << 34  # all patches of 512x512 against all of 256x256; a minute or two of one core for four levels
N_LEVELS, PATCH_SIZE = 4, 5
MAX_LEVELS = 6  # up to there the pyramid of 8-bit codes is exact in float64


@dataclass(frozen=True)
class Interval:
    """lower <= W2 <= upper between the laws of n and m patches, out of n_all and m_all that the pictures have."""

    lower: float
    upper: float
    n: int
    m: int
    n_all: int
    m_all: int

    @property
    def width(self) -> float:
        """Relative width in W2^2: (upper^2 - lower^2) / upper^2, 0 for 0."""
        return 1 - (self.lower / self.upper) ** 2 if self.upper else 0.0


@dataclass(frozen=True)
class LevelBounds:
    """One pyramid level, 0 the finest: the picture's interval, and the exemplar's own left half against its right."""

    level: int
    out: Interval
    floor: Interval | None  # None where a half is smaller than a patch

    def to_dict(self) -> dict[str, Any]:
        """Flat and JSON-able; n_out and n_in are the patches compared, of_out and of_in those there are."""
        floor = self.floor
        return {
            "level": self.level,
            "lower": self.out.lower,
            "upper": self.out.upper,
            "width": round(self.out.width, 6),
            "n_out": self.out.n,
            "n_in": self.out.m,
            "of_out": self.out.n_all,
            "of_in": self.out.m_all,
            "floor_lower": floor and floor.lower,
            "floor_upper": floor and floor.upper,
            "floor_n": floor and [floor.n, floor.m],
        }


@dataclass(frozen=True)
class Certificate:
    """Certified intervals on the patch distance of a picture from its exemplar, finest level first.

    In grey levels of 100 per value: 100 sqrt(W2^2 / d) for values in [0, 1] and patches of d numbers. This is the unit
    of the score msw, and at equal patches and level never less than it: a unit direction keeps 1/d of a squared
    displacement on average. A picture that is its exemplar plus a constant c is at distance 100 c.
    """

    levels: tuple[LevelBounds, ...]
    patch_size: int

    @property
    def upper(self) -> float:
        """The largest upper bound: at every level the distance is proved to be at most this.

        What --max of `texsyn verify` looks at: a mean would let one level pay for another.
        """
        return max(level.out.upper for level in self.levels)

    @property
    def lower(self) -> float:
        """The largest lower bound: at some level the distance is proved to be at least this."""
        return max(level.out.lower for level in self.levels)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a level."""
        return [level.to_dict() for level in self.levels]

    def to_json(self) -> str:
        """One JSON object: the levels' rows, the largest bounds, the unit and what the floor is."""
        return json.dumps(
            {
                "lower": self.lower,
                "upper": self.upper,
                "unit": UNIT,
                "patch_size": self.patch_size,
                "floor": "the exemplar's left half against its right half",
                "levels": self.rows(),
            }
        )

    def to_table(self) -> str:
        """Lines of plain text: per level the interval, its width, the floor's interval, the patches compared."""
        lines = [f"{'level':<7}{'lower':>8}{'upper':>9}{'width':>8}   {'floor':<18}{'patches of OUT and IN'}"]
        for s in self.levels:
            floor = f"{s.floor.lower:.3f} .. {s.floor.upper:.3f}" if s.floor else "-"
            counts = " and ".join(
                f"all {n}" if n == n_all else f"{n} of {n_all}"
                for n, n_all in ((s.out.n, s.out.n_all), (s.out.m, s.out.m_all))
            )
            lines.append(
                f"{s.level:<7}{s.out.lower:>8.3f}{s.out.upper:>9.3f}{100 * s.out.width:>7.1f}%   {floor:<18}{counts}"
            )
        lines.append(f"lower <= patch W2 <= upper, in {UNIT}, {self.patch_size}x{self.patch_size} patches;")
        lines.append("width in W2^2; floor: the exemplar's left half against its right half")
        return "\n".join(lines)


def certificate(
    output: np.ndarray,
    exemplar: np.ndarray,
    *,
    levels: int = N_LEVELS,
    patch_size: int = PATCH_SIZE,
    tol: float = 0.02,
    max_pairs: int = MAX_PAIRS,
) -> Certificate:
    """Certified patch distances of output (H, W, C) from exemplar (h, w, C), both floats in [0, 1], at each level.

    Levels where either picture is smaller than a patch are left out. The search ends when an interval's relative width
    in W2^2 is at most tol, or after a fixed number of rounds. max_pairs bounds the patches compared (see the top of
    this file). The floor is between halves, which have half as many patches as the exemplar: read it as a yardstick,
    not as a bound.

    Costs 40 to 150 CPU seconds for grey 512x512 against 256x256 (benchmarks/results/verify_cpu.json). Raises ValueError
    when the channel counts differ, when no patch fits, for integer codes, and for arguments out of range.
    """
    _check(output, exemplar, levels, patch_size, tol, max_pairs)
    half = exemplar.shape[1] // 2
    outs, exs = _levels(output, levels), _levels(exemplar, levels)
    lefts, rights = _levels(exemplar[:, :half], levels), _levels(exemplar[:, half:], levels)
    found = []
    for s in range(levels):
        between = [
            _between(a[s], b[s], patch_size, tol, max_pairs) if min(len(a), len(b)) > s else None
            for a, b in ((outs, exs), (lefts, rights))
        ]
        if between[0] is not None:
            found.append(LevelBounds(s, between[0], between[1]))
    return Certificate(tuple(found), patch_size)


def _check(output: np.ndarray, exemplar: np.ndarray, levels: int, patch_size: int, tol: float, max_pairs: int) -> None:
    if output.dtype.kind != "f" or exemplar.dtype.kind != "f":
        raise ValueError(f"certificate needs floats in [0, 1], got {output.dtype} and {exemplar.dtype}")
    shapes = f"got {output.shape} and {exemplar.shape}"
    if output.ndim != 3 or exemplar.ndim != 3 or output.shape[2] != exemplar.shape[2]:
        raise ValueError(f"certificate needs two (height, width, channels) arrays with equally many channels, {shapes}")
    if not 1 <= levels <= MAX_LEVELS:
        raise ValueError(f"levels must be 1 to {MAX_LEVELS}, got {levels}")
    if patch_size < 1 or patch_size**2 * output.shape[2] > MAX_VALUES:
        raise ValueError(
            f"patch_size={patch_size} with {output.shape[2]} channels makes patches of "
            f"{patch_size**2 * output.shape[2]} numbers; 1 to {MAX_VALUES} can be certified"
        )
    if not output.size or not exemplar.size or min(*output.shape[:2], *exemplar.shape[:2]) < patch_size:
        raise ValueError(f"patch_size={patch_size} needs two pictures of at least that size, {shapes}")
    if not 0 < tol < 1 or not 1 <= max_pairs <= 1 << 36:
        raise ValueError(f"tol must be in (0, 1) and max_pairs in 1..2^36, got {tol} and {max_pairs}")


def _levels(u: np.ndarray, n_levels: int) -> list[np.ndarray]:
    """The pyramid of the 8-bit codes of u (H, W, C), each level (h, w, C) rounded to codes; empty for no pixels."""
    if not u.size:
        return []
    codes = torch.from_numpy(from_unit(u, np.dtype(np.uint8)).astype(np.float64)).permute(2, 0, 1)
    return [np.floor(v.permute(1, 2, 0).numpy() + 0.5).astype(np.int16) for v in pyramid(codes, n_levels)]


def _between(a: np.ndarray, b: np.ndarray, patch_size: int, tol: float, max_pairs: int) -> Interval | None:
    """The interval between the patch laws of two levels of codes (h, w, C); None where no patch fits."""
    if min(*a.shape[:2], *b.shape[:2]) < patch_size:
        return None
    (na, nb), cells = (_grid(u, patch_size, 1) for u in (a, b)), [1, 1]
    n_all, m_all = na, nb
    while na * nb > max_pairs:
        thinner = int(nb > na)
        cells[thinner] += 1
        na, nb = (_grid(u, patch_size, c) for u, c in zip((a, b), cells, strict=True))
    middle = (int(min(a.min(), b.min())) + int(max(a.max(), b.max())) + 1) // 2
    x, y = (
        _patches((u - middle).astype(np.int8), patch_size, c, seed)
        for u, c, seed in zip((a, b), cells, (2, 3), strict=True)
    )
    lower, upper = interval(x, y, tol=tol)
    scale = Fraction(100**2, 255**2 * x.shape[1])
    return Interval(_root_below(scale * lower), _root_above(scale * upper), len(x), len(y), n_all, m_all)


def _grid(u: np.ndarray, w: int, cell: int) -> int:
    return math.prod(-(-(side - w + 1) // cell) for side in u.shape[:2])


def _patches(u: np.ndarray, w: int, cell: int, seed: int) -> np.ndarray:
    """One w x w patch of u (h, w, C) out of each cell x cell square of positions, (N, D); all of them for cell = 1.

    Not every cell-th patch: of a texture with that period it would see one phase.
    """
    windows = np.lib.stride_tricks.sliding_window_view(u, (w, w), axis=(0, 1))  # (H', W', C, w, w)
    height, width = windows.shape[:2]
    top, left = np.mgrid[0:height:cell, 0:width:cell]
    rng = np.random.default_rng(seed)
    y = rng.integers(top, np.minimum(top + cell, height))
    x = rng.integers(left, np.minimum(left + cell, width))
    return windows[y, x].reshape(y.size, -1)


def _root_below(q: Fraction) -> float:
    """The largest number of six decimals whose square is at most q >= 0."""
    return math.isqrt(math.floor(q * 10**12)) / 10**6


def _root_above(q: Fraction) -> float:
    """The smallest number of six decimals whose square is at least q >= 0."""
    n = math.ceil(q * 10**12)
    return (math.isqrt(n - 1) + 1 if n else 0) / 10**6
