"""The wishes on the command line: files in, files out, and one sentence naming the option where something is wrong."""

# ruff: noqa: F401, F811 (run is a fixture)
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from test_cli import QUICK, Done, Run, here, refused, run
from test_wishes import stones, tuples, two_textures

from texsyn.coordinate_files import load_coordinates
from texsyn.images import Picture, load, read_recipe, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder beside the current one, with a stack, a mask, two textures and a label map."""
    place = tmp_path.parent / (tmp_path.name + "_in")
    place.mkdir()
    stack = stones(64)
    for name, ending in (("albedo", ".png"), ("normal", ".tif"), ("rough", ".png"), ("height", ".tif")):
        save(stack[name], place / f"rock_{name}{ending}")
    pixels, label = two_textures()
    save(Picture(pixels, "L"), place / "two.png")
    save(Picture(label[..., None] * np.uint8(255), "L"), place / "label.png")
    save(Picture(load("skimage:gravel:64").pixels, "L"), place / "gravel.png")
    save(Picture(load("skimage:brick:64").pixels, "L"), place / "brick.png")
    mask = np.zeros((64, 64, 1), np.uint8)
    mask[20:40, 10:50] = 255
    save(Picture(mask, "L"), place / "mask.png")
    return place


def made(done: Done) -> str:
    assert done.code == 0, done.err
    return done.err


def test_a_stack_is_written_map_by_map_in_its_own_depth(run: Run, folder: Path) -> None:
    said = made(run("synth", "--maps", folder / "rock_*", "--size", "80x70", "--seed", 3, "-o", "out_{name}", *QUICK))
    names = ["out_rock_albedo.png", "out_rock_height.tif", "out_rock_normal.tif", "out_rock_rough.png"]
    assert here() == names
    assert [line.partition(":")[0] for line in said.splitlines()] == names
    outs = {n: load(n) for n in names}
    ins = {n: load(folder / n.removeprefix("out_")) for n in names}
    assert [p.pixels.dtype for p in outs.values()] == [np.uint8, np.float32, np.uint16, np.uint8]
    assert np.isin(tuples(outs).reshape(-1), tuples(ins).reshape(-1)).all()
    for name in names:
        recipe = read_recipe(name)
        assert recipe["map"] == name.removeprefix("out_")
        assert recipe["pixels_sha256"] == outs[name].sha256
        assert [one["name"] for one in recipe["maps"]] == [n.removeprefix("out_") for n in names]


def test_several_pictures_of_a_stack_and_default_names(run: Run, folder: Path) -> None:
    maps = ("--maps", folder / "rock_albedo.png", "--maps", folder / "rock_rough.png")
    made(run("synth", *maps, "--size", "40x30", "--seed", 5, "-n", 2, *QUICK))
    assert here() == [f"rock_{m}_40x30_seed{s}.png" for m in ("albedo", "rough") for s in (5, 6)]
    made(run("synth", *maps, "--size", "40x30", "--seed", 5, "-n", 2, "-o", "b_{name}", "--json", *QUICK))
    assert {"b_rock_albedo_1.png", "b_rock_rough_2.png"} <= set(here())
    assert load("b_rock_albedo_1.png").sha256 == load("rock_albedo_40x30_seed5.png").sha256


def test_coordinates_are_saved_and_applied(run: Run, folder: Path) -> None:
    made(
        run("synth", folder / "rock_albedo.png", "--size", "50x40", "--seed", 1, "-o", "a.png",
            "--save-coords", "map.tif", *QUICK)
    )  # fmt: skip
    source, sizes = load_coordinates("map.tif")
    assert source.shape == (40, 50, 2)
    assert [(s.height, s.width) for s in sizes] == [(64, 64)]
    made(run("apply", "map.tif", folder / "rock_albedo.png", "-o", "again.png"))
    assert load("again.png").sha256 == load("a.png").sha256
    made(run("apply", "map.tif", folder / "rock_normal.tif", "-o", "n.tif"))
    assert np.array_equal(load("n.tif").pixels, load(folder / "rock_normal.tif").pixels[source[..., 0], source[..., 1]])
    made(
        run("synth", folder / "gravel.png", folder / "brick.png", "--mix", "1,1", "--symmetry", "mirrors", "--size",
            "50x40", "-o", "m.png", "--save-coords", "m.npy", *QUICK)
    )  # fmt: skip
    made(run("apply", "m.npy", folder / "gravel.png", folder / "brick.png", "-o", "m2.png"))
    assert load("m2.png").sha256 == load("m.png").sha256


def test_filling_guides_mixes_morphs_and_targets(run: Run, folder: Path) -> None:
    made(run("synth", folder / "brick.png", "--mask", folder / "mask.png", "-o", "f.png", *QUICK))
    white = load(folder / "mask.png").pixels > 0
    assert np.array_equal(load("f.png").pixels[~white], load(folder / "brick.png").pixels[~white])
    assert read_recipe("f.png")["wishes"]["mask"]["name"] == "mask.png"
    made(
        run("synth", folder / "brick.png", "--mask", folder / "mask.png", "--source", folder / "gravel.png", "-o",
            "s.png", "--tile", "x", *QUICK)
    )  # fmt: skip
    made(
        run("synth", folder / "two.png", "--guide-in", folder / "label.png", "--guide-out", folder / "mask.png", "-o",
            "g.png", *QUICK)
    )  # fmt: skip
    assert str(load("g.png").size) == "64x64"
    done = run("synth", folder / "gravel.png", folder / "brick.png", "--mix", "0.7,0.3", "--size", "160x128",
               "--seed", 1, "-o", "x.png", "--json", *QUICK)  # fmt: skip
    assert json.loads(done.text)["shares"] == pytest.approx([0.7, 0.3], abs=0.02)
    made(
        run(
            "synth",
            folder / "gravel.png",
            folder / "brick.png",
            "--morph",
            0.5,
            "--size",
            "64x64",
            "-o",
            "y.png",
            *QUICK,
        )
    )
    made(run("synth", folder / "gravel.png", "--target", folder / "brick.png", "--strength", 1, "-o", "z.png", *QUICK))
    assert str(load("z.png").size) == "64x64"


def test_the_other_wishes(run: Run, folder: Path) -> None:
    rock = folder / "gravel.png"
    made(run("synth", rock, "--size", "70x60", "--scale", 0.7, "--rotate", 30, "-o", "a.png", *QUICK))
    made(run("synth", rock, "--size", "70x60", "--copy-limit", 12, "--histogram", "keep", "-o", "b.png", *QUICK))
    assert read_recipe("b.png")["largest_copy"] <= 12
    made(run("synth", rock, "--size", "70x60", "--depth", 16, "-o", "c.tif", *QUICK))
    assert load("c.tif").pixels.dtype == np.uint16
    made(run("synth", rock, "--size", "70x60", "--depth", "f16", "-o", "d.tif", *QUICK))
    with tifffile.TiffFile("d.tif") as tiff:
        assert tiff.pages[0].dtype == np.float16
    made(run("synth", rock, "--exclude", folder / "mask.png", "--size", "70x60", "-o", "e.png", *QUICK))
    made(run("synth", folder / "two.png", "--guide-in", folder / "label.png", "--guide-out", folder / "mask.png",
             "--dry-run", *QUICK))  # fmt: skip
    assert "g.png" not in here()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("synth", 2, ("Missing argument 'IMAGE'", "--maps")),
        ("synth gravel.png --maps rock_albedo.png", 2, ("--maps takes the place of IMAGE",)),
        ("synth --maps nothing_*.png", 3, ("--maps nothing_*.png", "no file")),
        ("synth --maps rock_* -o one.png", 2, ("4 maps need {name}",)),
        ("synth --maps rock_albedo.png --maps gravel2.png", 3, ("gravel2.png",)),
        (
            "synth --maps rock_albedo.png --maps two.png -o o_{name}",
            3,
            ("two.png has 128x128", "rock_albedo.png has 64x64"),
        ),
        ("synth --maps rock_* --weight bump=1 -o o_{name}", 2, ("--weight", "'bump' names 0 of the maps")),
        ("synth --maps rock_* --weight bump -o o_{name}", 2, ("--weight 'bump'", "normal=0.5")),
        ("synth --maps rock_* --method gaussian -o o_{name}", 2, ("gaussian", "texto")),
        ("synth --maps rock_* -o -", 2, ("-o -",)),
        ("synth gravel.png brick.png", 2, ("--mix: is missing", "gravel.png, brick.png")),
        ("synth gravel.png brick.png --mix 1", 2, ("--mix=1", "1 parts for 2 images")),
        ("synth gravel.png brick.png --mix a,b", 2, ("--mix 'a,b'", "0.7,0.3")),
        ("synth gravel.png rock_albedo.png --mix 1,1", 3, ("rock_albedo.png is RGB", "one kind")),
        ("synth gravel.png --mask two.png", 3, ("mask two.png has 128x128", "gravel.png has 64x64")),
        ("synth gravel.png --mask missing.png", 3, ("missing.png",)),
        ("synth gravel.png --source brick.png", 2, ("--source needs mask",)),
        ("synth gravel.png --mask mask.png --size 100x100", 2, ("--size", "64x64")),
        ("synth gravel.png --mask mask.png --endless", 2, ("leave endless out",)),
        ("synth two.png --guide-in label.png", 2, ("--guide-in needs --guide-out",)),
        ("synth two.png --guide-in label.png --guide-out brick.png --guide-kind labels", 3, ("more than 64 colours",)),
        ("synth gravel.png --scale 100", 2, ("--scale=100", "1/16 to 16")),
        ("synth gravel.png --rotate nan", 2, ("--rotate=nan",)),
        ("synth gravel.png --copy-limit 5", 2, ("--copy-limit=5 should be at least 11",)),
        ("synth gravel.png --scale 0.5 --save-coords c.npy", 2, ("--save-coords", "resampled")),
        ("synth gravel.png --save-coords c.txt", 2, ("--save-coords", ".npy")),
        ("synth gravel.png --method gaussian --copy-limit 20", 2, ("--copy-limit", "blends")),
        ("synth gravel.png --method gaussian --save-coords c.npy", 2, ("--save-coords", "gaussian")),
        ("synth gravel.png --depth f32 -o a.png", 2, ("a.png: png does not hold float32",)),
        ("synth gravel.png --exclude white.png", 3, ("leave no 5x5 pixels",)),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(
    run: Run,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    code: int,
    words: tuple[str, ...],
) -> None:
    save(Picture(np.full((64, 64, 1), 255, np.uint8), "L"), folder / "white.png")
    monkeypatch.chdir(folder)
    before = here()
    quick = () if "gaussian" in arguments else QUICK
    refused(run(*arguments.split(), *quick), code, *words)
    assert here() == before
