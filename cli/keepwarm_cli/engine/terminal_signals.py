"""Ctrl-C and SIGTERM while the CLI runs."""

import signal
import subprocess
import threading
from typing import Any, Self


class TerminalSignals:
    """Leaves Ctrl-C to the CLI, which has the terminal and ends gracefully, while it runs.

    SIGTERM, which supervisors and pipelines send to this process alone, is handed on to the CLI as a Ctrl-C.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._cli: subprocess.Popen[bytes] | None = None
        self._ended = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hand_to(self, cli: "subprocess.Popen[bytes]") -> None:
        """Name the process that is to end; a signal that came before is not lost."""
        self._cli = cli
        if self._ended:
            cli.send_signal(signal.SIGINT)

    def _end(self, *_: object) -> None:
        self._ended = True
        if self._cli is not None:
            self._cli.send_signal(signal.SIGINT)
