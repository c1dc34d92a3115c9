"""SGAN and PSGAN: published numbers, the plane and its borders, waves and morphs, and that training learns."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import texsyn
from texsyn.blocks import ENDLESS, Period
from texsyn.cli import main
from texsyn.gan.losses import LOSSES
from texsyn.gan.spatial import SpatialTraining
from texsyn.gan.spatial_networks import Design, SpatialCritic, SpatialGenerator, Waves
from texsyn.images import InputError, Picture, Region, Size, from_unit, load, save
from texsyn.models.base import Watch
from texsyn.models.sgan import (
    GLOBAL,
    Psgan,
    PsganConfig,
    Sgan,
    SganConfig,
    global_vector,
    turns_of,
    uniform,
    wave_numbers,
)
from texsyn.noise import NoiseField
from texsyn.synthesis import configure
from texsyn.training import CHECKPOINT, Run

SMALL = SganConfig(
    n_layers=3, channels=4, max_channels=8, local_channels=3, upsampling="transposed", steps=4, batch=2, cells=4,
    average=0.5,
)  # fmt: skip
SMALLP = PsganConfig(
    n_layers=3, channels=4, max_channels=8, local_channels=3, upsampling="transposed", steps=4, batch=2, cells=4,
    average=0.5, global_channels=3, waves=2, hidden=6, affine=True,
)  # fmt: skip


def stripes(height: int = 48, width: int = 40, n_channels: int = 3) -> Picture:
    """Slanted stripes with some noise."""
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x + 0.5 * y) / 2)[..., None] * np.array([90, 60, -40, 30, 70][:n_channels])
    noisy = 128 + wave + np.random.default_rng(0).normal(0, 4, (height, width, n_channels))
    return load(noisy.clip(0, 255).astype(np.uint8))


def lively(model: Sgan, seed: int = 0) -> Sgan:
    """The model with weights of a size at which a pixel depends visibly on everything it sees."""
    g = torch.Generator().manual_seed(seed)
    maker = model.new_maker(g, normalised=False)
    with torch.no_grad():
        for layer in maker.generator.layers:
            fan_in = layer.weight.numel() / layer.bias.numel() / (4 if layer.transposed else 1)
            layer.weight.mul_(50 * (2 / fan_in) ** 0.5)
            layer.bias.copy_(0.1 * torch.randn(layer.bias.shape, generator=g))
        if maker.waves is not None:
            maker.waves.second.mul_(20)
    return model.having(maker)


@pytest.fixture(scope="module", params=["sgan", "psgan", "psgan-nearest"])
def model(request: pytest.FixtureRequest) -> Sgan:
    if request.param == "sgan":
        return lively(Sgan(stripes(), SMALL))
    upsampling = "nearest" if request.param.endswith("nearest") else "transposed"
    return lively(Psgan(stripes(), replace(SMALLP, upsampling=upsampling)))


# ---- the published networks


def sines(like: torch.Tensor, phase: int) -> torch.Tensor:
    return 0.3 * torch.arange(like.numel(), dtype=torch.float64).add(phase).sin().view(like.shape)


def test_networks_give_the_numbers_of_the_released_ones() -> None:
    design, g = Design(3, 4, 8, noise_channels=5, out_channels=3), torch.Generator()
    generator, critic = SpatialGenerator(design, g).double(), SpatialCritic(design, g).double()
    with torch.no_grad():
        for k, layer in enumerate(generator.layers):
            layer.weight.copy_(sines(layer.weight, k).flip(2, 3))
            layer.bias.zero_()
            if layer.normalised:
                layer.bias.copy_(sines(layer.bias, 10 + k))
                layer.scale.copy_(1 + sines(layer.scale, 20 + k))
        for k, weight in enumerate(critic.weights):
            weight.copy_(sines(weight, 30 + k).flip(2, 3))
        critic.shifts[0].copy_(sines(critic.shifts[0], 40))
        critic.scales[0].copy_(1 + sines(critic.scales[0], 50))
    made = generator((0.7 * torch.arange(160, dtype=torch.float64)).sin().view(2, 5, 4, 4)).detach()
    assert made.shape == (2, 3, 25, 25)
    found = [*made[0, :, 0, 0], made[1, 2, 12, 13], made.mean(), made.std(correction=0)]
    expected = [0.332278, 0.40169691, 0.46090923, 0.91086249, -0.00554015, 0.54743136]
    np.testing.assert_allclose([float(v) for v in found], expected, atol=1e-6)
    x = (0.7 * torch.arange(made.numel(), dtype=torch.float64) + 1).sin().view(made.shape)
    assert critic(x).shape == (2, 1, 4, 4)
    objective = LOSSES["non-saturating"].d(critic(x), critic(made)) + 1e-5 * critic.penalised()
    assert float(objective.detach()) == pytest.approx(1.86054874, abs=1e-8)


def test_published_recipes_have_the_published_sizes() -> None:
    sgan, psgan = (configure(name, {"recipe": "paper"}, whole=True) for name in ("sgan", "psgan"))
    assert (sgan.crop, psgan.crop) == (257, 161)
    model = Psgan(load(np.random.default_rng(0).integers(0, 255, (161, 170, 3), np.uint8)), psgan)
    assert model.design.noise_channels == 96
    maker = model.new_maker(torch.Generator())
    assert sum(p.numel() for p in maker.generator.parameters()) == pytest.approx(5.5e6, rel=0.02)
    assert sum(p.numel() for p in SpatialCritic(model.design, torch.Generator()).parameters()) == pytest.approx(
        4.3e6, rel=0.02
    )
    assert [tuple(layer.weight.shape) for layer in maker.generator.layers] == [
        (96, 512, 5, 5), (512, 256, 5, 5), (256, 128, 5, 5), (128, 64, 5, 5), (64, 3, 5, 5),
    ]  # fmt: skip
    assert 62 <= model.having(maker).halo <= 62 + 31  # a value reaches 62 pixels from its place; a cell has 32


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_inside_both_borders_give_the_same_values(upsampling: str) -> None:
    """What a window sees is what the network with a border of zeros sees, far enough from that."""
    g = torch.Generator().manual_seed(0)
    generator = SpatialGenerator(Design(2, 4, 8, 3, 2, upsampling=upsampling, normalised=False), g).double()
    z = torch.randn(1, 3, 12, 12, generator=g, dtype=torch.float64)
    region = Region(17, 14, 10, 13)
    windows = generator.windows(region)
    at = generator.cells(windows)
    inside = generator(z[:, :, at.top : at.bottom, at.left : at.right], windows)
    assert inside.shape == (1, 2, 10, 13)
    torch.testing.assert_close(inside, generator(z)[:, :, 17:27, 14:27], rtol=0, atol=1e-12)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_places_looked_up_one_by_one_give_what_plain_doubling_gives(upsampling: str) -> None:
    g = torch.Generator().manual_seed(0)
    generator = SpatialGenerator(Design(3, 4, 8, 3, 2, upsampling=upsampling, normalised=False), g).double()
    windows = generator.windows(Region(-3, 14, 10, 13))
    at = generator.cells(windows)
    z = torch.randn(1, 3, at.height, at.width, generator=g, dtype=torch.float64)
    one_by_one = []
    for window in windows:
        seen, below = window.out.grow(2), window.below
        rows = [(y // 2 - below.top, y % 2 == 0) for y in range(seen.top, seen.bottom)]
        columns = [(x // 2 - below.left, x % 2 == 0) for x in range(seen.left, seen.right)]
        one_by_one.append(replace(window, rows=tuple(rows), columns=tuple(columns)))
    torch.testing.assert_close(generator(z, one_by_one), generator(z, windows), rtol=0, atol=1e-14)
    odd = generator.windows(Region(0, 0, 13, 4), (13, None))[0]  # 13 rows have 7 parents, the last of one child
    assert odd.rows is not None
    parents = [(at + odd.below.top, first) for at, first in odd.rows]
    assert parents[:4] == [(-2, False), (-1, True), (0, True), (0, False)]
    assert parents[-4:] == [(5, False), (6, True), (7, True), (7, False)]


# ---- the plane


def test_random_regions_in_any_order_and_from_threads_equal_the_crop(model: Sgan) -> None:
    whole = Region(-300, -280, 640, 600)
    pixels = model.plane(seed=3)(whole)
    assert pixels.std() > 5
    chance, plane = random.Random(8), model.plane(seed=3)

    def is_crop(region: Region) -> bool:
        top, left = region.top - whole.top, region.left - whole.left
        return np.array_equal(plane(region), pixels[top : top + region.height, left : left + region.width])

    regions = []
    for _ in range(20):
        height, width = chance.randint(1, 90), chance.randint(1, 90)
        top, left = chance.randint(whole.top, whole.bottom - height), chance.randint(whole.left, whole.right - width)
        regions.append(Region(top, left, height, width))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_crop, regions))
    sample = model.sample(Size(300, 280), seed=3)[0]
    assert torch.equal(model.render(Region(17, 31, 200, 180), seed=3), sample[:, 17:217, 31:211])
    far = Region(2**60, -(2**61), 9, 12)
    assert np.array_equal(model.plane(seed=3)(far), model.plane(seed=3)(Region(far.top - 4, far.left, 20, 12))[4:13])
    assert not np.array_equal(plane(Region(0, 0, 9, 9)), model.plane(seed=4)(Region(0, 0, 9, 9)))


def in_float64(model: Sgan) -> Sgan:
    """The same model, computing so finely that no rounding of a float decides about a pixel."""
    made = model.having(model._made())
    made.x = made.x.double()
    maker = type(model).from_tensors(model.exemplar, model.config, model.tensors(), "cpu")._made()
    made.maker = maker.double()
    return made


@pytest.mark.parametrize("size", [Size(48, 40), Size(43, 29), Size(8, 8), Size(5, 64)])
def test_tiles_have_no_seam(model: Sgan, size: Size) -> None:
    """Over 20 seeds: a tile, and the same torus cut open elsewhere and computed at once, are equal pixel by pixel."""
    exact, period = in_float64(model), (size.height, size.width)
    for seed in range(20):
        tile = exact.synthesise(size, seed=seed, tile="xy").pixels
        corner = (size.height // 2 - size.height, 3 - size.width)  # the tile's border is inside
        at_once = exact.values(Region(*corner, *period), seed, period).permute(1, 2, 0).numpy()
        assert np.array_equal(from_unit(at_once, np.uint8), np.roll(tile, (-corner[0], -corner[1]), (0, 1))), seed


def test_tiles_of_the_model_itself_join_as_their_blocks_do(model: Sgan) -> None:
    """In float32, where values may differ by rounding, no pixel differs by more than one code, and hardly any does."""
    size, differing = Size(96, 80), 0
    for seed in range(20):
        tile = model.synthesise(size, seed=seed, tile="xy").pixels.astype(int)
        at_once = model.values(Region(-20, -30, 96, 80), seed, (96, 80)).permute(1, 2, 0).numpy()
        gap = np.abs(from_unit(at_once, np.uint8) - np.roll(tile, (20, 30), (0, 1)))
        assert gap.max() <= 1
        differing += int(gap.sum())
    assert differing < 20 * tile.size * 1e-4


@pytest.mark.parametrize("period", [(None, 37), (5, None), (64, None), (1, 2)])
def test_planes_repeat_on_one_axis_or_both_after_any_period(model: Sgan, period: Period) -> None:
    plane = model.plane(seed=2, period=period)
    height, width = period[0] or 40, period[1] or 40
    first = plane(Region(0, 0, height, width))
    assert np.array_equal(first, plane(Region(height * bool(period[0]), -width * bool(period[1]), height, width)))
    assert first.std() > 0


def test_blocks_are_windows_of_one_function(model: Sgan) -> None:
    here = Region(-37, 230, 61, 53)
    at_once = model.values(here, 5, ENDLESS)
    np.testing.assert_allclose(at_once.permute(1, 2, 0), model._blocks(5, ENDLESS).window(here), atol=2e-5)


def test_a_pixel_depends_on_noise_within_the_halo_and_on_no_other(model: Sgan) -> None:
    generator, side = model._made().generator, 2**model.config.n_layers
    reach = 0
    for x in range(-1000, -1000 + side):
        windows = generator.windows(Region(7, x, 1, 1))
        at = generator.cells(windows)
        z = torch.randn(1, generator.design.noise_channels, at.height, at.width, requires_grad=True)
        generator(z, windows).sum().backward()
        assert z.grad is not None
        assert bool((z.grad.abs().sum((0, 1)) > 0).all()) or model.config.upsampling == "transposed"
        reach = max(reach, x - at.left * side, at.right * side - 1 - x)
    assert reach == model.halo


# ---- noise


def test_noise_is_uniform_and_its_own_for_every_channel_and_kind() -> None:
    model = lively(Psgan(stripes(), SMALLP))
    z = model.noise(Region(-50, 20, 100, 100), 3, ENDLESS)
    assert z.shape == (3 + 3 + 4, 100, 100)
    vectors, local = z[:3], z[3:6].reshape(3, -1)
    assert np.ptp(vectors, (1, 2)).max() == 0
    assert len(np.unique(vectors[:, 0, 0])) == 3
    assert np.abs(local.mean(1)).max() < 0.03
    np.testing.assert_allclose(local.std(1), 3**-0.5, rtol=0.02)
    assert np.abs(np.corrcoef(local) - np.eye(3)).max() < 0.05
    phases = [np.arcsin(model.noise(Region(0, 0, 1, 1), seed, ENDLESS)[6:, 0, 0]) for seed in range(300)]
    assert np.abs(np.mean(phases, 0)).max() < 0.2
    np.testing.assert_allclose(np.std(phases, 0), np.pi / 12**0.5, rtol=0.1)  # uniform, and so are their arcsines
    assert np.abs(np.corrcoef(np.transpose(phases)) - np.eye(4)).max() < 0.2
    several = np.array([global_vector(seed, 3) for seed in range(2000)])
    assert np.abs(several.mean(0)).max() < 0.05
    assert np.abs(np.corrcoef(several.T) - np.eye(3)).max() < 0.07


def test_uniform_noise_is_exact_in_float32() -> None:
    field, region = NoiseField(1, GLOBAL, 2), Region(0, 0, 30, 40)
    bits = field.bits(region) >> np.uint64(40)
    exact = [Fraction(2 * int(b) + 1, 2**24) - 1 for b in bits.flat]
    assert [Fraction(float(v)) for v in uniform(field, region).flat] == exact


def test_training_and_sampling_draw_the_same_kind_of_waves() -> None:
    """The same global vector and phases: channels of one and of the other agree."""
    model = lively(Psgan(stripes(), SMALLP))
    maker, at = model._made(), Region(-3, 2, 7, 9)
    drawn = maker.draw(2, at, torch.Generator().manual_seed(0), torch.device("cpu")).numpy()
    assert drawn.shape == (2, 10, 7, 9)
    for one in drawn:
        turns = turns_of(wave_numbers(maker.waves, one[:3, 0, 0]), at)
        for wave, phase in zip(one[6:], 2 * np.pi * turns, strict=True):
            both = np.stack([np.sin(phase).ravel(), np.cos(phase).ravel()], 1)
            mixture, *_ = np.linalg.lstsq(both, wave.ravel(), rcond=None)
            np.testing.assert_allclose(both @ mixture, wave.ravel(), atol=1e-5)
            assert np.hypot(*mixture) == pytest.approx(1, abs=1e-4)


# ---- waves


def test_wave_numbers_start_at_the_published_ones() -> None:
    waves = Waves(3, 0, 50, False, False, torch.Generator())
    along_x, along_y = waves(torch.zeros(1, 0, dtype=torch.float64))
    base = np.pi * np.array([2 / 3, 5 / 6, 1])
    np.testing.assert_allclose(along_x.detach(), [[*base, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(along_y.detach(), [[0, 0, 0, *base]], atol=1e-6)
    near = Waves(3, 8, 50, True, False, torch.Generator().manual_seed(0))(torch.rand(40, 8) * 2 - 1)
    assert 0 < float((near[0].detach()[:, :3] - torch.tensor(base)).abs().max()) < 2  # W2 is near 0
    official = Waves(3, 60, 50, False, True, torch.Generator().manual_seed(0))
    k = official(torch.rand(4000, 60, generator=torch.Generator().manual_seed(1)) * 2 - 1)[0][:, 0] / base[0]
    assert not k.requires_grad
    assert 0.3 < float(((k - 1).abs() < 0.1).float().mean()) < 0.5  # about 39 % of vectors leave the bias alone
    assert 200 < float(k.quantile(0.975)) < 800


def test_waves_in_any_direction_have_two_numbers_each() -> None:
    waves = Waves(2, 0, 50, True, False, torch.Generator())
    with torch.no_grad():
        waves.bias.copy_(torch.arange(1.0, 9.0))  # k1 = 1, 2; k2 = 3, 4; k3 = 5, 6; k4 = 7, 8
        along_x, along_y = waves(torch.zeros(0, dtype=torch.float64))
    base = np.pi * np.array([0.75, 1, 0.75, 1])
    np.testing.assert_allclose(along_x, base * [1, 2, 5, 6], rtol=1e-6)
    np.testing.assert_allclose(along_y, base * [3, 4, 7, 8], rtol=1e-6)


def test_phases_are_exact_at_any_distance() -> None:
    numbers = np.array([[0.123456789, -0.75], [0.3, 1 / 3]])
    near = turns_of(numbers, Region(-5, 7, 4, 6))
    y, x = np.mgrid[-5:-1, 7:13]
    for one, fx, fy in zip(near, *numbers, strict=True):
        gap = (one - (fx * x + fy * y)) % 1
        assert np.minimum(gap, 1 - gap).max() < 1e-12
    far = Region(2**60 - 3, -(2**61) + 5, 2, 2)
    for one, fx, fy in zip(turns_of(numbers, far), *numbers, strict=True):
        for i in range(2):
            for j in range(2):
                steps = [Fraction(round(f % 1.0 * 2**64), 2**64) for f in (fx, fy)]
                exact = float((steps[0] * (far.left + j) + steps[1] * (far.top + i)) % 1)
                assert one[i, j] == pytest.approx(exact, abs=1e-12)


def test_on_a_torus_waves_are_whole() -> None:
    numbers = np.array([[0.123, -0.75, 0.49], [0.3, 1 / 3, 0.01]])
    whole = turns_of(numbers, Region(0, 0, 22, 14), (11, 7))
    np.testing.assert_array_equal(whole[:, :11, :7], whole[:, 11:, 7:])
    counts = whole[:, 0, 1] * 7, whole[:, 1, 0] * 11
    np.testing.assert_allclose(counts[0], np.round(numbers[0] * 7) % 7, atol=1e-9)
    np.testing.assert_allclose(counts[1], np.round(numbers[1] * 11) % 11, atol=1e-9)


@pytest.mark.parametrize("n_global", [0, 4])
def test_wave_numbers_are_trained_but_not_in_the_released_manner(n_global: int) -> None:
    for compat, moves in (("texsyn", True), ("official", False)):
        config = replace(SMALLP, global_channels=n_global, compat=compat, learning_rate=0.01)
        training = SpatialTraining(Psgan(stripes(), config), seed=0)
        waves = training.maker.waves
        assert waves is not None
        before = {name: t.clone() for name, t in waves.state_dict().items()}
        for i in range(3):
            training.step(i)
        moved = {name: float((t - before[name]).abs().max()) for name, t in waves.state_dict().items()}
        assert all((v > 1e-3) == moves for v in moved.values()), moved
        assert set(moved) == ({"first", "shift", "second", "bias"} if n_global else {"bias"})


# ---- morphs


def test_a_morphs_waves_have_the_frequency_that_the_vector_of_the_place_says() -> None:
    model = lively(Psgan(stripes(), replace(SMALLP, affine=False)))
    size = Size(8 * 60, 8 * 90)
    morph = model.morphed([3, 8], size).morph
    assert morph is not None
    turns = morph.turns_at(Region(0, 0, 60, 90))
    numbers = wave_numbers(model._made().waves, morph.vectors_at(Region(0, 0, 60, 90)))
    step = (np.diff(turns, axis=2) - numbers[0].transpose(2, 0, 1)[:, :, :-1] + 0.5) % 1 - 0.5
    slope = np.abs(np.diff(numbers[0], axis=1)).max()
    assert slope > 1e-4
    assert np.abs(step[:2]).max() <= slope  # waves along x: exact, to within the field's slope
    chirped = numbers[0].transpose(2, 0, 1)[:2] * np.arange(90)  # k(z) x instead
    assert np.abs(np.diff(chirped, axis=2) - numbers[0].transpose(2, 0, 1)[:2, :, :-1]).max() > 20 * slope
    down = (np.diff(turns, axis=1) - numbers[1].transpose(2, 0, 1)[:, :-1] + 0.5) % 1 - 0.5
    assert np.abs(down[2:]).max() < 1e-9  # waves along y: their number does not vary along y here
    steepest = np.abs(np.diff(numbers[1], axis=1)).max((0, 1))[2:]
    turned = np.abs((np.diff(turns[2:], axis=2) + 0.5) % 1 - 0.5).max((1, 2))
    assert (turned <= 30.5 * steepest).all()  # crests turn with the distance from the middle, 30 cells at most


def test_a_morph_goes_from_anchor_to_anchor_and_its_regions_are_crops() -> None:
    model = lively(Psgan(stripes(), SMALLP))
    size = Size(200, 330)
    morphed = model.morphed([[3, 8, 9], [4, 5, 6]], size)
    left, right = Region(0, 0, 1, 1), Region(24, 41, 1, 1)
    for corner, seed in ((left, 3), (right, 6)):
        vector = morphed.noise(corner, 1, ENDLESS)[:3, 0, 0]
        np.testing.assert_allclose(vector, global_vector(seed, 3), atol=1e-6)
    whole = morphed.synthesise(size, seed=1).pixels
    plane = model.morphed([[3, 8, 9], [4, 5, 6]], size).plane(seed=1)
    chance = random.Random(3)
    for _ in range(20):
        height, width = chance.randint(1, 60), chance.randint(1, 60)
        top, x = chance.randint(0, 200 - height), chance.randint(0, 330 - width)
        assert np.array_equal(plane(Region(top, x, height, width)), whole[top : top + height, x : x + width])
    assert plane(Region(-300, 5000, 3, 4)).shape == (3, 4, 3)
    one = model.morphed([7], Size(64, 64)).noise(Region(0, 0, 8, 8), 7, ENDLESS)
    np.testing.assert_allclose(one[:6], model.noise(Region(0, 0, 8, 8), 7, ENDLESS)[:6], atol=1e-6)
    for wrong, word in (
        (lambda: morphed.synthesise(size, seed=1, tile="x"), "cannot tile"),
        (lambda: morphed.synthesise(Size(200, 331), seed=1), "size=331x200"),
        (lambda: model.morphed([[1, 2], [3]], size), "equally many"),
        (lambda: model.morphed([], size), "equally many"),
        (lambda: Psgan(stripes(), replace(SMALLP, global_channels=0)).morphed([1, 2], size), "global_channels=0"),
    ):
        with pytest.raises(ValueError, match=word):
            wrong()


# ---- training


def test_settled_weights_make_what_the_batch_made() -> None:
    training = SpatialTraining(Psgan(stripes(), SMALLP), seed=0)
    for i in range(3):
        training.step(i)
    with torch.no_grad():
        z, windows = training.noise(training.maker, torch.Generator().manual_seed(3))
        settled = training.maker.generator.settled([(z, windows)])
        torch.testing.assert_close(settled(z, windows), training.maker.generator(z, windows), atol=1e-5, rtol=1e-5)


def test_pictures_are_drawn_with_the_averaged_weights() -> None:
    for average in (0.0, 0.5):
        training = SpatialTraining(Sgan(stripes(), replace(SMALL, average=average, learning_rate=0.01)), seed=0)
        for i in range(5):
            training.step(i)
        drawn = training.model()._made().generator.layers[-1].weight  # the last has no normalisation
        now, kept = training.maker.state_dict(), training.players["maker"].averaged
        assert torch.equal(drawn, (kept if average else now)["generator.layers.2.weight"])
        assert torch.equal(drawn, now["generator.layers.2.weight"]) == (not average)


def test_learning_rates_fall_to_the_share_that_is_left_or_stay() -> None:
    for last, wanted in ((0.25, [1.0, 0.625, 0.25]), (1.0, [1.0, 1.0, 1.0])):
        training = SpatialTraining(Sgan(stripes(), replace(SMALL, steps=1000, last_rate=last)), seed=0)
        for player in training.players.values():
            assert [player.rate(i) for i in (20, 500, 1000)] == pytest.approx(wanted, abs=0.002)
    assert training.players["critic"].rate(0) == 1


@pytest.mark.parametrize("border", ["none", "zero"])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_made_pictures_have_the_size_of_the_crops(border: str, upsampling: str) -> None:
    config = replace(SMALL, border=border, upsampling=upsampling)
    training = SpatialTraining(Sgan(stripes(), config), seed=0)
    side = 25 if (border, upsampling) == ("zero", "transposed") else 32
    assert config.crop == side
    made, crops = training.made(training.maker, training.random), training.crops()
    assert made.shape == crops.shape == (2, 3, side, side)
    assert (made[0] - made[1]).abs().max() > 0


def test_crops_are_of_every_place_of_the_exemplar() -> None:
    ramp = np.arange(34 * 33, dtype=np.uint16).reshape(34, 33, 1)
    model = Sgan(load(ramp), replace(SMALL, batch=8))
    training = SpatialTraining(model, seed=0)
    corners = {round(float(c[0, 0, 0] * 0.5 + 0.5) * 65535) for _ in range(12) for c in training.crops()}
    assert corners == {33 * top + left for top in range(3) for left in range(2)}


class After:
    def __init__(self, n: int) -> None:
        self.left = n

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(("cls", "config"), [(Sgan, SMALL), (Psgan, replace(SMALLP, average=0.0))])
def test_a_stopped_run_keeps_a_model_and_goes_on_to_the_same_bits(
    cls: type[Sgan], config: SganConfig, tmp_path: Path
) -> None:
    config = replace(config, steps=8)
    whole, outcome = cls.train(stripes(), config, seed=4)
    assert outcome.steps == whole.steps == 8
    assert whole.to_bytes() == cls.fit(stripes(), config, seed=4).to_bytes()
    assert whole.to_bytes() != cls.fit(stripes(), config, seed=5).to_bytes()
    run = Run(tmp_path, {"seed": 4}, save_every=3, sample_every=2)
    part, outcome = cls.train(stripes(), config, seed=4, run=run, watch=Watch(cancel=After(5)))
    assert (outcome.cancelled, outcome.steps, part.steps) == (True, 5, 5)
    assert part.synthesise(Size(20, 30), seed=0).pixels.std() > 0
    last, _ = cls.train(stripes(), config, seed=4, run=replace(run, resume=True))
    assert last.to_bytes() == whole.to_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """kill -9 in the middle of a step, twice."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from dataclasses import replace
from pathlib import Path
from test_sgan import SMALLP, Psgan, Run, stripes
from texsyn.gan.spatial import SpatialTraining

terms, folder = SpatialTraining.maker_terms, Path(sys.argv[1])

def killing(self, turn):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return terms(self, turn)

SpatialTraining.maker_terms = killing
for n, left in enumerate((6, 4)):
    child = os.fork()
    if child == 0:
        run = Run(folder, {{}}, resume=n > 0, save_every=2)
        Psgan.train(stripes(), replace(SMALLP, steps=12), seed=4, run=run)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    said = subprocess.run(command, timeout=100, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(-signal.SIGKILL)] * 2
    assert (tmp_path / "run" / CHECKPOINT).exists()
    config = replace(SMALLP, steps=12)
    last, _ = Psgan.train(stripes(), config, seed=4, run=Run(tmp_path / "run", {}, resume=True, save_every=2))
    assert last.to_bytes() == Psgan.fit(stripes(), config, seed=4).to_bytes()


def test_it_learns_colours_contrast_and_the_direction_of_stripes_in_some_steps() -> None:
    exemplar = stripes(96, 96)
    config = replace(SMALL, channels=8, max_channels=16, steps=250, batch=4, learning_rate=0.002, average=0.9)
    made = Sgan.fit(exemplar, config, seed=0).synthesise(Size(128, 128), seed=9).pixels.astype(float)
    assert np.abs(made.mean((0, 1)) - exemplar.pixels.mean((0, 1))).max() < 20
    assert 0.7 < made.std((0, 1)).mean() / exemplar.pixels.std((0, 1)).mean() < 1.3

    def along(u: np.ndarray, dx: int, dy: int) -> float:
        u = u[..., 0] - u[..., 0].mean()
        h, w = u.shape
        return float((u[dy:, dx:] * u[: h - dy, : w - dx]).mean() / u.var())

    assert along(made, 6, 0) < -0.4  # half of their width of 12.6 across
    assert along(made, 0, 3) > 0.4  # they are steeper than that
    assert np.corrcoef(made[..., 0].ravel(), made[..., 2].ravel())[0, 1] < -0.8


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of resident memory in KiB")
@pytest.mark.parametrize("settings", [{"batch": 16}, {"upsampling": "transposed", "n_layers": 5, "cells": 8}])
def test_the_memory_that_is_told_beforehand_is_what_a_training_takes(settings: dict[str, object]) -> None:
    script = f"""
import resource
import numpy as np
from texsyn.images import load
from texsyn.models.sgan import Sgan
from texsyn.synthesis import configure

config = configure("sgan", {settings!r}, whole=True)
exemplar = load(np.random.default_rng(0).integers(0, 255, (300, 300, 1), np.uint8))
learner = Sgan.learner(exemplar, config, seed=0, device="cpu")
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
for i in range(4):
    learner.step(i)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(peak - before, Sgan.training_bytes(exemplar, config))
"""
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, timeout=100, capture_output=True, text=True, check=True).stdout
    taken, told = map(int, said.split())
    assert 0.75 < told / taken < 1.25


def test_more_of_everything_takes_more_memory() -> None:
    exemplar, last = stripes(300, 300), 0
    steps = [SganConfig(cells=4), SganConfig(cells=8), SganConfig(batch=8), SganConfig(batch=8, channels=64)]
    for config in (*steps, SganConfig(batch=8, channels=64, max_channels=512)):
        told = Sgan.training_bytes(exemplar, config)
        assert told > last
        last = told


# ---- exemplars


def test_channels_that_are_constant_and_ranges_of_floats_are_kept_exactly() -> None:
    rng = np.random.default_rng(0)
    opaque = np.concatenate([rng.integers(0, 200, (40, 40, 3)), np.full((40, 40, 1), 255)], 2).astype(np.uint8)
    made = Sgan.fit(load(opaque), SMALL, seed=0).synthesise(Size(20, 20), seed=0).pixels
    assert (made[..., 3] == 255).all()
    floats = load((rng.random((40, 40, 2)) * 50 - 20).astype(np.float32))
    model = lively(Sgan(floats, SMALL))
    values = model.render(Region(0, 0, 64, 64), seed=0)
    assert float(values.min()) >= floats.pixels.min()
    assert float(values.max()) <= floats.pixels.max()
    assert float(values.max() - values.min()) > 40
    back = model.middle[:, None, None] + model.half[:, None, None] * model.x
    np.testing.assert_allclose(back.permute(1, 2, 0), floats.pixels, atol=1e-5)


def test_a_stack_of_maps_is_learned_as_one_picture(tmp_path: Path) -> None:
    colour, height = stripes(), load(stripes(n_channels=1).pixels.astype(np.uint16) * 257)
    floats = load(stripes(n_channels=2).pixels.astype(np.float32) / 50 - 1)
    for method in ("sgan", "psgan"):
        tiny = {"n_layers": 3, "channels": 4, "max_channels": 8, "steps": 2, "batch": 1, "cells": 4}
        made = texsyn.synth(
            size=(30, 44), maps={"colour": colour, "height": height, "other": floats}, method=method, seed=1, **tiny
        )
        kinds = {name: (m.pixels.dtype.name, m.pixels.shape) for name, m in made.maps.items()}
        assert kinds == {
            "colour": ("uint8", (30, 44, 3)), "height": ("uint16", (30, 44, 1)), "other": ("float32", (30, 44, 2)),
        }  # fmt: skip
        model = texsyn.fit(maps={"colour": colour, "height": height}, method=method, seed=1, **tiny)
        model.save(tmp_path / f"{method}.texsyn")
        again = texsyn.load(tmp_path / f"{method}.texsyn")
        one, two = (m.synthesise(Size(30, 44), seed=5) for m in (model, again))
        assert np.array_equal(one.pixels, two.pixels)
        assert np.array_equal(one.others[0], two.others[0])
        assert np.array_equal(again.plane(seed=5, number=1)(Region(3, 4, 10, 9)), one.others[0][3:13, 4:13])


def test_exemplars_that_cannot_be_learned_are_refused_in_one_sentence() -> None:
    for picture, words in (
        (stripes(31, 60), "cells=4 with n_layers=3 needs at least 32x32 pixels, got 60x31; cells=3 fits it"),
        (stripes(60, 15), "got 15x60; the least, with cells=2, is 16x16"),
        (load(np.full((50, 50, 3), 9, np.uint8)), "is of one colour, and sgan needs a texture"),
    ):
        with pytest.raises(InputError, match=words) as refused:
            Sgan.fit(picture, SMALL)
        assert "\n" not in str(refused.value)


def test_settings_out_of_range_are_refused_by_name() -> None:
    for wrong in ("steps", "channels", "max_channels", "n_layers", "batch", "cells", "local_channels", "hidden"):
        with pytest.raises(ValueError, match=f"{wrong}=0"):
            PsganConfig(**{wrong: 0})
    for name, value in (
        ("last_rate", 0.0), ("learning_rate", 0.0), ("average", 1.0), ("max_minutes", -1.0), ("upsampling", "cubic"),
        ("border", "wrap"), ("loss", "guess"), ("compat", "paper"), ("l2", -1.0), ("waves", -1),
        ("global_channels", -1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            PsganConfig(**{name: value})


def test_weights_of_another_network_are_refused() -> None:
    model = lively(Psgan(stripes(), SMALLP))
    for wrong in (
        replace(SMALLP, channels=5), replace(SMALLP, n_layers=2), replace(SMALLP, waves=1),
        replace(SMALLP, global_channels=0),
    ):  # fmt: skip
        with pytest.raises(InputError, match="do not belong"):
            Psgan.from_tensors(stripes(), wrong, model.tensors(), "cpu")
    with pytest.raises(InputError, match="do not belong"):
        Sgan.from_tensors(stripes(), SMALL, model.tensors(), "cpu")


# ---- the command line


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in args])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_train_sample_morph_render_and_repro(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(stripes(), "s.png")
    tiny = [w for s in ("n_layers=3", "channels=4", "cells=4", "batch=1", "steps=2") for w in ("--set", s)]
    assert call("train", "s.png", "--method", "sgan", *tiny, "-o", "s.safetensors", "--seed", 1) == 0
    looks = ("--set", "global_channels=3")
    assert call("train", "s.png", "--method", "psgan", *tiny, *looks, "-o", "p.safetensors", "--seed", 1) == 0
    assert call("sample", "p.safetensors", "--size", "60x50", "--seed", 3, "-n", 2, "-o", "p{i}.png") == 0
    assert call("render", "p.safetensors", "--region", "7,9,30,20", "--seed", 3, "-o", "r.tif") == 0
    pictures = load("p1.png").pixels, load("p2.png").pixels
    assert np.array_equal(load("r.tif").pixels, pictures[0][9:29, 7:37])
    assert not np.array_equal(*pictures)

    sample = ("sample", "p.safetensors", "--size", "60x50", "--seed", 3)
    assert call(*sample, "--morph", "3,9", "-o", "m.png") == 0
    assert call(*sample, "--morph", "3,9,3,9", "-o", "four.png") == 0
    assert call(*sample, "--morph", "3,9/3,9", "-o", "rows.png") == 0
    morph = load("m.png").pixels
    assert np.array_equal(morph, texsyn.load("p.safetensors").morphed([3, 9], Size(50, 60)).plane(seed=3)(
        Region(0, 0, 50, 60)))  # fmt: skip
    assert np.array_equal(load("four.png").pixels, load("rows.png").pixels)
    assert not np.array_equal(morph, pictures[0])
    assert call("repro", "m.png") == 0
    capsys.readouterr()
    for code, words, args in (
        (2, "'3;9' is not understood", (*sample, "--morph", "3;9", "-o", "no.png")),
        (2, "equally many", (*sample, "--morph", "3,9/1", "-o", "no.png")),
        (2, "leave out --tile x", (*sample, "--morph", "3,9", "--tile", "x", "-o", "no.png")),
        (2, "this is a sgan model", ("sample", "s.safetensors", "--morph", "3,9", "-o", "no.png")),
    ):
        assert call(*args) == code
        assert words in capsys.readouterr().err
    assert not Path("no.png").exists()
