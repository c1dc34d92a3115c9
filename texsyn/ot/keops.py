"""The KeOps engine of the biased nearest neighbour: exact and without a score matrix, compiled once per dimension.

KeOps compiles C++ (or CUDA) for every new dimension on first use, about 7 seconds, and needs a compiler at run time.
On a CPU it is much slower than our own loop (benchmarks/results/ot_cpu.json), so nothing here chooses it by itself.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import shutil
from typing import Any

import torch
from torch import Tensor

from texsyn.ot.nearest import BackendError, NearestIndex

log = logging.getLogger(__name__)


def argmin(x: Tensor, y: Tensor, psi: Tensor) -> Tensor:
    """argmin_j |x_i - y_j|^2 - psi_j, int64 (N,), the lowest j on ties. x (N, D), y (J, D), psi (J,)."""
    with _quiet() as lazy:
        x_i, y_j = lazy(x[:, None, :].contiguous()), lazy(y[None, :, :].contiguous())
        psi_j = lazy(psi.view(1, -1, 1).contiguous())
        return (((x_i - y_j) ** 2).sum(-1) - psi_j).argmin(dim=1).view(-1)


def check(n_dims: int, device: torch.device) -> None:
    """BackendError, with the reason and the fix, unless KeOps works for this dimension here."""
    if reason := _failure(n_dims, device):
        raise BackendError(
            f"backend='keops' cannot run for dimension {n_dims} on {device}: {reason}; set CXX or install g++ "
            "(on a GPU also the CUDA toolkit), or use backend='auto'"
        )


@functools.cache
def _failure(n_dims: int, device: torch.device) -> str:
    """Compile the reduction for this dimension and compare 256 answers with torch: '' or what went wrong."""
    log.info("KeOps: compiling for dimension %d unless it is cached, some seconds", n_dims)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, n_dims, generator=generator).to(device) for n in (256, 64))
    psi = torch.randn(64, generator=generator).to(device)
    try:
        found = argmin(x, y, psi)
    except Exception as error:  # KeOps raises whatever trips over the missing library, often ModuleNotFoundError
        compiler = os.environ.get("CXX", "g++")
        missing = "" if shutil.which(compiler) else f"no C++ compiler {compiler!r}; "
        return f"{missing}{type(error).__name__}: {error}"
    index = NearestIndex(y, backend="torch")
    index.set_bias(psi)
    best = index.argmin(x, return_value=True)[1]
    excess = (x - y[found]).square().sum(1) - psi[found] - best
    wrong = int((excess > 1e-4 * best.abs().amax()).sum())  # ties within float32 rounding pass
    return f"{wrong} of 256 winners are wrong (is its cache ~/.cache/keops* stale?)" if wrong else ""


@contextlib.contextmanager
def _quiet() -> Any:
    """LazyTensor, with what pykeops prints to stdout swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        import pykeops
        from pykeops.torch import LazyTensor

        pykeops.set_verbose(False)
        yield LazyTensor
