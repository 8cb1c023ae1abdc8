"""SQS: standard and FIFO queues."""

from keepwarm_localcloud.services.sqs.model import Message
from keepwarm_localcloud.services.sqs.service import SqsService

__all__ = ["Message", "SqsService"]
