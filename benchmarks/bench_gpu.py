"""What a GPU gives: pictures from a fitted endless texto model, nearest neighbours by engine, and the same pixels.

    python benchmarks/bench_gpu.py [--device cuda] [--size 1280x768] [--exemplars grass,brick] [--out results.json]
    python benchmarks/bench_gpu.py --count

The model is fitted on the CPU and carried over, so that both devices draw from the very same model; the SHA-256 of
what they draw must agree, and the exit code is 1 if one does not. Times are wall times after a warm-up, with the
device synchronised, medians of the repeats; pictures are timed up to the pixels in main memory. On device cpu the
same figures come from the CPU alone: a smoke check.

--count needs no GPU: it counts what a picture asks of one, launches and bytes, with votes and corrections by plain
torch and by the Triton kernels, and what that takes at the least on a processor of the assumed figures. A floor by
arithmetic, not a measurement: nothing is faster, much may be slower.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from bench_ot import nearest_case
from bench_synth import machine
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from texsyn import coordinates, fit
from texsyn.atlas import Level
from texsyn.images import Region, Size, load, parse_size
from texsyn.models import texto
from texsyn.models.base import TextureModel
from texsyn.ot.nearest import NearestIndex

#: an H100's memory by its data sheet, and what one launch from Python takes at the least, from many reports
ASSUMED = {"bytes_per_second": 3.35e12, "seconds_per_launch": 4e-6}
SEARCH = 4  # launches of one call of the Triton engine of the nearest neighbour
EXEMPLARS = "grass,brick,ihc"
SHAPES = [(1000, 27), (3600, 75), (16384, 27), (65536, 147)]  # atoms, dimensions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", default="1280x768")
    parser.add_argument("--exemplars", default=EXEMPLARS, help="that come with scikit-image")
    parser.add_argument("--side", type=int, default=256, help="exemplars are cropped to this")
    parser.add_argument("--queries", type=int, help="of the nearest neighbours; default 2^20, on a CPU 4096")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--count", action="store_true", help="launches and bytes of a picture; needs no GPU")
    parser.add_argument("--quick", action="store_true", help="one small exemplar, one shape, two repeats")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    torch.set_num_threads(1)

    exemplars, side, shapes, repeats = args.exemplars.split(","), args.side, SHAPES, args.repeats
    if args.quick:
        exemplars, side, shapes, repeats = exemplars[:1], 64, SHAPES[:1], 2
    if args.count:
        about = machine() | {"size": args.size, "assumed": ASSUMED, "note": "counted on a CPU; seconds are arithmetic"}
        report = {"about": about, "pictures": [count(name, side, parse_size(args.size)) for name in exemplars]}
        for record in report["pictures"]:
            print(record, flush=True)
        if args.out:
            args.out.write_text(json.dumps(report, indent=1) + "\n")
        return 0
    queries = args.queries or (2**20 if args.device == "cuda" else 4096)
    about = machine() | {"device": device_name(args.device), "note": "wall seconds, device synchronised, medians"}
    report: dict[str, Any] = {"about": about, "pictures": [], "nearest": []}
    print(about["device"])
    for name in exemplars:
        report["pictures"].append(time_pictures(name, side, parse_size(args.size), args.device, repeats))
        show(report["pictures"][-1])
    for n_atoms, d in shapes:
        report["nearest"].append(time_nearest(n_atoms, d, queries, args.device, repeats))
        show(report["nearest"][-1])
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    agree = all(p["same_pixels"] for p in report["pictures"])
    return 0 if agree and all(n["same_winners"] for n in report["nearest"]) else 1


class Launches(TorchDispatchMode):
    """Counts the operations that would be a kernel on a GPU, and the bytes that they read and write at the least.

    Views and whatever only asks for memory are none. add() counts what stands for several operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.bytes = 0, 0

    def add(self, launches: int, *tensors: torch.Tensor) -> None:
        self.launches += launches
        self.bytes += sum(t.numel() * t.element_size() for t in tensors)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not (func.is_view or func.overloadpacket in FREE):
            found = out if isinstance(out, (list, tuple)) else [out]
            self.add(1, *(t for t in [*args, *found] if isinstance(t, torch.Tensor)))
        return out


aten = torch.ops.aten
FREE = {aten.empty, aten.lift_fresh, aten.detach, aten._local_scalar_dense, aten._unsafe_view}


@contextlib.contextmanager
def counted(kernels: bool) -> Iterator[Launches]:
    """Texto as on a GPU, its votes and corrections by kernels or by plain torch; searches count as the kernels' own."""
    launches, vote, correct = Launches(), coordinates.vote, coordinates.correct
    assign, assign_batch = texto._assign_all, Level.assign

    @contextlib.contextmanager
    def uncounted() -> Iterator[None]:
        with _disable_current_modes(), mock.patch.object(coordinates, "_compiled", return_value=True):
            yield

    def one_vote(exemplar: torch.Tensor, source: torch.Tensor, w: int) -> torch.Tensor:
        with uncounted():
            out = vote(exemplar, source, w)
        launches.add(1, exemplar, source, out)
        return out

    def one_correction(*given: Any) -> torch.Tensor:
        u, source, exemplar, w, psi, fix, prices = given
        with uncounted():
            out = correct(u, source, exemplar, w, psi, fix=fix, prices=prices)
        launches.add(1, *(t for t in (u, source, exemplar, psi, fix, out) if t is not None))
        return out

    def searched(search: Any, u: torch.Tensor, w: int, threads: int) -> torch.Tensor:
        with uncounted():
            winner = assign(search, u, w, threads)
        launches.add(3 + SEARCH, u, winner)  # before the search, patches are gathered, converted and centred
        launches.bytes += 3 * 4 * winner.numel() * search.y.shape[1]
        return winner

    def searched_batch(level: Level, patches: torch.Tensor, psi: torch.Tensor) -> torch.Tensor:
        with uncounted():
            winner = assign_batch(level, patches, psi)
        launches.add(4 + SEARCH, patches, winner)  # psi is converted and made a bias in two, patches are centred
        return winner

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(Level, "assign", searched_batch))
        stack.enter_context(mock.patch.object(coordinates, "_compiled", return_value=False))
        stack.enter_context(mock.patch.object(texto, "_assign_all", searched))
        if kernels:
            engine = SimpleNamespace(vote=one_vote, correct=one_correction)
            stack.enter_context(mock.patch.object(coordinates, "_engine", return_value=engine))
        yield stack.enter_context(launches)


def count(name: str, side: int, size: Size) -> dict[str, Any]:
    """Launches and gigabytes of one picture from a fitted model, by plain torch and by the kernels.

    And of a balanced one whose ascent is done on the GPU too, beside the CPU seconds of all of it without a GPU.
    """
    model = fit(load(f"skimage:{name}:{side}"), "texto", seed=0, device="cpu")
    model.sample(size, seed=1)  # what is prepared once
    record: dict[str, Any] = {"exemplar": f"{name} {model.exemplar.size}", "size": str(size)}
    balanced = type(model)(model.exemplar)
    ways = {"torch": (model, False), "kernels": (model, True), "balanced, all of it": (balanced, True)}
    for way, (maker, kernels) in ways.items():
        with counted(kernels) as found:
            maker.sample(size, seed=1)
        at_least = found.bytes / ASSUMED["bytes_per_second"], found.launches * ASSUMED["seconds_per_launch"]
        record[way] = {"launches": found.launches, "gigabytes": round(found.bytes / 1e9, 2)}
        record[way]["at_least_ms"] = round(1e3 * max(at_least), 1)
    began = time.process_time()
    balanced.sample(size, seed=1)
    record["balanced, all of it"]["cpu_ms"] = round(1e3 * (time.process_time() - began), 1)
    return record


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def timed(device: str, work: Callable[[], Any], repeats: int) -> float:
    """Median wall seconds of work(), after one call that compiles and fills the caches."""
    seconds = []
    for repeat in range(repeats + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if repeat:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def time_pictures(name: str, side: int, size: Size, device: str, repeats: int) -> dict[str, Any]:
    """One exemplar: fit on the CPU, milliseconds a picture on the device, and the hashes of renders on both."""
    exemplar = load(f"skimage:{name}:{side}")
    began = time.perf_counter()
    here = fit(exemplar, "texto", seed=0, device="cpu")
    fitted = time.perf_counter() - began
    there = type(here).from_tensors(here.exemplar, here.config, here.tensors(), device)
    hashes = {where: render_hashes(model) for where, model in (("cpu", here), (device, there))}
    return {
        "exemplar": f"{name} {exemplar.size}",
        "size": str(size),
        "fit_on_cpu_seconds": round(fitted, 3),
        "sample_ms": round(1e3 * timed(device, lambda: there.sample(size, seed=1), repeats), 2),
        "synthesise_ms": round(1e3 * timed(device, lambda: there.synthesise(size, seed=1), repeats), 2),
        "same_pixels": hashes["cpu"] == hashes[device],
        "sha256": hashes,
    }


def render_hashes(model: TextureModel) -> dict[str, str]:
    """SHA-256 of float32 pixels: two windows of a plane, one far out, and a picture that wraps."""
    renders = {
        "window": model.render(Region(0, 0, 96, 128), seed=1),
        "far window": model.render(Region(-(10**6), 10**6 + 1, 61, 43), seed=2),
        "tile": torch.from_numpy(model.synthesise(Size(72, 100), seed=3, tile="xy").pixels),
    }
    return {k: hashlib.sha256(np.ascontiguousarray(v.numpy()).tobytes()).hexdigest() for k, v in renders.items()}


def time_nearest(n_atoms: int, d: int, n: int, device: str, repeats: int) -> dict[str, Any]:
    """Seconds and GF/s (two operations a coordinate of a score) of each engine, on integers as texto has them."""
    x, y, psi = nearest_case(n_atoms, d, n)
    psi = psi.round()
    reference = NearestIndex(y, centre=False)
    reference.set_bias(psi)
    expected = reference.argmin(x[:1024])
    x, y, psi = (t.to(device) for t in (x, y, psi))
    engines: dict[str, dict[str, Any]] = {}
    for engine in ("triton", "torch") if device == "cuda" else ("numba", "torch"):
        for kind, centre in (("bytes", False), ("floats", True)):
            try:
                index = NearestIndex(y, backend=engine, centre=centre)
                index.set_bias(psi)
                row: dict[str, Any] = {"seconds": timed(device, lambda: index.argmin(x, check=False), repeats)}  # noqa: B023
                row["gflops"] = round(2 * n * n_atoms * d / row["seconds"] / 1e9)
                row["wrong_of_1024"] = int((index.argmin(x[:1024]).cpu() != expected).sum())
            except Exception as error:
                row = {"failed": f"{type(error).__name__}: {error}"}
            engines[f"{engine}, {kind}"] = row
    exact = [row for name, row in engines.items() if name.endswith("bytes") and "failed" not in row]
    same = all(row["wrong_of_1024"] == 0 for row in exact)
    return {"n_atoms": n_atoms, "d": d, "n_queries": n, "same_winners": same, "engines": engines}


def show(record: dict[str, Any]) -> None:
    print({k: v for k, v in record.items() if k not in ("sha256", "engines")}, flush=True)
    for name, row in record.get("engines", {}).items():
        print(f"  {name:16} {row}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
