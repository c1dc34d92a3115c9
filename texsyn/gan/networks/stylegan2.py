"""StyleGAN2: a latent is mapped to styles, and the styles modulate convolutions that begin from a learned constant.

Karras and others 2020, "Analyzing and improving the image quality of StyleGAN", configuration F: skip generator,
residual discriminator, and resampling by [1, 3, 3, 1]. Its 1024 pixels: features 32, max_features and latent 512.
Depth k is the coarsest resolution doubled k times. Layers have equal learning rates, those of a mapping a hundredth.

periodic: what is made can be tiled. It is judged with borders, as crops of a texture have them. stationary: the
constant is the same at all places, so that they differ by their noise alone, as those of a texture do. folded: see
resampling. clamp: what layers and pictures are cut to, +-256 in networks that were trained in half precision; 0 for
not. Classes reach either network by a mapping: beside the latent, and as <V_y, h> / sqrt(n) in place of the logit, as
released code does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design, ImageDiscriminator, Shown
from texsyn.gan.networks.layers import Conv, Linear, Weights, n_halvings, with_deviation
from texsyn.gan.networks.resampling import conv, conv_down, conv_up, downsampled, modulated, upsampled
from texsyn.gan.networks.style import Mapping, StyledGenerator, multiples, normals, repeated

# ---- layers


def _activated(x: Tensor, bias: Tensor | None, clamp: float) -> Tensor:
    """sqrt 2 leaky ReLU(x + bias), which keeps variances about what they are; bias by channel."""
    if bias is not None:
        x = x + bias.to(x.dtype)[:, None, None]
    return _within(F.leaky_relu(x, 0.2) * math.sqrt(2), clamp)


def _within(x: Tensor, clamp: float) -> Tensor:
    """x cut to [-clamp, clamp]; 0: as it is."""
    return x.clamp(-clamp, clamp) if clamp else x


def _affine(n_in: int, n_out: int, weights: Weights) -> Linear:
    """The map from a style to what scales each channel, about 1 at first."""
    layer = weights.linear(n_in, n_out)
    assert layer.bias is not None
    nn.init.ones_(layer.bias)
    return layer


class StyleLayer(nn.Module):
    """A modulated convolution 3 x 3, up by 2 or not, noise times a learned strength, bias, leaky ReLU."""

    noise: Tensor

    def __init__(
        self,
        n_in: int,
        n_out: int,
        latent: int,
        shape: tuple[int, int],
        weights: Weights,
        *,
        up: bool,
        periodic: bool = False,
        folded: bool = False,
        clamp: float = 0.0,
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.by = partial(conv_up, periodic=periodic, folded=folded) if up else partial(conv, periodic=periodic)
        self.conv = weights.conv(n_in, n_out)
        self.affine = _affine(latent, n_in, weights)
        self.strength = nn.Parameter(torch.zeros((), device=weights.random.device))
        self.register_buffer("noise", torch.randn(shape, generator=weights.random, device=weights.random.device))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """w (B, latent). noise (B, H W), or that of the buffer, the same for all."""
        weight, bias = self.conv.used()
        x = modulated(x, weight, self.affine(w), by=self.by)
        noise = repeated(self.noise, x) if noise is None else noise.view(-1, 1, *x.shape[2:])
        return _activated(x + (self.strength * noise).to(x.dtype), bias, self.clamp)


class ToPicture(nn.Module):
    """A modulated convolution 1 x 1 to a picture, without demodulation, and a bias."""

    def __init__(self, n_in: int, channels: int, latent: int, weights: Weights, *, clamp: float = 0.0) -> None:
        super().__init__()
        self.clamp = clamp
        self.conv, self.affine = weights.conv(n_in, channels, 1), _affine(latent, n_in, weights)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight, bias = self.conv.used()
        assert bias is not None
        with torch.autocast(x.device.type, enabled=False):  # pictures of all depths are summed
            x = modulated(x.to(bias), weight, self.affine(w).to(bias), demodulate=False)
            return _within(x + bias[:, None, None], self.clamp)


def _convolved(x: Tensor, layer: Conv, by: Callable[[Tensor, Tensor], Tensor], clamp: float) -> Tensor:
    weight, bias = layer.used()
    return _activated(by(x, weight), bias, clamp)


class Halving(nn.Module):
    """x (B, n_in, H, W) by two convolutions 3 x 3, the second to half: (B, n_out, H / 2, W / 2).

    residual: plus one of 1 x 1 beside them, over sqrt 2.
    """

    def __init__(self, n_in: int, n_out: int, weights: Weights, *, residual: bool, folded: bool, clamp: float) -> None:
        super().__init__()
        self.to_half, self.clamp = partial(conv_down, folded=folded), clamp
        self.first, self.second = weights.conv(n_in, n_in), weights.conv(n_in, n_out)
        self.skip = weights.conv(n_in, n_out, 1, bias=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        h = _convolved(_convolved(x, self.first, conv, self.clamp), self.second, self.to_half, self.clamp)
        if self.skip is None:
            return h
        return (h + self.skip(downsampled(x))) / math.sqrt(2)


# ---- networks


class StyleGenerator(StyledGenerator):
    """Layer i has row i of the styles; the picture of depth k has row 2 k + 1, as the next depth's first layer."""

    def __init__(
        self,
        design: Design,
        random: torch.Generator,
        *,
        mapping_layers: int = 8,
        mixing: float = 0.9,
        periodic: bool = False,
        stationary: bool = False,
        folded: bool = False,
        clamp: float = 0.0,
    ) -> None:
        super().__init__()
        self.design, self.mixing, self.periodic = design, mixing, periodic
        weights, widths = Weights(random, scale="equalised"), design.widths(n_halvings(design) + 1)[::-1]
        height, width = design.base()
        n = design.latent
        self.n_styles = 2 * len(widths)
        self.mapping = Mapping(n, n, design.n_classes, mapping_layers, random)
        self.register_buffer("average", torch.zeros(n, device=random.device))
        if stationary and not periodic:
            raise ValueError("stationary=True needs periodic=True: borders are places that differ from others")
        shape = (1, 1) if stationary else (height, width)
        self.start = nn.Parameter(torch.randn(widths[0], *shape, generator=random, device=random.device))
        self.layers, self.pictures = nn.ModuleList(), nn.ModuleList()
        for k, n_out in enumerate(widths):
            shape, n_in = (height << k, width << k), widths[max(k - 1, 0)]
            layer = partial(StyleLayer, latent=n, shape=shape, weights=weights, periodic=periodic, clamp=clamp)
            if k:
                self.layers.append(layer(n_in, n_out, up=True, folded=folded))
            self.layers.append(layer(n_out, n_out, up=False))
            self.pictures.append(ToPicture(n_out, design.channels, n, weights, clamp=clamp))

    def synthesise(self, ws: Tensor, keys: Tensor | None = None, *, shape: tuple[int, int] | None = None) -> Tensor:
        """Pictures of styles, as the class above says; larger ones begin from the constant again and again."""
        self.require_styles(ws)
        x, made = self.start.repeat(1, *self.repeats(shape)).expand(len(ws), -1, -1, -1), None
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, StyleLayer)
            n = x.shape[2] * x.shape[3] * (4 if i % 2 else 1)  # odd ones go up
            x = layer(x, ws[:, i], None if keys is None else normals(keys, i, n).to(ws))
            if i % 2 == 0:  # the last one of depth i / 2
                picture = self.pictures[i // 2](x, ws[:, i + 1])
                made = picture if made is None else upsampled(made, periodic=self.periodic) + picture
        assert made is not None
        return made

    def repeats(self, shape: tuple[int, int] | None) -> tuple[int, int]:
        """As above; of a stationary network, how many places it begins from, all alike."""
        if self.start.shape[1:] != (1, 1):
            return super().repeats(shape)
        side = 1 << self.design.halvings()
        return multiples(shape or (self.design.height, self.design.width), (side, side))

    def sides(self) -> tuple[int, ...]:
        """Row i goes to layer i, and the last one to a picture."""
        shapes = [layer.get_buffer("noise").shape for layer in self.layers]
        return (*(min(shape) for shape in shapes), min(shapes[-1]))

    def modulations(self) -> list[Linear | None]:
        """That of layer i in row i."""
        return [*(layer.affine for layer in self.layers if isinstance(layer, StyleLayer)), None]


class StyleDiscriminator(ImageDiscriminator):
    """Pictures to logits by blocks, each to half the resolution, and the deviation of groups of so many pictures."""

    def __init__(
        self,
        design: Design,
        random: torch.Generator,
        *,
        mapping_layers: int = 8,
        group: int = 4,
        residual: bool = True,
        folded: bool = False,
        clamp: float = 0.0,
    ) -> None:
        super().__init__()
        self.design, self.group, self.clamp = design, group, clamp
        weights, widths = Weights(random, scale="equalised"), design.widths(n_halvings(design) + 1)
        self.picture = weights.conv(design.channels, widths[0], 1)
        #: from the picture on
        self.blocks = nn.ModuleList(
            [Halving(*one, weights, residual=residual, folded=folded, clamp=clamp) for one in pairwise(widths)]
        )
        n = widths[-1]
        self.conv = weights.conv(n + 1, n)
        self.whole = weights.linear(n * math.prod(design.base()), n)
        self.psi = weights.linear(n, n if design.n_classes else 1)
        self.mapping = Mapping(0, n, design.n_classes, mapping_layers, random) if design.n_classes else None

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        assert isinstance(shown, Tensor)
        x = _convolved(shown, self.picture, conv, self.clamp)
        for block in self.blocks:
            x = block(x)
        with torch.autocast(x.device.type, enabled=False):  # few places, and the deviation is of small differences
            x = with_deviation(x.to(self.psi.weight), self.group)
            x = _convolved(x, self.conv, conv, self.clamp)
            h = self.psi(F.leaky_relu(self.whole(x.flatten(1)), 0.2) * math.sqrt(2))
            if self.mapping is None:
                return h.squeeze(1)
            return (h * self.mapping(None, labels)).sum(1) / math.sqrt(h.shape[1])

    def layers_from_picture(self) -> list[nn.Module]:
        """Of each block the first, the second and the skip; the picture's before, those of the coarsest places last."""
        blocks = [layer for block in self.blocks for layer in block.children()]
        return [self.picture, *blocks, self.conv, self.whole, self.psi]


def stylegan2(
    design: Design,
    random: torch.Generator,
    *,
    mapping_layers: int = 8,
    mixing: float = 0.9,
    group: int = 4,
    residual: bool = True,
    periodic: bool = False,
    stationary: bool = False,
    folded: bool = False,
    clamp: float = 0.0,
) -> tuple[StyleGenerator, StyleDiscriminator]:
    """Both networks; the generator's weights, then the discriminator's, are drawn from `random`.

    mapping_layers is the generator's; a discriminator that is told classes maps those by 8.
    """
    made: dict[str, Any] = {"mapping_layers": mapping_layers, "mixing": mixing, "stationary": stationary}
    return (
        StyleGenerator(design, random, periodic=periodic, folded=folded, clamp=clamp, **made),
        StyleDiscriminator(design, random, group=group, residual=residual, folded=folded, clamp=clamp),
    )
