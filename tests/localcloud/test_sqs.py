"""SQS of the embedded cloud, each test one behavior that AWS documents.

Proves: the API as boto3 sees it and the in-process way in, on a clock that only the test moves.
Does not prove: timing under load, or anything about the network of real SQS (duplicates by lost answers).
"""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.sqs import SqsService
from keepwarm_localcloud.services.sqs.checks import attributes_md5
from tests.support.patience import PATIENCE_S

# moto is imported in a thread of the cloud when its first metric is written.
pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def cloud(clock: ManualClock) -> Iterator[Cloud]:
    with Cloud(CloudSettings(account_id="100000000001", clock=clock), services=[SqsService()]) as cloud:
        yield cloud


@pytest.fixture
def sqs(cloud: Cloud) -> Any:
    return cloud.boto("sqs")


@pytest.fixture
def make(sqs: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    made: list[str] = []

    def one(suffix: str = "", **attributes: str) -> str:
        name = f"{request.node.name[:60]}{suffix}".replace("[", "-").replace("]", "")
        url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        made.append(url)
        return str(url)

    yield one
    for url in made:
        sqs.delete_queue(QueueUrl=url)


def arn(sqs: Any, url: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def receive(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    return list(sqs.receive_message(QueueUrl=url, **more).get("Messages", []))


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_given_a_message_when_received_then_hidden_until_the_visibility_timeout_passed(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make(VisibilityTimeout="30")
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    assert [m["Body"] for m in receive(sqs, url)] == ["hello"]
    assert receive(sqs, url) == []
    clock.advance(29.9)
    assert receive(sqs, url) == []
    clock.advance(0.1)
    again = receive(sqs, url, AttributeNames=["All"])
    assert again[0]["Attributes"]["ApproximateReceiveCount"] == "2"


def test_given_a_delayed_message_when_the_delay_has_not_passed_then_not_received(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make(DelaySeconds="10")
    sqs.send_message(QueueUrl=url, MessageBody="queue delay")
    sqs.send_message(QueueUrl=url, MessageBody="own delay", DelaySeconds=0)
    assert [m["Body"] for m in receive(sqs, url)] == ["own delay"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "1"
    clock.advance(10)
    assert [m["Body"] for m in receive(sqs, url)] == ["queue delay"]


def test_given_an_old_handle_of_a_message_received_again_when_deleted_then_kept(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make(VisibilityTimeout="5")
    sqs.send_message(QueueUrl=url, MessageBody="m")
    first = receive(sqs, url)[0]["ReceiptHandle"]
    clock.advance(5)
    second = receive(sqs, url)[0]["ReceiptHandle"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first)
    clock.advance(5)
    third = receive(sqs, url)
    assert len(third) == 1
    sqs.delete_message(QueueUrl=url, ReceiptHandle=second)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=third[0]["ReceiptHandle"])
    clock.advance(5)
    assert receive(sqs, url) == []


def test_given_an_expired_handle_of_a_standard_queue_when_deleted_then_gone(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make(VisibilityTimeout="5")
    sqs.send_message(QueueUrl=url, MessageBody="m")
    handle = receive(sqs, url)[0]["ReceiptHandle"]
    clock.advance(6)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
    assert receive(sqs, url) == []


@pytest.mark.parametrize("handle", ["garbage", "AAAA", ""])
def test_given_a_handle_sqs_never_gave_when_deleting_then_receipt_handle_is_invalid(
    sqs: Any, make: Any, handle: str
) -> None:
    url = make()
    with pytest.raises(ClientError) as error:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
    assert code(error) == ("ReceiptHandleIsInvalid" if handle else "MissingParameter")


def test_given_max_receive_count_when_exceeded_then_moved_to_the_dead_letter_queue_with_its_source(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    dead = make("-dead")
    url = make(
        VisibilityTimeout="1",
        RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": "3"}),
    )
    sent = sqs.send_message(QueueUrl=url, MessageBody="poison")["MessageId"]
    for _ in range(3):
        assert len(receive(sqs, url)) == 1
        clock.advance(1)
    assert receive(sqs, url) == []
    moved = receive(sqs, dead, AttributeNames=["All"])
    assert [m["MessageId"] for m in moved] == [sent]
    assert moved[0]["Attributes"]["DeadLetterQueueSourceArn"] == arn(sqs, url)
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]


def test_given_dead_letters_when_a_move_task_starts_then_they_are_back_in_their_source_queue(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    dead = make("-dead")
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 1})
    url = make(VisibilityTimeout="1", RedrivePolicy=policy)
    sqs.send_message(QueueUrl=url, MessageBody="m")
    receive(sqs, url)
    clock.advance(1)
    receive(sqs, url)
    sqs.start_message_move_task(SourceArn=arn(sqs, dead))
    assert [m["Body"] for m in receive(sqs, url)] == ["m"]
    tasks = sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"]
    assert tasks[0]["ApproximateNumberOfMessagesMoved"] == 1


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (
            {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:100000000001:none", "maxReceiveCount": 3},
            "does not exist",
        ),
        ({"deadLetterTargetArn": "SELF", "maxReceiveCount": 0}, "maxReceiveCount"),
        ({"deadLetterTargetArn": "SELF", "maxReceiveCount": 1001}, "maxReceiveCount"),
        ({"deadLetterTargetArn": "SELF"}, "exactly"),
    ],
)
def test_given_a_bad_redrive_policy_when_set_then_refused(
    sqs: Any, make: Any, policy: dict[str, Any], reason: str
) -> None:
    url = make()
    text = json.dumps(policy).replace("SELF", arn(sqs, url))
    with pytest.raises(ClientError, match=reason) as error:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": text})
    assert code(error) == "InvalidParameterValue"


def test_given_a_redrive_allow_policy_when_another_queue_names_it_then_refused(sqs: Any, make: Any) -> None:
    dead = make("-dead", RedriveAllowPolicy=json.dumps({"redrivePermission": "denyAll"}))
    with pytest.raises(ClientError, match="does not allow"):
        make(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 3}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VisibilityTimeout", "43201"),
        ("VisibilityTimeout", "-1"),
        ("DelaySeconds", "901"),
        ("MessageRetentionPeriod", "59"),
        ("MessageRetentionPeriod", "1209601"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
        ("MaximumMessageSize", "1023"),
        ("MaximumMessageSize", "1048577"),
        ("Policy", "no json"),
        ("SqsManagedSseEnabled", "maybe"),
    ],
)
def test_given_an_attribute_out_of_range_when_creating_then_invalid_attribute_value(
    make: Any, name: str, value: str
) -> None:
    with pytest.raises(ClientError) as error:
        make(**{name: value})
    assert code(error) == "InvalidAttributeValue"


def test_given_an_unknown_attribute_when_creating_then_invalid_attribute_name(make: Any) -> None:
    with pytest.raises(ClientError) as error:
        make(NoSuchAttribute="1")
    assert code(error) == "InvalidAttributeName"


def test_given_the_same_name_when_created_again_then_same_attributes_succeed_and_others_are_refused(
    sqs: Any, make: Any
) -> None:
    url = make(VisibilityTimeout="31")
    name = url.rpartition("/")[2]
    assert sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "31"})["QueueUrl"] == url
    with pytest.raises(ClientError) as error:
        sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "32"})
    assert code(error) == "QueueAlreadyExists"


@pytest.mark.parametrize("name", ["a" * 81, "with space", "dot.inside", ""])
def test_given_a_bad_queue_name_when_creating_then_invalid_parameter_value(sqs: Any, name: str) -> None:
    with pytest.raises(ClientError) as error:
        sqs.create_queue(QueueName=name)
    assert code(error) == "InvalidParameterValue"


def test_given_no_such_queue_when_used_then_the_code_of_the_query_protocol(cloud: Cloud, sqs: Any) -> None:
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as error:
        sqs.send_message(QueueUrl=f"{cloud.endpoint}/100000000001/none", MessageBody="m")
    assert code(error) == "AWS.SimpleQueueService.NonExistentQueue"


def test_given_attributes_aws_hashed_when_hashed_here_then_the_same() -> None:
    # A vector recorded from real SQS, as moto's own tests keep it.
    attributes = {"timestamp": {"DataType": "Number", "StringValue": "1493147359900"}}
    assert attributes_md5(attributes) == "235c5c510d26fb653d073faed50ae77c"


def test_given_message_attributes_when_sent_then_received_and_filtered(sqs: Any, make: Any) -> None:
    url = make()
    attributes = {
        "Text": {"DataType": "String", "StringValue": "v"},
        "trace.id": {"DataType": "Number", "StringValue": "12"},
        "raw": {"DataType": "Binary.png", "BinaryValue": b"\x00\x01"},
    }
    sent = sqs.send_message(QueueUrl=url, MessageBody="m", MessageAttributes=attributes)
    got = receive(sqs, url, MessageAttributeNames=["All"], VisibilityTimeout=0)[0]
    assert got["MessageAttributes"] == attributes
    assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    some = receive(sqs, url, MessageAttributeNames=["trace.*"])[0]
    assert list(some["MessageAttributes"]) == ["trace.id"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"AWS.x": {"DataType": "String", "StringValue": "v"}},
        {"x": {"DataType": "Blob", "StringValue": "v"}},
        {"x": {"DataType": "Number", "StringValue": "one"}},
        {f"n{i}": {"DataType": "String", "StringValue": "v"} for i in range(11)},
    ],
)
def test_given_bad_message_attributes_when_sent_then_invalid_parameter_value(
    sqs: Any, make: Any, attributes: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as error:
        sqs.send_message(QueueUrl=make(), MessageBody="m", MessageAttributes=attributes)
    assert code(error) == "InvalidParameterValue"


def test_given_a_message_over_one_mebibyte_when_sent_then_refused_and_at_the_limit_accepted(
    sqs: Any, make: Any
) -> None:
    url = make()
    sqs.send_message(QueueUrl=url, MessageBody="x" * 1_048_576)
    with pytest.raises(ClientError, match="shorter than 1048576"):
        sqs.send_message(QueueUrl=url, MessageBody="x" * 1_048_577)


def test_given_a_control_character_when_sent_then_invalid_message_contents(sqs: Any, make: Any) -> None:
    with pytest.raises(ClientError) as error:
        sqs.send_message(QueueUrl=make(), MessageBody="\x00")
    assert code(error) == "InvalidMessageContents"


def test_given_a_batch_with_a_bad_entry_when_sent_then_only_that_entry_fails(sqs: Any, make: Any) -> None:
    url = make()
    answer = sqs.send_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "good", "MessageBody": "m"},
            {"Id": "late", "MessageBody": "m", "DelaySeconds": 901},
        ],
    )
    assert [e["Id"] for e in answer["Successful"]] == ["good"]
    assert [(e["Id"], e["SenderFault"]) for e in answer["Failed"]] == [("late", True)]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"Id": "a", "MessageBody": "m"}] * 2, "BatchEntryIdsNotDistinct"),
        ([{"Id": f"i{i}", "MessageBody": "m"} for i in range(11)], "TooManyEntriesInBatchRequest"),
        ([{"Id": "no good", "MessageBody": "m"}], "InvalidBatchEntryId"),
        ([{"Id": f"i{i}", "MessageBody": "x" * 600_000} for i in range(2)], "BatchRequestTooLong"),
        ([], "EmptyBatchRequest"),
    ],
)
def test_given_a_bad_batch_when_sent_then_refused_as_a_whole(
    sqs: Any, make: Any, entries: list[dict[str, Any]], expected: str
) -> None:
    with pytest.raises(ClientError) as error:
        sqs.send_message_batch(QueueUrl=make(), Entries=entries)
    assert code(error) == f"AWS.SimpleQueueService.{expected}"


def test_given_change_visibility_when_zero_then_visible_at_once_and_when_longer_then_later(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make(VisibilityTimeout="30")
    sqs.send_message(QueueUrl=url, MessageBody="m")
    handle = receive(sqs, url)[0]["ReceiptHandle"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=100)
    clock.advance(99)
    assert receive(sqs, url) == []
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    assert len(receive(sqs, url)) == 1
    with pytest.raises(ClientError) as error:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=1)
    assert code(error) == "AWS.SimpleQueueService.MessageNotInflight"


def test_given_change_visibility_when_beyond_twelve_hours_after_the_receive_then_refused(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make()
    sqs.send_message(QueueUrl=url, MessageBody="m")
    handle = receive(sqs, url)[0]["ReceiptHandle"]
    clock.advance(10)
    with pytest.raises(ClientError, match="beyond the limit"):
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=43_200)


def test_given_the_retention_period_when_passed_then_the_message_is_gone(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make(MessageRetentionPeriod="60")
    sqs.send_message(QueueUrl=url, MessageBody="m")
    clock.advance(59)
    assert (
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"][
            "ApproximateNumberOfMessages"
        ]
        == "1"
    )
    clock.advance(1)
    assert receive(sqs, url) == []
    assert (
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"][
            "ApproximateNumberOfMessages"
        ]
        == "0"
    )


def test_given_a_standard_dead_letter_queue_then_a_message_keeps_its_age(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    dead = make("-dead", MessageRetentionPeriod="100")
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 1})
    url = make(VisibilityTimeout="60", RedrivePolicy=policy)
    sqs.send_message(QueueUrl=url, MessageBody="m")
    receive(sqs, url)
    clock.advance(60)
    receive(sqs, url)
    clock.advance(39)
    assert (
        sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])["Attributes"][
            "ApproximateNumberOfMessages"
        ]
        == "1"
    )
    clock.advance(1)
    assert receive(sqs, dead) == []


def test_given_a_long_poll_when_a_message_is_sent_then_received_at_once(
    cloud: Cloud, sqs: Any, make: Any
) -> None:
    queue = cloud.service("sqs", SqsService)
    url = make()
    name = arn(sqs, url)
    got: list[str] = []
    poll = threading.Thread(target=lambda: got.extend(m.body for m in queue.receive(name, 1, wait_s=20)))
    poll.start()
    queue.send(name, "m")
    poll.join(PATIENCE_S)
    assert got == ["m"]


def test_given_a_long_poll_then_a_message_received_too_often_is_dead_lettered_in_it(
    cloud: Cloud, sqs: Any, make: Any, clock: ManualClock
) -> None:
    queue = cloud.service("sqs", SqsService)
    dead = arn(sqs, make("-dead"))
    policy = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 1})
    name = arn(sqs, make(VisibilityTimeout="0", RedrivePolicy=policy))
    queue.send(name, "poison")
    assert len(queue.receive(name, 1)) == 1
    stop = threading.Event()
    poll = threading.Thread(target=lambda: queue.receive(name, 1, wait_s=20, cancelled=stop.is_set))
    poll.start()
    try:
        # Woken by the arrival, not by time: nobody advances the clock.
        assert [m.body for m in queue.receive(dead, 1, wait_s=20)] == ["poison"]
    finally:
        stop.set()
        queue.wake(name)
        poll.join()


def test_given_a_long_poll_when_the_time_passes_then_empty(
    cloud: Cloud, sqs: Any, make: Any, clock: ManualClock
) -> None:
    queue = cloud.service("sqs", SqsService)
    name = arn(sqs, make())
    done = threading.Event()

    def poll() -> None:
        assert queue.receive(name, 1, wait_s=20) == []
        done.set()

    thread = threading.Thread(target=poll)
    thread.start()
    clock.advance(19)
    assert not done.wait(0.1)
    clock.advance(20)
    assert done.wait(PATIENCE_S)
    thread.join()


def test_given_a_purge_when_repeated_within_a_minute_then_in_progress(
    sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make()
    sqs.send_message(QueueUrl=url, MessageBody="m")
    sqs.purge_queue(QueueUrl=url)
    assert receive(sqs, url) == []
    with pytest.raises(ClientError) as error:
        sqs.purge_queue(QueueUrl=url)
    assert code(error) == "AWS.SimpleQueueService.PurgeQueueInProgress"
    clock.advance(60)
    sqs.purge_queue(QueueUrl=url)


class TestFifo:
    @pytest.fixture
    def url(self, make: Any) -> str:
        return str(make(".fifo", FifoQueue="true", VisibilityTimeout="10"))

    def send(
        self, sqs: Any, url: str, body: str, group: str = "g", dedup: str | None = None
    ) -> dict[str, Any]:
        return dict(
            sqs.send_message(
                QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=dedup or body
            )
        )

    def test_given_a_group_with_a_message_in_flight_when_receiving_then_only_other_groups(
        self, sqs: Any, url: str, clock: ManualClock
    ) -> None:
        for body, group in (("a1", "a"), ("a2", "a"), ("b1", "b")):
            self.send(sqs, url, body, group)
        first = receive(sqs, url)
        assert [m["Body"] for m in first] == ["a1"]
        assert [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)] == ["b1"]
        clock.advance(10)
        assert [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)] == ["a1", "a2", "b1"]

    def test_given_delayed_messages_when_the_queue_delay_changes_then_counted_anew_from_when_they_were_sent(
        self, sqs: Any, make: Any, clock: ManualClock
    ) -> None:
        url = make("-delay.fifo", FifoQueue="true", DelaySeconds="600")

        def set_delay(seconds: int) -> None:
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": str(seconds)})

        self.send(sqs, url, "a", "a")
        assert receive(sqs, url) == []
        set_delay(0)
        assert [m["Body"] for m in receive(sqs, url)] == ["a"]

        set_delay(20)
        self.send(sqs, url, "b", "b")
        clock.advance(15)
        set_delay(40)
        clock.advance(24)
        assert [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)] == ["a"]
        clock.advance(1)
        assert [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)] == ["b"]

    def test_given_a_standard_queue_when_its_delay_changes_then_a_delayed_message_keeps_its_own(
        self, sqs: Any, make: Any, clock: ManualClock
    ) -> None:
        url = make(DelaySeconds="600")
        sqs.send_message(QueueUrl=url, MessageBody="m")
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0"})
        assert receive(sqs, url) == []
        clock.advance(600)
        assert [m["Body"] for m in receive(sqs, url)] == ["m"]

    def test_given_a_deleted_message_when_receiving_then_the_next_of_its_group_in_order(
        self, sqs: Any, url: str
    ) -> None:
        for body in ("1", "2", "3"):
            self.send(sqs, url, body)
        seen = []
        for _ in range(3):
            message = receive(sqs, url)[0]
            seen.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        assert seen == ["1", "2", "3"]

    def test_given_a_duplicate_within_five_minutes_when_sent_then_accepted_and_not_delivered(
        self, sqs: Any, url: str, clock: ManualClock
    ) -> None:
        one = self.send(sqs, url, "m", dedup="d")
        two = self.send(sqs, url, "m", dedup="d")
        assert (one["MessageId"], one["SequenceNumber"]) == (two["MessageId"], two["SequenceNumber"])
        clock.advance(300)
        self.send(sqs, url, "m", dedup="d")
        assert len(receive(sqs, url, MaxNumberOfMessages=10)) == 2

    def test_given_an_expired_handle_when_deleting_then_refused(
        self, sqs: Any, url: str, clock: ManualClock
    ) -> None:
        self.send(sqs, url, "m")
        handle = receive(sqs, url)[0]["ReceiptHandle"]
        clock.advance(10)
        with pytest.raises(ClientError, match="expired"):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)

    def test_given_no_group_or_no_deduplication_when_sent_then_refused(self, sqs: Any, url: str) -> None:
        with pytest.raises(ClientError) as error:
            sqs.send_message(QueueUrl=url, MessageBody="m")
        assert code(error) == "MissingParameter"
        with pytest.raises(ClientError, match="ContentBasedDeduplication"):
            sqs.send_message(QueueUrl=url, MessageBody="m", MessageGroupId="g")

    def test_given_content_based_deduplication_when_the_same_body_is_sent_then_one_message(
        self, sqs: Any, make: Any
    ) -> None:
        url = make("-content.fifo", FifoQueue="true", ContentBasedDeduplication="true")
        for _ in range(2):
            sqs.send_message(QueueUrl=url, MessageBody="same", MessageGroupId="g")
        assert len(receive(sqs, url, MaxNumberOfMessages=10)) == 1

    def test_given_a_standard_dead_letter_queue_when_set_on_fifo_then_refused(
        self, sqs: Any, url: str, make: Any
    ) -> None:
        policy = json.dumps({"deadLetterTargetArn": arn(sqs, make("-dead")), "maxReceiveCount": 3})
        with pytest.raises(ClientError, match="FIFO"):
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})


def test_given_a_thousand_messages_and_eight_consumers_when_received_then_each_exactly_once(
    cloud: Cloud, sqs: Any, make: Any
) -> None:
    queue = cloud.service("sqs", SqsService)
    name = arn(sqs, make())
    for index in range(1000):
        queue.send(name, str(index))
    seen: list[str] = []

    def consume() -> None:
        while messages := queue.receive(name, 10):
            for message in messages:
                queue.delete(name, message.receipt_handle)
                seen.append(message.body)

    threads = [threading.Thread(target=consume) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen, key=int) == [str(i) for i in range(1000)]


def test_given_waiting_messages_when_a_minute_passes_then_cloudwatch_has_depth_and_age(
    cloud: Cloud, sqs: Any, make: Any, clock: ManualClock
) -> None:
    url = make()
    sqs.send_message(QueueUrl=url, MessageBody="m")
    clock.advance(45)
    cloud.service("sqs", SqsService).publish_metrics()
    name = url.rpartition("/")[2]
    for metric, expected in (
        ("ApproximateNumberOfMessagesVisible", 1.0),
        ("ApproximateAgeOfOldestMessage", 45.0),
    ):
        points = cloud.boto("cloudwatch").get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName=metric,
            Dimensions=[{"Name": "QueueName", "Value": name}],
            StartTime=clock.now_s() - 300,
            EndTime=clock.now_s() + 60,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
        assert max(p["Maximum"] for p in points) == expected


def test_given_a_queue_unused_for_six_hours_when_a_minute_passes_then_it_has_no_metrics_any_more(
    cloud: Cloud, sqs: Any, make: Any, clock: ManualClock
) -> None:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-monitoring-using-cloudwatch.html"""
    url, service = make(), cloud.service("sqs", SqsService)

    def points() -> int:
        service.publish_metrics()
        return len(
            cloud.boto("cloudwatch").get_metric_statistics(
                Namespace="AWS/SQS", MetricName="NumberOfMessagesSent", Period=60, Statistics=["Sum"],
                Dimensions=[{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
                StartTime=clock.now_s() - 30, EndTime=clock.now_s() + 60,
            )["Datapoints"]
        )  # fmt: skip

    sqs.receive_message(QueueUrl=url)
    clock.advance(6 * 3600 - 1)
    assert points() == 1
    clock.advance(120)
    assert points() == 0
    sqs.receive_message(QueueUrl=url)
    assert points() == 1


def test_given_a_batch_of_visibility_changes_when_one_handle_is_bad_then_only_that_entry_fails(
    sqs: Any, make: Any
) -> None:
    url = make(VisibilityTimeout="30")
    sqs.send_message(QueueUrl=url, MessageBody="m")
    (message,) = receive(sqs, url)
    answer = sqs.change_message_visibility_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "good", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0},
            {"Id": "bad", "ReceiptHandle": "x", "VisibilityTimeout": 0},
        ],
    )
    assert [e["Id"] for e in answer["Successful"]] == ["good"]
    assert [(e["Id"], e["Code"], e["SenderFault"]) for e in answer["Failed"]] == [
        ("bad", "ReceiptHandleIsInvalid", True)
    ]
    assert len(receive(sqs, url)) == 1


def test_given_dead_letters_when_moved_to_a_queue_then_the_task_is_listed_as_done(
    sqs: Any, make: Any
) -> None:
    dead, target = make("-dead"), make("-target")
    source = make(
        "-source", RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 1})
    )
    sqs.send_message(QueueUrl=source, MessageBody="m")
    for _ in range(2):
        for message in receive(sqs, source):
            sqs.change_message_visibility(
                QueueUrl=source, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
    started = sqs.start_message_move_task(SourceArn=arn(sqs, dead), DestinationArn=arn(sqs, target))
    assert [m["Body"] for m in receive(sqs, target)] == ["m"]
    (task,) = sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"]
    assert (task["Status"], task["DestinationArn"], task["ApproximateNumberOfMessagesMoved"]) == (
        "COMPLETED",
        arn(sqs, target),
        1,
    )
    assert "TaskHandle" not in task
    with pytest.raises(ClientError) as refused:
        sqs.cancel_message_move_task(TaskHandle=started["TaskHandle"])
    assert code(refused) == "ResourceNotFoundException"


def test_given_queues_when_listed_then_prefix_and_pages_hold(sqs: Any, make: Any) -> None:
    urls = sorted(make(f"-{i}") for i in range(3))
    prefix = urls[0].rpartition("/")[2].removesuffix("-0")
    first = sqs.list_queues(QueueNamePrefix=prefix, MaxResults=2)
    second = sqs.list_queues(QueueNamePrefix=prefix, MaxResults=2, NextToken=first["NextToken"])
    assert first["QueueUrls"] + second["QueueUrls"] == urls
    assert "NextToken" not in second


def test_given_tags_when_changed_then_listed(sqs: Any, make: Any) -> None:
    url = make()
    sqs.tag_queue(QueueUrl=url, Tags={"a": "1", "b": "2"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"b": "2"}


def test_given_permissions_when_added_and_removed_then_the_policy_follows(
    cloud: Cloud, sqs: Any, make: Any
) -> None:
    url = make()
    sqs.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["111122223333"], Actions=["SendMessage"])
    policy = cloud.service("sqs", SqsService).policy(arn(sqs, url))
    assert policy is not None
    assert policy["Statement"][0]["Action"] == ["SQS:SendMessage"]
    sqs.remove_permission(QueueUrl=url, Label="l")
    assert cloud.service("sqs", SqsService).policy(arn(sqs, url)) is None
