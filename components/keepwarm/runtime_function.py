"""A Lambda function that is only ever called through its alias."""

import hashlib
import json
import math
import re
from enum import StrEnum
from typing import Any, NamedTuple, NotRequired

import pulumi
from pulumi_aws import cloudwatch, iam, lambda_, sqs

from keepwarm import _iam, grants, limits
from keepwarm._args import Checks, Problem, derive, known, show
from keepwarm._names import child as child_name
from keepwarm._secrets import suspicion
from keepwarm.bindings import FunctionBindings, Integrity, WarmTarget, environment, statements
from keepwarm.grants import Statement

ALIAS = "live"
RUNTIME = "python3.12"
HANDLER = "handler.handler"
TIMEOUT_S = 60
MEMORY_MB = 1024
EPHEMERAL_MB = 512
WORKING_MB = 128
LOG_DAYS = 30
ASYNC_RETRIES = 2
ASYNC_EVENT_AGE_S = 3600
FAILURES_RETENTION_S = limits.SQS_RETENTION_MAX_S
MODEL_REF = r"[a-z0-9][a-z0-9._-]{0,127}(?:@sha256:[0-9a-f]{64}|:[a-z0-9][a-z0-9._-]{0,63})"
IMAGE = r"[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9._/-]+)?@sha256:[0-9a-f]{64}"


class Architecture(StrEnum):
    """Instruction set of a function or task."""

    ARM64 = "arm64"
    X86_64 = "x86_64"


class SideEffects(StrEnum):
    """What a function changes outside of itself, beside what the ledger guards."""

    NONE = "none"
    UNGUARDED = "unguarded"


class RuntimeFunctionArgs(FunctionBindings):
    """Inputs of a RuntimeFunction."""

    code: NotRequired[pulumi.Archive]
    """The function's bundle. Exactly one of `code` and `image` is needed."""
    image: NotRequired[pulumi.Input[str]]
    """Container image in ECR, pinned by digest. Exactly one of `code` and `image` is needed."""
    handler: NotRequired[pulumi.Input[str]]
    """Entry point of a bundle, ``module.function``. Default: handler.handler."""
    runtime: NotRequired[pulumi.Input[str]]
    """Lambda runtime of a bundle. Default: python3.12."""
    architecture: NotRequired[Architecture]
    """Instruction set the bundle was built for. Default: x86_64."""
    memory_mb: NotRequired[pulumi.Input[int]]
    """Memory in MB, 128..10240 (..32768 on Lambda managed instances). Default: 1024."""
    timeout_s: NotRequired[pulumi.Input[int]]
    """Longest run in seconds, 1..900 (..5400 on Lambda managed instances). Default: 60."""
    ephemeral_mb: NotRequired[pulumi.Input[int]]
    """Size of /tmp in MB, 512..10240. Default: 512."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables beside those of the bindings; readable by everyone who may describe the function, so no secrets.
    Default: none."""
    grants: NotRequired[list[Statement]]
    """What its role may do beside the bindings. Default: nothing."""
    layers: NotRequired[list[pulumi.Input[str]]]
    """ARNs of layer versions. Default: none."""
    layer_archives: NotRequired[dict[str, pulumi.Archive]]
    """Layers published with the function, by a name of your choice. Default: none."""
    unzipped_bytes: NotRequired[int]
    """Unzipped size of code and layers in bytes, checked against AWS's 250 MB. Default: not checked."""
    reserved_concurrency: NotRequired[pulumi.Input[int]]
    """Concurrency kept for this function, and its upper bound. Default: none reserved."""
    snap_start: NotRequired[bool]
    """Snapshot every version after its init phase. Default: false."""
    capacity_provider_arn: NotRequired[pulumi.Input[str]]
    """Lambda managed instances the function runs on (see WarmPool). Default: none."""
    concurrency_per_environment: NotRequired[pulumi.Input[int]]
    """Requests one environment serves at a time on managed instances. Default: AWS's choice for the runtime."""
    alias_weights: NotRequired[dict[str, pulumi.Input[float]]]
    """Share of the alias' traffic other versions take, version to weight 0..1. Default: none."""
    subnet_ids: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Subnets the function is attached to, in two availability zones or more. Default: no VPC."""
    security_group_ids: NotRequired[list[pulumi.Input[str]]]
    """Security groups of the function in its VPC. Default: none."""
    failures_arn: NotRequired[pulumi.Input[str]]
    """SQS queue that takes asynchronous events which failed for good. Default: a queue of its own."""
    async_retries: NotRequired[pulumi.Input[int]]
    """Retries of a failed asynchronous event, 0..2. Default: 2."""
    async_event_age_s: NotRequired[pulumi.Input[int]]
    """Age at which an asynchronous event is given up, in seconds, 60..21600. Default: 3600."""
    log_days: NotRequired[pulumi.Input[int]]
    """Days the logs are kept. Default: 30."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key for environment variables, logs and failed events. Default: keys owned by AWS."""
    code_signing_config_arn: NotRequired[pulumi.Input[str]]
    """Code signing the bundle must pass. Default: none."""
    side_effects: NotRequired[SideEffects]
    """Whether it writes something that a retry would write again, without the ledger; a tag that policies read. With a
    `ledger` the tag says ledger. Default: none."""
    metric_namespace: NotRequired[pulumi.Input[str]]
    """CloudWatch namespace of its metrics. Default: Keepwarm."""


class RuntimeFunction(pulumi.ComponentResource):
    """A Lambda with its role, log group, published version and the alias ``live``, which is its only address."""

    arn: pulumi.Output[str]
    """ARN of the alias ``live``: what event sources, workflows, permissions and grants refer to."""
    function_name: pulumi.Output[str]
    """Name of the function, for metrics and logs; call it through `arn`."""
    alias: pulumi.Output[str]
    """Name of the alias, ``live``."""
    invoke_arn: pulumi.Output[str]
    """ARN an API Gateway integration of the alias uses."""
    version: pulumi.Output[str]
    """Version the alias points to."""
    role_arn: pulumi.Output[str]
    """ARN of the role the function runs with."""
    log_group: pulumi.Output[str]
    """Name of its log group."""
    failures_arn: pulumi.Output[str]
    """ARN of the queue that takes failed asynchronous events."""
    compatibility_key: pulumi.Output[str]
    """Digest of everything a warm or snapshotted environment depends on; a change publishes a new version."""

    def __init__(
        self, name: str, args: RuntimeFunctionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("keepwarm:index:RuntimeFunction", name, {}, opts)
        spec = checked(Checks("RuntimeFunction", name, args, RuntimeFunctionArgs), name, args)
        built = build(self, name, args, spec)
        for output, value in built.outputs.items():
            setattr(self, output, value)
        self._warm_target = built.target
        self.register_outputs(built.outputs)

    def warm_target(self) -> WarmTarget:
        """What a WarmPool needs to know of this function."""
        return self._warm_target


class Built(NamedTuple):
    """What the children of a function came to."""

    outputs: dict[str, pulumi.Output[str]]
    target: WarmTarget
    policy: iam.RolePolicy


def checked(
    checks: Checks, name: str, args: RuntimeFunctionArgs, *, raise_now: bool = True
) -> dict[str, Any]:
    """Every input after its check, ready to be used; raises before anything is created."""
    managed = "capacity_provider_arn" in args
    package = checks.exactly_one(["code", "image"])
    spec: dict[str, Any] = {
        "package": package,
        "architecture": checks.choice("architecture", Architecture.X86_64, "KW141"),
        "timeout_s": checks.number(
            "timeout_s",
            TIMEOUT_S,
            limits.LAMBDA_TIMEOUT_MIN_S,
            limits.LAMBDA_MANAGED_INSTANCES_TIMEOUT_MAX_S if managed else limits.LAMBDA_TIMEOUT_MAX_S,
            code="KW103",
            unit="seconds",
            because="Lambda ends an invocation at this limit",
        ),
        "memory_mb": checks.number(
            "memory_mb",
            MEMORY_MB,
            limits.LAMBDA_MEMORY_MIN_MB,
            limits.LAMBDA_MANAGED_INSTANCES_MEMORY_MAX_MB if managed else limits.LAMBDA_MEMORY_MAX_MB,
            code="KW104",
            unit="MB",
            because="Lambda offers no other size",
        ),
        "ephemeral_mb": checks.number(
            "ephemeral_mb",
            EPHEMERAL_MB,
            limits.LAMBDA_EPHEMERAL_MIN_MB,
            limits.LAMBDA_EPHEMERAL_MAX_MB,
            code="KW105",
            unit="MB",
            because="Lambda offers no other size of /tmp",
        ),
        "reserved_concurrency": checks.number(
            "reserved_concurrency",
            None,
            0,
            limits.LAMBDA_ACCOUNT_CONCURRENCY * 1000,
            code="KW101",
            unit="environments",
            because="it is a count",
        ),
        "async_retries": checks.number(
            "async_retries",
            ASYNC_RETRIES,
            0,
            limits.LAMBDA_ASYNC_RETRIES_MAX,
            code="KW101",
            unit="retries",
            because="Lambda retries no further",
        ),
        "async_event_age_s": checks.number(
            "async_event_age_s",
            ASYNC_EVENT_AGE_S,
            limits.LAMBDA_ASYNC_EVENT_AGE_MIN_S,
            limits.LAMBDA_ASYNC_EVENT_AGE_MAX_S,
            code="KW101",
            unit="seconds",
            because="Lambda keeps an event no longer",
        ),
        "log_days": checks.retention("log_days", LOG_DAYS),
        "snap_start": checks.flag("snap_start", False),
        "side_effects": checks.choice("side_effects", SideEffects.NONE),
        "grants": _iam.check_grants(checks, "grants", args.get("grants", [])),
    }
    _check_package(checks, args, spec)
    _check_model(checks, args, spec)
    _check_snap_start(checks, args, spec)
    _check_network(checks, args, spec)
    spec["variables"] = _check_environment(checks, args)
    for role in ("function", "role"):
        child_name(checks, name, role, limits.LAMBDA_NAME_MAX_CHARS)
    if raise_now:
        checks.done()
    return spec


def _check_package(checks: Checks, args: RuntimeFunctionArgs, spec: dict[str, Any]) -> None:
    runtimes = ", ".join(sorted(limits.LAMBDA_RUNTIMES))

    def supported(runtime: Any) -> Problem | None:
        if runtime in limits.LAMBDA_RUNTIMES:
            return None
        return Problem(
            "KW141",
            "runtime",
            show(runtime),
            runtimes,
            "AWS patches no other runtime (control Lambda.2)",
            "move to a supported runtime",
        )

    spec["runtime"] = checks.holds(supported, args.get("runtime", RUNTIME))
    if "image" in args:
        spec["image"] = checks.text(
            "image",
            args["image"],
            IMAGE,
            code="KW142",
            allowed="'<registry>/<repository>@sha256:<64 hex>'",
            because="a tag can point to another image tomorrow",
            fix="use the digest the build printed",
        )
    layers = len(args.get("layers", [])) + len(args.get("layer_archives", {}))
    if layers > limits.LAMBDA_LAYERS_MAX:
        checks.add(
            "KW145",
            "layers",
            f"{layers} layers",
            f"up to {limits.LAMBDA_LAYERS_MAX}",
            "Lambda mounts no more",
            "merge layers, or use an image",
        )
    if "image" in args and layers:
        checks.add(
            "KW145",
            "layers",
            "layers and an image",
            "layers with code",
            "an image carries its files",
            "drop them",
        )
    size = args.get("unzipped_bytes", 0)
    if size > limits.LAMBDA_UNZIPPED_MAX_BYTES:
        checks.add(
            "KW145",
            "unzipped_bytes",
            f"{size} bytes",
            f"up to {limits.LAMBDA_UNZIPPED_MAX_BYTES} bytes (250 MB)",
            "Lambda unzips no more, layers included",
            "move models to the ModelRegistry, or use an image",
        )


def _check_model(checks: Checks, args: RuntimeFunctionArgs, spec: dict[str, Any]) -> None:
    if "model" not in args:
        return
    model = args["model"]
    checks.text(
        "model.ref",
        model.get("ref"),
        MODEL_REF,
        code="KW133",
        allowed="'name@sha256:<64 hex>' or 'name:channel'",
        because="a reference must pin a manifest, itself or through a channel",
        fix="copy the reference that 'keepwarm model list' prints",
    )
    if "size_mb" in model:
        working = model.get("working_mb", WORKING_MB)
        sealed = model.get("integrity", Integrity.FILE) == Integrity.SEALED

        def fits(size: float, spare: float, room: float) -> Problem | None:
            need = math.ceil(size + spare)
            if need <= room:
                return None
            if sealed:
                return Problem(
                    "KW107",
                    "memory_mb",
                    f"{room:g} MB",
                    f"at least {need:g} MB",
                    f"integrity 'sealed' holds the model's {size:.0f} MB in memory beside {spare:g} MB of working set",
                    f"set memory_mb to {need:g}, or integrity to 'file'",
                )
            return Problem(
                "KW106",
                "ephemeral_mb",
                f"{room:g} MB",
                f"at least {need:g} MB",
                f"the model needs {size:.0f} MB on disk beside {spare:g} MB of working set",
                f"set ephemeral_mb to {need:g}"
                if need <= limits.LAMBDA_EPHEMERAL_MAX_MB
                else "serve the model from a GpuService",
            )

        room = "memory_mb" if sealed else "ephemeral_mb"
        spec[room] = _guard(
            checks, lambda value, size, spare: fits(size, spare, value), spec[room], model["size_mb"], working
        )
    if "load_s" in model:
        provisioned = spec["snap_start"] or "capacity_provider_arn" in args

        def in_time(timeout: float, load: float) -> Problem | None:
            allowed = max(limits.LAMBDA_PROVISIONED_INIT_MIN_S, timeout)
            if load <= allowed:
                return None
            return Problem(
                "KW108",
                "model.load_s",
                f"{load:g} s for fetch, verify and load",
                f"up to {allowed:g} s",
                "the init phase of a warm or snapshotted environment ends there"
                + ("" if provisioned else ", and an on-demand one after 10 s"),
                "raise timeout_s, load less, or serve the model from a GpuService",
            )

        spec["timeout_s"] = _guard(checks, in_time, spec["timeout_s"], model["load_s"])


def _guard(checks: Checks, test: Any, value: Any, *others: Any) -> Any:
    """`Checks.holds` that leaves values alone which another check has refused already."""

    def numbers_only(*values: Any) -> Problem | None:
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            return None
        result: Problem | None = test(*values)
        return result

    return checks.holds(numbers_only, value, *others)


def _check_snap_start(checks: Checks, args: RuntimeFunctionArgs, spec: dict[str, Any]) -> None:
    if not spec["snap_start"]:
        return
    if "image" in args:
        checks.add(
            "KW113",
            "snap_start",
            "an image",
            "a bundle",
            "SnapStart takes no container images",
            "use code, or drop snap_start",
        )

    def runtime(given: Any) -> Problem | None:
        if given in limits.SNAPSTART_RUNTIMES or given not in limits.LAMBDA_RUNTIMES:
            return None
        return Problem(
            "KW113",
            "runtime",
            show(given),
            ", ".join(sorted(limits.SNAPSTART_RUNTIMES)),
            "SnapStart supports no other runtime",
            "move to one of them, or drop snap_start",
        )

    def disk(given: Any) -> Problem | None:
        if given <= limits.SNAPSTART_EPHEMERAL_MAX_MB:
            return None
        return Problem(
            "KW113",
            "ephemeral_mb",
            f"{given:g} MB",
            f"{limits.SNAPSTART_EPHEMERAL_MAX_MB} MB",
            "SnapStart excludes larger ephemeral storage",
            "use provisioned concurrency instead of snap_start",
        )

    spec["runtime"] = checks.holds(runtime, spec["runtime"])
    spec["ephemeral_mb"] = _guard(checks, disk, spec["ephemeral_mb"])
    if "capacity_provider_arn" in args:
        checks.add(
            "KW113",
            "snap_start",
            "managed instances",
            "one of them",
            "managed instances take no snapshots",
            "drop snap_start",
        )

    def pinned(ref: Any) -> Problem | None:
        if not isinstance(ref, str) or "@sha256:" in ref:
            return None
        return Problem(
            "KW133",
            "model.ref",
            show(ref),
            "'name@sha256:<64 hex>'",
            "a snapshot keeps the model it was taken with, whatever the channel says later",
            "pin the manifest digest",
        )

    if "model" in args:
        checks.holds(pinned, args["model"].get("ref"))


def _check_network(checks: Checks, args: RuntimeFunctionArgs, spec: dict[str, Any]) -> None:
    subnets = args.get("subnet_ids")
    if subnets is None:
        if args.get("security_group_ids"):
            checks.add(
                "KW102", "subnet_ids", "nothing", "subnets", "security groups need a VPC", "set subnet_ids"
            )
        return

    def spread(given: Any) -> Problem | None:
        distinct = {subnet if known(subnet) else index for index, subnet in enumerate(given)}
        if len(distinct) >= 2:
            return None
        return Problem(
            "KW138",
            "subnet_ids",
            f"{len(distinct)} subnet",
            "two or more, in two availability zones",
            "one zone's outage would stop the function (control Lambda.5)",
            "add a subnet of another zone",
        )

    spec["subnet_ids"] = checks.holds(spread, subnets)
    if not args.get("security_group_ids"):
        checks.add(
            "KW102",
            "security_group_ids",
            "nothing",
            "security groups",
            "Lambda attaches no interface without one",
            "set security_group_ids",
        )


def _check_environment(checks: Checks, args: RuntimeFunctionArgs) -> dict[str, pulumi.Input[str]]:
    variables = environment(args)
    variables["KEEPWARM_METRIC_NAMESPACE"] = args.get("metric_namespace", "Keepwarm")
    for key, value in args.get("environment", {}).items():
        if key in limits.LAMBDA_ENV_RESERVED or re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key) is None:
            checks.add(
                "KW136",
                f"environment.{key}",
                "that name",
                "letters, digits and underscores, none of Lambda's own names",
                "Lambda refuses it",
                "choose another name",
            )
        variables[key] = checks.holds(lambda given, key=key: _secret(key, given), value)

    def small(*values: Any) -> Problem | None:
        size = sum(len(k.encode()) + len(str(v).encode()) for k, v in zip(variables, values, strict=True))
        if size <= limits.LAMBDA_ENV_MAX_BYTES:
            return None
        return Problem(
            "KW136",
            "environment",
            f"{size} bytes",
            f"up to {limits.LAMBDA_ENV_MAX_BYTES} bytes",
            "Lambda takes no more, names and values together",
            "move settings into an object the function reads",
        )

    first = next(iter(variables))
    variables[first] = checks.holds(small, *variables.values())
    return variables


def _secret(key: str, value: Any) -> Problem | None:
    if not isinstance(value, str):
        return Problem(
            "KW101", f"environment.{key}", show(value), "text", "variables are text", "turn it into text"
        )
    reason = suspicion(key, value)
    if reason is None:
        return None
    return Problem(
        "KW135",
        f"environment.{key}",
        f"{len(value)} characters that are not shown",
        "settings and references",
        f"{reason}, and everyone who may describe the function could read it",
        "put it into Secrets Manager, grant read_secret and pass its ARN",
    )


def build(
    owner: pulumi.ComponentResource,
    name: str,
    args: RuntimeFunctionArgs,
    spec: dict[str, Any],
    extra: list[Statement] | None = None,
) -> Built:
    """Create the children of a function below `owner`."""
    child = pulumi.ResourceOptions(parent=owner)
    kms = args.get("kms_key_arn")
    account_id = _iam.account(owner)

    logs = cloudwatch.LogGroup(f"{name}-logs", retention_in_days=spec["log_days"], kms_key_id=kms, opts=child)
    role = iam.Role(
        f"{name}-role", assume_role_policy=_iam.trust("lambda.amazonaws.com", account_id), opts=child
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
        *statements(args),
        *spec["grants"],
        *(extra or []),
    ]
    if kms is not None:
        granted.append(grants.encrypt(kms))
    if "subnet_ids" in args:
        granted += _interfaces(owner, account_id)
    policy = iam.RolePolicy(f"{name}-policy", role=role.name, policy=_iam.document(granted), opts=child)
    layers = [
        lambda_.LayerVersion(
            f"{name}-layer-{key}",
            layer_name=pulumi.Output.concat(logs.name, "-", key),
            code=archive,
            compatible_architectures=[spec["architecture"].value],
            opts=child,
        ).arn
        for key, archive in args.get("layer_archives", {}).items()
    ]
    key = _compatibility_key(args, spec)
    function = lambda_.Function(
        f"{name}-function",
        role=role.arn,
        **_package(args, spec, [*args.get("layers", []), *layers]),
        architectures=[spec["architecture"].value],
        memory_size=spec["memory_mb"],
        timeout=spec["timeout_s"],
        ephemeral_storage={"size": spec["ephemeral_mb"]},
        environment={"variables": {**spec["variables"], "KEEPWARM_COMPATIBILITY_KEY": key}},
        logging_config={"log_format": "JSON", "log_group": logs.name},
        tracing_config={"mode": "Active"},
        reserved_concurrent_executions=spec["reserved_concurrency"],
        snap_start={"apply_on": "PublishedVersions"} if spec["snap_start"] else None,
        vpc_config=_vpc(args, spec),
        kms_key_arn=kms,
        code_signing_config_arn=args.get("code_signing_config_arn"),
        publish=True,
        tags={"keepwarm:side-effects": "ledger" if "ledger" in args else spec["side_effects"].value},
        **_managed_instances(args),
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


def _package(args: RuntimeFunctionArgs, spec: dict[str, Any], layers: list[Any]) -> dict[str, Any]:
    if spec["package"] == "image":
        return {"package_type": "Image", "image_uri": spec["image"]}
    return {
        "package_type": "Zip",
        "code": args["code"],
        "handler": args.get("handler", HANDLER),
        "runtime": spec["runtime"],
        "layers": layers or None,
    }


def _vpc(args: RuntimeFunctionArgs, spec: dict[str, Any]) -> dict[str, Any] | None:
    if "subnet_ids" not in args:
        return None
    return {"subnet_ids": spec["subnet_ids"], "security_group_ids": args.get("security_group_ids", [])}


def _managed_instances(args: RuntimeFunctionArgs) -> dict[str, Any]:
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
    base = pulumi.Output.concat(
        "arn:", _iam.partition(owner), ":ec2:", _iam.region(owner), ":", account_id, ":"
    )
    return [
        {"actions": ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"], "resources": ["*"]},
        {
            "actions": ["ec2:CreateNetworkInterface"],
            "resources": [
                pulumi.Output.concat(base, "network-interface/*"),
                pulumi.Output.concat(base, "subnet/*"),
                pulumi.Output.concat(base, "security-group/*"),
            ],
        },
        {
            "actions": [
                "ec2:DeleteNetworkInterface",
                "ec2:AssignPrivateIpAddresses",
                "ec2:UnassignPrivateIpAddresses",
            ],
            "resources": [pulumi.Output.concat(base, "network-interface/*")],
        },
    ]


def _compatibility_key(args: RuntimeFunctionArgs, spec: dict[str, Any]) -> pulumi.Input[str]:
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
