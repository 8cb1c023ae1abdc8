"""Inputs of a GPU service, and what they are after their check."""

from dataclasses import dataclass
from typing import NotRequired, Self, TypedDict

import pulumi

from keepwarm import _planned, limits
from keepwarm._values import derive
from keepwarm.checks import hosts, service, wake
from keepwarm.checks.function import Architecture
from keepwarm.checks.grants import check_grants
from keepwarm.checks.inputs import Checks
from keepwarm.checks.keys import check_key
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where
from keepwarm.checks.service import Capacity
from keepwarm.checks.tags import Tags, tags
from keepwarm.iam.bindings import ModelBinding, NetworkPath, ServiceBinding
from keepwarm.iam.grants import Statement

KIND = "GpuService"


class NamespaceArgs(TypedDict):
    """A Cloud Map namespace that exists already; it must be a private DNS namespace of the service's VPC."""

    id: pulumi.Input[str]
    """Identifier, ``ns-...``."""
    name: pulumi.Input[str]
    """Name, as callers look it up."""


class SpotArgs(TypedDict):
    """How much of the capacity may be taken back by AWS at two minutes' notice, at a lower price."""

    on_demand_base: NotRequired[int]
    """Instances (on Fargate: tasks) that never run on spot capacity. Default: 0."""
    on_demand_percent: NotRequired[int]
    """Percent of what is above the base that does not run on spot capacity either, 0..99. Default: 0."""


class GpuServiceArgs(TypedDict):
    """Inputs of a GpuService."""

    image: pulumi.Input[str]
    """Container image of the server, pinned by digest; ``file:///...`` names an image folder of the embedded cloud."""
    model: NotRequired[ModelBinding]
    """Model the server loads. Default: none."""
    port: NotRequired[pulumi.Input[int]]
    """Port the server listens on; it gets it as PORT. Default: 8080."""
    gpus: NotRequired[int]
    """GPUs of one task; 0 runs on CPUs. Default: 1."""
    capacity: NotRequired[Capacity]
    """``asg``: an Auto Scaling group of your instance types with a model cache on their disks. ``managed``: ECS managed
    instances. ``fargate``: only without GPUs. Default: asg."""
    spot: NotRequired[SpotArgs]
    """Spot capacity, whole or mixed with on-demand capacity. Default: on demand only."""
    instance_types: NotRequired[list[str]]
    """Instance types tasks may run on, best first. Default: g6.xlarge."""
    cpu_units: NotRequired[pulumi.Input[int]]
    """CPU of one task in units of 1/1024 vCPU. Default: a task's share of the smallest instance; without GPUs 1024."""
    memory_mb: NotRequired[pulumi.Input[int]]
    """Memory of one task in MB. Default: a task's share of the smallest instance; without GPUs 2048."""
    ephemeral_gb: NotRequired[pulumi.Input[int]]
    """Disk of one task on Fargate in GiB, 21..200; model cache and temporary files share it. Default: Fargate's own, 20
    GiB."""
    min_tasks: NotRequired[int]
    """Tasks kept running; 0 scales to zero. Default: 0."""
    max_tasks: NotRequired[int]
    """Most tasks. Default: 1."""
    concurrency_per_task: NotRequired[int]
    """Requests one task serves at a time. Times `max_tasks` it is what Admission may hand out, at most 100. Default:
    1."""
    max_batch: NotRequired[pulumi.Input[int]]
    """Most requests the server puts into one run of the model, 1..64; it gets it as KEEPWARM_BATCH_MAX. Default: 4."""
    backlog_per_task: NotRequired[int]
    """Backlog, in requests per signal period, that one task takes. Default: 30."""
    idle_minutes: NotRequired[int]
    """Minutes without backlog after which the service goes back to `min_tasks`. Default: 10."""
    signal_period_s: NotRequired[int]
    """Period of the backlog alarms in seconds, a multiple of 60. Default: 60."""
    duty_cycle: NotRequired[float]
    """Expected share of time in which there is work, 0..1; a tag that policies read. Default: no tag."""
    cluster_arn: NotRequired[pulumi.Input[str]]
    """ECS cluster to run in, with Container Insights on; not with capacity ``asg``. Default: a cluster of its own."""
    namespace: NotRequired[NamespaceArgs]
    """Cloud Map namespace to register in. Default: a namespace of its own."""
    vpc_id: NotRequired[pulumi.Input[str]]
    """VPC of the service. Default: the account's default VPC."""
    subnet_ids: NotRequired[list[pulumi.Input[str]]]
    """Subnets of instances and tasks, in two availability zones or more. Default: those of the default VPC."""
    network_path: NotRequired[NetworkPath]
    """How AWS services and the registry are reached from the VPC: by PrivateEndpoints or a NAT gateway. Default: not
    stated, which is warned about where instances have no public address."""
    caller_security_group_ids: NotRequired[list[pulumi.Input[str]]]
    """Security groups that may call, beside the one the component makes for callers. Default: none."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables of the server, no secrets. Default: none."""
    secrets: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables whose values come from Secrets Manager, by the ARN of the secret. Default: none."""
    grants: NotRequired[list[Statement]]
    """What the server's role may do beside reading its model. Default: nothing."""
    drain_s: NotRequired[pulumi.Input[int]]
    """Seconds from SIGTERM to SIGKILL of a stopping task, 2..3600 (up to 120 on Fargate and spot capacity). The server
    gets it as KEEPWARM_DRAIN_S and finishes its requests in it, less a margin. Default: 60."""
    start_s: NotRequired[pulumi.Input[int]]
    """Seconds a starting task gets to be ready (model fetched, loaded, warmed), up to 300. Default: 300."""
    warm_instances: NotRequired[int]
    """Stopped instances the group keeps initialized (ASG warm pool). Default: no warm pool."""
    root_volume_gb: NotRequired[pulumi.Input[int]]
    """Size of an instance's root volume in GB. Default: 100."""
    termination_protection: NotRequired[bool]
    """Keep instances with running tasks from being scaled in. Default: true."""
    retiring: NotRequired[bool]
    """First stage of an orderly removal: no tasks, instances or protection; deploy so, then destroy. Default: false."""
    architecture: NotRequired[Architecture]
    """Instruction set of the image. Default: x86_64."""
    log_retention_days: NotRequired[pulumi.Input[int]]
    """Days the logs are kept. Default: 30."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of logs and volumes, which CloudWatch Logs and Auto Scaling must be let use (see EncryptionKey). Default:
    keys owned by AWS."""
    metric_namespace: NotRequired[pulumi.Input[str]]
    """CloudWatch namespace of the `Backlog` metric. Default: Keepwarm."""
    alarm_topic_arns: NotRequired[list[pulumi.Input[str]]]
    """SNS topics the alarm of a saturated service notifies. Default: none."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of everything that takes tags, tasks, instances and volumes included. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuServiceSpec:
    """Inputs of a GpuService after their check: all that its resources are built from."""

    image: pulumi.Input[str]
    model: ModelBinding | None
    port: pulumi.Input[int]
    gpus: int
    capacity: Capacity
    spot: hosts.Spot | None
    instance_types: list[str]
    size: hosts.Size
    ephemeral_gb: pulumi.Input[int] | None
    scaling: service.Scaling
    max_batch: pulumi.Input[int]
    duty_cycle: float | None
    cluster_arn: pulumi.Input[str] | None
    namespace: NamespaceArgs | None
    vpc_id: pulumi.Input[str] | None
    """None is the account's default VPC."""
    subnet_ids: list[pulumi.Input[str]]
    network_path: NetworkPath | None
    caller_security_group_ids: list[pulumi.Input[str]]
    environment: dict[str, pulumi.Input[str]]
    secrets: dict[str, pulumi.Input[str]]
    grants: list[Statement]
    drain_s: pulumi.Input[int]
    start_s: pulumi.Input[int]
    warm_instances: int | None
    root_volume_gb: pulumi.Input[int]
    termination_protection: bool
    retiring: bool
    architecture: Architecture
    log_retention_days: pulumi.Input[int]
    kms_key_arn: pulumi.Input[str] | None
    metric_namespace: pulumi.Input[str]
    alarm_topic_arns: list[pulumi.Input[str]] | None
    tags: Tags | None

    @classmethod
    def of(
        cls, name: str, args: GpuServiceArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks(KIND, name, args, GpuServiceArgs, where=where, report=report)
        args = checks.args
        gpus = hosts.gpus(checks)
        capacity = checks.choice("capacity", Capacity.ASG)
        architecture = checks.choice("architecture", Architecture.X86_64, "KW141")
        types = args.get("instance_types") or list(hosts.INSTANCE_TYPES)
        scaling = service.scaling(checks)
        service.check_environment(checks, args.get("environment", {}))
        service.check_network(checks, args)
        check_key(checks, args, "logs.amazonaws.com", *_volume_users(capacity))
        spec = cls(
            image=service.image(checks),
            model=service.model(checks, args.get("model")),
            port=service.port(checks),
            gpus=gpus,
            capacity=capacity,
            spot=hosts.spot(checks, args.get("spot"), capacity),
            instance_types=types,
            size=hosts.size(checks, types, gpus, capacity, architecture, scaling.max_tasks),
            ephemeral_gb=hosts.ephemeral(checks, capacity),
            scaling=scaling,
            max_batch=service.batch(checks),
            duty_cycle=service.duty_cycle(checks),
            cluster_arn=hosts.cluster(checks, args.get("cluster_arn"), capacity),
            namespace=args.get("namespace"),
            vpc_id=args.get("vpc_id"),
            subnet_ids=args.get("subnet_ids", []),
            network_path=args.get("network_path"),
            caller_security_group_ids=args.get("caller_security_group_ids", []),
            environment=args.get("environment", {}),
            secrets=service.secrets(checks, args.get("secrets", {})),
            grants=check_grants(checks, "grants", args.get("grants", [])),
            drain_s=service.drain(checks, capacity, spot=args.get("spot") is not None),
            start_s=service.start(checks),
            warm_instances=hosts.warm_instances(checks, capacity),
            root_volume_gb=hosts.root_volume(checks),
            termination_protection=checks.flag("termination_protection", True),
            retiring=checks.flag("retiring", False),
            architecture=architecture,
            log_retention_days=checks.retention("log_retention_days", service.LOG_RETENTION_DAYS),
            kms_key_arn=args.get("kms_key_arn"),
            metric_namespace=args.get("metric_namespace", "Keepwarm"),
            alarm_topic_arns=args.get("alarm_topic_arns"),
            tags=tags(checks, args),
        )
        child_name(checks, name, "infrastructure", limits.IAM_ROLE_NAME_MAX_CHARS)
        checks.done()
        return spec

    def permits(self) -> int:
        """Requests the service takes at a time when it is scaled out."""
        return limits.service_permits(self.scaling.max_tasks, self.scaling.concurrency_per_task)

    def queue(self) -> int:
        """Requests one task takes and has not begun yet."""
        return limits.task_queue(self.scaling.max_tasks, self.scaling.concurrency_per_task)

    def wake_s(self) -> pulumi.Input[float]:
        """Seconds from the first demand to the first answer; 0 when a task is kept running."""
        if self.scaling.min_tasks > 0:
            return 0.0
        period_s = self.scaling.signal_period_s
        if self.capacity is Capacity.FARGATE:
            return derive(lambda start_s: wake.task_wake_s(period_s, start_s), self.start_s)
        warm = bool(self.warm_instances)
        return derive(
            lambda start_s: wake.instance_wake_s(period_s, start_s, warm_instances=warm), self.start_s
        )

    def planned(self, name: str) -> ServiceBinding:
        """The binding with the real numbers and placeholders for what only AWS knows."""
        namespace = _planned.physical(name, "namespace") if self.namespace is None else self.namespace["name"]
        return self.binding(namespace=namespace, service=_planned.physical(name, "discovery"))

    def binding(self, *, namespace: pulumi.Input[str], service: pulumi.Input[str]) -> ServiceBinding:
        """The binding of a service made from this spec."""
        return {"namespace": namespace, "name": service, "wake_s": self.wake_s()}


def _volume_users(capacity: Capacity) -> list[str]:
    return ["Auto Scaling's service-linked role"] if capacity is Capacity.ASG else []
