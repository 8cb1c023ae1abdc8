"""Many designs on one stream of arrivals, in flat memory.

Arrivals are read or drawn once per replication and handed to every design, with the same services: what differs
between two designs is then the design alone (common random numbers, one stream per cause). Each design is one
core of the kernel. Every `tick_s` the schedules and the target tracking act, through the very functions of
`keepwarm_runtime.scaling` that the runtime and the embedded cloud call.
"""

import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil, fsum

from keepwarm_planner import cost
from keepwarm_planner.cost import MONTH_S
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import Kernel, choose, cores
from keepwarm_planner.kernel.shape import BINS, CoreDesign, S, quantile
from keepwarm_planner.model.control import Control
from keepwarm_planner.model.design import Design, Workload
from keepwarm_planner.model.estimate import Estimate, fraction_of, mean_of, ratio_of
from keepwarm_planner.prices import Prices
from keepwarm_planner.traffic.source import Chunk

TICK_S = 60.0
"""CloudWatch's resolution and with it that of schedules and target tracking."""

ALLOCATION_LAG_S = 120.0
"""Seconds from a scaling decision to ready environments when nothing better is known: AWS says provisioned
concurrency takes "a minute or two"
(https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html)."""


ROWS = 1440
"""Rows of a timeline at most."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a design did with a workload. Fractions are of all arrivals."""

    design: Design
    cold_fraction: Estimate
    throttled_fraction: Estimate
    dropped_fraction: Estimate
    provisioned_fraction: Estimate
    good_fraction: Estimate
    instances: Estimate
    """Environments that exist on average, the provisioned pool included."""
    busy: Estimate
    environments: Estimate
    utilization: Estimate
    """Busy share of the provisioned pool's time."""
    latency_s: dict[str, float]
    wait_s: dict[str, float]
    """Queue waits of the started: quantiles and the longest."""
    wait_mean_s: Estimate
    max_busy: float
    max_queue: float
    requests: int
    cost_month: Estimate
    """USD per month of 730 hours like the simulated time."""
    cost_parts: dict[str, float]
    timeline: list[dict[str, float]] = field(default_factory=list)
    """Of the first replication."""

    def as_dict(self, *, timeline: bool = False) -> dict[str, object]:
        """For JSON."""
        out: dict[str, object] = {"design": self.design.name, "requests": self.requests}
        for name in (
            "cold_fraction",
            "throttled_fraction",
            "dropped_fraction",
            "provisioned_fraction",
            "good_fraction",
            "instances",
            "busy",
            "environments",
            "utilization",
            "wait_mean_s",
            "cost_month",
        ):
            out[name] = getattr(self, name).as_dict()
        out |= {
            "latency_s": self.latency_s,
            "wait_s": self.wait_s,
            "max_busy": self.max_busy,
            "max_queue": self.max_queue,
            "cost_parts": self.cost_parts,
        }
        if timeline:
            out["timeline"] = self.timeline
        return out


@dataclass(frozen=True, slots=True)
class Run:
    """Outcomes of all designs, and what the run took."""

    outcomes: list[Outcome]
    kernel: str
    kernel_note: str
    requests: int
    horizon_s: float
    replications: int
    cpu_s: float
    wall_s: float


Advance = Callable[[float], None]


def run(
    designs: Sequence[Design],
    workload: Workload,
    prices: Prices,
    *,
    seed: int = 1,
    replications: int = 5,
    tick_s: float = TICK_S,
    timeline: bool = False,
    lag_s: float = ALLOCATION_LAG_S,
    kernel: str | None = None,
    progress: Advance | None = None,
) -> Run:
    """Simulates every design on the same arrivals and services. Same arguments, same figures."""
    cpu, wall = time.process_time(), time.perf_counter()
    if not designs:
        raise PlannerError("KW500", "run", "no design", "at least one")
    if replications < 1:
        raise PlannerError("KW500", "--replications", replications, "1 or more")
    if workload.service is None and not workload.source.has_services:
        raise PlannerError(
            "KW500",
            workload.source.name,
            "no durations",
            "a trace with duration_s or duration_ms, or --service",
        )
    chosen = choose(workload.source.expected() * len(designs) * replications, kernel)
    workers = min(cores(), len(designs) * replications) if chosen.name == "c" else 1
    passes = [
        _Pass(designs, workload, chosen, f"{seed}/{r}", tick_s, timeline and r == 0, lag_s)
        for r in range(replications)
    ]
    try:
        with _Workers(workers) as pool:
            if workload.source.fixed:
                _feed(passes, workload, chosen, f"{seed}", progress, pool)
            else:
                for i, one in enumerate(passes):
                    part = None
                    if progress is not None:
                        part = _part(progress, i, replications)
                    _feed([one], workload, chosen, f"{seed}/{i}", part, pool)
        outcomes = [_outcome(designs[k], workload, prices, passes, k) for k in range(len(designs))]
    finally:
        for one in passes:
            one.close()
    return Run(
        outcomes=outcomes,
        kernel=chosen.name,
        kernel_note=chosen.note,
        requests=int(passes[0].rows[0][S.ARRIVALS]),
        horizon_s=passes[0].end,
        replications=replications,
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
    )


class _Workers:
    """Threads for the designs: the C kernel runs without the interpreter lock."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> "_Workers":
        self._pool = None
        if self.count > 1:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self.count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Runs all jobs and waits for them."""
        if self._pool is None or len(jobs) == 1:
            for job in jobs:
                job()
            return
        for future in [self._pool.submit(job) for job in jobs]:
            future.result()


def _part(progress: Advance, i: int, n: int) -> Advance:
    return lambda share: progress((i + share) / n)


def _feed(
    passes: "list[_Pass]",
    workload: Workload,
    kernel: Kernel,
    seed: str,
    progress: Advance | None,
    pool: _Workers,
) -> None:
    source, law = workload.source, workload.service
    horizon = source.horizon_s()
    streams = [kernel.source(f"{p.seed}/services") for p in passes]
    last = 0.0
    for times, services in _merged(source.chunks(kernel, seed)):
        last = times[-1]
        jobs: list[Callable[[], None]] = []
        for one, stream in zip(passes, streams, strict=True):
            drawn = services
            if law is not None:
                drawn = stream.fill(law.kind, law.mean, law.table, len(times))
            assert drawn is not None
            jobs += [partial(core.feed, times, drawn) for core in one.plain]
            jobs.append(partial(one.feed_acting, times, drawn))
        pool.each(jobs)
        if progress is not None and horizon:
            progress(min(last / horizon, 1.0))
    end = horizon if horizon is not None else ceil(last / TICK_S + 1e-9) * TICK_S
    for one in passes:
        one.finish(end)


MERGED = 32_768
"""Arrivals handed over at once at least: long enough calls for threads to run side by side."""


def _merged(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """Small chunks together, empty ones left out."""
    times, services = array("d"), array("d")
    for some, needs in chunks:
        if not len(some):
            continue
        times.extend(some)
        if needs is not None:
            services.extend(needs)
        if len(times) >= MERGED:
            yield times, services if len(services) else None
            times, services = array("d"), array("d")
    if len(times):
        yield times, services if len(services) else None


class _Pass:
    """One replication of all designs."""

    def __init__(
        self,
        designs: Sequence[Design],
        workload: Workload,
        kernel: Kernel,
        seed: str,
        tick_s: float,
        timeline: bool,
        lag_s: float,
    ) -> None:
        self.seed = seed
        self.tick = tick_s
        self.next_tick = tick_s
        self.timeline = timeline
        self.controls = [Control(d, lag_s) for d in designs]
        self.cores = [kernel.core(core_design(d, workload), seed) for d in designs]
        self.acting = [i for i, c in enumerate(self.controls) if timeline or c.acts]
        self.plain = [core for i, core in enumerate(self.cores) if i not in set(self.acting)]
        self.history: list[list[list[float]]] = [[] for _ in designs]
        self.ticks: list[float] = []
        self.rows: list[list[float]] = []
        self.histograms: list[tuple[list[int], list[int]]] = []
        self.end = 0.0

    def feed_acting(self, times: Sequence[float], services: Sequence[float]) -> None:
        """A chunk to the cores that something happens to every tick, cut there."""
        if not self.acting:
            return
        at, n = 0, len(times)
        while at < n:
            cut = bisect_left(times, self.next_tick, at)
            if cut > at:
                part, needs = times[at:cut], services[at:cut]
                for i in self.acting:
                    self.cores[i].feed(part, needs)
                at = cut
            if at < n:
                self._act(self.next_tick)

    def _act(self, now: float) -> None:
        for i in self.acting:
            core, control = self.cores[i], self.controls[i]
            stats = core.read(now)
            if self.timeline:
                self.history[i].append(stats)
            if control.acts:
                size = control.step(now, stats)
                if size is not None:
                    core.resize(now, size)
        if self.timeline:
            self.ticks.append(now)
        self.next_tick = now + self.tick

    def finish(self, end: float) -> None:
        """Runs the clock out and keeps the figures."""
        if self.acting:
            while self.next_tick <= end:
                self._act(self.next_tick)
        self.end = end
        self.rows = [core.read(end) for core in self.cores]
        self.histograms = [core.histograms() for core in self.cores]

    def close(self) -> None:
        """Gives the memory back."""
        for core in self.cores:
            core.close()


def core_design(design: Design, workload: Workload) -> CoreDesign:
    """The design as the kernel takes it."""
    return CoreDesign(
        timeout=design.idle_timeout_s,
        limit=-1 if design.max_concurrency is None else design.max_concurrency,
        queue_limit=design.queue_limit,
        deadline=design.max_event_age_s,
        target=workload.latency_target_s,
        rate_limit=design.burst_limit,
        rate_window=design.burst_window_s,
        provisioned=design.scheduled(0.0),
        cold_kind=workload.cold.kind,
        cold_mean=workload.cold.mean,
        cold_table=workload.cold.table,
    )


def cost_of(design: Design, stats: Sequence[float], prices: Prices) -> dict[str, float]:
    """USD by part for what the kernel's figures say was used. A request is billed when it starts."""
    use = cost.FunctionUse(
        on_demand_s=stats[S.BUSY_OD] + stats[S.COLD_S],
        provisioned_s=stats[S.PROVISIONED_S],
        provisioned_busy_s=stats[S.BUSY_PROVISIONED],
        requests=stats[S.STARTED],
    )
    return cost.by_part(cost.function(prices, design.priced_by, use))


QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def _outcome(design: Design, workload: Workload, prices: Prices, passes: "list[_Pass]", k: int) -> Outcome:
    rows = [p.rows[k] for p in passes]
    ends = [p.end for p in passes]
    arrivals = [r[S.ARRIVALS] for r in rows]

    def fraction(*names: S) -> Estimate:
        return fraction_of([fsum(r[n] for n in names) for r in rows], arrivals)

    latency, wait = [0] * BINS, [0] * BINS
    for p in passes:
        for i, count in enumerate(p.histograms[k][0]):
            latency[i] += count
        for i, count in enumerate(p.histograms[k][1]):
            wait[i] += count
    started = int(fsum(r[S.STARTED] for r in rows))
    # requests that did not wait stand in the lowest bin of the waits
    wait[0] += started - sum(wait)
    months = [MONTH_S / end if end else 0.0 for end in ends]
    costs = [cost_of(design, r, prices) for r in rows]
    parts = {
        name: fsum(c[name] * m for c, m in zip(costs, months, strict=True)) / len(rows) for name in costs[0]
    }
    return Outcome(
        design=design,
        cold_fraction=fraction(S.COLD),
        throttled_fraction=fraction(S.REJECTED_LIMIT, S.REJECTED_RATE),
        dropped_fraction=fraction(S.EXPIRED, S.OVERFLOW),
        provisioned_fraction=fraction(S.PROVISIONED),
        good_fraction=fraction(S.GOOD),
        instances=mean_of([(r[S.LIFE_OD] + r[S.PROVISIONED_S]) / e for r, e in zip(rows, ends, strict=True)]),
        busy=mean_of([r[S.IN_FLIGHT_S] / e for r, e in zip(rows, ends, strict=True)]),
        environments=mean_of([r[S.PROVISIONED_S] / e for r, e in zip(rows, ends, strict=True)]),
        utilization=ratio_of([r[S.BUSY_PROVISIONED] for r in rows], [r[S.PROVISIONED_S] for r in rows]),
        latency_s={name: quantile(latency, q) for name, q in QUANTILES.items()},
        wait_s={
            **{name: quantile(wait, q) if wait[0] < q * started else 0.0 for name, q in QUANTILES.items()},
            "max": max(r[S.MAX_WAIT] for r in rows),
        },
        wait_mean_s=ratio_of([r[S.WAIT_S] for r in rows], [r[S.STARTED] for r in rows]),
        max_busy=max(r[S.MAX_BUSY] for r in rows),
        max_queue=max(r[S.MAX_QUEUE] for r in rows),
        requests=int(fsum(arrivals)),
        cost_month=mean_of([fsum(c.values()) * m for c, m in zip(costs, months, strict=True)]),
        cost_parts=parts,
        timeline=_timeline(passes[0], k),
    )


def _timeline(one: "_Pass", k: int) -> list[dict[str, float]]:
    history = one.history[k]
    if not history:
        return []
    step = max(1, ceil(len(history) / ROWS))
    out: list[dict[str, float]] = []
    before, start = [0.0] * len(S), 0.0
    for i in range(step - 1, len(history), step):
        now, at = history[i], one.ticks[i]
        span = at - start
        out.append(
            {
                "t_s": at,
                "arrivals": now[S.ARRIVALS] - before[S.ARRIVALS],
                "cold": now[S.COLD] - before[S.COLD],
                "throttled": now[S.REJECTED_LIMIT]
                + now[S.REJECTED_RATE]
                - before[S.REJECTED_LIMIT]
                - before[S.REJECTED_RATE],
                "dropped": now[S.EXPIRED] + now[S.OVERFLOW] - before[S.EXPIRED] - before[S.OVERFLOW],
                "busy": (now[S.IN_FLIGHT_S] - before[S.IN_FLIGHT_S]) / span,
                "instances": (
                    now[S.LIFE_OD] + now[S.PROVISIONED_S] - before[S.LIFE_OD] - before[S.PROVISIONED_S]
                )
                / span,
                "environments": (now[S.PROVISIONED_S] - before[S.PROVISIONED_S]) / span,
                "queue": now[S.QUEUE_NOW],
            }
        )
        before, start = now, at
    return out


def with_provisioned(design: Design, size: int) -> Design:
    """The same design with another constant pool."""
    return replace(
        design, name=f"{design.name} provisioned={size}", environments=size, schedule=(), tracking=None
    )
