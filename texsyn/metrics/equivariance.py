"""Whether a generator's pictures move and turn with its canvas: EQ-T and EQ-R, peak signal-to-noise ratios in dB.

Karras and others 2021, "Alias-free generative adversarial networks", appendix E. The picture of a moved canvas is held
against the moved picture of the canvas, over all places that both show, and likewise turned; squared differences are
pooled over pictures, places and channels, and the peak is the span of values, 2. In the paper's table there are 16 to
25 dB of EQ-T before its filtered leaky ReLUs, 63 in configuration T, and 40 dB of EQ-R in R.

Moves are uniform up to an eighth of either side, of whole pixels, or not (fractional); turns are uniform. A departure:
to move by parts of a pixel, or to turn, means to interpolate, and here both pictures go through the same low-pass
filter, one on its grid and one beside it, so that what a filter damps is no error; frequencies above LOST are not
judged then, nor is the border that the filter reaches over. Pictures that move perfectly get 60 dB or more that way,
not infinitely many (tests/test_equivariance.py).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from texsyn.gan.networks.style import StyledGenerator
from texsyn.gan.networks.stylegan2 import StyleGenerator
from texsyn.gan.networks.stylegan3 import AliasFreeGenerator, canvas
from texsyn.metrics.unmeasurable import Unmeasurable

PEAK = 2.0  # of pictures in [-1, 1]
REACH = 6  # pixels to either side that the filter looks at
KEPT, LOST = 0.2, 0.5  # cycles a pixel between which it falls from 1 to 0
AT_ONCE = 2**14  # places

#: from the number of a picture and where points of it lie on its canvas (3, 3) to that picture (C, H, W)
Make = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class Equivariance:
    """In dB, of whole pixels, of parts of pixels, of turns: None of a generator whose canvas cannot be turned."""

    translation: float
    fractional: float
    rotation: float | None


def equivariance(generator: StyledGenerator, *, n: int = 16, seed: int = 0, peak: float = PEAK) -> Equivariance:
    """Of n pictures, with classes one after the other; the paper has 50,000.

    A StyleGAN2 has no canvas: what moves there is its learned constant, see of_constant(). ValueError for a generator
    that has neither; Unmeasurable for pictures of sides below 16.
    """
    z = generator.draw(n, torch.Generator().manual_seed(seed)).to(generator.average)
    labels = torch.arange(n, device=z.device) % generator.design.n_classes if generator.design.n_classes else None
    was = generator.training
    try:
        generator.eval()
        with torch.no_grad():
            ws = generator.styles(z, labels)
        turns = isinstance(generator, AliasFreeGenerator) and not generator.periodic
        make = of_canvas(generator, ws) if isinstance(generator, AliasFreeGenerator) else of_constant(generator, ws)
        random = torch.Generator().manual_seed(seed)
        return Equivariance(
            translation(make, n, random, peak=peak),
            translation(make, n, random, fractional=True, peak=peak),
            rotation(make, n, random, peak=peak) if turns else None,
        )
    finally:
        generator.train(was)


# ---- pictures by number and canvas


def of_canvas(generator: AliasFreeGenerator, ws: Tensor) -> Make:
    """Pictures of styles (n, n_styles, latent) on any canvas."""

    @torch.no_grad()
    def make(i: int, given: Tensor) -> Tensor:
        return generator.synthesise(ws[i : i + 1], canvas=given.to(ws))[0]

    return make


def of_constant(generator: StyledGenerator, ws: Tensor) -> Make:
    """Pictures of styles on canvases that are moved only, by moving the constant that a StyleGAN2 begins with.

    The constant is taken for one period of waves, which all move alike: the only reading by which it has values between
    its few places, and the kindest to periodic networks. Noise stays where it is. ValueError for another generator.
    """
    if not isinstance(generator, StyleGenerator) or generator.start[0].numel() == 1:
        raise ValueError(f"generator={type(generator).__name__} has neither a canvas nor a constant that moves")
    moved, side = copy.deepcopy(generator), min(generator.design.height, generator.design.width)

    @torch.no_grad()
    def make(i: int, given: Tensor) -> Tensor:
        if not torch.equal(given[:2, :2], torch.eye(2).to(given)):
            raise ValueError("a constant can be moved, not turned")
        height, width = generator.start.shape[1:]
        # the canvas in units of the shorter side, and points of the picture lie where it is moved away from
        x = -given[0, 2] * side / generator.design.width * width
        y = -given[1, 2] * side / generator.design.height * height
        moved.start.copy_(on_torus(generator.start, float(y), float(x)))
        return moved.synthesise(ws[i : i + 1])[0]

    return make


def on_torus(x: Tensor, down: float, right: float) -> Tensor:
    """x (.., H, W), as one period of waves, moved by so many pixels, whole ones or not."""
    rows, columns = (torch.fft.fftfreq(n, device=x.device, dtype=torch.float64) for n in x.shape[-2:])
    turned = torch.exp(-2j * math.pi * (rows[:, None] * down + columns * right))
    return torch.fft.ifft2(torch.fft.fft2(x.double()) * turned).real.to(x)


# ---- the two numbers


def translation(make: Make, n: int, random: torch.Generator, *, fractional: bool = False, peak: float = PEAK) -> float:
    """EQ-T in dB of pictures 0 .. n - 1, each moved once; infinite where none differs."""
    return _decibels(_moved(make, n, random, fractional), peak)


def rotation(make: Make, n: int, random: torch.Generator, *, peak: float = PEAK) -> float:
    """EQ-R in dB, each turned once, over the disc in which the filter reaches no border."""
    return _decibels(_turned(make, n, random), peak)


def _moved(make: Make, n: int, random: torch.Generator, fractional: bool) -> Iterator[Tensor]:
    """Differences, of each picture."""
    for i in range(n):
        still = make(i, canvas()).double().cpu()
        height, width = still.shape[1:]
        _require(height, width)
        side = min(height, width)
        share = torch.rand(2, generator=random, dtype=torch.float64) / 4 - 1 / 8
        y, x = (share * torch.tensor([height, width])).tolist()
        if not fractional:
            y, x = round(y), round(x)
        moved = make(i, canvas(move=(x / side, y / side))).double().cpu()
        if fractional:
            rows, columns = _interpolation(height, y), _interpolation(width, x)
            still = rows[0] @ still @ columns[0].T
            moved = rows[1] @ moved @ columns[1].T
            yield still - moved
        else:
            tops, lefts = (slice(max(t, 0), m + min(t, 0)) for t, m in ((y, height), (x, width)))
            from_tops, from_lefts = (slice(max(-t, 0), m + min(-t, 0)) for t, m in ((y, height), (x, width)))
            yield moved[:, tops, lefts] - still[:, from_tops, from_lefts]


def _interpolation(n: int, t: float) -> tuple[Tensor, Tensor]:
    """(k, n) both: filtered values at places i - t, and at places i, for the k of i that neither filter overhangs."""
    i = torch.arange(n, dtype=torch.float64)
    inside = (i >= REACH) & (i <= n - 1 - REACH) & (i - t >= REACH) & (i - t <= n - 1 - REACH)
    found = []
    for at in (i[inside] - t, i[inside]):
        weights = _kernel((at[:, None] - i).abs(), flat=True)
        found.append(weights / weights.sum(1, keepdim=True))
    return found[0], found[1]


def _turned(make: Make, n: int, random: torch.Generator) -> Iterator[Tensor]:
    for i in range(n):
        still = make(i, canvas()).double().cpu()
        height, width = still.shape[1:]
        _require(height, width)
        angle = 2 * math.pi * float(torch.rand((), generator=random, dtype=torch.float64))
        turned = make(i, canvas(turn=angle)).double().cpu()
        y, x = (torch.arange(m, dtype=torch.float64) - (m - 1) / 2 for m in (height, width))
        places = torch.cartesian_prod(y, x)  # from the centre
        places = places[places.norm(dim=1) <= (min(height, width) - 1) / 2 - REACH - 1]
        c, s = math.cos(angle), math.sin(angle)
        from_where = places @ torch.tensor([[c, -s], [s, c]], dtype=torch.float64).T
        centre = torch.tensor([(height - 1) / 2, (width - 1) / 2], dtype=torch.float64)
        for part, whence in zip(places.split(AT_ONCE), from_where.split(AT_ONCE), strict=True):
            yield _looked_up(turned, part + centre) - _looked_up(still, whence + centre)


def _looked_up(x: Tensor, places: Tensor) -> Tensor:
    """(C, P): filtered values of x (C, H, W) at places (P, 2), (row, column)."""
    first = places.floor().long() - REACH
    steps = torch.arange(2 * REACH + 2)
    rows, columns = first[:, :1] + steps, first[:, 1:] + steps  # (P, m)
    away = torch.hypot((rows - places[:, :1])[:, :, None], (columns - places[:, 1:])[:, None])
    weights = _kernel(away, flat=False)
    weights = weights / weights.sum((1, 2), keepdim=True)
    return (x[:, rows[:, :, None], columns[:, None]] * weights).sum((2, 3))


def _kernel(r: Tensor, *, flat: bool) -> Tensor:
    """The filter at distances r of its centre, in pixels: a sinc, or of a disc of frequencies, in a Kaiser window."""
    cutoff, half_width = (KEPT + LOST) / 2, (LOST - KEPT) / 2
    damping = 2.285 * (2 * REACH) * math.pi * 4 * half_width + 7.95  # texsyn.gan.networks.filters has the formulas
    window = torch.special.i0(0.1102 * (damping - 8.7) * (1 - (r / REACH).square()).clamp(min=0).sqrt())
    z = 2 * math.pi * cutoff * r
    ideal = torch.sinc(2 * cutoff * r) if flat else torch.where(z == 0, 1.0, 2 * torch.special.bessel_j1(z) / z)
    return torch.where(r < REACH, ideal * window, 0.0)


def _require(height: int, width: int) -> None:
    least = 2 * REACH + 4
    if min(height, width) < least:
        raise Unmeasurable(f"equivariance needs {least} px a side, got {width}x{height}")


def _decibels(differences: Iterator[Tensor], peak: float) -> float:
    total, count = 0.0, 0
    for difference in differences:
        total, count = total + float(difference.square().sum()), count + difference.numel()
    return math.inf if total == 0 else 10 * math.log10(peak**2 / (total / count))
