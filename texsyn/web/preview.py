"""Pixels as a browser can show them. Without torch, so that a picture is seen as soon as it is handed in."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np

from texsyn.images import Picture, from_unit, save


class Preview:
    """PNG files with 8 bits a channel, for a browser, of pixels of one exemplar's kind.

    Floats outside [0, 1] are stretched by the exemplar's range; of more than four channels the first three are shown.
    """

    def __init__(self, exemplar: Picture) -> None:
        pixels = exemplar.pixels
        self.exemplar, self.low, self.high = exemplar, 0.0, 1.0
        if pixels.dtype.kind == "f" and (pixels.min() < 0 or pixels.max() > 1):
            self.low, self.high = float(pixels.min()), float(pixels.max())

    def png(self, pixels: np.ndarray) -> bytes:
        """The file, of (h, w, c) pixels in the exemplar's number type."""
        mode, icc = self.exemplar.mode, self.exemplar.icc_profile
        if mode == "multi":
            n_shown = 3 if pixels.shape[2] >= 3 else 1
            pixels, mode = pixels[..., :n_shown], "RGB" if n_shown == 3 else "L"
        buffer = BytesIO()
        save(Picture(np.ascontiguousarray(self._codes(pixels)), mode, icc_profile=icc), buffer)
        return buffer.getvalue()

    def small(self, side: int) -> bytes:
        """The exemplar itself, thinned out to at most about side x side pixels."""
        step = math.ceil(max(self.exemplar.size.height, self.exemplar.size.width) / side)
        return self.png(self.exemplar.pixels[::step, ::step])

    def _codes(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype == np.uint16:
            return (pixels >> 8).astype(np.uint8)
        if pixels.dtype == np.uint8:
            return pixels
        return from_unit((pixels.astype(np.float64) - self.low) / (self.high - self.low), np.uint8)
