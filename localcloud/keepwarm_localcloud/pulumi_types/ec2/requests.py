"""Requests that the types of EC2 share."""
# What the four operations do is said once, in base.ResourceType; `token` is a Pulumi type token, not a password.

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import error_code, unless_gone
from keepwarm_localcloud.pulumi_types.base import Call
from keepwarm_localcloud.pulumi_types.convert import tag_changes, tag_list


def specification(call: Call, kind: str) -> dict[str, Any]:
    """Tags of a thing that is being made."""
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(call.tags)}]} if call.tags else {}


def retag(call: Call, resource: str) -> None:
    """Bring the tags of a thing to what they should be."""
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    client = call.client("ec2")
    if removed:
        client.delete_tags(Resources=[resource], Tags=[{"Key": k} for k in removed])
    if added:
        client.create_tags(Resources=[resource], Tags=tag_list(added))


def first(call: Call, operation: str, key: str, **where: Any) -> dict[str, Any] | None:
    """Describe one thing; None when it is gone."""
    answer = unless_gone(lambda: getattr(call.client("ec2"), operation)(**where))
    found: list[dict[str, Any]] = (answer or {}).get(key) or []
    return found[0] if found else None


def delete(call: Call, operation: str, **where: Any) -> None:
    """Delete a thing that others may still be letting go of."""

    def probe() -> bool | None:
        try:
            getattr(call.client("ec2"), operation)(**where)
        except Exception as error:
            if error_code(error) == "DependencyViolation":
                return None
            if "NotFound" in error_code(error):
                return True
            raise
        return True

    call.deadline.wait(f"{operation} {', '.join(map(str, where.values()))}", probe, first_s=0.1)
