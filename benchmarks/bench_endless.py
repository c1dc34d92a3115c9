"""Endless texto: seconds of fit and sample, and how far its pictures are from balanced ones, over a folder.

    python benchmarks/bench_endless.py FOLDER --out results.json

Per exemplar: CPU seconds of the fit on one thread, wall and CPU seconds of a 1280x768 sample with one thread and with
all, the same for a balanced 512x512, and the msw score of a 2048x2048 sample over that of a balanced picture of that
size. After imports and compilations; one seed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_synth import exemplars, machine

from texsyn.images import Picture, Size, load, to_unit
from texsyn.metrics.texture import score
from texsyn.models.texto import Texto, TextoConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="exemplars: a folder of pictures, or skimage: for those that come with it")
    parser.add_argument("--large", type=int, default=2048, help="side of the pictures that are scored; 0: none")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()

    measure(load("skimage:astronaut:64"), 128)  # compiles
    records = []
    for path in exemplars(args.folder):
        records.append({"exemplar": Path(path).stem} | measure(load(path), args.large))
        print(json.dumps(records[-1]), flush=True)
    summary = {
        key: {"mean": round(float(np.mean(found)), 3), "max": round(float(np.max(found)), 3)}
        for key in records[0]
        if key != "exemplar"
        for found in [[r[key] for r in records]]
    }
    print(json.dumps(summary, indent=1))
    if args.out:
        args.out.write_text(json.dumps({"about": machine(), "summary": summary, "records": records}, indent=1) + "\n")


def measure(exemplar: Picture, large: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    torch.set_num_threads(1)
    config = TextoConfig(endless=True)
    model, found["fit_cpu_s"], _ = timed(lambda: Texto.fit(exemplar, config, seed=0))
    model.sample((16, 16), seed=0)
    for threads in (1, os.cpu_count() or 1):
        torch.set_num_threads(threads)
        _, cpu, wall = timed(lambda: model.synthesise(Size(768, 1280), seed=0))
        found |= {f"sample_cpu_s_{threads}": cpu, f"sample_wall_s_{threads}": wall}
    torch.set_num_threads(1)
    balanced = Texto.fit(exemplar, TextoConfig())
    _, found["balanced_512_cpu_s"], _ = timed(lambda: balanced.synthesise(Size(512, 512), seed=0))
    if large:
        size, reference = Size(large, large), to_unit(exemplar.pixels)
        made, found["large_sample_cpu_s"], _ = timed(lambda: model.synthesise(size, seed=0))
        whole, found["large_balanced_cpu_s"], _ = timed(lambda: balanced.synthesise(size, seed=0))
        endless, even = (score(to_unit(s.pixels), reference).msw for s in (made, whole))
        found |= {"msw_endless": round(endless, 3), "msw_balanced": round(even, 3), "ratio": round(endless / even, 3)}
    return found


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    made = work()
    return made, round(time.process_time() - cpu, 3), round(time.perf_counter() - wall, 3)


if __name__ == "__main__":
    main()
