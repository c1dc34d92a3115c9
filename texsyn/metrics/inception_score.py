"""Inception score: exp of the mean divergence of p(label | picture) from p(label), by a classifier of ImageNet.

    IS = exp( mean_i KL( p(. | x_i) || mean_j p(. | x_j) ) )

(Salimans et al. 2016, "Improved techniques for training GANs"). It lies between 1 and the number of classes. It says
whether pictures look like one ImageNet class each and like many classes together, which for textures means next to
nothing; it is here for completeness. It grows with the number of samples of a split: never compare across n or splits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from texsyn.metrics.frechet import feature_matrix

__all__ = ["InceptionScore", "inception_score"]


@dataclass(frozen=True)
class InceptionScore:
    """value and spread: mean and standard deviation (ddof 0) of the splits' scores, each in [1, classes]."""

    value: float
    spread: float
    splits: int
    n: int
    classes: int
    seed: int | None  # None: the order as given


def inception_score(logits: Tensor, *, splits: int = 10, shuffle: bool = False, seed: int = 0) -> InceptionScore:
    """Inception score of logits (n, classes), over contiguous splits [i n // splits, (i + 1) n // splits).

    For numbers of papers: the logits WITHOUT the last layer's bias (all 1008 of the 2015-12-05 graph), 50,000 pictures,
    10 splits, the order they were made in. shuffle draws another order by seed first. ValueError for more splits than
    samples, splits < 1, NaN or infinity.

    >>> inception_score(1000 * torch.eye(4), splits=1).value
    4.0
    """
    logits = feature_matrix(logits, "logits")
    n, classes = logits.shape
    if not 1 <= splits <= n:
        raise ValueError(f"splits={splits} must lie between 1 and the number of samples, {n}")
    if shuffle:
        logits = logits[torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(logits.device)]
    log_p = logits.log_softmax(1)
    scores = torch.stack([_score(log_p[i * n // splits : (i + 1) * n // splits]) for i in range(splits)])
    return InceptionScore(
        float(scores.mean()), float(scores.std(correction=0)), splits, n, classes, seed if shuffle else None
    )


def _score(log_p: Tensor) -> Tensor:
    # the logarithm of the mean from logarithms: a class of probability 0 to double precision gives 0, not 0 times inf
    log_mean = log_p.logsumexp(0) - torch.tensor(len(log_p), dtype=log_p.dtype).log()
    return (log_p.exp() * (log_p - log_mean)).sum(1).mean().exp()
