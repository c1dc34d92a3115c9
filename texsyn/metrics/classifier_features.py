"""A small classifier of a labelled data set, made in seconds, and what it says of pictures meant to be like the set's.

FID's distance, Inception Score's histogram and the accuracy of class-conditional pictures, with a network of 40,000
weights that learned nothing but these classes, in place of Inception. It needs no download and suits pictures that
Inception never saw the like of, such as digits of 8 x 8. The distance is named classifier Frechet distance: it depends
on the network, so that two of it can be compared under one classifier (data, seed) and at equal counts only, and none
with an FID. Its unit is the variance of the data's features, all of them together: where every picture made has the
mean features of the data, it is 1.

It sees what tells the classes apart: strokes that are missing, classes that are, blends of two. It is blind to what
the classifier had no use for, which may be texture, noise or colour; it takes a picture of nothing for some class,
often with confidence; and copies of the data are perfect to it. pixel_frechet is blind to other things: read both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.datasets.dataset import Dataset
from texsyn.gan.networks.layers import Weights
from texsyn.metrics.frechet import frechet
from texsyn.ot.nearest import one_torch_thread

WIDTH = 64  # features of a picture
AT_ONCE = 256  # pictures
HELD_OUT = 0.2, 10_000  # of the data: that share, at most so many
MEASURED = 10_000  # pictures whose features give the unit, at most


class Network(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] to logits (B, k), by way of features (B, WIDTH), which are not negative.

    Three 3 x 3 convolutions with ReLU, the third of stride 2, means over at most 4 x 4 boxes, and two linear maps.
    """

    def __init__(self, channels: int, height: int, width: int, n_classes: int, random: torch.Generator) -> None:
        super().__init__()
        weights, gain = Weights(random, start="glorot"), math.sqrt(2)
        sizes = (channels, 16, 1), (16, 16, 1), (16, 32, 2)
        self.convolutions = nn.ModuleList(weights.conv(a, b, gain=gain, stride=stride) for a, b, stride in sizes)
        self.boxes = min(4, (height + 1) // 2), min(4, (width + 1) // 2)
        self.hidden = weights.linear(32 * self.boxes[0] * self.boxes[1], WIDTH, gain=gain)
        self.last = weights.linear(WIDTH, n_classes)

    def features(self, pictures: Tensor) -> Tensor:
        """What the last linear map sees."""
        x = pictures - 0.5
        for convolution in self.convolutions:
            x = convolution(x).relu()
        return self.hidden(F.adaptive_avg_pool2d(x, self.boxes).flatten(1)).relu()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.last(self.features(pictures))


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network. accuracy: the share of the n_held_out pictures it did not learn from that it tells rightly.

    unit: what features are divided by, so that those of the data have a total variance of 1.
    """

    network: Network
    unit: float
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    accuracy: float
    n_learned: int
    n_held_out: int
    seed: int

    def features(self, pictures: Tensor) -> Tensor:
        """(n, WIDTH) of pictures (n, c, h, w) in [0, 1], on the CPU. ValueError for other shapes or values."""
        return self._of(pictures, self.network.features, WIDTH).double() / self.unit

    def probabilities(self, pictures: Tensor) -> Tensor:
        """(n, k), rows of sum 1, of pictures as features() takes them."""
        return self._of(pictures, self.network, len(self.classes)).double().softmax(1)

    @torch.no_grad()
    def _of(self, pictures: Tensor, function: Callable[[Tensor], Tensor], width: int) -> Tensor:
        if pictures.ndim != 4 or pictures.shape[1:] != self.shape:
            raise ValueError(
                f"pictures of shape {tuple(pictures.shape)} are not (n, {', '.join(map(str, self.shape))})"
            )
        if len(pictures) and not (pictures.min() >= 0 and pictures.max() <= 1):  # NaN is not, either
            raise ValueError(
                f"pictures with values from {float(pictures.min()):g} to {float(pictures.max()):g} are not in [0, 1]"
            )
        with one_torch_thread():
            parts = [function(part.float().cpu()) for part in pictures.split(AT_ONCE)] if len(pictures) else []
        return torch.cat(parts) if parts else torch.empty(0, width)


def train_classifier(
    data: Dataset, *, seed: int = 0, steps: int = 800, batch: int = 64, rate: float = 2e-3
) -> Classifier:
    """A classifier of labelled pictures: Adam on the cross entropy, the rate falling to 0 as half a cosine.

    seed: of the weights, of which pictures are held out, and of the batches; equal seeds give equal bits on a machine.
    Digits take 2 CPU seconds. ValueError for data without classes, or too few to hold one of them out.
    """
    if len(data.classes) < 2:
        raise ValueError(f"{data.name} has {len(data.classes)} classes, and a classifier needs 2 or more")
    if steps < 1 or batch < 1 or not rate > 0:
        raise ValueError(f"steps={steps}, batch={batch}, rate={rate} should be at least 1, at least 1 and above 0")
    random = torch.Generator().manual_seed(seed % 2**63)
    network = Network(data.channels, data.height, data.width, len(data.classes), random)
    share, most = HELD_OUT
    n_held_out = min(round(share * data.n), most)
    if n_held_out < 1:
        raise ValueError(f"{data.name} has {data.n} pictures, of which none can be held out")
    held_out, learned = torch.randperm(data.n, generator=random).split([n_held_out, data.n - n_held_out])
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    with one_torch_thread():
        for i in range(steps):
            optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * i / steps)) / 2
            numbers = learned[torch.randint(0, len(learned), (batch,), generator=random)]
            loss = F.cross_entropy(network(pictures_of(data, numbers)), data.labels(numbers))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    network.eval().requires_grad_(False)
    shape = data.channels, data.height, data.width
    made = Classifier(network, 1.0, shape, tuple(data.classes), math.nan, len(learned), n_held_out, seed)
    seen = torch.cat([made.features(pictures_of(data, part)) for part in learned[:MEASURED].split(AT_ONCE)])
    told = [made.probabilities(pictures_of(data, part)).argmax(1) for part in held_out.split(AT_ONCE)]
    rightly = torch.cat(told) == data.labels(held_out)
    unit = math.sqrt(float(seen.var(0, correction=0).sum()))
    return replace(made, unit=unit or 1.0, accuracy=float(rightly.double().mean()))


def pictures_of(data: Dataset, numbers: Tensor) -> Tensor:
    """Pictures (B, C, H, W) in [0, 1] of numbers (B,), as an ImageModel gives its own."""
    return (data.batch(numbers) / 2 + 0.5).clamp(0, 1)


# ---- what it says


def classifier_frechet(classifier: Classifier, real: Tensor, made: Tensor) -> float:
    """Frechet distance between the classifier's features of pictures (n, c, h, w) and (m, c, h, w), 2 or more of each.

    In units of the variance of the data's features; on digits blurred by 3 x 3 boxes have 0.5. The fewer pictures, the
    larger: compare at equal counts, and beside that of two halves of the data (0.006 of 898 digits each).
    """
    return frechet(classifier.features(real), classifier.features(made)).value


@dataclass(frozen=True)
class ClassCoverage:
    """Which classes pictures are of.

    histogram: how many of each. reached: classes with `least` confident pictures or more. entropy: of the histogram, in
    nats, log k where all k are equally many. confident: the share of pictures whose class has the probability `sure`.
    """

    histogram: tuple[int, ...]
    reached: int
    entropy: float
    confident: float


def class_coverage(classifier: Classifier, made: Tensor, *, sure: float = 0.9, least: int = 1) -> ClassCoverage:
    """Of pictures (n, c, h, w), one at least: modes of the data, counted by a classifier.

    So does the literature of mode collapse (Srivastava and others 2017, "VEEGAN", of stacked digits), but does
    not ask for confidence. We do, since a blend of two classes is none.
    """
    if not 0 <= sure <= 1 or least < 1:
        raise ValueError(f"sure={sure}, least={least} should be from 0 to 1 and at least 1")
    if not len(made):
        raise ValueError("made: there is no picture")
    probability, label = classifier.probabilities(made).max(1)
    k, certain = len(classifier.classes), probability >= sure
    histogram = torch.bincount(label, minlength=k)
    share = histogram.double() / len(made)
    return ClassCoverage(
        tuple(histogram.tolist()),
        int((torch.bincount(label[certain], minlength=k) >= least).sum()),
        float(torch.special.entr(share).sum()),
        float(certain.double().mean()),
    )


def class_accuracy(classifier: Classifier, made: Tensor, labels: Tensor) -> float:
    """The share of pictures (n, c, h, w), one at least, that are told to be of the classes (n,) they were asked for.

    Real pictures have classifier.accuracy. ValueError unless there is one label a picture, of a class that is known.
    """
    k = len(classifier.classes)
    if labels.shape != (len(made),) or not len(made):
        raise ValueError(f"labels of shape {tuple(labels.shape)} should be one for each of {len(made)} pictures")
    if not 0 <= int(labels.min()) <= int(labels.max()) < k:
        raise ValueError(f"labels from {int(labels.min())} to {int(labels.max())} should be from 0 to below {k}")
    return float((classifier.probabilities(made).argmax(1) == labels.cpu()).double().mean())
