"""Pictures of trained image GANs on the command line: `texsyn sample` and `texsyn interpolate` of those."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from texsyn import __version__
from texsyn.cli import Misuse, printable
from texsyn.cli.commands import _device, _publish, _seeds, _talk, texsyn
from texsyn.cli.files import checked, require_file, stem_of, targets
from texsyn.cli.talk import Talk
from texsyn.images import InputError, Picture, Size, check_target, save

if TYPE_CHECKING:
    from texsyn.gan.image_model import ImageModel

FRAME = 128  # pixels up to which frames are enlarged


def sample_images(
    model_file: str,
    talk: Talk,
    *,
    output: str | None,
    overwrite: bool,
    count: int,
    seed: int | None,
    label: str | None,
    truncation: float | None,
    grid: bool,
    device: str,
    metadata: bool = True,
) -> None:
    """Pictures of an image GAN: one file each, or a sheet of them."""
    from texsyn.gan.image_model import grid_of
    from texsyn.synthesis import RECIPE_SCHEMA, Result, fresh_seed

    model = _model(model_file, device)
    first = fresh_seed() if seed is None else seed
    number = _label(model, label)
    size, dtype = Size(model.config.height, model.config.width * model.about.domains), _dtype(model)
    if grid:
        output, dtype = output or f"{stem_of(model_file)}_grid_seed{first}.png", "uint8"
    kind = Picture(np.zeros((1, 1, model.config.channels // model.about.domains), dtype), _kind(model))
    names = targets(output, model_file, kind, size, _seeds(first, 1 if grid else count), overwrite)
    began = time.monotonic()
    made = checked("--truncation", model.sample, count, seed=first, label=number, truncation=truncation)
    low, high = model.about.low, model.about.high
    sheets = (
        [grid_of((made - low) / (high - low), _columns(count), model.about.domains)]
        if grid
        else [model.picture(one) for one in made]
    )
    digest = hashlib.sha256(Path(model_file).read_bytes()).hexdigest()
    settings = {"class": label, "truncation": truncation, "pictures": count if grid else None}
    for i, (name, picture) in enumerate(zip(names, sheets, strict=True)):
        recipe = {
            "schema": RECIPE_SCHEMA, "texsyn": __version__, "method": model.config.arch, "size": str(picture.size),
            "seed": first + i, "settings": {k: v for k, v in settings.items() if v is not None},
            "model": {"name": Path(model_file).name, "sha256": digest}, "pixels_sha256": picture.sha256,
            "seconds": round(time.monotonic() - began, 3), "evidence": [],
        }  # fmt: skip
        _publish(Result(picture, recipe), name, overwrite, metadata, talk)


def _model(path: str, device: str) -> ImageModel:
    from texsyn.gan.image_model import load_image_model
    from texsyn.synthesis import resolve_device

    require_file(path)
    model = load_image_model(path, device=checked("--device", resolve_device, device))
    if model.about.kind == "points":
        raise InputError(f"{path}: makes points of the plane, not pictures; `texsyn train --folder` draws them")
    return model


def _kind(model: ImageModel) -> str:
    from texsyn.images.picture import MODES

    return MODES.get(model.config.channels // model.about.domains, "multi")


def _dtype(model: ImageModel) -> str:
    return "uint8" if (model.about.low, model.about.high) == (0, 1) else "float32"


def _label(model: ImageModel, text: str | None) -> int | None:
    """The number of a class by its name or number."""
    if text is None:
        return None
    classes = model.about.classes
    if not model.config.n_classes:
        raise Misuse(f"--class: {model.config.arch} was trained without classes")
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    raise Misuse(f"--class: {printable(text)!r} is not one of {', '.join(map(printable, classes))}")


def _columns(count: int) -> int:
    """Columns of a sheet that is about square."""
    return max(1, round(count**0.5))


@texsyn.command(short_help="Let the pictures of a GAN's MODEL turn into each other.")
@click.argument("model_file", metavar="MODEL")
@click.option(
    "-o", "--output", required=True, metavar="OUT",
    help="Output: .gif, .webp, .mp4 (needs texsyn[video]), a name without an ending for a folder of pictures; or a "
    ".png, for a sheet of them.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@click.option(
    "--seeds", metavar="A,B,..", default="0,1,2,3", show_default=True,
    help="Seeds of the pictures that are passed, and back to the first.",
)  # fmt: skip
@click.option(
    "--frames", type=click.IntRange(2, 10_000), metavar="N", default=64, show_default=True, help="How many, in all."
)
@click.option(
    "--fps", type=click.FloatRange(0, min_open=True), metavar="N", default=16.0, show_default=True,
    help="Frames a second.",
)  # fmt: skip
@click.option(
    "--class", "label", metavar="NAME", help="Of a model that knows classes: the one shown.  [default: the first]"
)
@_device
@_talk
def interpolate(
    model_file: str,
    output: str,
    overwrite: bool,
    seeds: str,
    frames: int,
    fps: float,
    label: str | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Let the pictures of a GAN's MODEL turn into each other: from seed to seed along great circles of its latents.

    \b
    texsyn interpolate digits.texsyn --seeds 3,7,12 --frames 90 -o turning.webp
    texsyn interpolate digits.texsyn --seeds 3,7 --frames 16 -o turning.png
    """
    from texsyn.gan.image_model import sheet_of
    from texsyn.images.animation import check_animation, save_animation

    talk = Talk(as_json, quiet, verbose, output)
    if output in ("", "-"):
        raise Misuse(f"-o: {output!r} is no name for frames; give one such as turning.webp")
    passed = _seed_list(seeds)
    if frames < len(passed):
        raise Misuse(f"--frames: {frames} are too few for {len(passed)} seeds; give at least as many")
    model = _model(model_file, device)
    number = _label(model, label)
    sheet = output.lower().endswith((".png", ".tif", ".tiff"))
    if sheet:
        checked("-o", check_target, output, mode=_kind(model), dtype="uint8", size=None, overwrite=overwrite)
    else:
        checked("-o", check_animation, output, mode=_kind(model), fps=fps, overwrite=overwrite)
    began = time.monotonic()
    shown = interpolation(model, passed, frames, number)
    about = {"arch": model.config.arch, "seeds": passed, "frames": len(shown)}
    if sheet:
        save(sheet_of(shown), output, overwrite=overwrite)
    else:
        save_animation(shown, output, fps=fps, overwrite=overwrite)
    talk.result({"output": output} | about)
    talk.say(
        f"{output}: {len(shown)} frames of {shown[0].size} by {model.config.arch}, {time.monotonic() - began:.1f} s"
    )


def _seed_list(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) < 2 or not all(part.isdecimal() and len(part) < 19 for part in parts):
        raise Misuse(f"--seeds: {printable(text)!r} is not understood: give two or more, such as 3,7,12")
    return [int(part) for part in parts]


def interpolation(model: ImageModel, seeds: list[int], n_frames: int, label: int | None) -> list[Picture]:
    """So many frames from seed to seed and back to the first, small pictures enlarged by whole numbers."""
    from texsyn.gan.image_model import enlarged, picture_of

    frames: list[Picture] = []
    for i, (a, b) in enumerate(zip(seeds, [*seeds[1:], seeds[0]], strict=True), 1):
        each = i * n_frames // len(seeds) - len(frames)
        made = enlarged(model.between(a, b, each + 1, label=label)[:-1], FRAME)
        frames += [picture_of(one, model.about.domains) for one in made]
    return frames
