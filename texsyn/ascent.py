"""Passes of assignment, dual ascent and averaging over one level of a picture: balanced Texto's heart.

Every pass visits the patches in an order of its own, in batches: assign, then one ascent step of the semi-dual with
this batch's shares, psi_j += c m0 J / sqrt(t) (mass_j - share_j), so the assignments of a pass ARE the stochastic
gradients (see texsyn.models.texto). What a picture must obey besides (pixels that are known, codes that guide it,
shares that differ from place to place) enters by a Canvas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from texsyn.atlas import Level, centred
from texsyn.coordinates import vote, wrap
from texsyn.images import Region
from texsyn.noise import NoiseField
from texsyn.patches import windows

PRICE = 0.3, 2.0  # m0 that prices move, at least, in a batch and in a pass without the wanted exemplar
HELD = 2  # passes of a mixture before anything is averaged: psi must know the shares first, or one exemplar takes all


@dataclass(frozen=True)
class Ascent:
    """passes over all patches, in batches of that many; step: c of c m0 J / sqrt(t)."""

    passes: int
    batch: int
    step: float


@dataclass(frozen=True, eq=False)
class Canvas:
    """What one level (H, W) of a picture on a torus must obey. All of it may be None: nothing.

    guide (H, W, G): codes of the last channels. free (H, W) bool: the pixels that are made; the others keep known
    (H, W, C). zone (H, W) uint8 and wanted (Z, E) float64: the share of each exemplar in each zone.
    """

    guide: Tensor | None = None
    free: Tensor | None = None
    known: Tensor | None = None
    zone: Tensor | None = None
    wanted: Tensor | None = None
    _touched: dict[int, Tensor] = field(default_factory=dict)

    def impose(self, u: Tensor) -> Tensor:
        """The codes u (H, W, C) with what is given put back."""
        if self.guide is not None:
            u = torch.cat([u[..., : u.shape[2] - self.guide.shape[2]], self.guide], 2)
        if self.free is not None:
            assert self.known is not None
            u = torch.where(self.free[..., None], u, self.known)
        return u

    def touched(self, w: int) -> Tensor | None:
        """(H, W) bool: centres of the patches that hold a free pixel; None for all."""
        if self.free is None:
            return None
        if w not in self._touched:
            rows = wrap(self.free, w // 2).unfold(0, w, 1).any(-1)
            self._touched[w] = rows.unfold(1, w, 1).any(-1)
        return self._touched[w]


@dataclass(frozen=True, eq=False)
class Ascended:
    """The picture before the last assignment, its map, the averaged potentials, and the unit of psi.

    psi (J,) and prices (Z, E), int32, the latter for the exemplars in the zones of the canvas.
    """

    u: Tensor
    source: Tensor
    psi: Tensor
    prices: Tensor
    m0: float


def ascend(
    level: Level,
    u: Tensor,
    how: Ascent,
    seed: int,
    canvas: Canvas,
    start: Tensor | None = None,
    step: Callable[[int], None] = lambda k: None,
) -> Ascended:
    """All passes over one level, from the codes u (H, W, C) on a torus.

    start (H, W, 2): the map where no patch is touched; needed where the canvas is not free. step(k) is called before
    pass k. Patches that hold no free pixel are neither assigned nor counted.
    """
    w, n_atoms, device = level.w, level.n_atoms, u.device
    height, width = u.shape[:2]
    touched = canvas.touched(w)
    where = None if touched is None else touched.reshape(-1).nonzero()[:, 0]
    psi = torch.zeros(n_atoms, dtype=torch.float64, device=device)
    prices = torch.zeros_like(torch.zeros(1, 1) if canvas.wanted is None else canvas.wanted, dtype=torch.float64)
    average, prices_average, weight, t, m0 = psi.clone(), prices.clone(), 0.0, 0, 0.0
    size = torch.tensor(float(how.batch), device=device)
    winner = torch.zeros(height * width, dtype=torch.long, device=device)
    owner = _owners(level)
    held = 0 if canvas.wanted is None else HELD
    gain = _gains(canvas, how.batch)
    for k in range(how.passes):
        step(k)
        views = windows(wrap(u, w // 2), w)
        order = _order(seed, level.number, k, height, width, where).to(device)
        if k == 0:
            m0 = _mean_cost(level, views, order[:2048])
            m0 = m0 if touched is None else max(m0, 1.0)  # what is kept has no cost, and psi must move all the same
        for rows, zone in _batches(order, how.batch, canvas.zone):
            patches = views[rows // width, rows % width].reshape(len(rows), -1)
            bias = psi.round() if canvas.wanted is None else (psi + prices[zone][owner]).round()
            j = level.assign(patches, bias)
            winner[rows] = j
            t += 1
            count = torch.zeros(n_atoms, dtype=torch.long, device=device).scatter_add_(0, j, torch.ones_like(j))
            share = count.float() / size  # by a tensor: by a number CUDA multiplies with the reciprocal
            mass = 1 / n_atoms if level.mass is None else level.mass
            part = len(rows) / (how.batch * n_atoms) if level.mass is None else len(rows) / how.batch * mass
            psi = psi + how.step * m0 * n_atoms / math.sqrt(t) * (part - share)
            if canvas.wanted is not None:
                given = torch.zeros_like(prices[0]).scatter_add_(0, owner[j], torch.ones_like(j, dtype=torch.float64))
                prices[zone] += gain[zone] * m0 * (canvas.wanted[zone] - given / len(rows))
            if k >= how.passes // 2:  # the tail average, weights ~ t^2
                weight += t * t
                average = average + t * t / weight * (psi - average)
                prices_average = prices_average + t * t / weight * (prices - prices_average)
        source = level.coordinates(winner).view(height, width, 2)
        if touched is not None and start is not None:
            source = torch.where(touched[..., None], source, start)
        if held <= k < how.passes - 1:
            settled = source if touched is None else level.settled(source)
            u = canvas.impose(vote(level.codes, wrap(settled, w // 2), w))
    return Ascended(u, source, average.round().to(torch.int32), prices_average.round().to(torch.int32), m0)


def _owners(level: Level) -> Tensor:
    """(J,) the exemplar of each atom."""
    if level.owner is None:
        return torch.zeros(level.n_atoms, dtype=torch.long, device=level.codes.device)
    return level.owner[level.coordinates(torch.arange(level.n_atoms, device=level.codes.device))[:, 0].long()].long()


def _gains(canvas: Canvas, batch: int) -> Tensor:
    """(Z,) by what part of m0 prices move for a share that is all missing from one batch of a zone."""
    if canvas.zone is None:
        return torch.full((1,), PRICE[0], dtype=torch.float64)
    n = torch.bincount(canvas.zone.reshape(-1).long()).double()
    return (PRICE[1] * batch / n.clamp(min=1)).clamp(min=PRICE[0])


def _order(seed: int, level: int, k: int, height: int, width: int, where: Tensor | None) -> Tensor:
    """The positions of pass k, shuffled by a hash of their addresses."""
    bits = NoiseField(seed, level, 1 + k).bits(Region(0, 0, height, width)).reshape(-1)
    if where is None:
        return torch.from_numpy(np.argsort(bits, kind="stable"))
    chosen = where.cpu().numpy()
    return torch.from_numpy(chosen[np.argsort(bits[chosen], kind="stable")])


def _batches(order: Tensor, batch: int, zone: Tensor | None) -> list[tuple[Tensor, int]]:
    """The order cut into batches; with zones each batch lies in one, and the zones' batches take turns."""
    if zone is None:
        return [(rows, 0) for rows in order.split(batch)]
    number = zone.reshape(-1)[order].long()
    turns: list[tuple[float, int, Tensor]] = []
    for z in range(int(number.max()) + 1 if len(number) else 0):
        rows = order[number == z]
        parts = rows.split(batch) if len(rows) else ()
        turns += [((i + 0.5) / len(parts), z, part) for i, part in enumerate(parts)]
    return [(part, z) for _, z, part in sorted(turns, key=lambda turn: turn[:2])]


def _mean_cost(level: Level, views: Tensor, rows: Tensor) -> float:
    """m0: mean over some patches of the squared distance to their nearest atom, the unit of psi."""
    patches = views[rows // views.shape[1], rows % views.shape[1]].reshape(len(rows), -1)
    level.index.set_bias(None)
    return level.index.argmin(centred(patches), return_value=True)[1].double().mean().item()
