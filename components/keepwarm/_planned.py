"""Names and ARNs as AWS will form them, for bindings of components that are checked before they exist.

A check of a whole stack needs every number of every part, and texts of the right form and length for the rest.
"""

from keepwarm.checks.names import SUFFIX_CHARS

ACCOUNT = "123456789012"
REGION = "us-east-1"


def physical(name: str, role: str) -> str:
    """Physical name that Pulumi would choose for a child."""
    return f"{name}-{role}-" + "0" * (SUFFIX_CHARS - 1)


def arn(service: str, resource: str) -> str:
    """ARN of a resource in the placeholder account and region."""
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"
