"""ECS: task definitions."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
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
from keepwarm_localcloud.pulumi_types.fields import has_unknown

_AS_GIVEN = (
    "cpu",
    "memory",
    "executionRoleArn",
    "taskRoleArn",
    "ipcMode",
    "pidMode",
    "requiresCompatibilities",
    "placementConstraints",
    "runtimePlatform",
)
"""Properties that have the same form in the program, the request and the answer."""


def _api_volume(volume: dict[str, Any]) -> dict[str, Any]:
    """Convert a volume: the API calls the host's path by another name, and takes no absent settings."""
    wanted = {k: v for k, v in volume.items() if k not in ("hostPath", "configureAtLaunch") and v is not None}
    if volume.get("hostPath") is not None:
        wanted["host"] = {"sourcePath": volume["hostPath"]}
    if wanted.get("efsVolumeConfiguration"):
        wanted["efsVolumeConfiguration"] = {
            k: v for k, v in wanted["efsVolumeConfiguration"].items() if v is not None
        }
    return wanted


class TaskDefinition(ResourceType):
    """`aws:ecs/taskDefinition:TaskDefinition`; the id is the family; every change registers a new revision."""

    token = "aws:ecs/taskDefinition:TaskDefinition"
    spec = """family! containerDefinitions:json! cpu! memory! executionRoleArn! taskRoleArn! networkMode!? ipcMode!
        pidMode! requiresCompatibilities!~ volumes!~{name hostPath configureAtLaunch? efsVolumeConfiguration
        dockerVolumeConfiguration} placementConstraints!~ runtimePlatform! ephemeralStorage!
        enableFaultInjection!? skipDestroy=false trackLatest=false tags"""
    import_id = "the task definition's ARN"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        name = "containerDefinitions"
        if has_unknown(inputs[name]):
            return []
        try:
            containers = json.loads(inputs[name])
        except ValueError as error:
            return [
                (name, f"KW634 got text that is not JSON ({error}); allowed a list of containers as JSON")
            ]
        if not isinstance(containers, list) or not containers:
            return [(name, "KW634 got no container; allowed a list of at least one container as JSON")]
        return []

    def create(self, call: Call) -> Made:
        arguments = fill(self, call.inputs, *_AS_GIVEN, "networkMode", "enableFaultInjection", upper=False)
        if call.get("ephemeralStorage"):
            arguments["ephemeralStorage"] = {"sizeInGiB": call.inputs["ephemeralStorage"]["sizeInGib"]}
        if call.get("volumes"):
            arguments["volumes"] = [_api_volume(v) for v in call.inputs["volumes"]]
        if call.tags:
            arguments["tags"] = api_tags(call.tags)
        answer = call.client("ecs").register_task_definition(
            family=call.inputs["family"],
            containerDefinitions=json.loads(call.inputs["containerDefinitions"]),
            **arguments,
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
            **take(self, definition, *_AS_GIVEN, upper=False),
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
