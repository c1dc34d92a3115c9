"""A picture made again from the recipe inside it, and compared: pixel for pixel the same, or what differs.

The recipe names method, settings, seeds, size and wishes, and every input by name and hash. reading asks the recipe,
inputs finds the files, making makes the picture, comparing has the verdict; ordering is where it all begins.
"""

from texsyn.repro.comparing import Original, Repro
from texsyn.repro.ordering import Order, order, repro

__all__ = ["Order", "Original", "Repro", "order", "repro"]
