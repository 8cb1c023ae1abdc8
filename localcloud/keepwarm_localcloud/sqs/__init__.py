"""SQS: standard and FIFO queues."""

from keepwarm_localcloud.sqs.queue import Message
from keepwarm_localcloud.sqs.service import SqsService

__all__ = ["Message", "SqsService"]
