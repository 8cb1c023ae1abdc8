"""Reads inputs by the TypedDict that declares them: unknown names, missing values, values of the wrong shape.

Components are called from programs that no type checker has seen and from other languages. A component reads its inputs
through `read` first, so that the rest of its code meets only values of the declared types. `None` means "not given", as
everywhere in Pulumi's SDK.
"""

import difflib
import functools
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol, get_args, get_origin, get_type_hints, is_typeddict

import pulumi

from keepwarm._values import known
from keepwarm.checks.problems import Problem, show


class Refuse(Protocol):
    """Where refusals go."""

    def __call__(self, problem: Problem) -> None:
        """Take a refusal of a value that is known now."""

    def late(self, problem: Problem) -> Exception:
        """The exception that refuses a value once it resolves."""


_DROPPED = object()
"""Stands for a value that was refused."""

_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    pulumi.Archive: "a pulumi.Archive",
    pulumi.Asset: "a pulumi.Asset",
}


@functools.cache
def _hints(shape: type) -> dict[str, tuple[Any, bool]]:
    """Type and whether it is required, of each input that a TypedDict declares."""
    required: frozenset[str] = getattr(shape, "__required_keys__", frozenset())
    # `pulumi.Input` names `Output` by a forward reference that resolves only in pulumi's own module.
    hints = get_type_hints(shape, localns={"Output": pulumi.Output, "T": Any})
    return {key: (hint, key in required) for key, hint in hints.items()}


def read(args: object, shape: type, refuse: Refuse, at: str = "", *, deep: bool = True) -> dict[str, Any]:
    """The inputs that are well formed; what is not is refused and left out, what is `None` is left out.

    Args:
        args: What the caller passed.
        shape: TypedDict that declares the inputs.
        refuse: Takes each refusal.
        at: Path of these inputs inside the component's own, for the messages.
        deep: Whether sections are read too. A stack leaves those of its parts to the parts.
    """
    if not isinstance(args, Mapping):
        refuse(_wrong(at or "args", args, f"a mapping of {', '.join(sorted(_hints(shape)))}"))
        return {}
    prefix = f"{at}." if at else ""
    hints = _hints(shape)
    for key in args:
        if key not in hints:
            refuse(_unknown(prefix, key, sorted(hints)))
    found: dict[str, Any] = {}
    for key, (hint, required) in hints.items():
        value = args.get(key)
        if value is None:
            if required:
                refuse(_missing(f"{prefix}{key}"))
            continue
        value = (_value if deep else _section)(value, hint, refuse, f"{prefix}{key}")
        if value is not _DROPPED:
            found[key] = value
    return found


def _section(value: Any, hint: Any, refuse: Refuse, at: str) -> Any:
    """A section, or sections by name, as mappings whose inputs are yet to be read; everything else as `_value`."""
    plain, _ = _plain(hint)
    if known(value) and _of_a_part(plain):
        if isinstance(value, Mapping):
            return {key: inner for key, inner in value.items() if inner is not None}
        refuse(_wrong(at, value, _words(plain)))
        return _DROPPED
    if known(value) and get_origin(plain) in (dict, Mapping) and _of_a_part(get_args(plain)[1]):
        if not isinstance(value, Mapping):
            refuse(_wrong(at, value, _words(plain)))
            return _DROPPED
        inner = {
            key: _section(item, get_args(plain)[1], refuse, f"{at}.{key}") for key, item in value.items()
        }
        return {key: item for key, item in inner.items() if item is not _DROPPED}
    return _value(value, hint, refuse, at)


def _of_a_part(hint: Any) -> bool:
    """Whether these are the inputs of a part, which reads them itself; nobody else reads bindings."""
    return is_typeddict(hint) and hint.__name__.endswith("Args")


def _value(value: Any, hint: Any, refuse: Refuse, at: str) -> Any:
    """`value` when it has the form that `hint` declares, else `_DROPPED` after a refusal."""
    hint, later = _plain(hint)
    if not known(value):
        if later:
            # A part of a binding becomes a part of ARNs and variables, where text is needed; an input of its own goes
            # to a resource, which says so itself.
            return _late_text(value, refuse, at) if hint is str and "." in at else value
        refuse(
            Problem(
                code="KW101",
                key=at,
                got=show(value),
                allowed=_words(hint),
                because="it decides what is created and must be known before the deployment",
                fix="pass a plain value",
            )
        )
        return _DROPPED
    if is_typeddict(hint):
        before = _Counting(refuse)
        made = read(value, hint, before, at)
        return _DROPPED if before.count else made
    origin = get_origin(hint)
    if origin in (list, Sequence):
        return _items(value, get_args(hint)[0], refuse, at)
    if origin in (dict, Mapping):
        return _entries(value, get_args(hint)[1], refuse, at)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _member(value, hint, refuse, at)
    if not _is(value, hint):
        refuse(_wrong(at, value, _words(hint)))
        return _DROPPED
    return int(value) if hint is int and isinstance(value, float) and value.is_integer() else value


def _late_text(value: Any, refuse: Refuse, at: str) -> Any:
    """`value`, refused when it resolves to something other than text; each `Output` is waited for once."""
    if not isinstance(value, pulumi.Output):
        return value

    def text(resolved: Any) -> Any:
        if isinstance(resolved, str):
            return resolved
        # It may be a secret: its type is told, never its value.
        problem = _wrong(at, None, _words(str))
        raise refuse.late(problem._replace(got=f"a value of type {type(resolved).__name__}"))

    # Kept on the `Output`, so that both end together; it would look an attribute up in its future value.
    guarded = vars(value).get("_keepwarm_text")
    if guarded is None:
        guarded = vars(value)["_keepwarm_text"] = value.apply(text)
        vars(guarded)["_keepwarm_text"] = guarded
    return guarded


class _Counting:
    """Passes refusals on and counts those that leave a hole; an unknown name leaves none."""

    def __init__(self, refuse: Refuse) -> None:
        self.count = 0
        self._refuse = refuse

    def __call__(self, problem: Problem) -> None:
        self.count += problem.code != "KW100"
        self._refuse(problem)

    def late(self, problem: Problem) -> Exception:
        return self._refuse.late(problem)


def _plain(hint: Any) -> tuple[Any, bool]:
    """The type inside ``NotRequired`` and ``pulumi.Input``, and whether the value may still be an `Output`."""
    while get_origin(hint) in (typing.NotRequired, typing.Required):
        hint = get_args(hint)[0]
    if get_origin(hint) in (typing.Union, types.UnionType):
        choices = get_args(hint)
        awaited = [c for c in choices if get_origin(c) is pulumi.Output or c is pulumi.Output]
        plain = [
            c
            for c in choices
            if c is not types.NoneType
            and c not in awaited
            and not (inspect.isclass(get_origin(c) or c) and issubclass(get_origin(c) or c, typing.Awaitable))
        ]
        return plain[0] if plain else Any, bool(awaited)
    return hint, False


def _items(value: Any, hint: Any, refuse: Refuse, at: str) -> Any:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        refuse(_wrong(at, value, f"a list, each item {_words(_plain(hint)[0])}"))
        return _DROPPED
    counting = _Counting(refuse)
    made = []
    for index, item in enumerate(value):
        if item is None:
            counting(_missing(f"{at}[{index}]"))
        made.append(_value(item, hint, counting, f"{at}[{index}]") if item is not None else _DROPPED)
    return _DROPPED if counting.count else made


def _entries(value: Any, hint: Any, refuse: Refuse, at: str) -> Any:
    if not isinstance(value, Mapping):
        refuse(_wrong(at, value, f"a mapping of names, each to {_words(_plain(hint)[0])}"))
        return _DROPPED
    counting = _Counting(refuse)
    made = {}
    for key, item in value.items():
        if not isinstance(key, str):
            counting(_wrong(f"{at}[{show(key)}]", key, "a name as text"))
        elif item is None:
            counting(_missing(f"{at}.{key}"))
        else:
            made[key] = _value(item, hint, counting, f"{at}.{key}")
    return _DROPPED if counting.count else made


def _member(value: Any, kind: type[StrEnum], refuse: Refuse, at: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(member.value for member in kind)
        refuse(
            Problem(
                code="KW101",
                key=at,
                got=show(value),
                allowed=allowed,
                because="no other choice exists",
                fix=f"use one of {allowed}",
            )
        )
        return _DROPPED


def _is(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if hint in (int, float):
        # Whether it is finite and whole is told with the range, by the component.
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) if inspect.isclass(hint) else True


def _words(hint: Any) -> str:
    origin = get_origin(hint)
    if is_typeddict(hint):
        return f"a mapping of {', '.join(sorted(_hints(hint)))}"
    if origin in (list, Sequence):
        return f"a list, each item {_words(_plain(get_args(hint)[0])[0])}"
    if origin in (dict, Mapping):
        return f"a mapping of names, each to {_words(_plain(get_args(hint)[1])[0])}"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return ", ".join(member.value for member in hint)
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _wrong(at: str, value: object, allowed: str) -> Problem:
    return Problem(
        code="KW101",
        key=at,
        got=show(value),
        allowed=allowed,
        because="no other form of value means anything here",
        fix=f"pass {allowed}",
    )


def _missing(at: str) -> Problem:
    return Problem(
        code="KW102",
        key=at,
        got="nothing",
        allowed="a value",
        because="there is no default for it",
        fix=f"set {at}",
    )


def _unknown(prefix: str, key: object, allowed: list[str]) -> Problem:
    close = difflib.get_close_matches(str(key), allowed, n=1)
    return Problem(
        code="KW100",
        key=f"{prefix}{key}",
        got="an unknown input",
        allowed=f"one of {', '.join(allowed)}",
        because="a misspelled input would be ignored in silence",
        fix=f"did you mean '{close[0]}'?" if close else "remove it",
    )
