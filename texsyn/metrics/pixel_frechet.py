"""Frechet distance between two sets of pictures by their pixels, made few: FID without a network.

The features of a picture are its pixels at `side` x `side`, by means over equal boxes. That sees the marginal of every
place and how places go together, to second order, and no more: two sets with equal means and covariances are alike to
it. For small pictures such as digits it ranks trainings well; it says nothing about fine detail. No number of it can be
set beside an FID. Its square root is in units of the pixel range.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from texsyn.metrics.frechet import frechet

SIDE = 8


def pixel_frechet(real: Tensor, made: Tensor, *, side: int = SIDE) -> float:
    """The distance between pictures (n, c, h, w) and (m, c, h, w) of one shape, two or more of each, any range.

    ValueError for other shapes. The fewer pictures, the larger: compare at equal counts.
    """
    if real.ndim != 4 or real.shape[1:] != made.shape[1:]:
        raise ValueError(f"pictures (n, c, h, w) of one shape are needed, got {tuple(real.shape)}, {tuple(made.shape)}")
    return frechet(_features(real, side), _features(made, side)).value


def _features(pictures: Tensor, side: int) -> Tensor:
    height, width = min(side, pictures.shape[2]), min(side, pictures.shape[3])
    return F.adaptive_avg_pool2d(pictures.double(), (height, width)).flatten(1)
