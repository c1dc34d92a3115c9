"""From a recipe to what makes its picture, by the door that made it first: synth, sample, render, tileable, apply.

Samples of image GANs are in gans.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import texsyn
from texsyn.blocks import period_of
from texsyn.coordinate_files import apply
from texsyn.images import MAX_PIXELS, MAX_SIDE, Picture, Region, Size, convert_depth, parse_size
from texsyn.models.base import TextureModel, Watch
from texsyn.ot.nearest import one_torch_thread
from texsyn.recipes import memory_needed
from texsyn.repro.inputs import Search
from texsyn.repro.reading import Says
from texsyn.synthesis import Result, as_stacks, draw, fit_model, job_size, origin_of, plan, split_wishes
from texsyn.synthesis import tileable as make_tileable
from texsyn.wishes import Job, Wishes

FARTHEST = 2**40  # of a region's corner from the origin, as render has it
STRIP = 1024  # rows of a window between two steps of progress
Made = tuple[Size, Picture, int, Callable[[Watch], Result]]  #: an Order's size, kind, n_bytes and make


def _one_pixel(picture: Picture) -> Picture:
    return dataclasses.replace(picture, pixels=picture.pixels[:1, :1], palette=None, indices=None)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a model is fitted to by a recipe of synth, batch, sample, render or the studio."""

    says: Says
    given: list[Picture]  #: exemplars, or the maps of the only one
    job: Job
    wishes: Wishes
    method: str
    config: Any
    device: str
    number: int  #: of the map that is shown

    @classmethod
    def of(cls, says: Says, seek: Search) -> Prepared:
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


def drawn(says: Says, seek: Search) -> Made:
    """By synth, batch, sample or the studio."""
    size, seed, tile = says.size, says.seed, says.text("tile")
    period_of(tile, size)
    its = Prepared.of(says, seek)
    size = job_size(its.job, size, its.given[0].size)

    anchors = _anchors(says)

    def make(watch: Watch) -> Result:
        model: Any = its.fit(watch)
        model = model.morphed(anchors, size) if anchors else model
        rest = watch.part(0.5, 1) if model.tensors() else watch
        result = draw(model, size, seed=seed, tile=tile, watch=rest, job=its.job, wishes=its.wishes)
        return result.of_map(its.shown.name) if "map" in says.recipe and result.maps else result

    return size, convert_depth(_one_pixel(its.shown), its.wishes.depth), its.memory(size), make


def _anchors(says: Says) -> list[list[int]]:
    """The seeds between which a psgan's picture passes, none for most pictures."""
    rows = says.recipe.get("anchors", [])
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows):
        raise says.broken("anchors are no rows of seeds")
    looks = getattr(says.config, "global_channels", 0) and says.recipe.get("method") == "psgan"
    if not all(type(seed) is int for row in rows for seed in row) or (rows and not looks):
        raise says.broken("anchors are no seeds, or belong to no psgan with global vectors")
    return rows


def window(says: Says, seek: Search) -> Made:
    """By render: a window of a model's plane. Its recipe has the model's hash instead of the pixels'."""
    region, tile, seed = _region(says), says.text("tile"), says.seed
    period = period_of(tile, region.size if tile == "none" else parse_size(says.text("period")))
    its = Prepared.of(says, seek)

    def make(watch: Watch) -> Result:
        model, shown = its.fit(watch), its.shown
        which: dict[str, Any] = {"number": its.number} if its.number else {}  # texto alone has stacks
        plane = model.plane(seed=seed, period=period, **which)
        pixels = np.empty((region.height, region.width, shown.channels), shown.pixels.dtype)
        for y in range(0, region.height, STRIP):
            watch.part(0.5, 1).step(y / region.height, f"rows from {y}")
            here = pixels[y : y + STRIP]
            with one_torch_thread():
                here[...] = plane(Region(region.top + y, region.left, *here.shape[:2]))
        watch.step(1.0, "done")
        image = dataclasses.replace(shown, pixels=pixels, palette=None, indices=None, notes=())
        image = convert_depth(image, its.wishes.depth)
        now = {"model_sha256": hashlib.sha256(model.to_bytes()).hexdigest(), "device": str(model.device)}
        return Result(image, again(says.recipe, image) | now)

    return region.size, convert_depth(_one_pixel(its.shown), its.wishes.depth), its.memory(region.size), make


def _region(says: Says) -> Region:
    corner = re.fullmatch(r"(-?[0-9]{1,15}),(-?[0-9]{1,15}),([0-9]{1,7}),([0-9]{1,7})", says.text("region"))
    if corner is None:
        raise says.broken("region is not X,Y,W,H")
    left, top, width, height = map(int, corner.groups())
    region = Region(top, left, height, width)
    if max(abs(left), abs(top)) > FARTHEST or max(width, height) > MAX_SIDE or says.size != region.size:
        raise says.broken("region is too large, too far away, or not of the size recorded")
    return region


def again(recipe: Mapping[str, Any], image: Picture) -> dict[str, Any]:
    """The recipe of a picture that was just made by this one."""
    now = {"texsyn": texsyn.__version__, "torch": torch.__version__}
    now = {key: value for key, value in now.items() if key in recipe}
    return {**recipe, **now, "pixels_sha256": image.sha256}


def tileable(says: Says, seek: Search) -> Made:
    """By tileable: the exemplar with its seam made anew."""
    band = says.mapping("settings").get("band")
    if not isinstance(band, int) or isinstance(band, bool):
        raise says.broken("the setting band is missing or no whole number")
    tile, device = says.text("tile"), says.device
    (picture,) = seek.pictures(says.exemplars(filled=True)[0][:1])

    def make(watch: Watch) -> Result:
        return make_tileable(
            picture, tile=tile, band=band, device=device, on_progress=watch.on_progress, cancel=watch.cancel
        )

    return picture.size, _one_pixel(picture), memory_needed(picture.size, picture, "texto"), make


def applied(says: Says, seek: Search) -> Made:
    """By apply: cut out of other pictures by a map of coordinates."""
    named = says.input(says.recipe.get("map"), "map of coordinates")
    pictures = seek.pictures(says.inputs("exemplars", "exemplar"))
    source, sizes = seek.coordinates(named)

    def make(watch: Watch) -> Result:
        image = apply(source, pictures, sizes=sizes)
        return Result(image, again(says.recipe, image), source)

    return Size(*source.shape[:2]), _one_pixel(pictures[0]), 2 * source.nbytes, make


#: what makes the pictures that no method of a model made
OTHERS: dict[str, Callable[[Says, Search], Made]] = {"tileable": tileable, "apply": applied}
