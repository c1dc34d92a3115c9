"""Noise by address, pyramids, patches and coordinate maps: the ground floor under every model."""

from __future__ import annotations

import hashlib
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from texsyn import noise
from texsyn.coordinates import (
    _correct_torch,
    _vote_torch,
    children,
    correct,
    middle,
    take,
    vote,
    wrap,
)
from texsyn.images import Region, Size
from texsyn.noise import UNIT, NoiseField
from texsyn.patches import aggregate, extract, windows
from texsyn.pyramid import coarser, down, level_size, n_levels_for, pad, pyramid

# ---------------------------------------------------------------------------------------------------------- noise

SIGMAS = 5  # statistical bounds, in standard errors: a fair sample breaks one in two million of them

FIELDS = [  # addresses that a weak hash would confuse: neighbours, swapped parts, parts that differ in one high bit
    NoiseField(0, 0, 0),
    NoiseField(1, 0, 0),
    NoiseField(0, 1, 0),
    NoiseField(0, 0, 1),
    NoiseField(-1, 0, 0),
    NoiseField(0, -1, 0),
    NoiseField(0, 1, 1),
    NoiseField(1, 2, 3),
    NoiseField(3, 2, 1),
    NoiseField(2**32, 0, 0),
    NoiseField(2**63, 0, 0),
    NoiseField(2**63 - 1, 0, 0),
]


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    return NoiseField(11).normal(Region(-300, 5000, 1024, 1024)).astype(np.float64)


def test_noise_has_the_moments_of_a_standard_gaussian(plane: np.ndarray) -> None:
    # variance of x^k under a Gaussian: 1, 2, 15, 96; stopping at 4.3 takes 0.0008 from the fourth moment
    for k, (mean, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3 - 0.0008, 96)], start=1):
        bound = SIGMAS * math.sqrt(variance / plane.size)
        assert np.mean(plane**k) == pytest.approx(mean, abs=bound), f"moment {k}"
    assert 4.2 < np.abs(plane).max() < 4.33
    assert (plane * UNIT == np.round(plane * UNIT)).all()


def test_noise_follows_the_gaussian_law(plane: np.ndarray) -> None:
    distance = stats.kstest(plane.ravel(), "norm").statistic
    assert distance < 1.95 / math.sqrt(plane.size)  # Kolmogorov's 0.1 % bound
    assert distance > 0


def test_noise_does_not_know_its_neighbours(plane: np.ndarray) -> None:
    lags = [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, 1), (0, 16), (16, 0), (0, 256), (256, 0), (7, -64)]
    for of_noise in (lambda z: z, lambda z: (z * z - 1) / math.sqrt(2), np.sign):
        values = of_noise(plane)
        for dy, dx in lags:
            a = values[dy:, max(dx, 0) : values.shape[1] + min(dx, 0)]
            b = values[: len(values) - dy, max(-dx, 0) : values.shape[1] - max(dx, 0)]
            assert abs(np.mean(a * b)) < SIGMAS / math.sqrt(a.size), (dy, dx)


def test_fields_do_not_know_each_other() -> None:
    region = Region(-128, -128, 256, 256)  # symmetric about its corner pixel, so that signs and axes may be swapped
    planes = [field.normal(region) for field in FIELDS]
    planes += [planes[0].T, planes[0][::-1], planes[0][:, ::-1], planes[0][::-1, ::-1]]
    # a picture has as many fixed points as its side under a flip or a transposition: 256 of 65536, far below the bound
    correlation = np.corrcoef([p.ravel() for p in planes]) - np.eye(len(planes))
    assert np.abs(correlation).max() < SIGMAS / math.sqrt(region.height * region.width)


@pytest.mark.parametrize("corner", [(0, 0), (-(2**40), 2**40)])
def test_the_power_spectrum_is_flat(corner: tuple[int, int]) -> None:
    n = 512
    values = NoiseField(3, 1, 2).normal(Region(*corner, n, n)).astype(np.float64)
    power = np.abs(np.fft.fft2(values)) ** 2 / n**2
    assert power.max() < math.log(n * n) + 14  # exponential with mean 1: exceeded once in a million fields
    # a lattice would show as a line of the spectrum; a line's mean has at most sqrt(2 / n) of standard error
    for axis in (0, 1):
        assert np.abs(power.mean(axis) - 1).max() < (SIGMAS + 1) * math.sqrt(2 / n)


def test_all_64_bits_are_fair_coins() -> None:
    bits = NoiseField(5).bits(Region(0, 0, 512, 512))
    for k in range(64):
        share = np.mean((bits >> np.uint64(k)) & np.uint64(1))
        assert share == pytest.approx(0.5, abs=SIGMAS * 0.5 / 512), f"bit {k}"


@pytest.mark.parametrize(
    "corner", [(0, 0), (-5, -3), (2**40, -(2**40) - 3), (-(2**62), 2**62), (2**31 - 4, -(2**31) - 4)]
)
def test_windows_of_the_noise_are_crops(corner: tuple[int, int]) -> None:
    field = NoiseField(seed=9, level=2, channel=1)
    top, left = corner
    whole = Region(top, left, 13, 11)
    for dy, dx, h, w in [(0, 0, 13, 11), (0, 0, 1, 1), (12, 10, 1, 1), (3, 4, 5, 6), (0, 7, 13, 1), (6, 0, 2, 11)]:
        part = Region(top + dy, left + dx, h, w)
        for ask in (field.bits, field.integers, field.normal):
            assert np.array_equal(ask(part), ask(whole)[dy : dy + h, dx : dx + w])
    assert (field.normal(whole) == field.integers(whole) / np.float32(UNIT)).all()


def test_the_noise_never_changes() -> None:
    """Every picture ever made hangs on these numbers: if this fails, seeds no longer mean what they meant."""
    first = Region(0, 0, 2, 6)
    assert NoiseField(0).integers(first).tolist() == [
        [-294, 2445, -2112, -2041, 6167, -10517],
        [3186, -3561, -4189, -1479, 2880, 4408],
    ]
    assert NoiseField(0).bits(Region(0, 0, 1, 3)).tolist() == [
        [8695987549771912286, 13369316111306796529, 5589933395720163174]
    ]
    assert NoiseField(-5, 3, 2).integers(Region(-3, 2**40, 2, 4)).tolist() == [
        [-3836, -3945, -2561, -132],
        [-1221, -1529, 1830, 922],
    ]
    assert NoiseField(2**63 + 11, 7, 0).integers(Region(-(2**40) - 1, -2, 3, 2)).tolist() == [
        [7427, -191],
        [8048, -1366],
        [-3533, 4279],
    ]
    table = noise._quantiles()
    assert table.dtype == np.int16
    assert (table == -table[::-1]).all()
    assert hashlib.sha256(table.astype("<i2").tobytes()).hexdigest() == (
        "4dc7f1c7279a52642a4d867161353210d79e16ea7a268ea71e2e4e1c80a36d56"
    )


def test_seeds_may_be_any_integer() -> None:
    region = Region(0, 0, 4, 4)
    seeds = [0, 1, -1, -2, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 3, -(2**63) + 7]
    drawn = {NoiseField(seed).integers(region).tobytes() for seed in seeds}
    assert len(drawn) == len(seeds)
    for seed in (5, -7):  # modulo 2^64, as documented
        assert np.array_equal(NoiseField(seed).bits(region), NoiseField(seed + 2**64).bits(region))
    for kind in (np.int64, np.uint8):
        assert np.array_equal(NoiseField(kind(5), kind(1)).bits(region), NoiseField(5, 1).bits(region))
    with pytest.raises(TypeError):
        NoiseField(1.5).bits(region)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------- pyramids


def codes(*shape: int, seed: int = 0, top: int = 256) -> Tensor:
    return torch.from_numpy(rng(seed, *shape).integers(0, top, shape, dtype=np.uint8))


def mirrored(i: int, n: int) -> int:
    """Walk i steps from pixel 0, turning round at the border pixels."""
    at, step = 0, 1
    for _ in range(abs(i)):
        if not 0 <= at + step < n:
            step = -step
        at += step if n > 1 else 0
    return at


def test_the_shape_rule() -> None:
    for h, w in itertools.product(range(1, 10), range(1, 10)):
        assert down(torch.zeros(2, h, w)).shape == (2, math.ceil(h / 2), math.ceil(w / 2))
        levels = pyramid(torch.zeros(1, h, w), 4)
        assert [tuple(u.shape[1:]) for u in levels] == [
            (size.height, size.width) for size in (level_size(Size(h, w), k) for k in range(4))
        ]
        assert level_size(level_size(Size(h, w), 1), 2) == level_size(Size(h, w), 3)


def test_down_is_the_binomial_blur_with_mirrored_borders() -> None:
    weights = {-2: 1, -1: 4, 0: 6, 1: 4, 2: 1}
    for h, w in [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 5), (4, 4), (7, 6)]:
        u = codes(2, h, w).double()
        got = down(u)
        for c, y, x in itertools.product(range(2), range(got.shape[1]), range(got.shape[2])):
            expected = sum(
                a * b * u[c, mirrored(2 * y + dy, h), mirrored(2 * x + dx, w)].item()
                for (dy, a), (dx, b) in itertools.product(weights.items(), weights.items())
            )
            assert got[c, y, x].item() == expected / 256, (h, w, y, x)


def test_down_keeps_constants() -> None:
    for value in (0.0, 1.0, 37.0, 255.0):
        for h, w in [(1, 1), (2, 5), (8, 9)]:
            assert (down(torch.full((1, h, w), value)) == value).all()


def test_down_keeps_the_mean_away_from_borders() -> None:
    u = torch.zeros(1, 20, 21)
    u[:, 4:15, 5:16] = codes(11, 11).float()
    assert down(u).sum().item() == u.sum().item() / 4


def test_down_commutes_with_mirroring_an_odd_picture() -> None:
    u = codes(3, 9, 13).float()
    assert torch.equal(down(u.flip(1, 2)), down(u).flip(1, 2))
    assert torch.equal(down(u.transpose(1, 2)), down(u).transpose(1, 2))


def test_down_does_not_alias() -> None:
    y, x = torch.meshgrid(torch.arange(32), torch.arange(33), indexing="ij")
    for finest in (y + x, y, x):  # checkerboard and both stripes alternate from pixel to pixel: nothing may be left
        assert (down((255.0 * (finest % 2))[None]) == 127.5).all()
    for period in (3, 4, 8):  # gain cos(pi f)^4: 1 at frequency 0, 1/16 at 1/3, 1/4 at 1/4 where aliasing begins
        wave = torch.cos(2 * math.pi * x.double() / period)[None]
        gain = math.cos(math.pi / period) ** 4
        assert torch.allclose(down(wave)[:, :, 1:-1], gain * wave[:, ::2, 2:-2:2], atol=1e-12)


def test_coarser_covers_and_nothing_less_would() -> None:
    for top, h in itertools.product(range(-5, 6), range(1, 6)):
        got = coarser(Region(top, 3, h, 4))
        parents = {y // 2 for y in range(top, top + h)}
        assert (got.top, got.bottom) == (min(parents), max(parents) + 1)
        assert coarser(Region(3, top, 4, h)) == Region(got.left, got.top, got.width, got.height)
        assert coarser(Region(top + 2**41, 3, h, 4)).top == got.top + 2**40
    for h, w in [(1, 1), (5, 8), (8, 7)]:
        whole = coarser(Region(0, 0, h, w))
        assert whole.size == level_size(Size(h, w), 1)
        assert (whole.top, whole.left) == (0, 0)


def test_n_levels_brings_the_shorter_side_near_the_coarsest() -> None:
    found = [n_levels_for(Size(side, 3 * side)) for side in range(1, 1200)]
    assert found == sorted(found)
    assert found[:22] == [1] * 22
    for side, n in enumerate(found, start=1):
        assert n == n_levels_for(Size(5 * side, side))
        if side >= 12:
            assert 16 / math.sqrt(2) - 1e-9 <= side / 2 ** (n - 1) <= 16 * math.sqrt(2) + 1e-9
            assert n_levels_for(Size(2 * side, 2 * side)) == n + 1
    assert n_levels_for(Size(64, 64), 8) == 4


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 4), (3, 2, 3), (1, 5, 4)])
@pytest.mark.parametrize("radius", [0, 1, 3, 11])
def test_pad_wraps_or_mirrors_any_distance(shape: tuple[int, int, int], radius: int) -> None:
    u = codes(*shape)
    _, h, w = shape
    for periodic in (True, False):
        got = pad(u, radius, periodic=periodic)
        assert got.shape == (shape[0], h + 2 * radius, w + 2 * radius)
        assert got.dtype == u.dtype
        for y, x in itertools.product(range(-radius, h + radius), range(-radius, w + radius)):
            at = (y % h, x % w) if periodic else (mirrored(y, h), mirrored(x, w))
            assert torch.equal(got[:, y + radius, x + radius], u[:, at[0], at[1]]), (periodic, y, x)


# --------------------------------------------------------------------------------------------------------- patches


def test_patches_are_rows_in_reading_order() -> None:
    u = codes(3, 6, 7)
    w = 3
    got = extract(u, w)
    assert got.shape == (4 * 5, 3 * w * w)
    for y, x, c, i, j in itertools.product(range(4), range(5), range(3), range(w), range(w)):
        assert got[y * 5 + x, c * w * w + i * w + j] == u[c, y + i, x + j]


@pytest.mark.parametrize("w", [1, 2, 3, 4, 5, 9])
def test_periodic_patches_have_their_position_in_the_middle(w: int) -> None:
    u = codes(2, 4, 5)
    for stride in (1, 2, 3):
        got = extract(u, w, periodic=True, stride=stride).view(-(-4 // stride), -(-5 // stride), 2, w, w)
        for a, b in itertools.product(range(got.shape[0]), range(got.shape[1])):
            rows = [(stride * a + i - w // 2) % 4 for i in range(w)]
            columns = [(stride * b + j - w // 2) % 5 for j in range(w)]
            assert torch.equal(got[a, b], u[:, rows][:, :, columns]), (a, b, stride)


def test_open_patches_can_be_strided() -> None:
    u = codes(2, 8, 9)
    all_of_them = extract(u, 3).view(6, 7, -1)
    assert torch.equal(extract(u, 3, stride=2), all_of_them[::2, ::2].reshape(-1, 18))


def test_a_patch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="patch_size=5 does not fit a picture of 9x4"):
        extract(torch.zeros(1, 4, 9), 5)
    assert extract(torch.zeros(1, 5, 5), 5).shape == (1, 25)


CASES = [(w, periodic, stride) for w in (1, 2, 3, 4, 5) for periodic in (False, True) for stride in (1, 2, 3)]


@pytest.mark.parametrize(("w", "periodic", "stride"), CASES)
def test_aggregate_undoes_extract(w: int, periodic: bool, stride: int) -> None:
    u = 1 + torch.rand(3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(w))
    patches = extract(u, w, periodic=periodic, stride=stride)
    got = aggregate(patches, 9, 8, w, periodic=periodic, stride=stride)
    covered = covers(9, 8, w, periodic, stride) > 0
    assert covered.any()
    assert covered.all() or stride > 1
    assert torch.allclose(got, u * covered, rtol=1e-12)
    assert torch.equal(aggregate(patches.T.contiguous().T, 9, 8, w, periodic=periodic, stride=stride), got)


@pytest.mark.parametrize(("w", "periodic", "stride"), CASES)
def test_aggregate_is_the_adjoint_of_extract_over_the_cover(w: int, periodic: bool, stride: int) -> None:
    generator = torch.Generator().manual_seed(w)
    u = torch.randn(2, 7, 8, dtype=torch.float64, generator=generator)
    mine = extract(u, w, periodic=periodic, stride=stride)
    p = torch.randn(mine.shape, dtype=torch.float64, generator=generator)
    fold = aggregate(p, 7, 8, w, periodic=periodic, stride=stride) * covers(7, 8, w, periodic, stride)
    assert (mine * p).sum().item() == pytest.approx((u * fold).sum().item(), rel=1e-10)


def covers(h: int, w: int, side: int, periodic: bool, stride: int) -> Tensor:
    """How many side x side patches hold each pixel, counted one by one."""
    count = torch.zeros(h, w, dtype=torch.float64)
    back = side // 2 if periodic else 0
    tops = range(0, h if periodic else h - side + 1, stride)
    lefts = range(0, w if periodic else w - side + 1, stride)
    for top, left, i, j in itertools.product(tops, lefts, range(side), range(side)):
        count[(top + i - back) % h, (left + j - back) % w] += 1
    return count


def test_windows_are_a_view_in_extracts_order() -> None:
    u = codes(6, 7, 3)
    got = windows(u, 5)
    assert got.shape == (2, 3, 3, 5, 5)
    assert got.data_ptr() == u.data_ptr()
    assert torch.equal(got.reshape(6, -1), extract(u.permute(2, 0, 1), 5))


# ------------------------------------------------------------------------------------------------- coordinate maps


def identity(h: int, w: int) -> Tensor:
    return torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), -1).to(torch.int32)


def random_map(shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int], seed: int) -> Tensor:
    """A map whose entries are drawn from rows[0]..rows[1] and columns[0]..columns[1], bounds included."""
    g = rng(seed, 77)
    y, x = g.integers(rows[0], rows[1] + 1, shape), g.integers(columns[0], columns[1] + 1, shape)
    return torch.from_numpy(np.stack([y, x], -1).astype(np.int32))


def test_take_reads_the_exemplar() -> None:
    exemplar = codes(4, 5, 3)
    source = random_map((6, 2), (0, 3), (0, 4), seed=1)
    got = take(exemplar, source)
    assert got.dtype == torch.uint8
    for y, x in itertools.product(range(6), range(2)):
        assert torch.equal(got[y, x], exemplar[source[y, x, 0], source[y, x, 1]])
    assert torch.equal(take(exemplar, identity(4, 5)), exemplar)


@pytest.mark.parametrize("size", [Size(8, 10), Size(7, 9), Size(7, 10)])
def test_children_of_the_identity_are_the_identity(size: Size) -> None:
    whole = Region(0, 0, size.height, size.width)
    half = coarser(whole)
    got = children(identity(half.height, half.width), half, whole, size)
    assert got.dtype == torch.int32
    assert torch.equal(got, identity(size.height, size.width))


@pytest.mark.parametrize("child", [Region(-5, -4, 7, 6), Region(3, -1, 1, 1), Region(-2, 2**40 + 1, 5, 4)])
@pytest.mark.parametrize("spare", [0, 2])
def test_children_double_their_parents_source(child: Region, spare: int) -> None:
    size = Size(7, 10)  # the coarse exemplar is 4x5; row 2 * 3 + 1 does not exist
    region = coarser(child).grow(spare)
    source = random_map((region.height, region.width), (0, 3), (0, 4), seed=child.height)
    got = children(source, region, child, size)
    assert got.shape == (child.height, child.width, 2)
    for y, x in itertools.product(range(child.top, child.bottom), range(child.left, child.right)):
        parent = source[y // 2 - region.top, x // 2 - region.left].tolist()
        expected = [min(2 * parent[0] + y % 2, 6), min(2 * parent[1] + x % 2, 9)]
        assert got[y - child.top, x - child.left].tolist() == expected


def test_children_of_a_window_are_the_window_of_the_children() -> None:
    size, large, small = Size(16, 16), Region(-6, -3, 12, 9), Region(-3, 0, 4, 5)
    region = coarser(large)
    source = random_map((region.height, region.width), (0, 7), (0, 7), seed=4)
    whole = children(source, region, large, size)
    part = coarser(small)
    dy, dx = part.top - region.top, part.left - region.left
    got = children(source[dy : dy + part.height, dx : dx + part.width], part, small, size)
    assert torch.equal(got, whole[3:7, 3:8])


def by_hand_vote(exemplar: np.ndarray, source: np.ndarray, w: int) -> np.ndarray:
    """Lay every patch down, then divide: exact fractions, rounded half up."""
    r, h, wd = w // 2, source.shape[0], source.shape[1]
    total = np.zeros((h + 2 * r, wd + 2 * r, exemplar.shape[2]), dtype=np.int64)
    for y, x in itertools.product(range(h), range(wd)):
        sy, sx = source[y, x]
        total[y : y + w, x : x + w] += exemplar[sy - r : sy + r + 1, sx - r : sx + r + 1]
    inner = total[2 * r : h, 2 * r : wd]  # where all w * w patches lie
    return np.vectorize(lambda t: math.floor(Fraction(int(t), w * w) + Fraction(1, 2)))(inner).astype(np.uint8)


@pytest.mark.parametrize("w", [1, 3, 5, 7])
@pytest.mark.parametrize("n_channels", [1, 3, 4, 8])
def test_vote_is_the_rounded_average_of_the_overlaps(w: int, n_channels: int) -> None:
    r = w // 2
    for trial, (h, wd) in enumerate([(w, w), (w + 3, w + 6)]):
        exemplar = codes(h, wd, n_channels, seed=trial)
        source = random_map((4 + 2 * r, 5 + 2 * r), (r, h - 1 - r), (r, wd - 1 - r), seed=trial)
        got = vote(exemplar, source, w)
        assert got.dtype == torch.uint8
        assert np.array_equal(got.numpy(), by_hand_vote(exemplar.numpy(), source.numpy(), w))
        assert torch.equal(_vote_torch(exemplar, source, w), got)
        strided = exemplar.transpose(0, 1).contiguous().transpose(0, 1), source.flip(0).flip(0)
        assert torch.equal(vote(*strided, w), got)


def test_vote_over_the_identity_gives_the_exemplar() -> None:
    exemplar = codes(12, 11, 3)
    assert torch.equal(vote(exemplar, identity(12, 11)[2:-2, 2:-2], 5), exemplar[4:-4, 4:-4])


def by_hand_correct(u: np.ndarray, source: np.ndarray, exemplar: np.ndarray, w: int, psi: list[int] | None) -> list:
    """The definition, pixel by pixel, in Python's integers; u has margin w // 2 and source margin 1."""
    r = w // 2
    last_y, last_x = exemplar.shape[0] - 1 - r, exemplar.shape[1] - 1 - r
    u, exemplar = u.astype(object), exemplar.astype(object)
    out = []
    for y, x in itertools.product(range(source.shape[0] - 2), range(source.shape[1] - 2)):
        found = []
        for order, (dy, dx) in enumerate(itertools.product((-1, 0, 1), repeat=2)):
            sy, sx = source[y + 1 + dy, x + 1 + dx].tolist()
            sy, sx = sorted((r, sy - dy, last_y))[1], sorted((r, sx - dx, last_x))[1]
            gap = u[y : y + w, x : x + w] - exemplar[sy - r : sy + r + 1, sx - r : sx + r + 1]
            bias = 0 if psi is None else psi[(sy - r) * (exemplar.shape[1] - 2 * r) + sx - r]
            found.append(((gap * gap).sum() - bias, order, [sy, sx]))
        out.append(min(found)[2])
    return out


@pytest.mark.parametrize("w", [3, 5, 7])
@pytest.mark.parametrize("n_channels", [1, 3, 4, 8])
def test_correct_is_its_definition_in_both_loops(w: int, n_channels: int) -> None:
    r = w // 2
    for trial in range(8):
        g = rng(trial, w, n_channels)
        height, width = (int(v) for v in g.integers(w, w + 7, 2)) if trial else (w, w)  # one patch only, then more
        top = 256 if trial % 2 else 2  # two grey levels: full of equal costs
        exemplar = codes(height, width, n_channels, seed=trial, top=top)
        u = codes(5 + 2 * r, 4 + 2 * r, n_channels, seed=trial + 100, top=top)
        source = random_map((7, 6), (0, height - 1), (0, width - 1), seed=trial)  # borders of the exemplar included
        if trial % 4 >= 2:  # coherent neighbours propose the same sources
            coherent = (identity(7, 6) + torch.tensor([trial % height, 1])) % torch.tensor([height, width])
            source = torch.where(torch.from_numpy(g.random((7, 6, 1)) < 0.8), coherent.int(), source)
        n_atoms = (height - 2 * r) * (width - 2 * r)
        reach = (3, 2**14, 2**31 - 1)[trial % 3]
        for psi in (None, torch.from_numpy(g.integers(-reach, reach, n_atoms).astype(np.int32))):
            plain = None if psi is None else psi.tolist()
            expected = by_hand_correct(u.numpy(), source.numpy(), exemplar.numpy(), w, plain)
            got = correct(u, source, exemplar, w, psi)
            assert got.dtype == torch.int32
            assert got.view(-1, 2).tolist() == expected, (trial, psi)
            assert torch.equal(_correct_torch(u, source, exemplar, w, psi), got), (trial, psi)


def test_both_loops_agree_on_larger_pictures() -> None:
    for w, n_channels, top in [(3, 1, 2), (5, 3, 256), (5, 4, 4), (7, 8, 2)]:
        r = w // 2
        exemplar, u = codes(31, 29, n_channels, top=top), codes(40 + 2 * r, 45 + 2 * r, n_channels, seed=1, top=top)
        source = random_map((42, 47), (0, 30), (0, 28), seed=w)
        n_atoms = (31 - 2 * r) * (29 - 2 * r)
        psi = torch.from_numpy(rng(w).integers(-3, 4, n_atoms).astype(np.int32))
        for bias in (None, psi):
            assert torch.equal(_correct_torch(u, source, exemplar, w, bias), correct(u, source, exemplar, w, bias))
        inside = random_map((40 + 2 * r, 45 + 2 * r), (r, 30 - r), (r, 28 - r), seed=w)
        assert torch.equal(_vote_torch(exemplar, inside, w), vote(exemplar, inside, w))


@pytest.mark.parametrize("w", [3, 5, 7])
def test_the_exemplar_is_a_fixed_point(w: int) -> None:
    exemplar, r = codes(15, 13, 3), w // 2
    source = identity(15, 13)
    psi = torch.from_numpy(rng(0).integers(-9999, 9999, (15 - 2 * r) * (13 - 2 * r)).astype(np.int32))
    inner = source[r : 15 - r, r : 13 - r]
    for bias in (None, psi):  # coherent neighbours all propose the same, so there is nothing to choose
        assert torch.equal(correct(exemplar, source, exemplar, w, bias), inner)


def test_a_wrong_pixel_is_put_right_by_its_neighbours() -> None:
    exemplar, source = codes(12, 12, 3), identity(12, 12)
    source[6, 5] = torch.tensor([2, 9])
    assert torch.equal(correct(exemplar, source, exemplar, 5), identity(12, 12)[2:-2, 2:-2])


def test_psi_decides_between_equal_patches() -> None:
    flat, source = torch.full((9, 9, 1), 7, dtype=torch.uint8), random_map((9, 9), (2, 6), (2, 6), seed=3)
    psi = torch.zeros(49, dtype=torch.int32)
    first = correct(flat, source, flat, 3, psi)
    assert torch.equal(first, correct(flat, source, flat, 3))
    for y, x in itertools.product(range(7), range(7)):  # all equal: the upper left neighbour speaks first
        assert first[y, x].tolist() == (source[y, x] + 1).tolist()
    proposal = source[5, 3] + torch.tensor([-1, 1])  # what pixel (4, 4) hears from its neighbour at (1, -1)
    psi[(proposal[0] - 1) * 7 + proposal[1] - 1] = 1
    assert correct(flat, source, flat, 3, psi)[3, 3].tolist() == proposal.tolist()


@pytest.mark.parametrize(("more_u", "more_source"), [(0, 0), (2, 0), (0, 3), (1, 2)])
def test_correct_returns_what_both_margins_allow(more_u: int, more_source: int) -> None:
    exemplar, u, source = codes(11, 12, 3), codes(18, 19, 3, seed=1), random_map((18, 19), (0, 10), (0, 11), seed=2)
    expected = correct(u, source, exemplar, 5)
    assert expected.shape == (14, 15, 2)
    got = correct(
        middle(u, 14 + 2 * more_u, 15 + 2 * more_u),
        middle(source, 12 + 2 * more_source, 13 + 2 * more_source),
        exemplar,
        5,
    )
    assert got.shape == (min(10 + 2 * more_u, 10 + 2 * more_source), min(11 + 2 * more_u, 11 + 2 * more_source), 2)
    assert torch.equal(got, middle(expected, *got.shape[:2]))


def test_views_are_as_good_as_copies() -> None:
    exemplar, u, source = codes(11, 12, 3), codes(9, 10, 3, seed=1), random_map((9, 10), (0, 10), (0, 11), seed=2)
    expected = correct(u, source, exemplar, 3)
    views = [a.transpose(0, 1).contiguous().transpose(0, 1) for a in (u, source, exemplar)]
    assert not any(v.is_contiguous() for v in views)
    assert torch.equal(correct(*views, 3), expected)


@pytest.mark.parametrize("radius", [0, 1, 4, 9])
def test_wrap_is_the_torus(radius: int) -> None:
    a = codes(3, 4, 2)
    got = wrap(a, radius)
    assert np.array_equal(got.numpy(), np.pad(a.numpy(), ((radius, radius), (radius, radius), (0, 0)), mode="wrap"))
    assert torch.equal(middle(got, 3, 4), a)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_choices() -> None:
    exemplar, u, source = (
        codes(31, 29, 3, top=4),
        codes(44, 45, 3, seed=1, top=4),
        random_map((44, 45), (2, 28), (2, 26), 3),
    )
    psi = torch.from_numpy(rng(1).integers(-9, 9, 27 * 25).astype(np.int32))
    there = [t.cuda() for t in (u, source, exemplar)]
    assert torch.equal(correct(*there, 5, psi.cuda()).cpu(), correct(u, source, exemplar, 5, psi))
    assert torch.equal(vote(there[2], there[1], 5).cpu(), vote(exemplar, source, 5))
