"""From a `Picture` to a file: which format holds it, its bytes, and a file that appears complete or not at all.

Idea: depth and channels out = depth and channels in; a format that cannot hold the picture is refused before the long
work (`check_target`). An output path holds the old file, nothing, or the complete new file: see `save`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from texsyn.images import exr, png16
from texsyn.images.depth import to_half
from texsyn.images.picture import OutputError, OutputExists, Picture, Size, printable, reason
from texsyn.images.recipe_text import IMAGE_DESCRIPTION, MAX_RECIPE_BYTES

_EXTENSIONS = {
    ".png": "png", ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".bmp": "bmp",
    ".exr": "exr",
}  # fmt: skip
EXTENSIONS = tuple(_EXTENSIONS)  #: of the files that can be written
_WRITABLE = ", ".join(_EXTENSIONS)
_HOLDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {  # modes, sample types, longest side in pixels
    "png": (("L", "LA", "RGB", "RGBA"), ("uint8", "uint16"), 2**31 - 1),
    "tiff": (("L", "LA", "RGB", "RGBA", "multi"), ("uint8", "uint16", "float32"), 2**31 - 1),
    "jpeg": (("L", "RGB"), ("uint8",), 65500),
    "webp": (("L", "LA", "RGB", "RGBA"), ("uint8",), 16383),
    "bmp": (("L", "RGB"), ("uint8",), 2**31 - 1),
    "exr": (("L", "LA", "RGB", "RGBA", "multi"), ("float32",), 2**31 - 1),
}


def check_target(
    target: Any, *, mode: str = "RGB", dtype: Any = "uint8", size: Size | None = None, overwrite: bool = False,
    format: str | None = None,
) -> str:  # fmt: skip
    """The format `save` would write ("png", "tiff", "jpeg", "webp", "bmp" or "exr"), if it could; ask before long work.

    ValueError: an extension, mode, type or size that the format does not hold, or that needs a package which is not
    installed. OutputExists: the file is there and
    `overwrite` is False. OutputError: no such folder, not writable, not a regular file.

    >>> check_target("-")
    'png'
    >>> check_target("rock.jpg", dtype="uint16")
    Traceback (most recent call last):
    ValueError: rock.jpg: jpeg does not hold uint16 values; use .png, .tif or .tiff
    """
    path = os.fsdecode(target) if isinstance(target, (str, os.PathLike)) and os.fsdecode(target) != "-" else None
    shown = "the output" if path is None else printable(path)
    kind = _format_for(path, shown, format)
    modes, dtypes, longest = _HOLDS[kind]
    dtype = np.dtype(dtype).name
    fitting = [e for e, k in _EXTENSIONS.items() if mode in _HOLDS[k][0] and dtype in _HOLDS[k][1]]
    better = "use " + " or ".join(", ".join(fitting).rsplit(", ", 1)) if fitting else "no format here does"
    if dtype not in dtypes:
        raise ValueError(f"{shown}: {kind} does not hold {dtype} values; {better}")
    if mode not in modes:
        what = "alpha" if mode in ("LA", "RGBA") else f"pictures of mode {mode}"
        raise ValueError(f"{shown}: {kind} does not hold {what}; {better}")
    if size is not None and max(size.height, size.width) > longest:
        raise ValueError(f"{shown}: {kind} holds sides up to {longest} pixels, not {size}; use .png, .tif or .tiff")
    if kind == "exr" and not exr.is_installed():
        raise ValueError(f"{shown}: {exr.MISSING}")
    if path is not None:
        _check_path(path, shown, overwrite)
    return kind


def _format_for(path: str | None, shown: str, format: str | None) -> str:
    if format is not None:
        kind = _EXTENSIONS.get("." + format.lower().removeprefix("."))
        if kind is None:
            raise ValueError(f"format={format!r} is not known; accepted are {_WRITABLE.replace('.', '')}")
        return kind
    if path is None:
        return "png"
    extension = os.path.splitext(path)[1].lower()
    if extension not in _EXTENSIONS:
        said = f"the extension {printable(extension)!r} is not known" if extension else "there is no extension"
        raise ValueError(f"{shown}: {said}; accepted are {_WRITABLE}")
    return _EXTENSIONS[extension]


def _check_path(path: str, shown: str, overwrite: bool) -> None:
    try:
        there = os.stat(path).st_mode
    except FileNotFoundError:
        there = None
    except (OSError, ValueError) as error:
        raise OutputError(f"{shown}: cannot be written ({reason(error)})") from None
    if there is not None and not stat.S_ISREG(there):
        what = "a directory" if stat.S_ISDIR(there) else "not a regular file"
        raise OutputError(f"{shown}: is {what}; give a file name, or - for standard output")
    if there is not None and not overwrite:
        raise OutputExists(f"{shown}: exists; ask for overwriting to replace it")
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise OutputError(f"{shown}: its folder does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{shown}: its folder may not be written to")


def save(
    picture: Picture, target: Any, *, recipe: Mapping[str, Any] | None = None, overwrite: bool = False,
    format: str | None = None,
) -> tuple[str, ...]:  # fmt: skip
    """Write `picture` to `target`: a path, "-" (standard output) or a binary file. Returns notes on what was lost.

    The extension says the format, or `format` does; PNG where neither speaks. A path is replaced in one step, after
    everything has reached the disk: on any failure or interrupt the old file stays and nothing is left beside it. A
    replaced file keeps its permissions. `recipe` goes inside the file as JSON (see `read_recipe`).

    ValueError, OutputExists and OutputError as `check_target`; OutputError too when the disk is full.
    """
    kind = check_target(
        target, mode=picture.mode, dtype=picture.pixels.dtype, size=picture.size, overwrite=overwrite, format=format
    )
    text = None if recipe is None else json.dumps(recipe, allow_nan=False)
    if text is not None and len(text) > MAX_RECIPE_BYTES:
        raise ValueError(f"recipe of {len(text)} characters is longer than the accepted {MAX_RECIPE_BYTES}")
    if isinstance(target, (str, os.PathLike)) and os.fsdecode(target) != "-":
        path = os.fsdecode(target)
        try:
            with _published(path, overwrite) as file:
                return _encode(picture, file, kind, text)
        except FileExistsError:
            raise OutputExists(f"{printable(path)}: exists; ask for overwriting to replace it") from None
        except OSError as error:
            raise OutputError(f"{printable(path)}: cannot be written ({reason(error)})") from error
    buffer = io.BytesIO()  # streams need not seek, and get all or nothing
    notes = _encode(picture, buffer, kind, text)
    stream: BinaryIO = sys.stdout.buffer if isinstance(target, (str, os.PathLike)) else target
    try:
        stream.write(buffer.getbuffer())
        stream.flush()
    except OSError as error:
        raise OutputError(f"the output stream cannot be written ({reason(error)})") from error
    return notes


def check_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Raises OutputExists or OutputError where write_atomically could not write; ask before the long work."""
    text = os.fsdecode(path)
    _check_path(text, printable(text), overwrite)


def write_atomically(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write any bytes as `save` writes pictures: all or nothing. Raises OutputExists and OutputError like it."""
    check_path(path, overwrite=overwrite)
    text = os.fsdecode(path)
    try:
        with _published(text, overwrite) as file:
            file.write(data)
    except FileExistsError:
        raise OutputExists(f"{printable(text)}: exists; ask for overwriting to replace it") from None
    except OSError as error:
        raise OutputError(f"{printable(text)}: cannot be written ({reason(error)})") from error


@contextlib.contextmanager
def _published(path: str, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` in one step when the block ends well, and vanishes when it does not."""
    path = os.path.realpath(path)  # through a symbolic link, to the file it stands for
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".texsyn-{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            _rename_over(temporary, path)
        else:
            _rename_new(temporary, path)
    finally:  # also after KeyboardInterrupt; already gone when all went well
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    _sync_folder(path)


def _sync_folder(path: str) -> None:
    """Have the system write down which names the folder of path holds."""
    with contextlib.suppress(OSError):  # some systems cannot open a folder
        handle = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _rename_over(temporary: str, path: str) -> None:
    """Give `temporary` the name `path`, and the permissions of the file that had it."""
    with contextlib.suppress(FileNotFoundError):
        os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
    os.replace(temporary, path)


def _rename_new(temporary: str, path: str) -> None:
    """Give `temporary` the name `path` unless somebody took that name meanwhile: then FileExistsError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        os.replace(temporary, path)


def _encode(picture: Picture, file: BinaryIO, kind: str, recipe: str | None) -> tuple[str, ...]:
    """Write the file's bytes; returns notes."""
    if kind == "png":
        texts = {} if recipe is None else {"texsyn": recipe}
        indexed = picture.indices is not None
        pixels = picture.indices[:, :, None] if picture.indices is not None else picture.pixels
        palette = picture.palette if indexed else None
        png16.write(file, pixels, palette=palette, icc_profile=picture.icc_profile, texts=texts)
        return ()
    if kind == "exr":
        return exr.write_exr(file, picture, recipe)
    description = None if recipe is None else f'{{"texsyn": {recipe}}}'
    if kind == "tiff":
        return _encode_tiff(picture, file, description)
    return _encode_pillow(picture, file, kind, description)


def _encode_tiff(picture: Picture, file: BinaryIO, description: str | None) -> tuple[str, ...]:
    import tifffile

    mode = picture.mode
    pixels, notes = to_half(picture.pixels) if picture.half else (picture.pixels, ())
    n_colours = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}.get(mode, 1)
    extra = ["unassalpha"] if picture.has_alpha else ["unspecified"] * (picture.channels - n_colours)
    tifffile.imwrite(
        file,
        pixels if picture.channels > 1 else pixels[:, :, 0],
        photometric="rgb" if n_colours == 3 else "minisblack",
        planarconfig="contig" if picture.channels > 1 else None,
        extrasamples=extra or None,
        compression="zlib",
        predictor=pixels.dtype.kind == "u",  # the float predictor needs a further package
        description=description,
        iccprofile=picture.icc_profile,
        metadata=None,
        software="texsyn",
    )
    return notes


def _encode_pillow(picture: Picture, file: BinaryIO, kind: str, description: str | None) -> tuple[str, ...]:
    from PIL import Image

    notes: list[str] = []
    options: dict[str, Any] = {}
    if kind == "jpeg":
        options = {"quality": 95, "subsampling": 0}
    elif kind == "webp":
        options = {"lossless": True, "exact": True}  # exact: colours under alpha 0 are kept
    if kind == "webp" and picture.channels < 3:
        lost = "" if picture.icc_profile is None else ", without its profile"
        notes.append(f"WebP holds no grey pictures: it was written as colour{lost}")
    if kind == "bmp" and picture.icc_profile is not None:
        notes.append("BMP holds no colour profile here: it was left out")
    if picture.icc_profile is not None and not (kind == "webp" and picture.channels < 3):
        options["icc_profile"] = picture.icc_profile
    if description is not None and (kind == "bmp" or (kind == "jpeg" and len(description) > 60_000)):
        notes.append(f"{kind.upper()} does not hold this recipe: it was left out")
    elif description is not None:
        options["exif"] = Image.Exif()
        options["exif"][IMAGE_DESCRIPTION] = description
    pixels = picture.pixels if picture.channels > 1 else picture.pixels[:, :, 0]
    image = Image.fromarray(pixels)
    if kind == "webp" and picture.channels < 3:
        image = image.convert("RGBA" if picture.has_alpha else "RGB")
    buffer = io.BytesIO()  # Pillow would hide a full disk behind an error of its own
    image.save(buffer, kind.upper(), **options)
    file.write(buffer.getbuffer())
    return tuple(notes)
