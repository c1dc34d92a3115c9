"""texsyn batch: items made, skipped and failed; a run that is killed and given again; hostile manifests; a cluster."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import texsyn
from texsyn.batch import Item, make, read_manifest
from texsyn.cli import main
from texsyn.images import InputError, Picture, load, read_recipe, save

ROOT = Path(texsyn.__file__).parent.parent
QUICK = {"method": "gaussian", "size": "20x16"}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """texsyn batch in this process, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*args: Any, stdin: bytes | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["batch", *map(str, args)])
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capfd.readouterr()

    return call


def rock(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    save(Picture(pixels, "RGB"), path, overwrite=True)
    return path


def manifest(path: Path, *lines: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def rocks(folder: Path, n: int, **more: Any) -> Path:
    """A manifest of n rocks beside it, seeds counting up."""
    lines = [{"image": rock(folder / f"r{i}.png", i).name, "seed": i, **QUICK, **more} for i in range(n)]
    return manifest(folder / "m.jsonl", *lines)


def statuses(out: str) -> list[str]:
    return [json.loads(line)["status"] for line in out.splitlines()]


def pixels_in(folder: str | Path = ".") -> dict[str, str]:
    """Name -> hash of the pixels, of all finished pictures."""
    return {f.name: load(f).sha256 for f in Path(folder).glob("*.png") if f.is_file()}


# ---- what is made


def test_an_item_is_the_picture_that_synth_makes(run: Run, tmp_path: Path) -> None:
    image = rock(tmp_path / "in" / "rock.png")
    line = {"image": "rock.png", "seed": 7, "size": "30x20", "output": "a.png", "set": {"passes": 2}, "tile": "x"}
    assert run(manifest(tmp_path / "in" / "m.jsonl", line), "--workers", 1)[0] == 0
    expected = texsyn.synth(image, "30x20", seed=7, passes=2, tile="x")
    assert np.array_equal(load("a.png").pixels, expected.pixels)
    recipe = read_recipe("a.png")
    assert recipe is not None
    assert {**recipe, "seconds": 0} == json.loads(json.dumps({**expected.recipe, "seconds": 0}))


def test_options_are_defaults_and_lines_override_them(run: Run, tmp_path: Path) -> None:
    rock(tmp_path / "rock.png")
    other = {"image": "rock.png", "size": "2x", "seed": 9, "set": {"fade": 0.3}}
    file = manifest(tmp_path / "m.jsonl", {"image": "rock.png"}, other)
    options = ("--method", "random-phase", "--set", "fade=0.2", "--size", "9x8", "--seed", 1, "--workers", 1)
    assert run(file, "-o", "{stem}_{seed}_{line}.png", *options)[0] == 0
    recipes = [read_recipe(name) or {} for name in ("rock_1_1.png", "rock_9_2.png")]
    assert [(r["size"], r["seed"], r["settings"]) for r in recipes] == [
        ("9x8", 1, {"fade": 0.2}),
        ("28x24", 9, {"fade": 0.3}),
    ]


def test_images_are_beside_the_manifest_and_outputs_here(run: Run, tmp_path: Path) -> None:
    file = rocks(tmp_path / "in", 1)
    assert run(file, "-o", "{stem}_big.png", "--workers", 1)[0] == 0
    assert sorted(os.listdir()) == ["in", "r0_big.png"]


def test_standard_input(run: Run, tmp_path: Path) -> None:
    rock(tmp_path / "rock.png")
    text = b'\xef\xbb\xbf\r\n{"image": "rock.png"}\r\n\n'
    options = ("-o", "a.png", "--size", "9x8", "--seed", 1, "--method", "gaussian")
    assert run("-", *options, "--workers", 1, stdin=text)[0] == 0
    assert str(load("a.png").size) == "9x8"


def test_any_number_of_workers_makes_the_same(run: Run, tmp_path: Path) -> None:
    file = rocks(tmp_path / "in", 5, method="texto", set={"passes": 2})
    code, out, err = run(file, "-o", "{stem}.png", "--workers", 2, "--json")
    assert (code, statuses(out), err) == (0, ["made"] * 5, "")
    two = pixels_in()
    code, out, _ = run(file, "-o", "{stem}.png", "--workers", 1, "--json", "--overwrite")
    assert (code, statuses(out)) == (0, ["skipped"] * 5)
    for path in Path(".").glob("*.png"):
        path.unlink()
    assert run(file, "-o", "{stem}.png", "--workers", 1)[0] == 0
    assert pixels_in() == two


# ---- what is done already


def test_done_is_skipped_and_made_otherwise_is_a_failure_or_replaced(run: Run, tmp_path: Path) -> None:
    file = rocks(tmp_path / "in", 3)
    options = ("-o", "{stem}.png", "--workers", 1, "--json")
    assert statuses(run(file, *options)[1]) == ["made"] * 3
    before = Path("r0.png").read_bytes()
    rock(tmp_path / "in" / "r1.png", 99)
    Path("r2.png").unlink()
    rock(Path("r2.png"))
    code, out, err = run(file, *options)
    assert (code, statuses(out)) == (5, ["skipped", "failed", "failed"])
    assert err == "texsyn: 2 of 3 items failed\n"
    errors = [json.loads(line).get("error") for line in out.splitlines()]
    assert errors[1] == "r1.png: exists and was made with another exemplar; --overwrite replaces it"
    assert errors[2] == "r2.png: exists and holds no recipe; --overwrite replaces it"
    assert statuses(run(file, *options, "--overwrite")[1]) == ["skipped", "made", "made"]
    assert statuses(run(file, *options)[1]) == ["skipped"] * 3
    assert Path("r0.png").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"size": "21x16"}, "size"),
        ({"seed": 8}, "seed"),
        ({"tile": "y"}, "tile"),
        ({"method": "gaussian"}, "method and settings"),
        ({"set": {"fade": 0.2}}, "settings"),
    ],
)
def test_whatever_shapes_the_picture_counts(run: Run, tmp_path: Path, change: dict[str, Any], word: str) -> None:
    base = {"image": rock(tmp_path / "rock.png").name, "output": "a.png", "seed": 1, **QUICK, "method": "random-phase"}
    assert run(manifest(tmp_path / "m.jsonl", base), "--workers", 1)[0] == 0
    assert run(manifest(tmp_path / "m.jsonl", base), "--workers", 1)[0] == 0
    code, _, err = run(manifest(tmp_path / "m.jsonl", base | change), "--workers", 1)
    assert code == 5
    assert f"line 1: a.png: exists and was made with another {word};" in err


def test_without_a_seed_any_seed_is_done(run: Run, tmp_path: Path) -> None:
    file = manifest(tmp_path / "m.jsonl", {"image": rock(tmp_path / "rock.png").name, "output": "a.png", **QUICK})
    first = json.loads(run(file, "--workers", 1, "--json")[1])
    again = json.loads(run(file, "--workers", 1, "--json")[1])
    assert (first["status"], again["status"]) == ("made", "skipped")
    assert first["seed"] == again["seed"] == read_recipe("a.png")["seed"]  # type: ignore[index]


def test_somebody_who_was_faster_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    item = Item(1, str(rock(tmp_path / "rock.png")), "a.png", "20x16", 3, method="gaussian")
    assert make(item).status == "made"
    real = os.path.lexists
    answers = iter([False])  # at the first look
    monkeypatch.setattr("texsyn.batch.making.os.path.lexists", lambda path: next(answers, real(path)))
    assert make(item).status == "skipped"


def test_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    file = rocks(tmp_path / "in", 3)
    (tmp_path / "in" / "r1.png").unlink()
    code, out, err = run(file, "-o", "{stem}.png", "--dry-run")
    assert (code, out) == (5, "")
    assert "r0.png: to make\n" in err
    assert "3 items: 1 failed, 2 to make\n" in err
    assert os.listdir() == ["in"]


# ---- failures


def test_bad_items_do_not_stop_the_others(run: Run, tmp_path: Path) -> None:
    file = rocks(tmp_path / "in", 6)
    (tmp_path / "in" / "r0.png").unlink()
    (tmp_path / "in" / "r1.png").write_bytes(b"no picture")
    (tmp_path / "in" / "r2.png").unlink()
    (tmp_path / "in" / "r2.png").mkdir()
    Path("r3.png").mkdir()
    code, out, err = run(file, "-o", "{stem}.png", "--workers", 2)
    assert (code, out) == (5, "")
    lines = sorted(err.splitlines())
    assert lines[:4] == [
        "6 items: 4 failed, 2 made",
        f"line 1: {tmp_path / 'in' / 'r0.png'}: cannot be read (No such file or directory)",
        f"line 2: {tmp_path / 'in' / 'r1.png'}: is not a picture that is known here; accepted are PNG, JPEG, WebP, "
        "TIFF, BMP, GIF and PPM/PGM/PBM/PFM, and OpenEXR with texsyn[hdr]",
        f"line 3: {tmp_path / 'in' / 'r2.png'}: is a directory; give a picture file, or - for standard input",
    ]
    assert lines[4] == "line 4: r3.png: is a directory; give a file name, or - for standard output"
    assert err.splitlines()[-1] == "texsyn: 4 of 6 items failed"
    assert sorted(pixels_in()) == ["r4.png", "r5.png"]
    assert run(file, "-o", "{stem}.png", "--workers", 1, "-q")[2].count("\n") == 5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"output": "a.xyz"}, "the extension '.xyz' is not known"),
        ({"output": "a.bmp"}, "bmp holds no recipe"),
        ({"output": "a" * 300 + ".png"}, "File name too long"),
        ({"size": "900000x900000"}, "not enough memory"),
        ({"image": "skimage:nothing"}, "scikit-image carries no such picture"),
    ],
)
def test_items_that_cannot_be_made(run: Run, tmp_path: Path, line: dict[str, Any], words: str) -> None:
    rock(tmp_path / "rock.png")
    file = manifest(tmp_path / "m.jsonl", {"image": "rock.png", "output": "a.png", **QUICK} | line)
    code, out, err = run(file, "--workers", 1)
    assert (code, out) == (5, "")
    assert words in err.splitlines()[0]
    assert sorted(os.listdir()) == ["m.jsonl", "rock.png"]


def test_folders_of_outputs_are_made(run: Run, tmp_path: Path) -> None:
    file = rocks(tmp_path / "in", 1)
    assert run(file, "-o", "new/deep/{stem}.png", "--workers", 1, "--dry-run")[0] == 0
    assert not Path("new").exists()
    assert run(file, "-o", "new/deep/{stem}.png", "--workers", 1)[0] == 0
    assert os.listdir("new/deep") == ["r0.png"]


def test_an_unwritable_folder(run: Run, tmp_path: Path) -> None:
    file = rocks(tmp_path / "in", 1)
    Path("out").mkdir(mode=0o500)
    if os.access("out", os.W_OK):
        pytest.skip("this user may write anywhere")
    code, _, err = run(file, "-o", "out/{stem}.png", "--workers", 1)
    assert code == 5
    assert "out/r0.png: its folder may not be written to" in err


def test_a_worker_that_dies_fails_its_item_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from texsyn.batch import running

    monkeypatch.chdir(tmp_path)
    with open(rocks(tmp_path / "in", 6), "rb") as file:
        items = read_manifest(file, "m", str(tmp_path / "in"), {"output": "{stem}.png"})
    started = []
    start = running._start

    def start_and_remember(options: dict[str, Any]) -> Any:
        started.append(start(options))
        return started[-1]

    monkeypatch.setattr(running, "_start", start_and_remember)
    outcomes = running.run(items, workers=2)
    first = next(outcomes)
    os.kill(started[0][1].pid, signal.SIGKILL)
    rest = list(outcomes)
    assert first.status == "made"
    failed = [o for o in rest if o.status == "failed"]
    assert [o.error for o in failed] == ["its worker died (exit code -9); short of memory, perhaps"]
    assert len(pixels_in()) >= 5
    assert len(started) == 3
    assert {o.status for o in running.run(items)} == {"skipped", "made"} or not failed


# ---- manifests


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no items"),
        (b"\n \n", "holds no items"),
        (b'{"image": "a"', "line 1: is not JSON (Expecting ',' delimiter at character 14)"),
        (b'{"image": "a.png"}\n\n{"image": \n', "line 3: is not JSON"),
        (b"\xff\xfe{\x00", "line 1: is not UTF-8 text"),
        (b'{"image": "a.png"}\n{"image": "\xe9.png"}', "line 2: is not UTF-8 text"),
        (b'{"image": "' + b"a" * 2**20 + b'"}', "line 1: is longer than the accepted 1048576 bytes"),
        (b"\0" * 3_000_000, "line 1: is longer than the accepted"),
        (b"[" * 100_000, "line 1: is nested too deeply"),
        (b"3", "line 1: should be an object such as"),
        (b'["a.png"]', "line 1: should be an object such as"),
        (b"null", "line 1: should be an object such as"),
        (b"{}", "line 1: image is missing"),
        (b'{"image": 3}', "line 1: image should be a text, not 3"),
        (b'{"image": ""}', "line 1: image='' is not the name of a file"),
        (b'{"image": "-"}', "line 1: image='-' is not the name of a file"),
        (rb'{"image": "a\u0000b"}', "is not the name of a file"),
        (rb'{"image": "\ud800.png"}', "is not the name of a file"),
        (b'{"image": "a.png", "output": "-"}', "output='-' is not the name of a file"),
        (b'{"image": "a.png", "seed": "7"}', 'seed should be a whole number, not "7"'),
        (b'{"image": "a.png", "seed": true}', "seed should be a whole number, not true"),
        (b'{"image": "a.png", "seed": 1.0}', "seed should be a whole number, not 1.0"),
        (b'{"image": "a.png", "seed": -1}', "seed=-1 should be from 0 to 9223372036854775807"),
        (b'{"image": "a.png", "seed": 1' + b"0" * 5000 + b"}", "line 1: "),
        (b'{"image": "a.png", "size": "big"}', "line 1: "),
        (b'{"image": "a.png", "size": "0x10"}', "line 1: "),
        (b'{"image": "a.png", "size": 10}', "size should be a text, not 10"),
        (b'{"image": "a.png", "tile": "z"}', "tile='z' is not one of none, x, y, xy"),
        (b'{"image": "a.png", "method": "magic"}', "method='magic' is not one of texto, "),
        (b'{"image": "a.png", "set": [1]}', "set should be an object, not [1]"),
        (b'{"image": "a.png", "set": {"pases": 1}}', "TextoConfig has no setting 'pases'"),
        (b'{"image": "a.png", "set": {"passes": "many"}}', "passes='many' should be of type int"),
        (b'{"image": "a.png", "colour": "red"}', "'colour' is not one of image, output, size, seed, tile, method, set"),
        (b'{"image": "a.png"}\n{"image": "b/a.png"}', "line 2: output a_out.png is that of line 1 too"),
        (b'{"image": "a.png"}\n{"image": "b.png", "output": "./a.png"}', "output ./a.png is an image that"),
    ],
)
def test_a_bad_manifest_is_refused_before_any_work(run: Run, tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "m.jsonl"
    rock(tmp_path / "a.png")
    file.write_bytes(data)
    code, out, err = run(file, "-o", "{stem}_out.png")
    assert (code, out) == (3, ""), err
    assert err.startswith("texsyn: m.jsonl")
    assert words in err
    assert err.count("\n") == 1
    assert len(err) < 600
    assert sorted(os.listdir()) == ["a.png", "m.jsonl"]


def test_no_output_and_a_seed_that_could_not_be_found_again(run: Run, tmp_path: Path) -> None:
    file = manifest(tmp_path / "m.jsonl", {"image": "a.png"})
    assert "line 1: output is missing" in run(file)[2]
    assert "line 1: the output's name wants a {seed}" in run(file, "-o", "{seed}.png")[2]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["missing.jsonl"], 3, "missing.jsonl: cannot be read"),
        (["."], 3, ".: is a directory"),
        (["m.jsonl", "-o", "-"], 2, "-o -: pictures of a batch go to files"),
        (["m.jsonl", "--set", "pases=3"], 2, "--set: TextoConfig has no setting 'pases'"),
        (["m.jsonl", "--device", "cuda:77", "-o", "b.png"], 2, "--device: "),
        (["m.jsonl", "--workers", "2", "--scheduler", "tcp://x:1"], 2, "--workers and --scheduler"),
        (["m.jsonl", "--workers", "0"], 2, "--workers"),
        (["m.jsonl", "--seed", "-1"], 2, "--seed"),
        (["m.jsonl", "--scheduler", "nonsense://", "-o", "b.png"], 1, "--scheduler: no Dask scheduler answers at"),
    ],
)
def test_wrong_usage(run: Run, tmp_path: Path, args: list[str], code: int, words: str) -> None:
    manifest(tmp_path / "m.jsonl", {"image": "a.png"})
    got, out, err = run(*args)
    assert (got, out, err.count("\n")) == (code, "", 1), err
    assert words in err


def test_ten_thousand_lines_are_read(tmp_path: Path) -> None:
    lines = b"".join(b'{"image": "%d.png", "seed": 1}\n' % i for i in range(10_000))
    items = read_manifest(io.BytesIO(lines), "m", "", {"output": "out/{stem}.png", "method": "gaussian"})
    assert len(items) == 10_000
    assert items[-1] == Item(10_000, "9999.png", "out/9999.png", "2x", 1, method="gaussian")
    with pytest.raises(InputError, match="line 10000"):
        read_manifest(io.BytesIO(lines.replace(b"9999.png", b"98.png")), "m", "", {"output": "out/{stem}.png"})


# ---- stopped in the middle


def start(*args: Any, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "texsyn", "batch", *map(str, args)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def await_files(folder: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(3000):
        if len(list(folder.glob("*.png"))) >= n:
            return
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    raise AssertionError("nothing was made")


@pytest.mark.parametrize("whom", ["the program", pytest.param("all of its processes", marks=pytest.mark.slow)])
def test_kill_9_in_the_middle_then_again_gives_the_same_files(tmp_path: Path, whom: str) -> None:
    file = rocks(tmp_path / "in", 8, size="250x250", method="texto", set={"passes": 2})
    process = start(file, "-o", "{stem}.png", "--workers", 2, cwd=tmp_path)
    await_files(tmp_path, 2, process)
    if whom == "the program":  # its workers may be writing while the next run begins
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    assert 2 <= len(made) < 8
    again = start(file, "-o", "{stem}.png", "--workers", 2, cwd=tmp_path)
    assert again.wait(100) == 0, again.stderr.read() if again.stderr else ""
    assert all(path.stat().st_mtime_ns == before for path, before in made.items()), "work was done twice"
    images = [tmp_path / "in" / f"r{i}.png" for i in range(8)]
    expected = [texsyn.synth(image, "250x250", seed=i, passes=2).image.sha256 for i, image in enumerate(images)]
    assert pixels_in(tmp_path) == {f"r{i}.png": sha256 for i, sha256 in enumerate(expected)}


def is_gone(group: int) -> bool:
    """Whether no process of the group is left; Python's own helper goes a moment after the others."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_stopping_leaves_nothing_half_written_and_no_process(tmp_path: Path, number: signal.Signals) -> None:
    file = rocks(tmp_path / "in", 20, size="250x250", method="texto", set={"passes": 2})
    out = tmp_path / "out"
    out.mkdir()
    process = start(file, "-o", "{stem}.png", "--workers", 2, cwd=out)
    await_files(out, 1, process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err.decode().splitlines()[-1].endswith("no unfinished file was left")
    assert "Traceback" not in err.decode()
    assert all(path.suffix == ".png" for path in out.iterdir())
    assert 1 <= len(pixels_in(out)) < 20
    assert is_gone(process.pid)


# ---- a cluster


def test_items_on_a_dask_cluster(run: Run, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    file = rocks(tmp_path / "in", 6, method="texto", set={"passes": 2})
    (tmp_path / "in" / "r3.png").unlink()
    options = ("-o", "{stem}.png", "--json")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        code, out, _ = run(file, *options, "--scheduler", cluster.scheduler_address)
        assert (code, sorted(statuses(out))) == (5, ["failed", *["made"] * 5])
        records = [json.loads(line) for line in out.splitlines()]
        assert {r["output"] for r in records} == {f"r{i}.png" for i in range(6)}
        assert sorted(statuses(run(file, *options, "--scheduler", cluster.scheduler_address)[1]))[1:] == ["skipped"] * 5
    made = pixels_in()
    for path in Path(".").glob("*.png"):
        path.unlink()
    run(file, *options, "--workers", 1)
    assert pixels_in() == made
