"""The table every component with records starts from."""

import pulumi
from pulumi_aws import dynamodb

KEY = "pk"
EXPIRY = "expiry"


def secure_table(
    owner: pulumi.ComponentResource,
    name: str,
    *,
    keep: bool,
    kms_key_arn: pulumi.Input[str] | None,
    recovery: bool,
    tags: dict[str, pulumi.Input[str]] | None = None,
) -> dynamodb.Table:
    """An on-demand table keyed by ``pk`` whose items end at ``expiry`` (epoch seconds), encrypted."""
    return dynamodb.Table(
        name,
        attributes=[{"name": KEY, "type": "S"}],
        hash_key=KEY,
        billing_mode="PAY_PER_REQUEST",
        ttl={"attribute_name": EXPIRY, "enabled": True},
        point_in_time_recovery={"enabled": recovery},
        deletion_protection_enabled=keep,
        server_side_encryption={"enabled": True, "kms_key_arn": kms_key_arn}
        if kms_key_arn is not None
        else None,
        tags=tags,
        opts=pulumi.ResourceOptions(parent=owner, retain_on_delete=keep),
    )
