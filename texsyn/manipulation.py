"""What a trained SinGAN does to pictures: harmonise, edit, paint, enlarge, move.

Shaham, Dekel and Michaeli 2019 (texsyn/models/singan.py), section 4. Scales are counted from the coarsest, 0, to the
finest, N. A picture that is put in at scale n >= 1 is shrunk to scale n - 1, which forgets its details, and scales
n .. N, with fresh noise, make new ones as the exemplar has them. The coarser n, the more is made anew.

Departures: pictures need not have the exemplar's size, and come out with their own; where a mask is black, with their
own pixels. Drawings can be given the exemplar's colours; the released code trains a scale anew on few colours instead.
What is enlarged is never shrunk first, and shrunk again is what it was: after each step, what has drifted is put back
(Irani and Peleg 1991, "Improving resolution by image registration"), without which detail that piles up hides the
picture: twice as large, gravel is 0.17 away from the truth in its patches so, 0.48 without and 0.52 by cubic
resampling; four times, where its stones look like nothing small, 0.92, 2.06 and 1.60 (benchmarks/bench_upscale.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn.cubic import resize
from texsyn.images import InputError, Picture, Size, from_unit, to_unit
from texsyn.models.base import Watch
from texsyn.models.singan import Singan, SinganConfig

SOFTNESS = 5.0  # standard deviation, in pixels, of the Gaussian that softens a mask
HARMONISED, EDITED = 7, 20  # pixels by which a mask grows: what was pasted, what was rearranged
#: what a pyramid that is to enlarge differs in: faithful rather than varied, and at most so much of a picture at a time
UPSCALING: Mapping[str, Any] = {"alpha": 100.0, "min_side": 18, "max_side": 250, "factor": 0.75}  # about 1 / STEP
STEP = 2 ** (1 / 3)  # about by how much one pass enlarges
CORRECTIONS = 3  # after each pass
WARM_UP = 1e-6  # what is left of a loop's beginning when it is shown


# ------------------------------------------------------------------------------------------------- pictures put in


def harmonise(
    model: Singan,
    picture: Picture,
    mask: np.ndarray,
    *,
    scale: int | None = None,
    seed: int = 0,
    dilation: int = HARMONISED,
    softness: float = SOFTNESS,
) -> Picture:
    """The picture with what was pasted into it, where mask (h, w) is True, in the manner of the exemplar.

    scale: from 1 to N; None for N - 2, which keeps shapes. dilation and softness: pixels, at the training's resolution,
    by which the mask grows and over which it fades out; beyond that the picture keeps its pixels. Raises InputError for
    a picture of other channels or numbers than the exemplar's and for an empty mask, ValueError for a wrong scale,
    dilation or softness.
    """
    n = check_scale(model, fine(model) if scale is None else scale)
    return _blended(model, picture, mask, n, seed, dilation, softness)


def edit(
    model: Singan,
    picture: Picture,
    mask: np.ndarray,
    *,
    scale: int | None = None,
    seed: int = 0,
    dilation: int = EDITED,
    softness: float = SOFTNESS,
) -> Picture:
    """The picture with the seams gone of what was moved in it, where mask is True: harmonise() from a coarser scale.

    scale: None for the one a quarter of the way up. Arguments and errors otherwise as for harmonise().
    """
    n = check_scale(model, coarse(model) if scale is None else scale)
    return _blended(model, picture, mask, n, seed, dilation, softness)


def paint(
    model: Singan,
    drawing: Picture,
    *,
    scale: int | None = None,
    size: Size | None = None,
    colours: int = 0,
    seed: int = 0,
) -> Picture:
    """The drawing, which has areas of colour and no detail, as a picture in the manner of the exemplar.

    scale: None for the one a quarter of the way up. size: None for the drawing's shape with as many pixels as the
    training's finest scale. colours: if above 0, the drawing is first given that many of the exemplar's colours, each
    of its pixels the nearest. Raises as harmonise().
    """
    n = check_scale(model, coarse(model) if scale is None else scale)
    _values(model, drawing)  # refuses what does not fit, before its colours are compared
    if colours:
        drawing = in_colours_of(model.exemplar, drawing, colours)
    u = _values(model, drawing)
    if size is None:
        ratio = math.sqrt(model.sizes[-1].pixels / drawing.size.pixels)
        size = Size(*(max(1, round(ratio * side)) for side in (drawing.size.height, drawing.size.width)))
    return _like(model, remade(model, resize(u, size), n, seed), drawing)


def check_scale(model: Singan, scale: int) -> int:
    """The scale, where a picture can be put in. Raises ValueError."""
    last = n_trained(model) - 1
    if last < 1:
        raise ValueError("the model has one trained scale only: train it for longer")
    if not 1 <= scale <= last:
        raise ValueError(f"scale={scale} should be from 1, the coarsest that a picture can be put in, to {last}")
    return scale


def n_trained(model: Singan) -> int:
    """Scales that have learned: fewer than there are where the training was ended early."""
    return len(model.amplitudes)


def fine(model: Singan) -> int:
    """The scale at which what was pasted is put in unless another is asked for: two below the finest."""
    return max(1, n_trained(model) - 3)


def coarse(model: Singan) -> int:
    """The scale at which drawings and edited pictures are put in: a quarter of the way up."""
    return max(1, round((n_trained(model) - 1) / 4))


def remade(model: Singan, u: Tensor, scale: int, seed: int) -> Tensor:
    """What scales n .. N make of a picture u (1, c, h, w) in [-1, 1] that scale n - 1 hands up."""
    size = Size(u.shape[2], u.shape[3])
    sizes = model.sizes_for(size)
    start = model.up(resize(u, sizes[scale - 1]), sizes[scale])
    return model.generate(size, seed=seed, first=scale, start=start)


def _blended(
    model: Singan, picture: Picture, mask: np.ndarray, scale: int, seed: int, dilation: int, softness: float
) -> Picture:
    """out = (1 - m) picture + m made, with the mask m grown and softened."""
    if mask.shape != (picture.size.height, picture.size.width):
        raise InputError(f"a mask of {mask.shape[::-1]} pixels does not fit {picture.name}, which has {picture.size}")
    if not mask.any():
        raise InputError("the mask is black: there is nothing to change")
    if dilation < 0 or not 0 <= softness < math.inf:
        raise ValueError(f"dilation={dilation} and softness={softness:g} should be 0 or more")
    u = _values(model, picture)
    size = resolution(model, picture.size)
    white = torch.from_numpy(mask.astype(np.float32))[None, None].to(u.device)
    at_work = (resize(white, size)[0, 0].cpu().numpy() > 0.5) if size != picture.size else mask
    m = torch.from_numpy(soft(at_work if at_work.any() else np.ones_like(at_work), dilation, softness))[None, None]
    made, m = remade(model, resize(u, size).clamp(-1, 1), scale, seed), m.to(u)
    if size != picture.size:
        made, m = resize(made, picture.size), resize(m, picture.size).clamp(0, 1)
    found = _like(model, torch.lerp(u, made.clamp(-1, 1), m), picture)
    kept = (m[0, 0] == 0).cpu().numpy()
    pixels = np.where(kept[..., None], picture.pixels, found.pixels)
    note = (f"what changed has the resolution of the training, {size} for the picture",)
    return replace(found, pixels=pixels, notes=note if size != picture.size else ())


def soft(mask: np.ndarray, dilation: int, softness: float) -> np.ndarray:
    """(h, w) float32 from 0 to 1: the mask, grown by a disk and blurred by a Gaussian.

    >>> soft(np.arange(5)[None] == 0, 1, 0.0).tolist()
    [[1.0, 1.0, 0.0, 0.0, 0.0]]
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    grown = (distance_transform_edt(~mask) <= dilation).astype(np.float32)
    m = gaussian_filter(grown, softness) if softness > 0 else grown
    low, high = float(m.min()), float(m.max())
    return ((m - low) / (high - low) if high > low else np.ones_like(m)).astype(np.float32)


def in_colours_of(exemplar: Picture, drawing: Picture, n: int) -> Picture:
    """The drawing with each pixel the nearest of n colours that stand for the exemplar's (k-means of its pixels)."""
    from scipy.cluster.vq import kmeans2

    found = to_unit(exemplar.pixels).reshape(-1, exemplar.channels).astype(np.float64)
    rng = np.random.default_rng(0)
    found = found[rng.choice(len(found), min(len(found), 20_000), replace=False)]
    if (distinct := len(np.unique(found, axis=0))) < n:
        raise InputError(f"{exemplar.name}: has {distinct} colours, fewer than the {n} asked for")
    palette, _ = kmeans2(found, n, iter=20, minit="++", rng=rng)
    u = to_unit(drawing.pixels)
    nearest = ((u[:, :, None].astype(np.float64) - palette) ** 2).sum(-1).argmin(-1)
    pixels = from_unit(palette[nearest].astype(np.float32), drawing.pixels.dtype)
    return replace(drawing, pixels=pixels, palette=None, indices=None)


def resolution(model: Singan, size: Size) -> Size:
    """A picture's size at the resolution at which the exemplar was learned: its own, unless that was shrunk."""
    whole, learned = model.exemplar.size, model.sizes[-1]
    if whole == learned:
        return size
    ratio = math.sqrt(learned.pixels / whole.pixels)
    return learned if size == whole else Size(max(1, round(ratio * size.height)), max(1, round(ratio * size.width)))


def _values(model: Singan, picture: Picture) -> Tensor:
    """model.from_picture(), for a picture whose numbers mean what the exemplar's do."""
    kinds = [("floats" if one.pixels.dtype.kind == "f" else "integers") for one in (picture, model.exemplar)]
    if kinds[0] != kinds[1]:
        raise InputError(f"{picture.name}: has values that are {kinds[0]}, and the model's exemplar has {kinds[1]}")
    return model.from_picture(picture)


def _like(model: Singan, values: Tensor, picture: Picture) -> Picture:
    """Values (1, c, h, w) in [-1, 1] as a picture of this one's depth."""
    if picture.pixels.dtype.kind == "f":
        pixels = model.to_pixels(values)
    else:
        unit = ((values[0].permute(1, 2, 0).cpu().numpy() + 1) / 2).clip(0, 1)
        pixels = np.ascontiguousarray(from_unit(unit, picture.pixels.dtype))
    return replace(picture, pixels=pixels, palette=None, indices=None, notes=())


# ---------------------------------------------------------------------------------------------------------- enlarging


def pyramid_for(picture: Picture, config: SinganConfig | None = None) -> tuple[Picture, SinganConfig]:
    """What to train in order to enlarge a picture: its middle, at most max_side pixels long, and the configuration."""
    config = config or SinganConfig(**UPSCALING)
    height, width = (min(side, config.max_side) for side in (picture.size.height, picture.size.width))
    top, left = (picture.size.height - height) // 2, (picture.size.width - width) // 2
    pixels = np.ascontiguousarray(picture.pixels[top : top + height, left : left + width])
    return replace(picture, pixels=pixels, palette=None, indices=None, notes=()), config


def upscale(
    model: Singan,
    picture: Picture,
    factor: float,
    *,
    seed: int = 0,
    corrections: int = CORRECTIONS,
    watch: Watch | None = None,
) -> Picture:
    """The picture enlarged `factor` times in small steps, the finest network adding detail after each.

    model: trained on the picture, or its middle, as pyramid_for() says, or on one of the same kind. About log2(factor)
    times three steps. corrections: after each step, times that the difference between the picture and what was made of
    it, shrunk again, is added; 0 as in the released code. Raises InputError for a model that cannot do it, ValueError
    for a factor that does not enlarge.
    """
    if not 1 < factor <= 64:
        raise ValueError(f"factor={factor:g} should be above 1 and at most 64")
    if model.config.architecture != "singan":
        raise InputError(f"the model has architecture={model.config.architecture!r}; to enlarge, give one of 'singan'")
    if n_trained(model) < len(model.sizes):
        raise InputError(f"the model has {n_trained(model)} of {len(model.sizes)} scales trained; to enlarge, give all")
    watch, last = watch or Watch(), len(model.sizes) - 1
    x = u = _values(model, picture)
    sizes = steps_to(picture.size, factor)
    for k, size in enumerate(sizes):
        watch.step(sum(s.pixels for s in sizes[:k]) / sum(s.pixels for s in sizes), f"{size}")

        def noise(scale: int, here: Size, k: int = k) -> Tensor:  # another one at every step
            return model.noise_of(seed)(scale + k, here)

        u = model.generate(size, seed=seed, first=last, start=resize(u, size), noise=noise).clamp(-1, 1)
        for _ in range(corrections):
            u = (u + resize(x - resize(u, picture.size), size)).clamp(-1, 1)
    watch.step(1.0, "done")
    return _like(model, u, picture)


def steps_to(size: Size, factor: float) -> list[Size]:
    """Sizes on the way to `factor` times a size, about STEP times larger each.

    >>> [str(one) for one in steps_to(Size(100, 50), 4)]
    ['63x126', '79x159', '100x200', '126x252', '159x317', '200x400']
    """
    k = max(1, round(math.log(factor) / math.log(STEP)))
    return [
        Size(max(1, round(size.height * factor ** (j / k))), max(1, round(size.width * factor ** (j / k))))
        for j in range(1, k + 1)
    ]


# ------------------------------------------------------------------------------------------------------------- moving


@dataclass(frozen=True)
class Walk:
    """How the noise moves from frame to frame; see animate()."""

    n_frames: int = 100
    #: scales below keep the reconstruction's noise
    start_scale: int = 0
    #: how strongly noise is drawn back to the reconstruction's: larger ones stay nearer to the exemplar
    alpha: float = 0.1
    #: how much of its speed it keeps: larger ones move more evenly
    beta: float = 0.9
    #: the frame after the last one is the first
    loop: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.n_frames <= 100_000:
            raise ValueError(f"n_frames={self.n_frames} should be from 1 to 100000")
        if not 0 <= self.alpha <= 1 or (self.loop and self.alpha < 0.01):
            raise ValueError(f"alpha={self.alpha:g} should be from {0.01 if self.loop else 0:g} to 1")
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta={self.beta:g} should be from 0 to below 1")


def animate(
    model: Singan, walk: Walk | None = None, *, size: Size | None = None, seed: int = 0, watch: Watch | None = None
) -> Iterator[Picture]:
    """The frames, one by one: pictures of noise that walks at random around the reconstruction's.

        z_(t+1) = alpha z_rec + (1 - alpha) (z_t + beta (z_t - z_(t-1)) + (1 - beta) eps_t)

    at all scales from start_scale on, from 0.95 z_rec + 0.05 eps. A loop is driven by noise that repeats after its
    last frame, for so long that where it began is forgotten. size: None for the training's. Raises ValueError for a
    start_scale that there is not.
    """
    walk, size = walk or Walk(), size or model.sizes[-1]
    last = n_trained(model) - 1
    if not 0 <= walk.start_scale <= last:
        raise ValueError(f"start_scale={walk.start_scale} should be from 0, the coarsest, to {last}")
    return _frames(model, walk, size, seed, watch or Watch())


def _frames(model: Singan, walk: Walk, size: Size, seed: int, watch: Watch) -> Iterator[Picture]:
    sizes = model.sizes_for(size)
    scales = range(walk.start_scale, n_trained(model))
    walks = {k: _walk(model, walk, k, sizes[k], seed) for k in scales}
    for t in range(walk.n_frames):
        watch.step(t / walk.n_frames, f"frame {t + 1} of {walk.n_frames}")
        z = {k: next(one) for k, one in walks.items()}

        def noise(scale: int, here: Size, z: dict[int, Tensor] = z) -> Tensor:
            return z[scale]

        values = model.generate(size, seed=seed, keep=walk.start_scale, noise=noise)
        pixels = model.to_pixels(values)
        yield replace(model.exemplar, pixels=pixels, palette=None, indices=None, notes=())
    watch.step(1.0, "done")


def _walk(model: Singan, walk: Walk, scale: int, size: Size, seed: int) -> Iterator[Tensor]:
    """The noise of a scale, frame by frame."""
    middle, a, b = model.recorded(scale, size), walk.alpha, walk.beta

    def eps(t: int) -> Tensor:
        frame = t % walk.n_frames if walk.loop else t
        return model.noise_of(seed, 1024 * (frame + 2))(scale, size)  # beyond the levels of single pictures

    first, before = 0, middle
    now = 0.95 * middle + 0.05 * eps(-1)
    if walk.loop:  # what is left after t steps falls as the larger root of x^2 - (1-a)(1+b) x + (1-a) b
        s, p = (1 - a) * (1 + b), (1 - a) * b
        root = math.sqrt(p) if s * s < 4 * p else (s + math.sqrt(s * s - 4 * p)) / 2
        n = math.ceil(math.log(WARM_UP) / math.log(root)) if root > 0 else 1
        first = -walk.n_frames * math.ceil(n / walk.n_frames)
    t = first
    while True:
        if t >= 0:
            yield now
        now, before = a * middle + (1 - a) * (now + b * (now - before) + (1 - b) * eps(t)), now
        t += 1
