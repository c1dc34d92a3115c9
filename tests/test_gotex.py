"""Image mode: what a turn of projection does, the other optimisers, and orders (holes, mixtures, places, targets)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import texsyn
from texsyn.features import PatchPyramid
from texsyn.images import InputError, Size, load
from texsyn.models.gotex import Gotex, GotexConfig, Order, in_colours_of
from texsyn.patches import aggregate, extract
from texsyn.picture_descent import (
    Content,
    NotFinite,
    Problem,
    Term,
    _least_squares,
    descend,
    objective,
    project,
    up,
    vote,
)
from texsyn.pyramid import pyramid
from texsyn.texture_losses import GramLoss, SlicedLoss, TransportLoss

QUICK = {"n_coarse": 3, "n_steps": 3, "max_atoms": 300}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def stripes(height: int = 40, width: int = 48) -> np.ndarray:
    """Vertical stripes of period 8 with a grain, between 38 and 218 but for the grain."""
    grain = np.random.default_rng(0).normal(0, 4, (height, width))
    x = np.mgrid[:height, :width][1]
    return (128 + 90 * np.sin(2 * np.pi * x / 8) + grain).astype(np.uint8)[..., None]


# ------------------------------------------------------------------------------------------------------ projection


def test_votes_on_a_torus_are_the_average_of_the_atoms_the_patches_go_to() -> None:
    exemplar, u, w = noise(3, 14, 15), noise(3, 12, 10, seed=1), 3
    loss = TransportLoss(PatchPyramid(w, 1), exemplar, max_atoms=0)
    loss.improve(u, periodic=True)
    layer, potential = loss.features.layers(u, periodic=True)[0], loss.potentials[0]
    value, votes, cover = vote(layer, potential)
    assert value == pytest.approx(float(loss(u, periodic=True)), rel=1e-5)
    assert torch.allclose(cover, torch.full_like(cover, w * w / 120))
    atoms = potential.y[potential.assign(extract(u, w, periodic=True))]  # centred patches: the same, one pixel off
    expected = aggregate(atoms, 12, 10, w, periodic=True)
    assert torch.allclose(votes / cover, expected, atol=1e-5)


def test_open_votes_cover_the_border_less_and_count_points_as_told() -> None:
    exemplar, u = noise(1, 12, 12), noise(1, 9, 9, seed=1)
    loss = TransportLoss(PatchPyramid(3, 1), exemplar)
    loss.improve(u)
    layer, potential = loss.features.layers(u)[0], loss.potentials[0]
    _, votes, cover = vote(layer, potential)
    expected = aggregate(potential.y[potential.assign(extract(u, 3))], 9, 9, 3)
    assert torch.allclose(votes / cover, expected, atol=1e-5)
    assert float(cover[0, 0]) == pytest.approx(1 / 49)
    only = torch.zeros(49)
    only[0] = 2.0
    _, votes, cover = vote(layer, potential, only)
    assert int((cover > 0).sum()) == 9
    assert torch.allclose(votes[:, :3, :3].reshape(-1), potential.y[potential.assign(extract(u, 3)[:1])][0])


def test_least_squares_come_near_the_minimiser_of_the_quadratic() -> None:
    u, generator = noise(1, 8, 8), torch.Generator().manual_seed(2)
    goals = [torch.randn(v.shape, generator=generator) for v in pyramid(u, 2, periodic=True)]
    covers = [torch.full(g.shape[1:], c) for g, c in zip(goals, (0.2, 0.7), strict=True)]
    quadratics = [(0.5, c, c * g) for c, g in zip(covers, goals, strict=True)]

    def energy(z: Tensor) -> float:
        return sum(
            float((0.5 * c * (v - g).square()).sum())
            for v, g, c in zip(pyramid(z, 2, periodic=True), goals, covers, strict=True)
        )

    basis = torch.eye(64).view(64, 1, 8, 8)
    rows = [torch.stack([pyramid(b, 2, periodic=True)[s].flatten() for b in basis], 1) for s in (0, 1)]
    a = torch.cat([c.flatten()[:, None].sqrt() * r for c, r in zip(covers, rows, strict=True)])
    b = torch.cat([(c.sqrt() * g[0]).flatten() for c, g in zip(covers, goals, strict=True)])
    best = energy(torch.linalg.lstsq(a, b).solution.view(1, 8, 8))
    found = energy(u + _least_squares(u, quadratics, Problem((), periodic=True)))
    assert found - best < 0.02 * (energy(u) - best)


def test_turns_of_projection_lower_the_exact_transport_cost() -> None:
    ot = pytest.importorskip("ot")
    exemplar, u = torch.from_numpy(stripes(24, 24)).permute(2, 0, 1) / 255, noise(1, 20, 20, seed=1)

    def exact(v: Tensor) -> float:
        x, y = (extract(one, 3, periodic=p).double().numpy() for one, p in ((v, True), (exemplar, False)))
        return float(ot.emd2([], [], ot.dist(x, y)))

    loss = TransportLoss(PatchPyramid(3, 1), exemplar, max_atoms=0, tol=0.05, budget=500)
    problem, costs = Problem((Term(loss),)), [exact(u)]
    for _ in range(4):
        u = project(u, problem, n_turns=1, n_coarse=0).u
        costs.append(exact(u))
    assert all(after < before * 1.01 for before, after in pairwise(costs))
    assert costs[-1] < 0.2 * costs[0]
    assert float(loss(u, periodic=True)) < costs[-1] + 1e-6


def test_up_lies_on_even_pixels_and_wraps() -> None:
    u = noise(1, 3, 4)
    wide = up(u, (6, 8), periodic=True)
    assert torch.equal(wide[:, ::2, ::2], u)
    assert float(wide[0, 0, 7]) == pytest.approx(float(u[0, 0, 3] + u[0, 0, 0]) / 2)
    assert up(u, (5, 7), periodic=False).shape == (1, 5, 7)


def test_projection_is_refused_where_the_loss_is_no_quadratic() -> None:
    exemplar = noise(1, 30, 30)
    sliced, transport = SlicedLoss(PatchPyramid(3, 2), exemplar), TransportLoss(PatchPyramid(3, 2), exemplar)
    for terms in ((Term(sliced),), (Term(transport), Term(TransportLoss(PatchPyramid(3, 1), exemplar)))):
        with pytest.raises(ValueError, match="projection needs"):
            project(exemplar, Problem(terms))
    with pytest.raises(ValueError, match="shares that vary"):
        objective(exemplar, Problem((Term(transport, where=torch.ones(30, 30)),)))
    with pytest.raises(NotFinite, match="start from"):
        project(exemplar * torch.nan, Problem((Term(transport),)), n_coarse=0)


# ------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", [TransportLoss, SlicedLoss, GramLoss])
def test_gradient_descent_lowers_every_loss_and_keeps_known_pixels(kind: type, optimiser: str) -> None:
    exemplar = torch.from_numpy(stripes(32, 32)).permute(2, 0, 1) / 255
    start, known = noise(1, 24, 24, seed=3), torch.zeros(24, 24, dtype=torch.bool)
    known[:5] = True
    loss = kind(PatchPyramid(3, 2), exemplar)
    found = descend(start, Problem((Term(loss),), known=known), optimiser=optimiser, n_steps=40)
    assert torch.equal(found.u[:, :5], start[:, :5])
    assert found.values[-1] < 0.5 * found.values[0]


def test_content_alone_is_what_the_picture_becomes_at_its_scale() -> None:
    exemplar, goal = noise(1, 32, 32), torch.linspace(0, 1, 32).expand(1, 32, 32)
    loss = TransportLoss(PatchPyramid(3, 2), exemplar)
    problem = Problem((Term(loss),), content=Content(goal, weight=1e4, scale=1), periodic=False)
    found = project(torch.zeros(1, 32, 32), problem, n_turns=6, n_coarse=2)
    coarse, wanted = (pyramid(v, 2)[1] for v in (found.u, goal))
    assert float((coarse - wanted).abs().max()) < 0.02


# ------------------------------------------------------------------------------------------------------- the model


def test_pictures_of_stripes_are_stripes_that_wrap() -> None:
    made = texsyn.synth(stripes(), (48, 64), method="gotex", seed=1).pixels[..., 0].astype(float)
    spectrum = np.abs(np.fft.fft2(made - made.mean())) ** 2
    assert spectrum[0, 8] + spectrum[0, -8] > 0.6 * spectrum.sum()  # eight waves in 64 pixels
    steps = np.abs(np.diff(made, axis=1)).mean(0)
    assert np.abs(made[:, 0] - made[:, -1]).mean() < 1.5 * steps.max()


def test_same_bits_with_any_number_of_threads() -> None:
    before, made = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            made.append(texsyn.synth(noise(3, 70, 60), (64, 72), method="gotex", seed=2, n_coarse=1, n_steps=1).pixels)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*made)


def test_a_filling_keeps_every_known_pixel_and_goes_on_with_the_stripes() -> None:
    picture, hole = stripes(64, 64), np.zeros((64, 64), np.uint8)
    hole[20:44, 18:46] = 255
    broken = np.where(hole[..., None] > 0, np.uint8(7), picture)
    made = texsyn.synth(broken, mask=hole, method="gotex", seed=1).pixels
    assert np.array_equal(made[hole == 0], picture[hole == 0])
    error = np.abs(made.astype(float) - picture)[hole > 0].mean()
    assert error < 25  # of stripes between 38 and 218; a flat grey would have 58
    assert abs(float(made[hole > 0].mean()) - float(picture[hole > 0].mean())) < 12  # nothing of the 7


def test_mixtures_have_their_shares_and_morphs_the_colour_between() -> None:
    grain = np.random.default_rng(0).integers(-30, 31, (2, 48, 48, 1))
    mixed = texsyn.synth(
        [(v + g).astype(np.uint8) for v, g in zip((40, 200), grain, strict=True)], (96, 96), method="gotex",
        mix=(0.25, 0.75), seed=1,
    ).pixels  # fmt: skip
    assert abs((mixed > 120).mean() - 0.75) < 0.12
    dark, light = (np.full((32, 32, 1), v, np.uint8) for v in (40, 200))
    between = texsyn.synth([dark, light], (32, 32), method="gotex", morph=0.5, seed=1, **QUICK).pixels
    assert np.abs(between.astype(int) - 120).max() <= 2


def test_maps_of_shares_put_each_exemplar_in_its_place() -> None:
    dark, light = (np.full((32, 32, 1), v, np.uint8) for v in (40, 200))
    places = np.zeros((48, 64), np.uint8)
    places[:, 32:] = 255  # white is the first
    made = texsyn.synth([dark, light], mix_map=places, method="gotex", seed=1, **QUICK).pixels[..., 0]
    assert made.shape == (48, 64)
    assert np.abs(made[:, 38:58].astype(int) - 40).max() < 12
    assert np.abs(made[:, 6:26].astype(int) - 200).max() < 12


def test_targets_are_followed_more_closely_with_more_strength() -> None:
    exemplar = (noise(64, 64, 1) * 255).byte().numpy()
    x = np.mgrid[:64, :64][1]
    target = (127 + 120 * np.sin(x / 10)).astype(np.uint8)

    def likeness(strength: float) -> float:
        made = texsyn.synth(exemplar, target=target, strength=strength, method="gotex", seed=1, **QUICK).pixels
        coarse = torch.from_numpy(made[..., 0].astype(np.float32))[None]
        goal = torch.from_numpy(target.astype(np.float32))[None]
        a, b = (pyramid(v, 4)[3].flatten() for v in (coarse, goal))
        return float(torch.corrcoef(torch.stack([a, b]))[0, 1])

    weak, strong = likeness(0.02), likeness(0.9)
    assert strong > 0.9
    assert strong > weak


def test_a_picture_repainted_in_the_exemplars_colours_has_these_in_the_order_of_brightness() -> None:
    exemplar = torch.linspace(0, 1, 64).expand(3, 64, 64) * torch.tensor([1.0, 0.5, 0.0])[:, None, None]
    painted = in_colours_of(exemplar, torch.tensor([[[0.1, 0.9], [0.5, 0.2]]]))
    assert painted.shape == (3, 2, 2)
    red = painted[0]
    assert float(red[0, 0]) < float(red[1, 1]) < float(red[1, 0]) < float(red[0, 1])
    assert torch.allclose(painted[1], red / 2, atol=1e-5)


def test_alpha_is_premultiplied_so_that_hidden_colours_do_not_show() -> None:
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[..., 0], picture[..., 3] = 200, 255
    picture[8:24, 8:24] = (0, 255, 0, 0)  # green, but transparent
    made = texsyn.synth(picture, (40, 40), method="gotex", seed=1, **QUICK).pixels
    seen = made[..., 3] > 200
    assert 0.3 < seen.mean() < 1
    assert int(made[seen][:, 1].max()) < 30


def test_turned_and_excluded_parts_are_minded() -> None:
    picture = stripes(48, 48)
    picture[:, 24:] = 250
    exclude = np.zeros((48, 48), np.uint8)
    exclude[:, 22:] = 255
    made = texsyn.synth(picture, (40, 40), method="gotex", exclude=exclude, seed=1, **QUICK).pixels
    assert int(made.max()) < 240
    turned = texsyn.synth(stripes(), (48, 48), method="gotex", rotate=90, seed=1, **QUICK).pixels[..., 0].astype(float)
    assert np.abs(np.diff(turned, axis=0)).mean() > 2 * np.abs(np.diff(turned, axis=1)).mean()


def test_random_features_and_adam_make_pictures_too() -> None:
    made = texsyn.synth(stripes(), (32, 32), method="gotex", features="random", n_steps=10, seed=1)
    assert made.pixels.shape == (32, 32, 1)
    assert made.recipe["settings"]["features"] == "random"
    other = texsyn.synth(stripes(), (32, 32), method="gotex", loss="gram", optimiser="adam", n_steps=5, seed=1)
    assert not np.array_equal(other.pixels, made.pixels)


def test_samples_of_points_and_another_engine_make_other_pictures_of_the_same_stripes() -> None:
    how = {"method": "gotex", "optimiser": "lbfgs", "n_steps": 20, "max_atoms": 300, "seed": 1}
    whole = texsyn.synth(stripes(), (32, 32), **how).pixels.astype(float)
    some = texsyn.synth(stripes(), (32, 32), n_samples=400, **how).pixels
    assert 0 < np.abs(some - whole).mean() < 40
    searched = texsyn.synth(stripes(), (32, 32), backend="torch", **how).pixels
    assert np.abs(searched - whole).mean() < 5


def test_it_starts_from_a_picture_by_texto_if_asked() -> None:
    picture = stripes()
    copied = texsyn.synth(picture, (48, 64), tile="xy", seed=1).pixels
    model = Gotex(load(picture), GotexConfig(start="texto", n_steps=2, max_atoms=0))
    start = model._start(Size(48, 64), 1, Order(), "xy")
    assert np.array_equal((start[0] * 255).round().byte().numpy(), copied[..., 0])
    made = model.synthesise(Size(48, 64), seed=1)
    assert made.evidence[0]["turns"] == 2
    with pytest.raises(ValueError, match="start='texto' goes with"):
        texsyn.synth(picture, target=picture, method="gotex", start="texto")


def test_vgg_without_weights_says_what_to_supply(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("TEXSYN_WEIGHTS", raising=False)
    with pytest.raises(InputError, match=r"vgg19.*wanted is"):
        texsyn.synth(np.zeros((64, 64, 3), np.uint8), (64, 64), method="gotex", features="vgg19")


@pytest.mark.slow  # VGG-19 has 20 million weights, random ones too
@pytest.mark.parametrize("layout", ["torchvision", "gatys"])
def test_vgg_features_from_files_of_both_layouts_lead_to_pictures(layout: str, tmp_path) -> None:
    from safetensors.torch import save_file

    generator, state, n_in, place = torch.Generator().manual_seed(0), {}, 3, 0
    for block, (n, n_out) in enumerate(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), 1):
        for i in range(1, n + 1):
            key = f"features.{place}" if layout == "torchvision" else f"conv{block}_{i}"
            state[f"{key}.weight"] = torch.randn(n_out, n_in, 3, 3, generator=generator) * (2 / (9 * n_in)) ** 0.5
            state[f"{key}.bias"] = torch.zeros(n_out)
            n_in, place = n_out, place + 2
        place += 1  # the pool
    save_file(state, tmp_path / "vgg.safetensors")
    how = {"features": "vgg19@relu1_1,relu2_1", "weights_file": str(tmp_path / "vgg.safetensors"), "n_steps": 20}
    made = texsyn.synth("skimage:brick:64", (48, 64), method="gotex", seed=1, max_atoms=500, **how)
    about = made.recipe["evidence"][0]
    assert len(about["features"]["sha256"]) == 64
    assert about["loss"][-1] < about["loss"][0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "wasserstein"}, "loss='wasserstein' is not one of transport, sliced, gram"),
        ({"optimiser": "sgd"}, "optimiser='sgd'"),
        ({"start": "photo"}, "start='photo'"),
        ({"patch_size": 1}, "patch_size=1"),
        ({"tol": 0.0}, "tol=0.0"),
        ({"n_samples": -1}, "n_samples=-1"),
        ({"backend": "gpu"}, "backend='gpu'"),
        ({"n_steps": -1}, "n_steps=-1"),
        ({"loss": "sliced", "optimiser": "projection"}, "projection"),
        ({"features": "edges"}, "edges"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        texsyn.synth(stripes(), (32, 32), method="gotex", **settings)
    assert "\n" not in str(refused.value)


def test_orders_that_gotex_cannot_meet_are_refused() -> None:
    picture, mask = stripes(), np.zeros((40, 48), np.uint8)
    mask[10:20, 10:20] = 255
    with pytest.raises(ValueError, match="no stacks"):
        texsyn.synth(maps={"a": picture, "b": picture}, method="gotex")
    with pytest.raises(ValueError, match="no stacks of maps and no guides"):
        texsyn.synth(picture, guide_in=mask, guide_out=mask, method="gotex")
    with pytest.raises(ValueError, match="mask need"):
        texsyn.synth(picture, mask=mask, loss="gram", method="gotex")
    with pytest.raises(ValueError, match="tile='x'"):
        texsyn.synth(picture, mask=mask, tile="x", method="gotex")
    with pytest.raises(InputError, match="is the least size with a hole"):
        texsyn.synth(stripes(96, 96), target=mask[:30, :30], method="gotex")
    with pytest.raises(ValueError, match="copy_limit"):
        texsyn.synth(picture, copy_limit=20, method="gotex")
    with pytest.raises(InputError, match="at least 8x8 pixels are needed, got 7x9"):
        Gotex(load(np.zeros((9, 7), np.uint8)), GotexConfig())


def test_any_size_is_made_even_below_a_patch() -> None:
    model = Gotex(load(stripes()), GotexConfig(**QUICK))
    for size in (Size(1, 1), Size(3, 70), Size(33, 31)):
        assert model.synthesise(size, seed=0).pixels.shape == (size.height, size.width, 1)
