"""GOTEX's generator: a network that is trained, on one exemplar, to turn noise into pictures with its patches.

Houdard, Leclaire, Papadakis and Rabin 2021, "Wasserstein generative models for patch-based texture synthesis" (SSVM,
LNCS 12679; Algorithm 2): with z noise, u = G_theta(z) and psi_s the dual potentials of transport from the patches of u
at scale s to those of the exemplar,

    min_theta max_psi sum_s lambda_s E_z [ (1/N_s) sum_i min_j |P_i S_s u - y^s_j|^2 - psi^s_j ] + mean_j psi^s_j,

by turns: bring psi up to date on pictures of the moment, then one step of Adam on theta.

Departures: noise is addressed by its place on an endless grid and convolutions have no borders, so that any window of
an endless picture can be had alone; pictures are drawn with a running average of the weights; the network is ours
unless architecture="ulyanov" (see generators.py); colours are learned as deviations from the exemplar's mean.

Training takes minutes, a picture of 1280x768 half a second. Nothing is copied: pictures have patches between those of
the exemplar, and are softer than it. Lines and cells are learned soon; blades of grass are not: 4x4 patches at five
scales do not tell them from grains. A network may use its own grid, whose period is 2^(n_levels - 1) pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn.blocks import Period
from texsyn.features import PatchPyramid
from texsyn.images import InputError, Picture, Region, Size, to_unit, write_atomically
from texsyn.models.generators import ARCHITECTURES, Design, Generator, LevelWindow, make_generator
from texsyn.models.trained import Endless, channels_last, load_weights
from texsyn.noise import NoiseField
from texsyn.pyramid import level_period
from texsyn.texture_losses import TransportLoss
from texsyn.training import cosine, load_optimiser, of, optimiser_state, under

SETTLING = 30  # batches whose statistics a network keeps
SMALLEST = 8  # shorter side of an exemplar


@dataclass(frozen=True)
class GotexNetConfig:
    """Everything that shapes a picture besides exemplar, size and seeds."""

    architecture: str = "modern"
    #: levels of noise; the coarsest sees 2^(n_levels - 1) pixels a place
    n_levels: int = 6
    #: at the finest level, doubled at each coarser one up to max_channels; with "ulyanov" the step per level
    channels: int = 16
    max_channels: int = 64
    noise_channels: int = 2
    #: finest levels without noise, as far as there are coarser ones; with "ulyanov" all have some
    quiet_levels: int = 1
    #: batch normalisation while it learns; put into the weights afterwards
    normalised: bool = True
    patch_size: int = 4
    #: fewer where the exemplar is too small for them
    n_scales: int = 5
    max_atoms: int = 2000
    #: random patches of each scale that enter a step's gradient
    n_samples: int = 4096
    steps: int = 2000  # 4 CPU minutes in grey, 6 in colour; bricks were good after 1350
    batch: int = 2
    #: side of the pictures that it is trained on
    crop: int = 128
    learning_rate: float = 0.005  # 0.01 with one picture a step collapsed on coloured stones
    #: psi follows the pictures of so many steps, once every `turn` steps: one batch has too few coarse patches
    memory: int = 8
    turn: int = 4
    #: share of the past in the running average of the weights that draws the pictures
    average: float = 0.995
    #: 0 for no limit; with one, what is learned depends on the speed of the machine
    max_minutes: float = 0.0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture={self.architecture!r} is not one of {', '.join(ARCHITECTURES)}")
        for name, most in (("n_levels", 10), ("channels", 256), ("max_channels", 1024), ("noise_channels", 64),
                           ("n_scales", 10), ("max_atoms", 2**20), ("n_samples", 2**20), ("steps", 2**31),
                           ("batch", 256), ("crop", 2048), ("memory", 1024), ("turn", 1024)):  # fmt: skip
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)} should be from 1 to {most}")
        if not 0 <= self.quiet_levels <= 10:
            raise ValueError(f"quiet_levels={self.quiet_levels} should be from 0 to 10")
        if not 2 <= self.patch_size <= 16:
            raise ValueError(f"patch_size={self.patch_size} should be from 2 to 16")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate={self.learning_rate} should be above 0 and at most 1")
        if not 0 <= self.average < 1:
            raise ValueError(f"average={self.average} should be from 0 to below 1")
        if self.max_minutes < 0:
            raise ValueError(f"max_minutes={self.max_minutes} should be 0 (no limit) or more")


class GotexNet(Endless):
    """The trained network; see the module's docstring.

    A picture is the window of an endless plane with its top left corner at (0, 0). The plane is computed in blocks on
    an absolute grid, so that any window has the same bits. fit() makes the same model for the same seed, whatever the
    number of threads, unless max_minutes cuts it short.
    """

    one_thread = True
    method = "gotex-net"
    config_type = GotexNetConfig

    def __init__(
        self,
        exemplar: Picture,
        config: GotexNetConfig | None = None,
        device: str = "cpu",
        *,
        generator: Generator | None = None,
        steps: int = 0,
    ) -> None:
        """The network without weights, or with those given; fit() and load() give the model that makes pictures."""
        super().__init__(exemplar, config or GotexNetConfig(), device)
        smallest = max(SMALLEST, 2 * self.config.patch_size)
        if min(exemplar.size.height, exemplar.size.width) < smallest:
            raise InputError(
                f"{exemplar.name}: patch_size={self.config.patch_size} needs at least {smallest}x{smallest} pixels, "
                f"got {exemplar.size}"
            )
        u = torch.from_numpy(to_unit(exemplar.pixels)).permute(2, 0, 1)
        self.u = u.contiguous().to(self.device)
        # float64: the mean of equal values is that value, so that a constant exemplar gives that constant
        self.mean, self.deviation = u.double().mean((1, 2)).float(), u.double().std((1, 2), correction=0).float()
        self.deviation[self.u.cpu().amax((1, 2)) == self.u.cpu().amin((1, 2))] = 0
        self.generator, self.steps = generator, steps

    # ---- training

    @classmethod
    def learner(cls, exemplar: Picture, config: Any, *, seed: int, device: str) -> Training:
        return Training(cls(exemplar, config, device), seed)

    # ---- pictures

    @property
    def halo(self) -> int:
        """Output pixels around a pixel whose noise enters it, one side at most; blocks change no bit of that."""
        return self._network().halo

    def _network(self) -> Generator:
        assert self.generator is not None, "a model is made by fit() or load()"
        return self.generator

    def values(self, region: Region, seed: int, period: Period) -> Tensor:
        network = self._network()
        windows = network.windows(region, period)
        noise = []
        for k, here in zip(self.design.noisy, network.noise_regions(windows), strict=True):
            fields = [NoiseField(seed, k, c, level_period(period, k)) for c in range(self.config.noise_channels)]
            # (h, w, n): channels last, in which small convolutions are fastest
            noise.append(torch.from_numpy(np.stack([one.normal(here) for one in fields], -1)).to(self.device))
        return self.coloured(network([z.permute(2, 0, 1)[None] for z in noise], windows))[0]

    def coloured(self, values: Tensor) -> Tensor:
        """What the network makes (B, C, H, W), as values of pixels."""
        mean, deviation = (t.to(values.device)[:, None, None] for t in (self.mean, self.deviation))
        return mean + deviation * values

    # ---- the network elsewhere

    def exported(self, size: Size) -> tuple[torch.export.ExportedProgram, list[tuple[int, ...]]]:
        """The network as a torch.export program for pictures of one size, and the shapes of the noise it takes.

        Inputs are white Gaussian noise, (1, noise_channels, h_k, w_k) for each level that has any, finest first; the
        output is (1, channels, height, width) in the exemplar's range, not yet cut to it.
        """
        windows = self._network().windows(Region(0, 0, size.height, size.width))
        shapes: list[tuple[int, ...]] = [
            (1, self.config.noise_channels, region.height, region.width)
            for region in self._network().noise_regions(windows)
        ]
        noise = tuple(torch.zeros(shape) for shape in shapes)
        return torch.export.export(_Alone(self, windows).cpu(), noise), shapes

    def export_onnx(self, path: str | Path, size: Size) -> None:
        """Write exported(size) as an ONNX file with inputs noise_0 (finest) .. and output picture.

        Needs the packages of `pip install 'texsyn[onnx]'`; raises ImportError without them.
        """
        program, shapes = self.exported(size)
        names = [f"noise_{k}" for k in range(len(shapes))]
        made = torch.onnx.export(program, (), input_names=names, output_names=["picture"], dynamo=True, verbose=False)
        assert made is not None
        write_atomically(path, made.model_proto.SerializeToString())

    # ---- files

    def tensors(self) -> dict[str, Tensor]:
        """The network's weights, normalisation put into them, and how many steps they took."""
        network = self._network()
        return under("network", network.state_dict()) | {"steps": torch.tensor(self.steps)}

    @classmethod
    def from_tensors(cls, exemplar: Picture, config: Any, tensors: Mapping[str, Tensor], device: str) -> GotexNet:
        model = cls(exemplar, config, device, steps=int(tensors["steps"]))
        network = make_generator(replace(model.design, normalised=False), torch.Generator())
        load_weights(network, of("network", tensors))
        model.generator = ready(network, model.device)
        return model

    @property
    def design(self) -> Design:
        """How the network is built."""
        c = self.config
        return Design(
            c.architecture, c.n_levels, c.channels, self.exemplar.channels, c.noise_channels, c.max_channels,
            c.normalised, min(c.quiet_levels, c.n_levels - 1),
        )  # fmt: skip


def ready(network: Generator, device: torch.device) -> Generator:
    """For sampling: no gradients, channels last."""
    network.eval().requires_grad_(False).to(device)
    channels_last(network)
    return network


class _Alone(torch.nn.Module):
    """The network of a model for one window, with the colours in it: noise in, pixels out."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: GotexNet, windows: list[LevelWindow]) -> None:
        super().__init__()
        self.network, self.windows = copy.deepcopy(model._network()), windows
        self.register_buffer("mean", model.mean[:, None, None])
        self.register_buffer("deviation", model.deviation[:, None, None])

    def forward(self, *noise: Tensor) -> Tensor:
        found: Tensor = self.mean + self.deviation * self.network(noise, self.windows)
        return found


class Training:
    """Algorithm 2 of the paper, one turn a step: what changes is the network, its average, Adam, psi and the draws."""

    def __init__(self, model: GotexNet, seed: int) -> None:
        self.of, config = model, model.config
        self.random = torch.Generator().manual_seed(seed % 2**63)
        self.network = make_generator(model.design, self.random).to(model.device).train()
        channels_last(self.network)
        self.average = {name: t.clone() for name, t in self.network.state_dict().items()}
        self.adam = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
        self.features = PatchPyramid(config.patch_size, n_scales_for(model.exemplar.size, config))
        # Departure: learned in units of the whole exemplar's deviation, so that a learning rate suits faint textures
        self.unit = 1 / (float(model.deviation.square().mean().sqrt()) or 1.0)
        self.loss = TransportLoss(
            self.features, model.u * self.unit, max_atoms=config.max_atoms, n_samples=config.n_samples, seed=seed,
            tol=0.3, budget=4.0,
        )  # fmt: skip
        self.recent: list[Tensor] = []  # pictures that psi follows
        self.windows = self.network.windows(Region(0, 0, self.crop, self.crop))

    @property
    def crop(self) -> int:
        """Side of the training pictures: at least what the coarsest scale needs, with room."""
        return max(self.of.config.crop, 2 * self.features.smallest_side)

    def step(self, i: int) -> dict[str, float]:
        """psi follows the pictures of the moment; then theta takes a step against them."""
        config = self.of.config
        for group in self.adam.param_groups:
            group["lr"] = config.learning_rate * cosine(i, config.steps)
        u = self.of.coloured(self.network(self.noise(), self.windows)) * self.unit
        self.recent = [*self.recent[1 - config.memory :], u.detach()] if config.memory > 1 else [u.detach()]
        if i % config.turn == 0 or i < config.memory:
            self.loss.improve(torch.cat(self.recent))
        loss = self.loss(u)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        share = min(config.average, i / (i + 10))  # the first steps are soon forgotten
        with torch.no_grad():
            for name, t in self.network.state_dict().items():
                self.average[name].lerp_(t, 1 - share)
        return {"loss": float(loss.detach())}

    def noise(self) -> list[Tensor]:
        """White Gaussian noise (B, n, h_k, w_k) for the training window, finest level first."""
        config = self.of.config
        drawn = (
            torch.randn(config.batch, region.height, region.width, config.noise_channels, generator=self.random)
            for region in self.network.noise_regions(self.windows)
        )
        return [z.to(self.of.device).permute(0, 3, 1, 2) for z in drawn]

    def model(self) -> GotexNet:
        """The texture model of the averaged network."""
        network = make_generator(self.network.design, torch.Generator())
        network.load_state_dict(self.average)
        settle(network, self.windows, self.of)
        made = GotexNet(self.of.exemplar, self.of.config, str(self.of.device))
        made.generator = ready(network.folded(), made.device)
        return made

    def sample(self) -> Picture:
        """A picture of the averaged network, of the exemplar's size, seed 0."""
        return self.model().shown()

    def state(self) -> dict[str, Tensor]:
        """Everything that a later step depends on."""
        return (
            under("network", self.network.state_dict())
            | under("average", self.average)
            | under("adam", optimiser_state(self.adam))
            | under("loss", self.loss.state())
            | {f"recent.{k:04}": u for k, u in enumerate(self.recent)}
            | {"random": self.random.get_state()}
        )

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state()."""
        self.network.load_state_dict(of("network", state))
        average = of("average", state)
        for name, t in self.average.items():
            t.copy_(average[name])
        load_optimiser(self.adam, of("adam", state))
        self.loss.load_state(of("loss", state))
        self.recent = [state[name].to(self.of.device) for name in sorted(state) if name.startswith("recent.")]
        self.random.set_state(state["random"])


@torch.no_grad()
def settle(network: Generator, windows: Sequence[LevelWindow], model: GotexNet) -> None:
    """Measure the statistics of normalisation again, for the averaged weights: the averaged statistics fit none.

    Contrast on gravel after 150 steps: 0.112 with averaged ones, 0.118 so, 0.120 with those of each batch.
    """
    random, n = torch.Generator().manual_seed(0), model.config.noise_channels
    network.to(model.device).train()
    for _ in range(SETTLING if network.design.normalised else 0):
        shapes = [(2, region.height, region.width, n) for region in network.noise_regions(windows)]
        noise = [torch.randn(shape, generator=random).to(model.device).permute(0, 3, 1, 2) for shape in shapes]
        network(noise, windows)


def n_scales_for(size: Size, config: GotexNetConfig) -> int:
    """How many of the scales asked for leave the coarsest one at least two patches wide; at least one.

    >>> [n_scales_for(Size(n, 300), GotexNetConfig()) for n in (8, 16, 32, 64, 128, 256)]
    [1, 2, 3, 4, 5, 5]
    """
    n = 1
    while n < config.n_scales and min(size.height, size.width) // 2**n > 2 * config.patch_size - 1:
        n += 1
    return n
