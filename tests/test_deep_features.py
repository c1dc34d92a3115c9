"""Features of networks: VGG-19, Inception and random convolutions, on small or random weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from texsyn.feature_names import features_of
from texsyn.features import Features, Layer, Mixture, PatchPyramid
from texsyn.images import InputError
from texsyn.inception import Inception, from_state_dict
from texsyn.inception_features import MAPS, InceptionFeatures
from texsyn.maps import Map, wrapped
from texsyn.random_features import RandomConvolutions, RandomStack
from texsyn.vgg import BLOCKS, CONVOLUTIONS, GATYS_TAPS, TAPS, VGG19, parameter_names, prepared

LOW = ("relu1_1", "relu1_2", "relu2_1", "relu2_2")


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def assert_layers_roll(features: Features, u: Tensor, *, atol: float = 1e-5) -> None:
    """The layers of a rolled torus are rolled layers, where the roll is a multiple of every spacing."""
    before = features.layers(u, periodic=True)
    step = int(max(layer.spacing for layer in before))
    after = features.layers(u.roll((step, -2 * step), (-2, -1)), periodic=True)
    for a, b in zip(before, after, strict=True):
        n = int(step / a.spacing)
        scale = float(a.values.abs().max())
        assert scale > 0
        assert torch.allclose(a.values.roll((n, -2 * n), (-2, -1)), b.values, rtol=0, atol=atol * scale), a.name


def assert_positions_are_centres(features: Features, u: Tensor, *, periodic: bool, tolerance: float = 0.0) -> None:
    """What a value answers to lies symmetrically about its position: the box of pixels with a gradient."""
    n = u.shape[-1]
    u = u.clone().requires_grad_()
    for layer in features.layers(u, periodic=periodic):
        rows, columns = layer.grid
        at = (rows // 2) * columns + columns // 2
        (gradient,) = torch.autograd.grad(layer.points(torch.tensor([at])).sum(), u, retain_graph=True)
        seen = gradient.abs().sum(0).nonzero()
        _, row, column = layer.positions(torch.tensor([at]))[0].tolist()
        for axis, middle in ((0, row), (1, column)):
            low, high = int(seen[:, axis].min()), int(seen[:, axis].max())
            assert 0 < low <= high < n - 1, f"{layer.name}: the picture is too small for this test"
            assert abs((low + high) / 2 - middle) <= tolerance, (layer.name, low, high, middle)


def assert_gradient_flows(features: Features, u: Tensor, *, periodic: bool) -> None:
    """The gradient in u is finite, not zero, and agrees with a difference quotient in float64."""
    u = u.double().requires_grad_()

    def total(v: Tensor) -> Tensor:
        layers = features.layers(v, periodic=periodic)
        return torch.stack([layer.values.square().mean() for layer in layers]).sum()

    (gradient,) = torch.autograd.grad(total(u), u)
    direction = picture(*u.shape, seed=5).double() - 0.5
    with torch.no_grad():
        slope = (total(u + 1e-6 * direction) - total(u - 1e-6 * direction)) / 2e-6
    assert gradient.isfinite().all()
    assert float(slope) == pytest.approx(float((gradient * direction).sum()), rel=1e-4)


# ----------------------------------------------------------------------------------------------------------- maps


def test_a_map_knows_where_its_values_sit() -> None:
    at = Map(torch.arange(12.0).expand(1, 1, 12, 12))  # its own column
    mean = torch.full((1, 1, 3, 3), 1 / 9)
    for m in (at.convolved(mean), at.convolved(mean).pooled("average"), at.pooled("average").convolved(mean, stride=2)):
        columns = m.offset + m.spacing * torch.arange(m.values.shape[3])
        assert m.offset - m.reach == 0  # open, so that the first value sees the first pixel
        assert torch.allclose(m.values[0, 0, 0], columns.float(), atol=1e-5)


@pytest.mark.parametrize("n", [4, 5])
def test_a_map_that_wraps_has_one_value_a_step(n: int) -> None:
    u = picture(1, 2, n, n)
    weight = picture(3, 2, 3, 3, seed=1)
    whole = Map(u, periodic=True).convolved(weight)
    assert whole.values.shape[2:] == (n, n)
    assert torch.allclose(whole.values[:, :, : n - 2, : n - 2], F.conv2d(u, weight), atol=1e-6)
    by_two = Map(u, periodic=True).convolved(weight, stride=2)
    assert torch.allclose(by_two.values, whole.values[:, :, ::2, ::2], atol=1e-6)
    assert Map(u, periodic=True).pooled("max").values.shape[2:] == (-(-n // 2), -(-n // 2))
    padded = Map(u, periodic=True).convolved(weight, padding=1)
    assert padded.offset == 0
    assert torch.allclose(padded.values, whole.values.roll((1, 1), (2, 3)), atol=1e-6)


def test_wrapping_goes_round_several_times() -> None:
    assert wrapped(torch.arange(3.0), 0, 4, 5).tolist() == [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]


# ---------------------------------------------------------------------------------------------------------- VGG-19


@pytest.fixture(scope="module")
def torchvision_state() -> dict[str, Tensor]:
    """All sixteen convolutions, He-initialised, so that deep maps are neither dead nor huge."""
    generator, state, n_in = torch.Generator().manual_seed(3), {}, 3
    for name, key in zip(CONVOLUTIONS, parameter_names("torchvision"), strict=True):
        n_out = BLOCKS[int(name[0]) - 1][1]
        weight = torch.empty(n_out, n_in, 3, 3).uniform_(-1, 1, generator=generator)
        state[f"{key}.weight"] = weight * (3 * 2 / (9 * n_in)) ** 0.5
        state[f"{key}.bias"] = 0.1 * torch.randn(n_out, generator=generator)
        n_in = n_out
    return state


@pytest.fixture(scope="module")
def gatys_state(torchvision_state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same network for BGR in 0..255 less means: the first filters take the change of units."""
    state = {}
    for ours, theirs in zip(parameter_names("torchvision"), parameter_names("gatys"), strict=True):
        for part in ("weight", "bias"):
            state[f"{theirs}.{part}"] = torchvision_state[f"{ours}.{part}"]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    taken = torch.tensor([124.0, 117.0, 104.0]) / 255  # RGB
    weight = state["conv1_1.weight"] / deviation[:, None, None]
    state["conv1_1.bias"] = state["conv1_1.bias"] + (weight * (taken - mean)[:, None, None]).sum((1, 2, 3))
    state["conv1_1.weight"] = weight.flip(1) / 255
    return state


def sequential(state: Mapping[str, Tensor], pooling: str) -> nn.Sequential:
    """The module list of torchvision's configuration, zero-padded, with any layout's parameters in their order."""
    modules: list[nn.Module] = []
    parameters = iter(state.values())
    for n in (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0):
        if not n:
            modules.append(nn.MaxPool2d(2, 2) if pooling == "max" else nn.AvgPool2d(2, 2))
            continue
        weight, bias = next(parameters), next(parameters)
        convolution = nn.Conv2d(weight.shape[1], n, 3, padding=1)
        convolution.load_state_dict({"weight": weight, "bias": bias})
        modules += [convolution, nn.ReLU()]
    return nn.Sequential(*modules)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("layout", ["torchvision", "gatys"])
def test_vgg_is_the_plain_network(
    torchvision_state: dict[str, Tensor], gatys_state: dict[str, Tensor], layout: str, pooling: str
) -> None:
    u = picture(1, 3, 40, 36)
    if layout == "torchvision":
        state, x = torchvision_state, u - torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        x = x / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    else:
        state, x = gatys_state, 255 * u[:, [2, 1, 0]] - torch.tensor([104.0, 117.0, 124.0])[:, None, None]
    expected = []
    with torch.no_grad():
        for module in sequential(state, pooling):
            x = module(x)
            if isinstance(module, nn.ReLU):
                expected.append(x)
    vgg = VGG19.from_state_dict(state, taps=TAPS, pooling=pooling, border="zero")
    assert vgg.layout == layout
    layers = vgg.layers(u)
    assert [layer.name for layer in layers] == [f"vgg19 {tap}" for tap in TAPS]
    for layer, x in zip(layers, expected, strict=True):
        assert float((layer.values - x).abs().max()) < 1e-5 * float(x.abs().max()), layer.name


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_both_layouts_of_one_network_agree(
    torchvision_state: dict[str, Tensor], gatys_state: dict[str, Tensor], pooling: str
) -> None:
    """Not where zeros are padded: they are another grey in each."""
    u = picture(3, 48, 32)
    one, other = (VGG19.from_state_dict(s, taps=TAPS, pooling=pooling) for s in (torchvision_state, gatys_state))
    for a, b in zip(one.layers(u, periodic=True), other.layers(u, periodic=True), strict=True):
        assert float((a.values - b.values).abs().max()) < 1e-4 * float(a.values.abs().max()), a.name


def test_vgg_without_padding_is_the_middle_of_the_padded_network(torchvision_state: dict[str, Tensor]) -> None:
    u = picture(1, 3, 40, 36)
    padded = VGG19.from_state_dict(torchvision_state, taps=LOW, border="zero").layers(u)
    for layer, whole in zip(VGG19.from_state_dict(torchvision_state, taps=LOW).layers(u), padded, strict=True):
        cut = int((layer.offset - whole.offset) / layer.spacing)
        rows, columns = layer.grid
        middle = whole.values[:, :, cut : cut + rows, cut : cut + columns]
        assert cut > 0
        assert torch.allclose(layer.values, middle, atol=1e-5)


def test_vgg_knows_the_sizes_it_takes(torchvision_state: dict[str, Tensor]) -> None:
    sides = {tap: VGG19.from_state_dict(torchvision_state, taps=[tap]).smallest_side for tap in GATYS_TAPS}
    assert sides == {"relu1_1": 3, "relu2_1": 10, "relu3_1": 24, "relu4_1": 68, "relu5_1": 156}
    vgg = VGG19.from_state_dict(torchvision_state, taps=["relu3_1"])
    assert vgg.layers(picture(3, 24, 24))[0].grid == (1, 1)
    with pytest.raises(InputError, match="relu3_1 of VGG-19 needs 24 pixels a side, got 30x23"):
        vgg.layers(picture(3, 23, 30))
    assert vgg.layers(picture(3, 9, 9), periodic=True)[0].grid == (3, 3)
    zero = VGG19.from_state_dict(torchvision_state, taps=["relu3_1"], border="zero")
    assert zero.layers(picture(3, 9, 9))[0].grid == (2, 2)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_vgg_rolls_with_a_torus(torchvision_state: dict[str, Tensor], pooling: str) -> None:
    taps = ("relu1_1", "relu2_2", "relu3_1", "relu4_1")
    assert_layers_roll(VGG19.from_state_dict(torchvision_state, taps=taps, pooling=pooling), picture(3, 32, 48))


def test_vgg_is_open_to_gradients_and_its_positions_are_centres(torchvision_state: dict[str, Tensor]) -> None:
    vgg = VGG19.from_state_dict(torchvision_state, taps=(*LOW, "relu3_1"))
    assert_positions_are_centres(vgg, picture(3, 64, 64), periodic=False)
    assert_positions_are_centres(vgg, picture(3, 64, 64), periodic=True)
    zero = VGG19.from_state_dict(torchvision_state, taps=(*LOW, "relu3_1"), border="zero")
    assert_positions_are_centres(zero, picture(3, 64, 64), periodic=False)
    for periodic in (False, True):
        assert_gradient_flows(vgg, picture(3, 32, 32), periodic=periodic)


def test_vgg_repeats_grey_and_refuses_other_channels(torchvision_state: dict[str, Tensor]) -> None:
    vgg = VGG19.from_state_dict(torchvision_state, taps=LOW)
    grey = picture(1, 20, 20)
    for a, b in zip(vgg.layers(grey), vgg.layers(grey.repeat(3, 1, 1)), strict=True):
        assert torch.equal(a.values, b.values)
        assert (a.normalise, a.weight) == (True, 1 / 4)
    for n in (2, 4, 5):
        with pytest.raises(InputError, match=f"1 channel or 3 .RGB, without alpha., got {n}"):
            vgg.layers(picture(n, 20, 20))


def test_vgg_refuses_words_it_does_not_know(torchvision_state: dict[str, Tensor]) -> None:
    wrong: dict[str, Any]
    for wrong in ({"taps": ["relu6_1"]}, {"taps": []}, {"taps": ["relu1_1"] * 2}, {"pooling": "min"}, {"border": "x"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
            VGG19.from_state_dict(torchvision_state, **wrong)


@pytest.mark.parametrize("layout", ["torchvision", "gatys"])
def test_vgg_names_the_first_wrong_tensor(
    torchvision_state: dict[str, Tensor], gatys_state: dict[str, Tensor], layout: str
) -> None:
    state = torchvision_state if layout == "torchvision" else gatys_state
    key = parameter_names(layout)[2]
    with pytest.raises(InputError, match=f"no {key}.bias"):
        VGG19.from_state_dict({n: t for n, t in state.items() if n != f"{key}.bias"})
    with pytest.raises(InputError, match=rf"{key}.weight of VGG-19 has the shape \(128, 64, 3, 3\), not \(128, 64\)"):
        VGG19.from_state_dict(state | {f"{key}.weight": torch.zeros(128, 64)})
    with pytest.raises(InputError, match=f"{key}.bias has a NaN"):
        VGG19.from_state_dict(state | {f"{key}.bias": torch.full((128,), torch.nan)})
    with pytest.raises(InputError, match=r"neither features\.0\.weight .* but 'net.weight'"):
        VGG19.from_state_dict({"net.weight": torch.zeros(1)})


def test_vgg_files_of_other_names_are_taken_with_their_hash(gatys_state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "vgg_conv.pth"
    torch.save(gatys_state, path)
    vgg = VGG19(path, taps=LOW)
    assert vgg.describe() == {
        "features": "vgg19",
        "taps": list(LOW),
        "pooling": "average",
        "border": "valid",
        "layout": "gatys",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "normalised": "",
    }
    (a,) = VGG19.from_state_dict(gatys_state, taps=["relu2_1"]).layers(picture(3, 16, 16))
    assert torch.equal(a.values, vgg.layers(picture(3, 16, 16))[2].values)


def test_vgg_files_of_the_published_name_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("TEXSYN_WEIGHTS", raising=False)
    with pytest.raises(InputError, match=r"vgg19: the weights are not here; wanted is vgg19-dcbb9e9d\.pth .*sha256"):
        VGG19()
    with pytest.raises(InputError, match="no such file; wanted is"):
        VGG19(tmp_path / "none.pth")
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg19-dcbb9e9d.pth")
    for path in (tmp_path, tmp_path / "vgg19-dcbb9e9d.pth"):
        with pytest.raises(InputError, match="bytes instead of 574,673,361"):
            VGG19(path)


def test_vgg_normalised_has_mean_activation_one(torchvision_state: dict[str, Tensor]) -> None:
    vgg = VGG19.from_state_dict(torchvision_state, taps=("relu1_1", "relu2_1", "relu3_1"))
    pictures = [picture(3, 30, 34), picture(2, 3, 40, 30, seed=1)]
    normalised = vgg.normalised_on(pictures)
    before, after = ([f.layers(u) for u in pictures] for f in (vgg, normalised))
    for i in range(3):
        points = torch.cat([layers[i].points() for layers in after])
        fires = torch.cat([layers[i].points() for layers in before]).mean(0) > 0
        assert torch.allclose(points.mean(0)[fires], torch.ones(int(fires.sum())), atol=1e-4)
    ratio = after[0][2].points() / before[0][2].points()
    seen = before[0][2].points() > 1e-3
    spread = [float(ratio[:, c][seen[:, c]].std()) for c in range(8) if seen[:, c].sum() > 1]
    assert max(spread) < 1e-3  # each channel times a number
    assert (len(normalised.describe()["normalised"]), vgg.describe()["normalised"]) == (64, "")


def test_a_layer_is_a_point_cloud_with_positions(torchvision_state: dict[str, Tensor]) -> None:
    vgg = VGG19.from_state_dict(torchvision_state, taps=["relu2_1"])
    layer = vgg.layers(picture(2, 3, 16, 18))[0]
    assert isinstance(layer, Layer)
    ((points, positions),) = vgg.clouds(picture(2, 3, 16, 18))
    assert points.shape == (2 * 4 * 5, 128)
    assert positions[[0, -1]].tolist() == [[0, 4.5, 4.5], [1, 10.5, 12.5]]
    assert prepared(torch.ones(1, 3, 2, 2), "gatys")[0, :, 0, 0].tolist() == [151, 138, 131]


# ------------------------------------------------------------------------------------------------------- Inception


@pytest.fixture(scope="module")
def inception_net() -> Inception:
    """Random weights whose maps neither die nor grow, with normalisations that are not the identity."""
    with torch.device("meta"):
        empty = Inception("fid")
    generator, state = torch.Generator().manual_seed(4), {}
    for name, t in empty.state_dict().items():
        if name.endswith("conv.weight"):
            noise = torch.empty(t.shape).uniform_(-1, 1, generator=generator)
            state[name] = noise * (3 * 2 / t[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = 0.8 + 0.4 * torch.rand(t.shape, generator=generator)
        elif name.endswith(("running_mean", "bn.bias")):
            state[name] = 0.1 * torch.randn(t.shape, generator=generator)
    return from_state_dict(state, sha256="0" * 64)


def test_inception_maps_average_to_the_networks_vectors(inception_net: Inception) -> None:
    u = picture(2, 3, 80, 91)
    features = InceptionFeatures(net=inception_net, taps=MAPS)
    with torch.no_grad():
        expected = inception_net((255 * u - 128) / 128, MAPS)
        layers = features.layers(u)
    assert [layer.name for layer in layers] == [f"inception {tap}" for tap in MAPS]
    for layer, tap in zip(layers, MAPS, strict=True):
        ours = layer.values if tap.endswith("pre") else layer.values.mean((2, 3))
        assert torch.allclose(ours, expected[tap], atol=1e-4 * float(expected[tap].abs().max())), tap
    assert features.describe() == {"features": "inception", "taps": list(MAPS), "kind": "fid", "sha256": "0" * 64}


def test_inception_rolls_with_a_torus(inception_net: Inception) -> None:
    features = InceptionFeatures(net=inception_net, taps=("64pre", "192", "768"))
    assert_layers_roll(features, picture(3, 64, 32))
    assert [layer.grid for layer in features.layers(picture(3, 64, 32), periodic=True)] == [(32, 16), (8, 4), (4, 2)]


def test_inception_positions_are_centres_and_gradients_flow(inception_net: Inception) -> None:
    features = InceptionFeatures(net=inception_net, taps=("64pre", "64", "192pre", "192"))
    for periodic in (False, True):
        assert_positions_are_centres(features, picture(3, 75, 75), periodic=periodic)
        assert_gradient_flows(features, picture(3, 48, 48), periodic=periodic)


def test_inception_refuses_what_it_cannot_do(
    inception_net: Inception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = InceptionFeatures(net=inception_net)
    with pytest.raises(InputError, match="the map 768 of Inception needs 43 pixels a side, got 50x42"):
        features.layers(picture(3, 42, 50))
    with pytest.raises(InputError, match="1 channel or 3"):
        features.layers(picture(4, 64, 64))
    with pytest.raises(ValueError, match="taps="):
        InceptionFeatures(net=inception_net, taps=["logits"])
    with pytest.raises(ValueError, match="kind="):
        InceptionFeatures(kind="v4")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("TEXSYN_WEIGHTS", raising=False)
    with pytest.raises(InputError, match="inception-fid: the weights are not here; wanted is"):
        InceptionFeatures()


# ---------------------------------------------------------------------------------------------- random convolutions

RANDOM = [
    RandomConvolutions(3, n_filters=8),
    RandomConvolutions(3, n_filters=8, kernel=4, n_scales=3),
    RandomStack(3, widths=(8, 8, 8)),
]


@pytest.mark.parametrize("features", RANDOM)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_random_features_take_any_channels_and_roll(features: Features, channels: int) -> None:
    assert_layers_roll(features, picture(channels, 32, 48))
    assert_gradient_flows(features, picture(channels, 52, 40), periodic=False)
    for layer in features.layers(picture(channels, 52, 40)):
        assert layer.normalise
        assert float((layer.values > 0).float().mean()) > 0.2


@pytest.mark.parametrize("features", RANDOM)
@pytest.mark.parametrize("periodic", [False, True])
def test_positions_of_random_features_are_centres(features: Features, periodic: bool) -> None:
    assert_positions_are_centres(features, picture(1, 96, 96), periodic=periodic)


def test_random_features_are_those_of_their_seed() -> None:
    """Frozen: a seed means the same filters on every machine and in every release."""
    u = torch.linspace(0, 1, 40 * 40).reshape(1, 40, 40)
    means = [float(layer.values.mean()) for layer in RandomConvolutions(7, n_filters=2, bias=0.1).layers(u)]
    assert means == pytest.approx([0.091529, 0.09393, 0.326304, 0.0], abs=1e-5)
    assert not torch.equal(RandomConvolutions(1).layers(u)[0].values, RandomConvolutions(2).layers(u)[0].values)
    first = RandomConvolutions(7, n_filters=3).layers(u)[0].values
    assert torch.equal(RandomConvolutions(7, n_filters=3, n_scales=2).layers(u)[0].values, first)


def test_random_features_say_what_they_need() -> None:
    random, stack = RandomConvolutions(), RandomStack()
    assert [layer.grid for layer in random.layers(picture(1, 33, 33))][-1] == (1, 1)
    assert stack.layers(picture(1, 52, 52))[-1].grid == (1, 1)
    with pytest.raises(ValueError, match="need 33 pixels a side, got 40x32"):
        random.layers(picture(1, 32, 40))
    with pytest.raises(ValueError, match="need 52 pixels a side, got 60x51"):
        stack.layers(picture(1, 51, 60))
    for wrong in ({"n_filters": 0}, {"kernel": 0}, {"bias": -1.0}, {"bias": float("nan")}):
        with pytest.raises(ValueError, match="n_filters, kernel and n_scales must be"):
            RandomConvolutions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="widths must be"):
        RandomStack(widths=())
    for features in (random, stack):
        json.dumps(features.describe())


# ------------------------------------------------------------------------------------------------------------ names


def test_features_are_named() -> None:
    assert features_of("patches", 1, patch_size=5, n_scales=2) == PatchPyramid(5, 2)
    assert features_of("random", 4, seed=3) == RandomConvolutions(3)
    assert features_of(" patches + random-stack : 0.5", seed=2) == Mixture(
        ((PatchPyramid(), 1.0), (RandomStack(2), 0.5))
    )
    assert features_of("patches:2") == Mixture(((PatchPyramid(), 2.0),))


def test_named_networks_are_loaded(gatys_state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(gatys_state, path)
    for weights in (path, str(path), {"vgg19": str(path)}):
        vgg = features_of("vgg19@relu2_1,relu1_1", 1, weights=weights)
        assert isinstance(vgg, VGG19)
        assert vgg.taps == ("relu1_1", "relu2_1")
    with pytest.raises(ValueError, match="inception and vgg19 need a file each"):
        features_of("vgg19+inception", weights=path)
    with pytest.raises(InputError, match="vgg19 takes pictures of 1 channel or 3"):
        features_of("patches+vgg19", 4, weights=path)
    with pytest.raises(InputError, match=r"pt_inception-2015-12-05-6726825d\.pth"):
        features_of("inception", weights=tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wavelets", "'wavelets' are not known; known are patches, random, random-stack, vgg19, inception"),
        ("", "'' are not known"),
        ("patches+", "'' are not known"),
        ("patches:0", "the weight '0' of patches must be a number above 0"),
        ("patches:many", "the weight 'many'"),
        ("patches:", "the weight ''"),
        ("patches:nan", "the weight 'nan'"),
        ("patches:inf", "the weight 'inf'"),
        ("random@relu1_1", "random has no taps; vgg19 and inception have"),
        ("vgg19@relu9_9", r"taps=\['relu9_9'\] must be different ones of relu1_1"),
        ("vgg19@", r"taps=\[''\] must be"),
    ],
)
def test_wrong_names_are_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features_of(text)
