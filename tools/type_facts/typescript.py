"""What the TypeScript types of the same provider say: which optional properties inside objects every output has."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tools.type_facts import sdk

_INTERFACE = re.compile(r"namespace (\w+) \{|^    interface (\w+) \{(.*?)^    \}", re.MULTILINE | re.DOTALL)


@cache
def _interfaces(definitions: Path) -> dict[tuple[str, str], dict[str, bool]]:
    """Return (namespace, interface) -> property -> whether every output has it."""
    found: dict[tuple[str, str], dict[str, bool]] = {}
    namespace = ""
    for match in _INTERFACE.finditer(definitions.read_text()):
        if match[1]:
            namespace = match[1]
        else:
            properties = re.findall(r"^        (\w+)(\?)?: ", match[3], re.MULTILINE)
            found[namespace, match[2]] = {name: not mark for name, mark in properties}
    return found


def filled_inside(token: str, definitions: Path) -> list[str]:
    """Return the paths inside objects that a program may leave out and every output has."""
    resource, args = sdk.classes(token)
    return sorted(_filled(resource, args, definitions, ""))


def _filled(output: Any, args: Any, definitions: Path, prefix: str) -> Iterator[str]:
    interfaces = _interfaces(definitions)
    inputs = sdk.nested_inputs(args)
    required = sdk.required(args)
    if prefix.count(".") > 6:
        return
    for name, (_, inside) in sdk.always(output).items():
        if name not in inputs:
            continue
        if prefix and name not in required:
            namespace = output.__module__.split(".")[1].rstrip("_")
            if interfaces.get((namespace, output.__name__), {}).get(name):
                yield prefix + name
        if inside is not None and inputs[name] is not None:
            yield from _filled(inside, inputs[name], definitions, f"{prefix}{name}.")
