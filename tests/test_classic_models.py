"""The Gaussian, the random phase and the published Texto textures: the models' contract, their laws, known answers."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ot
import pytest
import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from texsyn import images, noise
from texsyn.adsn import field, patch_law
from texsyn.images import InputError, Picture, Region, Size, to_unit
from texsyn.metrics.texture import sharpness
from texsyn.models import texto2018
from texsyn.models.base import Cancelled, Synthesis, TextureModel, Watch, load, make_config, model_class
from texsyn.models.gaussian import Gaussian, GaussianConfig, RandomPhase, RandomPhaseConfig
from texsyn.models.gaussian import periodic_component, randomise_phase, spot_on_torus
from texsyn.models.texto2018 import Scale, Texto2018, Texto2018Config, gaussian_law, n_scales_for
from texsyn.noise import NoiseField
from texsyn.ot.semidiscrete import from_points, solve
from texsyn.patches import aggregate, extract

QUICK = Texto2018Config(max_atoms=60, max_samples_per_atom=30, training_side=48)
MODELS = [GaussianConfig(), GaussianConfig(periodic=True), RandomPhaseConfig(), QUICK]
CLASS = {GaussianConfig: Gaussian, RandomPhaseConfig: RandomPhase, Texto2018Config: Texto2018}
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

every_model = pytest.mark.parametrize("config", MODELS, ids=["gaussian", "periodic", "random-phase", "texto-2018"])


def correlated(height: int, width: int, n_channels: int, seed: int = 0) -> np.ndarray:
    """Floats in [0, 1] (h, w, c): smoothed noise whose channels are correlated, at an offset, and differ in law."""
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((height, width, n_channels))
    v = v + np.roll(v, 1, 0) + 0.5 * np.roll(v, 2, 1)
    for c in range(1, n_channels):
        v[..., c] = v[..., c] / (1 + c) + 0.6 * np.roll(v[..., c - 1], (c, -1), (0, 1))
    return np.clip(0.5 + 0.1 * v + 0.03 * np.arange(n_channels), 0, 1)


def picture(height: int = 24, width: int = 21, n_channels: int = 3, dtype: str = "uint8") -> Picture:
    return Picture(images.from_unit(correlated(height, width, n_channels), dtype), MODES[n_channels])


def fitted(config: Any, exemplar: Picture | None = None, **options: Any) -> TextureModel:
    model: TextureModel = CLASS[type(config)].fit(exemplar or picture(), config, **options)
    return model


def planes(a: np.ndarray | Picture) -> Tensor:
    return torch.from_numpy(to_unit(a.pixels) if isinstance(a, Picture) else a).permute(2, 0, 1).double()


def pixels(model: TextureModel, height: int, width: int, seed: int = 0) -> np.ndarray:
    return model.synthesise(Size(height, width), seed=seed).pixels


# ------------------------------------------------------------------------------------------------- the contract


@every_model
def test_a_picture_depends_on_its_seed_alone(config: Any) -> None:
    model = fitted(config, seed=4)
    three = model.sample((30, 25), seed=5, n=3)
    assert torch.equal(three[2:], fitted(config, seed=4).sample(Size(30, 25), seed=7))
    assert not torch.equal(three[0], three[1])
    assert (three[0] == three[1]).double().mean() < 0.2


@every_model
def test_the_global_random_streams_are_not_touched(config: Any) -> None:
    torch.manual_seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fitted(config).sample((20, 20), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


@every_model
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_loaded_model_gives_the_same_bits(config: Any, dtype: str, tmp_path: Path) -> None:
    model = fitted(config, picture(dtype=dtype), seed=3)
    model.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    assert loaded.config == config
    assert loaded.method == model.method
    a, b = (m.synthesise(Size(37, 20), seed=9) for m in (model, loaded))
    assert np.array_equal(a.pixels, b.pixels)
    assert a.evidence == b.evidence


@every_model
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_size_and_depth(config: Any, n_channels: int, dtype: str) -> None:
    exemplar = picture(24, 21, n_channels, dtype)
    model = fitted(config, exemplar)
    for size in (Size(24, 21), Size(7, 50), Size(61, 33), Size(1, 1), Size(2, 5)):
        found = model.synthesise(size, seed=1)
        assert found.pixels.shape == (size.height, size.width, n_channels)
        assert found.pixels.dtype == dtype
        assert np.isfinite(found.pixels).all()
    sample = model.sample((40, 40), seed=0, n=2)
    assert sample.shape == (2, n_channels, 40, 40)
    spread = to_unit(exemplar.pixels).std((0, 1))
    assert np.allclose(sample.mean((0, 2, 3)), to_unit(exemplar.pixels).mean((0, 1)), atol=spread.max())
    assert (sample.std((0, 2, 3)).numpy() > 0.4 * spread).all()
    if dtype != "float32":
        assert 0 <= sample.min() <= sample.max() <= 1


@every_model
def test_floats_keep_their_range(config: Any) -> None:
    """Heights in metres, say: the picture of 1000 f - 300 is 1000 times that of f, less 300."""
    f = correlated(24, 21, 1).astype(np.float32)
    a = fitted(config, Picture(f, "L")).sample((30, 30), seed=2)
    b = fitted(config, Picture(1000 * f - 300, "L")).sample((30, 30), seed=2)
    assert b.min() < -10
    close = (1000 * a - 300 - b).abs() < 0.01  # float32 of values of 300; Texto may choose another patch by it
    assert close.double().mean() > 0.97


@every_model
def test_a_constant_exemplar_gives_that_constant(config: Any) -> None:
    flat = Picture(np.full((16, 16, 3), (7, 200, 31), np.uint8), "RGB")
    assert (pixels(fitted(config, flat), 19, 23) == (7, 200, 31)).all()


@every_model
def test_progress_rises_to_one_and_cancel_stops(config: Any) -> None:
    seen: list[float] = []
    model = fitted(config)
    model.synthesise(Size(30, 30), seed=0, watch=Watch(lambda f, _: seen.append(f)))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        model.synthesise(Size(30, 30), seed=0, watch=Watch(cancel=stop))


def test_methods_have_the_names_of_the_table() -> None:
    for cls in (Gaussian, RandomPhase, Texto2018):
        assert model_class(cls.method) is cls


@pytest.mark.parametrize(
    ("config_type", "values", "word"),
    [
        (GaussianConfig, {"sigma": 2}, "sigma"),
        (GaussianConfig, {"periodic": 1}, "periodic"),
        (RandomPhaseConfig, {"fade": 0.0}, "fade"),
        (RandomPhaseConfig, {"fade": 0.6}, "fade"),
        (Texto2018Config, {"levels": 4}, "levels"),
        (Texto2018Config, {"patch_size": 1}, "patch_size"),
        (Texto2018Config, {"patch_size": 3.0}, "patch_size"),
        (Texto2018Config, {"n_scales": 0}, "n_scales"),
        (Texto2018Config, {"max_atoms": 0}, "max_atoms"),
        (Texto2018Config, {"training_side": -1}, "training_side"),
        (Texto2018Config, {"tol": 0.0}, "tol"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config_type: type, values: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make_config(config_type, values)


@pytest.mark.parametrize(("height", "width", "patch_size"), [(7, 100, 3), (100, 7, 3), (1, 1, 3), (9, 30, 5)])
def test_exemplars_too_small_are_refused_in_one_sentence(height: int, width: int, patch_size: int) -> None:
    with pytest.raises(InputError) as raised:
        Texto2018.fit(picture(height, width), Texto2018Config(patch_size=patch_size))
    assert f"{width}x{height}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "array" in str(raised.value)


@pytest.mark.parametrize("cls", [Gaussian, RandomPhase])
def test_the_others_take_any_exemplar(cls: type[TextureModel]) -> None:
    for height, width in ((1, 1), (1, 9), (2, 1), (5, 3)):
        assert pixels(cls.fit(picture(height, width)), 6, 4).shape == (6, 4, 3)


# --------------------------------------------------------------------------------------------------- Gaussian


def sampled_covariance(u: Tensor, mean: Tensor, n_fields: int, side: int, w: int) -> Tensor:
    """Second moments about the known mean of all w x w patches of several textures of u (C, h, w)."""
    region = Region(0, 0, side + u.shape[1] - 1, side + u.shape[2] - 1)
    total, n = torch.zeros(len(mean), len(mean), dtype=torch.float64), 0
    for seed in range(n_fields):
        x = extract(field(u, torch.from_numpy(NoiseField(seed).normal(region)).double()), w) - mean
        total, n = total + x.T @ x, n + len(x)
    return total / n


@pytest.mark.parametrize("order", [(0,), (0, 1, 2, 3), *itertools.permutations(range(3))], ids=str)
def test_patch_law_is_the_covariance_of_the_patches_of_many_fields(order: tuple[int, ...]) -> None:
    """Relative Frobenius error below 1 %: measured MEASURED over the eight cases.

    Three textures of 384x384; their own scatter is what is left. Rows in another order (channels innermost), or
    transposed lags, are wrong by WRONG or more.
    """
    u = planes(correlated(16, 13, 4))[list(order)]
    mean, law = patch_law(u, 3)
    assert torch.allclose(mean, u.mean((1, 2)).repeat_interleave(9))
    error = (law - sampled_covariance(u, mean, 3, 384, 3)).norm() / law.norm()
    assert error < 0.01
