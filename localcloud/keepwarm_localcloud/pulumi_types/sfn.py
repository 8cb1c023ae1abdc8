"""Step Functions: state machines."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    stamp_z,
    tag_changes,
    tag_list,
    tag_map,
    take,
)


class StateMachine(ResourceType):
    """`aws:sfn/stateMachine:StateMachine`; the id is the ARN."""

    token = "aws:sfn/stateMachine:StateMachine"
    spec = """name! namePrefix! definition:json roleArn type!="STANDARD" loggingConfiguration? tracingConfiguration?
        encryptionConfiguration? publish=false tags"""
    auto = AutoName("name", 80)
    moves = ("revisionId", "stateMachineVersionArn")
    import_id = "the state machine's ARN"

    def _settings(self, call: Call) -> dict[str, Any]:
        arguments = fill(self, call.inputs, "definition", "roleArn", upper=False)
        logging = call.get("loggingConfiguration")
        if logging:
            wanted: dict[str, Any] = {
                "level": logging.get("level", "OFF"),
                "includeExecutionData": bool(logging.get("includeExecutionData")),
            }
            if logging.get("logDestination"):
                group = {"logGroupArn": logging["logDestination"]}
                wanted["destinations"] = [{"cloudWatchLogsLogGroup": group}]
            arguments["loggingConfiguration"] = wanted
        if call.get("tracingConfiguration"):
            arguments["tracingConfiguration"] = {
                "enabled": bool(call.inputs["tracingConfiguration"].get("enabled"))
            }
        if call.get("encryptionConfiguration"):
            arguments.update(fill(self, call.inputs, "encryptionConfiguration", upper=False))
        if call.get("publish"):
            arguments["publish"] = True
        return arguments

    def create(self, call: Call) -> Made:
        client = call.client("stepfunctions")
        answer = client.create_state_machine(
            name=call.inputs["name"],
            type=call.inputs["type"],
            tags=tag_list(call.tags, "key", "value"),
            **self._settings(call),
        )
        arn = answer["stateMachineArn"]
        return arn, {
            "arn": arn,
            "name": call.inputs["name"],
            "creationDate": stamp_z(answer.get("creationDate")),
            "status": "ACTIVE",
            "stateMachineVersionArn": answer.get("stateMachineVersionArn", ""),
            "revisionId": "",
            "description": "",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("stepfunctions")
        answer = unless_gone(lambda: client.describe_state_machine(stateMachineArn=call.id))
        if answer is None or answer.get("status") == "DELETING":
            return None
        found = {
            "arn": call.id,
            "name": answer["name"],
            "definition": answer["definition"],
            "roleArn": answer["roleArn"],
            "type": answer.get("type", "STANDARD"),
            "creationDate": stamp_z(answer.get("creationDate")),
            "status": answer.get("status", "ACTIVE"),
            "revisionId": answer.get("revisionId", ""),
            "stateMachineVersionArn": call.old.get("stateMachineVersionArn", ""),
            "publish": call.old.get("publish", False),
            "region": call.region,
            "tags": tag_map(client.list_tags_for_resource(resourceArn=call.id).get("tags"), "key", "value"),
        }
        logging = answer.get("loggingConfiguration") or {}
        if logging.get("level"):
            destinations = logging.get("destinations") or []
            found["loggingConfiguration"] = {
                "level": logging["level"],
                "includeExecutionData": logging.get("includeExecutionData", False),
            }
            if destinations:
                found["loggingConfiguration"]["logDestination"] = destinations[0]["cloudWatchLogsLogGroup"][
                    "logGroupArn"
                ]
        if answer.get("tracingConfiguration"):
            found["tracingConfiguration"] = {"enabled": answer["tracingConfiguration"].get("enabled", False)}
        if answer.get("encryptionConfiguration"):
            found.update(take(self, answer, "encryptionConfiguration", upper=False))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("stepfunctions")
        outputs: dict[str, Any] = {}
        if call.changed - {"tags"}:
            answer = client.update_state_machine(stateMachineArn=call.id, **self._settings(call))
            outputs = {
                "revisionId": answer.get("revisionId", ""),
                "stateMachineVersionArn": answer.get("stateMachineVersionArn", ""),
            }
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(resourceArn=call.id, tagKeys=removed)
            if added:
                client.tag_resource(resourceArn=call.id, tags=tag_list(added, "key", "value"))
        return outputs

    def delete(self, call: Call) -> None:
        client = call.client("stepfunctions")
        if unless_gone(lambda: client.delete_state_machine(stateMachineArn=call.id)) is None:
            return

        def probe() -> bool | None:
            found = unless_gone(lambda: client.describe_state_machine(stateMachineArn=call.id))
            return True if found is None else None

        call.deadline.wait(f"state machine {call.id} to be gone", probe)


TYPES: tuple[type[ResourceType], ...] = (StateMachine,)
