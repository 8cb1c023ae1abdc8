"""The plain case to a wanted precision, fast: cold probabilities so rare that plain simulation takes hours.

A horizon is cut in two. Its beginning, from the empty platform until it has settled, is simulated request by
request (`plain.py`). The rest is stationary, and its rates come from the tail kernel (`kernel/tail.c`), which
simulates only the moments when the busiest matter and is exact as long as no violation is counted. Both parts run
until the cold fraction's 95 % interval is narrow enough.
"""

import threading
import time
from dataclasses import dataclass, replace
from math import exp, fsum, isfinite, sqrt
from random import Random

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import Kernel, choose, cores
from keepwarm_planner.kernel.plain import Row
from keepwarm_planner.kernel.tail import TailRow
from keepwarm_planner.model.estimate import Estimate, mean_of, ratio_of, relative_half_width
from keepwarm_planner.model.plain import (
    NO_LIMIT,
    PlainFigures,
    PlainReport,
    PlainScenario,
    run_replications,
    simulate_plain,
)
from keepwarm_planner.model.theory import erlang_b

SURE = 45.0
"""Slowest passage rate times the idle timeout: the chance that a passage outlasts the timeout is then below
exp(-45), and with it the chance that the tail kernel's assumption fails anywhere in a run."""

MIN_LOAD = 20.0
"""Busy environments below which plain simulation is fast enough."""

MAX_GROUP = 6000
BLOCKS = 16
PARTS = 8
"""Stretches per block whose ratio gives one sample for the interval."""
MAX_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Passage:
    """Law of the time until a group of `group` is full again, as an alias table of exponentials."""

    group: int
    accept: tuple[float, ...]
    other: tuple[int, ...]
    phase_rate: tuple[float, ...]
    slowest: float

    def survival(self, t: float) -> float:
        """Upper bound of the chance that a passage lasts t seconds."""
        return exp(-self.slowest * t)


def passage(rate: float, service_mean: float, group: int, kernel: Kernel) -> Passage:
    """Spectral law of the first passage from group-1 to group busy, arrivals `rate` (1/s)."""
    leave = 1.0 / service_mean
    diagonal = [rate + i * leave for i in range(group)]
    off = [sqrt(rate * (i + 1) * leave) for i in range(group - 1)]
    if kernel.native is not None:
        rates, squares = kernel.native.spectrum(diagonal, off)
    else:
        from keepwarm_planner.kernel.tail import spectrum

        rates, squares = spectrum(diagonal, off)
    weights = [rate * z / r if r > 0.0 else 0.0 for r, z in zip(rates, squares, strict=True)]
    # phases that matter to no figure are dropped, the rest is a probability law
    pairs = [(r, w) for r, w in zip(rates, weights, strict=True) if w > 1e-18 and r > 0.0]
    total = fsum(w for _, w in pairs)
    if abs(total - 1.0) > 1e-6:
        raise ArithmeticError(f"the passage law of a group of {group} sums to {total}")
    accept, other = _alias([w / total for _, w in pairs])
    return Passage(group, accept, other, tuple(r for r, _ in pairs), min(r for r, _ in pairs))


def _alias(weights: list[float]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Walker's alias table (Vose's construction)."""
    n = len(weights)
    scaled = [w * n for w in weights]
    small = [i for i, w in enumerate(scaled) if w < 1.0]
    large = [i for i, w in enumerate(scaled) if w >= 1.0]
    accept, other = [1.0] * n, list(range(n))
    while small and large:
        i, j = small.pop(), large.pop()
        accept[i], other[i] = scaled[i], j
        scaled[j] = scaled[j] - (1.0 - scaled[i])
        (small if scaled[j] < 1.0 else large).append(j)
    return tuple(accept), tuple(other)


def choose_group(scenario: PlainScenario, kernel: Kernel) -> Passage | None:
    """The largest group whose passages surely end before the idle timeout; None when plain simulation serves better."""
    s = scenario
    load = s.rate * s.service_mean_s
    if load < MIN_LOAD or not isfinite(s.idle_timeout_s) or s.idle_timeout_s < 5.0 * s.service_mean_s:
        return None
    cap = NO_LIMIT if s.max_concurrency is None else s.max_concurrency
    # rate of visits to a full group, from which the slowest passage rate is never far
    group = int(load)
    while group < min(cap, MAX_GROUP) and s.rate * erlang_b(group + 1, load) * s.idle_timeout_s > 2.0 * SURE:
        group += max(1, int(sqrt(load) / 16))
    least = max(s.environments, int(load - 3.0 * sqrt(load)))
    while group >= max(least, 2):
        if group <= MAX_GROUP:
            law = passage(s.rate, s.service_mean_s, group, kernel)
            if law.slowest * s.idle_timeout_s >= SURE or group == s.environments:
                return law
        group -= max(1, int(sqrt(load) / 8))
    return None


def _stretch(s: PlainScenario, law: Passage, kernel: Kernel, seed: str, ends: list[float]) -> list[TailRow]:
    limit = NO_LIMIT if s.max_concurrency is None else s.max_concurrency - law.group
    stream = Random(f"{seed}/tail")  # noqa: S311
    arguments = (s.rate, s.service_mean_s, s.idle_timeout_s, law.group, limit)
    if kernel.native is not None:
        return kernel.native.tail(*arguments, law.accept, law.other, law.phase_rate, stream, ends)
    from keepwarm_planner.kernel.tail import run

    return run(*arguments, law.accept, law.other, law.phase_rate, stream, ends)


@dataclass(slots=True)
class _Samples:
    cold: list[float]
    rejected: list[float]
    life: list[float]
    span: list[float]
    violations: float = 0.0


def _steady(
    s: PlainScenario, law: Passage, kernel: Kernel, first: int, count: int, span: float, into: _Samples
) -> None:
    """`count` more independent stretches of `span` seconds, each after its own warm-up."""
    warm = 3.0 * s.idle_timeout_s + 10.0 * s.service_mean_s
    ends = [warm, *(warm + span * (i + 1) / PARTS for i in range(PARTS))]
    results: list[list[TailRow] | None] = [None] * count
    pending = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                i = next(pending, None)
            if i is None:
                return
            results[i] = _stretch(s, law, kernel, f"{s.seed}/{first + i}", ends)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(cores(), count) - 1)]
    if kernel.native is None:
        threads = []
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    for rows in results:
        if rows is None:
            raise RuntimeError("a stretch was lost")
        into.cold.append(rows[-1][1] - rows[0][1])
        into.rejected.append(rows[-1][2] - rows[0][2])
        into.life.append(rows[-1][3] - rows[0][3])
        into.span.append(span)
        into.violations += rows[-1][4]


def simulate_to(
    scenario: PlainScenario, precision: float, *, kernel: str | None = None, budget_s: float = 120.0
) -> PlainReport:
    """Runs until half the cold fraction's 95 % interval is at most `precision` of it.

    `requests` of the report are those that the horizon stands for (rate x horizon): most are not simulated one by
    one. Stops at `budget_s` of wall time with what it has. Raises KW500 for a precision that is not in 0.0001..0.5.
    """
    if not 1e-4 <= precision <= 0.5:
        raise PlannerError("KW500", "simulate --precision", precision, "0.0001 to 0.5")
    cpu, wall = time.process_time(), time.perf_counter()
    chosen = choose(1e9, kernel)
    law = choose_group(scenario, chosen)
    if law is None:
        return _plain_to(scenario, precision, kernel, budget_s)
    s = replace(scenario, warmup_s=0.0)
    settled = min(s.settled_s, s.horizon)
    rest = s.horizon - settled
    samples = _Samples([], [], [], [])
    runs: list[list[Row]] = []
    span = 144.0 * s.idle_timeout_s
    figures: PlainFigures | None = None
    for _ in range(MAX_ROUNDS):
        need_start = len(runs) < 4 or _start_dominates(runs, samples, settled, rest, s)
        if need_start:
            # beginnings: replication seeds go on from where the last round ended
            part = replace(s, horizon_s=settled, replications=4, seed=s.seed * 1000 + len(runs))
            runs += [list(rows[-1:]) for rows in run_replications(part, chosen, [settled])]
        if rest > 0.0:
            _steady(s, law, chosen, len(samples.cold), BLOCKS, span, samples)
        figures = _combine(s, law, runs, samples, settled, rest)
        if relative_half_width(figures.cold_fraction) <= precision and len(runs) >= 8:
            break
        if time.perf_counter() - wall > budget_s:
            break
    assert figures is not None
    if samples.violations:
        # the assumption failed: the slow way is the right one
        return _plain_to(scenario, precision, kernel, budget_s)
    steady = _combine(s, law, [], samples, 0.0, 1.0) if samples.cold else None
    return PlainReport(
        figures=figures,
        steady=steady,
        scenario=s,
        kernel=f"{chosen.name} tail",
        kernel_note=chosen.note,
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
    )


def _start_dominates(
    runs: list[list[Row]], samples: _Samples, settled: float, rest: float, s: PlainScenario
) -> bool:
    start = mean_of([rows[-1][1] for rows in runs])
    tail = ratio_of(samples.cold, samples.span) if samples.cold else Estimate(0.0, 0.0, 0.0)
    return (start.high - start.low) > 0.5 * (tail.high - tail.low) * rest


def _sum(a: Estimate, b: Estimate, scale_b: float) -> Estimate:
    half = sqrt(((a.high - a.low) / 2.0) ** 2 + ((b.high - b.low) / 2.0 * scale_b) ** 2)
    mean = a.mean + b.mean * scale_b
    return Estimate(mean, mean - half, mean + half)


def _scaled(e: Estimate, by: float) -> Estimate:
    return Estimate(e.mean * by, e.low * by, e.high * by)


def _combine(
    s: PlainScenario,
    law: Passage,
    runs: list[list[Row]],
    samples: _Samples,
    settled: float,
    rest: float,
) -> PlainFigures:
    nothing = Estimate(0.0, 0.0, 0.0)
    total = settled + rest

    def whole(index: int, values: list[float], offset: float) -> Estimate:
        begin = mean_of([rows[-1][index] + offset * settled for rows in runs]) if runs else nothing
        after = ratio_of(values, samples.span) if values else nothing
        return _sum(begin, Estimate(after.mean + offset, after.low + offset, after.high + offset), rest)

    on_demand_in_group = float(law.group - s.environments)
    cold = _scaled(whole(1, samples.cold, 0.0), 1.0 / (s.rate * total))
    rejected = _scaled(whole(2, samples.rejected, 0.0), 1.0 / (s.rate * total))
    begin_life = mean_of([rows[-1][4] for rows in runs]) if runs else nothing
    after_life = ratio_of(samples.life, samples.span) if samples.life else nothing
    life = _sum(
        begin_life,
        Estimate(
            after_life.mean + on_demand_in_group,
            after_life.low + on_demand_in_group,
            after_life.high + on_demand_in_group,
        ),
        rest,
    )
    begin_busy = mean_of([rows[-1][3] for rows in runs]) if runs else nothing
    served = 1.0 - (ratio_of(samples.rejected, samples.span).mean / s.rate if samples.cold else 0.0)
    # Little's law: what is accepted keeps one environment busy for its service
    after_busy = Estimate(*(s.rate * s.service_mean_s * served,) * 3)
    provisioned = erlang_b(s.environments, s.rate * s.service_mean_s) if s.environments else 1.0
    share = Estimate(1.0 - provisioned, 1.0 - provisioned, 1.0 - provisioned)
    return PlainFigures(
        cold_fraction=Estimate(cold.mean, max(cold.low, 0.0), cold.high),
        rejected_fraction=Estimate(rejected.mean, max(rejected.low, 0.0), rejected.high),
        provisioned_fraction=share,
        instances=_scaled(
            Estimate(
                life.mean + s.environments * total,
                life.low + s.environments * total,
                life.high + s.environments * total,
            ),
            1.0 / total,
        ),
        busy=_scaled(_sum(begin_busy, after_busy, rest), 1.0 / total),
        requests=int(s.rate * total) if runs else 0,
        from_s=0.0 if runs else settled,
    )


def _plain_to(scenario: PlainScenario, precision: float, kernel: str | None, budget_s: float) -> PlainReport:
    """Plain simulation with more replications until precise enough."""
    wall = time.perf_counter()
    replications = max(scenario.replications, 8)
    while True:
        report = simulate_plain(replace(scenario, replications=replications), kernel=kernel)
        width = relative_half_width(report.figures.cold_fraction)
        spent = time.perf_counter() - wall
        if width <= precision or spent > budget_s / 2:
            return report
        # the interval shrinks with the root; never more than the time allows
        wanted = (
            replications * min((width / precision) ** 2 * 1.2, 16.0) if isfinite(width) else replications * 4
        )
        affordable = replications * (budget_s - spent) / max(report.wall_s, 1e-3)
        replications = max(int(min(wanted, affordable)), replications + 1)
