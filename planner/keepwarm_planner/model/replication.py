"""One run of the full model: a request from its arrival to its fate."""

import random
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from math import fsum, inf

from keepwarm_planner.kernel.shape import S
from keepwarm_planner.model.design import Retry, System, Workload
from keepwarm_planner.model.engine import TICK_S
from keepwarm_planner.model.events import Loop
from keepwarm_planner.model.function import Environment, Function
from keepwarm_planner.model.service import Refused, Service

FOREVER_S = 1e9
"""Time left to a request without a deadline."""

OFFER_FIRST_S, OFFER_MAX_S = 0.5, 20.0
"""Intervals at which the event source mapping offers a throttled batch again: assumed, AWS says "with backoff"; the
embedded cloud does the same."""

POLLERS_START = 5

POLLERS_PER_MINUTE = 300
"""Concurrent batches of a new event source mapping, and how many more each minute
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)."""


class Request:
    """A request and how often it was tried. `service` is the function's own time for it, in seconds."""

    __slots__ = ("arrived", "attempts", "receives", "service", "waits")

    def __init__(self, arrived: float, service: float) -> None:
        self.arrived = arrived
        self.service = service
        self.attempts = 0
        self.receives = 0
        self.waits = 0


class Replication:
    """One run of the whole system."""

    def __init__(self, system: System, workload: Workload, seed: str, lag_s: float) -> None:
        self.system = system
        self.workload = workload
        self.loop = Loop()
        self.function = Function(self.loop, system, workload, seed, lag_s)
        self.service = Service(self.loop, system.downstream, seed) if system.downstream else None
        self.jitter = random.Random(f"{seed}/jitter")  # noqa: S311
        self.pending: deque[Request] = deque()
        self.returning = 0
        self.batches = 0
        self.window_at = inf
        self.arrivals = 0
        self.done = 0
        self.good = 0
        self.failed = 0
        self.expired = 0
        self.dead = 0
        self.retries = 0
        self.invocations = 0
        self.latencies: list[float] = []
        self.ages: list[float] = []
        self.timeline: list[dict[str, float]] = []
        self.before: dict[str, float] = {}
        self.max_busy = 0

    # ---- arrivals

    def arrive(self, t: float, service: float) -> None:
        """A request enters."""
        self.arrivals += 1
        request = Request(t, service)
        if self.system.queue is None:
            self._invoke([request], t)
        else:
            self.pending.append(request)
            self._pump(t)

    # ---- the queue and its event source mapping

    def _pollers(self, now: float) -> int:
        queue = self.system.queue
        assert queue is not None
        return min(queue.max_concurrency, POLLERS_START + int(POLLERS_PER_MINUTE * now / 60.0))

    def _pump(self, now: float) -> None:
        queue = self.system.queue
        assert queue is not None
        while self.pending and self.batches < self._pollers(now):
            full = len(self.pending) >= queue.batch_size
            oldest = self.pending[0].arrived
            if not full and now < oldest + queue.batch_window_s:
                due = oldest + queue.batch_window_s
                if due < self.window_at or self.window_at <= now:
                    self.window_at = due
                    self.loop.at(due, self._pump)
                return
            batch: list[Request] = []
            while self.pending and len(batch) < queue.batch_size:
                request = self.pending.popleft()
                if now - request.arrived > queue.max_event_age_s:
                    self.expired += 1
                    continue
                request.receives += 1
                self.ages.append(now - request.arrived)
                batch.append(request)
            if batch:
                self.batches += 1
                self._offer(batch, now, now, OFFER_FIRST_S)

    def _offer(self, batch: list[Request], received: float, now: float, wait: float) -> None:
        """Hands a batch to the function, again and again while its messages are hidden."""
        queue = self.system.queue
        assert queue is not None
        if self._invoke(batch, now):
            return
        if now + wait < received + queue.visibility_s:
            longer = min(wait * 2.0, OFFER_MAX_S)
            self.loop.at(now + wait, lambda t: self._offer(batch, received, t, longer))
            return
        self.batches -= 1
        self._return_at(batch, received + queue.visibility_s)

    def _return_at(self, batch: list[Request], end: float) -> None:
        """Back to the queue when the visibility timeout ends, or to the dead letters."""
        queue = self.system.queue
        assert queue is not None
        back = []
        for request in batch:
            if request.receives >= queue.max_receive_count:
                self.dead += 1
            else:
                back.append(request)
        if not back:
            return
        self.returning += len(back)

        def visible(t: float) -> None:
            self.returning -= len(back)
            for request in back:
                # ordered by arrival: old messages do not hide behind new ones
                insort(self.pending, request, key=_arrived)
            self._pump(t)

        self.loop.at(end, visible)

    # ---- the function

    def _invoke(self, batch: list[Request], now: float) -> bool:
        """Places one invocation; False when it was throttled."""
        got = self.function.try_start(now)
        if got is None:
            if self.system.queue is None:
                for request in batch:
                    self._retry(request, now)
            return False
        env, cold = got
        self.invocations += 1
        self.max_busy = max(self.max_busy, self.function.busy_on_demand + self.function.busy_provisioned)
        begun = now + cold
        worked = fsum(r.service for r in batch)

        def computed(t: float) -> None:
            self._computed(batch, env, begun, t)

        self.loop.at(begun + worked, computed)
        return True

    def _computed(self, batch: list[Request], env: Environment, begun: float, now: float) -> None:
        if self.service is None:
            self._answer(env, begun, now)
            for request in batch:
                self._complete(request, now)
            return
        outstanding = len(batch)
        refused: list[tuple[Request, Refused]] = []

        def settled(t: float) -> None:
            nonlocal outstanding
            outstanding -= 1
            if outstanding == 0:
                self._answer(env, begun, t)

        for request in batch:
            if told := self.service.admit(now, self._served(request, settled)):
                refused.append((request, told))
        for request, told in refused:
            self._not_taken(request, told, now)
            settled(now)

    def _served(self, request: Request, settled: Callable[[float], None]) -> Callable[[float], None]:
        def done(t: float) -> None:
            self._complete(request, t)
            settled(t)

        return done

    def _answer(self, env: Environment, begun: float, now: float) -> None:
        self.function.release(env, now, now - begun)
        if self.system.queue is not None:
            self.batches -= 1
            self._pump(now)

    def _complete(self, request: Request, now: float) -> None:
        latency = now - request.arrived
        self.done += 1
        self.latencies.append(latency)
        if latency <= min(self.workload.latency_target_s, self.system.deadline_s):
            self.good += 1

    def _not_taken(self, request: Request, told: Refused, now: float) -> None:
        """The service did not take it: the workflow waits for capacity until the deadline, unless told otherwise."""
        from keepwarm_runtime.waiting import seconds_to_wait

        if self.system.retry is not None:
            self._retry(request, now)
            return
        assert self.system.downstream is not None
        left_s = min(request.arrived + self.system.deadline_s - now, FOREVER_S)
        needs_s = self.system.downstream.service.mean
        wait_s = seconds_to_wait(request.waits, told.retry_after_s, left_s, needs_s, draw=self.jitter.random)
        if wait_s is None:
            self.failed += 1
            return
        request.waits += 1
        self.retries += 1
        self.loop.at(now + wait_s, lambda t: self._again(request, t))

    def _retry(self, request: Request, now: float) -> None:
        retry = self.system.retry or Retry()
        wait = min(retry.base_s * retry.factor**request.attempts, retry.cap_s) * self.jitter.random()
        request.attempts += 1
        if request.attempts > retry.attempts or now + wait - request.arrived > self.system.deadline_s:
            self.failed += 1
            return
        self.retries += 1
        # A retry is a new invocation of this request alone: the workflow, not the queue, holds it now.
        self.loop.at(now + wait, lambda t: self._again(request, t))

    def _again(self, request: Request, now: float) -> None:
        got = self.function.try_start(now)
        if got is None:
            self._retry(request, now)
            return
        env, cold = got
        self.invocations += 1
        begun = now + cold

        def computed(t: float) -> None:
            if self.service is None:
                self.function.release(env, t, t - begun)
                self._complete(request, t)
                return

            def settled(at: float) -> None:
                self.function.release(env, at, at - begun)

            if told := self.service.admit(t, self._served(request, settled)):
                settled(t)
                self._not_taken(request, told, t)

        self.loop.at(begun + request.service, computed)

    # ---- the clock

    def tick(self, now: float) -> None:
        """Everything that acts once a minute, and a row of the timeline."""
        self.function.tick(now)
        if self.service is not None:
            self.service.tick(now)
        if self.system.queue is not None:
            self._pump(now)
        s = self.function.stats
        totals = {
            "arrivals": float(self.arrivals),
            "cold": s[S.COLD],
            "throttled": s[S.REJECTED_LIMIT] + s[S.REJECTED_RATE],
            "refused": float(sum(self.service.refused.values())) if self.service else 0.0,
            "done": float(self.done),
            "failed": float(self.failed + self.dead + self.expired),
        }
        row = {name: value - self.before.get(name, 0.0) for name, value in totals.items()}
        self.before = totals
        self.timeline.append(
            {
                "t_s": now,
                **row,
                "queue": float(len(self.pending) + self.returning),
                "oldest_s": now - self.pending[0].arrived if self.pending else 0.0,
                "busy": float(self.function.busy_on_demand + self.function.busy_provisioned),
                "environments": float(self.function.size),
                "tasks": float(sum(t.ready for t in self.service.tasks)) if self.service else 0.0,
            }
        )

    def run(self, arrivals: Iterator[tuple[float, float]], end: float | None) -> float:
        """The whole trace; returns its end."""
        next_tick = TICK_S
        last = 0.0
        for t, service in arrivals:
            while next_tick <= t:
                self.loop.run(next_tick)
                self.tick(next_tick)
                next_tick += TICK_S
            self.loop.run(t)
            self.arrive(t, service)
            last = t
        finish = end if end is not None else last
        while next_tick <= finish:
            self.loop.run(next_tick)
            self.tick(next_tick)
            next_tick += TICK_S
        self.loop.run(finish)
        self.function.finish(finish)
        if self.service is not None:
            self.service.finish(finish)
        return finish

    @property
    def open(self) -> int:
        """Requests that are neither done nor given up when the trace ends."""
        return self.arrivals - self.done - self.failed - self.dead - self.expired


def _arrived(request: Request) -> float:
    return request.arrived
