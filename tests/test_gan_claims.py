"""Model files whose headers claim other networks than they hold: refused in a sentence, no memory taken for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch._subclasses import fake_tensor

from texsyn.cli import main
from texsyn.gan import claims
from texsyn.gan.architectures import ARCHITECTURES, GanConfig, configure
from texsyn.gan.claims import Beyond, Counted, networks_of
from texsyn.gan.image_model import ImageModel, Source
from texsyn.images import InputError
from texsyn.training import under

SMALL: dict[str, Any] = {"channels": 2, "height": 16, "width": 16, "features": 4, "max_features": 8, "latent": 6}


def small(arch: str, **more: Any) -> GanConfig:
    n_classes = 2 if ARCHITECTURES[arch].labels == "needed" else 0
    return configure(arch, settings=SMALL | {"n_classes": n_classes} | more)


def saved(arch: str, path: Path, *, whole: bool = False) -> None:
    """A file of random networks."""
    config = small(arch)
    generator, discriminator = ARCHITECTURES[arch].build(config, torch.Generator().manual_seed(1))
    about = Source("things", "0", tuple("ab"[: config.n_classes]))
    ImageModel(generator, config, about, discriminator=discriminator if whole else None).save(path)


def claimed(path: Path, to: Path, **settings: Any) -> None:
    """The file again, but for what its header says."""
    with safe_open(path, framework="pt") as f:
        header = json.loads(f.metadata()["texsyn"])
        tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
    header["config"] |= settings
    save_file(tensors, to, metadata={"texsyn": json.dumps(header)})


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_networks_are_known_by_their_shapes_alone(arch: str, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(arch)
    generator, discriminator = ARCHITECTURES[arch].build(config, torch.Generator().manual_seed(0))
    found = under("generator", generator.state_dict())
    found |= under("discriminator", discriminator.state_dict()) if whole else {}
    with monkeypatch.context() as patched:
        patched.setattr(fake_tensor, "FakeTensorMode", None)  # which takes a second: never for an honest file
        same(networks_of(config, found)[0].state_dict(), generator.state_dict())
    monkeypatch.setattr(claims, "USUAL", (0, 0))
    for made, wanted in zip(networks_of(config, found), (generator, discriminator), strict=True):
        same(made.state_dict(), wanted.state_dict())
    with pytest.raises(InputError, match="do not belong to a network of this configuration"):
        networks_of(small(arch, latent=7), found)
    if whole:
        last = next(key for key in found if key.startswith("discriminator."))
        with pytest.raises(InputError, match="do not belong to a network of this configuration"):
            networks_of(config, found | {last: torch.zeros(3, 5)})


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(t, wanted[key]) for key, t in found.items())


def test_numbers_are_counted_before_they_are_there() -> None:
    with Counted(5000), pytest.raises(Beyond):
        torch.zeros(10**30)
    with Counted(5000):
        torch.randn((20, 100), generator=torch.Generator())
        torch.zeros(())
        torch.empty(900)
        with pytest.raises(Beyond):  # small ones count for 1024
            torch.ones(1)


LARGE = (2**20, 2**31, 10**30)
CLAIMS = [
    {name: n}
    for n in LARGE
    for name in ("features", "max_features", "latent", "channels", "height", "width", "mapping_layers", "layers")
]
CLAIMS += [{"features": n, "max_features": n} for n in LARGE]
CLAIMS += [{"height": n, "width": n} for n in (2 * 32771, 2**16, 2 * 9973)]  # hardly halved, much, hardly
CLAIMS += [{"periodic": True, "width": 2**16}, {"periodic": True, "height": 2**31}]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for the peak of memory in its units")
def test_claims_of_any_size_take_no_memory(tmp_path: Path) -> None:
    """In a process of its own, whose peak is not that of other tests."""
    script = f"""
import json, resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_gan_claims import CLAIMS, claimed, saved
from texsyn.gan.image_model import load_image_model
from texsyn.images import InputError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

found, path = [], Path("m.texsyn")
import torch._decomp, torch._refs  # what shapes alone need is imported once
for arch in ("dcgan", "progan", "stylegan2", "stylegan3"):
    saved(arch, Path(arch))
    for claim in CLAIMS:
        claimed(Path(arch), path, **claim)
        before, said = peak(), "loaded"
        try:
            load_image_model(path)
        except InputError as error:
            said = str(error)
        found.append((arch, claim, said, peak() - before))
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 4 * len(CLAIMS)
    for arch, claim, said, grown in found:
        assert "\n" not in said
        unused = (arch != "stylegan3" and "layers" in claim) or (arch[:5] != "style" and "mapping_layers" in claim)
        unused |= arch == "dcgan" and claim.keys() == {"max_features"}  # its few layers do not come that far
        assert (said == "loaded") if unused else said.startswith("m.texsyn: not a usable texsyn model"), (arch, claim)
        assert grown < 200, (arch, claim, said, grown)


def test_a_header_that_claims_too_much_ends_with_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.texsyn"
    saved("stylegan2", path)
    claimed(path, tmp_path / "n.texsyn", features=2**20, max_features=2**20)
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(tmp_path / "n.texsyn"), "-o", str(tmp_path / "x.png")])
    assert stop.value.code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "its settings ask for networks that are far larger than what it holds" in line
