"""benchmarks/bench_compare.py on pictures as small as it takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    import bench_compare
finally:
    sys.path.pop(0)


def test_methods_and_anchors_are_scored_alike(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "found.json"
    bench_compare.main(["--methods", "random-phase", "--textures", "grass,brick", "--side", "24", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["about"]["settings"]["grass"] == found["about"]["settings"]["brick"]
    names = ["random-phase", "held-out half", "exemplar", "random phase", "blocks 16 px"]
    assert list(found["summary"]) == names
    assert found["summary"]["exemplar"]["psw1"] == 0
    for rows in found["textures"].values():
        row = rows["random-phase"]
        assert row["sd"]["psw1"] > 0
        assert len(row["values"]["psw1"]) == len(row["values"]["cpu"]) == 4
        assert row["mean"]["div_shift"] > 0.1
        assert rows["exemplar"]["flags"] == {"copying": 1, "too close": 1}
    lines = capsys.readouterr().out.splitlines()[-7:]
    assert [line.split("|")[1].strip() for line in lines] == ["method", "---", *names]
    assert "SEAM" not in lines[0]  # nothing here repeats
    assert len({line.count("|") for line in lines}) == 1
