"""StyleGAN: sizes as published, layers against steps written out, growth, second derivatives, tiles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from texsyn.gan.networks.design import Design
from texsyn.gan.networks.growing import GrowingDiscriminator
from texsyn.gan.networks.layers import Weights, down, up, with_deviation
from texsyn.gan.networks.resampling import resample
from texsyn.gan.networks.style import keys_of, normals
from texsyn.gan.networks.stylegan import AdaptiveGenerator, AdaptiveLayer, styled, stylegan
from texsyn.gan.penalties import path_length, r1
from texsyn.gan.training import Player

SHAPES = [(1, 8, 8), (2, 16, 8), (3, 24, 40), (4, 32, 16)]  # 1, 1, 2 and 2 halvings


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(channels: int = 3, height: int = 24, width: int = 40, n_classes: int = 0) -> Design:
    return Design(channels, height, width, n_classes, latent=6, features=4, max_features=8)


def pair_of(
    design: Design, seed: int = 0, *, mixing: float = 0.9, group: int = 4, periodic: bool = False
) -> tuple[AdaptiveGenerator, GrowingDiscriminator, Tensor, Tensor | None]:
    """Both networks, nothing in them 0 any more, six latents, and labels where there are classes."""
    pair = stylegan(design, stream(seed), mapping_layers=2, mixing=mixing, group=group, periodic=periodic)
    random = stream(seed + 100)
    with torch.no_grad():
        for network in pair:
            for name, p in network.named_parameters():
                if name.endswith(("bias", "strength")):
                    p += torch.randn(p.shape, generator=random) / 4 / (0.01 if "mapping.layers" in name else 1)
        pair[0].average.copy_(torch.randn(6, generator=random))
    labels = torch.arange(6) % design.n_classes if design.n_classes else None
    return *pair, pair[0].draw(6, stream(9)), labels


def pictures(channels: int = 3, height: int = 24, width: int = 40) -> Tensor:
    return torch.rand(6, channels, height, width, generator=stream(5)) * 2 - 1


# ---- sizes


def test_parameters_of_1024_pixels() -> None:
    """26.2 million in the paper's generator, beside 23.1 of ProGAN's; channels 512 up to 32 pixels, 16 at 1024."""
    with FakeTensorMode():
        pair = stylegan(Design(3, 1024, 1024, latent=512, features=16, max_features=512), torch.Generator())
    grown = []
    for network in pair:
        # those from and to pictures of lower resolutions are no part of the grown networks
        coarse = sum(p.numel() for layer in network.pictures[:-1] for p in layer.parameters())
        grown.append(sum(p.numel() for p in network.parameters()) - coarse)
    assert grown == [26_212_019, 23_077_137]
    assert pair[0].n_styles == len(pair[0].layers) == 18
    # by hand: mapping, constant, picture; of a layer a kernel, a bias and a strength, and two numbers of a style
    widths = [512] * 4 + [256, 128, 64, 32, 16]
    count = 8 * (512 * 512 + 512) + 16 * 512 + 16 * 3 + 3
    for k, n_out in enumerate(widths):
        for n_in in (widths[k - 1] if k else 0, n_out):
            count += 9 * n_in * n_out + 2 * n_out + 513 * 2 * n_out
    assert count == grown[0]


@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_reach_every_parameter_in_use(shape: tuple[int, int, int], n_classes: int) -> None:
    before = torch.get_rng_state()
    generator, discriminator, z, labels = pair_of(small(*shape, n_classes))
    top = generator.depths - 1
    for network in (generator, discriminator):
        network.at(top, 0.4)
    judged = discriminator(generator.shown(z, labels), labels)
    assert judged.shape == (6,)
    judged.pow(3).sum().backward()
    unused = {f"pictures.{k}.{what}" for k in range(top - 1) for what in ("weight", "bias")}
    for network in (generator, discriminator):
        for name, p in network.named_parameters():
            assert (p.grad is not None and bool(p.grad.abs().sum() > 0)) == (name not in unused), name
            assert p.grad is None or bool(p.grad.isfinite().all()), name
    assert generator(z, labels).shape == (6, *shape)
    assert torch.equal(before, torch.get_rng_state())


def test_the_same_stream_gives_the_same_pair() -> None:
    one, other, third = (stylegan(small(n_classes=2), stream(seed)) for seed in (0, 0, 1))
    for a, b, c in zip(one, other, third, strict=True):
        assert all(torch.equal(t, b.state_dict()[key]) for key, t in a.state_dict().items())
        assert not all(torch.equal(t, c.state_dict()[key]) for key, t in a.state_dict().items())


def test_a_class_changes_the_picture_and_what_is_thought_of_it() -> None:
    generator, discriminator, z, labels = pair_of(small(1, 16, 16, 2))
    assert labels is not None
    made = generator(z, labels)
    assert (made - generator(z, 1 - labels)).abs().flatten(1).max(1).values.min() > 1e-2
    assert (discriminator(made, labels) - discriminator(made, 1 - labels)).abs().min() > 1e-4
    for call in (lambda: generator(z), lambda: discriminator(made)):
        with pytest.raises(ValueError, match=r"labels=None: a network of 2 classes needs one of 0\.\.1 a picture"):
            call()


def test_what_is_wrong_is_said() -> None:
    generator, _, z, _ = pair_of(small())
    with pytest.raises(ValueError, match=r"ws=\(6, 6\) should be \(B, 6, 6\)"):
        generator.synthesise(generator.styles(z)[:, 0])
    with pytest.raises(ValueError, match="n_layers=0 of a mapping should be at least 1"):
        stylegan(small(), stream(), mapping_layers=0)
    with pytest.raises(ValueError, match="a size of 6x12: both sides should be even and at least 8"):
        stylegan(Design(1, 12, 6), stream())
    with pytest.raises(ValueError, match="depth=3 should be from 0 to 2"):
        generator.at(3)


# ---- layers against steps, written out another time: nearest values and [1, 2, 1], as the paper has it


def equalised(layer: nn.Module, gain: float = 2**0.5) -> Tensor:
    p = layer.get_parameter("weight")
    return p * gain / p[0].numel() ** 0.5


def around(x: Tensor, layer: nn.Module, gain: float = 2**0.5, *, mirrored: bool = False) -> Tensor:
    """x convolved on a torus; mirrored: by the kernel the other way round."""
    weight = equalised(layer, gain)
    return F.conv2d(F.pad(x, [1] * 4, mode="circular"), weight.flip(2, 3) if mirrored else weight)


def softened(x: Tensor) -> Tensor:
    """x filtered by [1, 2, 1] / 4 on a torus, along both axes."""
    for axis in (2, 3):
        x = x / 2 + (x.roll(1, axis) + x.roll(-1, axis)) / 4
    return x


def test_the_generator_step_by_step() -> None:
    """On a torus, where the order of linear filters does not matter at borders either."""
    generator, _, z, _ = pair_of(small(), periodic=True)
    w = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in generator.mapping.layers:
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        w = F.leaky_relu(w @ weight.T * 0.01 / 6**0.5 + 0.01 * bias, 0.2) * 2**0.5
    generator.eval()
    ws = generator.styles(z)
    torch.testing.assert_close(ws, w[:, None].expand(-1, 6, -1), atol=1e-5, rtol=1e-5)
    ws = ws + torch.randn(ws.shape, generator=stream(3))  # six different rows
    x, made = generator.start.expand(6, -1, -1, -1), []
    for i, layer in enumerate(generator.layers):
        if i and i % 2 == 0:
            x = softened(around(up(x), layer.get_submodule("conv"), mirrored=True))
        elif i:
            x = around(x, layer.get_submodule("conv"))
        noise = layer.get_buffer("noise")
        assert noise.shape == (6 << i // 2, 10 << i // 2) == x.shape[2:]
        assert layer.get_parameter("strength").shape == (8 if i < 4 else 4, 1, 1)
        x = x + layer.get_parameter("strength") * noise + layer.get_parameter("bias")
        x = torch.where(x < 0, 0.2 * x, x)
        affine = layer.get_submodule("affine")
        style = ws[:, i] @ equalised(affine, 1.0).T + affine.get_parameter("bias")
        scale, shift = style[:, : x.shape[1], None, None], style[:, x.shape[1] :, None, None]
        x = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), correction=0, keepdim=True)
        x = (1 + scale) * x + shift
        if i % 2:
            picture = generator.pictures[i // 2]
            made.append(F.conv2d(x, equalised(picture, 1.0), picture.get_parameter("bias")))
    torch.testing.assert_close(generator.synthesise(ws), made[2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(generator(z), generator.synthesise(generator.styles(z)))
    generator.at(2, 0.25)
    torch.testing.assert_close(generator.synthesise(ws), 0.75 * up(made[1]) + 0.25 * made[2], atol=1e-4, rtol=1e-4)
    generator.at(1)
    torch.testing.assert_close(generator.synthesise(ws), up(made[1]), atol=1e-4, rtol=1e-4)


def test_open_borders_have_zeros_beyond() -> None:
    layer = AdaptiveLayer(2, 3, 4, (8, 12), Weights(stream(), scale="equalised"), up=True)
    seen: list[Tensor] = []
    x = torch.randn(2, 2, 4, 6, generator=stream(1))
    with torch.no_grad():
        layer.affine.weight.zero_()
        made = layer(x, torch.zeros(2, 4))
        # convolved before it is filtered: what is between samples of the finer grid, one more than there are
        assert layer.conv is not None
        weight, _ = layer.conv.used()
        fine = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        seen.append(resample(fine, torch.tensor([0.125, 0.375, 0.375, 0.125]), pad=(1, 1), gain=4))
    torch.testing.assert_close(made, F.instance_norm(F.leaky_relu(seen[0], 0.2)), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("group", [3, 6])
@pytest.mark.parametrize("n_classes", [0, 3])
def test_the_discriminator_step_by_step(n_classes: int, group: int) -> None:
    _, discriminator, _, labels = pair_of(small(n_classes=n_classes), group=group)
    x, taps = pictures(), torch.tensor([0.25, 0.5, 0.25])

    def convolved(x: Tensor, layer: nn.Module) -> Tensor:
        weight, bias = equalised(layer), layer.get_parameter("bias")
        return F.leaky_relu(F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2), 0.2)

    h = convolved(x, discriminator.pictures[2])
    for block in discriminator.blocks[::-1]:
        for layer in block.children():
            h = convolved(h, layer)
        h = down(resample(h, taps, pad=(1, 1)))
    assert h.shape == (6, 8, 6, 10)
    h = convolved(with_deviation(h, group), discriminator.conv)
    whole, psi = discriminator.whole, discriminator.psi
    h = F.leaky_relu(h.flatten(1) @ equalised(whole).T + whole.bias, 0.2)
    wanted = (h @ equalised(psi, 1.0).T + psi.bias)[:, 0]
    if discriminator.classes is not None:
        assert labels is not None
        wanted = wanted + (discriminator.classes.weight.T[labels] * h).sum(1) / 8**0.5
    torch.testing.assert_close(discriminator(x, labels), wanted, atol=1e-5, rtol=1e-5)
    plain = GrowingDiscriminator(small(n_classes=n_classes), stream(), group=group)
    plain.load_state_dict(discriminator.state_dict())
    assert (plain(x, labels) - wanted).abs().max() > 1e-2  # the filter counts


def test_its_layers_from_the_picture_on_are_all_it_has() -> None:
    _, discriminator, *_ = pair_of(small())
    layers, order = discriminator.layers_from_picture(), []
    assert {id(p) for layer in layers for p in layer.parameters()} == {id(p) for p in discriminator.parameters()}
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: order.append(module))
    discriminator(pictures())
    unused = list(discriminator.pictures[:2])
    assert [id(layer) for layer in order] == [id(layer) for layer in layers if layer not in unused]


# ---- adaptive instance normalisation


def test_styles_are_the_statistics_of_each_picture_s_channels() -> None:
    x = 5 + 3 * torch.randn(6, 4, 10, 12, generator=stream(1)) * torch.rand(6, 4, 1, 1, generator=stream(2))
    style = torch.randn(6, 8, generator=stream(3))
    made = styled(x, style)
    torch.testing.assert_close(made.mean((2, 3)), style[:, 4:], atol=1e-5, rtol=1e-5)
    deviations = made.std((2, 3), correction=0)
    torch.testing.assert_close(deviations, (1 + style[:, :4]).abs(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(styled(100 * x - 7, style), made, atol=1e-4, rtol=1e-4)  # what was, does not matter
    assert torch.equal(styled(torch.zeros(6, 4, 10, 12), style), style[:, 4:, None, None].expand(-1, -1, 10, 12))


def test_a_network_begins_with_styles_about_one_without_noise() -> None:
    generator, _ = stylegan(Design(3, 16, 16, latent=64, features=64), stream())
    w = generator.styles(generator.draw(200, stream(1)))[:, 0]
    for layer in generator.layers:
        assert not layer.get_parameter("strength").any()
        assert not layer.get_parameter("bias").any()
        assert not layer.get_parameter("affine.bias").any()
        scale, shift = layer.get_submodule("affine")(w).chunk(2, 1)
        assert (1 + scale).mean().item() == pytest.approx(1, abs=0.2)
        assert shift.mean().item() == pytest.approx(0, abs=0.2)
    assert [m is layer.affine for m, layer in zip(generator.modulations(), generator.layers, strict=True)] == [True] * 6
    assert generator.sides() == (4, 4, 8, 8, 16, 16)


# ---- growth


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_depth_begins_as_the_one_below_it(depth: int, training: bool) -> None:
    generator, discriminator, z, _ = pair_of(small(), mixing=0.0)
    generator.train(training)
    x = pictures()
    for network in (generator, discriminator):
        network.at(depth, 1.0)
    made, real = generator.shown(z, None), discriminator.shown(x)
    judged = discriminator(made)
    assert made.shape[2:] == real.shape[2:] == (6 << depth, 10 << depth)
    for network in (generator, discriminator):
        network.at(depth + 1, 0.0)
    assert torch.equal(generator.shown(z, None), up(made))
    torch.testing.assert_close(discriminator(up(made)), judged)
    ends = {}
    for alpha in (0.0, 0.25, 1.0):
        generator.at(depth + 1, alpha)
        ends[alpha] = generator.shown(z, None)
    torch.testing.assert_close(ends[0.25], 0.75 * ends[0.0] + 0.25 * ends[1.0])
    assert (ends[1.0] - ends[0.0]).abs().max() > 1e-2


def test_pictures_have_the_full_resolution_at_every_depth() -> None:
    generator, _, z, _ = pair_of(small())
    for depth in range(generator.depths):
        for alpha in (0.0, 0.5, 1.0):
            generator.at(depth, alpha)
            made = generator.shown(z, None)
            assert made.shape[2:] == (6 << depth, 10 << depth)
            whole = made.repeat_interleave(2 ** (2 - depth), 2).repeat_interleave(2 ** (2 - depth), 3)
            assert torch.equal(generator(z), whole)
            ws, keys = generator.styles(z), keys_of(z)
            assert torch.equal(generator.synthesise(generator.mixed(ws, keys, None), keys), whole)


def test_rows_are_mixed_within_those_in_use() -> None:
    generator, *_ = pair_of(small(), mixing=0.75)
    z = generator.draw(4000, stream(2))
    ws, keys = generator.styles(z), keys_of(z)
    for depth in range(3):
        generator.at(depth)
        n = 2 * (depth + 1)
        changed = (generator.mixed(ws, keys, None) != ws).any(2)  # (B, 6)
        assert changed.shape == (4000, 6)
        assert not changed[:, 0].any()
        assert not changed[:, n:].any()
        counts = changed.sum(1).bincount(minlength=n) / 4000
        wanted = torch.tensor([0.25, *[0.75 / (n - 1)] * (n - 1)])
        torch.testing.assert_close(counts, wanted, atol=0.03, rtol=0)  # four standard deviations of 4000
    assert torch.equal(pair_of(small(), mixing=0.0)[0].mixed(ws, keys, None), ws)


def test_growth_is_kept_with_the_weights_and_survives_a_running_average() -> None:
    generator, _, z, _ = pair_of(small())
    generator.at(1, 0.3)
    other, *_ = pair_of(small(), seed=1)
    other.load_state_dict(generator.state_dict())
    assert (other.depth, other.fading) == (1, True)
    assert torch.equal(other.shown(z, None), generator.shown(z, None))
    player = Player(generator, torch.optim.SGD(generator.parameters()), average=0.9)
    generator.at(2, 0.8)
    generator(z)
    player.follow(3)
    assert torch.equal(player.averaged["grown"], generator.grown)
    assert torch.equal(player.averaged["average"], generator.average)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_only_layers_that_are_in_use_learn(depth: int) -> None:
    generator, discriminator, z, _ = pair_of(small())
    for network in (generator, discriminator):
        network.at(depth, 1.0)
    discriminator(generator.shown(z, None)).pow(3).sum().backward()
    for network in (generator, discriminator):
        for k, layer in enumerate(network.pictures):
            assert (layer.weight.grad is not None) == (k == depth)
    for i, layer in enumerate(generator.layers):
        assert all((p.grad is not None) == (i < 2 * depth + 2) for p in layer.parameters())


# ---- second derivatives


def along(value: Callable[[], Tensor], parameters: list[Tensor], h: float = 1e-6) -> tuple[float, float]:
    """The derivative of value() along one direction of all parameters: by its gradient, by central differences."""
    random = stream(8)
    way = [torch.randn(p.shape, generator=random, dtype=torch.float64) for p in parameters]
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    exact = sum((g * v).sum().item() for g, v in zip(gradients, way, strict=True) if g is not None)
    ends = []
    for sign in (1, -2):
        with torch.no_grad():
            for p, v in zip(parameters, way, strict=True):
                p += sign * h * v
        ends.append(value().item())
    return exact, (ends[0] - ends[1]) / (2 * h)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_r1_teaches_what_finite_differences_say(alpha: float) -> None:
    _, discriminator, _, labels = pair_of(small(1, 8, 16, 2))
    discriminator.double().at(1, alpha)
    x = discriminator.shown(pictures(1, 8, 16).double())
    assert isinstance(x, Tensor)
    exact, measured = along(lambda: r1(lambda t: discriminator(t, labels), x), list(discriminator.parameters()))
    assert abs(exact) > 1e-4
    assert exact == pytest.approx(measured, rel=1e-5)  # h^2 and 1e-16 / h are below


def test_path_lengths_teach_what_finite_differences_say() -> None:
    """Through instance statistics and a picture that is fading in."""
    generator, _, z, _ = pair_of(small(1, 8, 16))
    generator.double().eval().at(1, 0.6)
    keys, y = keys_of(z), torch.randn(6, 1, 8, 16, generator=stream(4)).double()

    def value() -> Tensor:
        ws = generator.styles(z.double())
        return path_length(lambda t: generator.synthesise(t, keys), ws, y, torch.tensor(0.1).double())[0]

    exact, measured = along(value, list(generator.parameters()))
    assert abs(exact) > 1e-2
    assert exact == pytest.approx(measured, rel=1e-5)


# ---- noise and truncation


def test_a_training_picture_is_a_function_of_its_latent() -> None:
    generator, _, z, _ = pair_of(small())
    before = torch.get_rng_state()
    made = generator(z)
    torch.testing.assert_close(generator(z.flip(0)).flip(0), made)  # wherever it is, and the second time
    torch.testing.assert_close(torch.cat([generator(z[:2]), generator(z[2:])]), made)
    assert torch.equal(before, torch.get_rng_state())
    generator.eval()
    assert (generator(z) - made).abs().flatten(1).max(1).values.min() > 1e-2


def test_noise_comes_in_by_the_strengths_of_its_layer_s_channels() -> None:
    generator, _, z, _ = pair_of(small())
    generator.eval()
    ws, keys = generator.styles(z), keys_of(z)
    assert (generator.synthesise(ws, keys) - generator.synthesise(ws)).abs().max() > 1e-2
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2])) for layer in generator.layers
    ]
    generator.synthesise(ws, keys)
    for i, hook in enumerate(hooks):
        assert torch.equal(seen[i], normals(keys, i, 60 << 2 * (i // 2)))  # another at every place
        hook.remove()
    for k in range(len(generator.layers)):
        for channel in range(2):
            other = copy.deepcopy(generator)
            with torch.no_grad():
                other.layers[k].get_parameter("strength")[channel].zero_()
            assert (other.synthesise(ws, keys) - generator.synthesise(ws, keys)).abs().max() > 1e-4
    with torch.no_grad():
        for layer in generator.layers:
            layer.get_parameter("strength").zero_()
    assert torch.equal(generator.synthesise(ws, keys), generator.synthesise(ws))


def test_truncation_goes_to_the_average_in_the_first_rows() -> None:
    generator, _, z, _ = pair_of(small())
    generator.eval()
    whole, average = generator.styles(z), generator.average
    half = generator.styles(z, psi=0.5, cutoff=2)
    torch.testing.assert_close(half[:, :2], (whole[:, :2] + average) / 2)
    assert torch.equal(half[:, 2:], whole[:, 2:])
    made = generator.synthesise(generator.styles(z, psi=0.0))
    torch.testing.assert_close(made, made[:1].expand(6, -1, -1, -1))
    assert (generator.synthesise(half) - generator(z)).abs().max() > 1e-2


# ---- periodic networks


@pytest.mark.parametrize("periodic", [False, True])
def test_a_periodic_generator_makes_tiles(periodic: bool) -> None:
    """With the constant and the noise moved around by one place of the coarsest grid, the picture moves by four."""
    generator, _, z, _ = pair_of(small(), periodic=periodic)
    generator.eval()
    moved = copy.deepcopy(generator)
    with torch.no_grad():
        moved.start.copy_(moved.start.roll((1, 1), (1, 2)))
        for i, layer in enumerate(moved.layers):
            shift = 1 << i // 2
            layer.get_buffer("noise").copy_(layer.get_buffer("noise").roll((shift, shift), (0, 1)))
    difference = (moved(z) - generator(z).roll((4, 4), (2, 3))).abs().max()
    assert (difference < 1e-4) == periodic


def test_a_periodic_generator_makes_larger_pictures() -> None:
    """Of the constant and the noise repeated, the picture repeated, whose statistics are the same."""
    generator, _, z, _ = pair_of(small(), periodic=True)
    generator.eval()
    ws = generator.styles(z)
    with torch.no_grad():
        for layer in generator.layers:
            layer.get_parameter("strength").zero_()
    wide = generator.synthesise(ws, keys_of(z), shape=(48, 120))
    torch.testing.assert_close(wide, generator.synthesise(ws).repeat(1, 1, 2, 3), atol=1e-4, rtol=1e-4)
    noisy, _, *_ = pair_of(small(), periodic=True)
    parts = noisy.eval().synthesise(ws, keys_of(z), shape=(48, 40)).split(24, 2)
    assert (parts[0] - parts[1]).abs().max() > 1e-1  # fresh noise everywhere
    with pytest.raises(ValueError, match="a size of 41x24: width and height should be multiples of 40 and 24"):
        generator.synthesise(ws, shape=(24, 41))


def test_half_precision_is_near_single() -> None:
    generator, discriminator, z, _ = pair_of(small())
    made, judged = generator(z), discriminator(pictures())
    with torch.autocast("cpu", torch.bfloat16):
        rough, thought = generator(z), discriminator(pictures())
    assert (rough - made).square().mean() < 1e-3 * made.square().mean()  # a dozen roundings to 8 bits
    assert (thought - judged).square().mean() < 1e-3 * judged.square().mean()
    (rough.float().square().sum() + thought.float().square().sum()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in generator.parameters() if p.grad is not None)
    assert math.isfinite(thought.sum().item())
