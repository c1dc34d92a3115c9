"""Changes to an existing picture, made of its own pixels: tileable() makes it wrap without a seam.

The picture is its own exemplar, and its map of source coordinates the identity, but for a band along the edges that
are to meet. There the map is made anew, coarse to fine, on the torus: rounds of patches and votes at the coarse levels
(as in Wexler, Shechtman and Irani 2007, "Space-time completion of video", section 2, with transported instead of
nearest patches), coherent corrections at the finer ones (texsyn.coordinates). No patch of the picture holds the seam,
so none can bring it back.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from texsyn.ascent import Canvas
from texsyn.atlas import Level
from texsyn.blocks import Period, period_of
from texsyn.coordinates import children, correct, inside, take, vote, wrap
from texsyn.images import InputError, Picture, Region, Size
from texsyn.models.base import Synthesis, Watch
from texsyn.models.texto import Texto, TextoConfig, transport_all
from texsyn.noise import NoiseField
from texsyn.ot.nearest import one_torch_thread
from texsyn.painting import Painting
from texsyn.patches import windows
from texsyn.pyramid import coarser, pyramid

RING = 3  # pixels of the coarsest level
ROUNDS = 12  # of transport and votes at a coarse level
BATCH, STEP = 64, 0.1  # patches between two moves of psi; c of its step c m0 J / sqrt(t)
FINE_VOTES, FINE_CORRECTIONS = 6, 2


def default_band(picture: Picture) -> int:
    """Pixels on each side of the edge that are made anew: an eighth of the shorter side, at least 5."""
    return max(5, min(picture.size.height, picture.size.width) // 8)


def check(picture: Picture, tile: str, band: int | None) -> int:
    """The band that tileable() will use; raises what it raises for wrong arguments."""
    size = picture.size
    if not any(period_of(tile, size)):
        raise ValueError(f"tile={tile!r} is not one of x, y, xy")
    if min(size.height, size.width) < 16:
        raise InputError(f"{picture.name}: tileable needs at least 16x16 pixels, got {size}")
    band = default_band(picture) if band is None else band
    most = min(n for n, axis in ((size.height, "y"), (size.width, "x")) if axis in tile) // 3
    if not 1 <= band <= most:
        raise ValueError(f"band={band} should be from 1 to a third of the side, {most}")
    return band


def tileable(
    picture: Picture, *, tile: str = "xy", band: int | None = None, device: str = "cpu", watch: Watch | None = None
) -> Synthesis:
    """The picture with a band of `band` pixels along its edges made anew, so that it wraps on the axes of tile.

    Everything further from those edges keeps its pixels. There is no chance in it: the same picture gives the same
    result. Raises ValueError for a tile other than "x", "y" or "xy" or a band that leaves nothing, InputError for a
    picture below 16x16.
    """
    watch, band = watch or Watch(), check(picture, tile, band)
    model = Texto(picture, TextoConfig(), device)
    source: Tensor | None = None
    with one_torch_thread():
        for level in reversed(model.levels):
            watch.step(4.0 ** -(level.number + 1), f"level {level.number}: {level.size}")
            free = _band(level, tile, band)
            whole = Region(0, 0, level.size.height, level.size.width)
            identity = _identity(level)
            finer = identity if source is None else children(source, coarser(whole), whole, level.size)
            source = torch.where(free[..., None], finer, identity)
            if level in model.transported:
                source = _complete(level, source, free)
            for k in range(FINE_VOTES + FINE_CORRECTIONS):
                u = _voted(level, source, free) if k < FINE_VOTES else take(level.codes, source)
                better = correct(wrap(u, level.w // 2), wrap(source, 1), level.codes, level.w)
                source = torch.where(free[..., None], better, source)
    watch.step(1.0, "done")
    assert source is not None
    at = source.cpu().numpy()
    changed = float(np.mean(free.cpu().numpy()))
    return Synthesis(picture.pixels[at[..., 0], at[..., 1]], at, [{"level": 0, "made_anew": round(changed, 4)}])


def _band(level: Level, tile: str, band: int) -> Tensor:
    """(h, w) bool: what lies within band pixels of the edges that meet, at a level's scale, rounded up."""
    n = -(-band // 2**level.number)
    rows, columns = (
        torch.tensor([axis in tile and (i < n or i >= side - n) for i in range(side)], device=level.codes.device)
        for axis, side in (("y", level.size.height), ("x", level.size.width))
    )
    return rows[:, None] | columns[None, :]


def _complete(level: Level, source: Tensor, free: Tensor) -> Tensor:
    """Rounds of transport for every patch that touches the band, and of votes for the pixels in it.

    Plain nearest patches would fill the band with what fits anywhere, the plain background. So psi moves against what
    was just used, as in the passes of balanced Texto.
    """
    r, u = level.w // 2, take(level.codes, source)
    touched = wrap(free, r).unfold(0, level.w, 1).unfold(1, level.w, 1).any(-1).any(-1)
    where = touched.nonzero()
    psi = torch.zeros(level.n_atoms, dtype=torch.float64, device=u.device)
    t, unit = 0, 0.0
    for k in range(ROUNDS):
        views = windows(wrap(u, r), level.w)
        hashes = NoiseField(0, level.number, k).bits(Region(0, 0, 1, len(where)))[0]
        for rows in where[torch.from_numpy(np.argsort(hashes, kind="stable")).to(where.device)].split(BATCH):
            y, x = rows.unbind(1)
            patches = views[y, x].reshape(len(rows), -1)
            atom = level.assign(patches, psi.round())
            if t == 0:  # m0, in squared code values; 1 keeps a flat picture moving
                unit = 1 + (patches.float() - 128 - level.index.y[atom]).square().sum(1).double().mean().item()
            source[y, x] = level.coordinates(atom)
            t += 1
            used = torch.zeros_like(psi).scatter_add_(0, atom, torch.ones_like(psi[atom])) / psi.new_tensor(len(rows))
            psi += STEP * unit * level.n_atoms / math.sqrt(t) * (1 / level.n_atoms - used)
        u = _voted(level, source, free)
    return torch.where(free[..., None], source, _identity(level))


def _identity(level: Level) -> Tensor:
    rows, columns = (torch.arange(n, dtype=torch.int32, device=level.codes.device) for n in level.codes.shape[:2])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)


def _voted(level: Level, source: Tensor, free: Tensor) -> Tensor:
    """The picture: votes in the band, the level's own codes elsewhere."""
    u = vote(level.codes, inside(wrap(source, level.w // 2), level.size, level.w), level.w)
    return torch.where(free[..., None], u, level.codes)


def fill(model: Texto, free: np.ndarray, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
    """The first sheet of a balanced model's material with the pixels where free (h, w) bool is True made anew.

    All others keep their pixels. What is copied are patches of any sheet that are known and usable; pixels that are
    free and known (see Sheet) may be copied too. On an axis named by tile the picture wraps. Raises ValueError when
    free has another size or names no pixel.
    """
    watch, size = watch or Watch(), model.exemplar.size
    if free.shape != (size.height, size.width):
        raise ValueError(
            f"the mask is {free.shape[1]}x{free.shape[0]} and the picture {size}; they must be of one size"
        )
    if not free.any():
        raise ValueError("the mask is empty; nothing is to be made")
    period, threads = period_of(tile, size), torch.get_num_threads()
    canvases, kept = _canvases(model, free, period)
    painting = Painting(
        model.manner(threads), seed, canvases, period, kept, size, told=watch.part(0, 0.9).step
    )  # fmt: skip
    with one_torch_thread():
        u = model.start_on_torus(Size(*kept[-1].shape[:2]), seed)
        source = transport_all(painting, model.transported, u)
        for level in model.corrected:
            watch.step(1 - 0.1 * 4.0**-level.number, f"level {level.number}: corrections")
            source = painting.correct(level, painting.down(level, source))
    watch.step(1.0, "done")
    chosen = torch.from_numpy(free).to(source.device)
    here = (slice(0, size.height), slice(0, size.width))
    source = torch.where(chosen[..., None], source[here], kept[0][here])
    return model.cut_out(source, [*painting.evidence, {"level": 0, "made_anew": round(float(free.mean()), 4)}])


def _canvases(model: Texto, free: np.ndarray, period: Period) -> tuple[list[Canvas], list[Tensor]]:
    """For each level, finest first: what is free, with the codes of the rest, and the map of the rest.

    A coarse pixel is free where the larger part of it is. Beyond a border that does not wrap, RING coarse pixels are
    free too, so that the opposite border has no say.
    """
    canvases, kept = [], []
    tori = model.tori(model.exemplar.size, period, RING, least=False)
    shares = pyramid(torch.from_numpy(free)[None].float(), len(tori))
    for level, torus, share in zip(model.levels, tori, shares, strict=True):
        window = model.atlas.window(0, level.number)
        height, width = min(torus.height, window.height), min(torus.width, window.width)
        made = torch.ones((torus.height, torus.width), dtype=torch.bool, device=level.codes.device)
        made[:height, :width] = (share[0] >= 0.5 if level.number else share[0] > 0)[:height, :width]
        known = torch.zeros((torus.height, torus.width, level.codes.shape[2]), dtype=torch.uint8, device=made.device)
        known[:height, :width] = level.codes[:height, :width]
        at = [torch.arange(n, dtype=torch.int32, device=made.device) for n in (torus.height, torus.width)]
        identity = torch.stack(torch.meshgrid(*at, indexing="ij"), -1)
        identity[..., 0].clamp_(max=height - 1)
        identity[..., 1].clamp_(max=width - 1)
        canvases.append(Canvas(free=made, known=known))
        kept.append(identity)
    return canvases, kept
