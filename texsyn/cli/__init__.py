"""The command line: verbs, one sentence for every failure, and exit codes that scripts can trust.

0 done. 1 a run-time error. 2 wrong usage, or an output that exists. 3 an input that cannot be used. 4 an output that
cannot be written, or not enough memory or disk. 6 the computation diverged. 130 and 143 after Ctrl-C and SIGTERM.

Results go to stdout, words and progress to stderr. Nothing here imports torch until a command runs.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

import click


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit the process with a documented code."""
    from texsyn.cli.commands import texsyn

    signal.signal(signal.SIGTERM, _terminated)
    try:
        texsyn.main(args=args, prog_name="texsyn", standalone_mode=False)
        sys.stdout.flush()
        code = 0
    except (Exception, KeyboardInterrupt) as error:
        code = report(error)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away: keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _terminated(signum: int, frame: Any) -> NoReturn:
    raise SystemExit(143)  # unwinds, so that temporary files go


def report(error: BaseException) -> int:
    """Say what went wrong in one sentence on stderr and return the exit code."""
    from texsyn.images import InputError, OutputError, OutputExists

    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return 2
    if isinstance(error, click.ClickException):
        _say(error.format_message())
        return error.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        _say("interrupted, nothing was written")
        return 130
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return 1
    if isinstance(error, InputError):
        _say(str(error))
        return 3
    if isinstance(error, OutputExists):
        _say(f"{error} (--overwrite replaces it)")
        return 2
    if isinstance(error, OutputError):
        _say(str(error))
        return 4
    if isinstance(error, MemoryError) or "not enough memory" in str(error) or "out of memory" in str(error):
        _say(f"not enough memory for this: {_first_line(error) or 'try a smaller --size'}")
        return 4
    if isinstance(error, FloatingPointError):
        _say(f"the computation diverged: {_first_line(error)}")
        return 6
    _say(f"{type(error).__name__}: {_first_line(error)} (TEXSYN_TRACEBACK=1 shows where)")
    if os.environ.get("TEXSYN_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    return 1


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""


def _say(sentence: str) -> None:
    click.echo(f"texsyn: {sentence}", err=True)
