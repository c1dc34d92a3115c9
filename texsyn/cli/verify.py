"""`texsyn verify`: a certified interval on the patch distance of a picture from its exemplar, at every scale."""

from __future__ import annotations

import math
from typing import Any

import click

from texsyn.cli.commands import texsyn
from texsyn.cli.files import checked, load_picture
from texsyn.cli.loops import announced, with_cache
from texsyn.cli.talk import Talk
from texsyn.images import InputError


class Distance(click.ParamType):
    """A finite number that is not negative."""

    name = "distance"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            self.fail(f"{value!r} is no distance: give a number such as 2.5.", param, ctx)
        return number


@texsyn.command(short_help="Certify how near a picture OUT is to its exemplar IN.")
@click.argument("image", metavar="OUT")
@click.option("--exemplar", required=True, metavar="IN", help="The picture whose texture OUT should have.")
@click.option(
    "--max", "largest", type=Distance(), metavar="W", help="Fail unless every level's upper bound is at most W."
)
@click.option(
    "--levels", type=click.IntRange(1, 6), metavar="N", help="Pyramid levels, the picture itself first.  [default: 4]"
)
@click.option("--patch-size", type=click.IntRange(min=1), metavar="PX", help="Side of a patch.  [default: 5]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(
    image: str, exemplar: str, largest: float | None, levels: int | None, patch_size: int | None, as_json: bool
) -> None:
    """Certify how near a picture OUT is to its exemplar IN: an interval for each pyramid level.

    The Wasserstein-2 distance between the patches of OUT and those of IN lies in the interval: a dual potential proves
    the lower bound, a coupling the upper one. In the unit of `texsyn score`'s msw. With --max, ends with exit code 1
    where a level's upper bound is above W.

    \b
    texsyn verify big_rock.png --exemplar rock.png
    texsyn verify big_rock.png --exemplar rock.png --max 6 --json
    """
    talk = Talk(as_json, False, 0, None)
    out, ex = load_picture(image), load_picture(exemplar)
    if out.channels != ex.channels:
        raise InputError(
            f"{out.name} has {out.channels} channels ({out.mode}) and --exemplar {ex.name} has {ex.channels} "
            f"({ex.mode}): give two pictures of the same kind"
        )
    from texsyn.images import to_unit

    module = with_cache(_module)
    levels, patch_size = levels or module.N_LEVELS, patch_size or module.PATCH_SIZE
    for picture in (out, ex):
        if min(picture.size.height, picture.size.width) < patch_size <= module.MAX_VALUES**0.5:
            raise InputError(f"{picture.name}: {picture.size} pixels hold no patch of {patch_size}x{patch_size}")
    pixels = to_unit(out.pixels), to_unit(ex.pixels)
    with announced(talk.say):
        found = checked("--patch-size", module.certificate, *pixels, levels=levels, patch_size=patch_size)
    click.echo(found.to_json() if as_json else found.to_table())
    if largest is not None and found.upper > largest:
        raise click.ClickException(_verdict(found, largest))


def _module() -> Any:
    from texsyn.metrics import certificate

    return certificate


def _verdict(found: Any, largest: float) -> str:
    """Which levels are above, and whether that is proved or only not disproved."""
    above = [s for s in found.levels if s.out.upper > largest]
    words = [f"level {s.level} {'is above' if s.out.lower > largest else 'may be above'}" for s in above]
    return f"--max {largest:g} is not certified: {', '.join(words)}"
