"""What Step Functions of the embedded cloud does with definitions and executions, over boto3.

Proves data flow, errors, retries on the cloud's clock, callbacks, names and history as AWS documents them.
Does not prove the integrations with functions and tasks (test_stepfunctions_integrations.py).
"""

import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.stepfunctions import StepFunctionsService, execution, host, lifecycle, model
from keepwarm_localcloud.services.stepfunctions.execution import MAX_EVENTS, Execution
from keepwarm_localcloud.services.stepfunctions.failures import Aborted, StateFailure
from keepwarm_localcloud.services.stepfunctions.interpreter import Interpreter
from keepwarm_localcloud.services.stepfunctions.values import timestamp
from keepwarm_localcloud.services.stepfunctions.visit import Stay
from tests.support.patience import PATIENCE_S, until

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
        until(lambda: sum(e["type"] == kind for e in list(execution.events)) >= count, f"no {count} {kind}")

    def events(self, arn: str) -> list[str]:
        return [e["type"] for e in self.api.get_execution_history(executionArn=arn)["events"]]


@pytest.fixture(scope="module")
def flow() -> Iterator[Flow]:
    clock, service = ManualClock(), StepFunctionsService()
    with Cloud(CloudSettings(clock=clock, account_id="123456789021"), [service]) as cloud:
        yield Flow(cloud, service, clock)


END = {"Type": "Pass", "End": True}


def one_of_them(number: int, states: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """A machine for items that are numbers: one of them goes through `states`, the others through `others`."""
    first, rest = next(iter(states)), next(iter(others))
    choice = {
        "Type": "Choice",
        "Choices": [{"Variable": "$", "NumericEquals": number, "Next": first}],
        "Default": rest,
    }
    return {"StartAt": "C", "States": {"C": choice, **states, **others}}


FAILS_ON_TWO = one_of_them(2, {"F": {"Type": "Fail", "Error": "Bad"}}, {"A": END})


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
        ({"Parameters": {
            "state.$": "$$.State.Name", "retries.$": "$$.State.RetryCount", "execution.$": "$$.Execution.Name",
            "role.$": "$$.Execution.RoleArn", "machine.$": "$$.StateMachine.Name",
            "same.$": "States.ArrayContains(States.Array($$.Execution.StartTime), $$.State.EnteredTime)",
         }}, {}, {"state": "A", "retries": 0, "execution": "named", "role": ROLE, "machine": "m{}", "same": True}),
        ({"Parameters": {"t.$": "States.Format('it\\'s \\{\\} {}', 1)"}}, {}, {"t": "it's {} 1"}),
    ],
)  # fmt: skip
def test_given_a_pass_state_when_run_then_data_flows_as_documented(
    flow: Flow, state: dict[str, Any], value: Any, expected: Any
) -> None:
    machine = flow.states("A", A={**END, **state})
    answer = flow.closed(flow.start(machine, value, name="named"))
    assert answer["status"] == "SUCCEEDED", answer
    if isinstance(expected, dict) and "machine" in expected:
        expected = {**expected, "machine": machine.rpartition(":")[2]}
    assert json.loads(answer["output"]) == expected


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
        ({"Variable": "$.a", "TimestampEquals": "2029-01-01T00:00:00Z"}, {"a": "2029-01-01T01:00:00+01:00"}, True),
        ({"Variable": "$.a", "TimestampGreaterThanPath": "$.b"},
         {"a": "2029-01-01T00:00:01Z", "b": "2029-01-01T00:00:00Z"}, True),
        ({"Variable": "$.a", "TimestampGreaterThanEquals": "2030-01-01T00:00:00Z"}, {"a": "2029"}, False),
        ({"Variable": "$.a", "StringLessThan": "b"}, {"a": "a"}, True),
        ({"Variable": "$.a", "StringGreaterThanEqualsPath": "$.b"}, {"a": "b", "b": "b"}, True),
        ({"Variable": "$.a", "StringGreaterThan": "b"}, {"a": "B"}, False),
        ({"Variable": "$.a", "NumericEquals": 1}, {"a": True}, False),
        ({"Variable": "$.a", "NumericGreaterThanEquals": 1.5}, {"a": 1}, False),
        ({"Variable": "$.a", "BooleanEqualsPath": "$.b"}, {"a": False, "b": False}, True),
        ({"Variable": "$.a", "IsNumeric": True}, {"a": True}, False),
        ({"Variable": "$.a", "IsBoolean": True}, {"a": False}, True),
        ({"Variable": "$.a", "IsTimestamp": True}, {"a": "2029-01-01T00:00:00Z"}, True),
        ({"Variable": "$.a", "IsTimestamp": False}, {"a": "soon"}, True),
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


@pytest.mark.parametrize("field", ["SecondsPath", "Timestamp", "TimestampPath"])
def test_given_a_wait_for_a_computed_moment_when_the_clock_reaches_it_then_it_continues(
    flow: Flow, field: str
) -> None:
    moment = timestamp(flow.clock.now_s() + 60)
    given = {"SecondsPath": "$.seconds", "TimestampPath": "$.at", "Timestamp": moment}[field]
    arn = flow.start(
        flow.states("W", W={"Type": "Wait", field: given, "End": True}), {"seconds": 60, "at": moment}
    )
    flow.until(arn, "WaitStateEntered")
    flow.clock.advance(60)
    answer = flow.closed(arn)
    assert answer["status"] == "SUCCEEDED", answer
    assert (answer["stopDate"] - answer["startDate"]).total_seconds() == pytest.approx(60, abs=0.01)


@pytest.mark.parametrize(
    ("wait", "cause"),
    [
        ({"SecondsPath": "$.x"}, "The SecondsPath parameter does not reference a valid number: soon"),
        ({"TimestampPath": "$.x"}, "The TimestampPath parameter does not reference a valid timestamp: soon"),
    ],
)
def test_given_a_wait_for_no_moment_when_entered_then_states_runtime(
    flow: Flow, wait: dict[str, Any], cause: str
) -> None:
    answer = flow.run(flow.states("W", W={"Type": "Wait", **wait, "End": True}), {"x": "soon"})
    assert (answer["status"], answer["error"], answer["cause"]) == ("FAILED", "States.Runtime", cause)


def test_given_a_result_selector_when_a_state_succeeds_then_it_shapes_the_result_before_result_path(
    flow: Flow,
) -> None:
    branches = [{"StartAt": n, "States": {n: {**END, "Result": n}}} for n in ("One", "Two")]
    machine = flow.states(
        "P",
        P={
            "Type": "Parallel",
            "Branches": branches,
            "ResultSelector": {"second.$": "$[1]", "machine.$": "$$.StateMachine.Name"},
            "ResultPath": "$.out",
            "End": True,
        },
    )
    expected = {"second": "Two", "machine": machine.rpartition(":")[2]}
    assert flow.output(machine, {"a": 1}) == {"a": 1, "out": expected}


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


def test_given_max_concurrency_2_when_five_items_wait_then_never_more_than_two_run(flow: Flow) -> None:
    machine = flow.states(
        "M",
        M={
            "Type": "Map",
            "MaxConcurrencyPath": "$.most",
            "ItemsPath": "$.items",
            "ItemProcessor": {
                "StartAt": "W",
                "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}},
            },
            "End": True,
        },
    )
    arn = flow.start(machine, {"items": [1, 2, 3, 4, 5], "most": 2})
    for entered in (2, 4, 5):
        flow.until(arn, "WaitStateEntered", entered)
        flow.clock.advance(60)
    assert json.loads(flow.closed(arn)["output"]) == [1, 2, 3, 4, 5]
    running, most = 0, 0
    for kind in flow.events(arn):
        running += {"MapIterationStarted": 1, "MapIterationSucceeded": -1}.get(kind, 0)
        most = max(most, running)
    assert most == 2


@pytest.mark.parametrize(
    ("batcher", "expected"),
    [
        ({"MaxItemsPerBatch": 2}, [{"Items": ["aa", "bb"]}, {"Items": ["cc"]}]),
        ({"MaxItemsPerBatchPath": "$.size"}, [{"Items": ["aa", "bb", "cc"]}]),
        # {"Items":["aa","bb"]} is 21 bytes.
        ({"MaxInputBytesPerBatch": 21}, [{"Items": ["aa", "bb"]}, {"Items": ["cc"]}]),
        ({"MaxInputBytesPerBatchPath": "$.bytes"}, [{"Items": ["aa"]}, {"Items": ["bb"]}, {"Items": ["cc"]}]),
        (
            {"MaxItemsPerBatch": 3, "MaxInputBytesPerBatch": 20},
            [{"Items": ["aa"]}, {"Items": ["bb"]}, {"Items": ["cc"]}],
        ),
        (
            {"MaxItemsPerBatch": 3, "BatchInput": {"k.$": "$.size", "fixed": 1}},
            [{"BatchInput": {"k": 3, "fixed": 1}, "Items": ["aa", "bb", "cc"]}],
        ),
    ],
)  # fmt: skip
def test_given_an_item_batcher_when_a_map_runs_then_each_iteration_gets_a_batch(
    flow: Flow, batcher: dict[str, Any], expected: Any
) -> None:
    processor = {"StartAt": "A", "States": {"A": END}}
    spec = {"Type": "Map", "ItemsPath": "$.items", "ItemBatcher": batcher, "ItemProcessor": processor}
    value = {"items": ["aa", "bb", "cc"], "size": 3, "bytes": 20}
    assert flow.output(flow.states("M", M={**spec, "End": True}), value) == expected


def test_given_an_item_larger_than_a_batch_may_be_when_batched_then_states_runtime(flow: Flow) -> None:
    spec = {
        "Type": "Map",
        "ItemBatcher": {"MaxInputBytesPerBatch": 15},
        "ItemProcessor": {"StartAt": "A", "States": {"A": END}},
        "End": True,
    }
    answer = flow.run(flow.states("M", M=spec), ["a", "too long"])
    assert (answer["error"], answer["cause"]) == (
        "States.Runtime",
        "Item 1 does not fit into a batch of at most 15 bytes (state 'M')",
    )


@pytest.mark.parametrize(
    ("tolerated", "items", "outcome"),
    [
        ({"ToleratedFailurePercentage": 50}, [1, 2, 2, 3], [1, 3]),
        ({"ToleratedFailurePercentage": 49}, [1, 2, 2, 3], "States.ExceedToleratedFailureThreshold"),
        ({"ToleratedFailurePercentagePath": "$[4]"}, [1, 2, 2, 3, 40], [1, 3, 40]),
        ({"ToleratedFailureCountPath": "$[0]"}, [1, 2, 3], [1, 3]),
        ({"ToleratedFailureCount": 1}, [1, 2, 2], "States.ExceedToleratedFailureThreshold"),
    ],
)
def test_given_more_failures_than_tolerated_when_a_map_runs_then_exceed_tolerated_failure_threshold(
    flow: Flow, tolerated: dict[str, Any], items: list[int], outcome: Any
) -> None:
    spec = {"Type": "Map", **tolerated, "ItemProcessor": FAILS_ON_TWO, "End": True}
    answer = flow.run(flow.states("M", M=spec), items)
    if isinstance(outcome, str):
        assert (answer["status"], answer["error"]) == ("FAILED", outcome)
    else:
        assert json.loads(answer["output"]) == outcome


def test_given_tolerated_failures_when_items_fail_then_the_map_succeeds_without_them(flow: Flow) -> None:
    spec = {"Type": "Map", "ItemProcessor": FAILS_ON_TWO, "End": True}
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
    expected = random.Random(7).uniform(0, 100)
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


def test_given_a_machine_that_never_ends_when_it_reaches_25_000_events_then_it_fails_with_the_last_one(
    flow: Flow,
) -> None:
    assert MAX_EVENTS == 25_000
    machine = flow.states("W", W={"Type": "Wait", "Seconds": 1, "Next": "P"}, P=END)
    arn = flow.start(machine)
    flow.until(arn, "WaitStateEntered")
    # A real loop of that length would take most of a second.
    known = flow.service.executions[arn].events
    known.extend({**known[-1], "id": number} for number in range(3, MAX_EVENTS - 1))
    flow.clock.advance(1)
    answer = flow.closed(arn)
    assert (answer["status"], answer["error"], answer["cause"]) == (
        "FAILED",
        "States.Runtime",
        "The execution reached the maximum number of history events (25000).",
    )
    assert [(e["id"], e["type"]) for e in known[-2:]] == [
        (24_999, "WaitStateExited"),
        (25_000, "ExecutionFailed"),
    ]


def test_given_an_express_machine_when_it_passes_25_000_events_then_it_goes_on(flow: Flow) -> None:
    machine = flow.create(
        {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1, "Next": "P"}, "P": END}},
        type="EXPRESS",
    )
    arn = flow.start(machine)
    flow.until(arn, "WaitStateEntered")
    known = flow.service.executions[arn].events
    known.extend({**known[-1], "id": number} for number in range(3, MAX_EVENTS + 1))
    flow.clock.advance(1)
    assert flow.service.wait_closed(arn, 10).status == "SUCCEEDED"
    assert known[-1]["id"] == MAX_EVENTS + 4
    assert len(known) < MAX_EVENTS


def test_given_an_express_machine_when_five_minutes_pass_then_timed_out(flow: Flow) -> None:
    states = {"W": {"Type": "Wait", "Seconds": 1000, "End": True}}
    arn = flow.start(flow.create({"StartAt": "W", "TimeoutSeconds": 900, "States": states}, type="EXPRESS"))
    flow.until(arn, "WaitStateEntered")
    flow.clock.advance(300)
    execution = flow.service.wait_closed(arn, 10)
    assert (execution.status, execution.error) == ("TIMED_OUT", "States.Timeout")
    assert execution.stopped_s == execution.started_s + 300
    with pytest.raises(ClientError, match="ExecutionDoesNotExist"):
        flow.api.describe_execution(executionArn=arn)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("ALL", None),
        ("ERROR", ["FailStateEntered", "ParallelStateFailed", "ExecutionFailed"]),
        ("FATAL", ["ExecutionFailed"]),
        ("OFF", []),
    ],
)
def test_given_a_logging_level_when_an_execution_fails_then_the_log_group_has_the_events_of_that_level(
    flow: Flow, level: str, expected: list[str] | None
) -> None:
    """https://docs.aws.amazon.com/step-functions/latest/dg/cloudwatch-log-level.html"""
    logs, group = flow.cloud.boto("logs"), f"/aws/vendedlogs/states/{level}"
    logs.create_log_group(logGroupName=group)
    arn = f"arn:aws:logs:us-east-1:123456789021:log-group:{group}:*"
    fail = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Bad", "Cause": "secret"}}}
    definition = {
        "StartAt": "P",
        "States": {"P": {"Type": "Parallel", "Branches": [fail], "End": True}},
    }
    for data in (False, True):
        machine = flow.create(
            definition,
            loggingConfiguration={
                "level": level,
                "includeExecutionData": data,
                "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": arn}}],
            },
        )
        execution = flow.start(machine)
        flow.closed(execution)
        found = [
            json.loads(e["message"])
            for e in logs.filter_log_events(logGroupName=group)["events"]
            if json.loads(e["message"])["execution_arn"] == execution
        ]
        assert [line["type"] for line in found] == (flow.events(execution) if expected is None else expected)
        assert ("secret" in json.dumps(found)) is (data and level != "OFF")


@pytest.mark.parametrize(
    ("logging", "message"),
    [
        ({"level": "ALL"}, "Must specify exactly one Log Destination."),
        (
            {"level": "ALL", "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": "arn:aws:logs:x"}}]},
            "Log Destination 'arn:aws:logs:x' must end with ':*'",
        ),
    ],
)
def test_given_a_log_destination_that_cannot_be_when_created_then_invalid_logging_configuration(
    flow: Flow, logging: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError) as refused:
        flow.create({"StartAt": "A", "States": {"A": END}}, loggingConfiguration=logging)
    assert refused.value.response["Error"] == {
        "Code": "InvalidLoggingConfiguration",
        "Message": f"Invalid Logging Configuration: {message}",
    }


@pytest.mark.parametrize(
    ("caught", "status"), [("States.ALL", "FAILED"), ("States.DataLimitExceeded", "SUCCEEDED")]
)
def test_given_too_much_data_when_caught_then_only_by_its_own_name(
    flow: Flow, caught: str, status: str
) -> None:
    branch = {"StartAt": "A", "States": {"A": {**END, "Parameters": {"a.$": "$", "b.$": "$"}}}}
    machine = flow.states(
        "P",
        P={
            "Type": "Parallel",
            "Branches": [branch],
            "Catch": [{"ErrorEquals": [caught], "ResultPath": None, "Next": "E"}],
            "End": True,
        },
        E=END,
    )
    answer = flow.run(machine, "x" * 140_000)
    assert answer["status"] == status
    assert answer.get("error") == ("States.DataLimitExceeded" if status == "FAILED" else None)


def test_given_an_input_over_256_kib_when_started_then_validation_exception(flow: Flow) -> None:
    machine = flow.states("A", A=END)
    assert flow.run(machine, "x" * (262_144 - 2))["status"] == "SUCCEEDED"
    with pytest.raises(ClientError) as refused:
        flow.start(machine, "x" * (262_144 - 1))
    assert refused.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "1 validation error detected: Value at 'input' failed to satisfy constraint: "
        "Member must have length less than or equal to 262144",
    }


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
        ({"StartAt": "A", "States": {"A": {"Type": "Map", "ItemBatcher": {"BatchInput": {}}, "End": True,
                                           "ItemProcessor": {"StartAt": "B", "States": {"B": END}}}}},
         "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {"Type": "Map", "ItemBatcher": {"MaxItemsPerBatch": 0}, "End": True,
                                           "ItemProcessor": {"StartAt": "B", "States": {"B": END}}}}},
         "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {"Type": "Map", "ToleratedFailurePercentage": 101, "End": True,
                                           "ItemProcessor": {"StartAt": "B", "States": {"B": END}}}}},
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


@pytest.mark.parametrize(
    ("extra", "got", "allowed"),
    [
        ({"ItemReader": {"Resource": "arn:aws:states:::s3:getObject"}}, "ItemReader", "ItemsPath and the state output"),
        ({"ResultWriter": {"Resource": "arn:aws:states:::s3:putObject"}}, "ResultWriter",
         "ItemsPath and the state output"),
        ({"QueryLanguage": "JSONata"}, "QueryLanguage JSONata", "QueryLanguage JSONPath"),
    ],
)  # fmt: skip
def test_given_what_does_not_run_here_when_created_then_kw610_says_what_does(
    flow: Flow, extra: dict[str, Any], got: str, allowed: str
) -> None:
    state = {"Type": "Map", "ItemProcessor": {"StartAt": "A", "States": {"A": END}}, "End": True, **extra}
    wrong = flow.api.validate_state_machine_definition(
        definition=json.dumps({"StartAt": "M", "States": {"M": state}})
    )["diagnostics"]
    assert [d["message"] for d in wrong] == [
        f"KW610 state machine: got {got}; allowed {allowed}; because it isn't implemented here; "
        "fix: use what is allowed"
    ]


@pytest.mark.parametrize(
    ("call", "arguments", "operation"),
    [
        ("create_activity", {"name": "a"}, "CreateActivity"),
        ("redrive_execution", {"executionArn": "arn:aws:states:x"}, "RedriveExecution"),
        ("test_state", {"definition": "{}", "roleArn": ROLE}, "TestState"),
    ],
)
def test_given_an_operation_that_is_not_built_when_asked_then_unknown_operation(
    flow: Flow, call: str, arguments: dict[str, str], operation: str
) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(flow.api, call)(**arguments)
    assert refused.value.response["Error"] == {
        "Code": "UnknownOperationException",
        "Message": f"Step Functions has no operation '{operation}' here",
    }


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


def test_given_a_machine_with_an_alias_when_it_is_deleted_then_the_alias_is_gone_too(flow: Flow) -> None:
    machine = flow.create({"StartAt": "A", "States": {"A": END}}, name="gone", publish=True)
    route = [{"stateMachineVersionArn": f"{machine}:1", "weight": 100}]
    alias = flow.api.create_state_machine_alias(name="live", routingConfiguration=route)[
        "stateMachineAliasArn"
    ]
    flow.api.delete_state_machine(stateMachineArn=machine)
    flow.create({"StartAt": "A", "States": {"A": END}}, name="gone", publish=True)
    with pytest.raises(ClientError) as raised:
        flow.api.describe_state_machine_alias(stateMachineAliasArn=alias)
    assert raised.value.response["Error"]["Code"] == "ResourceNotFound"


def test_given_a_known_machine_when_it_is_created_again_then_what_it_does_decides_and_not_its_role(
    flow: Flow,
) -> None:
    definition = {"StartAt": "A", "States": {"A": END}}
    trust = json.dumps({"Statement": [{"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}}]})
    other = flow.cloud.boto("iam").create_role(RoleName="other", AssumeRolePolicyDocument=trust)["Role"][
        "Arn"
    ]
    machine = flow.create(definition, name="same")
    assert flow.create(definition, name="same", roleArn=other) == machine
    assert flow.api.describe_state_machine(stateMachineArn=machine)["roleArn"] == ROLE
    with pytest.raises(ClientError, match="StateMachineAlreadyExists"):
        flow.create(definition, name="same", tracingConfiguration={"enabled": True})


@pytest.mark.parametrize(
    ("role", "code"),
    [("garbage", "InvalidArn"), (ROLE.replace("/flow", "/stranger"), "AccessDeniedException")],
)
def test_given_a_role_that_cannot_be_assumed_when_a_machine_is_updated_then_it_is_refused_and_stays(
    role: str, code: str, flow: Flow
) -> None:
    machine = flow.create({"StartAt": "A", "States": {"A": END}})
    with pytest.raises(ClientError) as raised:
        flow.api.update_state_machine(stateMachineArn=machine, roleArn=role)
    assert raised.value.response["Error"]["Code"] == code
    assert flow.api.describe_state_machine(stateMachineArn=machine)["roleArn"] == ROLE


def test_given_an_alias_with_weights_when_started_often_then_both_versions_run_their_share(
    flow: Flow,
) -> None:
    machine = flow.states("A", A={**END, "Result": 1})
    versions = [flow.api.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"]]
    flow.api.update_state_machine(
        stateMachineArn=machine,
        definition=json.dumps({"StartAt": "A", "States": {"A": {**END, "Result": 2}}}),
    )
    versions.append(flow.api.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"])
    routes = [{"stateMachineVersionArn": v, "weight": w} for v, w in zip(versions, (75, 25), strict=True)]
    alias = flow.api.create_state_machine_alias(name="live", routingConfiguration=routes)
    flow.service.random.seed(5)
    expected = random.Random(5)
    for _ in range(12):
        answer = flow.run(alias["stateMachineAliasArn"])
        version = expected.choices(versions, [75, 25])[0]
        assert answer["stateMachineVersionArn"] == version
        assert answer["output"] == str(versions.index(version) + 1)
    assert flow.service.random.random() == expected.random()


@pytest.mark.parametrize("weights", [(50, 40), (100, 100)])
def test_given_weights_that_are_not_100_when_an_alias_is_made_then_validation_exception(
    flow: Flow, weights: tuple[int, int]
) -> None:
    machine = flow.states("A", A=END)
    version = flow.api.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"]
    with pytest.raises(ClientError) as refused:
        flow.api.create_state_machine_alias(
            name="live",
            routingConfiguration=[{"stateMachineVersionArn": version, "weight": w} for w in weights],
        )
    assert refused.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "An alias routes to one or two versions of one state machine whose weights add up to 100",
    }


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


def test_given_variables_when_a_choice_a_catch_or_an_iteration_assigns_then_the_scopes_are_as_documented(
    flow: Flow,
) -> None:
    """A branch or iteration reads the outer variables; what it assigns itself ends with it."""
    inner = {
        "StartAt": "I",
        "States": {"I": {"Type": "Pass", "Assign": {"inner.$": "$"}, "Next": "J"},
                   "J": {**END, "Parameters": {"outer.$": "$chosen", "inner.$": "$inner"}}},
    }  # fmt: skip
    machine = flow.states(
        "C",
        C={
            "Type": "Choice",
            "Choices": [{"Variable": "$[0]", "IsNumeric": True, "Assign": {"chosen.$": "$[0]"}, "Next": "M"}],
        },
        M={"Type": "Map", "ItemProcessor": inner, "Next": "R"},
        R={
            "Type": "Parallel",
            "Branches": [
                {
                    "StartAt": "F",
                    "States": {"F": {**END, "Parameters": {"x.$": "$inner"}}},
                }
            ],
            "Catch": [
                {
                    "ErrorEquals": ["States.ParameterPathFailure"],
                    "Assign": {"error.$": "$.Error"},
                    "ResultPath": None,
                    "Next": "E",
                }
            ],
            "End": True,
        },
        E={**END, "Parameters": {"items.$": "$", "error.$": "$error", "chosen.$": "$chosen"}},
    )
    assert flow.output(machine, [7, 8]) == {
        "items": [{"outer": 7, "inner": 7}, {"outer": 7, "inner": 8}],
        "error": "States.ParameterPathFailure",
        "chosen": 7,
    }


@pytest.mark.parametrize("end", ["abort", "timeout"])
def test_given_a_synchronous_child_when_the_parent_gives_up_then_the_child_is_stopped(
    flow: Flow, end: str
) -> None:
    child = flow.states("W", W={"Type": "Wait", "Seconds": 5000, "End": True})
    allow = {"Statement": [{"Effect": "Allow", "Action": "states:*", "Resource": "*"}]}
    flow.cloud.boto("iam").put_role_policy(
        RoleName="flow", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", **allow})
    )
    parent = flow.states(
        "T",
        T={
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution.sync",
            "Parameters": {"StateMachineArn": child, "Name": end},
            "TimeoutSeconds": 10,
            "End": True,
        },
    )
    arn = flow.start(parent)
    name = f"{child.replace(':stateMachine:', ':execution:')}:{end}"
    until(lambda: name in flow.service.executions)
    flow.until(name, "WaitStateEntered")
    # The job is followed once its start was answered; stopping it earlier would be another case.
    until(lambda: flow.service.executions[name].followers)
    if end == "abort":
        flow.api.stop_execution(executionArn=arn)
    else:
        flow.clock.advance(10)
    answer = flow.closed(name)
    assert (answer["status"], answer["error"], answer["cause"]) == (
        "ABORTED",
        "States.Aborted",
        "The parent execution no longer waits for it",
    )
    closed = flow.closed(arn)
    assert (closed["status"], closed.get("error")) == (
        ("ABORTED", None) if end == "abort" else ("FAILED", "States.Timeout")
    )


def test_given_as_many_executions_as_are_kept_when_another_starts_then_the_oldest_closed_one_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert model.KEPT_EXECUTIONS == 50_000
    monkeypatch.setattr(lifecycle, "KEPT_EXECUTIONS", 3)
    kept = StepFunctionsService()
    for name, status in (("old", "RUNNING"), ("closed", "FAILED"), ("late", "SUCCEEDED")):
        kept.executions[name] = Execution(name, name, "m", {}, "STANDARD", ROLE, "{}", 0.0, status=status)
    kept._forget_oldest()
    assert list(kept.executions) == ["old", "late"]


def test_given_a_thousand_executions_when_started_then_all_run_to_their_end(
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
    arns = [flow.service._begin({"stateMachineArn": machine, "input": '{"a":1}'}).arn for _ in range(1000)]
    for arn in arns:
        flow.until(arn, "WaitStateEntered")
    flow.clock.advance(5)
    assert {flow.service.wait_closed(arn, 20).status for arn in arns} == {"SUCCEEDED"}


WAITS = {"Type": "Wait", "Seconds": 1000, "End": True}


def history(flow: Flow, arn: str) -> list[tuple[str, int]]:
    """(type, id of the event before it in its branch) of each event."""
    answer = flow.api.get_execution_history(executionArn=arn, maxResults=1000)
    return [(e["type"], e["previousEventId"]) for e in answer["events"]]


def test_given_a_state_under_way_when_the_execution_is_stopped_then_the_history_says_that_it_was_cut_short(
    flow: Flow,
) -> None:
    arn = flow.start(flow.states("P", P={"Type": "Pass", "Next": "W"}, W=WAITS))
    flow.until(arn, "WaitStateEntered")
    flow.api.stop_execution(executionArn=arn)
    assert history(flow, arn)[2:] == [
        ("PassStateExited", 2),
        ("WaitStateEntered", 3),
        ("WaitStateAborted", 4),
        ("ExecutionAborted", 5),
    ]


def test_given_a_failing_branch_when_its_siblings_wait_then_they_are_cut_short_before_the_failure(
    flow: Flow,
) -> None:
    fails = {
        "StartAt": "H",
        "States": {"H": {"Type": "Wait", "Seconds": 1, "Next": "F"}, "F": {"Type": "Fail", "Error": "E"}},
    }
    inner = {"Type": "Parallel", "Branches": [{"StartAt": "W", "States": {"W": WAITS}}], "End": True}
    branches = [fails, {"StartAt": "I", "States": {"I": inner}}, {"StartAt": "V", "States": {"V": WAITS}}]
    parallel = {
        "Type": "Parallel",
        "Branches": branches,
        "Catch": [{"ErrorEquals": ["E"], "Next": "Done"}],
        "End": True,
    }
    arn = flow.start(flow.states("P", P=parallel, Done=END))
    flow.until(arn, "WaitStateEntered", 3)
    flow.clock.advance(1)
    assert flow.closed(arn)["status"] == "SUCCEEDED"
    events = flow.events(arn)
    tail = events[events.index("FailStateEntered") :]
    assert tail == [
        "FailStateEntered",
        "WaitStateAborted",
        "ParallelStateAborted",
        "WaitStateAborted",
        "ParallelStateFailed",
        "ParallelStateExited",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]


def test_given_a_failing_item_when_others_wait_then_they_are_cut_short_with_their_index(flow: Flow) -> None:
    late = {"H": {"Type": "Wait", "Seconds": 1, "Next": "F"}, "F": {"Type": "Fail", "Error": "E"}}
    item = one_of_them(1, late, {"W": WAITS})
    arn = flow.start(flow.states("M", M={"Type": "Map", "Iterator": item, "End": True}), [0, 1, 2])
    flow.until(arn, "WaitStateEntered", 3)
    flow.clock.advance(1)
    assert flow.closed(arn)["error"] == "E"
    events = flow.api.get_execution_history(executionArn=arn)["events"]
    kinds = [e["type"] for e in events]
    assert kinds[kinds.index("FailStateEntered") :] == [
        "FailStateEntered",
        "MapIterationFailed",
        *("WaitStateAborted", "MapIterationAborted") * 2,
        "MapStateFailed",
        "ExecutionFailed",
    ]
    cut = [e["mapIterationAbortedEventDetails"] for e in events if e["type"] == "MapIterationAborted"]
    assert sorted(c["index"] for c in cut) == [0, 2]
    assert {c["name"] for c in cut} == {"M"}


def test_given_a_call_under_way_when_its_sibling_fails_then_what_comes_of_it_is_not_in_the_history(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(self: Any, resource: str, parameters: Any) -> Callable[[], Any]:
        def call() -> dict[str, str]:
            asked.set()
            assert answer.wait(PATIENCE_S)
            return {"a": "late"}

        return call

    monkeypatch.setattr(host.RunHost, "task", slow)
    task = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "Parameters": {}, "Next": "After"}
    fails = {
        "StartAt": "H",
        "States": {"H": {"Type": "Wait", "Seconds": 1, "Next": "F"}, "F": {"Type": "Fail", "Error": "E"}},
    }
    works = {"StartAt": "T", "States": {"T": task, "After": END}}
    parallel = {
        "Type": "Parallel",
        "Branches": [fails, works],
        "Catch": [{"ErrorEquals": ["E"], "Next": "Rest"}],
        "End": True,
    }
    arn = flow.start(flow.states("P", P=parallel, Rest=WAITS))
    flow.until(arn, "WaitStateEntered")
    assert asked.wait(PATIENCE_S)
    flow.clock.advance(1)
    flow.until(arn, "WaitStateEntered", 2)
    before = flow.events(arn)
    assert before[-5:] == [
        "FailStateEntered",
        "TaskStateAborted",
        "ParallelStateFailed",
        "ParallelStateExited",
        "WaitStateEntered",
    ]
    answer.set()
    flow.api.stop_execution(executionArn=arn)
    assert flow.events(arn) == [*before, "WaitStateAborted", "ExecutionAborted"]
    flow.clock.advance(2000)


class Recording:
    """A host that only writes down the history."""

    def __init__(self) -> None:
        self.clock, self.random, self.kinds = ManualClock(), random.Random(1), ["ExecutionStarted"]

    def event(self, kind: str, previous: int, **details: Any) -> int:
        self.kinds.append(kind)
        return len(self.kinds)

    def aborted(self, stays: list[Stay]) -> None:
        for stay in stays:
            self.event(stay.event, stay.previous())

    def task(self, resource: str, parameters: Any) -> Callable[[], Any]:
        return lambda: None

    def abandon(self, signal: Any) -> None:
        pass


@pytest.mark.parametrize("comes", [{"a": 1}, StateFailure("E", "c")], ids=["result", "failure"])
def test_given_a_task_that_was_cut_short_when_its_end_comes_all_the_same_then_it_writes_nothing(
    comes: Any,
) -> None:
    host: Any = Recording()
    around = Stay()
    state = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "Next": "After"}
    machine = {"StartAt": "T", "States": {"T": state, "After": END}}
    steps = Interpreter(host, {}).run(machine, {}, 1, {}, {}, around)
    next(steps)
    before = list(host.kinds)
    assert before[-1] == "TaskStarted"

    assert [stay.event for stay in around.cut_inside()] == ["TaskStateAborted"]
    with pytest.raises(Aborted):
        steps.throw(comes) if isinstance(comes, Exception) else steps.send(comes)

    assert host.kinds == before
    with pytest.raises(Aborted):
        next(Interpreter(host, {}).run(machine, {}, 1, {}, {}, Stay(cut=True)))
    assert host.kinds == before


def test_given_a_map_that_failed_when_an_item_would_begin_then_it_writes_nothing() -> None:
    host: Any = Recording()
    item = {"StartAt": "I", "States": {"I": END}}
    state = {
        "Type": "Map",
        "ItemProcessor": item,
        "Catch": [{"ErrorEquals": ["E"], "Next": "W"}],
        "Next": "W",
    }
    steps = Interpreter(host, {}).run(
        {"StartAt": "M", "States": {"M": state, "W": WAITS}}, [1], 1, {}, {}, Stay()
    )
    gather = next(steps)
    steps.throw(StateFailure("E", "c"))
    before = list(host.kinds)
    assert before[-1] == "WaitStateEntered"

    with pytest.raises(Aborted):
        next(gather.children[0])

    assert host.kinds == before


def test_given_a_parallel_that_was_cut_short_when_its_branch_fails_then_the_abort_stays_its_last_event() -> (
    None
):
    host: Any = Recording()
    around = Stay()
    state = {"Type": "Parallel", "Branches": [{"StartAt": "B", "States": {"B": END}}], "End": True}
    steps = Interpreter(host, {}).run({"StartAt": "P", "States": {"P": state}}, {}, 1, {}, {}, around)
    next(steps)
    host.aborted(around.cut_inside())

    with pytest.raises(Aborted):
        steps.throw(StateFailure("E", "c"))

    assert host.kinds[-1] == "ParallelStateAborted"


def test_given_items_that_may_fail_when_the_execution_is_stopped_then_only_what_was_under_way_is_cut_short(
    flow: Flow,
) -> None:
    item = one_of_them(0, {"F": {"Type": "Fail", "Error": "E"}}, {"W": WAITS})
    state = {"Type": "Map", "Iterator": item, "ToleratedFailureCount": 2, "End": True}
    arn = flow.start(flow.states("M", M=state), [0, 1])
    flow.until(arn, "WaitStateEntered")
    flow.until(arn, "MapIterationFailed")
    flow.api.stop_execution(executionArn=arn)
    assert flow.closed(arn)["status"] == "ABORTED"
    assert flow.events(arn)[-4:] == [
        "WaitStateAborted",
        "MapIterationAborted",
        "MapStateAborted",
        "ExecutionAborted",
    ]
    assert [k for k in flow.events(arn) if k.endswith("Aborted")] == flow.events(arn)[-4:]


def test_given_a_full_history_when_the_execution_is_stopped_then_its_end_is_written_all_the_same(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = flow.start(flow.states("W", W=WAITS))
    flow.until(arn, "WaitStateEntered")
    monkeypatch.setattr(execution, "MAX_EVENTS", 3)
    flow.api.stop_execution(executionArn=arn)
    assert flow.closed(arn)["status"] == "ABORTED"
    assert flow.events(arn) == ["ExecutionStarted", "WaitStateEntered", "ExecutionAborted"]


def test_given_a_log_that_fails_when_an_execution_is_stopped_then_it_ends_all_the_same(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flow.cloud.boto("logs").create_log_group(logGroupName="/broken")
    group = f"arn:aws:logs:us-east-1:{flow.cloud.account_id}:log-group:/broken:*"
    arn = flow.start(
        flow.create(
            {"StartAt": "W", "States": {"W": WAITS}},
            loggingConfiguration={
                "level": "ALL",
                "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}],
            },
        )
    )
    flow.until(arn, "WaitStateEntered")

    def broken(*_: Any) -> None:
        raise OSError("no stream behind the subscription")

    monkeypatch.setattr(flow.cloud.logs, "put", broken)
    flow.api.stop_execution(executionArn=arn)
    assert flow.closed(arn)["status"] == "ABORTED"
    assert f"an event of {arn} could not be logged" in caplog.text


@pytest.mark.parametrize("end", ["TIMED_OUT", "ABORTED"])
def test_given_an_execution_with_much_under_way_when_it_has_ended_then_nothing_of_that_is_kept(
    end: str, flow: Flow
) -> None:
    item = {"StartAt": "W", "States": {"W": WAITS}}
    states = {"M": {"Type": "Map", "Iterator": item, "End": True}}
    arn = flow.start(flow.create({"StartAt": "M", "TimeoutSeconds": 10, "States": states}), [1, 2, 3])
    flow.until(arn, "WaitStateEntered", 3)
    if end == "ABORTED":
        flow.api.stop_execution(executionArn=arn)
    else:
        flow.clock.advance(10)
    assert flow.closed(arn)["status"] == end
    ended = flow.service.executions[arn]
    assert ended.cut_short.__closure__ is None
    aborted = [kind for kind in flow.events(arn) if kind.endswith("StateAborted")]
    assert len(aborted) == (4 if end == "ABORTED" else 0)
