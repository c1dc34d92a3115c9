"""PSGAN: a network learned from one picture against a critic; any window, tiles, and looks passing into each other."""

import numpy as np

import texsyn
from texsyn.images import Size, load, save

quick = {
    "steps": 40,
    "channels": 8,
    "max_channels": 32,
    "cells": 4,
}  # seconds, and it shows: leave them out
model = texsyn.fit("skimage:gravel:128", "psgan", seed=1, **quick)
print(f"{model.steps} steps; a pixel sees {model.halo} pixels of noise to each side")

whole = model.sample((160, 240), seed=7)[0]  # (c, h, w) in [0, 1]
window = model.render(texsyn.Region(40, 100, 32, 48), seed=7)
print("a window is the crop:", bool((window == whole[:, 40:72, 100:148]).all()))

tile = model.synthesise(Size(96, 100), seed=7, tile="xy").pixels
save(load(np.tile(tile, (2, 2, 1))), "tiled.png", overwrite=True)
between = model.morphed([[3, 7], [11, 2]], Size(160, 240))  # the looks of four seeds at the corners
save(load(between.synthesise(Size(160, 240), seed=7).pixels), "between.png", overwrite=True)

stack = {"albedo": load("skimage:gravel:64"), "height": load("skimage:brick:64")}  # maps are learned as one picture
maps = texsyn.synth(maps=stack, size="100x80", method="sgan", seed=1, **quick).maps
print("maps:", ", ".join(f"{name} {one.size}" for name, one in maps.items()))
