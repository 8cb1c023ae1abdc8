"""DynamoDB of the embedded cloud: moto's, made atomic and given a time to live.

Proves: conditional writes have one winner whatever the threads do, and expiry follows the cloud's clock.
Does not prove: throughput limits, streams, global tables.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def cloud(clock: ManualClock) -> Iterator[Cloud]:
    with Cloud(CloudSettings(account_id="100000000004", clock=clock), services=[]) as cloud:
        yield cloud


_names = iter(range(10_000))


@pytest.fixture
def table(cloud: Cloud) -> str:
    name = f"table-{next(_names)}"
    cloud.boto("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def race(cloud: Cloud, table: str, rounds: int, writers: int = 4) -> list[int]:
    """Winners of each round of conditional puts of one key by threads that start together."""
    client = cloud.boto("dynamodb")
    barrier = threading.Barrier(writers)

    def write(index: int, number: int) -> bool:
        barrier.wait()
        try:
            client.put_item(
                TableName=table,
                Item={"pk": {"S": f"k{number}"}, "owner": {"N": str(index)}},
                ConditionExpression="attribute_not_exists(pk)",
            )
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(writers) as pool:
        return [sum(pool.map(write, range(writers), [number] * writers)) for number in range(rounds)]


def test_given_threads_that_put_conditionally_when_they_race_then_exactly_one_wins(
    cloud: Cloud, table: str
) -> None:
    assert race(cloud, table, 100) == [1] * 100


@pytest.mark.slow
def test_given_a_thousand_rounds_when_threads_put_conditionally_then_no_double_winner(
    cloud: Cloud, table: str
) -> None:
    assert race(cloud, table, 1_000, writers=8) == [1] * 1_000


def test_given_threads_that_count_when_each_adds_conditionally_then_no_update_is_lost(
    cloud: Cloud, table: str
) -> None:
    client = cloud.boto("dynamodb")
    client.put_item(TableName=table, Item={"pk": {"S": "n"}, "v": {"N": "0"}})

    def add(_: int) -> None:
        while True:
            seen = client.get_item(TableName=table, Key={"pk": {"S": "n"}}, ConsistentRead=True)["Item"]["v"][
                "N"
            ]
            try:
                client.update_item(
                    TableName=table,
                    Key={"pk": {"S": "n"}},
                    UpdateExpression="SET v = :new",
                    ConditionExpression="v = :old",
                    ExpressionAttributeValues={":old": {"N": seen}, ":new": {"N": str(int(seen) + 1)}},
                )
            except client.exceptions.ConditionalCheckFailedException:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(40)))
    assert client.get_item(TableName=table, Key={"pk": {"S": "n"}})["Item"]["v"]["N"] == "40"


def test_given_a_transaction_when_one_condition_fails_then_nothing_is_written(
    cloud: Cloud, table: str
) -> None:
    client = cloud.boto("dynamodb")
    client.put_item(TableName=table, Item={"pk": {"S": "taken"}})
    put: dict[str, Any] = {"TableName": table, "ConditionExpression": "attribute_not_exists(pk)"}
    with pytest.raises(ClientError) as error:
        client.transact_write_items(
            TransactItems=[{"Put": {**put, "Item": {"pk": {"S": k}}}} for k in ("free", "taken")]
        )
    assert error.value.response["Error"]["Code"] == "TransactionCanceledException"
    assert "Item" not in client.get_item(TableName=table, Key={"pk": {"S": "free"}})


def test_given_a_time_to_live_when_the_clock_passes_it_then_the_item_is_gone(
    cloud: Cloud, table: str, clock: ManualClock
) -> None:
    client = cloud.boto("dynamodb")
    client.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expiry"}
    )
    now = int(clock.now_s())
    for key, expiry in (("soon", now + 10), ("later", now + 1_000), ("no-time", 1)):
        client.put_item(TableName=table, Item={"pk": {"S": key}, "expiry": {"N": str(expiry)}})
    client.put_item(TableName=table, Item={"pk": {"S": "text"}, "expiry": {"S": str(now - 5)}})
    clock.advance(9)
    assert "Item" in client.get_item(TableName=table, Key={"pk": {"S": "soon"}})
    clock.advance(2)
    assert "Item" not in client.get_item(TableName=table, Key={"pk": {"S": "soon"}})
    kept = {i["pk"]["S"] for i in client.scan(TableName=table)["Items"]}
    assert kept == {"later", "no-time", "text"}


def test_given_no_time_to_live_when_the_attribute_has_passed_then_kept(
    cloud: Cloud, table: str, clock: ManualClock
) -> None:
    client = cloud.boto("dynamodb")
    client.put_item(TableName=table, Item={"pk": {"S": "k"}, "expiry": {"N": str(int(clock.now_s()) - 5)}})
    clock.advance(10)
    assert "Item" in client.get_item(TableName=table, Key={"pk": {"S": "k"}})


def encryption(cloud: Cloud, table: str) -> dict[str, Any] | None:
    found: dict[str, Any] = cloud.boto("dynamodb").describe_table(TableName=table)["Table"]
    return found.get("SSEDescription")


def test_given_a_table_when_its_encryption_is_updated_then_it_is_as_the_update_says(
    cloud: Cloud, table: str
) -> None:
    api = cloud.boto("dynamodb")
    key = cloud.boto("kms").create_key()["KeyMetadata"]["Arn"]
    assert encryption(cloud, table) is None

    api.update_table(TableName=table, SSESpecification={"Enabled": True, "KMSMasterKeyId": key})
    assert encryption(cloud, table) == {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key}

    api.update_table(TableName=table, SSESpecification={"Enabled": True})
    own = encryption(cloud, table)
    assert own is not None
    assert own["KMSMasterKeyArn"] not in (None, key)

    api.update_table(TableName=table, DeletionProtectionEnabled=True)
    assert encryption(cloud, table) == own
    api.update_table(TableName=table, SSESpecification={"Enabled": False})
    assert encryption(cloud, table) is None


def test_given_a_log_group_when_a_key_is_associated_and_taken_away_then_it_says_so(cloud: Cloud) -> None:
    api = cloud.boto("logs")
    key = cloud.boto("kms").create_key()["KeyMetadata"]["Arn"]
    api.create_log_group(logGroupName="/keyed")

    def shown() -> str | None:
        (group,) = api.describe_log_groups(logGroupNamePrefix="/keyed")["logGroups"]
        found: str | None = group.get("kmsKeyId")
        return found

    api.associate_kms_key(logGroupName="/keyed", kmsKeyId=key)
    assert shown() == key
    arn = f"arn:aws:logs:us-east-1:{cloud.account_id}:log-group:/keyed:*"
    api.disassociate_kms_key(resourceIdentifier=arn)
    assert shown() is None
    with pytest.raises(ClientError) as raised:
        api.associate_kms_key(logGroupName="/nowhere", kmsKeyId=key)
    assert raised.value.response["Error"] == {
        "Code": "ResourceNotFoundException",
        "Message": "The specified log group does not exist.",
    }
    with pytest.raises(ClientError, match="kmsKeyId must be the ARN of a key, got 'alias/k'"):
        api.associate_kms_key(logGroupName="/keyed", kmsKeyId="alias/k")
