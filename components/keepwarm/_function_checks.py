"""Checks on the inputs every function component shares: sizes, package, model, SnapStart, network, environment."""

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Any, cast

import pulumi

from keepwarm import _iam, _permit_time, limits
from keepwarm._args import Checks, Problem, known, show
from keepwarm._names import child as child_name
from keepwarm._secrets import suspicion
from keepwarm.bindings import FunctionBindings, Integrity, NetworkPath, environment

RUNTIME = "python3.12"
TIMEOUT_S = 60
MEMORY_MB = 1024
EPHEMERAL_MB = 512
WORKING_MB = 128
LOG_DAYS = 30
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


def checked(checks: Checks, name: str, args: Mapping[str, Any], *, raise_now: bool = True) -> dict[str, Any]:
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
    spec["variables"] = _check_environment(checks, args, _permit_time.check(checks, args, spec["timeout_s"]))
    for role in ("function", "role"):
        child_name(checks, name, role, limits.LAMBDA_NAME_MAX_CHARS)
    if raise_now:
        checks.done()
    return spec


def _check_package(checks: Checks, args: Mapping[str, Any], spec: dict[str, Any]) -> None:
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


def _check_model(checks: Checks, args: Mapping[str, Any], spec: dict[str, Any]) -> None:
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


def _check_snap_start(checks: Checks, args: Mapping[str, Any], spec: dict[str, Any]) -> None:
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


def _check_network(checks: Checks, args: Mapping[str, Any], spec: dict[str, Any]) -> None:
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
    check_path(checks, args)
    if not args.get("security_group_ids"):
        checks.add(
            "KW102",
            "security_group_ids",
            "nothing",
            "security groups",
            "Lambda attaches no interface without one",
            "set security_group_ids",
        )


def check_path(checks: Checks, args: Mapping[str, Any]) -> None:
    """Warn when nothing says how AWS services are reached: inside such a VPC a download hangs, it does not fail."""
    if args.get("network_path") is None:
        checks.advise(
            "KW154",
            "network_path",
            "nothing",
            "'endpoints' or 'nat'",
            "without endpoints or a NAT gateway a model download hangs until the timeout",
            "add PrivateEndpoints or a NAT gateway to the VPC and say which",
        )
    else:
        checks.choice("network_path", NetworkPath.ENDPOINTS)


def _check_environment(
    checks: Checks, args: Mapping[str, Any], derived: Mapping[str, pulumi.Input[str]]
) -> dict[str, pulumi.Input[str]]:
    variables = {**environment(cast(FunctionBindings, args)), **derived}
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
        hidden = value.is_secret() if isinstance(value, pulumi.Output) else False
        variables[key] = checks.holds(partial(_secret, key), value, hidden)

    def small(*values: Any) -> Problem | None:
        size = COMPATIBILITY_BYTES + sum(
            len(k.encode()) + len(str(v).encode()) for k, v in zip(variables, values, strict=True)
        )
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


def _secret(key: str, value: Any, hidden: bool) -> Problem | None:
    if not isinstance(value, str):
        return Problem(
            "KW101", f"environment.{key}", show(value), "text", "variables are text", "turn it into text"
        )
    reason = "it is marked as a secret" if hidden else suspicion(key, value)
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
