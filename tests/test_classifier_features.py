"""A classifier as a judge of pictures: what it learns, what its distance and its counts are of sets that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.datasets import open_dataset
from texsyn.datasets.dataset import Dataset, Pictures
from texsyn.metrics.classifier_features import (
    WIDTH,
    Classifier,
    class_accuracy,
    class_coverage,
    classifier_frechet,
    pictures_of,
    train_classifier,
)
from texsyn.metrics.frechet import frechet


def bars(n: int = 90, *, channels: int = 1, height: int = 8, width: int = 8) -> Pictures:
    """Pictures with a bright top, a bright bottom or a bright left, and noise on all of it."""
    random = np.random.default_rng(0)
    codes = 0.3 * random.random((n, channels, height, width), dtype=np.float32)
    labels = np.arange(n) % 3
    codes[labels == 0, :, : height // 2] += 0.6
    codes[labels == 1, :, height // 2 :] += 0.6
    codes[labels == 2, :, :, : width // 2] += 0.6
    return Pictures("bars", codes, labels, ("top", "bottom", "left"))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits")


@pytest.fixture(scope="module")
def of_digits(digits: Dataset) -> Classifier:
    return train_classifier(digits, seed=0)


@pytest.fixture(scope="module")
def of_bars() -> Classifier:
    return train_classifier(bars(), steps=60)


@pytest.fixture(scope="module")
def halves(digits: Dataset) -> tuple[Tensor, Tensor]:
    order = torch.randperm(digits.n, generator=torch.Generator().manual_seed(0))
    return pictures_of(digits, order[:898]), pictures_of(digits, order[898:1796])


def weights(of: Classifier) -> list[Tensor]:
    return list(of.network.parameters())


# ---- what it learns


def test_digits_are_told_with_few_errors(of_digits: Classifier) -> None:
    assert of_digits.accuracy > 0.95  # 0.967 to 0.986 of three seeds
    assert (of_digits.n_learned, of_digits.n_held_out) == (1438, 359)
    assert of_digits.classes == tuple("0123456789")


def test_accuracy_is_that_of_pictures_that_were_held_out() -> None:
    """Labels of noise can be learned by heart only: of the fifth that was held out, what is right is chance."""
    random = np.random.default_rng(0)
    data = Pictures("noise", random.random((400, 1, 8, 8), dtype=np.float32), random.integers(0, 2, 400), ("a", "b"))
    of = train_classifier(data, steps=400)
    everything = torch.arange(400)
    right = class_accuracy(of, pictures_of(data, everything), data.labels(everything))
    assert 0.3 < of.accuracy < 0.7
    assert of.n_held_out == 80
    assert right == pytest.approx(0.8 + 0.2 * of.accuracy, abs=0.01)


def test_a_classifier_follows_from_its_seed_alone() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        one = train_classifier(bars(), seed=3, steps=5)
        assert torch.get_num_threads() == 2
        torch.manual_seed(1)  # of no consequence
        again = train_classifier(bars(), seed=3, steps=5)
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(before)
    other = train_classifier(bars(), seed=4, steps=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(again), strict=True))
    assert (one.unit, one.accuracy) == (again.unit, again.accuracy)
    assert not any(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True) if a.ndim > 1)


@pytest.mark.parametrize("shape", [(3, 8, 12), (1, 5, 3), (2, 1, 1), (1, 33, 40)])
def test_pictures_of_any_shape(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    data = bars(channels=channels, height=height, width=width)
    of = train_classifier(data, steps=3)
    made = of.features(pictures_of(data, torch.arange(7)))
    assert made.shape == (7, WIDTH)
    assert of.shape == shape
    assert of.features(torch.empty(0, *shape)).shape == (0, WIDTH)


def test_features_of_the_data_have_a_variance_of_one(of_digits: Classifier, digits: Dataset) -> None:
    features = of_digits.features(pictures_of(digits, torch.arange(digits.n)))
    assert float(features.var(0).sum()) == pytest.approx(1, abs=0.05)  # 1 of those that were learned
    assert float(features.min()) == 0
    logits = of_digits.network.last((features * of_digits.unit).float())
    assert torch.allclose(logits.double().softmax(1), of_digits.probabilities(pictures_of(digits, torch.arange(1797))))


# ---- its distance


def test_the_distance_is_frechets_of_the_features(of_digits: Classifier, halves: tuple[Tensor, Tensor]) -> None:
    one, other = halves
    by_hand = frechet(of_digits.features(one), of_digits.features(other)).value
    assert classifier_frechet(of_digits, one, other) == by_hand
    assert classifier_frechet(of_digits, one, one) == pytest.approx(0, abs=1e-9)
    assert classifier_frechet(of_digits, other, one) == pytest.approx(by_hand, rel=1e-9)


def test_what_is_worse_is_farther(of_digits: Classifier, halves: tuple[Tensor, Tensor]) -> None:
    one, other = halves
    noise = torch.rand(other.shape, generator=torch.Generator().manual_seed(1))
    sets = {
        "the other half": other,
        "some noise": other.lerp(noise, 0.3),
        "blurred": F.avg_pool2d(other, 3, 1, 1),
        "the mean picture": other.mean(0, keepdim=True).expand_as(other),
    }
    distances = [classifier_frechet(of_digits, one, made) for made in sets.values()]
    assert distances == sorted(distances)
    assert distances[0] < 0.02
    assert distances[1] > 3 * distances[0]
    assert distances[-1] > 0.8


def test_a_class_that_is_missing_is_seen(of_digits: Classifier, digits: Dataset, halves: tuple[Tensor, Tensor]) -> None:
    labels = digits.labels(torch.arange(digits.n))
    without = pictures_of(digits, torch.arange(digits.n)[labels != 3][:898])
    some = pictures_of(digits, torch.arange(digits.n)[labels < 5][:898])
    whole = classifier_frechet(of_digits, *halves)
    assert (
        2 * whole < classifier_frechet(of_digits, halves[0], without) < classifier_frechet(of_digits, halves[0], some)
    )


def test_copies_of_the_data_are_perfect_to_it(of_digits: Classifier, halves: tuple[Tensor, Tensor]) -> None:
    """As the head of the file says: learning by heart is not seen."""
    assert classifier_frechet(of_digits, halves[0], halves[0].flip(0)) < 1e-9


# ---- its counts


def test_classes_are_counted(of_digits: Classifier, digits: Dataset) -> None:
    numbers = torch.arange(digits.n)
    labels = digits.labels(numbers)
    of_all = class_coverage(of_digits, pictures_of(digits, numbers), least=17)
    assert of_all.reached == 10
    assert sum(of_all.histogram) == digits.n
    assert of_all.entropy == pytest.approx(math.log(10), abs=0.002)
    assert of_all.confident > 0.97
    some = class_coverage(of_digits, pictures_of(digits, numbers[labels < 2]), least=17)
    assert some.reached == 2
    assert some.histogram[0] == pytest.approx(178, abs=2)
    shares = [n / sum(some.histogram) for n in some.histogram if n]
    assert some.entropy == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert some.entropy == pytest.approx(math.log(2), abs=0.1)


def test_a_class_is_reached_by_confident_pictures_only() -> None:
    """A network that says class 0 with the probability that the first pixel is, else classes 1 and 2 alike."""
    data = bars(30, height=4, width=4)
    of = train_classifier(data, steps=1)

    def logits(pictures: Tensor) -> Tensor:
        p = pictures[:, 0, 0, 0]
        return torch.stack([p, 0.7 * (1 - p), 0.3 * (1 - p)], 1).log()

    object.__setattr__(of, "network", logits)
    made = torch.zeros(5, 1, 4, 4)
    made[:, 0, 0, 0] = torch.tensor([0.95, 0.9, 0.6, 0.1, 0.0])
    found = class_coverage(of, made, sure=0.899)
    assert (found.histogram, found.reached, found.confident) == ((3, 2, 0), 1, 0.4)
    assert found.entropy == pytest.approx(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    assert class_coverage(of, made, sure=0.899, least=2).reached == 1
    assert class_coverage(of, made, sure=0.899, least=3).reached == 0
    assert class_coverage(of, made, sure=0.0).reached == 2
    assert class_accuracy(of, made, torch.tensor([0, 1, 0, 1, 2])) == 0.6


def test_accuracy_of_pictures_that_were_asked_for(of_bars: Classifier) -> None:
    data, numbers = bars(), torch.arange(90)
    made, labels = pictures_of(data, numbers), data.labels(numbers)
    assert class_accuracy(of_bars, made, labels) == 1
    assert class_accuracy(of_bars, made, (labels + 1) % 3) == 0
    assert class_accuracy(of_bars, made, torch.zeros(90, dtype=torch.long)) == pytest.approx(1 / 3)


# ---- at the door


def test_what_cannot_be_is_refused_in_a_sentence(of_bars: Classifier) -> None:
    good = torch.zeros(2, 1, 8, 8)
    unlabelled = Pictures("plain", np.zeros((4, 1, 8, 8), np.float32))
    two = Pictures("two", np.zeros((2, 1, 8, 8), np.float32), np.array([0, 1]), ("a", "b"))
    cases = (
        (lambda: train_classifier(unlabelled), "plain has 0 classes, and a classifier needs 2 or more"),
        (lambda: train_classifier(two), "two has 2 pictures, of which none can be held out"),
        (lambda: train_classifier(bars(), steps=0), "steps=0, batch=64, rate=0.002 should be"),
        (lambda: of_bars.features(torch.zeros(2, 3, 8, 8)), r"pictures of shape \(2, 3, 8, 8\) are not \(n, 1, 8, 8\)"),
        (lambda: of_bars.features(good - 1), "pictures with values from -1 to -1 are not in"),
        (lambda: of_bars.features(good * torch.nan), "values from nan to nan are not in"),
        (lambda: class_coverage(of_bars, good[:0]), "there is no picture"),
        (lambda: class_coverage(of_bars, good, sure=2), "sure=2, least=1 should be"),
        (lambda: class_accuracy(of_bars, good, torch.zeros(3, dtype=torch.long)), r"labels of shape \(3,\) should be"),
        (lambda: class_accuracy(of_bars, good, torch.tensor([0, 3])), "labels from 0 to 3 should be from 0 to below 3"),
    )
    for call, said in cases:
        with pytest.raises(ValueError, match=said) as refused:
            call()
        assert "\n" not in str(refused.value)
