"""Tags as ECS spells them."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.

from keepwarm_localcloud.pulumi_types.base import Call
from keepwarm_localcloud.pulumi_types.convert import tag_changes, tag_list


def api_tags(tags: dict[str, str]) -> list[dict[str, str]]:
    """Convert tags to the list that ECS takes."""
    return tag_list(tags, "key", "value")


def retag(call: Call, arn: str) -> None:
    """Apply the changes of the tags, if any."""
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    client = call.client("ecs")
    if removed:
        client.untag_resource(resourceArn=arn, tagKeys=removed)
    if added:
        client.tag_resource(resourceArn=arn, tags=api_tags(added))
