"""The texto engine: pixels are copied, shares are balanced, endless windows are exact, engines agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import texsyn
from texsyn import coordinates
from texsyn.atlas import Level
from texsyn.images import InputError, Picture, Region, Size, load, to_unit
from texsyn.material import Material, Sheet, matching_codes
from texsyn.metrics.texture import score
from texsyn.models.texto import Texto, TextoConfig
from texsyn.noise import NoiseField

ENDLESS = TextoConfig(endless=True, training_factor=2, samples_per_atom=8)


@pytest.fixture(scope="module")
def grass() -> Picture:
    return load("skimage:grass:128")


@pytest.fixture(scope="module")
def endless(grass: Picture) -> Texto:
    return Texto.fit(grass, ENDLESS, seed=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("mode", ["balanced", "endless"])
def test_every_pixel_is_the_exemplar_pixel_that_the_map_names(dtype: type, mode: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.random((24, 32, 5)).astype(np.float32) * 7 - 3
    pixels = values if dtype is np.float32 else (rng.random((24, 32, 5)) * np.iinfo(dtype).max).astype(dtype)
    exemplar = load(pixels)
    config = ENDLESS if mode == "endless" else TextoConfig(passes=2)
    made = Texto.fit(exemplar, config, seed=0).synthesise(Size(30, 50), seed=4)
    assert made.source.shape == (30, 50, 2)
    assert np.array_equal(made.pixels, exemplar.pixels[made.source[..., 0], made.source[..., 1]])


def test_balanced_shares_are_nearer_to_equal_than_independent_draws_would_be(grass: Picture) -> None:
    for level in Texto(grass).synthesise(Size(256, 256), seed=0).evidence:
        assert level["mass_error"] < 0.9 * level["mass_error_floor"]


def test_quality_on_grass(grass: Picture) -> None:
    """Ten seeds gave msw .70-.80 (floor 3.7), copy31 .01-.07, rep -.04-.04, sharp .988-.997; limits leave room."""
    made = Texto(grass).synthesise(Size(256, 256), seed=0)
    s = score(to_unit(made.pixels), to_unit(grass.pixels))
    assert s.msw < 0.9
    assert s.msw < s.msw_floor / 3
    assert s.copy31 < 0.15
    assert abs(s.rep) < 0.1
    assert 0.97 < s.sharp < 1.03


def test_sizes_that_divide_wrap_without_a_seam(grass: Picture) -> None:
    """The mean step across the wrapped border is that of any other neighbours, within 10 %, on average of 3 seeds."""
    model, across, inside = Texto(grass), [], []
    for seed in range(3):
        u = to_unit(model.synthesise(Size(128, 192), seed=seed).pixels)[..., 0]
        across += [np.abs(u[0] - u[-1]).mean(), np.abs(u[:, 0] - u[:, -1]).mean()]
        inside += [np.abs(np.diff(u, axis=0)).mean(), np.abs(np.diff(u, axis=1)).mean()]
    assert np.mean(across) < 1.1 * np.mean(inside)


def test_borders_of_a_picture_that_does_not_divide_are_like_its_inside(grass: Picture) -> None:
    """No smears: within 8 px of the border the gradient energy is the inside's, within 15 %, on average of 3 seeds."""
    energies = []
    for seed in range(3):
        u = to_unit(Texto(grass).synthesise(Size(203, 301), seed=seed).pixels)[..., 0]
        g = np.square(np.diff(u, axis=0)[:, :-1]) + np.square(np.diff(u, axis=1)[:-1])
        borders = [g[:8].mean(), g[-8:].mean(), g[:, :8].mean(), g[:, -8:].mean()]
        energies.append((np.mean(borders), g[8:-8, 8:-8].mean()))
    border, inside = np.mean(energies, axis=0)
    assert border == pytest.approx(inside, rel=0.15)


def test_endless_windows_equal_the_crop_of_a_larger_one_exactly(endless: Texto) -> None:
    whole = Region(-150, -90, 300, 260)
    large = endless.render(whole, seed=9)
    rng = np.random.default_rng(0)
    for _ in range(12):
        height, width = rng.integers(1, 60, 2)
        top, left = rng.integers(0, 300 - height), rng.integers(0, 260 - width)
        window = endless.render(Region(int(top) - 150, int(left) - 90, int(height), int(width)), seed=9)
        assert torch.equal(window, large[:, top : top + height, left : left + width])
    assert torch.equal(endless.sample((40, 50), seed=9)[0], large[:, 150:190, 90:140])


def test_halo_is_enough(endless: Texto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise beyond the halo may be anything; noise within it may not."""
    region, halo, step = Region(0, 0, 8, 8), endless.halo, 2 ** (len(endless.levels) - 1)
    expected = endless.render(region, seed=1)
    original = NoiseField.integers

    def replaced(self: NoiseField, where: Region, margin: int) -> np.ndarray:
        values, other = original(self, where).copy(), original(NoiseField(77), where)
        y = (np.arange(where.top, where.bottom) * step)[:, None]
        x = (np.arange(where.left, where.right) * step)[None, :]
        far = (y < -margin) | (y >= 8 + margin) | (x < -margin) | (x >= 8 + margin)
        values[far] = other[far]
        return values

    monkeypatch.setattr(NoiseField, "integers", lambda self, where: replaced(self, where, halo))
    assert torch.equal(endless.render(region, seed=1), expected)
    monkeypatch.setattr(NoiseField, "integers", lambda self, where: replaced(self, where, halo // 4))
    assert not torch.equal(endless.render(region, seed=1), expected)


def test_compiled_loops_and_torch_give_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch path is the GPU's; here it runs on the CPU, through the whole of both modes."""
    rng = np.random.default_rng(1)
    exemplar = load((rng.random((40, 40, 3)) * 255).astype(np.uint8))
    models = [Texto.fit(exemplar, c, seed=2) for c in (TextoConfig(passes=3), ENDLESS)]
    expected = [m.synthesise(Size(60, 70), seed=8).source for m in models]

    monkeypatch.setattr(coordinates, "_compiled", lambda a: False)
    monkeypatch.setattr(Level, "backend", "torch")
    assert np.array_equal(Texto(exemplar, TextoConfig(passes=3)).synthesise(Size(60, 70), seed=8).source, expected[0])
    again = Texto(exemplar, ENDLESS, psi=models[1].psi)
    assert np.array_equal(again.synthesise(Size(60, 70), seed=8).source, expected[1])


def test_small_batches_of_a_gpu_are_done_in_main_memory_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    sheets = (Sheet((load("skimage:brick:48"),)), Sheet((load("skimage:grass:48"),), exemplar=1))
    for exemplar, regular in ((load("skimage:brick:64"), "always"), (Material(sheets), "never")):
        model = Texto(exemplar, TextoConfig(passes=2, regular=regular))
        assert bool(model.wide) == (regular == "always")
        expected = model.synthesise(Size(60, 70), seed=8).source
        coarsest = model.transported[0]
        used: list[int] = []

        def copied(self: Texto, level: Level, batch: int, *, first: Level = coarsest, used: list[int] = used) -> Level:
            used.append(batch)
            return self._in_main_memory[level.number, level.w] if level.number == first.number else level

        with monkeypatch.context() as m:
            m.setattr(Texto, "_where_faster", copied)
            assert np.array_equal(model.synthesise(Size(60, 70), seed=8).source, expected)
        assert used == [64] * (len(model.wide) + len(model.transported))

        model.device = torch.device("cuda")  # nothing is put there
        assert model._where_faster(coarsest, 64) is model._in_main_memory[coarsest.number, coarsest.w]
        assert model._where_faster(coarsest, 2**30) is coarsest
        model.device = torch.device("cpu")
        assert model._where_faster(coarsest, 64) is coarsest


def test_balanced_models_do_not_render_and_say_what_does(grass: Picture) -> None:
    with pytest.raises(NotImplementedError, match="endless"):
        Texto(grass).render(Region(0, 0, 8, 8), seed=0)


def test_levels_follow_the_exemplars_size() -> None:
    def levels(height: int, width: int) -> list[str]:
        return [str(level.size) for level in Texto(load(np.zeros((height, width), np.uint8))).levels]

    assert levels(256, 256) == ["256x256", "128x128", "64x64", "32x32", "16x16"]
    assert levels(8, 9) == ["9x8"]
    assert levels(90, 121) == ["121x90", "61x45", "31x23"]


@pytest.mark.parametrize("patch_size", [3, 7, 13, 15])
def test_every_patch_size_leaves_atoms_at_the_coarsest_level(patch_size: int) -> None:
    rng = np.random.default_rng(0)
    for side in (patch_size + 5, 24, 28, 40):
        exemplar = load((rng.random((side, side)) * 255).astype(np.uint8))
        made = Texto(exemplar, TextoConfig(patch_size=patch_size, passes=2)).synthesise(Size(30, 30), seed=0)
        assert made.evidence[0]["atoms"] >= 16


def test_a_very_long_strip_is_refused_with_advice() -> None:
    with pytest.raises(InputError, match="crop it shorter"):
        Texto(load(np.zeros((10, 20_000), np.uint8)))


def test_transparent_colour_does_not_matter_for_matching() -> None:
    rng = np.random.default_rng(0)
    rgba = (rng.random((20, 20, 4)) * 255).astype(np.uint8)
    rgba[5:12, 5:12, 3] = 0
    other = rgba.copy()
    other[5:12, 5:12, :3] = 77
    assert np.array_equal(matching_codes(load(rgba)), matching_codes(load(other)))


def test_low_contrast_deep_pictures_are_matched_at_full_range() -> None:
    ramp = (np.arange(32 * 32).reshape(32, 32) % 700 + 30_000).astype(np.uint16)
    codes = matching_codes(load(ramp))
    assert codes.min() == 0
    assert codes.max() == 255


def test_foreign_potentials_are_refused(endless: Texto, grass: Picture) -> None:
    tensors = endless.tensors()
    key = next(iter(tensors))
    for bad in (tensors[key][:, :-1], tensors[key].float()):
        with pytest.raises(InputError, match="psi"):
            Texto.from_tensors(grass, ENDLESS, tensors | {key: bad}, "cpu")


def test_result_carries_a_recipe_that_makes_it_again(grass: Picture) -> None:
    endless = {"endless": True, "training_factor": 2, "samples_per_atom": 4}
    for result in (texsyn.synth(grass, "100x60", passes=2), texsyn.synth(grass, "100x60", **endless)):
        recipe = result.recipe
        again = texsyn.synth(grass, recipe["size"], method=recipe["method"], seed=recipe["seed"], **recipe["settings"])
        assert again.image.sha256 == recipe["pixels_sha256"] == result.image.sha256
