"""What a trained SinGAN does to pictures: `texsyn animate`, `harmonise`, `edit`, `paint` and `upscale`.

The work itself is texsyn.manipulation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from texsyn import __version__
from texsyn.cli import Misuse
from texsyn.cli.commands import (
    SizeText,
    _device,
    _load_method,
    _parse_settings,
    _publish,
    _require_memory,
    _seed,
    _settings,
    _size_of,
    _talk,
    _watch,
    _with,
    load_exemplar,
    texsyn,
)
from texsyn.cli.files import checked, require_file, targets
from texsyn.cli.progress import clock
from texsyn.cli.talk import Talk
from texsyn.images import InputError, Picture, Size

if TYPE_CHECKING:
    from texsyn.models.singan import Singan

_written = _with(
    click.option(
        "-o", "--output", metavar="OUT|-", required=True,
        help="Output file (.png .tif .exr .jpg .webp .bmp); - is stdout (PNG).",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise."),
    click.option("--no-metadata", is_flag=True, help="Do not store the recipe inside the file."),
)  # fmt: skip
_blending = _with(
    click.option("--mask", "mask_file", required=True, metavar="FILE", help="White where the picture is to change."),
    click.option(
        "--dilation", type=click.IntRange(0, 10_000), metavar="PX",
        help="By how much the mask grows.  [default: 7 to harmonise, 20 to edit]",
    ),
    click.option(
        "--softness", type=click.FloatRange(0, 10_000), metavar="PX", default=5.0, show_default=True,
        help="How wide its edge fades: a Gaussian's standard deviation.",
    ),
)  # fmt: skip


def _scale(default: str) -> Any:
    return click.option(
        "--scale", type=click.IntRange(1), metavar="N",
        help="Where it is put in, from 1, coarse, which changes most, to the model's finest, which changes least.  "
        f"[default: {default}]",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- animate


@texsyn.command(short_help="Let a picture of a singan MODEL move.")
@click.argument("model_file", metavar="MODEL")
@click.option(
    "-o", "--output", required=True, metavar="OUT",
    help="Output: .gif, .webp, .mp4 (needs texsyn[video]), or a name without an ending for a folder of pictures.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@click.option("--no-metadata", is_flag=True, help="Do not store the recipe inside the file.")
@click.option("--frames", type=click.IntRange(1, 100_000), metavar="N", help="How many.  [default: 100]")
@click.option(
    "--fps", type=click.FloatRange(0, min_open=True), metavar="N", default=10.0, show_default=True,
    help="Frames a second.",
)  # fmt: skip
@click.option("--loop", is_flag=True, default=None, help="The frame after the last one is the first, without a jump.")
@click.option(
    "--size", "size_text", type=SizeText(), metavar="WxH|2x",
    help="Width x height in pixels, or a factor of the exemplar's.  [default: that of the training]",
)  # fmt: skip
@click.option(
    "--start-scale", type=click.IntRange(0), metavar="N",
    help="The coarsest scale that moves, from 0: a larger one keeps the arrangement.  [default: 0]",
)  # fmt: skip
@click.option(
    "--alpha", type=click.FloatRange(0, 1), metavar="A",
    help="How strongly it is drawn back to the exemplar, from 0 to 1.  [default: 0.1]",
)  # fmt: skip
@click.option(
    "--beta", type=click.FloatRange(0, 1, max_open=True), metavar="B",
    help="How evenly it moves, from 0, jumping, to below 1.  [default: 0.9]",
)  # fmt: skip
@_seed
@_device
@_talk
def animate(
    model_file: str,
    output: str,
    overwrite: bool,
    no_metadata: bool,
    frames: int | None,
    fps: float,
    loop: bool | None,
    size_text: str | None,
    start_scale: int | None,
    alpha: float | None,
    beta: float | None,
    seed: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Let a picture of a singan MODEL move: its noise walks at random around that of the exemplar.

    \b
    texsyn animate scene.safetensors --loop -o scene.webp
    texsyn animate scene.safetensors --start-scale 1 --beta 0.8 -o scene.gif
    """
    talk = Talk(as_json, quiet, verbose, None)
    model, about = _model(model_file, device, talk)
    from texsyn.images.animation import check_animation, save_animation
    from texsyn.manipulation import Walk
    from texsyn.manipulation import animate as walked
    from texsyn.synthesis import fresh_seed

    given = {"n_frames": frames, "start_scale": start_scale, "alpha": alpha, "beta": beta, "loop": loop}
    walk = checked("--loop", Walk, **{key: value for key, value in given.items() if value is not None})
    size = model.sizes[-1] if size_text is None else _size_of(size_text, model.exemplar)
    kind = {"mode": model.exemplar.mode, "dtype": model.exemplar.pixels.dtype, "size": size, "fps": fps}
    form = checked("-o", check_animation, output, overwrite=overwrite, **kind)
    _require_memory(size, model.exemplar, model.method)
    if form in ("gif", "webp"):
        _require_room_for(walk.n_frames, size, model.exemplar.channels)
    seed, began = fresh_seed() if seed is None else seed, time.monotonic()
    recipe = {
        "schema": 1, "texsyn": __version__, "method": "animate", "settings": dataclasses.asdict(walk) | {"fps": fps},
        "size": str(size), "seed": seed, **about,
    }  # fmt: skip
    with talk.line:
        made = checked("--start-scale", walked, model, walk, size=size, seed=seed, watch=_watch(talk.line))
        notes = save_animation(
            made, output, fps=fps, recipe=None if no_metadata else recipe, overwrite=overwrite
        )  # fmt: skip
    seconds = time.monotonic() - began
    talk.result({"output": output} | recipe | {"seconds": round(seconds, 3)})
    talk.say(f"{output}: {walk.n_frames} frames of {size}, seed {seed}, {clock(seconds)}")
    for note in notes:
        talk.say(f"{output}: {note}")


def _require_room_for(n: int, size: Size, channels: int) -> None:
    """MemoryError where so many frames, which are all held at once and twice, do not fit."""
    from texsyn.synthesis import free_memory

    need, free = 2 * n * size.pixels * channels, free_memory()
    if free is not None and need > free:
        raise MemoryError(
            f"{n} frames of {size} need about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
            "give a name without an ending for a folder of pictures"
        )


# ------------------------------------------------------------------------------------------------- pictures put in


@texsyn.command(short_help="Blend what was pasted into PICTURE into it.")
@click.argument("model_file", metavar="MODEL")
@click.argument("picture_file", metavar="PICTURE|-")
@_blending
@_scale("two below the finest")
@_written
@_seed
@_device
@_talk
def harmonise(model_file: str, picture_file: str, **options: Any) -> None:
    """Blend what was pasted into PICTURE, where the mask is white, into it, in the manner of a singan MODEL.

    MODEL is one of the picture that it was pasted into. PICTURE's other pixels, depth and size are kept.

    \b
    texsyn harmonise scene.safetensors pasted.png --mask where.png -o one.png
    """
    _masked("harmonise", model_file, picture_file, **options)


@texsyn.command(short_help="Mend what was moved about in PICTURE.")
@click.argument("model_file", metavar="MODEL")
@click.argument("picture_file", metavar="PICTURE|-")
@_blending
@_scale("a quarter of the way up")
@_written
@_seed
@_device
@_talk
def edit(model_file: str, picture_file: str, **options: Any) -> None:
    """Mend what was copied, moved or stretched in PICTURE, where the mask is white, by a singan MODEL of the original.

    As harmonise, from a coarser scale and with a larger margin, so that seams go and details are made anew.

    \b
    texsyn edit scene.safetensors moved.png --mask where.png -o mended.png
    """
    _masked("edit", model_file, picture_file, **options)


@texsyn.command(short_help="Turn a DRAWING into a picture like a singan MODEL's.")
@click.argument("model_file", metavar="MODEL")
@click.argument("drawing_file", metavar="DRAWING|-")
@_scale("a quarter of the way up")
@click.option(
    "--size", "size_text", type=SizeText(), metavar="WxH|2x",
    help="Width x height in pixels, or a factor of DRAWING's.  [default: DRAWING's shape, as large as the training]",
)  # fmt: skip
@click.option(
    "--colours",
    type=click.IntRange(2, 256),
    metavar="N",
    help="First give DRAWING this many of the exemplar's colours.",
)
@_written
@_seed
@_device
@_talk
def paint(
    model_file: str, drawing_file: str, scale: int | None, size_text: str | None, colours: int | None, **options: Any
) -> None:
    """Turn a DRAWING, areas of colour without detail, into a picture in the manner of a singan MODEL.

    \b
    texsyn paint scene.safetensors sketch.png --scale 2 -o painted.png
    texsyn paint scene.safetensors sketch.png --colours 5 -o painted_5.png
    """

    def work(model: Singan, drawing: Picture, seed: int) -> tuple[Picture, dict[str, Any]]:
        from texsyn.manipulation import coarse
        from texsyn.manipulation import paint as painted

        size = None if size_text is None else _size_of(size_text, drawing)
        if size is not None:
            _require_memory(size, drawing, model.method)
        settings = {"scale": coarse(model) if scale is None else scale, "colours": colours or 0}
        return checked("--scale", painted, model, drawing, size=size, seed=seed, **settings), settings

    _put_in("paint", model_file, drawing_file, work, **options)


def _masked(
    verb: str,
    model_file: str,
    picture_file: str,
    mask_file: str,
    scale: int | None,
    dilation: int | None,
    softness: float,
    **options: Any,
) -> None:
    if math.isnan(softness):
        raise Misuse("--softness: nan should be from 0 to 10000")

    def work(model: Singan, picture: Picture, seed: int) -> tuple[Picture, dict[str, Any]]:
        from texsyn import manipulation
        from texsyn.cli.files import load_picture
        from texsyn.wishes import white

        mask = white(load_picture(mask_file), picture, "--mask")
        grown, usual = (
            (manipulation.HARMONISED, manipulation.fine)
            if verb == "harmonise"
            else (manipulation.EDITED, manipulation.coarse)
        )
        settings = {
            "scale": usual(model) if scale is None else scale,
            "dilation": grown if dilation is None else dilation,
            "softness": softness,
        }
        made = checked("--scale", getattr(manipulation, verb), model, picture, mask, seed=seed, **settings)
        return made, settings

    if mask_file == "-" and picture_file == "-":
        raise Misuse("-: standard input holds one picture; give a file for PICTURE or for --mask")
    _put_in(verb, model_file, picture_file, work, **options)


def _put_in(
    verb: str,
    model_file: str,
    picture_file: str,
    work: Callable[[Singan, Picture, int], tuple[Picture, dict[str, Any]]],
    output: str,
    overwrite: bool,
    no_metadata: bool,
    seed: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """A verb that makes one picture of one by a model: work() gives it with the settings."""
    talk = Talk(as_json, quiet, verbose, output)
    model, about = _model(model_file, device, talk)
    picture = load_exemplar(picture_file, talk)
    (target,) = targets(output, picture_file, picture, picture.size, range(1), overwrite)
    _require_memory(picture.size, picture, model.method)
    from texsyn.synthesis import fresh_seed

    seed, began = fresh_seed() if seed is None else seed, time.monotonic()
    with talk.line:
        talk.line.update(0.0, verb)
        made, settings = work(model, picture, seed)
    _say(verb, made, picture, target, settings, seed, began, about, overwrite, not no_metadata, talk)


# ------------------------------------------------------------------------------------------------------------- upscale


@texsyn.command(short_help="Enlarge IMAGE, with detail learned from itself.")
@click.argument("image", metavar="IMAGE|-")
@click.option(
    "--factor", type=click.FloatRange(1, 64, min_open=True), default=4.0, show_default=True, metavar="F",
    help="How many times as wide and high.",
)  # fmt: skip
@click.option(
    "--corrections", type=click.IntRange(0, 100), metavar="N", default=3, show_default=True,
    help="Times, after each step, that what would not shrink to IMAGE again is put right; 0 for detail that runs free.",
)  # fmt: skip
@click.option(
    "--model", "model_file", metavar="MODEL",
    help="A singan model of IMAGE or of one like it, instead of training one first.",
)  # fmt: skip
@click.option(
    "--steps",
    type=click.IntRange(1, 2**24),
    metavar="N",
    help="Steps to train each scale for.  [default: the method's]",
)
@_settings
@_written
@_seed
@_device
@_talk
def upscale(
    image: str,
    factor: float,
    corrections: int,
    model_file: str | None,
    steps: int | None,
    settings: tuple[str, ...],
    output: str,
    overwrite: bool,
    no_metadata: bool,
    seed: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Enlarge IMAGE, with detail learned from itself: a singan is trained on it, which takes its time.

    A long IMAGE is learned from its middle, 250 pixels at most (--set max_side=400 for more), and enlarged as a whole.
    It comes out well where small things look like large ones, such as rocks and waves. To stop and go on, train with
    `texsyn train --method singan --set alpha=100 --set min_side=18 --set factor=0.75` and give --model.

    \b
    texsyn upscale rock.png --factor 4 -o rock_4x.png
    texsyn upscale rock.png --model scene.safetensors -o rock_4x.png
    """
    talk = Talk(as_json, quiet, verbose, output)
    if model_file is not None and (steps is not None or settings):
        raise Misuse("--model: is trained already; leave --steps and --set out")
    if math.isnan(factor):
        raise Misuse("--factor: nan should be above 1 and at most 64")
    picture = load_exemplar(image, talk)
    large = Size(round(picture.size.height * factor), round(picture.size.width * factor))
    (target,) = targets(output, image, picture, large, range(1), overwrite)
    from texsyn.manipulation import upscale as enlarged
    from texsyn.synthesis import fresh_seed

    _require_memory(large, picture, "singan")
    seed, began = fresh_seed() if seed is None else seed, time.monotonic()
    if model_file is None:
        given = _parse_settings(settings) | ({} if steps is None else {"steps": steps})
        model, about = _trained(picture, given, seed, device, talk)
    else:
        model, about = _model(model_file, device, talk)
    chosen = {"factor": factor, "corrections": corrections}
    with talk.line:
        made = checked("--factor", enlarged, model, picture, seed=seed, watch=_watch(talk.line), **chosen)
    _say("upscale", made, picture, target, chosen, seed, began, about, overwrite, not no_metadata, talk)


def _trained(
    picture: Picture, given: dict[str, Any], seed: int, device: str, talk: Talk
) -> tuple[Singan, dict[str, Any]]:
    """A pyramid that can enlarge the picture, and what a recipe says of it."""
    from texsyn.cli.train import Report, in_our_words, require_training_memory
    from texsyn.manipulation import UPSCALING, pyramid_for
    from texsyn.models.base import Watch
    from texsyn.models.singan import Singan
    from texsyn.synthesis import configure, resolve_device

    config = checked("--set", configure, "singan", {**UPSCALING, **given}, whole=True)
    middle, config = pyramid_for(picture, config)
    if middle.size != picture.size:
        talk.say(f"{picture.name}: learned from its middle, {middle.size} pixels; --set max_side=N changes that")
    where = checked("--device", resolve_device, device)
    Singan(middle, config, where)  # refuses what it cannot learn, before anything is said
    need = require_training_memory(Singan, middle, config, where)
    talk.say(f"singan: {Singan.n_steps(middle, config)} steps on {where}, {need}")
    with talk.line, in_our_words("singan"):
        report = Report(talk, "a smaller --steps is quicker" if where == "cpu" else None)
        model, _ = Singan.train(middle, config, seed=seed, device=where, watch=Watch(report))
    return model, {"fit_seed": seed, "learned": dataclasses.asdict(config)}


# ---- what these verbs share


def _model(path: str, device: str, talk: Talk) -> tuple[Singan, dict[str, Any]]:
    """The singan model of a file, and what a recipe says of it."""
    require_file(path)
    from texsyn.models.base import load, read_header
    from texsyn.synthesis import resolve_device

    where = checked("--device", resolve_device, device)
    method = read_header(path)["method"]
    if method != "singan":
        raise InputError(f"{path}: is a {method} model; give one that `texsyn train --method singan` wrote")
    _load_method(method, talk)
    model: Any = load(path, device=where)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return model, {"model": {"name": Path(path).name, "sha256": digest}, "device": where}


def _say(
    verb: str,
    made: Picture,
    picture: Picture,
    target: str,
    settings: dict[str, Any],
    seed: int,
    began: float,
    about: dict[str, Any],
    overwrite: bool,
    metadata: bool,
    talk: Talk,
) -> None:
    """Write the picture with its recipe, and say so."""
    from texsyn.synthesis import RECIPE_SCHEMA, Result

    recipe = {
        "schema": RECIPE_SCHEMA, "texsyn": __version__, "method": verb, "settings": settings, "size": str(made.size),
        "seed": seed, "picture": {"name": picture.name, "size": str(picture.size), "sha256": picture.sha256}, **about,
        "pixels_sha256": made.sha256, "seconds": round(time.monotonic() - began, 3), "evidence": [],
    }  # fmt: skip
    _publish(Result(made, recipe), target, overwrite, metadata, talk)
    for note in made.notes:
        talk.say(f"{target}: {note}")
