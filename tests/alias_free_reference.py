"""StyleGAN3's layers once more, slowly: zeros between samples, whole filters, weights of each picture's own.

Weights come by the names of released files, filters among them: synthesis.input.{weight,freqs,phases,transform,
affine.weight,affine.bias} and synthesis.L{i}_{size}_{channels}.{weight,bias,affine.weight,affine.bias,magnitude_ema,
up_filter,down_filter}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.signal
import scipy.special
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """What layer i keeps, and how much of it there is."""

    cutoff: float
    rate: int
    half_width: float
    size: int


def table(side: int, n: int = 14) -> list[Row]:
    """Rows 0 .. n of a picture with a power of two for its side."""
    rows = []
    for i in range(n + 1):
        e = min(i / (n - 2), 1)
        cutoff = 2 ** (1 + e * (math.log2(side) - 2))
        stop = 2 ** (2.1 + e * (math.log2(side) - 1 + 0.3 - 2.1))
        rate = 2 ** math.ceil(math.log2(min(2 * stop, side)))
        rows.append(Row(cutoff, rate, max(stop, rate / 2) - cutoff, side if i > n - 2 else rate + 20))
    return rows


def lowpass(n: int, row: Row, rate: float) -> np.ndarray:
    return scipy.signal.firwin(n, row.cutoff, width=2 * row.half_width, fs=rate)


def radial(n: int, row: Row, rate: float) -> np.ndarray:
    t = (np.arange(n) - (n - 1) / 2) / rate
    r = np.hypot(*np.meshgrid(t, t))
    damping = scipy.signal.kaiser_atten(n, row.half_width * 2 / (rate / 2))
    window = scipy.signal.windows.kaiser(n, scipy.signal.kaiser_beta(damping))
    taps = scipy.special.j1(2 * math.pi * row.cutoff * r) / r * np.outer(window, window)
    return taps / taps.sum()


def affine(state: Mapping[str, Tensor], name: str, w: Tensor) -> Tensor:
    weight = state[f"{name}.affine.weight"]
    return w @ (weight / math.sqrt(weight.shape[1])).T + state[f"{name}.affine.bias"]


def waves(state: Mapping[str, Tensor], w: Tensor, size: int, rate: int, canvas: Tensor) -> Tensor:
    """Every place of every picture by itself."""
    name = "synthesis.input"
    mix = state[f"{name}.weight"] / math.sqrt(len(state[f"{name}.weight"]))
    made = w.new_zeros(len(w), len(mix), size, size)
    for b, (rc, rs, tx, ty) in enumerate(affine(state, name, w)):
        length = torch.sqrt(rc**2 + rs**2)
        zero, one = torch.zeros_like(rc), torch.ones_like(rc)
        turn = torch.stack([rc, -rs, zero, rs, rc, zero, zero, zero, length]).view(3, 3) / length
        move = torch.stack([one, zero, -tx / length, zero, one, -ty / length, zero, zero, one]).view(3, 3)
        matrix = turn @ move @ canvas
        for i in range(size):
            for j in range(size):
                p = w.new_tensor([(j - (size - 1) / 2) / rate, (i - (size - 1) / 2) / rate, 1])
                p = (matrix @ p)[:2]
                sines = torch.sin(2 * math.pi * (state[f"{name}.freqs"] @ p + state[f"{name}.phases"]))
                made[b, :, i, j] = mix @ sines
    return made


def convolved(x: Tensor, weight: Tensor, style: Tensor, gain: Tensor, *, demodulate: bool) -> Tensor:
    """Each picture by weights of its own; the kernel reaches beyond x by all but one of its samples."""
    if demodulate:
        weight = weight / weight.square().mean((1, 2, 3), keepdim=True).sqrt()
        style = style / style.square().mean().sqrt()
    each = weight * style[:, None, :, None, None]
    if demodulate:
        each = each / (each.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    n, n_out, n_in, side, _ = each.shape
    x = F.conv2d(x.reshape(1, n * n_in, *x.shape[2:]), (each * gain).flatten(0, 1), padding=side - 1, groups=n)
    return x.reshape(n, n_out, *x.shape[2:])


def filtered(x: Tensor, taps: Tensor) -> Tensor:
    """Every place that the whole filter (n,) or (n, n) covers."""
    taps = torch.outer(taps, taps) if taps.ndim == 1 else taps
    n, channels, height, width = x.shape
    x = F.conv2d(x.reshape(n * channels, 1, height, width), taps.flip(0, 1)[None, None])
    return x.reshape(n, channels, *x.shape[2:])


def bent(x: Tensor, up_taps: Tensor, down_taps: Tensor, up: int, down: int, out: int, side: int) -> Tensor:
    """side: of the kernel before it; x has side - 1 samples more than the layer was given."""
    total = (out - 1) * down + 1 - x.shape[2] * up + len(up_taps) + len(down_taps) - 2
    low = (total + up) // 2
    fine = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    fine[:, :, ::up, ::up] = x
    fine = F.pad(fine, [low, total - low, low, total - low])
    fine = filtered(fine, up_taps) * up**2
    fine = (torch.where(fine < 0, 0.2 * fine, fine) * math.sqrt(2)).clamp(-256, 256)
    return filtered(fine, down_taps)[:, :, ::down, ::down]


def picture(state: Mapping[str, Tensor], ws: Tensor, side: int, canvas: Tensor | None = None) -> Tensor:
    """The picture of styles (B, n + 2, latent)."""
    n = ws.shape[1] - 2
    rows = table(side, n)
    canvas = torch.eye(3).to(ws) if canvas is None else canvas.to(ws)
    x = waves(state, ws[:, 0], rows[0].size, rows[0].rate, canvas)
    for i in range(n + 1):
        (name,) = {key.rsplit(".", 1)[0] for key in state if key.startswith(f"synthesis.L{i}_") and "affine" not in key}
        weight, last = state[f"{name}.weight"], i == n
        style = affine(state, name, ws[:, i + 1])
        style = style / math.sqrt(weight[0].numel()) if last else style
        gain = state[f"{name}.magnitude_ema"].rsqrt()
        x = convolved(x, weight, style, gain, demodulate=not last) + state[f"{name}.bias"][:, None, None]
        if last:
            return x * 0.25
        before, after = rows[max(i - 1, 0)], rows[i]
        fine = 2 * max(before.rate, after.rate)
        taps = state[f"{name}.up_filter"], state[f"{name}.down_filter"]
        x = bent(x, *taps, fine // before.rate, fine // after.rate, after.size, weight.shape[-1])
    raise AssertionError
