"""SGAN, PSGAN and SinGAN: seconds, memory and FLOPs of training at the papers' sizes, and SinGAN's fast recipe's worth.

    python benchmarks/bench_texture_gans.py --part steps --out results.json
    python benchmarks/bench_texture_gans.py --part race --out results.json --sheet sheet.png

*steps*: every case is a process of its own, on one thread. Its first step at a size (of SinGAN: at each scale) warms up
while torch counts the FLOPs of convolutions, forward, backward and twice backward, two a multiplication and addition;
then steps are timed until there are five or ten seconds are over, one at least, and the median is kept. A step of SGAN
and PSGAN is an update of both networks, one of SinGAN three of each at one scale, whose weights there are as drawn: its
arithmetic does not depend on them. Memory is the process's peak, less what it weighed before: on the GPU, what torch
allocated. Where a CPU gets fewer pictures a batch than the paper has, the record says how many, and that what it says
of the paper's batch is scaled by their number. The exemplar is a crop of scikit-image's coffee (CC0), for its colours.

singan: *released* is compat="official", *paper* the method's own recipe of that name, *fast* that of the successor.
What a whole schedule costs, 2000 steps a scale, is summed up from its scales. Published are the FLOPs of the networks'
convolutions that others' code was counted at.

*race*: paper and fast on an exemplar of 96x96, cut to the same CPU seconds: a trial says what a step costs at each
scale, and all scales get as many steps as fit; the records have the seconds that it took then, which a busy machine
moves by a quarter, and the FLOPs, which it does not. Judged are four pictures of a fresh seed each against the
exemplar, by rSiFID and the patch distance, which need no weights; the first line is another crop of the photograph.
Look at the sheet as well: both scores punish pale pictures more than shapes that are wrong.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_gotex import cell, exemplar_of
from bench_synth import machine, run
from torch.utils.flop_counter import FlopCounterMode

from texsyn.gan.single_image import SingleImage
from texsyn.images import Picture, Size, load, save, to_unit
from texsyn.metrics.monitor import WEIGHT_FREE, Monitor
from texsyn.metrics.sets import Crops
from texsyn.models.base import make_config, model_class
from texsyn.models.singan import Singan

SCHEDULE = 2000  # steps a scale, of SinGAN and its successor
#: PFLOP of convolutions in a whole training: SinGAN's and ConSinGAN's released code, counted by the specification
PUBLISHED = {
    "250x168": {"released": 6.44, "fast": 1.59, "ratio": 4.0},
    "250x250": {"released": 15.64, "fast": 2.11, "ratio": 7.4},
}


@dataclass(frozen=True)
class Case:
    """One training: a method with a recipe and further settings, on a crop of that size."""

    method: str
    recipe: str
    size: Size
    settings: tuple[tuple[str, Any], ...] = ()
    #: pictures a step on the CPU instead of the recipe's, 0 for as many
    batch: int = 0


def singan(recipe: str, height: int, width: int) -> Case:
    official = recipe == "released"
    return Case("singan", "paper" if official else recipe, Size(height, width), (("compat", "official"),) * official)


CASES = {
    "sgan 4": Case("sgan", "paper", Size(300, 400), batch=4),
    "sgan 8": Case("sgan", "paper", Size(300, 400), batch=8),
    "psgan": Case("psgan", "paper", Size(300, 400)),
    **{
        f"singan {recipe} {width}x{height}": singan(recipe, height, width)
        for height, width in ((96, 96), (168, 250), (250, 250))
        for recipe in ("released", "paper", "fast")
        if (recipe, width, height) != ("paper", 250, 250)  # minutes more, to say what 250x168 does
    },
}
SMALL = (("n_layers", 3), ("channels", 4), ("max_channels", 8), ("cells", 3), ("batch", 4), ("border", "zero"))
QUICK_CASES = {
    "sgan 2": Case("sgan", "tiny", Size(40, 44), SMALL, batch=2),
    "psgan": Case("psgan", "tiny", Size(40, 44), SMALL),
    **{f"singan {recipe} 40x32": singan(recipe, 32, 40) for recipe in ("released", "paper", "fast")},
}


@dataclass(frozen=True)
class Scope:
    """How much is measured; QUICK is for tests of the benchmark itself."""

    cases: dict[str, Case]
    n_steps: int = 5
    seconds: float = 10.0
    side: int = 96
    budgets: tuple[float, ...] = (20.0, 60.0)
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Scope(CASES)
QUICK = Scope(QUICK_CASES, 1, 0.0, 64, (1.0,), (0,))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("steps", "race"), help="one of the two; both by default")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--cases", help="comma-separated; others stay as in --out")
    parser.add_argument("--exemplars", default="gravel", help="of the race, comma-separated; others stay as in --out")
    parser.add_argument("--out", type=Path, help="JSON to write, after every case")
    parser.add_argument("--sheet", type=Path, help="PNG to write: a row a run of the race")
    parser.add_argument("--quick", action="store_true", help="small pictures, one process, for a test")
    parser.add_argument("--one", metavar="CASE", help="one case, to --out as JSON")
    args = parser.parse_args(arguments)

    torch.set_num_threads(1)
    scope = QUICK if args.quick else FULL
    if args.one:
        args.out.write_text(json.dumps(one_case(scope, args.one, args.device)))
        return
    kept = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    steps, raced = kept.get("steps", []), kept.get("race", [])

    def keep() -> None:
        about = machine() | ({"gpu": torch.cuda.get_device_name()} if args.device == "cuda" else {})
        found = {"about": about, "summary": summary(steps, raced), "steps": steps, "race": raced}
        if args.out:
            args.out.write_text(json.dumps(found, indent=1) + "\n")

    if args.part != "race":
        for name in args.cases.split(",") if args.cases else scope.cases:
            found = one_case(scope, name, args.device) if args.quick else alone(name, args.device)
            steps = [r for r in steps if r["case"] != name] + [found]
            print(json.dumps({k: v for k, v in found.items() if k != "scales"}), flush=True)
            keep()
    rows = []
    if args.part != "steps":
        for name in args.exemplars.split(","):
            raced = [r for r in raced if r["exemplar"] != name]
            for record, pictures in race(scope, name, args.device):
                raced.append(record)
                rows.append(np.concatenate([cell(to_unit(p)) for p in pictures], 1))
                print(json.dumps(record), flush=True)
                keep()
    print(json.dumps(summary(steps, raced), indent=1))
    if args.sheet and rows:
        save(load(np.concatenate(rows)), args.sheet, overwrite=True)


# ---------------------------------------------------------------------------------------------------------- one case


def alone(name: str, device: str) -> dict[str, Any]:
    """one_case() as a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        out = f"{scratch}/case.json"
        words = ["{python}", __file__, "--one", name, "--device", device, "--out", out]
        _, _, failed = run(shlex.join(words), "", Size(1, 1), 0, "")
        if failed:
            raise RuntimeError(f"{name}: {failed}")
        found: dict[str, Any] = json.loads(Path(out).read_text())
        return found


def one_case(scope: Scope, name: str, device: str) -> dict[str, Any]:
    """What a step costs, of SinGAN at each scale."""
    case, clock = scope.cases[name], Clock(device)
    cls, exemplar = model_class(case.method), colours(case.size)
    config = make_config(cls.config_type, {**cls.recipes[case.recipe], **dict(case.settings)})  # type: ignore[attr-defined]
    found = {"case": name, "method": case.method, "recipe": case.recipe, "size": str(case.size), "device": device}
    weight = clock.memory()
    if case.method == "singan":
        config = replace(config, steps=SCHEDULE)
        learner = cls.learner(exemplar, config, seed=0, device=device)  # type: ignore[attr-defined]
        scales = []
        for k, size in enumerate(learner.of.sizes):
            begin(learner, k)
            cost = clock.costs(learner.step, k * config.steps, scope)
            scales.append({"scale": k, "size": str(size)} | cost | {"memory_mib": round(clock.memory() - weight, 1)})
        flops, cpu, wall = (sum(s[key] for s in scales) * config.steps for key in ("flops", "cpu", "wall"))
        whole = {"pflop": round(flops / 1e15, 4), "cpu_hours": round(cpu / 3600, 3), "hours": round(wall / 3600, 3)}
        return found | {"schedule": whole, "memory_mib": scales[-1]["memory_mib"], "scales": scales}
    batch = config.batch if device == "cuda" or not case.batch else case.batch
    learner = cls.learner(exemplar, replace(config, batch=batch), seed=0, device=device)  # type: ignore[attr-defined]
    cost = clock.costs(learner.step, 0, scope)
    scaled = {f"paper_{key}": cost[key] * config.batch / batch for key in ("flops", "cpu", "wall")}
    found |= {"crop": config.crop, "batch": batch, "paper_batch": config.batch} | cost
    found |= {"memory_mib": round(clock.memory() - weight, 1), "scaled": batch != config.batch}
    return found | {key: round(value, 3) for key, value in scaled.items()}


def colours(size: Size) -> Picture:
    """The top left corner of a photograph."""
    return load(np.ascontiguousarray(load("skimage:coffee").pixels[: size.height, : size.width]))


class Clock:
    """Seconds, FLOPs and memory of steps on a device."""

    def __init__(self, device: str) -> None:
        self.on_gpu = device.startswith("cuda")

    def memory(self) -> float:
        """MiB at the peak so far: of the process, or on the GPU of what torch allocated."""
        if self.on_gpu:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def costs(self, step: Callable[[int], Any], first: int, scope: Scope) -> dict[str, Any]:
        """FLOPs of step number `first`, and the medians of those after it."""
        n = flops(lambda: step(first))
        timed: list[tuple[float, float]] = []
        while not timed or (len(timed) < scope.n_steps and sum(wall for _, wall in timed) < scope.seconds):
            self._wait()
            cpu, wall = time.process_time(), time.perf_counter()
            step(first + 1 + len(timed))
            self._wait()
            timed.append((time.process_time() - cpu, time.perf_counter() - wall))
        cpus, walls = zip(*timed, strict=True)
        medians = {"cpu": round(statistics.median(cpus), 4), "wall": round(statistics.median(walls), 4)}
        return {"flops": n, **medians, "timed_steps": len(timed)}

    def _wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()


def flops(work: Callable[[], Any]) -> int:
    """Floating point operations of convolutions and matrix products in work()."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Everywhere()  # type: ignore[assignment]  # its hooks do not go with torch.autograd.grad
    with counter:
        work()
    return int(counter.get_total_flops())


class _Everywhere:
    """A tracker of modules that knows one place only."""

    parents = frozenset({"Global"})

    def __enter__(self) -> _Everywhere:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


# ---------------------------------------------------------------------------------------------------------- the race


def race(scope: Scope, name: str, device: str) -> Iterator[tuple[dict[str, Any], list[np.ndarray]]]:
    """Records with pictures: the exemplar beside another crop, then every recipe, budget and seed."""
    exemplar = exemplar_of(name, scope.side)
    monitor = Monitor(exemplar, WEIGHT_FREE, n=4, crops=Crops(2, scope.side))
    other = exemplar_of(name, scope.side, beside=True)
    same = torch.from_numpy(to_unit(other.pixels)).permute(2, 0, 1)[None].repeat(4, 1, 1, 1)
    blank = np.full_like(exemplar.pixels, 255)
    yield {"exemplar": name, "run": "other crop", **judged(monitor, lambda n, seed: same)}, [
        exemplar.pixels, other.pixels, *[blank] * 3,
    ]  # fmt: skip
    for recipe in ("paper", "fast"):
        config = make_config(Singan.config_type, {**Singan.recipes[recipe], "max_side": scope.side})
        costs = trial(exemplar, config, device)
        for budget in scope.budgets:
            steps = max(1, int(budget / sum(cpu for cpu, _ in costs)))
            about = {"exemplar": name, "run": recipe, "seconds": budget, "steps_a_scale": steps, "scales": len(costs)}
            about["tflop"] = round(steps * sum(n for _, n in costs) / 1e12, 3)
            for seed in scope.seeds:
                learner, began = SingleImage(Singan(exemplar, replace(config, steps=steps), device), seed), None
                began = time.process_time()
                for i in range(steps * len(costs)):
                    learner.step(i)
                cpu, model = time.process_time() - began, learner.model()
                draw = lambda n, first: model.sample(exemplar.size, seed=first, n=n)  # noqa: B023, E731
                pictures = [model.synthesise(exemplar.size, seed=k).pixels for k in range(4)]
                found = about | {"seed": seed, "cpu": round(cpu, 2)} | judged(monitor, draw)
                yield found, [exemplar.pixels, *pictures]


def begin(learner: SingleImage, k: int) -> None:
    """Bring it to scale k, which its first step there would do, so that this step is like all others."""
    if k != learner.scale:
        learner._begin(k)


def judged(monitor: Monitor, generate: Callable[[int, int], torch.Tensor]) -> dict[str, float]:
    record = monitor(generate, 0)
    assert record is not None
    return {key: round(value, 5) for key, value in record["scores"].items()}


def trial(exemplar: Picture, config: Any, device: str) -> list[tuple[float, int]]:
    """(CPU seconds, FLOPs) of a step at each scale: the shortest of three after one that is counted."""
    learner = SingleImage(Singan(exemplar, replace(config, steps=SCHEDULE), device), 99)
    found = []
    for k in range(len(learner.of.sizes)):
        begin(learner, k)
        n, taken = flops(lambda: learner.step(k * SCHEDULE)), []  # noqa: B023
        for turn in range(1, 4):
            began = time.process_time()
            learner.step(k * SCHEDULE + turn)
            taken.append(time.process_time() - began)
        found.append((min(taken), n))
    return found


# ------------------------------------------------------------------------------------------------------ what it says


def summary(steps: list[dict[str, Any]], raced: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds at the papers' batches; schedules of SinGAN's recipes by size and their ratios; the race's medians."""
    found: dict[str, Any] = {}
    for r in steps:
        if "schedule" in r:
            title = r["case"].split()[1]
            found.setdefault("schedules", {}).setdefault(r["size"], {})[title] = r["schedule"] | {
                "memory_mib": r["memory_mib"]
            }
        else:
            keys = ("batch", "paper_batch", "paper_cpu", "paper_wall", "paper_flops", "memory_mib", "scaled")
            found.setdefault("steps", {})[r["case"]] = {k: r[k] for k in keys}
    for size, of_size in found.get("schedules", {}).items():
        fast = of_size.get("fast")
        for title in ("released", "paper"):
            if fast and title in of_size:
                whole = of_size[title]
                of_size[f"{title}/fast"] = {k: round(whole[k] / fast[k], 2) for k in ("pflop", "cpu_hours", "hours")}
        if size in PUBLISHED:
            of_size["published pflop"] = PUBLISHED[size]
    for r in raced:
        of_run = found.setdefault("race", {}).setdefault(r["exemplar"], {})
        alike = [s for s in raced if all(s.get(k) == r.get(k) for k in ("exemplar", "run", "seconds"))]
        title = f"{r['run']} {r['seconds']:g} s" if "seconds" in r else r["run"]
        of_run[title] = {k: round(statistics.median(s[k] for s in alike), 5) for k in WEIGHT_FREE}
        of_run[title] |= {k: r[k] for k in ("steps_a_scale", "scales", "tflop") if k in r}
    return found


if __name__ == "__main__":
    main()
