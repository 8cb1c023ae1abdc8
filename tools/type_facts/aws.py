"""What AWS's own resource schemas, which cfn-lint carries, say of a property."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools.type_facts.names import AWS_NAMES, SAME, SERVICES

Facts = dict[str, Any]

LIMITS = ("enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")


@cache
def _carried() -> tuple[Path, dict[str, str]]:
    import cfnlint

    folder = Path(str(cfnlint.__file__)).parent / "data" / "schemas"
    return folder, json.loads((folder / "providers" / "us-east-1.json").read_bytes())


def aws_name(token: str) -> tuple[str, str | None]:
    """Return AWS's name of a type, and the part of it that the Pulumi type sets (None: the whole)."""
    module, name = token.split(":")[1].partition("/")[0], token.rpartition(":")[2]
    given = AWS_NAMES.get(f"{module}.{name}", f"{SERVICES[module]}::{name}")
    head, mark, part = given.partition("#")
    return f"AWS::{head}", part if mark else None


@cache
def schema(name: str) -> dict[str, Any] | None:
    """Load one of AWS's resource schemas, or None when it has no such type."""
    folder, files = _carried()
    if name not in files:
        return None
    schema: dict[str, Any] = json.loads((folder / "resources" / f"{files[name]}.json").read_bytes())
    return schema


def _resolve(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        target: Any = schema
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def _find(schema: Mapping[str, Any], path: str) -> tuple[str, Mapping[str, Any]] | None:
    """Follow a dotted path through objects and lists; return it in AWS's spelling with what it leads to."""
    node: Mapping[str, Any] = schema
    walked: list[str] = []
    for step in filter(None, path.split(".")):
        node = _resolve(schema, node)
        if "items" in node:
            node = _resolve(schema, node["items"])
        properties = node.get("properties", {})
        match = _match(step, properties)
        if match is None:
            return None
        walked.append(match)
        node = properties[match]
    return ".".join(walked), node


def _match(name: str, properties: Mapping[str, Any]) -> str | None:
    folded = {p.lower(): p for p in properties}
    low = name.lower()
    for candidate in (low, low.removesuffix("s"), f"{low}s", re.sub("ies$", "y", low)):
        if candidate in folded:
            return folded[candidate]
    return None


def _own_name(schema: Mapping[str, Any], name: str) -> list[str]:
    """Return how AWS calls what Pulumi calls `name`: QueueName, RoleName, AlarmName..."""
    last = str(schema["typeName"]).rpartition("::")[2]
    return [p for p in schema["properties"] if p == f"{last}Name"] if name == "name" else []


def facts(token: str, path: str) -> Facts:
    """Return what AWS's schema says of a property, `as` which it knows it."""
    name, part = aws_name(token)
    known = schema(name)
    if known is None:
        return {}
    where, whole = _where(token, path, known, part)
    found = _find(known, where)
    if found is None:
        return {}
    spelled, node = found
    node = _resolve(known, node)
    said: Facts = {"as": spelled}
    if whole and _listed(known, "createOnlyProperties", spelled):
        said["createOnly"] = True
    if whole and _listed(known, "conditionalCreateOnlyProperties", spelled):
        said["createOnlySometimes"] = True
    said.update({limit: node[limit] for limit in LIMITS if limit in node})
    if "default" in node:
        said["default"] = node["default"]
    if node.get("insertionOrder") is False:
        said["set"] = True
    return said


def _where(token: str, path: str, known: Mapping[str, Any], part: str | None) -> tuple[str, bool]:
    """Return AWS's path of a property, and whether it is a property of the whole type."""
    given = SAME.get(f"{token.split(':')[1].partition('/')[0]}.{token.rpartition(':')[2]}", {})
    for mine in sorted(given, key=len, reverse=True):
        if path == mine or path.startswith(f"{mine}."):
            return given[mine] + path[len(mine) :], part is None
    own = _own_name(known, path)
    if own:
        return own[0], True
    return (f"{part}.{path}", False) if part else (path, part is None)


def _listed(schema: Mapping[str, Any], key: str, spelled: str) -> bool:
    listed = {p.removeprefix("/properties/").replace("/*", "").replace("/", ".") for p in schema.get(key, [])}
    return spelled in listed
