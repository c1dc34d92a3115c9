"""What a pair of GAN networks is built from, and what the training loop asks of the two.

Pictures are (B, C, H, W) with values in [-1, 1]; a point of the plane is a picture of two channels and one pixel. Any
height and width will do that halvings bring down to a few pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: what a discriminator is shown: a picture (B, C, H, W), or several of one batch, such as the levels of a pyramid
Shown = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Design:
    """Shapes that a generator and a discriminator agree upon. n_classes 0: there are no labels.

    features: channels of the layers next to the picture; they double away from it, up to max_features.
    """

    channels: int
    height: int
    width: int
    n_classes: int = 0
    latent: int = 128
    features: int = 64
    max_features: int = 512

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "latent", "features"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 1")
        if self.max_features < self.features:
            raise ValueError(f"max_features={self.max_features} should be at least features={self.features}")
        if self.n_classes < 0 or self.n_classes == 1:
            raise ValueError(f"n_classes={self.n_classes} should be 0, for no labels, or at least 2")

    def halvings(self, least: int = 4) -> int:
        """How often both sides can be halved, as long as neither falls below `least`.

        >>> Design(1, 32, 32).halvings(), Design(1, 28, 28).halvings(), Design(3, 48, 80).halvings()
        (3, 2, 3)
        """
        n, height, width = 0, self.height, self.width
        while height % 2 == 0 and width % 2 == 0 and min(height, width) // 2 >= least:
            n, height, width = n + 1, height // 2, width // 2
        return n

    def base(self, least: int = 4) -> tuple[int, int]:
        """Height and width after those halvings."""
        n = self.halvings(least)
        return self.height >> n, self.width >> n

    def widths(self, n: int) -> list[int]:
        """Channels of n layers, from the one next to the picture away from it.

        >>> Design(3, 64, 64, features=64, max_features=512).widths(5)
        [64, 128, 256, 512, 512]
        """
        return [min(self.features << k, self.max_features) for k in range(n)]


class ImageGenerator(nn.Module, ABC):
    """Latents to pictures."""

    design: Design

    @abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures (B, C, H, W) of latents (B, latent), standard normal; labels (B,) int64 where there are classes."""

    def shown(self, z: Tensor, labels: Tensor | None, x: Tensor) -> Shown:
        """What the discriminator is shown of made pictures; x, real ones, are for generators that begin with those."""
        return self(z, labels)

    def draw(self, n: int, random: torch.Generator) -> Tensor:
        """n latents, on the CPU: standard normal, unless the network says otherwise."""
        return torch.randn(n, self.design.latent, generator=random)


class ImageDiscriminator(nn.Module, ABC):
    """Pictures to logits. Of a network that also tells classes, classify() has the logits of those."""

    design: Design

    @abstractmethod
    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        """Logits (B,), or (B, k) of a discriminator with k heads."""

    def shown(self, x: Tensor) -> Shown:
        """What it is shown of real pictures x (B, C, H, W)."""
        return x

    def classify(self, shown: Shown) -> tuple[Tensor, Tensor]:
        """(logits, logits of the classes (B, n_classes)); NotImplementedError of one that does not tell classes."""
        raise NotImplementedError(f"{type(self).__name__} does not tell classes")

    def layers_from_picture(self) -> list[nn.Module]:
        """Its layers in the order in which a picture meets them; the first ones can be kept from learning."""
        raise NotImplementedError(f"{type(self).__name__} has no such order")
