"""The verdict on a picture made again: against the recorded hash, and against the pixels in the file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from texsyn.images import Picture, load, save
from texsyn.images.picture import printable
from texsyn.synthesis import Result


@dataclass(frozen=True, eq=False)
class Original:
    """The file whose picture is made again: its name, its recipe, what it holds, and its format."""

    name: str
    recipe: dict[str, Any]
    picture: Picture
    format: str


@dataclass(frozen=True)
class Repro:
    """What came of making a picture again.

    identical: the pixels made are those in the file, and those whose hash the recipe records (a window that render
    wrote has no such hash). result is the picture made again, recorded the recipe in the file. differences says in
    words what differs: of the pixels, then of the environment, which may also differ to no effect.
    """

    identical: bool
    result: Result
    recorded: dict[str, Any]
    differences: tuple[str, ...]
    name: str = "the picture"  #: of the file

    @property
    def sentence(self) -> str:
        """The outcome in one line."""
        if not self.identical:
            return f"{self.name}: {'; '.join(self.differences)}"
        though = f" ({', '.join(self.differences)})" if self.differences else ""
        return f"{self.name}: made again, pixel for pixel{though}"


def compared(original: Original, result: Result) -> Repro:
    """The verdict on a picture made again: against the recorded hash, and against the pixels in the file."""
    made, held, recorded = result.image, original.picture, original.recipe.get("pixels_sha256")
    as_recorded = None if recorded is None else made.sha256 == recorded
    as_saved = _is_what_is_saved(original, made)
    as_held = made.sha256 == held.sha256 or (as_saved and original.format != "jpeg")
    environment = _environment(original.recipe, result.recipe)
    differences = []
    if as_recorded is False:
        hashes = f"sha256 {made.sha256[:12]} and not {recorded[:12]}"  # type: ignore[index]
        differences.append(f"the picture made again is not the recorded one ({hashes})")
        if as_held:
            differences.append("the file holds the picture made again, so its recipe was changed")
        elif held.sha256 == recorded:
            differences.append(f"the file holds the recorded one; {_count(made, held)}")
        elif original.format != "jpeg":
            differences.append("the file holds neither")
    elif not as_held:
        which = "the picture made again is the recorded one, but the file" if as_recorded else "the file"
        differences.append(f"{which} holds other pixels: {_why(original, made, as_saved)}")
    if as_held or not as_recorded:
        differences += environment
    identical = as_held and as_recorded is not False
    if not identical and not as_recorded and not environment:
        differences.append("texsyn, torch and device are the recorded ones")
    return Repro(identical, result, original.recipe, tuple(differences), original.name)


def _is_what_is_saved(original: Original, made: Picture) -> bool:
    """Whether the file's pixels are what its format makes of the picture: 16-bit floats, greys as colours, JPEG."""
    if made.sha256 == original.picture.sha256:
        return True
    buffer = io.BytesIO()
    try:
        save(made, buffer, format=original.format)
        return load(buffer.getvalue()).sha256 == original.picture.sha256
    except (ValueError, OSError):  # the file was converted to a format that does not hold the picture
        return False


def _why(original: Original, made: Picture, as_saved: bool) -> str:
    """How pixels in the file come to differ from those made again, which are right."""
    if original.format == "jpeg":
        if as_saved:
            return "JPEG is lossy, and they are exactly what it makes of that picture"
        return "JPEG is lossy, and they are not what it makes of that picture here: another encoder, or edited"
    model = original.recipe.get("pixels_sha256") is None
    return f"{_count(made, original.picture)}{'' if model else ', so it was changed after it was made'}"


def _count(made: Picture, held: Picture) -> str:
    if made.pixels.shape != held.pixels.shape or made.pixels.dtype != held.pixels.dtype:
        a, b = (f"{p.size} {p.mode} {p.pixels.dtype}" for p in (made, held))
        return f"{a} was made and {b} is held"
    n = int((made.pixels != held.pixels).any(2).sum())
    return f"{n} of {made.size.pixels} pixels differ"


def _environment(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the environment differs. The model's hash is compared where versions allow it, for windows alone."""
    keys = [key for key in ("texsyn", "torch", "device") if key in recorded and key in now]
    found = [
        f"{key} {printable(str(recorded[key]))[:40]} then and {now[key]} now"
        for key in keys
        if recorded[key] != now[key]
    ]
    if not found and recorded.get("model_sha256") != now.get("model_sha256"):
        found.append("the model learned again is not the recorded one")
    return found
