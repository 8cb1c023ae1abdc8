"""The full model: queue, batches, retries, admission, a downstream service that scales from zero.

One event loop per replication, in Python, because every decision about capacity is taken by calling
`keepwarm_runtime.scaling`: placement, which idle environment works, expiry, the rate of starts, target tracking,
schedules and the step policy that a backlog drives. The core kernels (`engine.py`) are about a hundred times faster and
cover what has no queue of messages and no downstream.

What happens to a request: it arrives at the function, or as a message whose batch the event source mapping hands to
the function. The function works for its own service time; with a downstream it then needs a permit, and holds its
environment while the downstream serves it. There are as many permits as the deployment has: for the most tasks the
service may have. While they start, a permit meets no task, or a queue that is full; the caller gives it back. A
refused request (no permit, no task, function throttled) is tried again after an
exponential backoff with full jitter, as long as attempts and its deadline last. A throttled batch is offered again,
at doubling intervals, while its messages are hidden; then they go back to the queue, and to the dead letters after
their last receive.
"""

import heapq
import random
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, fsum, inf
from typing import TYPE_CHECKING

from keepwarm import limits
from keepwarm_planner import cost
from keepwarm_planner.cost import MONTH_S
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import choose
from keepwarm_planner.kernel.shape import Cold, S
from keepwarm_planner.model.engine import TICK_S, Design, Workload, _Control, cost_of
from keepwarm_planner.model.estimate import Estimate, fraction_of, mean_of, ratio_of
from keepwarm_planner.prices import Prices
from keepwarm_planner.traffic.law import Law, constant

if TYPE_CHECKING:
    from keepwarm_runtime.scaling import Step

OFFER_FIRST_S, OFFER_MAX_S = 0.5, 20.0
"""Intervals at which the event source mapping offers a throttled batch again: assumed, AWS says "with backoff"; the
embedded cloud does the same."""

POLLERS_START = 5
POLLERS_PER_MINUTE = 300
"""Concurrent batches of a new event source mapping, and how many more each minute
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of messages before the function. Times in seconds."""

    batch_size: int = 1
    batch_window_s: float = 0.0
    max_concurrency: int = 1000
    """Batches the event source mapping keeps in the function at once."""
    visibility_s: float = 180.0
    max_receive_count: int = 5
    max_event_age_s: float = inf
    """A message older than this is dropped when it is received."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempts after a refusal: waits of base x factor^n seconds, at most `cap_s`, times a uniform 0..1."""

    attempts: int = 4
    base_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Downstream:
    """A service behind the function. Times in seconds."""

    service: Law
    concurrency_per_task: int = 4
    """Requests one task serves at a time."""
    queue_per_task: int | None = None
    """Requests that may wait in one task. Default: as deployed, twice `concurrency_per_task`."""
    min_tasks: int = 0
    max_tasks: int = 4
    start: Law = field(default_factory=lambda: constant(180.0))
    """From the decision to a ready task: instance, image, model."""
    backlog_per_task: int = 30
    """Demands a minute (served, waiting or refused) that one task is there for: the stack's scaling signal."""
    idle_minutes: int = 10
    """Minutes without demand before the service goes back to `min_tasks`."""
    instance_type: str = "g4dn.xlarge"

    @property
    def permits(self) -> int:
        """Requests the whole service takes at a time, as its Admission pool grants them: for all tasks there may be,
        running or not."""
        return limits.service_permits(self.max_tasks, self.concurrency_per_task)

    @property
    def task_queue(self) -> int:
        """Requests that may wait in one task."""
        if self.queue_per_task is not None:
            return self.queue_per_task
        return limits.task_queue(self.concurrency_per_task)


class Refusal(StrEnum):
    """Why the service behind did not take a request."""

    NO_PERMIT = "no_permit"
    """All permits are taken."""
    NOT_READY = "not_ready"
    """A permit was taken, but no task runs: given back at once."""
    QUEUE_FULL = "queue_full"
    """A permit was taken, but the task that was asked has all it can queue: given back at once."""


@dataclass(frozen=True, slots=True)
class System:
    """A design with what stands before and behind the function."""

    design: Design
    queue: Queue | None = None
    downstream: Downstream | None = None
    retry: Retry = field(default_factory=Retry)
    deadline_s: float = inf
    """Seconds a request gets from its arrival to its answer: no retry is made after it."""


class _Request:
    __slots__ = ("arrived", "attempts", "receives", "service", "waited_for_permit")

    def __init__(self, arrived: float, service: float) -> None:
        self.arrived = arrived
        self.service = service
        self.attempts = 0
        self.receives = 0
        self.waited_for_permit = False


class _Env:
    __slots__ = ("created", "idle_since", "provisioned")

    def __init__(self, created: float, provisioned: bool) -> None:
        self.created = created
        self.idle_since = created
        self.provisioned = provisioned


class _Draws:
    """Values of a law from its own stream."""

    def __init__(self, law: Law, seed: str) -> None:
        self._law = law
        self._rng = random.Random(seed)  # noqa: S311

    def one(self) -> float:
        """The next value."""
        law = self._law
        if law.kind is Cold.CONSTANT:
            return law.mean
        if law.kind is Cold.EXPONENTIAL:
            return self._rng.expovariate(1.0 / law.mean)
        return law.quantile(self._rng.random())


Event = tuple[float, int, Callable[[float], None]]


class _Loop:
    """Events in time order; equal times in the order they were made."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[Event] = []
        self._made = 0

    def at(self, t: float, action: Callable[[float], None]) -> None:
        """Calls action(t) at t."""
        self._made += 1
        heapq.heappush(self._events, (t, self._made, action))

    def run(self, until: float) -> None:
        """Everything up to and including `until`."""
        while self._events and self._events[0][0] <= until:
            t, _, action = heapq.heappop(self._events)
            self.now = t
            action(t)
        self.now = until


class _Function:
    """Environments of the function, placed by the runtime's decisions."""

    def __init__(self, loop: _Loop, system: System, workload: Workload, seed: str, lag_s: float) -> None:
        from keepwarm_runtime.scaling import BurstRate

        self.loop = loop
        self.d = system.design
        self.cold = _Draws(workload.cold, f"{seed}/cold")
        self.control = _Control(self.d, lag_s)
        self.size = self.control.size
        self.busy_provisioned = 0
        self.busy_on_demand = 0
        self.idle: list[_Env] = []
        self.stats = [0.0] * len(S)
        self.size_since = 0.0
        self.life = 0.0
        self.alive: set[_Env] = set()
        rate = self.d.burst_limit
        self.rate = BurstRate(int(rate), self.d.burst_window_s) if rate > 0.0 else None

    def _expire(self, now: float) -> None:
        from keepwarm_runtime.scaling import expired

        timeout = self.d.idle_timeout_s
        keep = []
        for env in self.idle:
            if expired(env.idle_since, now, timeout):
                self.stats[S.LIFE_OD] += env.idle_since + timeout - env.created
                self.alive.discard(env)
            else:
                keep.append(env)
        if len(keep) != len(self.idle):
            self.idle = keep

    def try_start(self, now: float) -> tuple[_Env, float] | None:
        """An environment and the cold delay before it works, or None when throttled."""
        from keepwarm_runtime.scaling import Placement, newest_idle, on_demand_limit, place

        if self.idle and self.idle[0].idle_since + self.d.idle_timeout_s <= now:
            self._expire(now)
        limit = on_demand_limit(self.d.max_concurrency, max(self.size, self.busy_provisioned))
        provisioned_idle = max(self.size - self.busy_provisioned, 0)
        decision = place(
            provisioned_idle=provisioned_idle,
            on_demand_idle=len(self.idle),
            on_demand_busy=self.busy_on_demand,
            on_demand_limit=limit,
            may_create=True,
        )
        if decision is Placement.COLD and self.rate is not None and not self.rate.try_take(now):
            decision = Placement.THROTTLE_RATE
        if decision is Placement.PROVISIONED:
            self.busy_provisioned += 1
            self.stats[S.PROVISIONED] += 1
            return _Env(now, provisioned=True), 0.0
        if decision is Placement.WARM:
            env = newest_idle(self.idle, _created)
            self.idle.remove(env)
            self.busy_on_demand += 1
            self.stats[S.WARM] += 1
            return env, 0.0
        if decision is Placement.COLD:
            delay = self.cold.one()
            self.busy_on_demand += 1
            self.stats[S.COLD] += 1
            self.stats[S.COLD_S] += delay
            env = _Env(now, provisioned=False)
            self.alive.add(env)
            return env, delay
        self.stats[S.REJECTED_RATE if decision is Placement.THROTTLE_RATE else S.REJECTED_LIMIT] += 1
        return None

    def release(self, env: _Env, now: float, worked_s: float) -> None:
        """The environment answered after `worked_s` seconds of billed work."""
        if env.provisioned:
            self.busy_provisioned -= 1
            self.stats[S.BUSY_PROVISIONED] += worked_s
            return
        self.busy_on_demand -= 1
        self.stats[S.BUSY_OD] += worked_s
        env.idle_since = now
        # by idle time, so that the first to expire stands first
        self.idle.append(env)

    def tick(self, now: float) -> None:
        """Schedules and target tracking, once a minute."""
        if not self.control.acts:
            return
        self._settle(now)
        size = self.control.step(now, self.stats)
        if size is not None:
            self.size = size

    def _settle(self, now: float) -> None:
        self.stats[S.PROVISIONED_S] += self.size * (now - self.size_since)
        self.size_since = now

    def finish(self, now: float) -> None:
        """Closes the books."""
        self._settle(now)
        for env in self.alive:
            until = now if env not in self.idle else min(env.idle_since + self.d.idle_timeout_s, now)
            self.stats[S.LIFE_OD] += until - env.created


def _created(env: _Env) -> float:
    return env.created


THRESHOLD = 1.0
"""Demands a minute from which the backlog alarm rings."""


def backlog_steps(per_task: int, least: int, most: int) -> "list[Step]":
    """The stack's scaling policy: exact capacity, one task per `per_task` demands a minute between `least` (at least
    one) and `most`; larger strides where 20 steps do not suffice. A test holds it equal to the component's."""
    from keepwarm_runtime.scaling import Step

    least = max(least, 1)
    if most <= least:
        return [Step(most, 0.0, None)]
    stride = ceil((most - least + 1) / limits.SCALING_STEPS_MAX)
    sizes = [min(size + stride - 1, most) for size in range(least, most, stride)]
    if sizes[-1] < most:
        sizes.append(most)
    edges = [0.0, *(float(size * per_task) for size in sizes[:-1])]
    return [
        Step(size, edges[i], edges[i + 1] if i + 1 < len(edges) else None) for i, size in enumerate(sizes)
    ]


class _Task:
    __slots__ = ("busy", "draining", "ready", "since", "waiting")

    def __init__(self, since: float) -> None:
        self.since = since
        self.ready = False
        self.busy = 0
        self.draining = False
        self.waiting: deque[Callable[[float], None]] = deque()


class _Service:
    """The downstream: permits, its tasks with their queues, and the scaling rule on its backlog."""

    def __init__(self, loop: _Loop, d: Downstream, seed: str) -> None:
        self.loop = loop
        self.d = d
        self.service = _Draws(d.service, f"{seed}/downstream")
        self.start = _Draws(d.start, f"{seed}/task-start")
        self.picks = random.Random(f"{seed}/instance")  # noqa: S311
        self.tasks: list[_Task] = []
        self.in_flight = 0  # permits that are held
        self.demand = 0  # since the last tick: the metric that callers emit, served or not
        self.refused = dict.fromkeys(Refusal, 0)
        self.steps = backlog_steps(d.backlog_per_task, d.min_tasks, d.max_tasks)
        self.idle_ticks = 0
        self.wakes = 0
        self.served = 0
        self.busy_s = 0.0
        self.task_s = 0.0
        self.max_tasks_seen = 0
        for _ in range(d.min_tasks):
            task = _Task(0.0)
            task.ready = True
            self.tasks.append(task)

    def _ready(self) -> list[_Task]:
        return [t for t in self.tasks if t.ready and not t.draining]

    def admit(self, now: float, done: Callable[[float], None]) -> Refusal | None:
        """Takes a permit and calls done(t) when served; else says why not.

        A caller picks one of the ready tasks at random, as the runtime's client does; it does not know their queues.
        """
        self.demand += 1
        refusal = self._refusal(now, done)
        if refusal is not None:
            self.refused[refusal] += 1
        return refusal

    def _refusal(self, now: float, done: Callable[[float], None]) -> Refusal | None:
        if self.in_flight >= self.d.permits:
            return Refusal.NO_PERMIT
        ready = self._ready()
        if not ready:
            return Refusal.NOT_READY
        task = ready[int(self.picks.random() * len(ready))]
        if task.busy < self.d.concurrency_per_task:
            self.in_flight += 1
            self._serve(task, now, done)
        elif len(task.waiting) < self.d.task_queue:
            self.in_flight += 1
            task.waiting.append(done)
        else:
            return Refusal.QUEUE_FULL
        return None

    def _serve(self, task: _Task, now: float, done: Callable[[float], None]) -> None:
        task.busy += 1
        takes = self.service.one()
        self.busy_s += takes

        def finished(t: float) -> None:
            task.busy -= 1
            self.in_flight -= 1
            self.served += 1
            if task.waiting:
                self._serve(task, t, task.waiting.popleft())
            elif task.draining and not task.busy:
                self._stop(task, t)
            done(t)

        self.loop.at(now + takes, finished)

    def _stop(self, task: _Task, now: float) -> None:
        self.tasks.remove(task)
        self.task_s += now - task.since

    def tick(self, now: float) -> None:
        """Once a minute: the tasks that the step policy gives the backlog, or the minimum after idle minutes."""
        from keepwarm_runtime.scaling import step_capacity

        d = self.d
        current = len([t for t in self.tasks if not t.draining])
        wanted = current
        if self.demand:
            self.idle_ticks = 0
            wanted = step_capacity(
                self.steps,
                kind="ExactCapacity",
                current=current,
                value=float(self.demand),
                threshold=THRESHOLD,
                minimum=d.min_tasks,
                maximum=d.max_tasks,
            )
        else:
            self.idle_ticks += 1
            if self.idle_ticks >= d.idle_minutes:
                wanted = d.min_tasks
        self.demand = 0
        for _ in range(wanted - current):
            if not self.tasks:
                self.wakes += 1
            self._launch(now)
        for _ in range(current - wanted):
            victim = min((t for t in self.tasks if not t.draining), key=_first_to_go)
            victim.draining = True
            if not victim.busy:
                self._stop(victim, now)
        self.max_tasks_seen = max(self.max_tasks_seen, len(self.tasks))

    def _launch(self, now: float) -> None:
        task = _Task(now)
        self.tasks.append(task)

        def ready(t: float) -> None:
            task.ready = True

        self.loop.at(now + self.start.one(), ready)

    def finish(self, now: float) -> None:
        """Closes the books."""
        self.task_s += fsum(now - t.since for t in self.tasks)


def _busy_of(task: _Task) -> int:
    return task.busy


def _first_to_go(task: _Task) -> tuple[bool, float]:
    """Tasks that don't run yet go first, then the youngest: as the service scheduler of the embedded cloud does."""
    return task.ready, -task.since


class _Replication:
    """One run of the whole system."""

    def __init__(self, system: System, workload: Workload, seed: str, lag_s: float) -> None:
        self.system = system
        self.workload = workload
        self.loop = _Loop()
        self.function = _Function(self.loop, system, workload, seed, lag_s)
        self.service = _Service(self.loop, system.downstream, seed) if system.downstream else None
        self.jitter = random.Random(f"{seed}/jitter")  # noqa: S311
        self.pending: deque[_Request] = deque()
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
        request = _Request(t, service)
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
            batch: list[_Request] = []
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

    def _offer(self, batch: list[_Request], received: float, now: float, wait: float) -> None:
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

    def _return_at(self, batch: list[_Request], end: float) -> None:
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

    def _invoke(self, batch: list[_Request], now: float) -> bool:
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

    def _computed(self, batch: list[_Request], env: _Env, begun: float, now: float) -> None:
        if self.service is None:
            self._answer(env, begun, now)
            for request in batch:
                self._complete(request, now)
            return
        outstanding = len(batch)
        refused: list[_Request] = []

        def settled(t: float) -> None:
            nonlocal outstanding
            outstanding -= 1
            if outstanding == 0:
                self._answer(env, begun, t)

        for request in batch:
            if self.service.admit(now, self._served(request, settled)) is not None:
                refused.append(request)
        for request in refused:
            self._retry(request, now)
            settled(now)

    def _served(self, request: _Request, settled: Callable[[float], None]) -> Callable[[float], None]:
        def done(t: float) -> None:
            self._complete(request, t)
            settled(t)

        return done

    def _answer(self, env: _Env, begun: float, now: float) -> None:
        self.function.release(env, now, now - begun)
        if self.system.queue is not None:
            self.batches -= 1
            self._pump(now)

    def _complete(self, request: _Request, now: float) -> None:
        latency = now - request.arrived
        self.done += 1
        self.latencies.append(latency)
        if latency <= min(self.workload.latency_target_s, self.system.deadline_s):
            self.good += 1

    def _retry(self, request: _Request, now: float) -> None:
        retry = self.system.retry
        wait = min(retry.base_s * retry.factor**request.attempts, retry.cap_s) * self.jitter.random()
        request.attempts += 1
        if request.attempts > retry.attempts or now + wait - request.arrived > self.system.deadline_s:
            self.failed += 1
            return
        self.retries += 1
        # A retry is a new invocation of this request alone: the workflow, not the queue, holds it now.
        self.loop.at(now + wait, lambda t: self._again(request, t))

    def _again(self, request: _Request, now: float) -> None:
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

            if self.service.admit(t, self._served(request, settled)) is not None:
                settled(t)
                self._retry(request, t)

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


def _arrived(request: _Request) -> float:
    return request.arrived


@dataclass(frozen=True, slots=True)
class SystemOutcome:
    """What the full model found. Fractions are of all arrivals; times in seconds; money in USD per month."""

    name: str
    requests: int
    cold_fraction: Estimate
    """Invocations that started an environment, over arrivals."""
    throttles_per_request: Estimate
    retries_per_request: Estimate
    failed_fraction: Estimate
    """Given up after the last attempt or past the deadline."""
    dropped_fraction: Estimate
    """Messages past their deadline, or in the dead letters."""
    open_fraction: Estimate
    """Still under way when the trace ended."""
    good_fraction: Estimate
    """Goodput: answered within the target and the deadline."""
    latency_s: dict[str, float]
    queue_age_s: dict[str, float]
    refused_per_request: Estimate
    """Requests the downstream did not take, per arrival."""
    refusals: dict[str, float]
    """The same by reason, see `Refusal`."""
    tasks: Estimate
    task_utilization: Estimate
    wakes: Estimate
    """Starts from zero tasks per replication."""
    max_tasks: int
    max_busy: int
    cost_month: Estimate
    cost_parts: dict[str, float]
    timeline: list[dict[str, float]]
    cpu_s: float
    wall_s: float
    system: System = field(repr=False)
    """What was simulated."""

    def as_dict(self, *, timeline: bool = False) -> dict[str, object]:
        """For JSON."""
        out: dict[str, object] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name != "system" and (name != "timeline" or timeline):
                out[name] = value.as_dict() if isinstance(value, Estimate) else value
        return out


def _quantiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    ordered = sorted(values)
    n = len(ordered)

    def at(q: float) -> float:
        return ordered[min(int(q * n), n - 1)]

    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": ordered[-1]}


def simulate(
    system: System,
    workload: Workload,
    prices: Prices,
    *,
    seed: int = 1,
    replications: int = 5,
    lag_s: float = 120.0,
    limit: float = 5e6,
    progress: Callable[[float], None] | None = None,
) -> SystemOutcome:
    """Runs the full model. Same arguments, same figures; the same arrivals and services as `engine.run` draws with
    this seed."""
    cpu, wall = time.process_time(), time.perf_counter()
    expected = workload.source.expected()
    if expected > limit:
        raise PlannerError(
            "KW509",
            "full model",
            f"about {expected:.3g} requests",
            f"at most {limit:.0e} per replication",
            because="it runs in Python",
            fix="a shorter trace, or a design without queue, retry and downstream",
        )
    if workload.service is None and not workload.source.has_services:
        raise PlannerError(
            "KW500", workload.source.name, "no durations", "duration_s in the trace, or --service"
        )
    runs: list[_Replication] = []
    ends: list[float] = []
    kernel = choose(expected)
    for r in range(replications):
        one = _Replication(system, workload, f"{seed}/{r}", lag_s)
        arrivals = _arrivals(workload, kernel, f"{seed}/{r}")
        ends.append(one.run(arrivals, workload.source.horizon_s()))
        runs.append(one)
        if progress is not None:
            progress((r + 1) / replications)
    return _report(system, prices, runs, ends, time.process_time() - cpu, time.perf_counter() - wall)


def _arrivals(workload: Workload, kernel: "object", seed: str) -> Iterator[tuple[float, float]]:
    from keepwarm_planner.kernel import Kernel

    assert isinstance(kernel, Kernel)
    stream = kernel.source(f"{seed}/services")
    law = workload.service
    for times, services in workload.source.chunks(kernel, seed):
        drawn = services
        if law is not None:
            drawn = stream.fill(law.kind, law.mean, law.table, len(times))
        assert drawn is not None
        yield from zip(times, drawn, strict=True)


def _report(
    system: System, prices: Prices, runs: list[_Replication], ends: list[float], cpu_s: float, wall_s: float
) -> SystemOutcome:
    arrivals = [float(r.arrivals) for r in runs]

    def fraction(values: list[float]) -> Estimate:
        return fraction_of(values, arrivals)

    def per_request(values: list[float]) -> Estimate:
        return ratio_of(values, arrivals)

    months = [MONTH_S / e if e else 0.0 for e in ends]
    costs: list[dict[str, float]] = []
    for r in runs:
        stats = list(r.function.stats)
        stats[S.STARTED] = float(r.invocations)
        parts = cost_of(system.design, stats, prices)
        if r.service is not None:
            parts["downstream"] = cost.service(prices, r.service.d.instance_type, r.service.task_s).usd
        if system.queue is not None:
            # send, receive and delete of each message, received once or more
            calls = r.arrivals + 2.0 * len(r.ages)
            parts["queue"] = cost.item("queue", calls, "requests", prices).usd
        costs.append(parts)
    services = [r.service for r in runs if r.service is not None]
    stats_of = [r.function.stats for r in runs]
    return SystemOutcome(
        name=system.design.name,
        requests=int(fsum(arrivals)),
        cold_fraction=fraction([s[S.COLD] for s in stats_of]),
        throttles_per_request=per_request([s[S.REJECTED_LIMIT] + s[S.REJECTED_RATE] for s in stats_of]),
        retries_per_request=per_request([float(r.retries) for r in runs]),
        failed_fraction=fraction([float(r.failed) for r in runs]),
        dropped_fraction=fraction([float(r.dead + r.expired) for r in runs]),
        open_fraction=fraction([float(r.open) for r in runs]),
        good_fraction=fraction([float(r.good) for r in runs]),
        latency_s=_quantiles([x for r in runs for x in r.latencies]),
        queue_age_s=_quantiles([x for r in runs for x in r.ages]),
        refused_per_request=per_request(
            [float(sum(r.service.refused.values())) if r.service else 0.0 for r in runs]
        ),
        refusals={
            reason.value: per_request(
                [float(r.service.refused[reason]) if r.service else 0.0 for r in runs]
            ).mean
            for reason in Refusal
        },
        tasks=mean_of([s.task_s / e for s, e in zip(services, ends, strict=True)])
        if services
        else Estimate(0.0, 0.0, 0.0),
        task_utilization=ratio_of(
            [s.busy_s for s in services], [s.task_s * s.d.concurrency_per_task for s in services]
        )
        if services
        else Estimate(0.0, 0.0, 0.0),
        wakes=mean_of([float(s.wakes) for s in services]) if services else Estimate(0.0, 0.0, 0.0),
        max_tasks=max((s.max_tasks_seen for s in services), default=0),
        max_busy=max(r.max_busy for r in runs),
        cost_month=mean_of([fsum(c.values()) * m for c, m in zip(costs, months, strict=True)]),
        cost_parts={
            name: fsum(c[name] * m for c, m in zip(costs, months, strict=True)) / len(runs)
            for name in costs[0]
        },
        timeline=runs[0].timeline,
        cpu_s=cpu_s,
        wall_s=wall_s,
        system=system,
    )
