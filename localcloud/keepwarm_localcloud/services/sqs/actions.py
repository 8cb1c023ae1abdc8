"""What SQS asks of IAM for each request: actions, resources and condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
"""

from typing import Final

from keepwarm_localcloud.iam.actions import Ask, Names, operation_of
from keepwarm_localcloud.request import Request

_BATCHES: Final = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}


def asks(request: Request, names: Names) -> list[Ask]:
    """What must be allowed for a request, the key of an encrypted queue included."""
    operation, body = operation_of(request)
    operation = _BATCHES.get(operation, operation)
    queue = str(body.get("QueueUrl") or "").rstrip("/").rpartition("/")[2] or body.get("QueueName")
    resource = str(body.get("SourceArn") or (names.arn("sqs", str(queue)) if queue else "*"))
    asks = [Ask(f"sqs:{operation}", [resource])]
    wanted = {"SendMessage": ("GenerateDataKey", "Decrypt"), "ReceiveMessage": ("Decrypt",)}.get(
        operation, ()
    )
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
    if wanted and "sqs" in names.peers and names.peers.queues.exists(resource):
        key = names.peers.queues.attributes(resource).get("KmsMasterKeyId", "")
        if key and not key.endswith("alias/aws/sqs"):
            context: dict[str, str | list[str]] = {
                "kms:ViaService": f"sqs.{names.region}.amazonaws.com",
                "kms:EncryptionContext:aws:sqs:arn": resource,
            }
            asks += [Ask(f"kms:{action}", [names.key_arn(key)], context) for action in wanted]
    return asks
