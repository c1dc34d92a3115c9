"""Do Wasserstein critics know the Wasserstein distance? Their estimates beside the true one, along training.

    python benchmarks/bench_wgan_estimates.py --out results.json --sheet sheet

Three kinds of critic teach the same generator (a perceptron, the same weights at the start) on the same data: a network
with clipped weights, one with a gradient penalty, and the dual potential of semi-discrete transport, without and with
entropic softening. Stanczuk, Etmann, Kreusser and Schoenlieb 2021, "Wasserstein GANs work because they fail (to
approximate the Wasserstein distance)", found that the first two are far from W1, and that exact transport from
mini-batches makes worse pictures.

True is W1 with the Euclidean distance between n pictures made and the n of the data, by POT's network simplex. Beside
it stands the sample-size floor: the same for n fresh points of the law, or, of digits, for n drawn from them with
replacement (a perfect generator of these data) and between two halves. What a critic says of the same pictures:

- *raw*: mean D(data) - mean D(made), the number that training with a penalty shows; of the potential H(psi), with
  softening the entropic one.
- *estimate*: what is a lower bound of W1 if all is well. Of a network raw / K, K the largest slope |grad D| met at the
  data, at what is made, and at mixtures of the two: a bound as far as no steeper place was missed. Of the potential
  H(psi) without softening, whatever it was trained with: a bound without an if.
- *batch*: no critic, but exact W1 between batches of the training's size, the mean of four: what a critic that sees
  nothing else could at best know.

Every kind has three settings of the knob that is its own (clip; weight of the penalty; rate of psi; epsilon), and the
one of least true W1 on a seed of its own is run from fresh seeds. All make the same number of generator steps, so that
CPU seconds differ; they are in the records. All rates fall as half a cosine: Adam's steps of a fixed length otherwise
shake psi at the end, and H with it, by far more than the W1 that is left. Judged at the end besides: modes and good
points; of digits the classifier Frechet distance and classes reached, by texsyn.metrics. Neither of the two distances
sees copying.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ot
import torch
from bench_synth import machine
from scipy.stats import spearmanr
from torch import Tensor

from texsyn.datasets import open_dataset
from texsyn.gan.dual_critic import DualCritic
from texsyn.gan.image_model import grid_of
from texsyn.gan.losses import LOSSES
from texsyn.gan.networks.design import Design
from texsyn.gan.networks.perceptron import perceptron
from texsyn.gan.penalties import clip_weights, gradient_penalty, slope
from texsyn.gan.plane_picture import coverage, plane_picture
from texsyn.gan.training import Adversarial, Phase, Player, Terms
from texsyn.images import load, save
from texsyn.metrics.classifier_features import class_coverage, classifier_frechet, train_classifier
from texsyn.training import cosine

Record = dict[str, Any]

#: the knob of each kind and the values that are tried
KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {
    "clip": ("c", (0.01, 0.03, 0.1)),
    "gp": ("weight", (0.1, 1.0, 10.0)),
    "dual": ("rate", (0.03, 0.1, 0.3)),
    "soft dual": ("epsilon", (0.02, 0.05, 0.2)),
}
TURNS = {"clip": 5, "gp": 5, "dual": 30, "soft dual": 10}  # updates of the critic for one of the generator
RATE, BATCH = 1e-3, 128  # of the generator and of critics that are networks
SOFT_RATE = 0.03  # of psi with softening, in units of the cost
TUNING = 100  # the seed that settings are chosen on


@dataclass(frozen=True)
class Scope:
    """How much is done; QUICK is for tests of the benchmark itself. at: generator steps after which it is judged."""

    n_points: int = 1024
    n_digits: int = 1797
    features: int = 128
    at: tuple[int, ...] = (20, 40, 80, 160, 320, 640, 1200)
    seeds: tuple[int, ...] = (0, 1, 2)
    tried: int = 3


FULL = Scope()
QUICK = Scope(64, 80, 8, (1, 3), (0,), 1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="gaussians8,digits", help="of the two, comma-separated; others stay in --out")
    parser.add_argument("--out", type=Path, help="JSON to write, after every kind of critic")
    parser.add_argument("--sheet", help="PNGs to write, SHEET_gaussians8.png and SHEET_digits.png: the runs of seed 0")
    parser.add_argument("--quick", action="store_true", help="few steps, for a test")
    args = parser.parse_args(arguments)

    torch.set_num_threads(1)
    scope = QUICK if args.quick else FULL
    kept = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    floors, runs = kept.get("floors", {}), kept.get("runs", [])

    def keep() -> None:
        found = {
            "about": machine() | {"scope": asdict(scope)},
            "floors": floors,
            "summary": summary(runs),
            "runs": runs,
        }
        if args.out:
            args.out.write_text(json.dumps(found, indent=1) + "\n")

    for name in args.data.split(","):
        case, shown = Case(name, scope), []
        floors[name] = case.floor()
        runs = [r for r in runs if r["data"] != name]
        for kind in KNOBS:
            for record, training in raced(case, kind):
                runs.append(record)
                if record["seed"] == scope.seeds[0]:
                    shown.append(case.picture(training))
            print(name, kind, json.dumps(summary(runs)[name][kind]), flush=True)
            keep()
        if args.sheet:
            save(load(np.concatenate(shown, 1)), f"{args.sheet}_{name}.png", overwrite=True)


# --------------------------------------------------------------------------------------------------- data, judging


class Case:
    """A set of data and everything that is said of what is made of it."""

    def __init__(self, name: str, scope: Scope) -> None:
        self.name, self.scope, self.data = name, scope, open_dataset(name)
        self.plane = self.data.kind == "points"
        n = scope.n_points if self.plane else scope.n_digits
        self.y = self.data.batch(torch.arange(n))
        self.classifier = None if self.plane else train_classifier(self.data, seed=0)

    def floor(self) -> Record:
        """What n draws of the law itself score, and of digits two halves of them."""
        n, random = len(self.y), torch.Generator().manual_seed(7)
        if self.plane:
            others = [self.data.batch(torch.arange(k * n, (k + 1) * n)) for k in (1, 2, 3)]
            return {"fresh": round(statistics.mean(w1(x, self.y) for x in others), 4), "n": n}
        again = [self.y[torch.randint(n, (n,), generator=random)] for _ in range(3)]
        one, other = self.y[torch.randperm(n, generator=random)].split(math.ceil(n / 2))
        halves = {"halves": round(w1(one, other), 4), "halves_classifier": self._classified(one, other)}
        return {"again": round(statistics.mean(w1(x, self.y) for x in again), 4), "n": n, **halves}

    def scores(self, made: Tensor) -> Record:
        """Of as many as the data are, beside W1."""
        if self.classifier is None:
            assert self.data.modes is not None
            assert self.data.sigma is not None
            least = max(1, len(made) // 80)
            modes, good = coverage(made, self.data.modes, 3 * self.data.sigma, least=least)
            near, nearby = coverage(made, self.data.modes, 0.3, least=least)
            return {"modes": modes, "good": round(good, 4), "modes_nearby": near, "nearby": round(nearby, 4)}
        found = class_coverage(self.classifier, unit(made), least=max(1, len(made) // 100))
        return {"classifier": self._classified(self.y, made), "classes": found.reached, "confident": found.confident}

    def _classified(self, one: Tensor, other: Tensor) -> float:
        assert self.classifier is not None
        return round(classifier_frechet(self.classifier, unit(one), unit(other)), 4)

    def picture(self, training: Training) -> np.ndarray:
        """The points on D's field, or rows of digits."""
        made = training.make(64 if not self.plane else 512, seed=5)
        if self.plane:
            with torch.no_grad():
                return plane_picture(training.critic, self.y[:512], made, reach=2.6, probability=False, radius=2.0)
        return np.repeat(grid_of(unit(made), 8).pixels, 3, 2)


def unit(x: Tensor) -> Tensor:
    return (x / 2 + 0.5).clamp(0, 1)


def w1(x: Tensor, y: Tensor) -> float:
    """Mean Euclidean distance under exact transport between two clouds, each with equal weights."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
    value, log = ot.emd2(a, b, torch.cdist(x, y).numpy(), numItermax=10**7, log=True)
    if log["warning"]:
        raise RuntimeError(f"POT: {log['warning']}")
    return float(value)


# -------------------------------------------------------------------------------------------------------- training


class Training:
    """A generator and one kind of critic in the loop of texsyn.gan.training."""

    def __init__(self, case: Case, kind: str, knob: float, seed: int) -> None:
        self.y, self.kind, self.knob = case.y, kind, knob
        self.random = torch.Generator().manual_seed(seed)
        design = Design(*self.y.shape[1:], latent=8 if case.plane else 32, features=case.scope.features)
        self.generator, network = perceptron(design, self.random, depth=2)
        rate, after, betas = RATE, None, (0.0, 0.9)
        if kind in ("clip", "gp"):
            self.critic: Any = network
        else:
            self.critic = DualCritic(self.y, epsilon=knob if kind == "soft dual" else 0.0)
            rate, betas = (knob if kind == "dual" else SOFT_RATE), (0.9, 0.999)
        if kind == "clip":  # RMSprop, since momentum makes a clipped critic unstable, as its paper says
            after = lambda: clip_weights(network.parameters(), knob)  # noqa: E731
            judged: torch.optim.Optimizer = torch.optim.RMSprop(network.parameters(), lr=rate)
        else:
            judged = torch.optim.Adam(self.critic.parameters(), lr=rate, betas=betas)
        making = torch.optim.Adam(self.generator.parameters(), lr=RATE, betas=(0.0, 0.9))
        falling = functools.partial(cosine, steps=case.scope.at[-1])
        players = {
            "d": Player(self.critic, judged, falling, after=after),
            "g": Player(self.generator, making, falling),
        }
        phases = [Phase("d", self.judge, repeats=TURNS[kind]), Phase("g", self.fool)]
        self.loop = Adversarial(players, phases, self.random)

    def judge(self, turn: int) -> Terms:
        with torch.no_grad():
            made = self.generator(self.generator.draw(BATCH, self.random))
        if isinstance(self.critic, DualCritic):
            return {"d": -self.critic.value(made)}
        x = self.y[torch.randint(len(self.y), (BATCH,), generator=self.random)]
        terms = {"d": LOSSES["wasserstein"].d(self.critic(x), self.critic(made))}
        if self.kind == "gp":
            mixing = torch.rand(BATCH, 1, 1, 1, generator=self.random)
            terms["penalty"] = self.knob * gradient_penalty(self.critic, x, made, mixing)
        return terms

    def fool(self, turn: int) -> Terms:
        made = self.generator(self.generator.draw(BATCH, self.random))
        return {"g": LOSSES["wasserstein"].g(self.critic(made))}

    @torch.no_grad()
    def make(self, n: int, seed: int) -> Tensor:
        return self.generator(self.generator.draw(n, torch.Generator().manual_seed(seed)))

    def says(self, made: Tensor) -> Record:
        """The critic's numbers for these pictures, see the head."""
        if isinstance(self.critic, DualCritic):
            with torch.no_grad():
                raw, hard = self.critic.value(made).item(), copy.deepcopy(self.critic)
                hard.epsilon = 0.0
                return {
                    "raw": raw,
                    "estimate": hard.value(made).item(),
                    "mass_error": self.critic.mass_error(made).item(),
                }
        with torch.no_grad():
            raw = (self.critic(self.y).mean() - self.critic(made).mean()).item()
        mixing = torch.rand(len(made), 1, 1, 1, generator=torch.Generator().manual_seed(3))
        places = torch.cat([self.y, made, mixing * self.y + (1 - mixing) * made])
        slopes = slope(self.critic, places).flatten(1).norm(dim=1).detach()
        steepest = slopes.max().item()
        return {"raw": raw, "estimate": raw / steepest, "steepest": steepest, "mean_slope": slopes.mean().item()}


def raced(case: Case, kind: str) -> Iterator[tuple[Record, Training]]:
    """Each setting once, then the best of them from fresh seeds."""
    found = []
    for knob in KNOBS[kind][1][: case.scope.tried]:
        record, training = trained(case, kind, knob, TUNING)
        found.append(record)
        yield record, training
    best = min(found, key=lambda r: r["curve"][-1]["w1"])
    for seed in case.scope.seeds:
        yield trained(case, kind, best["knob"], seed)


def trained(case: Case, kind: str, knob: float, seed: int) -> tuple[Record, Training]:
    training, seconds, curve = Training(case, kind, knob, seed), 0.0, []
    for i in range(case.scope.at[-1]):
        began = time.process_time()
        training.loop.step(i)
        seconds += time.process_time() - began
        if i + 1 in case.scope.at:
            curve.append({"step": i + 1, **measured(case, training)})
    made = training.make(len(case.y), seed=1)
    about = {"data": case.name, "kind": kind, "knob": knob, "seed": seed, "cpu": round(seconds, 2)}
    return about | {"scores": case.scores(made), "curve": curve}, training


def measured(case: Case, training: Training) -> Record:
    made, random = training.make(len(case.y), seed=1), torch.Generator().manual_seed(2)
    batches = [
        w1(*(t[torch.randperm(len(t), generator=random)[:BATCH]] for t in (made, case.y))) for _ in range(4)
    ]  # fmt: skip
    found = {"w1": w1(made, case.y), "batch": statistics.mean(batches), **training.says(made)}
    return {key: float(f"{value:.5g}") for key, value in found.items()}


# ----------------------------------------------------------------------------------------------------- what it says


def summary(runs: list[Record]) -> dict[str, Any]:
    """By data and kind the runs from fresh seeds: medians at the end, and how estimates go with W1 along training."""
    found: dict[str, Any] = {}
    for name, kind in dict.fromkeys((r["data"], r["kind"]) for r in runs):
        mine = [r for r in runs if (r["data"], r["kind"], r["seed"] != TUNING) == (name, kind, True)]
        if not mine:
            continue
        last = [r["curve"][-1] for r in mine]
        points = [p for r in mine for p in r["curve"]]
        of_kind = {
            KNOBS[kind][0]: mine[0]["knob"],
            "cpu": round(statistics.median(r["cpu"] for r in mine), 1),
            **{key: middle(p[key] for p in last) for key in last[0] if key != "step"},
            "w1_range": [min(p["w1"] for p in last), max(p["w1"] for p in last)],
            **{f"{key}/w1": middle(p[key] / p["w1"] for p in last) for key in ("raw", "estimate", "batch")},
            # over all moments of all seeds: how far the ratio wanders, and whether the order in time is kept
            "raw/w1_range": [round(f(p["raw"] / p["w1"] for p in points), 4) for f in (min, max)],
            "estimate/w1_range": [round(f(p["estimate"] / p["w1"] for p in points), 4) for f in (min, max)],
            **{f"{key}_rank_correlation": correlation(mine, key) for key in ("raw", "estimate", "batch")},
            "scores": {key: middle(r["scores"][key] for r in mine) for key in mine[0]["scores"]},
        }
        found.setdefault(name, {})[kind] = of_kind
    return found


def middle(values: Any) -> float:
    return float(f"{statistics.median(values):.4g}")


def correlation(runs: list[Record], key: str) -> float | None:
    """Median over runs of Spearman's correlation of a number with W1 along training; None of a number that stays."""
    found = [spearmanr([p[key] for p in r["curve"]], [p["w1"] for p in r["curve"]]).statistic for r in runs]
    return None if any(math.isnan(v) for v in found) else round(statistics.median(found), 3)


if __name__ == "__main__":
    main()
