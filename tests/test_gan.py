"""The adversarial core: losses at logits worked out by hand, the penalty, and what the loop of phases does in what
order; last, a small GAN in the plane that learns."""

from __future__ import annotations

import hashlib
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from texsyn import training
from texsyn.gan.losses import LOSSES
from texsyn.gan.penalties import gradient_penalty
from texsyn.gan.training import Adversarial, Phase, Player, Terms
from texsyn.images import Picture
from texsyn.training import Run

LOG2, LOG3 = math.log(2), math.log(3)

# ---- losses


@pytest.mark.parametrize(
    ("name", "d", "g"),
    [
        # r = (0, log 3), f = (-log 3, 0, 0): log(1 + e^-r) = (log 2, log 4/3), log(1 + e^f) = (log 4/3, log 2, log 2),
        # log(1 + e^-f) = (log 4, log 2, log 2)
        ("saturating", (3 * LOG2 - LOG3) / 2 + (4 * LOG2 - LOG3) / 3, -(4 * LOG2 - LOG3) / 3),
        ("non-saturating", (3 * LOG2 - LOG3) / 2 + (4 * LOG2 - LOG3) / 3, 4 * LOG2 / 3),
        ("least-squares", (1 + (LOG3 - 1) ** 2) / 4 + LOG3**2 / 6, ((LOG3 + 1) ** 2 + 2) / 6),
        ("least-squares-pearson", (1 + (LOG3 - 1) ** 2) / 4 + ((1 - LOG3) ** 2 + 2) / 6, LOG3**2 / 6),
        ("hinge", 1 / 2 + 2 / 3, LOG3 / 3),
        ("wasserstein", -LOG3 / 2 - LOG3 / 3, LOG3 / 3),
    ],
)
def test_losses_at_logits_worked_out_by_hand(name: str, d: float, g: float) -> None:
    """r a map of one picture, f three numbers: means run over places and pictures alike, each with its own count."""
    loss = LOSSES[name]
    r = torch.tensor([[[[0.0, LOG3]]]], dtype=torch.float64)
    f = torch.tensor([-LOG3, 0.0, 0.0], dtype=torch.float64)
    assert loss.d(r, f).item() == pytest.approx(d, abs=1e-15)
    assert loss.g(f).item() == pytest.approx(g, abs=1e-15)


def test_the_cross_entropies_are_those_of_the_probabilities_and_finite_where_these_are_not() -> None:
    """Goodfellow's form, -log D(x) - log(1 - D(G(z))); at logits of 1e4 the probability is 1 and its log's worth 0."""
    random = torch.Generator().manual_seed(0)
    r, f = torch.randn(2, 40, generator=random, dtype=torch.float64)
    p, q = torch.sigmoid(r), torch.sigmoid(f)
    for name, g in (("saturating", (1 - q).log().mean()), ("non-saturating", -q.log().mean())):
        assert LOSSES[name].d(r, f).item() == pytest.approx((-p.log().mean() - (1 - q).log().mean()).item(), rel=1e-13)
        assert LOSSES[name].g(f).item() == pytest.approx(g.item(), rel=1e-13)
        far = torch.tensor([1e4, -1e4], requires_grad=True)
        (LOSSES[name].d(far, far) + LOSSES[name].g(far)).backward()
        assert far.grad is not None
        assert bool(far.grad.isfinite().all())


@pytest.mark.parametrize("name", LOSSES)
def test_d_tells_apart_and_g_wants_to_pass_for_real(name: str) -> None:
    r, f = torch.zeros(3, requires_grad=True), torch.zeros(2, requires_grad=True)
    loss = LOSSES[name]
    towards_r, towards_f = torch.autograd.grad(loss.d(r, f), [r, f])
    (fooled,) = torch.autograd.grad(loss.g(f), f)
    assert bool((towards_r < 0).all())
    assert bool((fooled < 0).all()) or name == "least-squares-pearson"  # whose G wants f = 0
    assert bool((towards_f >= 0).all())
    assert bool((towards_f > 0).all()) or name == "least-squares"  # which is content at f = 0


def test_only_the_saturating_loss_stops_teaching_a_g_that_is_found_out() -> None:
    f = torch.tensor([-20.0], requires_grad=True)
    (flat,) = torch.autograd.grad(LOSSES["saturating"].g(f), f)
    (steep,) = torch.autograd.grad(LOSSES["non-saturating"].g(f), f)
    assert -1e-8 < flat.item() < 0
    assert steep.item() == pytest.approx(-1, abs=1e-8)


# ---- the penalty


def pictures(n: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, made = torch.randn(2, n, 2, 3, 4, generator=generator, dtype=torch.float64)
    return x, made


def test_the_penalty_of_a_linear_critic_is_that_of_its_slope_wherever_it_is_asked() -> None:
    """D(x) = s <w, x> has the gradient s w everywhere: the penalty is (s |w| - 1)^2, its derivative by s known too."""
    x, made = pictures()
    w = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 4)
    s = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    mixing = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)[:, None, None, None]
    norm = w.norm().item()
    penalty = gradient_penalty(lambda t: s * (t * w).flatten(1).sum(1), x, made, mixing)
    assert penalty.item() == pytest.approx((1.5 * norm - 1) ** 2, rel=1e-13)
    (by_s,) = torch.autograd.grad(penalty, s)
    assert by_s.item() == pytest.approx(2 * (1.5 * norm - 1) * norm, rel=1e-13)
    each = w.norm(dim=0)  # one a pixel
    per_pixel = gradient_penalty(lambda t: s * (t * w).flatten(1).sum(1), x, made, mixing, per_pixel=True)
    assert per_pixel.item() == pytest.approx((1.5 * each - 1).square().mean().item(), rel=1e-13)


@pytest.mark.parametrize("per_pixel", [False, True])
def test_the_penalty_of_a_quadratic_critic_is_that_of_the_place_between(per_pixel: bool) -> None:
    """D(x) = |x|^2 / 2 has the gradient x: the penalty knows where it looked. mixing 1 is real, 0 is made."""
    x, made = pictures()
    for mixing in (1.0, 0.0, 0.3):
        at = mixing * x + (1 - mixing) * made
        norm = at.norm(dim=1) if per_pixel else at.flatten(1).norm(dim=1)
        found = gradient_penalty(
            lambda t: t.square().sum((1, 2, 3)) / 2, x, made, torch.tensor(mixing, dtype=x.dtype), per_pixel=per_pixel
        )
        assert found.item() == pytest.approx((norm - 1).square().mean().item(), rel=1e-13)


def test_each_picture_has_its_own_mixing_and_a_map_of_logits_counts_as_its_sum() -> None:
    x, made = pictures(2)
    mixing = torch.tensor([1.0, 0.0], dtype=x.dtype)[:, None, None, None]
    norms = torch.stack([x[0].norm(), made[1].norm()])
    found = gradient_penalty(lambda t: t.square() / 2, x, made, mixing)
    assert found.item() == pytest.approx((norms - 1).square().mean().item(), rel=1e-13)


def test_the_penalty_teaches_the_critic_alone() -> None:
    x, made = pictures()
    w = torch.ones(24, dtype=x.dtype, requires_grad=True)
    x.requires_grad_(True), made.requires_grad_(True)
    gradient_penalty(lambda t: (t.flatten(1) * w).sum(1).square(), x, made, torch.tensor(0.5)).backward()
    assert x.grad is None
    assert made.grad is None
    assert w.grad is not None
    assert bool(w.grad.any())


def test_the_penalty_where_the_critic_is_flat_is_one_and_has_a_gradient_that_is_a_number() -> None:
    x, made = pictures()
    s = torch.zeros((), dtype=x.dtype, requires_grad=True)
    penalty = gradient_penalty(lambda t: s * t.sum((1, 2, 3)), x, made, torch.tensor(0.5))
    penalty.backward()
    assert penalty.item() == 1
    assert s.grad is not None
    assert bool(s.grad.isfinite())


# ---- the loop


class Number(nn.Module):
    """One weight, and a counter as batch normalisation has one."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("calls", torch.tensor(0))


def sgd(value: float, rate: float = 0.5, **more: object) -> Player:
    network = Number(value)
    return Player(network, torch.optim.SGD(network.parameters(), lr=rate), **more)


def loop(players: dict[str, Player], phases: list[Phase]) -> Adversarial:
    return Adversarial(players, phases, torch.Generator().manual_seed(5))


def test_phases_come_in_their_order_at_their_intervals_and_with_their_repeats() -> None:
    said: list[str] = []
    players = {"d": sgd(1.0), "g": sgd(1.0)}

    def saying(name: str, player: str) -> Callable[[int], Terms]:
        def loss(turn: int) -> Terms:
            said.append(f"{name}{turn}")
            return {name: players[player].network.w.square(), "turn": torch.tensor(float(turn))}

        return loss

    phases = [
        Phase("d", saying("d", "d"), repeats=3),
        Phase("g", saying("g", "g"), repeats=2),
        Phase("d", saying("lazy", "d"), interval=4),
    ]
    it = loop(players, phases)
    terms = it.step(0)
    assert said == ["d0", "d1", "d2", "g0", "g1", "lazy0"]
    assert set(terms) == {"d", "g", "lazy", "turn"}
    for i in range(1, 9):
        said.clear()
        terms = it.step(i)
        assert ("lazy0" in said) == (i in (4, 8))
        assert ("lazy" in terms) == (i in (4, 8))
        assert said[:5] == ["d0", "d1", "d2", "g0", "g1"]


def test_a_step_descends_the_sum_of_the_terms_and_tells_the_last_of_each() -> None:
    players = {"d": sgd(1.0)}
    w = players["d"].network.w

    def loss(turn: int) -> Terms:
        return {"square": w.square() / 2, "line": 3 * w}

    terms = loop(players, [Phase("d", loss, repeats=2)]).step(0)
    # w = 1, then 1 - 0.5 (1 + 3) = -1, then -1 - 0.5 (-1 + 3) = -2; the terms are those at -1
    assert w.item() == -2
    assert terms == {"square": 0.5, "line": -3.0}


def test_several_updates_are_as_many_steps_of_the_optimiser_along_one_gradient() -> None:
    players = {"g": sgd(1.0)}
    asked = []

    def loss(turn: int) -> Terms:
        asked.append(turn)
        return {"g": players["g"].network.w.square()}

    loop(players, [Phase("g", loss, n_updates=3)]).step(0)
    assert asked == [0]
    assert players["g"].network.w.item() == 1 - 3 * 0.5 * 2  # the gradient at 1, three times
    adam = Number(1.0)
    player = Player(adam, torch.optim.Adam(adam.parameters(), lr=0.1))
    loop({"g": player}, [Phase("g", lambda turn: {"g": 2 * adam.w}, n_updates=3)]).step(0)
    assert player.optimiser.state[adam.w]["step"].item() == 3


@pytest.mark.parametrize("frozen", [True, False])
def test_the_others_do_not_move_and_get_gradients_only_where_a_phase_asks_for_them(frozen: bool) -> None:
    players = {"d": sgd(2.0), "g": sgd(3.0)}
    d, g = (players[name].network.w for name in "dg")
    seen = []

    def loss(turn: int) -> Terms:
        seen.append((d.requires_grad, g.requires_grad, d.grad, g.grad))
        return {"g": d * g}

    d.grad = torch.tensor(77.0, dtype=torch.float64)
    loop(players, [Phase("g", loss, frozen=frozen)]).step(0)
    assert seen == [(not frozen, True, None, None)]
    assert (d.item(), g.item()) == (2.0, 3.0 - 0.5 * 2.0)
    assert (d.grad is None) == frozen
    assert d.requires_grad  # as before: whoever makes another player of this network finds its weights


def test_a_weight_that_never_learned_stays_as_it_is() -> None:
    network = nn.Linear(2, 1).double()
    network.bias.requires_grad_(False)
    before = network.bias.item()
    player = Player(network, torch.optim.SGD([network.weight], lr=1.0))
    it = loop({"d": player}, [Phase("d", lambda turn: {"d": network(torch.ones(1, 2).double()).sum()})])
    it.step(0)
    assert not network.bias.requires_grad
    assert network.bias.item() == before


def test_the_average_is_that_of_the_weights_after_each_step_and_counters_are_copied() -> None:
    players = {"d": sgd(0.0), "g": sgd(1.0, average=0.9)}
    network = players["g"].network

    def loss(turn: int) -> Terms:
        network.calls += 1
        return {"g": -2 * network.w}  # w = 2, 3, 4, ...

    it = loop(players, [Phase("g", loss)])
    expected = 1.0
    for i in range(150):
        it.step(i)
        share = min(0.9, i / (i + 10))  # 0 at first, 0.9 from step 90 on
        expected = share * expected + (1 - share) * (2 + i)
        assert players["g"].averaged["w"].item() == pytest.approx(expected, rel=1e-12)
        assert players["g"].averaged["calls"].item() == i + 1
    assert network.w.item() == 151
    assert players["d"].averaged == {}


def test_rates_are_those_of_the_step_and_of_each_group() -> None:
    network = nn.Linear(1, 1).double()
    groups = [{"params": [network.weight], "lr": 1.0}, {"params": [network.bias], "lr": 0.1}]
    player = Player(network, torch.optim.SGD(groups), rate=lambda i: 0.1 if i >= 2 else 1.0)
    phases = [Phase("g", lambda turn: {"g": network.weight.sum() + network.bias.sum()})]
    it = loop({"g": player}, phases)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.zero_()
    found = []
    for i in range(4):
        it.step(i)
        found.append((round(-network.weight.item(), 12), round(-network.bias.item(), 12)))
    assert found == [(1, 0.1), (2, 0.2), (2.1, 0.21), (2.2, 0.22)]


def test_a_term_that_is_no_number_is_named_before_the_player_moves() -> None:
    players = {"d": sgd(1.0), "g": sgd(1.0)}
    w = players["g"].network.w

    def loss(turn: int) -> Terms:
        return {"fine": w.square(), "reconstruction": -w * (-math.inf if turn else 1.0)}

    d = Phase("d", lambda turn: {"d": players["d"].network.w})
    with pytest.raises(FloatingPointError, match="reconstruction is inf at step 7"):
        loop(players, [d, Phase("g", loss, repeats=2)]).step(7)
    assert players["d"].network.w.item() == 0.5  # moved before
    assert w.item() == 1 - 0.5 * 1  # by the first turn only, 2 w - 1


# ---- stale weights: graphs from before an update, used after it


def bilinear(seed: int) -> tuple[nn.Module, nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    g, d = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), nn.Linear(2, 1)
    with torch.no_grad():
        for p in [*g.parameters(), *d.parameters()]:
            p.copy_(torch.randn(p.shape, generator=generator))
    return g, d, torch.randn(5, 3, generator=generator)


class Stale:
    """Three updates of g through one graph that was made before the first, as SinGAN's released code has it."""

    def __init__(self, stale: bool) -> None:
        self.g, self.d, self.z = bilinear(4)
        moved = [nn.Parameter(p.data) for p in self.g.parameters()] if stale else list(self.g.parameters())
        g = Player(self.g, torch.optim.Adam(moved, lr=0.05, betas=(0.5, 0.999)), stale=stale)
        d = Player(self.d, torch.optim.SGD(self.d.parameters(), lr=0.0))
        phases = [Phase("d", self.first, frozen=False), Phase("g", self.again, repeats=3)]
        self.loop = Adversarial({"g": g, "d": d}, phases, torch.Generator().manual_seed(1))

    def first(self, turn: int) -> Terms:
        self.made = self.g(self.z)
        return {"d": self.d(self.made.detach()).mean()}

    def again(self, turn: int) -> Terms:
        return {"g": -self.d(self.made).mean()}


def test_stale_updates_are_those_of_an_adam_that_writes_through_data() -> None:
    """Adam by hand, through .data: what torch 1.4 did to a graph whose weights had changed since."""
    it = Stale(stale=True)
    g, d, z = bilinear(4)
    weights = list(g.parameters())
    m, v = [torch.zeros_like(p) for p in weights], [torch.zeros_like(p) for p in weights]
    t = 0
    for step in range(3):
        it.loop.step(step)
        made = g(z)
        for _ in range(3):
            t += 1
            errors = torch.autograd.grad(-d(made).mean(), weights, retain_graph=True)
            for p, error, mean, square in zip(weights, errors, m, v, strict=True):
                mean.mul_(0.5).add_(error, alpha=0.5)
                square.mul_(0.999).addcmul_(error, error, value=0.001)
                root = (square / (1 - 0.999**t)).sqrt() + 1e-8
                p.data -= 0.05 / (1 - 0.5**t) * mean / root
    for mine, by_hand in zip(it.g.parameters(), weights, strict=True):
        torch.testing.assert_close(mine, by_hand, rtol=2e-6, atol=2e-7)


def test_without_stale_torch_refuses_a_graph_whose_weights_have_changed() -> None:
    for stale in (True, False):
        g, d, z = bilinear(4)
        moved = [nn.Parameter(p.data) for p in g.parameters()] if stale else list(g.parameters())
        player = Player(g, torch.optim.Adam(moved, lr=0.05), stale=stale)
        loss = d(g(z)).mean()
        loss.backward(retain_graph=True)
        player.update(0)
        if stale:
            loss.backward()
            continue
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    with pytest.raises(RuntimeError, match="a second time"):  # nor does the loop keep a graph then
        Stale(stale=False).loop.step(0)


# ---- a real one: eight Gaussians on a ring

CENTRES = 2 * torch.tensor([[math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)] for k in range(8)])


def ring(n: int, generator: torch.Generator) -> Tensor:
    """n points (n, 2) of eight Gaussians of width 0.05 on a circle of radius 2."""
    which = torch.randint(8, (n,), generator=generator)
    return CENTRES[which] + 0.05 * torch.randn(n, 2, generator=generator)


def mlp(n_in: int, n_out: int, generator: torch.Generator, width: int = 64) -> nn.Module:
    parts = [nn.Linear(n_in, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)]
    network = nn.Sequential(*parts, nn.Linear(width, n_out))
    with torch.no_grad():
        for p in network.parameters():
            spread = 0.0 if p.ndim == 1 else math.sqrt(2 / p.shape[1])
            p.copy_(spread * torch.randn(p.shape, generator=generator))
    return network


class RingGan(Adversarial):
    """WGAN-GP on the ring: three updates of the critic, one of the generator."""

    def __init__(self, seed: int, batch: int = 128) -> None:
        random = torch.Generator().manual_seed(seed)
        self.g, self.d, self.batch = mlp(2, 2, random), mlp(2, 1, random), batch
        players = {
            "d": Player(self.d, torch.optim.Adam(self.d.parameters(), lr=1e-3, betas=(0.5, 0.9))),
            "g": Player(self.g, torch.optim.Adam(self.g.parameters(), lr=1e-3, betas=(0.5, 0.9)), average=0.98),
        }
        super().__init__(players, [Phase("d", self.judge, repeats=3), Phase("g", self.fool)], random)

    def made(self) -> Tensor:
        points: Tensor = self.g(torch.randn(self.batch, 2, generator=self.random))
        return points

    def judge(self, turn: int) -> Terms:
        x, made = ring(self.batch, self.random), self.made().detach()
        mixing = torch.rand(self.batch, 1, generator=self.random)
        return {
            "d": LOSSES["wasserstein"].d(self.d(x), self.d(made)),
            "penalty": gradient_penalty(self.d, x, made, mixing),
        }

    def fool(self, turn: int) -> Terms:
        return {"g": LOSSES["wasserstein"].g(self.d(self.made()))}

    def sample(self) -> Picture:
        return Picture(np.zeros((1, 1, 1), np.uint8), "L")


def transport_cost(x: Tensor, y: Tensor) -> float:
    """Exact: mean |x_i - y_s(i)|^2 at the best permutation s."""
    cost = torch.cdist(x.double(), y.double()).square().numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


@torch.no_grad()
def costs(gan: RingGan) -> tuple[float, float]:
    """Exact transport costs of 256 points of the generator, and of its average, to the law."""
    fresh = torch.Generator().manual_seed(99)
    y, z = ring(256, fresh), torch.randn(256, 2, generator=fresh)
    averaged = torch.func.functional_call(gan.g, gan.players["g"].averaged, (z,))
    return transport_cost(gan.g(z), y), transport_cost(averaged, y)


@pytest.mark.parametrize("seed", [0, 2])
def test_a_gan_in_the_plane_comes_nearer_to_its_law(seed: int) -> None:
    gan = RingGan(seed)
    first, _ = costs(gan)
    for i in range(600):
        gan.step(i)
    last, averaged = costs(gan)
    assert last < first / 8  # 16 and 11 times less here; two draws of the law itself are 0.3 apart
    assert averaged < first / 8
    with torch.no_grad():
        points = gan.g(torch.randn(2000, 2, generator=torch.Generator().manual_seed(7)))
    nearest = torch.cdist(points, CENTRES).min(1).indices.bincount(minlength=8)
    assert int(nearest.min()) > 80  # of 250: no mode is forgotten


def test_training_leaves_the_global_streams_alone() -> None:
    torch.manual_seed(11), np.random.seed(11), random.seed(11)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    gan = RingGan(0)
    networks = torch.get_rng_state()  # making a torch layer draws from it; training must not
    for i in range(3):
        gan.step(i)
    assert torch.equal(torch.get_rng_state(), networks)
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


# ---- taken up again


def a_run(folder: Path, **more: object) -> Run:
    return Run(folder, {"config": {"ring": 8}, "seed": 3}, log_every=1, sample_every=100, save_every=4, **more)


def digest(gan: RingGan) -> str:
    state = gan.state()
    parts = [name.encode() + state[name].numpy().tobytes() for name in sorted(state)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_gan_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Weights, both memories of Adam, the average and the random stream; killed within a phase, resumed, killed."""
    whole = RingGan(3)
    training.train(whole, 20, run=a_run(tmp_path / "whole"))
    assert {key.split(".")[1] for key in whole.state() if "." in key} == {"network", "optimiser", "average"}
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
from test_gan import RingGan, a_run
from texsyn import training

class Killed(RingGan):
    def fool(self, turn):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fool(turn)

folder = Path(sys.argv[1])
for left in map(int, sys.argv[2:]):
    child = os.fork()
    if child == 0:
        gan = Killed(3)
        gan.left = left
        training.train(gan, 20, run=a_run(folder, resume=(folder / training.CHECKPOINT).exists()))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", script, str(folder), "3", "6", "9", "2"]
    said = subprocess.run(command, timeout=100, capture_output=True, text=True, check=True).stdout.split()
    assert said == [str(-signal.SIGKILL)] * 4
    done, _ = training.read_checkpoint(folder, a_run(folder).about)
    assert done == 12
    last = RingGan(3)
    training.train(last, 20, run=a_run(folder, resume=True))
    assert digest(last) == digest(whole)
    assert (folder / training.LOG).read_text().count("\n") == 20


def test_a_stale_player_goes_on_to_the_same_bits() -> None:
    """Its optimiser holds aliases: what is loaded must arrive in the weights that the network uses."""
    whole, part = Stale(stale=True), Stale(stale=True)
    for i in range(6):
        whole.loop.step(i)
        if i == 2:
            part.loop.load_state({name: t.clone() for name, t in whole.loop.state().items()})
    for i in range(3, 6):
        part.loop.step(i)
    mine, theirs = part.loop.state(), whole.loop.state()
    assert all(torch.equal(t, mine[name]) for name, t in theirs.items())


def test_a_state_of_other_networks_is_refused() -> None:
    state = RingGan(3).state()
    with pytest.raises(LookupError, match="nothing of d"):
        RingGan(3).load_state({k: t for k, t in state.items() if not k.startswith("d.")})
    with pytest.raises((LookupError, ValueError, RuntimeError)):
        RingGan(3).load_state({k: t for k, t in state.items() if k != "g.network.0.weight"})
