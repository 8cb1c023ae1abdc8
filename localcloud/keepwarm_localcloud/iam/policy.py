"""IAM policy language: does a statement apply, and what do several policies decide together. Pure functions.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import functools
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from keepwarm_localcloud.request import AwsError

Context = Mapping[str, str | list[str]]
"""Condition keys in lower case -> value or values."""
Effect = Literal["Allow", "Deny"]
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a role session or a service."""

    arn: str = ""
    """Role ARN; '' for a service."""
    session_arn: str = ""
    service: str = ""
    account: str = ""


@functools.lru_cache(maxsize=4_096)
def _pattern(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    text = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.compile(text + r"\Z", re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def like(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    """Match with `*` (any text) and `?` (one character)."""
    return _pattern(pattern, ignore_case=ignore_case).match(value) is not None


def arn_like(pattern: str, value: str) -> bool:
    """Match ARNs part by part: a wildcard does not reach over a colon of the first five parts."""
    left, right = pattern.split(":", 5), value.split(":", 5)
    if len(left) != 6 or len(right) != 6:
        return pattern == "*" or (len(left) == len(right) and like(pattern, value))
    return all(like(a, b) for a, b in zip(left, right, strict=True))


def substitute(pattern: str, context: Context) -> str:
    """Put condition keys into `${...}`; an unknown one makes the text match nothing."""
    if "${" not in pattern:
        return pattern

    def one(match: re.Match[str]) -> str:
        name, _, default = match.group(1).partition(",")
        name = name.strip()
        if name in ("*", "?", "$"):
            # Literal characters; there is no way to escape them in a pattern, so a private character stands in.
            return {"*": "\ue000", "?": "\ue001", "$": "$"}[name]
        value = context.get(name.lower())
        if isinstance(value, str):
            return value
        return default.strip().strip("'") if default else "\ue002"

    return _VARIABLE.sub(one, pattern)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


@functools.lru_cache(maxsize=1_024)
def statements_of(text: str) -> tuple[dict[str, Any], ...]:
    """The statements of a policy document.

    Raises:
        AwsError: MalformedPolicyDocument.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise AwsError("MalformedPolicyDocument", f"The policy is not JSON: {error}") from error
    statements = _listed(document.get("Statement")) if isinstance(document, dict) else []
    if not all(isinstance(s, dict) and s.get("Effect") in ("Allow", "Deny") for s in statements):
        raise AwsError("MalformedPolicyDocument", "Every statement needs an Effect of Allow or Deny.")
    return tuple(statements)


# --- conditions --------------------------------------------------------------------------------------------


def _number(text: str) -> float:
    return float(text)


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _compare(
    convert: Callable[[str], float], test: Callable[[float, float], bool]
) -> Callable[[str, str], bool]:
    def one(wanted: str, value: str) -> bool:
        try:
            return test(convert(value), convert(wanted))
        except ValueError:
            return False

    return one


def _in_network(wanted: str, value: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


_TESTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": like,
    "BinaryEquals": lambda wanted, value: wanted == value,
    "ArnEquals": arn_like,
    "ArnLike": arn_like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "IpAddress": _in_network,
}
for _prefix, _convert in (("Numeric", _number), ("Date", _moment)):
    _TESTS[f"{_prefix}Equals"] = _compare(_convert, lambda a, b: a == b)
    _TESTS[f"{_prefix}LessThan"] = _compare(_convert, lambda a, b: a < b)
    _TESTS[f"{_prefix}LessThanEquals"] = _compare(_convert, lambda a, b: a <= b)
    _TESTS[f"{_prefix}GreaterThan"] = _compare(_convert, lambda a, b: a > b)
    _TESTS[f"{_prefix}GreaterThanEquals"] = _compare(_convert, lambda a, b: a >= b)
_NEGATED: Final = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def condition_holds(operator: str, key: str, wanted: Any, context: Context) -> bool:
    """Evaluate one line of a Condition block.

    Raises:
        AwsError: MalformedPolicyDocument for an operator that IAM does not have.
    """
    quantifier, _, name = operator.rpartition(":")
    found = context.get(key.lower())
    values = [_text(v) for v in _listed(found)]
    patterns = [substitute(_text(w), context) for w in _listed(wanted)]
    if name == "Null":
        return (not values) == (patterns[0].lower() == "true")
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    negated = name in _NEGATED
    test = _TESTS.get(_NEGATED.get(name, name))
    if test is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise AwsError("MalformedPolicyDocument", f"Invalid condition operator {operator}.")
    if not values:
        return if_exists or quantifier == "ForAllValues" or (negated and quantifier == "")

    def one(value: str) -> bool:
        hit = any(test(pattern, value) for pattern in patterns)
        return hit != negated

    if quantifier == "ForAllValues" or (negated and quantifier == ""):
        return all(one(v) for v in values)
    return any(one(v) for v in values)


# --- statements --------------------------------------------------------------------------------------------


def _names(block: Any, principal: Principal) -> bool:
    if block == "*":
        return True
    if not isinstance(block, dict):
        return False
    if principal.service:
        return any(like(s, principal.service) for s in _listed(block.get("Service")))
    own = {principal.arn, principal.session_arn, principal.account, f"arn:aws:iam::{principal.account}:root"}
    return any(item == "*" or item in own for item in _listed(block.get("AWS")))


def names_directly(statement: Mapping[str, Any], principal: Principal) -> bool:
    """Whether a statement names the role or everybody, not just its account."""
    block = statement.get("Principal")
    if block == "*" or principal.service:
        return True
    listed = _listed(block.get("AWS")) if isinstance(block, dict) else []
    return any(item in ("*", principal.arn, principal.session_arn) for item in listed)


def applies(
    statement: Mapping[str, Any],
    action: str,
    resource: str,
    context: Context,
    principal: Principal | None = None,
) -> bool:
    """Whether a statement is about this request.

    Args:
        statement: One statement.
        action: `service:Operation`.
        resource: ARN, or `*` for operations that have none.
        context: Condition keys.
        principal: Given for a resource policy, whose statements name principals.
    """
    if principal is not None:
        if "Principal" in statement and not _names(statement["Principal"], principal):
            return False
        if "NotPrincipal" in statement and _names(statement["NotPrincipal"], principal):
            return False
    if "Action" in statement:
        if not any(like(a, action, ignore_case=True) for a in _listed(statement["Action"])):
            return False
    elif any(like(a, action, ignore_case=True) for a in _listed(statement.get("NotAction"))):
        return False
    if "Resource" in statement:
        if not any(_resource_matches(r, resource, context) for r in _listed(statement["Resource"])):
            return False
    elif "NotResource" in statement:
        if any(_resource_matches(r, resource, context) for r in _listed(statement["NotResource"])):
            return False
    elif principal is None:
        return False
    for operator, block in (statement.get("Condition") or {}).items():
        for key, wanted in block.items():
            if not condition_holds(operator, key, wanted, context):
                return False
    return True


def _resource_matches(pattern: str, resource: str, context: Context) -> bool:
    return like(substitute(pattern, context), resource)


def effect_of(
    policies: Sequence[str],
    action: str,
    resource: str,
    context: Context,
    principal: Principal | None = None,
) -> Effect | None:
    """What policy documents say together: `Deny` wins, then `Allow`, else None."""
    allowed = False
    for text in policies:
        for statement in statements_of(text):
            if applies(statement, action, resource, context, principal):
                if statement["Effect"] == "Deny":
                    return "Deny"
                allowed = True
    return "Allow" if allowed else None
