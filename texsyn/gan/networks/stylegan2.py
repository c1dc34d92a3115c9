"""StyleGAN2: a latent is mapped to styles, and the styles modulate convolutions that begin from a learned constant.

Karras and others 2020, "Analyzing and improving the image quality of StyleGAN", configuration F: skip generator,
residual discriminator, and resampling by [1, 3, 3, 1]. Its 1024 pixels: features 32, max_features and latent 512.
Depth k is the coarsest resolution doubled k times. Layers have equal learning rates, those of a mapping a hundredth.

Two things are random there beside the latent: noise at every place of every layer, and a second latent whose styles are
mixed in. Here both are hashes of the latent's bits, so that a training picture depends on its latent and on nothing it
is computed with. Outside training there is no mixing, and the noise is that of the buffers, the same for all pictures,
so that pictures move continuously with their latents.

periodic: what is made can be tiled, and what is judged is judged as a torus. folded: see resampling. Classes reach
either network by a mapping: beside the latent, and as <V_y, h> / sqrt(n) in place of the logit, as released code does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator, Shown
from texsyn.gan.networks.layers import Conv, Linear, Weights, n_halvings, one_hot, pixel_norm, with_deviation
from texsyn.gan.networks.resampling import conv, conv_down, conv_up, downsampled, modulated, upsampled

RATE = 0.01  # of a mapping's weights
FOLLOW = 0.005  # by how much the average style goes to that of a batch


# ---- numbers from a latent: SplitMix64's finaliser, as in texsyn.noise, on the latent's device

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # as the int64 of the same bits; products wrap
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_OTHERS, _WHETHER, _WHERE = -1, -2, -3  # in place of a layer: second latents, whether they come in, and where


def keys_of(z: Tensor) -> Tensor:
    """(B,) int64, hashes of the bits of latents (B, n) as float32: equal of equal latents, wherever they are."""
    bits = z.detach().float().contiguous().view(torch.int32).long()
    return _hashed(_hashed(bits + _addresses(bits.shape[1], z.device)).sum(1))


def normals(keys: Tensor, layer: int, n: int) -> Tensor:
    """(B, n) float32, standard normal, a function of a picture's key, the number of the layer and the place 0 .. n - 1.

    From 24 bits each, so that none is beyond 5.5.
    """
    return torch.erfinv(_symmetric(keys, layer, n)) * math.sqrt(2)


def _symmetric(keys: Tensor, layer: int, n: int) -> Tensor:
    """(B, n) float32, each one of the 2^24 odd multiples of 2^-24 in (-1, 1)."""
    hashes = _hashed(_hashed(keys + layer)[:, None] + _addresses(n, keys.device))
    return (((hashes >> 39) & (2**25 - 2)) + 1 - 2**24).float() / 2**24


def _addresses(n: int, device: torch.device) -> Tensor:
    return (torch.arange(n, device=device) + 1) * _GAMMA


def _hashed(z: Tensor) -> Tensor:
    z = (z ^ ((z >> 30) & (2**34 - 1))) * _FIRST
    z = (z ^ ((z >> 27) & (2**37 - 1))) * _SECOND
    return z ^ ((z >> 31) & (2**33 - 1))


# ---- layers


def _activated(x: Tensor, bias: Tensor | None) -> Tensor:
    """sqrt 2 leaky ReLU(x + bias), which keeps variances about what they are; bias by channel."""
    if bias is not None:
        x = x + bias.to(x.dtype)[:, None, None]
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class Mapping(nn.Module):
    """Latents (B, n_in), normalised, and labels (B,), by n_layers layers to styles (B, n). n_in 0: labels alone."""

    def __init__(self, n_in: int, n: int, n_classes: int, n_layers: int, random: torch.Generator) -> None:
        super().__init__()
        if n_layers < 1:
            raise ValueError(f"n_layers={n_layers} of a mapping should be at least 1")
        self.n_classes = n_classes
        self.embed = Weights(random, scale="equalised").linear(n_classes, n) if n_classes else None
        weights, width = Weights(random, scale="equalised", rate=RATE), n_in + (n if n_classes else 0)
        self.layers = nn.ModuleList([weights.linear(n if k else width, n) for k in range(n_layers)])

    def forward(self, z: Tensor | None, labels: Tensor | None) -> Tensor:
        parts = [] if z is None else [pixel_norm(z)]
        if self.embed is not None:
            weight, _ = self.embed.used()
            parts.append(pixel_norm(self.embed(one_hot(labels, self.n_classes).to(weight))))
        w = torch.cat(parts, 1)
        for layer in self.layers:
            w = F.leaky_relu(layer(w), 0.2) * math.sqrt(2)
        return w


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
    ) -> None:
        super().__init__()
        self.by = partial(conv_up, periodic=periodic, folded=folded) if up else partial(conv, periodic=periodic)
        self.conv = weights.conv(n_in, n_out)
        self.affine = _affine(latent, n_in, weights)
        self.strength = nn.Parameter(torch.zeros((), device=weights.random.device))
        self.register_buffer("noise", torch.randn(shape, generator=weights.random, device=weights.random.device))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """w (B, latent). noise (B, H W), or that of the buffer, the same for all."""
        weight, bias = self.conv.used()
        x = modulated(x, weight, self.affine(w), by=self.by)
        noise = self.noise if noise is None else noise.view(-1, 1, *self.noise.shape)
        return _activated(x + (self.strength * noise).to(x.dtype), bias)


class ToPicture(nn.Module):
    """A modulated convolution 1 x 1 to a picture, without demodulation, and a bias."""

    def __init__(self, n_in: int, channels: int, latent: int, weights: Weights) -> None:
        super().__init__()
        self.conv, self.affine = weights.conv(n_in, channels, 1), _affine(latent, n_in, weights)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight, bias = self.conv.used()
        assert bias is not None
        return modulated(x, weight, self.affine(w), demodulate=False) + bias.to(x.dtype)[:, None, None]


def _convolved(x: Tensor, layer: Conv, by: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    weight, bias = layer.used()
    return _activated(by(x, weight), bias)


class Halving(nn.Module):
    """x (B, n_in, H, W) by two convolutions 3 x 3, the second to half, and one of 1 x 1 beside them: (B, n_out, ..)."""

    def __init__(self, n_in: int, n_out: int, weights: Weights, *, periodic: bool, folded: bool) -> None:
        super().__init__()
        self.periodic = periodic
        self.to_same = partial(conv, periodic=periodic)
        self.to_half = partial(conv_down, periodic=periodic, folded=folded)
        self.first, self.second = weights.conv(n_in, n_in), weights.conv(n_in, n_out)
        self.skip = weights.conv(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        beside = self.skip(downsampled(x, periodic=self.periodic))
        x = _convolved(_convolved(x, self.first, self.to_same), self.second, self.to_half)
        return (x + beside) / math.sqrt(2)


# ---- networks


class StyleGenerator(ImageGenerator):
    """Latents to styles, one row for each layer, and those to pictures, not bounded. n_styles: how many rows.

    Layer i has row i; the picture of depth k has row 2 k + 1, as the next depth's first layer. mixing: how many of the
    training pictures have the styles of a second latent from some layer on.
    """

    average: Tensor

    def __init__(
        self,
        design: Design,
        random: torch.Generator,
        *,
        mapping_layers: int = 8,
        mixing: float = 0.9,
        periodic: bool = False,
        folded: bool = False,
    ) -> None:
        super().__init__()
        self.design, self.mixing, self.periodic = design, mixing, periodic
        weights, widths = Weights(random, scale="equalised"), design.widths(n_halvings(design) + 1)[::-1]
        height, width = design.base()
        n = design.latent
        self.n_styles = 2 * len(widths)
        self.mapping = Mapping(n, n, design.n_classes, mapping_layers, random)
        self.register_buffer("average", torch.zeros(n, device=random.device))
        self.start = nn.Parameter(torch.randn(widths[0], height, width, generator=random, device=random.device))
        self.layers, self.pictures = nn.ModuleList(), nn.ModuleList()
        for k, n_out in enumerate(widths):
            shape, n_in = (height << k, width << k), widths[max(k - 1, 0)]
            if k:
                up = StyleLayer(n_in, n_out, n, shape, weights, up=True, periodic=periodic, folded=folded)
                self.layers.append(up)
            self.layers.append(StyleLayer(n_out, n_out, n, shape, weights, up=False, periodic=periodic))
            self.pictures.append(ToPicture(n_out, design.channels, n, weights))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures (B, C, H, W); in training with noise and mixed styles of their own (see above)."""
        ws = self.styles(z, labels)
        if not self.training:
            return self.synthesise(ws)
        keys = keys_of(z)
        return self.synthesise(self._mixed(ws, keys, labels), keys)

    def styles(self, z: Tensor, labels: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Styles (B, n_styles, latent) of latents, the same in all rows but for truncation.

        The first `cutoff` rows, or all, are psi w + (1 - psi) the average style. In training that average, which begins
        at 0, follows what is mapped.
        """
        w = self.mapping(z, labels)
        if self.training:
            with torch.no_grad():
                self.average.lerp_(w.mean(0).to(self.average), FOLLOW)
        ws = w[:, None].expand(-1, self.n_styles, -1)
        if psi == 1:
            return ws
        n = self.n_styles if cutoff is None else cutoff
        return torch.cat([self.average.to(ws).lerp(ws[:, :n], psi), ws[:, n:]], 1)

    def synthesise(self, ws: Tensor, keys: Tensor | None = None) -> Tensor:
        """Pictures (B, C, H, W) of styles (B, n_styles, latent), with the noise of keys (B,), or of the buffers.

        ValueError for styles of another shape.
        """
        if ws.ndim != 3 or ws.shape[1:] != (self.n_styles, self.design.latent):
            raise ValueError(f"ws={tuple(ws.shape)} should be (B, {self.n_styles}, {self.design.latent})")
        x, made = self.start.expand(len(ws), -1, -1, -1), None
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, StyleLayer)
            x = layer(x, ws[:, i], None if keys is None else normals(keys, i, layer.noise.numel()).to(ws))
            if i % 2 == 0:  # the last one of depth i / 2
                picture = self.pictures[i // 2](x, ws[:, i + 1])
                made = picture if made is None else upsampled(made, periodic=self.periodic) + picture
        assert made is not None
        return made

    def _mixed(self, ws: Tensor, keys: Tensor, labels: Tensor | None) -> Tensor:
        """ws, where a picture's key says so with those of a second latent from one of the rows 1 .. n_styles - 1 on."""
        if not self.mixing:
            return ws
        whether, where = ((_symmetric(keys, which, 1) + 1) / 2 for which in (_WHETHER, _WHERE))
        first = 1 + where * (self.n_styles - 1)  # (B, 1)
        taken = (whether < self.mixing) & (torch.arange(1, self.n_styles + 1, device=keys.device) > first)
        others = self.mapping(normals(keys, _OTHERS, self.design.latent).to(ws), labels)
        return torch.where(taken[:, :, None], others[:, None], ws)


class StyleDiscriminator(ImageDiscriminator):
    """Pictures to logits by residual blocks, each to half the resolution, and the deviation of small groups."""

    def __init__(
        self,
        design: Design,
        random: torch.Generator,
        *,
        mapping_layers: int = 8,
        periodic: bool = False,
        folded: bool = False,
    ) -> None:
        super().__init__()
        self.design, self.by = design, partial(conv, periodic=periodic)
        weights, widths = Weights(random, scale="equalised"), design.widths(n_halvings(design) + 1)
        self.picture = weights.conv(design.channels, widths[0], 1)
        #: from the picture on
        self.blocks = nn.ModuleList(
            [Halving(*pair, weights, periodic=periodic, folded=folded) for pair in pairwise(widths)]
        )
        n = widths[-1]
        self.conv = weights.conv(n + 1, n)
        self.whole = weights.linear(n * math.prod(design.base()), n)
        self.psi = weights.linear(n, n if design.n_classes else 1)
        self.mapping = Mapping(0, n, design.n_classes, mapping_layers, random) if design.n_classes else None

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        assert isinstance(shown, Tensor)
        x = _convolved(shown, self.picture, self.by)
        for block in self.blocks:
            x = block(x)
        x = _convolved(with_deviation(x), self.conv, self.by)
        h = self.psi(F.leaky_relu(self.whole(x.flatten(1)), 0.2) * math.sqrt(2))
        if self.mapping is None:
            return h.squeeze(1)
        return (h * self.mapping(None, labels)).sum(1) / math.sqrt(h.shape[1])


def stylegan2(
    design: Design,
    random: torch.Generator,
    *,
    mapping_layers: int = 8,
    mixing: float = 0.9,
    periodic: bool = False,
    folded: bool = False,
) -> tuple[StyleGenerator, StyleDiscriminator]:
    """Both networks; the generator's weights, then the discriminator's, are drawn from `random`.

    mapping_layers is the generator's; a discriminator that is told classes maps those by 8.
    """
    return (
        StyleGenerator(design, random, mapping_layers=mapping_layers, mixing=mixing, periodic=periodic, folded=folded),
        StyleDiscriminator(design, random, periodic=periodic, folded=folded),
    )
