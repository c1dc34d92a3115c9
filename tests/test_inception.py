"""Inception: layout, taps, sizes, the ways to 299 pixels, refusals, frozen values; and the single-image distances.

Trained weights are not needed: a network with random ones, calibrated so that its features depend on the picture, has
the same layout and goes the same ways. tests/oracles holds it against other implementations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles.random_weights import auxiliary, random_state_dict, textures

from texsyn.images import InputError, Picture
from texsyn.metrics.frechet import frechet
from texsyn.metrics.inception import (
    RESIZES,
    SIDE,
    TAPS,
    Inception,
    features,
    from_state_dict,
    max_by_two,
    mean_of_nine,
    require_comparable,
    resized,
    rgb8,
)
from texsyn.metrics.sifid import random_stem, rsifid, sifid

WIDTHS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits": 1008}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return random_state_dict()


@pytest.fixture(scope="module")
def net(state: dict[str, torch.Tensor]) -> Inception:
    return from_state_dict(state, sha256="0" * 64)


@pytest.fixture(scope="module")
def torchvision_net(state: dict[str, torch.Tensor]) -> Inception:
    """The other kind, with the same convolutions."""
    own = {k: t[:1000] if k.startswith("fc.") else t for k, t in state.items()}
    return from_state_dict(own | auxiliary(), kind="torchvision", sha256="1" * 64)


@pytest.fixture
def ran(net: Inception) -> Iterator[list[str]]:
    """Names of the parts of the network that have been run."""
    names: list[str] = []
    hooks = [m.register_forward_hook(lambda *unused, n=n: names.append(n)) for n, m in net.named_children()]
    yield names
    for hook in hooks:
        hook.remove()


# ---- the layout


def test_parameters_are_the_published_ones(state: dict[str, torch.Tensor]) -> None:
    assert len(state) == 566  # 94 convolutions with five tensors of their normalisations, and fc
    assert sum(t.numel() for t in state.values()) == 23_885_486
    known = {  # from the published file and torchvision's documentation of the network
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3), "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1), "Mixed_5d.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3), "Mixed_6b.branch7x7dbl_4.bn.running_var": (128,),
        "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7), "Mixed_6c.branch7x7_3.conv.weight": (192, 160, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3), "Mixed_7b.branch3x3_2b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch3x3dbl_3a.conv.weight": (384, 384, 1, 3), "Mixed_7c.branch_pool.bn.bias": (192,),
        "Mixed_7c.branch1x1.bn.num_batches_tracked": (), "fc.weight": (1008, 2048), "fc.bias": (1008,),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in known} == known


def test_what_old_files_lack_is_not_missed(state: dict[str, torch.Tensor], net: Inception) -> None:
    old = {k: t for k, t in state.items() if not k.endswith("num_batches_tracked")}
    assert len(old) == 472
    x = textures(1, 32, 32)
    bare = from_state_dict({k: t for k, t in old.items() if not k.startswith("fc.")})
    assert torch.equal(features(bare, x)["2048"].values, features(net, x)["2048"].values)
    with pytest.raises(InputError, match=r"no classifier"):
        features(bare, x, ("logits",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Mixed_6b.branch1x1.conv.weight": None}, "has no Mixed_6b.branch1x1.conv.weight"),
        (
            {"Mixed_6b.branch1x1.conv.weight": torch.zeros(192, 768, 1, 2)},
            r"\(192, 768, 1, 1\), not \(192, 768, 1, 2\)",
        ),
        ({"Mixed_5b.branch1x1.bn.bias": torch.full((64,), math.nan)}, "bn.bias has a NaN"),
        ({"Conv2d_1a_3x3.conv.weight": torch.full((32, 3, 3, 3), math.inf)}, "conv.weight has a NaN or an infinite"),
        ({"Mixed_8a.conv.weight": torch.zeros(1)}, "'Mixed_8a.conv.weight', which"),
        ({"fc.weight": torch.zeros(1000, 2048)}, r"fc.weight of fid weights has the shape \(1008, 2048\)"),
    ],
)
def test_other_state_dicts_are_refused(state: dict[str, torch.Tensor], change: dict[str, Any], said: str) -> None:
    changed = {k: t for k, t in (state | change).items() if t is not None}
    with pytest.raises(InputError, match=said):
        from_state_dict(changed)


def test_building_one_draws_nothing_from_the_global_stream(state: dict[str, torch.Tensor]) -> None:
    before = torch.get_rng_state()
    from_state_dict(state)
    assert torch.equal(before, torch.get_rng_state())


def test_half_precision_files_work(state: dict[str, torch.Tensor], net: Inception) -> None:
    half = from_state_dict({k: t.half() if t.is_floating_point() else t for k, t in state.items()})
    x = textures(2, 40, 40)
    ours, theirs = (features(one, x, ("64",))["64"].values for one in (half, net))
    assert float((ours - theirs).abs().max()) < 0.01 * float(theirs.abs().max())


# ---- taps


def test_taps_have_their_widths(net: Inception) -> None:
    found = features(net, textures(3, 20, 30), tuple(WIDTHS))
    assert {tap: tuple(f.values.shape) for tap, f in found.items()} == {tap: (3, d) for tap, d in WIDTHS.items()}
    assert all(f.values.dtype == torch.float32 and not f.values.requires_grad for f in found.values())
    assert all(float(f.values.std(0).mean()) > 0.1 for f in found.values())  # they do depend on the picture
    assert float(found["2048"].values.min()) >= 0  # means of rectified values
    assert found["2048"].record() == {
        "tap": "2048", "weights": "fid", "sha256": "0" * 64, "resize": "reference", "n": 3, "d": 2048, "notes": []
    }  # fmt: skip


def test_logits_are_without_the_bias(net: Inception) -> None:
    found = features(net, textures(2, 20, 30), ("logits", "2048"))
    assert net.fc is not None
    expected = found["2048"].values @ net.fc.weight.T
    assert torch.allclose(found["logits"].values, expected, rtol=1e-4, atol=1e-3)
    assert float(net.fc.bias.abs().max()) > 0.1


@pytest.mark.parametrize(
    ("taps", "parts"),
    [(("64pre",), 3), (("64",), 3), (("192pre",), 5), (("192",), 5), (("64", "768"), 13), (("2048",), 16)],
)
def test_no_part_beyond_the_last_tap_is_run(net: Inception, ran: list[str], taps: tuple[str, ...], parts: int) -> None:
    net(torch.zeros(1, 3, 75, 75), taps)
    assert ran == [name for name, _ in net.named_children()][:parts]


def test_maps_are_of_native_resolution_and_pool_to_the_vectors(net: Inception) -> None:
    x = torch.from_numpy(textures(2, 64, 96)).permute(0, 3, 1, 2).float() / 128 - 1
    found = net(x, ("64pre", "64", "192pre", "192"))
    assert found["64pre"].shape == (2, 64, 29, 45)
    assert found["192pre"].shape == (2, 192, 12, 20)
    for tap in ("64", "192"):
        pooled = F.max_pool2d(found[tap + "pre"], 3, stride=2)
        assert torch.equal(pooled.mean((2, 3)), found[tap])


@pytest.mark.parametrize("tap", TAPS)
def test_smallest_sizes(net: Inception, tap: str) -> None:
    side = TAPS[tap]
    assert net(torch.zeros(1, 3, side, side), (tap,))[tap].shape[:2] == (1, WIDTHS[tap.removesuffix("pre")])
    with pytest.raises(RuntimeError):
        net(torch.zeros(1, 3, side - 1, side - 1), (tap,))


def test_the_two_kinds_part_at_the_first_average(net: Inception, torchvision_net: Inception) -> None:
    x = torch.cat([resized(p) for p in textures(2, 64, 64)])
    ours, theirs = (one(x, ("192", "768", "2048")) for one in (net, torchvision_net))
    assert torch.equal(ours["192"], theirs["192"])
    assert not torch.allclose(ours["768"], theirs["768"], rtol=1e-3)
    assert not torch.allclose(ours["2048"], theirs["2048"], rtol=1e-3)


def test_averages_at_a_border_and_the_last_blocks_maximum(net: Inception, torchvision_net: Inception) -> None:
    ones = torch.ones(1, 192, 5, 5)
    seen = {}
    for kind, one in (("fid", net), ("torchvision", torchvision_net)):
        for block in ("Mixed_5b", "Mixed_7b", "Mixed_7c"):
            room = getattr(one, block)
            (branch,) = [b for b in room.branches if b[-1] == ["branch_pool"]]
            seen[kind, block] = float(room._step(branch[0][0], ones)[0, 0, 0, 0]), branch[0][0]
    assert seen == {
        ("fid", "Mixed_5b"): (1.0, "avg"), ("fid", "Mixed_7b"): (1.0, "avg"), ("fid", "Mixed_7c"): (1.0, "max"),
        ("torchvision", "Mixed_5b"): (pytest.approx(4 / 9), "avg"),
        ("torchvision", "Mixed_7b"): (pytest.approx(4 / 9), "avg"),
        ("torchvision", "Mixed_7c"): (pytest.approx(4 / 9), "avg"),
    }  # fmt: skip
    assert {m.eps for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-3}


# ---- to 299 pixels


def row(*codes: int) -> np.ndarray:
    """A picture of one row of greys, (1, n, 3)."""
    return np.repeat(np.array(codes, np.uint8)[None, :, None], 3, axis=2)


def codes(x: torch.Tensor, mode: str) -> list[float]:
    """The first row back in codes of 0..255."""
    first = x[0, 0, 0].double()
    return ((first + 1) * 127.5 if mode == "pytorch-fid" else first * 128 + 128).tolist()


@pytest.mark.parametrize(
    ("mode", "given", "side", "expected"),
    [
        ("reference", (0, 100), 4, [0, 50, 100, 100]),  # sources 0, 1/2, 1, 3/2; the last is beyond the end
        ("reference", (10, 20, 30, 90), 2, [10, 30]),  # sources 0 and 2, nothing is averaged
        ("reference", (0, 90, 30), 2, [0, 60]),  # sources 0 and 3/2
        ("pytorch-fid", (0, 100), 4, [0, 25, 75, 100]),  # sources -1/4, 1/4, 3/4, 5/4
        ("pytorch-fid", (10, 20, 30, 90), 2, [15, 60]),  # sources 1/2 and 5/2
        # cubic with a = -1/2: w(1/4) = 111/128, w(3/4) = 29/128, w(5/4) = -9/128, over the pixels there are
        ("clean", (0, 255), 4, [0, 255 * 29 / 140, 255 * 111 / 140, 255]),  # the ends, -22.5 and 277.5, are clipped
        ("clean", (50, 150), 4, [50 - 900 / 102, 50 + 2900 / 140, 150 - 2900 / 140, 150 + 900 / 102]),
    ],
)
def test_resizing_by_hand(mode: str, given: tuple[int, ...], side: int, expected: list[float]) -> None:
    across = resized(row(*given), mode, side)
    assert across.shape == (1, 3, side, side)
    assert across.dtype == torch.float32
    assert codes(across, mode) == pytest.approx(expected, abs=1e-3)
    down = resized(np.ascontiguousarray(row(*given).transpose(1, 0, 2)), mode, side)
    assert torch.allclose(down, across.transpose(2, 3), atol=1e-6)


def test_only_clean_averages_what_falls_between() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    found = {mode: codes(resized(np.repeat(board[:, :, None], 3, 2), mode, 16), mode) for mode in RESIZES}
    assert found["reference"] == pytest.approx([0.0] * 16, abs=1e-3)
    assert found["clean"] == pytest.approx([127.5] * 16, abs=1)


@pytest.mark.parametrize("mode", RESIZES)
def test_constant_pictures_of_any_size_stay_constant_in_their_channels(mode: str) -> None:
    for height, width in ((1, 1), (1, 400), (SIDE, SIDE), (310, 2)):
        x = resized(np.full((height, width, 3), (0, 128, 255), np.uint8), mode)
        white = 1.0 if mode == "pytorch-fid" else 127 / 128
        middle = 256 / 255 - 1 if mode == "pytorch-fid" else 0.0
        for channel, value in enumerate((-1.0, middle, white)):
            assert torch.allclose(x[0, channel], torch.tensor(value), atol=1e-5), (height, width, channel)


def test_one_pixel_is_a_picture(net: Inception) -> None:
    assert bool(torch.isfinite(features(net, textures(1, 1, 1))["2048"].values).all())


# ---- pools


@pytest.mark.parametrize(("height", "width"), [(3, 3), (3, 4), (5, 8), (6, 7), (17, 17), (35, 36)])
def test_pools_have_torchs_bits(height: int, width: int) -> None:
    """Also with infinite values, and NaN where torch has it."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, height, width)).astype(np.float32))
    odd = x.clone()
    odd[0, 0, 1, 1], odd[1, 2, 0, 2] = math.nan, math.inf
    for z in (x, odd, x.transpose(2, 3)):
        assert torch.equal(max_by_two(z).nan_to_num(7), F.max_pool2d(z, 3, stride=2).nan_to_num(7))
        for counted in (True, False):
            expected = F.avg_pool2d(z, 3, stride=1, padding=1, count_include_pad=counted)
            assert torch.equal(mean_of_nine(z, counted).nan_to_num(7), expected.nan_to_num(7))
    assert mean_of_nine(x[:, :, :1, :1], False).tolist() == x[:, :, :1, :1].tolist()


# ---- features


def test_features_do_not_depend_on_batches(net: Inception) -> None:
    x = textures(5, 50, 40)
    at_once = features(net, x, tuple(WIDTHS), batch=5)
    for batch in (1, 2):
        again = features(net, x, tuple(WIDTHS), batch=batch)
        for tap, f in again.items():
            largest = float(at_once[tap].values.abs().max())
            assert float((f.values - at_once[tap].values).abs().max()) < 1e-4 * largest, tap


def test_pictures_may_stream_with_different_sizes(net: Inception) -> None:
    x, y = textures(1, 30, 40)[0], textures(1, 50, 20, seed=1)[0]
    counts: list[int] = []
    stream = (Picture(p, "RGB") for p in (x, y, x))
    found = features(net, stream, ("64",), batch=2, on_progress=counts.append)["64"].values
    assert counts == [2, 3]
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1:2], features(net, y[None], ("64",))["64"].values)


def test_what_is_changed_in_pictures_is_said(net: Inception) -> None:
    grey = textures(1, 16, 16)[0][:, :, :1]
    opaque = np.concatenate([grey.repeat(3, 2), np.full_like(grey, 255)], axis=2)
    deep = (grey.astype(np.uint16) * 257).repeat(3, 2)
    floats = np.concatenate([deep[:8].astype(np.float32) / 65535, np.full((8, 16, 3), 7, np.float32)])
    given = [grey[:, :, 0], Picture(grey, "L"), Picture(opaque, "RGBA"), Picture(deep, "RGB"), Picture(floats, "RGB")]
    found = features(net, given, ("64",))["64"]
    assert found.notes == (
        "grey was repeated to three channels (2 of 5)",
        "its opaque alpha channel was left out (1 of 5)",
        "uint16 values were rounded, and clipped, to 8 bits (1 of 5)",
        "float32 values were rounded, and clipped, to 8 bits (1 of 5)",
    )
    for values in found.values[1:4]:
        assert torch.equal(values, found.values[0])
    assert rgb8(given[-1])[0].max() == 255


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ([], "no pictures"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no pictures"),
        (np.zeros((8, 8, 3), np.uint8), "give several pictures"),
        (Picture(np.zeros((8, 8, 3), np.uint8), "RGB"), "give several pictures"),
        ([np.full((8, 8, 3), math.nan)], "float64 and shape"),
        ([np.zeros((8, 8, 3), np.float32)], "from_unit"),
        ([np.zeros((8, 0, 3), np.uint8)], "are not uint8"),
        ([np.zeros((8, 8, 4), np.uint8)], "transparent"),
        ([Picture(np.zeros((8, 8, 2), np.uint8), "LA")], "lay them on a background"),
        ([Picture(np.zeros((8, 8, 4), np.uint8), "RGBA", name="veil.png")], "^veil.png: pictures with transparent"),
        ([Picture(np.zeros((8, 8, 5), np.uint8), "multi")], "5 channels without a meaning"),
    ],
)
def test_unusable_pictures_are_refused(net: Inception, pictures: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        features(net, pictures, ("64",))


def test_pictures_with_nan_cannot_be_made() -> None:
    with pytest.raises(InputError, match="NaN"):
        Picture(np.full((8, 8, 3), math.nan, np.float32), "RGB")


def test_weights_that_overflow_are_noticed(state: dict[str, torch.Tensor]) -> None:
    huge = from_state_dict(state | {"Conv2d_1a_3x3.bn.bias": torch.full((32,), 3e38)})
    with pytest.raises(FloatingPointError, match="overflow"):
        features(huge, textures(1, 8, 8), ("64",))
    with pytest.raises(FloatingPointError, match="overflow"):
        sifid(textures(1, 32, 32)[0], textures(1, 32, 32)[0], net=huge)


def test_words_that_are_not_known(net: Inception) -> None:
    x = textures(1, 8, 8)
    for taps in (("65",), ("64", "192pre"), ()):
        with pytest.raises(ValueError, match="must be among 64, 192, 768, 2048 and logits"):
            features(net, x, taps)
    with pytest.raises(ValueError, match="resize='cleaner' is not one of reference, pytorch-fid, clean"):
        features(net, x, resize="cleaner")
    with pytest.raises(ValueError, match="resize='cleaner'"):
        resized(x[0], "cleaner")
    with pytest.raises(ValueError, match="batch=0"):
        features(net, x, batch=0)
    with pytest.raises(ValueError, match="kind='tf' is not one of fid, torchvision"):
        Inception("tf")


def test_features_made_differently_are_not_compared(net: Inception, torchvision_net: Inception) -> None:
    x = textures(1, 32, 32)
    one = features(net, x, ("64",))["64"]
    require_comparable(one, features(net, x, ("64",), batch=3)["64"])
    for other in (
        features(net, x, ("192",))["192"],
        features(net, x, ("64",), resize="clean")["64"],
        features(torchvision_net, x, ("64",))["64"],
    ):
        with pytest.raises(ValueError, match="cannot be compared"):
            require_comparable(one, other)


#: mean feature, and Frechet distance between two sets of four, which tests/oracles found in other libraries too
FROZEN = {
    ("reference", "64"): (0.4820818, 11.16747),
    ("reference", "192"): (0.7103076, 30.41922),
    ("reference", "768"): (1.993456, 927.1034),
    ("reference", "2048"): (6.857064, 18561.42),
    ("reference", "logits"): (12.04058, 18015.08),
    ("pytorch-fid", "64"): (0.4851523, 11.15347),
    ("pytorch-fid", "192"): (0.7118139, 30.63122),
    ("pytorch-fid", "768"): (2.011176, 983.0857),
    ("pytorch-fid", "2048"): (6.926919, 19290.04),
    ("pytorch-fid", "logits"): (12.15599, 19088.33),
    ("clean", "64"): (0.5386562, 11.30776),
    ("clean", "192"): (0.765369, 34.69267),
    ("clean", "768"): (1.889693, 829.1919),
    ("clean", "2048"): (6.497596, 14767.01),
    ("clean", "logits"): (11.38705, 14689.81),
}


@pytest.mark.parametrize("mode", RESIZES)
def test_frozen_values(net: Inception, mode: str) -> None:
    x = np.concatenate([textures(4, 64, 64, seed=2), textures(4, 64, 64, seed=3)])
    for tap, f in features(net, x, tuple(WIDTHS), resize=mode).items():
        found = float(f.values.double().abs().mean()), frechet(f.values[:4], f.values[4:]).value
        assert found == pytest.approx(FROZEN[mode, tap], rel=5e-4), (mode, tap)


# ---- single pictures


def test_sifid_is_the_distance_between_the_maps(torchvision_net: Inception) -> None:
    x, y = textures(1, 64, 64)[0], textures(1, 70, 60, seed=1)[0]
    for tap, n in (("192pre", (12 * 12, 13 * 11)), ("64pre", (29 * 29, 32 * 27))):
        found = sifid(x, y, tap=tap, net=torchvision_net)
        maps = [torchvision_net(torch.from_numpy(p).permute(2, 0, 1)[None] / 127.5 - 1, (tap,))[tap][0] for p in (x, y)]
        samples = [m.flatten(1).T.double() for m in maps]
        (mu_x, s_x), (mu_y, s_y) = ((s.mean(0), torch.cov(s.T)) for s in samples)
        root = torch.linalg.eigvals(s_x @ s_y).real.clamp(min=0).sqrt().sum()
        expected = float((mu_x - mu_y).square().sum() + s_x.trace() + s_y.trace() - 2 * root)
        assert found.value == pytest.approx(expected, rel=1e-4)
        assert found.locations == (n,)
        assert found.record() | {"value": 0, "values": 0, "locations": 0} == {
            "name": "SiFID", "value": 0, "values": 0, "tap": tap, "weights": "torchvision", "sha256": "1" * 64,
            "input_range": "2x - 1 of 8-bit codes as x in [0, 1]", "channels": int(tap[:-3]), "locations": 0,
            "notes": (),
        }  # fmt: skip


def test_sifid_of_pairs_is_the_mean(net: Inception) -> None:
    x, y = textures(2, 40, 40), textures(2, 40, 40, seed=1)
    each = [sifid(a, b, net=net).value for a, b in zip(x, y, strict=True)]
    both = sifid(list(x), list(y), net=net)
    assert both.values == pytest.approx(each, rel=1e-6)
    assert both.value == pytest.approx(sum(each) / 2)
    assert sifid(x, y, net=net) == both
    for wrong in (list(x), []):
        with pytest.raises(ValueError, match="in pairs"):
            sifid(wrong, list(y[:1]) if wrong else [], net=net)


def test_sifid_runs_the_stem_alone(net: Inception, ran: list[str]) -> None:
    x = textures(1, 40, 40)[0]
    assert sifid(x, x, net=net).value == pytest.approx(0, abs=1e-6)
    assert ran == 2 * [f"Conv2d_{part}" for part in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")]


@pytest.mark.parametrize(("tap", "height", "width"), [("192pre", 19, 23), ("192pre", 23, 19), ("64pre", 7, 9)])
def test_the_smallest_pictures_of_sifid(tap: str, height: int, width: int) -> None:
    x = textures(2, height, width)
    assert rsifid(x[0], x[1], tap=tap).locations == ((2, 2),)
    for small in (x[:, : min(height, width) - 1], x[:, :-1, :-1], x[:, :1, :1]):
        with pytest.raises(InputError, match="too small"):
            rsifid(small[0], small[1], tap=tap)


def test_sifid_without_weights_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("TEXSYN_WEIGHTS", raising=False)
    x = textures(1, 40, 40)[0]
    with pytest.raises(InputError, match=r"inception_v3_google-0cc3c7bd.pth .*download.pytorch.org.* TEXSYN_WEIGHTS"):
        sifid(x, x)
    with pytest.raises(InputError, match=r"6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"):
        sifid(x, x, weights="fid")
    with pytest.raises(ValueError, match="weights='keras' is not one of fid, torchvision"):
        sifid(x, x, weights="keras")
    with pytest.raises(ValueError, match="tap='2048' is not one of 192pre, 64pre"):
        sifid(x, x, tap="2048")


def test_numbers_made_differently_are_not_compared(net: Inception) -> None:
    x = textures(1, 40, 40)[0]
    one = rsifid(x, x)
    one.require_comparable(rsifid(x, x[::-1]))
    for other in (rsifid(x, x, seed=1), rsifid(x, x, tap="64pre"), rsifid(x, x[:36]), sifid(x, x, net=net)):
        with pytest.raises(ValueError, match="cannot be compared"):
            one.require_comparable(other)


def test_rsifid_is_a_function_of_its_seed() -> None:
    x, y = textures(2, 48, 48)
    assert rsifid(x, y).name == "rSiFID(0)"
    assert rsifid(x, y) == rsifid(x, y, seed=0)
    assert rsifid(x, y).value != rsifid(x, y, seed=1).value
    stem = random_stem(0)
    assert [tuple(k.shape) for k in stem] == [
        (32, 3, 3, 3),
        (32, 32, 3, 3),
        (64, 32, 3, 3),
        (80, 64, 1, 1),
        (192, 80, 3, 3),
    ]
    for k in stem:
        n = k[0].numel()
        assert float(k.square().mean()) == pytest.approx(2 / n, rel=0.15)


def test_rsifid_of_a_grey_picture_is_that_of_its_colours() -> None:
    grey = textures(1, 40, 40)[0][:, :, :1]
    same = rsifid(grey, grey.repeat(3, 2))
    assert same.value == pytest.approx(0, abs=1e-6)
    assert same.notes == ("grey was repeated to three channels",)


def test_rsifid_sees_what_happens_to_a_texture() -> None:
    from texsyn.images import load

    whole = load("skimage:grass").pixels
    assert whole.ndim == 3
    x, held_out = whole[:128, :128], whole[256:384, 256:384]
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(x.reshape(-1, x.shape[2])).reshape(x.shape)
    blurred = np.mean([np.roll(x, (i, j), (0, 1)) for i in range(3) for j in range(3)], axis=0).astype(np.uint8)
    darker = (x * 0.8).astype(np.uint8)
    best = rsifid(x, held_out).value
    for damaged in (shuffled, blurred, darker):
        assert rsifid(x, damaged).value > 2 * best
