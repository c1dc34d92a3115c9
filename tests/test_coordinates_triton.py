"""vote() and correct() as Triton kernels: the bits of the loops for the CPU, on CUDA or in Triton's interpreter.

test_triton.py runs this file in the interpreter, in a process of its own. That takes each operation of a program one
by one, so tiles are made larger and pictures small here.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from texsyn import coordinates, fit
from texsyn import coordinates_triton as engine
from texsyn.coordinates import Prices, _correct_torch, correct, vote

IMPORTABLE = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ON_CUDA = torch.cuda.is_available() and not INTERPRETED
DEVICE = torch.device("cuda" if ON_CUDA else "cpu")

needs_triton = pytest.mark.skipif(not IMPORTABLE, reason="triton is not installed")
kernels = pytest.mark.skipif(
    not (IMPORTABLE and (ON_CUDA or INTERPRETED)), reason="needs triton and a CUDA device or TRITON_INTERPRET=1"
)


@pytest.fixture(autouse=True)
def larger_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        monkeypatch.setattr(engine, "ROWS", 16)
        monkeypatch.setattr(engine, "COLUMNS", 32)


def drawn(low: int, high: int, *shape: int, seed: int, dtype: Any = np.int32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(low, high, shape).astype(dtype))


def map_into(height: int, width: int, rows: int, columns: int, margin: int = 0, *, seed: int) -> torch.Tensor:
    """(rows, columns, 2): pieces of a few columns each, coherent inside, with single pixels that go anywhere."""
    g = np.random.default_rng(seed)
    starts = np.stack([g.integers(0, height, 99), g.integers(0, width, 99)], -1)[np.arange(columns) // 7]
    y = (starts[None, :, 0] + np.arange(rows)[:, None]) % height
    x = (starts[None, :, 1] + np.arange(columns)[None, :]) % width
    lost = g.random((rows, columns)) < 0.1
    y, x = (np.where(lost, g.integers(0, n, lost.shape), v) for n, v in ((height, y), (width, x)))
    found = np.stack([y.clip(margin, height - 1 - margin), x.clip(margin, width - 1 - margin)], -1)
    return torch.from_numpy(found.astype(np.int32))


def corrected(u, source, exemplar, w, psi=None, fix=None, prices=None) -> torch.Tensor:  # type: ignore[no-untyped-def]
    there = [None if t is None else t.to(DEVICE) for t in (u, source, exemplar, psi, fix)]
    if prices is not None:
        prices = Prices(*(t.to(DEVICE) for t in (prices.price, prices.zone, prices.owner)))
    return engine.correct(there[0], there[1], there[2], w, there[3], there[4], prices).cpu()


@kernels
@pytest.mark.parametrize(("w", "n_channels", "rows", "columns"), [(3, 1, 17, 33), (5, 3, 8, 16), (3, 4, 1, 40)])
def test_votes_are_those_of_the_loop(w: int, n_channels: int, rows: int, columns: int) -> None:
    r, exemplar = w // 2, drawn(0, 256, 21, 18, n_channels, seed=1, dtype=np.uint8)
    source = map_into(21, 18, rows + 2 * r, columns + 2 * r, r, seed=w)
    expected = vote(exemplar, source, w)
    assert torch.equal(engine.vote(exemplar.to(DEVICE), source.to(DEVICE), w).cpu(), expected)
    turned = exemplar.transpose(0, 1).contiguous().transpose(0, 1), source.flip(0).contiguous().flip(0)
    assert torch.equal(engine.vote(*(t.to(DEVICE) for t in turned), w).cpu(), expected)


@kernels
@pytest.mark.parametrize(("w", "n_channels", "rows", "columns"), [(3, 1, 17, 33), (5, 3, 8, 18), (3, 2, 1, 40)])
@pytest.mark.parametrize("top", [2, 256])  # two grey levels: full of equal costs
def test_corrections_are_those_of_the_loop(w: int, n_channels: int, rows: int, columns: int, top: int) -> None:
    r, exemplar = w // 2, drawn(0, top, 21, 18, n_channels, seed=1, dtype=np.uint8)
    u = drawn(0, top, rows + 2 * r, columns + 2 * r, n_channels, seed=2, dtype=np.uint8)
    source = map_into(21, 18, rows + 2, columns + 2, seed=w)
    found = []
    for reach in (0, 3 if top == 2 else 2**31 - 1):
        psi = drawn(-reach, reach, (21 - 2 * r) * (18 - 2 * r), seed=reach) if reach else None
        expected = correct(u, source, exemplar, w, psi)
        assert torch.equal(corrected(u, source, exemplar, w, psi), expected), reach
        found.append(expected)
    assert not torch.equal(*found)  # psi decides something


@kernels
def test_of_equal_costs_the_first_neighbour_wins_also_where_one_proposes_the_pixels_own() -> None:
    exemplar = torch.full((9, 9, 1), 7, dtype=torch.uint8)  # every cost is the same
    u = torch.zeros(12, 18, 1, dtype=torch.uint8)
    for seed in range(3):
        source = map_into(9, 9, 12, 18, seed=seed)
        source[::3] = source[1::3]
        assert torch.equal(corrected(u, source, exemplar, 3), correct(u, source, exemplar, 3))


@kernels
def test_inside_a_verbatim_piece_nothing_is_compared_and_nothing_moves() -> None:
    exemplar = drawn(0, 256, 20, 30, 2, seed=3, dtype=np.uint8)
    at = torch.stack(torch.meshgrid(torch.arange(2, 16), torch.arange(3, 27), indexing="ij"), -1).int()
    u = torch.zeros(14, 24, 2, dtype=torch.uint8)
    assert torch.equal(corrected(u, at, exemplar, 3), at[1:-1, 1:-1])
    odd = at.clone()
    odd[6, 2] = torch.tensor([17, 20])  # its neighbours have a choice, the other pixels of the tile have none
    u = drawn(0, 256, 14, 24, 2, seed=5, dtype=np.uint8)
    found = corrected(u, odd, exemplar, 3)
    assert torch.equal(found, correct(u, odd, exemplar, 3))
    assert not torch.equal(found, at[1:-1, 1:-1])


@kernels
def test_fixes_and_prices_are_those_of_the_loop() -> None:
    exemplar, w = drawn(0, 256, 14, 11, 2, seed=1, dtype=np.uint8), 3
    u, source = drawn(0, 256, 12, 19, 2, seed=2, dtype=np.uint8), map_into(14, 11, 12, 19, seed=3)
    fix = map_into(14, 11, 14, 11, 1, seed=4)
    prices = Prices(
        drawn(-40_000, 40_000, 3, 2, seed=5), drawn(0, 3, 10, 17, seed=6, dtype=np.uint8), drawn(0, 2, 14, seed=7)
    )
    psi = drawn(-9999, 9999, 12 * 9, seed=8)
    plain = correct(u, source, exemplar, w)
    for options in ({"fix": fix}, {"prices": prices}, {"fix": fix, "prices": prices, "psi": psi}):
        expected = correct(u, source, exemplar, w, options.get("psi"), fix=options.get("fix"),
                           prices=options.get("prices"))  # fmt: skip
        assert torch.equal(corrected(u, source, exemplar, w, **options), expected), list(options)
        assert not torch.equal(expected, plain), list(options)


@kernels
def test_empty_regions() -> None:
    exemplar = drawn(0, 256, 9, 9, 3, seed=1, dtype=np.uint8).to(DEVICE)
    nothing = torch.zeros((2, 5, 2), dtype=torch.int32, device=DEVICE)
    assert engine.correct(torch.zeros((2, 5, 3), dtype=torch.uint8, device=DEVICE), nothing, exemplar, 3).shape == (
        0, 3, 2,
    )  # fmt: skip
    assert engine.vote(exemplar, nothing, 3).shape == (0, 3, 3)


@kernels
def test_the_self_test_passes_and_finds_a_wrong_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = engine.failure.__wrapped__  # without its memory
    assert failure(3, 1, DEVICE) == ""
    right = engine.correct
    monkeypatch.setattr(engine, "correct", lambda *a: right(*a).flip(0))
    assert failure(3, 1, DEVICE) == "its self-test gives other sources than torch"
    monkeypatch.setattr(engine, "vote", lambda *a: 1 / 0)
    assert failure(3, 1, DEVICE) == "its self-test fails with ZeroDivisionError (division by zero)"


@kernels
def test_a_picture_made_with_the_kernels_is_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"endless": True, "endless_passes": 2, "samples_per_atom": 4, "training_factor": 2, "patch_size": 3,
             "transport_corrections": 1, "fine_votes": 1, "fine_corrections": 1, "max_atoms": 200}  # fmt: skip
    picture = np.random.default_rng(0).integers(0, 256, (24, 26, 1)).astype(np.uint8)
    here = fit(picture, "texto", seed=1, device="cpu", **quick)
    expected = here.sample((14, 18), seed=2)
    there = type(here).from_tensors(here.exemplar, here.config, here.tensors(), DEVICE.type)
    launched = []
    kernels_of = engine._kernels()
    monkeypatch.setattr(engine, "_kernels", lambda: launched.append(1) or kernels_of)
    monkeypatch.setattr(coordinates, "_compiled", lambda a: False)
    monkeypatch.setattr(engine, "usable", lambda *_: True)
    assert torch.equal(there.sample((14, 18), seed=2), expected)
    assert len(launched) == 5  # a vote and a correction of the coarse level; of the fine one, and one more correction


# Choosing them.


def test_other_devices_take_torch_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert coordinates._engine(torch.zeros(1), 5, 3).correct is _correct_torch
    monkeypatch.setattr(engine, "usable", engine.usable.__wrapped__)
    cuda = torch.device("cuda")
    with caplog.at_level(logging.INFO, "texsyn"):
        monkeypatch.setattr(engine, "failure", lambda *_: "")
        assert engine.usable(5, 3, cuda)
        monkeypatch.setattr(engine, "failure", lambda *_: "nothing works")
        assert not engine.usable(5, 3, cuda)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "corrections of 5x5 patches on cuda: triton"),
        ("WARNING", "corrections of 5x5 patches on cuda: torch, since for triton nothing works"),
    ]


def test_without_triton_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)  # makes `import triton` fail
    monkeypatch.setattr(engine, "_kernels", engine._kernels.__wrapped__)
    assert "the package triton is needed" in engine.failure.__wrapped__(5, 3, torch.device("cuda"))


# For real processors, without one: Triton brings its own assembler.

COMPILE = """
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from texsyn import coordinates_triton as engine

shape = {"W": 5, "N_CHANNELS": 3, "ROWS": engine.ROWS, "COLUMNS": engine.COLUMNS}
bytes_, words = ("u", "zone", "exemplar"), ("source", "psi", "moved", "price", "owner", "out")

def compiled(kernel, constants, **other):
    names = [name for name in kernel.arg_names if name not in constants]
    kinds = {n: "*u8" if n in bytes_ else "*i32" if n in words else "i32" for n in names} | other
    source = ASTSource(fn=kernel, signature=kinds | dict.fromkeys(constants, "constexpr"), constexprs=constants)
    made = compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=engine.OPTIONS)
    print(len(made.asm["cubin"]))

compiled(engine._kernels().vote, shape, out="*u8")
for flags in ((False, False, False), (True, False, False), (True, True, True)):
    compiled(engine._kernels().correct, shape | dict(zip(("BIASED", "MOVED", "PRICED"), flags)))
"""


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", ["90", pytest.param("80", marks=pytest.mark.slow),
                                        pytest.param("120", marks=pytest.mark.slow)])  # fmt: skip
def test_the_kernels_compile_for_real_processors(capability: str, tmp_path: Any) -> None:
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", COMPILE, capability], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    sizes = [int(line) for line in run.stdout.split()]
    assert len(sizes) == 4
    assert min(sizes) > 1000
