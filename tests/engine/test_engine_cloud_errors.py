"""A cloud that throttles, fails, is silent or loses answers in an up (F31): retried, or reported; a rerun converges.

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
from tests.support.patience import PATIENCE_S

pytestmark = [pytest.mark.engine, pytest.mark.slow]


class Proxy:
    """Forwards to the cloud; `spoil(request number, body)` says what to do instead.

    (status, error code) is answered; `drop` lets the cloud do it and loses the answer; `silence` never answers.
    """

    def __init__(self, target: str) -> None:
        self.spoil: Callable[[int, bytes], tuple[int, str] | str | None] = lambda number, body: None
        self.closed = threading.Event()
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
                if wanted == "silence":
                    proxy.closed.wait(PATIENCE_S)
                    self.close_connection = True
                    return
                if isinstance(wanted, tuple):
                    status, code = wanted
                    answer = json.dumps({"__type": code, "message": "spoiled on purpose"}).encode()
                    self.send_response(status)
                    self.send_header("Content-Type", "application/x-amz-json-1.0")
                    self.send_header("x-amzn-errortype", code)
                else:
                    connection = HTTPConnection(where, timeout=PATIENCE_S)
                    connection.request(self.command, self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    answer = response.read()
                    if wanted == "drop":
                        connection.close()
                        self.close_connection = True
                        return
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
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(PATIENCE_S)


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


def once(what: str, wanted: bytes) -> Callable[[int, bytes], str | None]:
    """Spoil the first request that holds these bytes, and no other."""
    done = threading.Event()

    def spoil(number: int, body: bytes) -> str | None:
        if wanted not in body or done.is_set():
            return None
        done.set()
        return what

    return spoil


def test_given_a_request_that_nobody_answers_when_up_then_it_is_sent_again_and_done(
    project: Project, proxy: Proxy
) -> None:
    proxy.spoil = once("silence", b"KeySchema")
    made = project.must("up", environment={"KEEPWARM_READ_TIMEOUT_S": "5"})
    assert len(made.changed()) == 5
    assert proxy.spoiled == 1
    assert made.seconds < 60, "a silent cloud is not waited for longer than was asked"


def test_given_an_answer_that_is_lost_when_run_again_then_what_was_made_is_not_left_over(
    project: Project, proxy: Proxy
) -> None:
    # The cloud made the table; the second request, which the client sends by itself, meets it.
    proxy.spoil = once("drop", b"KeySchema")
    failed = project.run("up", "--continue-on-error")
    assert failed.status != 0
    assert proxy.spoiled == 1
    assert (
        "KW635 urn:pulumi:local::proj::aws:dynamodb/table:Table::t: create was refused with ResourceInUseException"
        in failed.text
    )
    again = project.must("up")
    assert again.changed() == {"Table t": "create"}
    assert len(project.inventory()["dynamodb"]["tables"]) == 1, again.notes
    (note,) = again.notes
    assert note.endswith("which a killed run or a lost answer left and no state knows, was removed")
