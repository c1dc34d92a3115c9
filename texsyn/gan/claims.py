"""Networks that a model file describes, held against the tensors in it before memory is taken for what it claims.

A header is a few words that anybody may have written. While networks are built, the numbers that they ask for are
counted before they are there; beyond a few times those in the file the networks are built once more as shapes alone,
which takes a second or more and no memory, and must have the shapes of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from texsyn.gan.architectures import ARCHITECTURES, GanConfig
from texsyn.gan.networks.design import ImageDiscriminator, ImageGenerator
from texsyn.images import Size
from texsyn.models.trained import require_weights
from texsyn.training import of

LONGEST = 2**16  # side of a picture, in pixels
#: numbers that networks may ask for, and how many more for each one in the file: without a closer look, which leaves
#: room for a discriminator that the file does not keep; and at all, as that is far larger where sides are hardly halved
USUAL, MOST = (2**22, 4), (2**28, 64)
LEAST = 2**10  # numbers that a tensor counts for: it has names and a layer around it
_MAKERS = (torch.empty, torch.ones, torch.rand, torch.randn, torch.zeros)


class Beyond(ValueError):
    """More numbers were asked for than there may be."""


class Counted(TorchFunctionMode):
    """Inside, tensors of so many numbers can be made in all; Beyond is raised in place of making the next one."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = n

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _MAKERS:
            shape = args[0] if args and not isinstance(args[0], int) else args
            self.left -= max(math.prod(shape), LEAST)
            if self.left < 0:
                raise Beyond("its settings ask for networks that are far larger than what it holds")
        return func(*args, **(kwargs or {}))


def networks_of(config: GanConfig, found: Mapping[str, Tensor]) -> tuple[ImageGenerator, ImageDiscriminator]:
    """Networks of that configuration, their weights still random, for the tensors of a file.

    ValueError, before memory is taken for them, where they are far larger than the file and not what it holds.
    """
    arch, n = ARCHITECTURES[config.arch], sum(t.numel() for t in found.values())
    if max(config.height, config.width) > LONGEST:
        raise ValueError(f"its pictures are {Size(config.height, config.width)}, and no side may be above {LONGEST}")
    for name in {"layers", "mapping_layers"} & set(arch.options):  # each has a weight in the file
        if getattr(config, name) > len(found):
            raise ValueError(f"{name}={getattr(config, name)} is more than the {len(found)} tensors it holds")

    try:
        with Counted(USUAL[0] + USUAL[1] * n):
            return _built(config)
    except Beyond:
        pass
    with Counted(MOST[0] + MOST[1] * n):
        shapes = dict(zip(("generator", "discriminator"), as_shapes(config), strict=True))
    for name, network in shapes.items():
        if name == "generator" or any(key.startswith(f"{name}.") for key in found):
            require_weights(network, of(name, found))
    return _built(config)


def as_shapes(config: GanConfig) -> tuple[ImageGenerator, ImageDiscriminator]:
    """Networks of that configuration whose tensors have shapes and types, but no numbers and no memory."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return _built(config)


def _built(config: GanConfig) -> tuple[ImageGenerator, ImageDiscriminator]:
    return ARCHITECTURES[config.arch].build(config, torch.Generator().manual_seed(0))
