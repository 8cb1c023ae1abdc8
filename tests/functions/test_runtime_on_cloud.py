"""The runtime against the embedded cloud: the same requests that AWS would get, signed and answered for real.

Proves: our client's signatures, conditions and JSON protocols are accepted by another implementation, and that models,
effects, permits and parking work end to end over it. Does not prove: IAM of the deployed stack (the end-to-end tests).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.effects import NOT_DONE, Attempt, Contract, Done
from keepwarm_runtime.errors import NotFound, Overloaded, PreconditionFailed, SignatureInvalid
from keepwarm_runtime.models import manifest as m
from keepwarm_runtime.warm import Warm

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(CloudSettings(directory=tmp_path_factory.mktemp("cloud"))) as running:
        s3 = running.boto("s3")
        place = {"LocationConstraint": running.region}
        for bucket in ("kw-models", "kw-results"):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for table in ("kw-ledger", "kw-permits"):
            running.boto("dynamodb").create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            )
        running.boto("sqs").create_queue(QueueName="kw-parked")
        yield running


@pytest.fixture
def warm(cloud: Cloud, tmp_path: Path) -> Iterator[Warm]:
    made = Warm(
        {
            "AWS_REGION": cloud.region,
            "AWS_ENDPOINT_URL": cloud.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "KEEPWARM_MODEL_BUCKET": "kw-models",
            "KEEPWARM_CACHE_DIR": str(tmp_path / "cache"),
            "KEEPWARM_LEDGER_TABLE": "kw-ledger",
            "KEEPWARM_CLAIM_BUCKET": "kw-results",
            "KEEPWARM_ADMISSION_TABLE": "kw-permits",
            "KEEPWARM_RESULTS_BUCKET": "kw-results",
            "KEEPWARM_DEAD_LETTER_URL": cloud.boto("sqs").get_queue_url(QueueName="kw-parked")["QueueUrl"],
        }
    )
    yield made
    made.aws().forget()


def test_given_a_published_model_when_opened_by_channel_then_verified_bytes(
    warm: Warm, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    data = b"\x08" + bytes(range(256)) * 200
    (source / "model.onnx").write_bytes(data)
    built = m.build(source, name="demo", version="1.0", chunk_size=4096)
    registry = warm.registry()
    assert registry.publish(source, built, channel="stable").blobs_written == 1
    assert registry.publish(source, built, channel="stable").blobs_written == 0
    model = warm.model("demo:stable")
    assert model.file("model.onnx").read_bytes() == data
    assert [(entry.name, entry.version, entry.channels) for entry in registry.list()] == [
        ("demo", "1.0", ("stable",))
    ]
    assert registry.verify(built.ref).manifest == built


def test_given_a_key_in_kms_when_a_model_is_signed_then_only_its_function_trusts_it(
    warm: Warm, cloud: Cloud, tmp_path: Path
) -> None:
    keys = [
        cloud.boto("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
        for _ in range(2)
    ]
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.onnx").write_bytes(b"\x08signed")
    built = m.build(source, name="signed", version="1.0", signer=keys[0])
    warm.registry().publish(source, built)
    trusting = Warm({**warm._env, "KEEPWARM_TRUSTED_SIGNERS": keys[0]})
    assert trusting.model(built.ref).manifest == built
    wary = Warm(
        {**warm._env, "KEEPWARM_TRUSTED_SIGNERS": keys[1], "KEEPWARM_CACHE_DIR": str(tmp_path / "other")}
    )
    with pytest.raises(
        SignatureInvalid, match=f"^KW405 model signed 1.0: got the signer {keys[0]}; allowed {keys[1]}"
    ):
        wary.model(built.ref)
    trusting.aws().forget()
    wary.aws().forget()


def test_given_conditions_when_writing_objects_then_the_cloud_holds_them(warm: Warm) -> None:
    s3 = warm.s3()
    first = s3.put("kw-results", "a b/ü+.json", b"{}", if_none_match=True, content_type="application/json")
    with pytest.raises(PreconditionFailed):
        s3.put("kw-results", "a b/ü+.json", b"{}", if_none_match=True)
    assert s3.put("kw-results", "a b/ü+.json", b"[1]", if_match=first.etag).version_id != first.version_id
    assert s3.get("kw-results", "a b/ü+.json", version_id=first.version_id).body == b"{}"
    assert s3.get("kw-results", "a b/ü+.json", range_=(1, 1)).body == b"1"
    assert s3.head("kw-results", "a b/ü+.json")["content-length"] == "3"
    assert [entry.key for entry in s3.list("kw-results", "a b/")] == ["a b/ü+.json"]
    with pytest.raises(NotFound):
        s3.head("kw-results", "absent")


def test_given_an_effect_that_writes_once_when_repeated_then_one_version(warm: Warm, cloud: Cloud) -> None:
    s3 = warm.s3()
    key = "published/abc.json"

    def run(attempt: Attempt) -> dict[str, str]:
        written = s3.put(
            "kw-results", key, b"{}", if_none_match=True, metadata={"effect": attempt.effect_key}
        )
        return {"etag": written.etag}

    def resolve(_attempt: Attempt) -> object:
        try:
            return Done({"etag": s3.head("kw-results", key)["etag"]})
        except NotFound:
            return NOT_DONE

    results = [
        warm.effects().effect(
            "publish/abc", contract=Contract.KEYED, payload={"sha256": "abc"}, run=run, resolve=resolve,
            deadline=Deadline.after(20),
        )
        for _ in range(3)
    ]  # fmt: skip
    assert [result.duplicate_prevented for result in results] == [False, True, True]
    assert len({json.dumps(result.value) for result in results}) == 1
    versions = cloud.boto("s3").list_object_versions(Bucket="kw-results", Prefix=key)["Versions"]
    assert len(versions) == 1
    item = cloud.boto("dynamodb").get_item(TableName="kw-ledger", Key={"pk": {"S": "publish/abc"}})["Item"]
    assert (item["state"], item["epoch"]) == ({"S": "DONE"}, {"N": "1"})


def test_given_one_permit_when_two_want_it_then_the_second_is_refused_and_then_served(warm: Warm) -> None:
    admission = warm.admission()
    with (
        admission.permit(deadline=Deadline.after(30), hold_s=5.0),
        pytest.raises(
            Overloaded, match=r"^KW320 permit pool default: got a wait longer than allowed \(1 permits"
        ),
    ):
        admission.permit(deadline=Deadline.after(30), hold_s=5.0, wait_s=0.5)
    with admission.permit(deadline=Deadline.after(30), hold_s=5.0) as permit:
        assert permit.epoch == 2


def test_given_hopeless_work_when_parked_then_the_queue_has_it_with_its_reason(
    warm: Warm, cloud: Cloud
) -> None:
    warm.park(reason="encrypted", code="KW311", body='{"key": "a.pdf"}')
    (message,) = cloud.boto("sqs").receive_message(
        QueueUrl=warm.settings.need("dead_letter_url"), MessageAttributeNames=["All"]
    )["Messages"]
    assert message["Body"] == '{"key": "a.pdf"}'
    assert {name: value["StringValue"] for name, value in message["MessageAttributes"].items()} == {
        "reason": "encrypted", "code": "KW311",
    }  # fmt: skip
