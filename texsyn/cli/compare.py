"""`texsyn compare`: pictures of one texture beside each other and beside anchors, as a table, JSON or a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from texsyn.cli import Misuse, printable
from texsyn.cli.commands import load_exemplar, texsyn
from texsyn.cli.files import load_picture, require_file
from texsyn.cli.talk import Talk
from texsyn.images import InputError, Picture, check_path, to_unit, write_atomically

MAX_RECORD_BYTES = 1 << 24
RECORDS = (".json", ".jsonl")


@texsyn.command(short_help="Compare pictures with their exemplar, and with anchors.")
@click.argument("exemplar", metavar="EXEMPLAR")
@click.argument("outputs", metavar="OUT...", nargs=-1, required=True)
@click.option(
    "--tile", type=click.Choice(["none", "x", "y", "xy"]), default="none", show_default=True,
    help="Axes on which the pictures shall repeat: their seams are measured.",
)  # fmt: skip
@click.option("--seeds", is_flag=True, help="The pictures are one method's, with other seeds: measure how they differ.")
@click.option(
    "--coords", "maps", metavar="MAP", multiple=True,
    help="An OUT's map of sources, as --save-coords wrote it: what is copied is read there. Once for each OUT.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", default=0, show_default=True,
    help="Of directions, crops and anchors.",
)  # fmt: skip
@click.option(
    "--transport", is_flag=True,
    help="Bound the transport of whole patches from below and above, scale by scale; some seconds a picture.",
)  # fmt: skip
@click.option("--html", "page", metavar="FILE", help="Write a page with tables, pictures, maps of copies, spectra.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists; refused otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each row on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print the table and say nothing else but errors.")
def compare(
    exemplar: str,
    outputs: tuple[str, ...],
    tile: str,
    seeds: bool,
    maps: tuple[str, ...],
    seed: int,
    transport: bool,
    page: str | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score pictures against their exemplar, beside anchors that say what perfect and copied score here.

    An OUT that ends in .json or .jsonl holds rows of an earlier run with --json; rows that were measured in another way
    are refused.

    \b
    texsyn compare rock.png big_rock.png
    texsyn compare rock.png big_rock.png other_rock.png --html report.html
    """
    talk = Talk(as_json, quiet, 0, None)
    if page is not None:
        if Path(page).suffix.lower() not in (".html", ".htm"):
            raise Misuse(f"--html {page!r}: give a name that ends in .html")
        check_path(page, overwrite=overwrite)
    ex = load_exemplar(exemplar, talk)
    names = [name for name in outputs if Path(name).suffix.lower() not in RECORDS]
    files = [name for name in outputs if name not in names]
    pictures = [_like(load_picture(name), ex) for name in names]
    texts = {name: _text(name) for name in files}
    if seeds and len(names) < len(outputs):
        raise Misuse("--seeds: is about pictures, and .json files hold none")
    if maps and len(maps) != len(names):
        raise Misuse(f"--coords: {len(names)} pictures need as many maps, got {len(maps)}")
    if seeds and (len(names) < 4 or len({p.size for p in pictures}) > 1):
        raise Misuse(f"--seeds: needs at least 4 pictures of one size, got {len(names)}")

    from texsyn.metrics.records import Record, about, measured_with, read_records, require_alike
    from texsyn.metrics.suite import Suite, table
    from texsyn.report import Entry, render

    sources = [_map(name, ex) for name in maps] or [None] * len(names)
    earlier = {name: read_records(text, name) for name, text in texts.items()}
    with talk.line:
        talk.line.update(0.02, "anchors")
        suite = Suite(to_unit(ex.pixels), alpha=ex.has_alpha, seed=seed, transport=transport)
        measured = measured_with(ex, suite.settings)
        for name, read in earlier.items():
            require_alike(read, measured, name)
        units = [to_unit(p.pixels) for p in pictures]
        entries, records = [], []
        judged = zip(_distinct(names), pictures, units, sources, strict=True)
        for i, (name, picture, unit, source) in enumerate(judged):
            talk.line.update((i + 1) / (len(names) + 2), name)
            row = suite.row(name, unit, source=source, tile=tile, others=units if seeds else ())
            entries.append(Entry(row, suite.codes(unit), suite.ex))
            records.append(Record(measured, row, about(picture, tile, copies="search" if source is None else "map")))
        for read in earlier.values():
            outs = [record for record in read if record.row.role == "output"]
            entries += [Entry(record.row) for record in outs]
            records += outs
        for row, anchor in zip(suite.anchor_rows(), suite.anchors, strict=True):
            entries.append(Entry(row, anchor.pixels, anchor.reference))
            records.append(Record(measured, row, {}))
    if page is not None:
        text = render(suite, entries, title=f"Textures like {ex.name}", measured=measured)
        write_atomically(page, text.encode("utf-8", "replace"), overwrite=overwrite)
    if as_json:
        for record in records:
            click.echo(record.to_json())
    else:
        rows = [entry.row for entry in entries]
        for line in table(rows).splitlines():
            click.echo(printable(line))
        for sentence in _lacking(rows, transport):
            talk.say(sentence)
    if page is not None:
        talk.say(f"{page}: written")


def _like(picture: Picture, exemplar: Picture) -> Picture:
    if picture.mode != exemplar.mode or picture.channels != exemplar.channels:
        raise InputError(
            f"{picture.name} has {picture.channels} channels ({picture.mode}) and the exemplar {exemplar.name} has "
            f"{exemplar.channels} ({exemplar.mode}): give pictures of the same kind"
        )
    return picture


def _map(name: str, exemplar: Picture) -> Any:
    from texsyn.coordinate_files import check_inside, load_coordinates

    source, sizes = load_coordinates(name)
    try:
        check_inside(source, sizes or [exemplar.size])
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return source


def _text(name: str) -> str:
    require_file(name)
    data = Path(name).read_bytes() if Path(name).stat().st_size <= MAX_RECORD_BYTES else None
    if data is None:
        raise InputError(f"{name}: is larger than {MAX_RECORD_BYTES >> 20} MiB, which no records are")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InputError(f"{name}: is not text") from None


def _distinct(names: Sequence[str]) -> list[str]:
    """File names without their folders, unless two are then the same."""
    short = [Path(name).name for name in names]
    return [s if short.count(s) == 1 else name for s, name in zip(short, names, strict=True)]


def _lacking(rows: Sequence[Any], transport: bool) -> list[str]:
    """A sentence for each score that no output has, but for those that nobody asked for."""
    from texsyn.metrics.records import LATER
    from texsyn.metrics.suite import COLUMNS

    unasked = ("seam", "div_pixel", "div_shift", *(() if transport else LATER))
    outs = [row for row in rows if row.role == "output"]
    found = []
    for key, column in COLUMNS.items():
        if key not in unasked and all(row.values[key] is None for row in outs):
            found.append(f"{column.title}: {outs[0].missing.get(key, 'not measured')}")
    return found
