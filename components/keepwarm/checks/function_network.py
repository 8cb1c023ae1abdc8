"""Checks on the network of a function: subnets, security groups, and how AWS services are reached from there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi

from keepwarm._values import known
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem
from keepwarm.iam.bindings import NetworkPath


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """Where a function is attached to a VPC."""

    subnet_ids: pulumi.Input[list[pulumi.Input[str]]]
    security_group_ids: list[pulumi.Input[str]]


def check_network(checks: Checks[Any], args: Mapping[str, Any]) -> Network | None:
    """The network of the inputs, None for a function outside of a VPC."""
    network, at = args.get("network"), ""
    if network is not None:
        for key in ("subnet_ids", "security_group_ids", "network_path"):
            if args.get(key) is not None:
                checks.add(
                    code="KW102",
                    key=key,
                    got=f"{key} and network",
                    allowed="one of them",
                    because="network says where the function is attached",
                    fix=f"drop {key}, or pass the parts of network one by one",
                )
        args, at = network, "network."
    subnets = args.get("subnet_ids")
    groups = args.get("security_group_ids") or []
    if subnets is None:
        if groups:
            checks.add(
                code="KW102",
                key="subnet_ids",
                got="nothing",
                allowed="subnets",
                because="security groups need a VPC",
                fix="set subnet_ids",
            )
        return None
    subnets = checks.holds(partial(_spread, f"{at}subnet_ids"), subnets)
    check_path(checks, args, at)
    if not groups:
        checks.add(
            code="KW102",
            key=f"{at}security_group_ids",
            got="nothing",
            allowed="security groups",
            because="Lambda attaches no interface without one",
            fix=f"set {at}security_group_ids",
        )
    return Network(subnet_ids=subnets, security_group_ids=groups)


def check_path(checks: Checks[Any], args: Mapping[str, Any], at: str = "") -> None:
    """Warn when nothing says how AWS services are reached: inside such a VPC a download hangs, it does not fail."""
    if args.get("network_path") is None:
        checks.advise(
            code="KW154",
            key=f"{at}network_path",
            got="nothing",
            allowed="'endpoints' or 'nat'",
            because="without endpoints or a NAT gateway a model download hangs until the timeout",
            fix="add PrivateEndpoints or a NAT gateway to the VPC and say which",
        )
    else:
        checks.choice("network_path", NetworkPath.ENDPOINTS, args=args)


def _spread(key: str, subnets: Any) -> Problem | None:
    if not isinstance(subnets, list | tuple):
        return Problem(
            code="KW101",
            key=key,
            got=f"a {type(subnets).__name__}",
            allowed="a list of subnet ids",
            because="a function is attached to each of them",
            fix="pass a list",
        )
    distinct = {
        subnet if known(subnet) and isinstance(subnet, str) else i for i, subnet in enumerate(subnets)
    }
    if len(distinct) >= 2:
        return None
    return Problem(
        code="KW138",
        key=key,
        got=f"{len(distinct)} subnet{'' if len(distinct) == 1 else 's'}",
        allowed="two or more, in two availability zones",
        because="one zone's outage would stop the function (control Lambda.5)",
        fix="add a subnet of another zone",
    )
