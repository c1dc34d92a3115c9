"""What StyleGANs have in common: a latent is mapped to styles, one row for each layer, and the layers make a picture.

Karras, Laine and Aila 2019, "A style-based generator architecture for generative adversarial networks". Two things are
random there beside the latent: noise at every place of every layer, and a second latent whose styles are mixed in. Here
both are hashes of the latent's bits, so that a training picture depends on its latent and on nothing it is computed
with. Outside training there is no mixing, and the noise is that of the buffers, the same for all pictures, so that
pictures move continuously with their latents.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import ImageGenerator
from texsyn.gan.networks.layers import Linear, Weights, one_hot, pixel_norm
from texsyn.images import Size

RATE = 0.01  # of a mapping's weights


# ---- numbers from a latent: SplitMix64's finaliser, as in texsyn.noise, on the latent's device; never compiled, as
# what torch 2.13's default compiler makes of (torch.arange(100) + 1) * _GAMMA is wrong, and writes beyond its memory

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # as the int64 of the same bits; products wrap
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_OTHERS, _WHETHER, _WHERE = -1, -2, -3  # in place of a layer: second latents, whether they come in, and where


@torch.compiler.disable
def keys_of(z: Tensor) -> Tensor:
    """(B,) int64, hashes of the bits of latents (B, n) as float32: equal of equal latents, wherever they are."""
    bits = z.detach().float().contiguous().view(torch.int32).long()
    return _hashed(_hashed(bits + _addresses(bits.shape[1], z.device)).sum(1))


def normals(keys: Tensor, layer: int, n: int) -> Tensor:
    """(B, n) float32, standard normal, a function of a picture's key, the number of the layer and the place 0 .. n - 1.

    From 24 bits each, so that none is beyond 5.5.
    """
    return torch.erfinv(_symmetric(keys, layer, n)) * math.sqrt(2)


@torch.compiler.disable
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


def multiples(shape: tuple[int, int], unit: tuple[int, int]) -> tuple[int, int]:
    """How often each side of a unit fits into that of a shape. ValueError unless that is a whole number of times.

    >>> multiples((64, 96), (32, 32))
    (2, 3)
    """
    times = shape[0] // unit[0], shape[1] // unit[1]
    if min(times) < 1 or (times[0] * unit[0], times[1] * unit[1]) != shape:
        raise ValueError(f"a size of {Size(*shape)}: width and height should be multiples of {unit[1]} and {unit[0]}")
    return times


def repeated(noise: Tensor, x: Tensor) -> Tensor:
    """noise (h, w) next to itself as far as x (B, C, H, W) goes: (H, W)."""
    (height, width), times = x.shape[2:], [-(-n // of) for n, of in zip(x.shape[2:], noise.shape, strict=True)]
    return noise if times == [1, 1] and noise.shape == x.shape[2:] else noise.repeat(*times)[:height, :width]


# ---- latents to styles


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


class StyledGenerator(ImageGenerator):
    """Latents to styles (B, n_styles, latent), one row for each layer, and those to pictures, not bounded.

    average: the mean style, which begins at 0 and in training follows what is mapped by the share `follow` a batch.
    mixing: how many of the training pictures have the styles of a second latent from some row on.
    """

    mapping: Mapping
    average: Tensor
    n_styles: int
    mixing = 0.0
    follow = 0.005

    @abstractmethod
    def synthesise(self, ws: Tensor, keys: Tensor | None = None, *, shape: tuple[int, int] | None = None) -> Tensor:
        """Pictures (B, C, H, W) of styles (B, n_styles, latent), with the noise of keys (B,), or of the buffers.

        shape: height and width instead of the design's, as far as the network can. ValueError for other shapes, of
        either.
        """

    @abstractmethod
    def sides(self) -> tuple[int, ...]:
        """The shorter side of what the layer of each row makes, in pixels: rows of small ones are coarse."""

    @abstractmethod
    def modulations(self) -> list[Linear | None]:
        """For each row the map from a style to what it scales; None of a row that only pictures look at."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures (B, C, H, W); in training with noise and mixed styles of their own (see above)."""
        ws = self.styles(z, labels)
        if not self.training:
            return self.synthesise(ws)
        keys = keys_of(z)
        return self.synthesise(self.mixed(ws, keys, labels), keys)

    def styles(self, z: Tensor, labels: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Styles (B, n_styles, latent) of latents, in float32, the same in all rows but for truncation.

        The first `cutoff` rows, or all, are psi w + (1 - psi) the average style.
        """
        with torch.autocast(z.device.type, enabled=False):  # a mapping's steps are small, and it costs little
            w = self.mapping(z, labels)
        if self.training:
            with torch.no_grad():
                self.average.lerp_(w.mean(0).to(self.average), self.follow)
        return self.truncated(w[:, None].expand(-1, self.n_styles, -1), psi=psi, cutoff=cutoff)

    def truncated(self, ws: Tensor, *, psi: float, cutoff: int | None = None, centre: Tensor | None = None) -> Tensor:
        """Styles (B, n_styles, latent) with the first `cutoff` rows, or all, psi ws + (1 - psi) the average.

        centre: (latent,), or (B, 1, latent) of several, in place of the average.
        """
        if psi == 1:
            return ws
        n, centre = self.n_styles if cutoff is None else cutoff, self.average if centre is None else centre
        return torch.cat([centre.to(ws).lerp(ws[:, :n], psi), ws[:, n:]], 1)

    def require_styles(self, ws: Tensor) -> None:
        """ValueError for styles of another shape."""
        if ws.ndim != 3 or ws.shape[1:] != (self.n_styles, self.design.latent):
            raise ValueError(f"ws={tuple(ws.shape)} should be (B, {self.n_styles}, {self.design.latent})")

    def repeats(self, shape: tuple[int, int] | None) -> tuple[int, int]:
        """How often height and width of the design fit into a shape. ValueError unless that is a whole number of times.

        And unless the network wraps around: the borders that others know are those of the design.
        """
        own = self.design.height, self.design.width
        if shape is None or shape == own:
            return 1, 1
        if not getattr(self, "periodic", False):
            raise ValueError(
                f"a size of {Size(*shape)}: a network trained without periodic=true makes {Size(*own)} only"
            )
        return multiples(shape, own)

    def mixed(self, ws: Tensor, keys: Tensor, labels: Tensor | None) -> Tensor:
        """ws (B, n, latent), where a picture's key says so with those of a second latent from row 1, .. or n - 1 on."""
        if not self.mixing:
            return ws
        n = ws.shape[1]
        whether, where = ((_symmetric(keys, which, 1) + 1) / 2 for which in (_WHETHER, _WHERE))
        first = 1 + where * (n - 1)  # (B, 1)
        taken = (whether < self.mixing) & (torch.arange(1, n + 1, device=keys.device) > first)
        with torch.autocast(ws.device.type, enabled=False):
            others = self.mapping(normals(keys, _OTHERS, self.design.latent).to(ws), labels)
        return torch.where(taken[:, :, None], others[:, None], ws)
