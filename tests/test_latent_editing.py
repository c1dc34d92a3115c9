"""Editing by styles: mixing, arithmetic, truncation, directions, ways, projection, and the files that keep them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from texsyn import projection
from texsyn.gan.architectures import ARCHITECTURES, configure
from texsyn.gan.image_model import CENTRED, ImageModel, Source, slerp
from texsyn.gan.networks.stylegan3 import canvas
from texsyn.images import InputError, Size
from texsyn.latent_editing import (
    DIRECTIONS,
    LATENT,
    Directions,
    Latent,
    arithmetic,
    direction_sheet,
    factored_directions,
    load_directions,
    load_latent,
    mixed,
    mixing_sheet,
    principal_directions,
    require_directions,
    rows_named,
    save_directions,
    save_latent,
    styles_of,
    truncation_sheet,
    way,
)
from texsyn.models.base import Cancelled, Watch
from texsyn.projection import distance_of, feature_distance, project, psnr
from texsyn.vgg import BLOCKS, CONVOLUTIONS, VGG19, parameter_names

SMALL: dict[str, Any] = {"features": 4, "max_features": 8, "latent": 6, "mapping_layers": 2, "batch": 4}


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_of(arch: str = "stylegan2", side: int = 16, n_classes: int = 0, seed: int = 0, **more: Any) -> ImageModel:
    """A random model whose noise has strength, whose biases are not 0, and whose average is not either."""
    config = configure(arch, settings=SMALL | {"height": side, "width": side, "n_classes": n_classes} | more)
    generator, _ = ARCHITECTURES[arch].build(config, stream(seed))
    random = stream(seed + 100)
    with torch.no_grad():
        for name, p in generator.named_parameters():
            if name.endswith(("bias", "strength")):
                p += torch.randn(p.shape, generator=random) / 4 / (0.01 if "mapping.layers" in name else 1)
            if name.startswith("pictures."):
                p /= 4  # values that stay within [-1, 1]
    model = ImageModel(generator, config, Source("things", "0", tuple("abcdefghij"[:n_classes])))
    if model.has_styles:
        with torch.no_grad():
            model.styled.average.copy_(torch.cat(list(model.mapped(500, seed=1))).mean(0))
    return model


@pytest.fixture(autouse=True)
def global_stream() -> Iterator[None]:
    """Nothing here draws from the global stream, or sets it."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return model_of()


@pytest.fixture(scope="module")
def by_class() -> ImageModel:
    return model_of(n_classes=3)


# ---- truncation


def test_a_styled_picture_is_that_of_its_styles(model: ImageModel) -> None:
    ws = model.styles(3, seed=5)
    assert ws.shape == (3, 6, 6)
    torch.testing.assert_close(model.synthesised(ws), model.sample(3, seed=5, noise="same"))
    torch.testing.assert_close(model.made(model.latents(3, seed=5)), model.sample(3, seed=5), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_picture_i_is_a_function_of_its_seed(truncation: float | None, by_class: ImageModel) -> None:
    whole = by_class.sample(4, seed=8, truncation=truncation)
    for i in range(4):
        assert torch.equal(by_class.sample(1, seed=8 + i, truncation=truncation)[0], whole[i])
    assert len({one.numpy().tobytes() for one in whole}) == 4


def test_truncation_goes_to_the_average(model: ImageModel) -> None:
    ws, average = model.styles(2, seed=0), model.styled.average
    torch.testing.assert_close(model.styles(2, seed=0, truncation=0.0), average.expand(2, 6, 6))
    torch.testing.assert_close(model.styles(2, seed=0, truncation=0.7), 0.7 * ws + 0.3 * average)
    torch.testing.assert_close(model.styles(2, seed=0, truncation=-1.0), 2 * average - ws)
    cut = model.styles(2, seed=0, truncation=0.5, cutoff=2)
    torch.testing.assert_close(cut[:, :2], 0.5 * (ws[:, :2] + average))
    assert torch.equal(cut[:, 2:], ws[:, 2:])
    assert torch.equal(model.styles(2, seed=0, truncation=0.5, cutoff=0), ws)
    assert (model.sample(1, seed=0, truncation=0.5) - model.sample(1, seed=0)).abs().max() > 1e-2


def test_classes_have_centres_of_their_own(by_class: ImageModel) -> None:
    random = stream(0)
    wanted = torch.zeros(6, dtype=torch.float64)
    for _ in range(CENTRED // 1000):
        wanted += by_class.styled.styles(torch.randn(1000, 6, generator=random), torch.full((1000,), 2))[:, 0].sum(0)
    centre = by_class.centre(2)
    torch.testing.assert_close(centre, (wanted / CENTRED).float(), atol=1e-4, rtol=1e-4)
    centres = torch.stack([by_class.centre(label) for label in range(3)])
    assert torch.pdist(centres).min() > 0.1
    ws = by_class.styles(3, seed=0, truncation=0.0)  # classes 0, 1, 2
    assert torch.equal(ws[:, 0], centres)
    whole = by_class.styles(3, seed=0, truncation=0.0, centre="all")
    torch.testing.assert_close(whole, by_class.styled.average.expand(3, 6, 6))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"truncation": math.nan}, "truncation=nan should be a finite number"),
        ({"cutoff": 7}, "cutoff=7 should be from 0 to 6, its rows of styles"),
        ({"cutoff": -1}, "cutoff=-1 should be from 0 to 6"),
        ({"centre": "class"}, "centre='class' should be all"),
    ],
)
def test_truncations_that_cannot_be_are_refused(settings: dict[str, Any], sentence: str, model: ImageModel) -> None:
    for n in (0, 1):
        with pytest.raises(ValueError, match=sentence):
            model.sample(n, seed=0, **settings)


def test_networks_without_styles_say_so(model: ImageModel) -> None:
    other = model_of("dcgan")
    assert other.sample(0, seed=0).shape == (0, 1, 16, 16)
    for settings in ({"cutoff": 2}, {"centre": "all"}):
        with pytest.raises(ValueError, match="dcgan has no styles, which StyleGANs have"):
            other.sample(1, seed=0, **settings)
    for call in (
        lambda: other.styles(1, seed=0),
        lambda: principal_directions(other, 1),
        lambda: factored_directions(other, 1),
        lambda: project(other, torch.zeros(1, 16, 16)),
        lambda: rows_named(other, "coarse"),
        lambda: way(other, [0, 1], 4, space="w"),
    ):
        with pytest.raises(ValueError, match="dcgan has no styles"):
            call()
    one_size = "a size of 32x16: a network trained without periodic=true makes 16x16 only"
    for given, said in (({"canvas": canvas()}, "stylegan2 has no canvas"), ({"size": Size(16, 32)}, one_size)):
        with pytest.raises(ValueError, match=said):
            model.synthesised(model.styles(1, seed=0), **given)  # type: ignore[arg-type]


def test_noise_is_a_pictures_own_or_the_same_for_all(model: ImageModel) -> None:
    own, same = model.sample(2, seed=5), model.sample(2, seed=5, noise="same")
    ws, keys = model.styles(2, seed=5), model.keys(2, seed=5)
    assert torch.equal(own, model.synthesised(ws, keys))
    assert torch.equal(same, model.synthesised(ws))
    assert (own - same).abs().max() > 1e-3
    torch.testing.assert_close(model.many(2, seed=5), own, atol=1e-6, rtol=1e-6)
    assert torch.equal(model.synthesised(ws.flip(0), keys.flip(0)), own.flip(0))  # noise goes with its key
    with pytest.raises(ValueError, match="noise='other' should be own or same"):
        model.sample(1, seed=5, noise="other")


def test_a_sheet_of_truncations(by_class: ImageModel) -> None:
    made = truncation_sheet(by_class, 4, (0.0, 1.0), (2, None), label=2)
    assert made.shape == (4, 1, 16, 16)
    for k, (cutoff, psi) in enumerate([(2, 0.0), (2, 1.0), (None, 0.0), (None, 1.0)]):
        assert torch.equal(made[k], by_class.sample(1, seed=4, label=2, truncation=psi, cutoff=cutoff, noise="same")[0])
    with pytest.raises(ValueError, match="truncation is for seeds"):
        truncation_sheet(by_class, Latent(torch.zeros(6, 6)), (0.0, 1.0))


# ---- rows, mixing, arithmetic


@pytest.mark.parametrize(
    ("side", "text", "rows"),
    [
        (16, "coarse", (0, 1, 2)),  # 4 8 8 16 16 16
        (16, "middle", (3, 4, 5)),
        (16, "all", (0, 1, 2, 3, 4, 5)),
        (64, "coarse", (0, 1, 2)),  # 4 8 8 16 16 32 32 64 64 64
        (64, "middle", (3, 4, 5, 6)),
        (64, "fine", (7, 8, 9)),
        (28, "coarse", (0, 1, 2)),  # 7 14 14 28 28 28
        (28, "middle", (3, 4, 5)),
        (16, "2", (2,)),
        (16, "4-5,0-1,1", (0, 1, 4, 5)),
    ],
)
def test_rows_have_names(side: int, text: str, rows: tuple[int, ...]) -> None:
    assert rows_named(model_of(side=side), text) == rows


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fine", "rows='fine': none is above 32 pixels; sides are 4, 8, 8, 16, 16, 16"),
        ("6", "rows='6' should be from 0 to 5, the lower one first"),
        ("0-6", "rows='0-6' should be from 0 to 5"),
        ("3-2", "rows='3-2' should be from 0 to 5, the lower one first"),
        ("rough", "rows='rough' should be coarse, middle, fine, all, or numbers such as"),
        ("", "rows='' should be coarse"),
        ("-1", "rows='-1' should be coarse"),
        ("1,", "rows='1,' should be coarse"),
    ],
)
def test_rows_that_there_are_not_are_refused(text: str, sentence: str, model: ImageModel) -> None:
    with pytest.raises(ValueError, match=sentence):
        rows_named(model, text)


def test_stylegan3_divides_its_rows_by_its_first_side() -> None:
    small, large = (model_of("stylegan3", side=side, layers=14) for side in (32, 64))
    assert rows_named(small, "coarse") == tuple(range(16))  # from 16 to 32
    sides = large.styled.sides()
    assert {sides[row] for row in rows_named(large, "coarse")} == {16, 32}
    assert {sides[row] for row in rows_named(large, "middle")} == {64}


def test_mixing_takes_exactly_the_rows(model: ImageModel) -> None:
    a, b = model.styles(2, seed=0)
    for rows in ((0,), (1, 3), (5,), (0, 1, 2, 3, 4, 5)):
        both = mixed(a, b, rows)
        for row in range(6):
            assert torch.equal(both[row], (b if row in rows else a)[row])
    assert not torch.equal(a, model.styles(1, seed=1)[0])


def test_a_sheet_of_mixtures_has_columns_styles_in_the_rows_named(model: ImageModel) -> None:
    columns, others = model.styles(3, seed=0), model.styles(2, seed=10)
    made = mixing_sheet(model, columns, others, (0, 1)).unflatten(0, (3, 4))
    assert made[0, 0].unique().tolist() == [0.5]
    assert torch.equal(made[0, 1:], model.sample(3, seed=0, noise="same"))
    assert torch.equal(made[1:, 0], model.sample(2, seed=10, noise="same"))
    wanted = torch.cat([columns[2, :2], others[1, 2:]])
    assert torch.equal(made[2, 3], model.synthesised(wanted[None])[0])
    assert len({one.numpy().tobytes() for one in made.flatten(0, 1)}) == 12


def test_arithmetic_is_of_means(model: ImageModel) -> None:
    ws = model.styles(6, seed=0)
    a, b, c = ws[:1], ws[1:3], ws[3:]
    torch.testing.assert_close(arithmetic([(1, a), (-1, b), (1, c)]), a[0] - b.mean(0) + c.mean(0))
    torch.testing.assert_close(arithmetic([(1, a), (-1, b), (1, b)]), a[0])
    assert torch.equal(arithmetic([(1, b)]), b.mean(0))
    for groups in ([], [(1, a), (1, b)], [(-1, a)], [(1, a), (-1, b)], [(2, a), (-1, b)]):
        with pytest.raises(ValueError, match="one group more should be added than taken away"):
            arithmetic(groups)


# ---- ways


def test_ways_end_where_they_should(model: ImageModel) -> None:
    for space in ("z", "w"):
        frames = list(way(model, [3, 7, 9], 9, space=space))
        assert len(frames) == 9
        for k, seed in ((0, 3), (3, 7), (6, 9)):
            torch.testing.assert_close(frames[k], model.sample(1, seed=seed, noise="same")[0], atol=1e-6, rtol=1e-6)
    a, b = model.styles(2, seed=7).unbind()
    frames = list(way(model, [7, 8], 4, space="w"))
    assert torch.equal(frames[1], model.synthesised(a.lerp(b, 0.5)[None])[0])
    thirds = list(way(model, [7, 8, 3], 6, space="w"))
    assert torch.equal(thirds[1], frames[1])  # from the first to the second
    between = slerp(model.latents(1, seed=7), model.latents(1, seed=8), 0.5)
    assert torch.equal(list(way(model, [7, 8], 4))[1], model.synthesised(model.styles_of(between))[0])


def test_ways_are_truncated_and_of_one_class_in_z(by_class: ImageModel) -> None:
    how: dict[str, Any] = {"truncation": 0.5, "cutoff": 3}
    for space, label in (("z", 1), ("w", None)):
        frames = list(way(by_class, [1, 5], 2, space=space, **how))
        wanted = by_class.sample(1, seed=5, label=label, **how, noise="same")[0]
        torch.testing.assert_close(frames[1], wanted, atol=1e-6, rtol=1e-6)


def test_kept_styles_are_passed_as_they_are(model: ImageModel) -> None:
    kept = Latent(model.styles(1, seed=3)[0])
    frames = list(way(model, [kept, 4], 2, space="w", truncation=0.5))
    assert torch.equal(frames[0], model.sample(1, seed=3, noise="same")[0])
    torch.testing.assert_close(frames[1], model.sample(1, seed=4, truncation=0.5, noise="same")[0])


def test_ways_that_cannot_be_are_refused_before_the_first_frame(model: ImageModel) -> None:
    kept = Latent(model.styles(1, seed=3)[0])
    for codes, n, how, sentence in (
        ([0, 1], 4, {"space": "x"}, "space='x' should be z or w"),
        ([0, 1, 2], 2, {}, "n_frames=2 should be at least the 3 codes"),
        ([], 2, {}, "n_frames=2 should be at least the 0 codes"),
        ([0, kept], 4, {}, "styles that were kept have no latent: pass them in space w"),
        ([0, 1], 4, {"cutoff": 9}, "cutoff=9 should be from 0 to 6"),
        ([0, 1], 4, {"label": 1}, "label=1 should be left out"),
        ([0, 1], 4, {"canvases": [canvas()]}, "1 canvases should be n_frames=4"),
        ([0, 1], 4, {"canvases": [canvas()] * 4}, "stylegan2 has no canvas"),
    ):
        with pytest.raises(ValueError, match=sentence):
            way(model, codes, n, **how)  # type: ignore[arg-type]


def test_a_canvas_moves_what_it_shows() -> None:
    model = model_of("stylegan3", side=16)
    ws = model.styles(1, seed=0)
    still = model.synthesised(ws, canvas=canvas())
    torch.testing.assert_close(still, model.synthesised(ws), atol=1e-5, rtol=1e-5)
    moved = model.synthesised(ws, canvas=canvas(move=(0.25, 0.0)))  # by 4 pixels to the right
    inside, whole = moved[..., 6:14], still.var()
    assert (inside - still[..., 2:10]).square().mean() < 0.05 * whole < (inside - still[..., 6:14]).square().mean()
    wide = model.synthesised(ws, size=Size(16, 32))
    assert wide.shape == (1, 1, 16, 32)
    assert (wide[..., 12:20] - still[..., 4:12]).square().mean() < 0.05 * whole
    frames = list(way(model, [0], 2, space="w", canvases=[canvas(), canvas(move=(0.25, 0.0))]))
    assert torch.equal(frames[1], moved[0])


# ---- directions


class Planted:
    """What principal_directions asks of a model, of styles with a covariance that is known."""

    def __init__(self, model: ImageModel, spread: Tensor, turn: Tensor, mean: Tensor) -> None:
        self.styled, self.config, self.generator_fingerprint = model.styled, model.config, "0"
        self.spread, self.turn, self.mean = spread, turn, mean

    def mapped(self, n: int, *, seed: int, label: int | None = None) -> Iterator[Tensor]:
        for k in range(0, n, 100):
            x = torch.randn(100, 6, generator=stream(seed + k), dtype=torch.float64)
            yield (self.mean + (x * self.spread) @ self.turn).float()


def test_principal_directions_of_a_planted_covariance(model: ImageModel) -> None:
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=stream(1), dtype=torch.float64))
    spread = torch.tensor([1.0, 8.0, 0.5, 4.0, 0.1, 2.0], dtype=torch.float64)
    planted: Any = Planted(model, spread, turn, torch.full((6,), 100.0, dtype=torch.float64))
    found = principal_directions(planted, 4, n=20_000)
    order = [1, 3, 5, 0]
    torch.testing.assert_close(found.spread.double(), spread[order], rtol=0.03, atol=0)
    cosines = (found.vectors.double() * turn[order]).sum(1)
    assert cosines.abs().min() > 0.999
    assert (found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)) > 0).all()
    assert found.rows == tuple(range(6))
    again = principal_directions(planted, 4, n=20_000)
    assert torch.equal(again.vectors, found.vectors)


def test_principal_directions_of_a_model_are_those_of_its_styles(model: ImageModel) -> None:
    found = principal_directions(model, 6, n=3000, seed=2)
    w = torch.cat(list(model.mapped(3000, seed=2))).double()
    wanted = torch.cov(w.T)
    made = found.vectors.T.double() * found.spread.double().square() @ found.vectors.double()
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-4)
    assert (found.spread[1:] <= found.spread[:-1]).all()


def test_factored_directions_are_singular_vectors_of_all_maps(model: ImageModel) -> None:
    for rows in ((0, 1, 2, 3, 4, 5), (1, 3)):
        found = factored_directions(model, 3, rows=rows)
        maps = [model.styled.get_submodule(f"layers.{row}.affine").get_parameter("weight") for row in rows if row < 5]
        a = torch.cat([weight.detach() for weight in maps]).double() / 6**0.5
        values, vectors = torch.linalg.eigh(a.T @ a)
        for k in range(3):
            assert abs(float(found.vectors[k].double() @ vectors[:, -1 - k])) == pytest.approx(1, abs=1e-5)
            gain = (a @ found.vectors[k].double()).square().sum()
            assert float(gain) == pytest.approx(float(values[-1 - k]), rel=1e-5)
        assert found.rows == rows
    w = torch.cat(list(model.mapped(10_000, seed=0)))
    assert found.spread.unique().tolist() == pytest.approx([float(w.var(0).mean().sqrt())], rel=1e-3)


def test_a_direction_moves_its_rows_by_its_spread(model: ImageModel) -> None:
    vectors = torch.eye(6)[:2]
    directions, ws = Directions(vectors, torch.tensor([2.0, 3.0]), (1, 4)), model.styles(2, seed=0)
    moved = directions.moved(ws, 1, -0.5) - ws
    wanted = torch.zeros(2, 6, 6)
    wanted[:, (1, 4), 1] = -1.5
    torch.testing.assert_close(moved, wanted)
    assert torch.equal(directions.moved(ws, 0, 0.0), ws)
    made = direction_sheet(model, ws[0], directions, (-1.0, 0.0, 1.0))
    assert made.shape == (6, 1, 16, 16)
    assert torch.equal(made[1], made[4])
    assert torch.equal(made[5], model.synthesised(directions.moved(ws[:1], 1, 1.0))[0])
    for number, strength, sentence in (
        (2, 1.0, "direction 2 should be from 0 to 1"),
        (-1, 1.0, "direction -1 should be from 0 to 1"),
        (0, math.inf, "strength=inf should be a finite number"),
    ):
        with pytest.raises(ValueError, match=sentence):
            directions.moved(ws, number, strength)
    for other in (ws[:, :4], ws[..., :5]):
        with pytest.raises(ValueError, match=r"should be \(\.\., at least 5, 6\)"):
            directions.moved(other, 0, 1.0)


def test_directions_that_cannot_be_are_refused(model: ImageModel) -> None:
    for call, sentence in (
        (lambda: principal_directions(model, 7), "count=7 should be from 1 to 6"),
        (lambda: principal_directions(model, 0), "count=0 should be from 1 to 6"),
        (lambda: principal_directions(model, 1, n=1), "n=1 styles should be at least 2"),
        (lambda: principal_directions(model, 1, rows=(6,)), r"rows=\[6\] should be different ones from 0 to 5"),
        (lambda: principal_directions(model, 1, rows=()), r"rows=\[\] should be different ones"),
        (lambda: factored_directions(model, 1, rows=(5,)), "rows=5: only pictures look at those"),
        (lambda: factored_directions(model, 7), "count=7 should be from 1 to 6"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


# ---- projection


@pytest.mark.parametrize(("space", "loss", "steps", "factor"), [("w", "pixels", 150, 1000), ("w+", "pixels", 150, 50)])
def test_projection_recovers_a_style(space: str, loss: str, steps: int, factor: float, model: ImageModel) -> None:
    """The mean squared error falls by the factor from that of the mean style."""
    target = model.sample(1, seed=77, noise="same")[0]
    found = project(model, target, space=space, steps=steps, loss=loss)
    begun = torch.cat(list(model.mapped(10_000, seed=0))).mean(0).expand(1, 6, 6)
    far = (model.synthesised(begun)[0] - target).square().mean()
    assert (found.picture - target).square().mean() < far / factor
    assert found.psnr == pytest.approx(psnr(found.picture, target))
    assert torch.equal(found.picture, model.synthesised(found.ws[None])[0])
    assert len(found.losses) == steps
    assert found.losses[-1] < found.losses[0] / 3
    assert (found.ws[1:] == found.ws[:1]).all() == (space == "w")
    if space == "w":
        torch.testing.assert_close(found.ws, model.styles(1, seed=77)[0], atol=0.02, rtol=0)
    assert found.loss == loss


def test_decibels() -> None:
    assert psnr(torch.zeros(1, 4, 4), torch.full((1, 4, 4), 0.1)) == pytest.approx(20)
    assert psnr(torch.ones(2), torch.ones(2)) == math.inf


def test_patches_have_no_places_and_coarse_pixels_do() -> None:
    stripes = torch.tensor([0.25, 0.75]).repeat(8).expand(1, 16, 16)
    _, far = distance_of(stripes, "patches")
    flat = far(torch.full((1, 1, 16, 16), 0.5))  # of equal means everywhere
    moved = far(stripes.roll(1, 2)[None])  # the same patches, and the same means
    lighter = far(stripes[None] + 0.2)
    assert moved < 0.1 * flat < 0.1 * lighter


def test_projection_by_patches_improves(model: ImageModel) -> None:
    target = model.sample(1, seed=78, noise="same")[0]
    found = project(model, target, steps=20, rate=0.2, loss="patches")
    assert found.losses[-1] < found.losses[0] / 2


def test_projection_by_features_improves(model: ImageModel) -> None:
    target = model.sample(1, seed=79, noise="same")
    distance = feature_distance(target, random_vgg())
    assert float(distance(target)) == pytest.approx(0, abs=1e-8)
    assert float(distance(model.sample(1, seed=80, noise="same"))) > 0.01
    assert float(distance(0.9 * target)) < float(distance(0.5 * target))
    large = torch.rand(1, 3, 280, 300, generator=stream())
    assert feature_distance(large, random_vgg())(large) == 0


def random_vgg() -> VGG19:
    """VGG-19 with random weights, whose taps are at relu1_1 and relu2_1."""
    state, random, n_in = {}, stream(3), 3
    for name, key in zip(CONVOLUTIONS, parameter_names("torchvision"), strict=True):
        n_out = BLOCKS[int(name[0]) - 1][1]
        weight = torch.zeros(n_out, n_in, 3, 3)
        if name in ("1_1", "1_2", "2_1"):
            weight = torch.randn(n_out, n_in, 3, 3, generator=random) / (9 * n_in) ** 0.5
        state |= {f"{key}.weight": weight, f"{key}.bias": torch.zeros(n_out)}
        n_in = n_out
    return VGG19.from_state_dict(state, taps=("relu1_1", "relu2_1"), border="zero")


def test_a_projection_is_a_function_of_its_seed(model: ImageModel) -> None:
    target = model.sample(1, seed=81, noise="same")[0]
    one, again, other = (project(model, target, steps=5, loss="pixels", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.ws, again.ws)
    assert one.losses == again.losses
    assert not torch.equal(one.ws, other.ws)


def test_a_projection_begins_from_its_class(by_class: ImageModel) -> None:
    target = by_class.sample(1, seed=1, noise="same")[0]
    for label in (None, 2):
        found = project(by_class, target, steps=1, rate=0.0, noise=0.0, loss="pixels", label=label)
        mean = torch.cat(list(by_class.mapped(10_000, seed=0, label=label))).mean(0)
        torch.testing.assert_close(found.ws, mean.expand(6, 6))


def test_features_are_taken_where_there_are_weights(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = model.sample(1, seed=0, noise="same")[0]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("TEXSYN_WEIGHTS", raising=False)
    assert distance_of(target)[0] == "pixels"
    with pytest.raises(InputError, match="vgg19: the weights are not here"):
        distance_of(target, "features")
    with pytest.raises(InputError, match="no such file"):
        distance_of(target, "auto", tmp_path / "vgg.pth")
    monkeypatch.setattr(projection, "find", lambda name: tmp_path)
    monkeypatch.setattr(projection, "VGG19", lambda *args, **kwargs: random_vgg())
    assert distance_of(target)[0] == "features"
    assert distance_of(target[:, :8])[0] == "pixels"  # VGG-19 needs 16 pixels
    assert distance_of(target.expand(2, -1, -1))[0] == "pixels"


def test_projections_that_cannot_be_are_refused(model: ImageModel) -> None:
    target = torch.zeros(1, 16, 16)
    for settings, sentence in (
        ({"space": "z"}, "space='z' should be w or w+"),
        ({"steps": 0}, "steps=0 should be at least 1"),
        ({"rate": math.nan}, "rate=nan should be a finite number from 0"),
        ({"noise": -1.0}, "noise=-1.0 should be a finite number from 0"),
        ({"loss": "taste"}, "loss='taste' is not one of auto, features, pixels, patches"),
        ({"label": 1}, "label=1 should be left out"),
    ):
        with pytest.raises(ValueError, match=sentence.replace("+", r"\+")):
            project(model, target, **settings)  # type: ignore[arg-type]
    for wrong in (target[:, :8], target.expand(3, -1, -1), target / 0):
        with pytest.raises(ValueError, match=r"should be \(1, 16, 16\), of finite values"):
            project(model, wrong)


def test_a_loss_that_is_not_finite_ends_the_projection(model: ImageModel) -> None:
    with pytest.raises(FloatingPointError, match="the loss is nan at step 2: try a smaller rate"):
        project(model, torch.zeros(1, 16, 16), steps=10, rate=1e30, loss="pixels")


def test_a_projection_can_be_watched_and_stopped(model: ImageModel) -> None:
    seen: list[float] = []

    class Enough:
        def is_set(self) -> bool:
            return len(seen) == 3

    watch = Watch(lambda fraction, _: seen.append(fraction), Enough())  # type: ignore[arg-type]
    with pytest.raises(Cancelled):
        project(model, torch.zeros(1, 16, 16), steps=10, loss="pixels", watch=watch)
    assert seen == [0.1, 0.2, 0.3]


# ---- files


def test_latents_are_kept(model: ImageModel, tmp_path: Path) -> None:
    ws, file = model.styles(1, seed=3)[0], tmp_path / "me.safetensors"
    save_latent(file, model, ws, how="by hand")
    kept = load_latent(file)
    assert torch.equal(kept.ws, ws)
    assert kept.about == {"how": "by hand", "arch": "stylegan2", "generator": model.generator_fingerprint}
    assert torch.equal(styles_of(model, [kept, 4])[0], ws)
    assert torch.equal(styles_of(model, [kept, 4])[1], model.styles(1, seed=4)[0])
    with pytest.raises(OSError, match="exists"):
        save_latent(file, model, ws, how="again")
    with pytest.raises(ValueError, match="this latent belongs to the model stylegan2 of weights"):
        styles_of(model_of(seed=1), [kept])
    assert [path.name for path in tmp_path.iterdir()] == ["me.safetensors"]


def test_a_latent_belongs_to_its_generator_whatever_else_the_model_has(model: ImageModel, tmp_path: Path) -> None:
    generator, discriminator = ARCHITECTURES["stylegan2"].build(model.config, stream(9))
    generator.load_state_dict(model.generator.state_dict())
    other = ImageModel(generator, model.config, Source("other", "1"), fit_seed=5, discriminator=discriminator)
    assert other.fingerprint != model.fingerprint
    assert other.generator_fingerprint == model.generator_fingerprint


def test_directions_are_kept(model: ImageModel, tmp_path: Path) -> None:
    found, file = principal_directions(model, 3, rows=(1, 2)), tmp_path / "ways.safetensors"
    save_directions(file, found)
    kept = load_directions(file)
    assert torch.equal(kept.vectors, found.vectors)
    assert torch.equal(kept.spread, found.spread)
    assert (kept.rows, kept.about) == ((1, 2), found.about)
    require_directions(model, kept)
    with pytest.raises(ValueError, match="this direction belongs to the model stylegan2 of weights"):
        require_directions(model_of(seed=1), kept)


def test_what_is_not_finite_or_of_another_shape_is_not_kept(model: ImageModel, tmp_path: Path) -> None:
    for ws, sentence in (
        (torch.full((6, 6), math.nan), "ws has a NaN or an infinite value"),
        (torch.zeros(5, 6), r"ws=\(1, 5, 6\) should be"),
    ):
        with pytest.raises(ValueError, match=sentence):
            save_latent(tmp_path / "me.safetensors", model, ws, how="")
    assert not list(tmp_path.iterdir())


def file_of(path: Path, tensors: dict[str, Tensor], about: Any) -> Path:
    path.write_bytes(safetensors_bytes(tensors, metadata={"texsyn": json.dumps(about)}))
    return path


@pytest.mark.parametrize(
    ("tensors", "about", "sentence"),
    [
        ({"ws": torch.zeros(6)}, {"format": LATENT}, "should hold ws and nothing else"),
        ({"ws": torch.zeros(0, 6)}, {"format": LATENT}, "should hold ws and nothing else"),
        ({"ws": torch.zeros(6, 6), "x": torch.zeros(1)}, {"format": LATENT}, "should hold ws and nothing else"),
        ({"ws": torch.full((6, 6), math.inf)}, {"format": LATENT}, "ws should be of finite 32-bit numbers"),
        ({"ws": torch.zeros(6, 6).long()}, {"format": LATENT}, "ws should be of finite 32-bit numbers"),
        ({"ws": torch.zeros(6, 6)}, {"format": DIRECTIONS}, "but none of latent that texsyn wrote"),
        ({"ws": torch.zeros(6, 6)}, [], "but none of latent that texsyn wrote"),
        ({"ws": torch.zeros(6, 6)}, {}, "but none of latent that texsyn wrote"),
    ],
)
def test_files_that_hold_no_latent_are_refused(
    tensors: dict[str, Tensor], about: Any, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^me.safetensors: .*{sentence}"):
        load_latent(file_of(tmp_path / "me.safetensors", tensors, about))


def test_files_that_are_cut_off_or_missing_are_refused(model: ImageModel, tmp_path: Path) -> None:
    file = tmp_path / "me.safetensors"
    save_latent(file, model, model.styles(1, seed=0)[0], how="")
    file.write_bytes(file.read_bytes()[:-4])
    for path in (file, tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match="cannot be read as a latent file"):
            load_latent(path)


@pytest.mark.parametrize("rows", [None, [], [0.5], [True], [-1], "0"])
def test_directions_of_impossible_rows_are_refused(rows: Any, tmp_path: Path) -> None:
    tensors = {"vectors": torch.zeros(2, 6), "spread": torch.zeros(2)}
    with pytest.raises(InputError, match="do not belong together"):
        load_directions(file_of(tmp_path / "d.safetensors", tensors, {"format": DIRECTIONS, "rows": rows}))
    with pytest.raises(InputError, match="do not belong together"):
        load_directions(
            file_of(
                tmp_path / "d.safetensors", tensors | {"spread": torch.zeros(3)}, {"format": DIRECTIONS, "rows": [0]}
            )
        )


def test_directions_beyond_a_models_rows_are_refused(model: ImageModel) -> None:
    for directions in (
        Directions(torch.zeros(1, 6), torch.zeros(1), (6,)),
        Directions(torch.zeros(1, 5), torch.zeros(1), (0,)),
    ):
        with pytest.raises(ValueError, match="should be"):
            require_directions(model, directions)
    with pytest.raises(ValueError, match=r"ws=\(1, 4, 6\) should be"):
        styles_of(model, [Latent(torch.zeros(4, 6))])
