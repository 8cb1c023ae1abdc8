"""Intrinsic functions of Amazon States Language.

https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html
"""

import base64
import functools
import hashlib
import json
import math
import random
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keepwarm_localcloud.services.stepfunctions.failures import IntrinsicError

_CALL = re.compile(r"\s*(States\.[A-Za-z0-9]+)\s*\(")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed call; arguments are literals, paths or calls."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class PathArgument:
    """A path given as an argument."""

    text: str


def _argument(text: str, at: int) -> tuple[Any, int]:
    while text[at : at + 1] == " ":
        at += 1
    if text[at : at + 1] == "'":
        out, at = [], at + 1
        while at < len(text) and text[at] != "'":
            if text[at] == "\\" and at + 1 < len(text):
                # \{ and \} stay escaped: States.Format looks at them.
                at += 1
                if text[at] in "{}":
                    out.append("\\")
            out.append(text[at])
            at += 1
        return "".join(out), at + 1
    if text[at : at + 1] == "$":
        start, depth = at, 0
        while at < len(text) and (depth or text[at] not in ",)"):
            depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(text[at], 0)
            at += 1
        return PathArgument(text[start:at].strip()), at
    if (number := _NUMBER.match(text, at)) is not None:
        raw = number[0]
        return (float(raw) if number[1] or number[2] else int(raw)), number.end()
    for word, value in (("true", True), ("false", False), ("null", None)):
        if text.startswith(word, at):
            return value, at + len(word)
    return _call(text, at)


def _call(text: str, at: int) -> tuple[Call, int]:
    found = _CALL.match(text, at)
    if found is None:
        raise IntrinsicError(f"The function '{text}' had the following error: it can't be parsed at {at}")
    arguments: list[Any] = []
    at = found.end()
    while True:
        while text[at : at + 1] == " ":
            at += 1
        if text[at : at + 1] == ")":
            return Call(found[1], tuple(arguments)), at + 1
        if text[at : at + 1] == ",":
            at += 1
        if at >= len(text):
            raise IntrinsicError(f"The function '{text}' had the following error: ')' is missing")
        value, at = _argument(text, at)
        arguments.append(value)


@functools.lru_cache(maxsize=2048)
def parse(text: str) -> Call:
    """Parse `States.Name(...)`.

    Raises:
        IntrinsicError: the text is no call, or the function doesn't exist.
    """
    call, at = _call(text, 0)
    if text[at:].strip():
        raise IntrinsicError(f"The function '{text}' had the following error: text after the call")
    _known(call)
    return call


def _known(call: Call) -> None:
    if call.name not in _FUNCTIONS:
        raise IntrinsicError(f"The intrinsic function '{call.name}' does not exist")
    for argument in call.arguments:
        if isinstance(argument, Call):
            _known(argument)


def is_call(text: str) -> bool:
    """Whether a value is meant as an intrinsic function call."""
    return _CALL.match(text) is not None


def _format(template: str, *values: Any) -> str:
    parts = re.split(r"(?<!\\)\{\}", template)
    if len(parts) - 1 != len(values):
        raise IntrinsicError(f"States.Format has {len(parts) - 1} places and {len(values)} arguments")
    texts = [v if isinstance(v, str) else json.dumps(v, separators=(",", ":")) for v in values]
    plain = [part.replace("\\{", "{").replace("\\}", "}") for part in parts]
    return "".join(p + t for p, t in zip(plain, [*texts, ""], strict=True))


def _whole(number: int | float) -> int:
    """Functions of whole numbers round others to the nearest one, halves away from zero."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{json.dumps(number)} is not a number")
    return int(math.copysign(math.floor(abs(number) + 0.5), number))


def _partition(values: list[Any], size: int) -> list[Any]:
    size = _whole(size)
    return [values[i : i + size] for i in range(0, len(values), size)]


def _contains(values: list[Any], value: Any) -> bool:
    # Python holds 1, 1.0 and True for the same; JSON has a number and a boolean.
    return any(item == value and isinstance(item, bool) is isinstance(value, bool) for item in values)


def _range(first: int, last: int, step: int) -> list[int]:
    first, last, step = _whole(first), _whole(last), _whole(step)
    out = list(range(first, last + (1 if step > 0 else -1), step)) if step else []
    if not step or len(out) > 1000:
        raise IntrinsicError("States.ArrayRange needs a step other than 0 and gives at most 1000 elements")
    return out


def _unique(values: list[Any]) -> list[Any]:
    seen: dict[str, Any] = {}
    for value in values:
        seen.setdefault(json.dumps(value, sort_keys=True), value)
    return list(seen.values())


def _merge(left: dict[str, Any], right: dict[str, Any], deep: bool) -> dict[str, Any]:
    if deep:
        raise IntrinsicError(
            "States.JsonMerge supports shallow merging only: the third argument must be false"
        )
    return {**left, **right}


def _hash(data: Any, algorithm: str) -> str:
    names = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
    if algorithm not in names:
        raise IntrinsicError(f"States.Hash allows {', '.join(names)}, got {algorithm}")
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return hashlib.new(names[algorithm], text.encode(), usedforsecurity=False).hexdigest()


def _random(low: int, high: int, seed: int | None = None) -> int:
    # Workflow randomness, not a secret.
    source = random.Random(seed) if seed is not None else random.Random()  # noqa: S311
    return source.randrange(_whole(low), _whole(high))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "States.Format": _format,
    "States.StringToJson": json.loads,
    "States.JsonToString": lambda value: json.dumps(value, separators=(",", ":")),
    "States.Array": lambda *values: list(values),
    "States.ArrayPartition": _partition,
    "States.ArrayContains": _contains,
    "States.ArrayRange": _range,
    "States.ArrayGetItem": lambda values, index: values[index],
    "States.ArrayLength": len,
    "States.ArrayUnique": _unique,
    "States.Base64Encode": lambda text: base64.b64encode(text.encode()).decode(),
    "States.Base64Decode": lambda text: base64.b64decode(text).decode(),
    "States.Hash": _hash,
    "States.JsonMerge": _merge,
    "States.MathRandom": _random,
    "States.MathAdd": lambda left, right: _whole(left) + _whole(right),
    "States.StringSplit": lambda text, splitter: [p for p in re.split(f"[{re.escape(splitter)}]", text) if p],
    "States.UUID": lambda: str(uuid.uuid4()),
}


def evaluate(text: str, read: Callable[[str], Any]) -> Any:
    """Evaluate a call; `read` gives the value of a path.

    Raises:
        IntrinsicError: the call is wrong for its arguments.
    """
    return _evaluate(parse(text), read, text)


def _evaluate(call: Call, read: Callable[[str], Any], text: str) -> Any:
    values = [
        _evaluate(a, read, text)
        if isinstance(a, Call)
        else read(a.text)
        if isinstance(a, PathArgument)
        else a
        for a in call.arguments
    ]
    try:
        return _FUNCTIONS[call.name](*values)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise IntrinsicError(f"The function '{text}' had the following error: {error}") from error
