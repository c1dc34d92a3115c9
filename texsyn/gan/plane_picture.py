"""The GAN of the plane, seen and counted: what D says everywhere, the points, the way G is told to move its own.

A point is a picture of two channels and one pixel, (N, 2, 1, 1); (N, 2) is taken too. No plotting library is needed:
the picture is an array, y upwards, and a disc or a streak is the union of soft-edged discs.

Numbers beside it: coverage() counts modes and good samples as the literature of mode collapse does (Srivastava and
others 2017, "VEEGAN", section 5.1), generator_gradient() is what a loss tells each made point, and shows that of the
saturating loss vanish (Arjovsky and Bottou 2017, "Towards principled methods for training GANs", theorem 2.4).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from texsyn.gan.losses import AdversarialLoss, RelativisticLoss

#: sRGB in 0..1: the field where D says made, where it cannot tell, where it says real; the points
SAYS_MADE, CANNOT_TELL, SAYS_REAL = (0.35, 0.55, 0.85), (0.97, 0.97, 0.95), (0.95, 0.68, 0.35)
REAL, MADE, RIM = (0.12, 0.12, 0.14), (0.75, 0.05, 0.45), (1.0, 1.0, 1.0)


def plane_picture(
    field: Callable[[Tensor], Tensor],
    real: Tensor,
    made: Tensor,
    *,
    height: int = 384,
    width: int = 384,
    reach: float | None = None,
    probability: bool = True,
    steps: Tensor | None = None,
    radius: float = 2.5,
) -> np.ndarray:
    """(height, width, 3) uint8: D's field in blue (made) to orange (real), made points red, upon them real ones black.

    field: D, from points (n, 2, 1, 1) to logits (n,). The origin is in the middle and `reach` of the plane lies above
    and below it; by default a fifth beyond the farthest real coordinate. probability: colours are sigmoid(logit), white
    at 1/2; else, for critics whose zero means nothing, values between the lowest and the highest of the picture, white
    at half way. steps (M, 2): a streak from each made point along its step, thin at its end. radius: of made points, in
    pixels; real ones have three fifths of it.
    """
    real, made = _points("real", real), _points("made", made)
    if height < 1 or width < 1:
        raise ValueError(f"height={height}, width={width} should both be at least 1")
    if reach is None:
        reach = 1.2 * max(real.abs().max().item(), 1e-6)
    if not reach > 0:
        raise ValueError(f"reach={reach} should be above 0")
    unit = height / (2 * reach)  # pixels a unit of the plane

    def pixels(points: Tensor) -> np.ndarray:
        """(n, 2): row and column, pixel centres at whole numbers."""
        x, y = points.T.numpy()
        return np.stack([(height - 1) / 2 - y * unit, (width - 1) / 2 + x * unit], 1)

    canvas = _field(field, height, width, unit, probability)
    if steps is not None:
        steps = _points("steps", steps)
        if len(steps) != len(made):
            raise ValueError(f"steps: {len(steps)} of them should be one for each of the {len(made)} made points")
        canvas = _over(canvas, MADE, _streaks(pixels(made), pixels(made + steps), height, width, radius))
    for points, colour, size in ((made, RIM, radius + 0.8), (made, MADE, radius), (real, REAL, 0.6 * radius)):
        canvas = _over(canvas, colour, _discs(pixels(points), np.full(len(points), size), height, width))
    return np.round(255 * canvas).astype(np.uint8)


def coverage(made: Tensor, modes: Tensor, radius: float, *, least: int = 1) -> tuple[int, float]:
    """(modes reached, share of good samples): one is good within `radius` of its nearest mode, usually 3 sigma.

    A mode is reached by at least `least` good samples that are nearest to it; equally near ones go to the first mode.

    >>> coverage(torch.tensor([[0.0, 0.1], [5.0, 5.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 0.3)
    (1, 0.5)
    """
    if not radius > 0 or least < 1:
        raise ValueError(f"radius={radius}, least={least} should be above 0 and at least 1")
    made, modes = _points("made", made), _points("modes", modes)
    differences = made[:, None].double() - modes.double()  # (M, K, 2)
    distance, nearest = differences.square().sum(2).min(1)
    good = distance <= radius * radius
    reached = torch.bincount(nearest[good], minlength=len(modes)) >= least
    return int(reached.sum()), good.double().mean().item()


def generator_gradient(
    loss: AdversarialLoss | RelativisticLoss,
    discriminator: Callable[[Tensor], Tensor],
    made: Tensor,
    real: Tensor | None = None,
) -> Tensor:
    """The gradient of the generator's loss at each made point or picture, (M, ...): G is told to move it against that.

    In units of a loss that is summed over points, so that M does not matter. real: for relativistic losses only. No
    weight gets a gradient. D must judge each point by itself: without batch normalisation.
    """
    at = made.detach().clone().requires_grad_(True)
    r = None if real is None else discriminator(real).detach()
    (gradient,) = torch.autograd.grad(loss.g(discriminator(at), r) * len(at), at)
    return gradient


# ---- pixels


def _points(name: str, points: Tensor) -> Tensor:
    flat = points.detach().cpu().flatten(1) if points.dim() > 1 else points
    if flat.dim() != 2 or flat.shape[1] != 2 or not len(flat):
        raise ValueError(f"{name}: shape {tuple(points.shape)} should be (N, 2) or (N, 2, 1, 1) with N at least 1")
    if not bool(flat.isfinite().all()):
        raise ValueError(f"{name}: {int((~flat.isfinite()).sum())} coordinates are no finite numbers")
    return flat


@torch.no_grad()
def _field(field: Callable[[Tensor], Tensor], height: int, width: int, unit: float, probability: bool) -> np.ndarray:
    """(height, width, 3) in 0..1."""
    y = ((height - 1) / 2 - torch.arange(height)) / unit
    x = (torch.arange(width) - (width - 1) / 2) / unit
    points = torch.stack([x.repeat(height), y.repeat_interleave(width)], 1)[:, :, None, None]
    values = torch.cat([field(part).flatten().cpu().double() for part in points.split(8192)])
    if probability:
        shares = values.sigmoid()
    else:
        shares = (values - values.min()) / (values.max() - values.min()).clamp_min(torch.finfo(torch.float64).tiny)
    t = shares.numpy().reshape(height, width, 1)
    low, middle, high = np.array(SAYS_MADE), np.array(CANNOT_TELL), np.array(SAYS_REAL)
    return np.where(t < 0.5, low + 2 * t * (middle - low), middle + (2 * t - 1) * (high - middle))


def _discs(at: np.ndarray, radii: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) in 0..1: how much of each pixel the union of discs covers; at (n, 2) rows and columns."""
    covered = np.zeros((height, width))
    side = int(np.ceil(radii.max())) + 1
    window = np.arange(-side, side + 1)
    at = np.clip(at, -1e6, 1e6)  # points beyond all pictures, where whole numbers still hold them
    for first in range(0, len(at), 10000):  # 10000 windows of 9 x 9 are 6 MB
        y, x = at[first : first + 10000, :, None, None].transpose(1, 0, 2, 3)
        rows, columns = np.round(y).astype(int) + window[:, None], np.round(x).astype(int) + window
        values = np.clip(radii[first : first + 10000, None, None] + 0.5 - np.hypot(rows - y, columns - x), 0, 1)
        rows, columns = np.broadcast_arrays(rows, columns)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        np.maximum.at(covered, (rows[inside], columns[inside]), values[inside])
    return covered


def _streaks(start: np.ndarray, stop: np.ndarray, height: int, width: int, radius: float) -> np.ndarray:
    """Discs every half pixel from start to stop, ever smaller; a streak longer than the picture is cut."""
    longest = np.hypot(*(stop - start).T).max()
    t = np.linspace(0, 1, 2 + min(int(2 * longest), 2 * (height + width)))
    at = start[:, None] + t[:, None] * (stop - start)[:, None]
    return _discs(at.reshape(-1, 2), np.tile(0.7 * radius * (1 - t), len(start)), height, width)


def _over(canvas: np.ndarray, colour: tuple[float, float, float], covered: np.ndarray) -> np.ndarray:
    return canvas + covered[..., None] * (np.array(colour) - canvas)
