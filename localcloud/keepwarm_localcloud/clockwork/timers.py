"""Run things at a moment of the cloud's clock, on one thread."""

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from keepwarm_localcloud.clockwork.clock import Clock

LOG = logging.getLogger(__name__)


@dataclass(order=True, slots=True)
class Timer:
    """One planned run; `cancel` makes it a no-op."""

    due_s: float
    order: int
    action: Callable[[], object] | None = field(compare=False)

    def cancel(self) -> None:
        """Forget the action; safe at any time."""
        self.action = None


class Timers:
    """A heap of moments and one thread that waits for the next one.

    Actions run on that thread, so they must be short: hand longer work to a pool.
    """

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self._heap: list[Timer] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"timers-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Forget every timer and end the thread."""
        with self._changed:
            self._stopping = True
            self._heap.clear()
            self._changed.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def at(self, due_s: float, action: Callable[[], object]) -> Timer:
        """Run `action` when the clock reaches `due_s` (seconds since the epoch)."""
        timer = Timer(due_s, next(self._order), action)
        with self._changed:
            heapq.heappush(self._heap, timer)
            self._changed.notify_all()
        return timer

    def after(self, seconds: float, action: Callable[[], object]) -> Timer:
        """Run `action` when `seconds` of the clock have passed."""
        return self.at(self._clock.now_s() + max(seconds, 0.0), action)

    def _run(self) -> None:
        while (action := self._next()) is not None:
            try:
                action()
            except Exception:
                # One broken timer must not end the others; the log is where an engineer looks.
                LOG.exception("a timer failed")

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while not self._stopping:
                now_s = self._clock.now_s()
                if self._heap and self._heap[0].due_s <= now_s:
                    action = heapq.heappop(self._heap).action
                    if action is not None:
                        return action
                    continue
                if self._heap:
                    self._clock.wait_until(self._changed, self._heap[0].due_s)
                else:
                    self._changed.wait()
        return None
