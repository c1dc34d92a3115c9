"""Editing by styles: mixing, arithmetic, truncation, directions, and a picture's own styles."""

import torch

import texsyn
from texsyn.gan.image_model import grid_of
from texsyn.images import save
from texsyn.latent_editing import arithmetic, direction_sheet, mixing_sheet, principal_directions, rows_named, styles_of
from texsyn.projection import project

small = {"features": 8, "max_features": 32}
model = texsyn.train_gan("digits", "stylegan2", resolution=16, steps=60, seed=0, **small)  # 4000 make digits

columns, rows = styles_of(model, [3, 7, 12]), styles_of(model, [20, 21])  # (n, n_styles, latent)
save(grid_of(mixing_sheet(model, columns, rows, rows_named(model, "coarse")), 4), "mixed.png")

total = arithmetic([(1, columns[:2]), (-1, rows), (1, columns[2:])])  # averaged codes
print("a sum of styles is one style for each layer:", tuple(total.shape) == (model.styled.n_styles, 64))

plain, typical = (model.sample(50, seed=0, truncation=psi).var(0).mean() for psi in (1.0, 0.3))
print("truncated pictures vary less:", bool(typical < plain))

ways = principal_directions(model, 3, rows=rows_named(model, "0-3"))
save(grid_of(direction_sheet(model, columns[0], ways, [-3, 0, 3]), 3), "directions.png")

wanted = model.synthesised(columns[:1])[0]
found = project(model, wanted, steps=60)
print("its styles are found again:", found.psnr > 20, f"{found.psnr:.0f} dB")
print("and are moved:", not torch.equal(ways.moved(found.ws, 0, 2.0), found.ws))
