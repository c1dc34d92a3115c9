"""CoGAN: pairs of pictures of two domains that belong together, learned from pictures of each that do not.

A picture has 2 C channels, the first half of domain A, the second of domain B. Which B stands beside which A in the
data means nothing: the discriminator never sees both halves at once. That made halves belong together comes from the
generator's first layers, which are one for both domains; its last ones and the discriminator's first ones are each
domain's own (Liu and Tuzel 2016, "Coupled generative adversarial networks", section 3, which finds that sharing in the
discriminator only saves weights). Layers are those of DCGAN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from texsyn.gan.networks.convolutional import Base, falls, rises
from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator, Shown
from texsyn.gan.networks.layers import Weights, n_halvings


def cogan(
    design: Design, random: torch.Generator, *, own: int = 1, normalised: bool = True
) -> tuple[CoupledGenerator, CoupledDiscriminator]:
    """The pair, for design.channels = 2 C, of which `own` layers next to the picture are each domain's.

    ValueError for an odd number of channels, for classes, and where not every domain has 1 .. all halvings of its own.
    normalised: batch normalisation in the discriminator. Weights are drawn from random, the generator's first.
    """
    if design.channels % 2:
        raise ValueError(f"channels={design.channels} should be even: half of them are of each domain")
    if design.n_classes:
        raise ValueError(f"n_classes={design.n_classes} should be 0: cogan takes no labels")
    if not 1 <= own <= n_halvings(design):
        raise ValueError(f"own={own} should be 1..{n_halvings(design)}, the halvings of this picture")
    return CoupledGenerator(design, random, own), CoupledDiscriminator(design, random, own, normalised)


class CoupledGenerator(ImageGenerator):
    """Latents to pairs of pictures, side by side as channels."""

    def __init__(self, design: Design, random: torch.Generator, own: int) -> None:
        super().__init__()
        self.design, weights = design, Weights(random)
        widths = design.widths(n_halvings(design))
        shared = rises(widths[own - 1 :][::-1], weights, picture=False)
        self.shared = nn.Sequential(Base(design.latent, widths[-1], design.base(), weights), *shared)
        sizes = [*widths[:own][::-1], design.channels // 2]
        self.own = nn.ModuleList(nn.Sequential(*rises(sizes, weights, picture=True)) for _ in range(2))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.shared(z)
        return torch.cat([head(x) for head in self.own], 1)


class CoupledDiscriminator(ImageDiscriminator):
    """Pairs to two logits, (B, 2), each of one half: their mean loss is that of both domains.

    Each domain's pictures are normalised among themselves.
    """

    def __init__(self, design: Design, random: torch.Generator, own: int, normalised: bool = True) -> None:
        super().__init__()
        self.design, weights = design, Weights(random)
        widths = design.widths(n_halvings(design))
        sizes = [design.channels // 2, *widths[:own]]
        self.own = nn.ModuleList(
            nn.Sequential(*falls(sizes, weights, normalised=normalised, picture=True)) for _ in range(2)
        )
        height, width = design.base()
        self.shared = nn.Sequential(
            *falls(widths[own - 1 :], weights, normalised=normalised, picture=False),
            nn.Flatten(),
            weights.linear(widths[-1] * height * width, 1, bias=not normalised),
        )

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        assert isinstance(shown, Tensor)
        halves = shown.chunk(2, 1)
        return torch.cat([self.shared(head(half)) for head, half in zip(self.own, halves, strict=True)], 1)
