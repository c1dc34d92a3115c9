"""Frames to files: what comes back by Pillow and PyAV, timing, alpha, depth, refusals, all or nothing."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile import texture
from PIL import Image, ImageSequence

from texsyn.images import OutputError, OutputExists, Picture, load, read_recipe
from texsyn.images.animation import check_animation, save_animation

RECIPE = {"method": "animate", "seed": 3}


def frames(n: int, channels: int = 3, dtype: str = "uint8", height: int = 20, width: int = 31) -> list[Picture]:
    """A texture that moves to the left, four pixels a frame."""
    pixels = texture(height, width, channels)
    if dtype == "uint16":
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    elif dtype == "float32":
        pixels = pixels.astype(np.float32) / 50 - 1
    return [load(np.roll(pixels, -4 * k, 1)) for k in range(n)]


def read(path: str | Path) -> tuple[list[np.ndarray], list[int], int]:
    """Frames as RGBA, their milliseconds, and how often it is played (0: for ever)."""
    with Image.open(path) as image:
        loop = image.info.get("loop", -1)
        found, times = [], []
        for one in ImageSequence.Iterator(image):
            found.append(np.asarray(one.convert("RGBA")))
            times.append(int(one.info["duration"]))
    return found, times, int(loop)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_webp_gives_every_frame_back(tmp_path: Path, channels: int, dtype: str) -> None:
    made = frames(5, channels, dtype)
    notes = save_animation(made, tmp_path / "a.webp", fps=30, recipe=RECIPE)
    assert [("8 bits" in note) for note in notes] == [True] * (dtype == "uint16")
    found, times, loop = read(tmp_path / "a.webp")
    assert (len(found), loop) == (5, 0)
    assert times == [33, 34, 33, 33, 34]
    for one, picture in zip(found, made, strict=True):
        pixels = picture.pixels if dtype == "uint8" else (picture.pixels // 257).astype(np.uint8)
        colours = np.broadcast_to(pixels[..., : 1 if channels < 3 else 3], (20, 31, 3))
        seen = one[..., 3] > 0
        np.testing.assert_array_equal(one[seen, :3], colours[seen])
        np.testing.assert_array_equal(one[..., 3], pixels[..., -1] if channels in (2, 4) else 255)
    assert read_recipe(tmp_path / "a.webp") == RECIPE


def test_a_grey_gif_gives_every_frame_back_and_plays_at_its_speed(tmp_path: Path) -> None:
    made = frames(7, 1)
    assert save_animation(made, tmp_path / "a.gif", fps=30, recipe=RECIPE) == ()
    found, times, loop = read(tmp_path / "a.gif")
    assert (times, loop) == ([30, 40, 30, 30, 40, 30, 30], 0)
    for one, picture in zip(found, made, strict=True):
        np.testing.assert_array_equal(one[..., :1], picture.pixels)
    with Image.open(tmp_path / "a.gif") as image:
        assert b'"animate"' in image.info["comment"]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_gif_has_near_colours_the_same_in_all_frames_and_alpha_that_is_there_or_not(
    tmp_path: Path, channels: int
) -> None:
    made = frames(6, channels)
    notes = save_animation(made, tmp_path / "a.gif", fps=10)
    assert len(notes) == 1 + (channels != 3)
    found, times, _ = read(tmp_path / "a.gif")
    assert times == [100] * 6
    for one, picture in zip(found, made, strict=True):
        there = picture.pixels[..., -1] >= 128 if channels != 3 else np.ones((20, 31), bool)
        np.testing.assert_array_equal(one[..., 3], np.where(there, 255, 0))
        colours = np.broadcast_to(picture.pixels[..., : 1 if channels == 2 else 3], (20, 31, 3))
        away = np.abs(one[..., :3].astype(int) - colours)[there]
        assert away.mean() < 12
    if channels == 3:
        moved = np.roll(found[0], -4, 1)
        np.testing.assert_array_equal(moved, found[1])  # one palette: what moved kept its colours


@pytest.mark.parametrize(
    ("channels", "dtype", "ending"),
    [(1, "uint8", "png"), (4, "uint16", "png"), (3, "float32", "tif"), (5, "uint16", "tif")],
)
def test_a_folder_keeps_depth_and_channels(tmp_path: Path, channels: int, dtype: str, ending: str) -> None:
    made = frames(3, channels, dtype)
    assert save_animation(iter(made), tmp_path / "walk", recipe=RECIPE) == ()
    assert sorted(os.listdir(tmp_path / "walk")) == [f"frame_000{k}.{ending}" for k in (1, 2, 3)]
    assert os.listdir(tmp_path) == ["walk"]
    for k, picture in enumerate(made, 1):
        found = load(tmp_path / "walk" / f"frame_000{k}.{ending}")
        assert found.pixels.dtype == picture.pixels.dtype
        np.testing.assert_array_equal(found.pixels, picture.pixels)
    assert read_recipe(tmp_path / "walk" / f"frame_0002.{ending}") == RECIPE | {"frame": 2}


def test_a_folder_is_replaced_whole_and_never_what_is_no_frame(tmp_path: Path) -> None:
    walk = tmp_path / "walk"
    walk.mkdir()
    save_animation(frames(4), walk)  # an empty one may be used
    with pytest.raises(OutputExists, match="walk: exists"):
        save_animation(frames(2), walk)
    save_animation(frames(2), walk, overwrite=True)
    assert sorted(os.listdir(walk)) == ["frame_0001.png", "frame_0002.png"]
    (walk / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds thesis\.txt beside frames"):
        save_animation(frames(1), walk, overwrite=True)
    assert len(os.listdir(walk)) == 3
    (walk / "thesis.txt").rename(walk / "frame_by_frame.txt")
    with pytest.raises(OutputError, match=r"holds frame_by_frame\.txt beside frames"):
        save_animation(frames(1), walk, overwrite=True)
    (walk / "frame_by_frame.txt").unlink()
    (walk / "frame_0003.png").mkdir()
    with pytest.raises(OutputError, match=r"holds frame_0003\.png beside frames"):
        save_animation(frames(1), walk, overwrite=True)
    assert len(os.listdir(walk)) == 3
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        save_animation(frames(1), tmp_path / "file", overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "walk"]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "walk"])
def test_nothing_is_left_of_an_animation_that_breaks_off(tmp_path: Path, name: str) -> None:
    def breaking() -> Iterator[Picture]:
        yield from frames(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_animation(breaking(), tmp_path / name)
    with pytest.raises(ValueError, match="a frame of 31x19 RGB follows one of 31x20 RGB"):
        save_animation([*frames(1), *frames(1, height=19)], tmp_path / name)
    with pytest.raises(ValueError, match="at least one frame"):
        save_animation([], tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_the_slowest_speed_can_be_written(tmp_path: Path, name: str) -> None:
    save_animation(frames(2), tmp_path / name, fps=0.01)
    assert read(tmp_path / name)[1] == [100_000, 100_000]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.avi", {}, r"'\.avi' is not known; accepted are \.gif, \.webp, \.mp4"),
        ("a.gif", {"dtype": "float32"}, "gif does not hold float32 values; give a name without an ending"),
        ("a.webp", {"mode": "multi"}, "webp does not hold pictures of mode multi"),
        ("a.mp4", {"mode": "RGBA"}, "mp4 does not hold alpha"),
        ("a.gif", {"fps": 60}, r"fps=60 should be from 0\.01 to, for gif, 50"),
        ("walk", {"fps": 0}, r"fps=0 should be from 0\.01"),
        ("a.webp", {"fps": 1e-9}, r"fps=1e-09 should be from 0\.01"),
    ],
)
def test_what_a_format_does_not_hold_is_refused_first(name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_animation(name, **options)  # type: ignore[arg-type]


def test_without_its_package_mp4_names_it_and_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    with pytest.raises(ValueError, match=r"a\.mp4: MP4 needs .*pip install 'texsyn\[video\]', or write \.webp"):
        check_animation("a.mp4")


@pytest.mark.parametrize("channels", [1, 3])
def test_mp4_plays_the_frames(tmp_path: Path, channels: int) -> None:
    av = pytest.importorskip("av")
    smooth = np.linspace(30, 220, 31)[None, :, None] * np.linspace(0.4, 1, 20)[:, None, None]
    pixels = np.repeat(smooth, channels, 2).astype(np.uint8)
    made = [load(np.roll(pixels, -k, 0)) for k in range(6)]
    notes = save_animation(made, tmp_path / "a.mp4", fps=12.5, recipe=RECIPE)
    assert notes == ("MP4 holds even sides: the last row or column is doubled, to 32x20",)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == 12.5
        assert '"animate"' in container.metadata["comment"]
        found = [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]
    assert len(found) == 6
    for one, picture in zip(found, made, strict=True):
        assert one.shape == (20, 32, 3)
        assert np.abs(one[:, :31].astype(int) - picture.pixels).mean() < 4
