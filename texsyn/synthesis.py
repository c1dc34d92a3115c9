"""The Python door: synth() makes a picture in one call, fit() gives a model to sample from, load() reads one back.

>>> import numpy as np, texsyn
>>> stripes = np.tile(np.array([[0, 80], [160, 255]], np.uint8), (16, 16))
>>> texsyn.synth(stripes, (48, 64), seed=1).pixels.shape
(48, 64, 1)
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import texsyn
from texsyn.blocks import Period, period_of
from texsyn.images import InputError, Picture, Size, convert_depth, parse_size, save
from texsyn.material import Material
from texsyn.models.base import Cancel, OnProgress, Synthesis, TextureModel, Watch, make_config, model_class
from texsyn.wishes import Job, Wishes, as_picture, job_of, keep_histogram

RECIPE_SCHEMA = 1
#: what a fitted model can keep; the other wishes are about one picture
KEPT_BY_MODELS = {"weights", "exclude", "mix", "scale", "rotate", "symmetry"}
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Result:
    """A synthesised picture with what made it.

    image is the Picture, in the exemplar's mode and depth; recipe a JSON-able dictionary that is enough to make it
    again (method, settings, seed, size, exemplar's hash) with the evidence of every level; source (h, w, 2) int32 the
    exemplar pixel that each pixel is, with the exemplar's number as a third where there are several, or None for
    methods that blend and pictures of resampled exemplars. maps holds all maps of a stack by name, image among them.
    """

    image: Picture
    recipe: dict[str, Any]
    source: np.ndarray | None = None
    maps: dict[str, Picture] = field(default_factory=dict)

    @property
    def pixels(self) -> np.ndarray:
        """(h, w, c) in the exemplar's own number type."""
        return self.image.pixels

    @property
    def seed(self) -> int:
        """What the picture was drawn with; 0 where nothing was left to chance."""
        return int(self.recipe.get("seed", 0))

    def save(self, target: Any, *, overwrite: bool = False, metadata: bool = True) -> tuple[str, ...]:
        """Write the picture, the recipe inside unless metadata is False; see texsyn.images.save."""
        return save(self.image, target, recipe=self.recipe if metadata else None, overwrite=overwrite)

    def of_map(self, name: str) -> Result:
        """The result with another map of the stack in the picture's place, and that map's hash in the recipe."""
        image = self.maps[name]
        recipe = self.recipe | {"map": name, "pixels_sha256": image.sha256}
        return dataclasses.replace(self, image=image, recipe=recipe)


def synth(
    image: Any = None,
    size: Size | tuple[int, int] | str | None = None,
    *,
    maps: Mapping[str, Any] | Sequence[Any] | None = None,
    method: str = "texto",
    seed: int | None = None,
    tile: str = "none",
    device: str = "auto",
    on_progress: OnProgress | None = None,
    cancel: Cancel | None = None,
    **more: Any,
) -> Result:
    """A picture of the given size with the texture of image.

    image: path, file bytes, array (h, w[, c]) or Picture; several of them in a list to be mixed. maps, instead of it: a
    stack of aligned pictures, by name or in a list, that are matched together and copied together. size: Size,
    (height, width), "1280x768" (width x height) or "2x", the default, unless a guide, target or mask has a size. seed:
    None draws one; it is in the result (what a method learns first is learned with seed 0). tile: axes on which the
    picture wraps without a seam, "none", "x" (left to right), "y" or "xy". more: wishes (mask, guide_in, mix ...; see
    texsyn.Wishes) and settings of the method's configuration (TextoConfig ...).
    on_progress(fraction, message) is called now and then; cancel.is_set() is polled, and Cancelled raised.

    Raises InputError for a picture that cannot be used, ValueError for wrong arguments.
    """
    wishes, settings = split_wishes(more)
    exemplars = as_stacks(image, maps)
    watch = Watch(on_progress, cancel)
    seed = fresh_seed() if seed is None else seed
    config = configure(method, settings, whole=True)
    job = plan(exemplars, wishes, method, config)
    wanted = job_size(job, size, exemplars[0][0].size)
    period_of(tile, wanted)  # refuses unknown names before the work
    model = fit_model(job.material, method, config, seed=0, device=device, watch=watch.part(0, 0.5))
    rest = watch.part(0.5, 1) if model.tensors() else watch
    return draw(model, wanted, seed=seed, tile=tile, watch=rest, job=job, wishes=wishes)


def split_wishes(more: Mapping[str, Any]) -> tuple[Wishes, dict[str, Any]]:
    """The wishes among keyword arguments, their pictures loaded, and the rest."""
    known = {f.name for f in dataclasses.fields(Wishes)}
    wishes = Wishes(**{k: v for k, v in more.items() if k in known}).loaded()
    return wishes, {k: v for k, v in more.items() if k not in known}


def as_stacks(image: Any, maps: Mapping[str, Any] | Sequence[Any] | None = None) -> list[list[Picture]]:
    """Exemplars, each a stack of maps, of what synth() accepts as image and maps."""
    if (image is None) == (maps is None):
        raise ValueError("give an image, or maps, and not both")
    if maps is not None:
        if isinstance(maps, Mapping):
            stack = [dataclasses.replace(as_picture(one), name=str(name)) for name, one in maps.items()]
        else:
            stack = [as_picture(one) for one in maps]
        if not stack:
            raise ValueError("maps is empty; give one picture or more")
        names = [one.name for one in stack]
        if len(set(names)) < len(names):
            raise ValueError(f"maps have equal names ({', '.join(names)}); give them as a dictionary of names")
        return [stack]
    if isinstance(image, (list, tuple)):
        if not image:
            raise ValueError("image is an empty list; give one picture or more")
        return [[as_picture(one)] for one in image]
    return [[as_picture(image)]]


def plan(exemplars: Sequence[Sequence[Picture]], wishes: Wishes, method: str, config: Any) -> Job:
    """job_of(), for methods that can do it: texto copies, gotex blends. Raises ValueError, InputError."""
    job = dataclasses.replace(job_of(exemplars, wishes), given=tuple(tuple(maps) for maps in exemplars))
    a_stack = method in ("sgan", "psgan") and _only_maps(job.material)  # learned as one picture
    if method not in ("texto", "gotex") and (not (job.material.plain or a_stack) or job.obeys):
        raise ValueError(
            f"method {method!r} takes one picture: no stacks, mixtures, masks, variants or guides; take texto"
        )
    if method == "gotex":
        if len(exemplars[0]) > 1 or (job.guide is not None and job.target is None):
            raise ValueError("method 'gotex' takes no stacks of maps and no guides; take texto")
        if job.target is not None:  # it follows the picture itself, not codes beside the material's
            job = dataclasses.replace(job, material=_unguided(job.material))
        if (job.shares is not None or job.hole is not None) and config.descent != "projection":
            raise ValueError("mix_map and mask need gotex's patches with loss='transport' and optimiser='projection'")
    if job.obeys and method == "texto" and config.endless:
        raise ValueError("guides, targets, masks and maps of shares take a whole picture; leave endless out")
    if wishes.copy_limit is not None and method != "texto":
        raise ValueError(f"copy_limit is for pictures that are copied; method {method!r} blends")
    if wishes.copy_limit is not None and wishes.copy_limit < 2 * config.patch_size + 1:
        raise ValueError(f"copy_limit={wishes.copy_limit} should be at least {2 * config.patch_size + 1}")
    if wishes.histogram == "keep" and len(exemplars[0]) + len(exemplars) > 2:
        raise ValueError("histogram 'keep' changes pixels, so it goes with one image only")
    if wishes.morph is not None and exemplars[0][0].indices is not None:
        raise InputError(f"{exemplars[0][0].name}: a palette has no colours in between; convert it to RGB to morph")
    return job


def _only_maps(material: Material) -> bool:
    """Whether it is one stack of maps and nothing else."""
    sheet = material.sheets[0]
    return len(material.sheets) == 1 and sheet.plain and sheet.guide is None and not material.weights


def _unguided(material: Material) -> Material:
    return dataclasses.replace(
        material, sheets=tuple(dataclasses.replace(sheet, guide=None) for sheet in material.sheets)
    )


def job_size(job: Job, size: Size | tuple[int, int] | str | None, base: Size) -> Size:
    """The size that is wanted: what was asked for, which must be the job's own where it has one, or twice the base."""
    if size is None:
        return job.size or parse_size("2x", base)
    wanted = as_size(size, base)
    if job.size is not None and wanted != job.size:
        raise ValueError(
            f"the guide, mask or target has {job.size} pixels, so size={wanted} cannot be had; leave it out"
        )
    return wanted


def fit(
    image: Any = None,
    method: str = "texto",
    *,
    maps: Mapping[str, Any] | Sequence[Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    cancel: Cancel | None = None,
    **more: Any,
) -> TextureModel:
    """A model of image's texture, to sample from again and again; arguments as for synth().

    "texto" is fitted in endless mode unless endless=False is among the settings. Methods that are trained have recipes:
    recipe="tiny" stands for settings. Of the wishes a model keeps those that say what is copied: weights, exclude, mix,
    scale, rotate, symmetry.
    """
    wishes, settings = split_wishes(more)
    config = configure(method, settings, whole=False)
    seed = fresh_seed() if seed is None else seed
    job = plan(as_stacks(image, maps), wishes, method, config)
    if others := sorted(set(wishes.said()) - KEPT_BY_MODELS):
        raise ValueError(f"{', '.join(others)}: a model keeps no such wish; synth() makes one picture with it")
    origin, watch = origin_of(job, wishes), Watch(on_progress, cancel)
    return fit_model(job.material, method, config, seed=seed, device=device, watch=watch, origin=origin)


def tileable(
    image: Any,
    *,
    tile: str = "xy",
    band: int | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    cancel: Cancel | None = None,
) -> Result:
    """The picture itself with a band along its edges made anew, so that it repeats without a seam; see texsyn.editing.

    tile: "xy", "x" (left to right) or "y". band: pixels on each side of an edge that may change; the default is an
    eighth of the shorter side. Raises InputError for a picture that cannot be used, ValueError for wrong arguments.
    """
    from texsyn import editing

    began, picture = time.perf_counter(), as_picture(image)
    where, watch = resolve_device(device), Watch(on_progress, cancel)
    band = editing.check(picture, tile, band)
    made = editing.tileable(picture, tile=tile, band=band, device=where, watch=watch)
    about = {"method": "tileable", "settings": {"band": band}, "size": str(picture.size), "tile": tile, "device": where}
    return _result(picture, made, about, f"tileable {picture.size}", began, None, Wishes())


def configure(method: str, settings: dict[str, Any], *, whole: bool) -> Any:
    """The method's configuration; whole says that whole pictures are wanted, so that texto is not made endless.

    Raises ValueError for an unknown method, recipe or setting, or a value out of its range.
    """
    settings, config_type = with_recipe(method, settings), model_class(method).config_type
    if "endless" in {f.name for f in dataclasses.fields(config_type)}:
        settings = {"endless": not whole} | settings
    return make_config(config_type, settings)


def with_recipe(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of the recipe that they name, if they do, where they say nothing themselves.

    Raises ValueError for a name that is none of the method's.
    """
    found = dict(settings)
    if (name := found.pop("recipe", None)) is None:
        return found
    recipes: Mapping[str, Mapping[str, Any]] = getattr(model_class(method), "recipes", {})
    if name not in list(recipes):
        known = f"it has {', '.join(recipes)}" if recipes else "it has none, only settings"
        raise ValueError(f"{method} has no recipe {name!r}; {known}")
    return {**recipes[name], **found}


def fit_model(
    exemplar: Picture | Material,
    method: str,
    config: Any,
    *,
    seed: int,
    device: str,
    watch: Watch,
    origin: Mapping[str, Any] | None = None,
) -> TextureModel:
    """fit() with a picture or material and a configuration that are already checked; origin for models to be kept."""
    if isinstance(exemplar, Material) and exemplar.plain:
        exemplar = exemplar.picture
    what: Any = exemplar  # a material only where plan() let it pass
    model = model_class(method).fit(what, config, seed=seed, device=resolve_device(device), watch=watch)
    model.fit_seed, model.origin = seed, dict(origin or {})
    return model


def origin_of(job: Job, wishes: Wishes) -> dict[str, Any]:
    """What a model keeps for its recipes: the wishes, and the exemplars as they were given. Empty without wishes."""
    said = wishes.said()
    return {"wishes": said, **_named(job.given)} if said else {}


def draw(
    model: TextureModel,
    size: Size,
    *,
    seed: int,
    tile: str = "none",
    watch: Watch | None = None,
    job: Job | None = None,
    wishes: Wishes | None = None,
) -> Result:
    """One picture of a model, as a Result; of a model that was made for a job, as the job and the wishes want it."""
    began, wishes = time.perf_counter(), wishes or Wishes()
    job = job or job_of_model(model)
    made = _made(model, size, seed, tile, watch, job, wishes.strength)
    if wishes.copy_limit is not None:
        made = _limited(model, made, wishes.copy_limit, period_of(tile, size), seed)
    about = order_of(model, size, seed, tile)
    if said := wishes.said():
        about["wishes"] = said
    return _result(model.material, made, about, f"{model.method} {size}", began, job, wishes)


def order_of(model: TextureModel, size: Size, seed: int, tile: str) -> dict[str, Any]:
    """What of a recipe is known before the picture is made."""
    return {
        "method": model.method,
        "settings": dataclasses.asdict(model.config),
        "size": str(size),
        "seed": seed,
        "tile": tile,
        "fit_seed": model.fit_seed,
        "device": str(model.device),
        **model.origin,
    }


def recipe_of(order: Mapping[str, Any], given: Sequence[Sequence[Picture]], more: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe: the order, the exemplars that were given, each a stack of maps, and more."""
    named = {key: value for key, value in _named(given).items() if key not in order}  # a model knows better
    made_by = {"schema": RECIPE_SCHEMA, "texsyn": texsyn.__version__}
    return {**made_by, **order, **named, "torch": torch.__version__, **more}


def _named(given: Sequence[Sequence[Picture]]) -> dict[str, Any]:
    """Exemplars, each a stack of maps, as a recipe names them."""
    exemplar = given[0][0]
    found: dict[str, Any] = {"exemplar": {"name": exemplar.name, "size": str(exemplar.size), "sha256": exemplar.sha256}}
    if len(given[0]) > 1:
        found["maps"] = [{"name": one.name, "sha256": one.sha256} for one in given[0]]
    if len(given) > 1:
        found["exemplars"] = [{"name": maps[0].name, "sha256": maps[0].sha256} for maps in given]
    return found


def exemplars_of(material: Material) -> list[tuple[Picture, ...]]:
    """The exemplars that a material was made of, each a stack of maps."""
    first = {sheet.exemplar: sheet.maps for sheet in reversed(material.sheets)}
    return [maps for _, maps in sorted(first.items())]


def job_of_model(model: TextureModel) -> Job:
    """The job that a fitted model keeps: to copy from its material, freely."""
    return Job(model.material, None)


def _made(
    model: TextureModel, size: Size, seed: int, tile: str, watch: Watch | None, job: Job, strength: float
) -> Synthesis:
    if not job.obeys:
        return model.synthesise(size, seed=seed, tile=tile, watch=watch)
    if model.method == "gotex":
        from texsyn.models.gotex import Gotex, Order

        assert isinstance(model, Gotex)
        order = Order(job.hole, job.shares, job.morph is not None, job.target, strength)
        return model.synthesise(size, seed=seed, tile=tile, watch=watch, order=order)
    from texsyn.editing import fill
    from texsyn.models.texto import Brief, Texto

    assert isinstance(model, Texto)
    if job.hole is not None:
        return fill(model, job.hole, seed=seed, tile=tile, watch=watch)
    brief = Brief(job.guide, job.bins, job.shares, job.morph)
    return model.synthesise(size, seed=seed, tile=tile, watch=watch, brief=brief)


def _limited(model: Any, made: Synthesis, limit: int, period: Period, seed: int) -> Synthesis:
    """made with no verbatim square above limit."""
    from texsyn.copying import limit_copies

    level, r = model.levels[0], model.config.patch_size // 2
    usable = None if level.atom is None else np.pad(level.atom.cpu().numpy(), r)
    source = limit_copies(
        model.atlas.joined(made.source),
        level.codes.cpu().numpy(),
        level.w,
        limit,
        usable=usable,
        period=period,
        seed=seed,
    )
    found: Synthesis = model.cut_out(torch.from_numpy(source), made.evidence)
    return found


def _result(
    what: Picture | Material,
    made: Synthesis,
    about: dict[str, Any],
    name: str,
    began: float,
    job: Job | None,
    wishes: Wishes,
) -> Result:
    material = Material.of(what)
    given = exemplars_of(material)
    given[: len(job.given) if job else 0] = job.given if job else ()
    exemplar, pictures = given[0][0], []
    for number, pixels in enumerate((made.pixels, *made.others)):
        first = material.sheets[0].maps[number]
        if wishes.histogram == "keep":
            pixels = keep_histogram(pixels, exemplar.pixels)
            first = dataclasses.replace(first, palette=None, indices=None)
        palette, indices = _indices(material, first, number, made.source)
        picture = dataclasses.replace(first, pixels=pixels, palette=palette, indices=indices, name=name, notes=())
        pictures.append(convert_depth(picture, wishes.depth))
    image, source = pictures[0], made.source
    if source is not None and job is not None:
        source = job.originals(source)
    seconds = round(time.perf_counter() - began, 3)
    more = {"pixels_sha256": image.sha256, "seconds": seconds, "evidence": made.evidence}
    recipe = recipe_of(about, given, more)
    maps = {}
    if len(pictures) > 1:
        names = [one.name for one in material.sheets[0].maps]
        maps = dict(zip(names, pictures, strict=True))
    if made.source is not None and (job is None or job.hole is None):  # of a filling most is in its place
        recipe |= _copied(material, made.source)
    if source is not None and source.shape[2] == 3 and material.n_exemplars > 1:
        count = np.bincount(source[..., 2].reshape(-1), minlength=material.n_exemplars)
        recipe["shares"] = [round(float(share), 4) for share in count / count.sum()]
    return Result(image, recipe, None if job is not None and job.resampled else source, maps)


def _indices(
    material: Material, first: Picture, number: int, source: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The palette of a copied map, and its indices where every sheet has that palette."""
    if source is None or first.indices is None or first.palette is None:
        return None, None
    sheets = [sheet.maps[number] for sheet in material.sheets]
    if any(p.palette is None or not np.array_equal(p.palette, first.palette) for p in sheets):
        return None, None
    sheet = source[..., 2] if source.shape[2] == 3 else np.zeros(source.shape[:2], int)
    indices = np.empty(source.shape[:2], first.indices.dtype)
    for k, one in enumerate(sheets):
        assert one.indices is not None
        here = sheet == k
        indices[here] = one.indices[source[here, 0], source[here, 1]]
    return first.palette, indices


def _copied(material: Material, source: np.ndarray) -> dict[str, Any]:
    """What the map says about copying: shares used, verbatim and repeated, the side of the largest verbatim square."""
    from texsyn.copying import largest_copy, repeats, verbatim_share

    sizes = [sheet.size for sheet in material.sheets]
    height, width = max(size.height for size in sizes), max(size.width for size in sizes)
    at = source[..., :2]
    if source.shape[2] == 3:  # sheets below each other, too far apart for a piece to reach over
        at = at + np.stack([source[..., 2] * (height + 1), np.zeros_like(source[..., 2])], -1)
    used = np.zeros((len(sizes) * (height + 1), width), bool)
    used[at[..., 0], at[..., 1]] = True
    found = {"exemplar_used": round(float(used.sum()) / sum(size.pixels for size in sizes), 4)}
    if min(source.shape[:2]) >= 31:
        found["copy31"] = round(verbatim_share(at, 31), 4)
    if min(*source.shape[:2], height, width) >= 15:
        found["repeated15"] = round(repeats(at, 15, exemplar=used.shape).share, 4)
    return found | {"largest_copy": largest_copy(at).side}


def as_size(size: Size | tuple[int, int] | str, base: Size) -> Size:
    """A Size from what synth() accepts. Raises ValueError."""
    if isinstance(size, Size):
        return size
    if isinstance(size, str):
        return parse_size(size, base)
    height, width = size
    return Size(int(height), int(width))


def fresh_seed() -> int:
    """A seed of 32 bits from the operating system; it is printed and stored, so short is kind."""
    return secrets.randbelow(2**32)


def resolve_device(device: str) -> str:
    """The device for a name: "auto" is CUDA where there is one, else the CPU. Raises ValueError if it is not there."""
    found = re.fullmatch(r"(auto|cpu|mps|cuda)(?::([0-9]{1,3}))?", device)
    if not found or (found[2] and found[1] != "cuda"):
        raise ValueError(f"device={device!r} is not one of {', '.join(DEVICES)} (cuda:1 for the second card)")
    kind, number = found[1], int(found[2] or 0)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if kind == "mps" and there[kind]:
        raise ValueError("device='mps': the methods need 64-bit floats, which Apple's GPUs lack; use cpu")
    if not there[kind]:
        raise ValueError(f"device={device!r} is not available to this torch ({torch.__version__}); use cpu or auto")
    if kind == "cuda" and number >= torch.cuda.device_count():
        raise ValueError(f"device={device!r}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    return device


def free_memory() -> int | None:
    """Bytes of memory that are free for us, as far as the system tells: what it could free counts too."""
    try:
        with open("/proc/meminfo") as f:
            for line in f:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError, IndexError):
        return None
