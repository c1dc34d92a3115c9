"""The general image GANs by name: who builds the networks, and the numbers they were published with.

A configuration is the defaults of GanConfig, then the architecture's published numbers, then the recipe's, then what an
objective needs (a name such as wgan-gp stands for a loss, a penalty and the optimiser that goes with them), then, for
points of the plane, what serves those, then what the caller says. All of it is data: a new architecture is a line of
ARCHITECTURES, or that and one short file.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from texsyn.gan.augment import POLICIES
from texsyn.gan.losses import F_DIVERGENCES, LOSSES, RELATIVISTIC, AdversarialLoss, RelativisticLoss, f_gan
from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator
from texsyn.gan.presets import PRESETS

PENALTIES = ("none", "gp", "r1", "r2", "r1-r2", "dragan", "lecam")
OPTIMISERS = ("adam", "rmsprop", "sgd")
SEMI_DISCRETE = "semi-discrete"  #: the loss whose critic is the dual potential of transport onto the data


@dataclass(frozen=True)
class GanConfig:
    """What a GAN is built from and trained by. images: real pictures that are judged in the discriminator's batches.

    Of the numbers that count pictures, batch is that of one gradient, whatever pieces it is computed in.
    """

    arch: str = "dcgan"
    recipe: str = "tiny"
    # what is made
    channels: int = 1
    height: int = 32
    width: int = 32
    n_classes: int = 0
    latent: int = 128
    features: int = 64
    max_features: int = 512
    # of networks with styles, and StyleGAN3's rotations
    mapping_layers: int = 8
    mixing: float = 0.9  #: how many training pictures have styles of two latents
    group: int = 4  #: pictures whose deviation the discriminator is shown
    residual: bool = True  #: skips in the discriminator
    periodic: bool = False  #: pictures that tile
    clamp: float = 0.0  #: features are cut to +- this, as weights trained in half precision expect; 0: they are not
    stationary: bool = False  #: textures whose places differ by their noise alone
    folded: bool = False  #: resampling and convolution in one kernel: fewer passes, more products
    rotation: bool = False  #: pictures turn with their latents' canvas, not only move
    layers: int = 14  #: of StyleGAN3's generator
    # what is minimised
    loss: str = "non-saturating"
    penalty: str = "none"
    weight: float = 10.0  #: of the penalty; of r1 and r2 the gamma that is halved inside
    lazy: int = 1  #: the penalty comes in every so-manieth step, as many times stronger
    path_weight: float = 0.0  #: of the penalty of path lengths, which the generator has; 0: none
    path_lazy: int = 4
    judged_blur: float = 0.0  #: pixels; what is judged is blurred by so much at first, for judged_blur_images
    judged_blur_images: int = 0
    freeze: int = 0  #: layers of the discriminator, from the picture on, that do not learn
    clip: float = 0.0  #: weights of the critic are clamped to [-clip, clip]; 0: they are not
    drift: float = 0.0
    orthogonal: float = 0.0
    class_weight: float = 1.0  #: of the cross entropies of a discriminator that tells classes
    normalised: bool = True  #: batch normalisation in the discriminator, where its architecture has it
    # transport onto the data, of the semi-discrete loss
    cost: str = "squared"  #: or "euclidean", whose transport cost is W1
    blur: float = 0.0  #: entropic regularisation, in units of the cost
    mass_error: float = 0.1  #: turns of the critic end where the mass error is so far above that of counting
    max_atoms: int = 1000
    ascent: int = 1  #: batches of made pictures that a turn of the critic looks at
    # how
    optimiser: str = "adam"
    rate: float = 2e-4
    critic_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: bool = False  #: rates fall linearly to 0
    critic_turns: int = 1
    batch: int = 64
    pieces: int = 1
    images: int = 640_000
    average: float = 0.0  #: half-life of the generator's running average, in images; 0: none
    ramp: float = 0.05  #: at most this part of the images shown so far
    growth: int = 0  #: images for which a resolution stays, and as many in which the next one fades in
    truncation: float = 0.0  #: latents beyond it are drawn again when pictures are made; 0: none are
    augment: str = "none"
    ada_target: float = 0.6
    ada_images: int = 500_000  #: in which augmentation can go from none to always
    bf16: bool = False
    compile: bool = False
    max_minutes: float = 0.0

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise ValueError(f"arch={self.arch!r} is not one of {', '.join(ARCHITECTURES)}")
        for name, known in (
            ("loss", BASE_LOSSES), ("penalty", PENALTIES), ("optimiser", OPTIMISERS), ("recipe", RECIPES),
            ("cost", ("euclidean", "squared")),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(known)}")
        for name in (
            "mapping_layers", "layers", "group", "path_lazy", "lazy", "critic_turns", "batch", "pieces", "images",
            "max_atoms", "ascent", "ada_images",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 1")
        for name in ("rate", "critic_rate", "epsilon", "ramp", "mass_error"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} should be above 0")
        for name in (
            "weight", "path_weight", "judged_blur", "judged_blur_images", "freeze", "clip", "clamp", "drift",
            "orthogonal", "class_weight", "blur", "average", "growth", "truncation", "max_minutes",
        ):  # fmt: skip
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} should be 0 or more")
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"mixing={self.mixing} should be from 0 to 1")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be from 0 to below 1")
        if self.augment not in ("none", "ada") and not set(self.augment.replace(" ", "").split(",")) <= set(POLICIES):
            raise ValueError(f"augment={self.augment!r} is not none, ada or some of {','.join(POLICIES)}")
        if self.batch % self.pieces:
            raise ValueError(f"pieces={self.pieces} should divide batch={self.batch}")
        if self.loss == SEMI_DISCRETE and (self.penalty != "none" or self.clip):
            raise ValueError(f"penalty={self.penalty!r}: the dual potential of {SEMI_DISCRETE} takes none, nor clip")
        _ = self.design

    @property
    def design(self) -> Design:
        """What the networks are built from."""
        return Design(
            self.channels, self.height, self.width, self.n_classes, self.latent, self.features, self.max_features
        )

    @property
    def steps(self) -> int:
        """Updates of the generator in a whole training."""
        return math.ceil(self.images / (self.batch * self.critic_turns))

    @property
    def conditional(self) -> bool:
        """Whether pictures are asked for by class."""
        return self.n_classes > 0


def loss_named(name: str) -> AdversarialLoss | RelativisticLoss:
    """A loss of gan/losses.py by its name in a configuration; f-divergences have f- before theirs."""
    if name in LOSSES:
        return LOSSES[name]
    if name in RELATIVISTIC:
        return RELATIVISTIC[name]
    return f_gan(name.removeprefix("f-"))


BASE_LOSSES = (*LOSSES, *RELATIVISTIC, *(f"f-{name}" for name in F_DIVERGENCES), SEMI_DISCRETE)
_GP = {"loss": "wasserstein", "penalty": "gp", "weight": 10.0, "normalised": False}
_FLAT = {"normalised": False}  # slopes of single pictures are penalised, which statistics of a batch would mix

#: what --loss may be: a name for a loss with what belongs to it
OBJECTIVES: dict[str, dict[str, Any]] = {
    **{name: {"loss": name} for name in (*LOSSES, *RELATIVISTIC) if name != "wasserstein"},
    # G wants logits of 0, which equal pictures have that batch normalisation makes zeros of: it learns nothing there
    "least-squares-pearson": {"loss": "least-squares-pearson", **_FLAT},
    # RMSprop since momentum makes the clipped critic unstable: Arjovsky, Chintala and Bottou 2017, section 4
    "wgan-clip": {
        "loss": "wasserstein", "clip": 0.01, "critic_turns": 5, "optimiser": "rmsprop", "rate": 5e-5,
        "critic_rate": 5e-5,
    },
    # Gulrajani and others 2017, algorithm 1
    "wgan-gp": _GP | {"critic_turns": 5, "rate": 1e-4, "critic_rate": 1e-4, "beta1": 0.0, "beta2": 0.9},
    "r1": {"loss": "non-saturating", "penalty": "r1", "weight": 10.0, **_FLAT},
    "dragan": {"loss": "non-saturating", "penalty": "dragan", "weight": 10.0, **_FLAT},
    # softened, since single pictures would each receive all or nothing; found on digits and eight Gaussians
    SEMI_DISCRETE: {"loss": SEMI_DISCRETE, "critic_turns": 10, "critic_rate": 0.03, "blur": 0.02},
    **{f"f-{name}": {"loss": f"f-{name}"} for name in F_DIVERGENCES if name != "gan"},  # that one is "saturating"
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """Who builds it ("module:function" of texsyn.gan.networks), what the paper has, and what goes on a CPU.

    labels: "none", it knows no classes; "optional"; "needed". by_class: it is trained by class where the data have
    classes, unless somebody says otherwise. Where tells_classes, its discriminator has logits of classes. options:
    names of settings that its builder takes too. points: it learns points of the plane too. n_domains: as many it needs
    side by side, 0 for any. pyramid: its discriminator is shown several pictures at once. begins_with_real: its
    generator is given real pictures while it learns. grows: a resolution at a time. styled: latents become styles, and
    paths of those have lengths. freezes: the first layers of its discriminator may be kept from learning.
    """

    builder: str
    about: str
    paper: Mapping[str, Any]
    tiny: Mapping[str, Any] = field(default_factory=dict)
    labels: str = "optional"
    by_class: bool = False
    tells_classes: bool = False
    options: tuple[str, ...] = ()
    points: bool = False
    n_domains: int = 0
    pyramid: bool = False
    begins_with_real: bool = False
    grows: bool = False
    styled: bool = False
    freezes: bool = False

    def build(self, config: GanConfig, random: torch.Generator) -> tuple[ImageGenerator, ImageDiscriminator]:
        """The generator and the discriminator, their weights drawn from `random`."""
        module, name = self.builder.split(":")
        make = getattr(importlib.import_module(f"texsyn.gan.networks.{module}"), name)
        generator, discriminator = make(config.design, random, **{name: getattr(config, name) for name in self.options})
        return generator, discriminator


_DC = {"rate": 2e-4, "critic_rate": 2e-4, "beta1": 0.5, "beta2": 0.999, "loss": "non-saturating"}
_SN = {
    "latent": 128, "loss": "hinge", "rate": 2e-4, "critic_rate": 2e-4, "beta1": 0.0, "beta2": 0.9, "critic_turns": 5,
    "batch": 64, "images": 64 * 5 * 100_000, "decay": True,
}  # fmt: skip
_SMALL = {"features": 32, "max_features": 128, "latent": 64, "batch": 64, "average": 5_000.0}
_QUICK = _SMALL | {"rate": 5e-4, "critic_rate": 5e-4}
#: of residual networks, layers several times as wide as `features`; on digits, rates of 2e-4 do not learn classes
#: in the time in which these make them
_NARROW = _SMALL | {"features": 8, "max_features": 64, "latent": 32, "rate": 1e-3, "critic_rate": 1e-3}

#: StyleGAN2's published numbers that hold at any resolution; see texsyn.gan.presets for the others
_STYLE = {
    "latent": 512, "loss": "non-saturating", "penalty": "r1", "lazy": 16, "beta1": 0.0, "beta2": 0.99, "batch": 32,
    "images": 25_000_000, "average": 10_000.0,
}  # fmt: skip
_SMALL_STYLE = {
    "features": 16, "max_features": 64, "latent": 64, "batch": 32, "rate": 2.5e-3, "critic_rate": 2.5e-3,
    "mapping_layers": 2, "weight": 1.0, "path_weight": 0.0, "mixing": 0.0, "average": 5_000.0,
}  # fmt: skip

#: the order is the one shown to people
ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture(
        "perceptron:perceptron",
        "fully connected layers (Goodfellow and others 2014); also for points of the plane",
        _DC | {"latent": 100, "features": 256, "batch": 64, "images": 64 * 200_000},
        {"features": 128, "max_features": 512, "latent": 32, "batch": 64, "average": 5_000.0},
        points=True,
    ),
    "dcgan": Architecture(
        "convolutional:dcgan",
        "transposed convolutions with batch normalisation (Radford, Metz and Chintala 2016)",
        _DC | {"latent": 100, "features": 64, "max_features": 512, "batch": 128, "images": 64 * 200_000},
        _QUICK,
        options=("normalised",),
    ),
    "lapgan": Architecture(
        "laplacian:lapgan",
        "a GAN for each level of a Laplacian pyramid (Denton and others 2015)",
        _DC | {"latent": 100, "features": 64, "max_features": 512, "batch": 64, "images": 64 * 200_000},
        _QUICK,
        options=("normalised",),
        labels="none",
        pyramid=True,
        begins_with_real=True,
    ),
    "cogan": Architecture(
        "coupled:cogan",
        "two domains, such as DATA+DATA, with shared layers and no pairs (Liu and Tuzel 2016)",
        _DC | {"latent": 100, "features": 64, "max_features": 512, "batch": 32, "images": 64 * 200_000},
        _QUICK,
        options=("normalised",),
        labels="none",
        n_domains=2,
    ),
    "acgan": Architecture(
        "convolutional:acgan",
        "a DCGAN of classes, whose discriminator tells them (Odena, Olah and Shlens 2017)",
        _DC | {"latent": 110, "features": 64, "max_features": 512, "batch": 100, "images": 64 * 200_000},
        _QUICK,
        options=("normalised",),
        labels="needed",
        by_class=True,
        tells_classes=True,
    ),
    "sngan": Architecture(
        "residual:sngan",
        "residual blocks, spectral normalisation in the discriminator (Miyato and others 2018)",
        _SN | {"features": 64, "max_features": 1024},
        _NARROW | {"critic_turns": 2},
    ),
    "wgan-resnet": Architecture(
        "residual:wgan_resnet",
        "residual blocks, no normalisation in the critic (Gulrajani and others 2017)",
        _SN | _GP | {"features": 64, "max_features": 1024},
        _NARROW | {"critic_turns": 3},
    ),
    "resnet-r1": Architecture(
        "residual:resnet_r1",
        "residual blocks without normalisation, for R1 (Mescheder, Geiger and Nowozin 2018)",
        {
            "latent": 256, "features": 64, "max_features": 512, "loss": "non-saturating", "penalty": "r1",
            "weight": 20.0, "optimiser": "rmsprop", "rate": 1e-4, "critic_rate": 1e-4, "batch": 64,
            "images": 64 * 500_000, "average": 44_000.0,
        },
        _NARROW | {"weight": 1.0},
    ),
    "sagan": Architecture(
        "residual:sagan",
        "self-attention, spectral normalisation in both, two rates (Zhang and others 2019)",
        {
            "latent": 128, "features": 64, "max_features": 1024, "loss": "hinge", "rate": 1e-4, "critic_rate": 4e-4,
            "beta1": 0.0, "beta2": 0.9, "batch": 256, "images": 256 * 1_000_000, "average": 177_000.0,
        },
        _NARROW | {"rate": 5e-4, "critic_rate": 2e-3},
        by_class=True,
    ),
    "biggan": Architecture(
        "residual:biggan",
        "shared class embedding, latents into every block, truncation (Brock, Donahue and Simonyan 2019)",
        {
            "latent": 120, "features": 96, "max_features": 1536, "loss": "hinge", "rate": 5e-5, "critic_rate": 2e-4,
            "beta1": 0.0, "beta2": 0.999, "epsilon": 1e-6, "critic_turns": 2, "batch": 2048,
            "images": 2048 * 2 * 150_000, "average": 14_200_000.0, "orthogonal": 5e-5,
        },
        _NARROW | {"critic_turns": 1},
        by_class=True,
    ),
    "progan": Architecture(
        "growing:progan",
        "grows from 4x4 pixels, a resolution at a time (Karras, Aila, Laine and Lehtinen 2018)",
        _GP | {
            "latent": 512, "features": 16, "max_features": 512, "drift": 0.001, "rate": 1e-3, "critic_rate": 1e-3,
            "beta1": 0.0, "beta2": 0.99, "batch": 16, "images": 15_000_000, "average": 11_000.0, "growth": 600_000,
        },
        _SMALL | {"batch": 32, "growth": 40_000, "images": 480_000},
        grows=True,
    ),
    "msggan": Architecture(
        "growing:msggan",
        "gradients at all resolutions at once (Karnewar and Wang 2020)",
        {
            "latent": 512, "features": 16, "max_features": 512, "loss": "relativistic-hinge", "rate": 3e-3,
            "critic_rate": 3e-3, "beta1": 0.0, "beta2": 0.99, "batch": 32, "images": 15_000_000, "average": 22_000.0,
        },
        _SMALL | {"batch": 32, "rate": 1e-3, "critic_rate": 1e-3},
        pyramid=True,
    ),
    "stylegan": Architecture(
        "stylegan:stylegan",
        "styles normalise features, and it grows; truncation, editing (Karras, Laine and Aila 2019)",
        # there the first resolution is 8 x 8, and rates rise to 1.5e-3 at 128 pixels, 2e-3 at 256 and 3e-3 from 512 on
        _STYLE | {"features": 16, "max_features": 512, "weight": 10.0, "lazy": 1, "rate": 1e-3, "critic_rate": 1e-3,
                  "growth": 600_000},
        _SMALL_STYLE | {"lazy": 4, "rate": 8e-3, "critic_rate": 8e-3, "growth": 15_000, "images": 240_000},
        options=("mapping_layers", "mixing", "group", "periodic"),
        grows=True,
        styled=True,
        freezes=True,
    ),
    "stylegan2": Architecture(
        "stylegan2:stylegan2",
        "styles modulate convolutions; path lengths, truncation, editing (Karras and others 2020)",
        _STYLE | {"features": 32, "max_features": 512, "weight": 10.0, "rate": 2e-3, "critic_rate": 2e-3,
                  "path_weight": 2.0},
        _SMALL_STYLE,
        options=("mapping_layers", "mixing", "group", "residual", "periodic", "stationary", "folded", "clamp"),
        styled=True,
        freezes=True,
    ),
    "stylegan3": Architecture(
        "stylegan3:stylegan3",
        "pictures move, or turn too (rotation), with a canvas, as nothing aliases (Karras and others 2021)",
        _STYLE | {"features": 32, "max_features": 512, "mapping_layers": 2, "weight": 32.8, "rate": 2.5e-3,
                  "critic_rate": 2e-3, "mixing": 0.0},
        # 6 layers have fit 16 digits to an error of 0.14 after 200 steps, 14 to 0.27
        _SMALL_STYLE | {"critic_rate": 2e-3, "layers": 6},
        options=("mapping_layers", "layers", "group", "residual", "periodic", "rotation", "clamp"),
        styled=True,
        freezes=True,
    ),
}  # fmt: skip

#: what goes over an objective's published numbers in the recipe for a CPU: those rates are for many more steps, and
#: leave digits a blur after 1000 (benchmarks/results/gan_losses_cpu.json)
_TINY_OBJECTIVES: dict[str, dict[str, Any]] = {
    "wgan-clip": {"rate": 1e-3, "critic_rate": 1e-3},
    "wgan-gp": {"rate": 1e-3, "critic_rate": 1e-3, "beta1": 0.5},
}
#: of points of the plane, in the recipe for a CPU: as many latents as coordinates, and rates that fall; by penalty, its
#: weight. All of eight Gaussians in 5 to 20 seconds (tests/test_image_gans.py)
_POINTS: dict[str, Any] = {
    "latent": 2, "features": 128, "max_features": 128, "batch": 128, "average": 2000.0, "decay": True, "beta1": 0.0,
    "beta2": 0.99, "rate": 3e-3, "critic_rate": 3e-3, "images": 960_000,
}  # fmt: skip
_POINTS_WEIGHT = {"gp": 1.0, "r1": 0.3}

#: settings that go over an architecture's published ones; its own `tiny` ones go over these
RECIPES: dict[str, dict[str, Any]] = {"tiny": {"images": 640_000}, "paper": {}}


def configure(
    arch: str,
    *,
    objective: str | None = None,
    recipe: str = "tiny",
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> GanConfig:
    """The configuration of an architecture, see the top of this file. Raises ValueError, with what is known.

    preset: a name of gan/presets.py, whose numbers go over the recipe's; its settings name height and width.

    >>> configure("dcgan", objective="wgan-gp").critic_turns, configure("dcgan", recipe="paper").max_features
    (5, 512)
    """
    from texsyn.models.base import make_config

    for name, value, known in (
        ("arch", arch, ARCHITECTURES), ("loss", objective, OBJECTIVES), ("recipe", recipe, RECIPES),
        ("preset", preset, PRESETS),
    ):  # fmt: skip
        if value is not None and value not in known:
            raise ValueError(f"{name}={value!r} is not one of {', '.join(known)}")
    of, given = ARCHITECTURES[arch], dict(settings or {})
    values: dict[str, Any] = dict(of.paper) | RECIPES[recipe]
    if recipe == "tiny":
        values |= dict(of.tiny)
    if preset is not None:
        if PRESETS[preset].arch != arch:
            raise ValueError(f"preset={preset!r} is for arch={PRESETS[preset].arch!r}, not {arch!r}")
        values |= PRESETS[preset].settings(given.get("height", GanConfig.height), given.get("width", GanConfig.width))
    if objective is not None:
        values |= {"penalty": "none", "clip": 0.0, "drift": 0.0} | OBJECTIVES[objective]
        values |= _TINY_OBJECTIVES.get(objective, {}) if recipe == "tiny" else {}
    if recipe == "tiny" and (given.get("height"), given.get("width")) == (1, 1) and not values.get("clip"):
        values |= _POINTS | {"weight": _POINTS_WEIGHT.get(values.get("penalty", ""), 10.0)}
        values |= {"critic_rate": OBJECTIVES[SEMI_DISCRETE]["critic_rate"]} if values["loss"] == SEMI_DISCRETE else {}
    values |= given
    if "arch" in values and values["arch"] != arch:
        raise ValueError(f"arch={values['arch']!r} stands against arch={arch!r}")
    if given.get("recipe", recipe) != recipe:
        raise ValueError(f"recipe={given['recipe']!r} stands against recipe={recipe!r}")
    made: GanConfig = make_config(GanConfig, values | {"arch": arch, "recipe": recipe})
    return made
