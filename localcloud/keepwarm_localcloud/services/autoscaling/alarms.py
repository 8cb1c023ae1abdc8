"""CloudWatch alarms that change state and act.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html. moto keeps alarms and data;
this evaluates them. One thing is faster than on AWS: for a statistic that can only grow (Sum, SampleCount, Maximum),
a running period whose value is above the threshold counts at once instead of at its end.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keepwarm_localcloud.services.autoscaling.metrics import ExpressionError, Metrics, evaluate

LOG = logging.getLogger(__name__)

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda v, t: v > t,
    "GreaterThanOrEqualToThreshold": lambda v, t: v >= t,
    "LessThanThreshold": lambda v, t: v < t,
    "LessThanOrEqualToThreshold": lambda v, t: v <= t,
}
GROWING = ("Sum", "SampleCount", "Maximum")


@dataclass(slots=True)
class Seen:
    """What the evaluator knows of an alarm."""

    alarm: Any
    state: str
    value: float | None = None
    acted_s: float | None = None


class Alarms:
    """Evaluates every alarm of moto's CloudWatch.

    Args:
        metrics: Index of the data.
        act: Called with (action ARN, alarm, new state, old state, value, whether it is a repetition).
    """

    def __init__(
        self, metrics: Metrics, act: Callable[[str, Any, str, str, float | None, bool], None]
    ) -> None:
        self.metrics, self._act = metrics, act
        self.seen: dict[str, Seen] = {}

    def adopt(self, backend: Any) -> None:
        """Give new and changed alarms the state that they have on AWS, before anybody reads moto's."""
        self._forget(backend)
        for alarm in list(backend.alarms.values()):
            self._known(alarm)

    def _forget(self, backend: Any) -> None:
        """One of the same name that is made later is a new alarm."""
        for arn in set(self.seen) - {a.alarm_arn for a in list(backend.alarms.values())}:
            del self.seen[arn]

    def tick(self, backend: Any, now_s: float) -> None:
        """Look at every alarm once."""
        self.metrics.refresh()
        self._forget(backend)
        for alarm in list(backend.alarms.values()):
            try:
                self._one(alarm, now_s)
            except ExpressionError as error:
                self._become(self._known(alarm), "INSUFFICIENT_DATA", str(error), None, now_s)
                if alarm.state_reason != str(error):
                    # An alarm that can never fire says why, though its state is the one it began with.
                    alarm.update_state(str(error), "{}", "INSUFFICIENT_DATA")
            except Exception:
                LOG.exception("alarm %s could not be evaluated", alarm.name)

    def _known(self, alarm: Any) -> Seen:
        seen = self.seen.get(alarm.alarm_arn)
        fresh = alarm.state_reason == "Unchecked: Initial alarm creation"
        if seen is None:
            if fresh:
                # moto starts with OK; AWS with INSUFFICIENT_DATA.
                alarm.state_value = "INSUFFICIENT_DATA"
            seen = self.seen[alarm.alarm_arn] = Seen(alarm, "INSUFFICIENT_DATA")
        elif seen.alarm is not alarm:
            if fresh:
                # PutMetricAlarm of a known alarm keeps its state on AWS, one that SetAlarmState gave it just now too.
                alarm.state_value = seen.alarm.state_value
            seen.alarm = alarm
        return seen

    def _one(self, alarm: Any, now_s: float) -> None:
        seen = self._known(alarm)
        if alarm.state_value != seen.state:
            # SetAlarmState: the actions of that state run, then the next evaluation decides again.
            before, seen.state = seen.state, alarm.state_value
            self._actions(alarm, seen, before, now_s)
            return
        if alarm.rule is not None or not alarm.evaluation_periods:
            return
        period_s = self._period(alarm)
        values, partial = self._values(alarm, period_s, now_s)
        state, value = self._judge(alarm, seen, values, partial)
        seen.value = value if value is not None else seen.value
        if state is not None and state != seen.state:
            self._become(seen, state, self._reason(alarm, state, values), value, now_s)
        elif seen.state == "ALARM" and seen.acted_s is not None and now_s >= seen.acted_s + max(period_s, 60):
            # Scaling policies are asked again every minute while the alarm lasts.
            self._actions(alarm, seen, seen.state, now_s, repeated=True)

    @staticmethod
    def _period(alarm: Any) -> int:
        for query in alarm.metric_data_queries:
            if query.metric_stat is not None:
                return int(query.metric_stat.period)
            if query.period:
                return int(query.period)
        return int(alarm.period or 60)

    def _values(self, alarm: Any, period_s: int, now_s: float) -> tuple[list[float | None], float | None]:
        """Values of the last complete periods, newest first, and that of the running one."""
        edge_s = now_s // period_s * period_s
        count = int(alarm.evaluation_periods)
        done = [self._value(alarm, edge_s - (i + 1) * period_s, edge_s - i * period_s) for i in range(count)]
        return done, self._value(alarm, edge_s, edge_s + period_s)

    def _value(self, alarm: Any, start_s: float, end_s: float) -> float | None:
        if not alarm.metric_data_queries:
            dimensions = {d.name: d.value for d in alarm.dimensions}
            stat = alarm.statistic or alarm.extended_statistic or "Average"
            return self.metrics.value(alarm.namespace, alarm.metric_name, dimensions, stat, start_s, end_s)
        values: dict[str, float | None] = {}
        for query in alarm.metric_data_queries:
            if query.metric_stat is not None:
                metric = query.metric_stat.metric
                dimensions = {d.name: d.value for d in metric.dimensions}
                values[query.id] = self.metrics.value(
                    metric.namespace, metric.metric_name, dimensions, query.metric_stat.stat, start_s, end_s
                )
        result: float | None = None
        for query in alarm.metric_data_queries:
            if query.expression:
                values[query.id] = evaluate(query.expression, values)
            if str(query.return_data).lower() == "true":
                result = values.get(query.id)
        return result

    def _judge(
        self, alarm: Any, seen: Seen, values: list[float | None], partial: float | None
    ) -> tuple[str | None, float | None]:
        """(new state, deciding value); None for "as it was"."""
        compare = COMPARE.get(alarm.comparison_operator)
        if compare is None:
            return None, None
        threshold = float(alarm.threshold)
        needed = int(alarm.datapoints_to_alarm or alarm.evaluation_periods)
        treat = alarm.treat_missing_data or "missing"
        growing = bool(alarm.metric_data_queries) or alarm.statistic in GROWING
        certain = alarm.comparison_operator.startswith("Greater")
        if growing and partial is not None and compare(partial, threshold) is certain:
            values = [partial, *values[:-1]]
        breaching = [v for v in values if v is not None and compare(v, threshold)]
        missing = sum(v is None for v in values)
        bad = len(breaching) + (missing if treat == "breaching" else 0)
        newest = next((v for v in values if v is not None), None)
        if bad >= needed:
            return "ALARM", breaching[0] if breaching else newest
        if missing == len(values) and treat in ("missing", "ignore"):
            return ("INSUFFICIENT_DATA" if treat == "missing" else None), None
        return "OK", newest

    @staticmethod
    def _reason(alarm: Any, state: str, values: list[float | None]) -> str:
        if state == "INSUFFICIENT_DATA":
            return f"Insufficient Data: {len(values)} datapoints were unknown."
        shown = ", ".join("missing" if v is None else f"{v:g}" for v in values)
        crossed = "Threshold Crossed" if state == "ALARM" else "Threshold not crossed"
        return f"{crossed}: datapoints [{shown}] against {alarm.comparison_operator} {alarm.threshold}."

    def _become(self, seen: Seen, state: str, reason: str, value: float | None, now_s: float) -> None:
        if state == seen.state:
            return
        before, seen.state = seen.state, state
        facts = {"version": "1.0", "recentDatapoints": [] if value is None else [value]}
        seen.alarm.update_state(reason, json.dumps(facts), state)
        self._actions(seen.alarm, seen, before, now_s)

    def _actions(self, alarm: Any, seen: Seen, before: str, now_s: float, *, repeated: bool = False) -> None:
        seen.acted_s = now_s
        if not alarm.actions_enabled:
            return
        actions = {
            "ALARM": alarm.alarm_actions, "OK": alarm.ok_actions, "INSUFFICIENT_DATA": alarm.insufficient_data_actions
        }[seen.state]  # fmt: skip
        for arn in actions or []:
            if not repeated or ":autoscaling:" in arn:
                self._act(arn, alarm, seen.state, before, seen.value, repeated)
