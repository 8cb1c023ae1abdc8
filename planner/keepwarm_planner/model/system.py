"""The full model: queue, batches, retries, admission, a downstream service that scales from zero.

One event loop per replication, in Python, because every decision about capacity is taken by calling
`keepwarm_runtime.scaling`: placement, which idle environment works, expiry, the rate of starts, target tracking,
schedules and the step policy that a backlog drives. The core kernels (`engine.py`) are about a hundred times faster and
cover what has no queue of messages and no downstream.

What happens to a request: it arrives at the function, or as a message whose batch the event source mapping hands to
the function. The function works for its own service time; with a downstream it then needs a permit, and holds its
environment while the downstream serves it. There are as many permits as the deployment has: for the most tasks the
service may have. While they start, a permit meets no task, or one whose queue is full, and is given back; the request
then waits outside the function, as long and as often as the deployed workflow does, until its deadline. A throttled
invocation is tried again after an exponential backoff with full jitter. A throttled batch is offered again, at
doubling intervals, while its messages are hidden; then they go back to the queue, and to the dead letters after their
last receive.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import fsum
from typing import TYPE_CHECKING

from keepwarm_planner import cost
from keepwarm_planner.cost import MONTH_S
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import choose
from keepwarm_planner.kernel.shape import S
from keepwarm_planner.model.design import System, Workload
from keepwarm_planner.model.engine import cost_of
from keepwarm_planner.model.estimate import Estimate, fraction_of, mean_of, ratio_of
from keepwarm_planner.model.replication import Replication
from keepwarm_planner.model.service import Refusal, Task
from keepwarm_planner.prices import Prices

if TYPE_CHECKING:
    pass


def _busy_of(task: Task) -> int:
    return task.busy


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
    runs: list[Replication] = []
    ends: list[float] = []
    kernel = choose(expected)
    for r in range(replications):
        one = Replication(system, workload, f"{seed}/{r}", lag_s)
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
    system: System, prices: Prices, runs: list[Replication], ends: list[float], cpu_s: float, wall_s: float
) -> SystemOutcome:
    arrivals = [float(r.arrivals) for r in runs]

    def fraction(values: list[float]) -> Estimate:
        return fraction_of(values, arrivals)

    def per_request(values: list[float]) -> Estimate:
        return ratio_of(values, arrivals)

    def refused(*reasons: Refusal) -> Estimate:
        return per_request([float(sum(s.refused[x] for x in reasons)) if s else 0.0 for s in all_services])

    all_services = [r.service for r in runs]
    services = [s for s in all_services if s is not None]
    stats_of = [r.function.stats for r in runs]
    cost_month, cost_parts = _costs(system, prices, runs, ends)
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
        refused_per_request=refused(*Refusal),
        refusals={reason.value: refused(reason).mean for reason in Refusal},
        tasks=_mean([s.task_s / e for s, e in zip(services, ends, strict=False)]),
        task_utilization=ratio_of(
            [s.busy_s for s in services], [s.task_s * s.d.concurrency_per_task for s in services]
        ),
        wakes=_mean([float(s.wakes) for s in services]),
        max_tasks=max((s.max_tasks_seen for s in services), default=0),
        max_busy=max(r.max_busy for r in runs),
        cost_month=cost_month,
        cost_parts=cost_parts,
        timeline=runs[0].timeline,
        cpu_s=cpu_s,
        wall_s=wall_s,
        system=system,
    )


def _mean(values: list[float]) -> Estimate:
    return mean_of(values) if values else Estimate(0.0, 0.0, 0.0)


def _costs(
    system: System, prices: Prices, runs: list[Replication], ends: list[float]
) -> tuple[Estimate, dict[str, float]]:
    """USD a month, and its parts as means over the runs."""
    months = [MONTH_S / e if e else 0.0 for e in ends]
    costs = [_cost(system, prices, r) for r in runs]
    parts = {
        name: fsum(c[name] * m for c, m in zip(costs, months, strict=True)) / len(runs) for name in costs[0]
    }
    return mean_of([fsum(c.values()) * m for c, m in zip(costs, months, strict=True)]), parts


def _cost(system: System, prices: Prices, run: Replication) -> dict[str, float]:
    """USD of one run, by part."""
    stats = list(run.function.stats)
    stats[S.STARTED] = float(run.invocations)
    parts = cost_of(system.design, stats, prices)
    if run.service is not None:
        parts["downstream"] = cost.service(prices, run.service.d.instance_type, run.service.task_s).usd
    if system.queue is not None:
        # send, receive and delete of each message, received once or more
        calls = run.arrivals + 2.0 * len(run.ages)
        parts["queue"] = cost.item("queue", calls, "requests", prices).usd
    return parts
