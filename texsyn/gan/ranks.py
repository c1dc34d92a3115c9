"""Several processes that train one model: each has its part of every batch, gradients are summed by one call a phase.

Everybody draws the same random numbers, for the whole batch, and keeps the rows that are its own, so that the number of
processes changes what is computed only by the order of sums. What looks at a whole batch from inside a network, as
batch normalisation and minibatch statistics do, sees a part; and a relativistic loss compares within a part.

Start them with torchrun, one process a device; `texsyn train` finds out by itself. On a CPU the messages go by gloo.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is; alone, nothing is ever sent."""

    rank: int = 0
    n: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and talks."""
        return self.rank == 0

    def part(self, x: Tensor) -> Tensor:
        """The rows of a whole batch that are this process's. ValueError where they cannot be shared out evenly.

        >>> Ranks(1, 2).part(torch.arange(6)).tolist()
        [3, 4, 5]
        """
        if len(x) % self.n:
            raise ValueError(f"batch={len(x)} should be a multiple of the {self.n} processes")
        each = len(x) // self.n
        return x if self.n == 1 else x[self.rank * each : (self.rank + 1) * each]

    def mean(self, parameters: Sequence[Tensor], values: Tensor) -> Tensor:
        """Make every gradient the mean of all processes', and return the mean of the values (k,): one message.

        A gradient that is None counts as zeros, and comes back None if it is so everywhere.
        """
        if self.n == 1:
            return values
        there = torch.tensor([float(p.grad is not None) for p in parameters], device=values.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        whole = torch.cat([values.to(torch.float32), there, *(g.flatten().to(torch.float32) for g in gradients)])
        torch.distributed.all_reduce(whole)
        values, there, *sums = whole.split([len(values), len(parameters), *(g.numel() for g in gradients)])
        for p, has, total in zip(parameters, there.tolist(), sums, strict=True):
            p.grad = (total / self.n).view_as(p).to(p.dtype) if has else None
        return values / self.n

    def all_of(self, x: Tensor) -> Tensor:
        """The rows of the whole batch, of everybody's part."""
        if self.n == 1:
            return x
        parts = [torch.empty_like(x) for _ in range(self.n)]
        torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    def agreed(self, stop: bool) -> bool:
        """What the first process says of stopping, the same everywhere."""
        if self.n == 1:
            return stop
        said = torch.tensor([float(stop)])
        said = said.cuda() if torch.distributed.get_backend() == "nccl" else said
        torch.distributed.broadcast(said, 0)
        return bool(said)


ALONE = Ranks()


def join() -> Ranks:
    """The processes that torchrun started, joined; ALONE where it did not. ValueError where they do not find together.

    NCCL where every process has a CUDA device of its own, else gloo.
    """
    n = int(os.environ.get("WORLD_SIZE", "1"))
    if n == 1 or "RANK" not in os.environ:
        return ALONE
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available() and torch.cuda.device_count() > local
    if cuda:
        torch.cuda.set_device(local)
    try:
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"WORLD_SIZE={n}: the processes of torchrun do not find together ({error})") from error
    return Ranks(torch.distributed.get_rank(), n)


def leave(ranks: Ranks) -> None:
    """Wait for the others and part; whoever goes without a word makes the others abort."""
    if ranks.n > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
