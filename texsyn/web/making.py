"""A balanced texto picture that shows itself while it is made: tile by tile, in reading order.

Same pixels, same recipe as `texsyn.synth`: only the order in which the finer levels are asked for differs, and they
have the same bits in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn.images import Picture, Region, Size
from texsyn.models.base import Watch
from texsyn.models.texto import Map, Texto
from texsyn.synthesis import Result, configure, draw, resolve_device

TILE = 256
COARSE_SHARE = 0.7  # of the progress: the levels that are made whole take 60 to 90 % of the time
OnTile = Callable[[Region, np.ndarray], None]


def tiles_of(size: Size) -> Iterator[Region]:
    """The tiles of a picture in reading order; those at the right and the bottom may be smaller.

    >>> [(t.top, t.left, t.height, t.width) for t in tiles_of(Size(256, 300))]
    [(0, 0, 256, 256), (0, 256, 256, 44)]
    """
    for top in range(0, size.height, TILE):
        for left in range(0, size.width, TILE):
            yield Region(top, left, min(TILE, size.height - top), min(TILE, size.width - left))


def make(exemplar: Picture, size: Size, *, seed: int, tile: str, on_tile: OnTile, watch: Watch) -> Result:
    """What texsyn.synth(exemplar, size, seed=seed, tile=tile) gives; on_tile gets each tile's pixels before."""
    model = TiledTexto(exemplar, configure("texto", {}, whole=True), resolve_device("auto"))
    model.on_tile, model.watch = on_tile, watch
    return draw(model, size, seed=seed, tile=tile, watch=watch.part(0, COARSE_SHARE))


class TiledTexto(Texto):
    """Balanced Texto that makes the finer levels tile by tile; on_tile gets the pixels of each."""

    on_tile: OnTile | None = None
    watch = Watch()

    def _picture(self, size: Size, *args: Any, **kwargs: Any) -> Map:
        maps = super()._picture(size, *args, **kwargs)
        tiles = list(tiles_of(size))

        def whole(region: Region) -> Tensor:
            assert region == Region(0, 0, size.height, size.width), region
            done = []
            for k, one in enumerate(tiles):
                self.watch.step(COARSE_SHARE + (1 - COARSE_SHARE) * k / len(tiles), f"tile {k + 1} of {len(tiles)}")
                done.append(maps(one))
                if self.on_tile is not None:
                    self.on_tile(one, self._pixels(done[-1]))
            per_row = -(-size.width // TILE)
            return torch.cat([torch.cat(done[k : k + per_row], 1) for k in range(0, len(tiles), per_row)])

        return whole
