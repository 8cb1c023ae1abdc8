"""CloudWatch Logs: log groups and metric filters."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_map,
)


class LogGroup(ResourceType):
    """`aws:cloudwatch/logGroup:LogGroup`; the id is the name."""

    token = "aws:cloudwatch/logGroup:LogGroup"
    spec = """name! namePrefix! kmsKeyId retentionInDays=0 logGroupClass!? skipDestroy=false
        tags"""
    auto = AutoName("name", 512)
    import_id = "the log group's name"

    def create(self, call: Call) -> Made:
        client = call.client("logs")
        name = call.inputs["name"]
        client.create_log_group(
            logGroupName=name,
            **fill(self, call.inputs, "kmsKeyId", "logGroupClass", upper=False),
            **({"tags": call.tags} if call.tags else {}),
        )
        if call.get("retentionInDays"):
            client.put_retention_policy(logGroupName=name, retentionInDays=call.inputs["retentionInDays"])
        return name, {
            "arn": call.arn("logs", f"log-group:{name}"),
            "name": name,
            "region": call.region,
            "logGroupClass": call.get("logGroupClass", "STANDARD"),
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("logs")
        pages = client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=call.id)
        group = next((g for page in pages for g in page["logGroups"] if g["logGroupName"] == call.id), None)
        if group is None:
            return None
        arn = call.arn("logs", f"log-group:{call.id}")
        return {
            "arn": arn,
            "name": call.id,
            "region": call.region,
            "retentionInDays": group.get("retentionInDays", 0),
            "kmsKeyId": group.get("kmsKeyId"),
            "logGroupClass": group.get("logGroupClass", "STANDARD"),
            "skipDestroy": call.old.get("skipDestroy", False),
            "tags": tag_map(client.list_tags_for_resource(resourceArn=arn).get("tags", {})),
        }

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("logs")
        if "retentionInDays" in call.changed:
            if call.get("retentionInDays"):
                client.put_retention_policy(
                    logGroupName=call.id, retentionInDays=call.inputs["retentionInDays"]
                )
            else:
                client.delete_retention_policy(logGroupName=call.id)
        if "kmsKeyId" in call.changed:
            if call.get("kmsKeyId"):
                client.associate_kms_key(logGroupName=call.id, kmsKeyId=call.inputs["kmsKeyId"])
            else:
                client.disassociate_kms_key(logGroupName=call.id)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(resourceArn=call.old["arn"], tagKeys=removed)
            if added:
                client.tag_resource(resourceArn=call.old["arn"], tags=added)
        return {}

    def delete(self, call: Call) -> None:
        if not call.old.get("skipDestroy"):
            unless_gone(lambda: call.client("logs").delete_log_group(logGroupName=call.id))


class LogMetricFilter(ResourceType):
    """`aws:cloudwatch/logMetricFilter:LogMetricFilter`; the id is the name."""

    token = "aws:cloudwatch/logMetricFilter:LogMetricFilter"
    spec = "name! logGroupName! pattern metricTransformation"
    auto = AutoName("name", 512)
    import_id = "log-group:name"

    def create(self, call: Call) -> Made:
        transformation = call.inputs["metricTransformation"]
        wanted: dict[str, Any] = {
            "metricName": transformation["name"],
            "metricNamespace": transformation["namespace"],
            "metricValue": transformation["value"],
            "unit": transformation.get("unit", "None"),
        }
        if transformation.get("defaultValue") is not None:
            wanted["defaultValue"] = float(transformation["defaultValue"])
        if transformation.get("dimensions"):
            wanted["dimensions"] = transformation["dimensions"]
        call.client("logs").put_metric_filter(
            logGroupName=call.inputs["logGroupName"],
            filterName=call.inputs["name"],
            filterPattern=call.inputs["pattern"],
            metricTransformations=[wanted],
        )
        return call.inputs["name"], {"name": call.inputs["name"], "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        group = call.old.get("logGroupName")
        name = call.old.get("name") or call.id
        if not group:
            group, _, name = call.id.rpartition(":")
        answer = unless_gone(
            lambda: call.client("logs").describe_metric_filters(logGroupName=group, filterNamePrefix=name)
        )
        for found in (answer or {}).get("metricFilters", []):
            if found["filterName"] == name:
                first = found["metricTransformations"][0]
                transformation = {
                    "name": first["metricName"],
                    "namespace": first["metricNamespace"],
                    "value": first["metricValue"],
                }
                if first.get("unit") not in (None, "None"):
                    transformation["unit"] = first["unit"]
                if first.get("defaultValue") is not None:
                    transformation["defaultValue"] = f"{first['defaultValue']:g}"
                if first.get("dimensions"):
                    transformation["dimensions"] = first["dimensions"]
                return {
                    "name": name,
                    "logGroupName": group,
                    "pattern": found["filterPattern"],
                    "metricTransformation": transformation,
                    "region": call.region,
                }
        return None

    def update(self, call: Call) -> dict[str, Any]:
        self.delete(call)
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(
            lambda: call.client("logs").delete_metric_filter(
                logGroupName=call.old["logGroupName"], filterName=call.old["name"]
            )
        )


TYPES: tuple[type[ResourceType], ...] = (
    LogGroup,
    LogMetricFilter,
)
