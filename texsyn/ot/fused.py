"""The numba engine of the biased nearest neighbour: product, minimum and index fused in vector registers.

A panel of consecutive atoms stays in the first-level cache while a block of rows passes over it; a tile of rows x
vectors accumulators stays in registers while the coordinates pass. Each lane keeps its best score and the vector it
came from; the lanes of a row meet once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

__all__ = ["SIMD", "fused_engine"]


class _Simd:
    """Shape of the register tile on this processor, as numba compiles for it."""

    def __init__(self) -> None:
        has = dict(llvmlite.binding.get_host_cpu_features())
        config: Any = numba.config
        if config.CPU_NAME or config.CPU_FEATURES or not config.ENABLE_AVX:
            has = {}  # someone asked numba for another processor than this one
        wide = has.get("avx512f", False)
        #: floats a vector; then rows and vectors of a tile: rows * vectors + vectors + 1 registers of 32 or 16
        self.lanes, self.rows, self.vectors = (16, 8, 3) if wide else (8, 4, 3) if has.get("avx2", False) else (4, 4, 3)
        self.panel = self.lanes * self.vectors
        #: vpdpbusd: four products of bytes summed into 32 bits, per lane
        self.has_byte_dot = has.get("avx512vnni", False) if wide else has.get("avxvnni", False)


SIMD = _Simd()
BLOCK_ROWS = 48  # rows that share a panel while it is in the first-level cache


@intrinsic
def _tile(
    typing: Any, x: Any, row: Any, panels: Any, panel: Any, start: Any, bias: Any, best: Any, vector: Any, at: Any
) -> Any:
    """Update best (block, lanes) and vector (block, lanes) at rows at.. with the scores of x[row:] against one panel.

    x (N, K) and panels (n, K, columns) hold either floats or, as int32, four bytes a word (x unsigned, y signed).
    """
    signature = types.void(x, types.intp, panels, types.intp, start, bias, best, vector, types.intp)
    lanes, rows, vectors = SIMD.lanes, SIMD.rows, SIMD.vectors
    floats, ints = ir.VectorType(ir.FloatType(), lanes), ir.VectorType(ir.IntType(32), lanes)
    words = floats if x.dtype == types.float32 else ints

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        arrays: list[Any] = [
            context.make_array(t)(context, b, a) if isinstance(t, types.Array) else None
            for t, a in zip(sig.args, args, strict=True)
        ]
        xs, ys, starts, biases, bests, ids = (arrays[k] for k in (0, 2, 4, 5, 6, 7))
        n_words = cgutils.unpack_tuple(b, xs.shape)[1]
        row, panel, at = args[1], args[3], args[8]

        def const(n: int) -> Any:
            return ir.Constant(row.type, n)

        def address(array: Any, word: Any, kind: Any) -> Any:  # every element of every array here has four bytes
            return cgutils.pointer_add(b, array.data, b.mul(word, const(4)), ir.PointerType(kind))

        def load(array: Any, word: Any, kind: Any = floats) -> Any:
            return b.load(address(array, word, kind), align=4)

        def splat(scalar: Any, kind: Any) -> Any:
            undefined = ir.Constant(kind, ir.Undefined)
            one = b.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
            return b.shuffle_vector(one, undefined, ir.Constant(ints, [0] * lanes))

        def call(name: str, kind: Any, *operands: Any) -> Any:
            function = cgutils.get_or_insert_function(b.module, ir.FunctionType(kind, [kind] * 3), name)
            return b.call(function, operands)

        def multiply_add(xk: Any, yk: Any, total: Any) -> Any:
            if words is floats:
                return call(f"llvm.fmuladd.v{lanes}f32", floats, xk, yk, total)
            return call(f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", ints, total, xk, yk)

        columns = b.mul(panel, const(lanes * vectors))
        total = [[cgutils.alloca_once(b, words) for _ in range(vectors)] for _ in range(rows)]
        for v in range(vectors):
            first = load(starts, b.add(columns, const(v * lanes)), words)
            for r in range(rows):
                b.store(first, total[r][v])
        y_word = b.mul(columns, n_words)
        x_word = [b.mul(b.add(row, const(r)), n_words) for r in range(rows)]
        with cgutils.for_range(b, n_words) as loop:
            y_k = b.add(y_word, b.mul(loop.index, const(lanes * vectors)))
            yk = [load(ys, b.add(y_k, const(v * lanes)), words) for v in range(vectors)]
            for r in range(rows):
                xk = splat(load(xs, b.add(x_word[r], loop.index), words.element), words)
                for v in range(vectors):
                    b.store(multiply_add(xk, yk[v], b.load(total[r][v])), total[r][v])

        bias_v = [load(biases, b.add(columns, const(v * lanes))) for v in range(vectors)]
        name_v = [b.add(b.mul(panel, const(vectors)), const(v)) for v in range(vectors)]
        minus_two = ir.Constant(floats, [-2.0] * lanes)
        for r in range(rows):
            state = b.mul(b.add(at, const(r)), const(lanes))
            low, who = load(bests, state), load(ids, state, ints)
            for v in range(vectors):
                product = b.load(total[r][v])
                product = product if words is floats else b.sitofp(product, floats)
                score = call(f"llvm.fmuladd.v{lanes}f32", floats, product, minus_two, bias_v[v])
                better = b.fcmp_ordered("<", score, low)  # strictly: the lowest vector keeps a tie
                low = b.select(better, score, low)
                who = b.select(better, splat(b.trunc(name_v[v], ir.IntType(32)), ints), who)
            b.store(low, address(bests, state, floats), align=4)
            b.store(who, address(ids, state, ints), align=4)
        return context.get_dummy_value()

    return signature, emit


@numba.njit(cache=True, nogil=True)
def _fused_argmin(x: Any, panels: Any, start: Any, bias: Any, winner: Any) -> None:
    """winner_i = argmin_j bias_j - 2 (start_j + <x_i, y_j>); x (N, K) with N at least one tile of rows."""
    lanes, rows = SIMD_LANES, SIMD_ROWS
    best = np.empty((BLOCK_ROWS, lanes), np.float32)
    vector = np.empty((BLOCK_ROWS, lanes), np.int32)
    for top in range(0, len(x), BLOCK_ROWS):
        n = min(BLOCK_ROWS, len(x) - top)
        if n < rows:  # a short end overlaps what is done already: rows are recomputed, never changed
            top, n = len(x) - rows, rows
        best[:] = np.inf
        vector[:] = 0
        for panel in range(len(panels)):
            for r in range(0, n, rows):
                r = min(r, n - rows)
                _tile(x, top + r, panels, panel, start, bias, best, vector, r)  # type: ignore[call-arg]
        for r in range(n):
            low, j = best[r, 0], vector[r, 0] * lanes
            for lane in range(1, lanes):
                k = vector[r, lane] * lanes + lane
                if best[r, lane] < low or (best[r, lane] == low and k < j):
                    low, j = best[r, lane], k
            winner[top + r] = j


SIMD_LANES, SIMD_ROWS = SIMD.lanes, SIMD.rows  # numba reads module constants, not attributes


@numba.njit(cache=True, nogil=True)
def _as_bytes(x: Any, out: Any) -> bool:
    """x + 128 as bytes into out (N, 4 K), zeros behind; False if some number is not an integer of -128..127."""
    exact = True
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            q = np.int32(x[i, k])
            exact &= (q == x[i, k]) & (q >= -128) & (q <= 127)
            out[i, k] = np.uint8(q + 128)
        out[i, x.shape[1] :] = 0
    return exact


def fused_engine(table: Tensor, bias: Tensor, *, centred: bool) -> Callable[[Tensor], Tensor]:
    """The search (N, D) -> (N,) for atoms table (padded, D), whole panels; bias (padded,) is read at every call.

    centred tells that the numbers were moved by a mean, so that they are no integers and bytes need not be tried.
    """
    y, b = table.numpy(), bias.numpy()
    n_dims = y.shape[1]
    panels = _panels(y)
    zero = np.zeros(len(y), np.float32)
    # Bytes: below 512 coordinates 2 <x, y> < 2^24, so the float engine gives the same bits where it has to step in.
    bytes_fit = not centred and SIMD.has_byte_dot and n_dims < 512
    if bytes_fit and bool(((y == np.rint(y)) & (y >= -128) & (y <= 127)).all()):
        n_words = -(-n_dims // 4)
        signed = np.zeros((len(y), 4 * n_words), np.int8)
        signed[:, :n_dims] = y
        byte_panels = _panels(signed.view(np.int32))
        shift = (-128 * signed.sum(1, dtype=np.int32)).astype(np.int32)  # <x + 128, y> - 128 <1, y> = <x, y>
    else:
        byte_panels = None

    def search(points: Tensor) -> Tensor:
        n = len(points)
        x = points.numpy()
        if n < SIMD.rows:
            x = np.concatenate([x, np.zeros((SIMD.rows - n, n_dims), np.float32)])
        winner = np.empty(len(x), np.int64)
        if byte_panels is not None:
            x_bytes = np.empty((len(x), 4 * byte_panels.shape[1]), np.uint8)
            if _as_bytes(x, x_bytes):
                _fused_argmin(x_bytes.view(np.int32), byte_panels, shift, b, winner)
                return torch.from_numpy(winner)[:n]
        _fused_argmin(x, panels, zero, b, winner)
        return torch.from_numpy(winner)[:n]

    return search


def _panels(y: np.ndarray) -> np.ndarray:
    """(J, K) -> (n, K, panel): coordinate by coordinate, the atoms of a panel side by side."""
    return np.ascontiguousarray(y.reshape(-1, SIMD.panel, y.shape[1]).transpose(0, 2, 1))
