"""Transport: the biased nearest neighbour against brute force, the semi-dual solver against problems known by hand."""

from __future__ import annotations

import dataclasses
import math
import shutil

import pytest
import torch

from texsyn.ot import keops
from texsyn.ot.fused import SIMD
from texsyn.ot.nearest import BackendError, NearestIndex, ieee_float32, nearest
from texsyn.ot.semidiscrete import c_transform, from_points, solve, unique_atoms

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="KeOps needs a C++ compiler, there is no g++")
BACKENDS = ["numba", "torch", pytest.param("keops", marks=[pytest.mark.slow, needs_compiler])]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integers(low: int, high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=seeded(seed)).float()


def brute(x, y, psi):
    """Winner (the lowest on ties: numpy promises it) and minimum, in float64."""
    scores = (x.double()[:, None] - y.double()[None]).square().sum(2) - psi.double()
    j = torch.from_numpy(scores.numpy().argmin(1))
    return j, scores.gather(1, j[:, None])[:, 0]


# Biased nearest neighbour.

SHAPES = [  # N, J, D: tiles, panels and groups that do and do not come out even
    (1, 1, 1),
    (3, 1, 5),
    (7, 2, 27),
    (49, 47, 4),
    (50, 48, 3),
    (97, 65, 75),
    (300, 1000, 27),
    (513, 1025, 2),
    (260, 5000, 9),
]


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [2, 127, 200])  # many ties; the byte path; too large for bytes
def test_integers_are_exact_with_ties_to_the_lowest_index(backend, shape, reach):
    n, n_atoms, d = shape
    x, y = integers(-reach, reach + 1, n, d, seed=1), integers(-reach, reach + 1, n_atoms, d, seed=2)
    y[n_atoms // 2 :] = y[: n_atoms - n_atoms // 2].clone()  # every atom twice: lowest index or wrong
    psi = integers(-reach, reach + 1, n_atoms, seed=3)
    psi[n_atoms // 2 :] = psi[: n_atoms - n_atoms // 2].clone()
    index = NearestIndex(y, backend=backend, centre=False)
    for bias in (torch.zeros(n_atoms), psi):
        index.set_bias(bias)
        j, value = index.argmin(x, return_value=True)
        expected, minimum = brute(x, y, bias)
        assert torch.equal(j, expected)
        assert torch.equal(value.double(), minimum)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_all_atoms_equal_gives_index_zero(backend):
    index = NearestIndex(torch.ones(5000, 3), backend=backend, centre=False)
    assert index.argmin(integers(-9, 9, 700, 3)).max() == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_floats_agree_with_float64(backend, scale):
    x, y = (scale * torch.rand(n, 27, generator=seeded(n)) for n in (700, 1300))
    psi = scale**2 * 0.3 * torch.randn(1300, generator=seeded())
    index = NearestIndex(y, backend=backend)
    index.set_bias(psi)
    j, value = index.argmin(x, return_value=True)
    _, minimum = brute(x, y, psi)
    found = (x.double() - y.double()[j]).square().sum(1) - psi.double()[j]
    assert (found - minimum).max() <= 1e-5 * scale**2  # float32 rounding of costs of about 4 scale^2
    torch.testing.assert_close(value.double(), minimum, rtol=1e-5, atol=1e-5 * scale**2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [127, 200])
def test_numba_equals_torch_bit_for_bit_on_integers_under_any_bias(shape, reach):
    n, n_atoms, d = shape
    x, y = integers(-reach, reach + 1, n, d, seed=4), integers(-reach, reach + 1, n_atoms, d, seed=5)
    psi = 1000 * torch.randn(n_atoms, generator=seeded())
    answers = []
    for backend in ("numba", "torch"):
        index = NearestIndex(y, backend=backend, centre=False)
        index.set_bias(psi)
        answers.append(index.argmin(x, return_value=True))
    assert torch.equal(answers[0][0], answers[1][0])
    assert torch.equal(answers[0][1], answers[1][1])


def test_rows_outside_the_byte_range_fall_back_and_agree():
    y = integers(-128, 128, 500, 12)
    x = integers(-128, 128, 64, 12, seed=1)
    index = NearestIndex(y, centre=False)
    for odd in (128.0, -129.0, 0.5, 3e9):
        changed = x.clone()
        changed[17, 5] = odd
        assert torch.equal(index.argmin(changed), NearestIndex(y, backend="torch", centre=False).argmin(changed))
    y, x = integers(-3, 4, 100, 2), integers(-3, 4, 300, 2, seed=1) + 0.75
    assert torch.equal(NearestIndex(y, centre=False).argmin(x), brute(x, y, torch.zeros(100))[0])
    edges = torch.tensor([[-128.0, 127.0], [127.0, -128.0]])
    assert NearestIndex(edges, centre=False).argmin(edges).tolist() == [0, 1]


@pytest.mark.skipif(not SIMD.has_byte_dot, reason="this processor has no integer dot product")
def test_the_byte_path_is_taken(monkeypatch):
    calls = []
    from texsyn.ot import fused as module

    inner = module._fused_argmin
    monkeypatch.setattr(module, "_fused_argmin", lambda x, *rest: (calls.append(x.dtype.name), inner(x, *rest)))
    y = integers(-128, 128, 60, 5)
    NearestIndex(y, centre=False).argmin(y)
    NearestIndex(y, centre=True).argmin(y)
    assert calls == ["int32", "float32"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_huge_bias_wins_everything_and_a_hugely_negative_one_nothing(backend):
    x, y = torch.rand(100, 27, generator=seeded()), torch.rand(200, 27, generator=seeded(1))
    psi = torch.zeros(200)
    psi[137] = 1e6
    assert nearest(x, y, psi, backend=backend).unique().tolist() == [137]
    psi[137] = -1e6
    expected, _ = brute(x, y, psi)
    assert torch.equal(nearest(x, y, psi, backend=backend), expected)


def test_no_queries_and_one_atom():
    for backend in ("numba", "torch"):
        index = NearestIndex(torch.ones(1, 4), backend=backend)
        j, value = index.argmin(torch.zeros(0, 4), return_value=True)
        assert j.shape == value.shape == (0,)
        assert j.dtype == torch.int64
        assert index.argmin(torch.zeros(3, 4)).tolist() == [0, 0, 0]


def test_an_answer_does_not_depend_on_its_neighbours_or_on_threads():
    x, y = torch.randn(2000, 27, generator=seeded()), torch.randn(999, 27, generator=seeded(1))
    y[500:] = y[:499] + 1e-7 * torch.randn(499, 27, generator=seeded(2))  # ties but for the last bit
    index = NearestIndex(y)
    together = index.argmin(x)
    assert torch.equal(together, torch.cat([index.argmin(part) for part in x.split([1, 5, 70, 1000, 924])]))
    for backend in ("numba", "torch"):
        index = NearestIndex(y, backend=backend)
        assert torch.equal(index.argmin(x), index.argmin(x, threads=2))


def test_moving_both_clouds_changes_nothing():
    x, y = integers(-50, 50, 300, 9), integers(-50, 50, 400, 9, seed=1)
    assert torch.equal(nearest(x, y), nearest(x + 1e4, y + 1e4))


def float32_settings():
    return torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision


@pytest.mark.parametrize("precision", ["medium", "high"])
def test_low_global_precision_is_overruled_and_put_back(precision, monkeypatch):
    x, y = torch.rand(500, 27, generator=seeded()), torch.rand(4096, 27, generator=seeded(1))
    expected, _ = brute(x, y, torch.zeros(4096))
    before, seen, mm = torch.get_float32_matmul_precision(), set(), torch.mm
    monkeypatch.setattr(torch, "mm", lambda *a, **k: (seen.add(float32_settings()), mm(*a, **k))[1])
    torch.set_float32_matmul_precision(precision)
    try:
        outside = float32_settings()
        assert outside != ("ieee", "ieee")
        for backend in ("numba", "torch"):
            assert torch.equal(nearest(x, y, backend=backend), expected)
        assert seen == {("ieee", "ieee")}  # not every processor would show the error of a forgotten guard
        with pytest.raises(KeyError), ieee_float32():  # put back after a failure, too
            raise KeyError
        assert float32_settings() == outside
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_callers_thread_count_is_put_back():
    torch.set_num_threads(2)
    nearest(torch.rand(10, 3), torch.rand(10, 3), backend="torch")
    assert torch.get_num_threads() == 2


def test_the_bias_is_copied():
    psi = torch.zeros(2)
    index = NearestIndex(torch.tensor([[0.0], [1.0]]))
    index.set_bias(psi)
    psi += 5
    assert index.argmin(torch.tensor([[0.0]]), return_value=True)[1].item() == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_numbers_are_refused(bad):
    good, spoilt = torch.rand(4, 3), torch.rand(4, 3)
    spoilt[2, 1] = bad
    for message, call in {
        "^y has": lambda: NearestIndex(spoilt),
        "^x has": lambda: nearest(spoilt, good),
        "^psi has": lambda: nearest(good, good, spoilt[:, 1]),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_what_does_not_fit_is_refused():
    y = torch.rand(4, 3)
    index = NearestIndex(y)
    for message, call in {
        "J and D > 0": lambda: NearestIndex(torch.zeros(0, 3)),
        "real numbers": lambda: NearestIndex(torch.zeros(3)),
        r"x needs shape \(N, 3\)": lambda: index.argmin(torch.zeros(5, 2)),
        "float64": lambda: index.argmin(torch.zeros(5, 3, dtype=torch.float64)),
        r"psi needs shape \(4,\)": lambda: index.set_bias(torch.zeros(5)),
        "not one of auto, numba": lambda: NearestIndex(y, backend="cuda"),
        "y or an index": lambda: nearest(y),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_half_precision_is_searched_in_float32_with_a_warning_and_float64_centred_exactly():
    y = torch.tensor([[0.0], [1.0]], dtype=torch.float16)
    with pytest.warns(UserWarning, match="float32"):
        assert nearest(y, y).tolist() == [0, 1]
    far = torch.tensor([[1e9], [1e9 + 1]], dtype=torch.float64)  # float32 alone cannot tell these apart
    assert nearest(far, far).tolist() == [0, 1]


@pytest.fixture
def _forget_keops_verdicts():
    keops._failure.cache_clear()
    yield
    keops._failure.cache_clear()


@pytest.mark.usefixtures("_forget_keops_verdicts")
def test_keops_that_fails_says_why_and_what_to_do(monkeypatch, capsys):
    def broken(*_):
        raise ModuleNotFoundError("No module named 'pykeops_cpp_1234'")

    monkeypatch.setattr(keops, "argmin", broken)
    monkeypatch.setenv("CXX", "no-such-compiler")
    y = torch.rand(4, 3)
    with pytest.raises(BackendError, match=r"no C\+\+ compiler 'no-such-compiler'.*pykeops_cpp_1234.*install g\+\+"):
        nearest(y, y, backend="keops")
    assert nearest(y, y).tolist() == [0, 1, 2, 3]  # "auto" does not care
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("_forget_keops_verdicts")
def test_keops_that_answers_wrongly_is_refused(monkeypatch):
    monkeypatch.setattr(keops, "argmin", lambda x, y, psi: torch.zeros(len(x), dtype=torch.long))
    with pytest.raises(BackendError, match="winners are wrong"):
        NearestIndex(torch.rand(4, 3), backend="keops")


@pytest.mark.slow
@needs_compiler
def test_keops_takes_the_lowest_index_and_prints_nothing(capfd):
    x, y = integers(-2, 3, 300, 3, seed=1), integers(-2, 3, 500, 3, seed=2)
    psi = integers(-2, 3, 500)
    index = NearestIndex(y, backend="keops", centre=False)
    index.set_bias(psi)
    assert torch.equal(index.argmin(x), brute(x, y, psi)[0])
    assert capfd.readouterr().out == ""


# Semi-discrete transport.


def uniform(n, generator):
    return torch.rand(n, 1, generator=generator)


def patch_like(n_atoms: int, d: int):
    """A Gaussian source with a decaying spectrum, and atoms from a coarser law of the same scale."""
    spread = 0.8 ** torch.arange(d)
    mix = torch.linalg.qr(torch.randn(d, d, generator=seeded(7)))[0]

    def sample(n, generator):
        return (torch.randn(n, d, generator=generator) * spread) @ mix

    return sample, (torch.randn(n_atoms, d, generator=seeded(8)) * spread).sign().mul(spread).mul(
        torch.rand(n_atoms, d, generator=seeded(9)) + 0.5
    ) @ mix


def mass_error(solution, sample, n=400_000):
    j = torch.cat([solution.assign(sample(2**15, seeded(100 + k))) for k in range(-(-n // 2**15))])
    n = len(j)
    raw = (torch.bincount(j, minlength=len(solution.y)) / n - solution.weights).abs().sum()
    return math.sqrt(max(0.0, float(raw) ** 2 - 2 * len(solution.y) / (math.pi * n)))


def test_two_atoms_on_a_line_by_hand():
    # U[0, 1] onto 0 with weight 1/4 and 1 with weight 3/4: the border is x = 1/4, so psi_1 - psi_0 = 9/16 - 1/16 = 1/2;
    # the cost is int_0^(1/4) x^2 + int_(1/4)^1 (1 - x)^2 = (1 + 27) / 192.
    solution = solve(uniform, torch.tensor([[0.0], [1.0]]), torch.tensor([0.25, 0.75]), tol=0.005)
    assert solution.psi.tolist() == pytest.approx([-0.25, 0.25], abs=0.01)
    assert solution.value == pytest.approx(28 / 192, rel=0.02)
    assert solution.converged


def test_the_line_is_cut_into_equal_intervals():
    y = torch.linspace(-3, 4, 10)[torch.randperm(10, generator=seeded())][:, None]
    solution = solve(uniform, y, tol=0.01, max_samples=400_000)
    x = (torch.arange(10) + 0.5)[:, None] / 10  # the middles of the intervals
    assert torch.equal(solution.map(x), y.sort(0).values)


def test_planted_permutation():
    y = integers(-100, 100, 150, 8)
    order = torch.randperm(150, generator=seeded(3))
    solution = solve(from_points(y[order]), y, tol=1e-3, max_samples=200_000)
    assert torch.equal(solution.assign(y), torch.arange(150))
    assert solution.residual < 1e-6  # 150 rounded shares
    assert solution.value == pytest.approx(0, abs=1e-3)


def test_planted_translation():
    y = torch.randn(20, 2, generator=seeded())
    shift = torch.tensor([3.0, -2.0])  # the nearest atom is then nearly always the wrong one
    owner = torch.arange(2000) % 20
    x = y[owner] + shift + 1e-3 * torch.randn(2000, 2, generator=seeded(1))
    solution = solve(from_points(x), y, tol=0.01, max_samples=1_000_000)
    assert (nearest(x, y) == owner).float().mean() < 0.3
    assert (solution.assign(x) == owner).float().mean() > 0.98
    assert solution.value == pytest.approx(13, rel=0.01)


def test_value_agrees_with_exact_transport_and_bounds_it():
    ot = pytest.importorskip("ot", reason="POT is not installed")
    x, y = torch.randn(1000, 2, generator=seeded()), torch.randn(20, 2, generator=seeded(1)) + 0.5
    w = torch.rand(20, generator=seeded(2)) + 0.2
    w = w / w.sum()
    cost = torch.cdist(x.double(), y.double()).square()
    exact = ot.emd2([], w.double().numpy() / w.double().sum().item(), cost.numpy())
    solution = solve(from_points(x), y, w, tol=1e-3, max_samples=400_000)
    assert exact * (1 - 1e-3) <= solution.value <= exact * (1 + 1e-6)
    assert float(solution.dual_value(x)) == pytest.approx(solution.value, rel=1e-5)


def test_mass_error_is_near_its_floor():
    sample, y = patch_like(200, 9)
    solution = solve(sample, y, tol=1e-3, max_samples=200_000)
    assert not solution.converged
    assert mass_error(solution, sample) < 2.5 * solution.residual_floor
    assert abs(solution.residual - mass_error(solution, sample)) < 0.02  # what it says of itself
    assert solution.residual_floor == pytest.approx(math.sqrt(2 * 200 / (math.pi * solution.n_samples)))


def test_a_thousand_patches_are_solved_to_a_tenth():
    sample, y = patch_like(1000, 27)
    solution = solve(sample, y, tol=0.1)
    assert solution.converged, solution.outcome
    assert mass_error(solution, sample) < 0.12  # 0.1 and the noise of the solver's own test
    zero = dataclasses.replace(solution, psi=torch.zeros(1000))
    assert mass_error(zero, sample) > 0.4  # it had something to do


def test_moving_and_scaling_change_nothing_but_units():
    sample, y = patch_like(150, 4)
    budget = {"max_samples": 60_000, "tol": 1e-3}
    plain = solve(sample, y, **budget)
    scaled = solve(lambda n, g: 256 * sample(n, g), 256 * y, **budget)  # a power of two: exact in floating point
    assert torch.equal(scaled.psi, 2.0**16 * plain.psi)
    assert scaled.step == plain.step
    moved = solve(lambda n, g: sample(n, g) + 3, y + 3, **budget)
    assert (moved.psi - plain.psi).std() < 0.1 * plain.psi.std()  # rounding decides some samples otherwise


def test_gauge_is_mean_zero_and_constants_in_psi0_are_nothing():
    sample, y = patch_like(100, 4)
    first = solve(sample, y, max_samples=30_000)
    assert abs(float(first.psi.mean())) < 1e-6
    again = solve(sample, y, psi0=first.psi, step=0.1, max_samples=4096)
    shifted = solve(sample, y, psi0=first.psi + 8, step=0.1, max_samples=4096)
    torch.testing.assert_close(again.psi, shifted.psi, atol=1e-4, rtol=0)


def test_a_warm_start_is_kept():
    sample, y = patch_like(200, 9)
    first = solve(sample, y, tol=0.03)
    again = solve(sample, y, psi0=first.psi, step=0.05, max_samples=5000)
    afresh = solve(sample, y, step=0.05, max_samples=5000, multiscale=False)
    assert mass_error(again, sample) < 0.5 * mass_error(afresh, sample)


def test_the_coarse_start_leaves_few_atoms_empty():
    def two_spots(n, generator):  # far from most atoms, and no similarity brings it nearer
        side = 2.0 * (torch.rand(n, 1, generator=generator) < 0.5) - 1
        return 0.1 * torch.randn(n, 4, generator=generator) + side

    y = torch.randn(600, 4, generator=seeded())
    starts = [solve(two_spots, y, multiscale=m, max_samples=20_000, step=1e-6) for m in (True, False)]
    used = [len(s.assign(two_spots(60_000, seeded(5))).unique()) for s in starts]
    assert used[0] > 400
    assert used[1] < 100


def test_equal_atoms_share_one_potential():
    y = torch.tensor([[0.0], [1.0], [0.0], [0.0]])
    solution = solve(uniform, y, tol=0.01)
    assert solution.psi[0] == solution.psi[2] == solution.psi[3]
    share = (solution.assign(torch.linspace(0, 1, 1001)[:, None]) == 0).float().mean()
    assert share == pytest.approx(0.75, abs=0.01)
    assert solution.weights.tolist() == pytest.approx([0.25] * 4)
    assert solution.converged


def test_unique_atoms_keep_order_and_weights():
    y = integers(0, 3, 200, 2)
    atoms, w, inverse = unique_atoms(y, torch.arange(1.0, 201.0))
    assert torch.equal(atoms[inverse], y)
    firsts = [int((inverse == j).nonzero()[0]) for j in range(len(atoms))]
    assert firsts == sorted(firsts)
    for j in range(len(atoms)):
        assert w[j] == pytest.approx(float((torch.arange(1.0, 201.0) * (inverse == j)).sum()) / 20100, rel=1e-5)


def test_dual_value_has_the_transport_as_gradient():
    sample, y = patch_like(30, 3)
    solution = solve(sample, y, max_samples=20_000)
    x = sample(50, seeded()).requires_grad_()
    solution.dual_value(x).backward()
    torch.testing.assert_close(x.grad, 2 * (x - solution.map(x)).detach() / 50)


def test_c_transform_is_the_minimum_and_its_softening_tends_to_it():
    x, y, psi = torch.randn(20, 3), torch.randn(9, 3), torch.randn(9)
    hard = c_transform(x, y, psi)
    torch.testing.assert_close(hard.double(), brute(x, y, psi)[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(c_transform(x, y, psi, eps=1e-4), hard, atol=1e-3, rtol=1e-3)


def test_a_cloud_is_drawn_without_replacement():
    cloud = from_points(torch.arange(10.0)[:, None])
    draw = cloud.epochs(seeded())
    first = torch.cat([draw(4), draw(4), draw(2)]).flatten()
    assert sorted(first.tolist()) == list(range(10))
    assert first.tolist() != list(range(10))
    assert sorted(cloud(20, seeded()).flatten().tolist()) == sorted(2 * list(range(10)))
    assert torch.equal(cloud(7, seeded(1)), cloud(7, seeded(1)))


def test_the_seed_decides_and_the_global_stream_is_untouched():
    sample, y = patch_like(150, 4)
    state = torch.random.get_rng_state()
    a, b, c = (solve(sample, y, seed=s, max_samples=20_000) for s in (5, 5, 6))
    g = solve(sample, y, generator=seeded(5), max_samples=20_000)
    d, e = (solve(from_points(sample(500, seeded())), y, seed=5, max_samples=20_000) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(a.psi, b.psi)
    assert torch.equal(a.psi, g.psi)
    assert torch.equal(d.psi, e.psi)
    assert not torch.equal(a.psi, c.psi)


def test_it_stops_on_time_and_on_its_budget_and_says_so():
    sample, y = patch_like(300, 9)
    late = solve(sample, y, tol=1e-4, time_limit=0.05)
    assert not late.converged
    assert "time limit of 0.05 s" in late.outcome
    short = solve(sample, y, tol=1e-4, max_samples=10_000)
    assert "max_samples" in short.outcome
    assert 10_000 <= short.n_samples < 11_000
    assert solve(sample, y, max_samples=1).n_samples >= 1


def test_what_the_solver_refuses():
    sample, y = patch_like(10, 2)
    nan = torch.full((10, 2), math.nan)
    for message, call in {
        "y needs finite": lambda: solve(sample, nan),
        "y needs": lambda: solve(sample, torch.zeros(0, 2)),
        r"sample\(\d+, generator\) must give": lambda: solve(lambda n, g: nan[:1].expand(n, 2), y),
        r"x needs shape \(N, 2\)": lambda: solve(uniform, y),
        "x needs finite": lambda: from_points(nan),
        "weights needs 10 positive": lambda: solve(sample, y, torch.zeros(10)),
        "psi0 needs 10 finite": lambda: solve(sample, y, psi0=nan[:, 0]),
        "must be positive": lambda: solve(sample, y, max_samples=0),
        "got 10, 5, -1.0": lambda: solve(sample, y, step=-1.0, max_samples=10, batch=5),
        "got 10, 5, quick": lambda: solve(sample, y, step="quick", max_samples=10, batch=5),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
