"""StyleGANs in the one loop: path lengths, presets, frozen layers, blur at first, training on from a model."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles.random_weights import random_state_dict
from torch import Tensor

import texsyn
from texsyn.cli import main
from texsyn.datasets import Dataset, open_dataset
from texsyn.gan.architectures import ARCHITECTURES, configure
from texsyn.gan.image_training import ImageGan
from texsyn.gan.networks.resampling import blurred
from texsyn.gan.networks.style import StyledGenerator, keys_of
from texsyn.gan.penalties import path_length
from texsyn.gan.presets import PRESETS
from texsyn.generation import config_for, scores_of
from texsyn.images import InputError
from texsyn.metrics import monitor as monitors
from texsyn.metrics.inception import from_state_dict
from texsyn.metrics.monitor import Monitor

SMALL: dict[str, Any] = {"features": 4, "max_features": 8, "latent": 6, "batch": 6, "average": 50.0, "group": 3}
TINY = [w for name, value in SMALL.items() for w in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits", resolution=16, enlarge=True)


def gan_of(data: Dataset, arch: str = "stylegan2", seed: int = 1, **more: Any) -> ImageGan:
    return ImageGan(config_for(data, arch, settings=SMALL | more), data, seed=seed)


def steps(gan: ImageGan, first: int, last: int) -> list[dict[str, float]]:
    return [gan.step(i) for i in range(first, last)]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[name]) for name, t in a.items())


# ---- presets


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_and_goes_on_to_the_same_bits(name: str, digits: Dataset) -> None:
    preset = PRESETS[name]
    config = config_for(digits, preset.arch, recipe="paper", preset=name, settings=SMALL)
    assert (config.weight, config.augment) == (preset.settings(16, 16)["weight"], preset.augment)
    before = torch.get_rng_state()
    whole = ImageGan(config, digits, seed=4)
    assert all(np.isfinite(list(one.values())).all() for one in steps(whole, 0, 2))
    kept = {name: t.detach().clone() for name, t in whole.state().items()}
    losses = steps(whole, 2, 5)  # the fifth has the path lengths again
    again = ImageGan(config, digits, seed=4)
    again.load_state(kept)
    assert steps(again, 2, 5) == losses
    assert equal(again.state(), whole.state())
    assert ("path" in losses[-1]) == preset.paths
    assert torch.equal(torch.get_rng_state(), before)


def test_rules_of_the_preset_for_any_resolution() -> None:
    """Batch min(4096 / side, 32), group min(batch, 4), gamma 0.0002 side^2 / batch, average batch 10 / 32 kimg."""
    for side, batch, gamma, average, features, rate in (
        (32, 32, 0.0064, 10_000, 512, 0.0025), (256, 16, 0.8192, 5000, 64, 0.0025), (512, 8, 6.5536, 2500, 64, 0.0025),
        (1024, 4, 52.4288, 1250, 32, 0.002),
    ):  # fmt: skip
        config = configure("stylegan2", preset="auto", recipe="paper", settings={"height": side, "width": side})
        assert (config.batch, config.group, config.features, config.rate) == (batch, min(batch, 4), features, rate)
        assert config.weight == pytest.approx(gamma)
        assert (config.average, config.ramp, config.mapping_layers) == (average, 0.05, 2)
    assert configure("stylegan2", preset="auto", settings={"height": 64, "width": 256}).batch == 16  # the longer side


def test_published_numbers_of_presets() -> None:
    def of(name: str, side: int) -> tuple[Any, ...]:
        arch = PRESETS[name].arch
        c = configure(arch, preset=name, recipe="paper", settings={"height": side, "width": side, "channels": 3})
        return c.batch, c.group, c.features, c.rate, c.weight, c.average, c.mapping_layers, c.path_weight, c.mixing

    assert of("stylegan2", 1024) == (32, 4, 32, 0.002, 10.0, 10_000, 8, 2.0, 0.9)
    assert of("paper256", 256) == (64, 8, 64, 0.0025, 1.0, 20_000, 8, 2.0, 0.9)
    assert of("paper512", 512) == (64, 8, 64, 0.0025, 0.5, 20_000, 8, 2.0, 0.9)
    assert of("paper1024", 1024) == (32, 4, 32, 0.002, 2.0, 10_000, 8, 2.0, 0.9)
    assert of("cifar", 32) == (64, 32, 512, 0.0025, 0.01, 500_000, 2, 0.0, 0.0)
    config = configure("stylegan2", preset="cifar", settings={"height": 32, "width": 32})
    assert (config.residual, config.images, config.lazy, config.path_lazy) == (False, 100_000_000, 16, 4)


def test_a_preset_of_another_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="preset='auto' is for arch='stylegan2', not 'dcgan'"):
        configure("dcgan", preset="auto")
    with pytest.raises(ValueError, match=r"preset='fast' is not one of auto, stylegan2"):
        configure("stylegan2", preset="fast")


# ---- path lengths


def test_path_lengths_come_every_fourth_step_four_times_as_strong(digits: Dataset) -> None:
    gan = gan_of(digits, path_weight=2.0, mixing=0.0, lazy=16)
    generator = gan.generator
    assert isinstance(generator, StyledGenerator)
    assert [("path_penalty" in terms, "r1" in terms) for terms in steps(gan, 0, 6)] == [
        (i % 4 == 0, i == 0) for i in range(6)
    ]
    optimisers = [gan.loop.players[name].optimiser.param_groups[0] for name in ("generator", "discriminator")]
    assert optimisers[0]["lr"] == pytest.approx(2.5e-3 * 4 / 5)
    assert optimisers[0]["betas"] == pytest.approx((0.0, 0.99 ** (4 / 5)))
    assert optimisers[1]["lr"] == pytest.approx(2.5e-3 * 16 / 17)
    random, twin = copy.deepcopy(gan.random), copy.deepcopy(generator)
    before = gan.path.clone()
    found = gan._paths(0)
    z = torch.randn(3, 6, generator=_same(random))  # half of a batch of six
    y = torch.randn(3, 1, 16, 16, generator=random) if _skip(random, z) else None
    assert y is not None
    ws, keys = twin.styles(z), keys_of(z)
    kept, mean = path_length(lambda at: twin.synthesise(at, keys), ws, y, before)
    torch.testing.assert_close(found["path_penalty"], 2 * 4 * kept)
    assert torch.equal(gan.path, mean)


def _same(random: torch.Generator) -> torch.Generator:
    other = torch.Generator()
    other.set_state(random.get_state())
    return other


def _skip(random: torch.Generator, drawn: Tensor) -> bool:
    torch.randn(drawn.shape, generator=random)
    return True


def test_paths_are_for_styles_and_frozen_layers_for_those_who_have_an_order(digits: Dataset) -> None:
    with pytest.raises(ValueError, match=r"path_weight=2.0 is for .*'stylegan2'.*; of arch='dcgan' it should be 0"):
        gan_of(digits, "dcgan", path_weight=2.0)
    with pytest.raises(ValueError, match=r"freeze=1 is for .*'stylegan2'.*; of arch='sngan' it should be 0"):
        gan_of(digits, "sngan", freeze=1)
    with pytest.raises(ValueError, match=r"judged_blur=3.0 is for one picture at a time, not those of msggan"):
        gan_of(digits, "msggan", judged_blur=3.0, judged_blur_images=10)
    with pytest.raises(ValueError, match=r"mixing=1.5 should be from 0 to 1"):
        configure("stylegan2", settings={"mixing": 1.5})
    with pytest.raises(ValueError, match=r"path_lazy=0 should be at least 1"):
        configure("stylegan2", settings={"path_lazy": 0})


# ---- ways of training


@pytest.mark.parametrize(
    "more",
    [
        {"path_weight": 2.0, "mixing": 0.9}, {"augment": "ada"}, {"bf16": True, "path_weight": 2.0},
        {"pieces": 2, "path_weight": 2.0}, {"freeze": 4}, {"judged_blur": 4.0, "judged_blur_images": 30},
        {"periodic": True}, {"residual": False}, {"n_classes": 10, "path_weight": 2.0, "mixing": 0.9},
    ],
    ids=lambda more: ",".join(more),
)  # fmt: skip
def test_every_way_of_training_goes_on_to_the_same_bits(more: dict[str, Any], digits: Dataset) -> None:
    whole = gan_of(digits, **more)
    steps(whole, 0, 3)
    kept = {name: t.detach().clone() for name, t in whole.state().items()}
    losses = steps(whole, 3, 6)
    assert all(np.isfinite(list(one.values())).all() for one in losses)
    again = gan_of(digits, **more)
    again.load_state(kept)
    assert steps(again, 3, 6) == losses
    assert equal(again.state(), whole.state())
    if "pieces" not in more:
        assert steps(gan_of(digits), 3, 6) != losses


def test_frozen_layers_stay_and_the_others_learn(digits: Dataset) -> None:
    gan = gan_of(digits, freeze=4)  # the picture's, and the first block's three
    before = {name: p.detach().clone() for name, p in gan.discriminator.named_parameters()}
    steps(gan, 0, 2)
    moved = {name for name, p in gan.discriminator.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if not name.startswith(("picture.", "blocks.0."))}
    assert {name.split(".")[0] for name in moved} == {"blocks", "conv", "whole", "psi"}
    assert all(p.requires_grad for p in gan.model(whole=True).discriminator.parameters())  # type: ignore[union-attr]


def test_pictures_are_blurred_less_and_less(digits: Dataset) -> None:
    gan = gan_of(digits, judged_blur=4.0, judged_blur_images=30)
    x = digits.batch(torch.arange(4))
    for seen, sigma in ((0, 4.0), (15, 2.0), (29, 4 / 30)):
        gan.seen = seen
        assert torch.equal(gan._augmented(x), blurred(x, sigma))  # type: ignore[arg-type]
    gan.seen = 30
    assert gan._augmented(x) is x


def test_blur_is_a_normal_filter_of_sum_one() -> None:
    x = torch.zeros(1, 2, 31, 41, dtype=torch.float64)
    x[:, :, 15, 20] = 1
    h = blurred(x, 3.0)[0, 0]
    assert h.sum().item() == pytest.approx(1, abs=1e-9)
    at = torch.arange(41, dtype=torch.float64) - 20
    spread = (h.sum(0) * at.square()).sum().sqrt().item()
    assert spread == pytest.approx(3 / (2 * np.log(2)) ** 0.5, rel=2e-3)  # cut off at three sigma
    assert (h[15, 20] / h[15, 23]).item() == pytest.approx(2)  # one sigma away it is half as much
    assert blurred(x, 0.3) is x


def test_the_average_style_follows_and_is_that_of_the_model(digits: Dataset) -> None:
    gan = gan_of(digits)
    steps(gan, 0, 3)
    average = gan.generator.get_buffer("average")
    assert float(average.abs().max()) > 0
    assert torch.equal(gan.model().generator.get_buffer("average"), average)


# ---- on from a model


def test_training_goes_on_from_a_model_that_kept_its_discriminator(digits: Dataset, tmp_path: Path) -> None:
    first = texsyn.train_gan(digits, "stylegan2", steps=3, seed=0, keep_discriminator=True, **SMALL)
    first.save(tmp_path / "first.texsyn")
    loaded = texsyn.load(tmp_path / "first.texsyn")
    assert loaded.fingerprint == first.fingerprint
    config = config_for(digits, "dcgan", start=loaded, settings={"augment": "ada", "batch": 6})
    assert (config.arch, config.latent, config.group, config.ada_images) == ("stylegan2", 6, 3, 100_000)
    gan = ImageGan(config, digits, seed=9, start=loaded)
    for mine, theirs in ((gan.generator, first.generator), (gan.discriminator, first.discriminator)):
        assert theirs is not None
        assert equal(mine.state_dict(), theirs.state_dict())
    assert equal(gan.loop.players["generator"].averaged, first.generator.state_dict())
    more = texsyn.train_gan(digits, start=tmp_path / "first.texsyn", steps=2, seed=1, batch=6)
    assert more.config.features == 4
    assert more.discriminator is None
    assert more.fingerprint != first.fingerprint
    with pytest.raises(ValueError, match="the model keeps no discriminator"):
        ImageGan(config, digits, seed=0, start=more)
    with pytest.raises(ValueError, match="the networks of that stylegan2 are others than those asked for"):
        gan_of_start(digits, loaded, features=5)
    with pytest.raises(ValueError, match="labels: whether pictures are by class is the starting model's"):
        config_for(digits, "stylegan2", start=loaded, labels=True)


def gan_of_start(data: Dataset, start: Any, **more: Any) -> ImageGan:
    return ImageGan(config_for(data, "stylegan2", start=start, settings=more), data, seed=0, start=start)


# ---- scores


def test_scores_by_vectors_need_weights_and_pictures(digits: Dataset, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("TEXSYN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="metrics=psnr: accepted are pixels, fid, kid"):
        scores_of(digits, ("fid", "psnr"))
    with pytest.raises(ValueError, match="metrics=kid: are for pictures of 1 or 3 channels"):
        scores_of(open_dataset("swiss-roll"), ("kid",))
    with pytest.raises(InputError, match="the weights are not here"):
        scores_of(digits, ("fid",), n=4)


def test_fid_of_samples_is_the_shared_metric(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    net = from_state_dict(random_state_dict(), sha256="0" * 64)
    monkeypatch.setattr(monitors, "inception", lambda *args, **more: net)
    gan = gan_of(digits)
    found = scores_of(digits, ("pixels", "fid"), n=3)(gan, 1)
    real = digits.batch(torch.linspace(0, digits.n - 1, 3).long()) / 2 + 0.5
    by_hand = Monitor(real, ("fid",), n=3, net=net)(lambda n, seed: gan.model().many(3, seed=0), 1)
    assert by_hand is not None
    assert found["fid"] == pytest.approx(by_hand["scores"]["fid"], abs=1e-5)
    assert found["fid"] > 0
    assert "pixel_frechet" in found


# ---- from the command line

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*args: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        said = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, said.out, said.err

    return call


def test_a_preset_and_a_start_from_the_command_line(run: Run) -> None:
    first = ["train", "digits", "--preset", "auto", "--seed", 1, "--steps", 2, *TINY]
    assert run(*first, "--with-d", "-o", "a.texsyn")[0] == 0
    model = texsyn.load("a.texsyn")
    assert (model.config.arch, model.config.recipe, model.config.augment) == ("stylegan2", "paper", "ada")
    assert model.discriminator is not None
    on = ["train", "negative:digits", "--from", "a.texsyn", "--seed", 2, "--set", "freeze=2", "--set", "batch=6"]
    assert run(*on, "--steps", 4, "-o", "whole.texsyn")[0] == 0
    assert run(*on, "--steps", 2, "--folder", "run", "-o", "half.texsyn")[0] == 0
    assert json.loads(Path("run/config.json").read_text())["start"] == model.fingerprint
    again = ["train", "negative:digits", "--folder", "run", "--resume", "--steps", 4]
    assert run(*again, "-o", "rest.texsyn")[0] == 0
    whole, rest = texsyn.load("whole.texsyn"), texsyn.load("rest.texsyn")
    assert whole.fingerprint == rest.fingerprint
    assert whole.discriminator is None
    code, _, said = run(*on, "--steps", 4, "--folder", "run", "--resume", "--from", "whole.texsyn", "-o", "n.texsyn")
    assert (code, "keeps no discriminator" in said, len(said.splitlines())) == (3, True, 1)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--preset", "auto", "--arch", "dcgan"], "--preset: auto is for --arch stylegan2, not dcgan"),
        (["--preset", "quick"], "--preset: 'quick' is not one of auto, stylegan2"),
        (["--from", "none.texsyn"], "none.texsyn"),
        (["--arch", "stylegan2", "--folder", "run", "--metric", "lpips"], "--metric: metrics=lpips: accepted are"),
        (["--arch", "stylegan2", "--set", "mixing=2"], "--set: mixing=2 should be from 0 to 1"),
        (["--arch", "dcgan", "--set", "freeze=2"], "freeze=2 is for"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_command_lines_that_cannot_be_are_refused_in_a_sentence(args: list[str], said: str, run: Run) -> None:
    code, out, err = run("train", "digits", *args, "--steps", 1, "-o", "m.texsyn")
    assert (code in (2, 3), out) == (True, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not Path("m.texsyn").exists()


def test_the_list_has_presets(run: Run) -> None:
    said = run("train", "--list")[1]
    for name, preset in PRESETS.items():
        assert f"  {name:<14}{preset.arch}: {preset.about}" in said.splitlines()
        assert preset.arch in ARCHITECTURES
