"""A picture on a torus, level by level, coarse to fine: transport at the coarse levels, corrections at the finer ones.

Balanced Texto paints its transported levels here, and pictures that must obey something (a guide, known pixels, shares
of several exemplars) all of their levels, since what they obey is known for the picture as a whole only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from texsyn.ascent import Ascended, Ascent, Canvas, ascend
from texsyn.atlas import Level
from texsyn.blocks import ENDLESS, Period
from texsyn.coordinates import Prices, children, correct, take, vote, wrap
from texsyn.images import Region, Size
from texsyn.patches import windows
from texsyn.pyramid import coarser, level_period

MENDED, MENDING_PASSES = 4, 3  # see mend()
GAIN, STEERED, CLOSE = 10.0, 24, 0.004  # of the prices that hold the shares; further corrections; where they end


@dataclass(frozen=True)
class Manner:
    """ascent(level, patches) for the transported levels; how many corrections after it, and votes and corrections at
    the finer levels.
    """

    ascent: Callable[[Level, int], Ascent]
    transport_corrections: int
    fine_votes: int
    fine_corrections: int
    threads: int = 1


@dataclass
class Painting:
    """A torus in the making: the canvases and the period of its levels, by number, what is said about it, and to whom.

    kept: for each level the map (H, W, 2) of what the canvas is not free to change. windows: where the canvases lie on
    the torus, when they are a part of it, whose pixels next to its border are not free. size: the part of the torus
    that is wanted, whose shares are measured. told(fraction, message) is called between pieces.
    """

    manner: Manner
    seed: int
    canvases: Sequence[Canvas]
    period: Period = ENDLESS
    kept: Sequence[Tensor] | None = None
    windows: Sequence[Region] | None = None
    size: Size | None = None
    told: Callable[[float, str], None] = lambda fraction, message: None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    prices: Tensor | None = None

    def transport(self, level: Level, u: Tensor, start: float = 0.0, end: float = 1.0) -> Tensor:
        """A transported level's map from the picture u (H, W, C) that the coarser level left."""
        canvas, made = self.canvases[level.number], self._ascended(level, u, start, end)
        self.prices = made.prices.double()
        u, source = canvas.impose(made.u), made.source
        psi = level.spread(made.psi)
        for _ in range(self.manner.transport_corrections):
            source = self._correct(level, u, source, psi)
            u = canvas.impose(take(level.codes, source))
        self.evidence.append(account(level, source, made.m0, canvas))
        if canvas.wanted is not None:  # a new unit: the finer levels know no psi
            self.prices = torch.zeros_like(canvas.wanted)
            self.unit = max(made.m0, 1.0)
        return source

    def overview(self, level: Level, u: Tensor, start: float = 0.0, end: float = 1.0) -> Tensor:
        """The codes that a level's passes leave, averaged: what the same level with smaller windows begins with."""
        made = self._ascended(level, u, start, end)
        return vote(level.codes, wrap(made.source, level.w // 2), level.w)

    def _ascended(self, level: Level, u: Tensor, start: float, end: float) -> Ascended:
        canvas, (height, width) = self.canvases[level.number], u.shape[:2]
        touched = canvas.touched(level.w)
        how = self.manner.ascent(level, height * width if touched is None else max(1, int(touched.sum())))

        def step(k: int) -> None:
            done = start + (end - start) * k / how.passes
            self.told(done, f"level {level.number}: {width}x{height}, pass {k + 1} of {how.passes}")

        kept = None if self.kept is None else self.kept[level.number]
        return ascend(level, canvas.impose(u), how, self.seed, canvas, kept, step)

    def correct(self, level: Level, source: Tensor) -> Tensor:
        """A finer level's map (H, W, 2) from the children of the coarser one."""
        canvas, manner = self.canvases[level.number], self.manner
        ends = uneven_ends(self.period, level.number)
        if self.kept is not None:
            source = self._newly_free(level, source)
        elif any(ends):
            margin = 2 * (level.w // 2) * MENDING_PASSES
            whole = Region(0, 0, source.shape[0], source.shape[1]).grow(margin)
            source = mend(level, wrap(level.settled(source), margin), whole, ends)
        for k in range(manner.fine_votes + manner.fine_corrections):
            u = self._voted(level, source) if k < manner.fine_votes else canvas.impose(take(level.codes, source))
            source = self._steered(level, self._correct(level, u, source))
        return source

    def finish(self, level: Level, source: Tensor) -> Tensor:
        """The map of level 0 with the shares that are wanted, by further corrections; borders move until they fit."""
        canvas = self.canvases[level.number]
        for _ in range(STEERED if canvas.wanted is not None else 0):
            if self._miss(level, source).abs().max() < CLOSE:
                break
            u = canvas.impose(take(level.codes, source))
            source = self._steered(level, self._correct(level, u, source))
        return source

    def _voted(self, level: Level, source: Tensor) -> Tensor:
        w = level.w
        voted = vote(level.codes, wrap(level.settled(source), w // 2), w, threads=self.manner.threads)
        return self.canvases[level.number].impose(voted)

    def down(self, level: Level, source: Tensor) -> Tensor:
        """The children of the map of the level above it, on the torus; what is kept is put back."""
        fine, coarse = level_period(self.period, level.number), level_period(self.period, level.number + 1)
        if self.windows is None:
            whole = Region(0, 0, fine[0] or 2 * source.shape[0], fine[1] or 2 * source.shape[1])
            above = coarser(whole, fine, coarse)
        else:
            above, whole = self.windows[level.number + 1], self.windows[level.number]
        source = children(source, above, whole, level.size, fine, coarse)
        return self._keep(level, source)

    def _keep(self, level: Level, source: Tensor) -> Tensor:
        touched = self.canvases[level.number].touched(level.w)
        if touched is None or self.kept is None:
            return source
        return torch.where(touched[..., None], source, self.kept[level.number])

    def _correct(self, level: Level, u: Tensor, source: Tensor, psi: Tensor | None = None) -> Tensor:
        canvas, prices = self.canvases[level.number], None
        if canvas.wanted is not None and self.prices is not None and level.owner is not None:
            zone = canvas.zone if canvas.zone is not None else torch.zeros_like(source[..., 0], dtype=torch.uint8)
            prices = Prices(self.prices.round().to(torch.int32), zone, level.owner)
        better = correct(
            wrap(u, level.w // 2), wrap(source, 1), level.codes, level.w, psi,
            fix=level.fix, prices=prices, threads=self.manner.threads,
        )  # fmt: skip
        return self._keep(level, better)

    def _newly_free(self, level: Level, source: Tensor) -> Tensor:
        """source with patches found for the pixels whose sources may not be copied: the coarser level kept them."""
        canvas, w = self.canvases[level.number], level.w
        touched = canvas.touched(w)
        if touched is None or level.fix is None:
            return source
        for _ in range(MENDING_PASSES):
            settled = level.settled(source)
            lost = touched & (settled != source).any(-1)
            if not bool(lost.any()):
                break
            u = canvas.impose(vote(level.codes, wrap(settled, w // 2), w))
            source = _with_nearest(level, source, windows(wrap(u, w // 2), w), lost)
        return source

    # ---- shares of several exemplars

    def _steered(self, level: Level, source: Tensor) -> Tensor:
        """source, and the prices moved against what its shares miss."""
        wanted = self.canvases[level.number].wanted
        if wanted is not None and self.prices is not None:
            self.prices = self.prices + GAIN * self.unit * self._miss(level, source)
        return source

    def _miss(self, level: Level, source: Tensor) -> Tensor:
        """(Z, E) share wanted less share given, over the part of the torus that is wanted."""
        canvas = self.canvases[level.number]
        assert canvas.wanted is not None
        assert level.owner is not None
        rows, columns = source.shape[:2]
        if self.size is not None:
            rows, columns = (min(n, -(-m // 2**level.number)) for n, m in
                             ((rows, self.size.height), (columns, self.size.width)))  # fmt: skip
        owner = level.owner[source[:rows, :columns, 0].long()].long().reshape(-1)
        n_zones, n_exemplars = canvas.wanted.shape
        zone = torch.zeros_like(owner) if canvas.zone is None else canvas.zone[:rows, :columns].reshape(-1).long()
        count = torch.bincount(zone * n_exemplars + owner, minlength=n_zones * n_exemplars).double()
        count = count.view(n_zones, n_exemplars)
        n = count.sum(1, keepdim=True)
        return torch.where(n > 0, canvas.wanted - count / n.clamp(min=1), torch.zeros_like(count))


def uneven_ends(period: Period, level: int) -> Period:
    """The level's period on the axes where it is not twice the coarser level's; None on the others."""
    fine, coarse = level_period(period, level), level_period(period, level + 1)
    rows, columns = (None if f is None or c is None or f == 2 * c else f for f, c in zip(fine, coarse, strict=True))
    return rows, columns


def mend(level: Level, source: Tensor, region: Region, ends: Period) -> Tensor:
    """source (H, W, 2) on a region, with the places where uneven periods end made anew; it shrinks by the margin.

    There a row or column of children is missing or too many, and corrections alone would leave a straight seam. A
    few rounds of nearest patches and votes, on a band of MENDED pixels to each side, find patches that span it. The
    margin is 2 (w // 2) MENDING_PASSES.
    """
    r = level.w // 2
    for _ in range(MENDING_PASSES):
        u = vote(level.codes, level.settled(source), level.w)
        region, source = region.grow(-2 * r), source[2 * r : -2 * r, 2 * r : -2 * r]
        rows, columns = _near_the_end(region, ends)
        near = (rows[:, None] | columns[None, :]).to(u.device)
        source = _with_nearest(level, source, windows(u, level.w), near)
    return source


def _with_nearest(level: Level, source: Tensor, views: Tensor, chosen: Tensor) -> Tensor:
    """source (H, W, 2) with the nearest atom of its patch, views (H, W, C, w, w), where chosen (H, W) bool says so."""
    source = source.clone()
    for where in chosen.nonzero().split(8192):
        y, x = where[:, 0], where[:, 1]
        source[y, x] = level.nearest(views[y, x].reshape(len(where), views[0, 0].numel()))
    return source


def _near_the_end(region: Region, ends: Period) -> tuple[Tensor, Tensor]:
    """For the rows and for the columns of a region: which lie within MENDED of where such a period ends."""
    rows, columns = (
        torch.tensor([p is not None and (at + MENDED) % p < 2 * MENDED for at in range(start, stop)])
        for p, start, stop in ((ends[0], region.top, region.bottom), (ends[1], region.left, region.right))
    )
    return rows, columns


def account(level: Level, source: Tensor, m0: float | None = None, canvas: Canvas | None = None) -> dict[str, Any]:
    """Shares that a level's map gives to the atoms: L1 distance to theirs, and what sampling alone would give."""
    touched = None if canvas is None else canvas.touched(level.w)
    found = level.atoms_of(source.reshape(-1, 2) if touched is None else source[touched])
    share = torch.bincount(found, minlength=level.n_atoms).double() / max(1, len(found))
    mass = torch.full_like(share, 1 / level.n_atoms) if level.mass is None else level.mass.to(share)
    spread = (mass * (1 - mass)).sqrt().sum().item() if level.mass is not None else math.sqrt(level.n_atoms)
    said: dict[str, Any] = {
        "level": level.number,
        "size": f"{source.shape[1]}x{source.shape[0]}",
        "atoms": level.n_atoms,
        "mass_error": round((share - mass).abs().sum().item(), 4),
        "mass_error_floor": round(spread * math.sqrt(2 / (math.pi * max(1, len(found)))), 4),
        "atoms_used": round((share > 0).double().mean().item(), 4),
    }
    return said if m0 is None else said | {"start_cost": round(m0, 1)}
