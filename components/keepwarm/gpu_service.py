"""A model server on GPUs that sleeps at zero and wakes to its backlog."""

import json
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws
from pulumi_aws import appautoscaling, cloudwatch, ec2, ecs, iam, servicediscovery, vpc

from keepwarm import _gpu_hosts, _gpu_size, _gpu_task, limits
from keepwarm._values import concat, derive
from keepwarm.checks import wake
from keepwarm.checks.function import Architecture
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.service import Capacity, checked
from keepwarm.iam import documents, grants
from keepwarm.iam.bindings import (
    CallerNetwork,
    FunctionBindings,
    ModelBinding,
    NetworkPath,
    ServiceBinding,
    environment,
    statements,
)
from keepwarm.iam.grants import Statement


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
    instance_types: NotRequired[list[str]]
    """Instance types tasks may run on, best first. Default: g6.xlarge."""
    cpu_units: NotRequired[pulumi.Input[int]]
    """CPU of one task in units of 1/1024 vCPU. Default: a task's share of the smallest instance; without GPUs 1024."""
    memory_mb: NotRequired[pulumi.Input[int]]
    """Memory of one task in MB. Default: a task's share of the smallest instance; without GPUs 2048."""
    min_tasks: NotRequired[int]
    """Tasks kept running; 0 scales to zero. Default: 0."""
    max_tasks: NotRequired[int]
    """Most tasks. Default: 1."""
    concurrency_per_task: NotRequired[int]
    """Requests one task serves at a time: what Admission may hand out. Default: 1."""
    backlog_per_task: NotRequired[int]
    """Backlog, in requests per signal period, that one task takes. Default: 30."""
    idle_minutes: NotRequired[int]
    """Minutes without backlog after which the service goes back to `min_tasks`. Default: 10."""
    signal_period_s: NotRequired[int]
    """Period of the backlog alarm in seconds: 10, 30 or a multiple of 60. Default: 60."""
    duty_cycle: NotRequired[float]
    """Expected share of time in which there is work, 0..1; a tag that policies read. Default: no tag."""
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
    """Seconds a stopping task gets to finish its requests. Default: 60."""
    start_s: NotRequired[pulumi.Input[int]]
    """Seconds a starting task gets to be ready (model fetched, loaded, warmed), up to 300. Default: 300."""
    warm_instances: NotRequired[int]
    """Stopped instances the group keeps initialised (ASG warm pool). Default: no warm pool."""
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
    """KMS key of logs and volumes. Default: keys owned by AWS."""
    metric_namespace: NotRequired[pulumi.Input[str]]
    """CloudWatch namespace of the `Backlog` metric. Default: Keepwarm."""
    alarm_topic_arns: NotRequired[list[pulumi.Input[str]]]
    """SNS topics the alarm of a saturated service notifies. Default: none."""


class GpuService(pulumi.ComponentResource):
    """Serves a model on GPUs: from zero, on demand, drained and removed in order."""

    cluster_name: pulumi.Output[str]
    """Name of the ECS cluster."""
    service_name: pulumi.Output[str]
    """Name of the ECS service."""
    namespace: pulumi.Output[str]
    """Cloud Map namespace callers look in."""
    discovery_name: pulumi.Output[str]
    """Cloud Map service callers look for; also the `Service` dimension of the `Backlog` metric."""
    security_group_id: pulumi.Output[str]
    """Security group of the tasks."""
    caller_group_id: pulumi.Output[str]
    """Security group a caller takes to be let in."""
    task_role_arn: pulumi.Output[str]
    """ARN of the role the server runs with."""
    log_group: pulumi.Output[str]
    """Name of its log group."""

    def __init__(self, name: str, args: GpuServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        checks = Checks("GpuService", name, args, GpuServiceArgs)
        args = checks.args
        spec = checked(checks, args)
        child_name(checks, name, "infrastructure", limits.IAM_ROLE_NAME_MAX_CHARS)
        checks.done()
        super().__init__("keepwarm:index:GpuService", name, {}, opts)
        _locate(self, spec)

        cluster = ecs.Cluster(
            f"{name}-cluster",
            settings=[{"name": "containerInsights", "value": "enabled"}],
            opts=pulumi.ResourceOptions(parent=self),
        )
        provider = self._capacity(name, spec, cluster)
        association = _gpu_hosts.associate(self, name, cluster, provider)
        tasks, callers, rules = self._network(name, args, spec)
        namespace, discovery = self._discovery(name, spec)
        task, logs, task_role, policies = self._task(name, args, spec, cluster)
        service = ecs.Service(
            f"{name}-service",
            cluster=cluster.arn,
            task_definition=task.arn,
            desired_count=spec["min_tasks"],
            capacity_provider_strategies=[{"capacity_provider": provider, "weight": 1}],
            network_configuration={
                "subnets": spec["subnet_ids"],
                "security_groups": [tasks.id],
                "assign_public_ip": False,
            },
            service_registries={
                "registry_arn": discovery.arn,
                "container_name": "server",
                "container_port": spec["port"],
            },
            deployment_circuit_breaker={"enable": True, "rollback": True},
            deployment_minimum_healthy_percent=100,
            deployment_maximum_percent=200,
            enable_ecs_managed_tags=True,
            propagate_tags="SERVICE",
            force_delete=True,
            wait_for_steady_state=False,
            tags=spec["tags"],
            opts=pulumi.ResourceOptions(
                parent=self,
                # Backwards on destroy: tasks end while provider, rules and permissions they need still stand.
                depends_on=[association, *rules, *policies],
                # The autoscaler owns the count; a deployment must not put the service back to its minimum.
                ignore_changes=["desiredCount"],
            ),
        )
        self._scale(name, args, spec, cluster, service, discovery)

        self.cluster_name = cluster.name
        self.service_name = service.name
        self.namespace = namespace.name
        self.discovery_name = discovery.name
        self.security_group_id = tasks.id
        self.caller_group_id = callers.id
        self.task_role_arn = task_role.arn
        self.log_group = logs.name
        self._subnet_ids = spec["subnet_ids"]
        self._path = args.get("network_path")
        self._wake_s = _wake_s(spec)
        self._permits = limits.service_permits(spec["max_tasks"], spec["concurrency_per_task"])
        self.register_outputs(
            {
                "cluster_name": self.cluster_name,
                "service_name": self.service_name,
                "namespace": self.namespace,
                "discovery_name": self.discovery_name,
                "security_group_id": self.security_group_id,
                "caller_group_id": self.caller_group_id,
                "task_role_arn": self.task_role_arn,
                "log_group": self.log_group,
            }
        )

    def binding(self) -> ServiceBinding:
        """What a function needs to find this service."""
        return {"namespace": self.namespace, "name": self.discovery_name, "wake_s": self._wake_s}

    def permits(self) -> int:
        """Requests the service really takes at a time when it is scaled out: the size of its Admission pool."""
        return int(self._permits)

    def caller_network(self) -> CallerNetwork:
        """Inputs of a RuntimeFunction that attach it to the VPC as a caller that is let in."""
        network: CallerNetwork = {
            "subnet_ids": self._subnet_ids,
            "security_group_ids": [self.caller_group_id],
        }
        if self._path is not None:
            network["network_path"] = self._path
        return network

    def _capacity(self, name: str, spec: dict[str, Any], cluster: ecs.Cluster) -> pulumi.Input[str]:
        if spec["capacity"] is Capacity.FARGATE:
            return "FARGATE"
        build = _gpu_hosts.host_group if spec["capacity"] is Capacity.ASG else _gpu_hosts.managed_hosts
        return build(self, name, spec, cluster).name

    def _network(
        self, name: str, args: GpuServiceArgs, spec: dict[str, Any]
    ) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup, list[pulumi.Resource]]:
        child = pulumi.ResourceOptions(parent=self)
        callers = ec2.SecurityGroup(
            f"{name}-callers-group",
            description="Callers of the GPU service",
            vpc_id=spec["vpc_id"],
            opts=child,
        )
        tasks = ec2.SecurityGroup(
            f"{name}-tasks-group",
            description="Tasks of the GPU service: only callers come in",
            vpc_id=spec["vpc_id"],
            opts=child,
        )
        rules: list[pulumi.Resource] = [_gpu_hosts.https_out(self, f"{name}-tasks-https", tasks)]
        _gpu_hosts.https_out(self, f"{name}-callers-https", callers)
        rules.append(
            vpc.SecurityGroupEgressRule(
                f"{name}-callers-out",
                security_group_id=callers.id,
                description="Requests to the GPU service",
                ip_protocol="tcp",
                from_port=spec["port"],
                to_port=spec["port"],
                referenced_security_group_id=tasks.id,
                opts=child,
            )
        )
        sources = [callers.id, *args.get("caller_security_group_ids", [])]
        for index, source in enumerate(sources):
            rules.append(
                vpc.SecurityGroupIngressRule(
                    f"{name}-callers-in-{index}",
                    security_group_id=tasks.id,
                    description="Requests of callers",
                    ip_protocol="tcp",
                    from_port=spec["port"],
                    to_port=spec["port"],
                    referenced_security_group_id=source,
                    opts=child,
                )
            )
        return tasks, callers, rules

    def _discovery(
        self, name: str, spec: dict[str, Any]
    ) -> tuple[servicediscovery.PrivateDnsNamespace, servicediscovery.Service]:
        child = pulumi.ResourceOptions(parent=self)
        namespace = servicediscovery.PrivateDnsNamespace(f"{name}-namespace", vpc=spec["vpc_id"], opts=child)
        discovery = servicediscovery.Service(
            f"{name}-discovery",
            # SRV records carry the port, which DiscoverInstances then answers as AWS_INSTANCE_PORT.
            dns_config={
                "namespace_id": namespace.id,
                "routing_policy": "MULTIVALUE",
                "dns_records": [{"type": "SRV", "ttl": 10}],
            },
            # Instances that a killed task left registered would otherwise keep the service from being deleted.
            force_destroy=True,
            opts=child,
        )
        return namespace, discovery

    def _task(
        self, name: str, args: GpuServiceArgs, spec: dict[str, Any], cluster: ecs.Cluster
    ) -> tuple[ecs.TaskDefinition, cloudwatch.LogGroup, iam.Role, list[pulumi.Resource]]:
        child = pulumi.ResourceOptions(parent=self)
        kms = args.get("kms_key_arn")
        account_id = documents.account(self)
        logs = cloudwatch.LogGroup(
            f"{name}-logs", retention_in_days=spec["log_retention_days"], kms_key_id=kms, opts=child
        )
        trust = documents.trust("ecs-tasks.amazonaws.com", account_id)
        execution = iam.Role(f"{name}-execution", assume_role_policy=trust, opts=child)
        task_role = iam.Role(f"{name}-task-role", assume_role_policy=trust, opts=child)
        policies: list[pulumi.Resource] = [
            iam.RolePolicy(
                f"{name}-execution-policy",
                role=execution.name,
                policy=documents.document(
                    [
                        grants.write_logs(logs.arn),
                        *[grants.read_secret(arn) for arn in args.get("secrets", {}).values()],
                        *_gpu_task.pull(self, spec["image"]),
                    ]
                ),
                opts=child,
            )
        ]
        bound: FunctionBindings = {"model": args["model"]} if "model" in args else {}
        allowed = [*statements(bound), *spec["grants"]]
        if allowed:
            policies.append(
                iam.RolePolicy(
                    f"{name}-task-policy", role=task_role.name, policy=documents.document(allowed), opts=child
                )
            )
        variables = {
            **environment(bound),
            "KEEPWARM_CACHE_DIR": _gpu_task.CACHE,
            "KEEPWARM_METRIC_NAMESPACE": args.get("metric_namespace", "Keepwarm"),
            # The time until SIGKILL; the server takes its margin off.
            "KEEPWARM_DRAIN_S": _gpu_task.text(spec["drain_s"]),
            "KEEPWARM_QUEUE_MAX": str(limits.task_queue(spec["concurrency_per_task"])),
            **args.get("environment", {}),
        }
        container = pulumi.Output.all(
            image=spec["image"],
            port=spec["port"],
            drain_s=spec["drain_s"],
            start_s=spec["start_s"],
            log_group=logs.name,
            region=documents.region(self),
            variables=variables,
            secrets=args.get("secrets", {}),
        ).apply(
            lambda values: json.dumps(
                [_gpu_task.container_definition(values, spec["gpus"], spec["capacity"])]
            )
        )
        task = ecs.TaskDefinition(
            f"{name}-task",
            # A family is shared by the whole account; the cluster's name makes it this stack's own.
            family=cluster.name,
            container_definitions=container,
            requires_compatibilities=[_gpu_task.COMPATIBILITY[spec["capacity"]]],
            network_mode="awsvpc",
            cpu=_gpu_task.text(spec["cpu_units"]),
            memory=_gpu_task.text(spec["memory_mb"]),
            execution_role_arn=execution.arn,
            task_role_arn=task_role.arn,
            runtime_platform={
                "operating_system_family": "LINUX",
                "cpu_architecture": "ARM64" if spec["architecture"] == "arm64" else "X86_64",
            },
            volumes=_gpu_task.volumes(spec["capacity"]),
            opts=child,
        )
        return task, logs, task_role, policies

    def _scale(
        self,
        name: str,
        args: GpuServiceArgs,
        spec: dict[str, Any],
        cluster: ecs.Cluster,
        service: ecs.Service,
        discovery: servicediscovery.Service,
    ) -> None:
        child = pulumi.ResourceOptions(parent=self)
        target = appautoscaling.Target(
            f"{name}-target",
            service_namespace="ecs",
            scalable_dimension="ecs:service:DesiredCount",
            resource_id=concat("service/", cluster.name, "/", service.name),
            min_capacity=0 if spec["retiring"] else spec["min_tasks"],
            max_capacity=0 if spec["retiring"] else spec["max_tasks"],
            opts=child,
        )
        same: dict[str, Any] = {
            "service_namespace": target.service_namespace,
            "scalable_dimension": target.scalable_dimension,
            "resource_id": target.resource_id,
            "policy_type": "StepScaling",
            "opts": child,
        }
        out = appautoscaling.Policy(
            f"{name}-out",
            step_scaling_policy_configuration={
                "adjustment_type": "ExactCapacity",
                "metric_aggregation_type": "Maximum",
                "cooldown": spec["signal_period_s"],
                "step_adjustments": [
                    {
                        "metric_interval_lower_bound": str(step.lower),
                        "metric_interval_upper_bound": None if step.upper is None else str(step.upper),
                        "scaling_adjustment": step.tasks,
                    }
                    for step in _gpu_size.steps(
                        spec["backlog_per_task"], spec["min_tasks"], spec["max_tasks"]
                    )
                ],
            },
            **same,
        )
        back = appautoscaling.Policy(
            f"{name}-in",
            step_scaling_policy_configuration={
                "adjustment_type": "ExactCapacity",
                "metric_aggregation_type": "Maximum",
                "cooldown": spec["signal_period_s"],
                # Both sides: an alarm that rang because data was missing may carry no value below its threshold.
                "step_adjustments": [
                    {"metric_interval_upper_bound": "0", "scaling_adjustment": spec["min_tasks"]},
                    {"metric_interval_lower_bound": "0", "scaling_adjustment": spec["min_tasks"]},
                ],
            },
            **same,
        )
        signal: dict[str, Any] = {
            "namespace": args.get("metric_namespace", "Keepwarm"),
            "metric_name": "Backlog",
            "dimensions": {"Service": discovery.name},
            "statistic": "Sum",
            "threshold": 1,
            "opts": child,
        }
        cloudwatch.MetricAlarm(
            f"{name}-backlog",
            alarm_description="Callers want the service: run the tasks their backlog needs.",
            # Callers emit the metric, so the signal exists while there is no task.
            comparison_operator="GreaterThanOrEqualToThreshold",
            period=spec["signal_period_s"],
            evaluation_periods=1,
            treat_missing_data="notBreaching",
            alarm_actions=[out.arn],
            **signal,
        )
        cloudwatch.MetricAlarm(
            f"{name}-idle",
            alarm_description="Nobody wanted the service for a while: go back to the minimum.",
            comparison_operator="LessThanThreshold",
            period=60,
            evaluation_periods=spec["idle_minutes"],
            # No data is no demand.
            treat_missing_data="breaching",
            alarm_actions=[back.arn],
            **signal,
        )
        cloudwatch.MetricAlarm(
            f"{name}-saturated",
            alarm_description="The backlog exceeds what all tasks take: callers are being refused.",
            comparison_operator="GreaterThanThreshold",
            period=60,
            evaluation_periods=5,
            treat_missing_data="notBreaching",
            alarm_actions=args.get("alarm_topic_arns"),
            **{**signal, "threshold": spec["backlog_per_task"] * max(spec["max_tasks"], 1)},
        )


def _wake_s(spec: dict[str, Any]) -> pulumi.Input[float]:
    """Seconds from the first demand to the first answer; 0 when a task is kept running."""
    if spec["min_tasks"] > 0:
        return 0.0

    def total(start_s: float) -> float:
        if spec["capacity"] is Capacity.FARGATE:
            return wake.task_wake_s(spec["signal_period_s"], start_s)
        warm = bool(spec["warm_instances"])
        return wake.instance_wake_s(spec["signal_period_s"], start_s, warm_instances=warm)

    return derive(total, spec["start_s"])


def _locate(owner: pulumi.Resource, spec: dict[str, Any]) -> None:
    """Look the default VPC up when the caller names none."""
    if spec["vpc_id"] is not None:
        return
    look = pulumi.InvokeOutputOptions(parent=owner)
    vpc_id = aws.ec2.get_vpc_output(default=True, opts=look).id
    spec["vpc_id"] = vpc_id
    spec["subnet_ids"] = documents.default_subnets(owner, vpc_id)
