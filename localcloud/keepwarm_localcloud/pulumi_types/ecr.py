"""ECR: repositories and lifecycle policies."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_list,
    tag_map,
)


class Repository(ResourceType):
    """`aws:ecr/repository:Repository`; the id is the name."""

    token = "aws:ecr/repository:Repository"
    spec = """name! imageTagMutability="MUTABLE" imageScanningConfiguration encryptionConfigurations!?
        forceDelete=false tags"""
    auto = AutoName("name", 256, lower=True)
    import_id = "the repository's name"

    def create(self, call: Call) -> Made:
        arguments = fill(self, call.inputs, "imageTagMutability", "imageScanningConfiguration")
        if call.get("encryptionConfigurations"):
            arguments["encryptionConfiguration"] = fill(
                self, call.inputs, "encryptionConfigurations", upper=False
            )["encryptionConfigurations"][0]
        arguments = {k[0].lower() + k[1:]: v for k, v in arguments.items()}
        if "imageScanningConfiguration" in arguments:
            arguments["imageScanningConfiguration"] = {
                "scanOnPush": bool(call.inputs["imageScanningConfiguration"].get("scanOnPush"))
            }
        answer = call.client("ecr").create_repository(
            repositoryName=call.inputs["name"], tags=tag_list(call.tags), **arguments
        )["repository"]
        return call.inputs["name"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": answer["repositoryArn"],
            "name": answer["repositoryName"],
            "registryId": answer["registryId"],
            "repositoryUrl": answer["repositoryUri"],
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("ecr")
        answer = unless_gone(lambda: client.describe_repositories(repositoryNames=[call.id]))
        if not answer or not answer["repositories"]:
            return None
        repository = answer["repositories"][0]
        found = {
            **self._chosen(call, repository),
            "imageTagMutability": repository.get("imageTagMutability", "MUTABLE"),
            "forceDelete": call.old.get("forceDelete", False),
            "tags": tag_map(
                client.list_tags_for_resource(resourceArn=repository["repositoryArn"]).get("tags")
            ),
        }
        if repository.get("imageScanningConfiguration", {}).get("scanOnPush"):
            found["imageScanningConfiguration"] = {"scanOnPush": True}
        elif call.old.get("imageScanningConfiguration"):
            found["imageScanningConfiguration"] = {"scanOnPush": False}
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("ecr")
        if "imageTagMutability" in call.changed:
            client.put_image_tag_mutability(
                repositoryName=call.id, imageTagMutability=call.inputs["imageTagMutability"]
            )
        if "imageScanningConfiguration" in call.changed:
            scan = bool((call.get("imageScanningConfiguration") or {}).get("scanOnPush"))
            client.put_image_scanning_configuration(
                repositoryName=call.id, imageScanningConfiguration={"scanOnPush": scan}
            )
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(resourceArn=call.old["arn"], tagKeys=removed)
            if added:
                client.tag_resource(resourceArn=call.old["arn"], tags=tag_list(added))
        return {}

    def delete(self, call: Call) -> None:
        force = bool(call.old.get("forceDelete"))
        unless_gone(lambda: call.client("ecr").delete_repository(repositoryName=call.id, force=force))


class EcrLifecyclePolicy(ResourceType):
    """`aws:ecr/lifecyclePolicy:LifecyclePolicy`; the id is the repository's name."""

    token = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    spec = "repository! policy:json"
    import_id = "the repository's name"

    def create(self, call: Call) -> Made:
        policy = json.dumps(json.loads(call.inputs["policy"]))
        answer = call.client("ecr").put_lifecycle_policy(
            repositoryName=call.inputs["repository"], lifecyclePolicyText=policy
        )
        return call.inputs["repository"], {"registryId": answer["registryId"], "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(lambda: call.client("ecr").get_lifecycle_policy(repositoryName=call.id))
        return answer and {
            "repository": call.id,
            "policy": answer["lifecyclePolicyText"],
            "registryId": answer["registryId"],
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ecr").delete_lifecycle_policy(repositoryName=call.id))


TYPES: tuple[type[ResourceType], ...] = (
    Repository,
    EcrLifecyclePolicy,
)
