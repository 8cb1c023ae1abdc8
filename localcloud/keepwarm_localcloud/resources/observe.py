"""CloudWatch logs, alarms, dashboards; EventBridge rules; DynamoDB, Secrets Manager, SSM parameters, ECR."""
# What the four operations do is said once, in base.ResourceType; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
from typing import Any

from keepwarm_localcloud.resources.base import (
    AutoName,
    Call,
    Made,
    ResourceType,
    fill,
    tag_changes,
    tag_list,
    tag_map,
    take,
    unless_gone,
)


class LogGroup(ResourceType):
    """`aws:cloudwatch/logGroup:LogGroup`; the id is the name."""

    token = "aws:cloudwatch/logGroup:LogGroup"
    spec = """name! namePrefix! kmsKeyId retentionInDays=0 logGroupClass!? skipDestroy=false
        deletionProtectionEnabled? tags"""
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


_ALARM = (
    "comparisonOperator",
    "evaluationPeriods",
    "datapointsToAlarm",
    "threshold",
    "metricName",
    "namespace",
    "period",
    "statistic",
    "extendedStatistic",
    "unit",
    "treatMissingData",
    "actionsEnabled",
    "alarmActions",
    "okActions",
    "insufficientDataActions",
    "alarmDescription",
    "thresholdMetricId",
)
_ALARM_NAMES = {"okActions": "OKActions"}


class MetricAlarm(ResourceType):
    """`aws:cloudwatch/metricAlarm:MetricAlarm`; the id is the name."""

    token = "aws:cloudwatch/metricAlarm:MetricAlarm"
    spec = """name! comparisonOperator evaluationPeriods datapointsToAlarm threshold metricName namespace period
        statistic extendedStatistic unit treatMissingData="missing" actionsEnabled=true alarmActions~ okActions~
        insufficientDataActions~ alarmDescription dimensions metricQueries~{id accountId expression label metric
        period returnData} thresholdMetricId evaluateLowSampleCountPercentiles? tags"""
    auto = AutoName("name", 255)
    import_id = "the alarm's name"

    def _put(self, call: Call, *, tags: bool) -> None:
        arguments = fill(self, call.inputs, *_ALARM, names=_ALARM_NAMES)
        if call.get("dimensions"):
            arguments["Dimensions"] = tag_list(call.inputs["dimensions"], "Name")
        queries = []
        for query in call.get("metricQueries", []):
            wanted = {k[0].upper() + k[1:]: v for k, v in query.items() if k != "metric" and v is not None}
            metric = query.get("metric")
            if metric:
                wanted["MetricStat"] = {
                    "Metric": {
                        "MetricName": metric["metricName"],
                        "Namespace": metric.get("namespace", ""),
                        "Dimensions": tag_list(metric.get("dimensions") or {}, "Name"),
                    },
                    "Period": metric["period"],
                    "Stat": metric["stat"],
                    **({"Unit": metric["unit"]} if metric.get("unit") else {}),
                }
            queries.append(wanted)
        if queries:
            arguments["Metrics"] = queries
        if tags and call.tags:
            arguments["Tags"] = tag_list(call.tags)
        call.client("cloudwatch").put_metric_alarm(AlarmName=call.inputs["name"], **arguments)

    def create(self, call: Call) -> Made:
        self._put(call, tags=True)
        name = call.inputs["name"]
        return name, {"name": name, "arn": call.arn("cloudwatch", f"alarm:{name}"), "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("cloudwatch")
        answer = client.describe_alarms(AlarmNames=[call.id], AlarmTypes=["MetricAlarm"])
        if not answer.get("MetricAlarms"):
            return None
        alarm = answer["MetricAlarms"][0]
        arn = call.arn("cloudwatch", f"alarm:{call.id}")
        found = {
            "name": call.id,
            "arn": arn,
            "region": call.region,
            "tags": tag_map(client.list_tags_for_resource(ResourceARN=arn).get("Tags")),
            **take(self, alarm, *_ALARM, names=_ALARM_NAMES),
        }
        found.setdefault("treatMissingData", "missing")
        if alarm.get("Dimensions"):
            found["dimensions"] = tag_map(alarm["Dimensions"], "Name")
        if alarm.get("Metrics"):
            found["metricQueries"] = [self._query(q) for q in alarm["Metrics"]]
            # With queries the top-level metric is not set, whatever the cloud fills in for it.
            for name in ("period", "statistic", "metricName", "namespace"):
                found.pop(name, None)
        return found

    def _query(self, query: dict[str, Any]) -> dict[str, Any]:
        wanted = {
            k[0].lower() + k[1:]: v for k, v in query.items() if k != "MetricStat" and v not in (None, "")
        }
        stat = query.get("MetricStat")
        if stat:
            metric: dict[str, Any] = {
                "metricName": stat["Metric"]["MetricName"],
                "namespace": stat["Metric"].get("Namespace"),
                "period": stat["Period"],
                "stat": stat["Stat"],
            }
            if stat["Metric"].get("Dimensions"):
                metric["dimensions"] = tag_map(stat["Metric"]["Dimensions"], "Name")
            if stat.get("Unit"):
                metric["unit"] = stat["Unit"]
            wanted["metric"] = metric
        return wanted

    def update(self, call: Call) -> dict[str, Any]:
        self._put(call, tags=False)
        _retag_cloudwatch(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("cloudwatch").delete_alarms(AlarmNames=[call.id]))


def _retag_cloudwatch(call: Call) -> None:
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    if removed:
        call.client("cloudwatch").untag_resource(ResourceARN=call.old["arn"], TagKeys=removed)
    if added:
        call.client("cloudwatch").tag_resource(ResourceARN=call.old["arn"], Tags=tag_list(added))


class Dashboard(ResourceType):
    """`aws:cloudwatch/dashboard:Dashboard`; the id is the name."""

    token = "aws:cloudwatch/dashboard:Dashboard"
    spec = "dashboardName! dashboardBody:json"
    auto = AutoName("dashboardName", 255)
    import_id = "the dashboard's name"

    def create(self, call: Call) -> Made:
        name = call.inputs["dashboardName"]
        call.client("cloudwatch").put_dashboard(
            DashboardName=name, DashboardBody=call.inputs["dashboardBody"]
        )
        return name, {
            "dashboardName": name,
            "dashboardArn": f"arn:aws:cloudwatch::{call.aws.account_id}:dashboard/{name}",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(lambda: call.client("cloudwatch").get_dashboard(DashboardName=call.id))
        return answer and {
            "dashboardName": call.id,
            "dashboardArn": f"arn:aws:cloudwatch::{call.aws.account_id}:dashboard/{call.id}",
            "dashboardBody": answer["DashboardBody"],
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("cloudwatch").delete_dashboards(DashboardNames=[call.id]))


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


class Table(ResourceType):
    """`aws:dynamodb/table:Table`; the id is the name."""

    token = "aws:dynamodb/table:Table"
    spec = """name! hashKey! rangeKey! attributes~ billingMode="PROVISIONED" readCapacity? writeCapacity? tableClass?
        streamEnabled streamViewType? ttl pointInTimeRecovery? serverSideEncryption deletionProtectionEnabled
        globalSecondaryIndexes~{hashKey name nonKeyAttributes~ projectionType rangeKey readCapacity?
        writeCapacity?} localSecondaryIndexes!~{name nonKeyAttributes~ projectionType rangeKey}
        onDemandThroughput tags"""
    auto = AutoName("name", 255)
    timeouts_s = (600.0, 600.0, 600.0)
    import_id = "the table's name"

    def _keys(self, hash_key: str, range_key: str | None) -> list[dict[str, str]]:
        keys = [{"AttributeName": hash_key, "KeyType": "HASH"}]
        if range_key:
            keys.append({"AttributeName": range_key, "KeyType": "RANGE"})
        return keys

    def _throughput(self, source: dict[str, Any]) -> dict[str, int]:
        return {
            "ReadCapacityUnits": source.get("readCapacity") or 1,
            "WriteCapacityUnits": source.get("writeCapacity") or 1,
        }

    def _index(self, call: Call, index: dict[str, Any], hash_key: str, *, own: bool) -> dict[str, Any]:
        projection: dict[str, Any] = {"ProjectionType": index["projectionType"]}
        if index.get("nonKeyAttributes"):
            projection["NonKeyAttributes"] = index["nonKeyAttributes"]
        made = {
            "IndexName": index["name"],
            "KeySchema": self._keys(hash_key, index.get("rangeKey")),
            "Projection": projection,
        }
        if own and call.inputs["billingMode"] == "PROVISIONED":
            made["ProvisionedThroughput"] = self._throughput(index)
        return made

    def _attributes(self, call: Call) -> list[dict[str, str]]:
        return [{"AttributeName": a["name"], "AttributeType": a["type"]} for a in call.get("attributes", [])]

    def create(self, call: Call) -> Made:
        client = call.client("dynamodb")
        name = call.inputs["name"]
        arguments: dict[str, Any] = {
            "TableName": name,
            "KeySchema": self._keys(call.inputs["hashKey"], call.get("rangeKey")),
            "AttributeDefinitions": self._attributes(call),
            "BillingMode": call.inputs["billingMode"],
            **fill(self, call.inputs, "tableClass", "deletionProtectionEnabled"),
        }
        if call.inputs["billingMode"] == "PROVISIONED":
            arguments["ProvisionedThroughput"] = self._throughput(call.inputs)
        if call.get("globalSecondaryIndexes"):
            arguments["GlobalSecondaryIndexes"] = [
                self._index(call, i, i["hashKey"], own=True) for i in call.inputs["globalSecondaryIndexes"]
            ]
        if call.get("localSecondaryIndexes"):
            arguments["LocalSecondaryIndexes"] = [
                self._index(call, i, call.inputs["hashKey"], own=False)
                for i in call.inputs["localSecondaryIndexes"]
            ]
        if call.get("streamEnabled"):
            arguments["StreamSpecification"] = {
                "StreamEnabled": True,
                **fill(self, call.inputs, "streamViewType"),
            }
        if call.get("serverSideEncryption"):
            arguments["SSESpecification"] = self._encryption(call)
        if call.tags:
            arguments["Tags"] = tag_list(call.tags)
        table = client.create_table(**arguments)["TableDescription"]
        if table.get("TableStatus") != "ACTIVE":
            self._active(call, name)
        self._settle(call, name, {"ttl", "pointInTimeRecovery"})
        return name, self._chosen(call, table)

    def _encryption(self, call: Call) -> dict[str, Any]:
        wanted = call.inputs["serverSideEncryption"]
        if not wanted.get("enabled"):
            return {"Enabled": False}
        key = {"KMSMasterKeyId": wanted["kmsKeyArn"]} if wanted.get("kmsKeyArn") else {}
        return {"Enabled": True, "SSEType": "KMS", **key}

    def _active(self, call: Call, name: str) -> None:
        def probe() -> bool | None:
            table = call.client("dynamodb").describe_table(TableName=name)["Table"]
            indexes = [i.get("IndexStatus", "ACTIVE") for i in table.get("GlobalSecondaryIndexes", [])]
            return True if table["TableStatus"] == "ACTIVE" and set(indexes) <= {"ACTIVE"} else None

        call.deadline.wait(f"table {name} to become ACTIVE", probe)

    def _settle(self, call: Call, name: str, names: set[str]) -> None:
        client = call.client("dynamodb")
        ttl = call.get("ttl")
        if "ttl" in names and ((ttl and ttl.get("enabled")) or call.old.get("ttl")):
            wanted = ttl or {"attributeName": call.old["ttl"].get("attributeName"), "enabled": False}
            client.update_time_to_live(
                TableName=name,
                TimeToLiveSpecification={
                    "AttributeName": wanted["attributeName"],
                    "Enabled": bool(wanted.get("enabled")),
                },
            )
        recovery = call.get("pointInTimeRecovery")
        if "pointInTimeRecovery" in names and recovery is not None and (recovery["enabled"] or call.old):
            client.update_continuous_backups(
                TableName=name,
                PointInTimeRecoverySpecification={
                    "PointInTimeRecoveryEnabled": recovery["enabled"],
                    **(
                        {"RecoveryPeriodInDays": recovery["recoveryPeriodInDays"]}
                        if recovery.get("recoveryPeriodInDays")
                        else {}
                    ),
                },
            )

    def _chosen(self, call: Call, table: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": table["TableArn"],
            "name": table["TableName"],
            "region": call.region,
            "streamArn": table.get("LatestStreamArn", ""),
            "streamLabel": table.get("LatestStreamLabel", ""),
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("dynamodb")
        answer = unless_gone(lambda: client.describe_table(TableName=call.id))
        if answer is None:
            return None
        table = answer["Table"]
        keys = {k["KeyType"]: k["AttributeName"] for k in table["KeySchema"]}
        found: dict[str, Any] = {
            **self._chosen(call, table),
            "hashKey": keys["HASH"],
            "attributes": [
                {"name": a["AttributeName"], "type": a["AttributeType"]}
                for a in table["AttributeDefinitions"]
            ],
            "billingMode": table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
            "deletionProtectionEnabled": table.get("DeletionProtectionEnabled", False),
            "tags": tag_map(client.list_tags_of_resource(ResourceArn=table["TableArn"]).get("Tags")),
        }
        if "RANGE" in keys:
            found["rangeKey"] = keys["RANGE"]
        if found["billingMode"] == "PROVISIONED":
            found["readCapacity"] = table["ProvisionedThroughput"]["ReadCapacityUnits"]
            found["writeCapacity"] = table["ProvisionedThroughput"]["WriteCapacityUnits"]
        stream = table.get("StreamSpecification") or {}
        if stream.get("StreamEnabled"):
            found["streamEnabled"] = True
            found["streamViewType"] = stream["StreamViewType"]
        for mine, theirs, own in (
            ("globalSecondaryIndexes", "GlobalSecondaryIndexes", True),
            ("localSecondaryIndexes", "LocalSecondaryIndexes", False),
        ):
            if table.get(theirs):
                found[mine] = [self._read_index(i, own=own) for i in table[theirs]]
        encryption = table.get("SSEDescription") or {}
        if encryption.get("Status") in ("ENABLED", "ENABLING"):
            found["serverSideEncryption"] = {"enabled": True}
            if (call.old.get("serverSideEncryption") or {}).get("kmsKeyArn") and encryption.get(
                "KMSMasterKeyArn"
            ):
                found["serverSideEncryption"]["kmsKeyArn"] = encryption["KMSMasterKeyArn"]
        ttl = client.describe_time_to_live(TableName=call.id)["TimeToLiveDescription"]
        if ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
            found["ttl"] = {"enabled": True, "attributeName": ttl["AttributeName"]}
        backups = client.describe_continuous_backups(TableName=call.id)["ContinuousBackupsDescription"]
        recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
        found["pointInTimeRecovery"] = {"enabled": recovery}
        if (call.old.get("pointInTimeRecovery") or {}).get("recoveryPeriodInDays") and recovery:
            found["pointInTimeRecovery"]["recoveryPeriodInDays"] = call.old["pointInTimeRecovery"][
                "recoveryPeriodInDays"
            ]
        if call.old.get("tableClass"):
            found["tableClass"] = table.get("TableClassSummary", {}).get("TableClass", call.old["tableClass"])
        return found

    def _read_index(self, index: dict[str, Any], *, own: bool) -> dict[str, Any]:
        keys = {k["KeyType"]: k["AttributeName"] for k in index["KeySchema"]}
        found: dict[str, Any] = {
            "name": index["IndexName"],
            "projectionType": index["Projection"]["ProjectionType"],
        }
        if own:
            found["hashKey"] = keys["HASH"]
        if "RANGE" in keys:
            found["rangeKey"] = keys["RANGE"]
        if index["Projection"].get("NonKeyAttributes"):
            found["nonKeyAttributes"] = index["Projection"]["NonKeyAttributes"]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("dynamodb")
        arguments: dict[str, Any] = {}
        if call.changed & {"billingMode", "readCapacity", "writeCapacity"}:
            arguments["BillingMode"] = call.inputs["billingMode"]
            if call.inputs["billingMode"] == "PROVISIONED":
                arguments["ProvisionedThroughput"] = self._throughput(call.inputs)
        if "deletionProtectionEnabled" in call.changed:
            arguments["DeletionProtectionEnabled"] = bool(call.get("deletionProtectionEnabled"))
        if "tableClass" in call.changed:
            arguments.update(fill(self, call.inputs, "tableClass"))
        if call.changed & {"streamEnabled", "streamViewType"}:
            enabled = bool(call.get("streamEnabled"))
            arguments["StreamSpecification"] = {
                "StreamEnabled": enabled,
                **(fill(self, call.inputs, "streamViewType") if enabled else {}),
            }
        if "serverSideEncryption" in call.changed:
            arguments["SSESpecification"] = (
                self._encryption(call) if call.get("serverSideEncryption") else {"Enabled": False}
            )
        outputs: dict[str, Any] = {}
        if arguments:
            table = client.update_table(TableName=call.id, **arguments)["TableDescription"]
            outputs = self._chosen(call, table)
            self._active(call, call.id)
        if "globalSecondaryIndexes" in call.changed:
            self._reindex(call)
        self._settle(call, call.id, set(call.changed))
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(ResourceArn=call.old["arn"], TagKeys=removed)
            if added:
                client.tag_resource(ResourceArn=call.old["arn"], Tags=tag_list(added))
        return outputs

    def _reindex(self, call: Call) -> None:
        client = call.client("dynamodb")
        wanted = {i["name"]: i for i in call.get("globalSecondaryIndexes", [])}
        had = {i["name"]: i for i in call.old.get("globalSecondaryIndexes") or []}
        # DynamoDB changes one index at a time.
        for name in had:
            if had[name] != wanted.get(name):
                client.update_table(
                    TableName=call.id, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": name}}]
                )
                self._active(call, call.id)
        for name, index in wanted.items():
            if had.get(name) != index:
                client.update_table(
                    TableName=call.id,
                    AttributeDefinitions=self._attributes(call),
                    GlobalSecondaryIndexUpdates=[
                        {"Create": self._index(call, index, index["hashKey"], own=True)}
                    ],
                )
                self._active(call, call.id)

    def delete(self, call: Call) -> None:
        client = call.client("dynamodb")
        if unless_gone(lambda: client.delete_table(TableName=call.id)) is None:
            return

        def probe() -> bool | None:
            return True if unless_gone(lambda: client.describe_table(TableName=call.id)) is None else None

        call.deadline.wait(f"table {call.id} to be gone", probe)


class Secret(ResourceType):
    """`aws:secretsmanager/secret:Secret`; the id is the ARN."""

    token = "aws:secretsmanager/secret:Secret"
    spec = """name! namePrefix! description kmsKeyId recoveryWindowInDays=30 policy:json?
        forceOverwriteReplicaSecret=false tags"""
    auto = AutoName("name", 512)
    import_id = "the secret's ARN"

    def create(self, call: Call) -> Made:
        client = call.client("secretsmanager")
        answer = client.create_secret(
            Name=call.inputs["name"],
            **fill(self, call.inputs, "description", "kmsKeyId"),
            **({"Tags": tag_list(call.tags)} if call.tags else {}),
        )
        if call.get("policy"):
            client.put_resource_policy(SecretId=answer["ARN"], ResourcePolicy=call.inputs["policy"])
        return answer["ARN"], {"arn": answer["ARN"], "name": call.inputs["name"], "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("secretsmanager")
        answer = unless_gone(lambda: client.describe_secret(SecretId=call.id))
        if answer is None or answer.get("DeletedDate"):
            return None
        policy = client.get_resource_policy(SecretId=call.id).get("ResourcePolicy")
        return {
            "arn": answer["ARN"],
            "name": answer["Name"],
            "region": call.region,
            "description": answer.get("Description", ""),
            "kmsKeyId": answer.get("KmsKeyId"),
            "policy": policy,
            "tags": tag_map(answer.get("Tags")),
            "recoveryWindowInDays": call.old.get("recoveryWindowInDays", 30),
            "forceOverwriteReplicaSecret": call.old.get("forceOverwriteReplicaSecret", False),
        }

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("secretsmanager")
        if call.changed & {"description", "kmsKeyId"}:
            client.update_secret(SecretId=call.id, **fill(self, call.inputs, "description", "kmsKeyId"))
        if "policy" in call.changed:
            if call.get("policy"):
                client.put_resource_policy(SecretId=call.id, ResourcePolicy=call.inputs["policy"])
            else:
                client.delete_resource_policy(SecretId=call.id)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(SecretId=call.id, TagKeys=removed)
            if added:
                client.tag_resource(SecretId=call.id, Tags=tag_list(added))
        return {}

    def delete(self, call: Call) -> None:
        days = call.old.get("recoveryWindowInDays", 30)
        how = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
        client = call.client("secretsmanager")

        def remove() -> None:
            if not client.describe_secret(SecretId=call.id).get("DeletedDate"):
                client.delete_secret(SecretId=call.id, **how)

        unless_gone(remove)


class SecretVersion(ResourceType):
    """`aws:secretsmanager/secretVersion:SecretVersion`; the id is `secret-arn|version-id`."""

    token = "aws:secretsmanager/secretVersion:SecretVersion"
    spec = "secretId! secretString!* secretBinary!* versionStages~?"
    secret_outputs = ("secretString", "secretBinary")
    import_id = "secret-arn|version-id"

    def create(self, call: Call) -> Made:
        arguments = fill(self, call.inputs, "secretString", "versionStages")
        if call.get("secretBinary"):
            import base64

            arguments["SecretBinary"] = base64.b64decode(call.inputs["secretBinary"])
        answer = call.client("secretsmanager").put_secret_value(SecretId=call.inputs["secretId"], **arguments)
        return f"{call.inputs['secretId']}|{answer['VersionId']}", {
            "arn": answer["ARN"],
            "secretArn": answer["ARN"],
            "versionId": answer["VersionId"],
            "versionStages": answer.get("VersionStages", ["AWSCURRENT"]),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        secret, _, version = call.id.rpartition("|")
        answer = unless_gone(
            lambda: call.client("secretsmanager").get_secret_value(SecretId=secret, VersionId=version)
        )
        if answer is None:
            return None
        found: dict[str, Any] = {
            "secretId": secret,
            "arn": answer["ARN"],
            "secretArn": answer["ARN"],
            "versionId": version,
            "versionStages": answer.get("VersionStages", []),
            "region": call.region,
        }
        if answer.get("SecretString") is not None:
            found["secretString"] = answer["SecretString"]
        elif answer.get("SecretBinary") is not None:
            import base64

            found["secretBinary"] = base64.b64encode(answer["SecretBinary"]).decode()
        return found

    def update(self, call: Call) -> dict[str, Any]:
        return {}

    def delete(self, call: Call) -> None:
        # As the real provider: the current version of a secret cannot be deleted, it goes with the secret.
        return


class Parameter(ResourceType):
    """`aws:ssm/parameter:Parameter`; the id is the name."""

    token = "aws:ssm/parameter:Parameter"
    spec = (
        """name! type value* insecureValue description allowedPattern dataType? keyId? tier? overwrite tags"""
    )
    auto = AutoName("name", 1011)
    moves = ("version",)
    import_id = "the parameter's name"

    @property
    def secret_outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The value is secret whatever its type, as pulumi-aws declares it."""
        return ("value",)

    def _put(self, call: Call, *, overwrite: bool) -> int:
        arguments = fill(
            self, call.inputs, "type", "description", "allowedPattern", "dataType", "keyId", "tier"
        )
        answer = call.client("ssm").put_parameter(
            Name=call.inputs["name"],
            Value=call.get("value", call.get("insecureValue", "")),
            Overwrite=overwrite,
            **arguments,
            **({"Tags": tag_list(call.tags)} if call.tags and not overwrite else {}),
        )
        return int(answer["Version"])

    def create(self, call: Call) -> Made:
        name = call.inputs["name"]
        version = self._put(call, overwrite=bool(call.get("overwrite")))
        return name, {
            "name": name,
            "arn": call.arn("ssm", f"parameter/{name.lstrip('/')}"),
            "version": version,
            "region": call.region,
            "dataType": call.get("dataType", "text"),
            "tier": call.get("tier", "Standard"),
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("ssm")
        answer = unless_gone(lambda: client.get_parameter(Name=call.id, WithDecryption=True))
        if answer is None:
            return None
        parameter = answer["Parameter"]
        described = client.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [call.id]}])
        details = described["Parameters"][0] if described["Parameters"] else {}
        insecure = call.old.get("insecureValue") is not None
        tags = client.list_tags_for_resource(ResourceType="Parameter", ResourceId=call.id)
        return {
            "name": call.id,
            "type": parameter["Type"],
            "insecureValue" if insecure else "value": parameter["Value"],
            "arn": call.arn("ssm", f"parameter/{call.id.lstrip('/')}"),
            "version": parameter["Version"],
            "dataType": parameter.get("DataType", "text"),
            "tier": details.get("Tier", "Standard"),
            "region": call.region,
            "description": details.get("Description"),
            "allowedPattern": details.get("AllowedPattern"),
            "overwrite": call.old.get("overwrite"),
            "tags": tag_map(tags.get("TagList")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        if call.changed - {"tags"}:
            outputs["version"] = self._put(call, overwrite=True)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            client = call.client("ssm")
            if removed:
                client.remove_tags_from_resource(
                    ResourceType="Parameter", ResourceId=call.id, TagKeys=removed
                )
            if added:
                client.add_tags_to_resource(
                    ResourceType="Parameter", ResourceId=call.id, Tags=tag_list(added)
                )
        return outputs

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ssm").delete_parameter(Name=call.id))


class Repository(ResourceType):
    """`aws:ecr/repository:Repository`; the id is the name."""

    token = "aws:ecr/repository:Repository"
    spec = """name! imageTagMutability="MUTABLE" imageScanningConfiguration encryptionConfigurations!?
        forceDelete=false tags"""
    auto = AutoName("name", 256, lower=True)
    import_id = "the repository's name"

    def create(self, call: Call) -> Made:
        arguments = fill(self, call.inputs, "imageTagMutability", "imageScanningConfiguration")
        if call.get("encryptionConfigurations"):
            arguments["encryptionConfiguration"] = fill(
                self, call.inputs, "encryptionConfigurations", upper=False
            )["encryptionConfigurations"][0]
        arguments = {k[0].lower() + k[1:]: v for k, v in arguments.items()}
        if "imageScanningConfiguration" in arguments:
            arguments["imageScanningConfiguration"] = {
                "scanOnPush": bool(call.inputs["imageScanningConfiguration"].get("scanOnPush"))
            }
        answer = call.client("ecr").create_repository(
            repositoryName=call.inputs["name"], tags=tag_list(call.tags), **arguments
        )["repository"]
        return call.inputs["name"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": answer["repositoryArn"],
            "name": answer["repositoryName"],
            "registryId": answer["registryId"],
            "repositoryUrl": answer["repositoryUri"],
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("ecr")
        answer = unless_gone(lambda: client.describe_repositories(repositoryNames=[call.id]))
        if not answer or not answer["repositories"]:
            return None
        repository = answer["repositories"][0]
        found = {
            **self._chosen(call, repository),
            "imageTagMutability": repository.get("imageTagMutability", "MUTABLE"),
            "forceDelete": call.old.get("forceDelete", False),
            "tags": tag_map(
                client.list_tags_for_resource(resourceArn=repository["repositoryArn"]).get("tags")
            ),
        }
        if repository.get("imageScanningConfiguration", {}).get("scanOnPush"):
            found["imageScanningConfiguration"] = {"scanOnPush": True}
        elif call.old.get("imageScanningConfiguration"):
            found["imageScanningConfiguration"] = {"scanOnPush": False}
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("ecr")
        if "imageTagMutability" in call.changed:
            client.put_image_tag_mutability(
                repositoryName=call.id, imageTagMutability=call.inputs["imageTagMutability"]
            )
        if "imageScanningConfiguration" in call.changed:
            scan = bool((call.get("imageScanningConfiguration") or {}).get("scanOnPush"))
            client.put_image_scanning_configuration(
                repositoryName=call.id, imageScanningConfiguration={"scanOnPush": scan}
            )
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(resourceArn=call.old["arn"], tagKeys=removed)
            if added:
                client.tag_resource(resourceArn=call.old["arn"], tags=tag_list(added))
        return {}

    def delete(self, call: Call) -> None:
        force = bool(call.old.get("forceDelete"))
        unless_gone(lambda: call.client("ecr").delete_repository(repositoryName=call.id, force=force))


class EcrLifecyclePolicy(ResourceType):
    """`aws:ecr/lifecyclePolicy:LifecyclePolicy`; the id is the repository's name."""

    token = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    spec = "repository! policy:json"
    import_id = "the repository's name"

    def create(self, call: Call) -> Made:
        policy = json.dumps(json.loads(call.inputs["policy"]))
        answer = call.client("ecr").put_lifecycle_policy(
            repositoryName=call.inputs["repository"], lifecyclePolicyText=policy
        )
        return call.inputs["repository"], {"registryId": answer["registryId"], "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(lambda: call.client("ecr").get_lifecycle_policy(repositoryName=call.id))
        return answer and {
            "repository": call.id,
            "policy": answer["lifecyclePolicyText"],
            "registryId": answer["registryId"],
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ecr").delete_lifecycle_policy(repositoryName=call.id))


TYPES: tuple[type[ResourceType], ...] = (
    LogGroup,
    LogMetricFilter,
    MetricAlarm,
    Dashboard,
    EventRule,
    EventTarget,
    Table,
    Secret,
    SecretVersion,
    Parameter,
    Repository,
    EcrLifecyclePolicy,
)
