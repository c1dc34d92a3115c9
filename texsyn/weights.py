"""Published weight files: what they are called, where users may have put them, and whether they are intact.

texsyn ships no weights and downloads none by itself. A file is looked for at the path given, then where the
environment's TEXSYN_WEIGHTS points (a file or a folder), then in the cache of torch.hub, which other libraries fill
too. Whatever is found is hashed before it is used, every time: torch.hub checks a file only while it downloads it.
Names and prefixes of hashes are in the publishers' URLs; the full hashes and the sizes are those on which several
public repositories agree. Where only a prefix is known, 32 bits of SHA-256, a file is checked by that.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from io import BufferedRandom, BufferedReader
from pathlib import Path
from ssl import SSLError
from typing import TYPE_CHECKING, Any

from texsyn.images import InputError, OutputError
from texsyn.images.picture import printable, reason

if TYPE_CHECKING:
    from torch import Tensor

ENVIRONMENT = "TEXSYN_WEIGHTS"
CHUNK = 2**20
TIMEOUT = 30  # seconds without a byte
MAX_BYTES = 2**30  # of a download whose size is not known beforehand
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class WeightsFile:
    """One published file. sha256 is the whole hash or its first digits; n_bytes is None where nobody says it."""

    name: str
    files: tuple[str, ...]  #: the names that libraries give it, the publisher's first
    url: str
    sha256: str
    n_bytes: int | None
    licence: str
    purpose: str

    @property
    def size_text(self) -> str:
        return "size not known" if self.n_bytes is None else f"{self.n_bytes:,} bytes"

    @property
    def hash_text(self) -> str:
        return f"sha256 {self.sha256}{'' if len(self.sha256) == 64 else '...'}"


_TORCHVISION = "https://download.pytorch.org/models/"

REGISTRY: dict[str, WeightsFile] = {}


def register(entry: WeightsFile) -> WeightsFile:
    """Make a file known under its name; an entry of the same name is replaced. ValueError without a usable hash."""
    if not 8 <= len(entry.sha256) <= 64 or set(entry.sha256) - set("0123456789abcdef"):
        raise ValueError(f"sha256={entry.sha256!r} must be the first 8 to 64 hexadecimal digits of the file's hash")
    REGISTRY[entry.name] = entry
    return entry


for _entry in (
    WeightsFile(
        "inception-fid",
        ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"),
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        95_628_359,
        "Apache-2.0 (the port and TensorFlow's weights)",
        "FID, KID, Inception Score",
    ),
    WeightsFile(
        "inception-torchvision",
        ("inception_v3_google-0cc3c7bd.pth",),
        _TORCHVISION + "inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd",
        108_949_747,
        "BSD-3-Clause (torchvision)",
        "SiFID as SinGAN computes it",
    ),
    WeightsFile(
        "vgg16",
        ("vgg16-397923af.pth",),
        _TORCHVISION + "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553_433_881,
        "BSD-3-Clause (torchvision); VGG's weights CC BY 4.0",
        "precision and recall, DISTS, LPIPS",
    ),
    WeightsFile(
        "vgg16-features",
        ("vgg16_features-amdegroot-88682ab5.pth",),
        _TORCHVISION + "vgg16_features-amdegroot-88682ab5.pth",
        "88682ab5",
        None,
        "BSD-3-Clause (torchvision); VGG's weights CC BY 4.0",
        "Gram losses; its classifier is all NaN",
    ),
    WeightsFile(
        "vgg19",
        ("vgg19-dcbb9e9d.pth",),
        _TORCHVISION + "vgg19-dcbb9e9d.pth",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        574_673_361,
        "BSD-3-Clause (torchvision); VGG's weights CC BY 4.0",
        "features, Gram losses",
    ),
    WeightsFile(
        "alexnet",
        ("alexnet-owt-7be5be79.pth",),
        _TORCHVISION + "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        244_408_911,
        "BSD-3-Clause (torchvision)",
        "LPIPS",
    ),
    WeightsFile(
        "inception-torchscript",
        ("inception-2015-12-05.pt",),
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        95_607_719,
        "NVIDIA's terms; TensorFlow's weights Apache-2.0",
        "clean-fid and StyleGAN; a program, which texsyn does not run",
    ),
):
    register(_entry)


def entry_of(name: str) -> WeightsFile:
    """The registered file of that name. ValueError lists the names."""
    if name not in REGISTRY:
        raise ValueError(f"weights {printable(name)!r} are not known; known are {', '.join(REGISTRY)}")
    return REGISTRY[name]


# ------------------------------------------------------------------------------------------------------ looking


def hub_folder() -> Path:
    """Where torch.hub keeps downloads: $TORCH_HOME/hub/checkpoints, by default in ~/.cache/torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.environ.get("TORCH_HOME") or os.path.join(cache, "torch"), "hub", "checkpoints")


def find(name: str, path: str | os.PathLike[str] | None = None) -> Path:
    """The file of these weights, not yet looked into: at `path`, else by TEXSYN_WEIGHTS, else in torch.hub's cache.

    A path, and TEXSYN_WEIGHTS, may be a file of any name or a folder that holds one of the known names. InputError,
    with all that is needed to supply the file, where there is none.
    """
    entry = entry_of(name)
    if path is not None:
        found = next(_in_place(entry, Path(os.fsdecode(path))), None)
        if found is None:
            wrong = f"has no {' or '.join(entry.files)}" if os.path.isdir(path) else "no such file"
            raise InputError(f"{printable(os.fsdecode(path))}: {wrong}; {_how_to_supply(entry)}")
        return found
    found = next(_in_all_places(entry), None)
    if found is None:
        raise InputError(f"{name}: the weights are not here; {_how_to_supply(entry)}")
    return found


def _in_all_places(entry: WeightsFile) -> Iterator[Path]:
    if given := os.environ.get(ENVIRONMENT):
        if not os.path.exists(given):
            raise InputError(f"{ENVIRONMENT}={printable(given)}: no such file or folder")
        others = {file for e in REGISTRY.values() if e.name != entry.name for file in e.files}
        if Path(given).name not in others - set(entry.files):  # a file that is another one leaves the cache its turn
            yield from _in_place(entry, Path(given))
    yield from _in_place(entry, hub_folder())


def _in_place(entry: WeightsFile, place: Path) -> Iterator[Path]:
    """What may be the entry's file: the place itself, or inside it under the names that are known."""
    candidates = [place / file for file in entry.files] if os.path.isdir(place) else [place]
    yield from (one for one in candidates if os.path.exists(one) and not os.path.isdir(one))


def _how_to_supply(entry: WeightsFile) -> str:
    return (
        f"wanted is {' or '.join(entry.files)} ({entry.size_text}, {entry.hash_text}) from {entry.url}: give its path "
        f"(--weights; gotex: --set weights_file=), or set {ENVIRONMENT} to the file or its folder, or put it into "
        f"torch.hub's cache, {hub_folder()}, as `texsyn weights fetch {entry.name}` does"
    )


# ---------------------------------------------------------------------------------------------- opening and loading


def load(name: str, path: str | os.PathLike[str] | None = None) -> tuple[dict[str, Tensor], str]:
    """The tensors of these weights by name, and the file's sha256. InputError: not here, not intact, not readable."""
    from texsyn.state_dicts import parse_state_dict

    found = find(name, path)
    with opened(found) as file:
        digest = _verified(entry_of(name), file, found)
        file.seek(0)
        return parse_state_dict(file, printable(str(found))), digest


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """The regular file at path; a pipe, which would be waited for, is refused unopened."""
    shown = printable(str(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{shown}: is not a regular file")
        file = open(path, "rb")  # noqa: SIM115 (closed below, where other errors must pass untouched)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown}: cannot be read ({reason(error)})") from None
    with file:
        yield file


def _verified(entry: WeightsFile, file: BufferedReader | BufferedRandom, path: Path) -> str:
    """The sha256 of the open file, if it is the entry's."""
    shown = printable(str(path))
    size = os.fstat(file.fileno()).st_size
    if entry.n_bytes is not None and size != entry.n_bytes:
        raise InputError(
            f"{shown}: has {size:,} bytes instead of {entry.n_bytes:,}; it is cut off or another file than "
            f"{entry.files[0]} of {entry.url}"
        )
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(entry.sha256):
        raise InputError(
            f"{shown}: its sha256 {digest} is not {entry.sha256}{'' if len(entry.sha256) == 64 else '...'}; it is "
            f"damaged or another file than {entry.files[0]} of {entry.url}"
        )
    return digest


# ----------------------------------------------------------------------------------------------- checking, fetching


@dataclass(frozen=True)
class Found:
    """What check() saw: a file, the entry it is to be, and what is wrong with it, or nothing."""

    name: str
    path: str
    wrong: str | None

    @property
    def intact(self) -> bool:
        return self.wrong is None


def check(path: str | os.PathLike[str] | None = None) -> list[Found]:
    """Every known file in the folder `path`, or the file there, hashed; by default those that find() would find.

    A file of any name is held against all hashes. InputError where the path does not exist.
    """
    if path is None:
        given = os.environ.get(ENVIRONMENT)
        return (check(given) if given else []) + (check(hub_folder()) if hub_folder().is_dir() else [])
    place = Path(os.fsdecode(path))
    if os.path.isdir(place):
        return [_checked(entry, one) for entry in REGISTRY.values() for one in _in_place(entry, place)]
    with opened(place) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    named = [entry for entry in REGISTRY.values() if place.name in entry.files]
    for entry in [e for e in REGISTRY.values() if digest.startswith(e.sha256)] or named:
        return [_checked(entry, place)]
    return [Found("unknown", str(place), f"its sha256 {digest} is that of no known file")]


def _checked(entry: WeightsFile, path: Path) -> Found:
    try:
        with opened(path) as file:
            _verified(entry, file, path)
    except InputError as error:
        return Found(entry.name, str(path), str(error).removeprefix(f"{printable(str(path))}: "))
    return Found(entry.name, str(path), None)


def fetch(name: str, on_progress: OnProgress | None = None) -> tuple[Path, bool]:
    """Download these weights into torch.hub's cache, unless an intact copy is there; the path, and whether it was new.

    The file appears complete and verified or not at all; a damaged one is replaced. InputError where it cannot be had
    (no network, a wrong size or hash), OutputError where it cannot be written.
    """
    entry = entry_of(name)
    target = hub_folder() / entry.files[0]
    for known in _in_place(entry, hub_folder()):
        if _checked(entry, known).intact:
            return known, False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _replaced(target) as part, _download(entry) as response:
            _copy(entry, response, part, on_progress)
            part.flush()
            part.seek(0)
            try:
                _verified(entry, part, target)
            except InputError as error:
                raise InputError(f"{entry.url}: what was sent is not kept: {error}") from None
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{printable(str(target))}: cannot be written ({reason(error)})") from error
    return target, True


@contextmanager
def _replaced(target: Path) -> Iterator[BufferedRandom]:
    """A file to write and read again that takes target's place when the block ends well, and vanishes otherwise."""
    part = target.with_name(f".texsyn-{secrets.token_hex(8)}.part")
    try:
        with open(part, "x+b") as file:
            yield file
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        with suppress(OSError):
            os.unlink(part)


@contextmanager
def _download(entry: WeightsFile) -> Iterator[Any]:
    """The response of the entry's URL. What goes wrong on the line is an InputError, also while it is read."""
    request = urllib.request.Request(entry.url, headers={"User-Agent": "texsyn"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            if entry.url.startswith("https:") and not response.geturl().startswith("https:"):
                raise InputError(f"{entry.url}: leads to {printable(response.geturl())}, which is not https")
            yield response
    except urllib.error.HTTPError as error:
        raise InputError(f"{entry.url}: the server says {error.code} {reason(OSError(error.reason))}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError, SSLError, HTTPException) as error:
        inner = error.reason if isinstance(error, urllib.error.URLError) else error
        why = reason(inner) if isinstance(inner, BaseException) else printable(str(inner))
        raise InputError(
            f"{entry.url}: cannot be reached from here ({why}); fetch it on a machine that is online, and "
            f"put it into {hub_folder()}"
        ) from None


def _copy(entry: WeightsFile, response: Any, part: BufferedRandom, on_progress: OnProgress | None) -> None:
    """The response's bytes, not more than there should be."""
    length = response.headers.get("Content-Length", "")
    total = entry.n_bytes or min(int(length) if length.isdigit() else MAX_BYTES, MAX_BYTES)
    if total > shutil.disk_usage(os.path.dirname(part.name)).free:
        raise OutputError(f"{hub_folder()}: has no room for {total:,} bytes")
    done = 0
    while chunk := response.read(CHUNK):
        done += len(chunk)
        if done > total:
            raise InputError(f"{entry.url}: sends more than the {total:,} bytes there should be; nothing is kept")
        part.write(chunk)
        if on_progress is not None:
            on_progress(done / total, f"{entry.files[0]}, {done / 2**20:.0f} of {total / 2**20:.0f} MiB")
