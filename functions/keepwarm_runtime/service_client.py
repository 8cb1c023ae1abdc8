"""Calls to the resident model service: found through Cloud Map, with a deadline, a key, and its word on overload.

The service says 429 when its queue is full and 503 while it loads or drains; both arrive here as failures with the time
that the service names (`retry_after_s`), and the workflow waits that long (keepwarm_runtime.waiting). A connection is
reused; an instance that does not answer is tried once less than there are others.
"""

from __future__ import annotations

import json
import time

from keepwarm_runtime import fault
from keepwarm_runtime.admission import Breaker
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.errors import (
    DeadlineExceeded,
    DownstreamFault,
    NotFound,
    NotReady,
    Overloaded,
    Unreachable,
)
from keepwarm_runtime.http1 import Address, CutShort, NoAnswer, Pool
from keepwarm_runtime.jitter import uniform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from keepwarm_runtime.aws import Aws

NOT_READY_AFTER_S = 5.0
"""When it makes sense to look again for an instance where there is none."""
DISCOVERY_TTL_S = 5.0
"""How long a list of instances is used, in seconds; DiscoverInstances is limited per account."""
DEADLINE_HEADER = "x-keepwarm-deadline-ms"
KEY_HEADER = "idempotency-key"
STATE_HEADER = "x-keepwarm-state"
RETRIED = (408, 425, 429, 502, 503, 504)


class ServiceAnswer:
    """A 2xx answer of the service."""

    __slots__ = ("body", "headers", "instance", "status", "taken_s")

    def __init__(
        self, status: int, headers: dict[str, str], body: bytes, instance: str, taken_s: float
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.instance = instance
        self.taken_s = taken_s

    def json(self) -> Any:
        """Parse the body.

        Raises:
            DownstreamFault: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise DownstreamFault(
                f"service instance {self.instance}", f"{len(self.body):,} bytes that are no JSON ({error})"
            ) from error


class ServiceClient:
    """Client of one service of a Cloud Map namespace. One per execution environment."""

    def __init__(
        self,
        aws: Aws,
        namespace: str,
        service: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = uniform,
        breaker: Breaker | None = None,
    ) -> None:
        self._aws = aws
        self.namespace = namespace
        self.service = service
        self._clock = clock
        self._draw = draw
        self._pool = Pool()
        self._instances: list[tuple[str, str]] = []
        self._found_s = -1e9
        self.breaker = breaker or Breaker(f"{namespace}/{service}")

    def forget(self) -> None:
        """Drop connections and known instances; a restored snapshot must not reuse either."""
        self._pool.clear()
        self._instances = []

    def instances(self, deadline: Deadline, *, refresh: bool = False) -> list[tuple[str, str]]:
        """Return identity and base URL of the healthy instances.

        Raises:
            NotReady: there is none (yet): scaled to zero, or still starting.
        """
        if refresh or not self._instances or self._clock() - self._found_s > DISCOVERY_TTL_S:
            self._instances = self._discover(deadline)
            self._found_s = self._clock()
        if not self._instances:
            raise NotReady(
                f"service {self.namespace}/{self.service}",
                "no healthy instance",
                retry_after_s=NOT_READY_AFTER_S,
            )
        return self._instances

    def _discover(self, deadline: Deadline) -> list[tuple[str, str]]:
        fault.point("service.discover")
        try:
            answer = self._aws.call(
                "servicediscovery",
                "DiscoverInstances",
                {"NamespaceName": self.namespace, "ServiceName": self.service, "HealthStatus": "HEALTHY"},
                deadline=deadline,
                resource=f"{self.namespace}/{self.service}",
            )
        except NotFound as error:
            raise NotReady(
                f"service {self.namespace}/{self.service}",
                f"{error.aws_code} from Cloud Map",
                retry_after_s=NOT_READY_AFTER_S,
            ) from error
        found: list[tuple[str, str]] = []
        for entry in answer.get("Instances", []):
            attributes = entry.get("Attributes", {})
            host = attributes.get("AWS_INSTANCE_IPV4") or attributes.get("AWS_INSTANCE_CNAME")
            port = attributes.get("AWS_INSTANCE_PORT")
            if host and port:
                found.append((str(entry.get("InstanceId", host)), f"http://{host}:{port}"))
        return found

    def post(
        self,
        path: str,
        body: bytes,
        *,
        deadline: Deadline,
        idempotency_key: str,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> ServiceAnswer:
        """Post once to an instance; a second one is tried only if the first took no byte of the request.

        Raises:
            Overloaded: 429, 408 or 425, or the breaker is open; `retry_after_s` is what the service asked for.
            NotReady: 502, 503 or 504, or no instance.
            DownstreamFault: any other refusal, with `status` and `error`.
            Unreachable: no answer; `sent` tells whether the service may have worked on it.
            DeadlineExceeded: no time left to call.
        """
        self.breaker.check()
        started_s = self._clock()
        try:
            instances = list(self.instances(deadline))
        except BaseException:
            self.breaker.failed()
            raise
        offset = int(self._draw() * len(instances))
        candidates = instances[offset:] + instances[:offset]
        for position, (identity, url) in enumerate(candidates):
            try:
                status, answer_headers, answer = self._exchange(
                    url, path, body, deadline, idempotency_key, content_type, headers or {}
                )
            except NoAnswer as error:
                # The list may be older than the instance's death.
                self._instances = []
                if not error.sent and position + 1 < len(candidates) and deadline.remaining_s() > 0:
                    continue
                self.breaker.failed()
                unreachable = Unreachable(
                    f"service {self.service}", "POST", "NoAnswer", 0, str(error), resource=f"{url}{path}"
                )
                unreachable.sent = error.sent
                raise unreachable from error
            if 200 <= status < 300:
                self.breaker.succeeded()
                return ServiceAnswer(status, answer_headers, answer, identity, self._clock() - started_s)
            raise self._refusal(identity, path, status, answer_headers, answer)
        raise NotReady(
            f"service {self.namespace}/{self.service}", "no healthy instance", retry_after_s=NOT_READY_AFTER_S
        )

    def _exchange(
        self,
        url: str,
        path: str,
        body: bytes,
        deadline: Deadline,
        idempotency_key: str,
        content_type: str,
        headers: Mapping[str, str],
    ) -> tuple[int, dict[str, str], bytes]:
        left_s = deadline.remaining_s()
        if left_s <= 0:
            raise DeadlineExceeded(f"service {self.service}", "0 ms left", allowed="time to call")
        address = Address(url)
        sent = {
            "host": address.host_header,
            "content-type": content_type,
            "content-length": str(len(body)),
            DEADLINE_HEADER: str(int(left_s * 1000)),
            KEY_HEADER: idempotency_key,
            **headers,
        }
        fault.point("service.send")
        connection = self._pool.take(address, deadline)
        try:
            response = connection.request("POST", path, sent, body, deadline)
            answer = response.read()
        except (NoAnswer, CutShort):
            connection.close()
            raise
        self._pool.give_back(connection, response)
        fault.point("service.answered")
        return response.status, response.headers, answer

    def _refusal(
        self, identity: str, path: str, status: int, headers: dict[str, str], body: bytes
    ) -> Overloaded | NotReady | DownstreamFault:
        who = f"service {self.service} instance {identity}"
        after_s = retry_after(headers)
        if status in (408, 425, 429):
            self.breaker.failed(after_s)
            return Overloaded(who, f"HTTP {status} for {path}", retry_after_s=after_s)
        if status in RETRIED:
            self._instances = []
            self.breaker.failed(after_s)
            state = headers.get(STATE_HEADER, "")
            if status == 503 and state not in ("", "loading", "draining", "starting"):
                return Overloaded(who, f"HTTP {status} ({state}) for {path}", retry_after_s=after_s)
            return NotReady(
                who, f"HTTP {status}{f' ({state})' if state else ''} for {path}", retry_after_s=after_s
            )
        if status >= 500:
            self.breaker.failed()
        else:
            # A clear no is a sign of health.
            self.breaker.succeeded()
        error = _error_object(body)
        detail = f": {error.get('message') or error.get('code')}" if error else ""
        fault_ = DownstreamFault(who, f"HTTP {status} for {path}{detail}", allowed="2xx")
        fault_.status = status
        fault_.error = error
        fault_.retry = status >= 500
        return fault_


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header; 1 when there is none or it is a date."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        return 1.0
    return seconds if 0.0 <= seconds < 86_400.0 else 1.0


def _error_object(body: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    error = parsed.get("error") if isinstance(parsed, dict) else None
    return error if isinstance(error, dict) else {}
