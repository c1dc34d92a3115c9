"""Gaussian noise that is asked for by address, never drawn from a stream.

The value at (seed, level, channel, y, x) is a pure function of those five integers, so any window of an infinite
plane can be had alone, in any order, on any machine, with the same bits. The address goes through the SplitMix64
finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 3) once per integer;
the top 16 bits of the hash pick one of 65,536 equally likely Gaussian quantiles, held as integers in units of
1/UNIT, so nothing depends on a platform's log or cosine.

Departures from an exact Gaussian: values stop at 4.3 standard deviations and are multiples of 1/4096. The table is
scaled so that the variance is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from operator import index

import numpy as np

from texsyn.blocks import ENDLESS, Period
from texsyn.images import Region

UNIT = 4096  # integer noise values per standard deviation

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class NoiseField:
    """White Gaussian noise on the whole integer plane, one field for each (seed, level, channel), each modulo 2^64.

    With a period, the addresses of its first cell are used again and again.

    >>> field = NoiseField(seed=7)
    >>> whole = field.normal(Region(-4, 10, 6, 8))
    >>> part = field.normal(Region(-2, 12, 3, 3))
    >>> bool((whole[2:5, 2:5] == part).all())
    True
    """

    seed: int
    level: int = 0
    channel: int = 0
    period: Period = ENDLESS

    def bits(self, region: Region) -> np.ndarray:
        """(height, width) uint64: the hash of every address in region."""
        key = 0  # Python integers, so that the sums wrap without a warning
        for part in (self.seed, self.level, self.channel):
            key = int(_mix(np.array((key + int(_GAMMA) * (index(part) + 1)) % 2**64, np.uint64)))
        y = _addresses(region.top, region.height, self.period[0])
        x = _addresses(region.left, region.width, self.period[1])
        with np.errstate(over="ignore"):
            rows = _mix(np.uint64(key) + _GAMMA * (y + np.uint64(1)))
            return _mix(rows[:, None] + _GAMMA * (x + np.uint64(1))[None, :])

    def integers(self, region: Region) -> np.ndarray:
        """(height, width) int16: standard Gaussian in units of 1/UNIT, exact on every machine."""
        return _quantiles()[(self.bits(region) >> np.uint64(48)).astype(np.intp)]

    def normal(self, region: Region) -> np.ndarray:
        """(height, width) float32: mean 0, variance 1."""
        return self.integers(region).astype(np.float32) / UNIT


def _addresses(start: int, n: int, period: int | None) -> np.ndarray:
    if period is not None:
        return (np.arange(start % period, start % period + n, dtype=np.int64) % period).astype(np.uint64)
    first = np.uint64(start % 2**64)  # of any integer, so that planes have no end
    with np.errstate(over="ignore"):
        return first + np.arange(n, dtype=np.uint64)


def _mix(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: a bijection of 64-bit words in which every input bit moves about half the output."""
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


@cache
def _quantiles() -> np.ndarray:
    """(65536,) int16: Gaussian quantiles at the midpoints of equal masses, symmetric, variance 1 in units of UNIT."""
    from scipy.special import ndtri

    upper = ndtri((np.arange(32768) + 32768 + 0.5) / 65536)
    upper = np.floor(upper / np.sqrt(np.mean(np.square(upper))) * UNIT + 0.5).astype(np.int16)
    return np.concatenate([-upper[::-1], upper])
