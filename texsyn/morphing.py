"""Between two textures: their colours, and the Gaussian textures that their coarsest levels start from.

Colours meet on the way of optimal transport between their laws, approached by sliced transport (Pitie, Kokaram and
Dahyot 2007, "Automated colour grading using colour distribution transfer", section 3; Rabin, Peyre, Delon and Bernot
2012 on barycentres). Gaussian textures have their barycentre in closed form (Xia, Ferradans, Peyre and Aujol 2014,
"Synthesizing and mixing stationary Gaussian texture models", section 3).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from texsyn.images import Picture, from_unit, to_unit

ROUNDS = 24  # rotations of the sliced transport; beyond some twenty colours move by less than a code


def colours_between(a: Picture, b: Picture, t: float) -> tuple[Picture, Picture]:
    """a and b with their colours moved to the law between theirs: t = 0 keeps a's, t = 1 b's. Alpha stays.

    Each pixel goes the part t (of b's 1 - t) of the way to where the transport between the two laws sends it.
    """
    return _moved(a, b, t), _moved(b, a, 1 - t)


def _moved(picture: Picture, other: Picture, t: float) -> Picture:
    n_colours = picture.channels - picture.has_alpha
    u, v = (to_unit(p.pixels)[..., :n_colours].reshape(-1, n_colours).astype(np.float64) for p in (picture, other))
    between = to_unit(picture.pixels).copy()
    moved = (1 - t) * u + t * _transported(u, v)
    between[..., :n_colours] = moved.reshape(*between.shape[:2], n_colours)
    pixels = from_unit(between, picture.pixels.dtype)
    return dataclasses.replace(picture, pixels=pixels, palette=None, indices=None)


def _transported(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The points u (N, c) moved so that their law is that of v (M, c)."""
    n, c = u.shape
    at = (np.arange(n) + 0.5) / n * len(v) - 0.5
    low = np.clip(np.floor(at).astype(np.int64), 0, len(v) - 1)
    high, part = np.minimum(low + 1, len(v) - 1), np.clip(at - low, 0, 1)
    rng, x = np.random.default_rng(0), u.copy()
    for k in range(ROUNDS if c > 1 else 1):
        axes = np.eye(c) if k == 0 else np.linalg.qr(rng.standard_normal((c, c)))[0]
        mine, theirs = x @ axes, np.sort(v @ axes, axis=0)
        goal = np.empty_like(mine)
        for i in range(c):
            goal[np.argsort(mine[:, i], kind="stable"), i] = (1 - part) * theirs[low, i] + part * theirs[high, i]
        x += (goal - mine) @ axes.T
    return x


def gaussian_between(a: Tensor, b: Tensor, t: float, noise: Tensor) -> Tensor:
    """The Gaussian texture between those of a (C, h, w) and b (C, h', w') on a torus, as codes (C, H, W) float.

    noise (H, W) standard Gaussian. At each frequency b's texton is turned to a's phase, where their transport is
    straight; float64 FFT.
    """
    kernels, means = [], []
    for u in (a.double(), b.double()):
        m = u.mean((1, 2), keepdim=True)
        height, width = (min(n, k) for n, k in zip(noise.shape, u.shape[1:], strict=True))
        texton = torch.zeros((u.shape[0], *noise.shape), dtype=torch.float64, device=u.device)
        texton[:, :height, :width] = ((u - m) / (height * width) ** 0.5)[:, :height, :width]
        kernels.append(torch.fft.rfft2(texton))
        means.append(m)
    product = (kernels[0] * kernels[1].conj()).sum(0)
    turned = kernels[1] * torch.where(product.abs() > 1e-12, product / product.abs().clamp(min=1e-12), 1.0)
    spectrum = ((1 - t) * kernels[0] + t * turned) * torch.fft.rfft2(noise.double())
    return (1 - t) * means[0] + t * means[1] + torch.fft.irfft2(spectrum, s=tuple(noise.shape))
