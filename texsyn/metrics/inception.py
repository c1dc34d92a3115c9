"""Inception features of pictures: from pixels to the network's input, and from there to vectors with their record.

The network, its two sets of weights and its taps are texsyn.inception's. How a picture becomes 299x299 changes FID by
several per cent, and so has a name (`RESIZES`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.images import InputError, Picture, from_unit, to_unit
from texsyn.inception import CLASSES, TAPS, Inception, from_state_dict, inception, max_by_two, mean_of_nine

__all__ = [
    "CLASSES", "RESIZES", "SIDE", "TAPS", "Features", "Inception", "exact", "features", "from_state_dict", "inception",
    "max_by_two", "mean_of_nine", "require_comparable", "resized", "rgb8",
]  # fmt: skip

SIDE = 299  # of the network's input

# ------------------------------------------------------------------------------------------- from pictures to input


def rgb8(picture: Picture | np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels (h, w, 3) uint8 of one picture, and notes on what was changed for it.

    Arrays are uint8 (h, w, 3), (h, w, 1) or (h, w). Grey is repeated, deeper pictures are rounded to 8 bits. Alpha is
    dropped where it is opaque and refused where not: the score would be that of a background that nobody chose.
    """
    notes: list[str] = []
    named = ""
    if isinstance(picture, Picture):
        pixels, mode, named = picture.pixels, picture.mode, f"{picture.name}: "
    else:
        pixels = np.asarray(picture)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise InputError(
                f"pixels of type {pixels.dtype} and shape {pixels.shape} are not uint8 (height, width, 3); "
                "texsyn.images.from_unit makes codes of values in [0, 1]"
            )
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(pixels.shape[2], "multi")
    if mode == "multi":
        raise InputError(
            f"{named}a picture of {pixels.shape[2]} channels without a meaning has no Inception features; give RGB"
        )
    if mode in ("LA", "RGBA"):
        if (pixels[:, :, -1] < (1.0 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max)).any():
            raise InputError(
                f"{named}pictures with transparent pixels have no Inception features; lay them on a background"
            )
        pixels = pixels[:, :, :-1]
        notes.append("its opaque alpha channel was left out")
    if pixels.dtype != np.uint8:
        notes.append(f"{pixels.dtype} values were rounded, and clipped, to 8 bits")
        pixels = from_unit(to_unit(pixels), np.uint8)
    if pixels.shape[2] == 1:
        notes.append("grey was repeated to three channels")
        pixels = pixels.repeat(3, axis=2)
    return np.ascontiguousarray(pixels), tuple(notes)


def _bilinear_tf1(x: Tensor, side: int) -> Tensor:
    """TensorFlow 1's bilinear: the source of pixel i is i * in / out, without the half pixel, without antialiasing.

    Positions are exact fractions here and float32 in TensorFlow, which moves them by up to 1e-5 pixels.
    """
    for axis in (3, 2):
        n = x.shape[axis]
        at = torch.arange(side) * n
        low, part = at // side, (at % side).to(x.dtype) / side
        high = (low + 1).clamp(max=n - 1)
        part = part if axis == 3 else part[:, None]
        below = x.index_select(axis, low)
        x = below + (x.index_select(axis, high) - below) * part
    return x


def _reference(pixels: np.ndarray, side: int) -> Tensor:
    return (_bilinear_tf1(_planes(pixels), side) - 128) / 128


def _pytorch_fid(pixels: np.ndarray, side: int) -> Tensor:
    x = F.interpolate(_planes(pixels) / 255, (side, side), mode="bilinear", align_corners=False)
    return 2 * x - 1


def _clean(pixels: np.ndarray, side: int) -> Tensor:
    from PIL import Image

    channels = [Image.fromarray(pixels[:, :, c].astype(np.float32)) for c in range(3)]  # mode "F": not rounded between
    resized = [np.asarray(c.resize((side, side), Image.Resampling.BICUBIC)) for c in channels]
    return (torch.from_numpy(np.stack(resized))[None].clamp(0, 255) - 128) / 128


def _planes(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]  # a copy: pixels may be read-only


#: how a picture becomes the network's input, by name: that of TensorFlow, StyleGAN and torch-fidelity; pytorch-fid's;
#: clean-fid's (Pillow's antialiased bicubic in floats). White is 0.992 in the first and the last, 1 in pytorch-fid's.
RESIZES: dict[str, Callable[[np.ndarray, int], Tensor]] = {
    "reference": _reference, "pytorch-fid": _pytorch_fid, "clean": _clean
}  # fmt: skip


def resized(pixels: np.ndarray, mode: str = "reference", side: int = SIDE) -> Tensor:
    """The network's input (1, 3, side, side) float32 of pixels (h, w, 3) uint8.

    >>> dark_to_light = np.array([0, 64, 128, 192], np.uint8).repeat(3).reshape(1, 4, 3)
    >>> resized(dark_to_light, "reference", 2)[0, 0, 0].tolist()  # pixels 0 and 2: nothing is averaged
    [-1.0, 0.0]
    """
    if mode not in RESIZES:
        raise ValueError(f"resize={mode!r} is not one of {', '.join(RESIZES)}")
    return RESIZES[mode](pixels, side)


# ----------------------------------------------------------------------------------------------------- the features


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors of n pictures with all that decides what they may be compared with.

    values (n, d) float32 on the CPU; weights is "fid" or "torchvision"; notes say what was changed in pictures, each
    with how many it was.
    """

    values: Tensor
    tap: str
    weights: str
    sha256: str
    resize: str
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[str, ...]:
        """What must be equal for two sets of features to be comparable."""
        return self.tap, self.weights, self.sha256, self.resize

    def record(self) -> dict[str, Any]:
        """JSON-able: what belongs next to any number made of these features."""
        n, d = self.values.shape
        names = ("tap", "weights", "sha256", "resize")
        return dict(zip(names, self.kind, strict=True)) | {"n": n, "d": d, "notes": list(self.notes)}


def require_comparable(x: Features, y: Features) -> None:
    """ValueError where features come from different taps, weights or resizers."""
    if x.kind != y.kind:
        raise ValueError(f"features of {' '.join(x.kind)} cannot be compared with those of {' '.join(y.kind)}")


def features(
    net: Inception,
    pictures: Iterable[Picture | np.ndarray] | np.ndarray,
    taps: Sequence[str] = ("2048",),
    *,
    resize: str = "reference",
    batch: int = 16,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Features]:
    """The vectors of each picture at each tap, in one pass.

    pictures: uint8 (n, h, w, 3), or Pictures and arrays (h, w, 3) of any sizes, taken `batch` at a time, so that a
    generator of files needs little memory: about 15 MB a picture of the batch. on_progress gets how many are done.
    A value depends on the batch's size by rounding only. ValueError: an unknown tap or resize; InputError: unusable
    pictures, or none.
    """
    if not taps or any(tap not in TAPS or tap.endswith("pre") for tap in taps):
        raise ValueError(f"taps={list(taps)} must be among 64, 192, 768, 2048 and logits")
    if resize not in RESIZES:
        raise ValueError(f"resize={resize!r} is not one of {', '.join(RESIZES)}")
    if batch < 1:
        raise ValueError(f"batch={batch} must be at least 1")
    if isinstance(pictures, Picture) or (isinstance(pictures, np.ndarray) and pictures.ndim != 4):
        raise InputError("give several pictures: a list, or an array (n, height, width, 3)")
    device = next(net.parameters()).device
    parts: dict[str, list[Tensor]] = {tap: [] for tap in taps}
    counts: dict[str, int] = {}
    source, done = iter(pictures), 0
    while some := list(islice(source, batch)):
        inputs = []
        for picture in some:
            pixels, notes = rgb8(picture)
            inputs.append(resized(pixels, resize))
            for note in notes:
                counts[note] = counts.get(note, 0) + 1
        with exact(), torch.inference_mode():
            for tap, values in net(torch.cat(inputs).to(device), taps).items():
                parts[tap].append(_finite(values).cpu())
        done += len(some)
        if on_progress is not None:
            on_progress(done)
    if not done:
        raise InputError("there are no pictures")
    said = tuple(f"{note} ({n} of {done})" for note, n in counts.items())
    return {tap: Features(torch.cat(v).clone(), tap, net.kind, net.sha256, resize, said) for tap, v in parts.items()}


@contextmanager
def exact() -> Iterator[None]:
    """Inside, products on a GPU keep float32's 24 bits: TF32 has 11, and statistics are differences of features."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _finite(values: Tensor) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise FloatingPointError("Inception features are not finite: these weights overflow on this picture")
    return values
