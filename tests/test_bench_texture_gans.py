"""The benchmark of the adversarial methods: how FLOPs are counted, what is timed, what is summed up and kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from texsyn.gan.penalties import gradient_penalty
from texsyn.images import Size, load
from texsyn.models.base import make_config, model_class

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    import bench_texture_gans as bench
finally:
    sys.path.pop(0)

ONE = 2 * 3 * 4 * 9 * 36  # of a 3x3 convolution from 3 to 4 channels that makes 6x6


def test_flops_are_counted_forward_backward_and_twice_backward() -> None:
    layer, x = torch.nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
    assert bench.flops(lambda: layer(x)) == ONE
    assert bench.flops(lambda: layer(x).sum().backward()) == 2 * ONE  # no gradient of x is asked for
    assert bench.flops(lambda: layer(x.requires_grad_(True)).sum().backward()) == 3 * ONE
    mixing = torch.tensor(0.5)
    # forward, the gradient of x, that one's gradient by the weights, and by what came from above, asked for or not
    assert bench.flops(lambda: gradient_penalty(layer, x, x, mixing).backward()) == 4 * ONE


def test_steps_after_the_first_are_timed_until_there_are_enough_or_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked = [0.0], []

    def clock() -> float:
        return now[0]

    def step(i: int) -> None:
        asked.append(i)
        now[0] += (100, 3, 1, 2, 4, 1)[len(asked) - 1]

    monkeypatch.setattr("bench_texture_gans.time.process_time", clock)
    monkeypatch.setattr("bench_texture_gans.time.perf_counter", clock)
    for n, seconds, timed in ((5, 1000.0, 5), (5, 5.5, 3), (5, 0.0, 1)):
        asked.clear()
        found = bench.Clock("cpu").costs(step, 7, bench.Scope({}, n, seconds))
        assert asked == list(range(7, 8 + timed))
        assert found["timed_steps"] == timed
        assert found["cpu"] == found["wall"] == {5: 2, 3: 2, 1: 3}[timed]  # medians


def test_the_cases_are_those_of_the_papers() -> None:
    for name, crop, batch in (("sgan 4", 257, 64), ("sgan 8", 257, 64), ("psgan", 161, 25)):
        case = bench.CASES[name]
        cls = model_class(case.method)
        config = make_config(cls.config_type, cls.recipes[case.recipe])
        assert (config.crop, config.batch) == (crop, batch)
    scales = {"released": 9, "paper": 9, "fast": 6}
    for recipe, n in scales.items():
        case = bench.CASES[f"singan {recipe} 250x168"]
        cls = model_class("singan")
        config = make_config(cls.config_type, {**cls.recipes[case.recipe], **dict(case.settings)})
        model = cls(bench.colours(case.size), config)
        assert (len(model.sizes), model.sizes[-1]) == (n, Size(168, 250))
        assert (config.compat == "official") == (recipe == "released")


def test_what_is_said_of_the_papers_batch_is_scaled_by_pictures() -> None:
    """FLOPs are, exactly: twice the batch is twice the work."""
    cases = {str(n): bench.Case("sgan", "tiny", Size(40, 44), bench.SMALL, batch=n) for n in (1, 2)}
    one, two = (bench.one_case(bench.Scope(cases, 1, 0.0), name, "cpu") for name in cases)
    assert two["flops"] == pytest.approx(2 * one["flops"], rel=1e-6)
    assert (one["batch"], one["paper_batch"], one["scaled"]) == (1, 4, True)
    assert one["paper_flops"] == pytest.approx(4 * one["flops"])
    assert two["paper_cpu"] == pytest.approx(2 * two["cpu"], abs=1e-3)


def test_the_trial_counts_what_the_training_then_does() -> None:
    exemplar = load("skimage:grass:40")
    config = make_config(bench.Singan.config_type, {"max_side": 40, "channels": 4, "d_turns": 3, "g_turns": 3})
    costs = bench.trial(exemplar, config, "cpu")
    learner = bench.SingleImage(bench.Singan(exemplar, bench.replace(config, steps=2)), 3)
    assert len(costs) == len(learner.of.sizes) > 3
    done = bench.flops(lambda: [learner.step(i) for i in range(2 * len(costs))])
    begun = done - 2 * sum(n for _, n in costs)
    assert 0 <= begun < 0.05 * done  # scales have to be begun, too: their amplitudes


def test_the_summary_has_ratios_and_medians() -> None:
    def schedule(title: str, pflop: float, memory: float) -> dict:
        whole = {"pflop": pflop, "cpu_hours": 2 * pflop, "hours": 3 * pflop}
        return {"case": f"singan {title} 250x168", "size": "250x168", "schedule": whole, "memory_mib": memory}

    raced = [{"exemplar": "it", "run": "other crop", "rsifid": 1.0, "psw": 2.0}]
    raced += [
        {"exemplar": "it", "run": "fast", "seconds": 30.0, "seed": k, "rsifid": v, "psw": -v, "steps_a_scale": 5}
        for k, v in enumerate((4.0, 9.0, 5.0))
    ]
    found = bench.summary([schedule("released", 6.0, 9.0), schedule("fast", 1.5, 8.0)], raced)
    of_size = found["schedules"]["250x168"]
    assert of_size["released/fast"] == {"pflop": 4.0, "cpu_hours": 4.0, "hours": 4.0}
    assert of_size["published pflop"]["ratio"] == 4.0
    assert "paper/fast" not in of_size
    assert found["race"]["it"]["fast 30 s"] == {"rsifid": 5.0, "psw": -5.0, "steps_a_scale": 5}
    assert found["race"]["it"]["other crop"] == {"rsifid": 1.0, "psw": 2.0}


@pytest.mark.slow
def test_the_quick_benchmark_keeps_what_it_does_not_run(tmp_path: Path) -> None:
    out, sheet = tmp_path / "found.json", tmp_path / "sheet.png"
    threads = torch.get_num_threads()
    try:
        bench.main(["--quick", "--part", "steps", "--cases", "psgan,singan fast 40x32", "--out", str(out)])
        bench.main(["--quick", "--part", "steps", "--cases", "sgan 2", "--out", str(out)])
        bench.main(["--quick", "--part", "race", "--exemplars", "grass", "--out", str(out), "--sheet", str(sheet)])
    finally:
        torch.set_num_threads(threads)
    found = json.loads(out.read_text())
    assert [r["case"] for r in found["steps"]] == ["psgan", "singan fast 40x32", "sgan 2"]
    assert [r["run"] for r in found["race"]] == ["other crop", "paper", "fast"]
    assert all(r["flops"] > 0 and r["cpu"] > 0 for r in found["steps"][1]["scales"])
    assert set(found["summary"]) == {"steps", "schedules", "race"}
    assert load(sheet).size == Size(3 * 70, 5 * 70)
