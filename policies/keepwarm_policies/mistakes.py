"""The six common mistakes of serverless AI runtimes, each as a rule over the whole stack.

Source: ARuntime.com, "Serverless AI Runtime Patterns", section "Common mistakes". A rule reads what is declared
(inputs, references), so it speaks at preview; it judges no code. Exemptions name a URN and the reason.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyResource,
    ReportViolation,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)

from keepwarm_policies import graph
from keepwarm_policies.graph import UNKNOWN

GIB = 1024**3
LOADING_PHASES = ("fetch", "verify", "load")
"""Phases that only a function with a model has, and that scheduling says nothing about (contract C1)."""
BURST_DOWNLOAD_GIB = 50.0
LONGEST_S = 300.0
BUSY_DUTY_CYCLE = 0.4

Violation = tuple[PolicyResource, str]
Rule = Callable[[StackValidationArgs, Mapping[str, Any]], Iterator[Violation]]


def _policy(
    code: str,
    name: str,
    description: str,
    rule: Rule,
    *,
    severity: Severity,
    remediation_steps: str,
    properties: dict[str, Any] | None = None,
) -> StackValidationPolicy:
    """A mandatory stack policy around a rule that yields violations, with exemptions by URN and reason."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        config = args.get_config()
        for resource, sentence in rule(args, config):
            if not graph.exempt(config, resource.urn):
                report(f"{code} {sentence}", resource.urn)

    return StackValidationPolicy(
        name=name,
        description=description,
        enforcement_level=EnforcementLevel.MANDATORY,
        severity=severity,
        remediation_steps=remediation_steps,
        config_schema=PolicyConfigSchema(
            properties={**(properties or {}), "exemptions": graph.EXEMPTIONS_SCHEMA}
        ),
        validate=validate,
    )


def _phases_watched(args: StackValidationArgs) -> set[str]:
    """Phases that an alarm of the stack watches, by dimension or by metric name."""
    found: set[str] = set()
    for alarm in graph.of_type(args, graph.ALARM):
        sources = [alarm.props]
        queries = graph.value(alarm.props, "metricQueries", default=[])
        if isinstance(queries, Sequence):
            sources += [graph.value(q, "metric", default={}) for q in queries]
        for source in sources:
            if not isinstance(source, Mapping):
                continue
            phase = graph.value(source, "dimensions", "Phase")
            name = graph.value(source, "metricName", default="")
            found |= {
                p for p in LOADING_PHASES if phase == p or (isinstance(name, str) and p in name.lower())
            }
    return found


def _budget_covers_every_phase(args: StackValidationArgs, config: Mapping[str, Any]) -> Iterator[Violation]:
    watched = _phases_watched(args)
    missing = [p for p in LOADING_PHASES if p not in watched]
    if not missing:
        return
    for function in graph.of_type(args, graph.FUNCTION):
        if graph.has_variable(function, "KEEPWARM_MODEL_REF"):
            got = ", ".join(sorted(watched)) or "none"
            yield (
                function,
                f"The function '{function.name}' must have its model's cold-start phases watched, got alarms for"
                f" {got} and none for {', '.join(missing)}.",
            )


def _concurrency_bound(args: StackValidationArgs, function: PolicyResource) -> float | None:
    """Most environments that can start at once; None when nothing bounds them."""
    reserved = graph.number(function.props, "reservedConcurrentExecutions")
    if reserved is not None and reserved >= 0:
        return reserved
    sources = graph.event_sources_of(args, function)
    limits = [graph.number(s.props, "scalingConfig", "maximumConcurrency") for s in sources]
    if not limits or any(limit is None for limit in limits):
        return None
    return sum(limit for limit in limits if limit is not None)


def _no_download_storm(args: StackValidationArgs, config: Mapping[str, Any]) -> Iterator[Violation]:
    most_gib = float(config.get("burstDownloadGiB", BURST_DOWNLOAD_GIB))
    for function in graph.of_type(args, graph.FUNCTION):
        if not graph.has_variable(function, "KEEPWARM_MODEL_REF"):
            continue
        bound = _concurrency_bound(args, function)
        if bound is None:
            yield (
                function,
                f"The function '{function.name}' must bound how many environments download its model at once, got"
                " neither reserved concurrency nor a maximum concurrency on its event source.",
            )
            continue
        size = graph.number(graph.variables(function), "KEEPWARM_MODEL_BYTES", default=0.0) or 0.0
        total_gib = bound * size / GIB
        if total_gib > most_gib:
            yield (
                function,
                f"The function '{function.name}' must download at most {most_gib:g} GiB in a burst, got"
                f" {bound:g} environments x {size / GIB:.2f} GiB = {total_gib:.1f} GiB.",
            )


def _downstream_admits(args: StackValidationArgs, config: Mapping[str, Any]) -> Iterator[Violation]:
    for function in graph.of_type(args, graph.FUNCTION):
        if not graph.has_variable(function, "KEEPWARM_SERVICE_NAME"):
            continue
        if not graph.has_variable(function, "KEEPWARM_ADMISSION_TABLE"):
            yield (
                function,
                f"The function '{function.name}' must take a permit before it calls the GPU service, got no admission"
                " table.",
            )
            continue
        permits = graph.value(graph.variables(function), "KEEPWARM_ADMISSION_PERMITS", default="")
        if permits is not UNKNOWN and (not str(permits).isdigit() or int(permits) < 1):
            yield (
                function,
                # Not quoted: a program may have marked it secret, and the engine prints what a rule says.
                f"The function '{function.name}' must say how many permits the GPU service takes, got a value that is"
                " no whole number of at least 1.",
            )


def _long_tasks_are_durable(args: StackValidationArgs, config: Mapping[str, Any]) -> Iterator[Violation]:
    longest_s = float(config.get("longestSeconds", LONGEST_S))
    for function in graph.of_type(args, graph.FUNCTION):
        timeout_s = graph.number(function.props, "timeout", default=3.0) or 3.0
        durable = (
            graph.has_variable(function, "KEEPWARM_LEDGER_TABLE")
            or graph.has_variable(function, "KEEPWARM_WORKFLOW_ARN")
            or graph.value(function.props, "durableConfig") is not None
        )
        if timeout_s > longest_s and not durable:
            yield (
                function,
                f"The function '{function.name}' must keep durable state when it may run longer than {longest_s:g} s,"
                f" got a timeout of {timeout_s:g} s and neither workflow, ledger nor durable execution.",
            )


def _retried_writes_are_idempotent(
    args: StackValidationArgs, config: Mapping[str, Any]
) -> Iterator[Violation]:
    retried = {
        f.urn: f
        for s in graph.of_type(args, graph.EVENT_SOURCE)
        for f in graph.functions_of(s, "functionName")
    }
    for invoke in graph.of_type(args, graph.INVOKE_CONFIG):
        if graph.number(invoke.props, "maximumRetryAttempts", default=2.0) != 0:
            retried |= {f.urn: f for f in graph.functions_of(invoke, "functionName")}
    for function in retried.values():
        declared = graph.value(function.props, "tags", "keepwarm:side-effects")
        if graph.has_variable(function, "KEEPWARM_LEDGER_TABLE") or declared in {"none", "idempotent"}:
            continue
        # Not quoted: a program may have marked the tag secret.
        got = (
            "a declaration that is neither 'none' nor 'idempotent'"
            if declared
            else "side effects 'undeclared'"
        )
        yield (
            function,
            f"The function '{function.name}' is retried by its event source and must record its effects in a ledger or"
            f" declare that it has none, got no ledger table and {got}.",
        )


def _busy_models_stay(args: StackValidationArgs, config: Mapping[str, Any]) -> Iterator[Violation]:
    busy = float(config.get("busyDutyCycle", BUSY_DUTY_CYCLE))
    for target in graph.of_type(args, graph.SCALABLE_TARGET):
        if graph.number(target.props, "minCapacity", default=1.0) != 0:
            continue
        for service in graph.referred(target, "resourceId"):
            duty = graph.number(service.props, "tags", "keepwarm:duty-cycle")
            if service.resource_type == graph.SERVICE and duty is not None and duty >= busy:
                yield (
                    service,
                    f"The service '{service.name}' must keep at least one task at a duty cycle of {busy:g} or more, got"
                    f" a minimum of 0 at a duty cycle of {duty:g}.",
                )


cold_start_covers_every_phase = _policy(
    "KW201",
    "cold-start-covers-every-phase",
    "Scheduling delay is one phase of a cold start; download, verification and loading of the model often cost more.",
    _budget_covers_every_phase,
    severity=Severity.MEDIUM,
    remediation_steps="Give `Observability` a budget for fetch, verify and load, or alarm on these phases yourself.",
)
no_download_storm = _policy(
    "KW202",
    "no-download-storm",
    "Every environment of a burst that downloads the model on its own overwhelms storage and network together.",
    _no_download_storm,
    severity=Severity.HIGH,
    remediation_steps="Set `reserved_concurrency` or the queue's `max_concurrency`, or keep a warm pool or snapshot.",
    properties={"burstDownloadGiB": {"type": "number", "default": BURST_DOWNLOAD_GIB, "minimum": 0}},
)
gpu_service_admits = _policy(
    "KW203",
    "gpu-service-admits",
    "A serverless front end creates concurrency faster than one GPU service can serve it.",
    _downstream_admits,
    severity=Severity.CRITICAL,
    remediation_steps="Give the caller the `Admission` of the service, with permits for what it really takes.",
)
long_tasks_are_durable = _policy(
    "KW204",
    "long-tasks-are-durable",
    "An agent or job that lives in the memory of one process dies with it.",
    _long_tasks_are_durable,
    severity=Severity.HIGH,
    remediation_steps="Move the task into a `DurableWorkflow`, checkpoint through an `EffectLedger`, or shorten it.",
    properties={"longestSeconds": {"type": "number", "default": LONGEST_S, "minimum": 1}},
)
retried_writes_are_idempotent = _policy(
    "KW205",
    "retried-writes-are-idempotent",
    "Function platforms deliver more than once; a write without idempotency happens more than once.",
    _retried_writes_are_idempotent,
    severity=Severity.CRITICAL,
    remediation_steps="Pass an `EffectLedger`, or tag the function `keepwarm:side-effects` = `none` or `idempotent`.",
)
busy_models_stay = _policy(
    "KW206",
    "busy-models-stay",
    "Scale-to-zero of a model that is busy most of the time pays its start again and again and saves nothing.",
    _busy_models_stay,
    severity=Severity.MEDIUM,
    remediation_steps="Set the minimum of the service to at least one; `keepwarm plan breakeven` shows the crossing.",
    properties={"busyDutyCycle": {"type": "number", "default": BUSY_DUTY_CYCLE, "minimum": 0, "maximum": 1}},
)

RULES = [
    cold_start_covers_every_phase,
    no_download_storm,
    gpu_service_admits,
    long_tasks_are_durable,
    retried_writes_are_idempotent,
    busy_models_stay,
]
