"""What is done with the styles of an image GAN on the command line: `mix`, `arithmetic`, `project` and `directions`.

The work itself is texsyn.latent_editing and texsyn.projection.
"""

from __future__ import annotations

import math
import time

import click
import numpy as np

from texsyn.cli import Misuse
from texsyn.cli.commands import _device, _talk, _with, load_exemplar, texsyn
from texsyn.cli.files import checked, targets
from texsyn.cli.latents import MAX_SEED, CodesText, Opened, _class, _truncated, first_of, words
from texsyn.cli.talk import Talk
from texsyn.images import InputError, check_path

STRENGTHS = 7  # columns of a sheet of directions

_made = _with(
    click.option(
        "-o", "--output", required=True, metavar="OUT|-",
        help="Output file (.png .tif .exr .jpg .webp .bmp); - is stdout (PNG).",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the outputs if they exist; refused otherwise."),
    click.option("--no-metadata", is_flag=True, help="Do not store the recipe inside the file."),
)  # fmt: skip
_rows = click.option(
    "--rows", metavar="NAME|0-3", default=None,
    help="Which rows of the styles: coarse, middle, fine, all, or numbers such as 0-3 or 0,2,4-6.",
)  # fmt: skip


def _check_outputs(opened: Opened, output: str | None, kept: str | None, dtype: str, overwrite: bool) -> None:
    """What could not be written is refused now."""
    if output is not None:
        targets(output, "", opened.blank(dtype), opened.size, range(1), overwrite)
    if kept is not None:
        check_path(kept, overwrite=overwrite)


@texsyn.command(short_help="Mix styles of a GAN's pictures, coarse and fine ones.")
@click.argument("model_file", metavar="MODEL")
@click.argument("columns", type=CodesText(), metavar="A,B,..")
@click.argument("others", type=CodesText(), metavar="C,D,..")
@click.option(
    "--rows", metavar="NAME|0-3", default="coarse", show_default=True,
    help="What A,B,.. give: coarse, middle, fine, or rows of the styles such as 0-3 or 0,2,4-6; C,D,.. give the rest.",
)  # fmt: skip
@_class
@_truncated
@click.option(
    "--latent", "kept", metavar="FILE", help="Of one and one: keep the styles too, for use where a seed is asked for."
)
@_made
@_device
@_talk
def mix(
    model_file: str,
    columns: tuple[int | str, ...],
    others: tuple[int | str, ...],
    rows: str,
    label: str | None,
    truncation: tuple[float, ...] | None,
    cutoff: int | None,
    centre: str | None,
    kept: str | None,
    output: str,
    overwrite: bool,
    no_metadata: bool,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Mix the styles of pictures of a GAN's MODEL: A,B,.. give the coarse rows, C,D,.. all others.

    Codes are seeds, or files of kept styles. One and one make a picture; more a sheet with A,B,.. as the first row and
    C,D,.. as the first column.

    \b
    texsyn mix f.texsyn 3,7,12 20,21,22,23 -o sheet.png
    texsyn mix f.texsyn 3 me.safetensors --rows middle -o both.png
    """
    from texsyn.gan.image_model import grid_of
    from texsyn.latent_editing import mixed, mixing_sheet, rows_named, save_latent, styles_of

    talk, began = Talk(as_json, quiet, verbose, output), time.monotonic()
    opened = Opened.of(model_file, device, styled=True)
    model, single = opened.model, len(columns) == len(others) == 1
    which = checked("--rows", rows_named, model, rows)
    if kept is not None and not single:
        raise Misuse(f"--latent: keeps one picture's styles, and these are {len(columns)} by {len(others)}")
    how = opened.truncation(truncation, cutoff, centre) | {"truncation": first_of(truncation)}
    how |= {"label": opened.label(label)}
    given = opened.codes("A,B,..", columns), opened.codes("C,D,..", others)
    _check_outputs(opened, output, kept, opened.dtype if single else "uint8", overwrite)
    settings = {
        "verb": "mix", "rows": rows, "columns": list(columns), "others": list(others), "class": label,
        "truncation": first_of(truncation), "cutoff": cutoff, "centre": centre,
    }  # fmt: skip
    tops, sides = (styles_of(model, codes, **how) for codes in given)
    if single:
        ws = mixed(sides, tops, which)
        picture = model.picture(model.ranged(model.synthesised(ws))[0])
        if kept is not None:
            save_latent(kept, model, ws[0], how=words("mix", settings), overwrite=overwrite)
    else:
        picture = grid_of(mixing_sheet(model, tops, sides, which), len(tops) + 1, model.about.domains)
    opened.publish(picture, output, settings, began, talk, overwrite=overwrite, metadata=not no_metadata)


@texsyn.command(short_help="Add and take away styles of a GAN's pictures.")
@click.argument("model_file", metavar="MODEL")
@click.option(
    "--plus", type=CodesText(), multiple=True, required=True, metavar="A,B,..",
    help="Add the mean of the styles of these seeds, or files of kept styles; repeatable.",
)  # fmt: skip
@click.option(
    "--minus", type=CodesText(), multiple=True, metavar="A,B,..", help="Take the mean of these away; repeatable."
)
@_class
@_truncated
@click.option("--grid", is_flag=True, help="A sheet of the means, those added first, and what comes out.")
@click.option("--latent", "kept", metavar="FILE", help="Keep the styles too, for use where a seed is asked for.")
@_made
@_device
@_talk
def arithmetic(
    model_file: str,
    plus: tuple[tuple[int | str, ...], ...],
    minus: tuple[tuple[int | str, ...], ...],
    label: str | None,
    truncation: tuple[float, ...] | None,
    cutoff: int | None,
    centre: str | None,
    grid: bool,
    kept: str | None,
    output: str,
    overwrite: bool,
    no_metadata: bool,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Add and take away the styles of pictures of a GAN's MODEL, as in: smiling woman - woman + man.

    One group more is added than taken away; a single one is the mean of its pictures.

    \b
    texsyn arithmetic f.texsyn --plus 3,8 --minus 2,5 --plus 9,27 -o sum.png
    """
    from texsyn.gan.image_model import grid_of
    from texsyn.latent_editing import arithmetic as summed
    from texsyn.latent_editing import save_latent, styles_of

    talk, began = Talk(as_json, quiet, verbose, output), time.monotonic()
    if len(plus) != len(minus) + 1:
        raise Misuse(f"--plus: {len(plus)} and {len(minus)} of --minus; one group more should be added than taken away")
    opened = Opened.of(model_file, device, styled=True)
    model = opened.model
    how = opened.truncation(truncation, cutoff, centre) | {"truncation": first_of(truncation)}
    how |= {"label": opened.label(label)}
    signs = [(1, "--plus", group) for group in plus] + [(-1, "--minus", group) for group in minus]
    given = [(sign, opened.codes(option, group)) for sign, option, group in signs]
    _check_outputs(opened, output, kept, "uint8" if grid else opened.dtype, overwrite)
    groups = [(sign, styles_of(model, codes, **how)) for sign, codes in given]
    ws = summed(groups)[None]
    settings = {
        "verb": "arithmetic", "plus": [list(group) for group in plus], "minus": [list(group) for group in minus],
        "class": label, "truncation": first_of(truncation), "cutoff": cutoff, "centre": centre,
    }  # fmt: skip
    if grid:
        import torch

        shown = torch.cat([*(group.mean(0, keepdim=True) for _, group in groups), ws])
        picture = grid_of(model.synthesised(shown), len(shown), model.about.domains)
    else:
        picture = model.picture(model.ranged(model.synthesised(ws))[0])
    if kept is not None:
        save_latent(kept, model, ws[0], how=words("arithmetic", settings), overwrite=overwrite)
    opened.publish(picture, output, settings, began, talk, overwrite=overwrite, metadata=not no_metadata)


# ------------------------------------------------------------------------------------------------- projection


@texsyn.command(short_help="Find a GAN's picture that is nearest to IMAGE.")
@click.argument("model_file", metavar="MODEL")
@click.argument("image", metavar="IMAGE|-")
@click.option(
    "--space", type=click.Choice(["w", "w+"]), default="w", show_default=True,
    help="One style for all layers, or one for each, which comes nearer and is edited worse.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(1, 1_000_000), metavar="N", default=1000, show_default=True)
@click.option(
    "--loss", type=click.Choice(["auto", "features", "pixels", "patches"]), default="auto", show_default=True,
    help="What near means: by features of VGG-19, by pixels at all scales, or by patches wherever they are; auto takes "
    "features where the weights are found.",
)  # fmt: skip
@click.option("--weights", metavar="PATH", help="VGG-19's weights; looked for otherwise (texsyn weights --help).")
@click.option("--class", "label", metavar="NAME", help="Of a model that knows classes: begin from this one.")
@click.option("--latent", "kept", metavar="FILE", help="Keep the styles, for use where a seed is asked for.")
@_made
@click.option("--seed", type=click.IntRange(0, MAX_SEED), metavar="N", default=0, show_default=True)
@_device
@_talk
def project(
    model_file: str,
    image: str,
    space: str,
    steps: int,
    loss: str,
    weights: str | None,
    label: str | None,
    kept: str | None,
    output: str,
    overwrite: bool,
    no_metadata: bool,
    seed: int,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Find the styles of a GAN's MODEL whose picture is nearest to IMAGE, and write that picture.

    IMAGE is cut in the middle to the model's shape and resized.

    \b
    texsyn project f.texsyn me.png -o found.png --latent me.safetensors
    texsyn sample f.texsyn --seed me.safetensors --direction d.safetensors:0
    """
    import torch

    from texsyn.datasets.fitting import Frame
    from texsyn.images import to_unit
    from texsyn.latent_editing import save_latent
    from texsyn.models.base import Watch
    from texsyn.projection import project as projected

    talk, began = Talk(as_json, quiet, verbose, output), time.monotonic()
    opened = Opened.of(model_file, device, styled=True)
    model, config = opened.model, opened.model.config
    if model.about.domains > 1:
        raise InputError(f"{model_file}: makes pictures of {model.about.domains} domains side by side, not one IMAGE")
    picture, number = load_exemplar(image, talk), opened.label(label)
    _check_outputs(opened, output, kept, opened.dtype, overwrite)
    codes = picture.pixels.transpose(2, 0, 1)
    fitted = Frame(config.channels, config.height, config.width, enlarge=True).fit(codes, picture.name)
    if picture.size != opened.size:
        talk.say(f"{picture.name}: {picture.size} was cut and resized to {opened.size}")
    low, high = model.about.low, model.about.high
    target = (torch.from_numpy(np.ascontiguousarray(to_unit(fitted))) - low) / (high - low)
    opened.require_free(4.0)  # layers' values, kept for the gradient, and with their own
    with talk.line:
        found = checked(
            "--loss", projected, model, target, space=space, steps=steps, loss=loss, weights=weights,
            label=number, seed=seed, watch=Watch(talk.line.update),
        )  # fmt: skip
    settings = {
        "verb": "project", "space": space, "steps": steps, "loss": found.loss, "class": label,
    }  # fmt: skip
    more = {"picture": {"name": picture.name, "size": str(picture.size), "sha256": picture.sha256}}
    near = None if math.isinf(found.psnr) else round(found.psnr, 3)
    if kept is not None:
        how = words("project", settings | {"picture": picture.name})
        save_latent(kept, model, found.ws, how=how, overwrite=overwrite)
    made = model.picture(model.ranged(found.picture[None])[0])
    opened.publish(
        made, output, settings, began, talk, overwrite=overwrite, metadata=not no_metadata, seed=seed,
        more=more | {"psnr": near},
    )  # fmt: skip
    talk.say(f"{output}: {found.psnr:.1f} dB from {picture.name}, by {found.loss}")


# ------------------------------------------------------------------------------------------------- directions


@texsyn.command(short_help="Find directions in which a GAN's pictures change.")
@click.argument("model_file", metavar="MODEL")
@click.option(
    "--method", type=click.Choice(["pca", "sefa"]), default="pca", show_default=True,
    help="Those in which styles vary most, or those to which layers answer most.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1, 1000), metavar="N", default=8, show_default=True, help="How many.")
@_rows
@click.option("-o", "--output", metavar="OUT|-", help="A sheet: a row for each direction, a column for each strength.")
@click.option("--save", "kept", metavar="FILE", help="Keep them, for `texsyn sample --direction FILE:0`.")
@click.option("--overwrite", is_flag=True, help="Replace the outputs if they exist; refused otherwise.")
@click.option("--no-metadata", is_flag=True, help="Do not store the recipe inside the picture.")
@click.option(
    "--seed", type=CodesText(one=True), metavar="N", default=0, show_default=True,
    help="The picture that is moved on the sheet; or a file of kept styles.",
)  # fmt: skip
@click.option(
    "--strength", type=click.FloatRange(0, 1000, min_open=True), metavar="S", default=3.0, show_default=True,
    help="How far, in standard deviations, to either side.",
)  # fmt: skip
@_class
@_truncated
@_device
@_talk
def directions(
    model_file: str,
    method: str,
    count: int,
    rows: str | None,
    output: str | None,
    kept: str | None,
    overwrite: bool,
    no_metadata: bool,
    seed: int | str,
    strength: float,
    label: str | None,
    truncation: tuple[float, ...] | None,
    cutoff: int | None,
    centre: str | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Find directions of the styles in which the pictures of a GAN's MODEL change, and show them, or keep them.

    \b
    texsyn directions f.texsyn -o sheet.png --save d.safetensors
    texsyn directions f.texsyn --method sefa --rows middle -o sefa.png
    texsyn sample f.texsyn --direction d.safetensors:2 --strength -1.5 -o m.png
    """
    from texsyn.gan.image_model import grid_of
    from texsyn.latent_editing import (
        direction_sheet,
        factored_directions,
        principal_directions,
        rows_named,
        save_directions,
        styles_of,
    )

    talk, began = Talk(as_json, quiet, verbose, output), time.monotonic()
    if output is None and kept is None:
        raise Misuse("-o: give a picture for a sheet, --save a file for the directions, or both")
    if math.isnan(strength):
        raise Misuse("--strength: nan should be above 0 and at most 1000")
    opened = Opened.of(model_file, device, styled=True)
    model, number = opened.model, opened.label(label)
    which = None if rows is None else checked("--rows", rows_named, model, rows)
    how = opened.truncation(truncation, cutoff, centre) | {"truncation": first_of(truncation), "label": number}
    codes = opened.codes("--seed", [seed])
    _check_outputs(opened, output, kept, "uint8", overwrite)
    if method == "pca":
        found = checked("--count", principal_directions, model, count, rows=which, label=number)
    else:
        found = checked("--count", factored_directions, model, count, rows=which)
    settings = {
        "verb": "directions", "method": method, "count": count, "rows": rows, "strength": strength, "class": label,
        "truncation": first_of(truncation), "cutoff": cutoff, "centre": centre,
        "latent": seed if isinstance(seed, str) else None,
    }  # fmt: skip
    if kept is not None:
        save_directions(kept, found, overwrite=overwrite)
        if output is None:
            talk.result({"output": kept, "method": model.config.arch, "settings": settings})
        talk.say(f"{kept}: {count} directions of {model.config.arch} by {method}")
    if output is None:
        return
    strengths = [strength * (2 * k / (STRENGTHS - 1) - 1) for k in range(STRENGTHS)]
    made = direction_sheet(model, styles_of(model, codes, **how)[0], found, strengths)
    seeded = seed if isinstance(seed, int) else None
    picture = grid_of(made, STRENGTHS, model.about.domains)
    more = {} if kept is None else {"directions": kept}
    opened.publish(
        picture, output, settings, began, talk, overwrite=overwrite, metadata=not no_metadata, seed=seeded, more=more
    )  # fmt: skip
