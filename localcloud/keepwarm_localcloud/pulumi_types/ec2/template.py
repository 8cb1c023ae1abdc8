"""EC2: launch templates."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_list,
    tag_map,
    take,
)
from keepwarm_localcloud.pulumi_types.ec2.requests import first, retag, specification

_TEMPLATE_DATA = (
    "ebsOptimized",
    "iamInstanceProfile",
    "blockDeviceMappings",
    "networkInterfaces",
    "imageId",
    "instanceType",
    "keyName",
    "monitoring",
    "placement",
    "ramDiskId",
    "disableApiTermination",
    "disableApiStop",
    "instanceInitiatedShutdownBehavior",
    "userData",
    "instanceMarketOptions",
    "creditSpecification",
    "cpuOptions",
    "capacityReservationSpecification",
    "metadataOptions",
    "enclaveOptions",
    "instanceRequirements",
    "privateDnsNameOptions",
    "maintenanceOptions",
)

_TEMPLATE_NAMES = {
    "vpcSecurityGroupIds": "SecurityGroupIds",
    "securityGroupNames": "SecurityGroups",
    "securityGroups": "Groups",
    "memoryMib": "MemoryMiB",
    "memoryGibPerVcpu": "MemoryGiBPerVCpu",
    "vcpuCount": "VCpuCount",
    "totalLocalStorageGb": "TotalLocalStorageGB",
    "acceleratorTotalMemoryMib": "AcceleratorTotalMemoryMiB",
    "ramDiskId": "RamDiskId",
    "allowedInstanceTypes": "AllowedInstanceTypes",
    "ipv4AddressCount": "SecondaryPrivateIpAddressCount",
}

_BOOLEAN_TEXTS = ("encrypted", "deleteOnTermination", "associatePublicIpAddress", "associateCarrierIpAddress")


def _texts_to_flags(value: Any) -> Any:
    """Terraform keeps some booleans as text, so that unset differs from false."""
    if isinstance(value, list):
        return [_texts_to_flags(v) for v in value]
    if isinstance(value, dict):
        return {
            k: (v == "true")
            if k[0].lower() + k[1:] in _BOOLEAN_TEXTS and isinstance(v, str)
            else _texts_to_flags(v)
            for k, v in value.items()
        }
    return value


class LaunchTemplate(ResourceType):
    """`aws:ec2/launchTemplate:LaunchTemplate`; the id is `lt-...`; every change makes a new version."""

    token = "aws:ec2/launchTemplate:LaunchTemplate"
    spec = """name! namePrefix! description updateDefaultVersion defaultVersion? ebsOptimized iamInstanceProfile
        blockDeviceMappings networkInterfaces imageId instanceType keyName monitoring placement ramDiskId
        disableApiTermination disableApiStop instanceInitiatedShutdownBehavior userData instanceMarketOptions
        creditSpecification cpuOptions capacityReservationSpecification metadataOptions?{httpEndpoint?
        httpProtocolIpv6? httpPutResponseHopLimit? httpTokens? instanceMetadataTags?} enclaveOptions
        instanceRequirements privateDnsNameOptions maintenanceOptions vpcSecurityGroupIds~ securityGroupNames~
        tagSpecifications tags"""
    auto = AutoName("name", 128)
    moves = ("latestVersion", "defaultVersion")
    import_id = "the template's id"

    def _data(self, call: Call) -> dict[str, Any]:
        data = fill(
            self,
            call.inputs,
            *_TEMPLATE_DATA,
            "vpcSecurityGroupIds",
            "securityGroupNames",
            names=_TEMPLATE_NAMES,
        )
        if call.get("tagSpecifications"):
            data["TagSpecifications"] = [
                {"ResourceType": s["resourceType"], "Tags": tag_list(s.get("tags") or {})}
                for s in call.inputs["tagSpecifications"]
            ]
        converted: dict[str, Any] = _texts_to_flags(data)
        if isinstance(converted.get("EbsOptimized"), str):
            converted["EbsOptimized"] = converted["EbsOptimized"] == "true"
        return converted

    def create(self, call: Call) -> Made:
        answer = call.client("ec2").create_launch_template(
            LaunchTemplateName=call.inputs["name"],
            LaunchTemplateData=self._data(call),
            **({"VersionDescription": call.inputs["description"]} if call.get("description") else {}),
            **specification(call, "launch-template"),
        )["LaunchTemplate"]
        return answer["LaunchTemplateId"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": call.arn("ec2", f"launch-template/{answer['LaunchTemplateId']}"),
            "name": answer["LaunchTemplateName"],
            "latestVersion": int(answer["LatestVersionNumber"]),
            "defaultVersion": int(answer["DefaultVersionNumber"]),
            "region": call.region,
        }

    def _describe(self, call: Call) -> dict[str, Any] | None:
        return first(call, "describe_launch_templates", "LaunchTemplates", LaunchTemplateIds=[call.id])

    def read(self, call: Call) -> dict[str, Any] | None:
        template = self._describe(call)
        if template is None:
            return None
        answer = call.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=call.id, Versions=["$Latest"]
        )
        latest = answer["LaunchTemplateVersions"][0]
        data = latest.get("LaunchTemplateData", {})
        found = {
            **self._chosen(call, template),
            "description": latest.get("VersionDescription", ""),
            "updateDefaultVersion": call.old.get("updateDefaultVersion"),
            "tags": tag_map(template.get("Tags")),
            **take(
                self,
                data,
                *_TEMPLATE_DATA,
                "vpcSecurityGroupIds",
                "securityGroupNames",
                names=_TEMPLATE_NAMES,
            ),
        }
        for volume in found.get("blockDeviceMappings", []):
            for key in ("encrypted", "deleteOnTermination"):
                if isinstance((volume.get("ebs") or {}).get(key), bool):
                    volume["ebs"][key] = "true" if volume["ebs"][key] else "false"
        for interface in found.get("networkInterfaces", []):
            for key in ("associatePublicIpAddress", "deleteOnTermination"):
                if isinstance(interface.get(key), bool):
                    interface[key] = "true" if interface[key] else "false"
        if isinstance(found.get("ebsOptimized"), bool):
            found["ebsOptimized"] = "true" if found["ebsOptimized"] else "false"
        # moto lists the template's own tags among those of what is launched from it.
        launched = [s for s in data.get("TagSpecifications", []) if s["ResourceType"] != "launch-template"]
        if launched:
            found["tagSpecifications"] = [
                {"resourceType": s["ResourceType"], "tags": tag_map(s.get("Tags"))} for s in launched
            ]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("ec2")
        if call.changed - {"tags", "updateDefaultVersion"}:
            answer = client.create_launch_template_version(
                LaunchTemplateId=call.id,
                LaunchTemplateData=self._data(call),
                **({"VersionDescription": call.inputs["description"]} if call.get("description") else {}),
            )
            if call.get("updateDefaultVersion"):
                number = answer["LaunchTemplateVersion"]["VersionNumber"]
                client.modify_launch_template(LaunchTemplateId=call.id, DefaultVersion=str(number))
        retag(call, call.id)
        template = self._describe(call)
        return self._chosen(call, template) if template else {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ec2").delete_launch_template(LaunchTemplateId=call.id))
