"""One thread each for the libraries underneath, before they are loaded: pictures are small here, and processes many."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
