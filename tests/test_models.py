"""The contract that every texture model keeps; a new model joins METHODS and is tested here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import texsyn
from texsyn.images import InputError, Picture, Size, load, to_unit
from texsyn.models import METHODS
from texsyn.models.base import Cancelled, Watch
from texsyn.synthesis import configure, fit_model

CHEAP = {
    "texto": {"passes": 3},
    "texto-endless": {"endless": True, "training_factor": 2, "samples_per_atom": 4},
    "gotex-net": {"steps": 2, "batch": 1, "crop": 16, "n_levels": 3, "channels": 4, "max_atoms": 50, "n_samples": 64},
    "singan": {"steps": 4, "learning_rate": 0.1, "channels": 4, "max_side": 40},
    "singan-endless": {"steps": 4, "learning_rate": 0.1, "channels": 4, "max_side": 40, "endless": True},
    "sgan": {"steps": 2, "batch": 1, "cells": 2, "n_layers": 3, "channels": 4, "max_channels": 8},
    "psgan": {"steps": 2, "batch": 1, "cells": 2, "n_layers": 3, "channels": 4, "max_channels": 8},
}
MODELS = [*METHODS, "texto-endless", "singan-endless"]
ADVERSARIAL = ("sgan", "psgan", "singan", "singan-endless")  # a critic learns nothing from one colour


def fit(name: str, exemplar: Picture, **settings: object) -> texsyn.TextureModel:
    method = name.removesuffix("-endless")
    config = configure(method, CHEAP.get(name, {}) | settings, whole=True)
    return fit_model(exemplar, method, config, seed=5, device="cpu", watch=Watch())


def blobs(height: int, width: int, n_channels: int, dtype: type = np.uint8, seed: int = 0) -> Picture:
    """A smooth random picture that fills its number type's range."""
    rng = np.random.default_rng(seed)
    field = rng.standard_normal((height, width, n_channels))
    for axis in (0, 1):
        field = sum(np.roll(field, k, axis) for k in range(4))
    field = (field - field.min()) / (field.max() - field.min())
    if dtype is np.float32:
        return load((field * 3 - 1).astype(np.float32))
    return load((field * np.iinfo(dtype).max).astype(dtype))


@pytest.fixture(scope="module", params=MODELS)
def fitted(request: pytest.FixtureRequest) -> tuple[str, texsyn.TextureModel]:
    return request.param, fit(request.param, blobs(40, 48, 3))


def test_same_seed_same_bits_and_another_seed_another_picture(fitted: tuple[str, texsyn.TextureModel]) -> None:
    _, model = fitted
    first = model.synthesise(Size(50, 70), seed=11).pixels
    assert np.array_equal(first, model.synthesise(Size(50, 70), seed=11).pixels)
    assert not np.array_equal(first, model.synthesise(Size(50, 70), seed=12).pixels)


def test_saved_and_loaded_model_gives_the_same_bits(fitted: tuple[str, texsyn.TextureModel], tmp_path) -> None:
    _, model = fitted
    model.save(tmp_path / "m.texsyn")
    again = texsyn.load(tmp_path / "m.texsyn")
    assert again.config == model.config
    assert again.exemplar.mode == model.exemplar.mode
    assert np.array_equal(again.synthesise(Size(33, 29), seed=3).pixels, model.synthesise(Size(33, 29), seed=3).pixels)


def test_sample_is_n_pictures_of_consecutive_seeds_in_unit_range(fitted: tuple[str, texsyn.TextureModel]) -> None:
    _, model = fitted
    three = model.sample((24, 31), seed=7, n=3)
    assert three.shape == (3, 3, 24, 31)
    assert three.dtype == torch.float32
    assert float(three.min()) >= 0
    assert float(three.max()) <= 1
    assert torch.equal(three[2], model.sample(Size(24, 31), seed=9)[0])


@pytest.mark.parametrize("size", [Size(1, 1), Size(7, 3), Size(64, 96), Size(41, 130)])
def test_any_size(fitted: tuple[str, texsyn.TextureModel], size: Size) -> None:
    _, model = fitted
    made = model.synthesise(size, seed=1)
    assert made.pixels.shape == (size.height, size.width, 3)
    assert made.pixels.dtype == np.uint8


def test_global_random_streams_are_untouched(fitted: tuple[str, texsyn.TextureModel]) -> None:
    name, _ = fitted
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (the stream we must not touch)
    fit(name, blobs(32, 32, 1)).synthesise(Size(20, 20), seed=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("n_channels", "dtype"), [(1, np.uint8), (2, np.uint16), (4, np.uint8), (3, np.float32), (7, np.uint16)]
)
def test_channels_and_depth_out_are_those_in(name: str, n_channels: int, dtype: type) -> None:
    exemplar = blobs(32, 36, n_channels, dtype)
    result = texsyn.synth(exemplar, (40, 44), method=name.removesuffix("-endless"), seed=2, **CHEAP.get(name, {}))
    assert result.image.mode == exemplar.mode
    assert result.pixels.dtype == dtype
    assert result.pixels.shape == (40, 44, n_channels)
    assert np.isfinite(to_unit(result.pixels)).all()


@pytest.mark.parametrize(
    "name", ["texto", "texto-endless", "texto-2018", "gotex-net", "sgan", "psgan", "singan", "singan-endless"]
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (3, 3), (7, 40)])
def test_too_small_an_exemplar_is_refused_in_one_sentence_with_its_size(name: str, shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=rf"{shape[1]}x{shape[0]}") as refused:
        fit(name, load(np.zeros(shape, np.uint8)))
    assert "\n" not in str(refused.value)


def test_a_model_file_of_numbers_that_torch_cannot_judge_is_refused(tmp_path: Path) -> None:
    fit("gotex-net", blobs(24, 24, 1)).save(tmp_path / "m.texsyn")
    with safe_open(tmp_path / "m.texsyn", framework="pt") as f:
        header, tensors = f.metadata(), {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
    first = next(name for name, t in tensors.items() if t.is_floating_point())
    save_file(tensors | {first: torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / "m.texsyn", metadata=header)
    with pytest.raises(InputError, match="not a usable texsyn model"):
        texsyn.load(tmp_path / "m.texsyn")


@pytest.mark.parametrize("name", ["gaussian", "random-phase"])
def test_models_without_patches_take_a_single_pixel(name: str) -> None:
    assert (fit(name, load(np.full((1, 1), 9, np.uint8))).synthesise(Size(5, 6), seed=0).pixels == 9).all()


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ADVERSARIAL])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_exemplar_gives_that_constant(name: str, value: int) -> None:
    exemplar = load(np.full((20, 24, 3), value, np.uint8))
    assert (fit(name, exemplar).synthesise(Size(30, 30), seed=0).pixels == value).all()


@pytest.mark.parametrize("name", [name for name in MODELS if name in ADVERSARIAL])
def test_a_constant_exemplar_is_refused_by_networks_that_learn_against_a_critic(name: str) -> None:
    with pytest.raises(InputError, match=r"one colour") as refused:
        fit(name, load(np.full((40, 44, 3), 9, np.uint8)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", MODELS)
def test_progress_rises_to_one_and_cancel_stops(name: str) -> None:
    heard: list[float] = []
    method, settings = name.removesuffix("-endless"), CHEAP.get(name, {})
    texsyn.synth(
        blobs(32, 32, 1), (32, 32), method=method, seed=0, on_progress=lambda f, m: heard.append(f), **settings
    )
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)

    class Now:
        def is_set(self) -> bool:
            return True

    with pytest.raises(Cancelled):
        texsyn.synth(blobs(32, 32, 1), (32, 32), method=method, seed=0, cancel=Now(), **settings)


@pytest.mark.parametrize("name", MODELS)
def test_unknown_setting_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="no setting 'pases'"):
        configure(name.removesuffix("-endless"), {"pases": 3}, whole=True)


def test_settings_of_the_wrong_type_or_range_are_refused() -> None:
    steps = ({"step": -0.1}, {"step": float("nan")})
    for wrong in ({"passes": "3"}, {"passes": 0}, {"patch_size": 4}, {"endless": 1}, {"passes": True}, *steps):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            configure("texto", wrong, whole=True)


def test_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="texto-2018"):
        texsyn.synth(blobs(16, 16, 1), method="quilt")


def test_unavailable_device_is_refused() -> None:
    for device in ("tpu", "cuda:99", "cpu:foo", "cuda:x", ""):
        with pytest.raises(ValueError, match="device="):
            texsyn.synth(blobs(16, 16, 1), device=device)
