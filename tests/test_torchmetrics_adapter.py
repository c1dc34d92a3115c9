"""FeatureModule: the features of `features`, refusals, evaluation mode; with torchmetrics, our numbers from it."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import math
import textwrap
from typing import Any

import pytest
import torch
from oracles.random_weights import random_state_dict, textures
from torch import Tensor, nn

from texsyn.metrics import inception as inception_module
from texsyn.metrics import torchmetrics_adapter
from texsyn.metrics.frechet import frechet
from texsyn.metrics.inception import Inception, features, from_state_dict
from texsyn.metrics.inception_score import inception_score
from texsyn.metrics.kid import kid
from texsyn.metrics.torchmetrics_adapter import FeatureModule

N = 12  # pictures a side


@pytest.fixture(scope="module")
def net() -> Inception:
    return from_state_dict(random_state_dict(), sha256="random")


def chw(seed: int, n: int = N) -> Tensor:
    return torch.from_numpy(textures(n, 48, 40, seed=seed)).permute(0, 3, 1, 2)


# ---- without torchmetrics


@pytest.mark.parametrize("resize", ["reference", "clean"])
def test_features_are_ours(net: Inception, resize: str) -> None:
    x = chw(2, 3)
    for tap, d in (("64", 64), ("192", 192)):
        module = FeatureModule(net, tap, resize)
        found = module(x)
        expected = features(net, textures(3, 48, 40, seed=2), (tap,), resize=resize)[tap].values
        assert found.shape == (3, d)
        assert module.num_features == d
        assert torch.equal(found, expected)


def test_training_mode_is_not_entered(net: Inception) -> None:
    x = chw(2, 2)
    module = FeatureModule(net, "64")
    before = module(x)
    nn.Sequential(module).train()
    assert not any(part.training for part in module.modules())
    assert torch.equal(module(x), before)
    assert not before.requires_grad
    assert not before.is_inference()  # torchmetrics adds to sums of it in place


def test_other_pictures_are_refused(net: Inception) -> None:
    x = chw(2, 2)
    module = FeatureModule(net, "64")
    for wrong in (x / 255, x[0], x[:, :1], x.permute(0, 2, 3, 1)):
        with pytest.raises(ValueError, match="normalize=False"):
            module(wrong)


def test_other_taps_and_resizes_are_refused(net: Inception) -> None:
    for tap in ("64pre", "128"):
        with pytest.raises(ValueError, match="not one of 64, 192, 768, 2048, logits"):
            FeatureModule(net, tap)
    with pytest.raises(ValueError, match="resize='bicubic'"):
        FeatureModule(net, resize="bicubic")


# ---- with torchmetrics


def torchmetrics(name: str) -> Any:
    """A module of torchmetrics.image, or a skip that says why not."""
    if importlib.util.find_spec("torchmetrics") is None:
        pytest.skip("torchmetrics is not installed: pip install 'texsyn[eval-tm]'")
    try:
        return importlib.import_module(f"torchmetrics.image.{name}")
    except (ImportError, RuntimeError) as error:  # it imports torchvision where there is one, which may not fit torch
        pytest.skip(f"torchmetrics cannot be imported here: {str(error).splitlines()[0]}")


# float32 results are exact to 6e-8; twelve samples of 2048 features leave torchmetrics' eigenvalues off by 1e-5
@pytest.mark.parametrize("tap", ["64", pytest.param("2048", marks=pytest.mark.slow)])
def test_fid(net: Inception, tap: str) -> None:
    module = FeatureModule(net, tap)
    real, fake = chw(2), chw(3)
    metric = torchmetrics("fid").FrechetInceptionDistance(feature=module)
    for part in real.split(5):
        metric.update(part, real=True)
    metric.update(fake, real=False)
    theirs, ours = float(metric.compute()), frechet(module(real), module(fake)).value
    print("FID", tap, theirs / ours - 1)
    assert theirs == pytest.approx(ours, rel=1e-4)
    assert float(copy.deepcopy(metric).compute()) == theirs


def test_kid(net: Inception) -> None:
    module = FeatureModule(net, "64")
    real, fake = chw(2, 16), chw(3, 16)
    x, y = module(real), module(fake)

    def theirs(subsets: int, size: int, seed: int) -> tuple[float, float]:
        metric = torchmetrics("kid").KernelInceptionDistance(feature=module, subsets=subsets, subset_size=size)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            mean, spread = metric.compute()
        return float(mean), float(spread)

    exact = kid(x, y, size=16)
    assert exact.exact
    terms = float(((x.double().square().sum(1) / 64 + 1) ** 3).mean())  # KID is a difference of such, in float32
    found, _ = theirs(2, 16, seed=1)
    print("KID", found, exact.value, (found - exact.value) / terms)
    assert found == pytest.approx(exact.value, rel=1e-4, abs=1e-6 * terms)

    # 400 subsets drawn by each: means of independent draws with one expectation, within four standard errors. The
    # seeds differ, since one seed makes torchmetrics 1.9 draw the very subsets that we draw.
    ours = kid(x, y, subsets=400, size=8)
    found, spread = theirs(400, 8, seed=1)
    assert ours.spread is not None
    error = math.hypot(ours.spread, spread) / math.sqrt(400)
    print("KID of subsets", found, ours.value, (found - ours.value) / error)
    assert abs(found - ours.value) < 4 * error
    assert spread == pytest.approx(ours.spread, rel=0.2)  # a spread of 400 is known to about 5 %


def test_inception_score(net: Inception) -> None:
    tamed = copy.deepcopy(net)
    assert tamed.fc is not None
    tamed.fc.weight *= 0.1  # a class whose probability is 0 in float32 makes torchmetrics' score NaN
    module = FeatureModule(tamed, "logits")
    pictures = chw(2)
    metric = torchmetrics("inception").InceptionScore(feature=module, splits=3)
    metric.update(pictures)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mean, spread = (float(v) for v in metric.compute())
        torch.manual_seed(0)
        order = torch.randperm(N)  # the one that compute drew
    ours = inception_score(module(pictures)[order], splits=3)
    print("IS", mean / ours.value - 1)
    assert ours.value > 1.05
    assert mean == pytest.approx(ours.value, rel=1e-5)
    assert spread == pytest.approx(ours.spread * math.sqrt(3 / 2), rel=1e-4)  # ddof 1


def test_the_example_in_the_docstring(net: Inception, monkeypatch: pytest.MonkeyPatch) -> None:
    torchmetrics("fid")
    assert torchmetrics_adapter.__doc__
    lines = [line for line in torchmetrics_adapter.__doc__.splitlines() if line.startswith("    ") or not line]
    monkeypatch.setattr(inception_module, "inception", lambda: net)
    names = {"real_pictures": chw(2, 2), "fake_pictures": chw(2, 2)}
    exec(textwrap.dedent("\n".join(lines)), names)
    largest = float(FeatureModule(net)(chw(2, 2)).square().sum())
    assert names["value"] == pytest.approx(0, abs=1e-4 * largest)
