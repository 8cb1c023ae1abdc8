"""Inputs of an Observability, and their check."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, Self, TypedDict

import pulumi

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where
from keepwarm.checks.tags import Tags, tags
from keepwarm.iam.bindings import ServiceTasks
from keepwarm.phases import PHASES

GOODPUT = 0.99
DUPLICATES_PER_HOUR = 100
PERIOD_S = 300
BUDGET_STATISTIC = "p99"
"""The percentile that settings state budgets at and the planner holds designs against: all three must mean the same."""
TOTAL = "total"
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
