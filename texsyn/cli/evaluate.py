"""`texsyn eval`: FID and its relatives between two sets of pictures."""

from __future__ import annotations

import json

import click

from texsyn.cli import printable
from texsyn.cli.commands import DeviceName, texsyn
from texsyn.cli.files import checked
from texsyn.cli.talk import Talk


@texsyn.command("eval", short_help="Score a set of pictures against another: FID, KID.")
@click.argument("real", metavar="REAL")
@click.argument("fake", metavar="FAKE")
@click.option(
    "--metrics", metavar="a,b,...", default="fid,kid,prdc", show_default=True,
    help="Of fid, fid-inf, kid, is, prdc (precision, recall, density, coverage), sifid and rsifid.",
)  # fmt: skip
@click.option("--weights", metavar="PATH", help="The network's weights; looked for otherwise (texsyn weights --help).")
@click.option(
    "--tap", type=click.Choice(["64", "192", "768", "2048"]), default="2048", show_default=True,
    help="Where in the network features are taken.",
)  # fmt: skip
@click.option(
    "--resize", type=click.Choice(["reference", "pytorch-fid", "clean"]), default="reference", show_default=True,
    help="How pictures become 299x299; numbers of different ones cannot be compared.",
)  # fmt: skip
@click.option(
    "--crops", type=click.IntRange(min=2), metavar="N", default=64, show_default=True,
    help="Squares cut out of a set that is one picture...",
)  # fmt: skip
@click.option(
    "--crop-size", type=click.IntRange(min=1), metavar="PX", default=128, show_default=True, help="...and their side."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", default=0, show_default=True,
              help="Of crops, of KID's subsets and of rsifid's random network.")  # fmt: skip
@click.option(
    "--device", type=DeviceName(), default="auto", show_default=True, metavar="auto|cpu|cuda[:i]", help="Where to run."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all that the numbers depend on.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def evaluate(
    real: str,
    fake: str,
    metrics: str,
    weights: str | None,
    tap: str,
    resize: str,
    crops: int,
    crop_size: int,
    seed: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score a set of pictures FAKE against a set REAL by the features of a network.

    A set is a folder, a zip file, or one picture, which stands for crops of itself: `texsyn eval photos/ made/`, or
    `texsyn eval rock.png big_rock.png --metrics rsifid`. All but rsifid need weights that texsyn does not bring; see
    `texsyn weights`.
    """
    talk = Talk(as_json, quiet, 0, None)
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    from texsyn.evaluation import Crops
    from texsyn.evaluation import evaluate as run
    from texsyn.synthesis import resolve_device

    where = checked("--device", resolve_device, device)
    cut = checked("--crops", Crops, crops, crop_size, seed)
    with talk.line:
        found = checked(
            "--metrics", run, real, fake, names, weights=weights, tap=tap, resize=resize, crops=cut, seed=seed,
            device=where, on_progress=talk.line.update,
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(found.to_dict()))
        return
    for name, value in found.scores.items():
        click.echo(printable(f"{name:<12} {value:.6g}"))
    about = found.record.get("features")
    if about:
        said = f"tap {about['tap']}, weights {about['weights']} {about['sha256'][:8]}, resize {about['resize']}"
        click.echo(printable(f"{said}, {about['n'][0]} real and {about['n'][1]} fake pictures"))
        for note in about["notes"]:
            click.echo(printable(note))
    for detail in found.details.values():
        if "input_range" in detail:
            click.echo(printable(f"{detail['name']}: tap {detail['tap']}, weights {detail['weights']}"))
