"""Makes the contact sheets of README.md's sections for artists, on methods, on networks: inputs, outputs, a failure.

    python docs/make_artist_pictures.py [maps fill numbers mix style variety gotex networks gans styles]

"networks", "gans" and "styles" train, half an hour of one core each, and keep models in docs/networks/ for next time.
All exemplars are formulas or pictures that come with scikit-image: brick, gravel, grass, camera, chelsea (CC0),
text (public domain), and ihc (no known restrictions). The grey ones are tinted by a formula where colour tells more.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import texsyn
from texsyn.datasets import open_dataset
from texsyn.gan.image_model import grid_of
from texsyn.gan.image_training import ImageGan
from texsyn.generation import config_for
from texsyn.images import Size, load
from texsyn.latent_editing import (
    direction_sheet,
    mixing_sheet,
    principal_directions,
    rows_named,
    styles_of,
)
from texsyn.manipulation import harmonise, paint
from texsyn.projection import project

GAP, LINE = 8, 18  # pixels between panels, and of a caption
QUALITY = 85
HOLE = (255, 0, 220)  # where a mask is white
Panel = tuple[str, np.ndarray]  # a caption, and (h, w) or (h, w, 3) in 8 bit
Row = list[Panel]

GREEN, SAND, RED, SLATE = (165, 225, 75), (255, 238, 212), (255, 158, 130), (196, 214, 240)


def tinted(name: str, colour: tuple[int, int, int]) -> np.ndarray:
    """A grey picture with its white in a colour."""
    return np.floor(load(name).pixels / 255 * colour + 0.5).astype(np.uint8)


def made(*args: Any, **more: Any) -> np.ndarray:
    return texsyn.synth(*args, **{"seed": 1, "device": "cpu"} | more).pixels


def sheet(rows: list[Row]) -> Image.Image:
    """Rows of captioned panels, on white."""
    font = ImageFont.load_default(12)
    width = max(sum(p.shape[1] + GAP for _, p in row) for row in rows) - GAP
    heights = [LINE + max(p.shape[0] for _, p in row) for row in rows]
    page = Image.new("RGB", (width, sum(heights) + GAP * (len(rows) - 1)), "white")
    draw, top = ImageDraw.Draw(page), 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for caption, pixels in row:
            draw.text((left, top + 2), caption, fill="black", font=font)
            page.paste(Image.fromarray(pixels.squeeze()).convert("RGB"), (left, top + LINE))
            left += pixels.shape[1] + GAP
        top += height + GAP
    return page


# ------------------------------------------------------------------------------------------------------------- maps


def cobbles(n: int = 160, seed: int = 0) -> dict[str, np.ndarray]:
    """A stack by formula, as in examples/04_maps.py, with scratches that no other map knows of."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:n, :n]
    grid = np.mgrid[-10 : n + 20 : 20, -10 : n + 20 : 20].reshape(2, -1)
    centres = grid + rng.uniform(-6, 6, grid.shape)
    distance = np.hypot(y[..., None] - centres[0], x[..., None] - centres[1])
    near, next_near = np.moveaxis(np.sort(distance, 2)[..., :2], 2, 0)
    height = np.sqrt(np.clip((next_near - near) / 12, 0, 1))
    slope_y, slope_x = np.gradient(6 * height)
    normal = np.stack([-slope_x, slope_y, np.ones((n, n))], 2)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    tone = rng.uniform(0.55, 1, grid.shape[1])[distance.argmin(2)] * height
    moss = (1 - height)[..., None] ** 2 * np.array([0.20, 0.34, 0.08])
    albedo = (0.22 + 0.6 * tone)[..., None] * [1.0, 0.9, 0.78] * (1 - (1 - height)[..., None] ** 2) + moss
    scratches = sum(np.exp(-(((y - a - b * x) / 1.2) ** 2)) for a, b in ((20, 0.5), (150, -0.7), (70, 0.15)))
    return {
        "albedo": (255 * albedo).astype(np.uint8),
        "normal": (65535 * (normal / 2 + 0.5) + 0.5).astype(np.uint16),
        "roughness": (255 * (0.9 - 0.6 * height)).astype(np.uint8),
        "scratches": (255 * np.clip(scratches, 0, 1)).astype(np.uint8),
    }


def lit(stack: dict[str, np.ndarray]) -> np.ndarray:
    """What a light from the upper left makes of the maps: diffuse and, where roughness is low, a highlight."""
    normal = stack["normal"] / 65535 * 2 - 1
    light, half = np.array([-0.6, 0.6, 0.53]), np.array([-0.34, 0.34, 0.87])
    diffuse = np.clip(normal @ light, 0, 1)[..., None] * stack["albedo"] / 255
    gloss = 1 - stack["roughness"].squeeze() / 255
    highlight = gloss * np.clip(normal @ half, 0, 1) ** 24
    return (255 * np.clip(1.5 * diffuse + 0.35 * highlight[..., None], 0, 1)).astype(np.uint8)


def maps() -> Iterator[Row]:
    stack = cobbles()
    result = texsyn.synth(maps=stack, size="172x300", seed=1, weights={"scratches": 0}, device="cpu")
    for where, one in (("in", stack), ("out", {k: p.pixels for k, p in result.maps.items()})):
        shown = {k: v if v.dtype == np.uint8 else (v >> 8).astype(np.uint8) for k, v in one.items()}
        text = {"in": "scratches, weight 0", "out": "scratches: cut to pieces"}[where]
        row = [(f"{where}: {k}", shown[k]) for k in ("albedo", "normal", "roughness")]
        yield [*row, (f"{where}, lit", lit(one)), (text, shown["scratches"])]


# ------------------------------------------------------------------------------------------------------------- fill


def disc(shape: tuple[int, ...], *circles: tuple[int, int, int]) -> np.ndarray:
    """White in circles (row, column, radius)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.any([np.hypot(y - a, x - b) < r for a, b, r in circles], 0)


def fill() -> Iterator[Row]:
    wall = tinted("skimage:brick:288", RED)
    hole = disc(wall.shape, (80, 70, 36), (185, 190, 56))
    gravel = tinted("skimage:gravel:288", SAND)
    yield [
        ("in: bricks, the mask shown in pink", np.where(hole[..., None], HOLE, wall).astype(np.uint8)),
        ("out: --mask", made(wall, mask=hole)),
        ("out: --mask --source gravel.png", made(wall, mask=hole, source=gravel)),
    ]
    cat = load("skimage:chelsea").pixels[:290, 6:446]
    cheek = (235, 90, 26)
    hole = disc(cat.shape, (40, 150, 24), (128, 310, 36), cheek)
    alone, far = disc(cat.shape, cheek), ~disc(cat.shape, (235, 90, 75))
    out, again = made(cat, mask=hole), made(cat, mask=alone, exclude=far)
    near = [u[201:269, 35:145].repeat(2, 0).repeat(2, 1) for u in (out, again)]
    yield [
        ("in: a cat, three holes", np.where(hole[..., None], HOLE, cat).astype(np.uint8)[:, 16:346]),
        ("out: the eye and the cheek are wrong", out[:, 16:346]),
        (
            "cheek; below: --exclude all that is far",
            np.concatenate([near[0], np.full((18, 220, 3), 255, np.uint8), near[1]]),
        ),
    ]


# ---------------------------------------------------------------------------------------------------------- numbers


def numbers() -> Iterator[Row]:
    y, x = np.mgrid[:192, :192]
    path = np.abs(x - 96 - 18 * np.sin(y / 20)) < 40
    garden = np.where(path[..., None], tinted("skimage:gravel:192", SAND), tinted("skimage:grass:192", GREEN))
    brush = np.array([[60, 150, 50], [214, 196, 160]], np.uint8)
    y, x = np.mgrid[:260, :244]
    angle = np.arctan2(y - 110, x - 125)
    loop = np.abs(np.hypot(y - 110, x - 125) - 70 - 8 * np.sin(3 * angle)) < 22
    loop |= (np.abs(x - 112 - 20 * np.sin(y / 36)) < 24) & (y > 180)
    square = np.zeros((120, 192), bool)
    square[30:90, 66:126] = True
    guides = [brush[labels.astype(int)] for labels in (path, loop, square)]
    as_loop, as_square = (made(garden, guide_in=guides[0], guide_out=wanted) for wanted in guides[1:])
    names = ("in: grass and gravel", "--guide-in", "--guide-out", "out")
    yield list(zip(names, (garden, *guides[:2], as_loop), strict=True))
    near = as_square[10:110, 46:166].repeat(2, 0).repeat(2, 1)
    yield [("--guide-out: straight", guides[2]), ("out: its border frays", as_square), ("the same, enlarged", near)]

    y, x = np.mgrid[:140, :192]
    wet = np.clip((x - 32) / 128, 0, 1)
    gravel = (tinted("skimage:gravel:192", SAND)[:140] * (1 - wet[..., None] * [0.62, 0.55, 0.45])).astype(np.uint8)
    y, x = np.mgrid[:140, :244]
    puddles = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / r**2) for a, b, r in ((75, 85, 55), (55, 200, 28)))
    values = [(255 * np.clip(v, 0, 1)).astype(np.uint8) for v in (wet, puddles)]
    out = made(gravel, guide_in=values[0], guide_out=values[1], guide_kind="values", guide_weight=2)
    names = ("in: gravel, wet to the right", "--guide-in", "--guide-out", "out: --guide-kind values")
    yield list(zip(names, (gravel, *values, out), strict=True))


# -------------------------------------------------------------------------------------------------------------- mix


def mix() -> Iterator[Row]:
    gravel, grass = tinted("skimage:gravel:160", SAND), tinted("skimage:grass:160", GREEN)
    halves, most = (made([gravel, grass], "280x200", mix=(share, 1 - share)) for share in (0.5, 0.8))
    yield [("in: gravel", gravel), ("in: grass", grass), ("out: --mix 0.5,0.5", halves), ("--mix 0.8,0.2", most)]
    ramp = np.tile(np.linspace(255, 0, 296).astype(np.uint8), (160, 1))
    hard = np.repeat(np.repeat([[255, 0], [0, 255]], 80, 0), 148, 1).astype(np.uint8)
    yield [
        ("--mix-map", ramp),
        ("out", made([gravel, grass], mix_map=ramp)),
        (
            "out: bricks and gravel in quarters: a hard line",
            made([tinted("skimage:brick:160", RED), gravel], mix_map=hard),
        ),
    ]
    names = {0.0: "--morph 0", 0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1"}
    yield [(name, made([gravel, grass], "173x173", morph=t)) for t, name in names.items()]


# ------------------------------------------------------------------------------------------------------------ style


def style() -> Iterator[Row]:
    target = load("skimage:camera:512").pixels[40:340, 110:328]
    grass, gravel = tinted("skimage:grass:176", GREEN), tinted("skimage:gravel:176", SAND)
    strengths = (0.15, 0.3, 1.0)
    follow = [(f"out: --strength {s}", made(gravel, target=target, strength=s)) for s in strengths]
    yield [("--target", target), *follow]
    text = load("skimage:text").pixels[:, :260]
    lost = made(grass, target=text, strength=0.3)
    yield [
        ("in: gravel", gravel),
        ("in: grass", grass),
        ("--target", text),
        ("out: --strength 0.3, hard to read", lost),
    ]


# ---------------------------------------------------------------------------------------------------------- variety


def variety() -> Iterator[Row]:
    grass, brick = tinted("skimage:grass:144", GREEN), tinted("skimage:brick:144", RED)
    yield [("in", grass)] + [(f"out: -n 3, picture {i + 1}", made(grass, "240x200", seed=i)) for i in range(3)]
    free = texsyn.synth(brick, "240x200", seed=2, device="cpu")
    held = texsyn.synth(brick, "240x200", seed=2, device="cpu", copy_limit=12)
    yield [
        ("in", brick),
        ("out: --scale 0.6 --rotate 30", made(brick, "240x200", scale=0.6, rotate=30)),
        (f"out: largest copy {free.recipe['largest_copy']} pixels", free.pixels),
        (f"--copy-limit 12: largest copy {held.recipe['largest_copy']}", held.pixels),
    ]
    text = load("skimage:text").pixels[:, 100:300]
    yield [
        ("in: handwriting", text),
        ("out", made(text, "240x200")),
        ("out: --symmetry mirror-x", made(text, "240x200", symmetry="mirror-x")),
        ("out: grass, --symmetry all", made(grass, "184x200", symmetry="all")),
    ]


# ------------------------------------------------------------------------------------------------------------ gotex


def gotex() -> Iterator[Row]:
    """Blended pictures: larger, between two, fading, drawn, filled; and writing, which no patch law can spell."""
    brick, gravel = tinted("skimage:brick:128", RED), tinted("skimage:gravel:128", SAND)
    how: dict[str, Any] = {"method": "gotex"}
    yield [
        panel
        for one in (brick, gravel)
        for panel in (("in", one), ("out", made(one, "240x160", **how)))
    ]  # fmt: skip
    ramp = np.tile(np.linspace(255, 0, 384).astype(np.uint8), (160, 1))
    yield [
        ("--mix-map: from white to black", made([brick, gravel], mix_map=ramp, **how)),
        ("--morph 0.5", made([brick, gravel], "190x160", morph=0.5, **how)),
        ("--symmetry turns", made(brick, "190x160", symmetry="turns", **how)),
    ]
    camera = load("skimage:camera").pixels[::2, ::2][10:186, 30:206]
    text = load("skimage:text").pixels[:, 100:260]
    yield [
        ("--target", camera),
        ("gravel, --strength 0.5", made(gravel, target=camera, strength=0.5, **how)),
        ("in: handwriting", text),
        ("out: no letters", made(text, "220x176", **how)),
    ]


# --------------------------------------------------------------------------------------------------------- networks


def learned(method: str, exemplar: str, **settings: Any) -> Any:
    """The model that `texsyn train EXEMPLAR --method METHOD --seed 0` makes."""
    path = Path(__file__).with_name("networks") / f"{method}_{exemplar.split(':')[1]}.safetensors"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        texsyn.fit(exemplar, method, seed=0, device="cpu", **settings).save(path)
    return texsyn.load(path)


def networks() -> Iterator[Row]:
    """What networks learn, one look passing into another, what singan does to pictures; and bricks that melt."""

    def drawn(model: Any, width: int, *, tile: str = "none") -> np.ndarray:
        pixels: np.ndarray = model.synthesise(Size(176, width), seed=1, tile=tile).pixels
        return pixels

    grass, gravel, brick = (f"skimage:{name}" for name in ("grass", "gravel", "brick"))
    yield [
        ("in: a part of 512x512", load(grass).pixels[:176, :176]), ("sgan", drawn(learned("sgan", grass), 240)),
        ("in: a part", load(gravel).pixels[:176, :176]),
        ("sgan, a tile twice", np.tile(drawn(learned("sgan", gravel), 128, tile="x"), (1, 2, 1))),
    ]  # fmt: skip
    looks, stones = learned("psgan", gravel), learned("singan", f"{gravel}:256")
    yield [
        ("psgan, --morph 3,7", drawn(looks.morphed([3, 7], Size(176, 480)), 480)),
        ("singan, of 128x128", drawn(stones, 240)),
        ("sgan: bricks melt", drawn(learned("sgan", brick), 128)),
    ]
    tissue = learned("singan", "skimage:ihc:256", endless=False)
    scene = tissue.to_pixels(tissue.reals()[-1])
    pasted, mask = scene.copy(), disc(scene.shape[:2], (64, 64, 24))
    pasted[40:88, 40:88] = np.floor(0.8 * scene[80:128, 80:128][::-1] + 10).astype(np.uint8)
    pasted[~mask] = scene[~mask]
    y, x = np.mgrid[:128, :192]
    stripe = np.abs(y - 64 - 20 * np.sin(x / 20)) < 24
    sketch = np.where(stripe[..., None], (225, 215, 222), (165, 120, 75)).astype(np.uint8)
    yield [
        ("in", scene), ("singan", tissue.synthesise(Size(128, 200), seed=1).pixels), ("pasted", pasted),
        ("harmonise", harmonise(tissue, load(pasted), mask).pixels),
        ("sketch", sketch), ("paint, --colours 5", paint(tissue, load(sketch), scale=2, colours=5).pixels),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- gans


def trained(name: str, data: Any, arch: str, **more: Any) -> Any:
    """The model that `texsyn train DATA --arch ARCH --seed 0` makes."""
    path = Path(__file__).with_name("networks") / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        texsyn.train_gan(data, arch, seed=0, **more).save(path)
    return texsyn.load(path)


def gans() -> Iterator[Row]:
    """What GANs learn of digits, of crops of gravel, of two domains, of points; and one that loses modes."""

    def real(spec: str, n: int, **more: Any) -> np.ndarray:
        data = open_dataset(spec, **more)
        return grid_of(data.batch(torch.arange(0, data.n, data.n // n)[:n]) / 2 + 0.5, 6).pixels

    def drawn(model: Any, n: int = 36, n_columns: int = 6) -> np.ndarray:
        return grid_of(model.sample(n, seed=0), n_columns, model.about.domains).pixels

    def plane(loss: str, **more: Any) -> np.ndarray:
        data = open_dataset("gaussians8")
        gan = ImageGan(config_for(data, "mlp", loss=loss, settings=more), data, seed=0)
        for step in range(gan.config.steps):
            gan.step(step)
        return np.asarray(Image.fromarray(gan.sample().pixels).resize((197, 197), Image.Resampling.LANCZOS))

    yield [
        ("data: digits, 8x8", real("digits", 36)),
        ("mlp --loss wgan-gp", drawn(trained("mlp", "digits", "mlp", loss="wgan-gp", steps=2000))),
        ("dcgan --loss wgan-gp", drawn(trained("dcgan", "digits", "dcgan", loss="wgan-gp", steps=2000))),
        ("biggan, by class", trained("biggan", "digits", "biggan", steps=4000).shown(n_columns=6).pixels[:197]),
    ]  # fmt: skip
    crops = "crops:skimage:gravel"
    stones = trained("gravel", crops, "dcgan", resolution=32, steps=3000)
    grown = trained("progan", "digits", "progan", resolution=16, steps=3500, growth=20_000)
    twins = trained("cogan", "digits+negative:digits", "cogan", steps=6000)
    yield [
        ("data: crops of gravel, 32x32", real(crops, 36, resolution=32)), ("dcgan", drawn(stones)),
        ("progan, digits at 16x16", drawn(grown)), ("cogan: digits, their negatives", drawn(twins, 18, 3)),
    ]  # fmt: skip
    lost = {"optimiser": "sgd", "rate": 0.1, "critic_rate": 0.1, "beta1": 0.0, "decay": False, "images": 192_000}
    yield [
        ("eight Gaussians: r1", plane("r1")), ("wgan-gp", plane("wgan-gp")),
        ("semi-discrete", plane("semi-discrete")), ("by SGD: modes lost", plane("non-saturating", **lost)),
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- styles


def styles() -> Iterator[Row]:
    """StyleGAN2 on digits, edited; and on crops of gravel, from which it makes tiles of any size."""
    model = trained("styled", "digits", "stylegan2", resolution=16, steps=4000)
    columns, rows = styles_of(model, [3, 7, 12, 30]), styles_of(model, [20, 21, 22, 23])
    mixture = mixing_sheet(model, columns, rows, rows_named(model, "coarse"))
    ways = direction_sheet(model, styles_of(model, [9])[0], principal_directions(model, 5), [-3, -1.5, 0, 1.5, 3])
    digits = open_dataset("digits", resolution=16, enlarge=True)
    wanted = digits.batch(torch.tensor([11, 300, 702, 1404, 1500])) / 2 + 0.5
    found = [[project(model, one, space=space, steps=300).picture for one in wanted] for space in ("w", "w+")]
    rebuilt = torch.cat([wanted, *(torch.stack(one) for one in found)])
    yield [
        ("stylegan2, digits at 16x16", grid_of(model.sample(25, seed=0), 5).pixels),
        ("mix: columns are coarse", grid_of(mixture, 5).pixels),
        ("directions: a row each", grid_of(ways, 5).pixels),
        ("digits; project in w; in w+", grid_of(rebuilt, 5).pixels),
    ]
    stones = load("skimage:gravel").pixels.reshape(256, 2, 256, 2).mean((1, 3))
    with tempfile.TemporaryDirectory() as scratch:
        path = f"{scratch}/gravel.png"
        Image.fromarray(np.floor(stones + 0.5).astype(np.uint8)).save(path)
        crops = open_dataset(f"crops:{path}", resolution=32)
    real = crops.batch(torch.arange(0, crops.n, crops.n // 15)[:15]) / 2 + 0.5
    for name, more in (("repeated", {}), ("stationary", {"stationary": True})):
        tiles = trained(name, crops, "stylegan2", steps=3000, periodic=True, **more)
        made = tiles.sample(2, seed=1, size=Size(96, 192))
        large = [tiles.picture(one).pixels for one in made]
        yield [
            ("crops of gravel, 32x32", grid_of(real, 5).pixels),
            (f"stylegan2, periodic{', stationary' if more else ''}", grid_of(tiles.sample(15, seed=0), 5).pixels),
            ("one seed as 192x96: it tiles", large[0]), ("another one", large[1]),
        ]  # fmt: skip


SHEETS: dict[str, Callable[[], Iterator[Row]]] = {
    f.__name__: f for f in (maps, fill, numbers, mix, style, variety, gotex, networks, gans, styles)
}
if __name__ == "__main__":
    for name in sys.argv[1:] or SHEETS:
        path = Path(__file__).with_name(f"{name}.webp")
        sheet(list(SHEETS[name]())).save(path, quality=QUALITY, method=6)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
