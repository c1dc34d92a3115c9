"""Precision, recall, density and coverage: which share of one set of features lies among the other's neighbours.

Every sample has a ball that reaches to its k-th nearest OTHER sample of the same set; the union of the balls stands for
the set's support. With N reference and M generated samples,

    precision   share of generated samples inside at least one reference ball: nothing invented
    recall      share of reference samples inside at least one generated ball: nothing missing
    density     number of reference balls around a generated sample, mean over them, over k; may exceed 1
    coverage    share of reference samples with a generated sample inside their own ball

(Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models"; Naeem et al. 2020,
"Reliable fidelity and diversity metrics for generative models".) Two samples of one law do not score 1: coverage is
1 - 2^-k, density 1, precision and recall depend on dimension and fall with N. Hence N = M is required, and shown.

Copies. Where a synthesis repeats the exemplar, distances lie exactly ON a radius. So inside means <=, and distances are
root sums of squared differences in float64: equal rows are at distance 0, and equal pairs equally far, whatever block
they were computed in. |a|^2 - 2ab + |b|^2, a dozen times faster, only sorts out the pairs that are so clearly inside or
outside that its rounding error, which is bounded, cannot matter; the answers are those of differences, bit for bit.

And k + 1 copies of a sample would give it a ball of radius 0, so balls are drawn around DISTINCT samples, copies
counted once; shares are still shares of all samples, copies included. Only exact copies are recognised: rows that
differ in the last bit are two samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from texsyn.metrics.frechet import feature_matrix, same_width

__all__ = [
    "DensityCoverage", "PrecisionRecall", "density_coverage", "neighbour_scores", "precision_recall", "radii",
]  # fmt: skip

BLOCK = 1 << 21  # numbers of a block, 16 MiB; five are alive at a time, and glibc kept up to 430 MiB of freed ones


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares in [0, 1], higher is better, 1 not to be expected; read with n and k."""

    precision: float
    recall: float
    k: int
    n_generated: int
    n_reference: int
    distinct_generated: int
    distinct_reference: int
    d: int


@dataclass(frozen=True)
class DensityCoverage:
    """density near 1 and coverage near 1 - 2^-k (coverage_of_equal_laws) are what two sets of one law have."""

    density: float
    coverage: float
    k: int
    n_generated: int
    n_reference: int
    distinct_reference: int
    d: int

    @property
    def coverage_of_equal_laws(self) -> float:
        """1 - 2^-k: what coverage is expected to be for two sets of one law, both of this size and that large."""
        return 1 - 2.0**-self.k


def _enough(distinct: Tensor, n: int, k: int, name: str) -> None:
    if k < 1:
        raise ValueError(f"k={k} must be at least 1")
    if len(distinct) <= k:
        copies = f", the other {n - len(distinct)} being copies" if len(distinct) < n else ""
        raise ValueError(f"k={k} needs at least {k + 1} distinct samples in {name}, got {len(distinct)}{copies}")


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """(n_x, n_y), by differences."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _pairwise(x: Tensor, y: Tensor) -> Tensor:
    """(n,) distances of x_i and y_i, with the very sums of _distances."""
    return _distances(x[:, None], y[:, None])[:, 0, 0]


def _squares(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Blocks (rows of x, their squared distances to y by products, a bound (rows,) of what these are off by).

    A sum of d products is off by d eps / 2 of its absolute terms (Higham 2002, "Accuracy and stability of numerical
    algorithms", 3.1); with three sums here, one in the distances proper and 2ab <= a^2 + b^2 that makes 2 d eps.
    """
    norms = y.square().sum(1)
    for part in x.split(max(1, BLOCK // max(y.shape))):
        own = part.square().sum(1)
        squares = torch.addmm(norms, part, y.T, alpha=-2).add_(own[:, None])
        scale = own + norms.max()
        yield part, squares, 4 * (x.shape[1] + 8) * torch.finfo(x.dtype).eps * scale + torch.finfo(x.dtype).tiny


def radii(x: Tensor, k: int) -> Tensor:
    """(n,) distance from each row of x (n, d) to its k-th nearest other row. k copies of a row leave it radius 0.

    >>> radii(torch.tensor([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 2.0]
    """
    x = feature_matrix(x, "x")
    _enough(x, len(x), k, "x")
    return _radii(x, (k,))[0]


def _radii(x: Tensor, ks: Sequence[int]) -> list[Tensor]:
    """radii of x for each of ks, of which all but the first cost next to nothing."""
    found: list[list[Tensor]] = [[] for _ in ks]
    for part, squares, error in _squares(x, x):
        nearest = squares.topk(max(ks) + 1, largest=False)  # sorted; the first is itself, at 0
        for k, kept in zip(ks, found, strict=True):
            at_k, j = nearest.values[:, k], nearest.indices[:, k]
            r = _pairwise(part, x[j])
            tied = ((squares - at_k[:, None]).abs_() <= 2 * error[:, None]).sum(1) > 1  # any of several may be the k-th
            if tied.any():
                r[tied] = _distances(part[tied], x).kthvalue(k + 1, 1).values
            kept.append(r)
    return [torch.cat(parts) for parts in found]


def _counts(x: Tensor, y: Tensor, *limits: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each of limits, the number of pairs |x_i - y_j| <= limit_ij of every row of x, and of every row of y.

    A limit is (1, n_y), balls around the rows of y, or (n_x, 1), balls around those of x: a pair's distance serves all.
    """
    of_x: list[list[Tensor]] = [[] for _ in limits]
    of_y = [torch.zeros(len(y), dtype=torch.int64) for _ in limits]
    at = 0
    for part, squares, error in _squares(x, y):
        rows = slice(at, at := at + len(part))
        for k, limit in enumerate(limits):
            r = (limit if len(limit) == 1 else limit[rows]).expand(len(part), len(y))
            # r^2 is rounded by less than error's slack, or so large that all pairs are inside
            beyond = squares - r.square()
            inside = beyond <= 0
            doubt = (beyond.abs_() <= error[:, None]).nonzero()  # (pairs, 2)
            for i, j in (pairs.T for pairs in doubt.split(max(1, BLOCK // x.shape[1]))):
                inside[i, j] = _pairwise(part[i], y[j]) <= r[i, j]
            of_x[k].append(inside.sum(1))
            of_y[k] += inside.sum(0)
    return [(torch.cat(parts), sums) for parts, sums in zip(of_x, of_y, strict=True)]


@dataclass(frozen=True)
class _Sets:
    """The distinct samples of both sets, sorted, and how often each occurs."""

    generated: Tensor
    copies_generated: Tensor
    reference: Tensor
    copies_reference: Tensor

    @property
    def n(self) -> tuple[int, int]:
        """How many samples there are, generated and reference, copies included."""
        return int(self.copies_generated.sum()), int(self.copies_reference.sum())


def _sets(generated: Tensor, reference: Tensor, allow_unequal: bool) -> _Sets:
    generated, reference = feature_matrix(generated, "generated"), feature_matrix(reference, "reference")
    same_width(generated.shape[1], reference.shape[1], "generated and reference")
    if len(generated) != len(reference) and not allow_unequal:
        counts = f"{len(generated)} generated and {len(reference)} reference samples"
        raise ValueError(f"neighbour scores need equally many samples, got {counts}; allow_unequal=True permits it")
    return _Sets(*generated.unique(dim=0, return_counts=True), *reference.unique(dim=0, return_counts=True))


def precision_recall(
    generated: Tensor, reference: Tensor, *, k: int = 3, allow_unequal: bool = False
) -> PrecisionRecall:
    """Improved precision and recall of generated (M, d) against reference (N, d); exchanging the two exchanges them.

    Costs M^2 + N^2 + M N distances, with 80 MiB of them alive at a time. Unequal counts, which make one set of balls
    smaller than the other, are a ValueError unless allow_unequal. ValueError also for k distinct samples or fewer,
    different d, NaN or infinity.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
    >>> precision_recall(torch.tensor([[0.5], [1.5], [2.5], [3.5]]), x, k=1).precision  # radii 1 1 1 7
    1.0
    """
    sets = _sets(generated, reference, allow_unequal)
    _enough(sets.generated, len(generated), k, "generated")
    _enough(sets.reference, len(reference), k, "reference")
    (around_g,), (around_r,) = _radii(sets.generated, (k,)), _radii(sets.reference, (k,))
    (balls_r, _), (_, balls_g) = _counts(sets.generated, sets.reference, around_r[None], around_g[:, None])
    return _precision_recall(sets, balls_r, balls_g, k)


def density_coverage(
    generated: Tensor, reference: Tensor, *, k: int = 5, allow_unequal: bool = False
) -> DensityCoverage:
    """Density and coverage of generated (M, d) against reference (N, d).

    Costs N^2 + M N distances, with 80 MiB of them alive at a time. ValueErrors as in precision_recall, but generated
    samples need not be distinct.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
    >>> result = density_coverage(torch.tensor([[0.5], [0.5], [0.5], [20.0]]), x, k=1)  # two balls around 0.5, thrice
    >>> result.density, result.coverage
    (1.5, 0.5)
    """
    sets = _sets(generated, reference, allow_unequal)
    _enough(sets.reference, len(reference), k, "reference")
    ((balls, samples),) = _counts(sets.generated, sets.reference, _radii(sets.reference, (k,))[0][None])
    return _density_coverage(sets, balls, samples, k)


def neighbour_scores(
    generated: Tensor, reference: Tensor, *, k: tuple[int, int] = (3, 5), allow_unequal: bool = False
) -> tuple[PrecisionRecall, DensityCoverage]:
    """precision_recall with k[0] and density_coverage with k[1] of the same distances, for little more than the first.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [9.0]]); y = x + 0.25
    >>> neighbour_scores(x, y, k=(1, 2)) == (precision_recall(x, y, k=1), density_coverage(x, y, k=2))
    True
    """
    sets = _sets(generated, reference, allow_unequal)
    _enough(sets.generated, len(generated), k[0], "generated")
    for of_either in k:
        _enough(sets.reference, len(reference), of_either, "reference")
    (around_g,), (around_r, wide_r) = _radii(sets.generated, k[:1]), _radii(sets.reference, k)
    limits = around_r[None], around_g[:, None], wide_r[None]
    (balls_r, _), (_, balls_g), (balls, samples) = _counts(sets.generated, sets.reference, *limits)
    return _precision_recall(sets, balls_r, balls_g, k[0]), _density_coverage(sets, balls, samples, k[1])


def _precision_recall(sets: _Sets, balls_r: Tensor, balls_g: Tensor, k: int) -> PrecisionRecall:
    """From the number of reference balls around each generated sample, and of generated ones around each reference."""
    n_generated, n_reference = sets.n
    return PrecisionRecall(
        int(sets.copies_generated[balls_r > 0].sum()) / n_generated,
        int(sets.copies_reference[balls_g > 0].sum()) / n_reference,
        k,
        n_generated,
        n_reference,
        len(sets.generated),
        len(sets.reference),
        sets.generated.shape[1],
    )


def _density_coverage(sets: _Sets, balls: Tensor, samples: Tensor, k: int) -> DensityCoverage:
    """From the number of reference balls around each generated sample, and of distinct samples in each such ball."""
    n_generated, n_reference = sets.n
    return DensityCoverage(
        int((balls * sets.copies_generated).sum()) / (k * n_generated),
        int(sets.copies_reference[samples > 0].sum()) / n_reference,
        k,
        n_generated,
        n_reference,
        len(sets.reference),
        sets.generated.shape[1],
    )
