"""How spatial GANs learn one exemplar: random crops of it against windows of the generator, two phases a step.

Losses are means over the batch and over all places of the critic's map. A step is one update of the critic and one of
the generator, each on noise of its own. What a picture is made of afterwards is the network with averaged weights, its
statistics measured anew.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from texsyn.gan.losses import LOSSES
from texsyn.gan.spatial_networks import LayerWindow, Maker, SpatialCritic, SpatialGenerator
from texsyn.gan.training import Adversarial, Phase, Player
from texsyn.images import Picture, Region
from texsyn.training import cosine

if TYPE_CHECKING:
    from texsyn.models.sgan import Sgan

SETTLING = 30  # batches whose statistics a network keeps

Windows = Sequence[LayerWindow] | None


@dataclass(frozen=True)
class Scene:
    """What is learned and how: x (C, H, W) in -1..1 and crops of `crop` pixels a side.

    bordered: cells x cells of noise with the papers' zeros beyond; else windows at a random place of the grid, with as
    many cells as those see. average: see Player; l2: times the sum of squares of each player's weights.
    """

    x: Tensor
    crop: int
    cells: int
    bordered: bool
    batch: int
    learning_rate: float
    l2: float
    average: float
    loss: str
    steps: int
    #: share of the learning rate that is left at the end of half a cosine; 1 keeps it as it is
    last_rate: float

    def rate(self, i: int) -> float:
        """What step i multiplies learning rates by."""
        return 1.0 if self.last_rate == 1 else cosine(i, self.steps, last=self.last_rate)


class SpatialTraining(Adversarial):
    """The two players of a model and their two phases."""

    def __init__(self, of: Sgan, seed: int) -> None:
        random = torch.Generator().manual_seed(seed % 2**63)
        self.of, self.scene = of, of.scene()
        device = self.scene.x.device
        self.maker, self.critic = of.new_maker(random).to(device), SpatialCritic(of.design, random).to(device)
        players = {
            "critic": Player(self.critic, self._adam(self.critic), self.scene.rate),
            "maker": Player(self.maker, self._adam(self.maker), self.scene.rate, self.scene.average),
        }
        phases = (Phase("critic", self.critic_terms), Phase("maker", self.maker_terms))
        super().__init__(players, phases, random)

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        moved = [p for p in network.parameters() if p.requires_grad]
        return torch.optim.Adam(moved, lr=self.scene.learning_rate, betas=(0.5, 0.999))

    # ---- the two phases

    def critic_terms(self, turn: int) -> dict[str, Tensor]:
        """-mean log D(x) - mean log(1 - D(G(z))) + l2 R, or another loss; each pass has statistics of its own."""
        with torch.no_grad():
            made = self.made(self.maker, self.random)
        loss = LOSSES[self.scene.loss].d(self.critic(self.crops()), self.critic(made))
        return {"d": loss} | self._penalty("d_l2", self.critic)

    def maker_terms(self, turn: int) -> dict[str, Tensor]:
        """-mean log D(G(z)) + l2 R, or another loss."""
        loss = LOSSES[self.scene.loss].g(self.critic(self.made(self.maker, self.random)))
        return {"g": loss} | self._penalty("g_l2", self.maker.generator)

    def _penalty(self, name: str, network: SpatialCritic | SpatialGenerator) -> dict[str, Tensor]:
        return {name: self.scene.l2 * network.penalised()} if self.scene.l2 else {}

    # ---- what they see

    def crops(self) -> Tensor:
        """(B, C, crop, crop) of the exemplar, every place as likely as any other."""
        x, side = self.scene.x, self.scene.crop
        tops, lefts = (
            torch.randint(n - side + 1, (self.scene.batch,), generator=self.random).tolist() for n in x.shape[1:]
        )
        return torch.stack([x[:, t : t + side, s : s + side] for t, s in zip(tops, lefts, strict=True)])

    def made(self, maker: Maker, random: torch.Generator) -> Tensor:
        """(B, C, crop, crop) of fresh noise."""
        z, windows = self.noise(maker, random)
        made: Tensor = maker.generator(z, windows)
        return made

    def noise(self, maker: Maker, random: torch.Generator) -> tuple[Tensor, Windows]:
        """Fresh noise (B, n, h, w), the same for all of a batch in its place on the grid, and its windows."""
        scene, generator = self.scene, maker.generator
        windows: Windows = None
        at = Region(0, 0, scene.cells, scene.cells)
        if not scene.bordered:
            top, left = torch.randint(2**generator.design.n_layers, (2,), generator=random).tolist()
            windows = generator.windows(Region(top, left, scene.crop, scene.crop))
            at = generator.cells(windows)

        return maker.draw(scene.batch, at, random, scene.x.device), windows

    # ---- what has become of it

    def model(self) -> Sgan:
        """The texture model of the averaged weights."""
        maker, random = copy.deepcopy(self.maker), torch.Generator().manual_seed(0)
        with torch.no_grad():
            if averaged := self.players["maker"].averaged:
                maker.load_state_dict(averaged)
            maker.generator = maker.generator.settled(self.noise(maker, random) for _ in range(SETTLING))
        return self.of.having(maker)

    def sample(self) -> Picture:
        """A picture of the model so far, of the exemplar's size, seed 0."""
        return self.model().shown()
