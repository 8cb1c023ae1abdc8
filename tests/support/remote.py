"""Components as a program in any other language makes them: by token, with the schema's names, across the engine.

The Python SDK that `pulumi package add` would generate does the same; here the schema is read at run time instead.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import pulumi
from pulumi.provider.experimental.component import ComponentProvider

import keepwarm
from keepwarm.__main__ import components

Make = Callable[..., Any]
"""`make(component, name, args, opts=None)`, args by Python's names; the result has the outputs by Python's names."""


@cache
def schema() -> dict[str, Any]:
    """The package's schema, as the engine gets it."""
    return dict(json.loads(ComponentProvider(components(), "keepwarm", None, "0.1.0").schema))


def imported(
    kind: str, name: str, args: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
) -> Any:
    """Make a component by import."""
    return getattr(keepwarm, kind)(name, args, opts)


class Remote(pulumi.ComponentResource):
    """A component that the engine asks its plugin to construct."""

    def __init__(
        self, kind: str, name: str, inputs: Mapping[str, Any], opts: pulumi.ResourceOptions | None
    ) -> None:
        token = f"keepwarm:index:{kind}"
        outputs = dict.fromkeys(schema()["resources"][token]["properties"])
        super().__init__(token, name, {**outputs, **inputs}, opts, remote=True)


def constructed(
    kind: str, name: str, args: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
) -> Any:
    """Make a component through the engine."""
    described = schema()["resources"][f"keepwarm:index:{kind}"]
    made = Remote(kind, name, _camel(args, described["inputProperties"]), opts)
    return SimpleNamespace(
        **{_snake(key): getattr(made, key) for key in described["properties"]}, resource=made
    )


def _camel(values: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Rename keys that the schema names; keys of maps are the user's own."""
    by_name = {_snake(key): (key, spec) for key, spec in properties.items()}
    return {by_name[k][0]: _value(v, by_name[k][1]) for k, v in values.items()}


def _value(value: Any, spec: Mapping[str, Any]) -> Any:
    reference = str(spec.get("$ref", "")).removeprefix("#/types/")
    described = schema()["types"].get(reference, {})
    if isinstance(value, dict) and "properties" in described:
        return _camel(value, described["properties"])
    if isinstance(value, dict) and "additionalProperties" in spec:
        return {k: _value(v, spec["additionalProperties"]) for k, v in value.items()}
    if isinstance(value, list) and "items" in spec:
        return [_value(v, spec["items"]) for v in value]
    return value


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)
