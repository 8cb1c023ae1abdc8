"""What Step Functions of the embedded cloud does with definitions and executions, over boto3.

Proves data flow, errors, retries on the cloud's clock, callbacks, names and history as AWS documents them.
Does not prove the integrations with functions and tasks (test_stepfunctions_integrations.py).
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from keepwarm_localcloud.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.stepfunctions import StepFunctionsService

ROLE = "arn:aws:iam::123456789021:role/flow"


class Flow:
    """A cloud with Step Functions only and shortcuts for tests."""

    def __init__(self, cloud: Cloud, service: StepFunctionsService, clock: ManualClock) -> None:
        self.cloud, self.service, self.clock = cloud, service, clock
        self.api = boto3.client(
            "stepfunctions",
            endpoint_url=cloud.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, inject_host_prefix=False),
        )
        self.count = 0
        trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}}]}
        for name, document in (("flow", json.dumps(trust)), ("stranger", "{}")):
            cloud.boto("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)

    def create(self, definition: dict[str, Any], **options: Any) -> str:
        self.count += 1
        options = {"name": f"m{self.count}", "roleArn": ROLE, **options}
        return str(
            self.api.create_state_machine(definition=json.dumps(definition), **options)["stateMachineArn"]
        )

    def states(self, start: str, **states: Any) -> str:
        return self.create({"StartAt": start, "States": states})

    def start(self, machine: str, value: Any = None, **options: Any) -> str:
        text = json.dumps({} if value is None else value)
        return str(self.api.start_execution(stateMachineArn=machine, input=text, **options)["executionArn"])

    def run(self, machine: str, value: Any = None) -> dict[str, Any]:
        return self.closed(self.start(machine, value))

    def closed(self, arn: str) -> dict[str, Any]:
        assert self.service.wait_closed(arn, 10).status != "RUNNING"
        answer: dict[str, Any] = self.api.describe_execution(executionArn=arn)
        return answer

    def output(self, machine: str, value: Any = None) -> Any:
        answer = self.run(machine, value)
        assert answer["status"] == "SUCCEEDED", answer
        return json.loads(answer["output"])

    def until(self, arn: str, kind: str, count: int = 1) -> None:
        """Wait until the history holds `count` events of a kind."""
        execution = self.service.executions[arn]
        deadline_s = time.monotonic() + 10
        while sum(e["type"] == kind for e in list(execution.events)) < count:
            assert time.monotonic() < deadline_s, [e["type"] for e in execution.events]
            time.sleep(0.002)

    def events(self, arn: str) -> list[str]:
        return [e["type"] for e in self.api.get_execution_history(executionArn=arn)["events"]]


@pytest.fixture(scope="module")
def flow() -> Iterator[Flow]:
    clock, service = ManualClock(), StepFunctionsService()
    with Cloud(CloudSettings(clock=clock, account_id="123456789021"), [service]) as cloud:
        yield Flow(cloud, service, clock)


END = {"Type": "Pass", "End": True}


@pytest.mark.parametrize(
    ("state", "value", "expected"),
    [
        ({"Result": {"a": 1}}, {"x": 2}, {"a": 1}),
        ({"Result": 5, "ResultPath": "$.r"}, {"x": 2}, {"x": 2, "r": 5}),
        ({"Result": 5, "ResultPath": "$.r.s"}, {"x": 2}, {"x": 2, "r": {"s": 5}}),
        ({"ResultPath": None, "Result": 1}, {"x": 2}, {"x": 2}),
        ({"InputPath": "$.x"}, {"x": {"y": 1}}, {"y": 1}),
        ({"OutputPath": "$.x"}, {"x": [1]}, [1]),
        ({"Parameters": {"a.$": "$.x", "b": [{"c.$": "$.y"}]}}, {"x": 1, "y": 2}, {"a": 1, "b": [{"c": 2}]}),
        ({"Parameters": {"n.$": "$$.Execution.Input.x"}}, {"x": 7}, {"n": 7}),
        ({"Parameters": {"all.$": "$.l[*].v"}}, {"l": [{"v": 1}, {"v": 2}]}, {"all": [1, 2]}),
        ({"Parameters": {"v.$": "$..v"}}, {"a": {"v": 1}, "b": [{"v": 2}]}, {"v": [1, 2]}),
        ({"Parameters": {"v.$": "$.l[?(@.k=='a')].v"}}, {"l": [{"k": "a", "v": 1}, {"k": "b", "v": 2}]}, {"v": [1]}),
        ({"Parameters": {"v.$": "$['a b'][1:]"}}, {"a b": [1, 2, 3]}, {"v": [2, 3]}),
        ({"Parameters": {"t.$": "States.Format('{}-{}', $.x, States.ArrayLength($.l))"}},
         {"x": "k", "l": [1]}, {"t": "k-1"}),
        ({"Parameters": {"t.$": "States.ArrayPartition($.l, 2)"}}, {"l": [1, 2, 3]}, {"t": [[1, 2], [3]]}),
        ({"Parameters": {"t.$": "States.StringToJson($.s)"}}, {"s": '{"a":1}'}, {"t": {"a": 1}}),
        ({"Parameters": {"t.$": "States.JsonMerge($.a, $.b, false)"}}, {"a": {"x": 1}, "b": {"x": 2}}, {"t": {"x": 2}}),
        ({"Parameters": {"t.$": "States.MathAdd($.n, -1)"}}, {"n": 3}, {"t": 2}),
        ({"Parameters": {"t.$": "States.ArrayRange(1, 9, 4)"}}, {}, {"t": [1, 5, 9]}),
        ({"Parameters": {"t.$": "States.Hash('a', 'SHA-256')"}}, {},
         {"t": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}),
        ({"Parameters": {"t.$": "States.Format('it\\'s \\{\\} {}', 1)"}}, {}, {"t": "it's {} 1"}),
    ],
)  # fmt: skip
def test_given_a_pass_state_when_run_then_data_flows_as_documented(
    flow: Flow, state: dict[str, Any], value: Any, expected: Any
) -> None:
    assert flow.output(flow.states("A", A={**END, **state}), value) == expected


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ({"Variable": "$.a", "StringEquals": "x"}, {"a": "x"}, True),
        ({"Variable": "$.a", "StringEquals": "1"}, {"a": 1}, False),
        ({"Variable": "$.a", "NumericGreaterThan": 1}, {"a": 2}, True),
        ({"Variable": "$.a", "NumericLessThanEqualsPath": "$.b"}, {"a": 2, "b": 2}, True),
        ({"Variable": "$.a", "BooleanEquals": True}, {"a": True}, True),
        ({"Variable": "$.a", "BooleanEquals": True}, {"a": 1}, False),
        ({"Variable": "$.a", "IsPresent": True}, {"b": 1}, False),
        ({"Variable": "$.a", "IsNull": True}, {"a": None}, True),
        ({"Variable": "$.a", "StringMatches": "log-*.txt"}, {"a": "log-1.txt"}, True),
        ({"Variable": "$.a", "StringMatches": "a\\*"}, {"a": "ab"}, False),
        ({"Variable": "$.a", "TimestampLessThan": "2030-01-01T00:00:00Z"}, {"a": "2029-01-01T00:00:00Z"}, True),
        ({"Not": {"Variable": "$.a", "IsString": True}}, {"a": 1}, True),
        ({"And": [{"Variable": "$.a", "IsPresent": True}, {"Variable": "$.a", "NumericEquals": 1}]}, {}, False),
        ({"Or": [{"Variable": "$.a", "NumericEquals": 0}, {"Variable": "$.a", "NumericEquals": 1}]}, {"a": 1}, True),
    ],
)  # fmt: skip
def test_given_a_choice_rule_when_compared_then_it_holds_as_documented(
    flow: Flow, rule: dict[str, Any], value: Any, holds: bool
) -> None:
    machine = flow.states(
        "C",
        C={"Type": "Choice", "Choices": [{**rule, "Next": "Yes"}], "Default": "No"},
        Yes={**END, "Result": True},
        No={**END, "Result": False},
    )
    assert flow.output(machine, value) is holds


def test_given_no_choice_matches_when_there_is_no_default_then_states_no_choice_matched(flow: Flow) -> None:
    rule = {"Variable": "$.a", "NumericEquals": 1, "Next": "E"}
    answer = flow.run(flow.states("C", C={"Type": "Choice", "Choices": [rule]}, E=END), {"a": 2})
    assert (answer["status"], answer["error"]) == ("FAILED", "States.NoChoiceMatched")


def test_given_a_wait_of_an_hour_when_the_clock_moves_then_it_continues_only_then(flow: Flow) -> None:
    arn = flow.start(flow.states("W", W={"Type": "Wait", "Seconds": 3600, "End": True}))
    flow.until(arn, "WaitStateEntered")
    flow.clock.advance(3599)
    assert flow.api.describe_execution(executionArn=arn)["status"] == "RUNNING"
    flow.clock.advance(1)
    assert flow.closed(arn)["status"] == "SUCCEEDED"


def test_given_parallel_branches_when_they_wait_then_they_wait_together(flow: Flow) -> None:
    branch = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}}
    other = json.loads(json.dumps(branch).replace('"W"', '"V"'))
    arn = flow.start(
        flow.states("P", P={"Type": "Parallel", "Branches": [branch, other], "End": True}), {"a": 1}
    )
    flow.until(arn, "WaitStateEntered", 2)
    flow.clock.advance(60)
    assert json.loads(flow.closed(arn)["output"]) == [{"a": 1}, {"a": 1}]


def test_given_a_failing_branch_when_caught_then_the_error_is_in_the_state(flow: Flow) -> None:
    branch = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Bad", "Cause": "why"}}}
    slow = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 10_000, "End": True}}}
    machine = flow.states(
        "P",
        P={
            "Type": "Parallel",
            "Branches": [branch, slow],
            "Catch": [{"ErrorEquals": ["Bad"], "ResultPath": "$.error", "Next": "E"}],
            "End": True,
        },
        E=END,
    )
    assert flow.output(machine, {"a": 1}) == {"a": 1, "error": {"Error": "Bad", "Cause": "why"}}


def test_given_a_map_when_run_then_items_are_selected_and_results_keep_their_order(flow: Flow) -> None:
    machine = flow.states(
        "M",
        M={
            "Type": "Map",
            "ItemsPath": "$.items",
            "MaxConcurrency": 2,
            "ItemSelector": {"i.$": "$$.Map.Item.Index", "v.$": "$$.Map.Item.Value", "k.$": "$.k"},
            "ItemProcessor": {"StartAt": "A", "States": {"A": END}},
            "End": True,
        },
    )
    expected = [{"i": i, "v": v, "k": 9} for i, v in enumerate("abc")]
    assert flow.output(machine, {"items": ["a", "b", "c"], "k": 9}) == expected


def test_given_tolerated_failures_when_items_fail_then_the_map_succeeds_without_them(flow: Flow) -> None:
    states = {
        "C": {
            "Type": "Choice",
            "Choices": [{"Variable": "$", "NumericEquals": 2, "Next": "F"}],
            "Default": "A",
        },
        "F": {"Type": "Fail", "Error": "Bad"},
        "A": END,
    }
    spec = {"Type": "Map", "ItemProcessor": {"StartAt": "C", "States": states}, "End": True}
    assert flow.output(flow.states("M", M={**spec, "ToleratedFailureCount": 1}), [1, 2, 3]) == [1, 3]
    assert flow.run(flow.states("M", M=spec), [1, 2, 3])["error"] == "Bad"


def _failing(retry: dict[str, Any]) -> dict[str, Any]:
    inner = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Flaky", "Cause": "c"}}}
    return {
        "Type": "Parallel",
        "Branches": [inner],
        "Retry": [{"ErrorEquals": ["Flaky"], **retry}],
        "End": True,
    }


def test_given_a_retrier_when_a_state_fails_then_it_backs_off_up_to_max_delay_on_the_clock(
    flow: Flow,
) -> None:
    retry = {"IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 3, "MaxDelaySeconds": 5}
    arn = flow.start(flow.states("P", P=_failing(retry)))
    for attempt, pause_s in enumerate((2, 5, 5), start=1):
        flow.until(arn, "ParallelStateFailed", attempt)
        flow.clock.advance(pause_s - 0.01)
        assert flow.events(arn).count("ParallelStateStarted") == attempt
        flow.clock.advance(0.02)
        flow.until(arn, "ParallelStateStarted", attempt + 1)
    answer = flow.closed(arn)
    assert (answer["status"], answer["error"], answer["cause"]) == ("FAILED", "Flaky", "c")


def test_given_full_jitter_when_retried_then_the_pause_is_drawn_from_zero_to_the_interval(flow: Flow) -> None:
    flow.service.random.seed(7)
    expected = __import__("random").Random(7).uniform(0, 100)
    arn = flow.start(
        flow.states("P", P=_failing({"IntervalSeconds": 100, "MaxAttempts": 1, "JitterStrategy": "FULL"}))
    )
    flow.until(arn, "ParallelStateFailed")
    flow.clock.advance(expected - 0.01)
    assert flow.events(arn).count("ParallelStateStarted") == 1
    flow.clock.advance(0.02)
    assert flow.closed(arn)["status"] == "FAILED"


def test_given_a_machine_timeout_when_it_passes_then_timed_out(flow: Flow) -> None:
    states = {"W": {"Type": "Wait", "Seconds": 1000, "End": True}}
    arn = flow.start(flow.create({"StartAt": "W", "TimeoutSeconds": 10, "States": states}))
    flow.until(arn, "WaitStateEntered")
    flow.clock.advance(10)
    assert flow.closed(arn)["status"] == "TIMED_OUT"
    assert flow.events(arn)[-1] == "ExecutionTimedOut"


def test_given_the_same_name_and_input_while_running_when_started_then_the_same_execution(flow: Flow) -> None:
    machine = flow.states("W", W={"Type": "Wait", "Seconds": 1000, "End": True})
    first = flow.start(machine, {"a": 1}, name="doc")
    assert flow.start(machine, {"a": 1}, name="doc") == first
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        flow.start(machine, {"a": 2}, name="doc")
    flow.api.stop_execution(executionArn=first, error="E", cause="C")
    answer = flow.closed(first)
    assert (answer["status"], answer["error"], answer["cause"]) == ("ABORTED", "E", "C")
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        flow.start(machine, {"a": 1}, name="doc")


def test_given_a_path_that_finds_nothing_when_it_is_an_input_path_then_states_runtime_even_with_states_all(
    flow: Flow,
) -> None:
    machine = flow.states(
        "P",
        P={
            "Type": "Parallel",
            "Branches": [{"StartAt": "A", "States": {"A": {**END, "InputPath": "$.missing"}}}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "E"}],
            "End": True,
        },
        E=END,
    )
    assert flow.run(machine)["error"] == "States.Runtime"


def test_given_a_state_output_over_256_kib_when_it_ends_then_data_limit_exceeded(flow: Flow) -> None:
    machine = flow.states("A", A={**END, "Parameters": {"a.$": "$", "b.$": "$"}})
    assert flow.run(machine, "x" * 140_000)["error"] == "States.DataLimitExceeded"


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        ("{", "INVALID_JSON_DESCRIPTION"),
        ('{"StartAt":"A","StartAt":"B","States":{}}', "INVALID_JSON_DESCRIPTION"),
        ({"StartAt": "B", "States": {"A": END}}, "MISSING_TRANSITION_TARGET"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "Z"}}}, "MISSING_TRANSITION_TARGET"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass"}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {"Type": "Nope", "End": True}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {**END, "Retries": []}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": END, "B": END}}, "UNREACHABLE_STATE"),
        ({"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "x", "End": True}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {**END, "Parameters": {"a.$": "x"}}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {**END, "Parameters": {"a.$": "States.Nope()"}}}}, "INVALID_JSON_PATH"),
        ({"StartAt": "A", "States": {"A": {**END, "InputPath": "$.a["}}}, "INVALID_JSON_PATH"),
        ({"StartAt": "A", "States": {"A": {"Type": "Choice", "Choices": [{"Variable": "$.a", "Next": "A"}]}}},
         "SCHEMA_VALIDATION_FAILED"),
        ({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": END}}, "SCHEMA_VALIDATION_FAILED"),
    ],
)  # fmt: skip
def test_given_bad_asl_when_created_then_invalid_definition_names_it(
    flow: Flow, definition: Any, code: str
) -> None:
    text = definition if isinstance(definition, str) else json.dumps(definition)
    answer = flow.api.validate_state_machine_definition(definition=text)
    assert answer["result"] == "FAIL"
    assert code in [d["code"] for d in answer["diagnostics"]]
    with pytest.raises(ClientError, match=f"InvalidDefinition.*{code}"):
        flow.api.create_state_machine(name="bad", definition=text, roleArn=ROLE)


def test_given_a_callback_in_an_express_machine_when_created_then_refused(flow: Flow) -> None:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": "q", "MessageBody.$": "$$.Task.Token"},
        "End": True,
    }
    definition = {"StartAt": "A", "States": {"A": task}}
    assert flow.create(definition)
    with pytest.raises(ClientError, match=r"InvalidDefinition.*Express"):
        flow.create(definition, type="EXPRESS")


def test_given_an_express_machine_when_started_synchronously_then_the_output_comes_back(flow: Flow) -> None:
    machine = flow.create({"StartAt": "A", "States": {"A": {**END, "Result": 1}}}, type="EXPRESS")
    answer = flow.api.start_sync_execution(stateMachineArn=machine, input="{}")
    assert (answer["status"], answer["output"]) == ("SUCCEEDED", "1")
    with pytest.raises(ClientError, match="StateMachineTypeNotSupported"):
        flow.api.start_sync_execution(stateMachineArn=flow.states("A", A=END))


def test_given_a_role_that_does_not_trust_step_functions_when_created_then_access_denied(flow: Flow) -> None:
    with pytest.raises(ClientError, match=r"AccessDeniedException.*assume the provided role"):
        flow.create({"StartAt": "A", "States": {"A": END}}, roleArn=ROLE.replace("flow", "stranger"))


def test_given_versions_and_an_alias_when_started_then_the_version_runs(flow: Flow) -> None:
    machine = flow.states("A", A={**END, "Result": 1})
    one = flow.api.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"]
    flow.api.update_state_machine(
        stateMachineArn=machine,
        definition=json.dumps({"StartAt": "A", "States": {"A": {**END, "Result": 2}}}),
    )
    alias = flow.api.create_state_machine_alias(
        name="live", routingConfiguration=[{"stateMachineVersionArn": one, "weight": 100}]
    )["stateMachineAliasArn"]
    assert [flow.output(arn) for arn in (machine, one, alias)] == [2, 1, 1]
    with pytest.raises(ClientError, match="ConflictException"):
        flow.api.delete_state_machine_version(stateMachineVersionArn=one)


def test_given_bad_names_and_unknown_things_when_asked_then_refused_as_aws_does(flow: Flow) -> None:
    machine = flow.states("A", A=END)
    with pytest.raises(ClientError, match="InvalidName"):
        flow.start(machine, name="a b")
    with pytest.raises(ClientError, match="InvalidExecutionInput"):
        flow.api.start_execution(stateMachineArn=machine, input="{")
    with pytest.raises(ClientError, match="StateMachineDoesNotExist"):
        flow.start(f"{machine}x")
    with pytest.raises(ClientError, match="ExecutionDoesNotExist"):
        flow.api.describe_execution(executionArn=f"{machine}:x")
    with pytest.raises(ClientError, match="InvalidToken"):
        flow.api.send_task_success(taskToken="x", output="{}")


def test_given_assigned_variables_when_read_later_then_they_keep_their_value(flow: Flow) -> None:
    machine = flow.states(
        "A",
        A={"Type": "Pass", "Result": 1, "Assign": {"kept.$": "$"}, "Next": "B"},
        B={**END, "Parameters": {"x.$": "$kept"}},
    )
    assert flow.output(machine) == {"x": 1}


def test_given_a_thousand_executions_when_started_then_all_run_and_each_transition_is_cheap(
    flow: Flow,
) -> None:
    machine = flow.states(
        "A",
        A={"Type": "Pass", "Next": "B"},
        B={
            "Type": "Choice",
            "Choices": [{"Variable": "$.a", "IsPresent": True, "Next": "C"}],
            "Default": "C",
        },
        C={"Type": "Wait", "Seconds": 5, "Next": "D"},
        D={"Type": "Succeed"},
    )
    begun_s = time.monotonic()
    arns = [flow.service._begin({"stateMachineArn": machine, "input": '{"a":1}'}).arn for _ in range(1000)]
    for arn in arns:
        flow.until(arn, "WaitStateEntered")
    flow.clock.advance(5)
    assert {flow.service.wait_closed(arn, 20).status for arn in arns} == {"SUCCEEDED"}
    # 4 transitions each; a generous bound for a shared machine (measured: 0.1 ms each).
    assert time.monotonic() - begun_s < 8
