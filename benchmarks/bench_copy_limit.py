"""What limiting the size of verbatim copies costs: scores, changed pixels and seconds, over a folder.

    python benchmarks/bench_copy_limit.py FOLDER --limits 24,32,48,64 --out results.json --sheet sheet.png

Per exemplar a 512x512 picture by texto, seed 0; limit None is the picture as it comes. largest: side of the largest
verbatim square. changed: share of pixels. repeats: share of pixels in a verbatim 15x15 window that stands elsewhere
too, and pairs of such windows over chance. cpu: of limit_copies alone, one thread, after compilation. The sheet shows
each picture before, after the smallest limit, and where that changed it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_synth import exemplars, machine

import texsyn
from texsyn.copying import largest_copy, limit_copies, piece_areas, repeats, verbatim_share
from texsyn.images import Picture, load, save, to_unit
from texsyn.material import matching_codes
from texsyn.metrics.texture import score

W = 5  # texto's patch size
SCORES = ("msw", "copy15", "copy31", "rep", "sharp", "used")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="exemplars: a folder of pictures, or skimage: for those that come with it")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--limits", default="24,32,48,64", help="comma-separated, pixels")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write: a row an exemplar")
    args = parser.parse_args()

    limits = [int(limit) for limit in args.limits.split(",")]
    torch.set_num_threads(1)
    one_piece = np.stack(np.mgrid[:64, :64], -1).astype(np.int32)
    limit_copies(one_piece, load("skimage:grass:64").pixels, W, 11)  # compiles
    records, rows = [], []
    for path in exemplars(args.folder):
        exemplar = load(path)
        source = texsyn.synth(exemplar, args.size, seed=0, device="cpu").source
        codes, after = matching_codes(exemplar), {}
        for limit in (None, *limits):
            began = time.process_time()
            after[limit] = source if limit is None else limit_copies(source, codes, W, limit)
            cpu = 0.0 if limit is None else round(time.process_time() - began, 3)
            record = {"exemplar": Path(path).stem, "limit": limit, "cpu": cpu}
            records.append(record | measure(exemplar, source, after[limit]))
            print(json.dumps(records[-1]), flush=True)
        rows.append(row(exemplar, source, after[min(limits)]))
    summary = {str(limit): mean([r for r in records if r["limit"] == limit]) for limit in (None, *limits)}
    print(json.dumps(summary, indent=1))
    if args.out:
        about = machine() | {"size": args.size, "seed": 0}
        args.out.write_text(json.dumps({"about": about, "summary": summary, "records": records}, indent=1) + "\n")
    if args.sheet:
        save(load(np.concatenate(rows, 0)), args.sheet, overwrite=True)


def measure(exemplar: Picture, before: np.ndarray, source: np.ndarray) -> dict[str, Any]:
    """Copies, repeats and scores of a map, and the share of it that is not as before."""
    scores = asdict(score(picture(exemplar, source), to_unit(exemplar.pixels)))
    found = repeats(source, exemplar=(exemplar.size.height, exemplar.size.width))
    figures = {
        "changed": (source != before).any(2).mean(),
        "verbatim15": verbatim_share(source, 15),
        "mean_piece": piece_areas(source).mean(),
        "repeats_share": found.share,
        "repeats_excess": found.excess,
    } | {key: scores[key] for key in SCORES}
    rounded = {key: None if value is None else round(float(value), 4) for key, value in figures.items()}
    return {"largest": largest_copy(source).side} | rounded


def picture(exemplar: Picture, source: np.ndarray) -> np.ndarray:
    return to_unit(exemplar.pixels)[source[..., 0], source[..., 1]]


def mean(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Plain means over exemplars, |rep| for rep, the largest of largest."""
    found = {}
    for key in records[0]:
        values = [r[key] for r in records if isinstance(r[key], (int, float)) and key != "limit"]
        if values:
            values = np.abs(values) if key == "rep" else values
            found[key] = int(np.max(values)) if key == "largest" else round(float(np.mean(values)), 4)
    return found


def row(exemplar: Picture, before: np.ndarray, after: np.ndarray, side: int = 384) -> np.ndarray:
    """Before, after, and after with the outlines of what changed in red: (H, W, 3) uint8."""
    cells = []
    for source in (before, after, after):
        pixels = picture(exemplar, source[:side, :side])
        cell = np.broadcast_to(pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1], (*pixels.shape[:2], 3))
        cells.append(np.pad((cell * 255 + 0.5).astype(np.uint8), ((0, 6), (0, 6), (0, 0)), constant_values=255))
    changed = np.pad((before != after).any(2)[:side, :side], 1)
    inner = changed[:-2, 1:-1] & changed[2:, 1:-1] & changed[1:-1, :-2] & changed[1:-1, 2:]
    cells[2][: inner.shape[0], : inner.shape[1]][changed[1:-1, 1:-1] & ~inner] = (255, 0, 0)
    return np.concatenate(cells, 1)


if __name__ == "__main__":
    main()
