"""The children every function component shares: role, logs, layers, function, alias, asynchronous failures."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import pulumi
from pulumi_aws import cloudwatch, iam, lambda_, sqs

from keepwarm import limits
from keepwarm._values import concat, derive
from keepwarm.checks.function import COMPATIBILITY_KEY
from keepwarm.iam import documents, grants
from keepwarm.iam.bindings import FunctionBindings, WarmTarget, statements
from keepwarm.iam.grants import Statement

ALIAS = "live"
HANDLER = "handler.handler"
FAILURES_RETENTION_S = limits.SQS_RETENTION_MAX_S


class Built(NamedTuple):
    """What the children of a function came to."""

    outputs: dict[str, pulumi.Output[str]]
    target: WarmTarget
    policy: iam.RolePolicy


def build(
    owner: pulumi.ComponentResource,
    name: str,
    args: Mapping[str, Any],
    spec: dict[str, Any],
    extra: list[Statement] | None = None,
) -> Built:
    """Create the children of a function below `owner`."""
    child = pulumi.ResourceOptions(parent=owner)
    kms = args.get("kms_key_arn")
    account_id = documents.account(owner)

    logs = cloudwatch.LogGroup(
        f"{name}-logs", retention_in_days=spec["log_retention_days"], kms_key_id=kms, opts=child
    )
    role = iam.Role(
        f"{name}-role", assume_role_policy=documents.trust("lambda.amazonaws.com", account_id), opts=child
    )
    failures_arn = args.get("failures_arn")
    if failures_arn is None:
        failures = sqs.Queue(
            f"{name}-failures",
            message_retention_seconds=FAILURES_RETENTION_S,
            kms_master_key_id=kms,
            sqs_managed_sse_enabled=True if kms is None else None,
            opts=child,
        )
        failures_arn = failures.arn
    granted = [
        grants.write_logs(logs.arn),
        grants.trace(),
        grants.send_messages(failures_arn),
        *statements(cast(FunctionBindings, args)),
        *spec["grants"],
        *(extra or []),
    ]
    if kms is not None:
        granted.append(grants.encrypt(kms))
    if "subnet_ids" in args:
        granted += _interfaces(owner, account_id)
    policy = iam.RolePolicy(f"{name}-policy", role=role.name, policy=documents.document(granted), opts=child)
    layers = [
        lambda_.LayerVersion(
            f"{name}-layer-{key}",
            layer_name=concat(logs.name, "-", key),
            code=archive,
            compatible_architectures=[spec["architecture"].value],
            opts=child,
        ).arn
        for key, archive in args.get("layer_archives", {}).items()
    ]
    key = _compatibility_key(args, spec)
    environment: Any = {"variables": {**spec["variables"], COMPATIBILITY_KEY: key}}
    snapshots: Any = {"apply_on": "PublishedVersions"} if spec["snap_start"] else None
    package: Any = {**_package(args, spec, [*args.get("layers", []), *layers]), **_managed_instances(args)}
    function = lambda_.Function(
        f"{name}-function",
        role=role.arn,
        **package,
        architectures=[spec["architecture"].value],
        memory_size=spec["memory_mb"],
        timeout=spec["timeout_s"],
        ephemeral_storage={"size": spec["ephemeral_mb"]},
        environment=environment,
        logging_config={"log_format": "JSON", "log_group": logs.name},
        tracing_config={"mode": "Active"},
        reserved_concurrent_executions=spec["reserved_concurrency"],
        snap_start=snapshots,
        vpc_config=_vpc(args, spec),
        kms_key_arn=kms,
        code_signing_config_arn=args.get("code_signing_config_arn"),
        publish=True,
        tags={"keepwarm:side-effects": "ledger" if "ledger" in args else spec["side_effects"].value},
        # The init phase of the first environment already reads models: its permissions must stand before it.
        opts=pulumi.ResourceOptions(parent=owner, depends_on=[policy]),
    )
    weights = args.get("alias_weights")
    alias = lambda_.Alias(
        f"{name}-live",
        name=ALIAS,
        function_name=function.name,
        function_version=function.version,
        routing_config={"additional_version_weights": weights} if weights else None,
        opts=child,
    )
    lambda_.FunctionEventInvokeConfig(
        f"{name}-async",
        function_name=function.name,
        qualifier=alias.name,
        maximum_retry_attempts=spec["async_retries"],
        maximum_event_age_in_seconds=spec["async_event_age_s"],
        destination_config={"on_failure": {"destination": failures_arn}},
        opts=child,
    )
    target: WarmTarget = {
        "function_name": function.name,
        "alias": alias.name,
        "compatibility_key": key,
        "snap_start": spec["snap_start"],
        "weighted": bool(weights),
    }
    if spec["reserved_concurrency"] is not None:
        target["reserved_concurrency"] = spec["reserved_concurrency"]
    return Built(
        {
            "arn": alias.arn,
            "function_name": function.name,
            "alias": alias.name,
            "invoke_arn": alias.invoke_arn,
            "version": function.version,
            "role_arn": role.arn,
            "log_group": logs.name,
            "failures_arn": pulumi.Output.from_input(failures_arn),
            "compatibility_key": pulumi.Output.from_input(key),
        },
        target,
        policy,
    )


def _package(args: Mapping[str, Any], spec: dict[str, Any], layers: list[Any]) -> dict[str, Any]:
    if spec["package"] == "image":
        return {"package_type": "Image", "image_uri": spec["image"]}
    return {
        "package_type": "Zip",
        "code": args["code"],
        "handler": args.get("handler", HANDLER),
        "runtime": spec["runtime"],
        "layers": layers or None,
    }


def _vpc(args: Mapping[str, Any], spec: dict[str, Any]) -> Any:
    if "subnet_ids" not in args:
        return None
    return {"subnet_ids": spec["subnet_ids"], "security_group_ids": args.get("security_group_ids", [])}


def _managed_instances(args: Mapping[str, Any]) -> dict[str, Any]:
    if "capacity_provider_arn" not in args:
        return {}
    provider: dict[str, Any] = {"capacity_provider_arn": args["capacity_provider_arn"]}
    if "concurrency_per_environment" in args:
        provider["per_execution_environment_max_concurrency"] = args["concurrency_per_environment"]
    return {
        "capacity_provider_config": {"lambda_managed_instances_capacity_provider_config": provider},
        "publish_to": "LATEST_PUBLISHED",
    }


def _interfaces(owner: pulumi.Resource, account_id: pulumi.Output[str]) -> list[Statement]:
    """Network interfaces in a VPC: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html"""
    base = concat("arn:", documents.partition(owner), ":ec2:", documents.region(owner), ":", account_id, ":")
    return [
        {"actions": ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"], "resources": ["*"]},
        {
            "actions": ["ec2:CreateNetworkInterface"],
            "resources": [
                concat(base, "network-interface/*"),
                concat(base, "subnet/*"),
                concat(base, "security-group/*"),
            ],
        },
        {
            "actions": [
                "ec2:DeleteNetworkInterface",
                "ec2:AssignPrivateIpAddresses",
                "ec2:UnassignPrivateIpAddresses",
            ],
            "resources": [concat(base, "network-interface/*")],
        },
    ]


def _compatibility_key(args: Mapping[str, Any], spec: dict[str, Any]) -> pulumi.Input[str]:
    """Digest of what a frozen environment holds: runtime, hardware shape, package, layers and model."""
    model = args["model"]["ref"] if "model" in args else ""

    def digest(*parts: Any) -> str:
        return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]

    return derive(
        digest,
        spec["runtime"] if spec["package"] == "code" else spec.get("image", ""),
        spec["architecture"].value,
        spec["memory_mb"],
        model,
        *args.get("layers", []),
    )
