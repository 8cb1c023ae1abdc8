"""DynamoDB: tables."""
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
)


class Table(ResourceType):
    """`aws:dynamodb/table:Table`; the id is the name."""

    token = "aws:dynamodb/table:Table"
    spec = """name! hashKey!? rangeKey! attributes~? billingMode="PROVISIONED" readCapacity? writeCapacity?
        tableClass="STANDARD" streamEnabled streamViewType? ttl? pointInTimeRecovery? serverSideEncryption?
        deletionProtectionEnabled globalSecondaryIndexes~{hashKey name nonKeyAttributes~ projectionType rangeKey
        readCapacity? writeCapacity?} localSecondaryIndexes!~{name nonKeyAttributes~ projectionType rangeKey}
        tags"""
    auto = AutoName("name", 255)
    timeouts_s = (600.0, 600.0, 600.0)
    import_id = "the table's name"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        if inputs["billingMode"] != "PROVISIONED":
            return []
        return [
            (
                name,
                "KW633 missing; allowed at least 1; because billingMode is PROVISIONED; "
                "fix: give it, or set billingMode to PAY_PER_REQUEST",
            )
            for name in ("readCapacity", "writeCapacity")
            if not inputs.get(name)
        ]

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


TYPES: tuple[type[ResourceType], ...] = (Table,)
