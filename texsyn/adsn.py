"""Asymptotic discrete spot noise: the Gaussian texture with the exemplar's mean and autocorrelation.

U(x) = m + sum_y t(y) W(x - y), with W white Gaussian noise shared by the channels and t = (u - m)/sqrt(h w) the texton
of the exemplar u (Galerne, Gousseau and Morel 2011, "Random phase textures: theory and synthesis", section 2). The
noise lives on the whole plane (or on a torus), so the exemplar's opposite borders are never taken for neighbours and
the covariance of U is the exemplar's non-periodic autocorrelation (Galerne, Leclaire and Rabin 2018, "A texture
synthesis model based on semi-discrete optimal transport in patch space", section 2).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.noise import UNIT

UNFOLDED = 2**20  # numbers at a time, 8 MiB, that conv2d makes of noise


def texton(u: Tensor) -> tuple[Tensor, Tensor]:
    """(m, t) of u (C, h, w): m (C, 1, 1) the channel means and t (C, h, w) = (u - m)/sqrt(h w)."""
    m = u.mean((1, 2), keepdim=True)
    return m, (u - m) / math.sqrt(u.shape[1] * u.shape[2])


def exact_field(u: Tensor, noise: Tensor) -> Tensor:
    """The texture of an 8-bit exemplar as 8-bit codes, the same bits on every device and for every window.

    u (C, h, w) uint8, noise (H+h-1, W+w-1) integers in units of 1/UNIT (NoiseField.integers). Returns (C, H, W)
    uint8, clipped to 0..255. Means are rounded to codes. Every product and sum is an integer below 2^53, so float64
    adds them exactly in any order; the one division is by a tensor, which every device rounds correctly (by a number,
    CUDA would multiply with its reciprocal). Costs H W C h w products: meant
    for a coarsest level.
    """
    x, n = u.double(), u.shape[1] * u.shape[2]
    m = ((2 * u.long().sum((1, 2), keepdim=True) + n) // (2 * n)).double()
    kernel = (x - m).flip(1, 2)[:, None]  # conv2d correlates; the flip makes it the convolution of the formula
    total = _convolved(noise.to(x), kernel)
    field = m + total / total.new_tensor(UNIT * math.sqrt(n))
    return (field + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _convolved(noise: Tensor, kernel: Tensor) -> Tensor:
    """conv2d of noise (H+h-1, W+w-1) with kernel (C, 1, h, w) in bands: on a CPU it unfolds h w numbers a pixel."""
    h, w = kernel.shape[2:]
    n_rows = noise.shape[0] - h + 1
    at_once = n_rows if noise.device.type != "cpu" else max(1, UNFOLDED // (h * w * noise.shape[1]))
    out = noise.new_empty(len(kernel), n_rows, noise.shape[1] - w + 1)
    for top in range(0, n_rows, at_once):  # a list of bands would stand in the gaps that the next ones unfold into
        band = noise[top : min(top + at_once, n_rows) + h - 1]
        out[:, top : top + at_once] = F.conv2d(band[None, None], kernel)[0]
    return out


def field(u: Tensor, noise: Tensor) -> Tensor:
    """The texture of u (C, h, w) by FFT: noise (H+h-1, W+w-1) standard Gaussian gives (C, H, W).

    Costs O(C S log S), S the size of noise. Rounding depends on the window, to about 1e-6 of the values.
    """
    m, t = texton(u)
    shape = noise.shape
    spectrum = torch.fft.rfft2(t, s=shape) * torch.fft.rfft2(noise[None])
    return m + torch.fft.irfft2(spectrum, s=shape)[:, t.shape[1] - 1 :, t.shape[2] - 1 :]


def autocorrelation(t: Tensor) -> Tensor:
    """Gamma[a, b, dy, dx] = sum_x t_a(x) t_b(x + (dy, dx)): (C, C, 2h, 2w), lags modulo 2h and 2w."""
    h, w = t.shape[1:]
    f = torch.fft.rfft2(t.double(), s=(2 * h, 2 * w))
    return torch.fft.irfft2(f.conj()[:, None] * f[None, :], s=(2 * h, 2 * w))


def patch_law(u: Tensor, w: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of one w x w patch of the texture of u (C, h, w), D = C w w, float64.

    Covariance between pixel p of channel a and pixel q of channel b is Gamma[a, b, q - p], in extract's order. (The
    released Python code of Texto transforms the wrong axes here; see DECISIONS.md.)
    """
    m, t = texton(u.double())
    gamma = autocorrelation(t)
    n_channels, h2, w2 = len(t), gamma.shape[2], gamma.shape[3]
    at = torch.arange(w)
    i, j = (v.reshape(-1) for v in torch.meshgrid(at, at, indexing="ij"))
    dy, dx = (i[None] - i[:, None]) % h2, (j[None] - j[:, None]) % w2  # (w w, w w), row p, column q
    covariance = gamma[:, :, dy, dx].permute(0, 2, 1, 3).reshape(n_channels * w * w, -1)
    return m.reshape(-1).repeat_interleave(w * w), covariance
