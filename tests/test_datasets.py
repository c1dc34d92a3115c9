"""Datasets from files that the tests write in the published layouts: what comes out against what was written."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from texsyn.datasets import describe, is_dataset, open_dataset
from texsyn.datasets.cifar import read_batch
from texsyn.datasets.dataset import Dataset, Pictures, PicturesOnDemand
from texsyn.datasets.fitting import resized
from texsyn.datasets.opening import NAMES
from texsyn.datasets.points import GRID, RING
from texsyn.gan.order import Batches, permutation
from texsyn.images import InputError, load, save
from texsyn.images.collection import Collection


def picture(seed: int, height: int = 6, width: int = 6, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    values = np.random.default_rng(seed).random((height, width, channels))
    return (values * top).astype(dtype) if dtype is not np.float32 else values.astype(dtype)


def put(folder: Path, name: str, pixels: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save(load(pixels), path, overwrite=True)
    return path


def packed(folder: Path) -> Path:
    """A .zip of the folder, beside it, and with what macOS puts into such files."""
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as file:
        for path in sorted(folder.rglob("*"), reverse=True):
            file.write(path, path.relative_to(folder).as_posix())
        file.writestr("__MACOSX/._0.png", b"no picture")
    return target


def every(data: Dataset) -> torch.Tensor:
    return data.batch(torch.arange(data.n))


def codes_of(x: torch.Tensor) -> np.ndarray:
    return np.rint((x.numpy().astype(np.float64) + 1) / 2 * 255).astype(np.uint8)


def refused(said: str, spec: str, **asked: Any) -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(spec, **asked)
    text = str(caught.value)
    assert said in text
    assert "\n" not in text
    assert not text.endswith(".")


# --------------------------------------------------------------------------------------------------- folders and zips


def test_a_folder_of_pictures_gives_their_codes_between_minus_one_and_one(tmp_path: Path) -> None:
    for k in range(3):
        put(tmp_path, f"{k}.png", picture(k))
    data = open_dataset(str(tmp_path))
    assert (data.n, data.channels, data.height, data.width, data.classes, data.kind) == (3, 3, 6, 6, (), "pictures")
    x = data.batch(torch.tensor([2, 0, 2]))
    assert x.dtype == torch.float32
    assert torch.equal(x[0], x[2])
    for row, k in enumerate((2, 0)):
        expected = picture(k).transpose(2, 0, 1) / 127.5 - 1
        assert np.abs(x[row].numpy() - expected).max() < 1e-6  # one rounding to float32
    with pytest.raises(ValueError, match="has no labels"):
        data.labels(torch.tensor([0]))


def test_black_and_white_are_exact(tmp_path: Path) -> None:
    put(tmp_path, "a.png", np.array([[0, 255], [255, 0]], np.uint8))
    assert every(open_dataset(str(tmp_path))).tolist() == [[[[-1, 1], [1, -1]]]]


def test_sub_folders_are_classes_and_a_zip_is_the_same_set(tmp_path: Path) -> None:
    for k, name in enumerate(("cats/0.png", "cats/1.png", "a-dogs/far/9.png", "a-dogs/3.png")):
        put(tmp_path / "set", name, picture(k))
    one, other = open_dataset(str(tmp_path / "set")), open_dataset(str(packed(tmp_path / "set")))
    assert one.classes == other.classes == ("a-dogs", "cats")
    assert one.labels(torch.arange(4)).tolist() == [0, 0, 1, 1]
    assert torch.equal(every(one), every(other))
    assert one.fingerprint == other.fingerprint
    assert one.labels(torch.tensor([3, 0])).dtype == torch.int64


@pytest.mark.parametrize("names", [("0.png", "cats/1.png", "dogs/1.png"), ("cats/0.png", "cats/1.png")])
def test_pictures_outside_sub_folders_or_a_single_class_are_no_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    for k, name in enumerate(names):
        put(tmp_path, name, picture(k))
    assert open_dataset(str(tmp_path)).classes == ()


@pytest.mark.parametrize("archive", [False, True])
def test_a_dataset_json_has_the_labels(tmp_path: Path, archive: bool) -> None:
    folder = tmp_path / "set"
    for k in range(3):
        put(folder, f"0000{k}/img{k}.png", picture(k))
    listed = [[f"0000{k}/img{k}.png", label] for k, label in enumerate((4, 0, 2))]
    (folder / "dataset.json").write_text(json.dumps({"labels": listed[::-1]}))
    data = open_dataset(str(packed(folder) if archive else folder))
    assert data.classes == ("0", "1", "2", "3", "4")
    assert data.labels(torch.arange(3)).tolist() == [4, 0, 2]
    (folder / "dataset.json").write_text('{"labels": null}')
    assert open_dataset(str(packed(folder) if archive else folder)).classes == ()
    for wrong, said in (
        ('{"labels": 3}', 'is not {"labels"'),
        ("[", 'is not {"labels"'),
        (json.dumps({"labels": listed[:2]}), "no label for 00002/img2.png"),
        (json.dumps({"labels": [[name, [0.5]] for name, _ in listed]}), "not whole numbers"),
    ):
        (folder / "dataset.json").write_text(wrong)
        refused(said, str(packed(folder) if archive else folder))


@pytest.mark.parametrize(("dtype", "name"), [(np.uint16, "x.png"), (np.float32, "x.tif")])
def test_deep_pictures_keep_their_depth(tmp_path: Path, dtype: type, name: str) -> None:
    pixels = picture(3, dtype=dtype)
    put(tmp_path, name, pixels)
    unit = pixels.astype(np.float64) / (65535 if dtype is np.uint16 else 1)
    got = every(open_dataset(str(tmp_path)))[0].permute(1, 2, 0).numpy()
    assert np.abs(got - (2 * unit - 1)).max() < 1e-6


def test_sets_beyond_the_memory_are_decoded_on_demand_to_the_same_values(tmp_path: Path) -> None:
    for k in range(4):
        put(tmp_path / "set", f"{'ab'[k % 2]}/{k}.png", picture(k, 8, 6))
    for source in (tmp_path / "set", packed(tmp_path / "set")):
        held = open_dataset(str(source), resolution=3)
        lazy = open_dataset(str(source), resolution=3, memory=4 * 27 - 1)
        assert isinstance(held, Pictures)
        assert isinstance(lazy, PicturesOnDemand)
        assert torch.equal(every(held), every(lazy))
        assert torch.equal(held.labels(torch.arange(4)), lazy.labels(torch.arange(4)))
        assert lazy.batch(torch.zeros(0, dtype=torch.int64)).shape == (0, 3, 3, 3)
    assert isinstance(open_dataset(str(source), resolution=3, memory=4 * 27), Pictures)


def test_a_set_has_one_size_one_type_and_pictures_that_are_whole(tmp_path: Path) -> None:
    refused("a folder without pictures", str(tmp_path))
    put(tmp_path, "a.png", picture(0, 6, 7))
    put(tmp_path, "b.png", picture(1, 6, 6))
    refused("b.png: has 6x6 pixels and the first has 7x6; give a resolution", str(tmp_path))
    refused(
        "a.png: its 7x6 pixels are too few for 7x7; give a smaller resolution, or enlarge", str(tmp_path), resolution=7
    )
    put(tmp_path, "b.png", picture(1, 6, 7, dtype=np.uint16))
    refused("b.png: has uint16 values and the first uint8", str(tmp_path))
    put(tmp_path, "b.png", picture(1, 6, 7, channels=1))
    refused("b.png: has 1 channels and the first has 3; say how many", str(tmp_path))
    assert open_dataset(str(tmp_path), channels=3).n == 2
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    refused("b.png: the PNG file is broken", str(tmp_path))


def test_floats_in_a_set_lie_between_0_and_1(tmp_path: Path) -> None:
    put(tmp_path, "a.tif", 2 * picture(0, dtype=np.float32))
    refused("floats in a set should lie between 0 and 1", str(tmp_path))


# ---------------------------------------------------------------------------------------------------- preprocessing


def test_shrinking_is_the_mean_over_the_area_of_a_pixel() -> None:
    """Against a sum over every pair of pixels of how much they overlap."""
    x = np.random.default_rng(0).random((2, 7, 10))

    def overlaps(m: int, n: int) -> np.ndarray:
        begin, end = np.arange(n)[:, None] * m / n, (np.arange(n)[:, None] + 1) * m / n
        return np.clip(np.minimum(end, np.arange(m) + 1) - np.maximum(begin, np.arange(m)), 0, None) * n / m

    for height, width in ((3, 4), (7, 5), (1, 1), (2, 9)):
        expected = overlaps(7, height) @ x @ overlaps(10, width).T
        assert np.abs(resized(x, height, width) - expected).max() < 1e-12


def test_whole_factors_agree_with_pillows_box_and_enlarging_with_its_bilinear() -> None:
    from PIL import Image

    codes = np.random.default_rng(1).integers(0, 256, (24, 36), dtype=np.uint8)
    for size, how in (((12, 12), Image.Resampling.BOX), ((72, 48), Image.Resampling.BILINEAR)):
        theirs = np.asarray(Image.fromarray(codes).resize(size, how)).astype(int)
        apart = np.abs(resized(codes, size[1], size[0]) - theirs)
        assert apart.max() <= 1  # Pillow rounds between the axes too
        assert apart.mean() < 0.5


def test_codes_are_rounded_once_with_halves_up() -> None:
    assert resized(np.array([[0, 1], [1, 0]], np.uint8), 1, 1).tolist() == [[1]]
    assert resized(np.array([[0, 1], [0, 0]], np.uint8), 1, 1).tolist() == [[0]]
    assert resized(np.full((5, 7), 65535, np.uint16), 3, 2).tolist() == [[65535] * 2] * 3


def test_pictures_are_cut_in_the_middle_to_the_aspect(tmp_path: Path) -> None:
    pixels = np.zeros((4, 10, 1), np.uint8)
    pixels[:, 3:7] = np.array([10, 20, 30, 40])[:, None]
    put(tmp_path, "a.png", pixels)
    assert codes_of(every(open_dataset(str(tmp_path), resolution=4)))[0, 0].tolist() == [[10, 20, 30, 40]] * 4
    assert codes_of(every(open_dataset(str(tmp_path), resolution=2)))[0, 0].tolist() == [[15, 35]] * 2
    assert open_dataset(str(tmp_path), resolution=(2, 5)).batch(torch.tensor([0])).shape == (1, 1, 2, 5)


def test_enlarging_has_to_be_asked_for() -> None:
    refused("digits: its 8x8 pixels are too few for 32x32", "digits", resolution=32)
    x = every(open_dataset("digits", resolution=32, enlarge=True))
    small = every(open_dataset("digits"))
    assert x.shape == (1797, 1, 32, 32)
    apart = torch.nn.functional.interpolate(small, (32, 32), mode="bilinear") - x
    assert apart.abs().max() < 1e-6


def test_grey_and_colour_become_each_other(tmp_path: Path) -> None:
    from PIL import Image

    colour = picture(0)
    put(tmp_path, "a.png", colour)
    grey = open_dataset(str(tmp_path), channels=1)
    assert codes_of(every(grey))[0, 0].tolist() == np.asarray(Image.fromarray(colour).convert("L")).tolist()
    put(tmp_path, "a.png", picture(0, channels=1))
    x = every(open_dataset(str(tmp_path), channels=3))
    assert torch.equal(x[:, 0], x[:, 2])
    assert torch.equal(x[:, :1], every(open_dataset(str(tmp_path))))
    refused("has 1 channels, which do not become 2", str(tmp_path), channels=2)


def test_alpha_is_dropped_where_it_is_opaque_and_refused_where_not(tmp_path: Path) -> None:
    pixels = picture(0, channels=4)
    put(tmp_path, "a.png", pixels)
    assert open_dataset(str(tmp_path)).channels == 4
    refused("a.png: has transparent pixels", str(tmp_path), channels=3)
    pixels[..., 3] = 255
    put(tmp_path, "b/a.png", pixels)
    assert codes_of(every(open_dataset(str(tmp_path / "b"), channels=3)))[0].tolist() == pixels[
        ..., :3
    ].transpose(2, 0, 1).tolist()  # fmt: skip


def test_mirroring_doubles_the_set() -> None:
    data, twice = open_dataset("digits"), open_dataset("digits", mirror=True)
    assert twice.n == 2 * data.n
    mixed = torch.tensor([5, 1797 + 5, 3593])
    x = twice.batch(mixed)
    assert torch.equal(x[0], data.batch(mixed[:1])[0])
    assert torch.equal(x[1], x[0].flip(2))
    assert not torch.equal(x[1], x[0])
    assert twice.labels(mixed).tolist() == data.labels(torch.tensor([5, 5, 1796])).tolist()
    assert twice.fingerprint != data.fingerprint


def test_a_limit_takes_that_many_from_all_classes(tmp_path: Path) -> None:
    for k in range(40):
        put(tmp_path, f"{'ab'[k // 20]}/{k:02}.png", picture(k))
    for spec in ("digits", str(tmp_path)):
        whole, part = open_dataset(spec), open_dataset(spec, limit=15)
        assert part.n == 15
        where = {row.numpy().tobytes(): k for k, row in enumerate(every(whole))}
        found = torch.tensor([where[row.numpy().tobytes()] for row in every(part)])
        assert len(found.unique()) == 15
        assert torch.equal(part.labels(torch.arange(15)), whole.labels(found))
        assert found.max() > whole.n / 2  # not the first ones
    assert set(part.labels(torch.arange(15)).tolist()) == {0, 1}
    refused("limit=1798 asks for more than its 1797 pictures", "digits", limit=1798)


def test_the_fingerprint_is_that_of_what_would_be_learned(tmp_path: Path) -> None:
    for k in range(2):
        put(tmp_path, f"{'ab'[k]}/{k}.png", picture(k, 8, 8))
    spec = str(tmp_path)
    prints = {
        "plain": open_dataset(spec).fingerprint,
        "small": open_dataset(spec, resolution=4).fingerprint,
        "grey": open_dataset(spec, channels=1).fingerprint,
        "mirror": open_dataset(spec, mirror=True).fingerprint,
        "negative": open_dataset(f"negative:{spec}").fingerprint,
        "edges": open_dataset(f"edges:{spec}").fingerprint,
        "lazy": open_dataset(spec, memory=0).fingerprint,
        "lazy small": open_dataset(spec, memory=0, resolution=4).fingerprint,
        "limit": open_dataset(spec, limit=1).fingerprint,
    }
    assert len(set(prints.values())) == len(prints)
    assert all(len(one) == 64 for one in prints.values())
    assert open_dataset(spec).fingerprint == prints["plain"]
    (tmp_path / "a").rename(tmp_path / "aa")
    renamed = open_dataset(spec)
    assert renamed.fingerprint != prints["plain"]  # the same numbers, another class
    put(tmp_path, "aa/0.png", picture(9, 8, 8))
    assert open_dataset(spec).fingerprint != renamed.fingerprint
    assert open_dataset(spec, memory=0).fingerprint != prints["lazy"]


def test_pictures_of_one_length_in_a_zip_have_other_fingerprints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prints = []
    for seed in (1, 2):
        put(tmp_path / "set", "x.bmp", picture(seed))
        source = packed(tmp_path / "set")
        prints.append(open_dataset(str(source), memory=0).fingerprint)
    monkeypatch.setattr("texsyn.datasets.files.FILTERS", "others")
    prints.append(open_dataset(str(source), memory=0).fingerprint)
    assert len(set(prints)) == 3


def test_names_are_in_the_order_of_their_parts_and_those_of_macos_left_out(tmp_path: Path) -> None:
    names = ["a/1.png", "a/b.png", "a-b/1.png", "b.png", "__MACOSX/a.png", "._b.png"]
    for name in names:
        put(tmp_path / "set", name, picture(0))
    for source in (tmp_path / "set", packed(tmp_path / "set")):
        assert Collection(source).names == names[:4]
        assert [one.name.rpartition("/")[2] for one in Collection(source)][3].endswith("b.png")


def test_numbers_are_checked() -> None:
    data = open_dataset("digits")
    with pytest.raises(ValueError, match="not int64"):
        data.batch(torch.arange(3, dtype=torch.int32))
    with pytest.raises(ValueError, match="not all among the 1797 of digits"):
        data.batch(torch.tensor([0, 1797]))
    with pytest.raises(ValueError, match="not all among"):
        data.labels(torch.tensor([-1]))
    assert data.batch(torch.zeros(0, dtype=torch.int64)).shape == (0, 1, 8, 8)


# ------------------------------------------------------------------------------------------------------------- digits


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data, found = open_dataset("digits"), load_digits()
    assert (data.n, data.channels, data.height, data.width, len(data.classes)) == (1797, 1, 8, 8, 10)
    assert torch.equal(every(data)[:, 0].double(), torch.from_numpy(found.images / 8 - 1))
    assert data.labels(torch.arange(1797)).tolist() == found.target.tolist()


def test_what_to_install_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    refused("pip install 'texsyn[data]'", "digits")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    (tmp_path / "data.mdb").write_bytes(b"")
    refused("lsun: needs the package lmdb; pip install 'texsyn[data]'", f"lsun:{tmp_path}")


# --------------------------------------------------------------------------------------------------- IDX files: MNIST


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def mnist(folder: Path, n: int = 12, half: str = "train", *, pack: bool = True) -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(exist_ok=True)
    images = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)
    labels = np.arange(n, dtype=np.uint8) % 10
    for stem, array in ((f"{half}-images-idx3-ubyte", images), (f"{half}-labels-idx1-ubyte", labels)):
        if pack:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(idx(array), mtime=0))
        else:
            (folder / stem).write_bytes(idx(array))
    return images, labels


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
@pytest.mark.parametrize("pack", [True, False])
def test_idx_files_are_read(tmp_path: Path, name: str, pack: bool) -> None:
    images, labels = mnist(tmp_path / "d", pack=pack)
    tests, _ = mnist(tmp_path / "d", 7, "t10k", pack=pack)
    data = open_dataset(f"{name}:{tmp_path / 'd'}")
    assert (data.n, data.channels, data.height, data.width, len(data.classes)) == (12, 1, 28, 28, 10)
    assert np.array_equal(codes_of(every(data))[:, 0], images)
    assert data.labels(torch.arange(12)).tolist() == labels.tolist()
    assert np.array_equal(codes_of(every(open_dataset(f"{name}:{tmp_path / 'd'}#test")))[:, 0], tests)
    both = open_dataset(f"{name}:{tmp_path / 'd'}#all", resolution=14)
    assert (both.n, both.height) == (19, 14)


def test_broken_idx_files_are_refused(tmp_path: Path) -> None:
    spec = f"mnist:{tmp_path}"
    refused("holds no train-images-idx3-ubyte or train-images-idx3-ubyte.gz; the files are published at http", spec)
    mnist(tmp_path)
    refused("holds no t10k-images-idx3-ubyte", f"{spec}#test")
    refused("has no part 'tset'; accepted are train, test, all", f"{spec}#tset")
    images, labels = (tmp_path / f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    good = images.read_bytes()
    plain = gzip.decompress(good)
    for data, said in (
        (good[:-9], "cannot be read"),
        (good[:200], "cannot be read"),
        (gzip.compress(plain[:-1]), "announces 12x28x28 = 9408 bytes and has 9407"),
        (gzip.compress(plain + b"x"), "announces 12x28x28 = 9408 bytes and has more"),
        (
            gzip.compress(b"\0\0\x09\x03" + plain[4:]),
            "begins with 00000903 and an IDX file of bytes with 3 axes with 00000803",
        ),
        (gzip.compress(plain[:10]), "its header is cut off"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), "its header is cut off, or announces more than"),
        (plain, "cannot be read"),  # not packed
    ):
        images.write_bytes(data)
        refused(f"train-images-idx3-ubyte.gz: {said}", spec)
    images.write_bytes(good)
    labels.write_bytes(gzip.compress(idx(np.arange(11))))
    refused("12 train pictures and 11 labels", spec)
    labels.write_bytes(gzip.compress(idx(np.arange(12))))
    refused("has the train label 11 of 10 classes", spec)


# ---------------------------------------------------------------------------------------------------- CIFAR's batches


class Python2:
    """Writes pickles of protocol 2 as Python 2 did, whose strings are bytes: what CIFAR's files hold."""

    def __init__(self) -> None:
        self.out, self.memo = bytearray(b"\x80\x02"), 0

    def put(self) -> None:
        self.out += b"q" + bytes([self.memo]) if self.memo < 256 else b"r" + struct.pack("<I", self.memo)
        self.memo += 1

    def text(self, data: bytes) -> None:
        self.out += b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.out += data
        self.put()

    def number(self, k: int) -> None:
        self.out += (
            b"K" + bytes([k])
            if 0 <= k < 256
            else b"M" + struct.pack("<H", k)
            if k >= 0
            else b"J" + struct.pack("<i", k)
        )

    def value(self, value: Any) -> None:
        if isinstance(value, bytes):
            self.text(value)
        elif isinstance(value, int):
            self.number(value)
        elif isinstance(value, list):
            self.out += b"]"
            self.put()
            self.out += b"("
            for one in value:
                self.value(one)
            self.out += b"e"
        elif isinstance(value, dict):
            self.out += b"}"
            self.put()
            self.out += b"("
            for key, one in value.items():
                self.value(key)
                self.value(one)
            self.out += b"u"
        else:
            self.array(value)

    def array(self, array: np.ndarray) -> None:
        self.out += b"cnumpy.core.multiarray\n_reconstruct\n"
        self.put()
        self.out += b"cnumpy\nndarray\n"
        self.put()
        self.out += b"K\x00\x85"  # (0,)
        self.put()
        self.text(b"b")
        self.out += b"\x87R"
        self.put()
        self.out += b"(K\x01"
        for side in array.shape:
            self.number(side)
        self.out += {1: b"\x85", 2: b"\x86"}[array.ndim]
        self.out += b"cnumpy\ndtype\n"
        self.text(array.dtype.str[1:].encode())
        self.out += b"K\x00K\x01\x87R(K\x03"
        self.text(b"|")
        self.out += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        self.text(array.tobytes())
        self.out += b"tb"


def python2(value: Any) -> bytes:
    writer = Python2()
    writer.value(value)
    return bytes(writer.out + b".")


def python3(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


WRITERS = pytest.mark.parametrize("written", [python2, python3])
NAMES_10 = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]


def batch(seed: int, n: int = 4) -> dict[bytes, Any]:
    data = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    return {
        b"batch_label": b"training batch %d of 5" % seed, b"labels": [(seed + k) % 10 for k in range(n)],
        b"data": data, b"filenames": [b"x_%d.png" % k for k in range(n)],
    }  # fmt: skip


def cifar(folder: Path, written: Callable[[Any], bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(1, 7):
        (folder / ("test_batch" if k == 6 else f"data_batch_{k}")).write_bytes(written(batch(k)))
    (folder / "batches.meta").write_bytes(written({b"label_names": NAMES_10, b"num_vis": 3072}))
    return folder


def test_the_python_2_pickles_of_these_tests_are_pickles() -> None:
    read, plain = pickle.loads(python2(batch(3)), encoding="bytes"), batch(3)
    assert np.array_equal(read.pop(b"data"), plain.pop(b"data"))
    assert read == plain


@WRITERS
def test_cifar_10_is_read_from_its_folder_the_one_above_and_the_archive(
    tmp_path: Path, written: Callable[[Any], bytes]
) -> None:
    folder = cifar(tmp_path / "cifar-10-batches-py", written)
    archive = tmp_path / "packed" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    expected = np.concatenate([batch(k)[b"data"].reshape(4, 3, 32, 32) for k in range(1, 6)])
    labels = [label for k in range(1, 6) for label in batch(k)[b"labels"]]
    for where in (folder, tmp_path, archive, archive.parent):
        data = open_dataset(f"cifar10:{where}")
        assert (data.n, data.channels, data.height, data.width) == (20, 3, 32, 32)
        assert np.array_equal(codes_of(every(data)), expected)
        assert data.labels(torch.arange(20)).tolist() == labels
        assert data.classes == tuple(name.decode() for name in NAMES_10)
    assert np.array_equal(codes_of(every(open_dataset(f"cifar10:{folder}#test")))[0].ravel(), batch(6)[b"data"][0])
    assert open_dataset(f"cifar10:{archive}#all").n == 24


@WRITERS
def test_cifar_100_is_read(tmp_path: Path, written: Callable[[Any], bytes]) -> None:
    for name, seed in (("train", 1), ("test", 2)):
        one = batch(seed)
        one[b"fine_labels"], one[b"coarse_labels"] = one.pop(b"labels"), [0] * 4
        (tmp_path / name).write_bytes(written(one))
    names = [b"n%d" % k for k in range(100)]
    (tmp_path / "meta").write_bytes(written({b"fine_label_names": names, b"coarse_label_names": [b"a", b"b"]}))
    data = open_dataset(f"cifar100:{tmp_path}")
    assert (data.n, len(data.classes)) == (4, 100)
    assert data.labels(torch.arange(4)).tolist() == [1, 2, 3, 4]


class Bomb:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_batch_runs_nothing(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    hostile = batch(1)
    hostile[b"labels"] = Bomb(f"touch {canary}")
    bomb = pickle.dumps(hostile, protocol=protocol)
    with pytest.raises(InputError, match=r"which no batch of CIFAR needs; it was not run"):
        read_batch(bomb, "data_batch_1")
    folder = cifar(tmp_path / "d", python2)
    (folder / "data_batch_3").write_bytes(bomb)
    refused("data_batch_3: ", f"cifar10:{folder}")
    assert not canary.exists()
    pickle.loads(bomb)  # the bomb is one
    assert canary.exists()


def test_wrong_batches_are_refused(tmp_path: Path) -> None:
    refused("cifar-10-python.tar.gz is published at https://www.cs.toronto.edu", f"cifar10:{tmp_path}")
    folder = cifar(tmp_path, python2)
    good = batch(2)
    for change, said in (
        ({b"labels": [1, 2, 3]}, "has 4 pictures and 3 labels"),
        ({b"labels": [1, 2, 3, 10]}, "has labels that are not whole numbers from 0 to 9"),
        ({b"labels": [1, 2, 3, b"4"]}, "has labels that are not whole numbers"),
        ({b"data": [1]}, "has no array data"),
        ({b"data": good[b"data"][:, :-1].copy()}, "has data of shape (4, 3071), not (n, 3072)"),
        ({b"data": good[b"data"].view(np.uint16)}, "its array is not one of bytes"),
        ({b"data": good[b"data"].view(np.int8)}, "its array is not one of bytes"),
    ):
        (folder / "data_batch_2").write_bytes(python2({**good, **change}))
        refused(f"data_batch_2: {said}", f"cifar10:{folder}")
    whole = python2(good)
    short = whole.replace(good[b"data"].tobytes(), good[b"data"].tobytes()[:-3])
    for data, said in (
        (whole[:-50], "is a broken or cut off batch"),
        (
            short.replace(struct.pack("<i", 4 * 3072), struct.pack("<i", 4 * 3072 - 3)),
            "its array is not one of bytes, or is of another length",
        ),
        (b"", "is a broken or cut off batch"),
        (python2([1]), "holds no dict"),
        (b"\x80\x02P1\n.", "holds a pickle with the operation PERSID"),
        (b"\x80\x02K\x01Q.", "refers to something outside its pickle"),
        (b"\x80\x02}K\x01b.", "sets the state of something"),
    ):
        (folder / "data_batch_2").write_bytes(data)
        refused(f"data_batch_2: {said}", f"cifar10:{folder}")
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(b"no tar" * 1000)[:-5])
    refused("x.tar.gz: cannot be read as a .tar.gz", f"cifar10:{tmp_path / 'x.tar.gz'}")


def test_damaged_batches_are_read_or_refused_in_one_sentence() -> None:
    rng, good, n_refused = np.random.default_rng(5), python2(batch(1, n=1)), 0
    n_read = 0
    places = [k for k in range(len(good)) if k < 200 or k > len(good) - 200]
    for _ in range(300):
        damaged = bytearray(good)
        damaged[places[rng.integers(len(places))]] = rng.integers(256)
        try:
            read_batch(bytes(damaged), "x")
        except InputError as error:
            n_refused += str(error).isprintable()
        else:
            n_read += 1
    assert n_read + n_refused == 300
    assert n_refused > 50


# ------------------------------------------------------------------------------------------------- faces, LSUN, FFHQ


def faces(folder: Path) -> None:
    for k in range(3):
        put(folder / "img_align_celeba", f"{k + 1:06}.png", picture(k, 218, 178))
    lines = ["3", "Bald Smiling Young", "000001.png -1  1  1", "000002.png -1 -1 -1", "000003.png  1  1 -1"]
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")


def test_celeba_is_cut_in_the_middle_and_labelled_by_an_attribute(tmp_path: Path) -> None:
    faces(tmp_path)
    data = open_dataset(f"celeba:{tmp_path}#Smiling")
    assert (data.n, data.height, data.width, data.classes) == (3, 178, 178, ("not Smiling", "Smiling"))
    assert data.labels(torch.arange(3)).tolist() == [1, 0, 1]
    assert np.array_equal(codes_of(data.batch(torch.tensor([1])))[0], picture(1, 218, 178)[20:198].transpose(2, 0, 1))
    assert open_dataset(f"celeba:{tmp_path}").classes == ()
    assert open_dataset(f"celeba:{tmp_path}#Bald", resolution=64, limit=2).batch(torch.tensor([1])).shape[2:] == (
        64,
        64,
    )
    packed(tmp_path / "img_align_celeba")
    for path in (tmp_path / "img_align_celeba").iterdir():
        path.unlink()
    (tmp_path / "img_align_celeba").rmdir()
    assert torch.equal(every(open_dataset(f"celeba:{tmp_path}#Smiling")), every(data))
    table = "image_id,Bald,Smiling,Young\n" + "".join(f"00000{k}.png,-1,{2 * (k == 2) - 1},1\n" for k in (1, 2, 3))
    (tmp_path / "list_attr_celeba.txt").unlink()
    refused("no list_attr_celeba.txt lies beside", f"celeba:{tmp_path}#Smiling")
    (tmp_path / "list_attr_celeba.csv").write_text(table)
    assert open_dataset(f"celeba:{tmp_path}#Smiling").labels(torch.arange(3)).tolist() == [0, 1, 0]


def test_wrong_attribute_lists_are_refused(tmp_path: Path) -> None:
    refused("is published at https://mmlab.ie.cuhk.edu.hk", f"celeba:{tmp_path / 'none'}")
    faces(tmp_path)
    refused("has no attribute Grumpy; accepted are Bald, Smiling, Young", f"celeba:{tmp_path}#Grumpy")
    file = tmp_path / "list_attr_celeba.txt"
    good = file.read_text()
    for text, said in (
        (good.replace("3\n", "4\n", 1), "announces 4 pictures and has lines for 3"),
        (good.replace("000002.png -1 -1 -1", "000002.png -1 -1"), "the line of 000002.png does not have"),
        (good.replace("000002", "000009"), "has no line for 000002.png and 0 other"),
        ("", "has no attribute Bald"),
    ):
        file.write_text(text)
        refused(said, f"celeba:{tmp_path}#Bald")


@pytest.mark.parametrize("name", ["ffhq", "celeba-hq", "lsun"])
def test_folders_of_published_pictures_are_no_classes(tmp_path: Path, name: str) -> None:
    for k in range(4):
        put(tmp_path / "set", f"0{k // 2}000/{k}.png", picture(k))
    assert len(open_dataset(str(tmp_path / "set")).classes) == 2
    for source in (tmp_path / "set", packed(tmp_path / "set")):
        data = open_dataset(f"{name}:{source}", resolution=3)
        assert (data.n, data.classes) == (4, ())
    refused("https://github.com/", f"{name}:{tmp_path / 'none'}")


def test_lsun_is_read_from_its_database(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "bedroom"), map_size=2**20) as database, database.begin(write=True) as write:
        for k in (2, 0, 1):
            path = put(tmp_path, "x.png", picture(k, 8, 6))
            write.put(b"%040d" % k, path.read_bytes())
    data = open_dataset(f"lsun:{tmp_path / 'bedroom'}", resolution=6)
    assert np.array_equal(codes_of(every(data))[2], picture(2, 8, 6)[1:7].transpose(2, 0, 1))
    again = open_dataset(f"lsun:{tmp_path / 'bedroom'}", resolution=6, memory=0)
    assert torch.equal(every(again), every(data))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "data.mdb").write_bytes(b"nothing of the kind")
    refused("broken: cannot be read as an LMDB database", f"lsun:{tmp_path / 'broken'}")


# -------------------------------------------------------------------------------------------------- crops and points


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_crops_are_windows_of_the_picture(tmp_path: Path, dtype: type, channels: int) -> None:
    pixels = picture(0, 9, 12, channels, dtype)
    path = put(tmp_path, "x.tif", pixels)
    data = open_dataset(f"crops:{path}", resolution=(4, 5), limit=300)
    assert (data.n, data.channels, data.height, data.width) == (300, channels, 4, 5)
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    unit = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / top * 2 - 1
    windows = unit.unfold(1, 4, 1).unfold(2, 5, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)  # every one there is
    distances = torch.cdist(every(data).flatten(1), windows.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    nearest, which = distances.min(1)
    assert nearest.max() < 1e-5
    assert len(which.unique()) == 6 * 8  # all places are met, those at the borders too
    assert torch.equal(data.batch(torch.tensor([7])), every(data)[7:8])


def test_crops_of_floats_beyond_1_are_scaled_by_their_range(tmp_path: Path) -> None:
    pixels = 30 * picture(0, 8, 8, 1, np.float32) - 3
    data = open_dataset(f"crops:{put(tmp_path, 'x.tif', pixels)}", resolution=8, limit=2)
    assert (data.low, data.high) == (pixels.min(), pixels.max())
    back = data.low + (every(data)[0, 0].double() + 1) / 2 * (data.high - data.low)
    assert np.abs(back.numpy() - pixels[..., 0]).max() < 1e-5


def test_crops_fit_into_their_picture(tmp_path: Path) -> None:
    path = put(tmp_path, "x.png", picture(0, 9, 12))
    refused("x.png: has 12x9 pixels, and crops of 10 do not fit", f"crops:{path}", resolution=10)
    refused("crops of 13x2 do not fit", f"crops:{path}", resolution=(2, 13))
    assert open_dataset(f"crops:{path}", resolution=9, channels=1, limit=1).channels == 1
    refused("is one file; write crops:", str(path))


def test_gaussians_have_their_modes_and_spread() -> None:
    for name, n_modes, sigma in (("gaussians8", 8, 0.02), ("gaussians25", 25, 0.05)):
        data = open_dataset(name)
        assert (data.n, data.kind, data.channels, data.height, data.width) == (100_000, "points", 2, 1, 1)
        assert data.modes is not None
        assert (len(data.modes), data.sigma) == (n_modes, sigma)
        x = every(data)[:, :, 0, 0]
        which = torch.cdist(x, data.modes).argmin(1)
        counts = which.bincount(minlength=n_modes)
        assert ((counts - 1e5 / n_modes).abs() < 5 * (1e5 / n_modes) ** 0.5).all()  # 5 standard deviations
        rest = (x - data.modes[which]).double()
        assert rest.square().mean().sqrt() == pytest.approx(sigma, rel=0.01)  # 2e5 numbers: 0.16 % expected
        assert rest.mean(0).abs().max() < 5 * sigma / 1e5**0.5
        assert (rest[:, 0] * rest[:, 1]).mean().abs() < 5 * sigma**2 / 1e5**0.5
    ring = open_dataset("gaussians8").modes
    assert ring is not None
    assert torch.allclose(ring.norm(dim=1), torch.tensor(2.0))
    assert (torch.pdist(ring).min() - 4 * np.sin(np.pi / 8)).abs() < 1e-6
    assert (RING[2], GRID[2]) == (0.02, 0.05)


def test_a_point_is_a_function_of_its_number() -> None:
    for name in ("gaussians8", "gaussians25", "swiss-roll", "two-moons"):
        whole, part = open_dataset(name), open_dataset(name, limit=50)
        assert torch.equal(every(part), whole.batch(torch.arange(50)))
        assert len({tuple(p) for p in every(part)[:, :, 0, 0].tolist()}) == 50
        assert whole.fingerprint != part.fingerprint
        refused("have no resolution", name, resolution=8)


def test_the_spiral_and_the_moons_lie_where_they_should() -> None:
    x = every(open_dataset("swiss-roll"))[:, :, 0, 0].double() * 7.5
    radius, angle = x.norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
    turns = (radius - angle) / (2 * np.pi)  # on the spiral t = radius, which is the angle but for whole turns
    assert (turns - turns.round()).abs().mean() * 2 * np.pi < 0.25
    assert 1.5 * np.pi - 1.1 < radius.min() < radius.max() < 4.5 * np.pi + 1.1
    x = every(open_dataset("two-moons"))[:, :, 0, 0].double()
    off = torch.stack([x.norm(dim=1) - 1, (x - torch.tensor([1.0, 0.5])).norm(dim=1) - 1]).abs().min(0).values
    assert off.square().mean().sqrt() == pytest.approx(0.05, rel=0.05)
    assert 0.45 < (x[:, 0].mean()) < 0.55  # as many on either moon


# ------------------------------------------------------------------------------------------------------ derived data


def test_negatives_and_edges(tmp_path: Path) -> None:
    data, negative = open_dataset("digits"), open_dataset("negative:digits")
    assert torch.equal(every(negative), -every(data))
    assert torch.equal(negative.labels(torch.arange(9)), data.labels(torch.arange(9)))
    pixels = np.zeros((5, 6, 1), np.uint8)
    pixels[:, 3:] = 255
    put(tmp_path, "a.png", pixels)
    put(tmp_path, "b.png", np.full((5, 6, 1), 99, np.uint8))
    edges = every(open_dataset(f"edges:{tmp_path}"))
    assert edges[0, 0, 2].tolist() == [-1, -1, 1, 1, -1, -1]  # a step, wide as Sobel's kernel
    assert (edges[1] == -1).all()
    pixels = np.round(np.arange(6) * 51 / 2).astype(np.uint8)[None].repeat(5, 0)  # a tenth a pixel, a fifth across two
    put(tmp_path / "ramp", "a.png", pixels.T.copy())
    ramp = every(open_dataset(f"edges:{tmp_path / 'ramp'}"))
    assert np.abs(ramp[0, 0, 1:-1].numpy() - (2 * 0.2 - 1)).max() < 0.01  # half codes were rounded
    with pytest.raises(ValueError, match="are points"):
        open_dataset("edges:gaussians8")
    with pytest.raises(ValueError, match="are points"):
        open_dataset("gaussians8", mirror=True)


def test_two_sets_side_by_side_are_not_paired() -> None:
    both, data = open_dataset("digits+negative:digits"), open_dataset("digits")
    assert (both.n, both.channels, both.domains, both.classes) == (1797, 2, 2, ())
    x, plain = every(both), every(data)
    assert torch.equal(x[:, :1], plain)
    back = permutation(1797, seed=1)
    assert torch.equal(x[:, 1:], -plain[torch.from_numpy(back.copy())])
    assert (x[:, 0] == -x[:, 1]).flatten(1).all(1).float().mean() < 0.01
    with pytest.raises(ValueError, match="has no labels"):
        both.labels(torch.tensor([0]))
    three = open_dataset("digits+negative:digits+edges:digits")
    assert (three.channels, three.domains) == (3, 3)
    with pytest.raises(ValueError, match="pictures of one size"):
        open_dataset("digits+crops:skimage:grass")
    with pytest.raises(ValueError, match="pictures of one size"):
        open_dataset("digits+gaussians8")


def test_the_smaller_of_two_sets_begins_again(tmp_path: Path) -> None:
    for k in range(3):
        put(tmp_path / "few", f"{k}.png", picture(k))
    for k in range(8):
        put(tmp_path / "many", f"{k}.png", picture(10 + k))
    data = open_dataset(f"{tmp_path / 'few'}+{tmp_path / 'many'}")
    assert data.n == 8
    x, few = every(data), every(open_dataset(str(tmp_path / "few")))
    assert torch.equal(x[:, :3], few[torch.arange(8) % 3])
    assert len({tuple(row) for row in x[:, 3:].flatten(1).tolist()}) == 8


def test_a_plus_in_a_path_is_no_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "digits+digits", "0.png", picture(0))
    monkeypatch.chdir(tmp_path)
    assert open_dataset("digits+digits").channels == 3
    put(tmp_path / "a+b", "0.png", picture(0))
    assert open_dataset(str(tmp_path / "a+b")).domains == 1
    assert open_dataset(f"negative:{tmp_path / 'a+b'}").domains == 1
    assert open_dataset(f"{tmp_path / 'a+b'}+{tmp_path / 'a+b'}").domains == 2
    mnist(tmp_path / "m+n")
    assert open_dataset(f"mnist:{tmp_path / 'm+n'}").domains == 1


# --------------------------------------------------------------------------------------------------- names and order


def test_names_are_listed_and_unknown_ones_refused(tmp_path: Path) -> None:
    lines = describe().splitlines()
    assert len(lines) == len(NAMES) + 2
    assert all(any(line.startswith(name.form) for line in lines) for name in NAMES.values())
    for spec in ("digit", "foo:bar", "mnist", "digits:3", str(tmp_path / "none"), "", "+", "digits+"):
        refused("is neither a folder, a .zip nor a name; names are digits, mnist:FOLDER", spec)
        assert not is_dataset(spec)
    assert is_dataset("digits+digits")
    assert is_dataset(str(tmp_path))
    for asked in ({"resolution": 0}, {"channels": 0}, {"limit": 0}):
        with pytest.raises(ValueError, match="=0 should be"):
            open_dataset("digits", **asked)  # type: ignore[arg-type]


def test_broken_zips_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 no zip")
    refused("x.zip: cannot be read as a zip file", str(tmp_path / "x.zip"))
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as file:
        file.writestr("__MACOSX/._a.png", b"x")
    refused("y.zip: a zip file without pictures", str(tmp_path / "y.zip"))


def test_every_epoch_shows_every_picture_once_in_an_order_of_its_own() -> None:
    order = Batches(n=97, seed=5)
    whole = order.numbers(0, 3 * 97 + 10)
    epochs = [whole[k * 97 : (k + 1) * 97].tolist() for k in range(3)]
    assert all(sorted(epoch) == list(range(97)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != sorted(epochs[0])
    for first, count in ((0, 1), (96, 2), (50, 200), (194, 0), (300, 1)):
        assert torch.equal(order.numbers(first, count), whole[first : first + count])
    assert not torch.equal(Batches(n=97, seed=6).numbers(0, 97), whole[:97])
    assert order.numbers(0, 4).dtype == torch.int64


def test_permutations_are_uniform() -> None:
    """All 24 orders of four pictures over 2,400 epochs: chi square with 23 degrees of freedom, 99.9 % below 49.7."""
    orders = np.array([permutation(4, 0, epoch) for epoch in range(2400)])
    _, counts = np.unique(orders @ np.array([64, 16, 4, 1]), return_counts=True)
    assert len(counts) == 24
    assert np.square(counts - 100).sum() / 100 < 49.7


def test_wrong_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="n=0 should be at least 1"):
        Batches(n=0)
    with pytest.raises(ValueError, match="first=-1"):
        Batches(n=3).numbers(-1, 2)


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    put(tmp_path, "a/0.png", picture(0))
    for spec in ("digits", "gaussians8", f"edges:{tmp_path}", "crops:skimage:grass"):
        data = open_dataset(spec, mirror=spec != "gaussians8", limit=1)
        data.batch(Batches(data.n).numbers(0, 1))
        assert data.fingerprint
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
