"""What a texture model is: a fitted thing that gives pictures of any size, each a pure function of its seed.

Files are safetensors: tensors, and a JSON header with the method, its configuration and where it came from. Loading
one runs no code from the file.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from texsyn.blocks import ENDLESS, Period
from texsyn.images import InputError, Picture, Region, Size, to_unit, write_atomically
from texsyn.material import Material
from texsyn.material_files import packed, unpacked
from texsyn.models import METHODS

ORIGIN = ("wishes", "exemplar", "maps", "exemplars")  #: the entries of a recipe that a model keeps, if there are wishes
#: formats of files: fitted on one picture, on several sheets, stacks of maps, with masks; or a GAN's of gan/image_model
PLAIN, SHEETS, GENERATED = 1, 2, 3
OnProgress = Callable[[float, str], None]
#: what a plane is asked through: a region's pixels, (h, w, c) in the exemplar's number type; may be called from threads
Window = Callable[[Region], np.ndarray]


class Cancel(Protocol):
    """Anything with is_set(), a threading.Event for one."""

    def is_set(self) -> bool: ...


class Cancelled(RuntimeError):
    """The caller's cancel event was set; nothing was kept."""


@dataclass
class Watch:
    """Carries a caller's on_progress and cancel through a long computation; step() is called between pieces."""

    on_progress: OnProgress | None = None
    cancel: Cancel | None = None
    start: float = 0.0
    span: float = 1.0

    def step(self, fraction: float, message: str = "") -> None:
        """Report that fraction (0..1) of this watch's span is done; raises Cancelled when the caller asked for it."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("cancelled by the caller")
        if self.on_progress is not None:
            self.on_progress(self.start + self.span * min(max(fraction, 0.0), 1.0), message)

    def part(self, start: float, end: float) -> Watch:
        """The watch of a sub-task that covers start..end of this one."""
        return Watch(self.on_progress, self.cancel, self.start + self.span * start, self.span * (end - start))


@dataclass(frozen=True)
class Synthesis:
    """One picture with its evidence.

    pixels (h, w, c) in the exemplar's own number type; source (h, w, 2) int32, the exemplar pixel (row, column) that
    each pixel is, with the number of the sheet as a third where there are several, or None for methods that blend;
    evidence is JSON-able, one entry a level; others are the further maps of a stack.
    """

    pixels: np.ndarray
    source: np.ndarray | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    others: tuple[np.ndarray, ...] = ()


class TextureModel(ABC):
    """A fitted texture. Pictures are pure functions of (model, seed, position); see the class of each method."""

    method: ClassVar[str]
    config_type: ClassVar[type]
    #: pixels depend on a bounded neighbourhood of the plane, so that render() exists
    local: bool = False
    #: fit() and from_tensors() take a Material too: several sheets, stacks of maps, masks
    takes_material: ClassVar[bool] = False

    def __init__(self, exemplar: Picture | Material, config: Any, device: str = "cpu") -> None:
        #: what it was fitted on; a picture is a material of one sheet
        self.material = Material.of(exemplar)
        self.exemplar = self.material.picture
        self.config = config
        self.device = torch.device(device)
        #: the seed that fit() learned with; part of what makes the pictures
        self.fit_seed = 0
        #: what recipes say of the wishes it keeps and of the exemplars before those changed them; empty without wishes
        self.origin: dict[str, Any] = {}

    @classmethod
    @abstractmethod
    def fit(
        cls, exemplar: Picture, config: Any = None, *, seed: int = 0, device: str = "cpu", watch: Watch | None = None
    ) -> TextureModel:
        """A model of the exemplar; config None means the method's defaults."""

    @abstractmethod
    def synthesise(self, size: Size, *, seed: int, tile: str = "none", watch: Watch | None = None) -> Synthesis:
        """One picture of that size in the exemplar's depth, with its evidence.

        tile: the axes on which it wraps without a seam, "none", "x" (left to right), "y" or "xy".
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What fit learned beyond the exemplar, for save()."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, exemplar: Any, config: Any, tensors: Mapping[str, Tensor], device: str) -> TextureModel:
        """The inverse of tensors(); raises InputError when shapes or types do not belong together.

        exemplar: the Picture that was fitted, or a Material where takes_material says so.
        """

    @property
    def halo(self) -> int:
        """How far, in output pixels, a pixel of render() looks for its inputs."""
        raise NotImplementedError(f"{self.method} pictures are made whole: pixels depend on all of it")

    def map_number(self, part: str) -> int:
        """Which of the maps of a stack has this name, or alone has this part in its name. Raises ValueError."""
        names = [one.name for one in self.material.sheets[0].maps]
        found = [k for k, name in enumerate(names) if part in (name, Path(name).stem)]
        found = found or [k for k, name in enumerate(names) if part.lower() in name.lower()]
        if len(found) != 1 or not part:
            raise ValueError(f"map {part!r} names {len(found)} of the maps {', '.join(names)}; give a part of one name")
        return found[0]

    def plane(self, *, seed: int, period: Period = ENDLESS, number: int = 0, within: Region | None = None) -> Window:
        """The infinite picture of a seed, as a function from a region to its pixels.

        Any region, negative and far away ones too, equals the same part of any larger one, bit for bit, in whatever
        order and from however many threads it is asked for. What neighbouring regions share is kept for a while, so
        ask one plane for many regions rather than many planes for one each. With a period the plane repeats: a region
        of that size tiles. number: which of the maps of a stack is shown; maps of one seed fit each other to the pixel.
        within: holds all regions that will be asked for; some models then compute less around it.
        Raises NotImplementedError for models that are not local.
        """
        raise NotImplementedError(f"{self.method} pictures are made whole; fit an endless model to render regions")

    def plane_bytes(self, within: Region) -> int:
        """What plane() keeps in memory at most for regions in that one."""
        return 0

    def render(self, region: Region, *, seed: int, period: Period = ENDLESS) -> Tensor:
        """A window of the plane, (c, h, w) in [0, 1] (a float exemplar keeps its range); see plane()."""
        pixels = to_unit(self.plane(seed=seed, period=period)(region))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def estimate_seconds(self, size: Size) -> float | None:
        """Seconds that synthesise(size) will take here, from a short measurement; None where nobody knows."""
        return None

    def sample(self, size: Size | tuple[int, int], *, seed: int, n: int = 1, tile: str = "none") -> Tensor:
        """n pictures (n, c, h, w), in [0, 1] (a float exemplar keeps its range); picture i is that of seed + i.

        size is a Size or (height, width); tile as for synthesise(). Of local models without tile, the plane's window
        with its top left corner at (0, 0).
        """
        size = size if isinstance(size, Size) else Size(*size)
        pictures = [to_unit(self.synthesise(size, seed=seed + i, tile=tile).pixels) for i in range(n)]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model to one safetensors file, atomically. Raises OutputError, OutputExists."""
        write_atomically(path, self.to_bytes(), overwrite=overwrite)

    def to_bytes(self) -> bytes:
        """The file that save() writes; equal models have equal bytes."""
        from safetensors.torch import save as safetensors_bytes

        from texsyn import __version__

        about, arrays = packed(self.material)
        header = {
            "format": SHEETS if "sheets" in about else PLAIN,
            "method": self.method,
            "config": dataclasses.asdict(self.config),
            "fit_seed": self.fit_seed,
            **about,
            "texsyn": __version__,
        }
        if self.origin:
            header["origin"] = self.origin
        tensors = {k: torch.from_numpy(np.array(a, order="C")) for k, a in arrays.items()}  # copies: sheets may share
        tensors |= {f"model.{name}": t.detach().cpu().contiguous() for name, t in self.tensors().items()}
        made: bytes = safetensors_bytes(tensors, metadata={"texsyn": json.dumps(header)})
        return made


def model_class(method: str) -> type[TextureModel]:
    """The class of a method name. Raises ValueError with the known names."""
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not one of {', '.join(METHODS)}")
    module, name = METHODS[method].split(":")
    found: type[TextureModel] = getattr(importlib.import_module(module), name)
    return found


def make_config(config_type: type, values: Mapping[str, Any]) -> Any:
    """A frozen configuration from a mapping. Unknown names and wrong types are a ValueError."""
    known = {f.name: f for f in dataclasses.fields(config_type)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{config_type.__name__} has no setting {name!r}; it has {', '.join(known) or 'none'}")
        default = known[name].default
        kinds = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise ValueError(f"{name}={value!r} should be of type {type(default).__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value!r} should be a finite number")
    return config_type(**values)


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header of a texture model's file. Raises InputError when it is none, as for a GAN's."""
    header = header_of(path)
    if header["format"] == GENERATED:
        raise InputError(
            f"{Path(path).name}: a {_short(header['arch'])} model, whose pictures have one size: for `texsyn sample` "
            "and `texsyn interpolate`"
        )
    return header


def header_of(path: str | Path) -> dict[str, Any]:
    """The JSON header of a model file of any format. Raises InputError when it is not one of ours."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("not a regular file")
        with safe_open(path, framework="pt") as f:
            text = (f.metadata() or {}).get("texsyn")
        header = json.loads(text) if text else None
    except (SafetensorError, OSError, ValueError, RecursionError) as e:
        raise InputError(f"{Path(path).name}: cannot be read as a texsyn model ({_one_line(e)})") from e
    if not isinstance(header, dict) or not {"method", "arch"} & header.keys():
        raise InputError(f"{Path(path).name}: a safetensors file, but not one that texsyn wrote")
    if str(header.get("format")).startswith(("texsyn-latent", "texsyn-directions")):
        raise InputError(f"{Path(path).name}: holds styles or directions that belong to a model, and is none itself")
    if header.get("format") not in (PLAIN, SHEETS, GENERATED):
        raise InputError(
            f"{Path(path).name}: model format {_short(header.get('format'))}, this version reads {PLAIN}, {SHEETS} "
            f"and {GENERATED}"
        )
    if (header["format"] == GENERATED) != ("arch" in header):
        raise InputError(f"{Path(path).name}: not a usable texsyn model (its format and its contents disagree)")
    if header["format"] == GENERATED:
        return header
    if (header["format"] == SHEETS) != ("sheets" in header):
        raise InputError(f"{Path(path).name}: not a usable texsyn model (its format and its contents disagree)")
    if header["method"] not in list(METHODS):  # a list, since the header may hold what cannot be hashed
        raise InputError(f"{Path(path).name}: method {_short(header['method'])} is not one of {', '.join(METHODS)}")
    return header


def load(path: str | Path, *, device: str = "cpu") -> Any:
    """The TextureModel, or the ImageModel of a GAN, that save() wrote.

    Raises InputError for anything else; runs no code from the file.
    """
    if header_of(path)["format"] != GENERATED:
        return load_texture(path, device=device)
    from texsyn.gan.image_model import load_image_model

    return load_image_model(path, device=device)


def load_texture(path: str | Path, *, device: str = "cpu") -> TextureModel:
    """A texture model that save() wrote. Raises InputError for anything else; runs no code from the file."""
    header = read_header(path)
    name = Path(path).name
    try:
        with safe_open(path, framework="pt") as f:
            tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError) as e:
        raise InputError(f"{name}: damaged model file ({_one_line(e)})") from e
    try:
        learned = {k.removeprefix("model."): tensors.pop(k) for k in list(tensors) if k.startswith("model.")}
        arrays = {k: t.numpy() for k, t in tensors.items()}
        material = unpacked(header, arrays)
        if arrays:
            raise ValueError(f"{sorted(arrays)[0]!r} is nothing that belongs to a model")
        cls = model_class(header["method"])
        if header["format"] == SHEETS and not cls.takes_material:
            raise ValueError(f"{cls.method} takes one picture, and no sheets")
        exemplar = material if header["format"] == SHEETS else material.picture
        config = make_config(cls.config_type, header["config"])
        for key, t in learned.items():
            if t.is_floating_point() and not bool(torch.isfinite(t).all()):
                raise ValueError(f"{key} has a NaN or an infinite value")
        model = cls.from_tensors(exemplar, config, learned, device)
        model.fit_seed = int(header.get("fit_seed", 0))
        model.origin = {key: value for key, value in header.get("origin", {}).items() if key in ORIGIN}
        return model
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, NotImplementedError) as e:
        raise InputError(f"{name}: not a usable texsyn model ({_one_line(e)})") from e


def _short(value: Any) -> str:
    return repr(value)[:80] if isinstance(value, (str, int, float)) else f"of type {type(value).__name__}"


def _one_line(e: Exception) -> str:
    return " ".join(str(e).split())[:200]
