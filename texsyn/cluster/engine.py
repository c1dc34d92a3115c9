"""A Dask cluster as an executor of Python's own kind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any, NamedTuple

EXTRA = "pip install 'texsyn[cluster]'"
TIMEOUT = 10.0  # seconds for a scheduler to answer


class Engine(NamedTuple):
    """What computes: an executor, send(x) for what to submit in place of a large x, so that it travels once; cores."""

    pool: Executor
    send: Callable[[Any], Any]
    cores: int


@contextlib.contextmanager
def engine(scheduler: str) -> Iterator[Engine]:
    """The workers of the Dask scheduler at that address. Raises ConnectionError when nobody answers there.

    What is sent is a task's result, not scattered data: when the worker that holds it dies, it is there again.
    """
    with needed():
        from distributed import Client
    try:
        client = Client(scheduler, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {scheduler!r} ({error})") from error
    try:
        cores = sum(client.nthreads().values()) or 1
        yield Engine(client.get_executor(pure=False), lambda x: client.submit(_itself, x, pure=False), cores)
    finally:
        client.close()


@contextlib.contextmanager
def needed() -> Iterator[None]:
    """Imports inside that fail say what to install."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: {EXTRA}") from error


def _itself(x: Any) -> Any:
    return x
