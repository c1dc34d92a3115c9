"""Time, memory and all texture scores of every method over a folder of exemplars.

    python benchmarks/bench_synth.py FOLDER --size 512x512 --seeds 0,1 --out results.json --sheet sheet.png

Every picture is made by a process of its own, rivals and ours alike, so that CPU seconds (user + system, start
included) and peak memory are measured the same way. A rival is any command: --rival 'name=prog {exemplar} {out}
{width} {height} {seed}'; {python} stands for this interpreter. Rivals get the same exemplars, sizes, seeds and scores,
and what fails stays in the results as a failure. The exemplar scored is the picture itself; a rival that turns grey
into RGB is scored on its channels' mean.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from texsyn.images import Picture, load, parse_size, save, to_unit
from texsyn.metrics.texture import score
from texsyn.models import METHODS

OURS = {name: f"synth {{exemplar}} --method {name}" for name in METHODS} | {
    "texto-endless": "synth {exemplar} --method texto --endless"
}
COLUMNS = ("cpu", "engine_cpu", "memory_mib", "msw", "copy15", "copy31", "rep", "sharp", "colour", "used")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="exemplars: a folder of pictures, or skimage: for those that come with it")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--methods", default="texto,texto-endless,texto-2018,gaussian,random-phase")
    parser.add_argument("--rival", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write: a row an exemplar, a column a method")
    args = parser.parse_args()

    size = parse_size(args.size)
    commands = {m: "{python} -m texsyn " + OURS[m] + OPTIONS for m in args.methods.split(",") if m}
    commands |= dict(r.split("=", 1) for r in args.rival)
    records, pictures = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        warm_up(commands, scratch)
        for exemplar in exemplars(args.folder):
            for name, command in commands.items():
                for seed in map(int, args.seeds.split(",")):
                    record, picture = measure(name, command, exemplar, size, seed, scratch)
                    records.append(record)
                    pictures.setdefault((exemplar, name), picture)
                    print(line(record), flush=True)
    summary = {name: mean([r for r in records if r["method"] == name]) for name in commands}
    print(table(summary))
    if args.out:
        about = machine() | {"size": args.size, "seeds": args.seeds, "commands": list(commands)}
        args.out.write_text(json.dumps({"about": about, "summary": summary, "records": records}, indent=1) + "\n")
    if args.sheet:
        save(load(sheet(pictures, list(commands))), args.sheet, overwrite=True)


OPTIONS = " --size {width}x{height} --seed {seed} -o {out} --overwrite -q"


def exemplars(folder: str) -> list[str]:
    if folder == "skimage:":
        return [f"skimage:{name}:256" for name in ("brick", "grass", "gravel")]
    return sorted(str(p) for p in Path(folder).iterdir() if p.suffix.lower() in (".png", ".jpg", ".tif"))


def warm_up(commands: dict[str, str], scratch: str) -> None:
    """Compiled loops are cached on disk by a first run; what everybody's second run costs is what we measure."""
    for name, command in commands.items():
        for exemplar in ("skimage:grass:64", "skimage:astronaut:64"):
            if name in OURS:
                run(command, exemplar, parse_size("64x64"), 0, f"{scratch}/warm.png")


def run(command: str, exemplar: str, size: Any, seed: int, out: str) -> tuple[float, float, str]:
    """(CPU seconds, peak MiB, error) of a command as one process with one thread."""
    words = [
        w.format(python=sys.executable, exemplar=exemplar, out=out, width=size.width, height=size.height, seed=seed)
        for w in shlex.split(command)
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    launched = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *words], capture_output=True, text=True, env=environment, check=False
    )
    *said, last = launched.stdout.splitlines() or ["nothing was launched"]
    code, cpu, memory = last.split()
    failed = f"exit {code}: {said[-1] if said else ''}" if code != "0" else ""
    return float(cpu), float(memory), failed


#: A process's peak memory starts at that of the process it was forked from, so a small one does the forking.
LAUNCHER = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
said = child.stderr.read().decode(errors="replace").strip().splitlines()
_, status, usage = os.wait4(child.pid, 0)
print(*said[-1:], sep="\\n", end="\\n" if said else "")
print(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


def measure(name: str, command: str, exemplar: str, size: Any, seed: int, scratch: str) -> tuple[dict, Any]:
    out = f"{scratch}/out.png"
    Path(out).unlink(missing_ok=True)
    cpu, memory, failed = run(command, exemplar, size, seed, out)
    record: dict[str, Any] = {"method": name, "exemplar": Path(exemplar).stem, "seed": seed}
    if failed or not Path(out).exists():
        return record | {"failed": failed or "wrote nothing"}, None
    made, reference = load(out), load(exemplar)
    pixels = to_unit(made.pixels)
    if pixels.shape[2] != reference.channels and reference.channels == 1:
        pixels = pixels[..., :3].mean(2, keepdims=True)
    scores = asdict(score(pixels[..., : reference.channels], to_unit(reference.pixels)))
    record |= {"cpu": round(cpu, 3), "memory_mib": round(memory, 1)}
    record |= {k: None if v is None else round(v, 4) for k, v in scores.items()}
    if name in OURS:
        record |= engine(name, reference, size, seed)
    return record, pixels


def engine(name: str, exemplar: Picture, size: Any, seed: int) -> dict[str, Any]:
    """CPU seconds of fit and synthesis alone, in this process, after its imports and compilations; its evidence."""
    import torch

    import texsyn

    torch.set_num_threads(1)
    settings = {"endless": True} if name == "texto-endless" else {}
    began = time.process_time()
    result = texsyn.synth(exemplar, size, method=name.removesuffix("-endless"), seed=seed, device="cpu", **settings)
    return {"engine_cpu": round(time.process_time() - began, 3), "evidence": result.recipe["evidence"]}


def mean(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Plain means over exemplars and seeds; |rep| beside rep; failures counted."""
    good = [r for r in records if "failed" not in r]
    found: dict[str, Any] = {"n": len(good), "failed": len(records) - len(good)}
    for key in COLUMNS:
        values = [r[key] for r in good if r.get(key) is not None]
        found[key] = round(float(np.mean(values)), 4) if values else None
    reps = [abs(r["rep"]) for r in good if r.get("rep") is not None]
    plain = [abs(r["rep"]) for r in good if r.get("rep") is not None and not r["exemplar"].startswith(("dots", "ink"))]
    found["abs_rep"] = round(float(np.mean(reps)), 4) if reps else None
    found["abs_rep_without_dots_and_ink"] = round(float(np.mean(plain)), 4) if plain else None
    return found


def line(record: dict[str, Any]) -> str:
    head = f"{record['method']:<15}{record['exemplar']:<18}seed {record['seed']}  "
    if "failed" in record:
        return head + f"FAILED {record['failed']}"
    shown = {k: "-" if record.get(k) is None else f"{record[k]:.2f}" for k in COLUMNS}
    return head + "  ".join(f"{k} {v}" for k, v in shown.items())


def table(summary: dict[str, dict[str, Any]]) -> str:
    """The means as a Markdown table."""
    columns = ("n", *COLUMNS, "abs_rep")
    rows = ["| method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, values in summary.items():
        cells = ["-" if values[c] is None else f"{values[c]:.4g}" for c in columns]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def sheet(pictures: dict[tuple[str, str], Any], names: list[str], side: int = 384) -> np.ndarray:
    """Exemplar and every method's first picture, cropped to side px, on white: (H, W, 3) uint8."""
    rows = []
    for exemplar in dict.fromkeys(e for e, _ in pictures):
        row = [to_unit(load(exemplar).pixels)] + [pictures[exemplar, n] for n in names]
        rows.append(np.concatenate([_cell(p, side) for p in row], 1))
    return np.concatenate(rows, 0)


def _cell(pixels: np.ndarray | None, side: int) -> np.ndarray:
    cell = np.full((side + 6, side + 6, 3), 255, np.uint8)
    if pixels is not None:
        crop = pixels[:side, :side, :3] if pixels.shape[2] >= 3 else pixels[:side, :side, :1]
        cell[: crop.shape[0], : crop.shape[1]] = (np.clip(crop, 0, 1) * 255 + 0.5).astype(np.uint8)
    return cell


def machine() -> dict[str, Any]:
    """Where and from which commit the figures come."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((s.split(":")[1].strip() for s in info.read_text().splitlines() if s.startswith("model name")), cpu)
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return {
        "date": datetime.date.today().isoformat(),
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "note": "CPU seconds of single-threaded processes on a shared machine",
    }


if __name__ == "__main__":
    main()
