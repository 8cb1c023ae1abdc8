"""Counters and histograms of the service in the text format that Prometheus reads.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)


class Counter:
    """A number that only grows, one for each value of its label."""

    def __init__(self, name: str, meaning: str, label: str = "") -> None:
        self._head = f"# HELP {name} {meaning}\n# TYPE {name} counter\n"
        self._name = name
        self._label = label
        self._counts: dict[str, float] = {} if label else {"": 0.0}

    def add(self, value: str = "", amount: float = 1) -> None:
        """Count one more, for a value of the label."""
        self._counts[value] = self._counts.get(value, 0) + amount

    def get(self, value: str = "") -> float:
        """The count so far."""
        return self._counts.get(value, 0)

    def total(self) -> float:
        """The count over all values of the label."""
        return sum(self._counts.values())

    def text(self) -> str:
        """The lines of this counter."""
        rows = (
            f'{self._name}{{{self._label}="{value}"}} {count:g}\n'
            if self._label
            else f"{self._name} {count:g}\n"
            for value, count in sorted(self._counts.items())
        )
        return self._head + "".join(rows)


class Histogram:
    """How often a value fell below each bound."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self._head = f"# HELP {name} {meaning}\n# TYPE {name} histogram\n"
        self._name = name
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self._sum = 0.0
        self._count = 0

    def observe(self, value: float) -> None:
        """Note one value."""
        self._sum += value
        self._count += 1
        for place, bound in enumerate(self._bounds):
            if value <= bound:
                self._counts[place] += 1

    def text(self) -> str:
        """The lines of this histogram."""
        rows = [
            f'{self._name}_bucket{{le="{bound:g}"}} {count}\n'
            for bound, count in zip(self._bounds, self._counts, strict=True)
        ]
        rows.append(f'{self._name}_bucket{{le="+Inf"}} {self._count}\n')
        rows.append(f"{self._name}_sum {self._sum:.6f}\n{self._name}_count {self._count}\n")
        return self._head + "".join(rows)


class Gauge:
    """A number that is asked for when somebody looks."""

    def __init__(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        self._head = f"# HELP {name} {meaning}\n# TYPE {name} gauge\n"
        self._name = name
        self._read = read

    def text(self) -> str:
        """The line of this gauge."""
        return f"{self._head}{self._name} {self._read():g}\n"


class Metrics:
    """Everything the service counts."""

    def __init__(self) -> None:
        self.requests = Counter("keepwarm_requests_total", "Requests by outcome.", "outcome")
        self.good = Counter("keepwarm_good_total", "Pictures read and answered before their deadline.")
        self.joined = Counter("keepwarm_joined_total", "Requests that shared the work of one in flight.")
        self.queue_s = Histogram("keepwarm_queue_seconds", "Wait for the model.", LATENCY_BUCKETS_S)
        self.inference_s = Histogram("keepwarm_inference_seconds", "One run of the model.", LATENCY_BUCKETS_S)
        self.request_s = Histogram("keepwarm_request_seconds", "Whole request.", LATENCY_BUCKETS_S)
        self.batch = Histogram("keepwarm_batch_size", "Pictures in one run of the model.", BATCH_BUCKETS)
        self.gauges: list[Gauge] = []

    def goodput(self) -> float:
        """Share of the requests for work that were answered well and in time; 1.0 before the first."""
        asked = self.requests.total()
        return self.good.get() / asked if asked else 1.0

    def text(self) -> str:
        """The page that Prometheus scrapes."""
        counters = (self.requests, self.good, self.joined)
        histograms = (self.queue_s, self.inference_s, self.request_s, self.batch)
        texts = [part.text() for part in counters] + [part.text() for part in histograms]
        return "".join(texts + [gauge.text() for gauge in self.gauges])
