"""Losses at the critics that are best for two known laws, and penalties where they are known by hand or by finite
differences. The losses at single logits, WGAN-GP's penalty and the loop are in test_gan.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from texsyn.gan.losses import F_DIVERGENCES, LOSSES, RELATIVISTIC, f_gan
from texsyn.gan.penalties import (
    clip_weights,
    dragan,
    drift,
    gradient_penalty,
    lecam,
    orthogonal,
    path_length,
    r1,
    r2,
    slope,
    spectral_norm,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- two laws on four atoms, p of the data and q of what is made: every mean is that of 12 samples, exactly

P_COUNTS, Q_COUNTS = torch.tensor([1, 2, 3, 6]), torch.tensor([5, 4, 2, 1])
P, Q = P_COUNTS.double() / 12, Q_COUNTS.double() / 12


def samples(v: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (12,) of the data and (12,) of what is made, for a critic that says v (4,) at the atoms."""
    return v.repeat_interleave(P_COUNTS), v.repeat_interleave(Q_COUNTS)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def perturbed(best: Tensor) -> list[Tensor]:
    return [best.clamp(-3, 3) * 0.9 + 0.2 * normal(4, seed=seed) for seed in range(20)]


def test_the_best_critic_of_the_cross_entropy_is_the_posterior_and_its_value_a_jensen_shannon_divergence() -> None:
    """Goodfellow's theorem 1 on a grid: two Gaussians, D* = p / (p + q), value -log 4 + 2 JS."""
    x = torch.linspace(-8, 8, 401, dtype=torch.float64)
    p, q = ((-((x - c) ** 2) / (2 * s * s)).exp() for c, s in ((1.0, 1.0), (-0.5, 1.5)))
    p, q = p / p.sum(), q / q.sum()
    v = torch.logit(p / (p + q), eps=1e-300).requires_grad_(True)
    loss = LOSSES["non-saturating"]
    paid = (p * loss.real(v)).sum() + (q * loss.made(v)).sum()
    m = (p + q) / 2
    js = (kl(p, m) + kl(q, m)) / 2
    assert -paid.item() == pytest.approx(-math.log(4) + 2 * js.item(), rel=1e-12)
    assert js.item() > 0.1
    (gradient,) = torch.autograd.grad(paid, v)
    assert gradient.abs().max().item() < 1e-16
    for seed in range(5):
        other = v.detach() + 0.1 * normal(401, seed=seed)
        assert (p * loss.real(other)).sum() + (q * loss.made(other)).sum() > paid


@pytest.mark.parametrize(
    ("name", "best", "value"),
    [
        ("least-squares", P / (P + Q), (P * Q / (P + Q)).sum() / 2),
        ("least-squares-pearson", (P - Q) / (P + Q), 2 * (P * Q / (P + Q)).sum()),
        ("hinge", (P - Q).sign(), 2 * torch.minimum(P, Q).sum()),  # 2 - 2 of total variation
    ],
)
def test_the_other_losses_at_their_best_critics(name: str, best: Tensor, value: Tensor) -> None:
    loss = LOSSES[name]
    assert loss.d(*samples(best)).item() == pytest.approx(value.item(), rel=1e-14)
    assert all(loss.d(*samples(v)) > value + 1e-6 for v in perturbed(best))


def test_the_pearson_variant_of_least_squares_is_half_a_chi_square() -> None:
    r, f = samples((P - Q) / (P + Q))
    loss = LOSSES["least-squares-pearson"]
    found = loss.g(f) + loss.g(r)
    assert found.item() == pytest.approx(((P + Q - 2 * Q).square() / (P + Q)).sum().item() / 2, rel=1e-14)


def test_a_wasserstein_critic_of_slope_one_sees_a_translation_as_long_as_it_is() -> None:
    x = normal(50)
    assert LOSSES["wasserstein"].d(x + 0.7, x).item() == pytest.approx(-0.7, rel=1e-13)


# ---- f-GAN


def xlogx(u: Tensor) -> Tensor:
    return u * u.log()


#: f(u), and the logit where the bound is tight as a function of u = p / q
GENERATORS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "kl": (xlogx, lambda u: 1 + u.log()),
    "reverse-kl": (lambda u: -u.log(), torch.log),
    "pearson": (lambda u: (u - 1).square(), lambda u: 2 * (u - 1)),
    "squared-hellinger": (lambda u: (u.sqrt() - 1).square(), lambda u: u.log() / 2),
    "jensen-shannon": (lambda u: xlogx(u) - (u + 1) * ((u + 1) / 2).log(), torch.log),
    "gan": (lambda u: xlogx(u) - xlogx(u + 1), torch.log),
    "total-variation": (lambda u: (u - 1).abs() / 2, lambda u: 40 * (u - 1).sign()),  # tanh 40 is 1 in float64
}

#: the same divergences in the words of statistics
DIRECT = {
    "kl": kl(P, Q),
    "reverse-kl": kl(Q, P),
    "pearson": ((P - Q).square() / Q).sum(),
    "squared-hellinger": (P.sqrt() - Q.sqrt()).square().sum(),
    "jensen-shannon": kl(P, (P + Q) / 2) + kl(Q, (P + Q) / 2),
    "gan": kl(P, (P + Q) / 2) + kl(Q, (P + Q) / 2) - math.log(4),
    "total-variation": (P - Q).abs().sum() / 2,
}


def test_every_divergence_is_looked_at() -> None:
    assert list(GENERATORS) == list(F_DIVERGENCES) == list(DIRECT)


@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_f_is_the_conjugate_at_the_activation(name: str) -> None:
    """F(v) = sup_u g(v) u - f(u), the supremum taken over a fine grid of u that has 1 in it."""
    f, _ = GENERATORS[name]
    g, conjugate = F_DIVERGENCES[name]
    v = torch.linspace(-1.5, 1.5, 13, dtype=torch.float64)
    u = torch.logspace(-5, 5, 100001, dtype=torch.float64)
    supremum = (g(v)[:, None] * u - f(u)).max(1).values
    # steps of u are 2.3e-4 u, and what a grid misses is of their second order
    torch.testing.assert_close(supremum, conjugate(v), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_the_bound_is_tight_at_its_best_critic_and_below_elsewhere(name: str) -> None:
    f, best = GENERATORS[name]
    v, loss = best(P / Q), f_gan(name)
    divergence = (Q * f(P / Q)).sum()
    assert divergence.item() == pytest.approx(DIRECT[name].item(), rel=1e-13)
    assert -loss.d(*samples(v)).item() == pytest.approx(divergence.item(), rel=1e-13)
    assert all(-loss.d(*samples(w)) < divergence - 1e-6 for w in perturbed(v))


@pytest.mark.parametrize("alternative", [False, True])
@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_both_generators_raise_what_they_are_found_out_by(name: str, alternative: bool) -> None:
    f = torch.linspace(-1.9, 2, 9, dtype=torch.float64, requires_grad=True)
    loss = f_gan(name, alternative=alternative)
    (fooled,) = torch.autograd.grad(loss.g(f), f)
    towards_r, towards_f = torch.autograd.grad(loss.d(f, f.detach()), f)[0], torch.autograd.grad(loss.d(f * 0, f), f)[0]
    assert bool((fooled < 0).all())
    assert bool((towards_r < 0).all())
    assert bool((towards_f > 0).all())


def test_goodfellows_losses_are_members_of_the_family() -> None:
    r, f = normal(7), normal(5, seed=1)
    for alternative, name in ((False, "saturating"), (True, "non-saturating")):
        ours, theirs = f_gan("gan", alternative=alternative), LOSSES[name]
        torch.testing.assert_close(ours.d(r, f), theirs.d(r, f), rtol=1e-15, atol=0)
        torch.testing.assert_close(ours.g(f), theirs.g(f), rtol=1e-15, atol=0)
    by_js = f_gan("jensen-shannon").d(r, f)
    assert by_js.item() == pytest.approx(LOSSES["saturating"].d(r, f).item() - math.log(4), rel=1e-14)


def test_an_unknown_divergence_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"divergence='renyi' is not one of kl, reverse-kl, .*total-variation"):
        f_gan("renyi")


# ---- relativistic, and laws


def test_the_relativistic_hinge_by_hand() -> None:
    r, f = torch.tensor([2.0, 0.0]), torch.tensor([[1.0], [-1.0]])  # means 1 and 0
    loss = RELATIVISTIC["relativistic-hinge"]
    assert loss.d(r, f).item() == (0 + 1) / 2 + (1 + 0) / 2
    assert loss.g(f, r).item() == (1 + 3) / 2 + (3 + 1) / 2


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_relativistic_losses_do_not_feel_a_constant_and_exchange_their_roles(name: str) -> None:
    r, f, loss = normal(6).requires_grad_(True), normal(2, 1, 2, 2, seed=1).requires_grad_(True), RELATIVISTIC[name]
    assert loss.d(r + 3, f + 3).item() == pytest.approx(loss.d(r, f).item(), rel=1e-13)
    assert loss.g(f + 3, r + 3).item() == pytest.approx(loss.g(f, r).item(), rel=1e-13)
    assert loss.g(f, r).item() == pytest.approx(loss.d(f, r).item(), rel=1e-15)
    by_r, by_f = torch.autograd.grad(loss.d(r, f), [r, f])
    assert by_r.sum().item() == pytest.approx(-by_f.sum().item(), rel=1e-12)  # the law's derivative
    assert by_r.sum() < 0
    (fooled,) = torch.autograd.grad(loss.g(f, r), f)
    assert fooled.sum() < 0


def test_a_relativistic_generator_without_real_logits_is_refused_and_others_do_not_ask() -> None:
    f = normal(4)
    with pytest.raises(ValueError, match="r=None: a relativistic loss needs"):
        RELATIVISTIC["relativistic-hinge"].g(f)
    for loss in [*LOSSES.values(), f_gan("kl")]:
        assert torch.equal(loss.g(f, normal(3)), loss.g(f))


@pytest.mark.parametrize(
    ("name", "d", "g"),
    [
        ("saturating", lambda a: math.log(2 + 2 * math.cosh(a)), lambda a: -math.log(2 + 2 * math.cosh(a)) / 2),
        ("non-saturating", lambda a: math.log(2 + 2 * math.cosh(a)), lambda a: math.log(2 + 2 * math.cosh(a)) / 2),
        ("least-squares", lambda a: a * a + 0.5, lambda a: (a * a + 1) / 2),
        ("least-squares-pearson", lambda a: a * a + 1, lambda a: a * a / 2),
        ("hinge", lambda a: max(2, 1 + a), lambda a: 0),
        ("wasserstein", lambda a: 0, lambda a: 0),
    ],
)
def test_a_generator_whose_logits_alternate_in_sign(name: str, d: Callable, g: Callable) -> None:
    """r = f = (a, -a, a, -a): log(1 + e^a) + log(1 + e^-a) = log(2 + 2 cosh a); and means are 0 to a relativist."""
    loss = LOSSES[name]
    for a in (0.5, 2.0):
        f = torch.tensor([a, -a, a, -a], dtype=torch.float64)
        assert loss.d(f, f).item() == pytest.approx(d(a), abs=1e-14)
        assert loss.g(f).item() == pytest.approx(g(a), abs=1e-14)
        for relative in RELATIVISTIC.values():
            assert relative.d(f, f).item() == pytest.approx(relative.absolute.d(f, f).item(), abs=1e-14)
            assert relative.g(f, f).item() == pytest.approx(relative.d(f, f).item(), abs=1e-14)


# ---- penalties of a slope


def finite_differences(value: Callable[[], Tensor], weight: Tensor, h: float = 1e-5) -> Tensor:
    """Central ones, of a scalar that is made anew after each change of one entry."""
    found = torch.zeros_like(weight)
    entries = weight.detach().view(-1)
    for k in range(len(entries)):
        there = entries[k].item()
        ends = []
        for there_and_back in (there + h, there - h):
            entries[k] = there_and_back
            ends.append(value().item())
        entries[k] = there
        found.view(-1)[k] = (ends[0] - ends[1]) / (2 * h)
    return found


def assert_gradient(value: Callable[[], Tensor], *weights: Tensor) -> None:
    """Backward through value() is what finite differences say; their error is some 1e-10 here."""
    gradients = torch.autograd.grad(value(), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        torch.testing.assert_close(gradient, finite_differences(value, weight), rtol=1e-7, atol=1e-8)
        assert bool(gradient.any())


@pytest.mark.parametrize("penalty", [r1, r2])
def test_r1_of_a_quadratic_critic(penalty: Callable) -> None:
    """D(x) = x^T A x / 2 + b^T x: half the mean of |A x + b|^2, A symmetric; derivatives by A and b in closed form."""
    x, b = normal(6, 3), normal(3, seed=1).requires_grad_(True)
    half = normal(3, 3, seed=2)
    a = (half + half.T).requires_grad_(True)

    def value() -> Tensor:
        return penalty(lambda t: ((t @ a) * t).sum(1) / 2 + t @ b, x)

    at = x @ a + b
    assert value().item() == pytest.approx(at.square().sum(1).mean().item() / 2, rel=1e-13)
    (by_b,) = torch.autograd.grad(value(), b)
    torch.testing.assert_close(by_b, at.mean(0), rtol=1e-12, atol=1e-12)
    assert_gradient(value, a, b)


def critic(seed: int = 3) -> nn.Sequential:
    """A smooth one, with a map of logits."""
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Softplus(), nn.Conv2d(3, 1, 2)).double()
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.copy_(0.5 * normal(*p.shape, seed=seed + k))
    return network


@pytest.mark.parametrize("name", ["gradient_penalty", "per_pixel", "dragan", "r1"])
def test_penalties_of_a_network_have_the_gradients_that_finite_differences_say(name: str) -> None:
    d, x, made, mixing = critic(), normal(3, 2, 5, 4), normal(3, 2, 5, 4, seed=1), uniform(3, 1, 1, 1)
    value = {
        "gradient_penalty": lambda: gradient_penalty(d, x, made, mixing),
        "per_pixel": lambda: gradient_penalty(d, x, made, mixing, per_pixel=True),
        "dragan": lambda: dragan(d, x, mixing, uniform(3, 2, 5, 4, seed=1)),
        "r1": lambda: r1(d, x),
    }[name]
    # the last bias moves logits and no slope
    assert_gradient(value, *(p for n, p in d.named_parameters() if n != "2.bias"))


@pytest.mark.parametrize("name", ["dragan", "r2"])
def test_penalties_teach_the_critic_alone(name: str) -> None:
    d, x = critic(), normal(3, 2, 5, 4).requires_grad_(True)
    value = dragan(d, x, uniform(3, 1, 1, 1), uniform(3, 2, 5, 4)) if name == "dragan" else r2(d, x)
    value.backward()
    assert x.grad is None
    assert d[0].weight.grad is not None


def test_dragan_of_a_linear_critic_is_that_of_its_slope() -> None:
    w, x = normal(2, 3, 4), normal(5, 2, 3, 4, seed=1)
    found = dragan(lambda t: (t * w).flatten(1).sum(1), x, uniform(5, 1, 1, 1), uniform(5, 2, 3, 4))
    assert found.item() == pytest.approx((w.norm().item() - 1) ** 2, rel=1e-13)


def test_dragan_looks_beside_real_pictures_by_half_a_deviation_at_most() -> None:
    """D(x) = |x|^2 / 2 has the gradient x, so that the penalty knows where it looked."""
    x, mixing, noise = normal(5, 2, 3, 4), uniform(5, 1, 1, 1, seed=1), uniform(5, 2, 3, 4, seed=2)
    found = dragan(lambda t: t.square().flatten(1).sum(1) / 2, x, mixing, noise)
    at = x + 0.5 * x.std() * mixing * noise
    assert found.item() == pytest.approx((at.flatten(1).norm(dim=1) - 1).square().mean().item(), rel=1e-13)
    torch.testing.assert_close(slope(lambda t: t.square() / 2, x), x, rtol=0, atol=0)


def test_a_flat_critic_has_gradients_that_are_numbers() -> None:
    x, s = normal(2, 1, 2, 2), torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = dragan(lambda t: s * t.sum(), x, uniform(2, 1, 1, 1), uniform(2, 1, 2, 2))
    value.backward()
    assert value.item() == 1
    assert s.grad is not None
    assert bool(s.grad.isfinite())


# ---- penalties of logits


def test_drift_is_the_mean_square_of_logits() -> None:
    assert drift(torch.tensor([[1.0, -3.0]])).item() == 5


def test_lecam_by_hand() -> None:
    """Means (0, 2) go half way to those of the batch, (2, -2): (1, 0)."""
    r, f = torch.tensor([3.0, 1.0], requires_grad=True), torch.tensor([[-4.0], [0.0]], requires_grad=True)
    value, means = lecam(r, f, torch.tensor([0.0, 2.0]), rate=0.5)
    assert means.tolist() == [1, 0]
    assert not means.requires_grad
    assert value.item() == (3**2 + 1**2) / 2 + (5**2 + 1**2) / 2
    value.backward()
    assert r.grad is not None
    assert f.grad is not None
    assert r.grad.tolist() == [3, 1]  # the means are constants
    assert f.grad.tolist() == [[-5], [-1]]
    beyond, _ = lecam(f, r, torch.tensor([0.0, 2.0]), rate=0.0)  # f below the mean of r, r above that of f
    assert beyond.item() == 0


def test_lecam_does_not_feel_a_constant_when_its_means_have_it_too() -> None:
    r, f, means = normal(4), normal(5, seed=1), normal(2, seed=2)
    (here, at_here), (there, at_there) = lecam(r, f, means), lecam(r + 2, f + 2, means + 2)
    assert there.item() == pytest.approx(here.item(), rel=1e-13)
    torch.testing.assert_close(at_there, at_here + 2, rtol=1e-13, atol=0)


# ---- weights


def test_clipping_is_in_place_and_leaves_what_is_inside() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.005], [0.01, -3.0]]))
        layer.bias.fill_(0.002)
    where = layer.weight
    clip_weights(layer.parameters(), 0.01)
    assert torch.equal(layer.weight, torch.tensor([[0.01, -0.005], [0.01, -0.01]]))
    assert layer.bias.tolist() == pytest.approx([0.002] * 2)
    assert layer.weight is where
    assert where.requires_grad
    with pytest.raises(ValueError, match=r"c=0\.0 should be above 0"):
        clip_weights(layer.parameters(), 0.0)


def test_the_orthogonal_penalty_is_zero_for_rows_at_right_angles_of_any_length() -> None:
    rows = torch.linalg.qr(normal(12, 12)).Q[:4] * torch.tensor([[0.1], [1.0], [2.0], [5.0]], dtype=torch.float64)
    assert orthogonal([rows]).item() < 1e-28
    assert orthogonal([rows.view(4, 3, 2, 2)]).item() < 1e-28
    assert orthogonal([rows.T]).item() > 1


def test_the_orthogonal_penalty_by_hand_and_its_gradient() -> None:
    w = torch.tensor([[1.0, 1.0], [2.0, 0.0]], dtype=torch.float64, requires_grad=True)  # W W^T = (2 2; 2 4)
    bias = torch.ones(3, dtype=torch.float64)
    value = orthogonal([w, bias, torch.ones(2, 1, dtype=torch.float64)])
    assert value.item() == 2 * 2**2 + 2 * 1**2
    (gradient,) = torch.autograd.grad(value, w)
    m = torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
    assert torch.equal(gradient, 4 * m @ w.detach())
    assert_gradient(lambda: orthogonal([w]), w)
    with pytest.raises(ValueError, match="weights: none has two axes"):
        orthogonal([bias])


LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), 0),
    "conv": (lambda: nn.Conv2d(3, 4, 3), 0),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 2), 1),
}


def spectral(kind: str, seed: int = 5, **more: int) -> tuple[nn.Module, Tensor, int]:
    """The layer, the weight it was given and the axis of its outputs."""
    make, axis = LAYERS[kind]
    layer = make().double()
    with torch.no_grad():
        layer.weight.copy_(normal(*layer.weight.shape))
    weight = layer.weight.detach().clone()
    return spectral_norm(layer, torch.Generator().manual_seed(seed), **more), weight, axis


@pytest.mark.parametrize("kind", LAYERS)
def test_the_spectral_norm_is_the_largest_singular_value_after_enough_iterations(kind: str) -> None:
    layer, weight, axis = spectral(kind)
    for _ in range(500):
        normalised = layer.weight
    sigma = torch.linalg.svdvals(weight.movedim(axis, 0).flatten(1))[0]
    torch.testing.assert_close(normalised, weight / sigma, rtol=1e-10, atol=1e-12)
    assert torch.linalg.svdvals(normalised.movedim(axis, 0).flatten(1))[0].item() == pytest.approx(1, rel=1e-10)
    layer.eval()
    before = [t.clone() for t in layer.buffers()]
    assert torch.equal(layer.weight, layer.weight)
    assert all(torch.equal(t, s) for t, s in zip(layer.buffers(), before, strict=True))


def test_sigma_is_differentiated_and_two_passes_share_a_backward() -> None:
    """At the singular vectors, d(sigma) = u^T dW v: finite differences of W / largest singular value say the same."""
    layer, weight, _ = spectral("linear", n_iterations=200)
    x, made, c = normal(3, 6, seed=1), normal(3, 6, seed=2), normal(4, seed=3)
    (layer(x) @ c - (layer(made) @ c).square()).sum().backward()
    found = layer.parametrizations.weight.original.grad
    bias = layer.bias.detach()

    def value() -> Tensor:
        normalised = weight / torch.linalg.svdvals(weight)[0]
        return ((x @ normalised.T + bias) @ c - ((made @ normalised.T + bias) @ c).square()).sum()

    torch.testing.assert_close(found, finite_differences(value, weight), rtol=1e-7, atol=1e-8)
    loss = r1(lambda t: layer(t).square().sum(1), x)
    loss.backward()
    assert bool(layer.parametrizations.weight.original.grad.isfinite().all())


def test_spectral_norm_starts_from_its_generator_and_leaves_the_global_stream() -> None:
    layers = [LAYERS["conv"][0]().double() for _ in range(3)]
    for layer in layers:
        layer.load_state_dict(layers[0].state_dict())
    before = torch.get_rng_state()
    for layer, seed in zip(layers, (5, 5, 6), strict=True):
        spectral_norm(layer, torch.Generator().manual_seed(seed))
    assert torch.equal(torch.get_rng_state(), before)
    vectors = [[t.clone() for t in layer.buffers()] for layer in layers]
    assert len(vectors[0]) == 2
    assert all(torch.equal(t, s) for t, s in zip(vectors[0], vectors[1], strict=True))
    assert not all(torch.equal(t, s) for t, s in zip(vectors[0], vectors[2], strict=True))
    assert all(t.norm().item() == pytest.approx(1, rel=1e-12) for t in vectors[0])


def test_one_use_of_a_weight_is_one_iteration_and_a_cached_one_none() -> None:
    layer, weight, _ = spectral("linear")
    u, v = (t.clone() for t in layer.buffers())
    u = nn.functional.normalize(weight @ v, dim=0)
    v = nn.functional.normalize(weight.T @ u, dim=0)
    with parametrize.cached():
        for _ in range(3):
            layer(torch.ones(1, 6, dtype=torch.float64))
    for t, by_hand in zip(layer.buffers(), (u, v), strict=True):
        torch.testing.assert_close(t, by_hand, rtol=1e-14, atol=1e-15)


def test_a_layer_in_evaluation_stays_so_and_a_vector_is_refused() -> None:
    layer = spectral_norm(nn.Linear(2, 2).eval(), torch.Generator().manual_seed(0))
    assert not any(m.training for m in layer.modules())
    with pytest.raises(ValueError, match="should have a weight of two axes or more"):
        spectral_norm(nn.BatchNorm2d(3), torch.Generator())


# ---- path length


def test_path_lengths_of_a_linear_generator_by_hand() -> None:
    """A picture of one row of two pixels, (3 w_0, 4 w_1) sqrt 2: J^T y = (3 y_0, 4 y_1) with y the noise."""
    scale = torch.tensor([3.0, 4.0], dtype=torch.float64) * math.sqrt(2)
    noise = torch.tensor([[1.0, 1.0], [2.0, 0.0]], dtype=torch.float64).view(2, 1, 1, 2)  # lengths 5 and 6
    start = torch.tensor(1.5, dtype=torch.float64)
    for w in (normal(2, 2), normal(2, 2).requires_grad_(True)):
        value, mean = path_length(lambda t: (t * scale).view(2, 1, 1, 2), w, noise, start, rate=0.5)
        assert mean.item() == pytest.approx(3.5, rel=1e-14)
        assert value.item() == pytest.approx((1.5**2 + 2.5**2) / 2, rel=1e-14)
        assert not mean.requires_grad
    assert start.item() == 1.5
    value, mean = path_length(lambda t: (t * scale).view(2, 1, 1, 2), w, noise, start)
    assert mean.item() == pytest.approx(1.5 + 0.01 * 4, rel=1e-14)


def test_layers_latents_count_by_their_mean_square() -> None:
    """made = sum over l of w_l A_l: the length is sqrt of the mean over l of |A_l y|^2."""
    a, w, noise = normal(3, 4, 2 * 2 * 3), normal(5, 3, 4, seed=1), normal(5, 2, 2, 3, seed=2)
    made = lambda t: torch.einsum("nlc,lcp->np", t, a).view(5, 2, 2, 3)  # noqa: E731
    y = noise.flatten(1) / math.sqrt(6)
    lengths = torch.einsum("lcp,np->nlc", a, y).square().sum(2).mean(1).sqrt()
    value, mean = path_length(made, w, noise, torch.tensor(0.0, dtype=torch.float64), rate=0.25)
    assert mean.item() == pytest.approx(lengths.mean().item() / 4, rel=1e-13)
    assert value.item() == pytest.approx((lengths - lengths.mean() / 4).square().mean().item(), rel=1e-13)


def test_path_length_teaches_the_generator_and_the_mapping() -> None:
    weight, mapping = normal(3, 8).requires_grad_(True), normal(2, 3, seed=1).requires_grad_(True)
    z, noise = normal(4, 2, seed=2), normal(4, 2, 2, 2, seed=3)

    def value() -> Tensor:
        made = lambda w: (w @ weight).tanh().view(4, 2, 2, 2)  # noqa: E731
        return path_length(made, z @ mapping, noise, torch.tensor(0.3, dtype=torch.float64))[0]

    assert_gradient(value, weight, mapping)


def test_a_generator_that_does_not_move_has_gradients_that_are_numbers() -> None:
    s = torch.zeros((), dtype=torch.float64, requires_grad=True)
    start = torch.tensor(2.0, dtype=torch.float64)
    value, mean = path_length(lambda w: (s * w).view(2, 1, 1, 2), normal(2, 2), normal(2, 1, 1, 2), start)
    value.backward()
    assert value.item() == pytest.approx(1.98**2)
    assert mean.item() == pytest.approx(1.98)
    assert s.grad is not None
    assert bool(s.grad.isfinite())
