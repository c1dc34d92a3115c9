"""What a trained SinGAN does to pictures: by networks that add nothing, whose answers are known, and as verbs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import texture
from PIL import Image

import texsyn
from texsyn import manipulation
from texsyn.cli import main
from texsyn.cubic import resize
from texsyn.images import InputError, Picture, Size, load, read_recipe, save
from texsyn.manipulation import Walk, animate, edit, harmonise, in_colours_of, paint, soft, upscale
from texsyn.models.singan import Singan, SinganConfig, empty_scales, initialise

CONFIG = SinganConfig(factor=0.75, min_side=16, max_side=40, channels=4, steps=1, d_turns=1, g_turns=1)
SIZE = Size(30, 40)


def exemplar(channels: int = 3, dtype: str = "uint8", size: Size = SIZE) -> Picture:
    pixels = texture(size.height, size.width, channels)
    if dtype == "uint16":
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    if dtype == "float32":
        pixels = pixels.astype(np.float32) / 100 - 1
    return load(pixels)


def made(
    picture: Picture | None = None, *, silent: bool = False, config: SinganConfig = CONFIG, n: int | None = None
) -> Singan:
    """A model of random networks, or of silent ones, which add nothing; with its first n scales only."""
    picture = exemplar() if picture is None else picture
    model, random = Singan(picture, config), torch.Generator().manual_seed(1)
    n = len(model.sizes) if n is None else n
    nets = list(empty_scales(picture.channels, n, config))
    for net in nets:
        initialise(net, random)
        for parameter in net.parameters():
            parameter.data = parameter.data * 0 if silent else parameter.data * 3
    z = torch.randn(1, 1, model.sizes[0].height, model.sizes[0].width, generator=random)
    fixed = z.repeat(1, picture.channels, 1, 1)
    return Singan(picture, config, scales=nets, amplitudes=[1.0] + [0.1] * (n - 1), fixed_noise=fixed)


def centre(size: Size = SIZE) -> np.ndarray:
    mask = np.zeros((size.height, size.width), bool)
    mask[12:18, 15:24] = True
    return mask


def codes(values: torch.Tensor) -> np.ndarray:
    """8-bit codes of values (1, c, h, w) in [-1, 1]."""
    return np.floor((values[0].permute(1, 2, 0).numpy().clip(-1, 1) + 1) * 127.5 + 0.5)


# ---- pictures put in


def test_silent_networks_hand_on_what_the_scale_below_saw() -> None:
    model, picture = made(silent=True), exemplar()
    assert len(model.sizes) == 5
    u = model.from_picture(picture)
    for scale in (1, 2, 3, 4):
        low = resize(u, model.sizes[scale - 1])
        for size in model.sizes[scale:]:
            low = resize(low, size)
        np.testing.assert_allclose(paint(model, picture, scale=scale).pixels, codes(low), atol=1)
    assert np.abs(paint(model, picture, scale=1).pixels.astype(int) - picture.pixels).mean() > 9


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("put", [harmonise, edit])
def test_what_the_mask_does_not_reach_keeps_its_pixels(put: Callable[..., Picture], dtype: str) -> None:
    picture = exemplar(dtype=dtype)
    model = made(picture if dtype == "float32" else None)
    one, again, other = (put(model, picture, centre(), seed=s, dilation=2, softness=1.0) for s in (1, 1, 2))
    assert (one.size, one.pixels.dtype, one.mode, one.notes) == (SIZE, dtype, "RGB", ())
    np.testing.assert_array_equal(one.pixels, again.pixels)
    m = soft(centre(), 2, 1.0)
    assert 0.3 < (m == 0).mean() < 0.9
    np.testing.assert_array_equal(one.pixels[m == 0], picture.pixels[m == 0])
    assert (one.pixels[centre()] != other.pixels[centre()]).mean() > 0.5


def test_the_blend_is_that_of_the_mask() -> None:
    model, picture = made(silent=True), exemplar()
    inside = paint(model, picture, scale=2).pixels.astype(float)
    m = soft(centre(), 3, 2.0)[..., None]
    found = harmonise(model, picture, centre(), scale=2, dilation=3, softness=2.0)
    np.testing.assert_allclose(found.pixels, (1 - m) * picture.pixels + m * inside, atol=1.01)


def test_editing_starts_coarser_and_grows_the_mask_more() -> None:
    model, picture = made(), exemplar()
    assert (manipulation.fine(model), manipulation.coarse(model)) == (2, 1)
    ten = made(config=replace(CONFIG, factor=0.9))
    assert (len(ten.sizes), manipulation.fine(ten), manipulation.coarse(ten)) == (8, 5, 2)
    for put, scale, dilation in ((harmonise, 5, 7), (edit, 2, 20)):
        usual, said = put(ten, picture, centre()), put(ten, picture, centre(), scale=scale, dilation=dilation)
        np.testing.assert_array_equal(usual.pixels, said.pixels)


def test_pictures_of_other_sizes_keep_theirs_also_where_the_exemplar_was_shrunk() -> None:
    size = Size(52, 35)
    picture = exemplar(size=size)
    found = harmonise(made(), picture, centre(size), dilation=1, softness=1.0)
    assert (found.size, found.notes) == (size, ())
    shrunk = made(exemplar(size=Size(60, 80)))
    assert shrunk.sizes[-1] == SIZE
    large = Size(60, 80)
    picture = exemplar(size=large)
    found = harmonise(shrunk, picture, centre(large), dilation=1, softness=1.0)
    assert found.size == large
    assert found.notes == ("what changed has the resolution of the training, 40x30 for the picture",)
    far = np.zeros((60, 80), bool)
    far[40:] = True
    np.testing.assert_array_equal(found.pixels[far], picture.pixels[far])
    assert (found.pixels[centre(large)] != picture.pixels[centre(large)]).mean() > 0.8


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (4, "uint8"), (3, "float32"), (5, "float32")])
def test_any_channels_and_floats(channels: int, dtype: str) -> None:
    picture = exemplar(channels, dtype)
    model = made(picture)
    for found in (harmonise(model, picture, centre()), paint(model, picture, scale=1), next(animate(model))):
        assert (found.pixels.shape, found.pixels.dtype, found.mode) == (
            picture.pixels.shape, picture.pixels.dtype, picture.mode,
        )  # fmt: skip
        assert found.pixels.min() >= picture.pixels.min()
        assert found.pixels.std() > 0


def test_what_cannot_be_put_in_is_refused() -> None:
    model, picture = made(), exemplar()
    with pytest.raises(ValueError, match=r"scale=0 should be from 1, the coarsest .*, to 4"):
        harmonise(model, picture, centre(), scale=0)
    with pytest.raises(ValueError, match="scale=5 should be from 1"):
        paint(model, picture, scale=5)
    with pytest.raises(ValueError, match="scale=2 should be from 1, the coarsest that a picture can be put in, to 1"):
        edit(made(n=2), picture, centre(), scale=2)
    with pytest.raises(ValueError, match="one trained scale only"):
        paint(made(n=1), picture)
    with pytest.raises(InputError, match="mask is black"):
        harmonise(model, picture, ~np.ones((30, 40), bool))
    with pytest.raises(InputError, match=r"a mask of .*39, 30.* pixels does not fit"):
        harmonise(model, picture, np.ones((30, 39), bool))
    for colours in (0, 3):
        with pytest.raises(InputError, match="has 1 channels, and the model's pictures 3"):
            paint(model, exemplar(1), colours=colours)
        with pytest.raises(InputError, match="has 4 channels, and the model's pictures 3"):
            paint(model, exemplar(4), colours=colours)
    for softness in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"softness=.* should be 0 or more"):
            harmonise(model, picture, centre(), softness=softness)
    with pytest.raises(InputError, match="values that are floats, and the model's exemplar has integers"):
        paint(model, exemplar(3, "float32"))


def test_the_soft_mask_is_a_disk_then_a_gaussian_from_0_to_1() -> None:
    point = np.zeros((41, 41), bool)
    point[20, 20] = True
    y, x = np.mgrid[-20:21, -20:21]
    np.testing.assert_array_equal(soft(point, 7, 0.0), y**2 + x**2 <= 49)
    m = soft(point, 7, 5.0)
    assert (float(m.min()), float(m.max())) == (0.0, 1.0)
    np.testing.assert_allclose(m, m.T, atol=1e-6)
    assert (np.diff(m[20, 20:]) <= 0).all()
    assert soft(~np.zeros((4, 4), bool), 3, 2.0).tolist() == np.ones((4, 4)).tolist()


def test_drawings_get_the_exemplars_colours() -> None:
    palette = np.array([[10, 20, 30], [200, 40, 60], [240, 250, 255]], np.uint8)
    pixels = palette[np.random.default_rng(0).integers(0, 3, (30, 40))]
    rough = np.clip(pixels.astype(int) + np.random.default_rng(1).integers(-30, 31, pixels.shape), 0, 255)
    drawing = load(rough.astype(np.uint8))
    np.testing.assert_array_equal(in_colours_of(load(pixels), drawing, 3).pixels, pixels)
    with pytest.raises(InputError, match="has 3 colours, fewer than the 4 asked for"):
        in_colours_of(load(pixels), drawing, 4)
    assert paint(made(silent=True), drawing, colours=2).size == SIZE


def test_a_painting_has_the_drawings_shape_and_about_the_trainings_pixels() -> None:
    model = made()
    assert paint(model, exemplar(size=Size(100, 48))).size == Size(50, 24)
    assert paint(model, exemplar(size=Size(100, 48)), size=Size(37, 91)).size == Size(37, 91)


# ---- enlarging


def test_silent_networks_enlarge_by_cubic_steps() -> None:
    model, picture = made(silent=True), exemplar()
    u = model.from_picture(picture)
    for size in manipulation.steps_to(SIZE, 3.5):
        u = resize(u, size).clamp(-1, 1)
    found = upscale(model, picture, 3.5, corrections=0)
    assert found.size == Size(105, 140)
    np.testing.assert_allclose(found.pixels, codes(u), atol=1)


def test_detail_is_the_finest_networks_and_noise_is_new_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = made(), []
    generate = model.generate

    def heard(size: Size, **more: Any) -> torch.Tensor:
        asked.append((more["first"], more["noise"](more["first"], Size(4, 4))))
        return generate(size, **more)

    monkeypatch.setattr(model, "generate", heard)
    one, other = (upscale(model, exemplar(dtype="uint16"), 2, seed=s) for s in (1, 2))
    assert one.pixels.dtype == np.uint16
    assert (one.pixels != other.pixels).mean() > 0.5
    assert [first for first, _ in asked] == [4] * 6
    assert len({z.numpy().tobytes() for _, z in asked}) == 6


def test_what_was_enlarged_and_is_shrunk_again_is_the_picture() -> None:
    model, picture = made(), load(np.clip(exemplar().pixels // 2 + 64, 0, 255).astype(np.uint8))
    x = model.from_picture(picture)
    away = []
    for corrections in (0, 3):
        u = model.from_picture(upscale(model, picture, 3, corrections=corrections))
        away.append(float((resize(u, SIZE) - x).square().mean().sqrt()))
    assert away[0] > 0.1
    assert away[1] < 0.25 * away[0]


def test_a_long_picture_is_learned_from_its_middle_and_not_shrunk() -> None:
    picture = exemplar(size=Size(30, 100))
    middle, config = manipulation.pyramid_for(picture, CONFIG)
    assert config is CONFIG
    np.testing.assert_array_equal(middle.pixels, picture.pixels[:, 30:70])
    _, config = manipulation.pyramid_for(picture)
    assert (config.alpha, config.min_side, config.max_side) == (100, 18, 250)
    assert upscale(made(middle), picture, 2).size == Size(60, 200)


def test_models_that_cannot_enlarge_are_refused() -> None:
    with pytest.raises(InputError, match="3 of 5 scales trained"):
        upscale(made(n=3), exemplar(), 2)
    with pytest.raises(ValueError, match="factor=1 should be above 1"):
        upscale(made(), exemplar(), 1)
    grown = replace(CONFIG, architecture="grown", stages=3)
    with pytest.raises(InputError, match="architecture='grown'"):
        upscale(Singan(exemplar(), grown, amplitudes=[1.0, 0.1, 0.1]), exemplar(), 2)


# ---- moving


def test_the_walk_is_the_pages() -> None:
    model, walk = made(), Walk(alpha=0.3, beta=0.6)
    z_rec = model.recorded(0, SIZE)
    steps = manipulation._walk(model, walk, 0, SIZE, seed=5)
    found = [next(steps) for _ in range(4)]
    eps = [model.noise_of(5, 1024 * (t + 2))(0, SIZE) for t in range(-1, 3)]
    assert abs(float(eps[1].std()) - 1) < 0.1
    assert eps[1][0, 0].tolist() == eps[1][0, 2].tolist()
    assert eps[1].tolist() != eps[2].tolist()
    expected = [z_rec, 0.95 * z_rec + 0.05 * eps[0]]
    for t in range(3):
        a, b = expected[-1], expected[-2]
        expected.append(0.3 * z_rec + 0.7 * (a + 0.6 * (a - b) + 0.4 * eps[t + 1]))
    for one, other in zip(found, expected[1:], strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("alpha", "beta", "n"), [(0.1, 0.9, 12), (0.5, 0.0, 3), (0.02, 0.3, 7), (1.0, 0.5, 2)])
def test_a_loop_closes_without_a_jump(alpha: float, beta: float, n: int) -> None:
    model, walk = made(), Walk(n, alpha=alpha, beta=beta, loop=True)
    steps = manipulation._walk(model, walk, 1, Size(8, 9), seed=3)
    z = torch.stack([next(steps) for _ in range(2 * n + 1)])
    torch.testing.assert_close(z[n:], z[: n + 1], atol=1e-5, rtol=0)
    if alpha < 1:
        assert (z[1:n] != z[: n - 1]).any()
        jumps = (z[1:] - z[:-1]).square().mean((1, 2, 3, 4)).sqrt()
        assert float(jumps[n - 1]) <= 1.001 * float(jumps[:n].max())
    frames = [one.pixels for one in animate(model, walk, seed=3)]
    assert len(frames) == n


def test_frames_depend_on_the_seed_alone_and_what_does_not_move_is_the_reconstruction() -> None:
    model = made()
    one, again, other = ([f.pixels for f in animate(model, Walk(5), seed=s)] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one[0] != one[4]).mean() > 0.5
    assert (np.array(one) != other).mean() > 0.5
    still = [f.pixels for f in animate(model, Walk(4, alpha=1.0, start_scale=0), seed=1)]
    np.testing.assert_array_equal(still[1:], [model.to_pixels(model.reconstruct())] * 3)

    asked: list[dict[str, Any]] = []
    generate = model.generate
    model.generate = lambda size, **more: asked.append(more) or generate(size, **more)  # type: ignore[method-assign]
    found = list(animate(model, Walk(2, start_scale=2), size=Size(33, 61)))
    assert found[0].size == Size(33, 61)
    assert [more["keep"] for more in asked] == [2, 2]


@pytest.mark.parametrize(
    ("values", "words"),
    [({"n_frames": 0}, "n_frames=0"), ({"alpha": 1.5}, "from 0 to 1"), ({"beta": 1.0}, "beta=1"),
     ({"alpha": 0.0, "loop": True}, r"alpha=0 should be from 0\.01")],
)  # fmt: skip
def test_walks_that_are_none(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Walk(**values)
    with pytest.raises(ValueError, match="start_scale=5 should be from 0, the coarsest, to 4"):
        animate(made(), Walk(start_scale=5))


# ---- the command line


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """texsyn's main() in a folder with a model, a picture and a mask."""
    monkeypatch.chdir(tmp_path)
    made().save("m.safetensors")
    save(exemplar(), "s.png")
    save(load(centre().astype(np.uint8) * np.uint8(255)), "mask.png")

    def call(*args: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        said = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, said.out, said.err

    return call


def test_animate(run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    walk = ("animate", "m.safetensors", "--frames", 4, "--fps", 20, "--seed", 3)
    code, _, err = run(*walk, "--loop", "-o", "a.webp")
    assert code == 0, err
    assert "a.webp: 4 frames of 40x30, seed 3" in err
    with Image.open("a.webp") as image:
        image.seek(1)
        second = np.asarray(image.convert("RGB"))
        assert (image.n_frames, image.size, image.info["duration"]) == (4, (40, 30), 50)
    model = texsyn.load("m.safetensors")
    assert isinstance(model, Singan)
    expected = [f.pixels for f in animate(model, Walk(4, loop=True), seed=3)]
    np.testing.assert_array_equal(second, expected[1])
    recipe = read_recipe("a.webp")
    assert recipe is not None
    assert recipe["settings"] == {"n_frames": 4, "start_scale": 0, "alpha": 0.1, "beta": 0.9, "loop": True, "fps": 20.0}
    assert recipe["model"]["name"] == "m.safetensors"
    code, out, err = run(*walk, "--start-scale", 1, "--size", "2x", "-o", "walk", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["size"] == "80x60"
    assert sorted(os.listdir("walk")) == [f"frame_000{k}.png" for k in range(1, 5)]

    for words, *more in (
        ("exists", "-o", "a.webp"),
        ("'.avi' is not known", "-o", "a.avi"),
        ("--start-scale: start_scale=9 should be from 0, the coarsest, to 4", "-o", "b.gif", "--start-scale", 9),
        ("alpha=0 should be from 0.01", "-o", "b.gif", "--loop", "--alpha", 0),
        ("fps=80 should be from 0.01 to, for gif, 50", "-o", "b.gif", "--fps", 80),
    ):
        code, out, err = run(*walk, *more)
        assert (code, out) == (2, "")
        assert words in err.splitlines()[-1]
    monkeypatch.setattr("texsyn.synthesis.free_memory", lambda: 2**31)
    code, _, err = run(*walk, "--frames", 100_000, "--size", "100x100", "-o", "b.gif")
    assert (code, len(err.splitlines())) == (4, 1)
    assert "100000 frames of 100x100 need about 5.6 GiB and 2.0 GiB are free" in err
    assert sorted(os.listdir()) == ["a.webp", "m.safetensors", "mask.png", "s.png", "walk"]


def test_the_help_says_the_librarys_defaults(run: Callable[..., tuple[int, str, str]]) -> None:
    said = " ".join(run("animate", "--help")[1].split())
    for value in (Walk().n_frames, Walk().start_scale, Walk().alpha, Walk().beta):
        assert f"[default: {value}]" in said
    said = " ".join(run("edit", "--help")[1].split())
    assert f"[default: {manipulation.HARMONISED} to harmonise, {manipulation.EDITED} to edit]" in said
    assert f"[default: {manipulation.SOFTNESS};" in said
    said = " ".join(run("upscale", "--help")[1].split())
    assert f"[default: {manipulation.CORRECTIONS};" in said


@pytest.mark.parametrize("verb", ["harmonise", "edit"])
def test_harmonise_and_edit(run: Callable[..., tuple[int, str, str]], verb: str) -> None:
    put = (verb, "m.safetensors", "s.png", "--mask", "mask.png", "--seed", 3)
    code, _, err = run(*put, "-o", "a.png", "--scale", 2, "--dilation", 2)
    assert code == 0, err
    model = texsyn.load("m.safetensors")
    assert isinstance(model, Singan)
    found = load("a.png")
    expected = harmonise(model, exemplar(), centre(), scale=2, dilation=2, seed=3)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    recipe = read_recipe("a.png")
    assert recipe is not None
    assert recipe["settings"] == {"scale": 2, "dilation": 2, "softness": 5.0}
    code, _, err = run(*put, "-o", "b.png")
    assert code == 0, err
    usual = getattr(manipulation, verb)(model, exemplar(), centre(), seed=3)
    np.testing.assert_array_equal(load("b.png").pixels, usual.pixels)

    save(load(np.zeros((30, 40), np.uint8)), "black.png")
    save(load(np.zeros((30, 41), np.uint8)), "wide.png")
    save(exemplar(1), "grey.png")
    texsyn.fit("s.png", "gaussian", seed=1).save("g.texsyn")
    there = sorted(os.listdir())
    for code, words, *args in (
        (2, "--scale: scale=5 should be from 1", *put, "--scale", 5),
        (2, "exists", *put[:5], "-o", "a.png"),
        (2, "--softness: nan should be from 0", *put, "--softness", "nan"),
        (3, "mask is black", *put[:3], "--mask", "black.png"),
        (3, "--mask wide.png has 41x30", *put[:3], "--mask", "wide.png"),
        (3, "grey.png: has 1 channels", verb, "m.safetensors", "grey.png", "--mask", "mask.png"),
        (3, "g.texsyn: is a gaussian model", verb, "g.texsyn", *put[2:]),
        (3, "s.png", verb, "s.png", *put[2:]),
        (4, "folder does not exist", *put, "-o", "no/a.png"),
    ):
        found_code, _, err = run(*(args if "-o" in args else (*args, "-o", "c.png")))
        assert (found_code, words in err.splitlines()[-1]) == (code, True), err
    assert sorted(os.listdir()) == there


def test_paint(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = run("paint", "m.safetensors", "s.png", "--seed", 3, "--colours", 5, "-o", "a.png")
    assert code == 0, err
    model = texsyn.load("m.safetensors")
    assert isinstance(model, Singan)
    np.testing.assert_array_equal(load("a.png").pixels, paint(model, exemplar(), colours=5, seed=3).pixels)
    assert run("paint", "m.safetensors", "s.png", "--size", "50x20", "-o", "b.png")[0] == 0
    assert str(load("b.png").size) == "50x20"
    assert "--scale: scale=9 should be" in run("paint", "m.safetensors", "s.png", "--scale", 9, "-o", "c.png")[2]


def test_upscale_trains_its_own_pyramid_or_takes_one(run: Callable[..., tuple[int, str, str]]) -> None:
    quick = ("--steps", 1, "--set", "channels=4", "--set", "max_side=30", "--set", "d_turns=1", "--set", "g_turns=1")
    code, _, err = run("upscale", "s.png", "--factor", 2, "--seed", 3, "-o", "a.png", *quick)
    assert code == 0, err
    assert "s.png: learned from its middle, 30x30 pixels" in err
    assert str(load("a.png").size) == "80x60"
    recipe = read_recipe("a.png")
    assert recipe is not None
    assert (recipe["learned"]["alpha"], recipe["learned"]["min_side"], recipe["fit_seed"]) == (100, 18, 3)
    code, _, err = run("upscale", "s.png", "--factor", 1.5, "--seed", 3, "--model", "m.safetensors", "-o", "b.png")
    assert code == 0, err
    model = texsyn.load("m.safetensors")
    assert isinstance(model, Singan)
    np.testing.assert_array_equal(load("b.png").pixels, upscale(model, exemplar(), 1.5, seed=3).pixels)
    for words, *more in (
        ("--model: is trained already", "--model", "m.safetensors", "--steps", 2),
        ("--factor", "--factor", 1),
        ("--factor: nan should be above 1", "--factor", "nan"),
        ("--set", "--set", "colour=3"),
    ):
        code, _, err = run("upscale", "s.png", "-o", "c.png", *more)
        assert code == 2
        assert words in err.splitlines()[-1]
    save(load(np.full((30, 40, 3), 7, np.uint8)), "flat.png")
    code, _, err = run("upscale", "flat.png", "-o", "c.png")
    assert (code, len(err.splitlines())) == (3, 1)
    assert not Path("c.png").exists()


def test_pictures_of_any_size_and_no_windows(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = run("sample", "m.safetensors", "--size", "61x23", "-n", 4, "--seed", 5, "-o", "{seed}.png")
    assert code == 0, err
    assert [str(load(f"{seed}.png").size) for seed in range(5, 9)] == ["61x23"] * 4
    code, _, err = run("render", "m.safetensors", "--region", "0,0,32,32", "-o", "r.tif")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert "this singan model makes whole pictures only" in err
