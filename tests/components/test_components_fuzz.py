"""Junk in every input of every component: a coded refusal or a deployment, never a traceback.

Not proved: that each value which passes makes sense; the component's own tests say what it refuses.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
import pytest

import keepwarm as kw
from keepwarm.__main__ import COMPONENTS
from keepwarm.errors import CODES, InvalidArgs
from tests.support.deployed import DEFAULT_VPC, deploy
from tests.support.samples import PROGRAMS

LINE = re.compile(r"(KW1\d\d) \w+ '[^']*' \S.*: got .+; allowed .+; because .+; fix: .+", re.DOTALL)
ABSENT = object()

JUNK: dict[str, Any] = {
    "none": None,
    "empty text": "",
    "text": "x",
    "long text": "x" * 10_000,
    "odd text": "a\n\x00\u2028'\"${}",
    "bytes": b"x",
    "zero": 0,
    "negative": -1,
    "huge": 2**63,
    "tiny": 5e-324,
    "huge float": 1e308,
    "nan": math.nan,
    "infinite": math.inf,
    "bool": True,
    "empty list": [],
    "list of none": [None],
    "list of lists": [[]],
    "list of numbers": [1, 1],
    "empty mapping": {},
    "mapping of none": {"x": None},
    "mapping of text": {"x": "y"},
    "mapping of mappings": {"x": {"y": {}}},
    "odd keys": {1: 2},
    "object": object(),
}
LATE = {"late text": "x", "late number": 7, "late none": None, "late list": ["x"], "late mapping": {"x": 1}}


class _Reached(Exception):
    """The sample got as far as its component."""


def sample(component: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The inputs that the sample program of a component passes."""
    seen: dict[str, Any] = {}

    def record(name: str, args: Mapping[str, Any], opts: object = None) -> None:
        seen.update(args)
        raise _Reached

    with monkeypatch.context() as patch:
        patch.setitem(vars(kw), component, record)
        with pytest.raises(_Reached):
            PROGRAMS[component]()
    return seen


def places(args: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and index inside the sample's inputs, at any depth."""
    inner: Any = ()
    if isinstance(args, Mapping):
        inner = args.items()
    elif isinstance(args, list):
        inner = enumerate(args)
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


def replaced(args: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value, or none, at one place."""
    if not path:
        return value
    key, *rest = path
    copy = dict(args) if isinstance(args, Mapping) else list(args)
    inner = replaced(copy[key] if rest else None, tuple(rest), value)
    if inner is ABSENT:
        del copy[key]
    else:
        copy[key] = inner
    return copy


def outcome(component: str, args: Any) -> str | None:
    """What is wrong with how a component takes these inputs, or None."""
    try:
        deploy(lambda: getattr(kw, component)("fuzzed", args), lookups=DEFAULT_VPC)
    except InvalidArgs as refused:
        lines = re.split(r"\n(?=KW)", str(refused))
        bad = [line for line in lines if not (m := LINE.fullmatch(line)) or m[1] not in CODES]
        return f"ill-formed refusal: {bad}" if bad else None
    except AssertionError as error:
        # Pulumi's own words, with resource and property, for an Output that resolves to a value of another type.
        return None if "Unexpected type" in str(error) else f"AssertionError: {error}"
    except Exception as error:  # anything else would reach the user as a traceback
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("component", sorted(COMPONENTS))
def test_given_junk_in_any_input_then_it_is_refused_with_a_code(
    component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = sample(component, monkeypatch)
    declared = getattr(kw, f"{component}Args").__annotations__
    spots = {(key,) for key in declared} | {path for path in places(base) if len(path) > 1}

    faults = []
    for path in sorted(spots, key=str):
        tries = {**JUNK, **{label: pulumi.Output.from_input(value) for label, value in LATE.items()}}
        if len(path) > 1:
            tries["absent"] = ABSENT
        for label, value in tries.items():
            wrong = outcome(component, replaced(base, path, value))
            if wrong is not None:
                faults.append(f"{'.'.join(map(str, path))} = {label}: {wrong}")

    assert faults == [], f"{len(faults)} faults, first:\n" + "\n".join(faults[:25])


@pytest.mark.parametrize("component", sorted(COMPONENTS))
@pytest.mark.parametrize("args", [None, [], "text", 7, {1: 2}], ids=str)
def test_given_no_mapping_of_inputs_then_it_is_refused(component: str, args: Any) -> None:
    assert outcome(component, args) is None


@pytest.mark.parametrize("component", sorted(COMPONENTS))
@pytest.mark.parametrize("name", [None, "", 7, "x" * 500], ids=["none", "empty", "number", "long"])
def test_given_an_unusable_name_then_it_is_refused(
    component: str, name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = sample(component, monkeypatch)
    with pytest.raises(InvalidArgs, match=r"KW1\d\d .* name: got"):
        deploy(lambda: getattr(kw, component)(name, args), lookups=DEFAULT_VPC)
