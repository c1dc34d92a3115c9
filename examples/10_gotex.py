"""GOTEX: pictures by optimal transport of features. Blended, not copied: morphs, fades, style, other losses."""

import numpy as np

import texsyn
from texsyn.images import load

brick, gravel = load("skimage:brick:64"), load("skimage:gravel:64")
quick = {"method": "gotex", "seed": 1, "max_atoms": 500, "n_coarse": 4, "n_steps": 4}  # the defaults are better


def make(name, exemplars, size=None, **more):
    result = texsyn.synth(exemplars, size, **quick | more)
    result.save(f"{name}.png", overwrite=True)
    return result


print("turns and loss:", make("bricks", brick, "96x64").recipe["evidence"][0])
make("between", [brick, gravel], "96x64", morph=0.5)  # a barycentre of the two laws of patches
ramp = np.tile(np.linspace(255, 0, 96).astype(np.uint8), (64, 1))
make("fading", [brick, gravel], mix_map=ramp)  # white is the first; shares that vary over the picture
waves = (128 + 120 * np.sin(np.mgrid[:64, :96][1] / 9)).astype(np.uint8)
make("style", gravel, target=waves, strength=0.5)
hole = np.zeros((64, 64), np.uint8)
hole[24:44, 24:44] = 255
filled = make("filled", brick, mask=hole)
print("known pixels kept:", np.array_equal(filled.pixels[hole == 0], brick.pixels[hole == 0]))

# other losses between other features, under an optimiser that they all share (200 steps for good pictures)
for loss, features in (("sliced", "patches"), ("gram", "random"), ("transport", "random")):
    made = make(f"{loss}_{features}", gravel, "64x64", loss=loss, features=features, optimiser="lbfgs", n_steps=10)
    print(loss, features, made.recipe["evidence"][0]["loss"][-1])
