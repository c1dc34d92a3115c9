"""What matching on integers costs: scores of balanced texto when patches are compared on fewer and fewer bits.

    python benchmarks/bench_bits.py FOLDER --out results.json

The engine compares 8-bit codes. If 7 and 6 bits score the same, then more than 8 would bring nothing. Pixels are
copied, so the output has the exemplar's full depth in every case.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_synth import exemplars, machine

from texsyn.images import Size, load, to_unit
from texsyn.metrics.texture import score
from texsyn.models import texto
from texsyn.models.texto import Texto

BITS = (8, 7, 6, 5, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="exemplars: a folder of pictures, or skimage: for those that come with it")
    parser.add_argument("--seeds", default="0,1", help="comma-separated")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()

    torch.set_num_threads(1)
    full = texto.matching_codes
    records: list[dict[str, Any]] = []
    for path in exemplars(args.folder):
        picture = load(path)
        for bits in BITS:
            texto.matching_codes = lambda p, step=2 ** (8 - bits): coarse(full(p), step)  # type: ignore[assignment]
            model = Texto.fit(picture, texto.TextoConfig())
            for seed in map(int, args.seeds.split(",")):
                pixels = model.synthesise(Size(512, 512), seed=seed).pixels
                found = score(to_unit(pixels), to_unit(picture.pixels))
                record = {"exemplar": Path(path).stem, "bits": bits, "seed": seed}
                records.append(record | {k: round(getattr(found, k), 4) for k in ("msw", "copy31", "sharp")})
                print(*records[-1].values(), flush=True)
    summary = {
        str(bits): {
            k: round(float(np.mean([r[k] for r in records if r["bits"] == bits])), 4)
            for k in ("msw", "copy31", "sharp")
        }
        for bits in BITS
    }
    print(json.dumps(summary, indent=1))
    if args.out:
        args.out.write_text(json.dumps({"about": machine(), "summary": summary, "records": records}, indent=1) + "\n")


def coarse(codes: np.ndarray, step: int) -> np.ndarray:
    """Codes on multiples of step, in the middle of each."""
    return (codes // step * step + step // 2).astype(np.uint8)


if __name__ == "__main__":
    main()
