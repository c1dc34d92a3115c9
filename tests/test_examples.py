"""Examples run, and what the README says is what happens."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from texsyn.gan.architectures import ARCHITECTURES, OBJECTIVES
from texsyn.images import load, save
from texsyn.models import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def command(name: str) -> str:
    """The line in the code block under <!-- command: name -->."""
    found = re.search(rf"<!-- command: {name} -->\n```\n(.+)\n```\n", README)
    assert found, f"README.md has no command {name}"
    return found[1]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_example_runs_in_an_empty_folder(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "False" not in done.stdout, "examples print what they checked"
    assert 8 <= len(example.read_text().splitlines()) <= 35


def test_readmes_first_command_makes_its_picture_at_a_small_size(tmp_path: Path) -> None:
    """The set-up part is what the second command and continuous integration run; here the picture, smaller."""
    setup, install, make = command("first run").split(" && ")
    assert setup == "python3 -m venv texsyn-env"
    assert install == "texsyn-env/bin/pip install torch==2.13.0 ."
    words = shlex.split(make)
    assert words[0] == "texsyn-env/bin/texsyn"
    size = words.index("--size") + 1
    assert words[size] == "1280x768"
    words[size] = "96x64"
    subprocess.run([sys.executable, "-m", "texsyn", *words[1:]], cwd=tmp_path, env=environment(), check=True)
    assert str(load(tmp_path / "grass.png").size) == "96x64"


def test_readmes_test_command_is_what_continuous_integration_runs() -> None:
    tests = command("tests")
    assert tests.endswith("texsyn-env/bin/python -m pytest")
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    printing = re.sub(r"^(rm|eval) .*$", "", script.read_text(), flags=re.M).replace("$0", str(script))
    printed = subprocess.run(["bash", "-c", printing], capture_output=True, text=True, check=True)
    assert printed.stdout == f"+ {tests}\n"


@pytest.mark.slow
def test_readmes_first_command_to_the_letter(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run(["bash", "-ec", command("first run")], cwd=clone, env=clean, check=True, stdout=subprocess.DEVNULL)
    assert str(load(clone / "grass.png").size) == "1280x768"


def test_readmes_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"```python\n(.+?)```", README, re.S)
    assert block
    monkeypatch.chdir(tmp_path)
    exec(compile(block[1], "README.md", "exec"), {})
    assert (tmp_path / "bricks.png").exists()


def test_readmes_other_commands_are_known_verbs_and_options() -> None:
    from click.testing import CliRunner

    from texsyn.cli.commands import texsyn

    lines = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("texsyn ")]
    assert len(lines) >= 7
    for line in lines:
        verb, options = shlex.split(line)[1], re.findall(r"(?:^|\s)(--?[a-z][a-z-]*)", line)
        said = CliRunner().invoke(texsyn, [verb, "--help"])
        assert said.exit_code == 0, line
        for option in options:
            assert option in said.output, f"{verb} has no {option}"


def artists_commands() -> list[str]:
    section = "".join(
        README.partition(f"\n## {name}\n")[2].partition("\n## ")[0] for name in ("For artists", "Methods")
    )
    return [line for block in re.findall(r"```\n(.+?)```", section, re.S) for line in block.splitlines()]


@pytest.fixture(scope="module")
def artists_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures under the names that the README uses."""
    folder = tmp_path_factory.mktemp("artist")
    y, x = np.mgrid[:40, :48]
    left, disc = (x < 24) * np.uint8(255), (np.hypot(y - 20, x - 22) < 9) * np.uint8(255)
    ramp = (5 * x).astype(np.uint8)
    texture = {name: load(f"skimage:{name}:48").pixels[:40] for name in ("brick", "gravel", "grass")}
    inputs = {
        "rock_albedo": np.repeat(texture["gravel"], 3, 2),
        "rock_rough": 255 - texture["gravel"],
        "height": np.arange(40 * 48, dtype=np.uint16),
        "wall": texture["brick"],
        "hole": disc,
        "gravel": texture["gravel"],
        "grass": texture["grass"],
        "garden": np.where(left[..., None] > 0, texture["grass"], texture["gravel"]),
        "garden_labels": left,
        "drawing": disc,
        "wet_here": ramp,
        "wet_there": ramp[:, ::-1],
        "ramp": ramp,
        "portrait": load("skimage:camera:48").pixels[:40],
        "bricks": texture["brick"],
    }
    for name, pixels in inputs.items():
        save(load(np.ascontiguousarray(pixels).reshape(40, 48, -1)), folder / f"{name}.png")
    return folder


def test_readmes_commands_for_artists_run(artists_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line as it stands, at a small size; every output that it names is there afterwards and readable."""
    from click.testing import CliRunner

    from texsyn.cli.commands import texsyn

    monkeypatch.chdir(artists_folder)
    lines = artists_commands()
    assert len(lines) >= 10
    for line in lines:
        words = shlex.split(re.sub(r"--size \S+", "--size 60x50", line))
        before = set(os.listdir())
        done = CliRunner().invoke(texsyn, [*words[1:], "--quiet"])
        assert done.exit_code == 0, f"{line}: {done.output}"
        new = set(os.listdir()) - before
        named = fnmatch.filter(new, re.sub(r"{\w+}", "*", words[words.index("-o") + 1]))
        assert named, line
        assert new - {"map.npy"} == set(named), line
        for name in named:
            load(name)
    assert load("big_height.png").pixels.dtype == np.uint16


#: that trainings of the README take a second; their pictures are bad
QUICK = {
    "sgan": ["batch=1", "cells=2", "n_layers=3", "channels=4", "max_channels=8", "steps=2"],
    "psgan": ["batch=1", "cells=2", "n_layers=3", "channels=4", "max_channels=8", "steps=2"],
    "singan": ["d_turns=1", "g_turns=1", "channels=4", "min_side=20", "max_side=30", "steps=2"],
}


def test_readmes_commands_for_networks_run(
    artists_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line as it stands, with networks that hardly learn; every output is there afterwards."""
    from click.testing import CliRunner

    from texsyn.cli.commands import texsyn

    monkeypatch.chdir(tmp_path)
    for name, source in {"gravel": "gravel", "rock_albedo": "rock_albedo", "rock_rough": "rock_rough", "where": "hole",
                         **dict.fromkeys(("scene", "pasted", "moved", "sketch"), "garden")}.items():  # fmt: skip
        shutil.copy(artists_folder / f"{source}.png", f"{name}.png")
    section = README.partition("\n## Networks trained on one picture\n")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```\n(.+?)```", section, re.S) for line in block.splitlines()]
    assert {shlex.split(line)[1] for line in lines} >= {"train", "sample", "animate", "harmonise", "paint", "upscale"}
    for line in lines:
        words = shlex.split(re.sub(r"--size \S+", "--size 40x30", line))
        method = {"train": words[words.index("--method") + 1] if "--method" in words else "", "upscale": "singan"}.get(
            words[1]
        )
        quick = [word for one in QUICK.get(method or "", []) for word in ("--set", one)]
        quick += ["--frames", "4"] if words[1] == "animate" else []
        before = set(os.listdir())
        done = CliRunner().invoke(texsyn, [*words[1:], *quick, "--quiet"])
        assert done.exit_code == 0, f"{line}: {done.output}"
        assert fnmatch.filter(set(os.listdir()) - before, re.sub(r"{\w+}", "*", words[words.index("-o") + 1])), line


def test_readmes_commands_for_many_pictures_run(
    artists_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line as it stands, with networks that hardly learn; every output is there afterwards."""
    from click.testing import CliRunner

    from texsyn.cli.commands import texsyn

    monkeypatch.chdir(tmp_path)
    shutil.copy(artists_folder / "gravel.png", "gravel.png")
    with zipfile.ZipFile("faces.zip", "w") as archive:
        for name in ("gravel", "grass", "bricks", "portrait"):
            archive.write(artists_folder / f"{name}.png", f"{name}.png")
    section = README.partition("\n## Networks trained on many pictures\n")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```\n(.+?)```", section, re.S) for line in block.splitlines()]
    assert {shlex.split(line)[1] for line in lines} == {"train", "sample", "interpolate"}
    small = ["--steps", "2", *(w for one in ("batch=4", "features=4", "max_features=8") for w in ("--set", one))]
    for line in lines:
        words = shlex.split(line)
        quick = small if words[1] == "train" and "-o" in words else []
        before = set(os.listdir())
        done = CliRunner().invoke(texsyn, [*words[1:], *quick, *(["--quiet"] if "-o" in words else [])])
        assert done.exit_code == 0, f"{line}: {done.output}"
        if "-o" in words:
            made = fnmatch.filter(set(os.listdir()) - before, re.sub(r"{\w+}", "*", words[words.index("-o") + 1]))
            assert made, line


def test_readmes_commands_for_styles_run(artists_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of that section, of trainings two steps of small networks, of projections three."""
    import published  # of the tests: a network pickle such as the official code writes
    from click.testing import CliRunner

    from texsyn.cli.commands import texsyn

    monkeypatch.chdir(tmp_path)
    for name in ("gravel", "portrait"):
        shutil.copy(artists_folder / f"{name}.png", f"{name}.png")
    with zipfile.ZipFile("faces.zip", "w") as archive:
        for name in ("gravel", "grass", "bricks", "portrait"):
            archive.write(artists_folder / f"{name}.png", f"{name}.png")
    Path("ffhq.pkl").write_bytes(published.official(published.Sizes()).bytes())
    section = README.partition("\n## StyleGANs, and editing by styles\n")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```\n(.+?)```", section, re.S) for line in block.splitlines()]
    wanted = {"train", "sample", "mix", "arithmetic", "directions", "project", "interpolate", "convert"}
    assert {shlex.split(line)[1] for line in lines} == wanted
    small = ["--steps", "2", "--set", "batch=4", "--set", "group=2"]
    narrow = [w for one in ("features=4", "max_features=8", "latent=8") for w in ("--set", one)]
    for line in lines:
        words = shlex.split(line)
        quick = {"train": small + ([] if "--from" in words else narrow), "project": ["--steps", "3"]}.get(words[1], [])
        before = set(os.listdir())
        done = CliRunner().invoke(texsyn, [*words[1:], *quick, "--quiet"])
        assert done.exit_code == 0, f"{line}: {done.output}"
        assert set(os.listdir()) - before, line


def test_readmes_table_of_architectures_is_the_table_of_the_library() -> None:
    section = README.partition("## Networks trained on many pictures")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| .+ \| (.+) \|$", section, re.M)
    words = {"none": "no", "needed": "always"}
    assert rows[0] == ("--arch", "labels")
    assert rows[1:] == [
        (name, words.get(arch.labels, "where DATA has them" if arch.by_class else "if asked"))
        for name, arch in ARCHITECTURES.items()
    ]
    assert re.findall(r"([0-9]+) of them", section) == [str(len(OBJECTIVES))]


def test_readmes_table_of_methods_is_the_table_of_models() -> None:
    section = README.partition("## Methods")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z0-9][a-z0-9-]+)` \|", section, re.M) == list(METHODS)


def test_readmes_figures_are_those_of_the_benchmark() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from bench_synth import table
    finally:
        sys.path.pop(0)
    found = re.search(r"<!-- table: bench_synth -->\n(.+?)\n<!-- end of table -->", README, re.S)
    assert found, "README.md has no table of figures"
    summary = json.loads((ROOT / "benchmarks" / "results" / "bench_synth.json").read_text())["summary"]
    assert found[1] == table(summary)
