"""A small AWS client: SigV4 over kept-alive connections, deadlines on everything, retries within a budget.

Why not boto3: importing it and making one S3 client takes 0.6 s of every cold start, this module a few
milliseconds. What it does: S3 objects, and every service that speaks JSON with `X-Amz-Target`.

Retries: full jitter, never past the deadline, and paid from a token budget, so that a brown-out is not
multiplied (the idea of AWS's standard retry mode,
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html). A call that isn't idempotent is not
repeated once bytes of it were sent.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import os
import time

from keepwarm_runtime import fault
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.errors import (
    AccessDenied,
    AwsFault,
    BrokenAnswer,
    InvalidSettings,
    NotFound,
    PreconditionFailed,
    Throttled,
    Unreachable,
)
from keepwarm_runtime.http1 import Address, Connection, CutShort, NoAnswer, Pool, Response
from keepwarm_runtime.jitter import uniform
from keepwarm_runtime.sigv4 import EMPTY_SHA256, Credentials, Signer, query_string, quote_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Any

ATTEMPTS = 4
"""Tries of one call, the first included."""
BACKOFF_S = 0.05
"""First backoff, in seconds; doubled per try, drawn evenly from 0 up to it (full jitter)."""
MAX_BACKOFF_S = 5.0
BUDGET_TOKENS = 50.0
RETRY_COST = 5.0
REFUND = 0.5
"""A client starts with 10 retries to spare and earns one back with every ten calls that went well: at most 10 %
extra load in a lasting brown-out."""
CREDENTIAL_MARGIN_S = 300.0
TARGETS = {
    "dynamodb": ("dynamodb", "DynamoDB_20120810", "1.0"),
    "sqs": ("sqs", "AmazonSQS", "1.0"),
    "states": ("states", "AWSStepFunctions", "1.0"),
    "servicediscovery": ("servicediscovery", "Route53AutoNaming_v20170314", "1.1"),
    "secretsmanager": ("secretsmanager", "secretsmanager", "1.1"),
    "ssm": ("ssm", "AmazonSSM", "1.1"),
    "cloudwatch": ("monitoring", "GraniteServiceVersion20100801", "1.0"),
    "kms": ("kms", "TrentService", "1.1"),
    "logs": ("logs", "Logs_20140328", "1.1"),
    "events": ("events", "AWSEvents", "1.1"),
    "ecs": ("ecs", "AmazonEC2ContainerServiceV20141113", "1.1"),
}
"""Service -> signing name, target prefix, JSON version, as in botocore's service models; a test compares them."""
ENDPOINT_IDS = {
    "states": "SFN",
    "secretsmanager": "SECRETS_MANAGER",
    "logs": "CLOUDWATCH_LOGS",
    "events": "EVENTBRIDGE",
}
"""Services whose AWS_ENDPOINT_URL_<ID> has another name than ours
(https://docs.aws.amazon.com/sdkref/latest/guide/ss-endpoints-table.html)."""
HOSTS = {"servicediscovery": "data-servicediscovery", "cloudwatch": "monitoring"}
_THROTTLES = (
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "TransactionInProgressException",
    "KmsThrottlingException",
)
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError")
_MISSING = (
    "NoSuchKey",
    "NoSuchBucket",
    "NoSuchVersion",
    "NotFound",
    "ResourceNotFoundException",
    "QueueDoesNotExist",
    "NamespaceNotFound",
    "ServiceNotFound",
    "StateMachineDoesNotExist",
)
_LOST = ("PreconditionFailed", "ConditionalCheckFailedException", "ConditionalRequestConflict")
_SKEWED = ("RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired")


class Meter:
    """Calls and bytes of this process, for the `storage` member of result events."""

    __slots__ = ("bytes", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self.bytes = 0


METER = Meter()


class Answer:
    """A complete answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Aws:
    """Signs and sends. One per execution environment; safe to share between threads.

    `endpoint` defaults to AWS_ENDPOINT_URL_<SERVICE>, then AWS_ENDPOINT_URL, then the regional endpoint.
    """

    def __init__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = uniform,
    ) -> None:
        self._env = os.environ if env is None else env
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._pool = Pool()
        self._signers: dict[str, Signer] = {}
        self._addresses: dict[str, tuple[Address, bool]] = {}
        self._credentials: Credentials | None = None
        self._tokens = BUDGET_TOKENS
        self.skew_s = 0.0
        self.retries = 0
        region = self._env.get("AWS_REGION") or self._env.get("AWS_DEFAULT_REGION")
        if not region:
            raise InvalidSettings("AWS_REGION", "nothing", allowed="a region such as eu-central-1")
        self.region = region

    # -- identity and addresses

    def now_s(self) -> float:
        """Epoch seconds on AWS's clock: this machine's, corrected by the Date of the last answers."""
        return self._clock() + self.skew_s

    def forget(self) -> None:
        """Drop connections and credentials; a restored snapshot must not reuse either."""
        self._pool.clear()
        self._credentials = None

    def credentials(self) -> Credentials:
        """Return valid credentials: from the environment, or from the container endpoint of ECS.

        Raises:
            InvalidSettings: neither gives any.
        """
        held = self._credentials
        if held is not None and (
            held.expires_s is None or held.expires_s - self._clock() > CREDENTIAL_MARGIN_S
        ):
            return held
        access_key = self._env.get("AWS_ACCESS_KEY_ID")
        secret_key = self._env.get("AWS_SECRET_ACCESS_KEY")
        if access_key and secret_key:
            held = Credentials(access_key, secret_key, self._env.get("AWS_SESSION_TOKEN") or None)
        else:
            held = self._container_credentials()
        self._credentials = held
        return held

    def _container_credentials(self) -> Credentials:
        relative = self._env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        url = self._env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or (
            f"http://169.254.170.2{relative}" if relative else None
        )
        if not url:
            raise InvalidSettings(
                "credentials",
                "neither AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY nor AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                allowed="what Lambda and ECS set by themselves",
                fix="run where a role is attached",
            )
        address = Address(url)
        path = "/" + url.partition("://")[2].partition("/")[2]
        headers = {"host": address.host_header}
        token = self._env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        token_file = self._env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        if token_file:
            with open(token_file, encoding="utf-8") as handle:  # noqa: PTH123  (pathlib costs init time)
                token = handle.read().strip()
        if token:
            headers["authorization"] = token
        deadline = Deadline.after(5.0)
        try:
            connection = self._pool.take(address, deadline)
            response = connection.request("GET", path, headers, b"", deadline)
            body = response.read()
            self._pool.give_back(connection, response)
        except NoAnswer as error:
            raise Unreachable("credentials", "GET", "NoAnswer", 0, str(error), resource=url) from error
        if response.status != 200:
            raise AwsFault("credentials", "GET", "Refused", response.status, body[:200].decode("latin-1"))
        found = json.loads(body)
        return Credentials(
            found["AccessKeyId"],
            found["SecretAccessKey"],
            found.get("Token"),
            _iso_epoch(found.get("Expiration")),
        )

    def address(self, service: str) -> tuple[Address, bool]:
        """Return the service's address, and whether it is a custom endpoint (S3 then uses path style)."""
        known = self._addresses.get(service)
        if known is None:
            url = self._env.get(
                f"AWS_ENDPOINT_URL_{ENDPOINT_IDS.get(service, service.upper())}"
            ) or self._env.get("AWS_ENDPOINT_URL")
            custom = bool(url)
            if not url:
                suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
                url = f"https://{HOSTS.get(service, service)}.{self.region}.{suffix}"
            try:
                known = (Address(url), custom)
            except ValueError as error:
                raise InvalidSettings("AWS_ENDPOINT_URL", repr(url), allowed=str(error)) from error
            self._addresses[service] = known
        return known

    # -- one exchange

    def open(
        self,
        service: str,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: bytes,
        deadline: Deadline,
        *,
        host: str | None = None,
        fresh: bool = False,
    ) -> tuple[Connection, Response]:
        """Sign, send, and return with the headers of the answer; the caller reads the body.

        Raises:
            NoAnswer: nothing usable came back.
        """
        address, _ = self.address(service)
        if host is not None:
            address = _with_host(address, host)
        signing_name = TARGETS[service][0] if service in TARGETS else service
        signer = self._signers.get(service)
        if signer is None:
            signer = self._signers[service] = Signer(signing_name, self.region)
        payload_sha256 = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        headers = {**headers, "host": address.host_header}
        signed = signer.sign(self.credentials(), method, path, query, headers, payload_sha256, self.now_s())
        signed["content-length"] = str(len(body))
        connection = self._pool.take(address, deadline, fresh=fresh)
        try:
            response = connection.request(
                method, f"{path}?{query}" if query else path, signed, body, deadline
            )
        except BaseException:
            connection.close()
            raise
        METER.calls += 1
        METER.bytes += len(body)
        self._note_clock(response.headers.get("date"))
        return connection, response

    def done(self, connection: Connection, response: Response) -> None:
        """Return a connection whose answer was read; an unread rest closes it."""
        self._pool.give_back(connection, response)

    def _note_clock(self, date: str | None) -> None:
        if date is None:
            return
        server_s = _http_epoch(date)
        if server_s is None:
            return
        difference = server_s - self._clock()
        # Date has whole seconds: less than 2 s of difference is not a skew.
        if abs(difference - self.skew_s) > 2.0:
            self.skew_s = 0.0 if abs(difference) <= 2.0 else difference

    def exchange(
        self,
        service: str,
        operation: str,
        method: str,
        path: str,
        query: str = "",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        deadline: Deadline | None = None,
        idempotent: bool = True,
        resource: str = "",
        host: str | None = None,
        accept: Callable[[Answer], None] | None = None,
    ) -> Answer:
        """Send until answered, within the deadline and the retry budget, and return a 2xx answer.

        `accept` may raise BrokenAnswer to have the call repeated.

        Raises:
            AwsFault: or the subclass that fits; `Unreachable.sent` tells whether AWS may have acted.
        """
        deadline = deadline or Deadline.after(60.0)
        attempt = 0
        ambiguous = False
        while True:
            attempt += 1
            failure: AwsFault
            wait_s: float | None = None
            may_repeat = True
            try:
                fault.point(f"aws.{service}.{operation}.send")
                connection, response = self.open(
                    service, method, path, query, headers or {}, body, deadline, host=host, fresh=attempt > 1
                )
                try:
                    answer = Answer(response.status, response.headers, response.read())
                finally:
                    self.done(connection, response)
                METER.bytes += len(answer.body)
                fault.point(f"aws.{service}.{operation}.answered")
                if 200 <= answer.status < 300:
                    if accept is not None:
                        accept(answer)
                    self.went_well()
                    return answer
                failure, may_repeat, wait_s = self._refusal(service, operation, answer, resource)
            except BrokenAnswer as error:
                failure, may_repeat = error, idempotent
            except CutShort as error:
                failure = BrokenAnswer(service, operation, "Truncated", 0, str(error), resource=resource)
                may_repeat = idempotent
                ambiguous = True
            except NoAnswer as error:
                unreachable = Unreachable(service, operation, "NoAnswer", 0, str(error), resource=resource)
                ambiguous = ambiguous or error.sent
                unreachable.sent = ambiguous
                failure = unreachable
                may_repeat = idempotent or not error.sent
            if not may_repeat or not self._pause(attempt, deadline, wait_s):
                raise failure

    def went_well(self) -> None:
        """Earn a part of a retry back."""
        self._tokens = min(BUDGET_TOKENS, self._tokens + REFUND)

    def _pause(self, attempt: int, deadline: Deadline, wait_s: float | None) -> bool:
        """Wait before the next try; False when there must be none."""
        if attempt >= ATTEMPTS or self._tokens < RETRY_COST:
            return False
        pause_s = self._draw() * min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** (attempt - 1))
        if wait_s is not None:
            pause_s = max(pause_s, wait_s)
        if pause_s >= deadline.remaining_s():
            return False
        self._tokens -= RETRY_COST
        self.retries += 1
        self._sleep(pause_s)
        return True

    def _refusal(
        self, service: str, operation: str, answer: Answer, resource: str
    ) -> tuple[AwsFault, bool, float | None]:
        """Turn a refusal into its fault, whether to try again, and after how many seconds."""
        code, message, item = _error_of(answer)
        status = answer.status
        if code in _THROTTLES or status == 429:
            wait = answer.headers.get("retry-after", "")
            seconds = float(wait) if wait.isdigit() else None
            return Throttled(service, operation, code, status, message, resource=resource), True, seconds
        if code in _LOST or status == 412:
            lost = PreconditionFailed(service, operation, code, status, message, resource=resource)
            lost.item = item
            # 409 ConditionalRequestConflict means two writers met: S3 asks for a new try.
            return lost, code == "ConditionalRequestConflict", None
        if code in _SKEWED and self._resync(answer):
            return AwsFault(service, operation, code, status, message, resource=resource), True, None
        if code in _MISSING or status == 404:
            return NotFound(service, operation, code, status, message, resource=resource), False, None
        if code in _DENIED or status == 403:
            denied = AccessDenied(
                service,
                operation,
                code,
                status,
                message,
                resource=resource,
                fix=f"grant {service}:{operation} on {resource or 'the resource'} to the role",
            )
            return denied, False, None
        if status >= 500:
            failed = Unreachable(service, operation, code, status, message, resource=resource)
            failed.sent = True
            return failed, True, None
        return AwsFault(service, operation, code, status, message, resource=resource), False, None

    def _resync(self, answer: Answer) -> bool:
        date = answer.headers.get("date")
        server_s = _http_epoch(date) if date else None
        if server_s is None or abs(server_s - self.now_s()) < 60.0:
            return False
        self.skew_s = server_s - self._clock()
        return True

    # -- JSON services

    def call(
        self,
        service: str,
        operation: str,
        payload: Mapping[str, Any],
        *,
        deadline: Deadline | None = None,
        idempotent: bool | None = None,
        resource: str = "",
    ) -> dict[str, Any]:
        """Call one operation of a JSON-protocol service.

        `idempotent` says whether the call may be repeated after bytes of it were sent. Default: true for reads,
        for writes under a condition, and for operations with a name or token of the caller; false otherwise.

        Raises:
            AwsFault: or the subclass that fits.
        """
        _, target, version = TARGETS[service]
        headers = {
            "content-type": f"application/x-amz-json-{version}",
            "x-amz-target": f"{target}.{operation}",
        }
        answer = self.exchange(
            service,
            operation,
            "POST",
            "/",
            headers=headers,
            body=json.dumps(payload, separators=(",", ":")).encode(),
            deadline=deadline,
            idempotent=repeatable(operation, payload) if idempotent is None else idempotent,
            resource=resource,
        )
        if not answer.body:
            return {}
        parsed = json.loads(answer.body)
        return parsed if isinstance(parsed, dict) else {}


_READS = ("Get", "List", "Describe", "BatchGet", "Query", "Scan", "Discover", "Decrypt", "Verify")
_REPEATABLE = (
    "StartExecution",
    "DeleteMessage",
    "ChangeMessageVisibility",
    "StopExecution",
    "SendTaskHeartbeat",
)
"""Writes that do the same thing twice as once. StartExecution has the caller's name: the second is a refusal."""


def repeatable(operation: str, payload: Mapping[str, Any]) -> bool:
    """Tell whether an operation may be sent again when nobody knows whether it arrived."""
    if operation.startswith(_READS) or operation in _REPEATABLE:
        return operation != "StartExecution" or "name" in payload
    return any(
        payload.get(key) for key in ("ConditionExpression", "ClientRequestToken", "MessageDeduplicationId")
    )


class PutResult:
    """What S3 says about a written object."""

    __slots__ = ("etag", "version_id")

    def __init__(self, etag: str, version_id: str | None) -> None:
        self.etag = etag
        self.version_id = version_id


class ObjectSummary:
    """One line of a listing."""

    __slots__ = ("etag", "key", "size")

    def __init__(self, key: str, size: int, etag: str) -> None:
        self.key = key
        self.size = size
        self.etag = etag


class ObjectStream:
    """An object being received; leave the `with` block early and the connection is closed, not drained."""

    __slots__ = ("_aws", "_connection", "_key", "_response", "headers")

    def __init__(self, aws: Aws, connection: Connection, response: Response, key: str) -> None:
        self._aws = aws
        self._connection = connection
        self._response = response
        self._key = key
        self.headers = response.headers

    @property
    def length(self) -> int | None:
        """Bytes still to come."""
        return self._response.length

    def read_into(self, view: memoryview) -> int:
        """Receive into `view`; 0 at the end.

        Raises:
            BrokenAnswer: the object ended early.
            Unreachable: no more bytes came in time.
        """
        try:
            got = self._response.read_into(view)
        except CutShort as error:
            raise BrokenAnswer("s3", "GetObject", "Truncated", 0, str(error), resource=self._key) from error
        except NoAnswer as error:
            raise Unreachable("s3", "GetObject", "NoAnswer", 0, str(error), resource=self._key) from error
        METER.bytes += got
        return got

    def chunks(self, size: int = 256 * 1024) -> Iterator[memoryview]:
        """Iterate over the body; each view is only valid until the next one."""
        scratch = memoryview(bytearray(size))
        while got := self.read_into(scratch):
            yield scratch[:got]

    def __enter__(self) -> ObjectStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aws.done(self._connection, self._response)


class S3:
    """Objects of S3. Paths are virtual-hosted on AWS and path style on a custom endpoint."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws

    def _where(self, bucket: str, key: str) -> tuple[str, str | None]:
        address, custom = self.aws.address("s3")
        path = "/" + quote_path(key)
        # A dot in the bucket's name breaks the wildcard certificate of the virtual host.
        if custom or "." in bucket:
            return f"/{bucket}{path}" if key else f"/{bucket}", None
        return path, f"{bucket}.{address.host_header}"

    def get(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        range_: tuple[int, int] | None = None,
        if_match: str | None = None,
        deadline: Deadline | None = None,
    ) -> Answer:
        """Read an object, or the inclusive byte range of it, into memory.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, BrokenAnswer, Unreachable: as S3 says.
        """
        path, host = self._where(bucket, key)
        return self.aws.exchange(
            "s3",
            "GetObjectVersion" if version_id else "GetObject",
            "GET",
            path,
            query_string([("versionId", version_id)]) if version_id else "",
            _read_headers(range_, if_match),
            deadline=deadline,
            resource=f"s3://{bucket}/{key}",
            host=host,
        )

    def stream(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        range_: tuple[int, int] | None = None,
        if_match: str | None = None,
        deadline: Deadline | None = None,
    ) -> ObjectStream:
        """Open an object for reading as it arrives. Retries until the headers are here, not later.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, Unreachable: as S3 says.
        """
        path, host = self._where(bucket, key)
        query = query_string([("versionId", version_id)]) if version_id else ""
        deadline = deadline or Deadline.after(60.0)
        operation = "GetObjectVersion" if version_id else "GetObject"
        resource = f"s3://{bucket}/{key}"
        headers = _read_headers(range_, if_match)
        attempt = 0
        while True:
            attempt += 1
            failure: AwsFault
            may_repeat, wait_s = True, None
            try:
                fault.point("aws.s3.stream.send")
                connection, response = self.aws.open(
                    "s3", "GET", path, query, headers, b"", deadline, host=host, fresh=attempt > 1
                )
                if response.status in (200, 206):
                    self.aws.went_well()
                    return ObjectStream(self.aws, connection, response, resource)
                answer = Answer(response.status, response.headers, response.read())
                self.aws.done(connection, response)
                failure, may_repeat, wait_s = self.aws._refusal("s3", operation, answer, resource)
            except NoAnswer as error:
                failure = Unreachable("s3", operation, "NoAnswer", 0, str(error), resource=resource)
            if not may_repeat or not self.aws._pause(attempt, deadline, wait_s):
                raise failure

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str | None = None,
        if_none_match: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> PutResult:
        """Write an object with its SHA-256 as checksum.

        `if_none_match` writes only where no object is; `if_match` only over that ETag.

        Raises:
            PreconditionFailed: the condition did not hold. After an unanswered try it may be our own write that
                stands there: compare before concluding.
        """
        path, host = self._where(bucket, key)
        headers = {
            "x-amz-checksum-sha256": binascii.b2a_base64(
                hashlib.sha256(body).digest(), newline=False
            ).decode()
        }
        if content_type:
            headers["content-type"] = content_type
        if if_none_match:
            headers["if-none-match"] = "*"
        if if_match:
            headers["if-match"] = if_match
        for name, value in (metadata or {}).items():
            headers[f"x-amz-meta-{name.lower()}"] = value
        answer = self.aws.exchange(
            "s3", "PutObject", "PUT", path, "", headers, body,
            deadline=deadline, resource=f"s3://{bucket}/{key}", host=host,
        )  # fmt: skip
        return PutResult(answer.headers.get("etag", ""), answer.headers.get("x-amz-version-id"))

    def head(
        self, bucket: str, key: str, *, version_id: str | None = None, deadline: Deadline | None = None
    ) -> dict[str, str]:
        """Return the object's headers, names in lower case.

        Raises:
            NotFound: there is none.
        """
        path, host = self._where(bucket, key)
        return self.aws.exchange(
            "s3", "HeadObject", "HEAD", path, query_string([("versionId", version_id)]) if version_id else "",
            deadline=deadline, resource=f"s3://{bucket}/{key}", host=host,
        ).headers  # fmt: skip

    def delete(self, bucket: str, key: str, *, deadline: Deadline | None = None) -> None:
        """Delete an object (on a versioned bucket: put a delete marker)."""
        path, host = self._where(bucket, key)
        self.aws.exchange(
            "s3",
            "DeleteObject",
            "DELETE",
            path,
            deadline=deadline,
            resource=f"s3://{bucket}/{key}",
            host=host,
        )

    def list(
        self, bucket: str, prefix: str = "", *, deadline: Deadline | None = None
    ) -> Iterator[ObjectSummary]:
        """Iterate over every object under the prefix, page by page."""
        path, host = self._where(bucket, "")
        token: str | None = None
        while True:
            parameters = [("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")]
            if token:
                parameters.append(("continuation-token", token))
            answer = self.aws.exchange(
                "s3", "ListBucket", "GET", path, query_string(parameters),
                deadline=deadline, resource=f"s3://{bucket}", host=host,
            )  # fmt: skip
            text = answer.body.decode()
            for entry in _all_between(text, "<Contents>", "</Contents>"):
                yield ObjectSummary(
                    _unquote(_between(entry, "<Key>", "</Key>")),
                    int(_between(entry, "<Size>", "</Size>") or 0),
                    _unescape(_between(entry, "<ETag>", "</ETag>")),
                )
            token = _unescape(_between(text, "<NextContinuationToken>", "</NextContinuationToken>"))
            if not token:
                return


def _with_host(address: Address, host: str) -> Address:
    scheme = "https" if address.secure else "http"
    return Address(f"{scheme}://{host}")


def _read_headers(range_: tuple[int, int] | None, if_match: str | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if range_ is not None:
        headers["range"] = f"bytes={range_[0]}-{range_[1]}"
    if if_match:
        headers["if-match"] = if_match
    return headers


def _between(text: str, start: str, end: str) -> str:
    _, found, rest = text.partition(start)
    return rest.partition(end)[0] if found else ""


def _all_between(text: str, start: str, end: str) -> list[str]:
    return [piece.partition(end)[0] for piece in text.split(start)[1:]]


def _unescape(text: str) -> str:
    for entity, character in (("&quot;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


def _unquote(text: str) -> str:
    from urllib.parse import unquote_plus

    return unquote_plus(_unescape(text))


def _error_of(answer: Answer) -> tuple[str, str, dict[str, object] | None]:
    """Find code, message and (DynamoDB) the item in an error of either protocol."""
    body = answer.body
    if body[:1] == b"{":
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = {}
        code = str(parsed.get("__type") or parsed.get("code") or answer.headers.get("x-amzn-errortype") or "")
        code = code.partition(":")[0].rpartition("#")[2] or "Unknown"
        message = parsed.get("message") or parsed.get("Message") or ""
        return code, str(message), parsed.get("Item")
    text = body.decode("utf-8", "replace")
    code = _between(text, "<Code>", "</Code>")
    if not code:
        by_status = {403: "AccessDenied", 404: "NotFound", 412: "PreconditionFailed", 503: "SlowDown"}
        code = by_status.get(answer.status, "Unknown")
    return code, _unescape(_between(text, "<Message>", "</Message>")), None


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _http_epoch(date: str) -> float | None:
    """Read `Sun, 06 Nov 1994 08:49:37 GMT`; email.utils would cost more than the whole call."""
    try:
        _, day, month, year, clock, _ = date.split()
        hours, minutes, seconds = clock.split(":")
        days = _days_from_civil(int(year), _MONTHS.index(month) + 1, int(day))
        return days * 86400.0 + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    except ValueError:
        return None


def _days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 (Howard Hinnant's algorithm, http://howardhinnant.github.io/date_algorithms.html)."""
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


def _iso_epoch(text: str | None) -> float | None:
    if not text:
        return None
    try:
        day, _, clock = text.rstrip("Z").partition("T")
        year, month, date = day.split("-")
        hours, minutes, seconds = clock.split(":")
        return _days_from_civil(int(year), int(month), int(date)) * 86400.0 + (
            int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        )
    except ValueError:
        return None
