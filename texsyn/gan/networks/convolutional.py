"""DCGAN, and AC-GAN, whose discriminator also tells the class: convolutions that double or halve the picture.

Radford, Metz and Chintala 2016, "Unsupervised representation learning with deep convolutional generative adversarial
networks": kernels 4 x 4 of stride 2 (theirs are 5 x 5; 4 x 4 are those of everyone since, who need no uneven borders),
batch normalisation but in the generator's last and the discriminator's first layer, weights N(0, 0.02), factors of
normalisation N(1, 0.02). At 64 x 64 the layers are the paper's: 4 x 4 x 512 to 32 x 32 x 64 and the picture. Any other
picture is halved to a few pixels: 28 x 28 to 7 x 7, 8 x 8 to 4 x 4; the latent is mapped there by a linear layer, which
is what a transposed convolution of that size does, and the discriminator ends in one.

With classes, the generator is told a one-hot vector beside the latent, whose first linear layer learns a vector for
each: drawn N(0, 1) for 32 numbers instead, as strong as the latent, they made pictures of a class alike, on digits most
of all with acgan. The discriminator of a conditional DCGAN sees a plane learned for each class as one more channel.
AC-GAN's sees only the picture and has a second head (Odena, Olah and Shlens 2017, "Conditional image synthesis with
auxiliary classifier GANs").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator, Shown
from texsyn.gan.networks.layers import Linear, Norm, Weights, n_halvings, one_hot

SLOPE = 0.2


def dcgan(
    design: Design, random: torch.Generator, *, normalised: bool = True
) -> tuple[ConvolutionalGenerator, ConvolutionalDiscriminator]:
    """The pair, conditional where there are classes. normalised: batch normalisation in the discriminator.

    A penalty of the discriminator's gradients at each picture, such as WGAN-GP's, needs normalised=False: pictures of
    a batch are judged together otherwise. Weights are drawn from random, the generator's first.
    """
    return ConvolutionalGenerator(design, random), ConvolutionalDiscriminator(design, random, normalised)


def acgan(
    design: Design, random: torch.Generator, *, normalised: bool = True
) -> tuple[ConvolutionalGenerator, AuxiliaryDiscriminator]:
    """The pair; ValueError without classes. As dcgan, but for the discriminator's second head, classify()."""
    if design.n_classes == 0:
        raise ValueError("n_classes=0: acgan tells classes, and needs labels of at least 2")
    return ConvolutionalGenerator(design, random), AuxiliaryDiscriminator(design, random, normalised)


# ---- layers


def batch_norm(n: int, weights: Weights) -> Norm:
    """Batch normalisation whose factors are N(1, spread of weights) at first."""
    norm = Norm("batch", n)
    drawn = torch.randn(n, generator=weights.random, device=weights.random.device)
    norm.gain = nn.Parameter(weights.spread * drawn)
    return norm


class Transposed(Linear):
    """x (B, n_in, H, W) to (B, n_out, 2 H, 2 W), kernels 4 x 4 of stride 2, without bias."""

    def __init__(self, n_in: int, n_out: int, weights: Weights) -> None:
        drawn = torch.randn((n_in, n_out, 4, 4), generator=weights.random, device=weights.random.device)
        super().__init__(weights.spread * drawn, None)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, *self.used(), stride=2, padding=1)


class Base(nn.Module):
    """Vectors (B, n_in) to values (B, n, height, width): linear, normalised, ReLU."""

    def __init__(self, n_in: int, n: int, size: tuple[int, int], weights: Weights) -> None:
        super().__init__()
        self.shape = (n, *size)
        self.linear = weights.linear(n_in, n * size[0] * size[1], bias=False)
        self.norm = batch_norm(n, weights)

    def forward(self, z: Tensor) -> Tensor:
        return self.norm(self.linear(z).unflatten(1, self.shape)).relu()


class Rise(nn.Module):
    """Up by two, normalised, ReLU; the last makes the picture: up by two, tanh."""

    def __init__(self, n_in: int, n_out: int, weights: Weights, last: bool) -> None:
        super().__init__()
        self.up = Transposed(n_in, n_out, weights)
        self.norm = None if last else batch_norm(n_out, weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return x.tanh() if self.norm is None else self.norm(x).relu()


class Fall(nn.Module):
    """Down by two, normalised or not, leaky ReLU; a convolution has a bias where its network is never normalised."""

    def __init__(self, n_in: int, n_out: int, weights: Weights, normalised: bool, bias: bool) -> None:
        super().__init__()
        self.down = weights.conv(n_in, n_out, 4, stride=2, bias=bias)
        self.norm = batch_norm(n_out, weights) if normalised else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.down(x)), SLOPE)


def rises(sizes: Sequence[int], weights: Weights, *, picture: bool) -> list[Rise]:
    """Layers from sizes[0] channels to sizes[1] and on; picture: the last of them makes it."""
    n = len(sizes) - 1
    return [Rise(a, b, weights, picture and k == n - 1) for k, (a, b) in enumerate(pairwise(sizes))]


def falls(sizes: Sequence[int], weights: Weights, *, normalised: bool, picture: bool) -> list[Fall]:
    """Layers from sizes[0] channels to sizes[1] and on; picture: the first of them sees it, and is not normalised."""
    return [
        Fall(a, b, weights, normalised and not (picture and k == 0), not normalised)
        for k, (a, b) in enumerate(pairwise(sizes))
    ]


# ---- networks


class ConvolutionalGenerator(ImageGenerator):
    """Latents, with a one-hot vector of the class where there are any, to pictures in -1..1."""

    def __init__(self, design: Design, random: torch.Generator) -> None:
        super().__init__()
        self.design, weights = design, Weights(random)
        widths = design.widths(n_halvings(design))
        base = Base(design.latent + design.n_classes, widths[-1], design.base(), weights)
        self.layers = nn.Sequential(base, *rises([*reversed(widths), design.channels], weights, picture=True))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.design.n_classes:
            z = torch.cat([z, one_hot(labels, self.design.n_classes).to(z)], 1)
        return self.layers(z)


class ConvolutionalDiscriminator(ImageDiscriminator):
    """Pictures, with a plane of the class where there are any, to one logit each."""

    def __init__(self, design: Design, random: torch.Generator, normalised: bool = True) -> None:
        super().__init__()
        self.design, self.n_classes, weights = design, design.n_classes, Weights(random)
        if design.n_classes:  # N(0, 1): within the range of pixels
            places = design.height * design.width
            self.planes = weights.linear(design.n_classes, places, gain=1 / weights.spread, bias=False)
        sizes = [design.channels + bool(design.n_classes), *design.widths(n_halvings(design))]
        self.layers = nn.Sequential(*falls(sizes, weights, normalised=normalised, picture=True))
        height, width = design.base()
        self.n_seen = sizes[-1] * height * width
        self.last = weights.linear(self.n_seen, 1, bias=not normalised)

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        assert isinstance(shown, Tensor)
        if self.n_classes:
            plane = self.planes(one_hot(labels, self.n_classes).to(shown))
            shown = torch.cat([shown, plane.unflatten(1, (1, *shown.shape[2:]))], 1)
        return self.last(self.layers(shown).flatten(1))[:, 0]


class AuxiliaryDiscriminator(ConvolutionalDiscriminator):
    """AC-GAN's: the logit of being real from the picture alone, and the logits of its classes from the same layers."""

    def __init__(self, design: Design, random: torch.Generator, normalised: bool = True) -> None:
        super().__init__(replace(design, n_classes=0), random, normalised)
        self.design = design
        self.told = Weights(random).linear(self.n_seen, design.n_classes)

    def classify(self, shown: Shown) -> tuple[Tensor, Tensor]:
        assert isinstance(shown, Tensor)
        seen = self.layers(shown).flatten(1)
        return self.last(seen)[:, 0], self.told(seen)
