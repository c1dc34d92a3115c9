"""The loop in larger trainings: averages by half-life, rare penalties, batches in pieces, several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from texsyn.gan.ranks import ALONE, Ranks, join
from texsyn.gan.training import Adversarial, Phase, Player, Terms, half_life, lazily


class Number(nn.Module):
    """One weight and one statistic."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("seen", torch.tensor(0.0, dtype=torch.float64))


def sgd(network: nn.Module, rate: float = 1.0) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), lr=rate)


def step(player: Player, phase: Phase, i: int = 0) -> dict[str, float]:
    return Adversarial({"d": player}, [phase], torch.Generator()).step(i)


# ---- averages


def test_half_of_an_average_is_left_after_its_half_life_whatever_the_batch() -> None:
    for batch in (1, 32, 500):
        share = half_life(1000, batch)
        left = 1.0
        for i in range(1000 // batch):
            left *= share(i)
        assert left == pytest.approx(0.5 ** (1000 // batch * batch / 1000), rel=1e-12)


def test_a_ramp_shortens_the_half_life_at_first() -> None:
    share = half_life(1000, 10, ramp=0.05)
    assert share(0) == 0  # nothing is remembered of the weights before the first step
    assert share(100) == pytest.approx(0.5 ** (10 / 50))  # 1000 images: a half-life of 50
    assert share(2000) == share(9999) == pytest.approx(0.5 ** (10 / 1000))


def test_an_average_by_half_life_takes_weights_and_copies_statistics() -> None:
    network = Number(0.0)
    player = Player(network, sgd(network), average=lambda i: 0.75)

    def loss(turn: int) -> Terms:
        network.seen += 10
        return {"d": -network.w}

    it = Adversarial({"d": player}, [Phase("d", loss)], torch.Generator())
    expected = 0.0
    for i in range(5):
        it.step(i)
        expected = 0.75 * expected + 0.25 * (i + 1)
        assert player.averaged["w"].item() == pytest.approx(expected, rel=1e-12)
        assert player.averaged["seen"].item() == 10 * (i + 1)


# ---- rare penalties


def test_adam_with_a_rare_phase_moves_as_far_and_remembers_as_long_as_without() -> None:
    """k + 1 updates where there were k: what is left of a gradient after them, and the sum of their rates."""
    for k in (4, 16):
        rate, (beta1, beta2) = lazily(0.01, (0.5, 0.99), k)
        assert (k + 1) * rate == pytest.approx(k * 0.01, rel=1e-12)
        assert beta1 ** (k + 1) == pytest.approx(0.5**k, rel=1e-12)
        assert beta2 ** (k + 1) == pytest.approx(0.99**k, rel=1e-12)
    assert lazily(0.01, (0.0, 0.99), 16)[1][0] == 0.0


# ---- pieces, early ends, what follows an update


def test_a_batch_in_pieces_has_the_gradient_of_the_whole() -> None:
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for pieces in (1, 3, 4):
        network = nn.Linear(3, 1).double()
        with torch.no_grad():
            network.weight.fill_(0.3)
            network.bias.fill_(-0.1)
        parts = iter(x.chunk(pieces))

        def loss(turn: int, network: nn.Module = network, parts=parts) -> Terms:
            return {"d": network(next(parts)).square().mean(), "size": network.weight.square().sum()}

        terms = step(Player(network, sgd(network)), Phase("d", loss, pieces=pieces))
        found.append((network.weight.detach().clone(), terms))
    for weight, terms in found[1:]:
        assert torch.allclose(weight, found[0][0], rtol=1e-13)
        assert terms == pytest.approx(found[0][1], rel=1e-13)


def test_turns_end_when_there_is_enough() -> None:
    network = Number(8.0)
    phase = Phase("d", lambda turn: {"d": network.w}, repeats=100, enough=lambda terms: terms["d"] <= 5)
    step(Player(network, sgd(network)), phase)
    assert network.w.item() == 4  # turns at 8, 7, 6 and 5


def test_what_comes_after_an_update_comes_after_each() -> None:
    network = Number(0.0)
    player = Player(network, sgd(network), after=lambda: network.w.data.clamp_(-1.5, 1.5))
    step(player, Phase("d", lambda turn: {"d": 4 * network.w}, repeats=3, n_updates=2))
    assert network.w.item() == -1.5


# ---- several processes


def test_alone_nothing_is_sent_and_parts_are_the_whole() -> None:
    x = torch.arange(5.0)
    assert ALONE.part(x) is x
    assert ALONE.mean([x], x) is x
    assert ALONE.all_of(x) is x
    assert ALONE.agreed(True) is True
    assert join() is ALONE or "RANK" in os.environ
    with pytest.raises(ValueError, match="batch=5 should be a multiple of the 2 processes"):
        Ranks(0, 2).part(x)


SCRIPT = """
import json, sys, torch
from texsyn.gan.architectures import configure
from texsyn.gan.image_training import ImageGan
from texsyn.gan.ranks import join, leave
from texsyn.datasets import open_dataset

ranks = join()
data = open_dataset("digits")
found = {}
for arch, loss, more in json.loads(sys.argv[1]):
    settings = {"height": 8, "width": 8, "features": 8, "max_features": 16, "latent": 8, "batch": 16} | more
    config = configure(arch, objective=loss, settings=settings)
    gan = ImageGan(config, data, seed=3, device="cpu", ranks=ranks)
    losses = [gan.step(i) for i in range(4)]
    weights = torch.cat([p.detach().flatten() for p in gan.generator.parameters()]).double()
    found[f"{arch} {loss}"] = {"losses": losses[-1], "weights": weights.tolist(), "stop": gan.agreed(ranks.rank == 1)}
if ranks.first:
    open(sys.argv[2], "w").write(json.dumps(found))
leave(ranks)
"""


def trained(folder: Path, n: int, what: list[tuple[str, str, dict[str, object]]]) -> dict[str, dict[str, object]]:
    script, out = folder / "script.py", folder / f"{n}.json"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"] if n > 1 else []
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    command = [sys.executable, *launcher, str(script), json.dumps(what), str(out)]
    done = subprocess.run(command, env=env | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, object]] = json.loads(out.read_text())
    return found


def test_two_processes_train_what_one_trains_at_the_same_batch(tmp_path: Path) -> None:
    """Networks without batch statistics, by plain gradients, since Adam makes much of rounding where they are nearly 0.

    Sums in another order: float32 has 1e-7 of a weight, and there are four steps.
    """
    slow = {"optimiser": "sgd", "rate": 0.01, "critic_rate": 0.01}
    what = [("resnet-r1", "r1", slow | {"lazy": 2}), ("resnet-r1", "wgan-gp", slow | {"critic_turns": 2, "pieces": 2})]
    what.append(("stylegan2", "r1", slow | {"group": 1, "mixing": 0.9}))  # a group of one deviates by nothing
    one, two = trained(tmp_path, 1, what), trained(tmp_path, 2, what)
    assert one.keys() == two.keys()
    for name in one:
        a, b = torch.tensor(one[name]["weights"]), torch.tensor(two[name]["weights"])
        assert ((a - b).abs() / a.abs().clamp(min=1)).max().item() < 1e-6  # a mapping's weights are about 100
        assert one[name]["losses"] == pytest.approx(two[name]["losses"], abs=1e-5)
        assert two[name]["stop"] is False  # as the first process says


def test_gradients_of_two_processes_are_the_mean_and_missing_ones_count_as_zeros(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nfrom texsyn.gan.ranks import join, leave\nranks = join()\n"
        "a, b, c = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))\n"
        "a.grad = torch.tensor([1.0, 2.0]) * (ranks.rank + 1)\n"
        "if ranks.rank: b.grad = torch.tensor([4.0, 8.0])\n"
        "values = ranks.mean([a, b, c], torch.tensor([10.0 * ranks.rank]))\n"
        "assert a.grad.tolist() == [1.5, 3.0] and b.grad.tolist() == [2.0, 4.0] and c.grad is None\n"
        "assert values.tolist() == [5.0]\n"
        "assert ranks.all_of(torch.tensor([float(ranks.rank)])).tolist() == [0.0, 1.0]\n"
        "assert ranks.agreed(ranks.rank == 0) and not ranks.agreed(ranks.rank == 1)\n"
        "leave(ranks)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
