"""What every function component is made of, after its check: `FunctionSpec`, and the checks on sizes and package."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pulumi

from keepwarm import limits
from keepwarm._values import derive
from keepwarm.checks import permit_time
from keepwarm.checks.function_bindings import check_bindings
from keepwarm.checks.function_events import EventsSpec, check_events
from keepwarm.checks.function_mount import MountSpec, check_mount
from keepwarm.checks.function_network import Network, check_network
from keepwarm.checks.function_url import UrlSpec, check_url
from keepwarm.checks.grants import check_grants
from keepwarm.checks.inputs import Checks
from keepwarm.checks.model_fit import Room, check_model, check_pinned, numeric
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Problem, show
from keepwarm.checks.tags import Tags, tags
from keepwarm.checks.variables import Variables, check_variables
from keepwarm.iam.bindings import environment, statements
from keepwarm.iam.grants import Statement

RUNTIME = "python3.12"
HANDLER = "handler.handler"
TIMEOUT_S = 60
MEMORY_MB = 1024
EPHEMERAL_MB = 512
LOG_RETENTION_DAYS = 30
METRIC_NAMESPACE = "Keepwarm"
LAYER = r"arn:[a-z-]+:lambda:[a-z0-9-]+:\d{12}:layer:[A-Za-z0-9_-]+:\d+"
CODE_SIGNING = r"arn:[a-z-]+:lambda:[a-z0-9-]+:\d{12}:code-signing-config:csc-[0-9a-z]{17}"
IMAGE = r"[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9._/-]+)?@sha256:[0-9a-f]{64}"


class Architecture(StrEnum):
    """Instruction set of a function or task."""

    ARM64 = "arm64"
    X86_64 = "x86_64"


class SideEffects(StrEnum):
    """What a function changes outside of itself, beside what the ledger guards."""

    NONE = "none"
    UNGUARDED = "unguarded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A function packed as an archive."""

    code: pulumi.Archive
    handler: pulumi.Input[str]
    runtime: pulumi.Input[str]
    layers: list[pulumi.Input[str]]
    layer_archives: dict[str, pulumi.Archive]


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """A function packed as a container image."""

    uri: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManagedInstances:
    """Lambda managed instances that a function runs on."""

    capacity_provider_arn: pulumi.Input[str]
    concurrency_per_environment: pulumi.Input[int] | None


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """Inputs of a function after their check: all that its resources are built from."""

    package: Bundle | Image
    architecture: Architecture
    memory_mb: pulumi.Input[int]
    timeout_s: pulumi.Input[int]
    ephemeral_mb: pulumi.Input[int]
    variables: Variables
    model_ref: pulumi.Input[str]
    """Reference of the bound model; empty without one."""
    statements: list[Statement]
    """Grants of the bindings, then those of the input `grants`."""
    reserved_concurrency: pulumi.Input[int] | None
    snap_start: bool
    instances: ManagedInstances | None
    alias_weights: dict[str, pulumi.Input[float]] | None
    network: Network | None
    mount: MountSpec | None
    url: UrlSpec | None
    events: EventsSpec
    metric_namespace: pulumi.Input[str]
    alarm_topic_arns: list[pulumi.Input[str]] | None
    tags: Tags | None
    log_retention_days: pulumi.Input[int]
    kms_key_arn: pulumi.Input[str] | None
    code_signing_config_arn: pulumi.Input[str] | None
    side_effects: str
    """Value of the tag that policies read: ``ledger``, or a `SideEffects`."""

    def compatibility_key(self) -> pulumi.Input[str]:
        """Digest of what a frozen environment holds: runtime, hardware shape, package, layers and model."""

        def digest(*parts: Any) -> str:
            return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]

        bundle = self.package if isinstance(self.package, Bundle) else None
        return derive(
            digest,
            self.package.uri if isinstance(self.package, Image) else self.package.runtime,
            self.architecture.value,
            self.memory_mb,
            self.model_ref,
            *(bundle.layers if bundle else []),
        )


def read(checks: Checks[Any], name: str) -> FunctionSpec:
    """Check the inputs that all functions share. Refusals go to `checks`; nothing is registered."""
    args: Mapping[str, Any] = checks.args
    instances = _instances(checks, args)
    package = _package(checks, args)
    snap_start = checks.flag("snap_start", False)
    room = _room(checks, managed=instances is not None)
    bindings = check_bindings(checks, args)
    if "model" in bindings:
        bindings["model"], room = check_model(
            checks, bindings["model"], room, prepared=snap_start or instances is not None
        )
    if snap_start:
        package, room = _snap_start(checks, package, room, managed=instances is not None)
        if "model" in bindings:
            check_pinned(checks, bindings["model"])
    network = check_network(checks, args)
    mount = url = None
    if "file_system" in args:
        mount = check_mount(checks, args["file_system"], in_vpc=network is not None, snap_start=snap_start)
    if "url" in args:
        alone = isinstance(package, Bundle) and not (package.layers or package.layer_archives)
        url = check_url(
            checks,
            args["url"],
            in_vpc=network is not None,
            runtime=package.runtime if alone and isinstance(package, Bundle) else None,
        )
    namespace = args.get("metric_namespace", METRIC_NAMESPACE)
    derived = {
        **environment(bindings),
        **permit_time.check(checks, args, room.timeout_s),
        "KEEPWARM_METRIC_NAMESPACE": namespace,
    }
    count: dict[str, Any] = {"code": "KW101", "because": "it is a count"}
    for role in ("function", "role"):
        child_name(checks, name, role, limits.LAMBDA_NAME_MAX_CHARS)
    return FunctionSpec(
        package=package,
        architecture=checks.choice("architecture", Architecture.X86_64, "KW141"),
        memory_mb=room.memory_mb,
        timeout_s=room.timeout_s,
        ephemeral_mb=room.ephemeral_mb,
        variables=check_variables(checks, derived),
        model_ref=bindings["model"]["ref"] if "model" in bindings else "",
        statements=[*statements(bindings), *check_grants(checks, "grants", args.get("grants", []))],
        reserved_concurrency=checks.number(
            "reserved_concurrency",
            None,
            0,
            limits.LAMBDA_ACCOUNT_CONCURRENCY * 1000,
            unit="environments",
            **count,
        ),
        snap_start=snap_start,
        instances=instances,
        alias_weights=_weights(checks, args),
        network=network,
        mount=mount,
        url=url,
        events=check_events(checks, args),
        metric_namespace=namespace,
        alarm_topic_arns=args.get("alarm_topic_arns"),
        tags=tags(checks, args),
        log_retention_days=checks.retention("log_retention_days", LOG_RETENTION_DAYS),
        kms_key_arn=args.get("kms_key_arn"),
        code_signing_config_arn=_code_signing(checks, args),
        side_effects="ledger"
        if "ledger" in bindings
        else checks.choice("side_effects", SideEffects.NONE).value,
    )


def _code_signing(checks: Checks[Any], args: Mapping[str, Any]) -> pulumi.Input[str] | None:
    if args.get("code_signing_config_arn") is None:
        return None
    config: pulumi.Input[str] = checks.text(
        "code_signing_config_arn",
        args["code_signing_config_arn"],
        CODE_SIGNING,
        code="KW140",
        allowed="'arn:aws:lambda:<region>:<account>:code-signing-config:csc-<17 characters>'",
        because="Lambda checks a bundle against such a configuration",
        fix="pass the ARN of a code signing configuration",
    )
    return config


def _room(checks: Checks[Any], *, managed: bool) -> Room:
    return Room(
        timeout_s=checks.number(
            "timeout_s",
            TIMEOUT_S,
            limits.LAMBDA_TIMEOUT_MIN_S,
            limits.LAMBDA_MANAGED_INSTANCES_TIMEOUT_MAX_S if managed else limits.LAMBDA_TIMEOUT_MAX_S,
            code="KW103",
            unit="seconds",
            because="Lambda ends an invocation at this limit",
        ),
        memory_mb=checks.number(
            "memory_mb",
            MEMORY_MB,
            limits.LAMBDA_MEMORY_MIN_MB,
            limits.LAMBDA_MANAGED_INSTANCES_MEMORY_MAX_MB if managed else limits.LAMBDA_MEMORY_MAX_MB,
            code="KW104",
            unit="MB",
            because="Lambda offers no other size",
        ),
        ephemeral_mb=checks.number(
            "ephemeral_mb",
            EPHEMERAL_MB,
            limits.LAMBDA_EPHEMERAL_MIN_MB,
            limits.LAMBDA_EPHEMERAL_MAX_MB,
            code="KW105",
            unit="MB",
            because="Lambda offers no other size of /tmp",
        ),
    )


def _instances(checks: Checks[Any], args: Mapping[str, Any]) -> ManagedInstances | None:
    concurrency = checks.number(
        "concurrency_per_environment", None, 1, 1600, code="KW101", unit="requests", because="it is a count"
    )
    if args.get("capacity_provider_arn") is None:
        checks.without_effect(
            ("concurrency_per_environment",),
            beside="environments of one request each",
            instead="set capacity_provider_arn",
        )
        return None
    return ManagedInstances(
        capacity_provider_arn=args["capacity_provider_arn"], concurrency_per_environment=concurrency
    )


def _weights(checks: Checks[Any], args: Mapping[str, Any]) -> dict[str, pulumi.Input[float]] | None:
    given: Mapping[str, Any] = args.get("alias_weights") or {}
    return {
        version: checks.number(
            version,
            None,
            0,
            1,
            code="KW101",
            unit="of the traffic",
            because="it is a share",
            whole=False,
            args=given,
            at="alias_weights",
        )
        for version in given
    } or None


def _package(checks: Checks[Any], args: Mapping[str, Any]) -> Bundle | Image:
    kind = checks.exactly_one(["code", "image"])
    runtime = checks.holds(_supported, args.get("runtime", RUNTIME))
    layers = [
        checks.text(
            f"layers[{index}]",
            layer,
            LAYER,
            code="KW140",
            allowed="'arn:aws:lambda:<region>:<account>:layer:<name>:<version>'",
            because="Lambda mounts one version of a layer",
            fix="pass the ARN of a layer version",
        )
        for index, layer in enumerate(args.get("layers", []))
    ]
    archives: dict[str, pulumi.Archive] = args.get("layer_archives", {})
    _check_layers(checks, len(layers) + len(archives), image="image" in args)
    size = checks.number(
        "unzipped_bytes", 0, 0, float("inf"), code="KW145", unit="bytes", because="it is a size"
    )
    if size > limits.LAMBDA_UNZIPPED_MAX_BYTES:
        checks.add(
            code="KW145",
            key="unzipped_bytes",
            got=f"{size} bytes",
            allowed=f"up to {limits.LAMBDA_UNZIPPED_MAX_BYTES} bytes (250 MB)",
            because="Lambda unzips no more, layers included",
            fix="move models to the ModelRegistry, or use an image",
        )
    if kind == "image":
        checks.without_effect(
            ("handler", "runtime", "code_signing_config_arn"), beside="image", instead="use code"
        )
        uri = checks.text(
            "image",
            args["image"],
            IMAGE,
            code="KW142",
            allowed="'<registry>/<repository>@sha256:<64 hex>'",
            because="a tag can point to another image tomorrow",
            fix="use the digest the build printed",
        )
        return Image(uri=uri)
    return Bundle(
        # Without a bundle the component was refused above, and nothing is built from this.
        code=args.get("code") or pulumi.AssetArchive({}),
        handler=args.get("handler", HANDLER),
        runtime=runtime,
        layers=layers,
        layer_archives=archives,
    )


def _supported(runtime: Any) -> Problem | None:
    if isinstance(runtime, str) and runtime in limits.LAMBDA_RUNTIMES:
        return None
    return Problem(
        code="KW141",
        key="runtime",
        got=show(runtime),
        allowed=", ".join(sorted(limits.LAMBDA_RUNTIMES)),
        because="AWS patches no other runtime (control Lambda.2)",
        fix="move to a supported runtime",
    )


def _check_layers(checks: Checks[Any], count: int, *, image: bool) -> None:
    if count > limits.LAMBDA_LAYERS_MAX:
        checks.add(
            code="KW145",
            key="layers",
            got=f"{count} layers",
            allowed=f"up to {limits.LAMBDA_LAYERS_MAX}",
            because="Lambda mounts no more",
            fix="merge layers, or use an image",
        )
    if image and count:
        checks.add(
            code="KW145",
            key="layers",
            got="layers and an image",
            allowed="layers with code",
            because="an image carries its files",
            fix="drop them",
        )


def _snap_start(
    checks: Checks[Any], package: Bundle | Image, room: Room, *, managed: bool
) -> tuple[Bundle | Image, Room]:
    if isinstance(package, Image):
        checks.add(
            code="KW113",
            key="snap_start",
            got="an image",
            allowed="a bundle",
            because="SnapStart takes no container images",
            fix="use code, or drop snap_start",
        )
    else:
        package = Bundle(
            code=package.code,
            handler=package.handler,
            runtime=checks.holds(_snapshotted, package.runtime),
            layers=package.layers,
            layer_archives=package.layer_archives,
        )
    if managed:
        checks.add(
            code="KW113",
            key="snap_start",
            got="managed instances",
            allowed="one of them",
            because="managed instances take no snapshots",
            fix="drop snap_start",
        )
    return package, Room(
        memory_mb=room.memory_mb,
        ephemeral_mb=checks.holds(numeric(_snapshot_disk), room.ephemeral_mb),
        timeout_s=room.timeout_s,
    )


def _snapshotted(runtime: Any) -> Problem | None:
    if runtime in limits.SNAPSTART_RUNTIMES or runtime not in limits.LAMBDA_RUNTIMES:
        return None
    return Problem(
        code="KW113",
        key="runtime",
        got=show(runtime),
        allowed=", ".join(sorted(limits.SNAPSTART_RUNTIMES)),
        because="SnapStart supports no other runtime",
        fix="move to one of them, or drop snap_start",
    )


def _snapshot_disk(given: float) -> Problem | None:
    if given <= limits.SNAPSTART_EPHEMERAL_MAX_MB:
        return None
    return Problem(
        code="KW113",
        key="ephemeral_mb",
        got=f"{given:g} MB",
        allowed=f"{limits.SNAPSTART_EPHEMERAL_MAX_MB} MB",
        because="SnapStart excludes larger ephemeral storage",
        fix="use provisioned concurrency instead of snap_start",
    )
