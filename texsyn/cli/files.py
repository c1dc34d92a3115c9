"""The files that a verb reads and writes: named, and checked before the long work."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from texsyn.cli import Misuse
from texsyn.images import InputError, OutputError, Picture, Size, check_target, load

MAX_STEM_BYTES = 120  # of a default output name, which must stay within 255 with size, seed and ending


def load_picture(source: str) -> Picture:
    """The picture of a file, of scikit-image or of standard input, if that is open and no terminal."""
    if source == "-" and sys.stdin is None:
        raise InputError("standard input: is closed; pipe a picture in, or give a file")
    if source == "-" and sys.stdin.isatty():
        raise Misuse("-: standard input is a terminal; pipe a picture in, or give a file")
    return load(source)


def require_file(path: str) -> None:
    """What is no regular file is refused before it is opened: a pipe would be waited for, for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read ({reason})") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is {'a directory' if stat.S_ISDIR(mode) else 'not a regular file'}; give a file")


def checked(option: str, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """f(...), with a ValueError of ours turned into wrong usage of that option; InputError goes through."""
    try:
        return f(*args, **kwargs)
    except InputError:
        raise
    except ValueError as error:
        raise Misuse(f"{option}: {error}") from error


def targets(output: str | None, source: str, exemplar: Picture, size: Size, seeds: range, overwrite: bool) -> list[str]:
    """One output name a picture, all of them checked before any work."""
    if output == "-":
        _require_stdout(len(seeds))
    names = [_target(output, source, exemplar, size, i, seed, len(seeds)) for i, seed in enumerate(seeds)]
    for name in names:
        checked(
            "-o", check_target, name, mode=exemplar.mode, dtype=exemplar.pixels.dtype, size=size, overwrite=overwrite
        )
    return names


def _require_stdout(count: int) -> None:
    if count > 1:
        raise Misuse("-o -: takes one picture; leave out -n, or give a file name with {i}")
    if sys.stdout is None:
        raise OutputError("-o -: standard output is closed")
    if sys.stdout.isatty():
        raise Misuse("-o -: standard output is a terminal; pipe it somewhere, or give a file name")


def _target(output: str | None, source: str, exemplar: Picture, size: Size, i: int, seed: int, count: int) -> str:
    if output is None:
        ending = ".tif" if exemplar.pixels.dtype.kind == "f" or exemplar.mode == "multi" else ".png"
        return f"{stem_of(source)}_{size}_seed{seed}{ending}"
    if count > 1 and "{i}" not in output and "{seed}" not in output:
        stem, ending = os.path.splitext(output)
        output = f"{stem}_{{i}}{ending}"
    return output.replace("{i}", str(i + 1)).replace("{seed}", str(seed))


def stem_of(source: str) -> str:
    """How the output of this input is called: short, visible, nothing that a shell or terminal stumbles over."""
    stem = source.split(":")[1] if source.startswith("skimage:") else Path(source).stem
    stem = "".join(c if c.isprintable() else "_" for c in stem)
    return stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore").strip(" -.") or "texture"
