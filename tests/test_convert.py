"""Weights that others publish: they compute what they did, go back as they came, and their files are only read."""

from __future__ import annotations

import json
import math
import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import alias_free_reference
import numpy as np
import pytest
import torch
from published import (
    Official,
    Persistent,
    Sizes,
    State,
    flat,
    generated,
    judged,
    mapped,
    modules,
    official,
    official_names,
    random_alias_free,
    random_discriminator,
    random_generator,
    renamed_to_rosinality,
    rosinality_file,
)
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from texsyn.cli import main
from texsyn.gan.convert import stylegan2 as names2
from texsyn.gan.convert import stylegan3 as names3
from texsyn.gan.convert.models import MEAN_OF, convert, renamed, save_renamed
from texsyn.gan.convert.pickles import read_networks
from texsyn.gan.convert.sources import read_found
from texsyn.gan.convert.stylegan2 import Made
from texsyn.gan.image_model import ImageModel, load_image_model
from texsyn.gan.networks.design import Design
from texsyn.gan.networks.style import StyledGenerator
from texsyn.gan.networks.stylegan2 import stylegan2
from texsyn.gan.networks.stylegan3 import stylegan3
from texsyn.images import InputError
from texsyn.state_dicts import LEGACY_MAGIC

SMALL = Sizes(widths=(12, 8, 4), latent=10, layers=2)  # 16 pixels


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def double(state: State) -> State:
    return {name: t.double() for name, t in state.items()}


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def relative(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def pictures_of(model: ImageModel, z: Tensor, labels: Tensor | None, psi: float, cutoff: int) -> Tensor:
    generator = model.generator.double()
    assert isinstance(generator, StyledGenerator)
    with torch.no_grad():
        return generator.synthesise(generator.styles(z, labels, psi=psi, cutoff=cutoff))


# ---- they compute what they did


@pytest.mark.parametrize("clamp", [None, 0.9])
@pytest.mark.parametrize("classes", [0, 3])
def test_a_pickled_stylegan2_makes_and_judges_the_same(tmp_path: Path, classes: int, clamp: float | None) -> None:
    before = torch.get_rng_state()
    sizes = Sizes(classes=classes, clamp=clamp, group=3)
    file = official(sizes)
    model = convert(written(tmp_path / "it.pkl", file.bytes()), with_discriminator=True)
    assert (model.config.clamp, model.config.group, model.config.residual) == (clamp or 0, 3, True)
    assert (model.config.latent, model.config.mapping_layers, model.config.n_classes) == (24, 8, classes)
    z, labels = torch.randn(6, 24, generator=stream(), dtype=torch.float64), torch.arange(6) % 3 if classes else None
    wanted = generated(double(flat(file.content["G_ema"])), z, labels, 0.7, 4, clamp)
    assert relative(pictures_of(model, z, labels, 0.7, 4), wanted) < 1e-6  # demodulation adds 1e-8 elsewhere
    assert model.discriminator is not None
    with torch.no_grad():
        logits = model.discriminator.double()(wanted, labels)
    assert relative(logits, judged(double(flat(file.content["D"])), wanted, labels, 3, clamp)) < 1e-9
    assert torch.equal(before, torch.get_rng_state())


def test_single_precision_is_as_near_as_it_can_be(tmp_path: Path) -> None:
    file = official(Sizes())
    model = convert(written(tmp_path / "it.pkl", file.bytes()))
    z = torch.randn(4, 24, generator=stream())
    wanted = generated(double(flat(file.content["G_ema"])), z.double(), None, 1.0, 0, None)
    with torch.no_grad():
        assert relative(model.generator(z).double(), wanted) < 1e-5


@pytest.mark.parametrize(("group", "residual"), [(None, False), (32, True)])
def test_other_discriminators(tmp_path: Path, group: int | None, residual: bool) -> None:
    """Without skips, as for CIFAR-10; and the deviation of a whole batch."""
    file = official(replace(SMALL, group=group, residual=residual))
    model = convert(written(tmp_path / "it.pkl", file.bytes()), with_discriminator=True)
    assert model.config.residual == residual
    x = torch.randn(6, 3, 16, 16, generator=stream(), dtype=torch.float64)
    assert model.discriminator is not None
    with torch.no_grad():
        logits = model.discriminator.double()(x)
    assert relative(logits, judged(double(flat(file.content["D"])), x, None, group)) < 1e-9


def test_the_trained_generator_or_its_average(tmp_path: Path) -> None:
    file = official(SMALL)
    path = written(tmp_path / "it.pkl", file.bytes())
    for network in ("G_ema", "G"):
        found = convert(path, network=network).generator.state_dict()["start"]
        assert torch.equal(found, flat(file.content[network])["synthesis.b4.const"])
    with pytest.raises(ValueError, match="network='g' is not one of G_ema, G"):
        convert(path, network="g")


@pytest.mark.parametrize(("rotation", "classes"), [(True, 0), (False, 3)])
def test_a_pickled_stylegan3_makes_the_same(tmp_path: Path, rotation: bool, classes: int) -> None:
    before = torch.get_rng_state()
    state = random_alias_free(rotation=rotation, classes=classes)
    model = convert(written(tmp_path / "it.pkl", Official({"G_ema": modules(state, "Generator")}).bytes()))
    assert (model.config.arch, model.config.rotation, model.config.n_classes) == ("stylegan3", rotation, classes)
    assert (model.config.features, model.config.max_features) == (4, 8)
    z, labels = torch.randn(1, 12, generator=stream(), dtype=torch.float64), torch.tensor([2]) if classes else None
    double_state = double(state)
    w = mapped(double_state, z, labels)
    w = double_state["mapping.w_avg"] + 0.7 * (w - double_state["mapping.w_avg"])
    wanted = alias_free_reference.picture(double_state, w[:, None].expand(-1, 16, -1), 32)
    assert relative(pictures_of(model, z, labels, 0.7, 16), wanted) < 1e-6  # filters are kept in single precision
    assert torch.equal(before, torch.get_rng_state())


# ---- files in their variants


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(tmp_path: Path, protocol: int) -> None:
    file = official(SMALL)
    model = convert(written(tmp_path / "it.pkl", file.bytes(protocol)), with_discriminator=True)
    state, names = flat(file.content["G_ema"]), names2.generator_names(Made(3, 2))
    for name, t in model.generator.state_dict().items():
        assert torch.equal(t, state[names[name]]), name


def test_what_a_pickle_says_beside_its_tensors(tmp_path: Path) -> None:
    path = written(tmp_path / "it.pkl", official(SMALL).bytes())
    found = read_networks(path, ("G", "D"))
    assert list(found) == ["G", "D"]
    assert (found["D"].kind, found["D"].options) == ("Discriminator", {"img_resolution": 16})
    assert found["D"].attributes["b4.mbstd"]["group_size"] == 4
    assert found["G"].attributes["synthesis.b8.conv0"]["training"] is True
    assert list(found["G"].tensors) == list(flat(official(SMALL).content["G"]))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("native", [True, False])
def test_rosinalitys_layout_makes_and_judges_the_same(tmp_path: Path, native: bool, zipped: bool) -> None:
    sizes = Sizes()
    g, d = random_generator(sizes), random_discriminator(sizes)
    path = rosinality_file(tmp_path / "550000.pt", g, d, native=native, zipped=zipped)
    model = convert(path, with_discriminator=native)
    z = torch.randn(8, 24, generator=stream(), dtype=torch.float64)
    g, d = double(g), double(d)
    if native:  # no mean style: that of latents, which are always the same
        random = stream()
        latents = torch.cat([torch.randn(1000, 24, generator=random) for _ in range(MEAN_OF // 1000)])
        mean = mapped(g, latents.double(), None).mean(0)
        assert relative(model.generator.state_dict()["average"].double(), mean) < 1e-5
        g["mapping.w_avg"] = model.generator.state_dict()["average"].double()
    wanted = generated(g, z, None, 0.7, 4, None)
    assert relative(pictures_of(model, z, None, 0.7, 4), wanted) < 1e-6
    if native:
        assert model.discriminator is not None
        with torch.no_grad():
            assert relative(model.discriminator.double()(wanted), judged(d, wanted, None)) < 1e-9
    else:
        with pytest.raises(InputError, match=r"^550000.pt: holds no D, only G_ema$"):
            convert(path, with_discriminator=True)


def test_state_dicts_under_official_names(tmp_path: Path) -> None:
    g, d = random_generator(SMALL), random_discriminator(SMALL)
    whole = {f"G_ema.{name}": t for name, t in g.items()} | {f"D.{name}": t for name, t in d.items()}
    save_file(g, tmp_path / "g.safetensors")
    save_file(whole, tmp_path / "both.safetensors")
    torch.save(g, tmp_path / "g.pt")
    torch.save({"G_ema": g, "D": d}, tmp_path / "both.pt")
    models = [convert(tmp_path / name) for name in ("g.safetensors", "g.pt", "both.safetensors", "both.pt")]
    assert all(model.config == models[0].config for model in models)
    assert models[0].config.clamp == 256  # as released trainings have it, where nobody says
    for model in models:
        assert torch.equal(model.generator.state_dict()["layers.1.conv.weight"], g["synthesis.b8.conv0.weight"])
    for name in ("both.safetensors", "both.pt"):
        judging = convert(tmp_path / name, with_discriminator=True).discriminator
        assert judging is not None
        assert torch.equal(judging.state_dict()["whole.weight"], d["b4.fc.weight"])


# ---- there and back


@pytest.mark.parametrize("classes", [0, 3])
def test_official_names_come_back_as_they_were(tmp_path: Path, classes: int) -> None:
    file = official(Sizes(classes=classes, clamp=7.5, group=3))
    model = convert(written(tmp_path / "it.pkl", file.bytes()), with_discriminator=True)
    save_renamed(model, "official", tmp_path / "it.safetensors")
    found = load_file(tmp_path / "it.safetensors")
    wanted = {f"{part}.{name}": t for part in ("G_ema", "D") for name, t in flat(file.content[part]).items()}
    wanted = {name: t for name, t in wanted.items() if not name.endswith("resample_filter")}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(t, found[name]) and t.shape == found[name].shape for name, t in wanted.items())
    again = convert(tmp_path / "it.safetensors", with_discriminator=True)
    assert again.config == model.config
    assert all(torch.equal(t, again.tensors()[name]) for name, t in model.tensors().items())


@pytest.mark.parametrize("rotation", [False, True])
def test_stylegan3s_names_come_back_as_they_were(tmp_path: Path, rotation: bool) -> None:
    state = random_alias_free(rotation=rotation)
    d = random_discriminator(Sizes(widths=(8, 8, 8, 4)))
    content = {"G_ema": modules(state, "Generator"), "D": modules(d, "Discriminator")}
    model = convert(written(tmp_path / "it.pkl", Official(content).bytes()), with_discriminator=True)
    save_renamed(model, "official", tmp_path / "it.safetensors")
    found = load_file(tmp_path / "it.safetensors")
    wanted = {f"G_ema.{name}": t for name, t in state.items()} | {f"D.{name}": t for name, t in d.items()}
    wanted = {name: t for name, t in wanted.items() if not name.endswith("resample_filter")}
    assert found.keys() == wanted.keys()
    for name, t in wanted.items():
        near = 1e-6 if name.endswith("_filter") else 0.0
        torch.testing.assert_close(found[name], t, rtol=0, atol=near, msg=name)
    again = convert(tmp_path / "it.safetensors", with_discriminator=True)
    assert again.config == model.config
    assert all(torch.equal(t, again.tensors()[name]) for name, t in model.tensors().items())


def test_rosinalitys_names_come_back_as_they_were(tmp_path: Path) -> None:
    sizes = Sizes()
    g, d = random_generator(sizes), random_discriminator(sizes)
    torch.save({"g_ema": renamed_to_rosinality(g), "d": renamed_to_rosinality(d), "latent_avg": g["mapping.w_avg"]},
               tmp_path / "it.pt")  # fmt: skip
    model = convert(tmp_path / "it.pt", with_discriminator=True)
    save_renamed(model, "rosinality", tmp_path / "it.safetensors")
    found = load_file(tmp_path / "it.safetensors")
    wanted = {f"g_ema.{name}": t for name, t in renamed_to_rosinality(g).items()}
    wanted |= {f"d.{name}": t for name, t in renamed_to_rosinality(d).items()}
    wanted = {name: t for name, t in wanted.items() if not name.endswith("kernel")} | {"latent_avg": g["mapping.w_avg"]}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(t, found[name]) and t.shape == found[name].shape for name, t in wanted.items())
    again = convert(tmp_path / "it.safetensors", with_discriminator=True)
    assert all(torch.equal(t, again.tensors()[name]) for name, t in model.tensors().items())
    with pytest.raises(InputError, match="rosinality's networks know no classes"):
        renamed(convert(written(tmp_path / "it.pkl", official(Sizes(classes=3)).bytes())), "rosinality")
    path = written(tmp_path / "it.pkl", official(replace(SMALL, residual=False)).bytes())
    model = convert(path, with_discriminator=True)
    with pytest.raises(InputError, match="rosinality's networks know no discriminator without skips"):
        renamed(model, "rosinality")


def test_models_that_a_layout_has_no_names_for() -> None:
    from texsyn.gan.architectures import ARCHITECTURES, configure
    from texsyn.gan.image_model import Source

    def model(arch: str, **settings: Any) -> ImageModel:
        config = configure(arch, settings={"latent": 4, "features": 4, "max_features": 4} | settings)
        return ImageModel(ARCHITECTURES[arch].build(config, stream())[0], config, Source("it", ""))

    for it, layout, said in (
        (model("stylegan2", height=24, width=40), "official", "makes pictures of 40x24, and published layouts are of"),
        (model("stylegan2", height=48, width=48), "official", "makes pictures of 48x48"),
        (model("stylegan2", periodic=True), "rosinality", "tiles, and published layouts are of"),
        (model("stylegan3", height=32, width=64), "official", "makes pictures of 64x32"),
        (model("stylegan3"), "rosinality", "stylegan3: the layout rosinality has no names for it"),
        (model("dcgan"), "official", "dcgan: the layout official has no names for it"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            renamed(it, layout)
    with pytest.raises(ValueError, match="layout='onnx' is not one of official, rosinality"):
        renamed(model("stylegan2"), "onnx")


# ---- sizes as published


@pytest.mark.parametrize(
    ("side", "features", "made", "judged"),
    [(1024, 32, 30_370_060, 29_012_513), (256, 64, 24_767_458, 24_001_089)],
)
def test_stylegan2_of_published_sizes(side: int, features: int, made: int, judged: int) -> None:
    """Configuration F at 1024 pixels, and paper256, by official names; buffers are no parameters."""
    with FakeTensorMode():
        pair = stylegan2(Design(3, side, side, latent=512, features=features, max_features=512), torch.Generator())
    it = Made(int(math.log2(side)) - 1)
    for network, names, n in zip(pair, (names2.generator_names(it), names2.discriminator_names(it)), (made, judged),
                                 strict=True):  # fmt: skip
        shapes = {names[name]: tuple(t.shape) for name, t in network.state_dict().items()}
        assert len(shapes) == len(names) == len(set(names.values()))
        kept = {name: s for name, s in shapes.items() if not name.endswith(("w_avg", "noise_const"))}
        assert sum(math.prod(shape) for shape in kept.values()) == n
        known = {"mapping.fc7.weight": (512, 512), "synthesis.b4.const": (512, 4, 4),
                 f"synthesis.b{side}.conv0.weight": (features, 2 * features, 3, 3),
                 f"synthesis.b{side}.conv1.affine.weight": (features, 512),
                 f"synthesis.b{side}.torgb.weight": (3, features, 1, 1),
                 f"synthesis.b{side}.conv1.noise_const": (side, side), f"b{side}.fromrgb.weight": (features, 3, 1, 1),
                 f"b{side}.skip.weight": (2 * features, features, 1, 1), "b4.conv.weight": (512, 513, 3, 3),
                 "b4.fc.weight": (512, 8192), "b4.out.weight": (1, 512)}  # fmt: skip
        assert sum(name in shapes for name in known) == (6 if network is pair[0] else 5)
        assert all(shapes[name] == shape for name, shape in known.items() if name in shapes)


@pytest.mark.parametrize(
    ("rotation", "first", "last"), [(False, "L0_36_512", "L13_1024_32"), (True, "L0_36_1024", "L13_1024_64")]
)
def test_stylegan3_of_published_sizes(rotation: bool, first: str, last: str) -> None:
    with FakeTensorMode():
        design = Design(3, 1024, 1024, latent=512, features=32, max_features=512)
        generator, _ = stylegan3(design, torch.Generator(), rotation=rotation)
    sizes = names3._sizes(generator)
    names = names3.generator_names(sizes, [len(b.conv.weight) for b in names3._layers(generator)] + [3], 2, False)
    assert set(names) == set(generator.state_dict()) - {"seen"}
    assert {f"synthesis.{first}.weight", f"synthesis.{last}.bias", "synthesis.L14_1024_3.weight"} <= set(names.values())


# ---- what is refused, in one sentence


def refused(path: Path, said: str, **how: Any) -> None:
    with pytest.raises(InputError, match=said) as error:
        convert(path, **how)
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).startswith(path.name) or str(error.value).startswith(str(path))


def without(state: State, name: str) -> State:
    return {key: t for key, t in state.items() if key != name}


def test_networks_that_are_something_else(tmp_path: Path) -> None:
    good = random_generator(SMALL)
    weight, const = good["synthesis.b16.conv1.weight"], good["synthesis.b4.const"]
    widths = {**good, "synthesis.b8.conv1.weight": torch.zeros(11, 11, 3, 3)}
    for state, said in (
        (without(good, "synthesis.b16.conv1.bias"), "holds no 'synthesis.b16.conv1.bias'"),
        (good | {"synthesis.b8.skip.weight": torch.zeros(1)}, "holds 'synthesis.b8.skip.weight', which no network"),
        (good | {"synthesis.b4.const": const * torch.nan}, "'synthesis.b4.const' holds something that is no finite"),
        (good | {"synthesis.b4.const": const.long()}, "'synthesis.b4.const' holds something that is no finite number"),
        (good | {"synthesis.b16.conv1.bias": torch.zeros(5)}, r"'layers.4.conv.bias' is \(5,\), where \(4,\) is"),
        (good | {"synthesis.b16.conv1.weight": weight[0]}, r"'layers.4.conv.weight' has the shape \(4, 3, 3\)"),
        (widths, "has 4, 11, 12 channels from the picture on, which do not just double"),
        (good | {"mapping.fc0.weight": torch.zeros(10, 7)}, "maps 7 numbers to styles of 10"),
        (good | {"synthesis.b8.resample_filter": torch.ones(4, 4)}, "another filter than .1, 3, 3, 1."),
        ({k.replace("b16", "b32"): t for k, t in good.items()}, "has no resolutions 4, 8, 16 and so on"),
        ({"synthesis.b4.const": const}, "has no resolutions 4, 8, 16"),
        ({k: t for k, t in good.items() if "mapping.fc" not in k}, "has a mapping of 0 layers, where 1 to 64"),
        (good | {f"mapping.fc{i}.{one}": torch.zeros(10, 10) for i in range(2, 70) for one in ("weight", "bias")},
         "has a mapping of 70 layers"),
        ({"weight": const}, "holds tensors, but none that a StyleGAN2 or StyleGAN3 of a known layout has"),
    ):  # fmt: skip
        save_file({k: t.clone() for k, t in state.items()}, tmp_path / "it.safetensors")
        refused(tmp_path / "it.safetensors", said)
        if "no finite" not in said:
            path = written(tmp_path / "it.pkl", Official({"G_ema": modules(state, "Generator")}).bytes())
            refused(path, said if "none that" not in said else "holds tensors, but none")


def test_stylegan3_that_is_something_else(tmp_path: Path) -> None:
    good = random_alias_free()
    (up,) = (name for name in good if name.startswith("synthesis.L3_") and name.endswith("up_filter"))
    for state, said in (
        (good | {up: good[up] * 1.001}, "filters by synthesis.L3_36_8.up_filter, which no known configuration"),
        (good | {up: good[up][1:]}, "filters by synthesis.L3_36_8.up_filter"),
        (good | {"synthesis.input.transform": torch.eye(3).flip(0)}, "has a canvas that is moved or turned"),
        ({k.replace("L2_36", "L2_52"): t for k, t in good.items()}, "has no layer synthesis.L2_36_8, which a"),
        (without(good, "synthesis.L14_32_3.weight"), "has 14 layers, where"),
        (good | {"synthesis.L0_36_8.skip": torch.zeros(1)}, "holds 'synthesis.L0_36_8.skip', which no network"),
        (good | {"synthesis.L9_52_7.bias": torch.zeros(9)}, r"is \(9,\), where \(7,\) is needed"),
    ):  # fmt: skip
        save_file({k: t.contiguous() for k, t in state.items()}, tmp_path / "it.safetensors")
        refused(tmp_path / "it.safetensors", said)
    path = written(tmp_path / "it.pkl", Official({"G_ema": modules(good, "Generator", clamp=8)}).bytes())
    refused(path, "is clamped at 8, where a StyleGAN3 that is read here is at 256")


def test_pairs_that_are_not_one(tmp_path: Path) -> None:
    def pair(**of_d: Any) -> Path:
        clamp = of_d.pop("clamp", None)
        d = random_discriminator(replace(SMALL, **of_d))
        content = {"G_ema": modules(random_generator(SMALL), "Generator", clamp=None)}
        content |= {"D": modules(d, "Discriminator", clamp=clamp)}
        return written(tmp_path / "it.pkl", Official(content).bytes())

    convert(pair(), with_discriminator=True)
    for of_d, said in (
        ({"widths": (8, 8, 4)}, "its discriminator has max_features=8, its generator 12; one model keeps"),
        ({"channels": 1}, "its discriminator has channels=1, its generator 3"),
        ({"clamp": 256}, "its discriminator has clamp=256.0, its generator 0.0"),
    ):
        path = pair(**of_d)
        convert(path)  # alone it is one
        refused(path, said, with_discriminator=True)
    uneven = modules(random_discriminator(SMALL), "Discriminator", clamp=256)
    uneven._modules["b8"]._modules["conv0"].conv_clamp = 3
    content = {"G_ema": modules(random_generator(SMALL), "Generator"), "D": uneven}
    refused(written(tmp_path / "it.pkl", Official(content).bytes()), "layers that are clamped", with_discriminator=True)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    for content, said in (
        (b"", "is neither a network pickle"),
        (b"hello, this is text", "is neither a network pickle"),
        (pickle.dumps({"G_ema": 3}), "is a pickle, but of no networks named G_ema, G, D"),
        (pickle.dumps([1, 2]), "is a pickle, but of no networks"),
        (pickle.dumps({"a": 1.5}, protocol=0), "is neither a network pickle"),
        (official(SMALL).bytes()[:-300], "broken or cut off"),
    ):
        refused(written(tmp_path / "it.pkl", content), said)
    refused(tmp_path / "none.pkl", "cannot be read")
    refused(tmp_path, "not a regular file")
    only_d = Official({"D": modules(random_discriminator(SMALL), "Discriminator")})
    refused(written(tmp_path / "it.pkl", only_d.bytes()), "holds no G_ema, only D")


def tensorflow_file() -> bytes:
    """As its code wrote them: three networks of dnnlib.tflib, each with its state."""
    parts = [b"\x80\x04"]
    for _ in range(3):
        parts += [b"\x8c\x14dnnlib.tflib.network\x8c\x07Network\x93)\x81}\x8c\x07versionK\x04sb"]
    return b"".join([*parts, b"\x87."])


def test_files_of_tensorflow_say_what_to_use_instead(tmp_path: Path) -> None:
    refused(
        written(tmp_path / "karras2019.pkl", tensorflow_file()), "is a network pickle of the TensorFlow code, .*give"
    )


# ---- hostile files


class Called:
    """Pickled as a call of that function; itself once, however often it is there."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def stored(tensor: Tensor) -> bytes:
    """A storage as pickles of tensors have it inside."""
    storage = torch.storage.TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True)
    content = storage.__reduce__()[1][0]
    assert isinstance(content, bytes)
    return content


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def doubled(n: int) -> bytes:
    """Nested tuples, each of which has the one before twice: 2^n places."""
    return b"\x80\x04)" + b"".join(b"\x94h%c\x86" % i if i < 256 else b"\x94j" + struct.pack("<I", i) + b"\x86"
                                   for i in range(n)) + b"."  # fmt: skip


def test_bombs_do_not_go_off(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    bomb = Bomb(canary)
    good = official(SMALL)
    asked = "asks for (posix|os|nt).system, which no"

    direct = pickle.dumps(bomb)
    refused(written(tmp_path / "it.pkl", direct), asked)
    refused(written(tmp_path / "it.pkl", Official(good.content | {"more": bomb}).bytes()), asked)
    inside = modules(random_generator(SMALL), "Generator")
    inside._modules["synthesis"].bomb = bomb
    refused(written(tmp_path / "it.pkl", Official({"G_ema": inside}).bytes()), asked)

    # in the pickle within the pickle: storages' bytes go to _load_from_bytes, which would unpickle them
    head = pickle.dumps(LEGACY_MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    twice = Called(torch.storage._load_from_bytes, direct)
    for content, said in (
        (direct, asked), (head + pickle.dumps(bomb, 2), asked), (pickle.dumps(3), "a pickle, but not of torch's"),
        (head + pickle.dumps(twice, 2), "asks for torch.storage._load_from_bytes, which no state dict needs"),
        (head + pickle.dumps([1], 2) + pickle.dumps([], 2), "holds a pickle within its pickle that is no storage"),
        (stored(torch.zeros(9))[:-5], "holds a storage that is cut off"),
    ):  # fmt: skip
        it = Called(torch.storage._load_from_bytes, content)
        refused(written(tmp_path / "it.pkl", Official({"G_ema": it}).bytes()), said)
    for name in ("g_ema", "g", "args"):
        torch.save({"g_ema": {"input.input": torch.zeros(1)}} | {name: bomb}, tmp_path / "it.pt")
        refused(tmp_path / "it.pt", asked)
    assert not canary.exists()
    pickle.loads(direct)
    assert canary.exists()  # it would have


def test_other_names_are_not_run_either(tmp_path: Path) -> None:
    for module, name in (
        ("builtins", "eval"), ("builtins", "getattr"), ("torch", "load"), ("torch.hub", "load"), ("numpy", "load"),
        ("torch_utils.persistence", "import_hook"), ("dnnlib.util", "call_func_by_name"), ("functools", "partial"),
        ("torch_utils.persistence._reconstruct_persistent_obj", "__globals__"), ("copyreg", "_reconstructor"),
    ):  # fmt: skip
        asking = b"\x80\x04" + b"".join(b"\x8c%c%s" % (len(one), one.encode()) for one in (module, name)) + b"\x93)R."
        refused(written(tmp_path / "it.pkl", asking), f"asks for {module}.{name}, which no network pickle")
    objects = np.array([Bomb(tmp_path / "canary")], dtype=object)
    refused(written(tmp_path / "it.pkl", pickle.dumps({"G": objects})), "array of something that is no number|asks for")


def test_little_that_would_become_much(tmp_path: Path) -> None:
    """Each of these is small, and takes neither time nor memory."""

    def module(**state: Any) -> Persistent:
        made = Persistent("Generator")
        made.__dict__.update(state)
        return made

    refused(written(tmp_path / "it.pkl", doubled(200)), "is a pickle, but of no networks")
    refused(
        written(tmp_path / "it.pkl", b"\x80\x04" + b")" + b"\x85" * 200_000 + b"."), "is a pickle, but of no networks"
    )
    # modules: each has the one before twice
    level = module()
    for _ in range(14):
        level = module(_modules={"a": level, "b": level})
    refused(written(tmp_path / "it.pkl", Official({"G_ema": level}).bytes()), "has modules of more than 100000 things")
    level = module()
    for _ in range(17):
        level = module(_modules={"a": level})
    refused(written(tmp_path / "it.pkl", Official({"G_ema": level}).bytes()), "or modules more than 16 deep")
    # one storage for many tensors
    level = modules(random_generator(SMALL), "Generator")
    storage = Called(torch.storage._load_from_bytes, stored(torch.zeros(25_000)))
    for i in range(40):
        level._parameters[f"x{i}"] = Called(torch._utils._rebuild_tensor_v2, storage, 0, (20_000,), (1,), False, {})
    path = written(tmp_path / "it.pkl", Official({"G_ema": level}).bytes())
    assert path.stat().st_size < 1_000_000
    refused(path, "describes tensors that have more bytes than the file")
    # one list for many calls, which copy it
    pairs = b"](" + b"](\x8c\x01aK\x01e" * 20_000 + b"e\x94"
    calls = b"ccollections\nOrderedDict\n\x94" + b"h\x01h\x00\x85R" * 30_000
    refused(written(tmp_path / "it.pkl", b"\x80\x04" + pairs + calls + b"."), "makes much out of little")
    text = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6 + b"\x94\x8c\x06latin1\x94c_codecs\nencode\n\x94"
    many_calls = text + b"h\x02h\x00h\x01\x86R" * 1000 + b"."
    refused(written(tmp_path / "it.pkl", b"\x80\x04" + many_calls), "makes much out of little")
    # sizes that are not there
    for size in (b"\x8e" + struct.pack("<Q", 2**62), b"B" + struct.pack("<I", 2**32 - 1), b"\x8b\xff\xff\xff\x7f"):
        refused(written(tmp_path / "it.pkl", b"\x80\x04" + size + b"abc."), "broken or cut off|holds a pickle with the")
    # a discriminator that only the configuration asks for: classes times channels
    wide = random_generator(Sizes(widths=(300, 300, 300), latent=1, layers=1, classes=60_000))
    path = written(tmp_path / "it.pkl", Official({"G_ema": modules(wide, "Generator")}).bytes())
    assert convert(path).config.n_classes == 60_000
    wide["mapping.embed.weight"] = torch.zeros(1, 4_000_000)
    save_file(wide, tmp_path / "it.safetensors")
    refused(tmp_path / "it.safetensors", "its discriminator would be far larger than the file")


def hostile_mutations(data: bytes, n: int, seed: int) -> Iterator[bytes]:
    """Bytes changed, cut out, doubled, or put elsewhere; a third of them in the opcodes before the first tensor."""
    random = np.random.default_rng(seed)
    for _ in range(n):
        made = bytearray(data)
        for _ in range(random.integers(1, 4)):
            reach = len(made) if random.random() < 0.6 else min(len(made), 3000)
            at, length = int(random.integers(reach)), int(random.integers(1, 20))
            kind = random.integers(4)
            if kind == 0:
                made[at] = int(random.integers(256))
            elif kind == 1:
                del made[at : at + length]
            elif kind == 2:
                made[at:at] = made[at : at + length]
            else:
                there = int(random.integers(len(made)))
                made[there:there] = made[at : at + length]
        yield bytes(made)


def fuzz(folder: Path, n: int, seed: int, *, whole: bool) -> int:
    """How many of n changed files were read all the same; all others are refused, and nothing is run.

    whole: of files of whole networks; else of files with a little of everything, which is quicker.
    """
    tiny = Sizes(widths=(4, 2), latent=3, layers=1)
    g, d = random_generator(tiny), random_discriminator(tiny)
    part = {name: g[name] for name in ("mapping.w_avg", "synthesis.b4.const", "synthesis.b8.conv0.noise_strength")}
    content = official(tiny).content if whole else {"G_ema": modules(part, "Small")}
    canary, read, lines = folder / "canary", 0, [1]
    more = [np.arange(3.0), np.float32(1), {1, 2}, f"posix\nsystem\ntouch {canary}"]  # a lucky change could run that
    good = Official(content | {"more": more})
    rosinality_file(folder / "it.pt", g, d, native=True, zipped=False)
    for k, data in enumerate((good.bytes(4), good.bytes(2), (folder / "it.pt").read_bytes())):
        for changed in hostile_mutations(data, n // 3, seed + k):
            path = written(folder / "it.x", changed)
            try:
                if whole:
                    convert(path, with_discriminator=True)
                read_found(path)
                read += 1
            except InputError as error:
                lines.append(len(str(error).splitlines()))
    assert set(lines) == {1}
    assert not canary.exists()
    return read


def test_changed_files_are_read_or_refused(tmp_path: Path) -> None:
    assert 0 < fuzz(tmp_path, 1200, seed=0, whole=False) < 1000


@pytest.mark.slow
def test_many_changed_files_are_read_or_refused(tmp_path: Path) -> None:
    assert 0 < fuzz(tmp_path, 9000, seed=1, whole=False) < 8000
    assert 0 < fuzz(tmp_path, 1500, seed=2, whole=True) < 1400


def test_nothing_of_the_official_code_is_imported(tmp_path: Path) -> None:
    convert(written(tmp_path / "it.pkl", official(SMALL).bytes()), with_discriminator=True)
    assert {"dnnlib", "torch_utils", "torch_utils.persistence"} & sys.modules.keys() == set()
    content = official(SMALL).bytes()
    with official_names(), pytest.raises(AssertionError, match="a file was run"):
        pickle.loads(content)  # the stub sees that files would be


# ---- the command line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*args: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([*map(str, args)])
        out, err = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out, err

    return call


def test_the_verb_makes_a_model_that_samples(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = written(tmp_path / "it.pkl", official(replace(SMALL, classes=2)).bytes())
    model, back = tmp_path / "it.texsyn", tmp_path / "it.safetensors"
    code, out, err = run("convert", path, "-o", model, "--with-d")
    assert (code, out) == (0, "")
    assert "it.texsyn: stylegan2 of 16x16 with 3 channels, 2 classes, " in err
    assert "parameters, its discriminator " in err
    code, _, err = run("convert", path, "-o", model)
    assert (code, len(err.splitlines())) == (2, 1)
    code, out, _ = run("convert", path, "-o", model, "--with-d", "--network", "G", "--overwrite", "--json")
    told = json.loads(out)
    found = load_image_model(model)
    assert told["parameters"] == sum(p.numel() for p in found.generator.parameters())
    assert found.about.classes == ("0", "1")
    assert (found.about.name, len(found.about.fingerprint)) == ("it.pkl", 64)
    assert run("sample", model, "-n", 4, "--seed", 0, "-o", tmp_path / "made_{seed}.png")[0] == 0
    assert (tmp_path / "made_3.png").exists()
    code, _, err = run("convert", model, "--to", "official", "-o", back)
    assert code == 0
    assert not any(name.startswith("D.") for name in load_file(back))
    assert run("convert", model, "--to", "official", "--with-d", "-o", back, "--overwrite")[0] == 0
    again = convert(back, with_discriminator=True)
    assert all(torch.equal(t, again.tensors()[name]) for name, t in found.tensors().items())


def test_the_verb_refuses_in_one_line(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path, out = written(tmp_path / "it.pkl", official(SMALL).bytes()), tmp_path / "it.texsyn"
    assert run("convert", path, "-o", out)[0] == 0
    bomb = written(tmp_path / "bomb.pkl", pickle.dumps(Bomb(tmp_path / "canary")))
    for args, expected, said in (
        ((path, "-o", tmp_path / "x.png"), 2, "-o"),
        ((path, "-o", "-"), 2, "-o"),
        ((bomb, "-o", tmp_path / "x.texsyn"), 3, "it was not run"),
        ((tmp_path / "none.pkl", "-o", tmp_path / "x.texsyn"), 3, "cannot be read"),
        ((out, "-o", tmp_path / "x.texsyn"), 3, "holds tensors, but none"),
        ((path, "--to", "official", "-o", tmp_path / "x.safetensors"), 3, "cannot be read as a texsyn model"),
        ((out, "--to", "official", "--network", "G", "-o", tmp_path / "x.safetensors"), 2, "--network"),
        ((out, "--to", "official", "--with-d", "-o", tmp_path / "x.safetensors"), 2, "--with-d"),
        ((path, "--to", "onnx", "-o", tmp_path / "x.safetensors"), 2, "--to"),
    ):
        code, printed, err = run("convert", *args)
        assert (code, printed, len(err.splitlines())) == (expected, "", 1), err
        assert said in err
    assert not (tmp_path / "canary").exists()
    assert not list(tmp_path.glob("x.*"))
