"""The children every function component shares: role, logs, layers, function, alias, asynchronous failures."""

from typing import Any, NamedTuple

import pulumi
from pulumi_aws import cloudwatch, iam, lambda_, sqs

from keepwarm import _planned, limits
from keepwarm._function_alarms import make_alarms
from keepwarm._values import concat, derive
from keepwarm.checks.function import Bundle, FunctionSpec, Image
from keepwarm.checks.function_url import CorsSpec, UrlAuth, UrlSpec
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
        f"{name}-logs",
        retention_in_days=spec.log_retention_days,
        kms_key_id=spec.kms_key_arn,
        tags=spec.tags,
        opts=child,
    )
    role = iam.Role(
        f"{name}-role",
        assume_role_policy=documents.trust("lambda.amazonaws.com", account_id),
        tags=spec.tags,
        opts=child,
    )
    failures = None if spec.events.failures_arn is not None else _failures(owner, name, spec)
    failures_arn = spec.events.failures_arn if failures is None else failures.arn
    assert failures_arn is not None
    granted = [
        grants.write_logs(logs.arn),
        grants.trace(),
        grants.send_messages(failures_arn),
        *spec.events.statements,
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
    _asynchronous(owner, name, spec, function, alias, failures_arn)
    make_alarms(owner, name, spec, function.name, failures)
    url = "" if spec.url is None else _url(owner, name, spec.url, function, alias)
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
        "url": pulumi.Output.from_input(url),
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
    """The queue that takes asynchronous events which failed for good, reachable over TLS only."""
    child = pulumi.ResourceOptions(parent=owner)
    queue = sqs.Queue(
        f"{name}-failures",
        message_retention_seconds=FAILURES_RETENTION_S,
        kms_master_key_id=spec.kms_key_arn,
        sqs_managed_sse_enabled=True if spec.kms_key_arn is None else None,
        tags=spec.tags,
        opts=child,
    )
    sqs.QueuePolicy(
        f"{name}-failures-policy",
        queue_url=queue.url,
        policy=documents.raw_document([documents.tls_only("sqs:*", queue.arn)]),
        opts=child,
    )
    return queue


def _asynchronous(
    owner: pulumi.Resource,
    name: str,
    spec: FunctionSpec,
    function: lambda_.Function,
    alias: lambda_.Alias,
    failures_arn: pulumi.Input[str],
) -> None:
    """Retries of asynchronous events, and where they go in the end."""
    destinations: Any = {"on_failure": {"destination": failures_arn}}
    if spec.events.success_arn is not None:
        destinations["on_success"] = {"destination": spec.events.success_arn}
    lambda_.FunctionEventInvokeConfig(
        f"{name}-async",
        function_name=function.name,
        qualifier=alias.name,
        maximum_retry_attempts=spec.events.retries,
        maximum_event_age_in_seconds=spec.events.event_age_s,
        destination_config=destinations,
        opts=pulumi.ResourceOptions(parent=owner),
    )


def _url(
    owner: pulumi.Resource, name: str, url: UrlSpec, function: lambda_.Function, alias: lambda_.Alias
) -> pulumi.Output[str]:
    """An HTTPS address of the alias, open to everyone only when the spec says so."""
    child = pulumi.ResourceOptions(parent=owner)
    public = url.auth is UrlAuth.NONE
    same: Any = {"function": function.name, "qualifier": alias.name, "principal": "*", "opts": child}
    if public:
        # Lambda asks for both: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html#urls-auth-none
        lambda_.Permission(
            f"{name}-url-public",
            action="lambda:InvokeFunctionUrl",
            function_url_auth_type="NONE",
            **same,
        )
        lambda_.Permission(
            f"{name}-url-invoke", action="lambda:InvokeFunction", invoked_via_function_url=True, **same
        )
    made = lambda_.FunctionUrl(
        f"{name}-url",
        function_name=function.name,
        qualifier=alias.name,
        authorization_type="NONE" if public else "AWS_IAM",
        invoke_mode="RESPONSE_STREAM" if url.stream else "BUFFERED",
        cors=None if url.cors is None else _cors(url.cors),
        opts=child,
    )
    return made.function_url


def _cors(cors: CorsSpec) -> Any:
    return {
        "allow_origins": cors.origins,
        "allow_methods": cors.methods,
        "allow_headers": cors.headers,
        "expose_headers": cors.exposed_headers,
        "allow_credentials": cors.credentials,
        "max_age": cors.max_age_s,
    }


def _own_statements(
    owner: pulumi.Resource, spec: FunctionSpec, account_id: pulumi.Output[str]
) -> list[Statement]:
    """Grants that follow from the function's own key, network and file system."""
    granted: list[Statement] = []
    if spec.kms_key_arn is not None:
        granted.append(grants.encrypt(spec.kms_key_arn))
    if spec.network is not None:
        granted += _interfaces(owner, account_id)
    if spec.mount is not None:
        granted.append(
            grants.mount(
                spec.mount.file_system_arn, spec.mount.access_point_arn, read_only=spec.mount.read_only
            )
        )
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
        file_system_config=_mount(spec),
        tags={**(spec.tags or {}), "keepwarm:side-effects": spec.side_effects},
        # The init phase of the first environment already reads models: its permissions must stand before it.
        opts=pulumi.ResourceOptions(parent=owner, depends_on=[policy]),
    )


def _mount(spec: FunctionSpec) -> Any:
    if spec.mount is None:
        return None
    path = derive(lambda path, *_targets: path, spec.mount.path, *spec.mount.mount_target_ids)
    return {"arn": spec.mount.access_point_arn, "local_mount_path": path}


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
