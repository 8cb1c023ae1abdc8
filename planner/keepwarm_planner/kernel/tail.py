"""The tail kernel in Python: twin and oracle of `tail.c`, see there for why it is exact."""

from collections.abc import Sequence
from math import log, sqrt
from random import Random

TailRow = tuple[float, float, float, float, float]
"""Cumulative at a window's end: overflowing requests, cold starts, rejections, seconds that environments outside the
group existed, passages as long as the idle timeout."""

EPSILON = 2.220446049250313e-16
ROUNDS = 60


def spectrum(diagonal: Sequence[float], off: Sequence[float]) -> tuple[list[float], list[float]]:
    """Eigenvalues of a symmetric tridiagonal matrix, and the squared last components of its eigenvectors.

    Implicit QL (Golub and Welsch 1969). Raises ArithmeticError if it does not converge.
    """
    n = len(diagonal)
    d, e, z = list(diagonal), [*off, 0.0], [0.0] * n
    z[n - 1] = 1.0
    for low in range(n):
        for _ in range(ROUNDS):
            m = low
            while m < n - 1 and not abs(e[m]) <= EPSILON * (abs(d[m]) + abs(d[m + 1])):
                m += 1
            if m == low:
                break
            _sweep(d, e, z, low, m)
        else:
            raise ArithmeticError("the spectrum does not converge")
    return d, [x * x for x in z]


def _sweep(d: list[float], e: list[float], z: list[float], low: int, m: int) -> None:
    g = (d[low + 1] - d[low]) / (2.0 * e[low])
    r = sqrt(g * g + 1.0)
    g = d[m] - d[low] + e[low] / (g + (r if g >= 0.0 else -r))
    s, c, p = 1.0, 1.0, 0.0
    for i in range(m - 1, low - 1, -1):
        f, b = s * e[i], c * e[i]
        r = sqrt(f * f + g * g)
        e[i + 1] = r
        if r == 0.0:
            d[i + 1] = d[i + 1] - p
            e[m] = 0.0
            return
        s = f / r
        c = g / r
        g = d[i + 1] - p
        r = (d[i] - g) * s + 2.0 * c * b
        p = s * r
        d[i + 1] = g + p
        g = c * r - b
        f = z[i + 1]
        z[i + 1] = s * z[i] + c * f
        z[i] = c * z[i] - s * f
    d[low] = d[low] - p
    e[low] = g
    e[m] = 0.0


def run(
    rate: float,
    service_mean: float,
    timeout: float,
    group: int,
    limit: int,
    accept: Sequence[float],
    other: Sequence[int],
    phase_rate: Sequence[float],
    stream: Random,
    ends: Sequence[float],
) -> list[TailRow]:
    """One stretch from a full group and no older environment; a row per window end.

    `limit` is the most environments outside the group. accept, other and phase_rate are the alias table of the
    passage times.
    """
    uniform = stream.random
    leave = float(group) / service_mean
    total = rate + leave
    to_arrival, neg_step = rate / total, -1.0 / total
    dep: list[float] = []
    since: list[float] = []
    rows: list[TailRow] = []
    t, life = 0.0, 0.0
    overflow = cold = rejected = violations = 0
    phases = len(accept)
    while len(rows) < len(ends):
        t = t + log(1.0 - uniform()) * neg_step
        arrives = uniform() < to_arrival
        if not arrives:
            u = uniform() * float(phases)
            phase = int(u)
            if u - float(phase) >= accept[phase]:
                phase = other[phase]
            passage = log(1.0 - uniform()) / -phase_rate[phase]
            violations += passage >= timeout
            t = t + passage
        while len(rows) < len(ends) and t >= ends[len(rows)]:
            now, total_life = ends[len(rows)], life
            for d, s in zip(dep, since, strict=True):
                until = d + timeout
                total_life += (until if until < now else now) - s
            rows.append((float(overflow), float(cold), float(rejected), total_life, float(violations)))
        if not arrives:
            continue
        overflow += 1
        chosen = -1
        for i in range(len(dep) - 1, -1, -1):
            if dep[i] > t:
                continue
            until = dep[i] + timeout
            if until > t:
                chosen = i
                break
            life += until - since[i]
            del dep[i], since[i]
        service = log(1.0 - uniform()) * -service_mean
        if chosen >= 0:
            dep[chosen] = t + service
        elif len(dep) >= limit:
            rejected += 1
        else:
            # the new one joins the group as its newest; the group's oldest, busy like all, leaves it
            dep.append(t + service)
            since.append(t)
            cold += 1
    return rows
