"""SQS of the embedded cloud: the JSON API and the way in for other services."""

import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from keepwarm import limits
from keepwarm_localcloud.ports import QueuesPort
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.sqs.checks import (
    READ_ONLY,
    as_attribute,
    attributes_md5,
    check_attributes,
    check_batch,
    check_fifo_id,
    check_message,
    check_name,
    defaults,
    whole_number,
)
from keepwarm_localcloud.services.sqs.queue import Message, Queue, Stored, sequence_number

METRICS_PERIOD_S: Final = 60
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""
ACTIVE_S: Final = 6 * 3_600
"""A queue is active for CloudWatch this long after its last message or use. Same page."""
_STOP_S: Final = 30.0
"""More than the one-time import of moto takes, which the thread may be in when it is told to stop."""
_ARN = re.compile(r"arn:aws[a-z-]*:sqs:([a-z0-9-]+):(\d{12}):([A-Za-z0-9_.-]+)\Z")


class SqsService(QueuesPort):
    """Standard and FIFO queues, complete, on the cloud's clock."""

    name = "sqs"

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queues: dict[str, Queue] = {}
        self._moves: list[dict[str, Any]] = []
        self._stopping = threading.Condition()
        self._stopped = False
        self._context: Context
        self._thread: threading.Thread | None = None
        self._operations: dict[str, Callable[[dict[str, Any], Request], dict[str, Any]]] = {
            "CreateQueue": self._create,
            "DeleteQueue": self._delete_queue,
            "ListQueues": self._list,
            "GetQueueUrl": self._url,
            "GetQueueAttributes": self._get_attributes,
            "SetQueueAttributes": self._set_attributes,
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change,
            "ChangeMessageVisibilityBatch": self._change_batch,
            "PurgeQueue": self._purge,
            "TagQueue": self._tag,
            "UntagQueue": self._untag,
            "ListQueueTags": self._tags,
            "ListDeadLetterSourceQueues": self._sources,
            "AddPermission": self._add_permission,
            "RemovePermission": self._remove_permission,
            "StartMessageMoveTask": self._move,
            "ListMessageMoveTasks": self._list_moves,
            "CancelMessageMoveTask": self._cancel_move,
        }

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
        operation = self._operations.get(request.target())
        if operation is None:
            raise AwsError(
                "InvalidAction",
                "The embedded cloud speaks the JSON protocol of SQS (boto3 1.29 and later, AWS CLI 1.30 and later).",
            )
        answer = operation(request.json(), request)
        return Response.of_json(answer, content_type="application/x-amz-json-1.0")

    # --- in-process API ------------------------------------------------------------------------------------

    def exists(self, arn: str) -> bool:
        """Tell whether a queue exists."""
        with self._lock:
            return arn in self._queues

    def queue(self, arn: str) -> Queue:
        """Find a queue by ARN.

        Raises:
            AwsError: QueueDoesNotExist.
        """
        with self._lock:
            queue = self._queues.get(arn)
        if queue is None:
            raise _no_queue()
        return queue

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

    def policy(self, queue_arn: str) -> dict[str, Any] | None:
        """The access policy of a queue, parsed; None without one."""
        text = self.policy_text(queue_arn)
        return json.loads(text) if text else None

    def policy_text(self, queue_arn: str) -> str | None:
        """The access policy of a queue as it was set; None without one."""
        with self._lock:
            queue = self._queues.get(queue_arn)
        return queue.settings.get("Policy") or None if queue is not None else None

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

    # --- queues --------------------------------------------------------------------------------------------

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

    def _create(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        name = check_name(call.get("QueueName"))
        given = call.get("Attributes") or {}
        fifo = name.endswith(".fifo")
        if (given.get("FifoQueue") == "true") != fifo:
            raise AwsError(
                "InvalidParameterValue",
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end "
                "with .fifo suffix and be 1 to 80 in length.",
            )
        arn = self._arn(name)
        with self._lock:
            settings = self._checked(given, arn, fifo=fifo, creating=True)
            existing = self._queues.get(arn)
            if existing is not None:
                for key, value in settings.items():
                    if existing.settings.get(key, "") != value:
                        raise AwsError(
                            "QueueNameExists",
                            f"A queue already exists with the same name and a different value for attribute {key}",
                        )
                return {"QueueUrl": self._url_of(name)}
            queue = Queue(
                name,
                arn,
                self._context.clock,
                {**defaults(fifo=fifo), **{k: v for k, v in settings.items() if v != ""}},
                dead_letter_queue=self._dead_letter_queue,
                journal=self._note,
            )
            if queue.settings.get("KmsMasterKeyId"):
                queue.settings["SqsManagedSseEnabled"] = "false"
                queue.settings.setdefault("KmsDataKeyReusePeriodSeconds", 300)
            queue.tags = dict(call.get("tags") or {})
            self._queues[arn] = queue
        return {"QueueUrl": self._url_of(name)}

    def _checked(self, given: Mapping[str, str], arn: str, *, fifo: bool, creating: bool) -> dict[str, Any]:
        return check_attributes(
            given,
            fifo=fifo,
            creating=creating,
            queue_exists=self.exists,
            allows_source=lambda target: self._allows(target, arn),
        )

    def _allows(self, target: str, source: str) -> bool:
        policy = self.queue(target).settings.get("RedriveAllowPolicy") or {"redrivePermission": "allowAll"}
        permission = policy["redrivePermission"]
        return permission == "allowAll" or (permission == "byQueue" and source in policy["sourceQueueArns"])

    def _delete_queue(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        with self._lock:
            self._queues.pop(queue.arn, None)
        queue.close()
        return {}

    def _list(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        prefix = call.get("QueueNamePrefix") or ""
        with self._lock:
            names = sorted(q.name for q in self._queues.values() if q.name.startswith(prefix))
        return self._page(call, "QueueUrls", [self._url_of(n) for n in names])

    def _page(self, call: dict[str, Any], key: str, urls: list[str]) -> dict[str, Any]:
        limit = whole_number("MaxResults", call["MaxResults"], 1, 1000) if call.get("MaxResults") else 1000
        try:
            start = int(call.get("NextToken") or 0)
        except ValueError as error:
            raise AwsError("InvalidParameterValue", "Invalid NextToken value.") from error
        page = urls[start : start + limit]
        answer: dict[str, Any] = {key: page} if page else {}
        # AWS pages only for a caller that gave MaxResults.
        if call.get("MaxResults") and start + limit < len(urls):
            answer["NextToken"] = str(start + limit)
        return answer

    def _url(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        return {"QueueUrl": self._url_of(self.queue(self._arn(str(call.get("QueueName")))).name)}

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

    def _get_attributes(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        wanted = call.get("AttributeNames") or []
        known = self._attributes_of(queue)
        if "All" in wanted:
            return {"Attributes": known}
        from keepwarm_localcloud.services.sqs.checks import KNOWN

        for name in wanted:
            if name not in KNOWN and name not in READ_ONLY:
                raise AwsError("InvalidAttributeName", f"Unknown Attribute {name}.")
        chosen = {n: known[n] for n in wanted if n in known}
        return {"Attributes": chosen} if chosen else {}

    def _set_attributes(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        given = call.get("Attributes")
        if not given:
            raise AwsError("MissingParameter", "The request must contain the parameter Attribute.Name.")
        with self._lock:
            settings = self._checked(given, queue.arn, fifo=queue.fifo, creating=False)
            fresh = {**queue.settings, **settings}
            if settings.get("KmsMasterKeyId"):
                fresh["SqsManagedSseEnabled"] = "false"
                fresh.setdefault("KmsDataKeyReusePeriodSeconds", 300)
            elif settings.get("SqsManagedSseEnabled") == "true":
                fresh.pop("KmsMasterKeyId", None)
            queue.settings = {k: v for k, v in fresh.items() if v != ""}
            queue.modified_s = self._context.clock.now_s()
        # Outside the lock: a receive asks for the dead-letter queue under the queue's.
        if queue.fifo and "DelaySeconds" in settings:
            queue.delay_anew()
        return {}

    def _purge(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        self._named(call).purge()
        return {}

    def _tag(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        self._named(call).tags.update(call.get("Tags") or {})
        return {}

    def _untag(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        for key in call.get("TagKeys") or []:
            queue.tags.pop(key, None)
        return {}

    def _tags(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        tags = self._named(call).tags
        return {"Tags": dict(tags)} if tags else {}

    def _sources(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        target = self._named(call)
        with self._lock:
            names = sorted(
                q.name
                for q in self._queues.values()
                if (q.settings.get("RedrivePolicy") or {}).get("deadLetterTargetArn") == target.arn
            )
        return {"queueUrls": [], **self._page(call, "queueUrls", [self._url_of(n) for n in names])}

    def _add_permission(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        with self._lock:
            policy = self.policy(queue.arn) or {"Version": "2012-10-17", "Statement": []}
            label = str(call.get("Label"))
            if any(s.get("Sid") == label for s in policy["Statement"]):
                raise AwsError(
                    "InvalidParameterValue",
                    f"Value {label} for parameter Label is invalid. Reason: Already exists.",
                )
            policy["Statement"].append(
                {
                    "Sid": label,
                    "Effect": "Allow",
                    "Principal": {"AWS": [f"arn:aws:iam::{a}:root" for a in call.get("AWSAccountIds") or []]},
                    "Action": [f"SQS:{a}" for a in call.get("Actions") or []],
                    "Resource": queue.arn,
                }
            )
            queue.settings["Policy"] = json.dumps(policy)
        return {}

    def _remove_permission(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        with self._lock:
            policy = self.policy(queue.arn) or {"Statement": []}
            left = [s for s in policy["Statement"] if s.get("Sid") != call.get("Label")]
            if len(left) == len(policy["Statement"]):
                raise AwsError(
                    "InvalidParameterValue",
                    f"Value {call.get('Label')} for parameter Label is invalid. Reason: can't find label.",
                )
            if left:
                queue.settings["Policy"] = json.dumps({**policy, "Statement": left})
            else:
                queue.settings.pop("Policy", None)
        return {}

    # --- messages ------------------------------------------------------------------------------------------

    def _send_one(
        self, queue: Queue, entry: Mapping[str, Any], sender: str = ""
    ) -> tuple[Stored, str | None, str]:
        body, attributes, size = check_message(
            entry.get("MessageBody"),
            entry.get("MessageAttributes"),
            int(queue.settings["MaximumMessageSize"]),
        )
        delay = entry.get("DelaySeconds")
        if delay is not None:
            whole_number("DelaySeconds", delay, 0, limits.SQS_DELAY_MAX_S)
        group, deduplication = entry.get("MessageGroupId"), entry.get("MessageDeduplicationId")
        self._check_fifo(queue, group, deduplication, delay)
        system = {"SenderId": sender} if sender else {}
        trace = (entry.get("MessageSystemAttributes") or {}).get("AWSTraceHeader")
        if trace:
            system["AWSTraceHeader"] = str(trace.get("StringValue", ""))
        stored = queue.send(
            body,
            message_attributes=attributes,
            system=system,
            delay_s=delay,
            group=group,
            deduplication=deduplication,
            size=size,
        )
        return stored, attributes_md5(attributes), body

    def _check_fifo(self, queue: Queue, group: Any, deduplication: Any, delay: Any) -> None:
        if group is not None:
            check_fifo_id("MessageGroupId", group)
        if not queue.fifo:
            if deduplication is not None:
                raise AwsError(
                    "InvalidParameterValue",
                    f"Value {deduplication} for parameter MessageDeduplicationId is invalid. Reason: The request "
                    "includes a parameter that is not valid for this queue type.",
                )
            return
        if group is None:
            raise AwsError("MissingParameter", "The request must contain the parameter MessageGroupId.")
        if deduplication is not None:
            check_fifo_id("MessageDeduplicationId", deduplication)
        elif queue.settings.get("ContentBasedDeduplication") != "true":
            raise AwsError(
                "InvalidParameterValue",
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
                "explicitly",
            )
        if delay:
            raise AwsError(
                "InvalidParameterValue",
                f"Value {delay} for parameter DelaySeconds is invalid. Reason: The request include parameter that is "
                "not valid for this queue type.",
            )

    def _sent(self, queue: Queue, entry: Mapping[str, Any], request: Request) -> dict[str, Any]:
        import hashlib

        sender = request.caller.role_arn or ""
        stored, attributes, body = self._send_one(queue, entry, sender)
        answer = {
            "MessageId": stored.message_id,
            "MD5OfMessageBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        }
        if attributes:
            answer["MD5OfMessageAttributes"] = attributes
        if queue.fifo:
            answer["SequenceNumber"] = sequence_number(stored.sequence)
        return answer

    def _send(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        return self._sent(self._named(call), call, request)

    def _send_batch(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        entries = check_batch(call.get("Entries"))
        total = sum(len(str(e.get("MessageBody", "")).encode()) for e in entries)
        if total > limits.SQS_MESSAGE_MAX_BYTES:
            raise AwsError(
                "BatchRequestTooLong",
                f"Batch requests cannot be longer than {limits.SQS_MESSAGE_MAX_BYTES} bytes. "
                f"You have sent {total} bytes.",
            )
        return _each(entries, lambda entry: self._sent(queue, entry, request))

    def _receive(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        limit = whole_number(
            "MaxNumberOfMessages", call.get("MaxNumberOfMessages", 1), 1, limits.SQS_BATCH_MAX
        )
        wait_s = call.get("WaitTimeSeconds")
        wait_s = queue.settings["ReceiveMessageWaitTimeSeconds"] if wait_s is None else wait_s
        whole_number("WaitTimeSeconds", wait_s, 0, limits.SQS_WAIT_MAX_S)
        visibility = call.get("VisibilityTimeout")
        if visibility is not None:
            whole_number("VisibilityTimeout", visibility, 0, limits.SQS_VISIBILITY_MAX_S)
        received = queue.receive(limit, wait_s=wait_s, visibility_s=visibility)
        system = [*(call.get("AttributeNames") or []), *(call.get("MessageSystemAttributeNames") or [])]
        wanted = call.get("MessageAttributeNames") or []
        messages = [_rendered(m, system, wanted) for m in received]
        return {"Messages": messages} if messages else {}

    def _delete(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        self._named(call).delete(_handle_of(call))
        return {}

    def _delete_batch(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)

        def one(entry: dict[str, Any]) -> dict[str, Any]:
            queue.delete(_handle_of(entry))
            return {}

        return _each(check_batch(call.get("Entries")), one)

    def _change_one(self, queue: Queue, entry: Mapping[str, Any]) -> dict[str, Any]:
        seconds = whole_number(
            "VisibilityTimeout", entry.get("VisibilityTimeout"), 0, limits.SQS_VISIBILITY_MAX_S
        )
        queue.change_visibility(_handle_of(entry), seconds)
        return {}

    def _change(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        return self._change_one(self._named(call), call)

    def _change_batch(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        return _each(check_batch(call.get("Entries")), lambda entry: self._change_one(queue, entry))

    # --- dead letters --------------------------------------------------------------------------------------

    def _dead_letter_queue(self, queue: Queue) -> Queue | None:
        target = queue.settings["RedrivePolicy"]["deadLetterTargetArn"]
        with self._lock:
            destination = self._queues.get(target)
        # A target that is gone leaves the message where it is, as on AWS.
        return destination if destination is not None and self._allows(target, queue.arn) else None

    def _move(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        source = self._by_arn(call.get("SourceArn"))
        with self._lock:
            is_target = any(
                (q.settings.get("RedrivePolicy") or {}).get("deadLetterTargetArn") == source.arn
                for q in self._queues.values()
            )
        if not is_target:
            raise AwsError("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
        destination = self._by_arn(call["DestinationArn"]) if call.get("DestinationArn") else None
        moved = failed = 0
        for message in source.drain():
            target = destination
            if target is None:
                with self._lock:
                    target = self._queues.get(message.source_arn)
            if target is None:
                source.take_over(message, message.source_arn, keep_age=True)
                failed += 1
            else:
                target.take_over(message, "", keep_age=False)
                moved += 1
        handle = f"move-{len(self._moves) + 1}"
        task = {
            "TaskHandle": handle,
            "Status": "COMPLETED" if not failed else "FAILED",
            "SourceArn": source.arn,
            "ApproximateNumberOfMessagesMoved": moved,
            "ApproximateNumberOfMessagesToMove": moved + failed,
            "StartedTimestamp": int(self._context.clock.now_s() * 1000),
        }
        if destination is not None:
            task["DestinationArn"] = destination.arn
        self._moves.append(task)
        return {"TaskHandle": handle}

    def _list_moves(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        source = self._by_arn(call.get("SourceArn"))
        limit = whole_number("MaxResults", call.get("MaxResults", 1), 1, 10)
        found = [t for t in reversed(self._moves) if t["SourceArn"] == source.arn][:limit]
        # Only a running task shows its handle.
        return {"Results": [{k: v for k, v in t.items() if k != "TaskHandle"} for t in found]}

    def _cancel_move(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        raise AwsError("ResourceNotFoundException", "Task does not exist or is no longer running.", 404)

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


def _no_queue() -> AwsError:
    return AwsError("QueueDoesNotExist", "The specified queue does not exist.")


def _handle_of(call: Mapping[str, Any]) -> str:
    handle = call.get("ReceiptHandle")
    if not isinstance(handle, str) or not handle:
        raise AwsError("MissingParameter", "The request must contain the parameter ReceiptHandle.")
    return handle


def _each(entries: list[dict[str, Any]], one: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for entry in entries:
        try:
            done.append({"Id": entry["Id"], **one(entry)})
        except AwsError as error:
            failed.append(
                {"Id": entry["Id"], "SenderFault": True, "Code": error.code, "Message": error.message}
            )
    answer: dict[str, Any] = {"Successful": done}
    if failed:
        answer["Failed"] = failed
    return answer


def _rendered(message: Message, system: list[str], wanted: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": message.md5,
        "Body": message.body,
    }
    attributes = {k: v for k, v in message.attributes.items() if "All" in system or k in system}
    if attributes:
        answer["Attributes"] = attributes
    chosen = {k: v for k, v in message.message_attributes.items() if any(_matches(k, w) for w in wanted)}
    if chosen:
        answer["MessageAttributes"] = chosen
        answer["MD5OfMessageAttributes"] = attributes_md5(chosen)
    return answer


def _matches(name: str, wanted: str) -> bool:
    if wanted in ("All", ".*"):
        return True
    return name.startswith(wanted[:-1]) if wanted.endswith(".*") else name == wanted
