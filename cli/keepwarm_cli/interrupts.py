"""Ctrl-C and SIGTERM unwind a command, never between the making of a thing and the promise to remove it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from keepwarm_cli.errors import left_behind


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    A class of its own, because CPython notes when KeyboardInterrupt itself leaves code that `exec` compiled, as that of
    dataclasses is, and then ends the process by the signal whatever it wanted to exit with.
    """


class Interrupts:
    """Turns SIGINT and SIGTERM into KeyboardInterrupt, except while held: then when released.

    Leaving the block by an interrupt says so on standard error and exits with 130.
    """

    def __init__(self) -> None:
        self._held = 0
        self._pending = False
        self._before: dict[int, Any] = {}
        self.left: list[str] = []
        """What whoever cleaned up found left behind."""

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            for what in self.left:
                print(left_behind(what), file=sys.stderr)
            print(
                "interrupted; everything was stopped" + ("" if self.left else ", nothing is left"),
                file=sys.stderr,
            )
            raise SystemExit(130) from None

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._pending = True
        else:
            raise Interrupted

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let an interrupt wait until the block is done."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._pending and not self._held:
            self._pending = False
            raise Interrupted
