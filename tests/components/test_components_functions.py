"""RuntimeFunction, PreprocessingFunction, WarmPool: alias everywhere, least privilege, counts left to the autoscaler.

Not proved: that environments are warm; tests/localcloud measures that.
"""

import json
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

import keepwarm as kw
from keepwarm.checks.problems import Report, Where
from keepwarm.errors import InvalidArgs
from keepwarm.preprocessing_function import PreprocessingFunctionSpec
from keepwarm.runtime_function import RuntimeFunctionSpec
from keepwarm.warm_pool import WarmPoolSpec
from keepwarm_localcloud.services.autoscaling import metrics
from keepwarm_runtime import invocation
from tests.support.deployed import Deployed, deploy, refusal
from tests.support.samples import IMAGE, MODEL, MOUNT, QUEUE, TARGET, code

FUNCTION = "aws:lambda/function:Function"
ALIAS = "aws:lambda/alias:Alias"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
SOURCE = "aws:lambda/eventSourceMapping:EventSourceMapping"
PROVISIONED = "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig"
SCALABLE = "aws:appautoscaling/target:Target"
ALIAS_ARN = "arn:aws:lambda:eu-west-1:111122223333:function:f-function-1a2b3c4:live"


def function(**args: Any) -> Any:
    given = {"code": code(), **args}
    if "image" in args:
        del given["code"]
    return lambda: kw.RuntimeFunction("f", given)  # type: ignore[arg-type]


def consumer(**args: Any) -> Any:
    return lambda: kw.PreprocessingFunction("f", {"code": code(), "queue": QUEUE, **args})  # type: ignore[typeddict-item]


def pool(**args: Any) -> Any:
    return lambda: kw.WarmPool("w", {"target": TARGET, **args})  # type: ignore[typeddict-item]


# --- RuntimeFunction


def test_given_a_bundle_when_deployed_then_role_logs_version_alias_and_failure_queue_are_made() -> None:
    seen = deploy(function())
    assert seen.names() == [
        ("aws:cloudwatch/logGroup:LogGroup", "f-logs"),
        (ALARM, "f-errors"),
        (ALARM, "f-failures-depth"),
        ("aws:iam/role:Role", "f-role"),
        ("aws:iam/rolePolicy:RolePolicy", "f-policy"),
        (ALIAS, "f-live"),
        (FUNCTION, "f-function"),
        ("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "f-async"),
        ("aws:sqs/queue:Queue", "f-failures"),
        ("aws:sqs/queuePolicy:QueuePolicy", "f-failures-policy"),
    ]
    made = seen.one(FUNCTION, "f-function")
    assert made["publish"] is True
    assert made["tracingConfig"] == {"mode": "Active"}
    assert made["ephemeralStorage"] == {"size": 512}
    assert made["loggingConfig"] == {"logFormat": "JSON", "logGroup": "f-logs-1a2b3c4"}
    assert (made["memorySize"], made["timeout"], made["runtime"]) == (1024, 60, "python3.12")
    assert "name" not in made
    assert "reservedConcurrentExecutions" not in made
    assert "f-policy" in seen.told(FUNCTION, "f-function").dependencies, "init already reads models"


def test_given_a_function_when_deployed_then_its_only_address_is_the_alias() -> None:
    seen = deploy(function())
    outputs = seen.outputs["f"]
    assert outputs["arn"] == ALIAS_ARN
    assert ALIAS_ARN in outputs["invoke_arn"]
    assert not [v for v in outputs.values() if str(v).endswith(":function:f-function-1a2b3c4")]
    asynchronous = seen.one("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "f-async")
    assert asynchronous["qualifier"] == "live"
    assert seen.one(ALIAS, "f-live")["functionVersion"] == "1"


def test_given_no_bindings_when_deployed_then_the_role_writes_logs_traces_and_failures_only() -> None:
    seen = deploy(function())
    document = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "f-policy")["policy"])
    assert [(s["Action"], s["Resource"]) for s in document["Statement"]] == [
        (
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            ["arn:aws:logs:eu-west-1:111122223333:log-group:f-logs-1a2b3c4:*"],
        ),
        (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]),
        (["sqs:SendMessage"], ["arn:aws:sqs:eu-west-1:111122223333:f-failures-1a2b3c4"]),
    ]


def test_given_bindings_when_deployed_then_variables_and_grants_come_with_them() -> None:
    seen = deploy(
        function(
            model=MODEL,
            service={"namespace": "space", "name": "reader"},
            admission={"table": "permits", "table_arn": "arn:t", "pool": "ocr", "permits": 4},
            dead_letters=QUEUE,
            environment={"LEVEL": "INFO"},
        )
    )
    variables = seen.one(FUNCTION, "f-function")["environment"]["variables"]
    key = variables.pop("KEEPWARM_COMPATIBILITY_KEY")
    assert len(key) == 16
    assert variables == {
        "KEEPWARM_MODEL_BUCKET": "models",
        "KEEPWARM_MODEL_REF": MODEL["ref"],
        "KEEPWARM_MODEL_BYTES": str(3 * 1_048_576),
        "KEEPWARM_SERVICE_NAMESPACE": "space",
        "KEEPWARM_SERVICE_NAME": "reader",
        "KEEPWARM_ADMISSION_TABLE": "permits",
        "KEEPWARM_ADMISSION_POOL": "ocr",
        "KEEPWARM_ADMISSION_PERMITS": "4",
        "KEEPWARM_PERMIT_HOLD_S": "30",
        "KEEPWARM_PERMIT_WAIT_S": "5",
        "KEEPWARM_DEAD_LETTER_URL": QUEUE["parked_url"],
        "KEEPWARM_METRIC_NAMESPACE": "Keepwarm",
        "LEVEL": "INFO",
    }
    document = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "f-policy")["policy"])
    discover = next(s for s in document["Statement"] if "servicediscovery:DiscoverInstances" in s["Action"])
    assert discover["Condition"]["StringEquals"] == {
        "servicediscovery:NamespaceName": "space",
        "servicediscovery:ServiceName": "reader",
    }


ADMISSION: Any = {"table": "permits", "table_arn": "arn:t", "pool": "ocr", "permits": 4}


@pytest.mark.parametrize(
    ("args", "hold", "wait"),
    [
        ({"timeout_s": 90}, "45", "5"),
        ({"timeout_s": 20}, "10", "2"),
        ({"timeout_s": 60, "permit_hold_s": 55, "permit_wait_s": 3}, "55", "3"),
        ({"timeout_s": 57, "permit_hold_s": 50}, "50", "5"),
    ],
)
def test_given_a_timeout_when_deployed_then_permit_times_follow_it(
    args: dict[str, int], hold: str, wait: str
) -> None:
    seen = deploy(function(admission=ADMISSION, **args))
    variables = seen.one(FUNCTION, "f-function")["environment"]["variables"]
    assert (variables["KEEPWARM_PERMIT_HOLD_S"], variables["KEEPWARM_PERMIT_WAIT_S"]) == (hold, wait)


def test_given_a_hold_beyond_the_timeout_when_checked_then_refused() -> None:
    line = (
        "KW155 RuntimeFunction 'f' timeout_s: got 50 s; allowed at least 62 s; because a permit is awaited for "
        "up to 5 s (permit_wait_s) and held for up to 55 s (permit_hold_s), and the function's own work takes 2 s; "
        "fix: raise timeout_s to 62, or lower permit_hold_s"
    )
    assert refusal(function(timeout_s=50, permit_hold_s=55, admission=ADMISSION)) == line
    later = pulumi.Output.from_input(50)
    assert line in refusal(function(timeout_s=later, permit_hold_s=55, admission=ADMISSION))


def test_given_a_permit_time_without_permits_when_checked_then_refused() -> None:
    assert refusal(function(permit_hold_s=5)) == (
        "KW102 RuntimeFunction 'f' permit_hold_s: got a permit time without permits; allowed it together with "
        "admission; because the function takes no permits; fix: bind admission, or remove permit_hold_s"
    )


def test_given_signers_and_a_deadline_when_bound_then_the_runtime_is_told_and_may_verify() -> None:
    key = "arn:aws:kms:eu-west-1:111122223333:key/signer"
    seen = deploy(
        function(
            model={**MODEL, "trusted_signer_arns": [key]},
            workflow={"arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:d", "deadline_s": 100_000},
        )
    )
    variables = seen.one(FUNCTION, "f-function")["environment"]["variables"]
    assert variables["KEEPWARM_TRUSTED_SIGNERS"] == key
    assert variables["KEEPWARM_DOCUMENT_DEADLINE_S"] == "86400"
    document = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "f-policy")["policy"])
    assert {"Effect": "Allow", "Action": ["kms:Verify"], "Resource": [key]} in document["Statement"]


def test_given_another_model_when_deployed_then_the_compatibility_key_changes_and_with_it_the_version() -> (
    None
):
    keys = {
        deploy(function(model={**MODEL, "ref": ref})).outputs["f"]["compatibility_key"]
        for ref in ("magika@sha256:" + "b" * 64, "magika@sha256:" + "c" * 64)
    }
    assert len(keys) == 2
    assert len({deploy(function()).outputs["f"]["compatibility_key"] for _ in range(2)}) == 1


def test_given_an_image_when_deployed_then_there_is_no_runtime_and_no_handler() -> None:
    made = deploy(function(image=IMAGE)).one(FUNCTION, "f-function")
    assert (made["packageType"], made["imageUri"]) == ("Image", IMAGE)
    assert not {"runtime", "handler", "layers", "code"} & set(made)


def test_given_subnets_when_deployed_then_interfaces_are_granted_and_described_only_on_everything() -> None:
    seen = deploy(function(subnet_ids=["subnet-0aaa", "subnet-0bbb"], security_group_ids=["sg-0aaa"]))
    assert seen.one(FUNCTION, "f-function")["vpcConfig"] == {
        "subnetIds": ["subnet-0aaa", "subnet-0bbb"],
        "securityGroupIds": ["sg-0aaa"],
    }
    document = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "f-policy")["policy"])
    on_everything = [s["Action"] for s in document["Statement"] if s["Resource"] == ["*"]]
    assert ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"] in on_everything
    assert not [
        a for actions in on_everything for a in actions if a.startswith("ec2:") and "Describe" not in a
    ]


def test_given_a_vpc_without_a_stated_way_out_when_declared_then_it_is_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warned.append)
    network = {"subnet_ids": ["subnet-0aaa", "subnet-0bbb"], "security_group_ids": ["sg-0aaa"]}
    deploy(function(**network))
    assert warned == [
        "KW154 RuntimeFunction 'f' network_path: got nothing; allowed 'endpoints' or 'nat'; because without "
        "endpoints or "
        "a NAT gateway a model download hangs until the timeout; fix: add PrivateEndpoints or a NAT gateway "
        "to the VPC "
        "and say which"
    ]
    deploy(function(**network, network_path="nat"))
    assert len(warned) == 1


def test_given_a_ledger_when_deployed_then_the_tag_says_that_effects_are_guarded() -> None:
    ledger = {"table": "t", "table_arn": "arn:t", "bucket": "b", "bucket_arn": "arn:b"}
    assert deploy(function(ledger=ledger)).one(FUNCTION, "f-function")["tags"] == {
        "keepwarm:side-effects": "ledger"
    }
    tags = deploy(function(side_effects="unguarded")).one(FUNCTION, "f-function")["tags"]
    assert tags == {"keepwarm:side-effects": "unguarded"}


LAYER = "arn:aws:lambda:eu-west-1:111122223333:layer:deps"
SIGNING = "arn:aws:lambda:eu-west-1:111122223333:code-signing-config:csc-0123456789abcdef0"
TIMEOUT = (
    "KW103 RuntimeFunction 'f' timeout_s: got {}; allowed a whole number, 1 to 900 seconds; because Lambda ends an "
    "invocation at this limit; fix: set timeout_s within the range"
)
REFUSED_FUNCTIONS = [
    ({"timeout_s": 0}, TIMEOUT.format(0)),
    ({"timeout_s": 901}, TIMEOUT.format(901)),
    (
        {"memory_mb": 127},
        "KW104 RuntimeFunction 'f' memory_mb: got 127; allowed a whole number, 128 to 10,240 MB; because Lambda "
        "offers no "
        "other size; fix: set memory_mb within the range",
    ),
    (
        {"memory_mb": "2GB"},
        "KW101 RuntimeFunction 'f' memory_mb: got '2GB'; allowed a whole number, 128 to 10,240 MB; because it "
        "is a number; "
        "fix: set memory_mb within the range",
    ),
    (
        {"ephemeral_mb": 10_241},
        "KW105 RuntimeFunction 'f' ephemeral_mb: got 10241; allowed a whole number, 512 to 10,240 MB; because Lambda "
        "offers no other size of /tmp; fix: set ephemeral_mb within the range",
    ),
    (
        {"model": {**MODEL, "size_mb": 6144, "working_mb": 512}, "ephemeral_mb": 4096},
        "KW106 RuntimeFunction 'f' ephemeral_mb: got 4096 MB; allowed at least 6656 MB; because the model "
        "needs 6144 MB "
        "on disk beside 512 MB of working set; fix: set ephemeral_mb to 6656",
    ),
    (
        {"model": {**MODEL, "size_mb": 2000, "integrity": "sealed"}},
        "KW107 RuntimeFunction 'f' memory_mb: got 1024 MB; allowed at least 2128 MB; because integrity "
        "'sealed' holds "
        "the model's 2000 MB in memory beside 128 MB of working set; fix: set memory_mb to 2128, or "
        "integrity to 'file'",
    ),
    (
        {"model": {**MODEL, "load_s": 140}},
        "KW108 RuntimeFunction 'f' model.load_s: got 140 s for fetch, verify and load; allowed up to 130 s; "
        "because the "
        "init phase of a warm or snapshotted environment ends there, and an on-demand one after 10 s; fix: raise "
        "timeout_s, load less, or serve the model from a GpuService",
    ),
    (
        {"model": {**MODEL, "ref": "magika@latest"}},
        "KW133 RuntimeFunction 'f' model.ref: got 'magika@latest'; allowed 'name@sha256:<64 hex>' or 'name:channel'; "
        "because a reference must pin a manifest, itself or through a channel; fix: copy the reference that "
        "'keepwarm "
        "model list' prints",
    ),
    (
        {"runtime": "python3.8"},
        "KW141 RuntimeFunction 'f' runtime: got 'python3.8'; allowed dotnet10, dotnet8, java11, java17, "
        "java21, java25, "
        "java8.al2, nodejs22.x, nodejs24.x, provided.al2, provided.al2023, python3.10, python3.11, python3.12, "
        "python3.13, python3.14, ruby3.3, ruby3.4; because AWS patches no other runtime (control Lambda.2); "
        "fix: move "
        "to a supported runtime",
    ),
    (
        {"image": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/server:latest"},
        "KW142 RuntimeFunction 'f' image: got '111122223333.dkr.ecr.eu-west-1.amazonaws.com/server:latest'; allowed "
        "'<registry>/<repository>@sha256:<64 hex>'; because a tag can point to another image tomorrow; fix: use the "
        "digest the build printed",
    ),
    (
        {"environment": {"AWS_REGION": "eu-west-1"}},
        "KW136 RuntimeFunction 'f' environment.AWS_REGION: got that name; allowed letters, digits and "
        "underscores, none "
        "of Lambda's own names; because Lambda refuses it; fix: choose another name",
    ),
    (
        {"environment": {"DB_PASSWORD": "hunter2"}},
        "KW135 RuntimeFunction 'f' environment.DB_PASSWORD: got 7 characters that are not shown; allowed "
        "settings and "
        "references; because its name says that it is a secret, and everyone who may describe the function "
        "could read "
        "it; fix: put it into Secrets Manager, grant read_secret and pass its ARN",
    ),
    (
        {"grants": [{"actions": ["s3:*"], "resources": ["*"]}]},
        "KW137 RuntimeFunction 'f' grants[0].actions: got 's3:*'; allowed actions spelled out as "
        "'service:Action'; because "
        "a wildcard also grants what the service adds tomorrow; fix: list the actions, or use a verb of "
        "keepwarm.grants\n"
        "KW137 RuntimeFunction 'f' grants[0].resources: got '*'; allowed ARNs; because it grants the actions on "
        "everything in the account; fix: name the resource",
    ),
    (
        {"snap_start": True, "ephemeral_mb": 1024, "runtime": "python3.11"},
        "KW113 RuntimeFunction 'f' runtime: got 'python3.11'; allowed dotnet10, dotnet8, java11, java17, java21, "
        "java25, python3.12, python3.13, python3.14; because SnapStart supports no other runtime; fix: move "
        "to one of "
        "them, or drop snap_start\n"
        "KW113 RuntimeFunction 'f' ephemeral_mb: got 1024 MB; allowed 512 MB; because SnapStart excludes larger "
        "ephemeral storage; fix: use provisioned concurrency instead of snap_start",
    ),
    (
        {"snap_start": True, "model": {**MODEL, "ref": "magika:live"}},
        "KW133 RuntimeFunction 'f' model.ref: got 'magika:live'; allowed 'name@sha256:<64 hex>'; because a snapshot "
        "keeps the model it was taken with, whatever the channel says later; fix: pin the manifest digest",
    ),
    (
        {"layers": [f"{LAYER}:{n}" for n in range(1, 7)]},
        "KW145 RuntimeFunction 'f' layers: got 6 layers; allowed up to 5; because Lambda mounts no more; fix: merge "
        "layers, or use an image",
    ),
    (
        {"layers": [LAYER]},
        "KW140 RuntimeFunction 'f' layers[0]: got 'arn:aws:lambda:eu-west-1:111122223333:layer:deps'; allowed "
        "'arn:aws:lambda:<region>:<account>:layer:<name>:<version>'; because Lambda mounts one version of a layer; "
        "fix: pass the ARN of a layer version",
    ),
    (
        {"code_signing_config_arn": "arn:aws:signer:eu-west-1:111122223333:/signing-profiles/p"},
        "KW140 RuntimeFunction 'f' code_signing_config_arn: got "
        "'arn:aws:signer:eu-west-1:111122223333:/signing-profiles/p'; allowed "
        "'arn:aws:lambda:<region>:<account>:code-signing-config:csc-<17 characters>'; because Lambda checks a bundle "
        "against such a configuration; fix: pass the ARN of a code signing configuration",
    ),
    (
        {"image": IMAGE, "code_signing_config_arn": SIGNING},
        "KW102 RuntimeFunction 'f' code_signing_config_arn: got code_signing_config_arn beside image; allowed one of "
        "them; because code_signing_config_arn has no effect there; fix: remove code_signing_config_arn, or use code",
    ),
    (
        {"concurrency_per_environment": 4},
        "KW102 RuntimeFunction 'f' concurrency_per_environment: got concurrency_per_environment beside environments of "
        "one request each; allowed one of them; because concurrency_per_environment has no effect there; fix: remove "
        "concurrency_per_environment, or set capacity_provider_arn",
    ),
    (
        {"unzipped_bytes": 262_144_001},
        "KW145 RuntimeFunction 'f' unzipped_bytes: got 262144001 bytes; allowed up to 262144000 bytes (250 "
        "MB); because "
        "Lambda unzips no more, layers included; fix: move models to the ModelRegistry, or use an image",
    ),
    (
        {"log_retention_days": 31},
        "KW143 RuntimeFunction 'f' log_retention_days: got 31; allowed 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, "
        "400, 545, "
        "731, 1096, 1827, 2192, 2557, 2922, 3288, 3653 days; because CloudWatch offers no other; fix: take the next "
        "longer one",
    ),
    (
        {"subnet_ids": ["subnet-0aaa"], "security_group_ids": ["sg-0aaa"]},
        "KW138 RuntimeFunction 'f' subnet_ids: got 1 subnet; allowed two or more, in two availability zones; because "
        "one zone's outage would stop the function (control Lambda.5); fix: add a subnet of another zone",
    ),
]


@pytest.mark.parametrize(
    ("args", "text"), REFUSED_FUNCTIONS, ids=lambda v: v[:5] if isinstance(v, str) else None
)
def test_given_a_function_lambda_would_refuse_when_declared_then_so_do_we(
    args: dict[str, Any], text: str
) -> None:
    assert refusal(function(**args)) == text


def test_given_neither_code_nor_image_when_declared_then_one_is_asked_for() -> None:
    assert refusal(lambda: kw.RuntimeFunction("f", {})) == (
        "KW102 RuntimeFunction 'f' code/image: got none of them; allowed exactly one of code or image; because they "
        "exclude one another; fix: set one of code or image"
    )


def test_given_too_many_variables_when_declared_then_the_bytes_are_counted_late_too() -> None:
    text = (
        "KW136 RuntimeFunction 'f' environment: got 4175 bytes; allowed up to 4096 bytes; because Lambda takes no "
        "more, names and values together; fix: move settings into an object the function reads"
    )
    assert refusal(function(environment={"BIG": "x y " * 1024 + "1"})) == text
    assert refusal(function(environment={"BIG": pulumi.Output.from_input("x y " * 1024 + "1")})) == text


def test_given_a_secret_that_resolves_late_when_deployed_then_it_is_refused_unseen() -> None:
    text = refusal(function(environment={"X": pulumi.Output.secret("ghp_0123456789abcdefghijABCDEFGHIJ")}))
    assert text.startswith("KW135 RuntimeFunction 'f' environment.X: got 34 characters that are not shown;")
    assert "ghp_" not in text
    marked = refusal(function(environment={"X": pulumi.Output.secret("plain looking")}))
    assert "because it is marked as a secret, and everyone" in marked
    assert "plain looking" not in marked


# --- Alarms of a function

TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"


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


def grants_of(seen: Deployed) -> list[tuple[list[str], list[str]]]:
    document = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "f-policy")["policy"])
    return [(s["Action"], s["Resource"]) for s in document["Statement"]]


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


# --- What a function is attached to


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


VPC = {"subnet_ids": ["subnet-0aaa", "subnet-0bbb"], "security_group_ids": ["sg-0aaa"], "network_path": "nat"}


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


# --- PreprocessingFunction


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


# --- WarmPool


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


# --- Specs


def test_given_a_function_spec_when_planned_then_the_target_has_the_real_numbers() -> None:
    spec = RuntimeFunctionSpec.of("f", {"code": code(), "reserved_concurrency": 5})
    assert spec.planned("f") == {
        "function_name": "f-function-0000000",
        "alias": "live",
        "compatibility_key": spec.compatibility_key(),
        "snap_start": False,
        "weighted": False,
        "reserved_concurrency": 5,
    }
    assert spec.planned_arn("f") == ("arn:aws:lambda:us-east-1:123456789012:function:f-function-0000000:live")


def test_given_one_report_when_parts_are_refused_then_their_lines_come_together() -> None:
    report, where = Report(), Where("stacks/Pulumi.prod.yaml", "keepwarm")
    consumer_args: Any = {"code": code(), "queue": QUEUE, "timeout_s": 61}
    PreprocessingFunctionSpec.of("f", consumer_args, where=where.inside("functions"), report=report)
    WarmPoolSpec.of(
        "w", {"target": TARGET, "environments": 0}, where=where.inside("warm_pool"), report=report
    )
    with pytest.raises(InvalidArgs) as refused:
        report.done()
    assert [line.split(": got")[0] for line in str(refused.value).splitlines()] == [
        "KW115 stacks/Pulumi.prod.yaml keepwarm.functions.timeout_s",
        "KW127 stacks/Pulumi.prod.yaml keepwarm.warm_pool.environments",
    ]


def test_given_a_model_of_unknown_size_when_bound_then_it_is_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warned.append)

    def program() -> None:
        registry = kw.ModelRegistry("models", {})
        later = registry.binding("published-later", channel="live")
        kw.RuntimeFunction("f", {"code": code(), "model": later})

    made = deploy(program).one(FUNCTION, "f-function")
    assert made["environment"]["variables"]["KEEPWARM_MODEL_REF"] == "published-later:live"
    assert "KEEPWARM_MODEL_BYTES" not in made["environment"]["variables"]
    assert warned == [
        "KW106 RuntimeFunction 'f' model.size_mb: got nothing; allowed the size of the model's files; because whether "
        "the model fits ephemeral_mb can't be checked, as for a model published after this deployment; fix: set "
        "size_mb in the binding, or see that ephemeral_mb holds the largest version you publish"
    ]


def test_given_a_part_of_a_binding_that_is_no_text_when_it_resolves_then_it_is_refused() -> None:
    results = {"bucket": "b", "bucket_arn": pulumi.Output.from_input(7)}
    assert refusal(function(results=results)) == (
        "KW101 RuntimeFunction 'f' results.bucket_arn: got 7; allowed text; because no other form of value means "
        "anything here; fix: pass text"
    )
