"""How tight certificates are, and what they cost: every level of pictures by several methods, over some exemplars.

    python benchmarks/bench_verify.py --exemplars grass,brick,gravel --textures FOLDER --out results.json

Each picture is certified in this process, with one thread, after the loops are compiled; the CPU seconds are those of
the whole certificate, floors included. width is (upper^2 - lower^2) / upper^2, the relative gap in W2^2.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from bench_synth import exemplars, machine

import texsyn
from texsyn.images import load, to_unit
from texsyn.metrics.certificate import certificate
from texsyn.metrics.texture import score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exemplars", default="grass,brick,gravel", help="of scikit-image, comma-separated")
    parser.add_argument("--textures", help="a folder of more exemplars")
    parser.add_argument("--methods", default="texto,gaussian,random-phase")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()

    torch.set_num_threads(1)
    sources = [f"skimage:{name}:256" for name in args.exemplars.split(",") if name]
    sources += exemplars(args.textures) if args.textures else []
    small = to_unit(load("skimage:grass:64").pixels)
    certificate(small[:, :60], small)  # compiles the loops
    records = []
    for source in sources:
        for method in args.methods.split(","):
            records.append(measure(source, method, args.size))
            print(line(records[-1]), flush=True)
    summary = {name: summed([r for r in records if name in ("all", r["method"])]) for name in
               ("all", *args.methods.split(","))}  # fmt: skip
    print(json.dumps(summary))
    if args.out:
        about = machine() | {"size": args.size, "seed": 0}
        args.out.write_text(json.dumps({"about": about, "summary": summary, "records": records}, indent=1) + "\n")


def measure(source: str, method: str, size: str) -> dict[str, Any]:
    exemplar = load(source)
    made, reference = to_unit(texsyn.synth(exemplar, size, method=method, seed=0).pixels), to_unit(exemplar.pixels)
    began = time.process_time()
    found = certificate(made, reference)
    cpu = time.process_time() - began
    about = {"exemplar": exemplar.name, "method": method, "shape": list(reference.shape), "cpu": round(cpu, 1)}
    rows = [
        row | {"floor_width": s.floor and round(s.floor.width, 6)}
        for row, s in zip(found.rows(), found.levels, strict=True)
    ]
    return about | {"msw": round(score(made, reference).msw, 4), "levels": rows}


def summed(records: list[dict[str, Any]]) -> dict[str, float]:
    rows = [row for r in records for row in r["levels"]]
    widths, floors = (
        [row["width"] for row in rows],
        [row["floor_width"] for row in rows if row["floor_width"] is not None],
    )
    seconds = [r["cpu"] for r in records]
    return {
        "width_mean": round(sum(widths) / len(widths), 4),
        "width_max": max(widths),
        "floor_width_mean": round(sum(floors) / len(floors), 4),
        "floor_width_max": max(floors),
        "cpu_mean": round(sum(seconds) / len(seconds), 1),
        "cpu_max": max(seconds),
    }


def line(record: dict[str, Any]) -> str:
    intervals = "  ".join(f"{s['lower']:.2f}..{s['upper']:.2f} ({100 * s['width']:.1f}%)" for s in record["levels"])
    return f"{record['exemplar']:<20}{record['method']:<14}{record['cpu']:>6.1f} s  {intervals}"


if __name__ == "__main__":
    main()
