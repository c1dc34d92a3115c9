"""The training loop: the log, checkpoints, resumption to the same bits, also after a kill, and ways to stop."""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from texsyn import training
from texsyn.images import InputError, OutputError, OutputExists, Picture
from texsyn.models.base import Watch
from texsyn.training import CHECKPOINT, CONFIG, LOG, SAMPLES, Run, cosine, load_optimiser, of, optimiser_state, under


class Fit:
    """A line fitted to random points by Adam: all that a trainee has, in numbers that can be looked at."""

    def __init__(self, bad_at: int = -1) -> None:
        self.random = torch.Generator().manual_seed(3)
        self.line = torch.nn.Parameter(torch.randn(2, generator=self.random))
        self.adam = torch.optim.Adam([self.line], lr=0.05)
        self.bad_at = bad_at

    def step(self, i: int) -> dict[str, float]:
        x = torch.randn(16, generator=self.random)
        loss = (self.line[0] * x + self.line[1] - (3 * x - 1)).square().mean()
        if i == self.bad_at:
            loss = loss * torch.nan
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return {"loss": float(loss.detach())}

    def state(self) -> dict[str, Tensor]:
        return {
            "line": self.line.detach(),
            "random": self.random.get_state(),
            **under("adam", optimiser_state(self.adam)),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.line.copy_(state["line"])
        self.random.set_state(state["random"])
        load_optimiser(self.adam, of("adam", state))

    def sample(self) -> Picture:
        return Picture(np.full((2, 3, 1), 7, np.uint8), "L")


class After:
    """Is set once it has been asked n times."""

    def __init__(self, n: int) -> None:
        self.left = n

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def a_run(folder: Path, **more: object) -> Run:
    return Run(folder, {"config": {"a": 1, "b": [2]}, "seed": 5}, log_every=2, sample_every=10, save_every=5, **more)


def logged(folder: Path) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [(r["step"], r["loss"]) for r in records]


def test_a_run_leaves_its_config_log_samples_and_last_state(tmp_path: Path) -> None:
    fit, heard = Fit(), []
    watch = Watch(lambda f, m: heard.append((f, m)))
    outcome = training.train(fit, 25, run=a_run(tmp_path / "run"), watch=watch)
    assert (outcome.steps, outcome.cancelled, outcome.sentence) == (25, False, "all 25 steps are done")
    assert json.loads((tmp_path / "run" / CONFIG).read_text()) == {"config": {"a": 1, "b": [2]}, "seed": 5}
    assert [step for step, _ in logged(tmp_path / "run")] == list(range(2, 25, 2))
    assert sorted(os.listdir(tmp_path / "run" / SAMPLES)) == ["step_000010.png", "step_000020.png", "step_000025.png"]
    assert sorted(os.listdir(tmp_path / "run")) == sorted([CHECKPOINT, CONFIG, LOG, SAMPLES])
    done, state = training.read_checkpoint(tmp_path / "run", {"config": {"a": 1, "b": [2]}, "seed": 5})
    assert done == 25
    assert torch.equal(state["line"], fit.line.detach())
    fractions = [f for f, _ in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert re.fullmatch(r"step 3 of 25, loss [0-9.]+", heard[3][1])


@pytest.mark.parametrize("stops", [[1], [5, 12], [0, 24], [3, 3, 3]])
def test_resumed_runs_end_with_the_bits_of_one_that_was_never_stopped(tmp_path: Path, stops: list[int]) -> None:
    whole = Fit()
    training.train(whole, 25, run=a_run(tmp_path / "whole"))
    for k, n in enumerate(stops):
        outcome = training.train(Fit(), 25, run=a_run(tmp_path / "parts", resume=k > 0), watch=Watch(cancel=After(n)))
        assert outcome.cancelled
        assert outcome.steps <= 25
    last = Fit()
    assert training.train(last, 25, run=a_run(tmp_path / "parts", resume=True)).steps == 25
    assert all(torch.equal(a, last.state()[name]) for name, a in whole.state().items())
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("n", "least"), [(4, 2), pytest.param(12, 6, marks=pytest.mark.slow)])
def test_a_killed_run_resumes_from_its_last_checkpoint_to_the_same_bits(tmp_path: Path, n: int, least: int) -> None:
    """kill -9 at random places: between steps, or before, within and after the writing of a file."""
    whole = Fit()
    training.train(whole, 25, run=a_run(tmp_path / "whole"))
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_training import Fit, a_run
from texsyn import training

def killing(f):
    def counted(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return f(*args, **kwargs)
    return counted

for place in ("replace", "fsync", "chmod"):
    setattr(os, place, killing(getattr(os, place)))
Fit.step = killing(Fit.step)
folder, kills = Path(sys.argv[1]), 0
for left in map(int, sys.argv[2:]):
    child = os.fork()
    if child == 0:
        resume = (folder / training.CHECKPOINT).exists()
        training.train(Fit(), 25, run=a_run(folder, resume=resume, overwrite=True))
        os._exit(0)
    kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
print(kills)
"""
    chance, folder = random.Random(4), tmp_path / "killed"
    left = [str(chance.randrange(1, 25)) for _ in range(n)]
    command = [sys.executable, "-c", script, str(folder), *left]
    said = subprocess.run(command, timeout=100, capture_output=True, text=True, check=True).stdout
    assert int(said) >= least
    last = Fit()
    training.train(last, 25, run=a_run(folder, resume=True))
    assert all(torch.equal(a, last.state()[name]) for name, a in whole.state().items())
    assert logged(tmp_path / "whole") == logged(folder)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="loss is nan at step 13; the checkpoint of step 10 stays"):
        training.train(Fit(bad_at=13), 25, run=a_run(tmp_path / "run"))
    done, state = training.read_checkpoint(tmp_path / "run", a_run(tmp_path).about)
    assert done == 10
    assert all(bool(t.isfinite().all()) for t in state.values() if t.is_floating_point())
    last, whole = Fit(), Fit()
    training.train(last, 25, run=a_run(tmp_path / "run", resume=True))
    training.train(whole, 25)
    assert torch.equal(whole.line, last.line)


def test_a_time_limit_stops_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 6  # seconds between two looks
        return now[0]

    monkeypatch.setattr("texsyn.training.time.monotonic", clock)
    outcome = training.train(Fit(), 1000, max_minutes=1)
    assert outcome.sentence == f"stopped after 1 minutes, at step {outcome.steps} of 1000"
    assert outcome.steps == 10
    assert not outcome.cancelled


def test_the_share_that_is_done_rises_evenly_to_the_end_of_the_time_also_after_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(Fit(), 100, run=a_run(tmp_path), watch=Watch(cancel=After(40)))
    now, heard = [0.0], []
    monkeypatch.setattr("texsyn.training.time.monotonic", lambda: now[0])

    class Slow(Fit):
        def step(self, i: int) -> dict[str, float]:
            now[0] += 20
            return super().step(i)

    watch = Watch(lambda f, m: heard.append(round(f, 4)))
    outcome = training.train(Slow(), 100, run=a_run(tmp_path, resume=True), max_minutes=1, watch=watch)
    assert outcome.steps == 44
    assert heard == [0.4, 0.6, 0.8, 1.0, 1.0]  # 60 of 100 steps are left, and a minute for them


def test_a_checkpoint_is_due_after_some_minutes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("texsyn.training.time.monotonic", lambda: now[0])
    saved = []

    class Slow(Fit):
        def step(self, i: int) -> dict[str, float]:
            now[0] += 100
            return super().step(i)

        def state(self) -> dict[str, Tensor]:
            saved.append(now[0] / 100)
            return super().state()

    training.train(Slow(), 12, run=Run(tmp_path / "a", {}, save_every=10))
    assert saved == [0, 4, 8, 10, 12]
    saved.clear()
    training.train(Slow(), 12, run=Run(tmp_path / "b", {}, save_every=10, save_minutes=0))
    assert [round(at - saved[0]) for at in saved] == [0, 10, 12]


def test_the_last_sample_is_made_once_and_may_be_the_callers(tmp_path: Path) -> None:
    asked = []

    def sample(trainee: Fit) -> Picture:
        asked.append(trainee)
        return Picture(np.full((1, 1, 1), 9, np.uint8), "L")

    training.train(Fit(), 20, run=a_run(tmp_path, sample=sample))
    assert len(asked) == 2
    assert sorted(os.listdir(tmp_path / SAMPLES)) == ["step_000010.png", "step_000020.png"]


def test_a_folder_that_cannot_be_used_is_refused_before_any_step(tmp_path: Path) -> None:
    class Never(Fit):
        def step(self, i: int) -> dict[str, float]:
            raise AssertionError("a step was made")

    training.train(Fit(), 5, run=a_run(tmp_path / "run"))
    with pytest.raises(OutputExists, match="holds a training run"):
        training.train(Never(), 5, run=a_run(tmp_path / "run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        training.train(Never(), 5, run=a_run(tmp_path / "file" / "run"))
    with pytest.raises(InputError, match="no checkpoint to resume"):
        training.train(Never(), 5, run=a_run(tmp_path / "new", resume=True))
    other = Run(tmp_path / "run", {"config": {"a": 1, "b": [3]}, "seed": 5}, resume=True)
    with pytest.raises(InputError, match=r"of another run: its b is \[2\], not \[3\]"):
        training.train(Never(), 5, run=other)
    assert training.train(Fit(), 5, run=a_run(tmp_path / "run", overwrite=True)).steps == 5


def test_a_truncated_or_foreign_checkpoint_is_refused_in_one_sentence(tmp_path: Path) -> None:
    training.train(Fit(), 5, run=a_run(tmp_path))
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    for n in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(InputError, match="cannot be read as a checkpoint") as refused:
            training.train(Fit(), 5, run=a_run(tmp_path, resume=True))
        assert "\n" not in str(refused.value)
    path.write_bytes(whole)

    class Wider(Fit):
        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Parameter(torch.zeros(3))

    with pytest.raises(InputError, match="does not fit this run"):
        training.train(Wider(), 5, run=a_run(tmp_path, resume=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path, value: float) -> None:
    training.train(Fit(), 10, run=a_run(tmp_path))
    path = tmp_path / CHECKPOINT
    with safe_open(path, framework="pt") as f:
        header, state = f.metadata(), {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118

    class Bad(Fit):
        def step(self, i: int) -> dict[str, float]:
            losses = super().step(i)
            if i == 14:
                self.adam.state[self.line]["exp_avg_sq"][1] = value
            return losses

    with pytest.raises(FloatingPointError, match=rf"adam\.0\.exp_avg_sq is {value} at step 15; .* step 10 stays"):
        training.train(Bad(), 25, run=a_run(tmp_path, resume=True))
    assert training.read_checkpoint(tmp_path, a_run(tmp_path).about)[0] == 10
    state["adam.0.exp_avg_sq"][1] = value
    save_file(state, path, metadata=header)
    with pytest.raises(InputError, match=rf"cannot be gone on from \(adam\.0\.exp_avg_sq holds {value}\)"):
        training.train(Fit(), 25, run=a_run(tmp_path, resume=True))
    state["line"] = state["line"].to(torch.float8_e4m3fn)  # of which torch cannot tell
    save_file(state, path, metadata=header)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        training.train(Fit(), 25, run=a_run(tmp_path, resume=True))


def test_an_error_that_is_not_measured_yet_may_be_infinite(tmp_path: Path) -> None:
    class Potential(Fit):
        numbers = torch.tensor([0.0, 1.0, 2.0, math.inf, 4.0, 5.0], dtype=torch.float64)

        def state(self) -> dict[str, Tensor]:
            return super().state() | {"loss.0.numbers": self.numbers}

    training.train(Potential(), 5, run=a_run(tmp_path))
    assert training.train(Potential(), 10, run=a_run(tmp_path, resume=True)).steps == 10
    for k, value in ((3, math.nan), (3, -math.inf), (1, math.inf)):
        broken = Potential()
        broken.numbers = Potential.numbers.clone()
        broken.numbers[k] = value
        with pytest.raises(FloatingPointError, match=r"loss\.0\.numbers is"):
            training.train(broken, 15, run=a_run(tmp_path, resume=True))


def test_the_log_loses_lines_that_come_after_the_checkpoint_and_one_that_was_cut(tmp_path: Path) -> None:
    training.train(Fit(), 25, run=a_run(tmp_path), watch=Watch(cancel=After(10)))
    before = logged(tmp_path)
    with open(tmp_path / LOG, "a") as f:
        f.write(json.dumps({"step": 12, "loss": 0.5}) + '\n{"step": 14, "lo')
    training.train(Fit(), 25, run=a_run(tmp_path, resume=True), watch=Watch(cancel=After(0)))
    assert logged(tmp_path) == before


def test_optimisers_go_on_as_if_nothing_had_happened() -> None:
    for make in (lambda p: torch.optim.Adam(p, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)):
        there, here = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2))
        one, other = make([there]), make([here])
        for _ in range(3):
            there.grad = there.detach() ** 2
            one.step()
        with torch.no_grad():
            here.copy_(there)
        load_optimiser(other, {k: t.clone() for k, t in optimiser_state(one).items()})
        for p, optimiser in ((there, one), (here, other)):
            p.grad = p.detach() ** 2
            optimiser.step()
        assert torch.equal(there, here)


def test_the_schedule_rises_then_falls() -> None:
    rates = [cosine(i, 200) for i in range(200)]
    top = rates.index(max(rates))
    assert 10 <= top <= 25
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0 < rates[-1] < 0.03
