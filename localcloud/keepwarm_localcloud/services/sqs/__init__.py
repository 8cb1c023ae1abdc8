"""SQS: standard and FIFO queues."""

from keepwarm_localcloud.services.sqs.queue import Message
from keepwarm_localcloud.services.sqs.service import SqsService

__all__ = ["Message", "SqsService"]
