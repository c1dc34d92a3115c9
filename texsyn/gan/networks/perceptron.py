"""The first GAN: two stacks of fully connected layers, for points of the plane and for small pictures.

Goodfellow and others 2014, "Generative adversarial nets"; ReLU in the generator and leaky ReLU in the discriminator,
where they had maxout and dropout. With classes, both are told a one-hot vector of the label beside their input (Mirza
and Osindero 2014, "Conditional generative adversarial nets").
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator, Shown
from texsyn.gan.networks.layers import Norm, Weights, one_hot

SLOPE = 0.2


def perceptron(
    design: Design, random: torch.Generator, *, depth: int = 3, normalised: bool = False
) -> tuple[PerceptronGenerator, PerceptronDiscriminator]:
    """The pair, `depth` hidden layers of design.features each; normalised: batch normalisation in the generator.

    Weights are drawn from random, the generator's first.
    """
    return PerceptronGenerator(design, random, depth, normalised), PerceptronDiscriminator(design, random, depth)


class _Stack(nn.Module):
    """x (B, n_in) through hidden layers to (B, n_out); with classes, their one-hot vector is appended to x."""

    def __init__(
        self, n_in: int, n_out: int, design: Design, random: torch.Generator, depth: int, slope: float, norm: str
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth={depth} should be at least 1")
        weights, self.n_classes, self.slope = Weights(random, start="glorot"), design.n_classes, slope
        sizes = [n_in + design.n_classes, *[design.features] * depth]
        bias = norm == "none"  # a norm has its own
        self.hidden = nn.ModuleList(weights.linear(a, b, gain=math.sqrt(2), bias=bias) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(Norm(norm, n) for n in sizes[1:])
        self.last = weights.linear(sizes[-1], n_out)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        if self.n_classes:
            x = torch.cat([x, one_hot(labels, self.n_classes).to(x)], 1)
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            x = F.leaky_relu(norm(layer(x)[:, :, None, None]).flatten(1), self.slope)
        return self.last(x)


class PerceptronGenerator(ImageGenerator):
    """Latents to pictures, by tanh at the end, or to points of the plane, (B, C, 1, 1), without."""

    def __init__(self, design: Design, random: torch.Generator, depth: int, normalised: bool) -> None:
        super().__init__()
        self.design, self.shape = design, (design.channels, design.height, design.width)
        norm = "batch" if normalised else "none"
        self.stack = _Stack(design.latent, math.prod(self.shape), design, random, depth, 0.0, norm)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.stack(z, labels).unflatten(1, self.shape)
        return x if x.shape[2:] == (1, 1) else x.tanh()


class PerceptronDiscriminator(ImageDiscriminator):
    """Pictures or points to one logit each."""

    def __init__(self, design: Design, random: torch.Generator, depth: int) -> None:
        super().__init__()
        self.design = design
        n = design.channels * design.height * design.width
        self.stack = _Stack(n, 1, design, random, depth, SLOPE, "none")

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        assert isinstance(shown, Tensor)
        return self.stack(shown.flatten(1), labels)[:, 0]
