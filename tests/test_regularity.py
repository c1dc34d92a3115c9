"""Which pictures are regular, and what texto does with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import texsyn
from texsyn import coordinates
from texsyn.atlas import MAX_NUMBERS, Level
from texsyn.images import Region, Size, load, to_unit
from texsyn.metrics.texture import repetition
from texsyn.models.base import model_class
from texsyn.models.texto import WIDE_PASSES, Texto, TextoConfig
from texsyn.noise import NoiseField
from texsyn.pyramid import n_levels_for, pyramid
from texsyn.regularity import REGULAR, SIDE, regularity

ENDLESS = TextoConfig(endless=True, training_factor=2, samples_per_atom=4)


def tiles(height: int = 96, width: int = 96, period: int = 14, channels: int = 3) -> np.ndarray:
    """Tiles of several shades with dark joints."""
    y, x = np.mgrid[:height, :width]
    shade = np.random.default_rng(0).integers(150, 230, (height // period + 1, width // period + 1, channels))
    joint = (y % period < 3) | (x % period < 3)
    return np.where(joint[..., None], 40, shade[y // period, x // period]).astype(np.uint8)


def of(pixels: np.ndarray) -> float:
    u = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()
    return regularity(pyramid(u, n_levels_for(Size(*pixels.shape[:2]), SIDE))[-1])


@pytest.fixture(scope="module")
def model() -> Texto:
    return Texto.fit(load(tiles()), ENDLESS, seed=0)


def test_lattices_are_regular_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    noise = (rng.random((96, 96, 3)) * 255).astype(np.uint8)
    assert of(tiles()) > 2 * REGULAR
    assert of(tiles()[:, :, :1]) > 2 * REGULAR
    assert of(noise) < REGULAR / 2
    assert of(np.full((64, 64, 3), 9, np.uint8)) == 0
    ramp = np.repeat(np.arange(96, dtype=np.uint8)[:, None], 96, 1)[..., None]
    assert of(ramp) == 0


def test_what_comes_only_twice_may_be_chance() -> None:
    assert of(tiles(96, 96, 26)) > REGULAR
    assert of(tiles(96, 96, 40)) < REGULAR


@pytest.mark.parametrize(("name", "expected"), [("brick", True), ("grass", False), ("gravel", False)])
def test_photographs(name: str, expected: bool) -> None:
    for side in (128, 256, 512):
        assert (of(load(f"skimage:{name}:{side}").pixels) > REGULAR) == expected


def test_turning_and_small_sizes() -> None:
    assert of(tiles()) == pytest.approx(of(np.rot90(tiles()).copy()), abs=0.1)
    for height, width in ((8, 8), (8, 90), (90, 8), (1, 1)):
        assert 0 <= of(tiles(height, width, 3)) <= 2


def test_only_regular_pictures_get_large_windows() -> None:
    picture, noise = load(tiles()), load((np.random.default_rng(1).random((96, 96, 3)) * 255).astype(np.uint8))
    assert [(level.w, str(level.size)) for level in Texto(picture).wide] == [(11, "24x24"), (9, "24x24")]
    assert Texto(picture, TextoConfig(regular="never")).wide == Texto(noise).wide == []
    assert Texto(noise, TextoConfig(regular="always")).wide
    for looked, told in ((Texto(noise), "never"), (Texto(picture), "always")):  # the levels are those of a new pyramid
        again = Texto(looked.exemplar, TextoConfig(regular=told))
        assert len(looked.levels) == len(again.levels)
        assert all(torch.equal(a.codes, b.codes) for a, b in zip(looked.levels, again.levels, strict=True))
    with pytest.raises(ValueError, match="regular='yes' should be auto, always or never"):
        TextoConfig(regular="yes")


def test_large_windows_fit_bytes_and_the_picture() -> None:
    for channels in (1, 3, 5):
        for side in (24, 96, 130):
            config = TextoConfig(regular="always")
            made = Texto(load(tiles(side, side, 7, channels)), config)
            for level in made.wide:
                assert 5 < level.w <= 13
                assert level.w**2 * channels <= MAX_NUMBERS
                assert 2 * level.w <= min(level.size.height, level.size.width)


def test_masses_of_large_windows_count_every_pixel_once() -> None:
    level = Texto(load(tiles())).wide[0]
    assert level.mass is not None
    rows = (level.mass.view(24 - level.w + 1, -1) * 24 * 24).sum(1) / 24
    assert torch.allclose(rows, torch.tensor([6.0, *[1.0] * 12, 6.0], dtype=torch.float64))


def test_tiles_keep_their_order() -> None:
    """Three seeds gave rep -.26 to -.28 with large windows and -.44 to -.45 without."""
    picture = load(tiles(192, 192, 23, 1))
    rep = {
        regular: np.mean([_rep(Texto(picture, TextoConfig(regular=regular)), seed) for seed in range(3)])
        for regular in ("auto", "never")
    }
    assert rep["auto"] > 0.75 * rep["never"]


def _rep(model: Texto, seed: int) -> float:
    made, exemplar = model.synthesise(Size(384, 384), seed=seed).pixels, model.exemplar.pixels
    value = repetition(to_unit(made), to_unit(exemplar))
    assert value is not None
    return value


def test_windows_of_a_regular_plane_are_crops_and_the_halo_is_enough(
    model: Texto, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = model.render(Region(-60, -40, 130, 120), seed=3)
    assert torch.equal(model.render(Region(-11, 7, 40, 30), seed=3), large[:, 49:89, 47:77])
    region, halo, step = Region(0, 0, 8, 8), model.halo, 2 ** (len(model.levels) - 1)
    expected = model.render(region, seed=1)
    original = NoiseField.integers

    def replaced(self: NoiseField, where: Region) -> np.ndarray:
        values, other = original(self, where).copy(), original(NoiseField(77), where)
        y = (np.arange(where.top, where.bottom) * step)[:, None]
        x = (np.arange(where.left, where.right) * step)[None, :]
        far = (y < -halo) | (y >= 8 + halo) | (x < -halo) | (x >= 8 + halo)
        values[far] = other[far]
        return values

    monkeypatch.setattr(NoiseField, "integers", replaced)
    assert torch.equal(model.render(region, seed=1), expected)


def test_torch_gives_the_same_pictures(model: Texto, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, config = load(tiles()), TextoConfig(passes=2)
    expected = [Texto(picture, config).synthesise(Size(100, 90), seed=8).source]
    expected.append(model.synthesise(Size(60, 50), seed=8).source)
    monkeypatch.setattr(coordinates, "_compiled", lambda a: False)
    monkeypatch.setattr(Level, "backend", "torch")
    assert np.array_equal(Texto(picture, config).synthesise(Size(100, 90), seed=8).source, expected[0])
    again = Texto(picture, ENDLESS, psi=model.psi)
    assert np.array_equal(again.synthesise(Size(60, 50), seed=8).source, expected[1])


def test_models_are_saved_with_the_potentials_of_large_windows(model: Texto, tmp_path: Path) -> None:
    tensors = model.tensors()
    assert {name: len(psi) for name, psi in tensors.items() if name.count(".") == 2} == {
        f"psi.2.{side}": WIDE_PASSES for side in (11, 9)
    }
    path = tmp_path / "m.texsyn"
    model.save(path)
    again = texsyn.load(path)
    region = Region(5, -9, 40, 30)
    assert torch.equal(again.render(region, seed=2), model.render(region, seed=2))


def test_files_from_before_there_were_large_windows_keep_their_pictures() -> None:
    """They have no such potentials, and no setting that says so."""
    picture = load(tiles())
    old = Texto.fit(picture, replace(ENDLESS, regular="never"), seed=0)
    again = model_class("texto").from_tensors(picture, ENDLESS, old.tensors(), "cpu")
    assert torch.equal(again.render(Region(0, 0, 50, 40), seed=1), old.render(Region(0, 0, 50, 40), seed=1))


def test_the_recipe_says_what_was_asked() -> None:
    made = texsyn.synth(load(tiles()), "64x64", seed=0, passes=2, regular="always")
    assert json.loads(json.dumps(made.recipe))["settings"]["regular"] == "always"
