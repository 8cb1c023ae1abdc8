"""What outside sources say of the properties in the table, and what Check refuses because of it.

`facts.json` holds it; `tools/type_facts` writes that file.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from keepwarm_localcloud.pulumi_types.fields import Field, describe_value, has_unknown

FACTS_FILE = Path(__file__).with_name("facts.json")

Refusal = tuple[str, str]
"""Property and coded reason."""


CLOUDFORMATION_ONLY = {
    "aws:ecs/service:Service": {"propagateTags": "CloudFormation says NONE by leaving it out"},
    "aws:ssm/parameter:Parameter": {"type": "CloudFormation makes no SecureString"},
}
"""Type -> property -> why AWS's schema, which is CloudFormation's, allows less there than the API."""


@cache
def _facts() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(FACTS_FILE.read_bytes())
    return parsed


def said_of(token: str) -> dict[str, dict[str, Any]]:
    """Return property path -> source (`sdk`, `aws`) -> what it says, for one type."""
    properties: dict[str, dict[str, Any]] = _facts()["types"][token]["properties"]
    return properties


def sources() -> dict[str, str]:
    """Return the package versions that the facts come from."""
    named: dict[str, str] = _facts()["sources"]
    return named


def conflicts(token: str, given: Mapping[str, Any]) -> Iterator[Refusal]:
    """Refuse properties of which pulumi-aws says that they exclude each other; `given` is what the program set."""
    said = said_of(token)
    pairs = {
        tuple(sorted((name, other)))
        for name, sources in said.items()
        for other in sources.get("sdk", {}).get("conflicts", ())
        if "." not in name
    }
    for first, second in sorted(pairs):
        if given.get(first) is not None and given.get(second) is not None:
            yield (
                first,
                f"KW634 got {first} and {second}; allowed one of them; because each excludes the other",
            )


def beyond(token: str, fields: Mapping[str, Field], inputs: Mapping[str, Any]) -> list[Refusal]:
    """Refuse values that AWS's own schema excludes: ranges, lengths, patterns and lists of values."""
    looser = CLOUDFORMATION_ONLY.get(token, {})
    said = {path: sources for path, sources in said_of(token).items() if path not in looser}
    return list(_beyond(said, fields, inputs, "", ""))


def _beyond(
    said: Mapping[str, dict[str, Any]],
    fields: Mapping[str, Field],
    value: Mapping[str, Any],
    key: str,
    shown: str,
) -> Iterator[Refusal]:
    for name, of in fields.items():
        inner = value.get(name)
        # A property at its default is what AWS makes of one that was left out.
        if inner is None or inner in ("", of.default) or (key + name) not in said:
            continue
        yield from ((shown + name, reason) for reason in _refused(of, inner, said[key + name]))
        if of.kind == "object" and isinstance(inner, Mapping):
            yield from _beyond(said, of.fields, inner, f"{key}{name}.", f"{shown}{name}.")
        if of.kind == "list" and of.of is not None and of.of.kind == "object" and isinstance(inner, list):
            for number, each in enumerate(inner):
                if isinstance(each, Mapping):
                    yield from _beyond(said, of.of.fields, each, f"{key}{name}.", f"{shown}{name}[{number}].")


def _refused(of: Field, value: Any, said: Mapping[str, Any]) -> Iterator[str]:
    aws = said.get("aws", {})
    if not aws or has_unknown(value):
        return
    shown, allowed = describe_value(value), ""
    if of.kind in ("s", "i") and "enum" in aws:
        # The provider may know values that AWS's schema has not yet, and the other way round.
        known = [*aws["enum"], *said.get("sdk", {}).get("values", ())]
        allowed = "" if value in known else ", ".join(map(str, dict.fromkeys(known)))
    elif of.kind in ("i", "n"):
        allowed = _outside(value, aws.get("minimum"), aws.get("maximum"), "")
    elif of.kind == "s":
        allowed = _outside(len(value), aws.get("minLength"), aws.get("maxLength"), " characters")
        pattern = _pattern(aws.get("pattern"))
        if allowed:
            shown = f"{len(value)} characters"
        elif pattern is not None and not of.document and not pattern.search(value):
            allowed = f"text that matches {pattern.pattern}"
    elif of.kind == "list" and isinstance(value, list):
        allowed = _outside(len(value), aws.get("minItems"), aws.get("maxItems"), " items")
    if allowed:
        yield f"KW634 got {shown}; allowed {allowed}; because AWS accepts nothing else"


def _outside(number: float, least: float | None, most: float | None, unit: str) -> str:
    """Return the allowed range when `number` is outside it, else an empty string."""
    if (least is None or number >= least) and (most is None or number <= most):
        return ""
    if least is None or most is None:
        return f"at most {most}{unit}" if least is None else f"at least {least}{unit}"
    return f"{least} to {most}{unit}"


@cache
def _pattern(text: str | None) -> re.Pattern[str] | None:
    """Compile a pattern of AWS's; None where it is written for another language."""
    try:
        return re.compile(text) if text else None
    except re.error:
        return None
