"""Event source mappings of SQS queues: pollers with the semantics AWS documents, and no message lost or burnt.

A batch is received only when the mapping has a free slot, so that `MaximumConcurrency` never costs a message one of
its receives; a throttled invocation is tried again while the messages are still hidden.
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

import threading
import uuid

from keepwarm import limits
from keepwarm_localcloud.request import AwsError, Caller
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_ import patterns
from keepwarm_localcloud.services.lambda_.errors import conflict, invalid, refuse
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.invocations import Invocations
from keepwarm_localcloud.services.lambda_.metrics import Metrics
from keepwarm_localcloud.services.lambda_.model import Function
from keepwarm_localcloud.services.lambda_.poller import EventSourceMapping, Poller
from keepwarm_localcloud.services.lambda_.shapes import Params, page

_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
"""What the function's role needs: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""


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
        self._mappings: dict[str, EventSourceMapping] = {}
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
        mapping = EventSourceMapping(
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

    def _changed(self, mapping: EventSourceMapping, p: Params) -> EventSourceMapping:
        """Return a mapping as a request wants it.

        Raises:
            AwsError: the request is refused.
        """
        changed = EventSourceMapping(
            **{name: getattr(mapping, name) for name in EventSourceMapping.__slots__}
        )
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

    def _start(self, mapping: EventSourceMapping) -> None:
        """Poll for a mapping that is enabled; the lock is held."""
        if mapping.enabled and not self._closed:
            self._pollers[mapping.id] = Poller(
                self._context, self._functions, self._invocations, self._metrics, mapping
            )

    def _retire(self, identity: str) -> list[Poller]:
        """Take a mapping's poller out; return all of the mapping that must end. The lock is held."""
        poller = self._pollers.pop(identity, None)
        if poller is not None:
            self._ending.append(poller)
        return [p for p in self._ending if p.mapping_id == identity]

    def _end(self, pollers: list[Poller]) -> None:
        """Wait until pollers have ended, also when another request waits for them too."""
        for poller in pollers:
            poller.close()
        with self._lock:
            self._ending = [p for p in self._ending if p not in pollers]

    def _find(self, p: Params) -> EventSourceMapping:
        with self._lock:
            found = self._mappings.get(p["UUID"])
        if found is None:
            raise AwsError("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        return found

    @staticmethod
    def _apply(mapping: EventSourceMapping, p: Params) -> None:
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

    def _check(self, mapping: EventSourceMapping, function: Function) -> None:
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

    def _view(self, mapping: EventSourceMapping, state: str) -> Params:
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
