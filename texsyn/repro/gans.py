"""By sample of an image GAN: pictures of seeds, by a model whose file is found by its hash."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from texsyn.gan.image_model import ImageModel, grid_of, load_image_model
from texsyn.gan.networks.stylegan3 import canvas
from texsyn.images import MAX_PIXELS, InputError, Picture, Size, parse_size
from texsyn.images.picture import printable
from texsyn.models.base import Watch
from texsyn.projection import values_bytes
from texsyn.repro.inputs import Search
from texsyn.repro.making import Made, again
from texsyn.repro.reading import Says, Told, is_number
from texsyn.synthesis import Result

#: verbs whose pictures have them as the method in their recipes; those of image GANs have them among the settings
VERBS = ("animate", "edit", "harmonise", "paint", "upscale")
FILES = ("latent", "directions")  #: settings that name files, without a hash by which those could be told


@dataclass(frozen=True)
class Sampled:
    """What sample was asked for: n seeds, the truncations of each, and further arguments of ImageModel.sample().

    sheet: the pictures are on one, with a column for each truncation where there are several.
    """

    n: int
    psis: list[float | None]
    how: dict[str, Any]
    sheet: bool

    @classmethod
    def of(cls, says: Says, model: ImageModel) -> Sampled:
        told = Says(says.name, says.mapping("settings"))
        given, sheet = told.recipe, "pictures" in told.recipe
        n = told.whole("pictures", high=MAX_PIXELS) if sheet else 1
        psis = _numbers(told, "truncation") if "truncation" in given else [None]
        size = told.text("size") if "size" in given else None if sheet else says.text("size")
        how: dict[str, Any] = {key: told.text(key) for key in ("centre", "noise") if key in given}
        if "cutoff" in given:
            how["cutoff"] = told.whole("cutoff", high=MAX_PIXELS)
        if "class" in given:
            how["label"] = _label(model, told)
        if "translate" in given or "rotate" in given:
            x, y = _numbers(told, "translate", 2) if "translate" in given else (0.0, 0.0)
            (turn,) = _numbers(told, "rotate", 1) if "rotate" in given else (0.0,)
            how["canvas"] = canvas(move=(x, y), turn=math.radians(turn))
        if size not in (None, str(_own(model))):
            how["size"] = parse_size(size)
        made = cls(n, psis, how, sheet)
        if n * len(psis) * made.size(model).pixels > says.size.pixels or (len(psis) > 1 and not sheet):
            raise says.broken("its settings ask for more than it shows")
        return made

    def size(self, model: ImageModel) -> Size:
        """That of one picture."""
        found: Size = self.how.get("size", _own(model))
        return found

    def made(self, model: ImageModel, seed: int, watch: Watch) -> Picture:
        """The picture of a seed, or the sheet of those from it on."""
        made = []
        for i in range(self.n):
            watch.step(i / self.n, f"picture {i + 1} of {self.n}")
            made += [model.sample(1, seed=seed + i, truncation=psi, **self.how) for psi in self.psis]
        watch.step(1.0, "done")
        if not self.sheet:
            return model.picture(made[0][0])
        return model.sheet(torch.cat(made), len(self.psis))


def of_a_verb(says: Says, seek: Search) -> Made:
    """The refusal of pictures that verbs of a singan model made."""
    raise refused(says, says.text("method"))


def refused(says: Says, verb: str, why: str = "") -> InputError:
    """What to raise for a picture that cannot be made again here."""
    return Told(
        f"{says.name}: was made by `texsyn {printable(verb)[:40]}`{why}, and repro does not make that again; run the "
        "verb itself, with the settings that `texsyn info` shows of the picture"
    )


def sampled(says: Says, seek: Search) -> Made:
    """By sample of an image GAN. Its other verbs, and files of styles and directions, are refused."""
    method, settings = says.text("method"), says.mapping("settings")
    if "verb" in settings:
        raise refused(says, str(settings["verb"]))
    if any(key in settings for key in FILES):
        raise refused(says, "sample", " of files of styles or directions, which its recipe has no hash of")
    seed = says.seed
    model = load_image_model(seek.model(says.input(says.recipe.get("model"), "model")), device=says.device)
    if model.config.arch != method or model.about.kind != "pictures":
        raise says.broken(f"its model makes {model.about.kind} by {model.config.arch}")
    wanted = Sampled.of(says, model)

    def make(watch: Watch) -> Result:
        image = wanted.made(model, seed, watch)
        now = {"device": str(model.device)} if "device" in says.recipe else {}
        return Result(image, again(says.recipe, image) | now)

    pixel = torch.zeros(model.config.channels, 1, 1)
    kind = grid_of(pixel[None], 1, model.about.domains) if wanted.sheet else model.picture(pixel)
    layers = values_bytes(model) if model.has_styles else 0
    need = layers * wanted.size(model).pixels / _own(model).pixels + 8 * model.config.channels * says.size.pixels
    return says.size, kind, round(need), make


def _own(model: ImageModel) -> Size:
    return Size(model.config.height, model.config.width * model.about.domains)


def _label(model: ImageModel, told: Says) -> int:
    """The number of a class by its name or number."""
    text, classes = told.text("class"), model.about.classes
    if text not in classes and not (text.isdecimal() and len(text) < 10):
        raise told.broken(f"class {text[:80]!r} is none of its model's")
    return classes.index(text) if text in classes else int(text)


def _numbers(told: Says, key: str, n: int | None = None) -> list[Any]:
    """One number, or several, of a setting; n: so many."""
    value = told.recipe[key]
    values = value if isinstance(value, list) else [value]
    if not values or not all(map(is_number, values)) or len(values) != (n or len(values)):
        raise told.broken(f"the setting {key} is no number, or not as many as belong there")
    return values
