"""Systems Manager: parameters."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from collections.abc import Mapping
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_list,
    tag_map,
)


class Parameter(ResourceType):
    """`aws:ssm/parameter:Parameter`; the id is the name."""

    token = "aws:ssm/parameter:Parameter"
    spec = (
        "name! type value?* insecureValue? description allowedPattern dataType!? keyId? tier? overwrite tags"
    )
    auto = AutoName("name", 1011)
    moves = ("version",)
    import_id = "the parameter's name"

    @property
    def secret_outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The value is secret whatever its type, as pulumi-aws declares it."""
        return ("value",)

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        given = [n for n in ("value", "insecureValue") if inputs.get(n) is not None]
        if len(given) == 1:
            return []
        told = " and ".join(given) or "neither"
        return [("value", f"KW634 got {told}; allowed exactly one of value and insecureValue")]

    def replaces(self, name: str, wanted: Any, actual: Any, inputs: Mapping[str, Any]) -> bool:
        # AWS takes an advanced parameter back to the standard tier only by making it anew.
        return name == "tier" and (actual, wanted) == ("Advanced", "Standard")

    def _put(self, call: Call, *, overwrite: bool) -> int:
        arguments = fill(
            self, call.inputs, "type", "description", "allowedPattern", "dataType", "keyId", "tier"
        )
        answer = call.client("ssm").put_parameter(
            Name=call.inputs["name"],
            Value=call.get("value", call.get("insecureValue", "")),
            Overwrite=overwrite,
            **arguments,
            **({"Tags": tag_list(call.tags)} if call.tags and not overwrite else {}),
        )
        return int(answer["Version"])

    def create(self, call: Call) -> Made:
        name = call.inputs["name"]
        version = self._put(call, overwrite=bool(call.get("overwrite")))
        return name, {
            "name": name,
            "arn": call.arn("ssm", f"parameter/{name.lstrip('/')}"),
            "version": version,
            "region": call.region,
            "dataType": call.get("dataType", "text"),
            "tier": call.get("tier", "Standard"),
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("ssm")
        answer = unless_gone(lambda: client.get_parameter(Name=call.id, WithDecryption=True))
        if answer is None:
            return None
        parameter = answer["Parameter"]
        described = client.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [call.id]}])
        details = described["Parameters"][0] if described["Parameters"] else {}
        insecure = call.old.get("insecureValue") is not None
        tags = client.list_tags_for_resource(ResourceType="Parameter", ResourceId=call.id)
        return {
            "name": call.id,
            "type": parameter["Type"],
            "insecureValue" if insecure else "value": parameter["Value"],
            "arn": call.arn("ssm", f"parameter/{call.id.lstrip('/')}"),
            "version": parameter["Version"],
            "dataType": parameter.get("DataType", "text"),
            "tier": details.get("Tier", "Standard"),
            "region": call.region,
            "description": details.get("Description"),
            "allowedPattern": details.get("AllowedPattern"),
            "overwrite": call.old.get("overwrite"),
            "tags": tag_map(tags.get("TagList")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        if call.changed - {"tags"}:
            outputs["version"] = self._put(call, overwrite=True)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            client = call.client("ssm")
            if removed:
                client.remove_tags_from_resource(
                    ResourceType="Parameter", ResourceId=call.id, TagKeys=removed
                )
            if added:
                client.add_tags_to_resource(
                    ResourceType="Parameter", ResourceId=call.id, Tags=tag_list(added)
                )
        return outputs

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ssm").delete_parameter(Name=call.id))


TYPES: tuple[type[ResourceType], ...] = (Parameter,)
