"""The compiled loops: numba compiles them when they first run on a machine and keeps them in a cache.

Two things that a user should not have to wonder about: the seconds that this takes, and an installation and a home
folder that are both read-only, where numba finds no place for its cache and refuses to start.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

ONCE = "compiling loops for this machine; once, some seconds"
EVERY_TIME = (
    "compiling loops, some seconds at every run: nothing here may be written to keep them "
    "(set NUMBA_CACHE_DIR to a folder that may)"
)


def with_cache(import_loops: Callable[[], Any]) -> Any:
    """import_loops(), in a way that works where nothing but the temporary folder can be written.

    numba looks for a place when a loop is defined, so it is the import that fails. The private folder is new and goes
    at exit: compiled code from a folder that others can write to must not be trusted.
    """
    try:
        return import_loops()
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
    from numba.core import config

    from texsyn.images import OutputError

    try:
        config.CACHE_DIR = tempfile.mkdtemp(prefix="texsyn-numba-")
    except OSError as error:
        raise OutputError(f"no folder for compiled loops ({error}); set NUMBA_CACHE_DIR to one") from None
    atexit.register(shutil.rmtree, config.CACHE_DIR, ignore_errors=True)
    _State.private = True
    return import_loops()


class _State:
    private = False  # the loops are compiled into a folder that goes at exit


@contextlib.contextmanager
def announced(say: Callable[[str], None]) -> Iterator[None]:
    """say() once, should numba begin to compile one of our loops inside: an entry of the cache is not there or stale."""
    if "numba" not in sys.modules:  # the method does without
        yield
        return
    from numba.core import event

    class Once(event.Listener):
        said = False

        def on_start(self, event: Any) -> None:
            if not self.said and event.data["dispatcher"].py_func.__module__.startswith("texsyn."):
                self.said = True
                say(EVERY_TIME if _State.private else ONCE)

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", Once()):
        yield
