"""Checks on the model a function loads: its reference, its room on disk and in memory, its time to load."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pulumi

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem, show
from keepwarm.iam.bindings import Integrity, ModelBinding

WORKING_MB = 128
MB_MAX = 1_048_576
"""Largest size that is taken for a model's, in MB; no function or task has room for more."""
LOAD_MAX_S = 86_400
MODEL_REF = r"[a-z0-9][a-z0-9._-]{0,127}(?:@sha256:[0-9a-f]{64}|:[a-z0-9][a-z0-9._-]{0,63})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a function offers its model; the values are guarded by the checks that follow."""

    memory_mb: pulumi.Input[int]
    ephemeral_mb: pulumi.Input[int]
    timeout_s: pulumi.Input[int]


def numeric(test: Callable[..., Problem | None]) -> Callable[..., Problem | None]:
    """`test`, left out where a value is not a number, which was refused in its own place."""

    def checked(*values: Any) -> Problem | None:
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            return None
        return test(*values)

    return checked


def check_model(
    checks: Checks[Any], model: ModelBinding, room: Room, *, prepared: bool
) -> tuple[ModelBinding, Room]:
    """The binding and the room after their checks.

    Args:
        checks: Takes the refusals.
        model: The binding.
        room: What the function offers.
        prepared: Whether environments are snapshotted or run on managed instances, so that a load is never bound to
            the init phase of an on-demand environment.
    """
    checked: ModelBinding = {
        **model,
        "ref": checks.text(
            "model.ref",
            model.get("ref"),
            MODEL_REF,
            code="KW133",
            allowed="'name@sha256:<64 hex>' or 'name:channel'",
            because="a reference must pin a manifest, itself or through a channel",
            fix="copy the reference that 'keepwarm model list' prints",
        ),
    }
    size: dict[str, Any] = {"unit": "MB", "because": "it is a size", "args": model, "at": "model"}
    size_mb = checks.number("size_mb", None, 0, MB_MAX, code="KW101", whole=False, **size)
    working_mb = checks.number("working_mb", WORKING_MB, 0, MB_MAX, code="KW101", whole=False, **size)
    load_s = checks.number(
        "load_s",
        None,
        0,
        LOAD_MAX_S,
        code="KW108",
        unit="seconds",
        because="it is a time",
        whole=False,
        args=model,
        at="model",
    )
    sealed = model.get("integrity", Integrity.FILE) == Integrity.SEALED
    memory_mb, ephemeral_mb, timeout_s = room.memory_mb, room.ephemeral_mb, room.timeout_s
    if size_mb is None:
        _advise_unknown_size(checks, "memory_mb" if sealed else "ephemeral_mb")
    else:
        checked["size_mb"] = size_mb
        if sealed:
            memory_mb = checks.holds(numeric(_in_memory), memory_mb, size_mb, working_mb)
        else:
            ephemeral_mb = checks.holds(numeric(_on_disk), ephemeral_mb, size_mb, working_mb)
    if load_s is not None:
        timeout_s = checks.holds(numeric(_in_time(prepared)), timeout_s, load_s)
    return checked, Room(memory_mb=memory_mb, ephemeral_mb=ephemeral_mb, timeout_s=timeout_s)


def check_pinned(checks: Checks[Any], model: ModelBinding) -> None:
    """Refuse a reference that follows a channel where a snapshot would keep what the channel said once."""

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

    checks.holds(pinned, model.get("ref"))


def _advise_unknown_size(checks: Checks[Any], room: str) -> None:
    checks.advise(
        code="KW106",
        key="model.size_mb",
        got="nothing",
        allowed="the size of the model's files",
        because=f"whether the model fits {room} can't be checked, as for a model published after this deployment",
        fix=f"set size_mb in the binding, or see that {room} holds the largest version you publish",
    )


def _in_memory(room: float, size: float, spare: float) -> Problem | None:
    need = math.ceil(size + spare)
    if need <= room:
        return None
    return Problem(
        code="KW107",
        key="memory_mb",
        got=f"{room:g} MB",
        allowed=f"at least {need:g} MB",
        because=f"integrity 'sealed' holds the model's {size:.0f} MB in memory beside {spare:g} MB of working set",
        fix=f"set memory_mb to {need:g}, or integrity to 'file'",
    )


def _on_disk(room: float, size: float, spare: float) -> Problem | None:
    need = math.ceil(size + spare)
    if need <= room:
        return None
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


def _in_time(prepared: bool) -> Callable[[float, float], Problem | None]:
    def test(timeout: float, load: float) -> Problem | None:
        allowed = max(limits.LAMBDA_PROVISIONED_INIT_MIN_S, timeout)
        if load <= allowed:
            return None
        return Problem(
            code="KW108",
            key="model.load_s",
            got=f"{load:g} s for fetch, verify and load",
            allowed=f"up to {allowed:g} s",
            because="the init phase of a warm or snapshotted environment ends there"
            + ("" if prepared else ", and an on-demand one after 10 s"),
            fix="raise timeout_s, load less, or serve the model from a GpuService",
        )

    return test
