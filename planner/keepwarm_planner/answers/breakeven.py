"""Scale to zero against always on, over the duty cycle: two cost lines, where they cross, and what moves the crossing.

Two comparisons:

* `function`: on-demand duration against provisioned environments, per environment: duty is the busy share of one
  environment. Provisioned costs a fixed price and then less per busy second, so it wins above a crossing.
* `service`: a task (an instance) that sleeps when idle against one that always runs. Work comes in sessions of
  `session_s`; duty is the share of time with a session. Sleeping pays its idle tail and its wake-ups, and wins below
  a crossing that both of them move.

A cold start has a price of its own: `cold_cost` USD per request that met one (a lost customer, a retry, an operator).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isfinite

from keepwarm import limits
from keepwarm_planner import cost
from keepwarm_planner.answers.explain import Figure
from keepwarm_planner.assumed import FUNCTION_COLD_S, IDLE_TIMEOUT_S, SERVICE_IDLE_S, SERVICE_WAKE_S
from keepwarm_planner.cost import MONTH_S, Architecture, FunctionSize, FunctionUse
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.prices import Prices

POINTS = 101
COLD_S = {"service": SERVICE_WAKE_S, "function": FUNCTION_COLD_S}
IDLE_S = {"service": SERVICE_IDLE_S, "function": IDLE_TIMEOUT_S}
"""Cold start and idle time of each kind of comparison, when nothing better is known; seconds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared. Times in seconds, money in USD."""

    kind: str = "service"
    """`function` or `service`."""
    service_s: float = 1.0
    """Mean time of a request."""
    cold_s: float = SERVICE_WAKE_S
    """Mean time of a cold start: paid for and waited for."""
    idle_s: float = SERVICE_IDLE_S
    """Idle seconds before the side that sleeps is released."""
    session_s: float = 3600.0
    """Length of a stretch of work (`service` only)."""
    cold_cost: float = 0.0
    """USD per request that met a cold start."""
    memory_mb: int = limits.LAMBDA_MB_PER_VCPU
    architecture: Architecture = Architecture.X86_64
    """Of the function."""
    instance_type: str = "g4dn.xlarge"
    concurrency_per_task: int = 1
    """Requests a task works on at once."""

    def __post_init__(self) -> None:
        if self.kind not in ("function", "service"):
            raise PlannerError("KW500", "breakeven --kind", repr(self.kind), "function or service")
        for name, value, least in (
            ("service-s", self.service_s, 1e-6),
            ("cold-s", self.cold_s, 0.0),
            ("idle-s", self.idle_s, 0.0),
            ("session-s", self.session_s, 1e-6),
            ("cold-cost", self.cold_cost, 0.0),
            ("memory-mb", self.memory_mb, 1),
            ("concurrency-per-task", self.concurrency_per_task, 1),
        ):
            if not (isfinite(value) and value >= least):
                raise PlannerError(
                    "KW500", f"breakeven --{name}", value, f"a finite number, {least:g} or more"
                )
        most, floor = limits.LAMBDA_MEMORY_MAX_MB, limits.LAMBDA_MEMORY_MIN_MB
        if self.kind == "function" and not floor <= self.memory_mb <= most:
            raise PlannerError("KW500", "breakeven --memory-mb", self.memory_mb, f"{floor} to {most}")


@dataclass(frozen=True, slots=True)
class Point:
    """Costs per month and unit at a duty cycle."""

    duty: float
    requests_per_s: float
    zero: float
    """Scale to zero, cold starts included."""
    always: float
    """Always on."""
    cold_share: float


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The two lines and where they cross."""

    comparison: Comparison
    points: list[Point]
    crossing: float | None
    """Duty cycle above which always on is cheaper; None when the lines do not cross, see `note`."""
    note: str
    sensitivity: list[tuple[str, float | None]]
    """(change of one input, crossing then)."""
    figures: list[Figure]

    @property
    def price_names(self) -> list[str]:
        """Prices that the lines are made of."""
        if self.comparison.kind == "function":
            parts = ("on_demand", "requests", "provisioned_idle", "provisioned_duration")
            return [cost.price_name(part, self.comparison.architecture) for part in parts]
        return [self.comparison.instance_type]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "kind": self.comparison.kind,
            "crossing_duty": self.crossing,
            "note": self.note,
            "curve": [
                {
                    "duty": p.duty,
                    "requests_per_s": p.requests_per_s,
                    "scale_to_zero_month": p.zero,
                    "always_on_month": p.always,
                    "cold_share": p.cold_share,
                }
                for p in self.points
            ],
            "sensitivity": [{"change": c, "crossing_duty": x} for c, x in self.sensitivity],
            "figures": [f.as_dict() for f in self.figures],
        }


@dataclass(frozen=True, slots=True)
class _Rates:
    """USD per second of what is paid for."""

    busy_zero: float
    idle_zero: float
    fixed_always: float
    busy_always: float
    request: float


def _rates(c: Comparison, prices: Prices) -> _Rates:
    if c.kind == "function":
        size = FunctionSize(c.memory_mb, c.architecture)

        def usd(use: FunctionUse) -> float:
            return cost.total(cost.function(prices, size, use))

        return _Rates(
            busy_zero=usd(FunctionUse(on_demand_s=1.0)),
            idle_zero=0.0,
            fixed_always=usd(FunctionUse(provisioned_s=1.0)),
            busy_always=usd(FunctionUse(provisioned_busy_s=1.0)),
            request=usd(FunctionUse(requests=1.0)),
        )
    second = cost.service(prices, c.instance_type, 1.0).usd
    return _Rates(busy_zero=second, idle_zero=second, fixed_always=second, busy_always=0.0, request=0.0)


def _point(c: Comparison, r: _Rates, duty: float) -> Point:
    rate = duty * c.concurrency_per_task / c.service_s
    if c.kind == "function":
        share = exp(-rate * c.idle_s) if rate > 0.0 else 0.0
        met = rate * share
        zero = duty * r.busy_zero + met * c.cold_s * r.busy_zero
    else:
        cycle = c.session_s / duty if duty > 0.0 else inf
        gap = cycle - c.session_s
        wakes = 1.0 / cycle if gap > c.idle_s else 0.0
        tail = min(gap, c.idle_s)
        # while it starts it is paid for, but a cycle holds no more time than it has
        up = min((c.session_s + tail) / cycle + wakes * c.cold_s, 1.0) if duty > 0.0 else 0.0
        zero = up * r.idle_zero
        waiting = min(c.cold_s, c.session_s)
        met = wakes * c.concurrency_per_task / c.service_s * waiting
        share = met / rate if rate > 0.0 else 0.0
    zero += met * c.cold_cost + rate * r.request
    always = r.fixed_always + duty * r.busy_always + rate * r.request
    return Point(duty, rate, zero * MONTH_S, always * MONTH_S, share)


def _crossing(c: Comparison, r: _Rates) -> float | None:
    """Largest duty below which scale to zero is cheaper, by bisection between the grid points around a change."""
    grid = [float(10.0 ** (-6.0 + 6.0 * i / 600.0)) for i in range(601)]
    cheaper = [_gain(c, r, d) > 0.0 for d in grid]
    last = None
    for i in range(len(grid) - 1):
        if cheaper[i] and not cheaper[i + 1]:
            last = i
    if last is None:
        return None
    low, high = grid[last], grid[last + 1]
    for _ in range(60):
        middle = (low + high) / 2.0
        if _gain(c, r, middle) > 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _gain(c: Comparison, r: _Rates, duty: float) -> float:
    """USD a month that scaling to zero saves."""
    p = _point(c, r, duty)
    return p.always - p.zero - 1e-9 * p.always


def breakeven(c: Comparison, prices: Prices) -> BreakEven:
    """Curve, crossing and sensitivity."""
    rates = _rates(c, prices)
    points = [_point(c, rates, i / (POINTS - 1)) for i in range(POINTS)]
    crossing = _crossing(c, rates)
    return BreakEven(
        c,
        points,
        crossing,
        _note(c, points, crossing),
        _sensitivity(c, rates, prices),
        _figures(c, rates, crossing),
    )


def _note(c: Comparison, points: Sequence[Point], crossing: float | None) -> str:
    if crossing is None:
        if all(p.zero <= p.always for p in points):
            return "scale to zero never costs more"
        return "always on is cheaper at every duty cycle"
    note = f"above a duty cycle of {crossing:.2%} always on is cheaper"
    if c.kind == "service" and crossing < 0.05:
        note += (
            f": {points[1].requests_per_s:.3g} requests/s already keep the service up through its {c.idle_s:g} s idle"
            " tail"
        )
    return note


def _sensitivity(c: Comparison, rates: _Rates, prices: Prices) -> list[tuple[str, float | None]]:
    """The crossing after a change of one input."""
    out: list[tuple[str, float | None]] = []
    for label, factor in (("-20 %", 0.8), ("+20 %", 1.2), ("x2", 2.0)):
        changed_rates = replace(
            rates, fixed_always=rates.fixed_always * factor, busy_always=rates.busy_always * factor
        )
        out.append((f"always-on price {label}", _crossing(c, changed_rates)))
    moved = [("cold_s", "cold start"), ("idle_s", "idle time"), ("service_s", "service time")]
    if c.kind == "service":
        moved.append(("session_s", "session"))
    for name, text in moved:
        for factor in (0.5, 2.0, 10.0):
            changed = replace(c, **{name: getattr(c, name) * factor})
            out.append((f"{text} x{factor:g}", _crossing(changed, _rates(changed, prices))))
    for cold_cost in (0.0001, 0.001, 0.01, 0.1):
        out.append((f"cold cost {cold_cost:g} USD", _crossing(replace(c, cold_cost=cold_cost), rates)))
    return out


def _figures(c: Comparison, rates: _Rates, crossing: float | None) -> list[Figure]:
    figures = [
        Figure(
            "scale_to_zero",
            None,
            "USD/month",
            "(duty x busy price + cold/s x (cold s x busy price + cold cost) + requests/s x request price) x 730 h"
            if c.kind == "function"
            else "(up share x instance price + cold/s x cold cost) x 730 h; up share = (session + min(gap, idle)) / "
            "cycle + wakes/s x cold s; cycle = session / duty",
            {"busy_usd_s": rates.busy_zero, "idle_s": c.idle_s, "cold_s": c.cold_s, "cold_cost": c.cold_cost},
        ),
        Figure(
            "always_on",
            None,
            "USD/month",
            "(fixed price + duty x busy price + requests/s x request price) x 730 h",
            {"fixed_usd_s": rates.fixed_always, "busy_usd_s": rates.busy_always},
        ),
        Figure(
            "cold/s",
            None,
            "1/s",
            "requests/s x exp(-requests/s x idle s)"
            if c.kind == "function"
            else "wakes/s x concurrency per task / service s x min(cold s, session s); wakes/s = duty / session s "
            "where the gap outlasts the idle time",
            {"requests_per_s": "duty x concurrency per task / service s"},
        ),
    ]
    if c.kind == "service":
        figures.append(
            Figure(
                "crossing",
                crossing,
                "duty cycle",
                "where the lines cross, by bisection; without a cold cost session / (session + idle + cold): the gap "
                "between sessions is then spent in the idle tail and the start",
                {"session_s": c.session_s, "idle_s": c.idle_s, "cold_s": c.cold_s},
            )
        )
    elif rates.busy_zero > rates.busy_always:
        figures.append(
            Figure(
                "crossing without cold starts",
                rates.fixed_always / (rates.busy_zero - rates.busy_always),
                "",
                "provisioned price / (on-demand price - provisioned duration price)",
                {
                    "provisioned": rates.fixed_always,
                    "on_demand": rates.busy_zero,
                    "provisioned_duration": rates.busy_always,
                },
            )
        )
    return figures
