"""Low-pass filters with a given transition band, and a leaky ReLU at twice the rate between two of them.

Karras and others 2021, "Alias-free generative adversarial networks", section 3 and appendix C. A leaky ReLU makes
frequencies that its grid cannot hold, and they would fold back onto others. So samples first go up to a finer grid,
and what the coarser one cannot hold is filtered away before every other sample is dropped. Filters are ideal ones in a
Kaiser window (Kaiser 1974), whose shape follows from the number of taps and the width of the transition band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 6  # of a filter, for each of the samples that it puts in place of one, or takes away but one
SLOPE, LIMIT = 0.2, 256.0 / math.sqrt(2)  # values are cut that sqrt 2 would bring beyond +-256
CACHE = 2**21  # numbers


@dataclass(frozen=True)
class Band:
    """Samples a unit of length, and what they hold: frequencies up to the cutoff, fading out about it by a half-width.

    Frequencies in cycles a unit.
    """

    rate: int
    cutoff: float
    half_width: float


def lowpass(n: int, band: Band, rate: float) -> Tensor:
    """(n,) float64, the taps at that rate of a filter that keeps the band, of sum 1: a sinc in a Kaiser window.

    >>> [round(t, 4) for t in lowpass(4, Band(2, 0.5, 0.5), 2.0).tolist()]
    [0.0667, 0.4333, 0.4333, 0.0667]
    """
    t = _places(n, rate)
    taps = torch.sinc(2 * band.cutoff * t) * _window(n, band, rate)
    return taps / taps.sum()


def radial_lowpass(n: int, band: Band, rate: float) -> Tensor:
    """(n, n) float64, of sum 1, whose response depends on how far a frequency is from 0 and hardly on its direction.

    The inverse transform of a disc, J1(2 pi f r) / r, in the product of two Kaiser windows.
    """
    t, window = _places(n, rate), _window(n, band, rate)
    z = 2 * math.pi * band.cutoff * torch.hypot(t[:, None], t)
    jinc = torch.where(z == 0, 1.0, 2 * torch.special.bessel_j1(z) / z)
    taps = jinc * torch.outer(window, window)
    return taps / taps.sum()


def _places(n: int, rate: float) -> Tensor:
    return (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / rate


def _window(n: int, band: Band, rate: float) -> Tensor:
    """(n,) float64. Kaiser's formulas: decibels by which n taps can damp beyond the transition, and beta for those."""
    damping = 2.285 * (n - 1) * math.pi * 2 * band.half_width / (rate / 2) + 7.95
    beta = 0.0
    if damping > 50:
        beta = 0.1102 * (damping - 8.7)
    elif damping > 21:
        beta = 0.5842 * (damping - 21) ** 0.4 + 0.07886 * (damping - 21)
    return torch.kaiser_window(n, periodic=False, beta=beta, dtype=torch.float64)


# ---- up and down by a filter, each the other's transposed


def raised(x: Tensor, taps: Tensor, times: int, crop: tuple[int, int] = (0, 0)) -> Tensor:
    """x (B, C, H, W) with `times` samples in place of one, by taps (n,) for both axes, or (n, n); crop off the ends.

    A side of H becomes (H - 1) times + n - 2 crop. Transposed convolutions: zeros between samples are never made.
    """
    n = x.shape[1]
    if taps.ndim == 2:
        return F.conv_transpose2d(x, taps.expand(n, 1, -1, -1), stride=times, padding=crop, groups=n)
    x = F.conv_transpose2d(x, taps[:, None].expand(n, 1, -1, -1), stride=(times, 1), padding=(crop[0], 0), groups=n)
    return F.conv_transpose2d(x, taps.expand(n, 1, 1, -1), stride=(1, times), padding=(0, crop[1]), groups=n)


def lowered(x: Tensor, taps: Tensor, times: int, crop: tuple[int, int] = (0, 0)) -> Tensor:
    """Every times-th value of x (B, C, H, W), `crop` zeros around it, by taps: raised(), transposed."""
    n = x.shape[1]
    if taps.ndim == 2:
        return F.conv2d(x, taps.expand(n, 1, -1, -1), stride=times, padding=crop, groups=n)
    x = F.conv2d(x, taps[:, None].expand(n, 1, -1, -1), stride=(times, 1), padding=(crop[0], 0), groups=n)
    return F.conv2d(x, taps.expand(n, 1, 1, -1), stride=(1, times), padding=(0, crop[1]), groups=n)


# ---- the leaky ReLU between them


@dataclass(frozen=True)
class Steps:
    """How often samples go up and down, and how many of the fine ones are cut off at the ends."""

    up: int
    down: int
    crop: tuple[int, int]


class _Bent(torch.autograd.Function):
    """D leaky(U x), which keeps x alone for its gradient: fine samples are a few pictures' at a time, made anew."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up_taps: Tensor, down_taps: Tensor, steps: Steps) -> Tensor:
        ctx.save_for_backward(x, up_taps, down_taps)
        ctx.steps = steps
        made = []
        for part in x.split(_at_once(x, steps)):
            fine = raised(part, up_taps, steps.up, steps.crop)
            made.append(lowered(F.leaky_relu_(fine.clamp_(-5 * LIMIT, LIMIT), SLOPE), down_taps, steps.down))
        return torch.cat(made) if len(made) > 1 else made[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Sloped.apply(gradient, *ctx.saved_tensors, ctx.steps, True), None, None, None


class _Sloped(torch.autograd.Function):
    """D m U v, m the slopes of the leaky ReLU at U x, or `back`, transposed, U' m D' v: each other's gradient."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, x: Tensor, up_taps: Tensor, down_taps: Tensor, steps: Steps, back: bool) -> Tensor:
        ctx.save_for_backward(x, up_taps, down_taps)
        ctx.steps, ctx.back = steps, back
        made, n = [], _at_once(x, steps)
        for part, at in zip(v.split(n), x.split(n), strict=True):
            fine = raised(at, up_taps, steps.up, steps.crop)
            t = raised(part, down_taps, steps.down) if back else raised(part, up_taps, steps.up, steps.crop)
            t = torch.ops.aten.leaky_relu_backward(t, fine, SLOPE, False)
            t = torch.ops.aten.hardtanh_backward(t, fine, -5 * LIMIT, LIMIT)
            made.append(lowered(t, up_taps, steps.up, steps.crop) if back else lowered(t, down_taps, steps.down))
        return torch.cat(made) if len(made) > 1 else made[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Sloped.apply(gradient, *ctx.saved_tensors, ctx.steps, not ctx.back), None, None, None, None, None


def _at_once(x: Tensor, steps: Steps) -> int:
    """Pictures of x whose fine samples fit into a processor's cache; on other devices all of them."""
    return max(1, CACHE // (x[0].numel() * steps.up**2)) if x.device.type == "cpu" else len(x)


class FilteredLeakyReLU(nn.Module):
    """x (B, C, H, W) at the rate of one band to features of another one's rate, about the same centre.

    Between them is twice the higher rate, where it is sqrt 2 leaky ReLU, cut to +-256. radial: what is kept of that is
    a disc of frequencies, else a square.
    """

    up_taps: Tensor
    down_taps: Tensor

    def __init__(self, before: Band, after: Band, *, radial: bool = False) -> None:
        super().__init__()
        fine = 2 * max(before.rate, after.rate)
        self.up, self.down = fine // before.rate, fine // after.rate
        up_taps = lowpass(TAPS * self.up, before, fine)
        down_taps = (radial_lowpass if radial else lowpass)(TAPS * self.down, after, fine)
        self.register_buffer("up_taps", up_taps.float(), persistent=False)
        self.register_buffer("down_taps", down_taps.float(), persistent=False)

    @property
    def reach(self) -> int:
        """How far beyond its own place a sample of what comes out looks, in samples of x, at most."""
        taps = len(self.up_taps) - self.up + len(self.down_taps) - self.down
        return math.ceil(taps / (2 * self.up))

    def forward(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        """(B, C, *shape); zeros are beyond x."""
        excess = [
            (n - 1) * self.up + len(self.up_taps) - (wanted - 1) * self.down - len(self.down_taps)
            for n, wanted in zip(x.shape[2:], shape, strict=True)
        ]
        assert all(n >= 0 and n % 2 == 0 for n in excess), (x.shape, shape)
        steps = Steps(self.up, self.down, (excess[0] // 2, excess[1] // 2))
        # zeros between samples take away from every axis what is made up for here, and sqrt 2 may come after the bend
        up_taps = (self.up * self.up_taps).to(x.dtype)
        down_taps = (2 ** (self.down_taps.ndim / 4) * self.down_taps).to(x.dtype)
        made: Tensor = _Bent.apply(x, up_taps, down_taps, steps)
        return made
