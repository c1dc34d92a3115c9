"""A manifest, one JSON object a line, as a list of items that have been checked as far as that is possible unseen."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from texsyn.blocks import period_of
from texsyn.images import InputError, Size, parse_size
from texsyn.synthesis import configure, fresh_seed

MAX_LINE_BYTES = 2**20
_TYPES = {"image": str, "output": str, "size": str, "seed": int, "tile": str, "method": str, "set": dict}
_WORDS = {str: "a text", int: "a whole number", dict: "an object"}


@dataclass(frozen=True)
class Item:
    """One picture to make: line of the manifest, exemplar, output, and all that shapes the picture.

    any_seed: none was asked for; seed is then a fresh one, and an output with another one is done as well.
    """

    line: int
    image: str
    output: str
    size: str
    seed: int
    any_seed: bool = False
    tile: str = "none"
    method: str = "texto"
    settings: dict[str, Any] = field(default_factory=dict)


def read_manifest(file: BinaryIO, name: str, folder: str, defaults: Mapping[str, Any]) -> list[Item]:
    """The items of an open manifest; name is for errors, and images are relative to folder.

    A line holds "image" and, where the defaults shall not do, "output", "size", "seed", "tile", "method" and "set".
    defaults has the same keys: its "output" is a pattern with {stem} (of the image), {seed} and {line} to be filled in,
    and its "set" holds for every item. Outputs are relative to the current folder.

    InputError, with the number of the line, for anything else, two items with one output, and an output that is the
    image of an item.
    """
    items = []
    for number, text in _lines(file, name):
        try:
            items.append(_item(number, _parse(text), folder, defaults))
        except ValueError as error:
            raise InputError(f"{name}, line {number}: {error}") from None
    if not items:
        raise InputError(f"{name}: holds no items; give one JSON object a line")
    _require_distinct(items, name)
    return items


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Numbers and texts of the lines that are not blank."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"{name}, line {number}: is longer than the accepted {MAX_LINE_BYTES} bytes")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise InputError(f"{name}, line {number}: is not UTF-8 text") from None
        if text:
            yield number, text


def _parse(text: str) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error.msg} at character {error.pos + 1})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(entry, dict):
        raise ValueError('should be an object such as {"image": "rock.png"}')
    for key, value in entry.items():
        if key not in _TYPES:
            raise ValueError(f"{key[:80]!r} is not one of {', '.join(_TYPES)}")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise ValueError(f"{key} should be {_WORDS[_TYPES[key]]}, not {json.dumps(value)[:80]}")
    return entry


def _item(line: int, entry: dict[str, Any], folder: str, defaults: Mapping[str, Any]) -> Item:
    """The item of a line with the defaults filled in. Raises ValueError."""
    wanted = {key: value for key, value in defaults.items() if value is not None} | entry
    if "image" not in wanted:
        raise ValueError("image is missing; give a file or skimage:NAME")
    image = wanted["image"]
    if not 0 <= wanted.get("seed", 0) < 2**63:
        raise ValueError(f"seed={wanted['seed']} should be from 0 to {2**63 - 1}")
    if "output" not in wanted:
        raise ValueError("output is missing; give one here, or a pattern for all")
    if "output" not in entry:
        wanted["output"] = _filled(wanted["output"], image, wanted.get("seed"), line)
    for key in ("image", "output"):
        if not _names_a_file(wanted[key]):
            raise ValueError(f"{key}={wanted[key][:80]!r} is not the name of a file")
    method, size, tile = wanted.get("method", "texto"), wanted.get("size", "2x"), wanted.get("tile", "none")
    settings = {**(defaults.get("set") or {}), **entry.get("set", {})}
    configure(method, settings, whole=True)
    period_of(tile, parse_size(size, Size(1, 1)))
    if not image.startswith("skimage:"):
        image = os.path.join(folder, image)
    seed = wanted["seed"] if "seed" in wanted else fresh_seed()
    return Item(line, image, wanted["output"], size, seed, "seed" not in wanted, tile, method, settings)


def _names_a_file(text: str) -> bool:
    try:
        return text not in ("", "-") and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _filled(pattern: str, image: str, seed: int | None, line: int) -> str:
    if "{seed}" in pattern and seed is None:
        raise ValueError("the output's name wants a {seed}: give one, or it could not be found again")
    stem = image.split(":")[1] if image.startswith("skimage:") else Path(image).stem
    return pattern.replace("{seed}", str(seed)).replace("{line}", str(line)).replace("{stem}", stem)


def _require_distinct(items: list[Item], name: str) -> None:
    images = {os.path.realpath(item.image) for item in items}
    lines: dict[str, int] = {}
    for item in items:
        path = os.path.realpath(item.output)
        if path in lines:
            raise InputError(f"{name}, line {item.line}: output {item.output} is that of line {lines[path]} too")
        if path in images:
            raise InputError(f"{name}, line {item.line}: output {item.output} is an image that this manifest reads")
        lines[path] = item.line
