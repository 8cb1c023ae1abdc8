"""Lambda: capacity providers (managed instances)."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_map,
    take,
)
from keepwarm_localcloud.pulumi_types.errors import PartiallyMade, ResourceError
from keepwarm_localcloud.pulumi_types.lambda_.code import API_NAMES


class CapacityProvider(ResourceType):
    """`aws:lambda/capacityProvider:CapacityProvider` (Lambda managed instances); the id is the name."""

    token = "aws:lambda/capacityProvider:CapacityProvider"
    spec = """name! vpcConfig!{securityGroupIds~ subnetIds~} permissionsConfig! instanceRequirements!?
        capacityProviderScalingConfigs? capacityProviderScalingConfigs.scalingMode="Auto" kmsKeyArn! tags timeouts"""
    auto = AutoName("name", 140)
    import_id = "the capacity provider's name"

    def _arguments(self, call: Call) -> dict[str, Any]:
        arguments = fill(self, call.inputs, "vpcConfig", "permissionsConfig", names=API_NAMES)
        requirements = fill(self, call.inputs, "instanceRequirements").get("InstanceRequirements")
        if requirements:
            arguments["InstanceRequirements"] = requirements[0]
        scaling = fill(
            self, call.inputs, "capacityProviderScalingConfigs", names={"maxVcpuCount": "MaxVCpuCount"}
        ).get("CapacityProviderScalingConfigs")
        if scaling:
            arguments["CapacityProviderScalingConfig"] = scaling[0]
        if call.get("kmsKeyArn"):
            arguments["KmsKeyArn"] = call.inputs["kmsKeyArn"]
        return arguments

    def create(self, call: Call) -> Made:
        name = call.inputs["name"]
        arguments = self._arguments(call)
        if call.tags:
            arguments["Tags"] = call.tags
        call.client("lambda").create_capacity_provider(CapacityProviderName=name, **arguments)
        outputs = {
            "name": name,
            "arn": call.arn("lambda", f"capacity-provider:{name}"),
            "region": call.region,
        }
        try:
            self._ready(call, name)
        except ResourceError as error:
            raise PartiallyMade(error.code, error.message, name, outputs) from error
        return name, outputs

    def _ready(self, call: Call, name: str) -> None:
        def probe() -> bool | None:
            found = call.client("lambda").get_capacity_provider(CapacityProviderName=name)["CapacityProvider"]
            if found["State"] == "Failed":
                raise ResourceError("KW635", f"capacity provider {name}: AWS reports Failed")
            return True if found["State"] == "Active" else None

        call.deadline.wait(f"capacity provider {name} to become Active", probe)

    def read(self, call: Call) -> dict[str, Any] | None:
        name = call.id.rpartition(":")[2]
        client = call.client("lambda")
        answer = unless_gone(lambda: client.get_capacity_provider(CapacityProviderName=name))
        if answer is None:
            return None
        provider = answer["CapacityProvider"]
        found = {
            "name": name,
            "arn": provider["CapacityProviderArn"],
            "region": call.region,
            **take(self, provider, "vpcConfig", "permissionsConfig"),
        }
        for mine, theirs in (
            ("instanceRequirements", "InstanceRequirements"),
            ("capacityProviderScalingConfigs", "CapacityProviderScalingConfig"),
        ):
            if provider.get(theirs):
                key = mine[0].upper() + mine[1:]
                found.update(
                    take(self, {key: [provider[theirs]]}, mine, names={"maxVcpuCount": "MaxVCpuCount"})
                )
        if provider.get("KmsKeyArn"):
            found["kmsKeyArn"] = provider["KmsKeyArn"]
        tags = unless_gone(lambda: client.list_tags(Resource=found["arn"]))
        found["tags"] = tag_map((tags or {}).get("Tags"))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("lambda")
        scaling = self._arguments(call).get("CapacityProviderScalingConfig")
        if "capacityProviderScalingConfigs" in call.changed and scaling:
            client.update_capacity_provider(
                CapacityProviderName=call.id, CapacityProviderScalingConfig=scaling
            )
            self._ready(call, call.id)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(Resource=call.old["arn"], TagKeys=removed)
            if added:
                client.tag_resource(Resource=call.old["arn"], Tags=added)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("lambda")
        if unless_gone(lambda: client.delete_capacity_provider(CapacityProviderName=call.id)) is None:
            return

        def probe() -> bool | None:
            found = unless_gone(lambda: client.get_capacity_provider(CapacityProviderName=call.id))
            return True if found is None else None

        call.deadline.wait(f"capacity provider {call.id} to be gone", probe)
