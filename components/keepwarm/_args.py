"""Checks every component runs on its inputs before it creates anything.

A value known now is refused now, together with every other refusal of the same component; a value that is still an
`Output` is refused in the same words when it resolves.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar, cast

import pulumi

from keepwarm.errors import InvalidArgs

PLAIN = (str, int, float, bool, type(None))

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Problem(NamedTuple):
    """One refusal, in the order it is told."""

    code: str
    key: str
    got: str
    allowed: str
    because: str
    fix: str

    def line(self, owner: str) -> str:
        """The refusal as one line."""
        return (
            f"{self.code} {owner} {self.key}: got {self.got}; allowed {self.allowed}; "
            f"because {self.because}; fix: {self.fix}"
        )


def known(value: object) -> bool:
    """Whether a value is there now (not an `Output` or an awaitable)."""
    return not isinstance(value, pulumi.Output) and not hasattr(value, "__await__")


def derive(compute: Callable[..., T], *inputs: pulumi.Input[Any]) -> pulumi.Input[T]:
    """Compute now when every input is known, else when they resolve."""
    if all(known(value) for value in inputs):
        return compute(*inputs)
    return later(compute, *inputs)


def later(compute: Callable[..., T], *inputs: pulumi.Input[Any]) -> pulumi.Output[T]:
    """Compute when every input resolves, waiting only for what is no plain value: waiting is what costs."""
    awaited = {id(value): value for value in inputs if not isinstance(value, PLAIN)}
    return resolve(awaited, lambda got: compute(*(got.get(id(value), value) for value in inputs)))


def resolve(
    awaited: Mapping[int, pulumi.Input[Any]], use: Callable[[Mapping[int, Any]], T]
) -> pulumi.Output[T]:
    """`use` of the values when all are there, by the `id` of what they were awaited as: each is waited for once.

    One plain value is had for half of what `Output.all` costs.
    """
    inputs = list(awaited.values())
    if len(inputs) != 1 or not isinstance(inputs[0], pulumi.Output):
        return pulumi.Output.all(*inputs).apply(lambda got: use(dict(zip(awaited, got, strict=True))))
    (key,) = awaited

    def plainly(value: Any) -> Any:
        if isinstance(value, PLAIN):
            return use({key: value})
        # It may hold values that are still to come, which only `Output.from_input` looks for.
        return pulumi.Output.from_input(value).apply(lambda whole: use({key: whole}))

    return inputs[0].apply(plainly)


def concat(*parts: pulumi.Input[str]) -> pulumi.Input[str]:
    """The parts as one text, now when all are known.

    The same text around the same `Output` is made once: five functions that may read one bucket wait once for it.
    """
    awaited = [part for part in parts if not isinstance(part, str)]
    if len(awaited) != 1 or not isinstance(awaited[0], pulumi.Output):
        return derive(lambda *known_parts: "".join(known_parts), *parts)
    made: dict[tuple[str | None, ...], pulumi.Output[str]]
    # Kept on the `Output` itself, so that both end together; it would look an attribute up in its future value.
    made = vars(awaited[0]).setdefault("_keepwarm_joined", {})
    around = tuple(part if isinstance(part, str) else None for part in parts)
    if around not in made:
        made[around] = later(lambda *known_parts: "".join(known_parts), *parts)
    return made[around]


def show(value: object) -> str:
    """A value as an error shows it: short, on one line, strings quoted."""
    text = repr(value.value) if isinstance(value, StrEnum) else repr(value)
    text = text.replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."


class Checks:
    """Gathers the refusals of one component and raises them together."""

    def __init__(self, kind: str, name: str, args: Mapping[str, Any], shape: type) -> None:
        self.owner = f"{kind} '{name}'"
        self._args = args
        self._problems: list[Problem] = []
        self._advice: list[Problem] = []
        self.unknown("", args, shape)

    def unknown(self, at: str, args: Mapping[str, Any], shape: type) -> None:
        """Refuse keys the shape does not declare; a TypedDict accepts them silently."""
        allowed = sorted(shape.__annotations__)
        prefix = f"{at}." if at else ""
        for key in args:
            if key not in shape.__annotations__:
                close = difflib.get_close_matches(key, allowed, n=1)
                fix = f"did you mean '{close[0]}'?" if close else "remove it"
                self.add(
                    "KW100",
                    f"{prefix}{key}",
                    "an unknown input",
                    f"one of {', '.join(allowed)}",
                    "a misspelt input would be ignored in silence",
                    fix,
                )
        for key in sorted(getattr(shape, "__required_keys__", frozenset())):
            if args.get(key) is None:
                self.add(
                    "KW102",
                    f"{prefix}{key}",
                    "nothing",
                    "a value",
                    "there is no default for it",
                    f"set {prefix}{key}",
                )

    @property
    def refused(self) -> bool:
        """Whether anything was refused so far."""
        return bool(self._problems)

    def add(self, code: str, key: str, got: str, allowed: str, because: str, fix: str) -> None:
        """Record a refusal."""
        self._problems.append(Problem(code, key, got, allowed, because, fix))

    def advise(self, code: str, key: str, got: str, allowed: str, because: str, fix: str) -> None:
        """Record a warning: something that may be right, which only the caller knows."""
        self._advice.append(Problem(code, key, got, allowed, because, fix))

    def done(self) -> None:
        """Raise everything refused so far, one line each. Call before the first child is created."""
        for problem in self._advice:
            pulumi.log.warn(problem.line(self.owner))
        if self._problems:
            raise InvalidArgs("\n".join(problem.line(self.owner) for problem in self._problems))

    def holds(self, test: Callable[..., Problem | None], value: Any, *others: pulumi.Input[Any]) -> Any:
        """Check a relation between inputs; returns `value`, guarded by the check when it is still unknown."""
        if known(value) and all(known(other) for other in others):
            problem = test(value, *others)
            if problem is not None:
                self._problems.append(problem)
            return value

        def checked(*values: Any) -> Any:
            problem = test(*values)
            if problem is not None:
                raise InvalidArgs(problem.line(self.owner))
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
        value = (self._args if args is None else args).get(key)
        value = default if value is None else value
        if value is None:
            return None
        name = f"{at}.{key}" if at else key
        allowed = (
            f"{low:g}..{high:g} {unit}".rstrip() if high < math.inf else f"at least {low:g} {unit}".rstrip()
        )
        if whole:
            allowed = f"a whole number, {allowed}"

        def test(given: Any) -> Problem | None:
            fix = f"set {name} within the range"
            if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
                return Problem("KW101", name, show(given), allowed, "it is a number", fix)
            if whole and given != int(given):
                return Problem("KW101", name, show(given), allowed, "fractions do not exist here", fix)
            if not low <= given <= high:
                return Problem(code, name, show(given), allowed, because, fix)
            return None

        checked = self.holds(test, value)
        if isinstance(checked, float) and whole and math.isfinite(checked):
            return int(checked)
        return checked

    def choice(self, key: str, default: E, code: str = "KW101", args: Mapping[str, Any] | None = None) -> E:
        """One of an enumeration's values, as the enumeration or as its text."""
        value = (self._args if args is None else args).get(key)
        value = default if value is None else value
        kind = type(default)
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(member.value for member in kind)
            self.add(code, key, show(value), allowed, "it is a closed choice", f"use one of {allowed}")
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
                return Problem("KW101", key, show(given), allowed, "it is text", fix)
            if re.fullmatch(pattern, given) is None:
                return Problem(code, key, show(given), allowed, because, fix)
            return None

        return self.holds(test, value)

    def exactly_one(self, keys: Iterable[str]) -> str:
        """Refuse none and several of keys; returns the one that is set."""
        keys = list(keys)
        given = [key for key in keys if self._args.get(key) is not None]
        if len(given) == 1:
            return given[0]
        names = " or ".join(keys)
        self.add(
            "KW102",
            "/".join(keys),
            " and ".join(given) or "none of them",
            f"exactly one of {names}",
            "they exclude one another",
            f"set one of {names}",
        )
        return keys[0]

    def flag(self, key: str, default: bool, args: Mapping[str, Any] | None = None) -> bool:
        """A plain bool: it decides which resources exist, so it can't be an `Output`."""
        value = (self._args if args is None else args).get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            self.add(
                "KW101",
                key,
                show(value),
                "true or false",
                "it decides which resources exist and must be known before the deployment",
                "pass a plain bool",
            )
            return default
        return value

    def retention(self, key: str, default: int) -> Any:
        """A log retention CloudWatch offers, in days."""
        from keepwarm.limits import LOG_RETENTION_DAYS

        allowed = ", ".join(str(days) for days in sorted(LOG_RETENTION_DAYS))

        def test(days: Any) -> Problem | None:
            if days in LOG_RETENTION_DAYS and not isinstance(days, bool):
                return None
            return Problem(
                "KW143",
                key,
                show(days),
                f"{allowed} days",
                "CloudWatch offers no other",
                "take the next longer one",
            )

        days = self._args.get(key)
        return self.holds(test, default if days is None else days)


def plain(value: pulumi.Input[T]) -> T | None:
    """The value when it is known now, else None."""
    return cast(T, value) if known(value) else None
