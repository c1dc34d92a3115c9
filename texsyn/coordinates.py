"""Pictures written as maps of source coordinates: which exemplar pixel each output pixel is.

Once a picture is such a map it is never averaged again: every pixel IS an exemplar pixel, in all its channels and at
its full depth. Neighbouring pixels that come from neighbouring sources form verbatim pieces; correct() lets each
pixel choose among the sources its neighbours propose, which keeps the pieces coherent (Ashikhmin 2001, "Synthesizing
natural textures", section 3; Lefebvre and Hoppe 2005, "Parallel controllable texture synthesis", section 3.2).

Everything here works on 8-bit codes and integers, so each decision is the same in any tile, order, thread or device.
Arrays: codes (H, W, C) uint8; maps (H, W, 2) int32 holding (row, column) in the exemplar. Functions that look at a
neighbourhood take arrays that hold it and return the inner part: who calls decides whether the surroundings come from
a larger region of the plane or from wrapping a torus.

vote() and correct() have a numba loop for the CPU, Triton kernels for CUDA (coordinates_triton.py) and plain torch for
other devices; all give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from texsyn.blocks import ENDLESS, Period, share_rows
from texsyn.images import Region, Size
from texsyn.patches import extract
from texsyn.pyramid import parent


def take(exemplar: Tensor, source: Tensor) -> Tensor:
    """The picture that a map stands for: exemplar (h, w, C), source (H, W, 2), gives (H, W, C)."""
    at = source[..., 0] * exemplar.shape[1] + source[..., 1]
    return exemplar.flatten(0, 1).index_select(0, at.reshape(-1)).view(*at.shape, exemplar.shape[2])


def children(
    source: Tensor, region: Region, child: Region, size: Size, fine: Period = ENDLESS, coarse: Period = ENDLESS
) -> Tensor:
    """The map one level finer: a pixel's four children take its source doubled, plus 0 or 1.

    source (H, W, 2) covers region of the coarse level, child is the wanted region of the fine level, size the fine
    exemplar's; fine and coarse are the levels' periods. region must hold pyramid.coarser(child, fine, coarse).
    """
    rows, y = _parents(child.top, child.height, region.top, fine[0], coarse[0], source.device)
    columns, x = _parents(child.left, child.width, region.left, fine[1], coarse[1], source.device)
    doubled = source[rows][:, columns].mul_(2)
    doubled[..., 0] += y[:, None]
    doubled[..., 1] += x[None, :]
    doubled[..., 0].clamp_(max=size.height - 1)
    doubled[..., 1].clamp_(max=size.width - 1)
    return doubled


def _parents(
    start: int, n: int, first: int, fine: int | None, coarse: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """For n rows from start: each one's parent, counted from row first, and the child's number: 0, 1, or 2."""
    at = range(start, start + n)
    of = [parent(y, fine, coarse) for y in at]
    if fine is None or coarse is None:
        child = [y - 2 * p for y, p in zip(at, of, strict=True)]
    else:
        child = [y % fine - 2 * (p % coarse) for y, p in zip(at, of, strict=True)]
    index = torch.tensor([p - first for p in of], device=device)
    return index, torch.tensor(child, dtype=torch.int32, device=device)


def vote(exemplar: Tensor, source: Tensor, w: int, *, threads: int = 1) -> Tensor:
    """Average, rounded half up, of the overlapping w x w exemplar patches centred at source.

    exemplar (h, w, C) codes, source (H + 2r, W + 2r, 2), r = w // 2, at least r from the exemplar's border. Returns
    (H, W, C) codes: Texto's recomposition, in integers.
    """
    r = w // 2
    h, wd = source.shape[0] - 2 * r, source.shape[1] - 2 * r
    if _compiled(source):
        out = np.empty((h, wd, exemplar.shape[2]), np.uint8)
        e, s = exemplar.contiguous().numpy(), source.contiguous().numpy()
        share_rows(h, threads, lambda top, end: _vote(e, s[top : end + 2 * r], w, out[top:end]))
        return torch.from_numpy(out)
    return _engine(source, w, exemplar.shape[2]).vote(exemplar, source, w)


def inside(source: Tensor, size: Size, w: int) -> Tensor:
    """source moved to the nearest positions whose w x w patch fits an exemplar of that size, as vote() needs them."""
    r = w // 2
    moved = source.clone()
    moved[..., 0].clamp_(r, size.height - 1 - r)
    moved[..., 1].clamp_(r, size.width - 1 - r)
    return moved


@dataclass(frozen=True, eq=False)
class Prices:
    """What sources cost more or less by the exemplar they belong to, and by where they go.

    price (Z, E) int32 is added to psi; zone (H, W) uint8, concentric with the map that correct() returns and of its
    size, says which row holds for a pixel; owner (h,) int32 the exemplar of each row of the sheets.
    """

    price: Tensor
    zone: Tensor
    owner: Tensor


def correct(
    u: Tensor,
    source: Tensor,
    exemplar: Tensor,
    w: int,
    psi: Tensor | None = None,
    *,
    fix: Tensor | None = None,
    prices: Prices | None = None,
    threads: int = 1,
) -> Tensor:
    """One coherent correction: each pixel takes the best of the nine sources that its neighbours propose.

    A neighbour at offset (dy, dx) with source s proposes s - (dy, dx), moved to where its patch fits: inside the
    exemplar, and then to fix[y, x] where fix (h, w, 2) int32 is given. The best minimises |X - Y|^2 - psi over the
    w x w patches X of u around the pixel and Y of the exemplar around the proposal; of equals the first in reading
    order of the neighbours wins.

    u (A, B, C) codes and source (P, Q, 2) are concentric; psi is int32, one for each exemplar patch in reading order.
    Returns the map (H, W, 2), concentric, of size (min(A - 2r, P - 2), min(B - 2r, Q - 2)), r = w // 2.
    """
    r = w // 2
    h = min(u.shape[0] - 2 * r, source.shape[0] - 2)
    wd = min(u.shape[1] - 2 * r, source.shape[1] - 2)
    u, source = middle(u, h + 2 * r, wd + 2 * r), middle(source, h + 2, wd + 2)
    if not _compiled(source):
        return _engine(source, w, exemplar.shape[2]).correct(u, source, exemplar, w, psi, fix, prices)
    out = np.empty((h, wd, 2), np.int32)
    bias = np.zeros(0, np.int32) if psi is None else psi.contiguous().numpy()
    moved = np.zeros((0, 0, 2), np.int32) if fix is None else fix.contiguous().numpy()
    price, zone, owner = np.zeros((0, 0), np.int32), np.zeros((h, 0), np.uint8), np.zeros(0, np.int32)
    if prices is not None:
        price, zone, owner = (t.contiguous().numpy() for t in (prices.price, prices.zone, prices.owner))
    x, s, e = u.contiguous().numpy(), source.contiguous().numpy(), exemplar.contiguous().numpy()

    def band(top: int, end: int) -> None:
        these = s[top : end + 2]
        _correct(x[top : end + 2 * r], these, e, w, bias, moved, price, zone[top:end], owner, out[top:end])

    share_rows(h, threads, band)
    return torch.from_numpy(out)


def middle(a: Tensor, height: int, width: int) -> Tensor:
    """The concentric inner part of a (H, W, ...); margins must be even."""
    top, left = (a.shape[0] - height) // 2, (a.shape[1] - width) // 2
    return a[top : top + height, left : left + width]


def wrap(a: Tensor, radius: int) -> Tensor:
    """a (H, W, ...) as a torus: grown by radius on every side with what lies beyond the opposite border."""
    rows = torch.arange(-radius, a.shape[0] + radius, device=a.device).remainder(a.shape[0])
    columns = torch.arange(-radius, a.shape[1] + radius, device=a.device).remainder(a.shape[1])
    return a[rows][:, columns]


def _compiled(a: Tensor) -> bool:
    """The numba loops serve what lies in main memory."""
    return a.device.type == "cpu"


def _engine(a: Tensor, w: int, n_channels: int) -> Any:
    """vote and correct for other devices: Triton kernels where they work, else plain torch."""
    from texsyn import coordinates_triton

    if coordinates_triton.usable(w, n_channels, a.device):
        return coordinates_triton
    return SimpleNamespace(vote=_vote_torch, correct=_correct_torch)


@numba.njit(cache=True, nogil=True)
def _agree(source, w):  # type: ignore[no-untyped-def]
    """(H - w + 1, W - w + 1) bool: whether a w x w window of source (H, W, 2) is one verbatim piece. One pass."""
    height, width = source.shape[:2]
    out = np.empty((height - w + 1, width - w + 1), np.bool_)
    depth = np.zeros(width, np.int32)  # rows up to here that agree over the w columns up to this one
    above = np.zeros((width, 2), np.int32)
    for y in range(height):
        run, left_y, left_x = 0, 0, 0
        for x in range(width):
            dy, dx = source[y, x, 0] - y, source[y, x, 1] - x
            run = run + 1 if dy == left_y and dx == left_x else 1
            left_y, left_x = dy, dx
            if run < w:
                depth[x] = 0
            elif above[x, 0] == dy and above[x, 1] == dx:
                depth[x] += 1
            else:
                depth[x] = 1
            above[x, 0], above[x, 1] = dy, dx
            if y >= w - 1 and x >= w - 1:
                out[y - w + 1, x - w + 1] = depth[x] >= w
    return out


@numba.njit(cache=True, nogil=True)
def _vote(exemplar, source, w, out):  # type: ignore[no-untyped-def]
    r, area = w // 2, w * w
    n_channels = exemplar.shape[2]
    total = np.empty(n_channels, np.int32)
    agree = _agree(source, w)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            if agree[y, x]:  # the average of equal pixels
                for c in range(n_channels):
                    out[y, x, c] = exemplar[source[y + r, x + r, 0], source[y + r, x + r, 1], c]
                continue
            total[:] = 0
            for i in range(w):
                for j in range(w):
                    sy, sx = source[y + i, x + j, 0] + r - i, source[y + i, x + j, 1] + r - j
                    for c in range(n_channels):
                        total[c] += exemplar[sy, sx, c]
            for c in range(n_channels):
                out[y, x, c] = (2 * total[c] + area) // (2 * area)


def _vote_torch(exemplar: Tensor, source: Tensor, w: int) -> Tensor:
    r, h, wd = w // 2, source.shape[0] - w + 1, source.shape[1] - w + 1
    total = torch.zeros((h, wd, exemplar.shape[2]), dtype=torch.int32, device=source.device)
    at = source.long()
    for i in range(w):
        for j in range(w):
            s = at[i : i + h, j : j + wd]
            total += exemplar[s[..., 0] + r - i, s[..., 1] + r - j]
    return ((2 * total + w * w) // (2 * w * w)).to(torch.uint8)


@numba.njit(cache=True, nogil=True)
def _correct(u, source, exemplar, w, psi, fix, price, zone, owner, out):  # type: ignore[no-untyped-def]
    r = w // 2
    last_y, last_x = exemplar.shape[0] - 1 - r, exemplar.shape[1] - 1 - r
    per_row = exemplar.shape[1] - 2 * r
    biased, row = psi.size > 0, w * exemplar.shape[2]
    moved, priced = fix.size > 0, price.size > 0
    flat_u = u.reshape(u.shape[0], -1)
    flat_e = exemplar.reshape(exemplar.shape[0], -1)
    n_channels = exemplar.shape[2]
    proposed = np.empty((9, 2), np.int32)
    agree = _agree(source, 3)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            if agree[y, x]:  # there is but one proposal
                cy = min(max(source[y + 1, x + 1, 0], r), last_y)
                cx = min(max(source[y + 1, x + 1, 1], r), last_x)
                if moved:
                    cy, cx = fix[cy, cx, 0], fix[cy, cx, 1]
                out[y, x, 0], out[y, x, 1] = cy, cx
                continue
            n = 0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    cy = min(max(source[y + 1 + dy, x + 1 + dx, 0] - dy, r), last_y)
                    cx = min(max(source[y + 1 + dy, x + 1 + dx, 1] - dx, r), last_x)
                    if moved:
                        cy, cx = fix[cy, cx, 0], fix[cy, cx, 1]
                    new = True
                    for k in range(n):
                        new &= (proposed[k, 0] != cy) | (proposed[k, 1] != cx)
                    if new:
                        proposed[n, 0], proposed[n, 1] = cy, cx
                        n += 1
            best, best_k = np.int64(1) << 62, 0
            if n > 1:
                for k in range(n):
                    cy, cx = proposed[k, 0], proposed[k, 1]
                    cost = np.int64(0)
                    if biased:
                        cost -= psi[(cy - r) * per_row + cx - r]
                    if priced:
                        cost -= price[zone[y, x], owner[cy]]
                    for i in range(w):
                        u_row, e_row = flat_u[y + i], flat_e[cy - r + i]
                        u_at, e_at = x * n_channels, (cx - r) * n_channels
                        s = np.int32(0)
                        for m in range(row):
                            t = np.int32(u_row[u_at + m]) - np.int32(e_row[e_at + m])
                            s += t * t
                        cost += s
                        if cost >= best:  # the remaining rows only add
                            break
                    if cost < best:
                        best, best_k = cost, k
            out[y, x, 0] = proposed[best_k, 0]
            out[y, x, 1] = proposed[best_k, 1]


def _correct_torch(
    u: Tensor,
    source: Tensor,
    exemplar: Tensor,
    w: int,
    psi: Tensor | None,
    fix: Tensor | None = None,
    prices: Prices | None = None,
) -> Tensor:
    r, h, wd = w // 2, source.shape[0] - 2, source.shape[1] - 2
    x = extract(u.permute(2, 0, 1).to(torch.int32), w)  # (H W, C w w)
    y = extract(exemplar.permute(2, 0, 1).to(torch.int32), w)
    last_y, last_x, per_row = exemplar.shape[0] - 1 - r, exemplar.shape[1] - 1 - r, exemplar.shape[1] - 2 * r
    best = torch.full((h * wd,), 1 << 62, dtype=torch.int64, device=u.device)
    winner = torch.zeros_like(best)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            s = source[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + wd].long()
            cy, cx = (s[..., 0] - dy).clamp(r, last_y), (s[..., 1] - dx).clamp(r, last_x)
            if fix is not None:
                cy, cx = fix[cy, cx].long().unbind(-1)
            k = ((cy - r) * per_row + cx - r).reshape(-1)
            for rows in torch.arange(h * wd, device=u.device).split(1 << 18):
                cost = (x[rows] - y[k[rows]]).square_().sum(1)
                if psi is not None:
                    cost -= psi[k[rows]]
                if prices is not None:
                    owner = prices.owner[cy.reshape(-1)[rows]].long()
                    cost -= prices.price[prices.zone.reshape(-1)[rows].long(), owner]
                better = cost < best[rows]
                best[rows] = torch.where(better, cost, best[rows])
                winner[rows] = torch.where(better, k[rows], winner[rows])
    return torch.stack([winner // per_row + r, winner % per_row + r], 1).view(h, wd, 2).to(torch.int32)
