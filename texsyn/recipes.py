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
    "gotex": Memory(430, 30, 40, 85),
    "gotex-net": Memory(630, 15, 8, 8),
    "singan": Memory(760, 20, 25, 45),
    "sgan": Memory(560, 5, 15, 8),
    "psgan": Memory(560, 5, 15, 8),
    "gaussian": Memory(350, 5, 5, 12),
    "random-phase": Memory(320, 5, 20, 45),
}


#: bytes a pixel more where the finer levels are painted as a whole too, and where known pixels are kept besides
WHOLE, FILLED = 30, 75


def memory_needed(size: Size, exemplar: Picture, method: str, job: Any = None) -> int:
    """Bytes that one process needs at its peak, about; job is the Job of wishes, if there is one."""
    cost, channels = MEMORY[method], exemplar.channels
    largest = max(size.pixels, exemplar.size.pixels)
    if job is not None and not job.material.plain:
        sheets = job.material.sheets
        channels = sum(one.channels for one in sheets[0].maps)
        largest = max(size.pixels, sum(sheet.size.pixels for sheet in sheets))
    if job is not None and (job.obeys or job.material.shares is not None):
        cost = cost._replace(pixel=cost.pixel + (FILLED if job.hole is not None else WHOLE))
    fixed = (cost.base + cost.channel * channels) * 2**20
    return round(fixed + largest * (cost.pixel + cost.pixel_channel * channels))


def estimate_seconds(exemplar: Any, size: Size, method: str, config: Any, device: str) -> float | None:
    """CPU seconds of one picture, from a measurement of this machine's speed; None where no estimate exists."""
    from texsyn.models.base import model_class

    return model_class(method)(exemplar, config, device).estimate_seconds(size)
