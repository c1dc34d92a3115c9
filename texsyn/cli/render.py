"""texsyn render: a picture bigger than memory, from a model to a file; the work itself is texsyn.render."""

from __future__ import annotations

import importlib.util
import re
import time
from typing import TYPE_CHECKING, Any

import click

from texsyn.cli import Misuse, Stopped, printable
from texsyn.cli.commands import SizeText, _load_method, _seed, _size_of, _talk, _tile, texsyn
from texsyn.cli.files import checked, require_file
from texsyn.cli.progress import clock
from texsyn.cli.talk import Talk
from texsyn.images import InputError, OutputError, OutputExists, Region
from texsyn.images.tiled import kind_of

if TYPE_CHECKING:
    from texsyn.models.base import Watch
    from texsyn.render import Plan

MEASURED_FROM = 16  # parts a worker: below, measuring the time first would take longer than it is worth


class RegionText(click.ParamType):
    """X,Y,W,H: the corner, which may be negative, and width and height."""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Region:
        if isinstance(value, Region):
            return value
        if not re.fullmatch(r"\s*(-?[0-9]{1,15}\s*,\s*){2}[0-9]{1,9}\s*,\s*[0-9]{1,9}\s*", str(value)):
            self.fail(f"{value!r} is not understood: give X,Y,W,H such as -200,100,4000,3000", param, ctx)
        left, top, width, height = map(int, str(value).split(","))
        try:
            return Region(top, left, height, width)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@texsyn.command(short_help="Write a picture bigger than memory from a MODEL.")
@click.argument("model_file", metavar="MODEL")
@click.option(
    "--size", "size_text", type=SizeText(), metavar="WxH|2x",
    help="Width x height in pixels, or a factor of the exemplar's.",
)  # fmt: skip
@click.option(
    "--region", type=RegionText(), metavar="X,Y,W,H",
    help="Write this window of the endless plane; with --tile, of the plane that repeats after --size.",
)  # fmt: skip
@_tile
@click.option(
    "--map", "part", metavar="NAME", help="A part of the name of one of a stack's maps.  [default: the first]"
)
@click.option("-o", "--output", required=True, metavar="OUT", help="Output: .tif (tiled BigTIFF) or .zarr (version 3).")
@_seed
@click.option(
    "--block", type=click.IntRange(16, 4096), metavar="N", default=1024, show_default=True,
    help="Side of the tiles in the file, a multiple of 16.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 1024), metavar="N", help="Threads.  [default: one a core]")
@click.option(
    "--scheduler", metavar="ADDRESS",
    help="Have the workers of this Dask scheduler write OUT.zarr; they must see its folder under the same path.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with OUT.part, if there is one.")
@click.option("--overwrite", is_flag=True, help="Replace OUT and, without --resume, OUT.part.")
@click.option("--no-metadata", is_flag=True, help="Do not store the recipe inside the file.")
@click.option("--dry-run", is_flag=True, help="Say time, memory and disk, and stop.")
@_talk
def render(
    model_file: str,
    size_text: str | None,
    region: Region | None,
    tile: str,
    part: str | None,
    output: str,
    seed: int | None,
    block: int,
    workers: int | None,
    scheduler: str | None,
    resume: bool,
    overwrite: bool,
    no_metadata: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Write a picture bigger than memory from an endless MODEL that `texsyn fit` wrote.

    The picture is written tile by tile to OUT.part, and becomes OUT when it is complete. After an interruption of any
    kind the same command with --resume goes on, and ends in the same bytes.

    \b
    texsyn render rock.texsyn --size 40000x30000 --seed 7 -o huge.tif
    texsyn render rock.texsyn --size 40000x30000 --dry-run -o huge.zarr
    texsyn render rock.texsyn --region -500,20,64,48 --seed 7 -o part.tif
    texsyn render stack.texsyn --map normal --size 8000x8000 -o n.tif
    """
    talk = Talk(as_json, quiet, verbose, output)
    if output == "-":
        raise Misuse("-o -: large pictures are written to a file: OUT.tif or OUT.zarr")
    if size_text is None and tile != "none":
        raise Misuse(f"--tile {tile}: needs --size, after which the picture repeats")
    kind = checked("-o", kind_of, output)
    if scheduler is not None:
        _check_cluster(kind, workers)
    require_file(model_file)
    from texsyn.models.base import load_texture as load_model
    from texsyn.models.base import read_header
    from texsyn.synthesis import free_memory

    _load_method(read_header(model_file)["method"], talk)
    model = load_model(model_file)
    if not model.local:
        raise InputError(
            f"{model_file}: this {model.method} model makes whole pictures only; an endless one can be rendered "
            "(texsyn fit makes one, but not by gotex or random-phase, nor with endless=false)"
        )
    from texsyn.render import plan as make_plan

    size = region if size_text is None else _size_of(size_text, model.exemplar)
    if size is None:
        raise Misuse("--size: is missing; give the picture's size, or --region for a window")
    try:
        plan = make_plan(
            model, output, size, seed=seed, region=region, tile=tile, map=part, block=block, workers=workers,
            metadata=not no_metadata, resume=resume, overwrite=overwrite,
        )  # fmt: skip
    except ValueError as error:
        raise Misuse(re.sub(r"^(block|map|size|region)\b[= ]?", r"--\1 ", str(error))) from error
    free = free_memory()
    try:
        plan.check()
        if not dry_run:
            plan.require_room()
        costs = _costs(
            plan, talk, measured=scheduler is None and (dry_run or plan.grid.n >= MEASURED_FROM * plan.workers)
        )
        if dry_run:
            _say_costs(costs, talk)
            plan.require_room()
        if free is not None and plan.memory_bytes > free:
            raise MemoryError(f"about {plan.memory_bytes} bytes are needed and {free} are free; try fewer --workers")
        if not dry_run:
            _run(plan, costs, scheduler, talk)
    except OutputExists as error:
        raise OutputExists(_in_options(error)) from None
    except OutputError as error:
        raise OutputError(_in_options(error)) from None


def _costs(plan: Plan, talk: Talk, *, measured: bool) -> dict[str, Any]:
    with talk.line:
        if measured:
            talk.line.update(0.0, "measuring the time that a few parts take")
        seconds = round(plan.seconds(), 1) if measured else None
    exemplar = plan.model.exemplar
    return {
        "method": plan.model.method,
        "size": str(plan.layout.size),
        "mode": plan.layout.mode,
        "type": plan.layout.dtype,
        "seed": plan.seed,
        "exemplar": exemplar.name,
        "map": plan.recipe.get("map"),
        "tiles": plan.layout.n_tiles,
        "workers": plan.workers,
        "seconds": seconds,
        "memory_bytes": plan.memory_bytes,
        "disk_bytes": plan.disk_bytes,
        "disk_free_bytes": plan.disk_free,
    }


def _say_costs(costs: dict[str, Any], talk: Talk) -> None:
    if talk.as_json:
        talk.result(costs)
    else:
        for sentence in _cost_sentences(costs):
            click.echo(printable(sentence))
        click.echo("nothing was written")


def _cost_sentences(costs: dict[str, Any]) -> list[str]:
    seconds = "not measured for so few parts" if costs["seconds"] is None else f"about {clock(costs['seconds'])}"
    return [
        f"{costs['size']} {costs['mode']} {costs['type']} by {costs['method']}, seed {costs['seed']}, "
        f"{costs['tiles']} tiles",
        f"time: {seconds} with {costs['workers']} worker{'s' * (costs['workers'] > 1)}; "
        f"memory: about {costs['memory_bytes'] / 2**20:.0f} MiB; "
        f"disk: {_bytes(costs['disk_bytes'])} of {_bytes(costs['disk_free_bytes'])} free",
    ]


def _bytes(n: int) -> str:
    """A number of bytes for people.

    >>> _bytes(4_800_000_000), _bytes(70_000)
    ('4.8 GB', '0.1 MB')
    """
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"


def _check_cluster(kind: str, workers: int | None) -> None:
    if workers is not None:
        raise Misuse("--workers and --scheduler: the scheduler has workers of its own; leave one out")
    if kind != "zarr":
        raise Misuse("--scheduler: its workers write .zarr; one file cannot have many writers")
    if importlib.util.find_spec("distributed") is None:
        raise Misuse("--scheduler: needs Dask, which is not installed: pip install 'texsyn[cluster]'")


def _run(plan: Plan, costs: dict[str, Any], scheduler: str | None, talk: Talk) -> None:
    from texsyn.models.base import Watch

    for sentence in _cost_sentences(costs):
        talk.say(sentence)
    began = time.monotonic()
    try:
        with talk.line:
            recipe = _rendered(plan, scheduler, Watch(talk.line.update))
    except Stopped as stop:
        kept = plan.partial.part_is_there
        how = f"{plan.path}.part is kept, the same command with --resume goes on" if kept else "nothing was begun"
        stop.sentence = f"{stop.sentence.partition(';')[0]}; {how}"
        raise
    seconds = time.monotonic() - began
    talk.result({"output": plan.path} | recipe | {"took": round(seconds, 1), "estimate": costs})
    talk.say(f"{plan.path}: {recipe['size']} by {recipe['method']}, seed {recipe['seed']}, {clock(seconds)}")


def _rendered(plan: Plan, scheduler: str | None, watch: Watch) -> dict[str, Any]:
    if scheduler is None:
        return plan.run(watch)
    from texsyn.cluster import run_plan

    try:
        return run_plan(plan, scheduler, watch)
    except ConnectionError as error:
        raise click.ClickException(f"--scheduler: {_in_options(error)}") from error


def _in_options(error: Exception) -> str:
    """The message of the library in the words of the command line."""
    return str(error).replace("resume=True", "--resume").replace("overwrite=True", "--overwrite")
