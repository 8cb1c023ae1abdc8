"""EC2: security groups and their rules."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
from collections.abc import Mapping
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    tag_map,
)
from keepwarm_localcloud.pulumi_types.ec2.requests import delete, first, retag, specification


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


def _ports(rule: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
    """Refuse ports that do not exist; -1 stands for all."""
    return [
        (path + name, f"KW634 got {rule[name]}; allowed -1 to 65535; because ports have 16 bits")
        for name in ("fromPort", "toPort")
        if isinstance(rule.get(name), int) and not -1 <= rule[name] <= 65535
    ]


class SecurityGroup(ResourceType):
    """`aws:ec2/securityGroup:SecurityGroup`; the id is `sg-...`."""

    token = "aws:ec2/securityGroup:SecurityGroup"
    spec = """name! namePrefix! description!="Managed by Pulumi" vpcId!? ingress~?{cidrBlocks~ description fromPort
        ipv6CidrBlocks~ prefixListIds~ protocol securityGroups~ self toPort} egress~?{cidrBlocks~ description
        fromPort ipv6CidrBlocks~ prefixListIds~ protocol securityGroups~ self toPort} revokeRulesOnDelete=false
        tags"""
    auto = AutoName("name", 255)
    import_id = "the group's id"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        return [
            failure
            for side in ("ingress", "egress")
            for number, rule in enumerate(inputs.get(side) or [])
            if isinstance(rule, Mapping)
            for failure in _ports(rule, f"{side}[{number}].")
        ]

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        arguments = {"VpcId": call.inputs["vpcId"]} if call.get("vpcId") else {}
        answer = client.create_security_group(
            GroupName=call.inputs["name"],
            Description=call.inputs["description"],
            **arguments,
            **specification(call, "security-group"),
        )
        group = answer["GroupId"]
        # As the real provider: EC2's allow-all egress rule is taken away, the program's rules count.
        self._put(
            call, group, "egress", [{"protocol": "-1", "cidrBlocks": ["0.0.0.0/0"]}], call.get("egress", [])
        )
        self._put(call, group, "ingress", [], call.get("ingress", []))
        vpc = call.get("vpcId")
        if not vpc:
            found = first(call, "describe_security_groups", "SecurityGroups", GroupIds=[group])
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
        group = first(call, "describe_security_groups", "SecurityGroups", GroupIds=[call.id])
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
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        if call.old.get("revokeRulesOnDelete"):
            group = first(call, "describe_security_groups", "SecurityGroups", GroupIds=[call.id])
            client = call.client("ec2")
            if group and group.get("IpPermissions"):
                client.revoke_security_group_ingress(GroupId=call.id, IpPermissions=group["IpPermissions"])
            if group and group.get("IpPermissionsEgress"):
                client.revoke_security_group_egress(
                    GroupId=call.id, IpPermissions=group["IpPermissionsEgress"]
                )
        delete(call, "delete_security_group", GroupId=call.id)


_SOURCES = ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId")


class _GroupRule(ResourceType):
    """One rule of a security group; the id is `sgr-...`."""

    side: str
    import_id = "the rule's id"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        return _ports(inputs, "")

    def replaces(self, name: str, wanted: Any, actual: Any, inputs: Mapping[str, Any]) -> bool:
        # EC2 changes a rule in place, but not a rule for addresses into one for a group.
        return name in _SOURCES and (wanted is None) != (actual is None)

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
            GroupId=group, IpPermissions=[permission], **specification(call, "security-group-rule")
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
            # moto changes a rule's ports and addresses, but neither its group nor its lists: add the new one instead.
            self.delete(call)
            id_, outputs = self.create(call)
            return {**outputs, "id": id_}
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("ec2")
        unless_gone(
            lambda: getattr(client, f"revoke_security_group_{self.side}")(
                GroupId=call.old["securityGroupId"], SecurityGroupRuleIds=[call.id]
            )
        )


_RULE_SPEC = (
    "securityGroupId! ipProtocol fromPort toPort cidrIpv4 cidrIpv6 prefixListId referencedSecurityGroupId "
    "description tags"
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
