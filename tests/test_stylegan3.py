"""StyleGAN3: filters, the published layers, the whole generator step by step, tiles, canvases, second derivatives."""

from __future__ import annotations

import math
from itertools import pairwise

import alias_free_reference as reference
import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from texsyn.gan.networks import filters
from texsyn.gan.networks.design import Design
from texsyn.gan.networks.filters import Band, FilteredLeakyReLU, lowpass, radial_lowpass, raised
from texsyn.gan.networks.stylegan2 import StyleDiscriminator
from texsyn.gan.networks.stylegan3 import AliasFreeGenerator, BandLayer, canvas, schedule, stylegan3
from texsyn.gan.penalties import path_length, r1

T_AND_R = pytest.mark.parametrize("rotation", [False, True])


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(channels: int = 3, height: int = 16, width: int = 16, n_classes: int = 0) -> Design:
    return Design(channels, height, width, n_classes, latent=6, features=8, max_features=16)


def contrast(x: Tensor) -> Tensor:
    """Root mean square of what a picture (.., H, W) is beside its means."""
    return (x - x.mean((-2, -1), keepdim=True)).square().mean().sqrt()


def layers_of(generator: AliasFreeGenerator) -> list[BandLayer]:
    return [layer for layer in generator.layers if isinstance(layer, BandLayer)]


def generator_of(
    design: Design, *, rotation: bool = False, periodic: bool = False, n_layers: int = 14, still: bool = False
) -> AliasFreeGenerator:
    """Nothing in it 0 or 1 any more; magnitudes those of 16 pictures. still: latents do not move the canvas."""
    generator = AliasFreeGenerator(design, stream(), rotation=rotation, periodic=periodic, n_layers=n_layers)
    random = stream(100)
    with torch.no_grad():
        for name, p in generator.named_parameters():
            if name.endswith("bias") or (name == "start.affine.weight" and not still):
                p += torch.randn(p.shape, generator=random) / 4 / (0.01 if "mapping.layers" in name else 1)
        if still:
            generator.start.affine.bias.copy_(torch.tensor([1.0, 0, 0, 0] if not periodic else [0.0, 0]))
        generator.average.copy_(torch.randn(design.latent, generator=random))
        labels = torch.arange(16) % design.n_classes if design.n_classes else None
        generator(generator.draw(16, stream(3)), labels)
    return generator.eval()


def styles(generator: AliasFreeGenerator, n: int = 3) -> Tensor:
    return torch.randn(n, generator.n_styles, generator.design.latent, generator=stream(5))


# ---- filters


@pytest.mark.parametrize(
    ("n", "cutoff", "half_width", "rate"),
    [(12, 2.0, 6.0, 32), (24, 2.0, 6.0, 64), (12, 100.3, 27.7, 512), (12, 128.0, 29.5, 512), (13, 3.0, 0.4, 40)],
)
def test_filters_are_those_of_scipy(n: int, cutoff: float, half_width: float, rate: float) -> None:
    """The last one damps too little for any window, the one before it less than 50 decibels."""
    taps = lowpass(n, Band(1, cutoff, half_width), rate)
    assert taps.dtype == torch.float64
    wanted = scipy.signal.firwin(n, cutoff, width=2 * half_width, fs=rate)
    np.testing.assert_allclose(taps.numpy(), wanted, atol=1e-14)


def test_radial_filters_know_no_direction() -> None:
    """Responses on circles: along an axis, a diagonal and between; the other filter's differ by a tenth."""
    band, n = Band(16, 2.0, 6.0), 12
    wide = Band(16, 6.0, 4.0)
    np.testing.assert_allclose(
        radial_lowpass(n, band, 32).numpy(), reference.radial(n, reference.Row(2.0, 16, 6.0, 0), 32), atol=1e-14
    )
    t = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / 32

    def response(taps: Tensor, f: float, angle: float) -> float:
        x = (2 * math.pi * f * (t[:, None] * math.sin(angle) + t * math.cos(angle))).cos()
        return float((taps * x).sum())

    for taps, equal in ((radial_lowpass(n, wide, 32), True), (torch.outer(*[lowpass(n, wide, 32)] * 2), False)):
        assert taps.sum().item() == pytest.approx(1, abs=1e-12)
        along, across = (response(taps, 8.0, angle) for angle in (0.0, math.pi / 4))
        assert (abs(along - across) < 0.01) == equal
        assert (abs(along - across) > 0.1) != equal


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize(
    ("rates", "size", "out"), [((16, 16), 38, 36), ((16, 32), 36, 52), ((32, 32), 54, 32), ((7, 14), 27, 34)]
)
def test_a_filtered_leaky_relu_is_its_steps(rates: tuple[int, int], size: int, out: int, radial: bool) -> None:
    """With zeros put in, whole filters and the published formula of the padding; some values are cut."""
    before, after = (Band(rate, rate / 5, rate / 4) for rate in rates)
    bend = FilteredLeakyReLU(before, after, radial=radial).double()
    fine = 2 * max(rates)
    up, down = fine // before.rate, fine // after.rate
    x = 200 * torch.randn(2, 3, size, size, generator=stream(), dtype=torch.float64)
    kept = radial_lowpass(6 * down, after, fine) if radial else lowpass(6 * down, after, fine)
    wanted = reference.bent(x, lowpass(6 * up, before, fine), kept, up, down, out, 1)
    made = bend(x.clone(), (out, out))
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-6)  # its taps are float32
    uncut = reference.bent(x / 1000, lowpass(6 * up, before, fine), kept, up, down, out, 1) * 1000
    assert (wanted - uncut).abs().max() > 1
    wide = bend(x.transpose(2, 3)[:, :, :-2], (out - 2 * rates[1] // rates[0], out))  # sides of their own
    assert wide.shape[2:] == (out - 2 * rates[1] // rates[0], out)


@pytest.mark.parametrize("radial", [False, True])
def test_slopes_of_a_filtered_leaky_relu(radial: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """First and second, by differences, of a picture at a time; some values are cut. All at once is the same."""
    bend = FilteredLeakyReLU(Band(8, 2.0, 2.0), Band(8, 3.0, 1.0), radial=radial).double()
    x = 1000 * torch.randn(2, 1, 4, 5, generator=stream(), dtype=torch.float64)
    assert (raised(x, 2 * bend.up_taps, 2).abs() > 256 / 2**0.5).any()
    whole = bend(x, (3, 4))
    monkeypatch.setattr(filters, "CACHE", 1)
    torch.testing.assert_close(bend(x, (3, 4)), whole)
    assert torch.autograd.gradcheck(lambda t: bend(t, (3, 4)), x.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda t: bend(t, (3, 4)), x)
    assert torch.autograd.gradgradcheck(lambda t: bend(t, (3, 4)).square(), x)


def test_a_filtered_leaky_relu_commutes_with_shifts_that_the_grid_does_not_have() -> None:
    """By 0.3 of a sample, on a torus: above 45 dB with the filters, below 35 without."""
    band = Band(32, 8.0, 8.0)
    bend = FilteredLeakyReLU(band, band)
    f = torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64)
    spectrum = torch.fft.fft2(torch.randn(1, 4, 32, 32, generator=stream(), dtype=torch.float64))
    spectrum = spectrum * (f.abs() <= 7) * (f.abs() <= 7)[:, None]
    turned = spectrum * torch.exp(-2j * math.pi * 0.3 * f / 32)
    moved, x = torch.fft.ifft2(turned).real, torch.fft.ifft2(spectrum).real

    def on_torus(x: Tensor) -> Tensor:
        n = bend.reach
        return bend(torch.nn.functional.pad(x.float(), [n] * 4, mode="circular"), (32, 32)).double()

    def error(y: Tensor, of_moved: Tensor) -> float:
        shifted = torch.fft.ifft2(torch.fft.fft2(y) * torch.exp(-2j * math.pi * 0.3 * f / 32)).real
        return float(10 * (y.square().mean() / (shifted - of_moved).square().mean()).log10())

    assert error(on_torus(x), on_torus(moved)) > 45
    plain = [torch.nn.functional.leaky_relu(t, 0.2) for t in (x, moved)]
    assert error(*plain) < 35


# ---- the layers


@pytest.mark.parametrize("side", [32, 256, 1024])
def test_bands_are_those_of_the_formulas(side: int) -> None:
    bands = schedule(side, side)
    assert len(bands) == 15
    for band, row in zip(bands, reference.table(side), strict=True):
        assert band.rate == row.rate
        assert band.cutoff == pytest.approx(row.cutoff)
        assert band.half_width == pytest.approx(row.half_width)
    assert bands[-1].cutoff == bands[-2].cutoff == bands[-3].cutoff == side / 2  # two layers and the picture
    assert all(a.cutoff < b.cutoff for a, b in pairwise(bands[:-2]))


#: (samples with margin, channels) of the 14 layers
TABLE = {
    (32, False): [(36, 512)] * 5 + [(52, 512)] * 8 + [(32, 512)],
    # printed at the beginning of trainings with released code (issues 181, 229 and others of its repository)
    (256, False): [(36, 512)] * 3 + [(52, 512)] * 2 + [(84, 512)] * 2 + [(148, 362), (148, 256), (148, 181)]
    + [(276, 128), (276, 91), (276, 64), (256, 64)],
    (1024, True): [(36, 1024)] * 2 + [(52, 1024)] * 2 + [(84, 1024)] + [(148, 1024)] * 2 + [(276, 645), (276, 406)]
    + [(532, 256), (1044, 161), (1044, 102), (1044, 64), (1024, 64)],
}  # fmt: skip


def of_published_size(side: int, features: int, rotation: bool) -> tuple[AliasFreeGenerator, StyleDiscriminator]:
    design = Design(3, side, side, latent=512, features=features, max_features=512)
    with FakeTensorMode():
        return stylegan3(design, torch.Generator(), rotation=rotation)


@pytest.mark.parametrize(("side", "rotation"), TABLE)
def test_layers_are_those_of_the_table(side: int, rotation: bool) -> None:
    generator, _ = of_published_size(side, {32: 512, 256: 64, 1024: 32}[side], rotation)
    sizes = generator._sizes((side, side))
    layers = layers_of(generator)
    found = [(size[0], len(layer.conv.weight)) for size, layer in zip(sizes, layers, strict=True)]
    assert found == TABLE[side, rotation]
    assert generator.n_styles == 16
    assert generator.sides() == (16, *(s - 20 for s, _ in TABLE[side, rotation][:-1]), side, side)
    kernels = {tuple(layer.conv.weight.shape[2:]) for layer in layers}
    assert kernels == ({(1, 1)} if rotation else {(3, 3)})
    discs = [layer.bend.down_taps.ndim == 2 for layer in layers]  # all but the two critically sampled ones
    assert discs == [rotation] * 12 + [False] * 2


@pytest.mark.parametrize(
    ("side", "features", "rotation", "made", "judged"),
    [
        (1024, 32, False, 22_313_167, 29_012_513),  # 22.3 M in the paper
        (1024, 32, True, 15_093_151, 29_012_513),  # as printed by released code, and so is the next one
        (512, 64, True, 16_665_594, 28_982_849),
        (256, 64, False, 23_320_443, 24_001_089),
        (256, 64, True, 15_779_565, 24_001_089),
    ],
)
def test_parameters_of_published_sizes(side: int, features: int, rotation: bool, made: int, judged: int) -> None:
    pair = of_published_size(side, features, rotation)
    assert [sum(p.numel() for p in network.parameters()) for network in pair] == [made, judged]
    # by hand: mapping, canvas, mixed waves, then by layer kernel, bias and affine map
    widths = [round(min((1 + rotation) * features * side / 2 / row.cutoff, 512 * (1 + rotation)))
              for row in reference.table(side)[:-1]]  # fmt: skip
    count = 2 * (512 * 512 + 512) + 4 * 513 + widths[0] ** 2
    for n_in, n_out in pairwise([widths[0], *widths]):
        count += (1 if rotation else 9) * n_in * n_out + n_out + 513 * n_in
    assert count + 3 * widths[-1] + 3 + 513 * widths[-1] == made


# ---- the generator, written out another time


def released(generator: AliasFreeGenerator) -> dict[str, Tensor]:
    """Its tensors by the names of released files."""
    start = generator.start
    state = {
        "synthesis.input.weight": start.mix.weight,
        "synthesis.input.freqs": start.frequencies,
        "synthesis.input.phases": start.phases,
        "synthesis.input.affine.weight": start.affine.weight,
        "synthesis.input.affine.bias": start.affine.bias,
    }
    sizes = [*generator._sizes((generator.design.height,) * 2), (generator.design.height,) * 2]
    every: list[nn.Module] = [*generator.layers, generator.picture]
    for i, (layer, size) in enumerate(zip(every, sizes, strict=True)):
        name = f"synthesis.L{i}_{size[0]}_{len(layer.get_parameter('conv.weight'))}"
        for ours, theirs in (("conv.weight", "weight"), ("conv.bias", "bias"), ("affine.weight", "affine.weight"),
                             ("affine.bias", "affine.bias")):  # fmt: skip
            state[f"{name}.{theirs}"] = layer.get_parameter(ours)
        state[f"{name}.magnitude_ema"] = layer.get_buffer("magnitude.square")
        if isinstance(layer, BandLayer):
            state[f"{name}.up_filter"], state[f"{name}.down_filter"] = layer.bend.up_taps, layer.bend.down_taps
    return {name: t.detach().double() for name, t in state.items()}


@T_AND_R
def test_the_generator_step_by_step(rotation: bool) -> None:
    generator = generator_of(small(height=32, width=32), rotation=rotation, n_layers=6).double()
    state, ws = released(generator), styles(generator, 2).double()
    given = canvas(move=(0.1, -0.2), turn=0.4)
    with torch.no_grad():
        made = generator.synthesise(ws, canvas=given)
    wanted = reference.picture(state, ws, 32, given)
    assert contrast(wanted) > 0.05
    torch.testing.assert_close(made, wanted, atol=1e-9, rtol=1e-9)
    rows = reference.table(32, 6)
    for i, layer in enumerate(layers_of(generator)):  # and its filters are those of scipy
        before, after = rows[max(i - 1, 0)], rows[i]
        fine = 2 * max(before.rate, after.rate)
        up, down = fine // before.rate, fine // after.rate
        np.testing.assert_allclose(layer.bend.up_taps, reference.lowpass(6 * up, before, fine), atol=1e-7)
        kept = reference.radial if layer.bend.down_taps.ndim == 2 else reference.lowpass
        np.testing.assert_allclose(layer.bend.down_taps, kept(6 * down, after, fine), atol=1e-7)


def test_styles_and_labels_reach_pictures_as_in_other_style_networks() -> None:
    generator = generator_of(small(1, n_classes=2), n_layers=4)
    z = generator.draw(4, stream(7))
    labels = torch.tensor([0, 1, 0, 1])
    with torch.no_grad():
        made = generator(z, labels)
        torch.testing.assert_close(made, generator.synthesise(generator.styles(z, labels)))
        assert (made - generator(z, 1 - labels)).abs().flatten(1).max(1).values.min() > 1e-2
        ws = styles(generator, 1)
        first = generator.synthesise(ws)
        for row in range(generator.n_styles):
            other = ws.clone()
            other[:, row] += 1
            assert (generator.synthesise(other) - first).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"labels=None: a network of 2 classes needs one of 0\.\.1 a picture"):
        generator(z)


def test_a_picture_does_not_depend_on_what_it_is_made_with() -> None:
    generator = generator_of(small(), n_layers=4)
    ws = styles(generator, 4)
    with torch.no_grad():
        each = torch.cat([generator.synthesise(ws[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(generator.synthesise(ws), each, atol=1e-5, rtol=1e-4)


# ---- what training does to it


@pytest.mark.parametrize("periodic", [False, True])
@T_AND_R
def test_gradients_reach_every_parameter(rotation: bool, periodic: bool) -> None:
    before = torch.get_rng_state()
    pair = stylegan3(small(3, 16, 24, 2), stream(), rotation=rotation, periodic=periodic)
    generator, discriminator = pair
    z, labels = generator.draw(4, stream(1)), torch.tensor([0, 1, 0, 1])
    made = generator(z, labels)
    assert made.shape == (4, 3, 16, 24)
    discriminator(made, labels).pow(3).sum().backward()
    for network in pair:
        for name, p in network.named_parameters():
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
            assert p.grad.abs().sum() > 0, name
    assert torch.equal(before, torch.get_rng_state())


def test_the_same_stream_gives_the_same_pair() -> None:
    one, other, third = (stylegan3(small(n_classes=2), stream(seed), rotation=True) for seed in (0, 0, 1))
    for a, b, c in zip(one, other, third, strict=True):
        assert all(torch.equal(t, b.state_dict()[key]) for key, t in a.state_dict().items())
        assert not all(torch.equal(t, c.state_dict()[key]) for key, t in a.state_dict().items())


def test_features_are_in_balance_from_the_first_training_picture_on() -> None:
    """A mean at first, then half of what was is forgotten in 20,000 pictures; outside training nothing moves."""
    generator = AliasFreeGenerator(small(), stream(), n_layers=6)
    into: list[float] = []

    def measured(layer: nn.Module, x: tuple[Tensor, ...], y: Tensor) -> None:
        into.append(float(x[0].square().mean() / layer.get_buffer("magnitude.square")))

    for layer in layers_of(generator):
        layer.register_forward_hook(measured)
    z = [generator.draw(32, stream(seed)) for seed in (1, 2)]
    with torch.no_grad():
        generator(z[0])
        torch.testing.assert_close(torch.tensor(into), torch.ones(6))
        first = [layer.magnitude.square.item() for layer in layers_of(generator)]
        generator(z[1])
        assert generator.seen == 64
        kept = {name: t.clone() for name, t in generator.state_dict().items()}
        # the first layer sees waves alone, whose mean square hardly depends on the picture
        assert layers_of(generator)[0].magnitude.square.item() == pytest.approx(first[0], rel=0.05)
        generator.seen += 10**9
        square = layers_of(generator)[0].magnitude.square
        square.fill_(3.0)
        generator(z[0])
        share = 1 - 0.5 ** (32 / 20_000)
        assert square.item() == pytest.approx(3 + share * (first[0] - 3), rel=1e-5)
        generator.load_state_dict(kept)
        generator.eval()
        generator(z[1])
        assert all(torch.equal(t, kept[name]) for name, t in generator.state_dict().items())


@T_AND_R
def test_path_lengths_and_r1_teach_what_finite_differences_say(rotation: bool) -> None:
    generator = generator_of(small(1), rotation=rotation, n_layers=3).double()
    _, discriminator = stylegan3(small(1), stream(), rotation=rotation)
    discriminator.double()
    ws = styles(generator, 2).double()
    y = torch.randn(2, 1, 16, 16, generator=stream(4)).double()

    def lengths() -> Tensor:
        return path_length(generator.synthesise, ws, y, torch.tensor(0.1).double())[0]

    def slopes() -> Tensor:
        return r1(discriminator, generator.synthesise(ws))

    for value in (lengths, slopes):
        parameters = [p for name, p in generator.named_parameters() if "mapping" not in name]
        if value is slopes:
            parameters = list(discriminator.parameters())
        random = stream(8)
        way = [torch.randn(p.shape, generator=random, dtype=torch.float64) for p in parameters]
        gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
        exact = sum((g * v).sum().item() for g, v in zip(gradients, way, strict=True) if g is not None)
        ends, h = [], 1e-9  # so small that hardly a value passes a kink, where slopes jump
        for sign in (1, -2):
            with torch.no_grad():
                for p, v in zip(parameters, way, strict=True):
                    p += sign * h * v
            ends.append(value().item())
        assert abs(exact) > 1e-3
        assert exact == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-4)


def test_the_waves_are_not_rounded_in_half_precision() -> None:
    generator = generator_of(small(), n_layers=4)
    ws, seen = styles(generator), []
    generator.start.register_forward_hook(lambda layer, x, y: seen.append(y))
    with torch.no_grad():
        exact = generator.synthesise(ws)
        with torch.autocast("cpu", torch.bfloat16):
            made = generator.synthesise(ws)
    assert made.dtype == seen[1].dtype == torch.float32
    assert torch.equal(*seen)
    assert 0 < (made - exact).square().mean().sqrt() < 0.05 * contrast(exact)


# ---- the canvas


def test_canvases() -> None:
    point = torch.tensor([0.5, 0.0, 1.0])
    torch.testing.assert_close(canvas() @ point, point)
    # what is at (0.3, 0.1) is shown 0.2 further to the right and 0.1 up
    torch.testing.assert_close(canvas(move=(0.2, -0.1)) @ point, torch.tensor([0.3, 0.1, 1.0]))
    # a quarter turn clockwise, y down: what is on the right is shown below
    below = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(canvas(turn=math.pi / 2) @ below, point, atol=1e-6, rtol=0)
    both = canvas(turn=0.7) @ canvas(move=(0.2, 0.3))
    torch.testing.assert_close(canvas(move=(0.2, 0.3), turn=0.7), both)


@T_AND_R
def test_pictures_move_with_their_canvas(rotation: bool) -> None:
    """By 4 of 32 pixels, away from the border; a quarter turn is exact but for the border in R only."""
    generator = generator_of(small(height=32, width=32), rotation=rotation)
    ws = styles(generator)
    with torch.no_grad():
        made = generator.synthesise(ws)
        moved = generator.synthesise(ws, canvas=canvas(move=(4 / 32, 0)))
        turned = generator.synthesise(ws, canvas=canvas(turn=math.pi / 2))
    spread = contrast(made)
    assert spread > 0.01
    assert (moved[..., 2:-2, 6:-2] - made[..., 2:-2, 2:-6]).square().mean().sqrt() < 1e-2 * spread
    assert (moved - made).square().mean().sqrt() > 0.1 * spread
    away = (turned - made.rot90(-1, (2, 3))).square().mean().sqrt() / spread
    assert (away < 1e-2) == rotation


def test_canvases_of_their_own_and_wide_views() -> None:
    """Each picture on its own canvas; a larger view has the smaller one at its centre, but for its border."""
    generator = generator_of(small(height=32, width=48))
    ws = styles(generator, 2)
    assert generator.step == 2
    canvases = torch.stack([canvas(), canvas(move=(0.3, 0.1))])
    with torch.no_grad():
        both = generator.synthesise(ws, canvas=canvases)
        torch.testing.assert_close(both[:1], generator.synthesise(ws[:1]), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(both[1:], generator.synthesise(ws[1:], canvas=canvases[1]), atol=1e-5, rtol=1e-4)
        wide = generator.synthesise(ws, shape=(64, 80))
    assert wide.shape == (2, 3, 64, 80)
    made = generator.synthesise(ws)
    assert (wide[:, :, 16:48, 16:64] - made)[..., 2:-2, 2:-2].square().mean().sqrt() < 0.01 * contrast(made)


def test_waves_that_a_canvas_makes_too_short_are_not_heard() -> None:
    generator = generator_of(small(height=32, width=32), still=True)
    ws = styles(generator, 1)
    shrunk = torch.diag(torch.tensor([100.0, 100.0, 1.0]))
    with torch.no_grad():
        assert generator.start(ws[:, 0], (36, 36), shrunk).abs().max() < 0.1
        same = generator.start(ws[:, 0], (36, 36), torch.eye(3))
        torch.testing.assert_close(same, generator.start(ws[:, 0], (36, 36), None), atol=1e-5, rtol=1e-5)
        assert same.abs().max() > 0.5


# ---- pictures that tile


@T_AND_R
def test_periodic_pictures_move_around_the_torus(rotation: bool) -> None:
    """What a canvas moves out at one side comes in at the other, to the precision of float32."""
    design = small(height=32, width=48)
    generator = generator_of(design, rotation=rotation, periodic=True)
    ws = styles(generator)
    with torch.no_grad():
        made = generator.synthesise(ws)
        assert made.shape == (3, 3, 32, 48)
        moved = generator.synthesise(ws, canvas=canvas(move=(6 / 32, -4 / 32)))
        difference = (moved - made.roll((-4, 6), (2, 3))).square().mean().sqrt() / contrast(made)
        assert difference < 1e-2
        around = generator.synthesise(ws, canvas=canvas(move=(48 / 32, 1.0)))
        torch.testing.assert_close(around, made, atol=1e-4, rtol=0)
        plain = generator_of(design, rotation=rotation)
        edge = plain.synthesise(ws)
    steps = [(t[..., 0] - t[..., -1]).square().mean() / (t.diff(dim=3).square().mean()) for t in (made, edge)]
    assert steps[0] < 1.6
    assert steps[1] > 2


def test_waves_of_a_tile_are_whole_in_it() -> None:
    generator = AliasFreeGenerator(small(height=32, width=48), stream(), periodic=True)
    cycles = generator.start.frequencies * torch.tensor([48 / 32, 1.0])
    torch.testing.assert_close(cycles, cycles.round())
    lengths = generator.start.frequencies.norm(dim=1)
    assert lengths.max() <= 2
    assert lengths.min() > 0
    free = AliasFreeGenerator(Design(3, 32, 32, latent=6, features=512, max_features=512), stream())
    radius = free.start.frequencies.norm(dim=1)
    assert radius.max() <= 2
    assert radius.square().mean().item() == pytest.approx(2, rel=0.1)  # uniform in a disc of radius 2: half of 4


# ---- sizes, and what is wrong


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (16, 40), (24, 20), (48, 80)])
def test_other_sizes(shape: tuple[int, int]) -> None:
    """28 has rates 14 and 28, 20 x 24 only 10 and 20."""
    generator = generator_of(Design(1, *shape, latent=6, features=2, max_features=4), n_layers=5, still=True)
    side = min(shape)
    assert all(side % band.rate == 0 and shape[0] * band.rate % side == 0 for band in generator.bands)
    assert generator.bands[-1].rate == side
    ws = styles(generator, 2)
    with torch.no_grad():
        made = generator.synthesise(ws)
        assert made.shape == (2, 1, *shape)
        moved = generator.synthesise(ws, canvas=canvas(move=(0, 2 / side)))
    assert (moved[:, :, 2:] - made[:, :, :-2]).square().mean().sqrt() < 0.1 * contrast(made)


def test_what_is_wrong_is_said() -> None:
    generator = generator_of(small(height=32, width=32), n_layers=4)
    ws = styles(generator)
    with pytest.raises(ValueError, match=r"ws=\(3, 6\) should be \(B, 6, 6\)"):
        generator.synthesise(ws[:, 0])
    with pytest.raises(ValueError, match=r"canvas=\(2, 3, 3\) should be \(3, 3\) or \(3, 3, 3\)"):
        generator.synthesise(ws, canvas=torch.eye(3).expand(2, 3, 3))
    with pytest.raises(ValueError, match="a size of 32x33: both sides should be multiples of 2"):
        generator.synthesise(ws, shape=(33, 32))
    tiled = AliasFreeGenerator(small(), stream(), periodic=True, n_layers=4).eval()
    with pytest.raises(ValueError, match="a size of 32x32: pictures that tile are 16x16"):
        tiled.synthesise(ws, shape=(32, 32))
    with pytest.raises(ValueError, match="a size of 8x6: both sides should be at least 8"):
        stylegan3(small(height=6, width=8), stream())
    with pytest.raises(ValueError, match="n_layers=2 should be above 2"):
        AliasFreeGenerator(small(), stream(), n_layers=2)
