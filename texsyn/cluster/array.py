"""A window of a plane as a lazy Dask array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from texsyn.blocks import ENDLESS, Period
from texsyn.cluster.blocks import Packed, cell, local, pack, render_block
from texsyn.cluster.engine import needed
from texsyn.images import Region, Size
from texsyn.models.base import TextureModel


def render_array(
    model: TextureModel | str | Path,
    size: Size | tuple[int, int] | None,
    seed: int,
    chunks: int | tuple[int, int] = 1024,
    *,
    period: Period = ENDLESS,
    region: Region | None = None,
    map: str | None = None,
) -> Any:
    """The window of a plane as a lazy dask.array.Array (h, w, c) in the map's number type.

    model: of a local method, or the path of its file, which all workers must then see. size: Size or (height, width),
    with the top left corner at (0, 0); or None, with a region anywhere. chunks: side, or (height, width), of a block,
    counted from the window's own corner; on several machines make it 4096, see render_block. map: a part of
    the name of one of a stack's maps, by default the first. Equal arguments give equal keys.

    Any scheduler will do. With scheduler="processes" the model goes along with every block, because that one keeps no
    data in its workers: give the path there. Raises ValueError for a model that is not local.
    """
    with needed():
        import dask.array
        from dask.base import tokenize
    if (size is None) == (region is None):
        raise ValueError("give size or region, and not both")
    if region is None:
        region = Region(0, 0, *(size.height, size.width) if isinstance(size, Size) else size)  # type: ignore[misc]
    step = Size(*chunks) if isinstance(chunks, tuple) else Size(chunks, chunks)
    found, packed = local(model), pack(model, map=map)
    shown = found.material.sheets[0].maps[packed.number]
    sides = dask.array.core.normalize_chunks(
        (step.height, step.width, -1), (region.height, region.width, shown.channels), dtype=shown.pixels.dtype
    )
    return dask.array.map_blocks(
        _block_at,
        dask.delayed(packed, name=f"texsyn-model-{tokenize(packed)}", traverse=False),
        region=region,
        step=step,
        seed=seed,
        period=period,
        chunks=sides,
        dtype=shown.pixels.dtype,
        meta=np.empty((0, 0, 0), shown.pixels.dtype),
        name=f"texsyn-{tokenize(packed, str(region), str(step), seed, period)}",
    )


def _block_at(
    model: Packed, *, region: Region, step: Size, seed: int, period: Period, block_id: tuple[int, ...]
) -> np.ndarray:
    return render_block(model, cell(region, step, *block_id[:2]), seed=seed, period=period)
