"""StyleGAN2: sizes as published, forms against steps, second derivatives, pictures as functions of their latents."""

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
from texsyn.gan.networks.layers import Weights, with_deviation
from texsyn.gan.networks.resampling import FILTER, resample
from texsyn.gan.networks.style import Mapping, keys_of, normals
from texsyn.gan.networks.stylegan2 import StyleDiscriminator, StyleGenerator, StyleLayer, stylegan2
from texsyn.gan.penalties import path_length, r1
from texsyn.gan.training import Player

SHAPES = [(1, 8, 8), (3, 24, 40), (4, 32, 16)]  # 1, 2 and 2 halvings


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(channels: int = 3, height: int = 24, width: int = 40, n_classes: int = 0) -> Design:
    return Design(channels, height, width, n_classes, latent=6, features=4, max_features=8)


def pair_of(
    design: Design, seed: int = 0, *, mixing: float = 0.9, periodic: bool = False
) -> tuple[StyleGenerator, StyleDiscriminator, Tensor, Tensor | None]:
    """Both networks, nothing in them 0 any more, six latents, and labels where there are classes."""
    pair = stylegan2(design, stream(seed), mapping_layers=2, mixing=mixing, periodic=periodic)
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


@pytest.mark.parametrize(
    ("side", "features", "made", "judged"),
    [(1024, 32, 30_370_060, 29_012_513), (256, 64, 24_767_458, 24_001_089)],
)
def test_parameters_of_configuration_f(side: int, features: int, made: int, judged: int) -> None:
    """Channels min(32768 / side, 512), and half of those at 256 pixels; 8 layers of mapping, latents of 512."""
    with FakeTensorMode():
        pair = stylegan2(Design(3, side, side, latent=512, features=features, max_features=512), torch.Generator())
    assert [sum(p.numel() for p in network.parameters()) for network in pair] == [made, judged]
    assert pair[0].n_styles == 2 * math.log2(side) - 2
    # by hand: mapping, constant, then by layer kernel, bias, affine map, strength, and by picture all but strength
    count, widths = 8 * (512 * 512 + 512) + 16 * 512, [min(features * side >> k, 512) for k in range(2, 11)]
    widths = [w for k, w in enumerate(widths) if 4 << k <= side]
    for k, n_out in enumerate(widths):
        for n_in in [widths[k - 1], n_out] if k else [n_out]:
            count += 9 * n_in * n_out + n_out + 513 * n_in + 1
        count += 3 * n_out + 3 + 513 * n_out
    assert count == made


@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_reach_every_parameter(shape: tuple[int, int, int], n_classes: int) -> None:
    before = torch.get_rng_state()
    generator, discriminator, z, labels = pair_of(small(*shape, n_classes))
    made = generator(z, labels)
    assert made.shape == (6, *shape)
    judged = discriminator(discriminator.shown(made), labels)
    assert judged.shape == (6,)
    judged.pow(3).sum().backward()
    for network in (generator, discriminator):
        for name, p in network.named_parameters():
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
            assert p.grad.abs().sum() > 0, name
    assert torch.equal(before, torch.get_rng_state())


def test_the_same_stream_gives_the_same_pair() -> None:
    one, other, third = (stylegan2(small(n_classes=2), stream(seed)) for seed in (0, 0, 1))
    for a, b, c in zip(one, other, third, strict=True):
        assert all(torch.equal(t, b.state_dict()[key]) for key, t in a.state_dict().items())
        assert not all(torch.equal(t, c.state_dict()[key]) for key, t in a.state_dict().items())


def test_a_class_changes_the_picture_and_what_is_thought_of_it() -> None:
    generator, discriminator, z, labels = pair_of(small(1, 16, 16, 2))
    assert labels is not None
    made = generator(z, labels)
    assert (made - generator(z, 1 - labels)).abs().flatten(1).max(1).values.min() > 1e-2
    assert (discriminator(made, labels) - discriminator(made, 1 - labels)).abs().min() > 1e-3
    for call in (lambda: generator(z), lambda: discriminator(made)):
        with pytest.raises(ValueError, match=r"labels=None: a network of 2 classes needs one of 0\.\.1 a picture"):
            call()


def test_what_is_wrong_is_said() -> None:
    generator, _, z, _ = pair_of(small())
    with pytest.raises(ValueError, match=r"ws=\(6, 6\) should be \(B, 6, 6\)"):
        generator.synthesise(generator.styles(z)[:, 0])
    with pytest.raises(ValueError, match="n_layers=0 of a mapping should be at least 1"):
        stylegan2(small(), stream(), mapping_layers=0)
    with pytest.raises(ValueError, match="a size of 6x12: both sides should be even and at least 8"):
        stylegan2(Design(1, 12, 6), stream())


# ---- forms against steps, written out another time


def activated(x: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(x + bias[:, None, None], 0.2) * 2**0.5


def equalised(p: Tensor) -> Tensor:
    return p / p[0].numel() ** 0.5


def linear(x: Tensor, layer: nn.Module, rate: float = 1.0) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    return x @ equalised(layer.weight).T * rate + layer.bias * rate


def of_its_own(x: Tensor, layer: nn.Module, w: Tensor, *, up: bool = False, demodulate: bool = True) -> Tensor:
    """Each picture convolved with its own weights, by groups."""
    style, weight = linear(w, layer.get_submodule("affine")), equalised(layer.get_parameter("conv.weight"))
    each = weight * style[:, None, :, None, None]
    if demodulate:
        each = each / (each.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    n, n_out, n_in, side, _ = each.shape
    x = x.reshape(1, n * n_in, *x.shape[2:])
    if up:
        x = F.conv_transpose2d(x, each.transpose(1, 2).flatten(0, 1), stride=2, groups=n)
        x = resample(x, torch.tensor(FILTER), pad=(1, 1), gain=4)
    else:
        x = F.conv2d(x, each.flatten(0, 1), padding=side // 2, groups=n)
    return x.reshape(n, n_out, *x.shape[2:])


def test_the_generator_step_by_step() -> None:
    generator, _, z, _ = pair_of(small())
    w = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in generator.mapping.layers:
        w = F.leaky_relu(linear(w, layer, 0.01), 0.2) * 2**0.5
    generator.eval()
    ws = generator.styles(z)
    assert ws.shape == (6, 6, 6)
    torch.testing.assert_close(ws, w[:, None].expand(-1, 6, -1), atol=1e-5, rtol=1e-5)
    ws = ws + torch.randn(ws.shape, generator=stream(3))  # six different rows
    x, picture = generator.start.expand(6, -1, -1, -1), None
    rows = iter(range(6))
    for depth in range(3):
        for up in (True, False)[0 if depth else 1 :]:
            i = next(rows)
            layer = generator.layers[i]
            x = of_its_own(x, layer, ws[:, i], up=up)
            noise = layer.get_buffer("noise")
            assert noise.shape == (6 << depth, 10 << depth)
            x = activated(x + layer.get_parameter("strength") * noise, layer.get_parameter("conv.bias"))
        made = of_its_own(x, generator.pictures[depth], ws[:, i + 1], demodulate=False)
        made = made + generator.pictures[depth].get_parameter("conv.bias")[:, None, None]
        if picture is not None:
            made = made + resample(picture, torch.tensor(FILTER), up=2, pad=(2, 1), gain=4)
        picture = made
    assert picture is not None
    torch.testing.assert_close(generator.synthesise(ws), picture, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(generator(z), generator.synthesise(generator.styles(z)))


@pytest.mark.parametrize("n_classes", [0, 3])
def test_the_discriminator_step_by_step(n_classes: int) -> None:
    _, discriminator, _, labels = pair_of(small(n_classes=n_classes))
    x, taps = pictures(), torch.tensor(FILTER)

    def convolved(x: Tensor, layer: nn.Module, **how: int) -> Tensor:
        return activated(F.conv2d(x, equalised(layer.get_parameter("weight")), **how), layer.get_parameter("bias"))

    h = convolved(x, discriminator.picture)
    for block in discriminator.blocks:
        low = F.conv2d(
            resample(h, taps, down=2, pad=(1, 1)), equalised(block.get_submodule("skip").get_parameter("weight"))
        )
        h = convolved(h, block.get_submodule("first"), padding=1)
        h = convolved(resample(h, taps, pad=(2, 2)), block.get_submodule("second"), stride=2)
        h = (h + low) / 2**0.5
    assert h.shape == (6, 8, 6, 10)
    h = convolved(with_deviation(h), discriminator.conv, padding=1)
    h = linear(F.leaky_relu(linear(h.flatten(1), discriminator.whole), 0.2) * 2**0.5, discriminator.psi)
    if discriminator.mapping is None:
        wanted = h[:, 0]
    else:
        assert labels is not None
        embed = discriminator.mapping.embed
        assert embed is not None
        v = linear(F.one_hot(labels, 3).float(), embed)
        v = v / v.square().mean(1, keepdim=True).sqrt()
        for layer in discriminator.mapping.layers:
            v = F.leaky_relu(linear(v, layer, 0.01), 0.2) * 2**0.5
        wanted = (h * v).sum(1) / 8**0.5
    torch.testing.assert_close(discriminator(x, labels), wanted, atol=1e-5, rtol=1e-5)


def test_demodulation_makes_up_for_styles() -> None:
    """Unit noise comes out with mean square 1.04, that of sqrt 2 leaky ReLU of a unit normal, whatever the style."""
    layer = StyleLayer(64, 64, 8, (32, 32), Weights(stream(), scale="equalised"), up=False, periodic=True)
    x, w = torch.randn(4, 64, 32, 32, generator=stream(1)), torch.randn(4, 8, generator=stream(2))
    with torch.no_grad():
        scales = layer.affine(30 * w).square().mean(1).sqrt()
        assert scales.min() > 10
        assert layer(x, 30 * w).square().mean().item() == pytest.approx(1.04, rel=0.02)


def test_a_network_begins_with_styles_about_one_without_noise() -> None:
    generator, _ = stylegan2(Design(3, 16, 16, latent=64, features=64), stream())
    w = generator.styles(generator.draw(50, stream(1)))[:, 0]
    for layer in generator.layers:
        assert layer.get_submodule("affine")(w).mean().item() == pytest.approx(1, abs=0.2)
        assert layer.get_parameter("strength") == 0


def test_styles_count_latents_by_their_direction() -> None:
    generator, _, z, _ = pair_of(small())
    generator.eval()
    torch.testing.assert_close(generator.styles(3 * z), generator.styles(z))
    assert (generator.styles(-z) - generator.styles(z)).abs().max() > 1e-1


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


def test_r1_teaches_what_finite_differences_say() -> None:
    _, discriminator, _, labels = pair_of(small(1, 8, 16, 2))
    discriminator.double()
    x = pictures(1, 8, 16).double()
    exact, measured = along(lambda: r1(lambda t: discriminator(t, labels), x), list(discriminator.parameters()))
    assert abs(exact) > 1e-4
    assert exact == pytest.approx(measured, rel=1e-5)  # h^2 and 1e-16 / h are below


@pytest.mark.parametrize("noisy", [False, True])
def test_path_lengths_teach_what_finite_differences_say(noisy: bool) -> None:
    generator, _, z, _ = pair_of(small(1, 8, 16))
    generator.double().eval()
    keys, y = keys_of(z) if noisy else None, torch.randn(6, 1, 8, 16, generator=stream(4)).double()

    def value() -> Tensor:
        ws = generator.styles(z.double())
        return path_length(lambda t: generator.synthesise(t, keys), ws, y, torch.tensor(0.1).double())[0]

    exact, measured = along(value, list(generator.parameters()))
    assert abs(exact) > 1e-2
    assert exact == pytest.approx(measured, rel=1e-5)


# ---- what is random is a function of the latent


def test_a_training_picture_is_a_function_of_its_latent() -> None:
    generator, _, z, _ = pair_of(small())
    before = torch.get_rng_state()
    made = generator(z)
    torch.testing.assert_close(generator(z.flip(0)).flip(0), made)  # wherever it is, and the second time
    torch.testing.assert_close(torch.cat([generator(z[:2]), generator(z[2:])]), made)
    assert torch.equal(before, torch.get_rng_state())
    generator.eval()
    assert (generator(z) - made).abs().flatten(1).max(1).values.min() > 1e-2


def test_noise_is_normal_and_independent() -> None:
    """Means of 400,000 numbers, within four of their standard deviations."""
    keys = keys_of(torch.randn(400, 6, generator=stream()))
    assert len(set(keys.tolist())) == 400
    assert torch.equal(keys_of(torch.randn(400, 6, generator=stream()).double()), keys)
    noise = normals(keys, 0, 1000).double()
    sd = 1 / math.sqrt(noise.numel())
    for power, mean, spread in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert noise.pow(power).mean().item() == pytest.approx(mean, abs=4 * spread * sd)
    others = [normals(keys, 1, 1000), noise.roll(1, 0), noise.roll(1, 1), noise.roll(500, 1)]
    for other in others:  # of another layer, picture, place
        assert abs((noise * other).mean().item()) < 4 * sd
    z = torch.zeros(2, 6)
    z[1, 3] = 1e-30  # a change of the last bits makes another picture
    assert keys_of(z)[0] != keys_of(z)[1]
    assert keys_of(torch.tensor([[1.0, 2.0]])) != keys_of(torch.tensor([[2.0, 1.0]]))


def test_noise_comes_in_by_the_strength_of_its_layer() -> None:
    generator, _, z, _ = pair_of(small())
    generator.eval()
    ws, keys = generator.styles(z), keys_of(z)
    assert (generator.synthesise(ws, keys) - generator.synthesise(ws)).abs().max() > 1e-2
    layers = list(generator.layers)
    seen: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2])) for layer in layers]
    generator.synthesise(ws, keys)
    for i, hook in enumerate(hooks):
        assert torch.equal(seen[i], normals(keys, i, (6 * 10) << 2 * ((i + 1) // 2)))  # another at every place
        hook.remove()
    for k in range(len(layers)):
        other = copy.deepcopy(generator)
        with torch.no_grad():
            other.layers[k].get_parameter("strength").zero_()
        assert (other.synthesise(ws, keys) - generator.synthesise(ws, keys)).abs().max() > 1e-3
    with torch.no_grad():
        for layer in layers:
            layer.get_parameter("strength").zero_()
    assert torch.equal(generator.synthesise(ws, keys), generator.synthesise(ws))


def test_styles_of_a_second_latent_come_in_from_some_row_on() -> None:
    generator, *_ = pair_of(small(), mixing=0.75)
    z = generator.draw(4000, stream(2))
    ws, keys = generator.styles(z), keys_of(z)
    mixed = generator.mixed(ws, keys, None)
    changed = (mixed != ws).any(2)  # (B, 6)
    assert not changed[:, 0].any()
    assert (changed[:, :-1] <= changed[:, 1:]).all()  # once changed, to the end
    counts = changed.sum(1).bincount(minlength=6) / 4000
    wanted = torch.tensor([0.25, 0.15, 0.15, 0.15, 0.15, 0.15])
    torch.testing.assert_close(counts, wanted, atol=0.03, rtol=0)  # four standard deviations of 4000
    last = mixed[changed[:, -1], -1]
    assert len(last.unique(dim=0)) == len(last)  # a latent of their own
    assert torch.equal(pair_of(small(), mixing=0.0)[0].mixed(ws, keys, None), ws)


# ---- the average style


def test_the_average_follows_in_training_only_and_is_copied_by_averages() -> None:
    generator, _, z, _ = pair_of(small())
    player = Player(generator, torch.optim.SGD(generator.parameters()), average=0.9)
    start = generator.average.clone()
    generator(z)
    w = generator.mapping(z, None)
    torch.testing.assert_close(generator.average, start + 0.005 * (w.mean(0) - start))
    assert not generator.average.requires_grad
    player.follow(100)
    assert torch.equal(player.averaged["average"], generator.average)
    moved = generator.average.clone()
    generator.eval()(z)
    assert torch.equal(generator.average, moved)


def test_truncation_goes_to_the_average_in_the_first_rows() -> None:
    generator, _, z, _ = pair_of(small())
    generator.eval()
    whole, average = generator.styles(z), generator.average
    half = generator.styles(z, psi=0.5, cutoff=2)
    torch.testing.assert_close(half[:, :2], (whole[:, :2] + average) / 2)
    assert torch.equal(half[:, 2:], whole[:, 2:])
    torch.testing.assert_close(generator.styles(z, psi=-1.0), 2 * average - whole)
    torch.testing.assert_close(generator.styles(z, psi=0.0), average.expand(6, 6, -1))


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
            shift = 1 << (i + 1) // 2
            layer.get_buffer("noise").copy_(layer.get_buffer("noise").roll((shift, shift), (0, 1)))
    difference = (moved(z) - generator(z).roll((4, 4), (2, 3))).abs().max()
    assert (difference < 1e-4) == periodic


def test_larger_pictures_of_a_periodic_network_repeat_and_tile() -> None:
    generator, *_ = pair_of(small(), periodic=True)
    generator.eval()
    ws, one = generator.styles(generator.draw(6, stream(9))), (24, 40)
    once = generator.synthesise(ws)
    large = generator.synthesise(ws, shape=(48, 120))
    torch.testing.assert_close(large, once.repeat(1, 1, 2, 3), atol=1e-4, rtol=1e-4)  # the buffer's noise repeats too
    keys = keys_of(torch.arange(6.0)[:, None])
    noisy = generator.synthesise(ws, keys, shape=(48, 120))
    assert (noisy[:, :, :24, :40] - noisy[:, :, 24:, :40]).abs().max() > 1e-2
    torch.testing.assert_close(generator.synthesise(ws, keys, shape=one), generator.synthesise(ws, keys))
    with pytest.raises(ValueError, match="a size of 100x48: width and height should be multiples of 40 and 24"):
        generator.synthesise(ws, shape=(48, 100))
    with pytest.raises(ValueError, match="a size of 80x48: a network trained without periodic=true makes 40x24 only"):
        pair_of(small())[0].synthesise(ws, shape=(48, 80))


def test_places_of_a_stationary_network_differ_by_their_noise_alone() -> None:
    generator, _ = stylegan2(small(), stream(), mapping_layers=2, periodic=True, stationary=True)
    assert generator.start.shape == (8, 1, 1)
    generator.eval()
    ws = generator.styles(generator.draw(3, stream(9)))
    flat = generator.synthesise(ws)  # strengths are 0 at first
    torch.testing.assert_close(flat, flat[:, :, :1, :1].expand_as(flat))
    for layer in generator.layers:
        nn.init.ones_(layer.strength)  # type: ignore[arg-type]
    keys = keys_of(torch.arange(3.0)[:, None])
    made = generator.synthesise(ws, keys)
    assert made.var((2, 3)).min() > 1e-4
    for one in (keys, None):
        assert generator.synthesise(ws, one, shape=(60, 8)).shape == (
            3,
            3,
            60,
            8,
        )  # 4 pixels are a place it begins from
    halves = generator.synthesise(ws, keys, shape=(640, 320)).unflatten(2, (2, 320)).mean((3, 4))  # of one law
    torch.testing.assert_close(halves[:, :, 0], halves[:, :, 1], atol=0.1, rtol=0)
    with pytest.raises(ValueError, match="a size of 8x62: width and height should be multiples of 4 and 4"):
        generator.synthesise(ws, shape=(62, 8))
    with pytest.raises(ValueError, match="stationary=True needs periodic=True"):
        stylegan2(small(), stream(), stationary=True)


@pytest.mark.parametrize("periodic", [False, True])
def test_folded_networks_are_the_same_functions(periodic: bool) -> None:
    design = small(n_classes=2)
    plain, folded = (stylegan2(design, stream(), periodic=periodic, folded=f) for f in (False, True))
    labels, z = torch.arange(6) % 2, plain[0].draw(6, stream(9))
    made = [pair[0](z, labels) for pair in (plain, folded)]
    torch.testing.assert_close(made[1], made[0], atol=1e-5, rtol=1e-5)
    judged = [pair[1](pictures(), labels) for pair in (plain, folded)]
    torch.testing.assert_close(judged[1], judged[0], atol=1e-5, rtol=1e-5)
    assert not torch.equal(made[1], made[0])  # another way
    assert not torch.equal(judged[1], judged[0])


def test_half_precision_is_near_single() -> None:
    generator, discriminator, z, _ = pair_of(small())
    made, judged = generator(z), discriminator(pictures())
    with torch.autocast("cpu", torch.bfloat16):
        rough, thought = generator(z), discriminator(pictures())
    assert (rough - made).square().mean() < 1e-3 * made.square().mean()  # a dozen roundings to 8 bits
    assert (thought - judged).square().mean() < 1e-3 * judged.square().mean()
    (rough.float().square().sum() + thought.float().square().sum()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in generator.parameters() if p.grad is not None)


def test_mapping_of_labels_alone() -> None:
    mapping = Mapping(0, 5, 4, 3, stream())
    v = mapping(None, torch.tensor([0, 3, 0]))
    assert v.shape == (3, 5)
    torch.testing.assert_close(v[0], v[2])
    assert (v[0] - v[1]).abs().max() > 1e-2
