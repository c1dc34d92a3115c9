"""A picture of any size as a Zarr array, whose chunks are written by the Dask workers that render them.

It is texsyn.render with other hands: the same plan, unfinished output and log, so that the array is the same file by
file, and what threads have begun a cluster can finish, or the other way round.
"""

from __future__ import annotations

import os
from concurrent.futures import CancelledError, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from texsyn.blocks import Period
from texsyn.cluster.blocks import Packed, local, pack, render_block
from texsyn.cluster.engine import Engine, engine
from texsyn.images import OutputError, Region, Size
from texsyn.images.partial import Partial
from texsyn.images.tiled import Layout, ZarrTiles, kind_of
from texsyn.models.base import Cancel, OnProgress, TextureModel, Watch
from texsyn.render import Plan, as_stored, plan

#: most pixels of a task, in parts that are neighbours: where a process begins it needs the coarse levels all around,
#: so that a square of 1024 alone costs about three times one in a row
TASK = 2**25


def write_zarr(
    model: TextureModel | str | Path,
    target: str | os.PathLike[str],
    size: Size | Region | tuple[int, int] | str,
    *,
    scheduler: str,
    seed: int | None = None,
    region: Region | None = None,
    tile: str = "none",
    map: str | None = None,
    block: int = 1024,
    metadata: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """texsyn.render.to_file() by the workers of a Dask scheduler, given by its address; target is a .zarr.

    The workers must see target's folder under the same absolute path; only we read a model's path. Raises what
    to_file() raises, and ConnectionError when the scheduler does not answer or goes away.
    """
    planned = plan(
        local(model), target, size, seed=seed, region=region, tile=tile, map=map, block=block,
        metadata=metadata, resume=resume, overwrite=overwrite,
    )  # fmt: skip
    return run_plan(planned, scheduler, Watch(on_progress, cancel))


def run_plan(planned: Plan, scheduler: str, watch: Watch | None = None) -> dict[str, Any]:
    """Plan.run() by the workers of a Dask scheduler: render what is missing, publish, and return the recipe.

    A chunk has one writer. What a worker has brought to its disk is logged here; what one that died had not is made by
    another.
    """
    if kind_of(planned.path) != "zarr":
        raise ValueError(f"{Path(planned.path).name}: a cluster writes .zarr, one file cannot have many writers")
    planned.check()
    planned.require_room()
    with engine(scheduler) as dask:
        try:
            return planned.complete(partial(_fill, planned, dask), watch or Watch())
        except CancelledError:
            raise ConnectionError(f"the Dask scheduler at {scheduler!r} went away; resume=True goes on") from None


def _fill(planned: Plan, dask: Engine, out: Partial, watch: Watch) -> None:
    """Have the parts that are not done rendered and written, and log them as they come."""
    model, grid = dask.send(replace(pack(planned.model), number=planned.number)), planned.grid
    layout = replace(planned.layout, recipe=None, icc_profile=None)  # what the description holds already
    missing = [i for i in range(grid.n) if i not in out.done]
    n_before = len(out.done)
    n_fair = len(missing) // (2 * dask.cores)  # two tasks a core at least, or some would have none
    n = max(1, min(TASK // grid.side.pixels, n_fair))
    tasks = [
        dask.pool.submit(
            _write_parts, model, out.part, layout, planned.region, planned.seed, planned.period,
            {i: grid.job(i) for i in missing[k : k + n]},
        )
        for k in range(0, len(missing), n)
    ]  # fmt: skip
    try:
        for task in as_completed(tasks):
            out.record(task.result())
            fraction = (len(out.done) - n_before) / max(len(missing), 1)
            watch.step(fraction, f"{len(out.done)} of {grid.n} parts")
    finally:
        for task in tasks:
            task.cancel()


def _write_parts(
    model: Packed, part: str, layout: Layout, region: Region, seed: int, period: Period, jobs: dict[int, Region]
) -> list[int]:
    """Render jobs, which are regions of the picture, and write them; their numbers, once they are on the disk."""
    tiles = ZarrTiles(part, layout)
    for job in jobs.values():
        here = Region(region.top + job.top, region.left + job.left, job.height, job.width)
        pixels = render_block(model, here, seed=seed, period=period)
        if not os.path.exists(os.path.join(part, "zarr.json")):
            raise OutputError(f"{Path(part).name}: is gone, or not where this worker could see it")
        tiles.write(job.top, job.left, as_stored(pixels, layout))
    tiles.sync()
    return list(jobs)
