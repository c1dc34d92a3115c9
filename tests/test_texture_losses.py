"""The losses between features: planted answers, POT, finite differences, laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from texsyn.features import Features, Layer, Mixture, PatchPyramid, as_batch
from texsyn.ot.potentials import Potential, least_mass_error
from texsyn.patches import gather
from texsyn.pyramid import down
from texsyn.texture_losses import GramLoss, SlicedLoss, TransportLoss


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Colours(Features):
    """Every pixel is a point; measured in units of the exemplar's norm."""

    def __init__(self, normalise: bool = False) -> None:
        self.normalise = normalise

    smallest_side = 1

    def layers(self, u: Tensor, *, periodic: bool = False) -> list[Layer]:
        return [Layer("colours", as_batch(u), periodic=periodic, normalise=self.normalise)]

    def describe(self) -> dict[str, object]:
        return {"features": "colours"}


# ------------------------------------------------------------------------------------------------------- features


@pytest.mark.parametrize("periodic", [False, True])
def test_gathered_patches_are_the_windows_and_their_gradient_is_the_finite_difference(periodic: bool) -> None:
    u = noise(2, 3, 13, 11, dtype=torch.float64).requires_grad_()
    layer = PatchPyramid(4, 1).layers(u, periodic=periodic)[0]
    rows, columns = (13, 11) if periodic else (10, 8)
    assert layer.grid == (rows, columns)
    everything = layer.points()
    assert everything.shape == (2 * rows * columns, 48)
    picture, y, x = 1, rows - 1, columns - 1
    window = u.detach()[picture].roll((-y, -x), (1, 2))[:, :4, :4]
    assert torch.equal(everything[-1], window.reshape(-1))
    at = torch.tensor([5, 5, 2 * rows * columns - 1])
    assert torch.equal(layer.points(at), everything[at])
    for chosen in (None, at):
        assert torch.autograd.gradcheck(
            lambda v, chosen=chosen: PatchPyramid(4, 1).layers(v, periodic=periodic)[0].points(chosen).pow(3).sum(), u
        )


def test_positions_are_centres_in_pixels_of_the_picture() -> None:
    u = torch.zeros(1, 1, 32, 32)
    u[0, 0, 16, 8] = 1
    for layer in PatchPyramid(3, 3).layers(u):
        strongest = int(layer.points()[:, 4].argmax())  # the middle of the patch
        assert layer.positions()[strongest].tolist() == [0, 16, 8]


def test_a_rolled_torus_has_the_same_clouds() -> None:
    u = noise(3, 16, 32)
    for layer, rolled in zip(
        PatchPyramid(4, 3).layers(u, periodic=True), PatchPyramid(4, 3).layers(u.roll((8, 4), (1, 2)), periodic=True),
        strict=True,
    ):  # fmt: skip
        a, b = (np.array(sorted(map(tuple, one.points().numpy().round(5)))) for one in (layer, rolled))
        assert np.allclose(a, b, atol=2e-5)


def test_periodic_down_wraps_and_open_down_mirrors() -> None:
    u = noise(2, 8, 12)
    assert torch.allclose(down(u.roll((2, 4), (1, 2)), periodic=True), down(u, periodic=True).roll((1, 2), (1, 2)))
    assert torch.allclose(down(u, periodic=True)[:, 1:-1, 1:-1], down(u)[:, 1:-1, 1:-1])


def test_too_small_a_picture_is_refused_with_the_size_that_is_needed() -> None:
    with pytest.raises(ValueError, match=r"needs 25 pixels a side, got 30x24"):
        PatchPyramid().layers(torch.zeros(1, 24, 30))
    with pytest.raises(ValueError, match="picture of 1x1"):
        gather(torch.zeros(1, 1, 1, 1), 2)


def test_a_mixture_multiplies_weights_and_keeps_the_order() -> None:
    mixed = Mixture(((PatchPyramid(4, 2), 3.0), (Colours(), 0.5)))
    layers = mixed.layers(noise(3, 20, 20))
    assert [(one.name, one.weight) for one in layers] == [("patches 0", 1.5), ("patches 1", 1.5), ("colours", 0.5)]
    with pytest.raises(ValueError, match="positive weights"):
        Mixture(((Colours(), 0.0),))


# ------------------------------------------------------------------------------------------------------ potentials


@pytest.mark.parametrize(("n", "j"), [(10, 5), (7, 5), (5, 7), (16384, 2000), (1, 3)])
def test_least_mass_error_is_that_of_the_most_even_assignment(n: int, j: int) -> None:
    counts = [n // j + (k < n % j) for k in range(j)]
    assert least_mass_error(n, j) == pytest.approx(sum(abs(c / n - 1 / j) for c in counts))


def test_potentials_of_2000_atoms_reach_a_mass_error_below_a_tenth() -> None:
    generator = torch.Generator().manual_seed(0)
    y, x = torch.randn(2000, 12, generator=generator), 0.7 * torch.randn(20_000, 12, generator=generator) + 0.3
    potential = Potential(y, tol=0.08)
    potential.follow(x)
    assert potential.residual < 0.1
    counts = torch.bincount(potential.assign(x), minlength=2000).double() / len(x)
    assert float((counts - 1 / 2000).abs().sum()) == pytest.approx(potential.residual, abs=1e-6)
    spent = potential.n_draws
    potential.follow(x + 0.02 * torch.randn(x.shape, generator=generator))  # the source moved a little
    assert potential.residual < 0.1 + least_mass_error(20_000, 2000)
    assert potential.n_draws - spent < spent / 2


def test_fewer_points_than_atoms_are_followed_without_starting_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, solved = torch.Generator().manual_seed(0), []
    y, x = torch.randn(600, 8, generator=generator), torch.randn(200, 8, generator=generator)
    solve = Potential._solve
    monkeypatch.setattr(Potential, "_solve", lambda self, cloud: solved.append(1) or solve(self, cloud))
    potential = Potential(y)
    for k in range(4):
        potential.follow(x + 0.01 * k)
    assert potential.residual > 1.3  # the least there is
    assert len(solved) == 1
    potential.follow(x + 9)
    assert len(solved) == 2


def test_a_potential_goes_on_with_the_same_bits_from_its_state() -> None:
    generator = torch.Generator().manual_seed(1)
    y, clouds = torch.randn(150, 5, generator=generator), torch.randn(4, 1000, 5, generator=generator)
    one, other = Potential(y, seed=4), Potential(y, seed=9)
    one.follow(clouds[0])
    other.load_state(one.state())
    for cloud in clouds[1:]:
        one.follow(cloud)
        other.follow(cloud)
    assert torch.equal(one.psi, other.psi)
    with pytest.raises(ValueError, match="150"):
        Potential(y[:9]).load_state(one.state())


# ------------------------------------------------------------------------------------------------------- transport


def transport(features: Features, exemplar: Tensor, **more: object) -> TransportLoss:
    return TransportLoss(features, exemplar, max_atoms=0, **more)


def test_transport_gradient_is_the_finite_difference_in_float64() -> None:
    exemplar, u = noise(2, 14, 14, dtype=torch.float64), noise(2, 16, 12, seed=1, dtype=torch.float64)
    loss = transport(PatchPyramid(3, 2), exemplar)
    loss.improve(u, periodic=True)
    u.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(u, periodic=True), u)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        way = torch.randn(u.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (loss(u.detach() + s * 1e-6 * way, periodic=True) for s in (1, -1))
        assert float((ahead - behind) / 2e-6) == pytest.approx(float((gradient * way).sum()), rel=1e-6)


def test_transport_in_parts_has_the_same_value_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    exemplar, u = noise(1, 20, 20), noise(1, 24, 24, seed=1).requires_grad_()
    loss = transport(PatchPyramid(4, 1), exemplar)
    loss.improve(u)
    whole = loss(u)
    (gradient,) = torch.autograd.grad(whole, u)
    monkeypatch.setattr("texsyn.texture_losses.PART", 50)
    again = loss(u)
    assert float(again.detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
    assert torch.allclose(torch.autograd.grad(again, u)[0], gradient, atol=1e-7)


def test_transport_value_is_pots_and_any_potential_gives_less() -> None:
    ot = pytest.importorskip("ot")
    exemplar, u = noise(3, 14, 15), noise(3, 12, 12, seed=1) * 0.8
    features = PatchPyramid(3, 1)
    x, y = (features.layers(v)[0].points().double().numpy() for v in (u, exemplar))
    exact = ot.emd2([], [], ot.dist(x, y))
    loss = transport(features, exemplar, tol=0.02, budget=2000)
    assert float(loss(u)) < exact
    loss.improve(u)
    value = float(loss(u))
    assert value <= exact + 1e-6
    assert value == pytest.approx(exact, rel=0.01)
    loss.potentials[0]._set(0.05 * torch.randn(len(y), generator=torch.Generator().manual_seed(2)))
    assert float(loss(u)) <= exact + 1e-6


def test_transport_of_a_shifted_exemplar_is_the_shift_and_of_itself_nothing() -> None:
    exemplar = noise(2, 18, 18)
    loss = transport(Colours(), exemplar)
    loss.improve(exemplar)
    assert float(loss(exemplar)) == pytest.approx(0, abs=1e-6)
    loss.improve(exemplar + 0.5)
    assert float(loss(exemplar + 0.5)) == pytest.approx(2 * 0.25, rel=0.02)


def test_deep_layers_are_measured_in_units_of_the_exemplars_norm() -> None:
    exemplar = noise(3, 16, 16)
    u = noise(3, 16, 16, seed=1)
    for kind in (TransportLoss, SlicedLoss, GramLoss):
        small, large = (kind(Colours(normalise=True), s * exemplar) for s in (1, 1000))
        for loss, s in ((small, 1), (large, 1000)):
            loss.improve(s * u)
        assert float(small(u)) == pytest.approx(float(large(1000 * u)), rel=1e-3)


def test_random_samples_of_points_estimate_the_value_and_repeat_from_the_state() -> None:
    exemplar, u = noise(1, 30, 30), noise(1, 40, 40, seed=1)
    loss = TransportLoss(PatchPyramid(3, 1), exemplar, max_atoms=300, n_samples=200)
    loss.improve(u)
    kept = loss.state()
    values = [float(loss(u)) for _ in range(50)]
    assert len(set(values)) > 40
    loss.n_samples = 0
    assert np.mean(values) == pytest.approx(float(loss(u)), rel=0.05)
    loss.n_samples = 200
    loss.load_state(kept)
    assert float(loss(u)) == values[0]


def test_rounded_searches_are_nearly_as_good_and_masks_keep_points_out() -> None:
    exemplar, u = noise(3, 30, 30), noise(3, 32, 32, seed=1)
    values = []
    for rounded in (False, True):
        loss = TransportLoss(PatchPyramid(4, 2), exemplar, rounded=rounded, tol=0.05, budget=200)
        loss.improve(u)
        values.append(float(loss(u)))
    assert values[1] == pytest.approx(values[0], rel=0.01)
    usable = torch.ones(30, 30, dtype=torch.bool)
    usable[:, 20:] = False
    marked = torch.where(usable, exemplar, torch.tensor(9.0))
    loss = TransportLoss(PatchPyramid(4, 2), marked, usable=[usable], max_atoms=0)
    assert [len(p) for p in loss.potentials] == [16 * 27, 6 * 12]  # none within reach of the rest
    assert all(float(p.y.max()) < 1.01 for p in loss.potentials)
    with pytest.raises(ValueError, match="nothing of the exemplar"):
        TransportLoss(Colours(), exemplar, usable=[~torch.ones(30, 30, dtype=torch.bool)])


def test_several_exemplars_are_one_law_with_their_shares() -> None:
    dark, light = torch.zeros(1, 12, 12), torch.ones(1, 20, 20)
    u = torch.zeros(1, 10, 10)
    u[:, :3] = 1  # three tenths light
    for shares, expected in (([0.7, 0.3], 0.0), ([0.5, 0.5], 0.2)):
        loss = TransportLoss(Colours(), [dark, light], shares=shares, max_atoms=0)
        for _ in range(30):  # equal points cannot share out their mass: only the value tells the way
            loss.improve(u)
        assert float(loss(u)) == pytest.approx(expected, abs=0.01)
        sliced = SlicedLoss(Colours(), [dark, light], shares=shares)
        assert float(sliced(u)) == pytest.approx(expected, abs=0.03)


def test_at_most_so_many_atoms_stand_for_the_exemplar() -> None:
    loss = TransportLoss(PatchPyramid(4, 2), noise(3, 40, 40), max_atoms=100)
    assert [len(p) for p in loss.potentials] == [100, 100]
    with pytest.raises(ValueError, match="max_atoms"):
        TransportLoss(Colours(), noise(1, 4, 4), max_atoms=-1)


# ------------------------------------------------------------------------------------------------ sliced and Gram


def test_sliced_loss_of_one_dimension_is_the_exact_distance_of_the_sorted_values() -> None:
    exemplar, u = noise(1, 9, 11), noise(1, 9, 11, seed=1) ** 2
    exact = float((u.flatten().sort().values - exemplar.flatten().sort().values).square().mean())
    assert float(SlicedLoss(Colours(), exemplar)(u)) == pytest.approx(exact, rel=1e-4)


def test_sliced_loss_is_a_dth_of_a_shift_squared_and_less_than_transport() -> None:
    exemplar = noise(3, 20, 20)
    shifted = exemplar + torch.tensor([0.3, 0.0, 0.4])[:, None, None]
    loss = SlicedLoss(Colours(), exemplar, n_directions=4000)
    assert float(loss(shifted)) == pytest.approx(0.25 / 3, rel=0.05)
    assert float(loss(exemplar)) == pytest.approx(0, abs=1e-9)


def test_gram_loss_is_the_formula_and_gradients_flow() -> None:
    exemplar, u = noise(3, 20, 20, dtype=torch.float64), noise(3, 8, 8, seed=1, dtype=torch.float64).requires_grad_()
    x, y = (v.reshape(3, -1) for v in (u, exemplar))
    exact = (x @ x.T / 64 - y @ y.T / 400).square().sum()
    loss = GramLoss(Colours(), exemplar)
    assert float(loss(u)) == pytest.approx(float(exact), rel=1e-9)
    assert torch.autograd.gradcheck(loss, u)
    moved = exemplar + 0.1
    assert float(GramLoss(Colours(), exemplar, centred=True)(moved)) == pytest.approx(3 * 0.01, rel=1e-6)


@pytest.mark.parametrize("kind", [TransportLoss, SlicedLoss, GramLoss])
def test_wrong_shares_are_refused(kind: type) -> None:
    for shares in ([1.0], [0.5, -0.5], [1.0, math.nan]):
        with pytest.raises(ValueError, match="shares"):
            kind(Colours(), [noise(1, 4, 4)] * 2, shares=shares)
    with pytest.raises(ValueError, match="exemplar"):
        kind(Colours(), [])


def test_no_loss_touches_the_global_stream() -> None:
    before = torch.get_rng_state()
    for kind in (TransportLoss, SlicedLoss, GramLoss):
        loss = kind(PatchPyramid(3, 2), noise(1, 16, 16))
        loss.improve(noise(1, 16, 16, seed=1))
        loss(noise(1, 16, 16, seed=1))
    assert torch.equal(before, torch.get_rng_state())
