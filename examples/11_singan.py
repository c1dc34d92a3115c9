"""SinGAN: a pyramid of small networks learned from one picture, and what it does to other pictures."""

import numpy as np

import texsyn
from texsyn.images import Size, load, save
from texsyn.images.animation import save_animation
from texsyn.manipulation import Walk, animate, harmonise, paint, upscale

gravel = load("skimage:gravel:48")
quick = {"steps": 30, "d_turns": 1, "g_turns": 1}  # seconds, and it shows: leave them out, and be patient
model = texsyn.fit(gravel, "singan", seed=1, **quick)
print("scales:", ", ".join(str(size) for size in model.sizes))
for name, size in (("wide", Size(48, 160)), ("tall", Size(120, 40))):  # the command line's `texsyn sample`
    save(load(model.synthesise(size, seed=2).pixels), f"{name}.png", overwrite=True)

pasted = gravel.pixels.copy()
pasted[10:26, 20:36] = 255 - load("skimage:brick:16").pixels
mask = np.zeros((48, 48), bool)
mask[10:26, 20:36] = True
home = harmonise(model, load(pasted), mask, scale=2, dilation=3, softness=2.0)
save(home, "harmonised.png", overwrite=True)
print("far pixels kept:", np.array_equal(home.pixels[:, :5], pasted[:, :5]))

y, x = np.mgrid[:48, :72]
save(paint(model, load((90 + 80 * (np.hypot(y - 24, x - 36) < 16)).astype(np.uint8))), "painted.png", overwrite=True)
large = upscale(model, gravel, 3)  # `texsyn upscale` trains a pyramid for it
save(large, "large.png", overwrite=True)
print("upscaled:", large.size)
save_animation(animate(model, Walk(n_frames=12, loop=True), seed=3), "moving.webp", fps=12, overwrite=True)
