"""texsyn batch: every item of a manifest made, found done, or reported; the work itself is texsyn.batch."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from texsyn.cli import Misuse, printable
from texsyn.cli.commands import _device, _load_method, _method, _parse_settings, _settings, _size, _talk, _tile, texsyn
from texsyn.cli.files import checked, require_file
from texsyn.cli.talk import Talk
from texsyn.images import InputError

if TYPE_CHECKING:
    from texsyn.batch import Item, Outcome


class SomeFailed(click.ClickException):
    """Items failed; each has been named."""

    exit_code = 5


@texsyn.command(short_help="Make the pictures that a MANIFEST lists.")
@click.argument("manifest", metavar="MANIFEST|-")
@_size
@_tile
@click.option(
    "-o", "--output", metavar="PATTERN",
    help="Output of lines that name none, e.g. 'out/{stem}.png'; {stem} of the image, {seed} and {line} are filled in.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace outputs that were made otherwise; failures without.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), metavar="N",
    help="Seed of lines that name none; otherwise random, and any picture that differs by its seed only is done.",
)  # fmt: skip
@_method
@_settings
@_device
@click.option(
    "--workers", type=click.IntRange(1, 1024), metavar="N",
    help="Processes, of one thread each.  [default: one a core]",
)  # fmt: skip
@click.option(
    "--scheduler", metavar="ADDRESS",
    help="Have the workers of this Dask scheduler do it; they must see the files under the same paths.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be made, and stop.")
@_talk
def batch(
    manifest: str,
    size_text: str,
    tile: str,
    output: str | None,
    overwrite: bool,
    seed: int | None,
    method: str,
    settings: tuple[str, ...],
    device: str,
    workers: int | None,
    scheduler: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Make the pictures that a MANIFEST lists, one JSON object a line. Options are defaults for all lines.

    A line holds "image" and, where wanted, "output", "size", "seed", "tile", "method" and "set". Images are
    relative to the manifest's folder, outputs to the current one.

    What is done is skipped, by the recipe inside the output: to finish a run that was stopped, run it again. Items
    that fail do not stop the others; the exit code is then 5.

    \b
    {"image": "rock.png", "size": "1024x1024", "seed": 7, "output": "big.png"}
    {"image": "moss.png", "method": "texto", "set": {"passes": 12}}
    """
    talk = Talk(as_json, quiet, verbose, output)
    if output == "-":
        raise Misuse("-o -: pictures of a batch go to files; give a pattern such as 'out/{stem}.png'")
    if scheduler is not None and workers is not None:
        raise Misuse("--workers and --scheduler: the scheduler has workers of its own; leave one out")
    if scheduler is not None and importlib.util.find_spec("distributed") is None:
        raise Misuse("--scheduler: needs Dask, which is not installed: pip install 'texsyn[cluster]'")
    if manifest != "-":
        require_file(manifest)
    defaults = {"size": size_text, "tile": tile, "output": output, "seed": seed, "method": method}
    parsed = _parse_settings(settings)
    from texsyn.batch import run
    from texsyn.synthesis import configure, resolve_device

    _load_method(method, talk)
    checked("--set", configure, method, parsed, whole=True)
    items = _read(manifest, defaults | {"set": parsed})
    if scheduler is None:
        device = checked("--device", resolve_device, device)
        workers = 1 if dry_run else min(workers or _cores(), len(items))
    counts: Counter[str] = Counter()
    options: dict[str, Any] = {"overwrite": overwrite, "device": device, "dry_run": dry_run}
    try:
        with talk.line, closing(run(items, workers=workers or 1, scheduler=scheduler, **options)) as outcomes:
            for outcome in outcomes:
                counts[outcome.status] += 1
                _tell(outcome, talk)
                talk.line.update(counts.total() / len(items), f"{counts.total()} of {len(items)} items")
    except ConnectionError as error:
        raise click.ClickException(f"--scheduler: {error}") from error
    talk.say(f"{len(items)} items: {', '.join(f'{n} {_WORDS[status]}' for status, n in sorted(counts.items()))}")
    if counts["failed"]:
        raise SomeFailed(f"{counts['failed']} of {len(items)} items failed")


_WORDS = {"made": "made", "skipped": "done before", "failed": "failed", "missing": "to make"}


def _read(manifest: str, defaults: Mapping[str, Any]) -> list[Item]:
    from texsyn.batch import read_manifest

    if manifest != "-":
        with open(manifest, "rb") as file:
            return read_manifest(file, Path(manifest).name, os.path.dirname(manifest), defaults)
    if sys.stdin is None:
        raise InputError("standard input: is closed; pipe a manifest in, or give a file")
    if sys.stdin.isatty():
        raise Misuse("-: standard input is a terminal; pipe a manifest in, or give a file")
    return read_manifest(sys.stdin.buffer, "standard input", "", defaults)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(outcome: Outcome, talk: Talk) -> None:
    item, status = outcome.item, outcome.status
    error = outcome.error.replace("ask for overwriting to replace it", "--overwrite replaces it")
    record = {"line": item.line, "status": status, "image": item.image, "output": item.output}
    record |= {"seed": outcome.seed, "seconds": outcome.seconds} | ({"error": error} if error else {})
    talk.result(record)
    if status == "failed" and not talk.as_json:
        talk.line.clear()
        click.echo(printable(f"line {item.line}: {error}"), err=True)
    elif status == "made":
        talk.say(f"{item.output}: by {item.method}, seed {outcome.seed}, {outcome.seconds:.1f} s")
    elif status == "missing" or talk.verbose:
        talk.say(f"{item.output}: {_WORDS[status]}")
