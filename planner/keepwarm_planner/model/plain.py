"""The plain case: Poisson arrivals, exponential services, one function. What theory and peers can check.

Every replication starts from an empty platform, as a deployment does and as SimFaaS does, so the
figures of the whole horizon contain the first cold starts. `warmup_s` cuts a beginning off; the
`steady` figures of a report are those after a warm-up of two idle expiries and ten services, taken
from the same runs.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import fsum, isfinite

from keepwarm_planner.assumed import IDLE_TIMEOUT_S
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import Kernel, choose, cores
from keepwarm_planner.kernel.plain import Row
from keepwarm_planner.model.estimate import Estimate, fraction_of, mean_of, ratio_of
from keepwarm_planner.traffic.source import DAY_S, MAX_REQUESTS

REPLICATIONS = 20
BATCHES = 32
"""Batches of one long replication when there is only one: their means give the interval."""

NO_LIMIT = 2**62
AUTO_REQUESTS = 5e6
"""Requests per replication that the default horizon aims at."""


@dataclass(frozen=True, slots=True)
class PlainScenario:
    """One plain configuration. rate in 1/s, times in seconds.

    `max_concurrency` is the cap on requests in flight, provisioned ones included; None for none.
    `horizon_s` None means a day, or less where a day would be more than five million requests per
    replication, but never less than twenty idle expiries.
    """

    rate: float
    service_mean_s: float
    idle_timeout_s: float = IDLE_TIMEOUT_S
    max_concurrency: int | None = None
    environments: int = 0
    horizon_s: float | None = None
    warmup_s: float = 0.0
    replications: int = REPLICATIONS
    seed: int = 1

    def __post_init__(self) -> None:
        who = "simulate"
        _positive(who, "--rate", self.rate, "requests per second")
        _positive(who, "--service-mean-s", self.service_mean_s, "seconds")
        if not self.idle_timeout_s >= 0.0:
            raise PlannerError("KW500", f"{who} --idle-timeout-s", self.idle_timeout_s, "0 s or more")
        if self.max_concurrency is not None and self.max_concurrency < 0:
            raise PlannerError("KW500", f"{who} --max-concurrency", self.max_concurrency, "0 or more")
        if self.environments < 0:
            raise PlannerError("KW500", f"{who} --environments", self.environments, "0 or more")
        if self.max_concurrency is not None and self.environments > self.max_concurrency:
            raise PlannerError(
                "KW500",
                f"{who} --environments",
                self.environments,
                f"at most --max-concurrency {self.max_concurrency}",
                because="the provisioned pool counts towards the function's concurrency",
            )
        if self.horizon_s is not None:
            _positive(who, "--horizon-s", self.horizon_s, "seconds")
        if not (isfinite(self.warmup_s) and self.warmup_s >= 0.0):
            raise PlannerError("KW500", f"{who} --warmup-s", self.warmup_s, "0 s or more")
        if self.warmup_s >= self.horizon:
            raise PlannerError(
                "KW500", f"{who} --warmup-s", self.warmup_s, f"less than the horizon of {self.horizon:g} s"
            )
        if self.replications < 1:
            raise PlannerError("KW500", f"{who} --replications", self.replications, "1 or more")
        if self.requests > MAX_REQUESTS:
            raise PlannerError(
                "KW509",
                f"{who} --horizon-s",
                f"about {self.requests:.3g} requests",
                f"at most {MAX_REQUESTS:.0e}",
                fix="a shorter horizon or fewer replications",
            )

    @property
    def horizon(self) -> float:
        """Seconds simulated per replication."""
        if self.horizon_s is not None:
            return self.horizon_s
        timeout = self.idle_timeout_s if isfinite(self.idle_timeout_s) else 0.0
        least = 20.0 * (timeout + self.service_mean_s)
        return max(least, min(DAY_S, AUTO_REQUESTS / self.rate), 2.0 * self.warmup_s)

    @property
    def requests(self) -> float:
        """Expected requests of all replications."""
        return self.rate * self.horizon * self.replications

    @property
    def settled_s(self) -> float:
        """Seconds after which the empty start no longer shows."""
        timeout = self.idle_timeout_s if isfinite(self.idle_timeout_s) else 0.0
        return 2.0 * timeout + 10.0 * self.service_mean_s


def _positive(who: str, option: str, value: float, unit: str) -> None:
    if not (isfinite(value) and value > 0.0):
        raise PlannerError("KW500", f"{who} {option}", value, f"a finite number of {unit} above 0")


@dataclass(frozen=True, slots=True)
class PlainFigures:
    """Figures of one stretch of time. Fractions are of all arrivals; instances and busy are time averages."""

    cold_fraction: Estimate
    rejected_fraction: Estimate
    provisioned_fraction: Estimate
    instances: Estimate
    busy: Estimate
    requests: int
    from_s: float

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "cold_fraction": self.cold_fraction.as_dict(),
            "rejected_fraction": self.rejected_fraction.as_dict(),
            "provisioned_fraction": self.provisioned_fraction.as_dict(),
            "instances": self.instances.as_dict(),
            "busy": self.busy.as_dict(),
            "requests": self.requests,
            "from_s": self.from_s,
        }


@dataclass(frozen=True, slots=True)
class PlainReport:
    """What a plain simulation found. `steady` is None where the horizon is too short to tell."""

    figures: PlainFigures
    steady: PlainFigures | None
    scenario: PlainScenario
    kernel: str
    kernel_note: str
    cpu_s: float
    wall_s: float

    def as_dict(self) -> dict[str, object]:
        """For JSON: the figures at the top level."""
        s = self.scenario
        return {
            **self.figures.as_dict(),
            "steady": self.steady.as_dict() if self.steady else None,
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "kernel": self.kernel,
            "kernel_note": self.kernel_note,
            "confidence": 0.95,
            "scenario": {
                "rate": s.rate,
                "service_mean_s": s.service_mean_s,
                "idle_timeout_s": s.idle_timeout_s if isfinite(s.idle_timeout_s) else None,
                "max_concurrency": s.max_concurrency,
                "environments": s.environments,
                "horizon_s": s.horizon,
                "warmup_s": s.warmup_s,
                "replications": s.replications,
                "seed": s.seed,
            },
        }


def window_ends(scenario: PlainScenario) -> list[float]:
    """Rising ends of the stretches whose figures are kept apart."""
    horizon = scenario.horizon
    ends = {horizon}
    if scenario.warmup_s > 0.0:
        ends.add(scenario.warmup_s)
    if 2.0 * scenario.settled_s < horizon:
        ends.add(scenario.settled_s)
    if scenario.replications == 1:
        start = max(scenario.warmup_s, 0.0)
        ends.update(start + (horizon - start) * i / BATCHES for i in range(1, BATCHES))
    return sorted(ends)


def run_replications(
    scenario: PlainScenario,
    kernel: Kernel,
    ends: list[float],
    workers: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[list[Row]]:
    """Rows per replication. The C kernel uses up to `workers` threads (default: the machine's cores); the
    result does not depend on how many. `progress` is called with the share that is done."""
    s = scenario
    limit = NO_LIMIT if s.max_concurrency is None else s.max_concurrency - s.environments
    results: list[list[Row] | None] = [None] * s.replications
    pending = iter(range(s.replications))
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        while not failures:
            with lock:
                i = next(pending, None)
            if i is None:
                return
            try:
                results[i] = kernel.plain(
                    s.rate,
                    s.service_mean_s,
                    s.idle_timeout_s,
                    s.environments,
                    limit,
                    f"{s.seed}/{i}",
                    ends,
                )
                if progress is not None:
                    progress(sum(r is not None for r in results) / s.replications)
            except BaseException as e:  # carried to the caller below
                failures.append(e)

    count = min(workers or cores(), s.replications) if kernel.name == "c" else 1
    if count == 1:
        work()
    else:
        threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return [rows for rows in results if rows is not None]


def figures_between(
    runs: list[list[Row]], ends: list[float], from_s: float, provisioned: int
) -> PlainFigures:
    """Estimates over [from_s, last end]. One replication is cut into its batches."""
    first = ends.index(from_s) if from_s > 0.0 else None
    samples: list[tuple[Row, float]] = []
    zero: Row = (0.0,) * 6
    if len(runs) > 1:
        for rows in runs:
            samples.append((_minus(rows[-1], rows[first] if first is not None else zero), ends[-1] - from_s))
    else:
        rows, before, start = runs[0], zero if first is None else runs[0][first], from_s
        for row, end in zip(rows, ends, strict=True):
            if end > from_s:
                samples.append((_minus(row, before), end - start))
                before, start = row, end
    arrivals = [row[0] for row, _ in samples]
    spans = [span for _, span in samples]
    return PlainFigures(
        cold_fraction=fraction_of([row[1] for row, _ in samples], arrivals),
        rejected_fraction=fraction_of([row[2] for row, _ in samples], arrivals),
        provisioned_fraction=fraction_of([row[5] for row, _ in samples], arrivals),
        instances=mean_of([provisioned + row[4] / span for row, span in samples])
        if len(set(spans)) == 1
        else ratio_of([provisioned * span + row[4] for row, span in samples], spans),
        busy=mean_of([row[3] / span for row, span in samples])
        if len(set(spans)) == 1
        else ratio_of([row[3] for row, _ in samples], spans),
        requests=int(fsum(arrivals)),
        from_s=from_s,
    )


def _minus(row: Row, before: Row) -> Row:
    return (
        row[0] - before[0],
        row[1] - before[1],
        row[2] - before[2],
        row[3] - before[3],
        row[4] - before[4],
        row[5] - before[5],
    )


def simulate_plain(
    scenario: PlainScenario,
    *,
    kernel: str | None = None,
    workers: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> PlainReport:
    """Runs the plain model. The same scenario gives the same figures on either kernel and any number of
    workers."""
    cpu, wall = time.process_time(), time.perf_counter()
    chosen = choose(scenario.requests, kernel)
    ends = window_ends(scenario)
    runs = run_replications(scenario, chosen, ends, workers, progress)
    figures = figures_between(runs, ends, scenario.warmup_s, scenario.environments)
    steady = None
    if scenario.settled_s in ends and scenario.settled_s > scenario.warmup_s:
        steady = figures_between(runs, ends, scenario.settled_s, scenario.environments)
    return PlainReport(
        figures=figures,
        steady=steady,
        scenario=scenario,
        kernel=chosen.name,
        kernel_note=chosen.note,
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
    )
