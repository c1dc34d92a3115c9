"""bench_gpu.py runs where there is no GPU: its smoke check on the CPU, and what it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from texsyn.images import load

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def ran(tmp_path: Path, *options: str) -> dict:
    out = tmp_path / "out.json"
    command = [sys.executable, str(BENCHMARKS / "bench_gpu.py"), "--exemplars", "brick", "--out", str(out), *options]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    return json.loads(out.read_text())


def test_kernels_ask_less_of_a_gpu_than_plain_torch(tmp_path: Path) -> None:
    (record,) = ran(tmp_path, "--count", "--side", "48", "--size", "96x80")["pictures"]
    torch, kernels = record["torch"], record["kernels"]
    assert 100 < kernels["launches"] < torch["launches"] / 5
    assert 0 < kernels["at_least_ms"] < torch["at_least_ms"]


@pytest.mark.slow
def test_the_smoke_check_on_the_cpu(tmp_path: Path) -> None:
    report = ran(tmp_path, "--device", "cpu", "--quick", "--size", "64x48", "--queries", "100", "--side", "64")
    assert report["pictures"][0]["same_pixels"]
    assert report["nearest"][0]["same_winners"]


def test_its_exemplars_are_there() -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import bench_gpu
    finally:
        sys.path.remove(str(BENCHMARKS))
    assert [load(f"skimage:{name}:64").size.width for name in bench_gpu.EXEMPLARS.split(",")] == [64, 64, 64]
