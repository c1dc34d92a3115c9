"""Models of stacks, mixtures and variants: files that keep everything, maps that fit each other, one at a time."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load as tensors_of
from safetensors.torch import save as to_bytes

import texsyn
from texsyn.cli import main
from texsyn.images import InputError, OutputExists, Picture, Region, Size, load, save
from texsyn.images.tiled import look
from texsyn.material import Material, Sheet
from texsyn.material_files import packed, unpacked
from texsyn.models.texto import Texto, TextoConfig
from texsyn.render import plan, to_file
from texsyn.synthesis import draw
from texsyn.variants import Element

#: a coarsest side of 8 and few atoms, so that there are transported levels and corrected ones
CHEAP: dict[str, Any] = {
    "endless_passes": 1, "samples_per_atom": 2, "training_factor": 2, "coarsest_side": 8, "max_atoms": 250,
}  # fmt: skip
SETTINGS = [part for key, value in CHEAP.items() for part in ("--set", f"{key}={value}")]
REGIONS = [Region(0, 0, 40, 33), Region(-70, -31, 45, 52), Region(1000, -5003, 23, 64)]


def field(height: int, width: int, n_channels: int, seed: int) -> np.ndarray:
    """Smooth random values in [0, 1]."""
    values = np.random.default_rng(seed).standard_normal((height, width, n_channels))
    for axis in (0, 1):
        values = values + np.roll(values, 1, axis) + np.roll(values, 2, axis)
    return (values - values.min()) / np.ptp(values)


def stack(height: int = 36, width: int = 40, seed: int = 0) -> dict[str, Picture]:
    """8-bit colours with a palette's worth of values, 16-bit normals, half floats above 1."""
    height_map = (field(height, width, 1, seed + 2) * 3 - 1).astype(np.float16).astype(np.float32)
    return {
        "albedo": load((field(height, width, 3, seed) * 255).astype(np.uint8)),
        "normal": load((field(height, width, 3, seed + 1) * 65535).astype(np.uint16)),
        "height": replace(load(height_map), half=True),
    }


def picture(seed: int, height: int = 32, width: int = 36) -> Picture:
    return replace(load((field(height, width, 3, seed) * 255).astype(np.uint8)), name=f"picture{seed}.png")


@pytest.fixture(scope="module")
def of_stack() -> texsyn.TextureModel:
    return texsyn.fit(maps=stack(), seed=3, device="cpu", **CHEAP)


@pytest.fixture(scope="module")
def stack_file(tmp_path_factory: pytest.TempPathFactory, of_stack: texsyn.TextureModel) -> Path:
    path = tmp_path_factory.mktemp("stack") / "stack.texsyn"
    of_stack.save(path)
    return path


@pytest.fixture(scope="module")
def of_mix() -> texsyn.TextureModel:
    """Two exemplars, each with its mirrored copies; of the first a corner must not be copied."""
    corner = np.zeros((32, 36, 1), np.uint8)
    corner[:12, :14] = 255
    wishes = {"mix": (0.7, 0.3), "symmetry": "mirrors", "exclude": load(corner)}
    return texsyn.fit([picture(1), picture(2)], seed=4, device="cpu", **wishes, **CHEAP)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planes keep blocks of 256; small windows of them are quicker with smaller ones, and the same."""
    monkeypatch.setattr("texsyn.models.texto.BLOCK", Size(48, 48))
    monkeypatch.setattr("texsyn.models.texto.COARSE_BLOCK", Size(24, 24))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """texsyn in this process, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*args: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capfd.readouterr()

    return call


def refused(done: tuple[int, str, str], code: int, *words: str) -> None:
    assert (done[0], done[1]) == (code, ""), done
    assert len(done[2].splitlines()) == 1, done
    for word in words:
        assert word in done[2], done


def same(a: Picture, b: Picture) -> bool:
    arrays = all(
        (one is None) == (other is None) and (one is None or (np.array_equal(one, other) and one.dtype == other.dtype))
        for one, other in ((a.pixels, b.pixels), (a.palette, b.palette), (a.indices, b.indices))
    )
    return arrays and (a.mode, a.name, a.icc_profile, a.half) == (b.mode, b.name, b.icc_profile, b.half)


def require_same(a: Material, b: Material) -> None:
    assert (a.weights, a.shares, len(a.sheets)) == (b.weights, b.shares, len(b.sheets))
    for one, other in zip(a.sheets, b.sheets, strict=True):
        assert all(same(x, y) for x, y in zip(one.maps, other.maps, strict=True))
        assert (one.exemplar, one.element, one.resampled) == (other.exemplar, other.element, other.resampled)
        for name in ("known", "usable", "guide"):
            x, y = getattr(one, name), getattr(other, name)
            assert (x is None) == (y is None), name
            assert x is None or (np.array_equal(x, y) and x.dtype == y.dtype), name


def again(model: texsyn.TextureModel, folder: Path) -> texsyn.TextureModel:
    model.save(folder / "again.texsyn", overwrite=True)
    return texsyn.load(folder / "again.texsyn")


# ---- files


def test_everything_of_a_material_is_kept() -> None:
    rng = np.random.default_rng(0)
    palette = np.array([[0, 0, 0], [9, 8, 7], [255, 0, 3]], np.uint8)
    indices = rng.integers(0, 3, (9, 13), np.uint8)
    coloured = Picture(palette[indices], "RGB", b"profile" * 9, palette, indices, "colours.png")
    half = Picture(rng.random((9, 13, 1), np.float32), "L", name="height", half=True)
    masks = [rng.random((9, 13)) > 0.5 for _ in range(2)]
    guide = rng.integers(0, 255, (9, 13, 2), np.uint8)
    sheets = (
        Sheet((coloured, half), *masks, guide),
        Sheet((coloured, half), None, masks[1], guide, 1, Element(3, True), True),
    )
    material = Material(sheets, (1.0, 0.25), (0.125, 0.875))
    about, arrays = packed(material)
    require_same(unpacked(json.loads(json.dumps(about)), arrays), material)
    assert arrays == {}


def test_a_plain_picture_is_kept_as_it_was_with_palette_and_half(tmp_path: Path) -> None:
    palette = np.array([[0, 0, 0], [9, 8, 7], [255, 0, 3]], np.uint8)
    indices = np.random.default_rng(0).integers(0, 3, (20, 24), np.uint8)
    half = Picture(field(20, 24, 1, 0).astype(np.float16).astype(np.float32), "L", half=True)
    for given in (Picture(palette[indices], "RGB", None, palette, indices), half, picture(5)):
        model = texsyn.fit(given, seed=0, device="cpu", **CHEAP)
        assert same(again(model, tmp_path).exemplar, given)
        header = json.loads(model.to_bytes()[8:].partition(b"\0")[0].rpartition(b"}")[0] + b"}")
        assert json.loads(header["__metadata__"]["texsyn"])["format"] == 1
    made = draw(again(texsyn.fit(half, seed=0, device="cpu", **CHEAP), tmp_path), Size(16, 16), seed=1)
    assert made.image.half, "16-bit floats in, 16-bit floats out"


@pytest.mark.parametrize("which", ["of_mix", "of_stack"])
def test_a_saved_model_makes_the_same_pictures(request: pytest.FixtureRequest, tmp_path: Path, which: str) -> None:
    model = request.getfixturevalue(which)
    found = again(model, tmp_path)
    require_same(found.material, model.material)
    assert found.to_bytes() == model.to_bytes()
    assert (tmp_path / "again.texsyn").read_bytes() == model.to_bytes()
    one, other = (draw(m, Size(50, 61), seed=8) for m in (model, found))
    assert np.array_equal(one.source, other.source)
    assert one.maps.keys() == other.maps.keys()
    for a, b in zip((one.image, *one.maps.values()), (other.image, *other.maps.values()), strict=True):
        assert same(a, b)
    without = {"seconds"}
    assert {k: v for k, v in one.recipe.items() if k not in without} == {
        k: v for k, v in other.recipe.items() if k not in without
    }


def test_a_whole_picture_model_keeps_its_material_too(tmp_path: Path) -> None:
    model = texsyn.fit(maps=stack(), weights={"height": 0}, symmetry="mirror-x", endless=False, passes=2, device="cpu")
    assert np.array_equal(
        again(model, tmp_path).synthesise(Size(40, 40), seed=2).others[1],
        model.synthesise(Size(40, 40), seed=2).others[1],
    )
    assert again(model, tmp_path).material.weights == (1.0, 1.0, 0.0)


def test_pictures_of_a_mixed_model_point_into_its_exemplars(of_mix: texsyn.TextureModel) -> None:
    made = draw(of_mix, Size(64, 64), seed=1)
    assert made.source is not None
    given = [picture(1).pixels, picture(2).pixels]
    for number, pixels in enumerate(given):
        here = made.source[..., 2] == number
        assert np.array_equal(made.pixels[here], pixels[made.source[here, 0], made.source[here, 1]])
    assert {*np.unique(made.source[..., 2])} == {0, 1}
    first = made.source[..., 2] == 0
    assert not ((made.source[..., 0] < 12) & (made.source[..., 1] < 14) & first).any(), "the excluded corner"
    assert len(made.recipe["shares"]) == len(made.recipe["exemplars"]) == 2


def test_two_processes_write_the_same_files() -> None:
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_material_models as t"
    env = os.environ | {"OMP_NUM_THREADS": "3"}
    command = [sys.executable, "-c", f"{script}; print(*t.hashes())"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(hashes())


def hashes() -> tuple[str, str]:
    """Of a model's file, and of a picture of it."""
    given = [picture(1), picture(2)]
    model = texsyn.fit(given, mix=(0.5, 0.5), symmetry="mirror-x", seed=4, device="cpu", **CHEAP)
    pixels = model.synthesise(Size(40, 50), seed=2).pixels
    return hashlib.sha256(model.to_bytes()).hexdigest(), hashlib.sha256(pixels.tobytes()).hexdigest()


def hostile(good: bytes) -> dict[str, bytes]:
    """Files of sheets in which something is wrong."""
    length = struct.unpack("<Q", good[:8])[0]
    ours = json.loads(json.loads(good[8 : 8 + length])["__metadata__"]["texsyn"])
    tensors = tensors_of(good)

    def changed(**more: Any) -> bytes:
        return to_bytes(tensors, metadata={"texsyn": json.dumps(ours | more)})

    def with_sheet(**more: Any) -> bytes:
        return changed(sheets=[ours["sheets"][0] | more, *ours["sheets"][1:]])

    def without(*names: str) -> bytes:
        return to_bytes({k: t for k, t in tensors.items() if k not in names}, metadata={"texsyn": json.dumps(ours)})

    def with_tensors(**more: Any) -> bytes:
        return to_bytes(tensors | more, metadata={"texsyn": json.dumps(ours)})

    key, mask = "sheets.0.maps.0.pixels", "sheets.0.usable"
    bare = {k: v for k, v in ours.items() if k != "sheets"}
    one = ours["sheets"][0]["maps"][0]
    return {
        "format_1": changed(format=1),
        "format_3": changed(format=3),
        "no_sheets": to_bytes(tensors, metadata={"texsyn": json.dumps(bare)}),
        "gaussian": changed(method="gaussian", config={}),
        "format_of_lists": changed(format=[[[]]]),
        "empty": changed(sheets=[]),
        "sheets_are_a_number": changed(sheets=3),
        "sheets_are_text": changed(sheets=["a", "b"]),
        "many_sheets": changed(sheets=ours["sheets"] * 100),
        "no_maps": with_sheet(maps=[]),
        "maps_are_text": with_sheet(maps="pixels"),
        "more_maps": with_sheet(maps=[one, one]),
        "wrong_mode": with_sheet(maps=[one | {"mode": "RGBA"}]),
        "wrong_half": with_sheet(maps=[one | {"half": "yes"}]),
        "half_of_bytes": with_sheet(maps=[one | {"half": True}]),
        "wrong_sum": with_sheet(maps=[one | {"sha256": "0" * 64}]),
        "exemplar_far_away": with_sheet(exemplar=10**12),
        "exemplar_below": with_sheet(exemplar=-1),
        "exemplar_is_text": with_sheet(exemplar="0"),
        "exemplar_left_out": changed(sheets=[s | {"exemplar": 2 * s["exemplar"]} for s in ours["sheets"]]),
        "five_quarter_turns": with_sheet(quarter_turns=5),
        "mirrored_a_bit": with_sheet(mirrored=0.5),
        "mask_without_sum": with_sheet(usable_sha256=None),
        "mask_of_others": with_tensors(**{mask: tensors[mask] ^ 1}),
        "mask_too_short": with_tensors(**{mask: tensors[mask][:-1].clone()}),
        "mask_left_out": without(mask),
        "pixels_left_out": without(key),
        "psi_left_out": without(*(name for name in tensors if name.startswith("model."))),
        "other_pixels": with_tensors(**{key: tensors[key] ^ 1}),
        "float_pixels": with_tensors(**{key: tensors[key].float()}),
        "flat_pixels": with_tensors(**{key: tensors[key].reshape(-1)}),
        "something_else": with_tensors(evil=tensors[mask].clone()),
        "weights_of_text": changed(weights=["x"]),
        "weights_too_many": changed(weights=[1, 1]),
        "weights_below": changed(weights=[-1]),
        "shares_too_many": changed(shares=[0.5, 0.25, 0.25]),
        "shares_of_nothing": changed(shares=[float("nan"), 1.0]),
        "shares_too_much": changed(shares=[0.7, 0.7]),
        "shares_huge": changed(shares=[10**400, 0]),
        "seed_without_end": changed(fit_seed=float("inf")),
    }


def test_hostile_files_of_sheets_are_refused_in_one_sentence(of_mix: texsyn.TextureModel, tmp_path: Path) -> None:
    path = tmp_path / "bad.texsyn"
    for name, data in hostile(of_mix.to_bytes()).items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"^bad.texsyn: ") as error:
            texsyn.load(path)
        assert len(str(error.value).splitlines()) == 1, name
        assert len(str(error.value)) < 300, name


# ---- pictures


def test_maps_of_a_sample_belong_together(of_stack: texsyn.TextureModel) -> None:
    """Every tuple of pixels, over all maps, is one of the exemplar's, in its own bits."""
    made = draw(of_stack, Size(70, 61), seed=6)
    maps = stack()
    assert made.source is not None
    for name, one in maps.items():
        pixels = made.maps[name].pixels
        assert pixels.dtype == one.pixels.dtype
        assert np.array_equal(pixels, one.pixels[made.source[..., 0], made.source[..., 1]])
    assert made.maps["height"].half
    together = [np.concatenate([m.pixels.astype(np.float64) for m in found.values()], 2).reshape(-1, 7)
                for found in (made.maps, maps)]  # fmt: skip
    assert {tuple(row) for row in together[0].tolist()} <= {tuple(row) for row in together[1].tolist()}


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_each_map_is_rendered_as_it_is_sampled(of_stack: texsyn.TextureModel, tmp_path: Path, ending: str) -> None:
    synthesised = of_stack.synthesise(Size(40, 33), seed=6)
    for number, name in enumerate(stack()):
        shown = of_stack.plane(seed=6, number=number)
        whole = (synthesised.pixels, *synthesised.others)[number]
        assert np.array_equal(shown(Region(0, 0, 40, 33)), whole)
        for i, region in enumerate(REGIONS):
            out = tmp_path / f"{name}{i}{ending}"
            recipe = to_file(of_stack, out, region, seed=6, map=name, block=16, workers=2)
            pixels = pixels_of(out)
            assert pixels.dtype == (np.float16 if name == "height" else whole.dtype)
            assert np.array_equal(pixels, shown(region))
            assert recipe["map"] == name
            assert [one["name"] for one in recipe["maps"]] == list(stack())
            if region.top == 0:
                assert np.array_equal(pixels, whole)


def pixels_of(path: Path) -> np.ndarray:
    """(h, w, c) as another program reads them."""
    if path.suffix == ".zarr":
        import zarr

        array: Any = zarr.open_array(path, mode="r")
        return np.asarray(array[:])
    import tifffile

    found = tifffile.imread(path)
    return found[:, :, None] if found.ndim == 2 else found


def test_a_stack_that_tiles(of_stack: texsyn.TextureModel, tmp_path: Path) -> None:
    for name in stack():
        twice = tmp_path / f"{name}.tif"
        to_file(of_stack, twice, (64, 96), region=Region(-64, -96, 128, 192), tile="xy", seed=2, map=name, block=32)
        pixels = pixels_of(twice)
        assert all(np.array_equal(pixels[y:, x:][:64, :96], pixels[:64, :96]) for y, x in ((0, 96), (64, 0), (64, 96)))
        one = draw(of_stack, Size(64, 96), seed=2, tile="xy").maps[name].pixels
        assert np.array_equal(pixels[:64, :96], one)


def test_the_plane_of_a_mixture_is_its_sample(of_mix: texsyn.TextureModel, tmp_path: Path) -> None:
    whole = of_mix.synthesise(Size(64, 80), seed=3).pixels
    assert np.array_equal(of_mix.plane(seed=3)(Region(0, 0, 64, 80)), whole)
    for region in (Region(3, 5, 20, 31), Region(-33, -81, 40, 90)):
        to_file(of_mix, tmp_path / "m.tif", region, seed=3, block=16, overwrite=True)
        pixels = pixels_of(tmp_path / "m.tif")
        assert np.array_equal(pixels, of_mix.plane(seed=3)(region))
        inside = region.intersect(Region(0, 0, 64, 80))
        if inside == region:
            assert np.array_equal(pixels, whole[region.top : region.bottom, region.left : region.right])


def test_a_map_of_a_stack_as_a_lazy_array(of_stack: texsyn.TextureModel, stack_file: Path) -> None:
    pytest.importorskip("dask")
    from texsyn.cluster import pack, render_array, render_block

    region = REGIONS[1]
    for number, name in enumerate(stack()):
        expected = of_stack.plane(seed=6, number=number)(region)
        for model in (of_stack, stack_file):
            array = render_array(model, None, 6, 24, region=region, map=name)
            assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
            assert np.array_equal(array.compute(scheduler="sync"), expected)
        assert np.array_equal(render_block(pack(of_stack, map=name), region, seed=6), expected)
    with pytest.raises(ValueError, match="roughness"):
        pack(of_stack, map="roughness")


def test_workers_of_a_cluster_write_a_map(of_stack: texsyn.TextureModel, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    from texsyn.cluster import write_zarr

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        order: dict[str, Any] = {"seed": 6, "map": "height", "block": 16}
        recipe = write_zarr(of_stack, tmp_path / "c.zarr", REGIONS[1], scheduler=cluster.scheduler_address, **order)
    assert to_file(of_stack, tmp_path / "t.zarr", REGIONS[1], **order) == recipe
    assert np.array_equal(pixels_of(tmp_path / "c.zarr"), pixels_of(tmp_path / "t.zarr"))


def test_maps_are_named_by_a_part_of_one_name(of_stack: texsyn.TextureModel) -> None:
    assert [of_stack.map_number(part) for part in ("albedo", "norm", "HEI")] == [0, 1, 2]
    for part, n in (("roughness", 0), ("o", 2), ("", 3)):
        with pytest.raises(ValueError, match=f"names {n} of the maps albedo, normal, height"):
            of_stack.map_number(part)
    longer = replace(stack()["albedo"], name="albedo_wet.png")
    model = Texto(Material((Sheet((replace(longer, name="albedo.png"), longer)),)), TextoConfig())
    assert [model.map_number(part) for part in ("albedo", "albedo.png", "wet")] == [0, 0, 1]


def test_shares_of_a_mixed_model() -> None:
    """Potentials are frozen and corrections move pixels on, so that shares are kept about.

    Measured here 0.674 and 0.695 for two seeds; with the default settings 0.707 to 0.712 for grass and gravel of 64x64.
    """
    settings = CHEAP | {"training_factor": 10, "samples_per_atom": 110}
    model = texsyn.fit([picture(1), picture(2)], mix=(0.7, 0.3), seed=0, device="cpu", **settings)
    source = model.synthesise(Size(1024, 1024), seed=1).source
    assert source is not None
    assert float((source[..., 2] == 0).mean()) == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("name", ["gaussian", "random-phase", "texto-2018"])
def test_methods_of_one_picture_refuse_the_rest(run: Run, name: str) -> None:
    save(picture(1), "a.png")
    save(picture(2), "b.png")
    for options in ({"symmetry": "mirror-x"}, {"mix": (0.5, 0.5)}, {"exclude": np.eye(32, 36) > 0}):
        image = [picture(1), picture(2)] if "mix" in options else picture(1)
        with pytest.raises(ValueError, match=rf"method '{name}' .*take texto$"):
            texsyn.fit(image, name, device="cpu", **options)
    with pytest.raises(ValueError, match=rf"method '{name}' .*take texto$"):
        texsyn.fit(maps={"a": picture(1), "b": picture(2)}, method=name, device="cpu")
    for args in (["a.png", "--symmetry", "turns"], ["a.png", "b.png", "--mix", "1,1"], ["--maps", "?.png"]):
        refused(run("fit", *args, "--method", name, "-o", "m.texsyn"), 2, "--method", name, "take texto")
    assert not Path("m.texsyn").exists()


# ---- the command line


@pytest.fixture
def files(tmp_path: Path) -> None:
    for name, one in stack().items():
        save(one, str(tmp_path / f"rock_{name}.{'tif' if name == 'height' else 'png'}"))


def test_fit_sample_and_render_of_a_stack(run: Run, files: None) -> None:
    fitted = run("fit", "--maps", "rock_*", "--weight", "normal=0.5", "--seed", 1, *SETTINGS, "-o", "m.texsyn")
    assert fitted[0] == 0, fitted
    model = texsyn.load("m.texsyn")
    assert [one.name for one in model.material.sheets[0].maps] == [
        "rock_albedo.png",
        "rock_height.tif",
        "rock_normal.png",
    ]
    assert model.material.weights == (1.0, 1.0, 0.5)
    code, said, _ = run("sample", "m.texsyn", "--size", "50x44", "--seed", 7, "-n", 2, "--json", "-o", "out_{name}")
    assert code == 0
    made = [json.loads(line) for line in said.splitlines()]
    assert [one["map"] for one in made] == 2 * [one.name for one in model.material.sheets[0].maps]
    assert [one["output"] for one in made[:3]] == [
        "out_rock_albedo_1.png",
        "out_rock_height_1.tif",
        "out_rock_normal_1.png",
    ]
    expected = draw(model, Size(44, 50), seed=7)
    for record, (name, one) in zip(made, expected.maps.items(), strict=False):
        found = load(record["output"])
        assert (found.half, found.mode) == (one.half, one.mode)
        assert np.array_equal(found.pixels, one.pixels), name
    refused(run("sample", "m.texsyn", "--size", "9x9", "-o", "out.png"), 2, "-o", "{name}")
    refused(run("sample", "m.texsyn", "--size", "9x9", "-o", "-"), 2, "-o -", "not 3", "{name}")
    assert run("sample", "m.texsyn", "--size", "32x32", "--seed", 5)[0] == 0
    assert {"rock_albedo_32x32_seed5.png", "rock_height_32x32_seed5.tif"} <= set(os.listdir())


def test_render_takes_a_map(run: Run, stack_file: Path, of_stack: texsyn.TextureModel) -> None:
    for region in REGIONS:
        where = f"{region.left},{region.top},{region.width},{region.height}"
        args = ["render", stack_file, "--region", where, "--seed", 7]
        assert run(*args, "--map", "norm", "-o", "n.tif", "--overwrite")[0] == 0
        assert np.array_equal(load("n.tif").pixels, of_stack.plane(seed=7, number=1)(region))
        assert run(*args, "-o", "first.tif", "--overwrite")[0] == 0
        assert np.array_equal(load("first.tif").pixels, of_stack.plane(seed=7)(region))
    code, said, _ = run(*args, "--map", "height", "-o", "h.tif", "--dry-run", "--json")
    costs = json.loads(said)
    assert (code, costs["mode"], costs["type"], costs["map"]) == (0, "L", "float16", "height")
    assert costs["disk_bytes"] == plan(of_stack, "h.tif", REGIONS[2], seed=7, map="height").disk_bytes
    assert run(*args, "--map", "height", "-o", "h.tif")[0] == 0
    facts = look("h.tif")
    assert facts is not None
    assert (facts[0]["type"], facts[0]["mode"]) == ("float16", "L")
    assert load("h.tif").half
    refused(run(*args, "--map", "roughness", "-o", "x.tif"), 2, "--map 'roughness'", "albedo, normal, height")
    assert not Path("x.tif").exists()


def test_an_unfinished_map_is_not_resumed_as_another_one(run: Run, tmp_path: Path) -> None:
    model = texsyn.fit(maps={"a": picture(1), "b": picture(2)}, seed=0, device="cpu", **CHEAP)
    a, b = (plan(model, "x.tif", (40, 40), seed=1, map=name, resume=name == "b") for name in ("a", "b"))
    with a.partial as part:
        part.open(resume=False, overwrite=False)
    assert Path("x.tif.part").exists()
    with pytest.raises(OutputExists, match=r"\bmap\b"):
        b.run()


def test_fit_of_a_mixture_and_its_complaints(run: Run) -> None:
    for number in (1, 2):
        save(picture(number), f"{number}.png")
    save(load(np.zeros((32, 36), np.uint8)), "black.png")
    wishes = ["--mix", "3,1", "--symmetry", "mirror-x", "--exclude", "black.png"]
    fitted = run("fit", "1.png", "2.png", *wishes, "--seed", 1, *SETTINGS, "-o", "m.texsyn")
    assert fitted[0] == 0, fitted
    model = texsyn.load("m.texsyn")
    assert model.material.shares == (0.75, 0.25)
    assert [sheet.exemplar for sheet in model.material.sheets] == [0, 0, 1, 1]
    code, said, _ = run("sample", "m.texsyn", "--size", "64x64", "--seed", 2, "--json", "-o", "x.png")
    assert (code, len(json.loads(said)["shares"])) == (0, 2)
    refused(run("fit", "1.png", "2.png", "-o", "n.texsyn"), 2, "--mix", "0.7,0.3")
    refused(run("fit", "1.png", "2.png", "--mix", "1", "-o", "n.texsyn"), 2, "--mix", "2 images")
    refused(run("fit", "1.png", "--weight", "colour=1", "-o", "n.texsyn"), 2, "--weight", "colour")
    refused(run("fit", "-o", "n.texsyn"), 2, "IMAGE", "texsyn fit --help")
    refused(run("fit", "1.png", "--maps", "2.png", "-o", "n.texsyn"), 2, "--maps")
    refused(run("fit", "1.png", "--mask", "black.png", "-o", "n.texsyn"), 2, "--mask")
    assert not Path("n.texsyn").exists()


def test_two_maps_are_not_written_to_one_file(run: Run) -> None:
    maps = {"wet/albedo": picture(1), "dry/albedo": picture(2)}
    texsyn.fit(maps=maps, seed=0, device="cpu", **CHEAP).save("m.texsyn")
    refused(run("sample", "m.texsyn", "--size", "9x9", "-o", "{name}"), 2, "two of the maps", "albedo.png")


def test_memory_is_told_for_sheets_and_maps(of_stack: texsyn.TextureModel) -> None:
    """More sheets and wider maps take more; the pixels of all of them are resident."""

    def said(material: Material, **options: Any) -> int:
        model = Texto(material, TextoConfig(endless=True))
        model.psi = {}
        return plan(model, "x.tif", (4000, 4000), seed=0, **options).memory_bytes

    one, wide = picture(1, 256, 256), load(np.zeros((256, 256, 4), np.uint16))
    single = said(Material.of(one))
    eight = said(Material(tuple(Sheet((one,)) for _ in range(8))))
    stacked = Material((Sheet((one, replace(wide, name="wide"))),))
    assert eight - single > 7 * one.pixels.nbytes
    assert said(stacked) - single > wide.pixels.nbytes
    assert said(stacked, map="wide") > said(stacked) + 5 * 2**20
