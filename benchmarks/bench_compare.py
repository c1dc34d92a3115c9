"""Our methods beside each other and beside the anchors, by every score of `texsyn compare`.

    python benchmarks/bench_compare.py --out benchmarks/results/compare_methods.json

Exemplars: the top left of scikit-image's brick, grass and gravel. Each method makes a picture of the exemplar's size
with each seed; all are judged as `texsyn compare EXEMPLAR OUT... --seeds --transport` does, copies searched for in
every picture alike. Of an exemplar the mean over seeds and their standard deviation are kept, of the exemplars the
median of the means, because textures differ more than methods do. Nothing here is a ranking: methods that minimise
patch distances are "too close", and a score below the held-out half's is as far from perfect as one above.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from bench_response import rounded
from bench_synth import machine

import texsyn
from texsyn.images import Picture, load, to_unit
from texsyn.images.picture import from_array
from texsyn.metrics.suite import COLUMNS, Row, Suite, arrow, shown

TEXTURES = ("brick", "grass", "gravel")
METHODS = ("texto", "texto-2018", "gotex", "gaussian", "random-phase")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated [%(default)s]")
    parser.add_argument("--textures", default=",".join(TEXTURES), help="of scikit-image [%(default)s]")
    parser.add_argument("--side", type=int, default=192, help="of exemplars and pictures [%(default)s]")
    parser.add_argument("--seeds", type=int, default=4, help="how many, 4 or more [%(default)s]")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args(arguments)
    methods, found, settings = args.methods.split(","), {}, {}
    for texture in args.textures.split(","):
        whole = load(f"skimage:{texture}").pixels
        ex = from_array(np.ascontiguousarray(whole[: args.side, : args.side]))
        judge = Suite(to_unit(ex.pixels), transport=True)
        found[texture] = {row.name: kept([row], []) for row in judge.anchor_rows()}
        found[texture] |= {method: judged(judge, method, ex, args.seeds) for method in methods}
        settings[texture] = asdict(judge.settings)
    names = [*methods, *(name for name, row in next(iter(found.values())).items() if row["role"] == "anchor")]
    summary = {name: median([rows[name]["mean"] for rows in found.values()]) for name in names}
    print(table(summary))
    if args.out:
        about = machine() | {"side": args.side, "seeds": args.seeds, "settings": settings}
        record = {"about": about, "summary": summary, "textures": found}
        args.out.write_text(json.dumps(rounded(record), indent=1) + "\n")


def judged(judge: Suite, method: str, ex: Picture, n_seeds: int) -> dict[str, Any]:
    """What is kept of a method's pictures with the first n_seeds seeds; compiling is not on the clock."""
    size = f"{ex.size.width}x{ex.size.height}"
    texsyn.synth(ex, size, method=method, seed=0)
    made, seconds = [], []
    for seed in range(n_seeds):
        start = time.process_time()
        made.append(to_unit(texsyn.synth(ex, size, method=method, seed=seed).pixels))
        seconds.append(time.process_time() - start)
    print(f"{method}: {np.mean(seconds):.2f} CPU s", flush=True)
    return kept([judge.row(method, picture, others=made) for picture in made], seconds)


def kept(rows: list[Row], seconds: list[float]) -> dict[str, Any]:
    """Mean and deviation over seeds of every score and of the CPU seconds, how often each flag stands, every value."""
    each = {key: [row.values[key] for row in rows] for key in COLUMNS} | ({"cpu": seconds} if seconds else {})
    whole = {key: values for key, values in each.items() if None not in values}
    return {
        "role": rows[0].role,
        "mean": {key: float(np.mean(whole[key])) if key in whole else None for key in each},
        "sd": {key: float(np.std(values, ddof=1)) for key, values in whole.items() if len(values) > 1},
        "flags": {
            flag: sum(flag in row.flags for row in rows) for flag in sorted({f for row in rows for f in row.flags})
        },
        "values": whole,
    }


def median(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
    """The median of each score; None where an exemplar has none."""
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return {key: None if None in values else float(np.median(values)) for key, values in columns.items()}


def table(rows: dict[str, dict[str, float | None]]) -> str:
    """Markdown, without empty columns."""
    keys = [key for key in (*COLUMNS, "cpu") if any(row.get(key) is not None for row in rows.values())]
    heads = [f"{COLUMNS[key].title} {arrow(key)}".strip() if key in COLUMNS else "CPU s" for key in keys]
    lines = [" | ".join(("", "method", *heads, "")).strip(), "|---" * (len(keys) + 1) + "|"]
    for name, row in rows.items():
        cells = [shown(key if key in COLUMNS else "sharp", row.get(key)) for key in keys]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
