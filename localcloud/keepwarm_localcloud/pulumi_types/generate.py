"""Writes `schema.json`: which properties pulumi_aws knows for each type of the table, with their shapes.

The SDK is the source, so a misspelt or newly added property is judged against the released package and
not against memory. Run it after a change of the pulumi_aws pin: `python -m keepwarm_localcloud.pulumi_types.generate`.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from keepwarm_localcloud.pulumi_types.tokens import TOKENS

SCHEMA_FILE = Path(__file__).with_name("schema.json")


def _shape(kind: Any, depth: int = 0) -> Any:
    """Turn a type hint of an input class into its shape; see `fields.Field` for the letters."""
    from pulumi._types import input_type_types, is_input_type, unwrap_type

    kind = unwrap_type(kind)
    simple = {str: "s", int: "i", float: "n", bool: "b"}
    if kind in simple:
        return simple[kind]
    origin = get_origin(kind)
    if origin in (list, Sequence):
        return ["list", _shape(get_args(kind)[0], depth)]
    if origin in (dict, Mapping):
        return ["map", _shape(get_args(kind)[1], depth)]
    if inspect.isclass(kind) and is_input_type(kind):
        if depth > 6:
            return "any"
        return {name: _shape(of, depth + 1) for name, of in input_type_types(kind).items()}
    if "pulumi.asset." in repr(kind):
        return "asset"
    if inspect.isclass(kind) and issubclass(kind, str):
        return "s"
    members = [m for m in get_args(kind) if m is not type(None)]
    if members:
        # `Union[str, SomeEnum]`, `Union['BucketArgs', 'BucketArgsDict']`: the first member is the wide one.
        return _shape(members[0], depth)
    return "any"


def describe(token: str, class_name: str) -> dict[str, Any]:
    """Describe one resource type from its SDK classes."""
    from pulumi._types import input_type_py_to_pulumi_names, input_type_types, resource_types

    module_path, _, name = class_name.rpartition(".")
    module = importlib.import_module(module_path)
    resource = getattr(module, name)
    own_module = importlib.import_module(resource.__module__)
    # A nested block of the same name takes `<Name>Args`; the resource's own arguments are then `<Name>InitArgs`.
    args = getattr(own_module, f"{name}InitArgs", None) or getattr(own_module, f"{name}Args")
    hints = input_type_types(args)
    names = input_type_py_to_pulumi_names(args)
    parameters = inspect.signature(args.__init__).parameters
    required = sorted(
        names[p.name] for p in parameters.values() if p.name in names and p.default is inspect.Parameter.empty
    )
    outputs = sorted(resource_types(resource))
    return {
        "inputs": {name: _shape(of) for name, of in sorted(hints.items())},
        "required": required,
        "outputs": [o for o in outputs if o not in ("id", "urn")],
    }


def main() -> int:
    """Write the file next to this module."""
    described = {token: describe(token, where) for token, where in sorted(TOKENS.items())}
    SCHEMA_FILE.write_text(json.dumps(described, indent=None, separators=(",", ":"), sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
