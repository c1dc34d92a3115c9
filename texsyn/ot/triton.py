"""The Triton engine of the biased nearest neighbour, for CUDA: scores live in registers and never reach memory.

A program takes a tile of queries past all atoms, or past a part of them where few queries would leave the processor
idle. Each lane keeps its best score and the tile of atoms it came from; the lanes of a row meet once, at the end, and
so do the parts. There are two ways to multiply:

- *Bytes*, where atoms and queries are integers of -128..127 (NearestIndex with centre=False, D < 512): 8-bit tensor
  units with 32-bit integer sums. Products are exact and stay below 2^24 when doubled; a score is bias_j - 2 <x_i, y_j>
  rounded once to float32, as in the other engines, so that the winners are theirs bit for bit, whatever psi is.
- *Floats*, everything else: true float32, no TF32 and no bfloat16, each product a chain of fused multiply-adds over
  the coordinates in their order. Where integers' sums of products stay below 2^24 that is exact as well, with the same
  winners as the other engines. On other data a winner costs more than the best atom by at most the rounding of two
  scores, to first order 2^-23 ((D + 2) (|x| + |y|)^2 + 2 |psi|), y the longer and psi the larger of the two atoms'. It
  depends neither on the other queries nor on how the work was shared out.

A tile of queries with a number that fits no byte is searched in floats, which decides the same for the tile's other
rows. Nobody waits for that verdict: both searches are launched, and on each tile one of them has nothing to do. Ties
go to the lowest index.

Large float problems could be screened in three-fold TF32, several times faster, if the winners were looked at again;
the models that care for speed match bytes.

Memory: 8 bytes for each query and part, and for bytes a copy of the queries, one byte a coordinate.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import math
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from texsyn.ot.nearest import GROUP, BackendError, NearestIndex

log = logging.getLogger(__name__)

ROWS, COLUMNS = 128, GROUP  # queries and atoms of a tile
PARTS = 256  # that the atoms are cut into, at most
#: with 8 warps a thread holds 32 scores, their best and its tile, 96 of its 255 registers; no score depends on fusion,
#: but Triton 3.9 warns those who do not say
OPTIONS = {"num_warps": 8, "enable_fp_fusion": True}

tl: Any = None  # triton.language from the first use on; the kernels look it up among this module's names


def engine(table: Tensor, bias: Tensor, *, centred: bool) -> Callable[[Tensor], Tensor]:
    """The search (N, D) -> (N,) for atoms table (padded, D), whole tiles; bias (padded,) is read at every call.

    centred tells that the numbers were moved by a mean, so that bytes need not be tried.
    """
    n_dims, n_tiles = table.shape[1], len(table) // COLUMNS
    kernels, float_shape, byte_shape = _kernels(), _shape(n_dims, in_bytes=False), _shape(n_dims, in_bytes=True)
    floats, in_bytes = _widened(table, float_shape), None
    if not centred and n_dims < 512 and bool(((table == table.round()) & (table >= -128) & (table <= 127)).all()):
        in_bytes = _widened(table, byte_shape).to(torch.int8)

    def search(x: Tensor) -> Tensor:
        n, tiles = len(x), math.ceil(len(x) / ROWS)
        per_part = math.ceil(n_tiles / min(PARTS, n_tiles, math.ceil(4 * _n_processors(x.device) / tiles)))
        parts = math.ceil(n_tiles / per_part)
        low = torch.empty(parts, n, device=x.device)
        who = torch.empty(parts, n, dtype=torch.int32, device=x.device)
        fits = torch.empty(tiles, dtype=torch.int32, device=x.device)
        winner = torch.empty(n, dtype=torch.long, device=x.device)

        def launch(x: Tensor, y: Tensor, shape: dict[str, int], **mode: bool) -> None:
            at, sizes = (x, y, bias, fits, low, who), (n, x.shape[1], n_tiles, per_part)
            kernels.search[tiles, parts](*at, *sizes, **mode, ROWS=ROWS, COLUMNS=COLUMNS, **shape, **OPTIONS)

        with on_device(x.device):
            if in_bytes is not None:
                x_bytes = torch.empty(tiles * ROWS, in_bytes.shape[1], dtype=torch.int8, device=x.device)
                kernels.to_bytes[tiles,](x, x_bytes, fits, n, n_dims, ROWS=ROWS, **byte_shape, **OPTIONS)
                launch(x_bytes, in_bytes, byte_shape, BYTES=True, CHOOSES=True)
            launch(x, floats, float_shape, BYTES=False, CHOOSES=in_bytes is not None)
            kernels.meet[math.ceil(n / 64),](low, who, winner, n, parts, ROWS=64, PARTS=16, **OPTIONS)
        return winner

    return search


def check(n_dims: int, device: torch.device) -> None:
    """BackendError, with the reason and the fix, unless the kernels work for this dimension here."""
    if reason := failure(n_dims, device):
        raise BackendError(f"backend='triton' cannot run on {device}: {reason}; use backend='auto'")


@functools.cache
def usable(n_dims: int, device: torch.device) -> bool:
    """Whether the kernels work for this dimension here, said once in the log: what backend='auto' asks."""
    return chosen(f"nearest neighbours of dimension {n_dims}", device, lambda: failure(n_dims, device))


@functools.cache
def failure(n_dims: int, device: torch.device) -> str:
    """Compile the kernels for this dimension and compare 256 winners with torch's: '' or what went wrong.

    Some seconds the first time on a machine; Triton keeps what it compiled. The numbers are multiples of 1/2 whose
    sums are exact in float32, so that every winner must agree.
    """
    if reason := lacking(device, _kernels):
        return reason
    generator = torch.Generator().manual_seed(0)
    reach = 128 if n_dims < 512 else 16
    x, y = (torch.randint(-reach, reach, (n, n_dims), generator=generator).float() for n in (256, 3 * COLUMNS))
    x[200] /= 2  # the second tile of queries does not fit bytes
    psi = 1000 * torch.randn(len(y), generator=generator)
    x, y, psi = x.to(device), y.to(device), psi.to(device)
    index = NearestIndex(y, backend="torch", centre=False)
    index.set_bias(psi)
    bias = y.square().sum(1) - psi
    try:
        for centred in (False, True):  # bytes, then floats
            wrong = int((engine(y, bias, centred=centred)(x) != index.argmin(x)).sum())
            if wrong:
                return f"{wrong} of {len(x)} winners are wrong in its self-test"
    except Exception as error:  # whatever the compiler or the driver raises
        return f"its self-test fails with {type(error).__name__} ({' '.join(str(error).split())[:300]})"
    return ""


@functools.cache
def _kernels() -> SimpleNamespace:
    """The kernels below, for Triton to compile at their first call; raises ImportError without Triton."""
    global tl
    triton: Any = importlib.import_module("triton")
    tl = importlib.import_module("triton.language")
    jit = triton.jit(do_not_specialize=["n", "n_tiles", "per_part", "parts"])  # they vary from call to call
    return SimpleNamespace(search=jit(_search), to_bytes=jit(_to_bytes), meet=jit(_meet))


def _shape(n_dims: int, *, in_bytes: bool) -> dict[str, int]:
    """How many coordinates are multiplied at a time, a power of two, and how often."""
    if not in_bytes:
        depth = 32 if n_dims <= 32 else 16  # more would not fit the registers
    elif n_dims <= 128:
        depth = max(32, 1 << (n_dims - 1).bit_length())
    else:
        depth = 64
    return {"DEPTH": depth, "STEPS": math.ceil(n_dims / depth)}


def _widened(table: Tensor, shape: dict[str, int]) -> Tensor:
    return torch.nn.functional.pad(table, (0, shape["DEPTH"] * shape["STEPS"] - table.shape[1])).contiguous()


@functools.cache
def _n_processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def chosen(what: str, device: torch.device, failure: Callable[[], str]) -> bool:
    """Whether Triton does this work on a device, said in the log; elsewhere than on CUDA nobody asks."""
    if device.type != "cuda":
        return False
    if reason := failure():
        log.warning("%s on %s: torch, since for triton %s", what, device, reason)
    else:
        log.info("%s on %s: triton", what, device)
    return not reason


def lacking(device: torch.device, kernels: Callable[[], Any]) -> str:
    """What these kernels lack here before they are compiled: '' if nothing."""
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return "a CUDA device is needed"
    try:
        kernels()
    except ImportError as error:
        return f"the package triton is needed, and cannot be imported ({error})"
    if device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return "a CUDA device of compute capability 8.0 is needed"  # Triton's 8-bit products stop at Turing, noisily
    return ""


def on_device(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device: make it this one."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


# The kernels. Names in capitals are constants of a compilation.


def _to_bytes(x, out, fits, n, width, ROWS: tl.constexpr, DEPTH: tl.constexpr, STEPS: tl.constexpr):  # type: ignore[no-untyped-def]
    """One tile of x (n, width) as bytes into out (tiles ROWS, DEPTH STEPS), zeros behind; fits[tile] = 1 if it is."""
    tile = tl.program_id(0)
    row = tile.to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    fit = tl.full((ROWS, DEPTH), 1, tl.int32)
    for step in range(STEPS):
        k = step * DEPTH + tl.arange(0, DEPTH)[None, :]
        v = tl.load(x + row * width + k, mask=(row < n) & (k < width), other=0.0)
        good = (v >= -128) & (v <= 127) & (tl.floor(v) == v)  # not so for a NaN
        fit = tl.where(good, fit, 0)
        tl.store(out + row * (DEPTH * STEPS) + k, tl.where(good, v, 0.0).to(tl.int32).to(tl.int8))
    tl.store(fits + tile, tl.min(tl.min(fit, 1), 0))


def _search(  # type: ignore[no-untyped-def]
    x,
    y,
    bias,
    fits,
    low,
    who,
    n,
    width,
    n_tiles,
    per_part,
    BYTES: tl.constexpr,
    CHOOSES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    STEPS: tl.constexpr,
):
    """One tile of queries past one part of the atoms: low[part, i] = min_j bias_j - 2 <x_i, y_j>, who[part, i] = j.

    x (n, width) and y (n_tiles COLUMNS, DEPTH STEPS), zeros behind. Nothing is done on a tile of queries that belongs
    to the other way of multiplying, if there are two (CHOOSES): its loop is empty and it writes nothing.
    """
    tile, part = tl.program_id(0), tl.program_id(1)
    row = tile.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column, depth = tl.arange(0, COLUMNS), tl.arange(0, DEPTH)
    first = part * per_part
    end = tl.minimum(first + per_part, n_tiles)
    n_mine = n
    if CHOOSES:
        here = tl.load(fits + tile) == (1 if BYTES else 0)
        end, n_mine = tl.where(here, end, first), tl.where(here, n, 0)
    x_at = x + row[:, None] * width + depth[None, :]
    y_at = y + (first.to(tl.int64) * COLUMNS + column[None, :]) * (DEPTH * STEPS) + depth[:, None]
    best = tl.full((ROWS, COLUMNS), float("inf"), tl.float32)
    best_tile = tl.zeros((ROWS, COLUMNS), tl.int32) + first
    x_k = tl.load(x_at, mask=(row[:, None] < n) & (depth[None, :] < width), other=0)  # for good if STEPS == 1
    for j in range(first, end):
        product = tl.zeros((ROWS, COLUMNS), tl.int32 if BYTES else tl.float32)
        for step in range(STEPS):
            if STEPS > 1:
                k = step * DEPTH + depth[None, :]
                x_k = tl.load(x_at + step * DEPTH, mask=(row[:, None] < n) & (k < width), other=0)
            y_k = tl.load(y_at + step * DEPTH)
            if BYTES:
                product = tl.dot(x_k, y_k, product, out_dtype=tl.int32)
            else:
                product = tl.dot(x_k, y_k, product, input_precision="ieee")
        bias_j = tl.load(bias + j * COLUMNS + column)
        score = bias_j[None, :] - 2.0 * product.to(tl.float32)  # the doubling is exact: one rounding, fused or not
        better = score < best  # strictly: the lowest tile keeps a tie
        best = tl.where(better, score, best)
        best_tile = tl.where(better, j, best_tile)
        y_at += COLUMNS * DEPTH * STEPS
    lowest = tl.min(best, 1)
    name = tl.where(best == lowest[:, None], best_tile * COLUMNS + column[None, :], 2147483647)
    at = part.to(tl.int64) * n + row
    tl.store(low + at, lowest, mask=row < n_mine)
    tl.store(who + at, tl.min(name, 1), mask=row < n_mine)


def _meet(low, who, winner, n, parts, ROWS: tl.constexpr, PARTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """winner_i = who[part, i] where low[part, i] is least, the lowest on ties; PARTS of the parts at a time."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    best = tl.full((ROWS,), float("inf"), tl.float32)
    j = tl.zeros((ROWS,), tl.int32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)[:, None]
        at, there = part.to(tl.int64) * n + row[None, :], (part < parts) & (row[None, :] < n)
        value = tl.load(low + at, mask=there, other=float("inf"))
        name = tl.load(who + at, mask=there, other=2147483647)
        lowest = tl.min(value, 0)
        name = tl.min(tl.where(value == lowest[None, :], name, 2147483647), 0)
        better = lowest < best
        best = tl.where(better, lowest, best)
        j = tl.where(better, name, j)
    tl.store(winner + row, j.to(tl.int64), mask=row < n)
