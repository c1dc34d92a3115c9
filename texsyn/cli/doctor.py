"""What `texsyn doctor` finds: each part of the machine that matters, whether it is used, and why not.

The doctor is called when something is broken: each check stands alone, and whatever goes wrong inside is its finding.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One line of the doctor: whether the part works, what that means, and whether texsyn needs it."""

    name: str
    ok: bool
    says: str
    needed: bool = False


def checks() -> list[Check]:
    """Everything worth knowing when something is slow or does not work."""
    return [
        _guarded("texsyn", _texsyn),
        _guarded("torch", _torch),
        _guarded("device", _device),
        _guarded("numba", _numba),
        _guarded("memory", _memory),
        _guarded("triton", _triton, needed=False),
        _guarded("keops", _keops, needed=False),
        _package("zarr", "texsyn render to .zarr; pip install 'texsyn[giant]'"),
        _package("distributed", "--scheduler, render_array; pip install 'texsyn[cluster]'"),
        _package("openexr", "OpenEXR pictures; pip install 'texsyn[hdr]'"),
        _package("av", "MP4 files of texsyn animate; pip install 'texsyn[video]'"),
        _package("waitress", "texsyn web; pip install 'texsyn[web]'"),
        _package("plenoptic", "the score PS-z of texsyn compare; pip install 'texsyn[eval-ps]'"),
        _package("pot", "optimal transport cross-checks; only the tests use it"),
        _package("faiss-cpu", "a rival in benchmarks/bench_ot.py; nothing else uses it"),
    ]


def _guarded(name: str, check: Callable[[], tuple[bool, str]], *, needed: bool = True) -> Check:
    try:
        ok, says = check()
    except Exception as error:
        ok, says = False, f"does not work here ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
    return Check(name, ok, says, needed)


def _texsyn() -> tuple[bool, str]:
    from texsyn import __version__

    return True, f"{__version__}, Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _torch() -> tuple[bool, str]:
    import torch

    return True, f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"


def _device() -> tuple[bool, str]:
    import torch

    if torch.cuda.is_available():
        return True, f"cuda: {torch.cuda.get_device_name(0)} (used by --device auto)"
    if torch.backends.mps.is_available():
        return True, "cpu (auto); mps is there, ask for it with --device mps"
    return True, "cpu; this torch sees no CUDA device"


def _numba() -> tuple[bool, str]:
    import numpy as np
    import torch

    from texsyn.cli.loops import kept, with_cache

    def nearest() -> list[int]:
        from texsyn.ot.nearest import NearestIndex

        return NearestIndex(torch.arange(8.0)[:, None], centre=False).argmin(torch.tensor([[2.2], [6.9]])).tolist()

    right = with_cache(nearest) == [2, 7]
    says = f"compiled loops work and are {kept()}" if right else "compiled loops give wrong answers; please report this"
    return right, f"{_version('numba')}, numpy {np.__version__}: {says}"


def _memory() -> tuple[bool, str]:
    from texsyn.synthesis import free_memory

    free = free_memory()
    return True, "this system does not tell how much is free" if free is None else f"{free / 2**30:.1f} GiB free"


def _triton() -> tuple[bool, str]:
    import torch

    from texsyn import coordinates_triton
    from texsyn.ot import triton

    if not torch.cuda.is_available():
        return False, f"{_version('triton') or 'not installed'}; not needed, it is for CUDA devices"
    cuda = torch.device("cuda")
    reason = triton.failure(75, cuda) or coordinates_triton.failure(5, 3, cuda)  # 5x5 patches of three channels
    if reason:
        return False, f"{_version('triton') or 'not installed'}, {reason}; not needed, torch does its work, slower"
    return True, f"{_version('triton')}: searches and corrections on CUDA devices"


def _keops() -> tuple[bool, str]:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    version = _version("pykeops")
    if version is None:
        return False, "not installed; not needed, the built-in search is the default"
    if not compiler:
        return False, f"{version}, but no C++ compiler (CXX, g++ or clang++); not needed"
    return True, f"{version} with {compiler}; only used when asked for by name"


def _package(name: str, use: str) -> Check:
    version = _version(name)
    return Check(name, version is not None, f"{version or 'not installed'} ({use})")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
