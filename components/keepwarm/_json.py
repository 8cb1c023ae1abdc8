"""JSON of structures that hold values which are known later, with one wait for all of them.

`pulumi.Output.json_dumps` waits once per nesting level, which is most of what a policy document costs to declare.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from keepwarm._values import known, resolve


class _Later:
    """Stands in a structure for a value that is known later."""

    __slots__ = ("key",)

    def __init__(self, key: int) -> None:
        self.key = key


def dumps(structure: Any) -> pulumi.Input[str]:
    """The structure as JSON text: now when everything in it is known, else an `Output` of it."""
    later: dict[int, Any] = {}

    def mark(value: Any) -> Any:
        if isinstance(value, str):
            return value
        if not known(value):
            later[id(value)] = value
            return _Later(id(value))
        if isinstance(value, Mapping):
            return {key: mark(inner) for key, inner in value.items()}
        if isinstance(value, Sequence):
            return [mark(inner) for inner in value]
        return value

    marked = mark(structure)
    if not later:
        return json.dumps(marked)

    def fill(values: Mapping[int, Any]) -> str:
        def put(value: Any) -> Any:
            if isinstance(value, _Later):
                return values[value.key]
            if isinstance(value, dict):
                return {key: put(inner) for key, inner in value.items()}
            if isinstance(value, list):
                return [put(inner) for inner in value]
            return value

        return json.dumps(put(marked))

    return resolve(later, fill)
