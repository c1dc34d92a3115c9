"""What a trained image GAN is: a generator of pictures of one size, picture i a function of its seed alone.

The file is safetensors: the generator's weights, and a JSON header with the configuration and what data it learned.
Loading one runs no code from the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from texsyn.gan.architectures import GanConfig
from texsyn.gan.claims import networks_of
from texsyn.gan.latents import truncated
from texsyn.gan.networks.design import ImageDiscriminator, ImageGenerator
from texsyn.gan.networks.style import StyledGenerator, keys_of
from texsyn.gan.networks.stylegan3 import AliasFreeGenerator
from texsyn.images import InputError, Picture, Size, from_unit, to_unit, write_atomically
from texsyn.images.picture import MODES
from texsyn.models.base import GENERATED, header_of, make_config
from texsyn.models.trained import load_weights
from texsyn.ot.nearest import one_torch_thread
from texsyn.training import of, under

SETTLING = 32, 64  # batches, and latents in each, that the statistics of a generator's normalisation are measured on
AT_ONCE = 2**22  # pixels of pictures that are computed together
MAPPED = 1000  # latents that are mapped together
CENTRED = 10_000  # latents whose styles are averaged to the centre of a class
CELL = 32  # pictures on sheets are enlarged up to this by whole numbers


@dataclass(frozen=True)
class Source:
    """What data a model learned: "pictures" or "points", of so many domains next to each other along the channels.

    low, high: the picture values that the network's -1 and 1 stand for, 0 and 1 but for floats of another range.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...] = ()
    kind: str = "pictures"
    domains: int = 1
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def of(cls, data: Any) -> Source:
        """That of a data set (see texsyn.datasets)."""
        return cls(
            str(getattr(data, "name", "data")), str(getattr(data, "fingerprint", "")), tuple(data.classes),
            str(getattr(data, "kind", "pictures")), int(getattr(data, "domains", 1)),
            float(getattr(data, "low", 0.0)), float(getattr(data, "high", 1.0)),
        )  # fmt: skip


class ImageModel:
    """A trained generator with its configuration. Where there are classes, labels count from 0 as in about.classes.

    discriminator: what it learned with, where that is kept, for training that goes on from here with other data.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        config: GanConfig,
        about: Source,
        *,
        fit_seed: int = 0,
        discriminator: ImageDiscriminator | None = None,
    ) -> None:
        self.generator, self.config, self.about, self.fit_seed = generator.eval(), config, about, fit_seed
        self.discriminator, self.steps = discriminator, 0
        self.device = next(generator.parameters()).device
        self._centres: dict[int, Tensor] = {}

    # ---- pictures

    def latents(self, n: int, *, seed: int, truncation: float | None = None) -> Tensor:
        """(n, latent): row i is that of seed + i. truncation: numbers beyond it are drawn again; 0: none are.

        ValueError for a truncation that is no finite number from 0.
        """
        beyond = self.config.truncation if truncation is None else truncation
        if not 0 <= beyond < math.inf:
            raise ValueError(f"truncation={beyond} should be a finite number from 0")
        width = self.generator.draw(1, torch.Generator()).shape[1]  # of several generators, more than config.latent
        rows = [torch.empty(0, width)]
        for i in range(n):
            random = torch.Generator().manual_seed((seed + i) % 2**63)
            rows.append(truncated(1, width, beyond, random) if beyond else self.generator.draw(1, random))
        return torch.cat(rows)

    def labels(self, n: int, *, seed: int, label: int | None = None) -> Tensor | None:
        """Classes (n,) of pictures seed, seed + 1 ..: all `label`, or one after the other; None of no classes.

        ValueError for a label that is none.
        """
        n_classes = self.config.n_classes
        if label is not None and not 0 <= label < n_classes:
            known = f"from 0 to below {n_classes}" if n_classes else "left out, since it knows no classes"
            raise ValueError(f"label={label} should be {known}")
        if not n_classes:
            return None
        return (
            torch.full((n,), label) if label is not None else torch.tensor([(seed + i) % n_classes for i in range(n)])
        )

    def sample(
        self,
        n: int = 1,
        *,
        seed: int,
        label: int | None = None,
        truncation: float | None = None,
        cutoff: int | None = None,
        centre: str | None = None,
        noise: str | None = None,
        size: Size | None = None,
        canvas: Tensor | None = None,
    ) -> Tensor:
        """n pictures (n, c, h, w) in [0, 1] (floats keep their range), on the CPU; of points (n, 2, 1, 1), their units.

        Picture i is that of seed + i and nothing else: each is computed by itself. truncation: of networks with styles,
        styles are psi times as far from their centre (see styles()); of others, latents stay within it (see latents()).
        noise, of networks with styles: "own", which is usual, is a function of the latent, as in training, where much
        of what makes pictures differ may be left to it; "same" is that of the buffers, for all. size and canvas: see
        synthesised(). ValueError as for those and labels(), and for what only networks with styles have.
        """
        if noise not in (None, "own", "same"):
            raise ValueError(f"noise={noise!r} should be own or same")
        if self.has_styles:
            ws = self.styles(n, seed=seed, label=label, truncation=truncation, cutoff=cutoff, centre=centre)
            keys = self.keys(n, seed=seed) if noise != "same" else None
            return self.ranged(self.synthesised(ws, keys, canvas=canvas, size=size))
        unused = {"cutoff": cutoff, "centre": centre, "noise": noise, "size": size, "canvas": canvas}
        for name, value in unused.items():
            if value is not None:
                raise ValueError(f"{name}={value!r}: {self._no_styles}")
        z, labels = self.latents(n, seed=seed, truncation=truncation), self.labels(n, seed=seed, label=label)
        with one_torch_thread():
            made = [self.made(z[i : i + 1], None if labels is None else labels[i : i + 1]) for i in range(n)]
        return self.ranged(torch.cat([self._none, *made]))

    def keys(self, n: int, *, seed: int) -> Tensor:
        """(n,) int64: what the noise of pictures seed, seed + 1 .. is a function of."""
        return keys_of(self.latents(n, seed=seed))

    @property
    def _none(self) -> Tensor:
        return torch.empty(0, self.config.channels, self.config.height, self.config.width)

    def ranged(self, made: Tensor) -> Tensor:
        """Pictures in [0, 1] in the range of the data."""
        low, high = self.about.low, self.about.high
        return made if (low, high) == (0, 1) else low + made * (high - low)

    @torch.no_grad()
    def made(self, z: Tensor, labels: Tensor | None = None, *, noise: str = "own") -> Tensor:
        """The pictures of latents (n, latent) in [0, 1]; the last bits may depend on what is computed together."""
        z, labels = z.to(self.device), None if labels is None else labels.to(self.device)
        if self.has_styles and noise == "own":
            values = self.styled.synthesise(self.styled.styles(z, labels), keys_of(z)).float().cpu()
        else:
            values = self.generator(z, labels).float().cpu()
        return values if self.about.kind == "points" else (values / 2 + 0.5).clamp(0, 1)

    # ---- styles, of networks that have those

    @property
    def has_styles(self) -> bool:
        """Whether its pictures are made from styles, which can be truncated, mixed and moved."""
        return isinstance(self.generator, StyledGenerator)

    @property
    def _no_styles(self) -> str:
        return f"{self.config.arch} has no styles, which StyleGANs have"

    @property
    def styled(self) -> StyledGenerator:
        """The generator as one with styles. ValueError of others."""
        if not isinstance(self.generator, StyledGenerator):
            raise ValueError(self._no_styles)
        return self.generator

    def styles(
        self,
        n: int,
        *,
        seed: int,
        label: int | None = None,
        truncation: float | None = None,
        cutoff: int | None = None,
        centre: str | None = None,
    ) -> Tensor:
        """Styles (n, n_styles, latent) of seed, seed + 1 .., on the CPU; row i is that of seed + i and nothing else.

        The first `cutoff` rows, or all, are at truncation w + (1 - truncation) the centre, 1 where not given (Karras,
        Laine and Aila 2019, appendix B). centre: "all", the average style, or "class", that of the picture's class,
        which is usual where there are classes: between those, averages of all are of nothing. ValueError for a
        truncation that is not finite, a cutoff beyond the rows, an unknown centre, and as for labels() and styled.
        """
        z, labels = self.latents(n, seed=seed), self.labels(n, seed=seed, label=label)
        return self.styles_of(z, labels, truncation=truncation, cutoff=cutoff, centre=centre)

    @torch.no_grad()
    def styles_of(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        *,
        truncation: float | None = None,
        cutoff: int | None = None,
        centre: str | None = None,
    ) -> Tensor:
        """styles() of latents (n, latent) and their labels (n,), each by itself."""
        psi, n = 1.0 if truncation is None else truncation, self.styled.n_styles
        if not math.isfinite(psi):
            raise ValueError(f"truncation={psi} should be a finite number")
        if cutoff is not None and not 0 <= cutoff <= n:
            raise ValueError(f"cutoff={cutoff} should be from 0 to {n}, its rows of styles")
        self.centre(None, centre)
        generator, rows = self.styled, []
        of: list[int | None] = [None] * len(z) if labels is None else labels.tolist()
        at = {} if psi == 1 else {label: self.centre(label, centre) for label in set(of)}
        with one_torch_thread():
            for one, label in zip(z, of, strict=True):
                told = None if label is None else torch.tensor([label], device=self.device)
                ws = generator.styles(one[None].to(self.device), told).float().cpu()
                rows.append(ws if psi == 1 else generator.truncated(ws, psi=psi, cutoff=cutoff, centre=at[label]))
        return torch.cat([torch.empty(0, generator.n_styles, generator.design.latent), *rows])

    def centre(self, label: int | None = None, kind: str | None = None) -> Tensor:
        """(latent,): the average style, or, where kind is "class", that of a class: of CENTRED latents of seed 0.

        kind: see styles(); "class" where not given and there are classes. ValueError for a kind that there is not.
        """
        known = ("all", "class") if self.config.n_classes else ("all",)
        kind = known[-1] if kind is None else kind
        if kind not in known:
            raise ValueError(f"centre={kind!r} should be {' or '.join(known)}")
        if kind == "all" or label is None:
            return self.styled.average.detach().float().cpu()
        if label not in self._centres:
            total = torch.zeros(self.config.latent, dtype=torch.float64)
            for w in self.mapped(CENTRED, seed=0, label=label):
                total += w.sum(0, dtype=torch.float64)
            self._centres[label] = (total / CENTRED).float()
        return self._centres[label]

    @torch.no_grad()
    def mapped(self, n: int, *, seed: int, label: int | None = None) -> Iterator[Tensor]:
        """Styles w (k, latent) of n latents of one stream, on the CPU and in parts; of classes one after the other."""
        random = torch.Generator().manual_seed(seed % 2**63)
        for i in range(0, n, MAPPED):
            k = min(MAPPED, n - i)
            z, labels = self.generator.draw(k, random), self.labels(k, seed=i, label=label)
            with one_torch_thread():
                w = self.styled.styles(z.to(self.device), None if labels is None else labels.to(self.device))[:, 0]
            yield w.float().cpu()

    @property
    def has_canvas(self) -> bool:
        """Whether its pictures lie on a canvas, as StyleGAN3's do."""
        return isinstance(self.generator, AliasFreeGenerator)

    @property
    def canvas(self) -> AliasFreeGenerator:
        """The generator as one whose pictures lie on a canvas that can be moved, turned and shown more of.

        ValueError of others.
        """
        if not isinstance(self.generator, AliasFreeGenerator):
            raise ValueError(f"{self.config.arch} has no canvas, which StyleGAN3 has")
        return self.generator

    @torch.no_grad()
    def synthesised(
        self,
        ws: Tensor,
        keys: Tensor | None = None,
        *,
        canvas: Tensor | None = None,
        size: Size | None = None,
    ) -> Tensor:
        """Pictures (n, c, h, w) in [0, 1] of styles (n, n_styles, latent), on the CPU, each computed by itself.

        keys (n,): what their noise is a function of; the same noise for all where not given. canvas (3, 3), of
        StyleGAN3: where on it points of the pictures lie (see networks.stylegan3.canvas). size: of StyleGAN3 how much
        of the canvas is shown, about the same centre; of periodic networks how much is made. ValueError for a canvas
        of others, and for sizes that cannot be.
        """
        generator, how = self.styled, dict[str, Any]()
        generator.require_styles(ws)
        if canvas is not None:
            self.canvas  # noqa: B018 (refuses networks without one)
            how["canvas"] = canvas
        if size is not None:
            how["shape"] = size.height, size.width
        noises = [None] * len(ws) if keys is None else list(keys[:, None].to(self.device))
        with one_torch_thread():
            made = [
                generator.synthesise(one[None].to(self.device), key, **how).float().cpu()
                for one, key in zip(ws, noises, strict=True)
            ]
        none = self._none if size is None else torch.empty(0, self.config.channels, size.height, size.width)
        return torch.cat([none, *((values / 2 + 0.5).clamp(0, 1) for values in made)])

    def many(self, n: int, *, seed: int) -> Tensor:
        """As sample(), for scores: in batches, which is faster, so that the last bits depend on n."""
        z, labels = self.latents(n, seed=seed), self.labels(n, seed=seed)
        return self._parts(z, labels)

    def _parts(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """As made(), of any number of latents: a batch at a time."""
        k = min(256, self.at_once)
        parts = [self.made(z[i : i + k], None if labels is None else labels[i : i + k]) for i in range(0, len(z), k)]
        return torch.cat(parts)

    @property
    def at_once(self) -> int:
        """How many pictures may be computed together; two or more, as statistics of one would be none."""
        return max(2, AT_ONCE // (self.config.height * self.config.width))

    def picture(self, values: Tensor) -> Picture:
        """The picture of values (c, h, w) of sample(), 8 bits, or floats of their own range; domains side by side."""
        if (self.about.low, self.about.high) == (0, 1):
            return picture_of(values, self.about.domains)
        pixels = torch.cat(values.chunk(self.about.domains), dim=2).permute(1, 2, 0).contiguous().numpy()
        return Picture(pixels, MODES.get(pixels.shape[2], "multi"))

    def sheet(self, values: Tensor, n_each: int = 1) -> Picture:
        """Values (n, c, h, w) of sample() on one sheet: a column for each of n_each of a seed, else about square."""
        low, high = self.about.low, self.about.high
        n_columns = n_each if n_each > 1 else max(1, round(len(values) ** 0.5))
        return grid_of((values - low) / (high - low), n_columns, self.about.domains)

    def shown(self, *, n_rows: int = 8, n_columns: int = 8, seed: int = 0) -> Picture:
        """A sheet of pictures of seeds from `seed` on, a row for each class where there are classes, ten at most."""
        if self.config.n_classes:
            n_rows = min(self.config.n_classes, 10)
            z = self.latents(n_columns, seed=seed).repeat(n_rows, 1)
            made = self._parts(z, torch.arange(n_rows).repeat_interleave(n_columns))
        else:
            made = self._parts(self.latents(n_rows * n_columns, seed=seed), None)
        return grid_of(made, n_columns, self.about.domains)

    def between(self, first: int, last: int, n: int, *, label: int | None = None, whole: bool = False) -> Tensor:
        """n pictures (n, c, h, w) on the way from one seed's to another's, both included; whole: and back again.

        Latents go along the great circle through both, lengths in proportion (White 2016, "Sampling generative
        networks"), since those between two on a straight line are shorter than any that was learned.
        """
        a, b = self.latents(1, seed=first), self.latents(1, seed=last)
        labels = self.labels(1, seed=first, label=label)
        shares = [abs(1 - abs(1 - 2 * i / n)) if whole else i / max(n - 1, 1) for i in range(n)]
        with one_torch_thread():
            return torch.cat([self.made(slerp(a, b, t), labels, noise="same") for t in shares])

    # ---- how it becomes one, and files

    @torch.no_grad()
    def settled(self) -> ImageModel:
        """This model, the statistics of its batch normalisation measured on its own pictures, and kept from now on.

        What training leaves behind are running means of other weights than the averaged ones.
        """
        layers = [m for m in self.generator.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        if not layers:
            return self
        random = torch.Generator().manual_seed(self.fit_seed % 2**63)
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
            layer.train()
        n_batches, n = SETTLING[0], min(SETTLING[1], self.at_once)
        for i in range(n_batches):
            z, labels = self.generator.draw(n, random), self.labels(n, seed=i * n)
            self.generator(z.to(self.device), None if labels is None else labels.to(self.device))
        self.generator.eval()
        return self

    def tensors(self) -> dict[str, Tensor]:
        """The weights and statistics of the generator, and of the discriminator where that is kept."""
        kept = {} if self.discriminator is None else under("discriminator", self.discriminator.state_dict())
        return under("generator", self.generator.state_dict()) | kept

    def to_bytes(self) -> bytes:
        """The file that save() writes; equal models have equal bytes."""
        from safetensors.torch import save as safetensors_bytes

        from texsyn import __version__

        header = {
            "format": GENERATED,
            "arch": self.config.arch,
            "config": dataclasses.asdict(self.config),
            "data": dataclasses.asdict(self.about),
            "fit_seed": self.fit_seed,
            "steps": self.steps,
            "texsyn": __version__,
        }
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in self.tensors().items()}
        made: bytes = safetensors_bytes(tensors, metadata={"texsyn": json.dumps(header)})
        return made

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights with their names, whatever else the file says."""
        return _digest(self.tensors())

    @property
    def generator_fingerprint(self) -> str:
        """That of the generator alone, which latents and directions belong to."""
        return _digest(under("generator", self.generator.state_dict()))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model to one safetensors file, atomically. Raises OutputError, OutputExists."""
        write_atomically(path, self.to_bytes(), overwrite=overwrite)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, t in sorted(tensors.items()):
        digest.update(name.encode() + bytes(str(tuple(t.shape)), "ascii"))
        digest.update(t.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_image_model(path: str | Path, *, device: str = "cpu") -> ImageModel:
    """A model that ImageModel.save wrote. Raises InputError for anything else."""
    header, name = header_of(path), Path(path).name
    if header["format"] != GENERATED:
        raise InputError(f"{name}: a model of a texture ({header['method']}), not of an architecture of train --arch")
    try:
        with safe_open(path, framework="pt") as f:
            found = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
        config = make_config(GanConfig, header["config"])
        about = header["data"]
        source = Source(
            str(about["name"]), str(about["fingerprint"]), tuple(map(str, about["classes"])), str(about["kind"]),
            int(about["domains"]), float(about["low"]), float(about["high"]),
        )  # fmt: skip
        require_source(source, config)
        for key, t in found.items():
            if t.is_floating_point() and not bool(t.isfinite().all()):
                raise ValueError(f"{key} has a NaN or an infinite value")
        if not all(key.startswith(("generator.", "discriminator.")) for key in found):
            raise ValueError("it holds more than a generator and a discriminator")
        generator, discriminator = networks_of(config, found)
        load_weights(generator, of("generator", found))
        judged = any(key.startswith("discriminator.") for key in found)
        if judged:
            load_weights(discriminator, of("discriminator", found))
        kept = discriminator.to(device) if judged else None
        model = ImageModel(generator.to(device), config, source, fit_seed=int(header["fit_seed"]), discriminator=kept)
        model.steps = int(header["steps"])
        return model
    except (
        SafetensorError, OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError,
        NotImplementedError,
    ) as e:  # fmt: skip
        raise InputError(f"{name}: not a usable texsyn model ({' '.join(str(e).split())[:200]})") from e


def require_source(source: Source, config: GanConfig) -> None:
    """ValueError unless a model of that configuration can have learned such data."""
    if source.kind not in ("pictures", "points"):
        raise ValueError(f"kind={source.kind!r} should be pictures or points")
    if source.domains < 1 or config.channels % source.domains:
        raise ValueError(f"domains={source.domains} should divide channels={config.channels}")
    if not -math.inf < source.low < source.high < math.inf:
        raise ValueError(f"low={source.low}, high={source.high}: both should be finite and the first the lower one")
    if config.n_classes not in (0, len(source.classes)):
        raise ValueError(f"n_classes={config.n_classes} should be 0 or the {len(source.classes)} of the data")


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The point at share t of the way from a to b (..., d) along the circle through both, lengths in proportion.

    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> [round(float(v), 4) for v in slerp(x, y, 0.5)[0]]
    [0.7071, 0.7071]
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1)[..., None]
    angle = cosine.arccos()
    near = angle.sin() < 1e-4  # in one line: there the straight way is as good
    share = torch.where(near, torch.full_like(angle, 1 - t), ((1 - t) * angle).sin() / angle.sin())
    other = torch.where(near, torch.full_like(angle, t), (t * angle).sin() / angle.sin())
    return share * a + other * b


def picture_of(values: Tensor, domains: int = 1) -> Picture:
    """An 8-bit picture of values (c, h, w) in [0, 1], its domains side by side."""
    codes = from_unit(torch.cat(values.chunk(domains), dim=2).permute(1, 2, 0).numpy(), "uint8")
    return Picture(codes, MODES.get(codes.shape[2], "multi"))


def sheet_of(pictures: Sequence[Picture], n_columns: int | None = None) -> Picture:
    """8-bit pictures of one size in rows on one sheet, about square unless n_columns says otherwise."""
    values = torch.stack([torch.from_numpy(to_unit(one.pixels)).permute(2, 0, 1) for one in pictures])
    return grid_of(values, n_columns or math.ceil(len(pictures) ** 0.5))


def enlarged(values: Tensor, least: int) -> Tensor:
    """Values (n, c, h, w), each pixel repeated until the longer side is as near below `least` as whole times go.

    >>> enlarged(torch.zeros(1, 1, 8, 12), 32).shape
    torch.Size([1, 1, 16, 24])
    """
    times = max(1, least // max(values.shape[2:]))
    return values.repeat_interleave(times, 2).repeat_interleave(times, 3)


def grid_of(values: Tensor, n_columns: int, domains: int = 1) -> Picture:
    """A sheet of pictures (n, c, h, w) in [0, 1] in rows, a line between them; small ones are shown larger."""
    cells = torch.cat(enlarged(values, CELL).chunk(domains, 1), 3)
    n, c, h, w = cells.shape
    n_rows = math.ceil(n / n_columns)
    sheet = torch.full((c, n_rows * (h + 1) - 1, n_columns * (w + 1) - 1), 0.5)
    for i, cell in enumerate(cells):
        top, left = i // n_columns * (h + 1), i % n_columns * (w + 1)
        sheet[:, top : top + h, left : left + w] = cell
    return picture_of(sheet)
