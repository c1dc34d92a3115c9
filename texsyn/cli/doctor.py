"""What `texsyn doctor` finds: each part of the machine that matters, whether it is used, and why not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One line of the doctor: ok is False for what is missing but not needed, and says has the consequence."""

    name: str
    ok: bool
    says: str


def checks() -> list[Check]:
    """Everything worth knowing when something is slow or does not work."""
    import torch

    import texsyn

    where = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return [
        Check("texsyn", True, f"{texsyn.__version__}, {where}"),
        Check("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"),
        _device(torch),
        _numba(),
        _keops(),
        _package("pot", "optimal transport cross-checks; only the tests use it"),
        _package("faiss-cpu", "a rival in benchmarks/bench_ot.py; nothing else uses it"),
    ]


def _device(torch: object) -> Check:
    t = sys.modules["torch"]
    if t.cuda.is_available():
        return Check("device", True, f"cuda: {t.cuda.get_device_name(0)} (used by --device auto)")
    if t.backends.mps.is_available():
        return Check("device", True, "cpu (auto); mps is there, ask for it with --device mps")
    return Check("device", True, "cpu; this torch sees no CUDA device")


def _numba() -> Check:
    try:
        import numpy as np
        import torch as t

        from texsyn.ot.nearest import NearestIndex

        index = NearestIndex(t.arange(8.0)[:, None], centre=False)
        right = index.argmin(t.tensor([[2.2], [6.9]])).tolist() == [2, 7]
        says = "compiled loops work" if right else "compiled loops give wrong answers; please report this"
        return Check("numba", right, f"{_version('numba')}, numpy {np.__version__}: {says}")
    except Exception as error:  # the doctor reports, whatever it is
        return Check("numba", False, f"compiled loops do not work here ({type(error).__name__}: {error})")


def _keops() -> Check:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    version = _version("pykeops")
    if version is None:
        return Check("keops", False, "not installed; not needed, the built-in search is the default")
    if not compiler:
        return Check("keops", False, f"{version}, but no C++ compiler (CXX, g++ or clang++); not needed")
    return Check("keops", True, f"{version} with {compiler}; only used when asked for by name")


def _package(name: str, use: str) -> Check:
    version = _version(name)
    return Check(name, version is not None, f"{version or 'not installed'} ({use})")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
