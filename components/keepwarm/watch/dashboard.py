"""What one looks at: cold starts by phase, outcomes, queues, services, executions, cost."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pulumi

from keepwarm.phases import PHASES
from keepwarm.watch.spec import BUDGET_STATISTIC, PERIOD_S, TOTAL, CostRates, ObservabilitySpec, metric_name

WIDTH = 12
HEIGHT = 6


def widgets(spec: ObservabilitySpec, region: pulumi.Output[str]) -> list[dict[str, Any]]:
    """Graphs of the dashboard, two in a row."""
    namespace = spec.namespace
    functions = spec.functions
    found: list[dict[str, Any]] = []

    def graph(title: str, metrics: list[Any], *, stat: str, stacked: bool = False, lines: Any = None) -> None:
        place = len(found)
        properties: dict[str, Any] = {
            "title": title,
            "region": region,
            "view": "timeSeries",
            "stacked": stacked,
            "stat": stat,
            "period": PERIOD_S,
            "metrics": metrics,
        }
        if lines:
            properties["annotations"] = {"horizontal": lines}
        found.append(
            {
                "type": "metric",
                "x": place % 2 * WIDTH,
                "y": place // 2 * HEIGHT,
                "width": WIDTH,
                "height": HEIGHT,
                "properties": properties,
            }
        )

    def own(metric: str) -> list[Any]:
        return [
            [namespace, metric, "function", function, {"label": label}]
            for label, function in functions.items()
        ]

    def aws_lambda(metric: str) -> list[Any]:
        return [
            ["AWS/Lambda", metric, "FunctionName", function, {"label": label}]
            for label, function in functions.items()
        ]

    for label, function in functions.items():
        graph(
            f"Cold start by phase ({BUDGET_STATISTIC}, ms): {label}",
            [[namespace, metric_name(phase), "function", function, {"label": phase}] for phase in PHASES],
            stat=BUDGET_STATISTIC,
            stacked=True,
            lines=[
                {"label": f"budget {phase}", "value": budget}
                for phase, budget in spec.budgets_ms.items()
                if phase == TOTAL
            ],
        )
    graph("Cold starts", own("cold_start"), stat="Sum")
    graph("First request after ready, beyond a warm one (p95, ms)", own("first_request_delta_ms"), stat="p95")
    graph("Duration (p95, ms)", own("duration_ms"), stat="p95")
    graph("Time left at the end (minimum, ms)", own("remaining_ms"), stat="Minimum")
    graph("Succeeded and failed", [*own("succeeded"), *own("failed")], stat="Sum")
    graph("Duplicates prevented", own("duplicate_prevented"), stat="Sum")
    graph("Concurrent executions", aws_lambda("ConcurrentExecutions"), stat="Maximum")
    graph("Throttles", aws_lambda("Throttles"), stat="Sum")
    graph("Provisioned concurrency in use", aws_lambda("ProvisionedConcurrencyUtilization"), stat="Maximum")
    graph(
        "Spill-over to cold environments",
        aws_lambda("ProvisionedConcurrencySpilloverInvocations"),
        stat="Sum",
    )
    queues, parked = spec.queues, spec.parked_queues
    if queues:
        graph("Age of the oldest message (s)", _sqs("ApproximateAgeOfOldestMessage", queues), stat="Maximum")
        graph("Messages waiting", _sqs("ApproximateNumberOfMessagesVisible", queues), stat="Maximum")
    if parked:
        graph("Messages parked", _sqs("ApproximateNumberOfMessagesVisible", parked), stat="Maximum")
    services = spec.services
    if services:
        for title, metric, stat in (
            ("Backlog of the service", "Backlog", "Sum"),
            ("Wait for a permit (p95, ms)", "admission_wait_ms", "p95"),
        ):
            graph(
                title,
                [[namespace, metric, "Service", s, {"label": k}] for k, s in services.items()],
                stat=stat,
            )
    if spec.workflow_arn is not None:
        arn = spec.workflow_arn
        ends = ("ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted")
        graph("Executions", [["AWS/States", end, "StateMachineArn", arn] for end in ends], stat="Sum")
    if spec.costs is not None:
        graph("Cost of functions (USD per period)", _costs(spec.costs, functions), stat="Sum")
    return found


def cost_expression(index: int, values: list[float]) -> str:
    """Cost of one function as metric math over its duration and its invocations."""
    memory_mb, per_gb_s, per_million = values
    return f"d{index} / 1000 * {memory_mb / 1024:.6g} * {per_gb_s:.10g} + i{index} * {per_million / 1e6:.10g}"


def _sqs(metric: str, queues: Mapping[str, pulumi.Input[str]]) -> list[Any]:
    return [["AWS/SQS", metric, "QueueName", queue, {"label": label}] for label, queue in queues.items()]


def _costs(rates: CostRates, functions: Mapping[str, pulumi.Input[str]]) -> list[Any]:
    """Duration times memory times price, and requests times price, as metric math."""
    rows: list[Any] = []
    for index, (label, function) in enumerate(functions.items()):
        memory = rates["memory_mb"].get(label)
        if memory is None:
            continue
        rows.append(
            ["AWS/Lambda", "Duration", "FunctionName", function, {"id": f"d{index}", "visible": False}]
        )
        rows.append(
            ["AWS/Lambda", "Invocations", "FunctionName", function, {"id": f"i{index}", "visible": False}]
        )
        cost = pulumi.Output.all(memory, rates["usd_per_gb_s"], rates["usd_per_million_requests"]).apply(
            partial(cost_expression, index)
        )
        rows.append([{"expression": cost, "label": label, "id": f"c{index}"}])
    return rows
