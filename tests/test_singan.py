"""SinGAN: resampling and networks against known values, training that goes on after any end, pictures of any size."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import texsyn
from texsyn import cubic
from texsyn.cubic import eight_bits, resize
from texsyn.gan.penalties import gradient_penalty
from texsyn.gan.single_image import SingleImage
from texsyn.images import InputError, Picture, Region, Size, load
from texsyn.models.base import Watch
from texsyn.models.singan import Grown, ScaleNet, Singan, SinganConfig, sizes_of
from texsyn.training import CHECKPOINT, Run

PAPER = SinganConfig(**Singan.recipes["paper"])
SMALL = SinganConfig(
    max_side=48, factor=0.65, channels=4, growth=2, max_channels=8, steps=3, d_turns=2, g_turns=2, learning_rate=0.0005
)
GROWN = replace(SMALL, architecture="grown", stages=4, growth=0, normalised=False, one_gradient=True)
OFFICIAL = replace(SMALL, compat="official", g_turns=3)
WAYS = {"singan": SMALL, "grown": GROWN, "official": OFFICIAL}


def stripes(height: int = 48, width: int = 40, n_channels: int = 3) -> Picture:
    """Slanted stripes with some noise."""
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x + 0.5 * y) / 2)[..., None] * np.array([90, 60, -40, 20])[:n_channels]
    noisy = 128 + wave + np.random.default_rng(0).normal(0, 4, (height, width, n_channels))
    return load(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module", params=WAYS)
def model(request: pytest.FixtureRequest) -> Singan:
    return Singan.fit(stripes(), WAYS[request.param], seed=1)


# ---- resampling


@pytest.mark.parametrize(
    ("factor", "first", "last", "total"),
    [
        (
            4 / 3,
            [-11.576353, 105.017159, 193.066414, 163.660725, 15.614695, 122.214217, 214.145231],
            [241.498834, 98.049667, 83.41671, 218.747658, 213.854576, 92.734367, 14.40155],
            20488.583572,
        ),
        (
            0.75,
            [42.691678, 164.690383, 73.071206, 206.962326],
            [175.286031, 116.29063, 210.00512, 29.076798],
            7224.601672,
        ),
        (0.5, [106.008718, 108.798614, 172.429001], [128.347329, 179.602829, 92.835022], 3300.234258),
    ],
)
def test_resampling_in_the_released_way_gives_the_released_values(
    factor: float, first: list[float], last: list[float], total: float
) -> None:
    i, j, c = np.mgrid[:6, :5, :3]
    u = torch.from_numpy(((7 * i + 13 * j + 5 * c) ** 2 % 251).astype(float)).permute(2, 0, 1)[None]
    made = resize(u, factor, compat="official")
    np.testing.assert_allclose(made[0, 0, 0], first, atol=1e-6)
    np.testing.assert_allclose(made[0, 0, -1], last, atol=1e-6)
    assert float(made.sum()) == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("size", [Size(9, 20), Size(31, 5), Size(16, 11), Size(1, 1), Size(64, 64)])
@pytest.mark.parametrize("periodic", [(False, False), (True, True), (False, True)])
def test_resampling_keeps_constants_and_has_no_preferred_side(size: Size, periodic: tuple[bool, bool]) -> None:
    u = torch.randn(1, 2, 16, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(
        resize(torch.ones_like(u), size, periodic=periodic), torch.ones(1, 2, *sides(size)).to(u)
    )
    made = resize(u, size, periodic=periodic)
    torch.testing.assert_close(resize(u.flip(2, 3), size, periodic=periodic), made.flip(2, 3))
    assert (size != Size(16, 11)) or torch.equal(made, u)


def sides(size: Size) -> tuple[int, int]:
    return size.height, size.width


def test_cubics_interpolate_parabolas_inside() -> None:
    at = torch.arange(40, dtype=torch.float64)
    u = (at**2).expand(1, 1, 3, 40)
    made = resize(u, Size(3, 80))[0, 0, 1]
    x = (torch.arange(80, dtype=torch.float64) + 0.5) / 2 - 0.5
    torch.testing.assert_close(made[8:-8], (x**2)[8:-8])


def test_what_wraps_may_begin_anywhere() -> None:
    u = torch.randn(1, 1, 12, 18, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size, shift in ((Size(16, 24), (4, 8)), (Size(8, 12), (2, 4))):
        moved = u.roll((3, 6), (2, 3))
        expected = resize(u, size, periodic=(True, True)).roll(shift, (2, 3))
        torch.testing.assert_close(resize(moved, size, periodic=(True, True)), expected)


def test_long_sides_are_resampled_as_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.randn(1, 3, 21, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size in (Size(30, 9), Size(7, 40)):
        short = resize(u, size)
        with monkeypatch.context() as patch:
            patch.setattr(cubic, "DENSE", 0)
            torch.testing.assert_close(resize(u, size), short)


def test_eight_bits_are_cut_not_rounded() -> None:
    u = torch.tensor([-2.0, -1.0, -1 + 2 * 1.9 / 255, 0.0, 1.0, 3.0])
    np.testing.assert_allclose((eight_bits(u) + 1) / 2 * 255, [0, 0, 1, 127, 255, 255], atol=1e-4)


# ---- sizes


@pytest.mark.parametrize(
    ("height", "width", "n", "ratio"),
    [(188, 250, 10, 0.799), (250, 250, 11, 0.794), (256, 256, 10, 0.774), (168, 250, 9, 0.788), (433, 650, 8, 0.762),
     (243, 600, 6, 0.755), (128, 128, 8, None)],
)  # fmt: skip
def test_scales_are_those_of_the_released_code(height: int, width: int, n: int, ratio: float | None) -> None:
    sizes = sizes_of(Size(height, width), PAPER)
    assert len(sizes) == n
    shrink = min(1.0, 250 / max(height, width))
    assert sizes[-1] == Size(int(np.ceil(height * shrink)), int(np.ceil(width * shrink)))
    assert min(sides(sizes[0])) in (25, 26)
    if ratio is not None:
        least = min(sides(sizes[-1]))
        assert (25 / least) ** (1 / (n - 1)) == pytest.approx(ratio, abs=6e-4)
    if (height, width) == (188, 250):
        assert sizes[0] == Size(26, 34)


# ---- networks


def numbered(network: torch.nn.Module) -> torch.nn.Module:
    """Weights that can be written down: parameter i is 0.05 sin(k + i), 1 more for a normalisation's scale."""
    network.double()
    with torch.no_grad():
        for i, (name, p) in enumerate(network.named_parameters()):
            values = 0.05 * torch.sin(torch.arange(p.numel(), dtype=torch.float64) + i)
            p.copy_(values.reshape(p.shape) + float(name.endswith("norm.weight")))
    return network


def wave(phase: float) -> Tensor:
    return torch.sin(0.7 * torch.arange(3 * 21 * 23, dtype=torch.float64) + phase).reshape(1, 3, 21, 23)


def test_a_generator_gives_the_released_codes_values() -> None:
    net = numbered(ScaleNet(3, 32, SinganConfig(), makes=True))
    with torch.no_grad():
        made = net.eval()(wave(0), wave(1))
        assert made.shape == (1, 3, 11, 13)
        np.testing.assert_allclose(made[0, :, 0, 0], [-0.225333, 0.808226, 0.809204], atol=1e-6)
        assert float(made[0, 1, 5, 6]) == pytest.approx(-0.94895711, abs=1e-8)
        assert float(made.mean()) == pytest.approx(-0.02255147, abs=1e-8)
        assert float(made.std()) == pytest.approx(0.70867727, abs=1e-8)
        made = net.train()(wave(0), wave(1))
    assert float(made[0, 1, 5, 6]) == pytest.approx(-0.78047557, abs=1e-8)
    assert float(made.mean()) == pytest.approx(-0.03385956, abs=1e-8)
    state = net.state_dict()
    np.testing.assert_allclose(state["head.norm.running_mean"][:3], [0.004252, 0.004527, 0.000673], atol=1e-6)
    np.testing.assert_allclose(state["head.norm.running_var"][:3], [0.900892, 0.900497, 0.900317], atol=1e-6)


def test_a_critic_and_its_penalty_give_the_released_codes_values() -> None:
    net = numbered(ScaleNet(3, 32, SinganConfig(), makes=False))

    def penalty() -> float:
        mixing = torch.full((1, 1, 1, 1), 0.3, dtype=torch.float64)
        return 0.1 * gradient_penalty(net, wave(0), wave(1), mixing, per_pixel=True).item()

    with torch.no_grad():
        scores = net.eval()(wave(0))
        assert float(scores[0, 0, 5, 6]) == pytest.approx(-0.04926361, abs=1e-8)
        assert float(scores.mean()) == pytest.approx(-0.04927877, abs=1e-8)
        scores = net.train()(wave(0))
    assert float(scores[0, 0, 5, 6]) == pytest.approx(-0.02484932, abs=1e-8)
    assert float(scores.mean()) == pytest.approx(-0.06252325, abs=1e-8)
    net.eval()
    assert penalty() == pytest.approx(0.09999564, abs=1e-8)
    net.train()
    assert penalty() == pytest.approx(0.08362260, abs=1e-8)


def test_weights_have_the_released_codes_names() -> None:
    blocks = ["head", "body.block1", "body.block2", "body.block3"]
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = [f"{b}.{part}" for b in blocks for part in ("conv.weight", "conv.bias", *(f"norm.{n}" for n in norm))]
    generator, critic = (ScaleNet(3, 8, SinganConfig(), makes=makes).state_dict() for makes in (True, False))
    assert list(generator) == [*names, "tail.0.weight", "tail.0.bias"]
    assert list(critic) == [*names, "tail.weight", "tail.bias"]


def test_parameters_are_as_many_as_published() -> None:
    for n, makes, count in ((9, True, 1.029e6), (9, False, 1.020e6), (8, True, 0.578e6), (11, True, 1.931e6)):
        nets = [ScaleNet(3, PAPER.width(k), PAPER, makes=makes) for k in range(n)]
        assert sum(p.numel() for net in nets for p in net.parameters()) == pytest.approx(count, rel=1e-3)
    fast = SinganConfig(**Singan.recipes["fast"])
    assert sum(p.numel() for p in Grown(3, 6, fast).parameters()) == 668_227
    assert sum(p.numel() for p in ScaleNet(3, 64, fast, makes=False).parameters()) == 113_153


# ---- training


def learned(config: SinganConfig, seed: int = 4) -> bytes:
    return Singan.fit(stripes(), config, seed=seed).to_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_learns_the_same_bits_whatever_the_threads(way: str) -> None:
    config = replace(WAYS[way], steps=2)
    one = learned(config)
    assert one != learned(config, 5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert one == learned(config)
    finally:
        torch.set_num_threads(before)


class After:
    """Is set once it has been asked n times."""

    def __init__(self, n: int) -> None:
        self.left = n

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [0, 2, 3, 4, 8, 11])
def test_a_stopped_run_keeps_a_model_and_goes_on_to_the_same_bits(tmp_path: Path, way: str, at: int) -> None:
    """Within a scale, just before and just after one begins, and at either end."""
    config = WAYS[way]
    run = Run(tmp_path, {"seed": 4}, save_every=100, sample_every=100)
    part, outcome = Singan.train(stripes(), config, seed=4, run=run, watch=Watch(cancel=After(at)))
    assert (outcome.cancelled, outcome.steps, part.steps) == (True, at, at)
    assert len(part.amplitudes) == max(at - 1, 0) // 3 + 1
    assert part.synthesise(Size(20, 30), seed=0).pixels.std() > 0
    part.save(tmp_path / "part.texsyn")
    again = texsyn.load(tmp_path / "part.texsyn")
    assert np.array_equal(*(m.synthesise(Size(50, 31), seed=2).pixels for m in (part, again)))
    last, outcome = Singan.train(stripes(), config, seed=4, run=replace(run, resume=True))
    assert outcome.steps == last.steps == 3 * len(last.sizes)
    assert last.to_bytes() == learned(config)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_singan import GROWN, SMALL, Run, Singan, replace, stripes
config = replace({"singan": SMALL, "grown": GROWN}[sys.argv[3]], steps=12)
run = Run(Path(sys.argv[1]), {"seed": 4}, save_every=1, sample_every=1000)
Singan.train(stripes(), config, seed=4, run=run)
"""


@pytest.mark.parametrize("way", ["singan", "grown"])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, way: str) -> None:
    config = replace(WAYS[way], steps=12)
    here = Path(__file__).parent
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(here), way], cwd=here.parent)
    checkpoint = tmp_path / CHECKPOINT
    while process.poll() is None and not (checkpoint.exists() and steps_of(checkpoint) > 13):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 13 < steps_of(checkpoint) < 12 * 4, "it was to be killed in the midst of its work"
    run = Run(tmp_path, {"seed": 4}, resume=True, sample_every=1000)
    assert Singan.train(stripes(), config, seed=4, run=run)[0].to_bytes() == learned(config)


def steps_of(checkpoint: Path) -> int:
    from texsyn.training import read_checkpoint

    return read_checkpoint(checkpoint.parent, {"seed": 4})[0]


def test_a_run_of_another_pyramid_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, {"seed": 4})
    Singan.train(stripes(), SMALL, seed=4, run=run, watch=Watch(cancel=After(4)))
    for other in (replace(SMALL, channels=5), GROWN, replace(SMALL, max_side=32)):
        with pytest.raises(InputError, match="does not fit"):
            Singan.train(stripes(), other, seed=4, run=replace(run, resume=True))


@pytest.mark.parametrize("way", ["singan", "grown"])
def test_reconstruction_comes_near_and_pictures_keep_colours(way: str) -> None:
    config = replace(WAYS[way], steps=30, channels=8, max_side=32, factor=0.75, d_turns=1, learning_rate=0.005)
    model = Singan.fit(stripes(), config, seed=0)
    x = model.reals()[-1]
    assert float((model.reconstruct() - x).square().mean()) < 0.3 * float(x.var())
    made = model.generate(Size(64, 64), seed=9)
    assert float((made.mean((2, 3)) - x.mean((2, 3))).abs().max()) < 0.25
    assert 0.5 < float(made.std() / x.std()) < 1.5


@pytest.mark.slow
def test_a_real_training_gives_gravel() -> None:
    """Two CPU minutes: scores at the floor of two halves of the exemplar, sharp, and each seed another picture."""
    import json

    from texsyn.images import to_unit
    from texsyn.metrics.texture import score

    model = Singan.fit(load("skimage:gravel:256"), SinganConfig(factor=0.6, steps=300), seed=0)
    x = to_unit(model.to_pixels(model.reals()[-1]))
    one, other = (to_unit(model.synthesise(Size(128, 128), seed=s).pixels) for s in (1, 2))
    found = json.loads(score(one, x).to_json())
    assert found["msw"] < 2 * found["msw_floor"]
    assert 0.7 < found["sharp"] < 1.2
    assert (one - other).std() > 0.8 * one.std()
    assert float((model.reconstruct() - model.reals()[-1]).square().mean().sqrt()) < 0.15


def test_z_star_stays_but_in_the_released_way() -> None:
    for config, stays in ((SMALL, True), (OFFICIAL, False)):
        learner = SingleImage(Singan(stripes(), config), 0)
        seen = [learner.z_rec.clone()]
        for i in range(5):  # two of them at the next scale, where z* is as it was
            learner.step(i)
            seen.append(learner.z_rec.clone())
        assert torch.equal(seen[0], seen[1]) == torch.equal(seen[1], seen[2]) == stays
        assert torch.equal(seen[3], seen[5])
        assert torch.equal(seen[3][:, 0], seen[3][:, 2])


def test_outdated_gradients_are_those_of_an_optimiser_behind_autograds_back() -> None:
    """A step at the coarsest scale in the released way, against the loop written out with weights changed unseen."""
    config = replace(OFFICIAL, steps=2)
    learner = SingleImage(Singan(stripes(), config), 3)
    g, d = ScaleNet(3, 4, config, makes=True), ScaleNet(3, 4, config, makes=False)
    g.load_state_dict(learner.generator.state_dict())
    d.load_state_dict(learner.critic.state_dict())
    random = torch.Generator()
    random.set_state(learner.random.get_state())
    x, size = learner.reals[0], learner.of.sizes[0]
    adams = [HiddenAdam(net, config.learning_rate) for net in (g, d)]
    pad = torch.nn.ZeroPad2d(5)
    z_rec = torch.randn(1, 1, *sides(size), generator=random).expand(1, 3, -1, -1)
    for _ in range(config.d_turns):
        z = pad(torch.randn(1, 1, *sides(size), generator=random).expand(1, 3, -1, -1))
        made = g(z, torch.zeros_like(z))
        mixing = torch.rand(1, 1, 1, 1, generator=random)
        penalty = gradient_penalty(d, x, made.detach(), mixing, per_pixel=True)
        d.zero_grad()
        (-d(x).mean() + d(made.detach()).mean() + 0.1 * penalty).backward()
        adams[1].step()
    for _ in range(config.g_turns):
        g.zero_grad()
        (-d(made).mean()).backward(retain_graph=True)
        (10 * (g(pad(z_rec), pad(torch.zeros_like(z_rec))) - x).square().mean()).backward()
        adams[0].step()
    learner.step(0)
    for net, mine in ((g, learner.generator), (d, learner.critic)):
        for (name, t), found in zip(net.state_dict().items(), mine.state_dict().values(), strict=True):
            if not name.endswith(("conv.bias", "running_mean")):  # no loss depends on them: Adam follows rounding
                torch.testing.assert_close(found, t, rtol=1e-4, atol=2e-5, msg=name)
    fresh = SingleImage(Singan(stripes(), replace(config, compat="texsyn")), 3)
    fresh.step(0)
    pairs = zip(fresh.generator.parameters(), g.parameters(), strict=True)
    gap = max(float((a - b).detach().abs().max()) for a, b in pairs)
    assert gap > 2e-4, "the two ways should differ"


class HiddenAdam:
    """Adam as in its paper, on weights that autograd does not see change."""

    def __init__(self, net: torch.nn.Module, rate: float) -> None:
        self.weights, self.rate, self.t = list(net.parameters()), rate, 0
        self.m, self.v = ([torch.zeros_like(p) for p in self.weights] for _ in range(2))

    def step(self) -> None:
        self.t += 1
        for p, m, v in zip(self.weights, self.m, self.v, strict=True):
            assert p.grad is not None
            m.mul_(0.5).add_(p.grad, alpha=0.5)
            v.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            p.data -= self.rate * (m / (1 - 0.5**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)


def test_a_scale_begins_with_the_weights_of_the_one_before_where_widths_agree() -> None:
    learner = SingleImage(Singan(stripes(), SMALL), 0)  # widths 4, 4, 8, 8
    for i in range(3):
        learner.step(i)
    before, critic = copied(learner.generator), copied(learner.critic)
    learner._begin(1)
    assert equal(before, learner.generator.state_dict())
    assert equal(critic, learner.critic.state_dict())
    assert equal(before, learner.frozen[0].state_dict())
    learner._begin(2)
    assert learner.generator.head.conv.weight.shape[0] == 8


def copied(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in net.state_dict().items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(t, other[name]) for name, t in one.items())


def test_a_growing_network_learns_in_its_last_stages_at_rates_by_age() -> None:
    learner = SingleImage(Singan(stripes(), replace(GROWN, trained_stages=2)), 0)
    for i in range(9):
        learner.step(i)
    network = learner.generator
    assert isinstance(network, Grown)
    before = copied(network)
    learner.step(9)
    moved = {name for name, t in network.state_dict().items() if name not in before or not torch.equal(t, before[name])}
    assert {name.split(".")[0] + name.split(".")[1] for name in moved if name.startswith("body")} == {"body2", "body3"}
    assert not any(name.startswith("head") for name in moved)
    assert any(name.startswith("tail") for name in moved)
    rates = learner.loop.players["g"].rates
    assert rates == pytest.approx([GROWN.learning_rate, 0.1 * GROWN.learning_rate])


def test_noise_is_as_strong_as_what_reconstruction_lacks() -> None:
    model = Singan.fit(stripes(), SMALL, seed=2)
    assert model.amplitudes[0] == 1
    x = model.reals()[1]
    model.sizes, model.scales = model.sizes[:1], model.scales[:1]
    lack = resize(model.reconstruct(), Size(*x.shape[2:])) - x
    assert model.amplitudes[1] == pytest.approx(0.1 * float(lack.square().mean().sqrt()), rel=1e-4)


def test_a_scale_that_has_hardly_begun_already_gives_pictures_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running statistics of two passes fit no network: with them every seed would have the same grey."""
    learner = SingleImage(Singan(stripes(), replace(SMALL, d_turns=1, g_turns=1)), 0)
    learner.step(0)
    before = learner.state()

    def variety() -> float:
        one, other = (learner.model().generate(Size(30, 30), seed=s) for s in (1, 2))
        return float((one - other).std())

    measured = variety()
    assert equal(before, learner.state())
    monkeypatch.setattr("texsyn.gan.single_image.SETTLED", 0)
    assert measured > 10 * variety()


def test_progress_goes_by_work() -> None:
    learner = SingleImage(Singan(stripes(96, 96), replace(SMALL, max_side=96, steps=10)), 0)
    n = len(learner.of.sizes)
    shares = [learner.share(i) for i in range(10 * n + 1)]
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)
    assert np.diff(shares).min() > 0
    assert shares[10 * (n - 1)] < 0.7 < (n - 1) / n


# ---- pictures


def test_noise_of_the_coarsest_scale_is_one_channel() -> None:
    model = Singan.fit(stripes(), replace(SMALL, steps=1), seed=0)
    noise = model.noise_of(7)
    coarse, fine = noise(0, Size(9, 8)), noise(2, Size(9, 8))
    assert torch.equal(coarse[:, 0], coarse[:, 2])
    assert not torch.equal(fine[:, 0], fine[:, 2])
    assert not torch.equal(coarse[:, 0], fine[:, 0])
    assert torch.equal(model.noise_of(7)(2, Size(4, 5)), fine[:, :, :4, :5])


def test_pictures_that_wrap_may_begin_anywhere(model: Singan) -> None:
    """With the noise of every scale turned by half its sides, the whole picture is turned by half of its."""
    size = next(
        Size(h, w)
        for h in range(60, 2000, 2)
        for w in range(60, 90, 2)
        if all(side % 2 == 0 for s in model.sizes_for(Size(h, w)) for side in sides(s))
    )
    noise = model.noise_of(3)

    def turned(scale: int, here: Size) -> Tensor:
        return noise(scale, here).roll((here.height // 2, here.width // 2), (2, 3))

    made = model.generate(size, seed=3, tile="xy")
    again = model.generate(size, seed=3, tile="xy", noise=turned).roll((size.height // 2, size.width // 2), (2, 3))
    torch.testing.assert_close(again, made, rtol=0, atol=2e-5)
    one = model.generate(size, seed=3, tile="x", noise=lambda k, s: noise(k, s).roll(s.width // 2, 3))
    torch.testing.assert_close(one.roll(size.width // 2, 3), model.generate(size, seed=3, tile="x"), rtol=0, atol=2e-5)
    assert float((model.generate(size, seed=3) - made).abs().max()) > 1e-3


def test_bands_of_rows_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Singan.fit(stripes(), replace(SMALL, steps=1), seed=0)
    whole = model.generate(Size(70, 50), seed=1)
    monkeypatch.setattr("texsyn.models.scale_networks.BAND", 1)
    torch.testing.assert_close(model.generate(Size(70, 50), seed=1), whole, rtol=0, atol=1e-5)


def test_reconstruction_is_generation_without_chance(model: Singan) -> None:
    n, size = len(model.sizes), model.sizes[-1]
    assert torch.equal(model.reconstruct(), model.generate(size, seed=8, keep=n))
    two = model.generate(size, seed=8, keep=2)
    assert not torch.equal(two, model.reconstruct())
    assert not torch.equal(two, model.generate(size, seed=9, keep=2))
    assert model.reconstruct().shape == (1, 3, *sides(size))


def test_a_start_is_what_the_first_scale_adds_to(model: Singan) -> None:
    size = Size(66, 51)
    start = resize(model.from_picture(model.exemplar), model.sizes_for(size)[2])
    one, other = (model.generate(size, seed=s, first=2, start=start) for s in (1, 2))
    assert not torch.equal(one, other)
    assert one.shape == (1, 3, 66, 51)
    assert not torch.equal(one, model.generate(size, seed=1, first=2, start=start.flip(3)))
    if model.config.architecture == "singan":
        net, k = model.scales[-1], len(model.sizes) - 1
        below, pad = resize(model.from_picture(model.exemplar), size), torch.nn.ZeroPad2d(5)
        z = model.amplitudes[-1] * model.noise_of(4)(k, size)
        with torch.no_grad():
            expected = net(pad(z + below), pad(below))
        torch.testing.assert_close(model.generate(size, seed=4, first=k, start=below), expected)
    with pytest.raises(ValueError, match="start of shape"):
        model.generate(size, seed=1, first=1, start=start)
    with pytest.raises(ValueError, match="first=9"):
        model.generate(size, seed=1, first=9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_come_back_from_values(dtype: type) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 44, 2)).astype(dtype) if dtype != np.float32 else rng.normal(5, 3, (40, 44, 2))
    picture = load(pixels.astype(dtype))
    model = Singan(picture, SMALL)
    values = model.from_picture(picture)
    assert values.shape == (1, 2, 40, 44)
    assert float(values.abs().max()) <= 1
    np.testing.assert_allclose(model.to_pixels(values), pixels.astype(dtype), rtol=1e-6, atol=2e-6)
    assert model.to_pixels(3 * torch.ones(1, 2, 3, 3)).max() == (picture.pixels.max() if dtype == np.float32 else
                                                                 np.iinfo(dtype).max)  # fmt: skip
    with pytest.raises(InputError, match="has 3 channels"):
        model.from_picture(stripes())


def test_a_larger_exemplar_is_learned_at_its_side_and_that_is_said() -> None:
    model, outcome = Singan.train(stripes(120, 90), replace(SMALL, steps=1), seed=0)
    assert model.sizes[-1] == Size(48, 36)
    assert "learned at 36x48, shrunk from 90x120" in outcome.sentence
    assert model.synthesise(Size(30, 30), seed=0).evidence[0]["trained_at"] == "36x48"
    assert "shrunk" not in Singan.train(stripes(), replace(SMALL, steps=1), seed=0)[1].sentence


# ---- at the door


def test_pictures_that_teach_nothing_are_refused_in_one_sentence() -> None:
    flat = load(np.full((40, 40, 3), (9, 80, 200), np.uint8))
    long = stripes(30, 400)
    for picture, words in ((flat, "one colour"), (long, "at least 25x25"), (stripes(24, 60), "60x24")):
        with pytest.raises(InputError, match=words) as refused:
            Singan.fit(picture, replace(SMALL, max_side=128), seed=0)
        assert "\n" not in str(refused.value)
    assert Singan(stripes(12, 60), replace(SMALL, max_side=128, min_side=12)).sizes[0].height in (12, 13)


def test_settings_out_of_range_are_refused_by_name() -> None:
    wrong = {
        "architecture": "unet", "compat": "old", "min_side": 10, "max_side": 20, "factor": 1.0, "stages": 1,
        "channels": 0, "steps": 0, "d_turns": 0, "g_turns": 0, "trained_stages": 0, "learning_rate": 0.0,
        "last_rate": 2.0, "rate_per_age": 0.0, "alpha": -1.0, "penalty": -1.0, "noise": -0.1, "slope": -0.1,
        "max_minutes": -1.0, "growth": -1, "max_channels": 0,
    }  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"{name}="):
            SinganConfig(**{name: value})
    with pytest.raises(ValueError, match="compat='official'"):
        SinganConfig(compat="official", architecture="grown")


def test_weights_of_another_pyramid_are_refused() -> None:
    model = Singan.fit(stripes(), replace(SMALL, steps=1), seed=0)
    tensors = model.tensors()
    for other in (replace(SMALL, channels=5), replace(SMALL, max_side=32), GROWN, replace(SMALL, normalised=False)):
        with pytest.raises(InputError):
            Singan.from_tensors(stripes(), other, tensors, "cpu")
    for name, t in (
        ("fixed_noise", tensors["fixed_noise"][..., 1:]),
        ("amplitudes", tensors["amplitudes"].float()),
        ("amplitudes", torch.ones(9, dtype=torch.float64)),
        ("scales.9.head.conv.weight", torch.ones(1)),
        ("scales.1.tail.0.bias", torch.ones(2)),
    ):
        with pytest.raises(InputError):
            Singan.from_tensors(stripes(), SMALL, tensors | {name: t}, "cpu")


# ---- the endless plane


@pytest.fixture(scope="module", params=["singan", "grown"])
def endless(request: pytest.FixtureRequest) -> Singan:
    return Singan.fit(stripes(), replace(WAYS[request.param], endless=True), seed=1)


def test_random_regions_equal_the_crop(endless: Singan) -> None:
    whole = Region(-300, -280, 640, 600)
    plane, chance = endless.plane(seed=3), random.Random(8)
    pixels = plane(whole)
    assert pixels.std() > 0
    for _ in range(20):
        height, width = chance.randint(1, 90), chance.randint(1, 90)
        top, left = chance.randint(whole.top, whole.bottom - height), chance.randint(whole.left, whole.right - width)
        rows, columns = slice(top - whole.top, None), slice(left - whole.left, None)
        part = endless.plane(seed=3)(Region(top, left, height, width))
        assert np.array_equal(part, pixels[rows, columns][:height, :width])
    sample = endless.sample(Size(300, 280), seed=3)[0]
    assert torch.equal(endless.render(Region(17, 31, 200, 180), seed=3), sample[:, 17:217, 31:211])


def test_blocks_are_windows_of_one_function(endless: Singan) -> None:
    """A window computed at once, across borders of blocks and the origin, is what blocks say, but for rounding."""
    for period in ((None, None), (61, 300), (300, None)):
        here = Region(-37, 230, 61, 53) if period[0] is None else Region(250 % (period[0] or 1), 240, 61, 55)
        at_once = endless.values(here, 5, period).permute(1, 2, 0)
        in_blocks = endless._blocks(5, period).window(here)
        np.testing.assert_allclose(at_once, in_blocks, atol=2e-5)


@pytest.mark.parametrize("period", [(64, 80), (61, 83), (None, 37), (5, None), (300, 300), (1, 2)])
def test_planes_repeat(endless: Singan, period: tuple[int | None, int | None]) -> None:
    height, width = period[0] or 40, period[1] or 40
    here = Region(-7, 11, height, width)
    there = Region(here.top + height * bool(period[0]), here.left - width * bool(period[1]), height, width)
    one, other = (endless.values(r, 2, period) for r in (here, there))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_inside_a_plane_is_what_whole_pictures_have_there(endless: Singan) -> None:
    """Of the training's size, whose scales have the plane's grids, far from borders of zeros, with the same noise."""
    model = endless
    size = Size(model.sizes[-1].height * 8, model.sizes[-1].width * 8)
    whole = model.generate(size, seed=6)[0]
    reach = model.halo
    assert 2 * reach < min(sides(size)) - 40
    inside = Region(reach, reach, size.height - 2 * reach, size.width - 2 * reach)
    part = 2 * model.values(inside, 6, (None, None)) - 1
    expected = whole[:, reach:-reach, reach:-reach]
    torch.testing.assert_close(part, expected, rtol=0, atol=2e-5)
    near = 2 * model.values(Region(0, 0, 30, 30), 6, (None, None)) - 1
    assert float((near - whole[:, :30, :30]).abs().max()) > 1e-3


def test_the_halo_is_how_far_noise_is_looked_for(endless: Singan, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, Region]] = []

    def noise(seed: int, scale: int, region: Region, period: object) -> Tensor:
        asked.append((scale, region))
        return torch.zeros(1, endless.noise_channels(scale), region.height, region.width)

    reach, last = 0, endless.sizes[-1]
    monkeypatch.setattr(endless, "_noise", noise)
    for y in range(-last.height, 0):
        endless.values(Region(y, 7, 1, 1), 0, (None, None))
        for scale, region in asked:
            side = last.height / endless.sizes[scale].height
            reach = max(reach, y - int(np.floor(region.top * side)), int(np.ceil(region.bottom * side)) - 1 - y)
        asked.clear()
    assert 0 <= endless.halo - reach <= 1  # columns, which have grids of their own, may need one more


def test_the_plane_has_no_end(endless: Singan) -> None:
    n = endless.sizes[-1]
    far = Region(2**60 * n.height, -(2**61) * n.width, 9, 12)
    window = endless.plane(seed=3)(far)
    assert np.array_equal(window, endless.plane(seed=3)(Region(far.top - 4, far.left, 20, 12))[4:13])


@pytest.mark.parametrize("way", ["singan", "grown"])
def test_half_a_training_gives_a_plane_too(way: str) -> None:
    learner = SingleImage(Singan(stripes(), replace(WAYS[way], endless=True)), 0)
    for i in range(4):
        learner.step(i)
    model, here = learner.model(), Region(-37, 230, 61, 53)
    assert len(model.amplitudes) == 2 < len(model.sizes)
    in_blocks = model._blocks(5, (None, None)).window(here)
    np.testing.assert_allclose(model.values(here, 5, (None, None)).permute(1, 2, 0), in_blocks, atol=2e-5)
    assert in_blocks.std() > 0
    assert model.halo > 5


def test_models_that_are_not_endless_have_no_plane() -> None:
    model = Singan.fit(stripes(), replace(SMALL, steps=1), seed=0)
    assert not model.local
    with pytest.raises(NotImplementedError, match="made whole"):
        model.render(Region(0, 0, 4, 4), seed=0)
    with pytest.raises(NotImplementedError, match="made whole"):
        model.halo  # noqa: B018
