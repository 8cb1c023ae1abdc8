"""Checks every component runs on its inputs before it registers anything.

A value known now is refused now, together with every other refusal; a value that is still an `Output` is refused in
the same words when it resolves.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

import pulumi

from keepwarm._values import known, later
from keepwarm.checks import shape
from keepwarm.checks.problems import Problem, Report, Where, show
from keepwarm.errors import InvalidArgs
from keepwarm.limits import LOG_RETENTION_DAYS

E = TypeVar("E", bound=StrEnum)
A = TypeVar("A", bound=Mapping[str, Any])


class Checks(Generic[A]):
    """Reads the inputs of one component by their declared shape and gathers its refusals.

    `args` holds the inputs that are well formed. Given a `report`, the refusals go there and whoever owns it raises
    them with those of the other parts; without one, `done` raises them.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        args: A,
        declared: type[A],
        *,
        where: Where | None = None,
        report: Report | None = None,
        deep: bool = True,
    ) -> None:
        self.where = where or Where(f"{kind} '{name}'")
        self._report = Report() if report is None else report
        self._shared = report is not None
        self._problems: list[Problem] = []
        self._lines: list[str] = []
        self._ill_formed: dict[str, int] = {}
        self._given = shape.read(args, declared, _Shapes(self), deep=deep)
        self.args = cast(A, self._given)
        if not isinstance(name, str) or not name:
            self.add(
                code="KW102",
                key="name",
                got=show(name),
                allowed="text of at least one character",
                because="the names of all its resources start with it",
                fix="pass the name as the first argument",
            )

    def ill_formed(self, problem: Problem) -> None:
        """Record the refusal of an input for its form; what is ill formed takes part in no other check."""
        if problem.code != "KW100":
            self._ill_formed[problem.key] = len(self._problems)
        self._problems.append(problem)

    def _told(self, key: str) -> bool:
        """Whether an input, a part of it or what it is part of was refused for its form already."""
        return any(_within(key, ill) or _within(ill, key) for ill in self._ill_formed)

    @property
    def owner(self) -> str:
        """The component as its refusals name it."""
        return self.where.of("")

    @property
    def refused(self) -> bool:
        """Whether anything was refused so far."""
        return bool(self._problems or self._lines)

    def refuse(self, problem: Problem) -> None:
        """Record a refusal, unless its input was refused for its form already: one mistake is told once."""
        if not self._told(problem.key):
            self._problems.append(problem)

    def add(self, *, code: str, key: str, got: str, allowed: str, because: str, fix: str) -> None:
        """Record a refusal."""
        self.refuse(Problem(code=code, key=key, got=got, allowed=allowed, because=because, fix=fix))

    def gather(self, check: Callable[[], object]) -> None:
        """Run a check that raises its refusals as whole lines, and tell them with the others."""
        try:
            check()
        except InvalidArgs as refused:
            self._lines += str(refused).splitlines()

    def advise(self, *, code: str, key: str, got: str, allowed: str, because: str, fix: str) -> None:
        """Record a warning: something that may be right, which only the caller knows."""
        problem = Problem(code=code, key=key, got=got, allowed=allowed, because=because, fix=fix)
        self._report.warnings.append(problem.line(self.where))

    def done(self) -> None:
        """Hand everything refused so far to the report, and raise it unless the report belongs to a larger whole.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        self._report.refusals += [problem.line(self.where) for problem in self._problems] + self._lines
        if not self._shared:
            self._report.done()

    def holds(self, test: Callable[..., Problem | None], value: Any, *others: pulumi.Input[Any]) -> Any:
        """Check a relation between inputs; returns `value`, guarded by the check when it is still unknown."""
        if known(value) and all(known(other) for other in others):
            problem = test(value, *others)
            if problem is not None:
                self.refuse(problem)
            return value

        def checked(*values: Any) -> Any:
            problem = test(*values)
            if problem is not None:
                raise InvalidArgs(problem.line(self.where))
            return values[0]

        return later(checked, value, *others)

    def number(
        self,
        key: str,
        default: float | None,
        low: float,
        high: float,
        *,
        code: str,
        unit: str,
        because: str,
        whole: bool = True,
        args: Mapping[str, Any] | None = None,
        at: str = "",
    ) -> Any:
        """A number within bounds (both allowed), a whole one unless told otherwise; None stays None."""
        name = f"{at}.{key}" if at else key
        allowed = _range(low, high, unit, whole)
        index = self._ill_formed.get(name)
        if index is not None and self._problems[index].code == "KW101":
            self._problems[index] = self._problems[index]._replace(
                allowed=allowed, because="it is a number", fix=f"set {name} within the range"
            )
        value = (self._given if args is None else args).get(key)
        value = default if value is None else value
        if value is None:
            return None

        def test(given: Any) -> Problem | None:
            fix = f"set {name} within the range"
            if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
                return Problem(
                    code="KW101",
                    key=name,
                    got=show(given),
                    allowed=allowed,
                    because="it is a number",
                    fix=fix,
                )
            if whole and given != int(given):
                return Problem(
                    code="KW101",
                    key=name,
                    got=show(given),
                    allowed=allowed,
                    because="fractions do not exist here",
                    fix=fix,
                )
            if not low <= given <= high:
                return Problem(
                    code=code, key=name, got=show(given), allowed=allowed, because=because, fix=fix
                )
            return None

        before = len(self._problems)
        checked = self.holds(test, value)
        if len(self._problems) > before:
            # What was refused takes part in no other check; the default stands in for it.
            return low if default is None else default
        if isinstance(checked, float) and whole and math.isfinite(checked):
            return int(checked)
        return checked

    def choice(self, key: str, default: E, code: str = "KW101", args: Mapping[str, Any] | None = None) -> E:
        """One of an enumeration's values, as the enumeration or as its text."""
        value = (self._given if args is None else args).get(key)
        value = default if value is None else value
        kind = type(default)
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(member.value for member in kind)
            self.add(
                code=code,
                key=key,
                got=show(value),
                allowed=allowed,
                because="it is a closed choice",
                fix=f"use one of {allowed}",
            )
            return default

    def text(
        self,
        key: str,
        value: Any,
        pattern: str,
        *,
        code: str,
        allowed: str,
        because: str,
        fix: str,
    ) -> Any:
        """A string that matches a pattern as a whole."""

        def test(given: Any) -> Problem | None:
            if not isinstance(given, str):
                return Problem(
                    code="KW101", key=key, got=show(given), allowed=allowed, because="it is text", fix=fix
                )
            if re.fullmatch(pattern, given) is None:
                return Problem(code=code, key=key, got=show(given), allowed=allowed, because=because, fix=fix)
            return None

        return self.holds(test, value)

    def without_effect(self, keys: Iterable[str], *, beside: str, instead: str) -> None:
        """Refuse inputs that would be ignored beside another one.

        Args:
            keys: The inputs.
            beside: What makes them meaningless, as the refusal names it.
            instead: What to do when the input matters.
        """
        for key in keys:
            if self._given.get(key) is not None:
                self.add(
                    code="KW102",
                    key=key,
                    got=f"{key} beside {beside}",
                    allowed="one of them",
                    because=f"{key} has no effect there",
                    fix=f"remove {key}, or {instead}",
                )

    def exactly_one(self, keys: Iterable[str]) -> str:
        """Refuse none and several of keys; returns the one that is set."""
        keys = list(keys)
        given = [key for key in keys if self._given.get(key) is not None]
        if len(given) == 1:
            return given[0]
        names = " or ".join(keys)
        self.add(
            code="KW102",
            key="/".join(keys),
            got=" and ".join(given) or "none of them",
            allowed=f"exactly one of {names}",
            because="they exclude one another",
            fix=f"set one of {names}",
        )
        return keys[0]

    def flag(self, key: str, default: bool, args: Mapping[str, Any] | None = None) -> bool:
        """A plain bool: it decides which resources exist, so it can't be an `Output`."""
        value = (self._given if args is None else args).get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            self.add(
                code="KW101",
                key=key,
                got=show(value),
                allowed="true or false",
                because="it decides which resources exist and must be known before the deployment",
                fix="pass a plain bool",
            )
            return default
        return value

    def retention(self, key: str, default: int) -> Any:
        """A log retention CloudWatch offers, in days."""
        allowed = ", ".join(str(days) for days in sorted(LOG_RETENTION_DAYS))

        def test(days: Any) -> Problem | None:
            if isinstance(days, int | float) and not isinstance(days, bool) and days in LOG_RETENTION_DAYS:
                return None
            return Problem(
                code="KW143",
                key=key,
                got=show(days),
                allowed=f"{allowed} days",
                because="CloudWatch offers no other",
                fix="take the next longer one",
            )

        days = self._given.get(key)
        return self.holds(test, default if days is None else days)


class _Shapes:
    """Takes what reading the inputs by their shape refuses."""

    def __init__(self, checks: Checks[Any]) -> None:
        self._checks = checks

    def __call__(self, problem: Problem) -> None:
        self._checks.ill_formed(problem)

    def late(self, problem: Problem) -> Exception:
        return InvalidArgs(problem.line(self._checks.where))


def _range(low: float, high: float, unit: str, whole: bool) -> str:
    """Bounds of a number in words: digits and thousands separators, never an exponent."""
    bounds = f"{_digits(low)} to {_digits(high)}" if high < math.inf else f"at least {_digits(low)}"
    kind = "a whole number, " if whole else ""
    return f"{kind}{bounds} {unit}".rstrip()


def _digits(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:,}"


def _within(inner: str, outer: str) -> bool:
    """Whether one path names the other or a part of it."""
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))
