"""Frechet, KID, inception score and neighbour scores on feature matrices: known answers, laws, ugly corners."""

from __future__ import annotations

import warnings
from dataclasses import astuple

import numpy as np
import pytest
import torch
from torch import Tensor

from texsyn.metrics.frechet import Gaussian, fid_infinity, frechet, frechet_from_statistics, sifid_distance
from texsyn.metrics.inception_score import inception_score
from texsyn.metrics.kid import kid
from texsyn.metrics.neighbours import density_coverage, neighbour_scores, precision_recall, radii

DOUBLE = torch.float64


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def correlated(n: int, d: int, seed: int) -> Tensor:
    """Non-negative features with a falling spectrum, as a network's after ReLU; one mixing matrix for all seeds."""
    mix = normal(d, d, 99) / torch.arange(1, d + 1, dtype=DOUBLE).sqrt()[:, None]
    return (normal(n, d, seed) @ mix + 0.3 * normal(1, d, seed + 1000)).relu()


def shuffled(x: Tensor, seed: int) -> Tensor:
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))]


def eigvals_oracle(x: Tensor, y: Tensor) -> float:
    """The formula as published, with the eigenvalues of the product of covariances."""
    a, b = x.numpy(), y.numpy()
    s_a, s_b = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    root = np.sqrt(np.maximum(np.linalg.eigvals(s_a @ s_b).real, 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s_a) + np.trace(s_b) - 2 * root)


def traces(x: Tensor, y: Tensor) -> float:
    return float(x.var(0).sum() + y.var(0).sum())


#: name -> n_x, n_y, d, route
SHAPES = {
    "few": (20, 20, 30, "nuclear"),
    "few, unequal": (7, 25, 30, "nuclear"),
    "one many": (20, 200, 30, "nuclear"),
    "other many": (200, 20, 30, "nuclear"),
    "n = d": (30, 30, 30, "nuclear"),
    "many": (300, 200, 30, "cholesky"),
    "two": (2, 2, 5, "nuclear"),
    "one feature": (9, 11, 1, "cholesky"),
}


# ---------------------------------------------------------------------------------------------------------- Frechet


@pytest.mark.parametrize("shape", SHAPES)
def test_frechet_is_the_published_formula(shape: str) -> None:
    n_x, n_y, d, route = SHAPES[shape]
    x, y = correlated(n_x, d, 1), correlated(n_y, d, 2)
    result = frechet(x, y)
    assert result.route == route
    assert (result.n_x, result.n_y, result.d) == (n_x, n_y, d)
    # the oracle is the worse one where a covariance is singular: rounding eps becomes eps^(1/2) an eigenvalue
    tolerance = 1e-11 if route == "cholesky" else 1e-6
    assert result.value == pytest.approx(eigvals_oracle(x, y), abs=tolerance * traces(x, y))
    assert result.value == result.mean_term + result.trace_term


@pytest.mark.parametrize("shape", SHAPES)
def test_frechet_laws(shape: str) -> None:
    n_x, n_y, d, _ = SHAPES[shape]
    x, y = correlated(n_x, d, 1), correlated(n_y, d, 2)
    near = 1e-11 * traces(x, y)
    value = frechet(x, y).value
    assert value > 0
    assert frechet(y, x).value == pytest.approx(value, abs=near)
    assert frechet(shuffled(x, 3), shuffled(y, 4)).value == pytest.approx(value, abs=near)
    turn = torch.linalg.qr(normal(d, d, 5)).Q
    assert frechet(x @ turn, y @ turn).value == pytest.approx(value, abs=near)
    for a in (x, y):
        own = frechet(a, a)
        assert abs(own.trace_term) < near  # before it is kept from going below 0
        assert 0 <= own.value < near
        c = normal(1, d, 6)
        assert frechet(a + c, a).value == pytest.approx(float(c.square().sum()), abs=near + 1e-11)


def test_frechet_of_isotropic_gaussians() -> None:
    """Statistics made by hand: means 3 apart, standard deviations 2 and 0.5 in 7 dimensions."""
    mean, eye = torch.zeros(7), torch.eye(7)
    a = Gaussian.from_moments(100, mean, 4 * eye)
    b = Gaussian.from_moments(50, mean + 3 * eye[0], 0.25 * eye)
    assert frechet_from_statistics(a, b).value == pytest.approx(9 + 7 * 1.5**2, rel=1e-12)
    assert frechet(a, b) == frechet_from_statistics(a, b)


def test_frechet_of_scaled_samples() -> None:
    for n, d in [(12, 40), (100, 8)]:
        x = correlated(n, d, 1)
        spread = x.var(0).sum()
        expected = float((3 * x.mean(0) - x.mean(0)).square().sum() + spread * (3 - 1) ** 2)
        assert frechet(3 * x, x).value == pytest.approx(expected, rel=1e-11)


def test_one_dimension_shows_the_factor_two() -> None:
    x, y = normal(50, 1, 1), 3 * normal(40, 1, 2)
    expected = (x.std() - y.std()) ** 2 + (x.mean() - y.mean()) ** 2
    assert frechet(x, y).value == pytest.approx(float(expected), rel=1e-12)


def test_frechet_agrees_with_sqrtm() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    x, y = correlated(400, 24, 1), correlated(300, 24, 2)
    s_x, s_y = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = linalg.sqrtm(s_x @ s_y).real
    expected = float((x.mean(0) - y.mean(0)).square().sum()) + np.trace(s_x + s_y - 2 * root)
    assert frechet(x, y).value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_features_and_statistics_agree(shape: str) -> None:
    n_x, n_y, d, route = SHAPES[shape]
    x, y = correlated(n_x, d, 1), correlated(n_y, d, 2)
    from_features, g, h = frechet(x, y), Gaussian.of(x), Gaussian.of(y)
    # far below the eps^(1/2) of formulas that keep the zero eigenvalues of a covariance of few samples
    near = min(1e-10 * traces(x, y), 1e-8 * from_features.value)
    for other in (frechet_from_statistics(g, h), frechet(g, h), frechet(x, h), frechet(g, y)):
        assert other.value == pytest.approx(from_features.value, abs=near)
        assert (other.n_x, other.n_y) == (n_x, n_y)
    if route == "nuclear" and n_y <= d < n_x:
        assert frechet(g, y).route == "nuclear"


def test_nuclear_norm_and_statistics_agree_at_full_rank() -> None:
    """The two ways meet where both can be gone: n > d, features through QR against a Cholesky factor."""
    from texsyn.metrics import frechet as module

    x, y = correlated(120, 30, 1), correlated(90, 30, 2)
    (_, a), (_, b) = module._factor(x), module._factor(y)
    trace = float(x.var(0).sum() + y.var(0).sum() - 2 * torch.linalg.svdvals(a @ b.T).sum())
    assert trace == pytest.approx(frechet(x, y).trace_term, rel=1e-8)


def test_dead_and_repeated_features() -> None:
    """Constant columns and copies of columns add nothing, or what they must; n > d goes by eigh there."""
    x, y = correlated(100, 12, 1), correlated(80, 12, 2)
    value = frechet(x, y).value

    def with_dead(z: Tensor) -> Tensor:
        return torch.cat([z.new_zeros(len(z), 3), z, z.new_ones(len(z), 2)], 1)

    dead = frechet(with_dead(x), with_dead(y))
    assert dead.route == "eigh"
    assert dead.value == pytest.approx(value, abs=1e-11 * traces(x, y))
    twice = frechet(torch.cat([x, x], 1), torch.cat([y, y], 1))
    assert twice.value == pytest.approx(2 * value, abs=1e-11 * traces(x, y))
    full = torch.cat([normal(80, 3, 5), y, normal(80, 2, 6)], 1)  # one side alone has them
    for pair in ((with_dead(x), full), (full, with_dead(x))):
        one_side = frechet(*pair)
        assert one_side.route == "eigh"
        assert one_side.value == pytest.approx(eigvals_oracle(*pair), abs=1e-6 * traces(*pair))


def test_constant_sets() -> None:
    x = torch.ones(5, 3)
    assert frechet(x, x).value == 0
    assert frechet(x, x + 2).value == 12
    assert frechet(x[:2], x[:2] + 2).value == 12
    y = normal(5, 3, 1)
    assert frechet(x, y).value == pytest.approx(float((1 - y.mean(0)).square().sum() + y.var(0).sum()), rel=1e-12)


def test_few_samples_are_exact() -> None:
    """Two samples have rank one: tr (S_x S_y)^(1/2) = |u.v| / 2 for the differences u, v of the pairs."""
    x, y = normal(2, 50, 1), normal(2, 50, 2)
    u, v = x[0] - x[1], y[0] - y[1]
    means = (x.mean(0) - y.mean(0)).square().sum()
    expected = float(means + u @ u / 2 + v @ v / 2 - (u @ v).abs())
    assert frechet(x, y).value == pytest.approx(expected, rel=1e-13)


def test_float32_features_are_computed_in_float64() -> None:
    x, y = correlated(200, 20, 1).float(), correlated(150, 20, 2).float()
    assert frechet(x, y) == frechet(x.double(), y.double())
    assert Gaussian.empty(20).update(x).scatter.dtype == DOUBLE


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_streaming_is_batch(offset: float) -> None:
    x = correlated(101, 9, 1) + offset
    whole = Gaussian.of(x)
    stream = Gaussian.empty(9)
    for batch in x.split(7):
        stream = stream.update(batch)
    left, right = Gaussian.of(x[:30]), Gaussian.empty(9).update(x[30:31]).update(x[31:])
    for other in (stream, left.merge(right), right.merge(left), whole.merge(Gaussian.empty(9))):
        assert other.n == 101
        assert torch.allclose(other.mean, whole.mean, rtol=1e-10, atol=0)
        assert torch.allclose(other.covariance, whole.covariance, rtol=1e-10, atol=1e-10)
    numpy = torch.from_numpy(np.cov(x.numpy(), rowvar=False))
    assert torch.allclose(stream.covariance, numpy, rtol=1e-10, atol=1e-10)
    y = Gaussian.of(correlated(60, 9, 2) + offset)
    value = frechet_from_statistics(whole, y).value
    assert frechet_from_statistics(stream, y).value == pytest.approx(value, rel=1e-10)


def test_update_leaves_the_statistics_alone() -> None:
    before = Gaussian.of(normal(5, 2, 1))
    n, mean, scatter = before.n, before.mean.clone(), before.scatter.clone()
    before.update(normal(5, 2, 2))
    assert before.n == n
    assert torch.equal(before.mean, mean)
    assert torch.equal(before.scatter, scatter)
    nobody = Gaussian.empty(2)
    assert nobody.merge(nobody).n == 0


def test_published_moments_come_back() -> None:
    x = Gaussian.of(correlated(40, 6, 1))
    again = Gaussian.from_moments(x.n, x.mean, x.covariance)
    assert frechet(x, again).value < 1e-12 * float(x.covariance.trace())
    assert torch.allclose(again.scatter, x.scatter, rtol=1e-14)


def test_sifid_is_the_frechet_distance_over_places() -> None:
    x, y = correlated(144, 192, 1), correlated(400, 192, 2)
    assert sifid_distance(x, y) == frechet(x, y)
    assert sifid_distance(x, x).value < 1e-10 * traces(x, x)


def test_fid_infinity_removes_the_bias_of_the_generated_side() -> None:
    """Equal laws, the reference given exactly: the distance is 0, and at the largest size still far from it."""
    d = 16
    truth = Gaussian.from_moments(10**9, torch.zeros(d), torch.eye(d))
    values = []
    for seed in range(6):
        result = fid_infinity(normal(4000, d, seed), truth, seed=seed)
        assert result.sizes[0] == 400
        assert result.sizes[-1] == 4000
        assert len(result.sizes) == len(result.distances) == 15
        assert result.slope > 0
        assert result.residual < result.distances[0] / 3
        values.append((result.value, result.distances[-1]))
    plain = np.mean([b for _, b in values])
    assert plain > 0.02
    assert abs(np.mean([a for a, _ in values])) < plain / 4


def test_fid_infinity_is_an_intercept() -> None:
    x, y = correlated(60, 4, 1), correlated(80, 4, 2)
    result = fid_infinity(x, y, sizes=[20, 60], seed=3)  # a line through two points
    small, whole = result.distances
    assert whole == pytest.approx(frechet(x, y).value, rel=1e-12)
    assert result.value == pytest.approx((60 * whole - 20 * small) / 40, rel=1e-12)
    assert result.slope == pytest.approx((small - whole) / (1 / 20 - 1 / 60), rel=1e-12)
    assert result.residual < 1e-12 * small
    assert (result.n_generated, result.n_reference, result.d, result.seed) == (60, 80, 4, 3)
    assert result == fid_infinity(x, Gaussian.of(y), sizes=[20, 60], seed=3)
    assert result.distances[0] != fid_infinity(x, y, sizes=[20, 60], seed=4).distances[0]


def test_fid_infinity_takes_fewer_samples_than_features() -> None:
    x, y = correlated(40, 30, 1), correlated(45, 30, 2)
    default = fid_infinity(x, y)
    assert default.sizes[:2] == (4, 7)
    assert default.sizes[-1] == 40
    few = fid_infinity(x[:25], y[:20], sizes=[10, 20, 25])
    assert few.distances[-1] == pytest.approx(frechet(x[:25], y[:20]).value, rel=1e-12)


# -------------------------------------------------------------------------------------------------------------- KID


def mmd_by_loops(x: Tensor, y: Tensor) -> float:
    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    m = len(x)
    within = sum(k(z[i], z[j]) for z in (x, y) for i in range(m) for j in range(m) if i != j)
    return within / (m * (m - 1)) - 2 * sum(k(a, b) for a in x for b in y) / m**2


def test_kid_by_hand() -> None:
    x, y = torch.tensor([[0.0], [2.0], [1.0]]), torch.tensor([[1.0], [-1.0], [0.0]])
    # sums over i != j, twice: (1 + 1 + 27) and (0 + 1 + 1); across: 3 ones, 27 - 1 + 1, 8 + 0 + 1
    result = kid(x, y, size=3)
    assert result.value == pytest.approx(2 * (29 + 2) / 6 - 2 * (3 + 27 + 9) / 9, rel=1e-14)
    assert (result.m, result.subsets, result.spread, result.exact, result.lowered) == (3, 1, None, True, False)


def test_kid_of_all_samples_is_the_u_statistic() -> None:
    x, y = correlated(15, 6, 1), correlated(15, 6, 2)
    result = kid(x, y, subsets=50, size=15, seed=7)
    assert result.value == pytest.approx(mmd_by_loops(x, y), rel=1e-12)
    assert result.subsets == 1
    assert kid(shuffled(x, 1), shuffled(y, 2), size=15).value == pytest.approx(result.value, rel=1e-12)
    assert kid(y, x, size=15).value == pytest.approx(result.value, rel=1e-12)


def test_kid_of_subsets_by_both_ways() -> None:
    """Few draws look at their own rows; many draws share one table of kernel values. Same draws, same values."""
    x, y = correlated(30, 6, 1), correlated(20, 6, 2)
    generator = torch.Generator().manual_seed(5)
    draws = [[torch.randperm(len(z), generator=generator)[:8] for z in (x, y)] for _ in range(40)]
    expected = np.array([mmd_by_loops(x[i], y[j]) for i, j in draws])
    assert 30**2 + 20**2 + 30 * 20 <= 3 * 40 * 8**2  # the shared table
    many = kid(x, y, subsets=40, size=8, seed=5)
    assert many.value == pytest.approx(expected.mean(), rel=1e-11)
    assert many.spread == pytest.approx(expected.std(), rel=1e-11)
    generator = torch.Generator().manual_seed(5)
    draws = [[torch.randperm(len(z), generator=generator)[:8] for z in (x, y)] for _ in range(3)]
    expected = np.array([mmd_by_loops(x[i], y[j]) for i, j in draws])
    assert kid(x, y, subsets=3, size=8, seed=5).value == pytest.approx(expected.mean(), rel=1e-11)


def test_kid_is_unbiased() -> None:
    """Equal laws: the mean over 60 pairs within four standard errors of 0, with both signs; at two sizes."""
    for n in (10, 80):
        values = np.array([kid(normal(n, 8, 2 * s), normal(n, 8, 2 * s + 1), size=n).value for s in range(60)])
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(60)
        assert values.min() < 0 < values.max()
    apart = [kid(normal(80, 8, 2 * s), 1 + normal(80, 8, 2 * s + 1), size=80).value for s in range(10)]
    assert min(apart) > 0


def test_kid_lowers_m_with_a_warning() -> None:
    x, y = correlated(30, 6, 1), correlated(20, 6, 2)
    with pytest.warns(UserWarning, match="subsets of 20 samples instead of 1000"):
        result = kid(x, y, subsets=9)
    assert (result.m, result.subsets, result.lowered, result.exact) == (20, 9, True, False)
    assert (result.n_x, result.n_y, result.d, result.seed) == (30, 20, 6, 0)
    with pytest.warns(UserWarning, match="subsets of 20"):
        mirrored = kid(y, x, subsets=9)
    assert (mirrored.m, mirrored.subsets, mirrored.exact) == (20, 9, False)
    assert mirrored.spread > 0
    with pytest.warns(UserWarning, match="subsets of 30"):
        result = kid(x, x[:30] + 1)
    assert (result.subsets, result.exact) == (1, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not kid(x, y, size=20).lowered


def test_kid_depends_on_its_seed_alone() -> None:
    x, y = correlated(60, 6, 1), correlated(60, 6, 2)
    first = kid(x, y, subsets=5, size=10, seed=1)
    torch.rand(3)  # the global stream moves, the draws do not
    assert kid(x, y, subsets=5, size=10, seed=1) == first
    assert kid(x, y, subsets=5, size=10, seed=2).value != first.value
    assert kid(x.float(), y.float(), subsets=5, size=10, seed=1).value == pytest.approx(first.value, rel=1e-5)


# -------------------------------------------------------------------------------------------------- inception score


def test_inception_scores_that_are_known() -> None:
    for splits in (1, 4):
        uniform = inception_score(torch.full((12, 5), 3.0), splits=splits)
        assert uniform.value == pytest.approx(1, abs=1e-14)
        assert uniform.spread == pytest.approx(0, abs=1e-14)
        certain = inception_score(1e4 * torch.eye(5).repeat(4 * 2, 1), splits=splits)  # balanced in every split
        assert certain.value == pytest.approx(5, rel=1e-14)
    unused = torch.cat([1e4 * torch.eye(3), torch.zeros(3, 2)], 1)  # two classes of probability exp(-10000) = 0
    assert inception_score(unused, splits=1).value == pytest.approx(3, rel=1e-14)
    same = torch.randn(1, 7, generator=torch.Generator().manual_seed(0)).repeat(10, 1)
    assert inception_score(same, splits=2).value == pytest.approx(1, abs=1e-12)
    assert inception_score(normal(10, 5, 1), splits=10).value == pytest.approx(1, abs=1e-14)  # a sample a split


def test_inception_score_by_the_formula() -> None:
    logits = 2 * normal(23, 6, 1)
    scores = []
    for i in range(4):
        z = logits.numpy()[i * 23 // 4 : (i + 1) * 23 // 4]
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        scores.append(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))
    result = inception_score(logits, splits=4)
    assert result.value == pytest.approx(np.mean(scores), rel=1e-12)
    assert result.spread == pytest.approx(np.std(scores), rel=1e-11)
    assert (result.splits, result.n, result.classes, result.seed) == (4, 23, 6, None)
    assert 1 <= result.value <= 6
    assert inception_score(logits + normal(23, 1, 2), splits=4).value == pytest.approx(result.value, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_inception_score_lies_between_one_and_the_classes(scale: float) -> None:
    for seed, splits in enumerate((1, 3, 10, 20)):
        for classes in (1, 2, 7):
            result = inception_score(scale * normal(20, classes, seed), splits=splits)
            assert 1 - 1e-12 <= result.value <= classes + 1e-12, (classes, splits)


def test_inception_score_shuffles_only_when_told() -> None:
    logits = 2 * normal(40, 6, 1)
    whole = inception_score(logits, splits=1).value
    shuffled_once = inception_score(logits, splits=4, shuffle=True, seed=1)
    assert shuffled_once.seed == 1
    assert shuffled_once == inception_score(logits, splits=4, shuffle=True, seed=1)
    assert shuffled_once.value != inception_score(logits, splits=4).value
    assert inception_score(logits, splits=1, shuffle=True, seed=3).value == pytest.approx(whole, rel=1e-13)


# ------------------------------------------------------------------------------------------------------- neighbours


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)[:, None]


def test_radii_leave_oneself_out() -> None:
    x = column(0, 1, 3, 7)
    assert radii(x, 1).tolist() == [1, 1, 2, 4]
    assert radii(x, 3).tolist() == [7, 6, 4, 7]
    assert radii(column(2, 2, 5), 1).tolist() == [0, 0, 3]


def test_precision_and_recall_by_hand() -> None:
    reference, generated = column(0, 1, 2, 3), column(1, 1.5, 5, 9)
    result = precision_recall(generated, reference, k=1)  # reference radii 1; generated radii 0.5, 0.5, 3.5, 4
    assert result.precision == 2 / 4  # 5 and 9 are outside
    assert result.recall == 3 / 4  # 1 and 2, and 3 by the ball of 5; 0 is outside
    swapped = precision_recall(reference, generated, k=1)
    assert (swapped.precision, swapped.recall) == (result.recall, result.precision)
    assert astuple(result)[2:] == (1, 4, 4, 4, 4, 1)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_is_recall_with_the_sets_exchanged(k: int) -> None:
    x, y = correlated(40, 5, 1), torch.cat([correlated(30, 5, 2), correlated(10, 5, 1)[:10]])
    there, back = precision_recall(x, y, k=k), precision_recall(y, x, k=k)
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert there.precision != there.recall


def test_neighbour_scores_do_not_depend_on_the_order() -> None:
    x, y = correlated(40, 5, 1), correlated(40, 5, 2)
    mixed_x, mixed_y = shuffled(x, 3), shuffled(y, 4)
    assert astuple(precision_recall(x, y)) == astuple(precision_recall(mixed_x, mixed_y))
    once, again = density_coverage(x, y), density_coverage(mixed_x, mixed_y)
    assert (once.density, once.coverage) == (again.density, again.coverage)


def test_density_and_coverage_by_hand() -> None:
    reference = column(0, 1, 2, 10)  # k=1: radii 1, 1, 1, 8
    result = density_coverage(column(1, 1, 1.5, 30), reference, k=1)
    # 1 lies in three balls (<=), 1.5 in two, 30 in none
    assert result.density == (3 + 3 + 2 + 0) / 4
    assert result.coverage == 3 / 4  # nothing reaches 10
    on_the_edge = density_coverage(column(2, 2, 2, 2), reference, k=1)
    assert on_the_edge.density == 3  # the balls around 1, 2 and 10, the latter by 8 <= 8
    assert on_the_edge.coverage == 3 / 4
    far = density_coverage(reference + 100, reference, k=1)
    assert (far.density, far.coverage) == (0, 0)


def test_a_set_has_full_marks_against_itself() -> None:
    x = correlated(40, 5, 1)
    result = precision_recall(x, x)
    assert (result.precision, result.recall) == (1, 1)
    assert density_coverage(x, x).coverage == 1
    assert density_coverage(x, x).density >= 1 + 1 / 5  # oneself and, on the average ball, k more
    apart = precision_recall(x + 1000, x)
    assert (apart.precision, apart.recall) == (0, 0)


def test_copies_lie_inside_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances on a radius: equal pairs must be equally far in every block, or shares change in the third digit."""
    x, other = correlated(60, 17, 1), correlated(60, 17, 2)
    y = torch.cat([shuffled(x, 3)[:30], other[:30]])
    expected = astuple(precision_recall(y, x)), astuple(density_coverage(y, x))
    distance = (y[:, None] - x).square().sum(2).sqrt()
    own = (x[:, None] - x).square().sum(2).sqrt().sort(1).values[:, 3]
    assert expected[0][0] == pytest.approx(float((distance <= own * (1 + 1e-12)).any(1).double().mean()))
    for block in (1, 17 * 7, 60 * 7):
        monkeypatch.setattr("texsyn.metrics.neighbours.BLOCK", block)
        assert (astuple(precision_recall(y, x)), astuple(density_coverage(y, x))) == expected
    again = precision_recall(shuffled(y, 8), shuffled(x, 9))
    assert (again.precision, again.recall) == expected[0][:2]


@pytest.mark.parametrize("case", ["spread", "copies", "integers", "far from 0", "tiny"])
def test_products_only_sort_out_the_clear_pairs(case: str) -> None:
    """Radii and shares are bit for bit those of all distances in difference form, however many pairs are in doubt."""
    x, y = correlated(90, 11, 1), correlated(90, 11, 2)
    if case == "copies":
        y = torch.cat([shuffled(x, 3)[:60], y[:30]])
    elif case == "integers":  # ties everywhere
        x, y = (2 * x).round(), (2 * y).round()
    elif case == "far from 0":  # products know nothing: |x|^2 eps is as large as the distances
        x, y = x + 1e7, y + 1e7
    elif case == "tiny":
        x, y = 1e-150 * x, 1e-150 * y

    def distances(a: Tensor, b: Tensor) -> Tensor:
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")

    for k in (1, 3, 5):
        balls_x, balls_y = x.unique(dim=0), y.unique(dim=0)
        r_x, r_y = (distances(z, z).sort(1).values[:, k] for z in (balls_x, balls_y))
        assert torch.equal(radii(balls_x, k), r_x)
        result = precision_recall(y, x, k=k)
        assert result.precision == float((distances(y, balls_x) <= r_x).any(1).double().mean())
        assert result.recall == float((distances(x, balls_y) <= r_y).any(1).double().mean())
        assert density_coverage(y, x, k=k).density == float((distances(y, balls_x) <= r_x).sum()) / (90 * k)


@pytest.mark.parametrize("block", [1, 700, 1 << 21])
def test_all_four_scores_at_once_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("texsyn.metrics.neighbours.BLOCK", block)
    x, y = correlated(40, 5, 1), torch.cat([correlated(40, 5, 1)[:20], correlated(50, 5, 2), correlated(9, 5, 2)])
    for generated, reference in ((y, x), (x, y), ((2 * y).round(), (2 * x).round())):
        for k in ((3, 5), (5, 1), (2, 2)):
            apart = (
                precision_recall(generated, reference, k=k[0], allow_unequal=True),
                density_coverage(generated, reference, k=k[1], allow_unequal=True),
            )
            assert neighbour_scores(generated, reference, k=k, allow_unequal=True) == apart
    with pytest.raises(ValueError, match="k=5 needs at least 6 distinct samples in reference, got 4"):
        neighbour_scores(x, x[:4].repeat(10, 1))
    with pytest.raises(ValueError, match="40 generated and 79 reference samples"):
        neighbour_scores(x, y)


def test_repeated_references_do_not_shrink_the_balls() -> None:
    """Five copies of every reference sample would make all radii 0; balls are those of the distinct samples."""
    x, y = normal(40, 4, 1), normal(200, 4, 2)
    once = precision_recall(y, x, allow_unequal=True)
    repeated = precision_recall(y, x.repeat(5, 1))
    assert radii(x.repeat(5, 1), 3).max() == 0
    assert repeated.precision == once.precision > 0.5
    assert repeated.recall == once.recall  # a share of all reference samples, copies included
    assert (repeated.n_reference, repeated.distinct_reference, repeated.distinct_generated) == (200, 40, 200)
    once, repeated = density_coverage(y, x, allow_unequal=True), density_coverage(y, x.repeat(5, 1))
    assert (repeated.density, repeated.coverage) == (once.density, once.coverage)
    assert repeated.distinct_reference == 40


def test_shares_count_copies() -> None:
    reference = column(0, 1, 2, 10, 10, 10)
    generated = column(0.5, 0.5, 0.5, 0.5, 100, 101)
    assert precision_recall(generated, reference, k=1).precision == 4 / 6
    assert density_coverage(generated, reference, k=1).coverage == 2 / 6  # 0 and 1
    assert density_coverage(column(9, 9, 9, 9, 9, 9), reference, k=1).coverage == 3 / 6  # 10, three times


def test_two_sets_of_one_law() -> None:
    """Coverage is 1 - 2^-k and density 1, roughly: four standard deviations of a share of 600, plus 0.01."""
    x, y = normal(600, 8, 1), normal(600, 8, 2)
    for k in (1, 3, 5):
        result = density_coverage(y, x, k=k)
        theory = 1 - 2.0**-k
        assert result.coverage_of_equal_laws == theory
        assert abs(result.coverage - theory) < 4 * (theory * (1 - theory) / 600) ** 0.5 + 0.01
        assert abs(result.density - 1) < 0.15
    result = precision_recall(y, x)
    assert abs(result.precision - result.recall) < 0.08


def test_invented_and_missing_are_told_apart() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    both = normal(200, 2, 1) + centres.repeat(100, 1)
    one = normal(200, 2, 2)
    narrow = precision_recall(one, both)
    assert narrow.precision > 0.9
    assert 0.4 < narrow.recall < 0.6
    wide = precision_recall(both, one)
    assert wide.recall > 0.9
    assert 0.4 < wide.precision < 0.6


# ----------------------------------------------------------------------------------------------------------- errors

PAIRS = {
    "frechet": frechet,
    "sifid": sifid_distance,
    "fid_infinity": fid_infinity,
    "kid": lambda x, y: kid(x, y, size=30),
    "precision_recall": precision_recall,
    "density_coverage": density_coverage,
}


@pytest.mark.parametrize("name", PAIRS)
def test_bad_features_are_refused(name: str) -> None:
    head, x = PAIRS[name], normal(30, 4, 1)
    for bad in (float("nan"), float("inf"), -1e200):
        spoiled = x.clone()
        spoiled[3, 1] = bad
        for pair in ((spoiled, x), (x, spoiled)):
            with pytest.raises(ValueError, match=r"NaN or infinite values, .* in 1 of its 30 rows"):
                head(*pair)
    for pair in ((x, x[:, :3]), (x[:, :3], x)):
        with pytest.raises(ValueError, match="equally many features"):
            head(*pair)
    for few in (x[:0], x[:1]):
        with pytest.raises(ValueError, match=r"at least|equally many samples"):
            head(few, x)
        with pytest.raises(ValueError, match=r"at least|equally many samples"):
            head(x, few)
    for odd in (x[0], x[None], x[:, :0], x.to(torch.complex128)):
        with pytest.raises(ValueError, match="must be a real matrix"):
            head(odd, x)


def test_statistics_refuse() -> None:
    x = normal(6, 3, 1)
    for few in (Gaussian.empty(3), Gaussian.of(x[:1])):
        with pytest.raises(ValueError, match="at least 2 samples"):
            few.covariance  # noqa: B018
        with pytest.raises(ValueError, match="at least 2 samples"):
            frechet_from_statistics(Gaussian.of(x), few)
    with pytest.raises(ValueError, match="equally many features"):
        Gaussian.of(x).merge(Gaussian.empty(4))
    with pytest.raises(ValueError, match="equally many features"):
        frechet_from_statistics(Gaussian.of(x), Gaussian.of(normal(6, 4, 1)))
    with pytest.raises(ValueError, match="at least 1"):
        Gaussian.empty(3).update(x[:0])
    with pytest.raises(ValueError, match="symmetric"):
        Gaussian.from_moments(9, torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    for n, mean, covariance in ((1, 2, 2), (9, 3, 2)):
        with pytest.raises(ValueError, match="moments need"):
            Gaussian.from_moments(n, torch.zeros(mean), torch.eye(covariance))


def test_sizes_are_refused() -> None:
    x = normal(30, 4, 1)
    with pytest.raises(ValueError, match="at least 20"):
        fid_infinity(x[:19], x)
    for sizes in ([], [10], [10, 10], [1, 10], [10, 31]):
        with pytest.raises(ValueError, match="from 2 to 30"):
            fid_infinity(x, x, sizes=sizes)
    for wrong in ({"size": 1}, {"subsets": 0}):
        with pytest.raises(ValueError, match="size >= 2 and subsets >= 1"):
            kid(x, x, **wrong)
    for splits in (0, 31):
        with pytest.raises(ValueError, match=f"splits={splits}"):
            inception_score(x, splits=splits)
    for bad in (x[:0], x[0], torch.full((9, 3), float("nan"))):
        with pytest.raises(ValueError, match="logits"):
            inception_score(bad, splits=1)


def test_neighbours_refuse() -> None:
    x = normal(8, 2, 1)
    for head in (precision_recall, density_coverage):
        with pytest.raises(ValueError, match="8 generated and 7 reference"):
            head(x, x[:7])
        assert head(x, x[:7], k=2, allow_unequal=True).n_reference == 7
        with pytest.raises(ValueError, match="k=0"):
            head(x, x, k=0)
        with pytest.raises(ValueError, match="k=8 needs at least 9 distinct samples in"):
            head(x, x, k=8)
        with pytest.raises(ValueError, match="in reference, got 2, the other 6 being copies"):
            head(x, x[:2].repeat(4, 1), k=2)
    with pytest.raises(ValueError, match="in generated, got 2"):
        precision_recall(x[:2].repeat(4, 1), x, k=2)
    assert density_coverage(x[:2].repeat(4, 1), x, k=2).coverage > 0
    with pytest.raises(ValueError, match="at least 4 distinct samples in x, got 3"):
        radii(x[:3], 3)
