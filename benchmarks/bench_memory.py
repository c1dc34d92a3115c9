"""Peak memory of one picture, for every method, over sizes and channel counts, beside what recipes.py predicts.

    python benchmarks/bench_memory.py --out results.json

Each picture is made by a process of its own. The figures of texsyn.recipes.MEMORY are rounded up from
these, so that a prediction errs upwards.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from bench_synth import OPTIONS, OURS, machine, run

from texsyn.images import load, parse_size
from texsyn.recipes import memory_needed

#: training takes as much memory in its ninth step as in any later one, projection in its fourth turn at full size
FEWER = {name: " --set steps=9" for name in ("gotex-net", "sgan", "psgan")} | {
    "gotex": " --set n_steps=4 --set n_coarse=1",
    "singan": " --set steps=2",
}
EXEMPLARS = ("skimage:grass:256", "skimage:astronaut:256")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64x64,512x512,1280x768,2048x2048")
    parser.add_argument("--methods", default="texto,texto-endless,texto-2018,gaussian,random-phase")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()

    records = []
    with tempfile.TemporaryDirectory() as scratch:
        for method in args.methods.split(","):
            for exemplar in EXEMPLARS:
                picture = load(exemplar)
                for size in map(parse_size, args.sizes.split(",")):
                    command = "{python} -m texsyn " + OURS[method] + FEWER.get(method, "") + OPTIONS
                    _, peak, failed = run(command, exemplar, size, 0, f"{scratch}/out.png")
                    predicted = memory_needed(size, picture, method.removesuffix("-endless")) / 2**20
                    record = {"method": method, "channels": picture.channels, "size": str(size), "failed": failed}
                    record |= {"peak_mib": round(peak, 1), "predicted_mib": round(predicted, 1)}
                    records.append(record)
                    print(*record.values(), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"about": machine(), "records": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
