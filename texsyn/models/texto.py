"""Texto with all atoms, pixels that are copied, and sources that stay coherent: the default method.

Texto (Galerne, Leclaire and Rabin 2018, "A texture synthesis model based on semi-discrete optimal transport in patch
space", SIAM J. Imaging Sci. 11(4)) starts from the exemplar's Gaussian texture at the coarsest of several scales,
transports its patches onto exemplar patches there, and goes up. Its averaging of overlaps blurs and its 1000 sampled
atoms lose rare patches. Departures, all of them ours:

- 5x5 patches and ALL exemplar patches as atoms, at the coarse levels where that is cheap.
- Many passes a level, each: assign every patch, move psi, average the overlaps. The assignments of a pass ARE the
  stochastic gradients of its dual ascent: psi moves after every small batch, so that an atom which was just used
  becomes dearer and the shares of a pass come out nearly equal at no cost beyond the assignment.
- The last assignment is read as a map of source coordinates. From there on no average is kept: coherent corrections
  (coordinates.correct), then up by doubling coordinates, and corrections again at each finer level: first towards
  the average of the overlapping patches, which is free of seams, then towards the pixels as they are.
- All matching is between 8-bit codes, so that every decision is exact integer arithmetic.
- Exemplars that are regular (bricks, tiles, dots; see texsyn.regularity) start one level finer, where a course or a
  dot still has several pixels, and with large windows there: first 13x13, then 9x9, then 5x5. A window smaller than
  a period cannot tell that two parts of a picture are out of step, and lines end where such parts meet.

Two modes. *Balanced* solves psi on the very picture being made (on a torus, so there are no borders to smear): its
shares are as equal as they can be. *Endless* freezes psi for each level and pass on a training field; a picture is
then a local function of addressed noise on an infinite plane, and any window of it can be rendered alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import astuple, dataclass
from functools import cached_property, partial
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn.adsn import exact_field
from texsyn.ascent import Ascent, Canvas
from texsyn.atlas import Atlas, Level, centred, rounded
from texsyn.blocks import ENDLESS, Blocks, Period, most_kept, period_of, share_rows
from texsyn.coordinates import children, correct, take, vote, wrap
from texsyn.images import InputError, Picture, Region, Size, to_unit
from texsyn.material import Material
from texsyn.models.base import Synthesis, TextureModel, Watch, Window
from texsyn.morphing import gaussian_between
from texsyn.noise import UNIT, NoiseField
from texsyn.ot.nearest import NearestIndex, one_torch_thread
from texsyn.ot.semidiscrete import solve
from texsyn.painting import MENDING_PASSES, Manner, Painting, account, mend, uneven_ends
from texsyn.patches import windows
from texsyn.pyramid import coarser, level_period, level_size, pyramid

Values = Callable[[NoiseField, int, int], np.ndarray]
Map = Callable[[Region], Tensor]  #: from a region of one level to its source coordinates (H, W, 2)
BETWEEN = 2  # rounds of transport to both exemplars of a morph at each coarse level
BLOB = 3  # pixels of the coarsest level: about half the width of the blobs in which several sheets start
#: products of one batch of the ascent up to which a CPU is done before a GPU has been told: some 23 launches
SMALL_BATCH = 2**25
KEPT_BLOCKS = 40  # of each transported level in planes
WIDE, WIDE_PASSES = (13, 9), 2  # regular exemplars: windows at the coarsest level; endless passes with each
LONGER = 3  # the same: times the steps after those windows, whose start makes m0 small
SMALLER = 0.8  # the same: of the training field's side, at equal msw and a seventh less work
BLOCK, COARSE_BLOCK = Size(256, 256), Size(128, 128)  # of the finest transported level's map in planes, of the others'


@dataclass(frozen=True)
class TextoConfig:
    """Everything that shapes a picture besides exemplar, size and seed."""

    #: freeze psi on training fields, so that pictures are windows of an endless plane
    endless: bool = False
    patch_size: int = 5
    #: the coarsest level's shorter side, in pixels, to the nearest octave
    coarsest_side: int = 16
    #: levels with at most this many exemplar patches are transported; the finer ones only corrected
    max_atoms: int = 10_000
    #: assign-and-average passes a transported level (balanced); quality grows slowly beyond. Levels of more than
    #: 4000 atoms, or of more than 65536 patches, get fewer of these costly passes
    passes: int = 24
    #: the same in endless mode, each with a frozen psi of its own
    endless_passes: int = 4
    #: patches between two moves of psi in balanced mode, at least: levels of more than 256 batches get larger ones,
    #: up to 512 patches. Smaller balances better and costs more calls
    batch: int = 64
    #: c of the dual ascent's step c m0 J / sqrt(t)
    step: float = 0.2
    #: corrections after the last pass of a transported level, under its psi
    transport_corrections: int = 3
    #: corrections a finer level towards the average of overlapping patches; they mend seams and jagged edges
    fine_votes: int = 3
    #: corrections after those, towards the copied pixels; more of them drift away from the transported shares
    fine_corrections: int = 2
    #: draws for each atom in the solve of a frozen psi
    samples_per_atom: int = 110
    #: side of the training field in exemplar sides (endless); below 2 psi fits the field instead of the law,
    #: and up to 10 pictures still get closer
    training_factor: int = 10
    #: large windows at the coarsest level: "auto" for one picture that is regular, "always" for one picture, "never"
    regular: str = "auto"

    def __post_init__(self) -> None:
        if self.patch_size % 2 == 0 or not 3 <= self.patch_size <= 15:
            raise ValueError(f"patch_size={self.patch_size} should be an odd number from 3 to 15")
        for name in ("passes", "endless_passes", "batch", "max_atoms", "coarsest_side", "training_factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 1")
        for name in ("transport_corrections", "fine_votes", "fine_corrections"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 0")
        if self.regular not in ("auto", "always", "never"):
            raise ValueError(f"regular={self.regular!r} should be auto, always or never")
        if not self.step > 0:
            raise ValueError(f"step={self.step} should be above 0")


@dataclass(frozen=True, eq=False)
class Brief:
    """What a balanced picture has to obey besides its size: its own guide, and where which exemplar goes.

    guide (H, W, G) uint8 goes with the guides of the material's sheets; bins (B, G) are codes that sort guides into
    classes, whose parts of the picture are then followed. shares (H, W, E) float: the part of each exemplar at each
    place, adding up to 1; they replace the material's shares there. H and W are those of the picture.
    """

    guide: np.ndarray | None = None
    bins: np.ndarray | None = None
    shares: np.ndarray | None = None
    #: between the material's two exemplars, 0 to 1: their coarse levels meet there
    morph: float | None = None


class Texto(TextureModel):
    """Patch optimal transport by source coordinates; see the module's docstring.

    synthesise() in balanced mode makes whole pictures; whatever sizes are multiples of 2^(levels-1) also wrap.
    In endless mode pictures are windows, with the top left corner at (0, 0), of the plane that render() shows.
    """

    method = "texto"
    config_type = TextoConfig
    takes_material = True

    def __init__(
        self,
        exemplar: Picture | Material,
        config: TextoConfig | None = None,
        device: str = "cpu",
        psi: dict[int | str, Tensor] | None = None,
        regular: bool | None = None,
    ) -> None:
        """psi: for each transported level (K, J) int32, frozen potentials, by _key(); None in balanced mode.

        regular: what the configuration leaves to the exemplar.
        """
        config = config or TextoConfig()
        super().__init__(exemplar, config, device)
        self.local = config.endless
        self.psi = psi
        if regular is None:  # None again where the atlas has to look
            regular = {"always": True, "auto": None}.get(config.regular, False) if self.material.plain else False
        self.atlas = Atlas(self.material, config.patch_size, config.coarsest_side, self.device, regular)
        self.regular = self.atlas.regular
        self.levels = self.atlas.levels
        #: the coarsest level with larger windows, largest first; empty unless the exemplar is regular
        self.wide = self.atlas.wide(WIDE) if self.regular else []

    @property
    def transported(self) -> list[Level]:
        """The levels where psi is solved, coarsest first."""
        return [s for s in reversed(self.levels) if s.n_atoms <= self.config.max_atoms or s is self.levels[-1]]

    @property
    def corrected(self) -> list[Level]:
        """The finer levels, coarse to fine."""
        return [s for s in reversed(self.levels) if s not in self.transported]

    # ---- fit, save, load

    @classmethod
    def fit(
        cls, exemplar: Picture, config: Any = None, *, seed: int = 0, device: str = "cpu", watch: Watch | None = None
    ) -> Texto:
        """Endless: solve the frozen potentials on a training field, a torus of training_factor exemplars a side.

        Balanced: nothing to learn beforehand, the pyramid is the model.
        """
        config = config or TextoConfig(endless=True)
        model = cls(exemplar, config, device)
        if config.endless:
            threads = torch.get_num_threads()
            here = model if model.device.type == "cpu" else cls(exemplar, config)  # for the same model everywhere
            with one_torch_thread():
                psi = here._train(seed, threads, watch or Watch())
            model.psi = {key: p.to(model.device) for key, p in psi.items()}
        return model

    def tensors(self) -> dict[str, Tensor]:
        return {f"psi.{key}": psi for key, psi in (self.psi or {}).items()}

    def _key(self, level: Level) -> int | str:
        """Under which the potentials of a level are kept: its number, for large windows "number.side"."""
        return f"{level.number}.{level.w}" if self._is_wide(level) else level.number

    def _is_wide(self, level: Level) -> bool:
        return level.w > self.config.patch_size

    def _endless_passes(self, level: Level) -> int:
        return WIDE_PASSES if self._is_wide(level) else self.config.endless_passes

    @classmethod
    def from_tensors(cls, exemplar: Picture, config: Any, tensors: Mapping[str, Tensor], device: str) -> Texto:
        if not config.endless:
            return cls(exemplar, config, device)
        # not asked again: what was learnt says it, and a file from before there was the question has no wide windows
        model = cls(exemplar, config, device, regular=any(name.count(".") == 2 for name in tensors))
        psi: dict[int | str, Tensor] = {}
        for level in [*model.wide, *model.transported]:
            key = model._key(level)
            found = tensors[f"psi.{key}"]
            expected = (model._endless_passes(level), level.n_atoms)
            if found.dtype != torch.int32 or tuple(found.shape) != expected:
                raise InputError(f"psi of level {key} should be int32 {expected}, got {tuple(found.shape)}")
            psi[key] = found.to(model.device)
        model.psi = psi
        return model

    # ---- pictures

    def synthesise(
        self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None, brief: Brief | None = None
    ) -> Synthesis:
        """One picture. brief: what a balanced one has to obey besides; see Brief."""
        watch = watch or Watch()
        period, threads = period_of(tile, size), torch.get_num_threads()
        evidence: list[dict[str, Any]] = []
        if brief is not None and self.config.endless:
            raise ValueError("an endless texture obeys no guide and no map of shares; take endless=False")
        with one_torch_thread():
            if self.config.endless:
                watch.step(0.0, str(size))
                maps = self._maps(seed, period, threads=threads, evidence=evidence)
            elif brief is not None or self.material.shares is not None:
                torus = self._obeying(size, seed, period, threads, brief or Brief(), evidence, watch)
                maps = partial(_torus_window, torus)
            else:
                maps = self._picture(size, seed, period, threads, evidence, watch.part(0, 0.9))
            source = maps(Region(0, 0, size.height, size.width))
        watch.step(1.0, "done")
        return self.cut_out(source, evidence)

    def cut_out(self, source: Tensor, evidence: list[dict[str, Any]]) -> Synthesis:
        """The picture, with all its maps, that a map of coordinates (H, W, 2) stands for."""
        sheet, at = self.atlas.split(source.cpu().numpy())
        pixels = self._pixels(source) if self.atlas.single else self.material.take(sheet, at, 0)
        n_maps = len(self.material.sheets[0].maps)
        others = tuple(self.material.take(sheet, at, number) for number in range(1, n_maps))
        named = at if self.atlas.single else np.concatenate([at, sheet[..., None].astype(at.dtype)], 2)
        return Synthesis(pixels, named, evidence, others)

    def plane(self, *, seed: int, period: Period = ENDLESS, number: int = 0, within: Region | None = None) -> Window:
        """See TextureModel.plane(). number: which of the material's maps is shown; they fit each other."""
        if not self.config.endless:
            return super().plane(seed=seed, period=period, number=number, within=within)
        return self._window(self._maps(seed, period, keep=True, within=within), number)

    def plane_bytes(self, within: Region) -> int:
        """Coordinates, 8 bytes each, in blocks of every transported level."""
        if not self.config.endless:
            return super().plane_bytes(within)
        total, needed = 0, self._needed(within, ENDLESS)
        for level in self.transported:
            here = needed[level.number]
            total += min(8 * here.size.pixels, most_kept(here, self._block(level), KEPT_BLOCKS, pixel_bytes=8))
        return total

    def render(self, region: Region, *, seed: int, period: Period = ENDLESS) -> Tensor:
        if not self.config.endless:
            return super().render(region, seed=seed, period=period)
        pixels = self._window(self._maps(seed, period, threads=torch.get_num_threads()))(region)
        return torch.from_numpy(to_unit(pixels)).permute(2, 0, 1).contiguous()

    def picture(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Window:
        """A balanced picture of that size, as a function from a region of it to its pixels.

        The transported levels are made here, once and whole; the finer ones when a region is asked for.
        """
        if self.config.endless:
            raise ValueError("endless pictures need no size; ask plane() for regions")
        if self.material.shares is not None:
            raise ValueError("shares are kept by pictures that are made whole; ask synthesise() for one")
        with one_torch_thread():
            return self._window(self._picture(size, seed, period_of(tile, size), 1, [], watch or Watch()))

    def _window(self, maps: Map, number: int = 0) -> Window:
        def window(region: Region) -> np.ndarray:
            with one_torch_thread():
                return self._pixels(maps(region), number)

        return window

    def _pixels(self, source: Tensor, number: int = 0) -> np.ndarray:
        """The pixels of a map at source, gathered where it is."""
        if source.device.type == "cpu" or not self.atlas.single:
            sheet, at = self.atlas.split(source.cpu().numpy())
            return self.material.take(sheet, at, number)
        pixels = self.material.sheets[0].maps[number].pixels
        signed = pixels.view(np.int16) if pixels.dtype == np.uint16 else pixels  # torch gathers no unsigned shorts
        return take(torch.from_numpy(signed).to(source.device), source).cpu().numpy().view(pixels.dtype)

    def halos(self) -> list[int]:
        """For each level, finest first: how far, in its pixels, a pixel of its map looks at the next coarser map.

        The last number, of the coarsest level, is how far it looks at noise.
        """
        c = self.config
        fine = (2 * c.fine_votes + c.fine_corrections) * (c.patch_size // 2)
        halos = [self._transport_halo if level in self.transported else fine for level in self.levels]
        number = self.levels[-1].number
        sizes = [level_size(sheet.size, number) for sheet in self.material.sheets]
        start = max(max(size.height, size.width) - 1 for size in sizes)
        start = start if len(sizes) == 1 else max(start, 2 * BLOB)
        return [*halos[:-1], halos[-1] + sum(self._wide_halo(level) for level in self.wide) + start]

    @staticmethod
    def _wide_halo(level: Level) -> int:
        return 2 * WIDE_PASSES * (level.w // 2)

    @property
    def _transport_halo(self) -> int:
        r, n = self.config.patch_size // 2, self.config.transport_corrections
        return (2 * self.config.endless_passes - 1) * r + (1 + (n - 1) * r if n else 0)

    @property
    def halo(self) -> int:
        """Output pixels around a region whose noise it depends on, one side, rounded up to the coarsest grid."""
        if not self.config.endless:
            return super().halo
        return sum((h + 1) * 2**s for s, h in enumerate(self.halos()))

    def estimate_seconds(self, size: Size) -> float:
        level = self.transported[-1]
        patches = windows(level.codes, level.w)[:1, :256].reshape(-1, level.index.y.shape[1])
        patches = patches.repeat(-(-512 // len(patches)), 1)[:512]
        psi = torch.zeros(level.n_atoms, device=self.device)
        level.assign(patches, psi)  # compiles
        began = time.perf_counter()
        for _ in range(4):
            level.assign(patches, psi).cpu()
        per_score = (time.perf_counter() - began) / (4 * len(patches) * level.n_atoms)
        c, largest = self.config, max(size.pixels, self.exemplar.size.pixels)
        seconds = 0.2 + largest * (0.6e-6 + 0.25e-6 * self.exemplar.channels)  # the finer levels
        field = c.training_factor**2 * self.exemplar.size.pixels if c.endless else 0
        for level in [*self.wide, *self.transported]:
            n_atoms, positions = level.n_atoms * (level.w / c.patch_size) ** 2, largest / 4**level.number
            if c.endless:  # psi is solved for each pass, then the field assigned, then the picture
                scores = c.samples_per_atom * level.n_atoms * n_atoms + (positions + field / 4**level.number) * n_atoms
                seconds += self._endless_passes(level) * scores * per_score
            else:
                batches = positions / max(c.batch, min(512, positions / 256))
                seconds += self._n_passes(level, positions) * (positions * n_atoms * per_score + batches * 70e-6)
        return seconds

    def _picture(
        self, size: Size, seed: int, period: Period, threads: int, evidence: list[dict[str, Any]], watch: Watch
    ) -> Map:
        """The map of a balanced picture, its transported levels done."""
        torus = self._balanced(size, seed, period, watch, evidence)
        watch.step(1.0, "finer levels")
        return self._finer(lambda region: _torus_window(torus, region), period, threads)

    def _finer(self, below: Map, period: Period, threads: int) -> Map:
        """From the map of the finest transported level to that of level 0."""
        for level in self.corrected:
            below = partial(self._corrected_map, level, below, period, threads)
        return below

    def _corrected_map(self, level: Level, below: Map, period: Period, threads: int, region: Region) -> Tensor:
        """A fine level's map on a region: the children of the coarser map, votes and corrections."""
        c, region = self.config, region.grow(self.halos()[level.number])
        ends, margin = uneven_ends(period, level.number), self._mending(level, period)
        source = self._children(level, below, period, region.grow(margin))
        if any(ends):
            source = mend(level, source, region.grow(margin), ends)
        for k in range(c.fine_votes + c.fine_corrections):
            if k < c.fine_votes:
                u = vote(level.codes, level.settled(source), level.w, threads=threads)
            else:
                u = take(level.codes, source)
            source = correct(u, source, level.codes, level.w, fix=level.fix, threads=threads)
        return source

    def _mending(self, level: Level, period: Period) -> int:
        """What is computed around a corrected level's region, besides its halo, to mend the ends of a period."""
        mended = level not in self.transported and any(uneven_ends(period, level.number))
        return 2 * (level.w // 2) * MENDING_PASSES if mended else 0

    def _children(self, level: Level, below: Map, period: Period, region: Region) -> Tensor:
        fine, coarse = level_period(period, level.number), level_period(period, level.number + 1)
        parents = coarser(region, fine, coarse)
        return children(below(parents), parents, region, level.size, fine, coarse)

    # ---- balanced: psi moves while the picture is made

    def _balanced(self, size: Size, seed: int, period: Period, watch: Watch, evidence: list[dict[str, Any]]) -> Tensor:
        """The map of the finest transported level on a torus; see tori()."""
        tori = self.tori(size, period)
        canvases, manner = [Canvas() for _ in tori], self.manner(1)
        painting = Painting(manner, seed, canvases, period, told=watch.step, evidence=evidence)
        wide, levels = (
            [self._where_faster(level, manner.ascent(level, tori[level.number].pixels).batch) for level in some]
            for some in (self.wide, self.transported)
        )
        return transport_all(painting, levels, self.start_on_torus(tori[-1], seed), wide).to(self.device)

    def _where_faster(self, level: Level, batch: int) -> Level:
        """The level, or its copy in main memory where batches are too small for a GPU; both give the same bits."""
        products = batch * level.n_atoms * level.codes.shape[2] * level.w**2
        here = self.device.type == "cpu" or products > SMALL_BATCH
        return level if here else self._in_main_memory[level.number, level.w]

    @cached_property
    def _in_main_memory(self) -> dict[tuple[int, int], Level]:
        return {(level.number, level.w): level.on_cpu() for level in [*self.wide, *self.transported]}

    def manner(self, threads: int) -> Manner:
        """How balanced pictures are painted with this configuration."""
        c = self.config

        def ascent(level: Level, n_patches: int) -> Ascent:
            step = c.step * (LONGER if self.regular and not self._is_wide(level) else 1)
            return Ascent(self._n_passes(level, n_patches), max(c.batch, min(512, n_patches // 256)), step)

        return Manner(ascent, c.transport_corrections, c.fine_votes, c.fine_corrections, threads)

    def _n_passes(self, level: Level, n_patches: float) -> int:
        share = min(1.0, 4000 / level.n_atoms) * min(1.0, math.sqrt(65536 / n_patches))
        return min(self.config.passes, max(6, round(self.config.passes * share)))

    def tori(self, size: Size, period: Period, margin: int = 0, *, least: bool = True) -> list[Size]:
        """The torus of each level, finest first, on which a balanced picture of that size is made.

        It has the period on its axes; on others it is margin pixels of the coarsest level larger than size, and at
        least as large as the exemplar unless least is False.
        """
        coarsest = self.levels[-1].number
        need, repeat = level_size(size, coarsest), level_period(period, coarsest)
        sizes = [level_size(sheet.size, coarsest) for sheet in self.material.sheets] if least else [Size(1, 1)]
        height = repeat[0] or max(need.height + margin, max(n.height for n in sizes))
        width = repeat[1] or max(need.width + margin, max(n.width for n in sizes))
        found = []
        for s in range(len(self.levels)):
            rows, columns = level_period(period, s)
            found.append(Size(rows or height << (coarsest - s), columns or width << (coarsest - s)))
        return found

    def start_on_torus(self, canvas: Size, seed: int, zone: Tensor | None = None) -> Tensor:
        """Codes (H, W, C) to begin with at the coarsest level; zone (H, W): the exemplar of each pixel."""

        return self._start(NoiseField(seed, self.levels[-1].number), _wrapped(canvas), zone)

    def _start(self, noise: NoiseField, values: Values, zone: Tensor | None = None) -> Tensor:
        """Codes (H, W, C) to begin with at the coarsest level: the exemplar's Gaussian texture.

        values(noise, rows, columns) is the noise on the wanted region with that many more rows and columns, which may
        lie before or after it. Several sheets have their fields in blobs, in the sheets' shares.
        """
        coarsest, fields, owners = self.levels[-1], [], []
        for k, sheet in enumerate(self.material.sheets):
            if not self.atlas.copied[k]:
                continue
            region = self.atlas.window(k, coarsest.number)
            codes = coarsest.codes[region.top : region.bottom, : region.width].permute(2, 0, 1)
            grown = torch.from_numpy(values(noise, region.height - 1, region.width - 1)).to(self.device)
            fields.append(exact_field(codes, grown).permute(1, 2, 0))
            owners.append(sheet.exemplar)
        if len(fields) == 1:
            return fields[0].contiguous()
        if zone is not None:
            out = fields[0]
            for field, owner in zip(fields, owners, strict=True):
                out = torch.where((zone == owner)[..., None], field, out)
            return out.contiguous()
        return _mosaic(fields, torch.from_numpy(self._blobs(noise, values)).to(self.device), self._parts())

    def _blobs(self, noise: NoiseField, values: Values) -> np.ndarray:
        """Smooth Gaussian integers on the region of values."""
        blobs = values(NoiseField(noise.seed, noise.level, 99, noise.period), 2 * BLOB, 2 * BLOB).astype(np.int64)
        for _ in range(2):
            blobs = np.lib.stride_tricks.sliding_window_view(blobs, (BLOB + 1, BLOB + 1)).sum((-1, -2))
        return blobs

    def _parts(self) -> list[float]:
        """The share of each sheet in the picture."""
        sheets = [s for s, copied in zip(self.material.sheets, self.atlas.copied, strict=True) if copied]
        if self.material.shares is None:
            return [1 / len(sheets)] * len(sheets)
        n = [sum(other.exemplar == s.exemplar for other in sheets) for s in sheets]
        return [self.material.shares[s.exemplar] / k for s, k in zip(sheets, n, strict=True)]

    # ---- balanced, and obeying something besides

    def _obeying(
        self,
        size: Size,
        seed: int,
        period: Period,
        threads: int,
        brief: Brief,
        evidence: list[dict[str, Any]],
        watch: Watch,
    ) -> Tensor:
        """The map of level 0 on a torus, as the brief wants it."""
        tori = self.tori(size, period, margin=1)
        canvases = self._canvases(tori, brief, size, seed)
        painting = Painting(
            self.manner(threads), seed, canvases, period, size=size, told=watch.part(0, 0.9).step, evidence=evidence
        )
        transported = self.transported
        if brief.bins is not None:
            transported = [_with_masses(level, canvases[level.number], brief.bins) for level in transported]
        if brief.morph is None:
            u = self.start_on_torus(tori[-1], seed, canvases[-1].zone)
        else:
            u = self._between(painting, tori, brief.morph)
            transported = transported[-1:]
        wide = self.wide if brief.morph is None else []
        source = transport_all(painting, transported, canvases[transported[0].number].impose(u), wide)
        return painting.finish(self.levels[0], correct_all(painting, self.corrected, source, watch))

    def _between(self, painting: Painting, tori: list[Size], t: float) -> Tensor:
        """What the finest transported level starts with when it lies between two exemplars.

        At each coarser level every patch goes to a patch of either exemplar, and to the point t on the line between
        them: a step towards the barycentre of the two patch laws for which the current picture is the common source.
        """
        coarsest = self.levels[-1]
        ends = [self.atlas.window(k, coarsest.number) for k in (0, 1)]
        a, b = (coarsest.codes[w.top : w.bottom, : w.width].permute(2, 0, 1) for w in ends)
        noise = NoiseField(painting.seed, coarsest.number).normal(Region(0, 0, *astuple(tori[-1])))
        u = _to_codes(gaussian_between(a, b, t, torch.from_numpy(noise).to(self.device)).float())
        for level in self.transported[:-1]:
            alone = [_of_exemplar(level, e) for e in (0, 1)]
            for _ in range(BETWEEN):
                maps = [Painting(painting.manner, painting.seed, self._free).transport(one, u) for one in alone]
                u = _blend([take(level.codes, source) for source in maps], t)
            finer = self.levels[level.number - 1]
            plain = Painting(painting.manner, painting.seed, self._free, painting.period)
            u = _blend([take(finer.codes, finer.settled(plain.down(finer, source))) for source in maps], t)
        return u

    @property
    def _free(self) -> list[Canvas]:
        return [Canvas() for _ in self.levels]

    def _canvases(self, tori: list[Size], brief: Brief, size: Size, seed: int) -> list[Canvas]:
        guides: list[Tensor | None] = [None] * len(tori)
        if brief.guide is not None:
            guides = [_to_codes(u).to(self.device) for u in _laid(brief.guide, tori)]
        if self.material.shares is None:
            return [Canvas(guide=guide) for guide in guides]
        if brief.morph is not None:
            wanted = torch.tensor([self.material.shares], dtype=torch.float64, device=self.device)
            return [Canvas(guide=guide, wanted=wanted) for guide in guides]
        here = self.material.shares if brief.shares is None else brief.shares
        blobs = self._blobs(NoiseField(seed, len(tori) - 1), _wrapped(tori[-1]))
        laid = [None] * len(tori) if brief.shares is None else _laid(brief.shares, tori)
        canvases = []
        for level, (guide, torus, share) in enumerate(zip(guides, tori, laid, strict=True)):
            parts = torch.tensor(here)[:, None, None] if share is None else share
            zone = _zones(_stretched(blobs, torus), parts.double(), level_size(size, level))
            wanted = self._wanted(0.05 if brief.shares is not None else 0.15)
            canvases.append(Canvas(guide=guide, zone=zone.to(self.device), wanted=wanted))
        return canvases

    def _wanted(self, mixed: float) -> Tensor:
        """(Z, E) what of each exemplar goes into the zone of each: its own, but for a part that makes borders free."""
        shares = torch.tensor(self.material.shares, dtype=torch.float64, device=self.device)
        return (1 - mixed) * torch.eye(len(shares), dtype=torch.float64, device=self.device) + mixed * shares

    # ---- endless: psi frozen, everything local

    def _maps(
        self,
        seed: int,
        period: Period,
        *,
        keep: bool = False,
        within: Region | None = None,
        threads: int = 1,
        evidence: list[dict[str, Any]] | None = None,
    ) -> Map:
        """The map of level 0 on any region of the plane, by computing at each level what the next one needs.

        keep: the transported levels in blocks that are kept, for many regions; otherwise just what is asked for.
        within: what holds those regions; blocks end where nothing in it needs them.
        """
        assert self.psi is not None, "an endless model is made by fit() or load()"
        coarsest = self.levels[-1]
        noise = NoiseField(seed, coarsest.number, period=level_period(period, coarsest.number))
        below: Map = partial(self._start_on_plane, noise)
        needed = None if within is None else self._needed(within, period)
        for level in self.wide:
            below = partial(self._overview, level, below, threads)
        for level in self.transported:
            below = partial(self._transported_map, level, below, period, threads, evidence)
            if keep:
                below = _in_blocks(
                    below,
                    self._block(level),
                    level_period(period, level.number),
                    None if needed is None else needed[level.number],
                    self.device,
                )
        return self._finer(below, period, threads)

    def _transported_map(
        self,
        level: Level,
        below: Map,
        period: Period,
        threads: int,
        evidence: list[dict[str, Any]] | None,
        region: Region,
    ) -> Tensor:
        """A transported level's map on a region: from the coarser map, at the coarsest level from noise."""
        grown = region.grow(self._transport_halo)
        u = below(grown) if level is self.levels[-1] else take(level.codes, self._children(level, below, period, grown))
        source = self._transport(level, u, threads)
        if evidence is not None:
            evidence.append(account(level, source))
        return source

    def _block(self, level: Level) -> Size:
        return BLOCK if level is self.transported[-1] else COARSE_BLOCK

    def _needed(self, within: Region, period: Period) -> list[Region]:
        """Of each level, finest first: the region whose map is needed for level 0's on that region."""
        found = [within]
        for level, halo in list(zip(self.levels, self.halos(), strict=True))[:-1]:
            grown = found[-1].grow(halo + self._mending(level, period))
            found.append(coarser(grown, level_period(period, level.number), level_period(period, level.number + 1)))
        return found

    def _overview(self, level: Level, below: Map, threads: int, region: Region) -> Tensor:
        """The codes on a region of the coarsest level that the passes with large windows leave."""
        u = below(region.grow(self._wide_halo(level)))
        for search in self._searches[self._key(level)]:
            u = vote(level.codes, level.coordinates(_assign_all(search, u, level.w, threads)), level.w, threads=threads)
        return u

    def _start_on_plane(self, noise: NoiseField, region: Region) -> Tensor:
        def before(noise: NoiseField, rows: int, columns: int) -> np.ndarray:
            grown = Region(region.top - rows, region.left - columns, region.height + rows, region.width + columns)
            return noise.integers(grown)

        return self._start(noise, before)

    def _transport(self, level: Level, u: Tensor, threads: int) -> Tensor:
        """Passes and corrections of one level with its frozen potentials; the picture shrinks by the halo."""
        assert self.psi is not None
        searches = self._searches[level.number]
        for k, search in enumerate(searches):
            source = level.coordinates(_assign_all(search, u, level.w, threads))
            if k < len(searches) - 1:
                u = vote(level.codes, source, level.w, threads=threads)
        psi = level.spread(self.psi[level.number][-1])
        for _ in range(self.config.transport_corrections):
            source = correct(u, source, level.codes, level.w, psi, fix=level.fix, threads=threads)
            u = take(level.codes, source)
        return source

    @cached_property
    def _searches(self) -> dict[int | str, list[NearestIndex]]:
        assert self.psi is not None
        keyed = {self._key(level): level for level in [*self.wide, *self.transported]}
        return {key: level.searches(self.psi[key]) for key, level in keyed.items()}

    def _train(self, seed: int, threads: int, watch: Watch) -> dict[int | str, Tensor]:
        """Frozen potentials for every (level, pass), each solved on the training field as it then is."""
        factor = self.config.training_factor
        factor = math.ceil(factor * SMALLER) if self.regular else factor
        coarsest = self.levels[-1]
        u = self.start_on_torus(Size(factor * coarsest.size.height, factor * coarsest.size.width), seed)
        source, found = None, dict[int | str, Tensor]()
        for level in self.wide:
            found[self._key(level)], u, source = self._train_level(level, u, seed, threads, watch.part(0, 0))
            u, source = vote(level.codes, wrap(source, level.w // 2), level.w), None
        for i, level in enumerate(self.transported):
            if source is not None:
                whole = Region(0, 0, 2 * source.shape[0], 2 * source.shape[1])
                source = children(source, coarser(whole), whole, level.size)
                u = take(level.codes, source)
            part = watch.part((4.0**i - 1) / 4 ** len(self.transported), 4.0 ** (i + 1 - len(self.transported)))
            found[level.number], u, source = self._train_level(level, u, seed, threads, part)
            if i == len(self.transported) - 1:
                break  # nobody looks at the field any more
            psi = level.spread(found[level.number][-1])
            for _ in range(self.config.transport_corrections):
                source = correct(wrap(u, level.w // 2), wrap(source, 1), level.codes, level.w, psi, fix=level.fix)
                u = take(level.codes, source)
        return found

    def _train_level(
        self, level: Level, u: Tensor, seed: int, threads: int, watch: Watch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Potentials (K, J) of one level, and the field before its last assignment and the map after it.

        That map is left out, empty, at the finest transported level.
        """
        n_passes, potentials = self._endless_passes(level), []
        last, source = level is self.transported[-1], torch.empty(0)
        generator = torch.Generator().manual_seed(seed % 2**63)
        for k in range(n_passes):
            watch.step(k / n_passes, f"training level {level.number}, pass {k + 1} of {n_passes}")
            potentials.append(self._solve_frozen(level, u, generator).round().to(torch.int32))
            if last and k == n_passes - 1:
                break
            search = level.searches(potentials[-1][None])[0]
            source = level.coordinates(_assign_all(search, wrap(u, level.w // 2), level.w, threads))
            if k < n_passes - 1:
                u = vote(level.codes, wrap(source, level.w // 2), level.w)
        return torch.stack(potentials), u, source

    def _solve_frozen(self, level: Level, u: Tensor, generator: torch.Generator) -> Tensor:
        """Potential of the transport from the law of u's patches (a torus) onto the level's atoms.

        Every pass is solved from the start: averaging changes the law so much that the last pass's psi misleads.
        """
        height, width = u.shape[:2]
        views = windows(wrap(u, level.w // 2), level.w)

        def sample(n: int, generator: torch.Generator) -> Tensor:
            rows = torch.randint(0, height * width, (n,), generator=generator).to(u.device)
            return centred(views[rows // width, rows % width].reshape(n, -1))

        c = self.config
        budget = c.samples_per_atom * level.n_atoms
        solution = solve(
            sample,
            level.index.y,
            level.mass,
            tol=1e-9,
            max_samples=budget,
            step=c.step,
            generator=generator,
            centre=False,
        )
        return solution.psi


def _assign_all(search: NearestIndex, u: Tensor, w: int, threads: int) -> Tensor:
    """Winners (H - w + 1, W - w + 1) of all patches of u (H, W, C), codes."""
    views = windows(u, w)
    winner = torch.empty(views.shape[:2], dtype=torch.long, device=u.device)
    d = views[0, 0].numel()
    step = max(1, (min(8192, 600_000 // d) if u.device.type == "cpu" else 2**18) // views.shape[1])

    def band(start: int, stop: int) -> None:
        for top in range(start, stop, step):
            rows = views[top : min(top + step, stop)]
            patches = centred(rows.reshape(-1, d))
            winner[top : top + len(rows)] = search.argmin(patches, check=False).view(len(rows), -1)

    share_rows(len(views), threads if u.device.type == "cpu" else 1, band)
    return winner


def _in_blocks(maps: Map, block: Size, period: Period, within: Region | None, device: torch.device) -> Map:
    blocks = Blocks(lambda region: maps(region).cpu().numpy(), block, period, within=within, kept=KEPT_BLOCKS)
    return lambda region: torch.from_numpy(blocks.window(region)).to(device)


def _torus_window(torus: Tensor, region: Region) -> Tensor:
    rows = torch.arange(region.top, region.top + region.height, device=torus.device).remainder(torus.shape[0])
    columns = torch.arange(region.left, region.left + region.width, device=torus.device).remainder(torus.shape[1])
    return torus[rows][:, columns]


def transport_all(painting: Painting, levels: list[Level], u: Tensor, wide: Sequence[Level] = ()) -> Tensor:
    """The map of the last of the transported levels, from the codes (H, W, C) that the first one starts with.

    wide: the first one with larger windows, which see the picture before it.
    """
    source = None
    work = [level.n_atoms * level.w**2 * 4.0**-level.number for level in [*wide, *levels]]
    done = 0.0
    for level, share in zip(wide, work, strict=False):
        u = painting.overview(level, u.to(level.codes.device), done / sum(work), (done + share) / sum(work))
        done += share
    for level, share in zip(levels, work[len(wide) :], strict=True):
        if source is not None:
            source = painting.down(level, source.to(level.codes.device))
            u = take(level.codes, source if level.fix is None else level.settled(source))
        u = u.to(level.codes.device)
        source = painting.transport(level, u, done / sum(work), (done + share) / sum(work))
        done += share
    assert source is not None
    return source


def correct_all(painting: Painting, levels: list[Level], source: Tensor, watch: Watch) -> Tensor:
    """The map of the last of the corrected levels, from that of the last transported one."""
    for level in levels:
        watch.step(1 - 0.1 * 4.0**-level.number, f"level {level.number}: corrections")
        source = painting.correct(level, painting.down(level, source))
    return source


def _wrapped(torus: Size) -> Values:
    def values(noise: NoiseField, rows: int, columns: int) -> np.ndarray:
        found = noise.integers(Region(0, 0, torus.height, torus.width))
        return np.pad(found, ((0, rows), (0, columns)), mode="wrap")

    return values


def _mosaic(fields: list[Tensor], blobs: Tensor, parts: list[float]) -> Tensor:
    """Each pixel of the field (H, W, C) whose turn it is by blobs (H, W), smooth Gaussian integers."""
    triangle = np.convolve(np.ones(BLOB + 1), np.ones(BLOB + 1))
    deviation = UNIT * float(np.square(triangle).sum())
    out, below = fields[0], 0.0
    for field, part in zip(fields[1:], parts, strict=False):
        below += part
        limit = math.floor(deviation * NormalDist().inv_cdf(min(max(below, 1e-9), 1 - 1e-9)))
        out = torch.where((blobs > limit)[..., None], field, out)
    return out.contiguous()


def _laid(values: np.ndarray, tori: list[Size]) -> list[Tensor]:
    """(h, w, C) on the torus of each level: (C, H, W) float; beyond the borders it is mirrored."""
    height, width = (max(n, m) for n, m in zip(astuple(tori[0]), values.shape[:2], strict=True))
    grown = np.pad(values, ((0, height - values.shape[0]), (0, width - values.shape[1]), (0, 0)), mode="symmetric")
    planes = torch.from_numpy(np.ascontiguousarray(grown.transpose(2, 0, 1))).float()
    return [u[:, : t.height, : t.width] for u, t in zip(pyramid(planes, len(tori)), tori, strict=True)]


def _to_codes(u: Tensor) -> Tensor:
    return rounded(u).permute(1, 2, 0).contiguous()


def _of_exemplar(level: Level, exemplar: int) -> Level:
    """The level with the atoms of one exemplar only."""
    assert level.atom is not None
    assert level.owner is not None
    r = level.w // 2
    own = level.owner[r : level.size.height - r] == exemplar
    return Level(level.number, level.codes, level.w, level.atom & own[:, None], None, level.owner)


def _blend(pictures: list[Tensor], t: float) -> Tensor:
    a, b = (u.float() for u in pictures)
    return rounded((1 - t) * a + t * b)


def _stretched(blobs: np.ndarray, torus: Size) -> np.ndarray:
    """A periodic (h, w) field on a finer torus, linear in between."""
    for axis, n in enumerate((torus.height, torus.width)):
        m = blobs.shape[axis]
        at = (np.arange(n) + 0.5) * m / n - 0.5
        low = np.floor(at).astype(np.int64)
        part = (at - low).reshape(-1, 1) if axis == 0 else at - low
        blobs = blobs.take(low % m, axis) * (1 - part) + blobs.take((low + 1) % m, axis) * part
    return blobs


def _zones(blobs: np.ndarray, shares: Tensor, size: Size) -> Tensor:
    """(H, W) uint8: whose turn it is by smooth blobs (H, W); over the part of that size in shares (E, H or 1, ...).

    Where the shares differ from place to place, the blobs are moved a little until their sums are right.
    """
    within = np.sort(blobs[: size.height, : size.width].reshape(-1))
    rank = torch.from_numpy(np.searchsorted(within, blobs, side="left") / len(within))
    below = shares.cumsum(0)[:-1]
    part = (slice(0, size.height), slice(0, size.width))
    wanted = shares[0].expand(rank.shape)[part].mean().item()
    low, high = -1.0, 1.0
    for _ in range(40):
        shift = (low + high) / 2
        first = (rank + shift < below[0])[part].double().mean().item()
        low, high = (shift, high) if first > wanted else (low, shift)
    return (rank + high >= below).sum(0).to(torch.uint8)


def _with_masses(level: Level, canvas: Canvas, bins: np.ndarray) -> Level:
    """The level with the parts that the classes of guides have in the canvas, shared by each class's atoms."""
    assert canvas.guide is not None
    centres = torch.from_numpy(bins).to(level.codes.device).float()

    def counted(guides: Tensor) -> tuple[Tensor, Tensor]:
        nearest = torch.cat([torch.cdist(part.float(), centres).argmin(1) for part in guides.split(1 << 16)])
        return nearest, torch.bincount(nearest, minlength=len(centres)).double()

    at = level.coordinates(torch.arange(level.n_atoms, device=level.codes.device)).long()
    own, n_own = counted(level.codes[at[:, 0], at[:, 1], -canvas.guide.shape[2] :])
    _, n_wanted = counted(canvas.guide.reshape(-1, canvas.guide.shape[2]))
    mass = (n_wanted / n_own.clamp(min=1))[own]
    mass = mass if level.mass is None else mass * level.mass
    found = copy(level)
    found.mass = mass / mass.sum()
    return found
