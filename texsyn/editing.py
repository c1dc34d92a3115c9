"""Changes to an existing picture: fill() makes a part of it anew, tileable() a band that then wraps without a seam.

The picture is (with others, if wanted) its own exemplar, and its map of source coordinates the identity, but for the
part that is free. There the map is made as balanced Texto makes one (texsyn.painting), with the known pixels put back
after every step, so that patches across the border decide what fits. Wexler, Shechtman and Irani 2007, "Space-time
completion of video", section 2, complete by nearest patches; here they are transported, or the hole would fill with
what fits anywhere, the plain background.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from texsyn.ascent import Canvas
from texsyn.blocks import Period, period_of
from texsyn.images import InputError, Picture, Size
from texsyn.models.base import Synthesis, Watch
from texsyn.models.texto import Texto, TextoConfig, transport_all
from texsyn.ot.nearest import one_torch_thread
from texsyn.painting import Painting
from texsyn.pyramid import pyramid

RING = 3  # pixels of the coarsest level that are made beyond a border which does not wrap


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
    size, band = picture.size, check(picture, tile, band)
    rows, columns = (
        np.array([axis in tile and (i < band or i >= side - band) for i in range(side)])
        for axis, side in (("y", size.height), ("x", size.width))
    )
    model = Texto(picture, TextoConfig(), device)
    return fill(model, rows[:, None] | columns[None, :], seed=0, tile=tile, watch=watch)


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
