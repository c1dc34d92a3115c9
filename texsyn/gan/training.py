"""The one adversarial loop: players, each a network with its optimiser, and phases, each an update of one player.

A GAN is a list of phases. Two that take turns make SGAN; three updates of the critic with a penalty, then three of the
generator, make a scale of SinGAN. What a phase minimises is a function that draws what it needs from the loop's random
stream and returns named terms, whose sum is minimised. The loop is a trainee of texsyn.training, which knows files.

Several processes train as one: each computes its part of every batch, and after each gradient one sum over all of them
gives everybody the whole batch's (gan/ranks.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from texsyn.gan.ranks import ALONE, Ranks
from texsyn.training import load_optimiser, of, optimiser_state, under

Terms = Mapping[str, Tensor]


def half_life(images: float, batch: int, *, ramp: float = math.inf) -> Callable[[int], float]:
    """The share of an average that step i leaves, so that half is left after so many images; 0 images: none.

    While few images were shown the half-life is ramp times their number, if that is less: StyleGAN2-ADA has 0.05.

    >>> share = half_life(1000, 250)
    >>> round(share(0) ** 4, 6), half_life(1000, 250, ramp=0.5)(0)
    (0.5, 0.0)
    """

    def share(i: int) -> float:
        life = min(images, math.inf if math.isinf(ramp) else ramp * batch * i)
        return 0.5 ** (batch / life) if life > 0 else 0.0

    return share


def lazily(rate: float, betas: tuple[float, float], interval: int) -> tuple[float, tuple[float, float]]:
    """Adam's rate and betas for a player with a penalty in every interval-th step only: to the power c = k / (k + 1).

    So that k + 1 updates move as far, and remember as long, as k would (Karras and others 2020, "Analyzing and
    improving the image quality of StyleGAN", appendix B). Interval 1, a penalty in the phase itself, changes nothing.

    >>> lazily(0.002, (0.0, 0.99), 1)
    (0.002, (0.0, 0.99))
    """
    c = 1.0 if interval == 1 else interval / (interval + 1)
    return rate * c, (betas[0] ** c, betas[1] ** c)


@dataclass
class Player:
    """A network with the optimiser that moves it, and, if asked for, a running average of its weights.

    rate: what step i multiplies the learning rates of all groups by. average: the share of the past that a step
    leaves, 0 for no average, where the first steps are soon forgotten; or that share as a function of the step. stale:
    the optimiser works on aliases of the weights, so that graphs made before an update can still be used after it, as
    torch 1.4 let one do (see gan/single_image.py). after: called behind each update.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    rate: Callable[[int], float] = lambda i: 1.0
    average: float | Callable[[int], float] = 0.0
    stale: bool = False
    averaged: dict[str, Tensor] = field(default_factory=dict)
    after: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        if self.average and not self.averaged:
            self.averaged = {name: t.clone() for name, t in self.network.state_dict().items()}

    def update(self, i: int, n: int = 1) -> None:
        """n steps of the optimiser along the gradients there are, at the rate of step i."""
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.rate(i)
        if self.stale:
            aliases = [p for group in self.optimiser.param_groups for p in group["params"]]
            for alias, parameter in zip(aliases, self.parameters, strict=True):
                alias.grad = parameter.grad
        for _ in range(n):
            self.optimiser.step()
            if self.after is not None:
                self.after()

    @torch.no_grad()
    def follow(self, i: int) -> None:
        """Bring the average up to date after step i: weights are averaged, buffers such as statistics copied."""
        if not self.average:
            return
        share = self.average(i) if callable(self.average) else min(self.average, i / (i + 10))
        weights = {name for name, _ in self.network.named_parameters()}
        for name, t in self.network.state_dict().items():
            if name in weights:
                self.averaged[name].lerp_(t, 1 - share)
            else:
                self.averaged[name].copy_(t)

    def state(self) -> dict[str, Tensor]:
        """Weights, the optimiser's memory, the average."""
        found = under("network", self.network.state_dict()) | under("optimiser", optimiser_state(self.optimiser))
        return found | (under("average", self.averaged) if self.average else {})

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state()."""
        self.network.load_state_dict(of("network", state))
        load_optimiser(self.optimiser, of("optimiser", state))
        if self.average:
            average = of("average", state)
            for name, t in self.averaged.items():
                t.copy_(average[name])


@dataclass(frozen=True)
class Phase:
    """Updates of one player: in every interval-th step, `repeats` times, each along the gradient of loss(turn).

    loss: from the number of the turn within this step, 0 .. repeats - 1, to named terms. n_updates: steps of the
    optimiser along one gradient. frozen: the other players' weights get no gradients, which costs less. pieces: loss is
    asked so often for one gradient, the mean, as when a batch does not fit into memory at once. enough: given the terms
    of a turn, whether the further ones can be left out.
    """

    player: str
    loss: Callable[[int], Terms]
    interval: int = 1
    repeats: int = 1
    n_updates: int = 1
    frozen: bool = True
    pieces: int = 1
    enough: Callable[[Mapping[str, float]], bool] | None = None


class Adversarial:
    """Players and the phases of a step; `random` is the stream that every phase draws from.

    step(), state() and load_state() are those that texsyn.training asks of a trainee.
    """

    def __init__(
        self, players: Mapping[str, Player], phases: Sequence[Phase], random: torch.Generator, ranks: Ranks = ALONE
    ) -> None:
        self.players, self.phases, self.random = dict(players), tuple(phases), random
        self.ranks = ranks

    def step(self, i: int) -> dict[str, float]:
        """The phases that are due in step i, from 0; the last terms of each by name.

        Raises FloatingPointError, before the player moves, where a term is no finite number.
        """
        terms: dict[str, float] = {}
        for phase in self.phases:
            for turn in range(phase.repeats if i % phase.interval == 0 else 0):
                found = self._turn(phase, i, turn)
                terms |= found
                if phase.enough is not None and phase.enough(found):
                    break
        for player in self.players.values():
            for parameter in player.parameters:
                parameter.requires_grad_(True)  # a player made of this network later would find none to learn
            player.follow(i)
        return terms

    def _turn(self, phase: Phase, i: int, turn: int) -> dict[str, float]:
        mine = self.players[phase.player]
        for player in self.players.values():
            for parameter in player.parameters:
                parameter.requires_grad_(player is mine or not phase.frozen)
                parameter.grad = None
        seen: list[Tensor] = []
        for _ in range(phase.pieces):
            found = phase.loss(turn)
            seen.append(torch.stack([t.detach() for t in found.values()]))
            whole = torch.stack(list(found.values())).sum()
            (whole if phase.pieces == 1 else whole / phase.pieces).backward(retain_graph=mine.stale)
        values = seen[0] if phase.pieces == 1 else torch.stack(seen).mean(0)
        values = self.ranks.mean(mine.parameters, values)
        if not bool(values.isfinite().all()):
            name, value = next((n, v) for n, v in zip(found, values.tolist(), strict=True) if not math.isfinite(v))
            raise FloatingPointError(f"{name} is {value} at step {i}")
        mine.update(i, phase.n_updates)
        return dict(zip(found, values.tolist(), strict=True))

    def state(self) -> dict[str, Tensor]:
        """Everything that a later step depends on."""
        found = {"random": self.random.get_state()}
        for name, player in self.players.items():
            found |= under(name, player.state())
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state()."""
        self.random.set_state(state["random"])
        for name, player in self.players.items():
            player.load_state(of(name, state))
