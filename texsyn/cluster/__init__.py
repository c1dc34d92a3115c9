"""The plane on many machines: a lazy Dask array of it, and a Zarr store whose chunks the workers write themselves.

A block is a pure function of (model, seed, period, region), so an engine has nothing to coordinate: any worker may make
any block, in any order, and again when a machine dies. The model travels as the bytes of its file, as one task of its
own on which all blocks depend; unlike data that is scattered, a task is repeated when the worker that held it is lost.
Each process keeps the planes it was asked for, so that its blocks share what neighbours have in common.

Needs the packages of `pip install 'texsyn[cluster]'`, except for pack() and render_block(), which suit any engine.
"""

from texsyn.cluster.array import render_array
from texsyn.cluster.blocks import Packed, pack, render_block
from texsyn.cluster.store import run_plan, write_zarr

__all__ = ["Packed", "pack", "render_array", "render_block", "run_plan", "write_zarr"]
