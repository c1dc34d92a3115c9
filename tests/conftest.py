"""One thread each for the libraries underneath, before they are loaded: pictures are small here, and processes many.

And the signals that a shell ignores for what it starts in the background, such as Ctrl-C, are heard again: what tests
start would inherit the deafness and wait for ever.
"""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
