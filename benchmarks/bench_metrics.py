"""What the heads of the feature metrics cost and how exact they are, beside what is commonly used.

    python benchmarks/bench_metrics.py [--quick] [--out results.json]

Frechet distance: tr (S_x S_y)^(1/2) by scipy's sqrtm and by numpy's eigenvalues of the product, in CPU seconds of one
thread, covariances given; ours in CPU seconds of the whole distance: from features (nuclear), from statistics
(cholesky, eigh). Errors are relative to tr S_x + tr S_y, the scale of what cancels, against the singular values of the
product of QR factors of the features, which squares nothing; and of the distance itself. All in one run on the same
matrices; ours is the median of three. Features are made: non-negative, correlated, with a falling spectrum.

Extraction: CPU seconds a picture of the network's 2048 features, our three resizers and whatever libraries are here
with the same random weights, and of SiFID's stem; FID of 50 and 50 files from PNG to number; prdc and torchmetrics' KID
on the same features (metric_rivals.py). Libraries that are not installed are "missing" in the JSON.

KID with 100 subsets of 1000 beside the same draws one by one; precision and recall beside all distances in difference
form. Seconds on a shared machine differ from run to run; ratios within a run are what to read.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy
import torch
from bench_synth import machine
from metric_rivals import bench_extraction, bench_fid, bench_heads
from scipy.linalg import sqrtm
from torch import Tensor

from texsyn.metrics.frechet import FrechetDistance, Gaussian, frechet, frechet_from_statistics
from texsyn.metrics.kid import kid
from texsyn.metrics.neighbours import precision_recall

HERE = Path(__file__).resolve().parent


def timed(job: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """(the answer, median CPU seconds)."""
    seconds = []
    for _ in range(repeats):
        before = time.process_time()
        answer = job()
        seconds.append(time.process_time() - before)
    return answer, statistics.median(seconds)


def features(n: int, d: int, seed: int) -> Tensor:
    """(n, d) as of a network after ReLU: non-negative, correlated, eigenvalues falling like a power."""
    generator = torch.Generator().manual_seed(d)
    mix = torch.randn(d, d, dtype=torch.float64, generator=generator)
    mix *= torch.arange(1, d + 1, dtype=torch.float64)[:, None] ** -0.5
    generator.manual_seed(1000 * d + seed)
    return (torch.randn(n, d, dtype=torch.float64, generator=generator) @ mix * 0.1 + 0.02 * seed).relu()


def by_qr(x: Tensor, y: Tensor) -> float:
    """tr (S_x S_y)^(1/2) from the features alone."""
    a, b = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    a, b = (torch.linalg.qr(z, mode="r").R if len(z) > z.shape[1] else z for z in (a, b))
    return float(torch.linalg.svdvals(a @ b.T).sum())


def bench_frechet(n: int, d: int) -> dict:
    x, y = features(n, d, 1), features(n, d, 2)
    g, h = Gaussian.of(x), Gaussian.of(y)
    s_x, s_y = g.covariance.numpy(), h.covariance.numpy()
    fixed = float((g.mean - h.mean).square().sum())
    traces = float(np.trace(s_x) + np.trace(s_y))
    exact, seconds_qr = timed(lambda: by_qr(x, y))
    distance = fixed + traces - 2 * exact

    def row(cross: float, seconds: float, **more: Any) -> dict:
        error = 2 * abs(cross - exact)
        return {"seconds": seconds, "error_of_traces": error / traces, "error_of_distance": error / distance} | more

    def ours(job: Callable[[], FrechetDistance]) -> dict:
        result, seconds = timed(job, 3)
        return row((traces - result.trace_term) / 2, seconds, route=result.route)

    routes = {"ours, statistics": ours(lambda: frechet_from_statistics(g, h))}
    routes["ours, features"] = ours(lambda: frechet(x, y))
    root, seconds = timed(lambda: sqrtm(s_x @ s_y))
    routes["scipy sqrtm"] = row(float(np.trace(root).real), seconds, complex=bool(np.iscomplexobj(root)))
    values, seconds = timed(lambda: np.linalg.eigvals(s_x @ s_y))
    routes["numpy eigvals"] = row(float(np.sqrt(np.maximum(values.real, 0)).sum()), seconds)
    routes["QR and svdvals"] = row(exact, seconds_qr)
    best = routes["ours, features" if n <= d else "ours, statistics"]["seconds"]
    for one in routes.values():
        one["ratio"] = one["seconds"] / best
    return {"n": n, "d": d, "distance": distance, "traces": traces, "routes": routes}


def kid_one_by_one(x: Tensor, y: Tensor, subsets: int, m: int) -> list[float]:
    """The draws of kid() with seed 0, each with kernel matrices of its own, float64."""
    generator = torch.Generator().manual_seed(0)
    draws = [[torch.randperm(len(z), generator=generator)[:m] for z in (x, y)] for _ in range(subsets)]

    def k(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    values = []
    for i, j in draws:
        a, b = x[i], y[j]
        xx, yy = k(a, a), k(b, b)
        within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (m * (m - 1))
        values.append(float(within - 2 * k(a, b).mean()))
    return values


def bench_kid(n: int, d: int, m: int) -> dict:
    x, y = features(n, d, 1), features(n, d, 2)
    result, seconds = timed(lambda: kid(x, y, size=m))
    few = 4
    own, seconds_few = timed(lambda: kid_one_by_one(x, y, few, m))
    ours = kid(x, y, subsets=few, size=m).value
    return {
        "n": n,
        "d": d,
        "m": m,
        "subsets": result.subsets,
        "value": result.value,
        "spread": result.spread,
        "seconds": seconds,
        "seconds_one_by_one": seconds_few / few * 100,  # four of the draws, times 25
        "ratio": seconds_few / few * 100 / seconds,
        "difference_over_four": abs(ours - float(np.mean(own))),
    }


def bench_neighbours(n: int, d: int, copies: float) -> dict:
    """copies: this share of the generated samples are copies of reference samples."""
    reference, generated = features(n, d, 1), features(n, d, 3)
    generated[: int(copies * n)] = reference[: int(copies * n)]
    result, seconds = timed(lambda: precision_recall(generated, reference))

    def differences() -> tuple[float, float]:
        def distances(a: Tensor, b: Tensor) -> Tensor:
            return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")

        r_g, r_r = (distances(z, z).kthvalue(4, 1).values for z in (generated, reference))
        across = distances(generated, reference)
        inside = (across <= r_r).any(1), (across <= r_g[:, None]).any(0)
        return float(inside[0].double().mean()), float(inside[1].double().mean())

    plain, seconds_plain = timed(differences)
    return {
        "n": n,
        "d": d,
        "copies": copies,
        "precision_recall": [result.precision, result.recall],
        "equal_to_differences": plain == (result.precision, result.recall),
        "seconds": seconds,
        "seconds_differences": seconds_plain,
        "ratio": seconds_plain / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds, d = 192 only, and no JSON")
    parser.add_argument("--out", type=Path, help="the JSON; default benchmarks/results/metrics_cpu.json")
    args = parser.parse_args()
    torch.set_num_threads(1)

    about = machine() | {"scipy": scipy.__version__, "numpy": np.__version__, "load": os.getloadavg()[0]}
    report: dict[str, Any] = {"about": about, "frechet": []}
    frechet(features(50, 64, 1), features(50, 64, 2))  # warm up
    shapes = [(3600, 192), (144, 192)] + [(5000, 2048), (500, 2048), (50, 2048)] * (not args.quick)
    for n, d in shapes:
        case = bench_frechet(n, d)
        report["frechet"].append(case)
        print(f"\nFrechet, d={d}, {n} and {n} samples: {case['distance']:.6g}, of traces {case['traces']:.6g}")
        for name, row in case["routes"].items():
            errors = f"error {row['error_of_traces']:.0e} of the traces, {row['error_of_distance']:.0e} of the distance"
            effort = f"{row['seconds']:9.4f} s  x{row['ratio']:<10.4g}"
            print(f"  {name:18}{effort}{errors}  {row.get('route', '')}", flush=True)
    n, d, m = (500, 192, 250) if args.quick else (2000, 2048, 1000)
    report["kid"] = bench_kid(n, d, m)
    print("\nKID", json.dumps(report["kid"]))
    report["neighbours"] = [bench_neighbours(n, d, copies) for copies in (0, 0.5)]
    for case in report["neighbours"]:
        print("precision and recall", json.dumps(case))
    report["extraction"] = bench_extraction(args.quick)
    report["whole_fid"] = bench_fid(4 if args.quick else 50, 64)
    n, d, m = (300, 192, 100) if args.quick else (2000, 2048, 1000)
    report["heads_beside_libraries"] = bench_heads(features(n, d, 1), features(n, d, 3), m)
    out = args.out or (None if args.quick else HERE / "results" / "metrics_cpu.json")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
