"""Pictures: sizes and regions, loading and saving, and the one conversion between integer codes and floats.

Idea: depth and channels out = depth and channels in. `picture` says what a picture is; `loading` makes one of any
source, with `pillow_reader` and `tiff_reader`; `saving` writes one, all or nothing; `png16` is PNG beyond what Pillow
holds and `exr` OpenEXR, both ways; `depth` changes 8 bits to 16 or floats when asked; `recipe_text` finds the recipe in
a file again. Pillow, tifffile and OpenEXR (the extra texsyn[hdr]) are imported by the first call that needs them.
"""

from texsyn.images.depth import DEPTHS, convert_depth
from texsyn.images.loading import MAX_STREAM_BYTES, load
from texsyn.images.picture import (
    MAX_CHANNELS,
    MAX_PIXELS,
    MAX_PROFILE_BYTES,
    MAX_SIDE,
    InputError,
    OutputError,
    OutputExists,
    Picture,
    Region,
    Size,
    from_unit,
    parse_size,
    to_unit,
)
from texsyn.images.recipe_text import MAX_RECIPE_BYTES, read_recipe
from texsyn.images.saving import check_path, check_target, save, write_atomically

__all__ = [
    "DEPTHS",
    "MAX_CHANNELS",
    "MAX_PIXELS",
    "MAX_PROFILE_BYTES",
    "MAX_RECIPE_BYTES",
    "MAX_SIDE",
    "MAX_STREAM_BYTES",
    "InputError",
    "OutputError",
    "OutputExists",
    "Picture",
    "Region",
    "Size",
    "check_path",
    "check_target",
    "convert_depth",
    "from_unit",
    "load",
    "parse_size",
    "read_recipe",
    "save",
    "to_unit",
    "write_atomically",
]

for _error in (InputError, OutputError, OutputExists):  # an uncaught one then shows the name to import it by
    _error.__module__ = __name__
