"""The simple families of image GANs: perceptrons, DCGAN, AC-GAN, CoGAN, LapGAN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn.gan.losses import LOSSES
from texsyn.gan.networks.convolutional import Transposed, acgan, dcgan
from texsyn.gan.networks.coupled import cogan
from texsyn.gan.networks.design import Design, ImageDiscriminator, ImageGenerator, Shown
from texsyn.gan.networks.laplacian import enlarged, halved, lapgan
from texsyn.gan.networks.layers import Norm, Weights
from texsyn.gan.networks.perceptron import perceptron

Pair = tuple[ImageGenerator, ImageDiscriminator]
NON_SATURATING = LOSSES["non-saturating"]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed))


def n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# ---- what all of them promise


@dataclass(frozen=True)
class Case:
    """A builder and a picture for it; logits: how many of a picture."""

    build: Callable[..., Pair]
    channels: int
    height: int
    width: int
    n_classes: int = 0
    logits: tuple[int, ...] = ()

    @property
    def design(self) -> Design:
        return Design(self.channels, self.height, self.width, self.n_classes, latent=6, features=4, max_features=8)

    def __str__(self) -> str:
        of = f"-{self.n_classes}" if self.n_classes else ""
        return f"{self.build.__name__}-{self.channels}x{self.height}x{self.width}{of}"


CASES = [
    Case(perceptron, 1, 5, 3),
    Case(perceptron, 2, 1, 1),
    Case(perceptron, 3, 4, 4, 3),
    Case(dcgan, 1, 8, 8),
    Case(dcgan, 3, 8, 24),
    Case(dcgan, 4, 12, 20, 3),
    Case(acgan, 1, 8, 8, 2),
    Case(acgan, 3, 32, 16, 4),
    Case(cogan, 2, 8, 8, logits=(2,)),
    Case(cogan, 6, 16, 32, logits=(2,)),
    Case(cogan, 8, 12, 20, logits=(2,)),
    Case(lapgan, 1, 8, 8, 3, logits=(2,)),
    Case(lapgan, 3, 32, 48, logits=(3,)),
    Case(lapgan, 4, 10, 12, logits=(2,)),
]
EVERY = pytest.mark.parametrize("case", CASES, ids=str)


def batch(case: Case, generator: ImageGenerator, n: int = 5) -> tuple[Tensor, Tensor | None, Tensor]:
    """Latents, labels and real pictures."""
    random = stream(7)
    labels = torch.randint(case.n_classes, (n,), generator=random) if case.n_classes else None
    x = torch.rand(n, case.channels, case.height, case.width, generator=random) * 2 - 1
    return generator.draw(n, random), labels, x


@EVERY
def test_pictures_and_logits_have_the_shapes_of_the_contract(case: Case) -> None:
    generator, discriminator = case.build(case.design, stream())
    z, labels, x = batch(case, generator)
    assert z.shape == (5, generator.design.latent)
    assert replace(generator.design, latent=6) == case.design == discriminator.design
    assert generator(z, labels).shape == x.shape
    for shown in (generator.shown(z, labels, x), discriminator.shown(x)):
        assert discriminator(shown, labels).shape == (5, *case.logits)
    generator.eval()
    one = generator(z[:1], None if labels is None else labels[:1])
    many = generator(z, labels)
    torch.testing.assert_close(one, many[:1], rtol=1e-4, atol=1e-5)


@EVERY
def test_weights_are_those_of_the_stream_and_the_global_one_is_left_alone(case: Case) -> None:
    before = torch.get_rng_state()
    pairs = [case.build(case.design, stream(seed)) for seed in (3, 3, 4)]
    generator = pairs[0][0]
    z, labels, x = batch(case, generator)
    discriminator = pairs[0][1]
    discriminator(generator.shown(z, labels, x), labels)
    assert torch.equal(torch.get_rng_state(), before)
    for same, again, other in zip(*pairs, strict=True):
        mine, theirs, others = (dict(network.named_parameters()) for network in (same, again, other))
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        drawn = [name for name in mine if mine[name].ndim > 1]
        assert len(drawn) >= 2
        assert not any(torch.equal(mine[name], others[name]) for name in drawn)


@EVERY
def test_both_losses_reach_every_weight(case: Case) -> None:
    generator, discriminator = case.build(case.design, stream(1))
    z, labels, x = batch(case, generator, 16)

    def judged(shown: Shown) -> tuple[Tensor, Tensor]:
        if case.build is not acgan:
            return discriminator(shown, labels), torch.zeros(())
        logits, told = discriminator.classify(shown)
        return logits, F.cross_entropy(told, labels)

    r, of_real = judged(discriminator.shown(x))
    f, of_made = judged(generator.shown(z, labels, x))
    (NON_SATURATING.d(r, f) + of_real + of_made).backward()
    assert_reached(discriminator)
    generator.zero_grad()
    f, of_made = judged(generator.shown(z, labels, x))
    (NON_SATURATING.g(f) + of_made).backward()
    assert_reached(generator)


def assert_reached(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert parameter.grad.abs().sum() > 0, name


TOLD = [case for case in CASES if case.n_classes]


@pytest.mark.parametrize("case", TOLD, ids=str)
def test_the_class_changes_pictures_and_logits_and_must_be_given(case: Case) -> None:
    wide = replace(case.design, features=16, max_features=16)  # of four ReLU all may be silent
    generator, discriminator = case.build(wide, stream())
    z, _, x = batch(case, generator)
    shown = discriminator.shown(x)
    zeros, ones = torch.zeros(5, dtype=torch.int64), torch.ones(5, dtype=torch.int64)
    generator.eval()
    assert (generator(z, zeros) - generator(z, ones)).abs().amax((1, 2, 3)).min() > 1e-4
    difference = discriminator(shown, zeros) - discriminator(shown, ones)
    assert bool((difference == 0).all()) if case.build is acgan else bool((difference != 0).all())
    with pytest.raises(ValueError, match=f"labels=None: a network of {case.n_classes} classes"):
        generator(z)
    if case.build is not acgan:
        with pytest.raises(ValueError, match=f"labels=None: a network of {case.n_classes} classes"):
            discriminator(shown)


# ---- perceptrons


def test_parameters_of_perceptrons_by_formula() -> None:
    design = Design(3, 4, 5, n_classes=7, latent=11, features=13)
    generator, discriminator = perceptron(design, stream(), depth=2)
    stack = lambda n_in, n_out: (n_in + 7 + 1) * 13 + (13 + 1) * 13 + (13 + 1) * n_out  # noqa: E731
    assert n_parameters(generator) == stack(11, 60)
    assert n_parameters(discriminator) == stack(60, 1)
    normalised, _ = perceptron(design, stream(), depth=2, normalised=True)
    assert n_parameters(normalised) == stack(11, 60) + 2 * (2 * 13 - 13)  # gain and bias instead of a bias
    with pytest.raises(ValueError, match="depth=0 should be at least 1"):
        perceptron(design, stream(), depth=0)


def test_points_are_unbounded_and_pictures_are_not() -> None:
    points, _ = perceptron(Design(2, 1, 1, latent=4, features=8), stream())
    pictures, _ = perceptron(Design(2, 1, 2, latent=4, features=8), stream())
    z = 100 * normal(50, 4)
    assert points(z).abs().max() > 2
    assert pictures(z).abs().max() <= 1
    doubled, plain = points(2 * z), points(z)  # biases are 0 at first, so that a ReLU network is homogeneous
    torch.testing.assert_close(doubled, 2 * plain)


def test_depth_does_not_change_the_size_of_what_a_perceptron_says() -> None:
    for depth in (1, 8):
        generator, _ = perceptron(Design(2, 1, 1, latent=64, features=64), stream(), depth=depth)
        assert 0.3 < generator(normal(200, 64)).std() < 3


# ---- DCGAN


def kernels(sizes: list[int]) -> int:
    """Weights of convolutions 4 x 4, or transposed ones, through these channels."""
    return sum(16 * a * b for a, b in pairwise(sizes))


@pytest.mark.parametrize(
    ("height", "width", "channels", "widths", "base"),
    [
        (64, 64, 3, [64, 128, 256, 512], 16),
        (28, 28, 1, [64, 128], 49),
        (8, 8, 1, [64], 16),
        (48, 80, 4, [64, 128, 256], 60),
    ],
)
def test_parameters_of_dcgan_by_formula(height: int, width: int, channels: int, widths: list[int], base: int) -> None:
    generator, discriminator = dcgan(Design(channels, height, width, latent=100), stream())
    deepest, sizes = widths[-1], [channels, *widths]
    assert n_parameters(generator) == 100 * deepest * base + kernels(sizes) + 2 * sum(widths)
    assert n_parameters(discriminator) == kernels(sizes) + 2 * sum(widths[1:]) + deepest * base
    shapes = [tuple(layer.up.weight.shape[:2]) for layer in generator.layers[1:]]
    assert shapes == list(zip([*reversed(widths)], [*reversed(widths[:-1]), channels], strict=True))


def test_parameters_of_dcgan_at_64_are_those_that_are_known() -> None:
    """512, 256, 128, 64 channels and 3, as PyTorch's tutorial and Lightning's example have them."""
    generator, discriminator = dcgan(Design(3, 64, 64, latent=100), stream())
    assert n_parameters(generator) == 3576704
    assert n_parameters(discriminator) == 2765568


def test_labels_and_biases_cost_what_they_should() -> None:
    plain = Design(3, 16, 12, latent=10, features=8)
    told = replace(plain, n_classes=5)
    generators, discriminators = zip(dcgan(plain, stream()), dcgan(told, stream()), strict=True)
    widths, base = [8], 48  # 12 is halved to 6, and 8 x 6 is not halved to less than 4
    assert n_parameters(generators[1]) - n_parameters(generators[0]) == 5 * widths[-1] * base
    assert n_parameters(discriminators[1]) - n_parameters(discriminators[0]) == 5 * 16 * 12 + 16 * widths[0]
    flat = dcgan(replace(plain, width=16), stream(), normalised=False)[1]  # 8 and 16 channels: biases for factors
    assert n_parameters(flat) == n_parameters(dcgan(replace(plain, width=16), stream())[1]) - 2 * 16 + 8 + 16 + 1


def test_weights_of_dcgan_start_as_the_paper_says() -> None:
    """N(0, 0.02); planes of classes are N(0, 1)."""
    for network in dcgan(Design(3, 64, 64, n_classes=10), stream()):
        gains = []
        for name, p in network.named_parameters():
            if name.endswith("gain"):
                gains.append(p.detach())  # less 1
            elif name.endswith("bias"):
                assert bool((p == 0).all()), name
            elif p.numel() > 3000:
                spread = 1 if name == "planes.weight" else 0.02
                assert p.std().item() == pytest.approx(spread, rel=0.05), name
                assert p.mean().item() == pytest.approx(0, abs=spread / 20), name
        assert torch.cat(gains).std().item() == pytest.approx(0.02, rel=0.15)
        assert torch.cat(gains).mean().item() == pytest.approx(0, abs=0.003)


def loaded(theirs: nn.Sequential, mine: nn.Module) -> nn.Sequential:
    """Torch's own layers with the weights of a network of ours, in the same order."""
    with torch.no_grad():
        for target, (name, source) in zip(theirs.parameters(), mine.named_parameters(), strict=True):
            target.copy_(source.reshape(target.shape) + (1 if name.endswith("gain") else 0))
    return theirs


def test_dcgan_is_the_paper_in_torchs_layers() -> None:
    """Up from one pixel, and down to one, by kernels of the coarsest picture's size."""
    generator, discriminator = dcgan(Design(3, 16, 24, latent=5, features=8), stream())
    with torch.no_grad():  # far from where they start, so that activations have something to do
        for n, p in enumerate([*generator.parameters(), *discriminator.parameters()]):
            p.copy_(0.3 * normal(*p.shape, seed=n))
    up = nn.Sequential(
        *(nn.ConvTranspose2d(5, 16, (4, 6), bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh()),
    )
    down = nn.Sequential(
        *(nn.Conv2d(3, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(8, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2)),
        nn.Conv2d(16, 1, (4, 6), bias=False),
    )
    loaded(up, generator)
    with torch.no_grad():  # theirs is (inputs, outputs), a linear layer's weight (outputs, inputs)
        up[0].weight.copy_(generator.layers[0].linear.weight.T.reshape(5, 16, 4, 6))
    z, x = normal(4, 5, seed=50), normal(4, 3, 16, 24, seed=51)
    for training in (True, False):
        for network in (generator, discriminator, up, down):
            network.train(training)
        torch.testing.assert_close(generator(z), up(z[:, :, None, None]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(discriminator(x), loaded(down, discriminator)(x).flatten(), rtol=1e-4, atol=1e-4)


def test_perceptrons_are_torchs_layers() -> None:
    design = Design(2, 3, 4, n_classes=2, latent=5, features=8)
    for normalised in (False, True):
        generator, discriminator = perceptron(design, stream(), depth=2, normalised=normalised)
        labels, z, x = torch.tensor([0, 1, 1]), normal(3, 5), normal(3, 2, 3, 4, seed=1)
        told = F.one_hot(labels, 2).float()
        weights = [layer.weight for layer in generator.stack.hidden]
        h = torch.cat([z, told], 1)
        for weight in weights:
            h = h @ weight.T
            h = (F.batch_norm(h, None, None, training=True) if normalised else h).relu()
        made = (h @ generator.stack.last.weight.T).tanh().view(3, 2, 3, 4)
        torch.testing.assert_close(generator(z, labels), made)
        h = torch.cat([x.flatten(1), told], 1)
        for layer in discriminator.stack.hidden:
            h = F.leaky_relu(h @ layer.weight.T, 0.2)
        torch.testing.assert_close(discriminator(x, labels), (h @ discriminator.stack.last.weight.T).flatten())


def test_a_transposed_convolution_is_torchs() -> None:
    layer = Transposed(3, 5, Weights(stream()))
    theirs = nn.ConvTranspose2d(3, 5, 4, 2, 1, bias=False)
    with torch.no_grad():
        theirs.weight.copy_(layer.weight)
    x = normal(2, 3, 4, 7)
    assert torch.equal(layer(x), theirs(x))
    assert layer(x).shape == (2, 5, 8, 14)


def batch_norms(network: nn.Module) -> int:
    return sum(isinstance(m, Norm) and m.kind == "batch" for m in network.modules())


@pytest.mark.parametrize("build", [dcgan, acgan, cogan, lapgan])
def test_an_unnormalised_discriminator_judges_each_picture_by_itself(build: Callable[..., Pair]) -> None:
    design = Design(2, 32, 16, n_classes=3 if build is acgan else 0, latent=4, features=4)
    x = normal(6, 2, 32, 16)
    alone: list[bool] = []
    for normalised in (True, False):
        _, discriminator = build(design, stream(), normalised=normalised)
        assert (batch_norms(discriminator) > 0) == normalised
        many, few = discriminator(discriminator.shown(x)), discriminator(discriminator.shown(x[:2]))
        alone.append(torch.allclose(many[:2], few, rtol=1e-4, atol=1e-7))
    assert alone == [False, True]


def test_what_cannot_be_halved_is_refused() -> None:
    for build in (dcgan, cogan, lapgan):
        with pytest.raises(ValueError, match="a size of 7x8: both sides should be even and at least 8"):
            build(Design(2, 8, 7), stream())
    with pytest.raises(ValueError, match="n_classes=0: acgan tells classes"):
        acgan(Design(2, 8, 8), stream())


# ---- AC-GAN


def test_acgans_heads_share_all_but_themselves() -> None:
    _, discriminator = acgan(Design(1, 16, 16, n_classes=5, features=4), stream())
    x = normal(6, 1, 16, 16)
    logits, told = discriminator.classify(x)
    assert told.shape == (6, 5)
    assert torch.equal(logits, discriminator(x))
    told.sum().backward()
    idle = [name for name, p in discriminator.named_parameters() if p.grad is None]
    assert idle == ["last.weight"]
    with pytest.raises(NotImplementedError, match="ConvolutionalDiscriminator does not tell classes"):
        dcgan(Design(1, 16, 16, n_classes=5), stream())[1].classify(x)


# ---- CoGAN


def test_halves_of_a_couple_are_judged_apart_by_layers_of_which_the_last_are_one() -> None:
    _, discriminator = cogan(Design(4, 16, 16, features=4), stream())
    x = normal(6, 4, 16, 16).requires_grad_(True)
    logits = discriminator(x)
    (of_a,) = torch.autograd.grad(logits[:, 0].sum(), x, retain_graph=True)
    (of_b,) = torch.autograd.grad(logits[:, 1].square().sum(), x, retain_graph=True)
    assert bool((of_a[:, 2:] == 0).all())
    assert bool((of_b[:, :2] == 0).all())
    assert of_a.abs().sum() > 0
    assert of_b.abs().sum() > 0
    logits[:, 0].square().sum().backward()
    reached = {name for name, p in discriminator.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {name for name, _ in discriminator.named_parameters() if not name.startswith("own.1")}
    discriminator.own[1].load_state_dict(discriminator.own[0].state_dict())
    same = torch.cat([x[:, :2], x[:, :2]], 1)
    assert torch.equal(*discriminator(same).unbind(1))


def test_halves_of_a_couple_are_made_by_layers_of_which_the_first_are_one() -> None:
    generator, _ = cogan(Design(4, 16, 16, latent=5, features=4), stream())
    z = normal(6, 5)
    generator(z)[:, 2:].square().sum().backward()
    reached = {name for name, p in generator.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {name for name, _ in generator.named_parameters() if not name.startswith("own.0")}
    assert not torch.equal(*generator(z).chunk(2, 1))
    generator.own[1].load_state_dict(generator.own[0].state_dict())
    assert torch.equal(*generator(z).chunk(2, 1))


@pytest.mark.parametrize("own", [1, 2, 3])
def test_parameters_of_couples_by_formula(own: int) -> None:
    """As many as of DCGAN, and once more what is each domain's own."""
    design = Design(6, 32, 48, features=8, latent=9)
    one = replace(design, channels=3)
    sizes = [3, 8, 16, 32][: own + 1]
    normalised = (sum(sizes[1:-1]), sum(sizes[2:]))  # the generator's last layer is not, nor the discriminator's first
    for couple, single, n in zip(cogan(design, stream(), own=own), dcgan(one, stream()), normalised, strict=True):
        assert n_parameters(couple.own[0]) == kernels(sizes) + 2 * n
        assert n_parameters(couple) == n_parameters(single) + kernels(sizes) + 2 * n


def test_couples_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="channels=3 should be even"):
        cogan(Design(3, 16, 16), stream())
    with pytest.raises(ValueError, match="n_classes=2 should be 0: cogan takes no labels"):
        cogan(Design(2, 16, 16, n_classes=2), stream())
    for own in (0, 3):
        with pytest.raises(ValueError, match=rf"own={own} should be 1\.\.2"):
            cogan(Design(2, 16, 16), stream(), own=own)


# ---- LapGAN


class Knows(nn.Module):
    """A level's generator that knows the picture: h = x - l."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x

    def forward(self, low: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        return self.x - low


def test_a_laplacian_pyramid_is_the_picture() -> None:
    """With h_k = I_k - l_k, levels that begin with real pictures show those, and so do levels one after another."""
    generator, discriminator = lapgan(Design(3, 32, 48, features=2, max_features=2), stream())
    x = normal(4, 3, 32, 48).double()
    real, levels = discriminator.shown(x), halved(x, 3)
    assert [t.shape[1:] for t in real] == [(3, 8, 12), (6, 16, 24), (6, 32, 48)]
    for shown, coarse, level in zip(real[1:], levels, levels[1:], strict=False):
        assert torch.equal(shown, torch.cat([level, enlarged(coarse)], 1))
    generator.double()
    generator.coarsest.forward = lambda z, labels: levels[0]
    generator.details = nn.ModuleList(Knows(t) for t in levels[1:])
    z = generator.draw(4, stream()).double()
    for made, level in zip(generator.shown(z, None, x), real, strict=True):
        torch.testing.assert_close(made, level, rtol=0, atol=1e-14)
    torch.testing.assert_close(generator(z), x, rtol=0, atol=1e-14)


def test_halving_and_enlarging_by_hand() -> None:
    row = torch.tensor([[[[0.0, 4.0, 8.0, 8.0]] * 2]])
    assert halved(row, 2)[0].tolist() == [[[[2.0, 8.0]]]]
    assert enlarged(halved(row, 2)[0])[0, 0].tolist() == [[2.0, 3.5, 6.5, 8.0]] * 2
    assert [t.shape[3] for t in halved(torch.zeros(1, 1, 4, 8), 3)] == [2, 4, 8]


def test_levels_begin_with_the_real_picture_to_learn_and_with_the_made_one_to_make() -> None:
    generator, _ = lapgan(Design(1, 32, 32, latent=5, features=4), stream())
    generator.eval()  # else pictures of a batch are tied by their statistics
    assert generator.parts == [5, 256, 1024]
    assert generator.design.latent == 5 + 256 + 1024
    z, x = generator.draw(3, stream()).requires_grad_(True), normal(3, 1, 32, 32, seed=1).requires_grad_(True)
    for k, shown in enumerate(t[:, :1] for t in generator.shown(z, None, x)):
        of_z, of_x = torch.autograd.grad(shown.square().sum(), (z, x), allow_unused=True, retain_graph=True)
        reached = [bool((part != 0).any()) for part in of_z.split(generator.parts, 1)]
        assert reached == [k == 0, k == 1, k == 2]
        assert (of_x is None) == (k == 0)
    (of_z,) = torch.autograd.grad(generator(z).square().sum(), z)
    assert all(bool((part != 0).any()) for part in of_z.split(generator.parts, 1))
    with torch.no_grad():
        first = generator.shown(z, None, x)[0]
        low = enlarged(first)
        made = low + generator.details[0](low, z[:, 5:261], None)
        half_is_made = F.interpolate(made, scale_factor=2, mode="nearest")
        last = generator.shown(z, None, half_is_made)[2]
        assert torch.equal(last[:, 1:], enlarged(made))
        torch.testing.assert_close(last[:, :1], generator(z))


def test_one_loss_of_all_levels_trains_each_as_if_it_were_alone() -> None:
    """Gradients of a level's loss in the others are none, and a step of Adam along all is a step along each."""
    design = Design(1, 32, 32, latent=5, features=4)
    z, x = lapgan(design, stream())[0].draw(8, stream(1)), normal(8, 1, 32, 32, seed=2)

    def levels(generator: ImageGenerator) -> list[nn.Module]:
        return [generator.coarsest, *generator.details]

    def adam(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), 1e-3, eps=1e-20)

    joint, judge = lapgan(design, stream())
    optimiser = adam(joint)
    NON_SATURATING.g(judge(joint.shown(z, None, x))).backward()
    optimiser.step()
    for k in range(3):
        generator, discriminator = lapgan(design, stream())
        logits = discriminator(generator.shown(z, None, x))
        NON_SATURATING.g(logits[:, k]).backward()
        for other, level in enumerate(levels(generator)):
            moved = any(p.grad is not None and bool((p.grad != 0).any()) for p in level.parameters())
            assert moved == (other == k)
            judged = discriminator.levels[other].parameters()
            assert any(p.grad is not None and bool((p.grad != 0).any()) for p in judged) == (other == k)
        alone = levels(generator)[k]
        adam(alone).step()
        for mine, theirs in zip(alone.parameters(), levels(joint)[k].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_levels_are_as_many_as_asked_for() -> None:
    design = Design(1, 48, 32, features=4, latent=3)
    generator, discriminator = lapgan(design, stream())
    assert generator.n_levels == discriminator.n_levels == 3
    assert generator.coarsest.design.features == discriminator.levels[0].design.features == 16
    assert batch_norms(generator) == 2 + 2 * 2  # two layers of the coarsest level, two of each other
    for n in (2, 4):
        generator, discriminator = lapgan(design, stream(), n_levels=n)
        z, _, x = batch(Case(lapgan, 1, 48, 32), generator)
        assert discriminator(generator.shown(z, None, x)).shape == (5, n)
    for n in (1, 5):
        with pytest.raises(ValueError, match=rf"n_levels={n} should be 2\.\.4 for 32x48"):
            lapgan(design, stream(), n_levels=n)
