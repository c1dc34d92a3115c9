"""How a general image GAN is trained: a configuration and data made into players and phases of the one loop.

In a step the discriminator has `critic_turns` updates, each with new pictures, then the generator one:

    discriminator  loss.d(D(x), D(G(z))) + penalties
    generator      loss.g(D(G(z)))

with the terms of the configuration beside them. A penalty that comes in every k-th step only is a phase of its own, k
times as strong: of the discriminator's slopes, or of the generator's path lengths. With the semi-discrete loss the
discriminator's updates are ascent on the dual potential instead, until its mass error is small. Whatever real pictures
a run has seen follows from how many they were; everything else that is random comes from one stream.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from texsyn.gan import penalties
from texsyn.gan.adaptive import Overfitting, adaptive_augment
from texsyn.gan.architectures import ARCHITECTURES, SEMI_DISCRETE, Architecture, GanConfig, loss_named
from texsyn.gan.augment import augment, chosen
from texsyn.gan.image_model import ImageModel, Source
from texsyn.gan.networks.design import Shown
from texsyn.gan.networks.resampling import blurred
from texsyn.gan.networks.style import StyledGenerator, keys_of
from texsyn.gan.order import Batches
from texsyn.gan.plane_picture import plane_picture
from texsyn.gan.ranks import ALONE, Ranks
from texsyn.gan.training import Adversarial, Phase, Player, Terms, half_life, lazily
from texsyn.images import Picture, Size
from texsyn.models.trained import channels_last
from texsyn.training import of, under

GENERATOR, DISCRIMINATOR = "generator", "discriminator"


class Images(Protocol):
    """The data: n pictures (channels, height, width), with labels where there are classes."""

    n: int
    channels: int
    height: int
    width: int
    classes: tuple[str, ...]

    def batch(self, numbers: Tensor) -> Tensor:
        """Pictures (B, C, H, W), float32 in [-1, 1], of numbers (B,) from 0 to below n."""
        ...

    def labels(self, numbers: Tensor) -> Tensor:
        """Their classes (B,), int64."""
        ...


class ImageGan:
    """A trainee of texsyn.training: one architecture on one set of pictures.

    Raises ValueError where data and configuration do not fit each other.
    """

    def __init__(
        self,
        config: GanConfig,
        data: Images,
        *,
        seed: int,
        device: str = "cpu",
        ranks: Ranks = ALONE,
        about: Source | None = None,
        start: ImageModel | None = None,
    ) -> None:
        """start: a model that kept its discriminator, of the same networks, from whose weights the training begins."""
        require_fit(config, data)
        if config.batch // config.pieces % ranks.n:
            each = f"batch={config.batch} in pieces={config.pieces}"
            raise ValueError(f"{each}: a piece should be a multiple of the {ranks.n} processes")
        self.config, self.data, self.seed, self.ranks = config, data, seed, ranks
        self.device, self.about = torch.device(device), about or Source.of(data)
        self.arch = ARCHITECTURES[config.arch]
        self.random = torch.Generator().manual_seed(seed % 2**63)
        self.generator, self.discriminator = self.arch.build(config, self.random)
        if start is not None:
            self._begin_from(start)
        for layer in self.discriminator.layers_from_picture()[: config.freeze] if config.freeze else ():
            layer.requires_grad_(False)
        self.order = Batches(data.n, seed)
        self.seen = 0  # real pictures drawn so far
        self.dual = None if config.loss != SEMI_DISCRETE else self._dual()
        self.loss = None if self.dual is not None else loss_named(config.loss)
        self.policy = () if config.augment in ("none", "ada") else chosen(config.augment)
        self.ada = None
        if config.augment == "ada":
            self.ada = Overfitting(target=config.ada_target, images=config.ada_images)
        self.means = torch.zeros(2)  # of logits, for lecam
        self.path = torch.zeros(())  # the mean path length
        self.critic: nn.Module = self.discriminator if self.dual is None else self.dual
        for network in (self.generator, self.critic):
            network.to(self.device).train()
            channels_last(network)
        # the compiled ones share their weights with the others, which penalties need: no second derivatives
        self.make = _compiled(self.generator.shown, config)
        self.judge = _compiled(self.critic.forward, config)
        self.loop = Adversarial(self._players(), self._phases(), self.random, ranks)

    # ---- what a trainee is

    def step(self, i: int) -> dict[str, float]:
        """Step i, from 0."""
        self._grow(i)
        terms = self.loop.step(i)
        if isinstance(self.generator, StyledGenerator) and self.ranks.n > 1:
            for t in self.generator.buffers():  # the mean style and magnitudes followed this process's latents
                if t.is_floating_point():
                    t.copy_(self.ranks.all_of(t[None]).mean(0))
        return terms

    def agreed(self, stop: bool) -> bool:
        """What all processes do."""
        return self.ranks.agreed(stop)

    def state(self) -> dict[str, Tensor]:
        """Everything that a later step depends on."""
        found = self.loop.state() | {"seen": torch.tensor(self.seen), "means": self.means, "path": self.path}
        return found | (under("ada", self.ada.state()) if self.ada is not None else {})

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state()."""
        own = ("seen", "means", "path")
        self.loop.load_state({name: t for name, t in state.items() if name not in own})
        self.seen, self.means, self.path = int(state["seen"]), state["means"].clone(), state["path"].clone()
        if self.ada is not None:
            self.ada.load_state(of("ada", state))

    def sample(self) -> Picture:
        """Pictures of the averaged generator, always of the same latents; of points, the plane as it is judged."""
        return self.model().shown() if self.about.kind == "pictures" else self._plane()

    def model(self, *, whole: bool = False) -> ImageModel:
        """The model so far, with the running average of the weights where there is one; whole: and what judged it."""
        generator = copy.deepcopy(self.generator)
        player = self.loop.players[GENERATOR]
        if player.average:
            generator.load_state_dict(player.averaged)
        judging = copy.deepcopy(self.discriminator).requires_grad_(True) if whole else None
        generator.requires_grad_(True)
        model = ImageModel(generator, self.config, self.about, fit_seed=self.seed, discriminator=judging)
        return model.settled()

    # ---- players

    def _players(self) -> dict[str, Player]:
        config = self.config
        rate = (lambda i: max(0.0, 1 - i / config.steps)) if config.decay else (lambda i: 1.0)
        lazy = config.lazy if config.penalty in SLOPES else 1
        made = _optimiser(self.generator.parameters(), config, config.rate, config.path_lazy if self.paths else 1)
        judged = _optimiser(self.critic.parameters(), config, config.critic_rate, lazy)
        clip: Callable[[], None] | None = None
        if config.clip:
            clip = lambda: penalties.clip_weights(self.critic.parameters(), config.clip)  # noqa: E731
        batch = config.batch * config.critic_turns
        average = half_life(config.average, batch, ramp=config.ramp) if config.average else 0.0
        return {
            DISCRIMINATOR: Player(self.critic, judged, rate, after=clip),
            GENERATOR: Player(self.generator, made, rate, average),
        }

    def _phases(self) -> list[Phase]:
        config = self.config
        if self.dual is not None:
            # what is sent to one atom each has an error by its number alone; what is spread over several, hardly any
            least = 0.0 if config.blur else self.dual.counting_error(config.batch * config.ascent // self.ranks.n)
            enough = lambda terms: terms["mass"] <= least + config.mass_error  # noqa: E731
            judging = Phase(DISCRIMINATOR, self._ascend, repeats=config.critic_turns, enough=enough)
            return [judging, Phase(GENERATOR, self._descend)]
        phases = [
            Phase(DISCRIMINATOR, self._judge, repeats=config.critic_turns, pieces=config.pieces),
            Phase(GENERATOR, self._fool, pieces=config.pieces),
        ]
        if config.penalty in SLOPES and config.lazy > 1:
            phases.insert(1, Phase(DISCRIMINATOR, self._lazy, interval=config.lazy, pieces=config.pieces))
        if self.paths:
            phases.append(Phase(GENERATOR, self._paths, interval=config.path_lazy, pieces=config.pieces))
        return phases

    # ---- phases

    def _judge(self, turn: int) -> dict[str, Tensor]:
        """What the discriminator minimises."""
        config = self.config
        with parametrize.cached():
            x, labels = self._real()
            z, wanted = self._latents()
            with torch.no_grad(), self._cast():
                made = self.make(z, wanted, x)
            real, made = self._augmented(self.discriminator.shown(x)), self._augmented(made)
            with self._cast():
                r, told = self._logits(real, labels)
                f, told_made = self._logits(made, wanted)
            assert self.loss is not None
            terms = {"d": self.loss.d(r, f)}
            if told is not None:
                assert told_made is not None
                assert labels is not None
                assert wanted is not None
                both = F.cross_entropy(told, labels) + F.cross_entropy(told_made, wanted)
                terms["d_class"] = config.class_weight * both
            if config.penalty in SLOPES and config.lazy == 1:
                terms[config.penalty] = config.weight * self._slopes(real, made, labels)
            if config.penalty == "lecam":
                kept, self.means = penalties.lecam(r, f, self.means.to(r))
                terms["lecam"] = config.weight * kept
            if config.drift:
                terms["drift"] = config.drift * penalties.drift(r)
            if config.orthogonal:
                terms["d_orthogonal"] = config.orthogonal * penalties.orthogonal(_matrices(self.discriminator))
            if self.ada is not None:
                self.ada.see(self.ranks.all_of(r.detach()))
                terms["p"] = self.ada.p.to(r)  # for the log: without a slope
        return terms

    def _lazy(self, turn: int) -> dict[str, Tensor]:
        """The penalty alone, on pictures of its own, as many times stronger as it is rarer."""
        with parametrize.cached():
            x, labels = self._real()
            z, wanted = self._latents()
            with torch.no_grad():
                made = self._augmented(self.generator.shown(z, wanted, x))
            real = self._augmented(self.discriminator.shown(x))
            weight = self.config.weight * self.config.lazy
            return {self.config.penalty: weight * self._slopes(real, made, labels)}

    def _fool(self, turn: int) -> dict[str, Tensor]:
        """What the generator minimises."""
        config = self.config
        relative = config.loss.startswith("relativistic")
        with parametrize.cached():
            z, wanted = self._latents()
            x, labels = self._real() if relative or self.arch.begins_with_real else (z, None)
            with self._cast():
                f, told = self._logits(self._augmented(self.make(z, wanted, x)), wanted)
                r = self._logits(self._augmented(self.discriminator.shown(x)), labels)[0] if relative else None
            assert self.loss is not None
            terms = {"g": self.loss.g(f, r)}
            if told is not None:
                assert wanted is not None
                terms["g_class"] = config.class_weight * F.cross_entropy(told, wanted)
            if config.orthogonal:
                terms["g_orthogonal"] = config.orthogonal * penalties.orthogonal(_matrices(self.generator))
        return terms

    def _paths(self, turn: int) -> dict[str, Tensor]:
        """The penalty of path lengths, on half a batch, as many times stronger as it is rarer; "path", their mean.

        Each of several processes holds its lengths against a mean that only its own have moved last, by a hundredth.
        """
        generator = self.generator
        assert isinstance(generator, StyledGenerator)
        z, wanted = self._latents(2)
        keys = keys_of(z)
        ws = generator.mixed(generator.styles(z, wanted), keys, wanted)
        whole = torch.randn(len(z) * self.ranks.n, *self._shape, generator=self.random)
        y = self.ranks.part(whole).to(self.device)
        kept, mean = penalties.path_length(lambda at: generator.synthesise(at, keys), ws, y, self.path.to(y))
        self.path = self.ranks.all_of(mean[None]).mean().cpu()
        return {"path_penalty": self.config.path_weight * self.config.path_lazy * kept, "path": self.path.to(kept)}

    def _ascend(self, turn: int) -> Terms:
        """Minus the semi-dual; "mass", a number without a slope, is how far from equal what the atoms receive is."""
        assert self.dual is not None
        with torch.no_grad():
            made = torch.cat([self.make(z, None, z) for z, _ in (self._latents() for _ in range(self.config.ascent))])
        return {"dual": -self.dual.value(made), "mass": self.dual.mass_error(made)}

    def _descend(self, turn: int) -> Terms:
        assert self.dual is not None
        z, wanted = self._latents()
        return {"g": self.dual.critic(self.make(z, wanted, z)).mean()}

    def _slopes(self, real: Shown, made: Shown, labels: Tensor | None) -> Tensor:
        """The penalty of the discriminator's slopes; all are taken for the real one's class."""
        discriminate, (x, u) = _of_one_tensor(lambda shown: self.discriminator(shown, labels), real, made)
        kind = self.config.penalty
        if kind in ("gp", "dragan"):
            mixing = self._uniform(len(x), *[1] * (x.ndim - 1))  # one number a picture
            if kind == "gp":
                return penalties.gradient_penalty(discriminate, x, u, mixing)
            return penalties.dragan(discriminate, x, mixing, self._uniform(*x.shape))
        total = penalties.r1(discriminate, x) if kind != "r2" else penalties.r2(discriminate, u)
        return total + penalties.r2(discriminate, u) if kind == "r1-r2" else total

    # ---- what they draw

    def _real(self) -> tuple[Tensor, Tensor | None]:
        """The next real pictures, with labels where they are wanted."""
        n = self.config.batch // self.config.pieces
        numbers = self.ranks.part(self.order.numbers(self.seen, n))
        self.seen += n
        labels = self.data.labels(numbers).to(self.device) if self.config.conditional else None
        return self.data.batch(numbers).to(self.device), labels

    def _latents(self, share: int = 1) -> tuple[Tensor, Tensor | None]:
        """Latents of a batch, or of one over `share`, and labels as often as the data have them."""
        n = max(self.config.batch // self.config.pieces // share // self.ranks.n, 1) * self.ranks.n
        z = self.ranks.part(self.generator.draw(n, self.random)).to(self.device)
        if not self.config.conditional:
            return z, None
        numbers = self.ranks.part(torch.randint(0, self.data.n, (n,), generator=self.random))
        return z, self.data.labels(numbers).to(self.device)

    def _uniform(self, n: int, *shape: int) -> Tensor:
        """Uniform numbers (n, ...) of this process's part of the batch."""
        return self.ranks.part(torch.rand(n * self.ranks.n, *shape, generator=self.random)).to(self.device)

    def _augmented(self, shown: Shown) -> Shown:
        """Real or made pictures on their way to the discriminator, changed anew each time, and blurred at first."""
        if self.config.judged_blur and self.seen < self.config.judged_blur_images:
            assert isinstance(shown, Tensor)
            shown = blurred(shown, self.config.judged_blur * (1 - self.seen / self.config.judged_blur_images))
        if not self.policy and self.ada is None:
            return shown
        assert isinstance(shown, Tensor)
        key = int(torch.randint(2**62, (), generator=self.random))  # a stream for each process, of the common one
        random = torch.Generator().manual_seed(key + self.ranks.rank)
        return augment(shown, self.policy, random) if self.ada is None else adaptive_augment(shown, self.ada.p, random)

    def _logits(self, shown: Shown, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logits, and those of the classes where the discriminator tells them, needing no labels; in float32."""
        if self.arch.tells_classes:
            logits, told = self.discriminator.classify(shown)
            return logits.float(), told.float()
        return self.judge(shown, labels).float(), None

    @property
    def paths(self) -> bool:
        """Whether path lengths are penalised."""
        return self.config.path_weight > 0

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.config.channels, self.config.height, self.config.width

    def _cast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    # ---- growth, transport, pictures

    def _begin_from(self, start: ImageModel) -> None:
        """Both networks with the weights of a model; ValueError where it has others."""
        if start.discriminator is None:
            raise ValueError("start: the model keeps no discriminator, which training on from it needs")
        for network, given in ((self.generator, start.generator), (self.discriminator, start.discriminator)):
            mine, theirs = ({k: t.shape for k, t in one.state_dict().items()} for one in (network, given))
            if start.config.arch != self.config.arch or mine != theirs:
                raise ValueError(f"start: the networks of that {start.config.arch} are others than those asked for")
            network.load_state_dict(given.state_dict())

    def _grow(self, i: int) -> None:
        """Bring networks that grow to where they are at step i; with each new resolution the optimisers forget."""
        if not self.config.growth:
            return
        growing: Any = self.generator
        before = int(growing.depth)
        depth, alpha = stage(i * self.config.batch * self.config.critic_turns, self.config.growth)
        depth, alpha = (depth, alpha) if depth < growing.depths else (growing.depths - 1, 1.0)
        judging: Any = self.discriminator
        for network in (growing, judging):
            network.at(depth, alpha)
        if depth != before and i > 0:
            for player in self.loop.players.values():
                player.optimiser.state.clear()

    def _dual(self) -> Any:
        from texsyn.gan.dual_critic import DualCritic

        n = min(self.data.n, self.config.max_atoms)
        numbers = self.order.numbers(0, n)
        return DualCritic(self.data.batch(numbers), cost=self.config.cost, epsilon=self.config.blur)

    def _plane(self) -> Picture:
        """Points of the plane: the data's, those made, and the discriminator's field."""
        n = min(self.data.n, N_POINTS)
        real = self.data.batch(torch.linspace(0, self.data.n - 1, n).long())
        made = self.model().many(n, seed=0)
        bounded = self.config.loss in ("saturating", "non-saturating")

        @torch.no_grad()
        def field(points: Tensor) -> Tensor:
            points = points.to(self.device)
            return self.discriminator(points) if self.dual is None else -self.dual.critic(points)

        return Picture(plane_picture(field, real, made, probability=bounded), "RGB")


N_POINTS = 1000  #: of either kind, on a picture of the plane
SLOPES = ("gp", "r1", "r2", "r1-r2", "dragan")  #: penalties of the discriminator's slope


def stage(images: int, growth: int) -> tuple[int, float]:
    """(depth, alpha) after so many images: `growth` of them at each resolution, `growth` to fade in each next one.

    >>> stage(0, 100), stage(99, 100), stage(150, 100), stage(250, 100)
    ((0, 1.0), (0, 1.0), (1, 0.5), (1, 1.0))
    """
    fades, rest = divmod(images + growth, 2 * growth)
    return fades, min(1.0, rest / growth) if fades else 1.0


def require_fit(config: GanConfig, data: Images) -> None:
    """ValueError unless the architecture can learn these pictures as they are."""
    arch = ARCHITECTURES[config.arch]
    mine, theirs = (f"{Size(one.height, one.width)} with channels={one.channels}" for one in (config, data))
    if mine != theirs:
        raise ValueError(f"the settings are for {mine}, and the data are {theirs}")
    kind, n_domains = getattr(data, "kind", "pictures"), getattr(data, "domains", 1)
    if kind == "points" and not arch.points:
        others = _names(lambda one: one.points)
        raise ValueError(f"arch={config.arch!r} is for pictures; points of the plane are learned by {others}")
    if kind == "points" and config.augment != "none":
        raise ValueError(f"augment={config.augment!r} is for pictures; of points of the plane it should be 'none'")
    if arch.n_domains and n_domains != arch.n_domains:
        raise ValueError(f"arch={config.arch!r} needs two domains, DATA+DATA, and these data have {n_domains}")
    if config.n_classes not in (0, len(data.classes)):
        raise ValueError(f"n_classes={config.n_classes} should be 0 or the {len(data.classes)} of the data")
    if arch.labels == "needed" and not config.n_classes:
        have = f"n_classes=0 leaves out their {len(data.classes)} classes" if data.classes else "these have none"
        raise ValueError(f"arch={config.arch!r} needs data with labels, and {have}")
    if arch.labels == "none" and config.n_classes:
        raise ValueError(f"arch={config.arch!r} knows no classes: n_classes={config.n_classes} should be 0")
    if config.loss == SEMI_DISCRETE and (arch.tells_classes or arch.pyramid or config.n_classes):
        raise ValueError(f"loss={SEMI_DISCRETE!r} transports whole pictures without labels, not those of {config.arch}")
    if config.growth and not arch.grows:
        others = _names(lambda one: one.grows)
        raise ValueError(f"growth={config.growth} is for {others}; of arch={config.arch!r} it should be 0")
    if config.path_weight and not arch.styled:
        others = _names(lambda one: one.styled)
        raise ValueError(f"path_weight={config.path_weight} is for {others}; of arch={config.arch!r} it should be 0")
    if config.freeze and not arch.freezes:
        others = _names(lambda one: one.freezes)
        raise ValueError(f"freeze={config.freeze} is for {others}; of arch={config.arch!r} it should be 0")
    if config.judged_blur and (arch.pyramid or arch.grows):
        raise ValueError(f"judged_blur={config.judged_blur} is for one picture at a time, not those of {config.arch}")
    if config.growth and config.loss == SEMI_DISCRETE:
        raise ValueError(f"loss={SEMI_DISCRETE!r} transports pictures of one size: growth={config.growth} should be 0")
    if config.augment != "none" and arch.pyramid:
        raise ValueError(f"augment={config.augment!r}: {config.arch} judges pyramids, which are not augmented")


def _names(wanted: Callable[[Architecture], bool]) -> str:
    return ", ".join(repr(name) for name, arch in ARCHITECTURES.items() if wanted(arch))


def _optimiser(parameters: Any, config: GanConfig, rate: float, lazy: int) -> torch.optim.Optimizer:
    rate, betas = lazily(rate, (config.beta1, config.beta2), lazy)
    weights = [p for p in parameters if p.requires_grad]
    if config.optimiser == "adam":
        return torch.optim.Adam(weights, lr=rate, betas=betas, eps=config.epsilon)
    if config.optimiser == "rmsprop":
        return torch.optim.RMSprop(weights, lr=rate, eps=config.epsilon)
    return torch.optim.SGD(weights, lr=rate, momentum=config.beta1)


def _compiled(f: Callable[..., Any], config: GanConfig) -> Callable[..., Any]:
    return torch.compile(f, dynamic=False) if config.compile else f


def _matrices(network: nn.Module) -> list[Tensor]:
    """The weights that are kept orthogonal: all with two axes or more, but embeddings."""
    tables = {id(p) for m in network.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    return [p for p in network.parameters() if p.ndim > 1 and id(p) not in tables]


def _of_one_tensor(
    discriminate: Callable[[Shown], Tensor], real: Shown, made: Shown
) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, Tensor]]:
    """The discriminator as a function of one tensor, and both kinds of pictures as such: pyramids lie flat in it."""
    if isinstance(real, Tensor) and isinstance(made, Tensor):
        return discriminate, (real, made)
    assert isinstance(real, tuple)
    assert isinstance(made, tuple)
    shapes = [level.shape[1:] for level in real]

    def unpacked(flat: Tensor) -> tuple[Tensor, ...]:
        parts = flat.split([shape.numel() for shape in shapes], dim=1)
        return tuple(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))

    x, u = (torch.cat([level.flatten(1) for level in shown], 1) for shown in (real, made))
    return lambda flat: discriminate(unpacked(flat)), (x, u)
