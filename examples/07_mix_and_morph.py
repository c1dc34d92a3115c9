"""Two textures in one picture: by shares, by a map of shares, and a texture between the two."""

import numpy as np

import texsyn
from texsyn.images import load

gravel, grass = load("skimage:gravel:128"), load("skimage:grass:128")

for asked in (0.5, 0.75):
    result = texsyn.synth([gravel, grass], "192x160", mix=(asked, 1 - asked), seed=0)
    result.save(f"mix_{asked}.png", overwrite=True)
    print(f"gravel: {asked} asked for, {result.recipe['shares'][0]} given")

# White is the first. A mix map has the output's size.
ramp = np.tile(np.linspace(255, 0, 240).astype(np.uint8), (160, 1))
result = texsyn.synth([gravel, grass], mix_map=ramp, seed=0)
result.save("mix_map.png", overwrite=True)
asked, given = ramp / 255, result.source[..., 2] == 0
for name, part in (("left", slice(0, 80)), ("middle", slice(80, 160)), ("right", slice(160, 240))):
    print(f"{name}: {asked[:, part].mean():.2f} asked for, {given[:, part].mean():.2f} given")

# A morph is neither: colours between the two, coarse shapes between, and details of both.
for t in (0.25, 0.75):
    result = texsyn.synth([gravel, grass], "128x128", morph=t, seed=0)
    result.save(f"morph_{t}.png", overwrite=True)
    print(f"morph {t}: mean {result.pixels.mean():.0f} of {gravel.pixels.mean():.0f} and {grass.pixels.mean():.0f}")
