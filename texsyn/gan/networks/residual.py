"""Residual GANs of images: SNGAN, the resnets of WGAN-GP and of R1, SAGAN and BigGAN are arguments of two networks.

The generator goes from a linear map of the latent at the coarsest resolution up by residual blocks, to batch
normalisation, ReLU, a convolution and tanh; the discriminator goes down by such blocks to one sum, or mean, of features
h, and says psi(h), plus <V_y, h> for class y (Miyato and Koyama 2018, "cGANs with projection discriminator").

The papers' channels are those of 32 pixels, and of 64 or 128 and more. Up to three halvings there is one width
throughout, and the discriminator halves twice only; beyond, channels double away from the picture, and it halves down
to the generator's coarsest resolution, where one more block does not: at 64 pixels SNGAN's and BigGAN's halves too, or
has twice the channels. Design's features are 64 for SNGAN, the resnets and SAGAN, 96 for BigGAN at 128 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator, Shown
from texsyn.gan.networks.layers import Attention, Norm, ResBlock, Weights, asked_for, n_halvings, one_hot
from texsyn.images import Size

TOLD = ("norm", "shared", "latent")
POOLS = ("sum", "mean", "none")
FLAT = 3  # halvings up to which one width is kept


@dataclass(frozen=True)
class GeneratorPlan:
    """What residual generators differ in.

    widths: channels at the coarsest resolution, then of each block; the last blocks, one for each halving of the
    design, go up, any before them do not. told: how classes come in, by a table for each norm ("norm"); by a shared
    vector of n_shared numbers, from which, and from a part of the latent of its own, each block's norms are computed
    ("shared", without classes from the latent alone); or as a vector of n_shared numbers and unit length beside the
    latent ("latent"). attention: after which block it stands, given as the number of times that the picture is halved
    there; None for none. slope: of the leaky ReLU. gain: of what a block adds.
    """

    widths: tuple[int, ...]
    norm: str = "batch"
    told: str = "norm"
    n_shared: int = 128
    attention: int | None = None
    slope: float = 0.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.told not in TOLD:
            raise ValueError(f"told={self.told!r} is not one of {', '.join(TOLD)}")


@dataclass(frozen=True)
class DiscriminatorPlan:
    """What residual discriminators differ in.

    widths: channels of each block, of which the first n_down halve. wide: channels change in a block's first
    convolution, not in its second. stem: a convolution before the first block, which is then like the others. pool: of
    places, at the end, or "none". Others as in GeneratorPlan.
    """

    widths: tuple[int, ...]
    n_down: int
    wide: bool = False
    stem: bool = False
    pool: str = "sum"
    attention: int | None = None
    slope: float = 0.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise ValueError(f"pool={self.pool!r} is not one of {', '.join(POOLS)}")


class ResidualGenerator(ImageGenerator):
    """Latents to pictures by residual blocks. ValueError where the design cannot be halved, or has too few latents."""

    def __init__(self, design: Design, plan: GeneratorPlan, weights: Weights) -> None:
        super().__init__()
        self.design, self.plan = design, plan
        n_up, n_blocks = n_halvings(design), len(plan.widths) - 1
        #: how many numbers of the latent the start and each block are given
        self.parts = _parts(design.latent, n_blocks) if plan.told == "shared" else [design.latent] + n_blocks * [0]
        self.base, n_first, n_vector = design.base(), self.parts[0], 0
        if design.n_classes and plan.told == "norm":
            n_vector = design.n_classes
        elif design.n_classes:
            drawn = replace(weights, scale="plain").linear(plan.n_shared, design.n_classes).weight.detach()
            self.classes = nn.Embedding(design.n_classes, plan.n_shared, _weight=drawn)
            n_first, n_vector = (n_first, plan.n_shared) if plan.told == "shared" else (n_first + plan.n_shared, 0)
        self.start = weights.linear(n_first, plan.widths[0] * math.prod(self.base))
        self.blocks = nn.ModuleList()
        for k, (n_in, n_out) in enumerate(pairwise(plan.widths)):
            resample = "up" if k >= n_blocks - n_up else None
            norm = _told_norm(plan, n_vector + self.parts[k + 1], weights)
            made = ResBlock(n_in, n_out, weights, resample=resample, norm=norm, slope=plan.slope, gain=plan.gain)
            self.blocks.append(made)
        #: after so many blocks there is attention
        self.looks = -1 if plan.attention is None else n_blocks - plan.attention
        self.attention = Attention(plan.widths[self.looks], weights) if self.looks >= 0 else None
        self.norm = Norm(plan.norm, plan.widths[-1])
        self.end = weights.conv(plan.widths[-1], design.channels)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        first, *others = z.split(self.parts, 1)
        y = z[:, :0] if not self.design.n_classes else self._vector(labels).to(z)
        if self.plan.told == "latent":
            first, y = torch.cat([first, y], 1), y[:, :0]
        h = self.start(first).unflatten(1, (-1, *self.base))
        for k, block in enumerate(self.blocks):
            if k == self.looks and self.attention is not None:
                h = self.attention(h)
            h = block(h, torch.cat([y, others[k]], 1))
        if self.looks == len(self.blocks) and self.attention is not None:
            h = self.attention(h)
        return self.end(F.leaky_relu(self.norm(h), self.plan.slope)).tanh()

    def _vector(self, labels: Tensor | None) -> Tensor:
        if self.plan.told == "norm":
            return one_hot(labels, self.design.n_classes)
        vectors = self.classes(asked_for(labels, self.design.n_classes))
        return F.normalize(vectors, dim=1) if self.plan.told == "latent" else vectors


class ResidualDiscriminator(ImageDiscriminator):
    """Pictures to logits by residual blocks. ValueError where the design cannot be halved n_down times."""

    def __init__(self, design: Design, plan: DiscriminatorPlan, weights: Weights) -> None:
        super().__init__()
        self.design, self.plan = design, plan
        if n_halvings(design) < plan.n_down:
            size = Size(design.height, design.width)
            raise ValueError(f"n_down={plan.n_down}: {size} is halved {design.halvings()} times")
        n_first = plan.widths[0] if plan.stem else design.channels
        self.stem = weights.conv(design.channels, n_first) if plan.stem else nn.Identity()
        self.blocks = nn.ModuleList()
        for k, (n_in, n_out) in enumerate(pairwise((n_first, *plan.widths))):
            first, resample = k == 0 and not plan.stem, "down" if k < plan.n_down else None
            n_hidden = n_out if plan.wide or first else n_in
            made = ResBlock(
                n_in,
                n_out,
                weights,
                resample=resample,
                n_hidden=n_hidden,
                first=first,
                slope=plan.slope,
                gain=plan.gain,
            )
            self.blocks.append(made)
        self.attention = None if plan.attention is None else Attention(plan.widths[plan.attention - 1], weights)
        n_places = (design.height >> plan.n_down) * (design.width >> plan.n_down)
        n = plan.widths[-1] * (n_places if plan.pool == "none" else 1)
        self.psi = weights.linear(n, 1)
        self.classes = weights.linear(design.n_classes, n, bias=False) if design.n_classes else None

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        assert isinstance(shown, Tensor)
        h = self.stem(shown)
        for k, block in enumerate(self.blocks, start=1):
            h = block(h)
            if k == self.plan.attention and self.attention is not None:
                h = self.attention(h)
        h = F.leaky_relu(h, self.plan.slope).flatten(2)  # (B, C, places)
        h = h.flatten(1) if self.plan.pool == "none" else h.sum(2) if self.plan.pool == "sum" else h.mean(2)
        out = self.psi(h).squeeze(1)
        if self.classes is None:
            return out
        return out + (self.classes(one_hot(labels, self.design.n_classes).to(h)) * h).sum(1)


def _parts(latent: int, n_blocks: int) -> list[int]:
    """A latent's numbers for the start and for each block: equal parts, the first with what is left."""
    each = latent // (n_blocks + 1)
    if each == 0:
        raise ValueError(f"latent={latent} should be at least {n_blocks + 1}, a number for the start and each block")
    return [latent - n_blocks * each] + n_blocks * [each]


def _told_norm(plan: GeneratorPlan, n: int, weights: Weights) -> Callable[[int], Norm]:
    """Makes norms that are told vectors of n numbers; tables begin with what a norm without classes begins with."""
    table = weights if plan.told == "shared" else replace(weights, scale="plain", start="normal", spread=0.0)
    return lambda m: Norm(plan.norm, m, (lambda k: table.linear(n, k, bias=False)) if n else None)


# ---- the families; each draws the generator's weights from `random` first, then the discriminator's

Pair = tuple[ResidualGenerator, ResidualDiscriminator]


def sngan(design: Design, random: torch.Generator) -> Pair:
    """Miyato and others 2018, "Spectral normalization for generative adversarial networks", with cBN and projection."""
    up, down, n_down = _widths(design, 4, 2)
    return (
        ResidualGenerator(design, GeneratorPlan(up), Weights(random, start="glorot")),
        ResidualDiscriminator(
            design, DiscriminatorPlan(down, n_down), Weights(random, scale="spectral", start="glorot")
        ),
    )


def wgan_resnet(design: Design, random: torch.Generator) -> Pair:
    """Gulrajani and others 2017, "Improved training of Wasserstein GANs", their CIFAR-10 networks at any size."""
    up, down, n_down = _widths(design, 2, 2)
    weights = Weights(random, start="glorot")
    return (
        ResidualGenerator(design, GeneratorPlan(up), weights),
        ResidualDiscriminator(design, DiscriminatorPlan(down, n_down, pool="mean"), weights),
    )


def resnet_r1(design: Design, random: torch.Generator) -> Pair:
    """Mescheder, Geiger and Nowozin 2018, "Which training methods for GANs do actually converge?", appendix.

    Departures: a logit for each class is that of psi and V together; resolutions halve by means of 2 x 2, theirs of
    3 x 3; blocks that change the resolution have a convolution on their skip.
    """
    down, weights = tuple(design.widths(n_halvings(design) + 1)), Weights(random, start="glorot")
    made = GeneratorPlan(
        (*down[::-1], down[0]), norm="none", told="latent", n_shared=design.latent, slope=0.2, gain=0.1
    )
    judged = DiscriminatorPlan(down, len(down) - 1, stem=True, pool="none", slope=0.2, gain=0.1)
    return ResidualGenerator(design, made, weights), ResidualDiscriminator(design, judged, weights)


def sagan(design: Design, random: torch.Generator) -> Pair:
    """Zhang, Goodfellow, Metaxas and Odena 2019, "Self-attention generative adversarial networks".

    Attention where the picture is halved twice, which is 32 of 128 pixels; once, up to three halvings.
    """
    up, down, n_down = _widths(design, 4, 2)
    level = 1 if n_halvings(design) <= FLAT else 2
    weights = Weights(random, scale="spectral", start="glorot")
    return (
        ResidualGenerator(design, GeneratorPlan(up, attention=level), weights),
        ResidualDiscriminator(design, DiscriminatorPlan(down, n_down, wide=True, attention=level), weights),
    )


def biggan(design: Design, random: torch.Generator) -> Pair:
    """Brock, Donahue and Simonyan 2019, "Large scale GAN training for high fidelity natural image synthesis".

    Attention where the picture is halved once. Truncation is in gan/latents.py, the orthogonal penalty in penalties.py.
    """
    up, down, n_down = _widths(design, 4, 4)
    weights = Weights(random, scale="spectral", start="orthogonal", eps=1e-6)
    return (
        ResidualGenerator(design, GeneratorPlan(up, told="shared", attention=1), weights),
        ResidualDiscriminator(design, DiscriminatorPlan(down, n_down, wide=True, attention=1), weights),
    )


def _widths(design: Design, flat_up: int, flat_down: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Channels of the generator, of the discriminator, and how often that halves; flat_ in units of the features."""
    n = n_halvings(design)
    if n > FLAT:
        widths = tuple(design.widths(n + 1))
        return widths[::-1], widths, n
    up, down = (min(flat * design.features, design.max_features) for flat in (flat_up, flat_down))
    n_down = min(n, 2)
    return (up,) * (n + 1), (down,) * (n_down + 2), n_down
