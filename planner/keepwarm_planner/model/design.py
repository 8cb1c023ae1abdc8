"""What is simulated: a design of a function, what stands before and behind it, and its workload."""

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from keepwarm import limits
from keepwarm_planner import cost
from keepwarm_planner.assumed import IDLE_TIMEOUT_S, SERVICE_WAKE_S
from keepwarm_planner.cost import FREE_EPHEMERAL_MB, Architecture
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.traffic.law import Law, constant
from keepwarm_planner.traffic.source import DAY_S, Source

if TYPE_CHECKING:
    pass

MEMORY_MB = limits.LAMBDA_MB_PER_VCPU
"""A whole vCPU (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html)."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """Target tracking of the provisioned pool's utilization (0..1)."""

    target_utilization: float
    environments: int
    max_environments: int


@dataclass(frozen=True, slots=True)
class Design:
    """One configuration of a function. Times in seconds.

    `schedule` holds (second of the day, provisioned size), daily, in rising order; it overrides `environments`.
    With `tracking` a schedule sets the pool's minimum, as scheduled actions do on AWS.
    """

    name: str
    environments: int = 0
    schedule: tuple[tuple[float, int], ...] = ()
    tracking: Tracking | None = None
    max_concurrency: int | None = None
    idle_timeout_s: float = IDLE_TIMEOUT_S
    queue_limit: int = 0
    """0 refuses what cannot start at once, -1 queues without bound."""
    max_event_age_s: float = inf
    """A queued request older than this is dropped."""
    burst_limit: float = float(limits.LAMBDA_BURST_ENVIRONMENTS)
    """Environments created per `burst_window_s`: what AWS allows a function; 0 for no limit."""
    burst_window_s: float = float(limits.LAMBDA_BURST_PERIOD_S)
    memory_mb: int = MEMORY_MB
    architecture: Architecture = Architecture.X86_64
    ephemeral_mb: int = FREE_EPHEMERAL_MB

    def __post_init__(self) -> None:
        who = f"design {self.name!r}"
        starts = [start for start, _ in self.schedule]
        if starts != sorted(set(starts)) or (starts and not 0.0 <= starts[0] <= starts[-1] < DAY_S):
            raise PlannerError("KW513", f"{who} schedule", starts, "rising seconds of the day, 0 to 86400")
        if min([self.environments, *(size for _, size in self.schedule)]) < 0:
            raise PlannerError("KW513", f"{who} environments", "a negative size", "0 or more")
        if self.max_concurrency is not None and self.max_concurrency < 1:
            raise PlannerError("KW513", f"{who} max_concurrency", self.max_concurrency, "1 or more")
        if not self.idle_timeout_s >= 0.0:
            raise PlannerError(
                "KW513", f"{who} idle_timeout_s", self.idle_timeout_s, "seconds, 0 or more, or inf"
            )
        if self.max_concurrency is not None and self.peak_environments > self.max_concurrency:
            raise PlannerError(
                "KW513",
                f"{who} environments",
                self.peak_environments,
                f"at most max_concurrency {self.max_concurrency}",
                because="the provisioned pool counts towards the function's concurrency",
            )
        if self.tracking is not None and not 0.0 < self.tracking.target_utilization <= 1.0:
            raise PlannerError(
                "KW513",
                f"{who} target_utilization",
                self.tracking.target_utilization,
                "a utilization above 0 and up to 1",
            )

    @property
    def priced_by(self) -> cost.FunctionSize:
        """What its seconds are priced by."""
        return cost.FunctionSize(self.memory_mb, self.architecture, self.ephemeral_mb)

    @property
    def peak_environments(self) -> int:
        """Largest size that the settings name."""
        sizes = [size for _, size in self.schedule] or [self.environments]
        return max([*sizes, self.tracking.max_environments if self.tracking else 0])

    def scheduled(self, now_s: float) -> int:
        """Size that settings ask for at a second of the run, before target tracking."""
        if not self.schedule:
            return self.environments
        from keepwarm_runtime.scaling import scheduled_size

        return scheduled_size(self.schedule, now_s % DAY_S, default=self.schedule[-1][1])


@dataclass(frozen=True, slots=True)
class Workload:
    """What arrives and how long it takes. `service` None: durations come with the trace."""

    source: Source
    service: Law | None
    cold: Law
    latency_target_s: float = inf
    """Seconds; slower answers don't count as good (Goodput)."""


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
    start: Law = field(default_factory=lambda: constant(SERVICE_WAKE_S))
    """From the decision to a ready task: instance, image, model."""
    backlog_per_task: int = limits.SERVICE_BACKLOG_PER_TASK
    """Demands a minute (served, waiting or refused) that one task is there for: the stack's scaling signal."""
    idle_minutes: int = limits.SERVICE_IDLE_MINUTES
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
        return limits.task_queue(self.max_tasks, self.concurrency_per_task)


@dataclass(frozen=True, slots=True)
class System:
    """A design with what stands before and behind the function."""

    design: Design
    queue: Queue | None = None
    downstream: Downstream | None = None
    retry: Retry | None = None
    """Attempts after any refusal. Default: a throttled invocation is tried again as `Retry` says; a request that the
    service does not take waits for capacity until its deadline, as the deployed workflow does
    (`keepwarm_runtime.waiting`)."""
    deadline_s: float = inf
    """Seconds a request gets from its arrival to its answer: no retry is made after it."""
