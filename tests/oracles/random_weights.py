"""Random Inception parameters that make features mean something, and pictures to try them on.

He's Gaussians for the convolutions, jittered scales and shifts, and the statistics of the normalisations measured on
pictures of noise: without that last step features hardly depend on the picture, and any two networks agree.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from texsyn.metrics.inception import CLASSES, Inception, from_state_dict

PARTS = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked")


def random_state_dict(kind: str = "fid", seed: int = 0, side: int = 139) -> dict[str, Tensor]:
    """All 566 tensors, calibrated on eight pictures of that side; equal on every machine up to rounding."""
    rng = np.random.default_rng(seed)
    with torch.device("meta"):
        layout = Inception(kind).state_dict()
    state = {}
    for name, t in layout.items():
        last = name.rsplit(".", 1)[1]
        gaussians = (
            rng.standard_normal(t.shape, np.float32) if t.dtype == torch.float32 else np.zeros(t.shape, np.int64)
        )
        if t.ndim > 1:
            gaussians *= np.float32(math.sqrt(2 / math.prod(t.shape[1:])))
        elif name.startswith("fc"):
            gaussians *= np.float32(0.1)
        elif last in ("weight", "running_var"):
            gaussians = (1 + 0.1 * gaussians).clip(0.5, 1.5).astype(np.float32)
        elif t.dtype == torch.float32:
            gaussians *= np.float32(0.1)
        state[name] = torch.from_numpy(np.ascontiguousarray(gaussians).reshape(t.shape))
    net = from_state_dict(state, kind=kind)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
            module.momentum = 1.0  # the statistics of the one batch that follows
    pictures = torch.from_numpy(textures(8, side, side, seed=seed + 1)).permute(0, 3, 1, 2)
    with torch.no_grad():
        net((pictures.float() - 128) / 128)
    calibrated = {name: t.detach().clone() for name, t in net.state_dict().items()}
    for name in calibrated:
        if name.endswith("num_batches_tracked"):
            calibrated[name] = torch.zeros((), dtype=torch.int64)
    return calibrated


def auxiliary(seed: int = 0) -> dict[str, Tensor]:
    """The auxiliary classifier that torchvision's file has beside the rest."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, n_out, n_in, k in (("conv0", 128, 768, 1), ("conv1", 768, 128, 5)):
        state[f"AuxLogits.{name}.conv.weight"] = torch.randn((n_out, n_in, k, k), generator=generator)
        for part in PARTS[1:5]:
            state[f"AuxLogits.{name}.{part}"] = torch.rand(n_out, generator=generator) + 0.5
    state["AuxLogits.fc.weight"] = torch.randn((CLASSES["torchvision"], 768), generator=generator)
    state["AuxLogits.fc.bias"] = torch.randn(CLASSES["torchvision"], generator=generator)
    return state


def textures(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pictures (n, height, width, 3) uint8 of smoothed noise, each with its own scale, contrast and colour."""
    rng = np.random.default_rng(seed)
    pictures = np.empty((n, height, width, 3), np.uint8)
    for i in range(n):
        noise = rng.standard_normal((height, width, 3))
        for _ in range(i % 4):
            noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
        colour, contrast = rng.uniform(60, 190, 3), rng.uniform(15, 60)
        pictures[i] = np.clip(colour + contrast * noise / noise.std(), 0, 255)
    return pictures
