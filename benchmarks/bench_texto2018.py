"""The published Texto's two claims, over a folder of exemplars: the law of its coarsest patches, and its transport.

    python benchmarks/bench_texto2018.py FOLDER --out results.json

Per scale: CPU seconds of the solve on one thread, and the mass error of the potential that comes out, on a million
draws that the solver did not see (or, where the law is a cloud of patches, on all of it). Per exemplar: relative
Frobenius error of the coarsest patches' covariance, formula against patches of sampled Gaussian textures, beside what
the same samples' two halves differ by.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from bench_synth import exemplars, machine
from torch import Tensor

from texsyn.adsn import field, patch_law
from texsyn.images import Region, load
from texsyn.models import texto2018
from texsyn.models.texto2018 import Texto2018, Texto2018Config
from texsyn.noise import NoiseField
from texsyn.ot.semidiscrete import SemiDiscrete, solve, unique_atoms
from texsyn.patches import extract

N_TEST, N_FIELDS, FIELD = 2**20, 48, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="exemplars: a folder of pictures, or skimage: for those that come with it")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()

    torch.set_num_threads(1)
    records = []
    for path in exemplars(args.folder):
        picture, solves = load(path), []
        texto2018.solve = timed(solves)  # type: ignore[assignment]
        model = Texto2018.fit(picture, Texto2018Config(), seed=0)
        record = {"exemplar": Path(path).stem, "covariance": covariance(model), "scales": solves}
        records.append(record)
        print(json.dumps(record), flush=True)
    worst = [r["covariance"]["error"] for r in records]
    scales = [s for r in records for s in r["scales"]]
    summary = {
        "covariance_error_mean": sum(worst) / len(worst),
        "covariance_error_max": max(worst),
        "scales": len(scales),
        "scales_with_mass_error_under_0.1": sum(s["mass_error"] < 0.1 for s in scales),
        "solve_cpu_mean": sum(s["cpu"] for s in scales) / len(scales),
        "solve_cpu_max": max(s["cpu"] for s in scales),
    }
    print(json.dumps(summary))
    if args.out:
        args.out.write_text(json.dumps({"about": machine(), "summary": summary, "records": records}, indent=1) + "\n")


def timed(solves: list[dict[str, Any]]) -> Any:
    def wrapped(sample: Any, y: Tensor, **options: Any) -> SemiDiscrete:
        began = time.process_time()
        solution = solve(sample, y, **options)
        cpu = time.process_time() - began
        draws = getattr(sample, "points", None)
        if draws is None:
            draws = sample(N_TEST, torch.Generator().manual_seed(2**40 + len(solves)))
        _, weights, inverse = unique_atoms(solution.y)  # of equal atoms the first wins all that they share
        share = torch.bincount(inverse[solution.assign(draws)], minlength=len(weights)).double() / len(draws)
        found = {
            "atoms": len(solution.y),
            "different_atoms": len(weights),
            "cpu": cpu,
            "mass_error": (share - weights.double()).abs().sum().item(),
            "solver_said": solution.residual,
            "draws": solution.n_samples,
        }
        solves.append({k: round(v, 4) for k, v in found.items()})
        return solution

    return wrapped


def covariance(model: Texto2018) -> dict[str, float]:
    """Of the coarsest scale's patches: the formula against N_FIELDS sampled textures of FIELD^2 pixels."""
    u, w = model.scales[-1].u.double(), model.config.patch_size
    mean, law = patch_law(u, w)
    h, wd = u.shape[1:]
    halves = torch.zeros(2, *law.shape, dtype=torch.float64)
    for k in range(N_FIELDS):
        noise = NoiseField(k).normal(Region(0, 0, FIELD + h - 1, FIELD + wd - 1))
        x = extract(field(u, torch.from_numpy(noise).double()), w) - mean
        halves[k % 2] += x.T @ x / len(x) / (N_FIELDS / 2)
    error = ((halves.mean(0) - law).norm() / law.norm()).item()
    return {"error": round(error, 5), "halves": round(((halves[0] - halves[1]).norm() / law.norm()).item(), 5)}


if __name__ == "__main__":
    main()
