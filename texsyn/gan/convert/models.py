"""Models of ours made from StyleGANs of others, and back. What is made computes what the file's own code would."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from texsyn.gan.architectures import ARCHITECTURES, GanConfig, configure
from texsyn.gan.claims import as_shapes
from texsyn.gan.convert import rosinality, stylegan2, stylegan3
from texsyn.gan.convert.names import fitted, require_shapes
from texsyn.gan.convert.sources import Found, read_found
from texsyn.gan.convert.stylegan2 import Made
from texsyn.gan.image_model import ImageModel, Source
from texsyn.gan.networks.style import StyledGenerator
from texsyn.gan.networks.stylegan3 import AliasFreeGenerator
from texsyn.images import InputError, write_atomically
from texsyn.images.picture import printable

GENERATORS = ("G_ema", "G")
LAYOUTS = ("official", "rosinality")
MEAN_OF = 10_000  # latents whose styles are averaged where a file has no mean style
LARGER = 16  # than its file a discriminator may be that is made only since generators have one

#: who reads a layout: their settings and tensors are those of one architecture of ours
_READERS: dict[str, ModuleType] = {"stylegan2": stylegan2, "stylegan3": stylegan3, "rosinality": rosinality}


# ---- to ours


def convert(path: str | os.PathLike[str], *, network: str = "G_ema", with_discriminator: bool = False) -> ImageModel:
    """The model of a file that holds a StyleGAN in a known layout; network: "G_ema", the running average, or "G".

    Files without a mean style, as trainings of rosinality's code leave them, are given that of MEAN_OF latents. Raises
    InputError, one sentence, for a file that is none, that does not hold what was asked for, or whose networks compute
    something else than ours; ValueError for an unknown network.
    """
    if network not in GENERATORS:
        raise ValueError(f"network={network!r} is not one of {', '.join(GENERATORS)}")
    found, name = read_found(path), Path(path).name
    for wanted in (network, "D") if with_discriminator else (network,):
        if wanted not in found.networks:
            raise InputError(f"{printable(name)}: holds no {wanted}, only {', '.join(found.networks)}")
    try:
        return _model(found, name, network, with_discriminator)
    except (InputError, ValueError) as error:
        raise InputError(f"{printable(name)}: {error}") from None


def _model(found: Found, name: str, network: str, with_discriminator: bool) -> ImageModel:
    reader = _READERS[found.layout]
    settings, tensors = reader.read_generator(found.networks[network])
    judging = None
    if with_discriminator:
        more, judging = reader.read_discriminator(found.networks["D"])
        other = [key for key, value in more.items() if settings.get(key, value) != value]
        if other:
            raise InputError(
                f"its discriminator has {other[0]}={more[other[0]]}, its generator {settings[other[0]]}; one model "
                "keeps networks that agree"
            )
        settings |= more
    config = configure(reader.ARCH, recipe="paper", settings=settings)
    average = tensors.get("average", found.average)
    if average is not None and not bool(average.isfinite().all()):
        raise InputError("its mean style holds something that is no finite number")
    tensors["average"] = torch.zeros(config.latent) if average is None else average
    _require_fit(config, tensors, judging, found.n_bytes)
    generator, discriminator = ARCHITECTURES[reader.ARCH].build(config, torch.Generator().manual_seed(0))
    assert isinstance(generator, StyledGenerator)
    if isinstance(generator, AliasFreeGenerator):
        stylegan3.require_same(generator, found.networks[network])
    generator.load_state_dict(fitted(tensors, generator.state_dict()))
    if average is None:
        generator.average.copy_(mean_style(generator, config.n_classes))
    if judging is not None:
        discriminator.load_state_dict(fitted(judging, discriminator.state_dict()))
    about = Source(name, found.digest, tuple(str(i) for i in range(config.n_classes)))
    return ImageModel(generator, config, about, discriminator=None if judging is None else discriminator)


def _require_fit(
    config: GanConfig, tensors: dict[str, Tensor], judging: dict[str, Tensor] | None, n_bytes: int
) -> None:
    """InputError unless the networks, before they take any memory, are those of the tensors, or not much larger."""
    generator, discriminator = as_shapes(config)
    require_shapes(tensors, generator.state_dict())
    if judging is not None:
        require_shapes(judging, discriminator.state_dict())
    if sum(t.nbytes for t in discriminator.state_dict().values()) > LARGER * n_bytes:
        raise InputError("its discriminator would be far larger than the file")


@torch.no_grad()
def mean_style(generator: StyledGenerator, n_classes: int = 0) -> Tensor:
    """The mean style (latent,) of MEAN_OF latents, always the same, classes taking turns."""
    random, total = torch.Generator().manual_seed(0), torch.zeros(())
    for first in range(0, MEAN_OF, 1000):
        labels = torch.arange(first, first + 1000) % n_classes if n_classes else None
        total = total + generator.mapping(generator.draw(1000, random), labels).double().sum(0)
    return total / MEAN_OF


# ---- to others


def renamed(model: ImageModel, layout: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A model's tensors under the names of a layout, and what else a reader has to know, by name.

    "official": G_ema.NAME and D.NAME as the state dicts of released code have them; "rosinality": g_ema.NAME, d.NAME
    and latent_avg; that code does not clamp. Buffers that follow from the rest are left out, but for StyleGAN3's
    filters: load with strict=False. InputError for a model that the layout has no names for; ValueError for an unknown
    layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is not one of {', '.join(LAYOUTS)}")
    config, generator = model.config, model.generator
    ours = dict(generator.state_dict())
    if isinstance(generator, AliasFreeGenerator) and layout == "official":
        made, names, g, d = Made.of(config), stylegan3.names_of(generator, config), "G_ema", "D"
        del ours["seen"]
        tensors = {f"{g}.{name}": t for name, t in stylegan3.derived(generator).items()}
    elif config.arch != "stylegan2":
        raise InputError(f"{config.arch}: the layout {layout} has no names for it")
    elif layout == "official":
        made, g, d, tensors = Made.of(config), "G_ema", "D", {}
        names = stylegan2.generator_names(made)
    else:
        made, g, d, tensors = Made.of(config), "g_ema", "d", {"latent_avg": ours.pop("average")}
        rosinality.require(made)
        names = rosinality.generator_names(made)
        ours = {name: rosinality.shaped(names[name], t) for name, t in ours.items()}
    tensors |= {f"{g}.{names[name]}": t for name, t in ours.items()}
    if model.discriminator is not None:
        judging = (stylegan2 if layout == "official" else rosinality).discriminator_names(made)
        tensors |= {f"{d}.{judging[name]}": t for name, t in model.discriminator.state_dict().items()}
    about = {"conv_clamp": f"{config.clamp:g}", "mbstd_group_size": str(config.group)}
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, about


def save_renamed(model: ImageModel, layout: str, path: str | Path, *, overwrite: bool = False) -> None:
    """Write what renamed() gives to one safetensors file, atomically; the numbers stand in its header."""
    tensors, about = renamed(model, layout)
    write_atomically(path, safetensors_bytes(tensors, metadata=about), overwrite=overwrite)
