"""Networks of several resolutions: growth is continuous, is kept with the weights, and shows what it should."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from texsyn.gan.networks.design import Design
from texsyn.gan.networks.growing import Pair, msggan, progan
from texsyn.gan.networks.layers import down, up, with_deviation
from texsyn.gan.penalties import r1
from texsyn.gan.training import Player

FAMILIES = {"progan": progan, "msggan": msggan}
SHAPES = [(1, 8, 8), (3, 24, 40), (4, 32, 16)]  # 1, 2 and 2 halvings


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(channels: int = 3, height: int = 24, width: int = 40, n_classes: int = 0) -> Design:
    return Design(channels, height, width, n_classes, latent=6, features=4, max_features=8)


def pair_of(name: str, design: Design, seed: int = 0) -> tuple[Pair, Tensor, Tensor | None]:
    """Both networks, six latents, and labels where there are classes."""
    pair = FAMILIES[name](design, stream(seed))
    labels = torch.arange(6) % design.n_classes if design.n_classes else None
    return pair, pair[0].draw(6, stream(9)), labels


def pictures(channels: int = 3, height: int = 24, width: int = 40) -> Tensor:
    return torch.rand(6, channels, height, width, generator=stream(5)) * 2 - 1


@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_every_parameter_in_use(name: str, shape: tuple[int, int, int], n_classes: int) -> None:
    before = torch.get_rng_state()
    (generator, discriminator), z, labels = pair_of(name, small(*shape, n_classes))
    top = generator.depths - 1
    for network in (generator, discriminator):
        network.at(top, 0.4)
    judged = discriminator(generator.shown(z, labels, z), labels)
    assert judged.shape == (6,)
    judged.pow(3).sum().backward()
    unused = (
        {f"pictures.{k}.{what}" for k in range(top - 1) for what in ("weight", "bias")} if name == "progan" else set()
    )
    for network in (generator, discriminator):
        reached = {key for key, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
        assert {key for key, _ in network.named_parameters()} - reached == unused
        assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)
    assert generator(z, labels).shape == (6, *shape)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_stream_gives_the_same_pair(name: str) -> None:
    one, other, third = (pair_of(name, small(), seed)[0] for seed in (0, 0, 1))
    for a, b, c in zip(one, other, third, strict=True):
        assert all(torch.equal(t, b.state_dict()[key]) for key, t in a.state_dict().items())
        assert not all(torch.equal(t, c.state_dict()[key]) for key, t in a.state_dict().items())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_class_changes_the_picture_and_what_is_thought_of_it(name: str) -> None:
    (generator, discriminator), z, labels = pair_of(name, small(1, 16, 16, 2))
    made = generator.shown(z, labels, z)
    assert (generator(z, labels) - generator(z, 1 - labels)).abs().flatten(1).max(1).values.min() > 1e-3
    assert (discriminator(made, labels) - discriminator(made, 1 - labels)).abs().min() > 1e-4
    for call in (lambda: generator(z), lambda: discriminator(made)):
        with pytest.raises(ValueError, match=r"labels=None: a network of 2 classes needs one of 0\.\.1 a picture"):
            call()


# ---- growth


@pytest.mark.parametrize("depth", [0, 1])
def test_a_depth_begins_as_the_one_below_it(depth: int) -> None:
    (generator, discriminator), z, _ = pair_of("progan", small())
    x = pictures()
    for network in (generator, discriminator):
        network.at(depth, 1.0)
    made, real = generator.shown(z, None), discriminator.shown(x)
    judged = discriminator(made)
    assert made.shape[2:] == real.shape[2:] == (6 << depth, 10 << depth)
    for network in (generator, discriminator):
        network.at(depth + 1, 0.0)
    assert torch.equal(generator.shown(z, None), up(made))
    torch.testing.assert_close(discriminator.shown(x), up(real))
    torch.testing.assert_close(discriminator(up(made)), judged)


def test_a_depth_is_faded_in_linearly() -> None:
    (generator, discriminator), z, _ = pair_of("progan", small())
    x, made, real = pictures(), {}, {}
    for alpha in (0.0, 0.25, 1.0):
        for network in (generator, discriminator):
            network.at(2, alpha)
        made[alpha], real[alpha] = generator.shown(z, None), discriminator.shown(x)
    for shown in (made, real):
        torch.testing.assert_close(shown[0.25], 0.75 * shown[0.0] + 0.25 * shown[1.0])
        assert (shown[0.25] - shown[0.0]).abs().max() > 1e-3
    assert torch.equal(real[1.0], x)
    # the discriminator's features are what is faded there
    discriminator.at(2, 0.25)
    seen, h = [], discriminator.pictures[2](x)
    discriminator.blocks[0].get_submodule("0").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    discriminator(x)
    h = F.leaky_relu(h, 0.2)
    for conv in discriminator.blocks[1].children():
        h = F.leaky_relu(conv(h), 0.2)
    coarse = F.leaky_relu(discriminator.pictures[1](down(x)), 0.2)
    torch.testing.assert_close(seen[0], 0.75 * coarse + 0.25 * down(h))


def test_pictures_have_the_full_resolution_at_every_depth() -> None:
    (generator, discriminator), z, _ = pair_of("progan", small())
    for depth in range(generator.depths):
        for alpha in (0.0, 0.5, 1.0):
            generator.at(depth, alpha)
            made = generator.shown(z, None)
            assert made.shape[2:] == (6 << depth, 10 << depth)
            side = 2 ** (2 - depth)
            assert torch.equal(generator(z), made.repeat_interleave(side, 2).repeat_interleave(side, 3))
    assert discriminator.depth == 2  # it begins grown
    with pytest.raises(ValueError, match="shown=10x6: at depth 2 sizes should be 40x24"):
        discriminator(pictures(3, 6, 10))
    discriminator.at(0)
    assert discriminator(pictures(3, 6, 10)).shape == (6,)


@pytest.mark.parametrize(("depth", "alpha", "wrong"), [(3, 0.5, "depth=3"), (-1, 0.5, "depth=-1"), (1, 1.1, "alpha=1")])
def test_a_place_beyond_growth_is_refused(depth: int, alpha: float, wrong: str) -> None:
    (generator, _), *_ = pair_of("progan", small())
    with pytest.raises(ValueError, match=rf"{wrong}.* should be from 0 to"):
        generator.at(depth, alpha)
    assert generator.depth == 2


def test_growth_is_kept_with_the_weights_and_survives_a_running_average() -> None:
    (generator, discriminator), z, _ = pair_of("progan", small())
    for network in (generator, discriminator):
        network.at(1, 0.3)
    (other, judge), *_ = pair_of("progan", small(), seed=1)
    other.load_state_dict(generator.state_dict())
    judge.load_state_dict(discriminator.state_dict())
    assert (other.depth, other.fading, judge.depth) == (1, True, 1)
    assert other.alpha.item() == pytest.approx(0.3, abs=1e-6)
    assert torch.equal(other.shown(z, None), generator.shown(z, None))
    assert torch.equal(copy.deepcopy(generator).shown(z, None), generator.shown(z, None))
    player = Player(generator, torch.optim.SGD(generator.parameters()), average=0.9)
    generator.at(2, 0.8)
    player.follow(3)
    assert torch.equal(player.averaged["grown"], generator.grown)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_only_layers_that_are_in_use_learn(depth: int) -> None:
    (generator, discriminator), z, _ = pair_of("progan", small())
    for network in (generator, discriminator):
        network.at(depth, 1.0)
    discriminator(generator.shown(z, None)).pow(3).sum().backward()
    for network in (generator, discriminator):
        for k, layer in enumerate(network.pictures):
            assert (layer.weight.grad is not None) == (k == depth)
    for k, block in enumerate(generator.blocks):
        assert all((p.grad is not None) == (k <= depth) for p in block.parameters())
    for k, block in enumerate(discriminator.blocks, start=1):
        assert all((p.grad is not None) == (k <= depth) for p in block.parameters())


# ---- what the networks are


def test_latents_count_by_their_direction() -> None:
    (generator, _), z, _ = pair_of("progan", small())
    torch.testing.assert_close(generator(3 * z), generator(z))


def test_features_have_unit_mean_squares_at_every_place() -> None:
    (generator, _), z, _ = pair_of("progan", small())
    seen = []
    for layer in generator.pictures:
        layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].square().mean(1)))
    generator.at(2, 0.5)
    generator.shown(z, None)
    assert [tuple(t.shape[1:]) for t in seen] == [(24, 40), (12, 20)]
    for t in seen:
        torch.testing.assert_close(t, torch.ones_like(t), atol=1e-4, rtol=0)


def test_the_discriminator_sees_the_deviation_of_groups() -> None:
    (_, discriminator), *_ = pair_of("progan", small())
    seen = []
    discriminator.conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = pictures()
    discriminator(x)
    assert torch.equal(seen[0], with_deviation(seen[0][:, :-1]))
    assert seen[0].shape[1] == 9
    # six equal pictures are told from six different ones
    assert (discriminator(x[:1].expand(6, -1, -1, -1))[0] - discriminator(x)[0]).abs() > 1e-4


def test_a_pyramid_is_made_and_seen_at_all_resolutions() -> None:
    (generator, discriminator), z, _ = pair_of("msggan", small())
    made, x = generator.shown(z, None), pictures()
    real = discriminator.shown(x)
    assert [tuple(level.shape[2:]) for level in made] == [(24, 40), (12, 20), (6, 10)]
    assert torch.equal(generator(z), made[0])
    assert torch.equal(real[0], x)
    torch.testing.assert_close(real[2], F.avg_pool2d(x, 4))
    assert discriminator(made).shape == discriminator(real).shape == (6,)
    for k in range(3):  # each level counts, and none but by its own
        moved = tuple(level.roll(3, 3) if j == k else level for j, level in enumerate(real))
        assert (discriminator(moved) - discriminator(real)).abs().min() > 1e-4
    with pytest.raises(ValueError, match="shown=40x24: at depth 2 sizes should be 40x24, "):
        discriminator(x)


def test_half_the_features_of_a_resolution_are_its_picture_s() -> None:
    (_, discriminator), *_ = pair_of("msggan", small(1, 16, 16))
    seen = []
    discriminator.blocks[0].get_submodule("0").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    real = discriminator.shown(pictures(1, 16, 16))
    discriminator(real)
    assert torch.equal(seen[0][:, :4], discriminator.pictures[1](real[1]))
    assert seen[0].shape[1] == 8
    with pytest.raises(ValueError, match="features=1 should be at least 2"):
        msggan(Design(1, 16, 16, features=1), stream())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_picture_that_cannot_be_halved_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a size of 6x12: both sides should be even and at least 8"):
        FAMILIES[name](Design(1, 12, 6), stream())


def test_a_slope_of_a_fading_critic_teaches_it() -> None:
    (_, discriminator), *_ = pair_of("progan", small())
    discriminator.at(2, 0.5)
    r1(discriminator, discriminator.shown(pictures())).backward()
    for key, p in discriminator.named_parameters():
        if key.endswith("weight") and not key.startswith("pictures.0"):
            assert p.grad is not None, key
            assert p.grad.abs().sum() > 0, key


def test_parameters_of_1024_pixels_are_the_paper_s() -> None:
    """23.1 million in each network: Karras and others 2018, table 2; channels 512 up to 32 pixels, 16 at 1024."""
    with FakeTensorMode():
        pair = progan(Design(3, 1024, 1024, latent=512, features=16, max_features=512), torch.Generator())
    for network in pair:
        assert network.depths == 9
        # those from and to pictures of lower resolutions are no part of the grown networks
        coarse = sum(p.numel() for layer in network.pictures[:-1] for p in layer.parameters())
        assert sum(p.numel() for p in network.parameters()) - coarse == pytest.approx(23.1e6, abs=5e4)
