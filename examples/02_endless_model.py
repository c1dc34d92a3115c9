"""Fit once, then cut pictures out of an endless texture: any size, any place, the same bits every time."""

import torch

import texsyn

model = texsyn.fit("skimage:gravel:128", seed=0)
model.save("gravel.texsyn", overwrite=True)  # safetensors: loading runs no code

model = texsyn.load("gravel.texsyn")
pictures = model.sample((160, 240), seed=7, n=2)  # (n, c, h, w) in [0, 1]; picture i is that of seed 7 + i
print(f"two pictures: {tuple(pictures.shape)}")

# A window anywhere on the plane, alone, equals the same window of any larger picture.
window = model.render(texsyn.Region(top=40, left=100, height=32, width=48), seed=7)
assert torch.equal(window, pictures[0][:, 40:72, 100:148])
far_away = model.render(texsyn.Region(top=-(10**6), left=10**9, height=32, width=48), seed=7)
print(f"a window a billion pixels to the right: {tuple(far_away.shape)}")
