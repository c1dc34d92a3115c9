"""GOTEX's generator: the released settings against texsyn's gotex-net, score against CPU seconds of training.

    python benchmarks/bench_gotex_net.py --out results.json --sheet sheet.png

*released*: the network of Ulyanov et al. as Houdard, Leclaire, Papadakis and Rabin released it (wgenpatex), trained
against the potentials of published_gotex.py: six levels of uniform noise, two channels more a level, one picture of the
exemplar's size a step, ten inner steps on that picture, Adam at 0.01 throughout, five scales, statistics of the sample
itself when it draws. Departures: 500 random patches of the exemplar and 500 of the picture, for 2000 and all, which no
CPU trains in minutes; the 7840 parameters (for colour) of texsyn.models.generators rather than 7968, for what is
doubled is not normalised once more; pictures of just the exemplar's size, not four pixels more.

*ours*: gotex-net as it is, its schedule cut to the steps that fit the seconds. *ours-quarter*: to a quarter of them.

All learn from the top left 128x128 pixels. Judged are two pictures of fresh seeds by the common score of
bench_gotex.py, without wrapping, for neither network does. Clocks are CPU seconds of one thread after warming up, from
the exemplar's pixels to a network that draws; drawing and scoring are not on them. Memory is the peak of a process of
its own, up to the end of training and with a picture of 1280x768 drawn. Both exemplars come with scikit-image (CC0).
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bench_gotex
import numpy as np
import torch
from bench_gotex import cell, exemplar_of, planes
from bench_synth import machine, run
from published_gotex import Published, ascend, atoms, dual_value, gaussian_pyramid, patches, some
from torch import Tensor

from texsyn.images import Picture, Region, Size, load, parse_size, save, to_unit
from texsyn.metrics.suite import Suite
from texsyn.models.generators import Design, make_generator
from texsyn.models.gotex_net import GotexNet, GotexNetConfig, Training

Draw = Callable[[Size, int], np.ndarray]  # (size, seed) to pixels (H, W, C) of 8 bits
SHARE = {"released": 1.0, "ours": 1.0, "ours-quarter": 0.25}  # of the seconds
LARGE = "1280x768"


@dataclass(frozen=True)
class Scope:
    """How much is measured; QUICK is for tests of the benchmark itself."""

    side: int = 128
    released: Published = field(default_factory=lambda: Published(n_scales=5))
    ours: GotexNetConfig = field(default_factory=GotexNetConfig)
    judge: bench_gotex.Scope = field(default_factory=bench_gotex.Scope)
    #: shares of a run's seconds (released) or steps (ours) after which pictures are judged
    marks: tuple[float, ...] = (0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0)
    judged: tuple[int, ...] = (1001, 1002)  # seeds
    diverse: tuple[int, ...] = (1001, 1002, 1003, 1004)
    #: steps of a run of its own by which ours finds out how many fit
    trial: int = 48
    large: str = LARGE


QUICK = Scope(
    48, bench_gotex.TINY, GotexNetConfig(n_levels=3, channels=4, n_scales=2, max_atoms=50, n_samples=50, crop=32),
    bench_gotex.QUICK, (0.5, 1.0), trial=12, large="96x64",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exemplars", default="brick,gravel", help="comma-separated; others stay as in --out")
    parser.add_argument("--seconds", type=float, default=150.0, help="CPU seconds of training a run")
    parser.add_argument("--out", type=Path, help="JSON to write, after every run")
    parser.add_argument("--sheet", type=Path, help="PNG to write: a row an exemplar, itself and two pictures a run")
    parser.add_argument("--quick", action="store_true", help="small pictures, one process, for a test")
    parser.add_argument("--run", nargs=2, metavar=("NAME", "EXEMPLAR"), help="one run, to --out as .npz")
    args = parser.parse_args(arguments)

    torch.set_num_threads(1)
    scope = QUICK if args.quick else Scope()
    if args.run:
        np.savez(args.out, **one_run(scope, *args.run, args.seconds))
        return
    names, rows = args.exemplars.split(","), []
    kept = json.loads(args.out.read_text())["records"] if args.out and args.out.exists() else []
    records = [r for r in kept if r["exemplar"] not in names]
    for name in names:
        exemplar = exemplar_of(name, scope.side)
        row = [to_unit(exemplar.pixels)]
        for record, pictures in compete(scope, name, exemplar, args.seconds, args.quick):
            records.append(record)
            row += [to_unit(p) for p in pictures[:2]]
            print(json.dumps({k: v for k, v in record.items() if k != "curve"}), flush=True)
            if args.out:
                found = {"about": machine(), "side": scope.side, "summary": compared(records), "records": records}
                args.out.write_text(json.dumps(found, indent=1) + "\n")
        rows.append(np.concatenate([cell(p) for p in row], 1))
    print(json.dumps(compared(records), indent=1))
    if args.sheet:
        save(load(np.concatenate(rows)), args.sheet, overwrite=True)


def compete(
    scope: Scope, name: str, exemplar: Picture, seconds: float, quick: bool
) -> Iterator[tuple[dict[str, Any], list[np.ndarray]]]:
    """The records of all runs from one exemplar, each with its last pictures; first a crop beside the exemplar."""
    judge, suite = Judge(exemplar, scope.judge), Suite(to_unit(exemplar.pixels))
    other = exemplar_of(name, scope.side, beside=True)
    yield {"exemplar": name, "run": "other crop", **judge(planes(other)), **scores(suite, [other.pixels])}, []
    for title, share in SHARE.items():
        budget = seconds * share
        found = one_run(scope, title, name, budget) if quick else raced(title, name, budget)
        n = len(scope.judged)
        curve = []
        for cpu, step, pictures in zip(found["cpu"], found["step"], found["pictures"], strict=True):
            values = [judge(planes(load(p))) for p in pictures[:n]]
            common = [v["common"] for v in values]
            error = max(v["mass_error"] for v in values)
            mark = {"cpu": round(float(cpu), 2), "step": int(step), "common": round(float(np.mean(common)), 5)}
            curve.append(mark | {"each": common, "scales": values[0]["scales"], "mass_error": error})
        last = list(found["pictures"][-1])
        about = {"exemplar": name, "run": title, "seconds": budget, **curve[-1]}
        about |= {k: round(float(found[k]), 3) for k in ("per_second", "large_cpu", "large_wall")}
        about |= {k: round(float(found[k]), 1) for k in ("memory_mib", "memory_large_mib")}
        about |= {"large": scope.large, "parameters": int(found["parameters"])}
        yield about | scores(suite, last) | {"curve": curve}, last


def raced(title: str, name: str, seconds: float) -> dict[str, Any]:
    """one_run() as a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        out = f"{scratch}/run.npz"
        words = ["{python}", __file__, "--run", title, name, "--seconds", str(seconds), "--out", out]
        _, _, failed = run(shlex.join(words), "", Size(1, 1), 0, "")
        if failed:
            raise RuntimeError(f"{title} of {name}: {failed}")
        return dict(np.load(out))


def one_run(scope: Scope, title: str, name: str, seconds: float) -> dict[str, Any]:
    """Train, and draw at the marks: pictures (marks, seeds, H, W, C) with CPU seconds and steps, and what it took."""
    exemplar = exemplar_of(name, scope.side)
    learn = released if title == "released" else ours
    marks: list[tuple[float, int, np.ndarray]] = []
    parameters, memory = 0, 0.0
    for cpu, step, n, draw in learn(scope, exemplar, seconds):
        parameters, memory = n, peak()
        marks.append((cpu, step, np.stack([draw(exemplar.size, seed) for seed in scope.diverse])))
    cpu_began, wall_began = time.process_time(), time.perf_counter()
    draw(parse_size(scope.large), 1)
    took = {"large_cpu": time.process_time() - cpu_began, "large_wall": time.perf_counter() - wall_began}
    cpus, steps, pictures = zip(*marks, strict=True)
    found = {"cpu": np.array(cpus), "step": np.array(steps), "pictures": np.stack(pictures)}
    of_run = {"per_second": steps[-1] / cpus[-1], "parameters": parameters}
    return found | of_run | took | {"memory_mib": memory, "memory_large_mib": peak()}


def peak() -> float:
    """MiB, of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


Marks = Iterator[tuple[float, int, int, Draw]]  # CPU seconds, steps, parameters, what draws


class Released:
    """The released way to train; see the module's docstring."""

    def __init__(self, u: Tensor, settings: Published, seed: int) -> None:
        """u: the exemplar (1, C, h, w) in [0, 1]."""
        self.settings, self.random = settings, torch.Generator().manual_seed(seed)
        self.size = Size(u.shape[2], u.shape[3])
        self.design = Design("ulyanov", 6, 2, u.shape[1], 3)
        self.network = make_generator(self.design, self.random).train()
        for one in self.network.convolutions():  # drawn as torch does, like theirs
            torch.nn.init.kaiming_uniform_(one.weight, a=5**0.5, generator=self.random)
        self.network.out.bias.requires_grad_(False)  # is 0: theirs has none
        self.learned = [p for p in self.network.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(self.learned, lr=settings.learning_rate)
        self.y = atoms(u, settings, seed)
        self.psi = [torch.zeros(len(y)) for y in self.y]

    def picture(self, size: Size, random: torch.Generator) -> Tensor:
        windows = self.network.windows(Region(0, 0, size.height, size.width))
        shapes = [(1, 3, region.height, region.width) for region in self.network.noise_regions(windows)]
        found: Tensor = self.network([torch.rand(shape, generator=random) for shape in shapes], windows)
        return found

    def points(self, u: Tensor) -> list[Tensor]:
        scales = gaussian_pyramid(u, self.settings.n_scales, periodic=False)
        return [patches(v, self.settings.patch_size, periodic=False) for v in scales]

    def step(self) -> float:
        u, settings = self.picture(self.size, self.random), self.settings
        x = self.points(u)
        triples = list(zip(self.psi, x, self.y, strict=True))
        self.psi = [ascend(psi, x_s.detach(), y_s, settings, self.random) for psi, x_s, y_s in triples]
        few = [some(x_s, settings.n_samples, self.random) for x_s in x]
        loss = torch.stack([dual_value(*xyp) for xyp in zip(few, self.y, self.psi, strict=True)]).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return loss.item()

    @torch.no_grad()
    def draw(self, size: Size, seed: int) -> np.ndarray:
        u = self.picture(size, torch.Generator().manual_seed(seed))[0]
        return (u.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def released(scope: Scope, exemplar: Picture, seconds: float) -> Marks:
    Released(planes(exemplar), scope.released, 1).step()  # warms up
    began = time.process_time()
    training, steps = Released(planes(exemplar), scope.released, 0), 0
    parameters = sum(p.numel() for p in training.learned)
    for share in scope.marks:
        while time.process_time() - began < share * seconds:
            training.step()
            steps += 1
        paused = time.process_time()
        yield paused - began, steps, parameters, training.draw
        began += time.process_time() - paused


def ours(scope: Scope, exemplar: Picture, seconds: float) -> Marks:
    config = scope.ours
    trial = Training(GotexNet(exemplar, config), 1)
    for i in range(config.memory):
        trial.step(i)
    began = time.process_time()
    for i in range(config.memory, scope.trial):
        trial.step(i)
    a_step = (time.process_time() - began) / (scope.trial - config.memory)
    began = time.process_time()
    trial.model()  # on the clock: the last mark has to end with the seconds
    config = replace(config, steps=max(1, int((seconds - (time.process_time() - began)) / a_step)))
    del trial
    began, steps = time.process_time(), 0
    training = Training(GotexNet(exemplar, config), 0)
    parameters = sum(p.numel() for p in training.network.parameters())
    for share in scope.marks:
        while steps < share * config.steps:
            training.step(steps)
            steps += 1
        trained = time.process_time()
        model = training.model()
        paused = time.process_time()
        yield paused - began, steps, parameters, lambda size, seed: model.synthesise(size, seed=seed).pixels  # noqa: B023
        began += time.process_time() - trained  # of models only the one that is drawn from counts


class Judge(bench_gotex.Judge):
    """The common score, of pictures that do not wrap."""

    def __call__(self, u: Tensor) -> dict[str, Any]:
        x = [patches(v, self.w, periodic=False).contiguous() for v in gaussian_pyramid(u, self.n, periodic=False)]
        found = [self.value(*xy) for xy in zip(x, self.all, strict=True)]
        return {
            "common": round(float(np.mean([v for v, _ in found])), 5),
            "scales": [round(v, 5) for v, _ in found],
            "mass_error": round(max(e for _, e in found), 3),
        }


def scores(suite: Suite, pictures: list[np.ndarray]) -> dict[str, Any]:
    """Of the first picture, and DIV over all of them."""
    row = suite.row("picture", to_unit(pictures[0]), others=[to_unit(p) for p in pictures] if pictures[1:] else ())
    div = {key: row.values[key] for key in ("div_pixel", "div_shift")}
    return bench_gotex.rounded(row) | {key: None if v is None else round(float(v), 4) for key, v in div.items()}


def compared(records: list[dict[str, Any]]) -> dict[str, Any]:
    """By exemplar and run: when a mark first has the released run's last score, or its best, and the share of that."""
    found: dict[str, Any] = {}
    for record in records:
        if "curve" not in record:
            continue
        released = next(r for r in records if (r["exemplar"], r["run"]) == (record["exemplar"], "released"))
        there = {}
        for name, goal in (("last", released), ("best", min(released["curve"], key=lambda m: m["common"]))):
            at = [m["cpu"] for m in record["curve"] if m["common"] <= goal["common"]]
            there[f"{name}_reached"] = at[0] if at else None
            there[f"{name}_ratio"] = round(at[0] / goal["cpu"], 4) if at else None
        keys = ("cpu", "step", "common", "sharp", "div_pixel", "div_shift", "per_second", "memory_mib", "large_cpu")
        found.setdefault(record["exemplar"], {})[record["run"]] = {k: record[k] for k in keys} | there
    return found


if __name__ == "__main__":
    main()
