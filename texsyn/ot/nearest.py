"""Biased nearest neighbour: argmin_j |x_i - y_j|^2 - psi_j, the one operation every solver and model here runs on.

With psi = 0 it is the nearest neighbour; with the dual potential psi it is the transport map of semi-discrete optimal
transport (y_j is the winner on its Laguerre cell). One signature, four engines:

- ``numba``, the CPU's: product, minimum and index fused in registers, so that scores never reach memory; 8-bit integers
  take the processor's integer dot product where it has one (see fused.py).
- ``triton``, CUDA's, where it works: the same on tensor units (see triton.py).
- ``torch``, any device: scores in tiles, minima of groups, then the winning group searched.
- ``keops``: the symbolic reduction of pykeops, only when asked for by name (see keops.py).

Scores are (|y_j|^2 - psi_j) - 2 <x_i, y_j>, the bias joined to the finished product by a single rounding. So on
integers whose sums of products stay below 2^24, numba, triton and torch agree bit for bit in every tile, batch and
device, whatever psi is (KeOps squares differences: there psi must be integers too). On other data numba and triton sum
over the coordinates in their order, so an answer never depends on which other rows are asked for. Ties go to the
lowest index.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, overload

import torch
from torch import Tensor

from texsyn.ot.fused import SIMD, fused_engine

__all__ = ["BackendError", "NearestIndex", "ieee_float32", "nearest", "one_torch_thread"]

BACKENDS = ("auto", "numba", "triton", "torch", "keops")


class BackendError(RuntimeError):
    """A backend that was asked for by name cannot run here; the message says why and what to do."""


class NearestIndex:
    """Targets y (J, D) prepared once for many searches argmin_j |x_i - y_j|^2 - psi_j; psi = 0 until set_bias.

    centre=True subtracts the mean of y from both clouds, which changes no distance and keeps float32 accurate.
    centre=False leaves the numbers alone: integers then give exact scores, and with integers in -128..127 (both clouds,
    D < 512) the numba engine is about three times faster. backend="auto" is numba on the CPU, triton on CUDA where it
    passes its self-test (the log says which), else torch.

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
        self.backend = _automatic(y) if backend == "auto" else backend
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
        step = SIMD.panel if self.backend == "numba" else GROUP
        padded = math.ceil(n_atoms / step) * step
        self._bias = torch.full((padded,), torch.inf, device=self.device)
        if self.backend == "keops":
            from texsyn.ot import keops

            keops.check(n_dims, self.device)
            return lambda x: keops.argmin(x, self.y, self._psi)
        table = torch.zeros(padded, n_dims, device=self.device)
        table[:n_atoms] = self.y
        if self.backend == "numba":
            return fused_engine(table, self._bias, centred=self._centre is not None)
        if self.backend == "triton":
            from texsyn.ot import triton

            triton.check(n_dims, self.device)
            return triton.engine(table, self._bias, centred=self._centre is not None)
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


def _automatic(y: Tensor) -> str:
    if y.device.type == "cpu":
        return "numba"
    from texsyn.ot import triton

    return "triton" if triton.usable(y.shape[1], y.device) else "torch"


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
