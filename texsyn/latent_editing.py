"""Editing by latents: what can be done with the styles of an image GAN once it is trained.

A picture of a network with styles is made from ws (n_styles, latent), a style w for each of its layers, coarse ones
first. Styles are mixed row by row, averaged, added and subtracted (Radford, Metz and Chintala 2016, section 6.3.2, of
latents; Karras, Laine and Aila 2019, of styles), moved along directions in which they vary (Härkönen and others 2020,
"GANSpace") or to which layers answer (Shen and Zhou 2021, "Closed-form factorization of latent semantics in GANs").
For the styles of a given picture see texsyn.projection.

What is found is kept in a file, with the fingerprint of the generator that it belongs to, and stands wherever a seed
does. Nothing here knows the networks: they say themselves what their rows are (see texsyn.gan.networks.style).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from texsyn.gan.image_model import ImageModel, slerp
from texsyn.images import InputError, write_atomically
from texsyn.ot.nearest import one_torch_thread

LATENT, DIRECTIONS = "texsyn-latent-1", "texsyn-directions-1"  # formats of files
PARTS = {"coarse": (0, 2), "middle": (2, 8), "fine": (8, math.inf)}  # sides beyond and up to, in first sides
SAMPLES = 10_000  # styles that principal directions are taken of


# ---- codes: seeds, or styles that were kept


@dataclass(frozen=True, eq=False)
class Latent:
    """Styles ws (n_styles, latent) of one picture; about: where they come from, JSON-able. A thing that is kept.

    noise: what the picture's own noise is a function of (see ImageModel.keys), None where it has that of all.
    """

    ws: Tensor
    about: dict[str, Any] = field(default_factory=dict)
    noise: int | None = None


Code = int | Latent  #: a picture of a model: the one of a seed, or of styles that were kept


def styles_of(
    model: ImageModel,
    codes: Sequence[Code],
    *,
    label: int | None = None,
    truncation: float | None = None,
    cutoff: int | None = None,
    centre: str | None = None,
) -> Tensor:
    """Styles (n, n_styles, latent) of codes. Those that were kept stay as they are, label and truncation are for seeds.

    ValueError as for ImageModel.styles, and for kept ones that do not fit or belong to another model.
    """
    rows, fingerprint = [torch.empty(0, model.styled.n_styles, model.config.latent)], ""
    for code in codes:
        if isinstance(code, Latent):
            fingerprint = fingerprint or model.generator_fingerprint
            _require_own(code.about, fingerprint, "this latent")
            model.styled.require_styles(code.ws[None])
            rows.append(code.ws[None].float())
        else:
            rows.append(
                model.styles(1, seed=code, label=label, truncation=truncation, cutoff=cutoff, centre=centre)
            )  # fmt: skip
    return torch.cat(rows)


def _require_own(about: Mapping[str, Any], fingerprint: str, what: str) -> None:
    """ValueError for what says that it belongs to another generator."""
    own = about.get("generator", fingerprint)
    if own != fingerprint:
        raise ValueError(
            f"{what} belongs to the model {about.get('arch', '')} of weights {str(own)[:12]}, not to these of "
            f"{fingerprint[:12]}"
        )


def arithmetic(groups: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Sum of sign times the mean of each group's styles (n, n_styles, latent), sign 1 or -1: (n_styles, latent).

    Means of three or so are steadier than single ones (Radford, Metz and Chintala 2016). ValueError unless one group
    more is added than taken away: styles lie about their average, not about 0.

    >>> a, b, c = (torch.full((1, 1, 2), float(k)) for k in (1, 2, 5))
    >>> arithmetic([(1, a), (-1, b), (1, c)]).tolist()
    [[4.0, 4.0]]
    """
    signs = [sign for sign, _ in groups]
    if set(signs) - {1, -1} or sum(signs) != 1:
        raise ValueError(
            f"{signs.count(1)} added and {signs.count(-1)} taken away: one group more should be added than taken away"
        )
    return torch.stack([sign * ws.mean(0) for sign, ws in groups]).sum(0)


# ---- rows of styles


def rows_named(model: ImageModel, text: str) -> tuple[int, ...]:
    """Rows by name or number: "coarse", "middle", "fine" or "all", or such as 0-6 or 0,2,4-6. ValueError for others.

    Coarse rows are of layers up to twice the side of the first one, middle ones up to eight times, fine ones above:
    4 and 8, 16 and 32, and from 64 pixels on in a network that begins with 4, as in Karras, Laine and Aila 2019,
    section 3.1; what begins with more is divided likewise.
    """
    sides, n = model.styled.sides(), model.styled.n_styles
    if text == "all":
        return tuple(range(n))
    if text in PARTS:
        low, high = (limit * sides[0] for limit in PARTS[text])
        found = tuple(i for i, side in enumerate(sides) if low < side <= high)
        if not found:
            raise ValueError(f"rows={text!r}: none is above {low} pixels; sides are {', '.join(map(str, sides))}")
        return found
    if not re.fullmatch(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*", text):
        raise ValueError(f"rows={text!r} should be {', '.join(PARTS)}, all, or numbers such as 0-3 or 0,2,4-6")
    found = ()
    for part in text.split(","):
        first, _, last = part.partition("-")
        rows = range(int(first), int(last or first) + 1)
        if not rows or rows[-1] >= n:
            raise ValueError(f"rows={part!r} should be from 0 to {n - 1}, the lower one first")
        found += tuple(row for row in rows if row not in found)
    return tuple(sorted(found))


def mixed(ws: Tensor, others: Tensor, rows: Sequence[int]) -> Tensor:
    """ws (..., n_styles, latent) with these rows of others.

    >>> mixed(torch.zeros(3, 1), torch.ones(3, 1), (0, 2)).flatten().tolist()
    [1.0, 0.0, 1.0]
    """
    taken = torch.zeros(ws.shape[-2], 1, dtype=torch.bool)
    taken[list(rows)] = True
    return torch.where(taken, others, ws)


def mixing_sheet(model: ImageModel, columns: Tensor, rows: Tensor, which: Sequence[int]) -> Tensor:
    """Pictures ((n + 1) (m + 1), c, h, w) in reading order, as in figure 3 of Karras, Laine and Aila 2019.

    Behind a first row with the pictures of columns (m, n_styles, latent) and a first column with those of rows
    (n, n_styles, latent), each has rows `which` of its column's styles and all else of its row's. The corner is grey.
    """
    above, left = model.synthesised(columns), model.synthesised(rows)
    found = [torch.full_like(above[:1], 0.5), above]
    for ws, own in zip(rows, left, strict=True):
        found += [own[None], model.synthesised(mixed(ws[None], columns, which))]
    return torch.cat(found)


def truncation_sheet(
    model: ImageModel,
    code: Code,
    psis: Sequence[float],
    cutoffs: Sequence[int | None] = (None,),
    *,
    label: int | None = None,
    centre: str | None = None,
) -> Tensor:
    """Pictures (len(cutoffs) len(psis), c, h, w) of one code, a row for each cutoff and in it one for each psi."""
    if isinstance(code, Latent):
        raise ValueError("truncation is for seeds; a latent that was kept stays as it is")
    each = [
        model.styles(1, seed=code, label=label, truncation=psi, cutoff=cutoff, centre=centre)
        for cutoff in cutoffs
        for psi in psis
    ]
    return model.synthesised(torch.cat(each))


# ---- ways


def way(
    model: ImageModel,
    codes: Sequence[Code],
    n_frames: int,
    *,
    space: str = "z",
    label: int | None = None,
    truncation: float | None = None,
    cutoff: int | None = None,
    centre: str | None = None,
    canvases: Sequence[Tensor] | None = None,
) -> Iterator[Tensor]:
    """n_frames pictures (c, h, w) in [0, 1] from code to code and back to the first, which does not come twice.

    space "z": latents of seeds go along great circles (see slerp), of any network; "w": styles go along straight lines,
    which is where a picture changes most evenly (Karras, Laine and Aila 2019, section 4.1). canvases: of a StyleGAN3
    where points of each frame lie. ValueError as for ImageModel.sample, for kept styles in "z", where there are fewer
    frames than codes, and for other than n_frames canvases.
    """
    if space not in ("z", "w"):
        raise ValueError(f"space={space!r} should be z or w")
    if not 1 <= len(codes) <= n_frames:
        raise ValueError(f"n_frames={n_frames} should be at least the {len(codes)} codes that are passed")
    how: dict[str, Any] = {"truncation": truncation, "cutoff": cutoff, "centre": centre}
    model.sample(0, seed=0, label=label, **how)  # what is refused is refused now, not with the first frame
    if canvases is not None and len(canvases) != n_frames:
        raise ValueError(f"{len(canvases)} canvases should be n_frames={n_frames}")
    if canvases is not None:
        model.canvas  # noqa: B018 (refuses networks without one)
    canvas = None if canvases is None else iter(canvases)

    def shown(ws: Tensor) -> Tensor:
        return model.synthesised(ws[None], canvas=None if canvas is None else next(canvas))[0]

    if space == "w":
        ends = styles_of(model, codes, label=label, **how)
        return _between(ends, n_frames, torch.lerp, shown)
    seeds = [code for code in codes if isinstance(code, int)]
    if len(seeds) < len(codes):
        raise ValueError("styles that were kept have no latent: pass them in space w")
    beyond = None if model.has_styles else truncation
    ends = torch.cat([model.latents(1, seed=seed, truncation=beyond) for seed in seeds])
    labels = model.labels(1, seed=seeds[0], label=label)

    def made(z: Tensor) -> Tensor:
        if model.has_styles:
            return shown(model.styles_of(z[None], labels, **how)[0])
        with one_torch_thread():
            return model.made(z[None], labels)[0]

    return _between(ends, n_frames, slerp, made)


def _between(
    ends: Tensor, n_frames: int, between: Callable[[Tensor, Tensor, float], Tensor], made: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    n = len(ends)
    for i, (a, b) in enumerate(zip(ends, ends.roll(-1, 0), strict=True)):
        first, last = i * n_frames // n, (i + 1) * n_frames // n
        for k in range(first, last):
            yield made(between(a, b, (k - first) / (last - first)))


# ---- directions


@dataclass(frozen=True, eq=False)
class Directions:
    """Ways in which to move styles: vectors (k, latent) of length 1, spread (k,) how far a strength of 1 goes.

    rows: those of a picture's styles that are moved. about: where they come from, JSON-able.
    """

    vectors: Tensor
    spread: Tensor
    rows: tuple[int, ...]
    about: dict[str, Any] = field(default_factory=dict)

    def require(self, number: int, strength: float) -> None:
        """ValueError for a number that there is not, and a strength that is not finite."""
        if not 0 <= number < len(self.vectors):
            raise ValueError(f"direction {number} should be from 0 to {len(self.vectors) - 1}")
        if not math.isfinite(strength):
            raise ValueError(f"strength={strength} should be a finite number")

    def moved(self, ws: Tensor, number: int, strength: float) -> Tensor:
        """ws (..., n_styles, latent) with rows `rows` moved by strength times spread along the vector of that number.

        ValueError as for require(), and for styles of another shape.
        """
        self.require(number, strength)
        latent = self.vectors.shape[1]
        if ws.shape[-1] != latent or ws.shape[-2] <= max(self.rows):
            raise ValueError(f"ws={tuple(ws.shape)} should be (.., at least {max(self.rows) + 1}, {latent})")
        return mixed(ws, ws + strength * self.spread[number] * self.vectors[number], self.rows)


def principal_directions(
    model: ImageModel,
    count: int,
    *,
    rows: Sequence[int] | None = None,
    n: int = SAMPLES,
    seed: int = 0,
    label: int | None = None,
) -> Directions:
    """The `count` orthogonal directions in which n styles vary most, a strength of 1 being their standard deviation.

    GANSpace (Härkönen and others 2020, section 2.2), by eigenvectors of the covariance in float64, not by incremental
    steps. Their signs: the largest coordinate is positive. Memory: latent^2 numbers. ValueError for a count beyond the
    latent, and for n below 2.
    """
    latent, rows = model.styled.design.latent, _rows(model, rows)
    _require_count(count, latent)
    if n < 2:
        raise ValueError(f"n={n} styles should be at least 2")
    _, covariance = _moments(model.mapped(n, seed=seed, label=label), latent)
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    spread = values.flip(0)[:count].clamp(min=0).sqrt()
    about = {"method": "pca", "styles": n, "seed": seed} | _origin(model)
    return Directions(_signed(vectors.T.flip(0)[:count]).float(), spread.float(), rows, about)


def factored_directions(model: ImageModel, count: int, *, rows: Sequence[int] | None = None) -> Directions:
    """The `count` orthogonal directions to which the layers of these rows answer most: right singular vectors of A.

    A (n_out, latent) has the weights of all maps from a style to what it scales, under each other: SeFa (Shen and Zhou
    2021, equation 4), without the rows that only pictures look at. Signs as for principal_directions. A strength of 1
    is the root mean square of the standard deviations of a style's coordinates, where theirs is 1 of the coordinates
    itself, so that strengths are of one size for all models. ValueError for a count beyond the rank that A can have,
    and for rows without such a map.
    """
    rows = _rows(model, rows)
    maps = [model.styled.modulations()[row] for row in rows]
    weights = [one.used()[0].detach().double().cpu() for one in maps if one is not None]
    if not weights:
        raise ValueError(f"rows={', '.join(map(str, rows))}: only pictures look at those; take others too")
    a = torch.cat(weights)
    _require_count(count, min(a.shape))
    vectors = torch.linalg.svd(a, full_matrices=False).Vh[:count]
    _, covariance = _moments(model.mapped(SAMPLES, seed=0), a.shape[1])
    spread = covariance.diagonal().mean().sqrt().expand(count)
    return Directions(_signed(vectors).float(), spread.float().clone(), rows, {"method": "sefa"} | _origin(model))


def direction_sheet(model: ImageModel, ws: Tensor, directions: Directions, strengths: Sequence[float]) -> Tensor:
    """Pictures (k len(strengths), c, h, w) of styles ws (n_styles, latent): a row for each of k directions."""
    each = [directions.moved(ws, k, strength) for k in range(len(directions.vectors)) for strength in strengths]
    return model.synthesised(torch.stack(each))


def _require_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise ValueError(f"count={count} should be from 1 to {most}")


def _rows(model: ImageModel, rows: Sequence[int] | None) -> tuple[int, ...]:
    n = model.styled.n_styles
    rows = tuple(range(n)) if rows is None else tuple(rows)
    if not rows or min(rows) < 0 or max(rows) >= n or len(set(rows)) < len(rows):
        raise ValueError(f"rows={list(rows)} should be different ones from 0 to {n - 1}")
    return rows


def _moments(parts: Iterator[Tensor], latent: int) -> tuple[Tensor, Tensor]:
    """Mean (latent,) and covariance (latent, latent) of styles that come in parts, in float64."""
    n, total, square = 0, torch.zeros(latent, dtype=torch.float64), torch.zeros(latent, latent, dtype=torch.float64)
    for w in parts:
        n, total, square = n + len(w), total + w.double().sum(0), square + w.double().T @ w.double()
    mean = total / n
    return mean, (square - n * torch.outer(mean, mean)) / (n - 1)


def _signed(vectors: Tensor) -> Tensor:
    """The rows of vectors, each with the sign that makes its largest coordinate positive."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * largest.sign()


def _origin(model: ImageModel) -> dict[str, Any]:
    return {"arch": model.config.arch, "generator": model.generator_fingerprint}


# ---- files


def save_latent(
    path: str | Path, model: ImageModel, ws: Tensor, *, how: str, noise: int | None = None, overwrite: bool = False
) -> None:
    """Keep styles ws (n_styles, latent) of a model's picture in a safetensors file; how: in words, what made them.

    noise: see Latent.
    ValueError for other shapes and values that are not finite; OutputError and OutputExists as for pictures.
    """
    model.styled.require_styles(ws[None])
    about = {"format": LATENT, "how": how} | ({} if noise is None else {"noise": noise}) | _origin(model)
    _write(path, {"ws": ws}, about, overwrite)


def load_latent(path: str | Path) -> Latent:
    """What save_latent wrote. InputError for anything else."""
    tensors, about = _read(path, LATENT, {"ws": 2})
    noise = about.pop("noise", None)
    if noise is not None and (type(noise) is not int or not -(2**63) <= noise < 2**63):
        raise InputError(f"{Path(path).name}: its noise should be a whole number of 64 bits")
    return Latent(tensors["ws"], about, noise)


def save_directions(path: str | Path, directions: Directions, *, overwrite: bool = False) -> None:
    """Keep directions in a safetensors file. Errors as for save_latent."""
    about = {"format": DIRECTIONS, "rows": list(directions.rows)} | directions.about
    _write(path, {"vectors": directions.vectors, "spread": directions.spread}, about, overwrite)


def load_directions(path: str | Path) -> Directions:
    """What save_directions wrote. InputError for anything else."""
    tensors, about = _read(path, DIRECTIONS, {"vectors": 2, "spread": 1})
    rows = about.pop("rows", None)
    fits = isinstance(rows, list) and rows and all(type(row) is int and row >= 0 for row in rows)
    if not fits or len(tensors["spread"]) != len(tensors["vectors"]):
        raise InputError(f"{Path(path).name}: its directions, their spreads and rows do not belong together")
    return Directions(tensors["vectors"], tensors["spread"], tuple(rows), about)


def kept_in(path: str | Path) -> dict[str, Any] | None:
    """What a file of a latent or of directions says of itself, and how many there are; None of other files."""
    try:
        with safe_open(path, framework="pt") as f:
            about = json.loads((f.metadata() or {}).get("texsyn", "null"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None
    kind = about.get("format") if isinstance(about, dict) else None
    if kind == LATENT:
        return about | {"rows": len(load_latent(path).ws)}
    if kind == DIRECTIONS:
        return about | {"directions": len(load_directions(path).vectors)}
    return None


def require_directions(model: ImageModel, directions: Directions) -> None:
    """ValueError for directions of another model, and for those that do not fit."""
    _require_own(directions.about, model.generator_fingerprint, "this direction")
    directions.moved(torch.zeros(model.styled.n_styles, model.config.latent), 0, 0.0)


def _write(path: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], overwrite: bool) -> None:
    from safetensors.torch import save

    kept = {name: t.detach().float().cpu().contiguous() for name, t in tensors.items()}
    for name, t in kept.items():
        if not bool(t.isfinite().all()):
            raise ValueError(f"{name} has a NaN or an infinite value")
    write_atomically(path, save(kept, metadata={"texsyn": json.dumps(dict(about))}), overwrite=overwrite)


def _read(path: str | Path, kind: str, wanted: Mapping[str, int]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of so many axes, float32, and what the file says of them."""
    name, what = Path(path).name, kind.split("-")[1]
    try:
        with safe_open(path, framework="pt") as f:
            text = (f.metadata() or {}).get("texsyn")
            found = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
        about = json.loads(text) if text else None
    except (SafetensorError, OSError, ValueError, RecursionError) as e:
        raise InputError(f"{name}: cannot be read as a {what} file ({' '.join(str(e).split())[:200]})") from e
    if not isinstance(about, dict) or about.pop("format", None) != kind:
        raise InputError(f"{name}: a safetensors file, but none of {what} that texsyn wrote")
    if {key: t.ndim for key, t in found.items()} != dict(wanted) or not all(t.numel() for t in found.values()):
        raise InputError(f"{name}: should hold {' and '.join(wanted)} and nothing else")
    for key, t in found.items():
        if t.dtype != torch.float32 or not bool(t.isfinite().all()):
            raise InputError(f"{name}: {key} should be of finite 32-bit numbers")
    return found, about
