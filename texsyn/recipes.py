"""What a synthesis will cost, before it is started."""

from __future__ import annotations

from typing import Any, NamedTuple

from texsyn.images import Picture, Size


class Memory(NamedTuple):
    """Peak resident size of one process: MiB, MiB a channel, bytes a pixel, bytes a pixel and channel.

    Rounded up from benchmarks/results/memory.json; what the process weighs before it has done anything is most of it.
    """

    base: float
    channel: float
    pixel: float
    pixel_channel: float


MEMORY = {
    "texto": Memory(450, 18, 45, 2),
    "texto-2018": Memory(380, 100, 12, 24),
    "gaussian": Memory(350, 5, 5, 12),
    "random-phase": Memory(320, 5, 20, 45),
}


def memory_needed(size: Size, exemplar: Picture, method: str) -> int:
    """Bytes that one process needs at its peak, about."""
    cost, channels = MEMORY[method], exemplar.channels
    largest = max(size.pixels, exemplar.size.pixels)
    fixed = (cost.base + cost.channel * channels) * 2**20
    return round(fixed + largest * (cost.pixel + cost.pixel_channel * channels))


def estimate_seconds(exemplar: Picture, size: Size, method: str, config: Any, device: str) -> float | None:
    """CPU seconds of one picture, from a measurement of this machine's speed; None where no estimate exists."""
    from texsyn.models.base import model_class

    return model_class(method)(exemplar, config, device).estimate_seconds(size)
