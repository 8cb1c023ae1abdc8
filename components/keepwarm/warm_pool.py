"""Environments that are ready before the request comes."""

from dataclasses import dataclass
from typing import Any, NotRequired, Self, TypedDict

import pulumi
from pulumi_aws import appautoscaling, iam, lambda_

from keepwarm import limits
from keepwarm._values import concat, derive
from keepwarm.checks.function import Architecture
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where
from keepwarm.checks.warm_pool import (
    Schedule,
    Sizes,
    WarmMode,
    check_mode,
    check_schedules,
    check_sizes,
    check_target,
)
from keepwarm.iam import documents
from keepwarm.iam.bindings import WarmTarget

TARGET_UTILIZATION = 0.7
MAX_VCPUS = 64


class WarmSchedule(TypedDict):
    """A size from one moment on, until the next schedule."""

    schedule_expression: pulumi.Input[str]
    """``cron(...)``, ``rate(...)`` or ``at(...)`` expression of Application Auto Scaling."""
    environments: pulumi.Input[int]
    """Least environments from then on."""
    max_environments: NotRequired[pulumi.Input[int]]
    """Most environments from then on. Default: the same as `environments`."""
    timezone: NotRequired[pulumi.Input[str]]
    """IANA time zone of the expression. Default: UTC."""


class WarmPoolArgs(TypedDict):
    """Inputs of a WarmPool."""

    mode: NotRequired[WarmMode]
    """``provisioned``: environments initialized ahead. ``snapshot``: versions are restored from a snapshot; the
    function's `snap_start` takes it, the pool proves that nothing excludes it. ``instances``: Lambda managed instances
    for the function's `capacity_provider_arn`. Default: provisioned."""
    target: NotRequired[WarmTarget]
    """Alias to keep warm (``function.warm_target()``); for the modes provisioned and snapshot. Default: none."""
    environments: NotRequired[pulumi.Input[int]]
    """Environments kept initialized, at least 1. Default: 1."""
    max_environments: NotRequired[pulumi.Input[int]]
    """Environments target tracking may grow to. Default: no target tracking."""
    target_utilization: NotRequired[pulumi.Input[float]]
    """Share of provisioned environments in use that target tracking aims at, 0.1..0.9. Default: 0.7."""
    schedules: NotRequired[list[WarmSchedule]]
    """Sizes by time of day; from the first one on they own the pool's bounds, and a deployment leaves them alone.
    Default: none."""
    subnet_ids: NotRequired[list[pulumi.Input[str]]]
    """Subnets of managed instances, in two availability zones or more. Default: none."""
    security_group_ids: NotRequired[list[pulumi.Input[str]]]
    """Security groups of managed instances. Default: none."""
    instance_types: NotRequired[list[pulumi.Input[str]]]
    """Instance types Lambda may launch. Default: its own choice."""
    architecture: NotRequired[Architecture]
    """Instruction set of managed instances. Default: x86_64."""
    max_vcpus: NotRequired[pulumi.Input[int]]
    """Most vCPUs of managed instances in all. Default: 64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instances:
    """Lambda managed instances of a pool."""

    subnet_ids: list[pulumi.Input[str]]
    security_group_ids: list[pulumi.Input[str]]
    instance_types: list[pulumi.Input[str]]
    architecture: Architecture
    max_vcpus: pulumi.Input[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmPoolSpec:
    """Inputs of a WarmPool after their check: all that its resources are built from."""

    mode: WarmMode
    target: WarmTarget | None
    """None with managed instances."""
    sizes: Sizes
    schedules: list[Schedule]
    target_utilization: pulumi.Input[float]
    instances: Instances | None

    @classmethod
    def of(
        cls, name: str, args: WarmPoolArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks("WarmPool", name, args, WarmPoolArgs, where=where, report=report)
        args = checks.args
        mode = checks.choice("mode", WarmMode.PROVISIONED)
        target = args.get("target")
        sizes = check_sizes(checks)
        check_mode(checks, args, mode)
        if mode is not WarmMode.INSTANCES and target is not None:
            sizes = check_target(checks, target, mode, sizes)
        instances = Instances(
            subnet_ids=args.get("subnet_ids", []),
            security_group_ids=args.get("security_group_ids", []),
            instance_types=args.get("instance_types", []),
            architecture=checks.choice("architecture", Architecture.X86_64, "KW141"),
            max_vcpus=checks.number(
                "max_vcpus",
                MAX_VCPUS,
                2,
                15_000,
                code="KW127",
                unit="vCPUs",
                because="Lambda takes no other bound",
            ),
        )
        spec = cls(
            mode=mode,
            target=target,
            sizes=sizes,
            schedules=check_schedules(checks, args.get("schedules", [])),
            target_utilization=checks.number(
                "target_utilization",
                TARGET_UTILIZATION,
                limits.SCALING_UTILIZATION_MIN,
                limits.SCALING_UTILIZATION_MAX,
                code="KW146",
                unit="",
                because="Application Auto Scaling tracks no other utilization",
                whole=False,
            ),
            instances=instances if mode is WarmMode.INSTANCES else None,
        )
        # Longest of the children with a limit: the role of managed instances.
        child_name(checks, name, "operator", limits.IAM_ROLE_NAME_MAX_CHARS)
        checks.done()
        return spec

    @property
    def scaled(self) -> bool:
        """Whether an autoscaler owns the number of environments."""
        return self.sizes.max_environments is not None or bool(self.schedules)


class WarmPool(pulumi.ComponentResource):
    """Keeps environments of one alias ready, and follows load and clock without being reset by a deployment."""

    mode: pulumi.Output[str]
    """How environments are kept warm."""
    compatibility_key: pulumi.Output[str]
    """Digest of what a warm environment depends on; empty for managed instances."""
    capacity_provider_arn: pulumi.Output[str]
    """Capacity provider for a function's `capacity_provider_arn`; empty unless the mode is instances."""

    def __init__(self, name: str, args: WarmPoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        spec = WarmPoolSpec.of(name, args)
        super().__init__("keepwarm:index:WarmPool", name, {}, opts)

        provider_arn: pulumi.Input[str] = ""
        if spec.mode is WarmMode.PROVISIONED and spec.target is not None:
            self._provision(name, spec, spec.target)
        elif spec.instances is not None:
            provider_arn = self._instances(name, spec, spec.instances)

        self.mode = pulumi.Output.from_input(spec.mode.value)
        self.compatibility_key = pulumi.Output.from_input(
            spec.target["compatibility_key"] if spec.target is not None else ""
        )
        self.capacity_provider_arn = pulumi.Output.from_input(provider_arn)
        self.register_outputs(
            {
                "mode": self.mode,
                "compatibility_key": self.compatibility_key,
                "capacity_provider_arn": self.capacity_provider_arn,
            }
        )

    def _provision(self, name: str, spec: WarmPoolSpec, target: WarmTarget) -> None:
        provisioned = lambda_.ProvisionedConcurrencyConfig(
            f"{name}-provisioned",
            function_name=target["function_name"],
            qualifier=target["alias"],
            provisioned_concurrent_executions=spec.sizes.environments,
            opts=pulumi.ResourceOptions(
                parent=self,
                # Once a scalable target exists the autoscaler owns the count; a deployment must not reset it.
                ignore_changes=["provisionedConcurrentExecutions"] if spec.scaled else None,
            ),
        )
        if spec.scaled:
            self._scale(name, spec, target, provisioned)

    def _scale(
        self,
        name: str,
        spec: WarmPoolSpec,
        target: WarmTarget,
        provisioned: lambda_.ProvisionedConcurrencyConfig,
    ) -> None:
        """Follow load and clock."""
        most = spec.sizes.max_environments
        scalable = appautoscaling.Target(
            f"{name}-target",
            service_namespace="lambda",
            scalable_dimension="lambda:function:ProvisionedConcurrency",
            resource_id=concat("function:", target["function_name"], ":", target["alias"]),
            min_capacity=spec.sizes.environments,
            max_capacity=spec.sizes.environments if most is None else most,
            # Schedules move the bounds by design; a deployment must not move them back.
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[provisioned],
                ignore_changes=["minCapacity", "maxCapacity"] if spec.schedules else None,
            ),
        )
        same: dict[str, Any] = {
            "service_namespace": scalable.service_namespace,
            "scalable_dimension": scalable.scalable_dimension,
            "resource_id": scalable.resource_id,
            "opts": pulumi.ResourceOptions(parent=self),
        }
        if most is not None:
            appautoscaling.Policy(
                f"{name}-tracking",
                policy_type="TargetTrackingScaling",
                target_tracking_scaling_policy_configuration={
                    "target_value": spec.target_utilization,
                    "predefined_metric_specification": {
                        "predefined_metric_type": "LambdaProvisionedConcurrencyUtilization"
                    },
                },
                **same,
            )
        for index, schedule in enumerate(spec.schedules):
            appautoscaling.ScheduledAction(
                f"{name}-schedule-{index}",
                schedule=schedule.expression,
                timezone=schedule.timezone,
                scalable_target_action={
                    "min_capacity": schedule.environments,
                    "max_capacity": schedule.max_environments,
                },
                **same,
            )

    def _instances(self, name: str, spec: WarmPoolSpec, instances: Instances) -> pulumi.Output[str]:
        child = pulumi.ResourceOptions(parent=self)
        operator = iam.Role(
            f"{name}-operator",
            assume_role_policy=documents.trust("lambda.amazonaws.com", documents.account(self)),
            opts=child,
        )
        managed = iam.RolePolicyAttachment(
            f"{name}-operator-policy",
            role=operator.name,
            policy_arn=concat(
                "arn:", documents.partition(self), ":iam::aws:policy/AWSLambdaManagedEC2ResourceOperator"
            ),
            opts=child,
        )
        requirement: Any = {
            "architectures": [instances.architecture.value],
            "allowed_instance_types": instances.instance_types,
            "excluded_instance_types": [],
        }
        scaling: Any = {
            "max_vcpu_count": instances.max_vcpus,
            "scaling_mode": "Manual",
            "scaling_policies": [
                {
                    "predefined_metric_type": "LambdaCapacityProviderAverageCPUUtilization",
                    "target_value": derive(lambda share: share * 100, spec.target_utilization),
                }
            ],
        }
        network: Any = {
            "subnet_ids": instances.subnet_ids,
            "security_group_ids": instances.security_group_ids,
        }
        provider = lambda_.CapacityProvider(
            f"{name}-instances",
            permissions_config={"capacity_provider_operator_role_arn": operator.arn},
            vpc_config=network,
            instance_requirements=[requirement],
            capacity_provider_scaling_configs=[scaling],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[managed]),
        )
        return provider.arn
