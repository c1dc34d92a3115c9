"""GOTEX, image mode: a picture whose features have the exemplar's law, found by descent on its pixels.

Houdard, Leclaire, Papadakis and Rabin: "Wasserstein generative models for patch-based texture synthesis" (SSVM 2021)
and "A generative model for texture synthesis based on optimal transport between feature distributions" (J. Math.
Imaging and Vision 2022), Algorithm 1. The loss is in texture_losses.py, the descent in picture_descent.py.

Departures. Potentials are solved to a mass error that is measured (ot/potentials.py); published: ten small steps a
turn. Patches go down by projection instead of Adam, and scale by scale before all at once. The start is the exemplar's
Gaussian texture instead of white noise: it has the colours and the grain already. Pyramids are our binomial ones.

Pictures always wrap on both axes, so every one of them tiles; odd sides have one irregular step of the coarse scales at
the wrap. Nothing is copied: pixels are means of the votes of patches, so there is some blur, and no map of coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn.adsn import field
from texsyn.blocks import period_of
from texsyn.features import Features, PatchPyramid
from texsyn.images import InputError, Picture, Region, Size, from_unit, to_unit
from texsyn.models.base import Synthesis, TextureModel, Watch
from texsyn.noise import NoiseField
from texsyn.ot.nearest import one_torch_thread
from texsyn.picture_descent import OPTIMISERS, Descent, Problem, Term, descend, project
from texsyn.texture_losses import GramLoss, SlicedLoss, TextureLoss, TransportLoss

LOSSES = ("transport", "sliced", "gram")
STARTS = ("gaussian", "noise")


@dataclass(frozen=True)
class GotexConfig:
    """Everything that shapes a picture besides exemplar, size and seed."""

    #: what is compared: "patches", "random", "vgg19", "inception", or a mixture as in "patches:1+random:0.5"
    features: str = "patches"
    #: "transport" (GOTEX), "sliced" (sliced Wasserstein) or "gram" (Gatys)
    loss: str = "transport"
    #: of patches: published 4 and 4; fewer scales for small exemplars
    patch_size: int = 4
    n_scales: int = 4
    #: patches of the exemplar that stand for its law at each scale; 0 takes all
    max_atoms: int = 2000
    #: mass error that potentials are kept below, besides what the number of points imposes
    tol: float = 0.2
    #: "auto" is projection for transport between patches, else L-BFGS
    optimiser: str = "auto"
    #: turns of projection at full size, or steps of Adam or L-BFGS; 0 takes 10, 300 or 200
    n_steps: int = 0
    #: turns of projection at each coarser size before
    n_coarse: int = 8
    start: str = "gaussian"
    #: where the features have weights: their file; empty looks where `texsyn weights` does
    weights: str = ""

    def __post_init__(self) -> None:
        for name, known in (("loss", LOSSES), ("optimiser", OPTIMISERS), ("start", STARTS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(known)}")
        if not 2 <= self.patch_size <= 16 or not 1 <= self.n_scales <= 8:
            raise ValueError(f"patch_size={self.patch_size} should be 2 to 16 and n_scales={self.n_scales} 1 to 8")
        for name in ("max_atoms", "n_steps", "n_coarse"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} should be 0 or more")
        if not 0 < self.tol < 2:
            raise ValueError(f"tol={self.tol} should be between 0 and 2")
        if self.optimiser == "projection" and (self.features != "patches" or self.loss != "transport"):
            raise ValueError(
                "optimiser='projection' is for loss='transport' with features='patches'; take adam or lbfgs"
            )

    @property
    def descent(self) -> str:
        """The optimiser that is used."""
        if self.optimiser != "auto":
            return self.optimiser
        return "projection" if self.features == "patches" and self.loss == "transport" else "lbfgs"


DEFAULT_STEPS = {"projection": 10, "adam": 300, "lbfgs": 200}


class Gotex(TextureModel):
    """Image mode; see the module's docstring. fit() keeps the exemplar only: every picture is an optimisation."""

    method = "gotex"
    config_type = GotexConfig

    def __init__(self, exemplar: Picture, config: GotexConfig | None = None, device: str = "cpu") -> None:
        super().__init__(exemplar, config or GotexConfig(), device)
        smallest = 2 * self.config.patch_size
        if min(exemplar.size.height, exemplar.size.width) < smallest:
            raise InputError(
                f"{exemplar.name}: patch_size={self.config.patch_size} needs at least {smallest}x{smallest} pixels, "
                f"got {exemplar.size}"
            )
        self._u = torch.from_numpy(to_unit(exemplar.pixels)).permute(2, 0, 1).float().contiguous().to(self.device)

    @classmethod
    def fit(
        cls, exemplar: Picture, config: Any = None, *, seed: int = 0, device: str = "cpu", watch: Watch | None = None
    ) -> Gotex:
        return cls(exemplar, config, device)

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def from_tensors(cls, exemplar: Picture, config: Any, tensors: Mapping[str, Tensor], device: str) -> Gotex:
        return cls(exemplar, config, device)

    @one_torch_thread()
    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        watch = watch or Watch()
        period_of(tile, size)  # refuses unknown names; these pictures wrap on both axes anyway
        inner, features = self._plan(size)
        loss = make_loss(self.config, features, [self._u], seed=seed)
        problem = Problem((Term(loss),))
        start = self._start(inner, seed)
        watch.step(0.02, str(size))
        found = minimise(start, problem, self.config, watch)
        pixels = found.u[:, : size.height, : size.width].permute(1, 2, 0).cpu().numpy()
        watch.step(1.0, "done")
        return Synthesis(self._depth(pixels), None, evidence(found, problem, inner))

    def _depth(self, pixels: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(from_unit(pixels, self.exemplar.pixels.dtype))

    def _plan(self, size: Size) -> tuple[Size, Features]:
        """The size that is made, not below what the features need, and the features."""
        config = self.config
        n_scales = n_scales_for(self.exemplar.size, config)
        least = PatchPyramid(config.patch_size, n_scales).smallest_side
        if config.features == "patches":
            features: Features = PatchPyramid(config.patch_size, n_scales)
        else:
            from texsyn.feature_names import features_of

            features = features_of(
                config.features, channels=self.exemplar.channels, weights=config.weights or None,
                patch_size=config.patch_size, n_scales=n_scales,
            )  # fmt: skip
            least = max(least, getattr(features, "smallest_side", 32))
        return Size(max(size.height, least), max(size.width, least)), features

    def _start(self, size: Size, seed: int) -> Tensor:
        """The first picture (C, H, W): the exemplar's Gaussian texture on a torus, or white noise of its values."""
        noise = NoiseField(seed, period=(size.height, size.width))
        u = self._u.double()
        if self.config.start == "gaussian":
            h, w = u.shape[1] - 1, u.shape[2] - 1
            W = torch.from_numpy(noise.normal(Region(-h, -w, size.height + h, size.width + w))).to(u)
            return field(u, W).float()
        channels = [
            NoiseField(seed, channel=k).bits(Region(0, 0, size.height, size.width)) % np.uint64(u[0].numel())
            for k in range(len(u))
        ]
        at = torch.from_numpy(np.stack(channels).astype(np.int64)).to(u.device)
        return torch.stack([v.flatten()[k] for v, k in zip(self._u, at, strict=True)])


def n_scales_for(size: Size, config: GotexConfig) -> int:
    """How many of the scales asked for leave the coarsest one with two patches a side; at least one.

    >>> [n_scales_for(Size(n, 300), GotexConfig()) for n in (8, 16, 32, 64, 256)]
    [1, 2, 3, 4, 4]
    """
    side, n = min(size.height, size.width), 1
    while n < config.n_scales and side // 2**n >= 2 * config.patch_size:
        n += 1
    return n


def make_loss(
    config: GotexConfig, features: Features, exemplars: list[Tensor], *, seed: int, **more: Any
) -> TextureLoss:
    """The configuration's loss between features of pictures and of exemplars."""
    if config.loss == "transport":
        return TransportLoss(features, exemplars, max_atoms=config.max_atoms, tol=config.tol, seed=seed, **more)
    if config.loss == "sliced":
        return SlicedLoss(features, exemplars, seed=seed, **more)
    return GramLoss(features, exemplars, **more)


def minimise(start: Tensor, problem: Problem, config: GotexConfig, watch: Watch) -> Descent:
    """The configuration's optimiser on a problem; progress and cancelling by watch."""
    how = config.descent if config.optimiser != "auto" or problem.is_quadratic else "lbfgs"
    n = config.n_steps or DEFAULT_STEPS[how]
    n_stages = 1
    if how == "projection":
        features = problem.terms[0].loss.features
        n_stages = features.n_scales if isinstance(features, PatchPyramid) else 1
    total = n + (config.n_coarse * (n_stages - 1)) / 4

    def on_turn(k: int, value: float) -> None:
        # turns at coarser sizes cost a quarter and less
        coarse = config.n_coarse * (n_stages - 1) if how == "projection" else 0
        done = k / 4 if k < coarse else coarse / 4 + k - coarse
        watch.step(0.02 + 0.97 * min(1.0, done / total), f"loss {value:.4g}")

    if how == "projection":
        return project(start, problem, n_turns=n, n_coarse=config.n_coarse, on_turn=on_turn)
    return descend(start, problem, optimiser=how, n_steps=n, on_turn=on_turn)


def evidence(found: Descent, problem: Problem, size: Size) -> list[dict[str, Any]]:
    """What a recipe keeps of a descent: the loss at the start and at the end, and mass errors of each layer."""
    about: list[dict[str, Any]] = [
        {"size": str(size), "turns": len(found.values), "loss": [round(v, 6) for v in found.values[-3:]]}
    ]
    for term in problem.terms:
        if isinstance(term.loss, TransportLoss):
            for k, potential in enumerate(term.loss.potentials):
                about.append({"level": k, "atoms": len(potential), "mass_error": round(potential.residual, 4)})
    return about
