"""`texsyn synth`: the main job, with everything that can be wished for."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from texsyn.cli import Misuse
from texsyn.cli.commands import (
    SizeText,
    _device,
    _dry_run,
    _endless,
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
    _talk,
    _tile,
    _watch,
    _with,
    load_exemplar,
    texsyn,
)
from texsyn.cli.files import checked, load_picture, targets_of
from texsyn.cli.talk import Talk
from texsyn.images import InputError, Picture

_PICTURE_OPTIONS = ("mask", "source", "exclude", "guide_in", "guide_out", "mix_map", "target")

#: of what is copied: what a model can keep
_kept_wishes = _with(
    click.option(
        "--maps", metavar="FILE", multiple=True,
        help="A map of a stack, instead of IMAGE: albedo, normals, roughness...; repeatable, and a pattern such as "
        "'rock_*.png' names several. They are matched and copied together.",
    ),
    click.option(
        "--weight", "weights", metavar="NAME=W", multiple=True,
        help="How much a map counts in matching; NAME is a part of its file name. 0: copied, not matched.",
    ),
    click.option("--exclude", metavar="FILE", help="Copy nothing from where this is white."),
    click.option("--mix", metavar="0.7,0.3", help="The share of each of several IMAGEs in the output."),
    click.option("--scale", type=float, metavar="F", default=1.0, show_default=True, help="Size of IMAGE's elements."),
    click.option(
        "--rotate", type=float, metavar="DEG", default=0.0, show_default=True,
        help="Turn IMAGE's elements counter-clockwise.",
    ),
    click.option(
        "--symmetry", type=click.Choice(["none", "mirror-x", "mirror-y", "mirrors", "turns", "all"]), default="none",
        show_default=True, help="Copy from mirrored and turned IMAGEs too.",
    ),
)  # fmt: skip
#: of one picture
_wishes = _with(
    click.option("--mask", metavar="FILE", help="Fill IMAGE where this is white; all other pixels are kept."),
    click.option("--source", metavar="FILE", help="With --mask: fill from this picture instead."),
    click.option("--guide-in", metavar="FILE", help="What IMAGE shows where: labels (few colours) or values."),
    click.option("--guide-out", metavar="FILE", help="What the output shall show where; it has the output's size."),
    click.option(
        "--guide-kind", type=click.Choice(["auto", "labels", "values"]), default="auto", show_default=True,
        help="How guides are read; auto takes up to 64 colours for labels.",
    ),
    click.option(
        "--guide-weight", type=click.FloatRange(0, 8, min_open=True), metavar="W", default=1.0, show_default=True,
        help="How much values count, in channels of IMAGE.",
    ),
    click.option("--mix-map", metavar="FILE", help="Where which of two IMAGEs goes: white is the first."),
    click.option(
        "--morph", type=click.FloatRange(0, 1), metavar="T",
        help="A texture between two IMAGEs: 0 the first, 1 the second.",
    ),
    click.option("--target", metavar="FILE", help="A picture whose light and dark the output follows."),
    click.option(
        "--strength", type=click.FloatRange(0, 1, min_open=True), metavar="S", default=0.3, show_default=True,
        help="How closely it follows the target.",
    ),
    click.option(
        "--copy-limit", type=click.IntRange(min=1), metavar="PX",
        help="Side of the largest square that may stand in the output as it is in IMAGE.",
    ),
    click.option(
        "--histogram", type=click.Choice(["free", "keep"]), default="free", show_default=True,
        help="keep: IMAGE's histogram in every channel, which changes pixels a little.",
    ),
    click.option(
        "--depth", type=click.Choice(["auto", "8", "16", "f16", "f32"]), default="auto", show_default=True,
        help="Bits of the output's channels; auto: IMAGE's.",
    ),
    click.option(
        "--save-coords", metavar="FILE",
        help="Write the coordinates that the pixels come from (.npy .tif .exr), for `texsyn apply`.",
    ),
)  # fmt: skip


@texsyn.command(short_help="Make a picture of any size with the texture of IMAGE.")
@click.argument("images", metavar="IMAGE...|-", nargs=-1)
@click.option(
    "--size", "size_text", type=SizeText(), metavar="WxH|2x",
    help="Width x height in pixels, or a factor of the exemplar's.  [default: 2x, or that of a guide, mask or target]",
)  # fmt: skip
@_tile
@_output
@_many
@_seed
@_method
@click.option("--endless", is_flag=True, help="Cut the picture out of an endless texture instead of balancing it.")
@_settings
@_kept_wishes
@_wishes
@_device
@click.option("--dry-run", is_flag=True, help="Say device, memory and time, and stop.")
@_talk
def synth(
    images: tuple[str, ...],
    size_text: str | None,
    tile: str,
    output: str | None,
    overwrite: bool,
    no_metadata: bool,
    count: int,
    seed: int | None,
    method: str,
    endless: bool,
    settings: tuple[str, ...],
    device: str,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    maps: tuple[str, ...],
    save_coords: str | None,
    **wanted: Any,
) -> None:
    """Make a picture of any size with the texture of IMAGE.

    IMAGE is a file, - for stdin, or skimage:NAME[:SIDE] for a picture that comes with scikit-image (grass, brick,
    gravel). The output has IMAGE's depth and channels.

    \b
    texsyn synth rock.png --size 2048x2048 -o big_rock.png
    texsyn synth skimage:brick:256 --size 1280x768 -n 4 -o 'wall_{i}.png'
    texsyn synth --maps 'rock_*.png' --size 2048x2048 -o 'big_{name}'
    texsyn synth moss.png stone.png --mix 0.3,0.7 -o mossy.png
    """
    talk = Talk(as_json, quiet, verbose, output)
    sources = _sources(images, maps)
    _require_mix(images, wanted)
    given = [load_exemplar(one, talk) for one in sources]
    wished = _wished(wanted, talk)
    from texsyn.images import convert_depth
    from texsyn.synthesis import (
        as_stacks,
        configure,
        draw,
        fit_model,
        fresh_seed,
        job_size,
        plan,
        resolve_device,
        split_wishes,
    )

    _load_method(method, talk)
    config = checked("--set", configure, method, _parse_settings(settings) | _endless(endless, method), whole=True)
    wishes, _ = _as_options(split_wishes, wished)
    exemplars = _as_options(as_stacks, None if maps else given, given if maps else None)
    job = _as_options(plan, exemplars, wishes, method, config)
    size = checked("--size", job_size, job, size_text, given[0].size)
    seeds = _seeds(fresh_seed() if seed is None else seed, count)
    shown = (
        [convert_depth(_of_kind(one), wishes.depth) for one in given]
        if maps
        else [convert_depth(_of_kind(given[0]), wishes.depth)]
    )
    outputs = targets_of(output, sources, shown, size, seeds, overwrite)
    coordinates = _coordinate_targets(save_coords, seeds, overwrite, job.resampled, method)
    where = checked("--device", resolve_device, device)
    if dry_run:
        _dry_run(given[0], size, count, method, config, where, talk, job)
    _require_memory(size, given[0], method, job)
    if dry_run:
        return
    with talk.line:
        watch = _watch(talk.line)
        learning = 1 / (1 + count)
        # Not with this run's seed: picture i must depend on seed i alone, however many were asked for.
        model = fit_model(job.material, method, config, seed=0, device=where, watch=watch.part(0, learning))
        rest = watch.part(learning if model.tensors() else 0, 1)
        for i, (names, seed) in enumerate(zip(outputs, seeds, strict=True)):
            part = rest.part(i / count, (i + 1) / count)
            result = draw(model, size, seed=seed, tile=tile, watch=part, job=job, wishes=wishes)
            results = [result.of_map(one.name) for one in given] if len(result.maps) > 1 else [result]
            for name, one in zip(names, results, strict=True):
                _publish(one, name, overwrite, not no_metadata, talk)
            if coordinates:
                _save_coordinates(coordinates[i], result, job, overwrite, talk)


def _sources(images: Sequence[str], maps: Sequence[str]) -> list[str]:
    """The files to load: IMAGEs, or what --maps names, patterns expanded."""
    if bool(images) == bool(maps):
        if images:
            raise Misuse("--maps takes the place of IMAGE; give one or the other")
        path = click.get_current_context().command_path
        raise Misuse(f"Missing argument 'IMAGE': give a picture, - for stdin, or --maps (see {path} --help)")
    if images:
        return list(images)
    found: list[str] = []
    for pattern in maps:
        named = [pattern] if os.path.lexists(pattern) or not glob.has_magic(pattern) else sorted(glob.glob(pattern))
        if not named:
            raise InputError(f"--maps {pattern}: no file has such a name")
        found += [name for name in named if name not in found]
    stems = [os.path.basename(name) for name in found]
    if len(set(stems)) < len(stems):
        raise Misuse("--maps: two files have the same name; outputs are named after them")
    return found


def _require_mix(images: Sequence[str], wanted: dict[str, Any]) -> None:
    if len(images) > 1 and all(wanted.get(name) is None for name in ("mix", "mix_map", "morph", "mask")):
        path = click.get_current_context().command_path
        raise Misuse(f"--mix: is missing; give the shares of {', '.join(images)}, e.g. 0.7,0.3 (see {path} --help)")


def _wished(wanted: dict[str, Any], talk: Talk) -> dict[str, Any]:
    """The keyword arguments of Wishes that the options say."""
    wished = {k: v for k, v in wanted.items() if v is not None and k not in ("weights", "mix")}
    for name in _PICTURE_OPTIONS:
        if name in wished:
            wished[name] = load_picture(wished[name])
            for note in wished[name].notes:
                talk.say(f"{wished[name].name}: {note}")
    if wanted["mix"] is not None:
        try:
            wished["mix"] = tuple(float(part) for part in wanted["mix"].split(","))
        except ValueError:
            raise Misuse(f"--mix {wanted['mix']!r}: give numbers with commas, e.g. 0.7,0.3") from None
    weights = {}
    for text in wanted["weights"]:
        name, equals, value = text.rpartition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise Misuse(f"--weight {text!r}: give NAME=W, e.g. normal=0.5")
    return wished | ({"weights": weights} if weights else {})


def _as_options(f: Any, *args: Any) -> Any:
    """f(...), with the names in its complaints turned into the options that they are."""
    try:
        return f(*args)
    except InputError:
        raise
    except ValueError as error:
        text = str(error)
        for name in (*_PICTURE_OPTIONS, "guide_kind", "guide_weight", "copy_limit"):
            if "_" in name:
                text = text.replace(name, f"--{name.replace('_', '-')}")
        first, _, rest = text.partition(" ")
        bare = first.split("=")[0]
        if bare in ("mask", "source", "exclude", "mix", "morph", "target", "strength", "scale", "rotate", "symmetry",
                    "histogram", "weight", "weights", "degrees", "method"):  # fmt: skip
            option = {"degrees": "rotate", "weights": "weight"}.get(bare, bare)
            text = f"--{option}{first[len(bare) :]} {rest}"
        raise Misuse(text) from error


def _of_kind(picture: Picture) -> Picture:
    """A stand-in of one pixel, of the picture's mode and type."""
    import dataclasses

    indices = None if picture.indices is None else picture.indices[:1, :1]
    return dataclasses.replace(picture, pixels=picture.pixels[:1, :1], indices=indices)


def _coordinate_targets(target: str | None, seeds: range, overwrite: bool, resampled: bool, method: str) -> list[str]:
    if target is None:
        return []
    from texsyn.coordinate_files import check_extension
    from texsyn.images import check_path

    if method != "texto":
        raise Misuse(f"--save-coords: {method} blends pixels; only texto copies them")
    if resampled:
        raise Misuse("--save-coords: with --scale or --rotate pixels are resampled and have no place in IMAGE")
    checked("--save-coords", check_extension, target)
    if len(seeds) > 1 and "{i}" not in target and "{seed}" not in target:
        stem, ending = os.path.splitext(target)
        target = f"{stem}_{{i}}{ending}"
    names = [target.replace("{i}", str(i + 1)).replace("{seed}", str(seed)) for i, seed in enumerate(seeds)]
    for name in names:
        check_path(name, overwrite=overwrite)
    return names


def _save_coordinates(target: str, result: Any, job: Any, overwrite: bool, talk: Talk) -> None:
    from texsyn.coordinate_files import save_coordinates
    from texsyn.synthesis import exemplars_of

    sizes = [maps[0].size for maps in exemplars_of(job.material)]
    save_coordinates(target, result.source, sizes=sizes, overwrite=overwrite)
    talk.say(f"{Path(target).name}: coordinates")
