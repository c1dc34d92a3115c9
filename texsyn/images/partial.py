"""An output that is written for hours: kept beside its final place, with a log of what is done, until it is complete.

`out.tif.part` is the unfinished picture and `out.tif.part.log` its log: what is being made, then a line for each part
that is on the disk for certain, "ready" before the first and "done" after the last. Whatever is cut off at whatever
moment, what the log says is true; all else is made again. At the end the picture takes its name in one step.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from texsyn.images.picture import OutputError, OutputExists, printable, reason
from texsyn.images.saving import _rename_new, _rename_over, _sync_folder, check_path
from texsyn.images.tiled import KINDS, Layout, Tiles, allocated, is_folder_of_others, remove

FORMAT = 1


class Unfinished(OutputExists):
    """An unfinished output is there that cannot be gone on with, or was not asked to be."""


class Partial:
    """The unfinished output of a final path; use as a context manager, which lets go of its files and keeps them.

    identity says what is being made, JSON-able: only an equal one goes on. kind and layout make the picture.
    """

    def __init__(self, path: str, kind: str, layout: Layout, identity: Mapping[str, Any]) -> None:
        self.path = os.path.realpath(path)  # through a symbolic link, to the file it stands for
        self.shown = printable(path)
        self.shown_part = self.shown + ".part"
        self.part, self.log_path = self.path + ".part", self.path + ".part.log"
        self._kind, self._layout = kind, layout
        self._identity = json.loads(json.dumps({"format": FORMAT, "kind": kind} | dict(identity)))
        self._log: io.FileIO | None = None
        self.tiles: Tiles | None = None
        #: numbers of what is on the disk
        self.done: set[int] = set()
        self.complete = False

    @property
    def allocated(self) -> int:
        """Bytes of disk that the unfinished output already has."""
        return allocated(self.part)

    @property
    def part_is_there(self) -> bool:
        return os.path.lexists(self.part)

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Raises what open() would, as far as that shows before anything is touched."""
        if not (resume and self._published()):
            self._check_final(overwrite)
        try:
            os.lstat(self.log_path)
            there = True
        except FileNotFoundError:
            there = False
        except OSError as error:
            raise self.failure(error) from None
        if resume and there:
            self._require_same()
        elif resume and os.path.lexists(self.part):
            raise Unfinished(
                f"{self.shown_part}: has no log beside it to resume from; overwrite=True without resume starts anew"
            )
        elif (there or os.path.lexists(self.part)) and not overwrite:
            raise Unfinished(
                f"{self.shown_part}: an unfinished picture is there; resume=True goes on with it, "
                "overwrite=True starts anew"
            )
        elif not there and is_folder_of_others(self.part):
            raise OutputError(f"{self.shown_part}: is a folder that holds no Zarr array; it is not replaced")

    def earlier(self) -> dict[str, Any] | None:
        """The identity of the unfinished output that is there, or None."""
        return _read(self.log_path)[0]

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *unused: Any) -> None:
        if self.tiles is not None:
            self.tiles.close()
        if self._log is not None:
            self._log.close()

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Make the unfinished output, or find it again. OutputExists, Unfinished, OutputError."""
        self.check(resume=resume, overwrite=overwrite)
        try:
            mode = "r+b" if os.path.lexists(self.log_path) else "x+b"
            log = self._log = io.FileIO(self.log_path, mode)
            _lock(log)
            identity, lines, end = _read(self.log_path)
            self.complete = "done" in lines and resume
            if self.complete and not self.part_is_there and os.path.lexists(self.path):
                return
            if resume and identity == self._identity and "ready" in lines and self.part_is_there:
                log.truncate(end)
                log.seek(end)
                self.done = {int(line) for line in lines if line.isdecimal()}
            else:
                self.complete = False
                self._start(log)
            self.tiles = KINDS[self._kind](self.part, self._layout)
        except BlockingIOError:
            raise OutputError(f"{self.shown_part}: another process is writing it") from None
        except OSError as error:
            raise self.failure(error) from error

    def _start(self, log: io.FileIO) -> None:
        log.truncate(0)
        log.seek(0)
        self._say(json.dumps(self._identity))
        remove(self.part)
        try:
            KINDS[self._kind].create(self.part, self._layout)
        except OSError:
            with contextlib.suppress(OSError):  # nothing in it is worth keeping
                remove(self.part)
                os.unlink(self.log_path)
            raise
        _sync_folder(self.part)
        self._say("ready")

    def record(self, numbers: Iterable[int]) -> None:
        """Bring all that was written to the disk, then log these numbers as done. Raises OSError."""
        numbers = list(numbers)
        assert self.tiles is not None
        if numbers:
            self.tiles.sync()
            self._say("\n".join(map(str, numbers)))
            self.done.update(numbers)

    def _say(self, lines: str) -> None:
        assert self._log is not None
        rest = memoryview((lines + "\n").encode())
        while rest:
            rest = rest[self._log.write(rest) :]
        os.fsync(self._log.fileno())

    def publish(self, *, overwrite: bool) -> None:
        """Everything is written: give it its name, in one step. OutputExists, OutputError."""
        try:
            if not self.complete:
                assert self.tiles is not None
                self.tiles.sync()
                self._say("done")
            if self.tiles is not None:
                self.tiles.close()
            if os.path.lexists(self.part):
                _rename(self.part, self.path, overwrite=overwrite)
            remove(self.part + ".old")  # what a folder has replaced
            _sync_folder(self.path)
            os.unlink(self.log_path)
        except FileExistsError:
            raise OutputExists(f"{self.shown}: exists; ask for overwriting to replace it") from None
        except OSError as error:
            raise self.failure(error) from error

    def failure(self, error: OSError) -> OSError:
        """An error while writing as one sentence, with the bytes that are missing where the disk is full."""
        if isinstance(error, OutputError):
            return error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return OutputError(f"{self.shown}: cannot be written ({reason(error)})")
        needed = max(self._layout.n_bytes - self.allocated, 0)
        kept = f"; {self.shown_part} is kept, resume=True goes on" if self.part_is_there else ""
        return OutputError(f"{self.shown}: the disk is full: {needed} bytes more are needed ({reason(error)}){kept}")

    def _check_final(self, overwrite: bool) -> None:
        if not os.path.isdir(self.path):
            check_path(self.path, overwrite=overwrite)
        elif self._kind != "zarr":
            raise OutputError(f"{self.shown}: is a directory; give a file name")
        elif not overwrite:
            raise OutputExists(f"{self.shown}: exists; ask for overwriting to replace it")
        elif is_folder_of_others(self.path):
            raise OutputError(f"{self.shown}: is a folder that holds no Zarr array; it is not replaced")

    def _published(self) -> bool:
        """Whether a run was cut off after its output got its name."""
        identity, lines, _ = _read(self.log_path)
        if identity != self._identity or "done" not in lines or not os.path.lexists(self.path):
            return False
        return not os.path.lexists(self.part) or os.path.samefile(self.part, self.path)

    def _require_same(self) -> None:
        found = self.earlier()
        if found is None:  # cut off before it began
            return
        for key, ours in self._identity.items():
            theirs = found.get(key)
            if theirs != ours:
                how = "for another model" if key == "model" else f"with {key}={theirs}, this run has {key}={ours}"
                raise Unfinished(f"{self.shown_part}: was begun {how}; overwrite=True without resume starts anew")


def _read(log_path: str) -> tuple[dict[str, Any] | None, set[str], int]:
    """(identity or None, lines after it, bytes up to the end of the last good line) of a log; lenient with its end."""
    try:
        with open(log_path, "rb") as file:
            head, *lines = file.read().split(b"\n")[:-1]  # behind the last line break is a line that was cut off
            identity = json.loads(head)
    except (OSError, ValueError):
        return None, set(), 0
    if not isinstance(identity, dict):
        return None, set(), 0
    good, end = set(), len(head) + 1
    for line in lines:
        if not ((line.isdigit() and len(line) < 10) or line in (b"ready", b"done")):
            break
        good.add(line.decode())
        end += len(line) + 1
    return identity, good, end


def _lock(file: io.FileIO) -> None:
    """Keep other processes out for as long as the file is open. BlockingIOError when one is in."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a network file system without locks
        return


def _rename(part: str, path: str, *, overwrite: bool) -> None:
    """Give part the name path. Only with overwrite is anything replaced; else FileExistsError."""
    if os.path.isdir(part):
        if overwrite and os.path.lexists(path):  # a folder cannot be replaced in one step
            remove(part + ".old")
            os.rename(path, part + ".old")
        try:
            os.rename(part, path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
            raise
    elif os.path.lexists(path) and os.path.samefile(part, path):  # cut off between link and unlink
        os.unlink(part)
    elif overwrite:
        _rename_over(part, path)
    else:
        _rename_new(part, path)
        with contextlib.suppress(FileNotFoundError):  # it was a link, or a rename where there are none
            os.unlink(part)
