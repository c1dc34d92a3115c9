"""Pictures by way of Pillow: PNG, JPEG, WebP, GIF, BMP and PPM, and the TIFFs that need libtiff.

Pillow's classes are called for these formats and no others. Where Pillow would lose something (the low bytes of 16-bit
samples, a transparent colour, the indices of a palette) it is got back here or by `png16`. What had to be changed
(CMYK, an animation, an EXIF rotation) is said in the picture's notes.
"""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from texsyn.images import png16
from texsyn.images.picture import InputError, Picture, check_limit, from_array

ORIENTATION = 0x0112  # the EXIF and TIFF tag


def read_pillow(file: BinaryIO, kind: str, max_pixels: int) -> Picture:
    """A picture by way of Pillow: every format but TIFF, and the TIFFs that tifffile cannot decode alone."""
    image = open_pillow(file, kind, max_pixels)
    check_limit(image.height, image.width, len(image.getbands()), max_pixels)
    notes: list[str] = []
    if getattr(image, "is_animated", False) and kind != "TIFF":
        notes.append("only the first frame of an animated file is used")

    depth = 8
    pixels: np.ndarray | None = None
    if kind == "PNG":
        header = png16.read_header(file)
        depth = header.depth
        if depth == 16:
            pixels, image = png16.read_samples(file, header)
    elif kind == "PPM" and image.mode == "RGB" and image.tile[0].codec_name.startswith("ppm"):
        pixels = _read_deep_ppm(file, image)  # None when it is not deep
    elif kind == "TIFF" and not image.mode.startswith("I") and ";16" in str(image.tile[0].args):
        pixels, image = _read_deep_tiff(file, image, max_pixels)

    palette = indices = None
    icc_profile = image.info.get("icc_profile")
    if pixels is None:
        image.load()
        if image.mode == "P":
            indices = np.asarray(image)
            palette = _palette_of(image, int(indices.max()) + 1)
            pixels = palette[indices]
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            pixels, note = _to_rgb(image, icc_profile)
            icc_profile = None  # it described the other colour space
            notes.append(note)
        elif image.mode in ("1", "RGBX", "RGBa", "La", "PA"):
            plain = {"1": "L", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA", "PA": "RGBA"}[image.mode]
            pixels = np.asarray(image.convert(plain))
        elif image.mode == "I":
            pixels = np.asarray(image).astype(np.uint16)  # only PGM comes so, with codes up to 65535
        else:
            pixels = np.asarray(image)
    pixels = _with_transparent_colour(pixels, image, depth)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]

    pixels, turn_note = _upright(pixels, image)
    if indices is not None:
        indices, _ = _upright(indices, image)
    picture = from_array(pixels, icc_profile=icc_profile, notes=(*notes, *turn_note))
    return replace(picture, palette=palette, indices=indices)


def open_pillow(file: BinaryIO, kind: str, max_pixels: int) -> Any:
    """Pillow's image with only its header read. The class is called directly: Image.open() would bring in a limit and
    a warning of its own, and formats that are not in our list."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.PpmImagePlugin import PpmImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    file.seek(0)
    if kind == "WEBP":  # whose class allocates its canvas at once
        width, height = _webp_size(file.read(30))
        check_limit(height, width, 4, max_pixels)
        file.seek(0)
    classes: dict[str, Any] = {
        "PNG": PngImageFile, "JPEG": JpegImageFile, "WEBP": WebPImageFile, "GIF": GifImageFile,
        "BMP": BmpImageFile, "TIFF": TiffImageFile, "PPM": PpmImageFile,
    }  # fmt: skip
    return classes[kind](file)


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height from the first 30 bytes of a WebP file (RFC 9649, sections 2.5 to 2.7)."""
    if len(head) == 30 and head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if len(head) == 30 and head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if len(head) == 30 and head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    raise InputError("the WebP header is missing or cut off")


def _palette_of(image: Any, n_used: int) -> np.ndarray:
    """The colours (n, 3) of a palette image, or (n, 4) when some are transparent; used but missing ones are black."""
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 3] = 255
    names = "RGBA" if image.palette.mode == "RGBA" else "RGB"
    colours = np.array(image.getpalette(names), np.uint8).reshape(-1, len(names))[:256]
    palette[: len(colours), : len(names)] = colours
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        palette[: len(transparency), 3] = np.frombuffer(transparency[:256], np.uint8)
    elif transparency is not None:
        palette[transparency, 3] = 0
    palette = palette[: max(len(colours), n_used)]
    return palette if (palette[:, 3] < 255).any() else np.ascontiguousarray(palette[:, :3])


def _to_rgb(image: Any, icc_profile: bytes | None) -> tuple[np.ndarray, str]:
    """Pixels (h, w, 3) of an image in another colour space, by its profile where it has a good one."""
    from PIL import ImageCms

    if icc_profile and image.mode == "CMYK":
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(icc_profile), srgb, outputMode="RGB")
            return np.asarray(converted), "CMYK converted to sRGB by the file's colour profile"
    return np.asarray(image.convert("RGB")), f"{image.mode} converted to RGB without a colour profile"


def _with_transparent_colour(pixels: np.ndarray, image: Any, depth: int) -> np.ndarray:
    """Pixels with an alpha channel when the file (PNG, GIF) declares one grey or colour transparent."""
    key = image.info.get("transparency")
    if key is None or isinstance(key, bytes) or image.mode not in ("1", "L", "RGB", "I;16"):
        return pixels
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if depth < 8 and image.mode == "L":
        key = key * 255 // (2**depth - 1)  # Pillow scales the pixels and forgets the key
    top = np.iinfo(pixels.dtype).max
    alpha = np.where((pixels == np.atleast_1d(key)).all(axis=2), 0, top).astype(pixels.dtype)
    return np.concatenate([pixels, alpha[:, :, None]], axis=2)


def _upright(pixels: np.ndarray, image: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels turned as the EXIF orientation says, and a note when that changed something."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # the pixels are good: no reason to refuse the picture
        return pixels, ("damaged EXIF data was left out",)
    return turn(pixels, orientation)


def turn(pixels: np.ndarray, orientation: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels turned and mirrored as an EXIF orientation says, and a note if that changed anything."""
    across = pixels.swapaxes(0, 1)
    turned = {
        2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1],
    }  # fmt: skip
    if orientation not in turned:
        return pixels, ()
    return turned[orientation], ("turned upright as its EXIF orientation says",)


def _read_deep_ppm(file: BinaryIO, image: Any) -> np.ndarray | None:
    """Samples (h, w, 3) uint16 of a binary PPM with more than 8 bits, which Pillow would cut to 8; else None."""
    tile, maximum = image.tile[0], int(image.tile[0].args[1])
    if maximum <= 255:
        return None
    file.seek(0)
    if file.read(2) != b"P6":
        raise InputError("is a plain-text PPM of more than 8 bits; save it as binary PPM or 16-bit PNG")
    file.seek(tile.offset)
    n_bytes = image.height * image.width * 6
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise InputError(f"the PPM file is cut off: it has {len(data)} of {n_bytes} bytes of pixels")
    samples = np.frombuffer(data, ">u2").reshape(image.height, image.width, 3).astype(np.uint64)
    return np.minimum((samples * 65535 * 2 + maximum) // (2 * maximum), 65535).astype(np.uint16)


def _read_deep_tiff(file: BinaryIO, image: Any, max_pixels: int) -> tuple[np.ndarray, Any]:
    """Samples (h, w, c) uint16 of an RGB(A) TIFF in a compression that only libtiff knows (LZW, say).

    Pillow keeps one byte of each sample; asked for the other byte order it keeps the other (see `png16`).
    """
    rawmode = str(image.tile[0].args[0])
    if rawmode not in ("RGB;16N", "RGBX;16N", "RGBA;16N", "RGBa;16N"):
        raise InputError(f"is a 16-bit TIFF laid out as {rawmode}, which is not read here; save it without compression")
    planes = []
    for order in "LB" if sys.byteorder == "little" else "BL":
        image = open_pillow(file, "TIFF", max_pixels)
        plain = f"{rawmode[:-4].upper()};16{order}"
        image.tile = [tile._replace(args=(plain, *tile.args[1:])) for tile in image.tile]
        image.load()
        planes.append(np.asarray(image).astype(np.uint16))
    pixels = planes[0] << 8 | planes[1]
    return unpremultiplied(pixels) if rawmode.startswith("RGBa") else pixels, image


def unpremultiplied(pixels: np.ndarray) -> np.ndarray:
    """Colours divided by the last channel, alpha; 0 where alpha is 0. Integer colours are rounded and clipped."""
    colour, alpha = pixels[:, :, :-1].astype(np.float64), pixels[:, :, -1:].astype(np.float64)
    top = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    divided = np.divide(colour * top, alpha, out=np.zeros_like(colour), where=alpha > 0)
    if pixels.dtype.kind != "f":
        divided = np.clip(np.floor(divided + 0.5), 0, top)
    return np.concatenate([divided.astype(pixels.dtype), pixels[:, :, -1:]], axis=2)
