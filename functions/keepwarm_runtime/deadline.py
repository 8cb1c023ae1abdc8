"""Time that is left, as a number that only goes down.

Deadlines live on the monotonic clock: a wall clock set back by an hour must not give an invocation an hour more.
"""

from __future__ import annotations

import time

from keepwarm_runtime.errors import DeadlineExceeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER_S = 86_400.0
"""Longest a deadline reaches when nobody set one, in seconds: a day, so that arithmetic stays finite."""


class Deadline:
    """A moment on the monotonic clock."""

    __slots__ = ("_at_s", "_clock")

    def __init__(self, at_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_s = at_s
        self._clock = clock

    @classmethod
    def after(cls, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """Build the deadline `seconds` from now. None means nobody set one; 0 means there is no time left."""
        return cls(clock() + (FOREVER_S if seconds is None else max(seconds, 0.0)), clock)

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._at_s - self._clock())

    def sooner(self, seconds: float) -> Deadline:
        """Return the earlier of this deadline and `seconds` from now."""
        return Deadline(min(self._at_s, self._clock() + seconds), self._clock)

    def require(self, seconds: float, who: str) -> None:
        """Refuse to start work that needs `seconds`.

        Raises:
            DeadlineExceeded: less time is left.
        """
        left = self.remaining_s()
        if left <= 0.0 or left < seconds:
            raise DeadlineExceeded(
                who, f"{left * 1000:.0f} ms left", allowed=f"at least {seconds * 1000:.0f} ms"
            )
