"""Scores of a generator while it is trained: the real side is measured once, each step leaves a record.

    monitor = Monitor("rock.png", WEIGHT_FREE, n=8, every=500, crops=Crops(32, 64), path="scores.jsonl")
    for step in range(20_000):
        train(generator)
        record = monitor(lambda n, seed: sample(generator, n, seed), step)  # None unless `every` divides the step
        if record is not None and record is monitor.best:
            keep(generator)

"fid" and "kid" need the weights of FID's Inception network, "rsifid" and "psw" need none: rSiFID(seed) on an untrained
network, and the patch distance of texsyn.metrics.patch_law in grey levels, which suit generators of textures. Lower is
better in all four. None must be read alone: a generator that repeats the exemplar has the best of them.

What a training loop can rely on. Pictures are rounded to 8 bits before they are measured, as files are. Nothing here
draws from a global stream, and torch's streams (CPU and CUDA) are put back if `generate` draws from them. No gradient
is recorded, autocast and TF32 are off inside and as they were outside. The monitor never sees the module: whether it
samples in train() or eval(), with which average of its weights, and whether in one process or several, is up to
`generate`. A score depends on the pictures and the seed alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from texsyn import __version__
from texsyn.images import InputError, Picture, from_unit
from texsyn.metrics.frechet import Gaussian, frechet
from texsyn.metrics.inception import Inception, features, inception, rgb8
from texsyn.metrics.kid import kid
from texsyn.metrics.patch_law import N_SCALES, PATCH, patch_distances
from texsyn.metrics.sets import Crops, pictures_of
from texsyn.metrics.sifid import positions, untrained_stem

METRICS = ("fid", "kid", "rsifid", "psw")
WITH_WEIGHTS = ("fid", "kid")
WEIGHT_FREE = ("rsifid", "psw")
VERSION = 1  #: raised whenever a score's definition changes: numbers of before and after are then not compared
BEGINNING = b'{"step": '  # of every line
SLACK = 0.5 / 255  # values that far outside of [0, 1] still round to a code
Generate = Callable[[int, int], Tensor]


class Monitor:
    """Scores of what generate(n, seed) gives, against a real set whose features are computed once, here.

    real: what texsyn.metrics.sets.pictures_of takes (a folder, a .zip, a list, one picture for crops of itself), or a
    tensor (m, c, h, w) in [0, 1], c 1 or 3. n: pictures a step. every: of steps that are measured. seed: handed to
    generate and used for rSiFID's network, PSW's directions and KID's subsets. weights, net, tap, resize: as in
    texsyn.evaluation.evaluate, for "fid" and "kid". path: a file of JSON lines to which each record is added; one that
    is there is continued, if its records were measured alike. `best` is the record with the lowest first metric.

    "rsifid" and "psw" are means over pairs: the k-th generated picture with the k-th of the first n real ones, over
    again where these are fewer. Give crops of the size that is generated: positions at borders are part of both.

    ValueError: unknown metrics, n < 2 with "fid" or "kid", every < 1; InputError: sets, weights or a file that cannot
    be used.
    """

    def __init__(
        self,
        real: Any,
        metrics: Sequence[str] = WITH_WEIGHTS,
        *,
        n: int = 64,
        every: int = 1,
        seed: int = 0,
        crops: Crops | None = None,
        net: Inception | None = None,
        weights: str | os.PathLike[str] | None = None,
        tap: str = "2048",
        resize: str = "reference",
        device: str = "cpu",
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        self.metrics = tuple(dict.fromkeys(metrics))
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise ValueError(f"metrics={','.join(unknown) or 'none'}: accepted are {', '.join(METRICS)}")
        by_vectors = [name for name in self.metrics if name in WITH_WEIGHTS]
        if n < (2 if by_vectors else 1) or every < 1:
            least = f"n of 2 or more for {by_vectors[0]}" if by_vectors else "n of 1 or more"
            raise ValueError(f"a monitor needs {least} and every of 1 or more, got n={n} and every={every}")
        device = device if net is None else str(next(net.parameters()).device)
        self.n, self.every, self.seed, self.resize, self.tap, self.device = n, every, seed, resize, tap, device
        self.path = None if path is None else Path(path)
        self.best: dict[str, Any] | None = None

        self._net: Inception | None = None
        if by_vectors:
            self._net = net if net is not None else inception("fid", weights, device=device)
        self._stem = untrained_stem(seed, device=device) if "rsifid" in self.metrics else None
        self._measured: dict[str, Any] = {"monitor": VERSION, "metrics": list(self.metrics), "n": n, "seed": seed}
        self._measure_real(real, crops or Crops())
        if self.path is not None:
            self._continue(self.path)

    def _measure_real(self, real: Any, crops: Crops) -> None:
        if isinstance(real, Tensor):
            codes = _codes(real, "the real set")
            load_all, count, kind = pictures_of([Picture(pixels, _mode(pixels)) for pixels in codes], crops)
        else:
            load_all, count, kind = pictures_of(real, crops)
        least = 2 if self._net is not None else 1
        if count < least:
            raise InputError(f"the real set has {count} pictures, and {', '.join(self.metrics)} need {least} or more")
        digest, first = hashlib.sha256(), []

        def passing() -> Iterator[Picture]:
            for k, picture in enumerate(load_all()):
                digest.update(picture.sha256.encode())
                if k < self.n and (self._stem is not None or "psw" in self.metrics):
                    first.append(rgb8(picture)[0])
                yield picture

        with _as_measured(self.device):
            if self._net is not None:
                found = features(self._net, passing(), (self.tap,), resize=self.resize)[self.tap]
                self._real_vectors = found.values
                kept = dict(zip(("tap", "weights", "sha256", "resize"), found.kind, strict=True))
                self._measured["features"] = kept
                gaussian = len(found.values) > found.values.shape[1]
                self._real_law = Gaussian.of(found.values) if gaussian else found.values
            else:
                for _ in passing():
                    pass  # hashed, and the first kept
            if self._stem is not None:
                self._real_positions = [_compact(positions(pixels, self._stem, "192pre")) for pixels in first]
                self._measured["rsifid"] = {"seed": self.seed, "tap": "192pre"}
        self._real_pictures = [_unit(pixels) for pixels in first] if "psw" in self.metrics else []
        if "psw" in self.metrics:
            self._measured["psw"] = {"seed": self.seed, "patch": PATCH, "scales": N_SCALES}
        self._measured["real"] = {"kind": kind, "n": count, "sha256": digest.hexdigest()}
        if kind == "crops":
            self._measured["real"]["crops"] = dataclasses.asdict(crops)
        if sizes := sorted({f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in first}):
            self._measured["real"]["sizes"] = sizes

    def __call__(self, generate: Generate, step: int) -> dict[str, Any] | None:
        """The record of this step; None where `every` does not divide it. generate(n, seed): (n, c, h, w) in [0, 1].

        {"step", "scores", "details", "measured", "seconds", "texsyn"}, JSON-able. `measured` is what the scores depend
        on beside the generator. ValueError: pictures of another number, shape or range, or with NaN; InputError: of
        another size than those of the best record, with which they could not be compared, or too small.
        """
        if step % self.every:
            return None
        start = time.perf_counter()
        with _streams_kept(), torch.no_grad():  # not inference_mode: what a module caches here, it may train with later
            made = generate(self.n, self.seed)
        codes = _codes(made, f"generate() at step {step}")
        if len(codes) != self.n:
            raise ValueError(f"generate() at step {step} gave {len(codes)} pictures, asked for were {self.n}")
        measured = self._measured | {"generated": {"size": f"{codes.shape[2]}x{codes.shape[1]}"}}
        if self.best is not None:
            _require_alike(self.best["measured"], measured, f"the best step {self.best['step']}", f"step {step}")
        with _as_measured(self.device):
            scores, details = self._scores(codes, step)
        record = {
            "step": step,
            "scores": scores,
            "details": details,
            "measured": measured,
            "seconds": time.perf_counter() - start,
            "texsyn": __version__,
        }
        if self.path is not None:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")  # one write, so that lines do not mix
        if self.best is None or self._score(record) < self._score(self.best):
            self.best = record
        return record

    def _score(self, record: dict[str, Any]) -> float:
        return float(record["scores"][self.metrics[0]])

    def _scores(self, codes: np.ndarray, step: int) -> tuple[dict[str, float], dict[str, Any]]:
        scores: dict[str, float] = {}
        details: dict[str, Any] = {}
        pixels = [rgb8(picture)[0] for picture in codes]
        if self._net is not None:
            vectors = features(self._net, pixels, (self.tap,), resize=self.resize)[self.tap].values
            if "fid" in self.metrics:
                scores["fid"] = frechet(self._real_law, vectors).value
            if "kid" in self.metrics:
                size = min(1000, len(vectors), len(self._real_vectors))
                found = kid(self._real_vectors, vectors, size=size, seed=self.seed)
                scores["kid"], details["kid"] = found.value, {"m": found.m, "subsets": found.subsets}
        if self._stem is not None:
            distances = [
                frechet(_in_turn(self._real_positions, k), _compact(positions(picture, self._stem, "192pre"))).value
                for k, picture in enumerate(pixels)
            ]
            scores["rsifid"] = sum(distances) / len(distances)
        if "psw" in self.metrics:
            pairs = [
                patch_distances(_in_turn(self._real_pictures, k), _unit(picture), seed=self.seed)
                for k, picture in enumerate(pixels)
            ]
            by_scale = [_mean(values) for values in zip(*pairs, strict=True)]
            if all(value is None for value in by_scale):
                raise ValueError(
                    f"psw needs {PATCH} px a side of real pictures and of those that step {step} generated"
                )
            details["psw"] = {f"{2**k}x": value for k, value in enumerate(by_scale) if value is not None}
            scores["psw"] = sum(details["psw"].values()) / len(details["psw"])
        return {name: scores[name] for name in self.metrics}, details

    def _continue(self, path: Path) -> None:
        """Take the best record of a file that is there. A last line that was cut off is taken away."""
        try:
            whole, end, torn = path.read_bytes().rpartition(b"\n")
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise InputError(f"{path.name}: its folder does not exist") from None
            return
        except OSError as error:
            raise InputError(f"{path.name}: cannot be read ({error.strerror})") from None
        if not torn.startswith(BEGINNING[: len(torn)]):
            raise InputError(f"{path.name}: is not a file of a monitor's records, and is left as it is")
        records = [self._record(line, f"{path.name}: line {k}") for k, line in enumerate(whole.splitlines(), start=1)]
        for record in records[1:]:
            _require_alike(records[0]["measured"], record["measured"], f"{path.name}: line 1", f"step {record['step']}")
        if torn:
            os.truncate(path, len(whole) + len(end))
        self.best = min(records, key=self._score, default=None)

    def _record(self, line: bytes, where: str) -> dict[str, Any]:
        """The record of a line; InputError when it is none, or was not measured as this monitor does."""
        try:
            record: dict[str, Any] = json.loads(line)
            measured = dict(record["measured"])
            generated = measured["generated"]
            if "scores" not in record or not isinstance(record["step"], int):
                raise ValueError("no record")
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{where} is not a record of a monitor") from None
        _require_alike(measured, self._measured | {"generated": generated}, where, "this monitor")
        try:
            if not math.isfinite(self._score(record)):
                raise ValueError("not a number")
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{where} has no {self.metrics[0]}") from None
        return record


def _mode(pixels: np.ndarray) -> Any:
    return "L" if pixels.shape[2] == 1 else "RGB"


def _codes(x: Any, what: str) -> np.ndarray:
    """uint8 (n, h, w, c) of values (n, c, h, w) in [0, 1]; ValueError, beginning with what, otherwise."""
    if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] not in (1, 3) or not x.numel() or x.is_complex():
        seen = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{what}: pictures must be a tensor (n, 1 or 3, height, width) of floats, got {seen}")
    if not x.is_floating_point():
        raise ValueError(f"{what}: pictures must be floats in [0, 1], got {x.dtype}; divide codes by 255")
    values = x.detach().to("cpu", torch.float32)
    bad = int((~torch.isfinite(values)).flatten(1).any(1).sum())
    if bad:
        raise ValueError(f"{what}: {bad} of {len(values)} pictures have NaN or infinite values")
    low, high = float(values.min()), float(values.max())
    if low < -SLACK or high > 1 + SLACK:
        raise ValueError(f"{what}: values must lie in [0, 1], got {low:.4g} to {high:.4g}; (x + 1) / 2 maps [-1, 1]")
    return from_unit(values.permute(0, 2, 3, 1).numpy(), np.uint8)


def _unit(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(255)


def _compact(samples: Tensor) -> Tensor | Gaussian:
    return Gaussian.of(samples) if len(samples) > samples.shape[1] else samples


def _in_turn(things: Sequence[Any], k: int) -> Any:
    return things[k % len(things)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _require_alike(theirs: dict[str, Any], ours: dict[str, Any], them: str, us: str) -> None:
    """InputError that names the first thing in which two records' `measured` differ."""
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            had, have = (json.dumps(side.get(key))[:160] for side in (theirs, ours))
            raise InputError(f"{them} was measured with {key} {had}, {us} with {have}: they cannot be compared")


@contextmanager
def _streams_kept() -> Iterator[None]:
    """Inside, torch's generators may be drawn from; afterwards they are where they were."""
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cuda):
        yield


@contextmanager
def _as_measured(device: str) -> Iterator[None]:
    """No gradients, no autocast: a metric computes alike whatever training it is called from."""
    kind = torch.device(device).type
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        if kind == "cpu":
            yield
        else:
            with torch.autocast(kind, enabled=False):
                yield
