"""Operations on messages: send, receive, delete, change visibility."""

from collections.abc import Callable, Mapping
from typing import Any

from keepwarm import limits
from keepwarm_localcloud.request import AwsError, Request
from keepwarm_localcloud.services.sqs.checks import (
    attributes_md5,
    check_batch,
    check_fifo_id,
    check_message,
    whole_number,
)
from keepwarm_localcloud.services.sqs.model import Message, Stored, sequence_number
from keepwarm_localcloud.services.sqs.queue import Queue
from keepwarm_localcloud.services.sqs.state import SqsState


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


class MessagesApi(SqsState):
    """Operations on messages: send, receive, delete, change visibility."""

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

    def _do_send_message(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        return self._sent(self._named(call), call, request)

    def _do_send_message_batch(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
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

    def _do_receive_message(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
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

    def _do_delete_message(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        self._named(call).delete(_handle_of(call))
        return {}

    def _do_delete_message_batch(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
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

    def _do_change_message_visibility(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        return self._change_one(self._named(call), call)

    def _do_change_message_visibility_batch(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        return _each(check_batch(call.get("Entries")), lambda entry: self._change_one(queue, entry))
