"""Writes what outside sources say of the embedded cloud's resource types: `python -m tools.type_facts`.

- `pulumi_types/schema.json`: which properties exist and their shapes, from pulumi_aws; what AWS fills in inside objects
  and which lists have no order for it. The table takes these as they are.
- `pulumi_types/facts.json`: what is said of each property in the table. From pulumi_aws: the words of its docstrings
  (defaults, allowed values, conflicts, "forces a new resource"), what is secret, and its output types, since an
  optional input that every output has is one that AWS fills in. From AWS's own resource schemas, which cfn-lint
  carries: what can be set only at creation, ranges, lengths, enumerations.

Run it after a change of either package or of a type's specification. A test holds both files equal to their sources,
and every mark of the table equal to the facts or to a reviewed reason.

Python's output types do not tell what AWS fills in inside objects; TypeScript's do. `--typescript FILE`, with
`types/output.d.ts` of the npm package @pulumi/aws (7.48.0 was read), reads that anew; without it the facts of that
kind stay as they are.
"""

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.base import SCHEMA_FILE, ResourceType, schema
from keepwarm_localcloud.pulumi_types.facts import FACTS_FILE
from keepwarm_localcloud.pulumi_types.tokens import TOKENS
from tools.type_facts import aws, sdk, typescript

Facts = dict[str, Any]


def type_facts(kind: ResourceType) -> Facts:
    """Return the facts of one type: AWS's name of it, and property -> source -> what it says."""
    resource, args = sdk.classes(kind.token)
    name, part = aws.aws_name(kind.token)
    hidden = sdk.secrets(resource)
    properties: dict[str, Facts] = {}
    for path, said in sdk.walk(kind.fields, args, resource):
        if path in hidden:
            said["secret"] = True
        known = aws.facts(kind.token, path)
        properties[path] = {**({"sdk": said} if said else {}), **({"aws": known} if known else {})}
    whole = name + (f"#{part}" if part is not None else "") if aws.schema(name) else None
    return {"aws": whole, "properties": dict(sorted(properties.items()))}


def versions() -> dict[str, str]:
    """Return the versions of both packages, as installed."""
    return {name: importlib.metadata.version(name) for name in ("pulumi-aws", "cfn-lint")}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def schema_text(definitions: Path | None = None) -> str:
    """Return schema.json, one line a type."""
    lines = []
    for token in sorted(TOKENS):
        inside = (
            typescript.filled_inside(token, definitions)
            if definitions
            else schema().get(token, {}).get("filledInside", [])
        )
        described = sdk.shapes(token)
        unordered = sorted(path for path in _lists(described["inputs"]) if "set" in aws.facts(token, path))
        lines.append(f"{_dump(token)}:{_dump({**described, 'filledInside': inside, 'unordered': unordered})}")
    return "{" + ",\n".join(lines) + "}\n"


def _lists(shape: Any, prefix: str = "") -> Iterator[str]:
    """Return the paths of the lists in a shape."""
    for name, inner in shape.items():
        if isinstance(inner, list) and inner[0] == "list":
            yield prefix + name
            inner = inner[1]
        if isinstance(inner, dict):
            yield from _lists(inner, f"{prefix}{name}.")


def facts_text() -> str:
    """Return facts.json, one line a property."""
    types = []
    for kind in table.all_types():
        found = type_facts(kind)
        properties = ",\n".join(f"{_dump(path)}:{_dump(said)}" for path, said in found["properties"].items())
        types.append(f'{_dump(kind.token)}:{{"aws":{_dump(found["aws"])},"properties":{{\n{properties}}}}}')
    return f'{{"sources":{_dump(versions())},\n"types":{{\n' + ",\n".join(types) + "}}\n"


def main(arguments: list[str]) -> int:
    """Write both files into the package."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.type_facts", description="Write schema.json and facts.json."
    )
    parser.add_argument("--typescript", type=Path, metavar="FILE", help="types/output.d.ts of @pulumi/aws")
    options = parser.parse_args(arguments)
    SCHEMA_FILE.write_text(schema_text(options.typescript))
    schema.cache_clear()
    FACTS_FILE.write_text(facts_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
