"""`texsyn train`: a network trained on one picture, with a folder for the run that can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np

from texsyn.cli import NO_MEMORY, Misuse, Stopped
from texsyn.cli.commands import (
    PICTURE_ENDINGS,
    _device,
    _load_method,
    _parse_settings,
    _require_memory,
    _seed,
    _settings,
    _talk,
    load_exemplar,
    texsyn,
)
from texsyn.cli.files import checked, stem_of
from texsyn.cli.image_gans import _of_data, learns_data, print_list, train_on_data
from texsyn.cli.progress import Remaining, clock
from texsyn.cli.synth import _sources
from texsyn.cli.talk import Talk
from texsyn.images import InputError, OutputError, Picture, Size, check_path
from texsyn.models import METHODS

SCORED = 128  # side of the pictures that are scored while training
#: methods that learn by steps; the others are for `texsyn fit`
TRAINED = tuple(name for name in METHODS if name in ("gotex-net", "sgan", "psgan", "singan"))
QUICKER = ("tiny", "fast")  #: names of recipes that take less time than the defaults, quickest first
LONG = 2 * 60 * 60  #: seconds on a CPU after which a word is said about quicker ways
SHEET_SIDE = 256  #: at most, of each picture on the sheets that show how far a training is


@texsyn.command(short_help="Train a network on the texture of IMAGE, or a GAN on the pictures of DATA.")
@click.argument("images", metavar="IMAGE|DATA|-", nargs=-1)
@_of_data
@click.option(
    "--maps", metavar="FILE", multiple=True,
    help="A map of a stack, instead of IMAGE, of sgan and psgan; repeatable, and a pattern such as 'rock_*.png' names "
    "several. They are learned as one picture.",
)  # fmt: skip
@click.option("-o", "--output", metavar="MODEL", help="Model file to write, e.g. rock.texsyn; required.")
@click.option("--overwrite", is_flag=True, help="Replace the output, and a run in --folder; refused otherwise.")
@click.option(
    "--method", type=click.Choice(TRAINED),
    help="Which network and loss learns an IMAGE: gotex-net bricks, lines and cells, where there is grain softly (its "
    "pictures have 0.89 of a brick wall's sharpness, 0.65 of gravel's); sgan grass and stones, while bricks melt; "
    f"psgan what repeats, in rows; singan stones and whole scenes.  [default: {TRAINED[0]}]",
)  # fmt: skip
@click.option(
    "--recipe",
    metavar="NAME",
    help="Settings by name, e.g. tiny; --set goes over them. A wrong NAME lists the method's.",
)
@click.option(
    "--steps", type=click.IntRange(1, 2**31), metavar="N", help="Steps to train for.  [default: the method's]"
)
@click.option(
    "--max-minutes", type=click.FloatRange(0, min_open=True), metavar="M",
    help="Stop after so long with what is learned by then.",
)  # fmt: skip
@click.option(
    "--folder", metavar="RUN",
    help="Folder for the run: config.json, log.jsonl, samples/ (each the exemplar and three pictures), "
    "checkpoint.safetensors.",
)  # fmt: skip
@click.option(
    "--save-every", type=click.IntRange(1, 2**31), metavar="N", default=250, show_default=True,
    help="Steps between checkpoints; one is made after 5 minutes anyway.",
)  # fmt: skip
@click.option(
    "--sample-every", type=click.IntRange(1, 2**31), metavar="N", default=500, show_default=True,
    help="Steps between samples.",
)  # fmt: skip
@click.option(
    "--scores/--no-scores", default=True, show_default=True,
    help="With a folder: score every sample, by rSiFID and the patch distance, which need no weights.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --folder, with its seed and settings.")
@_seed
@_settings
@_device
@_talk
def train(
    images: tuple[str, ...],
    maps: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    method: str | None,
    recipe: str | None,
    steps: int | None,
    max_minutes: float | None,
    folder: str | None,
    save_every: int,
    sample_every: int,
    scores: bool,
    resume: bool,
    seed: int | None,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **of_data: Any,
) -> None:
    """Train a network on the texture of IMAGE and keep it in a MODEL file, for `texsyn sample` and `texsyn render`; or,
    with --arch, a GAN on many pictures: a folder or zip file, digits, crops:IMAGE and others that --list names.

    Ctrl-C ends the training after the step at hand and keeps what is learned by then; a second one ends at once. A run
    with a --folder that was ended in any way goes on with --resume, to the same model. A training that diverges ends
    with exit code 6, writes no model, and leaves the last good checkpoint. A model that cannot be written when it is
    done is kept in the system's temporary folder, and the message says where.

    \b
    texsyn train rock.png -o rock_net.texsyn --steps 2000 --folder rock_run
    texsyn train --maps 'wall_*.png' --method psgan -o wall_net.texsyn
    texsyn sample rock_net.texsyn --size 1280x768 -o rock_net.png
    texsyn train digits --arch dcgan --loss wgan-gp -o digits.texsyn
    texsyn sample digits.texsyn -n 64 --grid -o digits.png
    """
    talk = Talk(as_json, quiet, verbose, None)
    if of_data["lists"]:
        print_list()
        return
    if not output:
        raise Misuse("-o: a MODEL file to write is missing, e.g. -o rock.texsyn")
    if output == "-" or Path(output).suffix.lower() in PICTURE_ENDINGS:
        raise Misuse(f"-o: {output!r} is no name for a model: give a file such as rock.texsyn")
    if folder == "":
        raise Misuse("--folder: '' is no name for a folder")
    if resume and folder is None:
        raise Misuse("--resume: needs the --folder of the run")
    if learns_data(images, maps, method, of_data):
        train_on_data(
            images[0], talk, output=output, overwrite=overwrite, recipe=recipe, steps=steps, max_minutes=max_minutes,
            folder=folder, save_every=save_every, sample_every=sample_every, scores=scores, resume=resume, seed=seed,
            settings=settings, device=device, **of_data,
        )  # fmt: skip
        return
    method = method or TRAINED[0]
    check_path(output, overwrite=overwrite)
    if len(images) > 1:
        raise Misuse(f"IMAGE: takes one picture, got {', '.join(images)}; the maps of a stack go with --maps")
    given_maps = [load_exemplar(one, talk) for one in _sources(images, maps)]
    exemplar = given_maps[0]
    from texsyn.models.base import Watch, model_class
    from texsyn.synthesis import as_stacks, configure, fresh_seed, plan, resolve_device, with_recipe
    from texsyn.training import Run, read_config
    from texsyn.wishes import Wishes

    _load_method(method, talk)
    given = _parse_settings(settings)
    given |= {} if steps is None else {"steps": steps}
    given |= {} if max_minutes is None else {"max_minutes": max_minutes}
    given = checked("--recipe", with_recipe, method, given if recipe is None else given | {"recipe": recipe})
    run = None
    if resume:
        before = read_config(Path(str(folder)))
        if before.get("method", method) != method:
            raise InputError(f"{folder}: holds a run of --method {before['method']}, not of {method}")
        given = before["config"] | given
        seed = before["seed"] if seed is None else seed
    config = checked("--set", configure, method, given, whole=False)
    seed = fresh_seed() if seed is None else seed
    where = checked("--device", resolve_device, device)
    cls: Any = model_class(method)
    stacks = as_stacks(None if maps else exemplar, given_maps if maps else None)
    job = checked("--maps", plan, stacks, Wishes(), method, config)
    subject = exemplar if job.material.plain else job.material
    seen = cls(subject, config, where).learned  # refuses what it cannot learn, before anything is said or made
    need = require_training_memory(cls, subject, config, where)
    if folder is not None:
        about = about_run(method, config, given_maps, seed)
        judge = weight_free_scores(seen) if scores else None
        run = Run(
            Path(folder), about, resume=resume, overwrite=overwrite, save_every=save_every, sample_every=sample_every,
            scores=judge, sample=sheet(seen),
        )  # fmt: skip
    limit = f" or {config.max_minutes:g} minutes" if config.max_minutes else ""
    talk.say(f"{method}: {cls.n_steps(subject, config)} steps{limit} on {where}, {need}")
    began = time.monotonic()
    with talk.line, _asked_to_stop() as stop, in_our_words(method):
        watch = Watch(Report(talk, _quicker(cls, recipe) if where == "cpu" else None), stop)
        model, outcome = cls.train(subject, config, seed=seed, device=where, watch=watch, run=run)
        save_or_keep(model, output, overwrite=overwrite)
    tell_outcome(talk, output, {"method": method}, seed, outcome, time.monotonic() - began)
    if stop.signum is not None:
        raise Stopped(stop.signum)


def save_or_keep(model: Any, output: str, *, overwrite: bool) -> None:
    """Save a trained model, or, where that cannot be, keep it in the system's temporary folder or the user's own.

    Raises the OutputError or OutputExists of saving, which says where the model is then.
    """
    try:
        model.save(output, overwrite=overwrite)
    except OutputError as error:
        kept = _kept_elsewhere(model, output)
        if kept is None:
            raise
        raise type(error)(f"{error}; the trained model is in {kept}") from error


def _kept_elsewhere(model: Any, name: str) -> Path | None:
    """A new file of about that name that holds the model; None where neither folder takes it."""
    new = f"{stem_of(name)}_{secrets.token_hex(4)}{Path(name).suffix[:16]}"
    for folder in (tempfile.gettempdir, lambda: os.path.expanduser("~")):
        with contextlib.suppress(OSError):
            path = Path(folder()) / new
            model.save(path)
            return path
    return None


def tell_outcome(talk: Talk, output: str, name: dict[str, str], seed: int, outcome: Any, seconds: float) -> None:
    """Say what was trained and is written; name: the kind of name, "method" or "arch", and the name."""
    n_bytes = Path(output).stat().st_size
    talk.result(
        {"output": output, **name, "seed": seed, "steps": outcome.steps, "outcome": outcome.sentence,
         "losses": outcome.losses, "seconds": round(seconds, 1), "bytes": n_bytes}
    )  # fmt: skip
    (of,) = name.values()
    talk.say(f"{output}: {of} model, seed {seed}, {outcome.sentence}, {clock(seconds)}, {n_bytes / 1e6:.1f} MB")


def require_training_memory(cls: Any, exemplar: Any, config: Any, device: str) -> str:
    """What memory the training will need, about, in words. Raises MemoryError where there is less."""
    from texsyn.material import Material
    from texsyn.recipes import memory_needed

    need = cls.training_bytes(exemplar, config)
    if need is None:
        _require_memory(exemplar.size, exemplar, cls.method)
        return f"{in_words(memory_needed(exemplar.size, exemplar, cls.method))} of memory"
    what = f"training {cls.method} on {Material.of(exemplar).picture.size} pixels"  # of a stack, its first map's
    return require_free(need, device, what, "a smaller IMAGE or another --recipe needs less")


def require_free(need: int, device: str, what: str, less: str) -> str:
    """What memory a training needs beyond the program's own, in words. Raises MemoryError, with a way to need less."""
    free = free_bytes(device)
    if free is not None and need > free:
        raise MemoryError(f"{what} needs {in_words(need)} and {in_words(free)} are free; {less}")
    return f"{in_words(need)} of memory beyond the program's own"


def free_bytes(device: str) -> int | None:
    """Memory that is free on a device; None where nobody knows."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    from texsyn.synthesis import free_memory

    return free_memory()


def in_words(n_bytes: int) -> str:
    """Memory for people.

    >>> in_words(3 * 2**29), in_words(5 * 2**20)
    ('about 1.5 GiB', 'about 5 MiB')
    """
    return f"about {n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"about {n_bytes / 2**20:.0f} MiB"


def _quicker(cls: Any, recipe: str | None) -> str:
    """What to do where a training takes too long."""
    there = [name for name in QUICKER if name in cls.recipes]
    first = there.index(recipe) if recipe in there else len(there)
    by_recipe = f"--recipe {there[0]} is quicker, and " if there and first > 0 else ""
    return f"{by_recipe}--max-minutes ends it earlier with what is learned by then"


class Report:
    """What is said while a network trains: the progress line, or without a terminal a sentence a minute.

    long: said once should it take more than two hours; None for nothing.
    """

    def __init__(self, talk: Talk, long: str | None) -> None:
        self.talk, self.long, self.left = talk, long, Remaining()
        self.said = time.monotonic()

    def __call__(self, fraction: float, message: str) -> None:
        left, now = self.left(fraction), time.monotonic()
        if left is not None and left > LONG and self.long is not None:
            self.talk.say(f"about {left / 3600:.1f} hours are left on this CPU: {self.long}")
            self.long = None
        if not self.talk.line.shown and now - self.said > 60 and fraction < 1:
            time_left = "" if left is None else f", {clock(left)} left"
            self.talk.say(f"{100 * fraction:.0f} %{time_left}, {message}")
            self.said = now
        self.talk.line.show(fraction, message, left)


@contextlib.contextmanager
def in_our_words(method: str) -> Iterator[None]:
    """Ways in which a training ends, with what can be done about them."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}; no model was written, a lower learning rate may help") from error
    except RuntimeError as error:
        if any(words in str(error) for words in NO_MEMORY):
            raise MemoryError(
                f"{method} cannot be trained here: smaller pictures or another --recipe need less"
            ) from error
        raise


def sheet(exemplar: Picture) -> Callable[[Any], Picture]:
    """A function that shows how far a trainee is: a sheet with the exemplar and, after it, pictures of seeds 0 to 2."""
    first = exemplar.pixels[:SHEET_SIDE, :SHEET_SIDE]
    height, width = first.shape[:2]
    gap = max(2, min(height, width) // 32)

    def picture(trainee: Any) -> Picture:
        model = trainee.model()
        made = [first, *(model.synthesise(Size(height, width), seed=seed).pixels for seed in range(3))]
        paper = np.full((2 * height + gap, 2 * width + gap, exemplar.channels), first.max(), first.dtype)
        for k, pixels in enumerate(made):
            top, left = (k // 2) * (height + gap), (k % 2) * (width + gap)
            paper[top : top + height, left : left + width] = pixels
        return dataclasses.replace(exemplar, pixels=paper, palette=None, indices=None, notes=())

    return picture


def weight_free_scores(exemplar: Any) -> Callable[[Any, int], dict[str, float]] | None:
    """A function that scores a trainee's pictures against crops of the exemplar; None for pictures it cannot judge."""
    from texsyn.metrics.monitor import WEIGHT_FREE, Monitor
    from texsyn.metrics.sets import Crops

    side = min(exemplar.size.height, exemplar.size.width, SCORED)
    if exemplar.channels not in (1, 3) or exemplar.pixels.dtype.kind == "f" or side < 64:
        return None
    monitor = Monitor(exemplar, WEIGHT_FREE, n=4, crops=Crops(4, side))

    def scores(trainee: Any, step: int) -> dict[str, float]:
        record = monitor(lambda n, seed: trainee.model().sample((side, side), seed=seed, n=n), step)
        return {} if record is None else {name: round(value, 6) for name, value in record["scores"].items()}

    return scores


def about_run(method: str, config: Any, maps: Sequence[Picture], seed: int) -> dict[str, Any]:
    """What makes two runs the same one. How long they may take does not."""
    kept = {key: value for key, value in dataclasses.asdict(config).items() if key != "max_minutes"}
    hashes = [one.sha256 for one in maps]
    return {"method": method, "seed": seed, "exemplar": hashes if len(maps) > 1 else hashes[0], "config": kept}


class _Stop:
    """A cancel event that a signal sets."""

    signum: int | None = None

    def is_set(self) -> bool:
        return self.signum is not None


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[_Stop]:
    """The first Ctrl-C or SIGTERM inside is a wish, heard between two steps; the next one stops as always."""
    stop, before = _Stop(), {}

    def hear(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise Stopped(signum)
        stop.signum = signum

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            with contextlib.suppress(ValueError):  # only the main thread may
                before[number] = signal.signal(number, hear)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
