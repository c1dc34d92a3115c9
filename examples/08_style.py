"""A picture drawn with a texture: the output follows the light and dark of a target."""

import numpy as np

import texsyn
from texsyn.images import load

target = load("skimage:camera:240")  # the middle of a photograph of a cameraman
gravel = load("skimage:gravel:160")

for strength in (0.15, 0.3, 1.0):
    result = texsyn.synth(gravel, target=target, strength=strength, seed=0)
    result.save(f"camera_{strength}.png", overwrite=True)
    like = np.corrcoef(result.pixels.ravel(), target.pixels.ravel())[0, 1]
    used = result.recipe["exemplar_used"]
    print(f"strength {strength}: correlation with the target {like:.2f}, {used:.0%} of the gravel used")
# A higher strength follows the target more closely and uses less of the exemplar: its stones become grains.
