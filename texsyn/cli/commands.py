"""The verbs. Each one checks its arguments and its output before the long work, then calls the library."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from texsyn import __version__
from texsyn.cli.progress import ProgressLine, clock
from texsyn.images import Picture, Size, check_target, load, parse_size, read_recipe
from texsyn.models import METHODS

EPILOG = "Exit codes: 0 done, 1 error, 2 usage, 3 bad input, 4 cannot write or no memory, 130 interrupted."


@click.group(
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


class SizeText(click.ParamType[str]):
    """WIDTHxHEIGHT or a factor; kept as text, because a factor needs the exemplar."""

    name = "WxH|2x"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parse_size(str(value), Size(1000, 1000))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def _with(*options: Any) -> Any:
    """Several options as one decorator, first one shown first."""

    def decorate(f: Any) -> Any:
        for option in reversed(options):
            f = option(f)
        return f

    return decorate


_output = _with(
    click.option("-o", "--output", metavar="OUT|-", help="Output file (.png .tif .jpg .webp .bmp); - is stdout (PNG)."),
    click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise."),
    click.option("--no-metadata", is_flag=True, help="Do not store the recipe inside the file."),
)
_many = click.option("-n", "count", type=click.IntRange(1, 10_000), default=1, help="Pictures to make, seeds counting up.")
_seed = click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Random by default; printed and stored.")
_device = click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i]|mps", help="Where to run.")
_talk = _with(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each result on stdout."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("-v", "--verbose", count=True, help="Say more: evidence of every level; -vv for debugging."),
)
_method = click.option(
    "--method", type=click.Choice(list(METHODS)), default="texto", show_default=True, help="How to synthesise."
)
_settings = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the method, e.g. passes=32; repeatable."
)


@texsyn.command()
@click.argument("image", metavar="IMAGE|-")
@click.option("--size", "size_text", type=SizeText(), default="2x", show_default=True, help="Output size.")
@_output
@_many
@_seed
@_method
@click.option("--endless", is_flag=True, help="Cut the picture out of an endless texture instead of balancing it.")
@_settings
@_device
@click.option("--dry-run", is_flag=True, help="Say device, memory and time, and stop.")
@_talk
def synth(
    image: str,
    size_text: str,
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
) -> None:
    """Make a picture of any size with the texture of IMAGE.

    IMAGE is a file, - for stdin, or skimage:NAME[:SIDE] for a picture that comes with scikit-image (grass, brick,
    gravel). The output has IMAGE's depth and channels.

    \b
    texsyn synth rock.png --size 2048x2048 -o big_rock.png
    texsyn synth skimage:brick:256 --size 1280x768 -n 4 -o 'wall_{i}.png'
    """
    talk = Talk(as_json, quiet, verbose, output)
    exemplar = load_exemplar(image, talk)
    size = _size_of(size_text, exemplar)
    from texsyn.synthesis import configure, draw, fit_model, fresh_seed, resolve_device

    seed = fresh_seed() if seed is None else seed
    targets = _targets(output, exemplar, size, seed, count, overwrite, image, dry_run)
    chosen = _parse_settings(settings) | ({"endless": True} if endless else {})
    config = _checked("--set", configure, method, chosen, whole=True)
    where = _checked("--device", resolve_device, device)
    _require_memory(size, exemplar, method, count)
    if dry_run:
        _dry_run(exemplar, size, count, method, config, where, talk)
        return
    with ProgressLine(talk.progress) as line:
        watch = _watch(line).part(0, 0.5 if endless else 0.01)
        model = fit_model(exemplar, method, config, seed=seed, device=where, watch=watch)
        for i, target in enumerate(targets):
            start = watch.start + watch.span
            piece = _watch(line).part(start + (1 - start) * i / count, start + (1 - start) * (i + 1) / count)
            result = draw(model, size, seed=seed + i, watch=piece)
            _publish(result, target, overwrite, not no_metadata, talk)


@texsyn.command()
@click.argument("image", metavar="IMAGE|-")
@click.option("-o", "--output", required=True, metavar="MODEL", help="Model file to write, e.g. rock.texsyn.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@_seed
@_method
@_settings
@_device
@_talk
def fit(
    image: str,
    output: str,
    overwrite: bool,
    seed: int | None,
    method: str,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Learn the texture of IMAGE once and keep it in a MODEL file, for `texsyn sample`.

    \b
    texsyn fit rock.png -o rock.texsyn
    texsyn sample rock.texsyn --size 4096x4096 -o rock_big.png
    """
    talk = Talk(as_json, quiet, verbose, output)
    from texsyn.images import check_path

    check_path(output, overwrite=overwrite)
    exemplar = load_exemplar(image, talk)
    from texsyn.synthesis import configure, fit_model, fresh_seed, resolve_device

    seed = fresh_seed() if seed is None else seed
    config = _checked("--set", configure, method, _parse_settings(settings), whole=False)
    where = _checked("--device", resolve_device, device)
    with ProgressLine(talk.progress) as line:
        model = fit_model(exemplar, method, config, seed=seed, device=where, watch=_watch(line))
    model.save(output, overwrite=overwrite)
    n_bytes = Path(output).stat().st_size
    talk.result({"output": output, "method": method, "seed": seed, "bytes": n_bytes})
    talk.say(f"{output}: {method} model, seed {seed}, {n_bytes / 1e6:.1f} MB")


@texsyn.command()
@click.argument("model_file", metavar="MODEL", type=click.Path(dir_okay=False))
@click.option("--size", "size_text", type=SizeText(), default="2x", show_default=True, help="Output size.")
@_output
@_many
@_seed
@_device
@_talk
def sample(
    model_file: str,
    size_text: str,
    output: str | None,
    overwrite: bool,
    no_metadata: bool,
    count: int,
    seed: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Draw pictures of any size from a MODEL that `texsyn fit` wrote."""
    talk = Talk(as_json, quiet, verbose, output)
    from texsyn.models.base import load as load_model
    from texsyn.synthesis import draw, fresh_seed, resolve_device

    model = load_model(model_file, device=_checked("--device", resolve_device, device))
    size = _size_of(size_text, model.exemplar)
    seed = fresh_seed() if seed is None else seed
    targets = _targets(output, model.exemplar, size, seed, count, overwrite, model_file)
    _require_memory(size, model.exemplar, model.method, count)
    with ProgressLine(talk.progress) as line:
        for i, target in enumerate(targets):
            piece = _watch(line).part(i / count, (i + 1) / count)
            _publish(draw(model, size, seed=seed + i, watch=piece), target, overwrite, not no_metadata, talk)


@texsyn.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(file: str, as_json: bool) -> None:
    """Say what FILE is: a picture with the recipe it holds, or a model."""
    found = _about(file)
    if as_json:
        click.echo(json.dumps(found))
        return
    for key, value in found.items():
        if key == "evidence":
            click.echo("evidence:")
            for level in value:
                click.echo("  " + ", ".join(f"{k} {v}" for k, v in level.items()))
        else:
            click.echo(f"{key}: {_flat(value)}")


def _flat(value: Any) -> str:
    return ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _about(file: str) -> dict[str, Any]:
    try:
        with open(file, "rb") as f:
            head = f.read(9)
    except OSError:
        head = b""
    if head[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
        from texsyn.models.base import read_header

        return {"file": Path(file).name, "kind": "model"} | read_header(file)
    picture = load(file)
    about: dict[str, Any] = {
        "file": picture.name,
        "kind": "picture",
        "size": str(picture.size),
        "mode": picture.mode,
        "type": str(picture.pixels.dtype),
        "notes": "; ".join(picture.notes) or "none",
    }
    recipe = read_recipe(file)
    return about | {"recipe": "none"} if recipe is None else about | {"recipe": "texsyn"} | _without(recipe, "size")


def _without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in mapping.items() if k != key}


@texsyn.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say what texsyn runs on here: versions, devices, optional parts, and why something is not used."""
    from texsyn.cli.doctor import checks

    found = checks()
    if as_json:
        click.echo(json.dumps({c.name: {"ok": c.ok, "says": c.says} for c in found}))
    else:
        for c in found:
            click.echo(f"{'ok  ' if c.ok else 'note'} {c.name}: {c.says}")


@texsyn.command()
@click.argument("image", metavar="OUT")
@click.option("--exemplar", required=True, metavar="IN", help="The picture whose texture OUT should have.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(image: str, exemplar: str, as_json: bool) -> None:
    """Score a synthesised picture OUT against its exemplar: fidelity, copying, repetition, sharpness, colour."""
    out, ex = load(image), load(exemplar)
    if out.channels != ex.channels:
        raise click.UsageError(f"--exemplar {ex.name} has {ex.channels} channels and {out.name} has {out.channels}")
    from texsyn.images import to_unit
    from texsyn.metrics.texture import score as texture_score

    scores = texture_score(to_unit(out.pixels), to_unit(ex.pixels))
    click.echo(scores.to_json() if as_json else scores.to_table())


# ---- what the verbs share


class Talk:
    """Where words go: sentences to stderr unless quiet, JSON lines to stdout when asked for."""

    def __init__(self, as_json: bool, quiet: bool, verbose: int, output: str | None) -> None:
        if as_json and output == "-":
            raise click.UsageError("--json and -o - both want stdout; write the picture to a file")
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.progress = not quiet and not as_json
        levels = {0: logging.WARNING, 1: logging.INFO}
        logging.basicConfig(stream=sys.stderr, level=levels.get(verbose, logging.DEBUG), format="%(name)s: %(message)s")
        logging.getLogger("numba").setLevel(logging.WARNING)

    def say(self, sentence: str) -> None:
        if not self.quiet and not self.as_json:
            click.echo(sentence, err=True)

    def result(self, record: dict[str, Any]) -> None:
        if self.as_json:
            click.echo(json.dumps(record))


def load_exemplar(source: str, talk: Talk) -> Picture:
    picture = load(source)
    for note in picture.notes:
        talk.say(f"{picture.name}: {note}")
    return picture


def _checked(option: str, f: Any, *args: Any, **kwargs: Any) -> Any:
    """f(...), with a ValueError of ours turned into wrong usage of that option; InputError goes through."""
    from texsyn.images import InputError

    try:
        return f(*args, **kwargs)
    except InputError:
        raise
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from error


def _size_of(text: str, exemplar: Picture) -> Size:
    size: Size = _checked("--size", parse_size, text, exemplar.size)
    return size


def _parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """{"passes": 32} from ("passes=32",); values are JSON, true/false included."""
    found: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set {text!r}: give KEY=VALUE, e.g. --set passes=32")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def _targets(
    output: str | None,
    exemplar: Picture,
    size: Size,
    seed: int,
    count: int,
    overwrite: bool,
    source: str,
    dry_run: bool = False,
) -> list[str]:
    """One output name a picture, all of them checked before any work."""
    if output == "-" and count > 1:
        raise click.UsageError("-o - takes one picture; leave out -n")
    if output is None:
        stem = "texture" if source == "-" else Path(source.split(":")[1] if source.startswith("skimage:") else source).stem
        extension = ".tif" if exemplar.pixels.dtype.kind == "f" or exemplar.mode == "multi" else ".png"
        output = f"{stem}_{size}_seed{{seed}}{extension}"
    elif count > 1 and "{i}" not in output and "{seed}" not in output:
        path = Path(output)
        output = str(path.with_name(f"{path.stem}_{{i}}{path.suffix}"))
    names = [output.replace("{i}", str(i + 1)).replace("{seed}", str(seed + i)) for i in range(count)]
    for name in names:
        if not dry_run:
            _checked(
                "-o", check_target, name, mode=exemplar.mode, dtype=exemplar.pixels.dtype, size=size, overwrite=overwrite
            )
    return names


def _require_memory(size: Size, exemplar: Picture, method: str, count: int) -> None:
    from texsyn.recipes import memory_needed
    from texsyn.synthesis import free_memory

    need, free = memory_needed(size, exemplar, method), free_memory()
    if free is not None and need > free:
        raise MemoryError(f"--size {size} needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free")


def _dry_run(
    exemplar: Picture, size: Size, count: int, method: str, config: Any, device: str, talk: Talk
) -> None:
    from texsyn.recipes import estimate_seconds, memory_needed

    seconds = estimate_seconds(exemplar, size, method, config, device)
    memory = memory_needed(size, exemplar, method)
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
    click.echo(f"{plan['exemplar']} -> {count} x {size} by {method} on {device}")
    click.echo(f"memory: about {memory / 2**20:.0f} MiB; time: {time_text}; nothing was written")


def _watch(line: ProgressLine) -> Any:
    from texsyn.models.base import Watch

    return Watch(line.update)


def _publish(result: Any, target: str, overwrite: bool, metadata: bool, talk: Talk) -> None:
    notes = result.save(target, overwrite=overwrite, metadata=metadata)
    recipe = result.recipe
    talk.result({"output": target} | recipe)
    name = "stdout" if target == "-" else target
    talk.say(f"{name}: {recipe['size']} by {recipe['method']}, seed {recipe['seed']}, {recipe['seconds']:.1f} s")
    for note in notes:
        talk.say(f"{name}: {note}")
    if talk.verbose:
        for level in recipe["evidence"]:
            talk.say("  " + ", ".join(f"{k} {v}" for k, v in level.items()))
