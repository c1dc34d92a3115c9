"""vote() and correct() of maps of coordinates as Triton kernels, for CUDA.

Plain torch writes every patch that it compares to memory, nine times a correction; here a pixel's costs stay in
registers, and a picture needs one launch for each vote or correction. All of it is integers, so that the bits are
those of the loops for the CPU (see coordinates.py).

A program takes a small tile of pixels. A proposal that is, for all of its pixels, the one of the pixel itself is not
compared again: inside the verbatim pieces of which a good map consists nothing is left to do.

Memory: nothing beyond the result.
"""

from __future__ import annotations

import functools
import importlib
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from texsyn.ot.triton import chosen, lacking, on_device

if TYPE_CHECKING:
    from texsyn.coordinates import Prices

ROWS, COLUMNS = 4, 16  # pixels of a tile: two a thread
OPTIONS = {"num_warps": 1, "enable_fp_fusion": True}  # nothing here is a float; Triton 3.9 warns those who do not say

tl: Any = None  # triton.language from the first use on; the kernels look it up among this module's names


def vote(exemplar: Tensor, source: Tensor, w: int) -> Tensor:
    """coordinates.vote() on a CUDA device."""
    r = w // 2
    exemplar, source = exemplar.contiguous(), source.contiguous()
    height, width, n_channels = source.shape[0] - 2 * r, source.shape[1] - 2 * r, exemplar.shape[2]
    out = torch.empty((height, width, n_channels), dtype=torch.uint8, device=source.device)
    if out.numel():
        across = math.ceil(width / COLUMNS)
        with on_device(source.device):
            _kernels().vote[across * math.ceil(height / ROWS), n_channels](
                exemplar, source, out, height, width, across, exemplar.shape[1],
                W=w, N_CHANNELS=n_channels, ROWS=ROWS, COLUMNS=COLUMNS, **OPTIONS,
            )  # fmt: skip
    return out


def correct(
    u: Tensor,
    source: Tensor,
    exemplar: Tensor,
    w: int,
    psi: Tensor | None = None,
    fix: Tensor | None = None,
    prices: Prices | None = None,
) -> Tensor:
    """coordinates.correct() on a CUDA device, for u (H + 2r, W + 2r, C) and source (H + 2, W + 2, 2), r = w // 2."""
    u, source, exemplar = u.contiguous(), source.contiguous(), exemplar.contiguous()
    height, width, n_channels = source.shape[0] - 2, source.shape[1] - 2, exemplar.shape[2]
    out = torch.empty((height, width, 2), dtype=torch.int32, device=source.device)
    if not out.numel():
        return out
    psi = source if psi is None else psi.contiguous()  # whatever is not given is not read either
    moved = source if fix is None else fix.contiguous()
    price, zone, owner = (source,) * 3
    if prices is not None:
        price, zone, owner = prices.price.contiguous(), prices.zone.contiguous(), prices.owner.contiguous()
    across = math.ceil(width / COLUMNS)
    with on_device(source.device):
        _kernels().correct[across * math.ceil(height / ROWS),](
            u, source, exemplar, psi, moved, price, zone, owner, out,
            height, width, across, exemplar.shape[0], exemplar.shape[1], price.shape[-1],
            BIASED=psi is not source, MOVED=fix is not None, PRICED=prices is not None,
            W=w, N_CHANNELS=n_channels, ROWS=ROWS, COLUMNS=COLUMNS, **OPTIONS,
        )  # fmt: skip
    return out


@functools.cache
def usable(w: int, n_channels: int, device: torch.device) -> bool:
    """Whether the kernels work for such patches here, said once in the log."""
    return chosen(f"corrections of {w}x{w} patches", device, lambda: failure(w, n_channels, device))


@functools.cache
def failure(w: int, n_channels: int, device: torch.device) -> str:
    """Compile the kernels for such patches and compare with torch's results: '' or what went wrong."""
    from texsyn.coordinates import _correct_torch, _vote_torch

    if reason := lacking(device, _kernels):
        return reason
    r, side, generator = w // 2, w + 20, torch.Generator().manual_seed(0)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    exemplar = integers(0, 256, side, side, n_channels).to(device, torch.uint8)
    u = integers(0, 256, 17 + 2 * r, 35 + 2 * r, n_channels).to(device, torch.uint8)
    source = integers(r, side - r, 19, 37, 2).to(device, torch.int32)
    psi = integers(-100_000, 100_000, (side - 2 * r) ** 2).to(device, torch.int32)
    try:
        right = torch.equal(vote(exemplar, source, w), _vote_torch(exemplar, source, w)) and all(
            torch.equal(correct(u, source, exemplar, w, bias), _correct_torch(u, source, exemplar, w, bias))
            for bias in (None, psi)
        )
    except Exception as error:  # whatever the compiler or the driver raises
        return f"its self-test fails with {type(error).__name__} ({' '.join(str(error).split())[:300]})"
    return "" if right else "its self-test gives other sources than torch"


@functools.cache
def _kernels() -> SimpleNamespace:
    """The kernels below, for Triton to compile at their first call; raises ImportError without Triton."""
    global tl
    triton: Any = importlib.import_module("triton")
    tl = importlib.import_module("triton.language")
    sizes = ["height", "width", "across", "e_width"]  # they and addresses vary from call to call
    votes = triton.jit(do_not_specialize=sizes, do_not_specialize_on_alignment=["source"])
    corrections = triton.jit(
        do_not_specialize=[*sizes, "e_height", "n_exemplars"], do_not_specialize_on_alignment=["u", "source", "psi"]
    )
    return SimpleNamespace(vote=votes(_vote), correct=corrections(_correct))


# The kernels. Names in capitals are constants of a compilation.


def _vote(  # type: ignore[no-untyped-def]
    exemplar,
    source,
    out,
    height,
    width,
    across,
    e_width,
    W: tl.constexpr,
    N_CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One tile and one channel of out (height, width, C) from source (height + W - 1, width + W - 1, 2)."""
    tile, c = tl.program_id(0), tl.program_id(1)
    y = (tile // across).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    x = (tile % across) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    there = (y < height) & (x < width)
    total = tl.zeros((ROWS, COLUMNS), tl.int32)
    for i in range(W):
        for j in range(W):
            at = source + 2 * ((y + i) * (width + W - 1) + x + j)
            sy = tl.load(at, mask=there, other=W).to(tl.int64) + (W // 2 - i)
            sx = tl.load(at + 1, mask=there, other=W) + (W // 2 - j)
            total += tl.load(exemplar + (sy * e_width + sx) * N_CHANNELS + c, mask=there, other=0).to(tl.int32)
    mean = (2 * total + W * W) // (2 * W * W)  # nothing is negative
    tl.store(out + (y * width + x) * N_CHANNELS + c, mean.to(tl.uint8), mask=there)


def _correct(  # type: ignore[no-untyped-def]
    u,
    source,
    exemplar,
    psi,
    moved,
    price,
    zone,
    owner,
    out,
    height,
    width,
    across,
    e_height,
    e_width,
    n_exemplars,
    BIASED: tl.constexpr,
    MOVED: tl.constexpr,
    PRICED: tl.constexpr,
    W: tl.constexpr,
    N_CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One tile of out (height, width, 2) from u (height + W - 1, width + W - 1, C), source (height + 2, width + 2, 2).

    The pixel's own proposal is compared first and then the others; of equals the lowest in reading order stays, so
    that the order of comparing decides nothing.
    """
    tile = tl.program_id(0)
    y = (tile // across).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    x = (tile % across) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    there = (y < height) & (x < width)
    R: tl.constexpr = W // 2
    u_row = (width + W - 1) * N_CHANNELS
    best = tl.full((ROWS, COLUMNS), 1 << 62, tl.int64)
    own_cost, best_rank = best, tl.full((ROWS, COLUMNS), 9, tl.int32)
    best_y, best_x = best_rank, best_rank
    own_y, own_x = best_rank - 10, best_rank - 10
    if PRICED:
        price_at = price + tl.load(zone + y * width + x, mask=there, other=0).to(tl.int32) * n_exemplars
    for turn in range(9):
        head = (turn + 4) % 5
        rank = head + turn // 5 * (turn - head)  # 4, 0, 1, 2, 3, 5, 6, 7, 8
        dy, dx = rank // 3 - 1, rank % 3 - 1
        at = source + 2 * ((y + 1 + dy) * (width + 2) + x + 1 + dx)
        cy = tl.minimum(tl.maximum(tl.load(at, mask=there, other=R) - dy, R), e_height - 1 - R)
        cx = tl.minimum(tl.maximum(tl.load(at + 1, mask=there, other=R) - dx, R), e_width - 1 - R)
        if MOVED:
            at = moved + 2 * (cy.to(tl.int64) * e_width + cx)
            cy, cx = tl.load(at), tl.load(at + 1)
        unknown = own_y < 0  # in the first turn
        same = (cy == own_y) & (cx == own_x)
        differs = tl.max(tl.max(tl.where(there & (same == 0), 1, 0), 1), 0)
        distance = tl.zeros((ROWS, COLUMNS), tl.int32)  # below 2^31 up to 33,000 coordinates
        for i in range(W * differs):
            u_at = u + (y + i) * u_row + x * N_CHANNELS
            e_at = exemplar + ((cy - R + i).to(tl.int64) * e_width + cx - R) * N_CHANNELS
            for m in range(W * N_CHANNELS):
                d = tl.load(u_at + m, mask=there, other=0).to(tl.int32)
                d -= tl.load(e_at + m, mask=there, other=0).to(tl.int32)
                distance += d * d
        cost = distance.to(tl.int64)
        if BIASED:
            cost -= tl.load(psi + (cy - R) * (e_width - 2 * R) + cx - R, mask=there, other=0)
        if PRICED:
            cost -= tl.load(price_at + tl.load(owner + cy), mask=there, other=0)
        cost = tl.where(same, own_cost, cost)
        better = (cost < best) | ((cost == best) & (rank < best_rank))
        best, best_rank = tl.where(better, cost, best), tl.where(better, rank, best_rank)
        best_y, best_x = tl.where(better, cy, best_y), tl.where(better, cx, best_x)
        own_cost = tl.where(unknown, cost, own_cost)
        own_y, own_x = tl.where(unknown, cy, own_y), tl.where(unknown, cx, own_x)
    at = out + 2 * (y * width + x)
    tl.store(at, best_y, mask=there)
    tl.store(at + 1, best_x, mask=there)
