"""Scores between two sets of pictures by the features of a network: FID and its relatives, with all they depend on.

Sets are those of texsyn.metrics.sets: folders, zip files, lists, crops of one picture. Every result carries the graph,
the hash of the weights, the resizer, the tap and the counts, because numbers that differ in any of them cannot be
compared (see texsyn.metrics.inception).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import texsyn
from texsyn.images import InputError
from texsyn.metrics.sets import Crops, pictures_of

__all__ = ["METRICS", "Crops", "Evaluation", "evaluate", "pictures_of"]

METRICS = ("fid", "fid-inf", "kid", "is", "prdc", "sifid", "rsifid")
#: score -> the fewest pictures (real, fake) that it can be computed of; prdc takes five neighbours, then three
LEAST = {"fid": (2, 2), "fid-inf": (2, 20), "kid": (2, 2), "is": (1, 2), "prdc": (6, 4)}
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Evaluation:
    """scores: name -> number; details: name -> what the number depends on, JSON-able; record: what all share."""

    scores: dict[str, float]
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"scores": self.scores, **self.record, "details": self.details}


def evaluate(
    real: Any,
    fake: Any,
    metrics: Sequence[str] = ("fid", "kid", "prdc"),
    *,
    weights: str | os.PathLike[str] | None = None,
    tap: str = "2048",
    resize: str = "reference",
    crops: Crops | None = None,
    seed: int = 0,
    net: Any = None,
    device: str = "cpu",
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """The named scores of fake against real; see pictures_of() for what sets are, METRICS for the names.

    weights: the file, else it is looked for (texsyn.weights.find); SiFID needs torchvision's, the others the
    2015-12-05 network's. net: a network at hand instead. seed: of KID's subsets and rSIFID's weights. Pictures may be
    of any sizes, and fewer than features. Raises ValueError for unknown words, InputError for weights or sets that
    cannot be used: of too few pictures, for prdc also of hardly more than copies of a few.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(f"metrics={','.join(unknown) or 'none'}: accepted are {', '.join(METRICS)}")
    crops = crops or Crops()
    sets = {"real": pictures_of(real, crops), "fake": pictures_of(fake, crops)}
    _require_enough(metrics, *(n for _, n, _ in sets.values()))
    scores: dict[str, float] = {}
    details: dict[str, dict[str, Any]] = {}
    record: dict[str, Any] = {"texsyn": texsyn.__version__, "seed": seed}
    record |= {side: {"n": n, "kind": kind} for side, (_, n, kind) in sets.items()}
    if "crops" in (kind for _, _, kind in sets.values()):
        record["crops"] = dataclasses.asdict(crops)
    if set(metrics) - {"sifid", "rsifid"}:
        _by_vectors(sets, metrics, (weights, tap, resize, net, device, seed), on_progress, scores, details, record)
    for name in ("sifid", "rsifid"):
        if name in metrics:
            _by_places(name, sets, (weights, net, device, seed), scores, details)
    return Evaluation(scores, details, record)


def _require_enough(metrics: Sequence[str], n_real: int, n_fake: int) -> None:
    """InputError, before the hour that features take, for sets that are too small for a score or pairs with a rest."""
    for name in metrics:
        for side, n, least in zip(("real", "fake"), (n_real, n_fake), LEAST.get(name, (1, 1)), strict=True):
            if n < least:
                some = f"{n} picture{'s' * (n != 1)}"
                raise InputError(f"the {side} set has {some}, and {name} needs at least {least}")
        if name in ("sifid", "rsifid") and n_real != n_fake:
            raise InputError(f"{name} compares pictures in pairs, got {n_real} real and {n_fake} fake ones")


def _by_vectors(
    sets: dict[str, Any],
    metrics: Sequence[str],
    how: tuple[Any, ...],
    on_progress: OnProgress | None,
    scores: dict[str, float],
    details: dict[str, dict[str, Any]],
    record: dict[str, Any],
) -> None:
    from texsyn.metrics.frechet import fid_infinity, frechet
    from texsyn.metrics.inception import features, inception
    from texsyn.metrics.inception_score import inception_score
    from texsyn.metrics.kid import kid
    from texsyn.metrics.neighbours import neighbour_scores

    weights, tap, resize, net, device, seed = how
    net = net if net is not None else inception("fid", weights, device=device)
    taps = (tap, "logits") if "is" in metrics else (tap,)
    total, done, found = sum(n for _, n, _ in sets.values()), 0, {}
    for side, (pictures, n, _) in sets.items():

        def said(count: int, side: str = side, before: int = done) -> None:
            if on_progress is not None:
                on_progress((before + count) / total, f"features of the {side} pictures")

        found[side] = features(net, pictures(), taps, resize=resize, on_progress=said)
        done += n
    x, y = found["real"][tap].values, found["fake"][tap].values
    notes = [f"{side}: {note}" for side in found for note in found[side][tap].notes]
    record |= {"features": found["real"][tap].record() | {"n": [len(x), len(y)], "notes": notes}}

    def keep(name: str, result: Any, **values: float) -> None:
        scores.update(values or {name: float(result.value)})
        details[name] = {k: v for k, v in dataclasses.asdict(result).items() if not isinstance(v, np.ndarray)}

    if "fid" in metrics:
        keep("fid", frechet(x, y))
    if "fid-inf" in metrics:
        keep("fid-inf", fid_infinity(y, x, seed=seed))
    if "kid" in metrics:
        keep("kid", kid(x, y, seed=seed))
    if "is" in metrics:
        logits = found["fake"]["logits"].values
        keep("is", inception_score(logits, splits=min(10, max(1, len(logits) // 2))))
    if "prdc" in metrics:
        try:
            pr, dc = neighbour_scores(y, x, allow_unequal=True)
        except ValueError as error:  # copies
            raise InputError(f"prdc: {error}") from None
        keep("precision_recall", pr, precision=pr.precision, recall=pr.recall)
        keep("density_coverage", dc, density=dc.density, coverage=dc.coverage)


def _by_places(
    name: str,
    sets: dict[str, Any],
    how: tuple[Any, ...],
    scores: dict[str, float],
    details: dict[str, dict[str, Any]],
) -> None:
    from texsyn.metrics.sifid import rsifid, sifid

    weights, net, device, seed = how
    x, y = (list(pictures()) for pictures, _, _ in sets.values())
    if name == "sifid":
        result = sifid(x, y, path=weights, net=net, device=device)
    else:
        result = rsifid(x, y, seed=seed, device=device)
    scores[result.name], details[result.name] = result.value, result.record()
