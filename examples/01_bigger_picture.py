"""One call: a picture of a texture in, as much of that texture as you like out."""

import texsyn

# "skimage:" pictures come with scikit-image; a path, bytes or an array does as well.
result = texsyn.synth("skimage:brick:128", "256x192", seed=3)

# Same depth and channels as the input; the recipe goes inside the file.
result.save("bricks.png", overwrite=True)
print(f"bricks.png: {result.image.size}, seed {result.seed}")

# Every pixel IS an exemplar pixel, and the result knows which one.
rows, columns = result.source[..., 0], result.source[..., 1]
print(f"pixel (0, 0) comes from row {rows[0, 0]}, column {columns[0, 0]}")
print(f"share of the exemplar used: {result.recipe['exemplar_used']:.2f}")
