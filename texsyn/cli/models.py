"""`texsyn fit` and `texsyn sample`: a texture learned once, and pictures of it again and again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from texsyn.cli import Misuse
from texsyn.cli.commands import (
    PICTURE_ENDINGS,
    _device,
    _load_method,
    _many,
    _method,
    _output,
    _parse_settings,
    _publish,
    _require_memory,
    _seed,
    _seeds,
    _settings,
    _size,
    _size_of,
    _talk,
    _tile,
    _watch,
    load_exemplar,
    texsyn,
)
from texsyn.cli.files import checked, require_file, targets_of
from texsyn.cli.latents import CodesText, _edited, _moved, _noise, _truncated, sample_images
from texsyn.cli.synth import _as_options, _kept_wishes, _require_mix, _sources, _wished
from texsyn.cli.talk import Talk
from texsyn.images import check_path


@texsyn.command(short_help="Learn the texture of IMAGE and keep it in a MODEL file.")
@click.argument("images", metavar="IMAGE...|-", nargs=-1)
@click.option("-o", "--output", required=True, metavar="MODEL", help="Model file to write, e.g. rock.texsyn.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@_seed
@_method
@_settings
@_kept_wishes
@_device
@_talk
def fit(
    images: tuple[str, ...],
    output: str,
    overwrite: bool,
    seed: int | None,
    method: str,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
    maps: tuple[str, ...],
    **wanted: Any,
) -> None:
    """Learn the texture of IMAGE once and keep it in a MODEL file, for `texsyn sample` and `texsyn render`.

    \b
    texsyn fit rock.png -o rock.texsyn
    texsyn sample rock.texsyn --size 4096x4096 -o rock_big.png
    texsyn fit --maps 'rock_*.png' -o stack.texsyn
    texsyn fit moss.png stone.png --mix 0.3,0.7 -o mossy.texsyn
    """
    talk = Talk(as_json, quiet, verbose, None)
    if output == "-" or Path(output).suffix.lower() in PICTURE_ENDINGS:
        raise Misuse(f"-o: {output!r} is no name for a model: give a file such as rock.texsyn (synth makes pictures)")
    check_path(output, overwrite=overwrite)
    _require_mix(images, wanted)
    given = [load_exemplar(one, talk) for one in _sources(images, maps)]
    wished = _wished(wanted, talk)
    from texsyn.cli.train import TRAINED, require_training_memory
    from texsyn.models.base import model_class
    from texsyn.synthesis import (
        as_stacks,
        configure,
        fit_model,
        fresh_seed,
        origin_of,
        plan,
        resolve_device,
        split_wishes,
    )

    seed = fresh_seed() if seed is None else seed
    _load_method(method, talk)
    config = checked("--set", configure, method, _parse_settings(settings), whole=False)
    wishes, _ = _as_options(split_wishes, wished)
    exemplars = _as_options(as_stacks, None if maps else given, given if maps else None)
    job = _as_options(plan, exemplars, wishes, method, config)
    where = checked("--device", resolve_device, device)
    if method in TRAINED:
        require_training_memory(model_class(method), given[0], config, where)
    else:
        _require_memory(given[0].size, given[0], method, job)
    with talk.line:
        watch, origin = _watch(talk.line), origin_of(job, wishes)
        model = fit_model(job.material, method, config, seed=seed, device=where, watch=watch, origin=origin)
        model.save(output, overwrite=overwrite)
    n_bytes = Path(output).stat().st_size
    talk.result({"output": output, "method": method, "seed": seed, "bytes": n_bytes})
    talk.say(f"{output}: {method} model, seed {seed}, {n_bytes / 1e6:.1f} MB")


class AnchorsText(click.ParamType):
    """Seeds: A,B,.. from left to right, four as the corners, or rows of them with / between."""

    name = "anchors"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[list[int]]:
        if isinstance(value, list):
            return value
        if not re.fullmatch(r"[0-9]{1,18}([,/][0-9]{1,18})+", str(value)):
            self.fail(f"{value!r} is not understood: give seeds such as 3,7 or, as corners, 3,7,4,8", param, ctx)
        rows = [[int(seed) for seed in row.split(",")] for row in str(value).split("/")]
        return [rows[0][:2], rows[0][2:]] if len(rows) == 1 and len(rows[0]) == 4 else rows


@texsyn.command(short_help="Draw pictures of any size from a MODEL.")
@click.argument("model_file", metavar="MODEL")
@_size
@_tile
@click.option(
    "--morph", type=AnchorsText(), metavar="A,B|A,B,C,D",
    help="Of a psgan with global vectors: pass from the look of one seed to another's, left to right or by corners.",
)  # fmt: skip
@click.option(
    "--class", "label", metavar="NAME", help="Of a GAN that knows classes: the one.  [default: one after the other]"
)
@_truncated
@_edited
@_moved
@_noise
@click.option("--grid", is_flag=True, help="Of a GAN: all pictures on one sheet.")
@_output
@_many
@click.option(
    "--seed", type=CodesText(one=True), metavar="N|FILE",
    help="Random by default; printed and stored. Of a GAN with styles: or a file of kept ones.",
)  # fmt: skip
@_device
@_talk
def sample(
    model_file: str,
    size_text: str,
    tile: str,
    morph: list[list[int]] | None,
    label: str | None,
    truncation: tuple[float, ...] | None,
    cutoff: int | None,
    centre: str | None,
    directions: tuple[tuple[str, int], ...],
    strengths: tuple[float, ...],
    kept: str | None,
    translate: tuple[float, ...] | None,
    rotate: float | None,
    noise: str | None,
    grid: bool,
    output: str | None,
    overwrite: bool,
    no_metadata: bool,
    count: int,
    seed: int | str | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Draw pictures of any size from a MODEL that `texsyn fit` wrote; of a stack of maps, all of them.

    \b
    texsyn sample rock.texsyn --size 4096x4096 -o rock_big.png
    texsyn sample stack.texsyn --size 4096x4096 -o 'big_{name}'
    texsyn sample rock.texsyn -n 4 -o 'rock_{seed}.png'
    texsyn sample digits.texsyn -n 100 --grid -o digits.png
    texsyn sample f.texsyn -n 4 --truncation 0,0.7,1 --cutoff 6 -o psi.png
    """
    talk = Talk(as_json, quiet, verbose, output)
    require_file(model_file)
    if _is_image_gan(model_file):
        _require_default("tile", "morph")
        sized = click.get_current_context().get_parameter_source("size_text") is not ParameterSource.DEFAULT
        sample_images(
            model_file, talk, output=output, overwrite=overwrite, count=count, seed=seed, label=label,
            truncation=truncation, cutoff=cutoff, centre=centre, directions=directions, strengths=strengths, kept=kept,
            translate=translate, rotate=rotate, size_text=size_text if sized else None, noise=noise, grid=grid,
            device=device,
            metadata=not no_metadata,
        )  # fmt: skip
        return
    _require_default(
        "label",
        "truncation",
        "cutoff",
        "centre",
        "directions",
        "strengths",
        "kept",
        "translate",
        "rotate",
        "noise",
        "grid",
    )
    if isinstance(seed, str):
        raise Misuse(f"--seed: {seed!r} is no seed, and files of styles are for models of a StyleGAN")
    from texsyn.models.base import load as load_model
    from texsyn.models.base import read_header
    from texsyn.synthesis import draw, fresh_seed, job_of_model, resolve_device

    where = checked("--device", resolve_device, device)
    _load_method(read_header(model_file)["method"], talk)
    model = load_model(model_file, device=where)
    size = _size_of(size_text, model.exemplar)
    if morph is not None:
        model = _morphed(model, morph, size, tile)
    seeds = _seeds(fresh_seed() if seed is None else seed, count)
    maps = model.material.sheets[0].maps
    sources = [one.name for one in maps] if len(maps) > 1 else [model_file]
    outputs = targets_of(output, sources, maps, size, seeds, overwrite)
    _require_memory(size, model.exemplar, model.method, job_of_model(model))
    with talk.line:
        watch = _watch(talk.line)
        for i, (names, seed) in enumerate(zip(outputs, seeds, strict=True)):
            result = draw(model, size, seed=seed, tile=tile, watch=watch.part(i / count, (i + 1) / count))
            results = [result.of_map(one.name) for one in maps] if len(maps) > 1 else [result]
            for name, one in zip(names, results, strict=True):
                _publish(one, name, overwrite, not no_metadata, talk)


def _is_image_gan(model_file: str) -> bool:
    from texsyn.models.base import GENERATED, header_of

    return bool(header_of(model_file)["format"] == GENERATED)


def _require_default(*names: str) -> None:
    """Misuse where an option was given that this kind of model has no use for."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            option = next(p for p in context.command.params if p.name == name)
            kind = "a GAN of many pictures has one size" if name in ("tile", "morph") else (
                "is for models that `texsyn train --arch` wrote"
            )  # fmt: skip
            raise Misuse(f"{option.opts[0]}: {kind}; leave it out")


def _morphed(model: Any, anchors: list[list[int]], size: Any, tile: str) -> Any:
    """The model morphed over the picture."""
    if not hasattr(model, "morphed"):
        raise Misuse(f"--morph: passes between looks that a psgan model has, and this is a {model.method} model")
    if tile != "none":
        raise Misuse(f"--morph: a picture that passes from one look to another cannot tile, leave out --tile {tile}")
    return checked("--morph", model.morphed, anchors, size)
