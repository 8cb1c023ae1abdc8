"""How long a function keeps and awaits a permit: given, or derived from its timeout, and checked against it.

The runtime reads both numbers as settings, so no handler carries a time of its own.
"""

from collections.abc import Mapping
from typing import Any

import pulumi

from keepwarm import limits
from keepwarm._values import derive
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem

HOLD_SHARE = 0.5
"""Part of the timeout that a permit is kept for at most, so that a function with several calls can make a second."""
WAIT_SHARE = 0.1
WAIT_MAX_S = 5
"""Longest derived wait for a permit: beyond a few seconds a workflow's wait is cheaper than a function's."""
MARGIN_S = 2
"""Time a function keeps for its own work around the call: reading its input, writing its result."""


def check(checks: Checks[Any], args: Mapping[str, Any], timeout_s: Any) -> dict[str, pulumi.Input[str]]:
    """Variables of the permit times of a function, {} when it takes no permits."""
    if "admission" not in args:
        for key in ("permit_hold_s", "permit_wait_s"):
            if args.get(key) is not None:
                checks.add(
                    code="KW102",
                    key=key,
                    got="a permit time without permits",
                    allowed="it together with admission",
                    because="the function takes no permits",
                    fix=f"bind admission, or remove {key}",
                )
        return {}
    longest = limits.LAMBDA_MANAGED_INSTANCES_TIMEOUT_MAX_S
    hold = checks.number(
        "permit_hold_s",
        None,
        1,
        longest,
        code="KW155",
        unit="seconds",
        because="a call ends with its function",
    )
    wait = checks.number(
        "permit_wait_s",
        None,
        0,
        longest,
        code="KW155",
        unit="seconds",
        because="a wait ends with its function",
    )
    if wait is None:
        wait = derive(default_wait_s, timeout_s)
    if hold is None:
        hold = derive(default_hold_s, timeout_s)

    def fits(hold_s: Any, wait_s: Any, timeout: Any) -> Problem | None:
        if not all(_is_number(value) for value in (hold_s, wait_s, timeout)):
            return None
        needed = hold_s + wait_s + MARGIN_S
        if needed <= timeout:
            return None
        return Problem(
            code="KW155",
            key="timeout_s",
            got=f"{timeout:g} s",
            allowed=f"at least {needed:g} s",
            because=f"a permit is awaited for up to {wait_s:g} s (permit_wait_s) and held for up to {hold_s:g} s "
            f"(permit_hold_s), and the function's own work takes {MARGIN_S} s",
            fix=f"raise timeout_s to {needed:g}, or lower permit_hold_s",
        )

    hold = checks.holds(fits, hold, wait, timeout_s)
    return {
        "KEEPWARM_PERMIT_HOLD_S": derive(lambda seconds: f"{seconds:g}", hold),
        "KEEPWARM_PERMIT_WAIT_S": derive(lambda seconds: f"{seconds:g}", wait),
    }


def default_hold_s(timeout_s: float) -> float:
    """Longest time a permit is kept by a function of this timeout, in seconds."""
    return timeout_s * HOLD_SHARE if _is_number(timeout_s) else 0.0


def default_wait_s(timeout_s: float) -> float:
    """Longest wait for a permit inside a function of this timeout, in seconds."""
    return min(float(WAIT_MAX_S), timeout_s * WAIT_SHARE) if _is_number(timeout_s) else 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
