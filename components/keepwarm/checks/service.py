"""Checks on a GPU service's server: its image and variables, how it scales, starts and drains."""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, cast

import pulumi

from keepwarm import limits
from keepwarm._values import known, plain
from keepwarm.checks.function_network import check_path
from keepwarm.checks.inputs import Checks
from keepwarm.checks.model_fit import MB_MAX, MODEL_REF
from keepwarm.checks.problems import Problem, show
from keepwarm.checks.secrets import suspicion
from keepwarm.iam.bindings import ModelBinding

PORT = 8080
MAX_TASKS = 1
MAX_BATCH = 4
SIGNAL_PERIOD_S = 60
DRAIN_S = 60
START_S = 300
LOG_RETENTION_DAYS = 30
IMAGE = r"(?:file:///.+|[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9._/-]+)?@sha256:[0-9a-f]{64})"
OWN_VARIABLES = {
    "KEEPWARM_BATCH_MAX": "max_batch",
    "KEEPWARM_DRAIN_S": "drain_s",
    "KEEPWARM_QUEUE_MAX": "max_tasks and concurrency_per_task",
    "PORT": "port",
}
"""Variables that the component sets, and the input each follows."""


class Capacity(StrEnum):
    """What the tasks run on."""

    ASG = "asg"
    MANAGED = "managed"
    FARGATE = "fargate"


class Scaling(NamedTuple):
    """How many tasks there are, and when."""

    min_tasks: int
    max_tasks: int
    concurrency_per_task: int
    backlog_per_task: int
    idle_minutes: int
    signal_period_s: int


def image(checks: Checks[Any]) -> pulumi.Input[str]:
    """The image, pinned by digest."""
    pinned: pulumi.Input[str] = checks.text(
        "image",
        checks.args.get("image", ""),
        IMAGE,
        code="KW142",
        allowed="'<registry>/<repository>@sha256:<64 hex>', or 'file:///...' on the embedded cloud",
        because="a tag can point to another image tomorrow",
        fix="use the digest the build printed",
    )
    return pinned


def port(checks: Checks[Any]) -> pulumi.Input[int]:
    """Port the server listens on."""
    number: pulumi.Input[int] = checks.number(
        "port",
        PORT,
        1024,
        65_535,
        code="KW101",
        unit="",
        because="the server is not root and can't open a lower port",
    )
    return number


def batch(checks: Checks[Any]) -> pulumi.Input[int]:
    """Most requests in one run of the model."""
    most: pulumi.Input[int] = checks.number(
        "max_batch",
        MAX_BATCH,
        1,
        limits.SERVER_BATCH_MAX,
        code="KW150",
        unit="requests",
        because="the server puts no more into one run of the model",
    )
    return most


def scaling(checks: Checks[Any]) -> Scaling:
    """Bounds and signals of the service's scaling."""

    def whole(key: str, default: int, low: int, high: int, code: str, unit: str, because: str) -> int:
        return cast(int, checks.number(key, default, low, high, code=code, unit=unit, because=because))

    tasks = limits.ECS_TASKS_PER_SERVICE_MAX
    spec = Scaling(
        min_tasks=whole("min_tasks", 0, 0, tasks, "KW127", "tasks", "an ECS service runs no more"),
        max_tasks=whole("max_tasks", MAX_TASKS, 1, tasks, "KW127", "tasks", "an ECS service runs no more"),
        concurrency_per_task=whole("concurrency_per_task", 1, 1, 1000, "KW150", "requests", "it is a count"),
        backlog_per_task=whole(
            "backlog_per_task",
            limits.SERVICE_BACKLOG_PER_TASK,
            1,
            1_000_000,
            "KW146",
            "requests",
            "it is a count",
        ),
        idle_minutes=whole(
            "idle_minutes",
            limits.SERVICE_IDLE_MINUTES,
            1,
            1440,
            "KW146",
            "minutes",
            "an alarm looks back a day",
        ),
        signal_period_s=whole(
            "signal_period_s", SIGNAL_PERIOD_S, 60, 3600, "KW146", "seconds", "callers report once a minute"
        ),
    )
    if spec.signal_period_s % 60:
        checks.add(
            code="KW146",
            key="signal_period_s",
            got=show(spec.signal_period_s),
            allowed="a multiple of 60 seconds",
            because="the metrics that the alarms compare come once a minute",
            fix="take the next of them",
        )
    if spec.min_tasks > spec.max_tasks:
        checks.add(
            code="KW127",
            key="max_tasks",
            got=show(spec.max_tasks),
            allowed=f"at least min_tasks, {spec.min_tasks}",
            because="an upper bound lies above the lower",
            fix="raise max_tasks",
        )
    _check_permits(checks, spec)
    return spec


def _check_permits(checks: Checks[Any], spec: Scaling) -> None:
    permits = limits.service_permits(spec.max_tasks, spec.concurrency_per_task)
    most = limits.ADMISSION_PERMITS_MAX
    if permits > most:
        checks.add(
            code="KW150",
            key="max_tasks",
            got=f"{spec.max_tasks} x concurrency_per_task {spec.concurrency_per_task} = {permits} requests at a time",
            allowed=f"up to {most}",
            because="one pool of permits holds no more: a caller looks for a free one with one read",
            fix=f"lower max_tasks x concurrency_per_task to {most} or less, or split the service",
        )


def duty_cycle(checks: Checks[Any]) -> float | None:
    """Expected share of time in which there is work."""
    share: float | None = checks.number(
        "duty_cycle", None, 0, 1, code="KW146", unit="", because="it is a share of time", whole=False
    )
    return share


def drain(checks: Checks[Any], capacity: Capacity, *, spot: bool) -> pulumi.Input[int]:
    """Time from SIGTERM to SIGKILL, of which the server keeps a margin; two minutes on Fargate and spot capacity."""
    short = capacity is Capacity.FARGATE or spot
    because = "the server plans with no more"
    if short:
        because = (
            "Fargate kills a stopping task then"
            if capacity is Capacity.FARGATE
            else "spot capacity is gone then"
        )
    seconds: pulumi.Input[int] = checks.number(
        "drain_s",
        DRAIN_S,
        2,
        limits.ECS_FARGATE_STOP_MAX_S if short else limits.SERVER_DRAIN_MAX_S,
        code="KW152",
        unit="seconds",
        because=because,
    )
    return seconds


def start(checks: Checks[Any]) -> pulumi.Input[int]:
    """Time a starting task gets to be ready."""
    seconds: pulumi.Input[int] = checks.number(
        "start_s",
        START_S,
        0,
        limits.ECS_HEALTH_START_MAX_S,
        code="KW152",
        unit="seconds",
        because="ECS forgives failing health checks no longer",
    )
    return seconds


def check_network(checks: Checks[Any], args: Mapping[str, Any]) -> None:
    """Refuse half a network; warn about one from which AWS may not be reached."""
    if ("vpc_id" in args) != ("subnet_ids" in args):
        checks.add(
            code="KW102",
            key="vpc_id/subnet_ids",
            got="one of them",
            allowed="both or none",
            because="subnets belong to their VPC",
            fix="set both, or leave both out to use the default VPC",
        )
    image = plain(args.get("image", ""))
    if image is None or not str(image).startswith("file:"):
        check_path(checks, args)
    subnets = args.get("subnet_ids", [])
    if len({s if known(s) else i for i, s in enumerate(subnets)}) == 1:
        checks.add(
            code="KW138",
            key="subnet_ids",
            got="1 subnet",
            allowed="two or more, in two availability zones",
            because="GPU capacity is often out in one zone, and one zone's outage would stop the service",
            fix="add a subnet of another zone",
        )


def check_environment(checks: Checks[Any], variables: Mapping[str, pulumi.Input[str]]) -> None:
    """Refuse secrets in plain text, and variables that follow another input."""
    for key, value in variables.items():
        if key in OWN_VARIABLES:
            checks.add(
                code="KW102",
                key=f"environment.{key}",
                got="a value",
                allowed="none",
                because=f"it follows {OWN_VARIABLES[key]}",
                fix=f"set {OWN_VARIABLES[key]} instead",
            )
        checks.holds(partial(_plaintext, key), value)


def _plaintext(key: str, value: Any) -> Problem | None:
    reason = suspicion(key, value) if isinstance(value, str) else None
    if reason is None:
        return None
    return Problem(
        code="KW135",
        key=f"environment.{key}",
        got=f"{len(value)} characters that are not shown",
        allowed="settings and references",
        because=f"{reason}, and everyone who may describe the task could read it",
        fix="put it into Secrets Manager and name its ARN in secrets",
    )


def secrets(checks: Checks[Any], given: Mapping[str, pulumi.Input[str]]) -> dict[str, pulumi.Input[str]]:
    """Variables that ECS reads from Secrets Manager."""
    return {
        key: checks.text(
            f"secrets.{key}",
            arn,
            r"arn:aws[a-z-]*:secretsmanager:.+",
            code="KW140",
            allowed="the ARN of a secret",
            because="ECS reads the value itself; it never passes through the stack",
            fix="pass the ARN of the secret",
        )
        for key, arn in given.items()
    }


def model(checks: Checks[Any], given: ModelBinding | None) -> ModelBinding | None:
    """The model the server loads."""
    if given is None:
        return None
    ref = checks.text(
        "model.ref",
        given["ref"],
        MODEL_REF,
        code="KW133",
        allowed="'name@sha256:<64 hex>' or 'name:channel'",
        because="a reference must pin a manifest, itself or through a channel",
        fix="copy the reference that 'keepwarm model list' prints",
    )
    checked: ModelBinding = {**given, "ref": ref}
    size_mb = checks.number(
        "size_mb",
        None,
        0,
        MB_MAX,
        code="KW101",
        unit="MB",
        because="it is a size",
        whole=False,
        args=given,
        at="model",
    )
    if size_mb is not None:
        checked["size_mb"] = size_mb
    return checked
