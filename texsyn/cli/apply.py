"""`texsyn apply`: what a map of coordinates cuts out of other pictures of the exemplar, such as its normals."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import click
import numpy as np

from texsyn import __version__
from texsyn.cli import Misuse
from texsyn.cli.commands import load_exemplar, texsyn
from texsyn.cli.files import stem_of, targets
from texsyn.cli.talk import Talk
from texsyn.images import Picture, Size, save


@texsyn.command(name="apply", short_help="Cut the picture that a MAP stands for out of OTHER pictures.")
@click.argument("map_file", metavar="MAP")
@click.argument("others", metavar="OTHER...", nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="OUT|-",
    help="Output file (.png .tif .exr .jpg .webp .bmp), {name} filled in with OTHER's; - is stdout (PNG).  "
    "[default: {name}_applied, in this folder]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@click.option("--no-metadata", is_flag=True, help="Do not store the recipe inside the file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each result on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def apply(
    map_file: str,
    others: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    no_metadata: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Cut the picture that a MAP of coordinates stands for out of OTHER pictures, pixel by pixel.

    Each OTHER must have the size of the exemplar that MAP was made from, and gives one picture with OTHER's depth and
    channels. For a MAP of several exemplars give as many OTHERs, in their order, for each picture.

    \b
    texsyn apply rock_map.npy rock_normal.png rock_roughness.png
    texsyn apply rock_map.tif rock_normal.png -o 'big_{name}.png'
    """
    talk = Talk(as_json, quiet, 0, output)
    if list(others).count("-") > 1:
        raise Misuse("-: standard input holds one picture; give files")
    from texsyn.coordinate_files import apply as cut_out
    from texsyn.coordinate_files import load_coordinates

    source, sizes = load_coordinates(map_file)
    groups = _groups(others, source, sizes)
    outputs = [_target(output, group[0], len(groups)) for group in groups]
    loaded = {other: load_exemplar(other, talk) for other in others}
    makes = []
    for group, wanted in zip(groups, outputs, strict=True):
        pictures = [loaded[other] for other in group]
        made = cut_out(source, pictures, sizes=sizes)
        (target,) = targets(_with_ending(wanted, made), group[0], made, made.size, range(1), overwrite)
        makes.append((target, made, pictures))
    _require_different([target for target, _, _ in makes])
    for target, made, pictures in makes:
        recipe = _recipe(map_file, source, pictures, made)
        notes = save(made, target, recipe=None if no_metadata else recipe, overwrite=overwrite)
        talk.result({"output": target} | recipe)
        name = "stdout" if target == "-" else target
        talk.say(f"{name}: {made.size} by apply")
        for note in (*made.notes[len(pictures[0].notes) :], *notes):
            talk.say(f"{name}: {note}")


def _groups(others: tuple[str, ...], source: np.ndarray, sizes: tuple[Size, ...] | None) -> list[tuple[str, ...]]:
    """The OTHERs of each output. A map that does not tell how many exemplars it has takes them all."""
    n = 1 if source.shape[2] == 2 else len(others) if sizes is None else len(sizes)
    if len(others) % n:
        raise Misuse(f"OTHER: MAP was made from {n} exemplars; give {n} pictures for each output, not {len(others)}")
    return [others[i : i + n] for i in range(0, len(others), n)]


def _target(output: str | None, other: str, count: int) -> str:
    """The output's name for one OTHER, perhaps without an ending."""
    if output == "-":
        if count > 1:
            raise Misuse("-o -: takes one picture; give a file name with {name}")
        return "-"
    if output is None:
        output = "{name}_applied"
    elif count > 1 and "{name}" not in output:
        stem, ending = os.path.splitext(output)
        output = f"{stem}_{{name}}{ending}"
    # a name that ends in {name} has no ending of its own, whatever dots OTHER's has
    bare = not os.path.splitext(output)[1] and "{name}" in output
    return output.replace("{name}", stem_of(other)) + ("." if bare else "")


def _with_ending(name: str, picture: Picture) -> str:
    """name, or where it stops at a dot, with the ending of a format that holds the picture."""
    floats = picture.pixels.dtype.kind == "f" or picture.mode == "multi"
    return name + ("tif" if floats else "png") if name.endswith(".") else name


def _require_different(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise Misuse(f"-o: several OTHERs would be written to {name}; run them one by one with -o")


def _recipe(map_file: str, source: np.ndarray, pictures: list[Picture], made: Picture) -> dict[str, Any]:
    """What was cut out of what, to be stored in the file."""
    size = Size(*source.shape[:2])
    return {
        "schema": 1,
        "texsyn": __version__,
        "method": "apply",
        "size": str(size),
        "map": {
            "name": os.path.basename(map_file),
            "sha256": hashlib.sha256(f"{source.shape} ".encode() + source.astype("<i4").tobytes()).hexdigest(),
        },
        "exemplars": [{"name": p.name, "size": str(p.size), "sha256": p.sha256} for p in pictures],
        "pixels_sha256": made.sha256,
    }
