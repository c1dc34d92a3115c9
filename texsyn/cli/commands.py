"""The verbs. Each one checks its arguments and its output before the long work, then calls the library."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from texsyn import __version__
from texsyn.cli import Misuse, printable
from texsyn.cli.files import checked, load_picture, require_file
from texsyn.cli.progress import ProgressLine, clock
from texsyn.cli.talk import Talk
from texsyn.images import InputError, Picture, Size, load, parse_size, read_recipe
from texsyn.images.tiled import look
from texsyn.models import METHODS

EPILOG = (
    "Exit codes: 0 done, 1 error, 2 wrong usage or the output exists, 3 unusable input, 4 cannot write or not enough "
    "memory, 5 some items of a batch failed, 6 diverged, 130 interrupted, 143 terminated."
)
PICTURE_ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".exr")


class Verbs(click.Group):
    """The group, with one word more for the first thing that people try: the picture without the verb."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        first = args[0]
        if self.get_command(ctx, first) is None and (
            first.startswith("skimage:") or Path(first).suffix.lower() in PICTURE_ENDINGS
        ):
            raise Misuse(f"{first!r} is not a verb: did you mean `texsyn synth {first}`?")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EPILOG,
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="texsyn")
def texsyn() -> None:
    """Make as much as you like of a texture from one picture of it.

    \b
    Try it now, with a picture that comes with scikit-image:
        texsyn synth skimage:grass:256 --size 512x512 -o grass.png
    """


class SizeText(click.ParamType):
    """WIDTHxHEIGHT or a factor; kept as text, because a factor needs the exemplar."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parse_size(str(value), Size(1, 1))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class DeviceName(click.ParamType):
    """A device by its form; whether it is there, torch must say."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,4})?", str(value)):
            self.fail(f"{value!r} is none of auto, cpu, cuda, cuda:1 (the second card) and mps.", param, ctx)
        return str(value)


def _with(*options: Any) -> Any:
    """Several options as one decorator, first one shown first."""

    def decorate(f: Any) -> Any:
        for option in reversed(options):
            f = option(f)
        return f

    return decorate


_size = click.option(
    "--size", "size_text", type=SizeText(), metavar="WxH|2x", default="2x", show_default=True,
    help="Width x height in pixels, or a factor of the exemplar's.",
)  # fmt: skip
_tile = click.option(
    "--tile", type=click.Choice(["none", "x", "y", "xy"]), default="none", show_default=True,
    help="Axes on which the picture repeats without a seam; x is left to right.",
)  # fmt: skip
_output = _with(
    click.option(
        "-o", "--output", metavar="OUT|-",
        help="Output file (.png .tif .exr .jpg .webp .bmp), {i} and {seed} filled in; - is stdout (PNG).  "
        "[default: name, size and seed, in this folder]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise."),
    click.option("--no-metadata", is_flag=True, help="Do not store the recipe inside the file."),
)  # fmt: skip
_many = click.option(
    "-n", "count", type=click.IntRange(1, 10_000), metavar="N", default=1, show_default=True,
    help="Pictures to make, seeds counting up.",
)  # fmt: skip
_seed = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="Random by default; printed and stored."
)
_device = click.option(
    "--device", type=DeviceName(), default="auto", show_default=True, metavar="auto|cpu|cuda[:i]|mps",
    help="Where to run.",
)  # fmt: skip
_talk = _with(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each result on stdout."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("-v", "--verbose", count=True, help="Say more: evidence of every level; -vv for debugging."),
)
_method = click.option(
    "--method", type=click.Choice(list(METHODS)), metavar="NAME", default="texto", show_default=True,
    help=f"How to synthesise: {', '.join(METHODS)}.",
)  # fmt: skip
_settings = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the method, e.g. passes=32; repeatable. A wrong KEY lists them all.",
)


@texsyn.command(short_help="Say what FILE is: a picture with its recipe, or a model.")
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(file: str, as_json: bool) -> None:
    """Say what FILE is: a picture with the recipe it holds, a model, or kept styles.

    With --json, one object; the recipe, or the model's header, is an object inside it.
    """
    kind, about, inside = _about(file)
    if as_json:
        click.echo(json.dumps(about | {kind: inside}))
        return
    if kind == "recipe":
        about["recipe"] = "none" if inside is None else "made by texsyn"
    for line in _lines(about | {key: value for key, value in (inside or {}).items() if key not in about}):
        click.echo(printable(line))


def _about(file: str) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """What the file holds beside its own facts ("recipe", "model" or "styles"), those facts, and that content."""
    if file == "-":
        raise Misuse("info reads a file, not standard input")
    if not file.startswith("skimage:"):
        if large := look(file):
            return "recipe", {"file": Path(file).name, "kind": "picture"} | large[0], large[1]
        require_file(file)
        with open(file, "rb") as f:
            head = f.read(9)
        if head[8:] == b"{":  # safetensors: eight bytes of length, then JSON
            from texsyn.latent_editing import kept_in
            from texsyn.models.base import header_of

            if (inside := kept_in(file)) is not None:
                return "styles", {"file": Path(file).name, "kind": "styles"}, inside
            return "model", {"file": Path(file).name, "kind": "model"}, header_of(file)
    picture = load(file)
    about = {
        "file": picture.name,
        "kind": "picture",
        "size": str(picture.size),
        "mode": picture.mode,
        "type": str(picture.pixels.dtype),
        "notes": "; ".join(picture.notes) or "none",
    }
    return "recipe", about, None if file.startswith("skimage:") else read_recipe(file)


def _lines(about: dict[str, Any]) -> Iterator[str]:
    """One line for each entry, and one for each item of a list. Content comes from a file: anything may be there."""
    for key, value in about.items():
        if isinstance(value, list):
            yield f"{key}:"
            yield from (f"  {_flat(item, ' ')}" for item in value)
        else:
            yield f"{key}: {_flat(value, '=')}"


def _flat(value: Any, equals: str) -> str:
    return ", ".join(f"{k}{equals}{v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


@texsyn.command(short_help="Say what texsyn runs on here, and what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say what texsyn runs on here: versions, devices, optional parts, and why something is not used.

    Ends with exit code 1 when a part that texsyn needs does not work.
    """
    from texsyn.cli.doctor import checks

    found = checks()
    if as_json:
        click.echo(json.dumps({c.name: {"ok": c.ok, "needed": c.needed, "says": c.says} for c in found}))
    else:
        for c in found:
            click.echo(printable(f"{'ok  ' if c.ok else 'FAIL' if c.needed else 'note'} {c.name}: {c.says}"))
    broken = [c.name for c in found if c.needed and not c.ok]
    if broken:
        raise click.ClickException(f"{', '.join(broken)}: needed, and not working here")


@texsyn.command(short_help="Score a picture OUT against its exemplar IN.")
@click.argument("image", metavar="OUT")
@click.option("--exemplar", required=True, metavar="IN", help="The picture whose texture OUT should have.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(image: str, exemplar: str, as_json: bool) -> None:
    """Score a synthesised picture OUT against its exemplar: fidelity, copying, repetition, sharpness, colour.

    \b
    texsyn score big_rock.png --exemplar rock.png
    """
    out, ex = load_picture(image), load_picture(exemplar)
    if out.channels != ex.channels:
        raise InputError(
            f"{out.name} has {out.channels} channels ({out.mode}) and --exemplar {ex.name} has {ex.channels} "
            f"({ex.mode}): give two pictures of the same kind"
        )
    from texsyn.images import to_unit
    from texsyn.metrics.texture import score as texture_score

    scores = texture_score(to_unit(out.pixels), to_unit(ex.pixels))
    click.echo(scores.to_json() if as_json else scores.to_table())


# ---- what the verbs share


def load_exemplar(source: str, talk: Talk) -> Picture:
    """The picture, with a word on what was changed in loading it."""
    picture = load_picture(source)
    for note in picture.notes:
        talk.say(f"{picture.name}: {note}")
    return picture


def _size_of(text: str, exemplar: Picture) -> Size:
    size: Size = checked("--size", parse_size, text, exemplar.size)
    return size


def _seeds(first: int, count: int) -> range:
    if first + count > 2**63:
        raise Misuse(f"--seed {first} with -n {count}: the last seed would be above {2**63 - 1}")
    return range(first, first + count)


def _endless(wanted: bool, method: str) -> dict[str, Any]:
    from texsyn.models.base import model_class

    if wanted and "endless" not in {f.name for f in dataclasses.fields(model_class(method).config_type)}:
        raise Misuse(f"--endless: {method} has no such mode; leave it out, or take --method texto")
    return {"endless": True} if wanted else {}


def _parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """{"passes": 32} from ("passes=32",); values are JSON, true/false included."""
    found: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise Misuse(f"--set {text!r}: give KEY=VALUE, e.g. --set passes=32")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
        if isinstance(found[key], float) and not math.isfinite(found[key]):
            found[key] = value  # no setting: as text it is refused
    return found


def _load_method(method: str, talk: Talk) -> None:
    """Import the method's code, with a place for compiled loops, and a word to the user while they are compiled."""
    from texsyn.cli.loops import announced, with_cache
    from texsyn.models.base import model_class

    with_cache(lambda: model_class(method))
    click.get_current_context().with_resource(announced(talk.say))


def _require_memory(size: Size, exemplar: Picture, method: str, job: Any = None) -> None:
    from texsyn.recipes import memory_needed
    from texsyn.synthesis import free_memory

    need, free = memory_needed(size, exemplar, method, job), free_memory()
    if free is not None and need > free:
        raise MemoryError(f"{size} pixels need about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free")


def _dry_run(
    exemplar: Picture, size: Size, count: int, method: str, config: Any, device: str, talk: Talk, job: Any = None
) -> None:
    from texsyn.recipes import estimate_seconds, memory_needed

    material = exemplar if job is None or job.material.plain else job.material
    seconds = estimate_seconds(material, size, method, config, device)
    memory = memory_needed(size, exemplar, method, job)
    plan = {
        "method": method,
        "exemplar": f"{exemplar.name} {exemplar.size} {exemplar.mode} {exemplar.pixels.dtype}",
        "size": str(size),
        "pictures": count,
        "device": device,
        "memory_bytes": memory,
        "seconds": None if seconds is None else round(seconds * count, 1),
    }
    if talk.as_json:
        talk.result(plan)
        return
    time_text = "not known for this method" if seconds is None else f"about {clock(seconds * count)}"
    click.echo(printable(f"{plan['exemplar']} -> {count} x {size} by {method} on {device}"))
    click.echo(f"memory: about {memory / 2**20:.0f} MiB; time: {time_text}; nothing was written")


def _watch(line: ProgressLine) -> Any:
    from texsyn.models.base import Watch

    return Watch(line.update)


def _publish(result: Any, target: str, overwrite: bool, metadata: bool, talk: Talk) -> None:
    notes = result.save(target, overwrite=overwrite, metadata=metadata)
    recipe = result.recipe
    talk.result({"output": target} | recipe)
    name = "stdout" if target == "-" else target
    seed = f", seed {recipe['seed']}" if "seed" in recipe else ""
    talk.say(f"{name}: {recipe['size']} by {recipe['method']}{seed}, {recipe['seconds']:.1f} s")
    for note in notes:
        talk.say(f"{name}: {note}")
    if talk.verbose:
        for level in recipe["evidence"]:
            talk.say(f"  {_flat(level, ' ')}")


from texsyn.cli import apply as _apply  # noqa: E402, F401 (verbs that need what stands above)
from texsyn.cli import batch as _batch  # noqa: E402, F401
from texsyn.cli import compare as _compare  # noqa: E402, F401
from texsyn.cli import convert as _convert  # noqa: E402, F401
from texsyn.cli import evaluate as _evaluate  # noqa: E402, F401
from texsyn.cli import import_singan as _import_singan  # noqa: E402, F401
from texsyn.cli import latents as _latents  # noqa: E402, F401
from texsyn.cli import manipulate as _manipulate  # noqa: E402, F401
from texsyn.cli import models as _models  # noqa: E402, F401
from texsyn.cli import render as _render  # noqa: E402, F401
from texsyn.cli import repro as _repro  # noqa: E402, F401
from texsyn.cli import styles as _styles  # noqa: E402, F401
from texsyn.cli import synth as _synth  # noqa: E402, F401
from texsyn.cli import tileable as _tileable  # noqa: E402, F401
from texsyn.cli import train as _train  # noqa: E402, F401
from texsyn.cli import verify as _verify  # noqa: E402, F401
from texsyn.cli import web as _web  # noqa: E402, F401
from texsyn.cli import weights as _weights  # noqa: E402, F401
