"""CloudWatch metrics of Lambda, written by a thread of their own so that no invocation waits for them."""

import threading
from collections import defaultdict

from keepwarm_localcloud.services.context import Context

_Dimensions = tuple[tuple[str, str], ...]
_Key = tuple[_Dimensions, str, str]


class Metrics:
    """Collects values and writes them in groups."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._wake = threading.Condition()
        self._values: dict[_Key, list[float]] = defaultdict(list)
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, function: str, name: str, value: float, *, unit: str = "Count", resource: str = "") -> None:
        """Add one value of a metric of a function.

        Args:
            function: value of the dimension FunctionName.
            name: metric name.
            value: the value.
            unit: CloudWatch unit.
            resource: value of the dimension Resource (`name:alias`), which some metrics have besides.
        """
        dimensions = (("FunctionName", function), *((("Resource", resource),) if resource else ()))
        self._add(dimensions, name, value, unit)

    def add_of_mapping(self, mapping: str, name: str, value: float) -> None:
        """Add one value of a metric of an event source mapping, a count.

        Args:
            mapping: value of the dimension EventSourceMappingUUID.
            name: metric name.
            value: the value.
        """
        self._add((("EventSourceMappingUUID", mapping),), name, value, "Count")

    def _add(self, dimensions: _Dimensions, name: str, value: float, unit: str) -> None:
        with self._wake:
            self._values[dimensions, name, unit].append(value)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="keepwarm-lambda-metrics", daemon=True)
                self._thread.start()
            self._wake.notify()

    def flush(self) -> None:
        """Write everything collected so far."""
        with self._wake:
            values, self._values = self._values, defaultdict(list)
        for (dimensions, name, unit), numbers in values.items():
            self._context.logs.metric("AWS/Lambda", name, numbers, unit=unit, dimensions=dict(dimensions))

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._values and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                # Let a burst gather: one write of many values costs what a write of one costs.
                self._wake.wait(0.2)
            self.flush()
