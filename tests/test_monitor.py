"""Monitor: a real training loop, what it leaves untouched, records that continue, and refusals."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles.random_weights import random_state_dict, textures
from torch import Tensor, nn

from texsyn.evaluation import evaluate
from texsyn.images import InputError, Picture, from_unit, save
from texsyn.metrics.frechet import frechet
from texsyn.metrics.inception import Inception, features, from_state_dict
from texsyn.metrics.monitor import WEIGHT_FREE, Monitor
from texsyn.metrics.patch_law import patch_distances
from texsyn.metrics.sets import Crops
from texsyn.metrics.sifid import rsifid

Generate = Callable[[int, int], Tensor]


def noise(n: int, seed: int, side: int = 24) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def coloured(n: int, seed: int, side: int = 24) -> Tensor:
    """A texture without structure: independent pixels, their colours correlated."""
    mix = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.2, 0.1, 0.5]])
    return torch.sigmoid(
        torch.einsum("ij,njhw->nihw", mix, noise(n, seed, side)) + torch.tensor([0.8, 0.0, -0.9])[:, None, None]
    )


def constant(value: float, *shape: int) -> Generate:
    return lambda n, seed: torch.full((n, *(shape or (3, 24, 24))), value)


@pytest.fixture(scope="module")
def net() -> Inception:
    return from_state_dict(random_state_dict(), sha256="0" * 64)


@pytest.fixture(scope="module")
def monitor() -> Monitor:
    return Monitor(coloured(4, 1), WEIGHT_FREE, n=4)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    colours = x.movedim(1, 0).flatten(1)
    return colours.mean(1), torch.cov(colours)


def test_training_a_generator_is_followed() -> None:
    """One layer learns the law of a texture's colours: both scores fall to those of another sample of the texture."""
    layer = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        for parameter, seed in zip(layer.parameters(), (5, 6), strict=True):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))

    def generate(n: int, seed: int) -> Tensor:
        return torch.sigmoid(layer(noise(n, seed)))

    monitor = Monitor(coloured(4, 1), WEIGHT_FREE, n=4, every=60)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    records = []
    for step in range(181):
        mean, covariance = moments(generate(4, 100 + step))
        target, spread = moments(coloured(4, 1))
        loss = (mean - target).square().sum() + 10 * (covariance - spread).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (record := monitor(generate, step)) is not None:
            records.append(record)
    assert [record["step"] for record in records] == [0, 60, 120, 180]
    other = monitor(lambda n, seed: coloured(n, 2), 240)
    assert other is not None
    for name in WEIGHT_FREE:
        first, last = records[0]["scores"][name], records[-1]["scores"][name]
        assert other["scores"][name] * 0.5 < last < 0.3 * first
        assert last < 2 * other["scores"][name]
    assert monitor.best is min([*records, other], key=lambda record: record["scores"]["rsifid"])
    json.dumps(records)


def test_scores_are_those_of_the_metrics(net: Inception, monitor: Monitor) -> None:
    real, fake = coloured(4, 1), coloured(4, 2) * 0.9
    x, y = (from_unit(z.permute(0, 2, 3, 1).numpy(), np.uint8) for z in (real, fake))
    record = monitor(lambda n, seed: fake, 0)
    assert record is not None
    assert record["scores"]["rsifid"] == pytest.approx(rsifid(list(x), list(y)).value, rel=1e-9)
    found = [patch_distances(a / np.float32(255), b / np.float32(255)) for a, b in zip(x, y, strict=True)]
    assert list(record["details"]["psw"]) == ["1x", "2x"]  # 6 px at a quarter are less than a patch
    assert record["scores"]["psw"] == pytest.approx(np.mean([row[:2] for row in found]), rel=1e-6)

    by_vectors = Monitor(real, ("kid", "fid"), n=4, net=net, tap="192", resize="clean")(lambda n, seed: fake, 7)
    assert by_vectors is not None
    assert list(by_vectors["scores"]) == ["kid", "fid"]
    with pytest.warns(UserWarning, match="subsets of 4"):
        expected = evaluate(
            [Picture(p, "RGB") for p in x],
            [Picture(p, "RGB") for p in y],
            ("fid", "kid"),
            net=net,
            tap="192",
            resize="clean",
        ).scores
    assert by_vectors["scores"] == pytest.approx(expected, rel=1e-9)
    assert by_vectors["measured"]["features"]["sha256"] == "0" * 64


def test_more_real_than_features_and_more_generated_than_real(net: Inception) -> None:
    real, fake = textures(66, 12, 12, seed=1), torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    record = Monitor([Picture(p, "RGB") for p in real], ("fid",), n=3, net=net, tap="64")(lambda n, seed: fake, 0)
    x = features(net, real, ("64",))["64"].values
    y = features(net, from_unit(fake.permute(0, 2, 3, 1).numpy(), np.uint8), ("64",))["64"].values
    assert record is not None
    assert record["scores"]["fid"] == pytest.approx(frechet(x, y).value, rel=1e-9)
    few = Monitor(coloured(2, 1), ("psw",), n=4)(lambda n, seed: coloured(4, 2), 0)
    twice = Monitor(coloured(2, 1).repeat(2, 1, 1, 1), ("psw",), n=4)(lambda n, seed: coloured(4, 2), 0)
    assert few is not None
    assert twice is not None
    assert few["scores"] == twice["scores"]


def test_a_picture_stands_for_crops(tmp_path: Path) -> None:
    (pixels,) = textures(1, 48, 40, seed=3)
    save(Picture(pixels, "RGB"), tmp_path / "a.png")
    monitor = Monitor(tmp_path / "a.png", ("psw",), n=2, crops=Crops(3, 24, seed=5))
    record = monitor(constant(0.5), 0)
    assert record is not None
    real = record["measured"]["real"]
    assert (real["kind"], real["n"], real["sizes"]) == ("crops", 3, ["24x24"])
    assert real["crops"] == {"n": 3, "side": 24, "seed": 5}
    grey = Monitor(tmp_path / "a.png", WEIGHT_FREE, n=1, crops=Crops(2, 24))(constant(0.5, 1, 24, 24), 0)
    assert grey is not None
    assert grey["scores"]["psw"] > 0


def test_nothing_of_the_callers_is_touched(net: Inception) -> None:
    layer = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Sigmoid())
    seen: list[Any] = []

    def generate(n: int, seed: int) -> Tensor:
        seen.append(
            (n, seed, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
        )
        found: Tensor = layer(torch.randn(n, 3, 24, 24))  # of the global stream, as dropout is
        return found

    def state() -> tuple[Any, ...]:
        flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.get_num_threads()
        streams = torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002
        return layer.training, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), flags, streams

    layer.train()
    real, other = coloured(2, 1), coloured(2, 5)
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            before = state()
            monitor = Monitor(real, ("fid", *WEIGHT_FREE), n=2, net=net, tap="64", seed=9)
            first = monitor(generate, 0)
            assert state() == before
            inside = monitor(lambda n, seed: other, 1)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert seen == [(2, 9, False, False, True)]
    assert first is not None
    assert inside is not None
    again = Monitor(real, ("fid", *WEIGHT_FREE), n=2, net=net, tap="64", seed=9)(lambda n, seed: other, 1)
    assert again is not None
    assert again["scores"] == inside["scores"]  # autocast was off inside
    assert again["measured"] == inside["measured"]
    layer(torch.rand(2, 3, 4, 4)).sum().backward()  # nothing it kept hinders training


def test_a_score_is_a_function_of_pictures_and_seed(monitor: Monitor) -> None:
    def generate(n: int, seed: int) -> Tensor:
        return coloured(n, seed)

    first, second = monitor(generate, 1), monitor(generate, 2)
    assert first is not None
    assert second is not None
    assert first["scores"] == second["scores"]
    rounded = monitor(lambda n, seed: coloured(n, seed) + 1e-4 / 255, 3)
    assert rounded is not None
    assert rounded["scores"] == pytest.approx(first["scores"], rel=1e-3)  # a few codes at most
    other = Monitor(coloured(4, 1), WEIGHT_FREE, n=4, seed=1)(lambda n, seed: coloured(n, 0), 0)
    assert other is not None
    assert other["scores"]["rsifid"] != first["scores"]["rsifid"]


def test_records_are_lines_that_continue(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    about: dict[str, Any] = {"n": 2, "path": path, "every": 10}
    monitor = Monitor(coloured(2, 1), ("psw",), **about)
    assert monitor.best is None
    assert not path.exists()
    kept = [
        monitor(lambda n, seed, k=k: coloured(2, 2) * k, step)
        for step, k in ((0, 0.5), (10, 1.0), (15, 1.0), (20, 0.7))
    ]
    assert kept[2] is None
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [kept[0], kept[1], kept[3]]
    assert monitor.best == lines[1]

    with path.open("a") as file:
        file.write('{"step": 30, "scor')  # the process was ended here
    again = Monitor(coloured(2, 1), ("psw",), **about)
    assert again.best == lines[1]
    again(constant(0.5), 30)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 10, 20, 30]
    assert again.best == lines[1]

    for real, metrics, more, said in (
        (coloured(2, 3), ("psw",), {}, "line 1 was measured with real"),
        (coloured(2, 1), ("rsifid", "psw"), {}, "with metrics"),
        (coloured(2, 1), ("psw",), {"seed": 4}, "with psw"),
        (coloured(2, 1), ("psw",), {"n": 1}, "with n 2, this monitor with 1: they cannot be compared"),
    ):
        with pytest.raises(InputError, match=said):
            Monitor(real, metrics, **about | more)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r'with generated \{"size": "24x24"\}, step 40 with .*"16x16"'):
        again(constant(0.5, 3, 16, 16), 40)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["hello", "hello\n", '{"step": 1}\n', "[1]\n", '{"step": 0, "measured": 3}\n', "\xff\n"]
)
def test_other_files_are_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=r"^notes.txt: .*record"):
        Monitor(coloured(2, 1), ("psw",), n=2, path=path)
    assert path.read_bytes() == text.encode("latin1")
    with pytest.raises(InputError, match="folder does not exist"):
        Monitor(coloured(2, 1), ("psw",), n=2, path=tmp_path / "none" / "a.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        Monitor(coloured(2, 1), ("psw",), n=2, path=tmp_path)


def test_what_cannot_be_watched_is_refused(net: Inception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = coloured(2, 1)
    for metrics, more, said in (
        (("fid",), {"n": 1}, "needs n of 2 or more for fid and every of 1 or more, got n=1"),
        (WEIGHT_FREE, {"n": 0}, "needs n of 1 or more"),
        (WEIGHT_FREE, {"every": 0}, "every=0"),
        (("fud",), {}, "metrics=fud: accepted are fid, kid, rsifid, psw"),
        ((), {}, "metrics=none"),
        (("fid",), {"tap": "65"}, "taps="),
    ):
        with pytest.raises(ValueError, match=said):
            Monitor(real, metrics, net=net, **more)
    with pytest.raises(InputError, match=r"the real set has 1 pictures, and fid need 2"):
        Monitor(real[:1], ("fid",), net=net)
    with pytest.raises(InputError, match="too small"):
        Monitor(real[:, :, :9], ("rsifid",))
    with pytest.raises(ValueError, match=r"the real set: values must lie in \[0, 1\], got -0\.9 to -0\.9"):
        Monitor(torch.full_like(real, -0.9), ("psw",))
    for name in ("TEXSYN_WEIGHTS", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="6726825d"):
        Monitor(real)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda n, seed: None, "got NoneType"),
        (lambda n, seed: torch.zeros(n, 24, 24, 3), "must be a tensor"),
        (lambda n, seed: torch.zeros(3, 24, 24), r"of shape \(3, 24, 24\)"),
        (lambda n, seed: torch.zeros(n, 3, 24, 24, dtype=torch.uint8), "divide codes by 255"),
        (lambda n, seed: torch.zeros(n + 1, 3, 24, 24), "step 5 gave 5 pictures, asked for were 4"),
        (
            lambda n, seed: coloured(n, 0) * 2 - 1,
            r"step 5: values must lie in \[0, 1\], got -0\.\d+ to 0\.\d+; \(x \+ 1\)",
        ),
        (constant(255.0), r"got 255 to 255"),
        (constant(float("nan")), "step 5: 4 of 4 pictures have NaN"),
        (constant(float("inf")), "NaN or infinite"),
        (constant(0.5, 3, 5, 5), "too small"),
    ],
)
def test_bad_pictures_are_one_sentence(monitor: Monitor, made: Any, said: str) -> None:
    fresh = Monitor(coloured(4, 1), WEIGHT_FREE, n=4)
    with pytest.raises((ValueError, InputError), match=said) as caught:
        fresh(made, 5)
    assert "\n" not in str(caught.value)
    assert fresh.best is None


def test_a_hair_outside_is_inside(monitor: Monitor) -> None:
    exact, near = monitor(constant(1.0), 0), monitor(constant(1 + 1e-6), 1)
    half = monitor(lambda n, seed: torch.ones(n, 3, 24, 24, dtype=torch.bfloat16), 2)
    assert exact is not None
    assert near is not None
    assert half is not None
    assert exact["scores"] == near["scores"] == half["scores"]


def test_too_small_for_a_patch() -> None:
    with pytest.raises(ValueError, match="psw needs 7 px a side"):
        Monitor(coloured(2, 1), ("psw",), n=2)(constant(0.5, 3, 6, 6), 0)
