"""Changes of a whole process that several of its threads may want at once."""

import threading
from collections.abc import Callable
from types import TracebackType


class ProcessWide:
    """A change made by the first thread that enters and undone by the last that leaves.

    Args:
        make: makes the change and gives what undoes it.
    """

    def __init__(self, make: Callable[[], Callable[[], object]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0
        self._undo: Callable[[], object] = lambda: None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._undo = self._make()
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo()
