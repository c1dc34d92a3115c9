"""GANs of many pictures on the command line: `texsyn train DATA --arch`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from texsyn.cli import Misuse, Stopped, printable
from texsyn.cli.commands import _parse_settings, _with
from texsyn.cli.files import checked
from texsyn.cli.talk import Talk
from texsyn.images import InputError, check_path

if TYPE_CHECKING:
    from texsyn.datasets import Dataset
    from texsyn.gan.architectures import GanConfig
    from texsyn.gan.image_model import ImageModel

_of_data = _with(
    click.option(
        "--arch", metavar="NAME",
        help="Train this GAN on the pictures of DATA; --list names them.  [default: dcgan; of points mlp]",
    ),
    click.option(
        "--preset", metavar="NAME", help="Numbers that StyleGANs were published with, e.g. auto; they say --arch too."
    ),
    click.option(
        "--from", "start", metavar="MODEL",
        help="Train the networks of this MODEL on; it must have been kept --with-d. Its sizes are those of the run.",
    ),
    click.option("--with-d", is_flag=True, help="Keep the discriminator in the MODEL file, for a later --from."),
    click.option(
        "--metric", metavar="NAMES", default="pixels", show_default=True,
        help="What samples in a --folder are scored by: pixels, fid or kid, or several with commas; fid and kid need "
        "FID's Inception weights.",
    ),
    click.option(
        "--scored", type=click.IntRange(2, 10**6), metavar="N", default=2000, show_default=True,
        help="Pictures of either kind that --metric compares.",
    ),
    click.option("--weights", metavar="PATH", help="FID's Inception weights.  [default: those in the cache]"),
    click.option("--loss", metavar="NAME", help="What it minimises, with the penalty and optimiser that belong to it."),
    click.option(
        "--resolution", metavar="N|WxH", help="Side that the pictures are brought to.  [default: as they are]"
    ),
    click.option(
        "--channels", type=click.IntRange(1, 16), metavar="N", help="Channels of the pictures.  [default: as they are]"
    ),
    click.option(
        "--labels/--no-labels", default=None,
        help="Learn pictures by class, where DATA has classes.  [default: as the architecture's paper]",
    ),
    click.option("--mirror", is_flag=True, help="Learn the mirror images too."),
    click.option(
        "--augment", metavar="POLICY", help="For small DATA: color,translation,cutout or some of them, or ada."
    ),
    click.option("--list", "lists", is_flag=True, help="List architectures, losses, recipes and kinds of DATA."),
)  # fmt: skip


def print_list() -> None:
    """What can be trained, in words."""
    from texsyn.cli.train import TRAINED
    from texsyn.datasets import describe
    from texsyn.gan.architectures import ARCHITECTURES, OBJECTIVES, RECIPES
    from texsyn.gan.presets import PRESETS

    click.echo("--arch, on many pictures:")
    for name, arch in ARCHITECTURES.items():
        click.echo(f"  {name:<14}{arch.about}")
    click.echo("--loss:")
    names = list(OBJECTIVES)
    for i in range(0, len(names), 4):
        click.echo(f"  {', '.join(names[i : i + 4])}{',' if i + 4 < len(names) else ''}")
    click.echo("--preset:")
    for name, preset in PRESETS.items():
        click.echo(f"  {name:<14}{preset.arch}: {preset.about}")
    click.echo(
        f"--recipe: {', '.join(RECIPES)} (tiny, the default, is for minutes on a CPU; paper has the published numbers)"
    )
    click.echo("DATA:")
    for line in describe().splitlines():
        click.echo(f"  {line}")
    click.echo(f"--method, on one IMAGE: {', '.join(TRAINED)}")


def learns_data(images: tuple[str, ...], maps: tuple[str, ...], method: str | None, of_data: dict[str, Any]) -> bool:
    """Whether a command line of `texsyn train` is about many pictures; Misuse where it is about both."""
    given = ("arch", "preset", "start", "weights", "loss", "resolution", "channels", "augment", "labels")
    asked = ["from" if name == "start" else name for name in given if of_data[name] is not None]
    asked += [name for name in ("mirror", "with_d") if of_data[name]]
    is_set = len(images) == 1 and _names_a_set(images[0])
    if not asked and not is_set:
        return False
    if method is not None or maps:
        other = f"--method {method}" if method is not None else "--maps"
        asked = [name.replace("_", "-") for name in asked]
        raise Misuse(f"{other}: is for one IMAGE; {f'--{asked[0]}' if asked else images[0]} is for many pictures")
    if len(images) != 1:
        raise Misuse(
            f"DATA: give one folder, zip file or name, not {len(images)}; `texsyn train --list` shows the names"
        )
    return True


def _names_a_set(source: str) -> bool:
    from texsyn.datasets import is_dataset

    return is_dataset(source)


def train_on_data(
    source: str,
    talk: Talk,
    *,
    output: str,
    overwrite: bool,
    recipe: str | None,
    steps: int | None,
    max_minutes: float | None,
    folder: str | None,
    save_every: int,
    sample_every: int,
    scores: bool,
    resume: bool,
    seed: int | None,
    settings: tuple[str, ...],
    device: str,
    arch: str | None,
    preset: str | None,
    start: str | None,
    with_d: bool,
    metric: str,
    scored: int,
    weights: str | None,
    loss: str | None,
    resolution: str | None,
    channels: int | None,
    labels: bool | None,
    mirror: bool,
    augment: str | None,
    lists: bool,
) -> None:
    """Train an image GAN, with or without a folder for the run."""
    from texsyn.cli.train import Report, _asked_to_stop, in_our_words, require_free, save_or_keep, tell_outcome
    from texsyn.datasets import open_dataset
    from texsyn.gan.image_model import load_image_model
    from texsyn.gan.image_training import ImageGan
    from texsyn.gan.ranks import join, leave
    from texsyn.generation import run_of, scores_of, training_bytes, with_steps
    from texsyn.models.base import Watch
    from texsyn.synthesis import fresh_seed, resolve_device
    from texsyn.training import read_config
    from texsyn.training import train as train_steps

    check_path(output, overwrite=overwrite)
    begun = None
    if start is not None:
        from texsyn.cli.files import require_file

        require_file(start)
        begun = load_image_model(start)
        if begun.discriminator is None:
            raise InputError(f"{start}: keeps no discriminator, which training on needs; train or convert it --with-d")
    size = _resolution(resolution)
    if begun is not None:
        size, channels = size or (begun.config.height, begun.config.width), channels or begun.config.channels
    data = checked(
        "DATA", open_dataset, source, resolution=size, channels=channels, mirror=mirror, enlarge=size is not None
    )
    given = _parse_settings(settings)
    given |= {} if max_minutes is None else {"max_minutes": max_minutes}
    given |= {} if augment is None else {"augment": augment}
    before = read_config(Path(str(folder))) if resume else None
    if before is not None and "arch" not in before["config"]:
        raise InputError(f"{folder}: holds a run on one picture, not of an architecture")
    config = _config(before, arch, preset, begun, loss, recipe, data, labels, given)
    config = with_steps(config, steps)
    ranks = checked("torchrun", join)
    if ranks.n > 1 and before is None and seed is None:
        raise Misuse("--seed: several processes need the same one, give it")
    if seed is None:
        seed = before["seed"] if before is not None else fresh_seed()
    where = checked("--device", resolve_device, device)
    with in_our_words(config.arch):
        trainee = checked("--arch", ImageGan, config, data, seed=seed, device=where, ranks=ranks, start=begun)
    what = f"training {config.arch} with batch={config.batch}"
    less = "--set pieces=4, a smaller batch or another --resolution needs less"
    need = require_free(training_bytes(trainee), where, what, less)
    run = None
    if folder is not None:
        judge = None
        if scores:
            judge = checked("--metric", scores_of, data, metric.split(","), n=scored, weights=weights, device=where)
        run = run_of(
            trainee, Path(folder), resume=resume, overwrite=overwrite, save_every=save_every,
            sample_every=sample_every, scores=judge, start=_begun(begun, before), ranks=ranks,
        )  # fmt: skip
    limit = f" or {config.max_minutes:g} minutes" if config.max_minutes else ""
    if ranks.first:
        classes = f", {config.n_classes} classes" if config.n_classes else ""
        talk.say(
            f"{config.arch}: {config.steps} steps{limit} of {config.batch} pictures on {where}, {data.n} of "
            f"{data.width}x{data.height} with {data.channels} channels{classes}, {need}"
        )
    began = time.monotonic()
    with talk.line, _asked_to_stop() as stop, in_our_words(config.arch):
        report = Report(talk, "--max-minutes ends it earlier with what is learned by then" if where == "cpu" else None)
        watch = Watch(report if ranks.first else None, stop)
        outcome = train_steps(trainee, config.steps, run=run, max_minutes=config.max_minutes, watch=watch)
        leave(ranks)
        if not ranks.first:
            return
        model = trainee.model(whole=with_d)
        model.steps = outcome.steps
        save_or_keep(model, output, overwrite=overwrite)
    tell_outcome(talk, output, {"arch": config.arch}, seed, outcome, time.monotonic() - began)
    if stop.signum is not None:
        raise Stopped(stop.signum)


def _begun(start: ImageModel | None, before: dict[str, Any] | None) -> str | None:
    """What a run says it began from."""
    return start.fingerprint if start is not None else (before or {}).get("start")


def _config(
    before: dict[str, Any] | None,
    arch: str | None,
    preset: str | None,
    start: ImageModel | None,
    loss: str | None,
    recipe: str | None,
    data: Dataset,
    labels: bool | None,
    given: dict[str, Any],
) -> GanConfig:
    """The configuration of a run, of the one in a folder where that goes on."""
    from texsyn.gan.architectures import ARCHITECTURES, OBJECTIVES, RECIPES
    from texsyn.gan.presets import PRESETS
    from texsyn.generation import config_for

    if before is not None and (arch, preset, start, loss, recipe, labels) == (None,) * 6:
        return _config_before(before["config"] | given, data)
    if before is not None:  # the same command again: what differs, reading the checkpoint will say
        arch, recipe = arch or before["config"]["arch"], recipe or before["config"].get("recipe")
    if preset is not None:
        if preset not in PRESETS:
            raise Misuse(f"--preset: {preset!r} is not one of {', '.join(PRESETS)}")
        if arch not in (None, PRESETS[preset].arch):
            raise Misuse(f"--preset: {preset} is for --arch {PRESETS[preset].arch}, not {arch}")
        arch, recipe = PRESETS[preset].arch, recipe or "paper"
    if start is not None and arch not in (None, start.config.arch):
        raise Misuse(f"--from: holds a {start.config.arch}, which --arch {arch} is not")
    arch = start.config.arch if start is not None else arch
    arch = ("mlp" if data.kind == "points" else "dcgan") if arch is None else arch
    if arch not in ARCHITECTURES:
        raise Misuse(f"--arch: {arch!r} is not one of {', '.join(ARCHITECTURES)}")
    if loss is not None and loss not in OBJECTIVES:
        raise Misuse(f"--loss: {loss!r} is not one of {', '.join(OBJECTIVES)}")
    if recipe is not None and recipe not in RECIPES:
        raise Misuse(f"--recipe: {recipe!r} is not one of {', '.join(RECIPES)}")
    if labels and not data.classes:
        raise Misuse(f"--labels: {data.name} has no classes")
    made: GanConfig = checked(
        "--set", config_for, data, arch, loss=loss, recipe=recipe or "tiny", preset=preset, start=start, labels=labels,
        settings=given,
    )  # fmt: skip
    return made


def _config_before(found: dict[str, Any], data: Dataset) -> GanConfig:
    """The configuration in a run's folder; how long it was to be is the recipe's, as it is not what a run is about."""
    from texsyn.gan.architectures import GanConfig, configure
    from texsyn.models.base import make_config

    shape = {"channels": data.channels, "height": data.height, "width": data.width}
    usual: GanConfig = checked("--resume", configure, found["arch"], recipe=found.get("recipe", "tiny"), settings=shape)
    config: GanConfig = checked("--set", make_config, GanConfig, {"images": usual.images} | found)
    return config


def _resolution(text: str | None) -> tuple[int, int] | None:
    """(height, width) of N or WxH."""
    if text is None:
        return None
    width, mark, height = text.lower().partition("x")
    sides = [height if mark else width, width]
    if not all(side.isdecimal() and len(side) < 7 and int(side) for side in sides):
        raise Misuse(
            f"--resolution: {printable(text)!r} is not understood: give a side such as 32, or WxH such as 64x48"
        )
    return int(sides[0]), int(sides[1])
