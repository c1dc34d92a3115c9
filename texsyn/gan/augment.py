"""DiffAugment: pictures changed at random on their way to the discriminator, differentiably and in one way for all.

Zhao, Liu, Lin, Zhu and Han 2020, "Differentiable augmentation for data-efficient GAN training". Real and made pictures
both go through augment(), whenever D looks at them, in its own step as in the generator's; draws are anew each time.
Every operation is a sum, a product or a choice of pixels, so that penalties of D's slope go through it as well.

Of three or four channels the first three are colours, and a fourth is coverage, which no colour operation touches. Any
other number of channels is as many greys: they get brighter and gain contrast together, and have no saturation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LUMINOUS = 3  # channels that are colours, of 3 or 4


def augment(x: Tensor, policy: str | Sequence[str], random: torch.Generator) -> Tensor:
    """Pictures x (B, C, H, W), in [-1, 1], after the policy's operations, in its order; values may leave that range.

    policy: names in POLICIES, or one string of them with commas between; empty leaves x as it is. All draws are of
    `random`, one of each for every picture. The paper's choice for little data is "color,translation,cutout".

    >>> x = torch.zeros(2, 3, 8, 6)
    >>> augment(x, "translation,cutout", torch.Generator()).equal(x)  # both bring in zeros
    True

    Raises ValueError for a name that is not in POLICIES, or where x has not four axes.
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}, should be pictures (B, C, H, W)")
    for name in chosen(policy):
        x = POLICIES[name](x, random)
    return x


def chosen(policy: str | Sequence[str]) -> tuple[str, ...]:
    """The names in a policy; ValueError for one that is not in POLICIES."""
    names = tuple(filter(None, policy.replace(" ", "").split(","))) if isinstance(policy, str) else tuple(policy)
    for name in names:
        if name not in POLICIES:
            raise ValueError(f"policy: {name!r} is not one of {', '.join(POLICIES)}")
    return names


def color(x: Tensor, random: torch.Generator) -> Tensor:
    """Brightness + U(-.5, .5), then saturation x U(0, 2) about each pixel's grey, then contrast x U(.5, 1.5).

    Grey is the mean of the colours; contrast is about the mean of all of a picture's pixels and colours.
    """
    bright, saturate, contrast = (uniform(x, random)[:, None, None, None] for _ in range(3))
    colours, coverage = split_colours(x)
    colours = colours + bright - 0.5
    if colours.shape[1] == LUMINOUS:
        grey = colours.mean(1, keepdim=True)
        colours = (colours - grey) * (2 * saturate) + grey
    mean = colours.mean((1, 2, 3), keepdim=True)
    return torch.cat([(colours - mean) * (contrast + 0.5) + mean, coverage], 1)


def split_colours(x: Tensor) -> tuple[Tensor, Tensor]:
    """The channels that a colour operation is for, and those that it leaves alone: none, or the fourth of four."""
    n = LUMINOUS if x.shape[1] == LUMINOUS + 1 else x.shape[1]
    return x[:, :n], x[:, n:]


def translation(x: Tensor, random: torch.Generator) -> Tensor:
    """Moved by whole pixels, uniformly up to an eighth of each side (rounded); zeros come in."""
    places, inside = [], torch.ones((), dtype=torch.bool, device=x.device)
    for axis, n in ((2, x.shape[2]), (3, x.shape[3])):
        most = int(n / 8 + 0.5)
        shift = (uniform(x, random) * (2 * most + 1)).long().clamp(max=2 * most) - most  # uniform in -most .. most
        at = torch.arange(n, device=x.device) - shift[:, None]  # (B, n): where each pixel comes from
        shape = (-1, n, 1) if axis == 2 else (-1, 1, n)
        places.append(at.clamp(0, n - 1).view(shape))
        inside = inside & ((at >= 0) & (at < n)).view(shape)
    return torch.where(inside[:, None], picked(x, *places), 0)


def picked(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x (B, C, H, W) at rows (B, h, 1) and columns (B, 1, w) of each picture: (B, C, h, w)."""
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)


def cutout(x: Tensor, random: torch.Generator) -> Tensor:
    """Zeros in a rectangle of half the sides, whose centre is uniform in the picture and whose rest is cut off."""
    return cut_out(x, uniform(x, random), uniform(x, random), x.new_full((len(x),), 0.5))


def cut_out(x: Tensor, row: Tensor, column: Tensor, side: Tensor) -> Tensor:
    """Zeros where a pixel's centre is in the rectangle of those shares of the sides about (row, column), each (B,)."""
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    for at, n, shape in ((row, x.shape[2], (-1, 1, x.shape[2], 1)), (column, x.shape[3], (-1, 1, 1, x.shape[3]))):
        place = (torch.arange(n, device=x.device, dtype=x.dtype) + 0.5) / n
        inside = inside & ((place - at[:, None]).abs() < side[:, None] / 2).view(shape)
    return torch.where(inside, 0, x)


def uniform(x: Tensor, random: torch.Generator) -> Tensor:
    """One number of U[0, 1) for each picture, (B,), drawn in float32 whatever x is."""
    return torch.rand(len(x), generator=random, device=random.device).to(x)


#: what a policy is made of; each draws from the given stream
POLICIES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}
