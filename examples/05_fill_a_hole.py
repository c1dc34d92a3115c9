"""Fill a hole in a picture, with the picture's own texture or with another's. All other pixels are kept."""

import numpy as np

import texsyn
from texsyn.images import load, save

wall, gravel = load("skimage:brick:192"), load("skimage:gravel:192")
y, x = np.mgrid[:192, :192]
hole = np.hypot(y - 100, x - 90) < 40  # a mask is white where the picture is to be filled
save(load(np.where(hole, 255, wall.pixels[..., 0]).astype(np.uint8)), "wall_with_hole.png", overwrite=True)

filled = texsyn.synth(wall, mask=hole, seed=0)
filled.save("wall_filled.png", overwrite=True)
print("pixels outside of the hole are kept:", np.array_equal(filled.pixels[~hole], wall.pixels[~hole]))
print("pixels copied from inside of the hole:", hole[filled.source[..., 0], filled.source[..., 1]].sum())


def step(pixels, mask):
    """Mean difference between neighbours on either side of the mask's border."""
    across = mask[:, 1:] != mask[:, :-1]
    return np.abs(np.diff(pixels[..., 0].astype(float), axis=1))[across].mean()


print(f"step at the border: {step(wall.pixels, hole):.1f} before, {step(filled.pixels, hole):.1f} after")

# From another picture: nothing but gravel in the hole, and some of that is ruled out by a second mask.
other = texsyn.synth(wall, mask=hole, source=gravel, exclude=y < 64, seed=0)
other.save("wall_with_gravel.png", overwrite=True)
row, column, picture = other.source[hole].T
print(f"in the hole: picture {set(picture.tolist())}, rows from {row.min()}")
