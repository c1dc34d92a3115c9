"""Texture synthesis by patch optimal transport: one picture in, as much of that texture as you like out.

    >>> import texsyn
    >>> texsyn.Size(height=2, width=3).pixels
    6

Public names load on first use, so that ``import texsyn`` stays cheap (no torch).
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Size": "texsyn.images",
    "Region": "texsyn.images",
    "Picture": "texsyn.images",
    "InputError": "texsyn.images",
    "OutputError": "texsyn.images",
    "synth": "texsyn.synthesis",
    "fit": "texsyn.synthesis",
    "tileable": "texsyn.synthesis",
    "Wishes": "texsyn.wishes",
    "Result": "texsyn.synthesis",
    "render_array": "texsyn.cluster",
    "train_gan": "texsyn.generation",
    "ImageModel": "texsyn.gan.image_model",
    "load": "texsyn.models.base",
    "TextureModel": "texsyn.models.base",
    "Cancelled": "texsyn.models.base",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'texsyn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
