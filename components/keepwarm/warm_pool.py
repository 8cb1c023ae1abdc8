"""Environments that are ready before the request comes."""

import re
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_aws import appautoscaling, iam, lambda_

from keepwarm import limits
from keepwarm._values import concat, derive, known, plain
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Problem, show
from keepwarm.iam import documents
from keepwarm.iam.bindings import WarmTarget

ENVIRONMENTS = 1
TARGET_UTILIZATION = 0.7
MAX_VCPUS = 64
SCHEDULE = (
    r"(?:cron\((?:[^ ()]+ ){5}[^ ()]+\)|rate\([1-9][0-9]* (?:minute|hour|day)s?\)|at\([0-9T:-]{16,19}\))"
)


class WarmMode(StrEnum):
    """How environments are kept warm."""

    PROVISIONED = "provisioned"
    SNAPSHOT = "snapshot"
    INSTANCES = "instances"


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
    """``provisioned``: environments initialised ahead. ``snapshot``: versions are restored from a snapshot; the
    function's `snap_start` takes it, the pool proves that nothing excludes it. ``instances``: Lambda managed instances
    for the function's `capacity_provider_arn`. Default: provisioned."""
    target: NotRequired[WarmTarget]
    """Alias to keep warm (``function.warm_target()``); for the modes provisioned and snapshot. Default: none."""
    environments: NotRequired[pulumi.Input[int]]
    """Environments kept initialised, at least 1. Default: 1."""
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
    architecture: NotRequired[pulumi.Input[str]]
    """Instruction set of managed instances, arm64 or x86_64. Default: x86_64."""
    max_vcpus: NotRequired[pulumi.Input[int]]
    """Most vCPUs of managed instances in all. Default: 64."""


class WarmPool(pulumi.ComponentResource):
    """Keeps environments of one alias ready, and follows load and clock without being reset by a deployment."""

    mode: pulumi.Output[str]
    """How environments are kept warm."""
    compatibility_key: pulumi.Output[str]
    """Digest of what a warm environment depends on; empty for managed instances."""
    capacity_provider_arn: pulumi.Output[str]
    """Capacity provider for a function's `capacity_provider_arn`; empty unless the mode is instances."""

    def __init__(self, name: str, args: WarmPoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        checks = Checks("WarmPool", name, args, WarmPoolArgs)
        args = checks.args
        mode = checks.choice("mode", WarmMode.PROVISIONED)
        spec = _checked(checks, args, mode)
        # Longest of the children with a limit: the role of managed instances.
        child_name(checks, name, "operator", limits.IAM_ROLE_NAME_MAX_CHARS)
        checks.done()
        super().__init__("keepwarm:index:WarmPool", name, {}, opts)

        provider_arn: pulumi.Input[str] = ""
        if mode is WarmMode.PROVISIONED:
            self._provision(name, args, spec)
        elif mode is WarmMode.INSTANCES:
            provider_arn = self._instances(name, args, spec)

        self.mode = pulumi.Output.from_input(mode.value)
        self.compatibility_key = pulumi.Output.from_input(
            args["target"]["compatibility_key"] if "target" in args else ""
        )
        self.capacity_provider_arn = pulumi.Output.from_input(provider_arn)
        self.register_outputs(
            {
                "mode": self.mode,
                "compatibility_key": self.compatibility_key,
                "capacity_provider_arn": self.capacity_provider_arn,
            }
        )

    def _provision(self, name: str, args: WarmPoolArgs, spec: dict[str, Any]) -> None:
        target = args["target"]
        scaled = spec["max_environments"] is not None or bool(spec["schedules"])
        provisioned = lambda_.ProvisionedConcurrencyConfig(
            f"{name}-provisioned",
            function_name=target["function_name"],
            qualifier=target["alias"],
            provisioned_concurrent_executions=spec["environments"],
            opts=pulumi.ResourceOptions(
                parent=self,
                # Once a scalable target exists the autoscaler owns the count; a deployment must not reset it.
                ignore_changes=["provisionedConcurrentExecutions"] if scaled else None,
            ),
        )
        if not scaled:
            return
        bounds = ["minCapacity", "maxCapacity"] if spec["schedules"] else None
        scalable = appautoscaling.Target(
            f"{name}-target",
            service_namespace="lambda",
            scalable_dimension="lambda:function:ProvisionedConcurrency",
            resource_id=concat("function:", target["function_name"], ":", target["alias"]),
            min_capacity=spec["environments"],
            max_capacity=spec["max_environments"] or spec["environments"],
            # Schedules move the bounds by design; a deployment must not move them back.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[provisioned], ignore_changes=bounds),
        )
        same: dict[str, Any] = {
            "service_namespace": scalable.service_namespace,
            "scalable_dimension": scalable.scalable_dimension,
            "resource_id": scalable.resource_id,
        }
        child = pulumi.ResourceOptions(parent=self)
        if spec["max_environments"] is not None:
            appautoscaling.Policy(
                f"{name}-tracking",
                policy_type="TargetTrackingScaling",
                target_tracking_scaling_policy_configuration={
                    "target_value": spec["target_utilization"],
                    "predefined_metric_specification": {
                        "predefined_metric_type": "LambdaProvisionedConcurrencyUtilization"
                    },
                },
                **same,
                opts=child,
            )
        for index, schedule in enumerate(spec["schedules"]):
            appautoscaling.ScheduledAction(
                f"{name}-schedule-{index}",
                schedule=schedule["schedule_expression"],
                timezone=schedule["timezone"],
                scalable_target_action={
                    "min_capacity": schedule["environments"],
                    "max_capacity": schedule["max_environments"],
                },
                **same,
                opts=child,
            )

    def _instances(self, name: str, args: WarmPoolArgs, spec: dict[str, Any]) -> pulumi.Output[str]:
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
            "architectures": [args.get("architecture", "x86_64")],
            "allowed_instance_types": args.get("instance_types", []),
            "excluded_instance_types": [],
        }
        scaling: Any = {
            "max_vcpu_count": spec["max_vcpus"],
            "scaling_mode": "Manual",
            "scaling_policies": [
                {
                    "predefined_metric_type": "LambdaCapacityProviderAverageCPUUtilization",
                    "target_value": derive(lambda share: share * 100, spec["target_utilization"]),
                }
            ],
        }
        network: Any = {"subnet_ids": args["subnet_ids"], "security_group_ids": args["security_group_ids"]}
        provider = lambda_.CapacityProvider(
            f"{name}-instances",
            permissions_config={"capacity_provider_operator_role_arn": operator.arn},
            vpc_config=network,
            instance_requirements=[requirement],
            capacity_provider_scaling_configs=[scaling],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[managed]),
        )
        return provider.arn


def _checked(checks: Checks[Any], args: WarmPoolArgs, mode: WarmMode) -> dict[str, Any]:
    size: dict[str, Any] = {
        "code": "KW127",
        "unit": "environments",
        "because": "AWS keeps at least one; leave the WarmPool out to keep none",
    }
    spec: dict[str, Any] = {
        "environments": checks.number(
            "environments", ENVIRONMENTS, limits.LAMBDA_PROVISIONED_CONCURRENCY_MIN, 100_000, **size
        ),
        "max_environments": checks.number("max_environments", None, 1, 100_000, **size),
        "target_utilization": checks.number(
            "target_utilization",
            TARGET_UTILIZATION,
            limits.SCALING_UTILIZATION_MIN,
            limits.SCALING_UTILIZATION_MAX,
            code="KW146",
            unit="",
            because="Application Auto Scaling tracks no other utilization",
            whole=False,
        ),
        "max_vcpus": checks.number(
            "max_vcpus",
            MAX_VCPUS,
            2,
            15_000,
            code="KW127",
            unit="vCPUs",
            because="Lambda takes no other bound",
        ),
        "schedules": [
            _schedule(checks, index, entry) for index, entry in enumerate(args.get("schedules", []))
        ],
    }
    if spec["max_environments"] is not None:
        spec["max_environments"] = checks.holds(
            _ordered("max_environments"), spec["max_environments"], spec["environments"]
        )
    if len(spec["schedules"]) > limits.SCALING_SCHEDULES_MAX:
        checks.add(
            code="KW144",
            key="schedules",
            got=f"{len(spec['schedules'])} schedules",
            allowed=f"up to {limits.SCALING_SCHEDULES_MAX}",
            because="a scalable target takes no more",
            fix="merge them",
        )
    _check_mode(checks, args, mode)
    if mode is not WarmMode.INSTANCES and "target" in args:
        _check_target(checks, args["target"], mode, spec)
    return spec


def _ordered(key: str) -> Any:
    def test(most: Any, least: Any) -> Problem | None:
        if most >= least:
            return None
        return Problem(
            code="KW127",
            key=key,
            got=show(most),
            allowed=f"at least environments, {least}",
            because="an upper bound lies above the lower",
            fix=f"raise {key}",
        )

    return test


def _schedule(checks: Checks[Any], index: int, entry: WarmSchedule) -> dict[str, Any]:
    at = f"schedules[{index}]"
    size: dict[str, Any] = {
        "code": "KW127",
        "unit": "environments",
        "because": "a schedule sets a size",
        "args": entry,
        "at": at,
    }
    least = checks.number("environments", 0, 0, 100_000, **size)
    most = checks.number("max_environments", None, 0, 100_000, **size)
    return {
        "schedule_expression": checks.text(
            f"{at}.schedule_expression",
            entry.get("schedule_expression"),
            SCHEDULE,
            code="KW144",
            allowed="'cron(minute hour day month weekday year)', 'rate(n unit)' or 'at(YYYY-MM-DDThh:mm:ss)'",
            because="Application Auto Scaling takes no other expression",
            fix="write it in one of these forms",
        ),
        "environments": least,
        "max_environments": least
        if most is None
        else checks.holds(_ordered(f"{at}.max_environments"), most, least),
        "timezone": entry.get("timezone", "UTC"),
    }


def _check_mode(checks: Checks[Any], args: WarmPoolArgs, mode: WarmMode) -> None:
    if mode is WarmMode.INSTANCES:
        if "target" in args:
            checks.add(
                code="KW102",
                key="target",
                got="a target",
                allowed="no target with mode 'instances'",
                because="the function refers to the pool's capacity provider, not the other way round",
                fix="drop target and pass capacity_provider_arn to the function",
            )
        for key in ("subnet_ids", "security_group_ids"):
            if not args.get(key):
                checks.add(
                    code="KW102",
                    key=key,
                    got="nothing",
                    allowed="a value",
                    because="managed instances run in your VPC",
                    fix=f"set {key}",
                )
        subnets = args.get("subnet_ids", [])
        if 0 < len({s if known(s) else i for i, s in enumerate(subnets)}) < 2:
            checks.add(
                code="KW138",
                key="subnet_ids",
                got="1 subnet",
                allowed="two or more, in two availability zones",
                because="one zone's outage would take all warm environments",
                fix="add a subnet of another zone",
            )
        return
    if "target" not in args:
        checks.add(
            code="KW102",
            key="target",
            got="nothing",
            allowed="a target",
            because=f"mode {mode.value!r} keeps the environments of one alias warm",
            fix="pass function.warm_target()",
        )
    if mode is WarmMode.SNAPSHOT:
        for key in ("environments", "max_environments", "schedules"):
            if args.get(key):
                checks.add(
                    code="KW112",
                    key=key,
                    got="a size",
                    allowed="no size with mode 'snapshot'",
                    because=(
                        "snapshots are restored on demand, and Lambda excludes provisioned concurrency with SnapStart"
                    ),
                    fix=f"drop {key}, or use mode 'provisioned' on a function without snap_start",
                )


def _check_target(checks: Checks[Any], target: WarmTarget, mode: WarmMode, spec: dict[str, Any]) -> None:
    snap_start = target.get("snap_start", False)
    if mode is WarmMode.SNAPSHOT:
        if not snap_start:
            checks.add(
                code="KW112",
                key="mode",
                got="'snapshot'",
                allowed="a target with snap_start",
                because="the function takes the snapshots",
                fix="set snap_start on the function",
            )
        return
    if snap_start:
        checks.add(
            code="KW112",
            key="mode",
            got="'provisioned' with a snap_start target",
            allowed="one of them",
            because="Lambda excludes provisioned concurrency with SnapStart",
            fix="use mode 'snapshot', or drop snap_start from the function",
        )
    if target.get("weighted", False):
        checks.add(
            code="KW111",
            key="target",
            got="an alias with alias_weights",
            allowed="an alias of one version",
            because="Lambda provisions an alias only while it points to a single version",
            fix="finish the shift, then add the pool",
        )

    def published(alias: Any) -> Problem | None:
        if isinstance(alias, str) and re.fullmatch(r"\$LATEST(?:\.PUBLISHED)?|", alias):
            return Problem(
                code="KW109",
                key="target.alias",
                got=show(alias),
                allowed="an alias or a version",
                because="Lambda provisions published code only, and callers of $LATEST would miss the pool",
                fix="pass function.warm_target()",
            )
        return None

    checks.holds(published, target.get("alias", ""))
    if "reserved_concurrency" not in target:
        return

    def reserved(environments: Any, kept: Any) -> Problem | None:
        if environments <= kept:
            return None
        return Problem(
            code="KW110",
            key="environments",
            got=show(environments),
            allowed=f"up to the function's reserved_concurrency, {kept}",
            because="provisioned environments count against the reservation",
            fix=f"reserve {environments}, or provision {kept}",
        )

    for key in ("environments", "max_environments"):
        if plain(spec[key]) is not None or not known(spec[key]):
            spec[key] = checks.holds(reserved, spec[key], target["reserved_concurrency"])
