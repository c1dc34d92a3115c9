"""The dual potential as a critic: against exact and entropic transport by POT, its gradients, and a generator that
learns from it."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import texsyn.gan.dual_critic as module
from texsyn.datasets import open_dataset
from texsyn.gan.dual_critic import COSTS, DualCritic
from texsyn.gan.networks.design import Design
from texsyn.gan.networks.perceptron import perceptron
from texsyn.gan.plane_picture import coverage
from texsyn.gan.training import Adversarial, Phase, Player, Terms
from texsyn.ot.semidiscrete import from_points, solve

ot = pytest.importorskip("ot")

BOTH = pytest.mark.parametrize("cost", COSTS)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Y = normal(60, 3) + 1, normal(40, 3, seed=1)


def costs(x: Tensor, y: Tensor, cost: str) -> Tensor:
    distance = (x[:, None] - y).norm(dim=2)
    return distance if cost == "euclidean" else distance.square() / y.square().sum(1).mean()


def exact(x: Tensor, y: Tensor, cost: str) -> tuple[float, Tensor]:
    """The cost of transport between two clouds of equal weights, and a best potential on y."""
    a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
    value, log = ot.emd2(a, b, costs(x, y, cost).numpy(), log=True)
    return float(value), torch.tensor(log["v"])


def at(psi: Tensor, critic: DualCritic) -> DualCritic:
    with torch.no_grad():
        critic.psi.copy_(psi)
    return critic


# ---- the value


@BOTH
def test_the_value_is_that_of_transport_at_the_best_potential_and_less_at_any_other(cost: str) -> None:
    value, psi = exact(X, Y, cost)
    critic = at(psi, DualCritic(Y, cost=cost))
    # the squared cost's winners are sought in float32, which may mistake one for another as good to 1e-6
    assert critic.value(X).item() == pytest.approx(value, rel=1e-6)
    assert critic.value(X.reshape(60, 1, 3, 1)).item() == critic.value(X).item()
    for seed in range(10):
        for size in (0.001, 0.1, 10.0):
            other = at(psi + size * normal(40, seed=seed), critic)
            assert other.value(X).item() < value
    assert at(psi + 3, critic).value(X).item() == pytest.approx(value, rel=1e-6)


@BOTH
def test_ascent_arrives_there(cost: str) -> None:
    value, _ = exact(X, Y, cost)
    critic = DualCritic(Y, cost=cost)
    optimiser, error = torch.optim.Adam(critic.parameters(), lr=0.05), critic.mass_error(X).item()
    for i in range(600):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - i / 600)
        optimiser.zero_grad()
        (-critic.value(X)).backward()
        optimiser.step()
    assert critic.value(X).item() == pytest.approx(value, rel=2e-4)
    assert critic.value(X).item() < value
    assert critic.mass_error(X).item() < error / 2


@BOTH
@pytest.mark.parametrize("epsilon", [0.05, 0.4])
def test_a_soft_minimum_gives_entropic_transport(cost: str, epsilon: float) -> None:
    """At the maximum H is min <P, c> + epsilon KL(P | product), and every y gets its share."""
    c = costs(X, Y, cost)
    a, b = np.full(60, 1 / 60), np.full(40, 1 / 40)
    plan, log = ot.sinkhorn(a, b, c.numpy(), epsilon, stopThr=1e-14, numItermax=10**5, log=True)
    p = torch.tensor(plan)
    value = ((p * c).sum() + epsilon * (p * (2400 * p).log()).sum()).item()
    critic = at(epsilon * torch.tensor(log["v"]).log(), DualCritic(Y, cost=cost, epsilon=epsilon))
    assert critic.value(X).item() == pytest.approx(value, rel=1e-9)
    assert critic.mass_error(X).item() < 1e-9
    assert critic.mass(X).tolist() == pytest.approx([1 / 40] * 40, abs=1e-10)
    assert at(critic.psi + 0.1 * normal(40), critic).value(X).item() < value
    hard = DualCritic(Y, cost=cost)
    at(critic.psi, hard)
    softening = critic.critic(X) - hard.critic(X)
    assert softening.min() > 0
    assert softening.max() < epsilon * math.log(40)


@BOTH
def test_it_is_one_with_the_solver_of_the_house(cost: str) -> None:
    critic = DualCritic(Y.float(), cost=cost)
    if cost == "squared":
        solution = solve(from_points(X.float()), Y.float(), tol=0.1, max_samples=40_000)
        at(solution.psi / critic.unit, critic)
        assert critic.unit == pytest.approx(Y.square().sum(1).mean().item())
        assert critic.value(X).item() * critic.unit == pytest.approx(solution.value, rel=1e-5)
        assert critic.mass_error(X).item() == pytest.approx(solution.residual, abs=1e-6)
        assert torch.equal(critic.assign(X), solution.assign(X.float()))
    else:
        scores = costs(X, Y, cost) - at(normal(40), critic).psi
        assert torch.equal(critic.assign(X), scores.argmin(1))
        torch.testing.assert_close(critic.critic(X), scores.min(1).values.float())


# ---- gradients


@BOTH
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_gradients_are_the_masses_and_the_pull_towards_the_atoms(cost: str, epsilon: float) -> None:
    critic = at(0.3 * normal(40, seed=3), DualCritic(Y, cost=cost, epsilon=epsilon))
    x = X.clone().requires_grad_(True)
    by_psi, by_x = torch.autograd.grad(critic.value(x), [critic.psi, x])
    torch.testing.assert_close(by_psi, 1 / 40 - critic.mass(X))
    if epsilon == 0:
        way = X - Y[critic.assign(X)]
        pull = way / way.norm(dim=1, keepdim=True) if cost == "euclidean" else 2 * way / Y.square().sum(1).mean()
        torch.testing.assert_close(by_x, pull / 60)
    assert torch.autograd.gradcheck(critic.value, x)
    assert torch.autograd.gradcheck(
        lambda psi: torch.func.functional_call(Value(critic), {"of.psi": psi}, X), critic.psi
    )


class Value(torch.nn.Module):
    """value() as a forward, for functional_call."""

    def __init__(self, of: DualCritic) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        return self.of.value(x)


@BOTH
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_pieces_change_nothing(cost: str, epsilon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    critic, x = at(normal(40), DualCritic(Y, cost=cost, epsilon=epsilon)), X.clone().requires_grad_(True)
    found = [critic.critic(x), critic.mass(x), critic.assign(x), *torch.autograd.grad(critic.value(x), [critic.psi, x])]
    monkeypatch.setattr(module, "AT_ONCE", 40 * 7)
    before = torch.get_rng_state()
    pieces = [
        critic.critic(x),
        critic.mass(x),
        critic.assign(x),
        *torch.autograd.grad(critic.value(x), [critic.psi, x]),
    ]
    for one, other in zip(found, pieces, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_on_an_atom_the_euclidean_pull_is_0_and_the_value_exact() -> None:
    x = (Y[:5] + 100).float().requires_grad_(True)
    critic = DualCritic((Y + 100).float())
    values = critic.critic(x)
    (pull,) = torch.autograd.grad(values.sum(), x)
    assert values.tolist() == [0.0] * 5
    assert torch.equal(pull, torch.zeros_like(pull))


# ---- a discriminator like others


def test_as_a_discriminator_it_is_large_where_data_are() -> None:
    critic = DualCritic(Y)
    assert torch.equal(critic(X), -critic.critic(X))
    assert critic(Y, labels=torch.zeros(40)).mean() > critic(X).mean()
    assert [name for name, _ in critic.named_parameters()] == ["psi"] == list(critic.state_dict())
    assert "40 atoms" in repr(critic)


@BOTH
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_equal_pictures_are_one_of_more_weight(cost: str, epsilon: float) -> None:
    y = torch.cat([Y, Y[:10], Y[:10]])
    merged = DualCritic(y, cost=cost, epsilon=epsilon)
    assert merged.psi.shape == (40,)
    weights = torch.cat([torch.full((10,), 3 / 60), torch.full((30,), 1 / 60)]).double()
    torch.testing.assert_close(merged.weights, weights)
    if epsilon == 0:
        value, psi = exact(X, y, cost)
        at(psi[:40], merged)
        assert (psi[:10] - psi[40:50]).abs().max() < 1e-9
        assert merged.value(X).item() == pytest.approx(value, rel=1e-6)
    else:
        psi = normal(40)
        scores = torch.cat([psi, psi[:10], psi[:10]]) - costs(X, y, cost)
        soft = -epsilon * ((scores / epsilon).logsumexp(1) - math.log(60))
        torch.testing.assert_close(at(psi, merged).critic(X), soft)
        torch.testing.assert_close(torch.autograd.grad(merged.value(X), merged.psi)[0], weights - merged.mass(X))


def test_a_copy_searches_by_itself() -> None:
    one = DualCritic(Y.float(), cost="squared")
    before = one.assign(X)
    other = copy.deepcopy(one)
    at(normal(40, seed=7), other)
    moved = other.assign(X)
    assert not torch.equal(moved, before)
    assert torch.equal(one.assign(X), before)
    assert torch.equal(other.assign(X), moved)


def test_counting_error_is_that_of_fair_dice() -> None:
    critic, random = DualCritic(normal(40, 2)), torch.Generator().manual_seed(0)
    for n in (7, 60, 1000):
        rolled = torch.randint(40, (4000, n), generator=random)
        share = torch.zeros(4000, 40).scatter_add_(1, rolled, torch.ones(4000, n)) / n
        assert critic.counting_error(n) == pytest.approx((share - 1 / 40).abs().sum(1).mean().item(), rel=0.01)
    weighted = DualCritic(torch.tensor([[0.0], [0.0], [0.0], [1.0]]))
    # one picture: to the first with probability 3/4, error 1/2, else error 3/2
    assert weighted.counting_error(1) == pytest.approx(0.75)
    assert DualCritic(torch.ones(5, 2)).counting_error(3) == pytest.approx(0, abs=1e-12)


def test_what_is_no_data_is_refused() -> None:
    for call, said in (
        (lambda: DualCritic(Y, cost="l1"), "cost='l1' is not one of euclidean, squared"),
        (lambda: DualCritic(Y, epsilon=-0.1), "epsilon=-0.1"),
        (lambda: DualCritic(Y[:, 0]), r"y has shape \(40,\)"),
        (lambda: DualCritic(Y / 0), "finite"),
        (lambda: DualCritic(Y)(normal(5, 4)), "x has 4 values a picture, should have the data's 3"),
        (lambda: DualCritic(Y)((X, X)), "shown: 2 pictures"),
        (lambda: DualCritic(Y).counting_error(0), "n=0"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


# ---- in the loop


def plane(seed: int, epsilon: float, cost: str) -> tuple[Adversarial, DualCritic, object]:
    """A perceptron that is to make the eight Gaussians, and their potential; D has ten turns at most."""
    data, random = open_dataset("gaussians8"), torch.Generator().manual_seed(seed)
    generator, _ = perceptron(Design(2, 1, 1, latent=8, features=64), random, depth=2)
    critic = DualCritic(data.batch(torch.arange(256)), cost=cost, epsilon=epsilon)

    def ascend(turn: int) -> Terms:
        with torch.no_grad():
            made = generator(generator.draw(128, random))
        return {"dual": -critic.value(made), "mass": critic.mass_error(made)}

    def descend(turn: int) -> Terms:
        return {"g": critic.critic(generator(generator.draw(128, random))).mean()}

    players = {
        "d": Player(critic, torch.optim.Adam(critic.parameters(), lr=0.03)),
        "g": Player(generator, torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.9))),
    }
    phases = [Phase("d", ascend, repeats=10, enough=lambda terms: terms["mass"] < 0.15), Phase("g", descend)]
    return Adversarial(players, phases, random), critic, generator


def reached(generator: object) -> tuple[int, float]:
    modes = open_dataset("gaussians8").modes
    assert modes is not None
    with torch.no_grad():
        made = generator(torch.randn(1000, 8, generator=torch.Generator().manual_seed(1)))  # type: ignore[operator]
    return coverage(made.flatten(1), modes, 0.3, least=20)


def test_a_generator_in_the_plane_reaches_all_modes() -> None:
    loop, critic, generator = plane(0, 0.05, "euclidean")
    before, stream = critic.value(torch.zeros(1, 2)).item(), torch.get_rng_state()
    assert reached(generator)[0] < 8
    for i in range(400):
        loop.step(i)
    n, share = reached(generator)
    assert n == 8
    assert share > 0.3
    assert critic.value(torch.zeros(1, 2)).item() != before
    assert torch.equal(torch.get_rng_state(), stream)


def test_training_goes_on_from_its_state_bit_for_bit() -> None:
    one, critic, _ = plane(0, 0.0, "squared")
    for i in range(5):
        one.step(i)
    two, other, _ = plane(1, 0.0, "squared")
    two.load_state({name: t.clone() for name, t in one.state().items()})
    for i in range(5, 10):
        assert one.step(i) == two.step(i)
    assert torch.equal(critic.psi, other.psi)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("cost", "epsilon"), [("euclidean", 0.05), ("squared", 0.02)])
def test_all_modes_from_any_seed(seed: int, cost: str, epsilon: float) -> None:
    loop, _, generator = plane(seed, epsilon, cost)
    for i in range(700):
        loop.step(i)
    n, share = reached(generator)
    assert n == 8
    assert share > 0.45
