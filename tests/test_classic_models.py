"""The Gaussian, the random phase and the published Texto textures: the models' contract, their laws, known answers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ot
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from texsyn import images
from texsyn.adsn import field, patch_law
from texsyn.images import InputError, Picture, Region, Size, to_unit
from texsyn.metrics.texture import sharpness
from texsyn.models import texto2018
from texsyn.models.base import Cancelled, Synthesis, TextureModel, Watch, load, make_config, model_class
from texsyn.models.gaussian import (
    Gaussian,
    GaussianConfig,
    RandomPhase,
    RandomPhaseConfig,
    periodic_component,
    randomise_phase,
    spot_on_torus,
)
from texsyn.models.texto2018 import Scale, Texto2018, Texto2018Config, gaussian_law, n_scales_for
from texsyn.noise import NoiseField
from texsyn.ot.nearest import one_torch_thread
from texsyn.ot.semidiscrete import from_points, solve
from texsyn.patches import aggregate, extract

QUICK = Texto2018Config(max_atoms=60, max_samples_per_atom=30, training_side=48)
MODELS = [GaussianConfig(), RandomPhaseConfig(), QUICK]
CLASS = {GaussianConfig: Gaussian, RandomPhaseConfig: RandomPhase, Texto2018Config: Texto2018}
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

every_model = pytest.mark.parametrize("config", MODELS, ids=["gaussian", "random-phase", "texto-2018"])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small products on busy cores cost ten times as much with more."""
    with one_torch_thread():
        yield


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
def test_the_number_of_threads_changes_no_bit(config: Any) -> None:
    found = []
    for n_threads in (1, 4):
        torch.set_num_threads(n_threads)
        found.append(fitted(config, picture(96, 80)).sample((100, 90), seed=3))
        assert torch.get_num_threads() == n_threads
    torch.set_num_threads(1)
    assert torch.equal(*found)


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
    assert (sample.std((0, 2, 3)).numpy() > 0.3 * spread).all()
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
    """Relative Frobenius error below 1 %: measured 0.54 to 0.76 % over the eight cases.

    Three textures of 384x384; what is left is their own scatter (0.12 % with 64 textures of 512x512). Channels
    innermost, or lags transposed, make it 60 % or more where there is more than one channel.
    """
    u = planes(correlated(16, 13, 4))[list(order)]
    mean, law = patch_law(u, 3)
    assert torch.allclose(mean, u.mean((1, 2)).repeat_interleave(9))
    error = (law - sampled_covariance(u, mean, 3, 384, 3)).norm() / law.norm()
    assert error < 0.01


def test_gaussian_values_have_the_law_of_theory() -> None:
    """The field of the noise at their address (1e-6: float32), with the exemplar's mean and variance, Gaussian."""
    exemplar = Picture(correlated(16, 13, 3).astype(np.float32), "RGB")
    u, x = planes(exemplar), planes(pixels(Gaussian.fit(exemplar), 384, 384, seed=0))
    window = torch.from_numpy(NoiseField(0).normal(Region(-15, -12, 399, 396))).double()
    assert torch.allclose(x, field(u, window), atol=1e-6)
    z = (x - u.mean((1, 2), keepdim=True)) / u.std((1, 2), correction=0, keepdim=True)
    assert z.mean((1, 2)).abs().max() < 0.05
    assert (z.square().mean((1, 2)) - 1).abs().max() < 0.03
    assert (z.pow(4).mean((1, 2)) - 3).abs().max() < 0.15


def test_gaussian_pictures_are_windows_of_one_plane() -> None:
    """The same bits for every window, over block borders and on both sides of the origin."""
    model = Gaussian.fit(picture(40, 9))
    whole = model.render(Region(-530, -520, 1100, 1090), seed=3)
    for region in (Region(-3, -7, 20, 30), Region(500, 490, 66, 70), Region(-530, -520, 1, 1)):
        top, left = region.top + 530, region.left + 520
        window = whole[:, top : top + region.height, left : left + region.width]
        assert torch.equal(model.render(region, seed=3), window)
    assert torch.equal(model.sample((60, 50), seed=3)[0], whole[:, 530:590, 520:570])
    assert model.local
    assert model.halo >= 512


def border_jump(u: np.ndarray) -> float:
    """Mean square difference across the borders, over that between neighbours inside."""
    v = u.astype(np.float64)
    across = np.mean((v[0] - v[-1]) ** 2) + np.mean((v[:, 0] - v[:, -1]) ** 2)
    return float(across / (np.mean(np.diff(v, axis=0) ** 2) + np.mean(np.diff(v, axis=1) ** 2)))


def smooth() -> Picture:
    u = correlated(24, 21, 1)
    for axis in (0, 1):
        u = sum(np.roll(u, k, axis) for k in range(5)) / 5
    return Picture(u[2:].astype(np.float32), "L")  # no longer periodic


@pytest.mark.parametrize("config", [GaussianConfig(), RandomPhaseConfig()], ids=["gaussian", "phase"])
@pytest.mark.parametrize("size", [(128, 128), (24, 100), (131, 60), (17, 15)], ids=str)
def test_periodic_pictures_tile(config: Any, size: tuple[int, int]) -> None:
    """Borders are no rougher than the inside: 1 within 15 %, three times the scatter of 12 pictures' means."""
    model, wanted = fitted(config, smooth()), Size(*size)
    jumps = [border_jump(model.synthesise(wanted, seed=seed, tile="xy").pixels[..., 0]) for seed in range(12)]
    assert np.mean(jumps) == pytest.approx(1, abs=0.15)


def test_random_phase_is_not_local() -> None:
    model = fitted(RandomPhaseConfig(), smooth())
    assert not model.local
    with pytest.raises(NotImplementedError):
        model.render(Region(0, 0, 4, 4), seed=0)


def test_the_plane_does_not_tile() -> None:
    model = Gaussian.fit(smooth())
    assert np.mean([border_jump(pixels(model, 128, 128, seed)) for seed in range(12)]) > 2


def test_clipping_is_reported() -> None:
    exemplar = Picture((picture(64, 64, 1).pixels > 128).astype(np.uint8) * 255, "L")
    found = Gaussian.fit(exemplar).synthesise(Size(64, 64), seed=0)
    share = found.evidence[0]["clipped"]
    assert 0.1 < share < 0.9
    assert np.isin(found.pixels, (0, 255)).mean() == pytest.approx(share, abs=0.01)  # a few are 0 or 255 by rounding


# ----------------------------------------------------------------------------------------------- random phase


@pytest.mark.parametrize(("height", "width"), [(24, 21), (17, 30), (16, 16)])
def test_a_picture_of_the_same_size_has_the_modulus_of_the_periodic_component(height: int, width: int) -> None:
    exemplar = Picture(correlated(height, width, 3).astype(np.float32), "RGB")
    p, x = periodic_component(planes(exemplar)), planes(pixels(RandomPhase.fit(exemplar), height, width, seed=8))
    f, g = torch.fft.fft2(p), torch.fft.fft2(x)
    assert (f.abs() - g.abs()).abs().max() < 1e-6 * f.abs().max()  # pictures are float32
    turn = (g / f) / (g / f).abs()
    assert (turn - turn[:1]).abs().max() < 1e-2  # all channels turn alike; modes are down to 1e-4 of the largest
    assert torch.allclose(x.mean((1, 2)), planes(exemplar).mean((1, 2)), atol=1e-6)
    assert (x - p).abs().max() > 0.05


def test_a_larger_picture_has_the_modulus_of_the_spot() -> None:
    exemplar = Picture(correlated(24, 21, 3).astype(np.float32), "RGB")
    p = periodic_component(planes(exemplar))
    spot, x = spot_on_torus(p, Size(50, 75), 0.1), planes(pixels(RandomPhase.fit(exemplar), 50, 75))
    f, g = torch.fft.fft2(spot).abs(), torch.fft.fft2(x).abs()
    f[:, 0, 0] = g[:, 0, 0]  # the mean is the exemplar's, whatever the window leaves
    assert (f - g).abs().max() < 1e-6 * f.max()
    assert torch.allclose(x.mean((1, 2)), p.mean((1, 2)), atol=1e-6)


def test_a_side_of_the_same_length_is_not_faded() -> None:
    p = planes(correlated(12, 10, 1))
    spot = spot_on_torus(p, Size(12, 25), 0.2)
    assert torch.allclose(spot[:, :, 4], (p - p.mean())[:, :, 4] * (spot[0, 5, 4] / (p - p.mean())[0, 5, 4]))
    assert torch.equal(spot_on_torus(p, Size(12, 10), 0.2), p - p.mean())


def test_the_other_sides_fade_and_the_rest_of_the_torus_is_flat() -> None:
    spot = spot_on_torus(1 + planes(correlated(40, 50, 1)), Size(90, 70), 0.1)[0]
    assert (spot[40:] == 0).all()
    assert (spot[:, 50:] == 0).all()
    for border in (spot[0], spot[39], spot[:, 0], spot[:, 49]):
        assert border.abs().max() < 0.1 * spot.abs().max()


def test_larger_and_smaller_pictures_keep_mean_and_variance() -> None:
    """Variance within 15 %: the fade weighs the exemplar's pixels, a small torus has no room for low frequencies."""
    model = RandomPhase.fit(exemplar := Picture(correlated(48, 64, 2).astype(np.float32), "LA"))
    mean, variance = exemplar.pixels.mean((0, 1)), exemplar.pixels.var((0, 1))
    for size in ((96, 128), (200, 64), (48, 65), (40, 40), (30, 200)):
        found = pixels(model, *size, seed=0)
        assert np.allclose(found.mean((0, 1)), mean, atol=1e-5), size
        assert np.allclose(found.var((0, 1)) / variance, 1, atol=0.15), size


def test_phases_are_uniform_and_antisymmetric() -> None:
    """Circular moments of 600 draws at each frequency: of order 600^-1/2 = 0.04, 0.15 is never reached by chance."""
    delta = torch.zeros(1, 8, 9, dtype=torch.float64)
    delta[0, 0, 0] = 1  # its DFT is 1 everywhere
    draws = (torch.from_numpy(NoiseField(seed).normal(Region(0, 0, 8, 9))).double() for seed in range(600))
    turn = torch.stack([torch.fft.fft2(randomise_phase(delta, w)[0]) for w in draws])  # (600, 8, 9)
    assert torch.allclose(turn[:, 1:].abs(), torch.ones(()).double())
    assert turn[:, 0, 0].abs().max() < 1e-12
    for k in (1, 2, 3):
        assert turn[:, 1:, 1:].pow(k).mean(0).abs().max() < 0.15
    signs = turn[:, 4, 0].real.round()  # its own mirror image
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert signs.mean().abs() < 0.15


def test_the_periodic_component_has_the_laplacian_without_the_borders() -> None:
    u = planes(correlated(9, 12, 2))
    p = periodic_component(u)
    torus = sum(p.roll(d, axis) - p for axis in (1, 2) for d in (1, -1))
    inside = torch.zeros_like(u)
    inside[:, 1:] += u[:, :-1] - u[:, 1:]
    inside[:, :-1] += u[:, 1:] - u[:, :-1]
    inside[:, :, 1:] += u[:, :, :-1] - u[:, :, 1:]
    inside[:, :, :-1] += u[:, :, 1:] - u[:, :, :-1]
    assert torch.allclose(torus, inside, atol=1e-12)
    assert torch.allclose(p.mean((1, 2)), u.mean((1, 2)))


# --------------------------------------------------------------------------------------------------- texto-2018


def scale_with_all_atoms(u: Tensor, s: int, w: int = 3, v: float = 0.0) -> Scale:
    scale = Scale(s, u.float(), w, max_atoms=10**6)
    row = torch.arange(scale.n_patches)
    scale.choose(torch.stack([row // scale.per_row, row % scale.per_row], 1).to(torch.int32))
    scale.v = v * torch.randn(scale.n_patches, generator=torch.Generator().manual_seed(0))
    return scale


@pytest.mark.parametrize(("s", "w"), [(0, 3), (1, 3), (2, 3), (1, 2), (0, 5)])
def test_the_exemplar_is_a_fixed_point_of_its_own_transport(s: int, w: int) -> None:
    """With all its patches as atoms and v = 0 every patch stays, and up comes the exemplar, twice as large."""
    u = planes(correlated(45, 38, 3))
    scale = scale_with_all_atoms(u, s, w)
    up, j = scale.transport(scale.u)
    assert j.reshape(-1).tolist() == list(range(scale.n_patches))
    whole, margin = scale.u, w - 1
    if s > 0:
        whole = texto2018._resize(u.float(), Size(2 * scale.u.shape[1], 2 * scale.u.shape[2]))
        margin *= 2
    assert torch.allclose(up, whole[:, margin:-margin, margin:-margin], atol=1e-6)


@pytest.mark.parametrize("s", [0, 1])
def test_transport_averages_overlaps(s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against patches.aggregate, with stride 2 for the doubled patches; and in bands with the same bits."""
    u, U = planes(correlated(32, 32, 2)).float(), planes(correlated(20, 23, 2, seed=1)).float()
    scale = scale_with_all_atoms(u, s, v=0.05)
    up, j = scale.transport(U)
    if s == 0:
        whole, m = aggregate(scale.y[j.reshape(-1)], 20, 23, 3), 2
    else:  # the doubled exemplar of scale 1 is the exemplar, its sides being even
        y2 = extract(u, 6).view(27, 27, -1)[::2, ::2].reshape(scale.n_atoms, -1)
        whole, m = aggregate(y2[j.reshape(-1)], 40, 46, 6, stride=2), 4
    assert torch.allclose(up, whole[:, m:-m, m:-m], atol=1e-6)
    monkeypatch.setattr(texto2018, "PATCHES_AT_ONCE", 50)
    assert torch.equal(scale.transport(U)[0], up)


def test_scales_follow_the_shape_rule() -> None:
    u = torch.arange(45.0).expand(1, 38, 45)
    assert [tuple(Scale(s, u, 3, 9).u.shape) for s in range(4)] == [(1, 38, 45), (1, 19, 23), (1, 10, 12), (1, 5, 6)]
    assert torch.equal(Scale(0, u, 3, 9).u, u)
    assert [n_scales_for(Size(9999, n), Texto2018Config()) for n in (8, 10, 11, 20, 21, 40, 41)] == [
        1,
        1,
        2,
        2,
        3,
        3,
        4,
    ]


def test_scales_are_cubic_and_not_smoothed_first() -> None:
    """Pixel i of scale 1 sits at 2i + 1/2. A parabola is kept there; a wave beyond the new Nyquist rate is aliased."""
    x = torch.arange(64.0)
    at = 2 * torch.arange(8.0, 24) + 0.5
    parabola = Scale(1, ((x - 30) / 32).square().expand(1, 40, 64), 3, 9).u[0, :, 8:-8]
    assert torch.allclose(parabola, ((at - 30) / 32).square().expand(20, 16), atol=1e-5)
    wave = Scale(1, torch.cos(2 * torch.pi * x / 3).expand(1, 40, 64), 3, 9).u[0, :, 8:-8]
    assert wave.abs().max() > 0.7


def test_atoms_are_distinct_positions_inside_and_follow_the_seed() -> None:
    a, b = (fitted(QUICK, picture(30, 40), seed=seed) for seed in (0, 1))
    assert isinstance(a, Texto2018)
    assert isinstance(b, Texto2018)
    assert len(a.scales) == 3
    for x, y in zip(a.scales, b.scales, strict=True):
        assert len({tuple(at) for at in x.at.tolist()}) == x.n_atoms == min(60, x.n_patches)
        assert (x.at >= 0).all()
        assert (x.at < torch.tensor(x.u.shape[1:]) - 2).all()
        assert not torch.equal(x.at, y.at)


def test_the_training_synthesis_is_none_of_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[NoiseField] = []
    plain = Texto2018._start
    monkeypatch.setattr(Texto2018, "_start", lambda m, noise: (asked.append(noise), plain(m, noise))[1])
    fitted(QUICK, seed=5).sample((9, 9), seed=5)
    assert asked[0] != asked[1]


def test_a_smaller_picture_is_a_crop_of_a_larger_one() -> None:
    model = fitted(QUICK, picture(48, 40))
    whole, part = pixels(model, 90, 70, seed=2), pixels(model, 41, 33, seed=2)
    assert (whole[:41, :33] == part).all()


def test_wrong_tensors_in_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    fitted(QUICK).save(path)
    with safe_open(path, framework="pt") as f:
        header = f.metadata()
    good = from_bytes(path.read_bytes())
    beyond = {i: good["model.positions.0"].clone() for i in (0, 1)}
    for i, at in beyond.items():
        at[0] = torch.tensor([0, 0])
        at[0, i] = (22, 19)[i]  # one too many: 22 x 19 patches of 3x3 in 24x21
    for name, wrong in [
        ("model.positions.0", beyond[0]),
        ("model.positions.0", beyond[1]),
        ("model.positions.1", -good["model.positions.1"]),
        ("model.psi.0", good["model.psi.0"][:-1]),
        ("model.psi.1", good["model.psi.1"].double()),
        ("model.mass_error", torch.zeros(7, dtype=torch.float64)),
    ]:
        path.write_bytes(to_bytes({**good, name: wrong}, metadata=header))
        with pytest.raises(InputError, match=name.removeprefix("model.").split(".")[0]):
            load(path)
        path.write_bytes(to_bytes({k: t for k, t in good.items() if k != name}, metadata=header))
        with pytest.raises(InputError, match=name.removeprefix("model.")):
            load(path)


def test_the_gaussian_law_draws_what_patch_law_says() -> None:
    """100,000 draws: the scatter of a covariance is about sqrt(D / n) = 1.6 % of its norm; measured 0.6 %."""
    u = planes(correlated(16, 13, 3))
    x = gaussian_law(u, 3)(100_000, torch.Generator().manual_seed(0)).double()
    mean, law = patch_law(u, 3)
    assert (x.mean(0) - mean).abs().max() < 0.005
    assert (x.T.cov() - law).norm() / law.norm() < 0.02


def test_the_value_agrees_with_exact_transport() -> None:
    """POT's network simplex, on 3,000 draws from the law of 3x3 grass patches, onto 30 patches of the grass.

    Any potential gives a lower bound (weak duality; 1e-5 for float32). Solved on these draws it is within 0.01 %
    (measured 0.0003 %), solved for the law itself within 1 % (measured 0.26 %): there the draws' deviation from the
    law, of order 30 / 3,000, is added.
    """
    u = planes(images.load("skimage:grass:256"))[:, ::8, ::8].contiguous()
    law, y = gaussian_law(u, 3), extract(u, 3)[::29][:30].float()
    x = law(3000, torch.Generator().manual_seed(2))
    cost = ot.dist(x.double().numpy(), y.double().numpy())
    exact = ot.emd2(np.full(3000, 1 / 3000), np.full(30, 1 / 30), cost, numItermax=10**6)
    for source, gap in ((from_points(x), 1e-4), (law, 0.01)):
        value = solve(source, y, tol=1e-3, max_samples=300_000, seed=0).dual_value(x).item()
        assert exact * (1 - gap) < value < exact * (1 + 1e-5)


@pytest.fixture(scope="module")
def grass() -> tuple[Picture, Texto2018, Synthesis]:
    exemplar = images.load("skimage:grass:256")
    model = Texto2018.fit(exemplar)
    return exemplar, model, model.synthesise(Size(512, 512), seed=1)


def test_the_published_setting_on_grass(grass: tuple[Picture, Texto2018, Synthesis]) -> None:
    """Mass error of each map at most 6 % (asked for: 5 %); a picture's own is within twice what counting gives."""
    exemplar, _, found = grass
    assert [e["level"] for e in found.evidence] == [3, 2, 1, 0]
    assert [e["atoms"] for e in found.evidence] == [900, 1000, 1000, 1000]
    for e in found.evidence:
        assert e["solver_mass_error"] < 0.06
        assert 0.5 * e["mass_error_floor"] < e["mass_error"] < 2 * e["mass_error_floor"]
    blur = sharpness(to_unit(found.pixels), to_unit(exemplar.pixels))
    assert blur == pytest.approx(0.74, abs=0.05)  # the module docstring's figure
    assert found.pixels.mean() == pytest.approx(exemplar.pixels.mean(), abs=4)
    assert found.pixels.std() == pytest.approx(exemplar.pixels.std(), rel=0.2)


def test_the_potentials_are_what_balances_the_shares(grass: tuple[Picture, Texto2018, Synthesis]) -> None:
    """Plain nearest neighbours (v = 0) leave far larger mass errors, and blur more."""
    exemplar, model, found = grass
    tensors = {name: t * (not name.startswith("psi")) for name, t in model.tensors().items()}
    plain = Texto2018.from_tensors(exemplar, model.config, tensors, "cpu").synthesise(Size(512, 512), seed=1)
    for with_v, without in zip(found.evidence, plain.evidence, strict=True):
        assert without["mass_error"] > 1.5 * with_v["mass_error"]
    blur, balanced = (sharpness(to_unit(f.pixels), to_unit(exemplar.pixels)) for f in (plain, found))
    assert blur is not None
    assert balanced is not None
    assert blur < 0.8 * balanced
