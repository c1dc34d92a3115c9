"""The compiled loops: numba compiles them when they first run on a machine and keeps them in a cache.

Two things that a user should not have to wonder about: the seconds that this takes, and an installation and a home
folder that are both read-only, where numba finds no place for its cache and refuses to start.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

_PRIVATE = "texsyn-numba-"


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
        folder = tempfile.mkdtemp(prefix=_PRIVATE)
    except OSError as error:
        raise OutputError(f"no folder for compiled loops ({error}); set NUMBA_CACHE_DIR to one") from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder
    config.reload_config()
    return import_loops()


def kept() -> str:
    """What becomes of the compiled loops, in words; after with_cache()."""
    if _PRIVATE in os.environ.get("NUMBA_CACHE_DIR", ""):
        return "not kept, because no folder for them can be written (NUMBA_CACHE_DIR sets one)"
    return "kept for the next runs"


@contextlib.contextmanager
def announced(say: Callable[[str], None]) -> Iterator[None]:
    """say() once, should numba begin to compile one of our loops inside: the cache has no entry, or a stale one."""
    if "numba" not in sys.modules:  # the method does without
        yield
        return
    from numba.core import event

    sentence = f"compiling loops for this machine, some seconds; they are {kept()}"

    class Once(event.Listener):
        said = False

        def on_start(self, event: Any) -> None:
            if not self.said and event.data["dispatcher"].py_func.__module__.startswith("texsyn."):
                self.said = True
                say(sentence)

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", Once()):
        yield
