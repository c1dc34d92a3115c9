"""`texsyn import-singan`: a pyramid trained by SinGAN's released code becomes a model file."""

from __future__ import annotations

from pathlib import Path

import click

from texsyn.cli import Misuse
from texsyn.cli.commands import PICTURE_ENDINGS, _talk, load_exemplar, texsyn
from texsyn.cli.talk import Talk
from texsyn.images import check_path


@texsyn.command("import-singan", short_help="Make a MODEL of files that SinGAN's own code trained.")
@click.argument("folder", metavar="FOLDER")
@click.argument("image", metavar="IMAGE|-")
@click.option("-o", "--output", required=True, metavar="MODEL", help="Model file to write, e.g. birds.texsyn.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists; refused otherwise.")
@_talk
def import_singan(
    folder: str, image: str, output: str, overwrite: bool, as_json: bool, quiet: bool, verbose: int
) -> None:
    """Make a MODEL of the FOLDER in which SinGAN's own code left what it trained on IMAGE.

    FOLDER is one such as TrainedModels/birds/scale_factor=0.750000,alpha=10; its 0/netG.pth, 1/netG.pth and so on,
    Zs.pth and NoiseAmp.pth are needed, and reals.pth, if there, has to show IMAGE. They are read as data: nothing in
    them is run. Gs.pth, which could only be run, is not opened.

    \b
    texsyn import-singan TrainedModels/birds/scale_factor=0.750000,alpha=10 \\
        birds.png -o birds.texsyn
    """
    talk = Talk(as_json, quiet, verbose, None)
    if output == "-" or Path(output).suffix.lower() in PICTURE_ENDINGS:
        raise Misuse(f"-o: {output!r} is no name for a model: give a file such as birds.texsyn")
    check_path(output, overwrite=overwrite)
    exemplar = load_exemplar(image, talk)
    from texsyn.gan.singan_files import import_singan as imported

    model = imported(folder, exemplar)
    model.save(output, overwrite=overwrite)
    first, last, n_bytes = str(model.sizes[0]), str(model.sizes[-1]), Path(output).stat().st_size
    talk.result(
        {"output": output, "method": "singan", "scales": len(model.sizes), "coarsest": first, "finest": last,
         "bytes": n_bytes}
    )  # fmt: skip
    talk.say(f"{output}: singan model, {len(model.sizes)} scales from {first} to {last}, {n_bytes / 1e6:.1f} MB")
