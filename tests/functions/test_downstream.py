"""Permits, breaker and the client of the model service.

Proves: never more holders than permits under threads and dead holders; early refusal with a time to come back; bounded
waiting; fencing; the Backlog metric for every demand; discovery, deadline and key headers; what 429, 503, 4xx and silence
become. Does not prove: fairness beyond "the old poll more often".
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from keepwarm_runtime.admission import Admission, Breaker
from keepwarm_runtime.aws import Aws
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.errors import (
    DeadlineExceeded,
    DownstreamFault,
    LedgerUnusable,
    NotReady,
    Overloaded,
    StaleOwner,
    Unreachable,
)
from keepwarm_runtime.service_client import ServiceClient, retry_after
from tests.support.fake_aws import FakeAws, Fault, Seen, fake_aws
from tests.support.patience import PATIENCE_S


@pytest.fixture
def admission(fake: FakeAws, aws: Aws) -> Admission:
    fake.tables.add("permits")
    return Admission(aws, "permits", pool="gpu", permits=2, service="ocr")


def backlog(text: str) -> list[tuple[str, float]]:
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        assert event["Service"] == "ocr"
        directive = event["_aws"]["CloudWatchMetrics"][0]
        assert directive["Dimensions"] == [["Service"]]
        assert {metric["Name"] for metric in directive["Metrics"]} == {"Backlog", "admission_wait_ms"}
    return [(event["outcome"], event["Backlog"]) for event in events]


# -- permits


def test_given_two_permits_when_three_want_one_then_the_third_is_told_when_to_come_back(
    admission: Admission, fake: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        admission.permit(deadline=Deadline.after(60)) as one,
        admission.permit(deadline=Deadline.after(60)) as two,
    ):
        assert {one.number, two.number} == {0, 1}
        asked = len(fake.requests)
        with pytest.raises(Overloaded) as caught:
            admission.permit(deadline=Deadline.after(60), wait_s=1.0)
        assert len(fake.requests) - asked == 1, "refused only after asking again"
        assert 1.0 < caught.value.retry_after_s <= 11.0
        assert str(caught.value).startswith(
            "KW320 permit pool gpu: got a wait longer than allowed (2 permits, work of 10.0 s, 60.0 s left); allowed work within "
            "the downstream's capacity; because queueing more would only turn waiting into timeouts; fix: retry after "
        )
    assert backlog(capsys.readouterr().out) == [("served", 1), ("served", 1), ("refused", 1)]


def test_given_a_deadline_that_cannot_be_met_when_asking_then_refused_at_once(
    admission: Admission, fake: FakeAws
) -> None:
    with pytest.raises(Overloaded) as caught:
        admission.permit(deadline=Deadline.after(5, clock=lambda: 100.0), hold_s=10)
    assert str(caught.value) == (
        "KW320 permit pool gpu: got 5.0 s left, but a permit is held for up to 10.0 s; allowed at least 10.0 s; because a call "
        "that is cut off halfway has used the service for nothing; fix: raise the function's timeout_s above 10 s, or lower "
        "its permit_hold_s"
    )
    assert [seen.target for seen in fake.requests] == ["BatchGetItem"]


@pytest.mark.parametrize(("held_s", "most_s"), [(None, 5.0), ("9.0", 9.0)])
def test_given_permits_just_taken_when_asking_then_the_named_time_is_the_typical_one(
    admission: Admission, fake: FakeAws, held_s: str | None, most_s: float
) -> None:
    for _ in range(2):
        admission.permit(deadline=Deadline.after(90), hold_s=45)
    if held_s is not None:
        fake.items["permits", "gpu#0"]["held_s"] = {"N": held_s}
    with pytest.raises(Overloaded) as caught:
        admission.permit(deadline=Deadline.after(90), hold_s=45, wait_s=0.5)
    assert 0 < caught.value.retry_after_s <= most_s


def test_given_short_work_when_less_than_the_hold_is_left_then_the_lease_ends_with_the_deadline(
    admission: Admission, fake: FakeAws
) -> None:
    with admission.permit(deadline=Deadline.after(5), hold_s=10, least_s=1) as permit:
        assert permit.lease_until - time.time() <= 5.1


def test_given_a_permit_given_back_when_the_next_asks_then_it_gets_it_with_a_higher_epoch(
    admission: Admission, fake: FakeAws
) -> None:
    epochs = []
    for _ in range(3):
        with admission.permit(deadline=Deadline.after(60)) as permit:
            epochs.append((permit.number, permit.epoch))
    assert len({number for number, _ in epochs}) <= 2
    for number in (0, 1):
        own = [epoch for n, epoch in epochs if n == number]
        assert own == list(range(1, len(own) + 1))
    for item in fake.items.values():
        assert item["lease_until"] == {"N": "0"}
        assert "owner" not in item


def test_given_a_dead_holder_when_its_lease_is_over_then_the_permit_is_free_and_it_is_fenced(
    fake: FakeAws, aws: Aws
) -> None:
    fake.tables.add("permits")
    one = Admission(aws, "permits", permits=1)
    held = one.permit(deadline=Deadline.after(60), hold_s=0.05)
    with one.permit(deadline=Deadline.after(60), hold_s=0.05, wait_s=50.0) as taken:
        assert taken.epoch == 2
        assert taken.waited_s > 0.9
        with pytest.raises(StaleOwner) as caught:
            held.__exit__(None, None, None)
    assert str(caught.value).startswith("KW341 permit default#0: got work of ")
    assert str(caught.value).endswith(
        " s, longer than its lease; allowed writes of the current owner and epoch; because the lease ran out and another "
        "invocation took over; fix: raise hold_s: somebody else worked at the same time"
    )


def test_given_work_that_fails_when_it_also_lost_its_permit_then_its_own_error_is_the_one_seen(
    fake: FakeAws, aws: Aws
) -> None:
    fake.tables.add("permits")
    one = Admission(aws, "permits", permits=1)

    def work() -> None:
        with one.permit(deadline=Deadline.after(60), hold_s=0.01):
            fake.items["permits", "default#0"]["epoch"] = {"N": "9"}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_given_many_threads_when_working_then_never_more_than_the_permits(fake: FakeAws, aws: Aws) -> None:
    fake.tables.add("permits")
    inside, most, done = [0], [0], []
    lock = threading.Lock()

    def work() -> None:
        client = Aws(env=fake.env)
        pool = Admission(client, "permits", pool="gpu", permits=3)
        with pool.permit(deadline=Deadline.after(900), hold_s=100.0, wait_s=600.0):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            with lock:
                inside[0] -= 1
        done.append(1)
        client.forget()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (len(done), most[0] <= 3) == (12, True)


@pytest.mark.parametrize("lost", ["UpdateItem 1", "UpdateItem 2"])
def test_given_a_lost_answer_when_repeated_then_the_permit_is_still_ours_and_comes_back(
    admission: Admission, fake: FakeAws, lost: str
) -> None:
    seen: list[str] = []

    def drop(request: Seen) -> Fault | None:
        seen.append(request.target)
        return Fault(drop_reply=True) if f"{request.target} {seen.count(request.target)}" == lost else None

    fake.fault = drop
    with admission.permit(deadline=Deadline.after(60)) as permit:
        assert permit.epoch == 1
    assert [item["lease_until"]["N"] for item in fake.items.values()] == ["0"]


def test_given_a_clock_an_hour_off_when_asking_then_leases_are_on_dynamodbs_clock(fake: FakeAws) -> None:
    fake.tables.add("permits")
    wrong = Aws(env=fake.env, clock=lambda: time.time() + 3600.0)
    right = Aws(env=fake.env)
    with Admission(wrong, "permits").permit(deadline=Deadline.after(60), hold_s=10):
        lease_until = float(fake.items["permits", "default#0"]["lease_until"]["N"])
        assert abs(lease_until - time.time() - 10.0) < 600.0, "not an hour off"
        with pytest.raises(Overloaded):
            Admission(right, "permits").permit(deadline=Deadline.after(60), wait_s=0.5)
    wrong.forget()
    right.forget()


def test_given_no_table_when_asking_then_the_component_is_named(aws: Aws) -> None:
    with pytest.raises(
        LedgerUnusable,
        match=r"^KW347 admission table nope: got no such table; .*; fix: deploy the Admission component",
    ):
        Admission(aws, "nope").permit(deadline=Deadline.after(60))


# -- breaker


def test_given_failures_in_a_row_when_open_then_one_probe_decides() -> None:
    now = [0.0]
    breaker = Breaker("ocr", failures=3, open_s=2.0, clock=lambda: now[0])
    for _ in range(3):
        breaker.check()
        breaker.failed()
    with pytest.raises(Overloaded) as caught:
        breaker.check()
    assert str(caught.value).startswith("KW320 breaker ocr: got 3 failures in a row; ")
    assert (breaker.state, caught.value.retry_after_s) == ("open", 2.0)
    now[0] = 2.5
    assert breaker.state == "half-open"
    breaker.check()
    with pytest.raises(Overloaded, match=r"^KW320 breaker ocr: got a probe under way"):
        breaker.check()
    breaker.failed(retry_after_s=10.0)
    now[0] = 12.0
    assert breaker.state == "open"
    now[0] = 12.6
    breaker.check()
    breaker.succeeded()
    assert breaker.state == "closed"
    breaker.check()


def test_given_successes_between_failures_when_counting_then_it_stays_closed() -> None:
    breaker = Breaker("ocr", failures=2)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert breaker.state == "closed"


# -- the service


@pytest.fixture
def service() -> Iterator[FakeAws]:
    """A second server, which plays the model service."""
    with fake_aws() as running:
        yield running


@pytest.fixture
def client(fake: FakeAws, aws: Aws, service: FakeAws) -> Iterator[ServiceClient]:
    discover(fake, service.port)
    made = ServiceClient(aws, "keepwarm", "ocr", draw=lambda: 0.0)
    yield made
    made.forget()


def discover(fake: FakeAws, *ports: int) -> None:
    fake.answers["DiscoverInstances"] = lambda _payload: {
        "Instances": [
            {
                "InstanceId": f"task-{port}",
                "Attributes": {"AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": str(port)},
            }
            for port in ports
        ]
    }


def answer(service: FakeAws, status: int, body: Any = None, **headers: str) -> None:
    encoded = json.dumps(body).encode()
    service.fault = lambda _seen: Fault(
        status=status,
        body=encoded,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def post(client: ServiceClient, seconds: float = 5.0) -> Any:
    return client.post("/v1/ocr", b"img", deadline=Deadline.after(seconds), idempotency_key="k1")


def test_given_a_service_when_posting_then_deadline_and_key_go_along_and_the_connection_is_reused(
    client: ServiceClient, service: FakeAws, fake: FakeAws
) -> None:
    answer(service, 200, {"text": "hello"})
    first, second = post(client), post(client)
    assert (first.json(), first.status, first.instance) == ({"text": "hello"}, 200, f"task-{service.port}")
    assert second.taken_s >= 0
    headers = service.requests[0].headers
    assert 0 < int(headers["x-keepwarm-deadline-ms"]) <= 5000
    assert headers["idempotency-key"] == "k1"
    assert service.requests[0].body == b"img"
    assert (service.connections, len(fake.requests)) == (1, 1)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "got", "after_s"),
    [
        (429, {"Retry_After": "7"}, Overloaded, "HTTP 429 for /v1/ocr", 7.0),
        (429, {}, Overloaded, "HTTP 429 for /v1/ocr", 1.0),
        (503, {"Retry_After": "3", "X_Keepwarm_State": "loading"}, NotReady, "HTTP 503 (loading) for /v1/ocr", 3.0),
        (503, {"X_Keepwarm_State": "draining"}, NotReady, "HTTP 503 (draining) for /v1/ocr", 1.0),
        (503, {"X_Keepwarm_State": "full"}, Overloaded, "HTTP 503 (full) for /v1/ocr", 1.0),
        (502, {}, NotReady, "HTTP 502 for /v1/ocr", 1.0),
    ],
)  # fmt: skip
def test_given_overload_when_posting_then_a_retryable_fault_with_the_services_own_time(
    client: ServiceClient,
    service: FakeAws,
    status: int,
    headers: dict[str, str],
    kind: Any,
    got: str,
    after_s: float,
) -> None:
    answer(service, status, **headers)
    with pytest.raises(kind) as caught:
        post(client)
    assert (caught.value.retry, caught.value.retry_after_s, caught.value.got) == (True, after_s, got)
    assert len(service.requests) == 1


def test_given_a_clear_no_when_posting_then_permanent_with_status_and_error(
    client: ServiceClient, service: FakeAws
) -> None:
    answer(service, 422, {"error": {"code": "KW313", "type": "CorruptDocument", "message": "half a page"}})
    with pytest.raises(DownstreamFault) as caught:
        post(client)
    assert (caught.value.status, caught.value.error["type"], caught.value.retry) == (
        422,
        "CorruptDocument",
        False,
    )
    assert str(caught.value) == (
        f"KW323 service ocr instance task-{service.port}: got HTTP 422 for /v1/ocr: half a page; allowed 2xx; fix: see the "
        "downstream's own log for the request id"
    )
    answer(service, 500, "oops")
    with pytest.raises(DownstreamFault) as broken:
        post(client)
    assert (broken.value.retry, dict(broken.value.error)) == (True, {})


def test_given_no_instance_when_posting_then_not_ready(client: ServiceClient, fake: FakeAws) -> None:
    discover(fake)
    with pytest.raises(NotReady) as caught:
        post(client)
    assert str(caught.value) == (
        "KW321 service keepwarm/ocr: got no healthy instance; because capacity is still starting; fix: retry after 5.0 s"
    )
    fake.answers["DiscoverInstances"] = lambda _p: (400, {}, b'{"__type": "ServiceNotFound", "message": "x"}')
    with pytest.raises(NotReady, match=r"^KW321 service keepwarm/ocr: got ServiceNotFound from Cloud Map"):
        post(client)


def test_given_a_dead_instance_in_the_list_when_posting_then_the_other_one_answers(
    client: ServiceClient, fake: FakeAws, service: FakeAws
) -> None:
    import socket

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        discover(fake, closed.getsockname()[1], service.port)
        answer(service, 200, 1)
        assert post(client).instance == f"task-{service.port}"
        post(client)
    assert len(fake.requests) == 2, "the list that held a dead instance was used again"


def test_given_a_reply_lost_after_sending_when_posting_then_not_repeated_elsewhere(
    client: ServiceClient, fake: FakeAws, service: FakeAws
) -> None:
    discover(fake, service.port, service.port)
    service.fault = lambda _seen: Fault(status=200, drop_reply=True)
    with pytest.raises(Unreachable) as caught:
        post(client)
    assert caught.value.sent
    assert len(service.requests) == 1


def test_given_silence_when_posting_then_the_deadline_holds(client: ServiceClient, service: FakeAws) -> None:
    release = threading.Event()
    service.fault = lambda _seen: Fault(silent=release)
    with pytest.raises(Unreachable):
        post(client, 0.2)
    release.set()


def test_given_no_time_left_when_posting_then_nothing_is_sent(
    client: ServiceClient, service: FakeAws
) -> None:
    client.instances(Deadline.after(5))
    with pytest.raises(DeadlineExceeded, match=r"^KW322 service ocr: got 0 ms left"):
        post(client, 0.0)
    assert service.requests == []


def test_given_a_service_that_keeps_failing_when_posting_then_the_breaker_spares_it(
    client: ServiceClient, service: FakeAws
) -> None:
    answer(service, 503, Retry_After="30")
    for _ in range(5):
        with pytest.raises(NotReady):
            post(client)
    with pytest.raises(Overloaded) as caught:
        post(client)
    assert 29.0 < caught.value.retry_after_s <= 30.0
    assert len(service.requests) == 5


def test_given_an_answer_that_is_no_json_when_parsing_then_downstream_fault(
    client: ServiceClient, service: FakeAws
) -> None:
    service.fault = lambda _seen: Fault(status=200, body=b"<html>")
    with pytest.raises(
        DownstreamFault, match=r"^KW323 service instance task-\d+: got 6 bytes that are no JSON"
    ):
        post(client).json()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("0.5", 0.5), ("", 1.0), ("-1", 1.0), ("nan", 1.0), ("Wed, 21 Oct", 1.0)],
)
def test_given_a_retry_after_header_when_reading_then_seconds(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}) == seconds
