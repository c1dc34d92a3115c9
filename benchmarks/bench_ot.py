"""How fast and how exact: the biased nearest neighbour and the semi-dual solver, beside what one would use otherwise.

    python benchmarks/bench_ot.py [--quick | --full] [--device cuda] [--out results.json]

Everything runs on one thread and is timed in CPU seconds (on CUDA: wall seconds, synchronised), rivals interleaved
with ours in every repeat, medians shown. A rival that is not installed or fails is recorded with its reason. Data:
patches of pictures that ship with scikit-image; the solver's source is the Gaussian with their mean and covariance.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import numpy as np
import torch
from skimage import data

from texsyn.ot.fused import SIMD
from texsyn.ot.nearest import NearestIndex
from texsyn.ot.semidiscrete import solve, unique_atoms

HERE = Path(__file__).resolve().parent


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def patches(name: str, width: int) -> torch.Tensor:
    """All width x width patches of a picture, (N, channels width^2), values 0..255."""
    picture = torch.tensor(np.atleast_3d(getattr(data, name)()), dtype=torch.float32).permute(2, 0, 1)
    return torch.nn.functional.unfold(picture[None], width)[0].T.contiguous()


def gaussian_like(x: torch.Tensor) -> Callable[[int, torch.Generator], torch.Tensor]:
    """Sampler of the Gaussian with the mean and covariance of x (N, D)."""
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(x.T.double()))
    root = (vectors * values.clamp(min=0).sqrt()).T.float()
    return lambda n, generator: mean + torch.randn(n, len(root), generator=generator, device=generator.device) @ root


# Nearest neighbour.


def nearest_case(n_atoms: int, d: int, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries (n, d), atoms (n_atoms, d), bias: all integers of -128..127 (d = 32 is the first 32 of 5 x 5 x 3)."""
    generator = torch.Generator().manual_seed(n_atoms + d)
    all_patches = patches("immunohistochemistry", {27: 3, 32: 5, 75: 5, 147: 7}[d])[:, :d] - 128
    y = all_patches[torch.randperm(len(all_patches), generator=generator)[:n_atoms]].contiguous()
    x = gaussian_like(all_patches)(n, generator).round().clamp(-128, 127)
    m0 = NearestIndex(y).argmin(x[:256], return_value=True)[1].mean()
    return x, y, 0.2 * m0 * torch.randn(n_atoms, generator=generator)


def nearest_rivals(x: torch.Tensor, y: torch.Tensor, psi: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """name -> search; what y needs is prepared beforehand. The obvious forms are given cache-sized chunks of rows."""

    def ours(backend: str, *, centre: bool) -> Callable[[], torch.Tensor]:
        index = NearestIndex(y, backend=backend, centre=centre)
        index.set_bias(psi)
        return lambda: index.argmin(x)

    def obvious(reduce: Callable[[torch.Tensor], torch.Tensor], rows: int) -> Callable[[], torch.Tensor]:
        bias, table = y.square().sum(1) - psi, y.T.contiguous()
        return lambda: torch.cat([reduce(torch.addmm(bias, part, table, alpha=-2)) for part in x.split(rows)])

    def faiss_flat() -> Callable[[], torch.Tensor]:
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatL2(y.shape[1] + 1)  # the bias as one more coordinate: distances must be distances
        index.add(torch.cat([y, (psi.max() - psi).clamp(min=0).sqrt()[:, None]], 1).numpy())
        longer = torch.cat([x, torch.zeros(len(x), 1)], 1).numpy()
        return lambda: torch.from_numpy(index.search(longer, 1)[1][:, 0])

    def pot_dist() -> Callable[[], torch.Tensor]:
        import ot

        xs, ys, bias = x.numpy(), y.numpy(), psi.numpy()
        return lambda: torch.from_numpy(
            np.concatenate([(ot.dist(xs[i : i + 256], ys) - bias).argmin(1) for i in range(0, len(xs), 256)])
        )

    on_cpu = x.device.type == "cpu"
    rows = 256 if on_cpu else max(1024, 2**23 // len(y))
    makers: dict[str, Callable[[], Callable[[], torch.Tensor]]] = {
        "ours, torch": lambda: ours("torch", centre=True),
        "addmm + argmin": lambda: obvious(lambda s: s.argmin(1), rows),
        "addmm + min": lambda: obvious(lambda s: s.min(1).indices, rows),
        "keops": lambda: ours("keops", centre=True),
    }
    if on_cpu:
        makers = {
            "ours, numba": lambda: ours("numba", centre=True),
            "ours, numba, integers": lambda: ours("numba", centre=False),
            **makers,
            "faiss flat": faiss_flat,
            "POT dist + argmin": pot_dist,
        }
    else:
        makers = {
            "ours, triton": lambda: ours("triton", centre=True),
            "ours, triton, integers": lambda: ours("triton", centre=False),
            **makers,
        }
    found: dict[str, Callable[[], torch.Tensor]] = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except Exception as error:
            found[name] = _failing(f"{type(error).__name__}: {error}")
    return found


def _failing(reason: str) -> Callable[[], torch.Tensor]:
    def search() -> torch.Tensor:
        raise RuntimeError(reason)

    return search


def exactness(x: torch.Tensor, y: torch.Tensor, psi: torch.Tensor, j: torch.Tensor) -> dict:
    """Winners j that cost more than the best in float64, and the worst excess in units of the mean best cost."""
    x, y, psi, j = x.double().cpu(), y.double().cpu(), psi.double().cpu(), j.cpu()
    excess, best = [], []
    for i in range(0, len(j), 128):
        rows = x[i : i + 128]
        scores = y.square().sum(1) - psi - 2 * rows @ y.T
        lowest = scores.min(1).values
        excess.append(scores.gather(1, j[i : i + 128, None])[:, 0] - lowest)
        best.append(lowest + rows.square().sum(1))
    relative = torch.cat(excess) / torch.cat(best).mean()
    return {"wrong_of_1024": int((relative > 1e-12).sum()), "worst_excess": float(relative.max())}


def bench_nearest(n_atoms: int, d: int, n: int, repeats: int, device: str) -> dict:
    x, y, psi = (t.to(device) for t in nearest_case(n_atoms, d, n))
    searches = nearest_rivals(x, y, psi)
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    rows: dict[str, dict] = {}
    for name, search in searches.items():
        try:
            rows[name] = exactness(x[:1024], y, psi, search()[:1024])  # warms up, too
        except Exception as error:
            rows[name] = {"failed": str(error)}
    for _ in range(repeats):
        for name, search in searches.items():
            if "failed" not in rows[name]:
                before = clock(device)
                search()
                seconds[name].append(clock(device) - before)
    for name, row in rows.items():
        if "failed" not in row:
            row["seconds"] = statistics.median(seconds[name])
            row["gflops"] = 2 * n * n_atoms * d / row["seconds"] / 1e9
    return {"n_atoms": n_atoms, "d": d, "n_queries": n, "repeats": repeats, "engines": rows}


# Solver.


@numba.njit(cache=True, fastmath=True)
def one_sample_asgd(
    x: np.ndarray, table: np.ndarray, constant: float, t: int, psi: np.ndarray, mean: np.ndarray
) -> None:
    """Galerne, Leclaire, Rabin 2018: one sample a step, step C / sqrt(t), uniform average. table (D, J) is y.T."""
    n_atoms = len(psi)
    half = 0.5 * (table * table).sum(0)
    score = np.empty(n_atoms, np.float32)
    for i in range(len(x)):
        score[:] = half - np.float32(0.5) * psi
        for k in range(table.shape[0]):
            xk = x[i, k]
            for j in range(n_atoms):
                score[j] -= xk * table[k, j]
        t += 1
        step = np.float32(constant / math.sqrt(t))
        psi += step / n_atoms
        psi[np.argmin(score)] -= step
        mean += (psi - mean) / np.float32(t)


def solver_rivals(
    sample: Callable[[int, torch.Generator], torch.Tensor], y: torch.Tensor, device: str
) -> dict[str, Callable[[int], torch.Tensor]]:
    """name -> (n_samples -> psi). Costs are of pixels in 0..1, the scale that the published constants are meant for."""

    def ours(n_samples: int) -> torch.Tensor:
        return solve(sample, y, tol=1e-3, max_samples=n_samples, seed=1).psi

    def published(constant: float) -> Callable[[int], torch.Tensor]:
        def run(n_samples: int) -> torch.Tensor:
            generator, table = torch.Generator().manual_seed(1), np.ascontiguousarray(y.T.numpy())
            psi, mean = np.zeros(len(y), np.float32), np.zeros(len(y), np.float32)
            for t in range(0, n_samples, 8192):
                x = sample(min(8192, n_samples - t), generator).numpy()
                one_sample_asgd(x, table, constant, t, psi, mean)
            return torch.from_numpy(mean)

        return run

    def pot(**options: object) -> Callable[[int], torch.Tensor]:
        from ot.semidiscrete import solve_semidiscrete

        batch = int(options.get("batch_size", 32))  # type: ignore[call-overload]

        def run(n_samples: int) -> torch.Tensor:
            generator = torch.Generator().manual_seed(1)
            psi = solve_semidiscrete(
                y.numpy(), lambda b: sample(b, generator).numpy(), max_iter=max(1, n_samples // batch), **options
            )
            return torch.from_numpy(np.asarray(psi)).float()

        return run

    rivals: dict[str, Callable[[int], torch.Tensor]] = {"ours": ours}
    if device == "cpu":
        rivals |= {f"one-sample ASGD, C = {c:g}": published(c) for c in (0.3, 1.0, 3.0)}
        x = sample(4096, torch.Generator().manual_seed(2))
        m0 = float(NearestIndex(y).argmin(x, return_value=True)[1].mean())
        with contextlib.suppress(ImportError):
            rivals["POT semidiscrete, defaults"] = pot()
            rivals["POT semidiscrete, batch 512, our step 0.2 m0 J"] = pot(
                batch_size=512, decreasing_reg=False, lr0=0.2 * m0 * len(y), lr_exponent=0.5
            )
    return rivals


def mass_error(sample, y: torch.Tensor, psi: torch.Tensor, device: str) -> float:  # type: ignore[no-untyped-def]
    """L1 of the masses on 500 fresh draws an atom, the counting noise of those draws taken off."""
    generator = torch.Generator(device).manual_seed(99)
    index = NearestIndex(y)
    index.set_bias(psi)
    count, n = torch.zeros(len(y), device=device), 0
    while n < 500 * len(y):
        count += torch.bincount(index.argmin(sample(16384, generator)), minlength=len(y))
        n += 16384
    raw = float((count / n - 1 / len(y)).abs().sum())
    return math.sqrt(max(0.0, raw**2 - 2 * len(y) / (math.pi * n)))


def bench_solver(name: str, width: int, n_atoms: int, budgets: list[float], device: str) -> dict:
    everything = (patches(name, width) / 255).to(device)
    sample = gaussian_like(everything)
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))[:n_atoms]
    y, _, _ = unique_atoms(everything[order.to(device)])  # for all: equal atoms would be an error nobody can remove
    runs = []
    for rival, run in solver_rivals(sample, y, device).items():
        n = 4096
        run(n)  # compile
        for seconds in budgets:
            for _ in range(2):  # aim at the budget from the pace seen last, twice
                before = clock(device)
                psi = run(n)
                spent = clock(device) - before
                n = max(512, min(50 * n, int(n * seconds / max(spent, 1e-4))))
            before = clock(device)
            psi = run(n)
            spent = clock(device) - before
            error = mass_error(sample, y, psi.to(device), device)
            runs.append({"solver": rival, "budget": seconds, "seconds": spent, "n_samples": n, "mass_error": error})
    for tol in (0.1, 0.05):
        before = clock(device)
        solution = solve(sample, y, tol=tol, seed=2)
        spent = clock(device) - before
        error = mass_error(sample, y, solution.psi, device)
        claim = {"tol": tol, "step": solution.step, "residual": solution.residual, "converged": solution.converged}
        runs.append(
            {"solver": f"ours, tol={tol:g}", "seconds": spent, "n_samples": solution.n_samples, "mass_error": error}
            | claim
        )
    zero = mass_error(sample, y, torch.zeros(len(y), device=device), device)
    return {"picture": name, "width": width, "n_atoms": len(y), "d": y.shape[1], "psi_zero": zero, "runs": runs}


# Report.


def machine(device: str) -> dict:
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "lanes": SIMD.lanes,
        "byte_dot": SIMD.has_byte_dot,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": torch.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def commit() -> str:
    git = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def show_nearest(case: dict) -> None:
    print(f"\nnearest neighbour, J={case['n_atoms']}, d={case['d']}, {case['n_queries']} queries")
    ours = (case["engines"].get(name, {}) for name in ("ours, numba", "ours, triton", "ours, torch"))
    best = next(row for row in ours if "seconds" in row)
    for name, row in case["engines"].items():
        if "failed" in row:
            print(f"  {name:24} {row['failed'][:80]}")
            continue
        effort = f"{1e3 * row['seconds']:9.2f} ms {row['gflops']:7.0f} GF/s  x{row['seconds'] / best['seconds']:6.2f}"
        print(f"  {name:24} {effort}  {row['wrong_of_1024']} wrong, by {row['worst_excess']:.0e} at most")


def show_solver(case: dict) -> None:
    print(f"\nsolver, {case['picture']} {case['width']}x{case['width']}, J={case['n_atoms']}")
    print(f"  {'psi = 0':48} {case['psi_zero']:40.4f}")
    for run in case["runs"]:
        effort = f"{run['seconds']:7.2f} s {run['n_samples']:9,} draws"
        print(f"  {run['solver']:48} {effort}  mass error {run['mass_error']:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a minute: one picture, one short budget, two repeats")
    size.add_argument("--full", action="store_true", help="also J=65536 at d=147 and solves at J=4096")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--out", type=Path, help="the JSON; default benchmarks/results/ot_<device>.json, none for --quick"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)

    many = 1 if args.device == "cpu" else 32
    shapes = [(1000, 27, 4096 * many), (3600, 32, 2048 * many), (3600, 75, 2048 * many), (16384, 27, 1024 * many)]
    shapes = shapes[:1] if args.quick else shapes + [(65536, 147, 1024)] * args.full
    problems = [("immunohistochemistry", 3, 1000), ("brick", 5, 1000), ("grass", 5, 1000), ("gravel", 5, 1000)]
    problems = problems[:1] if args.quick else problems
    report = {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": args.device,
        "machine": machine(args.device),
        "nearest": [],
        "solver": [],
    }
    for n_atoms, d, n in shapes:
        case = bench_nearest(n_atoms, d, n, 2 if args.quick else 7, args.device)
        report["nearest"].append(case)
        show_nearest(case)
    for name, width, n_atoms in problems:
        case = bench_solver(name, width, n_atoms, [0.25] if args.quick else [0.1, 0.25, 0.5, 1.0, 2.0], args.device)
        report["solver"].append(case)
        show_solver(case)
    for name, width in [("immunohistochemistry", 3), ("brick", 5)] if args.full else []:
        case = bench_solver(name, width, 4096, [1.0, 4.0], args.device)
        report["solver"].append(case)
        show_solver(case)
    out = args.out or (None if args.quick else HERE / "results" / f"ot_{args.device}.json")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
