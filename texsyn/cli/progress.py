"""A progress line with the time left, on a terminal only; silent in pipes, logs and after -q."""

from __future__ import annotations

import sys
import time
from typing import Any


class ProgressLine:
    """A context manager whose update(fraction, message) redraws one line of stderr."""

    def __init__(self, wanted: bool) -> None:
        self.shown = wanted and sys.stderr.isatty()
        self.began = self.drawn = time.monotonic()
        self.width = 0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *unused: Any) -> None:
        if self.width:
            sys.stderr.write("\r" + " " * self.width + "\r")
            sys.stderr.flush()

    def update(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if not self.shown or (now - self.drawn < 0.1 and fraction < 1):
            return
        self.drawn = now
        spent = now - self.began
        left = f", {clock(spent / fraction - spent)} left" if spent > 1 and fraction > 0.02 else ""
        filled = int(24 * fraction)
        line = f"[{'#' * filled}{'-' * (24 - filled)}] {100 * fraction:3.0f} %{left}  {message}"[:110]
        sys.stderr.write("\r" + line.ljust(self.width))
        sys.stderr.flush()
        self.width = len(line)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours when there are any.

    >>> clock(75.2), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, s = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"
