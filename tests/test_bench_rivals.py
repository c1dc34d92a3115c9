"""The benchmark of rivals: commands are filled in without a shell, and failures are kept with their reasons."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from texsyn.images import load, save

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    import bench_rivals
finally:
    sys.path.pop(0)

TILE = """
import sys, numpy as np; from PIL import Image
u = np.asarray(Image.open(sys.argv[1])); w, h = int(sys.argv[3]), int(sys.argv[4])
n = -(-h // u.shape[0]), -(-w // u.shape[1])
Image.fromarray(np.tile(u, n + (1,) * (u.ndim - 2))[:h, :w]).save(sys.argv[2])
"""


def python(code: str, *more: str) -> str:
    return "{python} -c " + shlex.join([code]) + " " + " ".join(more)


@pytest.fixture
def textures(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder; with $(signs) {w}"
    folder.mkdir()
    save(load("skimage:grass:48"), folder / "it's grass.png")
    return folder


def bench(textures: Path, out: Path, *more: str, methods: str = "") -> dict:
    arguments = ["--textures", str(textures), "--size", "80x64", "--methods", methods, "--out", str(out)]
    bench_rivals.main([*arguments, *more])
    return json.loads(out.read_text())


def test_a_tiler_is_scored_and_failures_are_kept(textures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rivals = {
        "tile": python(TILE, "{in} {out} {w} {h}"),
        "small": python(TILE, "{in} {out} {w} 20"),
        "fails": python("raise SystemExit('\x1b[31mno such luck')", "{in} {out}"),
        "silent": python("pass", "{in} {out}"),
        "garbage": python("import sys; open(sys.argv[1], 'w').write('GIF?')", "{out} {in}"),
        "missing": "nowhere/at/all {in} {out}",
    }
    sheet = tmp_path / "sheet.png"
    options = [w for name, command in rivals.items() for w in ("--rival", f"{name}={command}")]
    found = bench(textures, tmp_path / "r.json", *options, "--sheet", str(sheet))
    records = {r["method"]: r for r in found["records"]}
    assert list(records) == list(rivals)
    assert "failed" not in records["tile"]
    assert records["tile"]["copy15"] > 0.3, "tiles are copies, but for windows across their seams"
    assert records["tile"]["cpu"] > 0
    assert records["tile"]["memory_mib"] > 1
    assert records["small"]["failed"] == "wrong size: 80x20 instead of 80x64"
    assert records["fails"]["failed"] == "exit 1: no such luck"
    assert records["silent"]["failed"] == "wrote nothing"
    assert "out.png" in records["garbage"]["failed"]
    assert records["missing"]["failed"].startswith("cannot be started")
    assert [found["summary"][name]["failed"] for name in rivals] == [0, 1, 1, 1, 1, 1]
    assert found["summary"]["small"]["msw"] is None
    assert found["summary"]["tile"]["cpu/tile"] == 1
    assert found["about"]["commit"]
    assert found["about"]["versions"]["tile"].startswith("Python 3")
    assert found["about"]["versions"]["missing"] is None
    assert capsys.readouterr().out.count("\n| ") == len(rivals)
    assert load(sheet).pixels.shape[0] == 64 + 6


def test_what_takes_too_long_is_stopped_with_its_children(textures: Path, tmp_path: Path) -> None:
    late = tmp_path / "late"
    child = f"import time; time.sleep(2); open({str(late)!r}, 'w')"
    sleeper = python(
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)",
        "{in} {out}",
    )
    [record] = bench(textures, tmp_path / "r.json", "--rival", f"slow={sleeper}", "--timeout", "1")["records"]
    assert record["failed"] == "timeout: stopped after 1 s"
    assert 1 <= record["wall"] < 20
    bench_rivals.launched([sys.executable, "-c", "import time; time.sleep(2)"], 20)
    assert not late.exists()


def test_cpu_seconds_and_memory_are_the_childs_own() -> None:
    ballast = np.ones(30 << 20)  # 240 MiB in this process, which a forked child would begin with
    idle = bench_rivals.launched([sys.executable, "-S", "-c", "import time; time.sleep(0.5)"], 20)
    busy = "import time; b = b'x' * (100 << 20)\nwhile time.process_time() < 0.5: pass"
    worked = bench_rivals.launched([sys.executable, "-S", "-c", busy], 60)
    assert ballast.all()
    assert idle["cpu"] < 0.4
    assert idle["wall"] >= 0.5
    assert idle["memory_mib"] < 60
    assert 0.5 <= worked["cpu"] < 2
    assert 100 < worked["memory_mib"] < 160


def test_ours_run_in_the_same_way(textures: Path, tmp_path: Path) -> None:
    found = bench(textures, tmp_path / "r.json", methods="gaussian")
    assert found["summary"]["gaussian"]["n"] == 1
    assert found["records"][0]["copy15"] == 0


def test_ratios_are_over_what_both_made() -> None:
    def record(method: str, exemplar: str, cpu: float, **more: str) -> dict:
        rest = dict.fromkeys((*bench_rivals.COSTS, *bench_rivals.SCORES, "rep"), 1.0)
        return rest | {"method": method, "exemplar": exemplar, "seed": 0, "cpu": cpu} | more

    records = [record("us", "easy", 1), record("us", "hard", 9), record("it", "easy", 4)]
    summary = bench_rivals.summarised([*records, record("it", "hard", 1, failed="exit 1")], ["us", "it"])
    assert summary["us"]["cpu"] == 5
    assert (summary["it"]["n"], summary["it"]["failed"], summary["it"]["cpu/us"]) == (1, 1, 4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rival", "x=cp {in}"], "NAME=COMMAND"),
        (["--rival", "gaussian=cp {in} {out}"], "two methods"),
        (["--rival", "x=cp '{in} {out}"], "quotation"),
        (["--methods", "magic"], "magic"),
        (["--methods", ""], "nothing to measure"),
    ],
)
def test_wrong_options_are_refused_at_the_door(arguments: list[str], says: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        bench_rivals.main(arguments)
    assert says in capsys.readouterr().err
