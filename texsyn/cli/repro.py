"""`texsyn repro`: a picture made again from the recipe inside it, and compared."""

from __future__ import annotations

import re
from typing import Any

import click

from texsyn.cli import Misuse, printable
from texsyn.cli.commands import _load_method, _watch, texsyn
from texsyn.cli.files import checked
from texsyn.cli.talk import Talk
from texsyn.images import InputError, check_target
from texsyn.models import METHODS


@texsyn.command(name="repro", short_help="Make the picture OUT again from its recipe, and compare.")
@click.argument("out", metavar="OUT")
@click.option(
    "--input", "inputs", metavar="FILE", multiple=True,
    help="A file that OUT was made from, under any name, or a folder of such; repeatable. OUT's folder and the current "
    "one are looked into anyway, for the recorded names.",
)  # fmt: skip
@click.option("-o", "--output", metavar="NEW|-", help="Write the picture made again; - is stdout (PNG).")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for the result on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def repro(out: str, inputs: tuple[str, ...], output: str | None, overwrite: bool, as_json: bool, quiet: bool) -> None:
    """Make the picture OUT again from the recipe inside it, and compare: pixel for pixel the same, or what differs.

    Ends with exit code 1 where the picture made again is not the recorded one, or not the one in OUT; a JPEG, which is
    lossy, never holds it. Inputs are told by their pixels: a file counts when its hash is the recorded one. Of samples
    of an image GAN the MODEL is an input, told by its bytes; pictures of a GAN's other verbs are refused.

    \b
    texsyn repro big_rock.png
    texsyn repro big_rock.png --input rock.png --json
    """
    talk = Talk(as_json, quiet, 0, output)
    if "-" in (out, *inputs):
        raise Misuse("-: repro reads files, not standard input")
    from texsyn.repro import order

    try:
        wanted = order(out, inputs)
    except InputError as error:
        raise InputError(_in_options(error)) from error
    if output is not None:
        kind = wanted.kind
        how: dict[str, Any] = {"mode": kind.mode, "dtype": kind.pixels.dtype, "size": wanted.size}
        checked("-o", check_target, output, overwrite=overwrite, **how)
    _load_method(wanted.method if wanted.method in METHODS else "texto", talk)
    with talk.line:
        found = wanted.run(_watch(talk.line))
    about: dict[str, Any] = {
        "file": out,
        "identical": found.identical,
        "differences": list(found.differences),
        "recorded_sha256": found.recorded.get("pixels_sha256"),
        "made_sha256": found.result.image.sha256,
        "file_sha256": wanted.original.picture.sha256,
    }
    if output is not None:
        notes = found.result.save(output, overwrite=overwrite)
        about["output"] = output
        for note in notes:
            talk.say(f"{output}: {note}")
    talk.result(about | {"recipe": found.result.recipe})
    if not found.identical:
        raise click.ClickException(found.sentence)
    if output == "-":
        talk.say(found.sentence)
    elif not quiet and not as_json:
        click.echo(printable(found.sentence))


def _in_options(error: InputError) -> str:
    """The message of the library in the words of the command line."""
    text = str(error).replace("give it as one of the inputs, under any name", "--input takes it under any name")
    text = re.sub("^inputs:", "--input:", text)
    return text.replace("the input given", "the --input given").replace("inputs given", "--input given")
