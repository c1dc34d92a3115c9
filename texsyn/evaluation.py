"""Scores between two sets of pictures by the features of a network: FID and its relatives, with all they depend on.

A set is a folder, a zip file, a list of pictures, or one picture, which stands for crops of itself. Every result
carries the graph, the hash of the weights, the resizer, the tap and the counts, because numbers that differ in any of
them cannot be compared (see texsyn.metrics.inception).
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import texsyn
from texsyn.images import InputError, Picture, Region, Size, load
from texsyn.noise import NoiseField

METRICS = ("fid", "fid-inf", "kid", "is", "prdc", "sifid", "rsifid")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
MAX_ENTRY = 2**28  # bytes of a picture in a zip file, unpacked
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Crops:
    """n squares of side pixels, at places hashed from seed, of a set that is one picture."""

    n: int = 64
    side: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 2 or self.side < 1:
            raise ValueError(f"crops need n of 2 or more and a side of 1 or more, got n={self.n}, side={self.side}")


@dataclass(frozen=True)
class Evaluation:
    """scores: name -> number; details: name -> what the number depends on, JSON-able; record: what all share."""

    scores: dict[str, float]
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"scores": self.scores, **self.record, "details": self.details}


def pictures_of(source: Any, crops: Crops) -> tuple[Callable[[], Iterator[Picture]], int, str]:
    """(a function that loads the set's pictures one after the other, how many they are, what kind of set it is).

    source: a folder (searched with all its folders), a .zip, a picture or its path, or a list of them. Raises
    InputError for a set without pictures and for crops larger than the picture.
    """
    if isinstance(source, (list, tuple)):
        items = list(source)
        return lambda: (_one(item) for item in items), len(items), "list"
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        folder = Path(source)
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        if not paths:
            raise InputError(f"{folder.name}: a folder without pictures; accepted are {', '.join(ENDINGS)}")
        return lambda: (load(p) for p in paths), len(paths), "folder"
    if isinstance(source, (str, os.PathLike)) and str(source).lower().endswith(".zip"):
        names = _entries(source)
        return lambda: _from_zip(source, names), len(names), "zip"
    picture = _one(source)
    regions = _places(picture, crops)
    return lambda: (_cut(picture, region) for region in regions), len(regions), "crops"


def _one(item: Any) -> Picture:
    return item if isinstance(item, Picture) else load(item)


def _entries(path: str | os.PathLike[str]) -> list[str]:
    try:
        with zipfile.ZipFile(path) as file:
            found = sorted(i.filename for i in file.infolist() if i.filename.lower().endswith(ENDINGS))
            large = [i.filename for i in file.infolist() if i.filename in found and i.file_size > MAX_ENTRY]
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{Path(path).name}: cannot be read as a zip file ({error})") from None
    if large:
        raise InputError(f"{Path(path).name}: {large[0]} unpacks to more than the accepted {MAX_ENTRY} bytes")
    if not found:
        raise InputError(f"{Path(path).name}: a zip file without pictures; accepted are {', '.join(ENDINGS)}")
    return found


def _from_zip(path: str | os.PathLike[str], names: Sequence[str]) -> Iterator[Picture]:
    with zipfile.ZipFile(path) as file:
        for name in names:
            try:
                with file.open(name) as entry:
                    data = entry.read(MAX_ENTRY + 1)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError) as error:
                raise InputError(f"{Path(path).name}: {name} cannot be read ({error})") from None
            yield dataclasses.replace(load(data), name=Path(name).name)


def _places(picture: Picture, crops: Crops) -> list[Region]:
    """Where the crops lie, spread by hashes; crops may overlap."""
    free = Size(picture.size.height - crops.side + 1, picture.size.width - crops.side + 1) if (
        min(picture.size.height, picture.size.width) >= crops.side
    ) else None  # fmt: skip
    if free is None:
        raise InputError(
            f"{picture.name}: has {picture.size} pixels, and crops of {crops.side} do not fit; ask for less"
        )
    bits = NoiseField(crops.seed, channel=7).bits(Region(0, 0, 2, crops.n))
    rows, columns = (bits[0] % np.uint64(free.height)).tolist(), (bits[1] % np.uint64(free.width)).tolist()
    return [Region(int(y), int(x), crops.side, crops.side) for y, x in zip(rows, columns, strict=True)]


def _cut(picture: Picture, region: Region) -> Picture:
    pixels = picture.pixels[region.top : region.bottom, region.left : region.right]
    return dataclasses.replace(picture, pixels=pixels, palette=None, indices=None)


def evaluate(
    real: Any,
    fake: Any,
    metrics: Sequence[str] = ("fid", "kid", "prdc"),
    *,
    weights: str | os.PathLike[str] | None = None,
    tap: str = "2048",
    resize: str = "reference",
    crops: Crops | None = None,
    seed: int = 0,
    net: Any = None,
    device: str = "cpu",
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """The named scores of fake against real; see pictures_of() for what sets are, METRICS for the names.

    weights: the file, else it is looked for (texsyn.weights.find); SiFID needs torchvision's, the others the
    2015-12-05 network's. net: a network at hand instead. seed: of KID's subsets and rSIFID's weights. Raises
    ValueError for unknown words, InputError for sets or weights that cannot be used.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(f"metrics={','.join(unknown) or 'none'}: accepted are {', '.join(METRICS)}")
    crops = crops or Crops()
    sets = {"real": pictures_of(real, crops), "fake": pictures_of(fake, crops)}
    scores: dict[str, float] = {}
    details: dict[str, dict[str, Any]] = {}
    record: dict[str, Any] = {"texsyn": texsyn.__version__, "seed": seed}
    record |= {side: {"n": n, "kind": kind} for side, (_, n, kind) in sets.items()}
    if "crops" in (kind for _, _, kind in sets.values()):
        record["crops"] = dataclasses.asdict(crops)
    if set(metrics) - {"sifid", "rsifid"}:
        _by_vectors(sets, metrics, (weights, tap, resize, net, device, seed), on_progress, scores, details, record)
    for name in ("sifid", "rsifid"):
        if name in metrics:
            _by_places(name, sets, (weights, net, device, seed), scores, details)
    return Evaluation(scores, details, record)


def _by_vectors(
    sets: dict[str, Any],
    metrics: Sequence[str],
    how: tuple[Any, ...],
    on_progress: OnProgress | None,
    scores: dict[str, float],
    details: dict[str, dict[str, Any]],
    record: dict[str, Any],
) -> None:
    from texsyn.metrics.frechet import fid_infinity, frechet
    from texsyn.metrics.inception import features, inception
    from texsyn.metrics.inception_score import inception_score
    from texsyn.metrics.kid import kid
    from texsyn.metrics.neighbours import density_coverage, precision_recall

    weights, tap, resize, net, device, seed = how
    net = net if net is not None else inception("fid", weights, device=device)
    taps = (tap, "logits") if "is" in metrics else (tap,)
    total, done, found = sum(n for _, n, _ in sets.values()), 0, {}
    for side, (pictures, n, _) in sets.items():

        def said(count: int, side: str = side, before: int = done) -> None:
            if on_progress is not None:
                on_progress((before + count) / total, f"features of the {side} pictures")

        found[side] = features(net, pictures(), taps, resize=resize, on_progress=said)
        done += n
    x, y = found["real"][tap].values, found["fake"][tap].values
    record |= {"features": found["real"][tap].record() | {"n": [len(x), len(y)]}}

    def keep(name: str, result: Any, **values: float) -> None:
        scores.update(values or {name: float(result.value)})
        details[name] = {k: v for k, v in dataclasses.asdict(result).items() if not isinstance(v, np.ndarray)}

    if "fid" in metrics:
        keep("fid", frechet(x, y))
    if "fid-inf" in metrics:
        keep("fid-inf", fid_infinity(y, x, seed=seed))
    if "kid" in metrics:
        keep("kid", kid(x, y, seed=seed))
    if "is" in metrics:
        logits = found["fake"]["logits"].values
        keep("is", inception_score(logits, splits=min(10, max(1, len(logits) // 2))))
    if "prdc" in metrics:
        pr, dc = precision_recall(y, x, allow_unequal=True), density_coverage(y, x, allow_unequal=True)
        keep("precision_recall", pr, precision=pr.precision, recall=pr.recall)
        keep("density_coverage", dc, density=dc.density, coverage=dc.coverage)


def _by_places(
    name: str,
    sets: dict[str, Any],
    how: tuple[Any, ...],
    scores: dict[str, float],
    details: dict[str, dict[str, Any]],
) -> None:
    from texsyn.metrics.sifid import rsifid, sifid

    weights, net, device, seed = how
    x, y = (list(pictures()) for pictures, _, _ in sets.values())
    if name == "sifid":
        result = sifid(x, y, path=weights, net=net, device=device)
    else:
        result = rsifid(x, y, seed=seed, device=device)
    scores[result.name], details[result.name] = result.value, result.record()
