"""The doors: repro() makes a picture again and compares it, order() checks a recipe and finds its inputs first."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from texsyn.gan.architectures import ARCHITECTURES
from texsyn.images import InputError, Picture, Size, load, read_recipe
from texsyn.images.loading import format_of
from texsyn.images.picture import printable, reason
from texsyn.models import METHODS
from texsyn.models.base import Cancel, OnProgress, Watch
from texsyn.repro.comparing import Original, Repro, compared
from texsyn.repro.gans import VERBS, of_a_verb, sampled
from texsyn.repro.inputs import Search
from texsyn.repro.making import OTHERS, drawn, window
from texsyn.repro.reading import HASH, MAX_NUMBER, Says, Told, broken
from texsyn.synthesis import RECIPE_SCHEMA, Result, free_memory


def repro(
    source: Any,
    inputs: Sequence[str | os.PathLike[str]] = (),
    on_progress: OnProgress | None = None,
    *,
    cancel: Cancel | None = None,
) -> Repro:
    """Make the picture in source (a path or a file's bytes) again from its recipe, and compare.

    inputs: files, under any names, and folders in which the recipe's inputs are looked for; beside them source's folder
    and the current one, and scikit-image for the names that begin with skimage. The recorded device is used where it
    is there.

    Raises InputError for a file without a recipe, for one that cannot be followed and for missing inputs, MemoryError
    where the picture does not fit.
    """
    return order(source, inputs).run(Watch(on_progress, cancel))


@dataclass(frozen=True, eq=False)
class Order:
    """What a recipe asks for, checked and with its inputs found, by order(); nothing is computed before run().

    kind is a stand-in of one pixel for the picture that will be made, size its size, n_bytes the memory that this
    takes, about.
    """

    original: Original
    method: str
    size: Size
    kind: Picture
    n_bytes: int
    make: Callable[[Watch], Result]

    def require_memory(self) -> None:
        """Raises MemoryError, or InputError where the recipe's size is not even that of the file."""
        free = free_memory()
        if free is None or self.n_bytes <= free:
            return
        need = f"about {self.n_bytes / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
        if self.size != self.original.picture.size:
            raise InputError(f"{self.original.name}: its recipe asks for {self.size} pixels, which need {need}")
        raise MemoryError(f"{self.size} pixels need {need}")

    def run(self, watch: Watch | None = None) -> Repro:
        """Make the picture and compare it. Raises as repro()."""
        self.require_memory()
        try:
            result = self.make(watch or Watch())
        except (InputError, ArithmeticError, NotImplementedError, ValueError) as error:  # settings that nobody tried
            raise broken(self.original.name, reason(error)) from error
        return compared(self.original, result)


def order(source: Any, inputs: Sequence[str | os.PathLike[str]] = ()) -> Order:
    """The checked order that the recipe in source stands for; arguments and errors as for repro()."""
    original, folder = _opened(source)
    says, seek = Says(original.name, original.recipe), Search(original.name, inputs, folder)
    if says.whole("schema", high=MAX_NUMBER) != RECIPE_SCHEMA:
        raise says.broken(f"it has schema {original.recipe['schema']}, this version reads {RECIPE_SCHEMA}")
    method = says.text("method")
    others = {**OTHERS, **dict.fromkeys(ARCHITECTURES, sampled), **dict.fromkeys(VERBS, of_a_verb)}
    is_window = "region" in original.recipe and method not in others
    if method not in (*METHODS, *others):
        known = ", ".join((*METHODS, *OTHERS, *ARCHITECTURES))
        raise says.broken(f"method {method[:80]!r} is not one of {known}")
    if (not is_window or "pixels_sha256" in original.recipe) and not HASH.fullmatch(says.text("pixels_sha256")):
        raise says.broken("pixels_sha256 is no hash")
    maker = others.get(method, window if is_window else drawn)
    try:
        return Order(original, method, *maker(says, seek))
    except Told:
        raise
    except (InputError, ArithmeticError, ValueError) as error:
        raise says.broken(reason(error)) from error


def _opened(source: Any) -> tuple[Original, str | None]:
    """What source (a path or bytes) holds, and its folder."""
    bare = isinstance(source, (bytes, bytearray, memoryview))
    path = "" if bare else os.fsdecode(source)
    name = "the bytes given" if bare else printable(path)
    if not bare and os.path.isdir(path):
        raise InputError(f"{name}: is a folder; pictures in files are made again, no other")
    recipe = read_recipe(source)
    if recipe is None:
        raise InputError(f"{name}: holds no recipe; texsyn puts one into the pictures it makes, unless told not to")
    picture = load(source)
    head = bytes(source[:64]) if bare else _head(path)
    return Original(name, recipe, picture, (format_of(head) or "").lower()), None if bare else os.path.dirname(path)


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)
