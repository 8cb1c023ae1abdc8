"""Secrets Manager: secrets and their versions."""
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


class Secret(ResourceType):
    """`aws:secretsmanager/secret:Secret`; the id is the ARN."""

    token = "aws:secretsmanager/secret:Secret"
    spec = """name! namePrefix! description kmsKeyId recoveryWindowInDays=30 policy:json?
        forceOverwriteReplicaSecret=false tags"""
    auto = AutoName("name", 512)
    import_id = "the secret's ARN"

    def create(self, call: Call) -> Made:
        client = call.client("secretsmanager")
        answer = client.create_secret(
            Name=call.inputs["name"],
            **fill(self, call.inputs, "description", "kmsKeyId"),
            **({"Tags": tag_list(call.tags)} if call.tags else {}),
        )
        if call.get("policy"):
            client.put_resource_policy(SecretId=answer["ARN"], ResourcePolicy=call.inputs["policy"])
        return answer["ARN"], {"arn": answer["ARN"], "name": call.inputs["name"], "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("secretsmanager")
        answer = unless_gone(lambda: client.describe_secret(SecretId=call.id))
        if answer is None or answer.get("DeletedDate"):
            return None
        policy = client.get_resource_policy(SecretId=call.id).get("ResourcePolicy")
        return {
            "arn": answer["ARN"],
            "name": answer["Name"],
            "region": call.region,
            "description": answer.get("Description", ""),
            "kmsKeyId": answer.get("KmsKeyId"),
            "policy": policy,
            "tags": tag_map(answer.get("Tags")),
            "recoveryWindowInDays": call.old.get("recoveryWindowInDays", 30),
            "forceOverwriteReplicaSecret": call.old.get("forceOverwriteReplicaSecret", False),
        }

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("secretsmanager")
        if call.changed & {"description", "kmsKeyId"}:
            client.update_secret(SecretId=call.id, **fill(self, call.inputs, "description", "kmsKeyId"))
        if "policy" in call.changed:
            if call.get("policy"):
                client.put_resource_policy(SecretId=call.id, ResourcePolicy=call.inputs["policy"])
            else:
                client.delete_resource_policy(SecretId=call.id)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(SecretId=call.id, TagKeys=removed)
            if added:
                client.tag_resource(SecretId=call.id, Tags=tag_list(added))
        return {}

    def delete(self, call: Call) -> None:
        days = call.old.get("recoveryWindowInDays", 30)
        how = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
        client = call.client("secretsmanager")

        def remove() -> None:
            if not client.describe_secret(SecretId=call.id).get("DeletedDate"):
                client.delete_secret(SecretId=call.id, **how)

        unless_gone(remove)


class SecretVersion(ResourceType):
    """`aws:secretsmanager/secretVersion:SecretVersion`; the id is `secret-arn|version-id`."""

    token = "aws:secretsmanager/secretVersion:SecretVersion"
    spec = "secretId! secretString!* secretBinary!* versionStages~?"
    secret_outputs = ("secretString", "secretBinary")
    import_id = "secret-arn|version-id"

    def create(self, call: Call) -> Made:
        arguments = fill(self, call.inputs, "secretString", "versionStages")
        if call.get("secretBinary"):
            import base64

            arguments["SecretBinary"] = base64.b64decode(call.inputs["secretBinary"])
        answer = call.client("secretsmanager").put_secret_value(SecretId=call.inputs["secretId"], **arguments)
        return f"{call.inputs['secretId']}|{answer['VersionId']}", {
            "arn": answer["ARN"],
            "secretArn": answer["ARN"],
            "versionId": answer["VersionId"],
            "versionStages": answer.get("VersionStages", ["AWSCURRENT"]),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        secret, _, version = call.id.rpartition("|")
        answer = unless_gone(
            lambda: call.client("secretsmanager").get_secret_value(SecretId=secret, VersionId=version)
        )
        if answer is None:
            return None
        found: dict[str, Any] = {
            "secretId": secret,
            "arn": answer["ARN"],
            "secretArn": answer["ARN"],
            "versionId": version,
            "versionStages": answer.get("VersionStages", []),
            "region": call.region,
        }
        if answer.get("SecretString") is not None:
            found["secretString"] = answer["SecretString"]
        elif answer.get("SecretBinary") is not None:
            import base64

            found["secretBinary"] = base64.b64encode(answer["SecretBinary"]).decode()
        return found

    def update(self, call: Call) -> dict[str, Any]:
        return {}

    def delete(self, call: Call) -> None:
        # As the real provider: the current version of a secret cannot be deleted, it goes with the secret.
        return


TYPES: tuple[type[ResourceType], ...] = (
    Secret,
    SecretVersion,
)
