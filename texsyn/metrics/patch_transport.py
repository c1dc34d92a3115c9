"""Patch transport: what it costs to make a picture's patches out of the exemplar's, from below and above, by scale.

PSW (texsyn.metrics.patch_law) sees patches one direction at a time. Here whole patches are transported: W2^2 between
mu, the law of the exemplar's patches at a scale, and nu, the law that the picture's patches were drawn from.

Below, the semi-dual of texsyn.ot.semidiscrete. For ANY potential psi on the exemplar's patches x_j,

    E_nu[ min_j |y - x_j|^2 - psi_j ] + mean_j psi_j <= W2^2(nu, mu),

so that its mean over patches y that had no part in finding psi is an unbiased estimate of a lower bound. On the patches
that psi was fitted to it would flatter: there are hardly more of them than numbers in psi. So the picture is cut into
cells; psi comes from some, the estimate from others, and margins between them keep patches from sharing pixels. (At
the coarsest scales cells are hardly larger than patches, and some do share.)

All of the exemplar's patches are atoms, up to MAX_ATOMS; beyond that one of each cell of a grid, and n_atoms < of_atoms
says so: both bounds are then for the law of the atoms. Some random atoms will not do: from 1000 of them a grass is 24
grey levels away, though it is the picture that they were taken from. But `solve` would need far more patches than a
picture has to rule so many, so it runs on some, and psi of any atom x is the price at which it begins to win fitted
patches, min_i |y_i - x|^2 - phi_i. How much of that psi is used, and how much of a mere shift of the mean, is tried on
cells of its own; none of it, the nearest-neighbour distance, unless more is surely better.

Above, the mean cost of an assignment between n random patches of either, found and counted by texsyn.ot.auction: within
tol of the cheapest, and in expectation not below W2^2. It is far above, by what n patches of one law are apart, about
n^(-1/d) in W2. Hence `sampling`: the cost between two disjoint samples of n of the exemplar. The floor has both bounds
between the exemplar's halves: its second as the picture, its first as the exemplar.

Grey levels of 255 per value, sqrt(W2^2 / d), as PSW: a picture that is its exemplar plus c levels is at distance c.
Scales and patches are PSW's, so that the numbers stand side by side; each scale is rounded to whole grey levels, which
the assignment needs to be exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn.images import from_unit
from texsyn.metrics.anchors import halves
from texsyn.metrics.patch_law import N_SCALES, PATCH, box_down
from texsyn.metrics.unmeasurable import Unmeasurable
from texsyn.ot.auction import MAX_VALUES, interval
from texsyn.ot.nearest import NearestIndex
from texsyn.ot.semidiscrete import from_points, solve

__all__ = ["Bracket", "Floor", "Knobs", "TransportLevel", "patch_transport", "transport_floors"]

MAX_ATOMS = 1 << 16  # all of 256x256
MIN_SIDE = PATCH + 3  # px, of a scale: four places a side for as many cells
#: parts of the shift of the mean, and of the fitted potential, that are tried; the first is the nearest neighbour's
MIXES = ((0.0, 0.0), (1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.0, 1.0))


@dataclass(frozen=True)
class Knobs:
    """What shapes the numbers, besides the pictures and the seed."""

    n_patches: int = 1000  #: of either side of an assignment, where there are so many
    n_solved: int = 2000  #: atoms that solve is given; brick loses a grey level with 500; 4000 take three times as long
    n_fitted: int = 4000  #: patches that psi is fitted to
    n_held_out: int = 2000  #: patches of the estimate, and at most as many to choose psi by
    tol: float = 0.02  #: of the assignment, in W2^2

    def __post_init__(self) -> None:
        if min(self.n_patches, self.n_solved, self.n_fitted, self.n_held_out) < 1 or not 0 < self.tol < 1:
            raise ValueError(f"counts must be positive and tol in (0, 1), got {self}")


@dataclass(frozen=True)
class Bracket:
    """Both bounds between two pictures at one scale; squares are in grey levels^2, the rest in grey levels."""

    lower_squared: float  #: the estimate; below 0 by noise, or where psi suits the held-out patches worse than none
    lower_squared_error: (
        float  #: its standard error, by cells; another seed may choose another psi, hence another bound
    )
    upper: float
    n: int  #: patches of either side of the assignment
    n_atoms: int  #: patches of the exemplar
    of_atoms: int  #: those there are; where n_atoms is less, both bounds are for the law of the atoms
    n_solved: int
    n_fitted: int
    n_held_out: int
    n_cells: int  #: with held-out patches
    mix: tuple[float, float]  #: which of MIXES was chosen

    @property
    def lower(self) -> float:
        """The lower bound, not below 0."""
        return math.sqrt(max(0.0, self.lower_squared))

    def to_dict(self) -> dict[str, Any]:
        """Flat and JSON-able; lower_range is one standard error to either side."""
        ends = [math.sqrt(max(0.0, self.lower_squared + s * self.lower_squared_error)) for s in (-1, 1)]
        return {
            "lower": self.lower,
            "lower_range": ends,
            "lower_squared": self.lower_squared,
            "lower_squared_error": self.lower_squared_error,
            "upper": self.upper,
            "n": self.n,
            "atoms": self.n_atoms,
            "of_atoms": self.of_atoms,
            "solved": self.n_solved,
            "fitted": self.n_fitted,
            "held_out": self.n_held_out,
            "cells": self.n_cells,
            "mix": list(self.mix),
        }


@dataclass(frozen=True)
class Floor:
    """What an exemplar's scale is read beside: its halves, and the cost between two samples of n patches of itself."""

    n: int
    sampling: float
    halves: Bracket | None  #: None where a half is too small


@dataclass(frozen=True)
class TransportLevel:
    """One scale (1, 2, 4 or 8): the picture's bounds, and the exemplar's floor for as many patches."""

    scale: int
    out: Bracket
    floor: Floor

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the bounds, with sampling and under "floor" those of the halves."""
        of_halves = self.floor.halves and self.floor.halves.to_dict()
        return {"scale": self.scale} | self.out.to_dict() | {"sampling": self.floor.sampling, "floor": of_halves}


def patch_transport(
    out: np.ndarray,
    ex: np.ndarray,
    *,
    seed: int = 0,
    knobs: Knobs = Knobs(),
    floors: tuple[Floor | None, ...] | None = None,
) -> tuple[TransportLevel | None, ...]:
    """Bounds on the patch transport from ex (h, w, C) to out (H, W, C), floats in [0, 1], at scales 1x, 2x, 4x, 8x.

    None where a picture is smaller than MIN_SIDE at that scale, or out has fewer patches than the floor's n: the cost
    of another number of patches could not be read beside it. floors are transport_floors(ex) of the same seed and
    knobs, for those who compare many pictures. Costs a CPU second or two for grey 192x192
    (benchmarks/results/patch_ot.json), as do the floors.

    Unmeasurable for more channels than an assignment can be exact with; ValueError for integer codes, unequal channels
    and NaN.
    """
    _check(out, ex)
    floors = transport_floors(ex, seed=seed, knobs=knobs) if floors is None else floors
    return tuple(
        TransportLevel(1 << s, _bracket(a, b, floor.n, seed, knobs), floor)
        if floor and min(a.shape[:2]) >= MIN_SIDE and _count(a) >= floor.n
        else None
        for s, (a, b, floor) in enumerate(zip(_scales(out), _scales(ex), floors, strict=True))
    )


def transport_floors(
    ex: np.ndarray,
    *,
    seed: int = 0,
    knobs: Knobs = Knobs(),
) -> tuple[Floor | None, ...]:
    """The floor of each scale of ex (h, w, C), floats in [0, 1]; None where it is smaller than MIN_SIDE."""
    _check(ex, ex)
    first, second = halves(ex)
    found: list[Floor | None] = []
    for u, a, b in zip(_scales(ex), _scales(second), _scales(first), strict=True):
        if min(u.shape[:2]) < MIN_SIDE:
            found.append(None)
            continue
        whole = min(a.shape[:2]) >= MIN_SIDE  # a half is
        n = min(knobs.n_patches, _count(u) // 2, _count(a) if whole else _count(u))
        rows = _at(u, np.random.default_rng([seed, 3]).permutation(_count(u))[: 2 * n])
        sampling = _assigned(rows[:n], rows[n:], knobs.tol)
        found.append(Floor(n, sampling, _bracket(a, b, n, seed, knobs) if whole else None))
    return tuple(found)


def _check(out: np.ndarray, ex: np.ndarray) -> None:
    if out.dtype.kind != "f" or ex.dtype.kind != "f":
        raise ValueError(f"patch_transport needs floats in [0, 1], got {out.dtype} and {ex.dtype}")
    if out.ndim != 3 or ex.ndim != 3 or out.shape[2] != ex.shape[2] or not out.size * ex.size:
        raise ValueError(
            "patch_transport needs two (height, width, channels) arrays with equally many channels, "
            f"got {out.shape} and {ex.shape}"
        )
    if not (np.isfinite(out).all() and np.isfinite(ex).all()):
        raise ValueError("patch_transport needs finite numbers, got a NaN or an infinite value")
    if ex.shape[2] * PATCH**2 > MAX_VALUES:
        raise Unmeasurable(f"{PATCH}x{PATCH} patches of at most {MAX_VALUES // PATCH**2} channels, got {ex.shape[2]}")


def _scales(u: np.ndarray) -> list[np.ndarray]:
    """u (H, W, C) at 8 bits and its box pyramid, each rounded to whole grey levels: int16."""
    found, v = [], from_unit(u, np.dtype(np.uint8)).astype(np.float64)
    for _ in range(N_SCALES):
        found.append(np.floor(v + 0.5).astype(np.int16))
        v = box_down(v)
    return found


def _places(u: np.ndarray) -> tuple[int, int]:
    return max(0, u.shape[0] - PATCH + 1), max(0, u.shape[1] - PATCH + 1)


def _count(u: np.ndarray) -> int:
    return math.prod(_places(u))


def _at(u: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The patches of u (h, w, C) at the places ``at`` (N,), numbered along the rows: (N, D) int8, grey levels - 128."""
    windows = np.lib.stride_tricks.sliding_window_view(u - 128, (PATCH, PATCH), axis=(0, 1))
    width = windows.shape[1]
    return windows[at // width, at % width].reshape(len(at), -1).astype(np.int8)


def _assigned(x: np.ndarray, y: np.ndarray, tol: float) -> float:
    """sqrt of the mean cost of an assignment between the rows of x and y (n, D) int8: counted, at most tol too dear."""
    return math.sqrt(float(interval(x, y, tol=tol)[1]) / x.shape[1])


def _bracket(out: np.ndarray, ex: np.ndarray, n: int, seed: int, knobs: Knobs) -> Bracket:
    """Both bounds between two scales (h, w, C) of grey levels; n patches of either are assigned."""
    rng = np.random.default_rng([seed, 5])
    of_atoms = _count(ex)
    atoms = _at(ex, _thinned(*_places(ex), rng))
    n = min(n, len(atoms))
    upper = _assigned(atoms[rng.permutation(len(atoms))[:n]], _at(out, rng.permutation(_count(out))[:n]), knobs.tol)

    fit, choose, hold = _parts(*_places(out), rng)
    fit, choose, hold = fit[: knobs.n_fitted], choose[: knobs.n_held_out], hold[: knobs.n_held_out]
    x, fitted, chooser, held = _floats(atoms), *(_floats(_at(out, at)) for at in (fit, choose, hold))
    shift, psi = _potentials(x, fitted, rng, seed, knobs)
    mixed = [a * shift + b * psi for a, b in MIXES]
    values, cells = [_values(x, p, chooser) for p in mixed], _cells(*_places(out))
    gains = [_by_cells(v - values[0], cells[choose]) for v in values]
    best = int(np.argmax([gain - error for gain, error, _ in gains]))
    value, error, n_cells = _by_cells(_values(x, mixed[best], held), cells[hold])
    d = x.shape[1]
    return Bracket(
        value / d, error / d, upper, n, len(atoms), of_atoms,
        min(knobs.n_solved, len(atoms)), len(fitted), len(held), n_cells, MIXES[best],
    )  # fmt: skip


def _floats(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows.astype(np.float32))


def _thinned(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One place out of each cell x cell square of height x width, the smallest cell that leaves MAX_ATOMS at most."""
    cell = 1
    while -(-height // cell) * -(-width // cell) > MAX_ATOMS:
        cell += 1
    top, left = np.mgrid[0:height:cell, 0:width:cell]
    y = rng.integers(top, np.minimum(top + cell, height))
    x = rng.integers(left, np.minimum(left + cell, width))
    return np.asarray((y * width + x).ravel())


def _axis(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of n places its cell and how far it is from the ends of it; 4 to 8 cells, of 2 PATCH where that fits.

    A patch that is PATCH - 1 off the ends of its cell shares no pixel with those of others.
    """
    g = min(max(n // (2 * PATCH), 4), 8)
    ends = np.arange(g + 1) * n // g
    cell = np.searchsorted(ends, np.arange(n), side="right") - 1
    return cell, np.minimum(np.arange(n) - ends[cell], ends[cell + 1] - 1 - np.arange(n))


def _cells(height: int, width: int) -> np.ndarray:
    """(height * width,) the number of the cell that each place is in, below 64."""
    return np.asarray((8 * _axis(height)[0][:, None] + _axis(width)[0]).ravel())


def _parts(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places to fit psi to, to choose it by, and held out, each in random order: of a quarter, a quarter, a half.

    Cells are shared out at random: a chessboard of them is a brick wall's own pattern. Whole cells are held out, for
    with margins on their side they saw one phase of the courses; the other cells keep PATCH - 1 off their ends where
    they are wide enough, and less where they are not.
    """
    (i, from_i), (j, from_j) = _axis(height), _axis(width)
    cells, n_i, n_j = _cells(height, width), i[-1] + 1, j[-1] + 1
    margin = max(0, min(PATCH - 1, (min(height // n_i, width // n_j) - PATCH) // 2))
    inside = ((from_i[:, None] >= margin) & (from_j >= margin)).ravel()
    share = np.zeros(64, np.int64)
    share[rng.permutation(np.unique(cells))] = np.arange(n_i * n_j) % 4
    parts = (inside & (share[cells] == 0), inside & (share[cells] == 1), share[cells] >= 2)
    fit, choose, hold = (rng.permutation(np.flatnonzero(part)) for part in parts)
    return fit, choose, hold


def _potentials(x: Tensor, y: Tensor, rng: np.random.Generator, seed: int, knobs: Knobs) -> tuple[Tensor, Tensor]:
    """Two potentials (M,) on the atoms x (M, D) from patches y (N, D): that of a shift of the mean, and the fitted one.

    A shift by c is undone by psi_j = -2 <c, x_j>: |y - x_j|^2 - psi_j is |y - c - x_j|^2 and what all j share.
    """
    shift = -2 * (x - x.mean(0)) @ (y.mean(0) - x.mean(0))
    some = x[torch.from_numpy(rng.permutation(len(x))[: knobs.n_solved])]
    psi = solve(from_points(y), some, tol=0.2, seed=seed).psi
    psi = _minima(y, _minima(some, psi, y), x)
    return shift, psi - psi.mean()


def _minima(of: Tensor, potential: Tensor, at: Tensor) -> Tensor:
    """min_j |z - of_j|^2 - potential_j at each row z of ``at``, (len(at),)."""
    index = NearestIndex(of)
    index.set_bias(potential)
    return index.argmin(at, return_value=True)[1]


def _values(x: Tensor, psi: Tensor, y: Tensor) -> np.ndarray:
    """The semi-dual's value (N,) float64 at each of y (N, D), of the atoms x (M, D) with equal weights."""
    return np.asarray(_minima(x, psi, y).double().numpy() + float(psi.double().mean()))


def _by_cells(values: np.ndarray, cells: np.ndarray) -> tuple[float, float, int]:
    """Mean of values (N,), its standard error where those of one cell are no independent draws, number of cells."""
    mean = values.mean()
    which, inverse = np.unique(cells, return_inverse=True)
    sums = np.bincount(inverse, values - mean)
    n = len(which)
    return float(mean), math.sqrt(n / (n - 1) * float(np.square(sums).sum())) / len(values), n
