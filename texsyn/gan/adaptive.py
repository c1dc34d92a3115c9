"""Adaptive discriminator augmentation: operations that each happen with probability p, and what finds p.

Karras, Aittala, Hellsten, Laine, Lehtinen and Aila 2020, "Training generative adversarial networks with limited data".
Real and made pictures both go through adaptive_augment() whenever D looks at them. An operation that can happen not to
happen does not leak into what is made, as long as p is below about 0.8; Overfitting raises p while D is surer of real
pictures than it should be.

The operations, in their order (appendix B): flip left and right with one chance in two, quarter turns, a shift by whole
pixels up to an eighth of the sides; scale 2^N(0, .2), rotation, anisotropic scale 2^N(0, .2), rotation again, a shift
by N(0, .125) of the sides; brightness + N(0, .2), contrast x 2^N(0, .5), luma flip with one chance in two, rotation of
hue, saturation x 2^N(0, 1); gains 2^N(0, 1) of four bands of frequency, white noise of deviation |N(0, .1)|, zeros in a
rectangle of half the sides.

Where we leave the paper: the first three are exact choices of pixels, and only pictures that the next five really
change go through the warp (gan/warp.py), all in one; each operation that happens to none of a picture leaves its bits
alone. Quarter turns are half turns where height and width differ. Channels that are no colours, all but the first
three of three or four, are taken for greys, whose hue and saturation nothing changes, and a fourth one of four is
coverage, which colour operations leave alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.gan.augment import LUMINOUS, cut_out, picked, split_colours
from texsyn.gan.warp import mirror_padded, mirrored, warp

BLIT = ("flip", "turn", "shift")
GEOMETRY = ("scale", "rotation", "anisotropy", "fraction")
COLOUR = ("brightness", "contrast", "luma", "hue", "saturation")
OPERATIONS = (*BLIT, *GEOMETRY, *COLOUR, "filter", "noise", "cutout")
#: the paper's names of pipelines; it found bgc best, and the last three of no further use
PIPELINES = {
    "b": BLIT,
    "bg": BLIT + GEOMETRY,
    "bgc": BLIT + GEOMETRY + COLOUR,
    "bgcf": (*BLIT, *GEOMETRY, *COLOUR, "filter"),
    "bgcfn": (*BLIT, *GEOMETRY, *COLOUR, "filter", "noise"),
    "bgcfnc": OPERATIONS,
}


def adaptive_augment(
    x: Tensor,
    p: Tensor | float,
    random: torch.Generator,
    operations: str | Collection[str] = "bgc",
    *,
    quantile: float | None = None,
) -> Tensor:
    """Pictures x (B, C, H, W), in [-1, 1], after each of the operations has happened to each of them, or not.

    p: the probability of each operation, a scalar, at most 1 of which counts. operations: a name in PIPELINES, or names
    in OPERATIONS, whose order is always that of the latter. Draws are of `random`, as many whatever p is. At p = 0 x
    comes out, bit for bit. quantile: every operation happens, with that quantile of its law, for tests; only noise is
    drawn then.

    Raises ValueError for an unknown name, a quantile outside (0, 1), or where x has not four axes.
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}, should be pictures (B, C, H, W)")
    if quantile is not None and not 0 < quantile < 1:
        raise ValueError(f"quantile={quantile} should be between 0 and 1")
    draws = _Draws(x, torch.as_tensor(p, device=x.device), random, operations_of(operations), quantile)
    x = _blit(x, draws)
    x = _geometry(x, draws)
    x = _colour(x, draws)
    x = _filter(x, draws)
    x = _noise(x, draws)
    return _cutout(x, draws)


def operations_of(operations: str | Collection[str]) -> frozenset[str]:
    """The names of a pipeline or of a collection; ValueError for one that is not known."""
    if isinstance(operations, str):
        if operations not in PIPELINES:
            raise ValueError(f"operations={operations!r} is not one of {', '.join(PIPELINES)}")
        return frozenset(PIPELINES[operations])
    for name in operations:
        if name not in OPERATIONS:
            raise ValueError(f"operations: {name!r} is not one of {', '.join(OPERATIONS)}")
    return frozenset(operations)


class _Draws:
    """Whether an operation happens to each picture, and with which number: (B,) each, neutral where it does not."""

    def __init__(
        self, x: Tensor, p: Tensor, random: torch.Generator, operations: frozenset[str], quantile: float | None
    ) -> None:
        self.x, self.random, self.operations, self.quantile = x, random, operations, quantile
        self.p = p.clamp(0, 1)

    def has(self, name: str) -> bool:
        return name in self.operations

    def happens(self, p: Tensor | None = None) -> Tensor:
        """To which pictures: with probability p, the pipeline's unless given."""
        u = self._rand()
        return torch.ones_like(u, dtype=torch.bool) if self.quantile is not None else u < (self.p if p is None else p)

    def number(self) -> Tensor:
        """U(0, 1), as all laws below are made from."""
        u = self._rand().to(self.x)
        return u if self.quantile is None else torch.full_like(u, self.quantile)

    def uniform(self, most: float, happens: Tensor | None = None) -> Tensor:
        """U(-most, most), or 0."""
        happens = self.happens() if happens is None else happens
        return torch.where(happens, (2 * self.number() - 1) * most, 0)

    def normal(self, deviation: float, happens: Tensor | None = None) -> Tensor:
        """N(0, deviation^2), or 0."""
        happens = self.happens() if happens is None else happens
        u = self.number().clamp(2**-25, 1 - 2**-24)  # float32 draws are multiples of 2^-24, and 0 is one of them
        return torch.where(happens, torch.erfinv(2 * u - 1) * math.sqrt(2) * deviation, 0)

    def choice(self, n: int) -> Tensor:
        """One of 0 .. n - 1, or 0."""
        happens = self.happens()
        return torch.where(happens, (self.number() * n).long().clamp(max=n - 1), 0)

    def _rand(self) -> Tensor:
        return torch.rand(len(self.x), generator=self.random, device=self.random.device).to(self.x.device)


def _each(v: Tensor) -> Tensor:
    return v[:, None, None, None]


# ---- choices of pixels


def _blit(x: Tensor, draws: _Draws) -> Tensor:
    if draws.has("flip"):
        x = torch.where(_each(draws.choice(2) == 1), x.flip(3), x)
    if draws.has("turn"):
        height, width = x.shape[2:]
        turns = draws.choice(4) if height == width else 2 * draws.choice(2)
        for k in (1, 2, 3) if height == width else (2,):
            x = torch.where(_each(turns == k), x.rot90(k, (2, 3)), x)
    if draws.has("shift"):
        moved, happens = [], draws.happens()
        for n, shape in ((x.shape[2], (-1, x.shape[2], 1)), (x.shape[3], (-1, 1, x.shape[3]))):
            by = (draws.uniform(0.125, happens) * n).round().long()
            moved.append(mirrored(torch.arange(n, device=x.device) - by[:, None], n).view(shape))
        x = picked(x, *moved)
    return x


# ---- one warp


def _geometry(x: Tensor, draws: _Draws) -> Tensor:
    """The operations' matrices are those from an output pixel to where it comes from: inverses, the first leftmost."""
    height, width = x.shape[2:]
    source = identity = torch.eye(3, device=x.device, dtype=x.dtype).expand(len(x), 3, 3)
    once = 1 - (1 - draws.p).sqrt()  # that either of two rotations happens then has probability p
    if draws.has("scale"):
        s = torch.exp2(-draws.normal(0.2))
        source = source @ _scaling(s, s)
    if draws.has("rotation"):
        source = source @ _rotation(draws.uniform(math.pi, draws.happens(once)))
    if draws.has("anisotropy"):
        s = torch.exp2(-draws.normal(0.2))
        source = source @ _scaling(s, 1 / s)
    if draws.has("rotation"):
        source = source @ _rotation(draws.uniform(math.pi, draws.happens(once)))
    if draws.has("fraction"):
        happens = draws.happens()
        to = torch.stack([draws.normal(0.125, happens) * n for n in (width, height)], 1)
        source = source @ torch.cat([identity[:, :, :2], torch.cat([-to, torch.ones_like(to[:, :1])], 1)[..., None]], 2)
    changed = (source != identity).flatten(1).any(1)
    return torch.where(_each(changed), warp(x, source), x) if bool(changed.any()) else x


def _scaling(horizontal: Tensor, vertical: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([horizontal, vertical, torch.ones_like(vertical)], 1))


def _rotation(angle: Tensor) -> Tensor:
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], 1).view(-1, 3, 3)


# ---- one map of colours


def _colour(x: Tensor, draws: _Draws) -> Tensor:
    """As matrices (B, 4, 4) of (red, green, blue, 1), the first rightmost."""
    matrix = identity = torch.eye(4, device=x.device, dtype=x.dtype).expand(len(x), 4, 4)
    v = torch.tensor([1.0, 1, 1, 0], device=x.device, dtype=x.dtype) / math.sqrt(3)  # the axis of greys
    grey, point = torch.outer(v, v), torch.diag(x.new_tensor([0, 0, 0, 1]))
    colours, coverage = split_colours(x)
    if draws.has("brightness"):
        by = draws.normal(0.2)[:, None, None] * x.new_tensor([1, 1, 1, 0])[:, None] * x.new_tensor([0, 0, 0, 1])
        matrix = (identity + by) @ matrix
    if draws.has("contrast"):
        gain = torch.exp2(draws.normal(0.5))
        matrix = torch.diag_embed(torch.stack([gain, gain, gain, torch.ones_like(gain)], 1)) @ matrix
    if draws.has("luma"):
        matrix = (identity - 2 * grey * draws.choice(2)[:, None, None]) @ matrix
    if draws.has("hue") and colours.shape[1] == LUMINOUS:
        matrix = _hue(draws.uniform(math.pi), v) @ matrix
    if draws.has("saturation") and colours.shape[1] == LUMINOUS:
        kept = grey + point
        matrix = (kept + (identity - kept) * torch.exp2(draws.normal(1.0))[:, None, None]) @ matrix
    changed = (matrix != identity).flatten(1).any(1)
    if colours.shape[1] == LUMINOUS:
        made = (matrix[:, :3, :3] @ colours.flatten(2) + matrix[:, :3, 3:]).view_as(colours)
    else:  # greys, as (v, v, v), stay greys
        made = colours * _each(matrix[:, 0, :3].sum(1)) + _each(matrix[:, 0, 3])
    return torch.cat([torch.where(_each(changed), made, colours), coverage], 1)


def _hue(angle: Tensor, v: Tensor) -> Tensor:
    """Rotations (B, 4, 4) about the axis of greys v (4,): exactly the identity at angle 0."""
    a = v[0]
    crossed = v.new_tensor([[0, -1, 1, 0], [1, 0, -1, 0], [-1, 1, 0, 0], [0, 0, 0, 0]]) * a  # w -> v x w
    identity = torch.eye(4, device=v.device, dtype=v.dtype)
    across = torch.outer(v, v) - torch.diag(v.new_tensor([1, 1, 1, 0]))
    return identity + angle.sin()[:, None, None] * crossed + (1 - angle.cos())[:, None, None] * across


# ---- what the paper has no use for


def _bands() -> Tensor:
    """Four filters (4, L) that sum to 1 at the middle and 0 elsewhere: frequencies up to pi/8, pi/4, pi/2, pi.

    The symmetric half-band filter a of the wavelet symlet 2 is (its low-pass filter * that one reversed) / 2. In powers
    of z the lowest band is a(z) a(z^2) a(z^4), and the others are what each factor takes away.
    """
    h = torch.tensor([1 + math.sqrt(3), 3 + math.sqrt(3), 3 - math.sqrt(3), 1 - math.sqrt(3)], dtype=torch.float64) / 8
    a = torch.zeros(7, dtype=torch.float64)
    for i, first in enumerate(h):
        for j, second in enumerate(h):
            a[3 + i - j] += first * second
    a /= a.sum()
    low, lows = torch.ones(1, dtype=torch.float64), []
    for k in range(3):
        spread = torch.zeros(6 * 2**k + 1, dtype=torch.float64)
        spread[:: 2**k] = a
        low = F.conv1d(low.view(1, 1, -1), spread.flip(0).view(1, 1, -1), padding=len(spread) - 1).flatten()
        lows.append(low)
    whole = len(low)
    delta = F.pad(torch.ones(1, dtype=torch.float64), (whole // 2, whole // 2))
    half, quarter, eighth = (F.pad(t, ((whole - len(t)) // 2,) * 2) for t in lows)
    return torch.stack([eighth, quarter - eighth, half - quarter, delta - half])


#: of a natural picture in the four bands, for a spectrum of 1 / frequency
EXPECTED_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)


def _filter(x: Tensor, draws: _Draws) -> Tensor:
    """Each band amplified in its turn, the other three made fainter so that the expected power stays."""
    if not draws.has("filter"):
        return x
    power, gains = x.new_tensor(EXPECTED_POWER), torch.ones(len(x), 4, device=x.device, dtype=x.dtype)
    for k in range(4):
        octaves, gain = draws.normal(1.0), torch.ones_like(gains)
        gain[:, k] = torch.exp2(octaves)
        scaled = gain / (gain.square() @ power).sqrt()[:, None]
        gains = gains * torch.where((octaves != 0)[:, None], scaled, 1)
    changed = (gains != 1).any(1)
    if not bool(changed.any()):
        return x
    taps = gains @ _bands().to(x)  # (B, L)
    taps = taps.repeat_interleave(x.shape[1], 0)[:, None]  # (B C, 1, L)
    y = mirror_padded(x, taps.shape[-1] // 2).flatten(0, 1)[None]
    y = F.conv2d(F.conv2d(y, taps[:, :, None], groups=len(taps)), taps[..., None], groups=len(taps))
    return torch.where(_each(changed), y.view_as(x), x)


def _noise(x: Tensor, draws: _Draws) -> Tensor:
    if not draws.has("noise"):
        return x
    deviation = draws.normal(0.1).abs()
    white = torch.randn(x.shape, generator=draws.random, device=draws.random.device).to(x)
    return torch.where(_each(deviation > 0), x + _each(deviation) * white, x)


def _cutout(x: Tensor, draws: _Draws) -> Tensor:
    if not draws.has("cutout"):
        return x
    happens = draws.happens()
    return cut_out(x, draws.number(), draws.number(), torch.where(happens, 0.5, -1.0).to(x))


# ---- what finds p


class Overfitting:
    """How sure D is of real pictures, and the p that follows from it.

    r = mean sign D(x) over real pictures is 0 for a D that cannot tell and 1 for one that knows them all. After
    every `interval` batches seen, p goes up or down, whichever brings r to the target, as fast as to get from 0 to 1 in
    `images` real pictures; it does not fall below 0. Images of the paper: 500 000, and 100 000 for a network that goes
    on from another.
    """

    def __init__(self, *, target: float = 0.6, images: float = 500_000, interval: int = 4, p: float = 0.0) -> None:
        if not images > 0 or interval < 1:
            raise ValueError(f"images={images} should be above 0 and interval={interval} at least 1")
        if not p >= 0:
            raise ValueError(f"p={p} should be at least 0")
        self.target, self.images, self.interval = target, images, interval
        self.p = torch.tensor(float(p), dtype=torch.float64)
        self.r = torch.zeros((), dtype=torch.float64)
        self._seen = torch.zeros(3, dtype=torch.float64)  # sum of signs, pictures, batches

    @torch.no_grad()
    def see(self, logits: Tensor) -> None:
        """Count D's logits (B, ...) of real pictures, as augmented; of a map, a picture's sign is the mean one."""
        signs = logits.detach().sign().flatten(1).mean(1) if logits.ndim > 1 else logits.detach().sign()
        self._seen += torch.tensor([float(signs.double().sum()), len(signs), 1], dtype=torch.float64)
        total, pictures, batches = self._seen.tolist()
        if batches >= self.interval:
            self.r.fill_(total / pictures)
            step = math.copysign(1, self.r.item() - self.target) if self.r.item() != self.target else 0.0
            self.p.add_(step * pictures / self.images).clamp_(min=0)
            self._seen.zero_()

    def state(self) -> dict[str, Tensor]:
        """p, r as of its last change, and what was counted since."""
        return {"p": self.p.clone(), "r": self.r.clone(), "seen": self._seen.clone()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state()."""
        self.p.copy_(state["p"])
        self.r.copy_(state["r"])
        self._seen.copy_(state["seen"])
