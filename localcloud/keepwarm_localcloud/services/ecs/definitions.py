"""What ECS checks when a task definition is registered.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html and, for Fargate,
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
"""

import re
from dataclasses import dataclass
from typing import Any

from keepwarm_localcloud.request import AwsError

FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")
FARGATE_MEMORY_MIB: dict[int, range | tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}
"""CPU units -> memory in MiB. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html"""
NETWORK_MODES = ("awsvpc", "bridge", "host", "none")
MAX_STOP_TIMEOUT_FARGATE_S = 120
KEPT = (
    "containerDefinitions", "taskRoleArn", "executionRoleArn", "networkMode", "volumes", "placementConstraints",
    "requiresCompatibilities", "cpu", "memory", "pidMode", "ipcMode", "proxyConfiguration", "inferenceAccelerators",
    "ephemeralStorage", "runtimePlatform", "enableFaultInjection",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task takes from an instance."""

    cpu: int
    memory_mib: int
    gpus: int


def _units(value: Any, unit: str) -> int | None:
    """CPU or memory as given: `256`, `0.25 vCPU`, `1 GB`."""
    if value is None:
        return None
    text = str(value).strip().lower()
    try:
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * 1024)
        return int(text)
    except ValueError as error:
        raise AwsError(
            "ClientException", f"Invalid setting for container. Invalid value '{value}'"
        ) from error


def needs(definition: dict[str, Any]) -> Needs:
    """Sum up the resources of a task definition."""
    containers = definition["containerDefinitions"]
    cpu = _units(definition.get("cpu"), "vcpu")
    memory = _units(definition.get("memory"), "gb")
    gpus = sum(
        int(r["value"]) for c in containers for r in c.get("resourceRequirements", []) if r["type"] == "GPU"
    )
    return Needs(
        cpu if cpu is not None else sum(c.get("cpu", 0) for c in containers),
        memory
        if memory is not None
        else sum(c.get("memoryReservation") or c.get("memory", 0) for c in containers),
        gpus,
    )


def _client(message: str) -> AwsError:
    return AwsError("ClientException", message)


def _container(container: dict[str, Any], names: set[str], definition: dict[str, Any]) -> None:
    name = container.get("name", "")
    if FAMILY.fullmatch(name) is None:
        raise _client(
            "Invalid container name: up to 255 letters (uppercase and lowercase), numbers, "
            "underscores, and hyphens are allowed."
        )
    if name in names:
        raise _client(f"Container name '{name}' is not unique in the task definition.")
    if not container.get("image"):
        raise _client("Container.image should not be null or empty.")
    if (
        definition.get("memory") is None
        and not container.get("memory")
        and not container.get("memoryReservation")
    ):
        raise _client(
            f"Invalid setting for container '{name}'. At least one of 'memory' or "
            "'memoryReservation' must be specified."
        )
    if container.get("memoryReservation", 0) > container.get("memory", 1 << 40):
        raise _client(
            f"Invalid setting for container '{name}'. 'memory' must be greater than 'memoryReservation'."
        )
    volumes = {v["name"] for v in definition.get("volumes", [])}
    for mount in container.get("mountPoints", []):
        if mount.get("sourceVolume") not in volumes:
            raise _client(f"Unknown volume '{mount.get('sourceVolume')}'.")
    check = container.get("healthCheck")
    if check is not None:
        _health(name, check)


def _health(name: str, check: dict[str, Any]) -> None:
    command = check.get("command") or []
    if not command or command[0] not in ("CMD", "CMD-SHELL", "NONE"):
        raise _client(
            f"Invalid setting for container '{name}'. healthCheck.command must start with CMD or CMD-SHELL."
        )
    for key, low, high in (
        ("interval", 5, 300),
        ("timeout", 2, 60),
        ("retries", 1, 10),
        ("startPeriod", 0, 300),
    ):
        if key in check and not low <= check[key] <= high:
            raise _client(
                f"Invalid setting for container '{name}'. healthCheck.{key} must be between {low} and {high}."
            )


def _fargate(definition: dict[str, Any]) -> None:
    if definition.get("networkMode") != "awsvpc":
        raise _client("Fargate only supports network mode ‘awsvpc’.")  # noqa: RUF001 - AWS writes it so
    if needs(definition).gpus:
        raise _client("Tasks using the Fargate launch type do not support GPU resource requirements.")
    cpu, memory = _units(definition.get("cpu"), "vcpu"), _units(definition.get("memory"), "gb")
    if cpu is None or memory is None:
        raise _client("Fargate requires that 'cpu' and 'memory' be defined at the task level.")
    if memory not in FARGATE_MEMORY_MIB.get(cpu, ()):
        raise _client(
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. "
            "See the Amazon ECS documentation for the valid values."
        )
    if any(v.get("host", {}).get("sourcePath") for v in definition.get("volumes", [])):
        raise _client("Fargate compatible task definitions do not support host volumes with a sourcePath.")
    for container in definition["containerDefinitions"]:
        driver = container.get("logConfiguration", {}).get("logDriver")
        if driver == "awslogs" and not definition.get("executionRoleArn"):
            raise _client(
                "Fargate requires task definition to have execution role ARN to support log driver awslogs."
            )
        if container.get("privileged"):
            raise _client("Fargate compatible task definitions do not support privileged containers.")
        if container.get("stopTimeout", 30) > MAX_STOP_TIMEOUT_FARGATE_S:
            raise _client(
                f"The stopTimeout of a container must be at most {MAX_STOP_TIMEOUT_FARGATE_S} seconds on Fargate."
            )


def check(body: dict[str, Any]) -> dict[str, Any]:
    """Check a registration and give what is kept of it.

    Raises:
        AwsError: `ClientException`, as ECS words it.
    """
    if FAMILY.fullmatch(body.get("family", "")) is None:
        raise _client(
            "Family should be up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens."
        )
    containers = body.get("containerDefinitions") or []
    if not containers:
        raise _client("Container list cannot be empty.")
    if body.get("networkMode", "bridge") not in NETWORK_MODES:
        raise _client(f"Invalid network mode '{body['networkMode']}'.")
    names: set[str] = set()
    for container in containers:
        _container(container, names, body)
        names.add(container["name"])
    for container in containers:
        for dependency in container.get("dependsOn", []):
            if dependency["containerName"] not in names:
                raise _client(f"Container '{container['name']}' depends on an unknown container.")
    if not any(c.get("essential", True) for c in containers):
        raise _client("At least one container must be essential.")
    if body.get("networkMode") == "awsvpc":
        for container in containers:
            for port in container.get("portMappings", []):
                if port.get("hostPort", port["containerPort"]) not in (0, port["containerPort"]):
                    raise _client(
                        "When networkMode=awsvpc, the host ports and container ports in port mappings must match."
                    )
    if "FARGATE" in body.get("requiresCompatibilities", []):
        _fargate(body)
    kept = {k: body[k] for k in KEPT if body.get(k) is not None}
    kept.setdefault("volumes", [])
    kept.setdefault("placementConstraints", [])
    kept["containerDefinitions"] = [
        {
            "cpu": 0, "essential": True, "environment": [], "mountPoints": [], "volumesFrom": [], "portMappings": [],
            "systemControls": [], **c,
        }
        for c in containers
    ]  # fmt: skip
    return kept
