"""DurableWorkflow: the template that ships, the checks before anything exists, the role derived from the definition.

The failure branch of the shipped template is executed by moto's interpreter. Not proved here: whole executions with
functions and queues; tests/localcloud and the end-to-end run have those.
"""

import json
from typing import Any

import boto3
import pulumi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

import keepwarm as kw
from keepwarm.checks import asl
from keepwarm.durable_workflow import DOCUMENT_WORKFLOW, function_arns, render
from keepwarm_runtime import errors as runtime_errors
from tests.support.deployed import deploy, refusal
from tests.support.patience import until
from tests.support.samples import QUEUE, alias, steps

MACHINE = "aws:sfn/stateMachine:StateMachine"
POLICY = "aws:iam/rolePolicy:RolePolicy"


def workflow(**args: Any) -> Any:
    given: dict[str, Any] = {"functions": steps(), "dead_letters": QUEUE, **args}
    inputs: Any = {k: v for k, v in given.items() if v is not None}
    return lambda: kw.DurableWorkflow("d", inputs)


def definition(**args: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(deploy(workflow(**args)).one(MACHINE, "d-machine")["definition"])
    return parsed


def task(**more: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": alias("f"), "TimeoutSeconds": 60, "End": True, **more}


def machine(states: dict[str, Any], start: str = "A", **more: Any) -> dict[str, Any]:
    return {"StartAt": start, "TimeoutSeconds": 300, "States": states, **more}


def findings(found: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    return [(f.code, f.where) for f in asl.check(found, **options)]


# --- the component


def test_given_steps_when_deployed_then_machine_role_and_log_group_are_made() -> None:
    seen = deploy(workflow())
    assert seen.names() == [
        ("aws:cloudwatch/logGroup:LogGroup", "d-logs"),
        ("aws:iam/role:Role", "d-role"),
        (POLICY, "d-policy"),
        (MACHINE, "d-machine"),
    ]
    made = seen.one(MACHINE, "d-machine")
    assert made["type"] == "STANDARD"
    assert made["tracingConfiguration"] == {"enabled": True}
    assert made["loggingConfiguration"]["includeExecutionData"] is False
    assert made["loggingConfiguration"]["level"] == "ALL"
    assert seen.one("aws:cloudwatch/logGroup:LogGroup", "d-logs")["namePrefix"] == "/aws/vendedlogs/states/d-"
    assert "d-policy" in seen.told(MACHINE, "d-machine").dependencies
    assert "name" not in made


def test_given_the_definition_when_the_role_is_derived_then_it_invokes_these_aliases_and_parks_there() -> (
    None
):
    seen = deploy(workflow())
    document = json.loads(seen.one(POLICY, "d-policy")["policy"])
    invoke = next(s for s in document["Statement"] if s["Action"] == ["lambda:InvokeFunction"])
    assert invoke["Resource"] == sorted(steps().values())
    send = next(s for s in document["Statement"] if s["Action"] == ["sqs:SendMessage"])
    assert send["Resource"] == [QUEUE["parked_arn"]]


def test_given_late_arns_when_deployed_then_the_definition_has_them_and_preview_does_not_wait() -> None:
    late = {step: pulumi.Output.from_input(arn) for step, arn in steps().items()}
    assert function_arns(json.dumps(definition(functions=late))) == sorted(steps().values())
    deploy(workflow(functions=late), preview=True)


def test_given_no_reader_when_deployed_then_images_are_parked_as_unsupported() -> None:
    states = definition(functions={s: a for s, a in steps().items() if s != "ocr"})["States"]
    assert "Ocr" not in states
    assert states["NeedsOcr"]["Choices"][0]["Next"] == "NoReader"
    assert states["NoReader"]["Result"]["Error"] == "UnsupportedDocument"


def test_given_no_dead_letters_when_deployed_then_failures_just_fail() -> None:
    states = definition(dead_letters=None)["States"]
    assert "Park" not in states
    assert states["TakeCode"]["Next"] == "Failed"


def test_given_every_retryable_error_of_the_runtime_when_thrown_then_each_step_retries_it() -> None:
    classes = [c for c in vars(runtime_errors).values() if isinstance(c, type) and getattr(c, "retry", False)]
    names = {c.__name__ for c in classes}
    assert len(names) >= 5
    for name, state in definition()["States"].items():
        if state["Type"] == "Task" and name != "Park":
            retried = {error for retry in state["Retry"] for error in retry["ErrorEquals"]}
            assert names <= retried, f"{name} lacks {sorted(names - retried)}"
            assert all(retry["JitterStrategy"] == "FULL" for retry in state["Retry"])


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (
            {
                "Error": "EncryptedDocument",
                "Cause": json.dumps(
                    {"errorMessage": "KW311 extract: the document is encrypted", "errorType": "E"}
                ),
            },
            "KW311",
            "KW311 extract: the document is encrypted",
        ),
        (
            {"Error": "ValueError", "Cause": json.dumps({"errorMessage": "", "errorType": "ValueError"})},
            "ValueError",
            "ValueError: ",
        ),
        (
            {"Error": "Lambda.Unknown", "Cause": "the sandbox died"},
            "Lambda.Unknown",
            "Lambda.Unknown: the sandbox died",
        ),
        ({"Error": "States.Timeout"}, "States.Timeout", "States.Timeout: it gave no cause"),
    ],
)
def test_given_a_failure_when_it_is_parked_then_code_and_reason_are_plain_words(
    error: dict[str, str], code: str, reason: str
) -> None:
    found = definition()
    branch = {
        name: found["States"][name]
        for name in (
            "HasSentence",
            "ReadSentence",
            "TakeCause",
            "TakeName",
            "HasCode",
            "TakeCode",
            "TakeNameAsCode",
        )
    }
    assert found["States"]["Park"]["Parameters"]["MessageAttributes"] == {
        "code": {"DataType": "String", "StringValue.$": "$.error.code"},
        "reason": {"DataType": "String", "StringValue.$": "$.error.reason"},
    }
    output = interpret(
        {"StartAt": "HasSentence", "States": {**branch, "Park": {"Type": "Succeed"}}}, {"error": error}
    )
    assert (output["error"]["code"], output["error"]["reason"]) == (code, reason)


def interpret(found: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What an execution of a machine without tasks ends with, in moto's interpreter."""
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        client = boto3.client("stepfunctions", region_name="eu-west-1")
        arn = client.create_state_machine(
            name="branch", definition=json.dumps(found), roleArn="arn:aws:iam::123456789012:role/r"
        )["stateMachineArn"]
        execution = client.start_execution(stateMachineArn=arn, input=json.dumps(given))["executionArn"]

        def ended() -> dict[str, Any] | None:
            told = client.describe_execution(executionArn=execution)
            return None if told["status"] == "RUNNING" else dict(told)

        told = until(ended, "the execution did not end")
    assert told is not None
    assert told["status"] == "SUCCEEDED", told
    output: dict[str, Any] = json.loads(told["output"])
    return output


REFUSED = [
    (
        {"functions": {"extract": "arn:aws:lambda:eu-west-1:111122223333:function:extract"}},
        "KW140 DurableWorkflow 'd' functions.extract: got "
        "'arn:aws:lambda:eu-west-1:111122223333:function:extract'; allowed the ARN of a Lambda alias or "
        "version; because "
        "an unqualified ARN runs unpublished code and misses the warm pool; fix: pass the arn output of a "
        "RuntimeFunction",
    ),
    (
        {"template": "{{ nothing }}"},
        "KW153 DurableWorkflow 'd' template: got \"'nothing' is undefined\"; allowed values busy_wait_s, "
        "dead_letter_url, deadline_s, execution_s, functions, parameters, partition, retry_attempts, retry_interval_s, "
        "retry_max_delay_s, step_timeouts_s; because the definition is made from it; fix: correct the "
        "template or pass the value",
    ),
    (
        {"template": '{"a": 1, "a": 2}'},
        "KW130 DurableWorkflow 'd' definition: got the key 'a' twice; allowed a JSON object with StartAt and States; "
        "because one of the two would be lost; fix: rename one of the states",
    ),
    (
        {"step_timeouts_s": {"extrat": 3}},
        "KW100 DurableWorkflow 'd' step_timeouts_s.extrat: got an unknown step; allowed one of enrich, extract, ocr, "
        "publish; because a timeout belongs to a step; fix: remove it, or name the step in functions",
    ),
    (
        {"deadline_s": 60, "retry_attempts": 12},
        "\n".join(
            f"KW123 DurableWorkflow 'd' {state}.Retry: got 2 + 4 + 8 + 16 + 30 + 30 + 30 + 30 + 30 + 30 + 30 + 30 = "
            "270 s; allowed up to the machine's TimeoutSeconds, 240 s; because the execution ends before the last "
            "attempt; fix: lower MaxAttempts or MaxDelaySeconds"
            for state in ("Extract", "Ocr", "Enrich", "Publish")
        ),
    ),
    (
        {"deadline_s": 900, "service": {"namespace": "n", "name": "reader", "wake_s": 750.0}},
        "KW156 DurableWorkflow 'd' deadline_s: got 900 s; allowed more than 1230 s; because the service sleeps and "
        "takes up to 750 s to wake, and the steps take up to 480 s: the document that wakes it would be parked; fix: "
        "raise deadline_s to 1231, keep one task running (min_tasks 1) or instances warm (warm_instances), or lower "
        "step_timeouts_s",
    ),
    (
        {"service": {"name": "reader", "wake": 3}},
        "KW100 DurableWorkflow 'd' service.wake: got an unknown input; allowed one of name, namespace, wake_s; because "
        "a misspelled input would be ignored in silence; fix: did you mean 'wake_s'?\n"
        "KW102 DurableWorkflow 'd' service.namespace: got nothing; allowed a value; because there is no default for "
        "it; fix: set service.namespace",
    ),
]


@pytest.mark.parametrize(("args", "text"), REFUSED, ids=lambda v: v[:5] if isinstance(v, str) else None)
def test_given_a_bad_workflow_when_declared_then_it_is_refused_before_anything_exists(
    args: dict[str, Any], text: str
) -> None:
    assert refusal(workflow(**args)) == text


@pytest.mark.parametrize("wake_s", [0, 419.0])
def test_given_a_deadline_that_outlasts_the_wake_when_declared_then_taken(wake_s: float) -> None:
    reader = {"namespace": "n", "name": "reader", "wake_s": wake_s}
    assert definition(deadline_s=900, service=reader)["TimeoutSeconds"] == 900 + 120 + 60


def test_given_a_wake_known_late_when_resolved_then_refused_in_the_same_words() -> None:
    late = {"namespace": "n", "name": "reader", "wake_s": pulumi.Output.from_input(421.0)}
    assert "KW156 DurableWorkflow 'd' deadline_s: got 900 s; allowed more than 901 s" in refusal(
        workflow(deadline_s=900, service=late)
    )


def test_given_an_express_workflow_when_declared_then_everything_ends_after_five_minutes() -> None:
    assert definition(kind="express")["TimeoutSeconds"] == 300


@pytest.mark.parametrize(
    ("deadline_s", "attempts", "pause_s"), [(900, 6, 30), (86_400, 6, 117), (86_400, 0, 39)]
)
def test_given_a_long_deadline_when_nobody_takes_a_step_then_the_history_lasts(
    deadline_s: int, attempts: int, pause_s: int
) -> None:
    states = definition(deadline_s=deadline_s, retry_attempts=attempts)["States"]
    assert states["PublishPause"] == {"Type": "Wait", "Seconds": pause_s, "Next": "Publish"}
    rounds = deadline_s / pause_s
    assert rounds * (3 * (attempts + 1) + 6) <= 20_000


def test_given_a_step_the_template_lacks_when_declared_then_the_template_names_it() -> None:
    assert "KW153" in refusal(workflow(functions={"extract": alias("extract")}))


# --- the checks of definitions


def test_given_a_sound_machine_when_checked_then_nothing_is_found() -> None:
    assert findings(machine({"A": task()})) == []


BROKEN: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("no states", {"StartAt": "A", "TimeoutSeconds": 1}, [("KW130", "States")]),
    ("unknown start", machine({"A": task()}, "B"), [("KW130", "StartAt"), ("KW130", "A")]),
    ("unknown next", machine({"A": task(End=False, Next="B")}), [("KW130", "A.Next"), ("KW130", "States")]),
    ("next and end", machine({"A": task(Next="A")}), [("KW130", "A")]),
    ("neither", machine({"A": task(End=False)}), [("KW130", "A"), ("KW130", "States")]),
    ("unreachable", machine({"A": task(), "B": task()}), [("KW130", "B")]),
    ("endless", machine({"A": {"Type": "Pass", "Next": "A"}}), [("KW130", "States")]),
    ("unknown type", machine({"A": {"Type": "Loop", "End": True}}), [("KW130", "A.Type")]),
    (
        "no timeout",
        machine({"A": {k: v for k, v in task().items() if k != "TimeoutSeconds"}}),
        [("KW130", "A.TimeoutSeconds")],
    ),
    ("bad path", machine({"A": task(ResultPath="extract")}), [("KW130", "A.ResultPath")]),
    ("bad parameter", machine({"A": task(Parameters={"x.$": "y"})}), [("KW130", "A.Parameters.x.$")]),
    ("no resource", machine({"A": task(Resource="extract")}), [("KW130", "A.Resource")]),
    (
        "callback without heartbeat",
        machine({"A": task(Resource="arn:aws:states:::sqs:sendMessage.waitForTaskToken")}),
        [("KW128", "A.HeartbeatSeconds")],
    ),
    ("late heartbeat", machine({"A": task(HeartbeatSeconds=60)}), [("KW128", "A.HeartbeatSeconds")]),
    (
        "choice without default",
        machine(
            {
                "A": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsPresent": True, "Next": "B"}]},
                "B": {"Type": "Succeed"},
            }
        ),
        [("KW130", "A.Default")],
    ),
    (
        "catch all first",
        machine(
            {
                "A": task(
                    Catch=[
                        {"ErrorEquals": ["States.ALL"], "Next": "B"},
                        {"ErrorEquals": ["Timeout"], "Next": "B"},
                    ]
                ),
                "B": {"Type": "Fail"},
            }
        ),
        [("KW130", "A.Catch[0].ErrorEquals")],
    ),
    (
        "retry on a pass",
        machine({"A": {"Type": "Pass", "End": True, "Retry": [{"ErrorEquals": ["X"]}]}}),
        [("KW130", "A.Retry")],
    ),
    (
        "inside a map",
        machine(
            {"A": {"Type": "Map", "End": True, "ItemProcessor": {"StartAt": "X", "States": {"B": task()}}}}
        ),
        [("KW130", "A.StartAt"), ("KW130", "A.B")],
    ),
    ("no deadline", {"StartAt": "A", "States": {"A": task()}}, [("KW130", "TimeoutSeconds")]),
    (
        "impatient machine",
        machine({"A": task(Retry=[{"ErrorEquals": ["X"], "IntervalSeconds": 200, "MaxAttempts": 2}])}),
        [("KW123", "A.Retry")],
    ),
    ("long name", machine({"A" * 81: task()}, "A" * 81), [("KW139", "A" * 81)]),
]


@pytest.mark.parametrize(("found", "expected"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_given_a_broken_machine_when_checked_then_the_place_is_found(
    found: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert findings(found) == expected


def test_given_an_express_machine_when_it_waits_then_it_is_refused() -> None:
    waiting = machine({"A": task(Resource="arn:aws:states:::ecs:runTask.sync")}, TimeoutSeconds=400)
    assert findings(waiting, express=True) == [("KW129", "A.Resource"), ("KW129", "TimeoutSeconds")]


def test_given_a_definition_when_invoked_functions_are_listed_then_both_ways_of_calling_count() -> None:
    found = machine(
        {
            "A": task(End=False, Next="B"),
            "B": task(Resource="arn:aws:states:::lambda:invoke", Parameters={"FunctionName": alias("g")}),
        }
    )
    assert function_arns(json.dumps(found)) == [alias("f"), alias("g")]


KEYS = [
    "StartAt",
    "States",
    "A",
    "B",
    "Type",
    "Next",
    "End",
    "Choices",
    "Catch",
    "Retry",
    "ErrorEquals",
    "Resource",
    "Branches",
    "ItemProcessor",
    "Parameters",
    "TimeoutSeconds",
    "HeartbeatSeconds",
    "Default",
    "MaxAttempts",
    "IntervalSeconds",
    "BackoffRate",
    "QueryLanguage",
    "JitterStrategy",
]
WORDS = [
    "A",
    "B",
    "Task",
    "Choice",
    "Map",
    "Parallel",
    "Pass",
    "arn:aws:x.waitForTaskToken",
    "$.a",
    "JSONata",
    "FULL",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
MACHINE_LIKE = JSON | st.fixed_dictionaries(
    {
        "StartAt": JSON,
        "States": st.dictionaries(
            st.sampled_from(["A", "B"]),
            st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6)
            | st.fixed_dictionaries(
                {"Type": st.sampled_from(WORDS[2:7]), "Retry": JSON, "Catch": JSON, "Next": JSON}
            ),
            max_size=2,
        ),
        "TimeoutSeconds": JSON,
    }
)


@settings(max_examples=300)
@given(MACHINE_LIKE)
def test_given_any_json_when_checked_then_it_answers_with_findings_or_none_at_all(found: Any) -> None:
    parsed, problems = asl.parse(json.dumps(found))
    assert (parsed is None) == bool(problems)
    if parsed is not None:
        assert isinstance(asl.check(parsed), list)


@given(
    interval=st.integers(1, 100),
    rate=st.floats(1, 4),
    attempts=st.integers(0, 20),
    longest=st.integers(1, 500),
)
def test_given_any_retrier_when_scheduled_then_waits_grow_up_to_the_longest(
    interval: int, rate: float, attempts: int, longest: int
) -> None:
    waits = asl.retry_schedule_s(
        {
            "IntervalSeconds": interval,
            "BackoffRate": rate,
            "MaxAttempts": attempts,
            "MaxDelaySeconds": longest,
        }
    )
    assert len(waits) == attempts
    assert waits == sorted(waits)
    assert all(wait <= longest for wait in waits)


def test_given_the_shipped_template_when_rendered_then_it_is_json_with_every_step() -> None:
    text = render(
        "test",
        DOCUMENT_WORKFLOW.read_text(),
        {
            "functions": steps(),
            "step_timeouts_s": dict.fromkeys(steps(), 60),
            "deadline_s": 900,
            "execution_s": 1020,
            "busy_wait_s": 30,
            "retry_attempts": 3,
            "retry_interval_s": 1,
            "retry_max_delay_s": 10,
            "dead_letter_url": "https://q",
            "partition": "aws-cn",
        },
        express=False,
    )
    states = json.loads(text)["States"]
    assert {"Extract", "NeedsOcr", "Ocr", "Enrich", "Publish", "Park", "Failed"} <= set(states)
    assert states["Park"]["Resource"] == "arn:aws-cn:states:::sqs:sendMessage"
