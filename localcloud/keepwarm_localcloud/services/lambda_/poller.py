"""Receives for one event source mapping: batches, invocations, what stays in the queue.

A batch is received only when the mapping has a free slot, so that `MaximumConcurrency` never costs a message one of
its receives; a throttled invocation is tried again while the messages are still hidden.
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from keepwarm import limits
from keepwarm_localcloud.ports import Received
from keepwarm_localcloud.request import AwsError, Caller
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_ import patterns
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.invocations import Invocations
from keepwarm_localcloud.services.lambda_.metrics import Metrics

_TROUBLE_S = 0.5
"""Real seconds between attempts to read a queue that refuses."""


_GROWTH_S = 1.0
"""Real seconds between looks at whether the number of batches at once has grown."""


_RETRY_FIRST_S = 0.5


_RETRY_MAX_S = 20.0


_BATCH_BYTES = limits.LAMBDA_SYNC_PAYLOAD_MAX_BYTES


@dataclass(slots=True)
class EventSourceMapping:
    """One event source mapping."""

    id: str
    arn: str
    queue_arn: str
    function: str
    qualifier: str | None
    batch_size: int
    window_s: int
    max_concurrency: int | None
    report_failures: bool
    filters: list[str]
    enabled: bool
    modified_s: float
    tags: dict[str, str] = field(default_factory=dict)
    last_result: str = "No records processed"
    metrics: list[str] = field(default_factory=list)

    @property
    def fifo(self) -> bool:
        """The queue keeps order."""
        return self.queue_arn.endswith(".fifo")


class Poller:
    """Receives for one mapping: one thread receives, a worker per batch invokes."""

    def __init__(
        self,
        context: Context,
        functions: Functions,
        invocations: Invocations,
        metrics: Metrics,
        mapping: EventSourceMapping,
    ) -> None:
        self._context = context
        self._metrics = metrics
        self._functions = functions
        self._invocations = invocations
        self._mapping = mapping
        self._sqs = context.peers.queues
        self._patterns = [patterns.parse(text) for text in mapping.filters]
        self._wake = threading.Condition()
        self._active = 0
        self._busy_since_s: float | None = None
        self._closed = False
        self._troubled = False
        self._workers = ThreadPoolExecutor(
            mapping.max_concurrency or limits.ESM_CONCURRENCY_DEFAULT_MAX, f"keepwarm-esm-{mapping.id[:8]}"
        )
        self._thread = threading.Thread(target=self._run, name=f"keepwarm-esm-{mapping.id[:8]}", daemon=True)
        self._thread.start()

    @property
    def mapping_id(self) -> str:
        """Identifier of the mapping it receives for."""
        return self._mapping.id

    @property
    def active(self) -> int:
        """Batches that run now."""
        return self._active

    def signal_close(self) -> None:
        """Receive nothing more; what runs may finish."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._sqs.wake(self._mapping.queue_arn)

    def close(self) -> None:
        """End the poller after the batches that run. Idempotent."""
        self.signal_close()
        self._thread.join()
        self._workers.shutdown(wait=True)

    def _slots(self) -> int:
        """Batches that may run at once now: MaximumConcurrency, or AWS's growth from 5 by 300 a minute."""
        if self._mapping.max_concurrency is not None:
            return self._mapping.max_concurrency
        since_s = 0.0 if self._busy_since_s is None else self._context.clock.now_s() - self._busy_since_s
        grown = limits.ESM_POLLERS_START + int(since_s / 60 * limits.ESM_POLLERS_ADDED_PER_MIN)
        return min(grown, limits.ESM_CONCURRENCY_DEFAULT_MAX)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._closed and self._active >= self._slots():
                    self._wake.wait(_GROWTH_S)
                if self._closed:
                    return
            messages = self._gather()
            if not messages:
                with self._wake:
                    if not self._active:
                        self._busy_since_s = None
                    if self._troubled and not self._closed:
                        # The queue can't be read now; without this the refusals would follow each other at once.
                        self._wake.wait(_TROUBLE_S)
                continue
            with self._wake:
                self._busy_since_s = self._busy_since_s or self._context.clock.now_s()
                self._active += 1
            self._workers.submit(self._batch, messages)

    def _gather(self) -> list[Received]:
        """Receive one batch: until it is full, its bytes are, or the window has passed since the first message."""
        size, taken = self._mapping.batch_size, list[Received]()
        until_s: float | None = None
        used = 0
        while not self._closed:
            left_s = (
                float(limits.SQS_WAIT_MAX_S) if until_s is None else until_s - self._context.clock.now_s()
            )
            found = self._receive(min(limits.SQS_BATCH_MAX, size - len(taken)), max(left_s, 0.0))
            taken += found
            used += sum(len(m.body.encode()) for m in found)
            now_s = self._context.clock.now_s()
            if taken and until_s is None:
                until_s = now_s + self._mapping.window_s
            full = len(taken) >= size or used + limits.SQS_MESSAGE_MAX_BYTES * 2 > _BATCH_BYTES
            if full or until_s is None or (not found and now_s >= until_s) or not self._mapping.window_s:
                break
        return taken

    def _receive(self, count: int, wait_s: float) -> Sequence[Received]:
        mapping = self._mapping
        self._troubled = False
        try:
            function, _ = self._functions.find(mapping.function)
            version = self._functions.version(function, mapping.qualifier)
            role = Caller(role_arn=version.config["Role"])
            self._context.authorize(role, "sqs:ReceiveMessage", mapping.queue_arn)
            return self._sqs.receive(mapping.queue_arn, count, wait_s=wait_s, cancelled=lambda: self._closed)
        except AwsError as error:
            # A function, queue or permission that is gone stops the flow, not the mapping: it may come back.
            self._result(f"PROBLEM: {error.code}: {error.message}")
            self._troubled = True
            return []

    def _batch(self, messages: list[Received]) -> None:
        received_s = self._context.clock.now_s()
        try:
            self._count("PolledEventCount", len(messages))
            wanted = self._filtered(messages)
            self._count("FilteredOutEventCount", len(messages) - len(wanted))
            if wanted:
                self._invoke(wanted, received_s)
        finally:
            with self._wake:
                self._active -= 1
                self._wake.notify_all()

    def _filtered(self, messages: list[Received]) -> list[Received]:
        if not self._patterns:
            return messages
        wanted = []
        for message in messages:
            record = self._record(message)
            try:
                record["body"] = json.loads(message.body)
            except ValueError:
                record["body"] = message.body
            if any(patterns.matches(pattern, record) for pattern in self._patterns):
                wanted.append(message)
            else:
                self._delete(message)
        return wanted

    def _invoke(self, messages: list[Received], received_s: float) -> None:
        mapping = self._mapping
        event = json.dumps({"Records": [self._record(m) for m in messages]}).encode()
        visibility_s = int(self._sqs.attributes(mapping.queue_arn)["VisibilityTimeout"])
        delay_s = _RETRY_FIRST_S
        throttles = 0
        while True:
            try:
                result = self._invocations.invoke(mapping.function, event, qualifier=mapping.qualifier)
                break
            except AwsError as error:
                now_s = self._context.clock.now_s()
                again = (
                    error.code == "TooManyRequestsException" and now_s + delay_s < received_s + visibility_s
                )
                if not again or self._closed:
                    self._note(messages, len(messages), f"PROBLEM: {error.code}: {error.message}", throttles)
                    return
                throttles += 1
                with self._wake:
                    self._context.clock.wait_until(self._wake, now_s + delay_s)
                delay_s = min(delay_s * 2, _RETRY_MAX_S)
        every = {m.message_id for m in messages}
        if result.function_error:
            failed = every
        else:
            failed = failed_ids(every, result.payload) if mapping.report_failures else set()
        self._count("InvokedEventCount", len(messages))
        self._count("FailedInvokeEventCount", len(failed))
        for message in messages:
            if message.message_id not in failed:
                self._delete(message)
        outcome = "PROBLEM: Function call failed" if result.function_error else "OK"
        self._note(messages, len(failed), outcome, throttles)

    def _delete(self, message: Received) -> None:
        mapping = self._mapping
        try:
            function, _ = self._functions.find(mapping.function)
            role = self._functions.version(function, mapping.qualifier).config["Role"]
            self._context.authorize(Caller(role_arn=role), "sqs:DeleteMessage", mapping.queue_arn)
            self._sqs.delete(mapping.queue_arn, message.receipt_handle)
            self._count("DeletedEventCount", 1)
        except AwsError as error:
            # The message stays and comes back, as it does on AWS when the delete is refused.
            self._result(f"PROBLEM: {error.code}: {error.message}")

    def _note(self, messages: list[Received], failed: int, result: str, throttles: int) -> None:
        self._result(result)
        mapping = self._mapping
        self._context.journal.write(
            "esm",
            mapping=mapping.id,
            function=mapping.function,
            queue=mapping.queue_arn.rpartition(":")[2],
            event="batch",
            messages=len(messages),
            failed=failed,
            throttles=throttles,
            result=result,
            active=self._active,
        )

    def _count(self, name: str, value: int) -> None:
        """Count for the metrics a mapping publishes when it is asked to (`EventCount`).

        https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
        """
        if "EventCount" in self._mapping.metrics and value:
            self._metrics.add_of_mapping(self._mapping.id, name, value)

    def _result(self, text: str) -> None:
        self._mapping.last_result = text

    def _record(self, message: Received) -> dict[str, Any]:
        record: dict[str, Any] = {
            "messageId": message.message_id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": message.attributes,
            "messageAttributes": {n: _attribute(a) for n, a in message.message_attributes.items()},
            "md5OfBody": message.md5,
            "eventSource": "aws:sqs",
            "eventSourceARN": self._mapping.queue_arn,
            "awsRegion": self._context.region,
        }
        if message.md5_of_attributes:
            record["md5OfMessageAttributes"] = message.md5_of_attributes
        return record


def failed_ids(every: set[str], payload: bytes) -> set[str]:
    """Ids of the messages that stay in the queue after an answer with ReportBatchItemFailures.

    An answer that can't be read, or that names a message which is not in the batch, keeps them all.
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    try:
        answer = json.loads(payload) if payload.strip() else None
    except (ValueError, RecursionError):
        return every
    if answer is None or answer == "":
        return set()
    if not isinstance(answer, dict):
        return every
    failures = answer.get("batchItemFailures")
    if failures is None:
        return set()
    if not isinstance(failures, list):
        return every
    ids = [f.get("itemIdentifier") if isinstance(f, dict) else None for f in failures]
    named = {i for i in ids if isinstance(i, str) and i in every}
    return named if len(named) == len(set(map(repr, ids))) else every


def _attribute(attribute: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": attribute["DataType"],
    }
    if "StringValue" in attribute:
        shown["stringValue"] = attribute["StringValue"]
    if "BinaryValue" in attribute:
        value = attribute["BinaryValue"]
        shown["binaryValue"] = value.decode() if isinstance(value, bytes) else value
    return shown
