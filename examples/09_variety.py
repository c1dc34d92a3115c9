"""More from one exemplar: variations, mirrors, scale and rotation, a limit on copying, the exact histogram."""

import numpy as np

import texsyn
from texsyn.images import load

grass, brick = load("skimage:grass:128"), load("skimage:brick:128")


def make(name, exemplar, **wishes):
    result = texsyn.synth(exemplar, "160x128", **{"seed": 0} | wishes)
    result.save(f"{name}.png", overwrite=True)
    return result


three = [make(f"variation_{seed}", grass, seed=seed) for seed in range(3)]  # the command line's -n 3
print("variations that differ:", len({result.recipe["pixels_sha256"] for result in three}))
mirrored = make("mirrored", grass, symmetry="mirrors")  # or mirror-x, mirror-y, turns, all
at = mirrored.source
print("mirrored pixels are the exemplar's:", np.array_equal(mirrored.pixels, grass.pixels[at[..., 0], at[..., 1]]))
turned = make("turned", brick, scale=0.8, rotate=30)  # resampled, so there are no coordinates
print("coordinates of scaled and rotated bricks:", turned.source)

for limit in (None, 12):
    print(f"copy limit {limit}: largest copy", make(f"limit_{limit}", brick, copy_limit=limit).recipe["largest_copy"])


def distance(result):
    """Mean difference between the quantiles of a picture's grey values and those of the bricks."""
    return np.abs(np.subtract(*(np.quantile(p, np.linspace(0, 1, 256)) for p in (result.pixels, brick.pixels)))).mean()


for how in ("free", "keep"):
    print(f"histogram {how}: {distance(make(f'histogram_{how}', brick, histogram=how)):.3f} grey levels off")
