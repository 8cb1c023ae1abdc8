"""Every mark of the table of resource types against two outside sources.

Proves: what the specifications say by hand (`!` replaces, `?` AWS fills it in, `=x` default, `*` secret, `~` no order,
`:json` a document) is what pulumi_aws and AWS's own resource schemas say, but for the reviewed table of disagreements.
Does not prove: that either source is right where both agree, nor a mark where neither says anything.
"""

import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.base import SCHEMA_FILE, ResourceType, schema
from keepwarm_localcloud.pulumi_types.facts import CLOUDFORMATION_ONLY, FACTS_FILE, said_of, sources
from keepwarm_localcloud.pulumi_types.fields import Field
from tests.localcloud.type_disagreements import REVIEWED
from tools.type_facts.__main__ import facts_text, schema_text, versions

ZERO = (False, 0, "", None)
"""Values that mean the same as leaving a property out, unless it has a default."""

Said = dict[str, dict[str, Any]]


def inside(of: Field) -> Mapping[str, Field]:
    nested = of.of if of.kind == "list" and of.of is not None else of
    return nested.fields if nested.kind == "object" else {}


def walk(fields: Mapping[str, Field], prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Every property but `region`, which each type has by construction."""
    for name, of in fields.items():
        if prefix + name != "region":
            yield prefix + name, of
            yield from walk(inside(of), f"{prefix}{name}.")


def name_of(kind: ResourceType) -> str:
    return f"{kind.token.split(':')[1].partition('/')[0]}.{kind.token.rpartition(':')[2]}"


def disagreements(kind: ResourceType) -> Iterator[str]:
    said = defaultdict(dict, said_of(kind.token))
    for path, of in walk(kind.fields):
        found = [
            *replacing(kind, path, of, said),
            *filling(kind, path, of, said[path]),
            *defaulting(of, said[path]),
            *shaping(of, said[path]),
        ]
        yield from (f"{name_of(kind)} {path} {mark}" for mark in found)


def forced(kind: ResourceType, path: str, said: Mapping[str, Said]) -> bool:
    """Whether a source says that a change replaces. A prefix makes the name, so it does what the name does."""
    auto = kind.auto
    prefix = auto is not None and path == f"{auto.property}Prefix"
    return prefix or "forces" in said[path].get("sdk", {}) or "createOnly" in said[path].get("aws", {})


def replacing(kind: ResourceType, path: str, of: Field, said: Mapping[str, Said]) -> Iterator[str]:
    parents = [path[:i] for i, c in enumerate(path) if c == "."]
    marked = dict(walk(kind.fields))
    if any(marked[p].new or forced(kind, p, said) for p in parents):
        return
    if of.new != forced(kind, path, said):
        yield "!" if of.new else "not !"


def filling(kind: ResourceType, path: str, of: Field, said: Said) -> Iterator[str]:
    if "." in path:
        # What sources say inside objects the table takes as it is; only what it adds can be wrong.
        if of.computed and path not in schema()[kind.token]["filledInside"]:
            yield "?"
        return
    named = kind.auto is not None and path in (kind.auto.property, f"{kind.auto.property}Prefix")
    filled = "filled" in said.get("sdk", {})
    if of.computed and not filled:
        yield "?"
    elif filled and not of.computed and of.default is None and not named:
        yield "not ?"


def defaulting(of: Field, said: Said) -> Iterator[str]:
    sdk = said.get("sdk", {})
    default = sdk.get("default", said.get("aws", {}).get("default"))
    if of.default not in (*ZERO, default):
        yield f"={of.default}"
    elif of.default is None and default not in ZERO and not of.computed and "required" not in sdk:
        yield f"not ={default}"


def shaping(of: Field, said: Said) -> Iterator[str]:
    sdk, aws = said.get("sdk", {}), said.get("aws", {})
    if of.secret != ("secret" in sdk):
        yield "*" if of.secret else "not *"
    if of.kind == "list" and of.unordered != ("set" in sdk or "set" in aws):
        yield "~" if of.unordered else "not ~"
    if of.kind == "s" and of.document != ("json" in sdk):
        yield ":json" if of.document else "not :json"


FOUND = [line for kind in table.all_types() for line in disagreements(kind)]
REASONS = {line.strip(): reason for reason, lines in REVIEWED for line in lines.strip().splitlines()}


def test_given_a_mark_then_both_sources_say_so_or_a_reason_is_written() -> None:
    unexplained = [line for line in FOUND if not any(fnmatchcase(line, known) for known in REASONS)]
    assert unexplained == [], "fix the specification, or review it in type_disagreements.py"


def test_given_a_reviewed_disagreement_then_it_still_is_one() -> None:
    stale = [known for known in REASONS if not any(fnmatchcase(line, known) for line in FOUND)]
    assert stale == []


def test_given_the_sources_then_every_property_of_the_table_was_compared() -> None:
    for kind in table.all_types():
        compared = set(said_of(kind.token)) - {"region"}
        assert {path for path, _ in walk(kind.fields)} == compared, "run python -m tools.type_facts"


def test_given_the_installed_sources_then_the_committed_facts_are_theirs() -> None:
    if versions() != sources():
        pytest.skip(f"facts are from {sources()}, installed are {versions()}: run python -m tools.type_facts")
    wrong = [
        f"{file.name}: run python -m tools.type_facts"
        for file, text in ((SCHEMA_FILE, schema_text()), (FACTS_FILE, facts_text()))
        if file.read_text() != text
    ]
    assert wrong == []


def test_given_a_name_then_its_room_is_what_aws_says() -> None:
    said = {
        kind.token: (kind.auto.limit, said_of(kind.token)[kind.auto.property].get("aws", {}).get("maxLength"))
        for kind in table.all_types()
        if kind.auto is not None
    }
    wrong = {token: (ours, aws) for token, (ours, aws) in said.items() if aws is not None and ours != aws}
    assert wrong == {
        # A name, but for the ARN that these also accept, or that counts in the same length.
        "aws:dynamodb/table:Table": (255, 1024),
        "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace": (253, 1024),
        "aws:ssm/parameter:Parameter": (1011, 2048),
    }


def test_given_a_limit_of_cloudformation_alone_then_the_facts_have_it() -> None:
    for token, properties in CLOUDFORMATION_ONLY.items():
        assert all("enum" in said_of(token)[name]["aws"] for name in properties)


PROVIDERS_OWN = (
    "useResourceTimeoutForPropagation",
    "timeouts",
    "replaceSecurityGroupsOnDestroy",
    "replacementSecurityGroupIds",
)
"""How the real provider goes about its work: waits and the order of a removal, which are never needed here."""


def test_given_a_property_of_the_table_then_its_type_does_something_with_it() -> None:
    ignored = []
    for kind in table.all_types():
        source = inspect.getsource(sys.modules[type(kind).__module__])
        code = re.sub(r'spec = (\"""[\s\S]*?\"""|"[^"]*")', "", source)
        made_into_a_name = f"{kind.auto.property}Prefix" if kind.auto else ""
        given = set(kind.fields) - {"region", "tags", made_into_a_name, *PROVIDERS_OWN}
        ignored += [f"{name_of(kind)} {name}" for name in sorted(given) if f'"{name}"' not in code]
    assert ignored == [], "use it, or leave it out of the specification, so that it is refused by name"
