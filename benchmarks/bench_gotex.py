"""GOTEX: a race of its published algorithm with ours, its losses side by side, pictures and scores, cost by size.

    python benchmarks/bench_gotex.py --out results.json --sheet sheet.png

*race*: published_gotex.py against texsyn's gotex from the top left 128x128 pixels of four exemplars, all judged by one
score that neither minimises: the transport of all patches of the picture to all patches of the exemplar, 4x4, at four
scales of the published pyramid, each weighing a quarter, by potentials that texsyn.ot.semidiscrete finds from nothing
each time. `released` is the same onto the 500 patches that the published run drew. Clocks are CPU seconds of one thread
after warming up, from the exemplar's pixels on; scoring is not on them. Memory is the peak of a process for each run.
*losses*: transport, sliced and Gram between patches and random features, same start and optimiser. *sheet*: methods
side by side at 256x256, with the texture suite. *cost*: the default by size.

brick, grass and gravel come with scikit-image under CC0, ihc with no known copyright restrictions.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_synth import OPTIONS, OURS, machine, run
from published_gotex import Published, atoms, gaussian_pyramid, patches, synthesise
from torch import Tensor

import texsyn
from texsyn.images import Picture, Size, load, parse_size, save, to_unit
from texsyn.metrics.suite import Row, Suite
from texsyn.models.gotex import DEFAULT_STEPS, Gotex, GotexConfig, Order
from texsyn.ot.nearest import NearestIndex
from texsyn.ot.semidiscrete import from_points, solve
from texsyn.picture_descent import descend, project

Mark = Callable[[int, Tensor], None]  # (steps done, picture (C, H, W))
SCORES = ("psw1", "psw2", "psw4", "psw8", "psw_floor", "spec", "octave", "precision", "recall", "coverage", "copy",
          "self", "rep", "sharp", "colour")  # fmt: skip


@dataclass(frozen=True)
class Scope:
    """How much is measured; QUICK is for tests of the benchmark itself."""

    exemplars: tuple[str, ...] = ("brick", "grass", "gravel", "ihc")
    side: int = 128  # of exemplars and pictures of race and losses
    published: Published = field(default_factory=Published)
    #: steps after which pictures are judged; turns of projection at full size, 0 after the coarser ones
    of_published: tuple[int, ...] = (50, 100, 200, 400)
    of_projection: tuple[int, ...] = (0, 1, 2, 10)
    of_adam: tuple[int, ...] = (30, 100, 300)
    draws: int = 128  # the judge finds a potential from so many patches an atom, at coarse scales thrice as many
    large: int = 256  # side of exemplars of sheet and cost, and of the sheet's pictures
    sizes: tuple[str, ...] = ("64x64", "128x128", "256x256", "512x512", "1024x1024")
    n_lbfgs: int = 200
    #: runs of the race, all of them if empty
    only: tuple[str, ...] = ()


TINY = Published(n_scales=2, n_atoms=50, n_samples=50, n_outer=4)
QUICK = Scope(("grass",), 48, TINY, (2, 4), (0, 1), (1, 2), 4, 48, ("48x48",), 10, ("published", "ours-500"))


def runs(scope: Scope) -> dict[str, Published | GotexConfig]:
    """The competitors of the race by name."""
    paper = GotexConfig(patch_size=4, n_scales=scope.published.n_scales, max_atoms=2000)
    few = replace(paper, max_atoms=scope.published.n_atoms)
    return {
        "published": scope.published,
        "ours-500-noise": replace(few, start="noise"),
        "ours-500": few,
        "ours-2000-noise": replace(paper, start="noise"),
        "ours-2000": paper,
        "ours-default": GotexConfig(),
        "ours-2000-adam": replace(paper, optimiser="adam", n_steps=max(scope.of_adam)),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="race,losses,sheet,cost", help="comma-separated; others stay as in --out")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write: a row an exemplar, a column a method")
    parser.add_argument("--net-minutes", type=float, default=0.0, help="train gotex-net so long for the sheet")
    parser.add_argument("--quick", action="store_true", help="small pictures and few steps, for a test")
    parser.add_argument("--run", nargs=2, metavar=("NAME", "EXEMPLAR"), help="one run of the race, to --out as .npz")
    args = parser.parse_args(arguments)

    torch.set_num_threads(1)
    scope = QUICK if args.quick else Scope()
    if args.run:
        return one_run(scope, *args.run, args.out)
    parts = {
        "race": lambda: race(scope, args.quick),
        "losses": lambda: losses(scope),
        "sheet": lambda: sheet(scope, args.net_minutes, args.sheet),
        "cost": lambda: cost(scope),
    }
    for part in args.parts.split(","):
        if part not in parts:
            parser.error(f"--parts {part}: accepted are {', '.join(parts)}")
        found = {"about": machine(), **parts[part]()}
        if args.out:
            kept = json.loads(args.out.read_text()) if args.out.exists() else {}
            args.out.write_text(json.dumps(kept | {part: found}, indent=1) + "\n")
    return None


def exemplar_of(name: str, side: int, *, beside: bool = False) -> Picture:
    """The top left corner of a picture that comes with scikit-image, or what is on the right of that."""
    left = side if beside else 0
    return load(np.ascontiguousarray(load(f"skimage:{name}").pixels[:side, left : left + side]))


def planes(picture: Picture) -> Tensor:
    """(1, C, H, W) in [0, 1]."""
    return torch.from_numpy(to_unit(picture.pixels)).permute(2, 0, 1)[None].float()


# ------------------------------------------------------------------------------------------------------------ the race


def race(scope: Scope, quick: bool) -> dict[str, Any]:
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in scope.exemplars:
            exemplar = exemplar_of(name, scope.side)
            judge, suite = Judge(exemplar, scope), Suite(to_unit(exemplar.pixels))
            other = exemplar_of(name, scope.side, beside=True)
            records.append({"exemplar": name, "run": "other crop", **judge(planes(other)), **scores(suite, other)})
            print(json.dumps(records[-1]), flush=True)
            for title in scope.only or runs(scope):
                memory, found = raced(title, name, quick, f"{scratch}/run.npz")
                last = load(found["u"][-1].transpose(1, 2, 0).clip(0, 1))
                curve = [
                    {"step": int(k), "cpu": round(float(t), 3), **judge(torch.from_numpy(u)[None])}
                    for k, t, u in zip(found["k"], found["t"], found["u"], strict=True)
                ]
                about = {"exemplar": name, "run": title, "memory_mib": round(memory, 1), **curve[-1]}
                records.append(about | scores(suite, last) | {"own_loss": found["loss"].round(4).tolist()})
                print(json.dumps(records[-1]), flush=True)
                records[-1]["curve"] = curve
    summary = compared(records)
    print(json.dumps(summary, indent=1))
    return {"side": scope.side, "seed": 0, "summary": summary, "records": records}


def raced(title: str, name: str, quick: bool, out: str) -> tuple[float, Any]:
    """Peak MiB of one run as a process of its own; its pictures u with the steps k and CPU seconds t they took."""
    words = ["{python}", __file__, "--run", title, name, "--out", out] + ["--quick"] * quick
    _, memory, failed = run(shlex.join(words), "", Size(1, 1), 0, "")
    if failed:
        raise RuntimeError(f"{title} of {name}: {failed}")
    return memory, np.load(out)


def one_run(scope: Scope, title: str, name: str, out: Path) -> None:
    """A competitor's run; its pictures after the steps that are judged go to out."""
    settings, exemplar = runs(scope)[title], exemplar_of(name, scope.side)
    size, small = (scope.side, scope.side), load(exemplar.pixels[:48, :48])
    marks: list[tuple[int, float, np.ndarray]] = []
    own_loss: list[float] = []
    if isinstance(settings, Published):
        synthesise(planes(small), (48, 48), replace(settings, n_scales=2, n_outer=2), 0, lambda k, u, loss: None)
        began = time.process_time()

        def on_step(k: int, u: Tensor, loss: float) -> None:
            own_loss.append(loss)
            if k in scope.of_published:
                marks.append((k, time.process_time() - began, u[0].numpy().copy()))

        synthesise(planes(exemplar), size, settings, 0, on_step)
    else:
        at = scope.of_projection if settings.descent == "projection" else scope.of_adam
        ours(small, replace(settings, n_steps=1, n_scales=2), Size(48, 48), lambda k, u: None)  # compiles, loads
        began = time.process_time()

        def mark(k: int, u: Tensor) -> None:
            if k in at:
                marks.append((k, time.process_time() - began, u.numpy().copy()))

        own_loss += ours(exemplar, settings, Size(*size), mark)
    shown = own_loss[:1] + own_loss[99::100] if isinstance(settings, Published) else own_loss[:1] + own_loss[-1:]
    np.savez(out, loss=shown, **{key: np.stack(v) for key, v in zip("ktu", zip(*marks, strict=True), strict=True)})


def ours(exemplar: Picture, config: GotexConfig, size: Size, mark: Mark, seed: int = 0) -> list[float]:
    """texsyn's gotex turn by turn, its pictures shown to mark(turns done, u); the losses. Same bits as synth()."""
    model = Gotex(exemplar, config)
    features, inner = model._features(size)
    problem = model._problem(features, inner, Order(), seed, "xy", 1)
    u, n = model._start(inner, seed, Order()), config.n_steps or DEFAULT_STEPS[config.descent]
    if config.descent == "projection":
        found = project(u, problem, n_turns=0, n_coarse=config.n_coarse)
        values = list(found.values)
        mark(0, found.u)
        for k in range(n):
            found = project(found.u, problem, n_turns=1, n_coarse=0)
            values += found.values
            mark(k + 1, found.u)
        return values
    loss, count = problem.terms[0].loss, iter(range(n))
    improve = loss.improve

    def spied(u: Tensor, *, periodic: bool = False) -> None:
        mark(next(count), u)
        improve(u, periodic=periodic)

    loss.improve = spied  # type: ignore[method-assign]
    found = descend(u, problem, optimiser=config.descent, n_steps=n)
    mark(n, found.u)
    return found.values


class Judge:
    """The common score of pictures (1, C, H, W) that wrap, and the released loss with its potentials solved."""

    def __init__(self, exemplar: Picture, scope: Scope) -> None:
        self.w, self.n, self.draws = scope.published.patch_size, scope.published.n_scales, scope.draws
        scales = gaussian_pyramid(planes(exemplar), self.n, periodic=False)
        self.all = [patches(v, self.w, periodic=False).contiguous() for v in scales]
        self.few = [y.contiguous() for y in atoms(planes(exemplar), scope.published, 0)]

    def __call__(self, u: Tensor) -> dict[str, Any]:
        x = [patches(v, self.w, periodic=True).contiguous() for v in gaussian_pyramid(u, self.n, periodic=True)]
        common = [self.value(*xy) for xy in zip(x, self.all, strict=True)]
        released = [self.value(*xy) for xy in zip(x, self.few, strict=True)]
        scales = [round(v, 5) for v, _ in common]
        return {
            "common": round(float(np.mean([v for v, _ in common])), 5),
            "scales": scales,
            "mass_error": round(max(e for _, e in common), 3),
            "released": round(float(np.mean([v for v, _ in released])), 5),
        }

    def value(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        """Semi-dual value of x onto y, all of both, a lower bound of the transport cost; and the mass error left.

        The potential is found among 8-bit codes, which is faster; the value is of the numbers themselves.
        """
        low, gain = float(y.min()), 255 / float(y.max() - y.min())
        codes = [((z - low) * gain).round().clamp(0, 255) - 128 for z in (x, y)]
        n = max(2**15, len(y) * (self.draws if len(y) > 5000 else 3 * self.draws))
        found = solve(from_points(codes[0]), codes[1], tol=0.05, max_samples=n, seed=0, centre=False)
        index, psi = NearestIndex(y), found.psi / gain**2
        index.set_bias(psi)
        j, least = index.argmin(x, return_value=True)
        mass = torch.bincount(j, minlength=len(y)) / len(x)
        value = float(least.mean(dtype=torch.float64)) + float(psi.mean(dtype=torch.float64))
        return value, float((mass - 1 / len(y)).abs().sum())


def scores(suite: Suite, picture: Picture) -> dict[str, float | None]:
    return rounded(suite.row("picture", to_unit(picture.pixels)))


def rounded(row: Row) -> dict[str, float | None]:
    return {key: None if row.values[key] is None else round(float(row.values[key]), 4) for key in SCORES}  # type: ignore[arg-type]


def compared(records: list[dict[str, Any]]) -> dict[str, Any]:
    """By run and exemplar: when a run first has the published run's last score, and the share of its seconds."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(r["exemplar"] for r in records):
        of_name = {r["run"]: r for r in records if r["exemplar"] == name}
        goal = of_name["published"]
        for title, record in of_name.items():
            if "curve" not in record:
                continue
            there = {}
            for score in ("common", "released"):
                at = [m["cpu"] for m in record["curve"] if m[score] <= goal[score]]
                there |= {f"{score}_reached": at[0] if at else None}
                there |= {f"{score}_ratio": round(at[0] / goal["cpu"], 4) if at else None}
            keys = ("cpu", "common", "released", "memory_mib", "sharp")
            found.setdefault(title, {})[name] = {key: record[key] for key in keys} | there
    return found


# ---------------------------------------------------------------------------------------------------- losses, and sheet


def losses(scope: Scope) -> dict[str, Any]:
    """transport, sliced, Gram x patches, random features by L-BFGS from one start, and projection where it can."""
    paper = {"patch_size": 4, "max_atoms": 2000, "n_scales": scope.published.n_scales}
    smooth = paper | {"optimiser": "lbfgs", "n_steps": scope.n_lbfgs}
    settings = {
        f"{loss}, {features}": smooth | {"loss": loss, "features": features}
        for features in ("patches", "random")
        for loss in ("transport", "sliced", "gram")
    }
    settings |= {"transport, patches, projection": paper}
    records = []
    for name in scope.exemplars:
        exemplar = exemplar_of(name, scope.side)
        suite = Suite(to_unit(exemplar.pixels))
        records += anchors(suite, name)
        for title, how in settings.items():
            texsyn.synth(load(exemplar.pixels[:48, :48]), "48x48", method="gotex", device="cpu", **how | {"n_steps": 1})
            records.append(made(title, name, exemplar, suite, scope.side, "gotex", how)[0])
            print(json.dumps(records[-1]), flush=True)
    summary = means(records)
    print(table(summary))
    return {"side": scope.side, "seed": 0, "summary": summary, "records": records}


def made(
    title: str, name: str, exemplar: Picture, suite: Suite, side: int, method: str, how: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray]:
    """A picture by synth with its scores and CPU seconds."""
    began = time.process_time()
    result = texsyn.synth(exemplar, f"{side}x{side}", method=method, seed=0, device="cpu", **how)
    cpu = time.process_time() - began
    pixels = to_unit(result.pixels)
    row = suite.row(title, pixels, source=None if result.source is None else result.source[..., :2])
    return {"exemplar": name, "run": title, "cpu": round(cpu, 2), **rounded(row), "flags": list(row.flags)}, pixels


def anchors(suite: Suite, name: str) -> list[dict[str, Any]]:
    """What held-out halves, the exemplar itself, random phase and shuffled blocks score."""
    return [{"exemplar": name, "run": f"[{row.name}]", "cpu": None, **rounded(row)} for row in suite.anchor_rows()]


def sheet(scope: Scope, net_minutes: float, path: Path | None) -> dict[str, Any]:
    """Methods at 256x256 from exemplars of that size."""
    side = scope.large
    methods: dict[str, tuple[str, dict[str, Any]]] = {
        "texto": ("texto", {}),
        "texto-2018": ("texto-2018", {}),
        "gotex": ("gotex", {}),
        "gotex 4x4, 2000 atoms": ("gotex", {"patch_size": 4, "max_atoms": 2000}),
    }
    if net_minutes > 0:
        methods["gotex-net"] = ("gotex-net", {"max_minutes": net_minutes})
    records, rows = [], []
    for name in scope.exemplars:
        exemplar = exemplar_of(name, side)
        suite = Suite(to_unit(exemplar.pixels))
        records += anchors(suite, name)
        pictures = [to_unit(exemplar.pixels)]
        for title, (method, how) in methods.items():
            record, pixels = made(title, name, exemplar, suite, side, method, how)
            records.append(record)
            pictures.append(pixels)
            print(json.dumps(record), flush=True)
        rows.append(np.concatenate([cell(p) for p in pictures], 1))
    if path:
        save(load(np.concatenate(rows)), path, overwrite=True)
    summary = means(records)
    print(table(summary))
    return {"side": side, "seed": 0, "net_minutes": net_minutes, "summary": summary, "records": records}


def cell(pixels: np.ndarray) -> np.ndarray:
    """(H + 6, W + 6, 3) uint8, white on the right and below."""
    colours = np.broadcast_to(pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1], (*pixels.shape[:2], 3))
    codes = (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.pad(codes, ((0, 6), (0, 6), (0, 0)), constant_values=255)


def means(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Plain means over exemplars by run, of what all of them have; |rep| for rep."""
    found: dict[str, Any] = {}
    for title in dict.fromkeys(r["run"] for r in records):
        of_run = [r for r in records if r["run"] == title]
        for key in ("cpu", *SCORES):
            values = [r[key] for r in of_run]
            complete = all(v is not None for v in values)
            mean = float(np.mean(np.abs(values) if key == "rep" else values)) if complete else None
            found.setdefault(title, {})[key] = None if mean is None else round(mean, 3)
    return found


def table(summary: dict[str, Any]) -> str:
    """The means as a Markdown table."""
    keys = list(next(iter(summary.values())))
    rows = ["| | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for title, values in summary.items():
        rows.append(f"| {title} | " + " | ".join("-" if v is None else f"{v:.4g}" for v in values.values()) + " |")
    return "\n".join(rows)


# ---------------------------------------------------------------------------------------------------------------- cost


def cost(scope: Scope) -> dict[str, Any]:
    """The default from 256x256 exemplars of one and three channels, each picture by a process of its own."""
    records = []
    command = "{python} -m texsyn " + OURS["gotex"] + OPTIONS
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("grass", "ihc")[: len(scope.exemplars)]:
            for size in map(parse_size, scope.sizes):
                cpu, memory, failed = run(command, f"skimage:{name}:{scope.large}", size, 0, f"{scratch}/out.png")
                channels = exemplar_of(name, 1).channels
                record = {"exemplar": name, "channels": channels, "size": str(size), "failed": failed}
                records.append(record | {"cpu": round(cpu, 2), "memory_mib": round(memory, 1)})
                print(json.dumps(records[-1]), flush=True)
    return {"seed": 0, "records": records}


if __name__ == "__main__":
    main()
