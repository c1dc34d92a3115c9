"""CelebA: the aligned faces, 178 x 218, as a folder or a .zip, and one of their 40 attributes as a label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from texsyn.datasets.dataset import Dataset
from texsyn.datasets.files import NO_LABELS, Labels, of_files
from texsyn.datasets.fitting import Wish
from texsyn.images import InputError
from texsyn.images.collection import Collection

ADDRESS = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
SIDE = 178  # of the square in the middle of a face, where no resolution is given


def open_celeba(name: str, path: str, attribute: str, wish: Wish) -> Dataset:
    """The faces in a folder that holds img_align_celeba or img_align_celeba.zip, in that folder, or in that zip.

    attribute, such as Smiling, is looked up in list_attr_celeba.txt (or .csv) beside them: label 1 where they have it.
    """
    root = Path(path)
    faces = next((p for p in (root / "img_align_celeba", root / "img_align_celeba.zip") if p.exists()), root)
    if not faces.exists():
        raise InputError(f"{name}: {path} does not exist; img_align_celeba.zip is published at {ADDRESS}")
    found = Collection(faces)
    labels = _labels(name, found, faces, attribute) if attribute else NO_LABELS
    if wish.resolution is None:
        wish = replace(wish, resolution=(SIDE, SIDE))
    return of_files(name, found, labels, wish)


def _labels(name: str, found: Collection, faces: Path, attribute: str) -> Labels:
    folders = (faces, faces.parent, faces.parent / "Anno")
    files = [folder / file for folder in folders for file in ("list_attr_celeba.txt", "list_attr_celeba.csv")]
    file = next((p for p in files if p.is_file()), None)
    if file is None:
        raise InputError(f"{name}: no list_attr_celeba.txt lies beside {faces}; it is published at {ADDRESS}")
    has = read_attribute(file, attribute)
    names = [PurePosixPath(one).name for one in found.names]
    missing = [one for one in names if one not in has]
    if missing:
        raise InputError(f"{file.name}: has no line for {missing[0]} and {len(missing) - 1} other pictures")
    return np.array([has[one] for one in names]), (f"not {attribute}", attribute)


def read_attribute(file: Path, attribute: str) -> dict[str, int]:
    """1 or 0 for each picture's name.

    The .txt has how many pictures there are on its first line and the attributes on its second; the .csv has the word
    image_id and the attributes on its first. Then a line for each picture has its name and 1 or -1 for each of them.
    """
    lines = [line.replace(",", " ").split() for line in file.read_text("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line]
    counted = bool(lines) and len(lines[0]) == 1 and lines[0][0].isdecimal()
    names, rows = (lines[1], lines[2:]) if counted and len(lines) > 1 else (lines[0][1:] if lines else [], lines[1:])
    if counted and int(lines[0][0]) != len(rows):
        raise InputError(f"{file.name}: announces {lines[0][0]} pictures and has lines for {len(rows)}")
    if attribute not in names:
        raise InputError(f"{file.name}: has no attribute {attribute}; accepted are {', '.join(names)}")
    place = 1 + names.index(attribute)
    wrong = next((row for row in rows if len(row) != 1 + len(names) or row[place] not in ("1", "-1", "0")), None)
    if wrong is not None:
        raise InputError(f"{file.name}: the line of {wrong[0]} does not have 1 or -1 for {len(names)} attributes")
    return {row[0]: int(row[place] == "1") for row in rows}
