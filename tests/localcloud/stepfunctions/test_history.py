"""What the history says of what is cut short, and what is kept of executions."""

import json
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.services.stepfunctions import StepFunctionsService, execution, host, lifecycle, model
from keepwarm_localcloud.services.stepfunctions.execution import Execution
from keepwarm_localcloud.services.stepfunctions.failures import Aborted, StateFailure
from keepwarm_localcloud.services.stepfunctions.interpreter import Interpreter
from keepwarm_localcloud.services.stepfunctions.visit import Stay
from tests.support.patience import PATIENCE_S, until
from tests.support.workflows import END, ROLE, Flow, one_of_them


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


def test_given_all_kept_executions_when_another_starts_then_the_oldest_closed_goes(
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


def test_given_a_state_under_way_when_stopped_then_the_history_says_it_was_cut_short(
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


def test_given_items_that_may_fail_when_stopped_then_only_those_under_way_are_cut(
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
