"""SNS: topics, their policies and subscriptions."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    tag_changes,
    tag_list,
    tag_map,
)

_TOPIC = {
    "displayName": "DisplayName",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "policy": "Policy",
    "deliveryPolicy": "DeliveryPolicy",
    "tracingConfig": "TracingConfig",
    "signatureVersion": "SignatureVersion",
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "fifoTopic": "FifoTopic",
}


class Topic(ResourceType):
    """`aws:sns/topic:Topic`; the id is the ARN."""

    token = "aws:sns/topic:Topic"
    spec = """name! namePrefix! fifoTopic!=false displayName kmsMasterKeyId policy:json? deliveryPolicy:json
        tracingConfig? signatureVersion? contentBasedDeduplication=false tags"""
    auto = AutoName("name", 256, suffix_when=("fifoTopic", ".fifo"))
    import_id = "the topic's ARN"

    def create(self, call: Call) -> Made:
        attributes = {}
        for mine, api in _TOPIC.items():
            value = call.get(mine)
            if value is not None and value is not False:
                attributes[api] = "true" if value is True else str(value)
        answer = call.client("sns").create_topic(
            Name=call.inputs["name"], Attributes=attributes, Tags=tag_list(call.tags)
        )
        arn = answer["TopicArn"]
        return arn, {
            "arn": arn,
            "name": call.inputs["name"],
            "owner": call.aws.account_id,
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("sns")
        answer = unless_gone(lambda: client.get_topic_attributes(TopicArn=call.id))
        if answer is None:
            return None
        attributes = answer["Attributes"]
        found: dict[str, Any] = {
            "arn": call.id,
            "name": call.id.rpartition(":")[2],
            "owner": attributes.get("Owner", ""),
            "region": call.region,
            "tags": tag_map(client.list_tags_for_resource(ResourceArn=call.id).get("Tags")),
        }
        for mine, api in _TOPIC.items():
            value = attributes.get(api)
            if value:
                found[mine] = value == "true" if value in ("true", "false") else value
        if "signatureVersion" in found:
            found["signatureVersion"] = int(found["signatureVersion"])
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("sns")
        for mine in call.changed & set(_TOPIC):
            value = call.get(mine, "")
            text = ("true" if value else "false") if isinstance(value, bool) else str(value)
            client.set_topic_attributes(TopicArn=call.id, AttributeName=_TOPIC[mine], AttributeValue=text)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(ResourceArn=call.id, TagKeys=removed)
            if added:
                client.tag_resource(ResourceArn=call.id, Tags=tag_list(added))
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("sns").delete_topic(TopicArn=call.id))


class TopicPolicy(ResourceType):
    """`aws:sns/topicPolicy:TopicPolicy`; the id is the topic's ARN."""

    token = "aws:sns/topicPolicy:TopicPolicy"
    spec = "arn! policy:json"
    import_id = "the topic's ARN"

    def create(self, call: Call) -> Made:
        call.client("sns").set_topic_attributes(
            TopicArn=call.inputs["arn"], AttributeName="Policy", AttributeValue=call.inputs["policy"]
        )
        return call.inputs["arn"], {"owner": call.aws.account_id, "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(lambda: call.client("sns").get_topic_attributes(TopicArn=call.id))
        policy = (answer or {}).get("Attributes", {}).get("Policy")
        if not policy:
            return None
        return {"arn": call.id, "policy": policy, "owner": call.aws.account_id, "region": call.region}

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        default = {
            "Version": "2008-10-17",
            "Id": "__default_policy_ID",
            "Statement": [
                {
                    "Sid": "__default_statement_ID",
                    "Effect": "Allow",
                    "Principal": {"AWS": "*"},
                    "Action": ["SNS:Publish", "SNS:Subscribe", "SNS:GetTopicAttributes"],
                    "Resource": call.id,
                    "Condition": {"StringEquals": {"AWS:SourceOwner": call.aws.account_id}},
                }
            ],
        }
        unless_gone(
            lambda: call.client("sns").set_topic_attributes(
                TopicArn=call.id, AttributeName="Policy", AttributeValue=json.dumps(default)
            )
        )


_SUBSCRIPTION = {
    "rawMessageDelivery": "RawMessageDelivery",
    "filterPolicy": "FilterPolicy",
    "filterPolicyScope": "FilterPolicyScope",
    "redrivePolicy": "RedrivePolicy",
    "deliveryPolicy": "DeliveryPolicy",
    "subscriptionRoleArn": "SubscriptionRoleArn",
}


class TopicSubscription(ResourceType):
    """`aws:sns/topicSubscription:TopicSubscription`; the id is the subscription's ARN."""

    token = "aws:sns/topicSubscription:TopicSubscription"
    spec = """topic! protocol! endpoint! rawMessageDelivery=false filterPolicy:json filterPolicyScope?
        redrivePolicy:json deliveryPolicy:json subscriptionRoleArn confirmationTimeoutInMinutes=1
        endpointAutoConfirms=false"""
    import_id = "the subscription's ARN"

    def create(self, call: Call) -> Made:
        attributes = {}
        for mine, api in _SUBSCRIPTION.items():
            value = call.get(mine)
            if value is not None and value is not False:
                attributes[api] = "true" if value is True else str(value)
        answer = call.client("sns").subscribe(
            TopicArn=call.inputs["topic"],
            Protocol=call.inputs["protocol"],
            Endpoint=call.inputs["endpoint"],
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )
        arn = answer["SubscriptionArn"]
        return arn, {
            "arn": arn,
            "ownerId": call.aws.account_id,
            "pendingConfirmation": False,
            "confirmationWasAuthenticated": True,
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(lambda: call.client("sns").get_subscription_attributes(SubscriptionArn=call.id))
        if answer is None:
            return None
        attributes = answer["Attributes"]
        found: dict[str, Any] = {
            "arn": call.id,
            "topic": attributes["TopicArn"],
            "protocol": attributes["Protocol"],
            "endpoint": attributes["Endpoint"],
            "ownerId": attributes.get("Owner", ""),
            "pendingConfirmation": attributes.get("PendingConfirmation") == "true",
            "confirmationTimeoutInMinutes": call.old.get("confirmationTimeoutInMinutes", 1),
            "endpointAutoConfirms": call.old.get("endpointAutoConfirms", False),
            "region": call.region,
        }
        for mine, api in _SUBSCRIPTION.items():
            if attributes.get(api):
                value = attributes[api]
                found[mine] = value == "true" if value in ("true", "false") else value
        return found

    def update(self, call: Call) -> dict[str, Any]:
        for mine in call.changed & set(_SUBSCRIPTION):
            value = call.get(mine, "")
            text = ("true" if value else "false") if isinstance(value, bool) else str(value)
            call.client("sns").set_subscription_attributes(
                SubscriptionArn=call.id, AttributeName=_SUBSCRIPTION[mine], AttributeValue=text
            )
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("sns").unsubscribe(SubscriptionArn=call.id))


TYPES: tuple[type[ResourceType], ...] = (
    Topic,
    TopicPolicy,
    TopicSubscription,
)
