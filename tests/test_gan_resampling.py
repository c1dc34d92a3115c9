"""Resampling against scipy, and each folded or shared convolution against the same thing done step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import upfirdn
from torch import Tensor

from texsyn.gan.networks.resampling import (
    FILTER,
    conv,
    conv_down,
    conv_up,
    downsampled,
    modulated,
    resample,
    upsampled,
)

ROUNDING = {"atol": 1e-13, "rtol": 0}  # of float64 sums of about 100 terms near 1


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TAPS = torch.tensor(FILTER, dtype=torch.float64)
SKEW = normal(5, seed=7)


@pytest.mark.parametrize("taps", [TAPS, SKEW])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (3, 2), (2, 3)])
def test_resample_is_upfirdn(up: int, down: int, taps: Tensor) -> None:
    x, n = normal(2, 3, 7, 10), len(taps)
    wanted = x.numpy()
    for axis in (2, 3):
        wanted = upfirdn(taps.numpy(), wanted, up, down, axis=axis)
    # upfirdn has every value that any sample reaches, and no zeros behind the last sample
    made = resample(x, taps, up=up, down=down, pad=(n - 1, n - up), gain=1.5)
    torch.testing.assert_close(made, 1.5 * torch.from_numpy(wanted), **ROUNDING)
    whole = resample(x, torch.outer(taps, taps), up=up, down=down, pad=(n - 1, n - up), gain=1.5)
    torch.testing.assert_close(whole, made, **ROUNDING)


def test_padding_has_four_sides_and_may_cut() -> None:
    x = normal(1, 2, 6, 9)
    whole = resample(x, SKEW, up=2, pad=(4, 4))
    assert torch.equal(resample(x, SKEW, up=2, pad=(2, -1, 3, -2)), whole[:, :, 2:-5, 1:-6])
    even = torch.outer(SKEW, SKEW.flip(0))  # no symmetry under an exchange of axes
    one = np.zeros((1, 1, 5, 5))
    one[..., 2, 2] = 1
    torch.testing.assert_close(resample(torch.from_numpy(one), even, pad=(2, 2))[0, 0], even, **ROUNDING)


def test_pictures_up_and_down_are_resampled() -> None:
    x = normal(2, 3, 6, 10)
    torch.testing.assert_close(upsampled(x), resample(x, TAPS, up=2, pad=(2, 1), gain=4), **ROUNDING)
    torch.testing.assert_close(downsampled(x), resample(x, TAPS, down=2, pad=(1, 1)), **ROUNDING)
    # inside, [1, 3, 3, 1] up is linear interpolation, and constants stay what they are
    linear = F.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(upsampled(x)[..., 1:-1, 1:-1], linear[..., 1:-1, 1:-1], **ROUNDING)
    for made in (upsampled(torch.ones_like(x), periodic=True), downsampled(torch.ones_like(x), periodic=True)):
        torch.testing.assert_close(made, torch.ones_like(made), **ROUNDING)


# ---- convolutions


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("by", [conv_up, conv_down])
def test_a_folded_convolution_is_the_two_steps(by: object, periodic: bool) -> None:
    assert callable(by)
    x, weight = normal(2, 3, 6, 10), normal(4, 3, 3, 3, seed=1)
    made = by(x, weight, periodic=periodic, folded=True)
    assert made.shape == ((2, 4, 12, 20) if by is conv_up else (2, 4, 3, 5))
    torch.testing.assert_close(made, by(x, weight, periodic=periodic), **ROUNDING)
    single = by(x.float(), weight.float(), periodic=periodic, folded=True).double()
    torch.testing.assert_close(single, made, atol=1e-5, rtol=0)  # float32 sums of 100 terms up to 10


def test_convolutions_up_and_down_by_hand() -> None:
    """Up: zeros in between, the kernel turned round, the filter. Down: the filter, the kernel as it is, every other."""
    x, weight = normal(1, 1, 6, 10), normal(1, 1, 3, 3, seed=1)
    kernel = torch.outer(TAPS, TAPS)[None, None]
    fine = torch.zeros(1, 1, 12, 20, dtype=torch.float64)
    fine[..., ::2, ::2] = x
    fine = F.conv2d(F.conv2d(fine, weight.flip((2, 3)), padding=2), 4 * kernel, padding=3)  # all that is reached
    torch.testing.assert_close(conv_up(x, weight), fine[..., 2:14, 2:22], **ROUNDING)
    low = F.conv2d(F.conv2d(x, kernel, padding=2), weight)
    torch.testing.assert_close(conv_down(x, weight), low[..., ::2, ::2], **ROUNDING)


@pytest.mark.parametrize("periodic", [False, True])
def test_periodic_ones_move_with_what_goes_in(periodic: bool) -> None:
    x, weight = normal(1, 2, 6, 8), normal(2, 2, 3, 3, seed=1)
    ways = {
        upsampled: 2.0,
        downsampled: 0.5,
        lambda t, periodic: conv_up(t, weight, periodic=periodic): 2.0,
        lambda t, periodic: conv_up(t, weight, periodic=periodic, folded=True): 2.0,
        lambda t, periodic: conv_down(t, weight, periodic=periodic): 0.5,
        lambda t, periodic: conv_down(t, weight, periodic=periodic, folded=True): 0.5,
        lambda t, periodic: conv(t, weight, periodic=periodic): 1.0,
    }
    for way, scale in ways.items():
        moved = way(x.roll((2, 4), (2, 3)), periodic=periodic)
        wanted = way(x, periodic=periodic).roll((int(2 * scale), int(4 * scale)), (2, 3))
        assert ((moved - wanted).abs().max() < 1e-13) == periodic


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("by", [conv, conv_up, conv_down])
def test_a_modulated_convolution_has_a_weight_for_each_picture(by: object, demodulate: bool) -> None:
    assert callable(by)
    x, weight, style = normal(3, 4, 6, 8), normal(5, 4, 3, 3, seed=1), normal(3, 4, seed=2)
    each = style[:, None, :, None, None] * weight  # (B, O, I, k, k)
    if demodulate:
        each = each / (each.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    wanted = torch.cat([by(x[b : b + 1], each[b]) for b in range(3)])
    if by is conv:  # all of them in one convolution by groups
        grouped = F.conv2d(x.reshape(1, 12, 6, 8), each.flatten(0, 1), padding=1, groups=3).reshape(3, 5, 6, 8)
        torch.testing.assert_close(grouped, wanted, **ROUNDING)
    torch.testing.assert_close(modulated(x, weight, style, by=by, demodulate=demodulate), wanted, **ROUNDING)


@pytest.mark.parametrize("periodic", [False, True])
def test_first_and_second_derivatives(periodic: bool) -> None:
    x, weight, style = (normal(*shape, seed=4).requires_grad_(True) for shape in ((1, 1, 4, 4), (1, 1, 3, 3), (1, 1)))
    for by in (conv, conv_up, conv_down):

        def made(x: Tensor, weight: Tensor, style: Tensor, by: object = by) -> Tensor:
            assert callable(by)
            return modulated(x, weight, style, by=lambda a, b: by(a, b, periodic=periodic)).tanh().sum((1, 2, 3))

        assert torch.autograd.gradcheck(made, (x, weight, style))
        assert torch.autograd.gradgradcheck(made, (x, weight, style))
    for way in (upsampled, downsampled):
        assert torch.autograd.gradgradcheck(lambda t, way=way: way(t, periodic=periodic).square(), (x,))
