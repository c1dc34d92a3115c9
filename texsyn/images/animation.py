"""Pictures one after the other: GIF, WebP and MP4 files that play in a loop, or a folder of numbered pictures.

Idea: the frames come as Pictures, and what a format cannot hold of their depth or alpha is refused before the long work
or noted: GIF has 256 colours, taken from all of the frames together, and alpha that is there or not; WebP loses
nothing but colours where alpha is 0; MP4 is H.264 of PyAV, the extra texsyn[video]; the folder keeps depth and
channels. All or nothing, as for one picture.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from texsyn.images.depth import convert_depth
from texsyn.images.picture import OutputError, OutputExists, Picture, Size, printable, reason
from texsyn.images.recipe_text import IMAGE_DESCRIPTION
from texsyn.images.saving import check_path, save, write_atomically

KINDS = {".gif": "gif", ".webp": "webp", ".mp4": "mp4", "": "folder"}
ACCEPTED = ".gif, .webp, .mp4, or a name without an ending for a folder of pictures"
SLOWEST = 0.01  # frames a second: files count hundredths or thousandths, in few bytes
FASTEST = {"gif": 50.0, "webp": 1000.0, "mp4": 240.0, "folder": 1000.0}  # frames a second; GIF counts hundredths
LONGEST = {"gif": 65535, "webp": 16383, "mp4": 8192, "folder": 2**31 - 1}  # side in pixels
MISSING = "MP4 needs a further package: pip install 'texsyn[video]', or write .webp, .gif or a folder of pictures"
PALETTE_FRAMES = 8  # from which the 256 colours of a GIF are taken


def check_animation(
    path: str | os.PathLike[str],
    *,
    mode: str = "RGB",
    dtype: Any = "uint8",
    size: Size | None = None,
    fps: float = 10.0,
    overwrite: bool = False,
) -> str:
    """The kind that save_animation would write ("gif", "webp", "mp4" or "folder"), if it could; ask before long work.

    ValueError: an ending, mode, type, size or speed that the format does not hold, or PyAV is missing. OutputExists,
    OutputError: as for save(); a folder is replaced only where it holds frames and nothing else.

    >>> check_animation("waves.gif")
    'gif'
    >>> check_animation("waves.avi")
    Traceback (most recent call last):
    ValueError: waves.avi: the ending '.avi' is not known; accepted are .gif, .webp, .mp4, or a name without an ending \
for a folder of pictures
    """
    text = os.fsdecode(path)
    shown, ending = printable(text), os.path.splitext(text)[1].lower()
    if ending not in KINDS:
        raise ValueError(f"{shown}: the ending {printable(ending)!r} is not known; accepted are {ACCEPTED}")
    kind = KINDS[ending]
    if kind != "folder" and (np.dtype(dtype).kind == "f" or mode == "multi"):
        what = f"{np.dtype(dtype)} values" if np.dtype(dtype).kind == "f" else f"pictures of mode {mode}"
        raise ValueError(f"{shown}: {kind} does not hold {what}; give a name without an ending for a folder of them")
    if kind == "mp4" and mode in ("LA", "RGBA"):
        raise ValueError(f"{shown}: mp4 does not hold alpha; use .webp, .gif or a name without an ending for a folder")
    if not SLOWEST <= fps <= FASTEST[kind]:
        raise ValueError(f"{shown}: fps={fps:g} should be from {SLOWEST:g} to, for {kind}, {FASTEST[kind]:g}")
    if size is not None and max(size.height, size.width) > LONGEST[kind]:
        raise ValueError(f"{shown}: {kind} holds sides up to {LONGEST[kind]} pixels, not {size}; use a folder")
    if kind == "mp4" and importlib.util.find_spec("av") is None:
        raise ValueError(f"{shown}: {MISSING}")
    if kind == "folder":
        _check_folder(Path(text), shown, overwrite)
    else:
        check_path(text, overwrite=overwrite)
    return kind


def save_animation(
    frames: Iterable[Picture],
    path: str | os.PathLike[str],
    *,
    fps: float = 10.0,
    recipe: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write the frames, all of one size and kind, to play `fps` a second for ever. Returns notes on what was lost.

    All frames but those of a folder and of MP4 are in memory at once, as 8 bits. Raises as check_animation; OutputError
    too when the disk is full; nothing is left of a file or folder that is not complete.
    """
    text = os.fsdecode(path)
    found = iter(frames)
    first = next(found, None)
    if first is None:
        raise ValueError("an animation needs at least one frame")
    kind = check_animation(
        text, mode=first.mode, dtype=first.pixels.dtype, size=first.size, fps=fps, overwrite=overwrite
    )
    every = _alike(first, found)
    if kind == "folder":
        return _save_folder(every, Path(text), recipe, overwrite)
    notes = [] if first.pixels.dtype == np.uint8 else [f"{kind.upper()} holds 8 bits: frames were rounded to those"]
    shown = (replace(convert_depth(one, "8"), palette=None, indices=None) for one in every)
    described = None if recipe is None else json.dumps({"texsyn": dict(recipe)}, allow_nan=False)
    file = io.BytesIO()
    if kind == "mp4":
        notes += _write_mp4(shown, file, fps, described)
    else:
        (_write_gif if kind == "gif" else _write_webp)([one.pixels for one in shown], file, fps, described, notes)
    write_atomically(text, file.getvalue(), overwrite=overwrite)
    return tuple(notes)


def _alike(first: Picture, others: Iterable[Picture]) -> Iterable[Picture]:
    yield first
    for one in others:
        if (one.pixels.shape, one.pixels.dtype, one.mode) != (first.pixels.shape, first.pixels.dtype, first.mode):
            raise ValueError(f"a frame of {one.size} {one.mode} follows one of {first.size} {first.mode}")
        yield one


def _durations(n: int, fps: float, unit: int) -> list[int]:
    """Milliseconds of each frame, multiples of `unit`, whose sum is that of the exact ones, rounded.

    >>> _durations(4, 30, 10)
    [30, 40, 30, 30]
    """
    ends = [unit * round(1000 * k / fps / unit) for k in range(n + 1)]
    return [max(unit, b - a) for a, b in pairwise(ends)]


def _write_gif(frames: Sequence[np.ndarray], file: BinaryIO, fps: float, about: str | None, notes: list[str]) -> None:
    from PIL import Image

    channels = frames[0].shape[2]
    if channels == 1:  # the greys are the palette
        images = [Image.fromarray(one[:, :, 0]) for one in frames]
    else:
        chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, PALETTE_FRAMES).round().astype(int)]
        n = 256 if channels == 3 else 255  # one is for where there is nothing
        colours = [_colours(one) for one in chosen]
        shared = Image.fromarray(np.concatenate(colours)).quantize(n)
        images = []
        for one in frames:
            image = Image.fromarray(_colours(one)).quantize(palette=shared, dither=Image.Dither.NONE)
            if channels in (2, 4):
                at = np.where(one[:, :, -1] < 128, np.uint8(255), np.asarray(image))
                image.frombytes(at.tobytes())
            images.append(image)
        notes.append("GIF holds 256 colours: frames were given the nearest ones")
    options: dict[str, Any] = {} if about is None else {"comment": about.encode()}
    if channels in (2, 4):
        options |= {"transparency": 255, "disposal": 2}
        notes.append("GIF holds no half alpha: pixels are there or not")
    images[0].save(
        file, "GIF", save_all=True, append_images=images[1:], duration=_durations(len(images), fps, 10), loop=0,
        optimize=False, **options,
    )  # fmt: skip


def _colours(pixels: np.ndarray) -> np.ndarray:
    """RGB of any of our modes, without its alpha."""
    return pixels[:, :, :3] if pixels.shape[2] >= 3 else np.repeat(pixels[:, :, :1], 3, 2)


def _write_webp(frames: Sequence[np.ndarray], file: BinaryIO, fps: float, about: str | None, notes: list[str]) -> None:
    from PIL import Image

    images = [
        Image.fromarray(one if one.shape[2] >= 3 else np.concatenate([_colours(one), one[:, :, 1:]], 2))
        for one in frames
    ]
    options: dict[str, Any] = {}
    if about is not None:
        options["exif"] = Image.Exif()
        options["exif"][IMAGE_DESCRIPTION] = about
    images[0].save(
        file, "WEBP", save_all=True, append_images=images[1:], duration=_durations(len(images), fps, 1), loop=0,
        lossless=True, exact=True, **options,
    )  # fmt: skip


def _write_mp4(frames: Iterable[Picture], file: BinaryIO, fps: float, about: str | None) -> list[str]:
    from fractions import Fraction

    import av

    notes: list[str] = []
    with av.open(file, "w", format="mp4") as container:
        if about is not None:
            container.metadata["comment"] = about
        stream: Any = None
        for one in frames:
            pixels = _colours(one.pixels)
            height, width = (n + n % 2 for n in pixels.shape[:2])  # colour is kept for every second pixel
            if (height, width) != pixels.shape[:2]:
                pixels = np.pad(pixels, ((0, height - len(pixels)), (0, width - pixels.shape[1]), (0, 0)), "edge")
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
                stream.options = {"crf": "12"}
                if (height, width) != one.pixels.shape[:2]:
                    notes.append(f"MP4 holds even sides: the last row or column is doubled, to {width}x{height}")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return notes


# ------------------------------------------------------------------------------------------------------------- folders


def _check_folder(path: Path, shown: str, overwrite: bool) -> None:
    """Raises where _save_folder could not write."""
    parent = path.resolve().parent
    if not parent.is_dir():
        raise OutputError(f"{shown}: its folder does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{shown}: its folder may not be written to")
    if path.is_dir():
        names = os.listdir(path)
        if names and not overwrite:
            raise OutputExists(f"{shown}: exists; ask for overwriting to replace it")
        if others := sorted(name for name in names if not _FRAME.fullmatch(name) or not (path / name).is_file()):
            raise OutputError(f"{shown}: holds {printable(others[0])} beside frames, so it is not replaced")
    elif os.path.lexists(path):
        raise OutputError(f"{shown}: is a file; give the name of a folder, or one that ends in .gif, .webp or .mp4")


_FRAME = re.compile(r"frame_\d{4,}\.(png|tif)")


def _save_folder(
    frames: Iterable[Picture], path: Path, recipe: Mapping[str, Any] | None, overwrite: bool
) -> tuple[str, ...]:
    """frame_0001.png and on (.tif where PNG does not hold them), in a folder that appears when all are there."""
    path = Path(os.path.realpath(path))
    temporary, old = (path.parent / f".texsyn-{secrets.token_hex(8)}.part" for _ in range(2))
    try:
        os.mkdir(temporary)
        for i, one in enumerate(frames, 1):
            ending = ".tif" if one.pixels.dtype.kind == "f" or one.mode == "multi" else ".png"
            about = None if recipe is None else {**recipe, "frame": i}
            save(one, temporary / f"frame_{i:04}{ending}", recipe=about)
        if path.is_dir():
            _check_folder(path, printable(str(path)), overwrite)  # again: it may have got something meanwhile
            os.rename(path, old)
        os.rename(temporary, path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{printable(str(path))}: cannot be written ({reason(error)})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.is_dir() and not path.exists():  # the second renaming failed
            os.rename(old, path)
        shutil.rmtree(old, ignore_errors=True)
    return ()
