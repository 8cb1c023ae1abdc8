"""The children every function component shares: role, logs, layers, function, alias, asynchronous failures."""

from typing import Any, NamedTuple

import pulumi
from pulumi_aws import cloudwatch, iam, lambda_, sqs

from keepwarm import _planned, limits
from keepwarm._values import concat
from keepwarm.checks.function import Bundle, FunctionSpec, Image
from keepwarm.checks.variables import COMPATIBILITY_KEY
from keepwarm.iam import documents, grants
from keepwarm.iam.bindings import WarmTarget
from keepwarm.iam.grants import Statement

ALIAS = "live"
FAILURES_RETENTION_S = limits.SQS_RETENTION_MAX_S


class Built(NamedTuple):
    """What the children of a function came to."""

    outputs: dict[str, pulumi.Output[str]]
    target: WarmTarget
    policy: iam.RolePolicy


def build(
    owner: pulumi.ComponentResource, name: str, spec: FunctionSpec, extra: list[Statement] | None = None
) -> Built:
    """Create the children of a function below `owner`.

    Args:
        owner: Component the children belong to.
        name: Its name, which those of the children start with.
        spec: What the function is made of.
        extra: Grants beside those of the spec.
    """
    child = pulumi.ResourceOptions(parent=owner)
    account_id = documents.account(owner)
    logs = cloudwatch.LogGroup(
        f"{name}-logs", retention_in_days=spec.log_retention_days, kms_key_id=spec.kms_key_arn, opts=child
    )
    role = iam.Role(
        f"{name}-role", assume_role_policy=documents.trust("lambda.amazonaws.com", account_id), opts=child
    )
    failures_arn = spec.failures_arn
    if failures_arn is None:
        failures_arn = _failures(owner, name, spec).arn
    granted = [
        grants.write_logs(logs.arn),
        grants.trace(),
        grants.send_messages(failures_arn),
        *spec.statements,
        *(extra or []),
        *_own_statements(owner, spec, account_id),
    ]
    policy = iam.RolePolicy(f"{name}-policy", role=role.name, policy=documents.document(granted), opts=child)
    function = _lambda(owner, name, spec, role=role, logs=logs, policy=policy)
    alias = lambda_.Alias(
        f"{name}-live",
        name=ALIAS,
        function_name=function.name,
        function_version=function.version,
        routing_config={"additional_version_weights": spec.alias_weights} if spec.alias_weights else None,
        opts=child,
    )
    lambda_.FunctionEventInvokeConfig(
        f"{name}-async",
        function_name=function.name,
        qualifier=alias.name,
        maximum_retry_attempts=spec.async_retries,
        maximum_event_age_in_seconds=spec.async_event_age_s,
        destination_config={"on_failure": {"destination": failures_arn}},
        opts=child,
    )
    outputs = {
        "arn": alias.arn,
        "function_name": function.name,
        "alias": alias.name,
        "invoke_arn": alias.invoke_arn,
        "version": function.version,
        "role_arn": role.arn,
        "log_group": logs.name,
        "failures_arn": pulumi.Output.from_input(failures_arn),
        "compatibility_key": pulumi.Output.from_input(spec.compatibility_key()),
    }
    return Built(outputs, warm_target(spec, function.name, alias.name), policy)


def warm_target(spec: FunctionSpec, function_name: pulumi.Input[str], alias: pulumi.Input[str]) -> WarmTarget:
    """What a WarmPool needs to know of a function made from this spec."""
    target: WarmTarget = {
        "function_name": function_name,
        "alias": alias,
        "compatibility_key": spec.compatibility_key(),
        "snap_start": spec.snap_start,
        "weighted": bool(spec.alias_weights),
    }
    if spec.reserved_concurrency is not None:
        target["reserved_concurrency"] = spec.reserved_concurrency
    return target


def planned_target(spec: FunctionSpec, name: str) -> WarmTarget:
    """The target of a function that does not exist yet: real numbers, placeholders for what only AWS knows."""
    return warm_target(spec, _planned.physical(name, "function"), ALIAS)


def planned_arn(name: str) -> str:
    """ARN of the alias of a function that does not exist yet."""
    return _planned.arn("lambda", f"function:{_planned.physical(name, 'function')}:{ALIAS}")


def _failures(owner: pulumi.Resource, name: str, spec: FunctionSpec) -> sqs.Queue:
    """The queue that takes asynchronous events which failed for good."""
    child = pulumi.ResourceOptions(parent=owner)
    return sqs.Queue(
        f"{name}-failures",
        message_retention_seconds=FAILURES_RETENTION_S,
        kms_master_key_id=spec.kms_key_arn,
        sqs_managed_sse_enabled=True if spec.kms_key_arn is None else None,
        opts=child,
    )


def _own_statements(
    owner: pulumi.Resource, spec: FunctionSpec, account_id: pulumi.Output[str]
) -> list[Statement]:
    """Grants that follow from the function's own key and network."""
    granted: list[Statement] = []
    if spec.kms_key_arn is not None:
        granted.append(grants.encrypt(spec.kms_key_arn))
    if spec.network is not None:
        granted += _interfaces(owner, account_id)
    return granted


def _lambda(
    owner: pulumi.Resource,
    name: str,
    spec: FunctionSpec,
    *,
    role: iam.Role,
    logs: cloudwatch.LogGroup,
    policy: iam.RolePolicy,
) -> lambda_.Function:
    """The function itself; each change of code or configuration publishes a version."""
    environment: Any = {"variables": {**spec.variables, COMPATIBILITY_KEY: spec.compatibility_key()}}
    snapshots: Any = {"apply_on": "PublishedVersions"} if spec.snap_start else None
    network: Any = None
    if spec.network is not None:
        network = {
            "subnet_ids": spec.network.subnet_ids,
            "security_group_ids": spec.network.security_group_ids,
        }
    return lambda_.Function(
        f"{name}-function",
        role=role.arn,
        **_package(owner, name, spec, logs),
        **_managed_instances(spec),
        architectures=[spec.architecture.value],
        memory_size=spec.memory_mb,
        timeout=spec.timeout_s,
        ephemeral_storage={"size": spec.ephemeral_mb},
        environment=environment,
        logging_config={"log_format": "JSON", "log_group": logs.name},
        tracing_config={"mode": "Active"},
        reserved_concurrent_executions=spec.reserved_concurrency,
        snap_start=snapshots,
        vpc_config=network,
        kms_key_arn=spec.kms_key_arn,
        code_signing_config_arn=spec.code_signing_config_arn,
        publish=True,
        tags={"keepwarm:side-effects": spec.side_effects},
        # The init phase of the first environment already reads models: its permissions must stand before it.
        opts=pulumi.ResourceOptions(parent=owner, depends_on=[policy]),
    )


def _package(
    owner: pulumi.Resource, name: str, spec: FunctionSpec, logs: cloudwatch.LogGroup
) -> dict[str, Any]:
    if isinstance(spec.package, Image):
        return {"package_type": "Image", "image_uri": spec.package.uri}
    layers = [*spec.package.layers, *_layers(owner, name, spec, spec.package, logs)]
    return {
        "package_type": "Zip",
        "code": spec.package.code,
        "handler": spec.package.handler,
        "runtime": spec.package.runtime,
        "layers": layers or None,
    }


def _layers(
    owner: pulumi.Resource, name: str, spec: FunctionSpec, bundle: Bundle, logs: cloudwatch.LogGroup
) -> list[pulumi.Output[str]]:
    """ARNs of the layers that are published with the function."""
    return [
        lambda_.LayerVersion(
            f"{name}-layer-{key}",
            layer_name=concat(logs.name, "-", key),
            code=archive,
            compatible_architectures=[spec.architecture.value],
            opts=pulumi.ResourceOptions(parent=owner),
        ).arn
        for key, archive in bundle.layer_archives.items()
    ]


def _managed_instances(spec: FunctionSpec) -> dict[str, Any]:
    if spec.instances is None:
        return {}
    provider: dict[str, Any] = {"capacity_provider_arn": spec.instances.capacity_provider_arn}
    if spec.instances.concurrency_per_environment is not None:
        provider["per_execution_environment_max_concurrency"] = spec.instances.concurrency_per_environment
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
