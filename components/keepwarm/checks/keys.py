"""What a key of the caller's own must allow, said at preview: AWS refuses much later, and in other words."""

from collections.abc import Mapping
from typing import Any

import pulumi

from keepwarm.checks.inputs import Checks

_MARK = "_keepwarm_key"


def mark(arn: pulumi.Output[str]) -> pulumi.Output[str]:
    """Remember on the `Output` itself that an EncryptionKey made this key."""
    vars(arn)[_MARK] = True
    return arn


def check_key(checks: Checks[Any], args: Mapping[str, Any], *users: str, why: str = "") -> None:
    """Warn (KW159) about a key that others than the component's own roles must be let use."""
    key = args.get("kms_key_arn")
    if key is None or _MARK in getattr(key, "__dict__", {}):
        return
    names = " and ".join(users)
    checks.advise(
        code="KW159",
        key="kms_key_arn",
        got="a key of your own",
        allowed=f"a key whose policy lets {names} use it",
        because=why or "these encrypt or decrypt in their own name, and fail without the permission",
        fix="make the key with EncryptionKey, or add the statements of keepwarm.key_statements()",
    )
