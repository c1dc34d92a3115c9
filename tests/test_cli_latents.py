"""Latents at the door: what the verbs write, what they keep, and what they refuse in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_latent_editing import model_of

from texsyn.cli import main
from texsyn.gan.image_model import ImageModel, load_image_model
from texsyn.images import Picture, Size, load, read_recipe, save, to_unit
from texsyn.latent_editing import (
    load_directions,
    load_latent,
    mixed,
    principal_directions,
    save_directions,
    save_latent,
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """f: StyleGAN2 of three classes; g: another; p: 24x16, tiles; s3, s4: StyleGAN3; d: DCGAN; what was kept of f."""
    folder = tmp_path_factory.mktemp("models")
    model_of(n_classes=3).save(folder / "f.texsyn")
    model_of(seed=1).save(folder / "g.texsyn")
    model_of("stylegan3").save(folder / "s3.texsyn")
    model_of("stylegan3", side=32).save(folder / "s4.texsyn")
    model_of(periodic=True, width=24).save(folder / "p.texsyn")
    model_of("dcgan").save(folder / "d.texsyn")
    model = load_image_model(folder / "f.texsyn")
    save_latent(folder / "me.safetensors", model, model.styles(1, seed=42)[0], how="seed 42")
    save_directions(folder / "ways.safetensors", principal_directions(model, 3, n=500, rows=(0, 1)))
    return folder


@pytest.fixture
def run(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """(code, stdout, stderr) of a command in a folder with those files."""
    for file in models.iterdir():
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)

    def call(*args: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        said = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, said.out, said.err

    return call


@pytest.fixture
def f(models: Path) -> ImageModel:
    return load_image_model(models / "f.texsyn")


def pixels(path: str) -> np.ndarray:
    return load(path).pixels[:, :, 0]


def shown(model: ImageModel, ws: torch.Tensor, *, noise: int | None = None) -> np.ndarray:
    """The 8-bit pixels of styles (n_styles, latent), with the noise of a seed, or of all."""
    keys = None if noise is None else model.keys(1, seed=noise)
    return model.picture(model.synthesised(ws[None], keys)[0]).pixels[:, :, 0]


def cells(path: str, n_rows: int, n_columns: int, times: int = 2) -> np.ndarray:
    """(n_rows, n_columns, 16, 16) of a sheet of small pictures, a line between them."""
    sheet, step = pixels(path), 16 * times + 1
    assert sheet.shape == (n_rows * step - 1, n_columns * step - 1)
    small = np.pad(sheet, ((0, 1), (0, 1))).reshape(n_rows, step, n_columns, step).swapaxes(1, 2)
    return small[:, :, : 16 * times : times, : 16 * times : times]


# ---- sample


def test_sample_truncates(run: Run, f: ImageModel) -> None:
    code, _, err = run("sample", "f.texsyn", "--seed", 4, "--truncation", 0.5, "--cutoff", 2, "-o", "a.png")
    assert (code, err.count("\n")) == (0, 1)
    wanted = f.styles(1, seed=4, truncation=0.5, cutoff=2)[0]
    assert np.array_equal(pixels("a.png"), shown(f, wanted, noise=4))
    recipe = read_recipe("a.png")
    assert recipe is not None
    assert recipe["settings"] == {"truncation": 0.5, "cutoff": 2}
    assert run("sample", "f.texsyn", "--seed", 4, "--truncation", 0.5, "--noise", "same", "-o", "s.png")[0] == 0
    assert np.array_equal(pixels("s.png"), shown(f, f.styles(1, seed=4, truncation=0.5)[0]))
    assert run("sample", "f.texsyn", "--seed", 4, "--truncation", 0, "--centre", "all", "-o", "b.png")[0] == 0
    assert np.array_equal(pixels("b.png"), shown(f, f.styled.average.expand(6, 6), noise=4))


def test_sample_of_several_truncations_is_a_sheet(run: Run, f: ImageModel) -> None:
    args = ("sample", "f.texsyn", "--seed", 4, "-n", 2, "--class", "b", "--truncation", "0,1,-0.5", "-o", "a.png")
    assert run(*args)[0] == 0
    found = cells("a.png", 2, 3)
    for i, seed in enumerate((4, 5)):
        for j, psi in enumerate((0.0, 1.0, -0.5)):
            ws = f.styles(1, seed=seed, label=1, truncation=psi)[0]
            assert np.array_equal(found[i, j], shown(f, ws, noise=seed))


def test_sample_takes_kept_styles_and_moves_them(run: Run, f: ImageModel) -> None:
    assert run("sample", "f.texsyn", "--seed", "me.safetensors")[0] == 0
    assert np.array_equal(pixels("f_me.png"), shown(f, f.styles(1, seed=42)[0]))
    moves = "--direction ways.safetensors:0 --strength 2 --direction ways.safetensors:2 --strength -1.5"
    args = ("--seed", "me.safetensors", *moves.split(), "--latent", "b.st")
    assert run("sample", "f.texsyn", *args, "-o", "b.png")[0] == 0
    ways = load_directions("ways.safetensors")
    wanted = ways.moved(ways.moved(f.styles(1, seed=42)[0], 0, 2.0), 2, -1.5)
    assert np.array_equal(pixels("b.png"), shown(f, wanted))
    torch.testing.assert_close(load_latent("b.st").ws, wanted)
    assert "ways.safetensors:2" in load_latent("b.st").about["how"]
    assert run("sample", "f.texsyn", "--seed", "b.st", "-o", "c.png")[0] == 0
    assert np.array_equal(pixels("c.png"), pixels("b.png"))
    assert run("sample", "f.texsyn", "--seed", 42, "--direction", "ways.safetensors:1", "-o", "e.png")[0] == 0
    assert np.array_equal(pixels("e.png"), shown(f, ways.moved(f.styles(1, seed=42)[0], 1, 1.0), noise=42))
    assert run("sample", "f.texsyn", "--seed", 9, "--latent", "own.st", "-o", "g.png")[0] == 0  # with its noise
    assert run("sample", "f.texsyn", "--seed", "own.st", "-o", "h.png")[0] == 0
    assert np.array_equal(pixels("h.png"), pixels("g.png"))
    assert run("sample", "f.texsyn", "--seed", "own.st", "--noise", "same", "-o", "i.png")[0] == 0
    assert not np.array_equal(pixels("i.png"), pixels("g.png"))


def test_sample_moves_the_canvas_of_stylegan3_and_shows_more_of_it(run: Run) -> None:
    assert run("sample", "s3.texsyn", "--seed", 0, "-o", "a.png")[0] == 0
    assert run("sample", "s3.texsyn", "--seed", 0, "--translate", "0.25,0", "-o", "b.png")[0] == 0
    assert run("sample", "s3.texsyn", "--seed", 0, "--rotate", 90, "-o", "c.png")[0] == 0
    assert run("sample", "s3.texsyn", "--seed", 0, "--size", "32x16", "-o", "d.png")[0] == 0
    a, b, c, d = (pixels(f"{name}.png").astype(float) for name in "abcd")
    assert d.shape == (16, 32)
    var = a.var()
    assert ((a[:, 2:10] - b[:, 6:14]) ** 2).mean() < 0.05 * var < ((a - b) ** 2).mean()
    assert ((d[:, 12:20] - a[:, 4:12]) ** 2).mean() < 0.05 * var
    assert ((c - a) ** 2).mean() > 0.05 * var


# ---- the other verbs


def test_mix_of_one_and_one_is_a_picture(run: Run, f: ImageModel) -> None:
    args = ("--rows", "coarse", "-o", "a.png", "--latent", "both.safetensors")
    code, out, err = run("mix", "f.texsyn", 3, "me.safetensors", *args, "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["settings"] == {"verb": "mix", "rows": "coarse", "columns": [3], "others": ["me.safetensors"]}
    wanted = mixed(f.styles(1, seed=42)[0], f.styles(1, seed=3)[0], (0, 1, 2))
    assert np.array_equal(pixels("a.png"), shown(f, wanted))
    assert torch.equal(load_latent("both.safetensors").ws, wanted)


def test_mix_of_more_is_a_sheet(run: Run, f: ImageModel) -> None:
    assert run("mix", "f.texsyn", "0,1,2", "5,me.safetensors", "--rows", "2-4", "-o", "a.png")[0] == 0
    found = cells("a.png", 3, 4)
    columns, others = f.styles(3, seed=0), [f.styles(1, seed=5)[0], f.styles(1, seed=42)[0]]
    for j in range(3):
        assert np.array_equal(found[0, 1 + j], shown(f, columns[j]))
        for i in range(2):
            assert np.array_equal(found[1 + i, 1 + j], shown(f, mixed(others[i], columns[j], (2, 3, 4))))


def test_arithmetic(run: Run, f: ImageModel) -> None:
    args = ("--plus", "1,2", "--minus", "me.safetensors", "--plus", "7", "--class", "c")
    assert run("arithmetic", "f.texsyn", *args, "-o", "a.png", "--latent", "l.safetensors")[0] == 0
    wanted = f.styles(2, seed=1, label=2).mean(0) - f.styles(1, seed=42)[0] + f.styles(1, seed=7, label=2)[0]
    torch.testing.assert_close(load_latent("l.safetensors").ws, wanted)
    assert run("arithmetic", "f.texsyn", *args, "--grid", "-o", "b.png")[0] == 0
    found = cells("b.png", 1, 4)[0]
    assert np.array_equal(found[1], shown(f, f.styles(1, seed=7, label=2)[0]))
    assert np.array_equal(found[3], pixels("a.png"))


def test_project_keeps_styles_of_the_picture_it_writes(run: Run, f: ImageModel) -> None:
    picture = Picture(np.random.default_rng(0).integers(0, 255, (16, 40, 3), np.uint8), "RGB")
    save(picture, "me.png")
    code, out, err = run(
        "project", "f.texsyn", "me.png", "--steps", 5, "--loss", "pixels", "-o", "a.png", "--latent", "l.safetensors",
        "--space", "w+", "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["picture"]["size"] == "40x16"
    assert record["settings"]["loss"] == "pixels"
    kept = load_latent("l.safetensors")
    assert "picture=me.png" in kept.about["how"]
    assert np.array_equal(pixels("a.png"), shown(f, kept.ws))
    luma = to_unit(picture.pixels[:, 12:28]) @ np.array([0.299, 0.587, 0.114])
    gap = ((luma - pixels("a.png") / 255) ** 2).mean()
    assert record["psnr"] == pytest.approx(-10 * np.log10(gap), abs=0.1)  # but for roundings to 8 bits
    code, _, err = run("project", "f.texsyn", "me.png", "--steps", 2, "--loss", "pixels", "-o", "b.png")
    assert code == 0
    assert "me.png: 40x16 was cut and resized to 16x16" in err
    assert "dB from me.png, by pixels" in err


def test_directions_are_shown_and_kept(run: Run, f: ImageModel) -> None:
    args = ("--count", 2, "--rows", "middle", "--seed", "me.safetensors", "--strength", 1.5)
    for method in ("pca", "sefa"):
        files = ("-o", f"{method}.png", "--save", f"{method}.safetensors")
        assert run("directions", "f.texsyn", "--method", method, *args, *files, "-q") == (0, "", "")
        kept = load_directions(f"{method}.safetensors")
        assert (kept.rows, len(kept.vectors), kept.about["method"]) == ((3, 4, 5), 2, method)
        found, ws = cells(f"{method}.png", 2, 7), f.styles(1, seed=42)[0]
        assert np.array_equal(found[1, 0], shown(f, kept.moved(ws, 1, -1.5)))
        assert np.array_equal(found[0, 3], shown(f, ws))
        assert np.array_equal(found[0, 5], shown(f, kept.moved(ws, 0, 1.0)))
    code, out, _ = run("directions", "f.texsyn", "--count", 2, "--save", "only.safetensors", "--json")
    assert (code, json.loads(out)["output"]) == (0, "only.safetensors")


def test_interpolate_in_w(run: Run, f: ImageModel) -> None:
    args = ("--space", "w", "--truncation", 0.5, "--frames", 4, "-o", "way.png")
    assert run("interpolate", "f.texsyn", "--seeds", "3,me.safetensors", *args)[0] == 0
    found = cells("way.png", 2, 2, times=8).reshape(4, 16, 16)
    a, b = f.styles(1, seed=3, truncation=0.5)[0], f.styles(1, seed=42)[0]
    for k, ws in enumerate((a, a.lerp(b, 0.5), b, b.lerp(a, 0.5))):
        assert np.array_equal(found[k], shown(f, ws))


def test_interpolate_turns_a_canvas(run: Run) -> None:
    args = ("interpolate", "s3.texsyn", "--seeds", 3, "--rotate", 180, "--frames", 2)
    assert run(*args, "-o", "way.png")[0] == 0
    assert run("sample", "s3.texsyn", "--seed", 3, "--rotate", 90, "-o", "a.png")[0] == 0
    assert np.array_equal(cells("way.png", 1, 2, times=8)[0, 1], pixels("a.png"))
    code, out, _ = run(*args, "-o", "way.webp", "--json")
    assert (code, json.loads(out)["frames"]) == (0, 2)


def test_info_knows_what_is_kept(run: Run) -> None:
    code, out, _ = run("info", "me.safetensors")
    assert (code, "how: seed 42" in out, "kind: styles" in out) == (0, True, True)
    code, out, _ = run("info", "ways.safetensors", "--json")
    assert (code, json.loads(out)["styles"]["directions"]) == (0, 3)


def test_quiet_is_quiet(run: Run) -> None:
    assert run("mix", "f.texsyn", 3, 4, "-o", "a.png", "-q") == (0, "", "")
    assert run("sample", "f.texsyn", "--truncation", "0,1", "-o", "b.png", "-q") == (0, "", "")


# ---- refusals

NONE = "no styles"
REFUSED: list[tuple[str, int, str]] = [
    # what is not understood
    ("sample f.texsyn --truncation x", 2, "--truncation': 'x' is not understood: give a number"),
    ("sample f.texsyn --truncation nan", 2, "'nan' is not understood"),
    ("sample f.texsyn --truncation 1,,2", 2, "'1,,2' is not understood"),
    ("sample f.texsyn --seed -1", 2, "'-1' is not understood: give a seed, or a file of kept styles"),
    ("sample f.texsyn --seed 9223372036854775808", 2, "is not in the range"),
    ("sample f.texsyn --direction ways.safetensors", 2, "'ways.safetensors' is not understood: give FILE:N"),
    ("sample f.texsyn --direction ways.safetensors:x", 2, "is not understood: give FILE:N"),
    ("mix f.texsyn 1, 2 -o x.png", 2, "'' is not understood: give a seed"),
    ("mix f.texsyn 1.5 2 -o x.png", 2, "'1.5' is not understood"),
    ("mix f.texsyn 1 2 --rows fine -o x.png", 2, "--rows: rows='fine': none is above 32 pixels"),
    ("mix f.texsyn 1 2 --rows 6 -o x.png", 2, "--rows: rows='6' should be from 0 to 5"),
    ("arithmetic f.texsyn --plus 1 --minus 2 -o x.png", 2, "--plus: 1 and 1 of --minus; one group more"),
    ("arithmetic f.texsyn --minus 2 -o x.png", 2, "Missing option '--plus'"),
    ("directions f.texsyn", 2, "-o: give a picture for a sheet, --save a file for the directions, or both"),
    ("directions f.texsyn --count 7 -o x.png", 2, "--count: count=7 should be from 1 to 6"),
    ("directions f.texsyn --method sefa --rows 5 -o x.png", 2, "rows=5: only pictures look at those"),
    ("directions f.texsyn --strength nan -o x.png", 2, "--strength"),
    ("interpolate f.texsyn --seeds 3 -o x.png", 2, "--seeds: '3' is not understood: give two or more"),
    ("interpolate f.texsyn --seeds 3,me.safetensors -o x.png", 2, "pass them in space w"),
    ("sample s3.texsyn --translate 1 -o x.png", 2, "--translate: give two numbers such as 0.25,0, not 1"),
    ("sample s3.texsyn --rotate nan -o x.png", 2, "--rotate: nan should be a finite number"),
    ("sample s4.texsyn --size 64x63 -o x.png", 2, "--size: 64x63 should have sides that are multiples of 2"),
    ("sample p.texsyn --size 48x20 -o x.png", 2, "--size: a size of 48x20: width and height should be multiples of 24"),
    # what does not apply
    ("sample f.texsyn --cutoff 7 -o x.png", 2, "--cutoff: cutoff=7 should be from 0 to 6"),
    ("sample g.texsyn --centre class -o x.png", 2, "--centre: centre='class' should be all"),
    ("sample d.texsyn --cutoff 2 -o x.png", 2, "--cutoff: cutoff=2: dcgan has no styles, which StyleGANs have"),
    ("sample d.texsyn --centre all -o x.png", 2, "--centre: centre='all': dcgan has no styles"),
    ("sample d.texsyn --truncation 0,1 -o x.png", 2, "--truncation: give one number, not 2"),
    ("sample d.texsyn --truncation=-1 -o x.png", 2, "--truncation: truncation=-1.0 should be a finite number from 0"),
    ("sample d.texsyn --direction ways.safetensors:0 -o x.png", 2, "--direction: dcgan has no styles to move"),
    ("sample d.texsyn --latent x.safetensors -o x.png", 2, "--latent: dcgan has no styles to keep"),
    ("sample d.texsyn --seed me.safetensors -o x.png", 2, "--seed: dcgan takes seeds, since it has no styles"),
    ("sample f.texsyn --rotate 5 -o x.png", 2, "--rotate: stylegan2 has no canvas, which StyleGAN3 has"),
    ("sample f.texsyn --translate 0,0 -o x.png", 2, "--translate: stylegan2 has no canvas"),
    ("sample f.texsyn --size 32x32 -o x.png", 2, "--size: a GAN of many pictures has one size"),
    ("sample f.texsyn --strength 2 -o x.png", 2, "--strength: is of a --direction, and there is none"),
    ("sample f.texsyn -n 2 --latent x.safetensors -o x.png", 2, "--latent: keeps the styles of one picture"),
    ("sample f.texsyn -n 2 --seed me.safetensors -o x.png", 2, "--seed: styles that were kept are of one picture"),
    ("sample f.texsyn --seed me.safetensors --truncation 0.5 -o x.png", 2, "--seed: styles that were kept are of"),
    ("mix f.texsyn 1,2 3 --latent x.safetensors -o x.png", 2, "--latent: keeps one picture's styles"),
    ("mix f.texsyn 1 2 --truncation 0,1 -o x.png", 2, "--truncation: give one number, not 2"),
    ("interpolate f.texsyn --seeds 3 --rotate 90 -o x.png", 2, "--rotate: stylegan2 has no canvas"),
    # files
    ("mix d.texsyn 1 2 -o x.png", 3, "d.texsyn: dcgan has no styles; give a model of a StyleGAN"),
    ("interpolate d.texsyn --space w -o x.png", 3, "d.texsyn: dcgan has no styles"),
    ("project d.texsyn f.texsyn -o x.png", 3, "d.texsyn: dcgan has no styles"),
    ("mix me.safetensors 1 2 -o x.png", 3, "holds styles or directions that belong to a model, and is none itself"),
    ("mix f.texsyn 1 none.safetensors -o x.png", 3, "none.safetensors: cannot be read"),
    ("mix f.texsyn 1 f.texsyn -o x.png", 3, "f.texsyn: a safetensors file, but none of latent that texsyn wrote"),
    ("mix f.texsyn 1 ways.safetensors -o x.png", 3, "but none of latent that texsyn wrote"),
    ("sample f.texsyn --direction me.safetensors:0 -o x.png", 3, "but none of directions that texsyn wrote"),
    ("project f.texsyn f.texsyn -o x.png", 3, "f.texsyn: is not a picture"),
    ("project f.texsyn me.png --weights none.pth -o x.png", 3, "none.pth: no such file"),
    ("mix g.texsyn 1 me.safetensors -o x.png", 2, "C,D,.. me.safetensors: this latent belongs to the model stylegan2"),
    ("sample g.texsyn --direction ways.safetensors:0 -o x.png", 2, "this direction belongs to the model stylegan2"),
    ("sample f.texsyn --direction ways.safetensors:3 -o x.png", 2, "--direction: direction 3 should be from 0 to 2"),
    ("sample f.texsyn --direction ways.safetensors:0 --strength inf -o x.png", 2, "strength=inf should be a finite"),
    # outputs
    ("mix f.texsyn 1 2 -o g.texsyn", 2, "-o: g.texsyn: the extension '.texsyn' is not known"),
    ("mix f.texsyn 1 2 -o here.png", 2, "here.png: exists; --overwrite replaces it"),
    ("mix f.texsyn 1 2 -o x.png --latent me.safetensors", 2, "me.safetensors: exists; --overwrite replaces it"),
    ("sample f.texsyn -o x.png --latent no/me.safetensors", 4, "no/me.safetensors: its folder does not exist"),
    ("directions f.texsyn -o x.png --save ways.safetensors", 2, "ways.safetensors: exists"),
    ("project f.texsyn me.png -o x.png --latent me.safetensors", 2, "me.safetensors: exists"),
]


@pytest.mark.parametrize(("words", "code", "sentence"), REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_written(words: str, code: int, sentence: str, run: Run) -> None:
    for name in ("here.png", "me.png"):
        save(Picture(np.zeros((16, 16, 1), np.uint8), "L"), name)
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    found, out, err = run(*words.split())
    assert (found, out) == (code, ""), err
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_styles_are_for_models_with_styles(run: Run) -> None:
    save(Picture(np.zeros((16, 16, 1), np.uint8), "L"), "flat.png")
    assert run("fit", "flat.png", "--method", "gaussian", "-o", "t.texsyn")[0] == 0
    for words, sentence in (
        (
            "--seed me.safetensors",
            "--seed: 'me.safetensors' is no seed, and files of styles are for models of",
        ),
        ("--cutoff 2", "--cutoff: is for models that `texsyn train --arch` wrote; leave it out"),
        ("--direction ways.safetensors:0", "--direction: is for models that"),
        ("--rotate 3", "--rotate: is for models that"),
    ):
        code, _, err = run("sample", "t.texsyn", *words.split(), "-o", "x.png")
        assert (code, sentence in err) == (2, True), err
    code, _, err = run("mix", "t.texsyn", 1, 2, "-o", "x.png")
    assert (code, "t.texsyn: a model of a texture (gaussian)" in err) == (3, True)


def test_memory_that_is_not_there_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("texsyn.synthesis.free_memory", lambda: 1000)
    save(Picture(np.zeros((16, 16, 1), np.uint8), "L"), "me.png")
    for words in ("project f.texsyn me.png", "sample s3.texsyn --size 160x160"):
        code, _, err = run(*words.split(), "-o", "x.png")
        assert (code, "not enough memory: its layers need about" in err) == (4, True), err
    assert not Path("x.png").exists()


def test_pictures_of_two_domains_are_not_projected(run: Run) -> None:
    model = model_of(channels=2)
    model.about = type(model.about)("things", "0", domains=2)
    model.save("two.texsyn")
    save(Picture(np.zeros((16, 16, 1), np.uint8), "L"), "me.png")
    code, _, err = run("project", "two.texsyn", "me.png", "-o", "x.png")
    assert (code, "two.texsyn: makes pictures of 2 domains side by side" in err) == (3, True), err
    assert run("mix", "two.texsyn", 1, 2, "-o", "x.png")[0] == 0
    assert load("x.png").size == Size(16, 32)


def test_models_of_floats_keep_their_range(run: Run) -> None:
    model = model_of()
    model.about = type(model.about)("things", "0", low=-2.0, high=3.0)
    model.save("floats.texsyn")
    assert run("mix", "floats.texsyn", 1, 2, "-o", "x.tif")[0] == 0
    ws = mixed(model.styles(1, seed=2)[0], model.styles(1, seed=1)[0], (0, 1, 2))
    wanted = model.synthesised(ws[None])[0, 0].numpy() * 5 - 2
    assert np.allclose(load("x.tif").pixels[:, :, 0], wanted, atol=1e-6)
    assert run("sample", "floats.texsyn", "--seed", 1, "--noise", "same", "-o", "target.tif")[0] == 0
    args = ("--steps", 60, "--loss", "pixels", "-o", "y.tif", "--json")
    code, out, _ = run("project", "floats.texsyn", "target.tif", *args)
    assert code == 0
    assert json.loads(out)["psnr"] > 40  # of values in [0, 1], so the range was taken away
    assert run("sample", "floats.texsyn", "--seed", 1, "--noise", "same", "--grid", "-o", "sheet.png")[0] == 0
    found, wanted = cells("sheet.png", 1, 1)[0, 0], model.synthesised(model.styles(1, seed=1))[0, 0].numpy()
    assert np.abs(found / 255 - wanted).max() < 0.003  # of a sheet, 8 bits from the least value to the greatest
