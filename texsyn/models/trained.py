"""What networks that learn one exemplar by steps have in common: training with or without a folder, and drawing.

A learner (what texsyn.training calls a trainee, with the model it has become) belongs to each method; here is what
brings it to the contract of a texture model. Endless is for networks that make any window of a plane.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from texsyn.blocks import ENDLESS, Blocks, Period, most_kept, period_of, share_rows
from texsyn.images import InputError, Picture, Region, Size, from_unit
from texsyn.models.base import Cancelled, Synthesis, TextureModel, Watch, Window
from texsyn.ot.nearest import one_torch_thread
from texsyn.training import Outcome, Run, Trainee, train

BLOCK = 256  # side of the blocks in which a plane is computed: 4 MB of values at 16 channels
KEPT_BLOCKS = 64


class Learner(Trainee, Protocol):
    """A trainee that can say what model it has become so far."""

    def model(self) -> Any:
        """The texture model of the moment; training goes on as if nobody had asked."""
        ...


def load_weights(network: nn.Module, found: Mapping[str, Tensor], name: str = "the weights") -> None:
    """Put weights that a file holds into a network. InputError where names, shapes or types are others."""
    require_weights(network, found, name)
    network.load_state_dict(found)


def require_weights(network: nn.Module, found: Mapping[str, Tensor], name: str = "the weights") -> None:
    """InputError unless these weights have a network's names, shapes and types."""
    wanted = network.state_dict()
    if {k: (t.shape, t.dtype) for k, t in wanted.items()} != {k: (t.shape, t.dtype) for k, t in found.items()}:
        raise InputError(f"{name} do not belong to a network of this configuration")


def channels_last(network: nn.Module) -> None:
    """Lay the weights out as convolutions of few channels are fastest: 1.3 to 2 times."""
    for p in network.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


class TrainedModel(TextureModel):
    """A model whose fit() takes steps. Configurations have `steps` and `max_minutes`."""

    #: settings by name, instead of the configuration's defaults
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    #: train on one thread, so that the bits do not depend on how many there are; worth it for small networks only
    one_thread: ClassVar[bool] = False
    #: how many steps it was trained for
    steps: int = 0

    @classmethod
    @abstractmethod
    def learner(cls, exemplar: Picture, config: Any, *, seed: int, device: str) -> Learner:
        """What is trained; config None means the method's defaults. InputError for an exemplar that cannot be."""

    @classmethod
    def n_steps(cls, exemplar: Picture, config: Any) -> int:
        """Steps of a whole training."""
        return int(config.steps)

    @classmethod
    def training_bytes(cls, exemplar: Picture, config: Any) -> int | None:
        """Memory that training takes at its peak beyond what the process weighs, about; None where nobody knows."""
        return None

    @property
    def learned(self) -> Picture:
        """The exemplar at the scale at which it is learned and pictures come out."""
        return self.exemplar

    def shown(self) -> Picture:
        """A picture of that size, seed 0, to see how far a training is."""
        pixels = self.synthesise(self.learned.size, seed=0).pixels
        return replace(self.exemplar, pixels=pixels, palette=None, indices=None, notes=())

    @classmethod
    def fit(
        cls, exemplar: Picture, config: Any = None, *, seed: int = 0, device: str = "cpu", watch: Watch | None = None
    ) -> Self:
        model, outcome = cls.train(exemplar, config, seed=seed, device=device, watch=watch)
        if outcome.cancelled:
            raise Cancelled(outcome.sentence)
        return model

    @classmethod
    def train(
        cls,
        exemplar: Picture,
        config: Any = None,
        *,
        seed: int = 0,
        device: str = "cpu",
        watch: Watch | None = None,
        run: Run | None = None,
    ) -> tuple[Self, Outcome]:
        """fit() with a folder for the run, which may be resumed; cancelled, it gives the model so far.

        Raises FloatingPointError where a loss or, in the end, a weight is no finite number.
        """
        config = config or cls.config_type()
        with one_torch_thread() if cls.one_thread else contextlib.nullcontext():
            learner = cls.learner(exemplar, config, seed=seed, device=device)
            steps = cls.n_steps(exemplar, config)
            outcome = train(learner, steps, run=run, max_minutes=config.max_minutes, watch=watch)
            model: Self = learner.model()
        for name, t in model.tensors().items():
            if not bool(t.isfinite().all()):
                raise FloatingPointError(f"{name} is no finite number after step {outcome.steps}")
        model.fit_seed, model.steps = seed, outcome.steps
        return model, outcome


class Endless(TrainedModel):
    """A trained network that makes any window of an endless plane, in blocks on an absolute grid.

    A picture is the window with its top left corner at (0, 0).
    """

    local = True

    @abstractmethod
    def values(self, region: Region, seed: int, period: Period) -> Tensor:
        """Values of pixels (C, h, w) in the exemplar's range, not yet cut to it; asked for whole blocks only."""

    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        watch = watch or Watch()
        blocks = self._blocks(seed, period_of(tile, size))
        maps = self.material.sheets[0].maps
        made = [np.empty((size.height, size.width, one.channels), one.pixels.dtype) for one in maps]
        clipped: list[int] = []  # a number a block: adding to one number from two threads would lose some
        for top in range(0, size.height, BLOCK):
            watch.step(top / size.height, str(size))
            height = min(BLOCK, size.height - top)

            def columns(first: int, last: int, top: int = top, height: int = height) -> None:
                for left in range(first * BLOCK, min(last * BLOCK, size.width), BLOCK):
                    width = min(BLOCK, size.width - left)
                    values = blocks.window(Region(top, left, height, width))
                    clipped.append(int(((values < 0) | (values > 1)).sum()))
                    for number, pixels in enumerate(made):
                        pixels[top : top + height, left : left + width] = self._pixels(values, number)

            share_rows(-(-size.width // BLOCK), 2, columns, least=1)
        watch.step(1.0, "done")
        out = 0.0 if self.exemplar.pixels.dtype.kind == "f" else sum(clipped) / sum(one.size for one in made)
        evidence = {"level": 0, "size": str(size), "steps": self.steps, "clipped": round(out, 4)}
        return Synthesis(made[0], None, [evidence], tuple(made[1:]))

    def plane(self, *, seed: int, period: Period = ENDLESS, number: int = 0, within: Region | None = None) -> Window:
        blocks = self._blocks(seed, period)
        return lambda region: self._pixels(blocks.window(region), number)

    def plane_bytes(self, within: Region) -> int:
        """Values of all maps, float32."""
        n_channels = sum(one.channels for one in self.material.sheets[0].maps)
        return most_kept(within, Size(BLOCK, BLOCK), KEPT_BLOCKS, 4 * n_channels)

    def _pixels(self, values: np.ndarray, number: int = 0) -> np.ndarray:
        """The pixels of one of the maps, from values of the channels of all of them."""
        maps = self.material.sheets[0].maps
        first = sum(one.channels for one in maps[:number])
        mine = values[..., first : first + maps[number].channels]
        return np.ascontiguousarray(from_unit(mine, maps[number].pixels.dtype))

    def _blocks(self, seed: int, period: Period) -> Blocks:
        """The plane (H, W, C) float32: a block is the same computation whoever asks for it."""

        @one_torch_thread()
        @torch.no_grad()
        def block(here: Region) -> np.ndarray:
            return self.values(here, seed, period).permute(1, 2, 0).contiguous().cpu().numpy()

        return Blocks(block, Size(BLOCK, BLOCK), period, kept=KEPT_BLOCKS)
