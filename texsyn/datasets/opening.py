"""From the word on the command line to a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from texsyn.datasets.celeba import open_celeba
from texsyn.datasets.cifar import LAYOUTS, open_cifar
from texsyn.datasets.crops import N_CROPS, SIDE, open_crops
from texsyn.datasets.dataset import Dataset
from texsyn.datasets.derived import Edges, Mirrored, Negative, SideBySide
from texsyn.datasets.files import of_codes, of_collection
from texsyn.datasets.fitting import Wish
from texsyn.datasets.idx import SETS, open_idx
from texsyn.datasets.lsun import open_lsun
from texsyn.datasets.points import N_POINTS, gaussians, swiss_roll, two_moons
from texsyn.images import InputError
from texsyn.images.picture import printable

_PARTS = ("train", "test", "all")


@dataclass(frozen=True)
class Name:
    """A dataset that has a name: how it is written, what it is, and how it is opened with what follows the colon."""

    form: str
    about: str
    opened: Callable[[str, str, Wish], Dataset]


def _digits(name: str, rest: str, wish: Wish) -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("digits: lie in scikit-learn, which pip install 'texsyn[data]' brings") from None
    found = load_digits()
    images = (found.images / 16).astype(np.float32)[:, None]  # 0..16, so every value is exact
    return of_codes(name, images, (found.target, tuple("0123456789")), wish)


def _parted(rest: str, name: str) -> tuple[str, str]:
    """(path, part) of PATH or PATH#PART."""
    path, mark, part = rest.rpartition("#")
    if not mark or os.path.exists(rest):
        return rest, "train"
    if part not in _PARTS:
        raise InputError(f"{name}:{printable(rest)}: has no part {part!r}; accepted are {', '.join(_PARTS)}")
    return path, part


def _idx(name: str, rest: str, wish: Wish) -> Dataset:
    return open_idx(name, *_parted(rest, name), wish)


def _cifar(name: str, rest: str, wish: Wish) -> Dataset:
    return open_cifar(name, *_parted(rest, name), wish)


def _celeba(name: str, rest: str, wish: Wish) -> Dataset:
    path, mark, attribute = rest.rpartition("#")
    return open_celeba(name, *((path, attribute) if mark and not os.path.exists(rest) else (rest, "")), wish)


def _published(address: str) -> Callable[[str, str, Wish], Dataset]:
    def opened(name: str, rest: str, wish: Wish) -> Dataset:
        if not os.path.exists(rest):
            raise InputError(f"{name}: {printable(rest)} does not exist; the pictures are published at {address}")
        return of_collection(name, rest, wish, labelled=False)

    return opened


def _points(make: Callable[[str, int], Dataset]) -> Callable[[str, str, Wish], Dataset]:
    def opened(name: str, rest: str, wish: Wish) -> Dataset:
        if wish.resolution or wish.channels:
            raise InputError(f"{name}: are points of the plane, which have no resolution and no channels to choose")
        return make(name, wish.limit or N_POINTS)

    return opened


def _negative(name: str, rest: str, wish: Wish) -> Dataset:
    return Negative(f"{name}:{rest}", _opened(rest, wish))


def _edges(name: str, rest: str, wish: Wish) -> Dataset:
    return Edges(f"{name}:{rest}", _opened(rest, wish))


_IDX = "28 x 28, 60,000 to train on (#test: 10,000, #all), 10 classes: a folder of the IDX files, packed or not"
_CIFAR = "32 x 32, 50,000 to train on (#test: 10,000, #all): the folder of the Python batches, or the .tar.gz"
#: by what stands before the colon, or is the whole word
NAMES = {
    "digits": Name("digits", "scikit-learn's 1,797 handwritten digits, 8 x 8, 10 classes", _digits),
    **{name: Name(f"{name}:FOLDER", _IDX, _idx) for name in SETS},
    **{name: Name(f"{name}:FOLDER", _CIFAR, _cifar) for name in LAYOUTS},
    "celeba": Name("celeba:FOLDER[#ATTRIBUTE]", "aligned faces, cut to 178 x 178; an attribute is the label", _celeba),
    "celeba-hq": Name(
        "celeba-hq:FOLDER", "CelebA-HQ, a folder or a .zip, no labels",
        _published("https://github.com/tkarras/progressive_growing_of_gans"),
    ),
    "ffhq": Name(
        "ffhq:FOLDER", "FFHQ, a folder (its sub-folders are no classes) or a .zip",
        _published("https://github.com/NVlabs/ffhq-dataset"),
    ),
    "lsun": Name("lsun:FOLDER", "a category of LSUN: an LMDB database, a folder or a .zip", open_lsun),
    "crops": Name("crops:IMAGE", f"{N_CROPS} crops of one picture, {SIDE} x {SIDE} or the resolution", open_crops),
    "gaussians8": Name("gaussians8", "points of the plane: 8 Gaussians on a ring", _points(gaussians)),
    "gaussians25": Name("gaussians25", "points: 25 Gaussians on a grid", _points(gaussians)),
    "swiss-roll": Name("swiss-roll", "points: a spiral", _points(swiss_roll)),
    "two-moons": Name("two-moons", "points: two half circles", _points(two_moons)),
    "negative": Name("negative:DATA", "the pictures of DATA with light and dark exchanged", _negative),
    "edges": Name("edges:DATA", "the edges in the pictures of DATA", _edges),
}  # fmt: skip


def describe() -> str:
    """A line for everything that open_dataset takes, for a list on the screen."""
    files = ("FOLDER or FILE.zip", "pictures; folders in it, or a dataset.json, are classes")
    pair = ("DATA+DATA", "two sets side by side, as channels, unpaired")
    rows = [files, *((name.form, name.about) for name in NAMES.values()), pair]
    return "\n".join(f"{form:<27}{about}" for form, about in rows)


def is_dataset(spec: str) -> bool:
    """Whether open_dataset would take `spec`, as far as its words say; a single picture's path is not one.

    >>> is_dataset("digits"), is_dataset("mnist:files"), is_dataset("skimage:grass"), is_dataset("grass.png")
    (True, True, False, False)
    """
    return _named(spec) or _is_collection(spec) or _halves(spec) is not None


def open_dataset(
    spec: str,
    *,
    resolution: int | tuple[int, int] | None = None,
    channels: int | None = None,
    mirror: bool = False,
    enlarge: bool = False,
    limit: int | None = None,
    memory: int = Wish.memory,
) -> Dataset:
    """The dataset that `spec` means: a folder or a .zip of pictures, or one of describe().

    resolution: the side of squares, or (height, width); pictures are cut in the middle to that aspect and shrunk by
    area, or enlarged, bilinearly, with `enlarge`. None: all have one size already. channels: 1 or 3, where pictures
    have the other; None: those of the first. mirror: every picture also with left and right exchanged, as numbers
    n/2 and on. limit: learn that many only, chosen by hash. memory: bytes up to which pictures are decoded at once.

    InputError, one sentence, for a name that is not known, files that are missing or broken, and pictures that do not
    fit. A name goes before a folder of that name, which ./NAME means.

    >>> import torch
    >>> ring = open_dataset("gaussians8", limit=1000)
    >>> ring.n, ring.batch(torch.arange(2)).shape, ring.modes.shape
    (1000, torch.Size([2, 2, 1, 1]), torch.Size([8, 2]))
    """
    sides = (resolution, resolution) if isinstance(resolution, int) else resolution
    if sides is not None and (len(sides) != 2 or min(sides) < 1):
        raise ValueError(f"resolution={resolution} should be a side, or a height and a width, of at least 1")
    for what, value in (("channels", channels), ("limit", limit)):
        if value is not None and value < 1:
            raise ValueError(f"{what}={value} should be at least 1")
    data = _opened(spec, Wish(sides, channels, enlarge, limit, memory))
    return Mirrored(data) if mirror else data


def _opened(spec: str, wish: Wish) -> Dataset:
    halves = _halves(spec)
    if halves:
        left, right = halves
        return SideBySide(spec, _opened(left, wish), _opened(right, wish))
    if _named(spec):
        head, colon, rest = spec.partition(":")
        if colon and not rest:
            raise InputError(f"{spec} says nothing after the colon; write {NAMES[head].form}")
        return NAMES[head].opened(head, rest, wish)
    if _is_collection(spec):
        return of_collection(spec, spec, wish)
    if os.path.isfile(spec):
        raise InputError(f"{printable(spec)}: is one file; write crops:{printable(spec)} to learn crops of a picture")
    forms = ", ".join(name.form for name in NAMES.values())
    raise InputError(f"{printable(spec)}: is neither a folder, a .zip nor a name; names are {forms}")


def _named(spec: str) -> bool:
    """Whether it is one of NAMES, with a colon and what follows where its form has that."""
    head, colon, _ = spec.partition(":")
    return head in NAMES and bool(colon) == (":" in NAMES[head].form)


def _is_collection(spec: str) -> bool:
    return os.path.isdir(spec) or (spec.lower().endswith(".zip") and os.path.isfile(spec))


def _halves(spec: str) -> tuple[str, str] | None:
    """The two sides of DATA+DATA; None where a + is part of a path, or where there is none between two datasets."""
    path = spec.partition(":")[2] if _named(spec) else spec
    if "+" not in spec or os.path.exists(path):
        return None
    cuts = ((spec[:place], spec[place + 1 :]) for place, letter in enumerate(spec) if letter == "+")
    return next((cut for cut in cuts if all(map(is_dataset, cut))), None)
