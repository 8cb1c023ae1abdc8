"""SQS of the embedded cloud: the JSON API and the way in for other services."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from keepwarm_localcloud.ports import QueuesPort
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.dispatch import operation_named
from keepwarm_localcloud.services.sqs.api_messages import MessagesApi
from keepwarm_localcloud.services.sqs.api_queues import QueuesApi
from keepwarm_localcloud.services.sqs.model import Message
from keepwarm_localcloud.services.sqs.move_tasks import MoveTasksApi

METRICS_PERIOD_S: Final = 60
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""
ACTIVE_S: Final = 6 * 3_600
"""A queue is active for CloudWatch this long after its last message or use. Same page."""
_STOP_S: Final = 30.0
"""Longer than the one-time import of moto, which the thread may be in when it is told to stop."""


class SqsService(QueuesApi, MessagesApi, MoveTasksApi, QueuesPort):
    """Standard and FIFO queues, complete, on the cloud's clock."""

    name = "sqs"

    def __init__(self) -> None:
        super().__init__()
        self._stopping = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None

    # --- Service -------------------------------------------------------------------------------------------

    def start(self, context: Context) -> None:
        """Attach and begin to publish metrics every minute of the cloud's clock."""
        self._context = context
        self._thread = threading.Thread(target=self._publish, name="keepwarm-sqs-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End long polls and the metrics thread."""
        with self._stopping:
            self._stopped = True
            self._stopping.notify_all()
        with self._lock:
            queues = list(self._queues.values())
        for queue in queues:
            queue.close()
        if self._thread is not None:
            self._thread.join(_STOP_S)
            if self._thread.is_alive():
                raise RuntimeError(f"the metrics thread did not end within {_STOP_S:g} s")
            self._thread = None

    def inventory(self) -> dict[str, list[str]]:
        """The queues."""
        with self._lock:
            return {"queues": sorted(q.name for q in self._queues.values())}

    def handle(self, request: Request) -> Response | None:
        """Answer one call of the JSON protocol."""
        operation = operation_named(self, request.target())
        if operation is None:
            raise AwsError(
                "InvalidAction",
                "The embedded cloud speaks the JSON protocol of SQS (boto3 1.29 and later, AWS CLI 1.30 and later).",
            )
        answer = operation(request.json(), request)
        return Response.of_json(answer, content_type="application/x-amz-json-1.0")

    # --- in-process API ------------------------------------------------------------------------------------

    def send(
        self,
        queue_arn: str,
        body: str,
        attributes: Mapping[str, dict[str, Any]] | None = None,
        *,
        delay_s: int | None = None,
        group_id: str | None = None,
        dedup_id: str | None = None,
    ) -> str:
        """Send a message; gives its id.

        Args:
            queue_arn: Where to.
            body: The text.
            attributes: Message attributes in the shape of the API (`{"reason": {"DataType": "String", ...}}`).
            delay_s: Seconds until it is visible; default as the queue says.
            group_id: FIFO group.
            dedup_id: FIFO deduplication id.

        Raises:
            AwsError: as SendMessage.
        """
        queue = self.queue(queue_arn)
        entry: dict[str, Any] = {"MessageBody": body, "MessageAttributes": dict(attributes or {})}
        if delay_s is not None:
            entry["DelaySeconds"] = delay_s
        if group_id is not None:
            entry["MessageGroupId"] = group_id
        if dedup_id is not None:
            entry["MessageDeduplicationId"] = dedup_id
        return self._send_one(queue, entry)[0].message_id

    def receive(
        self,
        queue_arn: str,
        max_messages: int,
        *,
        wait_s: float = 0,
        visibility_s: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> list[Message]:
        """Receive up to `max_messages`, waiting up to `wait_s` of the clock for the first; see `Queue.receive`."""
        return self.queue(queue_arn).receive(
            max_messages, wait_s=wait_s, visibility_s=visibility_s, cancelled=cancelled
        )

    def wake(self, queue_arn: str) -> None:
        """Let receives that wait on a queue look at their `cancelled`; nothing happens without the queue."""
        with self._lock:
            queue = self._queues.get(queue_arn)
        if queue is not None:
            queue.wake()

    def delete(self, queue_arn: str, receipt_handle: str) -> None:
        """Delete a received message."""
        self.queue(queue_arn).delete(receipt_handle)

    def change_visibility(self, queue_arn: str, receipt_handle: str, seconds: int) -> None:
        """Change when a message in flight reappears."""
        self.queue(queue_arn).change_visibility(receipt_handle, seconds)

    def attributes(self, queue_arn: str) -> dict[str, str]:
        """Every attribute of a queue, as GetQueueAttributes gives them."""
        return self._attributes_of(self.queue(queue_arn))

    def publish_metrics(self) -> None:
        """Publish the metrics of every active queue now, with the cloud's time as their moment."""
        now = self._context.clock.now_s()
        with self._lock:
            queues = list(self._queues.values())
        for queue in queues:
            depth = queue.depth()
            if not (depth.visible or depth.in_flight or depth.delayed) and now - queue.active_s > ACTIVE_S:
                continue
            counters = queue.take_counters()
            values = {
                "ApproximateNumberOfMessagesVisible": ("Count", depth.visible),
                "ApproximateNumberOfMessagesNotVisible": ("Count", depth.in_flight),
                "ApproximateNumberOfMessagesDelayed": ("Count", depth.delayed),
                "ApproximateAgeOfOldestMessage": ("Seconds", int(depth.oldest_age_s)),
                "NumberOfMessagesSent": ("Count", counters.sent),
                "NumberOfMessagesReceived": ("Count", counters.received),
                "NumberOfMessagesDeleted": ("Count", counters.deleted),
                "NumberOfEmptyReceives": ("Count", counters.empty),
            }
            for name, (unit, value) in values.items():
                self._context.logs.metric(
                    "AWS/SQS", name, value, unit=unit, dimensions={"QueueName": queue.name}
                )

    def _publish(self) -> None:
        with self._stopping:
            while not self._stopped:
                next_s = (self._context.clock.now_s() // METRICS_PERIOD_S + 1) * METRICS_PERIOD_S
                self._context.clock.wait_until(self._stopping, next_s)
                if not self._stopped and self._context.clock.now_s() >= next_s:
                    self.publish_metrics()
