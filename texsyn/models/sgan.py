"""SGAN and PSGAN: a convolutional generator that learns one exemplar against a critic of its crops.

Jetchev, Bergmann and Vollgraf 2016 (SGAN) and Bergmann, Jetchev and Vollgraf 2017 (PSGAN); the networks are in
texsyn/gan/spatial_networks.py, the training in texsyn/gan/spatial.py. A cell of noise has channels of three kinds:
local ones, fresh in each cell; a global vector, one for the whole picture; and sine waves whose wave numbers a small
network takes from the global vector. SGAN has local ones only.

Departures. Wave numbers are trained, as the paper says; the released code never did (compat="official" is that).
Noise is addressed by its place on an endless grid and, unless border="zero", the generator is trained as it samples,
without a border. Pictures are drawn with a running average of the weights, and with fixed statistics of normalisation,
so that any window equals the crop of the whole. Phases of waves are exact at any distance; on a torus, wave numbers
are rounded to whole numbers of waves. The defaults are for minutes on a CPU; the published numbers (recipe "paper") are
for a GPU.

Nothing is copied. What does not fit into a training crop is not learned, and an exemplar is learned at its own scale.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from texsyn.blocks import ENDLESS, Period
from texsyn.gan.losses import LOSSES
from texsyn.gan.spatial import Scene, SpatialTraining
from texsyn.gan.spatial_networks import BORDERS, UPSAMPLING, Design, Maker, SpatialGenerator, Waves
from texsyn.images import InputError, Picture, Region, Size, to_unit
from texsyn.material import Material
from texsyn.models.base import Synthesis, Watch
from texsyn.models.trained import Endless, load_weights
from texsyn.noise import NoiseField
from texsyn.ot.nearest import one_torch_thread
from texsyn.pyramid import level_period
from texsyn.training import of, under

GLOBAL, PHASES = 1001, 1002  # levels of noise that no layer has
COMPAT = ("texsyn", "official")


@dataclass(frozen=True)
class SganConfig:
    """Everything that shapes a picture besides exemplar, size and seeds."""

    #: a cell of noise has 2^n_layers pixels a side
    n_layers: int = 4
    #: of both networks next to the picture, doubled at each layer away from it up to max_channels
    channels: int = 32
    max_channels: int = 128
    local_channels: int = 20
    #: with nearest values stones come sooner, and blades of grass not at all in these minutes
    upsampling: str = "transposed"
    #: side of the generator's kernels; 3 halves what nearest values cost
    kernel: int = 5
    #: "none": noise goes on beyond the training crop, as it does when sampling; "zero": the papers' border of zeros
    border: str = "none"
    #: an update of the critic and one of the generator each
    steps: int = 3000  # 6 CPU minutes; at 2000, also at the end of the rate's fall, rows show
    batch: int = 4
    #: side of a training crop in cells; 2^n_layers pixels each, less 2^n_layers - 1 with a border of zeros
    cells: int = 8
    learning_rate: float = 0.0005
    #: share of it that is left at the end of half a cosine; 1 keeps it as it is
    last_rate: float = 0.1
    #: times the sum of squares of a network's weights
    l2: float = 1e-5
    #: share of the past in the running average of the weights that draws the pictures, 0 for none
    average: float = 0.995
    loss: str = "non-saturating"
    #: 0 for no limit; with one, what is learned depends on the speed of the machine
    max_minutes: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("upsampling", UPSAMPLING), ("border", BORDERS), ("loss", tuple(LOSSES))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(known)}")
        for name, least, most in (("n_layers", 1, 8), ("channels", 1, 1024), ("max_channels", 1, 4096),
                                  ("local_channels", 1, 1024), ("steps", 1, 2**31), ("batch", 1, 1024),
                                  ("cells", 2, 64)):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)} should be from {least} to {most}")
        if self.kernel not in (3, 5, 7):
            raise ValueError(f"kernel={self.kernel} should be 3, 5 or 7")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate={self.learning_rate} should be above 0 and at most 1")
        if not 0 < self.last_rate <= 1:
            raise ValueError(f"last_rate={self.last_rate} should be above 0 and at most 1")
        if not 0 <= self.l2 <= 1:
            raise ValueError(f"l2={self.l2} should be from 0 to 1")
        if not 0 <= self.average < 1:
            raise ValueError(f"average={self.average} should be from 0 to below 1")
        if self.max_minutes < 0:
            raise ValueError(f"max_minutes={self.max_minutes} should be 0 (no limit) or more")

    @property
    def crop(self) -> int:
        """Side of a training crop in pixels.

        >>> SganConfig(n_layers=5, cells=9, border="zero", upsampling="transposed").crop, SganConfig(cells=8).crop
        (257, 128)
        """
        return crop_of(self.cells, self)


@dataclass(frozen=True)
class PsganConfig(SganConfig):
    """Those of SGAN, and what the two further kinds of noise need."""

    global_channels: int = 8
    #: waves along each axis; twice as many channels
    waves: int = 2
    #: waves go in any direction instead of along the axes
    affine: bool = False
    #: units of the network that makes wave numbers from the global vector
    hidden: int = 50
    #: "official": wave numbers start and stay as in the released code, which never trained them
    compat: str = "texsyn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compat not in COMPAT:
            raise ValueError(f"compat={self.compat!r} is not one of {', '.join(COMPAT)}")
        for name, least, most in (("global_channels", 0, 1024), ("waves", 0, 256), ("hidden", 1, 4096)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)} should be from {least} to {most}")


def crop_of(cells: int, config: SganConfig) -> int:
    """Side in pixels of what so many cells make in training."""
    if config.border == "zero" and config.upsampling == "transposed":
        return (cells - 1) * 2**config.n_layers + 1
    return cells * 2**config.n_layers


class Sgan(Endless):
    """The trained network; see the module's docstring.

    fit() makes the same model for the same seed and number of threads, unless max_minutes cuts it short. A stack of
    maps is learned as one picture of all their channels.
    """

    method = "sgan"
    config_type: ClassVar[type] = SganConfig
    takes_material = True
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {},
        # the released code's; 5,000 iterations were one update of one network each
        "paper": {
            "n_layers": 5, "channels": 64, "max_channels": 512, "local_channels": 100, "upsampling": "transposed",
            "border": "zero", "steps": 2500, "batch": 64, "cells": 9, "learning_rate": 0.0005, "l2": 1e-5,
            "average": 0.0, "last_rate": 1.0,
        },
    }  # fmt: skip

    def __init__(
        self,
        exemplar: Picture | Material,
        config: Any = None,
        device: str = "cpu",
        *,
        maker: Maker | None = None,
        steps: int = 0,
    ) -> None:
        """The network without weights, or with those given; fit() and load() give the model that makes pictures.

        Raises InputError for an exemplar that is smaller than a training crop, of one colour, or no plain stack.
        """
        super().__init__(exemplar, config or self.config_type(), device)
        sheet = self.material.sheets[0]
        if len(self.material.sheets) > 1 or not sheet.plain or sheet.guide is not None or self.material.weights:
            raise InputError(f"{self.exemplar.name}: {self.method} takes one picture or one stack of maps, no masks")
        self._require_room()
        self.x, self.middle, self.half = _scaled(sheet.maps)
        if not bool(self.half.any()):
            raise InputError(f"{self.exemplar.name}: is of one colour, and {self.method} needs a texture to learn")
        self.maker, self.steps = maker, steps

    def _require_room(self) -> None:
        config, size = self.config, self.exemplar.size
        if min(size.height, size.width) >= config.crop:
            return
        fits = [n for n in range(2, config.cells) if crop_of(n, config) <= min(size.height, size.width)]
        least = crop_of(2, config)
        hint = f"cells={fits[-1]} fits it" if fits else f"the least, with cells=2, is {least}x{least}"
        raise InputError(
            f"{self.exemplar.name}: cells={config.cells} with n_layers={config.n_layers} needs at least "
            f"{config.crop}x{config.crop} pixels, got {size}; {hint}"
        )

    # ---- training

    @classmethod
    def learner(cls, exemplar: Picture, config: Any, *, seed: int, device: str) -> SpatialTraining:
        return SpatialTraining(cls(exemplar, config, device), seed)

    @classmethod
    def training_bytes(cls, exemplar: Picture, config: Any) -> int:
        """Activations of both networks, weights with their moments, and what torch keeps besides; fitted to peaks.

        Within 11 % of those of nine trainings of 67 to 630 MiB on a CPU.
        """
        model = cls(exemplar, config or cls.config_type())
        c, design = model.config, model.design
        widths = [design.out_channels, *design.widths, design.noise_channels]
        plain = SpatialGenerator(replace(design, channels=1, max_channels=1, noise_channels=1), torch.Generator())
        sides = [c.crop / 2**k for k in range(c.n_layers + 1)]
        made = list(sides)
        if c.border == "none":
            windows = plain.windows(Region(0, 0, c.crop, c.crop))
            made = [*(float(window.out.height) for window in windows), float(windows[-1].below.height)]
        pairs = list(pairwise(widths))
        activations = sum(n * made[k] ** 2 for k, (n, _) in enumerate(pairs))
        activations += sum(n * sides[k] ** 2 for k, (n, _) in enumerate(pairs) if k) + sides[-1] ** 2
        doubled = sum(n * made[k] ** 2 for k, (_, n) in enumerate(pairs)) if c.upsampling == "nearest" else 0
        weights = sum(a * b * (c.kernel**2 + 25) for a, b in pairs)
        return round(27 * 2**20 + 4 * (c.batch * (4.7 * activations + 2.6 * doubled) + 1.7 * weights))

    def scene(self) -> Scene:
        """What SpatialTraining asks of a model: what is to be learned, and how."""
        c = self.config
        return Scene(
            self.x.to(self.device), c.crop, c.cells, c.border == "zero", c.batch, c.learning_rate, c.l2, c.average,
            c.loss, c.steps, c.last_rate,
        )  # fmt: skip

    @property
    def design(self) -> Design:
        """How the networks are built."""
        c = self.config
        noise = c.local_channels + self._n_global + 2 * self._n_waves
        return Design(c.n_layers, c.channels, c.max_channels, noise, len(self.x), c.kernel, c.upsampling)

    def new_maker(self, random: torch.Generator, *, normalised: bool = True) -> Maker:
        """Fresh weights."""
        design = replace(self.design, normalised=normalised)
        generator = SpatialGenerator(design, random)
        return Maker(generator, self.config.local_channels, self._n_global, self._new_waves(random))

    _n_global, _n_waves = 0, 0

    def _new_waves(self, random: torch.Generator) -> Waves | None:
        return None

    def having(self, maker: Maker) -> Self:
        """The model that makes pictures with this maker, whose normalisation is in its weights."""
        made = copy.copy(self)
        made.maker = maker.eval().requires_grad_(False).to(self.device)
        return made

    # ---- pictures

    @property
    def halo(self) -> int:
        """Output pixels around a pixel whose noise enters it, one side at most; blocks change no bit of that."""
        return self._made().generator.halo

    def _made(self) -> Maker:
        assert self.maker is not None, "a model is made by fit() or load()"
        return self.maker

    def values(self, region: Region, seed: int, period: Period) -> Tensor:
        generator = self._made().generator
        windows = generator.windows(region, period)
        at, cells = generator.cells(windows), level_period(period, self.config.n_layers)
        z = torch.from_numpy(self.noise(at, seed, cells)).to(self.device, self.x.dtype)
        values: Tensor = generator(z[None], windows)[0]
        middle, half = (t.to(values)[:, None, None] for t in (self.middle, self.half))
        return middle + half * values

    def noise(self, at: Region, seed: int, period: Period) -> np.ndarray:
        """(channels, h, w): the noise of the cells `at`, on a grid of cells with that period."""
        fields = [NoiseField(seed, self.config.n_layers, c, period) for c in range(self.config.local_channels)]
        return np.stack([uniform(field, at) for field in fields])

    # ---- files

    def tensors(self) -> dict[str, Tensor]:
        """The network's weights, normalisation put into them, and how many steps they took."""
        return under("maker", self._made().state_dict()) | {"steps": torch.tensor(self.steps)}

    @classmethod
    def from_tensors(cls, exemplar: Any, config: Any, tensors: Mapping[str, Tensor], device: str) -> Self:
        model = cls(exemplar, config, device, steps=int(tensors["steps"]))
        maker = model.new_maker(torch.Generator(), normalised=False)
        load_weights(maker, of("maker", tensors))
        model.maker = maker.eval().requires_grad_(False).to(model.device)
        return model


class Psgan(Sgan):
    """SGAN with a global vector, by which pictures of several seeds differ, and waves, by which they repeat."""

    method = "psgan"
    config_type = PsganConfig
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {},
        "paper": {
            "n_layers": 5, "channels": 64, "max_channels": 512, "local_channels": 30, "global_channels": 60,
            "waves": 3, "upsampling": "transposed", "border": "zero", "steps": 50000, "batch": 25, "cells": 6,
            "learning_rate": 0.0002, "l2": 1e-8, "average": 0.0, "last_rate": 1.0,
        },
    }  # fmt: skip

    #: a field of global vectors instead of the seed's own; see morphed()
    morph: Morph | None = None

    @property
    def _n_global(self) -> int:  # type: ignore[override]
        return int(self.config.global_channels)

    @property
    def _n_waves(self) -> int:  # type: ignore[override]
        return int(self.config.waves)

    def _new_waves(self, random: torch.Generator) -> Waves | None:
        c = self.config
        if not c.waves:
            return None
        return Waves(c.waves, c.global_channels, c.hidden, c.affine, c.compat == "official", random)

    def morphed(self, anchors: Sequence[Sequence[int]] | Sequence[int], size: Size) -> Psgan:
        """This model with the looks of several seeds in one picture of that size, one passing into the other.

        anchors: seeds from left to right, or rows of as many each, at equal distances from border to border; global
        vectors in between are bilinear. Seeds of pictures then change the local noise and the phases only.
        Raises ValueError for a model without global vectors and for rows that differ in length.
        """
        rows = [row if isinstance(row, Sequence) else [row] for row in anchors]
        if not any(isinstance(row, Sequence) for row in anchors):
            rows = [[seed for row in rows for seed in row]]
        if not self._n_global:
            raise ValueError("morphing needs global vectors, and this model has global_channels=0")
        if len({len(row) for row in rows}) > 1 or not rows[0]:
            raise ValueError(f"anchors={anchors} should be rows of equally many seeds")
        vectors = np.array([[global_vector(seed, self._n_global) for seed in row] for row in rows])
        side = 2**self.config.n_layers
        cells = Size(max(2, -(-size.height // side)), max(2, -(-size.width // side)))
        made = copy.copy(self)
        made.origin = self.origin | {"anchors": [list(map(int, row)) for row in rows]}
        made.morph = Morph(vectors, size, cells, self._made().waves)
        return made

    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        if self.morph is not None and size != self.morph.size:
            raise ValueError(f"this model is morphed over {self.morph.size} pixels, and size={size} was asked for")
        return super().synthesise(size, seed=seed, tile=tile, watch=watch)

    def noise(self, at: Region, seed: int, period: Period) -> np.ndarray:
        """Global, local and periodic channels (channels, h, w) of the cells `at`."""
        local = super().noise(at, seed, period)
        vector = global_vector(seed, self._n_global)
        if self.morph is None:
            everywhere = np.broadcast_to(vector[:, None, None], (len(vector), at.height, at.width))
        else:
            if period != ENDLESS:
                raise ValueError("a morph goes from one look to another, so it cannot tile")
            everywhere = np.moveaxis(self.morph.vectors_at(at), -1, 0)
        parts = [everywhere, local]
        if (waves := self._made().waves) is not None:
            fields = [NoiseField(seed, PHASES, c) for c in range(2 * waves.n_waves)]
            offsets = np.array([uniform(field, Region(0, 0, 1, 1))[0, 0] for field in fields], np.float64) * np.pi
            morph = self.morph
            turns = morph.turns_at(at) if morph else turns_of(wave_numbers(waves, vector), at, period)
            parts.append(np.sin(2 * np.pi * turns + offsets[:, None, None]))
        return np.concatenate(parts).astype(np.float32)


def _scaled(maps: Sequence[Picture]) -> tuple[Tensor, Tensor, Tensor]:
    """All channels of all maps (C, h, w), within -1..1, with (C,) middle and half: pixels are middle + half x.

    Codes go from 0 to the greatest there is, floats from a map's least to its greatest value; a channel that is
    constant has half = 0, so that it stays exactly that.
    """
    parts, middles, halves = [], [], []
    for one in maps:
        u = to_unit(one.pixels).astype(np.float64)
        low, high = (u.min(), u.max()) if one.pixels.dtype.kind == "f" else (0.0, 1.0)
        flat = u.min((0, 1)) == u.max((0, 1))
        middle = np.where(flat, u[0, 0], low / 2 + high / 2)
        half = np.where(flat, 0.0, high / 2 - low / 2)
        parts.append((u - middle) / np.where(flat, 1.0, half))
        middles.append(middle)
        halves.append(half)
    x = torch.from_numpy(np.concatenate(parts, 2).astype(np.float32)).permute(2, 0, 1).contiguous()
    all_middle, all_half = (torch.from_numpy(np.concatenate(t).astype(np.float32)) for t in (middles, halves))
    return x, all_middle, all_half


# ------------------------------------------------------------------------------------------------ noise by its address


def uniform(field: NoiseField, region: Region) -> np.ndarray:
    """(h, w) float32 in -1..1: the middles of 2^24 equal parts, exactly."""
    return ((2 * (field.bits(region) >> np.uint64(40)).astype(np.int64) + 1 - 2**24) / 2**24).astype(np.float32)


def global_vector(seed: int, n: int) -> np.ndarray:
    """(n,) float32: that of all pictures of a seed."""
    return np.array([uniform(NoiseField(seed, GLOBAL, c), Region(0, 0, 1, 1))[0, 0] for c in range(n)], np.float32)


@one_torch_thread()
@torch.no_grad()
def wave_numbers(waves: Waves, vectors: np.ndarray) -> np.ndarray:
    """(2, ..., 2 n_waves) float64: turns a cell along x and along y, of global vectors (..., n)."""
    z = torch.from_numpy(np.asarray(vectors, np.float64))
    exact = copy.deepcopy(waves).cpu().double()
    return np.stack([f.numpy() for f in exact(z)]) / (2 * math.pi)


def turns_of(numbers: np.ndarray, at: Region, period: Period = ENDLESS) -> np.ndarray:
    """(n, h, w) phases in turns, modulo 1, of plane waves of numbers (2, n) turns a cell, which are 0 at cell (0, 0).

    Exact for cells at any distance, since wave numbers are taken as multiples of 2^-64, or of 1 / period on an axis
    that has one, where they are rounded to the nearest.
    """
    x = np.stack([_turns(f, at.left, at.width, period[1]) for f in numbers[0]])
    y = np.stack([_turns(f, at.top, at.height, period[0]) for f in numbers[1]])
    return (x[:, None, :] + y[:, :, None]) % 1.0


def _turns(f: float, start: int, n: int, period: int | None) -> np.ndarray:
    if period is not None:
        places = np.arange(start % period, start % period + n, dtype=np.int64) % period
        return round(f * period) % period * places % period / period
    step, first = np.uint64(round(f % 1.0 * 2**64) % 2**64), np.uint64(start % 2**64)
    with np.errstate(over="ignore"):
        return (step * (first + np.arange(n, dtype=np.uint64))).astype(np.float64) / 2**64


class Morph:
    """A field of global vectors over a picture, and the phases of waves whose numbers vary with it.

    k(z) x would have local frequency k + x k', ever more wrong away from the origin. Phases are integrated along x
    and along y from the middle instead, so that along its own axis a wave has the frequency that the vector says;
    where that varies across the axis too, crests turn, by the slope times the distance from the middle.
    Beyond the picture the field is that of its border.
    """

    def __init__(self, anchors: np.ndarray, size: Size, cells: Size, waves: Waves | None) -> None:
        """anchors (rows, columns, n) at equal distances over the picture's cells."""
        self.anchors, self.size, self.cells, self.waves = anchors.astype(np.float64), size, cells, waves
        self._lock = threading.Lock()
        self._tables: tuple[np.ndarray, np.ndarray] | None = None

    def vectors_at(self, at: Region) -> np.ndarray:
        """(h, w, n) float64 global vectors of cells."""
        rows, columns, _ = self.anchors.shape
        low, high, t = _between(at.top, at.height, self.cells.height, rows)
        left, right, s = _between(at.left, at.width, self.cells.width, columns)
        upper, lower = (
            (1 - s)[:, None] * self.anchors[i][:, left] + s[:, None] * self.anchors[i][:, right] for i in (low, high)
        )
        found: np.ndarray = (1 - t)[:, None, None] * upper + t[:, None, None] * lower
        return found

    def turns_at(self, at: Region) -> np.ndarray:
        """(n, h, w) phases in turns of cells."""
        assert self.waves is not None
        numbers, phases = self._integrated()
        rows, columns = np.arange(at.top, at.bottom), np.arange(at.left, at.right)
        r, c = rows.clip(0, self.cells.height - 1), columns.clip(0, self.cells.width - 1)
        inside = np.ix_(r, c)
        found = phases[inside] + numbers[0][inside] * (columns - c)[None, :, None]
        found = found + numbers[1][inside] * (rows - r)[:, None, None]
        return np.moveaxis(found, -1, 0) % 1.0

    def _integrated(self) -> tuple[np.ndarray, np.ndarray]:
        """Wave numbers (2, H, W, n) and phases (H, W, n) of the picture's cells, computed once."""
        assert self.waves is not None
        with self._lock:
            if self._tables is None:
                whole = Region(0, 0, self.cells.height, self.cells.width)
                numbers = wave_numbers(self.waves, self.vectors_at(whole))
                phases = _integral(numbers[0], 1) + _integral(numbers[1], 0)
                self._tables = numbers, phases
            return self._tables


def _between(start: int, n: int, cells: int, anchors: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For n cells from start on: the anchors before and behind them, and how far from the one to the other."""
    at = np.arange(start, start + n).clip(0, cells - 1) / (cells - 1) * (anchors - 1)
    low = np.minimum(at.astype(np.int64), max(anchors - 2, 0))
    return low, np.minimum(low + 1, anchors - 1), at - low


def _integral(f: np.ndarray, axis: int) -> np.ndarray:
    """The integral of f along an axis from its middle, by trapezes."""
    f = np.moveaxis(f, axis, 0)
    total = np.concatenate([np.zeros_like(f[:1]), np.cumsum((f[1:] + f[:-1]) / 2, 0)])
    return np.moveaxis(total - total[len(total) // 2], 0, axis)
