"""Largest verbatim squares against brute force; a limit that always holds, on planted copies and synthesised maps."""

from __future__ import annotations

import numpy as np
import pytest

import texsyn
from texsyn.blocks import Period
from texsyn.copying import SMOOTH, Copy, _cut, largest_copy, limit_copies, piece_areas, repeats, verbatim_share
from texsyn.images import Region, load

W = 5
PERIODS = ((None, None), (60, None), (None, 64), (60, 64))


def scattered(height: int, width: int, side: int, seed: int = 0) -> np.ndarray:
    """A map into an exemplar of side x side without any coherence to speak of."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, side, (height, width, 2)).astype(np.int32)


def plant(source: np.ndarray, top: int, left: int, side: int, at: tuple[int, int]) -> np.ndarray:
    """source with a verbatim square, laid across the edges where it reaches them; its ring is made incoherent."""
    height, width = source.shape[:2]
    for i in range(-1, side + 1):
        for j in range(-1, side + 1):
            inside = 0 <= i < side and 0 <= j < side
            y, x = (top + i) % height, (left + j) % width
            source[y, x] = (at[0] + i, at[1] + j) if inside else (0, (7 * i + 3 * j) % 5)
    return source


def picture(side: int = 96, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Blobs of a few pixels, 8 bits: something to cut through."""
    rng = np.random.default_rng(seed)
    u = rng.random((side, side, channels))
    for axis in (0, 1):
        u = sum(np.roll(u, k, axis) for k in range(-3, 4))
    low, high = u.min(), u.max()
    return ((u - low) / (high - low) * 255).astype(np.uint8)


def mosaic(height: int, width: int, side: int, n: int = 40, seed: int = 0) -> np.ndarray:
    """Rectangles from an exemplar of side x side pixels laid over each other: many pieces, large ones among them."""
    rng = np.random.default_rng(seed)
    source = scattered(height, width, side, seed)
    source[..., 0] = np.clip(source[..., 0], 2, side - 3)
    source[..., 1] = np.clip(source[..., 1], 2, side - 3)
    for _ in range(n):
        h, w = rng.integers(10, 60, 2)
        h, w = min(h, height), min(w, width)
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        oy, ox = rng.integers(2, side - 2 - h + 1), rng.integers(2, side - 2 - w + 1)
        source[y : y + h, x : x + w] = np.stack(np.mgrid[oy : oy + h, ox : ox + w], -1)
    return source


# ---------------------------------------------------------------------------------------------------------- measuring


def brute_force(source: np.ndarray, period: Period) -> int:
    """Side of the largest verbatim square, from the definition."""
    height, width = source.shape[:2]
    y, x = np.mgrid[: 2 * height, : 2 * width]
    offset = source[y % height, x % width] - np.stack([y, x], -1)

    def exists(side: int) -> bool:
        rows = range(height if period[0] else height - side + 1)
        columns = range(width if period[1] else width - side + 1)
        return any((offset[t : t + side, s : s + side] == offset[t, s]).all() for t in rows for s in columns)

    return max(side for side in range(1, min(height, width) + 1) if exists(side))


@pytest.mark.parametrize("period", [(None, None), (9, None), (None, 8), (9, 8)])
@pytest.mark.parametrize("seed", range(6))
def test_largest_copy_is_that_of_the_definition(seed: int, period: Period) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:9, :8]
    shift = rng.integers(0, 9 if seed % 2 else 2, (3, 3, 2)).repeat(3, 0).repeat(3, 1)[:9, :8]
    wrapped = np.stack([(y - seed) % 9, (x - seed) % 8], -1)  # large pieces across the edges
    source = (wrapped + (shift if seed > 2 else 0)).astype(np.int32)
    found = largest_copy(source, period)
    assert found.side == brute_force(source, period)
    rows = (found.region.top + np.arange(found.side)) % 9
    columns = (found.region.left + np.arange(found.side)) % 8
    inside = source[rows][:, columns] - np.stack(np.mgrid[: found.side, : found.side], -1)
    assert (inside == inside[0, 0]).all()


def test_largest_copy_knows_planted_squares() -> None:
    source = plant(scattered(50, 60, 100), 11, 20, 13, (40, 50))
    assert largest_copy(source) == Copy(13, Region(11, 20, 13, 13))
    plant(source, 30, 40, 13, (10, 10))
    assert largest_copy(source) == Copy(13, Region(11, 20, 13, 13)), "of equals the first"
    plant(source, 30, 5, 14, (20, 10))
    assert largest_copy(source) == Copy(14, Region(30, 5, 14, 14))


def test_squares_across_the_edge_count_where_the_picture_wraps() -> None:
    source = plant(scattered(50, 60, 100), 45, 52, 13, (40, 50))
    assert largest_copy(source, (50, 60)) == Copy(13, Region(45, 52, 13, 13))
    assert largest_copy(source, (50, None)).side == 8
    assert largest_copy(source, (None, 60)).side == 8
    assert largest_copy(source).side == 8


def test_the_exemplar_itself_is_one_copy_and_noise_is_none() -> None:
    whole = np.stack(np.mgrid[:30, :20], -1).astype(np.int32)
    assert largest_copy(whole).side == 20
    assert verbatim_share(whole, 20) == 1
    assert largest_copy(whole, (30, 20)).side == 20, "no square is larger than a period"
    noise = np.stack([np.arange(30)[:, None] * -2 + np.zeros(20), np.arange(20) * -2 + np.zeros((30, 1))], -1)
    assert largest_copy(noise.astype(np.int32)).side == 1


def test_verbatim_share_counts_windows() -> None:
    source = plant(scattered(50, 60, 100), 45, 20, 10, (40, 50))
    assert verbatim_share(source, 8, (50, 60)) == 9 / 3000
    assert verbatim_share(source, 5) == (1 * 6 + 1 * 6) / (46 * 56), "halves of 5 x 10 above and below the edge"


def test_pieces_are_connected_also_across_the_edge() -> None:
    source = plant(np.full((50, 60, 2), 7, np.int32), 45, 20, 10, (40, 50))
    largest = np.sort(piece_areas(source))[-2:]
    assert largest.tolist() == [50, 50]
    assert np.sort(piece_areas(source, (50, None)))[-1] == 100
    assert piece_areas(source).sum() == 3000


def test_repeats_counts_pairs_against_chance() -> None:
    source = plant(scattered(60, 60, 100), 5, 5, 15, (40, 50))
    assert repeats(source, exemplar=(100, 100)).share == 0
    plant(source, 35, 35, 15, (40, 50))
    found = repeats(source, exemplar=(100, 100))
    assert found.share == 2 * 15 * 15 / 3600
    assert found.excess == 86 * 86, "two windows, equal; by chance one pair in 86 x 86"
    everywhere = np.stack(np.meshgrid(np.arange(200) % 100, np.arange(200) % 100, indexing="ij"), -1).astype(np.int32)
    assert repeats(everywhere, exemplar=(100, 100)).excess == pytest.approx(1, rel=0.3), "each piece equally often"
    with pytest.raises(ValueError, match="does not fit"):
        repeats(source, 101, exemplar=(100, 100))


# ----------------------------------------------------------------------------------------------------------- breaking


@pytest.mark.parametrize("seed", range(4))
def test_cuts_are_minimal(seed: int) -> None:
    """Against scipy's maximal flow on the same grid, with the cost of the part's own boundary."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    rng, side = np.random.default_rng(seed), 11
    old, new = rng.integers(0, 256, (2, side, side, 2)).astype(np.uint8)
    part = np.empty((side, side), np.bool_)
    cost = _cut(old, new, 3, 5, part)
    a, b = old.astype(int), new.astype(int)
    differs = np.square(a - b).sum(2)
    n, edges, boundary = side * side, {}, 0
    for i in range(side):
        for j in range(side):
            for y, x in ((i + 1, j), (i, j + 1)):
                if max(y, x) < side:
                    busy = min(np.square(u[i, j] - u[y, x]).sum() for u in (a, b))
                    price = 1 + 64 * (differs[i, j] + differs[y, x]) // (2 * SMOOTH + busy)
                    edges[i * side + j, y * side + x] = edges[y * side + x, i * side + j] = price
                    boundary += price * (part[i, j] != part[y, x])
            if part[i, j]:
                assert 0 < i < side - 1
                assert 0 < j < side - 1
            if i in (0, side - 1) or j in (0, side - 1):
                edges[i * side + j, n + 1] = 1 << 30
    corners = {(3, 3), (3, 7), (7, 3), (7, 7)}
    for i, j in {(i, j) for i in range(3, 8) for j in range(3, 8)} - corners:
        assert part[i, j]
        edges[n, i * side + j] = 1 << 30
    rows, columns = zip(*edges, strict=True)
    graph = csr_array((np.array(list(edges.values()), np.int32), (rows, columns)), shape=(n + 2, n + 2))
    assert cost == boundary
    assert cost == maximum_flow(graph, n, n + 1).flow_value


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("limit", [11, 16, 24])
def test_the_limit_holds_on_planted_copies(limit: int, period: Period) -> None:
    codes = picture()
    source = plant(plant(scattered(60, 64, 96), 45, 50, 33, (20, 30)), 22, 22, 14, (50, 4))
    assert largest_copy(source, (60, 64)).side == 33
    made = limit_copies(source, codes, W, limit, period=period)
    assert largest_copy(made, period).side <= limit
    assert made.dtype == np.int32
    assert made.shape == source.shape


@pytest.mark.parametrize("seed", range(5))
def test_the_limit_holds_on_mosaics(seed: int) -> None:
    codes, source = picture(channels=3, seed=seed), mosaic(120, 130, 96, seed=seed)
    for limit in (11, 17, 30):
        assert largest_copy(source).side > limit
        made = limit_copies(source, codes, W, limit, seed=seed)
        assert largest_copy(made).side <= limit
        changed = (made != source).any(2)
        assert 0 < changed.mean() < 0.5
        assert made[changed].min() >= W // 2
        assert made[changed].max() < 96 - W // 2


@pytest.mark.parametrize("name", ["brick", "grass", "gravel"])
@pytest.mark.parametrize("tile", ["none", "xy"])
def test_the_limit_holds_on_synthesised_maps(name: str, tile: str) -> None:
    exemplar = load(f"skimage:{name}:128")
    source = texsyn.synth(exemplar, (128, 160), seed=1, tile=tile, device="cpu").source
    period = (128, 160) if tile == "xy" else (None, None)
    made = limit_copies(source, exemplar.pixels, W, 16, period=period)
    assert largest_copy(source, period).side > 16
    assert largest_copy(made, period).side <= 16
    assert (made != source).any(2).mean() < 0.3


def test_parts_do_it_and_single_pixels_hardly_ever() -> None:
    """Where the exemplar offers room, what changes are pieces of tens of pixels."""
    codes, source = picture(seed=3), mosaic(120, 130, 96, seed=3)
    made = limit_copies(source, codes, W, 24)
    changed = (made != source).any(2)
    assert changed.sum() > 30
    shifted = np.pad(changed, 1)
    alone = changed & ~(shifted[:-2, 1:-1] | shifted[2:, 1:-1] | shifted[1:-1, :-2] | shifted[1:-1, 2:])
    assert not alone.any()


def test_new_sources_are_usable_and_old_ones_stay() -> None:
    codes, source = picture(), mosaic(120, 130, 96)
    usable = np.zeros((96, 96), np.bool_)
    usable[10:60, 50:90] = True
    made = limit_copies(source, codes, W, 16, usable=usable)
    changed = (made != source).any(2)
    assert changed.any()
    assert usable[made[changed][:, 0], made[changed][:, 1]].all()
    assert largest_copy(made).side <= 16


@pytest.mark.parametrize("usable_pixels", [2, 40])
def test_single_pixels_break_what_no_part_fits(usable_pixels: int) -> None:
    codes, source = picture(), np.stack(np.mgrid[:96, :96], -1).astype(np.int32)
    usable = np.zeros((96, 96), np.bool_)
    usable.reshape(-1)[5000 : 5000 + usable_pixels] = True
    made = limit_copies(source, codes, W, 12, usable=usable)
    assert largest_copy(made).side <= 12
    changed = (made != source).any(2)
    assert usable[made[changed][:, 0], made[changed][:, 1]].all()
    assert changed.sum() < 200


def test_what_is_within_the_limit_stays() -> None:
    codes, source = picture(), mosaic(120, 130, 96)
    side = largest_copy(source).side
    before = source.copy()
    assert np.array_equal(limit_copies(source, codes, W, side), source)
    limit_copies(source, codes, W, 12)
    assert np.array_equal(source, before), "the map given is not changed"


def test_far_from_large_copies_nothing_changes() -> None:
    codes, source = picture(), plant(scattered(120, 130, 96), 10, 10, 20, (30, 30))
    made = limit_copies(source, codes, W, 16)
    changed = np.argwhere((made != source).any(2))
    assert len(changed) > 0
    assert changed.min() >= 10 - 16
    assert changed.max() < 30 + 16


def test_the_same_answer_again_and_another_with_another_seed() -> None:
    codes, source = picture(), mosaic(120, 130, 96)
    first = limit_copies(source, codes, W, 12, seed=1)
    assert np.array_equal(first, limit_copies(source, codes, W, 12, seed=1))
    assert np.array_equal(first, limit_copies(np.asfortranarray(source), np.asfortranarray(codes), W, 12, seed=1))
    assert not np.array_equal(first, limit_copies(source, codes, W, 12, seed=2))


def test_a_plain_exemplar_is_no_trouble() -> None:
    """All places look alike; the offsets differ all the same."""
    source = np.stack(np.mgrid[:64, :64], -1).astype(np.int32)
    made = limit_copies(source, np.zeros((64, 64, 1), np.uint8), W, 11)
    assert largest_copy(made).side <= 11


@pytest.mark.parametrize("shape", [(12, 12), (13, 40), (40, 13)])
def test_small_pictures_and_exemplars(shape: tuple[int, int]) -> None:
    codes = picture(16)
    source = np.stack(np.mgrid[: shape[0], : shape[1]], -1) % 16
    for period in ((None, None), shape):
        made = limit_copies(source.astype(np.int32), codes, W, 11, period=period)
        assert largest_copy(made, period).side <= 11


def test_wrong_arguments_are_refused_in_a_sentence() -> None:
    codes, source = picture(), mosaic(40, 44, 96, n=3)
    with pytest.raises(ValueError, match=r"limit=10 should be at least 2 x patch size \+ 1 = 11"):
        limit_copies(source, codes, W, 10)
    with pytest.raises(ValueError, match="at least 2 usable pixels, got 0"):
        limit_copies(source, codes, W, 11, usable=np.zeros((96, 96), np.bool_))
    with pytest.raises(ValueError, match="usable is bool"):
        limit_copies(source, codes, W, 11, usable=np.ones((96, 95), np.bool_))
    with pytest.raises(ValueError, match="outside an exemplar of 40x50"):
        limit_copies(source, codes[:50, :40], W, 11)
    with pytest.raises(ValueError, match="codes are uint8"):
        limit_copies(source, codes[..., 0], W, 11)
    with pytest.raises(ValueError, match="int32"):
        largest_copy(source.astype(np.int64))
    with pytest.raises(ValueError, match="own height, 40"):
        largest_copy(source, (80, None))
    with pytest.raises(ValueError, match="w=41 does not fit"):
        verbatim_share(source, 41)
