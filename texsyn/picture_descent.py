"""Pictures that minimise texture losses: the optimisers of image mode, and what may stand beside the losses.

    min over u of  sum_k rho_k L_k(u) + gamma |S u - S c|^2,   u = known pixels where there are any.

Two ways down. *Gradient*: Adam or L-BFGS on the pixels, for any loss. *Projection*, for transport between patches,
which are linear in u: with the assignments sigma held, the loss is a quadratic of u, whose minimiser takes a few steps
of conjugate gradients, without any search; then sigma is found anew. Kwatra, Essa, Bobick and Kwatra 2005 ("Texture
optimization for example-based synthesis") alternate so with nearest neighbours, at one scale after the other; here
assignments are those of optimal transport, and all scales are in one quadratic. With exact potentials no turn could
raise the transport cost, and a turn needs as many searches as one step of Adam does.

Every scale from the coarsest on is a picture of its own first (a stage), with the loss of the scales that it has; the
last stage is the whole objective. That costs a third more and replaces most steps at full size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from texsyn.features import Layer, PatchPyramid
from texsyn.ot.potentials import Potential
from texsyn.patches import gather
from texsyn.pyramid import down, pyramid
from texsyn.texture_losses import FOLLOWED, PART, TextureLoss, TransportLoss

OPTIMISERS = ("auto", "projection", "adam", "lbfgs")
HELD = 10  # evaluations of a loss that L-BFGS sees unchanged
N_CONJUGATE = 6  # steps of conjugate gradients a turn: the quadratic's condition number is that of the pyramid
OnTurn = Callable[[int, float], None]  # (turn, value of the loss)


class NotFinite(ArithmeticError):
    """The loss became NaN or infinite; the message says at which step and what to change."""


@dataclass(frozen=True, eq=False)
class Term:
    """A loss and how much it counts: share everywhere, or where (H, W) >= 0 at each pixel, for transport only."""

    loss: TextureLoss
    share: float = 1.0
    where: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Content:
    """gamma times the mean squared difference from picture (C, H, W) after `scale` halvings; keeps what is coarser."""

    picture: Tensor
    weight: float
    scale: int = 2


@dataclass(frozen=True, eq=False)
class Problem:
    """What is minimised. known (H, W) bool: pixels that keep the start's value.

    together: the known part and what is made shall have the exemplar's law together, as where the one is the other's
    exemplar; else what is made has it alone. (A hole in the dark part of a picture need not hold the light ones.)
    """

    terms: tuple[Term, ...]
    content: Content | None = None
    known: Tensor | None = None
    periodic: bool = True
    together: bool = False

    @property
    def is_quadratic(self) -> bool:
        """Whether projection can be used: transport between patches only, of one pyramid."""
        features = [term.loss.features for term in self.terms if isinstance(term.loss, TransportLoss)]
        return (
            len(features) == len(self.terms)
            and all(isinstance(f, PatchPyramid) for f in features)
            and all(f == features[0] for f in features)
        )


@dataclass(eq=False)
class Descent:
    """A picture u (C, H, W) on its way down, and the values of the loss at every turn."""

    u: Tensor
    values: list[float] = field(default_factory=list)


# -------------------------------------------------------------------------------------------------------- gradients


def descend(
    u: Tensor,
    problem: Problem,
    *,
    optimiser: str = "adam",
    n_steps: int = 200,
    learning_rate: float | None = None,
    on_turn: OnTurn | None = None,
) -> Descent:
    """Minimise by Adam (learning rate 0.02 by default) or L-BFGS from u (C, H, W).

    Potentials are brought up to date before every step of Adam. L-BFGS takes its objective to stay the same, so losses
    hold theirs for HELD evaluations: of transport the assignment, which bounds it from above. Raises NotFinite.
    """
    if optimiser not in ("adam", "lbfgs"):
        raise ValueError(f"optimiser={optimiser!r} is not one of adam, lbfgs")
    pixels, found = u.detach().clone().requires_grad_(), Descent(u)

    def evaluate() -> Tensor:
        pixels.grad = None
        value = objective(pixels, problem)
        value.backward()  # type: ignore[no-untyped-call]
        assert pixels.grad is not None
        if problem.known is not None:
            pixels.grad.masked_fill_(problem.known, 0)
        if not math.isfinite(value.item()):
            raise NotFinite(f"the loss is {value.item()} at step {len(found.values)}: try a smaller learning rate")
        return value.detach()

    def improve() -> None:
        for term in problem.terms:
            term.loss.improve(pixels.detach(), periodic=problem.periodic)

    if optimiser == "adam":
        adam = torch.optim.Adam([pixels], lr=0.02 if learning_rate is None else learning_rate)
        for k in range(n_steps):
            improve()
            found.values.append(float(evaluate()))
            adam.step()
            if on_turn is not None:
                on_turn(k, found.values[-1])
    else:
        for k in range(0, n_steps, HELD):
            improve()
            for term in problem.terms:
                term.loss.hold(pixels.detach(), periodic=problem.periodic)
            lbfgs = torch.optim.LBFGS(
                [pixels], lr=1.0 if learning_rate is None else learning_rate, max_iter=HELD, max_eval=2 * HELD,
                history_size=10, line_search_fn="strong_wolfe",
            )  # fmt: skip
            found.values.append(float(lbfgs.step(evaluate)))
            for term in problem.terms:
                term.loss.release()
            if on_turn is not None:
                on_turn(k, found.values[-1])
    found.u = pixels.detach()
    return found


def objective(u: Tensor, problem: Problem) -> Tensor:
    """The value of the problem at u (C, H, W), differentiable."""
    parts = []
    for term in problem.terms:
        if term.where is not None:
            raise ValueError("shares that vary over the picture need transport between patches and projection")
        parts.append(term.share * term.loss(u, periodic=problem.periodic))
    if problem.content is not None:
        parts.append(problem.content.weight * _content_gap(u, problem.content, problem.periodic).square().mean())
    return torch.stack(parts).sum()


def _content_gap(u: Tensor, content: Content, periodic: bool) -> Tensor:
    return pyramid(u - content.picture, content.scale + 1, periodic=periodic)[-1]


# ------------------------------------------------------------------------------------------------------- projection


def project(
    u: Tensor,
    problem: Problem,
    *,
    n_turns: int = 4,
    n_coarse: int = 6,
    damping: float = 1.0,
    on_turn: OnTurn | None = None,
) -> Descent:
    """Minimise by assignments and least squares in turn, from u (C, H, W): n_coarse turns at each stage, then n_turns.

    damping: the share of the way to the minimiser that a turn goes. Raises ValueError for a problem that is not
    quadratic between assignments, NotFinite.
    """
    if not problem.is_quadratic:
        raise ValueError("projection needs transport between patches of one pyramid; use adam or lbfgs")
    features = problem.terms[0].loss.features
    assert isinstance(features, PatchPyramid)
    n_stages = features.n_scales if n_coarse else 1
    if not bool(u.isfinite().all()):
        raise NotFinite("the picture to start from has a NaN or an infinite value")
    stages = _stages(u, problem, n_stages)
    found, count = Descent(stages[-1].start), 0
    for number, stage in reversed(list(enumerate(stages))):
        if number < n_stages - 1:
            found.u = stage.kept(up(found.u, stage.start.shape[1:], periodic=problem.periodic))
        for _ in range(n_coarse if number else n_turns):
            value = _turn(found, stage, features, damping)
            if not math.isfinite(value):
                raise NotFinite(f"the loss is {value} at turn {count}: the picture or its exemplar is not finite")
            found.values.append(value)
            if on_turn is not None:
                on_turn(count, value)
            count += 1
    return found


@dataclass(frozen=True, eq=False)
class _Stage:
    """The problem for the picture at a coarser size, halved `number` times."""

    number: int
    start: Tensor
    problem: Problem

    def kept(self, u: Tensor) -> Tensor:
        """u with the known pixels put in."""
        return u if self.problem.known is None else torch.where(self.problem.known, self.start, u)


def _stages(u: Tensor, problem: Problem, n: int) -> list[_Stage]:
    """Coarser stages know the pixels that known ones alone make, and follow the content at the scale that is left."""
    periodic = problem.periodic
    starts = pyramid(u, n, periodic=periodic)
    content, known = problem.content, problem.known
    contents = pyramid(starts[0] if content is None else content.picture, n, periodic=periodic)
    knowns = [None] * n if known is None else [k[0] > 0.999 for k in pyramid(known[None].float(), n, periodic=periodic)]
    return [
        _Stage(
            k,
            starts[k],
            Problem(
                problem.terms,
                None if content is None else Content(contents[k], content.weight, max(0, content.scale - k)),
                knowns[k],
                periodic,
                problem.together,
            ),
        )
        for k in range(n)
    ]


def up(u: Tensor, size: Sequence[int], *, periodic: bool) -> Tensor:
    """u (C, h, w) one level finer, at that size: pixel (y, x) lies on (2y, 2x), linear in between.

    >>> up(torch.tensor([[[0.0, 2.0]]]), (1, 4), periodic=False).tolist()
    [[[0.0, 1.0, 2.0, 2.0]]]
    """
    for axis, n in zip((1, 2), size, strict=True):
        at = torch.arange(n, device=u.device)
        low = at // 2
        high = low + at % 2
        last = u.shape[axis]
        high = high.remainder(last) if periodic else high.clamp(max=last - 1)
        u = (u.index_select(axis, low) + u.index_select(axis, high)) / 2
    return u


def _turn(found: Descent, stage: _Stage, features: PatchPyramid, damping: float) -> float:
    """One turn at a stage: potentials, assignments, least squares. Returns the loss before it."""
    problem, first = stage.problem, stage.number
    own = PatchPyramid(features.patch_size, features.n_scales - first)
    quadratics, total = [], 0.0
    for k, layer in enumerate(own.layers(found.u, periodic=problem.periodic), start=first):
        rhs, cover = torch.zeros_like(layer.values[0]), torch.zeros_like(layer.values[0, 0])
        for term in problem.terms:
            assert isinstance(term.loss, TransportLoss)
            potential, where = term.loss.potentials[k], _counts(term.where, layer, first, problem.known)
            if where is not None and not bool((where > 0).any()):
                continue
            followed = _counts(term.where, layer, first, None) if problem.together else where
            potential.follow(_some_points(layer, followed, term.loss))
            value, own_rhs, own_cover = vote(layer, potential, where)
            total += term.share / features.n_scales * value
            rhs += term.share * own_rhs
            cover += term.share * own_cover
        quadratics.append((1 / features.n_scales, cover, rhs))
    found.u = found.u + damping * _least_squares(found.u, quadratics, problem)
    return total


def _counts(where: Tensor | None, layer: Layer, stage: int, known: Tensor | None) -> Tensor | None:
    """How much each point of a layer counts, (N,): where at its centre, and nothing if it depends on known pixels only.

    None where all count alike. where has the size of the finest stage.
    """
    if where is None and known is None:
        return None
    counts = torch.ones(layer.n_points, device=layer.values.device)
    if where is not None:
        at = (layer.positions()[:, 1:] * 2**stage).round().long()
        counts = where[at[:, 0].remainder(len(where)), at[:, 1].remainder(where.shape[1])].to(counts)
    if known is not None:
        counts = counts * layer.touching(~known)
    return counts


def _some_points(layer: Layer, where: Tensor | None, loss: TransportLoss) -> Tensor:
    n = min(layer.n_points, FOLLOWED)
    if where is not None:
        at = torch.multinomial(where.cpu().double(), n, replacement=True, generator=loss.generator)
    elif n < layer.n_points:
        at = torch.randint(layer.n_points, (n,), generator=loss.generator)
    else:
        return layer.points()
    return layer.points(at.to(layer.values.device))


def vote(layer: Layer, potential: Potential, where: Tensor | None = None) -> tuple[float, Tensor, Tensor]:
    """(dual value, sum of votes (C, H, W), number of votes (H, W)) for the one picture of the layer.

    Every point votes with the atom that it goes to for the pixels that it covers, counted by where (N,); votes and
    numbers are divided by the number of points, so that cover |u|^2 - 2 <u, votes> is the mean cost but for a constant.
    """
    w, values = layer.patch_size, layer.wrapped()
    rows, columns = layer.grid
    height, width = values.shape[2:]
    atoms = potential.y.view(len(potential), -1, w, w)
    parts, total = [], 0.0
    weights = torch.ones(layer.n_points, device=values.device) if where is None else where
    mass = float(weights.sum()) or 1.0
    for at in torch.arange(layer.n_points, device=values.device).split(PART):
        x = gather(values, w, at)
        j = potential.assign(x)
        own = (x - potential.y[j]).square().sum(1) - potential.psi[j]
        total += float((own * weights[at]).sum(dtype=torch.float64))
        parts.append(j)
    j = torch.cat(parts).view(rows, columns)
    share = (weights / mass).view(rows, columns)
    votes, cover = values.new_zeros(height, width, values.shape[1]), values.new_zeros(height, width)
    for a in range(w):
        for b in range(w):
            own_votes = atoms[:, :, a, b][j]
            votes[a : a + rows, b : b + columns] += own_votes * share[..., None] if where is not None else own_votes
            cover[a : a + rows, b : b + columns] += share
    if where is None:
        votes = votes / mass
    if layer.periodic:
        votes, cover = _folded(votes, rows, columns), _folded(cover, rows, columns)
    return total / mass + float(potential.constant), votes.permute(2, 0, 1), cover


def _folded(t: Tensor, rows: int, columns: int) -> Tensor:
    """(H, W, ...) of a torus from a canvas with the margin that was wrapped."""
    out = t[:rows].clone()
    out[: len(t) - rows] += t[rows:]
    wrapped = out[:, :columns].clone()
    wrapped[:, : t.shape[1] - columns] += out[:, columns:]
    return wrapped


def _least_squares(u: Tensor, quadratics: Sequence[tuple[float, Tensor, Tensor]], problem: Problem) -> Tensor:
    """The step d that minimises sum_s weight_s (cover_s |S_s (u + d)|^2 - 2 <S_s (u + d), votes_s>) + the content's."""
    content = problem.content

    def gradient(z: Tensor, *, homogeneous: bool) -> Tensor:
        """Half the gradient at z, without the constant part if homogeneous."""
        z = z.detach().requires_grad_()
        v, energy = z, torch.zeros((), device=z.device)
        for s, (weight, cover, votes) in enumerate(quadratics):
            v = v if s == 0 else down(v, periodic=problem.periodic)
            energy = energy + weight * (0.5 * cover * v.square()).sum()
            if not homogeneous:
                energy = energy - weight * (v * votes).sum()
        if content is not None:
            goal = Content(torch.zeros_like(content.picture), content.weight, content.scale) if homogeneous else content
            energy = energy + content.weight * 0.5 * _content_gap(z, goal, problem.periodic).square().mean()
        (found,) = torch.autograd.grad(energy, z)
        return found if problem.known is None else found.masked_fill(problem.known, 0)

    step, r = torch.zeros_like(u), -gradient(u, homogeneous=False)
    direction, square = r, float(r.square().sum(dtype=torch.float64))
    for _ in range(N_CONJUGATE):
        image = gradient(direction, homogeneous=True)
        bend = float((direction * image).sum(dtype=torch.float64))
        if not bend > 0:  # there already
            break
        length = square / bend
        step = step + length * direction
        r = r - length * image
        before, square = square, float(r.square().sum(dtype=torch.float64))
        if not square > 0:
            break
        direction = r + square / before * direction
    return step
