"""Biased nearest neighbour: argmin_j |x_i - y_j|^2 - psi_j, the one operation every solver and model here runs on.

With psi = 0 it is the nearest neighbour; with the dual potential psi it is the transport map of semi-discrete optimal
transport (y_j is the winner on its Laguerre cell). One signature, three engines:

- ``numba``, the CPU's: product, minimum and index fused in registers, so that scores never reach memory; 8-bit integers
  take the processor's integer dot product where it has one.
- ``torch``, any device: scores in tiles, minima of groups, then the winning group searched.
- ``keops``: the symbolic reduction of pykeops, only when asked for by name (see keops.py).

Scores are (|y_j|^2 - psi_j) - 2 <x_i, y_j>, the bias joined to the finished product by a single rounding. So on
integers whose sums of products stay below 2^24, numba and torch agree bit for bit in every tile, batch and device,
whatever psi is (KeOps squares differences: there psi must be integers too). On other data the numba engine sums over
the coordinates in their order, so an answer never depends on which other rows are asked for. Ties go to the lowest
index.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, overload

import llvmlite.binding
import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

__all__ = ["BackendError", "NearestIndex", "ieee_float32", "nearest", "one_torch_thread"]

BACKENDS = ("auto", "numba", "torch", "keops")


class BackendError(RuntimeError):
    """A backend that was asked for by name cannot run here; the message says why and what to do."""


class NearestIndex:
    """Targets y (J, D) prepared once for many searches argmin_j |x_i - y_j|^2 - psi_j; psi = 0 until set_bias.

    centre=True subtracts the mean of y from both clouds, which changes no distance and keeps float32 accurate.
    centre=False leaves the numbers alone: integers then give exact scores, and with integers in -128..127 (both clouds,
    D < 512) the numba engine is about three times faster. backend="auto" is numba on the CPU, else torch.

    >>> index = NearestIndex(torch.tensor([[0.0], [1.0], [4.0]]))
    >>> index.argmin(torch.tensor([[0.4], [3.0]])).tolist()
    [0, 2]
    >>> index.set_bias(torch.tensor([0.0, 2.0, 0.0]))
    >>> index.argmin(torch.tensor([[0.4], [3.0]])).tolist()
    [1, 2]

    Raises ValueError on empty, non-finite or ill-shaped data, BackendError if a backend asked for by name cannot run.
    """

    def __init__(self, y: Tensor, *, backend: str = "auto", centre: bool = True) -> None:
        if y.ndim != 2 or y.numel() == 0 or y.is_complex() or y.dtype == torch.bool:
            raise ValueError(f"y needs real numbers of shape (J, D), J and D > 0, got {tuple(y.shape)}, {y.dtype}")
        if backend not in BACKENDS:
            raise ValueError(f"backend={backend!r} is not one of {', '.join(BACKENDS)}")
        if not _finite(y):
            raise ValueError("y has a NaN or an infinite value")
        on_cpu = y.device.type == "cpu"
        if backend == "numba" and not on_cpu:
            raise BackendError(f"backend='numba' runs on the CPU and y is on {y.device}; use backend='torch'")
        self.backend = ("numba" if on_cpu else "torch") if backend == "auto" else backend
        self.dtype, self.device = y.dtype, y.device
        y = _at_least_float32("y", y.detach())
        self._centre = y.mean(0) if centre else None
        self.y = (y if self._centre is None else y - self._centre).float().contiguous()  # (J, D)
        self._squared = self.y.square().sum(1)  # (J,)
        self._psi = torch.zeros(len(y), device=y.device)
        self._search = self._engine()
        self.set_bias(None)

    def __len__(self) -> int:
        return len(self.y)

    def set_bias(self, psi: Tensor | None, *, check: bool = True) -> None:
        """Use psi (J,) from now on; None means zero. Costs O(J); check=False skips the search for NaN."""
        psi = torch.zeros(len(self), device=self.device) if psi is None else psi.detach()
        if psi.shape != (len(self),) or psi.device != self.device:
            raise ValueError(f"psi needs shape ({len(self)},) on {self.device}, got {tuple(psi.shape)} on {psi.device}")
        if check and not _finite(psi):
            raise ValueError("psi has a NaN or an infinite value")
        self._psi.copy_(psi)
        torch.sub(self._squared, self._psi, out=self._bias[: len(self)])

    @overload
    def argmin(
        self, x: Tensor, *, return_value: Literal[False] = False, check: bool = True, threads: int = 1
    ) -> Tensor: ...

    @overload
    def argmin(
        self, x: Tensor, *, return_value: Literal[True], check: bool = True, threads: int = 1
    ) -> tuple[Tensor, Tensor]: ...

    def argmin(
        self, x: Tensor, *, return_value: bool = False, check: bool = True, threads: int = 1
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Index of the winner of each row of x (N, D), int64 (N,), the lowest one on ties.

        return_value=True adds the float32 minimum |x_i - y_j|^2 - psi_j, computed from the differences, so that it is
        exactly -psi_j where x_i = y_j. check=False skips the search for NaN in x. threads > 1 shares out the rows
        over that many one-thread workers; torch's own threads are never used, they lose on tiles this small.
        """
        if x.dtype != self.dtype or x.device != self.device or x.ndim != 2 or x.shape[1] != self.y.shape[1]:
            raise ValueError(
                f"x needs shape (N, {self.y.shape[1]}), {self.dtype} on {self.device} like y, "
                f"got {tuple(x.shape)}, {x.dtype} on {x.device}"
            )
        x = _at_least_float32("x", x.detach())
        if check and not _finite(x):
            raise ValueError("x has a NaN or an infinite value")
        x = (x if self._centre is None else x - self._centre).float().contiguous()
        if len(x) == 0:
            j = torch.zeros(0, dtype=torch.long, device=x.device)
        elif threads > 1 and len(x) > 2 * TILE_ROWS:
            parts = x.split(max(TILE_ROWS, math.ceil(len(x) / threads)))
            with ieee_float32(), one_torch_thread(), ThreadPoolExecutor(threads) as pool:
                j = torch.cat(list(pool.map(self._search, parts)))
        else:
            j = self._search(x)
        if not return_value:
            return j
        return j, (x - self.y[j]).square_().sum(1).sub_(self._psi[j])

    def _engine(self) -> Callable[[Tensor], Tensor]:
        """The search (N, D) -> (N,) of this backend, with y laid out for it; makes self._bias, +inf on the padding."""
        n_atoms, n_dims = self.y.shape
        step = {"numba": SIMD.panel, "torch": GROUP}.get(self.backend, 1)
        padded = math.ceil(n_atoms / step) * step
        self._bias = torch.full((padded,), torch.inf, device=self.device)
        if self.backend == "keops":
            from texsyn.ot import keops

            keops.check(n_dims, self.device)
            return lambda x: keops.argmin(x, self.y, self._psi)
        table = torch.zeros(padded, n_dims, device=self.device)
        table[:n_atoms] = self.y
        if self.backend == "numba":
            return _fused_engine(table, self._bias, centred=self._centre is not None)
        table = (-2 * table).T.contiguous()  # (D, padded)
        return lambda x: _tiled_argmin(x, table, self._bias)


@contextlib.contextmanager
def ieee_float32() -> Iterator[None]:
    """Float32 products are float32 products inside: no bfloat16 or TF32, whatever the user set globally.

    After ``torch.set_float32_matmul_precision("medium")`` some per cent of our argmins would otherwise be wrong. The
    setting belongs to the process: other threads that multiply meanwhile are exact, too.
    """
    backends: Any = torch.backends
    mkldnn, cuda = backends.mkldnn.matmul, backends.cuda.matmul
    before = mkldnn.fp32_precision, cuda.fp32_precision
    mkldnn.fp32_precision = cuda.fp32_precision = "ieee"
    try:
        yield
    finally:
        mkldnn.fp32_precision, cuda.fp32_precision = before


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """No threads inside torch's operations: a 1 MB tile spread over OpenMP costs more in barriers than it saves.

    Setting and restoring the count costs under a microsecond; it is process-wide, so a caller's other threads that run
    torch at the same time also see one thread meanwhile.
    """
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before > 1:
            torch.set_num_threads(before)


def _finite(t: Tensor) -> bool:
    return not t.is_floating_point() or t.numel() == 0 or bool(t.abs().amax() < torch.inf)  # NaN < inf is False


def _at_least_float32(name: str, points: Tensor) -> Tensor:
    if points.dtype in (torch.float32, torch.float64):
        return points
    if points.is_floating_point():
        warnings.warn(f"{name} is {points.dtype}: searching in float32", stacklevel=3)
    return points.float()


# The torch engine.

GROUP = 64  # scores a group: the minimum of a contiguous group is SIMD code in torch, argmin is scalar
TILE_ROWS, TILE_COLUMNS = 256, 1024  # 1 MB of scores, the second-level cache; flat between 128..512 rows


@ieee_float32()
@one_torch_thread()
def _tiled_argmin(x: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """argmin_j bias_j + <x_i, table_j>. x (N, D), table (D, padded), bias (padded,) with whole groups of columns.

    Tensor.argmin documents that the first of equal minima wins, Tensor.min(dim) does not: hence only the former here.
    """
    padded, on_cpu = table.shape[1], x.device.type == "cpu"
    columns = min(padded, TILE_COLUMNS if on_cpu else 16384)
    rows = min(len(x), TILE_ROWS if on_cpu else max(1024, 2**23 // columns))  # GPU: 32 MB of scores at most
    scores = torch.empty(rows * columns, device=x.device)
    winner = torch.empty(len(x), dtype=torch.long, device=x.device)
    for i in range(0, len(x), rows):
        xi = x[i : i + rows]
        best = torch.full((len(xi), 1), torch.inf, device=x.device)
        arg = torch.zeros((len(xi), 1), dtype=torch.long, device=x.device)
        for j in range(0, padded, columns):
            width = min(columns, padded - j)
            s = torch.mm(xi, table[:, j : j + width], out=scores[: len(xi) * width].view(-1, width))
            groups = s.add_(bias[j : j + width]).view(len(xi), -1, GROUP)
            minima = groups.amin(2)
            group = minima.argmin(1, keepdim=True)
            value = minima.gather(1, group)
            inside = groups.gather(1, group[:, :, None].expand(-1, -1, GROUP)).argmin(2)
            better = value < best  # strictly: an equal score further right does not win
            best = torch.where(better, value, best)
            arg = torch.where(better, group * GROUP + inside + j, arg)
        winner[i : i + rows] = arg[:, 0]
    return winner


# The fused engine. A panel of consecutive atoms stays in the first-level cache while a block of rows passes over it; a
# tile of rows x vectors accumulators stays in registers while the coordinates pass. Each lane keeps its best score and
# the vector it came from; the lanes of a row meet once, at the end.


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


def _fused_engine(table: Tensor, bias: Tensor, *, centred: bool) -> Callable[[Tensor], Tensor]:
    """The fused search for atoms table (padded, D); bias is read at every call."""
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


def nearest(
    x: Tensor,
    y: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    index: NearestIndex | None = None,
    backend: str = "auto",
    return_value: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """argmin_j |x_i - y_j|^2 - bias_j, int64 (N,), the lowest j on ties; with return_value also the minimum.

    x (N, D), y (J, D), bias (J,) on one device. An index made before stands in for y; its bias is then left as set,
    unless one is given.

    >>> nearest(torch.tensor([[0.4], [3.0]]), torch.tensor([[0.0], [1.0], [4.0]])).tolist()
    [0, 2]
    """
    if (y is None) == (index is None):
        raise ValueError("give y or an index, one of them")
    if index is None:
        assert y is not None
        index = NearestIndex(y, backend=backend)
    if bias is not None:
        index.set_bias(bias)
    return index.argmin(x, return_value=return_value) if not return_value else index.argmin(x, return_value=True)
