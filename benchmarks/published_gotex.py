"""GOTEX's image mode for patches as its authors published and released it, written anew for benchmarks only.

Houdard, Leclaire, Papadakis and Rabin 2021, "Wasserstein generative models for patch-based texture synthesis" (SSVM,
LNCS 12679), Algorithm 1, with the settings of the code that they released (wgenpatex), there at 500 patches:

    min_u sum_s 1/S max_psi_s (1/n) sum_i min_j (|P_i S_s u - y^s_j|^2 - psi^s_j) + (1/J) sum_j psi^s_j,

J patches of the exemplar drawn once, n of the picture drawn anew at every step; ten steps of ASGD on the potentials of
each scale, then one of Adam on the pixels. The released code cuts all patches out of the picture at every step; here
they are cut once a turn, which makes it faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

OnStep = Callable[[int, Tensor, float], None]  # (outer steps done, picture, loss of the last step)


@dataclass(frozen=True)
class Published:
    """The released settings, but for n_atoms and n_samples: there 2000 and all, which takes 6.5 s a step on a CPU."""

    patch_size: int = 4
    n_scales: int = 4
    n_atoms: int = 500
    n_samples: int = 500
    n_outer: int = 400
    n_inner: int = 10
    learning_rate: float = 0.01


def gaussian_pyramid(u: Tensor, n_scales: int, *, periodic: bool) -> list[Tensor]:
    """u (1, C, H, W) and its n_scales - 1 reductions by a 4x4 Gaussian kernel of sigma 1, every second pixel.

    Pictures that wrap go round on the right and below; of others only what the kernel fits in is kept.
    """
    g = torch.exp(-(torch.arange(4.0) - 1.5).square() / 2)
    kernel = (torch.outer(g, g) / g.sum() ** 2).expand(u.shape[1], 1, 4, 4)
    scales = [u]
    for _ in range(n_scales - 1):
        v = F.pad(scales[-1], (0, 3, 0, 3), mode="circular") if periodic else scales[-1]
        scales.append(F.conv2d(v, kernel, stride=2, groups=u.shape[1]))
    return scales


def patches(v: Tensor, w: int, *, periodic: bool) -> Tensor:
    """All w x w patches of v (1, C, H, W): (N, C w w)."""
    return F.unfold(F.pad(v, (0, w - 1, 0, w - 1), mode="circular") if periodic else v, w)[0].T


def some(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n random rows of x, or all where it has no more."""
    return x if n >= len(x) else x[torch.randperm(len(x), generator=generator)[:n]]


def dual_value(x: Tensor, y: Tensor, psi: Tensor) -> Tensor:
    """(1/n) sum_i min_j (|x_i - y_j|^2 - psi_j) + mean_j psi_j, by one n x J matrix."""
    cost = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return (cost - psi).min(1).values.mean() + psi.mean()


def atoms(exemplar: Tensor, settings: Published, seed: int) -> list[Tensor]:
    """The patches of exemplar (1, C, h, w) that stand for its law, at each scale."""
    generator = torch.Generator().manual_seed(seed)
    scales = gaussian_pyramid(exemplar, settings.n_scales, periodic=False)
    return [some(patches(v, settings.patch_size, periodic=False), settings.n_atoms, generator) for v in scales]


def synthesise(
    exemplar: Tensor,
    size: tuple[int, int],
    settings: Published,
    seed: int,
    on_step: OnStep,
) -> Tensor:
    """A picture (1, C, H, W) that wraps; on_step is called after every outer step."""
    w, n_scales = settings.patch_size, settings.n_scales
    generator = torch.Generator().manual_seed(seed + 1)
    y = atoms(exemplar, settings, seed)
    psi = [torch.zeros(len(y_s)) for y_s in y]
    u = torch.rand(1, exemplar.shape[1], *size, generator=generator).requires_grad_()
    adam = torch.optim.Adam([u], lr=settings.learning_rate)
    for k in range(settings.n_outer):
        with torch.no_grad():
            x = [patches(v, w, periodic=True) for v in gaussian_pyramid(u, n_scales, periodic=True)]
        for s in range(n_scales):
            psi[s] = ascend(psi[s], x[s], y[s], settings, generator)
        x = [patches(v, w, periodic=True) for v in gaussian_pyramid(u, n_scales, periodic=True)]
        values = [dual_value(some(x[s], settings.n_samples, generator), y[s], psi[s]) for s in range(n_scales)]
        loss = torch.stack(values).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        on_step(k + 1, u.detach(), loss.item())
    return u.detach()


def ascend(psi: Tensor, x: Tensor, y: Tensor, settings: Published, generator: torch.Generator) -> Tensor:
    """The averaged iterate of n_inner steps of a fresh ASGD from psi."""
    psi = psi.clone().requires_grad_()
    asgd = torch.optim.ASGD([psi], lr=1, alpha=0.5, t0=1)
    for _ in range(settings.n_inner):
        asgd.zero_grad()
        (-dual_value(some(x, settings.n_samples, generator), y, psi)).backward()
        asgd.step()
    return asgd.state[psi]["ax"].detach()
