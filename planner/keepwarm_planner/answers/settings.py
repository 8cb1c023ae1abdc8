"""Stack settings that follow from a sized pool, each with its formula."""

from math import ceil

from keepwarm import limits
from keepwarm_planner.answers.explain import Figure
from keepwarm_planner.answers.stack import rendered
from keepwarm_planner.model.design import Design, Workload
from keepwarm_planner.model.engine import Outcome

HEADROOM = 1.25
"""Concurrency limit over the busiest moment that was simulated."""

POOLED = "classify"
"""The function that the stack has a warm pool and a queue for; of others only the function itself is set."""

DOWNSTREAM_UTILIZATION = 0.7
"""Busy share of the service behind that its tasks are sized for at the busiest stretch."""

AGE_TIMEOUTS = 20
"""Timeouts of the function after which a queued message is worthless, when nothing better is known."""

ROOM = limits.LAMBDA_ACCOUNT_CONCURRENCY - limits.LAMBDA_UNRESERVED_CONCURRENCY_MIN
"""Concurrency that a function can reserve in an account with AWS's default."""


def derive(
    answer: Outcome, workload: Workload, *, function: str, max_event_age_s: float | None
) -> tuple[dict[str, object], list[Figure]]:
    """Stack settings of the `keepwarm` namespace that follow from the answer, and their formulas."""
    d = answer.design
    concurrency, by_load = _reserved_concurrency(answer)
    timeout, by_time = _timeout_s(answer, workload)
    asked = max_event_age_s
    age = int(asked) if asked is not None else max(AGE_TIMEOUTS * timeout, limits.SQS_RETENTION_MIN_S)
    batches = min(max(concurrency, limits.ESM_CONCURRENCY_MIN), limits.ESM_CONCURRENCY_MAX)
    own = {
        "memory_mb": d.memory_mb,
        "timeout_s": timeout,
        "ephemeral_mb": d.ephemeral_mb,
        "reserved_concurrency": concurrency,
    }
    settings: dict[str, object] = {"functions": {function: own}}
    if function == POOLED:
        settings["warm_pool"] = _warm_pool(d)
        settings["queue"] = {"max_concurrency": batches, "max_event_age_s": age}
    figures = [
        by_load,
        by_time,
        Figure(
            "visibility_s",
            limits.ESM_VISIBILITY_TIMEOUTS * timeout,
            "s",
            f"{limits.ESM_VISIBILITY_TIMEOUTS} x timeout (+ batch window); the stack derives it from the function",
            {"timeout_s": timeout},
        ),
        Figure(
            "max_event_age_s",
            age,
            "s",
            f"as asked, else {AGE_TIMEOUTS} x timeout, at least {limits.SQS_RETENTION_MIN_S} s",
            {"asked": asked},
        ),
        Figure(
            "queue.max_concurrency",
            batches,
            "batches",
            f"reserved concurrency, within {limits.ESM_CONCURRENCY_MIN}..{limits.ESM_CONCURRENCY_MAX}",
        ),
    ]
    return settings, figures


def _reserved_concurrency(answer: Outcome) -> tuple[int, Figure]:
    d = answer.design
    peak, pool = int(answer.max_busy), max(d.peak_environments, 1)
    wanted = max(ceil(peak * HEADROOM), pool, limits.ESM_CONCURRENCY_MIN)
    concurrency = d.max_concurrency or min(wanted, ROOM)
    return concurrency, Figure(
        "reserved_concurrency",
        concurrency,
        "requests in flight",
        f"as given, else max(ceil(busiest simulated moment x {HEADROOM:g}), pool), at most what an account can reserve",
        {"busiest": peak, "pool": pool, "limit": ROOM},
    )


def _timeout_s(answer: Outcome, workload: Workload) -> tuple[int, Figure]:
    service_s = workload.service.quantile(0.9999) if workload.service else answer.latency_s["p999"]
    cold_s = workload.cold.quantile(0.999)
    wanted = max(ceil(2.0 * service_s + cold_s), limits.LAMBDA_TIMEOUT_DEFAULT_S)
    timeout = min(wanted, limits.LAMBDA_TIMEOUT_MAX_S)
    return timeout, Figure(
        "timeout_s",
        timeout,
        "s",
        "ceil(2 x service at 99.99 % + cold start at 99.9 %)",
        {"service_s": service_s, "cold_s": cold_s},
    )


def service_tasks(
    peak_rate: float, call_s: float, concurrency_per_task: int
) -> tuple[dict[str, object], Figure]:
    """Tasks of the service behind for the busiest stretch, and what each is worth in permits."""
    from keepwarm_runtime.scaling import offered_load

    load = offered_load(peak_rate, call_s)
    tasks = max(ceil(load / (concurrency_per_task * DOWNSTREAM_UTILIZATION)), 1)
    figure = Figure(
        "service.max_tasks",
        tasks,
        "tasks",
        f"ceil(busiest requests/s x call s / (concurrency per task x {DOWNSTREAM_UTILIZATION:g})); permits = tasks x"
        " concurrency per task",
        {
            "requests_per_s": peak_rate,
            "call_s": call_s,
            "concurrency_per_task": concurrency_per_task,
            "permits": limits.service_permits(tasks, concurrency_per_task),
        },
    )
    return {"max_tasks": tasks, "concurrency_per_task": concurrency_per_task}, figure


def _warm_pool(d: Design) -> dict[str, object] | None:
    """The pool's section; None where there is none to keep, which takes the section away."""
    if not d.peak_environments:
        return None
    if not d.schedule:
        if d.tracking is None:
            return {"environments": d.environments, "max_environments": d.environments}
        return {
            "environments": max(d.tracking.environments, 1),
            "max_environments": max(d.tracking.max_environments, 1),
            "target_utilization": d.tracking.target_utilization,
        }
    top = d.tracking.max_environments if d.tracking else None
    least = max(min(size for _, size in d.schedule), 1)
    pool: dict[str, object] = {
        "environments": least,
        "max_environments": max(top or 0, max(size for _, size in d.schedule)),
    }
    if d.tracking:
        pool["target_utilization"] = d.tracking.target_utilization
    pool["schedules"] = [_schedule_entry(start, size, max(size, top or size)) for start, size in d.schedule]
    return pool


def _schedule_entry(start_s: float, environments: int, max_environments: int) -> dict[str, object]:
    hour, minute = divmod(int(start_s // 60), 60)
    return {
        "schedule_expression": f"cron({minute} {hour} ? * * *)",
        "environments": environments,
        "max_environments": max_environments,
        "timezone": "UTC",
    }


def settings_yaml(settings: dict[str, object]) -> str:
    """The settings as they go under `config:` of a stack file."""
    return f"config:\n{rendered(settings)}"
