"""Metric statistics and metric math over moto's CloudWatch data.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import bisect
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from keepwarm_localcloud.services.errors import coded

Key = tuple[str, str, frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Datum:
    """One value, or a set of statistics."""

    total: float
    count: float
    low: float
    high: float


@dataclass(slots=True)
class Series:
    """Data of one metric in the order of time."""

    times: list[float] = field(default_factory=list)
    data: list[Datum] = field(default_factory=list)

    def add(self, at_s: float, datum: Datum) -> None:
        """Insert a datum."""
        place = bisect.bisect_right(self.times, at_s)
        self.times.insert(place, at_s)
        self.data.insert(place, datum)

    def between(self, start_s: float, end_s: float) -> list[Datum]:
        """Data of [start, end)."""
        return self.data[bisect.bisect_left(self.times, start_s) : bisect.bisect_left(self.times, end_s)]


def statistic(name: str, data: list[Datum]) -> float | None:
    """Aggregate; None without data."""
    if not data:
        return None
    count = sum(d.count for d in data)
    if name.startswith("p") and name[1:].replace(".", "", 1).isdigit():
        values = sorted(d.total / d.count for d in data)
        rank = math.ceil(float(name[1:]) / 100 * len(values))
        return values[max(0, rank - 1)]
    return {
        "Sum": sum(d.total for d in data),
        "SampleCount": count,
        "Average": sum(d.total for d in data) / count if count else 0.0,
        "Minimum": min(d.low for d in data),
        "Maximum": max(d.high for d in data),
    }.get(name)


class Metrics:
    """Follows moto's list of data and keeps an index of it."""

    def __init__(self, backend: Callable[[], Any | None]) -> None:
        self._backend = backend
        self._series: dict[Key, Series] = {}
        self._source: list[Any] | None = None
        self._position = 0

    def refresh(self) -> None:
        """Take over what came since the last call."""
        backend = self._backend()
        source: list[Any] = backend.metric_data if backend is not None else []
        if source is not self._source or len(source) < self._position:
            self._series.clear()
            self._source, self._position = source, 0
        end = len(source)
        for datum in source[self._position : end]:
            key = (datum.namespace, datum.name, frozenset((d.name, d.value) for d in datum.dimensions))
            self._series.setdefault(key, Series()).add(_seconds(datum.timestamp), _datum(datum))
        self._position = end

    def value(
        self,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        stat: str,
        start_s: float,
        end_s: float,
    ) -> float | None:
        """A statistic of [start, end); None without data."""
        series = self._series.get((namespace, name, frozenset(dimensions.items())))
        return None if series is None else statistic(stat, series.between(start_s, end_s))


def _seconds(stamp: Any) -> float:
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    if isinstance(stamp, int | float):
        return float(stamp)
    moment: datetime = stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=UTC)
    return moment.timestamp()


def _datum(datum: Any) -> Datum:
    if hasattr(datum, "value"):
        return Datum(datum.value, 1, datum.value, datum.value)
    return Datum(datum.sum, datum.sample_count, datum.min, datum.max)


_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Gt: operator.gt, ast.Lt: operator.lt, ast.GtE: operator.ge, ast.LtE: operator.le, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_FOLDS: dict[str, Callable[[list[float]], float]] = {
    "SUM": sum, "MAX": max, "MIN": min, "AVG": lambda values: sum(values) / len(values),
}  # fmt: skip


class ExpressionError(ValueError):
    """A metric expression that can't be evaluated here; coded."""


def _unknown(expression: str, got: str) -> ExpressionError:
    return ExpressionError(
        coded(
            code="KW613",
            who=f"metric expression '{expression}'",
            got=got,
            allowed="ids, numbers, + - * /, comparisons, IF, FILL, SUM, MAX, MIN, AVG, ABS, CEIL, FLOOR",
            because="nothing else of metric math is implemented",
            fix="write it with these",
        )
    )


def evaluate(expression: str, values: Mapping[str, float | None]) -> float | None:
    """Evaluate an expression of one period; None where a needed metric has no data.

    Raises:
        ExpressionError: the expression uses something else than what is known here.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        raise _unknown(expression, f"a syntax error at {error.offset}") from error
    result = _evaluate(tree, values, expression)
    return float(result) if result is not None else None


def _evaluate(node: ast.AST, values: Mapping[str, float | None], text: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name):
        if node.id not in values:
            raise _unknown(text, f"the unknown id '{node.id}'")
        return values[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _evaluate(node.operand, values, text)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _combine(_OPERATORS[type(node.op)], node.left, node.right, values, text)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
        return _combine(_OPERATORS[type(node.ops[0])], node.left, node.comparators[0], values, text)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _function(node.func.id, node.args, values, text)
    raise _unknown(text, type(node).__name__)


def _combine(
    apply: Callable[[Any, Any], Any],
    left: ast.AST,
    right: ast.AST,
    values: Mapping[str, float | None],
    text: str,
) -> Any:
    first, second = _evaluate(left, values, text), _evaluate(right, values, text)
    if first is None or second is None:
        return None
    try:
        return apply(first, second)
    except ZeroDivisionError:
        # CloudWatch gives no datapoint for a division by zero.
        return None


def _function(name: str, arguments: list[ast.expr], values: Mapping[str, float | None], text: str) -> Any:
    if name == "IF" and len(arguments) in (2, 3):
        condition = _evaluate(arguments[0], values, text)
        if condition is None:
            return None
        if condition:
            return _evaluate(arguments[1], values, text)
        return _evaluate(arguments[2], values, text) if len(arguments) == 3 else None
    if name == "FILL" and len(arguments) == 2:
        value = _evaluate(arguments[0], values, text)
        return _evaluate(arguments[1], values, text) if value is None else value
    if name in ("ABS", "CEIL", "FLOOR") and len(arguments) == 1:
        value = _evaluate(arguments[0], values, text)
        rounders: dict[str, Callable[[float], float]] = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}
        return None if value is None else rounders[name](value)
    if name in _FOLDS and arguments:
        nodes = arguments[0].elts if isinstance(arguments[0], ast.List) else arguments
        found = [v for v in (_evaluate(n, values, text) for n in nodes) if v is not None]
        return _FOLDS[name](found) if found else None
    raise _unknown(text, f"the function {name}")
