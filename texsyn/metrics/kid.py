"""Kernel inception distance: an unbiased squared distance (MMD) between the laws of two sets of features.

With k(a, b) = (a.b / d + 1)^3 (Binkowski, Sutherland, Arbel, Gretton 2018, "Demystifying MMD GANs"; the estimator is
that of Gretton et al. 2012, "A kernel two-sample test", lemma 6),

    sum_{i != j} k(x_i, x_j) / (m (m - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 sum_{ij} k(x_i, y_j) / m^2.

Its expectation is the same at every m and 0 for equal laws, so single values are negative about as often as positive;
they are never clipped. Where FID needs thousands of samples, this is the one to use. Everything is float64.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from texsyn.metrics.frechet import feature_matrix, same_width

__all__ = ["KernelDistance", "kid"]

BLOCK = 1 << 22  # kernel values held at a time: 32 MiB, and as much again while they are cubed


@dataclass(frozen=True)
class KernelDistance:
    """value: the mean over subsets; usually shown times 1000.

    spread is the standard deviation (ddof 0) of the subsets' values. The subsets overlap, so it is not a standard
    error of value; None where there was one subset. exact: m is all of both sets, and value the U-statistic itself.
    """

    value: float
    spread: float | None
    m: int
    subsets: int
    n_x: int
    n_y: int
    d: int
    seed: int
    lowered: bool  # m is less than was asked for, since a set is smaller than that

    @property
    def exact(self) -> bool:
        """Whether every sample of both sets was used, once."""
        return self.m == self.n_x == self.n_y


def kid(x: Tensor, y: Tensor, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> KernelDistance:
    """Mean of the unbiased MMD^2 over subsets of size rows of x (n_x, d) and y (n_y, d), drawn without replacement.

    A set with fewer than size rows lowers m to its number of rows, with a warning. When m is all of both sets, one
    subset is computed, since all are the same. Holds 64 MiB beside the features. ValueError for fewer than two rows,
    NaN or infinity, different d, size < 2, subsets < 1.

    >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0]])
    >>> result = kid(x, y, size=2)  # k is 1 or, of 1 and 1, 8: 1 + 8 - 2 (1 + 1 + 8 + 8) / 4
    >>> result.value, result.exact
    (0.0, True)
    """
    x, y = feature_matrix(x, "x", at_least=2), feature_matrix(y, "y", at_least=2)
    same_width(x.shape[1], y.shape[1])
    if size < 2 or subsets < 1:
        raise ValueError(f"kid needs size >= 2 and subsets >= 1, got size={size} and subsets={subsets}")
    m = min(size, len(x), len(y))
    if m < size:
        warnings.warn(f"kid: subsets of {m} samples instead of {size}, no more are there", stacklevel=2)
    if m == len(x) == len(y):
        subsets = 1
    generator = torch.Generator().manual_seed(seed)
    draws = [[torch.randperm(len(z), generator=generator)[:m] for z in (x, y)] for _ in range(subsets)]
    rows_x, rows_y = (torch.stack(rows).to(x.device) for rows in zip(*draws, strict=True))  # (subsets, m)
    if len(x) ** 2 + len(y) ** 2 + len(x) * len(y) <= 3 * subsets * m * m:  # all kernel values at once are fewer
        values = _mmd(x, y, _members(rows_x, len(x)), _members(rows_y, len(y)), m)
    else:
        ones = x.new_ones(1, m)
        values = torch.cat([_mmd(x[i], y[j], ones, ones, m) for i, j in zip(rows_x, rows_y, strict=True)])
    spread = float(values.std(correction=0)) if subsets > 1 else None
    return KernelDistance(float(values.mean()), spread, m, subsets, len(x), len(y), x.shape[1], seed, lowered=m < size)


def _members(rows: Tensor, n: int) -> Tensor:
    """(subsets, n), 1 where a row belongs to the subset."""
    return torch.zeros(len(rows), n, dtype=torch.float64, device=rows.device).scatter_(1, rows, 1.0)


def _mmd(x: Tensor, y: Tensor, u: Tensor, v: Tensor, m: int) -> Tensor:
    """Unbiased MMD^2 of each subset, given as indicators u (subsets, n_x) and v (subsets, n_y) of m rows each."""
    pairs = m * (m - 1)
    within = (_kernel_sums(x, x, u, u) - u @ _diagonal(x) + _kernel_sums(y, y, v, v) - v @ _diagonal(y)) / pairs
    return within - 2 * _kernel_sums(x, y, u, v) / m**2


def _kernel_sums(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """sum_ij u_si k(x_i, y_j) v_sj for every s, by blocks of rows."""
    rows = max(1, BLOCK // len(y))
    total = x.new_zeros(len(u))
    for part, weight in zip(x.split(rows), u.split(rows, 1), strict=True):
        k = (part @ y.T).div_(x.shape[1]).add_(1).pow_(3)  # (rows, n_y)
        total += (weight @ k * v).sum(1)
    return total


def _diagonal(x: Tensor) -> Tensor:
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
