"""Names of children: identity, so built in one place and checked against what the service takes."""

from typing import Any

from keepwarm.checks.inputs import Checks

SUFFIX_CHARS = 8
"""A dash and seven hexadecimal digits, which Pulumi appends to a name it chooses:
https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming"""


def child(checks: Checks[Any], name: str, role: str, limit: int) -> str:
    """Logical name of a child, refused when the physical name Pulumi makes of it would be too long."""
    logical = f"{name}-{role}" if role else name
    longest = limit - SUFFIX_CHARS
    if len(logical) > longest:
        checks.add(
            code="KW139",
            key="name",
            got=f"'{logical}' ({len(logical)} characters)",
            allowed=f"up to {longest} characters",
            because=f"the service takes {limit} and Pulumi appends {SUFFIX_CHARS}",
            fix=f"shorten '{name}' by {len(logical) - longest}",
        )
    return logical
