"""Makes docs/first.png, the README's picture: exemplars on the left, what texsyn makes of them on the right.

    python docs/make_picture.py

The exemplars are scikit-image's brick and gravel (CC0).
"""

from pathlib import Path

import numpy as np

import texsyn
from texsyn.images import load, save

GAP = 12
rows = []
for name, seed in (("brick", 1), ("gravel", 1)):
    exemplar = load(f"skimage:{name}:192")
    made = texsyn.synth(exemplar, "704x320", seed=seed, device="cpu").pixels
    left = np.full((made.shape[0], 192, 1), 255, np.uint8)
    left[:192] = exemplar.pixels
    row = np.concatenate([left, np.full((made.shape[0], GAP, 1), 255, np.uint8), made], 1)
    rows += [row, np.full((GAP, row.shape[1], 1), 255, np.uint8)]
save(load(np.concatenate(rows[:-1], 0)), Path(__file__).with_name("first.png"), overwrite=True)
