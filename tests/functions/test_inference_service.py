"""The inference service over real sockets: states, capacity, deadlines, drain, hostile input.

The model is a stand-in whose speed the test decides, so that order and capacity are exact. What real models read, and
the process with its signals, are in test_inference_models.py and test_inference_process.py. A GPU is not proved here.
"""

import json
import threading
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server import errors
from inference_server.http import parse_head
from inference_server.service import parse_reference
from inference_server.settings import VARIABLES, ServerSettings
from tests.support.inference import MODEL, PATIENCE_S, GatedReader, Running, inference, wait_for

PNG = b"a page"


def running_one(service: Running, reader: GatedReader) -> "Future[Any]":
    """A request that is in the model and stays there until the gate opens."""
    first = service.later(b"first")
    assert reader.entered.acquire(timeout=PATIENCE_S)
    return first


# -- states


def test_given_loading_model_when_asked_then_alive_but_not_ready() -> None:
    may_load = threading.Event()
    reader = GatedReader()

    def load() -> Any:
        assert may_load.wait(PATIENCE_S)
        return reader, dict(MODEL)

    with inference(reader, load=load, ready=False) as service:
        assert service.get("/healthz").status == 200
        waiting = service.get("/readyz")
        refused = service.ocr(PNG)
        may_load.set()
        service.until(lambda: service.get("/readyz").status == 200)
        ready = service.get("/readyz").json
    assert (waiting.status, waiting.headers["x-keepwarm-state"], waiting.json["state"]) == (
        503,
        "loading",
        "loading",
    )
    assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (503, "KW356", "1")
    assert refused.headers["x-keepwarm-state"] == "loading"
    assert ready == {
        "state": "ready",
        "model": MODEL,
        "providers": ["CPUExecutionProvider"],
        "queue_depth": 0,
    }


def test_given_model_that_fails_to_load_when_started_then_it_ends_with_status_1() -> None:
    def load() -> Any:
        raise ValueError("no such model")

    with inference(load=load, ready=False) as service:
        assert service.result.result(PATIENCE_S) == 1
    assert service.events[-1]["state"] == "failed"
    assert service.events[-1]["error"] == "ValueError: no such model"


def test_given_ready_service_when_posting_then_lines_model_and_timings() -> None:
    with inference() as service:
        answer = service.ocr(PNG)
    assert answer.status == 200
    assert answer.json["lines"] == [{"text": "a page", "score": 1.0, "box": []}]
    assert answer.json["text"] == "a page"
    assert answer.json["model"] == MODEL
    assert set(answer.json["timings_ms"]) == {"receive", "fetch", "decode", "queue", "inference", "total"}
    event = next(event for event in service.events if event["event"] == "keepwarm.result")
    assert {"key", "outcome", "cold", "pool", "duration_ms", "remaining_ms", "model", "storage"} <= set(event)
    assert (event["outcome"], event["pool"], event["metrics"]["Good"]) == ("ok", "resident", (1.0, "Count"))


# -- capacity


def test_given_full_queue_when_sending_then_429_with_retry_after_and_the_rest_is_served() -> None:
    reader = GatedReader(open_=False)
    with inference(reader, queue_max=2, batch_max=1) as service:
        first = running_one(service, reader)
        queued = [service.later(f"queued {number}".encode()) for number in range(2)]
        service.until(lambda: service.get("/readyz").json["queue_depth"] == 2)
        refused = service.ocr(b"one too many")
        reader.gate.set()
        statuses = [answer.result(PATIENCE_S).status for answer in (first, *queued)]
        metrics = service.get("/metrics").body.decode()
    assert (refused.status, refused.error["code"]) == (429, "KW355")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.error["message"] == (
        "KW355 queue: got 2 waiting; allowed 2 waiting; because more work in the queue would only turn waiting into "
        "timeouts; fix: come back after Retry-After"
    )
    assert statuses == [200, 200, 200]
    assert ["one too many"] not in reader.batches
    assert 'keepwarm_requests_total{outcome="Overloaded"} 1' in metrics
    assert 'keepwarm_requests_total{outcome="ok"} 3' in metrics
    assert "keepwarm_goodput_ratio 0.75" in metrics


def test_given_refusal_of_a_small_body_when_retrying_then_the_connection_is_still_good() -> None:
    reader = GatedReader(open_=False)
    with inference(reader, queue_max=1, batch_max=1) as service:
        first = running_one(service, reader)
        second = service.later(b"second")
        service.until(lambda: service.get("/readyz").json["queue_depth"] == 1)
        request = (
            b"POST /v1/ocr HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nabc"
        )
        two = request + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        back = service.raw(two)
        reader.gate.set()
        assert (first.result(PATIENCE_S).status, second.result(PATIENCE_S).status) == (200, 200)
    assert back.startswith(b"HTTP/1.1 429 ")
    assert b"HTTP/1.1 200 OK" in back


def test_given_waiting_requests_when_the_model_is_free_then_they_run_as_one_batch() -> None:
    reader = GatedReader(open_=False)
    with inference(reader, queue_max=8, batch_max=3) as service:
        first = running_one(service, reader)
        others = [service.later(f"page {number}".encode()) for number in range(5)]
        service.until(lambda: service.get("/readyz").json["queue_depth"] == 5)
        reader.gate.set()
        sizes = [answer.result(PATIENCE_S).json["batch_size"] for answer in others]
        first.result(PATIENCE_S)
    assert [len(batch) for batch in reader.batches] == [1, 3, 2]
    assert sorted(sizes) == [2, 2, 3, 3, 3]


def test_given_batch_with_one_bad_picture_when_run_then_only_that_one_fails() -> None:
    reader = GatedReader(open_=False)
    with inference(reader, queue_max=8, batch_max=4) as service:
        first = running_one(service, reader)
        answers = [service.later(body) for body in (b"good", b"poison", b"fine")]
        service.until(lambda: service.get("/readyz").json["queue_depth"] == 3)
        reader.gate.set()
        first.result(PATIENCE_S)
        good, poison, fine = (answer.result(PATIENCE_S) for answer in answers)
    assert (good.json["text"], fine.json["text"]) == ("good", "fine")
    assert (poison.status, poison.error["code"]) == (500, "KW362")


def test_given_run_that_raises_when_next_request_comes_then_it_is_served() -> None:
    with inference() as service:
        failed = service.ocr(b"explode")
        after = service.ocr(b"after")
    assert (failed.status, failed.error["got"]) == (500, "RuntimeError: the whole run failed")
    assert after.status == 200


# -- deadlines


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_given_deadline_that_passes_in_the_queue_when_its_turn_comes_then_504_and_never_started() -> None:
    reader, clock = GatedReader(open_=False), Clock()
    with inference(reader, batch_max=1, clock=clock) as service:
        first = running_one(service, reader)
        late = service.later(b"late", x_keepwarm_deadline_ms="500")
        service.until(lambda: service.get("/readyz").json["queue_depth"] == 1)
        clock.now_s += 0.6
        reader.gate.set()
        answer = late.result(PATIENCE_S)
        first.result(PATIENCE_S)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (504, "KW358", "DeadlineExceeded")
    assert reader.batches == [["first"]]


def test_given_queue_longer_than_the_deadline_when_sending_then_refused_at_once() -> None:
    reader, clock = GatedReader(open_=False), Clock()
    with inference(reader, batch_max=1, clock=clock) as service:
        first = running_one(service, reader)
        clock.now_s += 2.0  # so long took the first item
        reader.gate.set()
        assert first.result(PATIENCE_S).status == 200
        service.until(lambda: service.service._batcher.item_s > 0)
        hopeless = service.ocr(b"hopeless", x_keepwarm_deadline_ms="1500")
        possible = service.ocr(b"possible", x_keepwarm_deadline_ms="2500")
    assert (hopeless.status, hopeless.error["code"], hopeless.headers["retry-after"]) == (429, "KW355", "1")
    assert possible.status == 200


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ("0", 504, "KW358"),
        ("-5", 504, "KW358"),
        ("soon", 400, "KW350"),
        ("1e3", 400, "KW350"),
        ("1" * 11, 400, "KW350"),
    ],
)
def test_given_deadline_header_when_unusable_then_coded(value: str, status: int, code: str) -> None:
    with inference() as service:
        answer = service.ocr(PNG, x_keepwarm_deadline_ms=value)
    assert (answer.status, answer.error["code"]) == (status, code)


# -- one piece of work once


def test_given_same_key_and_body_in_flight_when_sent_again_then_one_run_and_two_answers() -> None:
    reader = GatedReader(open_=False)
    with inference(reader, queue_max=1) as service:
        first = service.later(PNG, idempotency_key="doc-1")
        assert reader.entered.acquire(timeout=PATIENCE_S)
        second = service.later(PNG, idempotency_key="doc-1")
        service.until(lambda: "keepwarm_joined_total 1" in service.get("/metrics").body.decode())
        assert service.get("/readyz").json["queue_depth"] == 0
        reader.gate.set()
        answers = [first.result(PATIENCE_S), second.result(PATIENCE_S)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json == answers[1].json
    assert reader.batches == [["a page"]]


def test_given_same_key_and_other_body_in_flight_when_sent_then_conflict() -> None:
    reader = GatedReader(open_=False)
    with inference(reader) as service:
        first = service.later(PNG, idempotency_key="doc-1")
        assert reader.entered.acquire(timeout=PATIENCE_S)
        other = service.ocr(b"another page", idempotency_key="doc-1")
        reader.gate.set()
        first.result(PATIENCE_S)
    assert (other.status, other.error["code"]) == (409, "KW359")


def test_given_finished_work_when_the_key_comes_again_then_it_runs_again() -> None:
    reader = GatedReader()
    with inference(reader) as service:
        assert service.ocr(PNG, idempotency_key="doc-1").status == 200
        assert service.ocr(b"new page", idempotency_key="doc-1").status == 200
    assert reader.batches == [["a page"], ["new page"]]


# -- drain


def test_given_accepted_work_when_stopped_then_it_finishes_and_new_work_is_refused() -> None:
    reader = GatedReader(open_=False)
    with inference(reader, batch_max=1) as service:
        first = running_one(service, reader)
        second = service.later(b"second")
        service.until(lambda: service.get("/readyz").json["queue_depth"] == 1)
        service.stop()
        service.until(lambda: service.service.state == "draining")
        refused, readiness = service.ocr(b"third"), service.get("/readyz")
        reader.gate.set()
        answers = [first.result(PATIENCE_S), second.result(PATIENCE_S)]
        assert service.result.result(PATIENCE_S) == 0
    assert [answer.status for answer in answers] == [200, 200]
    assert (refused.status, refused.error["code"], refused.headers["x-keepwarm-state"]) == (
        503,
        "KW357",
        "draining",
    )
    assert int(refused.headers["retry-after"]) >= 1
    assert (readiness.status, readiness.headers["x-keepwarm-state"]) == (503, "draining")
    assert readiness.headers["connection"] == "close"
    assert service.events[-1] == {
        "event": "keepwarm.service", "state": "stopped", "finished": True, "metrics": {}
    }  # fmt: skip


def test_given_work_that_takes_longer_than_the_drain_when_stopped_then_status_1_and_the_waiting_are_told() -> (
    None
):
    reader = GatedReader(open_=False)
    with inference(reader, batch_max=1, drain_s=0.05) as service:
        running_one(service, reader)
        waiting = service.later(b"waiting")
        service.until(lambda: service.get("/readyz").json["queue_depth"] == 1)
        service.stop()
        answer = waiting.result(PATIENCE_S)
        reader.gate.set()
        assert service.result.result(PATIENCE_S) == 1
    assert (answer.status, answer.error["code"]) == (503, "KW357")


# -- references to S3


def test_given_reference_when_posting_then_the_picture_is_fetched_with_version_and_limit() -> None:
    asked: list[Any] = []

    def fetch(*where: Any) -> bytes:
        asked.append(where)
        return b"fetched page"

    body = json.dumps({"s3": "s3://intake/a b/page.png", "version_id": "v1"}).encode()
    with inference(fetch=fetch) as service:
        answer = service.ocr(body, content_type="application/json; charset=utf-8")
    assert answer.json["text"] == "fetched page"
    (bucket, key, version, seconds, most) = asked[0]
    assert (bucket, key, version, most) == ("intake", "a b/page.png", "v1", 20 * 1024 * 1024)
    assert 0 < seconds <= 30


@pytest.mark.parametrize(
    ("fault", "status", "code", "retry"),
    [
        (errors.SourceRefused("s3://b/k", "AccessDenied"), 424, "KW360", False),
        (errors.SourceUnavailable("s3://b/k", "SlowDown"), 503, "KW360", True),
        (errors.TooLargeDocument("s3://b/k", "9 bytes", allowed="8"), 413, "KW352", False),
    ],
)
def test_given_source_that_refuses_when_posting_then_coded(
    fault: Any, status: int, code: str, retry: bool
) -> None:
    def fetch(*_: Any) -> bytes:
        raise fault

    with inference(fetch=fetch) as service:
        answer = service.ocr(b'{"s3": "s3://bucket/key"}', content_type="application/json")
    assert (answer.status, answer.error["code"], "retry-after" in answer.headers) == (status, code, retry)


# -- hostile input


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "KW351"),
        (b"broken", {}, 400, "KW351"),
        (b"text", {"content_type": "text/plain"}, 415, "KW353"),
        (b"{", {"content_type": "application/json"}, 400, "KW350"),
        (b"[" * 5000, {"content_type": "application/json"}, 400, "KW350"),
        (b'{"s3": "https://elsewhere/x"}', {"content_type": "application/json"}, 400, "KW350"),
        (b'{"s3": "s3://UPPER/x"}', {"content_type": "application/json"}, 400, "KW350"),
        (b'{"s3": "s3://bucket/k", "version_id": 7}', {"content_type": "application/json"}, 400, "KW350"),
        (b"x" * 2000, {}, 413, "KW352"),
        (b"x", {"idempotency_key": "k" * 129}, 400, "KW350"),
    ],
)
def test_given_bad_request_when_posting_then_coded_json(
    body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    with inference(max_body_bytes=1024 if len(body) < 5000 else 100_000) as service:
        answer = service.ocr(body, **headers)
        alive = service.ocr(b"still here")
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error["message"].startswith(f"{code} ")
    assert "\n" not in answer.error["message"]
    assert alive.status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/3\r\n\r\n",
        b"GET nothing HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        b"POST /v1/ocr HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/ocr HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/ocr HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000,
    ],
)
def test_given_garbage_when_sent_then_400_coded_and_closed(raw: bytes) -> None:
    with inference() as service:
        back = service.raw(raw, half_close=True)
        assert service.get("/healthz").status == 200
    assert back.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(back.partition(b"\r\n\r\n")[2])["error"]["code"] == "KW350"


def test_given_slow_head_when_it_does_not_end_then_408() -> None:
    with inference(header_timeout_s=0.1) as service:
        back = service.raw(b"GET /healthz HTTP/1.1\r\nHost:")
    assert back.startswith(b"HTTP/1.1 408 ")


def test_given_slow_body_when_it_does_not_arrive_then_408_and_the_place_is_free_again() -> None:
    with inference(body_timeout_s=1.0, queue_max=1) as service:
        head = b"POST /v1/ocr HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\nhalf"
        back = service.raw(head)
        after = service.ocr(PNG)
    assert back.startswith(b"HTTP/1.1 408 ")
    assert after.status == 200


def test_given_client_that_leaves_in_the_middle_when_gone_then_the_place_is_free_again() -> None:
    with inference(queue_max=1) as service:
        head = b"POST /v1/ocr HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nhalf"
        assert service.raw(head, half_close=True) == b""
        assert service.ocr(PNG).status == 200
        metrics = service.get("/metrics").body.decode()
    assert 'outcome="client_gone"} 1' in metrics


def test_given_silent_connection_when_idle_too_long_then_closed_without_a_word() -> None:
    with inference(idle_timeout_s=0.1) as service:
        assert service.raw(b"") == b""


def test_given_too_many_connections_when_one_more_comes_then_429_and_closed() -> None:
    with inference(max_connections=1) as service:
        import socket

        with socket.create_connection(("127.0.0.1", service.port)) as held:
            held.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert held.recv(4096).startswith(b"HTTP/1.1 200")
            assert service.raw(b"").startswith(b"HTTP/1.1 429 ")
        service.until(lambda: service.service._connections == 0)
        assert service.get("/healthz").status == 200


def test_given_expect_continue_when_posting_then_the_body_is_asked_for() -> None:
    with inference() as service:
        back = service.raw(
            b"POST /v1/ocr HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 6\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\n\r\na page"
        )
    assert back.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_given_http_1_0_when_asked_then_closed_after_the_answer() -> None:
    with inference() as service:
        back = service.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert b"Connection: close" in back


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/", 404, "/healthz, /readyz, /metrics, /v1/ocr"),
        ("GET", "/v1/ocr", 405, "POST"),
        ("POST", "/readyz", 405, "GET"),
    ],
)
def test_given_unknown_page_when_asked_then_coded(method: str, path: str, status: int, allowed: str) -> None:
    with inference() as service:
        answer = service.ask(method, path)
    assert (answer.status, answer.error["code"]) == (status, "KW354")
    assert f"allowed {allowed}" in answer.error["message"]


@given(st.binary(max_size=300))
def test_given_any_head_when_parsed_then_understood_or_refused(data: bytes) -> None:
    try:
        head = parse_head(data + b"\r\n\r\n")
    except errors.BadRequest:
        return
    assert head.path.startswith("/")
    assert head.length >= 0


JSON = st.recursive(st.none() | st.text() | st.integers(), st.lists)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_given_any_reference_when_parsed_then_understood_or_refused(body: bytes) -> None:
    with pytest.raises(errors.BadRequest):
        parse_reference(body)


# -- settings


def test_given_no_environment_when_read_then_defaults() -> None:
    assert ServerSettings.from_env({}) == ServerSettings()


def test_given_both_ports_when_read_then_the_one_of_the_cloud_wins() -> None:
    assert ServerSettings.from_env({"PORT": "8080", "KEEPWARM_PORT": "9001"}).port == 9001


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("value", ["many", "-1", "nan", "1e99", "99999999999"])
def test_given_bad_setting_when_read_then_refused_by_name(name: str, value: str) -> None:
    variable, _, _ = VARIABLES[name]
    with pytest.raises(errors.InvalidSetting, match=f"^KW363 {variable}: got '{value}'; allowed "):
        ServerSettings.from_env({variable: value})


def test_codes_are_unique_and_registered() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and hasattr(value, "code")]
    assert {kind.code for kind in classes} == set(errors.CODES)


def test_given_many_threads_when_flooding_then_every_request_gets_exactly_one_answer() -> None:
    reader = GatedReader()
    with inference(reader, queue_max=4, batch_max=4) as service:
        answers = [service.later(f"page {number}".encode()) for number in range(64)]
        statuses = [answer.result(PATIENCE_S).status for answer in answers]
        wait_for(lambda: service.service._batcher.depth == 0)
        assert service.ocr(PNG).status == 200
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) == sum(len(batch) for batch in reader.batches) - 1
