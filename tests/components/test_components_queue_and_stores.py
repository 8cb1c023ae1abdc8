"""BurstQueue, DataBucket, ModelRegistry, EffectLedger, Admission: what they declare and what they refuse.

Not proved: how S3, SQS and DynamoDB behave; tests/localcloud deploys against them.
"""

import hashlib
import json
from functools import partial
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keepwarm as kw
from keepwarm import limits
from keepwarm.admission import AdmissionSpec
from keepwarm.burst_queue import BurstQueueSpec
from keepwarm.checks import queue
from keepwarm.effect_ledger import EffectLedgerSpec
from keepwarm.model_registry import ModelRegistrySpec
from keepwarm_runtime.settings import Settings
from tests.support.deployed import deploy, refusal
from tests.support.samples import code, seed

QUEUE = "aws:sqs/queue:Queue"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
BUCKET = "aws:s3/bucket:Bucket"
OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2"
TABLE = "aws:dynamodb/table:Table"
S3_PARTS = (
    "bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "bucketOwnershipControls:BucketOwnershipControls",
    "bucketPolicy:BucketPolicy",
    "bucketPublicAccessBlock:BucketPublicAccessBlock",
    "bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "bucketVersioning:BucketVersioning",
)


INTAKE: kw.IntakeSource = {"bucket": "intake", "bucket_arn": "arn:aws:s3:::intake"}


def burst(**args: Any) -> Any:
    inputs: Any = args
    return lambda: kw.BurstQueue("burst", inputs)


# --- BurstQueue


def test_given_no_inputs_when_deployed_then_the_queue_is_derived_from_its_consumer() -> None:
    seen = deploy(burst())
    assert seen.names() == [
        (ALARM, "burst-age"),
        (ALARM, "burst-parked-depth"),
        (QUEUE, "burst-jobs"),
        (QUEUE, "burst-parked"),
        ("aws:sqs/queuePolicy:QueuePolicy", "burst-jobs-policy"),
        ("aws:sqs/queuePolicy:QueuePolicy", "burst-parked-policy"),
        ("aws:sqs/redriveAllowPolicy:RedriveAllowPolicy", "burst-redrive"),
    ]
    jobs = seen.one(QUEUE, "burst-jobs")
    assert jobs["visibilityTimeoutSeconds"] == 6 * 60
    assert jobs["messageRetentionSeconds"] == 3600
    assert jobs["sqsManagedSseEnabled"] is True
    assert json.loads(jobs["redrivePolicy"]) == {
        "deadLetterTargetArn": "arn:aws:sqs:eu-west-1:111122223333:burst-parked-1a2b3c4",
        "maxReceiveCount": 5,
    }
    assert seen.one(QUEUE, "burst-parked")["messageRetentionSeconds"] == 1_209_600
    assert seen.one(ALARM, "burst-age")["threshold"] == 1800
    assert "name" not in jobs, "the physical name is Pulumi's"


def test_given_a_slower_consumer_when_deployed_then_visibility_and_retention_follow() -> None:
    seen = deploy(
        burst(
            consumer_timeout_s=300, batch_window_s=20, batch_size=100, max_event_age_s=60, max_receive_count=8
        )
    )
    jobs = seen.one(QUEUE, "burst-jobs")
    assert jobs["visibilityTimeoutSeconds"] == 6 * 300 + 20
    assert jobs["messageRetentionSeconds"] == 8 * (6 * 300 + 20)


def test_given_an_intake_bucket_when_deployed_then_only_it_may_send_and_the_policy_comes_first() -> None:
    seen = deploy(burst(intake=[{"bucket": "intake", "bucket_arn": "arn:aws:s3:::intake", "prefix": "in/"}]))
    policy = json.loads(seen.one("aws:sqs/queuePolicy:QueuePolicy", "burst-jobs-policy")["policy"])
    (allow,) = [s for s in policy["Statement"] if s["Effect"] == "Allow"]
    assert allow["Principal"] == {"Service": "s3.amazonaws.com"}
    assert allow["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "111122223333"},
        "ArnEquals": {"aws:SourceArn": ["arn:aws:s3:::intake"]},
    }
    notification = seen.one("aws:s3/bucketNotification:BucketNotification", "burst-intake-0")
    assert notification["queues"][0]["events"] == ["s3:ObjectCreated:*"]
    assert notification["queues"][0]["filterPrefix"] == "in/"
    told = seen.told("aws:s3/bucketNotification:BucketNotification", "burst-intake-0")
    assert "burst-jobs-policy" in told.dependencies


def test_given_both_queues_when_deployed_then_plain_text_transport_is_denied() -> None:
    seen = deploy(burst())
    for name in ("burst-jobs-policy", "burst-parked-policy"):
        policy = json.loads(seen.one("aws:sqs/queuePolicy:QueuePolicy", name)["policy"])
        assert policy["Statement"][0]["Effect"] == "Deny"
        assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_given_order_when_deployed_then_both_queues_are_fifo() -> None:
    seen = deploy(burst(ordered=True))
    assert seen.one(QUEUE, "burst-jobs")["fifoQueue"] is True
    assert seen.one(QUEUE, "burst-parked")["fifoQueue"] is True


REFUSED_QUEUES = [
    (
        {"max_concurrency": 1},
        "KW117 BurstQueue 'burst' max_concurrency: got 1; allowed a whole number, 2 to 1,000 invocations; "
        "because an SQS event source takes no other maximum concurrency; fix: set max_concurrency within the range",
    ),
    (
        {"max_concurrency": 1001},
        "KW117 BurstQueue 'burst' max_concurrency: got 1001; allowed a whole number, 2 to 1,000 invocations; "
        "because an SQS event source takes no other maximum concurrency; fix: set max_concurrency within the range",
    ),
    (
        {"visibility_s": 59},
        "KW115 BurstQueue 'burst' visibility_s: got 59 s; allowed at least 60 s; because a message would be "
        "delivered "
        "again during the work, and Lambda refuses the event source; fix: set visibility_s to 360, or "
        "leave it out",
    ),
    (
        {"visibility_s": 100},
        "KW116 BurstQueue 'burst' visibility_s: got 100 s; allowed at least 360 s (6 x 60 s plus the "
        "batching window); "
        "because throttled deliveries need room to be retried before the message appears again; fix: set "
        "visibility_s "
        "to 360, leave it out, or give visibility_reason",
    ),
    (
        {"batch_size": 100},
        "KW119 BurstQueue 'burst' batch_window_s: got 0 s with batch_size 100; allowed at least 1 s; because a batch "
        "above 10 messages is gathered over time; fix: set batch_window_s to 1 or more",
    ),
    (
        {"batch_size": 11, "ordered": True},
        "KW119 BurstQueue 'burst' batch_size: got 11; allowed a whole number, 1 to 10 messages; because a FIFO event "
        "source takes no more; fix: set batch_size within the range",
    ),
    (
        {"batch_window_s": 5, "ordered": True},
        "KW119 BurstQueue 'burst' batch_window_s: got 5; allowed a whole number, 0 to 0 seconds; because a FIFO event "
        "source has no batching window; fix: set batch_window_s within the range",
    ),
    (
        {"max_receive_count": 3},
        "KW120 BurstQueue 'burst' max_receive_count: got 3; allowed a whole number, 5 to 1,000 deliveries; because a "
        "throttled "
        "delivery counts as one, so fewer park work that was never tried; fix: set max_receive_count within the range",
    ),
    (
        {"retention_s": 1_209_600},
        "KW120 BurstQueue 'burst' retention_s: got 1209600 s; allowed below 1209600 s; because the dead-letter queue "
        "counts a message's age from its first day, and would drop it on arrival; fix: set retention_s to 1123200 or "
        "less",
    ),
    (
        {"retention_s": 600},
        "KW121 BurstQueue 'burst' retention_s: got 600 s; allowed at least max_event_age_s, 3600 s; because "
        "a message would vanish while it is still worth something, without a trace; fix: raise retention_s, or "
        "leave it out",
    ),
]


@pytest.mark.parametrize(("args", "text"), REFUSED_QUEUES)
@pytest.mark.parametrize("late", [False, True], ids=["now", "late"])
def test_given_a_queue_aws_would_refuse_when_declared_then_so_do_we(
    args: dict[str, Any], text: str, late: bool
) -> None:
    given_args = {
        key: pulumi.Output.from_input(value) if late and not isinstance(value, bool) else value
        for key, value in args.items()
    }
    assert refusal(burst(**given_args)) == text


def test_given_a_reason_when_visibility_is_short_then_it_is_accepted() -> None:
    seen = deploy(burst(visibility_s=100, visibility_reason="the consumer is never throttled"))
    assert seen.one(QUEUE, "burst-jobs")["visibilityTimeoutSeconds"] == 100


@given(
    deadline=st.integers(1, limits.SQS_RETENTION_MAX_S - 86_400),
    timeout=st.integers(1, 900),
    window=st.integers(0, 300),
    receives=st.integers(5, 1000),
)
def test_given_any_consumer_when_derived_then_no_message_is_lost_before_it_was_tried(
    deadline: int, timeout: int, window: int, receives: int
) -> None:
    visibility = queue.needed_visibility_s(timeout, window)
    retention = queue.needed_retention_s(deadline, visibility, receives)
    assert timeout <= visibility <= limits.SQS_VISIBILITY_MAX_S
    assert limits.SQS_RETENTION_MIN_S <= retention < queue.PARKED_RETENTION_S
    assert retention >= min(deadline, limits.SQS_RETENTION_MAX_S - 86_400)


def test_given_a_key_of_your_own_with_intake_then_its_policy_is_asked_for() -> None:
    warned: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pulumi.log, "warn", warned.append)
        deploy(burst(intake=[INTAKE], kms_key_arn="arn:aws:kms:eu-west-1:111122223333:key/k"))
        deploy(burst(kms_key_arn="arn:aws:kms:eu-west-1:111122223333:key/k"))
    assert warned == [
        "KW159 BurstQueue 'burst' kms_key_arn: got a key of your own; allowed a key whose policy lets s3.amazonaws.com "
        "use it; because these encrypt or decrypt in their own name, and fail without the permission; fix: make the "
        "key with EncryptionKey, or add the statements of keepwarm.key_statements()"
    ]


def test_given_order_with_intake_then_it_is_refused() -> None:
    assert refusal(burst(ordered=True, intake=[INTAKE])) == (
        "KW121 BurstQueue 'burst' ordered: got true with intake; allowed false; because S3 notifies no FIFO queue "
        "(https://docs.aws.amazon.com/AmazonS3/latest/userguide/"
        "notification-how-to-event-types-and-destinations.html); fix: put a standard queue in front, or set ordered to "
        "false"
    )


def test_given_a_plan_then_the_binding_has_the_real_numbers() -> None:
    bound = BurstQueueSpec.of("burst", {"batch_size": 7, "consumer_timeout_s": 30, "ordered": True}).planned(
        "burst"
    )
    assert bound == {
        "url": "https://sqs.us-east-1.amazonaws.com/123456789012/burst-jobs-0000000.fifo",
        "arn": "arn:aws:sqs:us-east-1:123456789012:burst-jobs-0000000.fifo",
        "parked_url": "https://sqs.us-east-1.amazonaws.com/123456789012/burst-parked-0000000.fifo",
        "parked_arn": "arn:aws:sqs:us-east-1:123456789012:burst-parked-0000000.fifo",
        "consumer_timeout_s": 30,
        "batch_size": 7,
        "batch_window_s": 0,
        "max_concurrency": 10,
        "retention_s": 3600,
        "ordered": True,
    }


def test_given_tags_then_queues_and_alarms_have_them() -> None:
    seen = deploy(burst(tags={"team": "ml"}))
    tagged = [(r.typ, r.name) for r in seen.resources if r.inputs.get("tags") == {"team": "ml"}]
    assert sorted(tagged) == [
        (ALARM, "burst-age"),
        (ALARM, "burst-parked-depth"),
        (QUEUE, "burst-jobs"),
        (QUEUE, "burst-parked"),
    ]


@pytest.mark.parametrize("late", [False, True], ids=["now", "late"])
def test_given_a_tag_aws_refuses_then_so_do_we(late: bool) -> None:
    value = pulumi.Output.from_input("a|b") if late else "a|b"
    assert refusal(burst(tags={"team": value})) == (
        "KW157 BurstQueue 'burst' tags.team: got 'a|b'; allowed a key of 1 to 128 and a value of up to 256 letters, "
        "digits, spaces and . : / = + - @ _, the key not starting with 'aws:'; because not every service takes other "
        "tags; fix: shorten or rename the tag"
    )
    many: Any = {f"k{n}": "v" for n in range(46)}
    assert refusal(burst(tags=many)) == (
        "KW157 BurstQueue 'burst' tags: got 46 tags; allowed up to 45; because a resource takes 50, of which 5 are "
        "kept for the component and AWS; fix: drop some"
    )


# --- one notification configuration per bucket


def objects(name: str, source: Any) -> None:
    kw.PreprocessingFunction(name, {"code": code(), "objects": [source], "reserved_concurrency": 1})


def both_by_name() -> None:
    burst(intake=[INTAKE])()
    kw.BurstQueue("other", {"intake": [INTAKE]})


def both_by_output() -> None:
    bucket = kw.DataBucket("intake", {})
    source: kw.IntakeSource = {"bucket": bucket.bucket, "bucket_arn": bucket.arn}
    burst(intake=[source])()
    objects("other", source)


def both_when_resolved() -> None:
    burst(intake=[{**INTAKE, "bucket": pulumi.Output.from_input("intake")}])()
    kw.BurstQueue("other", {"intake": [{**INTAKE, "bucket": pulumi.Output.from_input("intake")}]})


@pytest.mark.parametrize(
    ("program", "got", "place"),
    [
        (both_by_name, "'intake'", "BurstQueue 'other' intake[0].bucket"),
        (both_by_output, "the same bucket", "PreprocessingFunction 'other' objects[0].bucket"),
        (both_when_resolved, "'intake'", "BurstQueue 'other' intake[0].bucket"),
    ],
)
def test_given_two_readers_of_one_bucket_then_the_second_is_refused(
    program: Any, got: str, place: str
) -> None:
    assert refusal(program) == (
        f"KW158 {place}: got {got}; allowed a bucket other than that of BurstQueue 'burst' intake[0].bucket; because "
        "S3 keeps one notification configuration per bucket, so the later one would undo the earlier; fix: read the "
        "bucket in one place: one queue with prefixes, or one bucket each"
    )


def test_given_one_bucket_twice_in_one_queue_then_it_is_refused() -> None:
    assert refusal(burst(intake=[INTAKE, {**INTAKE, "prefix": "b/"}])) == (
        "KW158 BurstQueue 'burst' intake[1].bucket: got a bucket twice; allowed each bucket once; because S3 keeps one "
        "notification configuration per bucket; fix: take the prefix that both share, and sort the events in the "
        "consumer"
    )


def test_given_the_same_bucket_in_another_run_then_it_is_fine() -> None:
    deploy(burst(intake=[INTAKE]))
    deploy(burst(intake=[INTAKE]))


# --- DataBucket


def test_given_a_bucket_when_deployed_then_it_is_private_versioned_encrypted_and_kept() -> None:
    seen = deploy(lambda: kw.DataBucket("results", {}))
    assert seen.names() == [
        (BUCKET, "results-bucket"),
        *[
            (f"aws:s3/{part}", f"results-bucket-{role}")
            for part, role in zip(
                S3_PARTS, ("lifecycle", "owner", "policy", "public", "encryption", "versions"), strict=True
            )
        ],
    ]
    block = seen.one("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "results-bucket-public")
    assert [v for k, v in block.items() if k != "bucket"] == [True] * 4
    policy = json.loads(seen.one("aws:s3/bucketPolicy:BucketPolicy", "results-bucket-policy")["policy"])
    denied = {
        s["Sid"]: (s["Effect"], s["Principal"], s["Action"], s["Condition"]) for s in policy["Statement"]
    }
    assert denied == {
        "TlsOnly": ("Deny", "*", "s3:*", {"Bool": {"aws:SecureTransport": "false"}}),
        "ModernTls": ("Deny", "*", "s3:*", {"NumericLessThan": {"s3:TlsVersion": "1.2"}}),
    }
    everything = ["arn:aws:s3:::results-bucket-1a2b3c4", "arn:aws:s3:::results-bucket-1a2b3c4/*"]
    assert all(s["Resource"] == everything for s in policy["Statement"])
    assert all(told.retained for (kind, _), told in seen.registered.items() if kind.startswith("aws:"))
    assert "forceDestroy" not in seen.one(BUCKET, "results-bucket")


def test_given_a_disposable_bucket_when_deployed_then_it_can_be_removed_with_its_objects() -> None:
    seen = deploy(lambda: kw.DataBucket("results", {"keep_data": False}))
    assert seen.one(BUCKET, "results-bucket")["forceDestroy"] is True
    assert not any(told.retained for told in seen.registered.values())


def test_given_a_key_when_deployed_then_objects_are_encrypted_with_it_and_it_is_cached() -> None:
    key = "arn:aws:kms:eu-west-1:111122223333:key/k"
    seen = deploy(lambda: kw.DataBucket("results", {"kms_key_arn": key}))
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    (rule,) = seen.one(kind, "results-bucket-encryption")["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key}
    assert rule["bucketKeyEnabled"] is True


def test_given_a_name_that_would_be_too_long_when_declared_then_the_excess_is_counted() -> None:
    name = "r" * 60
    assert refusal(lambda: kw.DataBucket(name, {})) == (
        f"KW139 DataBucket '{name}' name: got '{name}-bucket' (67 characters); allowed up to 55 characters; because "
        f"the service takes 63 and Pulumi appends 8; fix: shorten '{name}' by 12"
    )


# --- ModelRegistry


def registry(**args: Any) -> Any:
    inputs: Any = args
    return lambda: kw.ModelRegistry("models", inputs)


def test_given_a_seed_when_deployed_then_blobs_manifest_and_pointer_are_published_in_this_order() -> None:
    model = seed()
    seen = deploy(registry(models=[model]))
    digest = hashlib.sha256(model["manifest"].encode()).hexdigest()
    blob = hashlib.sha256(b"weights").hexdigest()
    objects = {r.name: r.inputs for r in seen.resources if r.typ == OBJECT}
    assert {name: inputs["key"] for name, inputs in objects.items()} == {
        f"models-blob-{blob[:16]}": f"blobs/sha256/{blob}",
        f"models-blob-{digest[:16]}": f"blobs/sha256/{digest}",
        "models-manifest-magika-1.0.0": "manifests/magika/1.0.0.json",
        "models-channel-magika-live": "channels/magika/live.json",
    }
    assert objects[f"models-blob-{digest[:16]}"]["content"] == model["manifest"], "byte for byte"
    assert objects["models-manifest-magika-1.0.0"]["content"] == model["manifest"], "byte for byte"
    assert f"models-blob-{blob[:16]}" in seen.told(OBJECT, "models-manifest-magika-1.0.0").dependencies
    assert "models-manifest-magika-1.0.0" in seen.told(OBJECT, "models-channel-magika-live").dependencies
    assert seen.told(OBJECT, "models-channel-magika-live").ignored == ["content"], (
        "promotion owns the pointer"
    )
    assert seen.outputs["models"]["refs"] == {"magika": f"magika@sha256:{digest}"}


def test_given_two_models_with_the_same_file_when_deployed_then_the_blob_is_stored_once() -> None:
    seen = deploy(registry(models=[seed("a"), seed("b")]))
    blobs = [r for r in seen.resources if r.typ == OBJECT and r.inputs["key"].startswith("blobs/")]
    assert len(blobs) == 3, "one shared file and two manifests"


def test_given_a_binding_when_asked_then_it_pins_the_digest_or_follows_the_channel() -> None:
    refs: list[Any] = []

    def program() -> None:
        models = kw.ModelRegistry("models", {"models": [seed()]})
        pinned, following = models.binding("magika"), models.binding("magika", channel="live")
        pulumi.Output.all(pinned["ref"], following["ref"]).apply(refs.extend)
        assert pinned["size_mb"] == 7 / 1_048_576

    deploy(program)
    assert refs[0].startswith("magika@sha256:")
    assert refs[1] == "magika:live"


def bind(*args: Any, models: Any = (), **more: Any) -> Any:
    return lambda: kw.ModelRegistry("models", {"models": list(models)}).binding(*args, **more)


def test_given_a_model_published_later_then_it_is_bound_by_its_channel() -> None:
    bound: dict[str, Any] = {}
    deploy(lambda: bound.update(bind("summary", channel="live")()))
    assert bound["ref"] == "summary:live"
    assert "size_mb" not in bound


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (
            bind("x", models=[seed()]),
            "KW133 ModelRegistry 'models' binding(model): got 'x'; allowed magika; any other name with a channel; "
            "because this deployment does not publish it, so there is no digest to pin; fix: add it to models, or pass "
            "the channel that it will be published to",
        ),
        (
            bind("x", channel="Live!"),
            "KW133 ModelRegistry 'models' binding(channel): got 'Live!'; allowed lower-case letters, digits, dot, dash "
            "and underscore; because it becomes part of an S3 key and of references; fix: use the name it is published "
            "under",
        ),
        (
            bind(None, channel="live"),
            "KW133 ModelRegistry 'models' binding(model): got None; allowed lower-case letters, digits, dot, dash and "
            "underscore; because it becomes part of an S3 key and of references; fix: use the name it is published "
            "under",
        ),
        (
            registry(models=[seed(), seed()]),
            "KW148 ModelRegistry 'models' models[1].version: got '1.0.0'; allowed another version than that of "
            "models[0]; because both would write the same object of the registry; fix: give it another version, or "
            "drop one of the two\n"
            "KW148 ModelRegistry 'models' models[1].channel: got 'live'; allowed another channel than that of "
            "models[0]; because both would write the same object of the registry; fix: give it another channel, or "
            "drop one of the two",
        ),
    ],
    ids=["unseeded", "channel", "no name", "twice"],
)
def test_given_a_model_that_is_not_there_then_it_is_refused(program: Any, text: str) -> None:
    assert refusal(program) == text


def test_given_a_plan_then_a_model_is_bound_with_its_size() -> None:
    spec = ModelRegistrySpec.of("models", {"models": [seed()]})
    assert spec.planned("models", "magika")["ref"] == spec.seeds[0].ref
    assert spec.planned("models", "magika", "live") == {
        "bucket": "models-bucket-0000000",
        "bucket_arn": "arn:aws:s3:::models-bucket-0000000",
        "ref": "magika:live",
        "size_mb": 7 / 1_048_576,
    }


def test_given_a_publisher_when_granted_then_it_adds_and_points_but_never_overwrites_or_deletes() -> None:
    def program() -> None:
        models = kw.ModelRegistry("models", {})
        add, point, read = models.publisher_grants()
        assert add["actions"] == point["actions"] == ["s3:PutObject"]
        assert add["conditions"] == {"Null": {"s3:if-none-match": "false"}}
        assert point["conditions"] == {"Null": {"s3:if-match": "false"}}
        assert read["actions"] == ["s3:GetObject", "s3:GetObjectVersion"]
        assert not any("Delete" in action for grant in (add, point, read) for action in grant["actions"])

    deploy(program)


def test_given_a_lock_when_deployed_then_the_bucket_is_made_for_it() -> None:
    seen = deploy(registry(lock=kw.Lock.GOVERNANCE, lock_days=7))
    assert seen.one(BUCKET, "models-bucket")["objectLockEnabled"] is True
    lock = seen.one("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration", "models-lock")
    assert lock["rule"] == {"defaultRetention": {"mode": "GOVERNANCE", "days": 7}}


def test_given_a_compliance_lock_when_not_confirmed_then_it_is_refused() -> None:
    assert refusal(registry(lock="compliance")) == (
        "KW132 ModelRegistry 'models' lock: got 'compliance'; allowed 'none', 'governance', or 'compliance' with "
        "confirm_compliance; because nobody can delete the objects, or the bucket, for 30 days; fix: use "
        "'governance', or set confirm_compliance to true"
    )
    deploy(registry(lock="compliance", confirm_compliance=True))


def broken_seed(change: Any) -> dict[str, Any]:
    model: dict[str, Any] = dict(seed())
    manifest = json.loads(model["manifest"])
    change(model, manifest)
    model["manifest"] = json.dumps(manifest) if isinstance(manifest, dict) else manifest
    return model


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (
            lambda m, f: f["files"][0].update(path="../x.onnx"),
            "KW148",
            "a path must stay inside the model's folder",
        ),
        (lambda m, f: f["files"][0].update(path="w.pkl"), "KW148", "a pickle runs code when it is loaded"),
        (lambda m, f: f["files"][0].update(sha256="AB" * 32), "KW134", "64 lower-case hexadecimal digits"),
        (lambda m, f: f.update(version="9"), "KW148", "it is published as magika 1.0.0"),
        (lambda m, f: m.update(files={}), "KW148", "missing ['model.onnx'], unlisted []"),
        (lambda m, f: f.update(files=[]), "KW148", "every file is listed once"),
        (lambda m, f: m.update(name="UPPER"), "KW133", "it becomes part of an S3 key"),
    ],
)
def test_given_a_bad_manifest_when_declared_then_it_is_refused(change: Any, code: str, words: str) -> None:
    text = refusal(registry(models=[broken_seed(change)]))
    assert code in text
    assert words in text


# --- EffectLedger and Admission


def test_given_a_ledger_when_deployed_then_records_are_keyed_expiring_recoverable_and_kept() -> None:
    seen = deploy(lambda: kw.EffectLedger("effects", {}))
    table = seen.one(TABLE, "effects-records")
    assert table["hashKey"] == "pk"
    assert table["attributes"] == [{"name": "pk", "type": "S"}]
    assert table["ttl"] == {"attributeName": "expiry", "enabled": True}
    assert table["billingMode"] == "PAY_PER_REQUEST"
    assert table["pointInTimeRecovery"] == {"enabled": True}
    assert table["deletionProtectionEnabled"] is True
    assert seen.told(TABLE, "effects-records").retained
    assert seen.told(BUCKET, "effects-claims").retained


@pytest.mark.parametrize(("days", "seconds"), [(None, 30 * 86_400), (20, 20 * 86_400)])
def test_given_a_ledger_when_bound_then_its_retention_is_what_the_runtime_keeps(
    days: int | None, seconds: int
) -> None:
    def stack() -> None:
        ledger = kw.EffectLedger("e", {} if days is None else {"retention_days": days})
        kw.RuntimeFunction("f", {"code": code(), "ledger": ledger.binding()})

    variables = deploy(stack).one("aws:lambda/function:Function", "f-function")["environment"]["variables"]
    assert variables["KEEPWARM_LEDGER_RETENTION_S"] == str(seconds)
    assert Settings.from_env(variables).ledger_retention_s == seconds


def test_given_late_redeliveries_when_records_end_before_them_then_the_ledger_is_refused() -> None:
    week = 7 * 86_400
    for late in (week, pulumi.Output.from_input(week)):
        inputs: Any = {"retention_days": 7, "redelivery_s": late}
        assert refusal(partial(kw.EffectLedger, "e", inputs)) == (
            "KW122 EffectLedger 'e' retention_days: got 7 days; allowed more than redelivery_s, 604,800 s; because an "
            "event delivered again on day 7.0 would run its effect a second time; fix: set retention_days to 8 "
            "or more"
        )


def test_given_a_queue_when_records_end_before_its_last_redrive_then_the_ledger_is_refused() -> None:
    def stack(**inputs: Any) -> None:
        queue = kw.BurstQueue("q", {"retention_s": 7 * 86_400})
        kw.EffectLedger("e", {"queue": queue.binding(), **inputs})  # type: ignore[typeddict-item]

    assert refusal(lambda: stack(retention_days=21)) == (
        "KW122 EffectLedger 'e' retention_days: got 21 days; allowed more than redelivery_s, 1,814,400 s; because an "
        "event delivered again on day 21.0 would run its effect a second time; fix: set retention_days to 22 or more"
    )
    deploy(lambda: stack(retention_days=22))
    deploy(lambda: stack(retention_days=7, redelivery_s=6 * 86_400))


def test_given_a_ledger_spec_when_planned_then_the_binding_has_the_real_numbers() -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/k"
    spec = EffectLedgerSpec.of("effects", {"retention_days": 20, "kms_key_arn": key})
    assert spec.planned("effects") == {
        "table": "effects-records-0000000",
        "table_arn": "arn:aws:dynamodb:us-east-1:123456789012:table/effects-records-0000000",
        "bucket": "effects-claims-0000000",
        "bucket_arn": "arn:aws:s3:::effects-claims-0000000",
        "retention_s": 20 * 86_400,
        "kms_key_arn": key,
    }


def test_given_pools_when_bound_then_the_permits_travel_with_the_table() -> None:
    def program() -> None:
        bound = kw.Admission("a", {"pools": {"ocr": 4}}).binding("ocr")
        assert (bound["pool"], bound["permits"]) == ("ocr", 4)

    seen = deploy(program)
    assert seen.one(TABLE, "a-permits")["hashKey"] == "pk"
    assert not seen.told(TABLE, "a-permits").retained


@pytest.mark.parametrize(
    ("pools", "text"),
    [
        (
            {"ocr": 101},
            "KW150 Admission 'a' pools.ocr: got 101; allowed a whole number, 1 to 100 permits; because a holder looks "
            "for a free permit with one BatchGetItem, which reads 100 items; fix: set pools.ocr within the range",
        ),
        (
            {},
            "KW102 Admission 'a' pools: got no pool; allowed at least one; because permits belong to a pool; "
            "fix: name a pool",
        ),
    ],
)
def test_given_impossible_pools_when_declared_then_they_are_refused(pools: Any, text: str) -> None:
    assert refusal(lambda: kw.Admission("a", {"pools": pools})) == text


def test_given_a_pool_that_is_not_there_when_bound_then_it_is_refused() -> None:
    assert refusal(lambda: kw.Admission("a", {"pools": {"ocr": 4}}).binding("b")) == (
        "KW102 Admission 'a' binding(pool): got 'b'; allowed one of ocr; because permits belong to a pool; fix: bind "
        "one of these, or add the pool to pools"
    )


def test_given_a_plan_then_a_pool_is_bound_with_its_permits() -> None:
    assert AdmissionSpec.of("a", {"pools": {"ocr": 4}}).planned("a", "ocr") == {
        "table": "a-permits-0000000",
        "table_arn": "arn:aws:dynamodb:us-east-1:123456789012:table/a-permits-0000000",
        "pool": "ocr",
        "permits": 4,
    }
