"""Frechet distance between the Gaussians fitted to two sets of features: what FID and SIFID are.

    |mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))

(Dowson and Landau 1982, "The Frechet distance between multivariate normal distributions"; Heusel et al. 2017, "GANs
trained by a two time-scale update rule", for features of a network.) It is a squared distance, without a final root.
The factor 2 is sometimes lost in print; one dimension shows that it belongs there: with it the trace term is
s_x^2 + s_y^2 - 2 s_x s_y = (s_x - s_y)^2, and frechet(x, x) == 0; without it equal laws would lie s^2 apart.

Where the features come from is not known here. Everything is float64, covariances divide by n - 1.

The trace of (S_x S_y)^(1/2) is the sum of the singular values of A B' for any A, B with S_x = A'A and S_y = B'B.
Nobody needs the root of a non-symmetric matrix, whose zero eigenvalues turn rounding eps into sqrt(eps). Three routes:

    nuclear   a set with n <= d: the centred features, over sqrt(n - 1), are such a factor. No covariance is formed,
              and few samples are no numerical problem: the number is that of the definition for every n >= 2. (That
              its expectation grows as n falls is statistics, see fid_infinity.)
    cholesky  n > d in both: S_x = L L', the eigenvalues of L' S_y L.
    eigh      a covariance without a Cholesky factor (features that are constant or repeat each other), or statistics
              alone of n <= d samples: L = V w^(1/2) of S_x = V w V', without eigenvalues that are rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

__all__ = [
    "FidInfinity",
    "FrechetDistance",
    "Gaussian",
    "feature_matrix",
    "fid_infinity",
    "frechet",
    "frechet_from_statistics",
    "sifid_distance",
]


LARGEST = 1e50  # no feature is; third powers of products stay finite


def feature_matrix(x: Tensor, name: str, at_least: int = 1) -> Tensor:
    """x (n, d) in float64, off the graph; ValueError unless a real matrix, n >= at_least, d >= 1, |x| below LARGEST."""
    if x.ndim != 2 or x.shape[1] == 0 or x.is_complex():
        raise ValueError(
            f"{name} must be a real matrix (n, d), a row a sample, got {x.dtype} of shape {tuple(x.shape)}"
        )
    if len(x) < at_least:
        raise ValueError(f"{name} needs at least {at_least} samples (rows), got {len(x)}")
    x = x.detach()
    x = (x.cpu() if x.device.type == "mps" else x).double()  # MPS has no float64
    bad = len(x) - int((x.abs() < LARGEST).all(1).sum())  # NaN is below nothing
    if bad:
        raise ValueError(
            f"{name} has NaN or infinite values, or some beyond {LARGEST:g}, in {bad} of its {len(x)} rows"
        )
    return x


def same_width(d_x: int, d_y: int, names: str = "x and y") -> None:
    """ValueError unless both sets have equally many features."""
    if d_x != d_y:
        raise ValueError(f"{names} must have equally many features (columns), got {d_x} and {d_y}")


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Count, mean (d,) and scatter (d, d) = sum_i (x_i - mean)(x_i - mean)' of samples seen so far, in float64.

    Departure: the usual sums of x and x x' lose digits as |mean|^2 / variance grows. Centred scatter merges as well
    (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance") and does not.

    >>> x = torch.tensor([[0.0], [2.0], [4.0]])
    >>> stats = Gaussian.empty(1).update(x[:1]).update(x[1:])
    >>> stats.n, stats.mean.tolist(), stats.covariance.tolist()
    (3, [2.0], [[4.0]])
    """

    n: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, d: int, device: torch.device | str | None = None) -> Gaussian:
        """No samples yet, of d features."""
        zero = torch.zeros(d, dtype=torch.float64, device=device)
        return cls(0, zero, zero.outer(zero))

    @classmethod
    def of(cls, x: Tensor) -> Gaussian:
        """Of the rows of x (n, d), n >= 1."""
        x = feature_matrix(x, "x")
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    @classmethod
    def from_moments(cls, n: int, mean: Tensor, covariance: Tensor) -> Gaussian:
        """From a published mean (d,) and covariance (d, d; divided by n - 1) of n >= 2 samples."""
        if n < 2 or mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            shapes = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
            raise ValueError(f"moments need n >= 2, a mean (d,) and a covariance (d, d), got n={n}, {shapes}")
        mean, covariance = feature_matrix(mean[None], "mean")[0], feature_matrix(covariance, "covariance")
        if not torch.allclose(covariance, covariance.T, rtol=1e-5, atol=1e-8 * float(covariance.abs().max())):
            raise ValueError("covariance must be symmetric")
        return cls(n, mean, (covariance + covariance.T) * ((n - 1) / 2))

    @property
    def d(self) -> int:
        """Number of features."""
        return len(self.mean)

    @property
    def covariance(self) -> Tensor:
        """(d, d), divided by n - 1; ValueError for fewer than two samples."""
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {self.n}")
        return self.scatter / (self.n - 1)

    def update(self, batch: Tensor) -> Gaussian:
        """The statistics with batch (n, d), n >= 1, added; self is unchanged."""
        return self.merge(Gaussian.of(batch))

    def merge(self, other: Gaussian) -> Gaussian:
        """The statistics of both sets, as when several processes counted; the order matters to rounding only."""
        same_width(self.d, other.d, "statistics that are merged")
        n = self.n + other.n
        if n == 0:
            return self
        gap = other.mean - self.mean
        between = (self.n * other.n / n) * gap.outer(gap)
        return Gaussian(n, self.mean + gap * (other.n / n), self.scatter + other.scatter + between)


@dataclass(frozen=True)
class FrechetDistance:
    """value = mean_term + trace_term, a squared distance, 0 where rounding would make it negative.

    Compare only values of equal n_x and n_y: the expectation has a term that falls like 1/n.
    """

    value: float
    mean_term: float  # |mu_x - mu_y|^2
    trace_term: float  # tr(S_x + S_y - 2 (S_x S_y)^(1/2)), as rounded
    n_x: int
    n_y: int
    d: int
    route: str  # nuclear, cholesky or eigh


def _distance(
    x: tuple[int, Tensor, Tensor], y: tuple[int, Tensor, Tensor], cross: Tensor, route: str
) -> FrechetDistance:
    """From (n, mean, tr S) of both sides and the trace of the root of the product."""
    (n_x, mu_x, tr_x), (n_y, mu_y, tr_y) = x, y
    mean_term, trace_term = float((mu_x - mu_y).square().sum()), float(tr_x + tr_y - 2 * cross)
    return FrechetDistance(max(mean_term + trace_term, 0.0), mean_term, trace_term, n_x, n_y, len(mu_x), route)


def frechet(x: Tensor | Gaussian, y: Tensor | Gaussian) -> FrechetDistance:
    """Frechet distance between x (n_x, d) and y (n_y, d), features or statistics, n >= 2.

    Features are the better thing to have while n <= d (see the head of this file): a matrix of n_x x n_y at most and
    a thirtieth of the time at n = 500, d = 2048. A set with more rows than features is brought to d rows by QR.
    Errors are about 1e-13 of tr S_x + tr S_y, 1e-11 from statistics of n <= d samples (benchmarks/bench_metrics.py).
    ValueError for fewer than two rows, NaN or infinity, different d.

    >>> x = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    >>> frechet(x, 3 * x + torch.tensor([0.0, 5.0])).value  # standard deviations 2^(1/2) and 3 2^(1/2), means 5 apart
    33.0
    """
    x = x if isinstance(x, Gaussian) else feature_matrix(x, "x", at_least=2)
    y = y if isinstance(y, Gaussian) else feature_matrix(y, "y", at_least=2)
    d = _width(x)
    same_width(d, _width(y))
    if all(isinstance(side, Gaussian) or len(side) > d for side in (x, y)):
        return frechet_from_statistics(
            x if isinstance(x, Gaussian) else Gaussian.of(x), y if isinstance(y, Gaussian) else Gaussian.of(y)
        )
    (side_x, a), (side_y, b) = _factor(x), _factor(y)
    return _distance(side_x, side_y, torch.linalg.svdvals(a @ b.T).sum(), "nuclear")


def _width(x: Tensor | Gaussian) -> int:
    return x.d if isinstance(x, Gaussian) else x.shape[1]


def _factor(x: Tensor | Gaussian) -> tuple[tuple[int, Tensor, Tensor], Tensor]:
    """(n, mean, tr S) and A (r, d) with S = A'A and as few rows as can be had."""
    if isinstance(x, Gaussian):
        s = x.covariance
        l, bad = torch.linalg.cholesky_ex(s)
        return _summary(x), _root(s).T if x.n <= x.d or bad else l.T
    mean = x.mean(0)
    a = (x - mean) / sqrt(len(x) - 1)
    side = len(x), mean, a.square().sum()
    return side, torch.linalg.qr(a, mode="r").R if len(a) > a.shape[1] else a


def _root(s: Tensor) -> Tensor:
    """L (d, r) with S = L L' for S symmetric and positive up to rounding; r its numerical rank."""
    w, v = torch.linalg.eigh(s)
    kept = w > w[-1].clamp(min=0) * len(w) * torch.finfo(w.dtype).eps
    return v[:, kept] * w[kept].sqrt()


def frechet_from_statistics(a: Gaussian, b: Gaussian) -> FrechetDistance:
    """Frechet distance between two sets of which count, mean and covariance are left, n >= 2 and equal d.

    Where n <= d or features are redundant, the side of lower rank is the one that is factored: its root leaves the
    zero eigenvalues of both out, which are rounding. Eigenvalues below d eps times the largest count as zero.
    """
    same_width(a.d, b.d, "the two statistics")
    low, high = (a, b) if a.n <= b.n else (b, a)
    s, t = low.covariance, high.covariance
    sides = _summary(a), _summary(b)
    l, bad = torch.linalg.cholesky_ex(s)
    if low.n <= a.d or bad:
        return _distance(*sides, _cross(_root(s), t), "eigh")
    if torch.linalg.cholesky_ex(t).info:
        return _distance(*sides, _cross(_root(t), s), "eigh")
    return _distance(*sides, _cross(l, t), "cholesky")


def _summary(g: Gaussian) -> tuple[int, Tensor, Tensor]:
    return g.n, g.mean, g.scatter.trace() / (g.n - 1)


def _cross(l: Tensor, s: Tensor) -> Tensor:
    """tr (L L' S)^(1/2), from the symmetric L' S L."""
    return torch.linalg.eigvalsh(l.T @ s @ l).clamp(min=0).sqrt().sum()


@dataclass(frozen=True)
class FidInfinity:
    """value: the Frechet distance extrapolated to infinitely many generated samples; may be negative, not clipped.

    Read `residual` (root mean square of distances about the line, same unit) before the value. The reference's own bias
    stays: only the generated side is extrapolated, so n_reference must be equal for values that are compared.
    """

    value: float
    slope: float  # of the distance over 1/N
    residual: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]
    n_generated: int
    n_reference: int
    d: int
    seed: int


def fid_infinity(
    generated: Tensor, reference: Tensor | Gaussian, *, sizes: Sequence[int] | None = None, seed: int = 0
) -> FidInfinity:
    """FID_inf (Chong and Forsyth 2020, "Effectively unbiased FID and inception score"): intercept of FID over 1/N.

    Frechet distances of subsets of generated (n, d), drawn without replacement by seed, to the whole reference; least
    squares on 1/N. sizes: 15 from 5000 to 50000 evenly; with n < 50000 samples, from n // 10 to n (the law c/N holds
    for large N only: with n near d or below, look at the residual). Costs 15 distances.

    ValueError for n < 20 without sizes, and for sizes that are not at least two different integers in 2..n.
    """
    generated = feature_matrix(generated, "generated", at_least=2)
    n, d = generated.shape
    if not isinstance(reference, Gaussian):
        reference = feature_matrix(reference, "reference", at_least=2)
        reference = Gaussian.of(reference) if len(reference) > d else reference
    if sizes is None:
        if n < 20:
            raise ValueError(f"fid_infinity needs at least 20 generated samples for its 15 sizes, got {n}")
        largest = min(n, 50_000)
        sizes = torch.linspace(largest // 10, largest, 15, dtype=torch.float64).round().long().tolist()
    if len(set(sizes)) < 2 or min(sizes) < 2 or max(sizes) > n:
        raise ValueError(f"sizes must be at least two different integers from 2 to {n}, got {list(sizes)}")
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for size in sizes:
        subset = torch.randperm(n, generator=generator)[:size].to(generated.device)
        distances.append(frechet(generated[subset], reference).value)
    u, f = 1 / torch.tensor(sizes, dtype=torch.float64), torch.tensor(distances, dtype=torch.float64)
    slope = ((u - u.mean()) * (f - f.mean())).sum() / (u - u.mean()).square().sum()
    value = f.mean() - slope * u.mean()
    residual = (f - value - slope * u).square().mean().sqrt()
    n_reference = reference.n if isinstance(reference, Gaussian) else len(reference)
    return FidInfinity(
        float(value), float(slope), float(residual), tuple(sizes), tuple(distances), n, n_reference, d, seed
    )


def sifid_distance(locations_x: Tensor, locations_y: Tensor) -> FrechetDistance:
    """Single-image FID (Shaham, Dekel, Michaeli 2019, "SinGAN"): frechet() with the places of one picture as samples.

    locations (h w, channels): one row a place of a feature map; SinGAN has 192 channels, and 144 places at 64 px, fewer
    than channels, which is fine here. Neighbouring places are far from independent, so no law of the bias applies:
    compare only pictures of equal size.
    """
    return frechet(locations_x, locations_y)
