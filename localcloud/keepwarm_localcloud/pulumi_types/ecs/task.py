"""ECS: task definitions."""
# What the four operations do is said once, in base.ResourceType; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_map,
    take,
)
from keepwarm_localcloud.pulumi_types.ecs.tags import api_tags, retag
from keepwarm_localcloud.pulumi_types.errors import ResourceError


class TaskDefinition(ResourceType):
    """`aws:ecs/taskDefinition:TaskDefinition`; the id is the family; every change registers a new revision."""

    token = "aws:ecs/taskDefinition:TaskDefinition"
    spec = """family! containerDefinitions:json! cpu! memory! executionRoleArn! taskRoleArn! networkMode!? ipcMode!
        pidMode! requiresCompatibilities!~ volumes!~{name hostPath configureAtLaunch? efsVolumeConfiguration
        dockerVolumeConfiguration} placementConstraints!~ runtimePlatform! ephemeralStorage! proxyConfiguration!
        enableFaultInjection!? skipDestroy=false trackLatest=false tags"""
    import_id = "the task definition's ARN"

    def create(self, call: Call) -> Made:
        try:
            containers = json.loads(call.inputs["containerDefinitions"])
        except ValueError as error:
            raise ResourceError(
                "KW634", f"containerDefinitions: got text that is not JSON: {error}"
            ) from error
        arguments = fill(
            self,
            call.inputs,
            *(
                "family",
                "cpu",
                "memory",
                "executionRoleArn",
                "taskRoleArn",
                "networkMode",
                "ipcMode",
                "pidMode",
            ),
            *("requiresCompatibilities", "placementConstraints", "runtimePlatform", "enableFaultInjection"),
            upper=False,
        )
        if call.get("ephemeralStorage"):
            arguments["ephemeralStorage"] = {"sizeInGiB": call.inputs["ephemeralStorage"]["sizeInGib"]}
        volumes = []
        for volume in call.get("volumes", []):
            wanted = {
                k: v
                for k, v in volume.items()
                if k not in ("hostPath", "configureAtLaunch") and v is not None
            }
            if volume.get("hostPath") is not None:
                wanted["host"] = {"sourcePath": volume["hostPath"]}
            efs = wanted.get("efsVolumeConfiguration")
            if efs:
                wanted["efsVolumeConfiguration"] = {
                    ("fileSystemId" if k == "fileSystemId" else k): v for k, v in efs.items() if v is not None
                }
            volumes.append(wanted)
        if volumes:
            arguments["volumes"] = volumes
        answer = call.client("ecs").register_task_definition(
            containerDefinitions=containers,
            **arguments,
            **({"tags": api_tags(call.tags)} if call.tags else {}),
        )["taskDefinition"]
        return call.inputs["family"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        arn = answer["taskDefinitionArn"]
        return {
            "arn": arn,
            "arnWithoutRevision": arn.rpartition(":")[0],
            "revision": answer["revision"],
            "region": call.region,
            "networkMode": answer.get("networkMode", "bridge"),
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        arn = call.old.get("arn") or call.id
        answer = unless_gone(
            lambda: call.client("ecs").describe_task_definition(taskDefinition=arn, include=["TAGS"])
        )
        if answer is None or answer["taskDefinition"].get("status") == "INACTIVE":
            return None
        definition = answer["taskDefinition"]
        found = {
            **self._chosen(call, definition),
            "id": definition["family"],
            "family": definition["family"],
            "skipDestroy": call.old.get("skipDestroy", False),
            "trackLatest": call.old.get("trackLatest", False),
            "tags": tag_map(answer.get("tags"), "key", "value"),
            **take(
                self,
                definition,
                *("cpu", "memory", "executionRoleArn", "taskRoleArn", "ipcMode", "pidMode"),
                *("requiresCompatibilities", "placementConstraints", "runtimePlatform"),
                upper=False,
            ),
        }
        if definition.get("ephemeralStorage"):
            found["ephemeralStorage"] = {"sizeInGib": definition["ephemeralStorage"]["sizeInGiB"]}
        # A revision never changes: what was registered under this ARN is what it says.
        for mine in ("containerDefinitions", "volumes"):
            found[mine] = call.old.get(mine)
        if found["containerDefinitions"] is None:
            found["containerDefinitions"] = json.dumps(definition["containerDefinitions"])
        return found

    def update(self, call: Call) -> dict[str, Any]:
        retag(call, call.old["arn"])
        return {}

    def delete(self, call: Call) -> None:
        if call.old.get("skipDestroy"):
            return
        unless_gone(lambda: call.client("ecs").deregister_task_definition(taskDefinition=call.old["arn"]))
