"""Environments that are ready before the request comes."""

import re
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_aws import appautoscaling, iam, lambda_

from keepwarm import _iam, limits
from keepwarm._args import Checks, Problem, concat, derive, known, plain, show
from keepwarm.bindings import WarmTarget

ENVIRONMENTS = 1
TARGET_UTILISATION = 0.7
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

    at: pulumi.Input[str]
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
    target_utilisation: NotRequired[pulumi.Input[float]]
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
        super().__init__("keepwarm:index:WarmPool", name, {}, opts)
        checks = Checks("WarmPool", name, args, WarmPoolArgs)
        mode = checks.choice("mode", WarmMode.PROVISIONED)
        spec = _checked(checks, args, mode)
        checks.done()

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
                    "target_value": spec["target_utilisation"],
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
                schedule=schedule["at"],
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
            assume_role_policy=_iam.trust("lambda.amazonaws.com", _iam.account(self)),
            opts=child,
        )
        managed = iam.RolePolicyAttachment(
            f"{name}-operator-policy",
            role=operator.name,
            policy_arn=concat(
                "arn:", _iam.partition(self), ":iam::aws:policy/AWSLambdaManagedEC2ResourceOperator"
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
                    "target_value": derive(lambda share: share * 100, spec["target_utilisation"]),
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


def _checked(checks: Checks, args: WarmPoolArgs, mode: WarmMode) -> dict[str, Any]:
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
        "target_utilisation": checks.number(
            "target_utilisation",
            TARGET_UTILISATION,
            limits.SCALING_UTILISATION_MIN,
            limits.SCALING_UTILISATION_MAX,
            code="KW146",
            unit="",
            because="Application Auto Scaling tracks no other utilisation",
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
            "KW144",
            "schedules",
            f"{len(spec['schedules'])} schedules",
            f"up to {limits.SCALING_SCHEDULES_MAX}",
            "a scalable target takes no more",
            "merge them",
        )
    _check_mode(checks, args, mode)
    if mode is not WarmMode.INSTANCES and "target" in args:
        checks.unknown("target", args["target"], WarmTarget)
        _check_target(checks, args["target"], mode, spec)
    return spec


def _ordered(key: str) -> Any:
    def test(most: Any, least: Any) -> Problem | None:
        if most >= least:
            return None
        return Problem(
            "KW127",
            key,
            show(most),
            f"at least environments, {least}",
            "an upper bound lies above the lower",
            f"raise {key}",
        )

    return test


def _schedule(checks: Checks, index: int, entry: WarmSchedule) -> dict[str, Any]:
    at = f"schedules[{index}]"
    checks.unknown(at, entry, WarmSchedule)
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
        "at": checks.text(
            f"{at}.at",
            entry.get("at"),
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


def _check_mode(checks: Checks, args: WarmPoolArgs, mode: WarmMode) -> None:
    if mode is WarmMode.INSTANCES:
        if "target" in args:
            checks.add(
                "KW102",
                "target",
                "a target",
                "no target with mode 'instances'",
                "the function refers to the pool's capacity provider, not the other way round",
                "drop target and pass capacity_provider_arn to the function",
            )
        for key in ("subnet_ids", "security_group_ids"):
            if not args.get(key):
                checks.add(
                    "KW102", key, "nothing", "a value", "managed instances run in your VPC", f"set {key}"
                )
        subnets = args.get("subnet_ids", [])
        if 0 < len({s if known(s) else i for i, s in enumerate(subnets)}) < 2:
            checks.add(
                "KW138",
                "subnet_ids",
                "1 subnet",
                "two or more, in two availability zones",
                "one zone's outage would take all warm environments",
                "add a subnet of another zone",
            )
        return
    if "target" not in args:
        checks.add(
            "KW102",
            "target",
            "nothing",
            "a target",
            f"mode {mode.value!r} keeps the environments of one alias warm",
            "pass function.warm_target()",
        )
    if mode is WarmMode.SNAPSHOT:
        for key in ("environments", "max_environments", "schedules"):
            if args.get(key):
                checks.add(
                    "KW112",
                    key,
                    "a size",
                    "no size with mode 'snapshot'",
                    "snapshots are restored on demand, and Lambda excludes provisioned concurrency with SnapStart",
                    f"drop {key}, or use mode 'provisioned' on a function without snap_start",
                )


def _check_target(checks: Checks, target: WarmTarget, mode: WarmMode, spec: dict[str, Any]) -> None:
    snap_start = target.get("snap_start", False)
    if mode is WarmMode.SNAPSHOT:
        if not snap_start:
            checks.add(
                "KW112",
                "mode",
                "'snapshot'",
                "a target with snap_start",
                "the function takes the snapshots",
                "set snap_start on the function",
            )
        return
    if snap_start:
        checks.add(
            "KW112",
            "mode",
            "'provisioned' with a snap_start target",
            "one of them",
            "Lambda excludes provisioned concurrency with SnapStart",
            "use mode 'snapshot', or drop snap_start from the function",
        )
    if target.get("weighted", False):
        checks.add(
            "KW111",
            "target",
            "an alias with alias_weights",
            "an alias of one version",
            "Lambda provisions an alias only while it points to a single version",
            "finish the shift, then add the pool",
        )

    def published(alias: Any) -> Problem | None:
        if isinstance(alias, str) and re.fullmatch(r"\$LATEST(?:\.PUBLISHED)?|", alias):
            return Problem(
                "KW109",
                "target.alias",
                show(alias),
                "an alias or a version",
                "Lambda provisions published code only, and callers of $LATEST would miss the pool",
                "pass function.warm_target()",
            )
        return None

    checks.holds(published, target.get("alias", ""))
    if "reserved_concurrency" not in target:
        return

    def reserved(environments: Any, kept: Any) -> Problem | None:
        if environments <= kept:
            return None
        return Problem(
            "KW110",
            "environments",
            show(environments),
            f"up to the function's reserved_concurrency, {kept}",
            "provisioned environments count against the reservation",
            f"reserve {environments}, or provision {kept}",
        )

    for key in ("environments", "max_environments"):
        if plain(spec[key]) is not None or not known(spec[key]):
            spec[key] = checks.holds(reserved, spec[key], target["reserved_concurrency"])
