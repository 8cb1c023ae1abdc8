"""Watches another process: a daemon started on its behalf ends when it does, however it ends."""

import os
import select
import threading
from collections.abc import Callable

POLL_S = 1.0
"""Where the kernel has no handle for a process (it does on Linux), how often its id is looked up."""


def when_it_ends(pid: int, act: Callable[[], object]) -> None:
    """Call `act` once, from a thread of its own, when the process has ended; at once when there is none."""
    threading.Thread(target=_watch, args=(pid, act), name="keepwarm-owner", daemon=True).start()


def _watch(pid: int, act: Callable[[], object]) -> None:
    try:
        if hasattr(os, "pidfd_open"):
            handle = os.pidfd_open(pid)
            try:
                select.select([handle], [], [])
            finally:
                os.close(handle)
        else:
            while True:
                os.kill(pid, 0)
                threading.Event().wait(POLL_S)
    except ProcessLookupError:
        pass
    act()
