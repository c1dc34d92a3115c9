"""The command line: verbs, one sentence for every failure, and exit codes that scripts can trust.

0 done. 1 a run-time error. 2 wrong usage, or an output that exists. 3 an input that cannot be used. 4 an output that
cannot be written, or not enough memory or disk. 5 some items of a batch failed. 6 the computation diverged. 128 + n
after signal n: 130 after Ctrl-C, 143 after SIGTERM.

Results go to stdout, words and progress to stderr. Nothing here imports torch until a command runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import click

_STOPPED_BY = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal went away"}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
#: how the allocators of torch (Linux, Windows, CUDA) say it; they raise RuntimeError
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


class Stopped(SystemExit):
    """A signal asked us to stop. It unwinds like any exit, so that temporary files go; click lets it pass."""

    def __init__(self, signum: int) -> None:
        self.status = 128 + signum
        self.sentence = f"{_STOPPED_BY[signal.Signals(signum).name]}; no unfinished file was left"
        super().__init__(self.status)


class Misuse(click.UsageError):
    """Wrong usage that we can explain better than click: the message says all."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit the process with a documented code."""
    with _signals(), warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # they are for programmers; python -W default shows them
        try:
            for stream in (sys.stdout, sys.stderr):
                if hasattr(stream, "reconfigure"):
                    stream.reconfigure(errors="backslashreplace")  # file names need not be text
            from texsyn.cli.commands import texsyn

            outcome = texsyn.main(args=args, prog_name="texsyn", standalone_mode=False)
            code = outcome if isinstance(outcome, int) else 0
            if sys.stdout is not None:
                sys.stdout.flush()
        except Stopped as stop:
            code = _fail(stop.status, stop.sentence)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except (Exception, KeyboardInterrupt) as error:
            code = report(error)
        _give_up_unwritten()
    sys.exit(code)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Signals that ask us to stop raise Stopped inside, except those that our caller has us ignore (nohup)."""
    before = {}
    for name in _STOPPED_BY:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            with contextlib.suppress(ValueError):  # only the main thread may
                before[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(signum: int, frame: Any) -> NoReturn:
    raise Stopped(signum)


def _give_up_unwritten() -> None:
    """What stdout could not take has been reported: keep the interpreter from trying again, and complaining."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # not a real file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report(error: BaseException) -> int:
    """Say what went wrong in one sentence on stderr and return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return 2
    if isinstance(error, click.ClickException):
        return _fail(error.exit_code, _usage_sentence(error))
    if isinstance(error, (KeyboardInterrupt, EOFError, click.Abort)):
        return _fail(130, Stopped(signal.SIGINT).sentence)
    if not isinstance(error, ImportError):
        from texsyn.images import InputError, OutputError, OutputExists

        if isinstance(error, InputError):
            return _fail(3, str(error))
        if isinstance(error, OutputExists):
            return _fail(2, str(error).replace("ask for overwriting to replace it", "--overwrite replaces it"))
        if isinstance(error, OutputError):
            return _fail(4, str(error))
    if isinstance(error, MemoryError):
        return _fail(4, f"not enough memory: {_first_line(error) or 'try a smaller --size'}")
    if isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY):
        return _fail(4, f"not enough memory, try a smaller --size: {_first_line(error)}")
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return _fail(4, f"not enough memory: {_first_line(error)}")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return _fail(4, f"{error.filename or 'the output'}: cannot be written ({error.strerror})")
    if isinstance(error, FloatingPointError):
        return _fail(6, f"the computation diverged: {_first_line(error)}")
    return _unexpected(error)


def _unexpected(error: BaseException) -> int:
    """What should not happen: a fault of ours or of the installation."""
    traced = os.environ.get("TEXSYN_TRACEBACK", "0") not in ("", "0")
    if isinstance(error, ImportError):
        hint = " (the installation is damaged; texsyn doctor says more)"
    else:
        hint = "" if traced else " (TEXSYN_TRACEBACK=1 shows where)"
    _fail(1, f"{type(error).__name__}: {_first_line(error)}{hint}")
    if traced:
        import traceback

        traceback.print_exception(error)
    return 1


def _usage_sentence(error: click.ClickException) -> str:
    """click's message, with where to read more when it is click that complains."""
    sentence = error.format_message().rstrip(".")
    says_all = isinstance(error, (Misuse, click.BadParameter)) and not isinstance(error, click.MissingParameter)
    if isinstance(error, click.UsageError) and error.ctx is not None and not says_all:
        sentence += f" (see {error.ctx.command_path} --help)"
    return sentence


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""


def _fail(code: int, sentence: str) -> int:
    """Say the sentence in one line of printable characters and give the code back."""
    with contextlib.suppress(OSError):  # nobody listens: the code still tells
        click.echo(f"texsyn: {printable(sentence)}", err=True)
    return code


def printable(text: str) -> str:
    """text fit for one line of any terminal: names may hold line breaks and codes that colour or move the cursor.

    >>> print(printable("two\\nlines"))
    two\\nlines
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
