"""StyleGANs: seconds per thousand real pictures (kimg), memory and FLOPs of training, and the curve of real small runs.

    python benchmarks/bench_stylegan.py --part cost --out results.json
    python benchmarks/bench_stylegan.py --part cost --device cuda --out results.json
    python benchmarks/bench_stylegan.py --part curve --out results.json --sheet sheet.png

*cost*: every case is a process of its own, on one thread of the CPU. Phases are timed one by one: the discriminator's
and the generator's updates, R1 and path lengths, each once to warm up (and to compile, where the case does), while
FLOPs of convolutions are counted in the cases that are not compiled, then until ten seconds are over or five were
timed, one at least. A kimg is the sum of medians, each over the number of steps between two such phases, times steps in
a kimg. Memory is the process's peak less what it weighed before; on a GPU, what torch allocated. Data are noise: costs
do not depend on it. *auto* cases have the preset's full widths, with as few pictures a batch as the record says where a
CPU could not hold more; the others have `small` widths: at most 64 channels.

Published for the released code of StyleGAN2-ADA, preset auto, 256x256 in mixed precision, are 12.5 seconds a kimg on an
A100 and 20.8 on a V100, of StyleGAN3-T 49.8 and 89.2.

*curve*: trainings as a user starts them, scored against their data at sixteen times, by the Frechet distance of pixels
and of small pictures' classes where the data have such; the sheet has what came out.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_synth import machine, run
from bench_texture_gans import flops

from texsyn.datasets import open_dataset
from texsyn.gan.architectures import GanConfig, configure
from texsyn.gan.image_training import ImageGan
from texsyn.gan.training import Phase
from texsyn.generation import config_for, scores_of
from texsyn.images import Size, load, save

PUBLISHED = {"stylegan2 auto 256": {"A100": 12.53, "V100": 20.84}, "stylegan3-t 256": {"A100": 49.8, "V100": 89.2}}
SMALL = {"features": 16, "max_features": 64, "latent": 64}


@dataclass(frozen=True)
class Case:
    """One training: an architecture with a preset's numbers, at a side, with further settings."""

    arch: str
    side: int
    settings: dict[str, Any] = field(default_factory=dict)
    preset: str = "auto"


def small(arch: str, side: int, preset: str = "auto", **more: Any) -> Case:
    return Case(arch, side, SMALL | {"batch": 8, "group": 4, "augment": "none"} | more, preset)


CASES = {
    **{
        f"stylegan2 small {side}{name}": small("stylegan2", side, **more)
        for side in (32, 64)
        for name, more in (
            ("", {}), (" folded", {"folded": True}), (" compiled", {"compile": True}), (" ada", {"augment": "ada"}),
        )
    },
    "stylegan2 auto 32": Case("stylegan2", 32, {"batch": 4, "group": 4, "augment": "none"}),
    "stylegan2 auto 64": Case("stylegan2", 64, {"batch": 4, "group": 4, "augment": "none"}),
    **{f"stylegan small {side}": small("stylegan", side, "") for side in (32, 64)},
    **{
        f"stylegan3-{kind} small {side}": small("stylegan3", side, f"stylegan3-{kind}", judged_blur=0.0)
        for side in (32, 64)
        for kind in "tr"
    },
}  # fmt: skip
_WHOLE = {"augment": "none", "judged_blur": 0.0}
GPU_CASES = {
    f"{name} 256{what}": Case(arch, 256, _WHOLE | size | more, preset)
    for name, arch, preset, size in (
        ("stylegan2 auto", "stylegan2", "auto", {}), ("stylegan3-t", "stylegan3", "stylegan3-t", {}),
        ("stylegan3-r", "stylegan3", "stylegan3-r", {}),
    )
    for what, more in (
        ("", {}), (" bf16", {"bf16": True}), (" bf16 folded", {"bf16": True, "folded": True}),
        (" bf16 compiled", {"bf16": True, "compile": True}),
    )
    if arch == "stylegan2" or "folded" not in more
}  # fmt: skip
QUICK = {
    "stylegan2 small 16": small("stylegan2", 16, features=4, max_features=4, latent=4, batch=2, group=2),
    "stylegan small 16": small("stylegan", 16, "", features=4, max_features=4, latent=4, batch=2, group=2),
}


def config_of(case: Case) -> GanConfig:
    shape = {"channels": 3, "height": case.side, "width": case.side}
    recipe = {"preset": case.preset} if case.preset else {}
    config = configure(case.arch, recipe="paper", settings=shape | case.settings, **recipe)
    return replace(config, growth=0)


class Noise:
    """Pictures of noise as data."""

    n, channels, classes = 64, 3, ()

    def __init__(self, side: int) -> None:
        self.height = self.width = side
        self.pictures = torch.rand(self.n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def batch(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.pictures[numbers]

    def labels(self, numbers: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(numbers)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("cost", "curve"), default="cost")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--cases", help="comma-separated; others stay as in --out")
    parser.add_argument("--out", type=Path, help="JSON to write, after every case")
    parser.add_argument("--sheet", type=Path, help="PNG to write: a row of pictures for each curve")
    parser.add_argument("--quick", action="store_true", help="small networks, one process, for a test")
    parser.add_argument("--one", metavar="CASE", help="one case of the costs, to --out as JSON")
    args = parser.parse_args(arguments)

    torch.set_num_threads(1)
    cases = QUICK if args.quick else GPU_CASES if args.device == "cuda" else CASES
    if args.one:
        args.out.write_text(json.dumps(one_case(cases[args.one], args.one, args.device, quick=args.quick)))
        return
    kept = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    costs, curves = kept.get("cost", []), kept.get("curve", [])

    def keep() -> None:
        gpu = {"gpu": torch.cuda.get_device_name()} if args.device == "cuda" else {}
        found = {"about": machine() | gpu, "ratios": ratios(costs), "published": PUBLISHED}
        if args.out:
            args.out.write_text(json.dumps(found | {"cost": costs, "curve": curves}, indent=1) + "\n")

    rows = []
    if args.part == "cost":
        for name in args.cases.split(",") if args.cases else cases:
            found = one_case(cases[name], name, "cpu", quick=True) if args.quick else alone(name, args.device)
            costs[:] = [r for r in costs if r["case"] != name] + [found]
            print(json.dumps(found), flush=True)
            keep()
    else:
        runs = QUICK_RUNS if args.quick else RUNS
        for name in args.cases.split(",") if args.cases else runs:
            found, sheet = curve(name, runs[name], args.device)
            curves[:] = [r for r in curves if r["run"] != name] + [found]
            rows.append(sheet)
            print(json.dumps(found), flush=True)
            keep()
    print(json.dumps(ratios(costs), indent=1))
    if args.sheet and rows:
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
        save(load(np.concatenate(padded)), args.sheet, overwrite=True)


# ---------------------------------------------------------------------------------------------------------- the costs


def alone(name: str, device: str) -> dict[str, Any]:
    """one_case() as a process of its own; a case that fails is a record that says why."""
    with tempfile.TemporaryDirectory() as scratch:
        out = f"{scratch}/case.json"
        words = ["{python}", __file__, "--one", name, "--device", device, "--out", out]
        _, _, failed = run(shlex.join(words), "", Size(1, 1), 0, "")
        if failed:
            return {"case": name, "device": device, "failed": failed}
        found: dict[str, Any] = json.loads(Path(out).read_text())
        return found


def one_case(case: Case, name: str, device: str, *, quick: bool = False) -> dict[str, Any]:
    """What a kimg costs, and each phase."""
    config, on_gpu = config_of(case), device.startswith("cuda")

    def memory() -> float:
        if on_gpu:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    weight = memory()
    gan = ImageGan(config, Noise(case.side), seed=0, device=device)
    weights = {"generator": gan.generator, "discriminator": gan.discriminator}
    found: dict[str, Any] = {
        "case": name, "device": device, "side": case.side, "batch": config.batch, "bf16": config.bf16,
        "compile": config.compile, "folded": config.folded, "phases": {},
        "parameters": {k: sum(p.numel() for p in net.parameters()) for k, net in weights.items()},
    }  # fmt: skip
    wall = cpu = work = 0.0
    for phase in gan.loop.phases:
        cost = timed(lambda phase=phase: gan.loop._turn(phase, 0, 0), gan, on_gpu=on_gpu, quick=quick)
        found["phases"][title(gan, phase)] = cost | {"interval": phase.interval}
        share = 1000 / (phase.interval * config.batch)
        wall, cpu, work = wall + share * cost["wall"], cpu + share * cost["cpu"], work + share * cost["flops"]
    found |= {"wall_per_kimg": round(wall, 2), "cpu_per_kimg": round(cpu, 2), "gflop_per_kimg": round(work / 1e9, 1)}
    return found | {"memory_mib": round(memory() - weight, 1)}


def title(gan: ImageGan, phase: Phase) -> str:
    names = {gan._judge: "discriminator", gan._fool: "generator", gan._lazy: gan.config.penalty, gan._paths: "paths"}
    return next(name for method, name in names.items() if method == phase.loss)


def timed(work: Callable[[], Any], gan: ImageGan, *, on_gpu: bool, quick: bool) -> dict[str, Any]:
    """FLOPs of the first time, 0 of compiled networks, and medians of the seconds of the others."""

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    n = 0
    if gan.config.compile:
        work()
    else:
        n = flops(work)
    seconds: list[tuple[float, float]] = []
    while not seconds or (not quick and len(seconds) < 5 and sum(one[1] for one in seconds) < 10):
        wait()
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        wait()
        seconds.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpus, walls = zip(*seconds, strict=True)
    return {"flops": n, "cpu": round(statistics.median(cpus), 4), "wall": round(statistics.median(walls), 4)}


def ratios(costs: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of a case over those of its plain form: the CPU's, on a GPU of the wall."""
    plain = {r["case"]: r for r in costs if "failed" not in r}
    found = {}
    for name, record in plain.items():
        base = next((b for b in plain if name != b and name.startswith(b + " ")), None)
        key = "wall_per_kimg" if record["device"] == "cuda" else "cpu_per_kimg"
        if base is not None:
            found[f"{name} / {base}"] = round(record[key] / plain[base][key], 3)
    return found


# ---------------------------------------------------------------------------------------------------------- the curves


@dataclass(frozen=True)
class Training:
    """What a user would train."""

    data: str
    arch: str
    minutes: float
    settings: dict[str, Any] = field(default_factory=dict)
    resolution: int | None = None
    #: how many crops of a picture, where the data are such
    images: int = 640_000


RUNS = {
    "digits stylegan2": Training("digits", "stylegan2", 8.0),
    "digits stylegan": Training("digits", "stylegan", 4.0),
    "digits stylegan3": Training("digits", "stylegan3", 8.0),
}
QUICK_RUNS = {"digits stylegan2": Training("digits", "stylegan2", 0.02, {"features": 4, "max_features": 4, "batch": 4})}
POINTS = 16  # on a curve


def curve(name: str, training: Training, device: str) -> tuple[dict[str, Any], np.ndarray]:
    """Scores along one training, and a row of what came out."""
    data = open_dataset(training.data, resolution=training.resolution, enlarge=training.resolution is not None)
    config = config_for(data, training.arch, settings={"images": training.images} | training.settings)
    gan, judge = ImageGan(config, data, seed=0, device=device), scores_of(data, ("pixels",))
    points: list[dict[str, float]] = []
    began, judging = time.process_time(), 0.0
    while (spent := time.process_time() - began - judging) < 60 * training.minutes or not points:
        if spent >= len(points) * 60 * training.minutes / POINTS:
            at = time.process_time()
            points.append(_point(gan, judge, spent))
            judging += time.process_time() - at
        first = int(gan.seen // (config.batch * config.critic_turns))
        train_some(gan, first, 4)
    points.append(_point(gan, judge, time.process_time() - began - judging))
    sheet = gan.model().shown(n_rows=4, n_columns=16, seed=0).pixels
    sheet = np.repeat(sheet, 3, axis=2) if sheet.shape[2] == 1 else sheet
    record = {
        "run": name, "data": training.data, "arch": training.arch, "settings": training.settings, "curve": points,
        "kimg": points[-1]["kimg"], "cpu_seconds": points[-1]["cpu"],
    }  # fmt: skip
    return record, sheet


def _point(gan: ImageGan, judge: Callable[[Any, int], dict[str, float]], spent: float) -> dict[str, float]:
    return {"kimg": round(gan.seen / 1000, 3), "cpu": round(spent, 1)} | judge(gan, 0)


def train_some(gan: ImageGan, first: int, n: int) -> None:
    for i in range(first, first + n):
        gan.step(i)


if __name__ == "__main__":
    main()
