"""The files that a verb reads and writes: named, and checked before the long work."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from texsyn.cli import Misuse
from texsyn.images import InputError, OutputError, Picture, Size, check_target, load
from texsyn.images.saving import EXTENSIONS

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
    return [names[0] for names in targets_of(output, [source], [exemplar], size, seeds, overwrite)]


def targets_of(
    output: str | None,
    sources: Sequence[str],
    kinds: Sequence[Picture],
    size: Size,
    seeds: range,
    overwrite: bool,
) -> list[list[str]]:
    """For each seed the output name of each map, of the kinds of these pictures; checked before any work."""
    if output == "-":
        _require_stdout(len(seeds) * len(kinds))
    if len(kinds) > 1 and output is not None and "{name}" not in output:
        raise Misuse(f"-o {output!r}: {len(kinds)} maps need {{name}} in it, e.g. 'big_{{name}}'")
    found = []
    for i, seed in enumerate(seeds):
        names = [_target(output, s, k, size, i, seed, len(seeds)) for s, k in zip(sources, kinds, strict=False)]
        if len(set(names)) < len(names):
            raise Misuse(f"-o: two of the maps would be written to {max(names, key=names.count)}")
        for name, kind in zip(names, kinds, strict=True):
            checked("-o", check_target, name, mode=kind.mode, dtype=kind.pixels.dtype, size=size, overwrite=overwrite)
        found.append(names)
    return found


def _require_stdout(count: int) -> None:
    if count > 1:
        raise Misuse(
            f"-o -: takes one picture, not {count}; leave out -n, or give a file name with {{i}} (of maps {{name}})"
        )
    if sys.stdout is None:
        raise OutputError("-o -: standard output is closed")
    if sys.stdout.isatty():
        raise Misuse("-o -: standard output is a terminal; pipe it somewhere, or give a file name")


def _target(output: str | None, source: str, exemplar: Picture, size: Size, i: int, seed: int, count: int) -> str:
    ending = ".tif" if exemplar.pixels.dtype.kind == "f" or exemplar.mode == "multi" else ".png"
    if output is None:
        return f"{stem_of(source)}_{size}_seed{seed}{ending}"
    if "{name}" in output:
        stem, own = os.path.splitext(os.path.basename(source))
        last = output.endswith("{name}")  # then the input's format, as far as it can be written
        stem = stem_of(source) if source.startswith("skimage:") or source == "-" else stem
        output = output.replace("{name}", stem) + ((own if own.lower() in EXTENSIONS else ending) if last else "")
    if count > 1 and "{i}" not in output and "{seed}" not in output:
        stem, own = os.path.splitext(output)
        output = f"{stem}_{{i}}{own}"
    return output.replace("{i}", str(i + 1)).replace("{seed}", str(seed))


def stem_of(source: str) -> str:
    """How the output of this input is called: short, visible, nothing that a shell or terminal stumbles over."""
    stem = source.split(":")[1] if source.startswith("skimage:") else Path(source).stem
    stem = "".join(c if c.isprintable() else "_" for c in stem)
    return stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore").strip(" -.") or "texture"
