"""Sets of numbers that StyleGANs were published with, by the names of their released code.

StyleGAN2 with adaptive augmentation (Karras and others 2020, "Training generative adversarial networks with limited
data") chose its numbers by resolution and batch, as "auto" does; those of "paper" are of that article, "stylegan2" is
configuration F of the article before it, and "stylegan3-t" and "-r" move with, or also turn with, their latents' canvas
(Karras and others 2021). gamma of StyleGAN3, 2 (side / 256)^2, is where its documentation begins to search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KIMG = 1000  # images


@dataclass(frozen=True)
class Preset:
    """Numbers for pictures of any side, or what a rule says where there is None; channels: those of one pixel's side.

    images and average in thousands. paths: whether path lengths are penalised and styles of two latents mixed.
    """

    arch: str
    about: str
    batch: int | None = None
    group: int | None = None
    channels: int | None = None
    rate: float | None = None
    critic_rate: float | None = None
    gamma: float | None = None
    average: float | None = None
    ramp: float = 1e9  # the average's half-life is not shortened at first
    mapping_layers: int = 8
    paths: bool = True
    residual: bool = True
    rotation: bool = False
    augment: str = "ada"
    images: int = 25_000

    def settings(self, height: int, width: int) -> dict[str, Any]:
        """Settings of GanConfig for pictures of that size, on one device."""
        side = max(height, width)
        batch = self.batch or max(1, min(4096 // side, 32))
        channels = self.channels or (32768 if side >= 512 else 16384)
        rate = self.rate or (0.002 if side >= 1024 else 0.0025)
        gamma = self.gamma or (2 * (side / 256) ** 2 if self.arch == "stylegan3" else 0.0002 * side**2 / batch)
        found: dict[str, Any] = {
            "batch": batch, "group": self.group or min(batch, 4), "features": max(1, min(channels // side, 512)),
            "max_features": 512, "latent": 512, "rate": rate, "critic_rate": self.critic_rate or rate,
            "weight": gamma, "average": KIMG * (self.average or batch * 10 / 32), "ramp": self.ramp,
            "mapping_layers": self.mapping_layers, "path_weight": 2.0 if self.paths else 0.0,
            "mixing": 0.9 if self.paths else 0.0, "residual": self.residual, "augment": self.augment,
            "images": KIMG * self.images, "layers": 14,
        }  # fmt: skip
        if self.rotation:
            found |= {"rotation": True, "judged_blur": 10.0, "judged_blur_images": KIMG * 200 * batch // 32}
        return found


PRESETS: dict[str, Preset] = {
    "auto": Preset("stylegan2", "numbers by rules for any resolution", ramp=0.05, mapping_layers=2),
    "stylegan2": Preset(
        "stylegan2", "configuration F of StyleGAN2, for 1024x1024", 32, 4, 32768, 0.002, 0.002, 10.0, 10.0,
        augment="none",
    ),
    "paper256": Preset("stylegan2", "256x256", 64, 8, 16384, 0.0025, 0.0025, 1.0, 20.0),
    "paper512": Preset("stylegan2", "512x512", 64, 8, 32768, 0.0025, 0.0025, 0.5, 20.0),
    "paper1024": Preset("stylegan2", "1024x1024", 32, 4, 32768, 0.002, 0.002, 2.0, 10.0),
    "cifar": Preset(
        "stylegan2", "CIFAR-10 at 32x32", 64, 32, 32768, 0.0025, 0.0025, 0.01, 500.0, ramp=0.05, mapping_layers=2,
        paths=False, residual=False, images=100_000,
    ),
    "stylegan3-t": Preset(
        "stylegan3", "pictures move with their canvas", 32, 4, 32768, 0.0025, 0.002, ramp=0.05, mapping_layers=2,
        paths=False,
    ),
    "stylegan3-r": Preset(
        "stylegan3", "pictures move and turn with their canvas", 32, 4, 32768, 0.0025, 0.002, ramp=0.05,
        mapping_layers=2, paths=False, rotation=True,
    ),
}  # fmt: skip
