"""What hangs on a function: alarms, keys, URL, file system, destinations, network, tags.

Not proved: that an alarm rings, nor that AWS takes the URL and the file system, which the embedded cloud lacks.
"""

import json
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

import keepwarm as kw
from keepwarm_localcloud.services.autoscaling import metrics
from keepwarm_runtime import invocation
from tests.support.deployed import deploy, refusal
from tests.support.functions import (
    ALARM,
    ALIAS_ARN,
    FUNCTION,
    TOPIC,
    VPC,
    function,
    grants_of,
)
from tests.support.samples import IMAGE, MODEL, MOUNT, QUEUE, code


def test_given_a_function_when_deployed_then_errors_it_did_not_report_ring() -> None:
    alarm = deploy(function(alarm_topic_arns=[TOPIC], metric_namespace="Mine")).one(ALARM, "f-errors")
    assert (alarm["threshold"], alarm["comparisonOperator"]) == (0, "GreaterThanThreshold")
    assert (alarm["evaluationPeriods"], alarm["treatMissingData"]) == (2, "notBreaching")
    assert alarm["alarmActions"] == [TOPIC]
    errors, reported, unreported = alarm["metricQueries"]
    assert errors["metric"] == {
        "namespace": "AWS/Lambda",
        "metricName": "Errors",
        "dimensions": {"FunctionName": "f-function-1a2b3c4"},
        "stat": "Sum",
        "period": 300,
    }
    assert reported["metric"]["namespace"] == "Mine"
    assert (reported["metric"]["metricName"], reported["metric"]["dimensions"]) == (
        "failed",
        {invocation.DIMENSION: "f-function-1a2b3c4"},
    )
    assert unreported["expression"] == "FILL(errors, 0) - FILL(reported, 0)"


@pytest.mark.parametrize(
    ("errors", "reported", "rings"), [(3, 3, False), (3, None, True), (None, None, False), (0, None, False)]
)
def test_given_errors_and_reports_when_compared_then_only_silent_deaths_ring(
    errors: float | None, reported: float | None, rings: bool
) -> None:
    alarm = deploy(function()).one(ALARM, "f-errors")
    found = metrics.evaluate(
        alarm["metricQueries"][2]["expression"], {"errors": errors, "reported": reported}
    )
    assert (found is not None and found > alarm["threshold"]) is rings


@pytest.mark.parametrize(("timeout_s", "period_s"), [(60, 300), (301, 360), (900, 900)])
def test_given_a_timeout_when_errors_are_compared_then_a_period_holds_an_invocation(
    timeout_s: int, period_s: int
) -> None:
    for given in (timeout_s, pulumi.Output.from_input(timeout_s)):
        queries = deploy(function(timeout_s=given)).one(ALARM, "f-errors")["metricQueries"]
        assert [q["metric"]["period"] for q in queries[:2]] == [period_s, period_s]


def test_given_failed_events_when_they_wait_then_their_queue_rings_and_takes_tls_only() -> None:
    seen = deploy(function(alarm_topic_arns=[TOPIC]))
    alarm = seen.one(ALARM, "f-failures-depth")
    assert (alarm["metricName"], alarm["dimensions"]) == (
        "ApproximateNumberOfMessagesVisible",
        {"QueueName": "f-failures-1a2b3c4"},
    )
    assert (alarm["threshold"], alarm["alarmActions"]) == (0, [TOPIC])
    policy = json.loads(seen.one("aws:sqs/queuePolicy:QueuePolicy", "f-failures-policy")["policy"])
    (denied,) = policy["Statement"]
    assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "sqs:*")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_given_a_bound_on_its_concurrency_when_deployed_then_throttles_ring() -> None:
    alarm = deploy(function(reserved_concurrency=3)).one(ALARM, "f-throttles")
    assert (alarm["namespace"], alarm["metricName"]) == ("AWS/Lambda", "Throttles")
    assert (ALARM, "f-throttles") not in deploy(function()).names()


def test_given_a_queue_of_the_callers_own_when_deployed_then_there_is_no_second_one() -> None:
    key = "arn:aws:kms:eu-west-1:111122223333:key/k"
    seen = deploy(function(failures_arn=QUEUE["parked_arn"], failures_kms_key_arn=key))
    assert not [name for _, name in seen.names() if "failures" in name]
    assert (["kms:Decrypt", "kms:GenerateDataKey"], [key]) in grants_of(seen)
    assert refusal(function(failures_kms_key_arn=key)) == (
        "KW102 RuntimeFunction 'f' failures_kms_key_arn: got a key without its queue; allowed it together with "
        "failures_arn; because the function's own queue is encrypted with kms_key_arn; fix: set failures_arn, or "
        "kms_key_arn instead"
    )


@pytest.mark.parametrize(
    "binding",
    [
        {"workflow": {"arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:d"}},
        {"results": {"bucket": "b", "bucket_arn": "arn:aws:s3:::b"}},
        {"sources": [{"bucket": "b", "bucket_arn": "arn:aws:s3:::b"}]},
        {"dead_letters": QUEUE},
        {"ledger": {"table": "t", "table_arn": "arn:t", "bucket": "b", "bucket_arn": "arn:b"}},
        {"admission": {"table": "permits", "table_arn": "arn:t", "pool": "ocr", "permits": 4}},
        {"model": MODEL},
        {"on_success": {"topic_arn": TOPIC}},
    ],
    ids=lambda b: next(iter(b)),
)
def test_given_anything_encrypted_when_bound_then_its_key_may_be_used(binding: dict[str, Any]) -> None:
    ((name, bound),) = binding.items()
    key = "arn:aws:kms:eu-west-1:111122223333:key/k"
    locked = [{**bound[0], "kms_key_arn": key}] if isinstance(bound, list) else {**bound, "kms_key_arn": key}
    with_key = grants_of(deploy(function(**{name: locked})))
    assert [resources for actions, resources in with_key if "kms:Decrypt" in actions] == [[key]]


def test_given_a_url_when_deployed_then_callers_sign_and_the_alias_answers() -> None:
    cors = {"origins": ["https://example.com"], "credentials": True, "max_age_s": 60}
    seen = deploy(function(url={"cors": cors}))
    made = seen.one("aws:lambda/functionUrl:FunctionUrl", "f-url")
    assert (made["authorizationType"], made["qualifier"], made["invokeMode"]) == (
        "AWS_IAM",
        "live",
        "BUFFERED",
    )
    assert made["cors"] == {
        "allowOrigins": ["https://example.com"],
        "allowMethods": ["GET"],
        "allowHeaders": [],
        "exposeHeaders": [],
        "allowCredentials": True,
        "maxAge": 60,
    }
    assert not [name for kind, name in seen.names() if kind == "aws:lambda/permission:Permission"]
    assert (ALARM, "f-throttles") in seen.names()
    assert seen.outputs["f"]["url"] == "https://f-url.lambda-url.eu-west-1.on.aws/"
    assert deploy(function()).outputs["f"]["url"] == ""


def test_given_a_public_url_when_deployed_then_both_permissions_that_lambda_asks_for_exist() -> None:
    seen = deploy(function(url={"auth": "none", "public_reason": "a demo page"}))
    same = {"function": "f-function-1a2b3c4", "qualifier": "live", "principal": "*"}
    assert seen.one("aws:lambda/permission:Permission", "f-url-public") == {
        **same,
        "action": "lambda:InvokeFunctionUrl",
        "functionUrlAuthType": "NONE",
    }
    assert seen.one("aws:lambda/permission:Permission", "f-url-invoke") == {
        **same,
        "action": "lambda:InvokeFunction",
        "invokedViaFunctionUrl": True,
    }


def test_given_a_url_when_a_caller_is_granted_then_it_may_use_the_url_only() -> None:
    made: list[Any] = []

    def program() -> None:
        f = kw.RuntimeFunction("f", {"code": code(), "url": {}})
        made.extend(f.url_caller_grants())
        kw.RuntimeFunction("caller", {"code": code(), "grants": f.url_caller_grants()})

    document = json.loads(deploy(program).one("aws:iam/rolePolicy:RolePolicy", "caller-policy")["policy"])
    assert [s for s in document["Statement"] if "lambda" in s["Action"][0]] == [
        {
            "Effect": "Allow",
            "Action": ["lambda:InvokeFunctionUrl"],
            "Resource": [ALIAS_ARN],
            "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}},
        },
        {
            "Effect": "Allow",
            "Action": ["lambda:InvokeFunction"],
            "Resource": [ALIAS_ARN],
            "Condition": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
        },
    ]


def test_given_no_url_when_a_caller_asks_for_its_grants_then_it_is_refused() -> None:
    def program() -> None:
        kw.RuntimeFunction("f", {"code": code()}).url_caller_grants()

    assert refusal(program) == (
        "KW102 RuntimeFunction 'f' url: got no URL with auth 'iam'; allowed one; because only such a URL takes signed "
        "requests; fix: set url to {'auth': 'iam'}"
    )


def test_given_a_file_system_when_deployed_then_it_is_mounted_through_its_access_point_alone() -> None:
    def program() -> None:
        target = aws.efs.MountTarget("t", file_system_id="fs-1", subnet_id="subnet-0aaa")
        mount: Any = {**MOUNT, "mount_target_ids": [target.id], "read_only": True}
        kw.RuntimeFunction("f", {"code": code(), **VPC, "file_system": mount})  # type: ignore[typeddict-item]

    seen = deploy(program)
    assert seen.one(FUNCTION, "f-function")["fileSystemConfig"] == {
        "arn": MOUNT["access_point_arn"],
        "localMountPath": "/mnt/models",
    }
    assert "t" in seen.told(FUNCTION, "f-function").dependencies, "a mount target that is not there yet fails"
    document = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "f-policy")["policy"])
    assert [s for s in document["Statement"] if "elasticfilesystem" in s["Action"][0]] == [
        {
            "Effect": "Allow",
            "Action": ["elasticfilesystem:ClientMount"],
            "Resource": [MOUNT["file_system_arn"]],
            "Condition": {"StringEquals": {"elasticfilesystem:AccessPointArn": MOUNT["access_point_arn"]}},
        }
    ]


@pytest.mark.parametrize(
    ("destination", "action"),
    [
        ({"queue_arn": "arn:aws:sqs:eu-west-1:111122223333:done"}, "sqs:SendMessage"),
        ({"topic_arn": "arn:aws:sns:eu-west-1:111122223333:done"}, "sns:Publish"),
        (
            {"function_arn": "arn:aws:lambda:eu-west-1:111122223333:function:next:live"},
            "lambda:InvokeFunction",
        ),
        ({"bus_arn": "arn:aws:events:eu-west-1:111122223333:event-bus/main"}, "events:PutEvents"),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["now", "late"])
def test_given_a_destination_when_events_succeed_then_they_are_recorded_there(
    destination: dict[str, str], action: str, late: bool
) -> None:
    ((kind, arn),) = destination.items()
    seen = deploy(function(on_success={kind: pulumi.Output.from_input(arn) if late else arn}))
    sent = seen.one("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "f-async")
    assert sent["destinationConfig"]["onSuccess"] == {"destination": arn}
    assert ([action], [arn]) in grants_of(seen)


def test_given_the_network_of_a_service_when_bound_then_the_function_is_attached_to_it() -> None:
    network = {"subnet_ids": ["subnet-0aaa", "subnet-0bbb"], "security_group_ids": ["sg-0callers"]}
    made = deploy(function(network={**network, "network_path": "nat"})).one(FUNCTION, "f-function")
    assert made["vpcConfig"] == {
        "subnetIds": ["subnet-0aaa", "subnet-0bbb"],
        "securityGroupIds": ["sg-0callers"],
    }


def test_given_tags_when_deployed_then_everything_that_takes_tags_has_them() -> None:
    seen = deploy(function(tags={"team": "documents"}, reserved_concurrency=1))
    tagged = {name for kind, name in seen.names() if "tags" in seen.one(kind, name)}
    assert tagged == {
        *("f-function", "f-logs", "f-role", "f-failures", "f-errors", "f-throttles", "f-failures-depth"),
    }
    assert seen.one(FUNCTION, "f-function")["tags"] == {
        "team": "documents",
        "keepwarm:side-effects": "none",
    }


REFUSED_ATTACHMENTS = [
    (
        {"url": {"auth": "none"}},
        "KW126 RuntimeFunction 'f' url.auth: got 'none'; allowed 'iam', or 'none' with public_reason; because everyone "
        "on the internet could call the function, at your cost; fix: use 'iam', or say in public_reason why everyone "
        "may call it",
    ),
    (
        {"url": {"public_reason": "a demo"}},
        "KW102 RuntimeFunction 'f' url.public_reason: got a reason for public access with auth 'iam'; allowed it "
        "together with auth 'none'; because only callers with permission reach the function; fix: remove "
        "public_reason, or set auth to 'none'",
    ),
    (
        {"url": {"stream": True}},
        "KW126 RuntimeFunction 'f' url.stream: got runtime 'python3.12' without layers; allowed a nodejs or provided "
        "runtime, an image, or a layer that streams (Lambda Web Adapter); because this managed runtime sends a "
        "response as a whole; fix: add such a layer, use an image, or drop stream",
    ),
    (
        {"url": {"stream": True}, "image": IMAGE, **VPC},
        "KW126 RuntimeFunction 'f' url.stream: got a function in a VPC; allowed a function outside of a VPC; because "
        "function URLs do not stream from a VPC; fix: drop stream, or leave the VPC",
    ),
    (
        {"url": {"cors": {"origins": ["*"], "credentials": True}}},
        "KW126 RuntimeFunction 'f' url.cors.credentials: got credentials for every origin; allowed credentials for "
        "named origins; because browsers refuse such an answer; fix: name the origins, or drop credentials",
    ),
    (
        {"url": {"cors": {"origins": ["https://example.com/page"]}}},
        "KW126 RuntimeFunction 'f' url.cors.origins[0]: got 'https://example.com/page'; allowed '*', or "
        "'https://<host>' of up to 253 characters; because a browser compares it with the scheme, host and port of a "
        "page; fix: write the origin without a path",
    ),
    (
        {"url": {"cors": {"origins": ["*"], "methods": ["OPTIONS"]}}},
        "KW126 RuntimeFunction 'f' url.cors.methods[0]: got 'OPTIONS'; allowed *, DELETE, GET, HEAD, PATCH, POST, "
        "PUT; because Lambda takes no other method here and answers OPTIONS itself; fix: name the method in capitals, "
        "or drop it",
    ),
    (
        {"file_system": MOUNT},
        "KW147 RuntimeFunction 'f' file_system: got a function without subnets; allowed a function in the VPC of the "
        "mount targets; because a file system is reached through mount targets in its VPC; fix: set subnet_ids and "
        "security_group_ids, and let port 2049 of the mount targets in",
    ),
    (
        {"file_system": {**MOUNT, "path": "/data"}, **VPC},
        "KW147 RuntimeFunction 'f' file_system.path: got '/data'; allowed '/mnt/' and a name of letters, digits, dot, "
        "dash and underscore, 160 characters in all; because Lambda mounts nowhere else; fix: choose a path below /mnt",
    ),
    (
        {"file_system": MOUNT, "snap_start": True, **VPC},
        "KW113 RuntimeFunction 'f' file_system: got a file system and snap_start; allowed one of them; because "
        "SnapStart excludes EFS; fix: drop snap_start, or keep the files in the bundle or a bucket",
    ),
    (
        {"on_success": {"queue_arn": QUEUE["arn"], "bus_arn": "x"}},
        "KW102 RuntimeFunction 'f' on_success: got queue_arn and bus_arn; allowed exactly one of queue_arn, topic_arn, "
        "function_arn, bus_arn; because Lambda sends to one destination; fix: name one",
    ),
    (
        {"on_success": {"queue_arn": "arn:aws:sqs:eu-west-1:111122223333:done.fifo"}},
        "KW140 RuntimeFunction 'f' on_success.queue_arn: got 'arn:aws:sqs:eu-west-1:111122223333:done.fifo'; allowed "
        "the ARN of a standard SQS queue; because Lambda sends to nothing else here; fix: pass the ARN of a standard "
        "SQS queue",
    ),
    (
        {"failures_arn": "arn:aws:sns:eu-west-1:111122223333:failed"},
        "KW140 RuntimeFunction 'f' failures_arn: got 'arn:aws:sns:eu-west-1:111122223333:failed'; allowed the ARN of a "
        "standard SQS queue; because Lambda sends to nothing else here; fix: pass the ARN of a standard SQS queue",
    ),
    (
        {"network": {**VPC, "subnet_ids": ["subnet-0aaa"]}},
        "KW138 RuntimeFunction 'f' network.subnet_ids: got 1 subnet; allowed two or more, in two availability zones; "
        "because one zone's outage would stop the function (control Lambda.5); fix: add a subnet of another zone",
    ),
    (
        {"network": VPC, "subnet_ids": ["subnet-0aaa"]},
        "KW102 RuntimeFunction 'f' subnet_ids: got subnet_ids and network; allowed one of them; because network says "
        "where the function is attached; fix: drop subnet_ids, or pass the parts of network one by one",
    ),
]


@pytest.mark.parametrize(
    ("args", "text"), REFUSED_ATTACHMENTS, ids=lambda v: v[:5] if isinstance(v, str) else None
)
def test_given_an_attachment_lambda_would_refuse_when_declared_then_so_do_we(
    args: dict[str, Any], text: str
) -> None:
    assert refusal(function(**args)) == text
