"""Our Inception beside those of pytorch-fid, torch-fidelity, torchmetrics and torchvision, with the same weights.

Slow, and skipped where those packages are not installed. An environment of its own holds them: the torch that texsyn
runs on, then `pip install --no-deps torchvision pytorch-fid torch-fidelity torchmetrics clean-fid` and what these
import (scipy<1.18, tqdm, requests, lightning-utilities). Run `python -m pytest -m slow tests/oracles` there.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_weights import auxiliary, random_state_dict, textures

from texsyn.metrics.frechet import frechet
from texsyn.metrics.inception import Inception, features, from_state_dict, resized
from texsyn.metrics.sifid import sifid

pytestmark = pytest.mark.slow

CLOSE = 1e-4  # of the largest feature; convolutions in another order differ by about 1e-6
TAPS = ("64", "192", "768", "2048")


def library(name: str) -> Any:
    """The package, or a skip that says why not.

    torchvision's compiled part may not fit a CPU build of torch; what is asked of it here needs no compiled part, so
    the registrations that fail without it are passed over.
    """
    if importlib.util.find_spec(name.split(".")[0]) is None:
        pytest.skip(f"{name.split('.')[0]} is not installed")
    register = torch.library.register_fake

    def lenient(op: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda f: f
        return register(op, *args, **kwargs)

    torch.library.register_fake = lenient
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported here: {str(error).splitlines()[0]}")
    finally:
        torch.library.register_fake = register


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return random_state_dict()


@pytest.fixture(scope="module")
def net(state: dict[str, torch.Tensor]) -> Inception:
    return from_state_dict(state, sha256="random")


@pytest.fixture(scope="module")
def weights_file(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.concatenate([textures(6, 64, 64, seed=2), textures(6, 64, 64, seed=3)])


def worst(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def chw(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def test_pytorch_fid(
    state: dict[str, torch.Tensor], net: Inception, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    library("torchvision")
    theirs = library("pytorch_fid.inception")
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *unused, **ignored: state)
    reference = theirs.InceptionV3([0, 1, 2, 3]).eval()
    with torch.no_grad():
        maps = reference(chw(pictures).float() / 255)
    ours = features(net, pictures, TAPS, resize="pytorch-fid")
    found = {tap: worst(ours[tap].values, m.mean((2, 3))) for tap, m in zip(TAPS, maps, strict=True)}
    print("pytorch-fid", found)
    assert max(found.values()) < CLOSE
    scores = library("pytorch_fid.fid_score")
    x, y = (maps[3].mean((2, 3))[part].double().numpy() for part in (slice(0, 6), slice(6, 12)))
    their_fid = scores.calculate_frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    our_fid = frechet(ours["2048"].values[:6], ours["2048"].values[6:]).value
    print("FID", our_fid, their_fid)
    assert our_fid == pytest.approx(their_fid, rel=1e-3)


def test_torch_fidelity(weights_file: Path, net: Inception, pictures: np.ndarray) -> None:
    theirs = library("torch_fidelity.feature_extractor_inceptionv3")
    names = [*TAPS, "logits_unbiased"]
    reference = theirs.FeatureExtractorInceptionV3(
        "inception-v3-compat", names, feature_extractor_weights_path=str(weights_file)
    )
    with torch.no_grad():
        found = dict(zip(names, reference(chw(pictures)), strict=True))
    ours = features(net, pictures, (*TAPS, "logits"))
    differences = {name: worst(ours[name.removesuffix("_unbiased")].values, found[name]) for name in names}
    print("torch-fidelity", differences)
    assert max(differences.values()) < CLOSE


@pytest.mark.parametrize("side", [64, 299, 500])
def test_torch_fidelitys_resize(side: int) -> None:
    theirs = library("torch_fidelity.interpolate_compat_tensorflow")
    (picture,) = textures(1, side, side + 11, seed=4)
    reference = theirs.interpolate_bilinear_2d_like_tensorflow1x(
        chw(picture[None]).float(), size=(299, 299), align_corners=False
    )
    difference = float(((reference - 128) / 128 - resized(picture, "reference")).abs().max())
    print("TF1 bilinear", side, difference)
    assert difference < 1e-4


def test_torchmetrics(weights_file: Path, net: Inception, pictures: np.ndarray) -> None:
    library("torch_fidelity")
    theirs = library("torchmetrics.image.fid")
    fid = theirs.FrechetInceptionDistance(
        feature=2048, feature_extractor_weights_path=str(weights_file), antialias=False
    )
    for part, real in ((pictures[:6], True), (pictures[6:], False)):
        fid.update(chw(part), real=real)
    ours = features(net, pictures)["2048"].values
    our_fid, their_fid = frechet(ours[:6], ours[6:]).value, float(fid.compute())
    print("torchmetrics FID", our_fid, their_fid)
    assert our_fid == pytest.approx(their_fid, rel=1e-3)


@pytest.mark.parametrize("side", [64, 299, 500])
def test_clean_fids_resize(side: int) -> None:
    library("torchvision")
    theirs = library("cleanfid.resize")
    (picture,) = textures(1, side, side + 11, seed=4)
    reference = torch.from_numpy(theirs.build_resizer("clean")(picture)).permute(2, 0, 1)[None]
    assert torch.equal((reference - 128) / 128, resized(picture, "clean"))


def test_torchvision(pictures: np.ndarray) -> None:
    library("torchvision")
    theirs = library("torchvision.models")
    state = random_state_dict("torchvision", seed=1) | auxiliary()
    net = from_state_dict(state, kind="torchvision")
    reference = theirs.inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False).eval()
    reference.load_state_dict(state)
    found: dict[str, torch.Tensor] = {}
    for name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_6e", "avgpool"):
        getattr(reference, name).register_forward_hook(lambda m, x, y, name=name: found.update({name: y}))
    x = torch.cat([resized(p, "reference") for p in pictures])
    with torch.no_grad():
        logits = reference(x)
        ours = net(x, ("64pre", "192pre", "768", "2048", "logits"))
    assert net.fc is not None
    differences = {
        "64pre": worst(ours["64pre"], found["Conv2d_2b_3x3"]),
        "192pre": worst(ours["192pre"], found["Conv2d_4a_3x3"]),
        "768": worst(ours["768"], found["Mixed_6e"].mean((2, 3))),
        "2048": worst(ours["2048"], found["avgpool"].flatten(1)),
        "logits": worst(ours["logits"] + net.fc.bias, logits),
    }
    print("torchvision", differences)
    assert max(differences.values()) < CLOSE

    for picture, other in ((pictures[0], pictures[5]), (textures(1, 96, 128)[0], pictures[1])):  # SiFID from its pieces
        samples = []
        for one in (picture, other):
            z = 2 * chw(one[None]).float() / 255 - 1
            with torch.no_grad():
                z = reference.maxpool1(reference.Conv2d_2b_3x3(reference.Conv2d_2a_3x3(reference.Conv2d_1a_3x3(z))))
                samples.append(reference.Conv2d_4a_3x3(reference.Conv2d_3b_1x1(z))[0].flatten(1).T.double())
        (mu_x, s_x), (mu_y, s_y) = ((s.mean(0), torch.cov(s.T)) for s in samples)
        root = torch.linalg.eigvals(s_x @ s_y).real.clamp(min=0).sqrt().sum()
        expected = float((mu_x - mu_y).square().sum() + s_x.trace() + s_y.trace() - 2 * root)
        print("SiFID", sifid(picture, other, net=net).value, expected)
        assert sifid(picture, other, net=net).value == pytest.approx(expected, rel=1e-4)
