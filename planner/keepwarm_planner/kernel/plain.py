"""The plain model in Python: twin and oracle of `plain.c`, and what runs where there is no compiler.

Scale per request, newest idle environment first, one fixed idle expiry, an exact cap. Arrivals are
Poisson and services exponential; both kernels read the same Mersenne Twister words and do the same
floating-point operations in the same order, so a seed gives equal bits on either.
"""

from heapq import heappop, heappush
from math import log
from random import Random

Row = tuple[float, float, float, float, float, float]
"""Cumulative figures at a window's end: arrivals, cold starts, rejections, busy seconds, seconds that
on-demand environments existed, requests the provisioned pool took."""

SCAN_LIMIT = 16
"""Environments up to which scanning a list beats two heaps. The result does not depend on it."""

BLOCK = 4096


def run(
    rate: float,
    service_mean: float,
    timeout: float,
    provisioned: int,
    limit: int,
    gaps: Random,
    services: Random,
    ends: list[float],
    scan_limit: int = SCAN_LIMIT,
) -> list[Row]:
    """One replication from an empty platform; a row per window end.

    rate in 1/s, times in seconds; limit is the most on-demand environments alive at once. The two
    generators belong to this call: their state after it is unspecified.
    """
    state = _State(rate, service_mean, timeout, provisioned, limit, gaps, services, ends)
    if provisioned < scan_limit and state.scan(scan_limit):
        return state.rows
    state.heaps()
    return state.rows


class _State:
    """One replication under way; the fields mirror plain_t of the C kernel."""

    def __init__(
        self,
        rate: float,
        service_mean: float,
        timeout: float,
        provisioned: int,
        limit: int,
        gaps: Random,
        services: Random,
        ends: list[float],
    ) -> None:
        self.neg_gap = -1.0 / rate
        self.neg_service = -service_mean
        self.timeout = timeout
        self.limit = limit
        self.gaps = gaps.random
        self.services = services.random
        self.ends = ends
        self.rows: list[Row] = []
        self.pool = [-1.0] * provisioned
        self.dep: list[float] = []
        self.created: list[float] = []
        self.t = log(1.0 - self.gaps()) * self.neg_gap
        self.arrivals = self.cold = self.rejected = self.warm_provisioned = 0
        self.busy = self.life = 0.0

    def close_window(self, end: float) -> None:
        busy, life = self.busy, self.life
        for dep in self.pool:
            if dep > end:
                busy -= dep - end
        for dep, created in zip(self.dep, self.created, strict=True):
            until = dep + self.timeout
            if dep > end:
                busy -= dep - end
            life += (until if until < end else end) - created
        self.rows.append(
            (
                float(self.arrivals),
                float(self.cold),
                float(self.rejected),
                busy,
                life,
                float(self.warm_provisioned),
            )
        )

    def scan(self, scan_limit: int) -> bool:
        """Runs while environments are few; True when the last window is closed."""
        many = scan_limit - len(self.pool)
        for end in self.ends[len(self.rows) :]:
            if not self._scan_window(end, many):
                return False
            self.close_window(end)
        return True

    def _scan_window(self, end: float, many: int) -> bool:
        gap, service, ln = self.gaps, self.services, log
        neg_gap, neg_service, timeout, limit = self.neg_gap, self.neg_service, self.timeout, self.limit
        pool, dep, created = self.pool, self.dep, self.created
        t, busy, arrivals = self.t, self.busy, self.arrivals
        newest_first = range(len(dep) - 1, -1, -1)
        pool_range = range(len(pool))
        while t < end:
            s = ln(1.0 - service()) * neg_service
            arrivals += 1
            for i in pool_range:
                if pool[i] <= t:
                    pool[i] = t + s
                    busy += s
                    self.warm_provisioned += 1
                    break
            else:
                for i in newest_first:
                    if dep[i] <= t:
                        until = dep[i] + timeout
                        if until > t:
                            dep[i] = t + s
                            busy += s
                            break
                        self.life += until - created[i]
                        del dep[i], created[i]
                else:
                    if len(dep) >= limit:
                        self.rejected += 1
                    else:
                        dep.append(t + s)
                        created.append(t)
                        self.cold += 1
                        busy += s
                        if len(dep) >= many:
                            self.t = t + ln(1.0 - gap()) * neg_gap
                            self.busy, self.arrivals = busy, arrivals
                            return False
                    newest_first = range(len(dep) - 1, -1, -1)
                # an environment that expired while it was passed over leaves the range one too long
                if len(newest_first) != len(dep):
                    newest_first = range(len(dep) - 1, -1, -1)
            t += ln(1.0 - gap()) * neg_gap
        self.t, self.busy, self.arrivals = t, busy, arrivals
        return True

    def heaps(self) -> None:
        """Any number of environments in O(log n) per arrival."""
        pool, dep, created = self.pool, self.dep, self.created
        np = len(pool)
        departures: list[tuple[float, int]] = []
        idle: list[int] = []  # negated creation order: the newest on top
        idle_pool: list[int] = []
        for i, d in enumerate(pool):
            if d <= self.t:
                idle_pool.append(i)
            else:
                heappush(departures, (d, i))
        for i, d in enumerate(dep):
            if d <= self.t:
                heappush(idle, -i)
            else:
                heappush(departures, (d, np + i))
        alive = len(dep)
        for end in self.ends[len(self.rows) :]:
            alive = self._heap_window(end, departures, idle, idle_pool, alive)
            kept = [i for i, c in enumerate(created) if c >= 0.0]
            if len(kept) < len(created):
                self._compact(kept, departures, idle)
            self.close_window(end)

    def _compact(self, kept: list[int], departures: list[tuple[float, int]], idle: list[int]) -> None:
        """Renumbers what is alive in creation order, so memory follows the living and not the history."""
        np = len(self.pool)
        place = {old: new for new, old in enumerate(kept)}
        self.dep[:] = [self.dep[i] for i in kept]
        self.created[:] = [self.created[i] for i in kept]
        departures[:] = sorted((d, i if i < np else np + place[i - np]) for d, i in departures)
        idle[:] = sorted(-place[-i] for i in idle)

    def _heap_window(
        self,
        end: float,
        departures: list[tuple[float, int]],
        idle: list[int],
        idle_pool: list[int],
        alive: int,
    ) -> int:
        gap, service, ln, push, pop = self.gaps, self.services, log, heappush, heappop
        neg_gap, neg_service, timeout, limit = self.neg_gap, self.neg_service, self.timeout, self.limit
        pool, dep, created = self.pool, self.dep, self.created
        np = len(pool)
        t, busy, arrivals = self.t, self.busy, self.arrivals
        while t < end:
            s = ln(1.0 - service()) * neg_service
            arrivals += 1
            while departures and departures[0][0] <= t:
                i = pop(departures)[1]
                if i < np:
                    push(idle_pool, i)
                else:
                    push(idle, np - i)
            if idle_pool:
                i = pop(idle_pool)
                pool[i] = t + s
                push(departures, (t + s, i))
                busy += s
                self.warm_provisioned += 1
            else:
                while idle:
                    i = -pop(idle)
                    until = dep[i] + timeout
                    if until > t:
                        dep[i] = t + s
                        push(departures, (t + s, np + i))
                        busy += s
                        break
                    self.life += until - created[i]
                    created[i] = -1.0
                    alive -= 1
                else:
                    if alive >= limit:
                        self.rejected += 1
                    else:
                        if len(dep) > 2 * alive + BLOCK:
                            self._compact([j for j, c in enumerate(created) if c >= 0.0], departures, idle)
                        push(departures, (t + s, np + len(dep)))
                        dep.append(t + s)
                        created.append(t)
                        alive += 1
                        self.cold += 1
                        busy += s
            t += ln(1.0 - gap()) * neg_gap
        self.t, self.busy, self.arrivals = t, busy, arrivals
        return alive
