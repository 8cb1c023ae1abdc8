"""Random numbers for backoff, from the operating system.

Not the `random` module: importing it costs 4 ms of a cold start, and its state is copied into every restored
snapshot, where all copies would then back off in step.
"""

from __future__ import annotations

import os


def uniform() -> float:
    """Return a number from 0 up to, but not including, 1."""
    return int.from_bytes(os.urandom(6), "big") / 2**48
