"""Files that an image tool meets in the wild or at the hand of somebody unkind, each with what `load` must say.

Everything is generated here, byte by byte where no library would write it, so that nothing has to be vendored.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

ORIENTATION = 0x0112
HAS_OPENEXR = importlib.util.find_spec("OpenEXR") is not None


@dataclass(frozen=True)
class Hostile:
    """One input: what `load` ("picture" or "refused") must end in. A picture may still be too small for a model."""

    name: str
    path: Path | str
    expect: str
    note: str = ""


def texture(height: int, width: int, channels: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """Noise (h, w, c) over the whole range of an integer type, or in [0, 1] for a float type."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random((height, width, channels)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"", interlaced: int = 0
) -> bytes:
    """A PNG with these rows (filter bytes included) and these further chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def plain_png16(pixels: np.ndarray, extra: bytes = b"") -> bytes:
    """A 16-bit PNG of pixels (h, w, c), without filters: the simplest writer there can be, to check ours against."""
    height, width, channels = pixels.shape
    rows = np.pad(pixels.astype(">u2").reshape(height, -1).view(np.uint8), ((0, 0), (1, 0)))
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows.tobytes(), extra)


def lzw(data: bytes) -> bytes:
    """TIFF's LZW without any compression: a clear code before the codes would grow beyond 9 bits."""
    bits = ""
    for start in range(0, len(data), 250):
        bits += format(256, "09b") + "".join(format(byte, "09b") for byte in data[start : start + 250])
    bits += format(257, "09b")
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def raw_tiff(strip: bytes, tags: dict[int, tuple[int, Sequence[int]]], order: str = "<") -> bytes:
    """A one-strip TIFF from its tags: number -> (type 3 short or 4 long, values). The strip's tags are added here."""
    tags = {273: (4, [8]), 279: (4, [len(strip)]), **tags}
    body = strip + bytes(len(strip) % 2)
    start = 8 + len(body)
    entries, outside = struct.pack(order + "H", len(tags)), b""
    for number, (kind, values) in sorted(tags.items()):
        data = struct.pack(order + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(data) > 4:
            data, moved = struct.pack(order + "I", start + 6 + 12 * len(tags) + len(outside)), data
            outside += moved
        entries += struct.pack(order + "HHI", number, kind, len(values)) + data.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", start) + body + entries + struct.pack(order + "I", 0) + outside


def lzw_tiff16(pixels: np.ndarray, *, order: str = "<", alpha: int = 2, photometric: int | None = None) -> bytes:
    """A 16-bit LZW TIFF of pixels (h, w, c), as most picture editors save it."""
    height, width, channels = pixels.shape
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [16] * channels), 259: (3, [5]),
        262: (3, [(1 if channels < 3 else 2) if photometric is None else photometric]),
        277: (3, [channels]), 278: (4, [height]), 284: (3, [1]),
    }  # fmt: skip
    if channels in (2, 4) and photometric is None:
        tags[338] = (3, [alpha])
    return raw_tiff(lzw(pixels.astype(order + "u2").tobytes()), tags, order)


def tiff_of(pixels: np.ndarray, **options: Any) -> bytes:
    """A TIFF by tifffile."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file by Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def profile(space: str = "sRGB") -> bytes:
    """A small correct colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # type: ignore[arg-type]


Planes = Mapping[str, np.ndarray]  # channel -> samples (h, w) of uint32, float16 or float32


def exr(
    *parts: Planes, tile: tuple[int, int] | None = None, levels: int = 1, corner: tuple[int, int] = (0, 0),
    changed: Mapping[str, bytes] | None = None, flags: int = 0, pieces: Mapping[int, bytes] | None = None,
) -> bytes:  # fmt: skip
    """An uncompressed OpenEXR file of these parts, after "OpenEXR File Layout" and no library.

    tile and levels: in tiles (height, width), with so many sizes of a mip map. changed: values of attributes to write
    instead; pieces: entries of the table to write instead. Both are how a file lies.
    """
    many = len(parts) > 1
    version = 2 | flags | (0x200 if tile and not many else 0) | (0x1000 if many else 0)
    headers = b"".join(_exr_header(part, i, tile, levels, corner, changed or {}, many) for i, part in enumerate(parts))
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", version) + headers + (b"\0" if many else b"")
    bodies = [
        (struct.pack("<i", i) if many else b"") + piece
        for i, part in enumerate(parts)
        for piece in _exr_pieces(part, tile, levels, corner[0])
    ]
    starts = itertools.accumulate(map(len, bodies), initial=len(head) + 8 * len(bodies))
    table = [struct.pack("<Q", start) for start, _ in zip(starts, bodies, strict=False)]
    for i, entry in (pieces or {}).items():
        table[i] = entry
    return head + b"".join(table) + b"".join(bodies)


def _exr_header(
    part: Planes, number: int, tile: Any, levels: int, corner: tuple[int, int], changed: Mapping[str, bytes], many: bool
) -> bytes:
    height, width = next(iter(part.values())).shape
    types = {"uint32": 0, "float16": 1, "float32": 2}
    channels = b"".join(
        name.encode() + b"\0" + struct.pack("<iIii", types[plane.dtype.name], 0, 1, 1)
        for name, plane in sorted(part.items())
    )
    n_pieces = len(_exr_pieces(part, tile, levels, 0))
    box = struct.pack("<4i", corner[1], corner[0], corner[1] + width - 1, corner[0] + height - 1)
    attributes: dict[str, tuple[str, bytes]] = {
        "channels": ("chlist", channels + b"\0"),
        "chunkCount": ("int", struct.pack("<i", n_pieces)),
        "compression": ("compression", b"\0"),
        "dataWindow": ("box2i", box),
        "displayWindow": ("box2i", box),
        "lineOrder": ("lineOrder", b"\0"),
        "name": ("string", b"part%d" % number),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", bytes(8)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
        "type": ("string", b"tiledimage" if tile else b"scanlineimage"),
    }
    if tile:
        attributes["tiles"] = ("tiledesc", struct.pack("<IIB", tile[1], tile[0], 1 if levels > 1 else 0))
    if not many:
        del attributes["name"], attributes["chunkCount"], attributes["type"]
    attributes |= {name: (attributes.get(name, ("string",))[0], value) for name, value in changed.items()}
    found = (f"{name}\0{kind}\0".encode() + struct.pack("<I", len(v)) + v for name, (kind, v) in attributes.items())
    return b"".join(found) + b"\0"


def _exr_pieces(part: Planes, tile: tuple[int, int] | None, levels: int, top: int) -> list[bytes]:
    """Rows, or the tiles of every level, in the table's order, each with what stands before it."""
    found = []
    planes = [plane for _, plane in sorted(part.items())]
    for level in range(levels):
        height, width = (max(1, side >> level) for side in planes[0].shape)
        smaller = [plane[:: 2**level, :: 2**level][:height, :width] for plane in planes]
        high, wide = tile or (1, width)
        for y, x in itertools.product(range(0, height, high), range(0, width, wide)):
            rows = range(y, min(y + high, height))
            data = b"".join(plane[row, x : x + wide].tobytes() for row in rows for plane in smaller)
            place = struct.pack("<4i", x // wide, y // high, level, level) if tile else struct.pack("<i", top + y)
            found.append(place + struct.pack("<I", len(data)) + data)
    return found


def planes_of(names: str, dtype: Any = np.float16, height: int = 9, width: int = 11) -> dict[str, np.ndarray]:
    """Noise for each of the channels, for `exr`: floats in [0, 1], or integers of 16 bits."""
    if np.dtype(dtype) == np.uint32:
        pixels = texture(height, width, len(names), np.uint16).astype(np.uint32)
    else:
        pixels = texture(height, width, len(names), dtype)
    return {name: np.ascontiguousarray(pixels[:, :, i]) for i, name in enumerate(names)}


def make_hostile(folder: Path) -> list[Hostile]:
    """Write the files into `folder`; the list of them all."""
    found: list[Hostile] = []

    def add(name: str, data: bytes, expect: str, note: str = "") -> None:
        path = folder / name
        path.write_bytes(data)
        found.append(Hostile(name, path, expect, note))

    _add_modes(add)
    _add_shapes(add)
    _add_truncations(add)
    _add_animations(add)
    _add_depths(add)
    _add_floats(add)
    _add_bombs(add)
    _add_exr(add)
    _add_metadata(add)
    _add_strangers(add)
    found += _odd_places(folder)
    return found


def _add_modes(add: Any) -> None:
    rgb = Image.fromarray(texture(24, 20, 3))
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"):
        if mode == "LAB":
            image = Image.frombytes("LAB", rgb.size, texture(24, 20, 3).tobytes())
        elif mode in ("I;16", "I", "F"):
            image = rgb.convert("L").convert("I" if mode == "I;16" else mode).convert(mode)
        else:
            image = rgb.convert("P").convert("PA") if mode == "PA" else rgb.convert(mode)
        label = mode.replace(";", "")
        add(f"mode_{label}.tif", encoded(image, "TIFF"), "picture", f"TIFF of Pillow mode {mode}")
        if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            add(f"mode_{label}.png", encoded(image, "PNG"), "picture")
        if mode in ("1", "L", "RGB", "CMYK", "YCbCr"):
            add(f"mode_{label}.jpg", encoded(image, "JPEG"), "picture")
        if mode in ("1", "L", "P", "RGB"):
            add(f"mode_{label}.bmp", encoded(image, "BMP"), "picture")
    add("transparent_palette.png", encoded(rgb.convert("P"), "PNG", transparency=3), "picture")
    add("grey_key.png", encoded(rgb.convert("L"), "PNG", transparency=7), "picture")
    add("few_bits.png", png(8, 2, 2, 0, b"\0\x1b\xe4\0\x00\xff"), "picture", "2-bit grey")
    add("binary.ppm", b"P6\n2 2\n255\n" + bytes(range(12)), "picture")
    add("deep.ppm", b"P6\n2 2\n65535\n" + bytes(range(24)), "picture")
    add("deep.pgm", b"P5\n2 2\n65535\n" + bytes(range(8)), "picture")
    add("plain.pgm", b"P2\n2 2\n255\n0 1 2 3\n", "picture")
    add("comment.pbm", b"P1\n# a comment\n2 2\n0 1 1 0\n", "picture")
    add("float.pfm", b"Pf\n2 2\n-1.0\n" + np.arange(4, dtype="<f4").tobytes(), "picture")


def _add_shapes(add: Any) -> None:
    for height, width in ((1, 1), (1, 64), (64, 1), (2, 2), (3, 3), (4, 4), (5, 7), (1, 4096), (4096, 1), (1, 65535)):
        add(f"shape_{height}x{width}.png", encoded(Image.fromarray(texture(height, width, 3)), "PNG"), "picture")
    add("shape_0x0.png", png(0, 0, 8, 0, b""), "refused")
    add("shape_0x5.png", png(0, 5, 8, 0, bytes(5)), "refused")
    add("shape_0x0.ppm", b"P6\n0 0\n255\n", "refused")


def _add_truncations(add: Any) -> None:
    rgb = Image.fromarray(texture(40, 40, 3))
    files = {
        "png": encoded(rgb, "PNG"),
        "jpg": encoded(rgb, "JPEG"),
        "webp": encoded(rgb, "WEBP", lossless=True),
        "gif": encoded(rgb.convert("P"), "GIF"),
        "tif": tiff_of(texture(40, 40, 3), photometric="rgb"),
        "bmp": encoded(rgb, "BMP"),
        "ppm": encoded(rgb, "PPM"),
        "exr": exr(planes_of("RGB")),
    }
    for extension, data in files.items():
        for part in (2, 9, 30, len(data) // 3, 3 * len(data) // 4):
            add(f"cut_{part}.{extension}", data[:part], "refused", f"{part} of {len(data)} bytes")
    deep = plain_png16(texture(20, 20, 3, np.uint16))
    add("cut_deep.png", deep[: len(deep) // 2], "refused")
    deflated = tiff_of(texture(20, 20, 3, np.uint16), photometric="rgb", compression="zlib")
    add("cut_deflate.tif", deflated[: len(deflated) // 2], "refused")
    flipped = bytearray(files["png"])
    flipped[len(flipped) // 2] ^= 0xFF
    add("flipped_bit.png", bytes(flipped), "refused", "a checksum is wrong")


def _add_animations(add: Any) -> None:
    frames = [Image.fromarray(texture(16, 16, 3, seed=seed)) for seed in range(4)]
    for kind, extension in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif")):
        add(f"animated.{extension}", encoded(frames[0], kind, save_all=True, append_images=frames[1:]), "picture")


def _add_depths(add: Any) -> None:
    for channels in (1, 2, 3, 4):
        pixels = texture(9, 11, channels, np.uint16)
        add(f"deep_{channels}.png", plain_png16(pixels), "picture")
        photometric = "rgb" if channels > 2 else "minisblack"
        extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
        planar = {"planarconfig": "contig"} if channels > 1 else {}
        add(f"deep_{channels}.tif", tiff_of(pixels.squeeze(), photometric=photometric, **extra, **planar), "picture")
        add(f"lzw_{channels}.tif", lzw_tiff16(pixels), "picture" if channels != 2 else "refused")
    add("lzw_big_endian.tif", lzw_tiff16(texture(9, 11, 3, np.uint16), order=">"), "picture")
    add("lzw_cmyk16.tif", lzw_tiff16(texture(9, 11, 4, np.uint16), photometric=5), "refused", "would be cut to 8 bits")
    add("seven_channels.tif", tiff_of(texture(9, 11, 7), photometric="minisblack", planarconfig="contig"), "picture")
    add("planes.tif", tiff_of(texture(3, 9, 11, np.uint16), photometric="rgb", planarconfig="separate"), "picture")
    add(
        "too_many_channels.tif", tiff_of(texture(9, 11, 40), photometric="minisblack", planarconfig="contig"), "refused"
    )
    add("signed.tif", tiff_of(np.arange(-6, 6, dtype=np.int16).reshape(3, 4)), "refused")
    add("signed_fits.tif", tiff_of(np.arange(12, dtype=np.int32).reshape(3, 4)), "picture")
    add("uint32.tif", tiff_of(np.full((3, 4), 2**31, np.uint32)), "refused")
    add("complex.tif", tiff_of(np.ones((3, 4), np.complex64)), "refused")
    add("volume.tif", tiff_of(texture(4, 9, 11), volumetric=True, photometric="minisblack"), "refused")
    add("white_is_zero.tif", tiff_of(texture(9, 11, 1, np.uint16)[:, :, 0], photometric="miniswhite"), "picture")


def _add_floats(add: Any) -> None:
    good = texture(6, 8, 3, np.float32)
    for name, value, expect in (
        ("nan", np.nan, "refused"), ("inf", np.inf, "refused"), ("minus_inf", -np.inf, "refused"),
        ("huge", 1e30, "picture"), ("negative", -3.5, "picture"), ("tiny", 1e-42, "picture"),
    ):  # fmt: skip
        pixels = good.copy()
        pixels[2, 3, 1] = value
        add(f"float_{name}.tif", tiff_of(pixels, photometric="rgb"), expect)
    add("float16.tif", tiff_of(good.astype(np.float16), photometric="rgb"), "picture")
    add("float64.tif", tiff_of(good.astype(np.float64), photometric="rgb"), "picture")
    add("float64_huge.tif", tiff_of(good.astype(np.float64) * 1e200, photometric="rgb"), "refused")
    add("float_deflate.tif", tiff_of(good, photometric="rgb", compression="zlib"), "picture")


def _add_bombs(add: Any) -> None:
    row = zlib.compressobj(9)
    packed = b"".join([*(row.compress(bytes(2_000_100)) for _ in range(200)), row.flush()])  # 400 MB of zeros
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    png_bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    add("bomb.png", png_bomb, "refused", "20,000 x 20,000 in a few hundred KB")
    add("bomb16.png", png(40_000, 40_000, 16, 6, bytes(99)), "refused")
    add("bomb_side.png", png(2**31 - 1, 2**31 - 1, 8, 2, bytes(99)), "refused")
    add("bomb_inside.png", png(4, 4, 8, 0, bytes(50_000_000)), "picture", "4x4 pixels, and 50 MB behind them")

    def page(width: int, height: int, compression: int = 8, **more: Any) -> dict[int, tuple[int, Sequence[int]]]:
        return {256: (4, [width]), 257: (4, [height]), 258: (3, [16]), 259: (3, [compression]), 262: (3, [1]),
                277: (3, [1]), 278: (4, [height]), **more}  # fmt: skip

    add("bomb.tif", raw_tiff(packed, page(8, 8)), "refused", "an 8x8 picture that unpacks to 400 MB")
    add("lying_size.tif", raw_tiff(bytes(100), page(100_000, 100_000, 1)), "refused")
    add("lying_rows.tif", raw_tiff(bytes(100), page(1000, 1000, 1)), "refused", "100 bytes for two million")
    add("lying_strip.tif", raw_tiff(bytes(100), {**page(4, 4, 1), 279: (4, [2**31])}), "refused")
    tiles = {**page(8, 8), 322: (4, [2**30]), 323: (4, [2**30]), 324: (4, [8]), 325: (4, [100])}
    add("giant_tile.tif", raw_tiff(bytes(100), tiles), "refused")
    samples = {**page(8, 8, 1), 258: (3, [16]), 277: (3, [65535])}
    add("many_samples.tif", raw_tiff(bytes(128), samples), "refused")
    loop = bytearray(tiff_of(texture(4, 4, 1)[:, :, 0]))
    ifd = struct.unpack("<I", loop[4:8])[0]
    n_tags = struct.unpack("<H", loop[ifd : ifd + 2])[0]
    loop[ifd + 2 + 12 * n_tags : ifd + 6 + 12 * n_tags] = loop[4:8]
    add("page_loop.tif", bytes(loop), "picture", "the next page is this page")
    add(
        "bomb.bmp",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
        "refused",
    )
    add("bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"\x3b", "refused")
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x01\x44\0\x3b"
    add("bomb_frame.gif", b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + frame, "refused")
    canvas = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\x7f" + b"\xff\x01\x00"
    add("bomb.webp", b"RIFF" + struct.pack("<I", len(canvas)) + canvas, "refused")
    add("bomb.ppm", b"P6\n99999 99999\n255\n" + bytes(99), "refused")
    add("bomb_digits.ppm", b"P6\n" + b"9" * 5000, "refused")
    texts = b"".join(chunk(b"tEXt", b"k%d\0" % i + bytes(1_000_000).replace(b"\0", b"x")) for i in range(3))
    add("long_texts.png", png(2, 2, 8, 0, bytes(6), texts), "picture", "3 MB of text")
    add("text_bomb.png", png(2, 2, 8, 0, bytes(6), chunk(b"zTXt", b"k\0\0" + packed)), "refused", "zTXt of 400 MB")
    add("profile_bomb.png", png(2, 2, 8, 0, bytes(6), chunk(b"iCCP", b"k\0\0" + packed)), "refused", "iCCP of 400 MB")


def _add_exr(add: Any) -> None:
    good = "picture" if HAS_OPENEXR else "refused"
    add("half.exr", exr(planes_of("RGB")), good)
    add("float_alpha.exr", exr(planes_of("RGBA", np.float32)), good)
    add("grey_alpha.exr", exr(planes_of("YA")), good)
    add("numbers.exr", exr(planes_of("Z", np.uint32)), good, "32-bit integers that 16 bits hold")
    add("mixed.exr", exr(planes_of("RGB") | planes_of("Z", np.float32) | planes_of("N", np.uint32)), good)
    add("tiled.exr", exr(planes_of("RGB"), tile=(4, 8)), good)
    add("mip_map.exr", exr(planes_of("RGB"), tile=(4, 8), levels=4), good)
    add("window.exr", exr(planes_of("RGB"), corner=(-5, 2**30)), good, "a corner far from 0")
    add("parts.exr", exr(planes_of("RGB"), planes_of("Z", np.float32, 3, 5)), good)
    add("giant_tile.exr", exr(planes_of("Y"), tile=(2**30, 2**30)), good, "one tile, cut to the picture")
    add("giant_text.exr", exr(planes_of("Y"), changed={"texsyn": b"[" * 2**20}), good)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        planes = planes_of("RGB")
        planes["G"][3, 4] = value
        add(f"{name}.exr", exr(planes), "refused")
    add("numbers_beyond.exr", exr({"Z": np.full((3, 4), 2**20, np.uint32)}), "refused")
    add("numbers_beside.exr", exr(planes_of("Y") | {"Z": np.full((9, 11), 2**25, np.uint32)}), "refused")
    add("many_channels.exr", exr(planes_of("ABCDEFGHIJKLMNOPQ")), "refused")
    add("no_channels.exr", exr(planes_of("Y"), changed={"channels": b"\0"}), "refused")
    add("cut_channels.exr", exr(planes_of("Y"), changed={"channels": b"Y\0\1"}), "refused")
    half = struct.pack("<iIii", 1, 0, 1, 1)
    add("twice.exr", exr(planes_of("Y"), changed={"channels": b"Y\0" + half + b"Y\0" + half + b"\0"}), "refused")
    thin = b"Y\0" + struct.pack("<iIii", 1, 0, 2, 2) + b"\0"
    add("thin.exr", exr(planes_of("Y"), changed={"channels": thin}), "refused", "a channel of half the size")
    add("strange.exr", exr({"\x1b[31m\n": planes_of("Y")["Y"]}), good, "a name that would colour the terminal")
    add("deep.exr", exr(planes_of("Y"), flags=0x800, changed={"type": b"deepscanline"}), "refused")
    add("future.exr", exr(planes_of("Y"), flags=0x4000), "refused")
    add("unknown_packing.exr", exr(planes_of("Y"), changed={"compression": b"\x63"}), "refused")
    for code in range(3, 10):  # 1 and 2 store such rows as they are
        add(f"packing_{code}.exr", exr(planes_of("Y"), changed={"compression": bytes([code])}), "refused", "it is none")
    add("unfinished.exr", exr(planes_of("Y"), pieces={5: bytes(8)}), "refused", "as a writer that was killed leaves it")
    add("lying_table.exr", exr(planes_of("Y"), pieces={5: struct.pack("<Q", 2**63)}), "refused")
    first = struct.pack("<Q", len(exr(planes_of("Y"))) - 9 * (8 + 22))
    add("lying_order.exr", exr(planes_of("Y"), pieces={5: first}), "refused", "one piece for two places")
    for name, box in (
        ("bomb.exr", (0, 0, 2**31 - 1, 2**31 - 1)), ("bomb_all.exr", (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1)),
        ("lying_size.exr", (0, 0, 9999, 9999)), ("bomb_row.exr", (0, 0, 2**27 - 1, 0)), ("bomb_back.exr", (5, 5, 0, 0)),
    ):  # fmt: skip
        add(name, exr(planes_of("Y"), changed={"dataWindow": struct.pack("<4i", *box)}), "refused")
    no_tiles = exr(planes_of("Y"), tile=(4, 4), changed={"tiles": struct.pack("<IIB", 0, 0, 0)})
    add("bomb_tiles.exr", no_tiles, "refused", "tiles of no pixels")
    data = exr(planes_of("Y"), changed={"owner": b"x" * 9})
    at = data.index(b"owner\0string\0") + len(b"owner\0string\0")
    add("bomb_attribute.exr", data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :], "refused", "an attribute of 2 GB")
    many = b"".join(b"a%d\0int\0" % i + struct.pack("<II", 4, 0) for i in range(10_000))
    add("bomb_attributes.exr", data[:8] + many + data[8:], "refused")


def _add_metadata(add: Any) -> None:
    rgb = Image.fromarray(texture(12, 8, 3))
    exif = Image.Exif()
    for orientation in (*range(1, 9), 99):
        exif[ORIENTATION] = orientation
        for kind, extension in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")):
            add(f"turned_{orientation}.{extension}", encoded(rgb, kind, exif=exif), "picture")
    add("broken_exif.jpg", encoded(rgb, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(20)), "picture")
    garbage = b"not a profile" * 40
    for kind, extension in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("TIFF", "tif")):
        add(f"profile_garbage.{extension}", encoded(rgb, kind, icc_profile=garbage), "picture")
        add(f"profile.{extension}", encoded(rgb, kind, icc_profile=profile()), "picture")
    add("profile_of_another_space.png", encoded(rgb.convert("L"), "PNG", icc_profile=profile()), "picture")
    add("profile_wrong_in_cmyk.jpg", encoded(rgb.convert("CMYK"), "JPEG", icc_profile=profile()), "picture")
    info = PngImagePlugin.PngInfo()
    info.add_itxt("texsyn", "[" * 100_000)
    add("nested_recipe.png", encoded(rgb, "PNG", pnginfo=info), "picture", "a recipe that would exhaust the stack")


def _add_strangers(add: Any) -> None:
    add("empty.png", b"", "refused")
    add("one_byte.png", b"\x89", "refused")
    add("text.png", b"I am a text file, whatever my name says.\n", "refused")
    add("bmw.txt", b"BMW is a car\n", "refused", "starts like a BMP")
    add("drawing.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "refused")
    add("document.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "refused")
    add("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "refused")
    add("scene.exr", b"\x76\x2f\x31\x01" + bytes(100), "refused")
    add("phone.heic", b"\0\0\0\x18ftypheic" + bytes(100), "refused")
    add("archive.zip", b"PK\x03\x04" + bytes(100), "refused")
    add("zeros.png", bytes(4096), "refused")
    add("noise.jpg", b"\xff\xd8\xff\xe0" + texture(1, 3000, 1).tobytes(), "refused")
    add("noise.tif", b"II*\0\x08\0\0\0" + texture(1, 3000, 1).tobytes(), "refused")
    add("noise.webp", b"RIFF\0\x10\0\0WEBPVP8 " + texture(1, 3000, 1).tobytes(), "refused")
    add("jpeg_named.png", encoded(Image.fromarray(texture(8, 8, 3)), "JPEG"), "picture", "the name lies")
    good = encoded(Image.fromarray(texture(8, 8, 3)), "PNG")
    for name in ("naïve 纹理 🌿.png", "two\nlines.png", "-o.png", " leading and trailing .png", "x" * 251 + ".png"):
        add(name, good, "picture", "an unusual name")
    add("bad\nname.png", b"", "refused", "the error must stay on one line")
    add("\x1b[31mred.png", b"", "refused", "the error must not colour the terminal")
    add(os.fsdecode(b"bad\xff.png"), b"", "refused", "not UTF-8")


def _odd_places(folder: Path) -> list[Hostile]:
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "linked.png").symlink_to("shape_5x7.png")
    secret = folder / "secret.png"
    secret.write_bytes(encoded(Image.fromarray(texture(8, 8, 3)), "PNG"))
    secret.chmod(0)
    readable = "picture" if os.access(secret, os.R_OK) else "refused"  # root may read everything
    return [
        Hostile("folder", folder / "folder.png", "refused"),
        Hostile("pipe", folder / "pipe.png", "refused", "opening it would wait for ever"),
        Hostile("loop", folder / "loop.png", "refused"),
        Hostile("dangling", folder / "dangling.png", "refused"),
        Hostile("linked", folder / "linked.png", "picture"),
        Hostile("secret", secret, readable),
        Hostile("missing", folder / "missing.png", "refused"),
        Hostile("missing folder", folder / "no" / "such.png", "refused"),
        Hostile("nul", f"{folder}/a\0b.png", "refused", "a NUL in the name"),
        Hostile("name too long", folder / ("y" * 300 + ".png"), "refused"),
        Hostile("endless", "/dev/zero", "refused"),
        Hostile("null device", "/dev/null", "refused"),
    ]
