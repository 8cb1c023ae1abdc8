"""Checks the inputs of a program and compares them with the state, by what the type says of its properties."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keepwarm_localcloud.pulumi_types import facts
from keepwarm_localcloud.pulumi_types.base import DEFAULTS_KEY, AutoName, ResourceType
from keepwarm_localcloud.pulumi_types.errors import InvalidInputs
from keepwarm_localcloud.pulumi_types.fields import UNKNOWN, Field, check_object, has_unknown, same


@dataclass(frozen=True, slots=True)
class Change:
    """One property that differs."""

    path: str
    kind: str
    """`add`, `update` or `delete`."""
    replaces: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What a new set of inputs means for an existing resource."""

    changes: tuple[Change, ...] = ()
    delete_first: bool = False

    @property
    def replaces(self) -> tuple[str, ...]:
        """Properties that force a replacement."""
        return tuple(c.path for c in self.changes if c.replaces)

    @property
    def changed(self) -> frozenset[str]:
        """Top-level properties that differ."""
        return frozenset(c.path.split(".")[0].split("[")[0] for c in self.changes)


def autoname(auto: AutoName, name: str, inputs: Mapping[str, Any], seed: bytes) -> str:
    """Work out a physical name as pulumi-aws does: `<name>-<7 hex>`, cut to what AWS allows."""
    digits = (hashlib.sha256(seed).hexdigest() if seed else os.urandom(4).hex())[:7]
    suffix = ""
    if auto.suffix_when and inputs.get(auto.suffix_when[0]) is True:
        suffix = auto.suffix_when[1]
    head = auto.prefix + (name.lower() if auto.lower else name)
    return f"{head[: auto.limit - len(digits) - len(suffix) - 1]}-{digits}{suffix}"


def check(
    kind: ResourceType, name: str, inputs: Mapping[str, Any], old: Mapping[str, Any] | None, seed: bytes = b""
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Check and complete the inputs of a program: defaults, a physical name; every failure as (property, reason)."""
    failures: list[tuple[str, str]] = []
    checked = check_object(kind.fields, kind.unsupported, inputs, "", failures)
    for wanted in kind.required:
        if checked.get(wanted) is None and wanted in kind.fields:
            failures.append(
                (wanted, "KW633 missing; allowed a value; because the resource cannot be made without it")
            )
    given = dict(checked)
    defaults: list[str] = []
    auto = kind.auto
    if auto is not None and checked.get(auto.property) is None:
        prefix = checked.get(f"{auto.property}Prefix")
        kept = (old or {}).get(auto.property)
        if isinstance(kept, str) and auto.property in ((old or {}).get(DEFAULTS_KEY) or []):
            checked[auto.property] = kept
        elif isinstance(prefix, str):
            checked[auto.property] = autoname(
                AutoName(auto.property, auto.limit), prefix.rstrip("-"), checked, seed
            )
        else:
            checked[auto.property] = autoname(auto, name, checked, seed)
        defaults.append(auto.property)
    for key, of in kind.fields.items():
        if of.default is not None and checked.get(key) is None:
            checked[key] = of.default
            defaults.append(key)
    if not failures:
        failures.extend(kind.check(checked))
        failures.extend(kind.check_change(checked, old) if old else [])
    if not failures:
        failures.extend(facts.conflicts(kind.token, given))
        failures.extend(facts.beyond(kind.token, kind.fields, checked) or _too_long(kind, checked))
    checked[DEFAULTS_KEY] = sorted(defaults)
    # The order of properties on the wire is not the program's: sort, so that the same fault reads the same.
    return checked, sorted(failures)


def _too_long(kind: ResourceType, checked: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Refuse a name that the program chose and that is too long for AWS."""
    auto = kind.auto
    name = checked.get(auto.property) if auto is not None else None
    if auto is None or not isinstance(name, str) or len(name) <= auto.limit:
        return []
    told = f"KW634 got {len(name)} characters; allowed 1 to {auto.limit} characters; because AWS accepts nothing else"
    return [(auto.property, told)]


def refuse(owner: str, failures: list[tuple[str, str]]) -> None:
    """Raise for all failures of one resource together.

    Raises:
        InvalidInputs: there was at least one failure.
    """
    if not failures:
        return
    code = failures[0][1].split(" ", 1)[0]
    lines = [f"{path}: {reason.split(' ', 1)[1]}" for path, reason in failures]
    raise InvalidInputs(code, f"{owner}: {'; also '.join(lines)}", failures)


def diff(
    kind: ResourceType,
    old_inputs: Mapping[str, Any],
    old_outputs: Mapping[str, Any],
    inputs: Mapping[str, Any],
    ignore: frozenset[str] = frozenset(),
    replace_on: frozenset[str] = frozenset(),
    default_tags: Mapping[str, str] | None = None,
) -> Difference:
    """Compare what a program wants with the state, property by property.

    A property counts when the program sets it, when the program set it before, or when the cloud has something else
    than the default there (somebody changed it by hand) and it is not AWS that fills it in.
    """
    changes: list[Change] = []
    for name, of in kind.fields.items():
        if name in ignore:
            continue
        wanted = inputs.get(name)
        actual = old_outputs.get(name, old_inputs.get(name))
        if wanted is None and of.computed:
            continue
        if wanted is None and name not in old_inputs and name not in old_outputs:
            continue
        if has_unknown(wanted):
            # An unknown may turn out to be what is there already; pulumi shows it as a change, and so do we.
            changes.append(Change(name, "update", of.new or _nested_new(of, wanted, actual)))
            continue
        if same(of, wanted, actual):
            continue
        action = "add" if actual is None else "delete" if wanted is None else "update"
        forced = (
            of.new
            or kind.replaces(name, wanted, actual, inputs)
            or name in replace_on
            or "*" in replace_on
            or _nested_new(of, wanted, actual)
        )
        changes.append(Change(name, action, forced))
    told = any(c.path == "tags" for c in changes)
    if default_tags is not None and not told and _retagged(kind, old_outputs, inputs, default_tags, ignore):
        changes.append(Change("tags", "update", replaces=False))
    auto = kind.auto
    named_by_hand = (
        auto is not None
        and auto.property not in (inputs.get(DEFAULTS_KEY) or [])
        and inputs.get(auto.property) == old_outputs.get(auto.property)
    )
    return Difference(tuple(changes), delete_first=kind.delete_first or named_by_hand)


def _retagged(
    kind: ResourceType,
    old_outputs: Mapping[str, Any],
    inputs: Mapping[str, Any],
    default_tags: Mapping[str, str],
    ignore: frozenset[str],
) -> bool:
    """Whether the provider's default tags changed under a resource that has tags."""
    tags = kind.fields.get("tags")
    own = inputs.get("tags") or {}
    if tags is None or tags.kind != "map" or "tags" in ignore or has_unknown(own):
        return False
    actual = old_outputs.get("tagsAll")
    return isinstance(actual, Mapping) and dict(actual) != {**default_tags, **own}


def _nested_new(of: Field, wanted: Any, actual: Any) -> bool:
    """Whether a difference inside an object touches a property that forces replacement."""
    if of.kind == "list" and of.of is not None and of.of.kind == "object":
        left = wanted if isinstance(wanted, list) else []
        right = actual if isinstance(actual, list) else []
        if len(left) != len(right):
            return any(f.new for f in of.of.fields.values())
        return any(_nested_new(of.of, w, a) for w, a in zip(left, right, strict=True))
    if of.kind != "object":
        return False
    left_map = wanted if isinstance(wanted, Mapping) else {}
    right_map = actual if isinstance(actual, Mapping) else {}
    for name, inner in of.fields.items():
        value = left_map.get(name)
        if value is None and inner.computed:
            continue
        if value is not UNKNOWN and same(inner, value, right_map.get(name)):
            continue
        if inner.new or _nested_new(inner, value, right_map.get(name)):
            return True
    return False
