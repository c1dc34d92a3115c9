"""State dicts read without unpickling, hostile files, and published weights: found, verified, fetched, named."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles.random_weights import auxiliary, random_state_dict, textures
from safetensors.torch import save_file

from texsyn import state_dicts, weights
from texsyn.cli import main
from texsyn.images import InputError, OutputError
from texsyn.metrics.inception import features, from_state_dict, inception
from texsyn.metrics.sifid import sifid
from texsyn.state_dicts import read_state_dict, read_values
from texsyn.weights import REGISTRY, WeightsFile, hub_folder

LAYOUTS = ("zip", "stream")


def save(obj: Any, path: Path, layout: str = "zip", protocol: int = 2) -> Path:
    torch.save(obj, path, _use_new_zipfile_serialization=layout == "zip", pickle_protocol=protocol)
    return path


def small() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(3, 4, generator=generator), "a.bias": torch.arange(3.0), "n": torch.tensor(7)}


def refused(path: Path, said: str = "", read: Callable[[Path], Any] = read_state_dict) -> str:
    """The one line with which a file is refused; it begins with the file's name."""
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    return line


# ---- state dicts that torch writes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dicts_come_back(tmp_path: Path, layout: str, protocol: int) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(2, 2))
    state = net.state_dict()
    found = read_state_dict(save(state, tmp_path / "net.pth", layout, protocol))
    assert list(found) == list(state)
    for name, t in state.items():
        assert torch.equal(found[name], t), name
        assert found[name].dtype == t.dtype
    torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(2, 2)).load_state_dict(found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_parameters_and_number_types_come_back(tmp_path: Path, layout: str) -> None:
    x = torch.arange(24.0).reshape(4, 6)
    state: dict[str, torch.Tensor] = OrderedDict(
        whole=x, transposed=x.T, part=x[1:3, ::2], empty=torch.empty(0, 3), scalar=torch.tensor(2.5),
        parameter=torch.nn.Parameter(x * 2), same=x,
    )  # fmt: skip
    kinds = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    )
    state |= {str(kind): torch.tensor([1, 0, 3], dtype=kind) for kind in kinds} | {"bool": torch.tensor([True, False])}
    found = read_state_dict(save(state, tmp_path / "x.pth", layout))
    for name, t in state.items():
        assert torch.equal(found[name], t), name
        assert found[name].dtype == t.dtype, name
    found["whole"][0, 0] = 5  # memory of our own, which may be written


def test_safetensors_files_are_read_too(tmp_path: Path) -> None:
    save_file(small(), tmp_path / "x.safetensors")
    found = read_state_dict(tmp_path / "x.safetensors")
    assert all(torch.equal(found[name], t) for name, t in small().items())


def test_the_whole_inception_file_comes_back(tmp_path: Path) -> None:
    state = random_state_dict()
    for layout in LAYOUTS:
        found = read_state_dict(save(state, tmp_path / f"{layout}.pth", layout))
        assert list(found) == list(state)
        assert all(torch.equal(found[name], t) for name, t in state.items())


# ---- tensors and numbers in lists


def same(a: Any, b: Any) -> bool:
    """Equal through and through: types, numbers, tensors with theirs."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a.values(), b.values()))
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, (list, tuple)) else a == b


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_lists_of_tensors_and_numbers_come_back(tmp_path: Path, layout: str, protocol: int) -> None:
    one = torch.arange(6.0).reshape(2, 3)
    for value in (
        [1, torch.tensor(0.25), 0.5, torch.tensor(3, dtype=torch.float64)],
        [one, one.T, torch.zeros(1, 3, 4, 5, dtype=torch.uint8)],
        {"a": (1, [2.5, {"b": one}]), "c": [], "d": {}, "e": (), "f": True, "g": -(2**70), "h": (one, one)},
        one,
        3,
        [[]] * 5,
        dict(small()),
    ):
        assert same(read_values(save(value, tmp_path / "x.pth", layout, protocol)), value), value
    (found, _) = read_values(save([one, one], tmp_path / "x.pth", layout))
    found[0, 0] = 5  # memory of our own, which may be written


def test_values_of_safetensors_files_and_of_ordered_dicts_are_dicts(tmp_path: Path) -> None:
    save_file(small(), tmp_path / "x.safetensors")
    found = read_values(tmp_path / "x.safetensors")
    assert same({name: found[name] for name in small()}, small())
    assert same(read_values(save([OrderedDict(small())], tmp_path / "x.pth")), [small()])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_that_lay_on_another_device_come_to_the_cpu(tmp_path: Path, layout: str) -> None:
    """As a file from a CUDA machine has it: the name of the device in each storage's identity, same length here."""
    path = save([torch.arange(3.0), torch.tensor(2.0)], tmp_path / "x.pth", layout)
    if layout == "stream":
        path.write_bytes(path.read_bytes().replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"))
    else:
        path = rewritten(path, lambda name, data: data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"))
    assert b"cuda:0" in path.read_bytes()
    assert same(read_values(path), [torch.arange(3.0), torch.tensor(2.0)])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["a"], "neither a tensor nor a number"),
        ([None], "neither a tensor nor a number"),
        ([b"a"], "neither a tensor nor a number|which no state dict needs"),
        ([{3: torch.zeros(2)}], "mixes up its types"),
        ([torch.float32], "which no state dict needs"),
        ([np.float64(2)], "numpy.*which no state dict needs"),
        ([torch.nn.Linear(2, 2)], "which no state dict needs"),
        ([{1, 2}], "which no state dict needs|the operation EMPTY_SET"),
        ([1j], "which no state dict needs"),
        ([torch.zeros(1).expand(1000)], "reaches beyond its 1 numbers"),
        ([[[[[[[[[1]]]]]]]]], "more than 8 deep"),
        ([0] * 100_001, "more than 100000 things"),
    ],
)
def test_other_values_are_refused(tmp_path: Path, layout: str, value: Any, said: str) -> None:
    refused(save(value, tmp_path / "x.pth", layout), said, read_values)


def test_lists_that_are_small_in_the_file_and_endless_written_out_are_refused(tmp_path: Path) -> None:
    """Lists within themselves, or within the next one twenty times over, as a pickle's memo allows."""
    into_itself = b"\x80\x02]q\0h\0a."
    wide = b"\x80\x02]q\0(" + b"h\0" * 1_000_000 + b"e."
    laughs = b"\x80\x02(]q\0"
    for k in range(5):
        laughs += b"](" + b"h%c" % k * 20 + b"eq%c" % (k + 1)
    for program in (into_itself, wide, laughs + b"t."):
        refused(archive_of(tmp_path / "x.pth", program), "more than 8 deep", read_values)
    storage_itself = b"\x80\x02](" + IDENTITY + b"e."
    refused(archive_of(tmp_path / "x.pth", storage_itself), "neither a tensor nor a number", read_values)
    refused(archive_of(tmp_path / "x.pth", b"\x80\x02]ctorch\nFloatStorage\na."), "neither a tensor", read_values)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_broken_lists_end_in_one_sentence(tmp_path: Path, layout: str) -> None:
    whole = save([1, torch.tensor(0.5), torch.arange(4.0)], tmp_path / "x.pth", layout).read_bytes()
    rng, path, n_refused = np.random.default_rng(2), tmp_path / "broken.pth", 0
    for trial in range(300):
        data = bytearray(whole)
        if trial % 4 == 0:
            data = data[: int(rng.integers(len(data)))]
        else:
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            read_values(path)
        except InputError as error:
            n_refused += str(error).isprintable()
    assert n_refused > 80


# ---- files that are something else, or broken


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither a state dict of torch"),
        (b"\x89PNG\r\n\x1a\n0123456789", "neither a state dict of torch"),
        (b"PK\x03\x04 and nothing more", "broken or cut off"),
        (b"\x80\x02", "broken or cut off"),
        (b"\x80\x02]q\x00.", "not of torch's"),
        (struct.pack("<Q", 2**40) + b"{}", "broken or cut off"),
        (struct.pack("<Q", 2) + b"{}" + b"x", "broken or cut off"),
        (pickle.dumps({"a": [1, 2, 3]}), "not of torch's"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.pth").write_bytes(data)
    refused(tmp_path / "x.pth", said)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.pth", "No such file")
    refused(tmp_path, "directory")
    with pytest.raises(InputError):
        read_state_dict("\0")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("obj", "said"),
    [
        ({}, "holds no state dict"),
        ([torch.zeros(2)], "holds no state dict"),
        (torch.zeros(2), "holds no state dict"),
        ({"state_dict": {"a": torch.zeros(2)}, "epoch": 3}, "'state_dict', which is no tensor"),
        ({3: torch.zeros(2)}, "mixes up its types"),
        ({("a", "b"): torch.zeros(2)}, "mixes up its types"),
        ({"a": torch.zeros(2), "lr": 0.1}, "'lr', which is no tensor"),
        ({"a": np.zeros(2)}, "numpy.*which no state dict needs"),
        (torch.nn.Linear(2, 2), "which no state dict needs"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "which no state dict needs"),
        ({"a": torch.zeros(1).expand(1000)}, "reaches beyond its 1 numbers"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, layout: str, obj: Any, said: str) -> None:
    refused(save(obj, tmp_path / "x.pth", layout), said)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_program_is_refused(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "TorchScript program, which is not run here")


def rewritten(source: Path, change: Callable[[str, bytes], bytes | None], *, deflated: bool = False) -> Path:
    """A copy of an archive with each member changed, or left out where the change gives None."""
    target = source.with_name("changed.pth")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = change(info.filename, old.read(info))
            if data is not None:
                new.writestr(info.filename, data, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    return target


def test_archives_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    whole = save({"a": torch.zeros(1000), "b": torch.ones(3)}, tmp_path / "x.pth")
    assert len(read_state_dict(rewritten(whole, lambda name, data: data))) == 2
    for change, said in (
        (lambda name, data: None if name.endswith("data/1") else data, "has no plain member x/data/1"),
        (lambda name, data: data[:-4] if name.endswith("data/0") else data, "x/data/0 has 3996 bytes"),
        (lambda name, data: data + data if name.endswith("data/1") else data, "x/data/1 has 24 bytes"),
        (lambda name, data: None if name.endswith("data.pkl") else data, "not one that torch.save wrote"),
        (lambda name, data: b"big" if name.endswith("byteorder") else data, "big-endian"),
    ):
        refused(rewritten(whole, change), said)
    bomb = rewritten(whole, lambda name, data: bytes(10**7) if name.endswith("data/0") else data, deflated=True)
    assert bomb.stat().st_size < 50_000
    refused(bomb, "claims to hold more than its own size")
    refused(
        rewritten(save({"a": torch.ones(3)}, tmp_path / "y.pth"), lambda name, data: data, deflated=True),
        "has no plain member",
    )
    twice = rewritten(whole, lambda name, data: data)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x/data/1", bytes(12))
    refused(twice, "two members of one name")


def test_names_inside_are_no_paths(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(12))
    whole = save({"a": torch.ones(3)}, tmp_path / "x.pth")
    key = f"../../{outside.name}"
    for name in (key, str(outside)):
        binary = b"X" + struct.pack("<I", len(name)) + name.encode()
        changed = rewritten(whole, lambda n, d, b=binary: d.replace(b"X\x01\x00\x00\x000", b) if "pkl" in n else d)
        refused(changed, "has no plain member")
    evil = tmp_path / "evil.pth"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(evil, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
        new.writestr("../escaped", b"x")
    assert list(read_state_dict(evil)) == ["a"]
    assert not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_broken_files_end_in_one_sentence(tmp_path: Path, layout: str) -> None:
    whole = save(small(), tmp_path / "x.pth", layout).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "broken.pth"
    n_refused = 0
    for trial in range(400):
        data = bytearray(whole)
        if trial % 4 == 0:
            data = data[: int(rng.integers(len(data)))]
        else:
            for _ in range(int(rng.integers(1, 4))):
                data[int(rng.integers(len(data)))] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            found = read_state_dict(path)
        except InputError:
            n_refused += 1
            continue
        assert all(isinstance(t, torch.Tensor) and t.numel() < 10**4 for t in found.values())  # else it changed values
    assert n_refused > 100


# ---- pickles that want to run something


class Bomb:
    """What pickle runs when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def bombs(canary: Path) -> dict[str, Any]:
    command, code = f"touch {canary}", f"open({str(canary)!r}, 'w').close()"
    inner = Bomb(os.system, command)
    return {
        "os.system": inner,
        "eval": Bomb(eval, code),
        "exec": Bomb(exec, code),
        "open": Bomb(open, str(canary), "w"),
        "subprocess": Bomb(subprocess.check_call, ["touch", str(canary)]),
        "nested": {"a": torch.zeros(2), "b": [({"c": inner},)]},
        "beside good tensors": OrderedDict(a=torch.zeros(2), b=inner),
        "as a key": {inner: torch.zeros(2)},
        "pickle in a pickle": Bomb(pickle.loads, pickle.dumps(inner)),
        "torch's own": Bomb(torch.storage._load_from_bytes, pickle.dumps(inner)),
        "getattr": Bomb(getattr, Bomb(__import__, "os"), "system"),
        "a tensor's argument": Bomb(torch._utils._rebuild_tensor_v2, inner, 0, (2,), (1,), False, OrderedDict()),
        "an ordered dict's argument": Bomb(OrderedDict, [("a", inner)]),
    }


NAMES = list(bombs(Path("canary")))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("layout", [*LAYOUTS, "pickle"])
@pytest.mark.parametrize("name", NAMES)
def test_bombs_do_not_go_off(tmp_path: Path, name: str, layout: str, protocol: int) -> None:
    canary, path = tmp_path / "canary", tmp_path / "x.pth"
    bomb = bombs(canary)[name]
    if layout == "pickle":
        path.write_bytes(pickle.dumps(bomb, protocol))
    else:
        save(bomb, path, layout, protocol)
    for read in (read_state_dict, read_values):
        refused(path, "which no state dict needs|builds an ordered dict|makes no sense|mixes up", read)
    assert not canary.exists()


def test_the_bombs_are_live(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name in ("os.system", "eval", "nested", "pickle in a pickle"):
        pickle.loads(pickle.dumps(bombs(canary)[name]))
        assert canary.exists(), name
        canary.unlink()


def archive_of(path: Path, program: bytes) -> Path:
    """A torch archive whose pickle is this program."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/data/0", bytes(12))
    return path


IDENTITY = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x03tQ"
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n(" + IDENTITY + b"K\0K\x03\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
)


def entry(value: bytes) -> bytes:
    return b"\x80\x02}X\x01\0\0\0a" + value + b"s."


def test_a_program_by_hand_is_read(tmp_path: Path) -> None:
    assert read_state_dict(archive_of(tmp_path / "x.pth", entry(TENSOR)))["a"].tolist() == [0, 0, 0]


def test_a_program_of_python_2_is_read(tmp_path: Path) -> None:
    """There an ordered dict is built of a list of lists, texts are bytes, and a tensor has four arguments."""
    tensor = TENSOR.replace(b"tensor_v2", b"tensor").replace(b"\x89ccollections\nOrderedDict\n)R", b"")
    program = b"\x80\x02ccollections\nOrderedDict\n(]]U\x01aa" + tensor.replace(b"X\x07\0\0\0", b"U\x07") + b"aatR."
    assert read_state_dict(archive_of(tmp_path / "x.pth", program))["a"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"ccollections\nOrderedDict\n(](K\x01K\x02eatR.", "mixes up|ordered dict|more than it has"),
        (b"ccollections\nOrderedDict\n(](K\x01K\x02tatR.", "builds an ordered dict"),
        (b"ccollections\nOrderedDict\n(K\x01tR.", "builds an ordered dict"),
        (b"ccollections\nOrderedDict\n(]]tR.", "broken or cut off"),
        (b"(S'touch canary'\nios\nsystem\n.", "the operation STRING"),
        (b"(cos\nsystem\nX\x01\0\0\0ao.", "asks for os.system"),
        (b"(X\x01\0\0\0aios\nsystem\n.", "the operation INST"),
        (b"\x82\x01.", "the operation EXT1"),
        (b"cthis\ns\n.", "asks for this.s"),
        (b"\x80\x04\x8c\x04this\x8c\x01s\x93.", "asks for this.s"),
        (b"\x80\x04\x8c\x05torch\x8c\x0cload\nos.path\x93.", "torch.load"),
        (b"ctorch\nFloatStorage\n)R.", "calls what is no function"),
        (b"ctorch\nFloatStorage\n)\x81.", "the operation NEWOBJ"),
        (b"X\x01\0\0\0a)R.", "mixes up its types"),
        (b"ccollections\nOrderedDict\n)R}X\x0a\0\0\0__setattr_K\x01sb.", "sets attributes"),
        (b"}K\x01b.", "mixes up its types"),
        (b"X\x01\0\0\0aQ.", "no storage of its own"),
        (b"(((((tttttQ.", "no storage of its own"),
        (b"P0\n.", "the operation PERSID"),
        (b"h\x05.", "broken or cut off"),
        (b"0.", "the operation POP"),
        (b".", "broken or cut off"),
        (b"}}.", "broken or cut off"),
        (b"t.", "takes more than it has"),
        (b"(\x85.", "takes more than it has"),
        (b"q\0.", "takes more than it has"),
        (b"(q\0.", "takes more than it has"),
        (b"}(X\x01\0\0\0au.", "broken or cut off"),
        (entry(b"K\x01"), "'a', which is no tensor"),
        (entry(IDENTITY), "'a', which is no tensor"),
        (entry(TENSOR.replace(b"K\x03\x85", b"K\x04\x85")), "reaches beyond its 3 numbers"),
        (entry(TENSOR.replace(b"K\0K\x03\x85", b"K\1K\x03\x85")), "reaches beyond its 3 numbers"),
        (entry(TENSOR.replace(b"K\x03\x85K\x01\x85", b"K\x03\x85K\x02\x85")), "reaches beyond its 3 numbers"),
        (entry(TENSOR.replace(b"K\x03\x85K\x01\x85", b"K\x04\x85K\0\x85")), "reaches beyond its 3 numbers"),
        (entry(TENSOR.replace(b"K\0K\x03\x85", b"J\xff\xff\xff\xffK\x03\x85")), "makes no sense"),
        (entry(TENSOR.replace(b"K\x03\x85K\x01\x85", b"\x88\x85K\x01\x85")), "makes no sense"),
        (entry(TENSOR.replace(b"K\x03\x85K\x01\x85", b"K\x03\x85)")), "makes no sense"),
        (entry(TENSOR.replace(b"K\x03tQ", b"J\0\0\0\x7ftQ")), "more bytes than the file"),
        (entry(TENSOR.replace(b"K\x03tQ", b"\x8a\x0a" + b"\xff" * 9 + b"\x00tQ")), "more bytes than the file"),
        (entry(TENSOR.replace(b"K\x03tQ", b"J\xff\xff\xff\xfftQ")), "makes no sense"),
        (entry(TENSOR.replace(b"storage", b"garbage")), "no storage of its own"),
        (entry(TENSOR.replace(b"X\x01\0\0\x000", b"K\x01")), "makes no sense"),
        (entry(TENSOR.replace(b"FloatStorage", b"QInt8Storage")), "asks for torch.QInt8Storage"),
        (b"\x80\x02}" + b"(" * 50_000 + b"t" * 50_000 + b".", "broken or cut off|no state dict"),
        (b"\x80\x02" + b"]" * 100 + b"a" * 99 + b".", "no state dict"),
        (b"}" + b"".join(b"X\x06\0\0\0%06d" % i + b"Ns" for i in range(100_001)) + b".", "more than 100000 entries"),
        (b"}\x8b\xff\xff\xff\x7f.", "broken or cut off"),
        (b"X\xff\xff\xff\xff.", "broken or cut off"),
        (b"I" + b"9" * 10_000 + b"\n.", "broken or cut off"),
    ],
)  # fmt: skip
def test_programs_that_no_state_dict_holds(tmp_path: Path, program: bytes, said: str) -> None:
    refused(archive_of(tmp_path / "x.pth", program), said)
    assert "this" not in sys.modules


def test_a_pickle_too_long_is_not_begun(tmp_path: Path) -> None:
    refused(archive_of(tmp_path / "x.pth", b"}" * (state_dicts.MAX_PICKLE + 1)), "is not what belongs there")


def test_streams_that_lie_about_their_storages(tmp_path: Path) -> None:
    path = save({"a": torch.arange(3.0)}, tmp_path / "x.pth", "stream")
    whole = path.read_bytes()
    for data, said in (
        (whole[:-1], "more bytes than the file|cut off"),
        (whole[:-20] + struct.pack("<q", 4) + whole[-12:], "has 4 numbers and 3 elsewhere"),
        (whole.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "big-endian"),
    ):
        assert data != whole
        path.write_bytes(data)
        refused(path, said)


# ---- finding and verifying


@pytest.fixture(autouse=True)
def _no_weights_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("TEXSYN_WEIGHTS", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsFile:
    """A registered file of our own; its content is that of `content(own)`."""
    data = content_of(small(), tmp_path)
    entry = WeightsFile(
        "own", ("own-1.pth", "own-2.pth"), "https://example.org/own-1.pth", hashlib.sha256(data).hexdigest(), len(data),
        "MIT", "tests",
    )  # fmt: skip
    monkeypatch.setitem(REGISTRY, "own", entry)
    return entry


def content_of(state: dict[str, torch.Tensor], folder: Path) -> bytes:
    path = save(state, folder / "content.pth")
    data = path.read_bytes()
    path.unlink()
    return data


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return content_of(small(), tmp_path)


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_registry_is_as_published() -> None:
    assert [(e.name, e.files[0]) for e in REGISTRY.values()] == [
        ("inception-fid", "pt_inception-2015-12-05-6726825d.pth"),
        ("inception-torchvision", "inception_v3_google-0cc3c7bd.pth"),
        ("vgg16", "vgg16-397923af.pth"),
        ("vgg16-features", "vgg16_features-amdegroot-88682ab5.pth"),
        ("vgg19", "vgg19-dcbb9e9d.pth"),
        ("alexnet", "alexnet-owt-7be5be79.pth"),
        ("inception-torchscript", "inception-2015-12-05.pt"),
    ]
    for entry in REGISTRY.values():
        assert entry.url.startswith("https://")
        assert entry.url.endswith(entry.files[0])
        assert len(entry.sha256) in (8, 64)
        for name in entry.files:  # the names hold the first digits of the hash
            assert name.endswith(f"-{entry.sha256[:8]}.pth") or entry.name == "inception-torchscript"
    assert REGISTRY["inception-fid"].n_bytes == 95_628_359


def test_an_entry_needs_a_hash(monkeypatch: pytest.MonkeyPatch, own: WeightsFile) -> None:
    for sha256 in ("", "1234567", "Z" * 64, "a" * 65):
        with pytest.raises(ValueError, match="hexadecimal digits"):
            weights.register(WeightsFile("bad", ("x",), "https://example.org", sha256, None, "", ""))
    assert weights.register(own) is REGISTRY["own"]


def test_where_files_are_looked_for(tmp_path: Path, own: WeightsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = put(hub_folder() / "own-2.pth", b"cache")
    assert weights.find("own") == cached
    first = put(hub_folder() / "own-1.pth", b"cache")
    assert weights.find("own") == first
    folder = put(tmp_path / "folder" / "own-2.pth", b"folder").parent
    monkeypatch.setenv("TEXSYN_WEIGHTS", str(folder))
    assert weights.find("own") == folder / "own-2.pth"
    named = put(tmp_path / "any name", b"file")
    monkeypatch.setenv("TEXSYN_WEIGHTS", str(named))
    assert weights.find("own") == named
    given = put(tmp_path / "given", b"path")
    assert weights.find("own", given) == given
    assert weights.find("own", folder) == folder / "own-2.pth"
    monkeypatch.setenv("TEXSYN_WEIGHTS", str(put(tmp_path / "vgg19-dcbb9e9d.pth", b"another")))
    assert weights.find("own") == first  # a file that is known to be something else is passed by
    monkeypatch.setenv("TEXSYN_WEIGHTS", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"TEXSYN_WEIGHTS=.*empty: no such file"):
        weights.find("own")
    (tmp_path / "empty").mkdir()
    assert weights.find("own") == first
    for place, said in ((tmp_path / "empty", "has no own-1.pth or own-2.pth"), (tmp_path / "gone", "no such file")):
        with pytest.raises(InputError, match=said):  # and nothing else is tried: the path was meant
            weights.find("own", place)


def test_the_cache_is_torchs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_folder() == Path(torch.hub.get_dir(), "checkpoints")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hub_folder() == Path(torch.hub.get_dir(), "checkpoints")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub_folder() == tmp_path / ".cache" / "torch" / "hub" / "checkpoints"


def test_what_is_missing_is_named_whole(own: WeightsFile) -> None:
    with pytest.raises(InputError) as caught:
        weights.load("own")
    line = str(caught.value)
    for part in (
        *own.files,
        f"{own.n_bytes:,} bytes",
        own.sha256,
        own.url,
        "TEXSYN_WEIGHTS",
        str(hub_folder()),
        "path",
    ):
        assert part in line, part
    assert "texsyn weights fetch own" in line
    with pytest.raises(ValueError, match=r"'resnet' are not known; known are inception-fid, .*own"):
        weights.load("resnet")


def test_files_are_verified_whenever_they_are_loaded(tmp_path: Path, own: WeightsFile, content: bytes) -> None:
    path = put(hub_folder() / "own-1.pth", content)
    state, sha256 = weights.load("own")
    assert sha256 == own.sha256
    assert all(torch.equal(state[name], t) for name, t in small().items())
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    for data, said in ((bytes(damaged), "its sha256 .* damaged or another"), (content[:-1], "cut off or another file")):
        put(path, data)
        with pytest.raises(InputError, match=said):
            weights.load("own")
        with pytest.raises(InputError, match=said):
            weights.load("own", put(tmp_path / "elsewhere", data))


def test_a_prefix_of_a_hash_is_held_against_it(
    own: WeightsFile, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(hub_folder() / "own-1.pth", content)
    short = WeightsFile("own", own.files, own.url, own.sha256[:8], None, "", "")
    monkeypatch.setitem(REGISTRY, "own", short)
    assert weights.load("own")[1] == own.sha256
    monkeypatch.setitem(REGISTRY, "own", WeightsFile("own", own.files, own.url, "0" * 8, None, "", ""))
    with pytest.raises(InputError, match=r"is not 00000000\.\.\."):
        weights.load("own")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_pipe_is_not_waited_for(tmp_path: Path, own: WeightsFile) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        weights.load("own", tmp_path / "pipe")


def test_networks_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = random_state_dict("torchvision")
    path = save(state | auxiliary(), tmp_path / "inception_v3_google-0cc3c7bd.pth", "stream")
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    entry = WeightsFile("inception-torchvision", (path.name,), "https://example.org", sha256, len(data), "", "")
    monkeypatch.setitem(REGISTRY, "inception-torchvision", entry)
    monkeypatch.setenv("TEXSYN_WEIGHTS", str(tmp_path))
    x, y = textures(2, 32, 32)
    expected = from_state_dict(state, kind="torchvision")
    found = inception("torchvision")
    assert found.sha256 == sha256
    ours, theirs = (features(net, x[None], ("64",))["64"].values for net in (found, expected))
    assert torch.equal(ours, theirs)
    score = sifid(x, y)
    assert (score.sha256, score.weights) == (sha256, "torchvision")
    assert score.value == sifid(x, y, net=expected).value > 0.01


# ---- fetching


@pytest.fixture
def server(content: bytes) -> Iterator[HTTPServer]:
    """Serves what its `routes` say: path -> (status, body, headers), and counts requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = self.server.routes[self.path]  # type: ignore[attr-defined]
            self.server.asked.append(self.path)  # type: ignore[attr-defined]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *unused: Any) -> None:
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    made.routes = {"/own-1.pth": (200, content, {})}  # type: ignore[attr-defined]
    made.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def served(own: WeightsFile, server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> WeightsFile:
    url = f"http://127.0.0.1:{server.server_address[1]}/own-1.pth"
    entry = WeightsFile("own", own.files, url, own.sha256, own.n_bytes, own.licence, own.purpose)
    monkeypatch.setitem(REGISTRY, "own", entry)
    return entry


def test_fetch_brings_a_file_once(served: WeightsFile, server: Any, content: bytes) -> None:
    seen: list[tuple[float, str]] = []
    path, new = weights.fetch("own", lambda fraction, message: seen.append((fraction, message)))
    assert (path, new) == (hub_folder() / "own-1.pth", True)
    assert path.read_bytes() == content
    assert os.listdir(hub_folder()) == ["own-1.pth"]
    assert seen[-1] == (1.0, "own-1.pth, 0 of 0 MiB")
    assert weights.fetch("own") == (path, False)
    path.rename(hub_folder() / "own-2.pth")  # under another library's name
    assert weights.fetch("own") == (hub_folder() / "own-2.pth", False)
    assert len(server.asked) == 1


def test_fetch_replaces_a_damaged_file(served: WeightsFile, content: bytes) -> None:
    path = put(hub_folder() / "own-1.pth", content[:-7])
    assert weights.fetch("own") == (path, True)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda data: (200, data[:-1], {}), "what was sent is not kept: .* bytes instead of"),
        (lambda data: (200, data[:-9] + bytes(9), {}), "what was sent is not kept: .*sha256"),
        (lambda data: (200, data + b"x", {}), "sends more than"),
        (lambda data: (200, data[:100], {"Content-Length": str(len(data))}), "not kept|cannot be reached"),
        (lambda data: (404, b"no", {}), "the server says 404 Not Found"),
        (lambda data: (302, b"", {"Location": "/own-1.pth"}), "the server says 302"),
        (lambda data: (302, b"", {"Location": "file:///dev/null"}), "the server says 302"),
    ],
)
def test_what_is_not_the_file_is_not_kept(
    served: WeightsFile, server: Any, content: bytes, answer: Callable[[bytes], Any], said: str
) -> None:
    server.routes["/own-1.pth"] = answer(content)
    before = put(hub_folder() / "own-1.pth", b"what was there")
    with pytest.raises(InputError, match=said):
        weights.fetch("own")
    assert before.read_bytes() == b"what was there"
    assert os.listdir(hub_folder()) == ["own-1.pth"]


def test_a_download_of_unknown_size_is_bounded(
    served: WeightsFile, server: Any, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = WeightsFile("own", served.files, served.url, served.sha256, None, "", "")
    monkeypatch.setitem(REGISTRY, "own", entry)
    monkeypatch.setattr(weights, "MAX_BYTES", len(content) - 1)
    with pytest.raises(InputError, match="sends more than"):
        weights.fetch("own")
    monkeypatch.setattr(weights, "MAX_BYTES", len(content))
    assert weights.fetch("own")[1]


def test_https_is_not_left(own: WeightsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(io.BytesIO):
        def geturl(self) -> str:
            return "http://example.org/own-1.pth"

    monkeypatch.setattr("urllib.request.urlopen", lambda *unused, **ignored: Elsewhere())
    with pytest.raises(InputError, match="which is not https"):
        weights.fetch("own")


def test_without_room_or_folder(served: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
        with pytest.raises(OutputError, match="has no room for"):
            weights.fetch("own")
    assert os.listdir(hub_folder()) == []
    monkeypatch.setenv("TORCH_HOME", str(put(tmp_path / "file", b"")))
    with pytest.raises(OutputError, match="cannot be written"):
        weights.fetch("own")


# ---- the command line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*args: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["weights", *map(str, args)])
        out, err = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out, err

    return call


Run = Callable[..., tuple[int, str, str]]


def test_list_names_everything(run: Run, own: WeightsFile) -> None:
    code, out, err = run("list")
    assert (code, err) == (0, "")
    for entry in REGISTRY.values():
        for part in (entry.name, *entry.files, entry.url, entry.sha256, entry.licence, entry.purpose, entry.size_text):
            assert part in out, part
    code, out, _ = run("list", "--json")
    assert [one["name"] for one in json.loads(out)] == list(REGISTRY)


def test_fetch_on_the_command_line(run: Run, served: WeightsFile, server: Any) -> None:
    path = str(hub_folder() / "own-1.pth")
    code, out, err = run("fetch", "own")
    assert (code, out) == (0, path + "\n")
    assert "fetched; size and sha256 are right" in err
    assert "licence as stated: MIT" in err
    assert run("fetch", "own", "-q") == (0, path + "\n", "")
    os.unlink(path)
    server.routes["/own-1.pth"] = (200, b"x", {})
    code, out, err = run("fetch", "own", "-q")
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    code, out, err = run("fetch", "nothing")
    assert (code, out) == (2, "")
    assert err.startswith("texsyn: NAME: weights 'nothing' are not known; known are inception-fid")


def test_fetch_offline_is_one_sentence(run: Run, served: WeightsFile, server: HTTPServer) -> None:
    server.socket.close()
    code, out, err = run("fetch", "own", "-q")
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert "cannot be reached from here" in err
    assert str(hub_folder()) in err


def test_fetch_that_cannot_write(
    run: Run, served: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(put(tmp_path / "file", b"")))
    code, out, err = run("fetch", "own", "-q")
    assert (code, out, len(err.splitlines())) == (4, "", 1)


def test_check_says_what_is_here(run: Run, own: WeightsFile, content: bytes, tmp_path: Path) -> None:
    code, out, err = run("check")
    assert (code, out) == (1, "")
    assert "no weights are here" in err
    path = put(hub_folder() / "own-1.pth", content)
    assert run("check") == (0, f"ok   own: {path}\n", "")
    assert run("check", put(tmp_path / "renamed", content)) == (0, f"ok   own: {tmp_path / 'renamed'}\n", "")
    assert run("check", hub_folder()) == (0, f"ok   own: {path}\n", "")
    put(hub_folder() / "vgg19-dcbb9e9d.pth", b"cut")
    code, out, err = run("check")
    assert (code, err) == (1, "texsyn: vgg19: not intact\n")
    assert "FAIL vgg19: " in out
    assert "has 3 bytes instead of 574,673,361" in out
    code, out, _ = run("check", "--json")
    assert code == 1
    assert {one["name"]: one["intact"] for one in json.loads(out)} == {"own": True, "vgg19": False}
    code, out, _ = run("check", put(tmp_path / "stranger.pth", b"?"))
    assert code == 1
    assert "is that of no known file" in out
    code, out, err = run("check", tmp_path / "gone")
    assert (code, out) == (3, "")


def test_check_looks_where_the_environment_points(
    run: Run, own: WeightsFile, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "mine.bin", content)
    monkeypatch.setenv("TEXSYN_WEIGHTS", str(path))
    cached = put(hub_folder() / "own-2.pth", content)
    assert run("check") == (0, f"ok   own: {path}\nok   own: {cached}\n", "")
    monkeypatch.setenv("TEXSYN_WEIGHTS", str(tmp_path / "gone"))
    assert run("check")[0] == 3
