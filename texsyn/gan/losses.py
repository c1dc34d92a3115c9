"""Adversarial losses as pure functions of a discriminator's logits; penalties are in gan/penalties.py.

With r = D(x) and f = D(G(z)), maps or single numbers, D minimises mean a(r) + mean b(f) and G minimises mean c(f): a
loss is that triple (a, b, c), and the means run over batch and places alike. LOSSES has those with a name of their own,
f_gan() makes one of any f-divergence. RELATIVISTIC has those that judge a picture against the mean of the other kind:
G needs r there too, so every loss is asked as loss.d(r, f) and loss.g(f, r).
"""

from __future__ import annotations

import math
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

    def g(self, f: Tensor, r: Tensor | None = None) -> Tensor:
        """The generator's loss, a scalar; r is not looked at and need not be given."""
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
    # the same with a = -1, b = 1, c = 0: at D's best g(f) + g(r) is half of Pearson's chi^2 of p + q against 2 q, which
    # is sum (p - q)^2 / (p + q), p the data and q what is made
    "least-squares-pearson": AdversarialLoss(
        lambda r: (r - 1).square() / 2, lambda f: (f + 1).square() / 2, lambda f: f.square() / 2
    ),
    # Lim and Ye 2017, "Geometric GAN"
    "hinge": AdversarialLoss(lambda r: F.relu(1 - r), lambda f: F.relu(1 + f), _negative),
    # Arjovsky, Chintala and Bottou 2017, "Wasserstein GAN"
    "wasserstein": AdversarialLoss(_negative, _itself, _negative),
}


# ---- any f-divergence

#: What makes a lower bound of D_f(P|Q) = E_Q f(p/q), for P the data and Q what is made, out of a logit v: its output
#: activation g(v), into the domain of f's conjugate f*, and F(v) = f*(g(v)), simplified. E_P g(v) - E_Q F(v) is the
#: bound, and equals D_f where g(v) = f'(p/q). Nowozin, Cseke and Tomioka 2016, "f-GAN", tables 1 and 2; every line is
#: derived anew in tests/test_losses.py. Some grow like e^|v|: float32 overflows from |v| = 89.
F_DIVERGENCES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    # f(u) = u log u, v = 1 + log(p/q) at best
    "kl": (_itself, lambda v: (v - 1).exp()),
    # f(u) = -log u, v = log(p/q)
    "reverse-kl": (lambda v: -(-v).exp(), lambda v: v - 1),
    # f(u) = (u - 1)^2, v = 2 (p/q - 1); below v = -2, where no best v is, F falls again
    "pearson": (_itself, lambda v: v.square() / 4 + v),
    # f(u) = (sqrt u - 1)^2, v = log(p/q) / 2
    "squared-hellinger": (lambda v: -torch.expm1(-v), torch.expm1),
    # f(u) = u log u - (u + 1) log((u + 1)/2), v = log(p/q); twice the usual Jensen-Shannon divergence
    "jensen-shannon": (lambda v: math.log(2) - F.softplus(-v), lambda v: F.softplus(v) - math.log(2)),
    # f(u) = u log u - (u + 1) log(u + 1), v = log(p/q); that divergence less log 4: "saturating" above
    "gan": (lambda v: -F.softplus(-v), F.softplus),
    # f(u) = |u - 1| / 2, v = +-infinity by the sign of p - q
    "total-variation": (lambda v: v.tanh() / 2, lambda v: v.tanh() / 2),
}


def f_gan(divergence: str, *, alternative: bool = False) -> AdversarialLoss:
    """The loss whose D maximises the bound of a divergence named in F_DIVERGENCES: -d(r, f) <= D_f(data | made).

    G descends the same bound, -mean F(f); alternative: -mean g(f) instead, which is what turns the saturating loss into
    the non-saturating one (section 3.2 of the paper). Both have G raise f, but for pearson's first below f = -2.

    >>> r, f = torch.tensor([1.0]), torch.tensor([-1.0])
    >>> torch.equal(f_gan("gan", alternative=True).g(f), LOSSES["non-saturating"].g(f))
    True
    """
    if divergence not in F_DIVERGENCES:
        raise ValueError(f"divergence={divergence!r} is not one of {', '.join(F_DIVERGENCES)}")
    g, conjugate = F_DIVERGENCES[divergence]
    return AdversarialLoss(lambda r: -g(r), conjugate, (lambda f: -g(f)) if alternative else (lambda f: -conjugate(f)))


# ---- relativistic


@dataclass(frozen=True)
class RelativisticLoss:
    """Another loss's D, at r less the mean of f and at f less the mean of r; G minimises it with the roles exchanged.

    Jolicoeur-Martineau 2019, "The relativistic discriminator", the relativistic average GANs. The means run over batch
    and places alike and are differentiated too. The sum of both terms, as with every loss here: code that halves it
    has half this gradient.
    """

    absolute: AdversarialLoss

    def d(self, r: Tensor, f: Tensor) -> Tensor:
        """The discriminator's loss, a scalar; r and f may have different shapes."""
        return self.absolute.d(r - f.mean(), f - r.mean())

    def g(self, f: Tensor, r: Tensor | None = None) -> Tensor:
        """The generator's loss, a scalar; ValueError without r."""
        if r is None:
            raise ValueError("r=None: a relativistic loss needs the logits of real pictures for the generator too")
        return self.absolute.d(f - r.mean(), r - f.mean())


RELATIVISTIC = {
    "relativistic": RelativisticLoss(LOSSES["non-saturating"]),
    "relativistic-least-squares": RelativisticLoss(LOSSES["least-squares-pearson"]),
    "relativistic-hinge": RelativisticLoss(LOSSES["hinge"]),  # MSG-GAN's
}
