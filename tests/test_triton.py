"""The Triton engine: the kernels against float64 and against the torch engine, on CUDA or in Triton's interpreter.

The interpreter has to be chosen before Triton is imported, so one test here runs this file again in a process of its
own; the others skip themselves where there is neither a CUDA device nor the interpreter.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import texsyn
from texsyn.ot import nearest as nearest_module
from texsyn.ot import triton as engine_module
from texsyn.ot.nearest import BackendError, NearestIndex

IMPORTABLE = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ON_CUDA = torch.cuda.is_available() and not INTERPRETED
DEVICE = torch.device("cuda" if ON_CUDA else "cpu")
CUDA = torch.device("cuda")

needs_triton = pytest.mark.skipif(not IMPORTABLE, reason="triton is not installed")
needs_cuda = pytest.mark.skipif(not (ON_CUDA and IMPORTABLE), reason="needs triton and a CUDA device")
kernels = pytest.mark.skipif(
    not (IMPORTABLE and (ON_CUDA or INTERPRETED)), reason="needs triton and a CUDA device or TRITON_INTERPRET=1"
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integers(low: int, high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=seeded(seed)).float()


def search(x, y, psi, *, backend: str = "triton", centre: bool = False):
    """Winners and minima of an engine on DEVICE, on the CPU."""
    index = NearestIndex(y.to(DEVICE), backend=backend, centre=centre)
    index.set_bias(psi.to(DEVICE))
    j, value = index.argmin(x.to(DEVICE), return_value=True)
    return j.cpu(), value.cpu()


def brute(x, y, psi):
    """Winner (the lowest on ties: numpy promises it) and minimum, in float64."""
    cost = torch.stack([(y.double() - row).square().sum(1) for row in x.double()]) - psi.double()
    j = torch.from_numpy(cost.numpy().argmin(1))
    return j, cost.gather(1, j[:, None])[:, 0]


# In Triton's interpreter.


@pytest.mark.skipif(INTERPRETED or ON_CUDA, reason="the tests below run by themselves")
@needs_triton
def test_the_tests_below_pass_in_the_interpreter():
    files = [Path(__file__).name, "test_coordinates_triton.py"]
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", *files]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None, run.stdout
    assert int(passed[1]) >= 37


# The kernels.

SHAPES = [  # N, J, D: tiles of queries, of atoms and of coordinates that do and do not come out even
    (1, 1, 1),
    (3, 1, 5),
    (128, 64, 32),
    (129, 65, 33),
    (50, 200, 75),
    (300, 1000, 27),
    (7, 330, 129),
    (20, 270, 400),
]


@kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [2, 127, 200])  # many ties; bytes; too large for bytes
def test_integers_are_exact_with_ties_to_the_lowest_index(shape, reach):
    n, n_atoms, d = shape
    x, y = integers(-reach, reach + 1, n, d, seed=1), integers(-reach, reach + 1, n_atoms, d, seed=2)
    y[n_atoms // 2 :] = y[: n_atoms - n_atoms // 2].clone()  # every atom twice: lowest index or wrong
    psi = integers(-reach, reach + 1, n_atoms, seed=3)
    psi[n_atoms // 2 :] = psi[: n_atoms - n_atoms // 2].clone()
    j, value = search(x, y, psi)
    expected, minimum = brute(x, y, psi)
    assert torch.equal(j, expected)
    assert torch.equal(value.double(), minimum)


@kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unit", [1e3, 1e7])  # at 1e7 scores are rounded to whole numbers and tie for it
def test_integers_give_the_bits_of_torch_under_any_bias(shape, unit):
    n, n_atoms, d = shape
    x, y = integers(-128, 128, n, d, seed=4), integers(-128, 128, n_atoms, d, seed=5)
    psi = unit * torch.randn(n_atoms, generator=seeded())
    found, expected = search(x, y, psi), search(x, y, psi, backend="torch")
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@kernels
def test_rounding_of_the_bias_decides_as_in_torch():
    y = torch.cat([torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]]).repeat(40, 1)])
    y[1:, 0] = torch.arange(40)
    psi = 2.0**25 + y.square().sum(1)  # every |y|^2 - psi is -2^25 or rounds near it, in steps of 4
    x = integers(-4, 5, 60, 3)
    assert torch.equal(search(x, y, psi)[0], search(x, y, psi, backend="torch")[0])


@kernels
@pytest.mark.parametrize("shape", [(150, 300, 27), (40, 130, 75)])
@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_floats_are_within_the_rounding_that_the_docstring_states(shape, scale):
    n, n_atoms, d = shape
    x, y = (scale * torch.rand(m, d, generator=seeded(m)) for m in (n, n_atoms))
    psi = scale**2 * 0.3 * torch.randn(n_atoms, generator=seeded())
    for centre in (False, True):
        j, value = search(x, y, psi, centre=centre)
        _, minimum = brute(x, y, psi)
        excess = (x.double() - y.double()[j]).square().sum(1) - psi.double()[j] - minimum
        longest = x.norm(dim=1) + y.norm(dim=1).max()
        assert (excess <= 2.0**-23 * ((d + 2) * longest**2 + 2 * psi.abs().max())).all()
        torch.testing.assert_close(value.double(), minimum, rtol=1e-5, atol=1e-5 * scale**2)


@kernels
def test_rows_outside_the_byte_range_are_searched_in_floats_and_agree():
    y, psi = integers(-128, 128, 200, 12), torch.zeros(200)
    x = integers(-128, 128, 300, 12, seed=1)
    for odd in (128.0, -129.0, 0.5, 3e9):
        changed = x.clone()
        changed[17, 5] = odd  # its tile of queries only
        assert torch.equal(search(changed, y, psi)[0], search(changed, y, psi, backend="torch")[0])
    edges = torch.tensor([[-128.0, 127.0], [127.0, -128.0]])
    assert search(edges, edges, torch.zeros(2))[0].tolist() == [0, 1]


@kernels
def test_halves_are_not_rounded_to_bytes():
    y, x = integers(-3, 4, 100, 2), integers(-3, 4, 300, 2, seed=1) + 0.75
    assert torch.equal(search(x, y, torch.zeros(100))[0], brute(x, y, torch.zeros(100))[0])


@kernels
def test_each_tile_of_queries_is_searched_in_one_way(monkeypatch):
    inner, ways = engine_module._kernels(), []

    class Spy:
        def __getitem__(self, grid):
            def launch(x, y, bias, fits, low, who, *sizes, **mode):
                before = low.fill_(-7.0).clone()
                inner.search[grid](x, y, bias, fits, low, who, *sizes, **mode)
                written = (low != before).any(0).cpu()
                ways.append((mode["BYTES"], [bool(w.any()) for w in written.split(engine_module.ROWS)]))

            return launch

    spied = SimpleNamespace(search=Spy(), to_bytes=inner.to_bytes, meet=inner.meet)
    monkeypatch.setattr(engine_module, "_kernels", lambda: spied)
    y, x = integers(-128, 128, 60, 5), integers(-128, 128, 300, 5)
    x[200] += 0.5
    for atoms, centre in ((y, False), (y, True), (y + 0.5, False), (2 * y, False)):
        search(x, atoms, torch.zeros(60), centre=centre)
    one_way = (False, [True, True, True])
    assert ways == [(True, [True, False, True]), (False, [False, True, False]), one_way, one_way, one_way]


@kernels
def test_one_huge_bias_wins_everything_and_a_hugely_negative_one_nothing():
    for x, y in (
        (torch.rand(100, 27, generator=seeded()), torch.rand(200, 27, generator=seeded(1))),
        (integers(-128, 128, 100, 27), integers(-128, 128, 200, 27, seed=1)),
    ):
        psi = torch.zeros(200)
        psi[137] = 1e30
        assert search(x, y, psi)[0].unique().tolist() == [137]
        psi[137] = -1e30
        assert torch.equal(search(x, y, psi)[0], brute(x, y, psi)[0])


@kernels
def test_all_atoms_equal_gives_index_zero_however_the_atoms_are_shared_out(monkeypatch):
    x = integers(-9, 9, 200, 3)
    for n_processors in (1, 3, 1000):
        monkeypatch.setattr(engine_module, "_n_processors", lambda _, n=n_processors: n)
        assert search(x, torch.ones(1500, 3), torch.zeros(1500))[0].max() == 0
        assert search(x, torch.full((1500, 3), 0.5), torch.zeros(1500))[0].max() == 0


@kernels
@pytest.mark.parametrize("unit", [0.25, pytest.param(1 / 3, marks=needs_cuda)])  # the interpreter's products are BLAS's
def test_an_answer_depends_neither_on_its_neighbours_nor_on_how_the_atoms_are_shared_out(monkeypatch, unit):
    x, y = unit * integers(-9, 10, 300, 27), unit * integers(-9, 10, 1400, 27, seed=1)
    y[1300:] = y[:100]
    index = NearestIndex(y.to(DEVICE), backend="triton", centre=False)
    monkeypatch.setattr(engine_module, "_n_processors", lambda _: 1000)  # 22 parts, more than meet at a time
    together = index.argmin(x.to(DEVICE))
    assert 1280 <= together.max() < 1300
    monkeypatch.setattr(engine_module, "_n_processors", lambda _: 1)
    pieces = [index.argmin(part) for part in x.to(DEVICE).split([1, 5, 70, 100, 124])]
    assert torch.equal(together, torch.cat(pieces))


@kernels
def test_no_queries_and_a_bias_that_changes():
    index = NearestIndex(torch.tensor([[0.0], [1.0], [4.0]], device=DEVICE), backend="triton", centre=False)
    assert index.argmin(torch.zeros(0, 1, device=DEVICE)).shape == (0,)
    x = torch.tensor([[0.4], [3.0]], device=DEVICE)
    assert index.argmin(x).tolist() == [0, 2]
    index.set_bias(torch.tensor([0.0, 2.0, 0.0], device=DEVICE))
    assert index.argmin(x).tolist() == [1, 2]


@kernels
def test_the_self_test_passes_and_finds_a_wrong_kernel(monkeypatch):
    monkeypatch.setattr(engine_module, "failure", engine_module.failure.__wrapped__)  # without its memory
    for d in (3, 75, 600):
        assert engine_module.failure(d, DEVICE) == ""
    right = engine_module.engine
    monkeypatch.setattr(engine_module, "engine", lambda *a, **k: lambda x: right(*a, **k)(x).clamp(max=100))
    assert "winners are wrong" in engine_module.failure(3, DEVICE)
    with pytest.raises(BackendError, match=r"backend='triton' cannot run on .*winners are wrong.*'auto'"):
        engine_module.check(3, DEVICE)


@pytest.mark.cuda
@needs_cuda
def test_auto_is_this_engine_on_cuda_and_large_searches_give_the_bits_of_torch():
    x, y = integers(-128, 128, 40_000, 75), integers(-128, 128, 9_000, 75, seed=1)
    psi = 1e4 * torch.randn(9_000, generator=seeded())
    assert NearestIndex(y.cuda(), centre=False).backend == "triton"
    expected = search(x, y, psi, backend="torch")
    for n in (1, 64, 500, 40_000):  # many parts down to one
        found = search(x[:n], y, psi)
        assert torch.equal(found[0], expected[0][:n])
        assert torch.equal(found[1], expected[1][:n])


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("endless", [False, True])
def test_texto_makes_the_same_picture_on_cuda_as_on_the_cpu(endless):
    picture = np.random.default_rng(0).integers(0, 256, (24, 40, 3)).astype(np.uint8)
    quick = {"endless": endless, "passes": 2, "endless_passes": 2, "samples_per_atom": 4, "training_factor": 2}
    here = texsyn.fit(picture, "texto", seed=1, device="cpu", **quick)
    there = type(here).from_tensors(here.exemplar, here.config, here.tensors(), "cuda")
    assert torch.equal(there.sample((33, 50), seed=2), here.sample((33, 50), seed=2))


# Choosing it, and what is said where it cannot run.


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs on the CPU")
def test_without_a_cuda_device_it_says_so():
    with pytest.raises(BackendError, match=r"cannot run on cpu: a CUDA device is needed; use backend='auto'"):
        NearestIndex(torch.ones(3, 2), backend="triton")


def test_without_triton_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)  # makes `import triton` fail
    monkeypatch.setattr(engine_module, "_kernels", engine_module._kernels.__wrapped__)
    monkeypatch.setattr(engine_module, "failure", engine_module.failure.__wrapped__)
    with pytest.raises(BackendError, match="the package triton is needed"):
        engine_module.check(27, CUDA)


def test_auto_is_triton_on_cuda_where_it_works_and_the_log_says_which(monkeypatch, caplog):
    y = SimpleNamespace(device=CUDA, shape=(10, 27))
    monkeypatch.setattr(engine_module, "usable", engine_module.usable.__wrapped__)
    monkeypatch.setattr(engine_module, "failure", lambda *_: "")
    with caplog.at_level(logging.INFO, "texsyn"):
        assert nearest_module._automatic(y) == "triton"
        monkeypatch.setattr(engine_module, "failure", lambda *_: "nothing works")
        assert nearest_module._automatic(y) == "torch"
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "nearest neighbours of dimension 27 on cuda: triton"),
        ("WARNING", "nearest neighbours of dimension 27 on cuda: torch, since for triton nothing works"),
    ]


def test_auto_is_numba_on_the_cpu_and_torch_elsewhere():
    assert NearestIndex(torch.ones(3, 2)).backend == "numba"
    assert nearest_module._automatic(SimpleNamespace(device=torch.device("mps"), shape=(10, 27))) == "torch"
