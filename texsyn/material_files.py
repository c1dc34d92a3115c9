"""A material as named arrays and a description for JSON, as model files hold it, and back.

One picture is described under "exemplar"; sheets, with all their maps and masks, under "sheets". Pixels, masks and
guides have checksums. What is read may come from anybody: nothing is believed that is not checked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from texsyn.images import Picture
from texsyn.material import MAX_SHEETS, Material, Sheet
from texsyn.variants import Element

_MASKS = ("known", "usable")


def packed(material: Material) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(description, arrays): of a plain picture those of one picture, so that its file needs no newer reader."""
    arrays: dict[str, np.ndarray] = {}
    if material.plain and not material.weights and material.shares is None:
        return {"exemplar": _put(arrays, material.picture, "exemplar", "")}, arrays
    about: dict[str, Any] = {"sheets": [_put_sheet(arrays, s, f"sheets.{k}.") for k, s in enumerate(material.sheets)]}
    if material.weights:
        about["weights"] = [float(weight) for weight in material.weights]
    if material.shares is not None:
        about["shares"] = [float(share) for share in material.shares]
    return about, arrays


def unpacked(about: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> Material:
    """The inverse of packed(); takes what it uses out of arrays.

    Raises ValueError, KeyError, TypeError, AttributeError, IndexError or OverflowError for what packed() never made.
    """
    if "sheets" not in about:
        return Material.of(_take(arrays, about["exemplar"], "exemplar", ""))
    given = about["sheets"]
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_SHEETS:
        raise ValueError(f"a model has from 1 to {MAX_SHEETS} sheets")
    sheets = tuple(_take_sheet(arrays, one, f"sheets.{k}.") for k, one in enumerate(given))
    if {sheet.exemplar for sheet in sheets} != set(range(max(sheet.exemplar for sheet in sheets) + 1)):
        raise ValueError("the exemplars of the sheets are not numbered from 0 without a gap")
    if len({None if s.guide is None else s.guide.shape[2] for s in sheets}) > 1:
        raise ValueError("the sheets' guides have different channels")
    names = [one.name for one in sheets[0].maps]
    if len(set(names)) < len(names):
        raise ValueError("two maps have the same name")
    weights = tuple(float(weight) for weight in about.get("weights", ()))
    shares = about.get("shares")
    if shares is not None:
        shares = tuple(float(share) for share in shares)
        if not all(0 <= share <= 1 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError("the shares of the exemplars do not add up to 1")
    return Material(sheets, weights, shares)


def _put(arrays: dict[str, np.ndarray], picture: Picture, pixels: str, prefix: str) -> dict[str, Any]:
    """The description of a picture whose arrays are put under these names."""
    arrays[prefix + pixels] = picture.pixels
    if picture.icc_profile:
        arrays[f"{prefix}icc_profile"] = np.frombuffer(picture.icc_profile, np.uint8)
    if picture.palette is not None and picture.indices is not None:
        arrays[f"{prefix}palette"], arrays[f"{prefix}indices"] = picture.palette, picture.indices
    about = {"mode": picture.mode, "name": picture.name, "sha256": picture.sha256}
    return about | {"half": True} if picture.half else about


def _take(arrays: dict[str, np.ndarray], about: Mapping[str, Any], pixels: str, prefix: str) -> Picture:
    profile, palette, indices = (arrays.pop(prefix + name, None) for name in ("icc_profile", "palette", "indices"))
    for found in (profile, palette, indices):
        if found is not None and found.dtype != np.uint8:
            raise ValueError("a colour profile, palette or its indices are no bytes")
    half = about.get("half", False)
    if not isinstance(half, bool):
        raise ValueError(f"half={half!r} is neither true nor false")
    picture = Picture(
        pixels=arrays.pop(prefix + pixels),
        mode=about["mode"],
        icc_profile=None if profile is None else profile.tobytes(),
        palette=palette,
        indices=indices,
        name=str(about.get("name", "")),
        half=half,
    )
    if picture.sha256 != about.get("sha256"):
        raise ValueError("the exemplar inside does not match its checksum")
    return picture


def _put_sheet(arrays: dict[str, np.ndarray], sheet: Sheet, prefix: str) -> dict[str, Any]:
    maps = [_put(arrays, one, "pixels", f"{prefix}maps.{m}.") for m, one in enumerate(sheet.maps)]
    about: dict[str, Any] = {"exemplar": sheet.exemplar, "maps": maps}
    if any(sheet.element):
        about |= {"quarter_turns": sheet.element.quarter_turns, "mirrored": sheet.element.mirrored}
    if sheet.resampled:
        about["resampled"] = True
    for name in _MASKS:
        mask = getattr(sheet, name)
        if mask is not None:
            arrays[prefix + name] = np.packbits(mask.reshape(-1))
            about[f"{name}_sha256"] = _sha256(arrays[prefix + name])
    if sheet.guide is not None:
        arrays[f"{prefix}guide"] = sheet.guide
        about["guide_sha256"] = _sha256(sheet.guide)
    return about


def _take_sheet(arrays: dict[str, np.ndarray], about: Mapping[str, Any], prefix: str) -> Sheet:
    if not isinstance(about["maps"], list) or not about["maps"]:
        raise ValueError("a sheet has no maps")
    maps = tuple(_take(arrays, one, "pixels", f"{prefix}maps.{m}.") for m, one in enumerate(about["maps"]))
    height, width = maps[0].size.height, maps[0].size.width
    masks: dict[str, np.ndarray] = {}
    for name in (*_MASKS, "guide"):
        bare, checksum = arrays.pop(prefix + name, None), about.get(f"{name}_sha256")
        if bare is None and checksum is None:
            continue
        if bare is None or bare.dtype != np.uint8 or _sha256(bare) != checksum:
            raise ValueError(f"the {name} mask inside does not match its checksum")
        masks[name] = bare
        if name != "guide":
            if bare.shape != (-(-height * width // 8),):
                raise ValueError(f"the {name} mask inside has {bare.size} bytes for {maps[0].size} pixels")
            masks[name] = np.unpackbits(bare, count=height * width).astype(bool).reshape(height, width)
        elif bare.ndim != 3:
            raise ValueError(f"the guide inside is of shape {bare.shape}")
    numbers = about["exemplar"], about.get("quarter_turns", 0), about.get("mirrored", False)
    flags = numbers[2], about.get("resampled", False)
    if any(type(n) is not int for n in numbers[:2]) or any(type(flag) is not bool for flag in flags):
        raise ValueError("a sheet's exemplar or how it was turned makes no sense")
    if not 0 <= numbers[0] < MAX_SHEETS or not 0 <= numbers[1] < 4:
        raise ValueError(f"a sheet's exemplar {numbers[0]} or its quarter turns {numbers[1]} are out of range")
    return Sheet(maps, **masks, exemplar=numbers[0], element=Element(*numbers[1:]), resampled=flags[1])


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data.cast("B")).hexdigest()
