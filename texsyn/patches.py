"""All w x w patches of a picture as rows of a matrix, and the way back by averaging overlaps.

Patches overlap with stride 1. A row holds its patch channel by channel, each channel row by row: column
c*w*w + i*w + j is pixel (i, j) of channel c. Borders are open (only the patches that fit) or periodic (one patch per
pixel, wrapped).

Memory: a patch matrix costs C w w numbers per position; 512x512 RGB with w = 5 is 79 MB in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.pyramid import pad


def extract(u: Tensor, w: int, *, periodic: bool = False, stride: int = 1) -> Tensor:
    """Patches of u (C, H, W), in reading order: (N, C w w), N = (H-w+1)(W-w+1) when open, H W when periodic.

    A periodic patch of position (y, x) has (y, x) at its pixel (w // 2, w // 2). Raises ValueError when an open patch
    does not fit.

    >>> extract(torch.arange(6.).view(1, 2, 3), 2).tolist()
    [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0]]
    """
    if periodic:
        u = _wrap_before_and_after(u, w)
    if min(u.shape[1:]) < w:
        raise ValueError(f"patch_size={w} does not fit a picture of {u.shape[2]}x{u.shape[1]}")
    windows = u.unfold(1, w, stride).unfold(2, w, stride)  # (C, H', W', w, w)
    return windows.permute(1, 2, 0, 3, 4).reshape(-1, len(u) * w * w)


def _wrap_before_and_after(u: Tensor, w: int) -> Tensor:
    before, after = w // 2, (w - 1) // 2
    wrapped = pad(u, max(before, 1), periodic=True)
    extra = max(before, 1) - before, max(before, 1) - after
    h, wd = wrapped.shape[1] - extra[1], wrapped.shape[2] - extra[1]
    return wrapped[:, extra[0] : h, extra[0] : wd]


def windows(u: Tensor, w: int) -> Tensor:
    """A view, without copying, of all open patches of u (H, W, C): (H-w+1, W-w+1, C, w, w).

    windows(u, w)[y, x].reshape(...) has a patch's values in extract's order.
    """
    return u.unfold(0, w, 1).unfold(1, w, 1)


def aggregate(patches: Tensor, height: int, width: int, w: int, *, periodic: bool = False, stride: int = 1) -> Tensor:
    """Average of overlapping patches (N, C w w) laid back where extract took them: (C, height, width).

    height and width are those of the picture that extract was given. Pixels that no patch covers (strides that
    leave gaps) are 0.

    >>> u = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(aggregate(extract(u, 3), 5, 6, 3), u))
    True
    """
    one_each = torch.ones_like(patches[:, : w * w])
    if periodic:
        total, cover = (_fold_wrapped(p, height, width, w, stride) for p in (patches, one_each))
    else:
        total, cover = (F.fold(p.T[None], (height, width), w, stride=stride)[0] for p in (patches, one_each))
    return total / cover.clamp(min=1)


def _fold_wrapped(patches: Tensor, height: int, width: int, w: int, stride: int) -> Tensor:
    values = patches.reshape(-(-height // stride), -(-width // stride), -1, w, w)
    total = torch.zeros(values.shape[2], height, width, dtype=patches.dtype, device=patches.device)
    for i in range(w):
        for j in range(w):
            laid = torch.zeros_like(total)
            laid[:, ::stride, ::stride] = values[..., i, j].permute(2, 0, 1)
            total += laid.roll((i - w // 2, j - w // 2), (1, 2))
    return total


def gather(u: Tensor, w: int, at: Tensor | None = None) -> Tensor:
    """Open patches of a batch u (B, C, H, W) at positions at (n,), all by default: (n, C w w), differentiable in u.

    Positions count patches picture by picture, in reading order: B (H-w+1) (W-w+1) of them. Going back, gradients are
    laid down and summed without a matrix of all patches, in one order on the CPU.

    >>> u = torch.arange(6.0).view(1, 1, 2, 3)
    >>> gather(u, 2, torch.tensor([1])).tolist()
    [[1.0, 2.0, 4.0, 5.0]]
    """
    if min(u.shape[2:]) < w:
        raise ValueError(f"patch_size={w} does not fit a picture of {u.shape[3]}x{u.shape[2]}")
    found: Tensor = _Gather.apply(u, w, at)
    return found


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, w: int, at: Tensor | None) -> Tensor:
        ctx.shape, ctx.w, ctx.at = u.shape, w, at
        seen = u.unfold(2, w, 1).unfold(3, w, 1).permute(0, 2, 3, 1, 4, 5)  # (B, H', W', C, w, w)
        if at is not None:
            rows, columns = seen.shape[1:3]
            picture, place = at // (rows * columns), at % (rows * columns)
            seen = seen[picture, place // columns, place % columns]
        return seen.reshape(-1, u.shape[1] * w * w)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (n, c, height, width), w, at = ctx.shape, ctx.w, ctx.at
        rows, columns = height - w + 1, width - w + 1
        if at is None:
            laid = outer[0].new_zeros(n, c, height, width)
            parts = outer[0].view(n, rows, columns, c, w, w).permute(0, 3, 4, 5, 1, 2)
            for i in range(w):
                for j in range(w):
                    laid[:, :, i : i + rows, j : j + columns] += parts[:, :, i, j]
            return laid, None, None
        total = outer[0].new_zeros(n * height * width, c)
        picture, place = at // (rows * columns), at % (rows * columns)
        corner = (picture * height + place // columns) * width + place % columns
        parts = outer[0].view(-1, c, w, w)
        for i in range(w):
            for j in range(w):
                total.index_add_(0, corner + (i * width + j), parts[:, :, i, j].contiguous())
        return total.view(n, height, width, c).permute(0, 3, 1, 2), None, None
