"""How many environments to keep warm: the cheapest pool that meets a cold-start and a latency target on a trace.

First the trace is run once without any pool, to see its load by hour; Erlang's formula (the runtime's
`warm_target_for`) then says which sizes are worth trying. Constant pools, daily schedules, target tracking and
both together are simulated side by side on the same arrivals (one replication), and the promising ones again with
replications: a design meets the target when the upper end of its 95 % interval does.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

from keepwarm import limits
from keepwarm_planner.answers.explain import Figure
from keepwarm_planner.answers.settings import POOLED, ROOM, derive, service_tasks
from keepwarm_planner.cost import SECONDS_PER_HOUR
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.model.design import Design, Tracking, Workload
from keepwarm_planner.model.engine import Outcome, Run, run
from keepwarm_planner.prices import Prices
from keepwarm_planner.traffic.source import DAY_S

SCREENED = 200
CONFIRMED = 8
REPLICATIONS = 5

PRE_START_S = 300.0
"""How much earlier than the load a scheduled size is asked for: environments take a minute or two to be ready."""


TRACKING_TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9)
SCHEDULE_STEPS = 8


@dataclass(frozen=True, slots=True)
class Target:
    """What must hold. Fractions of all arrivals, seconds."""

    cold_fraction: float = 0.01
    latency_s: float = inf
    latency_quantile: str = "p99"
    throttled_fraction: float = 0.0
    """Refused share that is tolerated; only matters with a concurrency limit."""

    def __post_init__(self) -> None:
        if not 0.0 < self.cold_fraction < 1.0:
            raise PlannerError(
                "KW500", "size --cold-fraction", self.cold_fraction, "a fraction above 0 and below 1"
            )
        if not self.latency_s > 0.0:
            raise PlannerError("KW500", "size --latency-s", self.latency_s, "more than 0 s")

    def met(self, outcome: Outcome, *, surely: bool) -> bool:
        """Whether a design meets the target; `surely` asks the interval's upper end."""
        cold, refused = outcome.cold_fraction, outcome.throttled_fraction
        return (
            (cold.high if surely else cold.mean) <= self.cold_fraction
            and outcome.latency_s[self.latency_quantile] <= self.latency_s
            and refused.mean <= self.throttled_fraction
        )


@dataclass(frozen=True, slots=True)
class SizeReport:
    """The answer, the runners-up and what the stack needs."""

    answer: Outcome
    target: Target
    without: Outcome
    """The same trace without a pool."""
    best_by_kind: dict[str, Outcome | None]
    """Cheapest that meets the target, of each kind of pool."""
    decided_by: str
    would_change: list[str]
    figures: list[Figure]
    settings: dict[str, object]
    screened: int
    run: Run

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "answer": {
                **self.answer.as_dict(),
                "environments": self.answer.design.environments,
                "schedule": [list(x) for x in self.answer.design.schedule],
                "tracking": None
                if self.answer.design.tracking is None
                else {
                    "target_utilization": self.answer.design.tracking.target_utilization,
                    "environments": self.answer.design.tracking.environments,
                    "max_environments": self.answer.design.tracking.max_environments,
                },
            },
            "target": {
                "cold_fraction": self.target.cold_fraction,
                "latency_s": None if self.target.latency_s == inf else self.target.latency_s,
                "latency_quantile": self.target.latency_quantile,
            },
            "without_pool": self.without.as_dict(),
            "best_by_kind": {k: v.as_dict() if v else None for k, v in self.best_by_kind.items()},
            "decided_by": self.decided_by,
            "would_change": self.would_change,
            "figures": [f.as_dict() for f in self.figures],
            "settings": self.settings,
            "screened": self.screened,
            "requests": self.run.requests,
            "horizon_s": self.run.horizon_s,
            "cpu_s": self.run.cpu_s,
            "wall_s": self.run.wall_s,
            "kernel": self.run.kernel,
        }


def kind_of(design: Design) -> str:
    """on-demand, constant, schedule, tracking or schedule+tracking."""
    if design.schedule:
        return "schedule+tracking" if design.tracking else "schedule"
    if design.tracking:
        return "tracking"
    return "constant" if design.environments else "on-demand"


def hourly_load(outcome: Outcome) -> list[float]:
    """Busiest arrivals per second of each hour of the day, over all days, in ten-minute stretches."""
    rates = [0.0] * 24
    bucket: dict[int, list[float]] = {}
    for row in outcome.timeline:
        bucket.setdefault(int((row["t_s"] - 1e-6) // 600.0), []).append(row["arrivals"])
    span = outcome.timeline[0]["t_s"]
    for index, arrivals in bucket.items():
        hour = int(index * 600.0 % DAY_S // SECONDS_PER_HOUR)
        rates[hour] = max(rates[hour], sum(arrivals) / (len(arrivals) * span))
    return rates


def _schedule(sizes: Sequence[int]) -> tuple[tuple[float, int], ...]:
    """Hourly sizes as few steps: neighbors merge upwards where that costs least."""
    steps: list[list[int]] = []  # [first hour, hours, size]
    for hour, size in enumerate(sizes):
        if steps and steps[-1][2] == size:
            steps[-1][1] += 1
        else:
            steps.append([hour, 1, size])
    while len(steps) > SCHEDULE_STEPS:
        costs = []
        for a, b in itertools.pairwise(steps):
            top = max(a[2], b[2])
            costs.append((top - a[2]) * a[1] + (top - b[2]) * b[1])
        i = costs.index(min(costs))
        steps[i] = [steps[i][0], steps[i][1] + steps[i + 1][1], max(steps[i][2], steps[i + 1][2])]
        del steps[i + 1]
    merged: list[tuple[float, int]] = []
    for first, _, size in steps:
        # a rise is asked for before its hour, a fall at it
        before = merged[-1][1] if merged else steps[-1][2]
        start = first * SECONDS_PER_HOUR - (PRE_START_S if size > before and first > 0 else 0.0)
        merged.append((start, size))
    return tuple(merged)


def candidates(base: Design, rates: Sequence[float], service_mean: float, target: Target) -> list[Design]:
    """Designs worth simulating: at most `SCREENED`."""
    from keepwarm_runtime.scaling import warm_target_for

    def wanted(rate: float, cold: float) -> int:
        return warm_target_for(rate, service_mean, cold) if rate > 0.0 else 0

    peak = wanted(max(rates), min(target.cold_fraction, 0.01) / 4)
    room = ROOM if base.max_concurrency is None else base.max_concurrency
    peak = min(max(peak, 1), room)
    designs = [_without_pool(base)]
    step = max(1, ceil(peak * 1.3 / 90))
    for size in range(1, min(int(peak * 1.3) + 2, room) + 1, step):
        designs.append(replace(base, name=f"constant {size}", environments=size, schedule=(), tracking=None))
    for cold in (target.cold_fraction * k for k in (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8)):
        for scale in (0.7, 1.0):
            sizes = [min(ceil(wanted(r, min(cold, 0.9)) * scale), room) for r in rates]
            schedule = _schedule(sizes)
            if len(schedule) > 1:
                name = f"schedule {min(sizes)}-{max(sizes)}"
                designs.append(replace(base, name=name, environments=0, schedule=schedule, tracking=None))
                tracking = Tracking(0.7, 0, min(max(int(max(sizes) * 1.5), 1), room))
                designs.append(
                    replace(
                        base,
                        name=f"{name} + tracking 70%",
                        environments=0,
                        schedule=schedule,
                        tracking=tracking,
                    )
                )
    floor = max(wanted(min(rates), target.cold_fraction), 1)
    for at in TRACKING_TARGETS:
        for least in sorted({1, floor, max(1, (floor + peak) // 2)}):
            tracking = Tracking(at, least, max(peak, least))
            designs.append(
                replace(
                    base,
                    name=f"tracking {at:.0%} of {least}-{peak}",
                    environments=least,
                    schedule=(),
                    tracking=tracking,
                )
            )
    unique: dict[tuple[object, ...], Design] = {}
    for design in designs:
        unique.setdefault((design.environments, design.schedule, design.tracking), design)
    return list(unique.values())[:SCREENED]


def size(
    workload: Workload,
    prices: Prices,
    target: Target,
    base: Design | None = None,
    *,
    seed: int = 1,
    function: str = POOLED,
    max_event_age_s: float | None = None,
    downstream_s: float | None = None,
    concurrency_per_task: int = 1,
    progress: Callable[[float], None] | None = None,
) -> SizeReport:
    """Searches the cheapest pool. Raises KW512 when none of the candidates meets the target.

    With `downstream_s`, the mean time of a call to the service behind, its tasks and permits are sized as well;
    `concurrency_per_task` is the number of requests one of its tasks serves at a time.
    """
    if downstream_s is not None and not 0.0 < downstream_s < inf:
        raise PlannerError("KW500", "size --downstream-s", downstream_s, "seconds above 0")
    if concurrency_per_task < 1:
        raise PlannerError("KW500", "size --concurrency-per-task", concurrency_per_task, "1 or more")
    base = base or Design("base")
    _deployable(base, max_event_age_s)
    observed = run([_without_pool(base)], workload, prices, seed=seed, replications=2, timeline=True)
    without = observed.outcomes[0]
    rates = hourly_load(without) if without.timeline else [without.requests / observed.horizon_s] * 24
    designs = candidates(base, rates, _service_mean_s(workload, observed), target)
    screen = run(designs, workload, prices, seed=seed, replications=1, progress=_share(progress, 0.1, 0.6))
    near = _meeting(target, screen.outcomes, workload, surely=False)
    confirmed = run(
        _shortlist(near),
        workload,
        prices,
        seed=seed,
        replications=REPLICATIONS,
        progress=_share(progress, 0.6, 1.0),
    )
    sure = _meeting(target, confirmed.outcomes, workload, surely=True)
    answer = sure[0]
    settings, figures = derive(answer, workload, function=function, max_event_age_s=max_event_age_s)
    if downstream_s is not None:
        settings["service"], figure = service_tasks(max(rates), downstream_s, concurrency_per_task)
        figures.append(figure)
    return SizeReport(
        answer=answer,
        target=target,
        without=without,
        best_by_kind=_cheapest_by_kind(sure),
        decided_by=_decided_by(answer, without, screen.outcomes, target),
        would_change=_would_change(answer, screen.outcomes, target),
        figures=figures,
        settings=settings,
        screened=len(designs),
        run=replace(
            confirmed,
            cpu_s=observed.cpu_s + screen.cpu_s + confirmed.cpu_s,
            wall_s=observed.wall_s + screen.wall_s + confirmed.wall_s,
        ),
    )


def _without_pool(base: Design) -> Design:
    return replace(base, name="on-demand", environments=0, schedule=(), tracking=None)


def _service_mean_s(workload: Workload, observed: Run) -> float:
    """Seconds an environment is busy per request, initialization apart."""
    if workload.service is not None:
        return workload.service.mean
    without = observed.outcomes[0]
    cold_s = without.cold_fraction.mean * without.requests * workload.cold.mean
    return (without.busy.mean * observed.horizon_s - cold_s) / max(without.requests, 1)


def _share(
    progress: Callable[[float], None] | None, start: float, end: float
) -> Callable[[float], None] | None:
    """Progress of a part of the search, as progress of the whole."""
    if progress is None:
        return None
    return lambda done: progress(start + (end - start) * done)


def _meeting(
    target: Target, outcomes: Sequence[Outcome], workload: Workload, *, surely: bool
) -> list[Outcome]:
    """Designs that meet the target, cheapest first. Raises KW512 when there is none."""
    met = [o for o in outcomes if target.met(o, surely=surely)]
    if not met:
        _impossible(outcomes, target, workload)
    return sorted(met, key=lambda o: (o.cost_month.mean, o.design.name))


def _cheapest_by_kind(outcomes: Sequence[Outcome]) -> dict[str, Outcome | None]:
    """Of each kind of pool the first, from the cheapest on."""
    by_kind: dict[str, Outcome | None] = dict.fromkeys(
        ("on-demand", "constant", "schedule", "tracking", "schedule+tracking")
    )
    for outcome in outcomes:
        kind = kind_of(outcome.design)
        by_kind[kind] = by_kind[kind] or outcome
    return by_kind


def _deployable(base: Design, max_event_age_s: float | None) -> None:
    """Refuses what no stack could have, before a search is paid for."""
    for option, value, least, most, why in (
        (
            "--max-concurrency",
            base.max_concurrency,
            limits.ESM_CONCURRENCY_MIN,
            limits.LAMBDA_ACCOUNT_CONCURRENCY,
            "a queue hands at least two batches to its function at once",
        ),
        ("--memory-mb", base.memory_mb, limits.LAMBDA_MEMORY_MIN_MB, limits.LAMBDA_MEMORY_MAX_MB, ""),
        (
            "--ephemeral-mb",
            base.ephemeral_mb,
            limits.LAMBDA_EPHEMERAL_MIN_MB,
            limits.LAMBDA_EPHEMERAL_MAX_MB,
            "",
        ),
        (
            "--max-event-age-s",
            max_event_age_s,
            limits.SQS_RETENTION_MIN_S,
            limits.SQS_RETENTION_MAX_S,
            "a queue keeps messages that long",
        ),
    ):
        if value is not None and not least <= value <= most:
            raise PlannerError("KW500", f"size {option}", f"{value:g}", f"{least} to {most}", because=why)


def _shortlist(near: Sequence[Outcome]) -> list[Design]:
    """The cheapest overall, and of each kind the cheapest two, with the next more generous of each."""
    chosen: dict[str, Design] = {o.design.name: o.design for o in near[:CONFIRMED]}
    for kind in {kind_of(o.design) for o in near}:
        same = [o.design for o in near if kind_of(o.design) == kind]
        for design in same[:1] + same[len(same) // 2 : len(same) // 2 + 1]:
            chosen.setdefault(design.name, design)
    return list(chosen.values())


def _impossible(outcomes: Sequence[Outcome], target: Target, workload: Workload) -> None:
    coldest = min(outcomes, key=lambda o: (o.cold_fraction.high, o.cost_month.mean))
    fastest = min(outcomes, key=lambda o: o.latency_s[target.latency_quantile])
    quickest = fastest.latency_s[target.latency_quantile]
    if quickest > target.latency_s:
        because = (
            f"even '{fastest.design.name}' has {target.latency_quantile} {quickest:.3g} s: the service time itself"
            " does not fit"
        )
        fix = f"--latency-s {quickest * 1.05:.2g} or a faster function"
    elif all(o.throttled_fraction.mean > target.throttled_fraction for o in outcomes):
        because = "every design is throttled by its concurrency limit"
        fix = "a higher --max-concurrency"
    else:
        because = f"the best, '{coldest.design.name}', reaches {coldest.cold_fraction.high:.3g} (upper end)"
        fix = f"--cold-fraction {coldest.cold_fraction.high * 1.1:.2g} or a longer trace"
    raise PlannerError(
        "KW512",
        f"size {workload.source.name}",
        f"cold fraction {target.cold_fraction:g}"
        + (f" and {target.latency_quantile} {target.latency_s:g} s" if target.latency_s < inf else ""),
        "a target that some design meets",
        because=because,
        fix=fix,
    )


def _decided_by(answer: Outcome, without: Outcome, outcomes: Sequence[Outcome], target: Target) -> str:
    if kind_of(answer.design) == "on-demand":
        return (
            f"without a pool {without.cold_fraction.mean:.3g} of requests are cold, within the target of"
            f" {target.cold_fraction:g}: traffic itself keeps environments warm"
        )
    if target.met(without, surely=True):
        return (
            f"price: the target holds without a pool too ({without.cold_fraction.mean:.3g} cold), but a pool this busy"
            f" ({answer.utilization.mean:.0%}) costs less than on-demand duration:"
            f" {answer.cost_month.mean - without.cost_month.mean:+.2f} USD a month"
        )
    cheaper = [o for o in outcomes if o.cost_month.mean < answer.cost_month.mean]
    missed = [o for o in cheaper if not target.met(o, surely=False)]
    cold = sum(o.cold_fraction.mean > target.cold_fraction for o in missed)
    slow = sum(o.latency_s[target.latency_quantile] > target.latency_s for o in missed)
    reason = "cold fraction" if cold >= slow else f"{target.latency_quantile} latency"
    return (
        f"{reason}: {len(cheaper)} of {len(outcomes)} simulated designs are cheaper and {len(missed)} of them miss the"
        f" target; without a pool {without.cold_fraction.mean:.3g} of requests are cold"
    )


def _would_change(answer: Outcome, outcomes: Sequence[Outcome], target: Target) -> list[str]:
    notes = []
    for factor, word in ((0.5, "half"), (2.0, "twice"), (10.0, "ten times")):
        other = replace(target, cold_fraction=min(target.cold_fraction * factor, 0.99))
        fitting = [o for o in outcomes if other.met(o, surely=False)]
        if not fitting:
            notes.append(f"{word} the cold fraction ({other.cold_fraction:g}): no design reaches it")
            continue
        best = min(fitting, key=lambda o: o.cost_month.mean)
        if best.design.name != answer.design.name:
            change = best.cost_month.mean - answer.cost_month.mean
            notes.append(
                f"{word} the cold fraction ({other.cold_fraction:g}): '{best.design.name}', {change:+.2f} USD a month"
            )
    if not notes:
        notes.append("half to ten times the cold fraction gives the same answer")
    return notes
