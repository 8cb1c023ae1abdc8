"""The end of idle processes, told without a thread for each."""

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable

from keepwarm_localcloud.services.lambda_.environment import Environment


class Deaths:
    """Tells when an idle process ends, without a thread for each: one poll over their pidfds."""

    def __init__(self, died: Callable[[Environment], None]) -> None:
        self._died = died
        self._lock = threading.Lock()
        self._environments: dict[int, Environment] = {}
        self._read, self._write = os.pipe()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="keepwarm-lambda-deaths", daemon=True)
        self._thread.start()

    def follow(self, environment: Environment) -> None:
        """Watch a process until it ends, or its environment does."""
        if sys.platform != "linux" or environment.pid is None:
            return
        with self._lock, contextlib.suppress(ProcessLookupError):
            self._environments[os.pidfd_open(environment.pid)] = environment
            os.write(self._write, b"+")

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        os.write(self._write, b"x")
        self._thread.join()
        for fd in (self._read, self._write, *self._environments):
            os.close(fd)

    def _run(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._read, select.POLLIN)
            with self._lock:
                if self._closed:
                    return
                for fd in self._environments:
                    poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll():
                if fd == self._read:
                    os.read(fd, 4096)
                    continue
                with self._lock:
                    environment = self._environments.pop(fd)
                os.close(fd)
                self._died(environment)
