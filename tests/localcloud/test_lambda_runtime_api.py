"""The Runtime API's reading of requests: any split of any bytes, from any runtime, gives the same requests.

Proves the parser and the waiting; awslambdaric and curl prove the protocol in the other files.
"""

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_localcloud.services.lambda_.runtime_api import Gone, Late, RuntimeApi, RuntimeRequest
from tests.support.patience import PATIENCE_S


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    opened = RuntimeApi(body_limit=1000)
    yield opened
    opened.close()


def connected(api: RuntimeApi) -> socket.socket:
    host, _, port = api.address.partition(":")
    return socket.create_connection((host, int(port)))


@contextmanager
def silent(api: RuntimeApi) -> Iterator["subprocess.Popen[bytes]"]:
    """A watched process that says nothing and ends."""
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        api.attach(process, read_fd, lambda data: None)
        yield process


def soon() -> float:
    return time.monotonic() + PATIENCE_S


def post(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@settings(max_examples=40, deadline=None)
@given(
    bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 600), max_size=5),
)
def test_given_requests_in_any_pieces_when_reading_then_each_comes_whole(
    bodies: list[bytes], cuts: list[int]
) -> None:
    api = RuntimeApi(body_limit=1000)
    wire = b"".join(post(f"/r/{n}", body) for n, body in enumerate(bodies))
    edges = sorted({0, len(wire), *(c for c in cuts if c < len(wire))})

    with connected(api) as runtime:
        for start, end in itertools.pairwise(edges):
            runtime.sendall(wire[start:end])
        read = [api.next_request(soon()) for _ in bodies]

    assert [(r.path, r.body) for r in read] == [(f"/r/{n}", body) for n, body in enumerate(bodies)]
    api.close()


def test_given_a_chunked_body_when_reading_then_it_is_joined(api: RuntimeApi) -> None:
    with connected(api) as runtime:
        runtime.sendall(
            b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;note\r\ndefg\r\n0\r\n\r\n"
        )
        request = api.next_request(soon())

    assert request.body == b"abcdefg"


def test_given_a_body_over_the_limit_when_reading_then_its_size_is_known_and_the_rest_dropped(
    api: RuntimeApi,
) -> None:
    with connected(api) as runtime:
        sender = threading.Thread(
            target=runtime.sendall, args=(post("/x", b"y" * 300_000) + post("/z", b""),)
        )
        sender.start()
        large, after = api.next_request(soon()), api.next_request(soon())
        sender.join()

    assert (large.size, len(large.body)) == (300_000, 1001)
    assert after.path == "/z"


def test_given_expect_100_when_reading_then_the_runtime_is_told_to_go_on(api: RuntimeApi) -> None:
    with connected(api) as runtime:
        runtime.sendall(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        with pytest.raises(Late):
            api.next_request(time.monotonic() + 0.05)
        assert runtime.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        runtime.sendall(b"ok")

        assert api.next_request(soon()).body == b"ok"


def test_given_an_answer_when_sending_it_then_head_and_body_come_in_one_write(api: RuntimeApi) -> None:
    with connected(api) as runtime:
        runtime.sendall(b"GET /next HTTP/1.1\r\n\r\n")
        request: RuntimeRequest = api.next_request(soon())

        request.answer("200 OK", "X-Test: 1\r\n", b"{}")

        assert runtime.recv(1000) == b"HTTP/1.1 200 OK\r\nX-Test: 1\r\nContent-Length: 2\r\n\r\n{}"


def test_given_nobody_asks_when_the_time_is_over_then_late(api: RuntimeApi) -> None:
    with pytest.raises(Late):
        api.next_request(time.monotonic() + 0.02)


def test_given_a_process_that_tells_and_ends_when_reading_then_what_it_told_and_then_gone(
    api: RuntimeApi,
) -> None:
    log: list[bytes] = []
    host, _, port = api.address.partition(":")
    program = (
        f"import socket; s = socket.create_connection(('{host}', {port})); "
        "s.sendall(b'POST /init/error HTTP/1.1\\r\\nContent-Length: 1\\r\\n\\r\\nx'); print('last words')"
    )
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    with subprocess.Popen([sys.executable, "-c", program], stdout=write_fd) as child:
        os.close(write_fd)
        api.attach(child, read_fd, log.append)

        assert api.next_request(soon()).path == "/init/error"
        with pytest.raises(Gone):
            api.next_request(soon())

        child.wait()
        api.drain_log()
    assert b"".join(log) == b"last words\n"


def test_given_a_process_seen_to_end_before_its_words_arrive_when_reading_then_its_words_and_then_gone(
    api: RuntimeApi,
) -> None:
    with silent(api) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)

        def speak_late() -> None:
            # Not a wait for something: the late arrival itself, which a busy machine makes by chance.
            time.sleep(0.03)
            with connected(api) as words:
                time.sleep(0.03)
                words.sendall(post("/init/error", b"x"))

        speaker = threading.Thread(target=speak_late)
        speaker.start()
        request = api.next_request(soon())
        speaker.join()

        assert request.path == "/init/error"
        with pytest.raises(Gone):
            api.next_request(soon())


def test_given_words_a_close_and_an_end_that_are_seen_at_once_when_reading_then_its_words_and_then_gone(
    api: RuntimeApi,
) -> None:
    with connected(api) as words:
        with pytest.raises(Late):
            api.next_request(time.monotonic() + 0.05)
        words.sendall(post("/init/error", b"x"))
    with silent(api) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)

        assert api.next_request(soon()).path == "/init/error"
        with pytest.raises(Gone):
            api.next_request(soon())


def test_given_a_process_that_ends_without_a_word_when_reading_then_gone_within_the_grace(
    api: RuntimeApi,
) -> None:
    with silent(api), pytest.raises(Gone):
        api.next_request(soon())
