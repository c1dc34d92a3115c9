"""Enlarging by a pyramid that has learned the small picture, against cubic resampling: distance to the truth.

    python benchmarks/bench_upscale.py --out benchmarks/results/upscale_cpu.json --sheet sheet.png

A crop of a picture that comes with scikit-image is shrunk by cubic resampling, a singan is trained on what is left, as
`texsyn upscale` does it but for fewer steps, on one thread, and what each way makes of it is compared with the crop:
root mean square of the difference in 8-bit levels, and the scores of `texsyn score`. *free* is without corrections,
as in the released code of SinGAN. Four times on gravel is there as a failure: its stones have one size, so that small
things do not look like large ones.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_synth import machine

from texsyn.cubic import resize
from texsyn.images import Picture, Size, from_unit, load, save, to_unit
from texsyn.manipulation import UPSCALING, pyramid_for, upscale
from texsyn.metrics.texture import score
from texsyn.models.singan import Singan, SinganConfig

CASES = (("skimage:gravel:192", 2), ("skimage:grass:192", 2), ("skimage:gravel:256", 4))
STEPS, SEED = 150, 1
KEPT = ("msw", "sharp", "colour")


def resampled(picture: Picture, size: Size) -> np.ndarray:
    """The picture's codes after cubic resampling."""
    u = torch.from_numpy(to_unit(picture.pixels)).permute(2, 0, 1)[None]
    return from_unit(resize(u, size).clamp(0, 1)[0].permute(1, 2, 0).numpy(), picture.pixels.dtype)


def judged(found: np.ndarray, truth: Picture) -> dict[str, float]:
    """What is wrong with a picture, and how sharp it is against the truth's 1."""
    rmse = float(np.sqrt(np.mean((found.astype(float) - truth.pixels) ** 2)))
    scores = json.loads(score(to_unit(found), to_unit(truth.pixels)).to_json())
    return {"rmse": round(rmse, 2)} | {name: round(scores[name], 3) for name in KEPT}


def case(source: str, factor: int, steps: int) -> tuple[dict[str, Any], np.ndarray]:
    """A record, and a strip of pictures: truth, cubic, free, corrected."""
    truth = load(source)
    size = truth.size
    small = load(resampled(truth, Size(size.height // factor, size.width // factor)))
    middle, config = pyramid_for(small, SinganConfig(**{**UPSCALING, "steps": steps}))
    began = time.process_time()
    model, _ = Singan.train(middle, config, seed=SEED)
    seconds = time.process_time() - began
    made = {
        "cubic": resampled(small, size),
        "free": upscale(model, small, factor, seed=SEED, corrections=0).pixels,
        "corrected": upscale(model, small, factor, seed=SEED).pixels,
    }
    record = {"exemplar": source, "factor": factor, "small": str(small.size), "steps": steps, "cpu": round(seconds, 1)}
    record |= {name: judged(pixels, truth) for name, pixels in made.items()}
    return record, np.concatenate([truth.pixels, *made.values()], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    records, strips = [], []
    for source, factor in CASES:
        record, strip = case(source, factor, args.steps)
        records.append(record)
        strips.append(strip)
        print(json.dumps(record), flush=True)
    args.out.write_text(json.dumps({"machine": machine(), "records": records}, indent=1) + "\n")
    if args.sheet is not None:
        width = max(one.shape[1] for one in strips)
        padded = [np.pad(one, ((0, 4), (0, width - one.shape[1]), (0, 0)), constant_values=255) for one in strips]
        save(load(np.concatenate(padded)), args.sheet, overwrite=True)


if __name__ == "__main__":
    main()
