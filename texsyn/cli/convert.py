"""`texsyn convert`: StyleGANs of others become model files, and ours get the names of others."""

from __future__ import annotations

from pathlib import Path

import click

from texsyn.cli import Misuse
from texsyn.cli.commands import PICTURE_ENDINGS, _talk, texsyn
from texsyn.cli.files import require_file
from texsyn.cli.talk import Talk
from texsyn.images import check_path


@texsyn.command(short_help="Make a MODEL of published weights of StyleGAN2 or StyleGAN3.")
@click.argument("input_file", metavar="INPUT")
@click.option("-o", "--output", required=True, metavar="OUT", help="File to write, e.g. ffhq.texsyn.")
@click.option(
    "--network", type=click.Choice(["G_ema", "G"]), default="G_ema", show_default=True,
    help="Which generator: the running average, or the one that was trained.",
)  # fmt: skip
@click.option("--with-d", is_flag=True, help="Keep the discriminator too, for training that goes on from here.")
@click.option(
    "--to", "layout", type=click.Choice(["texsyn", "official", "rosinality"]), default="texsyn", show_default=True,
    help="What to write: a MODEL; or, of a MODEL, a safetensors file with the tensors under the names of others.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@_talk
def convert(
    input_file: str,
    output: str,
    network: str,
    with_d: bool,
    layout: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Make a MODEL of INPUT: weights of StyleGAN2 or StyleGAN3 that others published.

    INPUT is a network pickle (.pkl) of the official PyTorch code of StyleGAN2-ADA or StyleGAN3, a .pt file in
    rosinality's layout, or a state dict under the names of either. It is read as data: nothing in it is run. The other
    way round, --to official and --to rosinality write a MODEL's tensors under their names.

    Exit codes: 2 for a wrong option or an output that exists, 3 for an INPUT that is none of these.

    \b
    texsyn convert ffhq.pkl -o ffhq.texsyn
    texsyn sample ffhq.texsyn -n 4 --truncation 0.7
    texsyn convert ffhq.texsyn --to official -o ffhq.safetensors
    """
    talk = Talk(as_json, quiet, verbose, None)
    if output in ("", "-") or Path(output).suffix.lower() in PICTURE_ENDINGS:
        raise Misuse(f"-o: {output!r} is no name for weights: give a file such as ffhq.texsyn")
    if layout != "texsyn" and network != "G_ema":
        raise Misuse("--network: a MODEL has one generator; leave it out with --to")
    check_path(output, overwrite=overwrite)
    require_file(input_file)
    if layout == "texsyn":
        from texsyn.gan.convert.models import convert as converted

        model = converted(input_file, network=network, with_discriminator=with_d)
        model.save(output, overwrite=overwrite)
    else:
        from texsyn.gan.convert.models import save_renamed
        from texsyn.gan.image_model import load_image_model

        model = load_image_model(input_file)
        if with_d and model.discriminator is None:
            raise Misuse(f"--with-d: {input_file} keeps no discriminator")
        if not with_d:
            model.discriminator = None
        save_renamed(model, layout, output, overwrite=overwrite)
    config, n_bytes = model.config, Path(output).stat().st_size
    made = sum(p.numel() for p in model.generator.parameters())
    judged = None if model.discriminator is None else sum(p.numel() for p in model.discriminator.parameters())
    talk.result(
        {"output": output, "arch": config.arch, "layout": layout, "width": config.width, "height": config.height,
         "channels": config.channels, "classes": config.n_classes, "parameters": made, "discriminator": judged,
         "bytes": n_bytes}
    )  # fmt: skip
    if layout == "rosinality" and config.clamp:
        talk.say(f"{output}: the model is clamped at {config.clamp:g}, which networks of that layout are not")
    kept = "" if judged is None else f", its discriminator {judged:,}"
    classes = f", {config.n_classes} classes" if config.n_classes else ""
    talk.say(
        f"{output}: {config.arch} of {config.width}x{config.height} with {config.channels} channels{classes}, "
        f"{made:,} parameters{kept}, {n_bytes / 1e6:.1f} MB"
    )
