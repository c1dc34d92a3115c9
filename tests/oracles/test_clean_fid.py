"""Whole numbers of clean-fid, from PNG files to FID and KID, beside ours; and its heads on the golden matrices.

Slow, and skipped where clean-fid is missing; `test_against_libraries` says how to install it. Its mode "clean" runs a
file of TorchScript that nobody may have here, so its other network, which it took from pytorch-fid, gets the random
weights and stands behind both modes; files, resizer, scale, statistics and distances are its own. What it gives is
what tests/test_metric_golden.py keeps.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_weights import random_state_dict
from test_against_libraries import library
from test_heads_against_libraries import moments, same
from torch import Tensor

from texsyn.evaluation import evaluate
from texsyn.images import Picture, save
from texsyn.metrics.frechet import frechet
from texsyn.metrics.inception import Inception, from_state_dict
from texsyn.metrics.kid import kid

pytestmark = pytest.mark.slow

golden = runpy.run_path(str(Path(__file__).parents[1] / "test_metric_golden.py"))
Extractor = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state_dict()


@pytest.fixture(scope="module")
def net(state: dict[str, Tensor]) -> Inception:
    return from_state_dict(state, sha256="random")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The golden pictures as PNG files."""
    found = []
    for side, pictures in zip(("real", "fake"), golden["pictures"](), strict=True):
        folder = tmp_path_factory.mktemp(side)
        for k, pixels in enumerate(pictures):
            save(Picture(pixels, "RGB"), folder / f"{k:02}.png")
        found.append(str(folder))
    return found[0], found[1]


@pytest.fixture
def fid(state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Any:
    """cleanfid.fid with the random weights behind both modes."""
    library("torchvision")
    theirs, networks, features = (library(f"cleanfid.{name}") for name in ("fid", "inception_pytorch", "features"))
    monkeypatch.setattr(networks, "load_state_dict_from_url", lambda *unused, **ignored: state)
    build = features.build_feature_extractor

    def extractor(mode: str, device: torch.device, use_dataparallel: bool = False) -> Extractor:
        if mode == "legacy_pytorch":
            found: Extractor = build(mode, device, use_dataparallel=False)
            return found
        network = networks.InceptionV3([3], resize_input=False, normalize_input=False).eval()
        return lambda x: network((x - 128) / 128)[0].flatten(1)

    monkeypatch.setattr(theirs, "build_feature_extractor", extractor)
    return theirs


@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch"])
def test_from_files_to_a_number(fid: Any, net: Inception, folders: tuple[str, str], mode: str) -> None:
    how = {"mode": mode, "num_workers": 0, "batch_size": 4, "device": torch.device("cpu"), "verbose": False}
    custom = fid.build_feature_extractor(mode, torch.device("cpu"))
    found = {
        "fid": fid.compute_fid(*folders, custom_feat_extractor=custom, **how),
        "kid": fid.compute_kid(*folders, **how),
    }
    resize = "clean" if mode == "clean" else "pytorch-fid"
    with pytest.warns(UserWarning, match="subsets of 6"):
        scores = evaluate(*folders, ("fid", "kid"), net=net, resize=resize).scores
    for name, theirs in found.items():
        same(f"clean-fid {name}, {mode}, from files", scores[name], theirs)
    for name, theirs in found.items():
        same(f"golden {name}, {mode}", golden["OF_PICTURES"][resize, name], theirs, rel=2e-5)


@pytest.mark.parametrize("name", ["", "few_"])
def test_its_heads(name: str) -> None:
    library("torchvision")
    theirs = library("cleanfid.fid")
    x, y = (torch.from_numpy(golden["matrices"]()[name + side]) for side in ("x", "y"))
    same(f"clean-fid FID, {name}", frechet(x, y).value, theirs.frechet_distance(*moments(x), *moments(y)))
    with np.errstate(all="raise"):
        same(f"clean-fid KID, {name}", kid(x, y, size=len(x)).value, theirs.kernel_distance(x.numpy(), y.numpy()))
