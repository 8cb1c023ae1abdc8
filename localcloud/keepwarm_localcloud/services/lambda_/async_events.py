"""Asynchronous events: their queue, retries, destinations and dead letters.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

import heapq
import itertools
import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from keepwarm import limits
from keepwarm_localcloud.request import AwsError, Caller
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.model import LATEST, Function, Version
from keepwarm_localcloud.services.lambda_.outcome import Outcome

RETRY_DELAYS_S = (60.0, 120.0)
"""Waits before the second and third attempt of an event whose function failed."""
THROTTLE_FIRST_S = 1.0
THROTTLE_MAX_S = 300.0
"""A throttled event is tried again after 1 s, doubling up to 5 minutes, until it is too old."""
_WORKERS = 256


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


class Run(Protocol):
    """Runs a function for one event."""

    def __call__(
        self, function: Function, qualifier: str | None, payload: bytes, request_id: str
    ) -> tuple[Outcome, Version]:
        """Its outcome and the version that ran.

        Raises:
            AwsError: TooManyRequestsException, or the function is gone.
        """
        ...


class AsyncEvents:
    """Events of `InvocationType: Event`, each tried until it is done, too old or out of retries."""

    def __init__(
        self, context: Context, functions: Functions, run: Run, invoke: Callable[[str, bytes], object]
    ) -> None:
        """Set up; threads start with the first event.

        Args:
            context: Of the cloud.
            functions: For their event configuration.
            run: Runs a function for an event.
            invoke: Sends a new event to a function that is a destination.
        """
        self._context, self._functions, self._run, self._invoke = context, functions, run, invoke
        self._queue: list[tuple[float, int, _Event]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._closed = False
        self._in_flight = 0
        self._workers = ThreadPoolExecutor(_WORKERS, "keepwarm-lambda-async")
        self._thread: threading.Thread | None = None

    def enqueue(
        self,
        function: Function,
        qualifier: str | None,
        payload: bytes,
        request_id: str,
        source_arn: str | None,
    ) -> None:
        """Queue an event that is due now."""
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
            "lambda": ("lambda:InvokeFunction", target, lambda: self._invoke(target, body.encode())),
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


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode("utf-8", "replace")


def _message(payload: bytes) -> str:
    parsed = _json(payload)
    return str(parsed.get("errorMessage", "")) if isinstance(parsed, dict) else ""
