"""The core model in Python: twin and oracle of `core.c`, and what runs where there is no compiler.

Any arrivals and services, cold-start durations, a provisioned pool that changes, spill-over, a cap, a
creation rate, a FIFO queue with a deadline and a bound. Fed chunk by chunk: memory follows what is
alive, never the trace.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from math import frexp, log
from random import Random

from keepwarm_planner.kernel.shape import BINS, BINS_PER_OCTAVE, LOWEST_EXPONENT, Cold, CoreDesign, S

RING_BLOCK = 256


def bin_of(seconds: float) -> int:
    """Histogram bin of a duration: 64 bins per octave, so a bin is 1.1 % wide."""
    if not seconds > 0.0:
        return 0
    mantissa, exponent = frexp(seconds)
    i = (exponent - LOWEST_EXPONENT) * BINS_PER_OCTAVE + int((mantissa - 0.5) * (2 * BINS_PER_OCTAVE))
    return min(max(i, 0), BINS - 1)


def table_value(table: Sequence[float], u: float) -> float:
    """Value of a quantile table at probability u, linear between its points."""
    x = u * float(len(table) - 1)
    i = int(x)
    if i >= len(table) - 1:
        return table[-1]
    return table[i] + (table[i + 1] - table[i]) * (x - float(i))


class PyCore:
    """One design under way. The same methods as `CCore`."""

    def __init__(self, design: CoreDesign, cold_stream: Random) -> None:
        self.d = design
        self._uniform = cold_stream.random
        self._stats = [0.0] * len(S)
        self._latency = [0] * BINS
        self._wait = [0] * BINS
        self._size = design.provisioned
        self._size_since = 0.0
        self._busy_p = 0
        self._dep: list[float] = []
        self._created: list[float] = []
        self._idle: list[int] = []
        self._room = RING_BLOCK
        self._heap: list[tuple[float, int]] = []
        self._queue: deque[tuple[float, float]] = deque()
        self._tokens = design.rate_limit
        self._tokens_at = 0.0

    def _draw_cold(self) -> float:
        d = self.d
        if d.cold_kind is Cold.CONSTANT:
            return d.cold_mean
        u = self._uniform()
        if d.cold_kind is Cold.EXPONENTIAL:
            return log(1.0 - u) * -d.cold_mean
        return table_value(d.cold_table, u)

    def _make_room(self) -> None:
        kept = [i for i, c in enumerate(self._created) if c >= 0.0]
        place = {old: new for new, old in enumerate(kept)}
        self._dep = [self._dep[i] for i in kept]
        self._created = [self._created[i] for i in kept]
        self._idle = [-place[-i] for i in self._idle]
        self._heap = [(dep, i if i < 0 else place[i]) for dep, i in self._heap]
        if 2 * len(kept) + RING_BLOCK > self._room:
            self._room = 3 * len(kept) + 2 * RING_BLOCK

    def _take_token(self, t: float) -> bool:
        d = self.d
        if d.rate_limit <= 0.0:
            return True
        tokens = self._tokens + (t - self._tokens_at) * d.rate_limit / d.rate_window
        tokens = min(tokens, d.rate_limit)
        self._tokens_at = t
        self._tokens = tokens - 1.0 if tokens >= 1.0 else tokens
        return tokens >= 1.0

    def _on_demand_limit(self) -> int:
        return max(self.d.limit - max(self._size, self._busy_p), 0)

    def _finish_start(self, t: float, arrived: float, service: float, cold: float) -> None:
        stats = self._stats
        wait = t - arrived
        latency = wait + cold + service
        self._latency[bin_of(latency)] += 1
        if wait > 0.0:
            self._wait[bin_of(wait)] += 1
            stats[S.WAIT_S] += wait
            if wait > stats[S.MAX_WAIT]:
                stats[S.MAX_WAIT] = wait
        if latency <= self.d.target:
            stats[S.GOOD] += 1.0
        stats[S.STARTED] += 1.0
        if len(self._heap) > stats[S.MAX_BUSY]:
            stats[S.MAX_BUSY] = float(len(self._heap))

    def _start(self, t: float, arrived: float, service: float) -> int:
        """Places one request: 1 started, 0 the limit forbids, -1 the creation rate forbids."""
        stats = self._stats
        if self._busy_p < self._size:
            self._busy_p += 1
            heappush(self._heap, (t + service, -1))
            stats[S.PROVISIONED] += 1.0
            stats[S.BUSY_PROVISIONED] += service
            self._finish_start(t, arrived, service, 0.0)
            return 1
        if self.d.limit >= 0 and len(self._heap) - self._busy_p >= self._on_demand_limit():
            return 0
        while self._idle:
            i = -heappop(self._idle)
            until = self._dep[i] + self.d.timeout
            if until > t:
                self._dep[i] = t + service
                heappush(self._heap, (t + service, i))
                stats[S.WARM] += 1.0
                stats[S.BUSY_OD] += service
                self._finish_start(t, arrived, service, 0.0)
                return 1
            stats[S.LIFE_OD] += until - self._created[i]
            self._created[i] = -1.0
        if not self._take_token(t):
            return -1
        if len(self._dep) == self._room:
            self._make_room()
        cold = self._draw_cold()
        until = t + (cold + service)
        heappush(self._heap, (until, len(self._dep)))
        self._dep.append(until)
        self._created.append(t)
        stats[S.COLD] += 1.0
        stats[S.COLD_S] += cold
        stats[S.BUSY_OD] += service
        self._finish_start(t, arrived, service, cold)
        return 1

    def _dispatch(self, t: float) -> None:
        queue = self._queue
        while queue:
            arrived, service = queue[0]
            if t - arrived > self.d.deadline:
                self._stats[S.EXPIRED] += 1.0
            elif self._start(t, arrived, service) != 1:
                return
            queue.popleft()

    def _run_to(self, t: float) -> None:
        while self._heap and self._heap[0][0] <= t:
            dep, i = heappop(self._heap)
            if i < 0:
                self._busy_p -= 1
            else:
                heappush(self._idle, -i)
            if self._queue:
                self._dispatch(dep)

    def feed(self, times: Sequence[float], services: Sequence[float]) -> None:
        """Arrivals in time order, each with the service it needs. Not before what was fed so far."""
        stats, queue, d = self._stats, self._queue, self.d
        for t, service in zip(times, services, strict=True):
            self._run_to(t)
            stats[S.ARRIVALS] += 1.0
            placed = 0 if queue else self._start(t, t, service)
            if placed == 1:
                continue
            if d.queue_limit == 0:
                stats[S.REJECTED_LIMIT if placed == 0 else S.REJECTED_RATE] += 1.0
                continue
            if 0 < d.queue_limit <= len(queue):
                # those past their deadline leave the queue before the bound refuses a newcomer
                while queue and t - queue[0][0] > d.deadline:
                    stats[S.EXPIRED] += 1.0
                    queue.popleft()
                if len(queue) >= d.queue_limit:
                    stats[S.OVERFLOW] += 1.0
                    continue
            queue.append((t, service))
            stats[S.QUEUED] += 1.0
            if len(queue) > stats[S.MAX_QUEUE]:
                stats[S.MAX_QUEUE] = float(len(queue))

    def resize(self, t: float, size: int) -> None:
        """The provisioned pool has `size` environments from `t` on."""
        self._run_to(t)
        self._stats[S.PROVISIONED_S] += float(self._size) * (t - self._size_since)
        self._size_since = t
        self._size = size
        self._dispatch(t)

    def read(self, t: float) -> list[float]:
        """Cumulative figures at `t`, in the order of `S`."""
        self._run_to(t)
        stats = list(self._stats)
        stats[S.PROVISIONED_S] += float(self._size) * (t - self._size_since)
        timeout = self.d.timeout
        for dep, created in zip(self._dep, self._created, strict=True):
            if created >= 0.0:
                until = dep + timeout
                stats[S.LIFE_OD] += (until if until < t else t) - created
        over = 0.0
        for dep, _ in self._heap:
            over += dep - t
        stats[S.IN_FLIGHT_S] = stats[S.BUSY_OD] + stats[S.BUSY_PROVISIONED] + stats[S.COLD_S] - over
        stats[S.QUEUE_NOW] = float(len(self._queue))
        stats[S.BUSY_NOW] = float(len(self._heap))
        return stats

    def histograms(self) -> tuple[list[int], list[int]]:
        """Counts per bin of latency and of queue wait."""
        return list(self._latency), list(self._wait)

    def close(self) -> None:
        """Nothing to give back; here so that both cores are used alike."""


class PySource:
    """One stream of variates; the same methods as `CSource`."""

    def __init__(self, stream: Random) -> None:
        self._uniform = stream.random

    def fill(self, kind: Cold, mean: float, table: Sequence[float], n: int) -> Sequence[float]:
        """n values of a constant, an exponential or a quantile table."""
        uniform = self._uniform
        if kind is Cold.CONSTANT:
            return [mean] * n
        if kind is Cold.EXPONENTIAL:
            scale = -mean
            return [log(1.0 - uniform()) * scale for _ in range(n)]
        return [table_value(table, uniform()) for _ in range(n)]

    def poisson(self, rate: float, end: float, t: float, room: int) -> tuple[Sequence[float], float]:
        """Poisson arrivals from t on (t is the first), at most `room` and before `end`; and the next one."""
        uniform, neg_gap = self._uniform, -1.0 / rate
        out: list[float] = []
        while len(out) < room and t < end:
            out.append(t)
            t = t + log(1.0 - uniform()) * neg_gap
        return out, t

    def spread(self, start: float, end: float, n: int) -> Sequence[float]:
        """n uniform points of [start, end) in rising order."""
        uniform = self._uniform
        sums: list[float] = []
        total = 0.0
        for _ in range(n):
            total = total - log(1.0 - uniform())
            sums.append(total)
        total = total - log(1.0 - uniform())
        scale = (end - start) / total
        return [start + x * scale for x in sums]

    def close(self) -> None:
        """Nothing to give back; here so that both sources are used alike."""
