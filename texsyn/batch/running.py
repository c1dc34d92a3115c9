"""All items: one after the other, in processes of this machine, or on a Dask cluster.

Processes, not threads: most of texto is Python between small tensor operations, which threads would take turns at; and
one that runs out of memory then takes only its own item with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Generator
from concurrent.futures import CancelledError, as_completed
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import torch

from texsyn.batch.making import Outcome, first_line, make
from texsyn.batch.manifest import Item


def run(
    items: list[Item], *, workers: int = 1, scheduler: str | None = None, overwrite: bool = False,
    device: str = "auto", dry_run: bool = False,
) -> Generator[Outcome, None, None]:  # fmt: skip
    """Make the items and give their outcomes as they come.

    workers: processes of one thread each; 1 makes them in this one. scheduler: the address of a Dask scheduler
    whose workers make them instead, and must see the files by the same absolute paths. Close the iterator to stop:
    nothing half-written is left.
    """
    options: dict[str, Any] = {"overwrite": overwrite, "device": device, "dry_run": dry_run}
    if scheduler is not None:
        yield from _on_cluster(items, scheduler, options)
    elif workers > 1:
        yield from _in_processes(items, workers, options)
    else:
        yield from (make(item, **options) for item in items)


def _on_cluster(items: list[Item], scheduler: str, options: dict[str, Any]) -> Generator[Outcome, None, None]:
    from texsyn.cluster.engine import engine

    with engine(scheduler) as dask:
        tasks = {dask.pool.submit(_make_elsewhere, _absolute(item), options): item for item in items}
        for task in as_completed(tasks):
            item = tasks.pop(task)
            try:
                yield replace(task.result(), item=item)
            except CancelledError:
                yield Outcome(item, "failed", error="the Dask scheduler went away")
            except Exception as error:  # the engine's: its workers died again and again, or are gone
                yield Outcome(item, "failed", error=f"{type(error).__name__}: {first_line(error)}")


def _absolute(item: Item) -> Item:
    image = item.image if item.image.startswith("skimage:") else os.path.abspath(item.image)
    return replace(item, image=image, output=os.path.abspath(item.output))


def _make_elsewhere(item: Item, options: dict[str, Any]) -> Outcome:
    torch.set_num_threads(1)  # the other cores have workers of their own
    return make(item, **options)


def _in_processes(items: list[Item], workers: int, options: dict[str, Any]) -> Generator[Outcome, None, None]:
    """Each worker is given an item when it is done with one. One that dies fails its item and is replaced."""
    waiting = iter(items)
    busy: dict[Connection, tuple[Any, Item]] = {}
    started: list[Any] = []

    def hand_out(worker: tuple[Connection, Any] | None) -> None:
        item = next(waiting, None)
        if item is None:
            if worker is not None:
                worker[0].close()  # which ends it
            return
        pipe, process = worker or _start(options)
        if worker is None:
            started.append(process)
        busy[pipe] = process, item
        with contextlib.suppress(OSError):  # it died; the pipe says so when it is read
            pipe.send(item)

    try:
        for _ in range(min(workers, len(items))):
            hand_out(None)
        while busy:
            pipe: Any  # Windows has a class of its own for it
            for pipe in wait(list(busy)):
                process, item = busy.pop(pipe)
                try:
                    outcome, worker = pipe.recv(), (pipe, process)
                except (EOFError, OSError):
                    process.join()
                    worker, why = None, f"its worker died (exit code {process.exitcode}); short of memory, perhaps"
                    outcome = Outcome(item, "failed", error=why)
                hand_out(worker)
                yield outcome
    finally:
        for process, _ in busy.values():
            process.terminate()
        for process in started:
            process.join(10)
            process.kill()


def _start(options: dict[str, Any]) -> tuple[Connection, Any]:
    """A new worker and the pipe to it. Ctrl-C, which all of a terminal's programs get, is for us alone to act on."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, options), daemon=True)
    before = None
    with contextlib.suppress(ValueError):  # not in the main thread
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited
    try:
        process.start()
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
    theirs.close()
    return ours, process


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    """Make what comes through the pipe until it is closed, also by the end of whoever holds the other end."""
    signal.signal(signal.SIGTERM, _leave)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(_make_elsewhere(pipe.recv(), options))


def _leave(signum: int, frame: Any) -> NoReturn:
    """Unwind, so that a temporary file goes; once. Whatever that interrupts has nothing more to say to anybody."""
    signal.signal(signum, signal.SIG_IGN)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    sys.exit(128 + signum)
