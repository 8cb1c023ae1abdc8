"""RuntimeFunction: alias everywhere, least privilege, what Lambda would refuse; specs of functions.

Not proved: that AWS takes what was declared; test_components_on_cloud deploys it on the embedded cloud.
"""

import json
from typing import Any

import pulumi
import pytest

import keepwarm as kw
from keepwarm.checks.problems import Report, Where
from keepwarm.errors import InvalidArgs
from keepwarm.preprocessing_function import PreprocessingFunctionSpec
from keepwarm.runtime_function import RuntimeFunctionSpec
from keepwarm.warm_pool import WarmPoolSpec
from tests.support.deployed import deploy, refusal
from tests.support.functions import (
    ALARM,
    ALIAS,
    ALIAS_ARN,
    FUNCTION,
    function,
)
from tests.support.samples import IMAGE, MODEL, QUEUE, TARGET, code


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
    number = refusal(function(environment={"X": pulumi.Output.secret(987_654)}))
    assert number.startswith(
        "KW101 RuntimeFunction 'f' environment.X: got a value of type int; allowed text;"
    )
    assert "987" not in number
    marked = refusal(function(environment={"X": pulumi.Output.secret("plain looking")}))
    assert "because it is marked as a secret, and everyone" in marked
    assert "plain looking" not in marked


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
        "KW101 RuntimeFunction 'f' results.bucket_arn: got a value of type int; allowed text; because no other form of "
        "value means anything here; fix: pass text"
    )
