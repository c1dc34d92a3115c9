"""StyleGAN3: waves on a canvas become a picture by layers that do not alias, so that it moves and turns with them.

Karras and others 2021, "Alias-free generative adversarial networks". Configuration T moves with its canvas; R, with
convolutions of 1 x 1, twice the channels and filters that know no direction, turns with it too. Its 1024 pixels:
features 32, max_features and latent 512, 2 layers of mapping. The discriminator is StyleGAN2's. There is no noise.

The canvas is a plane: the shorter side of a picture is 1, its centre the origin, x goes right, y down. Every layer
computes MARGIN samples beyond the picture on every side, so that the border is not to be felt from inside.

periodic: waves fit the picture a whole number of times, nothing is computed beyond it, and what comes out can be tiled;
latents move such a picture, and do not turn it. That and sides other than powers of two are not in the paper.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.networks.design import Design
from texsyn.gan.networks.filters import Band, FilteredLeakyReLU
from texsyn.gan.networks.layers import Linear, Weights
from texsyn.gan.networks.resampling import modulated
from texsyn.gan.networks.style import Mapping, StyledGenerator
from texsyn.gan.networks.stylegan2 import StyleDiscriminator
from texsyn.images import Size

MARGIN = 10  # samples
CRITICAL = 2  # last layers, which keep all frequencies that their samples can hold
FIRST_CUTOFF, FIRST_STOP, LAST_STOP = 2.0, 2**2.1, 2**0.3  # cycles a side, those too, and in units of the last cutoff
HALF_LIFE = 20_000  # pictures, of what is known about the magnitude of features
CONTRAST = 0.25  # of pictures


# ---- the canvas


def canvas(*, move: tuple[float, float] = (0.0, 0.0), turn: float = 0.0) -> Tensor:
    """(3, 3): where on the canvas a point (x, y, 1) of the picture lies, so that what it shows is turned, then moved.

    move: to the right and down, in shorter sides. turn: clockwise as seen, in radians.

    >>> canvas(move=(0.25, 0.0)) @ torch.tensor([0.25, 0.5, 1.0])
    tensor([0.0000, 0.5000, 1.0000])
    """
    c, s = math.cos(turn), math.sin(turn)
    (x, y) = move
    return torch.tensor([[c, s, -c * x - s * y], [-s, c, s * x - c * y], [0.0, 0.0, 1.0]])


class Waves(nn.Module):
    """Styles (B, latent) to features (B, C, h, w): sines of fixed random waves on the canvas, mixed by a matrix.

    Frequencies are uniform in the disc of the band, so are phases. A style moves and turns the canvas by an affine map
    to (c, s, x, y), divided by |(c, s)| and (1, 0, 0, 0) at first: points lose (x, y), then are turned by the matrix
    ((c, -s), (s, c)). Appendix F of the paper. Waves that a given canvas makes shorter than the band fade out before
    their samples alias.

    periodic: (shorter side over height, over width): frequencies are whole multiples of those, and (c, s) is (1, 0).
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, n: int, latent: int, band: Band, weights: Weights, periodic: tuple[float, float] | None) -> None:
        super().__init__()
        self.band, self.periodic = band, periodic
        random, device = weights.random, weights.random.device
        if periodic is None:
            radius = band.cutoff * torch.rand(n, generator=random, device=device).sqrt()
            angle = 2 * math.pi * torch.rand(n, generator=random, device=device)
            frequencies = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        else:
            lattice = torch.tensor(_lattice(band.cutoff, periodic), device=device)
            frequencies = lattice[torch.randint(len(lattice), (n,), generator=random, device=device)]
        self.register_buffer("frequencies", frequencies)  # (n, 2), x and y, cycles a side
        self.register_buffer("phases", torch.rand(n, generator=random, device=device) - 0.5)  # cycles
        first = torch.tensor([0.0, 0.0] if periodic else [1.0, 0.0, 0.0, 0.0], device=device)
        self.affine = Linear(torch.zeros(len(first), latent, device=device), first, 1 / math.sqrt(latent))
        self.mix = weights.linear(n, n, bias=False)

    def forward(self, w: Tensor, shape: tuple[int, int], given: Tensor | None) -> Tensor:
        """shape (h, w) in samples, about the centre; given (3, 3) or (B, 3, 3): where points of the picture lie."""
        turn, move = self._rigid(self.affine(w))
        matrix, offset = turn, -(turn @ move[:, :, None])[:, :, 0]  # (B, 2, 2), (B, 2)
        if given is not None:
            given = given.to(w)
            offset = (turn @ (given[..., :2, 2] - move)[:, :, None])[:, :, 0]
            matrix = turn @ given[..., :2, :2]
        frequencies = self.frequencies @ matrix  # f . (M p) = (f M) . p: (B, n, 2)
        phases = self.phases + offset @ self.frequencies.T  # (B, n)
        x, y = ((torch.arange(n, device=w.device) - (n - 1) / 2).to(w) / self.band.rate for n in shape[::-1])
        cycles = frequencies[:, :, 1, None, None] * y[:, None] + frequencies[:, :, 0, None, None] * x
        waves = torch.sin(2 * math.pi * (cycles + phases[:, :, None, None]))
        if given is not None:
            room = self.band.rate / 2 - self.band.cutoff
            heard = ((self.band.rate / 2 - frequencies.detach().norm(dim=2)) / room).clamp(0, 1)
            waves = waves * heard[:, :, None, None]
        return F.conv2d(waves, self.mix.used()[0][:, :, None, None])

    def _rigid(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices (B, 2, 2) and what points lose (B, 2), of the affine map's values."""
        if self.periodic:
            return torch.eye(2).to(t).expand(len(t), 2, 2), t
        t = t / torch.hypot(t[:, :1], t[:, 1:2])
        c, s = t[:, 0], t[:, 1]
        return torch.stack([c, -s, s, c], 1).unflatten(1, (2, 2)), t[:, 2:]


def _lattice(cutoff: float, unit: tuple[float, float]) -> list[list[float]]:
    """Frequencies [x, y] other than 0 in the disc, whole multiples of unit = (that of y, that of x)."""
    rows, columns = (math.floor(cutoff / one) for one in unit)
    found = [[k * unit[1], l * unit[0]] for k in range(-columns, columns + 1) for l in range(-rows, rows + 1)]
    return [f for f in found if 0 < math.hypot(*f) <= cutoff]


# ---- layers


def schedule(height: int, width: int, n_layers: int = 14) -> list[Band]:
    """What the n_layers layers and the picture keep, section 3.2 of the paper: cutoffs grow exponentially to the last.

    A rate is the least of those that halve both sides without a remainder and hold the band and its transition.
    """
    side, halvings = min(height, width), 0
    while (height >> halvings) % 2 == 0 and (width >> halvings) % 2 == 0:
        halvings += 1
    bands = []
    for i in range(n_layers + 1):
        e = min(i / (n_layers - CRITICAL), 1.0)
        cutoff = FIRST_CUTOFF * (side / 2 / FIRST_CUTOFF) ** e
        stop = FIRST_STOP * (side / 2 * LAST_STOP / FIRST_STOP) ** e
        rate = min(side >> k for k in range(halvings + 1) if side >> k >= min(2 * stop, side))
        bands.append(Band(rate, cutoff, max(stop, rate / 2) - cutoff))
    return bands


class Magnitude(nn.Module):
    """x over the root of its mean square as known so far; in training that follows x by the share given."""

    square: Tensor

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("square", torch.ones((), device=device))

    def gain(self, x: Tensor, share: Tensor | None) -> Tensor:
        """What to multiply x by."""
        if share is not None:
            with torch.no_grad():
                self.square.lerp_(x.float().square().mean().to(self.square), share.to(self.square))
        return self.square.clamp(min=1e-8).rsqrt()


class BandLayer(nn.Module):
    """A modulated convolution, bias, and the leaky ReLU between filters, from one band to the next.

    Features are brought to a mean square of 1 before it by a running mean, not by their own. Demodulation takes away
    any factor of weights and styles: neither the one of equal learning rates nor, as in the paper, their own root mean
    squares need be divided by.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        latent: int,
        bands: tuple[Band, Band],
        weights: Weights,
        *,
        rotation: bool,
        periodic: bool,
    ) -> None:
        super().__init__()
        self.conv = weights.conv(n_in, n_out, 1 if rotation else 3)
        self.affine, self.magnitude = about_one(latent, n_in, weights), Magnitude(weights.random.device)
        critical = 2 * bands[1].cutoff == bands[1].rate  # a disc would leave out what its samples can hold
        self.bend = FilteredLeakyReLU(*bands, radial=rotation and not critical)
        side = self.conv.weight.shape[-1]
        self.around = side // 2 + self.bend.reach if periodic else 0
        self.padding = 0 if periodic else side - 1  # as far as the kernel reaches x: its border is not the picture's

    def forward(self, x: Tensor, w: Tensor, shape: tuple[int, int], share: Tensor | None) -> Tensor:
        """(B, n_out, *shape) of x (B, n_in, h, w) and w (B, latent)."""
        bias, gain = self.conv.bias, self.magnitude.gain(x, share)
        assert bias is not None
        if self.around:
            x = F.pad(x, [self.around] * 4, mode="circular")
        x = modulated(x, self.conv.weight, self.affine(w), by=partial(F.conv2d, padding=self.padding))
        made: Tensor = self.bend(torch.addcmul(bias.to(x.dtype)[:, None, None], x, gain.to(x.dtype)), shape)
        return made


class ToPicture(nn.Module):
    """A modulated convolution 1 x 1 without demodulation, and a bias, in float32."""

    def __init__(self, n_in: int, channels: int, latent: int, weights: Weights) -> None:
        super().__init__()
        self.conv, self.affine = weights.conv(n_in, channels, 1), about_one(latent, n_in, weights)
        self.magnitude = Magnitude(weights.random.device)

    def forward(self, x: Tensor, w: Tensor, share: Tensor | None) -> Tensor:
        weight, bias = self.conv.used()
        assert bias is not None
        with torch.autocast(x.device.type, enabled=False):
            style = self.affine(w) * self.magnitude.gain(x, share)
            return CONTRAST * (modulated(x.to(bias), weight, style.to(bias), demodulate=False) + bias[:, None, None])


def about_one(n_in: int, n_out: int, weights: Weights) -> Linear:
    """The map from a style to what scales each channel, about 1 at first."""
    layer = weights.linear(n_in, n_out)
    assert layer.bias is not None
    nn.init.ones_(layer.bias)
    return layer


# ---- networks


class AliasFreeGenerator(StyledGenerator):
    """Row 0 of the styles moves and turns the waves, row i + 1 goes to layer i, the last one to the picture.

    rotation: configuration R, with the design's features as they are.
    seen: pictures that the running magnitudes have followed, half of which they forget in HALF_LIFE of them. At first
    they are plain means over all so far, where the paper begins from 1, so that short trainings begin with layers in
    balance.
    """

    mixing = 0.0
    follow = 0.002
    seen: Tensor

    def __init__(
        self,
        design: Design,
        random: torch.Generator,
        *,
        mapping_layers: int = 2,
        rotation: bool = False,
        periodic: bool = False,
        n_layers: int = 14,
    ) -> None:
        super().__init__()
        side = min(design.height, design.width)
        if side < 8:
            raise ValueError(f"a size of {Size(design.height, design.width)}: both sides should be at least 8")
        if n_layers <= CRITICAL:
            raise ValueError(f"n_layers={n_layers} should be above {CRITICAL}")
        self.design, self.rotation, self.periodic = design, rotation, periodic
        self.bands = schedule(design.height, design.width, n_layers)
        n, weights, self.n_styles = design.latent, Weights(random, scale="equalised"), n_layers + 2
        self.mapping = Mapping(n, n, design.n_classes, mapping_layers, random)
        self.register_buffer("average", torch.zeros(n, device=random.device))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64, device=random.device))
        widths = [min(round(design.features * side / 2 / band.cutoff), design.max_features) for band in self.bands[:-1]]
        unit = (side / design.height, side / design.width) if periodic else None
        self.start = Waves(widths[0], n, self.bands[0], weights, unit)
        self.layers = nn.ModuleList()
        for i, n_out in enumerate(widths):
            before = max(i - 1, 0)
            bands = self.bands[before], self.bands[i]
            layer = BandLayer(widths[before], n_out, n, bands, weights, rotation=rotation, periodic=periodic)
            self.layers.append(layer)
        self.picture = ToPicture(widths[-1], design.channels, n, weights)

    def synthesise(
        self,
        ws: Tensor,
        keys: Tensor | None = None,
        *,
        canvas: Tensor | None = None,
        shape: tuple[int, int] | None = None,
    ) -> Tensor:
        """Pictures of styles (B, n_styles, latent); keys count for nothing, as there is no noise.

        canvas (3, 3) or (B, 3, 3): where on it points of the picture lie, see canvas(). shape: height and width in
        pixels of what is looked at, about the same centre; both multiples of `step`. ValueError for others, and for
        another one than the design's of a periodic network.
        """
        self.require_styles(ws)
        if canvas is not None and canvas.shape not in ((3, 3), (len(ws), 3, 3)):
            raise ValueError(f"canvas={tuple(canvas.shape)} should be (3, 3) or ({len(ws)}, 3, 3)")
        sizes = self._sizes(shape or (self.design.height, self.design.width))
        share = self._share(len(ws)) if self.training else None
        with torch.autocast(ws.device.type, enabled=False):
            x = self.start(ws[:, 0].to(self.start.phases), sizes[0], canvas)
        x = x.contiguous(memory_format=torch.channels_last)  # filters by channel are 2 to 3 times as fast
        for i, layer in enumerate(self.layers):
            x = layer(x, ws[:, i + 1], sizes[i], share)
        made: Tensor = self.picture(x, ws[:, -1], share)
        return made

    @property
    def step(self) -> int:
        """Heights and widths that synthesise() makes are multiples of so many pixels."""
        return min(self.design.height, self.design.width) // self.bands[0].rate

    def _sizes(self, shape: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width of what each layer makes, in samples."""
        own = (self.design.height, self.design.width)
        if self.periodic and shape != own:
            raise ValueError(f"a size of {Size(*shape)}: pictures that tile are {Size(*own)}")
        if any(n < 1 or n % self.step for n in shape):
            raise ValueError(f"a size of {Size(*shape)}: both sides should be multiples of {self.step}")
        height, width = shape
        side, found = min(own), []
        for i, band in enumerate(self.bands[:-1]):
            around = 0 if self.periodic or i >= len(self.bands) - CRITICAL else 2 * MARGIN
            found.append((height * band.rate // side + around, width * band.rate // side + around))
        return found

    def _share(self, n: int) -> Tensor:
        """By how much magnitudes follow n pictures more."""
        self.seen += n
        return (n / self.seen).clamp(min=1 - 0.5 ** (n / HALF_LIFE))

    def sides(self) -> tuple[int, ...]:
        """Those of the samples in the picture: margins do not count."""
        return (self.bands[0].rate, *(band.rate for band in self.bands))

    def modulations(self) -> list[Linear | None]:
        """That of layer i in row i + 1; the first row moves the canvas."""
        return [None, *(layer.affine for layer in self.layers if isinstance(layer, BandLayer)), None]


def stylegan3(
    design: Design,
    random: torch.Generator,
    *,
    mapping_layers: int = 2,
    rotation: bool = False,
    layers: int = 14,
    group: int = 4,
    residual: bool = True,
    periodic: bool = False,
    clamp: float = 0.0,
) -> tuple[AliasFreeGenerator, StyleDiscriminator]:
    """Both networks; the generator's weights, then the discriminator's, are drawn from `random`.

    rotation: configuration R, whose generator has twice the design's features and max_features. periodic: what is made
    can be tiled; it is judged as it is, since crops of a texture do not wrap. clamp is the discriminator's; the
    generator cuts to +-256 always.
    """
    made = design
    if rotation:
        made = dataclasses.replace(design, features=2 * design.features, max_features=2 * design.max_features)
    return (
        AliasFreeGenerator(
            made, random, mapping_layers=mapping_layers, rotation=rotation, periodic=periodic, n_layers=layers
        ),
        StyleDiscriminator(design, random, group=group, residual=residual, clamp=clamp),
    )
