"""Official names of StyleGAN3's tensors. A layer's name says its number, its side with margins, and its channels.

Filters stand in a file, and here follow from the configuration: that both are the same is what tells that a file was
trained in one that is known. Its discriminator is StyleGAN2's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from texsyn.gan.architectures import GanConfig
from texsyn.gan.convert import stylegan2
from texsyn.gan.convert.names import Names, Read, Settings, both, count, latent_of, shape_of, taken
from texsyn.gan.convert.pickles import Network
from texsyn.gan.convert.stylegan2 import CLAMP, clamp_of, mapping_names
from texsyn.gan.networks.filters import TAPS, lowpass, radial_lowpass
from texsyn.gan.networks.stylegan3 import CRITICAL, MARGIN, AliasFreeGenerator, BandLayer
from texsyn.images import InputError

ARCH = "stylegan3"
N_LAYERS = 14
SEEN = 10_000_000  # pictures that magnitudes are said to have followed, so that further training keeps them
_CANVAS = "synthesis.input.transform"
NEAR = 1e-5  # of a filter's largest tap: files have float32

# ---- names


def generator_names(sizes: list[int], widths: list[int], mapping_layers: int, conditional: bool) -> Names:
    """Of the generator; sizes and widths are those of its layers and, at last, of pictures."""
    found = mapping_names(mapping_layers, conditional)
    found |= {"average": "mapping.w_avg", "start.mix.weight": "synthesis.input.weight"}
    found |= {"start.frequencies": "synthesis.input.freqs", "start.phases": "synthesis.input.phases"}
    found |= both("start.affine", "synthesis.input.affine")
    for i, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        ours, theirs = f"layers.{i}" if i < N_LAYERS else "picture", f"synthesis.L{i}_{size}_{width}"
        found |= both(f"{ours}.conv", theirs) | both(f"{ours}.affine", f"{theirs}.affine")
        found[f"{ours}.magnitude.square"] = f"{theirs}.magnitude_ema"
    return found


def names_of(generator: AliasFreeGenerator, config: GanConfig) -> Names:
    """Those of a generator of ours. InputError of one that tiles, or is not square."""
    if config.periodic or config.height != config.width:
        what = "tiles" if config.periodic else f"makes pictures of {config.width}x{config.height}"
        raise InputError(f"{what}, and the official layout is of squares that do not tile")
    widths = [len(layer.conv.weight) for layer in _layers(generator)]
    return generator_names(_sizes(generator), [*widths, config.channels], config.mapping_layers, config.conditional)


def _layers(generator: AliasFreeGenerator) -> Iterator[BandLayer]:
    for layer in generator.layers:
        assert isinstance(layer, BandLayer)
        yield layer


def _sizes(generator: AliasFreeGenerator) -> list[int]:
    """Sides of what the layers and the picture are, with margins, which the last ones do without."""
    last = len(generator.bands) - CRITICAL
    return [band.rate + (2 * MARGIN if i < last else 0) for i, band in enumerate(generator.bands)]


# ---- what a file's networks are


def read_generator(network: Network) -> Read:
    """Settings of ours under which it is the same function, and its tensors under our names.

    InputError for one whose canvas is moved, or that is clamped otherwise than released ones are.
    """
    found = [re.fullmatch(r"synthesis\.L(\d{1,2})_(\d{1,5})_(\d{1,5})\.weight", name) for name in network.tensors]
    layers = sorted(tuple(map(int, match.groups())) for match in found if match)
    if [i for i, _, _ in layers] != list(range(N_LAYERS + 1)):
        raise InputError(f"has {len(layers)} layers, where a StyleGAN3 that is read here has {N_LAYERS} and a last one")
    sizes, widths = [size for _, size, _ in layers], [width for _, _, width in layers]
    conditional = "mapping.embed.weight" in network.tensors
    n = count(network.tensors, r"mapping\.fc\d+\.weight")
    passed = {name for name in network.tensors if name.endswith(("up_filter", "down_filter", "input.transform"))}
    tensors = taken(network.tensors, generator_names(sizes, widths, n, conditional), passed)
    given = network.tensors.get(_CANVAS, torch.eye(3))
    if given.shape != (3, 3) or not torch.equal(given.float(), torch.eye(3)):
        raise InputError("has a canvas that is moved or turned")
    if network.attributes and clamp_of(network) != CLAMP:
        raise InputError(f"is clamped at {clamp_of(network):g}, where a StyleGAN3 that is read here is at {CLAMP:g}")
    n_classes = shape_of(tensors, "mapping.embed.weight", 2)[1] if conditional else 0
    rotation = shape_of(tensors, "layers.0.conv.weight", 4)[-1] == 1
    times = 2 if rotation else 1  # the generator's channels are so many times the design's
    features, limit = widths[-2], max(widths[:-1])
    if features % times or limit % times:
        raise InputError(f"has {features} channels next to the picture and at most {limit}, of which half are none")
    settings: Settings = {
        "channels": widths[-1], "height": sizes[-1], "width": sizes[-1], "mapping_layers": n,
        "latent": latent_of(tensors, n, n_classes), "n_classes": n_classes, "rotation": rotation,
        "features": features // times, "max_features": limit // times,
    }  # fmt: skip
    return settings, tensors | {"seen": torch.tensor(SEEN)}


def read_discriminator(network: Network) -> Read:
    """That of StyleGAN2."""
    return stylegan2.read_discriminator(network)


def derived(generator: AliasFreeGenerator) -> dict[str, Tensor]:
    """What files hold beside what is learned, under official names: the canvas, and filters of sum 1.

    Those that go down know no direction in configuration R, but for the last layers, whose samples hold no more.
    """
    found, bands = {_CANVAS: torch.eye(3)}, generator.bands
    for i, name in enumerate(_layer_names(generator)):
        before, after = bands[max(i - 1, 0)], bands[i]
        fine = 2 * max(before.rate, after.rate)
        disc = radial_lowpass if generator.rotation and 2 * after.cutoff < after.rate else lowpass
        found[f"{name}.up_filter"] = lowpass(TAPS * fine // before.rate, before, fine).float()
        found[f"{name}.down_filter"] = disc(TAPS * fine // after.rate, after, fine).float()
    return found


def _layer_names(generator: AliasFreeGenerator) -> list[str]:
    layers = enumerate(zip(_sizes(generator)[:-1], _layers(generator), strict=True))
    return [f"synthesis.L{i}_{size}_{len(layer.conv.weight)}" for i, (size, layer) in layers]


def require_same(generator: AliasFreeGenerator, network: Network) -> None:
    """InputError unless the file's layers have the sides of ours, and its filters are ours too."""
    for name in _layer_names(generator):
        if f"{name}.weight" not in network.tensors:
            raise InputError(f"has no layer {name}, which a StyleGAN3 of that size has")
    for name, ours in derived(generator).items():
        theirs = network.tensors.get(name, ours)
        if theirs.shape != ours.shape or not bool((theirs - ours).abs().max() <= NEAR * ours.abs().max()):
            raise InputError(f"filters by {name}, which no known configuration of StyleGAN3 has")
