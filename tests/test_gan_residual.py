"""Shared blocks of the image GANs against closed forms, and the residual families."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.gan.networks.layers import (
    NORMS,
    Attention,
    Norm,
    ResBlock,
    Weights,
    down,
    one_hot,
    pixel_norm,
    up,
    with_deviation,
)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed))


# ---- weights


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_equalised_layers_use_weights_of_he_s_size_and_learn_them_at_the_rate(rate: float) -> None:
    weights = Weights(stream(), scale="equalised", rate=rate)
    for layer, fan_in in ((weights.conv(40, 60, 3, gain=2**0.5), 360), (weights.linear(400, 50, gain=2**0.5), 400)):
        assert layer.weight.std().item() == pytest.approx(1 / rate, rel=0.02)  # 20 000 draws: 0.5 %
        used, _ = layer.used()
        assert used.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
        layer.bias.data.fill_(3.0)
        out = layer(torch.zeros(1, 40, 2, 2) if used.ndim == 4 else torch.zeros(1, 400))
        torch.testing.assert_close(out, torch.full_like(out, 3 * rate))


@pytest.mark.parametrize(("start", "variance"), [("normal", 0.3**2), ("glorot", 2 / (9 * 30 + 9 * 50))])
def test_weights_start_with_the_variance_of_their_start(start: str, variance: float) -> None:
    layer = Weights(stream(), start=start, spread=0.3).conv(30, 50)
    assert layer.weight.var().item() == pytest.approx(variance, rel=0.03)
    assert bool((layer.bias == 0).all())


def test_orthogonal_starts_are_orthogonal() -> None:
    weight = Weights(stream(), start="orthogonal").conv(4, 7).weight.detach().flatten(1)  # (7, 36)
    torch.testing.assert_close(weight @ weight.T, torch.eye(7), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_spectral_layers_use_a_weight_whose_largest_singular_value_is_one(kind: str) -> None:
    weights = Weights(stream(), scale="spectral", spread=2.0)
    layer = weights.conv(5, 8) if kind == "conv" else weights.linear(30, 8)
    for _ in range(50):
        used, _ = layer.used()
    largest = torch.linalg.svdvals(used.detach().flatten(1))[0]
    assert largest.item() == pytest.approx(1, abs=1e-3)
    assert torch.linalg.svdvals(layer.parametrizations.weight.original.detach().flatten(1))[0] > 5


def test_a_layer_is_its_formula() -> None:
    weights = Weights(stream(), spread=1.0)
    conv, linear, x = weights.conv(3, 4, 4, stride=2), weights.linear(6, 2, bias=False), normal(2, 3, 6, 8)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1))
    assert conv(x).shape == (2, 4, 3, 4)
    assert linear.bias is None
    torch.testing.assert_close(linear(normal(5, 6)), normal(5, 6) @ linear.weight.T)


@pytest.mark.parametrize("scale", ["plain", "equalised", "spectral"])
def test_layers_are_drawn_from_their_stream_alone(scale: str) -> None:
    before = torch.get_rng_state()
    one, other, third = (
        ResBlock(3, 5, Weights(stream(seed), scale=scale, start="orthogonal"), resample="up") for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    for name, t in one.state_dict().items():
        assert torch.equal(t, other.state_dict()[name]), name
    assert any(not torch.equal(t, third.state_dict()[name]) for name, t in one.state_dict().items())


def test_unknown_words_are_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="scale='equal' is not one of plain, equalised, spectral"):
        Weights(stream(), scale="equal")
    with pytest.raises(ValueError, match="start='he' is not one of normal, glorot, orthogonal"):
        Weights(stream(), start="he")
    with pytest.raises(ValueError, match="kind='group' is not one of none, batch, instance, layer, pixel"):
        Norm("group", 3)


# ---- normalisation


@pytest.mark.parametrize(("kind", "axes"), [("batch", (0, 2, 3)), ("instance", (2, 3)), ("layer", (1, 2, 3))])
def test_normalised_values_have_mean_0_and_variance_1_and_then_a_gain_and_a_bias(kind: str, axes: tuple) -> None:
    x, norm = 5 + 3 * normal(4, 6, 8, 5), Norm(kind, 6)
    out = norm(x)
    assert out.mean(axes).abs().max().item() < 1e-5
    torch.testing.assert_close(out.var(axes, correction=0), torch.ones_like(out.mean(axes)), atol=1e-4, rtol=0)
    norm.gain.data[2], norm.bias.data[3] = 1.0, 7.0
    moved = norm(x)
    torch.testing.assert_close(moved[:, 2], 2 * out[:, 2])
    torch.testing.assert_close(moved[:, 3], out[:, 3] + 7)


def test_a_norm_told_a_class_is_a_table_of_gains_and_biases() -> None:
    weights = Weights(stream(), spread=1.0)
    norm, x = Norm("batch", 3, lambda n: weights.linear(4, n, bias=False)), normal(5, 3, 4, 4)
    labels = torch.tensor([0, 3, 3, 1, 2])
    plain = Norm("batch", 3)(x)
    gains, biases = norm.told
    expected = (1 + gains.weight.T[labels])[..., None, None] * plain + biases.weight.T[labels][..., None, None]
    torch.testing.assert_close(norm(x, one_hot(labels, 4)), expected)


def test_pixel_norm_makes_unit_mean_squares_at_every_place() -> None:
    x = 10 * normal(2, 5, 3, 4)
    torch.testing.assert_close(pixel_norm(x).square().mean(1), torch.ones(2, 3, 4))
    torch.testing.assert_close(Norm("pixel", 5)(x), x / x.square().mean(1, keepdim=True).sqrt())
    assert torch.equal(Norm("none", 5)(x), x)


@pytest.mark.parametrize("kind", NORMS)
def test_norms_have_no_parameter_that_they_do_not_use(kind: str) -> None:
    for told in (None, lambda n: Weights(stream()).linear(2, n)):
        norm = Norm(kind, 3, told)
        parameters = list(norm.parameters())
        out = norm(normal(4, 3, 2, 2), normal(4, 2))
        for p in parameters:
            assert torch.autograd.grad(out.square().sum(), p, retain_graph=True)[0].abs().sum() > 0


def test_labels_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"labels=None: a network of 10 classes needs one of 0\.\.9 a picture"):
        one_hot(None, 10)


# ---- what looks beyond a place


def test_the_deviation_of_a_group_by_hand() -> None:
    x = torch.tensor([1.0, 3.0, 0.0, 8.0])[:, None, None, None].expand(4, 2, 3, 3)
    pairs = with_deviation(x, 2)
    assert pairs.shape == (4, 3, 3, 3)
    assert torch.equal(pairs[:, :2], x)
    torch.testing.assert_close(pairs[:, 2, 1, 1], torch.tensor([1.0, 1.0, 4.0, 4.0]))
    # of 1, 3, 0, 8: mean 3, squares 4, 0, 9, 25
    torch.testing.assert_close(with_deviation(x)[:, 2, 0, 0], torch.full((4,), (38 / 4) ** 0.5))


def test_groups_divide_any_batch() -> None:
    for n in range(1, 9):
        assert with_deviation(normal(n, 2, 2, 2)).shape == (n, 3, 2, 2)
    torch.testing.assert_close(with_deviation(normal(6, 2, 2, 2)), with_deviation(normal(6, 2, 2, 2), 3))
    assert with_deviation(normal(5, 1, 1, 1))[:, 1].max().item() == pytest.approx(1e-4)  # alone: the root of 1e-8


def test_attention_starts_as_the_identity() -> None:
    x = normal(2, 16, 6, 4)
    assert torch.equal(Attention(16, Weights(stream(), spread=1.0))(x), x)


@pytest.mark.parametrize("shape", [(6, 4), (3, 5)])
def test_attention_is_a_weighted_mean_at_every_place(shape: tuple[int, int]) -> None:
    x = normal(2, 16, *shape)
    attention = Attention(16, Weights(stream(1), spread=0.5))
    attention.gain.data.fill_(0.7)
    out = attention(x)
    for b in range(2):
        theta, phi, g = (
            torch.einsum("oc,chw->ohw", conv.weight[:, :, 0, 0], x[b])
            for conv in (attention.theta, attention.phi, attention.g)
        )
        corners = [(i, j) for i in range(0, shape[0], 2) for j in range(0, shape[1], 2)]
        keys = torch.stack([phi[:, i : i + 2, j : j + 2].amax((1, 2)) for i, j in corners])
        values = torch.stack([g[:, i : i + 2, j : j + 2].amax((1, 2)) for i, j in corners])
        assert keys.shape[1:] == (2,)
        assert values.shape[1:] == (8,)
        for i in range(shape[0]):
            for j in range(shape[1]):
                share = torch.softmax(keys @ theta[:, i, j], 0)
                seen = attention.o.weight[:, :, 0, 0] @ (share @ values)
                torch.testing.assert_close(out[b, :, i, j], x[b, :, i, j] + 0.7 * seen, atol=1e-5, rtol=1e-4)


# ---- residual blocks


def test_a_block_of_plain_layers_is_its_formula() -> None:
    x, block = normal(2, 3, 4, 6), ResBlock(3, 5, Weights(stream(), spread=0.3), resample="down", n_hidden=4)
    torch.testing.assert_close(block(x), down(block.skip(x)) + down(block.conv2(block.conv1(x.relu()).relu())))
    assert block.conv1.weight.shape == (4, 3, 3, 3)
    block = ResBlock(3, 3, Weights(stream(), spread=0.3), slope=0.2, gain=0.1)
    inside = block.conv2(F.leaky_relu(block.conv1(F.leaky_relu(x, 0.2)), 0.2))
    torch.testing.assert_close(block(x), x + 0.1 * inside)


def test_a_first_block_sees_the_picture_below_zero() -> None:
    x, block = -normal(2, 3, 4, 4).abs(), ResBlock(3, 5, Weights(stream(), spread=0.3), resample="down", first=True)
    assert torch.equal(block(x), block.skip(down(x)) + down(block.conv2(block.conv1(x).relu())))
    # its formula in the paper has the skip halved first, which is the same as halved last
    torch.testing.assert_close(block.skip(down(x)), down(block.skip(x)))


def test_an_upward_block_normalises_before_it_grows() -> None:
    x = normal(4, 3, 2, 3)
    block = ResBlock(3, 3, Weights(stream(), spread=0.3), resample="up", norm=lambda n: Norm("batch", n))
    inside = block.conv2(block.norm2(block.conv1(up(block.norm1(x).relu()))).relu())
    torch.testing.assert_close(block(x), block.skip(up(x)) + inside)
    assert block(x).shape == (4, 3, 4, 6)
    assert torch.equal(up(x)[:, :, ::2, 1::2], x)
    torch.testing.assert_close(down(up(x)), x)
