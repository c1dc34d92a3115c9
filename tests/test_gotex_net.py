"""The trained generator: its plane, its borders, what it learns, and that a run can be taken up again."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import texsyn
from texsyn import training
from texsyn.blocks import ENDLESS, Period
from texsyn.cli import main
from texsyn.images import InputError, Picture, Region, Size, load, save
from texsyn.models.base import Watch
from texsyn.models.generators import ARCHITECTURES, Design, LevelWindow, make_generator
from texsyn.models.gotex_net import GotexNet, GotexNetConfig, Training
from texsyn.noise import NoiseField
from texsyn.pyramid import level_period
from texsyn.training import Run

SMALL = GotexNetConfig(
    n_levels=4, channels=4, max_channels=8, crop=24, batch=1, n_scales=2, max_atoms=100, n_samples=256, steps=6
)


def stripes(height: int = 48, width: int = 40) -> Picture:
    """Slanted stripes in two colours with some noise."""
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x + 0.5 * y) / 2)[..., None] * np.array([90, 60, -40])
    noisy = 128 + wave + np.random.default_rng(0).normal(0, 4, (height, width, 3))
    return Picture(noisy.clip(0, 255).astype(np.uint8), "RGB")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> GotexNet:
    config = replace(SMALL, architecture=request.param, channels=4 if request.param == "modern" else 2)
    return GotexNet.fit(stripes(), config, seed=1)


# ---- the plane


def test_random_regions_in_any_order_and_from_threads_equal_the_crop(model: GotexNet) -> None:
    whole = Region(-300, -280, 640, 600)
    pixels = model.plane(seed=3)(whole)
    chance, plane = random.Random(8), model.plane(seed=3)

    def is_crop(region: Region) -> bool:
        top, left = region.top - whole.top, region.left - whole.left
        return np.array_equal(plane(region), pixels[top : top + region.height, left : left + region.width])

    regions = []
    for _ in range(60):
        height, width = chance.randint(1, 90), chance.randint(1, 90)
        top, left = chance.randint(whole.top, whole.bottom - height), chance.randint(whole.left, whole.right - width)
        regions.append(Region(top, left, height, width))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_crop, regions))
    sample = model.sample(Size(300, 280), seed=3)[0]
    assert torch.equal(model.render(Region(17, 31, 200, 180), seed=3), sample[:, 17:217, 31:211])
    far = Region(2**60, -(2**61), 9, 12)
    assert np.array_equal(model.plane(seed=3)(far), model.plane(seed=3)(Region(far.top - 4, far.left, 20, 12))[4:13])


def test_blocks_are_windows_of_one_function(model: GotexNet) -> None:
    """A window computed at once, across borders of blocks and the origin, is what blocks say, but for rounding."""
    here = Region(-37, 230, 61, 53)
    noise_of, network = Noise(model, 5, ENDLESS), model.generator
    assert network is not None
    windows = network.windows(here)
    with torch.no_grad():
        at_once = model.coloured(network(noise_of(windows), windows))[0]
    in_blocks = model._blocks(5, ENDLESS).window(here)
    np.testing.assert_allclose(at_once.permute(1, 2, 0), in_blocks, atol=2e-5)


class Noise:
    """Noise of a model's plane as tensors."""

    def __init__(self, model: GotexNet, seed: int, period: Period) -> None:
        self.seed, self.period, self.design = seed, period, model.design

    def __call__(self, windows: list[LevelWindow]) -> list[torch.Tensor]:
        return [self.of(k, windows[k].noise) for k in self.design.noisy]

    def of(self, k: int, region: Region) -> torch.Tensor:
        period = level_period(self.period, k)
        fields = [NoiseField(self.seed, k, c, period).normal(region) for c in range(self.design.noise_channels)]
        return torch.from_numpy(np.stack(fields))[None]


@pytest.mark.parametrize("period", [(64, 80), (61, 83), (None, 37), (5, None), (300, 300), (1, 2)])
def test_planes_repeat_also_where_a_period_is_no_multiple_of_the_coarsest_place(
    model: GotexNet, period: Period
) -> None:
    plane = model.plane(seed=2, period=period)
    height, width = period[0] or 40, period[1] or 40
    first = plane(Region(0, 0, height, width))
    assert np.array_equal(first, plane(Region(height * bool(period[0]), -width * bool(period[1]), height, width)))
    # across the period's end, computed at once: there is no seam that blocks would hide
    network, noise_of = model.generator, Noise(model, 2, period)
    assert network is not None
    across = Region(height - 9, width - 8, 18, 17)
    windows = network.windows(across, period)
    with torch.no_grad():
        at_once = model.coloured(network(noise_of(windows), windows))[0]
    in_blocks = model._blocks(2, period).window(across)
    np.testing.assert_allclose(at_once.permute(1, 2, 0), in_blocks, atol=2e-5)


def test_the_halo_is_how_far_noise_is_looked_for(model: GotexNet) -> None:
    network = model.generator
    assert network is not None
    reach = 0
    for x in range(-1000, -960):
        windows = network.windows(Region(7, x, 1, 1))
        for k in model.design.noisy:
            reach = max(reach, x - windows[k].noise.left * 2**k, windows[k].noise.right * 2**k - 1 - x)
    assert reach == model.halo


def test_a_pixel_depends_on_its_noise_and_on_no_other() -> None:
    network = make_generator(Design("modern", 3, 4, 1, 1, 8, False), torch.Generator().manual_seed(0))
    windows = network.windows(Region(-3, 5, 6, 7))
    noise = [torch.randn(1, 1, w.noise.height, w.noise.width, requires_grad=True) for w in windows]
    network(noise, windows)[0, 0, 2, 3].backward()
    for z, w, reach in zip(noise, windows, (2, 3, 4), strict=True):
        assert z.grad is not None
        rows = z.grad[0, 0].abs().sum(1).nonzero()[:, 0] + w.noise.top
        assert 0 < len(rows) <= 2 * reach + 1
        assert int(rows.min()) * 2 ** windows.index(w) >= -1 - network.halo
    assert network(noise, windows).shape == (1, 1, 6, 7)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folded_networks_are_those_with_running_statistics(architecture: str) -> None:
    g = torch.Generator().manual_seed(1)
    network = make_generator(Design(architecture, 3, 4, 2, 3, 8), g)
    windows = network.windows(Region(0, 0, 20, 24))
    for _ in range(5):
        network([torch.randn(2, 3, w.noise.height, w.noise.width, generator=g) for w in windows], windows)
    noise = [torch.randn(1, 3, w.noise.height, w.noise.width, generator=g) for w in windows]
    with torch.no_grad():
        torch.testing.assert_close(network.folded()(noise, windows), network.eval()(noise, windows))


# ---- training


def test_the_same_seed_learns_the_same_bits_whatever_the_threads() -> None:
    one, again, other = (GotexNet.fit(stripes(), SMALL, seed=seed).to_bytes() for seed in (4, 4, 5))
    assert one == again
    assert one != other
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert one == GotexNet.fit(stripes(), SMALL, seed=4).to_bytes()
    finally:
        torch.set_num_threads(before)


class After:
    def __init__(self, n: int) -> None:
        self.left = n

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_stopped_run_keeps_a_model_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    config = replace(SMALL, steps=14, memory=3, turn=2)
    whole, outcome = GotexNet.train(stripes(), config, seed=4)
    assert outcome.steps == whole.steps == 14
    run = Run(tmp_path, {"seed": 4}, save_every=5)
    part, outcome = GotexNet.train(stripes(), config, seed=4, run=run, watch=Watch(cancel=After(7)))
    assert (outcome.cancelled, outcome.steps, part.steps) == (True, 7, 7)
    assert part.synthesise(Size(20, 30), seed=0).pixels.std() > 0
    last, _ = GotexNet.train(stripes(), config, seed=4, run=replace(run, resume=True))
    assert last.to_bytes() == whole.to_bytes()
    assert sorted(p.name for p in (tmp_path / training.SAMPLES).iterdir()) == ["step_000007.png", "step_000014.png"]


def test_it_learns_colours_and_contrast_in_some_steps() -> None:
    exemplar = stripes()
    config = replace(SMALL, steps=120, channels=8, crop=32, batch=2, learning_rate=0.01)
    training_ = Training(GotexNet(exemplar, config), seed=0)
    losses = [training_.step(i)["loss"] for i in range(120)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    made = training_.model().synthesise(Size(128, 128), seed=9).pixels.astype(float)
    assert np.abs(made.mean((0, 1)) - exemplar.pixels.mean((0, 1))).max() < 20
    assert 0.6 < made.std((0, 1)).mean() / exemplar.pixels.std((0, 1)).mean() < 1.4


@pytest.mark.slow
def test_a_real_training_reaches_the_patches_of_stripes() -> None:
    from texsyn.images import to_unit
    from texsyn.metrics.texture import score

    exemplar = stripes(96, 96)
    model = GotexNet.fit(exemplar, GotexNetConfig(n_levels=4, crop=64, steps=600), seed=0)
    one, other = (to_unit(model.synthesise(Size(128, 128), seed=s).pixels) for s in (1, 2))
    found = json.loads(score(one, to_unit(exemplar.pixels)).to_json())
    assert found["msw"] < 3 * found["msw_floor"]
    assert 0.7 < found["sharp"] < 1.3
    assert (one - other).std() > 0.3 * one.std()


def test_settings_out_of_range_are_refused_by_name() -> None:
    for wrong in ("steps", "crop", "channels", "n_levels", "batch", "memory"):
        with pytest.raises(ValueError, match=f"{wrong}=0"):
            GotexNetConfig(**{wrong: 0})
    for name, value in (("learning_rate", 0.0), ("average", 1.0), ("max_minutes", -1.0), ("architecture", "unet")):
        with pytest.raises(ValueError, match=name):
            GotexNetConfig(**{name: value})


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = GotexNet.fit(stripes(), replace(SMALL, steps=1), seed=0)
    tensors = model.tensors()
    for wrong in (replace(SMALL, channels=5), replace(SMALL, n_levels=3), replace(SMALL, architecture="ulyanov")):
        with pytest.raises(InputError, match="do not belong"):
            GotexNet.from_tensors(stripes(), wrong, tensors, "cpu")


# ---- elsewhere


def test_the_exported_network_gives_the_same_picture(model: GotexNet) -> None:
    size = Size(40, 56)
    program, shapes = model.exported(size)
    noise_of, network = Noise(model, 6, ENDLESS), model.generator
    assert network is not None
    windows = network.windows(Region(0, 0, size.height, size.width))
    noise = noise_of(windows)
    assert [tuple(z.shape) for z in noise] == shapes
    with torch.no_grad():
        made = program.module()(*noise)[0].permute(1, 2, 0)
    np.testing.assert_allclose(made, model._blocks(6, ENDLESS).window(Region(0, 0, 40, 56)), atol=2e-5)


def test_the_onnx_file_gives_the_same_picture(model: GotexNet, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model.export_onnx(tmp_path / "net.onnx", Size(24, 32))
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    shapes = {one.name: tuple(one.shape) for one in session.get_inputs()}
    noise_of, network = Noise(model, 6, ENDLESS), model.generator
    assert network is not None
    windows = network.windows(Region(0, 0, 24, 32))
    noise = {f"noise_{k}": z.numpy() for k, z in enumerate(noise_of(windows))}
    assert shapes == {name: z.shape for name, z in noise.items()}
    (made,) = session.run(["picture"], noise)
    plane = model._blocks(6, ENDLESS).window(Region(0, 0, 24, 32))
    np.testing.assert_allclose(made[0].transpose(1, 2, 0), plane, atol=2e-5)


# ---- the command line

OPTIONS = [
    *("--set", "n_levels=3", "--set", "channels=4", "--set", "crop=24", "--set", "batch=1"),
    *("--set", "max_atoms=50", "--set", "n_samples=64"),
]


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in args])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_train_resume_and_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(stripes(), "s.png")
    save(stripes(40, 40), "other.png")

    def said(code: int, *args: object) -> str:
        assert call("train", *args, *OPTIONS) == code, capsys.readouterr().err
        return capsys.readouterr().err

    assert "all 3 steps" in said(0, "s.png", "-o", "whole.texsyn", "--steps", 3, "--seed", 5)
    run = ("-o", "m.texsyn", "--folder", "run")
    assert "there is nothing to resume" in said(3, "s.png", *run, "--resume")
    assert "all 3 steps" in said(0, "s.png", *run, "--steps", 3, "--seed", 5)
    assert Path("m.texsyn").read_bytes() == Path("whole.texsyn").read_bytes()
    assert call("sample", "m.texsyn", "--size", "20x16", "-o", "a.png", "--seed", 1) == 0
    assert call("render", "m.texsyn", "--size", "20x16", "-o", "b.tif", "--seed", 1) == 0
    assert np.array_equal(load("a.png").pixels, load("b.tif").pixels)
    capsys.readouterr()

    again = ("s.png", "-o", "n.texsyn", "--folder", "run")
    assert "holds a training run" in said(2, *again, "--steps", 3)
    assert "all 3 steps" in said(0, *again, "--resume")
    assert Path("n.texsyn").read_bytes() == Path("whole.texsyn").read_bytes()
    for path in ("m.texsyn", "n.texsyn"):
        Path(path).unlink()
    assert "its exemplar is" in said(3, "other.png", *again[1:], "--resume")
    assert "its steps is 3, not 4" in said(3, *again, "--resume", "--steps", 4)
    assert "its seed is 5, not 6" in said(3, *again, "--resume", "--seed", 6)
    assert "--resume: needs the --folder" in said(2, "s.png", "-o", "n.texsyn", "--resume")
    checkpoint = Path("run") / training.CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    assert "cannot be read as a checkpoint" in said(3, *again, "--resume")
    checkpoint.unlink()
    assert "no checkpoint" in said(3, *again, "--resume")
    Path("file").write_text("")
    assert "cannot be made" in said(4, "s.png", "-o", "n.texsyn", "--folder", "file/run")
    assert "no name for a model" in said(2, "s.png", "-o", "n.png")
    assert not Path("n.texsyn").exists()


def test_samples_of_a_run_are_scored_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(stripes(64, 64), "s.png")
    lines = []
    for folder, more in (("scored", []), ("again", []), ("plain", ["--no-scores"])):
        made = call(
            "train", "s.png", "-o", f"{folder}.texsyn", "--folder", folder, "--steps", 2, "--seed", 5, *more, *OPTIONS
        )
        assert made == 0
        lines.append([json.loads(line) for line in (Path(folder) / training.LOG).read_text().splitlines()])
    scored, again, plain = ([line for line in found if "psw" in line] for found in lines)
    assert plain == []
    assert scored == again
    assert [line["step"] for line in scored] == [2]
    assert scored[0]["psw"] > 0
    assert scored[0]["rsifid"] > 0
    assert Path("scored.texsyn").read_bytes() == Path("plain.texsyn").read_bytes()


def test_an_interrupted_training_keeps_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import os
    import signal

    step = Training.step

    def interrupted(self: Training, i: int) -> dict[str, float]:
        if i == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, i)

    monkeypatch.setattr(Training, "step", interrupted)
    monkeypatch.chdir(tmp_path)
    save(stripes(), "s.png")
    assert call("train", "s.png", "-o", "m.texsyn", "--steps", 50, "--seed", 5, *OPTIONS) == 130
    assert "stopped by the caller at step 3 of 50" in capsys.readouterr().err
    assert texsyn.load("m.texsyn").synthesise(Size(9, 9), seed=0).evidence[0]["steps"] == 3


def test_values_beyond_the_range_are_counted_in_both_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(np.ndarray):
        def __lt__(self, other: object) -> np.ndarray:  # type: ignore[override]
            time.sleep(0.05)  # so that the blocks are counted at the same time
            return np.asarray(self) < other  # type: ignore[operator, no-any-return]

    class Plane:
        @staticmethod
        def window(region: Region) -> np.ndarray:
            return np.full((region.height, region.width, 3), 2, np.float32).view(Slow)

    model = GotexNet(stripes(), SMALL)
    monkeypatch.setattr(model, "_blocks", lambda *unused: Plane)
    assert model.synthesise(Size(4, 512), seed=0).evidence[0]["clipped"] == 1.0
