"""One item: its picture made with the machinery of synth, unless the output already holds the recipe of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import texsyn
from texsyn.batch.manifest import Item
from texsyn.images import InputError, OutputExists, Picture, Size, check_target, read_recipe
from texsyn.images import load as load_picture
from texsyn.models.base import Watch
from texsyn.recipes import memory_needed
from texsyn.synthesis import as_size, configure, draw, fit_model, free_memory


@dataclass(frozen=True)
class Outcome:
    """What became of an item: status "made", "skipped" (it was done), "failed" or "missing" (it would be made).

    error is a sentence when it failed; seed and seconds are those of the picture, whoever made it.
    """

    item: Item
    status: str
    seed: int | None = None
    seconds: float | None = None
    error: str = ""


def make(item: Item, *, overwrite: bool = False, device: str = "auto", dry_run: bool = False) -> Outcome:
    """Make one item's picture, unless it is done; whatever goes wrong is in the outcome, in one sentence.

    An output that is there and holds another recipe is a failure, or is replaced if overwrite.
    """
    try:
        return _made(item, overwrite, device, dry_run)
    except MemoryError as error:
        return Outcome(item, "failed", error=f"not enough memory: {first_line(error) or 'try a smaller size'}")
    except (ValueError, OSError) as error:  # ours say all: InputError and OutputError are among them
        return Outcome(item, "failed", error=first_line(error))
    except Exception as error:
        return Outcome(item, "failed", error=f"{type(error).__name__}: {first_line(error)}")


def _made(item: Item, overwrite: bool, device: str, dry_run: bool) -> Outcome:
    exemplar = load_picture(item.image)
    size, config = as_size(item.size, exemplar.size), configure(item.method, item.settings, whole=True)
    depth = exemplar.pixels.dtype
    folder = os.path.dirname(item.output)
    if folder and not os.path.lexists(folder):
        if dry_run:
            return Outcome(item, "missing")
        os.makedirs(folder, exist_ok=True)
    if check_target(item.output, mode=exemplar.mode, dtype=depth, size=size, overwrite=True) == "bmp":
        raise ValueError(f"{item.output}: bmp holds no recipe, so that it could not be told whether it is done")
    wanted = _wanted(item, exemplar, size, config)
    done = _done(item, wanted, overwrite)
    if done is not None or dry_run:
        return done or Outcome(item, "missing")
    need, free = memory_needed(size, exemplar, item.method), free_memory()
    if free is not None and need > free:
        raise MemoryError(f"{size} pixels need about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free")
    model = fit_model(exemplar, item.method, config, seed=wanted["fit_seed"], device=device, watch=Watch())
    result = draw(model, size, seed=item.seed, tile=item.tile)
    try:
        result.save(item.output, overwrite=overwrite)
    except OutputExists:  # somebody was faster
        done = _done(item, wanted, overwrite)
        if done is None:
            raise
        return done
    return Outcome(item, "made", item.seed, result.recipe["seconds"])


def _wanted(item: Item, exemplar: Picture, size: Size, config: Any) -> dict[str, Any]:
    """What the recipe inside the output says when the item is done; all that the pixels depend on."""
    wanted = {
        "texsyn": texsyn.__version__,
        "method": item.method,
        "settings": json.loads(json.dumps(asdict(config))),
        "size": str(size),
        "tile": item.tile,
        "fit_seed": 0,
        "wishes": None,
        "maps": None,
        "exemplar": exemplar.sha256,
    }
    return wanted if item.any_seed else wanted | {"seed": item.seed}


def _done(item: Item, wanted: dict[str, Any], overwrite: bool) -> Outcome | None:
    """The outcome of an item whose output is there with the recipe wanted; None if it is to be made.

    Raises OutputExists for another recipe, unless overwrite.
    """
    if not os.path.lexists(item.output):
        return None
    try:
        recipe = read_recipe(item.output) or {}
    except InputError:
        recipe = {}
    exemplar = recipe.get("exemplar")
    found = recipe | {"exemplar": exemplar.get("sha256") if isinstance(exemplar, dict) else None}
    other = [key for key, value in wanted.items() if found.get(key) != value]
    if not other:
        return Outcome(item, "skipped", recipe.get("seed"), recipe.get("seconds"))
    if overwrite:
        return None
    what = f"was made with another {' and '.join(other[:2])}" if recipe else "holds no recipe"
    raise OutputExists(f"{item.output}: exists and {what}; ask for overwriting to replace it")


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
