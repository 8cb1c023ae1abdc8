"""How long a test waits for what must happen. It ends a hang; it measures no machine, so nothing asserts on less."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 600.0
"""Longest wait for anything, seconds: below the test's own limit, far above what a busy machine needs."""


def until(condition: Callable[[], T], what: str = "it never happened", *, pause_s: float = 0.01) -> T:
    """Wait for another thread or process to act; gives the first true value that `condition` gave."""
    ends_s = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < ends_s, what
        time.sleep(pause_s)
    return value
