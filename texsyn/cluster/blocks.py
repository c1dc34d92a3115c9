"""A model that travels, and the pure function from it to a block of its plane, for engines of any kind."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tempfile
import threading
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from texsyn.blocks import ENDLESS, Period
from texsyn.images import InputError, Region, Size
from texsyn.models.base import TextureModel, Window, load_texture
from texsyn.ot.nearest import one_torch_thread

PIECE = 1024  # pixels


@dataclass(frozen=True)
class Packed:
    """A model to be sent: the bytes of its file, or the path of a file that every worker can read; see pack()."""

    source: bytes | str = field(compare=False, repr=False)
    sha256: str
    device: str
    number: int = 0  #: of the map that is shown

    def __dask_tokenize__(self) -> tuple[str, str, int]:
        return self.sha256, self.device, self.number


def pack(model: TextureModel | str | Path, *, map: str | None = None) -> Packed:
    """A model ready to travel: a path goes as a path, and the file must be visible to the workers; a model as bytes.

    map: a part of the name of the map of a stack that is shown, by default the first. Workers compute on the model's
    own device, a path's on the CPU. Raises InputError for a file that cannot be read, ValueError for an unknown map.
    """
    number = 0 if map is None else local(model).map_number(map)
    if isinstance(model, TextureModel):
        data = model.to_bytes()
        return Packed(data, hashlib.sha256(data).hexdigest(), str(model.device), number)
    path = os.path.abspath(model)
    return Packed(path, _sha256(path), "cpu", number)


def render_block(model: Packed, region: Region, *, seed: int, period: Period = ENDLESS) -> np.ndarray:
    """A region of the plane, (h, w, c) in the map's number type: what model.plane(seed=seed, number=...)(region) gives.

    The pure function behind everything here, for engines of any kind. The first call in a process loads the model.
    Regions of thousands of pixels a side are made in pieces of limited memory, and cost less than as many small ones
    that are far from each other: their coarse levels are computed once.
    """
    piece = Size(PIECE, PIECE)
    with one_torch_thread():
        window = _plane(model, seed, period)
        rows = [
            np.concatenate([window(cell(region, piece, i, j)) for j in range(-(-region.width // PIECE))], axis=1)
            for i in range(-(-region.height // PIECE))
        ]
    return np.concatenate(rows)


def cell(region: Region, step: Size, i: int, j: int) -> Region:
    """Cell (i, j) of the grid of steps on a region; the last ones are cut off."""
    found = Region(region.top + i * step.height, region.left + j * step.width, step.height, step.width)
    inside = found.intersect(region)
    assert inside is not None
    return inside


def local(model: TextureModel | str | Path) -> TextureModel:
    """The model, or that of a file. Raises ValueError when it has no plane, InputError for a bad file."""
    found = model if isinstance(model, TextureModel) else load_texture(model)
    if not found.local:
        raise ValueError(f"{found.method} pictures of this model are made whole; fit an endless one to render regions")
    return found


_one_at_a_time = threading.Lock()  # or two threads would make, and then fill, a plane each


def _plane(model: Packed, seed: int, period: Period) -> Window:
    with _one_at_a_time:
        return _kept_plane(model, seed, period)


@lru_cache(maxsize=4)
def _kept_plane(model: Packed, seed: int, period: Period) -> Window:
    return _kept_model(replace(model, number=0)).plane(seed=seed, period=period, number=model.number)


@lru_cache(maxsize=2)
def _kept_model(model: Packed) -> TextureModel:
    if multiprocessing.parent_process() is not None:  # a worker among others on this machine: cores are theirs too
        torch.set_num_threads(1)
    if isinstance(model.source, str):
        if _sha256(model.source) != model.sha256:
            raise InputError(f"{Path(model.source).name}: is not the model file that this work began with")
        return load_texture(model.source, device=model.device)
    with tempfile.TemporaryDirectory(prefix="texsyn-") as folder:  # safetensors reads a header from files only
        path = Path(folder, "model.texsyn")
        path.write_bytes(model.source)
        return load_texture(path, device=model.device)


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{Path(path).name}: cannot be read ({error.strerror})") from None
