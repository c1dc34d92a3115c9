"""Semi-discrete optimal transport: from a law one can draw from onto finitely many weighted atoms.

The transport map sends x to the atom argmin_j |x - y_j|^2 - psi_j, where psi maximises the concave semi-dual

    H(psi) = E_x[ min_j |x - y_j|^2 - psi_j ] + sum_j w_j psi_j,     dH/dpsi_j = w_j - P(x is sent to y_j),

by averaged stochastic gradient ascent, as in Genevay, Cuturi, Peyre, Bach (NeurIPS 2016, "Stochastic Optimization for
Large-scale Optimal Transport") and Galerne, Leclaire, Rabin (SIAM J. Imaging Sci. 11(4), 2018, "A Texture Synthesis
Model Based on Semi-discrete Optimal Transport in Patch Space"). Departures: mini-batches instead of one sample a step;
the step in units of the data, c m0 J / sqrt(t), with c found by trial; an average weighted by t^2 instead of a uniform
one; equal atoms merged; a coarse-to-fine start. benchmarks/bench_ot.py sets the published algorithm beside this one.

The quality of a solution is its mass error sum_j |P(x is sent to y_j) - w_j|, between 0 and 2. It is limited by the
samples rather than the optimiser: even the exact optimum on N samples has about sqrt(2 J / (pi N)) of it.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from texsyn.ot.nearest import NearestIndex, ieee_float32, one_torch_thread

__all__ = ["PointCloud", "Sampler", "SemiDiscrete", "c_transform", "from_points", "solve", "unique_atoms"]

Sampler = Callable[[int, torch.Generator], Tensor]  # (n, generator) -> (n, D), draws from the source


@dataclass(frozen=True, eq=False)
class SemiDiscrete:
    """A solved semi-discrete transport: atoms y (M, D), weights (M,) of sum 1, dual potential psi (M,) of mean 0."""

    y: Tensor
    weights: Tensor
    psi: Tensor
    outcome: str  #: one sentence: how it ended
    converged: bool  #: residual <= the tolerance asked for
    residual: float  #: mass error on test draws, less their counting noise; exact on a cloud no larger than the test
    residual_floor: float  #: mass error that n_samples independent draws leave even to an exact optimum
    value: float  #: semi-dual value on the test draws: up to their noise a lower bound of the transport cost
    step: float  #: the constant c of the step c m0 J / sqrt(t)
    n_samples: int  #: draws the potential was computed from: coarse start, trials of c and ascent, but not the tests
    seconds: float  #: wall time
    history: tuple[tuple[int, float], ...]  #: (n_samples, mass error) wherever it was measured
    backend: str = "auto"
    centre: bool = True

    @functools.cached_property
    def index(self) -> NearestIndex:
        """The atoms with the bias psi, ready for searches."""
        index = NearestIndex(self.y, backend=self.backend, centre=self.centre)
        index.set_bias(self.psi)
        return index

    def assign(self, x: Tensor) -> Tensor:
        """Index of the atom that each row of x (N, D) is sent to, int64 (N,), the lowest on ties."""
        return self.index.argmin(x)

    def map(self, x: Tensor) -> Tensor:
        """The transported points y[assign(x)], (N, D)."""
        return self.y[self.assign(x)]

    def dual_value(self, x: Tensor) -> Tensor:
        """Semi-dual value on the sample x (N, D), a scalar; its gradient in x is 2 (x - map(x)) / N."""
        j = self.assign(x)
        return ((x - self.y[j]).square().sum(1) - self.psi[j]).mean() + self.weights @ self.psi


WARM = 100  # a start that is not zero counts as this many steps, or the first steps would throw it away
COARSEST = 64  # atoms of a problem that needs no coarser one


def solve(
    sample: Sampler,
    y: Tensor,
    weights: Tensor | None = None,
    *,
    psi0: Tensor | None = None,
    tol: float = 0.05,
    max_samples: int | None = None,
    batch: int = 512,
    step: float | Literal["auto"] = "auto",
    multiscale: bool | Literal["auto"] = "auto",
    seed: int = 0,
    generator: torch.Generator | None = None,
    time_limit: float | None = None,
    backend: str = "auto",
    centre: bool = True,
) -> SemiDiscrete:
    """Semi-discrete transport of the source behind ``sample`` onto atoms y (M, D) with weights (M,), equal by default.

    Stops when the mass error, measured from time to time, is at most tol; else after max_samples draws (default: four
    times what the exact optimum needs for tol) or time_limit seconds of wall time (which do not cut the start short).
    It never raises for want of precision: read ``converged`` and ``outcome``. A finite source is drawn without
    replacement: see from_points.

    psi0 (M,) starts from a known potential; otherwise multiscale starts from coarser problems ("auto": from 128 atoms
    on). step is the c of the step c m0 J / sqrt(t), or "auto": of several short runs, the one with the least
    mass error on held-out draws. Equal atoms share one potential. Draws come from generator, else from a fresh one
    with this seed; the global stream is not touched. backend and centre are those of NearestIndex.

    Raises ValueError for empty or non-finite data, wrong shapes, or weights that are not positive.
    """
    began = time.perf_counter()
    atoms, w, inverse = unique_atoms(y, weights)
    n_floor = len(atoms) * (2 / math.pi) / tol**2  # draws whose exact optimum has mass error tol
    budget = math.ceil(max(4 * n_floor, 256 * batch)) if max_samples is None else max_samples
    if budget < 1 or batch < 1 or not (step == "auto" if isinstance(step, str) else step > 0):
        raise ValueError(
            f"max_samples, batch and step must be positive (step: or 'auto'), got {budget}, {batch}, {step}"
        )
    batch = max(1, min(batch, budget // 64))  # an average over fewer than some dozens of steps is no average
    draw = _Draw(sample, generator or torch.Generator(y.device).manual_seed(seed))
    make_index = functools.partial(NearestIndex, backend=backend, centre=centre)
    index = make_index(atoms)

    # Where to start, and how far to step: c m0 J / sqrt(t).
    n_trial = max(1, min(budget // (8 * batch), min(256, max(64, budget // (32 * batch)))))  # 64 choose nearly as well
    plan = _Plan(draw, make_index, batch, n_trial, search=step == "auto", coarse=psi0 is None and bool(multiscale))
    psi, t, unit, c = _start(plan, index, atoms, w, 0.2 if step == "auto" else step)
    if psi0 is not None:
        if psi0.shape != (len(y),) or not bool(psi0.isfinite().all()):
            raise ValueError(f"psi0 needs {len(y)} finite numbers, got shape {tuple(psi0.shape)}")
        psi, t = torch.zeros_like(w).scatter_reduce(0, inverse, psi0.to(w), "mean", include_self=False), WARM
    average = psi.clone()
    if plan.search:
        c, psi, average = _find_step(plan, index, w, psi, t, unit, c)
        t += n_trial

    # The ascent, halted now and then to look at the mass error.
    history: list[tuple[int, float]] = []
    spent, late = draw.n_drawn, False
    while True:
        halt = min(budget, math.ceil(max(1.5 * n_floor, 1.6 * spent)))  # 1.5: before that tol is out of reach
        while spent < halt and not late:
            n_steps = min(16, math.ceil((halt - spent) / batch))
            _ascend(index, w, psi, average, (draw(batch) for _ in range(n_steps)), t, c * unit)
            t, spent = t + n_steps, spent + n_steps * batch
            late = time_limit is not None and time.perf_counter() - began > time_limit
        residual, value = _test(index, w, average, draw, n_test=math.ceil(max(4096, min(n_floor / 2, spent / 5))))
        history.append((spent, residual))
        if residual <= tol or spent >= budget or late:
            break

    floor = math.sqrt(2 * len(atoms) / (math.pi * spent))
    outcome = f"mass error {residual:.3g} after {spent:,} draws is within tol={tol:g}"
    if residual > tol:
        why = f"the time limit of {time_limit:g} s" if late else "max_samples"
        outcome = (
            f"mass error {residual:.3g} is above tol={tol:g}: stopped by {why} after {spent:,} draws, which leave "
            f"{floor:.3g} even to an exact optimum (tol takes about {2 * n_floor:,.0f} draws)"
        )
    psi = average[inverse]
    return SemiDiscrete(
        y=y.detach(),
        weights=w[inverse] / torch.bincount(inverse)[inverse] if weights is None else weights / weights.sum(),
        psi=psi - psi.mean(),
        outcome=outcome,
        converged=residual <= tol,
        residual=residual,
        residual_floor=floor,
        value=value,
        step=c,
        n_samples=spent,
        seconds=time.perf_counter() - began,
        history=tuple(history),
        backend=backend,
        centre=centre,
    )


def _ascend(
    index: NearestIndex, w: Tensor, psi: Tensor, average: Tensor, batches: Iterable[Tensor], t: int, step: float
) -> None:
    """Averaged stochastic gradient ascent on H, steps t+1, t+2, .. : psi (J,) and its average are changed in place.

    The algorithm of Galerne, Leclaire, Rabin 2018, with the mean over a batch for the gradient at one sample and, for
    the uniform average, weights t^2, which forget the first steps.
    """
    for t, x in enumerate(batches, start=t + 1):  # noqa: B020
        index.set_bias(psi, check=False)
        j = index.argmin(x, check=False)
        mass = torch.zeros_like(w).index_add_(0, j, torch.ones_like(j, dtype=w.dtype)) / len(x)
        psi.add_(w - mass, alpha=step / math.sqrt(t))
        average.lerp_(psi, 6 * t / ((t + 1) * (2 * t + 1)))  # t^2 / (1^2 + .. + t^2)


@dataclass(frozen=True)
class _Plan:
    """What all levels of one solve share."""

    draw: _Draw
    make_index: Callable[[Tensor], NearestIndex]
    batch: int
    n_trial: int  # steps of a trial of c, and of the ascent at a coarse level
    search: bool  # for c
    coarse: bool  # start from a coarser problem


def _start(plan: _Plan, index: NearestIndex, y: Tensor, w: Tensor, c: float) -> tuple[Tensor, int, float, float]:
    """A first potential (J,), the number of steps it counts as, the unit m0 J of a step, and a guess at c.

    From many atoms: the problem with an eighth of them, started in this same way, ascended shortly and extended. It
    costs some per cent of a solve and leaves hardly an atom empty; the greater dual value decides if it is used.

    From few: the similarity between source and atoms. Between isotropic Gaussians of means p, q and deviations b s, s
    the transport is z -> q + (z - p) / b, with psi(y) = (1 - b) |y - q|^2 - 2 <p - q, y>, and from there the unit is
    m0 = b E min_j |q + (x - p) / b - y_j|^2. Where means and variances agree, psi is 0 and m0 = E min_j |x - y_j|^2.
    """
    x = plan.draw(min(4096, 4 * plan.batch))
    p, q = x.mean(0), w.to(y) @ y
    variance = float(w.to(y) @ (y - q).square().sum(1))
    b = math.sqrt(float((x - p).square().sum(1).mean()) / variance) if variance else 1.0
    b = b or 1.0  # one atom, or a source in one point
    index.set_bias(None)
    m0 = b * float(index.argmin(q + (x - p) / b, return_value=True)[1].mean()) or b * variance or 1.0
    psi = ((1 - b) * (y - q).square().sum(1) - 2 * (y - q) @ (p - q)).to(w)
    if not plan.coarse or len(y) < 2 * COARSEST:
        return psi, 0, m0 * len(y), c

    ground, x0 = psi, x
    centres, masses = _k_means(y, w, len(y) // 8, plan.draw.generator)
    coarse = plan.make_index(centres)
    psi, t, unit, c = _start(plan, coarse, centres, masses, c)
    average = psi.clone()
    if plan.search:
        c, _, average = _find_step(plan, coarse, masses, psi, t, unit, c)
        c /= 2  # finer problems want smaller steps
    else:
        _ascend(coarse, masses, psi, average, (plan.draw(plan.batch) for _ in range(plan.n_trial)), t, c * unit)
    coarse.set_bias(average)
    x = plan.draw(8 * len(centres))
    psi = _extend(x, coarse.argmin(x, return_value=True)[1], y, rank=8)
    better = _dual(index, w, psi, x0)[0] > _dual(index, w, ground, x0)[0]
    return (psi, WARM, m0 * len(y), c) if better else (ground, 0, m0 * len(y), c)


@ieee_float32()
@one_torch_thread()
def _extend(x: Tensor, phi: Tensor, y: Tensor, *, rank: int) -> Tensor:
    """psi_j = the rank-th smallest |x_i - y_j|^2 - phi_i: what atom j must bid to win ``rank`` of the points.

    phi (N,) is the dual value of the coarse problem at x (N, D). With 8 points a coarse atom, y_j alone would win as
    many points as its coarse atom had; sharing them with its siblings it keeps about its own weight. Copying the
    potential of the coarse atom instead leaves most siblings empty.
    """
    centre = y.mean(0)
    x, y = x - centre, y - centre
    psi = torch.empty(len(y), device=y.device)
    rest = x.square().sum(1) - phi
    for i in range(0, len(y), 256):
        yi = y[i : i + 256]
        excess = rest - 2 * yi @ x.T  # (256, N)
        psi[i : i + 256] = excess.topk(rank, 1, largest=False).values[:, -1] + yi.square().sum(1)
    return psi - psi.mean()


def _k_means(y: Tensor, w: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """At most k centres of the weighted atoms and their weights, by five Lloyd iterations from random atoms."""
    centres = y[torch.randperm(len(y), generator=generator, device=generator.device)[:k].to(y.device)]
    for _ in range(5):
        j = NearestIndex(centres).argmin(y)
        masses = torch.zeros(len(centres), device=y.device).index_add_(0, j, w)
        centres = torch.zeros_like(centres).index_add_(0, j, y * w[:, None].to(y))
        centres, masses = centres[masses > 0] / masses[masses > 0, None], masses[masses > 0]
    return centres, masses


def _find_step(
    plan: _Plan, index: NearestIndex, w: Tensor, psi: Tensor, t: int, unit: float, c: float
) -> tuple[float, Tensor, Tensor]:
    """The best of c, c/2, 2c, .. by short ascents, climbing while it helps; and psi and average of that ascent.

    Best is the least mass error on held-out draws. (The greatest dual value prefers steps that rise fast and leave the
    masses wrong for long; chi-square errors are ruled by single atoms.) All trials see the same draws, so that they can
    be compared, and the winner's steps are not wasted.
    """
    batches = [plan.draw(plan.batch) for _ in range(plan.n_trial)]
    held_out = plan.draw(min(8192, max(16, 2 * plan.n_trial // 3) * plan.batch))

    @functools.cache
    def trial(k: int) -> tuple[float, Tensor, Tensor]:
        last, average = psi.clone(), psi.clone()
        _ascend(index, w, last, average, batches, t, c * 2.0**k * unit)
        mass = _dual(index, w, average, held_out)[1] / len(held_out)
        return float((mass - w).abs().sum()), last, average

    best = 0
    for direction in (-1, 1):
        while abs(best) < 8 and trial(best + direction)[0] < trial(best)[0]:
            best += direction
    return c * 2.0**best, trial(best)[1], trial(best)[2]


def _dual(index: NearestIndex, w: Tensor, psi: Tensor, x: Tensor) -> tuple[float, Tensor]:
    """Semi-dual value on x (N, D), in float64, and how many rows go to each atom, (J,)."""
    index.set_bias(psi)
    value, count = torch.zeros((), dtype=torch.float64, device=w.device), torch.zeros_like(w, dtype=torch.float64)
    for rows in x.split(2**15):
        j, minimum = index.argmin(rows, return_value=True)
        value += minimum.sum(dtype=torch.float64)
        count += torch.bincount(j, minlength=len(w))
    return float(value / len(x) + w.double() @ psi.double()), count


def _test(index: NearestIndex, w: Tensor, psi: Tensor, draw: _Draw, *, n_test: int) -> tuple[float, float]:
    """Mass error and semi-dual value: exact on a point cloud of at most n_test points, else on n_test fresh draws."""
    if draw.cloud is not None and len(draw.cloud) <= n_test:
        value, count = _dual(index, w, psi, draw.cloud)
        return float((count / len(draw.cloud) - w).abs().sum()), value
    value, count = _dual(index, w, psi, draw.uncounted(n_test))
    noise = float((2 * w * (1 - w) / (math.pi * n_test)).sqrt().sum())  # expected error of n_test draws of w itself
    return math.sqrt(max(0.0, float((count / n_test - w).abs().sum()) ** 2 - noise**2)), value


# Sources and atoms.


@dataclass(frozen=True, eq=False)
class PointCloud:
    """The law that gives every row of points (N, D) the mass 1/N; a Sampler."""

    points: Tensor

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws, without replacement as long as the points last."""
        return self.epochs(generator)(n)

    def epochs(self, generator: torch.Generator) -> Callable[[int], Tensor]:
        """draw(n): the points in random order, shuffled anew when they are used up."""
        left = self.points[:0]

        def draw(n: int) -> Tensor:
            nonlocal left
            while len(left) < n:
                order = torch.randperm(len(self.points), generator=generator, device=generator.device)
                left = torch.cat([left, self.points[order.to(self.points.device)]])
            drawn, left = left[:n], left[n:]
            return drawn

        return draw


def from_points(x: Tensor) -> PointCloud:
    """The empirical law of the rows of x (N, D), as a source for solve.

    solve draws it without replacement, epoch after epoch: a quarter less mass error than independent draws at the same
    count, on clouds of 4,096 to 65,536 patches and 1,000 atoms. If not too large for that, all of it is the test.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> solution = solve(from_points(x), torch.tensor([[0.0], [0.1]]), seed=1)
    >>> solution.assign(x).tolist()
    [0, 0, 1, 1]
    """
    if x.ndim != 2 or len(x) == 0 or not bool(x.isfinite().all()):
        raise ValueError(f"x needs finite numbers of shape (N, D) with N > 0, got shape {tuple(x.shape)}")
    return PointCloud(x.detach())


class _Draw:
    """draw(n) from a sampler and one generator: checked, and counted."""

    def __init__(self, sample: Sampler, generator: torch.Generator) -> None:
        self.generator, self.n_drawn = generator, 0
        self.cloud = sample.points if isinstance(sample, PointCloud) else None
        self._next = sample.epochs(generator) if isinstance(sample, PointCloud) else lambda n: sample(n, generator)

    def __call__(self, n: int) -> Tensor:
        self.n_drawn += n
        return self.uncounted(n)

    def uncounted(self, n: int) -> Tensor:
        x = self._next(n)
        if self.cloud is None and (len(x) != n or not bool(x.isfinite().all())):
            raise ValueError(f"sample({n}, generator) must give {n} finite rows, got shape {tuple(x.shape)}")
        return x


def unique_atoms(y: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Equal rows of y (M, D) merged: (atoms (J, D), weights (J,) of sum 1, inverse (M,)), with y == atoms[inverse].

    Atoms keep the order of their first appearance. Two equal atoms have the same cell, so that unmerged one of them
    could never receive its share. weights (M,) are equal by default.

    >>> atoms, w, inverse = unique_atoms(torch.tensor([[3.0], [1.0], [3.0]]))
    >>> atoms.flatten().tolist(), inverse.tolist()
    ([3.0, 1.0], [0, 1, 0])
    """
    if y.ndim != 2 or y.numel() == 0 or not y.is_floating_point() or not bool(y.isfinite().all()):
        raise ValueError(f"y needs finite floating-point numbers (M, D), M > 0, got {tuple(y.shape)}, {y.dtype}")
    if weights is None:
        weights = torch.ones(len(y), device=y.device)
    if weights.shape != (len(y),) or not bool(((weights > 0) & weights.isfinite()).all()):
        raise ValueError(f"weights needs {len(y)} positive numbers, got shape {tuple(weights.shape)}")
    y = y.detach()
    atoms, inverse = torch.unique(y, dim=0, return_inverse=True)  # in lexicographic order
    here = torch.arange(len(y), device=y.device)
    first = here.new_full((len(atoms),), len(y)).scatter_reduce(0, inverse, here, "amin")
    order = first.argsort()
    rank = torch.empty_like(order).index_copy_(0, order, here[: len(order)])
    inverse = rank[inverse]
    mass = torch.zeros(len(atoms), dtype=torch.float64, device=y.device).index_add_(0, inverse, weights.double())
    return y[first[order]], (mass / mass.sum()).float(), inverse


def c_transform(x: Tensor, y: Tensor, psi: Tensor, *, eps: float = 0.0) -> Tensor:
    """Dual value at x_i: min_j |x_i - y_j|^2 - psi_j, softened when eps > 0.

    x (N, D) queries, y (M, D) atoms with equal weights, psi (M,). Returns (N,), in squared units of x, differentiable
    in all three. Costs one N x M matrix; use NearestIndex for large M.

    >>> x = torch.tensor([[0.], [3.]]); y = torch.tensor([[1.], [2.]])
    >>> c_transform(x, y, torch.zeros(2)).tolist()
    [1.0, 1.0]
    """
    cost = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T  # (N, M)
    if eps == 0:
        return (cost - psi).min(1).values
    return -eps * (torch.logsumexp((psi - cost) / eps, 1) - math.log(len(y)))
