"""A dual potential that is kept up while its source moves, as inside min over u, max over psi.

The potential of a fixed source is semidiscrete.solve's business. Here the source is what an optimiser is just changing,
so the last potential is nearly right: a short averaged ascent on the source as it is now brings it up to date, and how
long is decided by the mass error that is measured, not by a constant. Steps are in units of cost times atoms and start
where solve ended; they grow while they help and shrink where they do not.

The released code of GOTEX takes ten steps of size about 1 a turn, whatever J and the scale of costs are: with 2,000
atoms psi then moves by at most 5e-4 a step and is solved only by the run as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from texsyn.ot.nearest import NearestIndex
from texsyn.ot.semidiscrete import from_points, solve, unique_atoms

__all__ = ["Potential", "least_mass_error"]

BATCH = 512
ROUND = 16  # batches between two looks at the mass error, at first; a look costs a search for all points
LONGEST = 256  # batches of a round
LOST = 0.5  # of the way from the least mass error to the greatest, 2: there the old potential is no start
FARTHER = 1.25  # and the mass error is so many times that at the end of the last turn
PATIENCE = 4  # turns after which it is given up all the same
LEAST_DRAWS = 8192  # of a call: with few atoms a budget a head is nothing
FLOOR = 0.02  # least unit of a step, in the variance of the atoms: costs fall to nothing where the source fits


def least_mass_error(n: int, j: int) -> float:
    """The mass error below which no assignment of n points to j atoms of equal weight can come: 2 f (1 - f) j / n.

    f is the fractional part of n / j; sum_j |n_j / n - 1 / j| is least where a share f of the atoms gets one point more
    than the others.

    >>> least_mass_error(4, 2), least_mass_error(3, 2)
    (0.0, 0.3333333333333333)
    """
    f = n / j - n // j
    return 2 * f * (1 - f) * j / n


class Potential:
    """psi (J,) of atoms y (M, D), equal ones merged to J, for a source that moves; psi has mean 0.

    follow() brings it up to date, assign() uses it. tol is the mass error asked for, above the least one that the
    number of points allows; budget the draws an atom that one call of follow may take once there is a potential.
    threads share out searches for many points; the answers are the same. rounded=True searches among 8-bit codes over
    the range of the atoms, which on some processors is three times faster, and gives an atom that is as good but for
    the rounding; values and costs are of the numbers themselves.
    Everything random comes from a generator of its own, whose state is part of state().
    """

    def __init__(
        self,
        y: Tensor,
        weights: Tensor | None = None,
        *,
        tol: float = 0.1,
        budget: float = 32.0,
        seed: int = 0,
        threads: int = 1,
        rounded: bool = False,
        backend: str = "auto",
    ) -> None:
        if not 0 < tol < 2 or not budget > 0:
            raise ValueError(f"tol must be between 0 and 2 and budget positive, got {tol} and {budget}")
        self.y, self.weights, _ = unique_atoms(y, weights)
        self.tol, self.budget, self.threads = tol, budget, threads
        low, high = float(self.y.min()), float(self.y.max())
        #: (least value, codes a unit) of what is searched, or None for the numbers themselves
        self._codes = (low, 255 / (high - low)) if rounded and high > low and self.y.shape[1] < 512 else None
        self._unit = self._codes[1] ** 2 if self._codes else 1.0  # of squared distances there
        self._atoms = self._searched(self.y)
        self.index = NearestIndex(self._atoms, backend=backend, centre=self._codes is None)
        self.generator = torch.Generator().manual_seed(seed % 2**63)
        self.psi = torch.zeros_like(self.weights)
        self.step = 0.0  #: c / sqrt(t), in units of cost times atoms; 0 before the first follow()
        self.round = ROUND
        self.cost = 0.0  #: mean |x - y_sigma(x)|^2 as last measured
        self.residual = math.inf  #: mass error as last measured, on the points that follow() was given
        self.turns = 0  #: since it was solved from nothing
        self.n_draws = 0  #: points that solves and ascents have seen so far
        self._least = FLOOR * float((self.y - self.y.mean(0)).square().sum(1).mean())

    def __len__(self) -> int:
        return len(self.y)

    def assign(self, x: Tensor) -> Tensor:
        """The atom that each row of x (N, D) goes to, int64 (N,)."""
        return self.index.argmin(self._searched(x), check=False, threads=self.threads)

    def _searched(self, x: Tensor) -> Tensor:
        if self._codes is None:
            return x
        low, gain = self._codes
        return ((x - low) * gain).round_().clamp_(0, 255).sub_(128)

    @property
    def constant(self) -> Tensor:
        """sum_j w_j psi_j, what the dual value adds to the mean of the c-transform."""
        return self.weights @ self.psi

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        """Ascend on the cloud x (N, D) until the mass error is near tol, or the budget is spent.

        A round of ascent that helps neither mass error nor dual value is undone, and the next one is longer, with a
        smaller step. Solved from nothing the first time, and where the source has moved out of reach.
        """
        x = x.detach().to(self.y)
        least = least_mass_error(len(x), len(self))
        aim = self.tol + least
        last = self.residual
        value = self._look(x) if self.step else 0.0
        # where the last turn ended as badly, a solution from nothing did not last, and is not tried in every turn
        self.turns += 1
        lost = self.residual > least + LOST * (2 - least)
        if not self.step or (lost and (self.residual > FARTHER * last or self.turns >= PATIENCE)):
            value = self._solve(x)
            self.turns = 0
        spent, limit = 0, max(LEAST_DRAWS, self.budget * len(self))
        while self.residual > aim and spent < limit:
            before = self.psi, self.residual, self.cost
            spent += self._ascend(x)
            now = self._look(x)
            # the value decides where equal points cannot share their mass out, and the error stays what it is
            if self.residual < before[1] or (now > value and self.residual < 1.1 * before[1]):
                self.step *= 1.0 if 0.8 * before[1] <= self.residual < before[1] else 1.3
                value = now
            else:
                self._set(before[0])
                self.residual, self.cost = before[1:]
                self.step, self.round = 0.6 * self.step, min(2 * self.round, LONGEST)
        self.n_draws += spent

    def _look(self, x: Tensor) -> float:
        """The dual value on x; mass error and cost are kept."""
        j = self.assign(x)
        counts = torch.bincount(j, minlength=len(self)).to(self.weights)
        self.residual = float((counts / len(x) - self.weights).abs().sum())
        self.cost = float((x - self.y[j]).square().sum(1).mean())
        return self.cost - float(self.psi[j].mean(dtype=torch.float64)) + float(self.constant)

    def _solve(self, x: Tensor) -> float:
        found = solve(
            from_points(self._searched(x)),
            self._atoms,
            self.weights,
            tol=self.tol,
            batch=BATCH,
            generator=self.generator,
            backend=self.index.backend,
            centre=self._codes is None,
        )
        self.n_draws += found.n_samples
        self._set(found.psi / self._unit)
        self.step, self.round = found.step / math.sqrt(1 + found.n_samples / BATCH), ROUND
        return self._look(x)

    def _ascend(self, x: Tensor) -> int:
        """A round of averaged ascent over random batches of x; how many points it saw."""
        psi, average, seen = self.psi.clone(), self.psi.clone(), 0
        unit, points = self.step * max(self.cost, self._least) * len(self), self._searched(x)
        order = torch.randperm(len(x), generator=self.generator).to(x.device)
        while seen < self.round * BATCH:
            at = seen % len(x)
            if at == 0 and seen:
                order = torch.randperm(len(x), generator=self.generator).to(x.device)
            batch = points[order[at : at + BATCH]]
            self.index.set_bias(psi * self._unit, check=False)
            j = self.index.argmin(batch, check=False)
            mass = torch.bincount(j, minlength=len(self)).to(psi) / len(batch)
            psi.add_(self.weights - mass, alpha=unit)
            seen += len(batch)
            average.lerp_(psi, min(1.0, 3 * len(batch) / seen))  # weights t^2, as in solve
        self._set(average)
        return seen

    def _set(self, psi: Tensor) -> None:
        self.psi = psi.to(self.weights) - psi.mean()
        self.index.set_bias(self.psi * self._unit, check=False)

    def state(self) -> dict[str, Tensor]:
        """What must be kept to go on with the same bits."""
        numbers = [self.step, self.round, self.cost, self.residual, self.n_draws, self.turns]
        return {
            "psi": self.psi.clone(),
            "numbers": torch.tensor(numbers, dtype=torch.float64),
            "generator": self.generator.get_state(),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state(). Raises ValueError for a state of other atoms."""
        if state["psi"].shape != self.psi.shape or state["numbers"].shape != (6,):
            raise ValueError(f"a state of {len(state['psi'])} atoms is not one of these {len(self)}")
        self.psi = state["psi"].to(self.weights).clone()
        self.index.set_bias(self.psi * self._unit)
        self.step, steps, self.cost, self.residual, n_draws, turns = state["numbers"].tolist()
        self.round, self.n_draws, self.turns = int(steps), int(n_draws), int(turns)
        self.generator.set_state(state["generator"].cpu())
