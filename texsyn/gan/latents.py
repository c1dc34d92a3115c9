"""Latents of image generators that are drawn otherwise than their networks learned them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def truncated(n: int, latent: int, threshold: float, random: torch.Generator) -> Tensor:
    """(n, latent) of the standard normal law within [-threshold, threshold]; ValueError unless threshold > 0.

    Numbers beyond the threshold are drawn again in Brock, Donahue and Simonyan 2019, "Large scale GAN training",
    section 3.1. These have the same law, by the inverse of its distribution function: one uniform number each, so that
    pictures of one stream change little by little with the threshold. In float64 on the way, float32 out.

    >>> truncated(2, 500, 0.5, torch.Generator().manual_seed(0)).abs().max().item() <= 0.5
    True
    """
    if not threshold > 0:
        raise ValueError(f"threshold={threshold} should be above 0")
    uniform = torch.rand(n, latent, generator=random, dtype=torch.float64, device=random.device)
    share = math.erf(threshold / math.sqrt(2))  # of the law that lies within
    return (math.sqrt(2) * torch.erfinv((2 * uniform - 1) * share)).clamp(-threshold, threshold).float()
