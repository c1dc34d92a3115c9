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
from texsyn.blocks import ENDLESS, Period, period_of
from texsyn.coordinates import take
from texsyn.images import InputError, Picture, Region, Size
from texsyn.models.base import Synthesis, Watch
from texsyn.models.texto import Texto, TextoConfig, correct_all, transport_all
from texsyn.ot.nearest import one_torch_thread
from texsyn.painting import Painting
from texsyn.pyramid import coarser, pyramid

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
    model = Texto(picture, TextoConfig(regular="never"), device)  # pixels that are kept give the band its structure
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
    tori = model.tori(size, period, RING, least=False)
    made = _free(model, free, period, tori)
    windows = _windows(made, model.config.patch_size) if period == ENDLESS else [_whole(one) for one in made]
    canvases, kept = _canvases(model, made, windows)
    told = watch.part(0, 0.9).step
    painting = Painting(model.manner(threads), seed, canvases, period, kept, windows, told=told)
    with one_torch_thread():
        u = model.start_on_torus(tori[-1], seed)
        source = correct_all(painting, model.corrected, transport_all(painting, model.transported, u), watch)
    watch.step(1.0, "done")
    whole = _identity(Region(0, 0, size.height, size.width), size)
    inside = windows[0].intersect(Region(0, 0, size.height, size.width))
    assert inside is not None
    here = np.s_[inside.top : inside.bottom, inside.left : inside.right]
    there = np.s_[inside.top - windows[0].top :, inside.left - windows[0].left :]
    found = source[there][: inside.height, : inside.width].cpu()
    whole[here] = torch.where(torch.from_numpy(free[here])[..., None], found, whole[here])
    evidence = [*painting.evidence, {"level": 0, "made_anew": round(float(free.mean()), 4)}]
    return model.cut_out(whole.to(model.device), evidence)


def _free(model: Texto, free: np.ndarray, period: Period, tori: list[Size]) -> list[Tensor]:
    """For each level, finest first, (H, W) bool on its torus: what is made.

    A coarse pixel is free where the larger part of it is. Where the hole is near a border that does not wrap, what lies
    beyond it is free too, so that the opposite border has no say.
    """
    reach = (model.config.patch_size // 2 + 1) * 2 ** (len(tori) - 1)
    rows, columns = (np.flatnonzero(free.any(axis)) for axis in (1, 0))
    near = any(
        p is None and (at[0] < reach or at[-1] >= n - reach)
        for p, at, n in zip(period, (rows, columns), free.shape, strict=True)
    )
    found = []
    for number, (torus, share) in enumerate(
        zip(tori, pyramid(torch.from_numpy(free)[None].float(), len(tori)), strict=True)
    ):
        made = torch.full((torus.height, torus.width), near)
        part = share[0] >= 0.5 if number else share[0] > 0
        height, width = min(torus.height, part.shape[0]), min(torus.width, part.shape[1])
        made[:height, :width] = part[:height, :width]
        found.append(made)
    return found


def _whole(made: Tensor) -> Region:
    return Region(0, 0, made.shape[0], made.shape[1])


def _windows(made: list[Tensor], w: int) -> list[Region]:
    """For each level, finest first, a window around what is made there and at the finer levels; all at the coarsest."""
    found: list[Region] = []
    for one in made:
        whole = _whole(one)
        rows, columns = (one.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
        window = None
        if rows:
            window = Region(rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1).grow(4 * w)
        if found:
            above = coarser(found[-1])
            window = above if window is None else _around(window, above)
        assert window is not None, "something is made at level 0"
        inside = window.intersect(whole)
        found.append(inside if inside is not None else whole)
    return [*found[:-1], _whole(made[-1])]


def _around(a: Region, b: Region) -> Region:
    """The smallest region that holds both."""
    top, left = min(a.top, b.top), min(a.left, b.left)
    return Region(top, left, max(a.bottom, b.bottom) - top, max(a.right, b.right) - left)


def _canvases(model: Texto, made: list[Tensor], windows: list[Region]) -> tuple[list[Canvas], list[Tensor]]:
    """For each level, finest first, on its window: what is free with the codes of the rest, and the map of the rest."""
    canvases, kept = [], []
    for level, free, window in zip(model.levels, made, windows, strict=True):
        home = model.atlas.window(0, level.number)
        identity = _identity(window, home.size).to(level.codes.device)
        free = free[window.top : window.bottom, window.left : window.right].to(level.codes.device)
        canvases.append(Canvas(free=free, known=take(level.codes, identity)))
        kept.append(identity)
    return canvases, kept


def _identity(window: Region, size: Size) -> Tensor:
    """(H, W, 2) int32: every position of a window, moved into a picture of that size."""
    rows = torch.arange(window.top, window.bottom, dtype=torch.int32).clamp(max=size.height - 1)
    columns = torch.arange(window.left, window.right, dtype=torch.int32).clamp(max=size.width - 1)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)
