"""A progress line with the time left, on a terminal only; silent in pipes, logs and after -q."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any


class ProgressLine:
    """A context manager whose update(fraction, message) redraws one line of stderr; at the end it is wiped."""

    def __init__(self, wanted: bool) -> None:
        self.shown = wanted and _on_terminal()
        self.began = self.drawn = time.monotonic()
        self.width = 0  # of what stands there now

    def __enter__(self) -> ProgressLine:
        self.began = time.monotonic()
        return self

    def __exit__(self, *unused: Any) -> None:
        self.clear()

    def update(self, fraction: float, message: str) -> None:
        """Show that fraction (0..1) of the work is done."""
        spent = time.monotonic() - self.began
        self.show(fraction, message, spent / fraction - spent if spent > 1 and fraction > 0.02 else None)

    def show(self, fraction: float, message: str, left: float | None) -> None:
        """update() for a caller who knows better how many seconds are left; None for nobody does."""
        now = time.monotonic()
        if not self.shown or (now - self.drawn < 0.1 and fraction < 1):
            return
        self.drawn = now
        time_left = "" if left is None else f", {clock(left)} left"
        filled = int(24 * fraction)
        line = f"[{'#' * filled}{'-' * (24 - filled)}] {100 * fraction:3.0f} %{time_left}  {message}"[: _columns() - 1]
        self._write("\r" + line.ljust(self.width))
        self.width = len(line)

    def clear(self) -> None:
        """Wipe the line, so that something else can be said; the next update draws it again."""
        if self.width:
            self._write("\r" + " " * self.width + "\r")
            self.width = 0

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal went away; the work goes on
            self.shown = False


class Remaining:
    """Seconds that are left of work in equal steps, from the fractions heard; the first is where it went on."""

    def __init__(self) -> None:
        self.heard, self.began, self.first = 0, 0.0, 0.0

    def __call__(self, fraction: float) -> float | None:
        """Hear a fraction (0..1) after each step; None while too little is known: three steps and two seconds."""
        now = time.monotonic()
        if self.heard == 0:
            self.began, self.first = now, fraction
        self.heard += 1
        if self.heard <= 3 or now - self.began < 2 or fraction <= self.first:
            return None
        return (now - self.began) / (fraction - self.first) * (1 - fraction)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _columns() -> int:
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours when there are any.

    >>> clock(75.2), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, s = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"
