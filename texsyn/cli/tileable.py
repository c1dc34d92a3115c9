"""`texsyn tileable`: an existing picture made to repeat without a seam."""

from __future__ import annotations

import click

from texsyn.cli.commands import _device, _output, _publish, _talk, _watch, load_exemplar, texsyn
from texsyn.cli.files import checked, stem_of, targets
from texsyn.cli.talk import Talk


@texsyn.command(short_help="Make an existing picture repeat without a seam.")
@click.argument("image", metavar="IMAGE|-")
@click.option(
    "--tile", type=click.Choice(["x", "y", "xy"]), default="xy", show_default=True,
    help="Axes on which it shall repeat; x is left to right.",
)  # fmt: skip
@click.option(
    "--band", type=click.IntRange(min=1), metavar="PX",
    help="How far from an edge pixels may change.  [default: an eighth of the shorter side]",
)  # fmt: skip
@_output
@_device
@_talk
def tileable(
    image: str,
    tile: str,
    band: int | None,
    output: str | None,
    overwrite: bool,
    no_metadata: bool,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Make an existing picture repeat without a seam, by re-making a band along its edges from its own pixels.

    The rest of the picture keeps its pixels, and depth and channels are IMAGE's.

    \b
    texsyn tileable rock.png -o rock_tile.png
    texsyn tileable skimage:brick:256 --tile x --band 12 -o brick_x.png
    """
    talk = Talk(as_json, quiet, verbose, output)
    exemplar = load_exemplar(image, talk)
    from texsyn import editing
    from texsyn.synthesis import resolve_device
    from texsyn.synthesis import tileable as make

    if output is None:
        floats = exemplar.pixels.dtype.kind == "f" or exemplar.mode == "multi"
        output = f"{stem_of(image)}_tileable{'.tif' if floats else '.png'}"
    (target,) = targets(output, image, exemplar, exemplar.size, range(1), overwrite)
    checked("--band", editing.check, exemplar, tile, band)
    where = checked("--device", resolve_device, device)
    with talk.line:
        watch = _watch(talk.line)
        result = make(exemplar, tile=tile, band=band, device=where, on_progress=watch.on_progress, cancel=watch.cancel)
        _publish(result, target, overwrite, not no_metadata, talk)
