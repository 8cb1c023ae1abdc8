"""How a service keeps its tasks: rolling deployments, circuit breaker, throttled restarts.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
"""

import secrets

from keepwarm_localcloud.services.ecs.model import STARTING, Definition, Deployment, EcsServiceRecord, Task
from keepwarm_localcloud.services.ecs.owner import Owner

SETTLE_S = 0.5
"""Seconds a task without a health check must run before it counts as started: a crash at start isn't a start."""
THROTTLE_FIRST_S = 0.5
THROTTLE_MAX_S = 900.0
"""Restart pauses double up to 15 minutes.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html"""
MAX_EVENTS = 100


class Deployments:
    """Brings services towards what is desired; called under the service's lock."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    def event(self, record: EcsServiceRecord, message: str) -> None:
        """Add to the service's event list (newest first)."""
        record.events.insert(
            0,
            {
                "id": secrets.token_hex(16),
                "createdAt": self.owner.context.clock.now_s(),
                "message": f"(service {record.name}) {message}",
            },
        )
        del record.events[MAX_EVENTS:]

    def begin(
        self, record: EcsServiceRecord, definition: Definition, *, rollback: bool = False
    ) -> Deployment:
        """Make a new primary deployment."""
        now_s = self.owner.context.clock.now_s()
        for old in record.deployments:
            old.status = "ACTIVE"
        identity = f"ecs-svc/{secrets.randbelow(10**19):019d}"
        deployment = Deployment(identity, definition, now_s, now_s, rollback=rollback)
        deployment.reason = f"ECS deployment {identity} in progress."
        record.deployments.insert(0, deployment)
        record.steady, record.not_before_s = False, 0.0
        return deployment

    def settled(self, task: Task, now_s: float) -> bool:
        """Whether a task counts as started."""
        if not task.well:
            return False
        if task.checked:
            return True
        return task.started_s is not None and now_s >= task.started_s + SETTLE_S

    def reconcile(self, record: EcsServiceRecord, now_s: float) -> None:
        """One look at one service."""
        tasks = [t for t in self.owner.tasks.values() if t.service == record.arn and t.status != "STOPPED"]
        if record.status == "DRAINING":
            self._drain(record, tasks)
            return
        live = [t for t in tasks if t.desired == "RUNNING"]
        for task in live:
            if task.health == "UNHEALTHY":
                self._unhealthy(record, task)
            elif task.status == "RUNNING" and not task.checked and task.started_s is not None:
                self.owner.poke_at(task.started_s + SETTLE_S)
        live = [t for t in live if t.desired == "RUNNING"]
        primary = record.primary
        # A task on a draining instance is replaced within the same bounds as one of an old deployment.
        # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateContainerInstancesState.html
        new = [t for t in live if t.deployment == primary.identity and not t.draining]
        old = [t for t in live if t.deployment != primary.identity or t.draining]
        good = [t for t in new if self.settled(t, now_s)]
        if good:
            primary.streak = 0
        # maximumPercent counts what is RUNNING or PENDING: a task that was told to stop still is, until it stops.
        present = [t for t in tasks if t.status in (*STARTING, "RUNNING")]
        self._start(record, len(new), len(present), now_s)
        self._shrink(record, new, old, now_s)
        self._judge(record, primary, good, old, now_s)

    def _drain(self, record: EcsServiceRecord, tasks: list[Task]) -> None:
        for task in tasks:
            if task.desired == "RUNNING":
                self.owner.stop_task(
                    task,
                    "ServiceSchedulerInitiated",
                    f"Scaling activity initiated by deployment {task.deployment}",
                )
        if not tasks:
            record.status = "INACTIVE"
            record.deployments.clear()
            self.owner.note("service", service=record.name, state="INACTIVE")

    def _unhealthy(self, record: EcsServiceRecord, task: Task) -> None:
        self.event(record, f"(task {task.identity}) failed container health checks.")
        self.failed(record, task)
        self.owner.stop_task(task, "ServiceSchedulerInitiated", "Task failed container health checks")

    def _start(self, record: EcsServiceRecord, new: int, live: int, now_s: float) -> None:
        if now_s < record.not_before_s:
            self.owner.poke_at(record.not_before_s)
            return
        _, most = record.bounds
        count = max(0, min(record.desired - new, max(most, 1) - live if record.desired else 0))
        started = []
        for _ in range(count):
            task = self.owner.launch_for(record, record.primary)
            if task is not None:
                started.append(task.identity)
        if started:
            record.steady = False
            listed = " ".join(f"(task {identity})" for identity in started)
            self.event(record, f"has started {len(started)} tasks: {listed}.")

    def _shrink(self, record: EcsServiceRecord, new: list[Task], old: list[Task], now_s: float) -> None:
        stop: list[Task] = []
        if len(new) > record.desired:
            # Tasks that don't run yet go first, then the youngest.
            order = sorted(new, key=lambda t: (t.status == "RUNNING", -t.created_s))
            stop += order[: len(new) - record.desired]
        least, _ = record.bounds
        well = sum(self.settled(t, now_s) for t in [*new, *old] if t not in stop)
        enough = sum(self.settled(t, now_s) for t in new if t not in stop)
        for task in old:
            if not self.settled(task, now_s) and task.status in STARTING:
                stop.append(task)
            elif well - 1 >= least or enough >= record.desired:
                well -= 1
                stop.append(task)
        for task in stop:
            reason = f"Scaling activity initiated by deployment {record.primary.identity}"
            if task.draining:
                reason = "Container instance is draining"
            self.owner.stop_task(task, "ServiceSchedulerInitiated", reason)
        if stop:
            listed = " ".join(f"(task {t.identity})" for t in stop)
            self.event(record, f"has stopped {len(stop)} running tasks: {listed}.")

    def _judge(
        self, record: EcsServiceRecord, primary: Deployment, good: list[Task], old: list[Task], now_s: float
    ) -> None:
        on, rolls_back, limit = record.breaker
        if on and primary.state == "IN_PROGRESS" and primary.failed >= limit:
            self._trip(record, primary, rolls_back, now_s)
            return
        steady = len(good) == record.desired and not old
        if steady and primary.state == "IN_PROGRESS":
            primary.state, primary.updated_s = "COMPLETED", now_s
            primary.reason = f"ECS deployment {primary.identity} completed."
            record.last_good = primary.definition
            record.deployments = [primary]
            self.event(record, f"(deployment {primary.identity}) deployment completed.")
        if steady and not record.steady:
            self.event(record, "has reached a steady state.")
            self.owner.note("service", service=record.name, state="STEADY", running=len(good))
        record.steady = steady

    def _trip(self, record: EcsServiceRecord, primary: Deployment, rolls_back: bool, now_s: float) -> None:
        primary.state, primary.updated_s = "FAILED", now_s
        primary.reason = "ECS deployment circuit breaker: tasks failed to start."
        self.event(record, f"(deployment {primary.identity}) deployment failed: tasks failed to start.")
        self.owner.note("service", service=record.name, state="DEPLOYMENT_FAILED", failed=primary.failed)
        if rolls_back and not primary.rollback and record.last_good is not None:
            fresh = self.begin(record, record.last_good, rollback=True)
            fresh.reason = f"ECS deployment circuit breaker: rolling back to deploymentId {fresh.identity}."
            self.event(record, f"rolling back to deployment {fresh.identity}.")
            self.owner.poke()
            return
        # Without a rollback the failed deployment starts no more tasks.
        record.not_before_s = float("inf")

    def failed(self, record: EcsServiceRecord, task: Task) -> None:
        """Count a task that didn't last, and slow down restarts."""
        if task.counted:
            return
        task.counted = True
        deployment = next((d for d in record.deployments if d.identity == task.deployment), None)
        if deployment is None:
            return
        deployment.failed += 1
        deployment.streak += 1
        pause_s = min(THROTTLE_FIRST_S * 2 ** (deployment.streak - 1), THROTTLE_MAX_S)
        if deployment is record.primary:
            now_s = self.owner.context.clock.now_s()
            record.not_before_s = max(record.not_before_s, now_s + pause_s)
            self.owner.poke_at(record.not_before_s)
        if deployment.streak == 3:
            self.event(record, "is unable to consistently start tasks successfully.")
