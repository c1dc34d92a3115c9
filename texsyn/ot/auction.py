"""Bounds on the transport cost W2^2 between two clouds of integer points, true to the last digit: potential, coupling.

W2^2 = min over couplings P of sum_ij P_ij |x_i - y_j|^2 is caught between two numbers (Kantorovich's duality; Villani
2003, "Topics in Optimal Transportation", theorem 1.3). Below: for ANY potential psi,

    mean_i min_j (|x_i - y_j|^2 - psi_j) + mean_j psi_j <= W2^2,

taken over all i and j. Above: the cost of a coupling that was written down and whose marginals were counted. Neither
needs the search that found psi and P to be right; a bad search gives a wide interval, never a wrong one.

Rounding. Points are integers, so squared distances are. psi is rounded to multiples of 1/S, S a power of two so small
that every score of NearestIndex is an integer below 2^24 in units of 1/S: its float32 sums are then exact and its
minima true minima. (Where points are so long that even S = 1 is too fine, each minimum is lowered by more than the
rounding of its rivals can hide.) Masses are integers, too: with g the greatest common divisor of the numbers n and m
of points, each x_i weighs m/g and each y_j weighs n/g. Both bounds are ratios of integers.

The search is an auction with bids that shrink from round to round (Bertsekas and Castanon 1989, "The auction algorithm
for the transportation problem") on short lists of candidates: the best atom out of each of GROUPS random groups under
the present psi, found again in every round for all points at once. That search is also the dual value. Departures:
bidders whose list has become too expensive wait for a new one; a round stops when little mass is left; where a round
ended worse than the best so far, atoms that nobody wants are made cheaper; the start is the potential of a problem with
a sixth of the points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import torch

from texsyn.ot.nearest import NearestIndex

__all__ = ["MAX_VALUES", "dual_value", "interval", "plan_cost", "problem"]

MAX_VALUES = 511  # numbers a point may have: products of bytes then stay below 2^24


@dataclass(frozen=True, eq=False)
class _Problem:
    """Different points x (N, D) int8 of masses a (N,), and y (M, D) of masses b (M,): integers of equal sum total."""

    x: np.ndarray
    a: np.ndarray
    y: np.ndarray
    b: np.ndarray
    total: int
    unit: int  # S: potentials are integers in units of 1/S
    margin: int  # what a minimum may be too high by, in units of 1/S: 0 where scores are exact
    largest: int  # |psi| allowed, in units of 1/S


def problem(x: np.ndarray, y: np.ndarray) -> _Problem:
    """The transport problem between the laws of the rows of x (N, D) and y (M, D), int8, with equal rows merged."""
    if x.dtype != np.int8 or y.dtype != np.int8 or x.ndim != 2 or x.shape[1:] != y.shape[1:] or not x.size * y.size:
        raise ValueError(f"x and y need rows of int8, got {x.dtype} {x.shape} and {y.dtype} {y.shape}")
    if x.shape[1] > MAX_VALUES:
        raise ValueError(f"rows of {x.shape[1]} numbers are too long: at most {MAX_VALUES}")
    g = math.gcd(len(x), len(y))
    (x, a), (y, b) = _different(x), _different(y)
    n, m = int(a.sum()), int(b.sum())
    rx, ry = (math.sqrt(float(np.square(p, dtype=np.int64).sum(1).max())) + 1 for p in (x, y))
    furthest = (rx + ry) ** 2
    reach = ry * ry + 2 * rx * ry + furthest  # of |y|^2, 2 <x, y> and psi together
    unit = 1 << max(0, min(8, math.floor(math.log2(2**24 / reach))))
    margin = 0 if unit * reach < 2**24 else math.ceil(unit * reach / 2**21)  # three roundings on either side, with room
    return _Problem(x, a * (m // g), y, b * (n // g), n * m // g, unit, margin, math.floor(unit * furthest))


def _different(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, in a fixed order, and how often each occurs."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).ravel()
    _, first, counts = np.unique(whole, return_index=True, return_counts=True)
    return np.ascontiguousarray(rows[first]), counts.astype(np.int64)


def interval(x: np.ndarray, y: np.ndarray, *, tol: float = 0.02) -> tuple[Fraction, Fraction]:
    """(lower, upper) with lower <= W2^2 <= upper between the laws of the rows of x (N, D) and y (M, D), int8, exactly.

    Ends when (upper - lower) <= tol upper, or after a fixed number of rounds.

    >>> a, b = np.array([[0], [3]], np.int8), np.array([[1], [2]], np.int8)
    >>> interval(a, b)
    (Fraction(1, 1), Fraction(1, 1))
    """
    solved = _solve(problem(x, y), tol, seed=0)
    return solved.lower, solved.upper


def dual_value(p: _Problem, psi: np.ndarray) -> Fraction:
    """A lower bound of W2^2 from any potential psi (M,) int64 in units of 1/S."""
    return _dual(p, psi, _search(p, psi, [np.arange(len(p.y))]))[0]


def plan_cost(p: _Problem, i: np.ndarray, j: np.ndarray, mass: np.ndarray) -> Fraction:
    """An upper bound of W2^2: the cost of the coupling that carries mass[k] > 0 from x[i[k]] to y[j[k]].

    Raises ValueError when its marginals are not a and b, to the last unit.
    """
    rows, columns = np.zeros_like(p.a), np.zeros_like(p.b)
    np.add.at(rows, i, mass)
    np.add.at(columns, j, mass)
    if (mass <= 0).any() or not np.array_equal(rows, p.a) or not np.array_equal(columns, p.b):
        raise ValueError("the coupling's marginals are not those of the two laws")
    cost = _costs(p.x, p.y, i, j)
    return Fraction(int((mass * cost).sum()), p.total)  # below 2^36 2^25


# ---- the search for a good potential and a good coupling; of what is below, the bounds trust _search and _dual alone

GROUPS = 16
KEEP = 64  # candidates a bidder has
#: (rounds, increment of a bid in the first, in units of the dual value, and its factor a round). Low first increments
#: (0.1) never lift the potentials of bricks and mortar apart, which differ by twenty times the dual value.
THOROUGH, QUICK = (18, 30.0, 0.55), (12, 10.0, 0.4)
MANY = 100_000  # bidders from which on QUICK must do
LEFT = 10_000  # a round may leave this part of the mass; 2,000 costs 5 per cent of the upper bound on bricks
MAX_BIDS = 60  # a bidder and auction, on average
RENEWALS = 8  # of the lists of those who retired, a round
SPREAD, SLACK = 256, 100  # a bidder retires this many spreads of its list, or bid increments, above the end of it
DENSE = 1 << 19  # pairs of points up to which all are candidates
FEW = 300  # points that need not be fewer in a coarser problem
FAR = 1 << 60


@dataclass(frozen=True, eq=False)
class _Solved:
    lower: Fraction
    upper: Fraction
    psi: np.ndarray  # (M,) int64, that of lower


def _first_potential(p: _Problem, tol: float, seed: int) -> np.ndarray:
    """A potential (M,) from the solution of a problem with a sixth of the points; zeros where p is small."""
    if len(p.x) * len(p.y) <= DENSE:
        return np.zeros(len(p.y), np.int64)
    (x, a), (y, b) = _coarser(p.x, p.a, seed), _coarser(p.y, p.b, seed)
    q = replace(p, x=x, a=a, y=y, b=b)
    psi = _solve(q, max(tol, 0.02), seed + 1).psi
    return _fit(p, _conjugate(p, _conjugate(q, psi, q.y, q.x), q.x, p.y))


def _conjugate(p: _Problem, potential: np.ndarray, of: np.ndarray, at: np.ndarray) -> np.ndarray:
    """min_j |z - of_j|^2 - potential_j at each z of the points ``at``, in units of 1/S, of which it may be one off."""
    index = NearestIndex(_floats(of), centre=False)
    index.set_bias(torch.from_numpy(potential / p.unit).float())
    value = index.argmin(_floats(at), return_value=True)[1].double().numpy()
    return np.rint(value * p.unit).astype(np.int64)


def _coarser(points: np.ndarray, mass: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A sixth of the points, drawn at random, and the mass that is nearest to each.

    Masses must come along: between two clusters that differ by some per cent, a mere sample may differ the other way.
    """
    if len(points) < FEW:
        return points, mass
    drawn = points[np.sort(np.random.default_rng(seed).permutation(len(points))[: len(points) // 6])]
    nearest = NearestIndex(_floats(drawn), centre=False).argmin(_floats(points)).numpy()
    gathered = np.zeros(len(drawn), np.int64)
    np.add.at(gathered, nearest, mass)
    return drawn, gathered


def _floats(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rows.astype(np.float32))


def _fit(p: _Problem, psi: np.ndarray) -> np.ndarray:
    """psi less its median, within the numbers that are exact."""
    return np.clip(psi - int(np.median(psi)), -p.largest, p.largest)


def _search(p: _Problem, psi: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """(N, G) int32: for each x_i the atom of least |x_i - y_j|^2 - psi_j in each of G groups of atoms.

    The best of the G is the minimum over all atoms, if the groups hold all.
    """
    x, columns = _floats(p.x), []
    for atoms in groups:
        index = NearestIndex(_floats(p.y[atoms]), centre=False)
        index.set_bias(torch.from_numpy(psi[atoms] / p.unit).float())
        columns.append(atoms[index.argmin(x, check=False).numpy()])
    return np.stack(columns, 1).astype(np.int32)


def _groups(p: _Problem, seed: int) -> list[np.ndarray]:
    """The atoms in GROUPS groups at random: a list of each group's best has most of the best, and costs one search.

    (Regions of space for groups cost more auctions than they save.)
    """
    order = np.random.default_rng(seed).permutation(len(p.y))
    return [order[g::GROUPS] for g in range(min(GROUPS, len(order)))]


def _found_costs(p: _Problem, found: np.ndarray) -> np.ndarray:
    """|x_i - y_j|^2 for the atoms j found (N, G) of each i, in units of 1/S."""
    n, g = found.shape
    return _costs(p.x, p.y, np.repeat(np.arange(n), g), found.ravel()).reshape(n, g) * p.unit


def _dual(p: _Problem, psi: np.ndarray, found: np.ndarray) -> tuple[Fraction, np.ndarray]:
    """The dual value of psi where found (N, G) is what _search gave for it; and the cost (N, G) of each of found."""
    if int(np.abs(psi).max()) > p.largest:
        raise ValueError(f"psi must stay within {p.largest} units")
    cost = _found_costs(p, found)
    low = (cost - psi[found]).min(1) - p.margin
    return Fraction(int((p.a * low).sum() + (p.b * psi).sum()), p.total * p.unit), cost


def _solve(p: _Problem, tol: float, seed: int) -> _Solved:
    """Rounds of search and auction: the best dual value and the cheapest coupling that they met."""
    dense = len(p.x) * len(p.y) <= DENSE
    psi = np.zeros(len(p.y), np.int64)
    found = _search(p, psi, list(np.arange(len(p.y))[:, None]) if dense else _groups(p, seed))
    lower, cost = _dual(p, psi, found)
    best, upper = psi, None
    if not dense:
        psi = _first_potential(p, tol, seed)
        found = _search(p, psi, _groups(p, seed))
        value, cost = _dual(p, psi, found)
        lower, best = (value, psi) if value > lower else (lower, best)
    atoms, costs = _lists(len(p.x), len(p.y) if dense else KEEP)
    n_rounds, first, shrink = THOROUGH if len(p.x) <= MANY else QUICK
    for r in range(n_rounds):
        scale = max(float(lower), 0.02 * float(cost.min(1).mean()) / p.unit) * p.unit
        step = int(cost.max() / 4 ** (r + 1) if dense else scale * first * shrink**r)
        step = max(1, step, int(scale * 0.3 * tol))
        _refresh(atoms, costs, found, cost, psi)
        price = -psi
        reached = plan_cost(p, *_complete(p, price, *_round(p, atoms, costs, price, step, seed)))
        upper = reached if upper is None else min(upper, reached)
        psi = _fit(p, -price)
        found = found if dense else _search(p, psi, _groups(p, seed + r + 1))
        value, cost = _dual(p, psi, found)
        if value < lower and not dense:
            psi = _wooed(p, psi, found, cost)
            found = _search(p, psi, _groups(p, seed + r + 1))
            value, cost = _dual(p, psi, found)
        if value > lower:
            lower, best = value, psi
        if upper - lower <= tol * upper:
            break
    assert upper is not None
    return _Solved(max(lower, Fraction(0)), upper, best)


def _wooed(p: _Problem, psi: np.ndarray, found: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """psi, raised where an atom is nobody's first choice to just what makes it somebody's: min_i |x_i - y_j|^2 - phi_i.

    The dual value can only rise. Without this, atoms whose price went up in a fight over too short lists stay empty.
    """
    value = cost - psi[found]
    alone = np.ones(len(psi), np.bool_)
    alone[found[np.arange(len(found)), value.argmin(1)]] = False
    raised = psi.copy()
    raised[alone] = np.maximum(psi[alone], _conjugate(p, value.min(1), p.x, p.y[alone]))
    return _fit(p, raised)


def _lists(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Empty lists of k candidates for n bidders: atoms (n, k), -1 where there is none, and their costs."""
    return np.full((n, k), -1, np.int32), np.zeros((n, k), np.int32)


_Pieces = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # bidder, atom, mass, bid
NOTHING: _Pieces = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))


def _round(
    p: _Problem, atoms: np.ndarray, costs: np.ndarray, price: np.ndarray, step: int, seed: int
) -> tuple[_Pieces, np.ndarray, np.ndarray]:
    """Auction until little is left, with new candidates for those who retire: pieces, what is left of a and of b.

    Changes the lists atoms and costs, and price.
    """
    pieces, rest, room = NOTHING, p.a.copy(), p.b.copy()
    limit = _limits(atoms, costs, price, step)
    for again in range(RENEWALS):
        n_bids = MAX_BIDS * len(p.x) + 10_000
        pieces = _auction(atoms, costs, rest, room, price, limit, pieces, step, n_bids, p.total // LEFT)
        if again == RENEWALS - 1 or rest.sum() <= 2 * (p.total // LEFT):
            break
        at = np.flatnonzero(rest)
        some, theirs, their_costs = replace(p, x=p.x[at]), atoms[at], costs[at]
        found = _search(some, -price, _groups(p, seed + again))
        _refresh(theirs, their_costs, found, _found_costs(some, found), -price)
        atoms[at], costs[at], limit[at] = theirs, their_costs, _limits(theirs, their_costs, price, step)
    return pieces, rest, room


def _limits(atoms: np.ndarray, costs: np.ndarray, price: np.ndarray, step: int) -> np.ndarray:
    """The cost + price (N,) above which a bidder must look at other atoms; FAR where its list holds all of them."""
    value = np.where(atoms >= 0, costs + price[atoms], -FAR)
    worst, least = value.max(1), np.where(atoms >= 0, value, FAR).min(1)
    limit = worst + np.minimum(SPREAD * (worst - least), SLACK * step)
    return np.where((atoms >= 0).sum(1) == len(price), FAR, limit)


def _complete(
    p: _Problem, price: np.ndarray, pieces: _Pieces, rest: np.ndarray, room: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coupling (i, j, mass) of pieces and of what they leave, rest (N,) and room (M,), by auctions among the left.

    What those leave too goes from the darkest to the darkest. Changes rest and room.
    """
    parts: list[Any] = [pieces[:3]]
    for seed in range(3):
        at, to = np.flatnonzero(rest), np.flatnonzero(room)
        if not len(at):
            break
        left = replace(p, x=p.x[at], a=rest[at], y=p.y[to], b=room[to])
        found = _search(left, -price[to], _groups(left, seed))
        cost = _found_costs(left, found)
        atoms, costs = _lists(len(at), KEEP)
        _refresh(atoms, costs, found, cost, -price[to])
        limit, step = np.full(len(at), FAR), max(1, int(cost.min(1).mean()) // 20)
        n_bids = 50 * len(at) + 1000
        i, j, mass, _ = _auction(atoms, costs, left.a, left.b, price[to], limit, NOTHING, step, n_bids, 0)
        rest[at], room[to] = left.a, left.b
        parts.append((at[i], to[j], mass))
    at, to = _by_brightness(p.x, rest), _by_brightness(p.y, room)
    ends_at, ends_to = rest[at].cumsum(), room[to].cumsum()
    cuts = np.union1d(ends_at, ends_to)
    parts.append((at[ends_at.searchsorted(cuts)], to[ends_to.searchsorted(cuts)], np.diff(cuts, prepend=0)))
    i, j, mass = (np.concatenate(column) for column in zip(*parts, strict=True))
    return i, j, mass


def _by_brightness(points: np.ndarray, left: np.ndarray) -> np.ndarray:
    at = np.flatnonzero(left)
    return at[points[at].sum(1, dtype=np.int64).argsort(kind="stable")]


@numba.njit(cache=True, nogil=True)
def _costs(x: Any, y: Any, i: Any, j: Any) -> Any:
    """|x[i[k]] - y[j[k]]|^2 for every k, int64."""
    out = np.empty(len(i), np.int64)
    for k in range(len(i)):
        total = np.int32(0)
        for d in range(x.shape[1]):
            gap = np.int32(x[i[k], d]) - np.int32(y[j[k], d])
            total += gap * gap
        out[k] = total
    return out


@numba.njit(cache=True, nogil=True)
def _refresh(atoms: Any, costs: Any, found: Any, found_costs: Any, psi: Any) -> None:
    """Put found (N, G) into the lists (N, K), which keep the K of least cost - psi, in that order, in place."""
    n, k = atoms.shape
    g = found.shape[1]
    atom, cost, value = np.empty(k + g, np.int32), np.empty(k + g, np.int64), np.empty(k + g, np.int64)
    for i in range(n):
        count = 0
        for s in range(k + g):
            j = atoms[i, s] if s < k else found[i, s - k]
            c = np.int64(costs[i, s]) if s < k else found_costs[i, s - k]
            known = j < 0
            if s >= k:
                for t in range(count):
                    known |= atom[t] == j
            if known:
                continue
            v, t = c - psi[j], count
            while t > 0 and value[t - 1] > v:
                atom[t], cost[t], value[t] = atom[t - 1], cost[t - 1], value[t - 1]
                t -= 1
            atom[t], cost[t], value[t] = j, c, v
            count += 1
        for t in range(min(count, k)):
            atoms[i, t], costs[i, t] = atom[t], cost[t]


@numba.njit(cache=True, nogil=True)
def _meld(one: int, two: int, bid: Any, left: Any, right: Any) -> int:
    """Two skew heaps as one, least bid on top (Sleator, Tarjan 1986, "Self-adjusting heaps"); -1 is the empty one."""
    if one < 0 or two < 0:
        return max(one, two)
    if bid[two] < bid[one]:
        one, two = two, one
    top = at = one
    while True:
        below = right[at]
        right[at] = left[at]
        if below < 0:
            left[at] = two
            return top
        if bid[two] < bid[below]:
            below, two = two, below
        left[at] = below
        at = below


@numba.njit(cache=True, nogil=True)
def _doubled(old: Any) -> Any:
    new = np.empty(2 * len(old), old.dtype)
    new[: len(old)] = old
    return new


@numba.njit(cache=True, nogil=True)
def _auction(
    atoms: Any,
    costs: Any,
    rest: Any,
    room: Any,
    price: Any,
    limit: Any,
    pieces: Any,
    step: int,
    max_bids: int,
    enough: int,
) -> Any:
    """Bidders of mass rest (N,) bid for room (M,) among their candidates; rest, room and price (M,) change in place.

    A bidder takes the cheapest atom, cost + price, and bids what makes it as dear as the second cheapest, plus step.
    An atom keeps its highest bids; its price, once it is full, is the lowest of them. So nobody pays more than step
    above the cheapest, and the coupling costs at most step more than the dual value on the lists. Bidders whose
    cheapest is above their limit (N,) retire. Ends after max_bids, or when at most the mass ``enough`` still bids.

    Returns the pieces (bidder, atom, mass, bid) that are held; ``pieces`` are those held at the beginning.
    """
    n, k = atoms.shape
    n_pieces, spare = len(pieces[0]), -1
    size = 2 * n_pieces + n + 1
    who, to, slot = np.empty(size, np.int32), np.empty(size, np.int32), np.full(size, -1, np.int32)
    mass, bid = np.empty(size, np.int64), np.empty(size, np.int64)
    left, right = np.full(size, -1, np.int32), np.full(size, -1, np.int32)
    who[:n_pieces], to[:n_pieces], mass[:n_pieces], bid[:n_pieces] = pieces
    heap = np.full(len(price), -1, np.int32)
    held = np.full((n, k), -1, np.int32)  # the piece that a bidder has of a candidate
    for at in range(n_pieces):
        heap[to[at]] = _meld(heap[to[at]], at, bid, left, right)
        for t in range(k):
            if atoms[who[at], t] == to[at] and held[who[at], t] < 0:
                slot[at], held[who[at], t] = t, at
    queue, waits = np.empty(n, np.int32), rest > 0
    first, n_queue, open_mass = 0, waits.sum(), rest.sum()
    queue[:n_queue] = np.flatnonzero(waits)
    for _ in range(max_bids):
        if open_mass <= enough:
            break
        i = queue[first]
        first, n_queue = (first + 1) % n, n_queue - 1
        waits[i] = False
        open_mass -= rest[i]
        best, second, s = FAR, FAR, -1
        for t in range(k):
            if atoms[i, t] >= 0:
                value = costs[i, t] + price[atoms[i, t]]
                if value < best:
                    best, second, s = value, best, t
                elif value < second:
                    second = value
        if best > limit[i]:
            continue
        second = min(second, limit[i])
        if second == FAR:  # its only candidate
            second = best
        j = atoms[i, s]

        # The bid, a piece of all it has to place; joined by what it holds there already.
        if spare >= 0:
            new, spare = spare, left[spare]
        else:
            if n_pieces == len(who):
                who, to, slot, mass, bid = _doubled(who), _doubled(to), _doubled(slot), _doubled(mass), _doubled(bid)
                left, right = _doubled(left), _doubled(right)
            new, n_pieces = n_pieces, n_pieces + 1
        who[new], to[new], slot[new], mass[new], bid[new] = i, j, s, rest[i], price[j] + (second - best) + step
        left[new] = right[new] = -1
        room[j] -= rest[i]
        rest[i] = 0
        old = held[i, s]
        if old >= 0:
            mass[new] += mass[old]
            mass[old] = 0  # goes when it comes to the top
        held[i, s] = new
        top = _meld(heap[j], new, bid, left, right)

        # Where the room is less than the bids, the lowest go.
        while room[j] < 0 or mass[top] == 0:
            loser, out = who[top], min(mass[top], max(0, -room[j]))
            mass[top] -= out
            room[j] += out
            if out > 0:
                rest[loser] += out
                open_mass += out
                if not waits[loser]:
                    waits[loser] = True
                    queue[(first + n_queue) % n] = loser
                    n_queue += 1
            if mass[top] == 0:
                if slot[top] >= 0 and held[loser, slot[top]] == top:
                    held[loser, slot[top]] = -1
                gone = top
                top = _meld(left[top], right[top], bid, left, right)
                left[gone], spare = spare, gone
        heap[j] = top
        if room[j] == 0:
            price[j] = bid[top]

    alive = np.flatnonzero(mass[:n_pieces])
    return who[alive], to[alive], mass[alive], bid[alive]
