"""A picture made again from the recipe inside it, and compared: pixel for pixel the same, or what differs.

The recipe names method, settings, seeds, size and wishes, and every input by name and hash. Inputs are found by their
hash: a file counts when its pixels are the recorded ones, whatever it is called. Of a recorded name only the last part
is used, so that a recipe cannot have other folders looked into.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import texsyn
from texsyn.blocks import period_of
from texsyn.coordinate_files import apply, load_coordinates
from texsyn.images import (
    MAX_PIXELS,
    MAX_SIDE,
    InputError,
    Picture,
    Region,
    Size,
    convert_depth,
    load,
    parse_size,
    read_recipe,
    save,
)
from texsyn.images.loading import format_of
from texsyn.images.picture import printable, reason
from texsyn.models import METHODS
from texsyn.models.base import Cancel, OnProgress, TextureModel, Watch
from texsyn.ot.nearest import one_torch_thread
from texsyn.recipes import memory_needed
from texsyn.synthesis import (
    RECIPE_SCHEMA,
    Result,
    as_stacks,
    configure,
    draw,
    fit_model,
    free_memory,
    job_size,
    origin_of,
    plan,
    resolve_device,
    split_wishes,
    tileable,
)
from texsyn.wishes import PICTURES, Job, Wishes

ENDINGS = (
    ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pfm", ".exr",
)  # fmt: skip
MAP_ENDINGS = (".npy", ".tif", ".tiff", ".exr")
MAX_INPUTS = 64  # that a recipe may name
MAX_NUMBER = 2**31  # of a setting
FARTHEST = 2**40  # of a region's corner from the origin, as render has it
STRIP = 1024  # rows of a window between two steps of progress
HASH = re.compile(r"[0-9a-f]{64}")
#: the wishes that are no pictures, by what a recipe may say of them
NUMBERS = ("guide_weight", "morph", "strength", "scale", "rotate")
TEXTS = ("guide_kind", "symmetry", "histogram", "depth")
WHOLE = ("copy_limit",)
OF_NUMBERS = ("weights", "mix")


@dataclass(frozen=True)
class Repro:
    """What came of making a picture again.

    identical: the pixels made are those in the file, and those whose hash the recipe records (a window that render
    wrote has no such hash). result is the picture made again, recorded the recipe in the file. differences says in
    words what differs: of the pixels, then of the environment, which may also differ to no effect.
    """

    identical: bool
    result: Result
    recorded: dict[str, Any]
    differences: tuple[str, ...]
    name: str = "the picture"  #: of the file

    @property
    def sentence(self) -> str:
        """The outcome in one line."""
        if not self.identical:
            return f"{self.name}: {'; '.join(self.differences)}"
        though = f" ({', '.join(self.differences)})" if self.differences else ""
        return f"{self.name}: made again, pixel for pixel{though}"


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

    held is the picture in the file, of that format; kind a stand-in of one pixel for the one that will be made, size
    its size, n_bytes the memory that this takes, about.
    """

    name: str
    recipe: dict[str, Any]
    held: Picture
    format: str
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
        sizes = f"about {self.n_bytes / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
        if self.size != self.held.size:
            raise InputError(f"{self.name}: its recipe asks for {self.size} pixels, which need {sizes}")
        raise MemoryError(f"{self.size} pixels need {sizes}")

    def run(self, watch: Watch | None = None) -> Repro:
        """Make the picture and compare it. Raises as repro()."""
        self.require_memory()
        try:
            result = self.make(watch or Watch())
        except (InputError, ArithmeticError, NotImplementedError, ValueError) as error:
            raise _broken(self.name, reason(error)) from error
        return _compared(self, result)


def order(source: Any, inputs: Sequence[str | os.PathLike[str]] = ()) -> Order:
    """The checked order that the recipe in source stands for; arguments and errors as for repro()."""
    bare = isinstance(source, (bytes, bytearray, memoryview))
    name = "the bytes given" if bare else printable(os.fsdecode(source))
    if not bare and os.path.isdir(source):
        raise InputError(f"{name}: is a folder; pictures in files are made again, no other")
    recipe = read_recipe(source)
    if recipe is None:
        raise InputError(f"{name}: holds no recipe; texsyn puts one into the pictures it makes, unless told not to")
    held = load(source)
    head = bytes(source[:64]) if bare else _head(os.fsdecode(source))
    says = _Says(name, recipe)
    seek = _Search(name, inputs, None if bare else os.path.dirname(os.fsdecode(source)))
    if says.whole("schema", high=MAX_NUMBER) != RECIPE_SCHEMA:
        raise says.broken(f"it has schema {recipe['schema']}, this version reads {RECIPE_SCHEMA}")
    method = says.text("method")
    makers = {"tileable": _tileable, "apply": _applied}
    if method not in (*METHODS, *makers):
        raise says.broken(f"method {method[:80]!r} is not one of {', '.join((*METHODS, *makers))}")
    if "region" not in recipe and not HASH.fullmatch(says.text("pixels_sha256")):
        raise says.broken("pixels_sha256 is no hash")
    maker = makers.get(method, _window if "region" in recipe else _drawn)
    try:
        size, kind, n_bytes, make = maker(says, seek)
    except _Told:
        raise
    except (InputError, ArithmeticError, ValueError) as error:
        raise says.broken(reason(error)) from error
    return Order(name, recipe, held, (format_of(head) or "").lower(), method, size, kind, n_bytes, make)


class _Told(InputError):
    """An InputError that already names the file."""


def _broken(name: str, why: str) -> InputError:
    return _Told(f"{name}: its recipe cannot be followed ({printable(why)})")


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)


# ------------------------------------------------------------------------------------------------- what a recipe says


@dataclass(frozen=True)
class _Input:
    """A file that the recipe names: what it is for, and its recorded name and hash."""

    role: str
    name: str
    sha256: str

    @property
    def base(self) -> str:
        """The last part of the name; empty where that is no file's."""
        last = re.split(r"[/\\]", self.name)[-1]
        return "" if last in (".", "..") or "\0" in last else last

    def __str__(self) -> str:
        return f"{self.role} {printable(self.base or 'without a name')[:120]} (sha256 {self.sha256[:12]})"


class _Says:
    """A recipe from a file that anybody may have written; each question checks the answer's type."""

    def __init__(self, name: str, recipe: Mapping[str, Any]) -> None:
        self.name, self.recipe = name, recipe

    def broken(self, why: str) -> InputError:
        return _broken(self.name, why)

    def text(self, key: str) -> str:
        value = self.recipe.get(key)
        if not isinstance(value, str):
            raise self.broken(f"{key} is missing or no text")
        return value

    def whole(self, key: str, *, high: int, default: int | None = None) -> int:
        value = self.recipe.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < high:
            raise self.broken(f"{key} is missing or no whole number from 0 to {high - 1}")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.recipe.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.broken(f"{key} is no object")
        return value or {}

    def input(self, value: Any, role: str) -> _Input:
        if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("name", "sha256")):
            raise self.broken(f"the {role} has no name and sha256")
        if not HASH.fullmatch(value["sha256"]):
            raise self.broken(f"the sha256 of the {role} is no hash")
        return _Input(role, value["name"], value["sha256"])

    def inputs(self, key: str, role: str) -> list[_Input]:
        values = self.recipe.get(key)
        if not isinstance(values, list) or not 1 <= len(values) <= MAX_INPUTS:
            raise self.broken(f"{key} is no list of 1 to {MAX_INPUTS} inputs")
        return [self.input(value, role) for value in values]

    @property
    def size(self) -> Size:
        return parse_size(self.text("size"))

    @property
    def seed(self) -> int:
        return self.whole("seed", high=2**63)

    @property
    def fit_seed(self) -> int:
        return self.whole("fit_seed", high=2**63, default=0)

    @property
    def device(self) -> str:
        """The recorded device where it is there, else the best that is."""
        recorded = self.text("device") if "device" in self.recipe else "auto"
        with contextlib.suppress(ValueError):
            return resolve_device(recorded)
        return resolve_device("auto")

    @property
    def config(self) -> Any:
        settings = self.mapping("settings")
        for key, value in settings.items():
            if isinstance(value, (int, float)) and abs(value) > MAX_NUMBER:
                raise self.broken(f"the setting {key[:80]} is out of any range")
        return configure(self.text("method"), settings, whole=True)

    def wishes(self) -> tuple[dict[str, Any], list[_Input]]:
        """The wishes that are no pictures, and the pictures, whose roles are the wishes' names."""
        plain, pictures = {}, []
        for key, value in self.mapping("wishes").items():
            if key in PICTURES:
                pictures.append(self.input(value, key))
                continue
            values = {"weights": dict, "mix": list}.get(key)
            right = (
                (key in NUMBERS and _is_number(value))
                or (key in TEXTS and isinstance(value, str))
                or (key in WHOLE and _is_number(value) and isinstance(value, int))
                or (values is not None and isinstance(value, values) and len(value) <= MAX_INPUTS)
            )
            if values is not None and right:
                right = all(map(_is_number, value.values() if isinstance(value, dict) else value))
            if not right:
                known = key in (*NUMBERS, *TEXTS, *WHOLE, *OF_NUMBERS)
                raise self.broken(f"the wish {key[:80]} {'has a wrong value' if known else 'is not known'}")
            plain[key] = value
        return plain, pictures

    def exemplars(self, *, filled: bool) -> tuple[list[_Input], bool]:
        """The exemplars, or the maps of the only one; and whether they are maps."""
        if "maps" in self.recipe:
            return self.inputs("maps", "map"), True
        if "exemplars" in self.recipe and not filled:  # of a filled picture the second is the wish for a source
            return self.inputs("exemplars", "exemplar"), False
        return [self.input(self.recipe.get("exemplar"), "exemplar")], False


def _is_number(value: Any) -> bool:
    """A finite number that is not out of any range."""
    return not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) <= MAX_NUMBER


# ----------------------------------------------------------------------------------------------- finding the inputs


class _Search:
    """Looks for inputs by their hashes among given files and folders, in the file's own folder and the current one."""

    def __init__(self, name: str, inputs: Sequence[str | os.PathLike[str]], beside: str | None) -> None:
        self.name, self.given = name, [os.fsdecode(one) for one in inputs]
        self.folders = [os.curdir]
        if beside and os.path.realpath(beside) != os.path.realpath(os.curdir):
            self.folders.insert(0, beside)
        for one in self.given:
            if not one.startswith("skimage:") and not os.path.exists(one):
                raise _Told(f"inputs: there is no {printable(one)}")

    def pictures(self, wanted: Sequence[_Input]) -> list[Picture]:
        """The pictures wanted, under their recorded names. Raises InputError for the first that is missing."""

        def read(path: str) -> tuple[str, Picture]:
            picture = load(path)
            return picture.sha256, picture

        found = self._find(wanted, read, ENDINGS)
        return [dataclasses.replace(found[one.sha256], name=one.name) for one in wanted]

    def coordinates(self, wanted: _Input) -> tuple[np.ndarray, tuple[Size, ...] | None]:
        """The map of coordinates wanted, and the sizes of its exemplars. Raises InputError where it is missing."""

        def read(path: str) -> tuple[str, tuple[np.ndarray, tuple[Size, ...] | None]]:
            source, sizes = load_coordinates(path)
            return hashlib.sha256(f"{source.shape} ".encode() + source.astype("<i4").tobytes()).hexdigest(), (
                source,
                sizes,
            )

        return self._find([wanted], read, MAP_ENDINGS)[wanted.sha256]  # type: ignore[no-any-return]

    def _find(
        self, wanted: Sequence[_Input], read: Callable[[str], tuple[str, Any]], endings: tuple[str, ...]
    ) -> dict[str, Any]:
        """What read() makes of the files wanted, by hash."""
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
                why = "has that name and other pixels" if sha256 else "has that name and cannot be read"
                base = path if path.startswith("skimage:") else os.path.basename(path)
                others.setdefault(base, []).append(f"{printable(path)} {why}")
            if not missing:
                break
        for one in wanted:
            if one.sha256 in missing:
                raise _Told(self._missing(one, others.get(one.base, [])))
        return found

    def _candidates(self, wanted: Sequence[_Input], endings: tuple[str, ...]) -> Iterator[str]:
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

    def _missing(self, one: _Input, others: list[str]) -> str:
        n = len(self.given)
        places = [f"the {n} inputs given" if n > 1 else "the input given"] if n else []
        places += ["the current folder" if folder == os.curdir else printable(folder) for folder in self.folders]
        looked = " and ".join(filter(None, (", ".join(places[:-1]), places[-1])))
        said = "".join(f"; {other}" for other in others[:3])
        hint = "" if n else "; give it as one of the inputs, under any name"
        return f"{self.name}: the {one} is not in {looked}{said}{hint}"


# ---------------------------------------------------------------------------------- what makes the pictures of a recipe

Made = tuple[Size, Picture, int, Callable[[Watch], Result]]  #: an Order's size, kind, n_bytes and make


def _one_pixel(picture: Picture) -> Picture:
    return dataclasses.replace(picture, pixels=picture.pixels[:1, :1], palette=None, indices=None)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What a model is fitted to by a recipe of synth, batch, sample, render or the studio."""

    says: _Says
    given: list[Picture]  #: exemplars, or the maps of the only one
    job: Job
    wishes: Wishes
    method: str
    config: Any
    device: str
    number: int  #: of the map that is shown

    @classmethod
    def of(cls, says: _Says, seek: _Search) -> _Prepared:
        plain, of_wishes = says.wishes()
        named, stack = says.exemplars(filled="mask" in [one.role for one in of_wishes])
        names, method, config, device = [one.name for one in named], says.text("method"), says.config, says.device
        shown = says.text("map") if "map" in says.recipe else names[0]
        if ("map" in says.recipe and not stack) or shown not in names:
            raise says.broken("map names none of the maps")
        pictures = seek.pictures([*named, *of_wishes])
        given, rest = pictures[: len(named)], pictures[len(named) :]
        wishes, _ = split_wishes(plain | {one.role: picture for one, picture in zip(of_wishes, rest, strict=True)})
        job = plan(as_stacks(None, given) if stack else as_stacks(given), wishes, method, config)
        return cls(says, given, job, wishes, method, config, device, names.index(shown) if stack else 0)

    @property
    def shown(self) -> Picture:
        """The exemplar, or the map, whose kind the picture has."""
        return self.given[self.number]

    def fit(self, watch: Watch) -> TextureModel:
        return fit_model(
            self.job.material,
            self.method,
            self.config,
            seed=self.says.fit_seed,
            device=self.device,
            watch=watch.part(0, 0.5),
            origin=origin_of(self.job, self.wishes),
        )

    def memory(self, size: Size) -> int:
        """As synth has it; and a training field may be larger than the picture."""
        field, exemplar = getattr(self.config, "training_side", 1) ** 2, self.given[0]
        if getattr(self.config, "endless", False):
            field = self.config.training_factor**2 * min(self.config.max_atoms, exemplar.size.pixels)
        if field > MAX_PIXELS:
            raise self.says.broken(f"its settings ask for a training field of {field} pixels")
        return max(memory_needed(one, exemplar, self.method, self.job) for one in (size, Size(1, field)))


def _drawn(says: _Says, seek: _Search) -> Made:
    """By synth, batch, sample or the studio."""
    size, seed, tile = says.size, says.seed, says.text("tile")
    period_of(tile, size)
    its = _Prepared.of(says, seek)
    size = job_size(its.job, size, its.given[0].size)

    def make(watch: Watch) -> Result:
        model = its.fit(watch)
        rest = watch.part(0.5, 1) if model.tensors() else watch
        result = draw(model, size, seed=seed, tile=tile, watch=rest, job=its.job, wishes=its.wishes)
        return result.of_map(its.shown.name) if "map" in says.recipe and result.maps else result

    return size, convert_depth(_one_pixel(its.shown), its.wishes.depth), its.memory(size), make


def _window(says: _Says, seek: _Search) -> Made:
    """By render: a window of a model's plane. Its recipe has the model's hash instead of the pixels'."""
    region, tile, seed = _region(says), says.text("tile"), says.seed
    period = period_of(tile, region.size if tile == "none" else parse_size(says.text("period")))
    its = _Prepared.of(says, seek)

    def make(watch: Watch) -> Result:
        model, shown = its.fit(watch), its.shown
        which: dict[str, Any] = {"number": its.number} if its.number else {}  # texto alone has stacks
        window = model.plane(seed=seed, period=period, **which)
        pixels = np.empty((region.height, region.width, shown.channels), shown.pixels.dtype)
        for y in range(0, region.height, STRIP):
            watch.part(0.5, 1).step(y / region.height, f"rows from {y}")
            here = pixels[y : y + STRIP]
            with one_torch_thread():
                here[...] = window(Region(region.top + y, region.left, *here.shape[:2]))
        watch.step(1.0, "done")
        image = dataclasses.replace(shown, pixels=pixels, palette=None, indices=None, notes=())
        image = convert_depth(image, its.wishes.depth)
        now = {"model_sha256": hashlib.sha256(model.to_bytes()).hexdigest(), "device": str(model.device)}
        return Result(image, _again(says.recipe, image) | now)

    return region.size, convert_depth(_one_pixel(its.shown), its.wishes.depth), its.memory(region.size), make


def _region(says: _Says) -> Region:
    corner = re.fullmatch(r"(-?[0-9]{1,15}),(-?[0-9]{1,15}),([0-9]{1,7}),([0-9]{1,7})", says.text("region"))
    if corner is None:
        raise says.broken("region is not X,Y,W,H")
    left, top, width, height = map(int, corner.groups())
    region = Region(top, left, height, width)
    if max(abs(left), abs(top)) > FARTHEST or max(width, height) > MAX_SIDE or says.size != region.size:
        raise says.broken("region is too large, too far away, or not of the size recorded")
    return region


def _again(recipe: Mapping[str, Any], image: Picture) -> dict[str, Any]:
    """The recipe of a picture that was just made by this one."""
    now = {"texsyn": texsyn.__version__, "torch": torch.__version__}
    now = {key: value for key, value in now.items() if key in recipe}
    return {**recipe, **now, "pixels_sha256": image.sha256}


def _tileable(says: _Says, seek: _Search) -> Made:
    band = says.mapping("settings").get("band")
    if not isinstance(band, int) or isinstance(band, bool):
        raise says.broken("the setting band is missing or no whole number")
    tile, device = says.text("tile"), says.device
    (picture,) = seek.pictures(says.exemplars(filled=True)[0][:1])

    def make(watch: Watch) -> Result:
        return tileable(
            picture, tile=tile, band=band, device=device, on_progress=watch.on_progress, cancel=watch.cancel
        )

    return picture.size, _one_pixel(picture), memory_needed(picture.size, picture, "texto"), make


def _applied(says: _Says, seek: _Search) -> Made:
    named = says.input(says.recipe.get("map"), "map of coordinates")
    pictures = seek.pictures(says.inputs("exemplars", "exemplar"))
    source, sizes = seek.coordinates(named)

    def make(watch: Watch) -> Result:
        image = apply(source, pictures, sizes=sizes)
        return Result(image, _again(says.recipe, image), source)

    return Size(*source.shape[:2]), _one_pixel(pictures[0]), 2 * source.nbytes, make


# ------------------------------------------------------------------------------------------------------- comparing


def _compared(order: Order, result: Result) -> Repro:
    """The verdict on a picture made again: against the recorded hash, and against the pixels in the file."""
    made, held, recorded = result.image, order.held, order.recipe.get("pixels_sha256")
    as_recorded = None if recorded is None else made.sha256 == recorded
    as_saved = _is_what_is_saved(order, made)
    as_held = made.sha256 == held.sha256 or (as_saved and order.format != "jpeg")
    environment = _environment(order.recipe, result.recipe)
    differences = []
    if as_recorded is False:
        hashes = f"sha256 {made.sha256[:12]} and not {recorded[:12]}"  # type: ignore[index]
        differences.append(f"the picture made again is not the recorded one ({hashes})")
        if as_held:
            differences.append("the file holds the picture made again, so its recipe was changed")
        elif held.sha256 == recorded:
            differences.append(f"the file holds the recorded one; {_count(made, held)}")
        elif order.format != "jpeg":
            differences.append("the file holds neither")
    elif not as_held:
        which = "the picture made again is the recorded one, but the file" if as_recorded else "the file"
        differences.append(f"{which} holds other pixels: {_why(order, made, as_saved)}")
    if as_held or not as_recorded:
        differences += environment
    identical = as_held and as_recorded is not False
    if not identical and not as_recorded and not environment:
        differences.append("texsyn, torch and device are the recorded ones")
    return Repro(identical, result, order.recipe, tuple(differences), order.name)


def _is_what_is_saved(order: Order, made: Picture) -> bool:
    """Whether the file's pixels are what its format makes of the picture: 16-bit floats, greys as colours, JPEG."""
    if made.sha256 == order.held.sha256:
        return True
    buffer = io.BytesIO()
    try:
        save(made, buffer, format=order.format)
        return load(buffer.getvalue()).sha256 == order.held.sha256
    except (ValueError, OSError):  # the file was converted to a format that does not hold the picture
        return False


def _why(order: Order, made: Picture, as_saved: bool) -> str:
    """How pixels in the file come to differ from those made again, which are right."""
    if order.format == "jpeg":
        if as_saved:
            return "JPEG is lossy, and they are exactly what it makes of that picture"
        return "JPEG is lossy, and they are not what it makes of that picture here: another encoder, or edited"
    model = order.recipe.get("pixels_sha256") is None
    return f"{_count(made, order.held)}{'' if model else ', so it was changed after it was made'}"


def _count(made: Picture, held: Picture) -> str:
    if made.pixels.shape != held.pixels.shape or made.pixels.dtype != held.pixels.dtype:
        a, b = (f"{p.size} {p.mode} {p.pixels.dtype}" for p in (made, held))
        return f"{a} was made and {b} is held"
    n = int((made.pixels != held.pixels).any(2).sum())
    return f"{n} of {made.size.pixels} pixels differ"


def _environment(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the environment differs. The model's hash is compared where versions allow it, for windows alone."""
    keys = [key for key in ("texsyn", "torch", "device") if key in recorded and key in now]
    found = [
        f"{key} {printable(str(recorded[key]))[:40]} then and {now[key]} now"
        for key in keys
        if recorded[key] != now[key]
    ]
    if "region" in recorded and not found and recorded.get("model_sha256") != now["model_sha256"]:
        found.append("the model learned again is not the recorded one")
    return found
