"""GOTEX, image mode: a picture whose features have the exemplar's law, found by descent on its pixels.

Houdard, Leclaire, Papadakis and Rabin: "Wasserstein generative models for patch-based texture synthesis" (SSVM 2021)
and "A generative model for texture synthesis based on optimal transport between feature distributions" (J. Math.
Imaging and Vision 2022), Algorithm 1. The loss is in texture_losses.py, the descent in picture_descent.py.

Departures. Potentials are solved to a mass error that is measured (ot/potentials.py); published: ten small steps a
turn. Patches go down by projection instead of Adam, and scale by scale before all at once. The start is the exemplar's
Gaussian texture instead of white noise: it has the colours and the grain already. Pyramids are our binomial ones.

Pictures wrap on both axes, so every one of them tiles; odd sides have one irregular step of the coarse scales at the
wrap. Those that obey a hole, a target or a map of shares wrap only where they are asked to. Nothing is copied: pixels
are means of the votes of patches, so there is some blur, and no map of coordinates. Colours with alpha are compared as
colours times alpha.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn.adsn import field
from texsyn.blocks import period_of
from texsyn.features import Features, PatchPyramid
from texsyn.images import InputError, Picture, Region, Size, from_unit, to_unit
from texsyn.material import Material, Sheet
from texsyn.models.base import Synthesis, TextureModel, Watch, make_config, model_class
from texsyn.noise import NoiseField
from texsyn.ot.nearest import BACKENDS, one_torch_thread
from texsyn.picture_descent import OPTIMISERS, Content, Descent, Problem, Term, descend, project
from texsyn.pyramid import down
from texsyn.texture_losses import FOLLOWED, GramLoss, SlicedLoss, TextureLoss, TransportLoss

LOSSES = ("transport", "sliced", "gram")
STARTS = ("gaussian", "noise", "texto")


@dataclass(frozen=True)
class GotexConfig:
    """Everything that shapes a picture besides exemplar, size and seed."""

    #: what is compared: "patches", "random", "vgg19", "inception", or a mixture as in "patches:1+random:0.5"
    features: str = "patches"
    #: "transport" (GOTEX), "sliced" (sliced Wasserstein) or "gram" (Gatys)
    loss: str = "transport"
    #: of patches: published 4 and 4, with 2,000 atoms; these are sharper and keep longer lines, at thrice the cost
    patch_size: int = 6
    #: fewer for small exemplars
    n_scales: int = 4
    #: patches of the exemplar that stand for its law at each scale; 0 takes all
    max_atoms: int = 8000
    #: mass error that potentials are to come to, besides what the number of points imposes
    tol: float = 0.2
    #: draws an atom that a potential may take in one turn; more make blurred pictures of lower mass error
    budget: float = 4.0
    #: random points a layer and step that Adam and L-BFGS look at; 0 takes all
    n_samples: int = 0
    #: who searches: see texsyn.ot.nearest
    backend: str = "auto"
    #: "auto" is projection for transport between patches, else L-BFGS
    optimiser: str = "auto"
    #: turns of projection at full size, or steps of Adam or L-BFGS; 0 takes 4, 300 or 200
    n_steps: int = 0
    #: turns of projection at each coarser size before
    n_coarse: int = 6
    #: the exemplar's Gaussian texture, white noise of its values, or a picture by texto, which then is only mended
    start: str = "gaussian"
    #: where the features have weights: their file; empty looks where `texsyn weights` does
    weights_file: str = ""

    def __post_init__(self) -> None:
        for name, known in (("loss", LOSSES), ("optimiser", OPTIMISERS), ("start", STARTS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(known)}")
        if not 2 <= self.patch_size <= 16 or not 1 <= self.n_scales <= 8:
            raise ValueError(f"patch_size={self.patch_size} should be 2 to 16 and n_scales={self.n_scales} 1 to 8")
        if not self.budget > 0:
            raise ValueError(f"budget={self.budget} should be positive")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend={self.backend!r} is not one of {', '.join(BACKENDS)}")
        for name in ("max_atoms", "n_samples", "n_steps", "n_coarse"):
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


SMALLEST = 8  # shorter side of an exemplar
SOLVE_DRAWS = 35  # an atom, of a first solution
VOTE_SECONDS = 1.5e-6  # a pixel, channel and turn, with the conjugate gradients
DEFAULT_STEPS = {"projection": 4, "adam": 300, "lbfgs": 200}


@dataclass(frozen=True, eq=False)
class Order:
    """What one picture shall be besides the material's texture.

    hole (H, W) bool: the pixels of the first sheet that are made, all others kept. places (H, W, E): the share of each
    exemplar at each pixel. between: a barycentre of the exemplars, with the material's shares as weights, instead of
    their mixture. target: a picture whose light and dark are followed, more closely the nearer strength is to 1.
    """

    hole: np.ndarray | None = None
    places: np.ndarray | None = None
    between: bool = False
    target: Picture | None = None
    strength: float = 0.3

    @property
    def plain(self) -> bool:
        """Whether it asks for nothing."""
        return not self.between and all(one is None for one in (self.hole, self.places, self.target))


class Gotex(TextureModel):
    """Image mode; see the module's docstring. fit() keeps the exemplar only: every picture is an optimisation.

    Of a material with several sheets (mixtures, turned copies) the pictures have the law of all of them together, each
    exemplar with its share.
    """

    method = "gotex"
    config_type = GotexConfig
    takes_material = True

    def __init__(self, exemplar: Picture | Material, config: GotexConfig | None = None, device: str = "cpu") -> None:
        super().__init__(exemplar, config or GotexConfig(), device)
        first = self.material.sheets[0]
        if len(first.maps) > 1 or first.guide is not None:
            raise InputError(f"{self.exemplar.name}: gotex takes one map, without guides; take texto for stacks")
        for sheet in self.material.sheets:
            if min(sheet.size.height, sheet.size.width) < SMALLEST:
                raise InputError(
                    f"{sheet.maps[0].name}: at least {SMALLEST}x{SMALLEST} pixels are needed, got {sheet.size}"
                )
        self._planes = [_seen(sheet.maps[0]).to(self.device) for sheet in self.material.sheets]
        self._usable = [_usable(sheet, self.device) for sheet in self.material.sheets]

    @classmethod
    def fit(
        cls,
        exemplar: Picture | Material,
        config: Any = None,
        *,
        seed: int = 0,
        device: str = "cpu",
        watch: Watch | None = None,
    ) -> Gotex:
        return cls(exemplar, config, device)

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def from_tensors(cls, exemplar: Any, config: Any, tensors: Mapping[str, Tensor], device: str) -> Gotex:
        return cls(exemplar, config, device)

    def synthesise(
        self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None, order: Order | None = None
    ) -> Synthesis:
        """One picture; order: what it shall be besides. Raises ValueError for orders that the settings cannot meet."""
        watch, order, threads = watch or Watch(), order or Order(), torch.get_num_threads()
        period_of(tile, size)  # refuses unknown names; these pictures wrap on both axes anyway
        obeys = any(one is not None for one in (order.hole, order.target, order.places))
        if obeys and tile not in ("none", "xy"):
            raise ValueError(f"tile={tile!r}: gotex obeys holes, targets and maps of shares with tile none or xy")
        with one_torch_thread():
            watch.step(0.0, str(size))
            features, inner = self._features(size)
            if obeys and inner != size:
                raise InputError(
                    f"{self.exemplar.name}: {inner} is the least size with a hole, target or map of shares, got {size}"
                )
            problem = self._problem(features, inner, order, seed, tile, threads)
            start = self._start(inner, seed, order, "xy" if problem.periodic else "none")
            found = minimise(start, problem, self.config, watch)
        pixels = self._depth(found.u[:, : size.height, : size.width].permute(1, 2, 0).cpu().numpy())
        if order.hole is not None:
            pixels[~order.hole] = self.exemplar.pixels[~order.hole]
        watch.step(1.0, "done")
        return Synthesis(pixels, None, evidence(found, problem, inner))

    def estimate_seconds(self, size: Size) -> float | None:
        if self.config.descent != "projection":
            return None
        features, size = self._features(size)
        assert isinstance(features, PatchPyramid)
        with one_torch_thread():
            loss = make_loss(
                self.config, replace(features, n_scales=1), [self._known_planes(0)], usable=self._usable[:1]
            )
            assert isinstance(loss, TransportLoss)
            potential = loss.potentials[0]
            points = potential.y[:1024].repeat(-(-1024 // len(potential)), 1)[:1024] + 0.01
            potential.assign(points)  # compiles
            began = time.perf_counter()
            potential.assign(points)
            per_point = (time.perf_counter() - began) / len(points)
        seconds, exemplar = 0.5, min(sheet.size.pixels for sheet in self.material.sheets)
        for stage in range(features.n_scales):
            turns = self.config.n_coarse if stage else self.config.n_steps or DEFAULT_STEPS["projection"]
            for level in range(stage, features.n_scales):
                n = size.pixels / 4**level
                atoms = min(len(potential), exemplar / 4**level)
                followed = min(n, FOLLOWED) * 3 + self.config.budget * atoms / 2  # looks, and ascents
                share = atoms / len(potential)
                if stage == level:  # the first solution
                    seconds += SOLVE_DRAWS * atoms * share * per_point
                seconds += turns * ((n + followed) * share * per_point + n * self.exemplar.channels * VOTE_SECONDS)
        return seconds * len(self.material.sheets) if self.material.shares else seconds

    def _problem(self, features: Features, size: Size, order: Order, seed: int, tile: str, threads: int) -> Problem:
        more = {"threads": threads} if self.config.loss == "transport" else {}
        numbers = [sheet.exemplar for sheet in self.material.sheets]
        given = self.material.shares or (1 / self.material.n_exemplars,) * self.material.n_exemplars

        def loss(which: list[int], shares: list[float]) -> TextureLoss:
            exemplars, usable = [self._known_planes(k) for k in which], [self._usable[k] for k in which]
            try:
                return make_loss(self.config, features, exemplars, shares=shares, usable=usable, seed=seed, **more)
            except ValueError as error:
                raise InputError(f"{self.exemplar.name}: {error}") from None

        def sheets_of(exemplar: int) -> list[int]:
            there = [(k, self._usable[k]) for k, number in enumerate(numbers) if number == exemplar]
            return [k for k, usable in there if usable is None or bool(usable.any())]

        groups = [sheets_of(e) for e in range(self.material.n_exemplars)]
        if order.between or order.places is not None:
            terms = []
            for e, group in enumerate(groups):
                where = None if order.places is None else torch.from_numpy(order.places[..., e]).float().to(self.device)
                share = given[e] if order.places is None else float(order.places[..., e].mean())
                if share > 0:
                    terms.append(Term(loss(group, [1 / len(group)] * len(group)), share, where))
        else:
            pairs = [(k, given[e] / len(group)) for e, group in enumerate(groups) for k in group]
            terms = [Term(loss([k for k, _ in pairs], [s for _, s in pairs]))]
        content = None
        if order.target is not None:
            picture = in_colours_of(self._planes[0], _seen(order.target)).to(self.device)
            weight = order.strength / max(1e-3, 1 - order.strength)  # at 0.5 as much as patches of all scales together
            content = Content(picture, weight * len(picture) * self.config.patch_size**2)
        known = None if order.hole is None else torch.from_numpy(~order.hole).to(self.device)
        wraps = tile == "xy" or all(one is None for one in (order.hole, order.target, order.places))
        own = known is not None and self.material.n_exemplars == 1
        return Problem(tuple(terms), content, known, wraps, together=own)

    def _depth(self, values: np.ndarray) -> np.ndarray:
        """Pixels in the exemplar's own kind, of values as they are compared."""
        if self.exemplar.has_alpha:
            alpha = values[..., -1:].clip(0, 1)
            values = np.concatenate([values[..., :-1] / np.maximum(alpha, 1e-3), alpha], 2)
        return np.ascontiguousarray(from_unit(values, self.exemplar.pixels.dtype))

    def _features(self, size: Size) -> tuple[Features, Size]:
        """The features, and the size that is made: not below what they need."""
        config = self.config
        w, n_scales = map(min, zip(*(scales_for(sheet.size, config) for sheet in self.material.sheets), strict=True))
        least = PatchPyramid(w, n_scales).smallest_side
        if config.features == "patches":
            features: Features = PatchPyramid(w, n_scales)
        else:
            from texsyn.feature_names import features_of

            features = features_of(
                config.features, channels=self.exemplar.channels, weights=config.weights_file or None,
                patch_size=w, n_scales=n_scales,
            )  # fmt: skip
            least = max(least, features.smallest_side)
        return features, Size(max(size.height, least), max(size.width, least))

    def _start(self, size: Size, seed: int, order: Order, tile: str = "xy") -> Tensor:
        """The first picture (C, H, W): the exemplars' Gaussian textures on a torus, white noise, or texto's picture."""
        if self.config.start == "texto":
            if not order.plain:
                raise ValueError("start='texto' goes with no hole, target, map of shares or morph")
            what: Any = self.exemplar if self.material.plain else self.material
            cls = model_class("texto")
            texto = cls.fit(what, make_config(cls.config_type, {"endless": False}), device=str(self.device))
            made = texto.synthesise(size, seed=seed, tile=tile).pixels
            return _seen(replace(self.exemplar, pixels=made, palette=None, indices=None)).to(self.device)
        shares = self.material.shares or (1.0,)
        weights = [order.places[..., e] if order.places is not None else shares[e] for e in range(len(shares))]
        of_exemplar = {sheet.exemplar: k for k, sheet in reversed(list(enumerate(self.material.sheets)))}
        if order.hole is not None:  # what there is to fill from may be another picture
            usable = [u is None or bool(u.any()) for u in self._usable]
            weights, of_exemplar = [1.0], {0: usable.index(True) if any(usable) else 0}
        drawn = [self._noise(self._known_planes(of_exemplar[e]), size, seed) for e in range(len(weights))]
        start = sum(
            (
                d * (torch.from_numpy(w).to(d) if isinstance(w, np.ndarray) else w)
                for d, w in zip(drawn, weights, strict=True)
            ),
            torch.zeros((), device=self.device),
        )
        if order.hole is not None:
            start = torch.where(torch.from_numpy(order.hole).to(self.device), start, self._planes[0])
        return start

    def _known_planes(self, k: int) -> Tensor:
        """A sheet with its mean where it is not usable."""
        planes, usable = self._planes[k], self._usable[k]
        if usable is None:
            return planes
        return torch.where(usable, planes, planes[:, usable].mean(1)[:, None, None])

    def _noise(self, u: Tensor, size: Size, seed: int) -> Tensor:
        if self.config.start == "gaussian":
            noise, (h, w) = NoiseField(seed, period=(size.height, size.width)), (u.shape[1] - 1, u.shape[2] - 1)
            W = torch.from_numpy(noise.normal(Region(-h, -w, size.height + h, size.width + w))).to(u.device).double()
            return field(u.double(), W).float()
        whole = Region(0, 0, size.height, size.width)
        at = [NoiseField(seed, channel=k).bits(whole) % np.uint64(u[0].numel()) for k in range(len(u))]
        return torch.stack([v.flatten()[torch.from_numpy(k.astype(np.int64))] for v, k in zip(u, at, strict=True)])


def _seen(picture: Picture) -> Tensor:
    """(C, h, w) float32, colours times alpha: what is compared."""
    values = torch.from_numpy(to_unit(picture.pixels)).permute(2, 0, 1).float()
    return torch.cat([values[:-1] * values[-1:], values[-1:]]) if picture.has_alpha else values.contiguous()


def _usable(sheet: Sheet, device: torch.device) -> Tensor | None:
    masks = [mask for mask in (sheet.known, sheet.usable) if mask is not None]
    return torch.from_numpy(np.logical_and.reduce(masks)).to(device) if masks else None


def in_colours_of(exemplar: Tensor, target: Tensor, n_tones: int = 64) -> Tensor:
    """target (c, H, W) repainted (C, H, W): each pixel takes the mean colour of the exemplar's pixels of its rank.

    Ranks are those of brightness, the mean of the channels; the exemplar's is read at half its size.

    >>> in_colours_of(torch.tensor([[[0.0, 1.0]]]).repeat(1, 4, 2), torch.tensor([[[0.2, 0.3]]])).shape
    torch.Size([1, 1, 2])
    """
    coarse = down(exemplar)
    colours = coarse.flatten(1)[:, coarse.mean(0).flatten().argsort()]
    tones = torch.stack([part.mean(1) for part in colours.tensor_split(min(n_tones, colours.shape[1]), 1)], 1)
    light = target.mean(0).flatten()
    rank = light.argsort().argsort() * tones.shape[1] // len(light)
    return tones[:, rank].view(-1, *target.shape[1:])


def scales_for(size: Size, config: GotexConfig) -> tuple[int, int]:
    """(patch size, number of scales) for an exemplar.

    The patches asked for, or the largest of which two fit a side; the scales asked for, or as many as leave the
    coarsest one with two patches a side, at least one.

    >>> [scales_for(Size(n, 300), GotexConfig()) for n in (8, 16, 32, 64, 256)]
    [(4, 1), (6, 1), (6, 2), (6, 3), (6, 4)]
    """
    side, n = min(size.height, size.width), 1
    w = min(config.patch_size, side // 2)
    while n < config.n_scales and side // 2**n >= 2 * w:
        n += 1
    return w, n


def make_loss(
    config: GotexConfig, features: Features, exemplars: list[Tensor], *, seed: int = 0, **more: Any
) -> TextureLoss:
    """The configuration's loss between features of pictures and of exemplars; more: shares, usable."""
    if config.loss == "transport":
        names = ("max_atoms", "n_samples", "tol", "budget", "backend")
        how: dict[str, Any] = {name: getattr(config, name) for name in names}
        return TransportLoss(features, exemplars, seed=seed, rounded=config.features == "patches", **how, **more)
    if config.loss == "sliced":
        return SlicedLoss(features, exemplars, seed=seed, **more)
    return GramLoss(features, exemplars, **more)


def minimise(start: Tensor, problem: Problem, config: GotexConfig, watch: Watch) -> Descent:
    """The configuration's optimiser on a problem; progress and cancelling by watch."""
    how, features = config.descent, problem.terms[0].loss.features
    n_steps = config.n_steps or DEFAULT_STEPS[how]
    n_stages = features.n_scales if how == "projection" and isinstance(features, PatchPyramid) else 1
    n_coarse = 0 if config.start == "texto" else config.n_coarse  # which has its coarse structure already
    n_before = n_coarse * (n_stages - 1)  # turns at coarser sizes, which cost a quarter and less

    def on_turn(k: int, value: float) -> None:
        done = min(k + 1, n_before) / 4 + max(0, k + 1 - n_before)
        watch.step(0.02 + 0.97 * min(1.0, done / (n_before / 4 + n_steps)), f"loss {value:.4g}")

    if how == "projection":
        return project(start, problem, n_turns=n_steps, n_coarse=n_coarse, on_turn=on_turn)
    return descend(start, problem, optimiser=how, n_steps=n_steps, on_turn=on_turn)


def evidence(found: Descent, problem: Problem, size: Size) -> list[dict[str, Any]]:
    """What a recipe keeps of a descent: the last losses, the features with any weights' hash, mass errors."""
    whole = {"size": str(size), "turns": len(found.values), "loss": [round(v, 6) for v in found.values[-3:]]}
    about: list[dict[str, Any]] = [whole | {"features": problem.terms[0].loss.features.describe()}]
    for term in problem.terms:
        if isinstance(term.loss, TransportLoss):
            for k, potential in enumerate(term.loss.potentials):
                about.append({"level": k, "atoms": len(potential), "mass_error": round(potential.residual, 4)})
    return about
