"""PS-z: how unusual the Portilla-Simoncelli statistics of a picture are among those of the exemplar's own crops.

The statistics of steerable wavelet coefficients that make two textures look alike at a glance (Portilla and Simoncelli
2000, "A parametric texture model based on joint statistics of complex wavelet coefficients"), computed by plenoptic.
People who rate synthesised textures follow them better than they follow quality metrics (Swamy, Butler, Chandler and
Hemami 2011). They see what a spectrum cannot: lost outlines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from texsyn.metrics.unmeasurable import Unmeasurable
from texsyn.ot.nearest import one_torch_thread

N_CROPS = 12
MAX_TILES = 4  # of a picture larger than the exemplar
#: crop side and scales: the side is divisible by 2^scales, and 7 px are left at the coarsest scale
CROPS = ((128, 4), (96, 3), (64, 3), (32, 2))
GROUPS = {
    "marginals": ("pixel_statistics", "skew_reconstructed", "kurtosis_reconstructed", "var_highpass_residual"),
    "autocorrelation": ("auto_correlation_magnitude", "auto_correlation_reconstructed", "std_reconstructed"),
    "magnitudes": ("cross_orientation_correlation_magnitude", "magnitude_std"),
    "across scales": ("cross_scale_correlation_magnitude", "cross_scale_correlation_real"),
}


@dataclass(frozen=True)
class Portilla:
    """z: in standard deviations of the exemplar's crops, lower is better; groups: the same of each kind of statistic.

    Ideal is what a held-out half has: near 1 where crops are two thirds of the exemplar and so much alike, 0.4 where
    they are a third of it.
    """

    z: float
    groups: dict[str, float]


def crop_for(side: int, usable: int) -> tuple[int, int]:
    """(crop side, scales) for an exemplar of that shortest side: two thirds of it, so that crops differ; <= usable."""
    for crop, scales in CROPS:
        if crop <= min(2 * side // 3, usable):
            return crop, scales
    raise Unmeasurable(f"the smallest crops are {CROPS[-1][0]} px and two thirds of the exemplar, got {side} px")


def portilla(out: np.ndarray, ex: np.ndarray, crop: int, n_scales: int, *, seed: int = 0) -> Portilla:
    """sqrt(median over statistics of z^2), z = (mean over out's crops - mean over ex's crops) / deviation of ex's.

    out (H, W) and ex (h, w): luminance in [0, 1]. N_CROPS random crops of each; of a larger out, of each of up to
    MAX_TILES parts of the exemplar's size, and the mean over the parts. Statistics that do not vary are left out.
    """
    if min(*out.shape, *ex.shape) < crop:
        raise Unmeasurable(f"crops of {crop} px do not fit {out.shape[1]}x{out.shape[0]}")
    model = _model(crop, n_scales)
    rng = np.random.default_rng(seed)
    reference = _statistics(model, ex, crop, rng)  # (crops, statistics)
    m, s = reference.mean(0), reference.std(0)
    varies = torch.isfinite(s) & (s > 1e-9 * (1 + m.abs()))
    if int(varies.sum()) < reference.shape[1] // 2:
        raise Unmeasurable("the exemplar's crops have hardly any statistic that varies")
    squares = []
    for tile in tiles(out, ex.shape):
        z = (_statistics(model, tile, crop, rng).mean(0) - m)[varies] / s[varies]
        squares.append(z.square().nan_to_num(nan=torch.inf))  # what a constant picture does not have, it has wrong
    number = torch.arange(reference.shape[1], dtype=torch.float64)[None, None]
    where = {name: v.flatten() for name, v in model.convert_to_dict(number).items()}
    position = torch.full((reference.shape[1],), -1)
    position[varies] = torch.arange(int(varies.sum()))
    groups = {}
    for name, keys in GROUPS.items():
        at = torch.cat([where[key] for key in keys])
        at = position[at[torch.isfinite(at)].long()]
        if len(at := at[at >= 0]):
            groups[name] = _root_median(squares, at)
    found = Portilla(_root_median(squares, torch.arange(int(varies.sum()))), groups)
    if not np.isfinite(found.z):
        raise Unmeasurable("the picture has not enough variation for these statistics")
    return found


def tiles(out: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Parts of out (H, W) of at most that shape, MAX_TILES of them spread over it: more would vary less than ex."""
    n = [max(1, a // b) for a, b in zip(out.shape, shape, strict=True)]
    h, w = (min(a, b) for a, b in zip(out.shape, shape, strict=True))
    places = [(i, j) for i in range(n[0]) for j in range(n[1])]
    chosen = np.unique(np.linspace(0, len(places) - 1, min(len(places), MAX_TILES)).astype(int))
    return [out[i * h : i * h + h, j * w : j * w + w] for i, j in (places[k] for k in chosen)]


def _root_median(squares: list[torch.Tensor], at: torch.Tensor) -> float:
    return float(np.mean([float(z[at].quantile(0.5)) ** 0.5 for z in squares]))


def _model(crop: int, n_scales: int) -> Any:
    try:
        from plenoptic.models import PortillaSimoncelli
    except ImportError:
        raise Unmeasurable("plenoptic is not installed: pip install 'texsyn[eval-ps]'") from None
    return PortillaSimoncelli((crop, crop), n_scales=n_scales, n_orientations=4, spatial_corr_width=7).double()


@one_torch_thread()
def _statistics(model: Any, u: np.ndarray, crop: int, rng: np.random.Generator) -> torch.Tensor:
    """(N_CROPS, statistics) float64, of crops at random places of u (H, W)."""
    top, left = (rng.integers(0, n - crop + 1, N_CROPS) for n in u.shape)
    crops = np.stack([u[i : i + crop, j : j + crop] for i, j in zip(top, left, strict=True)])
    with torch.no_grad():
        statistics: torch.Tensor = model(torch.from_numpy(crops.astype(np.float64))[:, None])
    return statistics[:, 0]
