"""From a name of data and a name of an architecture to a trained image GAN: what the command line and Python call.

>>> import texsyn
>>> model = texsyn.train_gan("digits", "dcgan", loss="r1", steps=2, seed=0)
>>> model.sample(3, seed=7).shape
torch.Size([3, 1, 8, 8])
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from texsyn.datasets import Dataset, open_dataset
from texsyn.gan.architectures import ARCHITECTURES, GanConfig, configure
from texsyn.gan.image_model import ImageModel, load_image_model
from texsyn.gan.image_training import SLOPES, ImageGan
from texsyn.gan.plane_picture import coverage
from texsyn.gan.ranks import ALONE, Ranks
from texsyn.metrics.pixel_frechet import pixel_frechet
from texsyn.models.base import Cancel, Cancelled, OnProgress, Watch
from texsyn.training import Run, train

#: settings of the networks that no builder's options name
NETWORK = ("channels", "height", "width", "latent", "features", "max_features")
SPARE, LIBRARIES = 2, 100 * 2**20  # what steps take beyond their values; torch's own code and buffers, in bytes
SCORED = 2000  # pictures of either kind that a score while training compares, at most


def train_gan(
    data: str | Dataset,
    arch: str = "dcgan",
    *,
    loss: str | None = None,
    recipe: str = "tiny",
    preset: str | None = None,
    start: ImageModel | str | Path | None = None,
    labels: bool | None = None,
    resolution: int | tuple[int, int] | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    folder: str | Path | None = None,
    resume: bool = False,
    metrics: Sequence[str] = ("pixels",),
    keep_discriminator: bool = False,
    on_progress: OnProgress | None = None,
    cancel: Cancel | None = None,
    **settings: Any,
) -> ImageModel:
    """A GAN of that architecture, trained on the data; pictures of it come from its sample().

    data: a Dataset, or what texsyn.datasets.open_dataset takes, such as "digits" or a folder. loss: a name of
    texsyn.gan.architectures.OBJECTIVES, the architecture's own where not given. preset: a name of
    texsyn.gan.presets.PRESETS. start: a model, or its file, whose networks learn on; it must have kept its
    discriminator. labels: by class or not; where not given, as the architecture's paper does. resolution: side, or
    (height, width), that pictures are brought to. steps: updates of the generator. settings: any of GanConfig. folder:
    keeps a log, samples and a checkpoint, from which resume goes on. metrics: what samples there are scored by (see
    scores_of). keep_discriminator: the model keeps it. Raises ValueError, InputError, OutputExists,
    FloatingPointError, or Cancelled.
    """
    begun = load_image_model(start, device=device) if isinstance(start, str | Path) else start
    if isinstance(data, str):
        channels = None if begun is None else begun.config.channels
        resolution = resolution or (None if begun is None else (begun.config.height, begun.config.width))
        data = open_dataset(data, resolution=resolution, channels=channels, enlarge=resolution is not None)
    config = config_for(
        data, arch, loss=loss, recipe=recipe, preset=preset, start=begun, labels=labels, settings=settings, steps=steps
    )
    trainee = ImageGan(config, data, seed=seed, device=device, start=begun)
    run = None
    if folder is not None:
        scores, fingerprint = scores_of(data, metrics), None if begun is None else begun.fingerprint
        run = run_of(trainee, Path(folder), resume=resume, scores=scores, start=fingerprint)
    outcome = train(trainee, config.steps, run=run, max_minutes=config.max_minutes, watch=Watch(on_progress, cancel))
    if outcome.cancelled:
        raise Cancelled(outcome.sentence)
    model = trainee.model(whole=keep_discriminator)
    model.steps = outcome.steps
    return model


def config_for(
    data: Dataset,
    arch: str,
    *,
    loss: str | None = None,
    recipe: str = "tiny",
    preset: str | None = None,
    start: ImageModel | None = None,
    labels: bool | None = None,
    settings: Mapping[str, Any] | None = None,
    steps: int | None = None,
) -> GanConfig:
    """The configuration of an architecture for data, with the networks of `start` if that is given.

    Raises ValueError, with what is known.
    """
    if start is not None:
        if labels is not None:
            raise ValueError("labels: whether pictures are by class is the starting model's, leave it out")
        arch = start.config.arch
        networks = {name: getattr(start.config, name) for name in (*NETWORK, *ARCHITECTURES[arch].options)}
        networks["n_classes"] = start.config.n_classes
        networks |= {"growth": 0, "ada_images": 100_000}  # it has grown, and augmentation has only to be found again
        labels = start.config.n_classes > 0
        settings = networks | dict(settings or {})
    if labels and not data.classes:
        raise ValueError(f"labels: {data.name} has no classes")
    known = ARCHITECTURES.get(arch)
    by_class = known is not None and known.by_class if labels is None else labels
    shape = {"channels": data.channels, "height": data.height, "width": data.width}
    shape |= {"n_classes": len(data.classes) if by_class and len(data.classes) > 1 else 0}
    given = shape | dict(settings or {})
    return with_steps(configure(arch, objective=loss, recipe=recipe, preset=preset, settings=given), steps)


def with_steps(config: GanConfig, steps: int | None) -> GanConfig:
    """The configuration with so many updates of the generator; None leaves it."""
    return config if steps is None else dataclasses.replace(config, images=steps * config.batch * config.critic_turns)


def run_of(
    trainee: ImageGan,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    save_every: int = 250,
    sample_every: int = 500,
    scores: Callable[[Any, int], Mapping[str, float]] | None = None,
    start: str | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Where a trainee's files go, and what its config.json says; start: the fingerprint of what it began from."""
    config, data = trainee.config, trainee.data
    free = ("max_minutes",) if config.decay else ("max_minutes", "images")  # rates that fall look at the whole
    about = {
        "arch": config.arch,
        "seed": trainee.seed,
        "data": {"name": trainee.about.name, "sha256": trainee.about.fingerprint, "n": data.n},
        "config": {name: value for name, value in dataclasses.asdict(config).items() if name not in free},
    }
    if start is not None:
        about["start"] = start
    return Run(
        folder, about, resume=resume, overwrite=overwrite, save_every=save_every, sample_every=sample_every,
        scores=scores, writes=ranks.first,
    )  # fmt: skip


METRICS = ("pixels", "fid", "kid")


def scores_of(
    data: Dataset,
    metrics: Sequence[str] = ("pixels",),
    *,
    n: int = SCORED,
    weights: str | Path | None = None,
    device: str = "cpu",
) -> Callable[[Any, int], dict[str, float]]:
    """A function that scores a trainee's pictures against the data's, its points by the modes they reach.

    metrics: "pixels", the Frechet distance of small pixels, which needs no weights; "fid" and "kid" of n pictures of
    either kind, with the weights of FID's Inception network from the cache or `weights`. Those depend on n; published
    numbers are of 50,000 made ones and all real ones. ValueError for others; InputError where weights are missing.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(f"metrics={','.join(unknown) or 'none'}: accepted are {', '.join(METRICS)}")
    n = min(data.n, n)
    real = data.batch(torch.linspace(0, data.n - 1, n).long())
    by_vectors = [name for name in metrics if name != "pixels"]
    if by_vectors and (data.kind != "pictures" or data.channels not in (1, 3)):
        raise ValueError(f"metrics={','.join(by_vectors)}: are for pictures of 1 or 3 channels, not {data.name}")
    monitor = None
    if by_vectors:
        from texsyn.metrics.monitor import Monitor

        monitor = Monitor(real / 2 + 0.5, by_vectors, n=n, weights=weights, device=device)

    def scores(trainee: Any, step: int) -> dict[str, float]:
        if data.kind == "points":
            if data.modes is None or data.sigma is None:
                return {}
            modes, good = coverage(trainee.model().many(n, seed=0), data.modes, 3 * data.sigma)
            return {"modes": modes, "good": round(good, 4)}
        made = trainee.model().many(n, seed=0)
        found = {"pixel_frechet": pixel_frechet(real / 2 + 0.5, made)} if "pixels" in metrics else {}
        record = None if monitor is None else monitor(lambda n, seed: made, step)
        found |= {} if record is None else record["scores"]
        return {name: round(value, 6) for name, value in found.items()}

    return scores


def training_bytes(trainee: ImageGan) -> int:
    """Memory that steps take at their peak beyond what the process weighs, about, from what two pictures leave behind.

    Weights, gradients, two moments of Adam and the average; values that the widest phase keeps for its gradient: the
    discriminator's of real and made pictures, or of both networks, and twice those for a penalty of the slope. SPARE
    times that, since convolutions keep copies of their own; measured peaks at 64x64 pixels were 0.7 to 1.3 of it.
    """
    config, sizes = trainee.config, {"generator": 0, "discriminator": 0}
    networks: dict[str, Any] = {"generator": trainee.generator, "discriminator": trainee.discriminator}

    def counting(name: str) -> Callable[[Any, Any, Any], None]:
        def count(module: Any, args: Any, out: Any) -> None:
            sizes[name] += out.numel() * out.element_size() if isinstance(out, torch.Tensor) else 0

        return count

    modes = {name: network.training for name, network in networks.items()}
    hooks = [m.register_forward_hook(counting(name)) for name, network in networks.items() for m in network.modules()]
    try:
        with torch.no_grad():
            for network in networks.values():
                network.eval()
            z = trainee.generator.draw(2, torch.Generator().manual_seed(0)).to(trainee.device)
            labels = torch.zeros(2, dtype=torch.int64, device=trainee.device) if config.conditional else None
            x = trainee.data.batch(torch.zeros(2, dtype=torch.int64)).to(trainee.device)
            trainee.discriminator(trainee.generator.shown(z, labels, x), labels)
    finally:
        for hook in hooks:
            hook.remove()
        for name, network in networks.items():
            network.train(modes[name])
    n = config.batch / config.pieces / trainee.ranks.n / 2
    judging = sizes["discriminator"] * (4 if config.penalty in SLOPES else 2)
    if config.path_weight:  # half a batch, with the graph of its slope
        sizes["generator"] *= 2
    fooling = sizes["generator"] + sizes["discriminator"] * (2 if config.loss.startswith("relativistic") else 1)
    weights = sum(p.numel() for network in networks.values() for p in network.parameters())
    return round(SPARE * (n * max(judging, fooling) + 4 * 5 * weights)) + LIBRARIES
