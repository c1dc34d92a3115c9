"""Pictures that are made to repeat: what changes, what does not, and that the edge is gone."""

from __future__ import annotations

import numpy as np
import pytest
from test_plane import wrapped_edge

import texsyn
from texsyn.editing import tileable
from texsyn.images import InputError, Picture, load

PICTURES = ("skimage:brick:192", "skimage:grass:150", "skimage:gravel:131", "skimage:astronaut:128")


@pytest.mark.parametrize("name", PICTURES)
def test_the_edge_is_no_rougher_than_the_inside(name: str) -> None:
    """Over both edges neighbours differ about as much as inside, where before they differed twice as much and more.

    Single edges scatter: where a mortar joint happens to lie along the edge it is 1.8.
    """
    picture = load(name)
    before = [e / i.mean() for axis in (0, 1) for e, i in [wrapped_edge(picture.pixels, axis, 0, 4)]]
    assert np.mean(before) > 1.7
    made = tileable(picture).pixels
    after = [e / i.mean() for axis in (0, 1) for s in range(2) for e, i in [wrapped_edge(made, axis, s, 4)]]
    assert max(after) < 2
    assert np.mean(after) < min(1.2, 0.7 * np.mean(before))


@pytest.mark.parametrize("tile", ["x", "y", "xy"])
def test_only_the_band_changes_and_every_pixel_is_the_pictures_own(tile: str) -> None:
    picture, band = load("skimage:astronaut:90"), 11
    made = tileable(picture, tile=tile, band=band)
    inner = np.ones(made.pixels.shape[:2], bool)
    if "y" in tile:
        inner[:band] = inner[-band:] = False
    if "x" in tile:
        inner[:, :band] = inner[:, -band:] = False
    assert (made.pixels[inner] == picture.pixels[inner]).all()
    assert (made.pixels[~inner] != picture.pixels[~inner]).any()
    assert made.source is not None
    assert (picture.pixels[made.source[..., 0], made.source[..., 1]] == made.pixels).all()
    assert made.evidence[-1]["made_anew"] == pytest.approx(1 - inner.mean(), abs=1e-4)
    assert np.array_equal(tileable(picture, tile=tile, band=band).pixels, made.pixels)


def test_a_picture_that_repeats_already_still_does() -> None:
    y, x = np.mgrid[:64, :64]
    waves = 128 + 60 * np.sin(2 * np.pi * y / 16) + 60 * np.sin(2 * np.pi * x / 32)
    picture = Picture(waves.round().astype(np.uint8)[..., None], "L")
    edge, inside = wrapped_edge(tileable(picture).pixels, 1, 0)
    assert edge < 1.5 * inside.max()


def test_depth_palette_and_recipe_are_kept() -> None:
    deep = Picture((load("skimage:grass:64").pixels.astype(np.uint16) * 257), "L")
    result = texsyn.tileable(deep, tile="x")
    assert result.pixels.dtype == np.uint16
    assert result.recipe["method"] == "tileable"
    assert result.recipe["tile"] == "x"
    assert result.recipe["settings"] == {"band": 8}


def test_wrong_arguments() -> None:
    picture = load("skimage:grass:64")
    with pytest.raises(ValueError, match="'none' is not one of x, y, xy"):
        tileable(picture, tile="none")
    with pytest.raises(ValueError, match="from 1 to a third of the side, 21"):
        tileable(picture, band=22)
    with pytest.raises(InputError, match="at least 16x16"):
        tileable(load(np.zeros((15, 40), np.uint8)))
    flat = tileable(load(np.full((16, 16), 7, np.uint8)))
    assert (flat.pixels == 7).all()
