"""Many pictures from a manifest: one JSON object a line, each an item that is made, found done, or failed by itself.

The whole manifest is checked before the first item is begun. An item whose output already holds the recipe that would
be made now is done, so that a run which was stopped, in whatever way, is finished by giving the same command again.
Which worker makes an item, and how many there are, enters nothing.
"""

from texsyn.batch.making import Outcome, make
from texsyn.batch.manifest import Item, read_manifest
from texsyn.batch.running import run

__all__ = ["Item", "Outcome", "make", "read_manifest", "run"]
