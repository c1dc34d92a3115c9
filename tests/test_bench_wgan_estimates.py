"""The benchmark of Wasserstein critics: what it calls true, that what it calls a bound is one, and what it keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("ot")
pytest.importorskip("sklearn")

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    import bench_wgan_estimates as bench
finally:
    sys.path.pop(0)


def test_true_is_the_length_of_a_translation_that_everything_makes() -> None:
    x = torch.randn(50, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    assert bench.w1(x.flip(0) + torch.tensor([3.0, 4.0]).view(1, 2, 1, 1), x) == pytest.approx(5, rel=1e-6)
    assert bench.w1(x, x) == 0


@pytest.mark.parametrize("kind", bench.KNOBS)
def test_estimates_are_below_the_true_distance(kind: str) -> None:
    case = bench.Case("gaussians8", bench.QUICK)
    training = bench.Training(case, kind, bench.KNOBS[kind][1][1], 0)
    for i in range(5):
        training.loop.step(i)
    made = training.make(64, seed=1)
    said, true = training.says(made), bench.w1(made, case.y)
    assert said["estimate"] < true
    if kind in ("clip", "gp"):
        assert said["estimate"] == pytest.approx(said["raw"] / said["steepest"])
        assert said["mean_slope"] <= said["steepest"]
    elif kind == "soft dual":
        assert said["raw"] > said["estimate"] > 0
    else:
        assert said["raw"] == said["estimate"] > 0


def test_all_kinds_begin_with_the_same_generator() -> None:
    case = bench.Case("gaussians8", bench.QUICK)
    made = [bench.Training(case, kind, 0.1, 5).make(9, seed=1) for kind in bench.KNOBS]
    assert all(torch.equal(made[0], m) for m in made[1:])


def test_a_run_keeps_its_curves_and_sums_up_the_fresh_seeds(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    bench.main(["--quick", "--data", "gaussians8", "--out", str(out), "--sheet", str(tmp_path / "sheet")])
    found = json.loads(out.read_text())
    assert (tmp_path / "sheet_gaussians8.png").exists()
    assert list(found["summary"]["gaussians8"]) == list(bench.KNOBS)
    assert {r["seed"] for r in found["runs"]} == {0, bench.TUNING}
    assert found["floors"]["gaussians8"]["fresh"] > 0
    for record in found["runs"]:
        assert [p["step"] for p in record["curve"]] == [1, 3]
        if record["seed"] == 0:
            last, said = record["curve"][-1], found["summary"]["gaussians8"][record["kind"]]
            assert said["w1"] == pytest.approx(last["w1"], rel=1e-3)
            assert said["estimate/w1"] == pytest.approx(last["estimate"] / last["w1"], rel=1e-3)
