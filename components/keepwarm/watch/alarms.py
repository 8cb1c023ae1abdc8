"""What rings: budgets, Goodput, throttles, duplicates, parked effects, failed executions, missing tasks."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_aws import cloudwatch

from keepwarm.iam.bindings import ServiceTasks
from keepwarm.watch.spec import BUDGET_STATISTIC, PERIOD_S, ObservabilitySpec, metric_name

SHORTFALL_PERIODS = 4
"""Twenty minutes: a GPU instance and its model take up to thirteen (keepwarm.checks.wake)."""
FUNCTIONS_PER_ALARM = 5
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create-alarm-on-metric-math-expression.html"""


def _queries(
    functions: Mapping[str, pulumi.Input[str]],
    namespace: pulumi.Input[str],
    metrics: list[tuple[str, str, str]],
    dimension: str,
    period: int,
) -> list[dict[str, Any]]:
    """Metrics of every function as the inputs of an expression: id prefix, metric name, statistic."""
    return [
        {
            "id": f"{prefix}{index}",
            "return_data": False,
            "metric": {
                "namespace": namespace,
                "metric_name": metric,
                "dimensions": {dimension: function},
                "stat": statistic,
                "period": period,
            },
        }
        for prefix, metric, statistic in metrics
        for index, function in enumerate(functions.values())
    ]


def _list(prefix: str, count: int) -> str:
    return "[" + ", ".join(f"{prefix}{index}" for index in range(count)) + "]"


def _chunks(functions: Mapping[str, pulumi.Input[str]]) -> list[dict[str, pulumi.Input[str]]]:
    """Functions in groups that one alarm can watch: an expression takes ten metrics, and Goodput needs two each."""
    labels = list(functions)
    return [
        {label: functions[label] for label in labels[start : start + FUNCTIONS_PER_ALARM]}
        for start in range(0, len(labels), FUNCTIONS_PER_ALARM)
    ]


def make_alarms(
    owner: pulumi.ComponentResource,
    name: str,
    spec: ObservabilitySpec,
    topics: list[Any],
) -> cloudwatch.MetricAlarm:
    """Create every alarm; returns the first Goodput alarm."""
    child = pulumi.ResourceOptions(parent=owner)
    goodputs = []
    for group, functions in enumerate(_chunks(spec.functions)):
        goodputs.append(
            _function_alarms(name, "" if group == 0 else f"-{group}", functions, spec, topics, child)
        )
    if spec.workflow_arn is not None:
        _workflow_alarms(name, spec.workflow_arn, spec, topics, child)
    for label, tasks in spec.tasks.items():
        _shortfall_alarm(f"{name}-shortfall-{label}", tasks, spec, topics, child)
    return goodputs[0]


def _workflow_alarms(
    name: str,
    workflow_arn: pulumi.Input[str],
    spec: ObservabilitySpec,
    topics: list[Any],
    child: pulumi.ResourceOptions,
) -> None:
    """Rings when executions end badly; a machine that runs nothing reports nothing, which is no fault."""
    for role, metric, about in (
        ("workflow-timeouts", "ExecutionsTimedOut", "Executions run into their deadline"),
        ("workflow-failures", "ExecutionsFailed", "Executions fail"),
    ):
        cloudwatch.MetricAlarm(
            f"{name}-{role}",
            alarm_description=f"{about}: their state says at which step.",
            namespace="AWS/States",
            metric_name=metric,
            dimensions={"StateMachineArn": workflow_arn},
            statistic="Sum",
            period=PERIOD_S,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            treat_missing_data="notBreaching",
            alarm_actions=topics,
            tags=spec.tags,
            opts=child,
        )


def _shortfall_alarm(
    name: str,
    tasks: ServiceTasks,
    spec: ObservabilitySpec,
    topics: list[Any],
    child: pulumi.ResourceOptions,
) -> None:
    """Rings when fewer tasks run than were asked for, for longer than a GPU takes to start.

    ECS reports nothing while no task runs: sleep for a service that may sleep, a fault for one that never does.
    """
    queries: list[Any] = [
        {
            "id": label,
            "return_data": False,
            "metric": {
                "namespace": "ECS/ContainerInsights",
                "metric_name": metric,
                "dimensions": {"ClusterName": tasks["cluster_name"], "ServiceName": tasks["service_name"]},
                "stat": "Minimum",
                "period": PERIOD_S,
            },
        }
        for label, metric in (("desired", "DesiredTaskCount"), ("running", "RunningTaskCount"))
    ]
    cloudwatch.MetricAlarm(
        name,
        alarm_description="Fewer tasks run than were asked for: no capacity, or they end again at once.",
        comparison_operator="GreaterThanThreshold",
        threshold=0,
        evaluation_periods=SHORTFALL_PERIODS,
        treat_missing_data="breaching" if tasks.get("always_on") else "notBreaching",
        alarm_actions=topics,
        tags=spec.tags,
        metric_queries=[
            *queries,
            {
                "id": "result",
                "expression": "desired - running",
                "label": "missing tasks",
                "return_data": True,
            },
        ],
        opts=child,
    )


def _function_alarms(
    name: str,
    suffix: str,
    functions: dict[str, pulumi.Input[str]],
    spec: ObservabilitySpec,
    topics: list[Any],
    child: pulumi.ResourceOptions,
) -> cloudwatch.MetricAlarm:
    count = len(functions)
    own = spec.namespace

    def alarm(
        role: str, about: str, threshold: Any, queries: list[Any], text: str, *, below: bool = False
    ) -> cloudwatch.MetricAlarm:
        return cloudwatch.MetricAlarm(
            f"{name}-{role}{suffix}",
            alarm_description=about,
            comparison_operator="LessThanThreshold" if below else "GreaterThanThreshold",
            threshold=threshold,
            evaluation_periods=1 if role in ("duplicates", "effects-parked") else 3,
            treat_missing_data="notBreaching",
            alarm_actions=topics,
            tags=spec.tags,
            metric_queries=[
                *queries,
                {"id": "result", "expression": text, "label": role, "return_data": True},
            ],
            opts=child,
        )

    for phase, budget in spec.budgets_ms.items():
        alarm(
            f"budget-{phase}",
            f"Cold-start phase {phase} of the slowest function exceeds its budget (99th percentile).",
            budget,
            _queries(functions, own, [("m", metric_name(phase), BUDGET_STATISTIC)], "function", PERIOD_S),
            f"MAX({_list('m', count)})",
        )
    good, bad = f"SUM({_list('s', count)})", f"SUM({_list('f', count)})"
    goodput = alarm(
        "goodput",
        "Fewer invocations succeed than the Goodput target asks for.",
        spec.goodput_target,
        _queries(functions, own, [("s", "succeeded", "Sum"), ("f", "failed", "Sum")], "function", PERIOD_S),
        f"{good} / ({good} + {bad})",
        below=True,
    )
    alarm(
        "throttles",
        "Lambda refuses invocations: concurrency or the scaling rate is used up.",
        0,
        _queries(functions, "AWS/Lambda", [("t", "Throttles", "Sum")], "FunctionName", PERIOD_S),
        f"SUM({_list('t', count)})",
    )
    alarm(
        "duplicates",
        "Many duplicates were prevented: somebody retries what has been done.",
        spec.duplicates_per_hour,
        _queries(functions, own, [("d", "duplicate_prevented", "Sum")], "function", 3600),
        f"SUM({_list('d', count)})",
    )
    alarm(
        "effects-parked",
        "Effects are in doubt and wait for a person to settle them.",
        0,
        _queries(functions, own, [("p", "effects_parked", "Sum")], "function", PERIOD_S),
        f"SUM({_list('p', count)})",
    )
    return goodput
