"""A bounded queue in front of the model, emptied in batches, that never starts work whose deadline has passed.

Everything here runs on one event loop, so nothing needs a lock; only the model itself runs in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from inference_server.errors import DeadlineExceeded, Draining, EngineFailed, Overloaded

Work = TypeVar("Work")
Result = TypeVar("Result")

FIRST_GUESS_S = 0.0
"""Time one item takes, before the first was measured: nothing is refused on a guess."""
_WEIGHT = 0.2
"""Weight of the newest run in the moving average of the time one item takes."""


@dataclass(slots=True, eq=False)
class Entry(Generic[Work, Result]):
    """One accepted item and its way through the queue; times in seconds of the batcher's clock."""

    work: Work
    deadline_s: float
    accepted_s: float
    future: asyncio.Future[Result]
    started_s: float = 0.0
    batch_size: int = 0
    run_s: float = 0.0


@dataclass(slots=True)
class Observed:
    """What the batcher tells whoever counts."""

    batch: Callable[[int, float], None] = field(default=lambda size, seconds: None)
    queued: Callable[[float], None] = field(default=lambda seconds: None)


class Batcher(Generic[Work, Result]):
    """Takes items one by one, runs them together.

    `run` gets a list of items and returns a result or an exception for each, in order.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Work]], Awaitable[Sequence[Result | Exception]]],
        *,
        queue_max: int,
        batch_max: int,
        batch_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
        observed: Observed | None = None,
    ) -> None:
        self._run = run
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._batch_wait_s = batch_wait_s
        self._clock = clock
        self._observed = observed or Observed()
        self._queue: deque[Entry[Work, Result]] = deque()
        self._arrived = asyncio.Event()
        self._reserved = 0
        self._running = 0
        self._item_s = FIRST_GUESS_S
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def limit_batch(self, most: int) -> None:
        """Change how many items run together."""
        self._batch_max = most

    @property
    def depth(self) -> int:
        """Items accepted and not yet in the model, those whose picture is still on its way included."""
        return len(self._queue) + self._reserved

    @property
    def running(self) -> int:
        """Items in the model now."""
        return self._running

    @property
    def item_s(self) -> float:
        """Time one item takes, as a moving average."""
        return self._item_s

    def retry_after_s(self) -> float:
        """Soonest time at which a place in the queue is likely, 1 to 60 seconds."""
        return min(60.0, max(1.0, (self.depth + self._running) * self._item_s))

    def reserve(self, deadline_s: float) -> Reservation[Work, Result]:
        """Take a place in the queue before the picture is there, so that reading and fetching are bounded too.

        Raises:
            Draining: nothing new is taken.
            Overloaded: the queue is full, or what is before this item takes longer than its deadline.
        """
        if self._draining:
            raise Draining("service", "a request while it drains", allowed="requests before SIGTERM")
        if self.depth >= self._queue_max:
            raise Overloaded(
                "queue",
                f"{self.depth} waiting",
                allowed=f"{self._queue_max} waiting",
                retry_after_s=self.retry_after_s(),
            )
        needed_s = (self.depth + self._running + 1) * self._item_s
        left_s = deadline_s - self._clock()
        if needed_s > left_s > 0:
            raise Overloaded(
                "queue",
                f"a deadline in {left_s * 1000:.0f} ms with {self.depth + self._running} before it",
                allowed=f"at least {needed_s * 1000:.0f} ms",
                retry_after_s=self.retry_after_s(),
            )
        self._reserved += 1
        self._idle.clear()
        return Reservation(self, deadline_s)

    def _released(self) -> None:
        self._reserved -= 1
        self._check_idle()

    def _push(self, work: Work, deadline_s: float) -> Entry[Work, Result]:
        entry: Entry[Work, Result] = Entry(
            work, deadline_s, self._clock(), asyncio.get_running_loop().create_future()
        )
        self._queue.append(entry)
        self._arrived.set()
        return entry

    async def serve(self) -> None:
        """Empty the queue until cancelled."""
        while True:
            batch = await self._next_batch()
            if not batch:
                continue
            self._running = len(batch)
            started_s = self._clock()
            for entry in batch:
                entry.started_s, entry.batch_size = started_s, len(batch)
                self._observed.queued(started_s - entry.accepted_s)
            try:
                results: Sequence[Result | Exception] = await self._run([entry.work for entry in batch])
            except Exception as fault:
                # The run as a whole failed: every item gets the reason, and the next batch is served.
                results = [EngineFailed("model", f"{type(fault).__name__}: {fault}")] * len(batch)
            took_s = self._clock() - started_s
            self._running = 0
            each_s = took_s / len(batch)
            self._item_s = (
                each_s if self._item_s == FIRST_GUESS_S else self._item_s * (1 - _WEIGHT) + each_s * _WEIGHT
            )
            self._observed.batch(len(batch), took_s)
            for entry, result in zip(batch, results, strict=True):
                entry.run_s = took_s
                _settle(entry.future, result)
            self._check_idle()

    async def _next_batch(self) -> list[Entry[Work, Result]]:
        """Wait for an item, then a moment for more; drop what has expired or was given up."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        # Items that are on their way (reserved) are worth a moment; an empty house is not.
        ends_s = self._clock() + self._batch_wait_s
        while len(self._queue) < self._batch_max and self._reserved and (left := ends_s - self._clock()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                break
        batch: list[Entry[Work, Result]] = []
        while self._queue and len(batch) < self._batch_max:
            entry = self._queue.popleft()
            late_s = self._clock() - entry.deadline_s
            if entry.future.done():
                continue
            if late_s >= 0:
                waited = self._clock() - entry.accepted_s
                _settle(
                    entry.future,
                    DeadlineExceeded(
                        "request",
                        f"a deadline that passed {late_s * 1000:.0f} ms ago after {waited * 1000:.0f} ms in the queue",
                        allowed="work that can still be on time",
                    ),
                )
                continue
            batch.append(entry)
        if not batch:
            self._check_idle()
        return batch

    def _check_idle(self) -> None:
        if not self._queue and not self._running and not self._reserved:
            self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Take nothing new and wait for what was accepted; False when `seconds` were not enough."""
        self._draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            for entry in self._queue:
                _settle(entry.future, Draining("service", "no time left to finish", allowed=f"{seconds:g} s"))
            return False
        return True


class Reservation(Generic[Work, Result]):
    """A place in the queue, given back when the `with` block ends without a push."""

    def __init__(self, batcher: Batcher[Work, Result], deadline_s: float) -> None:
        self._batcher = batcher
        self._deadline_s = deadline_s
        self._held = True

    def __enter__(self) -> Reservation[Work, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def push(self, work: Work) -> Entry[Work, Result]:
        """Turn the place into an entry of the queue."""
        entry = self._batcher._push(work, self._deadline_s)
        self.give_back()
        return entry

    def give_back(self) -> None:
        """Give the place back; a second time does nothing."""
        if self._held:
            self._held = False
            self._batcher._released()


def _settle(future: asyncio.Future[Result], result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
