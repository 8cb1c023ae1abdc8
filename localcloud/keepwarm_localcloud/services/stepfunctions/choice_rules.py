"""The comparisons of Choice states. https://states-language.net/spec.html#choice-state"""

import re
from typing import Any

from keepwarm_localcloud.services.stepfunctions import paths
from keepwarm_localcloud.services.stepfunctions.values import parsed_time
from keepwarm_localcloud.services.stepfunctions.visit import Visit


def holds(visit: Visit, rule: dict[str, Any]) -> bool:
    """Whether a rule of a Choice state, or a part of one, is true."""
    if "And" in rule:
        return all(holds(visit, inner) for inner in rule["And"])
    if "Or" in rule:
        return any(holds(visit, inner) for inner in rule["Or"])
    if "Not" in rule:
        return not holds(visit, rule["Not"])
    test = next(k for k in rule if k not in ("Variable", "Next", "Comment", "Assign"))
    if test == "IsPresent":
        return paths.exists(rule["Variable"], visit.input, visit.context, visit.scope) is rule[test]
    left = visit.read(rule["Variable"])
    right = visit.read(rule[test]) if test.endswith("Path") else rule[test]
    return compare(test.removesuffix("Path"), left, right)


def _kind_matches(test: str, left: Any, right: Any) -> bool:
    if test.startswith("String"):
        return isinstance(left, str) and isinstance(right, str)
    if test.startswith("Numeric"):
        return not isinstance(left, bool) and isinstance(left, int | float) and isinstance(right, int | float)
    if test.startswith("Timestamp"):
        return parsed_time(left) is not None and parsed_time(right) is not None
    return True


def _is(test: str, left: Any) -> bool:
    return {
        "IsNull": left is None,
        "IsNumeric": isinstance(left, int | float) and not isinstance(left, bool),
        "IsString": isinstance(left, str),
        "IsBoolean": isinstance(left, bool),
        "IsTimestamp": parsed_time(left) is not None,
    }[test]


def compare(test: str, left: Any, right: Any) -> bool:
    """Apply one comparison such as `NumericLessThan`; values of the wrong type never match."""
    if test.startswith("Is"):
        return _is(test, left) is right
    if test == "BooleanEquals":
        return isinstance(left, bool) and left is right
    if not _kind_matches(test, left, right):
        return False
    if test == "StringMatches":
        return like(left, right)
    if test.startswith("Timestamp"):
        left, right = parsed_time(left), parsed_time(right)
    operator = re.sub(r"^(String|Numeric|Timestamp)", "", test)
    return bool(
        {
            "Equals": lambda: left == right,
            "LessThan": lambda: left < right,
            "GreaterThan": lambda: left > right,
            "LessThanEquals": lambda: left <= right,
            "GreaterThanEquals": lambda: left >= right,
        }[operator]()
    )


def like(text: str, pattern: str) -> bool:
    """`*` matches anything; `\\*` is a star. https://states-language.net/spec.html#choice-state."""
    pieces = re.split(r"(?<!\\)\*", pattern)
    expression = ".*".join(re.escape(piece.replace("\\*", "*").replace("\\\\", "\\")) for piece in pieces)
    return re.fullmatch(expression, text, re.DOTALL) is not None
