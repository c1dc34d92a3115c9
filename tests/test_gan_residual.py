"""Shared blocks of the image GANs against closed forms, and the residual families."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrize

from texsyn.gan.latents import truncated
from texsyn.gan.networks.design import Design
from texsyn.gan.networks.layers import (
    NORMS,
    Attention,
    Linear,
    Norm,
    ResBlock,
    Weights,
    down,
    one_hot,
    pixel_norm,
    up,
    with_deviation,
)
from texsyn.gan.networks.residual import (
    ResidualDiscriminator,
    ResidualGenerator,
    biggan,
    resnet_r1,
    sagan,
    sngan,
    wgan_resnet,
)
from texsyn.gan.penalties import r1


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
    torch.testing.assert_close(pairs[:, 2, 1, 1], torch.tensor([0.5, 2.5, 0.5, 2.5]))  # 1 with 0, 3 with 8
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
    part = block(x) - block.skip(down(x))
    block.gain = 0.1
    torch.testing.assert_close(block(x), block.skip(down(x)) + 0.1 * part)
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


# ---- families

FAMILIES = {f.__name__: f for f in (sngan, wgan_resnet, resnet_r1, sagan, biggan)}
SHAPES = [(1, 8, 8), (3, 24, 40), (4, 32, 16), (1, 64, 64)]  # 1, 2, 2 and 4 halvings


def small(channels: int, height: int, width: int, n_classes: int = 0) -> Design:
    return Design(channels, height, width, n_classes, latent=12, features=2, max_features=16)


def pair_of(
    name: str, design: Design, seed: int = 0
) -> tuple[ResidualGenerator, ResidualDiscriminator, Tensor, Tensor | None]:
    """The two networks, four latents, and labels where there are classes."""
    generator, discriminator = FAMILIES[name](design, stream(seed))
    labels = torch.arange(4) % design.n_classes if design.n_classes else None
    return generator, discriminator, generator.draw(4, stream(9)), labels


def with_every_gain(network: nn.Module) -> None:
    """Parameters that start at 0, as attention's gain, or the tables of classes, somewhere else."""
    for p in network.parameters():
        if bool((p == 0).all()):
            p.data.fill_(0.3)


@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_every_parameter_of_both(name: str, shape: tuple[int, int, int], n_classes: int) -> None:
    before = torch.get_rng_state()
    design = small(*shape, n_classes)
    generator, discriminator, z, labels = pair_of(name, design)
    for network in (generator, discriminator):
        with_every_gain(network)
    made = generator.shown(z, labels, torch.empty(0))
    assert made.shape == (4, *shape)
    assert bool((made.abs() <= 1).all())
    judged = discriminator(made, labels)
    assert judged.shape == (4,)
    # a power of each picture's logit: the sum of an SN critic's would have no slope by its bias alone
    judged.pow(3).sum().backward()
    for network in (generator, discriminator):
        for key, p in network.named_parameters():
            assert p.grad is not None, key
            assert p.grad.isfinite().all(), key
            assert p.grad.abs().sum() > 0, key
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_stream_gives_the_same_pair(name: str) -> None:
    design = small(3, 16, 24, 2)
    one, other, third = pair_of(name, design), pair_of(name, design), pair_of(name, design, seed=1)
    for a, b, c in zip(one[:2], other[:2], third[:2], strict=True):
        assert all(torch.equal(t, b.state_dict()[key]) for key, t in a.state_dict().items())
        assert not all(torch.equal(t, c.state_dict()[key]) for key, t in a.state_dict().items())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_class_changes_the_picture_and_what_is_thought_of_it(name: str) -> None:
    generator, discriminator, z, labels = pair_of(name, small(1, 16, 16, 2))
    with_every_gain(generator.eval())
    if name in ("sngan", "wgan_resnet", "sagan"):  # tables that are the same for both classes would not do
        tables = [p for key, p in generator.named_parameters() if "told" in key]
        for p in tables:
            p.data[:, 1] = -0.2
    made, other = generator(z, labels), generator(z, 1 - labels)
    assert (made - other).abs().flatten(1).max(1).values.min() > 1e-4
    assert (discriminator(made, labels) - discriminator(made, 1 - labels)).abs().min() > 1e-5
    with pytest.raises(ValueError, match=r"labels=None: a network of 2 classes needs one of 0\.\.1 a picture"):
        generator(z)
    with pytest.raises(ValueError, match=r"labels=None"):
        discriminator(made)


@pytest.mark.parametrize("name", FAMILIES)
def test_discriminators_judge_each_picture_by_itself_and_have_second_derivatives(name: str) -> None:
    _, discriminator, _, labels = pair_of(name, small(2, 16, 24, 3))
    with_every_gain(discriminator.eval())  # else a power iteration comes between the two calls
    x = normal(4, 2, 16, 24)
    torch.testing.assert_close(discriminator(x, labels)[1:2], discriminator(x[1:2], labels[1:2]), atol=1e-5, rtol=1e-4)
    r1(lambda at: discriminator(at, labels), x).backward()
    slopes = [p.grad for key, p in discriminator.named_parameters() if "weight" in key or "gain" in key]
    assert all(slope is not None and slope.abs().sum() > 0 for slope in slopes)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 8), (8, 6)])
def test_a_picture_that_cannot_be_halved_is_refused(name: str, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"a size of {width}x{height}: both sides should be even and at least 8"):
        FAMILIES[name](small(2, height, width), stream())


def test_the_projection_is_an_inner_product_of_features() -> None:
    _, discriminator, _, labels = pair_of("wgan_resnet", small(1, 16, 16, 2))
    x = normal(4, 1, 16, 16)
    h = x
    for block in discriminator.blocks:
        h = block(h)
    h = h.relu().mean((2, 3))
    table = discriminator.classes.weight.T  # (2, C)
    torch.testing.assert_close(discriminator(x, labels), discriminator.psi(h)[:, 0] + (table[labels] * h).sum(1))


def test_spectral_norm_is_where_the_papers_have_it() -> None:
    for name, both in (("sngan", False), ("sagan", True), ("biggan", True)):
        generator, discriminator, *_ = pair_of(name, small(1, 16, 16, 2))
        for network in (discriminator, generator) if both else (discriminator,):
            for module in network.modules():
                if isinstance(module, Linear) and not (name == "sagan" and module.weight.abs().sum() == 0):
                    assert parametrize.is_parametrized(module, "weight"), name
    for name in ("sngan", "wgan_resnet", "resnet_r1"):
        generator, *_ = pair_of(name, small(1, 16, 16, 2))
        assert not any(parametrize.is_parametrized(module) for module in generator.modules())


def test_each_block_of_a_biggan_hears_its_own_part_of_the_latent() -> None:
    generator, _, z, labels = pair_of("biggan", small(1, 16, 16, 2))
    generator.eval()
    assert generator.parts == [4, 4, 4]
    heard = []
    for block in generator.blocks:
        block.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[1]))
    generator(z, labels)
    for k, y in enumerate(heard):
        assert torch.equal(y, torch.cat([generator.classes.weight[labels], z[:, 4 * k + 4 : 4 * k + 8]], 1))
    # without classes the latent alone
    generator, _, z, _ = pair_of("biggan", small(1, 16, 16))
    made = generator.eval()(z)
    z[:, -1] += 1
    assert (generator(z) - made).abs().max() > 1e-4


def test_the_resnet_of_r1_hears_a_class_as_a_vector_of_unit_length_beside_the_latent() -> None:
    generator, _, z, labels = pair_of("resnet_r1", small(1, 16, 16, 2))
    heard = []
    generator.start.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    made = generator(z, labels)
    vectors = generator.classes.weight[labels]
    torch.testing.assert_close(heard[0], torch.cat([z, vectors / vectors.norm(dim=1, keepdim=True)], 1))
    generator.classes.weight.data.mul_(3)
    torch.testing.assert_close(generator(z, labels), made)


def test_channels_change_in_the_last_convolution_of_an_sngan_s_discriminator_and_in_the_first_of_a_biggan_s() -> None:
    for name, hidden in (("sngan", [2, 2, 4, 8, 16]), ("biggan", [2, 4, 8, 16, 16])):
        _, discriminator, *_ = pair_of(name, small(1, 64, 64))
        assert [len(block.conv1.weight) for block in discriminator.blocks] == hidden
        assert [len(block.conv2.weight) for block in discriminator.blocks] == [2, 4, 8, 16, 16]


def test_a_biggan_needs_a_number_for_each_block() -> None:
    with pytest.raises(ValueError, match="latent=2 should be at least 3, a number for the start and each block"):
        biggan(Design(1, 16, 16, latent=2), stream())
    generator, _ = biggan(Design(1, 16, 16, latent=11, features=2), stream())
    assert generator.parts == [5, 3, 3]


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def conv(n_in: int, n_out: int, side: int = 3) -> int:
    return n_in * n_out * side**2 + n_out


def test_parameters_of_the_papers_networks() -> None:
    """By formula, layer after layer; the sums of BigGAN and SAGAN at 128 pixels are also those published.

    Brock, Donahue and Simonyan 2019, table 1: 158.3 million in both networks of the last row, with skip-z and a shared
    embedding, and 81.5 of the baseline, SAGAN.
    """
    with FakeTensorMode():  # shapes without numbers
        pairs = {
            "sngan": sngan(Design(3, 32, 32), torch.Generator()),
            "biggan": biggan(Design(3, 128, 128, 1000, 120, 96, 1536), torch.Generator()),
            "sagan": sagan(Design(3, 128, 128, 1000, 128, 64, 1024), torch.Generator()),
        }
    generator, discriminator = pairs["sngan"]
    block = conv(256, 256) * 2 + conv(256, 256, 1) + 2 * 2 * 256
    assert count(generator) == conv(128, 4096, 1) + 3 * block + 2 * 256 + conv(256, 3)
    first, half = conv(3, 128) + conv(128, 128) + conv(3, 128, 1), 2 * conv(128, 128) + conv(128, 128, 1)
    assert count(discriminator) == first + half + 4 * conv(128, 128) + 129

    generator, discriminator = pairs["biggan"]
    widths = [16 * 96, 16 * 96, 8 * 96, 4 * 96, 2 * 96, 96]
    blocks = sum(
        conv(a, b) + conv(b, b) + conv(a, b, 1) + 2 * (128 + 20) * (a + b) for a, b in itertools.pairwise(widths)
    )
    attention = 192 * 24 * 2 + 192 * 96 * 2 + 1
    rest = 1000 * 128 + conv(20, 16 * 16 * 96, 1) + 2 * 96 + conv(96, 3)
    assert count(generator) == blocks + attention + rest == 70_433_988
    assert count(generator) + count(discriminator) == pytest.approx(158.3e6, rel=1e-3)
    assert sum(map(count, pairs["sagan"])) == pytest.approx(81.5e6, rel=1e-3)


def test_resolutions_and_widths_of_a_biggan_of_128_pixels() -> None:
    with FakeTensorMode():
        generator, discriminator = biggan(Design(3, 128, 128, 1000, 120, 96, 1536), torch.Generator())
        seen: list[tuple[int, ...]] = []
        for block in (*generator.blocks, generator.attention, *discriminator.blocks, discriminator.attention):
            block.register_forward_hook(lambda module, inputs, out: seen.append(tuple(out.shape[1:])))
        labels = torch.zeros(2, dtype=torch.int64)
        out = discriminator(generator(torch.zeros(2, 120), labels), labels)
    assert out.shape == (2,)
    assert seen[:6] == [(1536, 8, 8), (768, 16, 16), (384, 32, 32), (192, 64, 64), (192, 64, 64), (96, 128, 128)]
    assert seen[6:8] == [(96, 64, 64), (96, 64, 64)]
    assert seen[8:] == [(192, 32, 32), (384, 16, 16), (768, 8, 8), (1536, 4, 4), (1536, 4, 4)]


# ---- latents


@pytest.mark.parametrize("threshold", [0.1, 1.0, 2.5])
def test_truncated_latents_have_the_law_of_normal_numbers_drawn_again(threshold: float) -> None:
    found = truncated(4, 5000, threshold, stream())
    assert found.shape == (4, 5000)
    assert found.dtype == torch.float32
    drawn = torch.randn(2_000_000, generator=stream(1))
    kept = drawn[drawn.abs() <= threshold]
    grid = torch.linspace(-threshold, threshold, 41)[1:-1]
    theirs = (kept[:, None] <= grid).double().mean(0)
    ours = (found.flatten()[:, None] <= grid).double().mean(0)
    # 20 000 draws: 1.63 / sqrt(n) is Kolmogorov's 99 % distance, and kept are at least 150 000
    assert (ours - theirs).abs().max() < 1.63 / 20_000**0.5 + 1.63 / 150_000**0.5
    assert found.abs().max() <= threshold


def test_truncated_latents_move_with_the_threshold_and_are_normal_far_out() -> None:
    near, far = truncated(1, 1000, 1.0, stream()), truncated(1, 1000, 1.01, stream())
    assert 0 < (near - far).abs().max() < 0.011
    whole = truncated(1, 20_000, 50.0, stream())
    assert whole.std().item() == pytest.approx(1, abs=0.02)
    assert bool(whole.isfinite().all())
    for threshold in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"threshold=.* should be above 0"):
            truncated(1, 1, threshold, stream())
