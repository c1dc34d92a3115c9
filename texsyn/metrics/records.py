"""Rows of the texture suite as JSON lines, and the refusal to put rows side by side that were not measured alike.

A line holds a row with its units, what was judged (size, tile, SHA-256 of its pixels) and `measured`: all that must be
equal for two rows to be comparable: the suite's own version, plenoptic's, the exemplar's pixels and every setting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from texsyn import __version__
from texsyn.images import InputError, Picture
from texsyn.metrics.suite import COLUMNS, Row, Settings, flags_of

#: raised whenever a score's definition changes: numbers of before and after are then not compared
SUITE_VERSION = 1
#: columns on request, which records of before they existed lack
LATER = ("ot_lower", "ot_upper", "ot_sampling", "ot_floor")

#: keys of TransportLevel.to_dict, and of the floor in it
BRACKET = (
    "lower", "lower_range", "lower_squared", "lower_squared_error", "upper", "n",
    "atoms", "of_atoms", "solved", "fitted", "held_out", "cells", "mix",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """A row with how it was measured and, of outputs, what was judged."""

    measured: dict[str, Any]
    row: Row
    picture: dict[str, Any]

    def to_json(self) -> str:
        """One line of JSON."""
        row = asdict(self.row)
        scores = row.pop("values")
        return json.dumps(
            {"texsyn": __version__, **row, "scores": scores}
            | {"units": {key: column.unit for key, column in COLUMNS.items()}}
            | {"picture": self.picture, "measured": self.measured}
        )


def measured_with(exemplar: Picture, settings: Settings) -> dict[str, Any]:
    """What rows must have in common to be comparable."""
    try:
        plenoptic = metadata.version("plenoptic")
    except metadata.PackageNotFoundError:
        plenoptic = None
    return {
        "suite": SUITE_VERSION,
        "plenoptic": plenoptic,
        "exemplar": {"size": str(exemplar.size), "mode": exemplar.mode, "sha256": exemplar.sha256},
        "settings": asdict(settings),
    }


def about(picture: Picture, tile: str, *, copies: str = "search") -> dict[str, Any]:
    """What an output was: size, mode, axes it repeats on, where its copies were read (search, map), hash of pixels."""
    known = {"size": str(picture.size), "mode": picture.mode, "tile": tile, "copies": copies}
    return known | {"sha256": picture.sha256}


def read_records(text: str, name: str) -> list[Record]:
    """The records of JSON lines that to_json wrote; InputError names the line that is none."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                found.append(_record(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise InputError(f"{name}: line {number} is not a record of texsyn compare --json") from None
    if not found:
        raise InputError(f"{name}: holds no records of texsyn compare --json")
    return found


def _record(read: dict[str, Any]) -> Record:
    values = {key: _number(read["scores"].get(key) if key in LATER else read["scores"][key]) for key in COLUMNS}
    missing = {str(key): str(reason) for key, reason in read["missing"].items()}
    if not isinstance(read["name"], str) or read["role"] not in ("output", "anchor"):
        raise ValueError("not a row")
    details = {"transport": [_level(v) for v in read["details"]["transport"]]} if read.get("details") else {}
    row = Row(read["name"], read["role"], values, missing, flags_of(values), details)
    return Record(dict(read["measured"]), row, dict(read["picture"]))


def _level(read: dict[str, Any]) -> dict[str, Any]:
    """One scale of the details: nothing but numbers, under the keys that are written, and those of its floor."""
    bracket = {key: _numbers(read[key]) for key in BRACKET}
    floor = read["floor"] and {key: _numbers(read["floor"][key]) for key in BRACKET}
    return {"scale": _numbers(read["scale"])} | bracket | {"sampling": _numbers(read["sampling"]), "floor": floor}


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        low, high = (_numbers(v) for v in value)
        return [low, high]
    if _number(value) is None:
        raise ValueError("not a number")
    return value


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError("not a number")
    return float(value)


def require_alike(records: Sequence[Record], measured: dict[str, Any], name: str) -> None:
    """InputError when one of the records of that file was not measured like `measured`; it says in what they differ."""
    for record in records:
        theirs, ours = _flat(record.measured), _flat(measured)
        for key in sorted(theirs.keys() | ours.keys()):
            if theirs.get(key) != ours.get(key):
                had, have = (str(side.get(key, "nothing"))[:16] for side in (theirs, ours))
                raise InputError(f"{name}: {record.row.name} was measured with {key} {had}, here it is {have}")


def _flat(thing: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in thing.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{key} ") if inner else {prefix + key: value}
    return found
