"""The HTTP server under the embedded cloud, spoken to byte by byte.

Proves: framing, keep-alive, limits against slow and malformed clients, streaming in both directions.
Does not prove: throughput (benchmarks/bench_s3.py).
"""

import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepwarm_localcloud.errors import LocalCloudError
from keepwarm_localcloud.front import http as server_module
from keepwarm_localcloud.front import http_body
from keepwarm_localcloud.front.http import HttpRequest, HttpServer
from keepwarm_localcloud.front.http_body import AwsChunkedReader, HttpError
from keepwarm_localcloud.request import Response
from tests.support.patience import PATIENCE_S


class Echo:
    """A handler that answers with what it read, or with what the test set."""

    def __init__(self) -> None:
        self.answer: Response | None = None
        self.read_body = True
        self.seen: list[HttpRequest] = []

    def __call__(self, request: HttpRequest) -> Response:
        self.seen.append(request)
        body = request.body.read() if self.read_body else b""
        return self.answer or Response(200, {"X-Target": request.target}, body)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[HttpServer]:
    crashes: list[BaseException] = []
    server = HttpServer(echo, on_crash=crashes.append)
    server.start()
    yield server
    assert server.stop() == 0
    assert crashes == []


class Client:
    """A raw connection."""

    def __init__(self, server: HttpServer) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        self.file = self.sock.makefile("rb")

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.sock.sendall(piece)

    def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        if not body or status in (100, 204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(self.file.readline(), 16):
                content += self.file.read(size)
                self.file.read(2)
            self.file.readline()
            return status, headers, content
        return status, headers, self.file.read(int(headers["content-length"]))

    def closed(self) -> bool:
        return self.file.read(1) == b""

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@pytest.fixture
def client(server: HttpServer) -> Iterator[Client]:
    client = Client(server)
    yield client
    client.close()


def test_given_two_requests_when_sent_at_once_then_answered_in_order_on_one_connection(
    client: Client,
) -> None:
    client.send(
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert client.answer()[1]["x-target"] == "/1"
    status, headers, body = client.answer()
    assert (status, headers["x-target"], body) == (200, "/2", b"hi")


def test_given_a_request_byte_by_byte_when_complete_then_answered(client: Client) -> None:
    for byte in b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
        client.send(bytes([byte]))
    assert client.answer()[2] == b"abc"


def test_given_expect_continue_when_the_body_is_wanted_then_100_first(client: Client) -> None:
    client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert client.answer()[0] == 100
    client.send(b"hi")
    assert client.answer()[::2] == (200, b"hi")


def test_given_expect_continue_when_refused_then_the_answer_at_once_and_the_connection_closes(
    client: Client, echo: Echo
) -> None:
    echo.read_body = False
    echo.answer = Response(412)
    client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n")
    status, headers, _ = client.answer()
    assert (status, headers["connection"]) == (412, "close")
    assert client.closed()


def test_given_an_unread_small_body_when_answered_then_the_connection_goes_on(
    client: Client, echo: Echo
) -> None:
    echo.read_body = False
    client.send(b"PUT /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    client.answer()
    client.send(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer()[1]["x-target"] == "/2"


def test_given_a_chunked_body_with_trailers_when_read_then_the_payload_and_the_trailers(
    client: Client, echo: Echo
) -> None:
    client.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3;ext=1\r\nabc\r\n",
        b"2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    assert client.answer()[2] == b"abcde"
    assert echo.seen[0].body.trailers == {"x-sum": "7"}


def test_given_head_when_answered_then_the_length_and_no_body(client: Client, echo: Echo) -> None:
    echo.answer = Response(200, {}, b"12345")
    client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer(body=False)[1]["content-length"] == "5"
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer()[2] == b"12345"


def test_given_chunks_without_a_length_when_answered_then_chunked(client: Client, echo: Echo) -> None:
    echo.answer = Response(200, {}, iter([b"a" * 10, b"", b"b" * 100_000]))
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer()[2] == b"a" * 10 + b"b" * 100_000


def test_given_a_file_range_when_answered_then_just_that_and_the_file_is_closed(
    client: Client, echo: Echo, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(range(256)) * 40_000)
    file = path.open("rb")
    echo.answer = Response(206, {}, file=(file, 300, 5_000_000))
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer()[2] == path.read_bytes()[300:5_000_300]
    client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.answer(body=False)
    assert file.closed


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 505),
        (b"GET noslash HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nName : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
)
def test_given_malformed_http_when_sent_then_refused_and_closed(
    client: Client, request_bytes: bytes, status: int
) -> None:
    client.send(request_bytes)
    assert client.answer()[0] == status
    assert client.closed()


def test_given_a_client_that_stalls_in_its_headers_when_the_time_passes_then_dropped(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEADER_S", 1)
    client = Client(server)
    client.send(b"GET / HTTP/1.1\r\nHost:")
    assert client.closed()
    client.close()


def test_given_a_client_that_sends_its_body_slower_than_the_floor_when_the_time_passes_then_408(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_body, "BODY_GRACE_S", -1)
    client = Client(server)
    client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    assert client.answer()[0] == 408
    client.close()


def test_given_too_many_connections_when_one_more_comes_then_503(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 1)
    first, second = Client(server), None
    first.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert first.answer()[0] == 200
    second = Client(server)
    assert second.answer()[0] == 503
    first.close()
    second.close()


def test_given_a_connection_whose_thread_is_not_started_yet_when_stopped_then_it_is_waited_for(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    start = threading.Thread.start

    def slow_start(thread: threading.Thread) -> None:
        if thread.name == "keepwarm-http-client":
            begun.set()
            assert go_on.wait(PATIENCE_S)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", slow_start)
    server = HttpServer(echo)
    server.start()
    left: list[int] = []
    stopper = threading.Thread(target=lambda: left.append(server.stop()))
    with socket.create_connection(("127.0.0.1", server.port)):
        assert begun.wait(PATIENCE_S)
        stopper.start()
        stopper.join(0.1)
        go_on.set()
        stopper.join(PATIENCE_S)

    assert left == [0]


def test_given_open_connections_when_stopped_then_no_thread_is_left(echo: Echo) -> None:
    server = HttpServer(echo)
    server.start()
    clients = [Client(server) for _ in range(5)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.answer()
    assert server.stop() == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("keepwarm-http")]
    for client in clients:
        client.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.com"])
def test_given_a_host_that_is_not_loopback_when_listening_then_kw601(echo: Echo, host: str) -> None:
    with pytest.raises(LocalCloudError, match="KW601"):
        HttpServer(echo, host=host)


def test_given_a_port_in_use_when_listening_then_kw600(echo: Echo, server: HttpServer) -> None:
    with pytest.raises(LocalCloudError, match="KW600"):
        HttpServer(echo, port=server.port)


@given(
    st.lists(
        st.sampled_from(
            [
                b"GET / HTTP/1.1",
                b"\r\n",
                b"Content-Length: ",
                b"5",
                b":",
                b"\x00",
                b"Transfer-Encoding: chunked",
                b"zz",
            ]
        )
        | st.binary(max_size=8),
        max_size=12,
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_given_any_bytes_when_sent_then_the_server_answers_or_closes_and_lives_on(
    server: HttpServer, pieces: list[bytes]
) -> None:
    fuzz = Client(server)
    fuzz.send(b"".join(pieces))
    fuzz.sock.shutdown(socket.SHUT_WR)
    fuzz.file.read()
    fuzz.close()
    after = Client(server)
    after.send(b"GET /alive HTTP/1.1\r\nHost: x\r\n\r\n")
    assert after.answer()[1]["x-target"] == "/alive"
    after.close()


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_given_any_chunks_when_decoded_in_any_steps_then_the_payload(chunks: list[bytes], step: int) -> None:
    framed = b"".join(b"%x;chunk-signature=%064d\r\n%b\r\n" % (len(c), 0, c) for c in chunks)
    reader = AwsChunkedReader(io.BytesIO(framed + b"0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"))  # type: ignore[arg-type]
    out = b""
    while piece := reader.read(step):
        assert len(piece) <= step
        out += piece
    assert out == b"".join(chunks)
    assert reader.trailers == {"x-amz-checksum-crc32": "AAAA"}


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_given_any_bytes_when_decoded_as_aws_chunked_then_a_refusal_or_the_end(data: bytes) -> None:
    reader = AwsChunkedReader(io.BytesIO(data))  # type: ignore[arg-type]
    try:
        reader.read()
    except HttpError as error:
        if error.status != 400:
            raise
