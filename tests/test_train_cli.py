"""`texsyn train` for every method that is trained: recipes, what it says, memory, stopping, killing, diverging."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import texture

import texsyn
from texsyn import training
from texsyn.cli import main
from texsyn.cli.progress import Remaining
from texsyn.cli.talk import Talk
from texsyn.cli.train import TRAINED, Report, sheet
from texsyn.images import Picture, Size, load, save
from texsyn.models import METHODS
from texsyn.models.base import model_class, read_header
from texsyn.models.gotex_net import GotexNet
from texsyn.models.trained import TrainedModel

#: that a training is a matter of seconds; pictures are bad
TINY: dict[str, list[str]] = {
    "gotex-net": ["n_levels=3", "channels=4", "crop=24", "batch=1", "max_atoms=50", "n_samples=64"],
    "singan": ["d_turns=1", "g_turns=1", "channels=4", "min_side=20", "max_side=30"],
    "sgan": ["batch=1", "cells=2", "n_layers=3", "channels=4", "max_channels=8"],
    "psgan": ["batch=1", "cells=2", "n_layers=3", "channels=4", "max_channels=8"],
}


@dataclass
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """texsyn's main() in an empty folder but for s.png."""
    monkeypatch.chdir(tmp_path)
    save(load(texture(40, 48, 3)), "s.png")

    def call(*args: Any) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        said = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Done(stop.value.code, said.out, said.err)

    return call


def options(name: str, *more: str) -> list[str]:
    return ["--method", name, "--seed", "5", *(w for s in (*TINY[name], *more) for w in ("--set", s))]


def refused(done: Done, code: int, *words: str, alone: bool = True) -> str:
    """One line with the program's name and these words; before it only what is said of a training that began."""
    assert done.code == code, done
    *before, last = done.err.splitlines()
    assert code in (4, 6, 130) or before == [] or not alone
    assert last.startswith("texsyn: ")
    assert "Traceback" not in done.err
    for word in words:
        assert word in last, last
    return last


def test_the_methods_that_are_trained_are_those_offered() -> None:
    assert [name for name in METHODS if issubclass(model_class(name), TrainedModel)] == list(TRAINED)
    assert set(TINY) == set(TRAINED)


def test_the_help_says_which_method_is_for_which_texture_in_measured_numbers(run: Run) -> None:
    said = " ".join(run("train", "--help").out.split())
    said = said[said.index("--method") : said.index("--recipe")]
    assert all(f"{name} " in said for name in TRAINED)
    results = Path(__file__).parents[1] / "benchmarks" / "results" / "gotex_net_cpu.json"
    measured = json.loads(results.read_text())["summary"]
    brick, gravel = (round(measured[name]["ours"]["sharp"], 2) for name in ("brick", "gravel"))
    assert f"{brick} of a brick wall's sharpness, {gravel} of gravel's" in said


# ---- recipes


def test_recipes_are_settings_by_name_that_set_goes_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"steps": 2, "n_levels": 3, "channels": 4, "crop": 24, "batch": 1, "max_atoms": 50, "n_samples": 64}
    monkeypatch.setattr(GotexNet, "recipes", {"tiny": quick, "other": quick | {"channels": 5}})
    train = ("train", "s.png", "--method", "gotex-net", "--seed", 5)
    assert run(*train, "--recipe", "tiny", "--set", "batch=2", "-o", "m.safetensors", "--folder", "run").code == 0
    config = read_header("m.safetensors")["config"]
    assert {key: config[key] for key in quick} == quick | {"batch": 2}
    assert texsyn.load("m.safetensors").sample(Size(9, 11), seed=1).shape == (1, 3, 9, 11)
    assert run("fit", *train[1:], "--set", "recipe=tiny", "--set", "batch=2", "-o", "fitted.texsyn").code == 0
    assert Path("fitted.texsyn").read_bytes() == Path("m.safetensors").read_bytes()
    model = texsyn.fit("s.png", "gotex-net", recipe="tiny", batch=2, seed=5)
    assert model.config == texsyn.load("m.safetensors").config

    refused(run(*train, "--recipe", "huge", "-o", "n.texsyn"), 2, "--recipe", "'huge'", "tiny, other")
    again = (*train, "--resume", "--folder", "run", "-o", "n.texsyn", "--set", "batch=2")
    refused(run(*again, "--recipe", "other"), 3, "its channels is 4, not 5", alone=False)
    assert run(*again, "--recipe", "tiny").code == 0
    monkeypatch.setattr(GotexNet, "recipes", {})
    refused(run(*train, "--recipe", "tiny", "-o", "o.texsyn"), 2, "gotex-net has no recipe 'tiny'")
    assert not Path("o.texsyn").exists()


# ---- what is said


def test_steps_and_memory_are_said_first_and_programs_hear_one_line(run: Run) -> None:
    done = run("train", "s.png", "-o", "m.texsyn", "--steps", 2, *options("gotex-net"))
    first, last = done.err.splitlines()
    assert first.startswith("gotex-net: 2 steps on cpu, about ")
    assert first.endswith(" MiB of memory")
    assert last.startswith("m.texsyn: gotex-net model, seed 5, all 2 steps are done, 0:0")
    assert done.out == ""
    done = run("train", "s.png", "-o", "n.texsyn", "--steps", 2, "--json", *options("gotex-net"))
    assert done.err == ""
    assert json.loads(done.out)["steps"] == 2
    assert run("train", "s.png", "-o", "o.texsyn", "--steps", 2, "-q", *options("gotex-net")).err == ""


def test_the_time_left_is_right_also_for_a_run_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("texsyn.cli.progress.time.monotonic", lambda: now[0])
    left, found = Remaining(), []
    for step in range(50, 56):  # of 100, 10 seconds each
        found.append(left(step / 100))
        now[0] += 10
    assert found[:3] == [None, None, None]
    assert found[3:] == pytest.approx([470, 460, 450])
    fast = Remaining()
    assert [fast(i / 1000) for i in range(20)] == [None] * 20, "no time has passed: nothing is known"


class Said(Talk):
    """Keeps what would be said."""

    def __init__(self) -> None:
        super().__init__(False, False, 0, None)
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_without_a_terminal_there_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, talk = [0.0], Said()
    assert not talk.line.shown
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    report = Report(talk, "be quick")
    for i in range(41):
        report(i / 40, f"step {i} of 40, loss 3")
        now[0] += 9
    assert talk.sentences == [
        "18 %, 4:57 left, step 7 of 40, loss 3",
        "35 %, 3:54 left, step 14 of 40, loss 3",
        "52 %, 2:51 left, step 21 of 40, loss 3",
        "70 %, 1:48 left, step 28 of 40, loss 3",
        "88 %, 0:45 left, step 35 of 40, loss 3",
    ]


def test_long_trainings_are_told_quicker_ways_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now, talk = [0.0], Said()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    report, silent = Report(talk, "--recipe tiny is quicker"), Report(talk, None)
    for i in range(6):
        report(i / 10_000, "")
        silent(i / 10_000, "")
        now[0] += 2
    assert talk.sentences == ["about 5.6 hours are left on this CPU: --recipe tiny is quicker"]


def test_the_quicker_recipe_is_one_that_the_method_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from texsyn.cli.train import _quicker

    assert _quicker(GotexNet, None).startswith("--max-minutes")
    monkeypatch.setattr(GotexNet, "recipes", {"fast": {}, "tiny": {}, "paper": {}})
    assert _quicker(GotexNet, "paper").startswith("--recipe tiny is quicker, and --max-minutes")
    assert _quicker(GotexNet, "fast").startswith("--recipe tiny")
    assert _quicker(GotexNet, "tiny").startswith("--max-minutes")


# ---- memory


def test_more_memory_than_there_is_is_refused_before_any_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    train = ("train", "s.png", "-o", "m.texsyn", "--folder", "run", "--steps", 2, *options("gotex-net"))
    monkeypatch.setattr(GotexNet, "training_bytes", classmethod(lambda cls, exemplar, config: 2**50))
    refused(run(*train), 4, "about 1048576.0 GiB", "48x40", "--recipe")
    refused(run("fit", *train[1:4], *options("gotex-net")), 4, "about 1048576.0 GiB")
    assert sorted(os.listdir()) == ["s.png"]
    monkeypatch.setattr(GotexNet, "training_bytes", classmethod(lambda cls, exemplar, config: 3 * 2**20))
    assert "2 steps on cpu, about 3 MiB of memory beyond" in run(*train).err


# ---- samples


def test_the_sheet_shows_the_exemplar_and_three_pictures() -> None:
    class Model:
        def synthesise(self, size: Size, *, seed: int) -> Any:
            return Picture(np.full((size.height, size.width, 1), seed / 4, np.float32), "L")

    class Trainee:
        def model(self) -> Model:
            return Model()

    exemplar = Picture(np.linspace(-1, 2, 300 * 40, dtype=np.float32).reshape(300, 40, 1), "L", name="x")
    made = sheet(exemplar)(Trainee())
    assert (made.size, made.mode, made.pixels.dtype) == (Size(2 * 256 + 2, 2 * 40 + 2), "L", np.float32)
    assert np.array_equal(made.pixels[:256, :40], exemplar.pixels[:256])
    assert [float(made.pixels[k, j, 0]) for k, j in ((0, 42), (258, 0), (258, 42))] == [0, 0.25, 0.5]


def test_sheets_and_scores_compare_with_the_exemplar_as_it_is_learned(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from texsyn.cli import train
    from texsyn.models.singan import Singan

    seen: list[Picture] = []
    monkeypatch.setattr(train, "weight_free_scores", lambda exemplar: seen.append(exemplar))
    assert run("train", "s.png", "-o", "m.safetensors", "--folder", "run", *options("singan", "steps=1")).code == 0
    model = texsyn.load("m.safetensors")
    assert isinstance(model, Singan)
    assert [model.exemplar.size, model.sizes[-1], seen[0].size] == [Size(40, 48), Size(25, 30), Size(25, 30)]
    shrunk = model.to_pixels(model.reals()[-1])
    np.testing.assert_array_equal(seen[0].pixels, shrunk)
    (last,) = Path("run/samples").iterdir()
    np.testing.assert_array_equal(load(last).pixels[:25, :30], shrunk)


def test_a_run_of_another_method_is_not_resumed(run: Run) -> None:
    assert run("train", "s.png", "-o", "m.safetensors", "--folder", "run", *options("sgan", "steps=1")).code == 0
    done = run("train", "s.png", "-o", "n.safetensors", "--folder", "run", "--resume")
    refused(done, 3, "run: holds a run of --method sgan, not of gotex-net")


# ---- diverging


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_that_diverges_keeps_the_last_good_state_and_writes_no_model(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    step, train = training._step, ("train", "s.png", "--folder", "run", "--save-every", 2, *options(name, "steps=6"))

    def bad(trainee: Any, i: int) -> dict[str, float]:
        return step(Bad() if i == 5 else trainee, i)

    class Bad:
        def step(self, i: int) -> dict[str, float]:
            return {"loss": float("nan")}

    monkeypatch.setattr(training, "_step", bad)
    done = run(*train, "-o", "m.texsyn")
    refused(done, 6, "diverged: loss is nan at step 5", "checkpoint of step 4 stays", "no model was written")
    assert sorted(os.listdir()) == ["run", "s.png"]
    monkeypatch.setattr(training, "_step", step)
    assert run(*train, "--resume", "-o", "m.texsyn").code == 0
    assert run(*train[:2], *train[6:], "-o", "whole.texsyn").code == 0
    assert Path("m.texsyn").read_bytes() == Path("whole.texsyn").read_bytes()


def test_weights_that_are_no_numbers_in_the_end_are_a_divergence_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = GotexNet.tensors

    def broken(self: GotexNet) -> dict[str, torch.Tensor]:
        return {name: t * torch.nan if t.is_floating_point() else t for name, t in tensors(self).items()}

    monkeypatch.setattr(GotexNet, "tensors", broken)
    done = run("train", "s.png", "-o", "m.texsyn", "--steps", 2, *options("gotex-net"))
    refused(done, 6, "no finite number after step 2", "no model was written")
    assert not Path("m.texsyn").exists()


def test_memory_that_runs_out_on_the_way_is_said_in_the_words_of_training(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> dict[str, float]:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(training, "_step", full)
    refused(run("train", "s.png", "-o", "m.texsyn", *options("gotex-net")), 4, "not enough memory", "--recipe")


#: a picture for one kind of training, many for the other
LEARNED = {
    "gotex-net": ["s.png", *options("gotex-net")],
    "dcgan": ["digits", "--arch", "dcgan", "--seed", "5", "--set", "features=4", "--set", "latent=6"],
}


@pytest.mark.parametrize("name", LEARNED)
def test_a_model_that_cannot_be_written_in_the_end_is_kept_elsewhere(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    spare, home, out = (tmp_path / name for name in ("spare", "home", "out"))
    for folder in (spare, home, out):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(spare))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(training, "_step", step_that_does(out.rmdir))
    for there in (spare, home):  # which is asked for where there is no spare
        done = run("train", *LEARNED[name], "--steps", 2, "-o", "out/m.texsyn")
        (kept,) = there.glob("m_*")  # libraries keep caches there too
        assert refused(done, 4, "out/m.texsyn", alone=False).endswith(f"; the trained model is in {kept}")
        assert re.fullmatch("m_[0-9a-f]{8}.texsyn", kept.name)
        assert texsyn.load(kept).steps == 2
        shutil.rmtree(there)
        out.mkdir()
    done = run("train", *LEARNED[name], "--steps", 2, "-o", "out/m.texsyn")
    assert "trained model" not in refused(done, 4, "out/m.texsyn", alone=False)


def test_a_file_that_came_meanwhile_stays_and_the_model_is_kept_elsewhere(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "spare").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "spare"))
    name = f"m{'n' * 240}.texsyn"  # with a suffix as long as that of the other it would be no name for a file
    monkeypatch.setattr(training, "_step", step_that_does(lambda: Path(name).write_text("theirs")))
    done = run("train", *LEARNED["gotex-net"], "--steps", 2, "-o", name)
    (kept,) = (tmp_path / "spare").glob("mnnn*")
    assert done.code == 2
    assert f"{name}: exists; --overwrite replaces it; the trained model is in {kept}" in done.err
    assert Path(name).read_text() == "theirs"


def step_that_does(something: Callable[[], Any]) -> Callable[[Any, int], dict[str, float]]:
    """A step of the training, with something else in the second one."""
    step = training._step

    def stepped(trainee: Any, i: int) -> dict[str, float]:
        if i == 1:
            something()
        return step(trainee, i)

    return stepped


# ---- stopping, and going on


@pytest.mark.parametrize("name", TRAINED)
def test_ctrl_c_and_a_time_limit_leave_a_model_that_can_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    step = training._step

    def interrupted(trainee: Any, i: int) -> dict[str, float]:
        if i == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(trainee, i)

    monkeypatch.setattr(training, "_step", interrupted)
    done = run("train", "s.png", "-o", "m.texsyn", "--folder", "run", *options(name, "steps=5"))
    refused(done, 130, "interrupted")
    now = [0.0]

    def slow(trainee: Any, i: int) -> dict[str, float]:
        now[0] += 7
        return step(trainee, i)

    monkeypatch.setattr(training, "_step", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    done = run("train", "s.png", "-o", "n.texsyn", "--max-minutes", 0.2, *options(name, "steps=5"))
    assert done.code == 0
    assert "stopped after 0.2 minutes, at step 2 of" in done.err
    for path in ("m.texsyn", "n.texsyn"):
        model = texsyn.load(path)
        assert model.sample(Size(40, 30), seed=1).shape == (1, 3, 40, 30)
        assert model.steps == 2


@pytest.mark.parametrize(
    ("name", "n_kills"), [("psgan", 1), *(pytest.param(name, 8, marks=pytest.mark.slow) for name in TRAINED)]
)
def test_a_training_killed_at_random_goes_on_to_the_same_bits(run: Run, name: str, n_kills: int) -> None:
    """kill -9 of the real process, somewhere in a run that writes a file after every step."""
    chance, steps, kills = random.Random(7), f"steps={10 * n_kills + 20}", 0
    settings = options(name, steps)
    train = ["train", "s.png", "-o", "m.texsyn", "--folder", "run", "--save-every", "1", "--sample-every", "3"]
    checkpoint = Path("run") / training.CHECKPOINT
    for _ in range(n_kills):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        command = [sys.executable, "-m", "texsyn", *train, *settings, *(["--resume"] if before else [])]
        env = os.environ | {"PYTHONPATH": str(Path(texsyn.__file__).parents[1])}
        process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= max(1, n_kills - 1), "the run is too short to be killed"
    done = run(*train, *settings, "--resume")
    assert done.code == 0, done
    assert run("train", "s.png", "-o", "whole.texsyn", *settings).code == 0
    assert Path("m.texsyn").read_bytes() == Path("whole.texsyn").read_bytes()
    steps_logged = [json.loads(line)["step"] for line in (Path("run") / training.LOG).read_text().splitlines()]
    assert steps_logged == sorted(steps_logged)


# ---- bad input


@pytest.mark.parametrize("name", TRAINED)
def test_pictures_that_cannot_be_learned_are_refused_in_a_sentence(run: Run, name: str) -> None:
    train = ("train", "-o", "m.texsyn", "--folder", "run", *options(name, "steps=2"))
    save(load(texture(5, 6, 3)), "small.png")
    refused(run(*train, "small.png"), 3, "small.png", "6x5")
    Path("cut.png").write_bytes(Path("s.png").read_bytes()[:-200])
    refused(run(*train, "cut.png"), 3, "cut.png")
    values = np.zeros((40, 48, 3), np.float32)
    values[3, 4, 1] = np.nan
    import tifffile

    tifffile.imwrite("nan.tif", values, photometric="rgb")
    refused(run(*train, "nan.tif"), 3, "nan.tif", "row 3, column 4, channel 1")
    refused(run(*train, "none.png"), 3, "none.png")
    refused(run(*train[:2], "no/m.texsyn", *train[3:], "s.png"), 4, "no/m.texsyn", "folder does not exist")
    refused(run(*train, "s.png", "--set", "steps=0"), 2, "--set", "steps=0")
    assert sorted(os.listdir()) == ["cut.png", "nan.tif", "s.png", "small.png"]


@pytest.mark.parametrize("name", TRAINED)
def test_pictures_of_any_shape_depth_and_colour_are_learned(run: Run, name: str) -> None:
    floats = texture(40, 48, 5).astype(np.float32) / 9 - 4
    deep = texture(60, 44, 1).astype(np.uint16) * np.uint16(257)
    for pixels in (floats, deep):
        ending = "tif" if pixels.dtype.kind == "f" else "png"
        save(load(pixels), f"in.{ending}", overwrite=True)
        made = run("train", f"in.{ending}", "-o", "m.safetensors", "--overwrite", *options(name, "steps=2"))
        assert made.code == 0, made
        done = run("sample", "m.safetensors", "--size", "50x41", "-o", f"out.{ending}", "--overwrite", "--seed", 1)
        assert done.code == 0, done
        out = load(f"out.{ending}").pixels
        assert (out.shape, out.dtype) == ((41, 50, pixels.shape[2]), pixels.dtype)


@pytest.mark.parametrize("name", TRAINED)
def test_one_colour_is_learned_or_refused_in_a_sentence(run: Run, name: str) -> None:
    save(load(np.full((40, 48, 3), 77, np.uint8)), "plain.png")
    done = run("train", "plain.png", "-o", "m.texsyn", *options(name, "steps=2"))
    if name == "gotex-net":
        assert (done.code, load_all("m.texsyn").std()) == (0, 0)
    else:  # a critic learns nothing from one colour
        refused(done, 3, "plain.png", "one colour")
        assert not Path("m.texsyn").exists()


def load_all(path: str) -> np.ndarray:
    return texsyn.load(path).sample(Size(30, 40), seed=1).numpy()


def test_models_that_are_none_are_refused(run: Run) -> None:
    assert run("train", "s.png", "-o", "m.texsyn", "--steps", 1, *options("gotex-net")).code == 0
    Path("cut.texsyn").write_bytes(Path("m.texsyn").read_bytes()[:-50])
    for path, word in (("cut.texsyn", "cut.texsyn"), ("s.png", "s.png"), ("none", "none")):
        refused(run("sample", path, "-o", "out.png"), 3, word)
    assert not Path("out.png").exists()


def test_a_stack_is_trained_as_one_picture_and_resumed_as_that_stack_only(run: Run) -> None:
    save(load(texture(40, 48, 1)), "rock_height.png")
    save(load(255 - texture(40, 48, 3)), "rock_albedo.png")
    settings = [part for one in TINY["psgan"] for part in ("--set", one)]
    command = ["train", "--maps", "rock_*.png", "--method", "psgan", *settings, "--folder", "run", "--seed", "3"]
    assert run(*command, "--steps", "2", "-o", "m.texsyn").code == 0
    assert run("sample", "m.texsyn", "--size", "30x20", "-o", "big_{name}").code == 0
    assert [load(f"big_rock_{name}.png").pixels.shape for name in ("albedo", "height")] == [(20, 30, 3), (20, 30, 1)]
    other = run("train", "s.png", "--folder", "run", "--method", "psgan", *settings, "--resume", "-o", "o.texsyn")
    assert (other.code, Path("o.texsyn").exists()) == (3, False)
    assert "exemplar" in other.err
    refused = run("train", "--maps", "rock_*.png", "--method", "singan", "-o", "o.texsyn")
    assert refused.code == 2
    assert "takes one picture" in refused.err
    assert run("train", "s.png", "rock_height.png", "-o", "o.texsyn").code == 2
    assert run("train", "-o", "o.texsyn").code == 2
