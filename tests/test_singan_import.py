"""Files of SinGAN's released code, and what is drawn with them, against a second implementation of its formulas.

The reference below is plain functions over state dicts: no module, no shared code with texsyn. No file in the tests
comes from the released code; they are written here in its layout, with random weights.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import texsyn
from texsyn.cli import main
from texsyn.gan.singan_files import import_singan
from texsyn.images import InputError, Picture, Size, load, save
from texsyn.models.singan import Singan

# ---- the reference


def generator(state: dict[str, Tensor], z: Tensor, v: Tensor) -> Tensor:
    """G(z, v) with running statistics: five 3x3 convolutions without borders, tanh, and the middle of v."""
    for name in ("head", "body.block1", "body.block2", "body.block3"):
        z = F.conv2d(z, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"])
        mean, var = (state[f"{name}.norm.running_{which}"][:, None, None] for which in ("mean", "var"))
        scale, shift = (state[f"{name}.norm.{which}"][:, None, None] for which in ("weight", "bias"))
        z = (z - mean) / (var + 1e-5).sqrt() * scale + shift
        z = torch.where(z > 0, z, 0.2 * z)
    z = torch.tanh(F.conv2d(z, state["tail.0.weight"], state["tail.0.bias"]))
    cut = (v.shape[2] - z.shape[2]) // 2
    return z + v[:, :, cut:-cut, cut:-cut]


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def weights_of(n: int, factor: float) -> np.ndarray:
    """(ceil(n factor), n): weights before the first pixel are dropped, those behind the last come from the mirror."""
    narrow = min(factor, 1.0)
    found = np.zeros((math.ceil(n * factor), n))
    for i in range(len(found)):
        u = (i + 1) / factor + 0.5 * (1 - 1 / factor) - 1  # counted from 0
        for j in range(max(0, math.floor(u - 2 / narrow)), math.ceil(u + 2 / narrow) + 1):
            found[i, j if j < n else 2 * n - 1 - j] += narrow * cubic(narrow * (u - j))
        found[i] /= found[i].sum()
    return found


def imresize(pixels: np.ndarray, factor: float) -> np.ndarray:
    """pixels (h, w, c) float64."""
    rows, columns = weights_of(pixels.shape[0], factor), weights_of(pixels.shape[1], factor)
    return np.einsum("ih,hwc,jw->ijc", rows, pixels, columns)


def transfer(u: Tensor, factor: float) -> Tensor:
    """u (1, c, h, w) in [-1, 1] through 8 bits, resampled by the factor."""
    codes = (255 * ((u + 1) / 2).clamp(0, 1))[0].permute(1, 2, 0).numpy().astype(np.uint8)
    made = torch.from_numpy(imresize(codes.astype(np.float64), factor) / 255).float().permute(2, 0, 1)[None]
    return (made * 2 - 1).clamp(-1, 1)


@dataclass(frozen=True)
class Trained:
    """What a folder of the released code holds, and where scales and their factor come from."""

    states: list[dict[str, Tensor]]
    zs: list[Tensor]
    amplitudes: list[float]
    reals: list[Tensor]
    r: float

    def transfer(self, k: int, below: Tensor, scale_v: float = 1.0, scale_h: float = 1.0) -> Tensor:
        """What scale k sees of the next coarser one's picture, with its border of zeros."""
        up = transfer(below, 1 / self.r)
        h, w = round(scale_v * self.reals[k].shape[2]), round(scale_h * self.reals[k].shape[3])
        up = F.pad(up[:, :, :h, :w], (5, 5, 5, 5))
        size = (round(scale_v * (self.zs[k].shape[2] - 10)) + 10, round(scale_h * (self.zs[k].shape[3] - 10)) + 10)
        return F.interpolate(up[:, :, : size[0], : size[1]], size, mode="bilinear", align_corners=True)

    def pictures(self, noise: list[Tensor], scale_v: float = 1.0, scale_h: float = 1.0) -> list[Tensor]:
        """The picture at every scale from padded noise."""
        found: list[Tensor] = []
        for k, z in enumerate(noise):
            below = self.transfer(k, found[-1], scale_v, scale_h) if found else torch.zeros_like(z)
            found.append(generator(self.states[k], self.amplitudes[k] * z + below, below))
        return found

    def drawn(self, random: torch.Generator, scale_v: float = 1.0, scale_h: float = 1.0) -> list[Tensor]:
        """Noise in the order of the released code: one channel for all at scale 0, three after it, zeros around."""
        found = []
        for k, z in enumerate(self.zs):
            h, w = round((z.shape[2] - 10) * scale_v), round((z.shape[3] - 10) * scale_h)
            noise = torch.randn(1, 3 if k else 1, h, w, generator=random).expand(1, 3, h, w)
            found.append(F.pad(noise, (5, 5, 5, 5)))
        return found


def pyramid(height: int, width: int, min_size: int = 25, max_size: int = 250) -> tuple[float, int, float]:
    """(scale1, stop, r) of the released rule for an image of these sides, with a requested factor of 0.75."""
    n = math.ceil(math.log(min_size / min(height, width), 0.75)) + 1
    m = math.ceil(math.log(min(max_size, max(height, width)) / max(height, width), 0.75))
    scale1 = min(max_size / max(height, width), 1)
    least = min(math.ceil(height * scale1), math.ceil(width * scale1))
    return scale1, n - m, (min_size / least) ** (1 / (n - m))


def random_state(width: int, random: torch.Generator, channels: int = 3) -> dict[str, Tensor]:
    """A generator's state dict that makes pictures of some contrast, in the released code's order."""
    state: dict[str, Tensor] = {}
    n_in = channels
    for name in ("head", "body.block1", "body.block2", "body.block3"):
        state[f"{name}.conv.weight"] = torch.randn(width, n_in, 3, 3, generator=random) / math.sqrt(9 * n_in)
        state[f"{name}.conv.bias"] = 0.1 * torch.randn(width, generator=random)
        state[f"{name}.norm.weight"] = 1 + 0.1 * torch.randn(width, generator=random)
        state[f"{name}.norm.bias"] = 0.1 * torch.randn(width, generator=random)
        state[f"{name}.norm.running_mean"] = 0.1 * torch.randn(width, generator=random)
        state[f"{name}.norm.running_var"] = 0.5 + torch.rand(width, generator=random)
        state[f"{name}.norm.num_batches_tracked"] = torch.tensor(6000)
        n_in = width
    state["tail.0.weight"] = torch.randn(channels, width, 3, 3, generator=random) / math.sqrt(9 * width) / 2
    state["tail.0.bias"] = 0.1 * torch.randn(channels, generator=random)
    return state


def trained(picture: Picture, seed: int = 0, *, nfc: int = 32, min_size: int = 25, max_size: int = 250) -> Trained:
    random = torch.Generator().manual_seed(seed)
    scale1, stop, r = pyramid(picture.size.height, picture.size.width, min_size, max_size)
    x = torch.from_numpy(picture.pixels.astype(np.float32) / 255).permute(2, 0, 1)[None] * 2 - 1
    x = transfer(x, scale1)
    reals = [transfer(x, r ** (stop - i)) for i in range(stop + 1)]
    zs = []
    for k, real in enumerate(reals):
        h, w = real.shape[2:]
        first = torch.randn(1, 1, h, w, generator=random).expand(1, 3, h, w)
        zs.append(F.pad(first if k == 0 else torch.zeros(1, 3, h, w), (5, 5, 5, 5)))
    states = [random_state(min(nfc * 2 ** (k // 4), 128), random) for k in range(stop + 1)]
    amplitudes = [1.0, *(0.02 + 0.03 * torch.rand(stop, generator=random)).tolist()]
    return Trained(states, zs, amplitudes, reals, r)


def written(folder: Path, it: Trained, *, layout: str = "zip") -> Path:
    """The folder of the released code: amplitudes are a number first, then tensors without dimensions."""
    root = folder / "TrainedModels" / "it" / "scale_factor=0.750000,alpha=10"

    def put(value: Any, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(value, path, _use_new_zipfile_serialization=layout == "zip")

    for k, state in enumerate(it.states):
        put(state, root / str(k) / "netG.pth")
    put(it.zs, root / "Zs.pth")
    put([1, *(torch.tensor(a) for a in it.amplitudes[1:])], root / "NoiseAmp.pth")
    put(it.reals, root / "reals.pth")
    (root / "Gs.pth").write_bytes(b"is not opened")
    return root


def picture(height: int, width: int, seed: int = 0) -> Picture:
    """Blobs of colour."""
    random = torch.Generator().manual_seed(seed)
    u = F.interpolate(torch.rand(1, 3, height // 8, width // 8, generator=random), (height, width), mode="bicubic")
    pixels = (u[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    return Picture(np.ascontiguousarray(pixels), "RGB", name="blobs")


# ---- the reference is right: values that the released modules gave


def test_the_references_resampling_has_the_known_values() -> None:
    i, j, c = np.meshgrid(np.arange(6), np.arange(5), np.arange(3), indexing="ij")
    u = ((7 * i + 13 * j + 5 * c) ** 2 % 251).astype(np.float64)
    for factor, shape, first, last, total in (
        (4 / 3, (8, 7, 3), (-11.576353, 105.017159, 193.066414), (241.498834, 98.049667, 83.41671), 20488.583572),
        (0.75, (5, 4, 3), (42.691678, 164.690383, 73.071206), (175.286031, 116.29063, 210.00512), 7224.601672),
        (0.5, (3, 3, 3), (106.008718, 108.798614, 172.429001), (128.347329, 179.602829, 92.835022), 3300.234258),
    ):
        found = imresize(u, factor)
        assert found.shape == shape
        np.testing.assert_allclose(found[0, :3, 0], first, atol=1e-6)
        np.testing.assert_allclose(found[-1, :3, 0], last, atol=1e-6)
        assert found.sum() == pytest.approx(total, abs=1e-5)


def test_the_references_generator_has_the_known_values() -> None:
    state = {name: t.double() for name, t in random_state(32, torch.Generator()).items()}
    learned = [name for name in state if not name.startswith("x") and "running" not in name and "batches" not in name]
    for i, name in enumerate(learned):
        k = torch.arange(state[name].numel(), dtype=torch.float64)
        state[name] = (0.05 * torch.sin(k + i) + float(name.endswith("norm.weight"))).reshape(state[name].shape)
    state |= {name: torch.full_like(t, float("var" in name)) for name, t in state.items() if "running" in name}
    z, v = (torch.sin(0.7 * torch.arange(1449, dtype=torch.float64) + ph).reshape(1, 3, 21, 23) for ph in (0, 1))
    made = generator(state, z, v)
    assert made.shape == (1, 3, 11, 13)
    np.testing.assert_allclose(made[0, :, 0, 0], (-0.225333, 0.808226, 0.809204), atol=1e-6)
    assert made[0, 1, 5, 6].item() == pytest.approx(-0.94895711, abs=1e-8)
    assert made.mean().item() == pytest.approx(-0.02255147, abs=1e-8)
    assert made.std().item() == pytest.approx(0.70867727, abs=1e-8)


@pytest.mark.parametrize(
    ("size", "n", "r", "first", "last"),
    [
        ((188, 250), 10, 0.799, (26, 34), (188, 250)), ((250, 250), 11, 0.794, None, None),
        ((256, 256), 10, 0.774, None, None), ((168, 250), 9, 0.788, None, None), ((433, 650), 8, 0.762, None, None),
        ((243, 600), 6, 0.755, None, None), ((128, 128), 8, None, None, None),
    ],
)  # fmt: skip
def test_the_references_pyramid_has_the_known_scales(size: Any, n: int, r: Any, first: Any, last: Any) -> None:
    _, stop, factor = pyramid(*size)
    assert stop + 1 == n
    assert r is None or factor == pytest.approx(r, abs=5.1e-4)
    if first is not None:
        assert tuple(math.ceil(side * factor**stop) for side in size) == first
        assert last == size


# ---- parity


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Singan]:
    exemplar = picture(64, 88)
    it = trained(exemplar)
    return it, import_singan(written(tmp_path_factory.mktemp("official"), it), exemplar)


def test_sizes_amplitudes_and_pictures_of_the_scales_are_those_of_the_files(imported: tuple[Trained, Singan]) -> None:
    it, model = imported
    assert model.config.compat == "official"
    assert [(s.height, s.width) for s in model.sizes] == [tuple(x.shape[2:]) for x in it.reals]
    assert model.amplitudes == pytest.approx(it.amplitudes, rel=1e-7)
    for mine, theirs in zip(model.reals(), it.reals, strict=True):
        assert flips(mine, theirs) < 0.02


def flips(mine: Tensor, theirs: Tensor, transitions: int = 1) -> float:
    """The share of pixels that 8 bits on the way made different; all others agree, and those by codes at most."""
    apart = (mine - theirs).abs()
    assert apart.median() < 1e-6
    assert apart.max() <= 2 * 2 / 255 * transitions
    return float((apart > 1e-5).float().mean())


def test_each_stage_is_the_references_to_1e_5_when_it_gets_the_same_picture(imported: tuple[Trained, Singan]) -> None:
    it, model = imported
    random = torch.Generator().manual_seed(3)
    noise = it.drawn(random)
    theirs = it.pictures(noise)
    for k in range(len(it.states)):
        if k == 0:
            start = torch.zeros(1, 3, *it.reals[0].shape[2:])
            below = torch.zeros_like(noise[0])
        else:
            start = model.up(theirs[k - 1], model.sizes[k])
            below = F.pad(start, (5, 5, 5, 5))
            assert (below - it.transfer(k, theirs[k - 1])).abs().max() < 1e-5, k
        mine = model.scales[k](it.amplitudes[k] * noise[k] + below, below)
        assert (mine - theirs[k]).abs().max() < 1e-5, k
        assert theirs[k].std() > 0.1  # pictures, no greys: a comparison of nothing would pass


def parts(model: Singan, noise: list[Tensor]) -> Callable[[int, Size], Tensor]:
    def given(scale: int, size: Size) -> Tensor:
        z = noise[scale][:, :, 5:-5, 5:-5]
        assert tuple(z.shape[2:]) == (size.height, size.width), scale
        return z

    return given


def test_the_reconstruction_of_the_whole_pyramid_is_the_references(imported: tuple[Trained, Singan]) -> None:
    it, model = imported
    theirs = it.pictures(it.zs)[-1]
    assert flips(model.reconstruct(), theirs, len(it.states) - 1) < 0.1


@pytest.mark.parametrize(("scale_v", "scale_h"), [(1.0, 1.0), (1.5, 2.0), (0.75, 1.0)])
def test_random_samples_of_other_sizes_are_the_references(
    imported: tuple[Trained, Singan], scale_v: float, scale_h: float
) -> None:
    it, model = imported
    noise = it.drawn(torch.Generator().manual_seed(8), scale_v, scale_h)
    theirs = it.pictures(noise, scale_v, scale_h)[-1]
    size = Size(*theirs.shape[2:])
    assert size == Size(round(64 * scale_v), round(88 * scale_h))
    mine = model.generate(size, seed=0, noise=parts(model, noise))
    assert flips(mine, theirs, len(it.states) - 1) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(168, 250), (300, 420), (256, 256)])
def test_pyramids_of_the_published_sizes_are_the_references(tmp_path: Path, height: int, width: int) -> None:
    exemplar = picture(height, width)
    it = trained(exemplar, 1)
    model = import_singan(written(tmp_path, it), exemplar)
    noise = it.drawn(torch.Generator().manual_seed(9))
    theirs = it.pictures(noise)
    mine = model.generate(model.sizes[-1], seed=0, noise=parts(model, noise))
    assert flips(mine, theirs[-1], len(it.states) - 1) < 0.1
    assert flips(model.reconstruct(), it.pictures(it.zs)[-1], len(it.states) - 1) < 0.1


def test_seeds_draw_noise_of_one_channel_at_the_coarsest_scale(imported: tuple[Trained, Singan]) -> None:
    """Of the same law as the released code's; the values are another stream's."""
    it, model = imported
    noise = model.noise_of(5)
    first, later = noise(0, model.sizes[0]), noise(1, model.sizes[1])
    assert torch.equal(first[:, 0], first[:, 2])
    assert not torch.equal(later[:, 0], later[:, 2])
    padded = [F.pad(noise(k, s), (5, 5, 5, 5)) for k, s in enumerate(model.sizes)]
    assert flips(model.generate(model.sizes[-1], seed=5), it.pictures(padded)[-1], len(it.states) - 1) < 0.1


# ---- files


@pytest.mark.parametrize("layout", ["zip", "stream"])
def test_an_imported_model_is_saved_loaded_and_sampled(tmp_path: Path, layout: str) -> None:
    exemplar = picture(48, 56)
    root = written(tmp_path, trained(exemplar), layout=layout)
    model = import_singan(root, exemplar)
    model.save(tmp_path / "it.texsyn")
    again = texsyn.load(tmp_path / "it.texsyn")
    size = Size(60, 80)
    assert torch.equal(model.sample(size, seed=3, n=2), again.sample(size, seed=3, n=2))
    assert isinstance(again, Singan)
    assert torch.equal(model.reconstruct(), again.reconstruct())


def test_other_widths_and_sides_are_found_from_the_files(tmp_path: Path) -> None:
    for k, (nfc, min_size, max_size) in enumerate([(16, 25, 250), (32, 20, 250), (32, 25, 60), (32, 18, 64)]):
        exemplar = picture(56, 80)
        it = trained(exemplar, nfc=nfc, min_size=min_size, max_size=max_size)
        model = import_singan(written(tmp_path / str(k), it), exemplar)
        assert [(s.height, s.width) for s in model.sizes] == [tuple(x.shape[2:]) for x in it.reals]
        assert model.config.width(0) == nfc
        assert flips(model.reconstruct(), it.pictures(it.zs)[-1], len(it.states) - 1) < 0.1


def test_what_newer_torch_or_older_left_is_read_alike(tmp_path: Path) -> None:
    """Forks for newer torch have integer zeros as noise of later scales, older ones no counters of batches."""
    exemplar = picture(48, 56)
    it = trained(exemplar)
    plain = import_singan(written(tmp_path / "plain", it), exemplar)
    states = [{k: t for k, t in state.items() if "batches" not in k} for state in it.states]
    other = Trained(states, [it.zs[0].double(), *(z.long() for z in it.zs[1:])], it.amplitudes, it.reals, it.r)
    root = written(tmp_path / "other", other)
    (root / "reals.pth").unlink()  # nor is this needed
    assert torch.equal(import_singan(root, exemplar).reconstruct(), plain.reconstruct())


# ---- what does not belong together, in one sentence each


@pytest.fixture
def official(tmp_path: Path) -> tuple[Path, Picture, Trained]:
    exemplar = picture(48, 56)
    it = trained(exemplar)
    return written(tmp_path, it), exemplar, it


def refused(root: Path, exemplar: Picture, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        import_singan(root, exemplar)
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(str(root)) or str(caught.value).startswith(exemplar.name)


def test_folders_that_are_none(official: tuple[Path, Picture, Trained], tmp_path: Path) -> None:
    root, exemplar, _ = official
    refused(tmp_path / "nowhere", exemplar, "is not there; give the folder that holds 0/netG.pth")
    refused(root / "Gs.pth", exemplar, "is a file; give the folder")
    refused(root.parent, exemplar, r"there is no 0/netG.pth in it; give a folder such as TrainedModels/NAME/scale")
    (root / "2" / "netG.pth").unlink()
    refused(root, exemplar, "has 4/netG.pth, but no 2/netG.pth")
    for k in range(5):
        (root / str(k) / "netG.pth").unlink(missing_ok=True)
    refused(root, exemplar, "only Gs.pth, whose pickled modules are programs and are not run here; the files 0/netG")


def test_files_that_are_missing_or_something_else(official: tuple[Path, Picture, Trained]) -> None:
    root, exemplar, it = official
    good = {name: (root / name).read_bytes() for name in ("Zs.pth", "NoiseAmp.pth", "reals.pth", "1/netG.pth")}
    ones = torch.ones(1, 3, *it.zs[1].shape[2:])
    state = it.states[1]
    cases: list[tuple[str, Any, str]] = [
        ("Zs.pth", it.zs[:3], "Zs.pth: holds a list of 3, where one entry a netG.pth, 5, is needed"),
        ("Zs.pth", it.zs[0], "holds no list"),
        ("Zs.pth", [1, *it.zs[1:]], "entry 0 is no map of noise"),
        ("Zs.pth", [*it.zs[:4], it.zs[4][0]], "entry 4 is no map of noise"),
        ("Zs.pth", [it.zs[0][:, :, :10], *it.zs[1:]], "entry 0 is no map of noise"),
        ("Zs.pth", [it.zs[0] * torch.nan, *it.zs[1:]], "entry 0 has a value that is no finite number"),
        ("Zs.pth", [it.zs[0] + 1, *it.zs[1:]], "has noise in its border, as trained for animations"),
        ("Zs.pth", [it.zs[0], ones, *it.zs[2:]], "has noise at scale 1, where the reconstruction has none"),
        ("Zs.pth", [it.zs[0][:, :2], *it.zs[1:]], "its noise has 2 channels, a picture 3"),
        ("Zs.pth", [*it.zs[:2], it.zs[2][:, :, 1:], *it.zs[3:]], "has 5 scales from .* has 5 from"),
        ("NoiseAmp.pth", [1, 0.1, 0.1, 0.1], "NoiseAmp.pth: holds a list of 4"),
        ("NoiseAmp.pth", [1, 0.1, torch.ones(2), 0.1, 0.1], "entry 2 is no amplitude"),
        ("NoiseAmp.pth", [1, 0.1, -0.1, 0.1, 0.1], "entry 2 is no amplitude"),
        ("NoiseAmp.pth", [1, 0.1, math.nan, 0.1, 0.1], "entry 2 is no amplitude"),
        ("NoiseAmp.pth", [1, 0.1, True, 0.1, 0.1], "entry 2 is no amplitude"),
        ("1/netG.pth", it.states, "netG.pth: holds no state dict"),
        ("1/netG.pth", {k: t for k, t in state.items() if k != "tail.0.bias"}, r"'tail.0.bias' is missing, and in"),
        ("1/netG.pth", state | {"more": torch.ones(1)}, r"'more' is \(1,\) of float32, and .* it is missing"),
        ("1/netG.pth", random_state(64, torch.Generator()), r"is \(64,\) of float32, and .* of 32 hidden channels"),
        ("1/netG.pth", {k: t.double() for k, t in state.items()}, "of float64, and in a network"),
        ("1/netG.pth", state | {"tail.0.bias": torch.full((3,), torch.inf)}, "has a value that is no finite number"),
        ("reals.pth", it.reals[:2], "its last entry is no picture of 56x48"),
        ("reals.pth", [*it.reals[:4], -it.reals[4]], "holds another picture than blobs: they differ by 0"),
        ("reals.pth", [*it.reals[:4], it.reals[4] * torch.nan], "holds another picture than blobs"),
    ]
    for name, value, said in cases:
        torch.save(value, root / name)
        refused(root, exemplar, said)
        (root / name).write_bytes(good[name])
    for name in good:
        (root / name).write_bytes(good[name][:-40])
        refused(root, exemplar, "broken or cut off|cut off")
        (root / name).unlink()
        if name != "reals.pth":
            refused(root, exemplar, r"No such file|no 1/netG.pth")
        (root / name).write_bytes(good[name])
    assert import_singan(root, exemplar).sizes


def test_pictures_that_were_not_the_exemplar(official: tuple[Path, Picture, Trained]) -> None:
    root, exemplar, _ = official
    refused(root, picture(96, 112), "has 5 scales from 30x25 to 56x48, and blobs of 112x96 has 7 from .* to 112x96")
    refused(root, picture(48, 56, seed=4), "holds another picture than blobs")
    grey = Picture(exemplar.pixels[:, :, :1], "L", name="blobs")
    refused(root, grey, "for pictures of 1 it is")


def test_pickled_networks_are_never_run(official: tuple[Path, Picture, Trained], tmp_path: Path) -> None:
    root, exemplar, it = official
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {canary}",)

    torch.save([nn.Conv2d(3, 3, 3), Bomb()], root / "Gs.pth")
    import_singan(root, exemplar)
    for name, value in (
        ("Zs.pth", [*it.zs[:4], Bomb()]), ("NoiseAmp.pth", [1, 0.1, 0.1, 0.1, Bomb()]),
        ("reals.pth", [Bomb()]), ("0/netG.pth", {"head.conv.weight": Bomb()}),
    ):  # fmt: skip
        before = (root / name).read_bytes()
        torch.save(value, root / name)
        refused(root, exemplar, "asks for posix.system|asks for os.system|asks for nt.system")
        (root / name).write_bytes(before)
    assert not canary.exists()


# ---- the command line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*args: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([*map(str, args)])
        out, err = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out, err

    return call


def test_the_verb_makes_a_model_that_samples(
    run: Callable[..., tuple[int, str, str]], official: tuple[Path, Picture, Trained], tmp_path: Path
) -> None:
    root, exemplar, _ = official
    image, model = tmp_path / "blobs.png", tmp_path / "blobs.texsyn"
    save(exemplar, image)
    code, out, err = run("import-singan", root, image, "-o", model)
    assert (code, out) == (0, "")
    assert "singan model, 5 scales from 30x25 to 56x48" in err
    code, out, err = run("import-singan", root, image, "-o", model)
    assert (code, len(err.splitlines())) == (2, 1)
    code, out, _ = run("import-singan", root, image, "-o", model, "--overwrite", "--json")
    assert (code, json.loads(out)["scales"]) == (0, 5)
    assert run("sample", model, "--size", "70x60", "--seed", "2", "-o", tmp_path / "drawn.png")[0] == 0
    drawn = load(tmp_path / "drawn.png")
    assert drawn.size == Size(60, 70)
    expected = import_singan(root, exemplar).synthesise(Size(60, 70), seed=2).pixels
    np.testing.assert_array_equal(drawn.pixels, expected)


def test_the_verb_refuses_in_one_line(
    run: Callable[..., tuple[int, str, str]], official: tuple[Path, Picture, Trained], tmp_path: Path
) -> None:
    root, exemplar, _ = official
    image = tmp_path / "blobs.png"
    save(exemplar, image)
    for args, expected in (
        ((root, image, "-o", tmp_path / "x.png"), 2),
        ((root, image, "-o", "-"), 2),
        ((root.parent, image, "-o", tmp_path / "x.texsyn"), 3),
        ((root, tmp_path / "none.png", "-o", tmp_path / "x.texsyn"), 3),
    ):
        code, out, err = run("import-singan", *args)
        assert (code, out, len(err.splitlines())) == (expected, "", 1), err
    assert not (tmp_path / "x.texsyn").exists()
