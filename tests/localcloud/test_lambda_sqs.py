"""Event source mappings of SQS: what a batch holds, what happens to each message, and that none is lost or burnt.

Proves the semantics with real functions, queues and receive counts. Does not prove AWS's own polling rate.
"""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.lambda_ import patterns
from keepwarm_localcloud.services.lambda_.poller import failed_ids
from tests.support.lambdas import Lab, eventually, lab, refused
from tests.support.patience import PATIENCE_S

ALL_FINE = "def handler(event, context):\n    return {'batchItemFailures': []}\n"
RECORDING = """
import json
def handler(event, context):
    failed = []
    for record in event["Records"]:
        print("GOT " + record["body"] + " " + record["attributes"]["ApproximateReceiveCount"])
        if record["body"] == "poison":
            failed.append({"itemIdentifier": record["messageId"]})
    print("BATCH %d" % len(event["Records"]))
    return {"batchItemFailures": failed}
"""
PARTIAL = ["ReportBatchItemFailures"]


@pytest.fixture(scope="module")
def it() -> Iterator[Lab]:
    with lab(account="100000000008") as running:
        yield running


CLOCK = ManualClock()


@pytest.fixture(scope="module")
def timed() -> Iterator[Lab]:
    with lab(account="100000000013", clock=CLOCK, idle_s=1e9) as running:
        yield running


def passing(it: Lab, look: Callable[[], Any]) -> Any:
    """Wait for a condition; the cloud's time passes only while no batch runs, so that none outlives its visibility."""

    def tick() -> Any:
        found = look()
        if not found and not it.service.mappings.in_flight():
            CLOCK.advance(0.2)
        return found

    return eventually(tick)


def connect(it: Lab, name: str, arn: str, **options: Any) -> str:
    answer = it.client.create_event_source_mapping(FunctionName=name, EventSourceArn=arn, **options)
    return str(answer["UUID"])


def depth(it: Lab, url: str) -> int:
    found = it.cloud.boto("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    names = ("", "NotVisible", "Delayed")
    return sum(int(found[f"ApproximateNumberOfMessages{name}"]) for name in names)


def send(it: Lab, url: str, *bodies: str) -> None:
    for body in bodies:
        it.cloud.boto("sqs").send_message(QueueUrl=url, MessageBody=body)


def got(it: Lab, name: str) -> list[str]:
    try:
        return [line for line in it.log(name) if line.startswith("GOT ")]
    except it.cloud.boto("logs").exceptions.ResourceNotFoundException:
        return []


def test_given_messages_when_the_function_succeeds_then_they_are_deleted_and_the_record_is_aws_s(
    it: Lab,
) -> None:
    url, arn = it.queue()
    source = (
        "import json\ndef handler(event, context):\n    print('GOT ' + json.dumps(event['Records'][0]))\n"
    )
    name = it.published(source)
    connect(it, f"{name}:live", arn)

    it.cloud.boto("sqs").send_message(
        QueueUrl=url, MessageBody="hello", MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}}
    )

    record = json.loads(eventually(lambda: got(it, name))[0][4:])
    assert (record["body"], record["eventSource"], record["eventSourceARN"]) == ("hello", "aws:sqs", arn)
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageAttributes"]["k"]["stringValue"] == "v"
    assert record["awsRegion"] == "us-east-1"
    assert len(record["md5OfBody"]) == 32
    eventually(lambda: depth(it, url) == 0)
    assert it.entries("invocation", function=name)[0]["version"] == "1"


def test_given_a_poison_message_in_ten_then_nine_once_and_one_dead_lettered(
    timed: Lab,
) -> None:
    dead_url, dead_arn = timed.queue()
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 3})
    url, arn = timed.queue(VisibilityTimeout="1", RedrivePolicy=redrive)
    name = timed.function(RECORDING, Timeout=1)
    send(timed, url, *[f"good-{n}" for n in range(9)], "poison")
    connect(timed, name, arn, FunctionResponseTypes=PARTIAL, BatchSize=10)

    passing(timed, lambda: depth(timed, dead_url) == 1)

    lines = got(timed, name)
    assert sorted(line for line in lines if "good" in line) == [f"GOT good-{n} 1" for n in range(9)]
    assert [line for line in lines if "poison" in line] == [f"GOT poison {n}" for n in (1, 2, 3)]
    assert depth(timed, url) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "{'batchItemFailures': [{'itemIdentifier': ''}]}",
        "{'batchItemFailures': [{'itemIdentifier': None}]}",
        "{'batchItemFailures': [{'item': 'x'}]}",
        "{'batchItemFailures': [{'itemIdentifier': 'unknown'}]}",
        "{'batchItemFailures': 'x'}",
        "[1]",
    ],
)
def test_given_an_answer_that_cannot_be_read_when_reporting_failures_then_the_whole_batch_stays(
    it: Lab, answer: str
) -> None:
    url, arn = it.queue(VisibilityTimeout="600")
    name = it.function(f"def handler(event, context):\n    return {answer}\n")
    send(it, url, "one", "two")
    identity = connect(it, name, arn, FunctionResponseTypes=PARTIAL)

    eventually(lambda: sum(e["failed"] for e in it.entries("esm", function=name)) == 2)
    assert depth(it, url) == 2
    it.client.delete_event_source_mapping(UUID=identity)


@pytest.mark.parametrize("answer", ["None", "{}", "{'batchItemFailures': []}", "{'batchItemFailures': None}"])
def test_given_an_empty_answer_when_reporting_failures_then_the_whole_batch_is_done(
    it: Lab, answer: str
) -> None:
    url, arn = it.queue(VisibilityTimeout="600")
    name = it.function(f"def handler(event, context):\n    return {answer}\n")
    send(it, url, "one")
    connect(it, name, arn, FunctionResponseTypes=PARTIAL)

    eventually(lambda: depth(it, url) == 0)


def test_given_a_function_that_fails_when_the_visibility_passes_then_the_messages_come_again(
    timed: Lab,
) -> None:
    url, arn = timed.queue(VisibilityTimeout="1")
    source = (
        "def handler(event, context):\n"
        "    for r in event['Records']:\n"
        "        count = r['attributes']['ApproximateReceiveCount']\n"
        "        print('GOT ' + count)\n"
        "        assert count == '2'\n"
    )
    name = timed.function(source, Timeout=1)
    send(timed, url, "x")
    identity = connect(timed, name, arn)

    passing(timed, lambda: depth(timed, url) == 0)

    assert got(timed, name) == ["GOT 1", "GOT 2"]
    assert timed.client.get_event_source_mapping(UUID=identity)["LastProcessingResult"] == "OK"


def test_given_maximum_concurrency_2_then_never_more_run_and_no_receive_is_wasted(
    it: Lab,
) -> None:
    url, arn = it.queue()
    name = it.function("import time\n" + RECORDING.replace("failed = []", "failed = []; time.sleep(0.02)"))
    send(it, url, *[f"m-{n}" for n in range(60)])

    connect(
        it, name, arn, BatchSize=1, ScalingConfig={"MaximumConcurrency": 2}, FunctionResponseTypes=PARTIAL
    )

    hidden = set[int]()

    def done() -> bool:
        found = it.cloud.boto("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        hidden.add(int(found["ApproximateNumberOfMessagesNotVisible"]))
        return depth(it, url) == 0

    eventually(done)
    assert max(hidden) <= 2, "a message is received only when a slot is free"
    lines = got(it, name)
    assert sorted(lines) == sorted(f"GOT m-{n} 1" for n in range(60))
    assert max(e["active"] for e in it.entries("concurrency", function=name)) <= 2


def test_given_a_throttled_function_when_there_is_room_again_then_the_same_receive_is_served(it: Lab) -> None:
    url, arn = it.queue(VisibilityTimeout="60")
    name = it.function(RECORDING)
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    send(it, url, "x")
    connect(it, name, arn, FunctionResponseTypes=PARTIAL)
    eventually(lambda: it.entries("throttle", function=name))

    it.client.delete_function_concurrency(FunctionName=name)

    eventually(lambda: depth(it, url) == 0)
    assert got(it, name) == ["GOT x 1"], "a throttle must not cost the message a receive"


def test_given_a_window_when_messages_trickle_in_then_one_batch_of_more_than_ten(it: Lab) -> None:
    url, arn = it.queue()
    name = it.function(RECORDING)
    connect(it, name, arn, BatchSize=25, MaximumBatchingWindowInSeconds=10)

    send(it, url, *[f"w-{n}" for n in range(25)])

    eventually(lambda: "BATCH 25" in (it.log(name) if got(it, name) else []))


def test_given_a_fifo_queue_when_a_message_fails_then_later_ones_of_its_group_wait_for_it(timed: Lab) -> None:
    url, arn = timed.queue("ordered.fifo", FifoQueue="true", VisibilityTimeout="1")
    source = (
        "def handler(event, context):\n"
        "    for r in event['Records']:\n"
        "        print('GOT ' + r['body'])\n"
        "        if r['body'] == 'a1' and r['attributes']['ApproximateReceiveCount'] == '1':\n"
        "            raise ValueError('first time')\n"
    )
    name = timed.function(source, Timeout=1)
    for body in ("a1", "a2", "a3"):
        timed.cloud.boto("sqs").send_message(
            QueueUrl=url, MessageBody=body, MessageGroupId="a", MessageDeduplicationId=body
        )
    connect(timed, name, arn, BatchSize=1)

    passing(timed, lambda: depth(timed, url) == 0)

    assert got(timed, name) == ["GOT a1", "GOT a1", "GOT a2", "GOT a3"]


def test_given_a_disabled_mapping_when_messages_come_then_they_wait_until_it_is_enabled(it: Lab) -> None:
    url, arn = it.queue()
    name = it.function(RECORDING)
    identity = connect(it, name, arn, Enabled=False)
    send(it, url, "x")
    assert it.client.get_event_source_mapping(UUID=identity)["State"] == "Disabled"
    assert depth(it, url) == 1

    it.client.update_event_source_mapping(UUID=identity, Enabled=True)

    eventually(lambda: depth(it, url) == 0)


def test_given_a_filter_when_messages_do_not_match_then_they_are_deleted_without_an_invocation(
    it: Lab,
) -> None:
    url, arn = it.queue()
    name = it.function(RECORDING)
    pattern = json.dumps({"body": {"kind": ["keep"]}})
    identity = connect(
        it,
        name,
        arn,
        FilterCriteria={"Filters": [{"Pattern": pattern}]},
        MetricsConfig={"Metrics": ["EventCount"]},
    )

    send(it, url, json.dumps({"kind": "drop"}), json.dumps({"kind": "keep"}))

    eventually(lambda: depth(it, url) == 0)
    assert got(it, name) == ['GOT {"kind": "keep"} 1']

    def total(metric: str) -> float:
        now = datetime.now(UTC)
        points = it.cloud.boto("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda", MetricName=metric, Period=60, Statistics=["Sum"],
            Dimensions=[{"Name": "EventSourceMappingUUID", "Value": identity}],
            StartTime=now - timedelta(minutes=5), EndTime=now + timedelta(minutes=5),
        )["Datapoints"]  # fmt: skip
        return sum(float(point["Sum"]) for point in points)

    eventually(lambda: total("DeletedEventCount") == 2)
    counts = [total(f"{name}EventCount") for name in ("Polled", "FilteredOut", "Invoked", "FailedInvoke")]
    assert counts == [2, 1, 1, 0]


@pytest.mark.parametrize(
    ("queue", "options", "words"),
    [
        (
            {"VisibilityTimeout": "30"},
            {},
            "Queue visibility timeout: 30 seconds is less than Function timeout: 60",
        ),
        ({}, {"BatchSize": 11}, "Maximum batch window in seconds must be greater than 0"),
        ({"FifoQueue": "true"}, {"BatchSize": 11, "MaximumBatchingWindowInSeconds": 1}, "FIFO"),
        ({"FifoQueue": "true"}, {"MaximumBatchingWindowInSeconds": 1}, "not supported for FIFO queues"),
        ({}, {"FilterCriteria": {"Filters": [{"Pattern": "{broken"}]}}, "Invalid filter pattern definition"),
    ],
)
def test_given_a_mapping_aws_refuses_when_creating_it_then_invalid_parameter_value(
    it: Lab, queue: dict[str, str], options: dict[str, Any], words: str
) -> None:
    name = f"q-{abs(hash(words + json.dumps(options))) % 10**9}" + (".fifo" if "FifoQueue" in queue else "")
    _, arn = it.queue(name, **{"VisibilityTimeout": "360", **queue})
    function = it.function(Timeout=60)

    with refused("InvalidParameterValueException", words):
        connect(it, function, arn, **options)


@pytest.mark.parametrize(
    "options", [{"ScalingConfig": {"MaximumConcurrency": 1}}, {"ScalingConfig": {"MaximumConcurrency": 1001}},
                {"BatchSize": 10_001}, {"MaximumBatchingWindowInSeconds": 301}]
)  # fmt: skip
def test_given_a_number_out_of_range_when_creating_a_mapping_then_validation_exception(
    it: Lab, options: dict[str, Any]
) -> None:
    _, arn = it.queue()

    with refused("ValidationException", "failed to satisfy constraint"):
        connect(it, it.function(), arn, **options)


def test_given_a_queue_that_is_absent_when_creating_a_mapping_then_refused(it: Lab) -> None:
    with refused("InvalidParameterValueException", "NonExistentQueue"):
        connect(it, it.function(), f"arn:aws:sqs:us-east-1:{it.cloud.account_id}:absent")


def test_given_a_role_without_sqs_when_creating_a_mapping_then_refused(it: Lab) -> None:
    _, arn = it.queue()
    name = it.function(Role=it.role_for({"Effect": "Allow", "Action": "sqs:DeleteMessage", "Resource": arn}))

    with refused("InvalidParameterValueException", "does not have permissions to call ReceiveMessage on SQS"):
        connect(it, name, arn)


def test_given_a_role_that_loses_its_rights_when_messages_come_then_they_wait_and_the_mapping_says_why(
    it: Lab,
) -> None:
    url, arn = it.queue()
    role = it.role_for({"Effect": "Allow", "Action": "sqs:*", "Resource": arn})
    identity = connect(it, it.function(ALL_FINE, Role=role), arn)
    it.cloud.boto("iam").delete_role_policy(RoleName=role.rpartition("/")[2], PolicyName="own")

    send(it, url, "x")

    def last_result() -> str:
        return str(it.client.get_event_source_mapping(UUID=identity)["LastProcessingResult"])

    eventually(lambda: last_result().startswith("PROBLEM: AccessDenied"))
    assert depth(it, url) == 1
    it.client.update_event_source_mapping(UUID=identity, Enabled=False)
    with refused("InvalidParameterValueException", "does not have permissions"):
        it.client.update_event_source_mapping(UUID=identity, Enabled=True)


def test_given_the_same_pair_twice_when_creating_a_mapping_then_conflict(it: Lab) -> None:
    _, arn = it.queue()
    name = it.function(ALL_FINE)
    connect(it, name, arn)

    with refused("ResourceConflictException", "already exists"):
        connect(it, name, arn)


def test_given_a_stream_when_creating_a_mapping_then_a_coded_refusal(it: Lab) -> None:
    with refused("InvalidParameterValueException", "KW625 EventSourceArn"):
        connect(it, it.function(), "arn:aws:kinesis:us-east-1:100000000008:stream/x")


def test_given_a_running_poller_when_the_cloud_closes_then_no_thread_stays() -> None:
    before = set(threading.enumerate())
    with lab(account="100000000009") as it:
        _, arn = it.queue()
        connect(it, it.function(ALL_FINE), arn)

    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("keepwarm-")]
    assert left == []


# --- changes while a batch runs -------------------------------------------------------------------------------------


class Held:
    """A mapping whose first batch runs until `release`, and requests that wait for it."""

    def __init__(self, it: Lab, gate: Path) -> None:
        os.mkfifo(gate)
        self._gate = gate
        self._lab = it
        self._waiting: list[Future[Any]] = []
        self._threads = ThreadPoolExecutor(4, "held")
        self.url, arn = it.queue(VisibilityTimeout="60")
        source = f"def handler(event, context):\n    open({str(gate)!r}).read()\n"
        self.name = it.function(source, Timeout=60)
        self.id = connect(it, self.name, arn, BatchSize=1)
        send(it, self.url, "first")
        eventually(lambda: it.service.mappings.in_flight() == 1)

    def update(self, size: int) -> None:
        """Ask for another batch size, and go on as soon as it shows."""
        client = self._lab.boto("lambda")
        self._waiting.append(
            self._threads.submit(client.update_event_source_mapping, UUID=self.id, BatchSize=size)
        )
        eventually(lambda: self._lab.client.get_event_source_mapping(UUID=self.id)["BatchSize"] == size)

    def delete(self) -> None:
        """Ask for the end of the mapping, and go on as soon as it is gone."""
        client = self._lab.boto("lambda")
        self._waiting.append(self._threads.submit(client.delete_event_source_mapping, UUID=self.id))
        listed = self._lab.client.list_event_source_mappings
        eventually(lambda: listed(FunctionName=self.name)["EventSourceMappings"] == [])

    def release(self) -> None:
        """Let the batch end, and wait for the answers of all requests."""
        self._gate.write_text("")
        for waiting in self._waiting:
            waiting.result(timeout=PATIENCE_S)
        self._threads.shutdown()

    def receivers(self) -> int:
        """Threads that receive for the mapping."""
        return sum(t.name == f"keepwarm-esm-{self.id[:8]}" for t in threading.enumerate())


def test_given_an_update_that_waits_for_a_batch_when_the_mapping_is_deleted_then_nothing_receives(
    it: Lab, tmp_path: Path
) -> None:
    held = Held(it, tmp_path / "gate")
    held.update(2)
    held.delete()

    held.release()

    assert held.receivers() == 0
    send(it, held.url, "second")
    assert depth(it, held.url) == 1
    with refused("ResourceNotFoundException", "The resource you requested does not exist."):
        it.client.get_event_source_mapping(UUID=held.id)


def test_given_two_updates_that_wait_for_a_batch_when_it_ends_then_one_poller_that_can_be_disabled(
    it: Lab, tmp_path: Path
) -> None:
    held = Held(it, tmp_path / "gate")
    held.update(2)
    held.update(3)
    assert it.service.mappings.in_flight() == 1, "the batch still counts"

    held.release()

    assert held.receivers() == 1
    assert it.client.update_event_source_mapping(UUID=held.id, Enabled=False)["State"] == "Disabling"
    assert held.receivers() == 0
    send(it, held.url, "second")
    assert depth(it, held.url) == 1


def test_given_an_update_that_waits_for_a_batch_when_the_cloud_closes_then_nothing_starts_again(
    tmp_path: Path,
) -> None:
    with lab(account="100000000015") as it:
        held = Held(it, tmp_path / "gate")
        held.update(2)
        it.service.mappings.signal_close()

        held.release()

        assert held.receivers() == 0


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "changed"])
def test_given_an_update_that_is_being_checked_when_another_request_comes_first_then_it_counts_on_that(
    it: Lab, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    _, arn = it.queue()
    identity = connect(it, it.function(ALL_FINE), arn, Enabled=False)
    mappings, authorize = it.service.mappings, it.cloud.iam.authorize
    firsts = [
        mappings.delete_event_source_mapping
        if deleted
        else lambda p: mappings.update_event_source_mapping({**p, "BatchSize": 3})
    ]

    def after_another(principal: str, action: str, resource: str, context: Any = None) -> None:
        if resource == arn and firsts:
            firsts.pop()({"UUID": identity})
        authorize(principal, action, resource, context)

    monkeypatch.setattr(it.cloud.iam, "authorize", after_another)

    if deleted:
        with refused("ResourceNotFoundException", "The resource you requested does not exist."):
            it.client.update_event_source_mapping(UUID=identity, Enabled=True)
        assert identity not in mappings.all()
    else:
        answer = it.client.update_event_source_mapping(UUID=identity, Enabled=True)
        assert (answer["State"], answer["BatchSize"]) == ("Enabling", 3)
    assert firsts == []


IDS = st.sampled_from(["a", "b", "c", "", "absent"]) | st.none() | st.integers()
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
) | st.fixed_dictionaries(
    {"batchItemFailures": st.lists(st.fixed_dictionaries({"itemIdentifier": IDS}), max_size=4) | st.none()}
)


@settings(max_examples=300, deadline=None)
@given(ANSWERS.map(lambda a: json.dumps(a).encode()) | st.binary(max_size=30))
def test_given_any_answer_when_reporting_failures_then_only_a_readable_one_lets_messages_go(
    payload: bytes,
) -> None:
    every = {"a", "b", "c"}

    kept = failed_ids(every, payload)

    if kept != every:
        answer = json.loads(payload) if payload.strip() else None
        failures = (answer or {}).get("batchItemFailures") or []
        assert kept == {failure["itemIdentifier"] for failure in failures}


# --- event patterns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "event", "expected"),
    [
        ({"a": [1]}, {"a": 1}, True),
        ({"a": [1]}, {"a": True}, False),
        ({"a": [None]}, {"a": None}, True),
        ({"a": ["x"]}, {"a": ["y", "x"]}, True),
        ({"a": {"b": ["x"]}}, {"a": {"b": "x"}}, True),
        ({"a": {"b": ["x"]}}, {"a": "x"}, False),
        ({"a": [{"prefix": "ab"}]}, {"a": "abc"}, True),
        ({"a": [{"suffix": "bc"}]}, {"a": "abc"}, True),
        ({"a": [{"anything-but": ["x"]}]}, {"a": "y"}, True),
        ({"a": [{"anything-but": ["x"]}]}, {}, False),
        ({"a": [{"exists": False}]}, {}, True),
        ({"a": [{"exists": True}]}, {}, False),
        ({"a": [{"numeric": [">", 1, "<=", 3]}]}, {"a": 3}, True),
        ({"a": [{"numeric": [">", 3]}]}, {"a": 3}, False),
        ({"a": [{"equals-ignore-case": "AbC"}]}, {"a": "aBc"}, True),
        ({"$or": [{"a": [1]}, {"b": [2]}]}, {"b": 2}, True),
        ({"$or": [{"a": [1]}, {"b": [2]}]}, {"b": 3}, False),
    ],
)
def test_given_a_pattern_when_matching_then_as_eventbridge_does(
    pattern: Any, event: Any, expected: bool
) -> None:
    assert patterns.matches(patterns.parse(json.dumps(pattern)), event) is expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_given_any_json_as_a_pattern_when_parsing_and_matching_then_a_refusal_or_an_answer(
    pattern: Any, event: Any
) -> None:
    with contextlib.suppress(AwsError):
        assert patterns.matches(patterns.parse(json.dumps(pattern)), event) in (True, False)
