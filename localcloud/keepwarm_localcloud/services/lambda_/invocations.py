"""Invoking: synchronous, dry, and the queue of asynchronous events with its retries, destinations and dead letters.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

import base64
import heapq
import itertools
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from keepwarm import limits
from keepwarm_localcloud.request import AwsError, Caller
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.metrics import Metrics
from keepwarm_localcloud.services.lambda_.model import LATEST, Function, Version
from keepwarm_localcloud.services.lambda_.outcome import Call, Outcome, failed_init
from keepwarm_localcloud.services.lambda_.pools import Lease, Pools
from keepwarm_runtime.scaling import Placement

RETRY_DELAYS_S = (60.0, 120.0)
"""Waits before the second and third attempt of an event whose function failed."""
THROTTLE_FIRST_S = 1.0
THROTTLE_MAX_S = 300.0
"""A throttled event is tried again after 1 s, doubling up to 5 minutes, until it is too old."""
_WORKERS = 256


@dataclass(frozen=True, slots=True)
class InvokeResult:
    """What a caller of Invoke gets."""

    status: int
    payload: bytes = b""
    function_error: str = ""
    executed_version: str = LATEST
    log_tail: bytes = b""
    request_id: str = ""


@dataclass(slots=True)
class _Event:
    function: str
    qualifier: str | None
    payload: bytes
    request_id: str
    queued_s: float
    source_arn: str | None
    attempts: int = 0
    """Times the function ran."""
    throttles: int = 0


@dataclass(slots=True)
class _Settings:
    retries: int = limits.LAMBDA_ASYNC_RETRIES_MAX
    max_age_s: float = limits.LAMBDA_ASYNC_EVENT_AGE_MAX_S
    destinations: dict[str, Any] = field(default_factory=dict)


class Invocations:
    """Runs invocations on the pools."""

    def __init__(
        self,
        context: Context,
        functions: Functions,
        pools: Pools,
        metrics: Metrics,
        *,
        seed: int | None = None,
    ) -> None:
        self._context = context
        self._functions = functions
        self._pools = pools
        self._metrics = metrics
        self._random = random.Random(seed)  # noqa: S311 - shares of traffic, not secrets
        self._queue: list[tuple[float, int, _Event]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._closed = False
        self._in_flight = 0
        self._workers = ThreadPoolExecutor(_WORKERS, "keepwarm-lambda-async")
        self._thread: threading.Thread | None = None

    # --- synchronous --------------------------------------------------------------------------------------------

    def invoke(
        self,
        reference: str,
        payload: bytes,
        *,
        qualifier: str | None = None,
        kind: str = "RequestResponse",
        source_arn: str | None = None,
        client_context: str = "",
        trace_id: str = "",
    ) -> InvokeResult:
        """Invoke as the API's Invoke does.

        Raises:
            AwsError: unknown function, bad or too large payload, TooManyRequestsException.
        """
        function, qualifier = self._functions.find(reference, qualifier)
        version = self._route(function, qualifier)
        self._check_payload(payload, kind)
        request_id = str(uuid.uuid4())
        if kind == "DryRun":
            return InvokeResult(204, executed_version=version.number, request_id=request_id)
        if kind == "Event":
            self._enqueue(function, qualifier, payload or b"{}", request_id, source_arn)
            return InvokeResult(202, executed_version=version.number, request_id=request_id)
        outcome, version = self._run(
            function,
            qualifier,
            payload or b"{}",
            request_id,
            client_context=client_context,
            trace_id=trace_id,
        )
        return InvokeResult(200, outcome.payload, outcome.error, version.number, outcome.tail, request_id)

    def _check_payload(self, payload: bytes, kind: str) -> None:
        limit = (
            limits.LAMBDA_ASYNC_PAYLOAD_MAX_BYTES if kind == "Event" else limits.LAMBDA_SYNC_PAYLOAD_MAX_BYTES
        )
        if len(payload) > limit:
            raise AwsError(
                "RequestTooLargeException",
                f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
                413,
            )
        if payload:
            try:
                json.loads(payload)
            except ValueError as error:
                raise AwsError(
                    "InvalidRequestContentException", f"Could not parse request body into json: {error}"
                ) from error

    def _route(self, function: Function, qualifier: str | None) -> Version:
        """Give the version that serves this one invocation, by the alias's weights."""
        alias = function.aliases.get(qualifier) if qualifier else None
        if alias is None:
            return self._functions.version(function, qualifier)
        number, draw = alias.version, self._random.random()
        for other, weight in alias.shown_weights().items():
            if draw < weight:
                number = other
        return self._functions.version(function, number)

    def _run(
        self,
        function: Function,
        qualifier: str | None,
        payload: bytes,
        request_id: str,
        *,
        client_context: str = "",
        trace_id: str = "",
    ) -> tuple[Outcome, Version]:
        version = self._route(function, qualifier)
        launch = self._functions.launch(function, version)
        try:
            lease = self._pools.acquire(function, version, qualifier or "", launch)
        except AwsError:
            self._metrics.add(function.name, "Throttles", 1)
            raise
        self._placed(function, qualifier, lease)
        trace = trace_id or _trace()
        call = Call(request_id, payload, function.qualified_arn(qualifier), trace, client_context)
        outcome = Outcome(b"", reusable=False)
        try:
            outcome = self._on(lease, call)
        finally:
            self._pools.release(lease, reusable=outcome.reusable)
        self._record(function, version, lease, call, outcome)
        return outcome, version

    def _placed(self, function: Function, qualifier: str | None, lease: Lease) -> None:
        """Publish what target tracking on a warm pool follows; as on AWS there is no value without invocations."""
        if lease.utilisation is not None:
            self._metrics.add(
                function.name,
                "ProvisionedConcurrencyUtilization",
                lease.utilisation,
                resource=f"{function.name}:{qualifier}",
            )

    def _on(self, lease: Lease, call: Call) -> Outcome:
        """Run one call in its environment, initialising it first when it is new."""
        environment = lease.environment
        if lease.placement is not Placement.COLD:
            return environment.invoke(call, init=None)
        report = environment.init(limits.LAMBDA_INIT_MAX_S)
        if report.ok:
            return environment.invoke(call, init=report)
        # Lambda runs a failed init phase again inside the invocation, on the invocation's time.
        deadline = time.monotonic() + environment.launch.timeout_s
        again = environment.init(environment.launch.timeout_s)
        if again.ok:
            again.duration_ms += report.duration_ms
            return environment.invoke(call, init=again, deadline_s=deadline)
        return environment.fail(call, failed_init(again, call, environment.launch.timeout_s))

    def _record(
        self, function: Function, version: Version, lease: Lease, call: Call, outcome: Outcome
    ) -> None:
        cold = lease.placement is Placement.COLD
        provisioned = lease.placement is Placement.PROVISIONED
        self._context.journal.write(
            "invocation",
            function=function.name,
            version=version.number,
            environment=lease.environment.id,
            request_id=call.request_id,
            cold=cold,
            pool=str(lease.environment.pool),
            duration_ms=round(outcome.duration_ms, 3),
            init_ms=None if outcome.init_ms is None else round(outcome.init_ms, 3),
            outcome=outcome.kind,
            spillover=lease.spillover,
            memory_mb=outcome.max_memory_mb,
        )
        name = function.name
        self._metrics.add(name, "Invocations", 1)
        self._metrics.add(name, "Errors", 1 if outcome.error else 0)
        self._metrics.add(name, "Duration", outcome.duration_ms, unit="Milliseconds")
        if provisioned:
            self._metrics.add(name, "ProvisionedConcurrencyInvocations", 1)
        if lease.spillover:
            self._metrics.add(name, "ProvisionedConcurrencySpilloverInvocations", 1)

    # --- asynchronous -------------------------------------------------------------------------------------------

    def deliver(
        self,
        function_arn: str,
        payload: bytes,
        *,
        principal: str,
        source_arn: str,
        source_account: str | None = None,
    ) -> str:
        """Invoke asynchronously on behalf of another service, if the function's resource policy lets it.

        Returns:
            The request id.

        Raises:
            AwsError: AccessDeniedException, or what Invoke refuses.
        """
        self.check_permission(
            function_arn, principal=principal, source_arn=source_arn, source_account=source_account
        )
        return self.invoke(function_arn, payload, kind="Event", source_arn=source_arn).request_id

    def check_permission(
        self, function_arn: str, *, principal: str, source_arn: str, source_account: str | None = None
    ) -> None:
        """Refuse a service that the resource policy of a function does not let in.

        Raises:
            AwsError: AccessDeniedException, or ResourceNotFoundException.
        """
        function, qualifier = self._functions.find(function_arn)
        self._functions.version(function, qualifier)
        account = source_account or self._context.account_id
        if not self.permits(function, qualifier, principal, source_arn, account):
            raise AwsError(
                "AccessDeniedException",
                f"User: {principal} is not authorized to perform: lambda:InvokeFunction on resource: {function_arn} "
                "because no resource-based policy allows the lambda:InvokeFunction action",
                403,
            )

    def permits(
        self, function: Function, qualifier: str | None, principal: str, source_arn: str, source_account: str
    ) -> bool:
        """Say whether the resource policy of a function (of that qualifier) lets a service invoke it."""
        for statement in function.policies.get(qualifier or "", {}).values():
            document = statement.document
            allowed = document["Principal"]
            who = allowed == "*" or (isinstance(allowed, dict) and allowed.get("Service") == principal)
            action = fnmatchcase("lambda:InvokeFunction", document["Action"])
            condition = document.get("Condition", {})
            arn = condition.get("ArnLike", {}).get("AWS:SourceArn")
            account = condition.get("StringEquals", {}).get("AWS:SourceAccount")
            if (
                who
                and action
                and (arn is None or fnmatchcase(source_arn, arn))
                and account in (None, source_account)
            ):
                return True
        return False

    def _enqueue(
        self,
        function: Function,
        qualifier: str | None,
        payload: bytes,
        request_id: str,
        source_arn: str | None,
    ) -> None:
        now_s = self._context.clock.now_s()
        self._schedule(now_s, _Event(function.name, qualifier, payload, request_id, now_s, source_arn))

    def _schedule(self, at_s: float, event: _Event) -> None:
        with self._wake:
            if self._closed:
                return
            heapq.heappush(self._queue, (at_s, next(self._order), event))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._dispatch, name="keepwarm-lambda-events", daemon=True
                )
                self._thread.start()
            self._wake.notify_all()

    def pending(self) -> int:
        """Asynchronous events that are queued, waiting for a retry or running."""
        with self._wake:
            return len(self._queue) + self._in_flight

    def next_attempt_s(self) -> float | None:
        """When the next queued event is tried, on the cloud's clock; None while the queue is empty."""
        with self._wake:
            return self._queue[0][0] if self._queue else None

    def _dispatch(self) -> None:
        while True:
            with self._wake:
                while not self._closed and (
                    not self._queue or self._queue[0][0] > self._context.clock.now_s()
                ):
                    if self._queue:
                        self._context.clock.wait_until(self._wake, self._queue[0][0])
                    else:
                        self._wake.wait()
                if self._closed:
                    return
                event = heapq.heappop(self._queue)[2]
                self._in_flight += 1
            self._workers.submit(self._attempt, event)

    def _attempt(self, event: _Event) -> None:
        try:
            self._attempt_once(event)
        except AwsError as error:
            # The function or its version is gone, or a destination refused: the event ends here, and is told.
            self._context.journal.write("async", function=event.function, request_id=event.request_id,
                                      event="dropped", reason=str(error))  # fmt: skip
        finally:
            with self._wake:
                self._in_flight -= 1
                self._wake.notify_all()

    def _attempt_once(self, event: _Event) -> None:
        function, qualifier = self._functions.find(event.function, event.qualifier)
        settings = self._settings(function, qualifier)
        now_s = self._context.clock.now_s()
        if now_s - event.queued_s > settings.max_age_s:
            self._fail(function, event, settings, "EventAgeExceeded", None, LATEST)
            return
        try:
            outcome, version = self._run(function, qualifier, event.payload, event.request_id)
        except AwsError as error:
            if error.code != "TooManyRequestsException":
                raise
            event.throttles += 1
            delay_s = min(THROTTLE_FIRST_S * 2 ** (event.throttles - 1), THROTTLE_MAX_S)
            self._schedule(min(now_s + delay_s, event.queued_s + settings.max_age_s + 0.001), event)
            return
        event.attempts += 1
        if not outcome.error:
            self._destination(function, event, settings, "OnSuccess", "Success", outcome, version.number)
        elif event.attempts > settings.retries:
            self._fail(function, event, settings, "RetriesExhausted", outcome, version.number)
        else:
            delay_s = RETRY_DELAYS_S[min(event.attempts, len(RETRY_DELAYS_S)) - 1]
            self._schedule(self._context.clock.now_s() + delay_s, event)

    def _settings(self, function: Function, qualifier: str | None) -> _Settings:
        config = function.event_configs.get(qualifier or LATEST, {})
        return _Settings(
            config.get("MaximumRetryAttempts", limits.LAMBDA_ASYNC_RETRIES_MAX),
            config.get("MaximumEventAgeInSeconds", limits.LAMBDA_ASYNC_EVENT_AGE_MAX_S),
            config.get("DestinationConfig") or {},
        )

    def _fail(
        self,
        function: Function,
        event: _Event,
        settings: _Settings,
        condition: str,
        outcome: Outcome | None,
        version: str,
    ) -> None:
        self._context.journal.write(
            "async", function=function.name, request_id=event.request_id, event="failed", reason=condition,
            attempts=event.attempts,
        )  # fmt: skip
        self._destination(function, event, settings, "OnFailure", condition, outcome, version)
        dead_letters = self._functions.version(function, event.qualifier).config.get("DeadLetterConfig", {})
        target = dead_letters.get("TargetArn")
        if target:
            error = "" if outcome is None else _message(outcome.payload)
            attributes = {"RequestID": event.request_id, "ErrorCode": "200", "ErrorMessage": error[:1024]}
            self._send(function, target, event.payload.decode("utf-8", "replace"), attributes)

    def _destination(
        self,
        function: Function,
        event: _Event,
        settings: _Settings,
        side: str,
        condition: str,
        outcome: Outcome | None,
        version: str,
    ) -> None:
        target = (settings.destinations.get(side) or {}).get("Destination")
        if not target:
            return
        stamp = (
            datetime.fromtimestamp(self._context.clock.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
            + "Z"
        )
        record: dict[str, Any] = {
            "version": "1.0",
            "timestamp": stamp,
            "requestContext": {
                "requestId": event.request_id,
                "functionArn": function.qualified_arn(event.qualifier or LATEST),
                "condition": condition,
                "approximateInvokeCount": event.attempts,
            },
            "requestPayload": json.loads(event.payload),
        }
        if outcome is not None:
            context: dict[str, Any] = {"statusCode": 200, "executedVersion": version}
            if outcome.error:
                context["functionError"] = outcome.error
            record["responseContext"] = context
            record["responsePayload"] = _json(outcome.payload)
        self._send(function, target, json.dumps(record), {})

    def _send(self, function: Function, target: str, body: str, attributes: dict[str, str]) -> None:
        """Send to a queue, topic, function or bucket with the rights of the function's role."""
        role = Caller(role_arn=function.latest.config["Role"])
        service, name = target.split(":")[2], target.rpartition(":")[2]
        message_attributes = {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items() if v}
        senders: dict[str, tuple[str, str, Callable[[], object]]] = {
            "sqs": ("sqs:SendMessage", target, lambda: self._send_to_queue(target, body, message_attributes)),
            "sns": ("sns:Publish", target, lambda: self._context.boto("sns").publish(
                TopicArn=target, Message=body, MessageAttributes=message_attributes)),
            "lambda": ("lambda:InvokeFunction", target, lambda: self.invoke(target, body.encode(), kind="Event")),
            "s3": ("s3:PutObject", f"{target}/*", lambda: self._context.boto("s3").put_object(
                Bucket=name, Key=f"aws/lambda/async/{function.name}/{uuid.uuid4()}", Body=body.encode())),
            "events": ("events:PutEvents", target, lambda: self._context.boto("events").put_events(Entries=[{
                "Source": "lambda", "DetailType": "Lambda Function Invocation Result", "Detail": body,
                "EventBusName": target}])),
        }  # fmt: skip
        action, resource, send = senders[service]
        self._context.authorize(role, action, resource)
        send()

    def _send_to_queue(self, target: str, body: str, attributes: dict[str, Any]) -> None:
        client = self._context.boto("sqs")
        url = client.get_queue_url(QueueName=target.rpartition(":")[2])["QueueUrl"]
        client.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)

    def signal_close(self) -> None:
        """Take no more events; what runs may finish."""
        with self._wake:
            self._closed = True
            self._queue.clear()
            self._wake.notify_all()

    def close(self) -> None:
        """End the queue; events that still wait are dropped, as the cloud is. Idempotent."""
        self.signal_close()
        if self._thread is not None:
            self._thread.join()
        self._workers.shutdown(wait=True, cancel_futures=True)


def _trace() -> str:
    """A trace header of an invocation that nobody samples."""
    root = f"1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"
    return f"Root={root};Parent={uuid.uuid4().hex[:16]};Sampled=0"


def tail_header(tail: bytes) -> str:
    """The log tail as the X-Amz-Log-Result header has it."""
    return base64.b64encode(tail).decode()


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode("utf-8", "replace")


def _message(payload: bytes) -> str:
    parsed = _json(payload)
    return str(parsed.get("errorMessage", "")) if isinstance(parsed, dict) else ""
