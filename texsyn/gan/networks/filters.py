"""Low-pass filters with a given transition band, and a leaky ReLU at twice the rate between two of them.

Karras and others 2021, "Alias-free generative adversarial networks", section 3 and appendix C. A leaky ReLU makes
frequencies that its grid cannot hold, and they would fold back onto others. So samples first go up to a finer grid,
and what the coarser one cannot hold is filtered away before every other sample is dropped. Filters are ideal ones in a
Kaiser window (Kaiser 1974), whose shape follows from the number of taps and the width of the transition band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 6  # of a filter, for each of the samples that it puts in place of one, or takes away but one
LIMIT = 256.0  # values beyond +- this are cut


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


class Raised(nn.Module):
    """x (B, C, H, W) with `times` samples in place of one, by a filter (n,) for both axes; `crop` samples off the ends.

    A side of H becomes (H - 1) times + n - 2 crop. Transposed convolutions: zeros between samples are never made.
    """

    taps: Tensor

    def __init__(self, taps: Tensor, times: int) -> None:
        super().__init__()
        self.times = times
        self.register_buffer("taps", (times * taps).float(), persistent=False)

    def forward(self, x: Tensor, crop: tuple[int, int]) -> Tensor:
        n, taps = x.shape[1], self.taps.to(x.dtype)
        rows, columns = taps[:, None].expand(n, 1, -1, -1), taps[None].expand(n, 1, -1, -1)
        x = F.conv_transpose2d(x, rows, stride=(self.times, 1), padding=(crop[0], 0), groups=n)
        return F.conv_transpose2d(x, columns, stride=(1, self.times), padding=(0, crop[1]), groups=n)


class Lowered(nn.Module):
    """x (B, C, H, W) by a filter (n,) for both axes, or (n, n), and every times-th value of what it reaches.

    A side of H becomes (H - n) // times + 1.
    """

    taps: Tensor

    def __init__(self, taps: Tensor, times: int) -> None:
        super().__init__()
        self.times = times
        self.register_buffer("taps", taps.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, taps = x.shape[1], self.taps.to(x.dtype)
        if taps.ndim == 2:
            return F.conv2d(x, taps.expand(n, 1, -1, -1), stride=self.times, groups=n)
        rows, columns = taps[:, None].expand(n, 1, -1, -1), taps[None].expand(n, 1, -1, -1)
        return F.conv2d(F.conv2d(x, rows, stride=(self.times, 1), groups=n), columns, stride=(1, self.times), groups=n)


class Bent(nn.Module):
    """sqrt 2 leaky ReLU, cut to +-LIMIT, but for the factor sqrt 2, which the filter after it has; overwrites x."""

    def forward(self, x: Tensor) -> Tensor:
        # in this order each function keeps for its gradient what the other one keeps too
        return F.leaky_relu(F.hardtanh(x, -5 * LIMIT / math.sqrt(2), LIMIT / math.sqrt(2), inplace=True), 0.2)


class FilteredLeakyReLU(nn.Module):
    """x (B, C, H, W) at the rate of one band to features of another one's rate, about the same centre.

    Between them is twice the higher rate. radial: what is kept of the features is a disc of frequencies, else a square.
    """

    def __init__(self, before: Band, after: Band, *, radial: bool = False) -> None:
        super().__init__()
        fine = 2 * max(before.rate, after.rate)
        up, down = fine // before.rate, fine // after.rate
        self.n_up, self.n_down = TAPS * up, TAPS * down
        self.raised, self.bent = Raised(lowpass(self.n_up, before, fine), up), Bent()
        kept = radial_lowpass(self.n_down, after, fine) if radial else lowpass(self.n_down, after, fine)
        self.lowered = Lowered(kept * (math.sqrt(2) if radial else 2**0.25), down)

    @property
    def reach(self) -> int:
        """How far beyond its own place a sample of what comes out looks, in samples of x, at most."""
        up, down = self.raised.times, self.lowered.times
        return math.ceil((self.n_up - up + self.n_down - down) / (2 * up))

    def forward(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        """(B, C, *shape); zeros are beyond x."""
        up, down = self.raised.times, self.lowered.times
        excess = [
            (n - 1) * up + self.n_up - (wanted - 1) * down - self.n_down
            for n, wanted in zip(x.shape[2:], shape, strict=True)
        ]
        assert all(n >= 0 and n % 2 == 0 for n in excess), (x.shape, shape)
        made: Tensor = self.lowered(self.bent(self.raised(x, (excess[0] // 2, excess[1] // 2))))
        return made
