"""Are GANs created equal: every loss on digits under one budget; and modes that SGD loses on eight Gaussians.

    python benchmarks/bench_gan_losses.py --part losses --out results.json --sheet sheet.png
    python benchmarks/bench_gan_losses.py --part collapse --out results.json

*losses*, in the manner of Lucic, Kurach, Michalski, Gelly and Bousquet 2018, "Are GANs created equal? A large-scale
study": one architecture, a small draw of hyper-parameters, as many for every loss, then several seeds at the best. All
losses get the same draws of rate, beta1, turns of the critic, strength and batch normalisation in the discriminator,
as far as they have use for them; draw 0 is DCGAN's published numbers, and over them those that a loss was published
with. A draw is judged by one run; the best is trained again from fresh seeds, and its mean and spread are of those
alone, so that luck in the draw is not counted.

The budget is real pictures that the discriminator is shown: a critic with five turns has a fifth of the generator's
updates. Such runs repeat to the bit on a busy machine, where equal seconds would not. Seconds stand beside: penalties
of slopes cost more a picture. The semi-discrete critic is shown no batches; its turns count as such, made or not.

Judged are two distances (their heads say what they see): the classifier Frechet distance of texsyn.metrics, in units of
the variance of the data's features, and that of pixels. Each is the mean of two, between a half of the data and as many
pictures made; the floor is that between the halves. Draws are chosen by the classifier's. Neither sees copying.

*collapse*: two losses with SGD, SGD with momentum 0.9, and Adam, at three rates each that stay or fall to 0, and R1's
at falling ones, on eight Gaussians of the plane. A mode is reached by a tenth of its share of good samples, those that
are within three standard deviations of it, and is nearly reached by as many within 0.5, a third of the way to the next.
The networks are those of examples/13_gan_toy.py; weights are not averaged.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from bench_synth import machine
from torch import Tensor

from texsyn.datasets import open_dataset
from texsyn.datasets.dataset import Dataset
from texsyn.gan.architectures import OBJECTIVES, SEMI_DISCRETE, GanConfig, configure
from texsyn.gan.image_model import ImageModel, grid_of
from texsyn.gan.image_training import ImageGan
from texsyn.gan.plane_picture import coverage
from texsyn.images import save
from texsyn.metrics.classifier_features import class_coverage, classifier_frechet, pictures_of, train_classifier
from texsyn.metrics.pixel_frechet import pixel_frechet

DRAWN, DRAWS = 2018, 7  # seed of the draws, and how many there are beside a loss's own numbers
RATES, WEIGHTS, CLIPS, DUAL_RATES = (1e-4, 3e-3), (0.1, 100.0), (0.003, 0.3), (1e-3, 1e-1)  # log-uniform
BETAS, TURNS = (0.0, 0.5, 0.9), (1, 2, 5)
SHARES = (0.1, 0.25, 0.5, 1.0)  # of the budget, at which a run is judged
TUNING, FRESH = 100, 0  # first seeds of the two kinds of runs
#: what no draw changes, and draw 0 where a loss has nothing else; not a recipe's numbers, which may move
NETWORKS: dict[str, dict[str, Any]] = {
    "dcgan": {"latent": 64, "features": 32, "max_features": 128, "batch": 64, "average": 5000.0},
    "mlp": {"latent": 32, "features": 128, "max_features": 512, "batch": 64, "average": 5000.0},
}
PUBLISHED = {"rate": 2e-4, "critic_rate": 2e-4, "beta1": 0.5, "beta2": 0.999}
#: of the plane: rates of SGD with momentum are those of SGD by how far it goes in the long run, ten times as far
OPTIMISERS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "sgd": ({"optimiser": "sgd", "beta1": 0.0}, (0.1, 0.03, 0.3)),
    "sgd, momentum 0.9": ({"optimiser": "sgd", "beta1": 0.9}, (0.01, 0.003, 0.03)),
    "adam": ({"optimiser": "adam", "beta1": 0.5}, (3e-3, 1e-3, 1e-2)),
}
PLANE: dict[str, Any] = {
    "channels": 2, "height": 1, "width": 1, "latent": 4, "features": 64, "batch": 128, "average": 0.0, "beta2": 0.99,
}  # fmt: skip
PLANE_LOSSES: dict[str, dict[str, Any]] = {"saturating": {}, "non-saturating": {}, "r1": {"weight": 0.3}}


@dataclass(frozen=True)
class Scope:
    """How much is measured; QUICK is for tests of the benchmark itself. Pictures are real ones, shown."""

    images: int = 64_000
    draws: int = 1 + DRAWS
    seeds: int = 4
    classifier_steps: int = 800
    plane_images: int = 160_000
    plane_rates: int = 3
    plane_seeds: int = 5
    settings: tuple[tuple[str, Any], ...] = ()


FULL = Scope()
QUICK = Scope(640, 2, 2, 40, 640, 1, 1, (("features", 8), ("max_features", 8), ("latent", 8)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("losses", "collapse"), help="one of the two; both by default")
    parser.add_argument("--arch", choices=NETWORKS, default="dcgan", help="of the losses; others stay as in --out")
    parser.add_argument("--losses", help="comma-separated; others stay as in --out")
    parser.add_argument("--out", type=Path, help="JSON to write, after every loss")
    parser.add_argument(
        "--sheet", type=Path, help="PNG to write: for every loss a row of its best draw, one of its worst"
    )
    parser.add_argument("--quick", action="store_true", help="few steps, for a test")
    args = parser.parse_args(arguments)

    torch.set_num_threads(1)
    scope, known = QUICK if args.quick else FULL, list(OBJECTIVES)
    kept = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    runs, points, floor = kept.get("losses", []), kept.get("collapse", []), kept.get("floor", {})

    def keep() -> None:
        found = {"about": machine() | {"scope": asdict(scope)}, "floor": floor, "summary": summary(runs, points)}
        found |= {"draws": [draw(k) for k in range(scope.draws)], "losses": runs, "collapse": points}
        if args.out:
            args.out.write_text(json.dumps(found, indent=1) + "\n")

    rows = []
    if args.part != "collapse":
        judge = Judge(open_dataset("digits"), scope.classifier_steps)
        floor = judge.floor()
        for name in args.losses.split(",") if args.losses else known:
            runs = [r for r in runs if (r["arch"], r["loss"]) != (args.arch, name)]
            done = list(tried(scope, args.arch, name, judge))
            runs += [record for record, _ in done]
            rows += shown(done)
            print(json.dumps(summary(runs, [])["losses"][args.arch][name]), flush=True)
            keep()
    if args.part != "losses":
        points = []
        for record in collapse(scope):
            points.append(record)
            keep()
        print(json.dumps(summary([], points)["collapse"], indent=1))
    if args.sheet and rows:
        save(grid_of(torch.cat(rows), len(rows[0])), args.sheet, overwrite=True)


# ------------------------------------------------------------------------------------------------------- draws


def draw(k: int) -> dict[str, Any]:
    """Hyper-parameters number k, the same for all losses; strength from 0 to 1 is of whatever weight a loss has.

    Number 0 is empty: what is published. The others are a Latin hypercube: of each number's range every
    seventh is drawn from once, since seven independent draws left most rates out.
    """
    if k == 0:
        return {}
    random = torch.Generator().manual_seed(DRAWN)
    columns = []
    for _ in range(5):
        places = torch.randperm(DRAWS, generator=random) + torch.rand(DRAWS, generator=random, dtype=torch.float64)
        columns.append(float(places[k - 1]) / DRAWS)
    rate, strength, beta, turns, normalised = columns
    return {
        "rate": log_uniform(rate, RATES), "strength": round(strength, 4), "beta1": BETAS[int(beta * len(BETAS))],
        "critic_turns": TURNS[int(turns * len(TURNS))], "normalised": normalised < 0.5,
    }  # fmt: skip


def log_uniform(u: float, between: tuple[float, float]) -> float:
    """u from 0 to 1 as a number between two, to three digits.

    >>> log_uniform(0.5, (0.1, 10.0))
    1.0
    """
    low, high = (math.log(end) for end in between)
    return float(f"{math.exp(low + u * (high - low)):.3g}")


def settings_of(name: str, drawn: dict[str, Any]) -> dict[str, Any]:
    """What a draw sets of a loss: RMSprop has no beta1, and a loss that forbids normalisation keeps doing so."""
    if not drawn:
        return {}
    found = {key: drawn[key] for key in ("rate", "beta1", "critic_turns", "normalised")} | {
        "critic_rate": drawn["rate"]
    }
    own = OBJECTIVES[name]
    if "normalised" in own:
        found["normalised"] = own["normalised"]
    if own.get("penalty", "none") != "none":
        found["weight"] = log_uniform(drawn["strength"], WEIGHTS)
    if "clip" in own:
        found["clip"] = log_uniform(drawn["strength"], CLIPS)
    if name == SEMI_DISCRETE:
        found["critic_rate"] = log_uniform(drawn["strength"], DUAL_RATES)
    return found


# ------------------------------------------------------------------------------------------------------ judging


class Judge:
    """Two halves of labelled pictures, and the distances of made ones from them."""

    def __init__(self, data: Dataset, steps: int) -> None:
        self.data, self.classifier = data, train_classifier(data, seed=0, steps=steps)
        order = torch.randperm(data.n, generator=torch.Generator().manual_seed(0))
        self.n = data.n // 2
        self.halves = [pictures_of(data, part) for part in (order[: self.n], order[self.n : 2 * self.n])]

    def floor(self) -> dict[str, Any]:
        """What the data score: between the halves."""
        one, other = self.halves
        return {
            "classifier": round(classifier_frechet(self.classifier, one, other), 5),
            "pixel": round(pixel_frechet(one, other), 5),
            **self._counts(torch.cat(self.halves)),
            "n": self.n,
            "classifier_accuracy": round(self.classifier.accuracy, 4),
            "classifier_held_out": self.classifier.n_held_out,
        }

    def scores(self, model: ImageModel) -> dict[str, Any]:
        """Of as many pictures as the data's two halves have."""
        made = model.many(2 * self.n, seed=10_000)
        parts = list(zip(self.halves, made.split(self.n), strict=True))
        return {
            "classifier": round(statistics.mean(classifier_frechet(self.classifier, a, b) for a, b in parts), 5),
            "pixel": round(statistics.mean(pixel_frechet(a, b) for a, b in parts), 5),
            **self._counts(made),
        }

    def _counts(self, pictures: Tensor) -> dict[str, Any]:
        """Classes with a tenth of their share of confident pictures, and the share of confident ones."""
        least = max(1, len(pictures) // (10 * len(self.classifier.classes)))
        found = class_coverage(self.classifier, pictures, least=least)
        return {"reached": found.reached, "confident": round(found.confident, 4)}


# ------------------------------------------------------------------------------------------------------- losses

Record = dict[str, Any]


def tried(scope: Scope, arch: str, name: str, judge: Judge) -> Iterator[tuple[Record, Tensor | None]]:
    """Records with pictures of a loss: every draw once, then the best of them from fresh seeds."""
    found = []
    for k in range(scope.draws):
        found.append(trained(scope, arch, name, k, TUNING, judge))
        yield found[-1]
    best = min((record for record, _ in found), key=score)
    for seed in range(FRESH, FRESH + scope.seeds):
        yield trained(scope, arch, name, best["draw"], seed, judge)


def score(record: Record) -> float:
    """What draws are chosen by: the distance at the end, infinite of a run that broke off."""
    return math.inf if record["diverged"] else float(record["curve"][-1]["classifier"])


def trained(scope: Scope, arch: str, name: str, k: int, seed: int, judge: Judge) -> tuple[Record, Tensor | None]:
    """One run, judged along its way, with some of its pictures; no more of it from the first number that is none."""
    data = judge.data
    settings = {"channels": data.channels, "height": data.height, "width": data.width, "images": scope.images}
    settings |= NETWORKS[arch] | dict(scope.settings) | PUBLISHED | OBJECTIVES[name] | settings_of(name, draw(k))
    config = configure(arch, objective=name, settings=settings)
    about = {
        "arch": arch,
        "loss": name,
        "draw": k,
        "seed": seed,
        "steps": config.steps,
        "settings": settings_of(name, draw(k)),
    }
    gan, seconds, curve = ImageGan(config, data, seed=seed), 0.0, []
    stops = {max(1, round(share * config.steps)): share for share in SHARES}
    try:
        for i in range(config.steps):
            began = time.process_time()
            gan.step(i)
            seconds += time.process_time() - began
            if i + 1 in stops:
                model = gan.model()
                curve.append({"share": stops[i + 1], **judge.scores(model)})
    except FloatingPointError as e:
        return about | {"cpu": round(seconds, 2), "diverged": str(e), "curve": curve}, None
    return about | {"cpu": round(seconds, 2), "diverged": "", "curve": curve}, model.many(16, seed=0)


def shown(done: list[tuple[Record, Tensor | None]]) -> list[Tensor]:
    """Pictures of the best and of the worst finished run over draws."""
    finished = [(score(record), made) for record, made in done if made is not None and record["seed"] == TUNING]
    if not finished:
        return []
    finished.sort(key=lambda pair: pair[0])
    return [made for _, made in (finished[0], finished[-1]) if made is not None]


# ----------------------------------------------------------------------------------------------------- collapse


def collapse(scope: Scope) -> Iterator[Record]:
    """Losses, optimisers, rates that stay or fall, and seeds on eight Gaussians."""
    data = open_dataset("gaussians8")
    for loss, optimiser, falls in itertools.product(PLANE_LOSSES, OPTIMISERS, (True, False)):
        if loss == "r1" and not falls:
            continue
        own, rates = OPTIMISERS[optimiser]
        for rate, seed in itertools.product(rates[: scope.plane_rates], range(scope.plane_seeds)):
            settings = PLANE | PLANE_LOSSES[loss] | own | {"rate": rate, "critic_rate": rate, "decay": falls}
            config = configure("mlp", objective=loss, settings=settings | {"images": scope.plane_images})
            about = {"loss": loss, "optimiser": optimiser, "rate": rate, "falls": falls, "seed": seed}
            yield about | {"steps": config.steps} | moved(config, data, seed)


def moved(config: GanConfig, data: Dataset, seed: int) -> Record:
    """Modes reached and the share of good samples after a training on points; 0 of each where it broke off."""
    gan, began = ImageGan(config, data, seed=seed), time.process_time()
    assert data.modes is not None
    assert data.sigma is not None
    try:
        for i in range(config.steps):
            gan.step(i)
        made = gan.model().many(N_POINTS, seed=0)
        if not bool(made.isfinite().all()):
            raise FloatingPointError("made points are no finite numbers")
    except FloatingPointError as e:
        return {"cpu": round(time.process_time() - began, 2), "diverged": str(e), "modes": 0, "good": 0.0}
    least = N_POINTS // (10 * len(data.modes))
    modes, good = coverage(made, data.modes, 3 * data.sigma, least=least)
    near, _ = coverage(made, data.modes, NEAR, least=least)
    cpu = round(time.process_time() - began, 2)
    return {"cpu": cpu, "diverged": "", "modes": modes, "good": round(good, 4), "modes_nearby": near}


N_POINTS = 2000
NEAR = 0.5  # modes are 1.5 apart


# --------------------------------------------------------------------------------------------------- what it says


def summary(runs: list[Record], points: list[Record]) -> dict[str, Any]:
    """By architecture the losses, the best first; of the plane, by loss and optimiser, every rate."""
    found: dict[str, Any] = {"losses": {}, "collapse": {}}
    for arch in dict.fromkeys(r["arch"] for r in runs):
        of_arch = {name: of_loss([r for r in runs if (r["arch"], r["loss"]) == (arch, name)]) for name in OBJECTIVES}
        ranked = sorted((pair for pair in of_arch.items() if pair[1]), key=lambda pair: rank(pair[1]))
        found["losses"][arch] = dict(ranked)
    for r in points:
        title = f"{r['loss']}, {r['optimiser']}, {'falling' if r['falls'] else 'constant'} rate"
        of_rates = found["collapse"].setdefault(title, {})
        alike = [s for s in points if all(s[key] == r[key] for key in ("loss", "optimiser", "rate", "falls"))]
        of_rates[f"{r['rate']:g}"] = {
            "modes": [s["modes"] for s in alike],
            "modes_nearby": [s.get("modes_nearby", 0) for s in alike],
            "good": round(statistics.mean(s["good"] for s in alike), 4),
            "diverged": sum(bool(s["diverged"]) for s in alike),
        }
    return found


def rank(of: dict[str, Any]) -> float:
    return float(of["classifier"]["mean"]) if of["classifier"] else math.inf


def of_loss(runs: list[Record]) -> dict[str, Any]:
    """Of the fresh runs mean and spread, of the draws the middle and the worst; none that broke off is among them."""
    if not runs:
        return {}
    tuning, fresh = ([r for r in runs if (r["seed"] >= TUNING) == first] for first in (True, False))
    draws = sorted(score(r) for r in tuning if not r["diverged"])
    done = [r for r in fresh if not r["diverged"]]
    best = fresh[0] if fresh else min(tuning, key=score)
    own = next(r for r in tuning if r["draw"] == 0)
    found: dict[str, Any] = {"draw": best["draw"], "settings": best["settings"], "steps": best["steps"]}
    for key in ("classifier", "pixel"):
        found[key] = spread([r["curve"][-1][key] for r in done])
    if done:
        found["reached"] = [r["curve"][-1]["reached"] for r in done]
        found["confident"] = round(statistics.mean(r["curve"][-1]["confident"] for r in done), 3)
        found["over_a_tenth"] = [round(r["curve"][-1]["classifier"] / r["curve"][0]["classifier"], 3) for r in done]
        found["cpu"] = round(statistics.median(r["cpu"] for r in done), 2)
    found["draws"] = {"best": draws[0], "median": statistics.median(draws), "worst": draws[-1]} if draws else {}
    found["published"] = None if own["diverged"] else score(own)
    found["diverged"] = {"draws": len(tuning) - len(draws), "fresh": len(fresh) - len(done)}
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Mean, standard deviation (n - 1), lowest and highest; nothing of nothing."""
    if not values:
        return {}
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    found = {"mean": statistics.mean(values), "deviation": deviation, "best": min(values), "worst": max(values)}
    return {key: round(value, 5) for key, value in found.items()}


if __name__ == "__main__":
    main()
