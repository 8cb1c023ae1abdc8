"""Notifications to queues, functions and topics."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.s3 import S3Service
from keepwarm_localcloud.services.sqs import SqsService
from tests.support.s3 import ACCOUNT, NUMBERS, code


@pytest.fixture
def queue(cloud: Cloud, bucket: str) -> str:
    name = f"events-{next(NUMBERS)}"
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    policy = {
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {
                    "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"},
                    "StringEquals": {"aws:SourceAccount": ACCOUNT},
                },
            }
        ]
    }
    cloud.boto("sqs").create_queue(QueueName=name, Attributes={"Policy": json.dumps(policy)})
    return arn


def events(cloud: Cloud, arn: str) -> list[dict[str, Any]]:
    return [json.loads(m.body) for m in cloud.service("sqs", SqsService).receive(arn, 10)]


def test_given_a_notification_when_set_then_a_test_event_and_then_records_for_matching_keys(
    cloud: Cloud, s3: Any, bucket: str, queue: str
) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": queue,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {
                        "Key": {
                            "FilterRules": [
                                {"Name": "prefix", "Value": "in/"},
                                {"Name": "suffix", "Value": ".pdf"},
                            ]
                        }
                    },
                }
            ]
        },
    )
    assert [e["Event"] for e in events(cloud, queue)] == ["s3:TestEvent"]
    version = s3.put_object(Bucket=bucket, Key="in/a b+ü.pdf", Body=b"123")
    s3.put_object(Bucket=bucket, Key="in/other.txt", Body=b"")
    s3.put_object(Bucket=bucket, Key="in/a b+ü.pdf", Body=b"1234")
    s3.delete_object(Bucket=bucket, Key="in/a b+ü.pdf")
    records = [r for e in events(cloud, queue) for r in e["Records"]]
    assert [r["eventName"] for r in records] == ["ObjectCreated:Put"] * 2
    item = records[0]["s3"]["object"]
    assert item["key"] == "in/a+b%2B%C3%BC.pdf"
    assert (item["size"], item["eTag"], item["versionId"]) == (
        3,
        version["ETag"].strip('"'),
        version["VersionId"],
    )
    assert records[0]["s3"]["object"]["sequencer"] < records[1]["s3"]["object"]["sequencer"]
    assert records[0]["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}"


class Functions:
    """Lambda as far as S3 uses it."""

    name = "lambda"

    def __init__(self) -> None:
        self.delivered: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.allowed = True

    def start(self, context: Context) -> None: ...

    def stop(self) -> None: ...

    def inventory(self) -> dict[str, list[str]]:
        return {}

    def handle(self, request: Any) -> None: ...

    def check_permission(self, function: str, **asked: Any) -> None:
        if not self.allowed:
            raise AwsError("AccessDeniedException", f"{function} does not let {asked['principal']} in", 403)

    def deliver(self, function: str, payload: bytes, **asked: Any) -> None:
        self.delivered.append((function, json.loads(payload), asked))


def test_given_a_function_and_a_topic_as_destinations_when_an_object_comes_then_both_get_its_record() -> None:
    functions, account = Functions(), "100000000042"
    function = f"arn:aws:lambda:us-east-1:{account}:function:f"
    with Cloud(CloudSettings(account_id=account), services=[S3Service(), functions]) as cloud:
        s3, topic = cloud.boto("s3"), cloud.boto("sns").create_topic(Name="t")["TopicArn"]
        s3.create_bucket(Bucket="bucket")
        configuration = {
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": function, "Events": ["s3:ObjectCreated:*"]}],
            "TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectRemoved:*"]}],
        }  # fmt: skip
        functions.allowed = False
        with pytest.raises(ClientError) as refused:
            s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=configuration)
        assert refused.value.response["Error"]["ArgumentValue"] == (
            f"AccessDeniedException: {function} does not let s3.amazonaws.com in"
        )
        functions.allowed = True
        s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=configuration)
        s3.put_object(Bucket="bucket", Key="k", Body=b"1")
        s3.delete_object(Bucket="bucket", Key="k")
        ((called, event, asked),) = functions.delivered
        assert (called, [r["eventName"] for r in event["Records"]]) == (function, ["ObjectCreated:Put"])
        assert asked == {
            "principal": "s3.amazonaws.com",
            "source_arn": "arn:aws:s3:::bucket",
            "source_account": account,
        }
        sent = [json.loads(n[1]) for n in cloud.moto.backend("sns").topics[topic].sent_notifications]
        assert [m.get("Event") or m["Records"][0]["eventName"] for m in sent] == [
            "s3:TestEvent",
            "ObjectRemoved:Delete",
        ]


def test_given_a_queue_that_does_not_let_the_bucket_in_when_set_as_destination_then_refused(
    cloud: Cloud, s3: Any, bucket: str, queue: str
) -> None:
    other = f"bucket-{next(NUMBERS)}"
    s3.create_bucket(Bucket=other)
    with pytest.raises(ClientError, match="Unable to validate") as error:
        s3.put_bucket_notification_configuration(
            Bucket=other,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": queue, "Events": ["s3:ObjectCreated:*"]}]
            },
        )
    assert code(error) == "InvalidArgument"
