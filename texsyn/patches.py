"""All w x w patches of a picture as rows of a matrix, and the way back by averaging overlaps.

Patches overlap with stride 1. A row holds its patch channel by channel, each channel row by row: column
c*w*w + i*w + j is pixel (i, j) of channel c. Borders are open (only the patches that fit) or periodic (one patch per
pixel, wrapped).

Memory: a patch matrix costs C w w numbers per position; 512x512 RGB with w = 5 is 79 MB in float32.
"""

from __future__ import annotations

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
