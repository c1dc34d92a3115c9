"""Loading, saving and converting pictures: what goes in comes out, and nothing that comes in breaks anything."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import stat
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hostile import (
    ORIENTATION,
    Hostile,
    chunk,
    encoded,
    lzw_tiff16,
    make_hostile,
    plain_png16,
    png,
    profile,
    texture,
    tiff_of,
)
from PIL import Image

from texsyn.images import (
    InputError,
    OutputError,
    OutputExists,
    Picture,
    Region,
    Size,
    check_target,
    from_unit,
    load,
    parse_size,
    png16,
    read_recipe,
    save,
    to_unit,
)
from texsyn.images.picture import printable
from texsyn.images.pillow_reader import turn

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
HOLDS = [  # every format, mode and type that is kept without loss
    (extension, mode, dtype)
    for extension, dtypes in (
        ("png", ("uint8", "uint16")),
        ("tif", ("uint8", "uint16", "float32")),
        ("webp", ("uint8",)),
        ("bmp", ("uint8",)),
    )
    for mode in MODES
    for dtype in dtypes
    if not (extension == "webp" and mode in ("L", "LA")) and not (extension == "bmp" and mode in ("LA", "RGBA"))
]


def picture(mode: str = "RGB", dtype: Any = np.uint8, height: int = 13, width: int = 17, **more: Any) -> Picture:
    return Picture(texture(height, width, MODES[mode], dtype), mode, **more)


# ---------------------------------------------------------------------------------------------- sizes and regions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1280x768", Size(768, 1280)),
        (" 3 X 2 ", Size(2, 3)),
        ("7×9", Size(9, 7)),
        ("1x1", Size(1, 1)),
        ("1000000x1000000", Size(10**6, 10**6)),
        ("2x", Size(20, 42)),
        ("1.5x", Size(15, 32)),
        (".01x", Size(1, 1)),
    ],
)
def test_parse_size_reads_width_first_and_factors(text: str, expected: Size) -> None:
    assert parse_size(text, base=Size(10, 21)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "12", "0x5", "5x0", "-1x5", "1.5x2", "1e3x5", "5x5x5", "1000001x1", "99999999999x1", "0x", "nanx", "٣x٣",
     "999999x", "1280*768"],
)  # fmt: skip
def test_parse_size_says_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="WIDTHxHEIGHT") as caught:
        parse_size(text, base=Size(10, 10))
    assert repr(text) in str(caught.value)


def test_a_factor_needs_a_base() -> None:
    with pytest.raises(ValueError, match="no size to multiply"):
        parse_size("2x")


def test_sizes_and_regions_take_whole_positive_numbers() -> None:
    assert type(Size(np.int64(2), np.uint8(3)).height) is int  # type: ignore[arg-type]
    for wrong in (0, -1, 1.5, "3", None):
        with pytest.raises(ValueError, match="width"):
            Size(1, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="height=0"):
        Region(-5, -5, 0, 1)
    assert str(Size(768, 1280)) == "1280x768"


def test_regions_grow_and_intersect() -> None:
    region = Region(-3, 5, 10, 20)
    assert region.grow(4).grow(-4) == region
    assert region.grow(4).contains(region)
    assert not region.contains(region.grow(1))
    assert region.intersect(Region(7, 5, 1, 1)) is None  # touches, shares nothing
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (Region(*rng.integers(-6, 6, 2), *rng.integers(1, 8, 2)) for _ in range(2))
        common = a.intersect(b)
        rows = set(range(a.top, a.bottom)) & set(range(b.top, b.bottom))
        columns = set(range(a.left, a.right)) & set(range(b.left, b.right))
        assert (common.size.pixels if common else 0) == len(rows) * len(columns)
        assert common == b.intersect(a)


# ----------------------------------------------------------------------------------------------------- conversion


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_code_survives_the_way_to_floats_and_back(dtype: str) -> None:
    codes = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    unit = to_unit(codes)
    assert unit.dtype == np.float32
    assert unit[0] == 0
    assert unit[-1] == 1
    assert (np.diff(unit) > 0).all()
    for values in (unit, unit.astype(np.float64)):
        back = from_unit(values, dtype)
        assert back.dtype == dtype
        assert np.array_equal(back, codes)


def test_from_unit_rounds_halves_up_and_clips() -> None:
    halves = (np.arange(255) + 0.5) / 255
    assert np.array_equal(from_unit(np.nextafter(halves, 1), np.uint8), np.arange(1, 256))
    assert from_unit(np.array([-np.inf, -1e30, 1e30, np.inf]), np.uint16).tolist() == [0, 0, 65535, 65535]
    assert from_unit(np.array([0, 1]), np.uint16).tolist() == [0, 65535]
    assert from_unit(np.array([0.5], np.float16), np.uint16).tolist() == [32768]
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        from_unit(np.array([0.5, np.nan]), np.uint8)
    with pytest.raises(ValueError, match="int32"):
        from_unit(np.array([0.5]), np.int32)
    with pytest.raises(ValueError, match="int64"):
        to_unit(np.array([1]))


def test_floats_pass_unchanged_and_unshared() -> None:
    values = np.array([-2.0, 0.5, 7.0], np.float32)
    for out in (to_unit(values), from_unit(values, np.float32)):
        assert np.array_equal(out, values)
        assert not np.shares_memory(out, values)


# ----------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize(("extension", "mode", "dtype"), HOLDS)
def test_mode_depth_profile_and_recipe_survive(tmp_path: Path, extension: str, mode: str, dtype: str) -> None:
    icc = profile() if mode.startswith("RGB") and extension != "bmp" else None
    original = picture(mode, dtype, icc_profile=icc)
    recipe = {"seed": 7, "name": "naïve 🌿", "deep": [1.5, None, {"a": "\0\n"}]}
    target = tmp_path / f"out.{extension}"
    notes = save(original, target, recipe=recipe)
    back = load(target)
    assert (back.mode, back.pixels.dtype, back.name) == (mode, np.dtype(dtype), target.name)
    assert np.array_equal(back.pixels, original.pixels)
    assert back.icc_profile == icc
    assert back.notes == ()
    assert back.sha256 == original.sha256
    if extension == "bmp":
        assert "recipe" in notes[0]
        assert read_recipe(target) is None
    else:
        assert notes == ()
        assert read_recipe(target) == recipe
    assert [f.name for f in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_close_and_carries_the_recipe(tmp_path: Path, mode: str) -> None:
    smooth = np.tile(np.arange(0, 250, 5, dtype=np.uint8)[:, None, None], (1, 30, MODES[mode]))
    save(Picture(smooth, mode), tmp_path / "a.jpg", recipe={"seed": 1})
    back = load(tmp_path / "a.jpg")
    assert back.mode == mode
    assert np.abs(back.pixels.astype(int) - smooth).max() <= 3  # quality 95 on a ramp
    assert read_recipe(tmp_path / "a.jpg") == {"seed": 1}
    assert "left out" in save(Picture(smooth, mode), tmp_path / "b.jpg", recipe={"long": "x" * 70_000})[0]


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_webp_says_that_it_became_colour(tmp_path: Path, mode: str) -> None:
    original = picture(mode)
    assert "grey" in save(original, tmp_path / "a.webp")[0]
    back = load(tmp_path / "a.webp")
    assert np.array_equal(back.pixels[:, :, 0], original.pixels[:, :, 0])
    assert np.array_equal(back.pixels[:, :, -1], original.pixels[:, :, -1])


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16])
def test_multi_channel_tiff(tmp_path: Path, channels: int) -> None:
    for dtype in (np.uint8, np.uint16, np.float32):
        original = Picture(texture(6, 5, channels, dtype), "multi")
        save(original, tmp_path / "a.tif", overwrite=True)
        back = load(tmp_path / "a.tif")
        assert back.mode == ("L" if channels == 1 else "multi")  # one channel without a meaning is grey
        assert np.array_equal(back.pixels, original.pixels)


def test_float_values_outside_the_unit_survive(tmp_path: Path) -> None:
    values = np.array([[-3.5, 0, 1e30, 1e-42]], np.float32)[:, :, None]
    save(Picture(values, "L"), tmp_path / "a.tif")
    assert np.array_equal(load(tmp_path / "a.tif").pixels, values)


def test_a_16_bit_ramp_keeps_all_its_levels(tmp_path: Path) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    for name in ("a.png", "a.tif"):
        save(Picture(ramp, "RGB"), tmp_path / name)
        assert len(np.unique(load(tmp_path / name).pixels)) == 65536


def test_palette_pictures_keep_their_indices(tmp_path: Path) -> None:
    indices = texture(9, 8, 1)[:, :, 0] % 5
    for transparency in (None, 2, bytes([255, 0, 128])):
        image = Image.fromarray(indices, "P")
        image.putpalette([9, 9, 9, 9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])  # two entries of one colour
        options = {} if transparency is None else {"transparency": transparency}
        first = load(encoded(image, "PNG", **options))
        assert first.mode == ("RGB" if transparency is None else "RGBA")
        assert first.indices is not None
        assert np.array_equal(first.indices, indices)
        save(first, tmp_path / "p.png", overwrite=True)
        again = load(tmp_path / "p.png")
        assert Image.open(tmp_path / "p.png").mode == "P"
        assert again.indices is not None
        assert np.array_equal(again.indices, indices)
        assert np.array_equal(again.pixels, first.pixels)
    with pytest.raises(InputError, match="palette"):
        replace(first, pixels=first.pixels[::-1].copy())
    with pytest.raises(InputError, match="palette"):
        replace(first, palette=first.palette[:2] if first.palette is not None else None)


# ------------------------------------------------------------------------------------------- 16-bit PNG, both ways


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_deep_png_is_read_as_a_plain_writer_wrote_it(channels: int) -> None:
    pixels = texture(11, 7, channels, np.uint16)
    assert np.array_equal(load(plain_png16(pixels)).pixels, pixels)


def png_pixels(data: bytes) -> np.ndarray:
    """An independent PNG reader, straight from the specification, pixel by pixel (non-interlaced, 8 or 16 bit)."""
    header = png16.read_header(io.BytesIO(data))
    packed, at = b"", 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == int.from_bytes(data[at + 8 + length : at + 12 + length], "big")
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    raw = zlib.decompress(packed)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[header.colour]
    bpp, n_bytes = channels * header.depth // 8, header.width * channels * header.depth // 8
    above, rows = [0] * n_bytes, []
    for y in range(header.height):
        kind_of_filter, line = raw[y * (n_bytes + 1)], list(raw[y * (n_bytes + 1) + 1 : (y + 1) * (n_bytes + 1)])
        for x in range(n_bytes):
            a, b, c = (line[x - bpp] if x >= bpp else 0), above[x], (above[x - bpp] if x >= bpp else 0)
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[x] = (line[x] + (0, a, b, (a + b) // 2, paeth)[kind_of_filter]) % 256
        rows.append(line)
        above = line
    flat = np.array(rows, np.uint8)
    samples = flat.view(">u2").astype(np.uint16) if header.depth == 16 else flat
    return samples.reshape(header.height, header.width, channels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_our_png_is_read_by_an_independent_reader(channels: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png16, "_BLOCK_BYTES", 100)  # several blocks
    top = np.iinfo(dtype).max
    y, x = np.mgrid[0:19, 0:23]
    smooth = np.stack([(y * y + 3 * x * c + c) * (top // 600) for c in range(channels)], axis=2)  # all filters pay
    half_noise = np.where(y[:, :, None] % 3 == 0, texture(19, 23, channels, dtype), smooth % (top + 1)).astype(dtype)
    for pixels in (half_noise, np.zeros((3, 1, channels), dtype), texture(1, 5, channels, dtype)):
        buffer = io.BytesIO()
        png16.write(buffer, pixels)
        assert np.array_equal(png_pixels(buffer.getvalue()), pixels)
        with Image.open(buffer) as image:
            image.load()  # Pillow agrees about checksums and layout, and about the pixels it can hold
            if dtype == "uint8" or channels == 1:
                assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_a_deep_png_from_somebody_elses_writer() -> None:
    found = importlib.util.find_spec("skimage")
    assert found is not None
    assert found.submodule_search_locations is not None
    data = Path(found.submodule_search_locations[0], "data", "chessboard_RGB.png").read_bytes()
    got = load(data)
    assert got.pixels.dtype == np.uint16
    assert np.array_equal(got.pixels, png_pixels(data))


def test_interlaced_deep_png() -> None:
    pixels = texture(1, 1, 3, np.uint16)  # the first of the seven passes alone
    rows = b"\0" + pixels.astype(">u2").tobytes()
    assert np.array_equal(load(png(1, 1, 16, 2, rows, interlaced=1)).pixels, pixels)
    pixels = texture(8, 8, 3, np.uint16)
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    parts = (pixels[y::dy, x::dx].astype(">u2") for y, dy, x, dx in passes)
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    assert np.array_equal(load(png(8, 8, 16, 2, rows, interlaced=1)).pixels, pixels)


def test_one_transparent_colour_becomes_alpha() -> None:
    pixels = texture(5, 6, 3, np.uint16)
    key = pixels[2, 3]
    data = plain_png16(pixels, extra=chunk(b"tRNS", key.astype(">u2").tobytes()))
    deep = load(data)
    assert deep.mode == "RGBA"
    assert np.array_equal(deep.pixels[:, :, :3], pixels)
    assert np.argwhere(deep.pixels[:, :, 3] == 0).tolist() == [[2, 3]]
    four_greys = png(4, 1, 2, 0, b"\0\x1b", extra=chunk(b"tRNS", b"\0\2"))  # codes 0 1 2 3, of which 2 is clear
    assert load(four_greys).pixels.tolist() == [[[0, 255], [85, 255], [170, 0], [255, 255]]]


# ---------------------------------------------------------------------------------------------------- other inputs


def test_arrays() -> None:
    grey = np.arange(6, dtype=np.uint16).reshape(2, 3)
    taken = load(grey)
    grey[0, 0] = 99
    assert taken.pixels[0, 0, 0] == 0  # a picture does not change behind its owner's back
    assert load(grey > 2).max_value == 255
    assert load(np.zeros((2, 3, 4), np.float64)).pixels.dtype == np.float32
    assert load(np.zeros((2, 3, 5), np.uint8)).mode == "multi"
    assert load(np.zeros((4, 6, 3), np.uint8)[:, ::2]).pixels.flags.c_contiguous
    assert load(np.full((2, 3), 300, np.int64)).notes == ("int64 values kept as uint16",)
    big_endian = np.arange(6, dtype=">u2").reshape(2, 3)
    assert load(big_endian).sha256 == load(big_endian.astype("<u2")).sha256


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((0, 3)), "shape"),
        (np.zeros(3), "shape"),
        (np.zeros((2, 2, 2, 2)), "shape"),
        (np.zeros((2, 2, 17)), "17 channels"),
        (np.full((2, 2), -1), "do not fit"),
        (np.full((2, 2), np.nan), "4 of 4 values are NaN"),
        (np.full((2, 2), 1e300), "do not fit float32"),
        (np.full((2, 2), "a"), "not integers"),
        (np.zeros((2, 2), complex), "not integers"),
        (np.zeros((2, 2), object), "not integers"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray, match: str) -> None:
    with pytest.raises(InputError, match=f"^array: .*{match}"):
        load(array)


def test_other_things_are_refused() -> None:
    for thing in (None, 3, [1, 2], object()):
        with pytest.raises(InputError, match="is not a picture"):
            load(thing)


def test_the_pixel_limit_is_checked_everywhere() -> None:
    pixels = texture(10, 10, 3)
    for source in (pixels, encoded(Image.fromarray(pixels), "PNG"), tiff_of(pixels, photometric="rgb")):
        assert load(source, max_pixels=100).size.pixels == 100
        with pytest.raises(InputError, match="10x10 = 100 pixels"):
            load(source, max_pixels=99)


def test_scikit_image_pictures() -> None:
    whole = load("skimage:grass")
    assert (whole.size, whole.mode, whole.name) == (Size(512, 512), "L", "skimage:grass")
    crop = load("skimage:grass:256")
    assert np.array_equal(crop.pixels, whole.pixels[128:384, 128:384])
    for wrong in ("skimage:lily", "skimage:", "skimage:../../etc/passwd", "skimage:multipage"):
        with pytest.raises(InputError, match=r"accepted are .*brick.*grass.*gravel"):
            load(wrong)
    for wrong in ("skimage:grass:513", "skimage:grass:0", "skimage:grass:-1", "skimage:grass:x"):
        with pytest.raises(InputError, match="from 1 to 512"):
            load(wrong)


def test_standard_input_and_output(tmp_path: Path) -> None:
    code = "from texsyn.images import load, save; print(save(load('-'), '-'), file=__import__('sys').stderr)"
    data = plain_png16(texture(5, 4, 3, np.uint16))
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert np.array_equal(load(done.stdout).pixels, load(data).pixels)
    with open("/dev/zero", "rb") as endless:
        code = "from texsyn.images import load; load('-')"
        done = subprocess.run([sys.executable, "-c", code], stdin=endless, capture_output=True, timeout=20)
    assert done.stderr.splitlines()[-1].startswith(b"texsyn.images.InputError: standard input: is not a picture")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_in_every_format(orientation: int) -> None:
    upright = texture(6, 4, 3)
    undo = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}  # how a camera held that way stores the upright picture
    stored = np.ascontiguousarray(turn(upright, undo[orientation])[0])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(stored)
    files = [encoded(image, "PNG", exif=exif), encoded(image, "WEBP", lossless=True, exif=exif)]
    files.append(encoded(image, "TIFF", exif=exif, compression="tiff_lzw"))
    files.append(tiff_of(stored, photometric="rgb", extratags=[(ORIENTATION, 3, 1, orientation, True)]))
    deep = stored.astype(np.uint16) * 257
    tags = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    files.append(plain_png16(deep, extra=tags))
    with Image.open(io.BytesIO(files[0])) as opened:  # Pillow is the judge of what orientation means
        from PIL import ImageOps

        assert np.array_equal(np.asarray(ImageOps.exif_transpose(opened)), upright)
    for data in files:
        got = load(data)
        scale = 257 if got.pixels.dtype == np.uint16 else 1
        assert np.array_equal(got.pixels, upright.astype(int) * scale)
        assert len(got.notes) == (orientation != 1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_lzw_tiff_keeps_both_bytes(channels: int, order: str) -> None:
    pixels = texture(9, 11, channels, np.uint16)
    assert np.array_equal(load(lzw_tiff16(pixels, order=order)).pixels, pixels)


def test_premultiplied_alpha_is_divided_out() -> None:
    colour = np.array([[[60000, 30000, 0], [60000, 30000, 0], [0, 0, 0]]], np.uint16)
    alpha = np.array([[[65535], [32768], [0]]], np.uint16)
    stored = np.floor(colour * (alpha / 65535) + 0.5).astype(np.uint16)
    stored = np.concatenate([stored, alpha], axis=2)
    for data in (
        tiff_of(stored, photometric="rgb", extrasamples=["assocalpha"]),
        lzw_tiff16(stored, alpha=1),
    ):
        got = load(data)
        assert got.mode == "RGBA"
        assert np.abs(got.pixels[:, :, :3].astype(int) - colour).max() <= 2  # half a code over alpha 1/2, twice
        assert np.array_equal(got.pixels[:, :, 3:], alpha)


def test_tiff_variants() -> None:
    pixels = texture(9, 11, 3, np.uint16)
    planes = tiff_of(np.moveaxis(pixels, 2, 0), photometric="rgb", planarconfig="separate")
    tiles = tiff_of(pixels, photometric="rgb", tile=(16, 16), compression="zlib", predictor=True)
    big = tiff_of(pixels, photometric="rgb", bigtiff=True, byteorder=">")
    for data in (planes, tiles, big):
        assert np.array_equal(load(data).pixels, pixels)
    white = tiff_of(pixels[:, :, 0], photometric="miniswhite")
    assert np.array_equal(load(white).pixels[:, :, 0], 65535 - pixels[:, :, 0])
    unnamed = load(tiff_of(texture(4, 5, 4), photometric="rgb", extrasamples=["unspecified"]))
    assert unnamed.mode == "RGBA"
    assert "taken as alpha" in unnamed.notes[0]


def test_deep_ppm_is_not_cut_to_8_bits() -> None:
    pixels = texture(3, 4, 3, np.uint16)
    data = b"P6\n4 3\n65535\n" + pixels.astype(">u2").tobytes()
    assert np.array_equal(load(data).pixels, pixels)
    thousand = b"P6\n2 1\n1000\n" + np.array([0, 500, 1000, 1, 2, 3], ">u2").tobytes()
    assert load(thousand).pixels.ravel().tolist() == [0, 32768, 65535, 66, 131, 197]
    with pytest.raises(InputError, match="plain-text PPM"):
        load(b"P3\n1 1\n65535\n1 2 3\n")
    with pytest.raises(InputError, match="cut off"):
        load(data[:-1])


def test_conversions_are_noted() -> None:
    cmyk = Image.fromarray(np.full((2, 2, 4), (0, 255, 255, 0), np.uint8), "CMYK")  # magenta and yellow: red
    got = load(encoded(cmyk, "TIFF"))
    assert got.pixels[0, 0].tolist() == [255, 0, 0]
    assert "CMYK" in got.notes[0]
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime")]
    got = load(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    assert got.pixels[0, 0].tolist() == [255, 0, 0]
    assert "first frame" in got.notes[0]


# ------------------------------------------------------------------------------------------------- what is hostile


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> list[Hostile]:
    return make_hostile(tmp_path_factory.mktemp("hostile"))


def test_hostile_files_end_in_a_picture_or_one_line(hostile: list[Hostile], capfd: pytest.CaptureFixture[str]) -> None:
    assert len(hostile) >= 200
    for item in hostile:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                got, message = load(item.path), ""
            except InputError as error:
                got, message = None, str(error)
        assert ("refused" if got is None else "picture") == item.expect, (item, message)
        if got is None:
            assert message.isprintable(), (item, message)  # so one line it is
            assert printable(os.path.basename(item.path)) in message, (item, message)
        else:
            assert "/" not in got.name
            assert got.name.isprintable()
    assert capfd.readouterr() == ("", "")


def test_bombs_are_refused_without_allocating(hostile: list[Hostile]) -> None:
    canvas = next(item.path for item in hostile if item.name == "bomb.webp")
    with pytest.raises(InputError, match="has 8388608x512"):  # by us: Pillow's class would open its canvas first
        load(canvas)
    bombs = [item for item in hostile if item.name.startswith(("bomb", "lying", "giant"))]
    assert len(bombs) > 10
    tracemalloc.start()
    try:
        for item in bombs:
            if item.expect == "refused":
                with pytest.raises(InputError):
                    load(item.path)
        assert tracemalloc.get_traced_memory()[1] < 30e6  # bytes, Python's and NumPy's
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "tif", "bmp", "ppm"])
def test_every_truncation_and_any_flipped_byte(extension: str, hostile: list[Hostile]) -> None:
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(extension, extension.upper())
    data = encoded(Image.fromarray(texture(9, 8, 3)), kind)
    rng = np.random.default_rng(1)
    cut = [data[:part] for part in np.linspace(0, len(data) - 1, 40, dtype=int)]
    flipped = []
    for _ in range(60):
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
        flipped.append(bytes(changed))
    for damaged in cut + flipped:
        try:
            got = load(damaged, max_pixels=10**6)
        except InputError as error:
            assert str(error).startswith("the bytes given: ")  # noqa: PT017 (either end is right)
        else:
            assert got.size.pixels <= 10**6


def test_recipes_of_hostile_files(hostile: list[Hostile]) -> None:
    for item in hostile:
        try:
            assert read_recipe(item.path) is None, item
        except InputError as error:
            assert str(error).isprintable()  # noqa: PT017 (either end is right)


# ---------------------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize(
    ("name", "mode", "dtype", "match"),
    [
        ("a.gif", "RGB", "uint8", r"'\.gif' is not known; accepted are \.png"),
        ("a", "RGB", "uint8", "no extension; accepted are"),
        ("a.jpg", "RGB", "uint16", r"jpeg does not hold uint16 values; use \.png, \.tif or \.tiff"),
        ("a.png", "RGB", "float32", r"png does not hold float32 values; use \.tif, \.tiff or \.exr"),
        ("a.jpg", "RGBA", "uint8", r"jpeg does not hold alpha; use \.png, \.tif, \.tiff or \.webp"),
        ("a.png", "multi", "uint8", "pictures of mode multi"),
    ],
)
def test_formats_that_cannot_hold_the_picture(tmp_path: Path, name: str, mode: str, dtype: str, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        check_target(tmp_path / name, mode=mode, dtype=dtype)
    assert name in str(caught.value)
    with pytest.raises(ValueError, match=match):
        save(Picture(texture(2, 2, MODES.get(mode, 7), dtype), mode), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(OutputExists, match=r"old\.png: exists"):
        check_target(tmp_path / "old.png")
    assert check_target(tmp_path / "old.png", overwrite=True) == "png"
    for name in ("folder.png", "pipe.png", "loop.png", "no/such.png", "a\0b.png", "z" * 300 + ".png"):
        for attempt in (check_target, lambda path, overwrite: save(picture(), path, overwrite=overwrite)):
            with pytest.raises(OutputError) as caught:
                attempt(tmp_path / name, overwrite=True)
            assert str(caught.value).isprintable()
            assert not isinstance(caught.value, OutputExists)
    with pytest.raises(ValueError, match="sides up to 16383"):
        check_target("a.webp", size=Size(1, 20_000))
    with pytest.raises(ValueError, match="format='gif'"):
        check_target("-", format="gif")


def test_an_existing_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    save(picture(), target)
    before = target.read_bytes()
    with pytest.raises(OutputExists):
        save(picture("L"), target)
    assert target.read_bytes() == before
    target.chmod(0o640)
    save(picture("L"), target, overwrite=True)
    assert load(target).mode == "L"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    (tmp_path / "link.png").symlink_to(target)
    save(picture("LA"), tmp_path / "link.png", overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert load(target).mode == "LA"


def test_a_new_file_obeys_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        save(picture(), tmp_path / "a.png")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, real = tmp_path / "a.png", png16.write

    def write_while_another_appears(*args: Any, **options: Any) -> None:
        real(*args, **options)
        target.write_bytes(b"somebody else's")

    monkeypatch.setattr(png16, "write", write_while_another_appears)
    for link in (os.link, None):  # with hard links and on a file system without
        target.unlink(missing_ok=True)
        if link is None:
            monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
        with pytest.raises(OutputExists):
            save(picture(), target)
        assert [f.name for f in tmp_path.iterdir()] == ["a.png"]
        assert target.read_bytes() == b"somebody else's"


@pytest.mark.parametrize("extension", ["png", "tif", "jpg", "webp", "bmp"])
@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
)
@pytest.mark.parametrize("moment", ["first write", "later write", "fsync", "replace"])
def test_any_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str, failure: BaseException, expected: type, moment: str
) -> None:
    target = tmp_path / f"a.{extension}"
    target.write_bytes(b"the old file")

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif moment == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        allowed = 0 if moment == "first write" else 20

        class Full(io.FileIO):
            """A file on a disk that becomes full."""

            def write(self, data: Any) -> int:
                if self.tell() + memoryview(data).nbytes > allowed:
                    raise failure
                return super().write(data)

        monkeypatch.setattr("builtins.open", lambda path, mode: Full(path, "x"))
    with pytest.raises(expected) as caught:
        save(picture(), target, overwrite=True)
    monkeypatch.undo()
    if expected is OutputError:
        assert str(caught.value) == f"{target}: cannot be written (No space left on device)"
    assert target.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk(tmp_path: Path) -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OutputError, match="No space left"):
        save(picture(), full)


def test_streams_and_explicit_formats(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    save(picture(dtype=np.uint16), buffer, format="tif")
    assert buffer.getvalue()[:2] == b"II"
    assert np.array_equal(load(buffer.getvalue()).pixels, picture(dtype=np.uint16).pixels)
    save(picture(), tmp_path / "odd.name", format=".PNG")
    assert (tmp_path / "odd.name").read_bytes().startswith(png16.SIGNATURE)


def test_the_same_picture_makes_the_same_file(tmp_path: Path) -> None:
    for extension in ("png", "tif", "jpg", "webp", "bmp"):
        for name in ("a", "b"):
            save(picture(), tmp_path / f"{name}.{extension}", recipe={"seed": 1})
        assert (tmp_path / f"a.{extension}").read_bytes() == (tmp_path / f"b.{extension}").read_bytes()


# --------------------------------------------------------------------------------------------------------- recipes


def test_recipes_found_and_not_found(tmp_path: Path) -> None:
    image = Image.fromarray(texture(4, 4, 3))
    text = json.dumps({"seed": 3})

    def with_text(extra: bytes) -> bytes:
        return png(1, 1, 8, 0, b"\0\0", extra)

    assert read_recipe(with_text(chunk(b"iTXt", b"texsyn\0\0\0\0\0" + text.encode()))) == {"seed": 3}
    assert read_recipe(with_text(chunk(b"iTXt", b"texsyn\0\1\0en\0\0" + zlib.compress(text.encode())))) == {"seed": 3}
    other = chunk(b"iTXt", b"t\0\0\0\0\0x") + chunk(b"tEXt", b"texsyn\0{}")
    assert read_recipe(with_text(other + chunk(b"iTXt", b"texsyn\0\0\0\0\0" + text.encode()))) == {"seed": 3}
    for body in (b"", b"\0\0", b"\0\0\0\0", b"\0\0\0\0not JSON", b"\0\0\0\0[1]", b"\1\0\0\0not zlib", b"\0\0\0\0\xff"):
        assert read_recipe(with_text(chunk(b"iTXt", b"texsyn\0" + body))) is None
    for body in (b"\0\0\0\0" + b"x" * 2**22, b"\1\0\0\0" + zlib.compress(bytes(2**24))):
        with pytest.raises(InputError, match="4194304"):
            read_recipe(with_text(chunk(b"iTXt", b"texsyn\0" + body)))
    assert read_recipe(encoded(image, "JPEG")) is None
    assert read_recipe(tiff_of(texture(4, 4, 3), photometric="rgb", description='{"seed": 3}')) is None  # not ours
    assert read_recipe(b"not a picture") is None
    with pytest.raises(InputError, match="missing"):
        read_recipe(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="longer than the accepted"):
        save(picture(), tmp_path / "a.png", recipe={"x": "y" * 2**22})
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(picture(), tmp_path / "a.png", recipe={"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ the picture


def test_picture_properties_and_rules() -> None:
    rgba = picture("RGBA", np.uint16)
    assert (rgba.size, rgba.channels, rgba.has_alpha, rgba.max_value) == (Size(13, 17), 4, True, 65535)
    assert not picture("RGB").has_alpha
    assert picture(dtype=np.float32).max_value == 1
    assert rgba.sha256 != replace(rgba, pixels=rgba.pixels[::-1]).sha256
    assert rgba.sha256 == replace(rgba, name="other", notes=("x",)).sha256
    flat = (
        replace(picture("L"), pixels=texture(1, 6, 1)),
        replace(picture("L"), pixels=texture(1, 6, 1).reshape(6, 1, 1)),
    )
    assert flat[0].sha256 != flat[1].sha256
    pixels = texture(2, 2, 3)
    for wrong, mode in (
        (pixels[0], "RGB"), (pixels.astype(np.int32), "RGB"), (pixels.astype(np.float64), "RGB"),
        (pixels, "L"), (pixels, "CMYK"), (pixels[:0], "RGB"), (texture(2, 2, 17), "multi"),
        (np.full((2, 2, 3), np.inf, np.float32), "RGB"),
    ):  # fmt: skip
        with pytest.raises(InputError):
            Picture(wrong, mode)


def test_importing_is_cheap() -> None:
    code = "import sys, texsyn.images; print([m for m in ('torch', 'PIL', 'tifffile', 'skimage') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tifffile_reads_what_we_write(tmp_path: Path) -> None:
    original = picture("RGBA", np.uint16)
    save(original, tmp_path / "a.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), original.pixels)
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(np.asarray(image), original.pixels >> 8)  # all that Pillow keeps
