"""A workflow whose progress outlives every function: a Step Functions state machine from a template."""

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, Self, TypedDict

import pulumi
from pulumi_aws import cloudwatch, iam, sfn

from keepwarm import _planned, limits
from keepwarm._values import concat, derive, plain
from keepwarm.checks import asl, wake
from keepwarm.checks.grants import check_grants
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where, show
from keepwarm.errors import InvalidArgs
from keepwarm.iam import documents, grants
from keepwarm.iam.bindings import QueueBinding, ServiceBinding, WorkflowBinding
from keepwarm.iam.grants import Statement

DEADLINE_S = 900
STEP_TIMEOUT_S = 120
END_S = 60
"""Time the machine keeps after the deadline and the last attempt, to park what came too late in up to five tries."""
BUSY_WAIT_S = 30
"""Least pause between two rounds of retries of a step that nobody took (Lambda's throttling names no time)."""
HISTORY_EVENTS = 20_000
"""Events that a whole deadline of such rounds may add to an execution's history, which ends at 25,000."""
RETRY_ATTEMPTS = 6
RETRY_INTERVAL_S = 2
RETRY_MAX_DELAY_S = 30
LOG_RETENTION_DAYS = 30
DOCUMENT_WORKFLOW = Path(__file__).parent / "templates" / "document_workflow.asl.json.j2"
ALIAS_ARN = r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]+:[A-Za-z0-9_-]+"


class WorkflowKind(StrEnum):
    """Which kind of state machine runs the workflow."""

    STANDARD = "standard"
    EXPRESS = "express"


class WorkflowLog(StrEnum):
    """What the state machine logs; never the data of an execution."""

    ALL = "all"
    ERROR = "error"


class StackWorkflowArgs(TypedDict):
    """Inputs of a DurableWorkflow beside the functions of its steps, which a ServerlessRuntime fills in."""

    template: NotRequired[str]
    """Amazon States Language as a jinja2 template with the values `functions`, `step_timeouts_s`, `deadline_s`,
    `execution_s` (the deadline and the time to park after it), `retry_attempts`, `retry_interval_s`,
    `retry_max_delay_s`, `busy_wait_s`, `dead_letter_url`, `partition` and `parameters`. Default: the document workflow
    (extract, ocr, enrich, publish). It waits for capacity until the deadline: at the time that the `ocr` step names, or
    every `busy_wait_s` for a step that fails as overloaded. What fails for good, or too late, is parked."""
    parameters: NotRequired[dict[str, pulumi.Input[str]]]
    """Further values of the template. Default: none."""
    dead_letters: NotRequired[QueueBinding]
    """Queue whose dead-letter queue takes the work that fails for good. Default: executions just fail."""
    grants: NotRequired[list[Statement]]
    """What the machine's role may do beside invoking the functions and parking. Default: nothing."""
    kind: NotRequired[WorkflowKind]
    """Standard machines keep every step for a year; express ones run for five minutes at most. Default: standard."""
    service: NotRequired[ServiceBinding]
    """Model service that a step calls: when it sleeps, the deadline must outlast its wake-up and every step once.
    Default: not checked."""
    deadline_s: NotRequired[pulumi.Input[int]]
    """Time a document gets from start to authoritative result, in seconds. The machine itself ends later by the longest
    step and a minute, in which what came too late is parked. Default: 900; express: 300, all included."""
    step_timeouts_s: NotRequired[dict[str, pulumi.Input[int]]]
    """Longest attempt of each step in seconds, by the step's name. Default: 120 each."""
    retry_attempts: NotRequired[pulumi.Input[int]]
    """Retries of an overloaded or throttled step in a row, before the workflow pauses and begins anew. Default: 6."""
    retry_interval_s: NotRequired[pulumi.Input[int]]
    """Wait before the first retry in seconds, doubled each time, with full jitter. Default: 2."""
    retry_max_delay_s: NotRequired[pulumi.Input[int]]
    """Longest wait between two attempts in seconds. Default: 30."""
    log: NotRequired[WorkflowLog]
    """Which events are logged; execution data never is. Default: all."""
    log_retention_days: NotRequired[pulumi.Input[int]]
    """Days the logs are kept. Default: 30."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of definition, history and logs. Default: keys owned by AWS."""


class DurableWorkflowArgs(StackWorkflowArgs):
    """Inputs of a DurableWorkflow."""

    functions: dict[str, pulumi.Input[str]]
    """ARN of the alias that does each step, by the step's name in the template; never an unqualified ARN."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DurableWorkflowSpec:
    """Inputs of a DurableWorkflow after their check: all that its resources are built from."""

    where: Where
    kind: WorkflowKind
    template: str
    functions: dict[str, pulumi.Input[str]]
    step_timeouts_s: dict[str, pulumi.Input[int]]
    numbers: dict[str, pulumi.Input[int]]
    """Numbers of the template by their names in it: deadline, end of the execution, retries, pause."""
    dead_letters: QueueBinding | None
    parameters: dict[str, pulumi.Input[str]]
    grants: list[Statement]
    log: WorkflowLog
    log_retention_days: pulumi.Input[int]
    kms_key_arn: pulumi.Input[str] | None

    @property
    def express(self) -> bool:
        """Whether executions end after five minutes and keep no history."""
        return self.kind is WorkflowKind.EXPRESS

    @property
    def values(self) -> dict[str, Any]:
        """What the template is rendered with, beside the partition."""
        return {
            **self.numbers,
            "functions": self.functions,
            "step_timeouts_s": self.step_timeouts_s,
            "dead_letter_url": self.dead_letters["parked_url"] if self.dead_letters else "",
            "parameters": self.parameters,
        }

    @classmethod
    def of(
        cls,
        name: str,
        args: DurableWorkflowArgs,
        *,
        where: Where | None = None,
        report: Report | None = None,
    ) -> Self:
        """Check the inputs, and the definition that the template makes of them; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks("DurableWorkflow", name, args, DurableWorkflowArgs, where=where, report=report)
        args = checks.args
        kind = checks.choice("kind", WorkflowKind.STANDARD)
        functions = args.get("functions", {})
        _check_steps(checks, functions, args.get("step_timeouts_s", {}))
        timeouts = _step_timeouts(checks, functions, args.get("step_timeouts_s", {}))
        child_name(checks, name, "machine", limits.SFN_NAME_MAX_CHARS)
        spec = cls(
            where=checks.where,
            kind=kind,
            template=args.get("template") or DOCUMENT_WORKFLOW.read_text(),
            functions={step: _alias(checks, step, arn) for step, arn in functions.items()},
            step_timeouts_s=timeouts,
            numbers=_numbers(checks, kind, args.get("service"), timeouts),
            dead_letters=args.get("dead_letters"),
            parameters=dict(args.get("parameters", {})),
            grants=check_grants(checks, "grants", args.get("grants", [])),
            log=checks.choice("log", WorkflowLog.ALL),
            log_retention_days=checks.retention("log_retention_days", LOG_RETENTION_DAYS),
            kms_key_arn=args.get("kms_key_arn"),
        )
        if not checks.refused:
            checks.gather(lambda: _preview(checks.owner, spec))
        checks.done()
        return spec

    def planned(self, name: str) -> WorkflowBinding:
        """Binding of the workflow that this would make, with stand-ins for what AWS names."""
        return self.binding(_planned.arn("states", f"stateMachine:{_planned.physical(name, 'machine')}"))

    def binding(self, arn: pulumi.Input[str]) -> WorkflowBinding:
        """What a function needs to start this workflow."""
        binding: WorkflowBinding = {"arn": arn, "deadline_s": self.numbers["deadline_s"]}
        if self.kms_key_arn is not None:
            binding["kms_key_arn"] = self.kms_key_arn
        return binding


class DurableWorkflow(pulumi.ComponentResource):
    """Runs steps as checkpointed states, so that no function has to live as long as the work."""

    arn: pulumi.Output[str]
    """ARN of the state machine."""
    machine_name: pulumi.Output[str]
    """Name of the state machine, for metrics."""
    role_arn: pulumi.Output[str]
    """ARN of the role the machine runs with."""
    log_group: pulumi.Output[str]
    """Name of its log group."""

    def __init__(
        self, name: str, args: DurableWorkflowArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = DurableWorkflowSpec.of(name, args)
        super().__init__("keepwarm:index:DurableWorkflow", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        kms = spec.kms_key_arn

        logs = cloudwatch.LogGroup(
            f"{name}-logs",
            # Step Functions writes to groups of this prefix without growing the account's one log resource policy:
            # https://docs.aws.amazon.com/step-functions/latest/dg/bp-cwl.html
            name_prefix=f"/aws/vendedlogs/states/{name}-",
            retention_in_days=spec.log_retention_days,
            kms_key_id=kms,
            opts=child,
        )
        role = iam.Role(
            f"{name}-role",
            assume_role_policy=documents.trust("states.amazonaws.com", documents.account(self)),
            opts=child,
        )
        values = {**spec.values, "partition": documents.partition(self)}
        definition = pulumi.Output.all(**values).apply(
            lambda resolved: render(spec.where.of(""), spec.template, resolved, express=spec.express)
        )
        granted: list[Any] = [_log_delivery(), _tracing(), *spec.grants]
        if spec.dead_letters is not None:
            granted.append(grants.send_messages(spec.dead_letters["parked_arn"]))
            if "kms_key_arn" in spec.dead_letters:
                granted.append(grants.encrypt(spec.dead_letters["kms_key_arn"]))
        if kms is not None:
            granted.append(grants.encrypt(kms))
        policy = iam.RolePolicy(
            f"{name}-policy",
            role=role.name,
            policy=pulumi.Output.all(definition, documents.document(granted)).apply(_role_policy),
            opts=child,
        )
        machine = sfn.StateMachine(
            f"{name}-machine",
            type=spec.kind.value.upper(),
            definition=definition,
            role_arn=role.arn,
            logging_configuration={
                "level": spec.log.value.upper(),
                "include_execution_data": False,
                "log_destination": concat(logs.arn, ":*"),
            },
            tracing_configuration={"enabled": True},
            encryption_configuration={"type": "CUSTOMER_MANAGED_KMS_KEY", "kms_key_id": kms}
            if kms is not None
            else None,
            # AWS proves at creation that the role may write to the log group.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )

        self.arn = machine.arn
        self._spec = spec
        self.machine_name = machine.name
        self.role_arn = role.arn
        self.log_group = logs.name
        self.register_outputs(
            {
                "arn": self.arn,
                "machine_name": self.machine_name,
                "role_arn": self.role_arn,
                "log_group": self.log_group,
            }
        )

    def binding(self) -> WorkflowBinding:
        """What a function needs to start this workflow."""
        return self._spec.binding(self.arn)

    def result_grants(self) -> list[Statement]:
        """What a caller needs to ask for the result of an execution, as after an ambiguous timeout."""
        return [grants.read_workflow(self.arn)]


def render(owner: str, template: str, values: dict[str, Any], *, express: bool) -> str:
    """The definition's text, checked as AWS checks it.

    Raises:
        InvalidArgs: the template does not render (KW153), or AWS would refuse the result (KW123, KW128-KW130, KW139).
    """
    import jinja2

    try:
        text: str = _compiled(template).render(**values)
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as fault:
        line = getattr(fault, "lineno", None)
        where = "template" if line is None else f"template line {line}"
        raise InvalidArgs(
            f"KW153 {owner} {where}: got {show(str(fault))}; allowed values {', '.join(sorted(values))}; "
            "because the definition is made from it; fix: correct the template or pass the value"
        ) from None
    definition, findings = asl.parse(text)
    if definition is not None:
        findings = asl.check(definition, express=express)
    if findings:
        lines = [
            f"{f.code} {owner} {f.where}: got {f.got}; allowed {f.allowed}; because {f.because}; fix: {f.fix}"
            for f in findings
        ]
        raise InvalidArgs("\n".join(lines))
    return text


@cache
def _compiled(template: str) -> Any:
    """The template as code: to compile it costs more than everything else of a workflow."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - JSON, not HTML
    environment.filters["tojson"] = _to_json
    return environment.from_string(template)


def _to_json(value: Any) -> str:
    """A value as JSON. jinja2's own filter escapes for HTML and fails without a name on what is undefined."""
    import jinja2

    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises the error that names it
    return json.dumps(value)


def _role_policy(values: list[str]) -> str:
    """The machine's policy: invoke the functions its definition names, and the rest of its grants."""
    definition, rest = values
    document = json.loads(rest)
    invoked = function_arns(definition)
    if invoked:
        invoke = {"Effect": "Allow", "Action": ["lambda:InvokeFunction"], "Resource": invoked}
        document["Statement"].insert(0, invoke)
    return json.dumps(document)


def function_arns(definition: str) -> list[str]:
    """ARNs of the functions a definition invokes, sorted: what its role may invoke, and nothing else."""
    parsed, _ = asl.parse(definition)
    found: set[str] = set()
    for _, state in asl.walk(parsed or {}):
        resource = str(state.get("Resource", ""))
        target = resource if ":lambda:" in resource and ":states:::" not in resource else ""
        if ":states:::lambda:invoke" in resource:
            target = str((state.get("Parameters") or state.get("Arguments") or {}).get("FunctionName", ""))
        if target:
            found.add(target)
    return sorted(found)


def execution_s(deadline_s: float, *step_timeouts_s: float) -> int:
    """Seconds after which the machine ends: the deadline, an attempt that began before it, and the parking."""
    return int(deadline_s) + int(max(step_timeouts_s, default=0)) + END_S


def busy_wait_s(deadline_s: float, retry_attempts: float) -> int:
    """Seconds between two rounds of retries, so that a whole deadline of them stays within the history of an execution.

    One round is `retry_attempts` + 1 attempts of three events each, and six of the task's, the choice's and the wait's
    states (https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html).
    """
    events = 3 * (retry_attempts + 1) + 6
    return min(limits.SFN_TIMEOUT_MAX_S, max(BUSY_WAIT_S, math.ceil(deadline_s * events / HISTORY_EVENTS)))


def _numbers(
    checks: Checks[Any],
    kind: WorkflowKind,
    service: ServiceBinding | None,
    timeouts: dict[str, pulumi.Input[int]],
) -> dict[str, pulumi.Input[int]]:
    """The deadline, and every number that follows from it."""
    express = kind is WorkflowKind.EXPRESS
    longest = limits.SFN_EXPRESS_MAX_S if express else limits.SFN_STANDARD_MAX_S
    deadline = checks.number(
        "deadline_s",
        min(DEADLINE_S, longest),
        1,
        longest,
        code="KW129",
        unit="seconds",
        because=f"a {kind.value} execution ends there",
    )
    if service is not None:
        deadline = wake.outlasts(checks, deadline, service.get("wake_s", 0), list(timeouts.values()))
    retries = _retries(checks)
    return {
        "deadline_s": deadline,
        "execution_s": deadline if express else _when_sound(execution_s, deadline, *timeouts.values()),
        **retries,
        "busy_wait_s": _when_sound(busy_wait_s, deadline, retries["retry_attempts"]),
    }


def _when_sound(compute: Any, *numbers: Any) -> Any:
    """Derive a number from numbers, leaving alone what another check has refused already."""

    def sound(*values: Any) -> Any:
        if any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in values):
            return None
        return compute(*values)

    return derive(sound, *numbers)


def _check_steps(checks: Checks[Any], functions: dict[str, Any], timeouts: dict[str, Any]) -> None:
    for step in timeouts:
        if step not in functions:
            checks.add(
                code="KW100",
                key=f"step_timeouts_s.{step}",
                got="an unknown step",
                allowed=f"one of {', '.join(sorted(functions))}",
                because="a timeout belongs to a step",
                fix="remove it, or name the step in functions",
            )


def _alias(checks: Checks[Any], step: str, arn: pulumi.Input[str]) -> pulumi.Input[str]:
    checked: pulumi.Input[str] = checks.text(
        f"functions.{step}",
        arn,
        ALIAS_ARN,
        code="KW140",
        allowed="the ARN of a Lambda alias or version",
        because="an unqualified ARN runs unpublished code and misses the warm pool",
        fix="pass the arn output of a RuntimeFunction",
    )
    return checked


def _step_timeouts(
    checks: Checks[Any], functions: dict[str, Any], timeouts: dict[str, Any]
) -> dict[str, Any]:
    return {
        step: checks.number(
            step,
            STEP_TIMEOUT_S,
            1,
            limits.SFN_STANDARD_MAX_S,
            code="KW123",
            unit="seconds",
            because="a lost answer must be given up",
            args=timeouts,
            at="step_timeouts_s",
        )
        for step in functions
    }


def _retries(checks: Checks[Any]) -> dict[str, Any]:
    return {
        "retry_attempts": checks.number(
            "retry_attempts",
            RETRY_ATTEMPTS,
            0,
            99_999_999,
            code="KW123",
            unit="retries",
            because="AWS takes no other count",
        ),
        "retry_interval_s": checks.number(
            "retry_interval_s",
            RETRY_INTERVAL_S,
            1,
            99_999_999,
            code="KW123",
            unit="seconds",
            because="AWS takes no other wait",
        ),
        "retry_max_delay_s": checks.number(
            "retry_max_delay_s",
            RETRY_MAX_DELAY_S,
            1,
            31_622_399,
            code="KW123",
            unit="seconds",
            because="AWS takes no other wait",
        ),
    }


def _preview(owner: str, spec: DurableWorkflowSpec) -> None:
    """Render with stand-ins for what is still unknown, so that a bad template fails before anything exists."""
    values = spec.values
    stand_ins = {
        key: plain(value) if plain(value) is not None else fallback
        for key, value, fallback in (
            ("deadline_s", values["deadline_s"], DEADLINE_S),
            ("execution_s", values["execution_s"], DEADLINE_S + STEP_TIMEOUT_S + END_S),
            ("busy_wait_s", values["busy_wait_s"], BUSY_WAIT_S),
            ("retry_attempts", values["retry_attempts"], RETRY_ATTEMPTS),
            ("retry_interval_s", values["retry_interval_s"], RETRY_INTERVAL_S),
            ("retry_max_delay_s", values["retry_max_delay_s"], RETRY_MAX_DELAY_S),
            ("dead_letter_url", values["dead_letter_url"], "https://queue.invalid/parked"),
        )
    }
    render(
        owner,
        spec.template,
        {
            **stand_ins,
            "partition": "aws",
            "functions": {
                step: plain(arn) or _planned.arn("lambda", f"function:{step}:live")
                for step, arn in values["functions"].items()
            },
            "step_timeouts_s": {
                step: plain(value) or STEP_TIMEOUT_S for step, value in values["step_timeouts_s"].items()
            },
            "parameters": {key: plain(value) or "unknown" for key, value in values["parameters"].items()},
        },
        express=spec.express,
    )


def _log_delivery() -> Statement:
    """Log delivery takes no resource: https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html"""
    return {
        "actions": [
            "logs:CreateLogDelivery",
            "logs:GetLogDelivery",
            "logs:UpdateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
        ],
        "resources": ["*"],
    }


def _tracing() -> Statement:
    """X-Ray takes no resource: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html"""
    return {
        "actions": [
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        ],
        "resources": ["*"],
    }
