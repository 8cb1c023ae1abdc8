"""IAM: roles, policies, instance profiles."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
from typing import Any
from urllib.parse import unquote

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_list,
    tag_map,
)


def _document(value: Any) -> str:
    """IAM answers with documents as text, percent-encoded text or objects, depending on the call."""
    return (
        json.dumps(value)
        if not isinstance(value, str)
        else unquote(value)
        if value.startswith("%7B")
        else value
    )


def _retag(call: Call, kind: str, **where: str) -> None:
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    client = call.client("iam")
    if removed:
        getattr(client, f"untag_{kind}")(TagKeys=removed, **where)
    if added:
        getattr(client, f"tag_{kind}")(Tags=tag_list(added), **where)


class Role(ResourceType):
    """`aws:iam/role:Role`; the id is the name."""

    token = "aws:iam/role:Role"
    spec = """name! namePrefix! path!="/" assumeRolePolicy:json description maxSessionDuration=3600
        permissionsBoundary forceDetachPolicies=false managedPolicyArns~? inlinePolicies~?{name policy:json}
        tags"""
    auto = AutoName("name", 64)
    regional = False
    import_id = "the role's name"

    def create(self, call: Call) -> Made:
        arguments = fill(
            self, call.inputs, "path", "description", "maxSessionDuration", "permissionsBoundary"
        )
        answer = call.client("iam").create_role(
            RoleName=call.inputs["name"],
            AssumeRolePolicyDocument=call.inputs["assumeRolePolicy"],
            Tags=tag_list(call.tags),
            **arguments,
        )["Role"]
        self._attach(call, call.inputs["name"])
        return call.inputs["name"], self._chosen(answer)

    def _chosen(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": answer["Arn"],
            "name": answer["RoleName"],
            "uniqueId": answer["RoleId"],
            "createDate": answer["CreateDate"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _attach(self, call: Call, name: str) -> None:
        client = call.client("iam")
        for arn in call.get("managedPolicyArns", []):
            client.attach_role_policy(RoleName=name, PolicyArn=arn)
        for policy in call.get("inlinePolicies", []):
            client.put_role_policy(RoleName=name, PolicyName=policy["name"], PolicyDocument=policy["policy"])

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("iam")
        answer = unless_gone(lambda: client.get_role(RoleName=call.id))
        if answer is None:
            return None
        role = answer["Role"]
        found = {
            **self._chosen(role),
            "path": role["Path"],
            "assumeRolePolicy": _document(role["AssumeRolePolicyDocument"]),
            "description": role.get("Description", ""),
            "maxSessionDuration": role.get("MaxSessionDuration", 3600),
            "forceDetachPolicies": call.old.get("forceDetachPolicies", False),
            "tags": tag_map(client.list_role_tags(RoleName=call.id).get("Tags")),
        }
        boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
        if boundary:
            found["permissionsBoundary"] = boundary
        attached = client.list_attached_role_policies(RoleName=call.id)["AttachedPolicies"]
        found["managedPolicyArns"] = sorted(p["PolicyArn"] for p in attached)
        if call.old.get("inlinePolicies"):
            found["inlinePolicies"] = [
                {
                    "name": n,
                    "policy": _document(
                        client.get_role_policy(RoleName=call.id, PolicyName=n)["PolicyDocument"]
                    ),
                }
                for n in client.list_role_policies(RoleName=call.id)["PolicyNames"]
            ]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("iam")
        if "assumeRolePolicy" in call.changed:
            client.update_assume_role_policy(RoleName=call.id, PolicyDocument=call.inputs["assumeRolePolicy"])
        if call.changed & {"description", "maxSessionDuration"}:
            client.update_role(
                RoleName=call.id,
                Description=call.get("description", ""),
                MaxSessionDuration=call.get("maxSessionDuration", 3600),
            )
        if "permissionsBoundary" in call.changed:
            if call.get("permissionsBoundary"):
                client.put_role_permissions_boundary(
                    RoleName=call.id, PermissionsBoundary=call.inputs["permissionsBoundary"]
                )
            else:
                client.delete_role_permissions_boundary(RoleName=call.id)
        if "managedPolicyArns" in call.changed:
            for arn in set(call.old.get("managedPolicyArns") or []) - set(call.get("managedPolicyArns", [])):
                client.detach_role_policy(RoleName=call.id, PolicyArn=arn)
        if "inlinePolicies" in call.changed:
            kept = {p["name"] for p in call.get("inlinePolicies", [])}
            for policy in call.old.get("inlinePolicies") or []:
                if policy["name"] not in kept:
                    client.delete_role_policy(RoleName=call.id, PolicyName=policy["name"])
        if call.changed & {"managedPolicyArns", "inlinePolicies"}:
            self._attach(call, call.id)
        _retag(call, "role", RoleName=call.id)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("iam")
        if unless_gone(lambda: client.get_role(RoleName=call.id)) is None:
            return
        # What the role itself owns goes with it; with forceDetachPolicies, what others attached goes too.
        for policy in client.list_attached_role_policies(RoleName=call.id)["AttachedPolicies"]:
            if call.old.get("forceDetachPolicies") or policy["PolicyArn"] in (
                call.old.get("managedPolicyArns") or []
            ):
                client.detach_role_policy(RoleName=call.id, PolicyArn=policy["PolicyArn"])
        own = {p["name"] for p in call.old.get("inlinePolicies") or []}
        for name in client.list_role_policies(RoleName=call.id)["PolicyNames"]:
            if call.old.get("forceDetachPolicies") or name in own:
                client.delete_role_policy(RoleName=call.id, PolicyName=name)
        unless_gone(lambda: client.delete_role(RoleName=call.id))


class RolePolicy(ResourceType):
    """`aws:iam/rolePolicy:RolePolicy`; the id is `role:name`."""

    token = "aws:iam/rolePolicy:RolePolicy"
    spec = "name! namePrefix! role! policy:json"
    auto = AutoName("name", 128)
    regional = False
    import_id = "role:name"

    def create(self, call: Call) -> Made:
        call.client("iam").put_role_policy(
            RoleName=call.inputs["role"], PolicyName=call.inputs["name"], PolicyDocument=call.inputs["policy"]
        )
        return f"{call.inputs['role']}:{call.inputs['name']}", {"name": call.inputs["name"]}

    def read(self, call: Call) -> dict[str, Any] | None:
        role, _, name = call.id.partition(":")
        answer = unless_gone(lambda: call.client("iam").get_role_policy(RoleName=role, PolicyName=name))
        return answer and {"role": role, "name": name, "policy": _document(answer["PolicyDocument"])}

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        role, _, name = call.id.partition(":")
        unless_gone(lambda: call.client("iam").delete_role_policy(RoleName=role, PolicyName=name))


class RolePolicyAttachment(ResourceType):
    """`aws:iam/rolePolicyAttachment:RolePolicyAttachment`; the id is `role/policy-arn`."""

    token = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    spec = "role! policyArn!"
    regional = False
    import_id = "role/policy-arn"

    def create(self, call: Call) -> Made:
        call.client("iam").attach_role_policy(
            RoleName=call.inputs["role"], PolicyArn=call.inputs["policyArn"]
        )
        return f"{call.inputs['role']}/{call.inputs['policyArn']}", {}

    def read(self, call: Call) -> dict[str, Any] | None:
        role, _, arn = call.id.partition("/")
        pages = call.client("iam").get_paginator("list_attached_role_policies")
        answer = unless_gone(lambda: pages.paginate(RoleName=role).build_full_result())
        if answer is None or arn not in {p["PolicyArn"] for p in answer["AttachedPolicies"]}:
            return None
        return {"role": role, "policyArn": arn}

    def delete(self, call: Call) -> None:
        role, _, arn = call.id.partition("/")
        unless_gone(lambda: call.client("iam").detach_role_policy(RoleName=role, PolicyArn=arn))


class Policy(ResourceType):
    """`aws:iam/policy:Policy`; the id is the ARN."""

    token = "aws:iam/policy:Policy"
    spec = 'name! namePrefix! path!="/" description! policy:json tags'
    auto = AutoName("name", 128)
    regional = False
    import_id = "the policy's ARN"

    def create(self, call: Call) -> Made:
        answer = call.client("iam").create_policy(
            PolicyName=call.inputs["name"],
            PolicyDocument=call.inputs["policy"],
            Tags=tag_list(call.tags),
            **fill(self, call.inputs, "path", "description"),
        )["Policy"]
        return answer["Arn"], {
            "arn": answer["Arn"],
            "name": answer["PolicyName"],
            "policyId": answer["PolicyId"],
            "attachmentCount": 0,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("iam")
        answer = unless_gone(lambda: client.get_policy(PolicyArn=call.id))
        if answer is None:
            return None
        policy = answer["Policy"]
        version = client.get_policy_version(PolicyArn=call.id, VersionId=policy["DefaultVersionId"])
        return {
            "arn": call.id,
            "name": policy["PolicyName"],
            "path": policy["Path"],
            "description": policy.get("Description", ""),
            "policyId": policy["PolicyId"],
            "attachmentCount": policy.get("AttachmentCount", 0),
            "policy": _document(version["PolicyVersion"]["Document"]),
            "tags": tag_map(client.list_policy_tags(PolicyArn=call.id).get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("iam")
        if "policy" in call.changed:
            versions = client.list_policy_versions(PolicyArn=call.id)["Versions"]
            spare = sorted((v for v in versions if not v["IsDefaultVersion"]), key=lambda v: v["CreateDate"])
            # IAM keeps five versions of a policy at most.
            if len(versions) >= 5:
                client.delete_policy_version(PolicyArn=call.id, VersionId=spare[0]["VersionId"])
            client.create_policy_version(
                PolicyArn=call.id, PolicyDocument=call.inputs["policy"], SetAsDefault=True
            )
        _retag(call, "policy", PolicyArn=call.id)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("iam")
        answer = unless_gone(lambda: client.list_policy_versions(PolicyArn=call.id))
        for version in (answer or {}).get("Versions", []):
            if not version["IsDefaultVersion"]:
                client.delete_policy_version(PolicyArn=call.id, VersionId=version["VersionId"])
        unless_gone(lambda: client.delete_policy(PolicyArn=call.id))


class InstanceProfile(ResourceType):
    """`aws:iam/instanceProfile:InstanceProfile`; the id is the name."""

    token = "aws:iam/instanceProfile:InstanceProfile"
    spec = 'name! namePrefix! path!="/" role tags'
    auto = AutoName("name", 128)
    regional = False
    import_id = "the profile's name"

    def create(self, call: Call) -> Made:
        client = call.client("iam")
        answer = client.create_instance_profile(
            InstanceProfileName=call.inputs["name"],
            Tags=tag_list(call.tags),
            **fill(self, call.inputs, "path"),
        )["InstanceProfile"]
        if call.get("role"):
            client.add_role_to_instance_profile(
                InstanceProfileName=call.inputs["name"], RoleName=call.inputs["role"]
            )
        return call.inputs["name"], self._chosen(answer)

    def _chosen(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": answer["Arn"],
            "name": answer["InstanceProfileName"],
            "uniqueId": answer["InstanceProfileId"],
            "createDate": answer["CreateDate"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(lambda: call.client("iam").get_instance_profile(InstanceProfileName=call.id))
        if answer is None:
            return None
        profile = answer["InstanceProfile"]
        return {
            **self._chosen(profile),
            "path": profile["Path"],
            "role": profile["Roles"][0]["RoleName"] if profile.get("Roles") else None,
            "tags": tag_map(profile.get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("iam")
        if "role" in call.changed:
            if call.old.get("role"):
                client.remove_role_from_instance_profile(
                    InstanceProfileName=call.id, RoleName=call.old["role"]
                )
            if call.get("role"):
                client.add_role_to_instance_profile(InstanceProfileName=call.id, RoleName=call.inputs["role"])
        _retag(call, "instance_profile", InstanceProfileName=call.id)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("iam")
        answer = unless_gone(lambda: client.get_instance_profile(InstanceProfileName=call.id))
        if answer is None:
            return
        for role in answer["InstanceProfile"].get("Roles", []):
            client.remove_role_from_instance_profile(InstanceProfileName=call.id, RoleName=role["RoleName"])
        unless_gone(lambda: client.delete_instance_profile(InstanceProfileName=call.id))


TYPES: tuple[type[ResourceType], ...] = (
    Role,
    RolePolicy,
    RolePolicyAttachment,
    Policy,
    InstanceProfile,
)
