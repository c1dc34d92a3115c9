"""Image GANs as wholes: every architecture and loss trains, goes on after a stop to the same bits, and is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import texture
from safetensors.torch import save_file
from torch import Tensor

import texsyn
from texsyn.cli import main
from texsyn.datasets import Dataset, open_dataset
from texsyn.gan.architectures import ARCHITECTURES, OBJECTIVES, RECIPES, GanConfig, configure
from texsyn.gan.image_model import ImageModel, Source, grid_of, load_image_model, sheet_of, slerp
from texsyn.gan.image_training import ImageGan, stage
from texsyn.gan.plane_picture import coverage
from texsyn.images import InputError, load, read_recipe, save
from texsyn.metrics.pixel_frechet import pixel_frechet
from texsyn.models.base import load_texture, read_header

SMALL: dict[str, Any] = {"features": 4, "max_features": 8, "latent": 6, "batch": 6, "critic_turns": 1, "average": 50.0}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits")


def config_for(arch: str, data: Dataset, objective: str | None = None, recipe: str = "tiny", **more: Any) -> GanConfig:
    shape = {"channels": data.channels, "height": data.height, "width": data.width}
    if ARCHITECTURES[arch].by_class and "n_classes" not in more:
        more["n_classes"] = len(data.classes)
    if ARCHITECTURES[arch].grows:
        more = {"growth": 12} | more  # so that four steps of six see a resolution fade in
    return configure(arch, objective=objective, recipe=recipe, settings=SMALL | shape | more)


def data_for(arch: str) -> Dataset:
    return open_dataset("digits+negative:digits" if arch == "cogan" else "digits")


def steps(gan: ImageGan, first: int, last: int) -> list[dict[str, float]]:
    return [gan.step(i) for i in range(first, last)]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[name]) for name, t in a.items())


# ---- every architecture, every loss


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_trains_and_goes_on_to_the_same_bits(arch: str, recipe: str) -> None:
    data = data_for(arch)
    config = config_for(arch, data, recipe=recipe)
    before = torch.get_rng_state()
    whole = ImageGan(config, data, seed=5)
    start = {name: t.clone() for name, t in whole.generator.state_dict().items()}
    losses = steps(whole, 0, 2)
    assert all(np.isfinite(list(one.values())).all() and {"d", "g"} <= one.keys() for one in losses)
    kept = {name: t.detach().clone() for name, t in whole.state().items()}
    shown = whole.sample().pixels
    assert not equal(start, whole.generator.state_dict())
    assert equal(kept, whole.state())  # asking for a sample changed nothing
    losses = steps(whole, 2, 4)
    again = ImageGan(config, data, seed=5)
    again.load_state(kept)
    assert np.array_equal(again.sample().pixels, shown)
    assert steps(again, 2, 4) == losses
    assert equal(again.state(), whole.state())
    assert torch.equal(torch.get_rng_state(), before)
    other = ImageGan(config, data, seed=6)
    assert steps(other, 0, 1) != steps(ImageGan(config, data, seed=5), 0, 1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_loss_trains(objective: str, digits: Dataset) -> None:
    gan = ImageGan(config_for("dcgan", digits, objective), digits, seed=1)
    before = [p.detach().clone() for p in gan.generator.parameters()]
    for terms in steps(gan, 0, 2):
        assert np.isfinite(list(terms.values())).all()
    assert all(not torch.equal(a, b) for a, b in zip(before, gan.generator.parameters(), strict=True) if b.ndim > 1)
    if objective == "wgan-clip":
        assert max(float(p.detach().abs().max()) for p in gan.discriminator.parameters()) <= 0.01


@pytest.mark.parametrize(
    "more",
    [
        {"penalty": "r1", "lazy": 2}, {"penalty": "r2"}, {"penalty": "r1-r2"}, {"penalty": "lecam"},
        {"drift": 0.1, "orthogonal": 1e-4}, {"decay": True, "images": 60}, {"bf16": True}, {"pieces": 3},
        {"augment": "color,translation,cutout"}, {"augment": "ada"}, {"optimiser": "sgd"}, {"n_classes": 10},
    ],
    ids=lambda more: ",".join(more),
)  # fmt: skip
def test_every_way_of_training_goes_on_to_the_same_bits(more: dict[str, Any], digits: Dataset) -> None:
    config = config_for("dcgan", digits, **more)
    whole = ImageGan(config, digits, seed=2)
    steps(whole, 0, 3)
    kept = {name: t.detach().clone() for name, t in whole.state().items()}
    losses = steps(whole, 3, 6)
    assert all(np.isfinite(list(one.values())).all() for one in losses)
    again = ImageGan(config, digits, seed=2)
    again.load_state(kept)
    assert steps(again, 3, 6) == losses
    assert equal(again.state(), whole.state())


@pytest.mark.parametrize("arch", ["mlp", "dcgan", "sngan", "biggan", "progan", "lapgan", "msggan"])
def test_pictures_of_other_shapes(arch: str, tmp_path: Path) -> None:
    for k in range(4):
        save(load(texture(24, 40, 3, seed=k)), tmp_path / f"{k}.png")
    data = open_dataset(str(tmp_path))
    gan = ImageGan(config_for(arch, data, n_classes=0), data, seed=0)
    steps(gan, 0, 1)
    assert gan.model().sample(2, seed=0).shape == (2, 3, 24, 40)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("arch", "objective"), [("dcgan", "wgan-gp"), ("resnet-r1", None), ("sngan", None), ("stylegan2", None)]
)
def test_compiled_networks_train_as_the_others(
    arch: str, objective: str | None, backend: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By plain gradients, since Adam makes much of rounding. Penalties go through networks that are not compiled."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **more: compiled(f, **(more | {"backend": backend})))
    found = []
    for compile in (False, True):
        gan = ImageGan(config_for(arch, digits, objective, optimiser="sgd", compile=compile), digits, seed=0)
        losses = steps(gan, 0, 3)
        found.append((losses[-1], torch.cat([p.detach().flatten() for p in gan.generator.parameters()])))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-5)
    assert (found[1][1] - found[0][1]).abs().max() < 1e-6


def test_points_of_the_plane_are_drawn_with_the_field() -> None:
    data = open_dataset("gaussians8", limit=500)
    for objective in (None, "wgan-gp", "semi-discrete"):
        gan = ImageGan(config_for("mlp", data, objective), data, seed=0)
        steps(gan, 0, 2)
        picture = gan.sample()
        assert picture.mode == "RGB"
        assert len(np.unique(picture.pixels.reshape(-1, 3), axis=0)) > 20
        assert gan.model().sample(3, seed=0).shape == (3, 2, 1, 1)


def test_a_lazy_penalty_comes_when_it_is_due_and_is_as_many_times_stronger(digits: Dataset) -> None:
    once = ImageGan(config_for("resnet-r1", digits, penalty="r1", weight=1.0, optimiser="adam"), digits, seed=0)
    rare = ImageGan(config_for("resnet-r1", digits, penalty="r1", weight=1.0, lazy=4, optimiser="adam"), digits, seed=0)
    every, some = steps(once, 0, 5), steps(rare, 0, 5)
    assert all("r1" in terms for terms in every)
    assert [("r1" in terms) for terms in some] == [True, False, False, False, True]
    x = digits.batch(torch.arange(6))
    slopes = rare._slopes(x, x, None)
    assert rare._lazy(0)["r1"].item() == pytest.approx(
        4 * rare._slopes(digits.batch(rare.order.numbers(rare.seen - 6, 6)), x, None).item(), rel=1e-5
    )
    assert slopes.item() > 0


def test_growth_keeps_a_resolution_then_fades_in_the_next() -> None:
    assert [stage(n, 100) for n in (0, 99, 100, 125, 200, 299, 300, 350)] == [
        (0, 1.0), (0, 1.0), (1, 0.0), (1, 0.25), (1, 1.0), (1, 1.0), (2, 0.0), (2, 0.5),
    ]  # fmt: skip


def test_a_growing_network_ends_at_the_full_resolution_and_forgets_at_each_new_one(digits: Dataset) -> None:
    gan = ImageGan(config_for("progan", digits, growth=12), digits, seed=0)
    seen = []
    for i in range(7):
        gan.step(i)
        growing: Any = gan.generator
        adam = gan.loop.players["generator"].optimiser.state
        n_steps = {int(s["step"]) for s in adam.values()}
        seen.append((growing.depth, max(n_steps)))
    assert [depth for depth, _ in seen] == [0, 0, 1, 1, 1, 1, 1]
    assert seen[2][1] == 1  # Adam began anew


def reached(objective: str, seed: int, **more: Any) -> tuple[int, float]:
    """Modes of eight Gaussians that a perceptron reaches, each by 1 % of its points, and the share of good points."""
    data = open_dataset("gaussians8")
    model = texsyn.train_gan(data, "mlp", loss=objective, seed=seed, **more)
    assert data.modes is not None
    assert data.sigma is not None
    return coverage(model.many(2000, seed=0), data.modes, 3 * data.sigma, least=20)


def test_eight_gaussians_are_found() -> None:
    assert reached("r1", 0, steps=1)[1] < 0.1
    n, good = reached("r1", 0, steps=1000)
    assert n >= 7
    assert good > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objective", ["wgan-gp", "r1", "semi-discrete"])
def test_eight_gaussians_are_found_from_any_seed(objective: str, seed: int) -> None:
    n, good = reached(objective, seed)
    print(f"{objective} {seed}: {n} modes, {good:.3f} within three standard deviations")
    assert n >= 7
    assert good > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("objective", [None, "wgan-gp"])
def test_digits_get_better_by_half_after_a_tenth_of_the_time(objective: str | None, digits: Dataset) -> None:
    """The Frechet distance of raw pixels; DCGAN for 6000 updates, with WGAN-GP's critic for 3000."""
    config = configure("dcgan", objective=objective, settings={"height": 8, "width": 8, "channels": 1})
    gan, n = ImageGan(config, digits, seed=0), 6000 if objective is None else 3000
    real, found = digits.batch(torch.arange(digits.n)) / 2 + 0.5, []
    for i in range(n):
        gan.step(i)
        if i + 1 in (n // 10, n):
            found.append(pixel_frechet(real, gan.model().many(digits.n, seed=0)))
    print(f"{objective}: {found}")
    assert found[1] < found[0] / 2


# ---- what does not fit


def test_data_and_architecture_that_do_not_fit_are_refused(digits: Dataset) -> None:
    two = open_dataset("digits+negative:digits")
    cases = [
        ("dcgan", digits, {"height": 16}, "for 8x16 with channels=1, and the data are 8x8 with channels=1"),
        ("dcgan", digits, {"n_classes": 3}, "n_classes=3 should be 0 or the 10 of the data"),
        ("acgan", digits, {"n_classes": 0}, "arch='acgan' needs data with labels"),
        ("lapgan", digits, {"n_classes": 10}, "arch='lapgan' knows no classes"),
        ("msggan", digits, {"augment": "ada"}, "augment='ada': msggan judges pyramids"),
        ("cogan", digits, {}, r"needs two domains, DATA\+DATA, and these data have 1"),
        ("dcgan", two, {"augment": "sharpen"}, "augment='sharpen' is not none, ada or some of color,transl"),
    ]
    for arch, data, more, said in cases:
        with pytest.raises(ValueError, match=said):
            ImageGan(config_for(arch, data, **more), data, seed=0)
    with pytest.raises(ValueError, match="transports whole pictures"):
        ImageGan(config_for("lapgan", digits, "semi-discrete"), digits, seed=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch": 0}, "batch=0 should be at least 1"),
        ({"pieces": 4}, "pieces=4 should divide batch=6"),
        ({"rate": 0.0}, "rate=0.0 should be above 0"),
        ({"weight": -1.0}, "weight=-1.0 should be 0 or more"),
        ({"beta2": 1.0}, "beta2=1.0 should be from 0 to below 1"),
        ({"loss": "gan"}, "loss='gan' is not one of saturating"),
        ({"penalty": "l2"}, "penalty='l2' is not one of none, gp"),
        ({"latent": 0}, "latent=0 should be at least 1"),
        ({"learning_rate": 0.1}, "GanConfig has no setting 'learning_rate'"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], said: str, digits: Dataset) -> None:
    with pytest.raises(ValueError, match=said):
        config_for("dcgan", digits, **wrong)


def test_names_that_are_not_known_are_refused_with_those_that_are() -> None:
    for of, known in (("arch", ARCHITECTURES), ("objective", OBJECTIVES), ("recipe", RECIPES)):
        with pytest.raises(ValueError, match=f"is not one of {', '.join(known)}"):
            configure(**({"arch": "dcgan"} | {of: "none of them"}))  # type: ignore[arg-type]


def test_published_numbers() -> None:
    """Of gan_zoo's table: SNGAN, WGAN-GP, BigGAN, ProGAN; their decays and half-lives by the formula of half_life."""
    sngan = configure("sngan", recipe="paper")
    assert (sngan.critic_turns, sngan.batch, sngan.beta1, sngan.beta2, sngan.steps) == (5, 64, 0.0, 0.9, 100_000)
    wgan = configure("wgan-resnet", recipe="paper")
    assert (wgan.loss, wgan.penalty, wgan.weight, wgan.critic_turns) == ("wasserstein", "gp", 10.0, 5)
    biggan = configure("biggan", recipe="paper")
    assert (biggan.features, biggan.latent, biggan.epsilon, biggan.steps) == (96, 120, 1e-6, 150_000)
    assert 0.5 ** (biggan.batch * biggan.critic_turns / biggan.average) == pytest.approx(0.9998, abs=1e-5)
    progan = configure("progan", recipe="paper")
    assert (progan.growth, progan.images, progan.drift) == (600_000, 15_000_000, 0.001)
    assert 0.5 ** (progan.batch / progan.average) == pytest.approx(0.999, abs=1e-5)


# ---- the model


@pytest.fixture(scope="module")
def model(digits: Dataset) -> ImageModel:
    gan = ImageGan(config_for("dcgan", digits, n_classes=10), digits, seed=5)
    steps(gan, 0, 3)
    made = gan.model()
    made.steps = 3
    return made


def test_a_picture_depends_on_its_seed_alone(model: ImageModel) -> None:
    before = torch.get_rng_state()
    whole = model.sample(6, seed=10)
    assert whole.shape == (6, 1, 8, 8)
    assert 0 <= float(whole.min()) < float(whole.max()) <= 1
    assert torch.equal(model.sample(1, seed=13)[0], whole[3])
    assert torch.equal(model.sample(2, seed=14), whole[4:])
    assert len({one.numpy().tobytes() for one in whole}) == 6
    assert (model.many(6, seed=10) - whole).abs().max() < 1e-5
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_is_the_same_after_its_file(model: ImageModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m.safetensors")
    again = texsyn.load(tmp_path / "m.safetensors")
    assert isinstance(again, ImageModel)
    assert again.to_bytes() == model.to_bytes()
    assert torch.equal(again.sample(3, seed=1), model.sample(3, seed=1))
    assert (again.config, again.about, again.fit_seed, again.steps) == (model.config, model.about, 5, 3)
    assert again.about.classes == tuple("0123456789")
    for reader in (load_texture, read_header):
        with pytest.raises(InputError, match=r"m.safetensors: a 'dcgan' model, whose pictures have one size"):
            reader(tmp_path / "m.safetensors")


def test_classes_are_asked_for_by_number(model: ImageModel) -> None:
    three = model.sample(2, seed=0, label=3)
    assert not torch.equal(three, model.sample(2, seed=0, label=4))
    assert torch.equal(model.sample(1, seed=3), model.sample(1, seed=3, label=3))  # one after the other
    for label in (-1, 10):
        with pytest.raises(ValueError, match=f"label={label} should be from 0 to below 10"):
            model.sample(1, seed=0, label=label)


def test_truncation_keeps_latents_within(model: ImageModel) -> None:
    assert model.latents(200, seed=0).abs().max() > 2
    assert model.latents(200, seed=0, truncation=0.5).abs().max() <= 0.5


def test_the_way_between_two_seeds_begins_and_ends_at_their_pictures(model: ImageModel) -> None:
    way = model.between(3, 7, 5, label=2)
    assert torch.equal(way[0], model.sample(1, seed=3, label=2)[0])
    assert (way[-1] - model.sample(1, seed=7, label=2)[0]).abs().max() < 1e-6
    there_and_back = model.between(3, 7, 8, label=2, whole=True)
    assert torch.equal(there_and_back[3], there_and_back[5])
    assert (there_and_back[4] - way[-1]).abs().max() < 1e-6


def test_points_on_a_great_circle_have_the_lengths_between() -> None:
    a, b = torch.randn(2, 1, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = b * a.norm() / b.norm()
    for t in (0.0, 0.25, 0.5, 1.0):
        assert slerp(a, b, t).norm().item() == pytest.approx(a.norm().item(), rel=1e-12)
    angle = torch.nn.functional.cosine_similarity(a, b).arccos()
    cosine = torch.nn.functional.cosine_similarity(a, slerp(a, b, 0.25))
    assert cosine.arccos().item() == pytest.approx(angle.item() / 4, rel=1e-9)
    assert torch.allclose(slerp(a, a, 0.3), a)  # in one line


def test_statistics_are_those_of_the_models_own_pictures(digits: Dataset) -> None:
    """After settling, a batch of the model's own latents comes out of the last normalisation nearly standard."""
    gan = ImageGan(config_for("dcgan", digits, features=8), digits, seed=0)
    steps(gan, 0, 2)
    model = gan.model()
    last = [m for m in model.generator.modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
    got: list[Tensor] = []
    last.register_forward_hook(lambda module, args, out: got.append(args[0]))
    model.made(model.latents(1000, seed=0))
    standard = (got[0] - last.running_mean[:, None, None]) / (last.running_var[:, None, None] + last.eps).sqrt()  # type: ignore[index]
    assert standard.mean((0, 2, 3)).abs().max() < 0.15
    assert (standard.var((0, 2, 3)) - 1).abs().max() < 0.2
    trained = [m for m in gan.generator.modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
    assert trained.momentum == 0.1
    assert not torch.equal(trained.running_mean, last.running_mean)  # type: ignore[arg-type]


def test_sheets_show_pictures_in_rows_and_domains_side_by_side() -> None:
    values = torch.arange(3).float()[:, None, None, None].expand(3, 2, 32, 32) / 4
    sheet = grid_of(values, 2).pixels
    assert sheet.shape == (65, 65, 2)
    assert (sheet[0, 0, 0], sheet[0, 33, 0], sheet[33, 0, 0], sheet[64, 64, 0]) == (0, 64, 128, 128)  # the last: paper
    assert grid_of(values, 3, domains=2).pixels.shape == (32, 3 * 65 - 1, 1)
    assert grid_of(values[:, :1, :8, :8], 3).pixels.shape == (32, 98, 1)  # small ones four times as large
    assert sheet_of([load(texture(40, 40, 3, seed=k)) for k in range(5)]).pixels.shape == (81, 122, 3)


def test_hostile_model_files_are_refused_in_a_sentence(model: ImageModel, tmp_path: Path) -> None:
    tensors = {name: t.clone().contiguous() for name, t in model.tensors().items()}
    header = {
        "format": 3, "arch": "dcgan", "config": dataclasses.asdict(model.config),
        "data": dataclasses.asdict(model.about), "fit_seed": 0, "steps": 1, "texsyn": "0",
    }  # fmt: skip
    first = next(name for name, t in tensors.items() if t.ndim > 1)
    bad = tensors | {first: torch.full_like(tensors[first], torch.nan)}
    config = dict(header["config"])  # type: ignore[call-overload]
    cases: list[tuple[dict[str, Any], dict[str, Tensor], str]] = [
        (header, bad, "NaN"),
        (header, tensors | {first: tensors[first].to(torch.float8_e4m3fn)}, "not a usable"),  # no NaN can be told there
        (header, {name: t for name, t in tensors.items() if name != first}, "do not belong"),
        (header | {"config": config | {"features": 5, "max_features": 16}}, tensors, "do not belong"),
        (header | {"config": config | {"arch": "pickle"}}, tensors, "is not one of"),
        (header | {"config": config | {"latent": "many"}}, tensors, "should be of type int"),
        (header | {"config": 7}, tensors, "not a usable"),
        (header | {"data": {}}, tensors, "not a usable"),
        (header | {"method": "texto", "format": 1}, tensors, "disagree"),
        (header | {"format": 9}, tensors, "format 9"),
    ]
    for k, (about, values, said) in enumerate(cases):
        path = tmp_path / f"{k}.safetensors"
        save_file(values, path, metadata={"texsyn": json.dumps(about)})
        with pytest.raises(InputError, match=said) as refused:
            load_image_model(path)
        assert "\n" not in str(refused.value)


def test_a_source_knows_what_a_set_without_a_name_is() -> None:
    class Data:
        classes = ()

    assert Source.of(Data()) == Source("data", "")


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


TINY = [w for name, value in SMALL.items() for w in ("--set", f"{name}={value}")]


def test_from_digits_to_pictures(run: Run) -> None:
    train = ["train", "digits", "--arch", "acgan", "--seed", 1, "--folder", "run", "-o", "m.texsyn", *TINY]
    assert run(*train, "--steps", 4, "--sample-every", 2)[0] == 0
    about = json.loads(Path("run/config.json").read_text())
    assert (about["arch"], about["seed"], about["data"]["name"]) == ("acgan", 1, "digits")
    assert len(about["data"]["sha256"]) == 64
    assert sorted(p.name for p in Path("run/samples").iterdir()) == ["step_000002.png", "step_000004.png"]
    log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["pixel_frechet"]) for line in log if "pixel_frechet" in line)
    assert sum("pixel_frechet" in line for line in log) == 2
    assert run("sample", "m.texsyn", "-n", 20, "--grid", "--seed", 0, "-o", "sheet.png")[0] == 0
    assert load("sheet.png").pixels.shape == (5 * 33 - 1, 4 * 33 - 1, 1)
    assert run("sample", "m.texsyn", "-n", 2, "--class", "7", "--seed", 0, "-o", "seven_{i}.png")[0] == 0
    model = texsyn.load("m.texsyn")
    second = model.picture(model.sample(1, seed=1, label=7)[0])
    assert np.array_equal(load("seven_2.png").pixels, second.pixels)
    recipe = read_recipe("seven_2.png")
    assert recipe is not None
    assert (recipe["method"], recipe["seed"], recipe["settings"]) == ("acgan", 1, {"class": "7"})
    assert recipe["model"]["sha256"] == hashlib.sha256(Path("m.texsyn").read_bytes()).hexdigest()
    assert run("repro", "seven_2.png", "-o", "again.png")[0] == 0
    assert np.array_equal(load("again.png").pixels, second.pixels)
    assert run("sample", "m.texsyn", "--seed", 0, "--no-metadata", "-o", "bare.png")[0] == 0
    assert read_recipe("bare.png") is None
    assert run("interpolate", "m.texsyn", "--seeds", "0,1", "--frames", 6, "-o", "way.webp")[0] == 0
    assert run("interpolate", "m.texsyn", "--frames", 16, "-o", "way.png")[0] == 0
    assert run("info", "m.texsyn")[1].splitlines()[3] == "arch: acgan"


def test_a_run_goes_on_with_its_settings_to_the_same_model(run: Run) -> None:
    train = ["train", "digits", "--arch", "msggan", "--seed", 1, *TINY]
    assert run(*train, "--steps", 6, "-o", "whole.texsyn")[0] == 0
    assert run(*train, "--steps", 3, "--folder", "run", "-o", "half.texsyn")[0] == 0
    again = ["train", "digits", "--folder", "run", "--resume", "--steps", 6]
    assert run(*again, "-o", "rest.texsyn")[0] == 0
    whole, rest = texsyn.load("whole.texsyn"), texsyn.load("rest.texsyn")
    assert torch.equal(whole.sample(3, seed=0), rest.sample(3, seed=0))
    code, _, said = run("train", "negative:digits", "--folder", "run", "--resume", "--steps", 6, "-o", "n.texsyn")
    assert (code, "is of another run" in said) == (3, True)
    code, _, said = run(*again, "--arch", "dcgan", "-o", "n.texsyn")
    assert (code, "is of another run: its arch is msggan, not dcgan" in said) == (3, True)
    code, _, said = run(*train, "--folder", "run", "--resume", "--steps", 6, "--loss", "hinge", "-o", "n.texsyn")
    assert (code, "its loss is relativistic-hinge, not hinge" in said) == (3, True)
    assert run(*train, "--folder", "run", "--resume", "--steps", 7, "-o", "n.texsyn")[0] == 0  # the same command
    code, _, said = run("train", "digits", "--folder", "run", "--resume", "--max-minutes", "0.000001", "-o", "o.texsyn")
    assert (code, "at step 7 of 106667" in said) == (0, True)  # 640 000 images in batches of six: the recipe's
    falling = ["train", "digits", "--arch", "sngan", "--seed", 1, "--folder", "falling", *TINY]
    assert run(*falling, "--steps", 2, "-o", "f.texsyn")[0] == 0
    code, _, said = run(*falling, "--steps", 4, "--resume", "-o", "g.texsyn")
    assert (code, "its images is 12, not 24" in said) == (3, True)  # its rates would have been others from the start


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["dcgan", "progan", "sagan"])
def test_a_killed_training_goes_on_to_the_same_model(arch: str, tmp_path: Path) -> None:
    """kill -9 at eight moments, a checkpoint every tenth step, ADA's p among what is kept where it is used."""
    more = ["--augment", "ada"] if arch == "dcgan" else []
    train = [sys.executable, "-m", "texsyn", "train", "digits", "--arch", arch, "--seed", "1", *more]
    train += ["--steps", "300", "--save-every", "10", "--sample-every", "50", "--set", "batch=16"]
    train += ["--set", "growth=1000"] if arch == "progan" else []
    run = [*train, "--folder", "run", "-o", "killed.texsyn", "--overwrite"]
    subprocess.run([*train, "-o", "whole.texsyn"], cwd=tmp_path, check=True, capture_output=True)
    chance, kills = random.Random(arch), 0
    for _ in range(8):
        again = ["--resume"] if (tmp_path / "run" / "checkpoint.safetensors").exists() else []
        process = subprocess.Popen([*run, *again], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.wait(timeout=chance.uniform(3, 9))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert kills >= 1
    subprocess.run([*run, "--resume"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "killed.texsyn").read_bytes() == (tmp_path / "whole.texsyn").read_bytes()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["train", "digits", "--arch", "vae", "-o", "m"], 2, "--arch: 'vae' is not one of mlp, dcgan"),
        (["train", "digits", "--loss", "l2", "-o", "m"], 2, "--loss: 'l2' is not one of saturating"),
        (["train", "digits", "--method", "sgan", "-o", "m"], 2, "--method sgan: is for one IMAGE"),
        (["train", "digits", "--resolution", "big", "-o", "m"], 2, "--resolution: "),
        (["train", "gaussians8", "--labels", "-o", "m"], 2, "--labels: gaussians8 has no classes"),
        (["train", "gaussians8", "--arch", "dcgan", "-o", "m"], 2, "points of the plane are learned by 'mlp'"),
        (["train", "nothing_here", "--arch", "dcgan", "-o", "m"], 3, "nothing_here"),
        (["train", "digits", "--set", "augment=7", "-o", "m"], 2, "augment=7 should be of type str"),
        (["train", "digits"], 2, "-o: a MODEL file to write is missing"),
        (["train", "digits", "--recipe", "quick", "-o", "m"], 2, "--recipe: 'quick' is not one of tiny, paper"),
    ],
)
def test_command_lines_that_cannot_be_are_refused_in_a_sentence(
    run: Run, args: list[str], code: int, said: str
) -> None:
    found, out, err = run(*args)
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert list(Path().iterdir()) == []


def test_options_of_the_other_kind_of_model_are_refused(run: Run) -> None:
    save(load(texture(40, 48, 3)), "s.png")
    assert run("fit", "s.png", "--method", "gaussian", "-o", "t.texsyn")[0] == 0
    assert run("train", "digits", "--steps", 1, *TINY, "-o", "m.texsyn")[0] == 0
    for args, said in (
        (["sample", "m.texsyn", "--size", "30x30"], "--size: a GAN of many pictures has one size"),
        (["sample", "m.texsyn", "--tile", "x"], "--tile: a GAN"),
        (["sample", "m.texsyn", "--class", "3"], "--class: dcgan was trained without classes"),
        (["sample", "m.texsyn", "-n", "2", "-o", "-"], "-o -: takes one picture, not 2"),
        (["sample", "t.texsyn", "--grid"], "--grid: is for models that `texsyn train --arch` wrote"),
        (["interpolate", "m.texsyn", "--seeds", "3", "-o", "a.gif"], "--seeds: '3' is not understood"),
        (["interpolate", "m.texsyn", "-o", "a.avi"], "the ending '.avi' is not known"),
    ):
        code, _, err = run(*args)
        assert (code, said in err, len(err.splitlines())) == (2, True, 1), err
    code, _, err = run("interpolate", "t.texsyn", "-o", "a.gif")
    assert (code, "a model of a texture (gaussian)" in err) == (3, True)
    code, _, err = run("render", "m.texsyn", "--size", "100x100", "-o", "x.tif")
    assert (code, "whose pictures have one size" in err) == (3, True)


def test_the_list_names_everything(run: Run) -> None:
    code, out, _ = run("train", "--list")
    assert code == 0
    for name in (*ARCHITECTURES, *OBJECTIVES, *RECIPES, "digits", "crops:IMAGE", "sgan"):
        assert name in out
