"""Pictures in files: folders and zips, whose sub-folders or dataset.json are labels, and whatever else loads by number.

Sets of up to Wish.memory bytes, once brought to size, are decoded when they are opened; larger ones whenever a batch
asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Protocol

import numpy as np

from texsyn.datasets.dataset import Dataset, Pictures, PicturesOnDemand
from texsyn.datasets.fitting import FILTERS, Frame, Wish
from texsyn.images import InputError, Picture, Size
from texsyn.images.collection import Collection

#: a label (n,) for each picture and the names of the classes; (None, ()) where there are none
Labels = tuple[np.ndarray | None, tuple[str, ...]]
NO_LABELS: Labels = (None, ())


class Files(Protocol):
    """Pictures that are loaded by their number."""

    def __len__(self) -> int: ...
    def load(self, k: int) -> Picture: ...
    def marks(self) -> Iterator[str]: ...


def of_files(name: str, files: Files, labels: Labels, wish: Wish) -> Dataset:
    """The dataset of pictures in files. InputError for the first that is broken or unlike the others."""
    chosen = wish.chosen(len(files), name)
    first = _codes(files.load(int(chosen[0])))
    frame = wish.frame(*first.shape)

    def decode(k: int) -> np.ndarray:
        picture = files.load(int(chosen[k]))
        return _fitted(picture, frame, first.dtype)

    each, classes = (None if labels[0] is None else labels[0][chosen]), labels[1]
    shape = (len(chosen), frame.channels, frame.height, frame.width)
    if np.prod(shape, dtype=object) * first.itemsize > wish.memory:
        decode(0)
        return PicturesOnDemand(name, shape, decode, _marks(files, chosen), each, classes)
    codes = np.empty(shape, first.dtype)
    for k in range(len(codes)):
        codes[k] = decode(k)
    return Pictures(name, codes, each, classes)


def _marks(files: Files, chosen: np.ndarray) -> list[str]:
    every = list(files.marks())
    return [FILTERS, *(every[k] for k in chosen)]


def _codes(picture: Picture) -> np.ndarray:
    return picture.pixels.transpose(2, 0, 1)


def _fitted(picture: Picture, frame: Frame, dtype: np.dtype) -> np.ndarray:
    """The picture's codes in the frame, if they are like the first's."""
    codes = frame.fit(_codes(picture), picture.name)
    if codes.dtype != dtype:
        raise InputError(f"{picture.name}: has {codes.dtype} values and the first {dtype}; convert them to one type")
    if codes.dtype.kind == "f" and not 0 <= codes.min() <= codes.max() <= 1:
        raise InputError(
            f"{picture.name}: has values from {codes.min():.6g} to {codes.max():.6g}; floats in a set should lie "
            "between 0 and 1"
        )
    return codes


def of_codes(name: str, codes: np.ndarray, labels: Labels, wish: Wish) -> Dataset:
    """The dataset of decoded pictures (n, c, h, w), brought to size a thousand at a time."""
    chosen = wish.chosen(len(codes), name)
    codes, each = codes[chosen], (None if labels[0] is None else labels[0][chosen])
    frame = wish.frame(*codes.shape[1:])
    shape = (len(codes), frame.channels, frame.height, frame.width)
    if np.prod(shape, dtype=object) * codes.itemsize > wish.memory:
        said = f"{len(codes)} pictures of {Size(frame.height, frame.width)} take more than {wish.memory} bytes"
        raise InputError(f"{name}: {said}; give a smaller resolution, or a limit")
    parts = [frame.fit(codes[start : start + 1000], name) for start in range(0, len(codes), 1000)]
    return Pictures(name, np.concatenate(parts), each, labels[1])


# --------------------------------------------------------------------------------------------------- folders and zips


def of_collection(name: str, path: str, wish: Wish, *, labelled: bool = True) -> Dataset:
    """The dataset of a folder or a .zip."""
    found = Collection(path)
    return of_files(name, found, labels_of(found) if labelled else NO_LABELS, wish)


def labels_of(found: Collection) -> Labels:
    """Those of a dataset.json, else the folders at the top, if there are two or more and every picture lies in one."""
    told = found.read("dataset.json")
    if told is not None:
        return _labels_of_json(found, told)
    tops = [PurePosixPath(name).parts[:-1][:1] for name in found.names]
    classes = sorted({top[0] for top in tops if top})
    if len(classes) < 2 or not all(tops):
        return NO_LABELS
    place = {top: k for k, top in enumerate(classes)}
    return np.array([place[top[0]] for top in tops]), tuple(classes)


def _labels_of_json(found: Collection, told: bytes) -> Labels:
    """Labels as StyleGAN's datasets have them: {"labels": [["00000/img0.png", 6], ...]}, or null for none."""
    where = f"{found.path.name}: dataset.json"
    try:
        listed = json.loads(told)["labels"]
        if listed is None:
            return NO_LABELS
        by_name = dict(listed)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f'{where}: is not {{"labels": [["NAME", NUMBER], ...]}}') from None
    missing = [name for name in found.names if name not in by_name]
    if missing:
        raise InputError(f"{where}: has no label for {missing[0]} and {len(missing) - 1} others")
    labels = [by_name[name] for name in found.names]
    if any(type(label) is not int or not 0 <= label < 2**20 for label in labels):
        raise InputError(f"{where}: has labels that are not whole numbers from 0; only such are classes")
    n_classes = max(labels) + 1
    return (np.array(labels), tuple(map(str, range(n_classes)))) if n_classes > 1 else NO_LABELS
