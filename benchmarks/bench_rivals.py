"""Any texture synthesiser that is a command, beside ours: CPU seconds, peak memory and texture scores.

    python benchmarks/bench_rivals.py --out rivals.json --sheet rivals.png \\
        --rival 'gmic-matchpatch=gmic {in} -srand {seed} -syntexturize_matchpatch {w},{h} -round -o {out}' \\
        --rival 'gmic-phase=gmic {in} -srand {seed} -syntexturize {w},{h} -round -o {out}'

Without -round G'MIC truncates its floats, which hides copies: copy15 of its patch matching falls from 40 % to 0.6 %.

A command is split into words as a shell would, then {in} {out} {w} {h} {seed} {python} are filled into the words; no
shell sees them, so paths need no quotes. Ours are run by the same launcher: same exemplars, size, seeds, time limit,
one thread asked for (a rival may ignore that; its CPU seconds count all of them). Everybody's first picture of every
number of channels is made twice and the second counts, because compiled loops are cached on disk by a first run.

What exits with an error, runs out of time, writes nothing, cannot be read or has the wrong size stays in the JSON as a
failure with its reason. Means are over what a method made; ratios are geometric means over what both it and the first
method made, so a rival that fails on the hard exemplars gains nothing by it there. CPU seconds are those of the process
and of descendants it waited for; memory is the peak of the largest of them, not their sum. POSIX only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from bench_synth import machine, sheet

from texsyn.images import Size, load, parse_size, save, to_unit
from texsyn.metrics.texture import score
from texsyn.models import METHODS

OURS = "{python} -m texsyn synth {in} --method METHOD --size {w}x{h} --seed {seed} --device cpu -o {out} --overwrite -q"
COSTS = {"cpu": "CPU s", "memory_mib": "MiB"}
SCORES = ("msw", "msw_floor", "copy15", "copy31", "abs_rep", "sharp", "colour", "used")
RATIOS = ("cpu", "memory_mib", "msw")  # the other scores can be 0, or are best at 1


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival", action="append", default=[], metavar="NAME=COMMAND", help="repeatable")
    parser.add_argument("--methods", default="texto,gaussian", help="ours, comma-separated; '' for none")
    parser.add_argument(
        "--textures", type=Path, help="folder of exemplars [scikit-image's brick, grass, gravel at 192]"
    )
    parser.add_argument("--size", default="384x384", help="WxH")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--timeout", type=float, default=300, help="seconds of wall clock a picture")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write: a row an exemplar, a column a method")
    args = parser.parse_args(arguments)
    try:
        size, commands = parse_size(args.size), named(args.methods, args.rival)
    except ValueError as error:
        parser.error(str(error))

    records, pictures, warmed = [], {}, set()
    with tempfile.TemporaryDirectory() as scratch:
        for exemplar in exemplars(args.textures, scratch):
            for name, command in commands.items():
                kind = name, load(exemplar).channels
                for seed in map(int, args.seeds.split(",")):
                    record, picture = measure(command, exemplar, size, seed, f"{scratch}/out.png", args.timeout)
                    if kind not in warmed and "failed" not in record:
                        record, picture = measure(command, exemplar, size, seed, f"{scratch}/out.png", args.timeout)
                    warmed.add(kind)
                    records.append({"method": name, "exemplar": Path(exemplar).stem, "seed": seed} | record)
                    pictures.setdefault((exemplar, name), picture)
                    print(line(records[-1]), file=sys.stderr, flush=True)
        if args.sheet:
            save(load(sheet(pictures, list(commands), min(size.height, 384))), args.sheet, overwrite=True)
    summary = summarised(records, list(commands))
    print(table(summary))
    if args.out:
        about = machine() | {"size": args.size, "seeds": args.seeds, "timeout_s": args.timeout, "commands": commands}
        about["versions"] = {name: version(command) for name, command in commands.items()}
        args.out.write_text(json.dumps({"about": about, "summary": summary, "records": records}, indent=1) + "\n")


def named(methods: str, rivals: Sequence[str]) -> dict[str, str]:
    """Commands under their names, ours first; raises ValueError for what cannot be run.

    >>> named("", ["tile=tile {in} {out} {w} {h}"])
    {'tile': 'tile {in} {out} {w} {h}'}
    """
    ours = [m for m in methods.split(",") if m]
    if unknown := set(ours) - set(METHODS):
        raise ValueError(f"--methods has {sorted(unknown)}; there are {', '.join(METHODS)}")
    commands = {m: OURS.replace("METHOD", m) for m in ours}
    for rival in rivals:
        name, _, command = rival.partition("=")
        if not name or "{in}" not in command or "{out}" not in command:
            raise ValueError(f"--rival needs NAME=COMMAND with {{in}} and {{out}} in it, got {rival!r}")
        if name in commands:
            raise ValueError(f"--rival {name}: there are two methods of this name")
        shlex.split(command)  # an unclosed quote is a ValueError now rather than after our own runs
        commands[name] = command
    if not commands:
        raise ValueError("--rival and --methods are both empty: nothing to measure")
    return commands


def exemplars(folder: Path | None, scratch: str) -> list[str]:
    """Absolute paths, which cannot be taken for options; scikit-image's own are written as files for the rivals."""
    if folder:
        found = sorted(p.resolve() for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".tif"))
        if not found:
            raise SystemExit(f"--textures {folder}: no .png, .jpg or .tif in it")
        return [str(p) for p in found]
    paths = [f"{scratch}/{name}.png" for name in ("brick", "grass", "gravel")]
    for path in paths:
        save(load(f"skimage:{Path(path).stem}:192"), path)
    return paths


def words(command: str, values: Mapping[str, Any]) -> list[str]:
    """The words of a command, split first and filled afterwards: a value is never split, and never filled again.

    >>> words("cp '{in}' x{w} {0}", {"in": "a b {w}", "w": 7})
    ['cp', 'a b {w}', 'x7', '{0}']
    """
    place = re.compile("{(" + "|".join(values) + ")}")
    return [place.sub(lambda found: str(values[found[1]]), word) for word in shlex.split(command)]


#: A process's peak memory starts at that of the process it was forked from, and RUSAGE_CHILDREN's is the peak of all
#: children so far; so a small launcher, a new one for every run, does the forking and the accounting.
LAUNCHER = """
import json, os, resource, signal, subprocess, sys, tempfile, time
limit, *words = sys.argv[1:]
began, before, failed = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN), ""
with tempfile.TemporaryFile() as said:
    try:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                                 start_new_session=True)
        try:
            code = child.wait(float(limit))
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            failed = ": ".join([f"exit {code}", *last]) if code else ""
        except subprocess.TimeoutExpired:
            failed = f"timeout: stopped after {float(limit):g} s"
        finally:
            try:  # and whatever it left running, which would disturb the next measurement
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
    except OSError as error:
        failed = f"cannot be started: {error}"
after = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
memory = after.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(json.dumps({"cpu": cpu, "wall": time.monotonic() - began, "memory_mib": memory, "failed": failed}))
"""


def launched(command: Sequence[str], timeout: float) -> dict[str, Any]:
    """cpu and wall (seconds), memory_mib, and under failed what went wrong, if anything."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    launcher = [sys.executable, "-S", "-c", LAUNCHER, str(timeout), *command]
    done = subprocess.run(launcher, stdout=subprocess.PIPE, env=os.environ | threads, check=True)
    found = json.loads(done.stdout)
    return {k: re.sub(r"\x1b\[[\d;]*m", "", v) if k == "failed" else round(v, 3) for k, v in found.items()}


def measure(
    command: str, exemplar: str, size: Size, seed: int, out: str, timeout: float
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Costs and scores of one picture, and its pixels; of a failure costs and reason, and None."""
    Path(out).unlink(missing_ok=True)
    values = {"in": exemplar, "out": out, "w": size.width, "h": size.height, "seed": seed, "python": sys.executable}
    costs = launched(words(command, values), timeout)
    failed = costs.pop("failed")
    if not failed:
        try:
            pixels, reference = made(out, size, load(exemplar).channels), to_unit(load(exemplar).pixels)
            scores = asdict(score(pixels, reference))
            return costs | {k: None if v is None else round(v, 4) for k, v in scores.items()}, pixels
        except (OSError, ValueError) as error:
            failed = str(error)
    return costs | {"failed": failed}, None


def made(out: str, size: Size, n_channels: int) -> np.ndarray:
    """The picture that a rival wrote, (H, W, n_channels) in [0, 1]; grey that it made RGB of is its channels' mean."""
    if not Path(out).exists():
        raise ValueError("wrote nothing")
    picture = load(out)
    if picture.size != size:
        raise ValueError(f"wrong size: {picture.size} instead of {size}")
    pixels = to_unit(picture.pixels)
    if n_channels == 1 and picture.channels > 1:
        return pixels[..., : 3 if picture.channels >= 3 else 1].mean(2, keepdims=True)
    if picture.channels < n_channels:
        raise ValueError(f"wrong channels: {picture.channels} instead of {n_channels}")
    return pixels[..., :n_channels]


def summarised(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of every method: n, failed, plain means, and under KEY/FIRST its geometric mean ratio to the first method."""
    good = {name: {} for name in names}
    for r in records:
        if "failed" not in r:
            rep = None if r["rep"] is None else abs(r["rep"])
            good[r["method"]][r["exemplar"], r["seed"]] = {**r, "abs_rep": rep}
    first, summary = names[0], {}
    for name, own in good.items():
        n_tried = sum(r["method"] == name for r in records)
        found: dict[str, Any] = {"n": len(own), "failed": n_tried - len(own)}
        for key in (*COSTS, *SCORES):
            values = [r[key] for r in own.values() if r[key] is not None]
            found[key] = float(f"{np.mean(values):.4g}") if values else None
        for key in RATIOS:
            pairs = [(own[k][key], good[first][k][key]) for k in own if k in good[first]]
            usable = pairs and min(map(min, pairs)) > 0
            ratio = np.exp(np.mean([np.log(a / b) for a, b in pairs])) if usable else None
            found[f"{key}/{first}"] = None if ratio is None else float(f"{ratio:.4g}")
        summary[name] = found
    return summary


def table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """Means and ratios as one Markdown table."""
    columns = list(next(iter(summary.values())))
    rows = ["| method | " + " | ".join(COSTS.get(c, c) for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, found in summary.items():
        cells = ["-" if found[c] is None else f"{found[c]:.3g}" for c in columns]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def line(record: Mapping[str, Any]) -> str:
    head = f"{record['method']:<15} {record['exemplar']:<10} seed {record['seed']}  cpu {record['cpu']:.2f}"
    return f"{head}  FAILED {record['failed']}" if "failed" in record else f"{head}  msw {record['msw']:.2f}"


def version(command: str) -> str | None:
    """What the program says of its version, if anything: the first line with a number in it."""
    program = words(command, {"python": sys.executable})
    program = program[:3] if program[1:2] == ["-m"] else program[:1]
    for option in ("--version", "-version"):  # the second is G'MIC's and ImageMagick's
        try:
            said = subprocess.run(
                [*program, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
        plain = re.sub(r"\x1b\[[\d;]*m", "", said.stdout + said.stderr)
        if found := next((s.strip() for s in plain.splitlines() if re.search(r"\d", s)), None):
            return found
    return None


if __name__ == "__main__":
    main()
