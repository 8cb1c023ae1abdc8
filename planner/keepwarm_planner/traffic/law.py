"""Laws of a duration: constant, exponential, or a table of quantiles that any other law becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, fsum, isfinite, log, sqrt
from statistics import NormalDist

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel.shape import Cold

POINTS = 1025
"""Points of a table: equally likely stretches, linear between."""

TAIL = 1e-5
"""The first and last point of a table stand for these probabilities: a law's unbounded tail is cut there."""


@dataclass(frozen=True, slots=True)
class Law:
    """A law of durations in seconds. `text` is how a report names it."""

    kind: Cold
    mean: float
    table: tuple[float, ...] = field(default=(), repr=False)
    text: str = ""

    def quantile(self, q: float) -> float:
        """Value that a share q stays within."""
        if self.kind is Cold.CONSTANT:
            return self.mean
        if self.kind is Cold.EXPONENTIAL:
            return -log(1.0 - q) * self.mean
        x = q * (len(self.table) - 1)
        i = min(int(x), len(self.table) - 2)
        return self.table[i] + (self.table[i + 1] - self.table[i]) * (x - i)


def constant(seconds: float) -> Law:
    """Always the same."""
    return Law(Cold.CONSTANT, seconds, text=f"constant {seconds:g} s")


def exponential(mean: float) -> Law:
    """Exponential with this mean."""
    return Law(Cold.EXPONENTIAL, mean, text=f"exponential, mean {mean:g} s")


def _of_table(table: Sequence[float], text: str) -> Law:
    inner = fsum(table) - (table[0] + table[-1]) / 2.0
    return Law(Cold.TABLE, inner / (len(table) - 1), tuple(table), text)


def lognormal(mean: float, cv: float) -> Law:
    """Lognormal with this mean and coefficient of variation. The table is scaled to have exactly this mean, so
    that cutting the tail does not lower the load."""
    sigma = sqrt(log(1.0 + cv * cv))
    return _lognormal(log(mean) - sigma * sigma / 2.0, sigma, mean, f"lognormal, mean {mean:g} s, cv {cv:g}")


@lru_cache(maxsize=256)
def lognormal_quantiles(p50: float, p99: float) -> Law:
    """Lognormal through its median and its 99th percentile."""
    sigma = log(p99 / p50) / NormalDist().inv_cdf(0.99)
    return _lognormal(log(p50), sigma, None, f"lognormal, p50 {p50:g} s, p99 {p99:g} s")


@lru_cache(maxsize=1)
def _normal_points() -> tuple[float, ...]:
    normal = NormalDist()
    return tuple(normal.inv_cdf(min(max(i / (POINTS - 1), TAIL), 1.0 - TAIL)) for i in range(POINTS))


def _lognormal(mu: float, sigma: float, mean: float | None, text: str) -> Law:
    raw = [exp(mu + sigma * z) for z in _normal_points()]
    law = _of_table(raw, text)
    if mean is None:
        return law
    factor = mean / law.mean
    return _of_table([x * factor for x in raw], text)


def empirical(samples: Sequence[float], text: str = "") -> Law:
    """The law of measured durations: their sorted values as quantiles. At least one; none negative."""
    if not samples:
        raise PlannerError("KW500", "law", "no samples", "at least one measured duration")
    ordered = sorted(samples)
    if len(ordered) == 1:
        return constant(ordered[0])
    n = len(ordered)
    table = []
    for k in range(POINTS if n > POINTS else n):
        x = k / ((POINTS if n > POINTS else n) - 1) * (n - 1)
        i = min(int(x), n - 2)
        table.append(ordered[i] + (ordered[i + 1] - ordered[i]) * (x - i))
    return _of_table(table, text or f"{n} measured durations")


def parse(text: str, who: str) -> Law:
    """Reads `0.2` (constant), `exp:0.2`, `lognormal:mean=1,cv=0.5` or `lognormal:p50=1,p99=4`. Seconds."""
    allowed = "SECONDS, exp:MEAN, lognormal:mean=M,cv=C or lognormal:p50=A,p99=B"
    kind, _, rest = text.partition(":") if ":" in text else ("const", "", text)
    try:
        if kind in ("const", "constant"):
            return constant(_number(rest, zero=True))
        if kind in ("exp", "exponential"):
            return exponential(_number(rest))
        if kind == "lognormal":
            parts = {k.strip(): _number(v) for k, v in (item.split("=") for item in rest.split(","))}
            if set(parts) == {"mean", "cv"}:
                return lognormal(parts["mean"], parts["cv"])
            if set(parts) == {"p50", "p99"} and parts["p99"] > parts["p50"]:
                return lognormal_quantiles(parts["p50"], parts["p99"])
    except ValueError as e:
        raise PlannerError("KW500", who, repr(text), allowed, because=str(e)) from None
    raise PlannerError("KW500", who, repr(text), allowed)


def _number(text: str, *, zero: bool = False) -> float:
    value = float(text)
    if not isfinite(value) or value < 0.0 or (value == 0.0 and not zero):
        raise ValueError(f"{text} is not a finite number above 0")
    return value
