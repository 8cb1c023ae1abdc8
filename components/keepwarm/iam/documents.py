"""IAM documents: rendering of statements, trust policies that no other account can use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import pulumi
import pulumi_aws as aws
from pulumi.runtime.settings import get_monitor

from keepwarm import _json
from keepwarm._values import known
from keepwarm.iam.grants import Statement

VERSION = "2012-10-17"


def document(statements: Sequence[Statement]) -> pulumi.Input[str]:
    """Statements as the text of a policy document."""
    rendered: list[dict[str, Any]] = []
    for statement in statements:
        entry: dict[str, Any] = {
            "Effect": "Allow",
            "Action": statement["actions"],
            "Resource": statement["resources"],
        }
        conditions = statement.get("conditions")
        if conditions:
            entry["Condition"] = conditions
        rendered.append(entry)
    return _json.dumps({"Version": VERSION, "Statement": rendered})


def raw_document(statements: Sequence[Mapping[str, Any]]) -> pulumi.Input[str]:
    """Statements in IAM's own words (resource policies: principals, denials) as the text of a document."""
    return _json.dumps({"Version": VERSION, "Statement": list(statements)})


def tls_only(actions: str, resources: pulumi.Input[str] | list[pulumi.Input[str]]) -> dict[str, Any]:
    """Denies everyone what is not encrypted on its way, in IAM's own words."""
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": actions,
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


_RUNS: WeakKeyDictionary[Any, dict[tuple[str, int], tuple[Any, pulumi.Output[Any]]]] = WeakKeyDictionary()
"""Lookups of each run of a program, told apart by its engine."""


def _looked_up(
    parent: pulumi.Resource, token: str, ask: Callable[[pulumi.InvokeOutputOptions], pulumi.Output[Any]]
) -> pulumi.Output[Any]:
    """Ask once per run and provider: every component needs these answers, and one provider gives all the same."""
    asked = _RUNS.setdefault(get_monitor(), {})
    provider = parent.get_provider(token)
    key = (token, id(provider))
    if key not in asked:
        # The provider is kept beside the answer, so that its identity is not given to another one.
        asked[key] = (provider, ask(pulumi.InvokeOutputOptions(parent=parent)))
    return asked[key][1]


def account(parent: pulumi.Resource) -> pulumi.Output[str]:
    """The account the parent's provider deploys into."""
    token = "aws:index/getCallerIdentity:getCallerIdentity"  # noqa: S105 - a name of a function
    return _looked_up(parent, token, lambda opts: aws.get_caller_identity_output(opts=opts).account_id)


def partition(parent: pulumi.Resource) -> pulumi.Output[str]:
    """The partition (``aws``, ``aws-cn``, ``aws-us-gov``) the parent's provider deploys into."""
    token = "aws:index/getPartition:getPartition"  # noqa: S105 - a name of a function
    return _looked_up(parent, token, lambda opts: aws.get_partition_output(opts=opts).partition)


def region(parent: pulumi.Resource) -> pulumi.Output[str]:
    """The region the parent's provider deploys into."""
    token = "aws:index/getRegion:getRegion"  # noqa: S105 - a name of a function
    return _looked_up(parent, token, lambda opts: aws.get_region_output(opts=opts).region)


def default_subnets(parent: pulumi.Resource, vpc_id: pulumi.Input[str]) -> pulumi.Output[Any]:
    """Subnets of a VPC."""
    vpc_filter = aws.ec2.GetSubnetsFilterArgs(name="vpc-id", values=[vpc_id])  # type: ignore[list-item]
    return aws.ec2.get_subnets_output(
        filters=[vpc_filter], opts=pulumi.InvokeOutputOptions(parent=parent)
    ).ids


def trust(service: str, account_id: pulumi.Input[str]) -> pulumi.Input[str]:
    """Let one AWS service take the role, only on behalf of this account (confused deputy)."""
    return raw_document(
        [
            {
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
            }
        ]
    )


def trust_instances() -> pulumi.Input[str]:
    """Let EC2 instances take the role. EC2 sends no source account, so there is no condition to set."""
    return raw_document(
        [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]
    )


def same_arn(left: pulumi.Input[str], right: pulumi.Input[str]) -> bool:
    """Whether two ARNs are known and equal."""
    return known(left) and known(right) and left == right
