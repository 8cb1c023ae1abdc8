"""The small AWS client against servers that misbehave.

Proves: signatures equal botocore's; deadlines, retries and their budget; what counts as sent; S3 conditions, ranges,
listing; credentials of Lambda and ECS. Does not prove: TLS, and AWS itself (the embedded cloud and AWS are elsewhere).
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import json
import socket
import threading
import time
from typing import Any

import botocore.session
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from keepwarm_runtime import aws as aws_module
from keepwarm_runtime.aws import METER, S3, TARGETS, Aws
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
from keepwarm_runtime.sigv4 import EMPTY_SHA256, Credentials, Signer, quote_path
from tests.support.fake_aws import FakeAws, Fault, Seen

KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40)


def once(fault: Fault) -> Any:
    """Build a fault for the first request only."""
    left = [fault]
    return lambda _seen: left.pop() if left else None


# -- signatures


def _botocore(
    service: str, method: str, url: str, headers: dict[str, str], body: bytes, token: str | None
) -> str:
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    request.context["payload_signing_enabled"] = True
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(
        BotoCredentials("AKID", "secret", token), service, "eu-central-1"
    )
    signer.add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize("token", [None, "session/token=="])
@given(key=KEYS, body=st.binary(max_size=64))
def test_given_any_s3_key_when_signing_then_botocore_agrees(token: str | None, key: str, body: bytes) -> None:
    import hashlib

    path = "/bucket/" + quote_path(key)
    now = time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", _fixed(now))
        theirs = _botocore(
            "s3", "PUT", f"http://s3.local{path}?versionId=a%2Fb", {"x-amz-meta-a": "b  c"}, body, token
        )
    signer = Signer("s3", "eu-central-1")
    sha = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
    headers = {"host": "s3.local", "x-amz-meta-a": "b  c"}
    ours = signer.sign(
        Credentials("AKID", "secret", token), "PUT", path, "versionId=a%2Fb", headers, sha, now
    )

    assert ours["authorization"] == theirs


def test_given_json_service_when_signing_then_botocore_agrees() -> None:
    import hashlib

    body = b'{"TableName":"t"}'
    now = time.time()
    headers = {"x-amz-target": "DynamoDB_20120810.GetItem", "content-type": "application/x-amz-json-1.0"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", _fixed(now))
        theirs = _botocore("dynamodb", "POST", "http://d.local/", headers, body, "t")
    ours = Signer("dynamodb", "eu-central-1").sign(
        Credentials("AKID", "secret", "t"),
        "POST",
        "/",
        "",
        {"host": "d.local", **headers},
        hashlib.sha256(body).hexdigest(),
        now,
    )

    assert ours["authorization"] == theirs


def _fixed(now_s: float) -> Any:
    from datetime import UTC, datetime

    return lambda *_args, **_kwargs: datetime.fromtimestamp(now_s, UTC).replace(tzinfo=None)


def test_given_a_new_day_or_key_when_signing_then_the_kept_key_is_not_used() -> None:
    def sign(signer: Signer, secret: str, now_s: float) -> str:
        return signer.sign(Credentials("A", secret), "GET", "/", "", {"host": "h"}, EMPTY_SHA256, now_s)[
            "authorization"
        ]

    kept = Signer("s3", "r")
    for secret, now_s in (("one", 0.0), ("one", 86_400.0), ("two", 86_400.0)):
        assert sign(kept, secret, now_s) == sign(Signer("s3", "r"), secret, now_s)


def test_targets_equal_botocores_service_models() -> None:
    session = botocore.session.Session()
    for service, (signing, prefix, version) in TARGETS.items():
        metadata = session.get_service_model({"states": "stepfunctions"}.get(service, service)).metadata
        assert metadata.get("signingName", metadata["endpointPrefix"]) == signing
        assert (metadata["targetPrefix"], metadata["jsonVersion"]) == (prefix, version), service


def test_given_secret_when_printing_credentials_then_it_is_hidden() -> None:
    assert "hunter2" not in repr(Credentials("AKID", "hunter2", "hunter2"))


# -- retries, deadlines


def test_given_a_closed_idle_connection_when_calling_then_a_new_one_is_opened(fake: FakeAws, s3: S3) -> None:
    s3.put("b", "k", b"1")
    fake.fault = once(Fault(close=True))
    assert s3.get("b", "k").body == b"1"


def test_given_keep_alive_when_calling_twice_then_one_connection(fake: FakeAws, s3: S3) -> None:
    s3.put("b", "k", b"1")
    assert s3.get("b", "k").body == b"1"
    assert fake.connections == 1


def test_given_503_when_reading_then_it_is_repeated_and_the_budget_pays(
    fake: FakeAws, s3: S3, aws: Aws
) -> None:
    fake.objects["b", "k"] = (b"1", {"etag": '"e"'})
    fake.fault = once(Fault(status=503))
    assert s3.get("b", "k").body == b"1"
    assert aws.retries == 1


def test_given_lasting_503_when_reading_then_the_retry_budget_bounds_the_load(fake: FakeAws, s3: S3) -> None:
    fake.fault = lambda _seen: Fault(status=503)
    for _ in range(50):
        with pytest.raises(Throttled, match=r"^KW334 s3 GetObject s3://b/k: got SlowDown"):
            s3.get("b", "k")
    # 50 calls and the 10 retries of a full budget, nothing more.
    assert len(fake.requests) == 60


def test_given_retry_after_when_throttled_then_it_is_waited_for(fake: FakeAws) -> None:
    pauses: list[float] = []
    client = Aws(env=fake.env, draw=lambda: 0.0, sleep=pauses.append)
    fake.tables.add("t")
    fake.fault = once(Fault(status=429, headers={"Retry-After": "3"}))
    client.call("dynamodb", "GetItem", {"TableName": "t", "Key": {"pk": {"S": "a"}}})
    client.forget()
    assert pauses == [3.0]


def test_given_a_retry_that_would_pass_the_deadline_when_failing_then_it_is_not_made(fake: FakeAws) -> None:
    client = Aws(env=fake.env, draw=lambda: 1.0, sleep=lambda _s: pytest.fail("slept past the deadline"))
    fake.fault = lambda _seen: Fault(status=503, headers={"Retry-After": "5"})
    with pytest.raises(Throttled):
        S3(client).get("b", "k", deadline=Deadline.after(0.04))
    client.forget()


def test_given_a_silent_server_when_calling_then_the_deadline_holds(
    fake: FakeAws, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    fake.fault = lambda _seen: Fault(silent=release)
    waits: list[float] = []
    settimeout = socket.socket.settimeout

    def seen(self: socket.socket, seconds: float | None) -> None:
        if seconds is not None:
            waits.append(seconds)
        settimeout(self, seconds)

    monkeypatch.setattr(socket.socket, "settimeout", seen)
    with pytest.raises(Unreachable, match=r"^KW335 s3 GetObject s3://b/k: got NoAnswer") as caught:
        s3.get("b", "k", deadline=Deadline.after(0.2))
    release.set()
    # A silent server costs the deadline, not the 60 s that a socket would wait.
    assert waits
    assert max(waits) <= 0.2
    assert caught.value.sent


def test_given_no_time_left_when_calling_then_nothing_is_sent(fake: FakeAws, s3: S3) -> None:
    with pytest.raises(Unreachable) as caught:
        s3.get("b", "k", deadline=Deadline.after(0.0))
    assert (caught.value.sent, fake.requests) == (False, [])


def test_given_a_call_that_is_not_idempotent_when_its_answer_is_lost_then_it_is_not_repeated(
    fake: FakeAws, aws: Aws
) -> None:
    fake.answers["SendMessage"] = lambda _payload: {"MessageId": "1"}
    fake.fault = lambda _seen: Fault(drop_reply=True)
    with pytest.raises(Unreachable) as caught:
        aws.call("sqs", "SendMessage", {}, idempotent=False)
    assert caught.value.sent
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("operation", "payload", "expected"),
    [
        ("GetItem", {}, True), ("DiscoverInstances", {}, True), ("SendMessage", {}, False), ("PutItem", {}, False),
        ("PutItem", {"ConditionExpression": "attribute_not_exists(pk)"}, True), ("UpdateItem", {}, False),
        ("StartExecution", {"name": "n"}, True), ("StartExecution", {}, False), ("DeleteMessage", {}, True),
        ("SendMessage", {"MessageDeduplicationId": "d"}, True), ("PutMetricData", {}, False),
    ],
)  # fmt: skip
def test_given_an_operation_when_its_answer_is_lost_then_repeated_only_if_that_is_harmless(
    fake: FakeAws, aws: Aws, operation: str, payload: dict[str, Any], expected: bool
) -> None:
    fake.answers[operation] = lambda _payload: {}
    fake.fault = once(Fault(drop_reply=True))
    if expected:
        aws.call("dynamodb", operation, payload)
    else:
        with pytest.raises(Unreachable):
            aws.call("dynamodb", operation, payload)
    assert len(fake.requests) == (2 if expected else 1)


def test_given_nobody_listens_when_calling_then_not_sent() -> None:
    import socket

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        env = {
            "AWS_REGION": "r",
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
        client = Aws(env=env, draw=lambda: 0.0)
        with pytest.raises(Unreachable) as caught:
            client.call("sqs", "SendMessage", {}, idempotent=False)
    assert not caught.value.sent


@pytest.mark.parametrize("cut", [0, 1, 50, 99])
def test_given_truncated_body_when_reading_then_it_is_read_again(fake: FakeAws, s3: S3, cut: int) -> None:
    body = bytes(range(100))
    s3.put("b", "k", body)
    fake.fault = once(Fault(cut_at=cut))
    assert s3.get("b", "k").body == body


def test_given_always_truncated_when_reading_then_broken_answer(fake: FakeAws, s3: S3) -> None:
    s3.put("b", "k", b"12345")
    fake.fault = lambda _seen: Fault(cut_at=2)
    with pytest.raises(
        BrokenAnswer, match=r"^KW336 s3 GetObject s3://b/k: got Truncated, the body ended 3 bytes early"
    ):
        s3.get("b", "k")


def test_given_a_clock_two_hours_off_when_calling_then_signatures_follow_the_server(fake: FakeAws) -> None:
    client = Aws(env=fake.env, clock=lambda: time.time() + 7200.0)
    fake.objects["b", "k"] = (b"1", {"etag": '"e"'})
    S3(client).get("b", "k")
    assert abs(client.now_s() - time.time()) < 600.0, "not two hours off"
    S3(client).get("b", "k")
    client.forget()
    stamps = [seen.headers["x-amz-date"] for seen in fake.requests]
    now = time.strftime("%Y%m%dT%H", time.gmtime())
    assert not stamps[0].startswith(now)
    assert stamps[1].startswith(now)


# -- refusals


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", AccessDenied,
         "KW331 s3 GetObject s3://b/k: got AccessDenied (HTTP 403), no; because the role of this function has no statement "
         "that allows it; fix: grant s3:GetObject on s3://b/k to the role"),
        (404, b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>", NotFound,
         "KW332 s3 GetObject s3://b/k: got NoSuchKey (HTTP 404), gone; fix: check the name, the region and that the stack "
         "is deployed"),
        (400, b"<Error><Code>InvalidArgument</Code><Message>a &lt; b</Message></Error>", AwsFault,
         "KW330 s3 GetObject s3://b/k: got InvalidArgument (HTTP 400), a < b"),
    ],
)  # fmt: skip
def test_given_refusal_when_reading_then_the_text_says_which(
    fake: FakeAws, s3: S3, status: int, body: bytes, kind: type[AwsFault], text: str
) -> None:
    fake.fault = lambda _seen: Fault(status=status, body=body)
    with pytest.raises(kind) as caught:
        s3.get("b", "k")
    assert str(caught.value) == text
    assert len(fake.requests) == 1


def test_given_a_json_error_when_calling_then_code_and_item_are_kept(fake: FakeAws, aws: Aws) -> None:
    fake.answers["StartExecution"] = lambda _p: (
        400, {}, json.dumps({"__type": "x#ExecutionAlreadyExists", "message": "there"}).encode(),
    )  # fmt: skip
    with pytest.raises(AwsFault) as caught:
        aws.call("states", "StartExecution", {}, resource="arn")
    assert caught.value.aws_code == "ExecutionAlreadyExists"
    fake.tables.add("t")
    put = {
        "TableName": "t",
        "Item": {"pk": {"S": "a"}, "v": {"N": "1"}},
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    aws.call("dynamodb", "PutItem", put)
    with pytest.raises(PreconditionFailed) as lost:
        aws.call("dynamodb", "PutItem", {**put, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"})
    assert lost.value.item == {"pk": {"S": "a"}, "v": {"N": "1"}}


# -- S3


def test_given_conditions_when_writing_then_only_the_first_and_the_matching_win(s3: S3) -> None:
    first = s3.put("b", "k", b"1", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        s3.put("b", "k", b"2", if_none_match=True)
    second = s3.put("b", "k", b"2", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        s3.put("b", "k", b"3", if_match=first.etag)
    assert s3.get("b", "k").body == b"2"
    assert s3.get("b", "k", version_id=first.version_id).body == b"1"
    assert first.version_id != second.version_id


def test_given_a_range_when_reading_then_exactly_those_bytes(s3: S3) -> None:
    s3.put("b", "a key/ü+%", bytes(range(100)))
    answer = s3.get("b", "a key/ü+%", range_=(10, 19))
    assert (answer.status, answer.body) == (206, bytes(range(10, 20)))


def test_given_pages_when_listing_then_every_key_once_and_unescaped(fake: FakeAws, s3: S3) -> None:
    fake.page_size = 2
    keys = ["p/a b", "p/c&d", "p/e+f", "p/ü", "q"]
    for key in keys:
        s3.put("b", key, b"123")
    listed = list(s3.list("b", "p/"))
    assert sorted(entry.key for entry in listed) == sorted(keys[:4])
    assert {entry.size for entry in listed} == {3}
    assert all(entry.etag.startswith('"') for entry in listed)


def test_given_a_stream_left_early_when_reading_again_then_the_rest_does_not_leak_in(s3: S3) -> None:
    s3.put("b", "big", bytes(1_000_000))
    s3.put("b", "small", b"small")
    with s3.stream("b", "big") as stream:
        next(stream.chunks(1000))
    # Not kept: what is still on its way would be taken for the next answer.
    assert not any(s3.aws._pool._idle.values())
    assert s3.get("b", "small").body == b"small"


def test_given_traffic_when_counting_then_calls_and_bytes(fake: FakeAws, s3: S3) -> None:
    calls, moved = METER.calls, METER.bytes
    s3.put("b", "k", b"12345")
    s3.get("b", "k")
    assert (METER.calls - calls, METER.bytes - moved) == (2, 10)


def test_given_aws_itself_when_addressing_then_virtual_host_unless_dots() -> None:
    s3 = S3(Aws(env={"AWS_REGION": "eu-central-1"}))
    assert s3._where("bucket", "a b") == ("/a%20b", "bucket.s3.eu-central-1.amazonaws.com")
    assert s3._where("my.bucket", "k") == ("/my.bucket/k", None)
    china = Aws(env={"AWS_REGION": "cn-north-1"})
    assert china.address("dynamodb")[0].host == "dynamodb.cn-north-1.amazonaws.com.cn"


# -- credentials


def test_given_no_region_or_credentials_when_starting_then_the_variable_is_named() -> None:
    with pytest.raises(
        InvalidSettings, match=r"^KW300 AWS_REGION: got nothing; allowed a region such as eu-central-1"
    ):
        Aws(env={})
    with pytest.raises(InvalidSettings, match="AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        Aws(env={"AWS_REGION": "r"}).credentials()


def test_given_ecs_when_asking_for_credentials_then_the_endpoint_gives_them_until_they_expire(
    fake: FakeAws,
) -> None:
    now = [1_700_000_000.0]
    given_keys = {
        "AccessKeyId": "A1",
        "SecretAccessKey": "s",
        "Token": "t",
        "Expiration": "2023-11-14T23:13:20Z",
    }
    fake.fault = lambda seen: Fault(status=200, body=json.dumps(given_keys).encode())
    env = {
        "AWS_REGION": "r",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{fake.endpoint}/creds",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "bearer",
    }
    client = Aws(env=env, clock=lambda: now[0])
    assert client.credentials().token == "t"
    assert client.credentials().expires_s == 1_700_003_600.0
    assert len(fake.requests) == 1
    assert fake.requests[0].headers["authorization"] == "bearer"
    now[0] += 3500.0
    client.credentials()
    client.forget()
    assert len(fake.requests) == 2


def test_given_http_dates_when_reading_then_epoch() -> None:
    assert aws_module._http_epoch("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777.0
    assert aws_module._http_epoch("yesterday") is None


def test_given_chunked_answer_when_reading_then_whole() -> None:
    import socket

    from keepwarm_runtime.http1 import Address, Connection

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(
                    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"
                )
                peer.sendall(b"c\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: 1\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        deadline = Deadline.after(5)
        connection = Connection(Address(f"http://127.0.0.1:{server.getsockname()[1]}"), deadline)
        response = connection.request("GET", "/", {"host": "h"}, b"", deadline)
        assert response.read() == b"abcdefg"
        assert response.finished
        connection.close()
        thread.join()


def test_seen_names_the_operation() -> None:
    assert Seen("POST", "/", {"x-amz-target": "DynamoDB_20120810.GetItem"}, b"").target == "GetItem"
