"""Killing the provider or the CLI at a chosen resource operation: how the tests reach every such point.

`KEEPWARM_FAULT=<n>:<who>` sends SIGKILL at the n-th boundary of a resource operation (before the cloud is called and
after it answered are two boundaries): `self` to this process, a number to that process. Unset, nothing is counted.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path


def crash_hook(environment: Mapping[str, str]) -> Callable[[str, str], None] | None:
    """Return what the provider calls at each boundary, or None when no fault is asked for."""
    wanted = environment.get("KEEPWARM_FAULT", "")
    log = environment.get("KEEPWARM_FAULT_LOG", "")
    if not wanted and not log:
        return None
    number, _, who = wanted.partition(":")
    lock = threading.Lock()
    count = 0

    def hook(operation: str, urn: str) -> None:
        nonlocal count
        if operation == "read":
            return
        with lock:
            count += 1
            if log:
                with Path(log).open("a") as target:
                    target.write(f"{count} {operation} {urn}\n")
            if number and count == int(number):
                victim = os.getpid() if who == "self" else int(Path(who).read_text())
                os.kill(victim, signal.SIGKILL)

    return hook
