"""texsyn eval: sets of pictures however they come, scores with all they depend on, and refusals."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.random_weights import random_state_dict
from PIL import Image
from test_cli import Run, refused, run  # noqa: F401 (a fixture)

from texsyn.evaluation import METRICS, Crops, evaluate, pictures_of
from texsyn.images import InputError, Picture, load, save
from texsyn.metrics.frechet import frechet
from texsyn.metrics.inception import Inception, features, from_state_dict

SIDES = (("real", 3), ("fake", 2))


@pytest.fixture(scope="module")
def net() -> Inception:
    return from_state_dict(random_state_dict(), sha256="0" * 64)


def colour(seed: int, size: int = 40) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8), "RGB", name=f"{seed}.png")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Six pictures, two of them a folder deeper, and the same six in a zip file."""
    folder, packed = tmp_path / "set", tmp_path / "set.zip"
    (folder / "deeper").mkdir(parents=True)
    for k in range(6):
        save(colour(k), folder / ("deeper" if k > 3 else ".") / f"{k}.png")
    (folder / "notes.txt").write_text("no picture")
    with zipfile.ZipFile(packed, "w") as file:
        for path in folder.rglob("*"):
            file.write(path, str(path.relative_to(folder)))
    return folder, packed


def test_a_folder_a_zip_and_a_list_are_the_same_set(folders: tuple[Path, Path], net: Inception) -> None:
    folder, packed = folders
    other = [colour(k) for k in range(10, 16)]
    listed = [load(p) for p in sorted(folder.rglob("*.png"))]
    found = [evaluate(one, other, ("fid",), net=net, tap="64").scores["fid"] for one in (folder, packed, listed)]
    assert found[0] == found[2] > 0
    assert found[1] == pytest.approx(found[0], rel=1e-6)  # another order, other batches
    x, y = (features(net, s, ("64",))["64"].values for s in (listed, other))
    assert found[0] == pytest.approx(frechet(x, y).value, rel=1e-12)


def test_all_scores_of_a_set_with_itself(net: Inception) -> None:
    pictures = [colour(k) for k in range(24)]
    found = evaluate(pictures, pictures, ("fid", "fid-inf", "kid", "is", "prdc", "rsifid"), net=net, tap="192")
    assert found.scores["fid"] == pytest.approx(0, abs=1e-9)
    assert found.scores["precision"] == found.scores["recall"] == found.scores["coverage"] == 1
    assert found.scores["rSiFID(0)"] == pytest.approx(0, abs=1e-9)
    assert 1 <= found.scores["is"] <= 1008
    assert found.record["features"]["n"] == [24, 24]
    assert found.record["features"]["resize"] == "reference"
    json.dumps(found.to_dict())


def test_one_picture_stands_for_crops_of_itself(net: Inception) -> None:
    picture = load("skimage:astronaut:128")
    crops = Crops(6, 50, seed=3)
    load_all, n, kind = pictures_of(picture, crops)
    cut = list(load_all())
    assert (n, kind, len(cut)) == (6, "crops", 6)
    windows = np.lib.stride_tricks.sliding_window_view(picture.pixels, (50, 50, 3))[:, :, 0]
    for one in cut:
        assert (windows[:, :, 0, 0] == one.pixels[0, 0]).all(2).any()
    assert len({one.sha256 for one in cut}) > 4
    assert {one.sha256 for one in pictures_of(picture, Crops(6, 50, seed=4))[0]()} != {one.sha256 for one in cut}
    result = evaluate(picture, load("skimage:brick:128"), ("rsifid",), crops=crops)
    assert result.record["crops"] == {"n": 6, "side": 50, "seed": 3}


def test_sets_that_cannot_be_used_are_refused(tmp_path: Path, net: Inception) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no zip")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as file:
        file.writestr("a.txt", "x")
    with zipfile.ZipFile(tmp_path / "broken.zip", "w") as file:
        for name in ("a.png", "b.png"):
            file.writestr(name, b"\x89PNG\r\n\x1a\n cut off")
    for name, words in (("empty", "folder without"), ("bad.zip", "zip file"), ("none.zip", "zip file without")):
        with pytest.raises(InputError, match=words):
            evaluate(tmp_path / name, [colour(0)], ("fid",), net=net)
    with pytest.raises(InputError, match=r"^broken.zip: a.png: .*PNG file is broken"):
        evaluate(tmp_path / "broken.zip", [colour(0), colour(1)], ("fid",), net=net)
    with pytest.raises(InputError, match="crops of 64 do not fit"):
        evaluate(colour(0), colour(1), ("rsifid",), crops=Crops(4, 64))
    with pytest.raises(ValueError, match=r"metrics=fidd: accepted are fid, fid-inf"):
        evaluate([colour(0)], [colour(1)], ("fidd",), net=net)
    assert len(METRICS) == 7


@pytest.mark.parametrize(
    ("metrics", "real", "fake", "said"),
    [
        (("fid",), 1, 2, "the real set has 1 picture, and fid needs at least 2"),
        (("kid", "rsifid"), 2, 1, "the fake set has 1 picture, and kid needs at least 2"),
        (("is",), 2, 1, "the fake set has 1 picture, and is needs at least 2"),
        (("fid-inf",), 2, 19, "the fake set has 19 pictures, and fid-inf needs at least 20"),
        (("prdc",), 5, 9, "the real set has 5 pictures, and prdc needs at least 6"),
        (("prdc",), 9, 3, "the fake set has 3 pictures, and prdc needs at least 4"),
        (("sifid",), 2, 3, "sifid compares pictures in pairs, got 2 real and 3 fake ones"),
        (("rsifid",), 3, 2, "rsifid compares pictures in pairs, got 3 real and 2 fake ones"),
    ],
)
def test_sets_that_are_too_small_are_refused_before_the_work(
    metrics: tuple[str, ...], real: int, fake: int, said: str
) -> None:
    sets = [[colour(k) for k in range(n)] for n in (real, fake)]
    with pytest.raises(InputError, match=f"^{said}$"):
        evaluate(*sets, metrics, net="no network is asked")


def test_the_smallest_sets_have_scores(net: Inception) -> None:
    two, twenty = [colour(k) for k in range(2)], [colour(k) for k in range(10, 30)]
    found = evaluate(two, twenty, ("fid", "fid-inf", "kid"), net=net, tap="64").scores
    assert found["fid"] > 0
    assert 1 <= evaluate(two, two, ("is",), net=net).scores["is"] <= 1008
    prdc = evaluate(twenty[:6], twenty[2:6], ("prdc",), net=net, tap="64").scores
    assert prdc["precision"] == 1


def test_fewer_pictures_than_features_are_no_difficulty(net: Inception) -> None:
    real, fake = ([colour(first + k) for k in range(3)] for first in (0, 10))
    found = evaluate(real, fake, ("fid", "kid"), net=net, tap="768")
    assert found.details["fid"]["route"] == "nuclear"
    assert found.details["kid"]["lowered"]
    assert found.scores["fid"] > 0


def test_sizes_need_not_be_equal(net: Inception) -> None:
    """Vectors are of resized pictures; pairs of places may have different numbers of them, which the record has."""
    real, fake = [colour(0, 40), colour(1, 52)], [colour(2, 44), colour(3, 36)]
    found = evaluate(real, fake, ("fid", "rsifid"), net=net, tap="64")
    assert found.scores["fid"] > 0
    assert found.details["rSiFID(0)"]["locations"] == ((36, 49), (81, 25))


def test_grey_pictures_are_said_on_either_side(net: Inception) -> None:
    colours = [colour(k) for k in range(3)]
    grey = [Picture(p.pixels[:, :, :1], "L", name=p.name) for p in colours]
    for pair, notes in (
        ((colours, grey), ["fake: grey was repeated to three channels (3 of 3)"]),
        ((grey, [*grey[:2], colours[2]]), [f"{s}: grey was repeated to three channels ({n} of 3)" for s, n in SIDES]),
        ((colours, colours), []),
    ):
        assert evaluate(*pair, ("fid",), net=net, tap="64").record["features"]["notes"] == notes
    threefold = [Picture(p.pixels.repeat(3, axis=2), "RGB") for p in grey]
    assert evaluate(grey, threefold, ("fid", "rsifid"), net=net, tap="64").scores["fid"] == pytest.approx(0, abs=1e-9)


def test_duplicates(net: Inception) -> None:
    """They have a law as anything has; of neighbours there must be enough that are distinct."""
    one, others = [colour(0)] * 8, [colour(k) for k in range(8)]
    assert evaluate(one, others, ("fid", "kid"), net=net, tap="64").scores["fid"] > 0
    assert evaluate(one, one, ("fid", "kid"), net=net, tap="64").scores == pytest.approx({"fid": 0, "kid": 0}, abs=1e-9)
    assert evaluate(one[:2], one[:2], ("is",), net=net).scores["is"] == pytest.approx(1, abs=1e-6)
    for real, fake, side in ((one, others, "reference"), (others, one, "generated")):
        with pytest.raises(ValueError, match=f"k=3 needs at least 4 distinct samples in {side}, got 1, the other 7"):
            evaluate(real, fake, ("prdc",), net=net, tap="64")


def test_the_verb(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: Inception) -> None:  # noqa: F811
    for side, first in (("real", 0), ("fake", 30)):
        (tmp_path / side).mkdir()
        for k in range(5):
            save(colour(first + k), tmp_path / side / f"{k}.png")
    monkeypatch.setattr("texsyn.metrics.inception.inception", lambda *unused, **more: net)
    done = run("eval", "real", "fake", "--metrics", "fid,kid", "--tap", "64", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.text)
    assert found["scores"]["fid"] > 0
    assert found["features"]["sha256"] == "0" * 64
    said = run("eval", "real", "fake", "--metrics", "fid", "--tap", "64", "-q")
    assert said.text.splitlines()[0].split() == ["fid", f"{found['scores']['fid']:.6g}"]
    refused(run("eval", "real", "missing", "--metrics", "fid"), 3, "missing")
    refused(run("eval", "real", "fake", "--metrics", "fud"), 2, "--metrics", "fud", "accepted")
    refused(run("eval", "real", "fake", "--crops", 1), 2, "--crops")

    (tmp_path / "one").mkdir()
    save(Picture(colour(0).pixels[:, :, :1], "L"), tmp_path / "one" / "0.png")
    refused(run("eval", "real", "one", "--metrics", "fid"), 3, "fake set has 1 picture", "fid needs at least 2")
    refused(run("eval", "real", "one", "--metrics", "rsifid"), 3, "in pairs, got 5 real and 1 fake")
    save(colour(1), tmp_path / "one" / "1.png")
    said = run("eval", "real", "one", "--metrics", "fid", "--tap", "64", "-q")
    assert said.text.splitlines()[-1] == "fake: grey was repeated to three channels (1 of 2)"
    (tmp_path / "nan").mkdir()
    for k, value in enumerate((0.5, float("nan"))):
        Image.fromarray(np.full((30, 30), value, np.float32)).save(tmp_path / "nan" / f"{k}.tif")
    refused(run("eval", "real", "nan", "--metrics", "fid"), 3, "1.tif", "NaN or infinite")
    (tmp_path / "same").mkdir()
    for k in range(6):
        save(colour(0), tmp_path / "same" / f"{k}.png")
    refused(run("eval", "same", "same", "--metrics", "prdc", "--tap", "64"), 3, "4 distinct samples", "being copies")


def test_missing_weights_are_one_sentence(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name in ("TEXSYN_WEIGHTS", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save(colour(0), tmp_path / "a.png")
    save(colour(1), tmp_path / "b.png")
    line = refused(run("eval", "a.png", "b.png", "--crops", 6, "--crop-size", 30), 3, "6726825d", "TEXSYN_WEIGHTS")
    assert "95628359" in line.replace(",", "").replace(" ", "") or "95.6 MB" in line
    assert torch.get_num_threads() > 0
