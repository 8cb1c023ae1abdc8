"""Checks on the inputs of a WarmPool: sizes, schedules, and whether its target may be kept warm that way."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pulumi

from keepwarm import limits
from keepwarm._values import known
from keepwarm.checks.inputs import Checks
from keepwarm.checks.model_fit import numeric
from keepwarm.checks.problems import Problem, show
from keepwarm.iam.bindings import WarmTarget

ENVIRONMENTS = 1
ENVIRONMENTS_MAX = 100_000
SCHEDULE = (
    r"(?:cron\((?:[^ ()]+ ){5}[^ ()]+\)|rate\([1-9][0-9]* (?:minute|hour|day)s?\)|at\([0-9T:-]{16,19}\))"
)


class WarmMode(StrEnum):
    """How environments are kept warm."""

    PROVISIONED = "provisioned"
    SNAPSHOT = "snapshot"
    INSTANCES = "instances"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How many environments are kept: from now on, and until when target tracking may grow them."""

    environments: pulumi.Input[int]
    max_environments: pulumi.Input[int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Bounds from one moment on."""

    expression: pulumi.Input[str]
    timezone: pulumi.Input[str]
    environments: pulumi.Input[int]
    max_environments: pulumi.Input[int]


def check_sizes(checks: Checks[Any]) -> Sizes:
    """The pool's own sizes."""
    size: dict[str, Any] = {
        "code": "KW127",
        "unit": "environments",
        "because": "AWS keeps at least one; leave the WarmPool out to keep none",
    }
    least = checks.number(
        "environments", ENVIRONMENTS, limits.LAMBDA_PROVISIONED_CONCURRENCY_MIN, ENVIRONMENTS_MAX, **size
    )
    most = checks.number("max_environments", None, 1, ENVIRONMENTS_MAX, **size)
    if most is not None:
        most = checks.holds(numeric(_ordered("max_environments")), most, least)
    return Sizes(environments=least, max_environments=most)


def check_schedules(checks: Checks[Any], entries: list[Any]) -> list[Schedule]:
    """The schedules, at most as many as a scalable target takes."""
    if len(entries) > limits.SCALING_SCHEDULES_MAX:
        checks.add(
            code="KW144",
            key="schedules",
            got=f"{len(entries)} schedules",
            allowed=f"up to {limits.SCALING_SCHEDULES_MAX}",
            because="a scalable target takes no more",
            fix="merge them",
        )
    return [_schedule(checks, f"schedules[{index}]", entry) for index, entry in enumerate(entries)]


def _schedule(checks: Checks[Any], at: str, entry: Mapping[str, Any]) -> Schedule:
    size: dict[str, Any] = {
        "code": "KW127",
        "unit": "environments",
        "because": "a schedule sets a size",
        "args": entry,
        "at": at,
    }
    least = checks.number("environments", 0, 0, ENVIRONMENTS_MAX, **size)
    most = checks.number("max_environments", None, 0, ENVIRONMENTS_MAX, **size)
    return Schedule(
        expression=checks.text(
            f"{at}.schedule_expression",
            entry.get("schedule_expression"),
            SCHEDULE,
            code="KW144",
            allowed="'cron(minute hour day month weekday year)', 'rate(n unit)' or 'at(YYYY-MM-DDThh:mm:ss)'",
            because="Application Auto Scaling takes no other expression",
            fix="write it in one of these forms",
        ),
        timezone=entry.get("timezone", "UTC"),
        environments=least,
        max_environments=least
        if most is None
        else checks.holds(numeric(_ordered(f"{at}.max_environments")), most, least),
    )


def _ordered(key: str) -> Callable[[float, float], Problem | None]:
    def test(most: float, least: float) -> Problem | None:
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


def check_mode(checks: Checks[Any], args: Mapping[str, Any], mode: WarmMode) -> None:
    """Refuse what the mode excludes, and the lack of what it needs."""
    if mode is WarmMode.INSTANCES:
        checks.without_effect(
            ("environments", "max_environments", "schedules"),
            beside="mode 'instances'",
            instead="use mode 'provisioned'",
        )
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
    checks.without_effect(
        ("subnet_ids", "security_group_ids", "instance_types", "architecture", "max_vcpus"),
        beside=f"mode '{mode.value}'",
        instead="use mode 'instances'",
    )
    if args.get("max_environments") is None:
        checks.without_effect(
            ("target_utilization",), beside="a fixed number of environments", instead="set max_environments"
        )
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


def check_target(checks: Checks[Any], target: WarmTarget, mode: WarmMode, sizes: Sizes) -> Sizes:
    """Refuse a target that can't be kept warm in this mode; returns the sizes, guarded by its reservation."""
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
        return sizes
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
    kept = target.get("reserved_concurrency")
    if kept is None:
        return sizes
    most = sizes.max_environments
    return Sizes(
        environments=checks.holds(numeric(_reserved), sizes.environments, kept),
        max_environments=most if most is None else checks.holds(numeric(_reserved), most, kept),
    )


def _reserved(environments: float, kept: float) -> Problem | None:
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
