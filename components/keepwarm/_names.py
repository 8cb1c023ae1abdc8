"""Names of children: identity, so built in one place and checked against what the service takes."""

from keepwarm._args import Checks

SUFFIX_CHARS = 8
"""A dash and seven hexadecimal digits, which Pulumi appends to a name it chooses:
https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming"""


def child(checks: Checks, name: str, role: str, limit: int) -> str:
    """Logical name of a child, refused when the physical name Pulumi makes of it would be too long."""
    logical = f"{name}-{role}" if role else name
    longest = limit - SUFFIX_CHARS
    if len(logical) > longest:
        checks.add(
            "KW139",
            "name",
            f"'{logical}' ({len(logical)} characters)",
            f"up to {longest} characters",
            f"the service takes {limit} and Pulumi appends {SUFFIX_CHARS}",
            f"shorten '{name}' by {len(logical) - longest}",
        )
    return logical
