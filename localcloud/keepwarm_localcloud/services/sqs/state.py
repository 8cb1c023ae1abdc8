"""The queues of a cloud, and how a request names them."""

import json
import re
import threading
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.sqs.checks import (
    as_attribute,
)
from keepwarm_localcloud.services.sqs.queue import Queue


def no_queue() -> AwsError:
    """The refusal of a queue that does not exist."""
    return AwsError("QueueDoesNotExist", "The specified queue does not exist.")


_ARN = re.compile(r"arn:aws[a-z-]*:sqs:([a-z0-9-]+):(\d{12}):([A-Za-z0-9_.-]+)\Z")


class SqsState:
    """What every group of operations works on."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queues: dict[str, Queue] = {}
        self._context: Context

    def exists(self, arn: str) -> bool:
        """Tell whether a queue exists."""
        with self._lock:
            return arn in self._queues

    def policy(self, queue_arn: str) -> dict[str, Any] | None:
        """The access policy of a queue, parsed; None without one."""
        text = self.policy_text(queue_arn)
        return json.loads(text) if text else None

    def policy_text(self, queue_arn: str) -> str | None:
        """The access policy of a queue as it was set; None without one."""
        with self._lock:
            queue = self._queues.get(queue_arn)
        return queue.settings.get("Policy") or None if queue is not None else None

    def queue(self, arn: str) -> Queue:
        """Find a queue by ARN.

        Raises:
            AwsError: QueueDoesNotExist.
        """
        with self._lock:
            queue = self._queues.get(arn)
        if queue is None:
            raise no_queue()
        return queue

    def _arn(self, name: str) -> str:
        return f"arn:aws:sqs:{self._context.region}:{self._context.account_id}:{name}"

    def _url_of(self, name: str) -> str:
        return f"{self._context.endpoint}/{self._context.account_id}/{name}"

    def _named(self, call: dict[str, Any]) -> Queue:
        url = call.get("QueueUrl")
        if not isinstance(url, str) or not url:
            raise AwsError("MissingParameter", "The request must contain the parameter QueueUrl.")
        # A bare name is no URL, but AWS resolves whatever follows the last slash too.
        return self.queue(self._arn(url.rstrip("/").rpartition("/")[2]))

    def _attributes_of(self, queue: Queue) -> dict[str, str]:
        depth = queue.depth()
        computed = {
            "ApproximateNumberOfMessages": depth.visible,
            "ApproximateNumberOfMessagesDelayed": depth.delayed,
            "ApproximateNumberOfMessagesNotVisible": depth.in_flight,
            "CreatedTimestamp": int(queue.created_s),
            "LastModifiedTimestamp": int(queue.modified_s),
            "QueueArn": queue.arn,
        }
        return {k: as_attribute(v) for k, v in {**queue.settings, **computed}.items()}

    def _allows(self, target: str, source: str) -> bool:
        policy = self.queue(target).settings.get("RedriveAllowPolicy") or {"redrivePermission": "allowAll"}
        permission = policy["redrivePermission"]
        return permission == "allowAll" or (permission == "byQueue" and source in policy["sourceQueueArns"])

    def _dead_letter_queue(self, queue: Queue) -> Queue | None:
        target = queue.settings["RedrivePolicy"]["deadLetterTargetArn"]
        with self._lock:
            destination = self._queues.get(target)
        # A target that is gone leaves the message where it is, as on AWS.
        return destination if destination is not None and self._allows(target, queue.arn) else None

    def _by_arn(self, arn: Any) -> Queue:
        if not isinstance(arn, str) or not _ARN.match(arn):
            raise AwsError("InvalidParameterValue", f"{arn} is not the ARN of a queue.")
        with self._lock:
            queue = self._queues.get(arn)
        if queue is None:
            raise AwsError(
                "ResourceNotFoundException",
                "The resource that you specified for the SourceArn parameter doesn't exist.",
                404,
            )
        return queue

    def _note(self, event: str, queue: Queue, facts: dict[str, Any]) -> None:
        self._context.journal.write("sqs", queue=queue.name, event=event, **facts)
