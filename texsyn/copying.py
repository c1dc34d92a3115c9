"""How large the verbatim pieces of a picture are, and a bound on them: copies in maps of source coordinates.

A picture that is a map of source coordinates (texsyn.coordinates) is made of verbatim pieces: sets of neighbouring
pixels whose sources are neighbours in the same way, so that source minus position, the offset, is constant. The
largest square inside one piece is the largest copy, whatever the pixels look like. largest_copy(), verbatim_share(),
piece_areas() and repeats() measure; limit_copies() breaks every square beyond a limit.

It breaks a square by laying another part of the exemplar into its middle, as a graph cut would (Kwatra, Schoedl, Essa,
Turk and Bobick 2003, "Graphcut textures", section 3): the part whose surroundings look most alike, cut along the
closed line of least visible difference between a core, which must change, and a border, which must not. Departures:
costs are integers, squares of 8-bit codes; they are divided by what old and new both vary by across the cut, not by
the sum, or a part would be cut out along the outline of a thing it replaces; and a difference counts for more in a
part that is much used already or that shows close by.

The bound is on the map, not on what it looks like: on a plain ground another part of the ground is a cut that nobody
sees, and the pixels of a picture may stay as they were.

Maps are (H, W, 2) int32 arrays of (row, column) in the exemplar; on an axis with a period, which is then the
picture's own side, pieces go on across the edge. Integers decide, so the bits are the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from texsyn.blocks import ENDLESS, Period
from texsyn.images import Region
from texsyn.noise import NoiseField

MAX_SIDE = 48  # px of a part: larger ones cost more to cut, and one in the middle breaks a square of twice the limit
MAX_PLACES = 1 << 14  # compared with each square; four times as many cost twice the time and look the same
FINALISTS = 2  # places a position whose cut is computed
SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))  # in quarters of a part's side
CELLS = 8  # frames are compared as averages over CELLS x CELLS cells, less the inner quarter
SMOOTH = 64  # squared step between neighbours, a channel, from which on a texture hides a cut (codes)
GRAIN = 8  # px of the exemplar's cells in which use and neighbourhood are counted
ROUNDS = 12


@dataclass(frozen=True)
class Copy:
    """The largest verbatim square of a picture: its side in pixels and where it is; it may reach across the edge."""

    side: int
    region: Region


@dataclass(frozen=True)
class Repeats:
    """How often the picture shows the same piece of the exemplar twice.

    share: of the pixels, those in a verbatim window whose piece of the exemplar stands verbatim elsewhere too. It grows
    with the picture, as it must; lower is better. excess: pairs of equal verbatim windows over those that equally many
    windows, put down by chance, would make. 1 is chance, below 1 is more even than chance, 0 is no repetition.
    """

    share: float
    excess: float


def largest_copy(source: np.ndarray, period: Period = ENDLESS) -> Copy:
    """The largest square of the picture that is one verbatim piece of the exemplar; of equals the first.

    source (H, W, 2). One pass. A map of the exemplar itself has side min(H, W), one without any coherence side 1.

    >>> whole = np.stack(np.mgrid[:6, :9], -1).astype(np.int32)
    >>> largest_copy(whole)
    Copy(side=6, region=Region(top=0, left=0, height=6, width=6))
    """
    sides = _sides(_unrolled(source, period))
    y, x = divmod(int(sides.argmax()), sides.shape[1])
    side = int(sides[y, x])
    return Copy(side, Region(y - side + 1, x - side + 1, side, side))


def verbatim_share(source: np.ndarray, w: int, period: Period = ENDLESS) -> float:
    """Share of the w x w windows of source (H, W, 2) that are one verbatim piece; windows wrap where the picture does.

    The same as the score copy15 or copy31, but of the map: a piece that only looks like the exemplar is not counted,
    and one without texture is.
    """
    found, possible = _verbatim(source, w, period)
    return int(found.sum()) / possible


def piece_areas(source: np.ndarray, period: Period = ENDLESS) -> np.ndarray:
    """Areas in pixels (int64) of the verbatim pieces of source (H, W, 2), 4-connected, by their first pixels' order.

    >>> piece_areas(np.array([[[0, 0], [0, 1], [5, 5]]], np.int32)).tolist()
    [2, 1]
    """
    _check(source, period)
    root = _roots(source, period[0] is not None, period[1] is not None)
    return np.unique(root, return_counts=True)[1]


def repeats(source: np.ndarray, w: int = 15, period: Period = ENDLESS, *, exemplar: tuple[int, int]) -> Repeats:
    """How much of the picture shows a w x w piece of the exemplar that it also shows elsewhere; see Repeats.

    source (H, W, 2); exemplar: its (height, width). Two windows with the same piece can share no pixel.
    """
    if min(exemplar) < w:
        raise ValueError(f"w={w} does not fit an exemplar of {exemplar[1]}x{exemplar[0]}")
    found, _ = _verbatim(source, w, period)
    y, x = np.nonzero(found)
    n_pieces = (exemplar[0] - w + 1) * (exemplar[1] - w + 1)
    piece = source[y, x, 0].astype(np.int64) * exemplar[1] + source[y, x, 1]
    _, where, times = np.unique(piece, return_inverse=True, return_counts=True)
    pairs, all_pairs = int((times * (times - 1)).sum()), len(piece) * (len(piece) - 1)
    covered = np.zeros(source.shape[:2], np.bool_)
    again = times[where.reshape(-1)] > 1
    _cover(covered, y[again], x[again], w)
    return Repeats(int(covered.sum()) / covered.size, pairs * n_pieces / all_pairs if all_pairs else 0.0)


def limit_copies(
    source: np.ndarray,
    codes: np.ndarray,
    w: int,
    limit: int,
    *,
    usable: np.ndarray | None = None,
    period: Period = ENDLESS,
    seed: int = 0,
) -> np.ndarray:
    """source with every verbatim square of more than limit pixels a side broken: largest_copy() is at most limit.

    source (H, W, 2), codes (h, w, C) uint8 of the exemplar, w the patch size, usable (h, w) bool the pixels that new
    sources may be (None: those whose w x w patch fits). The middle of each such square becomes another part of the
    exemplar, cut where it shows least; what is within the limit stays as it is. seed orders equal squares. Costs 4 ms
    (limit 24) to 15 ms (48 and more) a broken square, and a pass over the map for each of a few rounds
    (benchmarks/results/copy_limit.json).

    What is left after ROUNDS rounds is broken by single pixels, so the bound always holds.

    Raises ValueError when limit < 2 w + 1, or fewer than two pixels are usable.
    """
    _check(source, period)
    usable = _usable(codes, w, usable)
    if limit < 2 * w + 1:
        raise ValueError(f"limit={limit} should be at least 2 x patch size + 1 = {2 * w + 1}")
    if np.any(source.reshape(-1, 2).min(0) < 0) or np.any(source.reshape(-1, 2).max(0) >= codes.shape[:2]):
        raise ValueError(f"source names pixels outside an exemplar of {codes.shape[1]}x{codes.shape[0]}")
    source, order = np.array(source, order="C"), NoiseField(seed)
    smallest = max(CELLS, 2 * w + 1)
    side, before = max(smallest, min(limit, MAX_SIDE, min(codes.shape[:2]) // 3)), 0
    for _ in range(ROUNDS):
        squares = _too_large(source, limit, period, order)
        if len(squares) == 0:
            return source
        if before == 0:
            parts = _Parts(codes, usable, side, order)
        elif 2 * len(squares) > before and side > smallest:  # parts of this size find no good place in what is left
            side = max(smallest, side * 2 // 3)
            parts = _Parts(codes, usable, side, order)
        before = len(squares)
        parts.lay(source, squares, period)
    return _speckled(source, codes, w, limit, usable, period, order)


# ---------------------------------------------------------------------------------------------------------- measuring


def _check(source: np.ndarray, period: Period) -> None:
    if source.ndim != 3 or source.shape[2] != 2 or source.dtype != np.int32 or not source.size:
        raise ValueError(f"a map of sources is int32 (height, width, 2), got {source.dtype} {source.shape}")
    for name, p, n in zip(("height", "width"), period, source.shape[:2], strict=True):
        if p is not None and p != n:
            raise ValueError(f"period={period} should be None or the map's own {name}, {n}")


def _unrolled(source: np.ndarray, period: Period, reach: int | None = None) -> np.ndarray:
    """source, continued past its end by the largest piece that may lie across it (or reach) where it wraps, less 1."""
    _check(source, period)
    margins = []
    for axis, p in enumerate(period):
        n = source.shape[axis]
        extent = int(source[..., axis].max()) - int(source[..., axis].min()) + 1
        margins.append((0, 0) if p is None else (0, min(n, extent if reach is None else reach) - 1))
    return np.pad(source, (*margins, (0, 0)), mode="wrap") if any(m[1] for m in margins) else source


def _verbatim(source: np.ndarray, w: int, period: Period) -> tuple[np.ndarray, int]:
    """(H, W) bool: where a verbatim w x w window begins; and how many windows there are."""
    _check(source, period)
    height, width = (
        n if p is not None else n - w + 1 for n, p in zip(source.shape[:2], period, strict=True)
    )  # windows
    if w < 1 or min(source.shape[:2]) < w:
        raise ValueError(f"w={w} does not fit a map of {source.shape[1]}x{source.shape[0]}")
    large = _sides(_unrolled(source, period, reach=w)) >= w
    return large[w - 1 : w - 1 + height, w - 1 : w - 1 + width], height * width


@numba.njit(cache=True, nogil=True)
def _sides(source):  # type: ignore[no-untyped-def]
    """(H, W) int32: side of the largest verbatim square with its last pixel here."""
    height, width = source.shape[:2]
    out = np.ones((height, width), np.int32)
    for y in range(1, height):
        for x in range(1, width):
            sy, sx = source[y, x, 0], source[y, x, 1]
            if (
                source[y - 1, x - 1, 0] == sy - 1
                and source[y - 1, x - 1, 1] == sx - 1
                and source[y - 1, x, 0] == sy - 1
                and source[y - 1, x, 1] == sx
                and source[y, x - 1, 0] == sy
                and source[y, x - 1, 1] == sx - 1
            ):
                out[y, x] = 1 + min(out[y - 1, x - 1], out[y - 1, x], out[y, x - 1])
    return out


@numba.njit(cache=True, nogil=True)
def _roots(source, wraps_y, wraps_x):  # type: ignore[no-untyped-def]
    """(H W,) int64: the first pixel of the piece that each pixel belongs to (union-find)."""
    height, width = source.shape[:2]
    parent = np.arange(height * width)
    for y in range(height):
        for x in range(width):
            for down in range(2):
                ny, nx = y + down, x + 1 - down
                if (ny == height and not wraps_y) or (nx == width and not wraps_x):
                    continue
                ny, nx = ny % height, nx % width
                if source[ny, nx, 0] == source[y, x, 0] + down and source[ny, nx, 1] == source[y, x, 1] + 1 - down:
                    a, b = y * width + x, ny * width + nx
                    while parent[a] != a:
                        parent[a] = parent[parent[a]]
                        a = parent[a]
                    while parent[b] != b:
                        parent[b] = parent[parent[b]]
                        b = parent[b]
                    parent[max(a, b)] = min(a, b)
    for i in range(len(parent)):
        parent[i] = parent[parent[i]]  # a parent comes before its child
    return parent


@numba.njit(cache=True, nogil=True)
def _cover(covered, top, left, w):  # type: ignore[no-untyped-def]
    height, width = covered.shape
    for k in range(len(top)):
        for i in range(w):
            for j in range(w):
                covered[(top[k] + i) % height, (left[k] + j) % width] = True


# ----------------------------------------------------------------------------------------------------------- breaking


def _usable(codes: np.ndarray, w: int, usable: np.ndarray | None) -> np.ndarray:
    if codes.ndim != 3 or codes.dtype != np.uint8:
        raise ValueError(f"codes are uint8 (height, width, channels), got {codes.dtype} {codes.shape}")
    if usable is None:
        r = w // 2
        usable = np.zeros(codes.shape[:2], np.bool_)
        usable[r : codes.shape[0] - r, r : codes.shape[1] - r] = True
    if usable.shape != codes.shape[:2] or usable.dtype != np.bool_:
        raise ValueError(f"usable is bool {codes.shape[:2]} like the exemplar, got {usable.dtype} {usable.shape}")
    if int(usable.sum()) < 2:
        raise ValueError(f"breaking copies takes at least 2 usable pixels, got {int(usable.sum())}")
    return usable


def _dice(order: NoiseField, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A random word (uint64) for each position, at the cost of a hash for each row and column."""
    rows, columns = (order.bits(Region(0, 0, 1, 1 + int(at.max(initial=0))))[0] for at in (y, x))
    with np.errstate(over="ignore"):
        return rows[y] + np.uint64(0xD1342543DE82EF95) * columns[x]


def _too_large(source: np.ndarray, limit: int, period: Period, order: NoiseField) -> np.ndarray:
    """(N, 3) int64: first pixel and side of the verbatim squares above the limit: largest first, equals shuffled."""
    sides = _sides(_unrolled(source, period))
    y, x = np.nonzero(sides > limit)
    side = sides[y, x].astype(np.int64)
    top, left = y - side + 1, x - side + 1
    once = (top < source.shape[0]) & (left < source.shape[1])  # a square behind the edge was already seen before it
    top, left, side = top[once], left[once], side[once]
    dice = _dice(order, top, left)
    return np.stack([top, left, side], 1)[np.lexsort((dice, -side))]


class _Parts:
    """All places of the exemplar where a part of side x side may be taken from, each with what its frame looks like.

    places (K, 2): their first pixels. A frame is what surrounds the core: looks (K, D) uint8 holds averages over cells.
    """

    def __init__(self, codes: np.ndarray, usable: np.ndarray, side: int, order: NoiseField) -> None:
        self.codes, self.side = np.ascontiguousarray(codes), side
        self.whole = _whole(usable, side)
        y, x = np.nonzero(self.whole)
        if len(y) > MAX_PLACES:  # not those of a lattice: a fine pattern would be seen in one phase only
            some = _dice(order, y, x) < np.uint64((MAX_PLACES << 64) // len(y))
            y, x = y[some], x[some]
        self.places = np.stack([y, x], 1)
        self.looks = _looks(self.codes, self.places, side)

    def lay(self, source: np.ndarray, squares: np.ndarray, period: Period) -> None:
        """Break squares, in their order, by changing source; those that an earlier one's part broke are left."""
        if len(self.places) and self.side <= min(source.shape[:2]):
            closed_y, closed_x = (p is None for p in period)
            _lay(source, self.codes, squares, self.places, self.looks, self.whole, self.side, closed_y, closed_x)


def _whole(usable: np.ndarray, side: int) -> np.ndarray:
    """bool: where a side x side square of usable pixels begins."""
    if min(usable.shape) < side:
        return np.zeros((0, 0), np.bool_)
    n = np.pad(usable.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return n[side:, side:] - n[:-side, side:] - n[side:, :-side] + n[:-side, :-side] == side * side


@numba.njit(cache=True, nogil=True)
def _looks(codes, places, side):  # type: ignore[no-untyped-def]
    out = np.empty((len(places), (CELLS * CELLS - CELLS * CELLS // 4) * codes.shape[2]), np.uint8)
    for k in range(len(places)):
        y, x = places[k]
        _look(codes[y : y + side, x : x + side], out[k])
    return out


@numba.njit(cache=True, nogil=True)
def _in_frame(i, j):  # type: ignore[no-untyped-def]
    q = CELLS // 4
    return i < q or i >= CELLS - q or j < q or j >= CELLS - q


@numba.njit(cache=True, nogil=True)
def _look(u, out):  # type: ignore[no-untyped-def]
    """Averages of u (side, side, C) over the cells of its frame, rounded, into out (D,)."""
    side, at = u.shape[0], 0
    for i in range(CELLS):
        for j in range(CELLS):
            if not _in_frame(i, j):
                continue
            top, end = i * side // CELLS, (i + 1) * side // CELLS
            left, stop = j * side // CELLS, (j + 1) * side // CELLS
            area = (end - top) * (stop - left)
            for c in range(u.shape[2]):
                total = 0
                for y in range(top, end):
                    for x in range(left, stop):
                        total += u[y, x, c]
                out[at] = (2 * total + area) // (2 * area)
                at += 1


@numba.njit(cache=True, nogil=True)
def _lay(source, codes, squares, places, looks, whole, side, closed_y, closed_x):  # type: ignore[no-untyped-def]
    """Lay a part into the middle of each square that no earlier one has broken; changes source."""
    height, width, n_channels = source.shape[0], source.shape[1], codes.shape[2]
    core = max(side // 3, 3)
    begins = (side - core) // 2
    broken = np.zeros((height, width), np.bool_)
    uses = _uses(source, codes.shape[0], codes.shape[1])
    shown = np.full(uses.shape, -1, np.int64)
    old = np.empty((side, side, n_channels), np.uint8)
    best_part, part = np.empty((side, side), np.bool_), np.empty((side, side), np.bool_)
    final, look = np.empty((FINALISTS, 2), np.int64), np.empty(looks.shape[1], np.uint8)
    for k in range(len(squares)):
        top, left, n = squares[k]
        if _holds_a_core(broken, top, left, n, core):
            continue
        top, left = top + (n - side) // 2, left + (n - side) // 2
        least, best_top, best_left, best_y, best_x = np.int64(1) << 62, 0, 0, 0, 0
        _show(source, top - side // 2, left - side // 2, 2 * side, shown, k)
        for shift in SHIFTS:
            zone_top, zone_left = top + shift[0] * side // 4, left + shift[1] * side // 4
            if (closed_y and not 0 <= zone_top <= height - side) or (closed_x and not 0 <= zone_left <= width - side):
                continue
            for i in range(side):
                for j in range(side):
                    at = source[(zone_top + i) % height, (zone_left + j) % width]
                    old[i, j] = codes[at[0], at[1]]
            middle = source[(zone_top + side // 2) % height, (zone_left + side // 2) % width]
            _look(old, look)
            n_found = _finalists(look, places, looks, middle, side, uses, shown, k, final)
            for f in range(n_found):
                y, x = _refined(old, codes, final[f], whole, begins)
                cost = _cut(old, codes[y : y + side, x : x + side], begins, core, part)
                cost *= _dearness(y, x, side, uses, shown, k)
                if cost < least:
                    least, best_y, best_x, best_top, best_left = cost, y, x, zone_top, zone_left
                    best_part[:] = part
        if least == np.int64(1) << 62:
            continue
        for i in range(side):
            for j in range(side):
                if best_part[i, j]:
                    y, x = (best_top + i) % height, (best_left + j) % width
                    source[y, x, 0], source[y, x, 1] = best_y + i, best_x + j
                    broken[y, x] = True


@numba.njit(cache=True, nogil=True)
def _holds_a_core(broken, top, left, n, core):  # type: ignore[no-untyped-def]
    """Whether a square holds a changed core: each has one pixel at least on a lattice of its own spacing."""
    spacing = max(1, 2 * core // 3)  # a core without its corners holds a square of this side
    for y in range(top + spacing - 1, top + n, spacing):
        for x in range(left + spacing - 1, left + n, spacing):
            if broken[y % broken.shape[0], x % broken.shape[1]]:
                return True
    return False


@numba.njit(cache=True, nogil=True)
def _uses(source, height, width):  # type: ignore[no-untyped-def]
    """How often each cell of the exemplar is used, in eighths of the mean; at most 64."""
    count = np.zeros((-(-height // GRAIN), -(-width // GRAIN)), np.int64)
    for y in range(source.shape[0]):
        for x in range(source.shape[1]):
            count[source[y, x, 0] // GRAIN, source[y, x, 1] // GRAIN] += 1
    for i in range(count.shape[0]):
        for j in range(count.shape[1]):
            area = min(GRAIN, height - i * GRAIN) * min(GRAIN, width - j * GRAIN)
            count[i, j] = min(64, 8 * count[i, j] * height * width // (area * source.shape[0] * source.shape[1]))
    return count


@numba.njit(cache=True, nogil=True)
def _show(source, top, left, n, shown, k):  # type: ignore[no-untyped-def]
    """Mark the cells of the exemplar that the picture shows in a square."""
    for y in range(top, top + n, GRAIN // 2):
        for x in range(left, left + n, GRAIN // 2):
            at = source[y % source.shape[0], x % source.shape[1]]
            shown[at[0] // GRAIN, at[1] // GRAIN] = k


@numba.njit(cache=True, nogil=True)
def _dearness(y, x, side, uses, shown, k):  # type: ignore[no-untyped-def]
    """What a difference counts for a part from there: more where it is used already, most where it shows close by."""
    cy, cx = (y + side // 2) // GRAIN, (x + side // 2) // GRAIN
    return 8 + uses[cy, cx] + (16 if shown[cy, cx] == k else 0)


@numba.njit(cache=True, nogil=True)
def _finalists(look, places, looks, middle, side, uses, shown, k, final):  # type: ignore[no-untyped-def]
    """The places whose frames look most alike, at least half a side from where the copy comes from; how many."""
    costs = np.full(FINALISTS, np.int64(1) << 62)
    n = 0
    for p in range(len(places)):
        y, x = places[p]
        if max(abs(y + side // 2 - middle[0]), abs(x + side // 2 - middle[1])) < side // 2:
            continue
        s = np.int32(0)
        for d in range(len(look)):
            t = np.int32(look[d]) - np.int32(looks[p, d])
            s += t * t
        cost = np.int64(s) * _dearness(y, x, side, uses, shown, k)
        if cost >= costs[-1]:
            continue
        slot = n  # its own, or that of a finalist right beside it
        for f in range(n):
            if max(abs(final[f, 0] - y), abs(final[f, 1] - x)) < 4:
                slot = f
                break
        if slot < n and costs[slot] <= cost:
            continue
        if slot == n:
            n = min(n + 1, FINALISTS)
            slot = n - 1
        while slot > 0 and costs[slot - 1] > cost:
            costs[slot], final[slot] = costs[slot - 1], final[slot - 1]
            slot -= 1
        costs[slot], final[slot, 0], final[slot, 1] = cost, y, x
    return n


@numba.njit(cache=True, nogil=True)
def _refined(old, codes, place, whole, begins):  # type: ignore[no-untyped-def]
    """The place within two pixels whose frame differs least, pixel by pixel."""
    side = old.shape[0]
    least = np.int64(1) << 62
    best_y, best_x = place[0], place[1]
    for y in range(max(place[0] - 2, 0), min(place[0] + 3, whole.shape[0])):
        for x in range(max(place[1] - 2, 0), min(place[1] + 3, whole.shape[1])):
            if not whole[y, x]:
                continue
            cost = np.int64(0)
            for i in range(side):
                if cost >= least:
                    break
                inside = begins <= i < side - begins
                for j in range(i % 2, side, 2):
                    if inside and begins <= j < side - begins:
                        continue
                    for c in range(old.shape[2]):
                        t = np.int32(old[i, j, c]) - np.int32(codes[y + i, x + j, c])
                        cost += t * t
            if cost < least:
                least, best_y, best_x = cost, y, x
    return best_y, best_x


@numba.njit(cache=True, nogil=True)
def _cut(old, new, begins, core, part):  # type: ignore[no-untyped-def]
    """Cost of the cheapest cut between core and border; part (side, side) becomes True on the core's side.

    Cutting between two pixels costs what old and new differ by at both, over what both vary by there, and 1 for its
    length: a minimal cut is a maximal flow (Dinic's algorithm on the grid).
    """
    side = old.shape[0]
    n = side * side
    differs = np.empty(n, np.int32)
    for i in range(side):
        for j in range(side):
            s = np.int32(0)
            for c in range(old.shape[2]):
                t = np.int32(old[i, j, c]) - np.int32(new[i, j, c])
                s += t * t
            differs[i * side + j] = s
    step = np.array([1, -1, side, -side])  # never off the grid: the border is the sink and is not left
    left = np.empty((n, 4), np.int64)  # what may still flow
    for a in range(n):
        for d in range(4):
            b = a + step[d]
            if 0 <= b < n:
                busy = min(_step(old, a, b), _step(new, a, b))
                left[a, d] = 1 + 64 * (differs[a] + differs[b]) // (SMOOTH * old.shape[2] + busy)
            else:
                left[a, d] = 0
    border, starts = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for i in range(side):
        for j in range(side):
            border[i * side + j] = i == 0 or j == 0 or i == side - 1 or j == side - 1
            starts[i * side + j] = _in_core(i - begins, j - begins, core)
    level, queue, turn = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int8)
    path, flow = np.empty(n, np.int32), np.int64(0)
    while True:
        if not _layers(left, step, border, starts, level, queue):
            break
        turn[:] = 0
        for s in range(n):
            if starts[s]:
                flow += _push(s, left, step, border, level, turn, path)
    for a in range(n):
        part[a // side, a % side] = level[a] >= 0
    return flow


@numba.njit(cache=True, nogil=True)
def _in_core(i, j, core):  # type: ignore[no-untyped-def]
    """Whether a pixel lies in the core: a square without its corners, where a short cut would otherwise show them."""
    return 0 <= i < core and 0 <= j < core and 2 * (abs(2 * i + 1 - core) + abs(2 * j + 1 - core)) <= 3 * core


@numba.njit(cache=True, nogil=True)
def _step(u, a, b):  # type: ignore[no-untyped-def]
    """Squared difference of two pixels of u, by their numbers in reading order."""
    s = 0
    for c in range(u.shape[2]):
        t = np.int64(u[a // u.shape[1], a % u.shape[1], c]) - np.int64(u[b // u.shape[1], b % u.shape[1], c])
        s += t * t
    return s


@numba.njit(cache=True, nogil=True)
def _layers(left, step, border, starts, level, queue):  # type: ignore[no-untyped-def]
    """Distances from the core along what may still flow, -1 where nothing gets; whether it gets to the border."""
    n, arrived = 0, False
    for a in range(len(level)):
        level[a] = 0 if starts[a] else -1
        if starts[a]:
            queue[n] = a
            n += 1
    k = 0
    while k < n:
        a = queue[k]
        k += 1
        if border[a]:
            arrived = True
            continue
        for d in range(4):
            b = a + step[d]
            if left[a, d] > 0 and level[b] < 0:
                level[b] = level[a] + 1
                queue[n] = b
                n += 1
    return arrived


@numba.njit(cache=True, nogil=True)
def _push(s, left, step, border, level, turn, path):  # type: ignore[no-untyped-def]
    """All flow that gets from pixel s to the border by ever higher levels; path is room for the way."""
    total, depth, a = np.int64(0), 0, s
    while True:
        if border[a]:
            least, weakest = np.int64(1) << 62, 0
            b = s
            for k in range(depth):
                if left[b, path[k]] < least:
                    least, weakest = left[b, path[k]], k
                b += step[path[k]]
            b = s
            for k in range(depth):
                d = path[k]
                left[b, d] -= least
                b += step[d]
                left[b, d ^ 1] += least
            total += least
            depth, a = weakest, s
            for k in range(depth):
                a += step[path[k]]
        moved = False
        while turn[a] < 4:
            d = turn[a]
            b = a + step[d]
            if left[a, d] > 0 and level[b] == level[a] + 1:
                path[depth] = d
                depth += 1
                a = b
                moved = True
                break
            turn[a] += 1
        if not moved:
            if depth == 0:
                return total
            depth -= 1
            a -= step[path[depth]]
            turn[a] += 1


def _speckled(
    source: np.ndarray,
    codes: np.ndarray,
    w: int,
    limit: int,
    usable: np.ndarray,
    period: Period,
    order: NoiseField,
) -> np.ndarray:
    """source with the squares above the limit broken by single pixels, which always succeeds.

    A pixel whose offset is none of its neighbours' is a piece of its own: it breaks every square that holds it and
    makes none, so each round has fewer. It takes the usable pixel whose w x w neighbourhood looks most alike.
    """
    y, x = np.nonzero(usable)
    if len(y) > MAX_PLACES:
        some = np.argsort(_dice(order, y, x), kind="stable")[:MAX_PLACES]
        y, x = y[some], x[some]
    places = np.stack([y, x], 1)
    while len(squares := _too_large(source, limit, period, order)):
        _speckle(source, codes, squares, places, w)
    return source


@numba.njit(cache=True, nogil=True)
def _speckle(source, codes, squares, places, w):  # type: ignore[no-untyped-def]
    height, width, h, wd = source.shape[0], source.shape[1], codes.shape[0], codes.shape[1]
    broken = np.zeros((height, width), np.bool_)
    r = w // 2
    for k in range(len(squares)):
        top, left, n = squares[k]
        if _holds_a_core(broken, top, left, n, 1):
            continue
        y, x = top + n // 2, left + n // 2
        at = source[y % height, x % width].copy()
        least, best_y, best_x = np.int64(1) << 62, -1, -1
        for p in range(len(places)):
            sy, sx = places[p]
            if sy == at[0] and sx == at[1]:
                continue
            cost = np.int64(0)
            for i in range(-r, r + 1):
                for j in range(-r, r + 1):
                    u = codes[min(max(at[0] + i, 0), h - 1), min(max(at[1] + j, 0), wd - 1)]
                    v = codes[min(max(sy + i, 0), h - 1), min(max(sx + j, 0), wd - 1)]
                    for c in range(codes.shape[2]):
                        t = np.int32(u[c]) - np.int32(v[c])
                        cost += t * t
                if cost >= least:
                    break
            if cost < least:
                least, best_y, best_x = cost, sy, sx
        source[y % height, x % width, 0], source[y % height, x % width, 1] = best_y, best_x
        broken[y % height, x % width] = True
