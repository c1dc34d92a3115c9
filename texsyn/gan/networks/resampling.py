"""Filtered resampling of pictures and features, and convolutions of 3 x 3 that go up or down by it in one kernel.

To go up, zeros go between the samples and a low-pass filter takes away the copies of the spectrum that they make; to go
down, the filter comes before the samples are thinned out, or they would alias (Zhang 2019, "Making convolutional
networks shift-invariant again"; Karras and others 2020, "Analyzing and improving the image quality of StyleGAN", whose
filter is [1, 3, 3, 1]). Filter and convolution are both linear and shift-invariant on the finer grid, so that a kernel
of 3 x 3 convolved with that filter, 6 x 6, does the work of both. It takes two to four times the products (folded, for
devices that care more for the number of passes; on a CPU the two steps make a training step 15 to 30 % faster).

periodic: beyond the border is the other side, so that what comes out can be tiled; otherwise there are zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

FILTER = (0.125, 0.375, 0.375, 0.125)  # [1, 3, 3, 1] of sum 1: the 2-tap mean three times


def resample(
    x: Tensor,
    taps: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    pad: tuple[int, int] | tuple[int, int, int, int] = (0, 0),
    gain: float = 1.0,
) -> Tensor:
    """gain (x with up - 1 zeros after each sample, padded) * taps, every down-th value of it; x (B, C, H, W).

    taps: (n,) for both axes, or (n, m). pad: zeros (before, after) on both axes, or (top, bottom, left, right), on the
    finer grid; fewer than 0 cut off. The convolution keeps to what is there: a side H becomes
    (up H + before + after - n) // down + 1.

    >>> resample(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[0.5, 0.5]]), up=2, pad=(0, -1, 1, 0), gain=2).tolist()
    [[[[1.0, 1.0, 2.0, 2.0]]]]
    """
    channels, height, width = x.shape[1:]
    top, bottom, left, right = pad if len(pad) == 4 else (*pad, *pad)
    if up > 1:
        x = F.pad(x.reshape(-1, channels, height, 1, width, 1), [0, up - 1, 0, 0, 0, up - 1])
        x = x.reshape(-1, channels, height * up, width * up)
    x = F.pad(x, [left, right, top, bottom])
    taps = taps.to(x).flip(list(range(taps.ndim)))  # conv2d correlates
    if taps.ndim == 1:
        x = F.conv2d(x, _each(gain * taps[:, None], channels), stride=(down, 1), groups=channels)
        return F.conv2d(x, _each(taps[None, :], channels), stride=(1, down), groups=channels)
    return F.conv2d(x, _each(gain * taps, channels), stride=down, groups=channels)


def upsampled(x: Tensor, *, periodic: bool = False) -> Tensor:
    """x (B, C, H, W) at twice the height and width by FILTER: resample(up=2, pad=(2, 1), gain=4) as one kernel."""
    x = _around(x, 1) if periodic else x
    kernel = _each(4 * _kernel(x), x.shape[1])
    return F.conv_transpose2d(x, kernel, stride=2, padding=3 if periodic else 1, groups=x.shape[1])


def downsampled(x: Tensor, *, periodic: bool = False) -> Tensor:
    """x (B, C, H, W) at half the height and width by FILTER: resample(down=2, pad=(1, 1)) as one kernel."""
    x = _around(x, 1) if periodic else x
    return F.conv2d(x, _each(_kernel(x), x.shape[1]), stride=2, padding=0 if periodic else 1, groups=x.shape[1])


def blurred(x: Tensor, sigma: float) -> Tensor:
    """x (B, C, H, W), zeros beyond, by a filter 2^-(t / sigma)^2 of sum 1, cut off at 3 sigma, or at the picture.

    What StyleGAN3-R's first pictures are judged through (Karras and others 2021, appendix). Its standard deviation is
    sigma / sqrt(2 ln 2) = 0.85 sigma pixels.
    """
    reach = min(math.floor(3 * sigma), min(x.shape[2:]) - 1)
    if reach < 1:
        return x
    taps = torch.exp2(-(torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype) / sigma).square())
    return resample(x, taps / taps.sum(), pad=(reach, reach))


def _kernel(like: Tensor) -> Tensor:
    taps = like.new_tensor(FILTER)
    return torch.outer(taps, taps)


def _each(kernel: Tensor, channels: int) -> Tensor:
    """The kernel for each channel: an order of magnitude faster on a CPU than channels as pictures of one."""
    return kernel.expand(channels, 1, -1, -1)


def _around(x: Tensor, n: int) -> Tensor:
    """x with n pixels of its other side on every side."""
    return F.pad(x, [n] * 4, mode="circular")


# ---- convolutions; weight (O, I, k, k)


def conv(x: Tensor, weight: Tensor, *, periodic: bool = False) -> Tensor:
    """x (B, I, H, W) correlated with weight, of odd side: (B, O, H, W)."""
    reach = weight.shape[-1] // 2
    return F.conv2d(_around(x, reach), weight) if periodic and reach else F.conv2d(x, weight, padding=reach)


def conv_up(x: Tensor, weight: Tensor, *, periodic: bool = False, folded: bool = False) -> Tensor:
    """x (B, I, H, W) with zeros between, convolved with weight (O, I, 3, 3), then filtered: (B, O, 2 H, 2 W).

    A convolution proper, as transposed ones are, and so are published weights: conv() has the kernel the other way
    round.
    """
    x = _around(x, 1) if periodic else x
    if folded:
        kernel = fold(weight, 4 * _kernel(x))
        return F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2, padding=4 if periodic else 2)
    fine = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # one sample more than twice as many
    return resample(fine, x.new_tensor(FILTER), pad=(-1, -1) if periodic else (1, 1), gain=4)


def conv_down(x: Tensor, weight: Tensor, *, periodic: bool = False, folded: bool = False) -> Tensor:
    """x (B, I, H, W), H and W even, filtered, then every other value of it correlated with weight (O, I, 3, 3)."""
    x = _around(x, 2) if periodic else x
    padding = 0 if periodic else 2
    if folded:
        return F.conv2d(x, fold(weight, _kernel(x)), stride=2, padding=padding)
    return F.conv2d(resample(x, x.new_tensor(FILTER), pad=(padding, padding)), weight, stride=2)


def fold(weight: Tensor, kernel: Tensor) -> Tensor:
    """weight (O, I, k, k) convolved with kernel (n, n), symmetric: (O, I, k + n - 1, k + n - 1)."""
    each = _each(kernel.to(weight), weight.shape[1])
    return F.conv2d(weight, each, padding=kernel.shape[-1] - 1, groups=weight.shape[1])


def modulated(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    by: Callable[[Tensor, Tensor], Tensor] = conv,
    demodulate: bool = True,
) -> Tensor:
    """x (B, I, H, W) convolved with a weight of its own for each picture b, w_oik = style_bi weight_oik.

    demodulate: each w_o is divided by its norm over i and k, plus 1e-8 under the root, so that features of unit
    variance stay such. by: which convolution. style (B, I) scales what goes in and the norms what comes out: one shared
    convolution and no tensor (B, O, I, k, k). Karras and others 2020, equations 1 to 3.
    """
    x = by(x * style[:, :, None, None], weight)
    if not demodulate:
        return x
    energies = weight.square().sum((2, 3))  # (O, I)
    return x * (style.square() @ energies.T + 1e-8).rsqrt()[:, :, None, None]
