"""SiFID, the Frechet distance between the features of two single pictures, and rSiFID, which needs no weights.

SiFID is SinGAN's (Shaham, Dekel and Michaeli 2019): both pictures in their own size go through the beginning of a
trained Inception network, every position of the map there is one sample, and the samples of the two pictures are
compared as Gaussians. What SinGAN's script computes, and what is the default here: torchvision's weights, the map of
192 channels before the second max-pool, input 2x - 1. Published numbers differ in all of these (a 64-channel map, the
network of FID, values divided by 255 twice), so a result says what it was made with, and only equal ones compare.

Positions near each other are far from independent: no correction for their number holds, so compare pictures of equal
sizes only, and next to SiFID's own value for a held-out crop of the exemplar.

rSiFID(seed) takes the same map of a network that was never trained: He's random convolutions drawn by `NoiseField`,
no normalisation. Random shallow convolutions see much of a texture (Ustyuzhaninov, Brendel, Gatys and Bethge 2016,
"Texture synthesis using shallow convolutional networks with random filters"). Its numbers have another scale than
SiFID's and another for each seed.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.images import InputError, Picture, Region
from texsyn.metrics.inception import TAPS, Inception, exact, inception, max_by_two, rgb8
from texsyn.noise import NoiseField

MAPS = ("192pre", "64pre")
INPUT_RANGE = "2x - 1 of 8-bit codes as x in [0, 1]"
#: (output channels, kernel, stride, padding) of the stem up to each map; a max-pool of 3x3, stride 2, comes before "4"
STEM = ((32, 3, 2, 0), (32, 3, 1, 0), (64, 3, 1, 1), (80, 1, 1, 0), (192, 3, 1, 0))
Image = Picture | np.ndarray


@dataclass(frozen=True)
class SiFID:
    """A distance and all that it depends on. value is the mean over the pairs, `values` has one number a pair.

    name: "SiFID" or "rSiFID(seed)"; sha256: of the weights' file; locations: of x and y, pair by pair.
    """

    name: str
    value: float
    values: tuple[float, ...]
    tap: str
    weights: str
    sha256: str
    input_range: str
    channels: int
    locations: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self)

    def require_comparable(self, other: SiFID) -> None:
        """ValueError unless the two numbers were made alike, of equally many pairs with equally many positions."""
        alike = ("name", "tap", "weights", "sha256", "input_range", "locations")
        for field in alike:
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                raise ValueError(f"two {self.name} numbers with {field} {mine} and {theirs} cannot be compared")


def sifid(
    x: Image | Sequence[Image],
    y: Image | Sequence[Image],
    *,
    tap: str = "192pre",
    weights: str = "torchvision",
    path: str | os.PathLike[str] | None = None,
    net: Inception | None = None,
    device: str = "cpu",
) -> SiFID:
    """SiFID of a pair of pictures, or the mean over x[i] with y[i]; sizes within a pair may differ.

    tap: "192pre" or "64pre"; weights: "torchvision" or "fid", their file at `path` or where `weights.find` looks. A
    `net` at hand is used as it is. InputError: weights that are not here, pictures that cannot be used or are too
    small; ValueError: unknown words, unequal numbers of pictures.
    """
    _require_map(tap)
    net = net if net is not None else inception(weights, path, device=device)
    device_of = next(net.parameters()).device

    def stem(pixels: Tensor) -> Tensor:
        return net(pixels.to(device_of), (tap,))[tap]

    return _between(x, y, stem, tap=tap, name="SiFID", weights=net.kind, sha256=net.sha256)


def rsifid(
    x: Image | Sequence[Image],
    y: Image | Sequence[Image],
    *,
    seed: int = 0,
    tap: str = "192pre",
    device: str = "cpu",
) -> SiFID:
    """rSiFID(seed): as `sifid`, on random convolutions of that seed. Needs no weights; not comparable with SiFID.

    >>> rng = np.random.default_rng(0)
    >>> noise = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    >>> same, other, dark = (rsifid(noise[0], y).value for y in (noise[0], noise[1], noise[1] // 2))
    >>> same < 1e-6 and same < other < dark
    True
    """
    stem = untrained_stem(seed, tap, device)
    return _between(x, y, stem, tap=tap, name=f"rSiFID({seed})", weights=f"random, seed {seed}", sha256="")


def untrained_stem(seed: int, tap: str = "192pre", device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """The untrained network of rSiFID(seed) up to a map: (1, 3, h, w), as 2x - 1, to (1, channels, h', w')."""
    _require_map(tap)
    kernels = [k.to(device) for k in random_stem(seed)]

    def stem(pixels: Tensor) -> Tensor:
        z = pixels.to(device)
        for kernel, (_, size, stride, padding) in zip(kernels, STEM, strict=True):
            if size == 1:
                z = max_by_two(z)
            z = F.relu(F.conv2d(z, kernel, stride=stride, padding=padding))
            if tap == "64pre" and len(kernel) == 64:
                break
        return z

    return stem


def random_stem(seed: int) -> list[Tensor]:
    """The kernels (out, in, k, k) of the stem: independent Gaussians of variance 2 / (in k k), the same everywhere.

    He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers", equation 10.
    """
    kernels, n_in = [], 3
    for level, (n_out, k, _, _) in enumerate(STEM):
        fan_in = n_in * k * k
        gaussians = NoiseField(seed, level=level).normal(Region(0, 0, n_out, fan_in))
        kernels.append(torch.from_numpy(gaussians).reshape(n_out, n_in, k, k) * math.sqrt(2 / fan_in))
        n_in = n_out
    return kernels


def _require_map(tap: str) -> None:
    if tap not in MAPS:
        raise ValueError(f"tap={tap!r} is not one of {', '.join(MAPS)}")


def _between(
    x: Image | Sequence[Image], y: Image | Sequence[Image], stem: Callable[[Tensor], Tensor], *, tap: str, **about: str
) -> SiFID:
    """The distances of all pairs with the record of how they were made."""
    from texsyn.metrics.frechet import sifid_distance

    ours, theirs = _several(x), _several(y)
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{about['name']} compares pictures in pairs, got {len(ours)} and {len(theirs)}")
    values, locations, notes = [], [], []
    for pair in zip(ours, theirs, strict=True):
        samples = []
        for picture in pair:
            pixels, said = rgb8(picture)
            samples.append(positions(pixels, stem, tap))
            notes += [note for note in said if note not in notes]
        values.append(sifid_distance(*samples).value)
        locations.append((len(samples[0]), len(samples[1])))
    return SiFID(
        value=sum(values) / len(values),
        values=tuple(values),
        tap=tap,
        input_range=INPUT_RANGE,
        channels=samples[0].shape[1],
        locations=tuple(locations),
        notes=tuple(notes),
        **about,
    )


def _several(x: Image | Sequence[Image]) -> list[Image]:
    if isinstance(x, Picture) or (isinstance(x, np.ndarray) and x.ndim < 4):
        return [x]
    return list(x)


def positions(pixels: np.ndarray, stem: Callable[[Tensor], Tensor], tap: str) -> Tensor:
    """(positions, channels) of the map of one picture (h, w, 3) uint8 in its own size."""
    height, width = pixels.shape[:2]
    least, stride = TAPS[tap], 2 if tap == "64pre" else 4
    if min(height, width) < least or max(height, width) < least + stride:
        raise InputError(
            f"a picture of {width}x{height} is too small: the map {tap} has one position at {least}x{least} pixels "
            f"and needs two, {least + stride}x{least}"
        )
    z = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 255
    with exact(), torch.inference_mode():
        maps = stem(2 * z - 1)
    if not bool(torch.isfinite(maps).all()):
        raise FloatingPointError(f"the map {tap} is not finite: these weights overflow on this picture")
    return maps[0].flatten(1).T.cpu()
