"""StyleGAN2 on crops of one texture: every seed another tile, of any size."""

import torch

import texsyn
from texsyn.datasets import open_dataset
from texsyn.images import Size, save

crops = open_dataset("crops:skimage:gravel", resolution=32)
settings = {"periodic": True, "stationary": True, "features": 8, "max_features": 32}
model = texsyn.train_gan(crops, "stylegan2", steps=40, seed=0, **settings)  # 3000, ten minutes, make gravel

tile = model.sample(1, seed=3, size=Size(64, 128))  # (1, 1, 64, 128) in [0, 1]
wall = torch.cat([tile, tile], 3)
inside = (wall[..., 1:] - wall[..., :-1]).abs().mean((0, 1, 2))  # steps from column to column
print("no step is larger where tiles meet:", bool(inside[127] <= 1.5 * inside.mean()))
save(model.picture(wall[0]), "gravel_wall.png")

other = model.sample(1, seed=4, size=Size(64, 128))
print("another seed is another tile:", not torch.equal(tile, other))
