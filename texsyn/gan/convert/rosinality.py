"""Names of StyleGAN2's tensors in the .pt files of rosinality's code, and in those that were converted to its layout.

Weights are stored there as here. These networks know no classes, are not clamped, and keep no mean style: where there
is one it stands beside them, as latent_avg. Filters are parts of sequences, so that the numbers of layers skip.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from texsyn.gan.convert.names import Names, Read, both, count, taken
from texsyn.gan.convert.pickles import Network
from texsyn.gan.convert.stylegan2 import GROUP, Made, judging_of, settings_of
from texsyn.images import InputError

ARCH = "stylegan2"

# ---- names


def generator_names(made: Made) -> Names:
    """Of the generator."""
    found: Names = {"start": "input.input"}
    for i in range(made.mapping_layers):
        found |= both(f"mapping.layers.{i}", f"style.{i + 1}")
    for i in range(2 * made.depths - 1):
        layer = f"convs.{i - 1}" if i else "conv1"
        found |= {f"layers.{i}.conv.weight": f"{layer}.conv.weight", f"layers.{i}.conv.bias": f"{layer}.activate.bias"}
        found |= {f"layers.{i}.strength": f"{layer}.noise.weight", f"layers.{i}.noise": f"noises.noise_{i}"}
        found |= both(f"layers.{i}.affine", f"{layer}.conv.modulation")
    for k in range(made.depths):
        picture = f"to_rgbs.{k - 1}" if k else "to_rgb1"
        found |= {f"pictures.{k}.conv.weight": f"{picture}.conv.weight", f"pictures.{k}.conv.bias": f"{picture}.bias"}
        found |= both(f"pictures.{k}.affine", f"{picture}.conv.modulation")
    return found


def discriminator_names(made: Made) -> Names:
    """Of the discriminator."""
    found = {"picture.weight": "convs.0.0.weight", "picture.bias": "convs.0.1.bias"}
    for k in range(made.depths - 1):
        ours, theirs = f"blocks.{k}", f"convs.{k + 1}"
        found |= {f"{ours}.first.weight": f"{theirs}.conv1.0.weight", f"{ours}.first.bias": f"{theirs}.conv1.1.bias"}
        found |= {f"{ours}.second.weight": f"{theirs}.conv2.1.weight", f"{ours}.second.bias": f"{theirs}.conv2.2.bias"}
        found[f"{ours}.skip.weight"] = f"{theirs}.skip.1.weight"
    found |= {"conv.weight": "final_conv.0.weight", "conv.bias": "final_conv.1.bias"}
    return found | both("whole", "final_linear.0") | both("psi", "final_linear.1")


def require(made: Made) -> None:
    """InputError for what these networks do not know."""
    if made.conditional or not made.residual:
        what = "classes" if made.conditional else "discriminator without skips"
        raise InputError(f"rosinality's networks know no {what}, which the model has")


def shaped(name: str, tensor: Tensor) -> Tensor:
    """A tensor of ours in the shape that a generator has it in there, under that name."""
    if name.endswith(".conv.weight") or name == "input.input":
        return tensor[None]
    if name.startswith("noises."):
        return tensor[None, None]
    if name.startswith("to_rgb") and name.endswith(".bias") and "modulation" not in name:
        return tensor[None, :, None, None]
    return tensor.reshape(1) if name.endswith("noise.weight") else tensor


# ---- what a file's networks are


def read_generator(network: Network) -> Read:
    """Settings of ours under which it is the same function, and its tensors under our names, but the mean style."""
    made = _made(network.tensors, r"to_rgbs\.\d+\.bias")
    tensors = taken(network.tensors, generator_names(made))
    return settings_of(tensors, made) | {"clamp": 0.0}, tensors


def read_discriminator(network: Network) -> Read:
    """As read_generator."""
    made = _made(network.tensors, r"convs\.\d+\.conv1\.0\.weight")
    tensors = taken(network.tensors, discriminator_names(made))
    return judging_of(tensors, made) | {"clamp": 0.0, "group": GROUP}, tensors


def _made(names: Collection[str], deeper: str) -> Made:
    """What a network with these names is; deeper: such a name comes once for each depth after the first."""
    return Made(1 + count(names, deeper), count(names, r"style\.\d+\.weight"))
