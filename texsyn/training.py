"""The one training loop: steps with a log, sample pictures, checkpoints, exact resumption, and a way to stop.

A trainee knows what a step is and holds everything that changes: networks, optimisers, averages, random states. The
loop knows time, files and people. Whoever kills the process loses the steps since the last checkpoint, and nothing
else: the run that goes on from there writes the same bits as one that was never stopped (on the CPU).

A run's folder holds config.json (what is trained), log.jsonl (a line of losses now and then), samples/ and
checkpoint.safetensors. Every file is replaced in one step, but for the log, to which lines are added.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from texsyn.images import InputError, OutputError, OutputExists, Picture, save, write_atomically
from texsyn.models.base import Cancelled, Watch

CHECKPOINT, CONFIG, LOG, SAMPLES = "checkpoint.safetensors", "config.json", "log.jsonl", "samples"
FORMAT = 1
#: the numbers of a potential (texsyn/ot/potentials.py), and which of them is infinite until it is measured
UNMEASURED, RESIDUAL = re.compile(r"loss\.[0-9]+\.numbers"), 3


class Trainee(Protocol):
    """What can be trained. state() and load_state() carry everything that a later step depends on.

    One whose steps are not equally long may have share(done), the part of the whole work after so many of them. One
    that several processes train together has agreed(stop), by which all of them stop at the same step.
    """

    def step(self, i: int) -> Mapping[str, float]:
        """Step number i, from 0; returns losses by name."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that changes, as tensors."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state(); raises LookupError, ValueError or RuntimeError where names or shapes differ."""
        ...

    def sample(self) -> Picture:
        """A picture that shows how far it is; changes nothing."""
        ...


@dataclass(frozen=True)
class Run:
    """Where a training run keeps its files, and how often; about is what must be equal for a run to be resumed.

    log_every, sample_every, save_every are in steps; after save_minutes without a checkpoint one is due too (0: never).
    scores: called with the trainee and the steps done whenever a sample is kept; what it gives goes to the log.
    sample: makes that sample of the trainee, instead of its own sample(). writes=False: nothing is written, for all but
    one of several processes; what there is to resume is read.
    """

    folder: Path
    about: Mapping[str, Any]
    resume: bool = False
    overwrite: bool = False
    log_every: int = 20
    sample_every: int = 500
    save_every: int = 250
    save_minutes: float = 5.0
    scores: Callable[[Any, int], Mapping[str, float]] | None = None
    sample: Callable[[Any], Picture] | None = None
    writes: bool = True


@dataclass(frozen=True)
class Outcome:
    """How training ended: steps done in all, the last losses, a sentence, and whether the caller stopped it."""

    steps: int
    losses: dict[str, float]
    sentence: str
    cancelled: bool = False


def train(
    trainee: Trainee, steps: int, *, run: Run | None = None, max_minutes: float = 0.0, watch: Watch | None = None
) -> Outcome:
    """Step the trainee until `steps` are done, max_minutes have passed (0: no limit) or the watch says cancel.

    All three leave it between two steps, in a state that can be used, and the run with a checkpoint of that state.
    Raises FloatingPointError at the first loss that is no number: the last checkpoint stays. Raises InputError where
    there is nothing to resume or it belongs to another run, OutputExists or OutputError for the folder.
    """
    watch, began = watch or Watch(), time.monotonic()
    files = None if run is None else _Files(run)
    done = 0 if files is None else files.begin(trainee)
    share = getattr(trainee, "share", lambda n: n / steps)
    agreed = getattr(trainee, "agreed", lambda stop: stop)
    first, losses = share(done), dict[str, float]()
    why, cancelled = f"all {max(steps, done)} steps are done", False
    while done < steps:
        seconds = time.monotonic() - began
        late, cancelled = bool(max_minutes) and seconds > 60 * max_minutes, False
        try:
            timed = seconds / (60 * max_minutes or math.inf)  # of what there was to do when it went on
            if not late:
                watch.step(max(share(done), first + (1 - first) * timed), _message(done, steps, losses))
        except Cancelled:
            cancelled = True
        if agreed(late or cancelled):
            why = f"stopped by the caller at step {done} of {steps}"
            if not cancelled:
                why = f"stopped after {max_minutes:g} minutes, at step {done} of {steps}"
            break
        try:
            losses = _step(trainee, done)
        except FloatingPointError as e:
            kept = "" if files is None else f"; the checkpoint of step {files.saved} stays"
            raise FloatingPointError(f"{e}{kept}") from e
        done += 1
        if files is not None:
            files.after(trainee, done, losses, seconds=time.monotonic() - began)
    if files is not None:
        files.end(trainee, done)
    if not cancelled:
        watch.step(1.0, why)
    return Outcome(done, losses, why, cancelled)


def _step(trainee: Trainee, i: int) -> dict[str, float]:
    losses = {name: float(value) for name, value in trainee.step(i).items()}
    for name, value in losses.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value} at step {i}")
    return losses


def _message(done: int, steps: int, losses: Mapping[str, float]) -> str:
    return ", ".join([f"step {done} of {steps}", *(f"{name} {value:.4g}" for name, value in losses.items())])


def cosine(i: int, steps: int, *, warm_up: int = 20, last: float = 0.02) -> float:
    """What step i multiplies a learning rate by: a short rise to 1, then half a cosine down to `last`.

    >>> [round(cosine(i, 1000), 2) for i in (0, 19, 500, 999)]
    [0.05, 1.0, 0.51, 0.02]
    """
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, i / steps)))
    return min(1.0, (i + 1) / warm_up) * (last + (1 - last) * fall)


# ---------------------------------------------------------------------------------------------------- state as tensors


def under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with `name.` before their names."""
    return {f"{name}.{key}": t for key, t in tensors.items()}


def of(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that under(name, ...) named, by their own names. LookupError where there is none."""
    found = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
    if not found:
        raise LookupError(f"there is nothing of {name}")
    return found


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser such as Adam remembers of each parameter, numbered in their order."""
    return {
        f"{i}.{key}": value
        for i, parameter in enumerate(_parameters(optimiser))
        for key, value in optimiser.state.get(parameter, {}).items()
    } | {"n": torch.tensor(len(list(_parameters(optimiser))))}


def load_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """The inverse of optimiser_state(); ValueError where it belongs to other parameters."""
    parameters = list(_parameters(optimiser))
    if int(state["n"]) != len(parameters):
        raise ValueError(f"the optimiser has {len(parameters)} parameters, not {int(state['n'])}")
    for i, parameter in enumerate(parameters):
        mine = {key.removeprefix(f"{i}."): t for key, t in state.items() if key.startswith(f"{i}.")}
        if any(t.ndim and t.shape != parameter.shape for t in mine.values()):
            raise ValueError(f"parameter {i} has another shape")
        optimiser.state[parameter] = {
            key: torch.empty_like(parameter).copy_(t) if t.ndim else t.clone() for key, t in mine.items()
        }


def _parameters(optimiser: torch.optim.Optimizer) -> Iterator[Tensor]:
    for group in optimiser.param_groups:
        yield from group["params"]


# ------------------------------------------------------------------------------------------------------ the run's files


class _Files:
    """The folder of a run while it goes on."""

    def __init__(self, run: Run) -> None:
        self.run, self.saved, self.sampled, self.saved_at = run, 0, -1, time.monotonic()

    def begin(self, trainee: Trainee) -> int:
        """Make the folder, or load what it holds into the trainee; returns the number of steps that are done."""
        folder, about = self.run.folder, json.loads(json.dumps(dict(self.run.about)))
        if self.run.resume:
            done, state = read_checkpoint(folder, about)
            try:
                trainee.load_state(state)
            except (LookupError, ValueError, RuntimeError) as e:
                raise InputError(f"{folder / CHECKPOINT}: does not fit this run ({_one_line(e)})") from e
            self.saved = done
            if self.run.writes:
                self._cut_log(done)
            return done
        if not self.run.writes:
            return 0
        if (folder / CHECKPOINT).exists() and not self.run.overwrite:
            raise OutputExists(f"{folder}: holds a training run; resume it, or ask for overwriting to replace it")
        make_folder(folder)
        write_atomically(folder / CONFIG, (json.dumps(about, indent=1) + "\n").encode(), overwrite=True)
        self._cut_log(-1)
        self._save(trainee, 0)
        return 0

    def after(self, trainee: Trainee, done: int, losses: Mapping[str, float], *, seconds: float) -> None:
        """What is due after a step."""
        run = self.run
        if not run.writes:
            return
        if done % run.log_every == 0:
            self._log({"step": done, **losses, "seconds": round(seconds, 2)})
        if done % run.sample_every == 0:
            self._sample(trainee, done)
        late = run.save_minutes and time.monotonic() - self.saved_at > 60 * run.save_minutes
        if done % run.save_every == 0 or late:
            self._save(trainee, done)

    def end(self, trainee: Trainee, done: int) -> None:
        """The last state, however the run ended."""
        if not self.run.writes:
            return
        if done != self.saved:
            self._save(trainee, done)
        if done != self.sampled:
            self._sample(trainee, done)

    def _save(self, trainee: Trainee, done: int) -> None:
        from safetensors.torch import save as safetensors_bytes

        state = {name: t.detach().cpu().contiguous().clone() for name, t in trainee.state().items()}
        for name, t in state.items():
            value = _not_finite(name, t)
            if value is not None:
                raise FloatingPointError(f"{name} is {value} at step {done}; the checkpoint of step {self.saved} stays")
        header = json.dumps({"format": FORMAT, "step": done, "about": dict(self.run.about)})
        write_atomically(
            self.run.folder / CHECKPOINT, safetensors_bytes(state, metadata={"texsyn-run": header}), overwrite=True
        )
        self.saved, self.saved_at = done, time.monotonic()

    def _sample(self, trainee: Trainee, done: int) -> None:
        picture = trainee.sample() if self.run.sample is None else self.run.sample(trainee)
        ending = ".tif" if picture.pixels.dtype.kind == "f" or picture.mode == "multi" else ".png"
        save(picture, self.run.folder / SAMPLES / f"step_{done:06}{ending}", overwrite=True)
        if self.run.scores is not None:
            self._log({"step": done, **self.run.scores(trainee, done)})
        self.sampled = done

    def _log(self, record: Mapping[str, Any]) -> None:
        path = self.run.folder / LOG
        try:
            with open(path, "a", encoding="utf-8") as f:
                f.write(json.dumps(record) + "\n")
        except OSError as e:
            raise OutputError(f"{path}: cannot be written ({e.strerror})") from e

    def _cut_log(self, done: int) -> None:
        """Drop lines of steps that are lost, and a last line that was not finished."""
        path, kept = self.run.folder / LOG, []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                if json.loads(line)["step"] <= done:
                    kept.append(line + "\n")
            except (ValueError, LookupError, TypeError):
                continue
        write_atomically(path, "".join(kept).encode(), overwrite=True)


def make_folder(folder: Path) -> None:
    """The folder with its samples/, or OutputError."""
    try:
        (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{folder}: cannot be made ({e.strerror})") from e
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: may not be written to")


def read_config(folder: Path) -> dict[str, Any]:
    """What the run in a folder is about, as its config.json says; InputError where that is no such file."""
    path = folder / CONFIG
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about["config"], dict) or not isinstance(about["seed"], int):
            raise ValueError("config or seed is of the wrong type")
    except (OSError, ValueError, LookupError, TypeError) as e:
        raise InputError(f"{path}: cannot be read, so there is nothing to resume ({_one_line(e)})") from e
    return dict(about)


def read_checkpoint(folder: Path, about: Mapping[str, Any]) -> tuple[int, dict[str, Tensor]]:
    """Steps done and state of the run in a folder.

    InputError where there is none, it is not of what `about` says, or a number in it is not finite.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise InputError(f"{path}: there is no checkpoint to resume from")
    try:
        with safe_open(path, framework="pt") as f:
            header = json.loads((f.metadata() or {})["texsyn-run"])
            state = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 (not a mapping)
        done, theirs = int(header["step"]), dict(header["about"])
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}, this version reads {FORMAT}")
        wrong = {key: value for key, t in state.items() if (value := _not_finite(key, t)) is not None}
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, NotImplementedError) as e:
        raise InputError(f"{path}: cannot be read as a checkpoint ({_one_line(e)})") from e
    for key in sorted({*theirs, *about}):
        if theirs.get(key) != about.get(key):
            raise InputError(f"{path}: is of another run: {_difference(key, theirs.get(key), about.get(key))}")
    for key, value in wrong.items():
        raise InputError(f"{path}: cannot be gone on from ({key} holds {value})")
    return done, state


def _not_finite(name: str, t: Tensor) -> float | None:
    """The first value that is no finite number, but for an error that nobody has measured yet.

    NotImplementedError of 8-bit floats, which no state has.
    """
    if not t.is_floating_point() or bool((finite := t.isfinite()).all()):
        return None
    if UNMEASURED.fullmatch(name) and t.shape == (6,) and t[RESIDUAL] == math.inf:
        finite[RESIDUAL] = True
    bad = t[~finite]
    return float(bad[0]) if len(bad) else None


def _difference(key: str, theirs: Any, mine: Any) -> str:
    """Where two entries differ, in a few words."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        inner = next(k for k in sorted({*theirs, *mine}) if theirs.get(k) != mine.get(k))
        return _difference(inner, theirs.get(inner), mine.get(inner))
    return f"its {key} is {str(theirs)[:40]}, not {str(mine)[:40]}"


def _one_line(e: Exception) -> str:
    return " ".join(str(e).split())[:200]
