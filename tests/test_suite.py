"""The texture suite: each score answers to the damage it is for, known answers, small and odd pictures."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from texsyn.images import InputError, load, to_unit
from texsyn.metrics import neighbour_field, patch_law, portilla, spectrum, suite, tiling
from texsyn.metrics.anchors import codes, halves, random_blocks, random_phase
from texsyn.metrics.neighbour_field import Coherence, coherence, field_of_map, nearest_field, self_field
from texsyn.metrics.suite import COLUMNS, Row, Suite
from texsyn.metrics.texture import sliced_w2
from texsyn.metrics.unmeasurable import Unmeasurable

N = 128
has_plenoptic = importlib.util.find_spec("plenoptic") is not None


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def coded(u: np.ndarray) -> np.ndarray:
    return (np.floor(np.clip(u, 0, 1) * 255 + 0.5) / 255).astype(np.float32)


def pebbles(n: int, seed: int) -> np.ndarray:
    """(n, n, 1) on a torus: flat spots of several sizes with soft shadows, outlines that phases can lose, and grain."""
    generator = rng(seed)
    u = np.full((n, n), 0.35)
    y, x = np.mgrid[:n, :n]
    for _ in range(n * n // 40):
        cy, cx, r, v = *generator.uniform(0, n, 2), generator.uniform(2, 5), generator.uniform(0.3, 0.8)
        dy, dx = (np.abs((a - c + n / 2) % n - n / 2) for a, c in ((y, cy), (x, cx)))
        inside = np.hypot(dy, dx)
        u = np.where(inside < r, v - 0.15 * (inside / r) ** 2, u)
    return coded(u + 0.006 * generator.standard_normal((n, n)))[..., None]


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    return to_unit(load("skimage:brick:512").pixels)


@pytest.fixture(scope="module")
def exemplar(wall: np.ndarray) -> np.ndarray:
    return wall[:N, :N]


@pytest.fixture(scope="module")
def judge(exemplar: np.ndarray) -> Suite:
    return Suite(exemplar)


@pytest.fixture(scope="module")
def rows(judge: Suite, wall: np.ndarray, exemplar: np.ndarray) -> dict[str, dict[str, Any]]:
    held = wall[256 : 256 + N, 256 : 256 + N]
    pictures = {
        "held": held,
        "rolled": np.roll(exemplar, (37, 50), (0, 1)),
        "tiled": np.tile(exemplar[:64, :64], (2, 2, 1)),
        "blocks 32": random_blocks(exemplar, 32, seed=3),
        "blur": gaussian_filter(held, (1.2, 1.2, 0)),
        "noise": held + 8 / 255 * rng(2).standard_normal(held.shape),
        "brighter": held + 10 / 255,
        "weaker": (held - held.mean()) * 0.7 + held.mean(),
        "shuffled": rng(4).permutation(held.reshape(-1, 1)).reshape(held.shape),
    }
    found = {name: judge.row(name, coded(u)) for name, u in pictures.items()} | {r.name: r for r in judge.anchor_rows()}
    return {name: row.values | {"flags": row.flags} for name, row in found.items()}


# ------------------------------------------------------------------------- every score answers to its damage (5.2)


def test_copying_shows_in_copy_and_side_and_in_nothing_else(rows: dict) -> None:
    held, rolled = rows["held"], rows["rolled"]
    assert held["copy"] < 15
    assert held["side"] < 8
    assert rolled["copy"] > 80
    assert rolled["side"] > 50
    assert (rows["exemplar"]["copy"], rows["exemplar"]["side"]) == (100, N - 8 + 4)
    assert held["side"] < rows["blocks 16 px"]["side"] < rows["blocks 32"]["side"] < rolled["side"] < N - 4
    for key in ("psw1", "spec", "psw_floor"):  # a copy looks better than an honest other part
        assert rolled[key] < held[key]


def test_tiling_shows_in_rep_and_self(rows: dict) -> None:
    assert rows["tiled"]["rep"] > 0.2  # walls repeat by themselves
    assert rows["tiled"]["self"] > 80
    assert abs(rows["held"]["rep"]) < 0.15
    assert rows["held"]["self"] < 10


def test_blur_shows_in_sharp_spectrum_and_recall_and_not_in_precision(rows: dict) -> None:
    blur, held = rows["blur"], rows["held"]
    assert blur["sharp"] < 0.8
    assert blur["octave"] < -6
    assert blur["spec"] > held["spec"] + 3
    assert blur["recall"] < held["recall"] - 15
    assert blur["precision"] > held["precision"] - 10


def test_noise_shows_in_sharp_and_precision(rows: dict) -> None:
    noise, held = rows["noise"], rows["held"]
    assert noise["sharp"] > 1.05
    assert noise["octave"] > 2
    assert noise["precision"] < held["precision"] - 20
    assert noise["recall"] > held["recall"] - 10


def test_another_brightness_shows_in_patch_and_colour_distance_alone(rows: dict) -> None:
    brighter, held = rows["brighter"], rows["held"]
    assert brighter["psw1"] > held["psw1"] + 4
    assert brighter["colour"] > held["colour"] + 5
    assert brighter["spec"] == pytest.approx(held["spec"], abs=0.1)
    assert brighter["sharp"] == pytest.approx(held["sharp"], rel=0.01)


def test_less_contrast_shows_in_sharp_and_recall(rows: dict) -> None:
    assert rows["weaker"]["sharp"] == pytest.approx(0.7 * rows["held"]["sharp"], rel=0.03)
    assert rows["weaker"]["recall"] < rows["held"]["recall"] - 10
    assert rows["weaker"]["psw1"] > rows["held"]["psw1"]


def test_lost_outlines_show_in_the_finest_patches_and_not_in_the_spectrum(rows: dict) -> None:
    phase, held = rows["random phase"], rows["held"]
    assert phase["psw1"] > 1.3 * held["psw1"]
    assert phase["spec"] < held["spec"]
    assert phase["copy"] < 10
    if has_plenoptic:
        assert phase["psz"] > 1.3 * held["psz"]
        assert rows["shuffled"]["psz"] > 3 > 2 * rows["exemplar"]["psz"]


def test_flags(rows: dict) -> None:
    expected = {
        "held": (), "held-out half": (), "noise": (), "exemplar": ("copying", "too close"), "blur": ("blurred",),
    }  # fmt: skip
    assert {name: rows[name]["flags"] for name in expected} == expected
    assert "copying" in rows["rolled"]["flags"]
    assert suite.flags_of(dict.fromkeys(COLUMNS)) == ()
    assert suite.flags_of({"copy": 30.1, "psw_floor": 0.5, "rep": 0.31, "sharp": 0.8}) == ("copying", "repeats")


def test_the_exemplar_itself_is_at_distance_zero(rows: dict) -> None:
    itself = rows["exemplar"]
    for key in ("psw1", "psw2", "psw4", "psw8", "psw_floor", "spec", "octave", "rep", "colour"):
        assert itself[key] == 0, key
    assert itself["sharp"] == 1
    assert rows["held-out half"]["psw_floor"] == 1  # by its definition


# ------------------------------------------------------------------------------------------------- known answers


def test_patch_distance_sees_a_step_of_grey_in_full_at_every_scale() -> None:
    u = coded(0.3 + 0.2 * rng().random((64, 72, 1)))
    got = patch_law.patch_distances(u, u + np.float32(10 / 255))
    generator, sums = rng(), []  # the directions that are used, and what a step of all pixels is along them
    for _ in range(4):
        d = generator.standard_normal((49, suite.Settings().n_directions))
        sums.append(math.sqrt(np.mean((d / np.linalg.norm(d, axis=0)).sum(0) ** 2)))
    assert got == pytest.approx([10 * s for s in sums], rel=1e-3)
    assert patch_law.patch_distances(u[:13, :20], u)[1:] == (None, None, None)  # 6 px at half resolution
    assert got[0] == pytest.approx(255 * sliced_w2(u, u + np.float32(10 / 255), 7, rng()), rel=1e-6)


def test_spectra_of_known_pictures() -> None:
    white = rng().standard_normal((256, 256)) * 0.1
    assert spectrum.power(white, 64).mean() == pytest.approx(0.01, rel=0.05)
    assert spectrum.spectrum_distance(2 * white, white, 64) == pytest.approx(20 * math.log10(2), abs=0.02)
    assert spectrum.top_octave(2 * white, white, 64) == pytest.approx(20 * math.log10(2), abs=0.02)
    assert spectrum.spectrum_distance(white + 0.2, white, 64) == pytest.approx(0, abs=1e-9)
    assert spectrum.spectrum_distance(np.full((64, 64), 0.3), np.full((64, 64), 0.8), 64) == 0
    other = (
        rng(1).standard_normal((128, 128)).cumsum(1) * 0.05
    )  # bins are centred on the axes: a mirror changes nothing
    for flip in (np.flipud, np.fliplr, np.transpose):
        turned = spectrum.spectrum_distance(flip(other), flip(white[:128, :128]), 64)
        assert turned == pytest.approx(spectrum.spectrum_distance(other, white[:128, :128], 64), rel=1e-6)
    f, level = spectrum.radial_curve(np.sin(2 * np.pi * np.arange(256) / 8)[None].repeat(256, 0), 64)
    assert f[level.argmax()] == 1 / 8
    assert [spectrum.window_for(n) for n in (16, 33, 64, 192, 255, 256)] == [16, 32, 64, 64, 64, 128]


def test_fields_find_what_was_put_there() -> None:
    ex = rng(1).integers(0, 256, (60, 70, 1)).astype(np.uint8)
    out = rng(2).integers(0, 256, (40, 48, 1)).astype(np.uint8)
    out[:20, :24] = ex[11:31, 5:29]
    d = nearest_field(out, ex).displacement
    assert d.shape == (9, 11, 2)
    assert (d[:4, :5] == (11, 5)).all()
    twice = np.tile(ex[:24, :24], (3, 3, 1))  # every patch is there again, 24 px away
    assert set(np.unique(np.abs(self_field(twice).displacement))) <= {0, 24, 48}
    with pytest.raises(Unmeasurable, match="16 px apart"):
        self_field(twice[:20, :20])


def test_self_field_is_the_nearest_of_the_far_patches_by_hand() -> None:
    u = rng(3).integers(0, 6, (44, 40, 1)).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(u[..., 0], (8, 8)).astype(int)
    got = self_field(u).source
    for i in range(got.shape[0]):
        for j in range(got.shape[1]):
            cost = np.square(windows - windows[4 * i, 4 * j]).sum((2, 3))
            y, x = np.mgrid[: cost.shape[0], : cost.shape[1]]
            cost[np.maximum(np.abs(y - 4 * i), np.abs(x - 4 * j)) < 16] = 1 << 40
            assert tuple(got[i, j]) == np.unravel_index(cost.argmin(), cost.shape)


def test_fields_are_the_same_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    ex = rng(5).integers(0, 4, (40, 50, 1)).astype(np.uint8)  # few values: many ties, which go to the first
    out = rng(6).integers(0, 4, (33, 41, 1)).astype(np.uint8)
    whole = nearest_field(out, ex).source, self_field(ex).source
    monkeypatch.setattr(neighbour_field, "BAND", 5 * 43 * 64)
    assert len(list(neighbour_field._bands(ex))) == 7
    bands = nearest_field(out, ex).source, self_field(ex).source
    assert all(np.array_equal(a, b) for a, b in zip(whole, bands, strict=True))


def test_large_pictures_are_searched_in_a_window_about_their_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    u = rng(4).integers(0, 256, (64, 80, 1)).astype(np.uint8)
    whole = nearest_field(u, u)
    for name in ("MOST_WORK", "MOST_SELF_WORK"):
        monkeypatch.setattr(neighbour_field, name, 64 * 80 * 64 * 8**2)
    part = nearest_field(u, u)
    assert part.source.shape == (8, 8, 2)
    assert (part.displacement == 0).all()
    assert (part.source == whole.source[part.top // 4 :, part.left // 4 :][:8, :8]).all()
    assert (self_field(u).source.shape) == (8, 8, 2)


def test_a_map_of_sources_is_read_as_it_is(judge: Suite, exemplar: np.ndarray) -> None:
    whole = np.stack(np.mgrid[:40, :48], -1).astype(np.int32)
    assert coherence(field_of_map(whole)) == Coherence(1, pytest.approx(4 * math.sqrt(9 * 11)))
    halved = whole.copy()
    halved[:, 24:] += (3, 9)  # between two grid columns: pieces of 5 and 6 columns, and 9 of 178 pairs apart
    got = coherence(field_of_map(halved))
    assert got.share == pytest.approx(1 - 9 / (8 * 11 + 9 * 10))
    assert got.side == pytest.approx(4 * math.sqrt((45**2 + 54**2) / 99))
    sheets = np.concatenate([whole, np.zeros((40, 48, 1), np.int32)], -1)
    assert coherence(field_of_map(sheets)).share == 1
    row = judge.row("made", exemplar[:40, :48][::-1], source=whole)  # what the map says, not what it looks like
    assert row.values["copy"] == 100
    with pytest.raises(InputError, match="another size"):
        judge.row("made", exemplar, source=whole)


def test_seams() -> None:
    torus = pebbles(64, 5)
    assert tiling.seam(torus, "xy") == pytest.approx(1, abs=0.6)
    assert tiling.seam(torus[:, :43], "x") > 2
    assert tiling.seam(torus[:, :43], "y") < 1.6
    assert tiling.seam(torus[:, :43], "xy") == tiling.seam(torus[:, :43], "x")
    ramp = np.broadcast_to(np.arange(10.0)[None, :, None], (5, 10, 1))
    assert tiling.seam(ramp, "x") == 9
    for u, tile, reason in ((torus, "none", "repeat"), (torus[:2], "y", "3 px"), (np.ones((9, 9, 1)), "x", "no step")):
        with pytest.raises(Unmeasurable, match=reason):
            tiling.seam(u, tile)


def test_diversity_of_equal_rolled_and_independent_pictures() -> None:
    ex = pebbles(64, 7)[..., 0]
    equal = tiling.diversity([ex] * 4, ex)
    rolled = tiling.diversity([np.roll(ex, (9 * i, 17 * i), (0, 1)) for i in range(4)], ex)
    independent = tiling.diversity([pebbles(64, 10 + i)[..., 0] for i in range(4)], ex)
    assert (equal.pixel, equal.shift) == pytest.approx((0, 0), abs=1e-6)
    assert rolled.pixel > 0.7  # no worse than independent ones
    assert rolled.shift == pytest.approx(0, abs=1e-6)
    assert independent.pixel > 0.7
    assert independent.shift > 0.6
    for pictures, reason in (([ex] * 3, "4 seeds, got 3"), ([ex, ex, ex, ex[1:]], "sizes"), ([ex * 0] * 4, "constant")):
        with pytest.raises(Unmeasurable, match=reason):
            tiling.diversity(pictures, ex)


def test_halves_leave_nothing_in_both() -> None:
    for shape in ((6, 7), (7, 6), (6, 6)):
        number = np.arange(shape[0] * shape[1]).reshape(*shape, 1)
        first, second = halves(number)
        assert first.shape == second.shape
        assert not set(first.ravel()) & set(second.ravel())
        assert first.size + second.size >= number.size - max(shape)


def test_anchors_are_what_they_say(exemplar: np.ndarray) -> None:
    ex = codes(exemplar)
    blocks = random_blocks(ex, 16, seed=1)
    assert blocks.shape == ex.shape
    where = nearest_field(blocks[16:32, 16:32], ex)
    assert coherence(where).share == 1
    phase = random_phase(ex, seed=0)
    assert phase.dtype == np.uint8
    assert phase.mean() == pytest.approx(ex.mean(), abs=1)
    assert not np.array_equal(phase, random_phase(ex, seed=1))


# ----------------------------------------------------------------------------------- small, constant, odd pictures


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 3), (8, 8, 1), (15, 40, 3), (24, 24, 4), (33, 34, 2)])
def test_small_pictures_lose_scores_and_say_why(shape: tuple[int, int, int]) -> None:
    u = rng().random(shape)
    for row in suite.suite(u, u, alpha=shape[2] in (2, 4)):
        assert_whole(row)
    for out, ex in ((u, rng(1).random((50, 40, shape[2]))), (rng(1).random((50, 40, shape[2])), u)):
        assert_whole(suite.suite(out, ex)[0])


def assert_whole(row: Row) -> None:
    """Every column is a finite number, or None with a reason."""
    assert list(row.values) == list(COLUMNS)
    assert all(math.isfinite(v) for v in row.values.values() if v is not None)
    assert {key for key, v in row.values.items() if v is None} == set(row.missing)
    assert all(len(reason) > 10 for reason in row.missing.values()), row.missing


def test_constant_pictures(judge: Suite) -> None:
    grey = np.full((64, 64, 1), 0.5, np.float32)
    rows = suite.suite(grey, grey)
    for row in rows:
        assert_whole(row)
    itself = next(row for row in rows if row.name == "exemplar").values
    assert (itself["psw1"], itself["spec"], itself["rep"], itself["sharp"], itself["psz"]) == (0, 0, 0, None, None)
    assert rows[0].values["psw8"] == 0
    assert "halves equal" in rows[0].missing["psw_floor"]
    flat = judge.row("flat", grey)
    assert_whole(flat)
    assert flat.values["sharp"] == 0
    assert "blurred" in flat.flags
    assert flat.values["spec"] > 20


def test_larger_pictures_are_judged_in_parts_of_the_exemplars_size(judge: Suite, wall: np.ndarray) -> None:
    row = judge.row("four times as large", wall[: 2 * N, : 2 * N])
    assert_whole(row)
    assert set(row.missing) <= {
        "seam",
        "div_pixel",
        "div_shift",
        "psz",
        "ot_lower",
        "ot_upper",
        "ot_sampling",
        "ot_floor",
    }
    assert 20 < row.values["copy"] < 40  # a quarter of it is the exemplar
    assert row.values["sharp"] == pytest.approx(1, abs=0.1)


def test_alpha_hides_colours_that_nobody_sees() -> None:
    u = coded(rng().random((48, 48, 4)))
    u[:24, :, 3] = 0
    other = u.copy()
    other[:24, :, :3] = 0.9
    row = suite.suite(other, u, alpha=True)[0].values
    assert (row["psw1"], row["colour"], row["sharp"], row["spec"]) == (0, 0, 1, 0)
    assert suite.suite(other, u)[0].values["psw1"] > 10  # four channels that are no opacity


def test_grey_copies_in_three_channels_score_alike(exemplar: np.ndarray) -> None:
    grey = Suite(exemplar).row("grey", np.roll(exemplar, 9, 0)).values
    three = Suite(exemplar.repeat(3, 2)).row("rgb", np.roll(exemplar, 9, 0).repeat(3, 2)).values
    for key in ("spec", "octave", "rep", "copy", "side", "self", "sharp"):
        assert three[key] == pytest.approx(grey[key], abs=1e-4), key


def test_the_door_refuses(judge: Suite, exemplar: np.ndarray) -> None:
    for bad in (np.nan, np.inf):
        broken = exemplar.copy()
        broken[3, 4] = bad
        with pytest.raises(InputError, match="out: has a NaN"):
            judge.row("out", broken)
        with pytest.raises(InputError, match="the exemplar: has a NaN"):
            Suite(broken)
    with pytest.raises(InputError, match="out has 3 channels and the exemplar has 1"):
        judge.row("out", exemplar.repeat(3, 2))
    for shape in ((4, 4), (0, 4, 1)):
        with pytest.raises(InputError, match="floats of shape"):
            judge.row("out", np.ones(shape))
    with pytest.raises(InputError, match="uint8"):
        judge.row("out", (exemplar * 255).astype(np.uint8))


def test_portilla_statistics_in_groups(exemplar: np.ndarray) -> None:
    pytest.importorskip("plenoptic")
    light, generator = exemplar[..., 0], rng(8)
    shuffled = generator.permutation(light.ravel()).reshape(light.shape)
    found, itself = portilla.portilla(shuffled, light, 64, 3), portilla.portilla(light, light, 64, 3)
    assert set(found.groups) == set(portilla.GROUPS)
    assert all(found.groups[name] > 2 * itself.groups[name] for name in ("autocorrelation", "magnitudes"))
    assert found.z > 3 * itself.z
    assert [part.shape for part in portilla.tiles(np.zeros((100, 250)), (64, 64))] == [(64, 64)] * 3
    assert [portilla.crop_for(n, n // 2) for n in (64, 128, 192, 256)] == [(32, 2), (64, 3), (96, 3), (128, 4)]
    with pytest.raises(Unmeasurable, match="32 px"):
        portilla.crop_for(40, 20)


def test_without_plenoptic_ps_z_says_how_to_get_it(
    judge: Suite, exemplar: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "plenoptic.models", None)
    row = judge.row("out", exemplar)
    assert row.values["psz"] is None
    assert "texsyn[eval-ps]" in row.missing["psz"]


def test_rows_are_the_same_again(judge: Suite, exemplar: np.ndarray) -> None:
    again = Suite(exemplar)
    assert again.settings == judge.settings
    assert [r.values for r in again.anchor_rows()] == [r.values for r in judge.anchor_rows()]


def test_every_score_is_shown_with_unit_and_ideal(judge: Suite, exemplar: np.ndarray) -> None:
    row = judge.row("blue\x1b grass", exemplar, tile="xy")
    scores = row.scores()
    assert [s.key for s in scores] == list(COLUMNS)
    assert all(s.unit and s.ideal and s.meaning for s in scores)
    lines = suite.table([row, *judge.anchor_rows()]).splitlines()
    assert len(lines) == 2 + 5
    assert "SEAM" in lines[0]
    assert lines[2].endswith("copying, too close")


def test_tables_have_the_columns_that_outputs_have(judge: Suite, exemplar: np.ndarray) -> None:
    """Four seeds are asked of every exemplar's anchors, and of a picture only when it has them."""
    row, anchors = judge.row("grass", exemplar), judge.anchor_rows()
    assert anchors[2].values["div_pixel"] is not None
    assert "DIV" not in suite.table([row, *anchors])
    assert "DIV" in suite.table(anchors)
    assert suite.columns_of([row]) == suite.columns_of([*anchors, row]) == [k for k in COLUMNS if k not in row.missing]
    assert [suite.arrow(key) for key in ("spec", "recall", "sharp", "ot_sampling")] == ["↓", "↑", "→1", ""]
