"""What a workload asks of any platform: cold starts, resident units and their duty cycle, requests a month."""

from collections.abc import Mapping
from functools import lru_cache
from math import ceil, exp, sqrt

from keepwarm import limits
from keepwarm_planner.answers.cold_path import ColdPath
from keepwarm_planner.answers.workload import FitWorkload
from keepwarm_planner.assumed import IDLE_TIMEOUT_S
from keepwarm_planner.cost import MONTH_S
from keepwarm_planner.kernel import PYTHON
from keepwarm_planner.traffic.law import Law

UTILIZATION = 0.7
"""Busy share that resident capacity is sized for at the peak."""


def cold_path(w: FitWorkload) -> ColdPath:
    """The path of its cold start as a function."""
    memory = min(max(w.memory_mb, limits.LAMBDA_MEMORY_MIN_MB), limits.LAMBDA_MEMORY_MAX_MB)
    return ColdPath(
        artifact_mb=w.artifact_mb,
        container_image=w.container_image,
        model_mb=w.model_mb,
        memory_mb=memory,
        bandwidth_mb_s=80.0,
    )


def p99(laws: Mapping[str, Law], names: tuple[str, ...]) -> float:
    """99th percentile of a sum of independent phases: mean + 2.6 standard deviations (skewed sums lie between the
    normal's 2.33 and a single lognormal's)."""
    mean = variance = 0.0
    for name in names:
        law = laws[name]
        mean += law.mean
        if law.table:
            square = sum(x * x for x in law.table) / len(law.table)
            variance += max(square - law.mean**2, 0.0)
    return mean + 2.6 * sqrt(variance)


DENSE = 5.0
"""Requests per second beyond which the cold share is estimated: a run would take longer than its figure is worth."""


@lru_cache(maxsize=512)
def cold_share(rate: float, service_s: float) -> float:
    """Cold share of on-demand environments.

    exp(-rate x idle timeout) where services are short against the gaps, else a short run of the plain model after its
    warm-up; for dense traffic root(load) / (rate x idle timeout), which lay one to four times above simulated points.
    """
    if rate * service_s < 0.02:
        return exp(-rate * IDLE_TIMEOUT_S)
    if rate > DENSE or service_s > IDLE_TIMEOUT_S / 4:
        return min(sqrt(max(rate * service_s, 1.0)) / (rate * IDLE_TIMEOUT_S), 1.0)
    warm = 2.0 * IDLE_TIMEOUT_S
    horizon = warm + min(2000.0 / rate, 400.0 * IDLE_TIMEOUT_S)
    rows = PYTHON.plain(rate, service_s, IDLE_TIMEOUT_S, 0, 2**62, "fit", [warm, horizon])
    arrivals = rows[1][0] - rows[0][0]
    return (rows[1][1] - rows[0][1]) / arrivals if arrivals else 1.0


def needed(w: FitWorkload) -> int:
    """Resident units at the peak."""
    return max(
        1, ceil(w.requests_per_s * w.peak_factor * w.service_s / (w.concurrency_per_task * UTILIZATION))
    )


def duty_cycle(w: FitWorkload) -> float:
    """Busy share of the resident capacity that the peak asks for."""
    return min(w.requests_per_s * w.service_s / (w.concurrency_per_task * needed(w)), 1.0)


def month_requests(w: FitWorkload) -> float:
    """Requests in a month."""
    return w.requests_per_s * MONTH_S
