"""Time as an argument: real for people, driven by hand for tests.

Everything in the embedded cloud that waits (visibility, retries, schedules, idle expiry, autoscaling)
asks a `Clock`, so that a test moves an hour in a microsecond and never sleeps.
"""

import threading
import time
from collections import Counter
from typing import Protocol


class Clock(Protocol):
    """Where the embedded cloud reads the time and waits."""

    def now_s(self) -> float:
        """Seconds since the epoch; what AWS would stamp on things."""
        ...

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> bool:
        """Wait on a held condition until notified or `timeout_s` of this clock passed; True when notified."""
        ...

    def wait_until(self, condition: threading.Condition, at_s: float) -> bool:
        """Wait on a held condition until notified or `at_s` of this clock; True when notified before."""
        ...


class RealClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Return the wall clock."""
        return time.time()

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> bool:
        """Wait for real."""
        return condition.wait(timeout_s)

    def wait_until(self, condition: threading.Condition, at_s: float) -> bool:
        """Wait for real."""
        return condition.wait(max(0.0, at_s - time.time()))


class ManualClock:
    """A clock that stands still until `advance` moves it, and wakes whoever waited for that moment."""

    def __init__(self, start_s: float = 1_700_000_000.0) -> None:
        self._now_s = start_s
        self._lock = threading.Lock()
        self._waiting: Counter[threading.Condition] = Counter()

    def now_s(self) -> float:
        """Return the time the test set."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward and wake every waiter, who decides whether its moment has come.

        Raises:
            ValueError: `seconds` is negative; no AWS clock runs backwards.
        """
        if seconds < 0:
            raise ValueError(f"ManualClock.advance needs seconds of at least 0, got {seconds}")
        with self._lock:
            self._now_s += seconds
            waiting = list(self._waiting)
        for condition in waiting:
            with condition:
                condition.notify_all()

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> bool:
        """Wait until notified; a notification by `advance` past the deadline counts as the timeout."""
        return self._wait(condition, None if timeout_s is None else self._now_s + timeout_s)

    def wait_until(self, condition: threading.Condition, at_s: float) -> bool:
        """Wait until notified or the test moved to `at_s`; loses no advance made since `at_s` was computed."""
        return self._wait(condition, at_s)

    def _wait(self, condition: threading.Condition, deadline_s: float | None) -> bool:
        with self._lock:
            if deadline_s is not None and self._now_s >= deadline_s:
                return False
            self._waiting[condition] += 1
        try:
            # Not bounded: a notification in the instant in which a bounded wait ends would reach nobody. No advance
            # is lost either, for it notifies under the condition, which is held until the wait releases it.
            condition.wait()
            return deadline_s is None or self._now_s < deadline_s
        finally:
            with self._lock:
                self._waiting[condition] -= 1
                self._waiting += Counter()
