"""GANs of images that learn several resolutions: one after the other (ProGAN), or all at once (MSG-GAN).

Karras, Aila, Laine and Lehtinen 2018, "Progressive growing of GANs for improved quality, stability, and variation", and
Karnewar and Wang 2020, "MSG-GAN: multi-scale gradients for generative adversarial networks". Depth k is the coarsest
resolution doubled k times; it has 2 convolutions in either network, and one of 1 x 1 from or to pictures. Layers have
equal learning rates, the generator's places unit mean squares over channels, the discriminator the deviation of small
groups; nothing ends in tanh. Departures: classes, which the papers do not have, come beside the latent, and as
<V_y, h> to the logit (see residual.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator, Shown
from texsyn.gan.networks.layers import Weights, down, n_halvings, one_hot, pixel_norm, up, with_deviation
from texsyn.gan.networks.resampling import downsampled
from texsyn.images import Size

SLOPE = 0.2  # of the leaky ReLU
HE = math.sqrt(2)  # gain of weights that an activation follows
WHOLE = 2**20  # alpha is kept in parts of this


class Growing(nn.Module):
    """Where a network is in its growth: at `depth`, 0 .. depths - 1, whose layers count for alpha, 0 .. 1.

    It begins grown. Weights and growth are saved together; growth as integers, which running averages copy.
    """

    depths: int
    depth: int
    fading: bool
    alpha: Tensor
    grown: Tensor

    def begin_growth(self, depths: int) -> None:
        """For the constructor."""
        self.depths = depths
        self.register_buffer("grown", torch.tensor([depths - 1, WHOLE]))
        self.register_buffer("alpha", torch.tensor(1.0), persistent=False)
        self.register_load_state_dict_post_hook(_take_up)
        self._go(depths - 1, WHOLE)

    def at(self, depth: int, alpha: float = 1.0) -> None:
        """Go there; ValueError where there is no such place. At depth 0 nothing is faded, whatever alpha."""
        if not 0 <= depth < self.depths:
            raise ValueError(f"depth={depth} should be from 0 to {self.depths - 1}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha={alpha} should be from 0 to 1")
        parts = round(alpha * WHOLE)
        self.grown.copy_(torch.tensor([depth, parts]))
        self._go(depth, parts)

    def faded(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """alpha of the fine, the rest of the coarse."""
        return torch.lerp(coarse, fine, self.alpha.to(fine))

    def _go(self, depth: int, parts: int) -> None:
        # depth as a number, alpha as a tensor: a compiled network is another one for each depth, not for each alpha
        self.depth, self.fading = depth, depth > 0 and parts < WHOLE
        self.alpha.fill_(parts / WHOLE)


def _take_up(network: nn.Module, _: Any) -> None:
    """Where the weights that were loaded are."""
    assert isinstance(network, Growing)
    network._go(*network.grown.tolist())


class GrowingGenerator(Growing, ImageGenerator):
    """Latents to pictures. multi_scale: what is shown are pictures of all resolutions, finest first, and none grows."""

    def __init__(self, design: Design, random: torch.Generator, *, multi_scale: bool = False) -> None:
        super().__init__()
        self.design, self.multi_scale = design, multi_scale
        weights, widths = Weights(random, scale="equalised"), design.widths(n_halvings(design) + 1)[::-1]
        self.base = design.base()
        # the papers' gain is a quarter of He's here
        self.start = weights.linear(design.latent + design.n_classes, widths[0] * math.prod(self.base), gain=HE / 4)
        self.blocks = nn.ModuleList([nn.ModuleList([weights.conv(widths[0], widths[0], gain=HE)])])
        for n_in, n_out in pairwise(widths):
            both = [weights.conv(n_in, n_out, gain=HE), weights.conv(n_out, n_out, gain=HE)]
            self.blocks.append(nn.ModuleList(both))
        self.pictures = nn.ModuleList([weights.conv(n, design.channels, 1) for n in widths])
        self.begin_growth(len(widths))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures (B, C, H, W), by nearest values where the network is not grown to that size."""
        made = self.shown(z, labels)
        made = made[0] if isinstance(made, tuple) else made
        n = self.depths - 1 - self.depth
        return made if n == 0 else F.interpolate(made, scale_factor=2**n, mode="nearest")

    def shown(self, z: Tensor, labels: Tensor | None, x: Tensor | None = None) -> Shown:
        """Pictures of the resolution of `depth`, faded in over the one below; or of all up to it, finest first."""
        features = list(self._features(z, labels))
        if self.multi_scale:
            return tuple(self.pictures[k](features[k]) for k in reversed(range(len(features))))
        made = self.pictures[self.depth](features[-1])
        if self.fading:
            made = self.faded(up(self.pictures[self.depth - 1](features[-2])), made)
        return made

    def _features(self, z: Tensor, labels: Tensor | None) -> Iterator[Tensor]:
        if self.design.n_classes:
            z = torch.cat([z, one_hot(labels, self.design.n_classes).to(z)], 1)
        h = _activated(self.start(pixel_norm(z)).unflatten(1, (-1, *self.base)))
        for k, block in enumerate(self.blocks[: self.depth + 1]):
            h = up(h) if k else h
            for conv in block.children():
                h = _activated(conv(h))
            yield h


class GrowingDiscriminator(Growing, ImageDiscriminator):
    """Pictures of the resolution of `depth` to logits. multi_scale: of all resolutions, finest first; needs features 2.

    A fading network judges x as faded: layers of `depth` count for alpha, the rest is what the coarser network sees in
    the halved picture. Of several pictures the coarser ones, by a convolution of 1 x 1, make half of the features that
    the layers of their resolution begin with. blurred: features are filtered by [1, 2, 1] before they are halved.
    group: pictures whose deviation is seen.
    """

    def __init__(
        self,
        design: Design,
        random: torch.Generator,
        *,
        multi_scale: bool = False,
        blurred: bool = False,
        group: int = 4,
    ) -> None:
        super().__init__()
        self.design, self.multi_scale, self.group = design, multi_scale, group
        self.halved = downsampled if blurred else down
        weights, widths = Weights(random, scale="equalised"), design.widths(n_halvings(design) + 1)[::-1]
        if multi_scale and design.features < 2:
            raise ValueError(f"features={design.features} should be at least 2: half of them are a picture's")
        #: channels of each depth that come from its picture, and, but at the finest, from the next finer depth
        own = [n // 2 if multi_scale else n for n in widths[:-1]] + [widths[-1]]
        below = [n - n // 2 if multi_scale else n for n in widths[:-1]]
        gain = 1.0 if multi_scale else HE
        self.pictures = nn.ModuleList([weights.conv(design.channels, n, 1, gain=gain) for n in own])
        #: of depth 1, 2 ..
        self.blocks = nn.ModuleList()
        for n_in, n_out in zip(widths[1:], below, strict=True):
            both = [weights.conv(n_in, n_in, gain=HE), weights.conv(n_in, n_out, gain=HE)]
            self.blocks.append(nn.ModuleList(both))
        n = widths[0]
        self.conv = weights.conv(n + 1, n, gain=HE)
        self.whole = weights.linear(n * math.prod(design.base()), n, gain=HE)
        self.psi = weights.linear(n, 1)
        self.classes = None
        if design.n_classes:
            self.classes = weights.linear(design.n_classes, n, gain=math.sqrt(design.n_classes / n), bias=False)
        self.begin_growth(len(widths))

    def shown(self, x: Tensor) -> Shown:
        """Real pictures at the resolution of `depth`, faded in over the one below; or at all, finest first."""
        for _ in range(self.depths - 1 - self.depth):
            x = down(x)
        if self.multi_scale:
            levels = [x]
            for _ in range(self.depth):
                levels.append(down(levels[-1]))
            return tuple(levels)
        return self.faded(up(down(x)), x) if self.fading else x

    def forward(self, shown: Shown, labels: Tensor | None = None) -> Tensor:
        levels = shown if isinstance(shown, tuple) else (shown,)
        self._require(levels)
        h = self._seen(self.depth, levels[0])
        for k in range(self.depth, 0, -1):
            for conv in self.blocks[k - 1].children():
                h = F.leaky_relu(conv(h), SLOPE)
            h = self.halved(h)
            if self.multi_scale:
                h = torch.cat([self._seen(k - 1, levels[self.depth + 1 - k]), h], 1)
            elif self.fading and k == self.depth:
                h = self.faded(self._seen(k - 1, down(levels[0])), h)
        h = F.leaky_relu(self.conv(with_deviation(h, self.group)), SLOPE)
        h = F.leaky_relu(self.whole(h.flatten(1)), SLOPE)
        out = self.psi(h).squeeze(1)
        if self.classes is None:
            return out
        return out + (self.classes(one_hot(labels, self.design.n_classes).to(h)) * h).sum(1)

    def layers_from_picture(self) -> list[nn.Module]:
        """Of each depth, the finest first, its picture's and both convolutions; those of the coarsest places last."""
        found: list[nn.Module] = []
        for picture, block in zip(self.pictures[:0:-1], self.blocks[::-1], strict=True):
            found += [picture, *block.children()]
        return [*found, self.pictures[0], self.conv, self.whole, self.psi]

    def _seen(self, k: int, x: Tensor) -> Tensor:
        h = self.pictures[k](x)
        return h if self.multi_scale else F.leaky_relu(h, SLOPE)

    def _require(self, levels: tuple[Tensor, ...]) -> None:
        """What was shown should be what shown() makes: a picture of another depth would be read as features of it."""
        n = self.depths - 1 - self.depth
        wanted = [(self.design.height >> k, self.design.width >> k) for k in range(n, n + self.depth + 1)]
        wanted = wanted if self.multi_scale else wanted[:1]
        found = [tuple(x.shape[2:]) for x in levels]
        if found != wanted:
            said, right = (", ".join(str(Size(*shape)) for shape in shapes) for shapes in (found, wanted))
            raise ValueError(f"shown={said}: at depth {self.depth} sizes should be {right}")


def _activated(x: Tensor) -> Tensor:
    return pixel_norm(F.leaky_relu(x, SLOPE))


# ---- the families; each draws the generator's weights from `random` first, then the discriminator's

Pair = tuple[GrowingGenerator, GrowingDiscriminator]


def progan(design: Design, random: torch.Generator) -> Pair:
    """Networks that grow by at(depth, alpha). The paper's 1024 pixels: features 16, max_features and latent 512."""
    return GrowingGenerator(design, random), GrowingDiscriminator(design, random)


def msggan(design: Design, random: torch.Generator) -> Pair:
    """Networks of all resolutions at once. Halves of features from pictures are those of the authors' code."""
    return (
        GrowingGenerator(design, random, multi_scale=True),
        GrowingDiscriminator(design, random, multi_scale=True),
    )
