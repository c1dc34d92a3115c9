"""The command line as people and scripts use it: every verb and option, every failure in one line with its code."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import pickle
import pty
import re
import shlex
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import Hostile, make_hostile, texture
from PIL import Image
from published import Sizes, official

import texsyn
from texsyn.cli import main, report
from texsyn.images import Picture, load, read_recipe, save
from texsyn.models import METHODS

VERBS = (
    "synth", "fit", "sample", "render", "tileable", "batch", "repro", "info", "doctor", "score", "apply", "web",
    "verify", "weights", "eval", "compare", "train", "import-singan", "animate",
    "harmonise", "edit", "paint", "upscale", "interpolate", "convert", "mix", "arithmetic", "project", "directions",
)  # fmt: skip
ROOT = Path(texsyn.__file__).parent.parent
QUICK = ("--set", "passes=2")
SETTINGS = {  # that make each method quick enough for a test, and its pictures bad
    "texto": ["passes=2"],
    "texto-2018": ["max_samples_per_atom=2", "training_side=24"],
    "gotex-net": ["steps=2", "batch=1", "crop=16", "n_levels=3", "channels=4", "max_atoms=50", "n_samples=64"],
    "singan": ["steps=4", "channels=4", "min_side=16", "max_side=24", "learning_rate=0.1"],
    "sgan": ["steps=2", "batch=1", "cells=2", "n_layers=3", "channels=4", "max_channels=8"],
    "psgan": ["steps=2", "batch=1", "cells=2", "n_layers=3", "channels=4", "max_channels=8"],
}
FIT_SETTINGS = SETTINGS | {"texto": ["endless_passes=1", "samples_per_atom=1"]}


@dataclass
class Done:
    """What a run left: its exit code, stdout's bytes, stderr's text."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()


Run = Callable[..., Done]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """texsyn's main() in this process, in an empty folder, ending in its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("TEXSYN_TRACEBACK", raising=False)

    def call(*args: Any, stdin: bytes | None = None) -> Done:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        out, err = capfdbinary.readouterr()
        assert isinstance(stop.value.code, int)
        return Done(stop.value.code, out, warm(err.decode()))

    return call


@pytest.fixture
def rock(tmp_path: Path) -> Path:
    """A small colour exemplar, named by its absolute path outside of the folder where the run takes place."""
    folder = tmp_path.parent / (tmp_path.name + "_in")
    folder.mkdir()
    return Path(write(folder / "rock.png", texture(20, 24, 3)))


def warm(said: str) -> str:
    """Without what only the first run on a machine says."""
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith("compiling loops"))


def method(name: str, settings: dict[str, list[str]] = SETTINGS) -> list[str]:
    """Options that choose a method and make it quick. Skips the test while its module is not there."""
    if importlib.util.find_spec(METHODS[name].split(":")[0]) is None:
        pytest.skip(f"there is no {name}")
    return ["--method", name, *(word for setting in settings.get(name, []) for word in ("--set", setting))]


def write(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    save(Picture(pixels, mode or {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]), path)
    return path


def refused(done: Done, code: int, *words: str) -> str:
    """The one line of a failure, which begins with the program's name and holds the words."""
    assert done.code == code, done
    assert done.out == b""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("texsyn: ")
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def here() -> list[str]:
    """Names in the current folder, hidden ones too."""
    return sorted(os.listdir())


# ---- help


def test_no_arguments_show_help_with_an_example_that_works(run: Run) -> None:
    done = run()
    assert (done.code, done.out) == (2, b"")
    examples = re.findall(r"^ +(texsyn synth .*)$", done.err, re.MULTILINE)
    assert len(examples) == 1
    assert run(*smaller(examples[0])).code == 0
    assert len(here()) == 1


def smaller(command: str) -> list[str]:
    """A command of the help, at sizes for a test."""
    command = re.sub(r"\b[0-9]+x[0-9]+\b", "24x20", command).replace(":256", ":48").replace("rock_big.png", "big.png")
    if command.startswith("texsyn train"):
        named = re.search(r"--method (\S+)", command)
        quick = [] if "--arch" in command else SETTINGS[named[1] if named else "gotex-net"]
        command += " --steps 2" + "".join(f" --set {s}" for s in quick)
    if command.startswith("texsyn upscale") and "--model" not in command:
        command += "".join(f" --set {s}" for s in SETTINGS["singan"])
    if command.startswith("texsyn animate"):
        command += " --frames 3"
    if "--rotate" in command:
        command += " --frames 3"
    if command.startswith("texsyn project"):
        command += " --steps 2"
    return shlex.split(command)[1:]


def test_every_example_in_the_help_works(run: Run, rock: Path) -> None:
    pictures = ("rock", "rock_albedo", "rock_normal", "rock_roughness", "moss", "stone", "other_rock", "sketch")
    for name in (*pictures, "pasted", "moved", "where", "wall_albedo", "wall_normal", "me"):
        shutil.copy(rock, f"{name}.png")
    assert run("train", rock, *method("singan"), "-o", "scene.safetensors").code == 0
    assert run("train", "digits", "--steps", "1", "-o", "digits.texsyn").code == 0
    styled = ("--arch", "stylegan2", "--resolution", "16", "--steps", "1")
    assert run("train", "digits", *styled, "-o", "f.texsyn").code == 0
    assert run("train", "digits", "--arch", "stylegan3", *styled[2:], "-o", "s3.texsyn").code == 0
    assert run("sample", "f.texsyn", "--latent", "me.safetensors").code == 0
    assert run("directions", "f.texsyn", "--save", "d.safetensors").code == 0
    Path("ffhq.pkl").write_bytes(official(Sizes()).bytes())
    for ending in ("npy", "tif"):
        assert run("synth", rock, *QUICK, "--save-coords", f"rock_map.{ending}", "-o", "m.png", "--overwrite").code == 0
    n_examples = 0
    for verb in VERBS:
        done = run(verb, "--help")
        assert (done.code, done.err) == (0, "")
        for example in re.findall(r"^ +(texsyn \w+ .*)$", done.text, re.MULTILINE):
            code = run(*smaller(example), *(["--overwrite"] if "-o " in example else [])).code
            assert code == 0 or (code == 1 and "verify" in example and "--max" in example), example
            n_examples += 1
    assert n_examples >= 7
    assert {"wall_1.png", "wall_4.png", "rock.texsyn", "big_rock.png"} <= set(here())


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_a_terminal(run: Run, verb: str) -> None:
    for option in ("-h", "--help"):
        done = run(*verb.split(), option)
        assert (done.code, done.err) == (0, "")
        assert max(len(line) for line in done.text.splitlines()) <= 80
        assert "..." not in done.text.partition("Commands:")[2], "a verb's one-line help is cut off"


def test_version(run: Run) -> None:
    assert texsyn.__version__ in run("--version").text


def test_help_and_refusals_by_the_parser_need_no_torch() -> None:
    script = f"""
import sys
from texsyn.cli import main, report
for args in [["--help"], ["--version"], [], ["synth", "--size", "foo", "x.png"], ["synth", "missing.png"],
             *([verb, "--help"] for verb in {VERBS!r})]:
    try:
        main(args)
    except SystemExit:
        pass
heavy = {{"torch", "numba", "scipy", "skimage", "tifffile", "PIL"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_module_and_script_are_the_same_program() -> None:
    said = [subprocess.run([sys.executable, "-m", "texsyn", "--version"], capture_output=True, timeout=100).stdout]
    script = Path(sys.executable).parent / "texsyn"
    if script.exists():
        said.append(subprocess.run([script, "--version"], capture_output=True, timeout=100).stdout)
    assert set(said) == {f"texsyn, version {texsyn.__version__}\n".encode()}


# ---- synth: sizes and names


@pytest.mark.parametrize(
    ("text", "expected"), [("30x18", (18, 30)), ("1.5x", (30, 36)), ("", (40, 48)), ("9X9", (9, 9)), ("1x1", (1, 1))]
)
def test_sizes(run: Run, rock: Path, text: str, expected: tuple[int, int]) -> None:
    done = run("synth", rock, *(["--size", text] if text else []), "-o", "out.png", *QUICK)
    assert done.code == 0, done
    assert load("out.png").pixels.shape == (*expected, 3)


@pytest.mark.parametrize("text", ["0x5", "5", "axb", "-3x4", "10x10x10", "0x", "1e3x2", "9999999x5", "", "NaNx"])
def test_wrong_sizes(run: Run, rock: Path, text: str) -> None:
    refused(run("synth", rock, f"--size={text}"), 2, "--size", "1280x768", "2x")
    assert here() == []


def test_a_factor_that_becomes_too_large(run: Run, rock: Path) -> None:
    refused(run("synth", rock, "--size", "90000x"), 2, "--size", "90000x")


def test_the_default_name_has_size_and_seed_and_is_in_this_folder(run: Run, rock: Path) -> None:
    done = run("synth", rock, "--size", "16x12", "--seed", 7, *QUICK)
    assert done.code == 0
    assert here() == ["rock_16x12_seed7.png"]
    assert done.err.startswith("rock_16x12_seed7.png: 16x12 by texto, seed 7, ")
    assert done.out == b""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("-o.png", "o"),
        ("two\nlines.png", "two_lines"),
        ("\x1b[31mred.png", "_[31mred"),
        ("naïve 纹理.png", "naïve 纹理"),
        ("rock{i}{seed}.png", "rock{i}{seed}"),
        ("...png", "texture"),
        ("x" * 251 + ".png", "x" * 120),
        ("ü" * 120 + ".png", "ü" * 60),
    ],
)
def test_default_names_are_decent_whatever_the_input_is_called(run: Run, rock: Path, name: str, expected: str) -> None:
    source = rock.rename(rock.parent / name)
    done = run("synth", source, "--size", "9x9", "--seed", 1, *QUICK)
    assert done.code == 0, done
    assert here() == [f"{expected}_9x9_seed1.png"]
    assert len(done.err.splitlines()) == 1
    assert "\x1b" not in done.err


def test_names_of_inputs_without_a_file(run: Run, rock: Path) -> None:
    assert run("synth", "skimage:brick:32", "--size", "9x9", "--seed", 1, *QUICK).code == 0
    assert run("synth", "-", "--size", "9x9", "--seed", 1, *QUICK, stdin=rock.read_bytes()).code == 0
    assert here() == ["brick_9x9_seed1.png", "texture_9x9_seed1.png"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["-o", "w_{i}.png"], ["w_1.png", "w_2.png", "w_3.png"]),
        (["-o", "w_{seed}.png"], ["w_5.png", "w_6.png", "w_7.png"]),
        (["-o", "w.tif"], ["w_1.tif", "w_2.tif", "w_3.tif"]),
        ([], ["rock_9x9_seed5.png", "rock_9x9_seed6.png", "rock_9x9_seed7.png"]),
    ],
)
def test_several_pictures_get_several_names(run: Run, rock: Path, options: list[str], names: list[str]) -> None:
    done = run("synth", rock, "--size", "9x9", "-n", 3, "--seed", 5, *options, *QUICK)
    assert done.code == 0
    assert here() == names
    assert [line.split(":")[0] for line in done.err.splitlines()] == names


@pytest.mark.parametrize("name", [*METHODS, "endless"])
def test_picture_i_is_the_one_of_its_seed_alone(run: Run, rock: Path, name: str) -> None:
    options = method(name) if name != "endless" else ["--endless", *method("texto", FIT_SETTINGS)]
    assert run("synth", rock, "--size", "20x16", "-n", 2, "--seed", 5, "-o", "many_{seed}.png", *options).code == 0
    assert run("synth", rock, "--size", "20x16", "--seed", 6, "-o", "one.png", *options).code == 0
    assert not np.array_equal(load("many_5.png").pixels, load("many_6.png").pixels)
    np.testing.assert_array_equal(load("many_6.png").pixels, load("one.png").pixels)


@pytest.mark.parametrize("n", ["0", "-1", "10001", "two"])
def test_wrong_counts(run: Run, rock: Path, n: str) -> None:
    refused(run("synth", rock, "-n", n), 2, "-n", n)


# ---- synth: seeds and evidence


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_bits(run: Run, rock: Path, name: str) -> None:
    for output, seed in (("a.png", 3), ("b.png", 3), ("c.png", 4)):
        assert run("synth", rock, "--size", "20x16", "--seed", seed, "-o", output, *method(name)).code == 0
    pixels = [load(output).pixels for output in ("a.png", "b.png", "c.png")]
    assert pixels[0].shape == (16, 20, 3)
    np.testing.assert_array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])
    recipe = read_recipe("a.png")
    assert recipe is not None
    assert (recipe["method"], recipe["seed"], recipe["size"]) == (name, 3, "20x16")


def test_seeds_are_random_by_default_stored_and_enough(run: Run, rock: Path) -> None:
    for name in ("a.png", "b.png"):
        assert run("synth", rock, "--size", "12x12", "-o", name, *QUICK).code == 0
    seeds = [json.loads(run("info", "--json", name).text)["recipe"]["seed"] for name in ("a.png", "b.png")]
    assert seeds[0] != seeds[1]
    assert run("synth", rock, "--size", "12x12", "-o", "again.png", "--seed", seeds[0], *QUICK).code == 0
    np.testing.assert_array_equal(load("a.png").pixels, load("again.png").pixels)
    assert f"seed: {seeds[0]}" in run("info", "a.png").text.splitlines()


@pytest.mark.parametrize("seed", ["-1", "9223372036854775808", "1.5", "x"])
def test_wrong_seeds(run: Run, rock: Path, seed: str) -> None:
    refused(run("synth", rock, f"--seed={seed}"), 2, "--seed", seed)


def test_the_largest_seed(run: Run, rock: Path) -> None:
    last = 2**63 - 1
    assert run("synth", rock, "--size", "9x9", "--seed", last, "-o", "a.png", *QUICK).code == 0
    refused(run("synth", rock, "--size", "9x9", "--seed", last, "-n", 2, *QUICK), 2, "--seed", "-n 2")
    assert here() == ["a.png"]


def test_no_metadata(run: Run, rock: Path) -> None:
    assert run("synth", rock, "--size", "9x9", "-o", "a.png", "--no-metadata", *QUICK).code == 0
    assert read_recipe("a.png") is None
    assert b"texsyn" not in Path("a.png").read_bytes()
    assert "recipe: none" in run("info", "a.png").text.splitlines()


def test_json_is_one_line_a_picture(run: Run, rock: Path) -> None:
    done = run("synth", rock, "--size", "9x9", "-n", 2, "--seed", 5, "-o", "w_{i}.png", "--json", *QUICK)
    assert (done.code, done.err) == (0, "")
    lines = [json.loads(line) for line in done.text.splitlines()]
    assert [(line["output"], line["seed"], line["method"]) for line in lines] == [
        ("w_1.png", 5, "texto"),
        ("w_2.png", 6, "texto"),
    ]
    assert lines[0]["evidence"][0]["atoms"] > 0
    assert lines[0]["pixels_sha256"] == load("w_1.png").sha256


def test_quiet_and_verbose(run: Run, rock: Path) -> None:
    done = run("synth", rock, "--size", "9x9", "-q", *QUICK)
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert len(here()) == 1
    done = run("synth", rock, "--size", "9x9", "-v", *QUICK)
    evidence = done.err.splitlines()[1:]
    assert evidence
    assert all(line.startswith("  level ") and "mass_error" in line for line in evidence)


def test_notes_on_the_input_are_said_unless_quiet(run: Run, tmp_path: Path) -> None:
    Image.fromarray(texture(16, 16, 4), "CMYK").save("cmyk.jpg")
    assert "cmyk.jpg: " in run("synth", "cmyk.jpg", "--size", "9x9", *QUICK).err.splitlines()[0]
    assert run("synth", "cmyk.jpg", "--size", "9x9", "-q", *QUICK).err == ""


@pytest.mark.parametrize("name", METHODS)
def test_dry_run_says_device_memory_and_time_and_writes_nothing(run: Run, rock: Path, name: str) -> None:
    done = run("synth", rock, "--size", "300x200", "-n", 3, "--dry-run", *method(name))
    assert (done.code, done.err, here()) == (0, "", [])
    assert f"3 x 300x200 by {name} on cpu" in done.text
    assert re.search(r"memory: about [0-9]+ MiB; time: (about [0-9]+:[0-9]{2}|not known)", done.text)
    plan = json.loads(run("synth", rock, "--size", "300x200", "--dry-run", "--json", *method(name)).text)
    assert (plan["device"], plan["size"], plan["pictures"]) == ("cpu", "300x200", 1)
    assert plan["memory_bytes"] > 2**27
    assert plan["seconds"] is None or plan["seconds"] >= 0
    assert here() == []


def test_a_dry_run_refuses_what_the_run_would_refuse(run: Run, rock: Path) -> None:
    Path("old.png").write_bytes(b"old")
    refused(run("synth", rock, "--dry-run", "-o", "old.png"), 2, "old.png")
    done = run("synth", rock, "--dry-run", "--size", "1000000x1000000")
    assert done.code == 4
    assert "1000000x1000000" in done.text, "the plan is told all the same"


# ---- synth: settings and devices


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("pases=3", ("'pases'", "passes")),
        ("passes=two", ("passes='two'", "int")),
        ("passes=1.5", ("passes=1.5", "int")),
        ("passes=true", ("passes=True", "int")),
        ("passes=", ("passes=''", "int")),
        ("passes=0", ("passes=0", "at least 1")),
        ("passes=" + "1" * 5000, ("passes=",)),
        ("step=Infinity", ("step=",)),
        ("step=NaN", ("step=",)),
        ("step=1e999", ("step=",)),
        ("patch_size=4", ("patch_size=4", "odd")),
        ("passes", ("'passes'", "KEY=VALUE")),
        ("=3", ("'=3'", "KEY=VALUE")),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_wrong_settings(run: Run, rock: Path, setting: str, words: tuple[str, ...]) -> None:
    refused(run("synth", rock, "--size", "9x9", "--set", setting), 2, "--set", *words)
    assert here() == []


def test_settings_reach_the_method(run: Run, rock: Path) -> None:
    done = run("synth", rock, "--size", "9x9", "--set", "passes=3", "--set", "step=1", "--endless", "--json",
               "--set", "samples_per_atom=1")  # fmt: skip
    settings = json.loads(done.text)["settings"]
    assert (settings["passes"], settings["step"], settings["endless"]) == (3, 1, True)


def test_wrong_methods_and_modes(run: Run, rock: Path) -> None:
    refused(run("synth", rock, "--method", "magic"), 2, "--method", "'magic'", "texto", "gaussian")
    refused(run("synth", rock, "--method", "gaussian", "--endless"), 2, "--endless", "gaussian", "--method texto")


def test_device(run: Run, rock: Path) -> None:
    assert json.loads(run("synth", rock, "--size", "9x9", "--device", "cpu", "--json", *QUICK).text)["device"] == "cpu"


@pytest.mark.parametrize("device", ["tpu", "cpu:foo", "cuda:x", "cuda:-1", "", "cuda:9999"])
def test_wrong_devices(run: Run, rock: Path, device: str) -> None:
    refused(run("synth", rock, "--device", device), 2, "--device", device, "cpu")
    assert here() == []


# ---- what goes in comes out


@pytest.mark.parametrize(
    ("extension", "channels", "dtype"),
    [(".png", channels, dtype) for channels in (1, 2, 3, 4) for dtype in (np.uint8, np.uint16)]
    + [(".tif", channels, np.float32) for channels in (1, 3)],
)
def test_depth_and_channels_are_kept(run: Run, tmp_path: Path, extension: str, channels: int, dtype: Any) -> None:
    source = write(tmp_path / f"in{extension}", texture(16, 18, channels, dtype) * (3 if dtype is np.float32 else 1))
    done = run("synth", source, "--size", "14x12", "--seed", 1, *QUICK)
    assert done.code == 0, done
    made, exemplar = load(f"in_14x12_seed1{extension}"), load(source)
    assert (made.mode, made.pixels.dtype) == (exemplar.mode, exemplar.pixels.dtype)
    assert made.pixels.shape == (12, 14, channels)
    there = {pixel.tobytes() for pixel in exemplar.pixels.reshape(-1, channels)}
    assert all(pixel.tobytes() in there for pixel in made.pixels.reshape(-1, channels)), "texto copies pixels"


def test_a_palette_picture_stays_one(run: Run, rock: Path) -> None:
    Image.open(rock).convert("P", colors=9).save("palette.png")
    assert run("synth", "palette.png", "--size", "14x12", "-o", "out.png", *QUICK).code == 0
    made, exemplar = load("out.png"), load("palette.png")
    assert made.palette is not None
    assert exemplar.palette is not None
    np.testing.assert_array_equal(made.palette, exemplar.palette)
    assert Image.open("out.png").mode == "P"


def test_pipes(run: Run, rock: Path) -> None:
    done = run("synth", "-", "--size", "14x12", "-o", "-", "--seed", 2, *QUICK, stdin=rock.read_bytes())
    assert done.code == 0
    assert load(done.out).pixels.shape == (12, 14, 3)  # nothing before the picture
    assert done.out.endswith(b"IEND\xaeB`\x82")  # and nothing after it
    assert done.err.startswith("stdout: 14x12 by texto, seed 2, ")
    assert here() == []
    assert run("synth", rock, "--size", "14x12", "-o", "file.png", "--seed", 2, *QUICK).code == 0
    np.testing.assert_array_equal(load("file.png").pixels, load(done.out).pixels)


def test_wrong_pipes(run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(run("synth", rock, "-o", "-", "-n", 2), 2, "-o -", "-n")
    refused(run("synth", rock, "-o", "-", "--json"), 2, "--json", "-o -")
    refused(run("synth", "-", stdin=b"no picture"), 3, "standard input")
    refused(run("synth", "-", stdin=b""), 3, "standard input", "empty")
    refused(run("info", "-"), 2, "info", "standard input")
    monkeypatch.setattr(sys, "stdin", None)
    refused(run("synth", "-"), 3, "standard input", "closed")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        refused(run("synth", rock, "-o", "-"), 4, "-o -", "closed")


def test_terminals_are_not_pipes(run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controller, terminal = pty.openpty()
    with open(terminal) as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        refused(run("synth", "-"), 2, "standard input", "terminal")
    os.close(controller)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    refused(run("synth", rock, "-o", "-"), 2, "-o -", "terminal")


# ---- outputs that cannot be


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The long work must not begin."""

    def begun(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the long work was begun")

    monkeypatch.setattr("texsyn.synthesis.fit_model", begun)
    monkeypatch.setattr("texsyn.synthesis.draw", begun)


@pytest.mark.usefixtures("no_work")
def test_an_existing_output_is_refused_before_the_work(run: Run, rock: Path) -> None:
    for name in ("old.png", "w_2.png", "old.texsyn"):
        Path(name).write_bytes(b"old")
    refused(run("synth", rock, "-o", "old.png"), 2, "old.png", "exists", "--overwrite")
    refused(run("synth", rock, "-o", "w.png", "-n", 3), 2, "w_2.png", "exists", "--overwrite")
    refused(run("fit", rock, "-o", "old.texsyn"), 2, "old.texsyn", "exists", "--overwrite")
    assert all(Path(name).read_bytes() == b"old" for name in here())
    assert len(here()) == 3


def test_overwrite(run: Run, rock: Path) -> None:
    Path("old.png").write_bytes(b"old")
    assert run("synth", rock, "--size", "9x9", "-o", "old.png", "--overwrite", *QUICK).code == 0
    assert load("old.png").pixels.shape == (9, 9, 3)
    assert here() == ["old.png"]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        ("out.gif", 2, ("-o", "out.gif", ".png")),
        ("out", 2, ("-o", "out", "extension", ".png")),
        ("", 2, ("-o", ".png")),
        ("two\nlines.gif", 2, ("two\\nlines.gif",)),
        ("folder.png", 4, ("folder.png", "directory")),
        ("no/such/out.png", 4, ("no/such/out.png", "folder")),
        ("rock.png/out.png", 4, ("rock.png/out.png",)),
        ("x" * 300 + ".png", 4, ("xxx.png", "long")),
        ("a\0b.png", 4, ("a\\x00b.png",)),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, str) else "",
)
def test_outputs_that_cannot_be(run: Run, rock: Path, output: str, code: int, words: tuple[str, ...]) -> None:
    Path("folder.png").mkdir()
    shutil.copy(rock, "rock.png")
    refused(run("synth", rock, "--size", "9x9", "-o", output), code, *words)
    assert here() == ["folder.png", "rock.png"]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("output", ["", "/", ".", "..", "folder/"])
def test_outputs_without_a_name_for_several_pictures(run: Run, rock: Path, output: str) -> None:
    refused(run("synth", rock, "-n", 2, "-o", output), 2, "-o", ".png")


def test_an_output_that_fails_only_when_written(run: Run, rock: Path) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc here")
    refused(run("synth", rock, "--size", "9x9", "-o", "/proc/out.png", *QUICK), 4, "/proc/out.png")
    refused(run("fit", rock, "-o", "/proc/out.texsyn", "--method", "gaussian"), 4, "/proc/out.texsyn")


@pytest.mark.usefixtures("no_work")
def test_an_unwritable_folder(run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, **more: mode & os.W_OK == 0)  # root may write anywhere
    refused(run("synth", rock, "-o", "out.png"), 4, "out.png", "folder")
    refused(run("synth", rock), 4, "rock_48x40_seed", "folder")
    refused(run("fit", rock, "-o", "out.texsyn"), 4, "out.texsyn", "folder")
    assert here() == []


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("name", "channels", "dtype", "output", "words"),
    [
        ("in.png", 3, np.uint16, "out.jpg", ("uint16", ".png")),
        ("in.png", 4, np.uint8, "out.jpg", ("alpha", ".png")),
        ("in.png", 3, np.uint16, "out.webp", ("uint16", ".png")),
        ("in.tif", 3, np.float32, "out.png", ("float32", ".tif")),
        ("in.tif", 3, np.float32, "-", ("float32", ".tif")),
    ],
)
def test_a_format_that_does_not_hold_the_picture(
    run: Run, tmp_path: Path, name: str, channels: int, dtype: Any, output: str, words: tuple[str, ...]
) -> None:
    source = write(tmp_path / name, texture(16, 16, channels, dtype))
    refused(run("synth", source, "-o", output), 2, "-o", *words)
    assert here() == [name]


@pytest.mark.usefixtures("no_work")
def test_what_does_not_fit_memory_is_refused_at_once(run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(run("synth", rock, "--size", "1000000x1000000"), 4, "1000000x1000000", "GiB", "memory")
    monkeypatch.setattr("texsyn.synthesis.free_memory", lambda: 2**20)
    refused(run("synth", rock, "--size", "9x9"), 4, "9x9", "0.0 GiB are free")
    refused(run("fit", rock, "-o", "rock.texsyn"), 4, "24x20", "0.0 GiB are free")
    assert here() == []


# ---- inputs that cannot be


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> list[Hostile]:
    return make_hostile(tmp_path_factory.mktemp("hostile"))


def test_hostile_inputs_end_in_a_picture_or_one_line(run: Run, hostile: list[Hostile]) -> None:
    made = refusals = 0
    for case in hostile:
        done = run("synth", case.path, "--size", "10x9", "--seed", 1, "-q", "--set", "passes=1", "--set", "batch=512")
        left = here()
        if done.code == 0:
            assert case.expect == "picture", case
            assert (done.out, done.err, len(left)) == (b"", "", 1), (case, done, left)
            assert load(left[0]).pixels.shape[:2] == (9, 10)
            os.unlink(left[0])
            made += 1
        else:
            line = refused(done, 3)
            assert case.expect == "refused" or "at least 8x8" in line or "too long" in line, (case, line)
            assert line.isprintable()
            assert left == [], case
            refusals += 1
    assert made >= 60
    assert refusals >= 60


def test_the_other_verbs_survive_hostile_inputs(run: Run, hostile: list[Hostile]) -> None:
    for case in hostile:
        done = run("info", case.path)
        if done.code == 0:
            assert case.expect == "picture"
            assert all(line.isprintable() for line in done.text.splitlines())
        else:
            refused(done, 3)
    for case in hostile[::7]:
        if case.expect == "refused":
            refused(run("sample", case.path), 3)
            refused(run("score", case.path, "--exemplar", "skimage:grass:32"), 3)
            refused(run("fit", case.path, "-o", "m.texsyn"), 3)
    assert here() == []


@pytest.mark.parametrize(("height", "width"), [(7, 30), (30, 7), (1, 1)])
@pytest.mark.parametrize("name", ["texto", "texto-2018"])
def test_an_exemplar_that_is_too_small(run: Run, tmp_path: Path, height: int, width: int, name: str) -> None:
    source = write(tmp_path / "small.png", texture(height, width, 3))
    refused(run("synth", source, "--size", "9x9", *method(name)), 3, "small.png", f"{width}x{height}", "8x8")
    assert here() == ["small.png"]


def test_the_smallest_exemplar(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "small.png", texture(8, 8, 3))
    for name in METHODS:
        done = run("synth", source, "--size", "9x9", "-o", f"{name}.png", *method(name))
        assert done.code == (3 if name in ("singan", "sgan", "psgan") else 0), name  # networks see more


def test_first_mistakes_get_a_hint(run: Run) -> None:
    refused(run("rock.png"), 2, "rock.png", "texsyn synth rock.png")
    refused(run("skimage:grass"), 2, "texsyn synth skimage:grass")
    refused(run("synht", "rock.png"), 2, "'synht'", "texsyn --help")
    refused(run("synth"), 2, "IMAGE", "texsyn synth --help")
    refused(run("synth", "a.png", "b.png"), 2, "b.png", "texsyn synth --help")
    refused(run("synth", "a.png", "--sise", "9x9"), 2, "--sise", "--size")
    refused(run("synth", "a.png", "--size"), 2, "--size")
    refused(run("fit", "a.png"), 2, "--output")
    refused(run("synth", ""), 3)
    refused(run("synth", "skimage:gras"), 3, "skimage:gras", "grass")


# ---- fit, sample, info


@pytest.mark.parametrize("name", METHODS)
def test_fit_sample_info(run: Run, rock: Path, name: str) -> None:
    done = run("fit", rock, "-o", "rock.texsyn", "--seed", 4, *method(name, FIT_SETTINGS))
    assert done.code == 0, done
    assert done.out == b""
    assert done.err.startswith(f"rock.texsyn: {name} model, seed 4, ")

    for output, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        done = run("sample", "rock.texsyn", "--size", "20x16", "-o", output, "--seed", seed)
        assert done.code == 0, done
        assert done.err.startswith(f"{output}: 20x16 by {name}, seed {seed}, ")
    pixels = [load(output).pixels for output in ("a.png", "b.png", "c.png")]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])

    lines = run("info", "rock.texsyn").text.splitlines()
    assert {"file: rock.texsyn", "kind: model", f"method: {name}"} <= set(lines)
    about = json.loads(run("info", "--json", "rock.texsyn").text)
    assert about["kind"] == "model"
    assert (about["model"]["method"], about["model"]["exemplar"]["name"]) == (name, "rock.png")
    assert here() == ["a.png", "b.png", "c.png", "rock.texsyn"]


@pytest.fixture
def model(run: Run, rock: Path) -> Path:
    """A small fitted model, outside of the run's folder."""
    path = rock.parent / "rock.texsyn"
    assert run("fit", rock, "-o", path, *method("texto", FIT_SETTINGS)).code == 0
    return path


def test_sample_has_the_options_of_synth(run: Run, model: Path) -> None:
    assert run("sample", model, "--size", "9x9", "-n", 2, "--seed", 5, "-q").err == ""
    assert here() == ["rock_9x9_seed5.png", "rock_9x9_seed6.png"]
    assert run("sample", model, "--size", "9x9", "--seed", 6, "-o", "one.png", "--no-metadata").code == 0
    assert Path("one.png").read_bytes() != Path("rock_9x9_seed6.png").read_bytes()
    np.testing.assert_array_equal(load("one.png").pixels, load("rock_9x9_seed6.png").pixels)
    assert read_recipe("one.png") is None
    assert load(run("sample", model, "--size", "9x9", "-o", "-").out).pixels.shape == (9, 9, 3)
    assert json.loads(run("sample", model, "--size", "2x", "--json").text)["size"] == "48x40"
    refused(run("sample", model, "-o", "one.png"), 2, "one.png", "exists")
    refused(run("sample", model, "--size", "1000000x1000000"), 4, "1000000x1000000", "GiB")
    refused(run("sample", model, "-o", "one.xyz"), 2, "one.xyz")
    refused(run("sample", model, "--device", "tpu"), 2, "--device", "tpu")
    assert "  level " in run("sample", model, "--size", "9x9", "-v").err


def test_fit_says_one_json_line(run: Run, rock: Path) -> None:
    done = run("fit", rock, "-o", "m.texsyn", "--method", "gaussian", "--json", "--seed", 3)
    assert json.loads(done.text) == {
        "output": "m.texsyn", "method": "gaussian", "seed": 3, "bytes": os.path.getsize("m.texsyn"),
    }  # fmt: skip
    assert done.err == ""
    assert run("fit", rock, "-o", "m.texsyn", "--method", "gaussian", "--overwrite", "-q").err == ""


@pytest.mark.usefixtures("no_work")
def test_a_model_is_no_picture_and_goes_to_a_file(run: Run, rock: Path) -> None:
    refused(run("fit", rock, "-o", "-"), 2, "-o", "rock.texsyn")
    refused(run("fit", rock, "-o", "big.png"), 2, "-o", "big.png", "rock.texsyn")
    refused(run("fit", rock, "-o", "no/such.texsyn"), 4, "no/such.texsyn")
    refused(run("fit", rock, "-o", "m.texsyn", "--set", "pases=3"), 2, "--set", "pases")
    refused(run("fit", rock, "-o", "m.texsyn", "--device", "tpu"), 2, "--device")
    assert here() == []


class Canary:
    """Unpickling it would leave a file."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("canary",)


def bad_models(good: bytes) -> dict[str, bytes]:
    """Files that are no models of ours, some of them dangerous to a loader that trusts."""
    import torch
    from safetensors.torch import save as to_bytes

    header_length = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + header_length])
    ours = json.loads(header["__metadata__"]["texsyn"])
    tensors = good[8 + header_length :]

    def changed(**more: Any) -> bytes:
        meta = {"texsyn": json.dumps(ours | more)}
        text = json.dumps(header | {"__metadata__": meta}).encode()
        return struct.pack("<Q", len(text)) + text + tensors

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("archive/data.pkl", pickle.dumps(Canary()))
    torched = io.BytesIO()
    torch.save({"model": Canary()}, torched)
    flipped = bytearray(good)
    flipped[-len(tensors) // 2] ^= 0xFF
    cuts = [0, 1, 7, 8, 9, 20, 8 + header_length // 2, 8 + header_length, len(good) // 2, len(good) - 1]
    found = {f"cut_{n}": good[:n] for n in cuts}
    return found | {
        "pickle": pickle.dumps(Canary()),
        "pickle_0": pickle.dumps(Canary(), protocol=0),
        "torch_save": torched.getvalue(),
        "zip": archive.getvalue(),
        "foreign_safetensors": to_bytes({"weight": torch.zeros(3)}),
        "foreign_texsyn": to_bytes({"weight": torch.zeros(3)}, metadata={"texsyn": "[1]"}),
        "not_json": to_bytes({"weight": torch.zeros(3)}, metadata={"texsyn": "{"}),
        "no_tensors": to_bytes({}, metadata={"texsyn": json.dumps(ours)}),
        "giant_header": struct.pack("<Q", 2**62) + b"{",
        "flipped": bytes(flipped),
        "text": b"I am a model. {}",
        "future": changed(format=99),
        "unknown_method": changed(method="os:system"),
        "unknown_setting": changed(config=ours["config"] | {"evil": 1}),
        "wrong_setting": changed(config=ours["config"] | {"passes": "many"}),
        "more_passes": changed(config=ours["config"] | {"endless_passes": 10**9}),
        "config_is_text": changed(config="texto"),
        "wrong_mode": changed(exemplar=ours["exemplar"] | {"mode": "RGBA"}),
        "no_exemplar": changed(exemplar=None),
        "exemplar_is_text": changed(exemplar="rock"),
    }


def test_bad_models_are_refused_and_nothing_is_executed(run: Run, model: Path, rock: Path) -> None:
    path = Path("bad.texsyn")
    for name, data in bad_models(model.read_bytes()).items():
        path.write_bytes(data)
        line = refused(run("sample", path, "--size", "9x9"), 3, "bad.texsyn")
        assert here() == ["bad.texsyn"], name
        assert len(line) < 400, name
        done = run("info", path)
        assert done.code in (0, 3), (name, done)  # a sound header over damaged tensors is shown
        if done.code == 3:
            refused(done, 3)
    path.unlink()
    path.mkdir()
    refused(run("sample", path), 3, "bad.texsyn", "directory")
    refused(run("sample", "missing.texsyn"), 3, "missing.texsyn")
    refused(run("sample", rock), 3, "rock.png", "model")
    os.mkfifo("pipe")
    refused(run("sample", "pipe"), 3, "pipe", "regular file")


@pytest.mark.parametrize("text", ["[" * 100_000, json.dumps({"format": 1, "method": ["texto"]})], ids=["deep", "list"])
def test_model_headers_that_are_stranger_still(run: Run, text: str) -> None:
    import torch
    from safetensors.torch import save as to_bytes

    Path("bad.texsyn").write_bytes(to_bytes({"w": torch.zeros(3)}, metadata={"texsyn": text}))
    refused(run("sample", "bad.texsyn"), 3, "bad.texsyn")


def test_info_of_any_picture(run: Run, rock: Path) -> None:
    assert run("info", rock).text.splitlines() == [
        "file: rock.png", "kind: picture", "size: 24x20", "mode: RGB", "type: uint8", "notes: none", "recipe: none",
    ]  # fmt: skip
    assert json.loads(run("info", "--json", "skimage:grass:32").text)["recipe"] is None
    refused(run("info", "missing.png"), 3, "missing.png")


def test_info_survives_a_recipe_by_somebody_else(run: Run, rock: Path) -> None:
    recipe = {
        "evidence": [5, {"a": None}], "settings": "none", "file": "other\x1b[31m.png", "seed": {"x": "two\nlines"},
    }  # fmt: skip
    save(load(rock), "strange.png", recipe=recipe)
    lines = run("info", "strange.png").text.splitlines()
    assert lines[0] == "file: strange.png"
    assert lines[-5:] == ["evidence:", "  5", "  a None", "settings: none", "seed: x=two\\nlines"]
    assert json.loads(run("info", "--json", "strange.png").text)["recipe"] == recipe


# ---- score


def test_score_table_and_json(run: Run, rock: Path) -> None:
    done = run("score", rock, "--exemplar", rock)
    assert (done.code, done.err) == (0, "")
    assert {"msw", "msw_floor", "copy15", "rep", "sharp"} <= {line.split()[0] for line in done.text.splitlines()}
    scores = json.loads(run("score", rock, "--exemplar", rock, "--json").text)
    assert scores["msw"] == pytest.approx(0, abs=1e-5)  # float32 sums of the same numbers
    assert scores["sharp"] == pytest.approx(1)
    assert scores["units"]["msw"]


def test_score_refusals(run: Run, rock: Path, tmp_path: Path) -> None:
    grey = write(tmp_path / "grey.png", texture(20, 20, 1))
    refused(run("score", grey, "--exemplar", rock), 3, "grey.png", "rock.png", "3", "1")
    refused(run("score", rock), 2, "--exemplar")
    refused(run("score", rock, "--exemplar", "missing.png"), 3, "missing.png")
    for height, width in ((1, 1), (3, 3), (1, 40), (7, 7)):
        small = write(tmp_path / f"small_{height}x{width}.png", texture(height, width, 3))
        for pair in ((small, rock), (rock, small)):
            done = run("score", pair[0], "--exemplar", pair[1], "--json")
            if done.code == 0:
                json.loads(done.text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
            else:
                refused(done, 3, small.name)


# ---- doctor


def test_doctor(run: Run) -> None:
    done = run("doctor")
    assert (done.code, done.err) == (0, "")
    names = [re.match(r"(?:ok  |note) ([\w-]+): .", line) for line in done.text.splitlines()]
    assert [m[1] for m in names if m][:5] == ["texsyn", "torch", "device", "numba", "memory"]
    found = json.loads(run("doctor", "--json").text)
    assert found["numba"]["ok"] is True
    assert found["numba"]["needed"] is True


def test_doctor_is_for_broken_installations(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    done = run("doctor")
    assert done.code == 1
    assert re.search(r"^FAIL torch: .*ModuleNotFoundError", done.text, re.MULTILINE)
    assert done.err.startswith("texsyn: torch, device")


# ---- what else goes wrong


ERRORS: list[tuple[BaseException, int, tuple[str, ...]]] = [
    (MemoryError(), 4, ("memory", "--size")),
    (MemoryError("Unable to allocate 9 GiB"), 4, ("not enough memory", "9 GiB")),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes\nmore"), 4, ("memory", "--size")),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), 4, ("not enough memory",)),
    (RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"), 4, ("out of memory", "--size")),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), 4, ("memory",)),
    (OSError(errno.ENOSPC, "No space left on device", "the disk"), 4, ("the disk", "No space left")),
    (OSError(errno.EACCES, "Permission denied", "the disk"), 1, ("PermissionError", "the disk")),
    (FloatingPointError("NaN in psi at step 3"), 6, ("diverged", "step 3")),
    (RuntimeError("two\nlines"), 1, ("RuntimeError: two (", "TEXSYN_TRACEBACK")),
    (RecursionError("maximum recursion depth exceeded"), 1, ("RecursionError",)),
    (KeyError("psi"), 1, ("KeyError", "psi")),
    (ImportError("No module named 'torch'"), 1, ("torch", "doctor")),
    (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), 1, ("UnicodeEncodeError",)),
    (RuntimeError("bad \x1b[31m\udcff"), 1, ("bad \\x1b[31m\\udcff",)),
    (KeyboardInterrupt(), 130, ("interrupted",)),
]


@pytest.mark.parametrize(("error", "code", "words"), ERRORS, ids=lambda value: type(value).__name__)
def test_every_error_has_its_code(
    run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: tuple[str, ...]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr("texsyn.synthesis.draw", fail)
    done = run("synth", rock, "--size", "9x9")
    done.err = done.err.removeprefix("\n")  # click ends the line on which a terminal shows ^C
    assert refused(done, code, *words).isprintable()
    assert here() == []


def test_an_installation_without_numpy_is_told_so(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "texsyn.images", None)  # makes importing it fail
    assert report(ModuleNotFoundError("No module named 'numpy'")) == 1
    assert b"No module named 'numpy'" in capfdbinary.readouterr().err


def test_torchs_own_words_for_no_memory_are_known(run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("texsyn.synthesis.draw", lambda *args, **kwargs: torch.empty(2**46, dtype=torch.float64))
    refused(run("synth", rock, "--size", "9x9"), 4, "not enough memory")


def test_a_trace_on_request(run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("texsyn.synthesis.draw", lambda *args, **kwargs: 1 // 0)
    monkeypatch.setenv("TEXSYN_TRACEBACK", "1")
    done = run("synth", rock, "--size", "9x9")
    assert done.code == 1
    lines = done.err.splitlines()
    assert lines[0].startswith("texsyn: ZeroDivisionError: ")
    assert lines[1].startswith("Traceback ")
    assert any("_publish" in line or "synth" in line for line in lines)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_writing_leaves_the_old_file(
    run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, code: int
) -> None:
    Path("old.png").write_bytes(b"old")
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    monkeypatch.setattr(os, "fsync", lambda handle: os.kill(os.getpid(), sent))
    refused(run("synth", rock, "--size", "9x9", "-o", "old.png", "--overwrite", *QUICK), code, "unfinished")
    assert here() == ["old.png"]
    assert Path("old.png").read_bytes() == b"old"
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


def test_a_full_disk(run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(run("synth", rock, "--size", "9x9", "-o", "out.png", *QUICK), 4, "out.png", "No space left")
    assert here() == []


# ---- the progress line


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def screen(written: str) -> list[str]:
    """The lines of a terminal after these characters; trailing blanks do not show."""
    lines, at = [""], 0
    for c in written.replace("\r\n", "\n"):
        if c == "\n":
            lines, at = [*lines, ""], 0
        elif c == "\r":
            at = 0
        else:
            lines[-1] = lines[-1][:at].ljust(at) + c + lines[-1][at + 1 :]
            at += 1
    return [line.rstrip() for line in lines]


def test_progress_is_drawn_on_a_terminal_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    from texsyn.cli.progress import ProgressLine

    now, terminal = [0.0], Terminal()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressLine(True) as line:
        now[0] = 0.5
        line.update(0.01, "level 2")
        assert screen(terminal.getvalue()) == ["[------------------------]   1 %  level 2"]
        now[0] = 30.0
        line.update(0.25, "level 1")
        assert screen(terminal.getvalue()) == ["[######------------------]  25 %, 1:30 left  level 1"]
        line.update(0.26, "too soon to draw again")
        assert "too soon" not in terminal.getvalue()
        now[0] = 40.0
        line.update(0.5, "x" * 500)
        assert len(screen(terminal.getvalue())[0]) == 79, "a longer line would wrap and could not be wiped"
        now[0] = 50.0
        line.update(0.75, "short")
        assert screen(terminal.getvalue()) == ["[##################------]  75 %, 0:17 left  short"]
    assert screen(terminal.getvalue()) == [""]
    assert terminal.getvalue().endswith("\r")


@pytest.mark.parametrize("case", ["not wanted", "no terminal", "dumb terminal", "no stderr"])
def test_progress_is_silent_elsewhere(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    from texsyn.cli.progress import ProgressLine

    stream = io.StringIO() if case == "no terminal" else Terminal()
    monkeypatch.setattr(sys, "stderr", None if case == "no stderr" else stream)
    monkeypatch.setenv("TERM", "dumb" if case == "dumb terminal" else "xterm")
    with ProgressLine(case != "not wanted") as line:
        line.update(1.0, "done")
    assert stream.getvalue() == ""


def test_a_terminal_that_goes_away_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from texsyn.cli.progress import ProgressLine

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(terminal, "write", lambda text: (_ for _ in ()).throw(OSError(errno.EIO, "gone")))
    with ProgressLine(True) as line:
        line.update(1.0, "done")


@pytest.mark.parametrize("endless", [False, True])
def test_words_do_not_run_into_the_progress_line(
    run: Run, rock: Path, monkeypatch: pytest.MonkeyPatch, endless: bool
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    now = iter(range(10**6))
    monkeypatch.setattr("texsyn.cli.progress.time.monotonic", lambda: float(next(now)))  # every update is drawn
    options = ["--endless", *method("texto", FIT_SETTINGS), "--set", "endless_passes=4"] if endless else QUICK
    run("synth", rock, "--size", "12x12", "-n", 3, "--seed", 1, *options)
    assert ("training" if endless else "pass 2 of 2") in terminal.getvalue()
    lines = [line for line in screen(terminal.getvalue()) if warm(line) == line]
    assert [line.split(":")[0] for line in lines] == [f"rock_12x12_seed{seed}.png" for seed in (1, 2, 3)] + [""]
    percents = [int(p) for p in re.findall(r"([0-9]+) %", terminal.getvalue())]
    assert percents == sorted(percents)
    assert percents[-1] == 100


# ---- in a process of its own


OURS = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}  # buffered, as for everybody


def start(*args: Any, cwd: Path, **more: Any) -> subprocess.Popen[bytes]:
    env = OURS | {"TERM": "xterm"} | more.pop("env", {})
    return subprocess.Popen([sys.executable, "-m", "texsyn", *map(str, args)], cwd=cwd, env=env, **more)


def read_terminal(controller: int, until: bytes) -> bytes:
    """What a program writes to its terminal, until it holds these bytes or the program has closed it."""
    found = b""
    while until not in found:
        try:
            data = os.read(controller, 4096)
        except OSError:  # Linux says EIO when the other side is closed
            break
        if not data:
            break
        found += data
    return found


def test_ctrl_c_and_sigterm_in_the_middle_of_the_work(rock: Path, tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    running = []
    for sent, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        controller, terminal = pty.openpty()
        process = start(
            "synth", rock, "--size", "99x99", "-o", "old.png", "--overwrite", "--set", "passes=1000000",
            cwd=tmp_path, stderr=terminal, stdout=subprocess.PIPE,
        )  # fmt: skip
        os.close(terminal)
        running.append((sent, code, controller, process))
    for sent, code, controller, process in running:
        drawn = read_terminal(controller, b"pass 2 of")  # in the middle, and a line of progress
        assert b"pass 2 of 1000000" in drawn
        process.send_signal(sent)
        drawn += read_terminal(controller, b"texsyn: ") + read_terminal(controller, b"\n")
        out, _ = process.communicate(timeout=100)
        os.close(controller)
        assert (process.returncode, out) == (code, b"")
        last = [line for line in screen(drawn.decode()) if warm(line) == line]
        assert last[0].startswith("texsyn: "), "the progress line is wiped"
        assert last[1:] == [""]
    assert os.listdir(tmp_path) == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_readers_that_go_away(rock: Path, tmp_path: Path) -> None:
    save(load(rock), tmp_path / "long.png", recipe={"evidence": ["x" * 200_000]})
    picture = start("synth", rock, "--size", "200x200", "--method", "gaussian", "-o", "-", cwd=tmp_path,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    text = start("info", "long.png", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for process in (picture, text):
        assert process.stdout is not None
        process.stdout.close()
    for process, code in ((picture, 4), (text, 1)):
        assert process.stderr is not None
        err = process.stderr.read().decode()
        process.stderr.close()
        assert process.wait(timeout=100) == code
        assert len(err.splitlines()) == (code == 4), err
        assert err == "" or err.startswith("texsyn: ")


def test_stdout_that_is_full_or_closed(rock: Path, tmp_path: Path) -> None:
    if not stat.S_ISCHR(os.stat("/dev/full").st_mode):
        pytest.skip("no /dev/full here")
    for args, what in ((["info", rock], "the output"), (["synth", rock, "--method", "gaussian", "-o", "-"], "stream")):
        with open("/dev/full", "wb") as full:
            process = start(*args, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
            err = process.communicate(timeout=100)[1].decode()
        assert process.returncode == 4
        assert re.fullmatch(rf"texsyn: .*{what}.*cannot be written \(No space left on device\)\n", err)
    closed = f"{shlex.quote(sys.executable)} -m texsyn info {shlex.quote(str(rock))} >&- 2>&-"
    assert subprocess.run(["sh", "-c", closed], cwd=tmp_path, env=OURS, timeout=100).returncode == 0


def test_names_that_the_terminal_cannot_show(tmp_path: Path, rock: Path) -> None:
    name = os.fsdecode("纹ï".encode() + b"\xff.png")
    shutil.copy(rock, tmp_path / name)
    env = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "latin-1"}
    process = start("info", name, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, b"")
    assert out.splitlines()[0] == b"file: \\u7eb9\xef\\udcff.png"


# ---- compiled loops


def test_compiling_is_announced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from texsyn.cli.loops import announced

    def loop(n):  # type: ignore[no-untyped-def]
        return n + 1

    loop.__module__ = "texsyn.loop"
    said: list[str] = []
    with announced(said.append):
        f = numba.njit(loop)
        assert said == []
        assert f(1) == 2
        assert f(1.5) == 2.5
    assert len(said) == 1
    assert "compiling" in said[0]
    with announced(said.append):
        f(2)
        loop.__module__ = "somebody.else"
        numba.njit(loop)(1)
    assert len(said) == 1, "neither what is compiled already nor the loops of others"


def test_kept_loops_are_not_announced(run: Run, rock: Path) -> None:
    command = ["synth", rock, "--size", "9x9", "--overwrite", "-o", "out.png", *QUICK]
    assert run(*command).code == 0  # compiles what is missing
    err = start(*command, cwd=Path.cwd(), stderr=subprocess.PIPE).communicate(timeout=100)[1]
    assert [line.split(b":")[0] for line in err.splitlines()] == [b"out.png"]


def test_it_works_where_nothing_can_be_written(rock: Path, tmp_path: Path) -> None:
    """A copy of the package whose cache folders are files, and no home: numba finds no place for its cache."""
    package = tmp_path / "lib" / "texsyn"
    shutil.copytree(ROOT / "texsyn", package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in {p.parent for p in package.rglob("*.py")}:
        (folder / "__pycache__").write_bytes(b"")
    for name in ("work", "tmp"):
        (tmp_path / name).mkdir()
    nowhere = str(package / "__pycache__" / "home")
    env = {
        "PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": "",
        "HOME": nowhere, "XDG_CACHE_HOME": nowhere, "TMPDIR": str(tmp_path / "tmp"),
    }  # fmt: skip
    process = start("synth", rock, "--size", "9x9", "--seed", 1, *QUICK, cwd=tmp_path / "work", env=env,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    out, err = process.communicate(timeout=200)
    lines = err.decode().splitlines()
    assert (process.returncode, out) == (0, b""), err
    assert lines[0].startswith("compiling loops")
    assert "NUMBA_CACHE_DIR" in lines[0]
    assert lines[1].startswith("rock_9x9_seed1.png: ")
    assert len(lines) == 2
    assert os.listdir(tmp_path / "tmp") == [], "the private folder goes with the process"
    assert os.listdir(tmp_path / "work") == ["rock_9x9_seed1.png"]
