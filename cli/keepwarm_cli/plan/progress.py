"""A progress bar on standard error."""

import sys
from types import TracebackType
from typing import Any, Self


class Bar:
    """Shows progress while standard error is a terminal; call it with the share that is done."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._what = what
        self._on = not quiet and sys.stderr.isatty()
        self._task: Any = None
        self._progress: Any = None

    def __enter__(self) -> Self:
        if self._on:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.__enter__()
            self._task = self._progress.add_task(self._what, total=1.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)

    def __call__(self, share: float) -> None:
        """Show that this share, 0 to 1, is done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=share)
