"""The critic of a semi-discrete Wasserstein GAN: no network, but one number for each picture of the data.

With psi_j for picture y_j of n and x made by a generator, the semi-dual of transport between the two laws is

    H(psi) = E_x[ min_j c(x, y_j) - psi_j ] + mean_j psi_j  <=  W(made, data),     dH/dpsi_j = 1/n - P(x is sent to j),

concave in psi, with equality at its maximum: D's phase is ascent on H, of psi alone, and G's is descent on the
critic E min_j c(x, y_j) - psi_j. With c = |x - y| the maximum is the distance W1 of Arjovsky, Chintala and Bottou 2017,
with no network between; with c = |x - y|^2 the transport is that of texsyn.ot. Houdard, Leclaire, Papadakis and Rabin
2021, "On the existence of optimal transport gradient for learning generative models", train like this and say when the
mean gradient of the critic is the gradient of W.

How far psi is from the maximum is measured: by mass_error(), the sum of |P_j - 1/n|.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from texsyn.gan.networks.design import Shown
from texsyn.ot.nearest import NearestIndex
from texsyn.ot.semidiscrete import c_transform, unique_atoms

COSTS = ("euclidean", "squared")
AT_ONCE = 2**24  # costs in memory at a time, 64 MB


class DualCritic(nn.Module):
    """Potential psi (J,), 0 at first, on the J different ones of the pictures y (n, ...); psi is the only parameter.

    cost: "euclidean", |x - y| in units of the pictures, or "squared", |x - y|^2 / unit with unit = mean |y|^2. epsilon,
    in units of the cost, softens the minimum, as entropic transport does: min_j a_j becomes -epsilon log mean_j
    exp(-a_j / epsilon). Equal pictures are one of as much more weight, since one of them alone would win all. An
    optimiser's rate is in units of the cost.

    Pictures stay out of state_dict(): whoever loads a state gives the same data again, in the same order. Without
    epsilon a batch of B costs up to 64 MB (squared: a few MB) and the time of B x J distances; with it B x J numbers in
    pieces of 64 MB, computed twice where there are several pieces.

    Raises ValueError for pictures that are not finite or none, another cost, or a negative epsilon.
    """

    y: Tensor
    psi: nn.Parameter
    weights: Tensor

    def __init__(self, y: Tensor, *, cost: str = "euclidean", epsilon: float = 0.0) -> None:
        super().__init__()
        if cost not in COSTS:
            raise ValueError(f"cost={cost!r} is not one of {', '.join(COSTS)}")
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"epsilon={epsilon} should be at least 0 and finite")
        if y.ndim < 2:
            raise ValueError(f"y has shape {tuple(y.shape)}, should be pictures (n, ...)")
        atoms, _, inverse = unique_atoms(y.detach().flatten(1))
        self.cost, self.epsilon = cost, epsilon
        self.register_buffer("y", atoms, persistent=False)
        self.register_buffer("weights", torch.bincount(inverse).to(atoms) / len(y), persistent=False)
        self.psi = nn.Parameter(torch.zeros(len(atoms), dtype=atoms.dtype, device=atoms.device))
        self._prepared: tuple[Tensor, NearestIndex] | None = None
        self.unit = float(y.flatten(1).square().sum(1).mean()) or 1.0 if cost == "squared" else 1.0

    def critic(self, x: Tensor) -> Tensor:
        """min_j c(x_i, y_j) - psi_j, (B,), small where x (B, ...) is like data: differentiable in x and in psi."""
        x = self._points(x)
        if self.epsilon == 0:
            j = self._winners(x)
            difference = x - self.y[j]
            squared = self.cost == "squared"
            c = difference.square().sum(1) / self.unit if squared else difference.norm(dim=1)
            return c - self.psi[j]
        rows = x.split(max(1, AT_ONCE // len(self.y)))
        if len(rows) == 1:
            return self._softened(x)
        return torch.cat([checkpoint(self._softened, r, use_reentrant=False, preserve_rng_state=False) for r in rows])

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        """-critic(x), large where x is like data, as the logits of any discriminator; labels are not looked at."""
        if not isinstance(shown, Tensor):
            raise ValueError(f"shown: {len(shown)} pictures of each, where a dual potential is on one")
        return -self.critic(shown)

    def value(self, x: Tensor) -> Tensor:
        """H(psi) at the pictures x (B, ...), a scalar, in units of the cost: for any psi at most that of transport.

        That is transport from these very pictures to the data. Its gradient by psi is weights - mass(x).
        """
        return self.critic(x).mean() + self.weights @ self.psi

    @torch.no_grad()
    def assign(self, x: Tensor) -> Tensor:
        """Which of y each of the pictures x (B, ...) is sent to, int64 (B,): the lowest of several as good."""
        return self._winners(self._points(x))

    @torch.no_grad()
    def mass(self, x: Tensor) -> Tensor:
        """The share of x (B, ...) that each of y receives, (J,), of sum 1."""
        x = self._points(x)
        if self.epsilon == 0:
            return torch.bincount(self._winners(x), minlength=len(self.y)).to(self.psi) / len(x)
        mass = torch.zeros_like(self.psi)
        for rows in x.split(max(1, AT_ONCE // len(self.y))):
            scores = (self.psi - self._costs(rows)) / self.epsilon + self.weights.log()
            mass += scores.softmax(1).sum(0)
        return mass / len(x)

    @torch.no_grad()
    def mass_error(self, x: Tensor) -> Tensor:
        """Sum of |mass(x) - weights|, between 0 and 2, without a gradient: how far psi is from the maximum.

        Few pictures have some at the maximum too: see counting_error.
        """
        return (self.mass(x) - self.weights).abs().sum()

    def counting_error(self, n: int) -> float:
        """The mean mass_error of n pictures whose law sends every y_j exactly its weight (without epsilon).

        A sum of mean deviations of binomial counts, 2 (1 - w)^(n - m) w^(m + 1) (m + 1) C(n, m + 1) with m the whole
        part of n w (de Moivre 1730). Close to 2 while n is far below J, later sqrt(2 J / (pi n)).

        >>> round(DualCritic(torch.eye(2)).counting_error(1), 6)  # one picture is sent to one of two
        1.0
        """
        if n < 1:
            raise ValueError(f"n={n} should be at least 1")
        w = self.weights.double().clamp(max=1 - 1e-15)
        m = (n * w).floor()
        choose = math.lgamma(n + 1) - torch.lgamma(m + 2) - torch.lgamma(n - m)
        log = (n - m) * (-w).log1p() + (m + 1) * w.log() + (m + 1).log() + choose
        return float(2 * log.exp().sum() / n)

    def extra_repr(self) -> str:
        """What nn.Module shows."""
        return f"{len(self.y)} atoms, cost={self.cost!r}, epsilon={self.epsilon}"

    def _points(self, x: Tensor) -> Tensor:
        x = x.flatten(1).to(self.y)
        if x.shape[1] != self.y.shape[1]:
            raise ValueError(f"x has {x.shape[1]} values a picture, should have the data's {self.y.shape[1]}")
        return x

    @torch.no_grad()
    def _winners(self, x: Tensor) -> Tensor:
        if self.cost == "squared" and self.epsilon == 0:
            index = self._index()
            index.set_bias((self.psi * self.unit).float())
            return index.argmin(x)
        scores = (self._costs(rows) - self.psi for rows in x.split(max(1, AT_ONCE // len(self.y))))
        return torch.cat([s.argmin(1) for s in scores])

    def _index(self) -> NearestIndex:
        if self._prepared is None or self._prepared[0] is not self.y:  # another device's, say
            self._prepared = self.y, NearestIndex(self.y)
        return self._prepared[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_prepared": None}  # a copy must not set the bias of this one's search

    def _costs(self, x: Tensor) -> Tensor:
        """c(x_i, y_j), (B, J)."""
        middle = self.y.mean(0)  # cdist multiplies, and is the more accurate the smaller the numbers
        distance = torch.cdist(x - middle, self.y - middle)
        return distance.square() / self.unit if self.cost == "squared" else distance

    def _softened(self, x: Tensor) -> Tensor:
        biased = self.psi + self.epsilon * (self.weights * len(self.y)).log()
        if self.cost == "squared":
            middle = self.y.mean(0)
            soft = c_transform(x - middle, self.y - middle, biased * self.unit, eps=self.epsilon * self.unit)
            return soft / self.unit
        return -self.epsilon * (((biased - self._costs(x)) / self.epsilon).logsumexp(1) - math.log(len(self.y)))
