"""Checks on the inputs every function component shares: sizes, package, model, SnapStart, network, environment."""

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Any, cast

import pulumi

from keepwarm import limits
from keepwarm._values import known
from keepwarm.checks import permit_time
from keepwarm.checks.grants import check_grants
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Problem, show
from keepwarm.checks.secrets import suspicion
from keepwarm.iam.bindings import FunctionBindings, Integrity, NetworkPath, environment

RUNTIME = "python3.12"
TIMEOUT_S = 60
MEMORY_MB = 1024
EPHEMERAL_MB = 512
WORKING_MB = 128
DEFAULT_LOG_RETENTION_DAYS = 30
ASYNC_RETRIES = 2
ASYNC_EVENT_AGE_S = 3600
COMPATIBILITY_KEY = "KEEPWARM_COMPATIBILITY_KEY"
COMPATIBILITY_BYTES = len(COMPATIBILITY_KEY) + 16
"""What the component's own variable takes of the 4 KB."""
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


def checked(
    checks: Checks[Any], name: str, args: Mapping[str, Any], *, raise_now: bool = True
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
        "log_retention_days": checks.retention("log_retention_days", DEFAULT_LOG_RETENTION_DAYS),
        "snap_start": checks.flag("snap_start", False),
        "side_effects": checks.choice("side_effects", SideEffects.NONE),
        "grants": check_grants(checks, "grants", args.get("grants", [])),
    }
    _check_package(checks, args, spec)
    _check_model(checks, args, spec)
    _check_snap_start(checks, args, spec)
    _check_network(checks, args, spec)
    spec["variables"] = _check_environment(checks, args, permit_time.check(checks, args, spec["timeout_s"]))
    for role in ("function", "role"):
        child_name(checks, name, role, limits.LAMBDA_NAME_MAX_CHARS)
    if raise_now:
        checks.done()
    return spec


def _check_package(checks: Checks[Any], args: Mapping[str, Any], spec: dict[str, Any]) -> None:
    runtimes = ", ".join(sorted(limits.LAMBDA_RUNTIMES))

    def supported(runtime: Any) -> Problem | None:
        if runtime in limits.LAMBDA_RUNTIMES:
            return None
        return Problem(
            code="KW141",
            key="runtime",
            got=show(runtime),
            allowed=runtimes,
            because="AWS patches no other runtime (control Lambda.2)",
            fix="move to a supported runtime",
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
            code="KW145",
            key="layers",
            got=f"{layers} layers",
            allowed=f"up to {limits.LAMBDA_LAYERS_MAX}",
            because="Lambda mounts no more",
            fix="merge layers, or use an image",
        )
    if "image" in args and layers:
        checks.add(
            code="KW145",
            key="layers",
            got="layers and an image",
            allowed="layers with code",
            because="an image carries its files",
            fix="drop them",
        )
    size = args.get("unzipped_bytes", 0)
    if size > limits.LAMBDA_UNZIPPED_MAX_BYTES:
        checks.add(
            code="KW145",
            key="unzipped_bytes",
            got=f"{size} bytes",
            allowed=f"up to {limits.LAMBDA_UNZIPPED_MAX_BYTES} bytes (250 MB)",
            because="Lambda unzips no more, layers included",
            fix="move models to the ModelRegistry, or use an image",
        )


def _check_model(checks: Checks[Any], args: Mapping[str, Any], spec: dict[str, Any]) -> None:
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
                    code="KW107",
                    key="memory_mb",
                    got=f"{room:g} MB",
                    allowed=f"at least {need:g} MB",
                    because=(
                        f"integrity 'sealed' holds the model's {size:.0f} MB in memory beside {spare:g} MB of"
                        " working set"
                    ),
                    fix=f"set memory_mb to {need:g}, or integrity to 'file'",
                )
            return Problem(
                code="KW106",
                key="ephemeral_mb",
                got=f"{room:g} MB",
                allowed=f"at least {need:g} MB",
                because=f"the model needs {size:.0f} MB on disk beside {spare:g} MB of working set",
                fix=f"set ephemeral_mb to {need:g}"
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
                code="KW108",
                key="model.load_s",
                got=f"{load:g} s for fetch, verify and load",
                allowed=f"up to {allowed:g} s",
                because="the init phase of a warm or snapshotted environment ends there"
                + ("" if provisioned else ", and an on-demand one after 10 s"),
                fix="raise timeout_s, load less, or serve the model from a GpuService",
            )

        spec["timeout_s"] = _guard(checks, in_time, spec["timeout_s"], model["load_s"])


def _guard(checks: Checks[Any], test: Any, value: Any, *others: Any) -> Any:
    """`Checks.holds` that leaves values alone which another check has refused already."""

    def numbers_only(*values: Any) -> Problem | None:
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            return None
        result: Problem | None = test(*values)
        return result

    return checks.holds(numbers_only, value, *others)


def _check_snap_start(checks: Checks[Any], args: Mapping[str, Any], spec: dict[str, Any]) -> None:
    if not spec["snap_start"]:
        return
    if "image" in args:
        checks.add(
            code="KW113",
            key="snap_start",
            got="an image",
            allowed="a bundle",
            because="SnapStart takes no container images",
            fix="use code, or drop snap_start",
        )

    def runtime(given: Any) -> Problem | None:
        if given in limits.SNAPSTART_RUNTIMES or given not in limits.LAMBDA_RUNTIMES:
            return None
        return Problem(
            code="KW113",
            key="runtime",
            got=show(given),
            allowed=", ".join(sorted(limits.SNAPSTART_RUNTIMES)),
            because="SnapStart supports no other runtime",
            fix="move to one of them, or drop snap_start",
        )

    def disk(given: Any) -> Problem | None:
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

    spec["runtime"] = checks.holds(runtime, spec["runtime"])
    spec["ephemeral_mb"] = _guard(checks, disk, spec["ephemeral_mb"])
    if "capacity_provider_arn" in args:
        checks.add(
            code="KW113",
            key="snap_start",
            got="managed instances",
            allowed="one of them",
            because="managed instances take no snapshots",
            fix="drop snap_start",
        )

    def pinned(ref: Any) -> Problem | None:
        if not isinstance(ref, str) or "@sha256:" in ref:
            return None
        return Problem(
            code="KW133",
            key="model.ref",
            got=show(ref),
            allowed="'name@sha256:<64 hex>'",
            because="a snapshot keeps the model it was taken with, whatever the channel says later",
            fix="pin the manifest digest",
        )

    if "model" in args:
        checks.holds(pinned, args["model"].get("ref"))


def _check_network(checks: Checks[Any], args: Mapping[str, Any], spec: dict[str, Any]) -> None:
    subnets = args.get("subnet_ids")
    if subnets is None:
        if args.get("security_group_ids"):
            checks.add(
                code="KW102",
                key="subnet_ids",
                got="nothing",
                allowed="subnets",
                because="security groups need a VPC",
                fix="set subnet_ids",
            )
        return

    def spread(given: Any) -> Problem | None:
        distinct = {subnet if known(subnet) else index for index, subnet in enumerate(given)}
        if len(distinct) >= 2:
            return None
        return Problem(
            code="KW138",
            key="subnet_ids",
            got=f"{len(distinct)} subnet",
            allowed="two or more, in two availability zones",
            because="one zone's outage would stop the function (control Lambda.5)",
            fix="add a subnet of another zone",
        )

    spec["subnet_ids"] = checks.holds(spread, subnets)
    check_path(checks, args)
    if not args.get("security_group_ids"):
        checks.add(
            code="KW102",
            key="security_group_ids",
            got="nothing",
            allowed="security groups",
            because="Lambda attaches no interface without one",
            fix="set security_group_ids",
        )


def check_path(checks: Checks[Any], args: Mapping[str, Any]) -> None:
    """Warn when nothing says how AWS services are reached: inside such a VPC a download hangs, it does not fail."""
    if args.get("network_path") is None:
        checks.advise(
            code="KW154",
            key="network_path",
            got="nothing",
            allowed="'endpoints' or 'nat'",
            because="without endpoints or a NAT gateway a model download hangs until the timeout",
            fix="add PrivateEndpoints or a NAT gateway to the VPC and say which",
        )
    else:
        checks.choice("network_path", NetworkPath.ENDPOINTS)


def _check_environment(
    checks: Checks[Any], args: Mapping[str, Any], derived: Mapping[str, pulumi.Input[str]]
) -> dict[str, pulumi.Input[str]]:
    variables = {**environment(cast(FunctionBindings, args)), **derived}
    variables["KEEPWARM_METRIC_NAMESPACE"] = args.get("metric_namespace", "Keepwarm")
    for key, value in args.get("environment", {}).items():
        if key in limits.LAMBDA_ENV_RESERVED or re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key) is None:
            checks.add(
                code="KW136",
                key=f"environment.{key}",
                got="that name",
                allowed="letters, digits and underscores, none of Lambda's own names",
                because="Lambda refuses it",
                fix="choose another name",
            )
        hidden = value.is_secret() if isinstance(value, pulumi.Output) else False
        variables[key] = checks.holds(partial(_secret, key), value, hidden)

    def small(*values: Any) -> Problem | None:
        size = COMPATIBILITY_BYTES + sum(
            len(k.encode()) + len(str(v).encode()) for k, v in zip(variables, values, strict=True)
        )
        if size <= limits.LAMBDA_ENV_MAX_BYTES:
            return None
        return Problem(
            code="KW136",
            key="environment",
            got=f"{size} bytes",
            allowed=f"up to {limits.LAMBDA_ENV_MAX_BYTES} bytes",
            because="Lambda takes no more, names and values together",
            fix="move settings into an object the function reads",
        )

    first = next(iter(variables))
    variables[first] = checks.holds(small, *variables.values())
    return variables


def _secret(key: str, value: Any, hidden: bool) -> Problem | None:
    if not isinstance(value, str):
        return Problem(
            code="KW101",
            key=f"environment.{key}",
            got=show(value),
            allowed="text",
            because="variables are text",
            fix="turn it into text",
        )
    reason = "it is marked as a secret" if hidden else suspicion(key, value)
    if reason is None:
        return None
    return Problem(
        code="KW135",
        key=f"environment.{key}",
        got=f"{len(value)} characters that are not shown",
        allowed="settings and references",
        because=f"{reason}, and everyone who may describe the function could read it",
        fix="put it into Secrets Manager, grant read_secret and pass its ARN",
    )
