"""`texsyn weights`: the published files that some scores need: listed, fetched, checked."""

from __future__ import annotations

import dataclasses
import json

import click

from texsyn.cli import printable
from texsyn.cli.commands import texsyn
from texsyn.cli.files import checked
from texsyn.cli.talk import Talk

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@texsyn.group(short_help="List, fetch or check the weights some scores need.", no_args_is_help=True)
def weights() -> None:
    """List, fetch or check the published weight files that FID, SiFID and other scores need.

    None come with texsyn, and none is downloaded unasked. A file is looked for where TEXSYN_WEIGHTS points (a file or a
    folder), then in torch.hub's cache ($TORCH_HOME/hub/checkpoints, by default in ~/.cache/torch), under every name
    that libraries give it, and hashed whenever it is used.

    \b
    texsyn weights list
    """


@weights.command("list", short_help="Say which files there are: name, size, licence, use.")
@_json
def list_weights(as_json: bool) -> None:
    """Say which files are known: name, size, hash, licence, address, and what they are for."""
    from texsyn.weights import REGISTRY

    if as_json:
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in REGISTRY.values()]))
        return
    for entry in REGISTRY.values():
        click.echo(f"{entry.name}: {entry.purpose}")
        for line in (" or ".join(entry.files), f"{entry.size_text}, {entry.hash_text}", entry.licence, entry.url):
            click.echo(f"  {line}")


@weights.command(short_help="Download the file NAME into torch.hub's cache.")
@click.argument("name", metavar="NAME")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def fetch(name: str, quiet: bool) -> None:
    """Download the file of NAME, one that `texsyn weights list` names, into torch.hub's cache, and verify it.

    The path is printed on stdout. Ends with exit code 3 when the file cannot be had (no network, or not the bytes it
    should be) and 4 when it cannot be written; then nothing is left of it.
    """
    from texsyn.weights import entry_of
    from texsyn.weights import fetch as download

    talk = Talk(False, quiet, 0, None)
    entry = checked("NAME", entry_of, name)
    talk.say(f"{entry.url} ({entry.size_text}); licence as stated: {entry.licence}")
    with talk.line:
        path, new = download(name, talk.line.update)
    talk.say(f"{path}: {'fetched' if new else 'was here already'}; size and sha256 are right")
    click.echo(printable(str(path)))


@weights.command(short_help="Say which files are here, and whether they are intact.")
@click.argument("path", metavar="[PATH]", required=False)
@_json
def check(path: str | None, as_json: bool) -> None:
    """Say which files are here and whether they are intact: in PATH, a file or a folder, or where texsyn looks.

    Ends with exit code 1 when a file is not intact, or when there is none.
    """
    from texsyn.weights import check as look

    found = look(path)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) | {"intact": one.intact} for one in found]))
    else:
        for one in found:
            click.echo(printable(f"{'ok  ' if one.intact else 'FAIL'} {one.name}: {one.path}{_because(one.wrong)}"))
    broken = [one.name for one in found if not one.intact]
    if broken or not found:
        said = f"{', '.join(broken)}: not intact" if broken else "no weights are here; `texsyn weights list` names them"
        raise click.ClickException(said)


def _because(wrong: str | None) -> str:
    return "" if wrong is None else f": {wrong}"
