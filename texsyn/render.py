"""Pictures bigger than memory: windows of a model's plane, rendered by threads and written tile by tile.

>>> from texsyn.render import to_file
>>> to_file(texsyn.load("rock.texsyn"), "huge.tif", (30_000, 40_000), seed=7)  # doctest: +SKIP

A picture is a pure function of (model, seed, position), so the file is the same whatever the tiles' order, the number
of workers and the interruptions. Memory does not depend on the picture's size: see Plan.memory_bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np

from texsyn.blocks import Period, period_of
from texsyn.heap import give_back, resident
from texsyn.images import MAX_SIDE, OutputError, Region, Size
from texsyn.images.depth import to_half
from texsyn.images.partial import Partial
from texsyn.images.picture import printable
from texsyn.images.tiled import Layout, kind_of
from texsyn.material import Material
from texsyn.models.base import Cancel, Cancelled, OnProgress, TextureModel, Watch, Window
from texsyn.ot.nearest import one_torch_thread
from texsyn.synthesis import as_size, exemplars_of, fresh_seed, order_of, recipe_of

JOB = 1024  # least side of what one worker renders and the log counts; small tiles are made several at a time
STRIP = 8192  # pixels: jobs are taken from strips of this width, so that what neighbours share is still there
FARTHEST = 2**40  # of a region's corner from the origin
MAX_WORKERS = 1024
LOG_EVERY = 2.0  # seconds; what is younger is made again after a kill
LOOK_EVERY = 0.7  # seconds between two returns of free memory, which cost some hundredths each
POLL = 0.2  # seconds between two looks at the caller's cancel
MEMORY_LIMIT = 1.5 * 2**30  # the default number of workers stays below it


class Memory(NamedTuple):
    """Peak resident size besides the sheets, a plane's blocks and pixels on their way to the file: MiB of interpreter,
    libraries and compiled loops; bytes a pixel that a worker renders at once; bytes such a pixel and matched channel.
    Measured, gaps in the heap included: see benchmarks/results/render_cpu.json.
    """

    base: float
    pixel: float
    pixel_channel: float


MEMORY = {
    "texto": Memory(370, 46, 6),
    "texto-2018": Memory(365, 8, 43),
    "gaussian": Memory(335, 0, 0),
}
OTHERS = Memory(400, 60, 32)
FFT_PIXEL = 128  # bytes a pixel of a gaussian block's transform


def to_file(
    model: TextureModel,
    target: str | os.PathLike[str],
    size: Size | Region | tuple[int, int] | str,
    *,
    seed: int | None = None,
    region: Region | None = None,
    tile: str = "none",
    map: str | None = None,
    block: int = 1024,
    workers: int | None = None,
    metadata: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Write a picture of any size to a .tif (tiled BigTIFF) or .zarr (version 3) and return its recipe.

    size: of the picture, which is the plane's window with its top left corner at (0, 0); a Region is any other window.
    With tile ("x", "y", "xy") the plane repeats after that size, and region may be a window of it. map: a part of the
    name of one of a stack's maps, by default the first; those of one seed fit each other to the pixel. block: side of
    the written tiles, a multiple of 16. workers: threads, by default one a core. seed: None draws one, or takes that of
    the unfinished picture that is resumed.

    The target appears when it is complete. Until then target.part and its log hold what is done, also after an
    exception, a signal or a power cut: resume=True goes on from there, to the same bytes. overwrite=True replaces a
    target and, without resume, an unfinished one.

    Raises ValueError for wrong arguments, OutputExists, OutputError (also when the disk is too small), Cancelled.
    """
    planned = plan(
        model, target, size, seed=seed, region=region, tile=tile, map=map, block=block, workers=workers,
        metadata=metadata, resume=resume, overwrite=overwrite,
    )  # fmt: skip
    return planned.run(Watch(on_progress, cancel))


@dataclass(frozen=True)
class Plan:
    """A checked order for one picture, made by plan(); nothing is written before run()."""

    model: TextureModel
    path: str
    layout: Layout
    region: Region  #: of the plane
    period: Period
    seed: int
    number: int  #: of the map that is shown
    workers: int
    recipe: dict[str, Any]  #: enough to make the picture again; nothing in it differs between two runs
    identity: dict[str, Any]  #: what has to be equal for an unfinished picture to be resumed
    resume: bool = False
    overwrite: bool = False

    @property
    def partial(self) -> Partial:
        return Partial(self.path, kind_of(self.path), self.layout, self.identity)

    @cached_property
    def grid(self) -> _Grid:
        return _Grid(self.layout.size, self.layout.tile)

    @property
    def memory_bytes(self) -> int:
        """Peak memory of the process, about; from some megapixels on it does not depend on the picture's size."""
        return _memory(self.model, self.layout, self.region, self.workers)

    def window(self, seed: int) -> Window:
        """The plane of a seed that is shown."""
        return self.model.plane(seed=seed, period=self.period, number=self.number, within=self.region)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the finished picture."""
        return self.layout.n_bytes

    @property
    def disk_free(self) -> int:
        """Bytes that the target's disk has for it, those of an unfinished one included."""
        folder = os.path.dirname(os.path.realpath(self.path))
        return shutil.disk_usage(folder).free + self.partial.allocated

    def check(self) -> None:
        """Raises OutputExists or OutputError where run() could not write, as far as that shows beforehand."""
        self.partial.check(resume=self.resume, overwrite=self.overwrite)

    def require_room(self) -> None:
        """Raises OutputError when the disk is too small."""
        need, free = self.disk_bytes, self.disk_free
        if need > free:
            raise OutputError(f"{printable(self.path)}: {need} bytes of disk are needed and {free} are free")

    def seconds(self) -> float:
        """How long run() from the beginning will take here, from rendering up to four jobs with each worker.

        A job costs less where those to its left and above it are done; four in a square show how much.
        """
        grid = self.grid
        square = [(i, j) for i in range(min(grid.rows, 2)) for j in range(min(grid.columns, 2))]
        jobs = [grid.job(i * min(grid.per_strip, grid.columns) + j) for i, j in square]

        def sample(worker: int) -> list[float]:
            window, stamps = self.window(self.seed + worker), [time.perf_counter()]
            for job in jobs:
                self._render(window, job, threading.Event())
                stamps.append(time.perf_counter())
            return [after - before for before, after in pairwise(stamps)]

        with one_torch_thread(), ThreadPoolExecutor(self.workers) as pool:
            self.model.render(Region(0, 0, 16, 16), seed=self.seed)  # compiles
            samples = list(pool.map(sample, range(self.workers)))
        cost = {  # seconds a pixel
            at: sum(times) / self.workers / job.size.pixels
            for at, job, times in zip(square, jobs, zip(*samples, strict=True), strict=True)
        }
        total = 0.0
        for job in map(grid.job, range(grid.n)):
            at = int(job.top > 0), int(job.left % (grid.per_strip * grid.side.width) > 0)
            total += cost[at] * job.size.pixels
        return total / grid.n * -(-grid.n // self.workers)

    def run(self, watch: Watch | None = None) -> dict[str, Any]:
        """Render what is missing, give the picture its name, and return its recipe. See to_file()."""
        self.check()
        self.require_room()
        return self.complete(self._fill, watch or Watch())

    def complete(self, fill: Callable[[Partial, Watch], None], watch: Watch) -> dict[str, Any]:
        """After the checks: open the unfinished picture, have fill write what is missing, publish; the recipe."""
        with self.partial as out:
            out.open(resume=self.resume, overwrite=self.overwrite)
            if not out.complete:
                try:
                    fill(out, watch)
                except OSError as error:
                    raise out.failure(error) from error
            out.publish(overwrite=self.overwrite)
        watch.step(1.0, "done")
        return self.recipe

    @one_torch_thread()
    def _fill(self, out: Partial, watch: Watch) -> None:
        """Render and write the jobs that are not done. What was finished is logged, whatever ends it."""
        window = self.window(self.seed)
        missing = (i for i in range(self.grid.n) if i not in out.done)
        n_before = len(out.done)
        others = (resident() or 0) - MEMORY.get(self.model.method, OTHERS).base * 2**20  # our caller's own
        most = self.memory_bytes + max(0.0, others)
        stop, unlogged, logged_at = threading.Event(), list[int](), time.monotonic()
        looked_at = logged_at
        running = set[Future[int]]()

        def make(i: int) -> int:
            job = self.grid.job(i)
            pixels = self._render(window, job, stop)
            assert out.tiles is not None
            out.tiles.write(job.top, job.left, pixels)
            return i

        pool = ThreadPoolExecutor(self.workers)
        try:
            while True:
                n_done = len(out.done) + len(unlogged)
                fraction = (n_done - n_before) / max(self.grid.n - n_before, 1)
                watch.step(fraction, f"{n_done} of {self.grid.n} parts")
                running |= {pool.submit(make, i) for i in islice(missing, 2 * self.workers - len(running))}
                if not running:
                    break
                finished, running = wait(running, POLL, FIRST_COMPLETED)
                unlogged += [future.result() for future in finished]
                if time.monotonic() - logged_at > LOG_EVERY:
                    out.record(unlogged)
                    unlogged, logged_at = [], time.monotonic()
                if time.monotonic() - looked_at > LOOK_EVERY and (resident() or 0) > most:
                    give_back()
                    looked_at = time.monotonic()
            out.record(unlogged)
        except OSError:  # after a failed write or sync nobody knows what reached the disk
            raise
        except BaseException:
            with suppress(OSError):
                out.record(unlogged)
            raise
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _render(self, window: Window, job: Region, stop: threading.Event) -> np.ndarray:
        """The pixels (h, w, c) of a job, in pieces of limited memory."""
        side = _piece(self.workers)
        pixels = np.empty((job.height, job.width, self.layout.channels), self.layout.dtype)
        for y in range(0, job.height, side):
            for x in range(0, job.width, side):
                if stop.is_set():
                    raise Cancelled("cancelled by the caller")
                here = pixels[y : y + side, x : x + side]
                at = Region(self.region.top + job.top + y, self.region.left + job.left + x, *here.shape[:2])
                here[...] = as_stored(window(at), self.layout)
        return pixels


def as_stored(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    """Pixels in the number type of the file."""
    return to_half(pixels)[0] if layout.dtype == "float16" else pixels


def plan(
    model: TextureModel,
    target: str | os.PathLike[str],
    size: Size | Region | tuple[int, int] | str,
    *,
    seed: int | None = None,
    region: Region | None = None,
    tile: str = "none",
    map: str | None = None,
    block: int = 1024,
    workers: int | None = None,
    metadata: bool = True,
    resume: bool = False,
    overwrite: bool = False,
) -> Plan:
    """The checked arguments of to_file(), to ask for its costs first. ValueError for wrong ones."""
    path = os.fsdecode(target)
    kind = kind_of(path)
    if not model.local:
        raise ValueError(
            f"this {model.method} model makes whole pictures only and has no windows; endless ones have "
            "(texsyn fit makes them, but not by gotex or random-phase, nor with endless=false)"
        )
    if isinstance(size, Region) and tile != "none":
        raise ValueError(f"tile={tile!r} needs a size after which the picture repeats, beside the region")
    if isinstance(size, Region):
        whole, region = size.size, size
    else:
        whole = as_size(size, model.exemplar.size)
        region = region or Region(0, 0, whole.height, whole.width)
    period = period_of(tile, whole)
    _check_range(region, whole)
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"workers={workers} should be from 1 to {MAX_WORKERS}")
    if seed is not None and not 0 <= seed < 2**63:
        raise ValueError(f"seed={seed} should be from 0 to {2**63 - 1}")
    number = 0 if map is None else model.map_number(map)
    shown = model.material.sheets[0].maps[number]
    dtype = "float16" if shown.half else shown.pixels.dtype.name
    layout = Layout(region.size, block, shown.channels, dtype, shown.mode, shown.icc_profile)
    if seed is None and resume:
        earlier = (Partial(path, kind, layout, {}).earlier() or {}).get("seed")
        seed = earlier if isinstance(earlier, int) else None
    seed = fresh_seed() if seed is None else seed
    recipe = _recipe(model, whole, region, tile, seed, number)
    grid = _Grid(layout.size, layout.tile)
    identity = {"model": recipe["model_sha256"], "block": block, "metadata": metadata}
    identity |= {
        key: recipe.get(key) for key in ("seed", "size", "region", "tile", "period", "map", "texsyn", "torch", "device")
    }
    identity |= {"jobs": f"{grid.side} in strips of {grid.per_strip}"}
    return Plan(
        model=model,
        path=path,
        layout=dataclasses.replace(layout, recipe=recipe if metadata else None),
        region=region,
        period=period,
        seed=seed,
        number=number,
        workers=workers or _default_workers(model, layout, region),
        recipe=recipe,
        identity=identity,
        resume=resume,
        overwrite=overwrite,
    )


class _Grid:
    """The jobs of a picture: whole tiles, at least JOB a side where there are that many, in strips, row by row."""

    def __init__(self, size: Size, tile: Size) -> None:
        self.size = size
        self.side = Size(*(max(1, JOB // n) * n for n in (tile.height, tile.width)))
        self.rows, self.columns = -(-size.height // self.side.height), -(-size.width // self.side.width)
        self.n = self.rows * self.columns
        self.per_strip = max(1, STRIP // self.side.width)

    def job(self, i: int) -> Region:
        """Where the i-th job lies in the picture."""
        strip, within = divmod(i, self.per_strip * self.rows)
        row, column = divmod(within, min(self.per_strip, self.columns - strip * self.per_strip))
        top, left = row * self.side.height, (strip * self.per_strip + column) * self.side.width
        return Region(
            top, left, min(self.side.height, self.size.height - top), min(self.side.width, self.size.width - left)
        )


def _check_range(region: Region, size: Size) -> None:
    if max(region.height, region.width, size.height, size.width) > MAX_SIDE:
        raise ValueError(f"sides of up to {MAX_SIDE} pixels are written, not {region.size} of {size}")
    if max(abs(region.top), abs(region.left)) > FARTHEST:
        raise ValueError(f"region at {region.left},{region.top}: corners lie at most {FARTHEST} pixels from 0,0")


def _recipe(model: TextureModel, whole: Size, region: Region, tile: str, seed: int, number: int) -> dict[str, Any]:
    more = {
        "region": f"{region.left},{region.top},{region.width},{region.height}",
        "model_sha256": hashlib.sha256(model.to_bytes()).hexdigest(),
    }
    if tile != "none":
        more["period"] = str(whole)
    maps = model.material.sheets[0].maps
    if len(maps) > 1:
        more["map"] = maps[number].name
    return recipe_of(order_of(model, region.size, seed, tile), exemplars_of(model.material), more)


def _memory(model: TextureModel, layout: Layout, region: Region, workers: int) -> int:
    cost, grid, piece = MEMORY.get(model.method, OTHERS), _Grid(layout.size, layout.tile), _piece(workers) ** 2
    channels, sheets = _fitted(model.material)
    shared = cost.base * 2**20 + sheets + model.plane_bytes(region)
    # of the largest jobs, which lie in the first rows or are all the same: pixels, a piece of them, and tiles
    jobs = sorted((grid.job(i).size.pixels for i in range(min(grid.n, 4 * workers))), reverse=True)[:workers]
    each = cost.pixel + cost.pixel_channel * channels
    spent = sum(min(n, piece) * each + 3 * n * layout.channels * np.dtype(layout.dtype).itemsize for n in jobs)
    if model.method == "gaussian":
        spent += len(jobs) * FFT_PIXEL * math.prod(max(n, 512) + n for n in astuple(model.exemplar.size))
    return round(shared + spent)


def _fitted(material: Material) -> tuple[int, int]:
    """Channels that are matched, at most, and bytes that the sheets take: pixels, codes, and where atoms are."""
    maps, guide = material.sheets[0].maps, material.sheets[0].guide
    weights = material.weights or (1.0,) * len(maps)
    channels = sum(one.channels for one, weight in zip(maps, weights, strict=True) if weight)
    channels += 0 if guide is None else guide.shape[2]
    n_pixels = sum(sheet.size.pixels for sheet in material.sheets)
    n_bytes = sum(one.pixels.nbytes for sheet in material.sheets for one in sheet.maps)
    simple = len(material.sheets) == 1 and material.sheets[0].plain
    return channels, n_bytes + n_pixels * (8 + 3 * channels + (0 if simple else 32))


def _piece(workers: int) -> int:
    """Side of what a worker renders at once: smaller ones cost a tenth more time and a quarter of the memory."""
    return 1024 if workers <= 8 else 512


def _default_workers(model: TextureModel, layout: Layout, region: Region) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fitting = (n for n in range(cores, 1, -1) if _memory(model, layout, region, n) <= MEMORY_LIMIT)
    return next(fitting, 1)
