"""Checks on what a function is bound to: the numbers that its variables and permissions are made of."""

from collections.abc import Mapping
from typing import Any, cast

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.iam.bindings import FunctionBindings

DEADLINE_MAX_S = 31_536_000
"""A standard workflow runs for a year at most."""
LEDGER_RETENTION_MIN_S = 60
LEDGER_RETENTION_MAX_S = 36_500 * 86_400
"""Bounds of the runtime's setting ``KEEPWARM_LEDGER_RETENTION_S``."""


def check_bindings(checks: Checks[Any], args: Mapping[str, Any]) -> FunctionBindings:
    """The bindings among the inputs, with their numbers checked; the model is checked with the function's sizes."""
    bound: dict[str, Any] = {
        key: args[key] for key in FunctionBindings.__annotations__ if args.get(key) is not None
    }
    if "admission" in bound:
        permits = checks.number(
            "permits",
            None,
            1,
            limits.DYNAMODB_BATCH_READ_MAX_ITEMS,
            code="KW150",
            unit="permits",
            because="a holder looks for a free permit with one BatchGetItem, which reads 100 items",
            args=bound["admission"],
            at="admission",
        )
        bound["admission"] = {**bound["admission"], "permits": permits}
    if "workflow" in bound and bound["workflow"].get("deadline_s") is not None:
        deadline = checks.number(
            "deadline_s",
            None,
            1,
            DEADLINE_MAX_S,
            code="KW101",
            unit="seconds",
            because="a workflow runs no longer",
            args=bound["workflow"],
            at="workflow",
        )
        bound["workflow"] = {**bound["workflow"], "deadline_s": deadline}
    if "ledger" in bound and bound["ledger"].get("retention_s") is not None:
        kept = checks.number(
            "retention_s",
            None,
            LEDGER_RETENTION_MIN_S,
            LEDGER_RETENTION_MAX_S,
            code="KW122",
            unit="seconds",
            because="the runtime keeps a record no shorter and no longer",
            whole=False,
            args=bound["ledger"],
            at="ledger",
        )
        bound["ledger"] = {**bound["ledger"], "retention_s": kept}
    return cast(FunctionBindings, bound)
