"""S3 and DynamoDB small enough to read, over real loopback HTTP, with faults on demand.

Faithful where the runtime depends on it: conditional writes under one lock, ranges, version ids, error bodies in the
words of AWS, SHA-256 checksums checked. Nothing else: no multipart, no signatures (the SigV4 tests compare those).
"""

import base64
import hashlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.patience import PATIENCE_S


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """Operation of a JSON request, or the method and path."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2] or f"{self.method} {self.path}"


@dataclass
class Fault:
    """What happens instead of, or to, one answer."""

    status: int | None = None
    """Answer with this status; `body` and `headers` go along."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    """Send only this many bytes of the body, then close."""
    flip_at: int | None = None
    """Flip the lowest bit of this byte of the body."""
    drop_reply: bool = False
    """Do the work, then close without an answer."""
    close: bool = False
    """Close without doing the work."""
    silent: threading.Event | None = None
    """Say nothing until the event is set, then close."""


class FakeAws:
    """State and behavior; `requests` is what was asked, `fault(request)` decides what goes wrong."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[tuple[str, str], tuple[bytes, dict[str, str]]] = {}
        self.versions: dict[tuple[str, str, str], bytes] = {}
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.tables: set[str] = set()
        self.requests: list[Seen] = []
        self.fault: Callable[[Seen], Fault | None] = lambda _seen: None
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        """Operation -> answer, for JSON services that have no state here."""
        self.clock_skew_s = 0.0
        self.page_size = 1000
        self.list_hidden_bucket = "hidden"
        self.connections = 0
        self.port = 0

    @property
    def endpoint(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """Environment of a function that lives here."""
        return {
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "token",
        }

    def count(self, method: str, prefix: str = "") -> int:
        """Requests of this method under a path prefix."""
        return sum(1 for seen in self.requests if seen.method == method and seen.path.startswith(prefix))

    def gets(self) -> Counter[tuple[str, str]]:
        """GETs per (path, range)."""
        return Counter((s.path, s.headers.get("range", "")) for s in self.requests if s.method == "GET")

    # -- answers

    def answer(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        target = seen.headers.get("x-amz-target")
        if target:
            return self._json(target.rpartition(".")[2], json.loads(seen.body or b"{}"))
        return self._s3(seen)

    def _s3(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(seen.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        with self.lock:
            if seen.method == "PUT":
                return self._put(bucket, key, seen)
            if seen.method == "DELETE":
                self.objects.pop((bucket, key), None)
                return 204, {}, b""
            if "list-type" in query:
                return self._list(bucket, query)
            return self._get(bucket, key, query.get("versionId"), seen)

    def _put(self, bucket: str, key: str, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        standing = self.objects.get((bucket, key))
        if seen.headers.get("if-none-match") == "*" and standing is not None:
            return _xml(
                412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"
            )
        if_match = seen.headers.get("if-match")
        if if_match is not None and (standing is None or standing[1]["etag"] != if_match):
            if standing is None:
                return _xml(404, "NoSuchKey", "The specified key does not exist.")
            return _xml(
                412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"
            )
        declared = seen.headers.get("x-amz-checksum-sha256")
        if declared and base64.b64decode(declared) != hashlib.sha256(seen.body).digest():
            return _xml(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.")
        version = f"v{len(self.versions) + 1}"
        headers = {"etag": f'"{hashlib.md5(seen.body).hexdigest()}"', "x-amz-version-id": version}
        headers["content-type"] = seen.headers.get("content-type", "binary/octet-stream")
        headers.update(
            {name: value for name, value in seen.headers.items() if name.startswith("x-amz-meta-")}
        )
        self.objects[bucket, key] = (seen.body, headers)
        self.versions[bucket, key, version] = seen.body
        return 200, headers, b""

    def _get(
        self, bucket: str, key: str, version: str | None, seen: Seen
    ) -> tuple[int, dict[str, str], bytes]:
        found = self.objects.get((bucket, key))
        if found is None:
            if bucket == "absent":
                return _xml(404, "NoSuchBucket", "The specified bucket does not exist")
            if bucket == self.list_hidden_bucket:
                return _xml(403, "AccessDenied", "Access Denied")
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        body, headers = found
        if version is not None:
            if (bucket, key, version) not in self.versions:
                return _xml(404, "NoSuchVersion", "The specified version does not exist.")
            body = self.versions[bucket, key, version]
            headers = {**headers, "x-amz-version-id": version}
        requested = seen.headers.get("range")
        if requested:
            start, _, end = requested.removeprefix("bytes=").partition("-")
            last = min(int(end), len(body) - 1)
            if int(start) > last:
                return _xml(416, "InvalidRange", "The requested range is not satisfiable")
            headers = {**headers, "content-range": f"bytes {start}-{last}/{len(body)}"}
            return 206, headers, body[int(start) : last + 1]
        return 200, dict(headers), body

    def _list(self, bucket: str, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        keys = sorted(k for b, k in self.objects if b == bucket and k.startswith(query.get("prefix", "")))
        after = query.get("continuation-token", "")
        page = [key for key in keys if key > after][: self.page_size]
        more = bool(page) and page[-1] != keys[-1]
        from urllib.parse import quote_plus

        contents = "".join(
            f"<Contents><Key>{escape(quote_plus(key, safe='/'))}</Key><Size>{len(self.objects[bucket, key][0])}</Size>"
            f"<ETag>{escape(self.objects[bucket, key][1]['etag'], {chr(34): '&quot;'})}</ETag></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return 200, {}, f"<ListBucketResult>{contents}{token}</ListBucketResult>".encode()

    def _json(self, operation: str, payload: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if operation in self.answers:
            answer = self.answers[operation](payload)
            if isinstance(answer, tuple):
                return answer
            return 200, {}, json.dumps(answer).encode()
        with self.lock:
            if operation == "BatchGetItem":
                return self._batch_get(payload)
            table = payload["TableName"]
            if table not in self.tables:
                return _json_error("ResourceNotFoundException", "Requested resource not found")
            if operation == "GetItem":
                item = self.items.get((table, payload["Key"]["pk"]["S"]))
                return 200, {}, json.dumps({"Item": item} if item else {}).encode()
            pk = (payload.get("Item") or payload["Key"])["pk"]["S"]
            standing = self.items.get((table, pk))
            if not _holds(payload, standing):
                extra = (
                    {"Item": standing}
                    if standing and "ReturnValuesOnConditionCheckFailure" in payload
                    else {}
                )
                return _json_error(
                    "ConditionalCheckFailedException", "The conditional request failed", **extra
                )
            if operation == "PutItem":
                self.items[table, pk] = payload["Item"]
            else:
                self.items[table, pk] = _updated(payload, standing or payload["Key"])
        return 200, {}, b"{}"

    def _batch_get(self, payload: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        found: dict[str, list[Any]] = {}
        for table, wanted in payload["RequestItems"].items():
            if table not in self.tables:
                return _json_error("ResourceNotFoundException", "Requested resource not found")
            found[table] = [
                self.items[table, key["pk"]["S"]]
                for key in wanted["Keys"]
                if (table, key["pk"]["S"]) in self.items
            ]
        return 200, {}, json.dumps({"Responses": found, "UnprocessedKeys": {}}).encode()


def _xml(status: int, code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, {"content-type": "application/xml"}, body.encode()


def _json_error(code: str, message: str, **extra: Any) -> tuple[int, dict[str, str], bytes]:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message, **extra}
    return 400, {}, json.dumps(body).encode()


def _name(payload: dict[str, Any], token: str) -> str:
    return str(payload.get("ExpressionAttributeNames", {}).get(token, token))


def _holds(payload: dict[str, Any], standing: dict[str, Any] | None) -> bool:
    for term in payload.get("ConditionExpression", "").split(" AND "):
        if not term:
            continue
        if term.startswith("attribute_not_exists("):
            if standing is not None and _name(payload, term[21:-1]) in standing:
                return False
            continue
        left, equals, right = term.split()
        assert equals == "=", term
        if (
            standing is None
            or standing.get(_name(payload, left)) != payload["ExpressionAttributeValues"][right]
        ):
            return False
    return True


def _updated(payload: dict[str, Any], standing: dict[str, Any]) -> dict[str, Any]:
    item = dict(standing)
    sets, _, removes = payload["UpdateExpression"].partition(" REMOVE ")
    for assignment in sets.removeprefix("SET ").split(","):
        name, _, value = assignment.partition("=")
        item[_name(payload, name.strip())] = payload["ExpressionAttributeValues"][value.strip()]
    for name in filter(None, removes.split(",")):
        item.pop(_name(payload, name.strip()), None)
    return item


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeAws

    def setup(self) -> None:
        super().setup()
        self.fake.connections += 1

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        import time

        return formatdate(time.time() + self.fake.clock_skew_s, usegmt=True)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        with self.fake.lock:
            self.fake.requests.append(seen)
            fault = self.fake.fault(seen)
        if fault is not None and (fault.close or fault.silent is not None):
            if fault.silent is not None:
                fault.silent.wait(PATIENCE_S)
            self._hang_up()
            return
        if fault is not None and fault.status is not None:
            status, headers, answer = fault.status, fault.headers, fault.body
        else:
            status, headers, answer = self.fake.answer(seen)
        if fault is not None and fault.drop_reply:
            self._hang_up()
            return
        if fault is not None and fault.flip_at is not None and len(answer) > fault.flip_at:
            flipped = bytearray(answer)
            flipped[fault.flip_at] ^= 1
            answer = bytes(flipped)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.cut_at is not None:
            self.wfile.write(answer[: fault.cut_at])
            self._hang_up()
            return
        self.wfile.write(answer)

    def _hang_up(self) -> None:
        self.close_connection = True
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what many tests are about."""


@contextmanager
def fake_aws() -> Iterator[FakeAws]:
    """Run the fake on a free port."""
    fake = FakeAws()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
