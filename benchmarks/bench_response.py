"""What each score of the texture suite answers to: every score of an exemplar's controlled degradations.

    python benchmarks/bench_response.py --out benchmarks/results/response.json

Exemplars: the top left 192x192 of scikit-image's brick, grass and gravel; held-out: another crop of the same picture.
Prints the mean over the three and, one by one, whether the scores move as they should; asserts nothing. A direction
holds when it does for the means; in how many of the three it holds stands beside it. Three textures, one size, damage
by program, one seed: good enough to choose scores by, not to set thresholds, and nobody was asked what they see.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from bench_synth import machine
from scipy.ndimage import gaussian_filter

from texsyn.images import load, to_unit
from texsyn.metrics import portilla
from texsyn.metrics.anchors import random_blocks, random_phase
from texsyn.metrics.suite import COLUMNS, Suite, shown
from texsyn.metrics.texture import luminance
from texsyn.metrics.tiling import diversity
from texsyn.metrics.unmeasurable import Unmeasurable

SIDE, ELSEWHERE = 192, 300
Rows = dict[str, dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    began = time.process_time()
    exemplars = {name: measure(name) for name in ("brick", "grass", "gravel")}
    seconds = time.process_time() - began
    means = {row: mean([rows[row] for rows in exemplars.values()]) for row in exemplars["brick"]}
    directions = [
        {"direction": text, "holds": bool(check(means)), "of three": sum(bool(check(e)) for e in exemplars.values())}
        for text, check in DIRECTIONS.items()
    ]
    print(table(means))
    for d in directions:
        print(f"{'holds' if d['holds'] else 'FAILS'}, {d['of three']} of 3: {d['direction']}")
    if args.out:
        settings = asdict(Suite(crop("brick", 0)).settings)
        about = machine() | {"size": f"{SIDE}x{SIDE}", "settings": settings, "cpu_seconds": round(seconds, 1)}
        record = {"about": about, "directions": directions, "means": means, "exemplars": exemplars}
        args.out.write_text(json.dumps(rounded(record), indent=1) + "\n")


def rounded(thing: Any) -> Any:
    """The same with four digits behind the point."""
    if isinstance(thing, dict):
        return {key: rounded(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [rounded(value) for value in thing]
    return round(thing, 4) if isinstance(thing, float) else thing


def crop(name: str, at: int) -> np.ndarray:
    return to_unit(load(f"skimage:{name}:512").pixels)[at : at + SIDE, at : at + SIDE]


def measure(name: str) -> Rows:
    """Every degradation's scores, by its name; psz128 is PS-z with the largest crops, which leave halves no room."""
    ex = crop(name, 0)
    suite, found = Suite(ex), {}
    for row_name, out in degradations(ex, crop(name, ELSEWHERE)).items():
        row = suite.row(row_name, out.astype(np.float32), tile="xy")
        large = psz128(out, ex)
        found[row_name] = (
            row.values | {"psz128": large, "flags": list(row.flags)} | DIVERSITY.get(row_name, nothing)(ex, name)
        )
    for row in suite.anchor_rows()[:1]:
        found[row.name] = row.values | {"psz128": None, "flags": list(row.flags)}
    return found


def degradations(x: np.ndarray, held: np.ndarray) -> dict[str, np.ndarray]:
    """What a synthesis could have made of x, from perfect to useless."""
    rng = np.random.default_rng(0)
    codes = np.rint(x * 255).astype(np.uint8)
    tile = x[:64, :64]
    made = {
        "held-out crop": held,
        "exemplar itself": x,
        "exemplar rolled": np.roll(x, (61, 83), (0, 1)),
        "exemplar mirrored": x[:, ::-1],
        "random 64-px blocks": random_blocks(codes, 64, seed=0) / 255,
        "random 16-px blocks": random_blocks(codes, 16, seed=0) / 255,
        "random 4-px blocks": random_blocks(codes, 4, seed=0) / 255,
        "one 64-px tile": np.tile(tile, (3, 3, 1)),
        "random phase": random_phase(codes, seed=0) / 255,
        "held-out, blur 1.2": gaussian_filter(held, (1.2, 1.2, 0)),
        "held-out, noise 8": held + 8 / 255 * rng.standard_normal(held.shape),
        "held-out, contrast 0.8": (held - held.mean()) * 0.8 + held.mean(),
        "held-out, +10": held + 10 / 255,
        "pixel shuffle": rng.permutation(x.reshape(-1, x.shape[2])).reshape(x.shape),
    }
    return made


def psz128(out: np.ndarray, ex: np.ndarray) -> float | None:
    try:
        seen = np.rint(np.clip(out, 0, 1) * 255) / 255
        return portilla.portilla(luminance(seen.astype("f4")), luminance(ex), 128, 4).z
    except Unmeasurable:
        return None


def nothing(ex: np.ndarray, name: str) -> dict[str, float]:
    return {}


def of_seeds(make: Callable[[np.ndarray, str, int], np.ndarray]) -> Callable[[np.ndarray, str], dict[str, float]]:
    def measured(ex: np.ndarray, name: str) -> dict[str, float]:
        found = diversity([make(ex, name, i)[..., 0] for i in range(4)], ex[..., 0])
        return {"div_pixel": found.pixel, "div_shift": found.shift}

    return measured


#: DIV of four pictures of the kind that the row is
DIVERSITY = {
    "held-out crop": of_seeds(lambda ex, name, i: crop_at(name, (0, 320, 0, 320)[i], (320, 0, 0, 320)[i])),
    "exemplar itself": of_seeds(lambda ex, name, i: ex),
    "exemplar rolled": of_seeds(lambda ex, name, i: np.roll(ex, (31 * i, 53 * i), (0, 1))),
    "random phase": of_seeds(lambda ex, name, i: random_phase(np.rint(ex * 255).astype(np.uint8), seed=i) / 255),
}


def crop_at(name: str, top: int, left: int) -> np.ndarray:
    return to_unit(load(f"skimage:{name}:512").pixels)[top : top + SIDE, left : left + SIDE]


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Plain means; a score that one of them lacks is None; flags are those of all three."""
    keys = [key for key in rows[0] if key != "flags"]
    found: dict[str, Any] = {}
    for key in keys:
        values = [row.get(key) for row in rows]
        found[key] = None if None in values else float(np.mean(values))
    return found | {"flags": [f for f in rows[0]["flags"] if all(f in row["flags"] for row in rows)]}


def near(a: float, b: float, share: float) -> bool:
    return abs(a - b) <= share * abs(b)


FIDELITY = ("psw1", "psw2", "psw4", "spec", "psz", "psz128")
#: the reading of the table, one sentence a check; each takes the rows of one exemplar, or the means
DIRECTIONS: dict[str, Callable[[Rows], bool]] = {
    "rolling beats the held-out crop on PSW, SPEC, PS-z and coverage": lambda r: (
        all(r["exemplar rolled"][k] < r["held-out crop"][k] for k in FIDELITY)
        and r["exemplar rolled"]["coverage"] > r["held-out crop"]["coverage"]
    ),
    "64-px blocks beat the held-out crop on PSW, SPEC, PS-z and coverage": lambda r: (
        all(r["random 64-px blocks"][k] < r["held-out crop"][k] for k in FIDELITY)
        and r["random 64-px blocks"]["coverage"] > r["held-out crop"]["coverage"]
    ),
    "copying raises COPY: held-out < 16-px blocks < 64-px blocks <= rolled < exemplar": lambda r: (
        r["held-out crop"]["copy"] < r["random 16-px blocks"]["copy"] < r["random 64-px blocks"]["copy"]
        and r["random 64-px blocks"]["copy"] < r["exemplar rolled"]["copy"] + 5
        and r["exemplar rolled"]["copy"] < r["exemplar itself"]["copy"]
    ),
    "copying raises side: held-out < 16-px blocks < 64-px blocks < rolled < exemplar": lambda r: (
        r["held-out crop"]["side"] < r["random 16-px blocks"]["side"] < r["random 64-px blocks"]["side"]
        and r["random 64-px blocks"]["side"] < r["exemplar rolled"]["side"] < r["exemplar itself"]["side"]
    ),
    "a mirrored exemplar hides from COPY (a limit)": lambda r: (
        r["exemplar mirrored"]["copy"] < 2 * r["held-out crop"]["copy"] + 5
    ),
    "tiling raises REP above 0.3": lambda r: r["one 64-px tile"]["rep"] > 0.3 > r["held-out crop"]["rep"],
    "tiling raises SELF above 80 %": lambda r: r["one 64-px tile"]["self"] > 80 > 40 > r["held-out crop"]["self"],
    "blur lowers SHARP below 0.8": lambda r: r["held-out, blur 1.2"]["sharp"] < 0.8 < r["held-out crop"]["sharp"],
    "blur raises SPEC": lambda r: r["held-out, blur 1.2"]["spec"] > 2 * r["held-out crop"]["spec"],
    "blur has low recall and high precision": lambda r: (
        r["held-out, blur 1.2"]["recall"] < r["held-out crop"]["recall"] - 15
        and r["held-out, blur 1.2"]["precision"] > r["held-out crop"]["precision"]
    ),
    "noise has SHARP above 1 and above the held-out crop's": lambda r: (
        r["held-out, noise 8"]["sharp"] > max(1, 1.05 * r["held-out crop"]["sharp"])
    ),
    "noise lowers precision": lambda r: r["held-out, noise 8"]["precision"] < r["held-out crop"]["precision"] - 5,
    "less contrast lowers SHARP and recall and raises PSW": lambda r: (
        r["held-out, contrast 0.8"]["sharp"] < 0.85 * r["held-out crop"]["sharp"]
        and r["held-out, contrast 0.8"]["recall"] < r["held-out crop"]["recall"]
        and r["held-out, contrast 0.8"]["psw1"] > r["held-out crop"]["psw1"]
    ),
    "another brightness raises PSW and colour at every scale": lambda r: all(
        r["held-out, +10"][k] > 1.2 * r["held-out crop"][k] for k in ("psw1", "psw2", "psw4", "psw_floor", "colour")
    ),
    "another brightness leaves SPEC, SHARP, SELF and REP": lambda r: all(
        near(r["held-out, +10"][k], r["held-out crop"][k], 0.05) for k in ("spec", "sharp", "self", "rep")
    ),
    "another brightness leaves PS-z": lambda r: near(r["held-out, +10"]["psz"], r["held-out crop"]["psz"], 0.2),
    "lost outlines raise PSW 1x": lambda r: r["random phase"]["psw1"] > r["held-out crop"]["psw1"],
    "lost outlines raise PS-z (crops of the suite)": lambda r: r["random phase"]["psz"] > r["held-out crop"]["psz"],
    "lost outlines raise PS-z (crops of 128 px)": lambda r: r["random phase"]["psz128"] > r["held-out crop"]["psz128"],
    "lost outlines do not raise SPEC": lambda r: r["random phase"]["spec"] < r["held-out crop"]["spec"],
    "4-px blocks raise PS-z, SHARP and SPEC": lambda r: all(
        r["random 4-px blocks"][k] > 1.2 * r["held-out crop"][k] for k in ("psz", "sharp", "spec")
    ),
    "4-px blocks lower precision": lambda r: (
        r["random 4-px blocks"]["precision"] < 0.5 * r["held-out crop"]["precision"]
    ),
    "pixel shuffle is worst at SPEC or SHARP, and PS-z": lambda r: (
        r["pixel shuffle"]["sharp"] == max(row["sharp"] for row in r.values())
        and r["pixel shuffle"]["psz"] == max(row["psz"] for row in r.values())
    ),
    "SEAM of the held-out crop is above 1.5, of the random phase texture within 0.5 of 1": lambda r: (
        r["held-out crop"]["seam"] > 1.5 and abs(r["random phase"]["seam"] - 1) < 0.5
    ),
    "PSW/floor is below 0.5 for exemplar, rolled and 64-px blocks": lambda r: all(
        r[k]["psw_floor"] < 0.5 for k in ("exemplar itself", "exemplar rolled", "random 64-px blocks")
    ),
    "PSW/floor is above 0.5 for all that copies less than 30 %": lambda r: all(
        row["psw_floor"] > 0.5 for row in r.values() if row["copy"] < 30
    ),
    "DIV of rolled copies: pixel above 0.7, shift 0": lambda r: (
        r["exemplar rolled"]["div_pixel"] > 0.7 and r["exemplar rolled"]["div_shift"] < 0.01
    ),
    "DIV of other crops: pixel above 0.7, shift above 0.5": lambda r: (
        r["held-out crop"]["div_pixel"] > 0.7 and r["held-out crop"]["div_shift"] > 0.5
    ),
    "flags: the held-out crop has none, copies, tile and blur have theirs": lambda r: (
        not r["held-out crop"]["flags"]
        and all("copying" in r[k]["flags"] for k in ("exemplar itself", "exemplar rolled", "random 64-px blocks"))
        and {"copying", "repeats"} <= set(r["one 64-px tile"]["flags"])
        and r["held-out, blur 1.2"]["flags"] == ["blurred"]
    ),
}  # fmt: skip


def table(means: Rows) -> str:
    """The means as a Markdown table."""
    keys = [key for key in (*COLUMNS, "psz128") if any(row.get(key) is not None for row in means.values())]
    heads = [COLUMNS[k].title if k in COLUMNS else "PS-z 128 px" for k in keys]
    lines = ["| candidate | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, row in means.items():
        cells = [shown(k if k in COLUMNS else "psz", row.get(k)) for k in keys]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
