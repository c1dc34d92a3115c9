"""texsyn render: rate against size, peak memory against size, threads 1 and 2, and what was predicted.

    python benchmarks/bench_render.py --out results.json
    python benchmarks/bench_render.py --megapixels 0.25,1 --memory-megapixels 1,4 --scaling-megapixels 2

Every figure is of a process of its own. Rates are those of Plan.run() alone, after imports and compilations, the file's
writing included: megapixels for each second of wall time and for each second of processor time. Memory is the peak of
that process. "floors" is what no implementation can go below on this machine: filled in from the model's own numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_synth import machine

import texsyn
from texsyn.images import load

EXEMPLAR = "skimage:astronaut:256"
METHODS = ("texto", "gaussian")
#: renders one square and prints one JSON object; VmHWM is the peak of this program alone
RENDER = """
import json, sys, time
import numpy as np, texsyn
from texsyn.images import Region
from texsyn.render import plan
path, target, side, workers, predict = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
model = texsyn.load(path)
model.render(Region(0, 0, 16, 16), seed=1)  # compiles
made = plan(model, target, (side, side), seed=1, workers=workers)
predicted = made.seconds() if predict else None
wall, cpu = time.perf_counter(), time.process_time()
made.run()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
peak = next((int(s.split()[1]) / 1024 for s in open("/proc/self/status") if s.startswith("VmHWM")), None)
print(json.dumps({"wall_s": wall, "cpu_s": cpu, "predicted_s": predicted, "peak_mib": peak,
                  "predicted_mib": made.memory_bytes / 2**20, "bytes": made.disk_bytes}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", default="0.25,1,4,16,64", help="sizes whose rate is measured, one worker")
    parser.add_argument("--memory-megapixels", default="1,4,16,64,400", help="sizes whose memory is measured")
    parser.add_argument("--scaling-megapixels", type=float, default=64.0, help="size for 1 and more workers; 0: none")
    parser.add_argument("--workers", default="1,2", help="numbers of workers to compare")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()

    workers = [int(n) for n in args.workers.split(",")]
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for method in args.methods.split(","):
            model = Path(scratch, f"{method}.texsyn")
            texsyn.fit(EXEMPLAR, method, seed=0, device="cpu").save(model)
            measure(model, 64**2, 1)  # the compiled loops are now in their cache
            for kind, sizes, counts, predict in (
                ("rate", numbers(args.megapixels), [1], False),
                ("memory", numbers(args.memory_megapixels), [max(workers)], False),
                ("scaling", [args.scaling_megapixels] if args.scaling_megapixels else [], workers, True),
            ):
                for size in sizes:
                    for n in counts:
                        found = measure(model, size * 1e6, n, predict=predict)
                        records.append({"kind": kind, "method": method} | found)
                        print(line(records[-1]), flush=True)
    about = machine() | {"exemplar": EXEMPLAR, "note": "a machine shared with others: cpu_s is steadier than wall_s"}
    if args.out:
        found = {"about": about, "floors": floors(), "records": records}
        args.out.write_text(json.dumps(found, indent=1) + "\n")


def numbers(text: str) -> list[float]:
    return [float(n) for n in text.split(",") if n]


def measure(model: Path, pixels: float, workers: int, *, predict: bool = False) -> dict[str, Any]:
    """One square of about that many pixels, rendered by a process of its own."""
    side = round(math.sqrt(pixels))
    target = model.with_name("out.tif")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RENDER, str(model), str(target), str(side), str(workers), str(int(predict))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    for left in model.parent.glob("out.tif*"):
        left.unlink()
    record: dict[str, Any] = {"side": side, "megapixels": side**2 / 1e6, "workers": workers}
    if done.returncode:
        return record | {"failed": (done.stderr.splitlines() or ["no word"])[-1]}
    found = json.loads(done.stdout)
    record |= {k: None if v is None else round(v, 3) for k, v in found.items()}
    record["megapixels_per_s"] = round(record["megapixels"] / found["wall_s"], 3)
    record["megapixels_per_cpu_s"] = round(record["megapixels"] / found["cpu_s"], 3)
    return record


def floors() -> dict[str, Any]:
    """What the method itself needs for an output pixel in the middle of a large picture: operations and bytes.

    texto: a transported level s scores 4^-s positions a pixel against all its atoms in every pass (2 C w w operations a
    score); each vote or correction of any level reads and writes its map (8 bytes a position) and codes (C bytes) once.
    gaussian: a real FFT of 2.5 n log2 n operations and its inverse for each channel of a block, one for its noise;
    the noise and the values of a block written and read once in 8 bytes each.
    """
    from texsyn.models.gaussian import Gaussian
    from texsyn.models.texto import Texto, TextoConfig

    picture = load(EXEMPLAR)
    config, n_channels = TextoConfig(endless=True), picture.channels
    model = Texto(picture, config)
    scores = {level.number: config.endless_passes * level.n_atoms / 4**level.number for level in model.transported}
    rounds = {
        level.number: config.endless_passes - 1 + config.transport_corrections
        if level in model.transported
        else 2 * config.fine_votes + config.fine_corrections
        for level in model.levels
    }
    moved = sum(n * (2 * 8 + 2 * n_channels) / 4**s for s, n in rounds.items())
    gaussian = Gaussian(picture)
    height, width = gaussian._window()
    block = (height - picture.size.height + 1) * (width - picture.size.width + 1)
    fft = 2.5 * height * width * math.log2(height * width)
    return {
        "texto": {
            "integer_operations_per_pixel": round(sum(scores.values()) * 2 * n_channels * config.patch_size**2),
            "scores_per_pixel": {str(s): round(n, 2) for s, n in scores.items()},
            "bytes_per_pixel": round(moved + n_channels),
        },
        "gaussian": {
            "flops_per_pixel": round((2 * n_channels + 1) * fft / block),
            "bytes_per_pixel": round((2 * n_channels + 1) * 8 * height * width / block + n_channels),
        },
    }


def line(record: dict[str, Any]) -> str:
    head = f"{record['kind']:<9}{record['method']:<10}{record['megapixels']:8.2f} Mpx  {record['workers']} workers  "
    if "failed" in record:
        return head + f"FAILED {record['failed']}"
    predicted = "" if record["predicted_s"] is None else f" (predicted {record['predicted_s']:.1f})"
    return (
        head + f"{record['megapixels_per_cpu_s']:.2f} Mpx/s/core  {record['megapixels_per_s']:.2f} Mpx/s  "
        f"{record['wall_s']:.1f} s{predicted}  {record['peak_mib']:.0f} MiB (predicted {record['predicted_mib']:.0f})"
    )


if __name__ == "__main__":
    main()
