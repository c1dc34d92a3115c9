"""Depth out = depth in: 8 and 16 bits, half and whole floats, OpenEXR, and the changes of depth that are asked for."""

from __future__ import annotations

import errno
import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hostile import HAS_OPENEXR, exr, planes_of, profile, texture
from PIL import Image

from texsyn.images import (
    DEPTHS,
    InputError,
    OutputError,
    Picture,
    Size,
    check_target,
    convert_depth,
    load,
    read_recipe,
    save,
)
from texsyn.images import exr as ours
from texsyn.images.tiled import Layout, TiffTiles

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
CHANNELS = {"L": "Y", "LA": "YA", "RGB": "RGB", "RGBA": "RGBA"}
needs_openexr = pytest.mark.skipif(not HAS_OPENEXR, reason="the package OpenEXR (texsyn[hdr]) is not installed")

bits = np.arange(2**16, dtype=np.uint16).view(np.float16)
ALL_HALVES = bits[np.isfinite(bits)].reshape(-1, 32, 1)  # 63,488: both zeros, subnormals, up to 65504
WIDE = np.array([-3.5, -0.0, 0.1, 1.5, 1e30, -1e-42, 3.4e38, 65504.0], np.float32).reshape(2, 4, 1)


def floats(channels: int, *, half: bool = False, **more: Any) -> Picture:
    """A float picture of these channels with values outside [0, 1]."""
    pixels = texture(9, 11, channels, np.float32) * 8 - 3
    if half:
        pixels = pixels.astype(np.float16).astype(np.float32)
    return Picture(pixels, next((m for m, c in MODES.items() if c == channels), "multi"), half=half, **more)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


# ------------------------------------------------------------------------------------------------------- 16 bits


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_all_codes_of_16_bits_survive_in_every_channel(tmp_path: Path, mode: str, extension: str) -> None:
    ramp = np.arange(2**16, dtype=np.uint16)
    pixels = np.stack([np.roll(ramp, 12345 * c).reshape(256, 256) for c in range(MODES[mode])], axis=2)
    assert save(Picture(pixels, mode), tmp_path / f"a.{extension}") == ()
    back = load(tmp_path / f"a.{extension}")
    assert (back.mode, back.notes) == (mode, ())
    assert np.array_equal(back.pixels, pixels)
    assert all(len(np.unique(back.pixels[:, :, c])) == 2**16 for c in range(MODES[mode]))


@pytest.mark.parametrize(
    ("extension", "depth", "mode"),
    [
        (extension, depth, mode)
        for extension, depths, modes in (
            ("png", ("8", "16"), MODES),
            ("tif", ("8", "16", "f16", "f32"), MODES),
            ("jpg", ("8",), ("L", "RGB")),
            ("webp", ("8",), ("RGB", "RGBA")),
        )
        for depth in depths
        for mode in modes
    ],
)
def test_a_colour_profile_is_kept(tmp_path: Path, extension: str, depth: str, mode: str) -> None:
    icc = profile()
    if mode in ("L", "LA"):
        icc = icc[:16] + b"GRAY" + icc[20:]
    original = convert_depth(Picture(texture(8, 9, MODES[mode]), mode, icc_profile=icc), depth)
    assert save(original, tmp_path / f"a.{extension}") == ()
    back = load(tmp_path / f"a.{extension}")
    assert back.icc_profile == icc
    assert (back.mode, back.pixels.dtype, back.half) == (mode, original.pixels.dtype, depth == "f16")


def test_palette_indices_survive_unless_the_depth_changes(tmp_path: Path) -> None:
    image = Image.fromarray(texture(9, 8, 1)[:, :, 0] % 5, "P")
    image.putpalette([9, 9, 9, 9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])  # two entries of one colour
    image.save(tmp_path / "first.png")
    first = load(tmp_path / "first.png")
    save(convert_depth(first, "8"), tmp_path / "again.png")
    with Image.open(tmp_path / "again.png") as again:
        assert again.mode == "P"
        assert np.array_equal(np.asarray(again), np.asarray(image))
        assert again.getpalette() == image.getpalette()
    for depth in ("16", "f16", "f32"):
        changed = convert_depth(first, depth)
        assert changed.palette is changed.indices is None
        assert "palette" in changed.notes[-1]


# --------------------------------------------------------------------------------------------------- half floats


def test_half_floats_are_remembered() -> None:
    pixels = texture(4, 5, 3, np.float16)
    picture = load(pixels)
    assert (picture.pixels.dtype, picture.half, picture.notes) == (np.float32, True, ())
    assert np.array_equal(picture.pixels, pixels)
    assert not load(pixels.astype(np.float32)).half
    assert not load(pixels.astype(np.float64)).half
    assert replace(picture, half=False).sha256 == picture.sha256
    with pytest.raises(InputError, match="half=True goes with float32"):
        Picture(texture(2, 2, 3), "RGB", half=True)


@pytest.mark.parametrize("extension", ["tif", pytest.param("exr", marks=needs_openexr)])
def test_every_half_float_survives(tmp_path: Path, extension: str) -> None:
    original = load(ALL_HALVES)
    assert save(original, tmp_path / f"a.{extension}") == ()
    back = load(tmp_path / f"a.{extension}")
    assert (back.mode, back.half, back.notes) == ("L", True, ())
    assert same_bits(back.pixels, original.pixels)
    assert same_bits(back.pixels.astype(np.float16), ALL_HALVES)


@pytest.mark.parametrize("mode", list(MODES))
def test_half_tiffs_of_others_stay_half(tmp_path: Path, mode: str) -> None:
    pixels = texture(6, 7, MODES[mode], np.float16) * 4 - 1
    options: dict[str, Any] = {"photometric": "rgb" if MODES[mode] > 2 else "minisblack"}
    if "A" in mode:
        options |= {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", pixels if MODES[mode] > 1 else pixels[:, :, 0], metadata=None, **options)
    picture = load(tmp_path / "a.tif")
    assert (picture.mode, picture.half) == (mode, True)
    save(picture, tmp_path / "b.tif")
    assert same_bits(tifffile.imread(tmp_path / "b.tif").reshape(pixels.shape), pixels)


def test_what_a_half_cannot_hold_is_noted(tmp_path: Path) -> None:
    picture = Picture(np.array([[[70000.0], [-1e9], [0.5], [65504.0]]], np.float32), "L", half=True)
    (note,) = save(picture, tmp_path / "a.tif")
    assert note == "2 of 4 values (50%) lay beyond 65504 and were clipped"
    assert load(tmp_path / "a.tif").pixels.ravel().tolist() == [65504, -65504, 0.5, 65504]


def test_large_pictures_can_be_half(tmp_path: Path) -> None:
    pixels = texture(32, 32, 3, np.float16)
    layout = Layout(Size(32, 32), 16, 3, "float16", "RGB")
    TiffTiles.create(str(tmp_path / "a.tif"), layout)
    tiles = TiffTiles(str(tmp_path / "a.tif"), layout)
    tiles.write(0, 0, pixels.astype(np.float32))
    tiles.close()
    back = load(tmp_path / "a.tif")
    assert back.half
    assert np.array_equal(back.pixels, pixels)


# ----------------------------------------------------------------------------------------------- changes of depth


def test_codes_become_the_nearest_codes() -> None:
    codes8, codes16 = np.arange(256, dtype=np.uint8), np.arange(2**16, dtype=np.uint16)
    eight, sixteen = Picture(codes8[:, None, None], "L"), Picture(codes16[:, None, None], "L")
    deeper = convert_depth(eight, "16")
    assert np.array_equal(deeper.pixels.ravel(), codes8.astype(int) * 257)
    assert np.array_equal(convert_depth(deeper, "8").pixels, eight.pixels)
    shallower = convert_depth(sixteen, "8").pixels.ravel()
    assert np.array_equal(shallower, np.floor(codes16 * 255.0 / 65535 + 0.5))
    assert np.abs(shallower * 257.0 - codes16).max() == 128  # never further than half a step of 257


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_codes_survive_the_way_to_floats_and_back(dtype: str) -> None:
    codes = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[:, None, None]
    picture, back = Picture(codes, "L"), {"uint8": "8", "uint16": "16"}[dtype]
    whole = convert_depth(picture, "f32")
    assert (whole.pixels.dtype, whole.half, whole.notes) == (np.float32, False, ())
    assert whole.pixels.ravel()[[0, -1]].tolist() == [0, 1]
    assert np.array_equal(convert_depth(whole, back).pixels, codes)
    half = convert_depth(picture, "f16")
    assert half.half
    assert same_bits(half.pixels, half.pixels.astype(np.float16).astype(np.float32))
    if dtype == "uint8":
        assert half.notes == ()
        assert np.array_equal(convert_depth(half, back).pixels, codes)
    else:  # 2^16 codes, of which a half float tells about 2^14 apart in [0, 1]
        lost = int((convert_depth(half, back).pixels != codes).sum())
        assert half.notes == (f"{lost} of 65536 values ({100 * lost / 65536:.3g}%) were rounded to a 16-bit float",)


def test_floats_become_codes_with_a_note_of_what_was_clipped() -> None:
    values = np.array([[[-0.25], [0.0], [0.5], [1.0], [1.5]]], np.float32)
    for depth, codes in (("8", [0, 0, 128, 255, 255]), ("16", [0, 0, 32768, 65535, 65535])):
        changed = convert_depth(Picture(values, "L", notes=("before",)), depth)
        assert changed.pixels.ravel().tolist() == codes
        assert changed.notes == ("before", "2 of 5 values (40%) lay outside 0..1 and were clipped")
        assert convert_depth(Picture(values[:, 1:4], "L", half=True), depth).notes == ()


def test_floats_change_their_length() -> None:
    picture = Picture(WIDE, "L")
    with pytest.raises(InputError, match=r"up to 3\.4e\+38 do not fit 16-bit floats"):
        convert_depth(picture, "f16")
    with pytest.raises(InputError, match="65505 do not fit"):
        convert_depth(Picture(np.full((1, 1, 1), -65505, np.float32), "L"), "f16")
    tenth = convert_depth(Picture(np.array([[[0.1], [0.5]]], np.float32), "L"), "f16")
    assert tenth.pixels.ravel().tolist() == [0.0999755859375, 0.5]
    assert tenth.notes == ("1 of 2 values (50%) were rounded to a 16-bit float",)
    longer = convert_depth(tenth, "f32")
    assert not longer.half
    assert same_bits(longer.pixels, tenth.pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_the_depth_there_is_changes_nothing(dtype: str) -> None:
    picture = load(texture(3, 4, 4, dtype))
    own = {"uint8": "8", "uint16": "16", "float16": "f16", "float32": "f32"}[dtype]
    assert convert_depth(picture, "auto") is picture
    assert convert_depth(picture, own) is picture
    for depth in DEPTHS:
        changed = convert_depth(replace(picture, name="rock", icc_profile=profile()), depth)
        assert (changed.mode, changed.name, changed.size) == ("RGBA", "rock", picture.size)
        assert changed.icc_profile == profile()


@pytest.mark.parametrize("depth", ["", "32", "f8", "float", "8 bit", 8, None])
def test_other_depths_are_refused(depth: Any) -> None:
    with pytest.raises(ValueError, match="accepted are auto, 8, 16, f16, f32"):
        convert_depth(load(texture(2, 2, 3)), depth)


# --------------------------------------------------------------------------------------------------------- OpenEXR


@needs_openexr
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 16])
def test_openexr_round_trip(tmp_path: Path, channels: int, half: bool) -> None:
    original = floats(channels, half=half)
    recipe = {"seed": 7, "name": "naïve 🌿", "deep": [1.5, None, {"a": "\0\n"}]}
    notes = save(original, tmp_path / "a.exr", recipe=recipe)
    assert [("multiplied by alpha" in note) for note in notes] == [True] * original.has_alpha
    back = load(tmp_path / "a.exr")
    assert (back.mode, back.half, back.name, back.notes) == (original.mode, half, "a.exr", ())
    assert same_bits(back.pixels, original.pixels)
    assert read_recipe(tmp_path / "a.exr") == recipe
    assert read_recipe((tmp_path / "a.exr").read_bytes()) == recipe
    assert [file.name for file in tmp_path.iterdir()] == ["a.exr"]


@needs_openexr
def test_openexr_keeps_values_of_any_size(tmp_path: Path) -> None:
    save(Picture(WIDE, "L"), tmp_path / "a.exr")
    assert same_bits(load(tmp_path / "a.exr").pixels, WIDE)
    one = Picture(WIDE, "multi")  # one channel that is not grey
    save(one, tmp_path / "b.exr")
    assert load(tmp_path / "b.exr").mode == "multi"


@needs_openexr
def test_others_read_what_we_write(tmp_path: Path) -> None:
    import OpenEXR

    for name, picture, channels in (
        ("rgba", floats(4, half=True), "ABGR"), ("grey", floats(1), "Y"), ("many", floats(11), None),
    ):  # fmt: skip
        save(picture, tmp_path / f"{name}.exr", recipe={"seed": 1})
        file = OpenEXR.File(str(tmp_path / f"{name}.exr"), separate_channels=True)
        found = file.channels()
        assert sorted(found) == (sorted(channels) if channels else [f"{i:02}" for i in range(11)])
        assert {c.pixels.dtype.name for c in found.values()} == {"float16" if picture.half else "float32"}
        assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
        assert file.header()["texsyn"] == '{"seed": 1}'
    assert np.array_equal(found["10"].pixels, picture.pixels[:, :, 10])


@needs_openexr
@pytest.mark.parametrize("packing", ["NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "DWAA", "DWAB"])
@pytest.mark.parametrize("tiled", [False, True])
def test_we_read_what_others_write(tmp_path: Path, packing: str, tiled: bool) -> None:
    import OpenEXR

    planes = {name: np.tile(np.linspace(-1, 3, 40, dtype=np.float16), (37, 1)) for name in "RGB"}
    about = {"compression": getattr(OpenEXR, f"{packing}_COMPRESSION"), "type": OpenEXR.scanlineimage, "owner": "x"}
    if tiled:
        tiles = OpenEXR.TileDescription()
        tiles.xSize, tiles.ySize = 16, 8
        about |= {"type": OpenEXR.tiledimage, "tiles": tiles}
    OpenEXR.File(about, dict(planes)).write(str(tmp_path / "a.exr"))
    back = load(tmp_path / "a.exr")
    assert (back.mode, back.half, back.notes) == ("RGB", True, ())
    theirs = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True).channels()
    assert np.array_equal(back.pixels, np.stack([theirs[name].pixels for name in "RGB"], axis=2))
    if packing not in ("B44", "DWAA", "DWAB"):  # those three are lossy
        assert np.array_equal(back.pixels, np.stack([*planes.values()], axis=2))


@needs_openexr
@pytest.mark.parametrize(
    "layout",
    [{}, {"corner": (-5, 2**30)}, {"tile": (4, 8)}, {"tile": (4, 8), "levels": 4}, {"tile": (2**30, 2**31)},
     {"tile": (1, 1), "corner": (3, -4)}],
)  # fmt: skip
def test_openexr_files_after_the_specification(layout: dict[str, Any]) -> None:
    for mode, names in CHANNELS.items():
        for dtype in (np.float16, np.float32):
            planes = planes_of(names, dtype)
            picture = load(exr(planes, **layout))
            assert (picture.mode, picture.half, picture.notes) == (mode, dtype == np.float16, ())
            assert np.array_equal(picture.pixels, np.stack([planes[name] for name in names], axis=2))


@needs_openexr
def test_openexr_channels_of_other_names_and_types() -> None:
    planes = planes_of("RGB") | planes_of("Z", np.float32) | {"id": planes_of("N", np.uint32)["N"]}
    mixed = load(exr(planes))
    assert (mixed.mode, mixed.half) == ("multi", False)
    assert np.array_equal(mixed.pixels, np.stack([planes[name] for name in ("R", "G", "B", "Z", "id")], axis=2))
    assert mixed.notes[0] == "the channels R, G, B, Z, id are numbered 0 to 4"
    assert "kept as float32" in mixed.notes[1]
    depth = load(exr(planes_of("Z", np.float32)))
    assert (depth.mode, depth.notes) == ("L", ("the channel Z is taken as grey",))
    numbers = load(exr(planes_of("RGB", np.uint32)))
    assert (numbers.pixels.dtype, numbers.notes) == (np.uint16, ("uint32 values kept as uint16",))
    long = {"a layer with a name of more than 31 letters.R": planes_of("R")["R"]}
    assert np.array_equal(load(exr(long)).pixels[:, :, 0], next(iter(long.values())))
    for layout in ({}, {"tile": (4, 4)}):
        first = load(exr(planes_of("RGB"), planes_of("Z", np.float32, 3, 5), **layout))
        assert first.notes == ("only the first of 2 parts is used",)
        assert np.array_equal(first.pixels, load(exr(planes_of("RGB"))).pixels)


@needs_openexr
def test_what_openexr_does_not_hold(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        with pytest.raises(ValueError, match=rf"exr does not hold {np.dtype(dtype)} values; use \.png"):
            save(Picture(texture(2, 2, 3, dtype), "RGB"), tmp_path / "a.exr")
    assert save(floats(3, icc_profile=profile()), tmp_path / "a.exr") == (
        "OpenEXR holds no ICC profile: it was left out",
    )
    assert load(tmp_path / "a.exr").icc_profile is None
    opaque = floats(4)
    opaque.pixels[:, :, 3] = 1
    assert save(opaque, tmp_path / "b.exr") == ()
    assert check_target(tmp_path / "c.EXR", mode="multi", dtype="float32") == "exr"


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = exr(planes_of("Y"), changed={"texsyn": b'{"seed": 3}'})
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    sentence = r"OpenEXR needs a further package: pip install 'texsyn\[hdr\]'$"
    with pytest.raises(InputError, match=r"^the bytes given: " + sentence):
        load(data)
    for attempt in (check_target, lambda path, dtype: save(floats(3), path)):
        with pytest.raises(ValueError, match=r"a\.exr: " + sentence):
            attempt(tmp_path / "a.exr", dtype="float32")
    assert read_recipe(data) == {"seed": 3}  # the header is read here
    assert list(tmp_path.iterdir()) == []


def test_importing_and_loading_other_files_leaves_the_package_alone() -> None:
    code = "import sys, numpy, texsyn.images as i; i.load(numpy.zeros((2, 2))); i.check_target('-'); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print('OpenEXR' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"


@needs_openexr
def test_a_decoder_that_dies_or_talks_does_not_harm_us(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data, real = exr(planes_of("RGB")), ours._DECODER
    for death in (
        "import os; os.abort()",
        "raise RuntimeError",
        "",
        "import sys; sys.exit(3)",
        "open(1, 'w').write('x')",
    ):
        monkeypatch.setattr(ours, "_DECODER", death)
        with pytest.raises(InputError, match=r"^the bytes given: "):
            load(data)
    monkeypatch.setattr(ours, "_DECODER", "import sys; sys.exit(4)")
    with pytest.raises(MemoryError):
        load(data)
    monkeypatch.setattr(ours, "_DECODER", "import os; print('warning'); os.write(2, b'error')\n" + real)
    assert load(data).half

    def hang(*_: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("python", options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(InputError, match="was not decoded within 60 seconds"):
        load(data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("layout", [{}, {"tile": (4, 8)}])
def test_every_truncation_of_openexr_is_refused(layout: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    data = exr(planes_of("RGB"), **layout)
    for length in range(0, len(data), 3):  # all of them before the package is asked
        with pytest.raises(InputError, match=r"^the bytes given: "):
            load(data[:length])
    assert capfd.readouterr() == ("", "")


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, set to an extreme, or lost; in the first half of all cases in the header and the table."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(min(480, len(changed)) if rng.random() < 0.5 else len(changed)))
        kind = rng.integers(4)
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at] = int(rng.choice([0, 1, 127, 128, 255]))
        elif kind == 2:
            changed[at : at + 4] = bytes.fromhex(rng.choice(["ffffff7f", "00000080", "ffffffff", "00000100"]))
        else:
            del changed[at : at + int(rng.integers(1, 9))]
    return bytes(changed)


@needs_openexr
@pytest.mark.parametrize("n", [40, pytest.param(600, marks=pytest.mark.slow)])
def test_damaged_openexr_ends_in_a_picture_or_one_line(
    tmp_path: Path, n: int, capfd: pytest.CaptureFixture[str]
) -> None:
    import OpenEXR

    files = [exr(planes_of("RGB")), exr(planes_of("RGB"), tile=(4, 8), levels=2), exr(planes_of("Y"), planes_of("Z"))]
    for packing in ("RLE", "ZIP", "PIZ", "PXR24", "B44", "DWAA"):
        about = {"compression": getattr(OpenEXR, f"{packing}_COMPRESSION"), "type": OpenEXR.scanlineimage}
        OpenEXR.File(about, planes_of("RGB", np.float32, 40, 30)).write(str(tmp_path / "a.exr"))
        files.append((tmp_path / "a.exr").read_bytes())
    rng, refused = np.random.default_rng(n), 0
    for i in range(n):
        damaged = damage(files[i % len(files)], rng)
        try:
            got = load(damaged, max_pixels=10**6)
        except InputError as error:
            assert str(error).startswith("the bytes given: ")  # noqa: PT017 (either end is right)
            assert str(error).isprintable()  # noqa: PT017
            refused += 1
        else:
            assert got.size.pixels <= 10**6
    assert refused > n // 3
    assert capfd.readouterr() == ("", "")


# --------------------------------------------------------------------------------------------- saving, all or nothing


@needs_openexr
@pytest.mark.parametrize(
    ("failure", "expected"),
    [(OSError(errno.ENOSPC, "No space left on device"), OutputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_failure_leaves_the_old_openexr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, expected: type
) -> None:
    target = tmp_path / "a.exr"
    target.write_bytes(b"the old file")

    def fail(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    with pytest.raises(expected):
        save(floats(3), target, overwrite=True)
    assert target.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [target]


@needs_openexr
def test_the_package_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import OpenEXR

    class Full:
        def __init__(self, *_: Any) -> None: ...

        def write(self, path: str) -> None:
            raise RuntimeError("Failed to write pixel data. No space left on device.")

    monkeypatch.setattr(OpenEXR, "File", Full)
    with pytest.raises(OutputError, match=r"a\.exr: cannot be written \(Failed to write pixel data\. No space left"):
        save(floats(3), tmp_path / "a.exr")
    assert list(tmp_path.iterdir()) == []


@needs_openexr
def test_openexr_into_streams_and_twice_the_same(tmp_path: Path) -> None:
    buffers = [io.BytesIO(), io.BytesIO()]
    for buffer in buffers:
        save(floats(3), buffer, format="exr", recipe={"seed": 1})
    save(floats(3), tmp_path / "a.exr", recipe={"seed": 1})
    assert buffers[0].getvalue() == buffers[1].getvalue() == (tmp_path / "a.exr").read_bytes()
    assert np.array_equal(load(buffers[0].getvalue()).pixels, floats(3).pixels)
