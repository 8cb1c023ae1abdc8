"""EC2: launch templates, security groups and rules, VPCs with subnets, routes, gateways, endpoints."""
# What the four operations do is said once, in base.ResourceType; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
import zlib
from typing import Any

from keepwarm_localcloud.resources.base import (
    AutoName,
    Call,
    Made,
    ResourceType,
    error_code,
    fill,
    tag_changes,
    tag_list,
    tag_map,
    take,
    unless_gone,
)
from keepwarm_localcloud.resources.errors import ResourceError


def _specification(call: Call, kind: str) -> dict[str, Any]:
    """Tags of a thing that is being made."""
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(call.tags)}]} if call.tags else {}


def _retag(call: Call, resource: str) -> None:
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    client = call.client("ec2")
    if removed:
        client.delete_tags(Resources=[resource], Tags=[{"Key": k} for k in removed])
    if added:
        client.create_tags(Resources=[resource], Tags=tag_list(added))


def _first(call: Call, operation: str, key: str, **where: Any) -> dict[str, Any] | None:
    """Describe one thing; None when it is gone."""
    answer = unless_gone(lambda: getattr(call.client("ec2"), operation)(**where))
    found: list[dict[str, Any]] = (answer or {}).get(key) or []
    return found[0] if found else None


def _delete(call: Call, operation: str, **where: Any) -> None:
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
    auto = AutoName("name", 125)
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
            **_specification(call, "launch-template"),
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
        return _first(call, "describe_launch_templates", "LaunchTemplates", LaunchTemplateIds=[call.id])

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
        _retag(call, call.id)
        template = self._describe(call)
        return self._chosen(call, template) if template else {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ec2").delete_launch_template(LaunchTemplateId=call.id))


def _permission(rule: dict[str, Any], group: str) -> dict[str, Any]:
    """Convert a rule of a group's own list to what EC2 calls a permission."""
    pairs = [{"GroupId": g} for g in rule.get("securityGroups") or []]
    if rule.get("self"):
        pairs.append({"GroupId": group})
    described = {"Description": rule["description"]} if rule.get("description") else {}
    protocol = str(rule["protocol"])
    permission: dict[str, Any] = {"IpProtocol": "-1" if protocol in ("-1", "all") else protocol}
    if permission["IpProtocol"] != "-1":
        permission.update({"FromPort": rule["fromPort"], "ToPort": rule["toPort"]})
    if rule.get("cidrBlocks"):
        permission["IpRanges"] = [{"CidrIp": c, **described} for c in rule["cidrBlocks"]]
    if rule.get("ipv6CidrBlocks"):
        permission["Ipv6Ranges"] = [{"CidrIpv6": c, **described} for c in rule["ipv6CidrBlocks"]]
    if rule.get("prefixListIds"):
        permission["PrefixListIds"] = [{"PrefixListId": p, **described} for p in rule["prefixListIds"]]
    if pairs:
        permission["UserIdGroupPairs"] = [{**p, **described} for p in pairs]
    return permission


def _rule(permission: dict[str, Any], group: str) -> dict[str, Any]:
    pairs = [p["GroupId"] for p in permission.get("UserIdGroupPairs", [])]
    every = [
        *permission.get("IpRanges", []),
        *permission.get("Ipv6Ranges", []),
        *permission.get("PrefixListIds", []),
        *permission.get("UserIdGroupPairs", []),
    ]
    rule = {
        "protocol": permission["IpProtocol"],
        "fromPort": permission.get("FromPort", 0),
        "toPort": permission.get("ToPort", 0),
        "cidrBlocks": [r["CidrIp"] for r in permission.get("IpRanges", [])],
        "ipv6CidrBlocks": [r["CidrIpv6"] for r in permission.get("Ipv6Ranges", [])],
        "prefixListIds": [r["PrefixListId"] for r in permission.get("PrefixListIds", [])],
        "securityGroups": [g for g in pairs if g != group],
        "self": group in pairs,
        "description": next((r["Description"] for r in every if r.get("Description")), ""),
    }
    return {k: v for k, v in rule.items() if v is not False and v not in ([], "")}


class SecurityGroup(ResourceType):
    """`aws:ec2/securityGroup:SecurityGroup`; the id is `sg-...`."""

    token = "aws:ec2/securityGroup:SecurityGroup"
    spec = """name! namePrefix! description!="Managed by Pulumi" vpcId!? ingress~?{cidrBlocks~ description fromPort
        ipv6CidrBlocks~ prefixListIds~ protocol securityGroups~ self toPort} egress~?{cidrBlocks~ description
        fromPort ipv6CidrBlocks~ prefixListIds~ protocol securityGroups~ self toPort} revokeRulesOnDelete=false
        tags"""
    auto = AutoName("name", 255)
    import_id = "the group's id"

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        arguments = {"VpcId": call.inputs["vpcId"]} if call.get("vpcId") else {}
        answer = client.create_security_group(
            GroupName=call.inputs["name"],
            Description=call.inputs["description"],
            **arguments,
            **_specification(call, "security-group"),
        )
        group = answer["GroupId"]
        # As the real provider: EC2's allow-all egress rule is taken away, the program's rules count.
        self._put(
            call, group, "egress", [{"protocol": "-1", "cidrBlocks": ["0.0.0.0/0"]}], call.get("egress", [])
        )
        self._put(call, group, "ingress", [], call.get("ingress", []))
        vpc = call.get("vpcId")
        if not vpc:
            found = _first(call, "describe_security_groups", "SecurityGroups", GroupIds=[group])
            vpc = (found or {}).get("VpcId", "")
        return group, {
            "arn": call.arn("ec2", f"security-group/{group}"),
            "ownerId": call.aws.account_id,
            "vpcId": vpc,
            "name": call.inputs["name"],
            "region": call.region,
        }

    def _put(self, call: Call, group: str, side: str, old: list[Any], new: list[Any]) -> None:
        client = call.client("ec2")
        had = [json.dumps(_permission({"fromPort": 0, "toPort": 0, **r}, group), sort_keys=True) for r in old]
        wants = [json.dumps(_permission(r, group), sort_keys=True) for r in new]
        for text in had:
            if text not in wants:
                unless_gone(
                    lambda text=text: getattr(client, f"revoke_security_group_{side}")(  # type: ignore[misc]
                        GroupId=group, IpPermissions=[json.loads(text)]
                    )
                )
        fresh = [json.loads(text) for text in wants if text not in had]
        if fresh:
            getattr(client, f"authorize_security_group_{side}")(GroupId=group, IpPermissions=fresh)

    def read(self, call: Call) -> dict[str, Any] | None:
        group = _first(call, "describe_security_groups", "SecurityGroups", GroupIds=[call.id])
        if group is None:
            return None
        found = {
            "arn": call.arn("ec2", f"security-group/{call.id}"),
            "ownerId": group.get("OwnerId", call.aws.account_id),
            "name": group["GroupName"],
            "description": group["Description"],
            "vpcId": group.get("VpcId", ""),
            "region": call.region,
            "tags": tag_map(group.get("Tags")),
            "revokeRulesOnDelete": call.old.get("revokeRulesOnDelete", False),
        }
        # Rules kept as resources of their own are not this resource's business.
        for side, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
            if call.old.get(side) or not call.old:
                found[side] = [_rule(p, call.id) for p in group.get(key, [])]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        for side in ("egress", "ingress"):
            if side in call.changed:
                self._put(call, call.id, side, call.old.get(side) or [], call.get(side, []))
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        if call.old.get("revokeRulesOnDelete"):
            group = _first(call, "describe_security_groups", "SecurityGroups", GroupIds=[call.id])
            client = call.client("ec2")
            if group and group.get("IpPermissions"):
                client.revoke_security_group_ingress(GroupId=call.id, IpPermissions=group["IpPermissions"])
            if group and group.get("IpPermissionsEgress"):
                client.revoke_security_group_egress(
                    GroupId=call.id, IpPermissions=group["IpPermissionsEgress"]
                )
        _delete(call, "delete_security_group", GroupId=call.id)


class _GroupRule(ResourceType):
    """One rule of a security group; the id is `sgr-...`."""

    side: str
    import_id = "the rule's id"

    def create(self, call: Call) -> Made:
        permission: dict[str, Any] = {"IpProtocol": call.inputs["ipProtocol"]}
        if call.get("fromPort") is not None:
            permission["FromPort"] = call.inputs["fromPort"]
        if call.get("toPort") is not None:
            permission["ToPort"] = call.inputs["toPort"]
        described = {"Description": call.inputs["description"]} if call.get("description") else {}
        if call.get("cidrIpv4"):
            permission["IpRanges"] = [{"CidrIp": call.inputs["cidrIpv4"], **described}]
        if call.get("cidrIpv6"):
            permission["Ipv6Ranges"] = [{"CidrIpv6": call.inputs["cidrIpv6"], **described}]
        if call.get("prefixListId"):
            permission["PrefixListIds"] = [{"PrefixListId": call.inputs["prefixListId"], **described}]
        if call.get("referencedSecurityGroupId"):
            permission["UserIdGroupPairs"] = [
                {"GroupId": call.inputs["referencedSecurityGroupId"], **described}
            ]
        client = call.client("ec2")
        group = call.inputs["securityGroupId"]
        answer = getattr(client, f"authorize_security_group_{self.side}")(
            GroupId=group, IpPermissions=[permission], **_specification(call, "security-group-rule")
        )
        made = answer.get("SecurityGroupRules") or []
        rule = made[0]["SecurityGroupRuleId"] if made else self._find(call, group)
        return rule, {
            "arn": call.arn("ec2", f"security-group-rule/{rule}"),
            "securityGroupRuleId": rule,
            "region": call.region,
        }

    def _rules(self, call: Call, group: str) -> list[dict[str, Any]]:
        answer = unless_gone(
            lambda: call.client("ec2").describe_security_group_rules(
                Filters=[{"Name": "group-id", "Values": [group]}]
            )
        )
        rules: list[dict[str, Any]] = (answer or {}).get("SecurityGroupRules", [])
        return [r for r in rules if r.get("IsEgress", False) == (self.side == "egress")]

    def _find(self, call: Call, group: str) -> str:
        for rule in reversed(self._rules(call, group)):
            described = self._described(call, rule)
            if all(
                described.get(k) == call.inputs.get(k)
                for k in ("ipProtocol", "fromPort", "toPort", "cidrIpv4", "referencedSecurityGroupId")
                if call.inputs.get(k) is not None
            ):
                return str(rule["SecurityGroupRuleId"])
        return f"sgr-{abs(hash((group, self.side))):017x}"[:21]

    def _described(self, call: Call, rule: dict[str, Any]) -> dict[str, Any]:
        found = {
            "securityGroupId": rule.get("GroupId") or call.old.get("securityGroupId"),
            "ipProtocol": str(rule["IpProtocol"]),
            "fromPort": rule.get("FromPort"),
            "toPort": rule.get("ToPort"),
            "cidrIpv4": rule.get("CidrIpv4"),
            "cidrIpv6": rule.get("CidrIpv6"),
            "prefixListId": rule.get("PrefixListId"),
            "description": rule.get("Description") or None,
            "referencedSecurityGroupId": (rule.get("ReferencedGroupInfo") or {}).get("GroupId"),
        }
        if found["ipProtocol"] == "-1":
            found["fromPort"] = found["toPort"] = None
        return {k: v for k, v in found.items() if v is not None}

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(
            lambda: call.client("ec2").describe_security_group_rules(SecurityGroupRuleIds=[call.id])
        )
        rules = (answer or {}).get("SecurityGroupRules") or []
        if not rules and call.old.get("securityGroupId"):
            rules = [
                r
                for r in self._rules(call, call.old["securityGroupId"])
                if r["SecurityGroupRuleId"] == call.id
            ]
        if not rules:
            return None
        found = self._described(call, rules[0])
        if "referencedSecurityGroupId" in found and call.old.get("description"):
            # moto forgets the description of a rule that refers to a group.
            found.setdefault("description", call.old["description"])
        for mine in ("tags",):
            if call.old.get(mine):
                found[mine] = call.old[mine]
        return {
            **found,
            "arn": call.arn("ec2", f"security-group-rule/{call.id}"),
            "securityGroupRuleId": call.id,
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        if call.changed - {"tags"}:
            # A rule's content is its identity in EC2: take it away and add the new one.
            self.delete(call)
            id_, outputs = self.create(call)
            return {**outputs, "id": id_}
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("ec2")
        unless_gone(
            lambda: getattr(client, f"revoke_security_group_{self.side}")(
                GroupId=call.old["securityGroupId"], SecurityGroupRuleIds=[call.id]
            )
        )


_RULE_SPEC = (
    "securityGroupId! ipProtocol! fromPort! toPort! cidrIpv4! cidrIpv6! prefixListId! referencedSecurityGroupId! "
    "description! tags"
)


class SecurityGroupIngressRule(_GroupRule):
    """`aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule`."""

    token = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
    spec = _RULE_SPEC
    side = "ingress"


class SecurityGroupEgressRule(_GroupRule):
    """`aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule`."""

    token = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
    spec = _RULE_SPEC
    side = "egress"


class SecurityGroupRule(ResourceType):
    """`aws:ec2/securityGroupRule:SecurityGroupRule`, the older rule resource; the id is made of its content."""

    token = "aws:ec2/securityGroupRule:SecurityGroupRule"
    spec = """type! securityGroupId! protocol! fromPort! toPort! cidrBlocks! ipv6CidrBlocks! prefixListIds!
        self!=false sourceSecurityGroupId!? description"""
    import_id = "group_type_protocol_from_to_source"

    def _permission(self, source: dict[str, Any]) -> dict[str, Any]:
        groups = [source["sourceSecurityGroupId"]] if source.get("sourceSecurityGroupId") else []
        return _permission({**source, "securityGroups": groups}, source["securityGroupId"])

    def create(self, call: Call) -> Made:
        side = call.inputs["type"]
        getattr(call.client("ec2"), f"authorize_security_group_{side}")(
            GroupId=call.inputs["securityGroupId"], IpPermissions=[self._permission(call.inputs)]
        )
        text = json.dumps(self._permission(call.inputs), sort_keys=True) + side
        id_ = f"sgrule-{zlib.crc32(text.encode())}"
        return id_, {"region": call.region, "securityGroupRuleId": ""}

    def read(self, call: Call) -> dict[str, Any] | None:
        if not call.old.get("securityGroupId"):
            return None
        group = _first(
            call, "describe_security_groups", "SecurityGroups", GroupIds=[call.old["securityGroupId"]]
        )
        key = "IpPermissions" if call.old["type"] == "ingress" else "IpPermissionsEgress"
        wanted = self._permission(call.old)
        for permission in (group or {}).get(key, []):
            same_ports = all(permission.get(k) == wanted.get(k) for k in ("IpProtocol", "FromPort", "ToPort"))
            ranges = {r["CidrIp"] for r in permission.get("IpRanges", [])}
            pairs = {p["GroupId"] for p in permission.get("UserIdGroupPairs", [])}
            if (
                same_ports
                and {r["CidrIp"] for r in wanted.get("IpRanges", [])} <= ranges
                and {p["GroupId"] for p in wanted.get("UserIdGroupPairs", [])} <= pairs
            ):
                return {**call.old, "region": call.region}
        return None

    def update(self, call: Call) -> dict[str, Any]:
        self.delete(call)
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        side = call.old["type"]
        unless_gone(
            lambda: getattr(call.client("ec2"), f"revoke_security_group_{side}")(
                GroupId=call.old["securityGroupId"], IpPermissions=[self._permission(call.old)]
            )
        )


class VpcEndpoint(ResourceType):
    """`aws:ec2/vpcEndpoint:VpcEndpoint`; the id is `vpce-...`."""

    token = "aws:ec2/vpcEndpoint:VpcEndpoint"
    spec = """vpcId! serviceName! vpcEndpointType!="Gateway" policy:json? privateDnsEnabled? routeTableIds~?
        subnetIds~? securityGroupIds~? ipAddressType? autoAccept dnsOptions? tags"""
    timeouts_s = (600.0, 600.0, 600.0)
    import_id = "the endpoint's id"

    def create(self, call: Call) -> Made:
        arguments = fill(
            self,
            call.inputs,
            *("vpcId", "serviceName", "vpcEndpointType", "privateDnsEnabled", "routeTableIds", "subnetIds"),
            *("securityGroupIds", "ipAddressType"),
        )
        if call.get("policy"):
            arguments["PolicyDocument"] = call.inputs["policy"]
        answer = call.client("ec2").create_vpc_endpoint(**arguments, **_specification(call, "vpc-endpoint"))
        endpoint = answer["VpcEndpoint"]
        return endpoint["VpcEndpointId"], self._chosen(call, endpoint)

    def _chosen(self, call: Call, endpoint: dict[str, Any]) -> dict[str, Any]:
        id_ = endpoint["VpcEndpointId"]
        return {
            "arn": call.arn("ec2", f"vpc-endpoint/{id_}"),
            "state": str(endpoint.get("State", "available")).lower(),
            "ownerId": call.aws.account_id,
            "requesterManaged": False,
            "prefixListId": f"pl-{id_[-8:]}" if endpoint.get("VpcEndpointType") == "Gateway" else "",
            "cidrBlocks": [],
            "networkInterfaceIds": endpoint.get("NetworkInterfaceIds", []),
            "dnsEntries": [
                {"dnsName": d.get("DnsName", ""), "hostedZoneId": d.get("HostedZoneId", "")}
                for d in endpoint.get("DnsEntries", [])
            ],
            "routeTableIds": endpoint.get("RouteTableIds", []),
            "subnetIds": endpoint.get("SubnetIds", []),
            "privateDnsEnabled": endpoint.get("PrivateDnsEnabled", False),
            "securityGroupIds": call.get("securityGroupIds")
            or [g["GroupId"] for g in endpoint.get("Groups", []) if g.get("GroupId")],
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        endpoint = _first(call, "describe_vpc_endpoints", "VpcEndpoints", VpcEndpointIds=[call.id])
        if endpoint is None or str(endpoint.get("State", "")).lower() in ("deleted", "deleting"):
            return None
        found = {
            **self._chosen(call, endpoint),
            "vpcId": endpoint["VpcId"],
            "serviceName": endpoint["ServiceName"],
            "vpcEndpointType": endpoint["VpcEndpointType"],
            "tags": tag_map(endpoint.get("Tags")),
        }
        if endpoint.get("PolicyDocument"):
            found["policy"] = endpoint["PolicyDocument"]
        for mine in ("autoAccept", "dnsOptions", "ipAddressType"):
            if call.old.get(mine) is not None:
                found[mine] = call.old[mine]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for mine, noun in (
            ("routeTableIds", "RouteTableIds"),
            ("subnetIds", "SubnetIds"),
            ("securityGroupIds", "SecurityGroupIds"),
        ):
            if mine in call.changed:
                new, old = set(call.get(mine, [])), set(call.old.get(mine) or [])
                if new - old:
                    arguments[f"Add{noun}"] = sorted(new - old)
                if old - new:
                    arguments[f"Remove{noun}"] = sorted(old - new)
        if "policy" in call.changed:
            arguments["PolicyDocument"] = call.get("policy", "")
        if "privateDnsEnabled" in call.changed:
            arguments["PrivateDnsEnabled"] = bool(call.get("privateDnsEnabled"))
        if arguments:
            call.client("ec2").modify_vpc_endpoint(VpcEndpointId=call.id, **arguments)
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[call.id]))

        def probe() -> bool | None:
            endpoint = _first(call, "describe_vpc_endpoints", "VpcEndpoints", VpcEndpointIds=[call.id])
            gone = endpoint is None or str(endpoint.get("State", "")).lower() in ("deleted", "deleting")
            return True if gone else None

        call.deadline.wait(f"VPC endpoint {call.id} to be gone", probe)


class Vpc(ResourceType):
    """`aws:ec2/vpc:Vpc`; the id is `vpc-...`."""

    token = "aws:ec2/vpc:Vpc"
    spec = """cidrBlock! enableDnsHostnames=false enableDnsSupport=true instanceTenancy!="default"
        enableNetworkAddressUsageMetrics? tags"""
    import_id = "the VPC's id"

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        answer = client.create_vpc(
            CidrBlock=call.inputs["cidrBlock"],
            InstanceTenancy=call.inputs["instanceTenancy"],
            **_specification(call, "vpc"),
        )["Vpc"]
        vpc = answer["VpcId"]
        self._dns(
            call,
            vpc,
            {"enableDnsHostnames"} | ({"enableDnsSupport"} if not call.get("enableDnsSupport") else set()),
        )
        return vpc, self._chosen(call, answer)

    def _dns(self, call: Call, vpc: str, names: set[str] | frozenset[str]) -> None:
        client = call.client("ec2")
        for mine in ("enableDnsSupport", "enableDnsHostnames"):
            if mine in names:
                api = mine[0].upper() + mine[1:]
                client.modify_vpc_attribute(VpcId=vpc, **{api: {"Value": bool(call.get(mine))}})

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        vpc = answer["VpcId"]
        client = call.client("ec2")
        where = [{"Name": "vpc-id", "Values": [vpc]}]
        tables = client.describe_route_tables(Filters=where)["RouteTables"]
        main = next((t["RouteTableId"] for t in tables if any(a.get("Main") for a in t["Associations"])), "")
        acls = client.describe_network_acls(Filters=where)["NetworkAcls"]
        groups = client.describe_security_groups(
            Filters=[*where, {"Name": "group-name", "Values": ["default"]}]
        )["SecurityGroups"]
        return {
            "arn": call.arn("ec2", f"vpc/{vpc}"),
            "ownerId": call.aws.account_id,
            "mainRouteTableId": main,
            "defaultRouteTableId": main,
            "defaultNetworkAclId": next((a["NetworkAclId"] for a in acls if a.get("IsDefault")), ""),
            "defaultSecurityGroupId": groups[0]["GroupId"] if groups else "",
            "dhcpOptionsId": answer.get("DhcpOptionsId", ""),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        vpc = _first(call, "describe_vpcs", "Vpcs", VpcIds=[call.id])
        if vpc is None:
            return None
        client = call.client("ec2")

        def attribute(name: str) -> bool:
            key = name[0].upper() + name[1:]
            return bool(client.describe_vpc_attribute(VpcId=call.id, Attribute=name)[key]["Value"])

        return {
            **self._chosen(call, vpc),
            "cidrBlock": vpc["CidrBlock"],
            "instanceTenancy": vpc.get("InstanceTenancy", "default"),
            "enableDnsSupport": attribute("enableDnsSupport"),
            "enableDnsHostnames": attribute("enableDnsHostnames"),
            "tags": tag_map(vpc.get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        self._dns(call, call.id, call.changed)
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        _delete(call, "delete_vpc", VpcId=call.id)


class Subnet(ResourceType):
    """`aws:ec2/subnet:Subnet`; the id is `subnet-...`."""

    token = "aws:ec2/subnet:Subnet"
    spec = """vpcId! cidrBlock! availabilityZone!? availabilityZoneId!? mapPublicIpOnLaunch=false
        assignIpv6AddressOnCreation=false privateDnsHostnameTypeOnLaunch? tags"""
    import_id = "the subnet's id"

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        answer = client.create_subnet(
            **fill(self, call.inputs, "vpcId", "cidrBlock", "availabilityZone", "availabilityZoneId"),
            **_specification(call, "subnet"),
        )["Subnet"]
        if call.get("mapPublicIpOnLaunch"):
            client.modify_subnet_attribute(SubnetId=answer["SubnetId"], MapPublicIpOnLaunch={"Value": True})
        return answer["SubnetId"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": answer.get("SubnetArn") or call.arn("ec2", f"subnet/{answer['SubnetId']}"),
            "ownerId": call.aws.account_id,
            "availabilityZone": answer["AvailabilityZone"],
            "availabilityZoneId": answer.get("AvailabilityZoneId", ""),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        subnet = _first(call, "describe_subnets", "Subnets", SubnetIds=[call.id])
        if subnet is None:
            return None
        return {
            **self._chosen(call, subnet),
            "vpcId": subnet["VpcId"],
            "cidrBlock": subnet["CidrBlock"],
            "mapPublicIpOnLaunch": subnet.get("MapPublicIpOnLaunch") in (True, "true"),
            "assignIpv6AddressOnCreation": subnet.get("AssignIpv6AddressOnCreation", False),
            "tags": tag_map(subnet.get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        if "mapPublicIpOnLaunch" in call.changed:
            call.client("ec2").modify_subnet_attribute(
                SubnetId=call.id, MapPublicIpOnLaunch={"Value": bool(call.get("mapPublicIpOnLaunch"))}
            )
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        _delete(call, "delete_subnet", SubnetId=call.id)


_ROUTE_TARGETS = {
    "gatewayId": "GatewayId",
    "natGatewayId": "NatGatewayId",
    "networkInterfaceId": "NetworkInterfaceId",
    "transitGatewayId": "TransitGatewayId",
    "vpcEndpointId": "VpcEndpointId",
    "vpcPeeringConnectionId": "VpcPeeringConnectionId",
    "egressOnlyGatewayId": "EgressOnlyInternetGatewayId",
}


class RouteTable(ResourceType):
    """`aws:ec2/routeTable:RouteTable`; the id is `rtb-...`."""

    token = "aws:ec2/routeTable:RouteTable"
    spec = """vpcId! routes~?{cidrBlock ipv6CidrBlock destinationPrefixListId gatewayId natGatewayId
        networkInterfaceId transitGatewayId vpcEndpointId vpcPeeringConnectionId egressOnlyGatewayId} tags"""
    import_id = "the route table's id"

    def _route(self, route: dict[str, Any]) -> dict[str, Any]:
        wanted = {_ROUTE_TARGETS[k]: v for k, v in route.items() if k in _ROUTE_TARGETS and v}
        if route.get("cidrBlock"):
            wanted["DestinationCidrBlock"] = route["cidrBlock"]
        if route.get("ipv6CidrBlock"):
            wanted["DestinationIpv6CidrBlock"] = route["ipv6CidrBlock"]
        return wanted

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        answer = client.create_route_table(VpcId=call.inputs["vpcId"], **_specification(call, "route-table"))[
            "RouteTable"
        ]
        table = answer["RouteTableId"]
        for route in call.get("routes", []):
            client.create_route(RouteTableId=table, **self._route(route))
        return table, {
            "arn": call.arn("ec2", f"route-table/{table}"),
            "ownerId": call.aws.account_id,
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        table = _first(call, "describe_route_tables", "RouteTables", RouteTableIds=[call.id])
        if table is None:
            return None
        found: dict[str, Any] = {
            "arn": call.arn("ec2", f"route-table/{call.id}"),
            "ownerId": call.aws.account_id,
            "vpcId": table["VpcId"],
            "region": call.region,
            "tags": tag_map(table.get("Tags")),
        }
        if call.old.get("routes") or not call.old:
            found["routes"] = []
            for route in table.get("Routes", []):
                if route.get("GatewayId") == "local" or str(route.get("GatewayId", "")).startswith("vpce-"):
                    continue
                item = {mine: route[api] for mine, api in _ROUTE_TARGETS.items() if route.get(api)}
                if route.get("DestinationCidrBlock"):
                    item["cidrBlock"] = route["DestinationCidrBlock"]
                found["routes"].append(item)
        return found

    def update(self, call: Call) -> dict[str, Any]:
        if "routes" in call.changed:
            client = call.client("ec2")
            new, old = call.get("routes", []), call.old.get("routes") or []
            for route in old:
                if route not in new and route.get("cidrBlock"):
                    unless_gone(
                        lambda route=route: client.delete_route(  # type: ignore[misc]
                            RouteTableId=call.id, DestinationCidrBlock=route["cidrBlock"]
                        )
                    )
            for route in new:
                if route not in old:
                    client.create_route(RouteTableId=call.id, **self._route(route))
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        _delete(call, "delete_route_table", RouteTableId=call.id)


def _route_id(table: str, destination: dict[str, str]) -> str:
    """Make the id of a route as terraform does: the table and a checksum of the destination."""
    return f"r-{table}{zlib.crc32(next(iter(destination.values())).encode())}"


class Route(ResourceType):
    """`aws:ec2/route:Route`; the id is made of the table and the destination."""

    token = "aws:ec2/route:Route"
    spec = """routeTableId! destinationCidrBlock! destinationIpv6CidrBlock! destinationPrefixListId! gatewayId
        natGatewayId networkInterfaceId? transitGatewayId vpcEndpointId vpcPeeringConnectionId
        egressOnlyGatewayId"""
    import_id = "table_destination"

    def _destination(self, source: dict[str, Any]) -> dict[str, str]:
        for mine, api in (
            ("destinationCidrBlock", "DestinationCidrBlock"),
            ("destinationIpv6CidrBlock", "DestinationIpv6CidrBlock"),
            ("destinationPrefixListId", "DestinationPrefixListId"),
        ):
            if source.get(mine):
                return {api: source[mine]}
        return {}

    def _target(self, source: dict[str, Any]) -> dict[str, str]:
        return {api: source[mine] for mine, api in _ROUTE_TARGETS.items() if source.get(mine)}

    def create(self, call: Call) -> Made:
        destination = self._destination(call.inputs)
        call.client("ec2").create_route(
            RouteTableId=call.inputs["routeTableId"], **destination, **self._target(call.inputs)
        )
        return _route_id(call.inputs["routeTableId"], destination), {
            "state": "active",
            "origin": "CreateRoute",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        old = dict(call.old)
        if not old.get("routeTableId"):
            table_id, _, destination = call.id.partition("_")
            old = {"routeTableId": table_id, "destinationCidrBlock": destination}
        table = _first(call, "describe_route_tables", "RouteTables", RouteTableIds=[old["routeTableId"]])
        for route in (table or {}).get("Routes", []):
            if all(route.get(k) == v for k, v in self._destination(old).items()):
                return {
                    "id": _route_id(old["routeTableId"], self._destination(old)),
                    **{
                        k: old[k]
                        for k in ("routeTableId", "destinationCidrBlock", "destinationIpv6CidrBlock")
                        if old.get(k)
                    },
                    **{mine: route[api] for mine, api in _ROUTE_TARGETS.items() if route.get(api)},
                    "state": route.get("State", "active"),
                    "origin": route.get("Origin", "CreateRoute"),
                    "region": call.region,
                }
        return None

    def update(self, call: Call) -> dict[str, Any]:
        call.client("ec2").replace_route(
            RouteTableId=call.inputs["routeTableId"],
            **self._destination(call.inputs),
            **self._target(call.inputs),
        )
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(
            lambda: call.client("ec2").delete_route(
                RouteTableId=call.old["routeTableId"], **self._destination(call.old)
            )
        )


class RouteTableAssociation(ResourceType):
    """`aws:ec2/routeTableAssociation:RouteTableAssociation`; the id is `rtbassoc-...`."""

    token = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    spec = "routeTableId subnetId! gatewayId!"
    import_id = "subnet/table"

    def create(self, call: Call) -> Made:
        answer = call.client("ec2").associate_route_table(
            **fill(self, call.inputs, "routeTableId", "subnetId", "gatewayId")
        )
        return answer["AssociationId"], {"region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        name = "association.route-table-association-id"
        where: list[dict[str, Any]] = [{"Name": name, "Values": [call.id]}]
        if "/" in call.id:
            subnet, _, table = call.id.partition("/")
            where = [{"Name": "association.subnet-id", "Values": [subnet]}]
        tables = call.client("ec2").describe_route_tables(Filters=where)["RouteTables"]
        for table in tables:
            for association in table["Associations"]:
                matches = association["RouteTableAssociationId"] == call.id or (
                    "/" in call.id and association.get("SubnetId") == call.id.partition("/")[0]
                )
                if matches:
                    found = {
                        "id": association["RouteTableAssociationId"],
                        "routeTableId": table["RouteTableId"],
                        "region": call.region,
                    }
                    for mine, api in (("subnetId", "SubnetId"), ("gatewayId", "GatewayId")):
                        if association.get(api):
                            found[mine] = association[api]
                    return found
        return None

    def update(self, call: Call) -> dict[str, Any]:
        answer = call.client("ec2").replace_route_table_association(
            AssociationId=call.id, RouteTableId=call.inputs["routeTableId"]
        )
        return {"id": answer["NewAssociationId"]}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ec2").disassociate_route_table(AssociationId=call.id))


class InternetGateway(ResourceType):
    """`aws:ec2/internetGateway:InternetGateway`; the id is `igw-...`."""

    token = "aws:ec2/internetGateway:InternetGateway"
    spec = "vpcId? tags"
    import_id = "the gateway's id"

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        gateway = client.create_internet_gateway(**_specification(call, "internet-gateway"))[
            "InternetGateway"
        ]
        id_ = gateway["InternetGatewayId"]
        if call.get("vpcId"):
            client.attach_internet_gateway(InternetGatewayId=id_, VpcId=call.inputs["vpcId"])
        return id_, {
            "arn": call.arn("ec2", f"internet-gateway/{id_}"),
            "ownerId": call.aws.account_id,
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        gateway = _first(call, "describe_internet_gateways", "InternetGateways", InternetGatewayIds=[call.id])
        if gateway is None:
            return None
        attachments = gateway.get("Attachments") or [{}]
        return {
            "arn": call.arn("ec2", f"internet-gateway/{call.id}"),
            "ownerId": call.aws.account_id,
            "vpcId": attachments[0].get("VpcId"),
            "region": call.region,
            "tags": tag_map(gateway.get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("ec2")
        if "vpcId" in call.changed:
            if call.old.get("vpcId"):
                client.detach_internet_gateway(InternetGatewayId=call.id, VpcId=call.old["vpcId"])
            if call.get("vpcId"):
                client.attach_internet_gateway(InternetGatewayId=call.id, VpcId=call.inputs["vpcId"])
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        if call.old.get("vpcId"):
            try:
                call.client("ec2").detach_internet_gateway(InternetGatewayId=call.id, VpcId=call.old["vpcId"])
            except Exception as error:
                if error_code(error) not in ("Gateway.NotAttached", "InvalidInternetGatewayID.NotFound"):
                    raise
        _delete(call, "delete_internet_gateway", InternetGatewayId=call.id)


class Eip(ResourceType):
    """`aws:ec2/eip:Eip`; the id is `eipalloc-...`."""

    token = "aws:ec2/eip:Eip"
    spec = """domain!="vpc" publicIpv4Pool!? networkBorderGroup!? tags"""
    import_id = "the allocation's id"

    def create(self, call: Call) -> Made:
        answer = call.client("ec2").allocate_address(
            Domain=call.inputs["domain"], **_specification(call, "elastic-ip")
        )
        return answer["AllocationId"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        address = answer["PublicIp"]
        return {
            "allocationId": answer["AllocationId"],
            "arn": call.arn("ec2", f"elastic-ip/{answer['AllocationId']}"),
            "publicIp": address,
            "publicDns": f"ec2-{address.replace('.', '-')}.compute-1.amazonaws.com",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        address = _first(call, "describe_addresses", "Addresses", AllocationIds=[call.id])
        if address is None:
            return None
        return {
            **self._chosen(call, address),
            "domain": address.get("Domain", "vpc"),
            "tags": tag_map(address.get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        _delete(call, "release_address", AllocationId=call.id)


class NatGateway(ResourceType):
    """`aws:ec2/natGateway:NatGateway`; the id is `nat-...`."""

    token = "aws:ec2/natGateway:NatGateway"
    spec = """subnetId! allocationId! connectivityType!="public" privateIp!? tags"""
    timeouts_s = (600.0, 600.0, 1800.0)
    import_id = "the gateway's id"

    def create(self, call: Call) -> Made:
        answer = call.client("ec2").create_nat_gateway(
            **fill(self, call.inputs, "subnetId", "allocationId", "connectivityType"),
            **_specification(call, "natgateway"),
        )["NatGateway"]
        id_ = answer["NatGatewayId"]

        def probe() -> dict[str, Any] | None:
            found = self._describe(call, id_)
            return found if found and found["State"] == "available" else None

        found = call.deadline.wait(f"NAT gateway {id_} to become available", probe)
        return id_, self._chosen(call, found)

    def _describe(self, call: Call, id_: str) -> dict[str, Any] | None:
        found = _first(call, "describe_nat_gateways", "NatGateways", NatGatewayIds=[id_])
        return None if found is None or found["State"] in ("deleted", "deleting") else found

    def _chosen(self, call: Call, found: dict[str, Any]) -> dict[str, Any]:
        address = (found.get("NatGatewayAddresses") or [{}])[0]
        return {
            "publicIp": address.get("PublicIp", ""),
            "privateIp": address.get("PrivateIp", ""),
            "networkInterfaceId": address.get("NetworkInterfaceId", ""),
            "associationId": address.get("AssociationId", ""),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        found = self._describe(call, call.id)
        if found is None:
            return None
        result = {
            **self._chosen(call, found),
            "subnetId": found["SubnetId"],
            "connectivityType": found.get("ConnectivityType", "public"),
            "tags": tag_map(found.get("Tags")),
        }
        address = (found.get("NatGatewayAddresses") or [{}])[0]
        if address.get("AllocationId"):
            result["allocationId"] = address["AllocationId"]
        return result

    def update(self, call: Call) -> dict[str, Any]:
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        if self._describe(call, call.id) is None:
            return
        call.client("ec2").delete_nat_gateway(NatGatewayId=call.id)

        def probe() -> bool | None:
            return True if self._describe(call, call.id) is None else None

        call.deadline.wait(f"NAT gateway {call.id} to be gone", probe)


class FlowLog(ResourceType):
    """`aws:ec2/flowLog:FlowLog`; the id is `fl-...`."""

    token = "aws:ec2/flowLog:FlowLog"
    spec = """vpcId! subnetId! eniId! trafficType! logDestination! logDestinationType!="cloud-watch-logs" iamRoleArn!
        logFormat!? maxAggregationInterval!=600 tags"""
    import_id = "the flow log's id"

    def create(self, call: Call) -> Made:
        for mine, kind in (("vpcId", "VPC"), ("subnetId", "Subnet"), ("eniId", "NetworkInterface")):
            if call.get(mine):
                target = {"ResourceIds": [call.inputs[mine]], "ResourceType": kind}
        arguments = fill(
            self,
            call.inputs,
            "trafficType",
            "logDestination",
            "logDestinationType",
            "logFormat",
            "maxAggregationInterval",
        )
        if call.get("iamRoleArn"):
            arguments["DeliverLogsPermissionArn"] = call.inputs["iamRoleArn"]
        answer = call.client("ec2").create_flow_logs(
            **target, **arguments, **_specification(call, "vpc-flow-log")
        )
        if answer.get("Unsuccessful"):
            reason = answer["Unsuccessful"][0]["Error"]
            raise ResourceError(
                "KW635", f"flow log: refused with {reason.get('Code')}: {reason.get('Message')}"
            )
        id_ = answer["FlowLogIds"][0]
        return id_, {"arn": call.arn("ec2", f"vpc-flow-log/{id_}"), "region": call.region}

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        given = [n for n in ("vpcId", "subnetId", "eniId") if inputs.get(n) is not None]
        if len(given) != 1:
            return [("vpcId", f"KW634 got {len(given)} of vpcId, subnetId, eniId; allowed exactly one")]
        return []

    def read(self, call: Call) -> dict[str, Any] | None:
        log = _first(call, "describe_flow_logs", "FlowLogs", FlowLogIds=[call.id])
        if log is None:
            return None
        kind = log["ResourceId"].partition("-")[0]
        found = {
            {"vpc": "vpcId", "subnet": "subnetId"}.get(kind, "eniId"): log["ResourceId"],
            "arn": call.arn("ec2", f"vpc-flow-log/{call.id}"),
            "region": call.region,
            "tags": tag_map(log.get("Tags")),
            **take(
                self, log, "trafficType", "logDestination", "logDestinationType", "maxAggregationInterval"
            ),
        }
        if log.get("DeliverLogsPermissionArn"):
            found["iamRoleArn"] = log["DeliverLogsPermissionArn"]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        _retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ec2").delete_flow_logs(FlowLogIds=[call.id]))


TYPES: tuple[type[ResourceType], ...] = (
    LaunchTemplate,
    SecurityGroup,
    SecurityGroupIngressRule,
    SecurityGroupEgressRule,
    SecurityGroupRule,
    VpcEndpoint,
    Vpc,
    Subnet,
    RouteTable,
    Route,
    RouteTableAssociation,
    InternetGateway,
    Eip,
    NatGateway,
    FlowLog,
)
