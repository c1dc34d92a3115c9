"""EQ-T and EQ-R of pictures that move perfectly, by a known error, not at all; of StyleGANs with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from texsyn.gan.networks.design import Design
from texsyn.gan.networks.style import StyledGenerator
from texsyn.gan.networks.stylegan2 import stylegan2
from texsyn.gan.networks.stylegan3 import canvas, stylegan3
from texsyn.metrics.equivariance import (
    Equivariance,
    Make,
    equivariance,
    of_canvas,
    of_constant,
    on_torus,
    rotation,
    translation,
)
from texsyn.metrics.unmeasurable import Unmeasurable


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def waves(height: int, width: int, highest: float, read: Callable[[Tensor], Tensor] = lambda m: m) -> Make:
    """Pictures of 20 waves of up to so many cycles a pixel, of mean square 1 / 2, computed on any canvas."""
    random, side = stream(5), min(height, width)
    length, angle, phase = torch.rand(3, 20, generator=random, dtype=torch.float64)
    length, angle = length * highest * side, angle * 2 * math.pi
    k = torch.stack([length * angle.cos(), length * angle.sin()], 1)
    y, x = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / side for n in (height, width))
    points = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)], 2)

    def make(i: int, given: Tensor) -> Tensor:
        at = (points.double() @ read(given).double().T)[..., :2]
        return torch.sin(2 * math.pi * (at @ k.T + phase + i / 10)).sum(2)[None] / math.sqrt(20)

    return make


def three(make: Make, n: int = 6) -> tuple[float, float, float]:
    return (
        translation(make, n, stream()),
        translation(make, n, stream(), fractional=True),
        rotation(make, n, stream()),
    )


@pytest.mark.parametrize("shape", [(32, 32), (24, 48), (65, 33)])
def test_pictures_that_move_perfectly(shape: tuple[int, int]) -> None:
    """Up to the precision of a canvas in float32, of a filter of 12 pixels; at all frequencies a picture can hold."""
    for highest in (0.1, 0.5):
        whole, part, turned = three(waves(*shape, highest))
        assert whole > 100
        assert part > 60
        assert turned > 60


def test_pictures_that_move_the_wrong_way() -> None:
    for wrong in (torch.linalg.inv, lambda m: torch.eye(3), lambda m: m * torch.tensor([[1.0, 1, -1]] * 3)):
        assert max(three(waves(32, 32, 0.2, wrong))[:2]) < 15
    assert three(waves(32, 32, 0.2, torch.linalg.inv))[2] < 15


def test_a_known_error_has_its_decibels() -> None:
    """0.1 everywhere is 10 log10(4 / 0.01); half of that where one of two channels is right."""
    perfect = waves(32, 32, 0.2)

    def off(i: int, given: Tensor) -> Tensor:
        return perfect(i, given) + 0.1 * (not torch.equal(given, canvas()))

    for found in three(off):
        assert found == pytest.approx(26.02, abs=0.05)

    def half_off(i: int, given: Tensor) -> Tensor:
        return torch.cat([off(i, given), perfect(i, given)])

    for found in three(half_off):
        assert found == pytest.approx(29.03, abs=0.05)
    assert translation(off, 3, stream(), peak=4.0) == pytest.approx(32.04, abs=0.05)


def test_what_sticks_to_the_screen_is_found() -> None:
    """White noise that stays where it is differs from itself elsewhere by twice its variance: 10 log10(4 / 2)."""
    noise = torch.randn(6, 1, 96, 96, generator=stream(3))

    def stuck(i: int, given: Tensor) -> Tensor:
        return noise[i]

    assert translation(stuck, 6, stream()) == pytest.approx(3.01, abs=0.2)
    assert translation(stuck, 6, stream(), fractional=True) < 8
    assert rotation(stuck, 2, stream()) < 9


def test_moves_are_up_to_an_eighth_of_a_side() -> None:
    seen: list[Tensor] = []
    shape = (64, 128)

    def make(i: int, given: Tensor) -> Tensor:
        seen.append(given)
        return torch.zeros(1, *shape)

    assert translation(make, 200, stream()) == math.inf
    moves = -torch.stack(seen[1::2])[:, :2, 2] * 64  # pixels: right, down
    assert torch.equal(moves, moves.round())
    assert moves.abs().max(0).values.tolist() == [16, 8]
    seen.clear()
    shape = (18, 18)
    rotation(make, 200, stream())
    turns = torch.stack(seen[1::2])
    assert (torch.atan2(turns[:, 0, 1], turns[:, 0, 0])).abs().max() > 3


# ---- StyleGANs


def scaled(generator: StyledGenerator) -> tuple[StyledGenerator, float]:
    """In balance, and the span that stands for pictures in [-1, 1] of a usual contrast: four standard deviations."""
    z = generator.draw(16, stream(7))
    with torch.no_grad():
        generator.train()(z)
        made = generator.eval()(z)
    return generator, 4 * float((made - made.mean((2, 3), keepdim=True)).square().mean().sqrt())


def measured(generator: StyledGenerator) -> Equivariance:
    generator, peak = scaled(generator)
    return equivariance(generator, n=6, peak=peak)


DESIGN = Design(3, 32, 32, latent=16, features=8, max_features=32)


def test_stylegan3_moves_and_stylegan2_does_not() -> None:
    """With random weights at 32 x 32 pixels, and decibels of contrast, which random networks have little of."""
    t, r = (measured(stylegan3(DESIGN, stream(), rotation=turns)[0]) for turns in (False, True))
    plain, tiled = (measured(stylegan2(DESIGN, stream(), periodic=periodic)[0]) for periodic in (False, True))
    assert t.rotation is not None
    assert r.rotation is not None
    for found in (t, r):
        assert found.translation > 45
        assert found.fractional > 45
    assert max(plain.translation, tiled.translation, plain.fractional, tiled.fractional) < 25  # even as a torus
    assert r.rotation > 40
    assert t.rotation < 25
    assert plain.rotation is None


def test_a_tile_has_no_rotation() -> None:
    found = measured(stylegan3(DESIGN, stream(), periodic=True)[0])
    assert found.rotation is None
    assert found.translation > 45


def test_measuring_changes_nothing() -> None:
    before = torch.get_rng_state()
    for pair in (stylegan3(DESIGN, stream()), stylegan2(DESIGN, stream())):
        generator = pair[0]
        kept = {name: t.clone() for name, t in generator.state_dict().items()}
        first = equivariance(generator, n=2)
        assert generator.training
        assert equivariance(generator.eval(), n=2) == first
        assert not generator.training
        assert equivariance(generator, n=2, seed=1) != first
        assert all(torch.equal(t, kept[name]) for name, t in generator.state_dict().items())
    assert torch.equal(before, torch.get_rng_state())


def test_classes_come_in_turn() -> None:
    design = Design(1, 16, 16, 2, latent=6, features=4, max_features=8)
    generator = stylegan3(design, stream())[0]
    assert equivariance(generator, n=3).translation > 20


def test_a_constant_moves_like_a_canvas() -> None:
    """By its own places: what begins elsewhere on a torus ends elsewhere, 8 pixels a place; the shorter side is 1."""
    design = Design(3, 32, 64, latent=16, features=8, max_features=32)
    generator = stylegan2(design, stream(), periodic=True)[0].eval()
    with torch.no_grad():
        ws = generator.styles(generator.draw(2, stream(1)))
        make = of_constant(generator, ws)
        moved = make(1, canvas(move=(0.5, -0.25)))  # 16 to the right, 8 up
        torch.testing.assert_close(moved, generator.synthesise(ws)[1].roll((-8, 16), (1, 2)), atol=1e-4, rtol=1e-4)
    tiled = stylegan3(design, stream(), periodic=True)[0].eval()
    with torch.no_grad():
        ws = tiled.styles(tiled.draw(2, stream(1)))
        moved = of_canvas(tiled, ws)(1, canvas(move=(0.5, -0.25)))
        still = tiled.synthesise(ws)[1]
        assert (moved - still.roll((-8, 16), (1, 2))).abs().max() < 0.01 * (still - still.mean()).abs().max()


def test_waves_on_a_torus_move_between_its_places() -> None:
    x = torch.arange(8, dtype=torch.float64) * math.pi / 4
    picture = x.cos()[:, None] * (2 * x).sin()
    torch.testing.assert_close(on_torus(picture, 3.0, -2.0), picture.roll((3, -2), (0, 1)))
    by_half = (x - math.pi / 8).cos()[:, None] * (2 * x - math.pi / 4).sin()
    torch.testing.assert_close(on_torus(picture, 0.5, 0.5), by_half)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(Unmeasurable, match="equivariance needs 16 px a side, got 32x8"):
        translation(waves(8, 32, 0.1), 1, stream())
    generator = stylegan2(DESIGN, stream())[0]
    make = of_constant(generator, generator.styles(generator.draw(1, stream())))
    with pytest.raises(ValueError, match="a constant can be moved, not turned"):
        make(0, canvas(turn=0.1))
    alike = stylegan2(DESIGN, stream(), periodic=True, stationary=True)[0]
    with pytest.raises(ValueError, match="generator=StyleGenerator has neither a canvas nor a constant that moves"):
        equivariance(alike, n=1)
