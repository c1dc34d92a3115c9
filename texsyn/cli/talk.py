"""Where words go: results to stdout, sentences and progress to stderr."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import click

from texsyn.cli import Misuse, printable
from texsyn.cli.progress import ProgressLine


class Talk:
    """How much a run says: sentences and the progress line unless quiet, JSON lines when asked for."""

    def __init__(self, as_json: bool, quiet: bool, verbose: int, output: str | None) -> None:
        if as_json and output == "-":
            raise Misuse("--json and -o - both want stdout; write the picture to a file")
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.line = ProgressLine(not quiet and not as_json)
        levels = {0: logging.WARNING, 1: logging.INFO}
        logging.basicConfig(stream=sys.stderr, level=levels.get(verbose, logging.DEBUG), format="%(name)s: %(message)s")
        logging.getLogger("numba").setLevel(logging.WARNING)

    def say(self, sentence: str) -> None:
        """One line on stderr for people; silent with --quiet and --json."""
        if not self.quiet and not self.as_json:
            self.line.clear()
            click.echo(printable(sentence), err=True)

    def result(self, record: dict[str, Any]) -> None:
        """One line on stdout for programs; only with --json."""
        if self.as_json:
            click.echo(json.dumps(record))
