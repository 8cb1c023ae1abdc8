"""The task of a GPU service: its container, its volumes, and what it takes to pull the image."""

import re
from typing import Any

import pulumi

from keepwarm import _gpu_hosts
from keepwarm._values import known, plain
from keepwarm.checks.service import Capacity
from keepwarm.iam import documents
from keepwarm.iam.grants import Statement

TMP_MB = 512
CACHE = "/cache"
USER = f"{_gpu_hosts.TASK_UID}:{_gpu_hosts.TASK_UID}"
ECR = r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([a-z0-9._/-]+)@.+"
READY = (
    'python3 -c "import os,urllib.request as u;'
    "u.urlopen('http://127.0.0.1:'+(os.environ.get('KEEPWARM_PORT') or os.environ['PORT'])+'/readyz',timeout=2)\""
)
COMPATIBILITY = {Capacity.ASG: "EC2", Capacity.MANAGED: "MANAGED_INSTANCES", Capacity.FARGATE: "FARGATE"}


def container_definition(values: dict[str, Any], gpus: int, capacity: Capacity) -> dict[str, Any]:
    """The server's container: not root, read-only, no capability, ready before it is called, drained before it ends."""
    port = int(values["port"])
    mounts = [{"sourceVolume": "cache", "containerPath": CACHE, "readOnly": False}]
    hardening: dict[str, Any] = {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}}
    if capacity is Capacity.ASG:
        hardening["tmpfs"] = [
            {"containerPath": "/tmp", "size": TMP_MB, "mountOptions": ["nosuid", "nodev", "mode=1777"]}  # noqa: S108
        ]
    else:
        mounts.append({"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": False})  # noqa: S108
    definition: dict[str, Any] = {
        "name": "server",
        "image": values["image"],
        "essential": True,
        "user": USER,
        "readonlyRootFilesystem": True,
        "linuxParameters": hardening,
        "portMappings": [{"containerPort": port, "protocol": "tcp"}],
        "environment": [
            {"name": key, "value": value}
            for key, value in sorted({**values["variables"], "PORT": str(port)}.items())
        ],
        "secrets": [{"name": key, "valueFrom": arn} for key, arn in sorted(values["secrets"].items())],
        "mountPoints": mounts,
        "stopTimeout": int(values["drain_s"]),
        "healthCheck": {
            "command": ["CMD-SHELL", READY],
            "interval": 10,
            "timeout": 5,
            "retries": 3,
            "startPeriod": int(values["start_s"]),
        },
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": values["log_group"],
                "awslogs-region": values["region"],
                "awslogs-stream-prefix": "server",
            },
        },
    }
    if gpus:
        definition["resourceRequirements"] = [{"type": "GPU", "value": str(gpus)}]
    return definition


def volumes(capacity: Capacity) -> list[Any]:
    """The model cache, on the host's disks where there are any, and a place for temporary files."""
    if capacity is Capacity.ASG:
        return [{"name": "cache", "host_path": _gpu_hosts.HOST_CACHE}]
    return [{"name": "cache"}, {"name": "tmp"}]


def text(value: Any) -> Any:
    if known(value):
        return str(int(value))
    return pulumi.Output.from_input(value).apply(lambda number: str(int(number)))


def pull(owner: pulumi.Resource, image: pulumi.Input[str]) -> list[Statement]:
    """Pull from the image's own ECR repository; other registries and image folders need no grant."""
    value = plain(image)
    match = re.fullmatch(ECR, value) if isinstance(value, str) else None
    if match is None and known(image):
        return []

    def repository(values: list[Any]) -> str:
        found = re.fullmatch(ECR, values[0])
        if found is None:
            raise pulumi.RunError(f"the image {values[0]!r} is known late, so it must be in ECR")
        account_id, region, path = found.groups()
        return f"arn:{values[1]}:ecr:{region}:{account_id}:repository/{path}"

    return [
        {"actions": ["ecr:GetAuthorizationToken"], "resources": ["*"]},
        {
            "actions": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"],
            "resources": [pulumi.Output.all(image, documents.partition(owner)).apply(repository)],
        },
    ]
