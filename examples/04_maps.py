"""A material of several aligned maps: matched together, copied together, and a further map cut out afterwards."""

import numpy as np

import texsyn
from texsyn.coordinate_files import apply, load_coordinates, save_coordinates
from texsyn.images import load, save

# Cobbles by formula: each pixel belongs to its nearest centre, and is low where two centres are equally near.
rng, n = np.random.default_rng(0), 128
y, x = np.mgrid[:n, :n]
centres = np.mgrid[-8:144:16, -8:144:16].reshape(2, -1) + rng.uniform(-5, 5, (2, 100))
distance = np.hypot(y[..., None] - centres[0], x[..., None] - centres[1])
near, next_near = np.moveaxis(np.sort(distance, 2)[..., :2], 2, 0)
height = np.sqrt(np.clip((next_near - near) / 10, 0, 1))
slope_y, slope_x = np.gradient(6 * height)
normal = np.stack([-slope_x, slope_y, np.ones((n, n))], 2)
normal /= np.linalg.norm(normal, axis=2, keepdims=True)  # unit vectors
brightness = 0.3 + 0.5 * height * rng.uniform(0.6, 1, 100)[distance.argmin(2)]
albedo = (255 * brightness[..., None] * [1.0, 0.9, 0.8]).astype(np.uint8)
normal = (65535 * (normal / 2 + 0.5) + 0.5).astype(np.uint16)
result = texsyn.synth(maps={"albedo": albedo, "normal": normal}, size="320x256", seed=1, weights={"normal": 0.5})
made = [picture.pixels for picture in result.maps.values()]
for name in result.maps:
    result.of_map(name).save(f"cobbles_{name}.png", overwrite=True)

# A map that was left out can be cut out later: the coordinates say which pixel of the stack each pixel is.
save_coordinates("cobbles.npy", result.source, sizes=[(n, n)], overwrite=True)
roughness = apply(load_coordinates("cobbles.npy")[0], load((255 * (0.9 - 0.5 * height)).astype(np.uint8)))
save(roughness, "cobbles_roughness.png", overwrite=True)

tuples = [{t.tobytes() for t in np.dstack(maps).reshape(-1, 6)} for maps in ([albedo, normal], made)]
print(f"{len(tuples[1])} tuples of albedo and normal, all of them in the stack: {tuples[1] <= tuples[0]}")
length = np.linalg.norm(made[1] / 65535 * 2 - 1, axis=2)
print(f"normals are {length.min():.5f} to {length.max():.5f} long")
