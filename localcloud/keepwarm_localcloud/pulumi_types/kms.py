"""KMS: keys and aliases."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_list,
    tag_map,
)


class Key(ResourceType):
    """`aws:kms/key:Key`; the id is the key id."""

    token = "aws:kms/key:Key"
    spec = """description? policy:json? keyUsage!="ENCRYPT_DECRYPT" customerMasterKeySpec!="SYMMETRIC_DEFAULT"
        deletionWindowInDays enableKeyRotation=false rotationPeriodInDays? isEnabled=true multiRegion!=false
        bypassPolicyLockoutSafetyCheck=false tags"""
    import_id = "the key's id"

    def create(self, call: Call) -> Made:
        client = call.client("kms")
        arguments = fill(self, call.inputs, "description", "policy", "keyUsage", "multiRegion")
        metadata = client.create_key(
            KeySpec=call.inputs["customerMasterKeySpec"],
            Tags=tag_list(call.tags, "TagKey", "TagValue"),
            **arguments,
        )["KeyMetadata"]
        self._settle(call, metadata["KeyId"], {"enableKeyRotation", "isEnabled"})
        return metadata["KeyId"], {
            "arn": metadata["Arn"],
            "keyId": metadata["KeyId"],
            "region": call.region,
            "description": metadata.get("Description", ""),
        }

    def _settle(self, call: Call, key: str, names: set[str]) -> None:
        client = call.client("kms")
        if "enableKeyRotation" in names or "rotationPeriodInDays" in names:
            if call.get("enableKeyRotation"):
                client.enable_key_rotation(
                    KeyId=key,
                    **(
                        {"RotationPeriodInDays": call.inputs["rotationPeriodInDays"]}
                        if call.get("rotationPeriodInDays")
                        else {}
                    ),
                )
            elif call.old.get("enableKeyRotation"):
                client.disable_key_rotation(KeyId=key)
        if "isEnabled" in names:
            if not call.get("isEnabled", True):
                client.disable_key(KeyId=key)
            elif call.old.get("isEnabled") is False:
                client.enable_key(KeyId=key)

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("kms")
        answer = unless_gone(lambda: client.describe_key(KeyId=call.id))
        if answer is None or answer["KeyMetadata"]["KeyState"] == "PendingDeletion":
            return None
        metadata = answer["KeyMetadata"]
        rotation = client.get_key_rotation_status(KeyId=call.id)
        found = {
            "arn": metadata["Arn"],
            "keyId": metadata["KeyId"],
            "region": call.region,
            "description": metadata.get("Description", ""),
            "keyUsage": metadata["KeyUsage"],
            "customerMasterKeySpec": metadata.get("KeySpec", "SYMMETRIC_DEFAULT"),
            "isEnabled": metadata["Enabled"],
            "multiRegion": metadata.get("MultiRegion", False),
            "enableKeyRotation": rotation["KeyRotationEnabled"],
            "policy": client.get_key_policy(KeyId=call.id, PolicyName="default")["Policy"],
            "tags": tag_map(client.list_resource_tags(KeyId=call.id).get("Tags"), "TagKey", "TagValue"),
            "bypassPolicyLockoutSafetyCheck": call.old.get("bypassPolicyLockoutSafetyCheck", False),
        }
        if rotation.get("RotationPeriodInDays"):
            found["rotationPeriodInDays"] = rotation["RotationPeriodInDays"]
        if call.old.get("deletionWindowInDays"):
            found["deletionWindowInDays"] = call.old["deletionWindowInDays"]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("kms")
        if "description" in call.changed:
            client.update_key_description(KeyId=call.id, Description=call.get("description", ""))
        if "policy" in call.changed and call.get("policy"):
            client.put_key_policy(KeyId=call.id, PolicyName="default", Policy=call.inputs["policy"])
        self._settle(call, call.id, set(call.changed))
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(KeyId=call.id, TagKeys=removed)
            if added:
                client.tag_resource(KeyId=call.id, Tags=tag_list(added, "TagKey", "TagValue"))
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("kms")
        answer = unless_gone(lambda: client.describe_key(KeyId=call.id))
        if answer is None or answer["KeyMetadata"]["KeyState"] == "PendingDeletion":
            return
        client.schedule_key_deletion(
            KeyId=call.id, PendingWindowInDays=call.old.get("deletionWindowInDays") or 30
        )


class KmsAlias(ResourceType):
    """`aws:kms/alias:Alias`; the id is the alias name."""

    token = "aws:kms/alias:Alias"
    spec = "name! namePrefix! targetKeyId"
    auto = AutoName("name", 256, prefix="alias/")
    import_id = "the alias name"

    def _chosen(self, call: Call, name: str, target: str) -> dict[str, Any]:
        key = target.rpartition("/")[2]
        return {
            "arn": call.arn("kms", name),
            "targetKeyArn": call.arn("kms", f"key/{key}"),
            "region": call.region,
        }

    def create(self, call: Call) -> Made:
        name, target = call.inputs["name"], call.inputs["targetKeyId"]
        call.client("kms").create_alias(AliasName=name, TargetKeyId=target)
        return name, {"name": name, **self._chosen(call, name, target)}

    def read(self, call: Call) -> dict[str, Any] | None:
        for page in call.client("kms").get_paginator("list_aliases").paginate():
            for alias in page["Aliases"]:
                if alias["AliasName"] == call.id and alias.get("TargetKeyId"):
                    # The target may have been given as an ARN; both mean the same key.
                    given = str(call.old.get("targetKeyId") or "")
                    same_key = given.rpartition("/")[2] == alias["TargetKeyId"]
                    return {
                        "name": call.id,
                        "targetKeyId": given if same_key else alias["TargetKeyId"],
                        **self._chosen(call, call.id, alias["TargetKeyId"]),
                    }
        return None

    def update(self, call: Call) -> dict[str, Any]:
        call.client("kms").update_alias(AliasName=call.id, TargetKeyId=call.inputs["targetKeyId"])
        return self._chosen(call, call.id, call.inputs["targetKeyId"])

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("kms").delete_alias(AliasName=call.id))


TYPES: tuple[type[ResourceType], ...] = (
    Key,
    KmsAlias,
)
