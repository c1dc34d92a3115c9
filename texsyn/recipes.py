"""What a synthesis will cost, before it is started.

Memory figures are fits to benchmarks/results/bench_synth.json (peak resident size of one process).
"""

from __future__ import annotations

from typing import Any

from texsyn.images import Picture, Size

BASE_BYTES = 450 * 2**20  # Python, torch, numba and their code
#: bytes an output pixel at the peak: fixed, and for each channel
PER_PIXEL = {"texto": (120, 40), "texto-2018": (300, 400), "gaussian": (60, 60), "random-phase": (60, 60)}


def memory_needed(size: Size, exemplar: Picture, method: str) -> int:
    """Bytes that one process needs at its peak, about."""
    fixed, per_channel = PER_PIXEL[method]
    largest = max(size.pixels, exemplar.size.pixels)
    return BASE_BYTES + largest * (fixed + per_channel * exemplar.channels)


def estimate_seconds(exemplar: Picture, size: Size, method: str, config: Any, device: str) -> float | None:
    """CPU seconds of one picture, from a measurement of this machine's speed; None where no estimate exists."""
    from texsyn.models.base import model_class

    return model_class(method)(exemplar, config, device).estimate_seconds(size)
