"""EventBridge Scheduler: schedules and their groups."""
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


class Schedule(ResourceType):
    """`aws:scheduler/schedule:Schedule`; the id is `group/name`."""

    token = "aws:scheduler/schedule:Schedule"
    spec = """name! namePrefix! groupName!="default" scheduleExpression scheduleExpressionTimezone="UTC"
        flexibleTimeWindow target{arn roleArn input deadLetterConfig retryPolicy? sqsParameters
        eventbridgeParameters ecsParameters} state="ENABLED" description startDate endDate kmsKeyArn
        actionAfterCompletion?"""
    auto = AutoName("name", 64)
    import_id = "group/name"

    def _settings(self, call: Call) -> dict[str, Any]:
        arguments = fill(
            self,
            call.inputs,
            *("scheduleExpression", "scheduleExpressionTimezone", "flexibleTimeWindow", "target", "state"),
            *("description", "startDate", "endDate", "kmsKeyArn", "actionAfterCompletion"),
            names={"eventbridgeParameters": "EventBridgeParameters"},
        )
        return arguments

    def create(self, call: Call) -> Made:
        group, name = call.inputs["groupName"], call.inputs["name"]
        call.client("scheduler").create_schedule(Name=name, GroupName=group, **self._settings(call))
        return f"{group}/{name}", {
            "name": name,
            "arn": call.arn("scheduler", f"schedule/{group}/{name}"),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        group, _, name = call.id.partition("/")
        answer = unless_gone(lambda: call.client("scheduler").get_schedule(Name=name, GroupName=group))
        if answer is None:
            return None
        found = take(
            self,
            answer,
            *("scheduleExpression", "scheduleExpressionTimezone", "flexibleTimeWindow", "target", "state"),
            *("description", "kmsKeyArn", "actionAfterCompletion"),
            names={"eventbridgeParameters": "EventBridgeParameters"},
        )
        for mine in ("startDate", "endDate"):
            if call.old.get(mine):
                found[mine] = call.old[mine]
        return {
            **found,
            "name": name,
            "groupName": group,
            "arn": call.arn("scheduler", f"schedule/{group}/{name}"),
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        group, _, name = call.id.partition("/")
        call.client("scheduler").update_schedule(Name=name, GroupName=group, **self._settings(call))
        return {}

    def delete(self, call: Call) -> None:
        group, _, name = call.id.partition("/")
        unless_gone(lambda: call.client("scheduler").delete_schedule(Name=name, GroupName=group))


class ScheduleGroup(ResourceType):
    """`aws:scheduler/scheduleGroup:ScheduleGroup`; the id is the name."""

    token = "aws:scheduler/scheduleGroup:ScheduleGroup"
    spec = "name! namePrefix! tags"
    auto = AutoName("name", 64)
    import_id = "the group's name"

    def create(self, call: Call) -> Made:
        name = call.inputs["name"]
        call.client("scheduler").create_schedule_group(
            Name=name, **({"Tags": tag_list(call.tags)} if call.tags else {})
        )
        arn = call.arn("scheduler", f"schedule-group/{name}")
        return name, {"name": name, "arn": arn, "state": "ACTIVE", "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("scheduler")
        answer = unless_gone(lambda: client.get_schedule_group(Name=call.id))
        if answer is None or answer.get("State") == "DELETING":
            return None
        arn = call.arn("scheduler", f"schedule-group/{call.id}")
        return {
            "name": call.id,
            "arn": arn,
            "state": answer.get("State", "ACTIVE"),
            "creationDate": stamp_z(answer.get("CreationDate")),
            "lastModificationDate": stamp_z(answer.get("LastModificationDate")),
            "region": call.region,
            "tags": tag_map(client.list_tags_for_resource(ResourceArn=arn).get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        added, removed = tag_changes(call)
        if removed:
            call.client("scheduler").untag_resource(ResourceArn=call.old["arn"], TagKeys=removed)
        if added:
            call.client("scheduler").tag_resource(ResourceArn=call.old["arn"], Tags=tag_list(added))
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("scheduler")
        if unless_gone(lambda: client.get_schedule_group(Name=call.id)) is not None:
            unless_gone(lambda: client.delete_schedule_group(Name=call.id))


TYPES: tuple[type[ResourceType], ...] = (
    Schedule,
    ScheduleGroup,
)
