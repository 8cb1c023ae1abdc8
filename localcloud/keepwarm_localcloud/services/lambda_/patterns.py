"""Event patterns of filter criteria: which messages a mapping hands to its function.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
"""

import json
import operator
from collections.abc import Callable
from typing import Any

from keepwarm_localcloud.services.lambda_.errors import invalid

_OPERATORS = frozenset({"prefix", "suffix", "anything-but", "numeric", "exists", "equals-ignore-case"})
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def parse(text: str) -> dict[str, Any]:
    """Read one pattern and refuse what is none.

    Raises:
        AwsError: InvalidParameterValueException.
    """
    try:
        pattern = json.loads(text)
        _check(pattern)
    except (ValueError, TypeError) as error:
        raise invalid(f"Invalid filter pattern definition: {error}") from error
    return pattern  # type: ignore[no-any-return]


def _check(pattern: Any) -> None:
    if not isinstance(pattern, dict) or not pattern:
        raise ValueError("a pattern must be a JSON object that is not empty")
    for key, rule in pattern.items():
        if key == "$or":
            if not isinstance(rule, list) or not rule:
                raise ValueError("$or must be a list of patterns")
            for each in rule:
                _check(each)
        elif isinstance(rule, dict):
            _check(rule)
        elif isinstance(rule, list) and rule:
            for condition in rule:
                _check_condition(condition)
        else:
            raise ValueError(f"{key!r} must match an object or an array that is not empty")


def _check_condition(condition: Any) -> None:
    if not isinstance(condition, dict):
        return
    if len(condition) != 1 or not set(condition) <= _OPERATORS:
        raise ValueError(f"unrecognized match type {', '.join(condition)}")
    if "numeric" in condition:
        terms = condition["numeric"]
        if not isinstance(terms, list) or len(terms) not in (2, 4) or not set(terms[::2]) <= set(_COMPARE):
            raise ValueError("numeric takes one or two pairs of an operator and a number")


def matches(pattern: dict[str, Any], event: Any) -> bool:
    """Say whether an event has everything a pattern asks for; arrays match when any of their items does."""
    if not isinstance(event, dict):
        return False
    for key, rule in pattern.items():
        if key == "$or":
            if not any(matches(each, event) for each in rule):
                return False
        elif isinstance(rule, dict):
            if not matches(rule, event.get(key)):
                return False
        elif not any(_holds(condition, event, key) for condition in rule):
            return False
    return True


def _holds(condition: Any, event: dict[str, Any], key: str) -> bool:
    if isinstance(condition, dict) and "exists" in condition:
        return bool((key in event) == condition["exists"])
    if key not in event:
        return False
    value = event[key]
    values = value if isinstance(value, list) else [value]
    return any(_one(condition, each) for each in values)


def _one(condition: Any, value: Any) -> bool:
    if not isinstance(condition, dict):
        # JSON's true is not its 1.
        return bool(value == condition and isinstance(value, bool) == isinstance(condition, bool))
    ((name, operand),) = condition.items()
    text = value if isinstance(value, str) else None
    match name:
        case "prefix":
            return text is not None and text.startswith(str(operand))
        case "suffix":
            return text is not None and text.endswith(str(operand))
        case "equals-ignore-case":
            return text is not None and text.lower() == str(operand).lower()
        case "anything-but":
            unwanted = operand if isinstance(operand, list) else [operand]
            return not any(_one(each, value) for each in unwanted)
    return _numeric(operand, value)


def _numeric(terms: list[Any], value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return all(_COMPARE[sign](value, number) for sign, number in zip(terms[::2], terms[1::2], strict=True))
