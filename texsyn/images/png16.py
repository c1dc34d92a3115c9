"""PNG beyond what Pillow holds: 16-bit grey+alpha, RGB and RGBA, and the text chunks beside the pixels.

Reading. Pillow undoes the row filters and the interlacing of 16-bit rows in C, then keeps one byte of each sample.
Which byte is a matter of the raw mode it is asked for, so two passes give both and nothing is unfiltered here:
``RGB;16B`` (big endian, as the file is) keeps the high bytes, ``RGB;16L`` keeps the low ones. A 16-bit grey+alpha
row is byte for byte an 8-bit RGBA row, so one pass does.

Writing. All PNGs are written here, 8 and 16 bit alike: the bytes then do not depend on Pillow's version, and a full
disk is reported by the write that met it. Filters are chosen per row by the smallest sum of absolute values, as the
PNG specification (3rd edition, section 12.7) recommends.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> the file's colour type; a palette is 3
_BLOCK_BYTES = 1 << 20  # rows are filtered and compressed about a megabyte at a time
_MAX_CHUNKS = 1 << 18  # a real file of 2 Gpx in 8 KiB pieces still has fewer


@dataclass(frozen=True)
class Header:
    """What the IHDR chunk says: sides in pixels, bits per sample, colour type (0, 2, 3, 4 or 6)."""

    width: int
    height: int
    depth: int
    colour: int


def read_header(file: BinaryIO) -> Header:
    """The header of the PNG that starts at the beginning of `file`. ValueError when there is none."""
    file.seek(0)
    head = file.read(26)
    if len(head) < 26 or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        raise ValueError("the PNG header is missing or cut off")
    return Header(*struct.unpack(">IIBB", head[16:26]))


def read_samples(file: BinaryIO, header: Header) -> tuple[np.ndarray, Any]:
    """Samples (h, w, c) uint16 of a 16-bit PNG, and the Pillow image (for its metadata; its own pixels are useless).

    Costs two Pillow decodings for colour, one for grey. Raises what Pillow raises on broken data.
    """
    if header.colour == 0:
        image = _decode(file, None)
        return np.asarray(image, dtype=np.uint16)[:, :, None], image
    if header.colour == 4:
        image = _decode(file, "RGBA")  # four bytes: grey high, grey low, alpha high, alpha low
        return np.asarray(image).view(">u2").astype(np.uint16), image
    mode = {2: "RGB", 6: "RGBA"}[header.colour]
    samples = np.asarray(_decode(file, f"{mode};16B")).astype(np.uint16) << 8
    image = _decode(file, f"{mode};16L")
    return samples | np.asarray(image), image


def _decode(file: BinaryIO, rawmode: str | None) -> Any:
    from PIL.PngImagePlugin import PngImageFile

    file.seek(0)
    image = PngImageFile(file)
    if rawmode is not None:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    image.load()
    return image


def write(
    file: BinaryIO,
    pixels: np.ndarray,
    *,
    palette: np.ndarray | None = None,
    icc_profile: bytes | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write `pixels` (h, w, 1..4) uint8 or uint16 to `file`, in order, without seeking.

    With `palette` (n <= 256, 3 or 4) uint8, `pixels` (h, w, 1) are indices into it. `texts` become uncompressed iTXt
    chunks, keyword -> text, before the pixels.

    >>> import io
    >>> buffer = io.BytesIO()
    >>> write(buffer, np.zeros((2, 3, 4), np.uint16), texts={"note": "hello"})
    >>> read_header(buffer), read_text(buffer, "note")
    (Header(width=3, height=2, depth=16, colour=6), 'hello')
    """
    height, width, channels = pixels.shape
    assert pixels.dtype in (np.uint8, np.uint16), pixels.dtype
    assert palette is None or (channels == 1 and pixels.dtype == np.uint8)
    depth = 8 * pixels.dtype.itemsize
    colour = _COLOUR_TYPE[channels] if palette is None else 3
    file.write(SIGNATURE)
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    if icc_profile is not None:
        _write_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile))
    if palette is not None:
        _write_chunk(file, b"PLTE", palette[:, :3].tobytes())
        if palette.shape[1] == 4:
            _write_chunk(file, b"tRNS", palette[:, 3].tobytes())
    for keyword, text in (texts or {}).items():
        _write_chunk(file, b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode())
    packer = zlib.compressobj(6)
    for rows in _filtered_rows(pixels, choose=palette is None):  # filters do harm to indices
        if packed := packer.compress(rows):
            _write_chunk(file, b"IDAT", packed)
    _write_chunk(file, b"IDAT", packer.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, body: bytes) -> None:
    file.write(struct.pack(">I", len(body)) + kind)
    file.write(body)
    file.write(struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))))


def _filtered_rows(pixels: np.ndarray, *, choose: bool) -> Iterator[bytes]:
    """The picture's rows as PNG wants them, each behind the number of its filter, in blocks."""
    height, width, channels = pixels.shape
    bpp = channels * pixels.dtype.itemsize  # bytes from a sample to the same sample of the next pixel
    step = max(1, _BLOCK_BYTES // (width * bpp))
    above = np.zeros((1, width * bpp), np.uint8)
    for top in range(0, height, step):
        block = pixels[top : top + step]
        block = block.astype(block.dtype.newbyteorder(">")).reshape(len(block), -1).view(np.uint8)  # (rows, bytes)
        if choose:
            yield _choose_filters(block, above, bpp).tobytes()
        else:
            yield np.pad(block, ((0, 0), (1, 0))).tobytes()
        above = block[-1:]


def _choose_filters(block: np.ndarray, above: np.ndarray, bpp: int) -> np.ndarray:
    """Rows (n, 1 + bytes): each behind its filter's number, the filter being the one with the smallest residuals."""
    up = np.concatenate([above, block[:-1]])
    left, corner = np.zeros_like(block), np.zeros_like(block)
    left[:, bpp:], corner[:, bpp:] = block[:, :-bpp], up[:, :-bpp]
    best = np.concatenate([np.zeros((len(block), 1), np.uint8), block], axis=1)
    lowest = _residual_size(block)
    average = (left >> 1) + (up >> 1) + (left & up & 1)  # floor((left + up) / 2) without leaving 8 bits
    for number, predictor in enumerate((left, up, average, _paeth(left, up, corner)), start=1):
        residual = block - predictor  # modulo 256, as the format asks
        size = _residual_size(residual)
        rows = size < lowest
        lowest[rows] = size[rows]
        best[rows, 0] = number
        best[rows, 1:] = residual[rows]
    return best


def _residual_size(residual: np.ndarray) -> np.ndarray:
    return np.minimum(residual, -residual).sum(axis=1, dtype=np.int64)  # |byte read as signed|; -128 counts as 128


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    a, b, c = (x.astype(np.int16) for x in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    best_of_two = np.where(to_left <= to_up, left, up)
    return np.where(np.minimum(to_left, to_up) <= to_corner, best_of_two, corner)


def read_text(file: BinaryIO, keyword: str, *, limit: int = 1 << 22) -> str | None:
    """The text of the first iTXt chunk with that keyword, or None. ValueError when it is longer than `limit` bytes.

    Only chunk heads are read on the way, so it is fast however large the picture; a file that is cut off counts as
    one that ends there.
    """
    file.seek(len(SIGNATURE))
    wanted = keyword.encode("latin-1") + b"\0"
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return None
        length = int.from_bytes(head[:4], "big")
        if head[4:] != b"iTXt":
            file.seek(length + 4, 1)
            continue
        start = file.read(min(length, len(wanted)))
        if start == wanted:
            if length > limit:
                raise ValueError(f"its {keyword!r} text has {length} bytes, at most {limit} are accepted")
            return _text(file.read(length - len(start)), keyword, limit)
        file.seek(length - len(start) + 4, 1)
    return None


def _text(body: bytes, keyword: str, limit: int) -> str | None:
    compressed, rest = body[:1] == b"\1", body[2:]
    fields = rest.split(b"\0", 2)  # language, translated keyword, text
    if len(fields) < 3:
        return None
    text = fields[2]
    if compressed:
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(text, limit)
        except zlib.error:
            return None
        if unpacker.unconsumed_tail:
            raise ValueError(f"its {keyword!r} text unpacks to more than the accepted {limit} bytes")
    return text.decode("utf-8", "replace")
