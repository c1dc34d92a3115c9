"""benchmarks/bench_upscale.py on a picture as small as it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_a_record_and_a_strip_of_every_way() -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from bench_upscale import KEPT, case, judged, resampled
    finally:
        sys.path.remove(str(BENCHMARKS))
    from texsyn.images import Size, load

    truth = load("skimage:gravel:48")
    record, strip = case("skimage:gravel:48", 2, 1)
    assert strip.shape == (48, 4 * 48, 1)
    np.testing.assert_array_equal(strip[:, :48], truth.pixels)
    cubic = resampled(load(resampled(truth, Size(24, 24))), Size(48, 48))
    np.testing.assert_array_equal(strip[:, 48:96], cubic)
    assert judged(truth.pixels, truth)["rmse"] == 0
    assert record["cubic"]["rmse"] == judged(cubic, truth)["rmse"] > 5
    assert record["small"] == "24x24"
    for way in ("cubic", "free", "corrected"):
        assert set(record[way]) == {"rmse", *KEPT}
    assert record["cubic"]["sharp"] < 0.9
    assert record["free"] != record["corrected"]
