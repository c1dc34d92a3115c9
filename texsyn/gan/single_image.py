"""How SinGAN and its growing successor are trained: scale after scale of one exemplar, each a GAN of its patches.

Per scale, `steps` times: d_turns updates of the critic, g_turns of the generator (Shaham, Dekel and Michaeli 2019,
section 3.2), with u made from noise and u_rec from the reconstruction's,

    critic     mean D(u) - mean D(x) + penalty * mean (|grad D| - 1)^2
    generator  -mean D(u) + alpha * mean (u_rec - x)^2.

The gradient's norm is taken over channels at each pixel, as the released code does; the paper does not say. A scale's
noise is as strong as what reconstruction lacks there before the scale has learned anything. Critics, and generators of
equal width, begin with the weights of the scale before.

Departures: each of the generator's updates looks at the picture that it makes then; the released code, which asks for
torch 1.4, goes on along the gradient of the first one's picture through weights that have changed since (cosines with
the true gradient 1, 0.92, 0.64 over three turns), and draws z* anew every step, so that the coarsest scale cannot learn
to reconstruct. compat="official" does both. one_gradient is the successor's way: updates along one gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from texsyn.gan.losses import LOSSES
from texsyn.gan.penalties import gradient_penalty
from texsyn.gan.training import Adversarial, Phase, Player, Terms
from texsyn.images import Picture, Size
from texsyn.models.scale_networks import (
    REACH,
    Grown,
    ScaleNet,
    empty_scales,
    grown,
    initialise,
    through,
)
from texsyn.models.singan import Singan
from texsyn.models.trained import channels_last
from texsyn.training import of, under

LOSS = LOSSES["wasserstein"]
SETTLED, SETTLING = 60, 30  # passes after which running statistics can be used, and that give them where they cannot
DECAY = 0.8  # share of a scale's steps after which the learning rate falls


class SingleImage:
    """A trainee of texsyn.training: step i belongs to scale i // config.steps, whose networks are made when it begins.

    What changes: the scale, its generator and critic with their optimisers, the random stream; and, at a scale's begin
    only, the frozen scales, the amplitudes and z*.
    """

    def __init__(self, model: Singan, seed: int) -> None:
        self.of, self.config = model, model.config
        self.random = torch.Generator().manual_seed(seed % 2**63)
        self.reals = [_channels_last(x) for x in model.reals()]
        self.frozen: list[ScaleNet] = []  # of architecture "singan", coarsest first
        self.amplitudes: list[float] = []
        self.z_rec = self._z_rec()
        self.generator: nn.Module
        self.critic: ScaleNet
        self.scale = -1
        self._begin(0)

    # ---- scales

    def _begin(self, k: int) -> None:
        """Make scale k's networks, from those of the scale before where they have the same shapes."""
        channels, config = self.of.exemplar.channels, self.config
        critic = ScaleNet(channels, config.width(k), config, makes=False).to(self.of.device)
        same = k > 0 and config.width(k) == config.width(k - 1)
        if same:
            critic.load_state_dict(self.critic.state_dict())
        else:
            initialise(critic, self.random)
        if config.architecture == "grown":
            if k == 0:
                (self.generator,) = empty_scales(channels, 1, config)
                initialise(self.generator, self.random)
            else:
                assert isinstance(self.generator, Grown)
                self.generator.grow()
        else:
            generator = ScaleNet(channels, config.width(k), config, makes=True)
            if k > 0:
                assert isinstance(self.generator, ScaleNet)
                self.frozen.append(self.generator.eval().requires_grad_(False))
            if same:
                generator.load_state_dict(self.generator.state_dict())
            else:
                initialise(generator, self.random)
            self.generator = generator
        self.generator.to(self.of.device)
        self.critic, self.scale = critic, k
        self._amplify()
        self._arrange()

    @torch.no_grad()
    def _amplify(self) -> None:
        """The noise's amplitude at the scale that begins: 1, or in proportion to what reconstruction lacks."""
        x = self.reals[self.scale]
        self.amplitudes.append(0.0)
        if self.scale == 0:
            self.amplitudes[0] = 1.0
            return
        found = self._up_to(self._nothing) if self.frozen else self._make(self._nothing)
        assert found is not None
        self.amplitudes[-1] = self.config.noise * float((found - x).square().mean().sqrt())

    def _arrange(self) -> None:
        """Players and phases of the scale."""
        config, k = self.config, self.scale
        self.generator.train()
        self.critic.train()
        for net in (self.generator, self.critic):
            channels_last(net)
        self.below_rec = self._up_to(self._nothing) if self.frozen else None
        self.below: Tensor | None = None
        self.made: Tensor | None = None
        stale, keeps = config.compat == "official", self.config.one_gradient or config.compat == "official"
        players = {
            "d": Player(self.critic, self._adam([(1.0, [*self.critic.parameters()])]), self._rate),
            "g": Player(self.generator, self._adam(self._groups(), stale), self._rate, stale=stale),
        }
        updates = {"n_updates": config.g_turns} if config.one_gradient else {"repeats": config.g_turns}
        self.loop = Adversarial(
            players,
            [
                Phase("d", self._critics_loss, repeats=config.d_turns, frozen=not keeps),
                Phase("g", self._generators_loss, **updates),
            ],
            self.random,
        )
        self.first_step = k * config.steps

    def _adam(self, groups: list[tuple[float, list[nn.Parameter]]], stale: bool = False) -> torch.optim.Adam:
        rate = self.config.learning_rate
        return torch.optim.Adam(
            [{"params": [p.data for p in some] if stale else some, "lr": rate * share} for share, some in groups],
            lr=rate, betas=(0.5, 0.999),
        )  # fmt: skip

    def _rate(self, i: int) -> float:
        return self.config.last_rate if i - self.first_step >= DECAY * self.config.steps else 1.0

    def _groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The generator's parameters that learn, with their share of the learning rate: younger stages learn faster."""
        net, config = self.generator, self.config
        if isinstance(net, ScaleNet):
            return [(1.0, list(net.parameters()))]
        assert isinstance(net, Grown)
        n = len(net.body)
        age = {id(p): n - 1 - k for k, stage in enumerate(net.body) for p in stage.parameters()}
        age |= {id(p): n - 1 for p in net.head.parameters()} | {id(p): 0 for p in net.tail.parameters()}
        groups: dict[int, list[nn.Parameter]] = {}
        for p in net.parameters():
            p.requires_grad_(age[id(p)] < config.trained_stages)
            if p.requires_grad:
                groups.setdefault(age[id(p)], []).append(p)
        return [(config.rate_per_age**a, some) for a, some in sorted(groups.items())]

    # ---- noise and pictures

    def _z_rec(self) -> Tensor:
        """z*, (1, c, h, w) at the coarsest scale; the exemplar itself where the network grows."""
        x = self.reals[0]
        return x.clone() if self.config.architecture == "grown" else self._noise(0, _size(x))

    def _noise(self, scale: int, size: Size) -> Tensor:
        """White Gaussian noise from the training's stream."""
        n = self.of.noise_channels(scale)
        repeats = scale == 0 and self.config.architecture == "singan"
        z = torch.randn(1, 1 if repeats else n, size.height, size.width, generator=self.random).to(self.of.device)
        return z.expand(1, n, -1, -1)

    def _nothing(self, scale: int, size: Size) -> Tensor:
        """The reconstruction's noise."""
        if scale == 0:
            return self.z_rec
        return torch.zeros(1, self.of.noise_channels(scale), size.height, size.width, device=self.of.device)

    @torch.no_grad()
    def _up_to(self, noise: Callable[[int, Size], Tensor]) -> Tensor | None:
        """What the frozen scales hand to the one that learns; None at the coarsest."""
        k = self.scale
        if k == 0:
            return None
        made = through(self.frozen[:k], self.of.sizes[:k], self.amplitudes, noise, self.of.up)
        return self.of.up(made, self.of.sizes[k])

    def _make(self, noise: Callable[[int, Size], Tensor], below: Tensor | None = None) -> Tensor:
        """A picture at the scale that learns; below is what comes up to it, where scales have networks of their own."""
        k, sizes = self.scale, self.of.sizes
        made: Tensor
        if isinstance(self.generator, Grown):
            made = self.generator(sizes[: k + 1], self.amplitudes, noise)
        else:
            z = self.amplitudes[k] * noise(k, sizes[k])
            below = torch.zeros_like(z) if below is None else below
            made = self.generator(_channels_last(grown(z + below, REACH)), grown(below, REACH))
        return made

    # ---- losses

    def _critics_loss(self, turn: int) -> Terms:
        config, x = self.config, self.reals[self.scale]
        if config.compat == "official" and self.scale == 0 and turn == 0:
            self.z_rec = self._noise(0, self.of.sizes[0])
        self.drawn = {k: self._noise(k, size) for k, size in enumerate(self.of.sizes[: self.scale + 1])}
        self.below = self._up_to(self._again) if self.frozen else None
        keeps = (config.one_gradient or config.compat == "official") and turn == config.d_turns - 1
        with torch.set_grad_enabled(keeps):
            self.made = self._make(self._again, self.below)
        made = self.made.detach()
        mixing = torch.rand(1, 1, 1, 1, generator=self.random).to(x.device)
        penalty = gradient_penalty(self.critic, x, made, mixing, per_pixel=True)
        return {"d": LOSS.d(self.critic(x), self.critic(made)), "penalty": config.penalty * penalty}

    def _generators_loss(self, turn: int) -> Terms:
        config = self.config
        made = self.made
        if not (config.one_gradient or config.compat == "official"):
            made = self._make(self._again, self.below)  # Departure: what the weights of the moment make
        assert made is not None
        terms = {"g": LOSS.g(self.critic(made))}
        if config.alpha:
            lack = (self._make(self._nothing, self.below_rec) - self.reals[self.scale]).square().mean()
            terms["reconstruction"] = config.alpha * lack
        return terms

    def _again(self, scale: int, size: Size) -> Tensor:
        """The noise drawn last."""
        return self.drawn[scale]

    # ---- what texsyn.training asks for

    def step(self, i: int) -> dict[str, float]:
        """The turns of critic and generator at the scale that step i belongs to."""
        k = i // self.config.steps
        if k != self.scale:
            assert k == self.scale + 1, (k, self.scale)
            self._begin(k)
        terms = self.loop.step(i)
        self.made = self.below = None  # a graph is as large as a scale's networks at work
        return {"scale": float(k), **terms}

    def share(self, done: int) -> float:
        """What part of the work is done after so many steps: a step costs as its scale's pixels and channels do."""
        costs = [size.pixels * self.config.width(k) ** 2 + 1e5 for k, size in enumerate(self.of.sizes)]
        k, rest = divmod(done, self.config.steps)
        return (sum(costs[:k]) + sum(costs[k : k + 1]) * rest / self.config.steps) / sum(costs)

    def model(self) -> Singan:
        """The texture model of the scales so far; scales to come only resample."""
        model = self.of
        scales = [copy.deepcopy(net) for net in (*self.frozen, self._settled())]
        return Singan(
            model.exemplar, self.config, str(model.device), scales=scales, amplitudes=self.amplitudes,
            fixed_noise=self.z_rec.contiguous(),
        )  # fmt: skip

    @torch.no_grad()
    def _settled(self) -> nn.Module:
        """The generator, its running statistics measured anew where it has learned for too short to have any."""
        norms = [m for m in self.generator.modules() if isinstance(m, nn.BatchNorm2d)]
        passes = norms[-1].num_batches_tracked if norms else None
        if passes is None or int(passes) >= SETTLED:
            return self.generator
        mine, stream = self.generator, self.random
        try:
            self.generator, self.random = copy.deepcopy(mine), torch.Generator().manual_seed(0)
            for _ in range(SETTLING):
                self._make(self._noise, self._up_to(self._noise) if self.frozen else None)
            return self.generator
        finally:
            self.generator, self.random = mine, stream

    def sample(self) -> Picture:
        """A picture of the moment at the training's size, seed 0."""
        return self.model().shown()

    def state(self) -> dict[str, Tensor]:
        """Everything that a later step depends on."""
        found = {"scale": torch.tensor(self.scale), "z_rec": self.z_rec.contiguous()}
        found["amplitudes"] = torch.tensor(self.amplitudes, dtype=torch.float64)
        for k, net in enumerate(self.frozen):
            found |= under(f"frozen.{k}", net.state_dict())
        return found | under("loop", self.loop.state())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state()."""
        k, config, channels = int(state["scale"]), self.config, self.of.exemplar.channels
        if not 0 <= k < len(self.of.sizes):
            raise ValueError(f"scale {k} is none of {len(self.of.sizes)}")
        if state["z_rec"].shape != self.z_rec.shape:
            raise ValueError(f"z_rec has shape {tuple(state['z_rec'].shape)}, not {tuple(self.z_rec.shape)}")
        self.z_rec = state["z_rec"].to(self.of.device)
        self.amplitudes = state["amplitudes"].tolist()
        self.scale = k
        nets = [net.to(self.of.device) for net in empty_scales(channels, k + 1, config)]
        self.generator = nets.pop()
        self.frozen = [net for net in nets if isinstance(net, ScaleNet)]
        for j, net in enumerate(self.frozen):
            net.load_state_dict(of(f"frozen.{j}", state))
            channels_last(net.eval().requires_grad_(False))
        self.critic = ScaleNet(channels, config.width(k), config, makes=False).to(self.of.device)
        self._arrange()
        self.loop.load_state(of("loop", state))


def _size(x: Tensor) -> Size:
    return Size(*x.shape[2:])


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
