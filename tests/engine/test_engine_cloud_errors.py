"""A cloud that throttles, fails or is silent during an up (fault F31): retried, or reported; a rerun converges.

A proxy on the loopback stands between the provider and the embedded cloud and spoils chosen requests. Proves what the
provider and the engine do then. Does not prove what a real network does.
"""

import json
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pulumi_aws as aws
import pytest

from tests.support.engine import Project

pytestmark = [pytest.mark.engine, pytest.mark.slow]


class Proxy:
    """Forwards to the cloud; `spoil(request number, body)` gives (status, error code) to answer instead."""

    def __init__(self, target: str) -> None:
        self.spoil: Callable[[int, bytes], tuple[int, str] | None] = lambda number, body: None
        self.count = 0
        self.spoiled = 0
        self._lock = threading.Lock()
        where = urlsplit(target).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                wanted = None
                # Only the JSON services: their errors are the ones this class knows how to write.
                if self.headers.get("Content-Type", "").startswith("application/x-amz-json"):
                    with proxy._lock:
                        proxy.count += 1
                        wanted = proxy.spoil(proxy.count, body)
                        proxy.spoiled += wanted is not None
                if wanted is not None:
                    status, code = wanted
                    answer = json.dumps({"__type": code, "message": "spoiled on purpose"}).encode()
                    self.send_response(status)
                    self.send_header("Content-Type", "application/x-amz-json-1.0")
                    self.send_header("x-amzn-errortype", code)
                else:
                    connection = HTTPConnection(where, timeout=60)
                    connection.request(self.command, self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    answer = response.read()
                    self.send_response(response.status)
                    for name, value in response.getheaders():
                        if name.lower() not in (
                            "content-length",
                            "transfer-encoding",
                            "connection",
                            "date",
                            "server",
                        ):
                            self.send_header(name, value)
                    connection.close()
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("errors"), stack)
    made.must("up", program=lambda: None)
    yield made
    made.close()


@pytest.fixture
def proxy(project: Project) -> Iterator[Proxy]:
    """Puts a proxy in front of the project's cloud for one test."""
    handle = project.state.cloud_file
    before = handle.read_text()
    made = Proxy(project.endpoint())
    handle.write_text(json.dumps({**json.loads(before), "endpoint": made.endpoint}))
    yield made
    made.spoil = lambda number, body: None
    project.must("destroy")
    handle.write_text(before)
    made.close()
    assert project.inventory() == {}


def stack() -> None:
    for number in range(4):
        aws.sqs.Queue(f"q{number}")
    aws.dynamodb.Table(
        "t", billing_mode="PAY_PER_REQUEST", hash_key="pk", attributes=[{"name": "pk", "type": "S"}]
    )


def test_given_throttling_now_and_then_when_up_then_retried_and_done(project: Project, proxy: Proxy) -> None:
    proxy.spoil = lambda number, body: (400, "ThrottlingException") if number % 3 == 0 else None
    assert len(project.must("up").changed()) == 5
    assert proxy.spoiled > 0


def test_given_server_errors_now_and_then_when_up_then_retried_and_done(
    project: Project, proxy: Proxy
) -> None:
    proxy.spoil = lambda number, body: (500, "InternalFailure") if number % 3 == 0 else None
    assert len(project.must("up").changed()) == 5
    assert proxy.spoiled > 0


def test_given_a_service_that_is_down_when_up_then_reported_by_resource_and_a_rerun_converges(
    project: Project, proxy: Proxy
) -> None:
    proxy.spoil = lambda number, body: (503, "ServiceUnavailable") if b"KeySchema" in body else None
    failed = project.run("up", "--continue-on-error")
    assert failed.status != 0
    assert (
        "KW635 urn:pulumi:local::proj::aws:dynamodb/table:Table::t: create was refused with ServiceUnavailable"
        in failed.text
    )
    assert len([r for r in project.checkpoint()["resources"] if r["type"] == "aws:sqs/queue:Queue"]) == 4
    proxy.spoil = lambda number, body: None
    assert project.must("up").changed() == {"Table t": "create"}
