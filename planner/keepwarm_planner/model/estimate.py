"""Estimates with their intervals. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, expm1, fsum, inf, pi, sqrt, tan
from statistics import NormalDist

CONFIDENCE = 0.95
FEW_EVENTS = 30
"""Below this many events a fraction's interval comes from the Poisson law of the count as well: with few or
no events the spread between replications says too little, or nothing at all."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON; an unbounded side is null."""
        return {
            "mean": self.mean,
            "low": None if self.low == -inf else self.low,
            "high": None if self.high == inf else self.high,
        }


def student_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Two-sided quantile of Student's t: exact for 1 and 2 degrees, else Hill's expansion (1970, Algorithm 396),
    whose error is below 1e-4 at 95 %."""
    p = 1.0 - confidence
    if degrees < 1:
        return inf
    if degrees == 1:
        return cos(p * pi / 2.0) / (tan(p * pi / 2.0) * cos(p * pi / 2.0))
    if degrees == 2:
        return sqrt(2.0 / (p * (2.0 - p)) - 2.0)
    n = float(degrees)
    a = 1.0 / (n - 0.5)
    b = 48.0 / (a * a)
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * sqrt(a * pi / 2.0) * n
    x = d * p
    y = float(x ** (2.0 / n))
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(p * 0.5)
        y = x * x
        if degrees < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x
        y = a * y * y
        y = expm1(y)
    else:
        y = (
            (1.0 / (((n + 6.0) / (n * y) - 0.089 * d - 0.822) * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)) * y - 1.0
        ) * (n + 1.0) / (n + 2.0) + 1.0 / y
    return sqrt(n * y)


def mean_of(values: Sequence[float]) -> Estimate:
    """Mean of independent replications with Student's interval; unbounded for a single one."""
    n = len(values)
    mean = fsum(values) / n
    if n < 2:
        return Estimate(mean, -inf, inf)
    variance = fsum((x - mean) ** 2 for x in values) / (n - 1)
    half = student_quantile(n - 1) * sqrt(variance / n)
    return Estimate(mean, mean - half, mean + half)


def ratio_of(parts: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """Sum of parts over sum of wholes, interval by the delta method over replications."""
    n = len(parts)
    whole = fsum(wholes)
    if whole <= 0.0:
        return Estimate(0.0, 0.0, 0.0)
    ratio = fsum(parts) / whole
    if n < 2:
        return Estimate(ratio, -inf, inf)
    mean_whole = whole / n
    variance = fsum((p - ratio * w) ** 2 for p, w in zip(parts, wholes, strict=True)) / (n - 1)
    half = student_quantile(n - 1) * sqrt(variance / n) / mean_whole
    return Estimate(ratio, ratio - half, ratio + half)


def fraction_of(counts: Sequence[float], totals: Sequence[float]) -> Estimate:
    """As `ratio_of` for counts of events: clipped to 0..1, and never tighter than the count itself allows."""
    if fsum(totals) <= 0.0:
        return Estimate(0.0, 0.0, 1.0)  # nothing came, so nothing is known
    estimate = ratio_of(counts, totals)
    events, total = fsum(counts), fsum(totals)
    low, high = estimate.low, estimate.high
    if total > 0.0 and events < FEW_EVENTS:
        poisson_low, poisson_high = poisson_interval(round(events))
        low, high = min(low, poisson_low / total), max(high, poisson_high / total)
    return Estimate(estimate.mean, max(low, 0.0), min(high, 1.0))


def poisson_interval(events: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Garwood's interval of a Poisson mean, by the Wilson-Hilferty chi-square.

    Within 1 % of it from ten events on, wider below; exact for none.
    """
    p = (1.0 - confidence) / 2.0
    z = NormalDist().inv_cdf(1.0 - p)

    def chi2(degrees: float, sign: float) -> float:
        k = 2.0 / (9.0 * degrees)
        return float(degrees * (1.0 - k + sign * z * sqrt(k)) ** 3)

    low = 0.0 if events == 0 else chi2(2.0 * events, -1.0) / 2.0
    # -ln(0.025): the chance of no event at this mean is 2.5 %
    high = 3.6888794541139363 if events == 0 else chi2(2.0 * events + 2.0, 1.0) / 2.0
    return max(low, 0.0), high


def relative_half_width(estimate: Estimate) -> float:
    """Half the interval over the mean; infinite where the mean is 0."""
    if estimate.mean == 0.0:
        return inf
    return (estimate.high - estimate.low) / 2.0 / abs(estimate.mean)
