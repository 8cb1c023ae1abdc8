"""Holds running environments to their memory and /tmp, which the operating system can't do without privileges.

A control group or a mounted tmpfs needs rights an ordinary user lacks, and RLIMIT_AS refuses address space that ONNX
Runtime and its threads reserve but never touch. So the resident anonymous memory of every *running* environment (its
children included) is read every 25 ms and its /tmp every 250 ms; whoever exceeds a limit is killed, as Lambda kills.
Environments at rest are not looked at: they are frozen and can't grow.
"""

import os
import threading
import time
from pathlib import Path
from typing import Protocol

from keepwarm import limits

INTERVAL_S = 0.025
_STORAGE_EVERY = 10
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / limits.MIB


class _Limits(Protocol):
    @property
    def memory_mb(self) -> int: ...
    @property
    def ephemeral_mb(self) -> int: ...


class Watched(Protocol):
    """What the watcher needs of an environment."""

    used_mb: float

    @property
    def launch(self) -> _Limits:
        """The limits."""
        ...

    @property
    def pid(self) -> int | None:
        """The process."""
        ...

    def storage_bytes(self) -> int:
        """Bytes under its /tmp."""
        ...

    def kill(self, reason: str) -> None:
        """Kill it."""
        ...


class Watcher:
    """One thread for all environments of a cloud; it sleeps while none runs."""

    def __init__(self, *, freeze: bool = True) -> None:
        self.freeze = freeze
        """Whether environments are stopped (SIGSTOP) between invocations."""
        self._running: dict[int, Watched] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, environment: Watched) -> None:
        """Watch an environment from now on."""
        with self._wake:
            self._running[id(environment)] = environment
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="keepwarm-lambda-watch", daemon=True)
                self._thread.start()
            if len(self._running) == 1:
                self._wake.notify()

    def remove(self, environment: Watched) -> None:
        """Stop watching it."""
        with self._wake:
            self._running.pop(id(environment), None)

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        tick = 0
        while True:
            with self._wake:
                while not self._running and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                running = list(self._running.values())
            tick += 1
            for environment in running:
                self._look(environment, storage=tick % _STORAGE_EVERY == 0)
            time.sleep(INTERVAL_S)

    def _look(self, environment: Watched, *, storage: bool) -> None:
        if environment.pid is None:
            return
        now_mb = memory_mb(environment.pid)
        environment.used_mb = max(environment.used_mb, now_mb)
        if now_mb > environment.launch.memory_mb:
            environment.kill("memory")
        elif storage and environment.storage_bytes() > environment.launch.ephemeral_mb * limits.MIB:
            environment.kill("storage")


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its children that belongs to no file, in MB; 0 when it is gone."""
    try:
        resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(resident) - int(shared)) * _PAGE_MB + sum(memory_mb(int(child)) for child in children)
