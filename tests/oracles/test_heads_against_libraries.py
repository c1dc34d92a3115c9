"""Our heads beside those of pytorch-fid, torch-fidelity, torchmetrics and prdc, on the same features.

Slow, and skipped where a package is missing; `test_against_libraries` says how to install them (and `pip install
--no-deps prdc==0.2`, `pip install scikit-learn`). Features are random matrices, the small ones whose answers
tests/test_metric_golden.py keeps, and those of textures by a random network.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_weights import random_state_dict, textures
from test_against_libraries import library
from torch import Tensor, nn

from texsyn.metrics.frechet import frechet
from texsyn.metrics.inception import features, from_state_dict
from texsyn.metrics.inception_score import inception_score
from texsyn.metrics.kid import kid
from texsyn.metrics.neighbours import density_coverage, precision_recall

pytestmark = pytest.mark.slow

CLOSE = 1e-4
golden = runpy.run_path(str(Path(__file__).parents[1] / "test_metric_golden.py"))
SETS = ("full rank", "few samples", "network 64", "network 2048")
LOGITS = ("random", "network")


@pytest.fixture(scope="module")
def network() -> dict[str, tuple[Tensor, Tensor]]:
    """tap -> features of two sets of 80 textures, 80 being more than 64 and less than 2048."""
    net = from_state_dict(random_state_dict(), sha256="random")
    x, y = (features(net, textures(80, 64, 64, seed=seed), ("64", "2048", "logits")) for seed in (2, 3))
    return {tap: (x[tap].values.double(), y[tap].values.double()) for tap in x}


@pytest.fixture(scope="module")
def sets(network: dict[str, tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(7)

    def gaussians(n: int, d: int) -> tuple[Tensor, Tensor]:
        scale = rng.uniform(0.5, 2, d)
        x, y = rng.standard_normal((n, d)) * scale, rng.standard_normal((n, d)) * scale[::-1] + 0.3
        return torch.from_numpy(x), torch.from_numpy(y)

    return {
        "full rank": gaussians(300, 24),
        "few samples": gaussians(50, 96),
        "network 64": network["64"],
        "network 2048": network["2048"],
    }


@pytest.fixture(scope="module")
def logits(network: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    rng = np.random.default_rng(8)
    return {"random": torch.from_numpy(rng.standard_normal((203, 30)) * 2), "network": torch.cat(network["logits"])}


def same(what: str, ours: float, theirs: Any, rel: float = CLOSE) -> None:
    theirs = float(theirs)
    print(
        f"{what}: ours {ours:.12g}, theirs {theirs:.12g}, relative difference {ours / theirs - 1 if theirs else 0:.1e}"
    )
    assert ours == pytest.approx(theirs, rel=rel), what


def moments(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return x.numpy().mean(0), np.cov(x.numpy(), rowvar=False)


def pytorch_fid(x: Tensor, y: Tensor) -> float:
    library("torchvision")
    return float(library("pytorch_fid.fid_score").calculate_frechet_distance(*moments(x), *moments(y)))


def fidelity_fid(x: Tensor, y: Tensor) -> float:
    theirs = library("torch_fidelity.metric_fid")
    statistics = [theirs.fid_features_to_statistics(z) for z in (x, y)]
    return float(theirs.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"])


def fidelity_kid(x: Tensor, y: Tensor) -> float:
    theirs = library("torch_fidelity.metric_kid")
    found = theirs.kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=len(x), verbose=False)
    return float(found["kernel_inception_distance_mean"])


def fidelity_score(x: Tensor, splits: int) -> tuple[float, float]:
    found = library("torch_fidelity.metric_isc").isc_features_to_metric(x, splits, shuffle=False)
    return found["inception_score_mean"], found["inception_score_std"]


def prdc(generated: Tensor, reference: Tensor, k: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    library("sklearn")
    theirs = library("prdc.prdc")
    distances = theirs.sklearn.metrics.pairwise_distances  # they ask for eight processes
    monkeypatch.setattr(theirs, "compute_pairwise_distance", lambda x, y=None: distances(x, x if y is None else y))
    found: dict[str, float] = theirs.compute_prdc(reference.numpy(), generated.numpy(), k)
    return found


# pytorch-fid's root of a 2048 x 2048 matrix of rank 79 takes a minute; test_against_libraries has one such
@pytest.mark.parametrize("name", [name for name in SETS if name != "network 2048"])
def test_frechet_of_pytorch_fid(sets: dict[str, tuple[Tensor, Tensor]], name: str) -> None:
    same(f"pytorch-fid, {name}", frechet(*sets[name]).value, pytorch_fid(*sets[name]))


@pytest.mark.parametrize("name", SETS)
def test_frechet_of_torch_fidelity(sets: dict[str, tuple[Tensor, Tensor]], name: str) -> None:
    """80 samples of 2048 features leave it off by 1.06e-4, which is rounding of its zero eigenvalues.

    To forty digits the distance is 10722.420817582585, and we are 1.2e-14 from it. So it is asked again in coordinates
    of the space that the samples span, which changes no distance and spares it the zeros.
    """
    x, y = sets[name]
    rel = 1e-3 if name == "network 2048" else CLOSE
    same(f"torch-fidelity FID, {name}", frechet(x, y).value, fidelity_fid(x, y), rel=rel)
    q = torch.linalg.qr(torch.cat([x, y]).T).Q
    same(f"torch-fidelity FID in the span, {name}", frechet(x, y).value, fidelity_fid(x @ q, y @ q))


def test_frechet_to_forty_digits() -> None:
    """Fewer samples than features: the eigenvalues of S_x S_y that are not 0 are those of C C', C = A B' (12, 12)."""
    mp = library("mpmath").mp.clone()
    mp.dps = 40
    few = [golden["matrices"]()[name] for name in ("few_x", "few_y")]
    x, y = (mp.matrix(a.tolist()) for a in few)
    mean_x, mean_y = (mp.ones(1, z.rows) * z / z.rows for z in (x, y))
    a, b = ((z - mp.ones(z.rows, 1) * mean) / mp.sqrt(z.rows - 1) for z, mean in ((x, mean_x), (y, mean_y)))
    c = a * b.T
    cross = sum(mp.sqrt(abs(e)) for e in mp.eigsy(c * c.T, eigvals_only=True))  # the centred rows' zero is 1e-40
    traces = sum(v**2 for v in a) + sum(v**2 for v in b)
    exact = float(sum(v**2 for v in mean_x - mean_y) + traces - 2 * cross)
    same("forty digits", frechet(*map(torch.from_numpy, few)).value, exact, rel=1e-13)
    same("golden fid of few", golden["GOLDEN"]["fid of few"], exact, rel=1e-13)


@pytest.mark.parametrize("name", [name for name in SETS if name != "network 2048"])
def test_frechet_of_torchmetrics(sets: dict[str, tuple[Tensor, Tensor]], name: str) -> None:
    theirs = library("torchmetrics.image.fid")
    x, y = sets[name]
    found = theirs._compute_fid(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    same(f"torchmetrics FID, {name}", frechet(x, y).value, found)


@pytest.mark.parametrize("name", SETS)
def test_kid(sets: dict[str, tuple[Tensor, Tensor]], name: str) -> None:
    x, y = sets[name]
    ours = kid(x, y, size=len(x))
    assert ours.exact
    same(f"torch-fidelity KID, {name}", ours.value, fidelity_kid(x, y))
    theirs = library("torchmetrics.image.kid")
    same(f"torchmetrics KID, {name}", ours.value, theirs.poly_mmd(x, y))


@pytest.mark.parametrize("splits", [1, 7, 10])
@pytest.mark.parametrize("name", LOGITS)
def test_inception_score(logits: dict[str, Tensor], name: str, splits: int) -> None:
    ours = inception_score(logits[name], splits=splits)
    mean, spread = fidelity_score(logits[name], splits)
    same(f"torch-fidelity IS, {name}, {splits} splits", ours.value, mean)
    same(f"torch-fidelity IS spread, {name}, {splits} splits", ours.spread, spread)


@pytest.mark.parametrize("name", LOGITS)
def test_inception_score_of_torchmetrics(logits: dict[str, Tensor], name: str) -> None:
    theirs = library("torchmetrics.image.inception")
    x = logits[name][:160]  # chunks and splits are the same where 10 divides the count
    metric = theirs.InceptionScore(feature=nn.Identity(), splits=10)
    metric.update(x)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mean, spread = metric.compute()
        torch.manual_seed(0)
        ours = inception_score(x[torch.randperm(160)], splits=10)
    same(f"torchmetrics IS, {name}", ours.value, mean)
    same(f"torchmetrics IS spread, {name}", ours.spread * (10 / 9) ** 0.5, spread)  # ddof 1


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("name", SETS)
def test_neighbours_of_prdc(
    sets: dict[str, tuple[Tensor, Tensor]], name: str, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say inside for < where we say it for <=, which needs a distance equal to a radius: none among these."""
    x, y = sets[name]
    theirs = prdc(x, y, k, monkeypatch)
    inside, around = precision_recall(x, y, k=k), density_coverage(x, y, k=k)
    for what, ours in (
        ("precision", inside.precision),
        ("recall", inside.recall),
        ("density", around.density),
        ("coverage", around.coverage),
    ):
        same(f"prdc {what}, {name}, k={k}", ours, theirs[what])


@pytest.mark.parametrize("name", SETS)
def test_precision_and_recall_of_torch_fidelity(sets: dict[str, tuple[Tensor, Tensor]], name: str) -> None:
    theirs = library("torch_fidelity.metric_prc")
    x, y = sets[name]
    precision, recall = theirs.calculate_precision_recall_full(x, y, 3)
    ours = precision_recall(x, y, k=3)
    same(f"torch-fidelity precision, {name}", ours.precision, precision)
    same(f"torch-fidelity recall, {name}", ours.recall, recall)


def test_the_golden_values_are_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    m = {name: torch.from_numpy(a) for name, a in golden["matrices"]().items()}
    mean, spread = fidelity_score(m["logits"], 7)
    inside, around = (prdc(m["x"], m["y"], k, monkeypatch) for k in (3, 5))
    theirs = {
        "fid": pytorch_fid(m["x"], m["y"]),
        "fid of few": fidelity_fid(m["few_x"], m["few_y"]),
        "kid": fidelity_kid(m["x"], m["y"]),
        "is": mean,
        "is spread": spread,
        "precision": float(inside["precision"]),
        "recall": float(inside["recall"]),
        "density": float(around["density"]),
        "coverage": float(around["coverage"]),
    }
    print(theirs)
    for name, value in golden["GOLDEN"].items():
        same(f"golden {name}", value, theirs[name], rel=1e-6 if name == "fid of few" else golden["CLOSE"])
    assert theirs.keys() == golden["GOLDEN"].keys()
