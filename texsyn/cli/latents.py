"""Pictures of trained image GANs on the command line: `texsyn sample` and `texsyn interpolate` of those.

And what these share with the verbs of texsyn.cli.styles. A code is a seed, or a file of styles that one of them kept.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from texsyn import __version__
from texsyn.cli import Misuse, printable
from texsyn.cli.commands import _device, _publish, _seeds, _talk, _with, texsyn
from texsyn.cli.files import checked, require_file, stem_of, targets
from texsyn.cli.manipulate import _require_room_for
from texsyn.cli.talk import Talk
from texsyn.images import InputError, Picture, Size, check_path, check_target, parse_size, save

if TYPE_CHECKING:
    from torch import Tensor

    from texsyn.gan.image_model import ImageModel
    from texsyn.latent_editing import Code, Directions

FRAME = 128  # pixels up to which frames are enlarged
MAX_SEED = 2**63 - 1

# ------------------------------------------------------------------------------------------------------------- options


class NumbersText(click.ParamType):
    """Finite numbers with commas between them, as a tuple."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if not numbers or not all(math.isfinite(number) for number in numbers):
            self.fail(f"{str(value)!r} is not understood: give a number, or several such as 0,0.5,1", param, ctx)
        return numbers


class CodesText(click.ParamType):
    """Codes with commas between them: seeds as int, names of files as str. one: there is a single one."""

    name = "codes"

    def __init__(self, *, one: bool = False) -> None:
        self.one = one

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        codes = tuple(self._code(part, param, ctx) for part in ([value] if self.one else value.split(",")))
        return codes[0] if self.one else codes

    def _code(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if text.isascii() and text.isdecimal():
            if int(text) > MAX_SEED:
                self.fail(f"{text} is not in the range 0<=x<={MAX_SEED}.", param, ctx)
            return int(text)
        if not text or text.lstrip("+-").replace(".", "").isdecimal():
            what = "such as 3" if self.one else "with commas between, such as 3,7,face.safetensors"
            self.fail(f"{text!r} is not understood: give a seed, or a file of kept styles, {what}", param, ctx)
        return text


class MoveText(click.ParamType):
    """FILE:N, the direction of that number in a file of directions, as (file, number)."""

    name = "move"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        file, _, number = str(value).rpartition(":")
        if not file or not number.isascii() or not number.isdecimal() or len(number) > 6:
            self.fail(f"{value!r} is not understood: give FILE:N, such as directions.safetensors:0", param, ctx)
        return file, int(number)


_truncated = _with(
    click.option(
        "--truncation", type=NumbersText(), metavar="T",
        help="Of a GAN with styles: how far they are from their centre, 1 as learned, 0 the centre; several, such as "
        "0,0.5,1, are columns of a sheet. Of others: latents beyond T are drawn again, 0 for none. Lower is more "
        "typical and less varied.",
    ),
    click.option("--cutoff", type=click.IntRange(0), metavar="N", help="Truncate the first N rows of styles only."),
    click.option(
        "--centre", type=click.Choice(["class", "all"]),
        help="Truncate to the centre of the class, where there are classes, or to that of all.  [default: class]",
    ),
)  # fmt: skip
_edited = _with(
    click.option(
        "--direction", "directions", type=MoveText(), multiple=True, metavar="FILE:N",
        help="Move the styles along direction N of a file that `texsyn directions` kept; repeatable.",
    ),
    click.option(
        "--strength", "strengths", type=float, multiple=True, metavar="S",
        help="How far, in standard deviations: one for each --direction, or one for all.  [default: 1]",
    ),
    click.option("--latent", "kept", metavar="FILE", help="Keep the styles too, for use where a seed is asked for."),
)  # fmt: skip
_noise = click.option(
    "--noise", type=click.Choice(["own", "same"]),
    help="Of StyleGANs: the noise of each seed's own, as in training, or the same for all seeds, as in `mix` and other "
    "verbs where pictures turn into each other.  [default: own]",
)  # fmt: skip
_moved = _with(
    click.option(
        "--translate", type=NumbersText(), metavar="X,Y",
        help="Of StyleGAN3: move what is shown to the right and down, in shorter sides of the picture.",
    ),
    click.option("--rotate", type=float, metavar="DEG", help="Of StyleGAN3: turn it clockwise."),
)  # fmt: skip
_class = click.option(
    "--class", "label", metavar="NAME", help="Of a model that knows classes: that of seeds.  [default: one a seed]"
)


# -------------------------------------------------------------------------------------------------- what verbs share


@dataclass(frozen=True)
class Opened:
    """A model, and what a recipe says of its file."""

    model: ImageModel
    name: str
    sha256: str

    @classmethod
    def of(cls, path: str, device: str, *, styled: bool = False) -> Opened:
        """The image GAN of a file. InputError for what is none, for points, and where it should have styles."""
        from texsyn.gan.image_model import load_image_model
        from texsyn.synthesis import resolve_device

        require_file(path)
        model = load_image_model(path, device=checked("--device", resolve_device, device))
        if model.about.kind == "points":
            raise InputError(f"{path}: makes points of the plane, not pictures; `texsyn train --folder` draws them")
        if styled and not model.has_styles:
            raise InputError(f"{path}: {model.config.arch} has no styles; give a model of a StyleGAN")
        return cls(model, Path(path).name, hashlib.sha256(Path(path).read_bytes()).hexdigest())

    @property
    def mode(self) -> str:
        from texsyn.images.picture import MODES

        return MODES.get(self.model.config.channels // self.model.about.domains, "multi")

    @property
    def dtype(self) -> str:
        return "uint8" if (self.model.about.low, self.model.about.high) == (0, 1) else "float32"

    @property
    def size(self) -> Size:
        return Size(self.model.config.height, self.model.config.width * self.model.about.domains)

    def shown(self, text: str | None) -> Size | None:
        """How much of a canvas is to be shown; None where nothing was asked for."""
        if text is None:
            return None
        if not self.model.has_canvas:
            if not self.model.has_styles or not self.model.config.periodic:
                raise Misuse("--size: a GAN of many pictures has one size; leave it out")
            size = checked("--size", parse_size, text, self.size)
            checked("--size", self.model.styled.repeats, (size.height, size.width))
        else:
            generator, size = self.model.canvas, checked("--size", parse_size, text, self.size)
            if size.height % generator.step or size.width % generator.step:
                raise Misuse(f"--size: {size} should have sides that are multiples of {generator.step}")
            if generator.periodic and size != self.size:
                raise Misuse(f"--size: pictures that tile have one size, {self.size}")
        self.require_free(size.pixels / self.size.pixels)
        found: Size = size
        return found

    def require_free(self, pictures: float) -> None:
        """MemoryError where the values of so many pictures, all at once, do not fit into the computer's memory."""
        from texsyn.projection import values_bytes
        from texsyn.synthesis import free_memory

        free = free_memory() if self.model.device.type == "cpu" else None
        need = pictures * values_bytes(self.model)
        if free is not None and need > free:
            raise MemoryError(f"its layers need about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free")

    def blank(self, dtype: str) -> Picture:
        """A picture of the model's kind, whose size does not matter."""
        channels = self.model.config.channels // self.model.about.domains
        return Picture(np.zeros((1, 1, channels), dtype), self.mode)

    def label(self, text: str | None) -> int | None:
        """The number of a class by its name or number."""
        if text is None:
            return None
        classes = self.model.about.classes
        if not self.model.config.n_classes:
            raise Misuse(f"--class: {self.model.config.arch} was trained without classes")
        if text in classes:
            return classes.index(text)
        if text.isdecimal() and int(text) < len(classes):
            return int(text)
        raise Misuse(f"--class: {printable(text)!r} is not one of {', '.join(map(printable, classes))}")

    def codes(self, option: str, given: Sequence[int | str]) -> list[Code]:
        """Seeds as they are, and the styles that files keep, if they belong to this model."""
        from texsyn.latent_editing import load_latent, styles_of

        found: list[Code] = []
        for one in given:
            if isinstance(one, str):
                if not self.model.has_styles:
                    raise Misuse(f"{option}: {self.model.config.arch} takes seeds, since it has no styles")
                require_file(one)
                latent = load_latent(one)
                checked(f"{option} {one}", styles_of, self.model, [latent])
                found.append(latent)
            else:
                found.append(one)
        return found

    def moves(self, files: Sequence[tuple[str, int]], strengths: Sequence[float]) -> Callable[[Tensor], Tensor]:
        """What moves styles (.., n_styles, latent) along the directions of these files."""
        from texsyn.latent_editing import load_directions, require_directions

        if strengths and not files:
            raise Misuse("--strength: is of a --direction, and there is none")
        if len(strengths) > 1 and len(strengths) != len(files):
            raise Misuse(f"--strength: {len(strengths)} for {len(files)} of --direction; give one for each, or one")
        if files and not self.model.has_styles:
            raise Misuse(f"--direction: {self.model.config.arch} has no styles to move")
        amounts = list(strengths or (1.0,)) * (1 if len(strengths) > 1 else len(files))
        found: list[tuple[Directions, int, float]] = []
        for (file, number), strength in zip(files, amounts, strict=True):
            require_file(file)
            directions = load_directions(file)
            checked(f"--direction {file}", require_directions, self.model, directions)
            checked("--direction", directions.require, number, strength)
            found.append((directions, number, strength))

        def moved(ws: Tensor) -> Tensor:
            for directions, number, strength in found:
                ws = directions.moved(ws, number, strength)
            return ws

        return moved

    def truncation(
        self, psis: Sequence[float] | None, cutoff: int | None, centre: str | None, *, several: bool = False
    ) -> dict[str, Any]:
        """cutoff and centre for ImageModel.sample(), after a look at those and at the truncations."""
        checked("--cutoff", self.model.sample, 0, seed=0, cutoff=cutoff)
        checked("--centre", self.model.sample, 0, seed=0, centre=centre)
        for psi in psis or ():
            checked("--truncation", self.model.sample, 0, seed=0, truncation=psi)
        if psis is not None and len(psis) > 1 and not (several and self.model.has_styles):
            raise Misuse(f"--truncation: give one number, not {len(psis)}")
        return {"cutoff": cutoff, "centre": centre}

    def canvas(self, translate: Sequence[float] | None, rotate: float | None, share: float = 1.0) -> Tensor | None:
        """Where points of the picture lie when such a share of the move and turn is done; None without either."""
        from texsyn.gan.networks.stylegan3 import canvas

        if translate is None and rotate is None:
            return None
        option = "--rotate" if translate is None else "--translate"
        checked(option, getattr, self.model, "canvas")
        if translate is not None and len(translate) != 2:
            raise Misuse(f"--translate: give two numbers such as 0.25,0, not {len(translate)}")
        if rotate is not None and not math.isfinite(rotate):
            raise Misuse(f"--rotate: {rotate} should be a finite number")
        x, y = (share * one for one in translate or (0.0, 0.0))
        return canvas(move=(x, y), turn=math.radians(share * (rotate or 0.0)))

    def publish(
        self,
        picture: Picture,
        target: str,
        settings: dict[str, Any],
        began: float,
        talk: Talk,
        *,
        overwrite: bool,
        metadata: bool,
        seed: int | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        """Write the picture with its recipe, and say so."""
        import torch

        from texsyn.synthesis import RECIPE_SCHEMA, Result

        recipe = {
            "schema": RECIPE_SCHEMA, "texsyn": __version__, "method": self.model.config.arch, "size": str(picture.size),
            **({} if seed is None else {"seed": seed}),
            "settings": {k: v for k, v in settings.items() if v is not None},
            "model": {"name": self.name, "sha256": self.sha256}, "device": str(self.model.device),
            "torch": torch.__version__, "pixels_sha256": picture.sha256,
            "seconds": round(time.monotonic() - began, 3), "evidence": [], **(more or {}),
        }  # fmt: skip
        _publish(Result(picture, recipe), target, overwrite, metadata, talk)


def first_of(psis: Sequence[float] | None) -> float | None:
    """The first of several numbers, or None."""
    return psis[0] if psis else None


# ------------------------------------------------------------------------------------------- pictures, and ways of them


def sample_images(
    model_file: str,
    talk: Talk,
    *,
    output: str | None,
    overwrite: bool,
    count: int,
    seed: int | str | None,
    label: str | None,
    truncation: tuple[float, ...] | None,
    cutoff: int | None,
    centre: str | None,
    directions: tuple[tuple[str, int], ...],
    strengths: tuple[float, ...],
    kept: str | None,
    translate: tuple[float, ...] | None,
    rotate: float | None,
    size_text: str | None,
    noise: str | None,
    grid: bool,
    device: str,
    metadata: bool = True,
) -> None:
    """Pictures of an image GAN: one file each, or a sheet of them, with a column for each of several truncations."""
    import torch

    from texsyn.latent_editing import save_latent, styles_of
    from texsyn.synthesis import fresh_seed

    opened = Opened.of(model_file, device)
    model, psis, first = opened.model, truncation or (None,), fresh_seed() if seed is None else seed
    sheet = grid or len(psis) > 1
    if isinstance(first, str) and (count > 1 or truncation is not None or label is not None):
        raise Misuse("--seed: styles that were kept are of one picture; leave -n, --truncation and --class out")
    if kept is not None and (count > 1 or len(psis) > 1):
        raise Misuse("--latent: keeps the styles of one picture; leave -n and further truncations out")
    if noise is not None and not model.has_styles:
        raise Misuse(f"--noise: {model.config.arch} has none, which StyleGANs have")
    if kept is not None and not model.has_styles:
        raise Misuse(f"--latent: {model.config.arch} has no styles to keep")
    number, moved = opened.label(label), opened.moves(directions, strengths)
    canvas, size = opened.canvas(translate, rotate), opened.shown(size_text)
    how = opened.truncation(truncation, cutoff, centre, several=True)
    seeds = range(1) if isinstance(first, str) else _seeds(first, count)
    codes = opened.codes("--seed", [first] if isinstance(first, str) else seeds)
    dtype, stem = "uint8" if sheet else opened.dtype, stem_of(model_file)
    if output is None and (sheet or isinstance(first, str)):
        named = stem_of(first) if isinstance(first, str) else f"seed{first}"
        output = f"{stem}_{'grid_' if sheet else ''}{named}{'.png' if dtype == 'uint8' else '.tif'}"
    if kept is not None:
        checked("--latent", check_path, kept, overwrite=overwrite)
    names = targets(
        output, model_file, opened.blank(dtype), size or opened.size, seeds[: 1 if sheet else None], overwrite
    )
    settings = {
        "class": label, "truncation": truncation[0] if truncation and len(truncation) == 1 else truncation,
        "cutoff": cutoff, "centre": centre, "directions": [f"{Path(file).name}:{k}" for file, k in directions] or None,
        "strengths": list(strengths) or None, "translate": translate, "rotate": rotate,
        "noise": noise, "pictures": len(codes) if sheet else None, "latent": first if isinstance(first, str) else None,
        "size": None if size is None else str(size),
    }  # fmt: skip
    began = time.monotonic()

    def made(code: Code, psi: float | None) -> Tensor:
        """The picture (1, c, h, w), in the range of the data."""
        if not model.has_styles:
            assert isinstance(code, int)
            return model.sample(1, seed=code, label=number, truncation=psi)
        ws = moved(styles_of(model, [code], label=number, truncation=psi, **how))
        own = int(model.keys(1, seed=code)) if isinstance(code, int) else code.noise
        own = None if noise == "same" else own
        if kept is not None:
            how_made = words("sample", settings | {"seed": seed})
            save_latent(kept, model, ws[0], how=how_made, noise=own, overwrite=overwrite)
        keys = None if own is None else torch.tensor([own])
        return model.ranged(model.synthesised(ws, keys, canvas=canvas, size=size))

    if sheet:
        pictures = iter([model.sheet(torch.cat([made(code, psi) for code in codes for psi in psis]), len(psis))])
    else:
        pictures = (model.picture(made(code, psis[0])[0]) for code in codes)
    for i, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        seeded = None if isinstance(first, str) else first + i
        opened.publish(picture, name, settings, began, talk, overwrite=overwrite, metadata=metadata, seed=seeded)


def words(verb: str, settings: dict[str, Any]) -> str:
    """What made a latent, for people."""
    return " ".join([verb, *(f"{key}={value}" for key, value in settings.items() if value is not None)])


@texsyn.command(short_help="Let the pictures of a GAN's MODEL turn into each other.")
@click.argument("model_file", metavar="MODEL")
@click.option(
    "-o", "--output", required=True, metavar="OUT",
    help="Output: .gif, .webp, .mp4 (needs texsyn[video]), a name without an ending for a folder of pictures; or a "
    ".png, for a sheet of them.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@click.option(
    "--seeds", type=CodesText(), metavar="A,B,..", default="0,1,2,3", show_default=True,
    help="Seeds of the pictures that are passed, and back to the first; or, in space w, files of kept styles.",
)  # fmt: skip
@click.option(
    "--space", type=click.Choice(["z", "w"]), default="z", show_default=True,
    help="Along great circles of latents, or, of a GAN with styles, along lines between those.",
)  # fmt: skip
@click.option(
    "--frames", type=click.IntRange(2, 10_000), metavar="N", default=64, show_default=True, help="How many, in all."
)
@click.option(
    "--fps", type=click.FloatRange(0, min_open=True), metavar="N", default=16.0, show_default=True,
    help="Frames a second.",
)  # fmt: skip
@click.option(
    "--class", "label", metavar="NAME",
    help="Of a model that knows classes: the one shown.  [default: the first; in space w one a seed]",
)  # fmt: skip
@_truncated
@_moved
@_device
@_talk
def interpolate(
    model_file: str,
    output: str,
    overwrite: bool,
    seeds: tuple[int | str, ...],
    space: str,
    frames: int,
    fps: float,
    label: str | None,
    truncation: tuple[float, ...] | None,
    cutoff: int | None,
    centre: str | None,
    translate: tuple[float, ...] | None,
    rotate: float | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Let the pictures of a GAN's MODEL turn into each other, from seed to seed and back to the first, without a jump.

    --translate and --rotate are those of the frame that would follow the last one.

    \b
    texsyn interpolate digits.texsyn --seeds 3,7,12 --frames 90 -o turning.webp
    texsyn interpolate digits.texsyn --seeds 3,7 --frames 16 -o turning.png
    texsyn interpolate s3.texsyn --seeds 3 --rotate 360 -o spin.webp
    texsyn interpolate f.texsyn --space w --seeds 3,me.safetensors -o w.webp
    """
    from texsyn.gan.image_model import sheet_of
    from texsyn.images.animation import check_animation, save_animation
    from texsyn.latent_editing import way

    talk = Talk(as_json, quiet, verbose, output)
    if output in ("", "-"):
        raise Misuse(f"-o: {output!r} is no name for frames; give one such as turning.webp")
    if len(seeds) < (2 if translate is None and rotate is None else 1):
        raise Misuse(f"--seeds: {str(seeds[0])!r} is not understood: give two or more, such as 3,7,12")
    if frames < len(seeds):
        raise Misuse(f"--frames: {frames} are too few for {len(seeds)} seeds; give at least as many")
    opened = Opened.of(model_file, device, styled=space == "w")
    model = opened.model
    number, how = opened.label(label), opened.truncation(truncation, cutoff, centre)
    codes = opened.codes("--seeds", seeds)
    where = [opened.canvas(translate, rotate, i / frames) for i in range(frames)]
    how |= {"canvases": None if where[0] is None else where}
    how |= {"space": space, "label": number, "truncation": first_of(truncation)}
    passed = checked("--space", way, model, codes, frames, **how)
    size = _frame_size(opened)
    sheet = output.lower().endswith((".png", ".tif", ".tiff"))
    if sheet:
        checked("-o", check_target, output, mode=opened.mode, dtype="uint8", size=None, overwrite=overwrite)
    elif checked("-o", check_animation, output, mode=opened.mode, fps=fps, size=size, overwrite=overwrite) in (
        "gif", "webp",
    ):  # fmt: skip
        _require_room_for(frames, size, opened.blank("uint8").channels)
    began = time.monotonic()
    shown = _enlarged(model, passed)
    about = {"arch": model.config.arch, "seeds": list(seeds), "space": space, "frames": frames}
    about |= {} if where[0] is None else {"translate": translate, "rotate": rotate}
    with talk.line:
        counted = _counted(shown, frames, talk)
        if sheet:
            save(sheet_of(list(counted)), output, overwrite=overwrite)
        else:
            save_animation(counted, output, fps=fps, overwrite=overwrite)
    talk.result({"output": output} | about)
    talk.say(f"{output}: {frames} frames of {size} by {model.config.arch}, {time.monotonic() - began:.1f} s")


def _counted(frames: Iterator[Picture], n: int, talk: Talk) -> Iterator[Picture]:
    for i, frame in enumerate(frames, 1):
        yield frame
        talk.line.update(i / n, f"frame {i} of {n}")


def _frame_size(opened: Opened) -> Size:
    times = max(1, FRAME // max(opened.model.config.height, opened.model.config.width))
    return Size(opened.size.height * times, opened.size.width * times)


def _enlarged(model: ImageModel, made: Iterator[Tensor]) -> Iterator[Picture]:
    """Frames of pictures (c, h, w) in [0, 1], small ones enlarged by whole numbers."""
    from texsyn.gan.image_model import enlarged, picture_of

    return (picture_of(enlarged(one[None], FRAME)[0], model.about.domains) for one in made)
