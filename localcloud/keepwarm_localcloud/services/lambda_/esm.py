"""Event source mappings of SQS queues: pollers with the semantics AWS documents, and no message lost or burnt.

A batch is received only when the mapping has a free slot, so that `MaximumConcurrency` never costs a message one of
its receives; a throttled invocation is tried again while the messages are still hidden.
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

import json
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from keepwarm import limits
from keepwarm_localcloud.ports import Received
from keepwarm_localcloud.request import AwsError, Caller
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_ import patterns
from keepwarm_localcloud.services.lambda_.errors import conflict, invalid, refuse
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.invocations import Invocations
from keepwarm_localcloud.services.lambda_.metrics import Metrics
from keepwarm_localcloud.services.lambda_.model import Function
from keepwarm_localcloud.services.lambda_.shapes import Params, page

_TROUBLE_S = 0.5
"""Real seconds between attempts to read a queue that refuses."""
_GROWTH_S = 1.0
"""Real seconds between looks at whether the number of batches at once has grown."""
_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 20.0
_BATCH_BYTES = limits.LAMBDA_SYNC_PAYLOAD_MAX_BYTES
_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
"""What the function's role needs: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""


@dataclass(slots=True)
class Mapping:
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


class Mappings:
    """The mappings and the operations on them."""

    def __init__(
        self, context: Context, functions: Functions, invocations: Invocations, metrics: Metrics
    ) -> None:
        self._context = context
        self._metrics = metrics
        self._functions = functions
        self._invocations = invocations
        self._lock = threading.Lock()
        self._mappings: dict[str, Mapping] = {}
        self._pollers: dict[str, Poller] = {}
        self._ending: list[Poller] = []
        """Pollers that receive nothing more and whose batches may still run."""
        self._closed = False

    def all(self) -> list[str]:
        """Identifiers of all mappings."""
        with self._lock:
            return list(self._mappings)

    def in_flight(self) -> int:
        """Batches that are received and not yet answered, over all mappings."""
        with self._lock:
            return sum(poller.active for poller in (*self._pollers.values(), *self._ending))

    def tags_of(self, arn: str) -> dict[str, str] | None:
        """Tags of the mapping with an ARN; None when the ARN is no mapping's."""
        with self._lock:
            return next((m.tags for m in self._mappings.values() if m.arn == arn), None)

    def create_event_source_mapping(self, p: Params) -> Params:
        """CreateEventSourceMapping."""
        queue_arn = p.get("EventSourceArn", "")
        if queue_arn.count(":") != 5 or queue_arn.split(":")[2] != "sqs":
            raise refuse(
                "KW625",
                f"EventSourceArn: got {queue_arn or 'none'}; allowed here SQS queues; because the embedded cloud polls "
                "no streams; fix: use a queue",
            )
        function, qualifier = self._functions.find(p["FunctionName"])
        self._functions.version(function, qualifier)
        identity = str(uuid.uuid4())
        arn = f"arn:aws:lambda:{self._context.region}:{self._context.account_id}:event-source-mapping:{identity}"
        mapping = Mapping(
            identity, arn, queue_arn, function.name, qualifier, limits.ESM_BATCH_DEFAULT, 0, None, False, [],
            p.get("Enabled", True), self._context.clock.now_s(), dict(p.get("Tags") or {}),
        )  # fmt: skip
        self._apply(mapping, p)
        self._check(mapping, function)
        with self._lock:
            for other in self._mappings.values():
                if (other.queue_arn, other.function, other.qualifier) == (
                    queue_arn,
                    function.name,
                    qualifier,
                ):
                    raise conflict(
                        f'An event source mapping with SQS arn (" {queue_arn} ") and function '
                        f'(" {function.name} ") already '
                        f"exists. Please update or delete the existing mapping with UUID {other.id}"
                    )
            self._mappings[identity] = mapping
            self._start(mapping)
        return self._view(mapping, "Creating")

    def update_event_source_mapping(self, p: Params) -> Params:
        """UpdateEventSourceMapping; batches that run finish with the old settings first."""
        while True:
            mapping = self._find(p)
            changed = self._changed(mapping, p)
            with self._lock:
                if self._mappings.get(mapping.id) is not mapping:
                    # Changed or deleted while this request was checked: it counts on what is there now.
                    continue
                self._mappings[mapping.id] = changed
                ending = self._retire(mapping.id)
            break
        self._end(ending)
        with self._lock:
            # Whoever changed or deleted it during the wait decides what polls.
            if self._mappings.get(mapping.id) is changed:
                self._start(changed)
        same = mapping.enabled == changed.enabled
        return self._view(changed, "Updating" if same else "Enabling" if changed.enabled else "Disabling")

    def _changed(self, mapping: Mapping, p: Params) -> Mapping:
        """Return a mapping as a request wants it.

        Raises:
            AwsError: the request is refused.
        """
        changed = Mapping(**{name: getattr(mapping, name) for name in Mapping.__slots__})
        if p.get("FunctionName"):
            function, qualifier = self._functions.find(p["FunctionName"])
            changed.function, changed.qualifier = function.name, qualifier
        function, _ = self._functions.find(changed.function)
        self._functions.version(function, changed.qualifier)
        self._apply(changed, p)
        changed.enabled = p.get("Enabled", mapping.enabled)
        self._check(changed, function)
        changed.modified_s = self._context.clock.now_s()
        return changed

    def get_event_source_mapping(self, p: Params) -> Params:
        """GetEventSourceMapping."""
        mapping = self._find(p)
        return self._view(mapping, "Enabled" if mapping.enabled else "Disabled")

    def delete_event_source_mapping(self, p: Params) -> Params:
        """DeleteEventSourceMapping; batches that run finish first."""
        mapping = self._find(p)
        with self._lock:
            self._mappings.pop(mapping.id, None)
            ending = self._retire(mapping.id)
        self._end(ending)
        return self._view(mapping, "Deleting")

    def list_event_source_mappings(self, p: Params) -> Params:
        """ListEventSourceMappings."""
        wanted = None
        if p.get("FunctionName"):
            function, qualifier = self._functions.find(p["FunctionName"])
            wanted = (function.name, qualifier)
        with self._lock:
            found = [
                m
                for m in self._mappings.values()
                if (wanted is None or wanted == (m.function, m.qualifier))
                and p.get("EventSourceArn") in (None, m.queue_arn)
            ]
        rows = [self._view(m, "Enabled" if m.enabled else "Disabled") for m in found]
        return page(rows, p, "EventSourceMappings", "NextMarker")

    def signal_close(self) -> None:
        """Receive nothing more, also for mappings whose change is under way."""
        with self._lock:
            self._closed = True
            pollers = list(self._pollers.values())
        for poller in pollers:
            poller.signal_close()

    def close(self) -> None:
        """End every poller. Idempotent."""
        self.signal_close()
        with self._lock:
            self._ending += self._pollers.values()
            self._pollers.clear()
            ending = list(self._ending)
        self._end(ending)

    def _start(self, mapping: Mapping) -> None:
        """Poll for a mapping that is enabled; the lock is held."""
        if mapping.enabled and not self._closed:
            self._pollers[mapping.id] = Poller(
                self._context, self._functions, self._invocations, self._metrics, mapping
            )

    def _retire(self, identity: str) -> list["Poller"]:
        """Take a mapping's poller out; return all of the mapping that must end. The lock is held."""
        poller = self._pollers.pop(identity, None)
        if poller is not None:
            self._ending.append(poller)
        return [p for p in self._ending if p.mapping_id == identity]

    def _end(self, pollers: list["Poller"]) -> None:
        """Wait until pollers have ended, also when another request waits for them too."""
        for poller in pollers:
            poller.close()
        with self._lock:
            self._ending = [p for p in self._ending if p not in pollers]

    def _find(self, p: Params) -> Mapping:
        with self._lock:
            found = self._mappings.get(p["UUID"])
        if found is None:
            raise AwsError("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        return found

    @staticmethod
    def _apply(mapping: Mapping, p: Params) -> None:
        if p.get("BatchSize") is not None:
            mapping.batch_size = int(p["BatchSize"])
        if p.get("MaximumBatchingWindowInSeconds") is not None:
            mapping.window_s = int(p["MaximumBatchingWindowInSeconds"])
        if p.get("ScalingConfig") is not None:
            mapping.max_concurrency = p["ScalingConfig"].get("MaximumConcurrency")
        if p.get("FunctionResponseTypes") is not None:
            mapping.report_failures = "ReportBatchItemFailures" in p["FunctionResponseTypes"]
        if p.get("FilterCriteria") is not None:
            mapping.filters = [f["Pattern"] for f in p["FilterCriteria"].get("Filters") or []]
        if p.get("MetricsConfig") is not None:
            mapping.metrics = list(p["MetricsConfig"].get("Metrics") or [])

    def _check(self, mapping: Mapping, function: Function) -> None:
        """Refuse what AWS refuses.

        Raises:
            AwsError: InvalidParameterValueException.
        """
        sqs = self._context.peers.queues
        if not sqs.exists(mapping.queue_arn):
            raise invalid(
                "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
                "SQS Error Message: The specified queue does not exist."
            )
        if mapping.fifo and mapping.batch_size > limits.ESM_BATCH_MAX_FIFO:
            raise invalid(
                f"Maximum batch size for FIFO queues is {limits.ESM_BATCH_MAX_FIFO}, got {mapping.batch_size}."
            )
        if mapping.fifo and mapping.window_s:
            raise invalid("Batching window is not supported for FIFO queues.")
        if mapping.batch_size > limits.ESM_BATCH_MAX_WITHOUT_WINDOW and mapping.window_s < 1:
            raise invalid(
                "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than "
                f"{limits.ESM_BATCH_MAX_WITHOUT_WINDOW}"
            )
        for text in mapping.filters:
            patterns.parse(text)
        version = self._functions.version(function, mapping.qualifier)
        visibility_s = int(sqs.attributes(mapping.queue_arn)["VisibilityTimeout"])
        if visibility_s < version.timeout_s:
            raise invalid(
                f"Queue visibility timeout: {visibility_s} seconds is less than Function timeout: "
                f"{version.timeout_s} seconds"
            )
        if not mapping.enabled:
            return
        role = Caller(role_arn=version.config["Role"])
        for action in _ACTIONS:
            try:
                self._context.authorize(role, action, mapping.queue_arn)
            except AwsError as error:
                verb = action.partition(":")[2]
                raise invalid(
                    f"The function execution role does not have permissions to call {verb} on SQS"
                ) from error

    def _view(self, mapping: Mapping, state: str) -> Params:
        name = f"{mapping.function}:{mapping.qualifier}" if mapping.qualifier else mapping.function
        answer: Params = {
            "UUID": mapping.id,
            "EventSourceMappingArn": mapping.arn,
            "EventSourceArn": mapping.queue_arn,
            "FunctionArn": self._functions.arn(name),
            "BatchSize": mapping.batch_size,
            "MaximumBatchingWindowInSeconds": mapping.window_s,
            "State": state,
            "StateTransitionReason": "USER_INITIATED",
            "LastModified": mapping.modified_s,
            "LastProcessingResult": mapping.last_result,
            "FunctionResponseTypes": ["ReportBatchItemFailures"] if mapping.report_failures else [],
        }
        if mapping.max_concurrency is not None:
            answer["ScalingConfig"] = {"MaximumConcurrency": mapping.max_concurrency}
        if mapping.filters:
            answer["FilterCriteria"] = {"Filters": [{"Pattern": f} for f in mapping.filters]}
        if mapping.metrics:
            answer["MetricsConfig"] = {"Metrics": mapping.metrics}
        return answer


class Poller:
    """Receives for one mapping: one thread receives, a worker per batch invokes."""

    def __init__(
        self,
        context: Context,
        functions: Functions,
        invocations: Invocations,
        metrics: Metrics,
        mapping: Mapping,
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
