"""Conversions between Pulumi's properties and what the API takes and gives: names, tags, times."""

from collections.abc import Mapping
from typing import Any

from keepwarm_localcloud.pulumi_types.base import Call, ResourceType
from keepwarm_localcloud.pulumi_types.fields import Field


# Conversions between Pulumi's camelCase and the API's names. Objects convert; the keys of maps are the user's.
def _head(name: str, upper: bool) -> str:
    return (name[0].upper() if upper else name[0].lower()) + name[1:]


def to_api(of: Field, value: Any, names: Mapping[str, str] | None = None, *, upper: bool = True) -> Any:
    """Convert a value to the names of the API; `names` are the exceptions to changing the first letter's case."""
    if of.kind == "object" and isinstance(value, Mapping):
        return {
            (names or {}).get(k, _head(k, upper)): to_api(f, value[k], names, upper=upper)
            for k, f in of.fields.items()
            if value.get(k) is not None
        }
    if of.kind == "list" and of.of is not None and isinstance(value, list):
        return [to_api(of.of, v, names, upper=upper) for v in value]
    return value


def from_api(of: Field, value: Any, names: Mapping[str, str] | None = None, *, upper: bool = True) -> Any:
    """Convert an answer of the API to Pulumi's names, keeping the properties that the type knows."""
    if of.kind == "object" and isinstance(value, Mapping):
        converted = {}
        for k, f in of.fields.items():
            inner = value.get((names or {}).get(k, _head(k, upper)))
            if inner is not None and inner != [] and inner != {}:
                converted[k] = from_api(f, inner, names, upper=upper)
        return converted
    if of.kind == "list" and of.of is not None and isinstance(value, list):
        return [from_api(of.of, v, names, upper=upper) for v in value]
    return value


def fill(
    kind: ResourceType,
    inputs: Mapping[str, Any],
    *wanted: str,
    names: Mapping[str, str] | None = None,
    upper: bool = True,
) -> dict[str, Any]:
    """Build API arguments from those of the `wanted` inputs that are set."""
    arguments: dict[str, Any] = {}
    for name in wanted:
        value = inputs.get(name)
        if value is not None:
            key = (names or {}).get(name, _head(name, upper))
            arguments[key] = to_api(kind.fields[name], value, names, upper=upper)
    return arguments


def take(
    kind: ResourceType,
    answer: Mapping[str, Any],
    *wanted: str,
    names: Mapping[str, str] | None = None,
    upper: bool = True,
) -> dict[str, Any]:
    """Build inputs from those of the `wanted` properties that an API answer has."""
    taken: dict[str, Any] = {}
    for name in wanted:
        value = answer.get((names or {}).get(name, _head(name, upper)))
        if value is not None and value != [] and value != {}:
            taken[name] = from_api(kind.fields[name], value, names, upper=upper)
    return taken


def tag_list(tags: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """Convert tags to the list form most APIs want."""
    return [{key: k, value: v} for k, v in sorted(tags.items())]


def tag_map(tags: Any, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """Convert the list form of tags; AWS's own `aws:` tags are left out."""
    if isinstance(tags, Mapping):
        return {k: v for k, v in tags.items() if not k.startswith("aws:")}
    return {t[key]: t.get(value, "") for t in tags or [] if not t[key].startswith("aws:")}


def tag_changes(call: Call) -> tuple[dict[str, str], list[str]]:
    """Return the tags to set and the keys to remove in an update."""
    old = call.old.get("tagsAll") or call.old.get("tags") or {}
    new = call.tags
    return {k: v for k, v in new.items() if old.get(k) != v}, sorted(set(old) - set(new))


def stamp(value: Any) -> str:
    """Write a time as the API gave it."""
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value or "")


def stamp_z(value: Any) -> str:
    """Write a time in UTC to the second."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(value, "strftime") else str(value or "")
