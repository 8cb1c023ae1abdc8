"""EventBridge: rules and targets."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_list,
    tag_map,
    take,
)


class EventRule(ResourceType):
    """`aws:cloudwatch/eventRule:EventRule`; the id is the name, with the bus in front when it is not `default`."""

    token = "aws:cloudwatch/eventRule:EventRule"
    spec = """name! namePrefix! eventBusName!="default" description eventPattern:json scheduleExpression roleArn
        state? isEnabled? forceDestroy=false tags"""
    auto = AutoName("name", 64)
    import_id = "name or bus/name"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        if not inputs.get("eventPattern") and not inputs.get("scheduleExpression"):
            return [
                (
                    "eventPattern",
                    "KW634 got neither eventPattern nor scheduleExpression; allowed at least one",
                )
            ]
        return []

    def _state(self, call: Call) -> str:
        enabled = call.get("isEnabled")
        return str(call.get("state") or ("DISABLED" if enabled is False else "ENABLED"))

    def _put(self, call: Call, *, tags: bool) -> None:
        call.client("events").put_rule(
            Name=call.inputs["name"],
            EventBusName=call.inputs["eventBusName"],
            State=self._state(call),
            **fill(self, call.inputs, "description", "eventPattern", "scheduleExpression", "roleArn"),
            **({"Tags": tag_list(call.tags)} if tags and call.tags else {}),
        )

    def _arn(self, call: Call, bus: str, name: str) -> str:
        return call.arn("events", f"rule/{name}" if bus == "default" else f"rule/{bus}/{name}")

    def create(self, call: Call) -> Made:
        self._put(call, tags=True)
        bus, name = call.inputs["eventBusName"], call.inputs["name"]
        id_ = name if bus == "default" else f"{bus}/{name}"
        return id_, {
            "name": name,
            "arn": self._arn(call, bus, name),
            "region": call.region,
            "state": self._state(call),
            "isEnabled": self._state(call) != "DISABLED",
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        bus, _, name = call.id.rpartition("/")
        bus = bus or "default"
        client = call.client("events")
        answer = unless_gone(lambda: client.describe_rule(Name=name, EventBusName=bus))
        if answer is None:
            return None
        arn = self._arn(call, bus, name)
        return {
            "name": name,
            "eventBusName": bus,
            "arn": arn,
            "region": call.region,
            "state": answer["State"],
            "isEnabled": answer["State"] != "DISABLED",
            "forceDestroy": call.old.get("forceDestroy", False),
            "tags": tag_map(client.list_tags_for_resource(ResourceARN=arn).get("Tags")),
            **take(self, answer, "description", "eventPattern", "scheduleExpression", "roleArn"),
        }

    def update(self, call: Call) -> dict[str, Any]:
        self._put(call, tags=False)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                call.client("events").untag_resource(ResourceARN=call.old["arn"], TagKeys=removed)
            if added:
                call.client("events").tag_resource(ResourceARN=call.old["arn"], Tags=tag_list(added))
        return {"state": self._state(call), "isEnabled": self._state(call) != "DISABLED"}

    def delete(self, call: Call) -> None:
        bus, _, name = call.id.rpartition("/")
        unless_gone(lambda: call.client("events").delete_rule(Name=name, EventBusName=bus or "default"))


class EventTarget(ResourceType):
    """`aws:cloudwatch/eventTarget:EventTarget`; the id is `rule-target`."""

    token = "aws:cloudwatch/eventTarget:EventTarget"
    spec = """rule! targetId! arn eventBusName!="default" input inputPath inputTransformer roleArn deadLetterConfig
        retryPolicy sqsTarget forceDestroy=false"""
    auto = AutoName("targetId", 64)
    import_id = "rule/target or bus/rule/target"

    def _target(self, call: Call) -> dict[str, Any]:
        target = fill(
            self, call.inputs, "arn", "input", "inputPath", "roleArn", "deadLetterConfig", "retryPolicy"
        )
        target["Id"] = call.inputs["targetId"]
        if call.get("inputTransformer"):
            transformer = call.inputs["inputTransformer"]
            target["InputTransformer"] = {
                "InputTemplate": transformer["inputTemplate"],
                "InputPathsMap": transformer.get("inputPaths") or {},
            }
        if call.get("sqsTarget"):
            target["SqsParameters"] = {"MessageGroupId": call.inputs["sqsTarget"].get("messageGroupId", "")}
        return target

    def create(self, call: Call) -> Made:
        call.client("events").put_targets(
            Rule=call.inputs["rule"], EventBusName=call.inputs["eventBusName"], Targets=[self._target(call)]
        )
        return f"{call.inputs['rule']}-{call.inputs['targetId']}", {
            "targetId": call.inputs["targetId"],
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        rule, target_id = call.old.get("rule"), call.old.get("targetId")
        bus = call.old.get("eventBusName", "default")
        if not rule:
            *buses, rule, target_id = call.id.split("/")
            bus = buses[0] if buses else "default"
        answer = unless_gone(lambda: call.client("events").list_targets_by_rule(Rule=rule, EventBusName=bus))
        for target in (answer or {}).get("Targets", []):
            if target["Id"] == target_id:
                found = {
                    "rule": rule,
                    "targetId": target_id,
                    "eventBusName": bus,
                    "region": call.region,
                    "forceDestroy": call.old.get("forceDestroy", False),
                    **take(
                        self,
                        target,
                        "arn",
                        "input",
                        "inputPath",
                        "roleArn",
                        "deadLetterConfig",
                        "retryPolicy",
                    ),
                }
                if target.get("InputTransformer"):
                    found["inputTransformer"] = {
                        "inputTemplate": target["InputTransformer"]["InputTemplate"],
                        "inputPaths": target["InputTransformer"].get("InputPathsMap"),
                    }
                if target.get("SqsParameters"):
                    found["sqsTarget"] = {"messageGroupId": target["SqsParameters"].get("MessageGroupId", "")}
                return found
        return None

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(
            lambda: call.client("events").remove_targets(
                Rule=call.old["rule"],
                EventBusName=call.old.get("eventBusName", "default"),
                Ids=[call.old["targetId"]],
            )
        )


TYPES: tuple[type[ResourceType], ...] = (
    EventRule,
    EventTarget,
)
