"""Thousands of waiting executions on few threads.

A state machine runs as a generator that yields what it waits for. Waiting costs no thread; only calls to services
do, and they share a pool.
"""

import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.clockwork.timers import Timer, Timers
from keepwarm_localcloud.services.stepfunctions.failures import Aborted

LOG = logging.getLogger(__name__)
STEP_WORKERS = 4
CALL_WORKERS = 512
"""Calls to services that are under way at once; threads are made as they are needed."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Continue at this moment of the clock."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Call:
    """Run something that blocks; give up waiting at `until_s` by raising `late()`."""

    run: Callable[[], Any]
    until_s: float | None = None
    late: Callable[[], Exception] | None = None


@dataclass(slots=True)
class Signal:
    """Continue when somebody calls `give` or `fail`, or fail with `late()` when a deadline passes.

    `beat` moves the heartbeat deadline.
    """

    until_s: float | None
    beat_s: float | None
    late: Callable[[], Exception]
    silent: Callable[[], Exception]
    begin: Callable[[], Any]
    """Runs on the pool once the signal can be given; its failure is the fiber's."""
    fiber: "Fiber | None" = None
    ticket: int = 0
    timers: list[Timer] = field(default_factory=list)
    beat_timer: Timer | None = None


@dataclass(frozen=True, slots=True)
class Gather:
    """Run generators side by side, at most `limit` at once (0 = all); the first failure ends the others."""

    children: list["Steps"]
    limit: int = 0
    tolerate: Callable[[int, int], bool] = lambda failed, total: failed == 0
    """Whether this many failures of this many children are acceptable."""


FAILED: Any = object()
"""What stands for a child of a `Gather` that failed within what is tolerated."""

Effect = Sleep | Call | Signal | Gather
Steps = Generator[Effect, Any, Any]


class Fiber:
    """One generator being driven."""

    def __init__(
        self, engine: "Engine", steps: Steps, done: Callable[[Any, BaseException | None], None]
    ) -> None:
        self.engine = engine
        self.steps = steps
        self.done = done
        self.lock = threading.Lock()
        self.ticket = 0
        self.waiting = True
        self.aborting = False
        self.children: list[Fiber] = []

    def resume(self, ticket: int, value: Any = None, error: BaseException | None = None) -> bool:
        """Continue from the wait with this ticket; a stale ticket is ignored: only the first event counts."""
        with self.lock:
            if not self.waiting or ticket != self.ticket:
                return False
            self.waiting = False
            self.ticket += 1
        self.engine.submit(lambda: self._drive(value, error))
        return True

    def abort(self) -> None:
        """Unwind without another effect; a call under way ends first."""
        with self.lock:
            self.aborting = True
            ticket = self.ticket
        for child in list(self.children):
            child.abort()
        self.resume(ticket, error=Aborted())

    def _drive(self, value: Any, error: BaseException | None) -> None:
        while True:
            try:
                effect = self.steps.throw(error) if error is not None else self.steps.send(value)
            except StopIteration as stop:
                self._finish(stop.value, None)
                return
            except BaseException as failure:
                self._finish(None, failure)
                return
            value = error = None
            with self.lock:
                self.waiting = not self.aborting
                ticket = None if self.aborting else self.ticket
            if ticket is None:
                error = Aborted()
                continue
            self.engine.wait(self, effect, ticket)
            return

    def _finish(self, value: Any, error: BaseException | None) -> None:
        self.done(value, error)


class Engine:
    """Drives fibers on a pool and the cloud's clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.timers = Timers(clock, "stepfunctions")
        self._steps = ThreadPoolExecutor(STEP_WORKERS, thread_name_prefix="stepfunctions")
        self._calls = ThreadPoolExecutor(CALL_WORKERS, thread_name_prefix="stepfunctions-call")
        self._stopping = False
        self._idle = threading.Condition()
        self._busy = 0

    def start(self) -> None:
        """Start the timer thread."""
        self.timers.start()

    def stop(self) -> None:
        """End the threads. A call under way is given a second; later its thread ends when the service that it
        called stops, which happens after this one."""
        self._stopping = True
        self.timers.stop()
        with self._idle:
            idle = self._idle.wait_for(lambda: self._busy == 0, 1.0)
        self._steps.shutdown(wait=idle, cancel_futures=True)
        self._calls.shutdown(wait=idle, cancel_futures=True)

    def submit(self, work: Callable[[], None], *, blocking: bool = False) -> None:
        """Run on a pool; dropped once stopping. What blocks must not hold up the steps of other executions."""
        if self._stopping:
            return
        try:
            (self._calls if blocking else self._steps).submit(self._guarded, work)
        except RuntimeError:
            if not self._stopping:
                raise

    def _guarded(self, work: Callable[[], None]) -> None:
        with self._idle:
            self._busy += 1
        try:
            work()
        except Exception:
            LOG.exception("a workflow step failed in the embedded cloud itself")
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def spawn(self, steps: Steps, done: Callable[[Any, BaseException | None], None]) -> Fiber:
        """Start driving a generator; `done` gets its value or its failure."""
        fiber = Fiber(self, steps, done)
        fiber.resume(0)
        return fiber

    def wait(self, fiber: Fiber, effect: Effect, ticket: int) -> None:
        """Arrange that the fiber continues when its effect is there."""
        if isinstance(effect, Sleep):
            self.timers.at(effect.until_s, lambda: fiber.resume(ticket))
        elif isinstance(effect, Call):
            self._call(fiber, effect, ticket)
        elif isinstance(effect, Signal):
            self._signal(fiber, effect, ticket)
        else:
            _Group(self, fiber, effect, ticket).start()

    def _call(self, fiber: Fiber, call: Call, ticket: int) -> None:
        late, timer = call.late, None
        if call.until_s is not None and late is not None:
            timer = self.timers.at(call.until_s, lambda: fiber.resume(ticket, error=late()))

        def run() -> None:
            value: Any = None
            error: Exception | None = None
            try:
                value = call.run()
            except Exception as failure:
                error = failure
            if timer is not None:
                timer.cancel()
            fiber.resume(ticket, value, error)

        self.submit(run, blocking=True)

    def _signal(self, fiber: Fiber, signal: Signal, ticket: int) -> None:
        signal.fiber, signal.ticket = fiber, ticket
        if signal.until_s is not None:
            signal.timers.append(
                self.timers.at(signal.until_s, lambda: fiber.resume(ticket, error=signal.late()))
            )
        self.beat(signal)

        def begin() -> None:
            try:
                signal.begin()
            except Exception as failure:
                self.settle(signal, error=failure)

        self.submit(begin, blocking=True)

    def beat(self, signal: Signal) -> None:
        """Note a heartbeat: the heartbeat timeout starts over."""
        if signal.beat_s is None or signal.fiber is None:
            return
        if signal.beat_timer is not None:
            signal.beat_timer.cancel()
        fiber, ticket = signal.fiber, signal.ticket
        signal.beat_timer = self.timers.after(
            signal.beat_s, lambda: fiber.resume(ticket, error=signal.silent())
        )

    def settle(self, signal: Signal, value: Any = None, error: Exception | None = None) -> bool:
        """Give a signal; False when the fiber no longer waits for it."""
        for timer in [*signal.timers, *([signal.beat_timer] if signal.beat_timer else [])]:
            timer.cancel()
        return signal.fiber is not None and signal.fiber.resume(signal.ticket, value, error)


class _Group:
    def __init__(self, engine: Engine, parent: Fiber, gather: Gather, ticket: int) -> None:
        self.engine, self.parent, self.gather, self.ticket = engine, parent, gather, ticket
        self.lock = threading.Lock()
        self.waiting = list(enumerate(gather.children))
        self.results: list[Any] = [None] * len(gather.children)
        self.errors: list[BaseException] = []
        self.open = len(gather.children)
        self.over = False

    def start(self) -> None:
        if not self.gather.children:
            self.parent.resume(self.ticket, [])
            return
        for _ in range(min(self.gather.limit or len(self.waiting), len(self.waiting))):
            self._next()

    def _next(self) -> None:
        with self.lock:
            if self.over or not self.waiting:
                return
            index, steps = self.waiting.pop(0)
        child = Fiber(self.engine, steps, lambda value, error: self._done(index, value, error))
        self.parent.children.append(child)
        child.resume(0)

    def _done(self, index: int, value: Any, error: BaseException | None) -> None:
        with self.lock:
            self.open -= 1
            self.results[index] = value if error is None else FAILED
            if error is not None:
                self.errors.append(error)
            # What is aborted is no failed item that might be tolerated.
            failed = isinstance(error, Aborted) or (
                error is not None and not self.gather.tolerate(len(self.errors), len(self.results))
            )
            ends = not self.over and (failed or self.open == 0)
            self.over = self.over or ends
        if not ends:
            self._next()
            return
        siblings, self.parent.children = self.parent.children, []
        if failed:
            for sibling in siblings:
                sibling.abort()
            self.parent.resume(self.ticket, error=error)
        else:
            self.parent.resume(self.ticket, self.results)
