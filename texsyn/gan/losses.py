"""Adversarial losses and penalties as pure functions of a discriminator's logits.

With r = D(x) and f = D(G(z)), maps or single numbers, D minimises mean a(r) + mean b(f) and G minimises mean c(f): a
loss is that triple (a, b, c), and the means run over batch and places alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AdversarialLoss:
    """What D pays for real and for made pictures, and what G pays for those it made; each elementwise in logits."""

    real: Callable[[Tensor], Tensor]
    made: Callable[[Tensor], Tensor]
    fooled: Callable[[Tensor], Tensor]

    def d(self, r: Tensor, f: Tensor) -> Tensor:
        """The discriminator's loss, a scalar; r and f may have different shapes."""
        return self.real(r).mean() + self.made(f).mean()

    def g(self, f: Tensor) -> Tensor:
        """The generator's loss, a scalar."""
        return self.fooled(f).mean()


def _negative(t: Tensor) -> Tensor:
    return -t


def _itself(t: Tensor) -> Tensor:
    return t


LOSSES = {
    # Goodfellow and others 2014, "Generative adversarial nets", equation 1
    "saturating": AdversarialLoss(lambda r: F.softplus(-r), F.softplus, lambda f: -F.softplus(f)),
    # the same paper, section 3: G maximises log D instead
    "non-saturating": AdversarialLoss(lambda r: F.softplus(-r), F.softplus, lambda f: F.softplus(-f)),
    # Mao and others 2017, "Least squares generative adversarial networks", equation 2 with a = 0, b = c = 1
    "least-squares": AdversarialLoss(
        lambda r: (r - 1).square() / 2, lambda f: f.square() / 2, lambda f: (f - 1).square() / 2
    ),
    # Lim and Ye 2017, "Geometric GAN"
    "hinge": AdversarialLoss(lambda r: F.relu(1 - r), lambda f: F.relu(1 + f), _negative),
    # Arjovsky, Chintala and Bottou 2017, "Wasserstein GAN"
    "wasserstein": AdversarialLoss(_negative, _itself, _negative),
}


def gradient_penalty(
    discriminate: Callable[[Tensor], Tensor], x: Tensor, made: Tensor, mixing: Tensor, *, per_pixel: bool = False
) -> Tensor:
    """Mean of (|gradient of D| - 1)^2 at mixing x + (1 - mixing) made: WGAN-GP's penalty before its weight.

    x and made (B, C, H, W), mixing broadcasts against them, (B, 1, 1, 1) for one draw a picture. The norm is that of
    the whole picture's gradient (Gulrajani and others 2017, equation 3); per_pixel takes it over channels at each
    pixel instead, as SinGAN's released code does: 0.068 against 3.3 on one picture there.
    """
    between = (mixing * x + (1 - mixing) * made).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminate(between).sum(), between, create_graph=True)
    norm = gradient.norm(dim=1) if per_pixel else gradient.flatten(1).norm(dim=1)
    return (norm - 1).square().mean()
