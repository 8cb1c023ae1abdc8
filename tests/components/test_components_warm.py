"""PreprocessingFunction and WarmPool: sources that fit their function, counts left to the autoscaler.

Not proved: that environments are warm; tests/localcloud measures that.
"""

import json
from typing import Any

import pulumi
import pytest

import keepwarm as kw
from tests.support.deployed import deploy, refusal
from tests.support.functions import (
    ALIAS_ARN,
    PROVISIONED,
    SCALABLE,
    SOURCE,
    consumer,
    pool,
)
from tests.support.samples import QUEUE, TARGET, code


def test_given_a_queue_when_deployed_then_the_event_source_reads_it_for_the_alias() -> None:
    seen = deploy(consumer())
    source = seen.one(SOURCE, "f-source")
    assert source["functionName"] == ALIAS_ARN
    assert source["eventSourceArn"] == QUEUE["arn"]
    assert (source["batchSize"], source["maximumBatchingWindowInSeconds"]) == (10, 1)
    assert source["scalingConfig"] == {"maximumConcurrency": 10}
    assert source["functionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["enabled"] is True
    assert "f-policy" in seen.told(SOURCE, "f-source").dependencies, (
        "Lambda proves the permission at creation"
    )
    document = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "f-policy")["policy"])
    reads = next(s for s in document["Statement"] if "sqs:ReceiveMessage" in s["Action"])
    assert reads["Resource"] == [QUEUE["arn"]]


def test_given_a_fifo_queue_when_deployed_then_there_is_no_batching_window() -> None:
    seen = deploy(consumer(queue={**QUEUE, "ordered": True, "batch_window_s": 0}))
    assert "maximumBatchingWindowInSeconds" not in seen.one(SOURCE, "f-source")


def test_given_a_pause_when_deployed_then_the_source_is_disabled_and_stays() -> None:
    assert deploy(consumer(paused=True)).one(SOURCE, "f-source")["enabled"] is False


def test_given_buckets_when_deployed_then_s3_invokes_the_alias_for_this_account_alone() -> None:
    objects = [{"bucket": "intake", "bucket_arn": "arn:aws:s3:::intake", "suffix": ".pdf"}]
    seen = deploy(
        lambda: kw.PreprocessingFunction("f", {"code": code(), "objects": objects, "reserved_concurrency": 5})  # type: ignore[typeddict-item]
    )
    permission = seen.one("aws:lambda/permission:Permission", "f-permission-0")
    assert permission == {
        "action": "lambda:InvokeFunction",
        "function": "f-function-1a2b3c4",
        "qualifier": "live",
        "principal": "s3.amazonaws.com",
        "sourceArn": "arn:aws:s3:::intake",
        "sourceAccount": "111122223333",
    }
    (notified,) = seen.one("aws:s3/bucketNotification:BucketNotification", "f-objects-0")["lambdaFunctions"]
    assert (notified["lambdaFunctionArn"], notified["filterSuffix"]) == (ALIAS_ARN, ".pdf")
    assert (
        "f-permission-0"
        in seen.told("aws:s3/bucketNotification:BucketNotification", "f-objects-0").dependencies
    )
    assert seen.outputs["f"]["event_source_id"] == ""


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            {},
            "KW102 PreprocessingFunction 'f' queue/objects: got none of them; allowed exactly one of queue or "
            "objects; "
            "because they exclude one another; fix: set one of queue or objects",
        ),
        (
            {"objects": [{"bucket": "b", "bucket_arn": "arn:aws:s3:::b"}]},
            "KW150 PreprocessingFunction 'f' reserved_concurrency: got nothing; allowed a number of "
            "environments; because "
            "S3 invokes once per object and nothing else bounds the fan-out; fix: set it to what the services behind "
            "take, or put a BurstQueue in between",
        ),
        (
            {"objects": [{"bucket": "b", "bucket_arn": "arn:aws:s3:::b"}], "reserved_concurrency": 0},
            "KW114 PreprocessingFunction 'f' reserved_concurrency: got 0; allowed at least 1; because the "
            "function may "
            "never run, so every event fails; fix: raise reserved_concurrency",
        ),
    ],
)
def test_given_an_unbounded_or_missing_source_when_declared_then_it_is_refused(args: Any, text: str) -> None:
    inputs: Any = {"code": code(), **args}
    assert refusal(lambda: kw.PreprocessingFunction("f", inputs)) == text


REFUSED_CONSUMERS = [
    (
        {"timeout_s": 61},
        "KW115 PreprocessingFunction 'f' timeout_s: got 61 s; allowed up to the queue's consumer_timeout_s, 60 s; "
        "because the queue's visibility and retention were derived from that timeout; fix: set the queue's "
        "consumer_timeout_s to 61",
    ),
    (
        {"reserved_concurrency": 0},
        "KW114 PreprocessingFunction 'f' reserved_concurrency: got 0; allowed at least 2; because the function may "
        "never run, so the queue never drains; fix: leave reserved_concurrency out, or set paused to true",
    ),
    (
        {"reserved_concurrency": 5},
        "KW118 PreprocessingFunction 'f' queue.max_concurrency: got 10; allowed up to reserved_concurrency, "
        "5; because "
        "deliveries beyond the reservation are throttled and use up a message's chances; fix: set the queue's "
        "max_concurrency to 5, or reserve 10",
    ),
]


@pytest.mark.parametrize(("args", "text"), REFUSED_CONSUMERS)
@pytest.mark.parametrize("late", [False, True], ids=["now", "late"])
def test_given_a_consumer_that_does_not_fit_its_queue_when_declared_then_it_is_refused(
    args: dict[str, Any], text: str, late: bool
) -> None:
    given = {key: pulumi.Output.from_input(value) if late else value for key, value in args.items()}
    assert refusal(consumer(**given)) == text


def test_given_a_fixed_pool_when_deployed_then_the_alias_is_provisioned_and_updates_apply() -> None:
    seen = deploy(pool(environments=3))
    assert seen.names() == [(PROVISIONED, "w-provisioned")]
    made = seen.one(PROVISIONED, "w-provisioned")
    assert (made["functionName"], made["qualifier"]) == (TARGET["function_name"], "live")
    assert made["provisionedConcurrentExecutions"] == 3
    assert seen.told(PROVISIONED, "w-provisioned").ignored == []


def test_given_target_tracking_when_deployed_then_the_autoscaler_owns_the_count() -> None:
    seen = deploy(pool(environments=2, max_environments=10))
    assert [name for _, name in seen.names()] == ["w-tracking", "w-target", "w-provisioned"]
    assert seen.told(PROVISIONED, "w-provisioned").ignored == ["provisionedConcurrentExecutions"]
    assert seen.told(SCALABLE, "w-target").ignored == []
    target = seen.one(SCALABLE, "w-target")
    assert target["resourceId"] == "function:classify-function-1a2b3c4:live"
    assert (target["minCapacity"], target["maxCapacity"]) == (2, 10)
    policy = seen.one("aws:appautoscaling/policy:Policy", "w-tracking")
    assert policy["targetTrackingScalingPolicyConfiguration"] == {
        "targetValue": 0.7,
        "predefinedMetricSpecification": {"predefinedMetricType": "LambdaProvisionedConcurrencyUtilization"},
    }


def test_given_schedules_when_deployed_then_they_own_the_bounds() -> None:
    seen = deploy(
        pool(
            schedules=[
                {
                    "schedule_expression": "cron(0 8 ? * MON-FRI *)",
                    "environments": 4,
                    "timezone": "Europe/Berlin",
                }
            ]
        )
    )
    assert seen.told(SCALABLE, "w-target").ignored == ["minCapacity", "maxCapacity"]
    action = seen.one("aws:appautoscaling/scheduledAction:ScheduledAction", "w-schedule-0")
    assert action["scalableTargetAction"] == {"minCapacity": 4, "maxCapacity": 4}
    assert action["timezone"] == "Europe/Berlin"


def test_given_snapshots_when_deployed_then_the_pool_only_proves_that_nothing_excludes_them() -> None:
    seen = deploy(pool(mode="snapshot", target={**TARGET, "snap_start": True}))
    assert seen.names() == []
    assert seen.outputs["w"]["compatibility_key"] == TARGET["compatibility_key"]


def test_given_managed_instances_when_deployed_then_the_function_is_told_the_provider() -> None:
    args = {
        "mode": "instances",
        "subnet_ids": ["subnet-0aaa", "subnet-0bbb"],
        "security_group_ids": ["sg-0aaa"],
        "max_vcpus": 16,
    }
    seen = deploy(lambda: kw.WarmPool("w", args))  # type: ignore[arg-type]
    provider = seen.one("aws:lambda/capacityProvider:CapacityProvider", "w-instances")
    assert provider["capacityProviderScalingConfigs"][0]["maxVcpuCount"] == 16
    assert seen.outputs["w"]["capacity_provider_arn"].endswith("w-instances-1a2b3c4")


def test_given_a_function_when_kept_warm_then_the_pool_provisions_its_alias() -> None:
    def program() -> None:
        made = kw.RuntimeFunction("f", {"code": code(), "reserved_concurrency": 5})
        kw.WarmPool("w", {"target": made.warm_target(), "environments": 2})

    made = deploy(program).one(PROVISIONED, "w-provisioned")
    assert (made["functionName"], made["qualifier"]) == ("f-function-1a2b3c4", "live")


REFUSED_POOLS = [
    (
        {"target": {**TARGET, "alias": "$LATEST"}},
        "KW109 WarmPool 'w' target.alias: got '$LATEST'; allowed an alias or a version; because Lambda provisions "
        "published code only, and callers of $LATEST would miss the pool; fix: pass function.warm_target()",
    ),
    (
        {"target": {**TARGET, "reserved_concurrency": 2}, "environments": 3},
        "KW110 WarmPool 'w' environments: got 3; allowed up to the function's reserved_concurrency, 2; because "
        "provisioned environments count against the reservation; fix: reserve 3, or provision 2",
    ),
    (
        {"target": {**TARGET, "weighted": True}},
        "KW111 WarmPool 'w' target: got an alias with alias_weights; allowed an alias of one version; because Lambda "
        "provisions an alias only while it points to a single version; fix: finish the shift, then add the pool",
    ),
    (
        {"target": {**TARGET, "snap_start": True}},
        "KW112 WarmPool 'w' mode: got 'provisioned' with a snap_start target; allowed one of them; because Lambda "
        "excludes provisioned concurrency with SnapStart; fix: use mode 'snapshot', or drop snap_start from "
        "the function",
    ),
    (
        {"environments": 0},
        "KW127 WarmPool 'w' environments: got 0; allowed a whole number, 1 to 100,000 environments; because AWS "
        "keeps at "
        "least one; leave the WarmPool out to keep none; fix: set environments within the range",
    ),
    (
        {"environments": 5, "max_environments": 2},
        "KW127 WarmPool 'w' max_environments: got 2; allowed at least environments, 5; because an upper bound lies "
        "above the lower; fix: raise max_environments",
    ),
    (
        {"schedules": [{"schedule_expression": "0 8 * * *", "environments": 1}]},
        "KW144 WarmPool 'w' schedules[0].schedule_expression: got '0 8 * * *'; "
        "allowed 'cron(minute hour day month weekday year)', "
        "'rate(n unit)' or 'at(YYYY-MM-DDThh:mm:ss)'; because Application Auto Scaling takes no other expression; "
        "fix: write it in one of these forms",
    ),
    (
        {"target_utilization": 0.95, "max_environments": 9},
        "KW146 WarmPool 'w' target_utilization: got 0.95; allowed 0.1 to 0.9; because Application Auto Scaling "
        "tracks no "
        "other utilization; fix: set target_utilization within the range",
    ),
    (
        {"max_vcpus": 8},
        "KW102 WarmPool 'w' max_vcpus: got max_vcpus beside mode 'provisioned'; allowed one of them; because max_vcpus "
        "has no effect there; fix: remove max_vcpus, or use mode 'instances'",
    ),
    (
        {"target_utilization": 0.5},
        "KW102 WarmPool 'w' target_utilization: got target_utilization beside a fixed number of environments; allowed "
        "one of them; because target_utilization has no effect there; fix: remove target_utilization, or set "
        "max_environments",
    ),
    (
        {"mode": "snapshot", "target": {**TARGET, "snap_start": True}, "environments": 2},
        "KW112 WarmPool 'w' environments: got a size; allowed no size with mode 'snapshot'; because snapshots are "
        "restored on demand, and Lambda excludes provisioned concurrency with SnapStart; fix: drop "
        "environments, or use "
        "mode 'provisioned' on a function without snap_start",
    ),
]


@pytest.mark.parametrize(("args", "text"), REFUSED_POOLS, ids=lambda v: v[:5] if isinstance(v, str) else None)
def test_given_a_pool_lambda_would_refuse_when_declared_then_so_do_we(
    args: dict[str, Any], text: str
) -> None:
    assert refusal(pool(**args)) == text


def test_given_a_late_size_beyond_the_reservation_when_resolved_then_the_words_are_the_same() -> None:
    args: Any = REFUSED_POOLS[1][0]
    late = pulumi.Output.from_input(3)
    assert refusal(pool(**{**args, "environments": late})) == REFUSED_POOLS[1][1]
