"""The order in which a training sees its pictures, as a function of how many it has seen.

Every epoch shows each picture once, in an order of its own. Nothing is drawn from a stream: a training that goes on
needs to know how many pictures it was shown, and no state of a generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from operator import index

import numpy as np
import torch
from torch import Tensor

from texsyn.images import Region
from texsyn.noise import NoiseField

_CHANNEL = 11  # of the noise that orders pictures: no other use of a seed has this one


@lru_cache(maxsize=4)  # 8 n bytes each: two epochs of a training and of what it is compared with
def permutation(n: int, seed: int, epoch: int = 0) -> np.ndarray:
    """(n,) int64, read-only: 0..n-1 in the order of their hashes at (seed, epoch). The same on every machine.

    >>> permutation(6, seed=1).tolist(), permutation(6, seed=1, epoch=1).tolist()
    ([4, 1, 5, 3, 2, 0], [0, 4, 5, 1, 2, 3])
    """
    bits = NoiseField(seed, level=epoch, channel=_CHANNEL).bits(Region(0, 0, 1, n))[0]
    order = np.argsort(bits, kind="stable")
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class Batches:
    """Which of n pictures come when: position p is entry p mod n of the permutation of epoch p div n.

    Memory 8 n bytes an epoch, time O(n log n) when an epoch begins. ValueError for n below 1.

    >>> order = Batches(n=5, seed=3)
    >>> whole = order.numbers(0, 12)
    >>> sorted(whole[:5].tolist()), bool((order.numbers(4, 3) == whole[4:7]).all())
    ([0, 1, 2, 3, 4], True)
    """

    n: int
    seed: int = 0

    def __post_init__(self) -> None:
        if index(self.n) < 1:
            raise ValueError(f"n={self.n} should be at least 1")

    def numbers(self, first: int, count: int) -> Tensor:
        """(count,) int64: the pictures at positions first..first+count-1, across epochs where need be."""
        if first < 0 or count < 0:
            raise ValueError(f"first={first} and count={count} should not be negative")
        parts, end = [np.empty(0, np.int64)], first + count
        while first < end:
            epoch, start = divmod(first, self.n)
            parts.append(permutation(self.n, self.seed, epoch)[start : start + end - first])
            first += len(parts[-1])
        return torch.from_numpy(np.concatenate(parts))
