"""Inception v3 with the published weights of FID, or of torchvision, in plain torch.

The network is Inception v3 (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", table 1
and figures 5 to 7), every convolution followed by batch normalisation and ReLU. Its parameters have torchvision's
names, so that published state dicts fit. There are two of it, and numbers made with one say nothing beside the other:

"fid", the graph that Heusel et al. 2017 took from TensorFlow: 1008 classes, averages at a border over the pixels there
are, and in the last block the maximum in place of the average.
"torchvision", a later training of it: 1000 classes, borders averaged with zeros, an average in the last block.

Both have 1e-3 inside their normalisations. A tap is where features are taken: "64", "192", "768" and "2048" are means
over all positions, one vector a picture; "logits" are the last ones times the classifier's matrix, without its bias,
as the Inception Score has it; "64pre" and "192pre" are maps before the two first max-pools, one vector a position.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsyn import weights
from texsyn.images import InputError

EPS = 1e-3  # inside the normalisations
WEIGHTS = {"fid": "inception-fid", "torchvision": "inception-torchvision"}  #: kind -> registered file
CLASSES = {"fid": 1008, "torchvision": 1000}

# ------------------------------------------------------------------------------------------------------ the tables
# A block is the concatenation of its branches, one a line. A step is NAME CHANNELS HEIGHTxWIDTH, "/2" with stride 2
# and no padding, else stride 1 and as much padding as keeps the size; or a pool over 3x3. "+" concatenates two steps.


def _block_a(pooled: int) -> str:
    return f"""
    branch1x1 64 1x1
    branch5x5_1 48 1x1, branch5x5_2 64 5x5
    branch3x3dbl_1 64 1x1, branch3x3dbl_2 96 3x3, branch3x3dbl_3 96 3x3
    avg, branch_pool {pooled} 1x1"""


_BLOCK_B = """
    branch3x3 384 3x3/2
    branch3x3dbl_1 64 1x1, branch3x3dbl_2 96 3x3, branch3x3dbl_3 96 3x3/2
    max/2"""


def _block_c(c: int) -> str:
    last = "branch7x7dbl_5 192 1x7"
    return f"""
    branch1x1 192 1x1
    branch7x7_1 {c} 1x1, branch7x7_2 {c} 1x7, branch7x7_3 192 7x1
    branch7x7dbl_1 {c} 1x1, branch7x7dbl_2 {c} 7x1, branch7x7dbl_3 {c} 1x7, branch7x7dbl_4 {c} 7x1, {last}
    avg, branch_pool 192 1x1"""


_BLOCK_D = """
    branch3x3_1 192 1x1, branch3x3_2 320 3x3/2
    branch7x7x3_1 192 1x1, branch7x7x3_2 192 1x7, branch7x7x3_3 192 7x1, branch7x7x3_4 192 3x3/2
    max/2"""


def _block_e(pool: str) -> str:
    return f"""
    branch1x1 320 1x1
    branch3x3_1 384 1x1, branch3x3_2a 384 1x3 + branch3x3_2b 384 3x1
    branch3x3dbl_1 448 1x1, branch3x3dbl_2 384 3x3, branch3x3dbl_3a 384 1x3 + branch3x3dbl_3b 384 3x1
    {pool}, branch_pool 192 1x1"""


#: (what is run, the tap behind it)
STAGES = (
    ("Conv2d_1a_3x3", ""), ("Conv2d_2a_3x3", ""), ("Conv2d_2b_3x3", "64pre"), ("max/2", "64"), ("Conv2d_3b_1x1", ""),
    ("Conv2d_4a_3x3", "192pre"), ("max/2", "192"), ("Mixed_5b", ""), ("Mixed_5c", ""), ("Mixed_5d", ""),
    ("Mixed_6a", ""), ("Mixed_6b", ""), ("Mixed_6c", ""), ("Mixed_6d", ""), ("Mixed_6e", "768"), ("Mixed_7a", ""),
    ("Mixed_7b", ""), ("Mixed_7c", "2048"),
)  # fmt: skip
#: tap -> the smallest picture, in pixels a side, that reaches it
TAPS = {"64pre": 7, "64": 11, "192pre": 19, "192": 27, "768": 43, "2048": 75, "logits": 75}


class ConvBN(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: tuple[int, int], *, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_out, h', w')."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Block(nn.Module):
    """One "Mixed" block, built from its table; `counted` says whether averages count the padding."""

    def __init__(self, n_in: int, table: str, *, counted: bool) -> None:
        super().__init__()
        self.counted = counted
        self.branches: list[list[list[str]]] = []  # branch, step, parts that are concatenated
        self.n_out = 0
        for line in table.split("\n")[1:]:
            n, branch = n_in, []
            for step in line.strip().split(", "):
                parts = step.split(" + ")
                if parts[0] not in POOLS:
                    n = sum(self._add(n, part) for part in parts)
                branch.append([part.split()[0] for part in parts])
            self.branches.append(branch)
            self.n_out += n

    def _add(self, n_in: int, part: str) -> int:
        name, n_out, kernel = part.split()
        strided = kernel.endswith("/2")
        height, width = kernel.removesuffix("/2").split("x")
        size = (int(height), int(width))
        self.add_module(name, ConvBN(n_in, int(n_out), size, stride=2 if strided else 1, padded=not strided))
        return int(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_out, h', w')."""
        outputs = []
        for branch in self.branches:
            y = x
            for parts in branch:
                y = torch.cat([self._step(part, y) for part in parts], 1) if len(parts) > 1 else self._step(parts[0], y)
            outputs.append(y)
        return torch.cat(outputs, 1)

    def _step(self, name: str, x: Tensor) -> Tensor:
        if name in POOLS:
            return POOLS[name](x, self.counted)
        y: Tensor = getattr(self, name)(x)
        return y


def max_by_two(x: Tensor) -> Tensor:
    """F.max_pool2d(x, 3, stride=2), bit for bit; on a CPU five times faster and more: rows of rows, then columns."""
    if x.device.type != "cpu":
        return F.max_pool2d(x, 3, stride=2)
    for axis in (2, 3):
        last = (x.shape[axis] - 3) // 2 * 2  # the start of the last window
        a, b, c = (x.narrow(axis, k, last + 1) for k in range(3))
        a, b, c = (z[:, :, ::2] if axis == 2 else z[..., ::2] for z in (a, b, c))
        x = torch.maximum(torch.maximum(a, b), c)
    return x


def mean_of_nine(x: Tensor, counted: bool) -> Tensor:
    """F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=counted), bit for bit, four times faster on a CPU.

    The sums run in the same order, with zeros for what lies outside.
    """
    if x.device.type != "cpu":
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=counted)
    return _sum_of_nine(x) / (9 if counted else _sum_of_nine(torch.ones_like(x[:1, :1])))


def _sum_of_nine(x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    total = padded[:, :, :height, :width].clone()
    for k in range(1, 9):
        total += padded[:, :, k // 3 : k // 3 + height, k % 3 : k % 3 + width]
    return total


POOLS: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "avg": mean_of_nine,
    "max": lambda x, counted: F.max_pool2d(x, 3, stride=1, padding=1),
    "max/2": lambda x, counted: max_by_two(x),
}


class Inception(nn.Module):
    """The network of one kind, "fid" or "torchvision", without meaningful parameters: see `inception`.

    sha256 is that of the file of its weights.
    """

    def __init__(self, kind: str = "fid") -> None:
        super().__init__()
        if kind not in WEIGHTS:
            raise ValueError(f"kind={kind!r} is not one of {', '.join(WEIGHTS)}")
        self.kind, self.sha256 = kind, ""
        counted = kind == "torchvision"
        self.Conv2d_1a_3x3 = ConvBN(3, 32, (3, 3), stride=2, padded=False)
        self.Conv2d_2a_3x3 = ConvBN(32, 32, (3, 3), padded=False)
        self.Conv2d_2b_3x3 = ConvBN(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = ConvBN(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = ConvBN(80, 192, (3, 3), padded=False)
        n = 192
        for name, table in {
            "Mixed_5b": _block_a(32), "Mixed_5c": _block_a(64), "Mixed_5d": _block_a(64),
            "Mixed_6a": _BLOCK_B,
            "Mixed_6b": _block_c(128), "Mixed_6c": _block_c(160), "Mixed_6d": _block_c(160), "Mixed_6e": _block_c(192),
            "Mixed_7a": _BLOCK_D,
            "Mixed_7b": _block_e("avg"), "Mixed_7c": _block_e("max" if kind == "fid" else "avg"),
        }.items():  # fmt: skip
            block = Block(n, table, counted=counted)
            self.add_module(name, block)
            n = block.n_out
        self.fc: nn.Linear | None = nn.Linear(n, CLASSES[kind])

    def forward(self, x: Tensor, taps: Sequence[str] = ("2048",)) -> dict[str, Tensor]:
        """tap -> maps (n, c, h, w) of "64pre" and "192pre", vectors (n, c) of the others; no stage too many is run.

        x (n, 3, h, w), already resized and scaled.
        """
        wanted = {"2048" if tap == "logits" else tap for tap in taps}
        found: dict[str, Tensor] = {}
        for name, tap in STAGES:
            x = POOLS[name](x, False) if name in POOLS else getattr(self, name)(x)
            if tap in wanted:
                found[tap] = x if tap.endswith("pre") else x.mean((2, 3))
                if len(found) == len(wanted):
                    break
        if "logits" in taps:
            if self.fc is None:
                raise InputError("these Inception weights have no classifier (fc.weight), which logits need")
            found["logits"] = found["2048"] @ self.fc.weight.T
        return {tap: found[tap] for tap in taps}


def inception(kind: str = "fid", path: str | os.PathLike[str] | None = None, *, device: str = "cpu") -> Inception:
    """The network of a kind with its published weights, at `path` or where `weights.find` looks. Raises InputError."""
    if kind not in WEIGHTS:
        raise ValueError(f"weights={kind!r} is not one of {', '.join(WEIGHTS)}")
    state, sha256 = weights.load(WEIGHTS[kind], path)
    return from_state_dict(state, kind=kind, sha256=sha256).to(device)


def from_state_dict(state: Mapping[str, Tensor], *, kind: str = "fid", sha256: str = "") -> Inception:
    """A network with these parameters, in float32. num_batches_tracked and fc.* may be absent, AuxLogits.* is left out.

    InputError names the first parameter that is missing, too much, of another shape, or not finite.
    """
    with torch.device("meta"):  # no memory, and nothing drawn from the global stream
        net = Inception(kind)
    given = {name: t for name, t in state.items() if not name.startswith("AuxLogits.")}
    if "fc.weight" not in given:
        net.fc = None
    taken: dict[str, Tensor] = {}
    for name, expected in net.state_dict().items():
        t = given.pop(name, None)
        if t is None and name.endswith("num_batches_tracked"):
            t = torch.zeros((), dtype=torch.int64)
        if t is None:
            raise InputError(f"the state dict has no {name}; it is not that of an Inception v3 network")
        if t.shape != expected.shape:
            raise InputError(f"{name} of {kind} weights has the shape {tuple(expected.shape)}, not {tuple(t.shape)}")
        if t.is_floating_point() and not bool(torch.isfinite(t).all()):
            raise InputError(f"{name} has a NaN or an infinite value")
        taken[name] = t.to(expected.dtype).contiguous()
    if given := {name: t for name, t in given.items() if not name.startswith("fc.")}:
        raise InputError(f"the state dict has {next(iter(given))[:80]!r}, which an Inception v3 network has not")
    net.load_state_dict(taken, assign=True)
    net.sha256 = sha256
    return net.eval().requires_grad_(False)
