"""The benchmark of GOTEX: the published algorithm as it is written down, ours as synth() makes it, and what is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import texsyn
from texsyn.images import Size, from_unit, load

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    import bench_gotex
    import published_gotex as published
finally:
    sys.path.pop(0)


def test_the_published_pyramid_wraps_pictures_and_crops_exemplars() -> None:
    u = torch.full((1, 3, 32, 24), 0.25)
    wrapped = published.gaussian_pyramid(u, 3, periodic=True)
    assert [tuple(v.shape[2:]) for v in wrapped] == [(32, 24), (16, 12), (8, 6)]
    cropped = published.gaussian_pyramid(u, 3, periodic=False)
    assert [tuple(v.shape[2:]) for v in cropped] == [(32, 24), (15, 11), (6, 4)]
    for v in (*wrapped, *cropped):
        torch.testing.assert_close(v, torch.full_like(v, 0.25))
    assert published.patches(u, 4, periodic=True).shape == (32 * 24, 48)
    assert published.patches(u, 4, periodic=False).shape == (29 * 21, 48)


def test_the_published_ascent_is_an_average_of_steps_of_size_one() -> None:
    """All points are at the first of two atoms: the gradient is (-1/2, 1/2) at every step, and so is each step."""
    x, y = torch.zeros(4, 1), torch.tensor([[0.0], [100.0]])
    settings, generator = published.Published(n_inner=10), torch.Generator().manual_seed(0)
    psi = published.ascend(torch.zeros(2), x, y, settings, generator)
    # after k steps the iterate is k/2; averages are over iterates 3 to 10, but for a decay of 1e-4 a step
    torch.testing.assert_close(psi, torch.tensor([-1.0, 1.0]) * np.mean(np.arange(3, 11)) / 2, rtol=0.01, atol=0)


def test_the_published_descent_descends() -> None:
    u = bench_gotex.planes(load("skimage:grass:48"))
    settings, values = published.Published(n_scales=2, n_outer=60), []
    found = published.synthesise(u, (32, 40), settings, 0, lambda k, u, loss: values.append(loss))
    assert found.shape == (1, 1, 32, 40)
    assert len(values) == 60
    assert values[-1] < 0.3 * values[0]


@pytest.mark.parametrize("settings", [{}, {"optimiser": "adam", "n_steps": 3}])
def test_ours_turn_by_turn_is_what_synth_makes(settings: dict) -> None:
    exemplar, seen = load("skimage:grass:48"), []
    config = bench_gotex.GotexConfig(max_atoms=100, n_coarse=2, **({"n_steps": 2} | settings))
    values = bench_gotex.ours(exemplar, config, Size(48, 56), lambda k, u: seen.append((k, u.clone())))
    assert [k for k, _ in seen] == list(range(config.n_steps + 1))
    assert values[-1] < values[-config.n_steps]  # those before are of coarser pictures
    how = {"max_atoms": 100, "n_coarse": 2, "n_steps": config.n_steps, "optimiser": config.optimiser}
    made = texsyn.synth(exemplar, (48, 56), method="gotex", seed=0, device="cpu", **how)
    np.testing.assert_array_equal(from_unit(seen[-1][1].permute(1, 2, 0).numpy(), np.uint8), made.pixels)


def test_the_judge_knows_the_exemplar_from_noise() -> None:
    exemplar = load("skimage:grass:48")
    judge = bench_gotex.Judge(exemplar, bench_gotex.QUICK)
    u = bench_gotex.planes(exemplar)
    noise = torch.rand(u.shape, generator=torch.Generator().manual_seed(0))
    itself, far = judge(u), judge(noise)
    assert 0 <= itself["common"] < 0.02 < 0.3 < far["common"]
    assert itself["common"] == pytest.approx(np.mean(itself["scales"]), abs=1e-5)


def test_seconds_to_the_published_score_are_those_of_the_first_picture_that_has_it() -> None:
    def record(run: str, curve: list) -> dict:
        marks = [{"cpu": t, "common": v, "released": 2 * v} for t, v in curve]
        return {"exemplar": "it", "run": run, "memory_mib": 1, "sharp": 1, "curve": marks, **marks[-1]}

    records = [
        {"exemplar": "it", "run": "other crop", "common": 0.1},
        record("published", [(10, 3), (40, 1)]),
        record("fast", [(1, 2), (2, 1), (3, 0.5)]),
        record("poor", [(1, 2)]),
    ]
    found = bench_gotex.compared(records)
    assert set(found) == {"published", "fast", "poor"}
    assert (found["fast"]["it"]["common_reached"], found["fast"]["it"]["common_ratio"]) == (2, 0.05)
    assert found["poor"]["it"]["common_ratio"] is None


@pytest.mark.slow
def test_the_quick_benchmark_keeps_the_parts_that_it_does_not_run(tmp_path: Path) -> None:
    out, sheet = tmp_path / "found.json", tmp_path / "sheet.png"
    bench_gotex.main(["--quick", "--out", str(out), "--sheet", str(sheet)])
    found = json.loads(out.read_text())
    assert set(found) == {"race", "losses", "sheet", "cost"}
    assert set(found["race"]["summary"]) == {"published", "ours-500"}
    assert len(found["losses"]["summary"]) == 4 + 7
    assert found["cost"]["records"][0]["failed"] == ""
    assert load(sheet).size == Size(54, 5 * 54)
    bench_gotex.main(["--quick", "--parts", "cost", "--out", str(out)])
    again = json.loads(out.read_text())
    assert again["race"] == found["race"]
    assert again["losses"] == found["losses"]
    with pytest.raises(SystemExit):
        bench_gotex.main(["--quick", "--parts", "magic"])
