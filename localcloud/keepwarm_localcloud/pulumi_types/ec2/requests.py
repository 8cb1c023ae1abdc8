"""Requests that the types of EC2 share."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import error_code, unless_gone
from keepwarm_localcloud.pulumi_types.base import Call
from keepwarm_localcloud.pulumi_types.convert import tag_changes, tag_list


def specification(call: Call, kind: str) -> dict[str, Any]:
    """Return the tag arguments of a create call."""
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(call.tags)}]} if call.tags else {}


def retag(call: Call, resource: str) -> None:
    """Apply the changes of the tags, if any."""
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    client = call.client("ec2")
    if removed:
        client.delete_tags(Resources=[resource], Tags=[{"Key": k} for k in removed])
    if added:
        client.create_tags(Resources=[resource], Tags=tag_list(added))


def first(call: Call, operation: str, key: str, **where: Any) -> dict[str, Any] | None:
    """Describe one resource; None when it is gone."""
    answer = unless_gone(lambda: getattr(call.client("ec2"), operation)(**where))
    found: list[dict[str, Any]] = (answer or {}).get(key) or []
    return found[0] if found else None


def delete(call: Call, operation: str, **where: Any) -> None:
    """Delete a resource, waiting for those that still depend on it to let go."""

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
