"""Losses between the features of a picture and an exemplar's: optimal transport, sliced transport, Gram matrices.

One interface and one set of features for all of them, so that methods differ in nothing else. TransportLoss is the one
of GOTEX (Houdard, Leclaire, Papadakis and Rabin 2022, "A generative model for texture synthesis based on optimal
transport between feature distributions", J. Math. Imaging and Vision): with psi_s the dual potential of layer s,

    L(u) = sum_s lambda_s max_{psi_s} (1/N_s) sum_i min_j (|x^s_i(u) - y^s_j|^2 - psi^s_j) + mean_j psi^s_j,

whose gradient in u, by the envelope theorem, is that of the squared distances to the atoms that the points are sent
to. SlicedLoss is the sliced Wasserstein-2 distance (Heitz, Vanhoey, Chambon and Belcour 2021, "A sliced Wasserstein
loss for neural texture synthesis"; for patches: Elnekave and Weiss 2022, "Generating natural images with direct patch
distributions matching"). GramLoss is Gatys's (Gatys, Ecker and Bethge 2015, "Texture synthesis using convolutional
neural networks").

Memory: TransportLoss works through the points in parts, so that it needs the layers and an index a point; SlicedLoss
holds the projections of a layer, n_points times n_directions numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from texsyn.features import Features, Layer
from texsyn.ot.nearest import ieee_float32
from texsyn.ot.potentials import Potential
from texsyn.patches import gather

PART = 2**14  # points at a time: 3 MB for 4x4 RGB patches
FOLLOWED = 2**14  # points of a layer that a potential looks at in one turn


class TextureLoss(ABC):
    """A differentiable distance of pictures from exemplars; improve() is for those with something to learn inside.

    exemplars: one picture (C, h, w) or several of the same channels, whose law is then their mixture with `shares`.
    usable: for each a mask (h, w) bool or None; points that depend on a pixel outside do not count. Pictures u have
    shape (C, H, W) or (B, C, H, W); a batch is one law, that of all its points. periodic: u wraps. Raises ValueError
    for shares and masks that do not fit, and where a layer has no usable point left.
    """

    def __init__(
        self,
        features: Features,
        exemplars: Tensor | Sequence[Tensor],
        *,
        shares: Sequence[float] | None = None,
        usable: Sequence[Tensor | None] | None = None,
    ) -> None:
        given = [exemplars] if isinstance(exemplars, Tensor) else list(exemplars)
        if not given:
            raise ValueError("a texture loss needs an exemplar")
        shares = [1 / len(given)] * len(given) if shares is None else [float(s) for s in shares]
        if len(shares) != len(given) or not all(s > 0 for s in shares):
            raise ValueError(f"{len(given)} exemplars need as many positive shares, got {shares}")
        if usable is not None and len(usable) != len(given):
            raise ValueError(f"{len(given)} exemplars need as many masks, got {len(usable)}")
        self.features = features
        self.shares = [s / sum(shares) for s in shares]
        masks = usable or [None] * len(given)
        with torch.no_grad():
            layers = [features.layers(e) for e in given]
            clouds = [_clouds(of_one, mask) for of_one, mask in zip(layers, masks, strict=True)]
        self.units: list[float] = []  #: what each layer is multiplied by before it is compared
        #: the points of each layer, one cloud an exemplar, in the units that are compared; dropped when used
        self._targets: list[list[Tensor]] = []
        for layer, *of_layer in zip(layers[0], *clouds, strict=True):
            self.units.append(_unit(of_layer, self.shares) if layer.normalise else 1.0)
            self._targets.append([cloud * self.units[-1] for cloud in of_layer])

    @abstractmethod
    def __call__(self, u: Tensor, *, periodic: bool = False) -> Tensor:
        """The loss of pictures u, a scalar, differentiable in u."""

    def improve(self, u: Tensor, *, periodic: bool = False) -> None:
        """Bring what the loss maximises over up to date with pictures u; no gradient."""
        return None

    def hold(self, u: Tensor, *, periodic: bool = False) -> None:
        """Be one fixed smooth function until release(), for optimisers that compare values: nothing is drawn anew."""
        return None

    def release(self) -> None:
        """The end of hold()."""
        return None

    def state(self) -> dict[str, Tensor]:
        """Tensors with which load_state() makes it go on with the same bits."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state()."""
        return None


def _clouds(layers: Sequence[Layer], usable: Tensor | None) -> list[Tensor]:
    """The points of each layer that depend on usable pixels only; where there are none, those centred on one."""
    if usable is None:
        return [layer.points() for layer in layers]
    found = []
    for layer in layers:
        free = ~layer.touching(~usable)
        free = free if bool(free.any()) else layer.sampled(usable)
        if not bool(free.any()):
            raise ValueError(f"nothing of the exemplar is usable at layer {layer.name}")
        found.append(layer.points()[free])
    return found


def _unit(clouds: Sequence[Tensor], shares: Sequence[float]) -> float:
    """One over the root-mean-square norm of the exemplars' points."""
    square = sum(s * float(cloud.square().sum(1).mean()) for s, cloud in zip(shares, clouds, strict=True))
    return 1 / math.sqrt(square) if square > 0 else 1.0


class TransportLoss(TextureLoss):
    """Semi-dual of optimal transport between the points of each layer and atoms of the exemplar's.

    max_atoms: at most so many points of the exemplars stand for their law in each layer, drawn once by seed; 0 takes
    all of them. n_samples: so many random points of the pictures a layer and call; 0 takes all. tol, budget, threads,
    rounded: see Potential. A lower bound of the transport cost onto the atoms at any time, whatever the potentials are
    (but for the rounding).
    """

    def __init__(
        self,
        features: Features,
        exemplars: Tensor | Sequence[Tensor],
        *,
        shares: Sequence[float] | None = None,
        usable: Sequence[Tensor | None] | None = None,
        max_atoms: int = 2000,
        n_samples: int = 0,
        tol: float = 0.1,
        budget: float = 32.0,
        seed: int = 0,
        threads: int = 1,
        rounded: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(features, exemplars, shares=shares, usable=usable)
        if max_atoms < 0 or n_samples < 0:
            raise ValueError(f"max_atoms and n_samples must be 0 (all) or more, got {max_atoms} and {n_samples}")
        self.n_samples, self.generator = n_samples, torch.Generator().manual_seed(seed % 2**63)
        self.potentials = []
        for k in range(len(self.units)):
            y, weights = _atoms(self._targets[k], self.shares, max_atoms, self.generator)
            how = {"tol": tol, "budget": budget, "threads": threads, "rounded": rounded, "backend": backend}
            self.potentials.append(Potential(y, weights, seed=seed + k, **how))  # type: ignore[arg-type]
        self._targets = []  # their points are not needed any more
        self._held: list[_Sent] | None = None

    @torch.no_grad()
    def improve(self, u: Tensor, *, periodic: bool = False) -> None:
        for layer, unit, potential in zip(
            self.features.layers(u, periodic=periodic), self.units, self.potentials, strict=True
        ):
            potential.follow(layer.points(self._some(layer, FOLLOWED)) * unit)

    def __call__(self, u: Tensor, *, periodic: bool = False) -> Tensor:
        layers = self.features.layers(u, periodic=periodic)
        return torch.stack(
            [layer.weight * value for layer, value in zip(layers, self.values(layers), strict=True)]
        ).sum()

    def values(self, layers: Sequence[Layer]) -> list[Tensor]:
        """The semi-dual value of each layer, a scalar each, differentiable in the layers."""
        held = self._held or [_Sent(self._some(layer, self.n_samples)) for layer in layers]
        return [
            _dual_value(layer, unit, potential, sent)
            for layer, unit, potential, sent in zip(layers, self.units, self.potentials, held, strict=True)
        ]

    @torch.no_grad()
    def hold(self, u: Tensor, *, periodic: bool = False) -> None:
        """Keep the atom of every point: a quadratic of the points that is nowhere below the value, and equal at u."""
        self._held = None
        layers = self.features.layers(u, periodic=periodic)
        held = [_Sent(self._some(layer, self.n_samples)) for layer in layers]
        for layer, unit, potential, sent in zip(layers, self.units, self.potentials, held, strict=True):
            sent.atoms = []
            _dual_value(layer, unit, potential, sent)
        self._held = held

    def release(self) -> None:
        self._held = None

    def residuals(self) -> list[float]:
        """The mass error of each layer as last measured."""
        return [potential.residual for potential in self.potentials]

    def _some(self, layer: Layer, n: int) -> Tensor | None:
        """n random positions of the layer, or None for all; with replacement, which costs nothing to draw."""
        if not n or n >= layer.n_points:
            return None
        return torch.randint(layer.n_points, (n,), generator=self.generator).to(layer.values.device)

    def state(self) -> dict[str, Tensor]:
        found = {"generator": self.generator.get_state()}
        for k, potential in enumerate(self.potentials):
            found |= {f"{k}.{name}": t for name, t in potential.state().items()}
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.generator.set_state(state["generator"].cpu())
        for k, potential in enumerate(self.potentials):
            potential.load_state({name: state[f"{k}.{name}"] for name in ("psi", "numbers", "generator")})


def _atoms(
    clouds: Sequence[Tensor], shares: Sequence[float], max_atoms: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """At most max_atoms of the clouds' points, each cloud with its share of the mass and about that of the atoms."""
    chosen, weights = [], []
    for cloud, share in zip(clouds, shares, strict=True):
        n = len(cloud) if not max_atoms else min(len(cloud), max(1, round(share * max_atoms)))
        at = torch.randperm(len(cloud), generator=generator)[:n].sort().values
        chosen.append(cloud[at.to(cloud.device)])
        weights.append(torch.full((n,), share / n, device=cloud.device))
    return torch.cat(chosen), torch.cat(weights)


@dataclass
class _Sent:
    """Which positions of a layer are looked at (None: all), and, once they are kept, the atoms of each part of them."""

    at: Tensor | None
    atoms: list[Tensor] | None = None


def _dual_value(layer: Layer, unit: float, potential: Potential, sent: _Sent) -> Tensor:
    value: Tensor = _DualValue.apply(layer.wrapped() * unit, layer.patch_size, potential, sent)
    return value + potential.constant.to(value)


class _DualValue(torch.autograd.Function):
    """(1/N) sum_i |x_i - y_sigma(i)|^2 - psi_sigma(i) over windows of values, in parts; sigma is kept."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, w: int, potential: Potential, sent: _Sent) -> Tensor:
        parts, total = [], torch.zeros((), dtype=torch.float64, device=values.device)
        for k, here in enumerate(_parts(values, w, sent.at)):
            x = gather(values, w, here)
            j = sent.atoms[k] if sent.atoms else potential.assign(x.to(potential.y.dtype))
            total += ((x - potential.y[j]).square().sum(1) - potential.psi[j]).sum(dtype=torch.float64)
            parts.append((here, j))
        if sent.atoms == []:
            sent.atoms = [j for _, j in parts]
        ctx.n = sum(len(j) for _, j in parts)
        ctx.w, ctx.potential, ctx.parts = w, potential, parts
        ctx.save_for_backward(values)
        return (total / ctx.n).to(values)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (values,) = ctx.saved_tensors
        with torch.enable_grad():
            leaf = values.detach().requires_grad_()
            for here, j in ctx.parts:
                x = gather(leaf, ctx.w, here)
                x.backward(2 / ctx.n * outer[0] * (x.detach() - ctx.potential.y[j]))
        assert leaf.grad is not None
        return leaf.grad, None, None, None


def _parts(values: Tensor, w: int, at: Tensor | None) -> Sequence[Tensor | None]:
    n = len(values) * (values.shape[2] - w + 1) * (values.shape[3] - w + 1)
    if at is not None:
        return at.split(PART)
    return [None] if n <= 2 * PART else torch.arange(n, device=values.device).split(PART)


class SlicedLoss(TextureLoss):
    """Mean over random unit directions of the squared 1-D Wasserstein-2 distance between projected points.

    n_directions a layer and call, 0 for as many as the layer has dimensions; they are drawn anew in every call, from
    seed. Clouds of unequal sizes are compared at the quantiles of the picture's points, interpolated.
    """

    def __init__(
        self,
        features: Features,
        exemplars: Tensor | Sequence[Tensor],
        *,
        shares: Sequence[float] | None = None,
        usable: Sequence[Tensor | None] | None = None,
        n_directions: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(features, exemplars, shares=shares, usable=usable)
        if n_directions < 0:
            raise ValueError(f"n_directions must be 0 (as many as dimensions) or more, got {n_directions}")
        self.n_directions, self.generator = n_directions, torch.Generator().manual_seed(seed % 2**63)
        self._clouds, self._targets = self._targets, []
        self._held: Tensor | None = None  # the generator's state that calls start from

    def __call__(self, u: Tensor, *, periodic: bool = False) -> Tensor:
        total = []
        if self._held is not None:
            self.generator.set_state(self._held)
        for layer, unit, clouds in zip(
            self.features.layers(u, periodic=periodic), self.units, self._clouds, strict=True
        ):
            d = layer.n_dims
            directions = torch.randn(d, self.n_directions or d, generator=self.generator, dtype=torch.float64)
            directions = (directions / directions.norm(dim=0)).to(layer.values)
            x = (layer.points() * unit @ directions).sort(dim=0).values
            total.append(layer.weight * (x - _quantiles(clouds, self.shares, directions, len(x))).square().mean())
        return torch.stack(total).sum()

    def hold(self, u: Tensor, *, periodic: bool = False) -> None:
        self._held = self.generator.get_state()

    def release(self) -> None:
        self._held = None

    def state(self) -> dict[str, Tensor]:
        return {"generator": self.generator.get_state()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.generator.set_state(state["generator"].cpu())


@torch.no_grad()
def _quantiles(clouds: Sequence[Tensor], shares: Sequence[float], directions: Tensor, n: int) -> Tensor:
    """(n, K): the quantiles (k + 1/2) / n of the projected mixture of clouds, linear in between."""
    projected = torch.cat([cloud.to(directions) @ directions for cloud in clouds])
    mass = torch.cat(
        [c.new_full((len(c),), s / len(c), dtype=torch.float64) for c, s in zip(clouds, shares, strict=True)]
    )
    values, order = projected.sort(dim=0)
    after = mass[order].cumsum(0)
    middle = (after - mass[order] / 2).T.contiguous()  # (K, M): where in the mass each point sits
    at = (torch.arange(n, dtype=torch.float64, device=middle.device) + 0.5) / n
    at = at.expand(len(middle), n).contiguous()
    high = torch.searchsorted(middle, at).clamp(1, max(1, len(values) - 1))
    if len(values) == 1:
        return values.expand(n, -1)
    low = high - 1
    m_low, m_high = middle.gather(1, low), middle.gather(1, high)
    share = ((at - m_low) / (m_high - m_low)).clamp(0, 1).to(values)
    v = values.T.contiguous()
    return (v.gather(1, low) * (1 - share) + v.gather(1, high) * share).T


class GramLoss(TextureLoss):
    """Sum over layers of |G(u) - G(exemplar)|^2, G the mean over points of x x^T: second moments, d x d numbers.

    centred=True compares covariances and means apart; Gatys's loss has centred=False and no means.
    """

    def __init__(
        self,
        features: Features,
        exemplars: Tensor | Sequence[Tensor],
        *,
        shares: Sequence[float] | None = None,
        usable: Sequence[Tensor | None] | None = None,
        centred: bool = False,
    ) -> None:
        super().__init__(features, exemplars, shares=shares, usable=usable)
        self.centred = centred
        self._moments = []
        for k in range(len(self.units)):
            clouds = self._targets[k]
            mean = sum((s * c.mean(0) for s, c in zip(self.shares, clouds, strict=True)), torch.zeros(()))
            second = sum((s * c.T @ c / len(c) for s, c in zip(self.shares, clouds, strict=True)), torch.zeros(()))
            self._moments.append((mean, second - torch.outer(mean, mean) if centred else second))
        self._targets = []

    def __call__(self, u: Tensor, *, periodic: bool = False) -> Tensor:
        total = []
        with ieee_float32():
            for layer, unit, (mean, second) in zip(
                self.features.layers(u, periodic=periodic), self.units, self._moments, strict=True
            ):
                x = layer.points() * unit
                m, g = x.mean(0), x.T @ x / len(x)
                gap = (g - torch.outer(m, m) if self.centred else g) - second.to(x)
                value = gap.square().sum() + ((m - mean.to(x)).square().sum() if self.centred else 0)
                total.append(layer.weight * value)
        return torch.stack(total).sum()
