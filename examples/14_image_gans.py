"""A GAN of many pictures: digits by class, from the name of an architecture and of a loss."""

import torch

import texsyn
from texsyn.datasets import open_dataset
from texsyn.images import save
from texsyn.metrics.pixel_frechet import pixel_frechet

digits = open_dataset("digits")  # or a folder, a zip, "crops:rock.png", "cifar10:FOLDER", ...
real = digits.batch(torch.arange(digits.n)) / 2 + 0.5  # (1797, 1, 8, 8) in [0, 1]
print(f"{digits.n} pictures of {digits.width}x{digits.height}, classes {', '.join(digits.classes)}")
print(f"halves of the data are apart by {pixel_frechet(real[::2], real[1::2]):.3f}")

for steps in (20, 200):  # 4000, a minute, make digits
    model = texsyn.train_gan(digits, "dcgan", loss="hinge", labels=True, steps=steps, seed=1)
    print(f"after {steps} steps made digits are apart by {pixel_frechet(real, model.many(1797, seed=0)):.3f}")

sevens = model.sample(4, seed=10, label=7)  # (4, 1, 8, 8) in [0, 1]
print("a picture is its seed's:", bool(torch.equal(sevens[2], model.sample(1, seed=12, label=7)[0])))
save(model.shown(), "digits.png")  # a row a class

model.save("digits.safetensors")
again = texsyn.load("digits.safetensors")
print("the same after the file:", bool(torch.equal(again.sample(4, seed=10, label=7), sevens)))
way = model.between(10, 11, 9, label=7)  # along a great circle of latents
print("from one to the other:", bool(torch.equal(way[0], sevens[0])), tuple(way.shape))
