"""Texture scores of pictures whose scores are known: exemplar, tiling, blur, noise, shift, shuffle, crop, crumbs."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, fields

import numpy as np
import pytest

from texsyn.metrics import texture
from texsyn.metrics.texture import (
    TextureScores,
    copied_share,
    mean_scores,
    patch_distance,
    repetition,
    score,
    sliced_w2,
    used_share,
)

KEYS = [field.name for field in fields(TextureScores)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def coded(u: np.ndarray) -> np.ndarray:
    """Values that are whole 8-bit codes, as those of a saved picture are."""
    return np.floor(np.clip(u, 0, 1) * 255 + 0.5) / 255


def grain(h: int, w: int, n_channels: int = 3, seed: int = 0) -> np.ndarray:
    """A texture between 0.1 and 0.8 with grains of about three pixels."""
    u = rng(seed).standard_normal((h, w, n_channels))
    for axis in (0, 1):
        u = u + np.roll(u, 1, axis) + np.roll(u, -1, axis)
    return coded(np.clip(0.45 + 0.05 * u, 0.1, 0.8))


def noise(h: int, w: int, n_channels: int = 1, seed: int = 0) -> np.ndarray:
    return rng(seed).random((h, w, n_channels)).astype(np.float32)


@pytest.fixture(scope="module")
def exemplar() -> np.ndarray:
    return grain(96, 80)


# ---------------------------------------------------------------------------------------------- whole known pictures


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 5])
def test_the_exemplar_itself_is_perfect_and_all_copied(n_channels: int) -> None:
    u = grain(48, 64, n_channels)
    got = score(u, u)
    assert (got.msw, got.rep, got.colour) == (0, 0, 0)
    assert (got.copy15, got.copy31, got.sharp, got.used) == (1, 1, 1, 1)
    assert got.msw_floor == pytest.approx(
        100 * patch_distance(u[:, :32].astype("f4"), u[:, 32:].astype("f4")), rel=1e-5
    )
    assert 0 < got.msw_floor < 5


@pytest.mark.parametrize("shape", [(30, 41), (41, 30)])
def test_the_floor_is_between_halves_of_the_longer_side(shape: tuple[int, int]) -> None:
    """Of equal sizes, the middle line in neither; the left and the right of a tall strip would be slivers."""
    u = grain(*shape)
    first, second = (u[:, :20], u[:, 21:]) if shape[1] == 41 else (u[:20], u[21:])
    expected = 100 * patch_distance(first.astype("f4"), second.astype("f4"))
    assert score(u, u).msw_floor == pytest.approx(expected, rel=1e-5)
    assert score(grain(40, 9), u).msw_floor == pytest.approx(expected, rel=1e-5)
    assert score(u, grain(40, 9)).msw_floor is not None


def test_colours_of_grey_pictures_are_their_quantiles() -> None:
    black, grey = np.zeros((9, 8, 1)), np.full((5, 6, 1), 51 / 255)
    assert texture.colour_distance(grey.astype("f4"), black.astype("f4")) == pytest.approx(0.2, rel=1e-6)
    assert score(grey, black).colour == pytest.approx(20, rel=1e-6)


def test_tiling_is_caught_by_repetition_and_copying() -> None:
    u = grain(40, 40)
    tiled = np.tile(u, (3, 3, 1))
    got = score(tiled, u)
    own = by_hand_far_correlation(texture.luminance(u.astype("f4")))
    assert 0 < own < 0.5
    assert got.rep == pytest.approx(1 - own, abs=1e-5)  # float32 luminance
    assert got.copy15 == (3 * 26 / 106) ** 2  # the windows across no seam
    assert got.copy31 == (3 * 10 / 90) ** 2
    assert got.used == 1
    assert got.colour == pytest.approx(0, abs=0.1)  # quantiles of 1600 and of 14400 are interpolated differently
    assert got.msw < got.msw_floor  # why no single number will do


def by_hand_far_correlation(u: np.ndarray) -> float:
    u = u.astype(np.float64) - u.mean(dtype=np.float64)
    h, w = u.shape
    found = []
    for dy, dx in itertools.product(range(h // 2 + 1), range(-(w // 2), w // 2 + 1)):
        if max(abs(dy), abs(dx)) >= 16:
            a, b = u[dy:, max(dx, 0) : w + min(dx, 0)], u[: h - dy, max(-dx, 0) : w - max(dx, 0)]
            found.append((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))
    return max(found)


@pytest.mark.parametrize("shape", [(34, 34), (35, 50), (41, 34)])
def test_repetition_is_the_largest_far_correlation(shape: tuple[int, int]) -> None:
    u, reference = noise(*shape, 1, 1), noise(40, 40, 1, 2)
    expected = by_hand_far_correlation(u[..., 0]) - by_hand_far_correlation(reference[..., 0])
    assert repetition(u, reference) == pytest.approx(expected, abs=1e-6)


def test_repetition_looks_at_far_lags_only() -> None:
    reference = noise(64, 64)
    near, far = np.tile(noise(8, 64), (8, 1, 1)), np.tile(noise(64, 16), (1, 4, 1))
    for repeats in (near, far):  # period 8 repeats at 16, 24, 32 too
        assert repetition(repeats, reference) == pytest.approx(1 - by_hand_far_correlation(reference[..., 0]), abs=1e-5)
    for lag, low, high in ((15, -0.1, 0.1), (16, 0.3, 0.5)):  # u + u moved by the lag: 1/2 there and nothing elsewhere
        u = noise(80, 80 + lag, 1, 4)
        assert low < repetition(u[:, lag:] + u[:, :-lag], reference) < high
    flat = np.full((64, 64, 1), 0.3, np.float32)
    assert repetition(flat, flat) == 0
    assert abs(repetition(noise(64, 64, 1, 5), reference)) < 0.1
    flat[:2, :2, 0] += [[0.1, -0.1], [-0.1, 0.1]]  # no energy at all where the corner has moved away
    assert repetition(flat, flat) == 0
    assert abs(repetition(flat, reference)) < 1


def test_blur_lowers_sharpness_and_noise_raises_it(exemplar: np.ndarray) -> None:
    blurred = (exemplar + np.roll(exemplar, 1, 0) + np.roll(exemplar, 1, 1) + np.roll(exemplar, (1, 1), (0, 1))) / 4
    noisy = exemplar + 0.05 * rng(1).standard_normal(exemplar.shape)
    assert score(blurred, exemplar).sharp < 0.8
    assert score(noisy, exemplar).sharp > 1.1
    assert score(blurred, exemplar).copy15 == score(noisy, exemplar).copy15 == 0


def test_sharpness_is_the_ratio_of_gradients() -> None:
    ramp = np.broadcast_to(np.arange(20)[None, :, None] * 8 / 255, (10, 20, 3))
    assert score(ramp / 2, ramp).sharp == pytest.approx(0.5, rel=1e-5)
    assert score(ramp, ramp / 2).sharp == pytest.approx(2, rel=1e-5)
    assert score(ramp, ramp.transpose(1, 0, 2)).sharp == pytest.approx(1, rel=1e-5)
    assert score(ramp, np.full((9, 9, 3), 0.5)).sharp is None
    assert score(np.full((9, 9, 3), 0.5), ramp).sharp == 0


def test_a_shuffle_keeps_the_colours_and_nothing_else(exemplar: np.ndarray) -> None:
    shuffled = rng(3).permutation(exemplar.reshape(-1, 3)).reshape(exemplar.shape)
    got = score(shuffled, exemplar)
    assert (got.copy15, got.copy31, got.used) == (0, 0, 0)
    assert got.colour == pytest.approx(0, abs=1e-4)  # the order of float32 products
    assert got.msw > 1.5 * got.msw_floor
    assert got.sharp > 1.5


def test_a_crop_is_all_copied_and_uses_its_share(exemplar: np.ndarray) -> None:
    got = score(exemplar[5:70, 9:60], exemplar)
    assert (got.copy15, got.copy31) == (1, 1)
    assert got.used == (65 * 51) / (96 * 80)
    pasted = exemplar.copy()
    pasted[:48] = grain(48, 80, seed=9)
    share = (48 - 14) / (96 - 14)  # windows wholly in the lower half
    assert score(pasted, exemplar).copy15 == pytest.approx(share, abs=1e-12)


def test_a_turned_or_recoloured_copy_is_no_copy(exemplar: np.ndarray) -> None:
    for changed in (exemplar[::-1], exemplar[:, ::-1], exemplar.transpose(1, 0, 2), exemplar[..., ::-1]):
        got = score(changed, exemplar)
        assert (got.copy15, got.copy31, got.used) == (0, 0, 0)


def test_a_single_grey_level_undoes_a_copy(exemplar: np.ndarray) -> None:
    touched = exemplar.copy()
    touched[47, 40, 2] += 1 / 255
    got = score(touched, exemplar)
    assert got.copy15 == 1 - 15 * 15 / (82 * 66)
    assert got.copy31 == 1 - 31 * 31 / (66 * 50)
    assert got.used == pytest.approx(1 - 1 / exemplar[..., 0].size)


def test_windows_without_texture_do_not_count_as_copied() -> None:
    half = np.full((40, 60, 1), 100, np.uint8)
    assert copied_share(half, half, 15) == 0
    half[:, 40:] = (grain(40, 20, 1) * 255).astype(np.uint8)
    other = half.copy()
    other[:, 40:] = (grain(40, 20, 1, seed=4) * 255).astype(np.uint8)
    assert copied_share(half, half, 15) == 1
    assert copied_share(other, half, 15) == 0  # its verbatim windows are all flat
    assert 0.6 < used_share(other, half, 5) <= 41 / 60


# -------------------------------------------------------------------------------------------------- patch distances


def same_directions(generator: np.random.Generator, d: int) -> np.ndarray:
    directions = generator.standard_normal((d, texture.N_DIRECTIONS if d > 1 else 1))
    return directions / np.linalg.norm(directions, axis=0)


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("grey_levels", [1, 20])
def test_a_constant_shift_moves_every_projection_by_its_sum(n_channels: int, grey_levels: int) -> None:
    u, v = grain(64, 72, n_channels), grey_levels / 255
    got = score(u + v, u)
    generator = np.random.default_rng(0)
    per_level = [  # the same at every level, but for the directions
        math.sqrt(np.mean((v * same_directions(generator, 49 * n_channels).sum(0)) ** 2)) for _ in range(4)
    ]
    assert got.msw == pytest.approx(100 * np.mean(per_level), rel=1e-3)
    # over all directions the mean of (sum d)^2 is 1; 128 of them miss it by sqrt(2 / 128), its root by half of that
    assert got.msw == pytest.approx(100 * v, rel=0.15)
    assert got.colour == pytest.approx(100 * v, rel=1e-3 if n_channels == 1 else 0.15)
    assert got.sharp == pytest.approx(1, rel=1e-5)


def exact_w2(x: np.ndarray, y: np.ndarray) -> float:
    """1-D W2^2 by the solver of another house."""
    import ot

    return float(ot.emd2_1d(x.astype(np.float64), y.astype(np.float64), metric="sqeuclidean"))


@pytest.mark.parametrize("sizes", [((40, 50), (40, 50)), ((40, 50), (61, 33)), ((90, 90), (25, 30))])
def test_sliced_w2_of_grey_pixels_is_exact_transport_on_the_line(sizes: tuple) -> None:
    x, y = noise(*sizes[0], 1, 1) ** 2, 0.7 * noise(*sizes[1], 1, 2) + 0.1
    expected = math.sqrt(exact_w2(x.ravel(), y.ravel()))
    # 1024 mid-quantiles, interpolated: their spacing is some 1/1024 of the range
    assert sliced_w2(x, y, 1, rng()) == pytest.approx(expected, rel=5e-3)
    if sizes[0] == sizes[1]:
        by_sorting = math.sqrt(np.mean((np.sort(x.ravel()) - np.sort(y.ravel())) ** 2))
        assert expected == pytest.approx(by_sorting, rel=1e-6)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_sliced_w2_of_patches_is_the_mean_of_exact_transports(n_channels: int) -> None:
    x, y = noise(30, 33, n_channels, 1), 0.8 * noise(36, 28, n_channels, 2)
    directions = same_directions(rng(5), 9 * n_channels)

    def rows(u: np.ndarray) -> np.ndarray:
        at = itertools.product(range(u.shape[0] - 2), range(u.shape[1] - 2))
        return np.array([u[i : i + 3, j : j + 3].transpose(2, 0, 1).ravel() for i, j in at])

    exact = [exact_w2(a, b) for a, b in zip((rows(x) @ directions).T, (rows(y) @ directions).T, strict=True)]
    assert sliced_w2(x, y, 3, rng(5)) == pytest.approx(math.sqrt(np.mean(exact)), rel=0.01)


def test_sliced_w2_between_gaussians() -> None:
    x, y = rng(1).standard_normal((250, 250, 1)), 3 + 2 * rng(2).standard_normal((260, 240, 1))
    expected = math.sqrt(3**2 + (2 - 1) ** 2)
    assert sliced_w2(x.astype("f4"), y.astype("f4"), 1, rng()) == pytest.approx(expected, rel=0.01)


def test_patch_distance_is_symmetric_and_scales() -> None:
    a, b = grain(40, 50).astype("f4"), grain(45, 37, seed=1).astype("f4")
    assert patch_distance(a, b) == pytest.approx(patch_distance(b, a), rel=1e-6)
    assert patch_distance(3 * a, 3 * b) == pytest.approx(3 * patch_distance(a, b), rel=1e-4)
    assert patch_distance(a, b) < patch_distance(a, 0.5 * b)


def test_large_pictures_are_sampled_in_every_phase() -> None:
    """A checkerboard and a dither keep their patch law at any size: a regular grid of samples would see one phase."""
    board = (np.indices((331, 331)).sum(0) % 2)[..., None].astype(np.float64)
    dither = np.tile(np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 15, (83, 83))[
        :331, :331, None
    ]
    for u in (board, dither):
        assert 122 * 122 < texture.MAX_PATCHES < 325 * 325
        assert 100 * patch_distance(*(v.astype("f4") for v in (u, u[:128, :128]))) < 2
    strip = noise(3, 2 * texture.MAX_PATCHES)
    assert patch_distance(strip, strip) == 0


# ------------------------------------------------------------------------------------------------ crumbs and the door


@pytest.mark.parametrize(
    ("side", "none"),
    [
        (1, {"msw_floor", "copy15", "copy31", "rep", "sharp", "used"}),
        (5, {"msw_floor", "copy15", "copy31", "rep"}),
        (8, {"msw_floor", "copy15", "copy31", "rep"}),
        (14, {"copy15", "copy31", "rep"}),
        (15, {"copy31", "rep"}),
        (31, {"rep"}),
        (33, {"rep"}),
        (34, set()),
    ],
)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_small_pictures_leave_scores_out(side: int, none: set[str], n_channels: int) -> None:
    small, large = noise(side, side, n_channels), grain(40, 36, n_channels)
    assert {k for k, v in asdict(score(small, small)).items() if v is None} == none
    for got in (score(small, large), score(large, small)):
        values = asdict(got)
        assert {k for k in values if values[k] is None} - {"msw_floor"} == none - {"msw_floor"}
        assert all(math.isfinite(v) for v in values.values() if v is not None)
    assert score(small, large).msw_floor is not None  # it is the exemplar's


@pytest.mark.parametrize(
    ("out", "ex"), [((1, 40), (40, 40)), ((40, 1), (7, 50)), ((2, 3), (40, 2)), ((40, 40), (3, 99))]
)
def test_thin_pictures_do_not_crash(out: tuple[int, int], ex: tuple[int, int]) -> None:
    got = score(noise(*out, 3), noise(*ex, 3, 1))
    assert got.msw > 0
    assert got.rep is None
    assert (got.sharp is None) == (1 in (*out, *ex))


def test_the_door_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match=r"equally many channels, got \(9, 9, 3\) and \(9, 9, 4\)"):
        score(noise(9, 9, 3), noise(9, 9, 4))
    with pytest.raises(ValueError, match="equally many channels"):
        score(noise(9, 9, 1)[..., 0], noise(9, 9, 1))
    with pytest.raises(ValueError, match=r"floats in \[0, 1\], got uint8"):
        score((255 * noise(9, 9, 3)).astype(np.uint8), noise(9, 9, 3))
    with pytest.raises(ValueError, match="with pixels in them"):
        score(noise(0, 9, 3), noise(9, 9, 3))
    with pytest.raises(ValueError, match="NaN"):
        score(np.full((9, 9, 1), np.nan), noise(9, 9, 1))


def test_both_pictures_are_read_at_eight_bits(exemplar: np.ndarray) -> None:
    within = exemplar + 0.4 / 255 * rng(0).uniform(-1, 1, exemplar.shape)
    assert score(within, exemplar) == score(exemplar, exemplar) == score(exemplar.astype("f4"), within)


# --------------------------------------------------------------------------------------------------------- in writing


def test_every_score_is_printed_with_unit_and_ideal(exemplar: np.ndarray) -> None:
    got = score(exemplar, exemplar)
    rows = got.rows()
    assert [row.key for row in rows] == KEYS
    assert all(row.unit and row.ideal and row.meaning for row in rows)
    assert [row.value for row in rows] == list(asdict(got).values())
    lines = got.to_table().splitlines()
    for row, line in zip(rows, lines, strict=True):
        for part in (row.key, f" {row.value:.3f} ", row.unit, row.ideal, row.meaning):
            assert part in line
    assert lines[1].split()[:2] == ["msw_floor", f"{got.msw_floor:.3f}"]
    crumb = score(exemplar[:9, :9], exemplar[:9, :9]).to_table().splitlines()
    assert crumb[2].split()[:3] == ["copy15", "-", "share"]


def test_json_has_every_score_with_unit_and_ideal(exemplar: np.ndarray) -> None:
    for got in (score(exemplar, exemplar), score(exemplar[:4, :4], exemplar)):
        read = json.loads(got.to_json())
        assert {key: read[key] for key in KEYS} == asdict(got)
        assert read["units"] == {row.key: row.unit for row in got.rows()}
        assert read["ideals"] == {row.key: row.ideal for row in got.rows()}


def test_means_leave_out_what_is_missing() -> None:
    a = TextureScores(1, None, 0, 0.5, 0.1, 1.2, 3, 0.4)
    b = TextureScores(3, None, 1, None, 0.3, 0.8, 5, 0.6)
    got = mean_scores([a, b])
    assert list(got) == KEYS
    assert math.isnan(got.pop("msw_floor"))
    expected = {"msw": 2, "copy15": 0.5, "copy31": 0.5, "rep": 0.2, "sharp": 1, "colour": 4, "used": 0.5}
    assert got == pytest.approx(expected)
