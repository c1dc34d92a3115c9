"""The picture of the plane against pixels known by hand, and what is counted there against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from texsyn.gan.losses import LOSSES, RELATIVISTIC
from texsyn.gan.plane_picture import (
    CANNOT_TELL,
    MADE,
    REAL,
    SAYS_MADE,
    SAYS_REAL,
    coverage,
    generator_gradient,
    plane_picture,
)

CORNER = torch.tensor([[0.95, 0.95]])
FAR = torch.tensor([[50.0, -1e12]])  # outside the picture


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rgb(colour: tuple[float, float, float]) -> list[int]:
    return np.round(255 * np.array(colour)).astype(int).tolist()


def x_of(points: Tensor) -> Tensor:
    assert points.shape[1:] == (2, 1, 1)
    return points[:, 0, 0, 0]


def y_of(points: Tensor) -> Tensor:
    return points[:, 1, 0, 0]


# ---- the picture


def test_the_field_has_x_to_the_right_y_upwards_and_the_origin_in_the_middle() -> None:
    """Of 3 x 5 pixels and a reach of 3, the row above is at y = 2, the columns at x = -4, -2, 0, 2, 4."""
    seen: list[Tensor] = []

    def field(points: Tensor) -> Tensor:
        seen.append(points)
        return 1e3 * x_of(points)

    found = plane_picture(field, FAR, FAR, height=3, width=5, reach=3)
    assert found.shape == (3, 5, 3)
    assert found.dtype == np.uint8
    assert seen[0][:5].flatten(1).tolist() == [[-4, 2], [-2, 2], [0, 2], [2, 2], [4, 2]]
    assert seen[0][-1].flatten().tolist() == [4, -2]
    assert found[1].tolist() == [rgb(SAYS_MADE)] * 2 + [rgb(CANNOT_TELL)] + [rgb(SAYS_REAL)] * 2
    upright = plane_picture(lambda p: 1e3 * y_of(p), FAR, FAR, height=3, width=5, reach=3)
    assert upright[:, 0].tolist() == [rgb(SAYS_REAL), rgb(CANNOT_TELL), rgb(SAYS_MADE)]


def test_colours_are_the_probability_or_the_value_between_the_extremes() -> None:
    logit = math.log(3)  # a probability of 3/4: half way from white to orange
    half = [(a + b) / 2 for a, b in zip(CANNOT_TELL, SAYS_REAL, strict=True)]
    found = plane_picture(lambda p: torch.full((len(p),), logit), FAR, FAR, height=2, width=2, reach=1)
    np.testing.assert_allclose(found[0, 0], [255 * c for c in half], atol=0.51)
    half = [(a + b) / 2 for a, b in zip(CANNOT_TELL, SAYS_MADE, strict=True)]
    found = plane_picture(lambda p: torch.full((len(p),), -logit), FAR, FAR, height=2, width=2, reach=1)
    np.testing.assert_allclose(found[0, 0], [255 * c for c in half], atol=0.51)
    critic = plane_picture(lambda p: 70 + 5 * x_of(p), FAR, FAR, height=1, width=3, reach=1, probability=False)
    assert critic[0].tolist() == [rgb(SAYS_MADE), rgb(CANNOT_TELL), rgb(SAYS_REAL)]
    flat = plane_picture(lambda p: torch.zeros(len(p)), FAR, FAR, height=1, width=1, reach=1, probability=False)
    assert flat[0, 0].tolist() == rgb(SAYS_MADE)


def test_a_large_picture_is_computed_in_parts() -> None:
    lengths: list[int] = []

    def field(points: Tensor) -> Tensor:
        lengths.append(len(points))
        return x_of(points)

    plane_picture(field, FAR, FAR, height=100, width=100)
    assert lengths == [8192, 10000 - 8192]


def discs(points: list[list[float]], side: int = 41, radius: float = 4.0) -> np.ndarray:
    """What points of the plane cover of a white field, (side, side) in 0..1, pixels 1 / 20 of the plane apart."""
    none = lambda p: torch.zeros(len(p))  # noqa: E731
    reach = side / 40
    found = plane_picture(none, FAR, torch.tensor(points), height=side, width=side, reach=reach, radius=radius)
    return (found[..., 1].astype(float) - rgb(CANNOT_TELL)[1]) / (rgb(MADE)[1] - rgb(CANNOT_TELL)[1])


def test_a_disc_has_its_colour_its_area_and_its_place() -> None:
    at = discs([[0.0, 0.5]])
    assert at[10, 20] == pytest.approx(1, abs=1e-6)  # y = 0.5 is ten pixels above the middle
    assert at.clip(0, 1).sum() == pytest.approx(math.pi * 4**2, rel=0.03)  # less what the white rim takes of its edge
    rows, columns = np.mgrid[:41, :41]
    weight = at.clip(0, 1)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(10, abs=1e-6)
    between = discs([[0.02, 0.51]]).clip(0, 1)  # four tenths of a pixel to the right, two upwards
    assert (between * columns).sum() / between.sum() == pytest.approx(20.4, abs=0.05)
    assert (between * rows).sum() / between.sum() == pytest.approx(9.8, abs=0.05)


@pytest.mark.filterwarnings("error")
def test_discs_at_one_place_are_one_disc_and_those_outside_do_no_harm() -> None:
    one = discs([[0.1, 0.1]])
    assert np.array_equal(discs([[0.1, 0.1]] * 3), one)
    assert np.array_equal(discs([[0.1, 0.1], [1e30, 3.0], [-70.0, 0.0]]), one)
    assert discs([[1.0, 0.0]]).clip(0, 1).sum() == pytest.approx(math.pi * 8, rel=0.2)  # cut by the border


def test_many_points_are_drawn_in_parts() -> None:
    points = torch.cat([normal(12000, 2, seed=1) * 0.1, torch.tensor([[0.8, -0.8]])]).tolist()
    assert discs(points)[36, 36] == pytest.approx(1, abs=1e-6)


def test_points_are_pictures_or_pairs_and_real_ones_lie_on_made_ones() -> None:
    none = lambda p: torch.zeros(len(p))  # noqa: E731
    pairs = plane_picture(none, CORNER, -CORNER, height=61, width=61)
    assert np.array_equal(pairs, plane_picture(none, CORNER.view(1, 2, 1, 1), -CORNER, height=61, width=61))
    assert pairs[5, 55].tolist() == rgb(REAL)  # 0.95 / (1.2 * 0.95) of 30.5 pixels from the middle: 25.4
    assert pairs[55, 5].tolist() == rgb(MADE)
    over = plane_picture(none, CORNER, CORNER, height=61, width=61, radius=5)
    assert over[5, 55].tolist() == rgb(REAL)
    assert over[5, 59].tolist() == rgb(MADE)  # real ones are smaller


def test_a_streak_goes_where_the_step_does_and_becomes_thin() -> None:
    none = lambda p: torch.zeros(len(p))  # noqa: E731
    start, step = torch.tensor([[-0.5, 0.0]]), torch.tensor([[1.0, 0.0]])
    found = plane_picture(none, FAR, start, height=41, width=41, reach=41 / 40, steps=step, radius=4.0)
    reddish = found[..., 1] < 150
    assert reddish[20, 10:28].all()
    assert not reddish[20, 31:].any()
    assert not reddish[:, :5].any()
    thickness = reddish.sum(0)
    assert thickness[16] > thickness[22] > thickness[27] > 0
    assert np.array_equal(found, found[::-1])
    long = plane_picture(none, FAR, start, height=41, width=41, reach=41 / 40, steps=1e9 * step)
    assert long.shape == (41, 41, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"real": torch.zeros(3)}, r"real: shape \(3,\) should be \(N, 2\)"),
        ({"made": torch.zeros(0, 2)}, r"made: shape \(0, 2\) should be"),
        ({"made": torch.tensor([[0.0, math.nan]])}, "made: 1 coordinates are no finite numbers"),
        ({"steps": torch.zeros(2, 2)}, "steps: 2 of them should be one for each of the 1 made points"),
        ({"height": 0}, "height=0, width=384 should both be at least 1"),
        ({"reach": -1.0}, r"reach=-1\.0 should be above 0"),
    ],
)
def test_what_cannot_be_drawn_is_named(change: dict, message: str) -> None:
    given = {"field": x_of, "real": CORNER, "made": CORNER} | change
    with pytest.raises(ValueError, match=message):
        plane_picture(**given)


# ---- coverage

MODES = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])


def test_coverage_by_hand() -> None:
    made = torch.tensor([[0.1, 0.0], [0.0, -0.25], [4.0, 0.31], [2.0, 0.0], [0.0, 3.9]])
    assert coverage(made, MODES, 0.3) == (2, 0.6)
    assert coverage(made, MODES, 0.32) == (3, 0.8)
    assert coverage(made, MODES, 0.32, least=2) == (1, 0.8)
    assert coverage(made.view(5, 2, 1, 1), MODES, 9.0, least=3) == (1, 1.0)  # two of three nearest the others
    with pytest.raises(ValueError, match=r"radius=0\.0, least=1 should be above 0 and at least 1"):
        coverage(made, MODES, 0.0)
    with pytest.raises(ValueError, match=r"modes: shape \(3,\)"):
        coverage(made, torch.zeros(3), 1.0)


def test_three_sigma_of_a_gaussian_is_1_less_exp_of_minus_nine_halves_in_the_plane() -> None:
    made = MODES.double().repeat(4000, 1) + 0.1 * normal(12000, 2)
    reached, share = coverage(made, MODES, 0.3)
    assert reached == 3
    assert share == pytest.approx(1 - math.exp(-4.5), abs=3 * 0.105 / math.sqrt(12000))


# ---- what a loss tells the generator


def test_gradients_of_a_linear_critic_by_hand_and_how_the_saturating_one_vanishes() -> None:
    """D = a x + b: |gradient| is |a| sigmoid(f) where the loss saturates and |a| sigmoid(-f) where it does not."""
    a, b = torch.tensor([3.0, -4.0], dtype=torch.float64), -9.0
    linear = lambda p: p.flatten(1) @ a + b  # noqa: E731
    made = normal(7, 2, 1, 1)
    f = linear(made)
    vanishing = generator_gradient(LOSSES["saturating"], linear, made)
    lasting = generator_gradient(LOSSES["non-saturating"], linear, made)
    assert vanishing.shape == made.shape
    torch.testing.assert_close(vanishing.flatten(1), -f.sigmoid()[:, None] * a, rtol=1e-12, atol=0)
    torch.testing.assert_close(lasting.flatten(1), -(-f).sigmoid()[:, None] * a, rtol=1e-12, atol=0)
    ratio = vanishing.flatten(1).norm(dim=1) / lasting.flatten(1).norm(dim=1)
    torch.testing.assert_close(ratio, f.exp(), rtol=1e-12, atol=0)


def test_gradients_leave_weights_and_points_alone_and_know_relativistic_losses() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, dtype=torch.float64))
    made, real = normal(5, 2, 1, 1).requires_grad_(True), normal(5, 2, 1, 1, seed=1)
    found = generator_gradient(RELATIVISTIC["relativistic"], lambda p: network(p).flatten(), made, real)
    assert found.shape == made.shape
    assert made.grad is None
    assert all(p.grad is None for p in network.parameters())
    with pytest.raises(ValueError, match="r=None"):
        generator_gradient(RELATIVISTIC["relativistic"], lambda p: network(p).flatten(), made)
