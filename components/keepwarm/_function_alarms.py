"""Alarms of one function, for failures that its own metrics can't show.

What happens inside an invocation is reported by the function itself (see Observability). These alarms watch what a
function that has died can't report: they use the platform's metrics only.
"""

import math
from typing import Any

import pulumi
from pulumi_aws import cloudwatch, sqs

from keepwarm._values import derive
from keepwarm.checks.function import FunctionSpec

PERIOD_S = 300
"""Shortest period in which errors and the function's own reports of them are compared."""
THROTTLE_PERIOD_S = 60


def make_alarms(
    owner: pulumi.Resource,
    name: str,
    spec: FunctionSpec,
    function_name: pulumi.Input[str],
    failures: sqs.Queue | None,
) -> None:
    """Create the alarms below `owner`; `failures` is the function's own queue, if it has one."""
    # Missing data counts as good in all of them: Lambda reports every invocation, dead or not, so no data means that
    # nothing was invoked; SQS stops reporting on a queue that has been empty for six hours.
    shared: dict[str, Any] = {
        "comparison_operator": "GreaterThanThreshold",
        "threshold": 0,
        "treat_missing_data": "notBreaching",
        "alarm_actions": spec.alarm_topic_arns,
        "tags": spec.tags,
        "opts": pulumi.ResourceOptions(parent=owner),
    }
    _unreported(name, spec, function_name, shared)
    if spec.reserved_concurrency is not None or spec.url is not None:
        cloudwatch.MetricAlarm(
            f"{name}-throttles",
            alarm_description="Lambda refuses invocations: the reserved or the account's concurrency is used up.",
            namespace="AWS/Lambda",
            metric_name="Throttles",
            dimensions={"FunctionName": function_name},
            statistic="Sum",
            period=THROTTLE_PERIOD_S,
            evaluation_periods=3,
            **shared,
        )
    if failures is not None:
        cloudwatch.MetricAlarm(
            f"{name}-failures-depth",
            alarm_description="Asynchronous events failed for good: read their reason, fix it, and send them again.",
            namespace="AWS/SQS",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": failures.name},
            statistic="Maximum",
            period=60,
            evaluation_periods=1,
            **shared,
        )


def _unreported(
    name: str, spec: FunctionSpec, function_name: pulumi.Input[str], shared: dict[str, Any]
) -> None:
    """Rings when invocations fail that the function did not report: out of memory, timeout, import error.

    Lambda counts an error in the minute the invocation began, the function's report in the minute it ended: a period
    holds a whole invocation, and two in a row must differ.
    """
    period_s = derive(_period_s, spec.timeout_s)

    def query(key: str, namespace: pulumi.Input[str], metric: str, dimension: str) -> Any:
        return {
            "id": key,
            "metric": {
                "namespace": namespace,
                "metric_name": metric,
                "dimensions": {dimension: function_name},
                "stat": "Sum",
                "period": period_s,
            },
        }

    cloudwatch.MetricAlarm(
        f"{name}-errors",
        alarm_description="Invocations fail that the function did not report: it ran out of memory or time, or did "
        "not start. Its log group tells which.",
        evaluation_periods=2,
        metric_queries=[
            query("errors", "AWS/Lambda", "Errors", "FunctionName"),
            query("reported", spec.metric_namespace, "failed", "function"),
            {
                "id": "unreported",
                "expression": "FILL(errors, 0) - FILL(reported, 0)",
                "label": "failed without a report",
                "return_data": True,
            },
        ],
        **shared,
    )


def _period_s(timeout_s: float) -> int:
    return max(PERIOD_S, math.ceil(timeout_s / 60) * 60)
