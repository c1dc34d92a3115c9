"""The recipe inside a picture file: JSON that says how the picture was made, found again without decoding it.

PNG holds it in an iTXt chunk named "texsyn", OpenEXR in a string attribute of that name; TIFF, JPEG and WebP hold
{"texsyn": recipe} in the ImageDescription tag.
`saving` puts it there.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from typing import Any, BinaryIO

from texsyn.images import exr, png16
from texsyn.images.loading import format_of, opened
from texsyn.images.picture import MAX_PIXELS, InputError, printable, reason
from texsyn.images.pillow_reader import open_pillow

MAX_RECIPE_BYTES = 2**22
IMAGE_DESCRIPTION = 0x010E  # the EXIF and TIFF tag


def read_recipe(source: Any) -> dict[str, Any] | None:
    """The recipe that `save` put into a picture file (a path or the file's bytes), or None when there is none.

    InputError when the file cannot be read or its text is larger than 4 MiB; broken JSON counts as no recipe.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _recipe_in(io.BytesIO(source), "the bytes given")
    path = os.fsdecode(source)
    with opened(path) as file:
        return _recipe_in(file, printable(path))


def _recipe_in(file: BinaryIO, where: str) -> dict[str, Any] | None:
    kind = format_of(file.read(64))
    try:
        if kind in ("PNG", "EXR"):
            text = (png16 if kind == "PNG" else exr).read_text(file, "texsyn", limit=MAX_RECIPE_BYTES)
            recipe = json.loads(text) if text is not None else None
        else:
            text = _description(file, kind)
            described = json.loads(text) if text else None
            recipe = described.get("texsyn") if isinstance(described, dict) else None
    except (json.JSONDecodeError, RecursionError):
        return None
    except MemoryError:
        raise
    except Exception as error:  # as in loading: decoders meet hostile bytes with any exception there is
        raise InputError(f"{where}: the recipe cannot be read ({reason(error)})") from None
    return recipe if isinstance(recipe, dict) else None


def _description(file: BinaryIO, kind: str | None) -> str | None:
    """The text of the ImageDescription tag of a TIFF, JPEG or WebP file."""
    if kind == "TIFF":
        import tifffile

        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            text: Any = tiff.pages[0].description  # type: ignore[union-attr]
    elif kind in ("JPEG", "WEBP"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = open_pillow(file, kind, MAX_PIXELS).getexif().get(IMAGE_DESCRIPTION)
    else:
        return None
    if isinstance(text, str) and len(text) > MAX_RECIPE_BYTES:
        raise ValueError(f"its description has {len(text)} characters, at most {MAX_RECIPE_BYTES} are accepted")
    return text if isinstance(text, str) else None
