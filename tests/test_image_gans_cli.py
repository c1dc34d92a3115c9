"""Image GANs at the door: what cannot be done is refused in one sentence, before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from texsyn.cli import commands, image_gans, main
from texsyn.datasets import open_dataset
from texsyn.gan.architectures import ARCHITECTURES, configure
from texsyn.gan.image_model import AT_ONCE, ImageModel, Source, load_image_model
from texsyn.gan.image_training import ImageGan
from texsyn.gan.ranks import Ranks
from texsyn.images import InputError, Picture, save
from texsyn.latent_editing import way

assert commands.texsyn  # the verbs

SMALL: dict[str, Any] = {"features": 4, "max_features": 8, "latent": 6, "batch": 4}
TRAIN = ["--steps", "2", "--seed", "1", *(word for k, v in SMALL.items() for word in ("--set", f"{k}={v}"))]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Exit code and the last line of stderr."""
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert isinstance(stop.value.code, int)
    return stop.value.code, (said.err.splitlines() or [""])[-1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def model_of(arch: str, **settings: Any) -> ImageModel:
    shape = {"channels": 1, "height": 8, "width": 8}
    config = configure(arch, settings=SMALL | shape | settings)
    generator, _ = ARCHITECTURES[arch].build(config, torch.Generator().manual_seed(0))
    return ImageModel(generator, config, Source("things", "0"))


REFUSED = [
    ("gaussians8 --arch sngan", "arch='sngan' is for pictures; points of the plane are learned by 'mlp'"),
    ("gaussians8 --augment color", "augment='color' is for pictures"),
    ("digits --arch cogan", "arch='cogan' needs two domains, DATA+DATA, and these data have 1"),
    ("digits+digits+digits+digits --arch cogan", "needs two domains, DATA+DATA, and these data have 4"),
    ("digits --arch acgan --no-labels", "needs data with labels, and n_classes=0 leaves out their 10 classes"),
    ("digits --arch progan --loss semi-discrete", "pictures of one size: growth=40000 should be 0"),
    ("digits --set growth=100", "growth=100 is for 'progan', 'stylegan'; of arch='dcgan' it should be 0"),
    ("digits --set recipe=paper", "recipe='paper' stands against recipe='tiny'"),
    ("digits --recipe huge", "--recipe: 'huge' is not one of tiny, paper"),
    ("digits --augment blur", "augment='blur' is not none, ada or some of color,translation,cutout"),
    ("digits --augment=", "augment='' is not none, ada or some of color,translation,cutout"),
    ("digits --arch=", "--arch: '' is not one of mlp"),
    ("digits --folder=", "--folder: '' is no name for a folder"),
    ("digits --resolution 2.5", "--resolution: '2.5' is not understood: give a side such as 32, or WxH such as 64x48"),
    ("digits --resolution 0x8", "--resolution: '0x8' is not understood"),
    ("digits --resolution 30000", "1797 pictures of 30000x30000 take more than 2147483648 bytes"),
    ("negative: --arch mlp", "negative: says nothing after the colon; write negative:DATA"),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED)
def test_what_does_not_fit_is_refused(
    words: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, "train", *words.split(), *TRAIN, "-o", "m.texsyn")
    assert sentence in said
    assert code == (3 if "take more" in said or "colon" in said else 2)
    assert not list(here.iterdir())


def test_a_model_without_a_name_is_refused_before_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "train", "digits", *TRAIN, "-o", "")
    assert (code, "-o: a MODEL file to write is missing" in said) == (2, True)


def test_resolutions_are_width_by_height() -> None:
    assert [image_gans._resolution(text) for text in ("32", "20x12", None)] == [(32, 32), (12, 20), None]


def test_a_resolution_enlarges_as_from_python(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "train", "digits", "--resolution", "16", *TRAIN, "-o", "m.texsyn")[0] == 0
    assert load_image_model("m.texsyn").config.width == 16


def test_processes_share_out_a_piece_of_the_batch() -> None:
    data = open_dataset("digits")
    config = configure("dcgan", settings=SMALL | {"channels": 1, "height": 8, "width": 8, "batch": 6, "pieces": 2})
    with pytest.raises(ValueError, match="batch=6 in pieces=2: a piece should be a multiple of the 2 processes"):
        ImageGan(config, data, seed=0, ranks=Ranks(0, 2))


def test_crops_of_one_float_value_are_learned(here: Path) -> None:
    save(Picture(np.full((16, 16, 1), 3.5, np.float32), "L"), "flat.tif")
    data = open_dataset("crops:flat.tif", resolution=8)
    assert (data.low, data.high) == (3.5, 4.5)
    assert data.batch(torch.arange(2)).unique().tolist() == [-1]


def test_resuming_for_fewer_steps_says_how_many_there_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "train", "digits", *TRAIN, "--folder", "run", "-o", "m.texsyn")[0] == 0
    more = ["--overwrite", "--resume", "--folder", "run", "-o", "m.texsyn", "--steps"]
    assert run(capsys, "train", "digits", *more, "1")[0] == 0
    assert "all 2 steps are done" in run(capsys, "train", "digits", *more, "1")[1]


def test_truncation_reaches_latents_that_are_longer_than_one_generators() -> None:
    model = model_of("lapgan")
    z = model.latents(3, seed=0, truncation=0.5)
    assert z.shape == model.latents(3, seed=0).shape
    assert z.shape[1] > model.config.latent
    assert z.abs().max() <= 0.5
    assert model.sample(1, seed=0, truncation=0.5).shape == (1, 1, 8, 8)
    for truncation in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="should be a finite number from 0"):
            model.sample(1, seed=0, truncation=truncation)


def test_interpolations_have_as_many_frames_as_asked_for() -> None:
    model = model_of("dcgan")
    for n, seeds in ((7, [1, 2, 3]), (3, [1, 2, 3]), (64, [4, 5, 6])):
        assert len(list(way(model, seeds, n))) == n


@pytest.mark.parametrize(
    ("channels", "words", "sentence"),
    [
        (1, "-o x.gif --frames 2 --seeds 1,2,3", "--frames: 2 are too few for 3 seeds"),
        (1, "-o -", "-o: '-' is no name for frames"),
        (1, "-o=", "-o: '' is no name for frames"),
        (5, "-o x.png", "-o: x.png: png does not hold pictures of mode multi"),
    ],
)
def test_frames_that_cannot_be_written_are_refused(
    channels: int, words: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_of("dcgan", channels=channels).save("m.texsyn")
    code, said = run(capsys, "interpolate", "m.texsyn", *words.replace("-o=", "--output=").split())
    assert (code, sentence in said) == (2, True), said
    assert [path.name for path in here.iterdir()] == ["m.texsyn"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"low": 1.0, "high": 1.0}, "both should be finite and the first the lower one"),
        ({"high": float("nan")}, "both should be finite"),
        ({"domains": 0}, "domains=0 should divide channels=1"),
        ({"kind": "sounds"}, "kind='sounds' should be pictures or points"),
    ],
)
def test_models_of_impossible_data_are_refused(change: dict[str, Any], sentence: str, here: Path) -> None:
    model = model_of("mlp")
    whole = model.to_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    inner = json.loads(header["__metadata__"]["texsyn"])
    inner["data"] |= change
    header["__metadata__"]["texsyn"] = json.dumps(inner)
    new = json.dumps(header).encode()
    Path("m.texsyn").write_bytes(len(new).to_bytes(8, "little") + new + whole[8 + length :])
    with pytest.raises(InputError, match=sentence):
        load_image_model("m.texsyn")


def test_large_pictures_are_made_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = model_of("dcgan"), []
    monkeypatch.setattr("texsyn.gan.image_model.AT_ONCE", 3 * 64)
    forward = type(model.generator).forward
    monkeypatch.setattr(
        type(model.generator), "forward", lambda self, z, labels=None: seen.append(len(z)) or forward(self, z, labels)
    )
    assert model.many(8, seed=0).shape[0] == 8
    model.settled()
    assert max(seen) == 3
    assert AT_ONCE // 256**2 >= 64  # up to this size nothing changes
