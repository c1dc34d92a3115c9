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

Two modes. *Balanced* solves psi on the very picture being made (on a torus, so there are no borders to smear): its
shares are as equal as they can be. *Endless* freezes psi for each level and pass on a training field; a picture is
then a local function of addressed noise on an infinite plane, and any window of it can be rendered alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn.adsn import exact_field
from texsyn.blocks import ENDLESS, Blocks, Period, period_of, share_rows
from texsyn.coordinates import children, correct, inside, take, vote, wrap
from texsyn.images import InputError, Picture, Region, Size, to_unit
from texsyn.models.base import Synthesis, TextureModel, Watch, Window
from texsyn.noise import NoiseField
from texsyn.ot.nearest import NearestIndex, one_torch_thread
from texsyn.ot.semidiscrete import solve
from texsyn.patches import windows
from texsyn.pyramid import coarser, level_period, level_size, n_levels_for, pyramid

Map = Callable[[Region], Tensor]  #: from a region of one level to its source coordinates (H, W, 2)
BLOCK, COARSE_BLOCK = Size(256, 256), Size(128, 128)  # of the finest transported level's map in planes, of the others'
MENDED, MENDING_PASSES, MENDING_ATOMS = 4, 3, 65536  # see Texto._mend
MAX_COARSEST_ATOMS = 40_000  # beyond it (very long strips) one pass over the coarsest level would take minutes


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

    def __post_init__(self) -> None:
        if self.patch_size % 2 == 0 or not 3 <= self.patch_size <= 15:
            raise ValueError(f"patch_size={self.patch_size} should be an odd number from 3 to 15")
        for name in ("passes", "endless_passes", "batch", "max_atoms", "coarsest_side", "training_factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 1")
        for name in ("transport_corrections", "fine_votes", "fine_corrections"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 0")
        if not self.step > 0:
            raise ValueError(f"step={self.step} should be above 0")


def matching_codes(exemplar: Picture) -> np.ndarray:
    """(h, w, C) uint8: what patches are compared on. Pixels are copied, so this limits decisions, never the output.

    The channels' common range is stretched to 0..255 (for floats without the outermost 0.05 %, so that a few bright
    pixels do not flatten the rest); colour is weighted by alpha, so that what is transparent does not matter.
    """
    values = to_unit(exemplar.pixels).astype(np.float64)
    tail = 0.05 if exemplar.pixels.dtype == np.float32 else 0.0
    low, high = np.percentile(values, [tail, 100 - tail]) if tail else (values.min(), values.max())
    if exemplar.has_alpha:
        low, high = min(low, 0.0), max(high, 1.0)
        values[..., :-1] *= values[..., -1:]
    gain = 255 / (high - low) if high > low else 1.0
    return np.floor(np.clip((values - low) * gain, 0, 255) + 0.5).astype(np.uint8)


class Level:
    """One scale of the exemplar: its 8-bit codes, and its patches as atoms for transport."""

    backend = "auto"  # of ot.nearest; all of them give the same bits here

    def __init__(self, number: int, codes: Tensor, w: int) -> None:
        self.number, self.codes, self.w = number, codes, w
        self.size = Size(*codes.shape[:2])
        self.per_row = self.size.width - w + 1
        self.n_atoms = (self.size.height - w + 1) * self.per_row

    @cached_property
    def index(self) -> NearestIndex:
        atoms = windows(self.codes, self.w).reshape(self.n_atoms, -1)
        return NearestIndex(_centred(atoms), backend=self.backend, centre=False)

    def assign(self, patches: Tensor, psi: Tensor) -> Tensor:
        """Winner among the atoms, (N,), for patches (N, C w w) of codes. One thread at a time: psi is kept inside."""
        self.index.set_bias(psi.float(), check=False)
        return self.index.argmin(_centred(patches), check=False)

    def searches(self, potentials: Tensor) -> list[NearestIndex]:
        """An index for each row of potentials (K, J), for any number of threads."""
        found = []
        for psi in potentials:
            found.append(NearestIndex(self.index.y, backend=self.backend, centre=False))
            found[-1].set_bias(psi.float())
        return found

    def nearest(self, patches: Tensor) -> Tensor:
        """Coordinates (N, 2) of the nearest of the atoms, of every n-th where they are more than MENDING_ATOMS."""
        return self.coordinates(self._some.argmin(_centred(patches), check=False) * self._stride)

    @property
    def _stride(self) -> int:
        return -(-self.n_atoms // MENDING_ATOMS)

    @cached_property
    def _some(self) -> NearestIndex:
        atom = torch.arange(0, self.n_atoms, self._stride, device=self.codes.device)
        views = windows(self.codes, self.w)
        atoms = views[atom // self.per_row, atom % self.per_row].reshape(len(atom), -1)
        return NearestIndex(_centred(atoms), backend=self.backend, centre=False)

    def coordinates(self, atom: Tensor) -> Tensor:
        """Exemplar coordinates (..., 2) int32 of the atoms' centres."""
        r = self.w // 2
        return torch.stack([atom // self.per_row + r, atom % self.per_row + r], -1).to(torch.int32)

    def atoms_of(self, source: Tensor) -> Tensor:
        """The inverse of coordinates()."""
        r = self.w // 2
        return (source[..., 0].long() - r) * self.per_row + source[..., 1].long() - r


def _centred(patches: Tensor) -> Tensor:
    """Codes 0..255 as float32 in -128..127: scores between such patches are exact in any order of summation."""
    return patches.float() - 128


class Texto(TextureModel):
    """Patch optimal transport by source coordinates; see the module's docstring.

    synthesise() in balanced mode makes whole pictures; whatever sizes are multiples of 2^(levels-1) also wrap.
    In endless mode pictures are windows, with the top left corner at (0, 0), of the plane that render() shows.
    """

    method = "texto"
    config_type = TextoConfig

    def __init__(
        self,
        exemplar: Picture,
        config: TextoConfig | None = None,
        device: str = "cpu",
        psi: dict[int, Tensor] | None = None,
    ) -> None:
        """psi: for each transported level (K, J) int32, frozen potentials; None in balanced mode."""
        config = config or TextoConfig()
        super().__init__(exemplar, config, device)
        self.local = config.endless
        self.psi = psi
        smallest = max(config.patch_size + 3, 8)
        if min(exemplar.size.height, exemplar.size.width) < smallest:
            raise InputError(
                f"{exemplar.name}: patch_size={config.patch_size} needs a picture of at least {smallest}x{smallest}, "
                f"got {exemplar.size}"
            )
        n_levels = n_levels_for(exemplar.size, max(config.coarsest_side, smallest))
        while n_levels > 1 and min(astuple(level_size(exemplar.size, n_levels - 1))) < smallest:
            n_levels -= 1  # the nearest octave can fall below a large patch
        codes = torch.from_numpy(matching_codes(exemplar)).permute(2, 0, 1).float()
        rounded = [(u + 0.5).floor().clamp(0, 255).to(torch.uint8) for u in pyramid(codes, n_levels)]
        self.levels = [
            Level(s, u.permute(1, 2, 0).contiguous().to(self.device), config.patch_size) for s, u in enumerate(rounded)
        ]
        if self.levels[-1].n_atoms > MAX_COARSEST_ATOMS:
            raise InputError(f"{exemplar.name}: a strip of {exemplar.size} is too long for its width; crop it shorter")

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
            model.psi = {number: p.to(model.device) for number, p in psi.items()}
        return model

    def tensors(self) -> dict[str, Tensor]:
        return {f"psi.{number}": psi for number, psi in (self.psi or {}).items()}

    @classmethod
    def from_tensors(cls, exemplar: Picture, config: Any, tensors: Mapping[str, Tensor], device: str) -> Texto:
        model = cls(exemplar, config, device)
        if not config.endless:
            return model
        psi = {}
        for level in model.transported:
            found = tensors[f"psi.{level.number}"]
            expected = (config.endless_passes, level.n_atoms)
            if found.dtype != torch.int32 or tuple(found.shape) != expected:
                raise InputError(f"psi of level {level.number} should be int32 {expected}, got {tuple(found.shape)}")
            psi[level.number] = found.to(model.device)
        model.psi = psi
        return model

    # ---- pictures

    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        watch = watch or Watch()
        period, threads = period_of(tile, size), torch.get_num_threads()
        evidence: list[dict[str, Any]] = []
        with one_torch_thread():
            if self.config.endless:
                watch.step(0.0, str(size))
                maps = self._maps(seed, period, threads=threads, evidence=evidence)
            else:
                maps = self._picture(size, seed, period, threads, evidence, watch.part(0, 0.9))
            source = maps(Region(0, 0, size.height, size.width))
        watch.step(1.0, "done")
        return Synthesis(self._pixels(source), source.cpu().numpy(), evidence)

    def plane(self, *, seed: int, period: Period = ENDLESS) -> Window:
        if not self.config.endless:
            return super().plane(seed=seed, period=period)
        return self._window(self._maps(seed, period, keep=True))

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
        with one_torch_thread():
            return self._window(self._picture(size, seed, period_of(tile, size), 1, [], watch or Watch()))

    def _window(self, maps: Map) -> Window:
        def window(region: Region) -> np.ndarray:
            with one_torch_thread():
                return self._pixels(maps(region))

        return window

    def _pixels(self, source: Tensor) -> np.ndarray:
        """The exemplar's pixels at source, gathered where it is."""
        pixels = self.exemplar.pixels
        if source.device.type == "cpu":
            at = source.numpy()
            taken: np.ndarray = pixels[at[..., 0], at[..., 1]]
            return taken
        signed = pixels.view(np.int16) if pixels.dtype == np.uint16 else pixels  # torch gathers no unsigned shorts
        return take(torch.from_numpy(signed).to(source.device), source).cpu().numpy().view(pixels.dtype)

    def halos(self) -> list[int]:
        """For each level, finest first: how far, in its pixels, a pixel of its map looks at the next coarser map.

        The last number, of the coarsest level, is how far it looks at noise.
        """
        c = self.config
        fine = (2 * c.fine_votes + c.fine_corrections) * (c.patch_size // 2)
        halos = [self._transport_halo if level in self.transported else fine for level in self.levels]
        coarsest = self.levels[-1].size
        return [*halos[:-1], halos[-1] + max(coarsest.height, coarsest.width) - 1]

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
        for level in self.transported:
            n_atoms, positions = level.n_atoms, largest / 4**level.number
            if c.endless:  # psi is solved for each pass, then the field assigned, then the picture
                scores = c.samples_per_atom * n_atoms**2 + (positions + field / 4**level.number) * n_atoms
                seconds += c.endless_passes * scores * per_score
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
        ends = _uneven_ends(period, level.number)
        margin = 2 * (level.w // 2) * MENDING_PASSES if any(ends) else 0
        source = self._children(level, below, period, region.grow(margin))
        if any(ends):
            source = self._mend(level, source, region.grow(margin), ends)
        for k in range(c.fine_votes + c.fine_corrections):
            if k < c.fine_votes:
                u = vote(level.codes, inside(source, level.size, level.w), level.w, threads=threads)
            else:
                u = take(level.codes, source)
            source = correct(u, source, level.codes, level.w, threads=threads)
        return source

    def _mend(self, level: Level, source: Tensor, region: Region, ends: Period) -> Tensor:
        """source (H, W, 2) on a region, with the places where uneven periods end made anew; it shrinks by the margin.

        There a row or column of children is missing or too many, and corrections alone would leave a straight seam. A
        few rounds of nearest patches and votes, on a band of MENDED pixels to each side, find patches that span it.
        """
        r = level.w // 2
        for _ in range(MENDING_PASSES):
            u = vote(level.codes, inside(source, level.size, level.w), level.w)
            region, source = region.grow(-2 * r), source[2 * r : -2 * r, 2 * r : -2 * r].clone()
            rows, columns = _near_the_end(region, ends)
            views = windows(u, level.w)
            for where in (rows[:, None] | columns[None, :]).to(u.device).nonzero().split(8192):
                y, x = where[:, 0], where[:, 1]
                source[y, x] = level.nearest(views[y, x].reshape(len(where), -1))
        return source

    def _children(self, level: Level, below: Map, period: Period, region: Region) -> Tensor:
        fine, coarse = level_period(period, level.number), level_period(period, level.number + 1)
        parents = coarser(region, fine, coarse)
        return children(below(parents), parents, region, level.size, fine, coarse)

    # ---- balanced: psi moves while the picture is made

    def _balanced(self, size: Size, seed: int, period: Period, watch: Watch, evidence: list[dict[str, Any]]) -> Tensor:
        """The map of the finest transported level on a torus.

        The torus has the period on its axes; on others it is at least as large as size and as the exemplar.
        """
        coarsest = self.levels[-1]
        need, repeat = level_size(size, coarsest.number), level_period(period, coarsest.number)
        height, width = (
            repeat[0] or max(need.height, coarsest.size.height),
            repeat[1] or max(need.width, coarsest.size.width),
        )
        u = self._start_on_torus(Size(height, width), seed)
        source = None
        work = [s.n_atoms * 4.0**-s.number for s in self.transported]
        done = 0.0
        for level, share in zip(self.transported, work, strict=True):
            if source is not None:
                fine, coarse = level_period(period, level.number), level_period(period, level.number + 1)
                whole = Region(0, 0, fine[0] or 2 * source.shape[0], fine[1] or 2 * source.shape[1])
                source = children(source, coarser(whole, fine, coarse), whole, level.size, fine, coarse)
                u = take(level.codes, source)
            part = watch.part(done / sum(work), (done + share) / sum(work))
            u, source, psi, m0 = self._balance(level, u, seed, part)
            source = self._correct_on_torus(level, u, source, psi)
            evidence.append(_evidence(level, source, m0))
            done += share
        assert source is not None
        return source

    def _start_on_torus(self, canvas: Size, seed: int) -> Tensor:
        coarsest = self.levels[-1]
        noise = NoiseField(seed, coarsest.number).integers(Region(0, 0, canvas.height, canvas.width))
        wrapped = np.pad(noise, ((0, coarsest.size.height - 1), (0, coarsest.size.width - 1)), mode="wrap")
        u = exact_field(coarsest.codes.permute(2, 0, 1), torch.from_numpy(wrapped).to(self.device))
        return u.permute(1, 2, 0).contiguous()

    def _balance(self, level: Level, u: Tensor, seed: int, watch: Watch) -> tuple[Tensor, Tensor, Tensor, float]:
        """All passes of one level: (picture before the last assignment, its map, averaged psi int32, m0).

        One pass visits the patches in an order of its own, in batches: assign, then one ascent step of the semi-dual
        with this batch's shares, psi_j += c m0 J / sqrt(t) (1/J - share_j) (texto_2018 has the plain algorithm).
        """
        c, w, n_atoms = self.config, level.w, level.n_atoms
        height, width = u.shape[:2]
        whole = Region(0, 0, height, width)
        psi = torch.zeros(n_atoms, dtype=torch.float64, device=self.device)
        average, weight, t, m0 = psi.clone(), 0.0, 0, 0.0
        batch = max(c.batch, min(512, height * width // 256))
        size = torch.tensor(float(batch), device=self.device)
        winner = torch.empty(height * width, dtype=torch.long, device=self.device)
        n_passes = self._n_passes(level, height * width)
        for k in range(n_passes):
            watch.step(k / n_passes, f"level {level.number}: {width}x{height}, pass {k + 1} of {n_passes}")
            views = windows(wrap(u, w // 2), w)
            order = torch.from_numpy(_shuffled(NoiseField(seed, level.number, 1 + k), whole)).to(self.device)
            if k == 0:
                m0 = self._mean_cost(level, views, order[:2048])
            for rows in order.split(batch):
                patches = views[rows // width, rows % width].reshape(len(rows), -1)
                j = level.assign(patches, psi.round())
                winner[rows] = j
                t += 1
                count = torch.zeros(n_atoms, dtype=torch.long, device=self.device).scatter_add_(
                    0, j, torch.ones_like(j)
                )
                share = count.float() / size  # by a tensor: by a number CUDA multiplies with the reciprocal
                psi = psi + c.step * m0 * n_atoms / math.sqrt(t) * (len(rows) / (batch * n_atoms) - share)
                if k >= n_passes // 2:  # the tail average, weights ~ t^2
                    weight += t * t
                    average = average + t * t / weight * (psi - average)
            source = level.coordinates(winner).view(height, width, 2)
            if k < n_passes - 1:
                u = vote(level.codes, wrap(source, w // 2), w)
        return u, source, average.round().to(torch.int32), m0

    def _n_passes(self, level: Level, n_patches: float) -> int:
        share = min(1.0, 4000 / level.n_atoms) * min(1.0, math.sqrt(65536 / n_patches))
        return min(self.config.passes, max(6, round(self.config.passes * share)))

    def _mean_cost(self, level: Level, views: Tensor, rows: Tensor) -> float:
        """m0: mean over some patches of the squared distance to their nearest atom, the unit of psi."""
        patches = views[rows // views.shape[1], rows % views.shape[1]].reshape(len(rows), -1)
        level.index.set_bias(None)
        return level.index.argmin(_centred(patches), return_value=True)[1].double().mean().item()

    def _correct_on_torus(self, level: Level, u: Tensor, source: Tensor, psi: Tensor) -> Tensor:
        for _ in range(self.config.transport_corrections):
            source = correct(wrap(u, level.w // 2), wrap(source, 1), level.codes, level.w, psi)
            u = take(level.codes, source)
        return source

    # ---- endless: psi frozen, everything local

    def _maps(
        self,
        seed: int,
        period: Period,
        *,
        keep: bool = False,
        threads: int = 1,
        evidence: list[dict[str, Any]] | None = None,
    ) -> Map:
        """The map of level 0 on any region of the plane, by computing at each level what the next one needs.

        keep: the transported levels in blocks that are kept, for many regions; otherwise just what is asked for.
        """
        assert self.psi is not None, "an endless model is made by fit() or load()"
        coarsest = self.levels[-1]
        noise = NoiseField(seed, coarsest.number, period=level_period(period, coarsest.number))
        below: Map = partial(self._start_on_plane, noise)
        for level in self.transported:
            below = partial(self._transported_map, level, below, period, threads, evidence)
            if keep:
                below = _in_blocks(
                    below,
                    BLOCK if level is self.transported[-1] else COARSE_BLOCK,
                    level_period(period, level.number),
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
            evidence.append(_evidence(level, source))
        return source

    def _start_on_plane(self, noise: NoiseField, region: Region) -> Tensor:
        coarsest = self.levels[-1]
        h, w = coarsest.size.height, coarsest.size.width
        grown = Region(region.top - h + 1, region.left - w + 1, region.height + h - 1, region.width + w - 1)
        values = torch.from_numpy(noise.integers(grown)).to(self.device)
        return exact_field(coarsest.codes.permute(2, 0, 1), values).permute(1, 2, 0).contiguous()

    def _transport(self, level: Level, u: Tensor, threads: int) -> Tensor:
        """Passes and corrections of one level with its frozen potentials; the picture shrinks by the halo."""
        assert self.psi is not None
        searches = self._searches[level.number]
        for k, search in enumerate(searches):
            source = level.coordinates(_assign_all(search, u, level.w, threads))
            if k < len(searches) - 1:
                u = vote(level.codes, source, level.w, threads=threads)
        for _ in range(self.config.transport_corrections):
            source = correct(u, source, level.codes, level.w, self.psi[level.number][-1], threads=threads)
            u = take(level.codes, source)
        return source

    @cached_property
    def _searches(self) -> dict[int, list[NearestIndex]]:
        assert self.psi is not None
        return {level.number: level.searches(self.psi[level.number]) for level in self.transported}

    def _train(self, seed: int, threads: int, watch: Watch) -> dict[int, Tensor]:
        """Frozen potentials for every (level, pass), each solved on the training field as it then is."""
        factor = self.config.training_factor
        coarsest = self.levels[-1]
        u = self._start_on_torus(Size(factor * coarsest.size.height, factor * coarsest.size.width), seed)
        source, found = None, {}
        for i, level in enumerate(self.transported):
            if source is not None:
                whole = Region(0, 0, 2 * source.shape[0], 2 * source.shape[1])
                source = children(source, coarser(whole), whole, level.size)
                u = take(level.codes, source)
            part = watch.part((4.0**i - 1) / 4 ** len(self.transported), 4.0 ** (i + 1 - len(self.transported)))
            found[level.number], u, source = self._train_level(level, u, seed, threads, part)
            source = self._correct_on_torus(level, u, source, found[level.number][-1])
        return found

    def _train_level(
        self, level: Level, u: Tensor, seed: int, threads: int, watch: Watch
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_passes, potentials = self.config.endless_passes, []
        generator = torch.Generator().manual_seed(seed % 2**63)
        for k in range(n_passes):
            watch.step(k / n_passes, f"training level {level.number}, pass {k + 1} of {n_passes}")
            potentials.append(self._solve_frozen(level, u, generator).round().to(torch.int32))
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
            return _centred(views[rows // width, rows % width].reshape(n, -1))

        c = self.config
        budget = c.samples_per_atom * level.n_atoms
        solution = solve(
            sample, level.index.y, tol=1e-9, max_samples=budget, step=c.step, generator=generator, centre=False
        )
        return solution.psi


def _uneven_ends(period: Period, level: int) -> Period:
    """The level's period on the axes where it is not twice the coarser level's; None on the others."""
    fine, coarse = level_period(period, level), level_period(period, level + 1)
    rows, columns = (None if f is None or c is None or f == 2 * c else f for f, c in zip(fine, coarse, strict=True))
    return rows, columns


def _near_the_end(region: Region, ends: Period) -> tuple[Tensor, Tensor]:
    """For the rows and for the columns of a region: which lie within MENDED of where such a period ends."""
    rows, columns = (
        torch.tensor([p is not None and (at + MENDED) % p < 2 * MENDED for at in range(start, stop)])
        for p, start, stop in ((ends[0], region.top, region.bottom), (ends[1], region.left, region.right))
    )
    return rows, columns


def _assign_all(search: NearestIndex, u: Tensor, w: int, threads: int) -> Tensor:
    """Winners (H - w + 1, W - w + 1) of all patches of u (H, W, C), codes."""
    views = windows(u, w)
    winner = torch.empty(views.shape[:2], dtype=torch.long, device=u.device)
    step = max(1, (8192 if u.device.type == "cpu" else 2**18) // views.shape[1])

    def band(start: int, stop: int) -> None:
        for top in range(start, stop, step):
            rows = views[top : min(top + step, stop)]
            patches = _centred(rows.reshape(-1, views[0, 0].numel()))
            winner[top : top + len(rows)] = search.argmin(patches, check=False).view(len(rows), -1)

    share_rows(len(views), threads if u.device.type == "cpu" else 1, band)
    return winner


def _in_blocks(maps: Map, block: Size, period: Period, device: torch.device) -> Map:
    blocks = Blocks(lambda region: maps(region).cpu().numpy(), block, period, kept=40)
    return lambda region: torch.from_numpy(blocks.window(region)).to(device)


def _torus_window(torus: Tensor, region: Region) -> Tensor:
    rows = torch.arange(region.top, region.top + region.height, device=torus.device).remainder(torus.shape[0])
    columns = torch.arange(region.left, region.left + region.width, device=torus.device).remainder(torus.shape[1])
    return torus[rows][:, columns]


def _shuffled(field: NoiseField, region: Region) -> np.ndarray:
    """A permutation of a region's positions that depends on the field's address alone."""
    return np.argsort(field.bits(region).reshape(-1), kind="stable")


def _evidence(level: Level, source: Tensor, m0: float | None = None) -> dict[str, Any]:
    """Shares that a level's map gives to the atoms: L1 distance to equal ones, and what sampling alone would give."""
    inside = level.atoms_of(source).reshape(-1)
    share = torch.bincount(inside, minlength=level.n_atoms).double() / len(inside)
    found = {
        "level": level.number,
        "size": f"{source.shape[1]}x{source.shape[0]}",
        "atoms": level.n_atoms,
        "mass_error": round((share - 1 / level.n_atoms).abs().sum().item(), 4),
        "mass_error_floor": round(math.sqrt(2 * level.n_atoms / (math.pi * len(inside))), 4),
        "atoms_used": round((share > 0).double().mean().item(), 4),
    }
    return found if m0 is None else found | {"start_cost": round(m0, 1)}
