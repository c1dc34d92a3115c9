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
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import texsyn
from texsyn.blocks import period_of
from texsyn.images import Picture, Size, parse_size, save
from texsyn.images import load as load_picture
from texsyn.models.base import Cancel, OnProgress, Synthesis, TextureModel, Watch, make_config, model_class

RECIPE_SCHEMA = 1
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Result:
    """A synthesised picture with what made it.

    image is the Picture, in the exemplar's mode and depth; recipe a JSON-able dictionary that is enough to make it
    again (method, settings, seed, size, exemplar's hash) with the evidence of every level; source (h, w, 2) int32 the
    exemplar pixel that each pixel is, or None for methods that blend.
    """

    image: Picture
    recipe: dict[str, Any]
    source: np.ndarray | None = None

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


def synth(
    image: Any,
    size: Size | tuple[int, int] | str = "2x",
    *,
    method: str = "texto",
    seed: int | None = None,
    tile: str = "none",
    device: str = "auto",
    on_progress: OnProgress | None = None,
    cancel: Cancel | None = None,
    **settings: Any,
) -> Result:
    """A picture of the given size with the texture of image.

    image: path, file bytes, array (h, w[, c]) or Picture. size: Size, (height, width), "1280x768" (width x height) or
    "2x". seed: None draws one; it is in the result (what a method learns first is learned with seed 0). tile: axes
    on which the picture wraps without a seam, "none", "x" (left to right), "y" or "xy". settings go to the method's
    configuration (TextoConfig ...).
    on_progress(fraction, message) is called now and then; cancel.is_set() is polled, and Cancelled raised.

    Raises InputError for a picture that cannot be used, ValueError for wrong arguments.
    """
    exemplar = as_picture(image)
    watch = Watch(on_progress, cancel)
    seed = fresh_seed() if seed is None else seed
    config, wanted = configure(method, settings, whole=True), as_size(size, exemplar.size)
    period_of(tile, wanted)  # refuses unknown names before the work
    model = fit_model(exemplar, method, config, seed=0, device=device, watch=watch.part(0, 0.5))
    return draw(model, wanted, seed=seed, tile=tile, watch=watch.part(0.5, 1) if model.tensors() else watch)


def fit(
    image: Any,
    method: str = "texto",
    *,
    seed: int | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    cancel: Cancel | None = None,
    **settings: Any,
) -> TextureModel:
    """A model of image's texture, to sample from again and again; arguments as for synth().

    "texto" is fitted in endless mode unless endless=False is among the settings.
    """
    config = configure(method, settings, whole=False)
    seed = fresh_seed() if seed is None else seed
    return fit_model(as_picture(image), method, config, seed=seed, device=device, watch=Watch(on_progress, cancel))


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
    return _result(picture, made, about, f"tileable {picture.size}", began)


def configure(method: str, settings: dict[str, Any], *, whole: bool) -> Any:
    """The method's configuration; whole says that whole pictures are wanted, so that texto is not made endless.

    Raises ValueError for an unknown method or setting, or a value out of its range.
    """
    config_type = model_class(method).config_type
    if "endless" in {f.name for f in dataclasses.fields(config_type)}:
        settings = {"endless": not whole} | settings
    return make_config(config_type, settings)


def fit_model(exemplar: Picture, method: str, config: Any, *, seed: int, device: str, watch: Watch) -> TextureModel:
    """fit() with a picture and a configuration that are already checked."""
    model = model_class(method).fit(exemplar, config, seed=seed, device=resolve_device(device), watch=watch)
    model.fit_seed = seed
    return model


def draw(model: TextureModel, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Result:
    """One picture of a model, as a Result."""
    began = time.perf_counter()
    made = model.synthesise(size, seed=seed, tile=tile, watch=watch)
    about = {
        "method": model.method,
        "settings": dataclasses.asdict(model.config),
        "size": str(size),
        "seed": seed,
        "tile": tile,
        "fit_seed": model.fit_seed,
        "device": str(model.device),
    }
    return _result(model.exemplar, made, about, f"{model.method} {size}", began)


def _result(exemplar: Picture, made: Synthesis, about: dict[str, Any], name: str, began: float) -> Result:
    palette, indices = None, None
    if made.source is not None and exemplar.indices is not None:  # a palette picture stays one
        palette, indices = exemplar.palette, exemplar.indices[made.source[..., 0], made.source[..., 1]]
    image = Picture(made.pixels, exemplar.mode, exemplar.icc_profile, palette=palette, indices=indices, name=name)
    recipe = {
        "schema": RECIPE_SCHEMA,
        "texsyn": texsyn.__version__,
        **about,
        "exemplar": {"name": exemplar.name, "size": str(exemplar.size), "sha256": exemplar.sha256},
        "pixels_sha256": image.sha256,
        "torch": torch.__version__,
        "seconds": round(time.perf_counter() - began, 3),
        "evidence": made.evidence,
    }
    if made.source is not None:
        recipe["exemplar_used"] = round(_share_used(made.source, exemplar.size), 4)
    return Result(image, recipe, made.source)


def _share_used(source: np.ndarray, size: Size) -> float:
    used = np.zeros((size.height, size.width), bool)
    used[source[..., 0], source[..., 1]] = True
    return float(used.mean())


def as_picture(image: Any) -> Picture:
    """image itself when it is a Picture, else what texsyn.images.load makes of it; float tensors are (c, h, w)."""
    if isinstance(image, Picture):
        return image
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu().movedim(0, -1).numpy() if image.ndim == 3 else image.detach().cpu().numpy()
    return load_picture(image)


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
