"""A GAN of the plane: the loss whose gradient vanishes as the critic gets better, then eight Gaussians learned."""

import copy

import torch

from texsyn.datasets import open_dataset
from texsyn.gan.architectures import configure
from texsyn.gan.image_training import ImageGan
from texsyn.gan.losses import LOSSES
from texsyn.gan.plane_picture import coverage, generator_gradient, plane_picture
from texsyn.images import load, save

data = open_dataset("gaussians8")
settings = {"channels": 2, "height": 1, "width": 1, "latent": 4, "features": 64, "images": 160_000, "decay": True}
settings |= {"rate": 4e-3, "critic_rate": 4e-3, "weight": 0.3, "batch": 128}
gan = ImageGan(configure("mlp", objective="r1", settings=settings), data, seed=1)
x, u = data.batch(torch.arange(256)), gan.model().many(256, seed=1)

critic, loss = copy.deepcopy(gan.discriminator), LOSSES["non-saturating"]
optimiser = torch.optim.Adam(critic.parameters(), 2e-3)
for step in range(301):  # the critic learns alone
    if step % 100 == 0:
        slopes = [generator_gradient(LOSSES[name], critic, u).norm(dim=1) for name in ("saturating", "non-saturating")]
        print(f"critic's step {step}: half the made points see below", *(f"{s.median():.1e}" for s in slopes))
    optimiser.zero_grad()
    loss.d(critic(x), critic(u)).backward()
    optimiser.step()

for step in range(gan.config.steps):  # both learn, with a penalty of the critic's slope
    gan.step(step)
u = gan.model().many(512, seed=0)
print("modes reached, share of points within 3 sigma of one:", *coverage(u, data.modes, 3 * data.sigma))
way = -0.2 * generator_gradient(loss, gan.discriminator, u)
save(load(plane_picture(gan.discriminator, x, u, steps=way)), "plane.png")
