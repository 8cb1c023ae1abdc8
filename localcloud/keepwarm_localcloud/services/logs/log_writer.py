"""CloudWatch Logs and embedded metrics of everything that runs in the embedded cloud, in one place."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.journal import Journal
from keepwarm_localcloud.moto.base import Moto

MAX_EVENT_BYTES: Final = 1_048_576 - 26
"""One log event at most, less the 26 bytes AWS counts per event.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html"""
MAX_EMF_VALUES: Final = 100
"""Values of one metric in one embedded-metric line.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""


class Logs:
    """Write log lines and metric data straight into moto's backends, stamped with the cloud's clock."""

    def __init__(self, clock: Clock, journal: Journal, moto: Moto) -> None:
        self._clock, self._journal, self._moto = clock, journal, moto

    def put(self, group: str, stream: str, lines: Iterable[str]) -> None:
        """Append lines to a stream; group and stream are made when missing. EMF lines also become metric data.

        Args:
            group: Log group, such as `/aws/lambda/classify`.
            stream: Log stream.
            lines: One event each; a longer line than AWS takes is split, an empty one dropped as AWS drops it.
        """
        now_ms = int(self._clock.now_s() * 1000)
        kept = [line.rstrip("\n") for line in lines]
        events = [{"timestamp": now_ms, "message": part} for line in kept if line for part in _split(line)]
        if not events:
            return
        with self._moto.lock("logs"):
            backend = self._moto.backend("logs")
            if group not in backend.groups:
                backend.create_log_group(group, {})
            if stream not in backend.groups[group].streams:
                backend.create_log_stream(group, stream)
            # Past the backend's own entrance, which drops what is older than 14 days of the machine's clock.
            backend.groups[group].put_log_events(stream, events)
        for line in kept:
            if '"_aws"' in line:
                self._metrics_of(line)
            if '"keepwarm.result"' in line:
                self._result_of(group, stream, line)

    def metric(
        self,
        namespace: str,
        name: str,
        value: float | Sequence[float],
        *,
        unit: str = "None",
        dimensions: dict[str, str] | None = None,
        at_s: float | None = None,
    ) -> None:
        """Add CloudWatch metric data.

        Args:
            namespace: Such as `AWS/SQS`.
            name: Metric name.
            value: One value or several of the same moment.
            unit: A CloudWatch unit, default `None`.
            dimensions: Name -> value.
            at_s: Seconds since the epoch; default now, by the cloud's clock.
        """
        values = [float(value)] if isinstance(value, (int, float)) else [float(v) for v in value]
        moment_s = self._clock.now_s() if at_s is None else at_s
        # moto keeps moments in UTC without a zone and cannot compare them with zoned ones.
        stamp = datetime.fromtimestamp(moment_s, UTC).replace(tzinfo=None)
        dims = [{"Name": k, "Value": v} for k, v in sorted((dimensions or {}).items())]
        data = [
            {"MetricName": name, "Value": v, "Unit": unit, "Dimensions": dims, "Timestamp": stamp}
            for v in values
        ]
        with self._moto.lock("cloudwatch"):
            self._moto.backend("cloudwatch").put_metric_data(namespace, data)

    def _result_of(self, group: str, stream: str, line: str) -> None:
        """Journal a result event (contract C5), so that a live view follows the journal alone."""
        event = _json_of(line)
        if event is not None and event.get("event") == "keepwarm.result":
            self._journal.write("result", group=group, stream=stream, event=event)

    def _metrics_of(self, line: str) -> None:
        # CloudWatch too keeps a malformed line as a log event and makes no metric of it.
        record = _json_of(line)
        if record is None or not isinstance(record.get("_aws"), dict):
            return
        stamp_ms = record["_aws"].get("Timestamp")
        at_s = stamp_ms / 1000 if isinstance(stamp_ms, (int, float)) else None
        for directive in record["_aws"].get("CloudWatchMetrics", []):
            self._directive(record, directive, at_s)

    def _directive(self, record: dict[str, Any], directive: dict[str, Any], at_s: float | None) -> None:
        for names in directive.get("Dimensions") or [[]]:
            if not all(isinstance(record.get(n), str) for n in names):
                continue
            dimensions = {n: record[n] for n in names}
            for metric in directive.get("Metrics", []):
                value = record.get(metric.get("Name"))
                values = value if isinstance(value, list) else [value]
                numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
                if numbers and len(numbers) == len(values) and len(values) <= MAX_EMF_VALUES:
                    self.metric(
                        directive.get("Namespace", ""),
                        metric["Name"],
                        numbers,
                        unit=metric.get("Unit", "None"),
                        dimensions=dimensions,
                        at_s=at_s,
                    )


def _json_of(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line[line.find("{") :])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _split(line: str) -> list[str]:
    raw = line.encode("utf-8", "replace")
    if len(raw) <= MAX_EVENT_BYTES:
        return [line]
    return [
        raw[at : at + MAX_EVENT_BYTES].decode("utf-8", "replace")
        for at in range(0, len(raw), MAX_EVENT_BYTES)
    ]
