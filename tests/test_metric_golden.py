"""The heads against numbers that other libraries gave for the same matrices, so that no library is needed to check.

tests/oracles/test_heads_against_libraries.py is where they come from, and asks the libraries again: pytorch-fid 0.3.0
(fid), torch-fidelity 0.4.0 (kid, is) and prdc 0.2 (the rest), in float64. Fewer samples than features are where they
are wrong in the eighth digit, so that "fid of few" is a value computed with forty.

Pictures go the whole way, through a network of random weights, to the numbers that clean-fid 0.1.35 gave for the same
pictures and weights in its modes "clean" and "legacy_pytorch" (tests/oracles/test_clean_fid.py).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles.random_weights import random_state_dict, textures
from torch import Tensor

from texsyn.metrics.frechet import frechet
from texsyn.metrics.inception import features, from_state_dict
from texsyn.metrics.inception_score import inception_score
from texsyn.metrics.kid import kid
from texsyn.metrics.neighbours import density_coverage, precision_recall

GOLDEN: dict[str, float] = {
    "fid": 8.220803954114036,
    "fid of few": 29.819504986293817,
    "kid": 5.729239286905994,
    "is": 3.0560110106107703,
    "is spread": 0.20485332797132902,
    "precision": 0.55,
    "recall": 0.55,
    "density": 0.5133333333333334,
    "coverage": 0.6166666666666667,
}
CLOSE = 1e-10  # sums of some thousand float64 numbers in another order differ by about 1e-14
#: (resize, score) of six pictures against six, by clean-fid in float32 from features to KID
OF_PICTURES = {
    ("clean", "fid"): 8979.31908810974,
    ("clean", "kid"): -804837.1875,
    ("pytorch-fid", "fid"): 12952.638790508878,
    ("pytorch-fid", "kid"): -562315.75,
}
#: the last number of each matrix
LAST = {
    "x": -1.9342193289767593,
    "y": -0.2236034286639137,
    "few_x": -1.0579485844394967,
    "few_y": 2.1697363266863765,
    "logits": -0.16638035333086337,
}


def matrices() -> dict[str, np.ndarray]:
    """Features x (generated) and y (reference) (60, 6), few_x and few_y (12, 20), logits (60, 10)."""
    rng = np.random.default_rng(2026)
    scale = np.linspace(0.5, 2, 6)
    return {
        "x": rng.standard_normal((60, 6)) * scale,
        "y": rng.standard_normal((60, 6)) * scale[::-1] + 0.4,
        "few_x": rng.standard_normal((12, 20)),
        "few_y": rng.standard_normal((12, 20)) * 1.5 + 0.2,
        "logits": rng.standard_normal((60, 10)) * 3,
    }


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Two sets (6, 64, 64, 3) uint8."""
    return textures(6, 64, 64, seed=2), textures(6, 64, 64, seed=3)


def ours() -> dict[str, float]:
    m: dict[str, Tensor] = {name: torch.from_numpy(a) for name, a in matrices().items()}
    score = inception_score(m["logits"], splits=7)  # 60 is no multiple of 7
    inside = precision_recall(m["x"], m["y"], k=3)
    around = density_coverage(m["x"], m["y"], k=5)
    return {
        "fid": frechet(m["x"], m["y"]).value,
        "fid of few": frechet(m["few_x"], m["few_y"]).value,
        "kid": kid(m["x"], m["y"], size=60).value,
        "is": score.value,
        "is spread": score.spread,
        "precision": inside.precision,
        "recall": inside.recall,
        "density": around.density,
        "coverage": around.coverage,
    }


def test_the_matrices_are_those_of_the_record() -> None:
    """If this fails alone, numpy's stream has changed, not a metric."""
    found = {name: float(a[-1, -1]) for name, a in matrices().items()}
    assert found == pytest.approx(LAST, rel=1e-12)


def test_golden_values() -> None:
    found = ours()
    assert found.keys() == GOLDEN.keys()
    for name, expected in GOLDEN.items():
        assert found[name] == pytest.approx(expected, rel=CLOSE), name


def test_golden_values_of_pictures() -> None:
    """1e-4: float32 convolutions in another order, and zero eigenvalues that clean-fid does not leave out."""
    net = from_state_dict(random_state_dict(), sha256="random")
    for resize in ("clean", "pytorch-fid"):
        x, y = (features(net, side, resize=resize)["2048"].values for side in pictures())
        assert frechet(x, y).value == pytest.approx(OF_PICTURES[resize, "fid"], rel=1e-4)
        assert kid(x, y, size=6).value == pytest.approx(OF_PICTURES[resize, "kid"], rel=1e-4)
