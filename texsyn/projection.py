"""Projection: the styles whose picture is nearest to a given one, by descent on the styles of a trained network.

Karras and others 2020, "Analyzing and improving the image quality of StyleGAN", appendix D, with losses of our own: the
learned weights of theirs are not free. What near means is a function of pictures, so that others can be given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from texsyn.features import PatchPyramid
from texsyn.gan.image_model import ImageModel
from texsyn.images import InputError
from texsyn.models.base import Watch
from texsyn.texture_losses import TransportLoss
from texsyn.vgg import VGG19
from texsyn.weights import find

LOSSES = ("auto", "features", "pixels", "patches")
SPACES = ("w", "w+")
SAMPLES = 10_000  # styles whose mean and deviation are begun with
PLACED = 10.0  # how much the coarsest pixels count beside transport between patches
SEEN = ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")  # of VGG-19: the last of each block


@dataclass(frozen=True, eq=False)
class Projection:
    """What project() found: ws (n_styles, latent), their picture (c, h, w) in [0, 1], and how near it is.

    psnr: in dB, of values in [0, 1]; infinite for equal pictures. losses: at every step, with that step's noise.
    """

    ws: Tensor
    picture: Tensor
    psnr: float
    loss: str
    losses: tuple[float, ...]


Distance = Callable[[Tensor], Tensor]  #: of pictures (1, c, h, w) to a scalar, differentiable


def project(
    model: ImageModel,
    target: Tensor,
    *,
    space: str = "w",
    steps: int = 1000,
    rate: float = 0.1,
    noise: float = 0.05,
    loss: str = "auto",
    weights: str | Path | None = None,
    label: int | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Projection:
    """Styles whose picture is near target (c, h, w), values in [0, 1] (see distance_of for what near is).

    space "w": one style for all rows; "w+": one for each, which comes nearer and is edited worse (Abdal, Qin and Wonka
    2019, "Image2StyleGAN"). Adam from the mean style, the rate up in the first 1/20 of the steps and down to 0 by a
    cosine in the last quarter, noise of the part `noise` of the styles' deviation falling to none at 3/4 (Karras and
    others 2020, appendix D). Where theirs moves a network's own noise too, that stays what it is for all its pictures,
    so that what is found is styles and nothing else. label: the class whose mean is begun from. ValueError for settings
    that cannot be, FloatingPointError for a loss that is not finite.
    """
    generator = model.styled
    if space not in SPACES:
        raise ValueError(f"space={space!r} should be {' or '.join(SPACES)}")
    if steps < 1:
        raise ValueError(f"steps={steps} should be at least 1")
    for name, amount in (("rate", rate), ("noise", noise)):
        if not 0 <= amount < math.inf:
            raise ValueError(f"{name}={amount} should be a finite number from 0")
    shape = (model.config.channels, model.config.height, model.config.width)
    if target.shape != shape or not bool(target.isfinite().all()):
        raise ValueError(f"target={tuple(target.shape)} should be {shape}, of finite values")
    kind, far = distance_of(target.to(model.device), loss, weights)
    random = torch.Generator().manual_seed(seed % 2**63)
    w = torch.cat(list(model.mapped(SAMPLES, seed=seed, label=label)))
    mean = w.mean(0)
    deviation = float((w - mean).square().sum(1).mean().sqrt())
    n_rows = generator.n_styles
    ws = mean.expand(n_rows if space == "w+" else 1, -1).clone().to(model.device).requires_grad_()
    adam, losses = torch.optim.Adam([ws], lr=rate), []
    for k in range(steps):
        t = (k + 1) / steps
        adam.param_groups[0]["lr"] = rate * share_of_rate(t)
        jitter = noise * deviation * max(0.0, 1 - k / steps / 0.75) ** 2
        moved = ws + jitter * torch.randn(ws.shape, generator=random).to(ws)
        gap = far(generator.synthesise(moved.expand(1, n_rows, -1)).float() / 2 + 0.5)
        losses.append(float(gap.detach()))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]} at step {k}: try a smaller rate")
        ws.grad = torch.autograd.grad(gap, ws)[0]
        adam.step()
        if watch is not None:
            watch.step(t, f"step {k + 1} of {steps}, {kind} {losses[-1]:.4g}")
    found = ws.detach().cpu().expand(n_rows, -1).contiguous()
    picture = model.synthesised(found[None])[0]
    return Projection(found, picture, psnr(picture, target), kind, tuple(losses))


def share_of_rate(t: float) -> float:
    """How much of the rate the step has that ends the part t of all, in (0, 1].

    >>> [round(share_of_rate(t), 4) for t in (0.025, 0.05, 0.75, 0.875, 1)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, 20 * t) * (1 - math.cos(math.pi * min(1.0, 4 * (1 - t)))) / 2


@torch.no_grad()
def values_bytes(model: ImageModel) -> int:
    """What the layers put out for one picture, in bytes; a step of project() holds about four times that."""
    sizes, generator = [0], model.styled

    def count(module: Any, args: Any, out: Any) -> None:
        sizes.append(out.numel() * out.element_size() if isinstance(out, Tensor) else 0)

    hooks = [module.register_forward_hook(count) for module in generator.modules()]
    try:
        generator.synthesise(torch.zeros(1, generator.n_styles, generator.design.latent, device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(sizes)


def psnr(made: Tensor, target: Tensor) -> float:
    """10 log10 of 1 over the mean squared difference, dB."""
    error = float((made.double() - target.double().cpu()).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def distance_of(target: Tensor, loss: str = "auto", weights: str | Path | None = None) -> tuple[str, Distance]:
    """The name of a loss and the function: how far pictures (1, c, h, w) are from target (c, h, w).

    "features": squared differences of VGG-19's maps, of unit length at each place, mean over places and sum over five
    depths (Zhang and others 2018, "The unreasonable effectiveness of deep features as a perceptual metric", without
    learned weights), of pictures of at most 256 pixels. "pixels": absolute differences at all scales down to 4 pixels.
    "patches": optimal transport between the patches of both, which have no places, at two scales, and the differences
    of pixels at the coarsest, which have. "auto": features where VGG-19's weights are found (weights: their file) and
    takes such pictures, else pixels. ValueError for another name, InputError for weights that cannot be used.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is not one of {', '.join(LOSSES)}")
    target = target[None].float()
    if loss == "auto":
        loss = "features" if weights is not None or _sees(target) else "pixels"
    if loss == "features":
        return loss, _feature_distance(target, weights)
    return loss, (_pixel_distance if loss == "pixels" else _patch_distance)(target)


def _halved(x: Tensor, least: int) -> list[Tensor]:
    """x (1, c, h, w) and its means over 2 x 2 pixels, again and again while no side falls below `least`."""
    found = [x]
    while min(found[-1].shape[2:]) >= 2 * least:
        found.append(F.avg_pool2d(found[-1], 2))
    return found


def _pixel_distance(target: Tensor) -> Distance:
    levels = _halved(target, 4)
    return lambda x: torch.stack(
        [(a - b).abs().mean() for a, b in zip(_halved(x, 4), levels, strict=True)]
    ).sum()  # fmt: skip


def _patch_distance(target: Tensor) -> Distance:
    scales = 1 + (min(target.shape[2:]) >= 16)
    transport = TransportLoss(PatchPyramid(4, scales), target[0], max_atoms=2000, n_samples=2000)
    coarse = _halved(target, 4)[-1]

    def distance(x: Tensor) -> Tensor:
        transport.improve(x.detach())
        return transport(x) + PLACED * (_halved(x, 4)[-1] - coarse).square().mean()

    return distance


def _sees(target: Tensor) -> bool:
    """Whether VGG-19 takes such pictures, and its weights are there."""
    try:
        find("vgg19")
    except InputError:
        return False
    return target.shape[1] in (1, 3) and min(target.shape[2:]) >= 16


def _feature_distance(target: Tensor, weights: str | Path | None) -> Distance:
    network = VGG19(weights, taps=SEEN, border="zero")
    return feature_distance(target, network)


def feature_distance(target: Tensor, network: VGG19) -> Distance:
    """The distance of "features" from target (1, c, h, w) by a network that is there; see distance_of."""

    def units(x: Tensor) -> list[Tensor]:
        if max(x.shape[2:]) > 256:
            side = max(x.shape[2:])
            x = F.interpolate(x, [max(1, round(n * 256 / side)) for n in x.shape[2:]], mode="area")
        return [F.normalize(layer.values, dim=1, eps=1e-8) for layer in network.layers(x)]

    seen = [values.detach() for values in units(target)]
    return lambda x: torch.stack(
        [(a - b).square().sum(1).mean() for a, b in zip(units(x), seen, strict=True)]
    ).sum()  # fmt: skip
