"""What keeps a critic, or a generator, from being too steep: penalties as pure functions, each before its weight.

A critic comes as a callable, its logits may be maps, and a map counts as its sum, so that a slope grows with the number
of places. Everything random is given, never drawn, and a running mean goes in and comes out. Penalties of a slope are
means over pictures, keep the graph of the gradient they took, and so teach the network's weights and nothing else; a
critic with batch normalisation would mix the pictures' slopes. Where a norm is 0 its derivative counts as 0.
A lazy penalty, asked at every k-th step only, is multiplied by k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

Critic = Callable[[Tensor], Tensor]


# ---- how steep a critic is


def slope(discriminate: Critic, at: Tensor) -> Tensor:
    """The gradient of the sum of D's logits by the pictures (B, ...), of their shape, itself differentiable by D."""
    at = at.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminate(at).sum(), at, create_graph=True)
    return gradient


def gradient_penalty(
    discriminate: Critic, x: Tensor, made: Tensor, mixing: Tensor, *, per_pixel: bool = False
) -> Tensor:
    """Mean of (|gradient of D| - 1)^2 at mixing x + (1 - mixing) made: WGAN-GP's penalty; weight 10 there.

    x and made (B, C, H, W), mixing broadcasts against them, (B, 1, 1, 1) for one draw a picture. The norm is that of
    the whole picture's gradient (Gulrajani and others 2017, equation 3); per_pixel takes it over channels at each
    pixel instead, as SinGAN's released code does: 0.068 against 3.3 on one picture there.
    """
    gradient = slope(discriminate, mixing * x + (1 - mixing) * made)
    norm = gradient.norm(dim=1) if per_pixel else gradient.flatten(1).norm(dim=1)
    return (norm - 1).square().mean()


def dragan(discriminate: Critic, x: Tensor, mixing: Tensor, noise: Tensor) -> Tensor:
    """Mean of (|gradient of D| - 1)^2 around real pictures, at x + mixing noise std(x) / 2; weight 10.

    x (B, C, H, W) with one standard deviation for all of it; mixing (B, 1, 1, 1) and noise, of x's shape, both uniform
    in [0, 1). Kodali, Abernethy, Hays and Kira 2017, "On convergence and stability of GANs": their penalty has normal
    steps, centred on x; these, to one side of it, are those of the code in use.
    """
    at = x + mixing * noise * x.std() / 2
    return (slope(discriminate, at).flatten(1).norm(dim=1) - 1).square().mean()


def r1(discriminate: Critic, x: Tensor) -> Tensor:
    """Half the mean of |gradient of D|^2 at real pictures x (B, ...), in squared logits per squared unit of pixels.

    The half is inside, so that the weight is the gamma of Mescheder, Geiger and Nowozin 2018, "Which training methods
    for GANs do actually converge?", equation 9, and of StyleGAN. Code that leaves the half out, as the authors' own,
    says 10 for gamma = 20.

    >>> r1(lambda x: 3 * x.sum(1), torch.zeros(5, 2)).item()  # |(3, 3)|^2 / 2
    9.0
    """
    return slope(discriminate, x).flatten(1).square().sum(1).mean() / 2


def r2(discriminate: Critic, made: Tensor) -> Tensor:
    """r1 at made pictures, with the same half inside; no gradient reaches their generator (the same paper)."""
    return r1(discriminate, made)


# ---- where a critic's logits are


def drift(r: Tensor) -> Tensor:
    """Mean of r^2: logits of real pictures stay near 0, which a Wasserstein critic's difference leaves open.

    Weight 0.001 in Karras, Aila, Laine and Lehtinen 2018, "Progressive growing of GANs", appendix A.1.
    """
    return r.square().mean()


def lecam(r: Tensor, f: Tensor, means: Tensor, *, rate: float = 0.01) -> tuple[Tensor, Tensor]:
    """Mean relu(r - mean f)^2 + mean relu(mean r - f)^2, and means (2,) = (of r, of f), moved by rate to this batch's.

    r and f logits of any shapes; the running means are moved first, and are constants to the gradient. Tseng and
    others 2021, "Regularizing generative adversarial networks under limited data". Their formula squares both
    differences without relu; the code in use penalises a logit only beyond the other kind's mean, and so do we.
    """
    means = means.detach().lerp(torch.stack([r.mean(), f.mean()]).detach().to(means), rate)
    return F.relu(r - means[1]).square().mean() + F.relu(means[0] - f).square().mean(), means


# ---- weights


@torch.no_grad()
def clip_weights(weights: Iterable[Tensor], c: float) -> None:
    """Clamp weights to [-c, c], in place: what a Wasserstein critic gets after each of its updates, c = 0.01.

    Arjovsky, Chintala and Bottou 2017, "Wasserstein GAN", algorithm 1. ValueError unless c > 0.
    """
    if not c > 0:
        raise ValueError(f"c={c} should be above 0")
    for weight in weights:
        weight.clamp_(-c, c)


def orthogonal(weights: Iterable[Tensor]) -> Tensor:
    """Sum over weights of |W W^T with its diagonal 0|^2: rows at right angles, of whatever length.

    Each weight (O, ...) as a matrix of O rows, at the cost of O x O numbers; those without a second axis are passed
    over, and which others to leave out, as embeddings, is the caller's. ValueError where no weight is left. Brock,
    Donahue and Simonyan 2019, "Large scale GAN training", equation 3, with weight 1e-4; its released code adds 2 M W as
    gradient, M that matrix, where this has 4 M W: 5e-5 is its 1e-4.
    """
    matrices = [weight.flatten(1) for weight in weights if weight.ndim > 1]
    if not matrices:
        raise ValueError("weights: none has two axes or more")
    grams = [w @ w.T for w in matrices]
    return torch.stack([(gram - gram.diag().diag()).square().sum() for gram in grams]).sum()


SETTLING = 15  # power iterations from a random start, as many as torch makes


def spectral_norm(
    layer: nn.Module, generator: torch.Generator, *, n_iterations: int = 1, eps: float = 1e-12
) -> nn.Module:
    """The layer, its weight W from now on W / sigma, sigma the power method's largest singular value; no penalty.

    W is (O, the rest), for transposed convolutions (the rest, O) read as such. In training mode each use of the weight
    makes n_iterations; within torch.nn.utils.parametrize.cached() there is one use. Miyato and others 2018, "Spectral
    normalization for generative adversarial networks", algorithm 1; BigGAN has eps 1e-6. ValueError for a vector W.

    torch's parametrisation, but it starts from the generator: the global stream is left where it was.
    """
    weight = layer.weight
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        raise ValueError(f"layer={layer} should have a weight of two axes or more")
    with torch.random.fork_rng([weight.device] if weight.is_cuda else []):
        parametrizations.spectral_norm(layer, n_power_iterations=n_iterations, eps=eps)
    method = layer.get_submodule("parametrizations.weight.0")
    with torch.no_grad():
        for vector in method.buffers():  # the left and the right one
            drawn = torch.randn(vector.shape, generator=generator, device=generator.device, dtype=vector.dtype)
            vector.copy_(F.normalize(drawn, dim=0))
        for _ in range(SETTLING):
            method(weight)
    layer.get_submodule("parametrizations").train(layer.training)
    return layer


# ---- how far a generator's picture moves with its latent


def path_length(
    generate: Callable[[Tensor], Tensor], w: Tensor, noise: Tensor, mean: Tensor, *, rate: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Mean of (|J^T y| - a)^2 over pictures, J the derivative of generate(w) by w, and the running mean a of |J^T y|.

    w (B, C), or (B, L, C) for L layers with a latent each: |.|^2 is then the mean of the layers'. noise normal, of the
    pictures' shape (B, channels, H, W), is divided by sqrt(H W) to give y. mean is a before, a scalar, 0 at first; what
    comes out is a moved by rate to this batch's mean, without a graph. Weight 2, at every fourth step (x 4) and on half
    a batch. A w that has a graph, from a mapping network, teaches that too.

    Karras and others 2020, "Analyzing and improving the image quality of StyleGAN", equation 4. a is a constant there;
    as in the released code, the share rate of it that is this batch's mean is differentiated here.
    """
    w = w if w.requires_grad else w.detach().requires_grad_(True)
    made = generate(w)
    y = noise / math.sqrt(math.prod(made.shape[2:]))
    (pulled,) = torch.autograd.grad((made * y).sum(), w, create_graph=True)
    n_layers = w.shape[1] if w.ndim == 3 else 1
    lengths = pulled.flatten(1).norm(dim=1) / math.sqrt(n_layers)  # (B,)
    mean = mean.detach().lerp(lengths.mean(), rate)
    return (lengths - mean).square().mean(), mean.detach()
