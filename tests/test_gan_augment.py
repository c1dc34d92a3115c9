"""Augmentations for discriminators: every operation at a number known by hand, how often it happens, and that a slope
goes through it twice."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.gan.adaptive import (
    EXPECTED_POWER,
    OPERATIONS,
    PIPELINES,
    Overfitting,
    _bands,
    adaptive_augment,
)
from texsyn.gan.augment import POLICIES, augment, picked
from texsyn.gan.penalties import r1
from texsyn.gan.warp import CENTRE, SYMLET_6, coarser, finer, mirror_padded, mirrored, warp

ALL = "color,translation,cutout"


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(shape, generator=stream(seed), dtype=torch.float64) - 1


def at(x: Tensor, quantile: float, *operations: str) -> Tensor:
    return adaptive_augment(x, 0.0, stream(), operations, quantile=quantile)


def normal(quantile: float) -> float:
    return torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(quantile, dtype=torch.float64)).item()


# ---- DiffAugment


def test_color_at_numbers_read_back_from_two_pixels() -> None:
    """All three factors can be read off two pixels, and have the paper's laws."""
    x = torch.tensor([[0.3, -0.2], [0.1, 0.4], [0.5, -0.8]], dtype=torch.float64)[None, :, None].repeat(4000, 1, 1, 1)
    y = augment(x, "color", stream())
    greys, were = y.mean(1)[:, 0], x.mean(1)[:, 0]  # (B, 2)
    contrast = (greys[:, 0] - greys[:, 1]) / (were[:, 0] - were[:, 1])
    bright = greys.mean(1) - were.mean(1)
    saturation = (y[:, 0, 0, 0] - y[:, 1, 0, 0]) / (x[:, 0, 0, 0] - x[:, 1, 0, 0]) / contrast
    for found, low, high in ((bright, -0.5, 0.5), (saturation, 0.0, 2.0), (contrast, 0.5, 1.5)):
        share = (found - low) / (high - low)
        assert share.min() > -1e-12
        assert share.max() < 1 + 1e-12
        for q in (0.25, 0.5, 0.75):  # 4 deviations of a count among 4000 are 0.03
            assert (share < q).double().mean().item() == pytest.approx(q, abs=0.03)
    # and nothing but these three
    grey = x.mean(1, keepdim=True)
    made = (x - grey) * saturation.view(-1, 1, 1, 1) + grey + bright.view(-1, 1, 1, 1)
    mean = made.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(y, (made - mean) * contrast.view(-1, 1, 1, 1) + mean)


@pytest.mark.parametrize(("channels", "coloured"), [(1, False), (2, False), (3, True), (4, True), (7, False)])
def test_color_operations_of_other_channels(channels: int, coloured: bool) -> None:
    x = pictures(5, channels, 6, 4)
    y = augment(x, "color", stream(1))
    z = adaptive_augment(x, 1.0, stream(1), ("brightness", "contrast", "luma", "hue", "saturation"))
    for made in (y, z):
        assert made.shape == x.shape
        if channels == 4:
            assert torch.equal(made[:, 3], x[:, 3])
        else:
            assert (made[:, -1] != x[:, -1]).any(2).all()
        gains = (made[:, :, 0, 0] - made[:, :, 1, 1]) / (x[:, :, 0, 0] - x[:, :, 1, 1])
        equal = torch.allclose(gains, gains[:, :1].expand_as(gains))  # each channel got the same gain
        assert equal != coloured
    if channels == 4:
        torch.testing.assert_close(augment(x[:, :3], "color", stream(1)), y[:, :3])
        three = adaptive_augment(x[:, :3], 1.0, stream(1))
        torch.testing.assert_close(three, adaptive_augment(x, 1.0, stream(1))[:, :3])


def test_translation_moves_by_every_number_of_pixels_up_to_an_eighth() -> None:
    x = pictures(5000, 2, 16, 13)  # an eighth of 13 is rounded to 2
    y = augment(x, "translation", stream())
    assert not torch.equal(y, x)
    padded, counts = F.pad(x, (2, 2, 2, 2)), torch.zeros(5, 5)
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = padded[:, :, 2 - down : 18 - down, 2 - right : 15 - right]
            counts[down + 2, right + 2] = (moved == y).flatten(1).all(1).sum()
    assert counts.sum() == len(x)
    assert (counts - 200).abs().max() < 4 * math.sqrt(200)


def test_cutout_leaves_zeros_in_a_rectangle_of_half_the_sides() -> None:
    x = pictures(2000, 3, 12, 20)
    y = augment(x, "cutout", stream())
    gone = (y == 0).all(1)  # (B, H, W)
    assert torch.equal(torch.where(gone[:, None], 0, x), y)
    rows, columns = gone.any(2), gone.any(1)
    assert torch.equal(gone, rows[:, :, None] & columns[:, None])
    whole = rows[:, 3:9].any(1) & ~rows[:, 0] & ~rows[:, -1]
    assert (rows[whole].sum(1) == 6).all()
    assert columns.sum(1).max() == 10
    # a centre uniform in the picture: pixels of the middle go with probability 1/2 along each axis, the edge's 1/4
    assert gone[:, 6, 10].double().mean().item() == pytest.approx(0.25, abs=0.04)
    assert gone[:, 0, 0].double().mean().item() == pytest.approx((0.25 + 1 / 24) * (0.25 + 1 / 40), abs=0.03)


def test_a_policy_is_its_operations_one_after_another() -> None:
    x, together, apart = pictures(4, 3, 8, 8), stream(), stream()
    y = x
    for name in ("cutout", "color"):
        y = augment(y, name, apart)
    assert torch.equal(augment(x, "cutout, color", together), y)
    assert torch.equal(augment(x, ["cutout", "color"], stream()), y)
    assert augment(x, "", stream()) is x
    assert set(POLICIES) == set(ALL.split(","))


# ---- what holds for both

BOTH: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "DiffAugment": lambda x, random: augment(x, ALL, random),
    "adaptive": lambda x, random: adaptive_augment(x, torch.tensor(0.8), random, "bgcfnc"),
}


@pytest.mark.parametrize("name", BOTH)
def test_draws_are_of_the_given_stream_alone_and_anew_for_each_picture(name: str) -> None:
    x, apply, before = pictures(1, 3, 9, 12).repeat(6, 1, 1, 1), BOTH[name], torch.get_rng_state()
    random = stream(3)
    y, z = apply(x, random), apply(x, random)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(apply(x, stream(3)), y)
    assert not torch.equal(y, z)
    assert len({tuple(p.flatten().tolist()) for p in y}) == 6
    single = apply(x.float(), stream(3))  # the same draws whatever x is
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), y, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 4, 4, 4), (2, 1, 3, 5), (2, 2, 1, 1)])
def test_twice_differentiable(name: str, shape: tuple[int, ...]) -> None:
    x = pictures(*shape).requires_grad_(True)

    def apply(x: Tensor) -> Tensor:
        return BOTH[name](x, stream(4))

    assert torch.autograd.gradcheck(apply, x)
    assert torch.autograd.gradgradcheck(apply, x)


@pytest.mark.parametrize("name", BOTH)
def test_a_penalty_of_the_slope_goes_through(name: str) -> None:
    weight = torch.ones(3, 8, 8, dtype=torch.float64, requires_grad=True)
    penalty = r1(lambda x: (BOTH[name](x, stream(5)) * weight).square().sum((1, 2, 3)), pictures(3, 3, 8, 8))
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert penalty.item() > 0
    assert gradient.abs().max() > 0


def test_what_is_no_picture_or_no_operation_is_refused() -> None:
    x = pictures(2, 3, 8, 8)
    for call, said in (
        (lambda: augment(x, "colour", stream()), "policy: 'colour' is not one of color, translation, cutout"),
        (lambda: augment(x[0], "color", stream()), r"shape \(3, 8, 8\)"),
        (lambda: adaptive_augment(x[0], 0.1, stream()), r"shape \(3, 8, 8\)"),
        (lambda: adaptive_augment(x, 0.1, stream(), "bgx"), "operations='bgx' is not one of b, bg, bgc"),
        (lambda: adaptive_augment(x, 0.1, stream(), ["rot"]), "operations: 'rot' is not one of flip, turn"),
        (lambda: adaptive_augment(x, 0.1, stream(), quantile=1.0), "quantile=1.0"),
        (lambda: Overfitting(images=0), "images=0"),
        (lambda: Overfitting(interval=0), "interval=0"),
        (lambda: Overfitting(p=-0.1), "p=-0.1"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


# ---- choices of pixels


def test_nothing_changes_at_probability_0() -> None:
    for shape in ((4, 3, 9, 12), (4, 1, 8, 8), (4, 5, 1, 7)):
        x = pictures(*shape).float()
        assert torch.equal(adaptive_augment(x, torch.tensor(0.0), stream(), "bgcfnc"), x)


def test_as_many_draws_whatever_the_probability_and_those_beyond_1_count_as_1() -> None:
    x, after = pictures(4, 3, 8, 8), []
    for p in (0.0, 0.4, 1.0, 1.7):
        random = stream()
        y = adaptive_augment(x, p, random, "bgcfnc")
        assert y.isfinite().all()
        after.append(random.get_state())
    assert all(torch.equal(after[0], state) for state in after)
    assert torch.equal(y, adaptive_augment(x, 1.0, stream(), "bgcfnc"))


def test_flip_turn_and_shift_are_exact() -> None:
    x = pictures(2, 3, 16, 16)
    assert torch.equal(at(x, 0.6, "flip"), x.flip(3))
    assert torch.equal(at(x, 0.4, "flip"), x)
    for k, quantile in enumerate((0.1, 0.3, 0.6, 0.9)):
        assert torch.equal(at(x, quantile, "turn"), x.rot90(k, (2, 3)))
    wide = x[:, :, :9]
    assert torch.equal(at(wide, 0.4, "turn"), wide)
    assert torch.equal(at(wide, 0.6, "turn"), wide.rot90(2, (2, 3)))
    # (2 * 7/8 - 1) / 8 of 16 rows and 32 columns: 1.5, rounded to even, and 3
    x = pictures(2, 3, 16, 32)
    by_hand = F.pad(x, (3, 0, 2, 0), mode="reflect")[:, :, :16, :32]
    assert torch.equal(at(x, 0.875, "shift"), by_hand)


def test_shifts_reach_an_eighth_both_ways_and_happen_along_both_axes_or_not_at_all() -> None:
    x = torch.arange(24.0)[:, None] + 100 * torch.arange(16.0)
    y = adaptive_augment(x.expand(3000, 1, 24, 16), 0.5, stream(), ["shift"])
    down, right = 12 - y[:, 0, 12, 8] % 100, 8 - y[:, 0, 12, 8] // 100
    assert {int(v) for v in down} == set(range(-3, 4))
    assert {int(v) for v in right} == set(range(-2, 3))
    # of those that happen: 1/6 of the shifts down round to 0, 1/4 of those to the right
    assert ((down == 0) & (right == 0)).double().mean().item() == pytest.approx(0.5 + 0.5 / 24, abs=0.04)
    assert (down != 0).double().mean().item() == pytest.approx(0.5 * 5 / 6, abs=0.04)


# ---- the warp


def test_the_filter_is_orthonormal_and_has_six_vanishing_moments() -> None:
    h = torch.tensor(SYMLET_6, dtype=torch.float64)
    for j in range(6):
        assert (h[2 * j :] * h[: 12 - 2 * j]).sum().item() == pytest.approx(float(j == 0), abs=1e-11)
    k = torch.arange(12, dtype=torch.float64)
    alternating = (-1.0) ** k * h
    for power in range(6):
        assert (alternating * (k - 5.5) ** power).sum().item() == pytest.approx(0, abs=1e-8)
    assert h.sum().item() == pytest.approx(math.sqrt(2), abs=1e-12)


def test_up_and_down_again_is_the_identity_and_a_polynomial_goes_up_exactly() -> None:
    x = pictures(2, 3, 7, 10)
    torch.testing.assert_close(coarser(finer(x)), x, atol=1e-10, rtol=0)
    place = torch.arange(30, dtype=torch.float64)
    fine = finer((place[:, None] - 2 * place).expand(1, 1, 30, 30))[0, 0, 14:54, 14:54]
    there = (torch.arange(14, 54, dtype=torch.float64) - CENTRE) / 2
    torch.testing.assert_close(fine, there[:, None] - 2 * there, atol=1e-9, rtol=0)
    torch.testing.assert_close((finer(x) * finer(x)).sum(), 4 * x.square().sum())  # twice an isometry


def test_warps_of_white_noise_that_are_no_warps_are_exact() -> None:
    x = pictures(2, 3, 9, 14)
    source = torch.eye(3, dtype=torch.float64).expand(2, 3, 3).clone()
    torch.testing.assert_close(warp(x, source), x, atol=1e-10, rtol=0)
    source[:, 0, 2], source[:, 1, 2] = 4, -2
    by_hand = mirror_padded(x, 4)[:, :, 2:11, 8:22]
    torch.testing.assert_close(warp(x, source)[:, :, 5:-3, 3:-7], by_hand[:, :, 5:-3, 3:-7], atol=1e-10, rtol=0)
    smooth = (torch.arange(40, dtype=torch.float64) * 0.1).cos().expand(1, 1, 40, 40)
    source[:, 0, 2], source[:, 1, 2] = 60, 0
    mirror = picked(smooth, torch.arange(40).view(1, -1, 1), mirrored(torch.arange(40) + 60, 40).view(1, 1, -1))
    torch.testing.assert_close(warp(smooth, source[:1]), mirror, atol=2e-3, rtol=0)  # bilinear: 0.1^2 / 8 of a curve


@pytest.mark.parametrize(
    ("operations", "matrix"),
    [
        (["scale"], lambda n, q: [[2 ** (0.2 * n), 0, 0], [0, 2 ** (0.2 * n), 0]]),
        (["anisotropy"], lambda n, q: [[2 ** (0.2 * n), 0, 0], [0, 2 ** (-0.2 * n), 0]]),
        (["fraction"], lambda n, q: [[1, 0, 0.125 * n * 64], [0, 1, 0.125 * n * 48]]),
        (
            ["rotation"],
            lambda n, q: [
                [math.cos(2 * q * math.pi), math.sin(2 * q * math.pi), 0],
                [-math.sin(2 * q * math.pi), math.cos(2 * q * math.pi), 0],
            ],
        ),
        (
            ["scale", "anisotropy", "fraction"],
            lambda n, q: [[2 ** (0.4 * n), 0, 0.125 * n * 64], [0, 1, 0.125 * n * 48]],
        ),
    ],
)
def test_an_oblique_plane_is_moved_exactly(operations: list[str], matrix: Callable[..., list[list[float]]]) -> None:
    """The value at T(v) is what was at v, v = (column, row) from the middle; rotations turn twice, here by a sixth."""
    quantile = 0.6 if operations != ["rotation"] else 0.5 + 1 / 24
    n = normal(quantile)
    m = torch.tensor(matrix(n, 2 * quantile - 1), dtype=torch.float64)
    row, column = (torch.arange(k, dtype=torch.float64) - (k - 1) / 2 for k in (48, 64))
    x = (0.02 * row[:, None] - 0.01 * column + 0.1).expand(1, 1, 48, 64)
    v = torch.stack([column.expand(48, 64), row[:, None].expand(48, 64)], -1)
    origin = (v - m[:, 2]) @ torch.linalg.inv(m[:, :2]).T
    expected = 0.02 * origin[..., 1] - 0.01 * origin[..., 0] + 0.1
    found = at(x, quantile, *operations)[0, 0]
    torch.testing.assert_close(found[16:32, 20:44], expected[16:32, 20:44], atol=1e-9, rtol=0)
    assert (found - x[0, 0])[16:32, 20:44].abs().max() > 0.004


def test_rotation_anisotropy_and_rotation_again_are_in_that_order() -> None:
    """At the quantile 3/4 each rotation is a quarter turn: between them x and y change places in the anisotropy."""
    x = (torch.arange(48, dtype=torch.float64) * 0.1).sin()[:, None] * torch.ones(48, dtype=torch.float64)
    found = at(x[None, None], 0.75, "rotation", "anisotropy")[0, 0]
    s = 2 ** (0.2 * normal(0.75))
    row = torch.arange(48, dtype=torch.float64) - 23.5
    expected = ((-row / s + 23.5) * 0.1).sin()  # rows were columns while columns were stretched by s
    torch.testing.assert_close(found[10:38, 24], expected[10:38], atol=1e-2, rtol=0)


def test_a_rotation_happens_before_or_after_with_the_probability_asked_for() -> None:
    x = pictures(1, 1, 4, 4).expand(3000, 1, 4, 4)
    changed = (adaptive_augment(x, 0.3, stream(), ["rotation"]) != x).flatten(1).any(1)
    assert changed.double().mean().item() == pytest.approx(0.3, abs=0.034)


# ---- colours


def luma(x: Tensor) -> Tensor:
    return x.mean(1)


def test_colours_at_numbers_known_by_hand() -> None:
    x, quantile = pictures(2, 3, 5, 6), 0.8
    n = normal(quantile)
    torch.testing.assert_close(at(x, quantile, "brightness"), x + 0.2 * n)
    torch.testing.assert_close(at(x, quantile, "contrast"), x * 2 ** (0.5 * n))
    grey = luma(x)[:, None]
    flipped = at(x, quantile, "luma")
    torch.testing.assert_close(flipped, x - 2 * grey)
    assert torch.equal(at(x, 0.4, "luma"), x)
    torch.testing.assert_close(at(x, quantile, "saturation"), grey + (x - grey) * 2**n)
    torch.testing.assert_close(
        at(x, quantile, "brightness", "contrast", "luma", "saturation"),
        -(grey + 0.2 * n) * 2 ** (0.5 * n) + (x - grey) * 2 ** (1.5 * n),
    )
    torch.testing.assert_close(at(x[:, :1], quantile, *PIPELINES["bgc"][7:]), -(x[:, :1] + 0.2 * n) * 2 ** (0.5 * n))


def test_hue_keeps_luma_and_saturation_and_a_third_of_a_turn_passes_colours_on() -> None:
    x = pictures(2, 3, 5, 6)
    for quantile in (0.1, 0.6, 0.9):
        y = at(x, quantile, "hue")
        torch.testing.assert_close(luma(y), luma(x))
        torch.testing.assert_close(y.norm(dim=1), x.norm(dim=1))
    torch.testing.assert_close(at(x, 0.5 + 1 / 3, "hue"), x.roll(1, 1))  # red becomes green
    torch.testing.assert_close(at(x, 0.5, "hue"), x)


# ---- filter, noise, cutout


def test_bands_add_up_to_the_picture_and_are_octaves() -> None:
    bands = _bands()
    delta = torch.zeros(43, dtype=torch.float64)
    delta[21] = 1
    torch.testing.assert_close(bands.sum(0), delta)
    torch.testing.assert_close(bands, bands.flip(1))
    k = torch.arange(43, dtype=torch.float64) - 21
    for band, frequency in enumerate((0.0, 3 / 16, 3 / 8, 1.0)):
        response = bands @ (math.pi * frequency * k).cos()
        assert response.argmax().item() == band
        assert response[band] > 0.7


def test_a_filter_keeps_the_power_expected_of_a_picture_and_a_wave_gets_its_bands_gain() -> None:
    quantile = 0.8
    gain, power = 2 ** normal(quantile), torch.tensor(EXPECTED_POWER)
    flat, wave = torch.ones(1, 1, 64, 64), torch.ones(64) * (-1.0) ** torch.arange(64)
    scales = (1 + (gain**2 - 1) * power).rsqrt()  # with one band amplified; all four are, in turn
    low, high = gain * scales.prod().item(), gain * scales.prod().item()
    torch.testing.assert_close(at(flat, quantile, "filter"), flat * low**2)  # along both axes
    torch.testing.assert_close(at((wave * flat), quantile, "filter"), wave * flat * high * low)
    x = 0.3 * torch.randn(400, 1, 8, 8, generator=stream())
    changed = (adaptive_augment(x, 0.1, stream(), ["filter"]) != x).flatten(1).any(1)
    assert changed.double().mean().item() == pytest.approx(1 - 0.9**4, abs=0.1)


def test_noise_has_a_half_normal_deviation_and_cutout_half_the_sides() -> None:
    x = torch.zeros(2000, 1, 16, 16)
    y = adaptive_augment(x, 1.0, stream(), ["noise"])
    assert y.square().mean().item() == pytest.approx(0.01, rel=0.15)
    assert y.flatten(1).std(1).median().item() == pytest.approx(0.1 * normal(0.75), rel=0.1)
    gone = at(torch.ones(1, 2, 8, 12), 0.5, "cutout") == 0
    by_hand = torch.zeros(8, 12, dtype=torch.bool)
    by_hand[2:6, 3:9] = True
    assert torch.equal(gone, by_hand.expand(1, 2, 8, 12))


# ---- how often


#: operations that change any picture when they happen, and the chance that they then change nothing
IDLE = {"flip": 0.5, "turn": 0.25, "luma": 0.5}


@pytest.mark.parametrize("p", [0.3, 1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_happens_as_often_as_asked(name: str, p: float) -> None:
    x = pictures(1, 3, 16, 16).float().expand(1500, 3, 16, 16)
    changed = (adaptive_augment(x, torch.tensor(p), stream(1), [name]) != x).flatten(1).any(1).double().mean().item()
    expected = p * (1 - IDLE.get(name, 0))
    if name == "shift":
        expected *= 1 - 1 / 16  # of shifts of at most 2 pixels, rounded, 1/4 are of 0 along each axis
    if name == "filter":
        expected = 1 - (1 - p) ** 4
    assert changed == pytest.approx(expected, abs=0.05)  # 4 deviations of a mean of 1500


def test_a_pipeline_leaves_some_pictures_alone_at_a_small_probability() -> None:
    x = pictures(1, 3, 8, 8).expand(1500, 3, 8, 8)
    same = (adaptive_augment(x, 0.1, stream()) == x).flatten(1).all(1).double().mean().item()
    often = 0.9**8 * 0.95**2 * 0.925  # eight, and those that change nothing now and then
    assert same == pytest.approx(often, abs=0.06)


# ---- the controller


def test_p_follows_the_mean_sign_of_logits_by_hand() -> None:
    control = Overfitting(images=1000, interval=2)
    control.see(torch.tensor([1.0, 2.0, -1.0, 3.0]))
    assert control.p.item() == 0
    control.see(torch.tensor([5.0, 0.1, 0.2, 9.0]))
    assert control.r.item() == pytest.approx(6 / 8)
    assert control.p.item() == pytest.approx(8 / 1000)  # both batches count
    for _ in range(2):
        control.see(torch.tensor([5.0, 0.1, 0.0, -9.0]))  # the sign of 0 is 0
    assert control.r.item() == pytest.approx(0.25)
    assert control.p.item() == 0
    for _ in range(2):
        control.see(-torch.ones(4))
    assert control.p.item() == 0


def test_maps_of_logits_count_by_pictures_and_p_has_no_upper_bound() -> None:
    control = Overfitting(images=10, interval=1, p=0.5)
    for _ in range(8):
        control.see(torch.tensor([[[1.0, 1.0], [1.0, -1.0]], [[2.0, 1.0], [1.0, 1.0]]], requires_grad=True))
    assert control.r.item() == pytest.approx(0.75)
    assert control.p.item() == pytest.approx(0.5 + 8 * 2 / 10)


def test_the_controller_goes_on_from_its_state() -> None:
    one, logits = Overfitting(images=100, interval=3), torch.randn(10, 4, generator=stream()) + 1
    for r in logits[:5]:
        one.see(r)
    two = Overfitting(images=100, interval=3)
    state = one.state()
    two.load_state(state)
    for r in logits[5:]:
        one.see(r)
        two.see(r)
    assert torch.equal(one.p, two.p)
    assert all(torch.equal(one.state()[k], v) for k, v in two.state().items())
    assert not torch.equal(state["p"], one.p)  # what was taken out is a copy
