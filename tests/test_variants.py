"""Mirrored, turned, scaled and rotated pictures: known answers, undone transforms, vectors that turn along."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from texsyn.images import InputError, Picture, Size, load
from texsyn.variants import (
    IDENTITY,
    MIRROR_X,
    MIRROR_Y,
    SYMMETRIES,
    Element,
    inverse,
    looks_like_normals,
    resampled,
    turned,
    unturned,
)

ALL = SYMMETRIES["all"]


def noise(height: int, width: int, channels: int, dtype: str = "uint8", seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    shape = (height, width, channels)
    pixels = rng.random(shape).astype("f4") if dtype == "float32" else rng.integers(0, np.iinfo(dtype).max, shape)
    return Picture(pixels.astype(dtype), {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(channels, "multi"))


def positions(size: Size) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(size.height), np.arange(size.width), indexing="ij"), -1)


# ------------------------------------------------------------------------------------------ mirrors and quarter turns


def test_the_groups_have_their_elements_and_begin_with_the_identity() -> None:
    orders = {"none": 1, "mirror-x": 2, "mirror-y": 2, "mirrors": 4, "turns": 4, "all": 8}
    assert {name: len(set(elements)) for name, elements in SYMMETRIES.items()} == orders
    p = noise(3, 3, 1)
    for elements in SYMMETRIES.values():
        assert elements[0] == IDENTITY
        pictures = {turned(p, e).pixels.tobytes() for e in elements}
        assert len(pictures) == len(elements)
        for a, b in itertools.product(elements, elements):  # one after the other is an element too
            assert turned(turned(p, a), b).pixels.tobytes() in pictures


@pytest.mark.parametrize(
    ("element", "answer"),
    [
        (IDENTITY, [[1, 2, 3], [4, 5, 6]]),
        (MIRROR_X, [[3, 2, 1], [6, 5, 4]]),
        (MIRROR_Y, [[4, 5, 6], [1, 2, 3]]),
        (Element(2), [[6, 5, 4], [3, 2, 1]]),
        (Element(1), [[3, 6], [2, 5], [1, 4]]),  # counter-clockwise: the right column comes up
        (Element(3), [[4, 1], [5, 2], [6, 3]]),
    ],
)
def test_six_numbers_moved(element: Element, answer: list[list[int]]) -> None:
    p = Picture(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[..., None], "L")
    assert turned(p, element).pixels[..., 0].tolist() == answer


@pytest.mark.parametrize("element", ALL)
@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "uint8"), (2, "uint16"), (3, "float32"), (4, "uint8"), (7, "uint8")]
)
def test_turning_back_restores_the_picture(element: Element, channels: int, dtype: str) -> None:
    p = noise(5, 7, channels, dtype)
    there = turned(p, element)
    assert (there.mode, there.pixels.dtype) == (p.mode, p.pixels.dtype)
    assert turned(there, inverse(element)).sha256 == p.sha256


@pytest.mark.parametrize("element", ALL)
def test_positions_are_traced_back_and_forth(element: Element) -> None:
    p = noise(5, 7, 3)
    there = turned(p, element)
    back = unturned(positions(there.size), element, p.size)
    assert np.array_equal(p.pixels[back[..., 0], back[..., 1]], there.pixels)
    assert np.array_equal(unturned(back, inverse(element), there.size), positions(there.size))
    assert unturned(np.zeros((2, 3, 4, 2), np.int32), element, p.size).dtype == np.int32


@pytest.mark.parametrize("element", ALL)
def test_a_palette_moves_along(element: Element) -> None:
    palette = np.array([[9, 8, 7], [255, 0, 3], [1, 2, 200]], np.uint8)
    indices = np.random.default_rng(1).integers(0, 3, (4, 6), np.uint8)
    p = Picture(palette[indices], "RGB", b"profile", palette, indices, "small", ("a note",))
    there = turned(p, element)
    assert there.palette is palette
    assert (there.icc_profile, there.name, there.notes) == (b"profile", "small", ("a note",))
    assert turned(there, inverse(element)).indices.tolist() == indices.tolist()  # type: ignore[union-attr]
    vectors = turned(p, element, normal=True)  # Picture itself checks palette[indices] == pixels
    direct = turned(Picture(p.pixels, "RGB"), element, normal=True)
    assert vectors.sha256 == direct.sha256


# ------------------------------------------------------------------------------------------------------------- normals


def encoded(vectors: np.ndarray, dtype: str) -> Picture:
    """Unit vectors (h, w, 3) as a normal map: codes, or floats as they stand ("signed") or in [0, 1]."""
    if dtype == "signed":
        return Picture(vectors.astype(np.float32), "RGB", name="n")
    if dtype == "float32":
        return Picture(((vectors + 1) / 2).astype(np.float16).astype(np.float32), "RGB", name="n")
    return Picture(np.floor((vectors + 1) / 2 * np.iinfo(dtype).max + 0.5).astype(dtype), "RGB", name="n")


def vectors_of(picture: Picture, signed: bool = False) -> np.ndarray:
    pixels = picture.pixels[..., :3].astype(np.float64)
    return pixels if signed else 2 * pixels / picture.max_value - 1


def relief(height: int, width: int, y_down: bool = False) -> np.ndarray:
    """The unit normals of a surface of waves that has no symmetry."""
    y, x = positions(Size(height, width))[..., 0], positions(Size(height, width))[..., 1]
    dx = 0.5 * np.cos(0.31 * x + 0.12 * y) + 0.1
    dy = 0.2 * np.cos(0.31 * x + 0.12 * y) - 0.3 * np.sin(0.2 * y)  # downwards, along rows
    n = np.stack([-dx, -dy if y_down else dy, np.ones_like(dx)], -1)
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("element", "y_down", "answer"),
    [
        (Element(1), False, (0.0, 0.6, 0.8)),  # leaning right becomes leaning up
        (Element(3), False, (0.0, -0.6, 0.8)),
        (Element(1), True, (0.0, -0.6, 0.8)),  # up is negative
        (Element(2), False, (-0.6, 0.0, 0.8)),
        (Element(2), True, (-0.6, 0.0, 0.8)),
        (MIRROR_X, False, (-0.6, 0.0, 0.8)),
        (MIRROR_Y, False, (0.6, 0.0, 0.8)),
        (MIRROR_Y, True, (0.6, 0.0, 0.8)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "signed"])
def test_a_tilted_plane_leans_the_other_way(
    element: Element, y_down: bool, answer: tuple[float, float, float], dtype: str
) -> None:
    plane = encoded(np.broadcast_to([0.6, 0.0, 0.8], (3, 4, 3)), dtype)
    there = vectors_of(turned(plane, element, normal=True, y_down=y_down), dtype == "signed")
    tolerance = {"uint8": 1.01 / 255, "uint16": 1.01 / 65535, "float32": 1e-3, "signed": 1e-6}[dtype]  # half a code
    assert np.abs(there - answer).max() <= tolerance


@pytest.mark.parametrize("element", ALL)
@pytest.mark.parametrize("y_down", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "signed"])
def test_vectors_turned_back_are_the_same_bits_and_as_long(element: Element, y_down: bool, dtype: str) -> None:
    n = encoded(relief(9, 11, y_down), dtype)
    there = turned(n, element, normal=True, y_down=y_down)
    assert turned(there, inverse(element), normal=True, y_down=y_down).pixels.tobytes() == n.pixels.tobytes()
    before, after = (np.linalg.norm(vectors_of(p, dtype == "signed"), axis=-1) for p in (n, there))
    assert np.allclose(np.sort(before, None), np.sort(after, None), rtol=0, atol=1e-12)


@pytest.mark.parametrize("element", ALL)
@pytest.mark.parametrize("y_down", [False, True])
def test_turned_normals_are_the_normals_of_the_turned_surface(element: Element, y_down: bool) -> None:
    heights = noise(8, 8, 1, "float32").pixels[..., 0].astype(np.float64)

    def normals(h: np.ndarray) -> np.ndarray:  # of the periodic surface: central differences commute with symmetries
        dx = (np.roll(h, -1, 1) - np.roll(h, 1, 1)) / 2
        dy = (np.roll(h, -1, 0) - np.roll(h, 1, 0)) / 2
        n = np.stack([-dx, -dy if y_down else dy, np.ones_like(h)], -1)
        return n / np.linalg.norm(n, axis=-1, keepdims=True)

    quarter_turns, mirrored = element
    surface = np.rot90(heights[:, ::-1] if mirrored else heights, quarter_turns)
    there = turned(encoded(normals(heights), "signed"), element, normal=True, y_down=y_down)
    assert np.allclose(there.pixels, normals(surface), rtol=0, atol=1e-6)


def test_further_channels_of_a_normal_map_are_left_alone() -> None:
    p = noise(4, 4, 4)
    assert np.array_equal(turned(p, Element(2), normal=True).pixels[..., 2:], p.pixels[::-1, ::-1, 2:])


def test_grey_is_no_normal_map() -> None:
    with pytest.raises(ValueError, match="three channels"):
        turned(noise(4, 4, 1), Element(1), normal=True)
    with pytest.raises(ValueError, match="three channels"):
        resampled(noise(4, 4, 2), scale=2, normal=True)


# -------------------------------------------------------------------------------------------------- scale and rotation


def waves(height: int, width: int, at: np.ndarray | None = None) -> np.ndarray:
    """A smooth surface seen from the picture's centre: (h, w), values 0.1 to 0.9."""
    if at is None:
        at = positions(Size(height, width)) - np.array([(height - 1) / 2, (width - 1) / 2])
    y, x = at[..., 0], at[..., 1]
    return 0.5 + 0.2 * np.sin(0.3 * x + 0.1 * y) + 0.2 * np.cos(0.22 * y - 0.07 * x + 1)


def grey(values: np.ndarray, dtype: str = "float32") -> Picture:
    return Picture((values * (1 if dtype == "float32" else np.iinfo(dtype).max)).astype(dtype)[..., None], "L")


def test_nothing_asked_nothing_changed() -> None:
    p = noise(5, 6, 3)
    out, whole = resampled(p)
    assert out.sha256 == p.sha256
    assert whole.all()


@pytest.mark.parametrize(("degrees", "quarter_turns"), [(90, 1), (180, 2), (270, 3), (-90, 3), (450, 1)])
def test_quarter_turns_are_exact_and_close_to_what_resampling_makes(degrees: int, quarter_turns: int) -> None:
    p = noise(20, 31, 3)
    exact, whole = resampled(p, degrees=degrees)
    assert exact.sha256 == turned(p, Element(quarter_turns)).sha256
    assert whole.all()
    near, whole = resampled(p, degrees=degrees + 1e-8)
    assert near.size == exact.size
    assert whole.any()
    assert np.array_equal(near.pixels[whole], exact.pixels[whole])


@pytest.mark.parametrize(
    ("scale", "degrees"), [(1.0, 30.0), (1.0, -75.0), (1.7, 0.0), (2.0, 45.0), (3.3, 200.0), (0.8, 10.0)]
)
def test_waves_are_where_they_should_be(scale: float, degrees: float) -> None:
    h, w = 90, 70
    out, whole = resampled(grey(waves(h, w)), scale=scale, degrees=degrees)
    at = positions(out.size) - np.array([(out.size.height - 1) / 2, (out.size.width - 1) / 2])
    angle = np.radians(degrees)
    up, right = -at[..., 0], at[..., 1]  # turned back clockwise, in mathematicians' axes
    x, y = right * np.cos(angle) + up * np.sin(angle), up * np.cos(angle) - right * np.sin(angle)
    expected = waves(h, w, np.stack([-y, x], -1) / scale)
    tolerance = 0.01 if scale >= 1 else 0.04  # the smoothing before shrinking takes a little of the waves' height
    assert whole.mean() > 0.2
    assert np.abs(out.pixels[..., 0] - expected)[whole].max() < tolerance


@pytest.mark.parametrize(("slope", "degrees"), [(1, 45), (-1, -45)])
def test_diagonal_stripes_become_horizontal(slope: int, degrees: int) -> None:
    at = positions(Size(80, 80))
    falling = np.sin((at[..., 0] - slope * at[..., 1]) * 0.5)  # for slope 1 along \: 45 degrees clockwise of horizontal
    out, whole = resampled(grey(0.5 + 0.4 * falling), degrees=degrees)
    values = np.where(whole, out.pixels[..., 0], np.nan)
    rows = values[whole.sum(1) > 20]
    assert np.nanmax(np.nanstd(rows, axis=1)) < 0.01
    assert np.nanstd(np.nanmean(rows, axis=1)) > 0.2


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 33.0), (0.5, 0.0), (0.3, 20.0), (2.5, 70.0), (0.0625, 0.0)])
def test_whole_pixels_do_not_know_what_is_outside(scale: float, degrees: float) -> None:
    inner = np.random.default_rng(3).random((96, 84))
    cut, whole = resampled(grey(inner), scale=scale, degrees=degrees)
    for around in range(32, 64):  # until both results have their pixels in the same places
        a, b = (np.pad(inner, around, constant_values=value) for value in (0, 1))
        (a_out, _), (b_out, _) = (resampled(grey(f), scale=scale, degrees=degrees) for f in (a, b))
        top, left = a_out.size.height - cut.size.height, a_out.size.width - cut.size.width
        if top % 2 == left % 2 == 0:
            break
    assert top % 2 == left % 2 == 0
    difference = np.abs(a_out.pixels - b_out.pixels)[top // 2 :, left // 2 :, 0]
    assert whole.any()
    assert difference[: whole.shape[0], : whole.shape[1]][whole].max() < 0.01


def test_sizes_of_the_result() -> None:
    p = noise(30, 40, 1)
    assert resampled(p, scale=2)[0].size == Size(60, 80)
    assert resampled(p, scale=0.5)[0].size == Size(15, 20)
    assert resampled(p, scale=0.1, degrees=90)[0].size == Size(4, 3)
    assert resampled(p, degrees=45)[0].size == Size(50, 50)  # 70 / sqrt(2) = 49.5
    assert resampled(noise(1, 1, 1), scale=1 / 16)[0].size == Size(1, 1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("scale", [0.25, 0.7, 1.0, 3.0])
def test_values_stay_in_range_and_keep_their_mean(dtype: str, scale: float) -> None:
    rng = np.random.default_rng(5)
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    steps = np.where(rng.random((200, 200, 3)) < [0.3, 0.5, 0.8], 0.25, 0.75)
    p = Picture((steps * top).astype(dtype), "RGB")
    out, whole = resampled(p, scale=scale, degrees=25)
    assert out.pixels.dtype == p.pixels.dtype
    for k in range(3):
        assert p.pixels[..., k].min() <= out.pixels[..., k].min()
        assert out.pixels[..., k].max() <= p.pixels[..., k].max()
    grains = np.clip(rng.normal([0.4, 0.5, 0.7], 0.1, (200, 200, 3)), 0, 1)
    p = Picture((grains * top).astype(dtype), "RGB")
    out, whole = resampled(p, scale=scale, degrees=25)
    means = out.pixels[whole].astype(np.float64).mean(0) / top
    assert np.abs(means - p.pixels.astype(np.float64).mean((0, 1)) / top).max() < 0.004  # half the grains, and edges


def test_what_a_smaller_picture_cannot_hold_becomes_grey() -> None:
    board = (positions(Size(64, 64)).sum(-1) % 2).astype(np.float64)
    for scale in (0.5, 0.37, 0.25):
        out, whole = resampled(grey(board), scale=scale)
        assert np.abs(out.pixels[..., 0][whole] - 0.5).max() < 0.02


def test_colour_is_kept_beyond_the_border() -> None:
    out, whole = resampled(Picture(np.full((20, 20, 3), (10, 200, 77), np.uint8), "RGB"), degrees=30, scale=1.5)
    assert not whole.all()
    assert np.unique(out.pixels.reshape(-1, 3), axis=0).tolist() == [[10, 200, 77]]


@pytest.mark.parametrize("scale", [0.4, 1.3])
def test_hidden_colours_do_not_leak(scale: float) -> None:
    pixels = np.zeros((60, 60, 4), np.uint8)
    pixels[...] = (0, 255, 0, 0)  # green that nobody sees
    pixels[15:45, 15:45] = (200, 10, 10, 255)
    out, _ = resampled(Picture(pixels, "RGBA"), scale=scale, degrees=20)
    seen = out.pixels[out.pixels[..., 3] > 2].astype(int)
    assert len(seen) > 100
    assert np.abs(seen[:, :3] - (200, 10, 10)).max() <= 1
    assert out.pixels[..., 3].max() == 255


def test_a_palette_is_given_up_with_a_word() -> None:
    palette = np.array([[0, 0, 0], [255, 255, 0]], np.uint8)
    indices = np.random.default_rng(0).integers(0, 2, (12, 12), np.uint8)
    out, _ = resampled(Picture(palette[indices], "RGB", b"icc", palette, indices), scale=2)
    assert out.palette is None
    assert out.indices is None
    assert out.icc_profile == b"icc"
    assert "palette" in out.notes[-1]


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_every_channel_count_is_resampled(channels: int) -> None:
    p = noise(20, 20, channels, "uint16")
    out, _ = resampled(p, scale=1.5, degrees=12)
    assert (out.mode, out.channels, out.pixels.dtype) == (p.mode, channels, np.uint16)


def test_floats_beyond_one_keep_their_range() -> None:
    p = Picture(noise(30, 30, 3, "float32").pixels * 1e30 - 3e29, "RGB")
    out, _ = resampled(p, degrees=17)
    assert out.pixels.min() >= p.pixels.min()
    assert out.pixels.max() <= p.pixels.max()


@pytest.mark.parametrize("scale", [0, -1, 0.06, 17, float("nan"), float("inf")])
def test_scales_out_of_range_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match=r"scale=.* is not a number from 1/16 to 16"):
        resampled(noise(4, 4, 1), scale=scale)


def test_angles_and_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="degrees"):
        resampled(noise(4, 4, 1), degrees=float("nan"))
    with pytest.raises(InputError, match="more than the accepted"):
        resampled(Picture(np.zeros((1000, 1000, 1), np.uint8), "L"), scale=16)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "signed"])
@pytest.mark.parametrize("y_down", [False, True])
@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 30.0), (0.5, -50.0), (2.0, 160.0)])
def test_rotated_vectors_are_unit_vectors_that_lean_with_the_picture(
    dtype: str, y_down: bool, scale: float, degrees: float
) -> None:
    plane = encoded(np.broadcast_to([0.6, 0.0, 0.8], (40, 40, 3)), dtype)
    out, _ = resampled(plane, scale=scale, degrees=degrees, normal=True, y_down=y_down)
    angle = np.radians(-degrees if y_down else degrees)
    answer = [0.6 * np.cos(angle), 0.6 * np.sin(angle), 0.8]
    there = vectors_of(out, dtype == "signed")
    code = {"uint8": 1 / 255, "uint16": 1 / 65535, "float32": 5e-4, "signed": 1e-6}[dtype]  # 5e-4: made of halves
    assert np.abs(there - answer).max() <= 4 * code
    bumpy, _ = resampled(encoded(relief(50, 50), dtype), scale=scale, degrees=degrees, normal=True)
    lengths = np.linalg.norm(vectors_of(bumpy, dtype == "signed"), axis=-1)
    tolerance = {"uint8": 3**0.5 / 255, "uint16": 3**0.5 / 65535}.get(dtype, 1e-6)
    assert np.abs(lengths - 1).max() <= tolerance


def test_rotated_normals_are_the_normals_of_the_rotated_surface() -> None:
    def normals(h: np.ndarray) -> np.ndarray:
        dy, dx = np.gradient(h)
        n = np.stack([-dx, dy, np.ones_like(h)], -1)
        return n / np.linalg.norm(n, axis=-1, keepdims=True)

    heights = 4 * waves(80, 80)
    there, whole = resampled(encoded(normals(heights), "signed"), degrees=35, normal=True)
    surface, _ = resampled(grey(heights), degrees=35)
    whole[[0, -1]] = whole[:, [0, -1]] = False
    assert np.abs(there.pixels - normals(surface.pixels[..., 0]))[whole].max() < 0.02


# ---------------------------------------------------------------------------------------- which picture is a normal map


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "signed"])
@pytest.mark.parametrize("y_down", [False, True])
def test_normal_maps_are_known_by_their_content(dtype: str, y_down: bool) -> None:
    assert looks_like_normals(encoded(relief(60, 50, y_down), dtype))
    assert looks_like_normals(encoded(np.broadcast_to([0.0, 0.0, 1.0], (8, 8, 3)), dtype))
    n = encoded(relief(60, 50, y_down), dtype)
    hole = np.zeros((60, 50, 1), n.pixels.dtype)
    hole[:30] = 1
    pixels = np.concatenate([n.pixels, hole], -1)
    pixels[30:, :, :3] = 0  # under alpha 0
    assert looks_like_normals(Picture(pixels, "RGBA"))


def test_a_normal_map_turned_or_resampled_is_still_one() -> None:
    n = encoded(relief(60, 50), "uint8")
    assert all(looks_like_normals(turned(n, e, normal=True)) for e in ALL)
    assert looks_like_normals(resampled(n, scale=0.4, degrees=33, normal=True)[0])


@pytest.mark.parametrize("name", ["brick", "grass", "gravel", "astronaut", "coffee", "chelsea"])
def test_photographs_are_no_normal_maps(name: str) -> None:
    try:
        p = load(f"skimage:{name}")
    except InputError:
        pytest.skip("not carried by this scikit-image")
    pixels = np.repeat(p.pixels, 3, 2) if p.channels == 1 else p.pixels[..., :3]
    assert not looks_like_normals(Picture(pixels, "RGB"))


def test_plain_colours_and_noise_are_no_normal_maps() -> None:
    for level in range(256):
        assert not looks_like_normals(Picture(np.full((4, 4, 3), level, np.uint8), "RGB"))
    for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (120, 160, 220), (128, 255, 128)]:
        assert not looks_like_normals(Picture(np.full((4, 4, 3), colour, np.uint8), "RGB"))
    for dtype in ("uint8", "uint16", "float32"):
        assert not looks_like_normals(noise(50, 50, 3, dtype))
        assert not looks_like_normals(noise(50, 50, 1, dtype))
    assert not looks_like_normals(Picture(np.zeros((4, 4, 4), np.uint8), "RGBA"))
