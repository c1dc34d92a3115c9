"""The texture suite: every score of a picture against its exemplar, beside anchors scored in the same way.

No score suffices. Shuffled blocks and rolled copies beat an honest other crop of the exemplar at every score of
fidelity; only COPY and side see them. A Gaussian texture has the right spectrum; only PS-z and the finest patch
distance see that its outlines are gone. Blur shows in SHARP, tiling in REP and SELF, another colour in PSW and colour.
So the suite gives a row of scores, and four rows that say what perfect, copied, structureless and pasted mean here
(texsyn.metrics.anchors). benchmarks/bench_response.py measures what each score answers to. Nothing needs weights.

Whatever is compared is 8-bit, as people see it; of pictures with alpha, colours times alpha. Luminance is Rec. 601's.
Pictures may have different sizes, though not different channels; statistics of a larger picture are taken in parts of
the exemplar's size, so that they vary as the exemplar's do. A score that cannot be had is None, with a reason: small
pictures lose them one by one, constant ones keep hardly any.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from texsyn.images import InputError
from texsyn.metrics import neighbour_field, patch_law, portilla, spectrum, texture, tiling
from texsyn.metrics.anchors import Anchor, anchors, codes, halves
from texsyn.metrics.patch_transport import Floor, Knobs, TransportLevel, patch_transport, transport_floors
from texsyn.metrics.texture import Score
from texsyn.metrics.unmeasurable import Unmeasurable

#: provisional, from three textures of one size (benchmarks/results/response.json): COPY in %, PSW/floor, REP, SHARP
COPYING, TOO_CLOSE, REPEATS, BLURRED = 30.0, 0.5, 0.3, 0.8


@dataclass(frozen=True)
class Column:
    """How to read one score: heading, unit, ideal, digits to show, meaning."""

    title: str
    unit: str
    ideal: str
    digits: int
    meaning: str


COLUMNS = {
    "psw1": Column("PSW 1x", "gl", "lower", 1, "patch distance at full resolution, grey levels of 255"),
    "psw2": Column("2x", "gl", "lower", 1, "patch distance at half resolution"),
    "psw4": Column("4x", "gl", "lower", 1, "patch distance at a quarter"),
    "psw8": Column("8x", "gl", "lower", 1, "patch distance at an eighth"),
    "psw_floor": Column("/floor", "x", "1", 2, "patch distance over that of the exemplar's halves; near 0 is a copy"),
    "ot_lower": Column("OT low", "gl", "lower", 1, "transport of whole patches, mean of scales: estimated from below"),
    "ot_upper": Column("OT high", "gl", "lower", 1, "the same from above, by n patches of either: read it beside n+n"),
    "ot_sampling": Column("n+n", "gl", "yardstick", 1, "OT high between two samples of the exemplar, n patches each"),
    "ot_floor": Column("OT/floor", "x", "1", 2, "OT low over that of the exemplar's halves; near 0 is a copy"),
    "colour": Column("colour", "gl", "lower", 1, "sliced Wasserstein distance between the colours of pixels"),
    "psz": Column("PS-z", "sd", "lower", 2, "Portilla-Simoncelli statistics, in deviations of the exemplar's crops"),
    "spec": Column("SPEC", "dB", "lower", 1, "difference of the power spectra; blind to outlines"),
    "precision": Column("P", "%", "higher", 0, "patches that the exemplar could have: nothing invented"),
    "recall": Column("R", "%", "higher", 0, "patches of the exemplar that the picture could have: nothing missing"),
    "coverage": Column("Cov", "%", "higher", 0, "patches of the exemplar with a like in the picture"),
    "copy": Column("COPY", "%", "lower", 0, "neighbouring patches copied together from the exemplar"),
    "side": Column("side", "px", "lower", 0, "typical side of a piece that is copied"),
    "self": Column("SELF", "%", "lower", 0, "neighbouring patches that the picture shows again elsewhere"),
    "rep": Column("REP", "r", "0", 2, "strongest far autocorrelation less the exemplar's; above 0 repeats"),
    "sharp": Column("SHARP", "x", "1", 2, "root-mean-square gradient over the exemplar's; below 1 is blur"),
    "octave": Column("octave", "dB", "0", 1, "power of the finest octave over the exemplar's; below 0 is blur"),
    "seam": Column("SEAM", "x", "1", 2, "step across the wrapped edge over the usual step; of repeating pictures"),
    "div_pixel": Column("DIV pix", "x", "1", 2, "deviation over seeds over that of the exemplar; 0 is all the same"),
    "div_shift": Column("shift", "share", "higher", 2, "1 less the best correlation of shifted seeds; 0 is rolled"),
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Everything besides the pictures that shapes the scores: rows are compared only where all of this is equal."""

    seed: int = 0
    patch_size: int = patch_law.PATCH
    n_directions: int = texture.N_DIRECTIONS
    n_quantiles: int = texture.N_QUANTILES
    k_neighbours: int = patch_law.K_NEIGHBOURS
    n_patches: int = patch_law.N_PATCHES
    copy_patch: int = neighbour_field.PATCH
    copy_step: int = neighbour_field.STEP
    spectrum_window: int | None = None
    portilla_crop: int | None = None
    portilla_scales: int | None = None
    transport: Knobs | None = None

    @classmethod
    def of(cls, ex: np.ndarray, *, seed: int = 0, transport: bool = False) -> Settings:
        """Those for an exemplar (h, w, C): windows and crops fit its halves too, as all rows must have the same."""
        side, half = min(ex.shape[:2]), min(halves(ex)[0].shape[:2])
        window = _or_none(lambda: spectrum.window_for(half))
        crop = _or_none(lambda: portilla.crop_for(side, half)) or (None, None)
        knobs = Knobs() if transport else None
        return cls(seed, spectrum_window=window, portilla_crop=crop[0], portilla_scales=crop[1], transport=knobs)


def _or_none(f: Callable[[], Any]) -> Any:
    try:
        return f()
    except Unmeasurable:
        return None


@dataclass(frozen=True)
class Row:
    """All scores of one picture: values by the keys of COLUMNS, why one is missing, and what the scores warn of.

    details: under "transport" the bounds of every scale (TransportLevel.to_dict), where they were asked for.
    """

    name: str
    role: str  # "output" or "anchor"
    values: dict[str, float | None]
    missing: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    details: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def scores(self) -> list[Score]:
        """The scores in reading order, each with unit and ideal; of a missing one the reason is its meaning."""
        return [
            Score(key, self.values[key], column.unit, column.ideal, self.missing.get(key, column.meaning))
            for key, column in COLUMNS.items()
        ]


def flags_of(values: dict[str, float | None]) -> tuple[str, ...]:
    """What the scores warn of: "copying", "too close", "repeats", "blurred", by this module's provisional thresholds.

    Too close is PSW/floor: nearer than the exemplar's halves are to each other. Copies are, but so are pictures that
    were made by minimising patch distances, and honest ones of a texture whose halves differ much; hence its own name.
    """

    def known(key: str, otherwise: float) -> float:
        value = values.get(key)
        return otherwise if value is None else value

    raised = {
        "copying": known("copy", 0) > COPYING,
        "too close": known("psw_floor", 1) < TOO_CLOSE,
        "repeats": known("rep", 0) > REPEATS,
        "blurred": known("sharp", 1) < BLURRED,
    }
    return tuple(name for name, is_so in raised.items() if is_so)


@dataclass(frozen=True)
class Pair:
    """A picture and what it is judged against, as the scores read them: codes uint8, and the same as floats.

    seen has the colours only, light is luminance; seeds are the luminances of the pictures of all seeds; to_transport
    are the floors of the patch transport, None where it is not asked for.
    """

    out8: np.ndarray
    ex8: np.ndarray
    alpha: bool
    settings: Settings
    floors: tuple[float | None, ...]
    source: np.ndarray | None = None
    tile: str = "none"
    seeds: tuple[np.ndarray, ...] = ()
    to_transport: tuple[Floor | None, ...] | None = None

    @functools.cached_property
    def distances(self) -> tuple[float | None, ...]:
        """The patch distances, scale by scale."""
        out, ex = self.units
        return patch_law.patch_distances(ex, out, seed=self.settings.seed)

    @functools.cached_property
    def transported(self) -> tuple[TransportLevel | None, ...]:
        """The bounds on the patch transport of each scale; Unmeasurable where they were not asked for."""
        s = self.settings
        if s.transport is None:
            raise Unmeasurable("is measured on request: texsyn compare --transport, Suite(transport=True)")
        return patch_transport(*self.units, seed=s.seed, knobs=s.transport, floors=self.to_transport)

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """Both (H, W, C) float32 in [0, 1]."""
        return _unit(self.out8), _unit(self.ex8)

    @property
    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Both without alpha."""
        return _colours(self.out8, self.alpha), _colours(self.ex8, self.alpha)

    @property
    def light(self) -> tuple[np.ndarray, np.ndarray]:
        """The luminances (H, W) of both."""
        out, ex = self.seen
        return texture.luminance(out), texture.luminance(ex)


def _unit(u: np.ndarray) -> np.ndarray:
    return u.astype(np.float32) / 255


def _colours(u: np.ndarray, alpha: bool) -> np.ndarray:
    return _unit(u[..., :-1] if alpha else u)


Values = tuple[float | None, ...]


def _patch_distances(pair: Pair) -> Values:
    return pair.distances


def _over_floor(pair: Pair) -> Values:
    ratios = [d / f for d, f in zip(pair.distances, pair.floors, strict=False) if d is not None and f]
    return (float(np.mean(ratios)) if ratios else None,)


def _transport(pair: Pair) -> Values:
    levels = pair.transported
    wanted = [s for s, floor in enumerate(pair.to_transport or ()) if floor is not None and floor.halves is not None]
    there = [v for v in (levels[s] for s in wanted) if v is not None]
    if not wanted or len(there) < len(wanted):  # a mean of other scales would be another score
        raise Unmeasurable("the exemplar's halves are too small, or have more patches to compare than the picture")
    lower, upper, sampling = np.mean([(v.out.lower, v.out.upper, v.floor.sampling) for v in there], 0)
    ratios = [v.out.lower / v.floor.halves.lower for v in there if v.floor.halves and v.floor.halves.lower > 0]
    return float(lower), float(upper), float(sampling), float(np.mean(ratios)) if ratios else None


def _colour(pair: Pair) -> Values:
    return (255 * texture.colour_distance(*pair.units, seed=pair.settings.seed),)


def _portilla(pair: Pair) -> Values:
    s = pair.settings
    if s.portilla_crop is None or s.portilla_scales is None:
        raise Unmeasurable("the exemplar's halves are smaller than the smallest crop")
    return (portilla.portilla(*pair.light, s.portilla_crop, s.portilla_scales, seed=s.seed).z,)


def _spectrum(pair: Pair) -> Values:
    if pair.settings.spectrum_window is None:
        raise Unmeasurable("the exemplar's halves are smaller than the smallest window")
    (out, ex), window = pair.light, pair.settings.spectrum_window
    parts = portilla.tiles(out, ex.shape)
    of_parts = [(spectrum.spectrum_distance(p, ex, window), spectrum.top_octave(p, ex, window)) for p in parts]
    return tuple(float(v) for v in np.mean(of_parts, 0))


def _manifold(pair: Pair) -> Values:
    found = patch_law.patch_manifold(*pair.units, seed=pair.settings.seed)
    return 100 * found.precision, 100 * found.recall, 100 * found.coverage


def _copied(pair: Pair) -> Values:
    if pair.source is not None:
        field = neighbour_field.field_of_map(pair.source)
    else:
        field = neighbour_field.nearest_field(pair.out8, pair.ex8)
    found = neighbour_field.coherence(field)
    return 100 * found.share, found.side


def _copied_from_itself(pair: Pair) -> Values:
    return (100 * neighbour_field.coherence(neighbour_field.self_field(pair.out8)).share,)


def _repetition(pair: Pair) -> Values:
    return (texture.repetition(*pair.seen),)


def _sharpness(pair: Pair) -> Values:
    return (texture.sharpness(*pair.seen),)


def _seam(pair: Pair) -> Values:
    return (tiling.seam(pair.out8, pair.tile),)


def _diversity(pair: Pair) -> Values:
    found = tiling.diversity(pair.seeds, pair.light[1])
    return found.pixel, found.shift


#: which columns each measurement fills, and what a None among them means
MEASURES: tuple[tuple[tuple[str, ...], Callable[[Pair], Values], str], ...] = (
    (("psw1", "psw2", "psw4", "psw8"), _patch_distances, f"needs {patch_law.PATCH} px at that scale"),
    (("psw_floor",), _over_floor, "the picture or the exemplar's halves are too small, or the halves equal"),
    (
        ("ot_lower", "ot_upper", "ot_sampling", "ot_floor"),
        _transport,
        "the halves of the exemplar are too small, or equal",
    ),
    (("colour",), _colour, ""),
    (("psz",), _portilla, ""),
    (("spec", "octave"), _spectrum, ""),
    (("precision", "recall", "coverage"), _manifold, ""),
    (("copy", "side"), _copied, ""),
    (("self",), _copied_from_itself, ""),
    (("rep",), _repetition, f"needs {2 * texture.MIN_LAG + 2} px a side"),
    (("sharp",), _sharpness, "the exemplar is constant, or a line"),
    (("seam",), _seam, ""),
    (("div_pixel", "div_shift"), _diversity, ""),
)


def measured(name: str, role: str, pair: Pair) -> Row:
    """The row of one pair: every measurement, or why there is none."""
    values: dict[str, float | None] = dict.fromkeys(COLUMNS)
    missing: dict[str, str] = {}
    for keys, measure, reason in MEASURES:
        try:
            found = dict(zip(keys, measure(pair), strict=True))
        except Unmeasurable as error:
            found, reason = dict.fromkeys(keys), str(error)
        values |= found
        missing |= {key: reason for key in keys if values[key] is None}
    details = {}
    with contextlib.suppress(Unmeasurable):
        details["transport"] = [level.to_dict() for level in pair.transported if level is not None]
    return Row(name, role, values, missing, flags_of(values), details)


class Suite:
    """An exemplar prepared for judging pictures: `row` of one picture, `anchor_rows`, all with the same settings.

    exemplar (h, w, C) floats in [0, 1]; alpha: its last channel, and the pictures', is opacity. settings are those of
    all rows. Costs half a CPU second a picture of 192x192 pixels (benchmarks/results/response.json), and with
    transport, the bounds of texsyn.metrics.patch_transport, a second or two more (benchmarks/results/patch_ot.json).
    """

    def __init__(self, exemplar: np.ndarray, *, alpha: bool = False, seed: int = 0, transport: bool = False) -> None:
        self.alpha, self.ex = alpha, codes(exemplar, alpha=alpha, name="the exemplar")
        self.settings = Settings.of(self.ex, seed=seed, transport=transport)
        first, second = halves(self.ex)
        self.floors = patch_law.patch_distances(_unit(first), _unit(second), seed=seed)
        self.to_transport: tuple[Floor | None, ...] | None = None
        if self.settings.transport is not None:
            with contextlib.suppress(Unmeasurable):  # then no row has it, and all say why
                self.to_transport = transport_floors(_unit(self.ex), seed=seed, knobs=self.settings.transport)
        self.anchors: list[Anchor] = anchors(self.ex, seed=seed)

    def row(
        self,
        name: str,
        out: np.ndarray,
        *,
        source: np.ndarray | None = None,
        tile: str = "none",
        others: Sequence[np.ndarray] = (),
    ) -> Row:
        """All scores of out (H, W, C) floats; source (H, W, 2 or 3) its map of coordinates, where it is one.

        others: the pictures of all its seeds, itself included, for DIV. InputError for NaN, or other channels than the
        exemplar has.
        """
        read = self.codes(out, name)
        if read.shape[2] != self.ex.shape[2]:
            raise InputError(f"{name} has {read.shape[2]} channels and the exemplar has {self.ex.shape[2]}")
        if source is not None and source.shape[:2] != read.shape[:2]:
            raise InputError(f"{name}: its map of sources is of another size than the picture")
        seeds = [self.codes(p, name) for p in others]
        return measured(name, "output", self._pair(read, self.ex, seeds, source, tile))

    def codes(self, out: np.ndarray, name: str = "picture") -> np.ndarray:
        """What is judged of out: 8-bit codes, colours times alpha."""
        return codes(out, alpha=self.alpha, name=name)

    def anchor_rows(self) -> list[Row]:
        """The anchors' rows: held-out half (against the other half), exemplar, random phase, random blocks."""
        return [measured(a.name, "anchor", self._pair(a.pixels, a.reference, a.others)) for a in self.anchors]

    def _pair(
        self,
        out8: np.ndarray,
        ex8: np.ndarray,
        seeds: Sequence[np.ndarray],
        source: np.ndarray | None = None,
        tile: str = "none",
    ) -> Pair:
        light = tuple(texture.luminance(_colours(p, self.alpha)) for p in seeds)
        return Pair(out8, ex8, self.alpha, self.settings, self.floors, source, tile, light, self.to_transport)


def suite(
    out: np.ndarray,
    exemplar: np.ndarray,
    *,
    source: np.ndarray | None = None,
    tile: str = "none",
    others: Sequence[np.ndarray] = (),
    alpha: bool = False,
    seed: int = 0,
    transport: bool = False,
) -> list[Row]:
    """The row of out (H, W, C) against exemplar (h, w, C), floats in [0, 1], and the anchors' rows; see Suite.

    >>> u = np.random.default_rng(0).random((40, 40, 1))
    >>> [row.name for row in suite(u, u)]
    ['picture', 'held-out half', 'exemplar', 'random phase', 'blocks 16 px']
    """
    judge = Suite(exemplar, alpha=alpha, seed=seed, transport=transport)
    return [judge.row("picture", out, source=source, tile=tile, others=others), *judge.anchor_rows()]


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The keys that a table of rows needs: those that an output has a value of, or without outputs any row."""
    asked = [row for row in rows if row.role == "output"] or rows
    return [key for key in COLUMNS if any(row.values[key] is not None for row in asked)]


def arrow(key: str) -> str:
    """Where the column's values should go: down, up, to a target, or nowhere."""
    ideal = COLUMNS[key].ideal
    signs = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", "yardstick": ""}
    return signs.get(ideal, f"\N{RIGHTWARDS ARROW}{ideal}")


def table(rows: Sequence[Row]) -> str:
    """The rows as plain text, with units and ideals, a dash for what is missing, and what they warn of."""
    keys = columns_of(rows)
    heads = [COLUMNS[key].title for key in keys]
    units = [f"{COLUMNS[key].unit}{arrow(key)}" for key in keys]
    cells = [[shown(key, row.values[key]) for key in keys] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, units, *cells, strict=True)]
    first = max(12, *(len(row.name) for row in rows))

    def line(name: str, parts: Sequence[str], end: str = "") -> str:
        return f"{name:<{first}}  " + "  ".join(f"{p:>{w}}" for p, w in zip(parts, widths, strict=True)) + end

    body = [
        line(row.name, found, f"  {', '.join(row.flags)}" if row.flags and row.role == "output" else "").rstrip()
        for row, found in zip(rows, cells, strict=True)
    ]
    return "\n".join([line("", heads), line("", units), *body])


def shown(key: str, value: float | None) -> str:
    """A value with as many digits as its column deserves; a dash for a missing one."""
    return "-" if value is None else f"{value:.{COLUMNS[key].digits}f}"
