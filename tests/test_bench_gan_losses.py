"""The benchmark of losses: what is drawn for them, how runs are judged and chosen, what is summed up and kept."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from texsyn.datasets import open_dataset
from texsyn.gan.architectures import OBJECTIVES, configure
from texsyn.gan.image_training import ImageGan
from texsyn.images import Size, load
from texsyn.metrics.pixel_frechet import pixel_frechet

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    import bench_gan_losses as bench
finally:
    sys.path.pop(0)


@pytest.fixture(scope="module")
def judge() -> bench.Judge:
    return bench.Judge(open_dataset("digits"), 200)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# ---- what is drawn


def test_draws_are_spread_over_their_ranges_and_the_same_for_all_losses() -> None:
    before = torch.get_rng_state()
    draws = [bench.draw(k) for k in range(1 + bench.DRAWS)]
    assert draws == [bench.draw(k) for k in range(1 + bench.DRAWS)]
    assert torch.equal(torch.get_rng_state(), before)
    assert draws[0] == {}
    low, high = bench.RATES
    for key, place in (
        ("rate", lambda rate: math.log(rate / low) / math.log(high / low)), ("strength", lambda strength: strength),
    ):  # fmt: skip
        assert sorted(int(bench.DRAWS * place(one[key])) for one in draws[1:]) == list(range(bench.DRAWS))
    assert {one["critic_turns"] for one in draws[1:]} == set(bench.TURNS)
    assert {one["beta1"] for one in draws[1:]} == set(bench.BETAS)
    assert sorted(one["normalised"] for one in draws[1:]).count(True) in (3, 4)


def test_a_draw_sets_what_a_loss_has() -> None:
    drawn = {"rate": 1e-3, "strength": 0.5, "beta1": 0.0, "critic_turns": 2, "normalised": True}
    common = {"rate": 1e-3, "critic_rate": 1e-3, "beta1": 0.0, "critic_turns": 2, "normalised": True}
    assert bench.settings_of("hinge", drawn) == common
    assert bench.settings_of("wgan-clip", drawn) == common | {"clip": 0.03}
    assert bench.settings_of("semi-discrete", drawn) == common | {"critic_rate": 0.01}
    for name in ("wgan-gp", "r1", "dragan"):
        assert bench.settings_of(name, drawn) == common | {"weight": 3.16, "normalised": False}
    assert bench.settings_of("wgan-gp", {}) == {}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_loss_has_the_same_budget_with_every_draw(name: str) -> None:
    for k in range(bench.FULL.draws):
        settings = {"height": 8, "width": 8, "images": bench.FULL.images} | bench.settings_of(name, bench.draw(k))
        config = configure("dcgan", objective=name, settings=settings)
        turn = config.batch * config.critic_turns
        assert bench.FULL.images <= config.steps * turn < bench.FULL.images + turn


# ---- how runs are judged


def test_the_floor_is_what_the_data_score(judge: bench.Judge) -> None:
    floor = judge.floor()
    assert floor["pixel"] == round(pixel_frechet(*judge.halves), 5)
    assert (floor["n"], floor["reached"]) == (898, 10)
    assert floor["classifier"] < 0.02
    both = torch.cat(judge.halves)
    pixels = {one.numpy().tobytes() for one in both}
    assert len(pixels) == len(both)  # digits are all different, and no one is in both halves


def test_made_pictures_are_judged_half_by_half(judge: bench.Judge) -> None:
    class Model:
        def __init__(self, pictures: Tensor) -> None:
            self.pictures = pictures

        def many(self, n: int, *, seed: int) -> Tensor:
            assert n == len(self.pictures)
            return self.pictures

    one, other = judge.halves
    same, crossed = judge.scores(Model(torch.cat([one, other]))), judge.scores(Model(torch.cat([other, one])))
    floor = judge.floor()
    assert (same["classifier"], same["pixel"]) == (0, 0)
    assert (crossed["classifier"], crossed["pixel"]) == (floor["classifier"], floor["pixel"])
    assert (same["reached"], same["confident"]) == (floor["reached"], floor["confident"])
    alike = judge.scores(Model(one[:1].expand(2 * judge.n, -1, -1, -1)))
    assert alike["reached"] == 1
    assert alike["classifier"] > 0.9


def test_a_run_is_judged_along_its_way(judge: bench.Judge) -> None:
    scope = dataclasses.replace(bench.QUICK, images=640 * 4)
    record, pictures = bench.trained(scope, "dcgan", "r1", 0, 3, judge)
    assert [point["share"] for point in record["curve"]] == [0.1, 0.25, 0.5, 1.0]
    assert (record["steps"], record["seed"], record["diverged"]) == (40, 3, "")
    again, _ = bench.trained(scope, "dcgan", "r1", 0, 3, judge)
    assert again["curve"] == record["curve"]
    assert bench.score(record) == record["curve"][-1]["classifier"]
    assert pictures is not None
    assert pictures.shape == (16, 1, 8, 8)


def test_a_run_that_breaks_off_is_counted_and_never_the_best(
    judge: bench.Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: ImageGan, i: int) -> dict[str, float]:
        if i == 5:
            raise FloatingPointError("d is nan at step 5")
        return {}

    monkeypatch.setattr(ImageGan, "step", step)
    record, pictures = bench.trained(bench.QUICK, "dcgan", "f-kl", 0, 0, judge)
    assert (record["diverged"], len(record["curve"]), pictures) == ("d is nan at step 5", 3, None)
    assert bench.score(record) == math.inf
    found = bench.moved(configure("mlp", settings=bench.PLANE), open_dataset("gaussians8", limit=500), 0)
    assert (found["modes"], found["good"], found["diverged"]) == (0, 0.0, "d is nan at step 5")


def test_the_best_draw_is_trained_again_from_fresh_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {0: 0.3, 1: math.nan, 2: 0.1, 3: 0.2}

    def trained(scope: Any, arch: str, name: str, k: int, seed: int, judge: Any) -> tuple[dict[str, Any], None]:
        diverged = "d is nan" if math.isnan(scores[k]) else ""
        return {"draw": k, "seed": seed, "diverged": diverged, "curve": [{"classifier": scores[k]}]}, None

    monkeypatch.setattr(bench, "trained", trained)
    scope = dataclasses.replace(bench.QUICK, draws=4, seeds=3)
    runs = [(r["draw"], r["seed"]) for r, _ in bench.tried(scope, "dcgan", "hinge", None)]  # type: ignore[arg-type]
    assert runs == [(0, 100), (1, 100), (2, 100), (3, 100), (2, 0), (2, 1), (2, 2)]


def test_modes_of_the_plane_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data, n = open_dataset("gaussians8", limit=500), bench.N_POINTS
    assert data.modes is not None
    made = torch.zeros(n, 2)
    made[: n // 2] = data.modes[0] + 0.05  # 0.07 off, of 0.06
    made[n // 2 : n // 2 + 25] = data.modes[1]
    made[n // 2 + 25 : n // 2 + 49] = data.modes[2]  # one less than a tenth of an eighth

    class Model:
        def many(self, n: int, *, seed: int) -> Tensor:
            return made[:, :, None, None]

    monkeypatch.setattr(ImageGan, "model", lambda self: Model())
    config = configure("mlp", settings=bench.PLANE | {"images": 128})
    found = bench.moved(config, data, 0)
    assert (found["modes"], found["modes_nearby"], found["good"]) == (1, 2, round(49 / n, 4))


# ---- what is summed up


def record(loss: str, draw: int, seed: int, *values: float, diverged: str = "") -> dict[str, Any]:
    curve = [{"classifier": v, "pixel": 10 * v, "reached": 10, "confident": 0.5} for v in values]
    about = {"arch": "dcgan", "loss": loss, "draw": draw, "seed": seed, "steps": 7, "settings": {"rate": draw}}
    return about | {"cpu": 1.0 + draw, "diverged": diverged, "curve": curve}


def test_the_summary_is_of_fresh_runs_and_knows_those_that_broke_off() -> None:
    runs = [
        record("hinge", 0, 100, 0.9, 0.4), record("hinge", 1, 100, 0.5, 0.1), record("hinge", 2, 100, diverged="d"),
        record("hinge", 1, 0, 0.8, 0.2), record("hinge", 1, 1, 0.8, 0.4), record("hinge", 1, 2, 0.8, diverged="d"),
        record("r1", 0, 100, 0.9, 0.25), record("r1", 0, 0, 0.5, 0.25), record("f-kl", 0, 100, diverged="d"),
        record("f-kl", 0, 0, diverged="d"),
    ]  # fmt: skip
    found = bench.summary(runs, [])["losses"]["dcgan"]
    assert list(found) == ["r1", "hinge", "f-kl"]  # the best first
    hinge = found["hinge"]
    assert hinge["classifier"] == {"mean": 0.3, "deviation": round(0.1 * math.sqrt(2), 5), "best": 0.2, "worst": 0.4}
    assert hinge["pixel"]["mean"] == 3.0
    assert hinge["draws"] == {"best": 0.1, "median": 0.25, "worst": 0.4}
    assert (hinge["draw"], hinge["settings"], hinge["published"]) == (1, {"rate": 1}, 0.4)
    assert hinge["diverged"] == {"draws": 1, "fresh": 1}
    assert hinge["over_a_tenth"] == [0.25, 0.5]
    assert (found["f-kl"]["classifier"], found["f-kl"]["draws"], found["f-kl"]["published"]) == ({}, {}, None)


def test_the_summary_of_the_plane_has_every_rate() -> None:
    points = [
        {"loss": "r1", "optimiser": "sgd", "rate": rate, "falls": falls, "seed": seed, "diverged": "g" * (seed == 1),
         "modes": modes, "modes_nearby": 8, "good": 0.5}
        for rate, falls, seed, modes in ((0.1, True, 0, 4), (0.1, True, 1, 0), (0.2, True, 0, 5), (0.1, False, 0, 6))
    ]  # fmt: skip
    found = bench.summary([], points)["collapse"]
    assert found["r1, sgd, falling rate"]["0.1"] == {
        "modes": [4, 0],
        "modes_nearby": [8, 8],
        "good": 0.5,
        "diverged": 1,
    }
    assert found["r1, sgd, falling rate"]["0.2"]["modes"] == [5]
    assert found["r1, sgd, constant rate"]["0.1"]["modes"] == [6]


def test_the_quick_benchmark_keeps_what_it_does_not_run(
    tmp_path: Path, threads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sheet = tmp_path / "found.json", tmp_path / "sheet.png"
    quick = ["--quick", "--out", str(out)]
    bench.main([*quick, "--part", "losses", "--losses", "hinge,f-kl", "--sheet", str(sheet)])
    bench.main([*quick, "--part", "losses", "--losses", "hinge"])
    bench.main([*quick, "--part", "collapse"])
    capsys.readouterr()
    found = json.loads(out.read_text())
    assert [(r["loss"], r["draw"], r["seed"] >= 100) for r in found["losses"][:2]] == [
        ("f-kl", 0, True),
        ("f-kl", 1, True),
    ]
    assert [r["loss"] for r in found["losses"]] == ["f-kl"] * 4 + ["hinge"] * 4
    assert set(found["summary"]["losses"]["dcgan"]) == {"f-kl", "hinge"}
    assert len(found["collapse"]) == 15
    assert len(found["summary"]["collapse"]) == 15
    assert found["floor"]["n"] == 898
    assert {"commit", "cpu", "scope"} <= set(found["about"])
    assert len(found["draws"]) == 2
    assert load(sheet).size == Size(4 * 33 - 1, 16 * 33 - 1)
