"""Pictures made again from their own recipes: every kind of them, inputs found by their pixels, and hostile recipes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import texsyn
from texsyn.cli import main
from texsyn.gan.architectures import ARCHITECTURES, configure
from texsyn.gan.image_model import ImageModel, Source
from texsyn.images import InputError, Picture, Region, load, read_recipe, save
from texsyn.repro import order, repro
from texsyn.repro.inputs import Search
from texsyn.repro.reading import NUMBERS, OF_NUMBERS, TEXTS, WHOLE
from texsyn.wishes import PICTURES, Wishes

QUICK = {"passes": 2}
FAST = {"endless_passes": 1, "samples_per_atom": 2, "training_factor": 2}
HAS_EXR = importlib.util.find_spec("OpenEXR") is not None
Run = Callable[..., tuple[int, str, str]]


def pixels(seed: int = 0, size: tuple[int, int] = (32, 36), channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    """Soft noise over an integer type's range, or in [0, 1]."""
    field = np.random.default_rng(seed).standard_normal((*size, channels))
    for axis in (0, 1):
        field = field + np.roll(field, 1, axis)
    field = (field - field.min()) / np.ptp(field)
    if np.dtype(dtype).kind == "f":
        return field.astype(dtype)
    return np.floor(field * np.iinfo(dtype).max + 0.5).astype(dtype)


def write(path: str, array: np.ndarray) -> str:
    save(Picture(array, {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[array.shape[2]]), path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with the exemplar rock.png."""
    monkeypatch.chdir(tmp_path)
    write("rock.png", pixels())
    return tmp_path


@pytest.fixture
def out() -> str:
    """A picture made from rock.png."""
    texsyn.synth("rock.png", (28, 40), seed=5, **QUICK).save("out.png")
    return "out.png"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process: code, stdout, stderr."""

    def call(*args: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        said, err = capfd.readouterr()
        err = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("compiling loops"))
        assert isinstance(stop.value.code, int)
        return stop.value.code, said, err

    return call


def again(name: str = "out.png", **how: Any) -> None:
    """The file's picture can be made again: same pixels, same recipe but for the time it took."""
    found = repro(name, **how)
    assert found.identical, found.sentence
    assert found.differences == ()
    assert found.sentence == f"{name}: made again, pixel for pixel"
    before, now = (json.loads(json.dumps(one)) for one in (found.recorded, found.result.recipe))
    if "region" not in before:
        assert {k: v for k, v in now.items() if k != "seconds"} == {k: v for k, v in before.items() if k != "seconds"}


def touched(path: str, rows: slice, columns: slice = slice(None)) -> None:
    """Flip a bit of some pixels in the file and keep its recipe."""
    picture = load(path)
    array = picture.pixels.copy()
    array[rows, columns] ^= 1
    save(Picture(array, picture.mode), path, recipe=read_recipe(path), overwrite=True)


def rewritten(changes: dict[str, Any], source: str = "out.png", target: str = "hostile.png") -> str:
    """The picture with another recipe; None takes an entry out."""
    recipe = (read_recipe(source) or {}) | changes
    picture = load(source)
    save(picture, target, recipe={k: v for k, v in recipe.items() if v is not None}, overwrite=True)
    return target


# ---- every kind of picture


@pytest.mark.parametrize(
    "how",
    [
        QUICK,
        {"tile": "xy", **QUICK},
        {"endless": True, **FAST},
        {"method": "gaussian"},
        {"method": "random-phase", "fade": 0.2},
        {"method": "texto-2018", "max_samples_per_atom": 2, "training_side": 24},
        {"symmetry": "all", "copy_limit": 12, "histogram": "keep", "depth": "16", **QUICK},
        {"scale": 1.3, "rotate": 30.0, "histogram": "keep", **QUICK},
    ],
    ids=lambda how: ",".join(how),
)
def test_a_picture_of_one_exemplar(how: dict[str, Any]) -> None:
    texsyn.synth("rock.png", (28, 40), seed=5, **how).save("out.png")
    again()


@pytest.mark.parametrize(
    ("ending", "channels", "dtype"),
    [
        (".png", 1, np.uint8),
        (".png", 4, np.uint16),
        (".tif", 3, np.float32),
        (".tif", 2, np.uint16),
        (".webp", 3, np.uint8),
        (".webp", 1, np.uint8),  # held as colours
        pytest.param(".exr", 3, np.float32, marks=pytest.mark.skipif(not HAS_EXR, reason="no OpenEXR")),
    ],
)
def test_every_format_and_depth(ending: str, channels: int, dtype: Any) -> None:
    write("in.tif", pixels(3, channels=channels, dtype=dtype))
    texsyn.synth("in.tif", (30, 26), seed=2, **QUICK).save(f"out{ending}")
    again(f"out{ending}")


def test_half_floats_that_the_file_rounds() -> None:
    save(Picture(pixels(3, dtype=np.float16).astype(np.float32), "RGB", half=True), "in.tif")
    texsyn.synth("in.tif", (30, 26), seed=2, method="gaussian").save("out.tif")
    assert load("out.tif").sha256 != (read_recipe("out.tif") or {})["pixels_sha256"]
    again("out.tif")


def test_mixtures() -> None:
    write("moss.png", pixels(1))
    texsyn.synth(["rock.png", "moss.png"], (32, 32), seed=1, mix=(0.3, 0.7), **QUICK).save("out.png")
    again()
    texsyn.synth(["rock.png", "moss.png"], (32, 32), seed=1, morph=0.4, **QUICK).save("morph.png")
    again("morph.png")
    write("where.png", pixels(2, (30, 40), 1))
    texsyn.synth(["rock.png", "moss.png"], seed=1, mix_map="where.png", **QUICK).save("map.png")
    again("map.png")


def test_each_map_of_a_stack() -> None:
    write("rock_height.png", pixels(1, channels=1, dtype=np.uint16))
    made = texsyn.synth(
        maps=["rock.png", "rock_height.png"], size=(32, 40), seed=4, weights={"height": 0.5}, rotate=20, **QUICK
    )
    for name in ("rock.png", "rock_height.png"):
        made.of_map(name).save(f"out_{name}")
        again(f"out_{name}")
    made.save("out.png")
    again()
    assert load("out_rock_height.png").pixels.dtype == np.uint16


def test_filled_pictures() -> None:
    hole = np.zeros((32, 36, 1), np.uint8)
    hole[10:20, 12:22] = 255
    write("hole.png", hole)
    texsyn.synth("rock.png", seed=3, mask="hole.png", **QUICK).save("out.png")
    again()
    write("moss.png", pixels(1))
    write("not.png", hole[::-1])
    texsyn.synth("rock.png", seed=3, mask="hole.png", source="moss.png", exclude="not.png", **QUICK).save("filled.png")
    again("filled.png")


def test_guides_and_targets() -> None:
    labels = np.zeros((32, 36, 1), np.uint8)
    labels[:, 18:] = 255
    write("in.png", labels)
    write("wanted.png", np.ascontiguousarray(labels.transpose(1, 0, 2)))
    texsyn.synth("rock.png", seed=3, guide_in="in.png", guide_out="wanted.png", **QUICK).save("out.png")
    again()
    write("face.png", pixels(7, (30, 40), 1))
    texsyn.synth("rock.png", seed=3, target="face.png", strength=0.7, **QUICK).save("face_out.png")
    again("face_out.png")


def test_a_tileable_picture() -> None:
    texsyn.tileable("rock.png", tile="x", band=6).save("out.png")
    again()


def fitted() -> Path:
    texsyn.fit("rock.png", seed=9, **FAST).save("m.texsyn")
    return Path("m.texsyn")


def test_a_sample_of_a_fitted_model(run: Run) -> None:
    assert run("sample", fitted(), "--size", "40x30", "--seed", 2, "-o", "out.png", "-q")[0] == 0
    assert (read_recipe("out.png") or {})["fit_seed"] == 9
    again()


def test_a_sample_of_a_published_model(run: Run) -> None:
    texsyn.fit("rock.png", "texto-2018", seed=9, max_samples_per_atom=2, training_side=24).save("m.texsyn")
    assert run("sample", "m.texsyn", "--size", "40x30", "--seed", 2, "-o", "out.png", "-q")[0] == 0
    again()


KEPT: dict[str, dict[str, Any]] = {
    "variants": {"image": "rock.png", "scale": 1.2, "rotate": 30, "symmetry": "mirror-x", "exclude": "not.png"},
    "mix": {"image": ["rock.png", "moss.png"], "mix": (0.3, 0.7)},
    "stack": {"maps": ["rock.png", "height.png"], "weights": {"height": 0.5}, "rotate": 20},
    "plain stack": {"maps": ["rock.png", "height.png"]},
}


@pytest.mark.parametrize("kept", KEPT)
def test_a_model_that_keeps_wishes(kept: str, run: Run) -> None:
    write("moss.png", pixels(1))
    write("height.png", pixels(2, channels=1, dtype=np.uint16))
    hole = np.zeros((32, 36, 1), np.uint8)
    hole[:8] = 255
    write("not.png", hole)
    texsyn.fit(**KEPT[kept], seed=9, **FAST).save("m.texsyn")
    stack = "stack" in kept
    target = "out_{name}" if stack else "out.png"
    assert run("sample", "m.texsyn", "--size", "40x30", "--seed", 2, "-o", target, "-q")[0] == 0
    for name in ("out_rock.png", "out_height.png") if stack else ("out.png",):
        again(name)
    which = ["--map", "height"] if stack else []
    assert run("render", "m.texsyn", "--region", "-5,3,24,20", *which, "--seed", 2, "-o", "w.tif", "-q")[0] == 0
    again("w.tif")
    recipe = repro("w.tif").recorded
    assert recipe["exemplar"]["sha256"] == load("rock.png").sha256
    assert set(recipe.get("wishes", {})) == set(KEPT[kept]) - {"image", "maps"}
    assert repro("w.tif").result.recipe["model_sha256"] == recipe["model_sha256"]


@pytest.mark.parametrize("tile", ["none", "x"])
def test_a_window_of_a_rendered_plane(tile: str) -> None:
    from texsyn.render import to_file

    to_file(texsyn.load(fitted()), "out.tif", (48, 64), region=Region(-7, 13, 30, 40), tile=tile, seed=4, block=16)
    again("out.tif")
    touched("out.tif", slice(3, 4), slice(4, 5))
    found = repro("out.tif")
    assert not found.identical
    assert "1 of 1200 pixels differ" in found.sentence
    assert "are the recorded ones" in found.sentence


def gan(arch: str, seed: int = 0, **more: Any) -> Path:
    """A file of a random model."""
    shape = {"channels": 1, "height": 16, "width": 24, "features": 4, "max_features": 8, "latent": 6}
    config = configure(arch, settings=shape | more)
    generator, _ = ARCHITECTURES[arch].build(config, torch.Generator().manual_seed(seed))
    about = Source("things", "0", tuple("abc"[: config.n_classes]), domains=config.channels)
    ImageModel(generator, config, about).save("gan.texsyn", overwrite=True)
    return Path("gan.texsyn")


SAMPLES = [
    ("dcgan", {}, ""),
    ("dcgan", {"n_classes": 3}, "--class b --truncation 0.8 -n 2"),
    ("cogan", {"channels": 2}, "-n 5 --grid"),
    ("stylegan2", {"n_classes": 3}, "--truncation 0,0.5,1 --cutoff 2 --centre all -n 2 --noise same"),
    ("stylegan2", {"n_classes": 3}, "--class 1 --truncation -0.5 -n 2"),
    ("stylegan2", {"periodic": True}, "--size 48x32"),
    ("stylegan3", {"layers": 4}, "--translate 0.25,0 --rotate 30 --size 32x32"),
    ("stylegan3", {"layers": 4}, "--rotate -20 --size 32x32 -n 3 --grid"),
]


@pytest.mark.parametrize(("arch", "settings", "words"), SAMPLES)
def test_samples_of_an_image_gan(arch: str, settings: dict[str, Any], words: str, run: Run) -> None:
    args = (gan(arch, **settings), "--seed", 4, "-o", "out_{seed}.png", "-q", *words.split())
    assert run("sample", *args)[0] == 0
    outs = sorted(str(path) for path in Path().glob("out_*.png"))
    assert len(outs) == (2 if "-n 2" in words and "," not in words else 1)
    for out in outs:
        again(out)
    os.rename("gan.texsyn", "other.texsyn")
    with pytest.raises(InputError, match=r"the model gan\.texsyn \(sha256 .* is not in the current folder"):
        repro(outs[0])
    again(outs[0], inputs=["other.texsyn"])
    again(outs[0], inputs=["."])  # whatever the models there are called
    gan(arch, seed=1, **settings)
    with pytest.raises(InputError, match=r"gan\.texsyn has that name and other bytes"):
        repro(outs[0])


def test_pictures_of_other_verbs_are_refused_by_name(run: Run) -> None:
    assert run("mix", gan("stylegan2"), 1, 2, "-o", "mix.png", "-q")[0] == 0
    words = ("--seed", 3, "--latent", "me.safetensors", "-o", "out.png", "-q")
    assert run("sample", "gan.texsyn", *words)[0] == 0
    again()
    assert run("sample", "gan.texsyn", "--seed", "me.safetensors", "-o", "kept.png", "-q")[0] == 0
    rewritten({"method": "harmonise"}, target="pasted.png")
    for name, said in (("mix", "`texsyn mix`"), ("kept", "`texsyn sample` of files"), ("pasted", "`texsyn harmonise`")):
        code, out, err = run("repro", f"{name}.png")
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert f"{name}.png: was made by {said}" in err
        assert err.endswith("run the verb itself, with the settings that `texsyn info` shows of the picture\n")


HOSTILE_SAMPLES: list[dict[str, Any]] = [
    {"truncation": "1"}, {"truncation": []}, {"truncation": [0.1, 0.2]}, {"truncation": 1e300}, {"cutoff": 99},
    {"cutoff": "2"}, {"centre": "left"}, {"centre": 3}, {"noise": "loud"}, {"class": "b"}, {"class": 1},
    {"pictures": 10**9}, {"pictures": 2}, {"pictures": 0}, {"pictures": "3"}, {"translate": [1]}, {"translate": [0, 0]},
    {"rotate": None}, {"rotate": [1, 2]}, {"size": "64x64"}, {"size": "17x3"}, {"size": 5}, {"verb": ["\x1b[2J"]},
    {"latent": "../x"}, {"directions": 1},
]  # fmt: skip


def test_hostile_recipes_of_samples_end_in_one_sentence(run: Run) -> None:
    assert run("sample", gan("stylegan2"), "--seed", 3, "-o", "out.png", "-q")[0] == 0
    model = (read_recipe("out.png") or {})["model"]
    changes = [{"settings": one} for one in HOSTILE_SAMPLES]
    changes += [{"model": None}, {"model": "gan.texsyn"}, {"model": model | {"sha256": "0" * 64}}, {"method": "dcgan"}]
    changes += [{"size": "8x8"}, {"size": "48x32"}, {"seed": -1}]
    for change in changes:
        code, said, err = run("repro", rewritten(change))
        assert (code, said) == (3, ""), (change, code, err)
        assert err.count("\n") == 1, change
        assert err.startswith("texsyn: hostile.png: ")
        assert err.strip().isprintable()


def test_a_picture_of_a_batch(run: Run) -> None:
    Path("b.jsonl").write_text(json.dumps({"image": "rock.png", "size": "30x30", "seed": 3, "set": QUICK}))
    assert run("batch", "b.jsonl", "-o", "out.png", "-q")[0] == 0
    again()


def test_a_picture_cut_out_by_a_map(run: Run) -> None:
    write("moss.png", pixels(1))
    code, _, err = run(
        "synth", "rock.png", "--size", "30x30", "--set", "passes=2", "--save-coords", "map.npy", "-o", "a.png", "-q"
    )
    assert (code, err) == (0, "")
    assert run("apply", "map.npy", "moss.png", "-o", "out.png", "-q")[0] == 0
    again()
    os.rename("map.npy", "other.npy")
    with pytest.raises(InputError, match=r"the map of coordinates map\.npy \(sha256 .{12}\) is not in"):
        repro("out.png")
    again(inputs=["other.npy"])


def test_a_picture_that_comes_with_scikit_image() -> None:
    pytest.importorskip("skimage")
    texsyn.synth("skimage:brick:32", (30, 30), seed=1, **QUICK).save("out.png")
    again()


def test_bytes_and_progress(out: str) -> None:
    seen: list[float] = []
    assert repro(Path(out).read_bytes(), on_progress=lambda fraction, _: seen.append(fraction)).identical
    assert seen == sorted(seen)
    assert seen[-1] == 1


# ---- inputs are found by their pixels


def test_inputs_beside_the_picture_in_files_and_in_folders(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir("made")
    os.mkdir("sources")
    for name in ("rock.png", "out.png"):
        shutil.move(name, "made")
    again("made/out.png")  # beside it
    shutil.move("made/rock.png", "sources/what.tif.png")
    write("sources/a.png", pixels(1))
    Path("sources/b.png").write_bytes(b"no picture")
    Path("sources/rock.png").mkdir()
    with pytest.raises(InputError) as error:
        repro("made/out.png")
    assert " is not in made and the current folder; give it as one of the inputs" in str(error.value)
    again("made/out.png", inputs=["sources"])
    again("made/out.png", inputs=["sources/a.png", Path("sources/what.tif.png")])
    monkeypatch.chdir("sources")
    shutil.move("what.tif.png", "../rock.png")
    monkeypatch.chdir("..")
    again("made/out.png")  # in the current folder


def test_a_changed_input_is_no_input(out: str) -> None:
    sha256 = load("rock.png").sha256
    touched("rock.png", slice(1), slice(1))
    with pytest.raises(InputError) as error:
        repro(out, ["rock.png"])
    assert str(error.value) == (
        f"out.png: the exemplar rock.png (sha256 {sha256[:12]}) is not in the input given and the current folder; "
        "rock.png has that name and other pixels"
    )


def test_the_first_missing_input_is_named() -> None:
    write("moss.png", pixels(1))
    write("lava.png", pixels(2))
    texsyn.synth(["rock.png", "moss.png", "lava.png"], (32, 32), seed=1, mix=(1, 1, 1), **QUICK).save("out.png")
    os.unlink("moss.png")
    os.unlink("lava.png")
    with pytest.raises(InputError, match=r"exemplar moss\.png"):
        repro("out.png")


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".", "", "/", "-", "a\0b", "..\\rock.txt", "skimage:../x"])
def test_only_the_last_part_of_a_recorded_name_is_used(
    out: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[str] = []
    candidates = Search._candidates

    def watched(*args: Any) -> Any:
        for path in candidates(*args):
            opened.append(path)
            yield path

    monkeypatch.setattr(Search, "_candidates", watched)
    Path("passwd").write_text("secret")
    Path("-").write_text("secret")
    with pytest.raises(InputError) as error:
        repro(rewritten({"exemplar": {"name": name, "sha256": "0" * 64}}))
    assert "\n" not in str(error.value)
    assert {os.path.dirname(os.path.realpath(path)) for path in opened} <= {os.path.realpath(tmp_path)}
    again("out.png")
    recorded = (read_recipe(out) or {})["exemplar"]["sha256"]
    path = rewritten({"exemplar": {"name": "../../elsewhere/rock.png", "sha256": recorded}})
    assert repro(path).identical


# ---- what differs


def test_an_edited_file(out: str) -> None:
    touched(out, slice(2), slice(3))
    found = repro(out)
    assert not found.identical
    assert found.sentence == (
        "out.png: the picture made again is the recorded one, but the file holds other pixels: 6 of 1120 pixels "
        "differ, so it was changed after it was made"
    )
    save(Picture(load(out).pixels[:9], "RGB"), out, recipe=read_recipe(out), overwrite=True)
    assert "40x28 RGB uint8 was made and 40x9 RGB uint8 is held" in repro(out).sentence


def test_a_recipe_from_before_regular_exemplars_were_known() -> None:
    """It says nothing of them, and its picture was made without large windows."""
    tiles = np.full((64, 64, 3), 200, np.uint8)
    tiles[::12], tiles[:, ::12] = 40, 60
    write("tiles.png", tiles)
    plain, large = (texsyn.synth("tiles.png", (70, 66), seed=5, passes=2, regular=r) for r in ("never", "auto"))
    assert not np.array_equal(plain.image.pixels, large.image.pixels)
    plain.save("plain.png")
    settings = {key: value for key, value in plain.recipe["settings"].items() if key != "regular"}
    assert repro(rewritten({"settings": settings}, "plain.png", "old.png")).identical


def test_another_hash_and_another_environment(out: str) -> None:
    changed = rewritten({"pixels_sha256": "0" * 64})
    found = repro(changed)
    assert not found.identical
    assert "is not the recorded one (sha256 " in found.sentence
    assert "its recipe was changed; texsyn, torch and device are the recorded ones" in found.sentence
    touched(out, slice(1, 2), slice(2, 3))
    elsewhere = {"texsyn": "0.0.1", "torch": "2.0\x1b[31m", "device": "cuda:99"}
    found = repro(rewritten({"pixels_sha256": load(out).sha256} | elsewhere))
    assert not found.identical
    assert found.differences[1] == "the file holds the recorded one; 1 of 1120 pixels differ"
    assert found.differences[2] == f"texsyn 0.0.1 then and {texsyn.__version__} now"
    assert found.differences[3].startswith("torch 2.0\\x1b[31m then and ")
    assert found.differences[4].startswith("device cuda:99 then and ")


def test_another_environment_to_no_effect(out: str) -> None:
    found = repro(rewritten({"texsyn": "0.0.1"}))
    assert found.identical
    assert found.sentence == (
        f"hostile.png: made again, pixel for pixel (texsyn 0.0.1 then and {texsyn.__version__} now)"
    )


def test_a_jpeg_cannot_hold_it_and_may_still_be_untouched() -> None:
    texsyn.synth("rock.png", (28, 40), seed=5, **QUICK).save("out.jpg")
    found = repro("out.jpg")
    assert not found.identical
    assert "the picture made again is the recorded one, but the file holds other pixels: JPEG is lossy, and they are " \
        "exactly what it makes of that picture" in found.sentence  # fmt: skip
    touched("out.jpg", slice(8))
    assert "another encoder, or edited" in repro("out.jpg").sentence


# ---- files without a recipe, and recipes that are hostile


def test_no_recipe(out: str) -> None:
    save(load(out), "bare.png")
    Path("text.txt").write_text("no picture")
    for name, words in (("bare.png", "holds no recipe"), ("text.txt", "holds no recipe"), ("gone.png", "cannot be")):
        with pytest.raises(InputError, match=words):
            repro(name)
    with pytest.raises(InputError, match="is a folder"):
        repro(".")
    with pytest.raises(InputError, match=r"inputs: there is no gone\.png"):
        repro(out, ["gone.png"])


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": None},
        {"schema": 2},
        {"schema": True},
        {"schema": "1"},
        {"method": None},
        {"method": ["texto"]},
        {"method": "os.system"},
        {"method": "tileable"},
        {"method": "apply"},
        {"method": "gaussian"},
        {"settings": "passes=2"},
        {"settings": {"passes": "2"}},
        {"settings": {"passes": 10**30}},
        {"settings": {"passes": -1}},
        {"settings": {"unknown\x1b[2J": 1}},
        {"settings": {"endless": True, "training_factor": 2**30}},
        {"seed": None},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 1.5},
        {"seed": True},
        {"fit_seed": "0"},
        {"size": None},
        {"size": [28, 40]},
        {"size": "2x"},
        {"size": "0x5"},
        {"size": "99999999x9"},
        {"size": "900000x900000"},
        {"tile": "z"},
        {"tile": None},
        {"device": 3},
        {"map": "rock.png"},
        {"maps": []},
        {"maps": [{"name": "rock.png"}]},
        {"maps": "rock.png"},
        {"exemplar": None},
        {"exemplar": "rock.png"},
        {"exemplar": {"name": "rock.png", "sha256": "../x"}},
        {"exemplar": {"name": 3, "sha256": "0" * 64}},
        {"exemplars": [{"name": "rock.png", "sha256": "0" * 64}] * 100},
        {"pixels_sha256": None},
        {"pixels_sha256": "abc"},
        {"wishes": [1]},
        {"wishes": {"unknown": 1}},
        {"wishes": {"mask": "rock.png"}},
        {"wishes": {"mask": {"name": "gone.png", "sha256": "0" * 64}}},
        {"wishes": {"symmetry": "spiral"}},
        {"wishes": {"symmetry": ["all"]}},
        {"wishes": {"scale": 1e9}},
        {"wishes": {"scale": "2"}},
        {"wishes": {"rotate": True}},
        {"wishes": {"morph": 0.5}},
        {"wishes": {"mix": [1, 2]}},
        {"wishes": {"mix": 3}},
        {"wishes": {"mix": ["a"]}},
        {"wishes": {"weights": {"rock": "1"}}},
        {"wishes": {"weights": {"lava": 1}}},
        {"wishes": {"copy_limit": 2.5}},
        {"wishes": {"copy_limit": 0}},
        {"wishes": {"depth": "64"}},
        {"region": "0,0,40,28"},
        {"region": 3},
        {"region": "0,0,40,28", "pixels_sha256": 5},
        {"region": "0,0,40,28", "method": "tileable", "pixels_sha256": None},
        {"region": "0,0,40,28", "method": "random-phase", "settings": {}},
        {"region": "0,0,9999999,9999999"},
        {"region": f"{2**41},0,40,28"},
        {"region": "0,0,40,28", "tile": "x"},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_hostile_recipes_end_in_one_sentence(out: str, changes: dict[str, Any], run: Run) -> None:
    if changes.get("method") == "gaussian":
        changes = changes | {"settings": {"passes": 2}}
    code, said, err = run("repro", rewritten(changes))
    assert (code, said) == (3, ""), (code, err)
    assert err.count("\n") == 1
    assert err.startswith("texsyn: hostile.png: ")
    assert err.strip().isprintable()


def test_a_recipe_that_is_no_json(out: str) -> None:
    data = Path(out).read_bytes()
    broken = data.replace(b'{"schema"', b'("schema"')
    Path(out).write_bytes(broken)
    with pytest.raises(InputError):
        repro(out)


def test_every_wish_can_be_read_back() -> None:
    assert {f.name for f in fields(Wishes)} == {*PICTURES, *NUMBERS, *TEXTS, *WHOLE, *OF_NUMBERS}


def test_a_picture_that_does_not_fit_is_refused_before_the_work(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("texsyn.repro.ordering.free_memory", lambda: 2**20)
    with pytest.raises(MemoryError, match="40x28 pixels need about"):
        order(out).run()
    with pytest.raises(InputError, match="its recipe asks for 80x28 pixels"):
        repro(rewritten({"size": "80x28"}))


# ---- the command line


def test_the_verb(out: str, run: Run) -> None:
    assert run("repro", out) == (0, "out.png: made again, pixel for pixel\n", "")
    assert run("repro", out, "-q") == (0, "", "")
    code, said, err = run("repro", out, "--json", "-o", "new.png")
    assert (code, err) == (0, "")
    found = json.loads(said)
    assert found["identical"] is True
    assert found["recorded_sha256"] == found["made_sha256"] == found["file_sha256"] == load("new.png").sha256
    assert found["output"] == "new.png"
    again("new.png")


def test_the_verb_finds_a_difference(out: str, run: Run) -> None:
    touched(out, slice(1))
    code, said, err = run("repro", out, "-o", "new.png", "-q")
    assert (code, said) == (1, "")
    assert err.startswith("texsyn: out.png: the picture made again is the recorded one, but the file")
    assert err.count("\n") == 1
    again("new.png")
    code, said, _ = run("repro", out, "--json")
    assert code == 1
    assert json.loads(said)["identical"] is False


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["out.png", "-o", "out.png"], 2, "--overwrite"),
        (["out.png", "-o", "new.xyz"], 2, "-o: new.xyz"),
        (["out.png", "-o", "no/new.png"], 4, "folder"),
        (["out.png", "--json", "-o", "-"], 2, "stdout"),
        (["-"], 2, "reads files"),
        (["out.png", "--input", "-"], 2, "reads files"),
        (["out.png", "--input", "gone"], 3, "--input: there is no gone"),
        (["rock.png"], 3, "no recipe"),
        (["gone.png"], 3, "gone.png: cannot be read"),
        (["."], 3, "folder"),
        ([], 2, "OUT"),
    ],
)
def test_codes(out: str, run: Run, args: list[str], code: int, words: str) -> None:
    found, said, err = run("repro", *args)
    assert (found, said) == (code, ""), err
    assert words in err
    assert err.count("\n") == 1


def test_missing_inputs_in_the_words_of_the_command_line(out: str, run: Run) -> None:
    os.rename("rock.png", "other.png")
    code, _, err = run("repro", out)
    assert (code, "--input takes it under any name" in err) == (3, True)
    write("moss.png", pixels(1))
    code, _, err = run("repro", out, "--input", "moss.png")
    assert (code, "is not in the --input given and the current folder\n" in err) == (3, True)
    assert run("repro", out, "--input", "moss.png", "--input", "other.png")[0] == 0
