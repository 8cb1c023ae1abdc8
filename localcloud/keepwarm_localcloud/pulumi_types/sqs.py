"""SQS: queues and their policies."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    tag_changes,
    tag_map,
)

_NUMBERS = {
    "delaySeconds": "DelaySeconds",
    "maxMessageSize": "MaximumMessageSize",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "visibilityTimeoutSeconds": "VisibilityTimeout",
    "kmsDataKeyReusePeriodSeconds": "KmsDataKeyReusePeriodSeconds",
}

_TEXTS = {
    "kmsMasterKeyId": "KmsMasterKeyId",
    "policy": "Policy",
    "redrivePolicy": "RedrivePolicy",
    "redriveAllowPolicy": "RedriveAllowPolicy",
    "deduplicationScope": "DeduplicationScope",
    "fifoThroughputLimit": "FifoThroughputLimit",
}

_FLAGS = {
    "fifoQueue": "FifoQueue",
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "sqsManagedSseEnabled": "SqsManagedSseEnabled",
}


class Queue(ResourceType):
    """`aws:sqs/queue:Queue`; the id is the queue's URL."""

    token = "aws:sqs/queue:Queue"
    spec = """name! namePrefix! fifoQueue!=false contentBasedDeduplication=false deduplicationScope?
        fifoThroughputLimit? delaySeconds=0 maxMessageSize=262144 messageRetentionSeconds=345600
        receiveWaitTimeSeconds=0 visibilityTimeoutSeconds=30 kmsMasterKeyId kmsDataKeyReusePeriodSeconds?
        sqsManagedSseEnabled? policy:json? redrivePolicy:json? redriveAllowPolicy:json? tags"""
    auto = AutoName("name", 80, suffix_when=("fifoQueue", ".fifo"))
    import_id = "the queue's URL"

    def _attributes(self, call: Call, names: frozenset[str] | None = None) -> dict[str, str]:
        attributes: dict[str, str] = {}
        for mine, api in {**_NUMBERS, **_TEXTS, **_FLAGS}.items():
            value = call.inputs.get(mine)
            if names is not None and mine not in names:
                continue
            if value is None:
                if names is not None:
                    attributes[api] = ""
                continue
            if mine in _FLAGS:
                if mine == "fifoQueue" and not value:
                    continue
                if mine == "contentBasedDeduplication" and not call.get("fifoQueue"):
                    continue
                attributes[api] = "true" if value else "false"
            else:
                attributes[api] = str(value)
        return attributes

    def create(self, call: Call) -> Made:
        answer = call.client("sqs").create_queue(
            QueueName=call.inputs["name"],
            Attributes=self._attributes(call),
            **({"tags": call.tags} if call.tags else {}),
        )
        return answer["QueueUrl"], {
            "url": answer["QueueUrl"],
            "arn": call.arn("sqs", call.inputs["name"]),
            "name": call.inputs["name"],
            "region": call.region,
            **{
                k: call.get(k, d)
                for k, d in (
                    ("maxMessageSize", 262144),
                    ("sqsManagedSseEnabled", not call.get("kmsMasterKeyId")),
                )
            },
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("sqs")
        answer = unless_gone(lambda: client.get_queue_attributes(QueueUrl=call.id, AttributeNames=["All"]))
        if answer is None:
            return None
        attributes = answer["Attributes"]
        found: dict[str, Any] = {
            "url": call.id,
            "arn": attributes["QueueArn"],
            "name": attributes["QueueArn"].rpartition(":")[2],
            "region": call.region,
        }
        for mine, api in _NUMBERS.items():
            if attributes.get(api):
                found[mine] = int(attributes[api])
        for mine, api in _TEXTS.items():
            if attributes.get(api):
                found[mine] = attributes[api]
        for mine, api in _FLAGS.items():
            found[mine] = attributes.get(api) == "true"
        found["tags"] = tag_map(client.list_queue_tags(QueueUrl=call.id).get("Tags", {}))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("sqs")
        attributes = self._attributes(call, call.changed - {"tags"})
        if attributes:
            client.set_queue_attributes(QueueUrl=call.id, Attributes=attributes)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_queue(QueueUrl=call.id, TagKeys=removed)
            if added:
                client.tag_queue(QueueUrl=call.id, Tags=added)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("sqs").delete_queue(QueueUrl=call.id))


class _QueueAttribute(ResourceType):
    """One attribute of a queue as a resource of its own; the id is the queue's URL."""

    attribute: str
    property: str
    import_id = "the queue's URL"

    def create(self, call: Call) -> Made:
        call.client("sqs").set_queue_attributes(
            QueueUrl=call.inputs["queueUrl"], Attributes={self.attribute: call.inputs[self.property]}
        )
        return call.inputs["queueUrl"], {"region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(
            lambda: call.client("sqs").get_queue_attributes(QueueUrl=call.id, AttributeNames=[self.attribute])
        )
        value = (answer or {}).get("Attributes", {}).get(self.attribute)
        return {"queueUrl": call.id, self.property: value, "region": call.region} if value else None

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(
            lambda: call.client("sqs").set_queue_attributes(QueueUrl=call.id, Attributes={self.attribute: ""})
        )


class QueuePolicy(_QueueAttribute):
    """`aws:sqs/queuePolicy:QueuePolicy`."""

    token = "aws:sqs/queuePolicy:QueuePolicy"
    spec = "queueUrl! policy:json"
    attribute, property = "Policy", "policy"


class RedrivePolicy(_QueueAttribute):
    """`aws:sqs/redrivePolicy:RedrivePolicy`."""

    token = "aws:sqs/redrivePolicy:RedrivePolicy"
    spec = "queueUrl! redrivePolicy:json"
    attribute, property = "RedrivePolicy", "redrivePolicy"


class RedriveAllowPolicy(_QueueAttribute):
    """`aws:sqs/redriveAllowPolicy:RedriveAllowPolicy`."""

    token = "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy"
    spec = "queueUrl! redriveAllowPolicy:json"
    attribute, property = "RedriveAllowPolicy", "redriveAllowPolicy"


TYPES: tuple[type[ResourceType], ...] = (
    Queue,
    QueuePolicy,
    RedrivePolicy,
    RedriveAllowPolicy,
)
