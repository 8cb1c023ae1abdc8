"""Lambda: event source mappings."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    stamp,
    tag_changes,
    tag_map,
    take,
)

_MAPPING = (
    "batchSize",
    "maximumBatchingWindowInSeconds",
    "functionResponseTypes",
    "scalingConfig",
    "filterCriteria",
    "destinationConfig",
    "maximumRecordAgeInSeconds",
    "maximumRetryAttempts",
    "bisectBatchOnFunctionError",
    "parallelizationFactor",
    "tumblingWindowInSeconds",
    "metricsConfig",
    "provisionedPollerConfig",
    "kmsKeyArn",
    "enabled",
)


class EventSourceMapping(ResourceType):
    """`aws:lambda/eventSourceMapping:EventSourceMapping`; the id is the UUID."""

    token = "aws:lambda/eventSourceMapping:EventSourceMapping"
    spec = """eventSourceArn! functionName batchSize? maximumBatchingWindowInSeconds functionResponseTypes~
        enabled=true scalingConfig filterCriteria filterCriteria.filters~ destinationConfig maximumRecordAgeInSeconds?
        maximumRetryAttempts? bisectBatchOnFunctionError parallelizationFactor? tumblingWindowInSeconds
        startingPosition! startingPositionTimestamp! metricsConfig provisionedPollerConfig kmsKeyArn tags
        useResourceTimeoutForPropagation"""
    moves = ("state", "lastModified", "stateTransitionReason", "functionArn")
    import_id = "the mapping's UUID"

    def _arguments(self, call: Call, names: frozenset[str] | None = None) -> dict[str, Any]:
        wanted = [n for n in _MAPPING if names is None or n in names]
        arguments = fill(self, call.inputs, *wanted, names={"kmsKeyArn": "KMSKeyArn"})
        if names is not None:
            if "scalingConfig" in names and call.get("scalingConfig") is None:
                arguments["ScalingConfig"] = {}
            if "functionResponseTypes" in names and call.get("functionResponseTypes") is None:
                arguments["FunctionResponseTypes"] = []
            if "filterCriteria" in names and call.get("filterCriteria") is None:
                arguments["FilterCriteria"] = {}
            if "destinationConfig" in names and call.get("destinationConfig") is None:
                arguments["DestinationConfig"] = {"OnFailure": {}}
            if "metricsConfig" in names and call.get("metricsConfig") is None:
                arguments["MetricsConfig"] = {}
            window = "maximumBatchingWindowInSeconds"
            if window in names and call.get(window) is None:
                arguments["MaximumBatchingWindowInSeconds"] = 0
        return arguments

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        modified = answer.get("LastModified")
        return {
            "uuid": answer["UUID"],
            "arn": answer.get("EventSourceMappingArn")
            or call.arn("lambda", f"event-source-mapping:{answer['UUID']}"),
            "functionArn": answer["FunctionArn"],
            "state": answer.get("State", "Enabled"),
            "stateTransitionReason": answer.get("StateTransitionReason", ""),
            "lastProcessingResult": answer.get("LastProcessingResult", ""),
            "lastModified": stamp(modified),
            "batchSize": answer.get("BatchSize", 10),
            "maximumBatchingWindowInSeconds": answer.get("MaximumBatchingWindowInSeconds", 0),
            "region": call.region,
        }

    def create(self, call: Call) -> Made:
        arguments = self._arguments(call)
        if call.tags:
            arguments["Tags"] = call.tags
        arguments.update(fill(self, call.inputs, "startingPosition", "startingPositionTimestamp"))
        answer = call.client("lambda").create_event_source_mapping(
            EventSourceArn=call.inputs["eventSourceArn"],
            FunctionName=call.inputs["functionName"],
            **arguments,
        )
        outputs = self._chosen(call, answer)
        if answer.get("State") not in (None, "Enabled", "Disabled"):
            outputs["state"] = self._settled(call, answer["UUID"])
        return answer["UUID"], outputs

    def _settled(self, call: Call, uuid: str) -> str:
        def probe() -> str | None:
            state = str(call.client("lambda").get_event_source_mapping(UUID=uuid).get("State", "Enabled"))
            return None if state in ("Creating", "Enabling", "Disabling", "Updating", "Deleting") else state

        return call.deadline.wait(f"event source mapping {uuid} to settle", probe)

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("lambda")
        answer = unless_gone(lambda: client.get_event_source_mapping(UUID=call.id))
        if answer is None or answer.get("State") == "Deleting":
            return None
        found = {
            **self._chosen(call, answer),
            **take(
                self,
                answer,
                *(n for n in _MAPPING if n not in ("enabled", "kmsKeyArn")),
                "eventSourceArn",
                "startingPosition",
            ),
            "enabled": answer.get("State") not in ("Disabled", "Disabling"),
        }
        given = str(call.old.get("functionName") or "")
        arn = answer["FunctionArn"]
        tail = arn.split(":function:")[-1]
        found["functionName"] = given if given in (arn, tail, tail.split(":")[0]) and given else arn
        if not found.get("destinationConfig", {}).get("onFailure"):
            found.pop("destinationConfig", None)
        tags = unless_gone(lambda: client.list_tags(Resource=found["arn"]))
        found["tags"] = tag_map((tags or {}).get("Tags"))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("lambda")
        arguments = self._arguments(call, call.changed - {"tags"})
        if "functionName" in call.changed:
            arguments["FunctionName"] = call.inputs["functionName"]
        outputs: dict[str, Any] = {}
        if arguments:
            answer = client.update_event_source_mapping(UUID=call.id, **arguments)
            outputs = self._chosen(call, answer)
            if answer.get("State") not in (None, "Enabled", "Disabled"):
                outputs["state"] = self._settled(call, call.id)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(Resource=call.old["arn"], TagKeys=removed)
            if added:
                client.tag_resource(Resource=call.old["arn"], Tags=added)
        return outputs

    def delete(self, call: Call) -> None:
        client = call.client("lambda")
        if unless_gone(lambda: client.delete_event_source_mapping(UUID=call.id)) is None:
            return

        def probe() -> bool | None:
            return (
                True if unless_gone(lambda: client.get_event_source_mapping(UUID=call.id)) is None else None
            )

        call.deadline.wait(f"event source mapping {call.id} to be gone", probe)
