"""`texsyn web`: a page on this machine for making pictures without a terminal."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading

import click

from texsyn.cli import Stopped
from texsyn.cli.commands import texsyn
from texsyn.web.jobs import Limits

_DEFAULT = Limits()


@texsyn.command(short_help="Make pictures on a page in the browser.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", default=8000, show_default=True,
    help="Port on this machine; 0 takes a free one.",
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Print the page's address, and open nothing.")
@click.option(
    "--max-pixels", type=click.IntRange(min=64), metavar="N", default=_DEFAULT.pixels, show_default=True,
    help="Most pixels of a picture, given or made.",
)  # fmt: skip
@click.option(
    "--max-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", default=_DEFAULT.seconds,
    show_default=True, help="Longest time for one picture.",
)  # fmt: skip
def web(port: int, no_browser: bool, max_pixels: int, max_seconds: float) -> None:
    """Make pictures on a page in the browser: drop a picture, choose a size, download the result.

    The page is served to this machine alone (127.0.0.1), needs no network, and keeps the last few pictures in memory
    until you end it with Ctrl-C.

    \b
    texsyn web
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    from texsyn.web.server import Server

    try:
        server = Server(port, Limits(pixels=max_pixels, seconds=max_seconds))
    except ModuleNotFoundError as error:
        if error.name != "waitress":
            raise
        raise click.ClickException("web needs a further package: pip install 'texsyn[web]'") from None
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", None))
        why = "is taken by another program" if taken else f"cannot be used ({error.strerror})"
        raise click.ClickException(f"--port: {port} {why}; --port 0 takes a free one") from None
    try:
        click.echo(server.url)
        click.echo("texsyn: this page is for you alone; Ctrl-C ends it", err=True)
        if not no_browser:
            _open(server.url)
        from texsyn.web.jobs import engine

        engine()  # while the first picture is being chosen
        server.wait()
    except Stopped as stop:
        if not server.close():  # deep in one long step: the interpreter would wait for it, or break it badly
            click.echo(f"texsyn: {stop.sentence}", err=True)
            sys.stdout.flush()
            os._exit(stop.status)
        raise
    server.close()


def _open(url: str) -> None:
    """The page in the browser, without waiting for it."""
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
