"""The task of a GPU service: its container, its volumes, and what it takes to pull the image."""

import json
import re
from typing import Any, NamedTuple

import pulumi
from pulumi_aws import cloudwatch, ecs, iam

from keepwarm._values import derive, known, plain
from keepwarm.checks.function import Architecture
from keepwarm.checks.service import Capacity
from keepwarm.iam import documents, grants
from keepwarm.iam.bindings import FunctionBindings, environment, statements
from keepwarm.iam.grants import Statement
from keepwarm.service import hosts
from keepwarm.service.hosts import Cluster
from keepwarm.service.spec import GpuServiceSpec

TMP_MB = 512
CACHE = "/cache"
USER = f"{hosts.TASK_UID}:{hosts.TASK_UID}"
ECR = r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([a-z0-9._/-]+)@.+"
READY = (
    'python3 -c "import os,urllib.request as u;'
    "u.urlopen('http://127.0.0.1:'+(os.environ.get('KEEPWARM_PORT') or os.environ['PORT'])+'/readyz',timeout=2)\""
)
COMPATIBILITY = {Capacity.ASG: "EC2", Capacity.MANAGED: "MANAGED_INSTANCES", Capacity.FARGATE: "FARGATE"}


class Task(NamedTuple):
    """A task definition, and what must stand before tasks of it run."""

    definition: ecs.TaskDefinition
    logs: cloudwatch.LogGroup
    role: iam.Role
    policies: list[pulumi.Resource]


def make(owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, cluster: Cluster) -> Task:
    """The task definition with its log group and its two roles: one for ECS, one for the server."""
    child = pulumi.ResourceOptions(parent=owner)
    logs = cloudwatch.LogGroup(
        f"{name}-logs",
        retention_in_days=spec.log_retention_days,
        kms_key_id=spec.kms_key_arn,
        tags=spec.tags,
        opts=child,
    )
    execution, role, policies = _roles(owner, name, spec, logs)
    definition = ecs.TaskDefinition(
        f"{name}-task",
        # A family is shared by the whole account; these names are this service's own.
        family=cluster.name if cluster.own else role.name,
        container_definitions=_containers(owner, spec, logs),
        requires_compatibilities=[COMPATIBILITY[spec.capacity]],
        network_mode="awsvpc",
        cpu=_text(spec.size.cpu_units),
        memory=_text(spec.size.memory_mb),
        execution_role_arn=execution.arn,
        task_role_arn=role.arn,
        runtime_platform={
            "operating_system_family": "LINUX",
            "cpu_architecture": "ARM64" if spec.architecture is Architecture.ARM64 else "X86_64",
        },
        volumes=_volumes(spec.capacity),
        ephemeral_storage=None if spec.ephemeral_gb is None else {"size_in_gib": spec.ephemeral_gb},
        tags=spec.tags,
        opts=child,
    )
    return Task(definition, logs, role, policies)


def _roles(
    owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, logs: cloudwatch.LogGroup
) -> tuple[iam.Role, iam.Role, list[pulumi.Resource]]:
    child = pulumi.ResourceOptions(parent=owner)
    trust = documents.trust("ecs-tasks.amazonaws.com", documents.account(owner))
    execution = iam.Role(f"{name}-execution", assume_role_policy=trust, tags=spec.tags, opts=child)
    role = iam.Role(f"{name}-task-role", assume_role_policy=trust, tags=spec.tags, opts=child)
    starting = [
        grants.write_logs(logs.arn),
        *[grants.read_secret(arn) for arn in spec.secrets.values()],
        *_pull(owner, spec.image),
    ]
    policies: list[pulumi.Resource] = [
        iam.RolePolicy(
            f"{name}-execution-policy",
            role=execution.name,
            policy=documents.document(starting),
            opts=child,
        )
    ]
    allowed = [*statements(_bindings(spec)), *spec.grants]
    if allowed:
        policies.append(
            iam.RolePolicy(
                f"{name}-task-policy", role=role.name, policy=documents.document(allowed), opts=child
            )
        )
    return execution, role, policies


def _bindings(spec: GpuServiceSpec) -> FunctionBindings:
    return {} if spec.model is None else {"model": spec.model}


def _containers(
    owner: pulumi.ComponentResource, spec: GpuServiceSpec, logs: cloudwatch.LogGroup
) -> pulumi.Output[str]:
    variables = {
        **environment(_bindings(spec)),
        "KEEPWARM_CACHE_DIR": CACHE,
        "KEEPWARM_METRIC_NAMESPACE": spec.metric_namespace,
        "KEEPWARM_BATCH_MAX": _text(spec.max_batch),
        "KEEPWARM_DRAIN_S": _text(spec.drain_s),
        "KEEPWARM_QUEUE_MAX": str(spec.queue()),
        "PORT": _text(spec.port),
        **spec.environment,
    }
    return pulumi.Output.all(
        image=spec.image,
        port=spec.port,
        drain_s=spec.drain_s,
        start_s=spec.start_s,
        log_group=logs.name,
        region=documents.region(owner),
        variables=variables,
        secrets=spec.secrets,
    ).apply(lambda values: json.dumps([_container(values, spec.gpus, spec.capacity)]))


def _container(values: dict[str, Any], gpus: int, capacity: Capacity) -> dict[str, Any]:
    """The server's container: not root, read-only, no capability, ready before it is called, drained before it ends."""
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
        "portMappings": [{"containerPort": int(values["port"]), "protocol": "tcp"}],
        "environment": [{"name": key, "value": value} for key, value in sorted(values["variables"].items())],
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


def _volumes(capacity: Capacity) -> list[Any]:
    """The model cache, on the host's disks where there are any, and a place for temporary files."""
    if capacity is Capacity.ASG:
        return [{"name": "cache", "host_path": hosts.HOST_CACHE}]
    return [{"name": "cache"}, {"name": "tmp"}]


def _text(value: pulumi.Input[int]) -> pulumi.Input[str]:
    return derive(lambda number: str(int(number)), value)


def _pull(owner: pulumi.Resource, image: pulumi.Input[str]) -> list[Statement]:
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
