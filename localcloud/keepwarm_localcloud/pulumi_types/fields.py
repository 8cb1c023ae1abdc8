"""What a resource type knows about its inputs, compiled from a short specification and the facts of pulumi_aws.

`schema.json` (see `generate`) says which properties exist and their shapes; a specification says which of them the
embedded cloud supports and how they behave:

```
name!            a change replaces the resource
cpu?             set by AWS when the program does not set it, so it never makes a difference then
memory=128       default, a JSON value without blanks
layers~          order does not matter
value*           secret
policy:json      compared as a document, not as text
vpcConfig{...}   only these nested properties; without braces, all of them
cors.maxAge=5    marks of one nested property, where all of them are supported
```
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final

from keepwarm_localcloud.pulumi_types.assets import Blob

KIND_NAMES: Final = {
    "s": "text",
    "i": "a whole number",
    "n": "a number",
    "b": "true or false",
    "list": "a list",
    "map": "a map",
    "object": "an object",
    "asset": "an asset or archive",
    "any": "anything",
}


class _Unknown:
    """A value that is known only after an operation; appears in previews."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN: Final = _Unknown()


def has_unknown(value: Any) -> bool:
    """Whether `value` is, or holds, an unknown."""
    if value is UNKNOWN:
        return True
    if isinstance(value, Mapping):
        return any(has_unknown(v) for v in value.values())
    if isinstance(value, list | tuple):
        return any(has_unknown(v) for v in value)
    return False


@dataclass(frozen=True, slots=True)
class Field:
    """One input property: its shape and how it behaves."""

    kind: str
    """`s`, `i`, `n`, `b`, `list`, `map`, `object`, `asset` or `any`."""
    of: "Field | None" = None
    """Element of a list or map."""
    fields: Mapping[str, "Field"] = field(default_factory=dict)
    """Properties of an object."""
    unsupported: frozenset[str] = frozenset()
    """Properties of an object that pulumi_aws knows and the embedded cloud does not."""
    new: bool = False
    computed: bool = False
    default: Any = None
    secret: bool = False
    unordered: bool = False
    document: bool = False


_TOKEN = re.compile(
    r"""\s*(?:(?P<close>\}) | (?P<name>[A-Za-z0-9.]+)(?P<json>:json)?(?P<flags>[!?~*]*)
        (?:=(?P<default>(?:"[^"]*"|\[[^\]]*\]|[^\s{}\[\]"]+)))? (?P<open>\{)?)""",
    re.VERBOSE,
)


@dataclass(slots=True)
class _Wanted:
    flags: str
    default: Any
    document: bool
    nested: "dict[str, _Wanted] | None"


def _parse(text: str) -> dict[str, _Wanted]:
    stack: list[dict[str, _Wanted]] = [{}]
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None or match.end() == position:
            raise ValueError(f"a specification cannot be read from {text[position : position + 40]!r}")
        position = match.end()
        if match["close"]:
            stack.pop()
            continue
        nested: dict[str, _Wanted] | None = {} if match["open"] else None
        default = json.loads(match["default"]) if match["default"] else None
        stack[-1][match["name"]] = _Wanted(match["flags"] or "", default, bool(match["json"]), nested)
        if nested is not None:
            stack.append(nested)
    return stack[0]


@dataclass(frozen=True, slots=True)
class Told:
    """What outside sources say of properties, by path (see `tools/type_facts`)."""

    filled: frozenset[str] = frozenset()
    """Inside objects: AWS fills them in."""
    unordered: frozenset[str] = frozenset()
    """Lists whose order AWS does not keep."""
    marks: Mapping[str, _Wanted] = field(default_factory=dict)
    """What the specification says of properties inside objects that it takes whole."""


def _field(shape: Any, wanted: _Wanted | None, told: Told, path: str) -> Field:
    wanted = wanted or told.marks.get(path)
    flags = wanted.flags if wanted else ""
    behavior: dict[str, Any] = {
        "new": "!" in flags,
        "computed": "?" in flags or path in told.filled,
        "unordered": "~" in flags or path in told.unordered,
        "secret": "*" in flags,
        "default": wanted.default if wanted else None,
        "document": wanted.document if wanted else False,
    }
    nested = wanted.nested if wanted else None
    if isinstance(shape, str):
        return Field(shape, **behavior)
    if isinstance(shape, list):
        inner = _Wanted("", None, False, nested) if nested is not None else None
        element = replace(_field(shape[1], inner, told, path), computed=False, unordered=False)
        return Field(shape[0], of=element, **behavior)
    known = {
        name: _field(inner, nested.get(name) if nested else None, told, f"{path}.{name}")
        for name, inner in shape.items()
        if nested is None or name in nested
    }
    if nested is not None:
        missing = set(nested) - set(shape)
        if missing:
            raise ValueError(f"a specification names {sorted(missing)}, which pulumi_aws does not know")
    return Field("object", fields=known, unsupported=frozenset(set(shape) - set(known)), **behavior)


def compile_fields(specification: str, inputs: Mapping[str, Any], told: Told = Told()) -> dict[str, Field]:
    """Join a specification with the shapes of pulumi_aws and what outside sources add.

    Raises:
        ValueError: the specification is malformed or names a property that pulumi_aws does not know.
    """
    parsed = _parse(specification)
    wanted = {name: w for name, w in parsed.items() if "." not in name}
    told = replace(told, marks={name: w for name, w in parsed.items() if "." in name})
    unknown = {name.partition(".")[0] for name in parsed} - set(inputs)
    if unknown:
        raise ValueError(f"a specification names {sorted(unknown)}, which pulumi_aws does not know")
    return {name: _field(inputs[name], w, told, name) for name, w in wanted.items()}


def describe_value(value: Any) -> str:
    """Show a value in an error message, shortened."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, Mapping):
        return f"an object with {', '.join(sorted(map(str, value))[:6]) or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)


def suggestion(name: str, known: Iterator[str] | Mapping[str, Any]) -> str:
    """Return `did you mean 'x'?`, or an empty string."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else ""


def _scalar(kind: str, value: Any) -> Any:
    """Coerce as the bridged provider does; None when it cannot be."""
    if kind == "s":
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(int(value)) if float(value).is_integer() else str(value)
    elif kind == "b":
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return value == "true"
    elif kind in ("i", "n") and not isinstance(value, bool):
        try:
            number = float(value) if isinstance(value, int | float | str) else None
        except ValueError:
            number = None
        if number is None or (kind == "i" and not number.is_integer()):
            return None
        return int(number) if kind == "i" or number.is_integer() else number
    return None


def check_value(of: Field, value: Any, path: str, failures: list[tuple[str, str]]) -> Any:
    """Return `value` in its proper type; add what is wrong to `failures` as (path, coded reason)."""
    if value is UNKNOWN or value is None or of.kind == "any":
        return value
    if of.kind in ("s", "i", "n", "b"):
        coerced = None if isinstance(value, Mapping | list | Blob) else _scalar(of.kind, value)
        if coerced is None:
            failures.append((path, _wrong_type(of, value)))
            return value
        return coerced
    if of.kind == "asset":
        if not isinstance(value, Blob):
            failures.append((path, _wrong_type(of, value)))
        return value
    if of.kind == "list":
        if not isinstance(value, list | tuple) or of.of is None:
            failures.append((path, _wrong_type(of, value)))
            return value
        return [check_value(of.of, v, f"{path}[{i}]", failures) for i, v in enumerate(value)]
    if not isinstance(value, Mapping):
        failures.append((path, _wrong_type(of, value)))
        return value
    if of.kind == "map":
        inner = of.of or Field("any")
        return {k: check_value(inner, v, f"{path}.{k}", failures) for k, v in value.items() if v is not None}
    return check_object(of.fields, of.unsupported, value, f"{path}.", failures)


def _wrong_type(of: Field, value: Any) -> str:
    return f"KW632 got {describe_value(value)}; allowed {KIND_NAMES[of.kind]}"


def check_object(
    fields: Mapping[str, Field],
    unsupported: frozenset[str],
    value: Mapping[str, Any],
    prefix: str,
    failures: list[tuple[str, str]],
) -> dict[str, Any]:
    """Check every property of an object; absent and null properties are the same."""
    checked: dict[str, Any] = {}
    for name, inner in value.items():
        if name == "__defaults":
            continue
        of = fields.get(name)
        if of is None:
            if name in unsupported:
                failures.append(
                    (
                        prefix + name,
                        "KW631 got a property that pulumi_aws knows and the embedded cloud does not support yet; "
                        "allowed " + ", ".join(sorted(fields)) + "; fix: leave it out of the local stack",
                    )
                )
            else:
                hint = suggestion(name, {**fields, **dict.fromkeys(unsupported)})
                failures.append(
                    (
                        prefix + name,
                        f"KW631 got an unknown property; {hint or 'see ' + ', '.join(sorted(fields))}",
                    )
                )
        elif inner is not None:
            checked[name] = check_value(of, inner, prefix + name, failures)
    return checked


def canonical(of: Field, value: Any) -> Any:
    """Reduce a value to what counts in a comparison: no empties, no order of sets, documents parsed."""
    if value is None or value is UNKNOWN:
        return value
    if of.document and isinstance(value, str):
        try:
            return json.dumps(json.loads(value), sort_keys=True)
        except ValueError:
            return value
    if of.kind in ("s", "i", "n", "b"):
        return value if isinstance(value, Mapping | list) else _scalar(of.kind, value)
    if isinstance(value, Blob):
        return value.digest
    if of.kind == "list" and isinstance(value, list | tuple):
        items = [canonical(of.of or Field("any"), v) for v in value]
        if of.unordered:
            items.sort(key=lambda v: json.dumps(v, sort_keys=True, default=str))
        return items or None
    if of.kind == "map" and isinstance(value, Mapping):
        return {
            k: canonical(of.of or Field("any"), v) for k, v in sorted(value.items()) if v is not None
        } or None
    if of.kind == "object" and isinstance(value, Mapping):
        inner = {
            k: canonical(f, value[k] if value.get(k) is not None else f.default) for k, f in of.fields.items()
        }
        return {k: v for k, v in inner.items() if v is not None} or None
    return value


def _same_in_any_order(of: Field, wanted: list[Any], actual: list[Any]) -> bool:
    """Whether each wanted object has an actual one of its own."""
    left = list(actual)
    for value in wanted:
        match = next((i for i, other in enumerate(left) if same(of, value, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def same(of: Field, wanted: Any, actual: Any) -> bool:
    """Whether the cloud's `actual` value satisfies the `wanted` one; computed parts of objects are left out."""
    if of.kind == "object" and isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        for name, inner in of.fields.items():
            value = wanted.get(name)
            if value is None and inner.computed:
                continue
            if not same(inner, value, actual.get(name)):
                return False
        return True
    if (
        of.kind == "list"
        and of.of is not None
        and of.of.kind == "object"
        and isinstance(wanted, list)
        and isinstance(actual, list)
    ):
        if len(wanted) != len(actual):
            return False
        if not of.unordered:
            return all(same(of.of, w, a) for w, a in zip(wanted, actual, strict=True))
        return _same_in_any_order(of.of, wanted, actual)
    left = canonical(of, of.default if wanted is None else wanted)
    right = canonical(of, of.default if actual is None else actual)
    if left in (False, 0, "", None) and right in (False, 0, "", None) and of.default is None:
        return True
    return bool(left == right)
