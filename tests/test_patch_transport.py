"""Patch transport: both bounds against answers known by hand and against POT; what is held out; the verb's columns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from texsyn.cli import main
from texsyn.images import Picture, save
from texsyn.metrics import patch_transport as module
from texsyn.metrics.patch_transport import MIXES, Bracket, Knobs, patch_transport, transport_floors
from texsyn.metrics.suite import COLUMNS, Suite, table
from texsyn.metrics.unmeasurable import Unmeasurable

QUICK = Knobs(n_patches=200, n_solved=200, n_fitted=500, n_held_out=800)


def grain(h: int, w: int, n_channels: int = 1, seed: int = 0) -> np.ndarray:
    """A texture of whole 8-bit codes between 0.2 and 0.8, as floats."""
    u = np.random.default_rng(seed).standard_normal((h, w, n_channels))
    for axis in (0, 1):
        u = u + np.roll(u, 1, axis)
    return np.rint(np.clip(0.5 + 0.06 * u, 0.2, 0.8) * 255) / 255


def finest(out: np.ndarray, ex: np.ndarray, seed: int = 0) -> Bracket:
    return module._bracket(module._scales(out)[0], module._scales(ex)[0], 200, seed, QUICK)


def patches(u: np.ndarray) -> np.ndarray:
    codes = module._scales(u)[0]
    return module._at(codes, np.arange(module._count(codes)))


def exact(x: np.ndarray, y: np.ndarray) -> float:
    """W2^2 / d between the rows, by POT's network simplex."""
    ot = pytest.importorskip("ot")
    cost = np.square(x[:, None].astype(float) - y[None].astype(float)).sum(2) / x.shape[1]
    a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
    return float(ot.emd2(a, b, cost, numItermax=10**6))


# ------------------------------------------------------------------------------------------------- known answers


@pytest.mark.parametrize("codes", [1, 10, 40])
def test_flat_pictures_are_at_their_difference_and_at_no_other(codes: int) -> None:
    black = np.zeros((40, 44, 1))
    for level in patch_transport(black + codes / 255, black, knobs=QUICK)[:2]:
        assert level is not None
        assert (level.out.lower, level.out.lower_squared_error) == pytest.approx((codes, 0), abs=1e-3)
        assert (level.out.upper, level.floor.sampling) == (codes, 0)
        assert level.floor.halves is not None
        assert (level.floor.halves.lower, level.floor.halves.upper) == (0, 0)


@pytest.mark.parametrize("codes", [-20, 5, 20])
def test_a_brighter_picture_is_at_the_difference(codes: int) -> None:
    u = grain(80, 80)
    for level in patch_transport(u + codes / 255, u, knobs=QUICK)[:2]:
        assert level is not None
        out, sampling = level.out, level.floor.sampling
        assert abs(out.lower_squared - codes**2) <= 3 * out.lower_squared_error + 0.03 * codes**2
        assert abs(codes) <= out.upper <= math.hypot(codes, 1.1 * sampling)


def test_a_picture_is_no_distance_from_itself_but_a_sample_is() -> None:
    u = grain(80, 80)
    for level in patch_transport(u, u, knobs=QUICK)[:3]:
        assert level is not None
        assert level.out.lower_squared <= 3 * level.out.lower_squared_error
        assert 0.6 * level.floor.sampling < level.out.upper < 1.1 * level.floor.sampling


def test_from_one_colour_every_coupling_costs_the_same() -> None:
    grey, noise = np.full((60, 60, 1), 0.4), grain(90, 90)
    by_hand = float(np.square(patches(noise) - float(patches(grey)[0, 0])).mean())
    found = finest(noise, grey)
    assert found.lower_squared == pytest.approx(by_hand, abs=3 * found.lower_squared_error)
    assert 0 < found.lower_squared_error < 0.1 * by_hand
    assert found.upper == pytest.approx(math.sqrt(by_hand), rel=0.05)


def test_two_colours_in_other_shares_are_bounded_tightly() -> None:
    """A third of black changed to white: W2^2 is a third of 100^2. The nearest neighbour alone would say 0."""
    columns = np.arange(96) // 12
    ex = np.where(columns % 2 == 0, 0, 100 / 255) * np.ones((40, 1))
    out = np.where(columns % 6 == 0, 0, 100 / 255) * np.ones((40, 1))
    found = finest(out[..., None], ex[..., None])
    share = exact(patches(out[::4, :, None]), patches(ex[::4, :, None]))
    assert found.mix != MIXES[0]
    assert found.lower_squared - 2 * found.lower_squared_error <= share
    assert found.lower_squared > 0.3 * share
    assert found.upper**2 > 0.9 * share


def test_equal_halves_are_no_distance_apart() -> None:
    u = grain(48, 48)
    for floor in transport_floors(np.concatenate([u, u], 1), knobs=QUICK)[:2]:
        assert floor is not None
        assert floor.halves is not None
        assert floor.halves.lower == 0
        assert floor.sampling > 0


# ------------------------------------------------------------------------------------------------- against POT


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_cost_between_all_patches_lies_between(seed: int) -> None:
    ex, out = grain(26, 28, seed=seed), grain(28, 26, seed=seed + 10) ** 1.2
    found, w2 = finest(out, ex, seed), exact(patches(out), patches(ex))
    assert 0 < found.lower_squared - 2 * found.lower_squared_error <= w2
    assert w2 <= found.upper**2
    assert found.n < found.n_atoms == len(patches(ex))


def test_the_assignment_is_the_exact_one() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.permutation(patches(grain(40, 40, seed=s)))[:200] for s in (0, 1))
    assert module._assigned(x, y, 1e-9) == pytest.approx(math.sqrt(exact(x, y)), rel=1e-6)
    assert math.sqrt(exact(x, y)) <= module._assigned(x, y, 0.02) <= 1.011 * math.sqrt(exact(x, y))


@pytest.mark.parametrize("size", [0, 10, 1e3, 1e5])
def test_any_potential_gives_a_lower_bound(size: float) -> None:
    x, y = patches(grain(22, 24)), patches(grain(24, 22, seed=1))
    for seed in range(3):
        psi = size * torch.randn(len(x), generator=torch.Generator().manual_seed(seed))
        value = module._values(module._floats(x), psi, module._floats(y)).mean() / 49
        assert value <= exact(x, y) + 1e-6 * max(1, size)
        raised = module._values(module._floats(x), psi + 1000, module._floats(y)).mean() / 49  # a constant is nothing
        assert raised == pytest.approx(value, rel=1e-4, abs=1e-4 * max(1, size))


def test_the_potential_of_a_shift_undoes_it_where_the_nearest_neighbour_does_not() -> None:
    """Of points in a row, moved by 10: nearest neighbours are 0 away but for the end; all are 10 away."""
    x = torch.arange(200.0)[:, None]
    y = x + 10
    shift, _ = module._potentials(x, y, np.random.default_rng(0), 0, QUICK)
    assert module._values(x, shift, y).mean() == pytest.approx(100, abs=1e-2)
    assert module._values(x, 0 * shift, y).mean() < 3


def test_patches_that_the_potential_was_fitted_to_flatter() -> None:
    """Why patches are held out: on its own patches psi says more than on others of the same law."""
    x, y, other = (module._floats(patches(grain(40, 40, seed=s))) for s in (0, 1, 2))
    _, psi = module._potentials(x, y, np.random.default_rng(0), 0, QUICK)
    own, others = ((module._values(x, psi, u) - module._values(x, 0 * psi, u)).mean() for u in (y, other))
    assert own > 0
    assert own > others + 500


# ------------------------------------------------------------------------------------------------- what is held out


def test_the_estimate_is_made_of_none_of_the_patches_that_chose_the_potential(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[bytes]] = []
    potentials, values = module._potentials, module._values

    def rows(y: torch.Tensor) -> set[bytes]:
        return {row.tobytes() for row in y.numpy()}

    def fit(x: torch.Tensor, y: torch.Tensor, *rest: Any) -> Any:
        seen.append(rows(y))
        return potentials(x, y, *rest)

    def evaluate(x: torch.Tensor, psi: torch.Tensor, y: torch.Tensor) -> np.ndarray:
        seen.append(rows(y))
        return values(x, psi, y)

    monkeypatch.setattr(module, "_potentials", fit)
    monkeypatch.setattr(module, "_values", evaluate)
    found = finest(grain(60, 60), grain(50, 50, seed=1))  # no two patches of noise are equal
    *before, held = seen
    assert len(before) == 1 + len(MIXES)
    assert len(held) == found.n_held_out
    assert not any(held & other for other in before)
    assert not before[0] & before[1]


@pytest.mark.parametrize(("height", "width"), [(186, 186), (90, 250), (42, 42), (18, 18), (4, 4), (4, 400)])
def test_held_out_patches_are_others_and_lie_elsewhere(height: int, width: int) -> None:
    fit, choose, hold = module._parts(height, width, np.random.default_rng(0))
    assert len({*fit, *choose, *hold}) == len(fit) + len(choose) + len(hold)
    cells = module._cells(height, width)
    for a, b in ((fit, hold), (choose, hold), (fit, choose)):
        assert not set(cells[a]) & set(cells[b])
    assert min(len(set(cells[part])) for part in (fit, choose)) >= 4
    assert len(set(cells[hold])) >= 8
    if min(height, width) >= 8 * 20:  # cells wide enough for margins: no pixel is in a patch of both
        gap = np.abs(fit[:, None] // width - hold // width), np.abs(fit[:, None] % width - hold % width)
        assert np.maximum(*gap).min() >= module.PATCH


def test_the_error_counts_cells_and_not_patches() -> None:
    cells = np.repeat(np.arange(12), 30)
    of_cells = np.random.default_rng(0).standard_normal(12)
    mean, error, n = module._by_cells(of_cells[cells], cells)
    assert (mean, n) == (pytest.approx(of_cells.mean()), 12)
    assert error == pytest.approx(of_cells.std(ddof=1) / math.sqrt(12))


@pytest.mark.slow
def test_the_error_is_that_of_other_pictures() -> None:
    """Over pictures of one law the estimate varies as its standard error says, within a factor of two."""
    ex = grain(64, 64)
    found = [finest(grain(64, 64, seed=s), ex) for s in range(1, 13)]
    spread = np.std([b.lower_squared for b in found], ddof=1)
    assert 0.5 < spread / np.mean([b.lower_squared_error for b in found]) < 2


def test_many_atoms_are_thinned_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ATOMS", 1000)
    found = finest(grain(64, 64, seed=1), grain(64, 70))
    assert found.n_atoms <= 1000 < found.of_atoms == 58 * 64
    assert found.lower <= found.upper
    assert found.to_dict()["atoms"] == found.n_atoms


def test_answers_are_the_same_again_and_the_global_stream_is_left_alone() -> None:
    u, v = grain(30, 32), grain(36, 28, seed=1)
    state = torch.random.get_rng_state()
    found = patch_transport(v, u, knobs=QUICK)
    assert found == patch_transport(v, u, knobs=QUICK, floors=transport_floors(u, knobs=QUICK))
    assert found != patch_transport(v, u, knobs=QUICK, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)


# ------------------------------------------------------------------------------------------------- the corners


def test_scales_that_are_too_small_are_none() -> None:
    u = grain(48, 40)
    assert [level and level.scale for level in patch_transport(u, u, knobs=QUICK)] == [1, 2, 4, None]
    assert patch_transport(u[:9], u, knobs=QUICK) == (None,) * 4
    assert patch_transport(u[:12, :12], u, knobs=QUICK)[0] is None  # 36 patches, where the exemplar's n is 200
    narrow = transport_floors(u[:, :18], knobs=QUICK)[0]
    assert narrow is not None
    assert narrow.halves is not None  # across the longer side
    assert transport_floors(u[:18, :18], knobs=QUICK)[0].halves is None  # type: ignore[union-attr]


def test_colours_are_transported_together() -> None:
    u = grain(40, 40, 3)
    assert finest(u + np.array([0, 0, 30 / 255]), u).lower == pytest.approx(30 / math.sqrt(3), rel=0.1)


def test_what_cannot_be_transported_is_refused() -> None:
    u = grain(20, 20, 3)
    for out, ex, word in (
        (u[..., :1], u, "channels"),
        (u[:, :, 0], u[:, :, 0], "channels"),
        (u[:0], u, "channels"),
        (np.zeros((20, 20, 3), np.uint8), u, "floats"),
        (u * np.nan, u, "NaN"),
    ):
        with pytest.raises(ValueError, match=word):
            patch_transport(out, ex)
    with pytest.raises(Unmeasurable, match="at most 10 channels, got 11"):
        transport_floors(grain(20, 20, 11))
    for wrong in ({"n_patches": 0}, {"tol": 1.0}, {"n_held_out": 0}):
        with pytest.raises(ValueError, match="positive"):
            Knobs(**wrong)


# ------------------------------------------------------------------------------------------------- suite and verb

KEYS = ("ot_lower", "ot_upper", "ot_sampling", "ot_floor")
Run = Callable[..., tuple[int, str, str]]


def test_the_suite_has_the_bounds_on_request() -> None:
    ex, out = grain(52, 52), grain(52, 52, seed=1)
    plain, asked = Suite(ex), Suite(ex, transport=True)
    before, row = plain.row("out", out), asked.row("out", out)
    assert all(before.values[key] is None for key in KEYS)
    assert "on request" in before.missing["ot_lower"]
    assert before.details == {}
    assert plain.settings.transport is None
    assert asked.settings.transport == Knobs()
    assert "OT low" not in table([before])
    assert "OT low" in table([row])
    assert {k: v for k, v in row.values.items() if k not in KEYS} == {
        k: v for k, v in before.values.items() if k not in KEYS
    }
    lower, upper, sampling, ratio = (row.values[key] for key in KEYS)
    levels = row.details["transport"]
    assert [level["scale"] for level in levels] == [1, 2, 4]
    assert lower == pytest.approx(np.mean([level["lower"] for level in levels[:2]]))  # of 4x the halves have too little
    assert upper == pytest.approx(np.mean([level["upper"] for level in levels[:2]]))
    assert 0 < lower < upper
    assert 0.5 * sampling < upper < 2 * sampling
    assert 0.3 < ratio < 3
    rows = {r.name: r.values for r in asked.anchor_rows()}
    assert rows["held-out half"]["ot_floor"] == pytest.approx(1)  # by its definition
    assert rows["exemplar"]["ot_lower"] < 0.2 * lower


def test_a_picture_that_lacks_a_scale_has_no_mean() -> None:
    row = Suite(grain(48, 48), transport=True).row("small", grain(20, 20, seed=1))
    assert all(row.values[key] is None and "than the picture" in row.missing[key] for key in KEYS)
    many = Suite(grain(20, 20, 11), transport=True).row("deep", grain(20, 20, 11, seed=1))
    assert "10 channels" in many.missing["ot_lower"]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("ex", 0), ("out", 1)):
        save(Picture(np.rint(grain(30, 34, seed=seed) * 255).astype(np.uint8), "L"), f"{name}.png")

    def call(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["compare", "ex.png", *args])
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


def test_compare_has_columns_records_and_a_table_of_scales(run: Run) -> None:
    code, text, _ = run("out.png", "--transport", "--json", "--html", "page.html")
    assert code == 0
    record = json.loads(text.splitlines()[0])
    assert record["measured"]["settings"]["transport"]["n_patches"] == Knobs().n_patches
    assert [level["scale"] for level in record["details"]["transport"]] == [1, 2]
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Transport of whole patches" in page
    assert "halves" in page
    Path("a.jsonl").write_text(text)
    assert run("a.jsonl", "--transport", "--json")[1] == text
    code, _, err = run("a.jsonl")
    assert code == 3
    assert "transport" in err
    plain = run("out.png", "--json")[1]
    assert json.loads(plain.splitlines()[0])["details"] == {}
    assert "OT low" not in run("out.png")[1]
    assert "request" not in run("out.png")[2]

    # records from before these columns; and details that are no numbers
    old = [json.loads(line) for line in plain.splitlines()]
    for line in old:
        line["scores"] = {k: v for k, v in line["scores"].items() if k not in KEYS}
        del line["details"], line["measured"]["settings"]["transport"]
    Path("old.jsonl").write_text("\n".join(json.dumps(line) for line in old))
    assert run("old.jsonl", "--json")[0] == 0
    for before, after in (
        ('"scale": 1', '"scale": "<b>"'),
        ('"atoms"', '"atom"'),
        ('"sampling": ', '"sampling": null, "x": '),
    ):
        assert before in text
        Path("a.jsonl").write_text(text.replace(before, after))
        code, _, err = run("a.jsonl", "--transport")
        assert code == 3
        assert "line 1 is not a record" in err
    assert list(COLUMNS)[5:9] == list(KEYS)
