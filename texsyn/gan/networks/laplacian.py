"""LapGAN: a coarse picture, then at each doubling what the enlarged picture lacks, each level a GAN of its own.

Denton, Chintala, Szlam and Fergus 2015, "Deep generative image models using a Laplacian pyramid of adversarial
networks". With I_K the coarsest picture, d halving and u doubling, l_k = u(I_{k+1}) and h_k = I_k - l_k: the level's
generator makes h_k from l_k and a plane of noise, its discriminator judges l_k + h_k. To learn, each level begins with
the l_k of a real picture; to make pictures, with what the coarser levels made. Levels share no weights, so that one
loss of all of them trains each as if it were alone (its gradients are 1 / n_levels of that, which Adam does not
notice).

Departures: d is the mean of 2 x 2 and u is bilinear, symmetric where sides are even, instead of a blur before every
second pixel; noise is normal, not uniform; discriminators of the finer levels are DCGAN's, and they are shown l_k
beside the sum, so that they see what h_k was made for. With the sum alone, the covariance of made digits was off by
0.94 of the real one's norm after 1500 steps, instead of 0.50.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.convolutional import ConvolutionalDiscriminator, batch_norm
from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator, Shown
from texsyn.gan.networks.layers import Weights, down, n_halvings, one_hot
from texsyn.gan.networks.perceptron import PerceptronDiscriminator, PerceptronGenerator
from texsyn.images import Size

COARSEST = 8  # pixels of the shorter side, at least, as in the paper; half of that for pictures too small to have two
DEPTH = 2  # hidden layers of the coarsest level's perceptrons, as in the paper
WIDTH = 4  # theirs in features; eight, about the paper's, are not better on digits and take three times as long


def lapgan(
    design: Design, random: torch.Generator, *, n_levels: int | None = None, normalised: bool = True
) -> tuple[LaplacianGenerator, LaplacianDiscriminator]:
    """The pair, n_levels sizes from the coarsest to the picture's, conditional where there are classes.

    The generator's design says how long its latents are: those of design, which the coarsest level takes, and a number
    for each pixel of the finer ones. normalised: batch normalisation in the discriminators of the finer levels.
    ValueError where the picture cannot be halved n_levels - 1 times, at least once, to sides of 4 or more. Weights are
    drawn from random, the generator's first, in each from the coarsest level on.
    """
    most = 1 + n_halvings(design)
    if n_levels is None:
        n_levels = 1 + (design.halvings(COARSEST) or design.halvings(COARSEST // 2))
    if not 2 <= n_levels <= most:
        raise ValueError(f"n_levels={n_levels} should be 2..{most} for {Size(design.height, design.width)}")
    return LaplacianGenerator(design, random, n_levels), LaplacianDiscriminator(design, random, n_levels, normalised)


def enlarged(x: Tensor) -> Tensor:
    """u: twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def halved(x: Tensor, n_levels: int) -> tuple[Tensor, ...]:
    """x and what halvings make of it, n_levels pictures, the coarsest first."""
    found = [x]
    for _ in range(n_levels - 1):
        found.append(down(found[-1]))
    return tuple(reversed(found))


def level_designs(design: Design, n_levels: int) -> list[Design]:
    """That of each level's picture, the coarsest first; that one's features are those of its perceptrons.

    >>> [(d.height, d.width) for d in level_designs(Design(3, 32, 48), 3)]
    [(8, 12), (16, 24), (32, 48)]
    """
    found = [replace(design, height=design.height >> k, width=design.width >> k) for k in reversed(range(n_levels))]
    wide = WIDTH * design.features
    return [replace(found[0], features=wide, max_features=max(wide, design.max_features)), *found[1:]]


class Detail(nn.Module):
    """h of l (B, C, H, W), noise (B, H W) and, with classes, a plane of the class: three convolutions 3 x 3."""

    def __init__(self, design: Design, random: torch.Generator) -> None:
        super().__init__()
        self.n_classes, self.shape, weights = design.n_classes, (1, design.height, design.width), Weights(random)
        if design.n_classes:  # N(0, 1), as noise is
            places = design.height * design.width
            self.planes = weights.linear(design.n_classes, places, gain=1 / weights.spread, bias=False)
        n, n_in = design.features, design.channels + 1 + bool(design.n_classes)
        self.first, self.norm1 = weights.conv(n_in, n, bias=False), batch_norm(n, weights)
        self.second, self.norm2 = weights.conv(n, n, bias=False), batch_norm(n, weights)
        self.last = weights.conv(n, design.channels)

    def forward(self, low: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        seen = [low, noise.unflatten(1, self.shape)]
        if self.n_classes:
            seen.append(self.planes(one_hot(labels, self.n_classes).to(low)).unflatten(1, self.shape))
        x = self.norm1(self.first(torch.cat(seen, 1))).relu()
        return self.last(self.norm2(self.second(x)).relu())


class LaplacianGenerator(ImageGenerator):
    """Latents to pictures: first the coarsest level's part, then one number for each pixel of each finer level.

    Pictures come near -1..1, as real ones are, but nothing holds them there.
    """

    def __init__(self, design: Design, random: torch.Generator, n_levels: int) -> None:
        super().__init__()
        first, *finer = level_designs(design, n_levels)
        self.parts = [design.latent, *(d.height * d.width for d in finer)]
        self.design, self.n_levels = replace(design, latent=sum(self.parts)), n_levels
        self.coarsest = PerceptronGenerator(first, random, DEPTH, normalised=True)
        self.details = nn.ModuleList(Detail(d, random) for d in finer)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        first, *noises = z.split(self.parts, 1)
        x = self.coarsest(first, labels)
        for detail, noise in zip(self.details, noises, strict=True):
            low = enlarged(x)
            x = low + detail(low, noise, labels)
        return x

    def shown(self, z: Tensor, labels: Tensor | None, x: Tensor) -> tuple[Tensor, ...]:
        """The coarsest picture, then l + h and l of each finer level (B, 2 C, h, w), l and labels those of real x."""
        first, *noises = z.split(self.parts, 1)
        lows = [enlarged(coarse) for coarse in halved(x, self.n_levels)[:-1]]
        finer = zip(self.details, lows, noises, strict=True)
        pairs = (torch.cat([low + detail(low, noise, labels), low], 1) for detail, low, noise in finer)
        return (self.coarsest(first, labels), *pairs)


class LaplacianDiscriminator(ImageDiscriminator):
    """What shown() gives of real pictures, and the generator's of made ones, to a logit a level, (B, n_levels)."""

    def __init__(self, design: Design, random: torch.Generator, n_levels: int, normalised: bool = True) -> None:
        super().__init__()
        first, *finer = level_designs(design, n_levels)
        self.design, self.n_levels = design, n_levels
        self.levels = nn.ModuleList([PerceptronDiscriminator(first, random, DEPTH)])
        for d in finer:
            self.levels.append(ConvolutionalDiscriminator(replace(d, channels=2 * d.channels), random, normalised))

    def shown(self, x: Tensor) -> tuple[Tensor, ...]:
        """The coarsest picture, then each finer one and its l (B, 2 C, h, w)."""
        first, *finer = levels = halved(x, self.n_levels)
        return (first, *(torch.cat([one, enlarged(coarse)], 1) for coarse, one in zip(levels, finer, strict=False)))

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        assert isinstance(shown, tuple)
        return torch.stack([level(x, labels) for level, x in zip(self.levels, shown, strict=True)], 1)
