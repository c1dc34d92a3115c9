"""StyleGAN: a latent is mapped to styles, which give each layer's features their means and deviations.

Karras, Laine and Aila 2019, "A style-based generator architecture for generative adversarial networks", configuration
F. Both networks grow as ProGAN's do; the discriminator is ProGAN's. Where that goes up by nearest values, or down by
means of 2 x 2, a filter [1, 2, 1] comes after or before: the two are [1, 3, 3, 1], the resampling of StyleGAN2. Depth k
is the coarsest resolution doubled k times. Its 1024 pixels: features 16, max_features and latent 512.

Departures: the first resolution is the coarsest of all, not 8 x 8; rates do not rise nor batches shrink with the
resolution; and the constant begins as normal numbers, since of the paper's ones an instance norm leaves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design
from texsyn.gan.networks.growing import HE, SLOPE, Growing, GrowingDiscriminator
from texsyn.gan.networks.layers import Linear, Weights, n_halvings, up
from texsyn.gan.networks.resampling import conv, conv_up
from texsyn.gan.networks.style import Mapping, StyledGenerator, keys_of, normals, repeated

EPSILON = 1e-8  # beside a variance


class AdaptiveLayer(nn.Module):
    """Noise times a strength for each channel, bias, leaky ReLU, and each picture's channels normalised and styled.

    A style w gives (s, t), and what has mean 0 and variance 1 over a picture's places becomes (1 + s) x + t. Before it
    a convolution 3 x 3, up by 2 or not; none where n_in is 0, for the constant.
    """

    noise: Tensor

    def __init__(
        self,
        n_in: int,
        n_out: int,
        latent: int,
        shape: tuple[int, int],
        weights: Weights,
        *,
        up: bool = False,
        periodic: bool = False,
    ) -> None:
        super().__init__()
        self.up, self.periodic = up, periodic
        self.conv = weights.conv(n_in, n_out, gain=HE, bias=False) if n_in else None
        self.affine = weights.linear(latent, 2 * n_out)
        device = weights.random.device
        self.strength = nn.Parameter(torch.zeros(n_out, 1, 1, device=device))
        self.bias = nn.Parameter(torch.zeros(n_out, 1, 1, device=device))
        self.register_buffer("noise", torch.randn(shape, generator=weights.random, device=device))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """w (B, latent). noise (B, H W), or that of the buffer, the same for all."""
        if self.conv is not None:
            weight, _ = self.conv.used()
            x = (conv_up if self.up else conv)(x, weight, periodic=self.periodic)
        noise = repeated(self.noise, x) if noise is None else noise.view(-1, 1, *x.shape[2:])
        x = F.leaky_relu(x + (self.strength * noise + self.bias).to(x), SLOPE)
        return styled(x, self.affine(w).to(x))


def styled(x: Tensor, style: Tensor) -> Tensor:
    """(1 + s) (x - mean) / deviation + t, x (B, C, H, W), of each picture's channel; style (B, 2 C): s, then t.

    Adaptive instance normalisation: Huang and Belongie 2017, "Arbitrary style transfer in real-time with adaptive
    instance normalization", equation 8, with 1e-8 beside the variance.
    """
    scale, shift = style[:, :, None, None].chunk(2, 1)
    return torch.addcmul(shift, 1 + scale, F.instance_norm(x, eps=EPSILON))


class AdaptiveGenerator(Growing, StyledGenerator):
    """Layer i has row i of the styles: two for each depth, the first one up from below; the very first has a constant.

    While it grows, rows are mixed within those in use: 2 (depth + 1).
    """

    def __init__(
        self,
        design: Design,
        random: torch.Generator,
        *,
        mapping_layers: int = 8,
        mixing: float = 0.9,
        periodic: bool = False,
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
            shape, n_in = (height << k, width << k), widths[k - 1] if k else 0
            self.layers.append(AdaptiveLayer(n_in, n_out, n, shape, weights, up=True, periodic=periodic))
            self.layers.append(AdaptiveLayer(n_out, n_out, n, shape, weights, periodic=periodic))
            self.pictures.append(weights.conv(n_out, design.channels, 1))
        self.begin_growth(len(widths))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures (B, C, H, W), by nearest values where the network is not grown to that size."""
        return self._enlarged(self.shown(z, labels))

    def shown(self, z: Tensor, labels: Tensor | None, x: Tensor | None = None) -> Tensor:
        """Pictures of the resolution of `depth`, faded in over the one below; in training noisy and mixed."""
        ws = self.styles(z, labels)
        if not self.training:
            return self._made(ws, None)
        keys = keys_of(z)
        return self._made(self.mixed(ws, keys, labels), keys)

    def synthesise(self, ws: Tensor, keys: Tensor | None = None, *, shape: tuple[int, int] | None = None) -> Tensor:
        """Pictures of styles, of the full size as those of forward(); larger ones begin from the constant repeated."""
        self.require_styles(ws)
        return self._enlarged(self._made(ws, keys, self.repeats(shape)))

    def mixed(self, ws: Tensor, keys: Tensor, labels: Tensor | None) -> Tensor:
        """ws, some with rows of a second latent from one of those in use on; the rows not in use stay."""
        n = 2 * (self.depth + 1)
        return torch.cat([super().mixed(ws[:, :n], keys, labels), ws[:, n:]], 1)

    def sides(self) -> tuple[int, ...]:
        """Those of the layers, of the network as grown up."""
        return tuple(min(layer.get_buffer("noise").shape) for layer in self.layers)

    def modulations(self) -> list[Linear | None]:
        """That of layer i in row i, to as many scales and then shifts as it has channels."""
        return [layer.affine for layer in self.layers if isinstance(layer, AdaptiveLayer)]

    def _made(self, ws: Tensor, keys: Tensor | None, times: tuple[int, int] = (1, 1)) -> Tensor:
        features = list(self._features(ws, keys, times))
        made: Tensor = self.pictures[self.depth](features[-1])
        return self.faded(up(self.pictures[self.depth - 1](features[-2])), made) if self.fading else made

    def _features(self, ws: Tensor, keys: Tensor | None, times: tuple[int, int]) -> Iterator[Tensor]:
        """Those of each depth up to the one it is at."""
        x = self.start.repeat(1, *times).expand(len(ws), -1, -1, -1)
        for i, layer in enumerate(self.layers[: 2 * (self.depth + 1)]):
            n = layer.get_buffer("noise").numel() * times[0] * times[1]
            x = layer(x, ws[:, i], None if keys is None else normals(keys, i, n).to(ws))
            if i % 2:
                yield x

    def _enlarged(self, made: Tensor) -> Tensor:
        n = self.depths - 1 - self.depth
        return made if n == 0 else F.interpolate(made, scale_factor=2**n, mode="nearest")


def stylegan(
    design: Design,
    random: torch.Generator,
    *,
    mapping_layers: int = 8,
    mixing: float = 0.9,
    group: int = 4,
    periodic: bool = False,
) -> tuple[AdaptiveGenerator, GrowingDiscriminator]:
    """Both networks; the generator's weights, then the discriminator's, are drawn from `random`.

    periodic: what is made can be tiled. It is judged as it is, since crops of a texture do not wrap, and a judge that
    looked around borders would ask for their seams.
    """
    return (
        AdaptiveGenerator(design, random, mapping_layers=mapping_layers, mixing=mixing, periodic=periodic),
        GrowingDiscriminator(design, random, blurred=True, group=group),
    )
