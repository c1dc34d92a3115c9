"""What a recipe says, asked with care: it comes from a file that anybody may have written."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from texsyn.images import InputError, Size, parse_size
from texsyn.images.picture import printable
from texsyn.synthesis import configure, resolve_device
from texsyn.wishes import PICTURES

MAX_INPUTS = 64  # that a recipe may name
MAX_NUMBER = 2**31  # of a setting
HASH = re.compile(r"[0-9a-f]{64}")
#: the wishes that are no pictures, by what a recipe may say of them
NUMBERS = ("guide_weight", "morph", "strength", "scale", "rotate")
TEXTS = ("guide_kind", "symmetry", "histogram", "depth")
WHOLE = ("copy_limit",)
OF_NUMBERS = ("weights", "mix")
#: what a method did before there was a setting for it; recipes of that time do not have it
ONCE: dict[str, dict[str, Any]] = {"texto": {"regular": "never"}}


class Told(InputError):
    """An InputError that already names the file."""


def broken(name: str, why: str) -> InputError:
    """What to raise for the recipe in the file called name."""
    return Told(f"{name}: its recipe cannot be followed ({printable(why)})")


@dataclass(frozen=True)
class Input:
    """A file that the recipe names: what it is for, and its recorded name and hash."""

    role: str
    name: str
    sha256: str

    @property
    def base(self) -> str:
        """The last part of the name; empty where that is no file's."""
        last = re.split(r"[/\\]", self.name)[-1]
        return "" if last in (".", "..") or "\0" in last else last

    def __str__(self) -> str:
        return f"{self.role} {printable(self.base or 'without a name')[:120]} (sha256 {self.sha256[:12]})"


class Says:
    """A recipe from a file that anybody may have written; each question checks the answer's type."""

    def __init__(self, name: str, recipe: Mapping[str, Any]) -> None:
        self.name, self.recipe = name, recipe

    def broken(self, why: str) -> InputError:
        return broken(self.name, why)

    def text(self, key: str) -> str:
        value = self.recipe.get(key)
        if not isinstance(value, str):
            raise self.broken(f"{key} is missing or no text")
        return value

    def whole(self, key: str, *, high: int, default: int | None = None) -> int:
        value = self.recipe.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < high:
            raise self.broken(f"{key} is missing or no whole number from 0 to {high - 1}")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.recipe.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.broken(f"{key} is no object")
        return value or {}

    def input(self, value: Any, role: str) -> Input:
        if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("name", "sha256")):
            raise self.broken(f"the {role} has no name and sha256")
        if not HASH.fullmatch(value["sha256"]):
            raise self.broken(f"the sha256 of the {role} is no hash")
        return Input(role, value["name"], value["sha256"])

    def inputs(self, key: str, role: str) -> list[Input]:
        values = self.recipe.get(key)
        if not isinstance(values, list) or not 1 <= len(values) <= MAX_INPUTS:
            raise self.broken(f"{key} is no list of 1 to {MAX_INPUTS} inputs")
        return [self.input(value, role) for value in values]

    @property
    def size(self) -> Size:
        return parse_size(self.text("size"))

    @property
    def seed(self) -> int:
        return self.whole("seed", high=2**63)

    @property
    def fit_seed(self) -> int:
        return self.whole("fit_seed", high=2**63, default=0)

    @property
    def device(self) -> str:
        """The recorded device where it is there, else the best that is."""
        recorded = self.text("device") if "device" in self.recipe else "auto"
        with contextlib.suppress(ValueError):
            return resolve_device(recorded)
        return resolve_device("auto")

    @property
    def config(self) -> Any:
        settings = self.mapping("settings")
        for key, value in settings.items():
            if isinstance(value, (int, float)) and abs(value) > MAX_NUMBER:
                raise self.broken(f"the setting {key[:80]} is out of any range")
        method = self.text("method")
        return configure(method, ONCE.get(method, {}) | settings, whole=True)

    def wishes(self) -> tuple[dict[str, Any], list[Input]]:
        """The wishes that are no pictures, and the pictures, whose roles are the wishes' names."""
        plain, pictures = {}, []
        for key, value in self.mapping("wishes").items():
            if key in PICTURES:
                pictures.append(self.input(value, key))
                continue
            values = {"weights": dict, "mix": list}.get(key)
            right = (
                (key in NUMBERS and is_number(value))
                or (key in TEXTS and isinstance(value, str))
                or (key in WHOLE and is_number(value) and isinstance(value, int))
                or (values is not None and isinstance(value, values) and len(value) <= MAX_INPUTS)
            )
            if values is not None and right:
                right = all(map(is_number, value.values() if isinstance(value, dict) else value))
            if not right:
                known = key in (*NUMBERS, *TEXTS, *WHOLE, *OF_NUMBERS)
                raise self.broken(f"the wish {key[:80]} {'has a wrong value' if known else 'is not known'}")
            plain[key] = value
        return plain, pictures

    def exemplars(self, *, filled: bool) -> tuple[list[Input], bool]:
        """The exemplars, or the maps of the only one; and whether they are maps."""
        if "maps" in self.recipe:
            return self.inputs("maps", "map"), True
        if "exemplars" in self.recipe and not filled:  # of a filled picture the second is the wish for a source
            return self.inputs("exemplars", "exemplar"), False
        return [self.input(self.recipe.get("exemplar"), "exemplar")], False


def is_number(value: Any) -> bool:
    """A finite number that is not out of any range."""
    return not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) <= MAX_NUMBER
