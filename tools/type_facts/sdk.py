"""What pulumi_aws says of a resource type: shapes, words of docstrings, what every output has, what is secret."""

import importlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from keepwarm_localcloud.pulumi_types.fields import Field
from keepwarm_localcloud.pulumi_types.tokens import TOKENS

Facts = dict[str, Any]

_VALUE = r"""(?:`+"?(?P<{0}1>[^`"]+)"?`+|"+`?(?P<{0}2>[^`"]+)`?"+|(?P<{0}3>-?\d+(?:\.\d+)?|true|false)\b)"""
_DEFAULT = re.compile(
    r"\bdefault(?:s|ing)?(?: value)?(?: for this \w+)?(?:,? (?:is|to|of)|:)*\s(?:[A-Z]\w+ )*"
    + _VALUE.format("a")
    + "|"
    + _VALUE.format("b")
    + r" \(default\)",
    re.I,
)
_LIST = re.compile(
    r"(?:(?:valid|possible|allowed) (?:values|options)|must be one of|one of)(?: are| include|:)*\s*"
    r"""((?:(?:,|and|or|\s)*(?:[`"]+[^`"\n]+[`"]+(?:\s\([^)]*\))?|\b\d+\b(?!\s*(?:to|and\s+\d+\b(?!,)))))+)""",
    re.I,
)
_RANGE = re.compile(
    r"\b(?:between|from)\s`?(-?[\d,]*\d)`?[^.,;]{0,20}?\s(?:and|to|up to)\s`?(-?[\d,]*\d)`?", re.I
)
_FORCES = re.compile(
    r"[^.]*\b(?:forces?(?: the)? (?:a )?new resource|forces? resource recreation|force replacement"
    r"|recreate the resource|cannot be changed after)[^.]*",
    re.I,
)
_CONFLICTS = re.compile(r"conflicts with ((?:[`,\s]|and|or|[a-z0-9_]+`)+)", re.I)


def default_said(kind: str, text: str) -> Any:
    """Return the literal default that a docstring gives, or None."""
    match = _DEFAULT.search(text)
    if match is None:
        return None
    word = next(g for g in match.groups() if g is not None).strip()
    if kind == "b":
        return {"true": True, "false": False}.get(word.lower())
    if kind in ("i", "n"):
        word = word.replace(",", "")
        return (int(word) if float(word).is_integer() else float(word)) if _is_number(word) else None
    return word if kind == "s" else None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def values_said(kind: str, text: str) -> list[Any]:
    """Return the values that a docstring allows, in its order."""
    match = _LIST.search(text)
    if match is None:
        return []
    if kind == "i":
        return [int(n) for n in re.findall(r"\b\d+\b", match[1])]
    return [v.strip() for v in re.findall(r"""[`"]+([^`"\n]+)[`"]+""", match[1])] if kind == "s" else []


def words(kind: str, text: str, names: Mapping[str, str]) -> Facts:
    """Return what one docstring says; `names` turn the words of Terraform into Pulumi's properties."""
    facts: Facts = {}
    text = " ".join(text.split())
    default = default_said(kind, text)
    if default is not None:
        facts["default"] = default
    values = values_said(kind, text)
    if len(values) > 1:
        facts["values"] = values
    within = _RANGE.search(text) if kind in ("i", "n") and not values else None
    if within:
        facts["range"] = [int(n.replace(",", "")) for n in within.groups()]
    forces = _FORCES.search(text)
    if forces:
        facts["forces"] = forces[0].strip()
    conflicts = _CONFLICTS.search(text)
    if conflicts:
        others = [names[n] for n in re.findall(r"[a-z0-9_]+(?=`)", conflicts[1]) if n in names]
        if others:
            facts["conflicts"] = sorted(others)
    if re.search(r"\bset of\b", text, re.I):
        facts["set"] = True
    if kind == "s" and re.search(r"\bJSON\b(?! Web)|policy document", text):
        facts["json"] = True
    return facts


def _docs(args: Any) -> dict[str, str]:
    """Return python name -> text, from the `:param` lines of a class's constructor."""
    doc = args.__init__.__doc__ or ""
    return dict(re.findall(r":param [^:]*?(\w+): (.*?)(?=\n\s+:param |\Z)", doc, re.DOTALL))


def _terraform(names: Mapping[str, str]) -> dict[str, str]:
    """Map Terraform's names, which the words use, to Pulumi's: the same in snake case, in the singular, or renamed."""
    known = {"filename": "code"} if "code" in names else {}
    for python, pulumi in names.items():
        known[python.rstrip("_")] = pulumi
        if python.endswith("s"):
            known.setdefault(python[:-1], pulumi)
        if python.endswith("ies"):
            known.setdefault(python[:-3] + "y", pulumi)
    return known


def _inner(hint: Any) -> Any:
    """Return the class of a nested object in a type hint, or None."""
    from pulumi._types import is_input_type, is_output_type

    if inspect.isclass(hint):
        return hint if is_input_type(hint) or is_output_type(hint) else None
    return next(filter(None, map(_inner, typing.get_args(hint))), None)


def always(cls: Any) -> dict[str, tuple[bool, Any]]:
    """Return pulumi name -> (whether every output has it, nested class), for a resource or an output class."""
    from pulumi._types import _py_properties

    found = {}
    for _, name, prop in _py_properties(cls):
        hint = typing.get_type_hints(
            prop.fget, vars(sys.modules[cls.__module__]), {"Output": importlib.import_module("pulumi").Output}
        )["return"]
        inside = typing.get_args(hint)[0] if "Output[" in repr(hint) else hint
        found[name] = (type(None) not in typing.get_args(inside), _inner(inside))
    return found


def required(args: Any) -> frozenset[str]:
    """Return the properties that a class of arguments demands."""
    from pulumi._types import input_type_py_to_pulumi_names

    names = input_type_py_to_pulumi_names(args)
    parameters = inspect.signature(args.__init__).parameters.values()
    return frozenset(names[p.name] for p in parameters if p.name in names and p.default is p.empty)


def nested_inputs(args: Any) -> dict[str, Any]:
    """Return property -> the class of its nested arguments, or None."""
    from pulumi._types import input_type_types

    return {name: _inner(hint) for name, hint in input_type_types(args).items()}


def walk(
    fields: Mapping[str, Field], args: Any, outputs: Any, prefix: str = ""
) -> Iterator[tuple[str, Facts]]:
    """Walk the supported properties of an input class and give what pulumi_aws says of each."""
    from pulumi._types import input_type_py_to_pulumi_names, input_type_types

    names = input_type_py_to_pulumi_names(args)
    docs = {names[python]: text for python, text in _docs(args).items() if python in names}
    needed = required(args)
    outgoing = always(outputs) if outputs is not None else {}
    hints = input_type_types(args)
    for name, of in fields.items():
        facts = words(of.kind, docs.get(name, ""), _terraform(names))
        has, inside = outgoing.get(name, (False, None))
        if name in needed:
            facts["required"] = True
        elif has and not prefix:
            # Inside objects the types of Python follow the inputs, so they tell nothing.
            facts["filled"] = True
        yield prefix + name, facts
        nested = of.of if of.kind == "list" and of.of is not None else of
        if nested.kind == "object" and (argument := _inner(hints[name])) is not None:
            yield from walk(nested.fields, argument, inside, f"{prefix}{name}.")


def classes(token: str) -> tuple[Any, Any]:
    """Return the SDK's resource class and its class of arguments."""
    module, _, name = TOKENS[token].rpartition(".")
    resource = getattr(importlib.import_module(module), name)
    own = importlib.import_module(resource.__module__)
    # A nested block of the same name takes `<Name>Args`; the resource's own arguments are then `<Name>InitArgs`.
    return resource, getattr(own, f"{name}InitArgs", None) or getattr(own, f"{name}Args")


def secrets(resource: Any) -> frozenset[str]:
    """Return the outputs that pulumi_aws always keeps secret."""
    listed = re.search(r"additional_secret_outputs=\[([^\]]*)\]", inspect.getsource(resource))
    return frozenset(re.findall(r'"(\w+)"', listed[1])) if listed else frozenset()


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


def shapes(token: str) -> dict[str, Any]:
    """Return which properties a type has, of what shape."""
    from pulumi._types import input_type_types, resource_types

    resource, args = classes(token)
    hints = input_type_types(args)
    outputs = sorted(resource_types(resource))
    return {
        "inputs": {name: _shape(of) for name, of in sorted(hints.items())},
        "required": sorted(required(args)),
        "outputs": [o for o in outputs if o not in ("id", "urn")],
    }
