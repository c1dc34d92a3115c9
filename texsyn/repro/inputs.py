"""Inputs are found by their hash: a file counts when its pixels are the recorded ones, whatever it is called.

Of a recorded name only the last part is used, so that a recipe cannot have other folders looked into.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from texsyn.coordinate_files import load_coordinates
from texsyn.images import InputError, Picture, Size, load
from texsyn.images.picture import printable, reason
from texsyn.repro.reading import Input, Told

ENDINGS = (
    ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pfm", ".exr",
)  # fmt: skip
MODEL_ENDINGS = (".texsyn", ".safetensors")
MAP_ENDINGS = (".npy", ".tif", ".tiff", ".exr")


class Search:
    """Looks for inputs by their hashes among given files and folders, in the file's own folder and the current one."""

    def __init__(self, name: str, inputs: Sequence[str | os.PathLike[str]], beside: str | None) -> None:
        self.name, self.given = name, [os.fsdecode(one) for one in inputs]
        self.folders = [os.curdir]
        if beside and os.path.realpath(beside) != os.path.realpath(os.curdir):
            self.folders.insert(0, beside)
        for one in self.given:
            if not one.startswith("skimage:") and not os.path.exists(one):
                raise Told(f"inputs: there is no {printable(one)}")

    def pictures(self, wanted: Sequence[Input]) -> list[Picture]:
        """The pictures wanted, under their recorded names. Raises InputError for the first that is missing."""

        def read(path: str) -> tuple[str, Picture]:
            picture = load(path)
            return picture.sha256, picture

        found = self._find(wanted, read, ENDINGS)
        return [dataclasses.replace(found[one.sha256], name=one.name) for one in wanted]

    def coordinates(self, wanted: Input) -> tuple[np.ndarray, tuple[Size, ...] | None]:
        """The map of coordinates wanted, and the sizes of its exemplars. Raises InputError where it is missing."""

        def read(path: str) -> tuple[str, tuple[np.ndarray, tuple[Size, ...] | None]]:
            source, sizes = load_coordinates(path)
            return hashlib.sha256(f"{source.shape} ".encode() + source.astype("<i4").tobytes()).hexdigest(), (
                source,
                sizes,
            )

        return self._find([wanted], read, MAP_ENDINGS)[wanted.sha256]  # type: ignore[no-any-return]

    def model(self, wanted: Input) -> str:
        """The path of the model file wanted, whose bytes have the hash. Raises InputError where it is missing."""

        def read(path: str) -> tuple[str, str]:
            try:
                with open(path, "rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest(), path
            except OSError as error:
                raise InputError(f"{printable(path)}: cannot be read ({reason(error)})") from error

        return str(self._find([wanted], read, MODEL_ENDINGS, "bytes")[wanted.sha256])

    def _find(
        self,
        wanted: Sequence[Input],
        read: Callable[[str], tuple[str, Any]],
        endings: tuple[str, ...],
        hashed: str = "pixels",
    ) -> dict[str, Any]:
        """What read() makes of the files wanted, by the hash of what `hashed` says."""
        found: dict[str, Any] = {}
        others: dict[str, list[str]] = {}  # of files with a wanted name: what is wrong with them
        missing, seen = {one.sha256 for one in wanted}, set()
        for path in self._candidates(wanted, endings):
            key = path if path.startswith("skimage:") else os.path.realpath(path)
            if key in seen:
                continue
            seen.add(key)
            try:
                sha256, thing = read(path)
            except InputError:
                sha256, thing = "", None
            if sha256 in missing:
                found[sha256] = thing
                missing.remove(sha256)
            elif sha256 not in found:
                why = f"has that name and other {hashed}" if sha256 else "has that name and cannot be read"
                base = path if path.startswith("skimage:") else os.path.basename(path)
                others.setdefault(base, []).append(f"{printable(path)} {why}")
            if not missing:
                break
        for one in wanted:
            if one.sha256 in missing:
                raise Told(self._missing(one, others.get(one.base, [])))
        return found

    def _candidates(self, wanted: Sequence[Input], endings: tuple[str, ...]) -> Iterator[str]:
        """Files to look at: those given, those with the names wanted, and then all in the folders given."""
        given_folders = [one for one in self.given if os.path.isdir(one)]
        yield from (one for one in self.given if one not in given_folders)
        yield from (one.name for one in wanted if re.fullmatch(r"skimage:\w+(:[0-9]+)?", one.name))
        for folder in (*given_folders, *self.folders):
            for one in wanted:
                path = os.path.join(folder, one.base)
                if one.base and os.path.isfile(path):
                    yield path
        for folder in given_folders:
            with contextlib.suppress(OSError):
                names = sorted(os.listdir(folder))
                yield from (os.path.join(folder, name) for name in names if name.lower().endswith(endings))

    def _missing(self, one: Input, others: list[str]) -> str:
        n = len(self.given)
        places = [f"the {n} inputs given" if n > 1 else "the input given"] if n else []
        places += ["the current folder" if folder == os.curdir else printable(folder) for folder in self.folders]
        looked = " and ".join(filter(None, (", ".join(places[:-1]), places[-1])))
        said = "".join(f"; {other}" for other in others[:3])
        hint = "" if n else "; give it as one of the inputs, under any name"
        return f"{self.name}: the {one} is not in {looked}{said}{hint}"
