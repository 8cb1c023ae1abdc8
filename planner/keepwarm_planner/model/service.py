"""The service behind the function: permits, tasks with their queues, and a step policy on the backlog."""

import random
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from keepwarm import limits
from keepwarm_planner.model.design import Downstream
from keepwarm_planner.model.events import Draws, Loop

if TYPE_CHECKING:
    from keepwarm_runtime.scaling import Step


class Refusal(StrEnum):
    """Why the service behind did not take a request."""

    NO_PERMIT = "no_permit"
    """All permits are taken."""
    NOT_READY = "not_ready"
    """A permit was taken, but no task runs: given back at once."""
    QUEUE_FULL = "queue_full"
    """A permit was taken, but the task that was asked has all it can queue: given back at once."""


class Refused(NamedTuple):
    """What a caller is told."""

    reason: Refusal
    retry_after_s: float
    """When to come back, by the service's or the permit pool's own estimate."""


THRESHOLD = 1.0
"""Missing tasks from which the backlog alarms ring."""


def growth_steps(most: int) -> "list[Step]":
    """The stack's scaling policy: it adds the tasks that the backlog misses, and never takes one away."""
    from keepwarm_runtime.scaling import Step

    return [Step(step.tasks, step.lower, step.upper) for step in limits.growth_steps(most)]


class Task:
    """A task from its launch (`since`, a moment in seconds) on; `waiting` is its queue."""

    __slots__ = ("busy", "draining", "ready", "since", "waiting")

    def __init__(self, since: float) -> None:
        self.since = since
        self.ready = False
        self.busy = 0
        self.draining = False
        self.waiting: deque[Callable[[float], None]] = deque()


class Service:
    """The downstream: permits, its tasks with their queues, and the scaling rule on its backlog."""

    def __init__(self, loop: Loop, d: Downstream, seed: str) -> None:
        from keepwarm_runtime.service_client import NOT_READY_AFTER_S

        self.loop = loop
        self.d = d
        self.not_ready_after_s = NOT_READY_AFTER_S
        self.service = Draws(d.service, f"{seed}/downstream")
        self.start = Draws(d.start, f"{seed}/task-start")
        self.picks = random.Random(f"{seed}/instance")  # noqa: S311
        self.tasks: list[Task] = []
        self.in_flight = 0  # permits that are held
        self.demand = 0  # since the last tick: the metric that callers emit, served or not
        self.refused = dict.fromkeys(Refusal, 0)
        self.steps = growth_steps(d.max_tasks)
        self.idle_ticks = 0
        self.wakes = 0
        self.served = 0
        self.busy_s = 0.0
        self.task_s = 0.0
        self.max_tasks_seen = 0
        for _ in range(d.min_tasks):
            task = Task(0.0)
            task.ready = True
            self.tasks.append(task)

    def _ready(self) -> list[Task]:
        return [t for t in self.tasks if t.ready and not t.draining]

    def admit(self, now: float, done: Callable[[float], None]) -> Refused | None:
        """Takes a permit and calls done(t) when served; else tells why not and when to come back.

        A caller picks one of the ready tasks at random, as the runtime's client does; it does not know their queues.
        """
        self.demand += 1
        refusal = self._refusal(now, done)
        if refusal is not None:
            self.refused[refusal.reason] += 1
        return refusal

    def _refusal(self, now: float, done: Callable[[float], None]) -> Refused | None:
        if self.in_flight >= self.d.permits:
            # the pool names the time until its first permit is likely to be free
            return Refused(Refusal.NO_PERMIT, self.d.service.mean / self.d.permits)
        ready = self._ready()
        if not ready:
            return Refused(Refusal.NOT_READY, self.not_ready_after_s)
        task = ready[int(self.picks.random() * len(ready))]
        if task.busy < self.d.concurrency_per_task:
            self.in_flight += 1
            self._serve(task, now, done)
        elif len(task.waiting) < self.d.task_queue:
            self.in_flight += 1
            task.waiting.append(done)
        else:
            ahead = task.busy + len(task.waiting)
            return Refused(Refusal.QUEUE_FULL, ahead * self.d.service.mean / self.d.concurrency_per_task)
        return None

    def _serve(self, task: Task, now: float, done: Callable[[float], None]) -> None:
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

    def _stop(self, task: Task, now: float) -> None:
        self.tasks.remove(task)
        self.task_s += now - task.since

    def tick(self, now: float) -> None:
        """Once a minute: the tasks that the backlog misses are added; after idle minutes the minimum is left."""
        from keepwarm_runtime.scaling import step_capacity

        d = self.d
        current = len([t for t in self.tasks if not t.draining])
        wanted = current
        if self.demand:
            self.idle_ticks = 0
            missing = limits.missing_tasks(self.demand, d.backlog_per_task, current)
            if missing >= THRESHOLD:
                wanted = step_capacity(
                    self.steps,
                    kind="ChangeInCapacity",
                    current=current,
                    value=float(missing),
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
        task = Task(now)
        self.tasks.append(task)

        def ready(t: float) -> None:
            task.ready = True

        self.loop.at(now + self.start.one(), ready)

    def finish(self, now: float) -> None:
        """Closes the books."""
        self.task_s += fsum(now - t.since for t in self.tasks)


def _first_to_go(task: Task) -> tuple[bool, float]:
    """Tasks that don't run yet go first, then the youngest: as the service scheduler of the embedded cloud does."""
    return task.ready, -task.since
