"""Decisions about capacity, as pure functions: the simulator, the embedded cloud and the stack run these lines.

Nothing here reads a clock, draws a number or keeps a history; whoever calls passes what is known.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LAMBDA_BURST_ENVIRONMENTS = 1000
LAMBDA_BURST_PERIOD_S = 10.0
"""Each function may gain 1,000 environments every 10 s
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html, concurrency scaling rate)."""
SCALE_OUT_DATAPOINTS = 3
SCALE_IN_DATAPOINTS = 15
SCALE_IN_FACTOR = 0.9
"""Target tracking's own alarms: 3 periods of a minute above the target, 15 below 90 % of it
(https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html)."""
T = TypeVar("T")


def offered_load(arrivals_per_s: float, service_s: float) -> float:
    """Mean number of busy environments (Little's law): arrivals per second times seconds of service."""
    if arrivals_per_s < 0 or service_s < 0 or not math.isfinite(arrivals_per_s * service_s):
        raise ValueError(
            f"a load needs finite numbers of at least 0, got {arrivals_per_s} /s x {service_s} s"
        )
    return arrivals_per_s * service_s


def warm_target(arrivals_per_s: float, service_s: float, headroom: float = 0.2) -> int:
    """Environments to keep initialized for a load without bursts: its mean plus `headroom` (a fraction)."""
    # 10.000000000000002 environments are ten: rounding noise must not buy an eleventh.
    return math.ceil(round(offered_load(arrivals_per_s, service_s) * (1 + headroom), 9))


def blocking(load: float, environments: int) -> float:
    """Probability that an arrival finds every environment busy (Erlang B, Poisson arrivals)."""
    probability = 1.0
    for n in range(1, environments + 1):
        probability = load * probability / (n + load * probability)
    return probability


def warm_target_for(arrivals_per_s: float, service_s: float, max_cold: float) -> int:
    """Fewest environments that keep the share of cold requests at or under `max_cold`, for Poisson arrivals."""
    if not 0 < max_cold < 1:
        raise ValueError(f"max_cold must be between 0 and 1, got {max_cold}")
    load = offered_load(arrivals_per_s, service_s)
    probability, environments = 1.0, 0
    while probability > max_cold:
        environments += 1
        probability = load * probability / (environments + load * probability)
    return environments


class Placement(StrEnum):
    """Where one request goes when an environment serves one request at a time."""

    PROVISIONED = "provisioned"
    """An idle environment of the warm pool."""
    WARM = "warm"
    """An idle on-demand environment: spill-over, if there is a warm pool."""
    COLD = "cold"
    """A new environment."""
    THROTTLE_CONCURRENCY = "throttle-concurrency"
    """Refused: the function or the account is at its concurrency."""
    THROTTLE_RATE = "throttle-rate"
    """Refused: environments are being started as fast as allowed."""


def on_demand_limit(concurrency_limit: int | None, provisioned: int) -> int | None:
    """Concurrency left beside the warm pool, which takes its whole size from the limit. None is unlimited."""
    return None if concurrency_limit is None else max(0, concurrency_limit - provisioned)


def place(
    *,
    provisioned_idle: int,
    on_demand_idle: int,
    on_demand_busy: int,
    on_demand_limit: int | None,
    may_create: bool,
) -> Placement:
    """Place one request: the warm pool first, then a warm on-demand environment, then a new one.

    `may_create` is what the scaling rate allows now (`BurstRate`).
    """
    if provisioned_idle > 0:
        return Placement.PROVISIONED
    if on_demand_limit is not None and on_demand_busy >= on_demand_limit:
        return Placement.THROTTLE_CONCURRENCY
    if on_demand_idle > 0:
        return Placement.WARM
    return Placement.COLD if may_create else Placement.THROTTLE_RATE


def newest_idle(idle: Iterable[T], created: Callable[[T], float]) -> T:
    """Pick which idle environment works: the newest.

    Always using the newest leaves the oldest idle, so that they expire: scale-to-zero needs no other decision.

    Raises:
        ValueError: there is none.
    """
    return max(idle, key=created)


def expired(idle_since_s: float, now_s: float, idle_timeout_s: float) -> bool:
    """Tell whether an on-demand environment that is idle since then is taken down now."""
    return now_s - idle_since_s >= idle_timeout_s


class BurstRate:
    """Token bucket of environment starts: full at first, refilled evenly, `limit` per `window_s` seconds."""

    __slots__ = ("last_s", "limit", "tokens", "window_s")

    def __init__(
        self, limit: int = LAMBDA_BURST_ENVIRONMENTS, window_s: float = LAMBDA_BURST_PERIOD_S
    ) -> None:
        if limit < 1 or window_s <= 0:
            raise ValueError(f"a burst rate needs limit >= 1 and window_s > 0, got {limit} and {window_s}")
        self.limit = limit
        self.window_s = window_s
        self.tokens = float(limit)
        self.last_s = 0.0

    def available(self, now_s: float) -> int:
        """Starts that would be granted now."""
        self._refill(now_s)
        return int(self.tokens)

    def try_take(self, now_s: float) -> bool:
        """Take one start; False when the rate is used up. A clock that runs backwards refills nothing."""
        self._refill(now_s)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def _refill(self, now_s: float) -> None:
        if now_s > self.last_s:
            self.tokens = min(
                float(self.limit), self.tokens + (now_s - self.last_s) * self.limit / self.window_s
            )
            self.last_s = now_s


class TargetTracking:
    """A target-tracking policy: keep a metric at `target` by changing capacity in proportion."""

    __slots__ = ("maximum", "minimum", "scale_in", "scale_in_cooldown_s", "scale_out_cooldown_s", "target")

    def __init__(
        self,
        *,
        target: float,
        minimum: int,
        maximum: int,
        scale_out_cooldown_s: float = 0.0,
        scale_in_cooldown_s: float = 0.0,
        scale_in: bool = True,
    ) -> None:
        if target <= 0 or not 0 <= minimum <= maximum:
            raise ValueError(
                f"target tracking needs target > 0 and 0 <= minimum <= maximum, got {target}, {minimum}, {maximum}"
            )
        self.target = target
        self.minimum = minimum
        self.maximum = maximum
        self.scale_out_cooldown_s = scale_out_cooldown_s
        self.scale_in_cooldown_s = scale_in_cooldown_s
        self.scale_in = scale_in

    def decide(self, now_s: float, current: int, metric: float, last_change_s: float | None = None) -> int:
        """Decide from one sustained value: out in proportion above the target, in below 90 % of it.

        For callers that evaluate alarms themselves; `track` is the same with the alarms' datapoints.
        """
        points = [metric] * (SCALE_OUT_DATAPOINTS if metric > self.target else SCALE_IN_DATAPOINTS)
        return track(self, current, points, now_s=now_s, last_out_s=last_change_s, last_in_s=last_change_s)


def track(
    policy: TargetTracking,
    current: int,
    datapoints: Sequence[float | None],
    *,
    now_s: float,
    last_out_s: float | None = None,
    last_in_s: float | None = None,
) -> int:
    """Capacity that a target-tracking policy wants now.

    `datapoints` are one-minute values of the metric, oldest first; None where there were no data, which never
    counts as low. `last_out_s` and `last_in_s` are the ends of the last scaling actions (None: never).
    """
    bounded = min(max(current, policy.minimum), policy.maximum)
    if bounded != current:
        return bounded
    recent = datapoints[-SCALE_OUT_DATAPOINTS:]
    if len(recent) == SCALE_OUT_DATAPOINTS and all(v is not None and v > policy.target for v in recent):
        if last_out_s is not None and now_s - last_out_s < policy.scale_out_cooldown_s:
            return current
        latest = recent[-1]
        assert latest is not None
        return _clamp(policy, max(current + 1, proportional(current, latest, policy.target)))
    if not policy.scale_in:
        return current
    low = datapoints[-SCALE_IN_DATAPOINTS:]
    threshold = policy.target * SCALE_IN_FACTOR
    if len(low) == SCALE_IN_DATAPOINTS and all(v is not None and v < threshold for v in low):
        moved = [moment for moment in (last_in_s, last_out_s) if moment is not None]
        if moved and now_s - max(moved) < policy.scale_in_cooldown_s:
            return current
        latest = low[-1]
        assert latest is not None
        return _clamp(policy, min(current, proportional(current, latest, policy.target)))
    return current


def proportional(current: int, value: float, target: float) -> int:
    """Capacity that would bring a per-capacity metric from `value` to `target`."""
    return math.ceil(round(current * value / target, 9))


def _clamp(policy: TargetTracking, wanted: int) -> int:
    return min(max(wanted, policy.minimum), policy.maximum)


class Step:
    """One step of a step-scaling policy; bounds are relative to the alarm threshold, None is infinity."""

    __slots__ = ("adjustment", "lower", "upper")

    def __init__(self, adjustment: int, lower: float | None = None, upper: float | None = None) -> None:
        self.adjustment = adjustment
        self.lower = lower
        self.upper = upper


def step_capacity(
    steps: Sequence[Step],
    *,
    kind: str,
    current: int,
    value: float,
    threshold: float,
    minimum: int,
    maximum: int,
    min_magnitude: int = 1,
) -> int:
    """Capacity that a step-scaling policy wants when its alarm fires with `value`.

    `kind` is ChangeInCapacity, ExactCapacity or PercentChangeInCapacity. A step holds from its lower bound up to,
    but not at, its upper bound above the threshold, and the other way round below it
    (https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html).

    Raises:
        ValueError: unknown `kind`.
    """
    distance = value - threshold
    for step in steps:
        lower = -math.inf if step.lower is None else step.lower
        upper = math.inf if step.upper is None else step.upper
        inside = lower <= distance < upper if distance >= 0 else lower < distance <= upper
        if not inside:
            continue
        if kind == "ChangeInCapacity":
            wanted = current + step.adjustment
        elif kind == "ExactCapacity":
            wanted = step.adjustment
        elif kind == "PercentChangeInCapacity":
            change = current * step.adjustment / 100
            # AWS rounds away from zero below 1, towards zero above.
            whole = math.copysign(1, change) if 0 < abs(change) < 1 else math.trunc(change)
            wanted = current + int(math.copysign(max(abs(whole), min_magnitude), step.adjustment))
        else:
            raise ValueError(f"unknown adjustment type {kind!r}")
        return min(max(wanted, minimum), maximum)
    return current


def backlog_target(
    backlog: float, per_task_per_s: float, drain_s: float, *, minimum: int, maximum: int
) -> int:
    """Tasks that serve `backlog` requests within `drain_s` seconds when one task serves `per_task_per_s`."""
    if per_task_per_s <= 0 or drain_s <= 0:
        raise ValueError(f"needs a rate and a time above 0, got {per_task_per_s} /s and {drain_s} s")
    return min(max(math.ceil(round(backlog / (per_task_per_s * drain_s), 9)), minimum), maximum)


def scheduled_size(entries: Sequence[tuple[float, int]], now_s: float, default: int = 0) -> int:
    """Size that the latest schedule entry (start in seconds, size) at or before `now_s` asks for."""
    started = [(start_s, position) for position, (start_s, _) in enumerate(entries) if start_s <= now_s]
    return entries[max(started)[1]][1] if started else default
