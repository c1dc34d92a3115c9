"""Pictures bigger than memory: the plane's own pixels, the same bytes whatever happens on the way, and full disks."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import texsyn
from texsyn import render
from texsyn.blocks import period_of
from texsyn.cli import main
from texsyn.images import OutputError, OutputExists, Picture, Region, Size, load, read_recipe
from texsyn.images.partial import Partial, Unfinished
from texsyn.images.tiled import Layout, TiffTiles, ZarrTiles, look
from texsyn.models.base import Cancelled, TextureModel, model_class
from texsyn.render import to_file

Run = Callable[..., tuple[int, str, str]]


def exemplar(n_channels: int = 3, dtype: str = "uint8", seed: int = 0, mode: str | None = None) -> Picture:
    rng = np.random.default_rng(seed)
    field = rng.standard_normal((20, 24, n_channels))
    for axis in (0, 1):
        field = field + np.roll(field, 1, axis)
    field = (field - field.min()) / (field.max() - field.min())
    if dtype == "float32":
        return Picture((3 * field - 1).astype(dtype), mode or {1: "L", 3: "RGB"}[n_channels])
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    return Picture((field * np.iinfo(dtype).max).astype(dtype), mode or modes.get(n_channels, "multi"))


@pytest.fixture(scope="module")
def gaussian() -> TextureModel:
    return texsyn.fit(exemplar(), "gaussian", seed=0, device="cpu")


@pytest.fixture(scope="module")
def texto() -> TextureModel:
    return texsyn.fit(
        exemplar(), "texto", seed=0, device="cpu", endless_passes=1, samples_per_atom=1, training_factor=2
    )


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory, gaussian: TextureModel) -> Path:
    path = tmp_path_factory.mktemp("models") / "m.texsyn"
    gaussian.save(path)
    return path


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a tile or few, each logged as soon as it is done."""
    monkeypatch.setattr(render, "JOB", 16)
    monkeypatch.setattr(render, "STRIP", 64)
    monkeypatch.setattr(render, "LOG_EVERY", 0.0)
    monkeypatch.setattr(render, "LOOK_EVERY", 0.0)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """texsyn in this process, in an empty folder: exit code, stdout, stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*args: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capfd.readouterr()

    return call


def refused(done: tuple[int, str, str], code: int, *words: str) -> str:
    """The one line of a failure."""
    assert (done[0], done[1]) == (code, ""), done
    assert len(done[2].splitlines()) == 1, done
    for word in words:
        assert word in done[2], done
    return done[2]


def here() -> list[str]:
    return sorted(os.listdir())


def content(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of every file of a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def pixels_of(path: Path) -> np.ndarray:
    """(h, w, c) as another program reads them."""
    if path.suffix == ".zarr":
        import zarr

        array: Any = zarr.open_array(path, mode="r")
        return np.asarray(array[:])
    found = tifffile.imread(path)
    return found[:, :, None] if found.ndim == 2 else found


# ---- the pixels


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
@pytest.mark.parametrize(
    ("n_channels", "dtype", "mode"),
    [
        (1, "uint8", None), (2, "uint16", None), (3, "uint8", None), (4, "uint8", None), (4, "uint16", None),
        (3, "float32", None), (7, "uint16", None), (3, "uint8", "multi"),
    ],
)  # fmt: skip
def test_every_kind_of_picture_is_the_plane(
    tmp_path: Path, small_jobs: None, n_channels: int, dtype: str, mode: str | None, ending: str
) -> None:
    model = texsyn.fit(exemplar(n_channels, dtype, mode=mode), "gaussian", seed=0, device="cpu")
    region = Region(-37, -1000, 75, 133)
    out = tmp_path / f"out{ending}"
    recipe = to_file(model, out, region, seed=9, block=48)
    expected = model.plane(seed=9)(region)
    assert np.array_equal(pixels_of(out), expected)
    assert pixels_of(out).dtype == dtype
    found = look(str(out))
    assert found == ({"size": "133x75", "mode": mode or model.exemplar.mode, "type": dtype}, recipe)
    if ending == ".tif":
        ours = load(out)
        assert np.array_equal(ours.pixels, expected)
        assert ours.mode == (mode or model.exemplar.mode)
        if dtype == "uint8" and mode is None:
            with Image.open(out) as theirs:
                assert np.array_equal(np.asarray(theirs).reshape(expected.shape), expected)


@pytest.mark.parametrize("which", ["gaussian", "texto"])
@pytest.mark.parametrize("size", [Size(1, 1), Size(16, 16), Size(17, 250), Size(130, 31)])
def test_any_size_is_the_plane_from_its_origin(
    tmp_path: Path, small_jobs: None, request: pytest.FixtureRequest, which: str, size: Size
) -> None:
    model: TextureModel = request.getfixturevalue(which)
    to_file(model, tmp_path / "out.tif", size, seed=3, block=32)
    assert np.array_equal(pixels_of(tmp_path / "out.tif"), model.synthesise(size, seed=3).pixels)


@pytest.mark.parametrize("which", ["gaussian", "texto"])
def test_regions_far_away(tmp_path: Path, small_jobs: None, request: pytest.FixtureRequest, which: str) -> None:
    model: TextureModel = request.getfixturevalue(which)
    for sign in (-1, 1):
        region = Region(sign * render.FARTHEST, -sign * render.FARTHEST, 20, 40)
        to_file(model, tmp_path / "out.tif", region, seed=3, block=16, overwrite=True)
        assert np.array_equal(pixels_of(tmp_path / "out.tif"), model.plane(seed=3)(region))


@pytest.mark.parametrize("which", ["gaussian", "texto"])
@pytest.mark.parametrize("tile", ["x", "y", "xy"])
def test_tiles_repeat(tmp_path: Path, small_jobs: None, request: pytest.FixtureRequest, which: str, tile: str) -> None:
    model: TextureModel = request.getfixturevalue(which)
    size, region = Size(90, 70), Region(-50, 33, 200, 170)
    to_file(model, tmp_path / "one.tif", size, seed=3, tile=tile, block=32)
    recipe = to_file(model, tmp_path / "some.zarr", size, region=region, seed=3, tile=tile, block=48)
    assert recipe["period"] == "70x90"
    one, some = pixels_of(tmp_path / "one.tif"), pixels_of(tmp_path / "some.zarr")
    assert np.array_equal(some, model.plane(seed=3, period=period_of(tile, size))(region))
    rows, columns = np.arange(-50, 150), np.arange(33, 203)
    if "y" not in tile:
        rows = rows[(rows >= 0) & (rows < 90)]
    if "x" not in tile:
        columns = columns[(columns >= 0) & (columns < 70)]
    inner = some[np.ix_(rows + 50, columns - 33)]
    assert np.array_equal(inner, one[np.ix_(rows % 90, columns % 70)])


@pytest.mark.parametrize(("which", "ending"), [("texto", ".tif"), ("gaussian", ".zarr")])
def test_blocks_and_workers_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, which: str, ending: str
) -> None:
    model: TextureModel = request.getfixturevalue(which)
    rng = np.random.default_rng(5)
    region = Region(-9, 14, 130, 201)
    expected = model.plane(seed=1)(region)
    for block in (16, 48, 64, 1024):
        monkeypatch.setattr(render, "JOB", int(rng.integers(30, 120)))
        monkeypatch.setattr(render, "STRIP", int(rng.integers(1, 300)))
        found = []
        for workers in (1, int(rng.integers(2, 9))):
            monkeypatch.setattr(render, "_piece", lambda n: int(rng.integers(30, 90)))
            out = tmp_path / f"{block}_{workers}{ending}"
            to_file(model, out, region, seed=1, block=block, workers=workers)
            found.append(content(out))
        assert found[0] == found[1]
        assert np.array_equal(pixels_of(out), expected)


def test_jobs_cover_the_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        monkeypatch.setattr(render, "JOB", int(rng.integers(1, 100)))
        monkeypatch.setattr(render, "STRIP", int(rng.integers(1, 300)))
        size = Size(*rng.integers(1, 400, 2).tolist())
        layout = Layout(size, 16 * int(rng.integers(1, 6)), 1, "uint8", "L")
        grid = render._Grid(size, layout.tile)
        times = np.zeros((size.height, size.width), int)
        for job in map(grid.job, range(grid.n)):
            assert (job.top % layout.tile.height, job.left % layout.tile.width) == (0, 0)
            times[job.top : job.bottom, job.left : job.right] += 1
        assert (times == 1).all()


def test_colour_profile_and_recipe_are_inside_or_left_out(tmp_path: Path, gaussian: TextureModel) -> None:
    profile = bytearray(200)
    profile[:4], profile[16:20], profile[36:40] = (200).to_bytes(4, "big"), b"RGB ", b"acsp"
    plain = gaussian.exemplar
    model = texsyn.fit(Picture(plain.pixels, "RGB", bytes(profile)), "gaussian", seed=0, device="cpu")
    recipe = to_file(model, tmp_path / "a.tif", (20, 30), seed=2)
    assert load(tmp_path / "a.tif").icc_profile == bytes(profile)
    assert read_recipe(tmp_path / "a.tif") == recipe
    to_file(model, tmp_path / "b.tif", (20, 30), seed=2, metadata=False)
    assert read_recipe(tmp_path / "b.tif") is None
    to_file(model, tmp_path / "b.zarr", (20, 30), seed=2, metadata=False)
    assert "texsyn" not in json.loads((tmp_path / "b.zarr" / "zarr.json").read_text())["attributes"]


# ---- interruptions


class Stop:
    """A cancel event that is set when it was asked n times."""

    def __init__(self, n: int) -> None:
        self.n = n

    def is_set(self) -> bool:
        self.n -= 1
        return self.n < 0


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_cancelled_and_resumed(tmp_path: Path, small_jobs: None, gaussian: TextureModel, ending: str) -> None:
    whole, out = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    to_file(gaussian, whole, (80, 90), seed=4, block=16)
    with pytest.raises(Cancelled):
        to_file(gaussian, out, (80, 90), seed=4, block=16, cancel=Stop(6))
    heard: list[tuple[float, str]] = []
    assert not out.exists()
    to_file(
        gaussian, out, (80, 90), block=16, resume=True, on_progress=lambda *a: heard.append(a)
    )  # with the seed of what is there
    assert content(out) == content(whole)
    n_before = int(heard[0][1].split()[0])
    assert 0 < n_before < 30, "what was done is not done again"
    assert heard[0][0] == 0
    assert heard[-1][0] == 1
    assert sorted(os.listdir(tmp_path)) == sorted([f"out{ending}", f"whole{ending}"])


KILLS = r"""
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import torch
import texsyn
from texsyn import render
folder, ending, n_kills = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
os.fsync = lambda handle: None  # costs a lot, and a killed process's files are safe without
torch.set_num_threads(1)
model = texsyn.load(sys.argv[1])
render.JOB, render.STRIP, render.LOG_EVERY = 16, 64, 0.0
out, rng = folder / f"out{ending}", random.Random(1)

def content(path):
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}

def make(path, **options):
    render.to_file(model, path, (48, 70), seed=4, block=16, workers=2, **options)

def forked(before=None, **options):
    pid = os.fork()
    if pid == 0:
        try:
            if before:
                before()
            make(out, **options)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return pid

def dying_at(n, after):
    # the n-th time that something is brought to the disk or renamed is the last that the process does
    count = [0]
    def wrap(f):
        def wrapped(*a, **k):
            count[0] += 1
            if count[0] == n and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = f(*a, **k)
            if count[0] == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return wrapped
    for name in ("fsync", "link", "unlink", "rename", "replace"):
        setattr(os, name, wrap(getattr(os, name)))

def clear():
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()

began = time.perf_counter()
make(folder / f"whole{ending}")
whole, took = content(folder / f"whole{ending}"), time.perf_counter() - began
clear()
steps = kills = 0

def make_old():
    render.to_file(model, out, (16, 16), seed=5)

make_old()
older = content(out)
clear()
for old in (False, True):  # with nothing and with an old file in the output's place
    n = 0
    while True:
        n += 1 + (n > 8) * rng.randrange(9)
        if old:
            make_old()
        options = {"overwrite": old}
        _, status = os.waitpid(forked(lambda: dying_at(n, rng.random() < 0.5), resume=True, **options), 0)
        if status == 0:
            break
        assert os.WIFSIGNALED(status), status
        steps += 1
        # for an instant a folder that is replaced by another one has neither at its place
        assert not out.exists() or content(out) in (whole, older), "half an output"
        assert out.exists() or not old or ending == ".zarr"
        # killed behind the last step of all, it leaves nothing to resume, and says so
        complete = [p.name for p in folder.iterdir()] == [out.name] and content(out) == whole
        _, status = os.waitpid(forked(resume=True, **options), 0)
        assert status == 0 or (complete and not old), (n, status)
        assert content(out) == whole, n
        assert [p.name for p in folder.iterdir()] == [out.name], n
        clear()
    clear()
while kills < n_kills:
    done = False
    while not done:
        pid = forked(resume=True)
        time.sleep(rng.uniform(0, 0.8 * took))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert status in (0, signal.SIGKILL), status
        kills += status == signal.SIGKILL
        done = status == 0 or (out.exists() and not Path(f"{out}.part.log").exists())
    assert content(out) == whole
    assert [p.name for p in folder.iterdir()] == [out.name]
    clear()
print(json.dumps({"steps": steps, "kills": kills}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are many, and need fork")
@pytest.mark.parametrize(("ending", "n_kills"), [(".tif", 20), (".zarr", 2)])
def test_kill_9_at_any_moment_then_resume_gives_the_same_bytes(
    tmp_path: Path, model_file: Path, ending: str, n_kills: int
) -> None:
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(model_file), str(tmp_path / "work"), ending, str(n_kills)],
        capture_output=True, text=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["steps"] >= 12
    assert counts["kills"] >= n_kills


def test_what_was_cut_off_in_the_log_is_made_again(tmp_path: Path, small_jobs: None, gaussian: TextureModel) -> None:
    to_file(gaussian, tmp_path / "whole.tif", (64, 64), seed=4, block=16)
    out, log = tmp_path / "out.tif", tmp_path / "out.tif.part.log"
    for tail in (b"", b"1", b"3\n7", b"\0\0\0\0\n5\n", b"999999\n", b"12345678901234567890\n3\n", b"done"):
        with pytest.raises(Cancelled):
            to_file(gaussian, out, (64, 64), seed=4, block=16, workers=1, cancel=Stop(2))
        head = b"".join(log.read_bytes().splitlines(keepends=True)[:2])
        log.write_bytes(head + tail)
        if tail.startswith(b"3"):  # job 3 then has to be there
            with tifffile.TiffFile(tmp_path / "whole.tif") as whole, open(f"{out}.part", "r+b") as part:
                page: Any = whole.pages[0]
                part.seek(page.dataoffsets[3])
                part.write((tmp_path / "whole.tif").read_bytes()[page.dataoffsets[3] :][: page.databytecounts[3]])
        to_file(gaussian, out, (64, 64), seed=4, block=16, resume=True)
        assert content(out) == content(tmp_path / "whole.tif"), tail
        out.unlink()


def begun(model: TextureModel, **options: Any) -> None:
    with pytest.raises(Cancelled):
        to_file(model, "out.tif", (64, 64), **({"seed": 4, "block": 16, "cancel": Stop(2)} | options))


def test_an_unfinished_picture_is_not_resumed_as_another_one(
    run: Run, small_jobs: None, gaussian: TextureModel, texto: TextureModel, model_file: Path, tmp_path: Path
) -> None:
    begun(gaussian)
    before = {name: Path(name).read_bytes() for name in here()}
    assert list(before) == ["out.tif.part", "out.tif.part.log"]
    same = {"--size": "64x64", "--seed": 4, "--block": 16}
    for option, value, words in [
        ("--size", "64x80", "size=64x64"), ("--seed", 5, "seed=4"), ("--block", 32, "block=16"),
        ("--region", "1,0,64,64", "region=0,0,64,64"), ("--tile", "x", "tile=none"),
    ]:  # fmt: skip
        args = [a for pair in (same | {option: value}).items() for a in pair]
        refused(run("render", model_file, *args, "-o", "out.tif", "--resume"), 2, "out.tif.part", words, "--overwrite")
    args = [a for pair in same.items() for a in pair]
    refused(run("render", model_file, *args, "-o", "out.tif", "--resume", "--no-metadata"), 2, "metadata=True")
    texto.save(tmp_path / "t.texsyn")
    refused(run("render", tmp_path / "t.texsyn", *args, "-o", "out.tif", "--resume"), 2, "for another model")
    refused(run("render", model_file, *args, "-o", "out.tif"), 2, "out.tif.part", "--resume", "--overwrite")
    assert {name: Path(name).read_bytes() for name in here()} == before
    assert run("render", model_file, *args, "-o", "out.tif", "--resume", "-q")[0] == 0
    assert here() == ["out.tif"]
    refused(run("render", model_file, *args, "-o", "out.tif", "--resume"), 2, "out.tif: exists", "--overwrite")


def test_overwrite_starts_anew(run: Run, small_jobs: None, gaussian: TextureModel, model_file: Path) -> None:
    begun(gaussian, seed=99)
    Path("out.tif").write_bytes(b"old")
    os.chmod("out.tif", 0o640)
    args = ["render", model_file, "--size", "64x64", "--seed", 4, "--block", 16, "-o", "out.tif", "-q"]
    refused(run(*args), 2, "out.tif: exists")
    refused(run(*args, "--resume"), 2, "out.tif: exists")
    refused(run(*args, "--resume", "--overwrite"), 2, "seed=99")
    assert Path("out.tif").read_bytes() == b"old"
    assert run(*args, "--overwrite") == (0, "", "")
    assert here() == ["out.tif"]
    assert os.stat("out.tif").st_mode & 0o777 == 0o640
    assert np.array_equal(pixels_of(Path("out.tif")), gaussian.plane(seed=4)(Region(0, 0, 64, 64)))


def test_a_part_without_its_log_is_not_touched(run: Run, model_file: Path) -> None:
    Path("out.tif.part").write_bytes(b"a browser's")
    for option in ([], ["--resume"]):
        refused(run("render", model_file, "--size", "9x9", "-o", "out.tif", *option), 2, "out.tif.part")
    assert Path("out.tif.part").read_bytes() == b"a browser's"
    Path("dir.zarr.part").mkdir()
    Path("dir.zarr.part/mine").write_bytes(b"x")
    refused(run("render", model_file, "--size", "9x9", "-o", "dir.zarr", "--overwrite"), 4, "no Zarr array")
    assert Path("dir.zarr.part/mine").read_bytes() == b"x"


def test_two_processes_do_not_write_one_picture(
    small_jobs: None, gaussian: TextureModel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    begun(gaussian)
    fcntl = sys.modules["fcntl"]
    with open("out.tif.part.log", "rb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another process"):
            to_file(gaussian, "out.tif", (64, 64), seed=4, block=16, resume=True)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_done_and_says_how_to_go_on(
    run: Run, small_jobs: None, monkeypatch: pytest.MonkeyPatch, model_file: Path, sent: signal.Signals, code: int
) -> None:
    args = ["render", model_file, "--size", "64x80", "--seed", 4, "--block", 16, "-q"]
    assert run(*args, "-o", "whole.tif")[0] == 0
    Path("out.tif").write_bytes(b"old")
    record, n = Partial.record, [0]

    def interrupted(self: Partial, numbers: Any) -> None:
        record(self, numbers)
        n[0] += 1
        if n[0] == 3:
            os.kill(os.getpid(), sent)

    with monkeypatch.context() as patched:
        patched.setattr(Partial, "record", interrupted)
        said = refused(run(*args, "-o", "out.tif", "--overwrite"), code, "out.tif.part is kept", "--resume")
    assert "no unfinished file" not in said
    assert here() == ["out.tif", "out.tif.part", "out.tif.part.log", "whole.tif"]
    assert Path("out.tif").read_bytes() == b"old"
    assert run(*args, "-o", "out.tif", "--overwrite", "--resume") == (0, "", "")
    assert here() == ["out.tif", "whole.tif"]
    assert content(Path("out.tif")) == content(Path("whole.tif"))


# ---- disks


def test_a_disk_that_is_too_small_is_refused_before_the_work(
    run: Run, monkeypatch: pytest.MonkeyPatch, model_file: Path
) -> None:
    Path("out.tif").write_bytes(b"old")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 0, 50_000))
    args = ["render", model_file, "--size", "200x100", "-o", "out.tif", "--overwrite"]
    said = refused(run(*args), 4, "out.tif", "bytes of disk are needed and 50000 are free")
    assert abs(int(said.split(": ")[2].split()[0]) - 112 * 208 * 3) < 4000
    code, out, err = run(*args, "--dry-run")
    assert code == 4
    assert "nothing was written" in out
    assert len(err.splitlines()) == 1
    assert here() == ["out.tif"]
    assert Path("out.tif").read_bytes() == b"old"


@pytest.fixture(params=["injected", "mounted"])
def filling_disk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a disk that becomes full at the fourth tile, until the file named filler is deleted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    filler, put, n = disk / "filler", TiffTiles.put, [0]

    def until_full(self: TiffTiles, row: int, column: int, tile: np.ndarray) -> None:
        n[0] += 1
        if n[0] == 4:
            with filler.open("wb", buffering=0) as file:
                if request.param == "mounted":
                    while file.write(bytes(4096)) == 4096:
                        pass
        if request.param == "injected" and filler.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(self, row, column, tile)

    def fill(*args: Any) -> None:
        try:
            until_full(*args)
        except OSError:
            if request.param == "mounted" and n[0] == 4:
                put(*args)  # now for real
            raise

    monkeypatch.setattr(TiffTiles, "put", fill)
    if request.param == "injected":
        yield disk
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_becomes_full(
    run: Run, small_jobs: None, filling_disk: Path, model_file: Path, tmp_path: Path
) -> None:
    args = ["render", model_file, "--size", "256x256", "--seed", 4, "--block", 64, "--workers", 1, "-q", "--overwrite"]
    out = filling_disk / "out.tif"
    out.write_bytes(b"old")
    said = refused(run(*args, "-o", out), 4, "out.tif", "No space left", "--resume", "disk is full")
    assert 100_000 < int(said.split("disk is full: ")[1].split()[0]) < 200_000
    assert out.read_bytes() == b"old"
    (filling_disk / "filler").unlink()
    assert run(*args, "-o", out, "--resume") == (0, "", "")
    assert run(*args, "-o", tmp_path / "whole.tif")[0] == 0
    assert content(out) == content(tmp_path / "whole.tif")


def test_a_file_that_may_not_become_that_large(tmp_path: Path, model_file: Path) -> None:
    resource = pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-m", "texsyn", "render", model_file, "--size", "2000x2000", "-o", "out.tif"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "")
    assert "out.tif: cannot be written (File too large)" in done.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


# ---- costs


def test_dry_run_says_time_memory_and_disk(run: Run, model_file: Path) -> None:
    args = ["render", model_file, "--size", "3000x2000", "--seed", 5, "-o", "out.tif", "--workers", 1]
    code, said, err = run(*args, "--dry-run")
    assert (code, err) == (0, "")
    assert "3000x2000 RGB uint8 by gaussian, seed 5, 6 tiles" in said
    assert "time: about 0:0" in said
    assert said.endswith("nothing was written\n")
    code, said, err = run(*args, "--dry-run", "--json")
    costs = json.loads(said)
    assert (code, err, here()) == (0, "", [])
    assert costs["seconds"] > 0
    assert costs["memory_bytes"] < 1.5 * 2**30
    code, said, err = run(*args, "--json")
    assert (code, err) == (0, "")
    assert json.loads(said)["estimate"]["seconds"] is None, "six parts are not measured first"
    assert os.stat("out.tif").st_size == pytest.approx(costs["disk_bytes"], rel=0.01)


def test_memory_does_not_grow_with_the_picture(tmp_path: Path, model_file: Path) -> None:
    peaks = [peak(tmp_path, model_file, side) for side in (3000, 6000)]
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "side"), [("texto", 1500), ("texto-2018", 2000), ("gaussian", 4000)])
@pytest.mark.parametrize("workers", [1, 3])
def test_memory_that_is_said_is_what_is_taken(tmp_path: Path, method: str, side: int, workers: int) -> None:
    """Of 256x256 pixels, the size that the figures were measured with; quick potentials take no less room."""
    quick: dict[str, dict[str, Any]] = {
        "texto": {"endless_passes": 4, "samples_per_atom": 1, "training_factor": 1},
        "texto-2018": {"max_samples_per_atom": 10, "training_side": 128},
    }
    path = tmp_path / "m.texsyn"
    texsyn.fit("skimage:astronaut:256", method, seed=0, device="cpu", **quick.get(method, {})).save(path)
    peak(tmp_path, path, 64)  # compiles
    peak(tmp_path, path, side, workers=workers)


def test_what_is_freed_goes_back_to_the_system() -> None:
    """A heap of 100 MB with its last piece in use: the C library keeps all of it until it is asked."""
    script = """
from texsyn.heap import give_back, resident
pieces = [bytearray(100_000) for _ in range(1000)]
last = pieces[-1]
full = resident()
del pieces
print(full, resident())
give_back()
print(resident())
"""
    if not Path("/proc/self/statm").exists() or os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("only Linux with glibc can be asked")
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**24), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, env=env)
    full, freed, returned = map(int, done.stdout.split())
    assert full - freed < 2e7, "it had nothing to give back"
    assert freed - returned > 8e7


@pytest.mark.parametrize(("held", "given"), [(None, False), (2**20, False), (2**33, True)])
def test_what_grows_beyond_the_estimate_is_given_back(
    gaussian: TextureModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_jobs: None,
    held: int | None,
    given: bool,
) -> None:
    before, calls = iter([2**29]), []
    monkeypatch.setattr(render, "resident", lambda: next(before, held))
    monkeypatch.setattr(render, "give_back", lambda: calls.append(1))
    to_file(gaussian, tmp_path / "x.tif", (64, 64), block=16)
    assert bool(calls) == given


@pytest.mark.parametrize("size", [(1030, 2060), (40, 50), (2049, 30)], ids=str)
def test_time_is_measured_on_jobs_of_the_picture(
    texto: TextureModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    made = render.plan(texto, tmp_path / "x.tif", size, seed=1, workers=2)
    asked: list[Region] = []
    monkeypatch.setattr(render.Plan, "_render", lambda self, window, job, stop: asked.append(job))
    assert made.seconds() > 0
    jobs = [made.grid.job(i) for i in range(made.grid.n)]
    assert asked
    assert all(job in jobs for job in asked)


def test_memory_that_is_said_is_what_was_measured() -> None:
    """Within 10 %, for every render of the benchmark, of 256x256 RGB."""
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "render_cpu.json"
    records = json.loads(path.read_text())["records"]
    picture, large = load(np.zeros((256, 256, 3), np.uint8)), {}
    for record in records:
        method, side = record["method"], record["side"]
        cls = model_class(method)
        if method not in large:
            large[method] = cls(picture, cls.config_type(**({"endless": True} if method == "texto" else {})))
        layout = Layout(Size(side, side), 1024, 3, "uint8", "RGB")
        said = render._memory(large[method], layout, Region(0, 0, side, side), record["workers"]) / 2**20
        assert 0.9 <= said / record["peak_mib"] <= 1.1, record
    assert len(records) > 10


@pytest.mark.slow
def test_memory_of_a_huge_picture(tmp_path: Path, model_file: Path) -> None:
    assert peak(tmp_path, model_file, 20_000) < 1.1 * peak(tmp_path, model_file, 4000) < 1.5 * 2**30


def peak(folder: Path, model_file: Path, side: int, *, workers: int = 2) -> int:
    """Peak memory in bytes of a process that renders a square, near what it said that it would be."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells the peak of one program, apart from that of the one which started it")
    script = f"""
from texsyn import load
from texsyn.render import plan
made = plan(load({str(model_file)!r}), {str(folder / "big.tif")!r}, ({side}, {side}), seed=1, workers={workers},
            overwrite=True)
made.run()
print(made.memory_bytes, *(int(s.split()[1]) * 1024 for s in open("/proc/self/status") if s.startswith("VmHWM")))
"""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900, env=env)
    assert done.returncode == 0, done.stderr
    said, found = map(int, done.stdout.split())
    assert 0.83 * found < said < 1.2 * found, (said, found)
    return found


# ---- hostile arguments


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["-o", "x.tif"], 2, ["--size"]),
        (["--size", "10x10"], 2, ["--output"]),
        (["--size", "10x10", "-o", "-"], 2, ["-o -"]),
        (["--size", "10x10", "-o", "x.png"], 2, ["x.png", ".tif, .tiff, .zarr"]),
        (["--size", "10x10", "-o", "x"], 2, [".zarr"]),
        (["--size", "0x10", "-o", "x.tif"], 2, ["--size"]),
        (["--size", "1000001x10", "-o", "x.tif"], 2, ["--size"]),
        (["--size", "10x10", "--block", "100", "-o", "x.tif"], 2, ["--block 100", "multiple of 16"]),
        (["--size", "10x10", "--block", "8192", "-o", "x.tif"], 2, ["--block"]),
        (["--size", "1000000x1000000", "--block", "512", "-o", "x.tif"], 2, ["block", "larger"]),
        (["--region", "1,2,3", "-o", "x.tif"], 2, ["--region", "X,Y,W,H"]),
        (["--region", "0,0,0,5", "-o", "x.tif"], 2, ["--region", "width=0"]),
        (["--region", "a,0,1,5", "-o", "x.tif"], 2, ["--region"]),
        (["--region", "9999999999999,0,1,5", "-o", "x.tif"], 2, ["--region", "at most"]),
        (["--region", "0,0,1000001,5", "-o", "x.tif"], 2, ["1000000"]),
        (["--region", "0,0,5,5", "--tile", "x", "-o", "x.tif"], 2, ["--tile x", "--size"]),
        (["--size", "10x10", "--workers", "0", "-o", "x.tif"], 2, ["--workers"]),
        (["--size", "10x10", "--seed", "-1", "-o", "x.tif"], 2, ["--seed"]),
        (["--size", "10x10", "-o", "no/such/folder/x.tif"], 4, ["folder"]),
        (["--size", "10x10", "-o", "no/such/folder/x.tif", "--dry-run"], 4, ["folder"]),
        (["--size", "10x10", "-o", "folder"], 2, ["folder"]),
        (["--size", "10x10", "-o", "folder.tif"], 4, ["folder.tif", "directory"]),
        (["--size", "10x10", "-o", "folder.zarr", "--overwrite"], 4, ["folder.zarr", "no Zarr array"]),
        (["--size", "10x10", "-o", "folder.zarr"], 2, ["folder.zarr", "exists"]),
        (["--size", "10x10", "-o", "x" * 250 + ".tif"], 4, ["File name too long"]),
        (["--size", "10x10", "-o", "two\nlines.tif", "--block", "17"], 2, ["17"]),
    ],
)  # fmt: skip
def test_wrong_arguments(run: Run, model_file: Path, args: list[str], code: int, words: list[str]) -> None:
    for name in ("folder", "folder.tif", "folder.zarr"):
        Path(name).mkdir()
        Path(name, "mine").write_bytes(b"x")
    refused(run("render", model_file, *args), code, *words)
    assert here() == ["folder", "folder.tif", "folder.zarr"]
    assert os.listdir("folder.zarr") == ["mine"]


def test_models_that_cannot_be_rendered(run: Run, tmp_path: Path) -> None:
    args = ["--size", "10x10", "-o", "x.tif"]
    for method, settings in (("random-phase", {}), ("texto", {"endless": False})):
        texsyn.fit(exemplar(), method, seed=0, device="cpu", **settings).save(tmp_path / "w.texsyn", overwrite=True)
        refused(run("render", tmp_path / "w.texsyn", *args), 3, "w.texsyn", "whole pictures", "texsyn fit")
    (tmp_path / "x.texsyn").write_bytes(b"no model")
    refused(run("render", tmp_path / "x.texsyn", *args), 3, "x.texsyn")
    refused(run("render", tmp_path, *args), 3, "directory")
    refused(run("render", "missing.texsyn", *args), 3, "missing.texsyn")
    assert here() == []


def test_wrong_arguments_from_python(gaussian: TextureModel, tmp_path: Path) -> None:
    out = tmp_path / "x.tif"
    for options, words in [
        ({"size": (0, 5)}, "height=0"), ({"workers": 0}, "workers=0"), ({"seed": -1}, "seed=-1"),
        ({"tile": "z"}, "tile='z'"), ({"block": 15}, "block=15"),
        ({"size": Region(0, 0, 5, 5), "tile": "x"}, "tile='x'"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            to_file(gaussian, out, **({"size": (5, 5)} | options))  # type: ignore[arg-type]
    to_file(gaussian, out, (5, 5))
    with pytest.raises(OutputExists, match="exists"):
        to_file(gaussian, out, (5, 5))
    assert issubclass(Unfinished, OutputExists)


def test_zarr_needs_its_package(run: Run, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(run("render", model_file, "--size", "9x9", "-o", "x.zarr"), 2, "texsyn[giant]")


# ---- info


def test_info_reads_headers_only(run: Run, gaussian: TextureModel) -> None:
    layout = Layout(Size(100_000, 90_000), 1024, 3, "uint8", "RGB", None, {"method": "gaussian", "seed": 8})
    TiffTiles.create("big.tif", layout)  # empty, so that it takes no room
    assert os.stat("big.tif").st_size > 2**34
    assert os.stat("big.tif").st_blocks * 512 < 2**21
    code, said, err = run("info", "big.tif")
    assert (code, err) == (0, "")
    assert {"size: 90000x100000", "mode: RGB", "type: uint8", "seed: 8"} <= set(said.splitlines())
    to_file(gaussian, "small.zarr", (20, 30), seed=3)
    code, said, err = run("info", "small.zarr", "--json")
    assert (code, err) == (0, "")
    assert json.loads(said)["size"] == "30x20"
    assert json.loads(said)["recipe"]["seed"] == 3
    for text in ("", "[]", "{", '{"shape": 3}', '{"shape": [1, 2], "data_type": []}', "[" * 100_000):
        Path("small.zarr/zarr.json").write_text(text)
        code, said, err = run("info", "small.zarr")
        assert (code, len(err.splitlines())) in ((3, 1), (0, 0)), text
    refused(run("info", "."), 3, "directory")


def test_a_late_writer_does_not_bring_a_published_array_back(tmp_path: Path) -> None:
    """A cluster repeats what a dead worker had done; when such a task ends, its array may have got its final name."""
    zarr = pytest.importorskip("zarr")
    layout = Layout(Size(40, 40), 32, 1, "uint8", "L")
    part, tile = tmp_path / "a.zarr.part", np.full((32, 32, 1), 7, np.uint8)
    ZarrTiles.create(str(part), layout)
    late = ZarrTiles(str(part), layout)
    late.write(0, 0, tile)
    part.rename(tmp_path / "a.zarr")
    with pytest.raises(FileNotFoundError):
        late.write(0, 0, tile)
    assert os.listdir(tmp_path) == ["a.zarr"]
    assert (zarr.open_array(tmp_path / "a.zarr", mode="r")[:32, :32] == 7).all()
