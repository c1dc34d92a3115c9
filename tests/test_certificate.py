"""Certificates: intervals that hold the exact transport cost, whatever the search did; and their verb."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import texsyn.cli.verify  # noqa: F401 (registers the verb)
from texsyn.cli import main
from texsyn.images import Picture, save
from texsyn.metrics import certificate as module
from texsyn.metrics.certificate import certificate
from texsyn.metrics.texture import sliced_w2
from texsyn.ot.auction import (
    NOTHING,
    _auction,
    _complete,
    _lists,
    _refresh,
    dual_value,
    interval,
    plan_cost,
    problem,
)

SIX = 2e-6  # bounds are rounded outward to six decimals


def cloud(n: int, d: int = 4, seed: int = 0, spread: float = 20.0) -> np.ndarray:
    draws = np.random.default_rng(seed).standard_normal((n, d)) * spread
    return np.clip(np.rint(draws), -128, 127).astype(np.int8)


def grain(h: int, w: int, n_channels: int = 1, seed: int = 0) -> np.ndarray:
    """A texture of whole 8-bit codes between 0.2 and 0.7, as floats."""
    u = np.random.default_rng(seed).standard_normal((h, w, n_channels))
    for axis in (0, 1):
        u = u + np.roll(u, 1, axis)
    return np.rint(np.clip(0.45 + 0.06 * u, 0.2, 0.7) * 255) / 255


def exact(x: np.ndarray, y: np.ndarray) -> float:
    """W2^2 by POT's network simplex."""
    ot = pytest.importorskip("ot")
    cost = np.square(x[:, None].astype(float) - y[None].astype(float)).sum(2)
    a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
    plan, log = ot.emd(a, b, cost, log=True, numItermax=10**6)
    assert log["warning"] is None
    assert np.allclose(plan.sum(1), a)
    return float((plan * cost).sum())


# ---- clouds


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (7, 1), (40, 40), (60, 35), (31, 97), (500, 200)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_exact_cost_lies_in_the_interval(n: int, m: int, seed: int) -> None:
    x, y = cloud(n, seed=seed), cloud(m, seed=seed + 10, spread=30)
    lower, upper = interval(x, y)
    w2 = exact(x, y)
    assert float(lower) <= w2 * (1 + 1e-9)
    assert w2 <= float(upper) * (1 + 1e-9)
    assert upper - lower <= Fraction(2, 100) * upper


def test_the_interval_is_tight_where_candidates_are_few_of_many() -> None:
    x, y = cloud(2500, 9, seed=0), cloud(1500, 9, seed=1)
    lower, upper = interval(x, y)
    assert float(lower) <= exact(x, y) <= float(upper)
    assert upper - lower <= Fraction(2, 100) * upper


def test_two_clusters_of_unequal_shares() -> None:
    """The mass that changes cluster costs a hundred times what stays: bricks and mortar."""
    at = np.array([[-90] * 6, [90] * 6])
    rng = np.random.default_rng(0)
    x, y = (
        np.clip(at[(rng.random(n) < share).astype(int)] + np.rint(3 * rng.standard_normal((n, 6))), -128, 127)
        for n, share in ((1800, 0.30), (1500, 0.27))
    )
    x, y = x.astype(np.int8), y.astype(np.int8)
    lower, upper = interval(x, y)
    assert float(lower) <= exact(x, y) <= float(upper)
    assert upper - lower <= Fraction(5, 100) * upper


@pytest.mark.parametrize("seed", range(4))
def test_any_potential_gives_a_lower_bound(seed: int) -> None:
    x, y = cloud(80, seed=seed), cloud(50, seed=seed + 5)
    p, w2 = problem(x, y), exact(x, y)
    rng = np.random.default_rng(seed)
    for size in (0, 10, 1000, p.largest // p.unit):
        psi = rng.integers(-size, size + 1, len(p.y)) * p.unit
        assert float(dual_value(p, psi)) <= w2


def test_the_dual_value_is_exact() -> None:
    """Against integers of any size, at the longest patches and the widest potentials too."""
    for d, seed in ((1, 0), (25, 1), (300, 2), (511, 3)):
        rng = np.random.default_rng(seed)
        x, y = (rng.integers(-128, 128, (n, d)).astype(np.int8) for n in (20, 30))
        p = problem(x, y)
        psi = rng.integers(-p.largest, p.largest + 1, len(p.y))
        cost = np.square(p.x[:, None].astype(np.int64) - p.y.astype(np.int64)).sum(2) * p.unit
        by_hand = Fraction(int((p.a * (cost - psi).min(1)).sum() + (p.b * psi).sum()), p.total * p.unit)
        assert (p.margin > 0) == (d == 511)
        assert by_hand - Fraction(p.margin, p.unit) <= dual_value(p, psi) <= by_hand


def test_a_potential_out_of_reach_is_refused() -> None:
    p = problem(cloud(5), cloud(4, seed=1))
    with pytest.raises(ValueError, match="psi"):
        dual_value(p, np.full(4, p.largest + 1))


def test_couplings_that_do_not_balance_are_refused() -> None:
    p = problem(cloud(4, seed=0), cloud(4, seed=1))
    every, ones = np.arange(4), np.ones(4, np.int64)
    assert plan_cost(p, every, every, ones) >= dual_value(p, np.zeros(4, np.int64))
    for i, j, mass in ((every, every[::-1] // 2, ones), (every, every, 2 * ones), (every[:3], every[:3], ones[:3])):
        with pytest.raises(ValueError, match="marginals"):
            plan_cost(p, i, j, mass)


def test_the_coupling_has_exact_marginals_however_the_auction_ended() -> None:
    p = problem(cloud(120, seed=0), cloud(77, seed=1))
    found = np.tile(np.arange(3, dtype=np.int32), (120, 1))  # everybody wants the same three
    cost = np.square(p.x[:, None].astype(np.int64) - p.y[:3].astype(np.int64)).sum(2) * p.unit
    for n_bids in (0, 10, 100_000):
        atoms, costs = _lists(120, 4)
        _refresh(atoms, costs, found, cost, np.zeros(77, np.int64))
        price, rest, room = np.zeros(77, np.int64), p.a.copy(), p.b.copy()
        limit = np.full(120, 10**6)
        pieces = _auction(atoms, costs, rest, room, price, limit, NOTHING, 5, n_bids, 0)
        assert rest.sum() == room.sum() == p.total - pieces[2].sum()
        assert (room >= 0).all()
        assert float(plan_cost(p, *_complete(p, price, pieces, rest, room))) >= 0  # it raises if they are not


def test_the_cost_is_symmetric() -> None:
    x, y = cloud(150, seed=0), cloud(90, seed=1)
    (low, high), (low_too, high_too) = interval(x, y, tol=0.001), interval(y, x, tol=0.001)
    assert low <= high_too
    assert low_too <= high


def test_clouds_are_checked() -> None:
    for x, y in ((cloud(3), cloud(3, 5)), (cloud(3).astype(float), cloud(3)), (cloud(3)[:0], cloud(3))):
        with pytest.raises(ValueError, match="int8"):
            interval(x, y)
    with pytest.raises(ValueError, match="512"):
        interval(cloud(3, 512), cloud(3, 512))


# ---- pictures


@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_picture_is_at_no_distance_from_itself(n_channels: int) -> None:
    u = grain(40, 48, n_channels)
    found = certificate(u, u, levels=3)
    assert [(s.out.lower, s.out.upper) for s in found.levels] == [(0, 0)] * 3
    assert [s.out.n for s in found.levels] == [36 * 44, 16 * 20, 6 * 8]
    assert (found.upper, found.lower) == (0, 0)


@pytest.mark.parametrize("codes", [1, 7, 40])
def test_a_brighter_picture_is_at_the_difference(codes: int) -> None:
    u = grain(48, 40)
    found = certificate(u + codes / 255, u, levels=3)
    for s in found.levels:
        assert s.out.lower <= 100 * codes / 255 + SIX
        assert s.out.upper >= 100 * codes / 255 - SIX
        assert s.out.width < 0.02


def test_flat_pictures() -> None:
    black, grey = np.zeros((20, 20, 3)), np.full((30, 30, 3), 51 / 255)
    for s in certificate(grey, black, levels=2).levels:
        assert s.out.lower == pytest.approx(20, abs=SIX)
        assert s.out.upper == pytest.approx(20, abs=SIX)
        assert s.floor is not None
        assert s.floor.upper == 0
    noise = grain(30, 30, 3)
    (level,) = certificate(grey, noise, levels=1).levels
    patches = module._patches(np.rint(noise * 255).astype(np.int16), 5, 1, 0)
    by_hand = 100 / 255 * math.sqrt(np.square(patches - 51.0).mean())  # one point: every coupling is the best
    assert level.out.lower <= by_hand + SIX
    assert level.out.upper == pytest.approx(by_hand, abs=SIX)
    assert level.out.width <= 0.02


def test_the_sliced_distance_is_not_above_it() -> None:
    u, v = grain(40, 40, 1, 0), grain(60, 50, 1, 1) ** 1.2
    v = np.rint(v * 255) / 255
    (level,) = certificate(v, u, levels=1).levels
    sliced = 100 * sliced_w2(v.astype("f4"), u.astype("f4"), 5, np.random.default_rng(0))
    assert sliced <= 1.02 * level.out.upper  # 128 directions stand for all, quantiles for both laws
    assert level.floor is not None
    assert 0 < level.floor.lower <= level.floor.upper


def test_many_patches_are_thinned_and_that_is_said() -> None:
    u, v = grain(40, 44), grain(70, 60, seed=1)
    found = certificate(v, u, levels=2, max_pairs=250_000)
    fine, coarse = (s.out for s in found.levels)
    assert (fine.n_all, fine.m_all) == (66 * 56, 36 * 40)
    assert fine.n < fine.n_all
    assert fine.n * fine.m <= 250_000
    assert (coarse.n, coarse.m) == (coarse.n_all, coarse.m_all)
    table = found.to_table()
    assert f"{fine.n} of {fine.n_all}" in table
    assert f"all {coarse.n}" in table


def test_levels_that_are_too_small_are_left_out() -> None:
    assert [s.level for s in certificate(grain(30, 12), grain(40, 40), levels=4).levels] == [0, 1]
    (level,) = certificate(grain(5, 5), grain(5, 5, seed=1), levels=4).levels
    assert (level.out.n, level.out.m, level.floor) == (1, 1, None)


def test_answers_are_the_same_again() -> None:
    u, v = grain(40, 40), grain(60, 50, seed=1)
    assert certificate(v, u, levels=2) == certificate(v, u, levels=2)


def test_what_cannot_be_certified_is_refused() -> None:
    u = grain(20, 20, 3)
    for out, ex, options, word in (
        (u[..., :1], u, {}, "channels"),
        (u[:4], u, {}, "patch_size"),
        (u[:0], u, {}, "patch_size"),
        (np.zeros((9, 9, 3), np.uint8), u, {}, "floats"),
        (u, u, {"levels": 0}, "levels"),
        (u, u, {"levels": 7}, "levels"),
        (u, u, {"patch_size": 14}, "588"),
        (u, u, {"patch_size": 0}, "patch_size"),
        (u, u, {"tol": 0.0}, "tol"),
        (u, u, {"max_pairs": 0}, "max_pairs"),
    ):
        with pytest.raises(ValueError, match=word):
            certificate(out, ex, **options)


# ---- the verb

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name, u in (("ex", grain(40, 40)), ("out", grain(50, 60, seed=1) * 0.8), ("rgb", grain(20, 20, 3))):
        save(Picture(np.rint(u * 255).astype(np.uint8), "L" if u.shape[2] == 1 else "RGB"), f"{name}.png")
    save(Picture(np.zeros((3, 3, 1), np.uint8), "L"), "tiny.png")

    def call(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["verify", *args])
        out, err = capfd.readouterr()
        lines = [line for line in err.splitlines() if "compiling loops" not in line]
        return int(stop.value.code or 0), out, "\n".join(lines)

    return call


def test_verify_prints_a_table_or_one_object(run: Run) -> None:
    code, table, err = run("out.png", "--exemplar", "ex.png", "--levels", "2")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in table.splitlines()[:3]] == ["level", "0", "1"]
    code, text, err = run("out.png", "--exemplar", "ex.png", "--levels", "2", "--json")
    found = json.loads(text)
    assert text.count("\n") == 1
    assert found["unit"]
    assert [s["level"] for s in found["levels"]] == [0, 1]
    assert found["upper"] == max(s["upper"] for s in found["levels"])
    assert all(s["lower"] <= s["upper"] for s in found["levels"])
    assert run("out.png", "--exemplar", "ex.png", "--levels", "2", "--json")[1] == text


def test_verify_fails_above_the_largest_distance_allowed(run: Run) -> None:
    asked = ("out.png", "--exemplar", "ex.png", "--levels", "2", "--json")
    found = json.loads(run(*asked)[1])
    assert run(*asked, "--max", str(found["upper"]))[0] == 0
    code, text, err = run(*asked, "--max", str(found["lower"] / 10))
    assert code == 1
    assert json.loads(text) == found
    assert "level 0 is above, level 1 is above" in err
    code, _, err = run(*asked, "--max", str(found["upper"] - 1e-6))
    assert code == 1
    assert "may be above" in err


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (("rgb.png", "--exemplar", "ex.png"), 3, "channels"),
        (("tiny.png", "--exemplar", "ex.png"), 3, "tiny.png"),
        (("ex.png", "--exemplar", "tiny.png"), 3, "tiny.png"),
        (("missing.png", "--exemplar", "ex.png"), 3, "missing.png"),
        (("ex.png",), 2, "--exemplar"),
        (("ex.png", "--exemplar", "ex.png", "--max", "nan"), 2, "--max"),
        (("ex.png", "--exemplar", "ex.png", "--max=-1"), 2, "--max"),
        (("ex.png", "--exemplar", "ex.png", "--levels", "0"), 2, "--levels"),
        (("ex.png", "--exemplar", "ex.png", "--patch-size", "30"), 2, "--patch-size"),
    ],
)
def test_verify_refusals(run: Run, args: tuple[str, ...], code: int, word: str) -> None:
    got, out, err = run(*args)
    assert (got, out) == (code, "")
    assert word in err
    assert len(err.splitlines()) == 1
