"""Check of the tags a caller wants on a component's resources."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import pulumi

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem, show

OWN_TAGS = 5
"""Tags of one resource that are left to the component, ECS and Auto Scaling."""
CHARACTERS = r"[\w .:/=+@-]*"

Tags = dict[str, pulumi.Input[str]]


def tags(checks: Checks[Any], args: Mapping[str, Any]) -> Tags | None:
    """The tags of the input ``tags`` after their check; None when there are none."""
    given: Tags = args.get("tags") or {}
    most = limits.TAGS_MAX - OWN_TAGS
    if len(given) > most:
        checks.add(
            code="KW157",
            key="tags",
            got=f"{len(given)} tags",
            allowed=f"up to {most}",
            because=f"a resource takes {limits.TAGS_MAX}, of which {OWN_TAGS} are kept for the component and AWS",
            fix="drop some",
        )
    return {key: checks.holds(partial(_tag, key), value) for key, value in given.items()} or None


def _tag(key: str, value: str) -> Problem | None:
    well_formed = (
        1 <= len(key) <= limits.TAG_KEY_MAX_CHARS
        and len(value) <= limits.TAG_VALUE_MAX_CHARS
        and not key.lower().startswith("aws:")
        and re.fullmatch(CHARACTERS, key)
        and re.fullmatch(CHARACTERS, value)
    )
    if well_formed:
        return None
    return Problem(
        code="KW157",
        key=f"tags.{key[: limits.TAG_KEY_MAX_CHARS]}",
        got=show(value),
        allowed=f"a key of 1 to {limits.TAG_KEY_MAX_CHARS} and a value of up to {limits.TAG_VALUE_MAX_CHARS} "
        "letters, digits, spaces and . : / = + - @ _, the key not starting with 'aws:'",
        because="not every service takes other tags",
        fix="shorten or rename the tag",
    )
