"""Patch transport from below and above, beside PSW and the certificate, on an exemplar's controlled degradations.

    python benchmarks/bench_patch_ot.py --out benchmarks/results/patch_ot.json

Exemplars and degradations are those of bench_response.py. Per scale: the bounds of texsyn.metrics.patch_transport with
the standard error of the lower one, PSW, and texsyn.ot.auction's certified interval between the empirical laws of the
patches of that scale (as `texsyn verify`, but 7x7 patches of the box pyramid; of more than 4,096 so many at random).
`seeds` repeats some rows with other seeds: what the numbers vary by. `potentials` shows, for the first scale of a
grass, what a bound against some random atoms would have said about the very picture they are from.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_response import ELSEWHERE, crop, degradations, rounded
from bench_synth import machine

from texsyn.metrics import patch_transport as module
from texsyn.metrics.patch_law import patch_distances
from texsyn.metrics.patch_transport import Floor, Knobs, patch_transport, transport_floors
from texsyn.ot.auction import interval
from texsyn.ot.semidiscrete import from_points, solve

MAX_PAIRS = 1 << 24  # 4,096 patches of either
N_SEEDS = 4
REPEATED = ("held-out crop", "exemplar itself", "held-out, +10")
Levels = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    patch_transport(crop("grass", 0)[:64, :64], crop("grass", 0)[:64, :60])  # compiles the loops
    exemplars, seeds, seconds = {}, {}, []
    for name in ("brick", "grass", "gravel"):
        ex, began = crop(name, 0), time.process_time()
        floors = transport_floors(ex)
        floor_seconds = time.process_time() - began
        rows = {}
        for row, out in degradations(ex, crop(name, ELSEWHERE)).items():
            began = time.process_time()
            levels = transported(out, ex, floors, 0)
            seconds.append(time.process_time() - began)
            sliced = patch_distances(ex.astype("f4"), shown(out).astype("f4"))
            rows[row] = [
                level | {"psw": psw} | certified(out, ex, s)
                for s, (level, psw) in enumerate(zip(levels, sliced, strict=True))
            ]
            print(line(name, row, rows[row]), flush=True)
        exemplars[name] = {"rows": rows, "floor_cpu": floor_seconds}
        seeds[name] = spreads(ex, degradations(ex, crop(name, ELSEWHERE)))
    means = {row: averaged([e["rows"][row] for e in exemplars.values()]) for row in exemplars["brick"]["rows"]}
    checks = {"exemplars": exemplars, "means": means, "seeds": seeds, "potentials": potentials(crop("grass", 0))}
    held = [level for e in exemplars.values() for levels in e["rows"].values() for level in levels]
    inside = {
        "levels": len(held),
        "lower <= certified upper": sum(v["lower"] <= v["certified"][1] for v in held),
        "lower less an error <= certified upper": sum(v["lower_range"][0] <= v["certified"][1] for v in held),
        "upper >= certified lower": sum(v["upper"] >= v["certified"][0] for v in held),
        "lower <= upper": sum(v["lower"] <= v["upper"] for v in held),
        "psw <= upper": sum(v["psw"] <= v["upper"] for v in held),
    }
    print(json.dumps(inside))
    for row, levels in means.items():
        print(line("mean", row, levels))
    if args.out:
        about = machine() | {"size": "192x192", "knobs": asdict(Knobs()), "max_pairs": MAX_PAIRS}
        about |= {"cpu_seconds_a_picture": round(float(np.mean(seconds)), 2)}
        args.out.write_text(json.dumps(rounded({"about": about, "inside": inside} | checks), indent=1) + "\n")


def shown(out: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(out, 0, 1) * 255) / 255


def transported(out: np.ndarray, ex: np.ndarray, floors: tuple[Floor | None, ...], seed: int) -> Levels:
    found = patch_transport(out, ex, seed=seed, floors=floors)
    return [level.to_dict() for level in found if level is not None]


def certified(out: np.ndarray, ex: np.ndarray, s: int) -> dict[str, Any]:
    """The certified interval between all patches of both at a scale, in grey levels, and how many they were."""
    u, v = (module._scales(p)[s] for p in (out, ex))
    x, y = (
        module._at(p, np.random.default_rng(seed).permutation(module._count(p))[: math.isqrt(MAX_PAIRS)])
        for seed, p in ((2, u), (3, v))
    )
    bounds = interval(x, y, tol=0.05)
    return {"certified": [math.sqrt(float(b) / x.shape[1]) for b in bounds], "certified_n": [len(x), len(y)]}


def spreads(ex: np.ndarray, outs: dict[str, np.ndarray]) -> dict[str, Levels]:
    """Means and deviations over N_SEEDS of both bounds and of the sampling floor, and the mean standard error."""
    floors = [transport_floors(ex, seed=seed) for seed in range(N_SEEDS)]
    return {
        row: [
            {
                "scale": levels[0]["scale"],
                "lower_squared_error": float(np.mean([v["lower_squared_error"] for v in levels])),
            }
            | {key: mean_and_sd([v[key] for v in levels]) for key in ("lower", "lower_squared", "upper", "sampling")}
            for levels in zip(*(transported(outs[row], ex, f, seed) for seed, f in enumerate(floors)), strict=True)
        ]
        for row in REPEATED
    }


def mean_and_sd(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}


def potentials(ex: np.ndarray) -> dict[str, float]:
    """The value, on held-out patches of ex itself, of potentials on some random atoms, and on all: as grey levels."""
    u, rng = module._scales(ex)[0], np.random.default_rng(0)
    atoms = module._floats(module._at(u, np.arange(module._count(u))))
    fit, _, hold = module._parts(*module._places(u), rng)
    y, held = (module._floats(module._at(u, at[:2000])) for at in (fit, hold))
    found = {}
    for n in (500, 1000, 2000):
        some = atoms[torch.from_numpy(rng.permutation(len(atoms))[:n])]
        value = module._values(some, solve(from_points(y), some, tol=0.2).psi, held).mean() / 49
        found[f"{n} atoms"] = math.sqrt(max(0.0, value))
    found["all atoms"] = math.sqrt(max(0.0, module._values(atoms, torch.zeros(len(atoms)), held).mean() / 49))
    return found


def averaged(rows: list[Levels]) -> Levels:
    keys = ("lower", "upper", "sampling", "psw")
    return [
        {"scale": levels[0]["scale"]}
        | {key: float(np.mean([v[key] for v in levels])) for key in keys}
        | {"certified": np.mean([v["certified"] for v in levels], 0).tolist()}
        | {"floor": {key: float(np.mean([v["floor"][key] for v in levels])) for key in ("lower", "upper")}}
        for levels in zip(*rows, strict=True)
    ]


def line(name: str, row: str, levels: Levels) -> str:
    cells = "  ".join(
        f"{v['lower']:5.1f}..{v['upper']:4.1f} (n+n {v['sampling']:4.1f}, PSW {v['psw']:4.1f}, "
        f"certified {v['certified'][0]:4.1f}..{v['certified'][1]:4.1f})"
        for v in levels
    )
    return f"{name:<7}{row:<24}{cells}"


if __name__ == "__main__":
    main()
