"""Blocks that the image GANs share: layers under a weight policy, normalisation that may be told a class, attention.

A policy (Weights) draws every weight of a network from one torch.Generator, in the order in which its layers are made,
and says how a layer uses its weight: as it is, scaled to equal learning rates (Karras, Aila, Laine and Lehtinen 2018,
"Progressive growing of GANs", section 4.1), or divided by its largest singular value (Miyato and others 2018). Biases
start at 0. Classes reach a network as vectors, one_hot() of them to begin with: a linear map of those is a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design
from texsyn.gan.penalties import spectral_norm
from texsyn.images import Size

SCALES = ("plain", "equalised", "spectral")
STARTS = ("normal", "glorot", "orthogonal")
NORMS = ("none", "batch", "instance", "layer", "pixel")


# ---- weights and the layers that have them


class Linear(nn.Module):
    """x (..., n_in) to (..., n_out): weight times `factor`, bias times `bias_factor`. Made by Weights.linear."""

    def __init__(self, weight: Tensor, bias: Tensor | None, factor: float = 1.0, bias_factor: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.factor, self.bias_factor = factor, bias_factor

    def used(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as they are applied; under spectral norm in training mode, each use is a power iteration."""
        weight = self.weight if self.factor == 1 else self.weight * self.factor
        bias = self.bias if self.bias is None or self.bias_factor == 1 else self.bias * self.bias_factor
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.used())


class Conv(Linear):
    """x (B, n_in, H, W) to (B, n_out, H / stride, W / stride), zeros beyond the border. Made by Weights.conv."""

    def __init__(self, weight: Tensor, bias: Tensor | None, factor: float, bias_factor: float, stride: int) -> None:
        super().__init__(weight, bias, factor, bias_factor)
        self.stride, self.padding = stride, (weight.shape[-1] - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, *self.used(), stride=self.stride, padding=self.padding)


Layer = TypeVar("Layer", bound=Linear)


@dataclass(frozen=True)
class Weights:
    """How the layers of one network get their weights, all from `random`, and how they use them.

    start: "normal" with standard deviation `spread`; "glorot", uniform of variance 2 / (fan in + fan out); or
    "orthogonal", rows or columns of a matrix (n_out, the rest). Each times a layer's `gain`. scale: "plain";
    "spectral", for which eps keeps the power method from dividing by 0; or "equalised": whatever start says, a layer
    keeps N(0, 1) / rate and uses that times gain rate / sqrt(fan in), its bias times rate. Where an optimiser's step
    does not depend on the size of gradients, rate is what it multiplies the learning rate by.
    """

    random: torch.Generator
    scale: str = "plain"
    start: str = "normal"
    spread: float = 0.02
    rate: float = 1.0
    eps: float = 1e-12

    def __post_init__(self) -> None:
        for name, known in (("scale", SCALES), ("start", STARTS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(known)}")

    def conv(
        self, n_in: int, n_out: int, side: int = 3, *, stride: int = 1, gain: float = 1.0, bias: bool = True
    ) -> Conv:
        """A convolution with kernels of that side, which keeps height and width but for the stride."""
        factor = self._factor(n_in * side**2, gain)
        weight, start = self._drawn((n_out, n_in, side, side), gain), self._bias(n_out, bias)
        return self._normed(Conv(weight, start, *factor, stride))

    def linear(self, n_in: int, n_out: int, *, gain: float = 1.0, bias: bool = True) -> Linear:
        """A linear map."""
        factor = self._factor(n_in, gain)
        return self._normed(Linear(self._drawn((n_out, n_in), gain), self._bias(n_out, bias), *factor))

    def _drawn(self, shape: tuple[int, ...], gain: float) -> Tensor:
        device = self.random.device
        if self.scale == "equalised":
            return torch.randn(shape, generator=self.random, device=device) / self.rate
        if self.start == "orthogonal":
            return nn.init.orthogonal_(torch.empty(shape, device=device), gain, generator=self.random)
        if self.start == "glorot":
            return nn.init.xavier_uniform_(torch.empty(shape, device=device), gain, generator=self.random)
        return torch.randn(shape, generator=self.random, device=device) * (self.spread * gain)

    def _bias(self, n: int, bias: bool) -> Tensor | None:
        return torch.zeros(n, device=self.random.device) if bias else None

    def _factor(self, fan_in: int, gain: float) -> tuple[float, float]:
        return (gain * self.rate / math.sqrt(fan_in), self.rate) if self.scale == "equalised" else (1.0, 1.0)

    def _normed(self, layer: Layer) -> Layer:
        if self.scale == "spectral":
            spectral_norm(layer, self.random, eps=self.eps)
        return layer


# ---- classes, and pictures up and down


def asked_for(labels: Tensor | None, n_classes: int) -> Tensor:
    """The labels; ValueError where there are none."""
    if labels is None:
        raise ValueError(f"labels=None: a network of {n_classes} classes needs one of 0..{n_classes - 1} a picture")
    return labels


def one_hot(labels: Tensor | None, n_classes: int) -> Tensor:
    """(B, n_classes) of labels (B,) int64; ValueError where there are none.

    >>> one_hot(torch.tensor([1, 0]), 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    return F.one_hot(asked_for(labels, n_classes), n_classes).to(torch.get_default_dtype())


def n_halvings(design: Design) -> int:
    """design.halvings() to sides of at least 4; ValueError where there is none."""
    n = design.halvings()
    if n == 0:
        raise ValueError(f"a size of {Size(design.height, design.width)}: both sides should be even and at least 8")
    return n


def up(x: Tensor) -> Tensor:
    """x (B, C, H, W) at twice the height and width, by nearest values."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def down(x: Tensor) -> Tensor:
    """x (B, C, H, W) at half the height and width, by means of 2 x 2 values."""
    return F.avg_pool2d(x, 2)


# ---- normalisation


def pixel_norm(x: Tensor) -> Tensor:
    """x (B, C, ...) over the root mean square of its channels at each place, plus 1e-8 under the root.

    Karras, Aila, Laine and Lehtinen 2018, section 4.2.
    """
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Norm(nn.Module):
    """x normalised, then (1 + gain) x + bias by channel, gain and bias 0 at first, or `told`: linear in a vector y.

    kind: "batch", over all but channels, by running means outside training; "instance", over a picture's channel;
    "layer", over a picture; "pixel", over channels at a place, without gain and bias; "none", which is x.
    told: makes the map from y (B, n_given) to a gain, and to a bias, for each of n channels (Dumoulin, Shlens and
    Kudlur 2017, of classes; Brock, Donahue and Simonyan 2019, of a class's vector and a part of the latent).
    """

    def __init__(self, kind: str, n: int, told: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        if kind not in NORMS:
            raise ValueError(f"kind={kind!r} is not one of {', '.join(NORMS)}")
        self.kind, self.told = kind, None
        if kind == "batch":
            self.batch = nn.BatchNorm2d(n, affine=False)
        if kind in ("batch", "instance", "layer"):
            if told is None:
                self.gain, self.bias = nn.Parameter(torch.zeros(n)), nn.Parameter(torch.zeros(n))
            else:
                self.told = nn.ModuleList([told(n), told(n)])

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if self.kind == "none":
            return x
        if self.kind == "pixel":
            return pixel_norm(x)
        x = self.batch(x) if self.kind == "batch" else F.group_norm(x, x.shape[1] if self.kind == "instance" else 1)
        gain, bias = (self.gain, self.bias) if self.told is None else (one(y) for one in self.told)
        return torch.addcmul(bias[..., None, None], 1 + gain[..., None, None], x)


# ---- what looks beyond a place


def with_deviation(x: Tensor, group: int = 4) -> Tensor:
    """x (B, C, H, W) with a channel more: how much pictures of a group differ, one number for each group.

    The standard deviation over the group, mean over channels and places; a generator that makes one picture is found
    out by it. Groups have n pictures, as many as divide B, at most `group`: those B / n apart. Karras and others 2018,
    section 3, with one group there; groups of 4, and which pictures are in one, are those of released code.
    """
    n = next(n for n in range(min(group, len(x)), 0, -1) if len(x) % n == 0)
    groups = x.unflatten(0, (n, -1))  # (n, B / n, C, H, W)
    deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B / n,)
    channel = deviation.repeat(n)[:, None, None, None].expand(-1, 1, *x.shape[2:])
    return torch.cat([x, channel], 1)


class Attention(nn.Module):
    """x + gain o(g(x) softmax(theta(x) . phi(x))), x (B, C, H, W): each place looks at all of half the resolution.

    theta and phi have C / 8 channels, g has C / 2; phi and g are halved by maxima of 2 x 2; the gain starts at 0.
    Memory: (H W)^2 / 4 numbers a picture. Zhang, Goodfellow, Metaxas and Odena 2019, "Self-attention generative
    adversarial networks"; the maxima are those of the authors' code, which their section 3 does not have.
    """

    def __init__(self, n: int, weights: Weights) -> None:
        super().__init__()
        few, half = max(n // 8, 1), max(n // 2, 1)
        self.theta, self.phi = weights.conv(n, few, 1, bias=False), weights.conv(n, few, 1, bias=False)
        self.g, self.o = weights.conv(n, half, 1, bias=False), weights.conv(half, n, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        # written out: fused attention has no second derivative, which penalties of a slope need
        theta, phi, g = (
            t.flatten(2)
            for t in (
                self.theta(x),
                F.max_pool2d(self.phi(x), 2, ceil_mode=True),
                F.max_pool2d(self.g(x), 2, ceil_mode=True),
            )
        )
        seen = g @ (theta.mT @ phi).softmax(-1).mT  # (B, C / 2, H W)
        return x + self.gain * self.o(seen.unflatten(2, x.shape[2:]))


class ResBlock(nn.Module):
    """x (B, n_in, H, W) to a skip connection plus gain times two convolutions 3 x 3, each after norm and activation.

    resample: "up", "down" or None. n_hidden: channels between the convolutions, n_out if not given. norm: makes the
    normalisation of so many channels. first: x is a picture, and the first convolution sees it as it is. slope: of the
    leaky ReLU, 0 for ReLU. The skip is a convolution 1 x 1 where channels or the resolution change (He and others
    2016; Miyato and others 2018, figures 9 and 10; a first block there halves before its skip, here all do: a
    convolution 1 x 1 and a mean, or a copy, are the same in either order).
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        weights: Weights,
        *,
        resample: str | None = None,
        n_hidden: int | None = None,
        norm: Callable[[int], Norm] | None = None,
        first: bool = False,
        slope: float = 0.0,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        n_hidden = n_hidden or n_out
        norm = norm or (lambda n: Norm("none", n))
        self.resample, self.slope, self.gain = resample, slope, gain
        self.norm1 = None if first else norm(n_in)
        self.conv1 = weights.conv(n_in, n_hidden, gain=math.sqrt(2))
        self.norm2 = norm(n_hidden)
        self.conv2 = weights.conv(n_hidden, n_out, gain=math.sqrt(2))
        self.skip = weights.conv(n_in, n_out, 1) if n_in != n_out or resample else nn.Identity()

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y (B, n_given): what the norms are told."""
        h = x if self.norm1 is None else F.leaky_relu(self.norm1(x, y), self.slope)
        h = self.conv1(up(h) if self.resample == "up" else h)
        h = self.conv2(F.leaky_relu(self.norm2(h, y), self.slope))
        if self.resample == "down":
            return self.skip(down(x)) + self.gain * down(h)
        x = self.skip(x)
        return (up(x) if self.resample == "up" else x) + self.gain * h
