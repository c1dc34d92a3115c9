"""`texsyn train`: a network trained on one picture, with a folder for the run that can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from texsyn.cli import Misuse, Stopped
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
from texsyn.cli.files import checked
from texsyn.cli.talk import Talk
from texsyn.images import check_path

SCORED = 128  # side of the pictures that are scored while training
TRAINED = ("gotex-net",)  #: methods that learn by steps; the others are for `texsyn fit`


@texsyn.command(short_help="Train a network on the texture of IMAGE.")
@click.argument("image", metavar="IMAGE|-")
@click.option("-o", "--output", required=True, metavar="MODEL", help="Model file to write, e.g. rock.texsyn.")
@click.option("--overwrite", is_flag=True, help="Replace the output, and a run in --folder; refused otherwise.")
@click.option(
    "--method", type=click.Choice(TRAINED), default=TRAINED[0], show_default=True, help="Which network and loss."
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
    help="Folder for the run: config.json, log.jsonl, samples/, checkpoint.safetensors.",
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
    image: str,
    output: str,
    overwrite: bool,
    method: str,
    steps: int | None,
    max_minutes: float | None,
    folder: str | None,
    scores: bool,
    resume: bool,
    seed: int | None,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Train a network on the texture of IMAGE and keep it in a MODEL file, for `texsyn sample` and `texsyn render`.

    Ctrl-C ends the training after the step at hand and keeps what is learned by then; a second one ends at once.

    \b
    texsyn train rock.png -o rock_net.texsyn --steps 2000 --folder rock_run
    texsyn sample rock_net.texsyn --size 1280x768 -o rock_net.png
    """
    talk = Talk(as_json, quiet, verbose, None)
    if output == "-" or Path(output).suffix.lower() in PICTURE_ENDINGS:
        raise Misuse(f"-o: {output!r} is no name for a model: give a file such as rock.texsyn")
    if resume and folder is None:
        raise Misuse("--resume: needs the --folder of the run")
    check_path(output, overwrite=overwrite)
    exemplar = load_exemplar(image, talk)
    from texsyn.models.base import Watch, model_class
    from texsyn.synthesis import configure, fresh_seed, resolve_device
    from texsyn.training import Run, read_config

    _load_method(method, talk)
    given = _parse_settings(settings)
    given |= {} if steps is None else {"steps": steps}
    given |= {} if max_minutes is None else {"max_minutes": max_minutes}
    run = None
    if resume:
        before = read_config(Path(str(folder)))
        given = before["config"] | given
        seed = before["seed"] if seed is None else seed
    config = checked("--set", configure, method, given, whole=False)
    seed = fresh_seed() if seed is None else seed
    where = checked("--device", resolve_device, device)
    _require_memory(exemplar.size, exemplar, method)
    if folder is not None:
        about = about_run(method, config, exemplar, seed)
        judge = weight_free_scores(exemplar) if scores else None
        run = Run(Path(folder), about, resume=resume, overwrite=overwrite, scores=judge)
    cls: Any = model_class(method)
    with talk.line, _asked_to_stop() as stop:
        watch = Watch(talk.line.update, stop)
        model, outcome = cls.train(exemplar, config, seed=seed, device=where, watch=watch, run=run)
        model.save(output, overwrite=overwrite)
    n_bytes = Path(output).stat().st_size
    talk.result(
        {"output": output, "method": method, "seed": seed, "steps": outcome.steps, "outcome": outcome.sentence,
         "losses": outcome.losses, "bytes": n_bytes}
    )  # fmt: skip
    talk.say(f"{output}: {method} model, seed {seed}, {outcome.sentence}, {n_bytes / 1e6:.1f} MB")
    if stop.signum is not None:
        raise Stopped(stop.signum)


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


def about_run(method: str, config: Any, exemplar: Any, seed: int) -> dict[str, Any]:
    """What makes two runs the same one. How long they may take does not."""
    kept = {key: value for key, value in dataclasses.asdict(config).items() if key != "max_minutes"}
    return {"method": method, "seed": seed, "exemplar": exemplar.sha256, "config": kept}


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
