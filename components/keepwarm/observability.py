"""What one looks at, and what rings: a dashboard by cold-start phase, and alarms on budgets and Goodput."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NotRequired, Self, TypedDict

import pulumi
from pulumi_aws import cloudwatch, sns

from keepwarm import _json, limits
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where
from keepwarm.checks.tags import Tags, tags
from keepwarm.iam import documents
from keepwarm.iam.bindings import ServiceTasks
from keepwarm.phases import PHASES

GOODPUT = 0.99
DUPLICATES_PER_HOUR = 100
PERIOD_S = 300
SHORTFALL_PERIODS = 4
"""Twenty minutes: a GPU instance and its model take up to thirteen (keepwarm.checks.wake)."""
BUDGET_STATISTIC = "p99"
"""The percentile that settings state budgets at and the planner holds designs against: all three must mean the same."""
TOTAL = "total"
FUNCTIONS_PER_ALARM = 5
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create-alarm-on-metric-math-expression.html"""
WIDTH = 12
HEIGHT = 6
LABEL = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


class CostRates(TypedDict):
    """Prices that turn usage into money on the dashboard; see the planner's dated price file."""

    usd_per_gb_s: pulumi.Input[float]
    """Price of a GB-second of Lambda duration in USD."""
    usd_per_million_requests: pulumi.Input[float]
    """Price of a million Lambda requests in USD."""
    memory_mb: dict[str, pulumi.Input[int]]
    """Memory of each function in MB, by its label."""


class ObservabilityArgs(TypedDict):
    """Inputs of an Observability."""

    functions: NotRequired[dict[str, pulumi.Input[str]]]
    """Function names by a label of your choice; a ServerlessRuntime fills in its own. Default: none."""
    queues: NotRequired[dict[str, pulumi.Input[str]]]
    """Queue names by label, for depth and age; their alarms belong to the BurstQueue. Default: none."""
    parked_queues: NotRequired[dict[str, pulumi.Input[str]]]
    """Dead-letter queue names by label. Default: none."""
    services: NotRequired[dict[str, pulumi.Input[str]]]
    """Discovery names of GPU services by label, for backlog and admission. Default: none."""
    workflow_arn: NotRequired[pulumi.Input[str]]
    """State machine whose executions are shown and whose timeouts and failures ring. Default: none."""
    tasks: NotRequired[dict[str, ServiceTasks]]
    """Tasks of GPU services by label (``GpuService.tasks()``), which ring when fewer run than were asked for. Default:
    none."""
    budgets_ms: NotRequired[dict[str, pulumi.Input[int]]]
    """Budget of each cold-start phase in ms at the 99th percentile of the slowest function; ``total`` budgets the whole
    init phase. Default: no budgets."""
    goodput_target: NotRequired[pulumi.Input[float]]
    """Share of invocations that must succeed, above 0 up to 1. Default: 0.99."""
    duplicates_per_hour: NotRequired[pulumi.Input[int]]
    """Prevented duplicates per hour above which somebody retries too much. Default: 100."""
    costs: NotRequired[CostRates]
    """Prices for the cost widget. Default: no cost widget."""
    alarm_topic_arns: NotRequired[list[pulumi.Input[str]]]
    """SNS topics the alarms notify. Default: a topic of its own."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of its own topic, which must let CloudWatch use it. Default: none."""
    metric_namespace: NotRequired[pulumi.Input[str]]
    """CloudWatch namespace the functions emit to. Default: Keepwarm."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of alarms and topic. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservabilitySpec:
    """Inputs of an Observability after their check: all that its resources are built from."""

    namespace: pulumi.Input[str]
    functions: dict[str, pulumi.Input[str]]
    queues: dict[str, pulumi.Input[str]]
    parked_queues: dict[str, pulumi.Input[str]]
    services: dict[str, pulumi.Input[str]]
    tasks: dict[str, ServiceTasks]
    workflow_arn: pulumi.Input[str] | None
    budgets_ms: dict[str, pulumi.Input[int]]
    goodput_target: pulumi.Input[float]
    duplicates_per_hour: pulumi.Input[int]
    costs: CostRates | None
    alarm_topic_arns: list[pulumi.Input[str]]
    kms_key_arn: pulumi.Input[str] | None
    tags: Tags | None

    @classmethod
    def of(
        cls,
        name: str,
        args: ObservabilityArgs,
        *,
        where: Where | None = None,
        report: Report | None = None,
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks("Observability", name, args, ObservabilityArgs, where=where, report=report)
        args = checks.args
        _check_labels(checks, args)
        child_name(checks, name, "dashboard", 255)
        spec = cls(
            namespace=args.get("metric_namespace", "Keepwarm"),
            functions=args.get("functions", {}),
            queues=args.get("queues", {}),
            parked_queues=args.get("parked_queues", {}),
            services=args.get("services", {}),
            tasks=args.get("tasks", {}),
            workflow_arn=args.get("workflow_arn"),
            budgets_ms=_budgets(checks, args.get("budgets_ms", {})),
            goodput_target=checks.number(
                "goodput_target",
                GOODPUT,
                0.01,
                1,
                code="KW146",
                unit="",
                because="it is a share",
                whole=False,
            ),
            duplicates_per_hour=checks.number(
                "duplicates_per_hour",
                DUPLICATES_PER_HOUR,
                0,
                1_000_000_000,
                code="KW146",
                unit="duplicates",
                because="it is a count",
            ),
            costs=_rates(checks, args.get("costs")),
            alarm_topic_arns=list(args.get("alarm_topic_arns", [])),
            kms_key_arn=args.get("kms_key_arn"),
            tags=tags(checks, args),
        )
        checks.done()
        return spec


class Observability(pulumi.ComponentResource):
    """Shows every cold-start phase, and rings when a budget or the Goodput is missed."""

    dashboard_name: pulumi.Output[str]
    """Name of the dashboard."""
    topic_arn: pulumi.Output[str]
    """ARN of the topic the alarms notify (the first one, when several were given)."""

    def __init__(
        self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = ObservabilitySpec.of(name, args)
        super().__init__("keepwarm:index:Observability", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)

        topics = list(spec.alarm_topic_arns)
        if not topics:
            own = sns.Topic(f"{name}-alarms", kms_master_key_id=spec.kms_key_arn, tags=spec.tags, opts=child)
            topics.append(own.arn)
        topic = pulumi.Output.from_input(topics[0])
        goodput = _alarms(self, name, spec, topics)
        dashboard = cloudwatch.Dashboard(
            f"{name}-dashboard",
            # A dashboard must be named and the account has one name space; an alarm's physical name is unique already.
            dashboard_name=goodput.name.apply(lambda physical: physical.replace("-goodput", "", 1)),
            dashboard_body=_json.dumps({"widgets": _widgets(spec, documents.region(self))}),
            opts=child,
        )

        self.dashboard_name = dashboard.dashboard_name
        self.topic_arn = topic
        self.register_outputs({"dashboard_name": self.dashboard_name, "topic_arn": self.topic_arn})


def _check_labels(checks: Checks[Any], args: ObservabilityArgs) -> None:
    if not args.get("functions"):
        checks.add(
            code="KW102",
            key="functions",
            got="no function",
            allowed="at least one",
            because="there is nothing to watch",
            fix="name one",
        )
    for group in ("functions", "queues", "parked_queues", "services", "tasks"):
        labels: Mapping[str, Any] = args.get(group) or {}  # type: ignore[assignment]
        for label in labels:
            checks.text(
                f"{group}.{label}",
                label,
                LABEL,
                code="KW101",
                allowed="letters, digits, dash and underscore",
                because="it becomes part of a metric's id",
                fix="rename the label",
            )


def _budgets(checks: Checks[Any], budgets: Mapping[str, Any]) -> dict[str, pulumi.Input[int]]:
    allowed = ", ".join([*PHASES, TOTAL])
    for phase in budgets:
        if phase not in PHASES and phase != TOTAL:
            checks.add(
                code="KW149",
                key=f"budgets_ms.{phase}",
                got="an unknown phase",
                allowed=allowed,
                because="functions measure these phases and no others",
                fix="use one of them",
            )
    if budgets and set(budgets) == {"scheduling"}:
        checks.add(
            code="KW149",
            key="budgets_ms",
            got="a budget for scheduling alone",
            allowed=f"budgets for more of {allowed}",
            because="a cold start is every phase up to readiness, and scheduling is the smallest of them",
            fix="budget total, or the phases of the model",
        )
    return {
        phase: checks.number(
            phase,
            None,
            1,
            900_000,
            code="KW149",
            unit="ms",
            because="an init phase takes at least a millisecond and at most fifteen minutes",
            args=budgets,
            at="budgets_ms",
        )
        for phase in budgets
    }


def _rates(checks: Checks[Any], rates: CostRates | None) -> CostRates | None:
    """Prices and sizes as numbers, of which the cost widget makes an expression."""
    if rates is None:
        return None

    def price(key: str) -> Any:
        return checks.number(
            key,
            None,
            0,
            1e6,
            code="KW146",
            unit="USD",
            because="it is a price",
            whole=False,
            args=rates,
            at="costs",
        )

    return {
        "usd_per_gb_s": price("usd_per_gb_s"),
        "usd_per_million_requests": price("usd_per_million_requests"),
        "memory_mb": {
            label: checks.number(
                label,
                None,
                1,
                limits.LAMBDA_MANAGED_INSTANCES_MEMORY_MAX_MB,
                code="KW146",
                unit="MB",
                because="it is the memory of a function",
                args=rates["memory_mb"],
                at="costs.memory_mb",
            )
            for label in rates["memory_mb"]
        },
    }


def metric_name(phase: str) -> str:
    """Metric that `keepwarm_runtime` emits for a phase; ``total`` is the whole init phase."""
    return "init_ms" if phase == TOTAL else f"phase_{phase}_ms"


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


def _alarms(
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


def _widgets(spec: ObservabilitySpec, region: pulumi.Output[str]) -> list[dict[str, Any]]:
    namespace = spec.namespace
    functions = spec.functions
    widgets: list[dict[str, Any]] = []

    def graph(title: str, metrics: list[Any], *, stat: str, stacked: bool = False, lines: Any = None) -> None:
        place = len(widgets)
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
        widgets.append(
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
    return widgets


def _cost(index: int, values: list[float]) -> str:
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
            partial(_cost, index)
        )
        rows.append([{"expression": cost, "label": label, "id": f"c{index}"}])
    return rows
