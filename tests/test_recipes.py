"""Predictions made before the work, against what the benchmark measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from texsyn.images import Picture, load, parse_size
from texsyn.models import METHODS
from texsyn.recipes import MEMORY, estimate_seconds, memory_needed

MEASURED = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "memory.json").read_text())["records"]


def blank(channels: int, side: int = 256) -> Picture:
    return load(np.zeros((side, side, channels), np.uint8))


def test_every_method_has_a_figure() -> None:
    assert list(MEMORY) == list(METHODS)
    assert {r["method"].removesuffix("-endless") for r in MEASURED} == set(METHODS)


@pytest.mark.parametrize("record", MEASURED, ids=lambda r: f"{r['method']}-{r['channels']}-{r['size']}")
def test_predicted_memory_is_enough_and_not_far_from_what_was_measured(record: dict) -> None:
    method = record["method"].removesuffix("-endless")
    predicted = memory_needed(parse_size(record["size"]), blank(record["channels"]), method) / 2**20
    assert 0.97 * record["peak_mib"] <= predicted <= 1.4 * record["peak_mib"]


def test_measured_memory_of_the_main_job_is_below_a_gibibyte() -> None:
    peaks = [r["peak_mib"] for r in MEASURED if r["size"] == "1280x768" and r["method"] == "texto"]
    assert len(peaks) == 2
    assert max(peaks) < 1024


def test_estimated_seconds_grow_with_the_picture() -> None:
    from texsyn.synthesis import configure

    exemplar = load("skimage:grass:64")
    small, large = (
        estimate_seconds(exemplar, parse_size(s), "texto", configure("texto", {}, whole=True), "cpu")
        for s in ("256x256", "1024x1024")
    )
    assert small is not None
    assert large is not None
    assert 2 < large / small < 40
