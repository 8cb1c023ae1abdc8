"""ServerlessRuntime: what a stack is made of, what its parts share, what may come from elsewhere, what it refuses.

Proved on what a fake engine is told. That the whole runs documents is shown by tests/e2e, which deploys the
repository's own program: it is a ServerlessRuntime.
"""

import ast
import inspect
import json
from typing import Any

import pulumi
import pytest

import keepwarm as kw
from tests.support import samples
from tests.support.deployed import DEFAULT_VPC, Deployed, deploy, refusal
from tests.support.samples import IMAGE, QUEUE, code, seed

KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:oncall"
FUNCTION = "aws:lambda/function:Function"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"


def kinds(seen: Deployed) -> set[str]:
    return {r.typ.removeprefix("keepwarm:index:") for r in seen.resources if r.typ.startswith("keepwarm:")}


def only(**more: Any) -> Any:
    return {"functions": {"only": {"code": code()}}, "entry": "only", **more}


def whole(**more: Any) -> Any:
    return {
        "functions": {
            "classify": {"code": code(), "loads_model": "magika"},
            "extract": {"code": code(), "timeout_s": 90},
            "ocr": {"code": code(), "calls_service": True},
            "enrich": {"code": code(), "sources": []},
            "publish": {"code": code(), "guards_effects": True},
        },
        "entry": "classify",
        "models": {"models": [seed(), seed("rapidocr")]},
        "service": {"image": IMAGE, "max_tasks": 2, "loads_model": "rapidocr", "reads_documents": True},
        "network": {},
        "results": {"expire_days": 7, "expire_prefix": "work/"},
        "warm_pool": {"environments": 2, "max_environments": 5},
        "workflow": {"deadline_s": 1800},
        **more,
    }


def deployed(args: Any) -> Deployed:
    return deploy(lambda: kw.ServerlessRuntime("s", args), lookups=DEFAULT_VPC)


def test_given_everything_then_every_part_is_there_and_wired_by_alias() -> None:
    seen = deploy(samples.PROGRAMS["ServerlessRuntime"], lookups=DEFAULT_VPC)

    assert kinds(seen) == {
        "ServerlessRuntime",
        "DataBucket",
        "BurstQueue",
        "ModelRegistry",
        "EffectLedger",
        "GpuService",
        "Admission",
        "RuntimeFunction",
        "PreprocessingFunction",
        "DurableWorkflow",
        "WarmPool",
        "Observability",
    }
    source = seen.one("aws:lambda/eventSourceMapping:EventSourceMapping", "stack-classify-source")
    assert source["functionName"].endswith(":live")
    states = json.loads(
        seen.one("aws:sfn/stateMachine:StateMachine", "stack-workflow-machine")["definition"]
    )["States"]
    called = [s["Resource"] for s in states.values() if ":function:" in s.get("Resource", "")]
    assert len(called) == 4
    assert all(resource.endswith(":live") for resource in called)
    names = {"classify", "extract", "ocr", "enrich", "publish"}
    assert seen.outputs["stack"]["function_names"].keys() == names
    assert "vpcConfig" in seen.one(FUNCTION, "stack-ocr-function"), "tasks are reachable inside the VPC only"


def test_given_one_function_then_only_intake_queue_results_and_dashboard_are_there() -> None:
    seen = deploy(lambda: kw.ServerlessRuntime("s", only()))

    parts = {"ServerlessRuntime", "DataBucket", "BurstQueue", "PreprocessingFunction", "Observability"}
    assert kinds(seen) == parts
    outputs = seen.outputs["s"]
    assert (outputs["models_bucket"], outputs["workflow_arn"]) == ("", "")


def test_given_no_dashboard_and_data_not_kept_then_they_are_gone() -> None:
    seen = deploy(lambda: kw.ServerlessRuntime("s", only(observe=False, keep_data=False)))

    assert "Observability" not in kinds(seen)
    assert not any(told.retained for told in seen.registered.values())


def test_given_the_whole_stack_then_it_takes_fewer_than_twenty_lines() -> None:
    (function,) = ast.parse(inspect.getsource(samples._stack)).body
    statement = function.body[0]  # type: ignore[attr-defined]
    assert statement.end_lineno - statement.lineno + 1 < 20


def test_given_a_stack_then_its_numbers_follow_from_one_another() -> None:
    seen = deployed(whole(service={"image": IMAGE, "max_tasks": 3, "concurrency_per_task": 4}))

    ocr = seen.one(FUNCTION, "s-ocr-function")["environment"]["variables"]
    assert ocr["KEEPWARM_ADMISSION_PERMITS"] == "12"
    machine = json.loads(seen.one("aws:sfn/stateMachine:StateMachine", "s-workflow-machine")["definition"])
    # An attempt may begin with an init phase of ten seconds.
    assert machine["States"]["Extract"]["TimeoutSeconds"] == 100
    jobs = seen.one("aws:sqs/queue:Queue", "s-burst-jobs")
    assert jobs["visibilityTimeoutSeconds"] == 6 * 60


def test_given_a_service_that_reads_documents_then_its_role_may_and_no_more() -> None:
    seen = deployed(whole())

    policy = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "s-service-task-policy")["policy"])
    read = [s["Resource"] for s in policy["Statement"] if "s3:GetObject" in s["Action"]]
    assert ["arn:aws:s3:::s-intake-bucket-1a2b3c4/*"] in read
    assert ["arn:aws:s3:::s-results-bucket-1a2b3c4/work/*"] in read
    assert ["arn:aws:s3:::s-results-bucket-1a2b3c4/*"] not in read


def test_given_one_topic_then_every_alarm_of_every_part_rings_there() -> None:
    seen = deployed(whole(alarm_topic_arns=[TOPIC], budgets_ms={"total": 3000}))

    alarms = {r.name: r.inputs.get("alarmActions") or [] for r in seen.resources if r.typ == ALARM}
    people = {
        name: actions for name, actions in alarms.items() if not any(":autoscaling" in a for a in actions)
    }
    people = {
        name: actions for name, actions in people.items() if not any(":appautoscaling" in a for a in actions)
    }
    assert len(people) > 8
    assert {name: actions for name, actions in people.items() if actions != [TOPIC]} == {}


def test_given_one_key_then_everything_that_stores_uses_it() -> None:
    seen = deployed(whole(kms_key_arn=KEY))

    told = {(r.typ, r.name): json.dumps(r.inputs, default=str) for r in seen.resources if r.custom}
    stores = (
        "aws:sqs/queue:Queue",
        "aws:dynamodb/table:Table",
        "aws:cloudwatch/logGroup:LogGroup",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        FUNCTION,
        "aws:sfn/stateMachine:StateMachine",
    )
    assert [who for who, text in told.items() if who[0] in stores and KEY not in text] == []


def test_given_tags_then_every_part_has_them() -> None:
    seen = deployed(whole(tags={"team": "documents"}))

    taggable = ("aws:s3/bucket:Bucket", "aws:sqs/queue:Queue", "aws:dynamodb/table:Table", FUNCTION)
    untagged = [
        (r.typ, r.name)
        for r in seen.resources
        if r.typ in taggable and r.inputs.get("tags", {}).get("team") != "documents"
    ]
    assert untagged == []


def test_given_a_network_and_access_logs_then_they_go_through_the_whole_stack() -> None:
    network = {
        "subnet_ids": ["subnet-0aaa", "subnet-0bbb"],
        "security_group_ids": ["sg-0aaa"],
        "network_path": kw.NetworkPath.NAT,
    }
    signing = "arn:aws:lambda:eu-west-1:111122223333:code-signing-config:csc-0123456789abcdef0"
    args = whole(functions_network=network, access_log_bucket="logs", code_signing_config_arn=signing)
    seen = deployed(args)

    functions = [r.inputs for r in seen.resources if r.typ == FUNCTION]
    assert len(functions) == 5
    assert all("vpcConfig" in inputs for inputs in functions)
    assert {inputs["codeSigningConfigArn"] for inputs in functions} == {signing}
    logged = {r.name for r in seen.resources if r.typ == "aws:s3/bucketLogging:BucketLogging"}
    buckets = {r.name for r in seen.resources if r.typ == "aws:s3/bucket:Bucket"}
    assert logged == {f"{name}-access-log" for name in buckets}


def test_given_a_parts_own_value_then_it_wins_over_the_shared_one() -> None:
    seen = deployed(whole(log_retention_days=7, workflow={"deadline_s": 1800, "log_retention_days": 90}))

    kept = {
        r.name: r.inputs["retentionInDays"]
        for r in seen.resources
        if r.typ == "aws:cloudwatch/logGroup:LogGroup"
    }
    assert kept.pop("s-workflow-logs") == 90
    assert set(kept.values()) == {7}


def test_given_parts_made_elsewhere_then_the_stack_uses_them() -> None:
    def program() -> None:
        intake = kw.DataBucket("mine", {})
        queue = kw.BurstQueue("my-queue", {})
        ledger = kw.EffectLedger("my-ledger", {})
        step = kw.RuntimeFunction("my-step", {"code": code()})
        kw.ServerlessRuntime(
            "s",
            {
                "functions": {
                    "classify": {"code": code()},
                    "publish": {"code": code(), "guards_effects": True},
                },
                "entry": "classify",
                "workflow": {"template": TEMPLATE},
                "existing": {
                    "intake": intake.binding(),
                    "queue": queue.binding(),
                    "ledger": ledger.binding(),
                    "functions": {"mine": {"arn": step.arn, "function_name": step.function_name}},
                },
            },
        )

    seen = deploy(program)

    made = [r.name for r in seen.resources if r.typ.startswith("keepwarm:")]
    assert not {"s-intake", "s-burst", "s-effects"} & set(made)
    source = seen.one("aws:lambda/eventSourceMapping:EventSourceMapping", "s-classify-source")
    assert source["eventSourceArn"].endswith("my-queue-jobs-1a2b3c4")
    publish = seen.one(FUNCTION, "s-publish-function")["environment"]["variables"]
    assert publish["KEEPWARM_LEDGER_TABLE"] == "my-ledger-records-1a2b3c4"
    definition = seen.one("aws:sfn/stateMachine:StateMachine", "s-workflow-machine")["definition"]
    assert "my-step-function" in definition
    assert seen.outputs["s"]["queue_url"].endswith("my-queue-jobs-1a2b3c4")


TEMPLATE = """{"StartAt": "Mine", "TimeoutSeconds": {{ deadline_s }}, "States": {
 "Mine": {"Type": "Task", "Resource": {{ functions.mine | tojson }}, "TimeoutSeconds": 60, "Next": "Publish"},
 "Publish": {"Type": "Task", "Resource": {{ functions.publish | tojson }}, "TimeoutSeconds": 60, "End": true}}}"""


def test_given_a_stack_then_its_parts_are_attributes() -> None:
    found: dict[str, Any] = {}

    def program() -> None:
        stack = kw.ServerlessRuntime("s", whole())
        parts = (
            "intake results queue models ledger endpoints service admission workflow warm_pool observability"
        )
        found.update({part: getattr(stack, part) for part in parts.split()}, functions=stack.functions)

    deploy(program, lookups=DEFAULT_VPC)

    assert {part: type(made).__name__ for part, made in found.items()} == {
        "intake": "DataBucket",
        "results": "DataBucket",
        "queue": "BurstQueue",
        "models": "ModelRegistry",
        "ledger": "EffectLedger",
        "endpoints": "PrivateEndpoints",
        "service": "GpuService",
        "admission": "Admission",
        "workflow": "DurableWorkflow",
        "warm_pool": "WarmPool",
        "observability": "Observability",
        "functions": "dict",
    }
    assert set(found["functions"]) == {"classify", "extract", "ocr", "enrich", "publish"}


def test_given_faults_in_many_parts_then_all_are_told_together() -> None:
    args = whole(
        queue={"max_concurrency": 1, "batch_size": "ten"},
        workflow={"deadline_s": 0},
        warm_pool={"environments": 0},
        ledger={"retention_days": 0},
    )
    args["functions"]["extract"] |= {"memory_mb": 64, "memori_mb": 1}
    args["service"] |= {"port": 80}

    text = refusal(lambda: kw.ServerlessRuntime("s", args), lookups=DEFAULT_VPC)

    keys = {line.split(": got ")[0].split(" ServerlessRuntime 's' ")[1] for line in text.splitlines()}
    assert keys == {
        "queue.max_concurrency",
        "queue.batch_size",
        "workflow.deadline_s",
        "warm_pool.environments",
        "ledger.retention_days",
        "functions.extract.memory_mb",
        "functions.extract.memori_mb",
        "service.port",
    }


def test_given_a_service_that_sleeps_then_the_deadline_must_outlast_its_wake() -> None:
    text = refusal(
        lambda: kw.ServerlessRuntime("s", whole(workflow={"deadline_s": 600})), lookups=DEFAULT_VPC
    )

    assert text.startswith("KW156 ServerlessRuntime 's' workflow.deadline_s: got 600 s; allowed more than ")


def test_given_a_refused_stack_then_nothing_was_registered() -> None:
    seen: list[str] = []

    def note(args: pulumi.ResourceTransformationArgs) -> None:
        seen.append(args.type_)

    opts = pulumi.ResourceOptions(transformations=[note])
    refusal(
        lambda: kw.ServerlessRuntime("s", whole(warm_pool={"environments": 0}), opts), lookups=DEFAULT_VPC
    )

    assert seen == []


def test_given_a_shared_input_then_its_refusal_names_where_it_was_written() -> None:
    text = refusal(lambda: kw.ServerlessRuntime("s", only(log_retention_days=2)))

    assert {line.split(": got ")[0] for line in text.splitlines()} == {
        "KW143 ServerlessRuntime 's' log_retention_days"
    }


REFUSED = [
    (
        {"entry": "onyl"},
        "KW102 ServerlessRuntime 's' entry: got 'onyl'; allowed one of only; because the queue needs a function that "
        "reads it; fix: name an existing function",
    ),
    (
        {"functions": {"only": {"code": code(), "calls_service": True}}},
        "KW102 ServerlessRuntime 's' functions.only.calls_service: got true without a service; allowed a service; "
        "because there is nothing to call; fix: add service, or set calls_service to false",
    ),
    (
        {"functions": {"only": {"code": code(), "loads_model": "magika"}}},
        "KW102 ServerlessRuntime 's' functions.only.loads_model: got 'magika'; allowed a model of the registry; "
        "because the stack has no registry; fix: add models, or bind a registry of yours with model",
    ),
    (
        {"functions": {"only": {"code": code(), "guards_effects": "yes"}}},
        "KW101 ServerlessRuntime 's' functions.only.guards_effects: got 'yes'; allowed true or false; because it "
        "decides what is created and must be known before the deployment; fix: pass a plain value",
    ),
    (
        {"queue": {}, "existing": {"queue": QUEUE}},
        "KW102 ServerlessRuntime 's' queue: got inputs and existing.queue; allowed one of them; because a part is made "
        "here or elsewhere; fix: remove queue or existing.queue",
    ),
    (
        {"workflow": {}},
        "KW102 ServerlessRuntime 's' workflow: got a workflow beside one function; allowed no workflow; because it "
        "would have no step; fix: add functions, or remove workflow",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("args", "text"), REFUSED, ids=lambda v: v[:5] if isinstance(v, str) else None)
def test_given_a_stack_that_contradicts_itself_then_it_is_refused(args: dict[str, Any], text: str) -> None:
    assert refusal(lambda: kw.ServerlessRuntime("s", only(**args))) == text
