"""The plane on many machines: lazy arrays under every scheduler, a killed worker, and Zarr written by the workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import texsyn
import texsyn.render
from texsyn.blocks import Period
from texsyn.cluster import pack, render_array, render_block, write_zarr
from texsyn.cluster.store import _write_parts
from texsyn.images import InputError, OutputError, OutputExists, Region, Size
from texsyn.models.base import Cancelled

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
zarr = pytest.importorskip("zarr")

CHEAP = {"gaussian": {}, "texto": {"endless_passes": 1, "samples_per_atom": 1, "training_factor": 2}}
WINDOW = Region(-37, -1001, 150, 93)


@pytest.fixture(scope="module", params=["gaussian", "texto"])
def model(request: pytest.FixtureRequest) -> texsyn.TextureModel:
    return texsyn.fit("skimage:grass:64", request.param, seed=1, device="cpu", **CHEAP[request.param])


@pytest.fixture(scope="module")
def gaussian() -> texsyn.TextureModel:
    return texsyn.fit("skimage:grass:64", "gaussian", seed=1, device="cpu")


# ---- arrays


@pytest.mark.parametrize("chunks", [32, (64, 17), 1, 4096])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_an_array_is_the_plane(model: texsyn.TextureModel, scheduler: str, chunks: int | tuple[int, int]) -> None:
    region = WINDOW if chunks != 1 else Region(-2, 3, 5, 4)
    array = render_array(model, None, 7, chunks, region=region)
    expected = model.plane(seed=7)(region)
    assert array.shape == expected.shape
    assert array.dtype == expected.dtype
    assert np.array_equal(array.compute(scheduler=scheduler), expected)


@pytest.mark.parametrize("from_file", [False, True])
def test_other_processes_make_the_same(model: texsyn.TextureModel, tmp_path: Path, from_file: bool) -> None:
    model.save(tmp_path / "m.texsyn")
    array = render_array(tmp_path / "m.texsyn" if from_file else model, (61, 130), 8, 40)
    made = array.compute(scheduler="processes", num_workers=1)
    assert np.array_equal(made, model.plane(seed=8)(Region(0, 0, 61, 130)))


@pytest.mark.parametrize("period", [(64, 96), (None, 96)])
def test_an_array_with_a_period(model: texsyn.TextureModel, period: Period) -> None:
    array = render_array(model, Size(64, 200), 3, 50, period=period)
    made = array.compute()
    assert np.array_equal(made, model.plane(seed=3, period=period)(Region(0, 0, 64, 200)))
    assert np.array_equal(made[:, :96], made[:, 96:192])


def test_16_bit_and_float_exemplars_keep_their_type() -> None:
    rng = np.random.default_rng(0)
    for exemplar in (rng.integers(0, 2**16, (20, 20, 3), np.uint16), rng.random((20, 20), np.float32)):
        model = texsyn.fit(exemplar, "gaussian", seed=0)
        array = render_array(model, (30, 31), 1, 16)
        assert array.dtype == exemplar.dtype
        assert np.array_equal(array.compute(), model.plane(seed=1)(Region(0, 0, 30, 31)))


def test_only_the_blocks_asked_for_are_made(gaussian: texsyn.TextureModel) -> None:
    huge = render_array(gaussian, (10**6, 10**6), 5, 1000)
    assert np.array_equal(
        huge[999_990:, 500_500:500_507].compute(), gaussian.plane(seed=5)(Region(999_990, 500_500, 10, 7))
    )


def test_equal_arguments_give_equal_names(gaussian: texsyn.TextureModel) -> None:
    def names(seed: int = 1, chunks: int = 50, **more: Any) -> set[Any]:
        return set(render_array(gaussian, (100, 100), seed, chunks, **more).__dask_graph__())

    assert names() == names()
    for other in ({"seed": 2}, {"chunks": 25}, {"period": (100, 100)}):
        assert len(names() & names(**other)) == 1, "all but the model are others"


def test_the_model_is_in_the_graph_once(model: texsyn.TextureModel) -> None:
    from distributed.protocol.serialize import pickle_dumps  # what a client sends

    array = render_array(model, (2000, 2000), 1, 100)
    (array,) = dask.optimize(array)
    graph = dict(array.__dask_graph__())
    assert len(graph) >= 400
    _, frames = pickle_dumps(graph)
    n_bytes, n_model = sum(memoryview(f).nbytes for f in frames), len(model.to_bytes())
    assert n_model < n_bytes < n_model + 400 * 400
    plain = b"".join(bytes(f) for f in frames)
    assert plain.count(model.exemplar.pixels[:4].tobytes()) == 1


def test_wrong_arguments(gaussian: texsyn.TextureModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give size or region"):
        render_array(gaussian, None, 1)
    with pytest.raises(ValueError, match="give size or region"):
        render_array(gaussian, (9, 9), 1, region=WINDOW)
    with pytest.raises(ValueError, match="must be at least 1"):
        render_array(gaussian, (9, 9), 1, 0)
    with pytest.raises(ValueError, match="fit an endless one"):
        render_array(texsyn.fit("skimage:grass:32", "random-phase", seed=0), (9, 9), 1)
    with pytest.raises(InputError, match=r"none\.texsyn: cannot be read"):
        render_array(tmp_path / "none.texsyn", (9, 9), 1)


def test_a_model_file_that_was_replaced_is_refused(gaussian: texsyn.TextureModel, tmp_path: Path) -> None:
    path = tmp_path / "m.texsyn"
    gaussian.save(path)
    packed = pack(path)
    texsyn.fit("skimage:brick:64", "gaussian", seed=2).save(path, overwrite=True)
    other = pack(path)
    assert packed != other
    texsyn.cluster.blocks._kept_model.cache_clear()
    texsyn.cluster.blocks._kept_plane.cache_clear()
    with pytest.raises(InputError, match="is not the model file that this work began with"):
        render_block(packed, WINDOW, seed=1)


def test_threads_share_one_plane(gaussian: texsyn.TextureModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    plane = type(gaussian).plane
    monkeypatch.setattr(
        type(gaussian), "plane", lambda self, **more: (made.append(threading.get_ident()), plane(self, **more))[1]
    )
    render_array(gaussian, (300, 300), 424_242, 30).compute(scheduler="threads", num_workers=8)
    assert len(made) == 1


# ---- a cluster of two processes


def two_workers(threads: int = 1) -> Any:
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=threads, processes=True, dashboard_address=":0", silence_logs="ERROR"
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_workers(threads=2) as two:
        yield two


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("texsyn.render.JOB", 32)


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_cluster_makes_the_same_with_one_torch_thread(model: texsyn.TextureModel, cluster: Any) -> None:
    with distributed.Client(cluster) as client:
        made = render_array(model, None, 7, 40, region=WINDOW).compute()
        assert np.array_equal(made, model.plane(seed=7)(WINDOW))
        assert set(client.run(torch.get_num_threads).values()) == {1}


@pytest.mark.usefixtures("small_parts")
def test_a_killed_worker_changes_nothing(model: texsyn.TextureModel, tmp_path: Path) -> None:
    region = Region(5, 6, 400, 300)
    with two_workers() as two, distributed.Client(two) as client:
        victim = next(iter(client.run(os.getpid).values()))
        killed = []

        def kill(fraction: float, message: str) -> None:
            if not killed and 0.1 < fraction < 1:
                os.kill(victim, signal.SIGKILL)
                killed.append(message)

        address = two.scheduler_address
        write_zarr(model, tmp_path / "a.zarr", region, seed=7, block=32, scheduler=address, on_progress=kill)
        assert killed
        array = render_array(model, None, 7, 50, region=region).persist()
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        made = array.compute()
    expected = model.plane(seed=7)(region)
    assert np.array_equal(made, expected)
    assert np.array_equal(zarr.open_array(tmp_path / "a.zarr", mode="r")[:], expected)
    assert os.listdir(tmp_path) == ["a.zarr"]


# ---- Zarr


@pytest.mark.usefixtures("small_parts")
def test_a_cluster_writes_the_files_that_threads_write(
    model: texsyn.TextureModel, cluster: Any, tmp_path: Path
) -> None:
    options = {"seed": 7, "block": 32, "tile": "x", "region": Region(-20, 30, 100, 200)}
    recipe = texsyn.render.to_file(model, tmp_path / "a.zarr", (120, 90), **options)
    model.save(tmp_path / "m.texsyn")
    address = cluster.scheduler_address
    assert write_zarr(tmp_path / "m.texsyn", tmp_path / "b.zarr", (120, 90), scheduler=address, **options) == recipe
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr", "m.texsyn"]


@pytest.mark.usefixtures("small_parts")
def test_what_threads_began_a_cluster_finishes(
    gaussian: texsyn.TextureModel, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, target, address = threading.Event(), tmp_path / "a.zarr", cluster.scheduler_address

    def until_half(fraction: float, message: str) -> None:
        assert not target.exists()
        if fraction > 0.5:
            stop.set()

    with pytest.raises(Cancelled):
        texsyn.render.to_file(gaussian, target, WINDOW, seed=7, block=32, on_progress=until_half, cancel=stop)
    with pytest.raises(OutputExists, match="an unfinished picture is there"):
        write_zarr(gaussian, target, WINDOW, seed=7, block=32, scheduler=address)
    with pytest.raises(OutputError, match="was begun with seed=7"):
        write_zarr(gaussian, target, WINDOW, seed=8, block=32, scheduler=address, resume=True)
    fractions: list[str] = []
    write_zarr(
        gaussian, target, WINDOW, seed=7, block=32, scheduler=address, resume=True,
        on_progress=lambda fraction, message: fractions.append(message),
    )  # fmt: skip
    assert 1 < len(fractions) < 10, "half of 15 parts were there"
    assert np.array_equal(zarr.open_array(target, mode="r")[:], gaussian.plane(seed=7)(WINDOW))
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.usefixtures("small_parts")
def test_what_was_cancelled_on_a_cluster_is_kept(gaussian: texsyn.TextureModel, cluster: Any, tmp_path: Path) -> None:
    stop, target, address = threading.Event(), tmp_path / "a.zarr", cluster.scheduler_address

    def at_once(fraction: float, message: str) -> None:
        stop.set()

    options: dict[str, Any] = {"seed": 7, "block": 32, "scheduler": address}
    with pytest.raises(Cancelled):
        write_zarr(gaussian, target, WINDOW, on_progress=at_once, cancel=stop, **options)
    assert sorted(os.listdir(tmp_path)) == ["a.zarr.part", "a.zarr.part.log"]
    write_zarr(gaussian, target, WINDOW, resume=True, **options)
    assert np.array_equal(zarr.open_array(target, mode="r")[:], gaussian.plane(seed=7)(WINDOW))


@pytest.mark.usefixtures("small_parts")
def test_the_render_verb_hands_its_work_to_a_scheduler(
    gaussian: texsyn.TextureModel, cluster: Any, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from texsyn.cli.commands import texsyn as commands

    gaussian.save(tmp_path / "m.texsyn")
    common = ["render", str(tmp_path / "m.texsyn"), "--size", "150x130", "--seed", "3", "--block", "32", "-q", "-o"]
    address = ["--scheduler", cluster.scheduler_address]
    for name, options in (("threads.zarr", []), ("cluster.zarr", address)):
        done = CliRunner().invoke(commands, [*common, str(tmp_path / name), *options], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert files(tmp_path / "threads.zarr") == files(tmp_path / "cluster.zarr")
    for wrong in ([str(tmp_path / "x.tif"), *address], [str(tmp_path / "x.zarr"), *address, "--workers", "2"]):
        assert CliRunner().invoke(commands, [*common, *wrong]).exit_code == 2


def test_zarr_outputs_that_are_in_the_way(gaussian: texsyn.TextureModel, cluster: Any, tmp_path: Path) -> None:
    target, address = tmp_path / "a.zarr", cluster.scheduler_address
    write_zarr(gaussian, target, WINDOW, seed=7, scheduler=address)
    with pytest.raises(OutputExists, match=r"a\.zarr: exists"):
        write_zarr(gaussian, target, WINDOW, seed=8, scheduler=address)
    write_zarr(gaussian, target, WINDOW, seed=8, overwrite=True, scheduler=address)
    assert np.array_equal(zarr.open_array(target, mode="r")[:], gaussian.plane(seed=8)(WINDOW))
    with pytest.raises(ConnectionError, match="no Dask scheduler answers"):
        write_zarr(gaussian, tmp_path / "b.zarr", WINDOW, seed=8, scheduler="nonsense://")
    with pytest.raises(ValueError, match=r"a cluster writes \.zarr"):
        write_zarr(gaussian, tmp_path / "b.tif", WINDOW, seed=8, scheduler=address)
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_a_folder_that_the_workers_do_not_see(gaussian: texsyn.TextureModel, cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "a.zarr.part").mkdir()
    planned = texsyn.render.plan(gaussian, tmp_path / "b.zarr", WINDOW, seed=1)
    layout, part = planned.layout, str(tmp_path / "a.zarr.part")
    with distributed.Client(cluster) as client:
        task = client.submit(_write_parts, pack(gaussian), part, layout, WINDOW, 1, (None, None), {0: WINDOW})
        with pytest.raises(OutputError, match="is gone, or not where this worker could see it"):
            task.result()
    assert os.listdir(tmp_path / "a.zarr.part") == []


def test_a_disk_that_is_too_small_is_refused_before_the_work(
    gaussian: texsyn.TextureModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("texsyn.render.Plan.disk_free", property(lambda plan: 10))
    with pytest.raises(texsyn.OutputError, match="bytes of disk"):
        write_zarr(gaussian, tmp_path / "x.zarr", (40, 40), seed=1, scheduler="tcp://127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []
