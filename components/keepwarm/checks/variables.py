"""Checks on the environment variables of a function: names, secrets in plain text, and their size together."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import pulumi

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem
from keepwarm.checks.secrets import suspicion

COMPATIBILITY_KEY = "KEEPWARM_COMPATIBILITY_KEY"
COMPATIBILITY_BYTES = len(COMPATIBILITY_KEY) + 16
"""What the component's own variable takes of the 4 KB."""

Variables = dict[str, pulumi.Input[str]]


def check_variables(checks: Checks[Any], derived: Mapping[str, pulumi.Input[str]]) -> Variables:
    """The derived variables and those of the input ``environment``, which override them."""
    variables: Variables = dict(derived)
    given: Mapping[str, pulumi.Input[str]] = checks.args.get("environment") or {}
    for key, value in given.items():
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
    first = next(iter(variables))
    variables[first] = checks.holds(partial(_small, tuple(variables)), *variables.values())
    return variables


def _small(names: tuple[str, ...], *values: Any) -> Problem | None:
    size = COMPATIBILITY_BYTES + sum(
        len(name.encode()) + len(str(value).encode(errors="replace"))
        for name, value in zip(names, values, strict=True)
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


def _secret(key: str, value: Any, hidden: bool) -> Problem | None:
    if not isinstance(value, str):
        return Problem(
            code="KW101",
            key=f"environment.{key}",
            got=f"a value of type {type(value).__name__}",
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
