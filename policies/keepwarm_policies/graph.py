"""A stack as policies see it: types, inputs, and who refers to whom, also while a preview knows no values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pulumi_policy import PolicyResource, StackValidationArgs

# pulumi_policy does not export it from its top level.
from pulumi_policy.proxy import UnknownValueError

FUNCTION = "aws:lambda/function:Function"
ALIAS = "aws:lambda/alias:Alias"
EVENT_SOURCE = "aws:lambda/eventSourceMapping:EventSourceMapping"
INVOKE_CONFIG = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig"
PROVISIONED = "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig"
STATE_MACHINE = "aws:sfn/stateMachine:StateMachine"
SERVICE = "aws:ecs/service:Service"
SCALABLE_TARGET = "aws:appautoscaling/target:Target"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"


class Unknown:
    """A value that only the deployment will tell."""

    def __repr__(self) -> str:
        """Show as in a preview."""
        return "<unknown>"


UNKNOWN = Unknown()


def value(properties: Mapping[str, Any], *path: str, default: Any = None) -> Any:
    """Follow `path`; `default` where nothing is set, `UNKNOWN` where a preview can't know."""
    at: Any = properties
    for key in path:
        try:
            at = at[int(key)] if isinstance(at, Sequence) and not isinstance(at, str) else at.get(key)
        except UnknownValueError:
            return UNKNOWN
        except (IndexError, ValueError, AttributeError):
            return default
        if at is None:
            return default
    return at


def number(properties: Mapping[str, Any], *path: str, default: float | None = None) -> float | None:
    """`value` as a number; unknown and text that is no number count as unset."""
    found = value(properties, *path)
    if isinstance(found, bool) or found is None or found is UNKNOWN:
        return default
    try:
        return float(found)
    except (TypeError, ValueError):
        return default


def variables(function: PolicyResource) -> Mapping[str, Any]:
    """Environment variables of a function; names are known even while values are not."""
    found = value(function.props, "environment", "variables", default={})
    return found if isinstance(found, Mapping) else {}


def has_variable(function: PolicyResource, name: str) -> bool:
    """Say whether the variable is set, known or not."""
    # Not `in`: the proxy of a preview reads the value to answer that, and raises for an unknown one.
    return any(known == name for known in variables(function))


def of_type(args: StackValidationArgs, *types: str) -> Iterator[PolicyResource]:
    """Resources of the given types, in the order of the program."""
    return (r for r in args.resources if r.resource_type in types)


def referred(resource: PolicyResource, prop: str) -> list[PolicyResource]:
    """Resources that one input was made from, found by dependency and not by value, so a preview knows them too."""
    return list(resource.property_dependencies.get(prop, []) or [])


def functions_of(resource: PolicyResource, prop: str) -> Iterator[PolicyResource]:
    """Functions that an input points at, directly or through an alias."""
    seen: set[str] = set()
    queue = referred(resource, prop)
    while queue:
        found = queue.pop(0)
        if found.urn in seen:
            continue
        seen.add(found.urn)
        if found.resource_type == FUNCTION:
            yield found
        elif found.resource_type == ALIAS:
            queue += referred(found, "functionName")


def event_sources_of(args: StackValidationArgs, function: PolicyResource) -> list[PolicyResource]:
    """Event source mappings that deliver to a function."""
    return [
        source
        for source in of_type(args, EVENT_SOURCE)
        if any(f.urn == function.urn for f in functions_of(source, "functionName"))
    ]


def exempt(config: Mapping[str, Any], urn: str) -> bool:
    """Say whether the pack's configuration exempts a resource; an exemption without a reason does not count."""
    return any(
        e.get("urn") == urn and str(e.get("reason", "")).strip()
        for e in _entries(config.get("exemptions", []))
    )


def _entries(listed: Any) -> Iterable[Mapping[str, Any]]:
    return (
        [e for e in listed if isinstance(e, Mapping)]
        if isinstance(listed, Sequence) and not isinstance(listed, str)
        else []
    )


EXEMPTIONS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "default": [],
    "items": {
        "type": "object",
        "required": ["urn", "reason"],
        "properties": {"urn": {"type": "string"}, "reason": {"type": "string", "minLength": 10}},
    },
}
"""Schema of `exemptions` in every rule's configuration: a URN and why it is right there."""
