"""What the page works with, all of it in memory: the pictures that were handed in, and the jobs that make new ones.

One job at a time; the last few pictures and jobs are kept under names that nobody can guess, older ones are forgotten.
Every refusal is a `Refused` with a sentence for a person and an HTTP status.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from typing import Any, Generic, TypeVar

from texsyn.images import InputError, Picture, Region, Size, load, parse_size, save
from texsyn.web.preview import Preview

TILES = ("none", "x", "y", "xy")
KINDS = {"L": "grey", "LA": "grey with alpha", "RGB": "colour", "RGBA": "colour with alpha"}
DEPTHS = {"uint8": "8 bit", "uint16": "16 bit", "float32": "floats"}
KEPT = 3  # pictures, and jobs: a reload and a second look, no archive
PREVIEW_SIDE = 512
UNHEARD_SECONDS = 150  # a job that nobody asks about for so long is stopped; hidden pages may ask once a minute only
STOPPING_SECONDS = 5

_log = logging.getLogger(__name__)
_loading = threading.Lock()
T = TypeVar("T")


class Refused(Exception):
    """A request that is not followed: the HTTP status, and a sentence for a person."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


@dataclass(frozen=True)
class Limits:
    """What one person's machine is asked for at most."""

    upload_bytes: int = 2**26
    #: of a picture, given or made
    pixels: int = 2**24
    #: of making one picture
    seconds: float = 600


@dataclass
class Job:
    """One picture being made: its order, how far it is, and what came of it. It is its own `cancel` event."""

    exemplar: Picture
    size: Size
    seed: int
    tile: str
    seconds: float  # allowed
    state: str = "working"  # then done, cancelled or failed
    fraction: float = 0.0
    message: str = "loading"
    tiles: list[bytes] = field(default_factory=list)
    media: str = ""
    result: bytes = b""
    refusal: Refused | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def is_set(self) -> bool:
        """Whether it should stop: asked to, out of time, or left alone."""
        return self.stop.is_set() or self._late() or self._unheard()

    def _late(self) -> bool:
        return time.monotonic() - self.began > self.seconds

    def _unheard(self) -> bool:
        return time.monotonic() - self.heard > UNHEARD_SECONDS

    def step(self, fraction: float, message: str) -> None:
        """How far it is, from whoever works on it."""
        self.fraction, self.message = max(self.fraction, fraction), message

    def run(self) -> None:
        """Make the picture, and end in one of the three other states whatever happens."""
        try:
            self._make()
            state = "done"
        except BaseException as error:
            self.refusal = self._excuse(error)
            state = "cancelled" if self.refusal.status == 410 else "failed"
        self.ended = time.monotonic()
        self.state = state  # last: who reads it finds the rest complete, and may start the next job

    def _make(self) -> None:
        from texsyn.cli.loops import announced

        making = engine()
        from texsyn.models.base import Watch

        preview = Preview(self.exemplar)

        def keep(region: Region, pixels: Any) -> None:
            self.tiles.append(preview.png(pixels))

        with announced(lambda sentence: self.step(self.fraction, sentence)):
            watch = Watch(self.step, self)
            result = making.make(self.exemplar, self.size, seed=self.seed, tile=self.tile, on_tile=keep, watch=watch)
        self.step(1.0, "writing the file")
        floats = self.exemplar.pixels.dtype.kind == "f" or self.exemplar.mode == "multi"
        kind, buffer = "tiff" if floats else "png", BytesIO()
        save(result.image, buffer, recipe=result.recipe, format=kind)
        self.media, self.result = f"image/{kind}", buffer.getvalue()

    def _excuse(self, error: BaseException) -> Refused:
        if type(error).__name__ == "Cancelled":
            if self._late():
                return Refused(503, f"it took longer than the allowed {self.seconds:g} seconds; choose a smaller size")
            return Refused(410, "the picture was cancelled before it was finished")
        return excuse(error)

    def about(self) -> dict[str, Any]:
        """How it stands, for the page."""
        self.heard = time.monotonic()
        state = self.state  # first: what is read after it is complete when it says so
        return {
            "state": state,
            "fraction": round(self.fraction, 4),
            "message": self.message,
            "tiles": len(self.tiles),
            "seconds": round((self.ended or time.monotonic()) - self.began, 2),
            "media": self.media,
            "error": self.refusal.sentence if self.refusal and state != "working" else None,
        }


class Shelf(Generic[T]):
    """The last few things, each under a random name."""

    def __init__(self, kept: int) -> None:
        self.kept, self._things, self._lock = kept, OrderedDict[str, T](), threading.Lock()

    def put(self, thing: T) -> str:
        """A new name for it; the oldest thing goes when there are too many."""
        name = secrets.token_hex(16)
        with self._lock:
            self._things[name] = thing
            while len(self._things) > self.kept:
                self._things.popitem(last=False)
        return name

    def get(self, name: str) -> T | None:
        """The thing of that name, while it is kept."""
        with self._lock:
            return self._things.get(name)

    def __len__(self) -> int:
        return len(self._things)


class Workshop:
    """Pictures handed in, and the one job at work."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.pictures: Shelf[Picture] = Shelf(KEPT)
        self.jobs: Shelf[Job] = Shelf(KEPT)
        self._current: Job | None = None
        self._thread: threading.Thread | None = None
        self._starting, self._decoding = threading.Lock(), threading.Lock()

    def take(self, data: bytes) -> dict[str, Any]:
        """Keep the picture in the bytes of a file; its name and what it is."""
        if len(data) > self.limits.upload_bytes:
            raise Refused(413, f"the file is larger than the accepted {self.limits.upload_bytes:,} bytes")
        try:
            with self._decoding:  # one at a time: decoded, a picture is larger than its file
                picture = load(data, max_pixels=self.limits.pixels)
        except Exception as error:
            raise excuse(error) from None
        return {
            "picture": self.pictures.put(picture),
            "width": picture.size.width,
            "height": picture.size.height,
            "kind": f"{KINDS.get(picture.mode, f'{picture.channels} channels')}, {DEPTHS[picture.pixels.dtype.name]}",
            "notes": list(picture.notes),
        }

    def preview(self, name: str) -> bytes:
        """A small PNG of a picture handed in."""
        return Preview(self._picture(name)).small(PREVIEW_SIDE)

    def start(self, picture: str, size: str, tile: str, seed: int | None) -> dict[str, Any]:
        """Begin a job; its name and what it will make."""
        exemplar = self._picture(picture)
        wanted = self._size(size, exemplar)
        making = engine()
        from texsyn.recipes import memory_needed
        from texsyn.synthesis import free_memory, fresh_seed

        need, free = memory_needed(wanted, exemplar, "texto"), free_memory()
        if free is not None and need > free:
            gib = f"about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
            raise Refused(503, f"{wanted} pixels need {gib}; choose a smaller size")
        with self._starting:
            if self._current is not None and self._current.ended is None:
                told = self._current.is_set()
                raise Refused(
                    409, f"another picture is {'still being stopped' if told else 'being made'}; one at a time"
                )
            job = Job(exemplar, wanted, fresh_seed() if seed is None else seed, tile, self.limits.seconds)
            self._current, name = job, self.jobs.put(job)
            self._thread = threading.Thread(target=job.run, name="texsyn-job", daemon=True)
            self._thread.start()
        return {
            "job": name,
            "width": wanted.width,
            "height": wanted.height,
            "tile_side": making.TILE,
            "tiles": sum(1 for _ in making.tiles_of(wanted)),
            "seed": job.seed,
        }

    def job(self, name: str) -> Job:
        """The job of that name."""
        job = self.jobs.get(name)
        if job is None:
            raise Refused(404, "this picture is no longer kept; make it again")
        return job

    def close(self) -> bool:
        """Stop the job at work, if any; whether nothing works any more. It may take the piece at hand to the end."""
        if self._current is not None:
            self._current.stop.set()
        if self._thread is not None:
            self._thread.join(STOPPING_SECONDS)
        return self._thread is None or not self._thread.is_alive()

    def _picture(self, name: str) -> Picture:
        picture = self.pictures.get(name)
        if picture is None:
            raise Refused(404, "your picture is no longer kept; choose it again")
        return picture

    def _size(self, text: str, exemplar: Picture) -> Size:
        try:
            size = parse_size(text, exemplar.size)
        except ValueError as error:
            raise Refused(422, str(error)) from None
        if size.pixels > self.limits.pixels:
            raise Refused(422, f"{size} are {size.pixels:,} pixels, more than the accepted {self.limits.pixels:,}")
        return size


def engine() -> Any:
    """The module that makes pictures. It brings torch, so that the page is there before it."""
    from texsyn.cli.loops import with_cache

    with _loading:
        return with_cache(lambda: import_module("texsyn.web.making"))


def excuse(error: BaseException) -> Refused:
    """What went wrong, as a refusal that does not tell more than a person needs."""
    if isinstance(error, InputError):
        sentence = str(error).removeprefix("bytes: ").replace("the bytes given:", "this file", 1)
        return Refused(422, sentence)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
        return Refused(503, "there is not enough memory; choose a smaller size")
    _log.error("%s: %s", type(error).__name__, str(error).partition("\n")[0])
    _log.debug("where", exc_info=error)
    return Refused(500, f"an error inside texsyn ({type(error).__name__}); the window where it was started says more")
