"""State types: data flow, choices, waits, branches, items, retries, limits, on the cloud's clock."""

import json
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.services.stepfunctions.execution import MAX_EVENTS
from keepwarm_localcloud.services.stepfunctions.values import timestamp
from tests.support.workflows import END, ROLE, Flow, one_of_them

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


def test_given_an_input_path_that_finds_nothing_then_states_runtime_uncaught(
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


def test_given_assigned_variables_when_read_later_then_they_keep_their_value(flow: Flow) -> None:
    machine = flow.states(
        "A",
        A={"Type": "Pass", "Result": 1, "Assign": {"kept.$": "$"}, "Next": "B"},
        B={**END, "Parameters": {"x.$": "$kept"}},
    )
    assert flow.output(machine) == {"x": 1}


def test_given_assignments_of_choice_catch_and_iteration_then_scopes_are_as_documented(
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
