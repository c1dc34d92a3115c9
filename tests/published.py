"""Weights as others publish them, random ones, and what they compute, written out another time.

The references are plain functions over dicts of tensors under official names: no module and no code of texsyn's. Files
are written in the layouts of released code by stub classes that carry its names; no file comes from released code.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import sys
import types
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from alias_free_reference import lowpass, radial, table
from torch import Tensor, nn

State = dict[str, Tensor]
FIR = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8

# ---- StyleGAN2: random weights under official names


@dataclass(frozen=True)
class Sizes:
    """Channels by resolution, from 4 pixels on."""

    widths: tuple[int, ...] = (20, 20, 16, 8)  # 32 pixels
    latent: int = 24
    classes: int = 0
    channels: int = 3
    layers: int = 8
    clamp: float | None = None
    group: int | None = 4
    residual: bool = True

    @property
    def sides(self) -> list[int]:
        return [4 << k for k in range(len(self.widths))]


def fc(
    state: State, name: str, n_in: int, n_out: int, random: torch.Generator, rate: float = 1, bias: float = 0
) -> None:
    state[f"{name}.weight"] = torch.randn(n_out, n_in, generator=random) / rate
    state[f"{name}.bias"] = bias + torch.randn(n_out, generator=random) / 4 / rate


def random_mapping(state: State, n_in: int, n: int, classes: int, layers: int, random: torch.Generator) -> None:
    if classes:
        fc(state, "mapping.embed", classes, n, random)
    for i in range(layers):
        fc(state, f"mapping.fc{i}", n if i else n_in + n * bool(classes), n, random, rate=0.01)


def random_generator(sizes: Sizes, seed: int = 0) -> State:
    random, state = torch.Generator().manual_seed(seed), {}
    random_mapping(state, sizes.latent, sizes.latent, sizes.classes, sizes.layers, random)
    state["mapping.w_avg"] = torch.randn(sizes.latent, generator=random)
    state["synthesis.b4.const"] = torch.randn(sizes.widths[0], 4, 4, generator=random)
    for k, (side, n) in enumerate(zip(sizes.sides, sizes.widths, strict=True)):
        for layer in ("conv0", "conv1")[0 if k else 1 :]:
            name, n_in = f"synthesis.b{side}.{layer}", sizes.widths[k - 1] if layer == "conv0" else n
            state[f"{name}.weight"] = torch.randn(n, n_in, 3, 3, generator=random)
            state[f"{name}.bias"] = torch.randn(n, generator=random) / 4
            state[f"{name}.noise_const"] = torch.randn(side, side, generator=random)
            state[f"{name}.noise_strength"] = torch.randn((), generator=random) / 2
            fc(state, f"{name}.affine", sizes.latent, n_in, random, bias=1)
        name = f"synthesis.b{side}.torgb"
        state[f"{name}.weight"] = torch.randn(sizes.channels, n, 1, 1, generator=random)
        state[f"{name}.bias"] = torch.randn(sizes.channels, generator=random) / 4
        fc(state, f"{name}.affine", sizes.latent, n, random, bias=1)
        if k:  # one is enough to see that they are looked at
            state[f"synthesis.b{side}.resample_filter"] = torch.outer(FIR, FIR)
    return state


def random_discriminator(sizes: Sizes, seed: int = 1) -> State:
    random, state = torch.Generator().manual_seed(seed), {}

    def conv(name: str, n_in: int, n_out: int, side: int, bias: bool = True) -> None:
        state[f"{name}.weight"] = torch.randn(n_out, n_in, side, side, generator=random)
        if bias:
            state[f"{name}.bias"] = torch.randn(n_out, generator=random) / 4

    n = sizes.widths[0]
    conv(f"b{sizes.sides[-1]}.fromrgb", sizes.channels, sizes.widths[-1], 1)
    for k in reversed(range(1, len(sizes.widths))):
        name = f"b{sizes.sides[k]}"
        conv(f"{name}.conv0", sizes.widths[k], sizes.widths[k], 3)
        conv(f"{name}.conv1", sizes.widths[k], sizes.widths[k - 1], 3)
        state[f"{name}.conv1.resample_filter"] = torch.outer(FIR, FIR)
        if sizes.residual:
            conv(f"{name}.skip", sizes.widths[k], sizes.widths[k - 1], 1, bias=False)
    conv("b4.conv", n + 1, n, 3)
    fc(state, "b4.fc", 16 * n, n, random)
    fc(state, "b4.out", n, n if sizes.classes else 1, random)
    if sizes.classes:
        random_mapping(state, 0, n, sizes.classes, 8, random)
    return state


# ---- StyleGAN3: random weights; what they compute is in alias_free_reference


def random_alias_free(*, rotation: bool = False, classes: int = 0, latent: int = 12, seed: int = 0) -> State:
    """32 pixels, 4 to 8 channels, twice as many with rotation; nothing 0, and the canvas of a style not at rest."""
    random, state, times, channels = torch.Generator().manual_seed(seed), {}, 2 if rotation else 1, 3
    random_mapping(state, latent, latent, classes, 2, random)
    state["mapping.w_avg"] = torch.randn(latent, generator=random)
    rows, first = table(32), "synthesis.input"
    widths = [*(min(round(times * 64 / row.cutoff), times * 8) for row in rows[:-1]), channels]
    state[f"{first}.weight"] = torch.randn(widths[0], widths[0], generator=random)
    angle = torch.rand(widths[0], generator=random) * 2 * math.pi
    radius = rows[0].cutoff * torch.rand(widths[0], generator=random)
    state[f"{first}.freqs"] = torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None]
    state[f"{first}.phases"] = torch.rand(widths[0], generator=random) - 0.5
    state[f"{first}.transform"] = torch.eye(3)
    fc(state, f"{first}.affine", latent, 4, random, bias=1)
    for i, (row, n) in enumerate(zip(rows, widths, strict=True)):
        before, n_in, last = rows[max(i - 1, 0)], widths[max(i - 1, 0)], i == len(rows) - 1
        name, side = f"synthesis.L{i}_{row.size}_{n}", 1 if rotation or last else 3
        state[f"{name}.weight"] = torch.randn(n, n_in, side, side, generator=random)
        state[f"{name}.bias"] = torch.randn(n, generator=random) / 4
        fc(state, f"{name}.affine", latent, n_in, random, bias=1)
        state[f"{name}.magnitude_ema"] = 0.5 + torch.rand((), generator=random)
        if not last:
            fine = 2 * max(before.rate, row.rate)
            disc = radial if rotation and 2 * row.cutoff < row.rate else lowpass
            state[f"{name}.up_filter"] = torch.from_numpy(lowpass(6 * fine // before.rate, before, fine)).float()
            state[f"{name}.down_filter"] = torch.from_numpy(disc(6 * fine // row.rate, row, fine)).float()
    return state


# ---- StyleGAN2: what they compute


def linear(state: State, name: str, x: Tensor, rate: float = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return x @ (weight * rate / math.sqrt(weight.shape[1])).T + state[f"{name}.bias"] * rate


def activated(x: Tensor, clamp: float | None = None) -> Tensor:
    x = torch.where(x > 0, x, 0.2 * x) * 2**0.5
    return x if clamp is None else x.clamp(-clamp, clamp)


def unit(x: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def mapped(state: State, z: Tensor | None, labels: Tensor | None) -> Tensor:
    parts = [] if z is None else [unit(z)]
    if labels is not None:
        told = torch.eye(state["mapping.embed.weight"].shape[1], dtype=state["mapping.embed.weight"].dtype)[labels]
        parts.append(unit(linear(state, "mapping.embed", told)))
    w, i = torch.cat(parts, 1), 0
    while f"mapping.fc{i}.weight" in state:
        w, i = activated(linear(state, f"mapping.fc{i}", w, 0.01)), i + 1
    return w


def zeros_between(x: Tensor) -> Tensor:
    """A zero after each value, on both axes."""
    made = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    made[:, :, ::2, ::2] = x
    return made


def smoothed(x: Tensor, before: int, after: int, gain: float = 1) -> Tensor:
    kernel = torch.outer(FIR, FIR).to(x) * gain
    x = F.pad(x, (before, after, before, after))
    return F.conv2d(x.flatten(0, 1)[:, None], kernel[None, None]).unflatten(0, x.shape[:2])[:, :, 0]


def modulated(x: Tensor, weight: Tensor, style: Tensor, *, up: bool = False, demodulate: bool = True) -> Tensor:
    """Each picture by kernels of its own, one after the other."""
    made = []
    for one, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:  # a convolution proper: the kernel turned round
            fine = F.conv2d(zeros_between(one[None])[:, :, :-1, :-1], w.flip(2, 3), padding=2)
            made.append(smoothed(fine, 1, 1, 4))
        else:
            made.append(F.conv2d(one[None], w, padding=w.shape[-1] // 2))
    return torch.cat(made)


def synthesised(state: State, ws: Tensor, clamp: float | None = None) -> Tensor:
    """Pictures of styles (B, rows, latent)."""
    x, made, row, side = None, None, 0, 4
    while f"synthesis.b{side}.conv1.weight" in state:
        block = f"synthesis.b{side}"
        for layer in ("conv1",) if side == 4 else ("conv0", "conv1"):
            name = f"{block}.{layer}"
            x = state["synthesis.b4.const"].expand(len(ws), -1, -1, -1) if x is None else x
            x = modulated(x, state[f"{name}.weight"], linear(state, f"{name}.affine", ws[:, row]), up=layer == "conv0")
            x = x + state[f"{name}.noise_const"] * state[f"{name}.noise_strength"]
            x, row = activated(x + state[f"{name}.bias"][:, None, None], clamp), row + 1
        name = f"{block}.torgb"
        style = linear(state, f"{name}.affine", ws[:, row]) / math.sqrt(state[f"{name}.weight"].shape[1])
        picture = modulated(x, state[f"{name}.weight"], style, demodulate=False) + state[f"{name}.bias"][:, None, None]
        picture = picture if clamp is None else picture.clamp(-clamp, clamp)
        made = picture if made is None else smoothed(zeros_between(made), 2, 1, 4) + picture
        side *= 2
    return made


def generated(state: State, z: Tensor, labels: Tensor | None, psi: float, cutoff: int, clamp: float | None) -> Tensor:
    """Pictures, the first rows of styles nearer to the mean."""
    n_rows = 2 * sum(name.endswith("torgb.bias") for name in state)
    ws = mapped(state, z, labels)[:, None].repeat(1, n_rows, 1)
    ws[:, :cutoff] = state["mapping.w_avg"] + psi * (ws[:, :cutoff] - state["mapping.w_avg"])
    return synthesised(state, ws, clamp)


def judged(state: State, x: Tensor, labels: Tensor | None, group: int | None = 4, clamp: float | None = None) -> Tensor:
    """Logits of pictures."""

    def conv(name: str, x: Tensor, by: str = "same") -> Tensor:
        weight = state[f"{name}.weight"] / math.sqrt(state[f"{name}.weight"][0].numel())
        if by == "half":
            return F.conv2d(smoothed(x, 2, 2), weight, stride=2)
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def layer(name: str, x: Tensor, by: str = "same") -> Tensor:
        return activated(conv(name, x, by) + state[f"{name}.bias"][:, None, None], clamp)

    side = x.shape[-1]
    x = layer(f"b{side}.fromrgb", x)
    while side > 4:
        h = layer(f"b{side}.conv1", layer(f"b{side}.conv0", x), "half")
        if f"b{side}.skip.weight" in state:
            h = (h + conv(f"b{side}.skip", smoothed(x, 1, 1)[:, :, ::2, ::2])) / 2**0.5
        x, side = h, side // 2
    n, more = min(group or len(x), len(x)), x.new_zeros(len(x), 1, 4, 4)
    for first in range(len(x) // n):
        of = list(range(first, len(x), len(x) // n))
        more[of] = (x[of].var(0, unbiased=False) + 1e-8).sqrt().mean()
    x = layer("b4.conv", torch.cat([x, more], 1))
    h = linear(state, "b4.out", activated(linear(state, "b4.fc", x.flatten(1))))
    if labels is None:
        return h[:, 0]
    return (h * mapped(state, None, labels)).sum(1) / math.sqrt(h.shape[1])


# ---- rosinality's names of the same


def renamed_to_rosinality(state: State) -> State:
    """A generator without its mean style, or a discriminator; with kernels, which its modules keep."""
    made: State = {}
    if "synthesis.b4.const" not in state:
        sides = sorted((int(name[1:].split(".")[0]) for name in state if name.endswith("conv0.weight")), reverse=True)
        for theirs, ours in (("convs.0.0.weight", f"b{sides[0]}.fromrgb.weight"),
                             ("convs.0.1.bias", f"b{sides[0]}.fromrgb.bias"), ("final_conv.0.weight", "b4.conv.weight"),
                             ("final_conv.1.bias", "b4.conv.bias"), ("final_linear.0.weight", "b4.fc.weight"),
                             ("final_linear.0.bias", "b4.fc.bias"), ("final_linear.1.weight", "b4.out.weight"),
                             ("final_linear.1.bias", "b4.out.bias")):  # fmt: skip
            made[theirs] = state[ours]
        for i, side in enumerate(sides, 1):
            for theirs, ours in (("conv1.0.weight", "conv0.weight"), ("conv1.1.bias", "conv0.bias"),
                                 ("conv2.1.weight", "conv1.weight"), ("conv2.2.bias", "conv1.bias"),
                                 ("skip.1.weight", "skip.weight")):  # fmt: skip
                made[f"convs.{i}.{theirs}"] = state[f"b{side}.{ours}"]
            made[f"convs.{i}.conv2.0.kernel"] = made[f"convs.{i}.skip.0.kernel"] = torch.outer(FIR, FIR)
        return made
    made["input.input"] = state["synthesis.b4.const"][None]
    for name, t in state.items():
        if name.startswith("mapping.fc"):
            made[name.replace("mapping.fc", "style.")] = t
    made = {
        (f"style.{int(name.split('.')[1]) + 1}.{name.split('.')[2]}" if name.startswith("style.") else name): t
        for name, t in made.items()
    }
    sides = sorted(int(name.split(".")[1][1:]) for name in state if name.endswith("conv1.weight"))
    for k, side in enumerate(sides):
        for i, layer in ((2 * k - 1, "conv0"), (2 * k, "conv1")):
            if i < 0:
                continue
            theirs, ours = f"convs.{i - 1}" if i else "conv1", f"synthesis.b{side}.{layer}"
            made[f"{theirs}.conv.weight"] = state[f"{ours}.weight"][None]
            made[f"{theirs}.activate.bias"] = state[f"{ours}.bias"]
            made[f"{theirs}.noise.weight"] = state[f"{ours}.noise_strength"].reshape(1)
            made[f"noises.noise_{i}"] = state[f"{ours}.noise_const"][None, None]
            for one in ("weight", "bias"):
                made[f"{theirs}.conv.modulation.{one}"] = state[f"{ours}.affine.{one}"]
            if layer == "conv0":
                made[f"{theirs}.conv.blur.kernel"] = torch.outer(FIR, FIR) * 4
        theirs, ours = f"to_rgbs.{k - 1}" if k else "to_rgb1", f"synthesis.b{side}.torgb"
        made[f"{theirs}.conv.weight"] = state[f"{ours}.weight"][None]
        made[f"{theirs}.bias"] = state[f"{ours}.bias"][None, :, None, None]
        for one in ("weight", "bias"):
            made[f"{theirs}.conv.modulation.{one}"] = state[f"{ours}.affine.{one}"]
    return made


def rosinality_file(path: Path, generator: State, discriminator: State, *, native: bool, zipped: bool = True) -> Path:
    """A training's checkpoint, with what it keeps beside the networks; or converted weights, with a mean style."""
    g, d = renamed_to_rosinality(generator), renamed_to_rosinality(discriminator)
    content: dict[str, Any] = {"g_ema": g, "latent_avg": generator["mapping.w_avg"]}
    if native:
        moments = {i: {"step": 7, "exp_avg": torch.ones(3)} for i in range(4)}
        adam = {"state": moments, "param_groups": [{"lr": 0.002, "betas": (0, 0.99), "params": [0, 1]}]}
        args = Namespace(path="lmdb", size=32, channel_multiplier=2, mixing=0.9, ckpt=None, wandb=False)
        content = {"g": {k: t + 1 for k, t in g.items() if "kernel" not in k}, "d": d, "g_ema": g, "g_optim": adam,
                   "d_optim": adam, "args": args, "ada_aug_p": 0.1}  # fmt: skip
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


# ---- the official container


class EasyDict(dict):  # type: ignore[type-arg]
    """Stands for the official code's dict whose entries are attributes."""

    __module__ = "dnnlib.util"

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("a file was run")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Persistent(nn.Module):
    """Stands for a module of the official code, which writes its source and its state."""

    def __init__(self, kind: str, kwargs: Any = None) -> None:
        super().__init__()
        self.kind = kind
        self._init_args, self._init_kwargs = (), EasyDict(kwargs or {})

    def __reduce__(self) -> Any:
        source = "class Generator: ...\n" * (1500 if self.kind == "Generator" else 1)
        meta = EasyDict(
            type="class", version=6, module_src=source, class_name=self.kind,
            state=dict(self.__dict__),
        )  # fmt: skip
        return _reconstruct_persistent_obj, (meta,), None


BUFFERS = ("w_avg", "noise_const", "resample_filter", "magnitude_ema", "freqs", "phases", "transform", "up_filter",
           "down_filter")  # fmt: skip


def modules(state: State, kind: str, *, clamp: float | None = 256, kwargs: Any = None) -> Persistent:
    """A tree of modules with that state dict, of the attributes that layers keep."""
    root = Persistent(kind, kwargs)
    for name, tensor in state.items():
        *parts, last = name.split(".")
        module = root
        for part in parts:
            if part not in module._modules:
                module.add_module(part, Persistent("Layer"))
                inner = module._modules[part]
                if part != "affine" and not part.startswith(("fc", "b", "L", "embed", "mapping", "synthesis", "out")):
                    inner.conv_clamp = None if part == "skip" else clamp
                inner.sizes, inner.gain = np.linspace(0, 1, 4), np.float32(0.5)
            module = module._modules[part]
        if last in BUFFERS:
            module.register_buffer(last, tensor)
        else:
            module.register_parameter(last, nn.Parameter(tensor))
    return root


@dataclass
class Official:
    """What a network pickle holds."""

    content: dict[str, Any] = field(default_factory=dict)

    def bytes(self, protocol: int = 4) -> bytes:
        with official_names():
            return pickle.dumps(self.content, protocol=protocol)


@contextlib.contextmanager
def official_names() -> Iterator[None]:
    """While it lasts the stubs can be found under the names that they carry."""
    stubs = {"dnnlib": {}, "dnnlib.util": {"EasyDict": EasyDict}, "torch_utils": {},
             "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj}}  # fmt: skip
    for name, content in stubs.items():
        assert name not in sys.modules
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(content)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]


def official(sizes: Sizes, **more: Any) -> Official:
    """G, its average, D, and what else a snapshot has."""
    g, d = random_generator(sizes), random_discriminator(sizes)
    average = {name: t if "noise_const" in name or "filter" in name else t * 0.9 for name, t in g.items()}
    judging = modules(d, "Discriminator", clamp=sizes.clamp, kwargs={"img_resolution": sizes.sides[-1]})
    judging._modules["b4"].mbstd = Persistent("MinibatchStdLayer")
    judging._modules["b4"].mbstd.group_size = sizes.group
    pipe = Persistent("AugmentPipe")
    pipe.register_buffer("p", torch.tensor(0.3))
    kept = {"training_set_kwargs": EasyDict(path="ffhq.zip", use_labels=False, seen={1, 2}), "augment_pipe": pipe}
    made = {"G": modules(g, "Generator", clamp=sizes.clamp), "D": judging,
            "G_ema": modules(average, "Generator", clamp=sizes.clamp)}  # fmt: skip
    return Official(kept | made | more)


def flat(module: Persistent) -> State:
    return {name: t.detach() for name, t in module.state_dict().items()}
