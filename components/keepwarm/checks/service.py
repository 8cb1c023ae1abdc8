"""Checks on the inputs of a GPU service."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from keepwarm import _gpu_size, limits
from keepwarm._values import known, plain
from keepwarm.checks.function import Architecture
from keepwarm.checks.function_network import check_path
from keepwarm.checks.grants import check_grants
from keepwarm.checks.inputs import Checks
from keepwarm.checks.model_fit import MODEL_REF
from keepwarm.checks.problems import Problem, show
from keepwarm.checks.secrets import suspicion

PORT = 8080
INSTANCE_TYPES = ("g6.xlarge",)
CPU_UNITS = 1024
MEMORY_MB = 2048
MAX_TASKS = 1
SIGNAL_PERIOD_S = 60
DRAIN_S = 60
START_S = 300
ROOT_VOLUME_GB = 100
DEFAULT_LOG_RETENTION_DAYS = 30
IMAGE = r"(?:file:///.+|[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9._/-]+)?@sha256:[0-9a-f]{64})"


class Capacity(StrEnum):
    """What the tasks run on."""

    ASG = "asg"
    MANAGED = "managed"
    FARGATE = "fargate"


def checked(checks: Checks[Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """Every input of a GPU service after its check."""

    def whole(key: str, default: int | None, low: int, high: int, code: str, unit: str, because: str) -> Any:
        return checks.number(key, default, low, high, code=code, unit=unit, because=because)

    tasks = limits.ECS_TASKS_PER_SERVICE_MAX
    spec: dict[str, Any] = {
        "image": checks.text(
            "image",
            args.get("image", ""),
            IMAGE,
            code="KW142",
            allowed="'<registry>/<repository>@sha256:<64 hex>', or 'file:///...' on the embedded cloud",
            because="a tag can point to another image tomorrow",
            fix="use the digest the build printed",
        ),
        "port": whole(
            "port", PORT, 1024, 65_535, "KW101", "", "the server is not root and can't open a lower port"
        ),
        "gpus": whole("gpus", 1, 0, 16, "KW125", "GPUs", "no instance has more"),
        "capacity": checks.choice("capacity", Capacity.ASG),
        "instance_types": list(args.get("instance_types") or INSTANCE_TYPES),
        "min_tasks": whole("min_tasks", 0, 0, tasks, "KW127", "tasks", "an ECS service runs no more"),
        "max_tasks": whole("max_tasks", MAX_TASKS, 1, tasks, "KW127", "tasks", "an ECS service runs no more"),
        "concurrency_per_task": whole(
            "concurrency_per_task", 1, 1, 1000, "KW150", "requests", "it is a count"
        ),
        "backlog_per_task": whole(
            "backlog_per_task",
            limits.SERVICE_BACKLOG_PER_TASK,
            1,
            1_000_000,
            "KW146",
            "requests",
            "it is a count",
        ),
        "idle_minutes": whole(
            "idle_minutes",
            limits.SERVICE_IDLE_MINUTES,
            1,
            1440,
            "KW146",
            "minutes",
            "an alarm looks back a day",
        ),
        "signal_period_s": whole(
            "signal_period_s", SIGNAL_PERIOD_S, 10, 3600, "KW146", "seconds", "it is an alarm"
        ),
        "drain_s": whole("drain_s", DRAIN_S, 2, 3600, "KW152", "seconds", "a task is killed when it ends"),
        "start_s": whole(
            "start_s",
            START_S,
            0,
            limits.ECS_HEALTH_START_MAX_S,
            "KW152",
            "seconds",
            "ECS forgives failing health checks no longer",
        ),
        "warm_instances": whole("warm_instances", None, 0, 1000, "KW127", "instances", "it is a count"),
        "root_volume_gb": whole(
            "root_volume_gb", ROOT_VOLUME_GB, 30, 16_384, "KW151", "GB", "the GPU image needs 30"
        ),
        "termination_protection": checks.flag("termination_protection", True),
        "retiring": checks.flag("retiring", False),
        "architecture": checks.choice("architecture", Architecture.X86_64, "KW141").value,
        "log_retention_days": checks.retention("log_retention_days", DEFAULT_LOG_RETENTION_DAYS),
        "grants": check_grants(checks, "grants", args.get("grants", [])),
        "kms": args.get("kms_key_arn"),
        "vpc_id": args.get("vpc_id"),
        "subnet_ids": args.get("subnet_ids"),
        "tags": {},
    }
    if spec["signal_period_s"] not in limits.ALARM_PERIODS_S and spec["signal_period_s"] % 60:
        checks.add(
            code="KW146",
            key="signal_period_s",
            got=show(spec["signal_period_s"]),
            allowed="10, 20, 30 or a multiple of 60 seconds",
            because="CloudWatch evaluates no other period",
            fix="take the next of them",
        )
    if spec["min_tasks"] > spec["max_tasks"]:
        checks.add(
            code="KW127",
            key="max_tasks",
            got=show(spec["max_tasks"]),
            allowed=f"at least min_tasks, {spec['min_tasks']}",
            because="an upper bound lies above the lower",
            fix="raise max_tasks",
        )
    duty = checks.number(
        "duty_cycle", None, 0, 1, code="KW146", unit="", because="it is a share of time", whole=False
    )
    if duty is not None:
        spec["tags"]["keepwarm:duty-cycle"] = f"{duty:g}"
    _check_hosts(checks, args, spec)
    _check_network(checks, args)
    _check_server(checks, args)
    return spec


def _check_hosts(checks: Checks[Any], args: Mapping[str, Any], spec: dict[str, Any]) -> None:
    gpus, capacity, names = spec["gpus"], spec["capacity"], spec["instance_types"]
    if capacity is Capacity.FARGATE:
        if gpus:
            checks.add(
                code="KW124",
                key="capacity",
                got=f"'fargate' with {gpus} GPUs",
                allowed="'asg' or 'managed' with GPUs",
                because="Fargate has no GPUs",
                fix="choose another capacity, or set gpus to 0",
            )
        if args.get("warm_instances") is not None:
            checks.add(
                code="KW102",
                key="warm_instances",
                got="a warm pool",
                allowed="none on Fargate",
                because="it has no instances",
                fix="drop it",
            )
    elif args.get("warm_instances") is not None and capacity is Capacity.MANAGED:
        checks.add(
            code="KW102",
            key="warm_instances",
            got="a warm pool",
            allowed="'asg'",
            because="ECS manages these instances",
            fix="drop it",
        )
    instances = _gpu_size.known_instances(names)
    if gpus and capacity is not Capacity.FARGATE:
        _check_instances(checks, spec, instances)
    fits = [i for i in instances if gpus and i.gpus >= gpus]
    size = _gpu_size.task_size(fits, gpus) if fits else _gpu_size.TaskSize(1, CPU_UNITS, MEMORY_MB)
    spec["max_hosts"] = _gpu_size.hosts_needed(max(spec["max_tasks"], 1), size.per_instance)
    for key, most, unit, low in (
        ("cpu_units", size.cpu_units, "CPU units", 128),
        ("memory_mb", size.memory_mib, "MB", 6),
    ):
        ceiling = most if fits else 10_485_760
        spec[key] = checks.number(
            key,
            most,
            low,
            ceiling,
            code="KW151",
            unit=unit,
            because="the smallest of the instance types offers a task no more"
            if fits
            else "ECS takes no other size",
        )


def _check_instances(checks: Checks[Any], spec: dict[str, Any], instances: list[limits.GpuInstance]) -> None:
    known_names = {instance.name for instance in instances}
    for kind in spec["instance_types"]:
        if kind not in known_names:
            checks.add(
                code="KW125",
                key="instance_types",
                got=show(kind),
                allowed="a type with whole GPUs, such as g6.xlarge, g6e.2xlarge or p5.48xlarge",
                because="it has no GPU, or is not known",
                fix="choose one of keepwarm.limits.GPU_INSTANCES",
            )
    for instance in instances:
        if instance.gpus < spec["gpus"]:
            checks.add(
                code="KW125",
                key="gpus",
                got=f"{spec['gpus']} on {instance.name}",
                allowed=f"up to {instance.gpus}",
                because="the instance has no more",
                fix="choose a larger type, or fewer GPUs",
            )
        if instance.architecture != spec["architecture"] or instance.architecture == "arm64":
            checks.add(
                code="KW125",
                key="instance_types",
                got=f"'{instance.name}' ({instance.architecture})",
                allowed="x86_64 types for an x86_64 image",
                because="an image runs on its own instruction set, and ECS offers its GPU image for x86_64 only",
                fix="choose another type",
            )


def _check_network(checks: Checks[Any], args: Mapping[str, Any]) -> None:
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
    if isinstance(subnets, list) and len({s if known(s) else i for i, s in enumerate(subnets)}) == 1:
        checks.add(
            code="KW138",
            key="subnet_ids",
            got="1 subnet",
            allowed="two or more, in two availability zones",
            because="GPU capacity is often out in one zone, and one zone's outage would stop the service",
            fix="add a subnet of another zone",
        )


def _check_server(checks: Checks[Any], args: Mapping[str, Any]) -> None:
    for key, value in args.get("environment", {}).items():

        def plaintext(given: Any, key: str = key) -> Problem | None:
            reason = suspicion(key, given) if isinstance(given, str) else None
            if reason is None:
                return None
            return Problem(
                code="KW135",
                key=f"environment.{key}",
                got=f"{len(given)} characters that are not shown",
                allowed="settings and references",
                because=f"{reason}, and everyone who may describe the task could read it",
                fix="put it into Secrets Manager and name its ARN in secrets",
            )

        checks.holds(plaintext, value)
    for key, arn in args.get("secrets", {}).items():
        checks.text(
            f"secrets.{key}",
            arn,
            r"arn:aws[a-z-]*:secretsmanager:.+",
            code="KW140",
            allowed="the ARN of a secret",
            because="ECS reads the value itself; it never passes through the stack",
            fix="pass the ARN of the secret",
        )
    if "model" in args:
        checks.text(
            "model.ref",
            args["model"].get("ref"),
            MODEL_REF,
            code="KW133",
            allowed="'name@sha256:<64 hex>' or 'name:channel'",
            because="a reference must pin a manifest, itself or through a channel",
            fix="copy the reference that 'keepwarm model list' prints",
        )
