"""Paint with textures: one picture says what the exemplar shows where, a second what the output shall show where."""

import numpy as np

import texsyn
from texsyn.images import load

# The exemplar: a gravel path through grass; grey photographs, tinted.
y, x = np.mgrid[:160, :160]
path = np.abs(x - 80 - 14 * np.sin(y / 16)) < 34
grass = load("skimage:grass:160").pixels / 255 * [150, 230, 70]
gravel = load("skimage:gravel:160").pixels / 255 * [255, 235, 205]
exemplar = np.where(path[..., None], gravel, grass).astype(np.uint8)

# The drawing: a fork. Labels are colours, 2 to 64 of them; those of the drawing must occur in the exemplar's.
y, x = np.mgrid[:256, :320]
fork = np.abs(np.abs(x - 160) - 0.45 * np.maximum(0, 150 - y)) < 26
brush = np.array([[40, 140, 40], [200, 180, 150]], np.uint8)
result = texsyn.synth(exemplar, guide_in=brush[path.astype(int)], guide_out=brush[fork.astype(int)], seed=0)
result.save("fork.png", overwrite=True)
shown = path[result.source[..., 0], result.source[..., 1]]
print(f"{result.image.size}, as the drawing; {(shown == fork).mean():.1%} of its pixels show what they should")

# Values instead of labels: how wet the gravel is, and where a puddle shall be.
wet, puddle = np.tile(np.linspace(0, 1, 160), (160, 1)), np.exp(-(np.hypot(y - 64, x - 80) ** 2) / 1500)[:128, :160]
gravel = (gravel * (1 - 0.6 * wet[..., None])).astype(np.uint8)
guides = [(255 * v).astype(np.uint8) for v in (wet, puddle)]
result = texsyn.synth(gravel, guide_in=guides[0], guide_out=guides[1], guide_kind="values", guide_weight=2, seed=0)
result.save("puddle.png", overwrite=True)
got = wet[result.source[..., 0], result.source[..., 1]]
print(f"wetness: {got[puddle > 0.7].mean():.2f} where {puddle[puddle > 0.7].mean():.2f} was asked for, ", end="")
print(f"{got[puddle < 0.1].mean():.2f} where {puddle[puddle < 0.1].mean():.2f}")
