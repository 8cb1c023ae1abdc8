"""Asynchronous invocation: the queue, retries, ages, destinations, dead letters, and who may invoke at all.

Time is the test's own: a clock driven by hand, so that retries of minutes take none.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.request import AwsError
from tests.support.lambdas import ECHO, Lab, eventually, lab, refused

FAILING = "def handler(event, context):\n    raise ValueError('always')\n"


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def it(clock: ManualClock) -> Iterator[Lab]:
    with lab(account="100000000007", clock=clock, idle_s=1e9) as running:
        yield running


def send(it: Lab, name: str, payload: Any, **options: Any) -> str:
    answer = it.client.invoke(
        FunctionName=name, Payload=json.dumps(payload), InvocationType="Event", **options
    )
    assert answer["StatusCode"] == 202
    return str(answer["ResponseMetadata"]["RequestId"])


def ran(it: Lab, name: str, times: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = eventually(
        lambda: e if len(e := it.entries("invocation", function=name)) >= times else None
    )
    return found


def settled(it: Lab) -> None:
    """Wait until nothing runs: everything that is left waits for the clock."""
    eventually(lambda: it.service.invocations.events._in_flight == 0)


def body(it: Lab, url: str) -> dict[str, Any]:
    def look() -> Any:
        return (
            it.cloud.boto("sqs").receive_message(QueueUrl=url, MessageAttributeNames=["All"]).get("Messages")
        )

    message: dict[str, Any] = eventually(look)[0]
    return message


def test_given_an_event_when_it_succeeds_then_once_and_the_on_success_record(it: Lab) -> None:
    name = it.function(ECHO)
    url, arn = it.queue()
    it.client.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}}
    )

    request_id = send(it, name, {"a": 1})

    record = json.loads(body(it, url)["Body"])
    assert record["version"] == "1.0"
    assert record["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"arn:aws:lambda:us-east-1:100000000007:function:{name}:$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert record["requestPayload"] == record["responsePayload"] == {"a": 1}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}


def test_given_an_event_that_fails_when_minutes_pass_then_three_attempts_and_the_on_failure_record(
    it: Lab, clock: ManualClock
) -> None:
    name = it.function(FAILING)
    url, arn = it.queue()
    it.client.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": arn}}
    )

    start_s = clock.now_s()
    send(it, name, {"a": 1})
    ran(it, name, 1)
    settled(it)
    assert it.service.invocations.events.next_attempt_s() == start_s + 60
    clock.advance(60)
    ran(it, name, 2)
    settled(it)
    assert it.service.invocations.events.next_attempt_s() == start_s + 60 + 120
    clock.advance(120)

    record = json.loads(body(it, url)["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorType"] == "ValueError"
    ids = {e["request_id"] for e in ran(it, name, 3)}
    assert len(ids) == 1, "a retry is the same event"


def test_given_no_retries_when_an_event_fails_then_the_dead_letter_queue_gets_it_with_the_error(
    it: Lab,
) -> None:
    url, arn = it.queue()
    name = it.function(FAILING, DeadLetterConfig={"TargetArn": arn})
    it.client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)

    request_id = send(it, name, {"a": 1})

    message = body(it, url)
    assert json.loads(message["Body"]) == {"a": 1}
    attributes = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
    assert attributes == {"RequestID": request_id, "ErrorCode": "200", "ErrorMessage": "always"}


def test_given_a_throttled_event_when_it_gets_too_old_then_event_age_exceeded_and_it_never_ran(
    it: Lab, clock: ManualClock
) -> None:
    name = it.function(ECHO)
    url, arn = it.queue()
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    it.client.put_function_event_invoke_config(
        FunctionName=name, MaximumEventAgeInSeconds=60, DestinationConfig={"OnFailure": {"Destination": arn}}
    )

    send(it, name, {"a": 1})
    eventually(lambda: it.entries("throttle", function=name))
    settled(it)
    clock.advance(61)

    record = json.loads(body(it, url)["Body"])
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert "responsePayload" not in record
    assert it.entries("invocation", function=name) == []


def test_given_a_throttled_event_when_there_is_room_again_then_it_runs(it: Lab, clock: ManualClock) -> None:
    name = it.function(ECHO)
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    send(it, name, {"a": 1})
    eventually(lambda: it.entries("throttle", function=name))
    settled(it)
    it.client.delete_function_concurrency(FunctionName=name)

    clock.advance(1)

    assert ran(it, name, 1)[0]["outcome"] == "ok"


def test_given_a_function_as_destination_when_an_event_succeeds_then_it_is_invoked_with_the_record(
    it: Lab,
) -> None:
    second = it.function(
        "def handler(event, context):\n    print('condition', event['requestContext']['condition'])\n"
    )
    first = it.function(ECHO)
    arn = it.client.get_function_configuration(FunctionName=second)["FunctionArn"]
    it.client.put_function_event_invoke_config(
        FunctionName=first, DestinationConfig={"OnSuccess": {"Destination": arn}}
    )

    send(it, first, {})

    ran(it, second, 1)
    assert "condition Success" in it.log(second)


def test_given_an_event_over_1_mb_when_invoking_then_request_too_large(it: Lab) -> None:
    with refused("RequestTooLargeException", "1048576 bytes"):
        send(it, it.function(ECHO), "x" * 1048576)


def test_given_a_role_that_may_not_send_when_an_event_fails_then_nothing_is_sent_and_it_is_told(
    it: Lab,
) -> None:
    url, arn = it.queue()
    name = it.function(FAILING, Role=it.role_for())
    it.client.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": arn}}
    )

    send(it, name, {})

    told = eventually(lambda: it.entries("async", function=name, event="dropped"))
    assert "sqs:SendMessage" in told[0]["reason"]
    assert "Messages" not in it.cloud.boto("sqs").receive_message(QueueUrl=url)


def test_given_settings_of_an_alias_when_invoking_through_it_then_they_hold_there_only(it: Lab) -> None:
    name = it.published(FAILING)
    url, arn = it.queue()
    it.client.put_function_event_invoke_config(
        FunctionName=name, Qualifier="live", MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )  # fmt: skip

    send(it, name, {}, Qualifier="live")

    assert json.loads(body(it, url)["Body"])["requestContext"]["functionArn"].endswith(f":{name}:live")


EITHER_WAY: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"Qualifier": "$LATEST"}, {}),
    ({}, {"Qualifier": "$LATEST"}),
]
"""Settings by one name of the unpublished version, used by its other."""


@pytest.mark.parametrize(("put", "asked"), EITHER_WAY)
def test_given_settings_of_latest_when_read_and_deleted_without_a_qualifier_then_the_same_and_one_only(
    it: Lab, put: dict[str, str], asked: dict[str, str]
) -> None:
    name = it.function(ECHO)
    it.client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1, **put)
    it.client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0, **asked)

    found = it.client.get_function_event_invoke_config(FunctionName=name, **put)
    listed = it.client.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"]

    arn = f"arn:aws:lambda:us-east-1:{it.cloud.account_id}:function:{name}:$LATEST"
    assert (found["FunctionArn"], found["MaximumRetryAttempts"]) == (arn, 0)
    assert [(c["FunctionArn"], c["MaximumRetryAttempts"]) for c in listed] == [(arn, 0)]
    it.client.delete_function_event_invoke_config(FunctionName=name, **asked)
    with refused("ResourceNotFoundException", f"The function {arn} doesn't have an EventInvokeConfig"):
        it.client.get_function_event_invoke_config(FunctionName=name, **put)


@pytest.mark.parametrize(("put", "sent"), EITHER_WAY)
def test_given_no_retries_of_latest_when_an_event_fails_then_one_attempt_with_and_without_the_qualifier(
    it: Lab, put: dict[str, str], sent: dict[str, str]
) -> None:
    name = it.function(FAILING)
    it.client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0, **put)

    send(it, name, {}, **sent)

    ran(it, name, 1)
    settled(it)
    assert [e["attempts"] for e in it.entries("async", function=name, event="failed")] == [1]


# --- other services -------------------------------------------------------------------------------------------------


def permit(it: Lab, name: str, **options: str) -> str:
    it.client.add_permission(
        FunctionName=name,
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        **options,
    )
    return str(it.client.get_function_configuration(FunctionName=name)["FunctionArn"])


def test_given_a_permission_for_a_bucket_when_it_delivers_then_the_function_runs(it: Lab) -> None:
    name = it.function(ECHO)
    arn = permit(it, name, SourceArn="arn:aws:s3:::intake", SourceAccount=it.cloud.account_id)

    it.service.deliver(arn, b"{}", principal="s3.amazonaws.com", source_arn="arn:aws:s3:::intake")

    ran(it, name, 1)


@pytest.mark.parametrize(
    ("principal", "source", "account"),
    [
        ("s3.amazonaws.com", "arn:aws:s3:::other", "100000000007"),
        ("s3.amazonaws.com", "arn:aws:s3:::intake", "999999999999"),
        ("events.amazonaws.com", "arn:aws:s3:::intake", "100000000007"),
    ],
)
def test_given_another_source_when_it_delivers_then_access_denied_and_nothing_ran(
    it: Lab, principal: str, source: str, account: str
) -> None:
    name = it.function(ECHO)
    arn = permit(it, name, SourceArn="arn:aws:s3:::intake", SourceAccount="100000000007")

    with pytest.raises(AwsError, match="AccessDeniedException"):
        it.service.deliver(arn, b"{}", principal=principal, source_arn=source, source_account=account)

    assert it.service.invocations.events.pending() == 0
    assert it.entries("invocation", function=name) == []


def test_given_a_permission_on_the_function_when_delivering_to_its_alias_then_denied(it: Lab) -> None:
    name = it.published(ECHO)
    arn = permit(it, name)

    with pytest.raises(AwsError, match="AccessDeniedException"):
        it.service.deliver(
            f"{arn}:live", b"{}", principal="s3.amazonaws.com", source_arn="arn:aws:s3:::intake"
        )
