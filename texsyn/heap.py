"""What the process holds in memory, and the return of what it holds for nothing; both where the system lets us.

The C library keeps what was freed for the next request, in a heap for each thread. Arrays of many sizes leave gaps that
fit nothing which comes later, so that a process of hours grows although it uses no more than in its first minute.
"""

from __future__ import annotations

import ctypes
import os
import sys


def resident() -> int | None:
    """Bytes of main memory that this process holds; None where only Linux would say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, LookupError, ValueError):
        return None


def give_back() -> None:
    """Return the free pages of every heap to the system; what is needed again later costs a little time."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc has it
    if trim is not None:
        trim(0)
