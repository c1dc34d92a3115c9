"""Pyramids that SinGAN's released code trained, made models of ours: TrainedModels/NAME/scale_factor=0.750000,alpha=10.

Such a folder holds, k counting scales from the coarsest, k/netG.pth (a state dict), Zs.pth (a list of the noise of the
reconstruction, with a border of five pixels), NoiseAmp.pth (a list of numbers) and reals.pth (the exemplar at all
scales). Its Gs.pth holds the networks as pickled modules, which are programs: it is never opened. The others are read
as data, see texsyn/state_dicts.py, and checked against the pyramid of the picture that they are said to belong to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from texsyn.images import InputError, Picture, Size
from texsyn.models.singan import REACH, ScaleNet, Singan, SinganConfig, sizes_of
from texsyn.state_dicts import read_state_dict, read_values

#: what the released code does whenever it is not told otherwise
RELEASED = SinganConfig(
    architecture="singan", factor=0.75, stages=0, growth=4, max_channels=128, normalised=True, slope=0.2, steps=2000,
    d_turns=3, g_turns=3, one_gradient=False, learning_rate=0.0005, last_rate=0.1, alpha=10.0, penalty=0.1, noise=0.1,
    compat="official",
)  # fmt: skip
OTHER = 0.1  # mean difference of reals.pth and the picture above which they are not the same; JPEG readers: 0.01
_COUNTER = "num_batches_tracked"


def import_singan(folder: str | os.PathLike[str], exemplar: Picture, *, device: str = "cpu") -> Singan:
    """The model in a folder of the released code, with compat="official"; exemplar is the picture it was trained on.

    It draws as the released code does from the same noise, which for the same seed is another one. InputError, in one
    sentence, where a file is missing, is something else or does not fit the picture.
    """
    root = Path(folder)
    states = [read_state_dict(path) for path in _netgs(root)]
    maps = [_noise(z, root / "Zs.pth", k) for k, z in enumerate(_list(root / "Zs.pth", len(states)))]
    amplitudes = [_number(a, root / "NoiseAmp.pth", k) for k, a in enumerate(_list(root / "NoiseAmp.pth", len(states)))]
    sizes = [Size(*z.shape[2:]) for z in maps]
    config = _config(root, states, sizes, exemplar)
    nets = [_net(root, k, state, exemplar, config) for k, state in enumerate(states)]
    fixed = maps[0]
    if fixed.shape[1] not in (1, exemplar.channels):
        raise InputError(f"{root / 'Zs.pth'}: its noise has {fixed.shape[1]} channels, a picture {exemplar.channels}")
    fixed = fixed.expand(1, exemplar.channels, -1, -1).contiguous()
    model = Singan(exemplar, config, device, scales=nets, amplitudes=amplitudes, fixed_noise=fixed.to(device))
    if (root / "reals.pth").exists():
        _require_same_picture(root / "reals.pth", model)
    return model


def _netgs(root: Path) -> list[Path]:
    """The paths of all scales' generators, coarsest first."""
    if not root.is_dir():
        other = "is a file" if root.exists() else "is not there"
        raise InputError(f"{root}: {other}; give the folder that holds 0/netG.pth, Zs.pth and NoiseAmp.pth")
    found = sorted(
        int(p.name) for p in root.iterdir() if re.fullmatch(r"\d{1,3}", p.name) and (p / "netG.pth").exists()
    )
    if not found and (root / "Gs.pth").exists():
        raise InputError(
            f"{root}: of its networks there is only Gs.pth, whose pickled modules are programs and are not run here; "
            "the files 0/netG.pth, 1/netG.pth and so on are needed"
        )
    if not found:
        raise InputError(
            f"{root}: there is no 0/netG.pth in it; give a folder such as "
            "TrainedModels/NAME/scale_factor=0.750000,alpha=10"
        )
    if found != list(range(len(found))):
        missing = next(k for k in range(len(found)) if k not in found)
        raise InputError(f"{root}: has {found[-1]}/netG.pth, but no {missing}/netG.pth")
    return [root / str(k) / "netG.pth" for k in found]


def _list(path: Path, n: int) -> list[Any]:
    found = read_values(path)
    if not isinstance(found, list) or len(found) != n:
        has = f"a list of {len(found)}" if isinstance(found, list) else "no list"
        raise InputError(f"{path}: holds {has}, where one entry a netG.pth, {n}, is needed")
    return found


def _number(value: Any, path: Path, k: int) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise InputError(f"{path}: entry {k} is no amplitude, a number from 0 up")
    return float(value)


def _noise(z: Any, path: Path, k: int) -> Tensor:
    """The reconstruction's noise at a scale, (1, c, h, w), without its border."""
    if not isinstance(z, Tensor) or z.is_complex() or z.ndim != 4 or z.shape[0] != 1 or min(z.shape[2:]) <= 2 * REACH:
        raise InputError(f"{path}: entry {k} is no map of noise with a border of {REACH}, (1, c, h + 10, w + 10)")
    inner = z[:, :, REACH:-REACH, REACH:-REACH].float()
    if not bool(z.isfinite().all()):
        raise InputError(f"{path}: entry {k} has a value that is no finite number")
    if bool(inner.any()) if k else int(z.count_nonzero()) > int(inner.count_nonzero()):
        where = f"at scale {k}, where the reconstruction has none" if k else "in its border, as trained for animations"
        raise InputError(f"{path}: has noise {where}; only what random_samples.py can use is imported")
    return inner


def _config(root: Path, states: Sequence[dict[str, Tensor]], sizes: Sequence[Size], exemplar: Picture) -> SinganConfig:
    """Settings under which the picture's pyramid has these sizes: the released defaults if they do."""
    factor, alpha = (
        float(match[1]) if (match := re.search(rf"{name}=([0-9]+(\.[0-9]+)?)", root.resolve().name)) else default
        for name, default in (("scale_factor", 0.75), ("alpha", 10.0))
    )
    width = states[0].get("head.conv.weight", torch.empty(0)).shape[0]
    least, longest = min(sizes[0].height, sizes[0].width), max(sizes[-1].height, sizes[-1].width)
    tried = []
    # sides are rounded up, so that a min_side of 25 may leave 26
    for min_side, max_side in [(25, 250), *((m, s) for m in (25, least, least - 1) for s in (longest, longest - 1))]:
        try:
            sized = replace(RELEASED, min_side=min_side, max_side=max(min_side, max_side), factor=factor)
            config = replace(sized, channels=width, max_channels=max(128, width), alpha=alpha)
        except ValueError as error:
            raise InputError(f"{root}: no pyramid that can be made here ({error})") from None
        tried.append(sizes_of(exemplar.size, config))
        if tried[-1] == list(sizes):
            return config
    raise InputError(
        f"{root}: has {len(sizes)} scales from {sizes[0]} to {sizes[-1]}, and {exemplar.name} of {exemplar.size} has "
        f"{len(tried[0])} from {tried[0][0]} to {tried[0][-1]}; give the one it was trained on, at its size then"
    )


def _net(root: Path, k: int, state: dict[str, Tensor], exemplar: Picture, config: SinganConfig) -> ScaleNet:
    """The generator of a scale with its weights."""
    net = ScaleNet(exemplar.channels, config.width(k), config, makes=True)
    wanted = net.state_dict()
    state = {name: t for name, t in wanted.items() if name.endswith(_COUNTER)} | state
    for name in sorted({*wanted, *state}):
        here, there = state.get(name), wanted.get(name)
        if here is None or there is None or here.shape != there.shape or here.dtype != there.dtype:
            raise InputError(
                f"{root / str(k) / 'netG.pth'}: {name[:60]!r} is {_kind(here)}, and in a network of {config.width(k)} "
                f"hidden channels for pictures of {exemplar.channels} it is {_kind(there)}"
            )
        if here.is_floating_point() and not bool(here.isfinite().all()):
            raise InputError(f"{root / str(k) / 'netG.pth'}: {name[:60]!r} has a value that is no finite number")
    net.load_state_dict(state)
    return net


def _kind(t: Tensor | None) -> str:
    return "missing" if t is None else f"{tuple(t.shape)} of {str(t.dtype).removeprefix('torch.')}"


def _require_same_picture(path: Path, model: Singan) -> None:
    """InputError where the exemplar of reals.pth is another one than the model's."""
    reals = read_values(path)
    finest = reals[-1] if isinstance(reals, list) and reals else None
    mine = model.reals()[-1].cpu()
    if not isinstance(finest, Tensor) or finest.shape != mine.shape or finest.dtype != mine.dtype:
        raise InputError(f"{path}: its last entry is no picture of {model.sizes[-1]} with {mine.shape[1]} channels")
    apart = float((finest - mine).abs().mean())
    if not apart <= OTHER:
        raise InputError(
            f"{path}: holds another picture than {model.exemplar.name}: they differ by {apart:.2f} on average, of 2"
        )
