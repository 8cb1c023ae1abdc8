"""Checks on the inputs of a GPU service."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from keepwarm import _gpu_size, _iam, limits
from keepwarm._args import Checks, Problem, known, plain, show
from keepwarm._function_checks import MODEL_REF, Architecture, check_path
from keepwarm._secrets import suspicion

PORT = 8080
INSTANCE_TYPES = ("g6.xlarge",)
CPU_UNITS = 1024
MEMORY_MB = 2048
MAX_TASKS = 1
BACKLOG_PER_TASK = 30
IDLE_MINUTES = 10
SIGNAL_PERIOD_S = 60
DRAIN_S = 60
START_S = 300
ROOT_VOLUME_GB = 100
LOG_DAYS = 30
IMAGE = r"(?:file:///.+|[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9._/-]+)?@sha256:[0-9a-f]{64})"


class Capacity(StrEnum):
    """What the tasks run on."""

    ASG = "asg"
    MANAGED = "managed"
    FARGATE = "fargate"


def checked(checks: Checks, args: Mapping[str, Any]) -> dict[str, Any]:
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
            "backlog_per_task", BACKLOG_PER_TASK, 1, 1_000_000, "KW146", "requests", "it is a count"
        ),
        "idle_minutes": whole(
            "idle_minutes", IDLE_MINUTES, 1, 1440, "KW146", "minutes", "an alarm looks back a day"
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
        "log_days": checks.retention("log_days", LOG_DAYS),
        "grants": _iam.check_grants(checks, "grants", args.get("grants", [])),
        "kms": args.get("kms_key_arn"),
        "vpc_id": args.get("vpc_id"),
        "subnet_ids": args.get("subnet_ids"),
        "tags": {},
    }
    if spec["signal_period_s"] not in limits.ALARM_PERIODS_S and spec["signal_period_s"] % 60:
        checks.add(
            "KW146",
            "signal_period_s",
            show(spec["signal_period_s"]),
            "10, 20, 30 or a multiple of 60 seconds",
            "CloudWatch evaluates no other period",
            "take the next of them",
        )
    if spec["min_tasks"] > spec["max_tasks"]:
        checks.add(
            "KW127",
            "max_tasks",
            show(spec["max_tasks"]),
            f"at least min_tasks, {spec['min_tasks']}",
            "an upper bound lies above the lower",
            "raise max_tasks",
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


def _check_hosts(checks: Checks, args: Mapping[str, Any], spec: dict[str, Any]) -> None:
    gpus, capacity, names = spec["gpus"], spec["capacity"], spec["instance_types"]
    if capacity is Capacity.FARGATE:
        if gpus:
            checks.add(
                "KW124",
                "capacity",
                f"'fargate' with {gpus} GPUs",
                "'asg' or 'managed' with GPUs",
                "Fargate has no GPUs",
                "choose another capacity, or set gpus to 0",
            )
        if args.get("warm_instances") is not None:
            checks.add(
                "KW102", "warm_instances", "a warm pool", "none on Fargate", "it has no instances", "drop it"
            )
    elif args.get("warm_instances") is not None and capacity is Capacity.MANAGED:
        checks.add(
            "KW102", "warm_instances", "a warm pool", "'asg'", "ECS manages these instances", "drop it"
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


def _check_instances(checks: Checks, spec: dict[str, Any], instances: list[limits.GpuInstance]) -> None:
    known_names = {instance.name for instance in instances}
    for kind in spec["instance_types"]:
        if kind not in known_names:
            checks.add(
                "KW125",
                "instance_types",
                show(kind),
                "a type with whole GPUs, such as g6.xlarge, g6e.2xlarge or p5.48xlarge",
                "it has no GPU, or is not known",
                "choose one of keepwarm.limits.GPU_INSTANCES",
            )
    for instance in instances:
        if instance.gpus < spec["gpus"]:
            checks.add(
                "KW125",
                "gpus",
                f"{spec['gpus']} on {instance.name}",
                f"up to {instance.gpus}",
                "the instance has no more",
                "choose a larger type, or fewer GPUs",
            )
        if instance.architecture != spec["architecture"] or instance.architecture == "arm64":
            checks.add(
                "KW125",
                "instance_types",
                f"'{instance.name}' ({instance.architecture})",
                "x86_64 types for an x86_64 image",
                "an image runs on its own instruction set, and ECS offers its GPU image for x86_64 only",
                "choose another type",
            )


def _check_network(checks: Checks, args: Mapping[str, Any]) -> None:
    if ("vpc_id" in args) != ("subnet_ids" in args):
        checks.add(
            "KW102",
            "vpc_id/subnet_ids",
            "one of them",
            "both or none",
            "subnets belong to their VPC",
            "set both, or leave both out to use the default VPC",
        )
    image = plain(args.get("image", ""))
    if image is None or not str(image).startswith("file:"):
        check_path(checks, args)
    subnets = args.get("subnet_ids", [])
    if isinstance(subnets, list) and len({s if known(s) else i for i, s in enumerate(subnets)}) == 1:
        checks.add(
            "KW138",
            "subnet_ids",
            "1 subnet",
            "two or more, in two availability zones",
            "GPU capacity is often out in one zone, and one zone's outage would stop the service",
            "add a subnet of another zone",
        )


def _check_server(checks: Checks, args: Mapping[str, Any]) -> None:
    for key, value in args.get("environment", {}).items():

        def plaintext(given: Any, key: str = key) -> Problem | None:
            reason = suspicion(key, given) if isinstance(given, str) else None
            if reason is None:
                return None
            return Problem(
                "KW135",
                f"environment.{key}",
                f"{len(given)} characters that are not shown",
                "settings and references",
                f"{reason}, and everyone who may describe the task could read it",
                "put it into Secrets Manager and name its ARN in secrets",
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
