"""Maps of coordinates: applied to known pictures, through every format and back, refused when they make no sense."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hostile import texture
from PIL import Image

import texsyn.cli.apply  # noqa: F401 (the verb)
from texsyn.cli import main
from texsyn.coordinate_files import EXTENSIONS, apply, load_coordinates, save_coordinates
from texsyn.images import InputError, OutputError, OutputExists, Picture, Size, load, read_recipe, save

HAS_EXR = importlib.util.find_spec("OpenEXR") is not None
FORMATS = [pytest.param(e, marks=[] if HAS_EXR or e != ".exr" else pytest.mark.skip("no OpenEXR")) for e in EXTENSIONS]
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def picture(height: int, width: int, channels: int, dtype: Any = np.uint8, seed: int = 0, **about: Any) -> Picture:
    return Picture(texture(height, width, channels, dtype, seed), MODES.get(channels, "multi"), **about)


def identity(height: int, width: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).astype(np.int32)


def planted(height: int, width: int, size: Size, n: int = 1, seed: int = 0) -> np.ndarray:
    """A random map (height, width, 2), or (height, width, 3) of n exemplars of that size."""
    limits = (size.height, size.width, n)[: 2 if n == 1 else 3]
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, limit, (height, width)) for limit in limits], -1).astype(np.int32)


# ------------------------------------------------------------------------------------------------------- applying


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(1, np.uint8), (2, np.uint16), (3, np.uint8), (3, np.float32), (4, np.uint16), (6, np.float32)],
)
def test_the_identity_gives_the_picture_back(channels: int, dtype: Any) -> None:
    p = picture(6, 9, channels, dtype, icc_profile=b"profile", name="p")
    made = apply(identity(6, 9), p)
    assert made.sha256 == p.sha256
    assert (made.mode, made.pixels.dtype, made.icc_profile) == (p.mode, p.pixels.dtype, b"profile")


def test_a_planted_permutation_moves_pixels_and_its_inverse_brings_them_back() -> None:
    p = picture(8, 5, 3, np.uint16)
    order = np.random.default_rng(2).permutation(40)
    there, back = (np.stack(np.divmod(o, 5), -1).reshape(8, 5, 2) for o in (order, np.argsort(order)))
    made = apply(there, p)
    assert np.array_equal(made.pixels.reshape(40, 3), p.pixels.reshape(40, 3)[order])
    assert made.sha256 != p.sha256
    assert apply(back, made).sha256 == p.sha256


def test_half_floats_stay_half() -> None:
    half = load(texture(6, 9, 3, np.float32).astype(np.float16))
    assert apply(identity(6, 9), half).half
    whole = Picture(half.pixels, "RGB")
    assert not apply(planted(4, 4, Size(6, 9), 2), [half, whole]).half


def test_the_map_says_the_size() -> None:
    p = picture(4, 5, 1)
    at = planted(30, 7, p.size)
    made = apply(at, p, sizes=[p.size])
    assert made.size == Size(30, 7)
    assert all(made.pixels[y, x, 0] == p.pixels[at[y, x, 0], at[y, x, 1], 0] for y in range(30) for x in range(7))


def test_a_palette_stays_a_palette() -> None:
    palette, indices = texture(5, 1, 3)[:, 0], np.random.default_rng(0).integers(0, 5, (6, 6), np.uint8)
    p = Picture(palette[indices], "RGB", palette=palette, indices=indices)
    at = planted(9, 9, p.size)
    made = apply(at, p)
    assert made.palette is palette
    assert np.array_equal(made.indices, indices[at[..., 0], at[..., 1]])  # type: ignore[arg-type]
    other = Picture(p.pixels.copy(), "RGB")
    mixed = apply(planted(9, 9, p.size, 2), [p, other])
    assert mixed.indices is None
    assert "palettes" in mixed.notes[-1]


def test_several_exemplars_of_several_sizes() -> None:
    a, b, c = picture(4, 4, 3, seed=1), picture(9, 2, 3, seed=2), picture(3, 7, 3, seed=3)
    at = np.array([[[3, 3, 0], [8, 1, 1], [2, 6, 2], [0, 0, 1]]])
    made = apply(at, [a, b, c], sizes=[(4, 4), (9, 2), (3, 7)])
    expected = [a.pixels[3, 3], b.pixels[8, 1], c.pixels[2, 6], b.pixels[0, 0]]
    assert np.array_equal(made.pixels[0], np.stack(expected))


def test_profiles_that_differ_are_left_out() -> None:
    a, b = picture(4, 4, 3, icc_profile=b"one"), picture(4, 4, 3, icc_profile=b"two")
    at = planted(3, 3, a.size, 2)
    assert apply(at, [a, a]).icc_profile == b"one"
    mixed = apply(at, [a, b])
    assert mixed.icc_profile is None
    assert "profiles" in mixed.notes[-1]


def test_pictures_that_do_not_fit_are_refused() -> None:
    p, q = picture(4, 5, 1, name="p"), picture(4, 6, 1, name="q")
    with pytest.raises(InputError, match=r"q: has 6x4 pixels and the map was made from 5x4"):
        apply(identity(4, 5), q, sizes=[p.size])
    with pytest.raises(InputError, match=r"\(row 0, column 5\) at row 0, column 5 of the map is outside of .* 5x4"):
        apply(identity(4, 6), p)
    several = np.array([[[0, 0, 0], [0, 0, 2]]])
    with pytest.raises(InputError, match=r"exemplar 2 at row 0, column 1 of the map is none of the 2"):
        apply(several, [p, q])
    with pytest.raises(InputError, match=r"\(row 0, column 5\).*outside of exemplar 0 of 5x4"):
        apply(np.array([[[0, 5, 1], [0, 5, 0]]]), [p, q])
    with pytest.raises(InputError, match="2 pictures were given for a map of 1 exemplar"):
        apply(identity(4, 5), [p, p])
    with pytest.raises(InputError, match="2 pictures were given for a map of 3 exemplars"):
        apply(several, [p, p], sizes=[p.size] * 3)
    for at in (identity(4, 5), several):
        with pytest.raises(InputError, match="0 pictures"):
            apply(at, [])
    with pytest.raises(InputError, match="of one kind"):
        apply(several, [p, picture(4, 5, 3)])
    with pytest.raises(InputError, match="negative"):
        apply(identity(4, 5) - 1, p)


# ------------------------------------------------------------------------------------------------ files and back


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("n", [1, 3])
def test_every_format_gives_the_map_back(extension: str, n: int, tmp_path: Path) -> None:
    size = Size(3000, 2000)
    at, path = planted(31, 17, size, n), tmp_path / f"map{extension}"
    save_coordinates(path, at, sizes=[size] * n)
    back, sizes = load_coordinates(path)
    assert back.dtype == np.int32
    assert np.array_equal(back, at)
    assert sizes == (None if extension == ".npy" else (size,) * n)
    assert [f.name for f in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("extension", FORMATS)
def test_the_largest_coordinates_are_exact(extension: str, tmp_path: Path) -> None:
    last = 2**24 - 1
    at = np.array([[[last, 0], [0, last - 1], [last, last]]], np.int32)
    save_coordinates(tmp_path / f"m{extension}", at, sizes=[(2**24, 2**24)])
    assert np.array_equal(load_coordinates(tmp_path / f"m{extension}")[0], at)
    beyond = at + 1
    if extension == ".npy":
        save_coordinates(tmp_path / "n.npy", beyond, sizes=[(2**25, 2**25)])
        assert np.array_equal(load_coordinates(tmp_path / "n.npy")[0], beyond)
    else:
        with pytest.raises(ValueError, match=r"not below 2\^24"):
            save_coordinates(tmp_path / f"n{extension}", beyond, sizes=[(2**25, 2**25)])


def test_other_programs_find_named_float_channels(tmp_path: Path) -> None:
    size = Size(50, 60)
    at = planted(8, 9, size, 2)
    save_coordinates(tmp_path / "m.tif", at, sizes=[size, size])
    seen = tifffile.imread(tmp_path / "m.tif")
    assert seen.dtype == np.float32
    assert np.array_equal(seen, at)
    about = read_recipe(tmp_path / "m.tif")
    assert about == {"texsyn_coordinates": {"channels": ["row", "column", "exemplar"], "sizes": [[50, 60], [50, 60]]}}
    if HAS_EXR:
        import OpenEXR

        save_coordinates(tmp_path / "m.exr", at, sizes=[size, size])
        channels = OpenEXR.File(str(tmp_path / "m.exr"), separate_channels=True).channels()
        for k, name in enumerate(("row", "column", "exemplar")):
            assert channels[name].pixels.dtype == np.float32
            assert np.array_equal(channels[name].pixels, at[..., k])


def test_maps_of_other_programs_are_read(tmp_path: Path) -> None:
    at = planted(6, 7, Size(90, 80))
    for dtype in (">i4", "<i8", "<u2", "u1"):
        np.save(tmp_path / "m.npy", at.astype(dtype))
        assert np.array_equal(load_coordinates(tmp_path / "m.npy")[0], at)
    np.save(tmp_path / "m.npy", np.asfortranarray(at))
    assert np.array_equal(load_coordinates(tmp_path / "m.npy")[0], at)
    tifffile.imwrite(tmp_path / "m.tif", at.astype(np.float32), photometric="minisblack", planarconfig="contig")
    back, sizes = load_coordinates(tmp_path / "m.tif")
    assert np.array_equal(back, at)
    assert sizes is None


def test_saving_is_careful(tmp_path: Path) -> None:
    at, path = identity(4, 5), tmp_path / "m.npy"
    save_coordinates(path, at, sizes=[(4, 5)])
    before = path.read_bytes()
    with pytest.raises(OutputExists):
        save_coordinates(path, at + 0, sizes=[Size(4, 5)])
    assert path.read_bytes() == before
    save_coordinates(path, at[:2], sizes=[Size(4, 5)], overwrite=True)
    assert load_coordinates(path)[0].shape == (2, 5, 2)
    with pytest.raises(OutputError):
        save_coordinates(tmp_path / "nowhere" / "m.tif", at, sizes=[(4, 5)])
    for wrong, sizes, word in [
        (at, [(4, 4)], "outside"),
        (at, [(4, 5), (4, 5)], "third channel"),
        (at, [], "0 sizes"),
        (at[..., :1], [(4, 5)], "shape"),
        (at - 1, [(4, 5)], "negative"),
        (at + 0.5, [(4, 5)], "whole number"),
        (planted(3, 3, Size(4, 5), 3), [(4, 5), (4, 5)], "none of the 2"),
    ]:
        with pytest.raises(ValueError, match=word):
            save_coordinates(tmp_path / "new.npy", wrong, sizes=sizes)
    with pytest.raises(ValueError, match=r"\.npy, \.tif, \.tiff, \.exr"):
        save_coordinates(tmp_path / "m.png", at, sizes=[(4, 5)])
    assert [f.name for f in tmp_path.iterdir()] == ["m.npy"]


def refused(path: Path, *words: str) -> None:
    """Loading ends in one line that names the file and holds the words."""
    with pytest.raises(InputError) as error:
        load_coordinates(path)
    said = str(error.value)
    assert "\n" not in said
    for word in (path.name, *words):
        assert word in said, said


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no map of coordinates"),
        (b"\x93NUMPY", "broken or cut off"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "broken or cut off"),
        (npy("{'descr': '<i4', 'fortran_order': False, 'shape': (4, 5, 2), }"), "cut off: it has 0 of 160 bytes"),
        (npy("{'descr': '<i4', 'fortran_order': False, 'shape': (400000, 500000, 2), }"), "more than the accepted"),
        (npy("{'descr': '<i4', 'fortran_order': False, 'shape': (0, 5, 2), }"), "no pixels"),
        (npy("{'descr': '<i4', 'fortran_order': False, 'shape': (-4, 5, 2), }"), "no pixels"),
        (npy("{'descr': '<i4', 'fortran_order': False, 'shape': (4, 5), }", bytes(80)), "shape (4, 5)"),
        (npy("{'descr': '<i4', 'fortran_order': False, 'shape': (4, 5, 4), }", bytes(320)), "shape (4, 5, 4)"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 5, 2), }", bytes(160)), "type float32"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (4, 5, 2), }", bytes(160)), "type object"),
        (npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (4, 5, 2), }", bytes(160)), "type"),
        (npy("__import__('os').abort()"), "broken or cut off"),
        (npy("{'descr': '<i4'}"), "broken or cut off"),
        (npy("{}", version=b"\x09\x00"), "version"),
        (b"PK\x03\x04" + bytes(50), "no map of coordinates"),
    ],
)
def test_hostile_npy_files_are_refused(data: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "m.npy").write_bytes(data)
    refused(tmp_path / "m.npy", word)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([[[print, 1]]], object), allow_pickle=True)
    refused(tmp_path / "m.npy", "type object")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([[[0, -1]]], "the column -1 at row 0, column 0 of the map is negative"),
        ([[[0, 0], [2**31, 0]]], "the row 2147483648 at row 0, column 1 of the map is larger"),
    ],
)
def test_integers_that_are_no_coordinates_are_refused(values: Any, word: str, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array(values, np.int64))
    refused(tmp_path / "m.npy", word)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.full((3, 4, 2), -1, np.float32), "negative"),
        (np.full((3, 4, 2), 0.5, np.float32), "the row 0.5 at row 0, column 0 of the map is no whole number"),
        (np.full((3, 4, 2), np.nan, np.float32), "NaN"),
        (np.full((3, 4, 2), np.inf, np.float32), "infinite"),
        (np.full((3, 4, 2), 2.0**24, np.float32), "2^24"),
        (np.full((3, 4, 2), 1e30, np.float32), "2^24"),
        (np.zeros((3, 4, 2), np.uint16), "uint16"),
        (np.zeros((3, 4, 2), np.float16), "float"),
        (np.zeros((3, 4, 4), np.float32), "4 channels"),
        (np.zeros((3, 4, 1), np.float32), "1 channels"),
    ],
)
def test_tiffs_that_are_no_maps_are_refused(values: np.ndarray, word: str, tmp_path: Path) -> None:
    if values.dtype == np.float16 and "half" not in Picture.__dataclass_fields__:
        pytest.skip("half floats are read as floats")
    layout = {"planarconfig": "contig"} if values.shape[2] > 1 else {}
    tifffile.imwrite(tmp_path / "m.tif", values, photometric="minisblack", **layout)  # type: ignore[arg-type]
    refused(tmp_path / "m.tif", word)


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ({"sizes": [[2, 2]]}, "outside of a picture of 2x2"),
        ({"sizes": []}, "make no sense"),
        ({"sizes": [[4]]}, "make no sense"),
        ({"sizes": [[4, -5]]}, "make no sense"),
        ({"sizes": [["4", "5"]]}, "make no sense"),
        ({"sizes": "4x5"}, "make no sense"),
        ({"sizes": [[4, 5]] * 5000}, "make no sense"),
        ({"sizes": [[4, 5], [4, 5]]}, "third channel"),
        ([], "make no sense"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(about: Any, word: str, tmp_path: Path) -> None:
    floats = Picture(identity(4, 5).astype(np.float32), "multi")
    save(floats, tmp_path / "m.tif", recipe={"texsyn_coordinates": about})
    refused(tmp_path / "m.tif", word)


@pytest.mark.skipif(not HAS_EXR, reason="no OpenEXR")
def test_exr_files_that_are_no_maps_are_refused(tmp_path: Path) -> None:
    import OpenEXR

    zeros, header = np.zeros((3, 4), np.float32), {"type": OpenEXR.scanlineimage}
    for channels, word in [
        ({"row": zeros, "column": zeros, "other": zeros}, "not called row, column, exemplar"),
        ({"X": zeros, "Y": zeros}, "not called row, column"),
        ({"row": zeros}, "1 channels"),
        ({"row": zeros - 1, "column": zeros}, "the row -1.0"),
        ({"row": zeros, "column": zeros + np.float32(0.5)}, "the column 0.5"),
        ({"row": zeros.astype(np.float16), "column": zeros.astype(np.float16)}, "16-bit floats"),
    ]:
        OpenEXR.File(header, channels).write(str(tmp_path / "m.exr"))
        refused(tmp_path / "m.exr", word)


@pytest.mark.parametrize("extension", FORMATS)
def test_cut_and_changed_files_are_maps_or_refused(extension: str, tmp_path: Path) -> None:
    """Nothing else: no other exception, no word of a decoder. Data bytes that change may give another map."""
    path, rng = tmp_path / f"m{extension}", np.random.default_rng(4)
    save_coordinates(path, planted(6, 7, Size(50, 60), 2), sizes=[(50, 60), (50, 60)])
    whole = path.read_bytes()
    n = 8 if extension == ".exr" else 40  # each OpenEXR file is decoded in a process of its own
    ends = np.linspace(0, len(whole) - 1, n).astype(int)
    changed = [whole[:end] for end in ends]
    for at in rng.integers(0, len(whole), 3 * n):
        changed.append(whole[:at] + bytes([rng.integers(256)]) + whole[at + 1 :])
    for k, data in enumerate(changed):
        path.write_bytes(data)
        said = ""
        try:
            back, _ = load_coordinates(path)
        except InputError as error:
            said = str(error)
        if said:
            assert path.name in said
            assert "\n" not in said
        else:
            assert back.min() >= 0
            assert k >= len(ends) or extension != ".npy"  # what is cut off is not taken


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "directory")
    refused(tmp_path / "missing.npy", "cannot be read")
    Image.new("RGB", (4, 4)).save(tmp_path / "m.png")
    refused(tmp_path / "m.png", "no map of coordinates")


# ------------------------------------------------------------------------------------------------- the command line

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`texsyn apply` in this process, in an empty folder: exit code, stdout, stderr."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*args: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["apply", *map(str, args)])
        out, err = capfd.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out, err

    return call


@pytest.fixture
def rock(tmp_path: Path) -> Path:
    """A folder with maps of a 12x10 exemplar and pictures of that size."""
    folder = tmp_path / "rock"
    folder.mkdir()
    at = planted(20, 30, Size(12, 10))
    for extension in (".npy", ".tif"):
        save_coordinates(folder / f"map{extension}", at, sizes=[(12, 10)])
    save_coordinates(folder / "two.tif", planted(20, 30, Size(12, 10), 2), sizes=[(12, 10), (12, 10)])
    save_coordinates(folder / "two.npy", planted(20, 30, Size(12, 10), 2), sizes=[(12, 10), (12, 10)])
    save(picture(12, 10, 3, seed=1), folder / "colour.png")
    save(picture(12, 10, 3, np.uint16, seed=2), folder / "normal.png")
    save(picture(12, 10, 1, np.float32, seed=3), folder / "height.tif")
    save(picture(12, 11, 3, seed=4), folder / "other.png")
    return folder


def here() -> list[str]:
    return sorted(p.name for p in Path().iterdir())


@pytest.mark.parametrize("extension", [".npy", ".tif"])
def test_each_other_gives_a_picture_of_its_own_kind(run: Run, rock: Path, extension: str) -> None:
    code, out, err = run(rock / f"map{extension}", rock / "colour.png", rock / "normal.png", rock / "height.tif")
    assert (code, out) == (0, "")
    assert len(err.splitlines()) == 3
    assert here() == ["colour_applied.png", "height_applied.tif", "normal_applied.png"]
    at = load_coordinates(rock / "map.npy")[0]
    for name in ("colour.png", "normal.png", "height.tif"):
        stem, ending = name.split(".")
        whole, made = load(rock / name), load(f"{stem}_applied.{ending}")
        assert made.pixels.dtype == whole.pixels.dtype
        assert np.array_equal(made.pixels, whole.pixels[at[..., 0], at[..., 1]])
        recipe = read_recipe(f"{stem}_applied.{ending}")
        assert recipe is not None
        assert (recipe["method"], recipe["size"]) == ("apply", "30x20")
        assert recipe["exemplars"] == [{"name": name, "size": "10x12", "sha256": whole.sha256}]
        assert recipe["pixels_sha256"] == made.sha256


def test_output_names(run: Run, rock: Path) -> None:
    assert run(rock / "map.npy", rock / "colour.png", rock / "height.tif", "-o", "big_{name}")[0] == 0
    assert here() == ["big_colour.png", "big_height.tif"]
    assert run(rock / "map.npy", rock / "colour.png", "-o", "x.tif", "--no-metadata")[0] == 0
    assert read_recipe("x.tif") is None
    assert run(rock / "map.npy", rock / "colour.png", rock / "normal.png", "-o", "y.tif")[0] == 0
    assert {"y_colour.tif", "y_normal.tif"} < set(here())


def test_json_tells_every_result(run: Run, rock: Path) -> None:
    code, out, err = run(rock / "map.tif", rock / "colour.png", rock / "normal.png", "--json")
    assert (code, err) == (0, "")
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["output"] for r in records] == ["colour_applied.png", "normal_applied.png"]
    assert records[0]["map"]["name"] == "map.tif"
    assert records[0]["map"]["sha256"] == records[1]["map"]["sha256"]


@pytest.mark.parametrize("name", ["two.tif", "two.npy"])
def test_maps_of_several_exemplars_take_as_many(run: Run, rock: Path, name: str) -> None:
    save(picture(12, 10, 3, seed=9), rock / "second.png")
    assert run(rock / name, rock / "colour.png", rock / "second.png", "-q") == (0, "", "")
    at = load_coordinates(rock / name)[0]
    a, b = load(rock / "colour.png").pixels, load(rock / "second.png").pixels
    expected = np.where(at[..., 2:] == 0, a[at[..., 0], at[..., 1]], b[at[..., 0], at[..., 1]])
    assert np.array_equal(load("colour_applied.png").pixels, expected)


def test_two_materials_at_once(run: Run, rock: Path) -> None:
    files = [rock / "colour.png", rock / "colour.png", rock / "normal.png", rock / "normal.png"]
    assert run(rock / "two.tif", *files)[0] == 0
    assert here() == ["colour_applied.png", "normal_applied.png"]


def test_the_result_goes_to_stdout(rock: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer)
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(rock / "map.npy", rock / "colour.png", "-o", "-")[0] == 0
    stream.flush()
    assert load(buffer.getvalue()).size == Size(20, 30)
    assert here() == []


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["map.tif", "other.png"], 3, "other.png: has 11x12 pixels and the map was made from 10x12"),
        (["map.tif", "colour.png", "other.png"], 3, "other.png"),
        (["colour.png", "colour.png"], 3, "no map of coordinates"),
        (["missing.npy", "colour.png"], 3, "cannot be read"),
        (["map.npy", "missing.png"], 3, "cannot be read"),
        (["two.tif", "colour.png"], 2, "give 2 pictures for each output, not 1"),
        (["two.tif", "colour.png", "normal.png"], 3, "of one kind"),
        (["two.npy", "colour.png"], 3, "exemplar 1 at row"),
        (["map.npy", "colour.png", "colour.png"], 2, "several OTHERs would be written to colour_applied.png"),
        (["map.npy", "colour.png", "normal.png", "-o", "-"], 2, "takes one picture"),
        (["map.npy", "colour.png", "-o", "x.gif"], 2, "-o"),
        (["map.npy", "colour.png", "-o", "x"], 2, "no extension"),
        (["map.npy", "height.tif", "-o", "x.png"], 2, "float32"),
        (["map.npy", "colour.png", "-o", "nowhere/x.png"], 4, "folder"),
        (["map.npy", "-", "-"], 2, "standard input"),
        (["map.npy"], 2, "OTHER"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(run: Run, rock: Path, args: list[str], code: int, words: str) -> None:
    done = run(*(rock / a if (rock / a).exists() else a for a in args))
    assert done[:2] == (code, ""), done
    assert len(done[2].splitlines()) == 1, done
    assert words in done[2]
    assert here() == []


def test_an_output_that_exists_is_kept(run: Run, rock: Path) -> None:
    Path("normal_applied.png").write_bytes(b"mine")
    code, _, err = run(rock / "map.npy", rock / "colour.png", rock / "normal.png")
    assert (code, here()) == (2, ["normal_applied.png"])
    assert "--overwrite" in err
    assert run(rock / "map.npy", rock / "colour.png", rock / "normal.png", "--overwrite")[0] == 0
    assert load("normal_applied.png").size == Size(20, 30)


def test_help_shows_the_verb(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "MAP OTHER..." in out
    assert "texsyn apply rock_map.npy" in out
