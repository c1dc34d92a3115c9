"""The benchmark of StyleGANs runs, and its figures belong together."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
try:
    import bench_stylegan
finally:
    sys.path.pop(0)

from texsyn.gan.architectures import ARCHITECTURES


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("bench")
    out, sheet = folder / "it.json", folder / "it.png"
    bench_stylegan.main(["--quick", "--out", str(out)])
    bench_stylegan.main(["--quick", "--part", "curve", "--out", str(out), "--sheet", str(sheet)])
    assert sheet.stat().st_size > 0
    read: dict[str, object] = json.loads(out.read_text())
    return read


def test_a_kimg_is_the_sum_of_its_phases(found: dict[str, object]) -> None:
    records = found["cost"]
    assert isinstance(records, list)
    assert [r["case"] for r in records] == list(bench_stylegan.QUICK)
    for r in records:
        steps = 1000 / r["batch"]
        for kind in ("wall", "cpu"):
            wanted = sum(steps / p["interval"] * p[kind] for p in r["phases"].values())
            assert r[f"{kind}_per_kimg"] == pytest.approx(wanted, abs=0.01)
    assert list(records[0]["phases"]) == ["discriminator", "r1", "generator", "paths"]
    assert [p["interval"] for p in records[0]["phases"].values()] == [1, 16, 1, 4]
    assert all(p["flops"] > 0 for p in records[0]["phases"].values())


def test_a_curve_has_its_points_in_order(found: dict[str, object]) -> None:
    records = found["curve"]
    assert isinstance(records, list)
    points = records[0]["curve"]
    assert len(points) >= 2
    assert [p["kimg"] for p in points] == sorted(p["kimg"] for p in points)
    assert points[-1]["pixel_frechet"] < points[0]["pixel_frechet"]


def test_ratios_are_of_a_case_and_its_plain_form() -> None:
    records = [
        {"case": "a 32", "device": "cpu", "cpu_per_kimg": 2.0, "wall_per_kimg": 9.0},
        {"case": "a 32 folded", "device": "cpu", "cpu_per_kimg": 3.0, "wall_per_kimg": 9.0},
        {"case": "b 32", "device": "cpu", "failed": "exit 1"},
    ]
    assert bench_stylegan.ratios(records) == {"a 32 folded / a 32": 1.5}


@pytest.mark.parametrize("name", [*bench_stylegan.CASES, *bench_stylegan.GPU_CASES])
def test_cases_can_be_built(name: str) -> None:
    case = (bench_stylegan.CASES | bench_stylegan.GPU_CASES)[name]
    config = bench_stylegan.config_of(case)
    assert config.arch in ARCHITECTURES
    assert (config.height, config.width, config.channels, config.growth) == (case.side, case.side, 3, 0)
    if "small" not in name:
        assert config.latent == 512
