"""A comparison as one HTML page: scores beside anchors, the pictures, where each is copied from, the spectra.

The page needs nothing but itself: pictures are PNGs inside it, curves are SVG, there is no script, and it says so to
the browser. It is drawn by hand because it is smaller than a plotting library's would be, and needs none.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from texsyn import __version__
from texsyn.metrics import neighbour_field, spectrum
from texsyn.metrics.suite import COLUMNS, Row, Suite, arrow, columns_of, shown
from texsyn.metrics.texture import luminance
from texsyn.metrics.unmeasurable import Unmeasurable

SHOWN = 256  # px of a picture's top left that the page shows
#: source colours of the exemplar's corners: top left, top right, bottom left, bottom right
CORNERS = np.array([[[230, 97, 1], [253, 200, 90]], [[94, 60, 153], [40, 170, 190]]], np.float64)
LONELY = 190  # grey of a patch that has no neighbour's displacement
CURVES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d1f", "#56b4e9", "#7f3c8d", "#a05195")

STYLE = """
:root { color-scheme: light dark; --line: #8886; --warn: #b3261e; --quiet: #777; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2.2rem }
p { max-width: 75ch } .quiet { color: var(--quiet); font-size: .87rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem }
th, td { padding: .22rem .42rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; max-width: 18rem; overflow: hidden; text-overflow: ellipsis }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom }
th small { display: block; color: var(--quiet) }
tr.anchor { color: var(--quiet) } tr.first td { border-top: 2px solid var(--line) }
.flag { color: #fff; background: var(--warn); border-radius: .6rem; padding: 0 .5rem; margin-left: .3rem }
.sheet { display: flex; flex-wrap: wrap; gap: 1rem 1.2rem } figure { margin: 0; max-width: 256px }
figure img { display: block; height: auto; image-rendering: pixelated; margin-bottom: 3px }
figcaption { overflow-wrap: anywhere; font-size: .87rem; min-width: 8rem }
svg { max-width: 100%; height: auto } svg text { fill: currentColor; font-size: 12px }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .87rem }
dt { font-weight: 600 } dd { margin: 0 }
"""


@dataclass(frozen=True)
class Entry:
    """A row with the picture (H, W, C) uint8 it is about and what that was judged against; None where not at hand."""

    row: Row
    pixels: np.ndarray | None = None
    reference: np.ndarray | None = None


def render(suite: Suite, entries: Sequence[Entry], *, title: str, measured: dict[str, Any]) -> str:
    """The page for these rows of the suite's exemplar. Names are text, whatever they contain."""
    at_hand = [e for e in entries if e.pixels is not None]
    settings = ", ".join(f"{key} {value}" for key, value in measured["settings"].items())
    ex = measured["exemplar"]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{html.escape(title)}</h1>",
            f'<p class="quiet">texsyn {__version__}; exemplar {ex["size"]} {ex["mode"]}, pixels {ex["sha256"][:16]}; '
            f"{html.escape(settings)}; plenoptic {measured['plenoptic'] or 'not installed'}</p>",
            "<p>Read every score beside the anchors, which are made from the exemplar and scored alike: the held-out "
            "half is what perfect scores, the exemplar itself what copying scores. No score suffices alone.</p>",
            _table([e.row for e in entries]),
            "<h2>Pictures, and where they are copied from</h2>",
            "<p>Below each picture its patches in the colour of their source in the exemplar, whose own map, the "
            "first, is the key. Grey: no neighbour was copied together with this patch. Smooth colour: a copied "
            "piece. The held-out half is searched in the other half.</p>",
            '<div class="sheet">',
            *(_figure(e, suite.alpha) for e in sorted(at_hand, key=_is_not_exemplar)),
            "</div>",
            "<h2>Spectra</h2>",
            _spectra(suite, at_hand),
            _transport([e.row for e in entries]),
            "<h2>What the scores are</h2>",
            _glossary([e.row for e in entries]),
            "</body></html>\n",
        ]
    )


def _table(rows: Sequence[Row]) -> str:
    keys = columns_of(rows)
    heads = "".join(
        f'<th title="{html.escape(COLUMNS[k].meaning)}">{html.escape(COLUMNS[k].title)}'
        f"<small>{COLUMNS[k].unit} {arrow(k)}</small></th>"
        for k in keys
    )
    lines, before = [], "anchor"
    for row in rows:
        cells = "".join(
            f'<td title="{html.escape(row.missing.get(k, ""))}">{shown(k, row.values[k])}</td>' for k in keys
        )
        flags = "".join(f'<span class="flag">{f}</span>' for f in row.flags if row.role == "output")
        kind = f"{row.role}{' first' if row.role != before else ''}"
        lines.append(f'<tr class="{kind}"><td title="{_name(row)}">{_name(row)}{flags}</td>{cells}</tr>')
        before = row.role
    return (
        f'<div class="scroll"><table><thead><tr><th></th>{heads}</tr></thead><tbody>{"".join(lines)}</tbody>'
        "</table></div>"
    )


def _transport(rows: Sequence[Row]) -> str:
    """The bounds of every scale, of the rows that have some; nothing where none has."""
    lines = []
    for row in rows:
        for level in row.details.get("transport", []):
            low, high = level["lower_range"]
            floor = level["floor"]
            cells = (
                f"{level['scale']}x", f"{level['lower']:.1f} ({low:.1f} to {high:.1f})", f"{level['upper']:.1f}",
                f"{level['sampling']:.1f}", f"{floor['lower']:.1f} to {floor['upper']:.1f}" if floor else "-",
                f"{level['n']}", f"{level['atoms']} of {level['of_atoms']}",
            )  # fmt: skip
            lines.append(f'<tr class="{row.role}"><td>{_name(row)}</td>{"".join(f"<td>{c}</td>" for c in cells)}</tr>')
    if not lines:
        return ""
    names = ("scale", "OT low (± error)", "OT high", "n+n", "halves", "patches assigned", "exemplar patches")
    heads = "".join(f"<th>{name}</th>" for name in names)
    return (
        "<h2>Transport of whole patches, scale by scale</h2>"
        "<p>What it costs to make the picture's patches of the exemplar's lies between OT low and OT high, in grey "
        "levels of 255. OT high holds what a sample costs: compare it with n+n, two samples of the exemplar. OT low is "
        "an estimate, and was 0 or less where it is 0; compare it with the halves of the exemplar.</p>"
        f'<div class="scroll"><table><thead><tr><th></th>{heads}</tr></thead><tbody>{"".join(lines)}</tbody>'
        "</table></div>"
    )


def _name(row: Row) -> str:
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in row.name))


def _is_exemplar(row: Row) -> bool:
    return row.role == "anchor" and row.name == "exemplar"


def _is_not_exemplar(entry: Entry) -> bool:
    return not _is_exemplar(entry.row)


def _figure(entry: Entry, alpha: bool) -> str:
    pixels, reference = entry.pixels, entry.reference
    assert pixels is not None
    h, w = pixels.shape[:2]
    part = f", its top left {min(w, SHOWN)}x{min(h, SHOWN)}" if max(h, w) > SHOWN else ""
    images = [_image(_visible(pixels[:SHOWN, :SHOWN], alpha), _name(entry.row))]
    if reference is not None:
        with contextlib.suppress(Unmeasurable):  # smaller than a patch
            sources = copy_map(pixels[:SHOWN, :SHOWN], reference)
            images.append(_image(sources, f"sources of {_name(entry.row)}", neighbour_field.STEP))
    return f"<figure>{''.join(images)}<figcaption>{_name(entry.row)}: {w}x{h}{part}</figcaption></figure>"


def copy_map(out: np.ndarray, ex: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) uint8: the colour of each grid patch's source in ex, grey where no neighbour moved along."""
    field = neighbour_field.nearest_field(out, ex)
    d, source = field.displacement, field.source
    down, right = (d[1:] == d[:-1]).all(-1), (d[:, 1:] == d[:, :-1]).all(-1)
    together = np.zeros(d.shape[:2], bool)
    together[1:] |= down
    together[:-1] |= down
    together[:, 1:] |= right
    together[:, :-1] |= right
    at = source / np.maximum(np.array(ex.shape[:2]) - neighbour_field.PATCH, 1)
    y, x = at[..., :1], at[..., 1:2]
    top = (1 - x) * CORNERS[0, 0] + x * CORNERS[0, 1]
    bottom = (1 - x) * CORNERS[1, 0] + x * CORNERS[1, 1]
    return np.where(together[..., None], (1 - y) * top + y * bottom, LONELY).astype(np.uint8)


def _visible(pixels: np.ndarray, alpha: bool) -> np.ndarray:
    """Grey or RGB of any channels: colours over black where there is alpha, the first three of many."""
    colours = pixels[..., :-1] if alpha else pixels
    return colours[..., :3] if colours.shape[2] >= 3 else colours[..., :1]


def _image(pixels: np.ndarray, alt: str, scale: int = 1) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{alt}" width="{scale * pixels.shape[1]}" src="data:image/png;base64,{data}">'


def _spectra(suite: Suite, entries: Sequence[Entry]) -> str:
    """Mean power over frequency, one curve a picture; anchors thin and dashed, the exemplar thick."""
    window = suite.settings.spectrum_window
    if window is None:
        return "<p>The exemplar is too small for spectra.</p>"
    curves = []
    for entry in entries:
        assert entry.pixels is not None
        seen = _visible(entry.pixels, suite.alpha).astype(np.float32) / 255
        try:
            curves.append((entry.row, *spectrum.radial_curve(luminance(seen), window)))
        except Unmeasurable:
            continue
    if not curves:
        return "<p>The pictures are too small for spectra.</p>"
    width, height, left, bottom = 760, 340, 52, 300
    low = 10 * np.floor(min(c[2].min() for c in curves) / 10)
    high = 10 * np.ceil(max(c[2].max() for c in curves) / 10)
    first = 1 / window

    def x_of(f: Any) -> Any:
        return left + (520 - left) * np.log2(f / first) / np.log2(spectrum.HIGHEST / first)

    def y_of(level: Any) -> Any:
        return 14 + (bottom - 14) * (high - level) / (high - low)

    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="power spectra">']
    for level in np.arange(low, high + 1, 10):
        parts.append(f'<path d="M{left} {y_of(level):.1f}H520" stroke="currentColor" stroke-opacity=".18"/>')
        parts.append(f'<text x="{left - 6}" y="{y_of(level) + 4:.1f}" text-anchor="end">{level:.0f}</text>')
    for k in range(int(np.log2(window // 2)) + 1):
        period = window >> k
        parts.append(f'<text x="{x_of(1 / period):.1f}" y="{bottom + 18}" text-anchor="middle">1/{period}</text>')
    parts.append(f'<text x="{left}" y="{bottom + 36}">cycles per pixel; dB, 0 is a variance of 1</text>')
    for i, (row, f, level) in enumerate(curves):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x_of(f), y_of(level), strict=True))
        is_exemplar = _is_exemplar(row)
        colour = "currentColor" if is_exemplar else CURVES[i % len(CURVES)]
        dash = ' stroke-dasharray="5 3"' if row.role == "anchor" and not is_exemplar else ""
        look = f'stroke="{colour}" stroke-width="{2.4 if is_exemplar else 1.5}" fill="none"{dash}'
        parts.append(f'<polyline points="{points}" {look}/>')
        y = 22 + 18 * i
        if y < height - 8:
            parts.append(f'<path d="M536 {y - 4}h26" {look}/><text x="568" y="{y}">{_short(row)}</text>')
    return "".join(parts) + "</svg>"


def _short(row: Row, limit: int = 28) -> str:
    name = row.name if len(row.name) <= limit else row.name[: limit - 1] + "…"
    return _name(Row(name, row.role, row.values))


def _glossary(rows: Sequence[Row]) -> str:
    items = []
    for key, column in COLUMNS.items():
        reasons = {row.missing[key] for row in rows if row.role == "output" and key in row.missing}
        lacking = all(row.values[key] is None for row in rows if row.role == "output")
        why = f" Not measured: {html.escape('; '.join(sorted(reasons)))}." if reasons and lacking else ""
        text = f"{column.meaning} ({column.unit}; ideal: {column.ideal})."
        items.append(f"<dt>{html.escape(column.title)}</dt><dd>{html.escape(text)}{why}</dd>")
    return f"<dl>{''.join(items)}</dl>"
